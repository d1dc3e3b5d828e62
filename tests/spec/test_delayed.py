"""x-delayed-message exchanges: header x-delay, in milliseconds. RabbitMQ's plugin rabbitmq_delayed_message_exchange, which Debian does not have."""

import time

import pytest
import wire

pytestmark = pytest.mark.leveret_only("Debian's RabbitMQ has no delayed-message plugin")

SOON, NEVER = 150, 3_600_000


@pytest.fixture
def delayed(ch, name):
    """delayed(inner type): a delayed exchange, deleted after the test."""
    made = []

    def one(inner, **values):
        x = name(f"d{len(made)}")
        arguments = {"x-delayed-type": inner, **values.pop("arguments", {})}
        ch.call("exchange.declare", exchange=x, type="x-delayed-message", arguments=arguments, **values)
        made.append(x)
        return x

    yield one
    if ch.number and made:
        cleaner = ch.conn.channel(900)
        for x in made:
            cleaner.call("exchange.delete", exchange=x)


def bound(ch, x, key="", **arguments):
    q = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=q, exchange=x, routing_key=key, arguments=arguments)
    return q


def count(ch, q):
    return ch.call("queue.declare", queue=q, passive=True).message_count


def next_of(ch, q):
    return ch.get_soon(q)


def test_a_message_comes_when_its_time_has_come(ch, delayed):
    x = delayed("topic")
    q = bound(ch, x, "a.#")
    began = time.monotonic()
    ch.publish(x, "a.b", b"later", headers={"x-delay": SOON, "k": "v"}, delivery_mode=2, message_id="m")
    ch.publish(x, "a.b", b"now")
    assert ch.get(q).body == b"now"
    assert count(ch, q) == 0
    got = next_of(ch, q)
    assert time.monotonic() - began >= SOON / 1000
    assert (got.body, got.exchange, got.routing_key, got.redelivered) == (b"later", x, "a.b", False)
    assert got.props == {"headers": {"x-delay": -SOON, "k": "v"}, "delivery_mode": 2, "message_id": "m"}


@pytest.mark.parametrize("delay", [0, -5, 2**32, wire.T("l", 2**40), "none", None, True, wire.T("d", -1.5)])
def test_no_delay(ch, delayed, delay):
    x = delayed("direct")
    q = bound(ch, x, "k")
    ch.publish(x, "k", b"m", headers={"x-delay": delay})
    got = ch.get(q)
    assert got.body == b"m" and list(got.props["headers"]) == ["x-delay"]


def test_the_order_is_that_of_the_times(ch, delayed):
    x = delayed("direct")
    q = bound(ch, x, "k")
    for delay in (400, 200, 300, 100, 350):
        ch.publish(x, "k", str(delay).encode(), headers={"x-delay": delay})
    assert [next_of(ch, q).body for _ in range(5)] == [b"100", b"200", b"300", b"350", b"400"]


def test_it_is_routed_when_its_time_has_come(ch, delayed):
    """Not when it is published: a queue bound meanwhile gets it, one unbound does not."""
    x = delayed("direct")
    before = bound(ch, x, "k")
    ch.publish(x, "k", b"m", headers={"x-delay": SOON})
    ch.call("queue.unbind", queue=before, exchange=x, routing_key="k")
    after = bound(ch, x, "k")
    assert next_of(ch, after).body == b"m"
    assert count(ch, before) == 0


@pytest.mark.parametrize("inner, key, arguments", [
    ("direct", "k", {}), ("fanout", "", {}), ("topic", "*", {}), ("headers", "", {"x-match": "any", "h": 1}),
    ("x-consistent-hash", "3", {}), ("x-random", "", {}), ("x-modulus-hash", "", {})])
def test_every_inner_type(ch, delayed, inner, key, arguments):
    x = delayed(inner)
    q = bound(ch, x, key, **arguments)
    ch.publish(x, "k", b"m", headers={"x-delay": SOON, "h": 1})
    ch.sync()
    assert next_of(ch, q).body == b"m"


def test_through_other_exchanges(ch, delayed):
    """An exchange before the delayed one, a queue beside it, another delayed one behind it: delayed once."""
    front, x, y = ch.conn.channel(2), delayed("fanout"), delayed("fanout")
    name = x + ".front"
    front.call("exchange.declare", exchange=name, type="fanout")
    beside = bound(ch, name)
    ch.call("exchange.bind", source=name, destination=x)
    ch.call("exchange.bind", source=x, destination=y)
    q = bound(ch, y)
    for _ in range(2):  # with and without the memo of the last route
        ch.publish(name, "k", b"plain")
        assert [ch.get(beside).body, ch.get(q).body] == [b"plain", b"plain"]
    ch.publish(name, "k", b"m", headers={"x-delay": SOON})
    got = ch.get(beside)
    assert got.body == b"m" and got.props["headers"] == {"x-delay": SOON}
    assert count(ch, q) == 0
    got = next_of(ch, q)
    assert got.body == b"m" and got.props["headers"] == {"x-delay": -SOON}
    front.call("exchange.delete", exchange=name)


def test_cc_and_bcc(ch, delayed):
    x = delayed("direct")
    queues = [bound(ch, x, key) for key in ("a", "b", "c")]
    ch.publish(x, "a", b"m", headers={"x-delay": SOON, "CC": ["b"], "BCC": ["c"]})
    for q in queues:
        assert next_of(ch, q).props["headers"] == {"x-delay": -SOON, "CC": ["b"]}


def test_its_time_to_live_begins_afterwards(ch, delayed):
    x = delayed("direct")
    q = bound(ch, x, "k")
    ch.publish(x, "k", b"m", headers={"x-delay": SOON}, expiration="60000")
    got = next_of(ch, q)
    assert got.props["expiration"] == "60000" and "x-death" not in got.props["headers"]


def test_mandatory_is_decided_at_the_publish(ch, delayed):
    x, confirms = delayed("direct"), ch.conn.channel(3)
    confirms.call("confirm.select")
    confirms.publish(x, "k", b"m", mandatory=True, headers={"x-delay": NEVER})
    returned = confirms.expect("basic.return")
    assert (returned.reply_code, returned.reply_text, returned.body) == (312, "NO_ROUTE", b"m")
    assert returned.props == {"headers": {"x-delay": NEVER}}
    assert confirms.expect("basic.ack").delivery_tag == 1
    q = bound(ch, x, "k")
    confirms.publish(x, "k", b"m", mandatory=True, headers={"x-delay": SOON})
    assert confirms.expect("basic.ack").delivery_tag == 2
    assert next_of(ch, q).body == b"m"


def test_what_nobody_wants_then_goes_to_the_alternate_exchange_or_nowhere(ch, delayed):
    lost = bound(ch, "amq.fanout")
    x, y = delayed("direct", arguments={"alternate-exchange": "amq.fanout"}), delayed("direct")
    ch.publish(y, "nobody", b"gone", headers={"x-delay": 20})
    ch.publish(x, "nobody", b"m", headers={"x-delay": SOON})
    assert next_of(ch, lost).body == b"m"
    assert count(ch, lost) == 0


def test_in_a_transaction(ch, delayed):
    x = delayed("direct")
    q = bound(ch, x, "k")
    ch.call("tx.select")
    ch.publish(x, "k", b"never", headers={"x-delay": 1})
    ch.call("tx.rollback")
    ch.publish(x, "k", b"m", headers={"x-delay": SOON})
    ch.call("tx.commit")
    assert count(ch, q) == 0
    assert next_of(ch, q).body == b"m"


def test_deleting_the_exchange_drops_what_waits(ch, delayed, name):
    x = name("gone")
    ch.call("exchange.declare", exchange=x, type="x-delayed-message", arguments={"x-delayed-type": "fanout"})
    ch.publish(x, "", b"m", headers={"x-delay": SOON})
    ch.call("exchange.delete", exchange=x)
    ch.call("exchange.declare", exchange=x, type="x-delayed-message", arguments={"x-delayed-type": "fanout"})
    q = bound(ch, x)
    ch.publish(x, "", b"second", headers={"x-delay": 2 * SOON})
    assert next_of(ch, q).body == b"second"
    ch.call("exchange.delete", exchange=x)


def test_dead_letters_are_delayed_too(ch, delayed):
    x = delayed("fanout")
    back = bound(ch, x)
    q = ch.queue("", exclusive=True, arguments={"x-dead-letter-exchange": x})
    ch.publish("", q, b"m", headers={"x-delay": SOON})
    tag = ch.get(q, no_ack=False).delivery_tag
    ch.send("basic.reject", delivery_tag=tag, requeue=False)
    ch.sync()
    got = next_of(ch, back)
    assert got.props["headers"]["x-delay"] == -SOON
    assert got.props["headers"]["x-death"][0]["queue"] == q


def test_many_at_once(ch, delayed):
    x = delayed("direct")
    q = bound(ch, x, "k")
    for i in range(1000):
        ch.publish(x, "k", str(i).encode(), headers={"x-delay": 1 + i * 7919 % 400})
    bodies = [next_of(ch, q).body for _ in range(1000)]
    assert sorted(bodies) == sorted(str(i).encode() for i in range(1000))
