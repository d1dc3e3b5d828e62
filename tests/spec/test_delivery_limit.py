"""x-delivery-limit and x-delivery-count: messages that come back too often (RabbitMQ: quorum queues, poison messages)."""

import time

import pytest
import wire

QUORUM = {"x-queue-type": "quorum"}
classic_limit = pytest.mark.leveret_only("RabbitMQ's classic queues have no delivery limit")


@pytest.fixture
def make(ch, name):
    """make(**arguments): a durable queue with them; deleted after the test."""
    made = []

    def declare(**arguments):
        made.append(ch.queue(name(str(len(made))), durable=True, arguments=arguments))
        return made[-1]

    yield declare
    for queue in made:
        try:
            cleaner = ch.conn.channel(99)
            cleaner.call("queue.delete", queue=queue)
            cleaner.close()
        except (wire.Closed, OSError):
            pass


def count_of(method):
    count = (method.props.get("headers") or {}).get("x-delivery-count")
    assert count is None or count.code == "l"
    return None if count is None else count.value


def drops(ch, queue, deadline=5.0):
    """Waits until the queue is empty, deliveries that are out included."""
    end = time.monotonic() + deadline
    while ch.get(queue, no_ack=True) is not None or ch.count(queue)[0] != 0:
        assert time.monotonic() < end
        time.sleep(0.01)


def consume_and_nack(ch, queue, give_back):
    """Gives each delivery back until no more comes; what the deliveries said."""
    ch.call("basic.qos", prefetch_count=1)
    tag = ch.consume(queue)
    seen = []
    while True:
        try:
            d = ch.deliver(timeout=0.5)
        except wire.NothingCame:
            break
        seen.append((d.redelivered, count_of(d)))
        give_back(d.delivery_tag)
    ch.call("basic.cancel", consumer_tag=tag)
    return seen


def expected(limit):
    return [(False, None)] + [(True, n) for n in range(1, limit + 1)]


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_a_quorum_queue_delivers_limit_plus_one_times(ch, make, method):
    queue = make(**QUORUM, **{"x-delivery-limit": 3})
    ch.publish("", queue, b"poison", delivery_mode=2)
    seen = consume_and_nack(ch, queue, lambda tag: ch.send(method, delivery_tag=tag, requeue=True))
    assert seen == expected(3)
    assert ch.count(queue)[0] == 0


@classic_limit
def test_so_does_a_classic_queue(ch, make):
    queue = make(**{"x-delivery-limit": 2})
    ch.publish("", queue, b"poison", delivery_mode=2)
    ch.publish("", queue, b"transient poison")
    seen = consume_and_nack(ch, queue, lambda tag: ch.send("basic.nack", delivery_tag=tag, requeue=True))
    assert seen == expected(2) * 2


def test_limit_zero_delivers_once(ch, make):
    queue = make(**QUORUM, **{"x-delivery-limit": 0})
    ch.publish("", queue, b"x", delivery_mode=2)
    assert consume_and_nack(ch, queue, lambda tag: ch.send("basic.reject", delivery_tag=tag, requeue=True)) == expected(0)


@pytest.mark.leveret_only("RabbitMQ 3.10 has no limit by default, 4.0 has this one")
def test_quorum_queues_have_a_limit_of_20(ch, make):
    queue = make(**QUORUM)
    ch.publish("", queue, b"x", delivery_mode=2)
    assert consume_and_nack(ch, queue, lambda tag: ch.send("basic.nack", delivery_tag=tag, requeue=True)) == expected(20)


@pytest.mark.leveret_only("RabbitMQ 3.10 takes -1 for a limit below zero")
def test_a_limit_of_minus_one_is_none(ch, make):
    queue = make(**QUORUM, **{"x-delivery-limit": -1})
    ch.publish("", queue, b"x", delivery_mode=2)
    ch.consume(queue)
    for n in range(60):
        d = ch.deliver()
        assert count_of(d) == (n or None)
        ch.send("basic.nack", delivery_tag=d.delivery_tag, requeue=True)


def test_recover_counts(ch, make):
    queue = make(**QUORUM, **{"x-delivery-limit": 2})
    ch.publish("", queue, b"x", delivery_mode=2)
    assert consume_and_nack(ch, queue, lambda tag: ch.call("basic.recover", requeue=True)) == expected(2)


def test_channels_and_connections_that_end_count(ch, make, connect):
    queue = make(**QUORUM, **{"x-delivery-limit": 3})
    ch.publish("", queue, b"x", delivery_mode=2)
    ch.sync()
    seen = []
    for end in ("channel", "abort", "close", "channel"):
        other = connect().channel(1)
        other.consume(queue)
        d = other.deliver()
        seen.append((d.redelivered, count_of(d)))
        if end == "channel":
            other.close()
        elif end == "close":
            other.conn.close()
        else:
            other.conn.abort()
    assert seen == expected(3)
    drops(ch, queue)


def test_get_shows_the_count_too(ch, make):
    queue = make(**QUORUM, **{"x-delivery-limit": 2})
    ch.publish("", queue, b"x", delivery_mode=2)
    seen = []
    while (got := ch.get_soon(queue, no_ack=False) if len(seen) < 3 else ch.get(queue)) is not None:
        seen.append((got.redelivered, count_of(got)))
        ch.send("basic.nack", delivery_tag=got.delivery_tag, requeue=True)
        ch.sync()
    assert seen == [(False, 0), (True, 1), (True, 2)]  # a get shows 0, a consumer nothing


def test_the_count_joins_the_other_headers(ch, make):
    queue = make(**QUORUM)
    headers = {"a": 1, "x-delivery-count": "the publisher's", "z": [True, {"b": True}]}
    ch.publish("", queue, b"body", delivery_mode=2, content_type="t/p", content_encoding="e", headers=headers, message_id="m",
               timestamp=5, app_id="app")
    ch.publish("", queue, b"", delivery_mode=2)
    ch.consume(queue)
    first, bare = ch.deliver(), ch.deliver()
    assert first.props["headers"] == headers and "headers" not in bare.props
    ch.send("basic.nack", delivery_tag=bare.delivery_tag, multiple=True, requeue=True)
    first, bare = ch.deliver(), ch.deliver()
    assert first.props["headers"] == {**headers, "x-delivery-count": wire.T("l", 1)} and first.body == b"body"
    assert {k: v for k, v in first.props.items() if k != "headers"} == \
        {"delivery_mode": 2, "content_type": "t/p", "content_encoding": "e", "message_id": "m", "timestamp": 5, "app_id": "app"}
    assert bare.props == {"delivery_mode": 2, "headers": {"x-delivery-count": wire.T("l", 1)}} and bare.body == b""


def test_a_large_message_with_a_count(ch, make):
    queue = make(**QUORUM)
    body = bytes(range(256)) * 2000
    ch.publish("", queue, body, delivery_mode=2)
    ch.consume(queue)
    d = ch.deliver()
    ch.send("basic.nack", delivery_tag=d.delivery_tag, requeue=True)
    d = ch.deliver()
    assert d.body == body and count_of(d) == 1


def test_a_classic_queue_without_a_limit_shows_no_count(ch, make):
    queue = make()
    ch.publish("", queue, b"x")
    ch.consume(queue)
    for n in range(30):
        d = ch.deliver()
        assert d.redelivered == (n > 0) and "headers" not in d.props
        ch.send("basic.nack", delivery_tag=d.delivery_tag, requeue=True)


def test_only_what_came_back_too_often_leaves(ch, make):
    queue = make(**QUORUM, **{"x-delivery-limit": 1})
    for i in range(10):
        ch.publish("", queue, b"%d" % i, delivery_mode=2)
    ch.call("basic.qos", prefetch_count=10)
    ch.consume(queue)
    odd = {}
    for _ in range(20):
        try:
            d = ch.deliver(timeout=0.5)
        except wire.NothingCame:
            break
        odd[d.body] = odd.get(d.body, 0) + 1
        if int(d.body) % 2:
            ch.send("basic.nack", delivery_tag=d.delivery_tag, requeue=True)
        else:
            ch.send("basic.ack", delivery_tag=d.delivery_tag)
    assert odd == {b"%d" % i: 1 + i % 2 for i in range(10)}
    drops(ch, queue)


def test_what_never_reached_the_client_does_not_count(ch, make, connect):
    queue = make(**QUORUM, **{"x-delivery-limit": 1})
    for i in range(3):
        ch.publish("", queue, b"%d" % i, delivery_mode=2)
    ch.sync()
    for _ in range(4):  # cancelled with nothing out
        tag = ch.consume(queue)
        for d in [ch.deliver() for _ in range(3)]:
            pass
        ch.send("basic.ack", delivery_tag=d.delivery_tag, multiple=True)
        ch.call("basic.cancel", consumer_tag=tag)
        for i in range(3):
            ch.publish("", queue, b"%d" % i, delivery_mode=2)
        ch.sync()
    assert count_of(ch.get_soon(queue)) == 0
