"""x-single-active-consumer: one consumer at a time, the next when it goes; on classic and quorum queues."""

import pytest
import wire

SINGLE = {"x-single-active-consumer": True}
KINDS = {"classic": SINGLE, "quorum": {**SINGLE, "x-queue-type": "quorum"}}


@pytest.fixture(params=sorted(KINDS))
def queue(request, ch, name):
    made = ch.queue(name(request.param), durable=True, arguments=KINDS[request.param])
    yield made
    cleaner = ch.conn.channel(99)
    cleaner.call("queue.delete", queue=made)


@pytest.fixture
def consumer(connect, queue):
    """consumer(tag, **values): a consumer on a channel and connection of its own, with a prefetch of one."""

    def start(tag, prefetch=1, **values):
        channel = connect().channel(1)
        if prefetch:
            channel.call("basic.qos", prefetch_count=prefetch)
        channel.consume(queue, tag, **values)
        return channel

    return start


def fill(ch, queue, *bodies):
    for body in bodies:
        ch.publish("", queue, body.encode(), delivery_mode=2)
    ch.sync()


def body_of(channel, ack=True):
    d = channel.deliver()
    if ack:
        channel.send("basic.ack", delivery_tag=d.delivery_tag)
    return d.body.decode()


def silent(*channels):
    for channel in channels:
        channel.expect_silence(0.15)


def test_only_the_first_gets_messages(ch, queue, consumer):
    first, second = consumer("a"), consumer("b")
    fill(ch, queue, *"123456")
    assert [body_of(first) for _ in range(6)] == list("123456")
    silent(first, second)


def test_others_wait_though_the_first_is_full(ch, queue, consumer):
    first, second = consumer("a", prefetch=2), consumer("b", prefetch=0)
    fill(ch, queue, *"12345")
    assert [body_of(first, ack=False) for _ in range(2)] == list("12")
    silent(first, second)
    first.send("basic.ack", delivery_tag=2, multiple=True)
    assert [body_of(first, ack=False) for _ in range(2)] == list("34")
    silent(second)


def test_the_next_to_come_takes_over_after_a_cancel(ch, queue, consumer):
    first, second, third = consumer("a"), consumer("b"), consumer("c")
    first.call("basic.cancel", consumer_tag="a")
    fill(ch, queue, *"12")
    assert body_of(second) == "1" and body_of(second) == "2"
    second.call("basic.cancel", consumer_tag="b")
    fill(ch, queue, "3")
    assert body_of(third) == "3"
    silent(first, second)


@pytest.mark.parametrize("end", ["channel", "connection", "abort"])
def test_the_next_to_come_takes_over_what_comes_back(ch, queue, consumer, end):
    first, second = consumer("a", prefetch=3), consumer("b", prefetch=3)
    fill(ch, queue, *"12345")
    assert [body_of(first, ack=False) for _ in range(3)] == list("123")
    first.send("basic.ack", delivery_tag=1)
    body_of(first, ack=False)
    {"channel": first.close, "connection": first.conn.close, "abort": first.conn.abort}[end]()
    got = [second.deliver() for _ in range(3)]
    assert [(d.body.decode(), d.redelivered) for d in got] == [("2", True), ("3", True), ("4", True)]
    second.send("basic.ack", delivery_tag=got[-1].delivery_tag, multiple=True)
    assert body_of(second) == "5"


def test_the_old_one_keeps_what_it_has(ch, queue, consumer):
    first, second = consumer("a", prefetch=2), consumer("b", prefetch=2)
    fill(ch, queue, *"12")
    assert [body_of(first, ack=False) for _ in range(2)] == list("12")
    first.call("basic.cancel", consumer_tag="a")
    fill(ch, queue, *"34")
    assert [body_of(second, ack=False) for _ in range(2)] == list("34")
    first.send("basic.nack", delivery_tag=2, requeue=True)
    first.send("basic.ack", delivery_tag=1)
    second.send("basic.ack", delivery_tag=2, multiple=True)
    assert body_of(second) == "2"


def test_a_standby_that_goes_changes_nothing(ch, queue, consumer):
    first, second, third = consumer("a"), consumer("b"), consumer("c")
    second.call("basic.cancel", consumer_tag="b")
    fill(ch, queue, "1")
    assert body_of(first) == "1"
    first.call("basic.cancel", consumer_tag="a")
    fill(ch, queue, "2")
    assert body_of(third) == "2"


def test_priority_does_not_unseat_the_active_one(ch, queue, consumer):
    first, second = consumer("a"), consumer("b", arguments={"x-priority": 10})
    fill(ch, queue, *"12")
    assert [body_of(first) for _ in range(2)] == list("12")
    silent(second)


def test_who_cancels_and_comes_again_stands_behind(ch, queue, consumer):
    first, second = consumer("a"), consumer("b")
    first.call("basic.cancel", consumer_tag="a")
    first.consume(queue, "a")
    fill(ch, queue, "1")
    assert body_of(second) == "1"
    silent(first)


def test_no_exclusive_consumers(ch, queue, consumer):
    channel = ch.conn.channel(7)
    if "quorum" in queue:  # where the flag has no effect
        channel.consume(queue, "x", exclusive=True)
        return
    with pytest.raises(wire.Closed) as e:
        channel.consume(queue, "x", exclusive=True)
    assert (e.value.code, e.value.text) == (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")


def test_get_of_a_classic_queue(ch, name):
    queue = ch.queue(name(), exclusive=True, arguments=SINGLE)
    ch.publish("", queue, b"1")
    assert ch.get_soon(queue).body == b"1"


def test_get_of_a_quorum_queue_is_refused(ch, name):
    queue = ch.queue(name(), durable=True, arguments=KINDS["quorum"])
    try:
        with pytest.raises(wire.Closed) as e:
            ch.conn.channel(7).get(queue)
        assert (e.value.code, e.value.text) == (405, f"RESOURCE_LOCKED - cannot obtain access to locked queue '{queue}' in vhost '/'. "
                                                     "basic.get operations are not supported by quorum queues with single active consumer")
    finally:
        ch.call("queue.delete", queue=queue)


def test_which_standby_takes_over(ch, queue, consumer):
    """Classic: the one with the highest priority; quorum: the first that came."""
    first = consumer("a")
    low, high = consumer("b"), consumer("c", arguments={"x-priority": 10})
    first.call("basic.cancel", consumer_tag="a")
    fill(ch, queue, "1")
    who = high if "classic" in queue else low
    assert body_of(who) == "1"
    silent(low if who is high else high)
