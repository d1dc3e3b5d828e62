"""Heartbeats: AMQP 0-9-1 §4.2.7. The interval is the client's; 0 means none; two missed end the connection."""

import time

import pytest
import wire


def test_the_broker_sends_them(connect):
    conn = connect(heartbeat=1)
    with pytest.raises(wire.NothingCame):
        conn.next(0, 1.8)
    assert 1 <= conn.heartbeats <= 5


def test_a_silent_client_is_dropped(connect):
    conn = connect(heartbeat=1)
    started = time.monotonic()
    conn.expect_end(10)
    assert 1.5 < time.monotonic() - started < 6


def test_heartbeats_keep_a_connection(connect):
    conn = connect(heartbeat=1)
    for _ in range(8):
        conn.send_frame(8, 0, b"")
        with pytest.raises(wire.NothingCame):
            conn.next(0, 0.5)
    conn.channel(1)


def test_any_traffic_keeps_a_connection(connect):
    """§4.2.7: any octet sent is a valid substitute for a heartbeat."""
    conn = connect(heartbeat=1)
    ch = conn.channel(1)
    for _ in range(8):
        time.sleep(0.5)
        ch.sync()


def test_traffic_from_the_broker_replaces_its_heartbeats_but_not_the_clients(connect, name):
    conn = connect(heartbeat=1)
    other = connect()
    feeder = other.channel(1)
    q = feeder.queue(name(), exclusive=False, auto_delete=True)
    conn.channel(1).consume(q, no_ack=True)
    started = time.monotonic()
    with pytest.raises(wire.SocketClosed):
        while time.monotonic() - started < 8:
            feeder.publish("", q, b"x")
            conn.next(1, 2)
            time.sleep(0.1)
    assert time.monotonic() - started < 7


def test_zero_means_none(connect):
    conn = connect(heartbeat=0)
    with pytest.raises(wire.NothingCame):
        conn.next(0, 2.5)
    assert conn.heartbeats == 0
    conn.channel(1)


@pytest.mark.needs_restart
def test_the_servers_interval_is_configured(start_broker):
    broker = start_broker({"heartbeat": "17"})
    with wire.Conn.open(broker) as conn:
        assert conn.tune.heartbeat == 17
