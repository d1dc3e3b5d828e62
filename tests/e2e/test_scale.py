"""Many of everything: channels, connections, queues, bindings. Small enough for a sanitizer build on two cores."""

import socket
import threading
import time

import pytest
import wire


def wait_confirms(ch, last):
    done = set()
    while len(done) < last:
        ack = ch.expect("basic.ack")
        done |= set(range(1, ack.delivery_tag + 1)) if ack.multiple else {ack.delivery_tag}


def test_a_thousand_channels(broker):
    """Each with a queue, a consumer and a message of its own."""
    with wire.Conn.open(broker) as conn:
        channels = [wire.Channel(conn, n) for n in range(1, 1001)]
        for ch in channels:
            ch.send("channel.open")
            ch.send("queue.declare", queue="", exclusive=True)
            ch.send("basic.consume", queue="", no_ack=True)
        queues = []
        for ch in channels:
            ch.expect("channel.open-ok")
            queues.append(ch.expect("queue.declare-ok").queue)
            ch.expect("basic.consume-ok")
        for ch, queue in zip(channels, reversed(queues)):
            ch.publish("", queue, queue.encode())
        for ch, queue in zip(channels, queues):
            assert ch.deliver().body == queue.encode()
        for ch in channels[::2]:
            ch.send("channel.close", reply_code=200)
        for ch in channels[::2]:
            ch.expect("channel.close-ok")
        conn.close()


def test_two_hundred_connections(broker, name):
    """All subscribe to one exchange; each message reaches all of them; they leave in disorder."""
    exchange = name("x")
    conns = [wire.Conn.open(broker, timeout=30) for _ in range(200)]
    try:
        first = conns[0].channel(1)
        first.call("exchange.declare", exchange=exchange, type="fanout", auto_delete=True)
        for conn in conns:
            ch = wire.Channel(conn, 1) if conn is conns[0] else conn.channel(1)
            q = ch.queue("", exclusive=True)
            ch.call("queue.bind", queue=q, exchange=exchange)
            ch.consume(q, no_ack=True)
        for i in range(10):
            first.publish(exchange, "", b"%d" % i)
        for conn in conns:
            assert [conn.next(1).body for _ in range(10)] == [b"%d" % i for i in range(10)]
        for conn in conns[1::2]:
            conn.abort()
        first.publish(exchange, "", b"last")
        for conn in conns[0::2]:
            assert conn.next(1).body == b"last"
            conn.close()
    finally:
        for conn in conns:
            conn.abort()


def test_many_queues_and_bindings(broker, name):
    """3,000 queues of one client, bound by 3 keys each; a message finds its own; then they go."""
    count, exchange = 3000, name("x")
    names = [name(f"q{i}") for i in range(count)]
    with wire.Conn.open(broker, timeout=60) as conn:
        ch = conn.channel(1)
        ch.call("exchange.declare", exchange=exchange, type="topic", auto_delete=True)
        for q in names:
            ch.send("queue.declare", queue=q, exclusive=True, nowait=True)
            for key in ("all.#", f"one.{q}.#", f"*.{q}"):
                ch.send("queue.bind", queue=q, exchange=exchange, routing_key=key, nowait=True)
        ch.sync()
        ch.call("confirm.select")
        for q in names[::100]:
            ch.publish(exchange, f"one.{q}", b"mine")
        ch.publish(exchange, "all.of.you", b"all")
        wait_confirms(ch, len(names[::100]) + 1)
        for i, q in enumerate(names):
            assert ch.count(q)[0] == (2 if i % 100 == 0 else 1)
        for q in names[:count // 2]:
            ch.send("queue.delete", queue=q, nowait=True)
        ch.sync()
        conn.close()


def test_connections_come_and_go(broker):
    """300 connections one after the other from four clients at once, with a queue, a message and without a goodbye every third time."""
    errors = []

    def churn():
        try:
            for i in range(75):
                conn = wire.Conn.open(broker, timeout=30)
                ch = conn.channel(1)
                q = ch.queue("", exclusive=True)
                ch.publish("", q, b"x")
                assert ch.get(q).body == b"x"
                if i % 3:
                    conn.close()
                conn.abort()
        except BaseException as e:  # noqa: B902  (carried to the test's own thread)
            errors.append(e)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(100)
    assert not errors


def test_half_open_connections_do_not_keep_others_out(broker):
    """200 sockets that say nothing, or half a header; a client still gets in, at once."""
    silent = []
    try:
        for i in range(200):
            s = socket.create_connection((broker.host, broker.port), timeout=10)
            s.sendall(b"AMQP\0\0"[:i % 7])
            silent.append(s)
        started = time.monotonic()
        with wire.Conn.open(broker, timeout=10) as conn:
            conn.channel(1).sync()
        assert time.monotonic() - started < 5
    finally:
        for s in silent:
            s.close()


@pytest.mark.slow
def test_a_backlog_of_many_messages(broker, name):
    """100,000 messages of different sizes wait, and come out in order."""
    q = name()
    with wire.Conn.open(broker, timeout=60) as conn:
        ch = conn.channel(1)
        ch.queue(q)
        for start in range(0, 100000, 1000):
            conn.send_bytes(b"".join(ch.publish_bytes("", q, b"%d:" % i + b"." * (i % 300)) for i in range(start, start + 1000)))
        ch.call("basic.qos", prefetch_count=500)
        ch.consume(q)
        for i in range(100000):
            d = ch.deliver()
            assert int(d.body.split(b":")[0]) == i and not d.redelivered
            if i % 250 == 249:
                ch.send("basic.ack", delivery_tag=d.delivery_tag, multiple=True)
        ch.sync()
        assert ch.call("queue.delete", queue=q).message_count == 0
