"""The firehose: copies of what is published and delivered, on amq.rabbitmq.trace. RabbitMQ: "Firehose Tracer"."""

import pytest

pytestmark = pytest.mark.needs_admin


@pytest.fixture
def traced(broker, connect):
    """A channel in a vhost of its own, which is traced, and the queue that gets the copies."""
    broker.add_vhost("traced")
    ch = connect(vhost="traced").channel(1)
    copies = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=copies, exchange="amq.rabbitmq.trace", routing_key="#")
    broker.ctl("trace_on", "-p", "traced")
    yield ch, copies
    broker.ctl("trace_off", "-p", "traced")
    broker.ctl("delete_vhost", "traced")


def take(ch, queue):
    """The next message of the queue; it is on its way."""
    for _ in range(200):
        got = ch.call("basic.get", queue=queue, no_ack=True)
        if got.name == "basic.get-ok":
            return got
    raise AssertionError("nothing came")


def test_a_publish(traced):
    ch, copies = traced
    q = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=q, exchange="amq.direct", routing_key="k")
    ch.publish("amq.direct", "k", b"body", headers={"CC": ["other"], "n": 7}, content_type="text/plain", priority=3,
               delivery_mode=2, message_id="id", timestamp=1600000000)
    copy = take(ch, copies)
    assert (copy.exchange, copy.routing_key, copy.body) == ("amq.rabbitmq.trace", "publish.amq.direct", b"body")
    assert set(copy.props) == {"headers"}
    headers = copy.props["headers"]
    assert headers["exchange_name"] == "amq.direct"
    assert headers["routing_keys"] == ["k", "other"]
    assert headers["routed_queues"] == [q]
    assert headers["vhost"] == "traced" and headers["user"] == "guest" and headers["channel"] == 1
    assert " -> " in headers["connection"] and "@" in headers["node"]
    assert headers["properties"] == {"headers": {"CC": ["other"], "n": 7}, "content_type": "text/plain", "priority": 3,
                                     "delivery_mode": 2, "message_id": "id", "timestamp": 1600000000}
    assert set(headers) == {"exchange_name", "routing_keys", "properties", "node", "vhost", "connection", "channel", "user",
                            "routed_queues"}


def test_a_publish_that_nobody_gets(traced):
    ch, copies = traced
    ch.publish("amq.direct", "nowhere", b"lost")
    copy = take(ch, copies)
    assert (copy.routing_key, copy.body) == ("publish.amq.direct", b"lost")
    assert copy.props["headers"]["routed_queues"] == []
    assert copy.props["headers"]["properties"] == {}


def test_a_delivery(traced):
    ch, copies = traced
    q = ch.queue("", exclusive=True)
    ch.call("queue.unbind", queue=copies, exchange="amq.rabbitmq.trace", routing_key="#")
    ch.call("queue.bind", queue=copies, exchange="amq.rabbitmq.trace", routing_key="deliver.#")
    ch.publish("", q, b"one", app_id="me")
    ch.call("basic.consume", queue=q, consumer_tag="c")
    tag = ch.expect("basic.deliver").delivery_tag
    copy = take(ch, copies)
    assert (copy.exchange, copy.routing_key, copy.body) == ("amq.rabbitmq.trace", f"deliver.{q}", b"one")
    headers = copy.props["headers"]
    assert headers["redelivered"] == 0 and headers["exchange_name"] == "" and headers["routing_keys"] == [q]
    assert headers["properties"] == {"app_id": "me"}
    assert set(headers) == {"exchange_name", "routing_keys", "properties", "node", "redelivered", "vhost", "connection",
                            "channel", "user"}
    ch.call("basic.cancel", consumer_tag="c")
    ch.send("basic.nack", delivery_tag=tag, requeue=True)
    assert ch.get(q).body == b"one"  # basic.get is a delivery too
    copy = take(ch, copies)
    assert (copy.routing_key, copy.props["headers"]["redelivered"]) == (f"deliver.{q}", 1)


def test_copies_are_not_copied(traced):
    """Getting the copies is a delivery as well, but not one that is traced."""
    ch, copies = traced
    for i in range(5):
        ch.publish("amq.fanout", f"k{i}", b"x")
    for i in range(5):
        assert take(ch, copies).props["headers"]["routing_keys"] == [f"k{i}"]
    ch.sync()
    assert ch.call("queue.declare", queue=copies, passive=True).message_count == 0


def test_a_memo_of_routes_does_not_hide_publishes(traced, broker):
    ch, copies = traced
    q = ch.queue("", exclusive=True)
    broker.ctl("trace_off", "-p", "traced")
    for _ in range(3):
        ch.publish("", q, b"x")
    ch.sync()
    broker.ctl("trace_on", "-p", "traced")
    for _ in range(3):
        ch.publish("", q, b"x")
    assert [take(ch, copies).routing_key for _ in range(3)] == ["publish."] * 3
    broker.ctl("trace_off", "-p", "traced")
    ch.publish("", q, b"x")
    ch.sync()
    assert ch.call("queue.declare", queue=copies, passive=True).message_count == 0
    assert ch.call("queue.declare", queue=q, passive=True).message_count == 7


def test_a_transaction(traced):
    ch, copies = traced
    ch.call("tx.select")
    ch.publish("amq.topic", "a.b", b"x")
    ch.call("tx.commit")
    copy = take(ch, copies)
    assert (copy.routing_key, copy.props["headers"]["routing_keys"]) == ("publish.amq.topic", ["a.b"])
