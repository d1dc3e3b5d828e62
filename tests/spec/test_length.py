"""Length limits of queues: x-max-length, x-max-length-bytes, x-overflow (RabbitMQ documentation, "Queue Length Limit")."""

import time

import pytest
import wire
from test_publish import Confirms


def limited(ch, name="", durable=False, exclusive=True, **arguments):
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    ch.call("queue.declare", queue=name, durable=durable, exclusive=exclusive, arguments=arguments)
    return name


def drain(ch, q):
    bodies = []
    while (got := ch.get(q)) is not None:
        bodies.append(got.body)
    return bodies


def publish(ch, q, count, **props):
    """With confirms, on a channel of its own. Returns the numbers that were refused."""
    confirms = Confirms(ch)
    for i in range(1, count + 1):
        confirms.publish("", q, b"%d" % i, **props)
    confirms.wait()
    return confirms.nacked


def texts(*numbers):
    return [b"%d" % n for n in numbers]


@pytest.fixture
def pub(conn):
    return conn.channel(2)


@pytest.mark.parametrize("mode", [1, 2])
def test_the_oldest_go(ch, pub, name, mode):
    q = limited(ch, name(), durable=True, x_max_length=3)
    assert publish(pub, q, 10, delivery_mode=mode) == set()
    assert ch.count(q) == (3, 0)
    assert drain(ch, q) == texts(8, 9, 10)


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_the_newest_are_refused(ch, pub, name, mode, overflow):
    q = limited(ch, name(), durable=True, x_max_length=3, x_overflow=overflow)
    assert publish(pub, q, 10, delivery_mode=mode) == set(range(4, 11))
    assert drain(ch, q) == texts(1, 2, 3)


def test_bytes_are_those_of_bodies(ch, pub, name):
    q = limited(ch, name(), x_max_length_bytes=100)
    for i in range(9):
        pub.publish("", q, b"%d" % i * 30, headers={"long": "h" * 500})
    pub.publish("", q, b"9" * 10)
    pub.sync()
    assert drain(ch, q) == [b"6" * 30, b"7" * 30, b"8" * 30, b"9" * 10]
    pub.publish("", q, b"x" * 50)
    pub.publish("", q, b"y" * 101)  # larger than the limit: all go, it too
    pub.sync()
    assert drain(ch, q) == []


def test_bytes_refuse(ch, pub, name):
    q = limited(ch, name(), x_max_length_bytes=100, x_overflow="reject-publish")
    confirms = Confirms(pub)
    sizes = [60, 50, 40, 1, 0]
    for size in sizes:
        confirms.publish("", q, b"x" * size)
    confirms.wait()
    assert confirms.nacked == {2, 4}
    assert [len(b) for b in drain(ch, q)] == [60, 40, 0]


def test_only_ready_messages_count(ch, pub, name):
    q = limited(ch, name(), x_max_length=2, x_overflow="reject-publish")
    assert publish(pub, q, 2) == set()
    assert [ch.get(q, no_ack=False).body for _ in range(2)] == texts(1, 2)
    pub.publish("", q, b"3")
    pub.publish("", q, b"4")
    pub.publish("", q, b"5")
    pub.sync()
    ch.send("basic.recover", requeue=True)
    ch.expect("basic.recover-ok")
    assert drain(ch, q) == texts(1, 2, 3, 4)  # what comes back is not refused


def test_what_comes_back_may_have_to_go(ch, pub, name):
    q = limited(ch, name(), x_max_length=2)
    publish(pub, q, 2)
    got = [ch.get(q, no_ack=False) for _ in range(2)]
    for body in (b"3", b"4"):
        pub.publish("", q, body)
    pub.sync()
    ch.send("basic.nack", delivery_tag=got[1].delivery_tag, multiple=True, requeue=True)
    ch.sync()
    assert drain(ch, q) == texts(3, 4)


@pytest.mark.parametrize("overflow, refused", [("drop-head", set()), ("reject-publish", {1, 2, 3})])
def test_a_limit_of_none(ch, pub, name, overflow, refused):
    q = limited(ch, name(), x_max_length=0, x_overflow=overflow)
    assert publish(pub, q, 3) == refused
    assert ch.get(q) is None
    assert ch.count(q) == (0, 0)


def test_a_limit_of_none_with_a_consumer(ch, pub, name):
    """Drop-head: a consumer that waits gets them; reject-publish refuses all the same."""
    q = limited(ch, name(), x_max_length=0)
    ch.consume(q, no_ack=True)
    assert publish(pub, q, 100) == set()
    assert [ch.deliver().body for _ in range(100)] == texts(*range(1, 101))
    other = limited(ch, name("other"), x_max_length=0, x_overflow="reject-publish")
    ch.consume(other, no_ack=True)
    assert publish(ch.conn.channel(3), other, 3) == {1, 2, 3}
    ch.expect_silence()


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish"])
def test_a_waiting_consumer_takes_what_would_not_fit(ch, pub, name, overflow):
    q = limited(ch, name(), x_max_length=1, x_overflow=overflow)
    ch.consume(q, no_ack=True)
    assert publish(pub, q, 200) == set()
    assert [ch.deliver().body for _ in range(200)] == texts(*range(1, 201))


def test_prefetch_bounds_what_a_consumer_takes(ch, pub, name):
    q = limited(ch, name(), x_max_length=2, x_overflow="reject-publish")
    ch.call("basic.qos", prefetch_count=3)
    ch.consume(q)
    assert publish(pub, q, 10) == {6, 7, 8, 9, 10}
    got = [ch.deliver() for _ in range(3)]
    assert [d.body for d in got] == texts(1, 2, 3)
    ch.send("basic.ack", delivery_tag=got[-1].delivery_tag, multiple=True)
    assert [ch.deliver().body for _ in range(2)] == texts(4, 5)


def test_one_queue_that_refuses_is_enough(ch, pub, name):
    small = limited(ch, name("small"), x_max_length=1, x_overflow="reject-publish")
    large = ch.queue(name("large"), exclusive=True)
    for q in (small, large):
        ch.call("queue.bind", queue=q, exchange="amq.fanout")
    confirms = Confirms(pub)
    for i in range(3):
        confirms.publish("amq.fanout", "", b"%d" % i, mandatory=True)
    assert confirms.wait() == []  # a refusal is no return
    assert confirms.nacked == {2, 3}
    assert (ch.count(small)[0], ch.count(large)[0]) == (1, 3)


def test_without_confirms_a_refused_message_is_dropped(ch, pub, name):
    q = limited(ch, name(), x_max_length=1, x_overflow="reject-publish")
    for i in range(3):
        pub.publish("", q, b"%d" % i, mandatory=True)
    pub.sync()
    assert drain(ch, q) == [b"0"]


@pytest.mark.parametrize("mode", [1, 2])
def test_a_transaction_may_drop(ch, pub, name, mode):
    q = limited(ch, name(), durable=True, x_max_length=2)
    pub.call("tx.select")
    for i in range(1, 5):
        pub.publish("", q, b"%d" % i, delivery_mode=mode)
    pub.call("tx.commit")
    assert drain(ch, q) == texts(3, 4)


@pytest.mark.parametrize("mode", [1, 2])
def test_a_transaction_is_refused(ch, pub, name, mode):
    """All of it: nothing is there afterwards (in RabbitMQ what found room is)."""
    q = limited(ch, name(), durable=True, x_max_length=2, x_overflow="reject-publish")
    pub.call("tx.select")
    for i in range(1, 4):
        pub.publish("", q, b"%d" % i, delivery_mode=mode)
    with pytest.raises(wire.Closed) as e:
        pub.call("tx.commit")
    assert (e.value.code, e.value.text) == (406, "PRECONDITION_FAILED - partial tx completion")
    assert drain(ch, q) in ([], texts(1, 2))
    tx = ch.conn.channel(3)
    tx.call("tx.select")
    for i in range(1, 3):
        tx.publish("", q, b"%d" % i, delivery_mode=mode)
    tx.call("tx.commit")
    assert drain(ch, q) == texts(1, 2)


def test_limits_hold_for_each_redeclare_and_purge(ch, pub, name):
    q = limited(ch, name(), x_max_length=2)
    publish(pub, q, 5)
    assert ch.call("queue.purge", queue=q).message_count == 2
    with pytest.raises(wire.Closed) as e:
        limited(ch, q, x_max_length=3)
    assert e.value.code == 406


@pytest.mark.needs_admin
def test_a_policy_for_a_queue_that_is_long_already(ch, pub, broker, name):
    q = ch.queue(name(), exclusive=True)
    publish(pub, q, 5000)
    broker.ctl("set_policy", q, f"^{q}$", '{"max-length": 10}')
    try:
        wait_for(ch, q, 10)
        assert drain(ch, q) == texts(*range(4991, 5001))
        broker.ctl("set_policy", q, f"^{q}$", '{"max-length": 2, "overflow": "reject-publish"}')
        assert publish(ch.conn.channel(3), q, 4) == {3, 4}
    finally:
        broker.ctl("clear_policy", q)
    assert publish(ch.conn.channel(4), q, 3) == set()
    assert drain(ch, q) == texts(1, 2, 1, 2, 3)


def wait_for(ch, q, count, deadline=5.0):
    end = time.monotonic() + deadline
    while ch.count(q)[0] != count:
        assert time.monotonic() < end, ch.count(q)
        time.sleep(0.01)


def refill(ch, q, first, last, **props):
    for i in range(first, last + 1):
        ch.publish("", q, b"%d" % i, delivery_mode=2, **props)
    ch.sync()


@pytest.mark.needs_restart
@pytest.mark.leveret_only("stops and starts the daemon in ways RabbitMQ's scripts do not allow")
@pytest.mark.parametrize("is_killed", [False, True])
def test_limits_after_a_restart(start_broker, is_killed):
    broker = start_broker()
    ch = wire.Conn.open(broker).channel(1)
    dropping = limited(ch, "dropping", durable=True, exclusive=False, x_max_length=100)
    refusing = limited(ch, "refusing", durable=True, exclusive=False, x_max_length=100, x_overflow="reject-publish")
    pub = ch.conn.channel(2)
    assert publish(pub, dropping, 1000, delivery_mode=2) == set()
    pub = ch.conn.channel(3)
    assert publish(pub, refusing, 150, delivery_mode=2) == set(range(101, 151))
    ch.conn.close()
    if is_killed:
        broker.kill()
        broker.start()
    else:
        broker.restart()
    ch = wire.Conn.open(broker).channel(1)
    assert ch.count(dropping)[0] == 100 and ch.count(refusing)[0] == 100
    assert publish(ch.conn.channel(2), refusing, 3, delivery_mode=2) == {1, 2, 3}
    refill(ch.conn.channel(3), dropping, 1001, 1010)
    assert drain(ch, dropping) == texts(*range(911, 1011))
    assert drain(ch, refusing) == texts(*range(1, 101))
    ch.conn.close()
