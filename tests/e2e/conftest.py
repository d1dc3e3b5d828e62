"""Fixtures of the end-to-end tests."""

import pika
import pytest


@pytest.fixture
def pika_connect(broker):
    """pika_connect(**parameters): a blocking connection, closed after the test."""
    opened = []

    def connect(to=None, **parameters):
        target = to or broker
        parameters.setdefault("credentials", pika.PlainCredentials(target.user, target.password))
        parameters.setdefault("socket_timeout", 20)
        connection = pika.BlockingConnection(pika.ConnectionParameters(target.host, target.port, **parameters))
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        try:
            if connection.is_open:
                connection.close()
        except (pika.exceptions.AMQPError, AssertionError):
            pass  # the test broke it, and pika asserts on what it finds


@pytest.fixture
def configured():
    """configured(text, start=True): a Leveret of the test's own that reads this configuration file; stopped cleanly after the test."""
    from harness.configured import Configured
    made = []

    def make(text="", start=True):
        broker = Configured(text)
        made.append(broker)
        return broker.start() if start else broker

    yield make
    for broker in made:
        try:
            broker.stop()
        finally:
            broker.remove()
