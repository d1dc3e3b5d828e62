"""x-message-ttl, expiration, x-expires: what has expired is never handed out, and leaves wherever it stands.

Nothing here depends on how fast the machine is: short times are waited for until their effect is seen, long ones never end.
"""

import time

import pytest
import wire

LONG = "3600000"
SHORT = "50"

better = pytest.mark.leveret_only("RabbitMQ drops expired messages at the head of a queue alone")
restarts = pytest.mark.leveret_only("stops and starts the daemon in ways RabbitMQ's scripts do not allow")


def wait_count(ch, queue, count):
    """Until so many messages are ready; the connection's timeout ends it."""
    deadline = time.monotonic() + ch.conn.timeout
    while ch.count(queue)[0] != count:
        assert time.monotonic() < deadline, f"{ch.count(queue)[0]} messages, not {count}"
        time.sleep(0.005)


def wait_confirms(ch, count):
    open_tags = set(range(1, count + 1))
    while open_tags:
        ack = ch.expect("basic.ack")
        open_tags -= set(range(1, ack.delivery_tag + 1)) if ack.multiple else {ack.delivery_tag}


def wait_gone(ch, queue, every=0.3):
    """Until the queue is not there any more: with longer pauses than it lives, as each look makes it used."""
    deadline = time.monotonic() + ch.conn.timeout
    conn = ch.conn
    number = 100
    while True:
        assert time.monotonic() < deadline, "the queue is still there"
        time.sleep(every)
        number += 1
        other = conn.channel(number)
        try:
            other.call("queue.declare", queue=queue, passive=True)
            other.close()
        except wire.Closed as e:
            assert e.code == 404
            return


def ttl_queue(ch, ttl, **values):
    values.setdefault("exclusive", True)
    return ch.queue("", arguments={"x-message-ttl": ttl}, **values)


def test_queue_ttl(ch):
    q = ttl_queue(ch, 60)
    for i in range(10):
        ch.publish("", q, b"%d" % i)
    wait_count(ch, q, 0)
    assert ch.get(q) is None


def test_message_ttl(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"a", expiration=SHORT)
    ch.publish("", q, b"b", expiration=LONG)
    ch.publish("", q, b"c")
    wait_count(ch, q, 2)
    assert [ch.get(q).body for _ in range(2)] == [b"b", b"c"]


def test_the_lower_one_counts(ch):
    q = ttl_queue(ch, 3600000)
    ch.publish("", q, b"a", expiration=SHORT)
    wait_count(ch, q, 0)
    q = ttl_queue(ch, 50)
    ch.publish("", q, b"a", expiration=LONG)
    wait_count(ch, q, 0)


@better
def test_expired_behind_one_that_is_not(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"first")
    for i in range(1000):
        ch.publish("", q, b"x", expiration=str(1 + i % 40))
    ch.publish("", q, b"last", expiration=LONG)
    wait_count(ch, q, 2)
    assert [ch.get(q).body for _ in range(2)] == [b"first", b"last"]


def test_zero_without_a_consumer(ch):
    q = ch.queue("", exclusive=True)
    for _ in range(20):
        ch.publish("", q, b"x", expiration="0")
        ch.sync()
        assert ch.get(q) is None
    q = ttl_queue(ch, 0)
    ch.publish("", q, b"x")
    ch.sync()
    assert ch.get(q) is None


def test_zero_with_a_consumer(ch):
    q = ttl_queue(ch, 0)
    ch.consume(q, no_ack=True)
    for i in range(20):
        ch.publish("", q, b"%d" % i)
        assert ch.deliver().body == b"%d" % i


def test_zero_with_a_consumer_that_is_busy(ch):
    q = ttl_queue(ch, 0)
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q)
    ch.publish("", q, b"1")
    first = ch.deliver()
    ch.publish("", q, b"2")
    ch.sync()
    wait_count(ch, q, 0)
    ch.send("basic.ack", delivery_tag=first.delivery_tag)
    ch.publish("", q, b"3")
    assert ch.deliver().body == b"3"


def test_out_does_not_expire(ch):
    """A delivery outlives its time; given back it is gone."""
    q = ttl_queue(ch, 100)
    ch.publish("", q, b"a")
    ch.publish("", q, b"b")
    a = ch.get_soon(q, no_ack=False)
    ch.publish("", q, b"c")
    wait_count(ch, q, 0)
    ch.send("basic.nack", delivery_tag=a.delivery_tag, requeue=True)
    ch.sync()
    wait_count(ch, q, 0)
    assert ch.get(q) is None


def test_requeued_keeps_its_time(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"a", expiration="400")
    for _ in range(3):
        got = ch.get_soon(q, no_ack=False)
        ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=True)
    wait_count(ch, q, 0)


def test_a_property_stays_as_it_was(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"a", expiration=LONG)
    assert ch.get_soon(q).props["expiration"] == LONG


def test_transactions(conn):
    tx, other = conn.channel(1), conn.channel(2)
    tx.call("tx.select")
    q = other.queue("", exclusive=True)
    tx.publish("", q, b"a", expiration=SHORT)
    tx.publish("", q, b"b")
    tx.publish("", q, b"c", expiration=LONG)
    tx.call("tx.commit")
    wait_count(other, q, 2)
    assert [other.get(q).body for _ in range(2)] == [b"b", b"c"]


def test_persistent_ones(ch, name):
    """Through the commit log, with confirms."""
    q = ch.queue(name(), durable=True, auto_delete=True)
    ch.call("confirm.select")
    for i in range(300):
        ch.publish("", q, b"x" * 1000, delivery_mode=2, **({"expiration": str(i % 50)} if i % 3 else {}))
    wait_confirms(ch, 300)
    wait_count(ch, q, 100)
    assert all("expiration" not in ch.get(q).props for _ in range(100))
    assert ch.get(q) is None
    ch.call("queue.delete", queue=q)


# --- x-expires ---


def test_an_unused_queue_goes(ch):
    q = ch.queue("", arguments={"x-expires": 100})
    ch.publish("", q, b"x")
    wait_gone(ch, q)


def test_a_consumer_keeps_it(ch):
    q = ch.queue("", arguments={"x-expires": 50})
    tag = ch.consume(q, no_ack=True)
    for i in range(5):
        time.sleep(0.05)
        ch.publish("", q, b"%d" % i)
        assert ch.deliver().body == b"%d" % i
    ch.call("basic.cancel", consumer_tag=tag)
    wait_gone(ch, q)


def test_it_can_be_declared_again(ch, name):
    q = name()
    for _ in range(3):
        ch.queue(q, arguments={"x-expires": 50})
        ch.publish("", q, b"x")
        wait_gone(ch, q)
    assert ch.call("queue.declare", queue=q, arguments={"x-expires": 50}).message_count == 0


# --- restarts ---


def channel_of(broker):
    return wire.Conn.open(broker).channel(1)


def fill(ch):
    """Persistent messages: what is to go, behind what is to stay, in a durable queue with a TTL and one without."""
    ch.call("confirm.select")
    ch.queue("plain", durable=True)
    ch.queue("ttl", durable=True, arguments={"x-message-ttl": 2000})
    ch.publish("", "plain", b"first", delivery_mode=2)
    for i in range(200):
        ch.publish("", "plain", b"gone", delivery_mode=2, expiration=str(500 + 7 * i))
        ch.publish("", "ttl", b"gone", delivery_mode=2)
    ch.publish("", "plain", b"last", delivery_mode=2, expiration=LONG)
    wait_confirms(ch, 402)


def check(ch):
    wait_count(ch, "plain", 2)
    wait_count(ch, "ttl", 0)
    assert [ch.get("plain", no_ack=False).body for _ in range(2)] == [b"first", b"last"]
    ch.call("basic.recover", requeue=True)


@pytest.mark.needs_restart
@restarts
@pytest.mark.parametrize("end", ["kill", "restart"])
def test_times_outlive_the_daemon(start_broker, end):
    broker = start_broker()
    ch = channel_of(broker)
    fill(ch)
    if end == "kill":
        broker.kill()
        broker.start()
    else:
        broker.restart()
    ch = channel_of(broker)
    check(ch)
    # And what has gone stays gone.
    broker.kill()
    broker.start()
    ch = channel_of(broker)
    check(ch)


@pytest.mark.needs_restart
@restarts
def test_an_unused_queue_goes_after_a_restart(start_broker):
    broker = start_broker()
    ch = channel_of(broker)
    ch.queue("q", durable=True, arguments={"x-expires": 300})
    broker.kill()
    broker.start()
    wait_gone(channel_of(broker), "q", every=0.8)
