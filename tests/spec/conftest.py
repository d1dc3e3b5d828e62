"""Fixtures of the wire tests: raw connections that close themselves."""

import pytest

pytest.register_assert_rewrite("wire", "casefile")

import wire  # noqa: E402  (its assertions are rewritten)


@pytest.fixture
def connect(broker):
    """connect(**options): an open connection, see wire.Conn.open; aborted after the test."""
    opened = []

    def open_one(**options):
        conn = wire.Conn.open(broker, **options)
        opened.append(conn)
        return conn

    yield open_one
    for conn in opened:
        conn.abort()


@pytest.fixture
def conn(connect):
    return connect()


@pytest.fixture
def ch(conn):
    return conn.channel(1)


@pytest.fixture
def dial(broker):
    """dial(): a TCP connection on which nothing was sent."""
    opened = []

    def dial_one(**options):
        conn = wire.Conn(broker.host, broker.port, **options)
        opened.append(conn)
        return conn

    yield dial_one
    for conn in opened:
        conn.abort()
