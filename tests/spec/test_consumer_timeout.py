"""Deliveries that are not acknowledged in time: requeued, their consumer cancelled, the channel lives on."""

import time

import pytest
import wire

pytestmark = pytest.mark.leveret_only("RabbitMQ 3.10 closes the channel with 406, and looks once a minute")

SHORT = 1000  # ms
NOTIFY = {**wire.CAPABILITIES, "consumer_cancel_notify": True}


@pytest.fixture
def late(connect):
    """late(): a channel of a client that hears of cancelled consumers."""
    return lambda: connect(capabilities=NOTIFY).channel(1)


@pytest.fixture
def queue(ch, name):
    made = ch.queue(name(), arguments={"x-consumer-timeout": SHORT})
    yield made
    ch.conn.channel(99).call("queue.delete", queue=made)


def fill(ch, queue, *bodies):
    for body in bodies:
        ch.publish("", queue, body.encode())
    ch.sync()


def take(channel, count):
    return [channel.deliver() for _ in range(count)]


def cancelled(channel, tag, since):
    """Waits for the broker's basic.cancel, which may not come before the time is over."""
    method = channel.expect("basic.cancel", timeout=10)
    assert method.consumer_tag == tag and time.monotonic() - since >= SHORT / 1000 - 0.005


def test_what_a_late_consumer_has_goes_back_and_it_is_cancelled(ch, queue, late):
    a = late()
    a.consume(queue, "slow")
    since = time.monotonic()
    fill(ch, queue, *"12345")
    take(a, 5)
    a.send("basic.ack", delivery_tag=2)
    cancelled(a, "slow", since)
    got = [ch.get_soon(queue) for _ in range(4)]
    assert [(m.body, m.redelivered) for m in got] == [(b"1", True), (b"3", True), (b"4", True), (b"5", True)]
    assert ch.count(queue) == (0, 0)
    # The channel lives: acks of what went back are ignored, and it can consume again.
    a.send("basic.ack", delivery_tag=1)
    a.send("basic.ack", delivery_tag=5, multiple=True)
    a.send("basic.nack", delivery_tag=3, requeue=True)
    a.consume(queue, "slow")
    fill(ch, queue, "6")
    a.send("basic.ack", delivery_tag=a.deliver().delivery_tag)
    a.sync()
    with pytest.raises(wire.Closed) as e:
        a.call("basic.recover", requeue=True)
        a.send("basic.ack", delivery_tag=77)
        a.sync()
    assert e.value.code == 406


def test_others_take_over_in_order(ch, queue, late):
    a, b = late(), late()
    a.call("basic.qos", prefetch_count=3)
    a.consume(queue, "slow", arguments={"x-priority": 1})
    since = time.monotonic()
    fill(ch, queue, *"12345")
    take(a, 3)
    b.call("basic.qos", prefetch_count=1)
    b.consume(queue, "next")
    seen = []
    while len(seen) < 5:
        d = b.deliver(timeout=10)
        seen.append(d.body.decode())
        b.send("basic.ack", delivery_tag=d.delivery_tag)
    cancelled(a, "slow", since)
    assert seen == list("45123")
    a.sync()


def test_who_acknowledges_in_time_stays(ch, queue, late):
    a = late()
    a.call("basic.qos", prefetch_count=1)
    a.consume(queue, "quick")
    end = time.monotonic() + SHORT / 1000 * 3
    count = 0
    while time.monotonic() < end:
        fill(ch, queue, str(count))
        d = a.deliver()
        time.sleep(SHORT / 1000 / 8)
        a.send("basic.ack", delivery_tag=d.delivery_tag)
        count += 1
    a.sync()
    assert ch.count(queue) == (0, 1)


def test_other_consumers_of_the_channel_stay(ch, queue, late, name):
    a = late()
    other = ch.queue(name("other"), exclusive=False, auto_delete=True)
    a.consume(other, "patient")
    a.consume(queue, "slow")
    since = time.monotonic()
    fill(ch, other, "a")
    fill(ch, queue, "b")
    take(a, 2)
    cancelled(a, "slow", since)
    fill(ch, other, "c")
    d = a.deliver()
    assert (d.consumer_tag, d.body) == ("patient", b"c")
    a.send("basic.ack", delivery_tag=d.delivery_tag, multiple=True)
    a.sync()
    assert ch.count(other) == (0, 1)


def test_a_late_get_goes_back_alone(ch, queue, late):
    a = late()
    fill(ch, queue, *"12")
    since = time.monotonic()
    got = a.get_soon(queue, no_ack=False)
    assert got.body == b"1"
    a.send("basic.ack", delivery_tag=a.get(queue, no_ack=False).delivery_tag)
    back = ch.get_soon(queue)
    while back is None:
        back = ch.get(queue)
    assert (back.body, back.redelivered) == (b"1", True) and time.monotonic() - since >= SHORT / 1000 - 0.005
    a.send("basic.ack", delivery_tag=got.delivery_tag)
    a.sync()


def test_deliveries_of_a_cancelled_consumer_go_back_too(ch, queue, late):
    a = late()
    a.consume(queue, "slow")
    fill(ch, queue, *"12")
    take(a, 2)
    a.call("basic.cancel", consumer_tag="slow")
    assert [ch.get_soon(queue).body for _ in range(2)] == [b"1", b"2"]
    a.sync()


def test_no_ack_is_never_late(ch, queue, late):
    a = late()
    a.consume(queue, "c", no_ack=True)
    fill(ch, queue, "1")
    a.deliver()
    a.expect_silence(SHORT / 1000 * 2)
    assert ch.count(queue) == (0, 1)


def test_a_consumer_may_have_its_own_timeout(ch, queue, late):
    patient, hasty = late(), late()
    patient.consume(queue, "patient", arguments={"x-consumer-timeout": 0})
    fill(ch, queue, "1")
    patient.deliver()
    other = ch.queue("", exclusive=True)
    mine = late()
    plain = mine.queue("", exclusive=True)
    mine.consume(plain, "hasty", arguments={"x-consumer-timeout": SHORT})
    since = time.monotonic()
    mine.publish("", plain, b"2")
    mine.deliver()
    cancelled(mine, "hasty", since)
    assert ch.count(other) == (0, 0)
    patient.sync()
    assert ch.count(queue) == (0, 1)
    del hasty


@pytest.mark.parametrize("value, why", [("soon", '"expected integer, got longstr"'), (-1, "{value_negative,-1}")])
def test_a_timeout_that_is_none(ch, queue, value, why):
    with pytest.raises(wire.Closed) as e:
        ch.conn.channel(2).consume(queue, arguments={"x-consumer-timeout": value})
    assert (e.value.code, e.value.text) == (406, f"PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue '{queue}' in vhost '/': {why}")


def test_it_counts_as_a_delivery_that_came_back(ch, late, name):
    queue = ch.queue(name(), durable=True, arguments={"x-consumer-timeout": SHORT, "x-delivery-limit": 1})
    try:
        ch.publish("", queue, b"x")
        for n in range(2):
            a = late()
            since = time.monotonic()
            a.consume(queue, "c")
            headers = a.deliver().props.get("headers", {})
            assert headers == ({"x-delivery-count": wire.T("l", 1)} if n else {})
            cancelled(a, "c", since)
        assert ch.count(queue) == (0, 0) and ch.get(queue) is None
    finally:
        ch.call("queue.delete", queue=queue)


def test_the_next_single_active_consumer_takes_over(ch, late, name):
    queue = ch.queue(name(), arguments={"x-consumer-timeout": SHORT, "x-single-active-consumer": True})
    try:
        a, b = late(), late()
        a.call("basic.qos", prefetch_count=2)
        a.consume(queue, "first")
        b.consume(queue, "second")
        since = time.monotonic()
        fill(ch, queue, *"1234")
        take(a, 2)
        cancelled(a, "first", since)
        assert [d.body for d in take(b, 4)] == [b"1", b"2", b"3", b"4"]
    finally:
        ch.call("queue.delete", queue=queue)


def test_a_transaction_that_is_open(ch, queue, late):
    a = late()
    a.call("tx.select")
    a.consume(queue, "c")
    since = time.monotonic()
    fill(ch, queue, *"12")
    take(a, 2)
    a.send("basic.ack", delivery_tag=1)
    cancelled(a, "c", since)
    assert ch.get_soon(queue).body == b"2"
    a.call("tx.rollback")  # what it had acknowledged is its again, and late
    assert ch.get_soon(queue).body == b"1"
    a.sync()


def test_many_at_once(ch, queue, late):
    a = late()
    a.consume(queue, "c")
    since = time.monotonic()
    for i in range(6000):
        ch.publish("", queue, b"%d" % i)
    # All come, or, if this takes long, those that came in time.
    while a.expect("basic.deliver", "basic.cancel", timeout=10).name != "basic.cancel":
        pass
    assert time.monotonic() - since >= SHORT / 1000 - 0.005
    b = late()
    b.consume(queue, "d", no_ack=True)
    assert [int(d.body) for d in take(b, 6000)] == list(range(6000))
