"""Queues with priorities: x-max-priority (RabbitMQ documentation, "Classic Queues Support Priorities")."""

import random

import pytest
import wire
from test_length import drain, publish, texts


def prioritized(ch, name, most=10, durable=False, exclusive=True, **arguments):
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    ch.call("queue.declare", queue=name, durable=durable, exclusive=exclusive, arguments={"x-max-priority": most, **arguments})
    return name


def fill(ch, q, priorities, **props):
    """Bodies say priority and number."""
    for i, p in enumerate(priorities):
        ch.publish("", q, b"%d.%d" % (p, i), priority=p, **props)
    ch.sync()


def ordered(priorities, most=10):
    pairs = sorted(enumerate(priorities), key=lambda pair: (-min(pair[1], most), pair[0]))
    return [b"%d.%d" % (p, i) for i, p in pairs]


@pytest.fixture
def pub(conn):
    return conn.channel(2)


def test_the_highest_goes_first(ch, pub, name):
    q = prioritized(ch, name())
    priorities = [0, 5, 3, 5, 10, 0, 1]
    fill(pub, q, priorities)
    assert ch.count(q) == (7, 0)
    assert drain(ch, q) == ordered(priorities)


def test_no_priority_is_the_lowest_and_too_much_is_the_highest(ch, pub, name):
    q = prioritized(ch, name(), most=3)
    pub.publish("", q, b"none")
    pub.publish("", q, b"zero", priority=0)
    pub.publish("", q, b"three", priority=3)
    pub.publish("", q, b"max", priority=255)
    pub.publish("", q, b"more", priority=4)
    pub.publish("", q, b"one", priority=1)
    pub.sync()
    assert drain(ch, q) == [b"three", b"max", b"more", b"one", b"none", b"zero"]


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("mode", [1, 2])
def test_all_levels(ch, pub, name, most, mode):
    q = prioritized(ch, name(), most=most, durable=True)
    rng = random.Random(most)
    priorities = [rng.randrange(256) for _ in range(1000)]
    fill(pub, q, priorities, delivery_mode=mode)
    assert drain(ch, q) == ordered(priorities, most)


def test_without_the_argument_priorities_mean_nothing(ch, pub, name):
    q = ch.queue(name(), exclusive=True)
    fill(pub, q, [1, 9, 5])
    assert drain(ch, q) == [b"1.0", b"9.1", b"5.2"]


def test_delivery_to_consumers(ch, pub, name):
    q = prioritized(ch, name())
    fill(pub, q, [1, 9, 5, 9])
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q)
    for i, body in enumerate([b"9.1", b"9.3", b"5.2", b"1.0"], 1):
        assert ch.deliver().body == body
        if i == 2:  # what comes later overtakes, but not what is out
            pub.publish("", q, b"late", priority=7)
            pub.sync()
            ch.send("basic.ack", delivery_tag=2)
            assert ch.deliver().body == b"late"
            ch.send("basic.ack", delivery_tag=3)
        else:
            ch.send("basic.ack", delivery_tag=i if i < 2 else i + 1)


def test_what_comes_back_returns_to_its_place(ch, pub, name):
    q = prioritized(ch, name())
    fill(pub, q, [5, 5, 5, 1, 9])
    got = [ch.get(q, no_ack=False) for _ in range(4)]
    assert [g.body for g in got] == [b"9.4", b"5.0", b"5.1", b"5.2"]
    pub.publish("", q, b"new", priority=5)
    pub.publish("", q, b"top", priority=10)
    pub.sync()
    ch.send("basic.nack", delivery_tag=got[2].delivery_tag, requeue=True)
    ch.send("basic.nack", delivery_tag=got[1].delivery_tag, requeue=True)
    ch.send("basic.nack", delivery_tag=got[0].delivery_tag, requeue=True)
    ch.sync()
    left = [ch.get(q) for _ in range(6)]
    assert [g.body for g in left] == [b"top", b"9.4", b"5.0", b"5.1", b"new", b"1.3"]
    assert [g.redelivered for g in left] == [False, True, True, True, False, False]


def test_purge_and_count(ch, pub, name):
    q = prioritized(ch, name())
    fill(pub, q, [1, 2, 3, 4])
    assert ch.get(q, no_ack=False).body == b"4.3"
    assert ch.call("queue.purge", queue=q).message_count == 3
    ch.send("basic.recover", requeue=True)
    ch.expect("basic.recover-ok")
    assert drain(ch, q) == [b"4.3"]


def test_delete(ch, pub, name):
    q = prioritized(ch, name())
    fill(pub, q, [1, 2, 3, 4])
    assert ch.call("queue.delete", queue=q).message_count == 4


@pytest.mark.parametrize("mode", [1, 2])
def test_transactions(ch, pub, name, mode):
    q = prioritized(ch, name(), durable=True)
    pub.call("tx.select")
    for i, p in enumerate([1, 8, 3]):
        pub.publish("", q, b"%d.%d" % (p, i), priority=p, delivery_mode=mode)
    other = ch.conn.channel(3)
    other.publish("", q, b"between", priority=5, delivery_mode=mode)
    other.sync()
    pub.call("tx.commit")
    assert drain(ch, q) == [b"8.1", b"between", b"3.2", b"1.0"]


@pytest.mark.leveret_only("RabbitMQ drops from the highest level first")
def test_the_lowest_are_dropped_first(ch, pub, name):
    q = prioritized(ch, name(), x_max_length=3)
    fill(pub, q, [1, 9, 1, 5, 9])
    assert drain(ch, q) == [b"9.1", b"9.4", b"5.3"]
    fill(pub, q, [9, 9, 9, 1])  # the newest is the lowest
    assert drain(ch, q) == [b"9.0", b"9.1", b"9.2"]


def test_refusal_does_not_look_at_priorities(ch, pub, name):
    q = prioritized(ch, name(), x_max_length=2, x_overflow="reject-publish")
    assert publish(pub, q, 2) == set()
    assert publish(ch.conn.channel(3), q, 1, priority=10) == {1}
    assert drain(ch, q) == texts(1, 2)


@pytest.mark.needs_restart
@pytest.mark.leveret_only("stops and starts the daemon in ways RabbitMQ's scripts do not allow")
@pytest.mark.parametrize("is_killed", [False, True])
def test_levels_after_a_restart(start_broker, is_killed):
    broker = start_broker()  # segments are small: some of it is in backlog files
    ch = wire.Conn.open(broker).channel(1)
    q = prioritized(ch, "levels", durable=True, exclusive=False)
    pub = ch.conn.channel(2)
    pub.call("confirm.select")
    rng = random.Random(1)
    priorities = [rng.randrange(12) for _ in range(3000)]
    sent = 0
    for i, p in enumerate(priorities):
        pub.publish("", q, b"%d.%d" % (p, i) + b"." * (1 << 11), priority=p, delivery_mode=2)
        sent += 1
    done = 0
    while done < sent:
        method = pub.next()
        assert method.name == "basic.ack"
        done = method.delivery_tag if method.multiple else done + 1
    expected = ordered(priorities)
    out = [ch.get(q, no_ack=False) for _ in range(5)]
    assert [g.body.split(b".")[1] for g in out] == [b.split(b".")[1] for b in expected[:5]]
    ch.send("basic.ack", delivery_tag=out[1].delivery_tag)
    ch.sync()
    if not is_killed:
        ch.send("basic.recover", requeue=True)
        ch.expect("basic.recover-ok")
        ch.conn.close()
        broker.restart()
    else:
        pub.publish("", q, b"confirmed", priority=0, delivery_mode=2)  # the ack is written with it
        pub.expect("basic.ack")
        broker.kill()
        broker.start()
        ch.conn.abort()
        expected.append(b"confirmed")
    ch = wire.Conn.open(broker).channel(1)
    del expected[1]
    assert ch.count(q)[0] == len(expected)
    assert [b.rstrip(b".") for b in drain(ch, q)] == expected
    ch.conn.close()
