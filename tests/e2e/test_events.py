"""What happens in the broker, as messages of amq.rabbitmq.event: keys and headers of RabbitMQ's event exchange."""

import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("there it is a plugin")]


class Listener:
    def __init__(self, broker, key="#"):
        self.ch = wire.Conn.open(broker).channel(1)
        self.queue = self.ch.queue("", exclusive=True)
        self.ch.call("queue.bind", queue=self.queue, exchange="amq.rabbitmq.event", routing_key=key)

    def next(self, key, **headers):
        """The next event with that key and these headers; others before it are passed over."""
        seen = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            got = self.ch.get(self.queue)
            if got is None:
                time.sleep(0.005)
                continue
            facts = {k: v.value if isinstance(v, wire.T) else v for k, v in got.props["headers"].items()}
            seen.append((got.routing_key, facts))
            if got.routing_key == key and all(facts.get(k) == v for k, v in headers.items()):
                assert got.body == b"" and got.exchange == "amq.rabbitmq.event" and got.props["delivery_mode"] == 2
                assert abs(got.props["timestamp"] - time.time()) < 60
                assert facts["timestamp_in_ms"] // 1000 == got.props["timestamp"]
                return facts
        raise AssertionError(f"no {key} {headers} among {seen}")


@pytest.fixture
def broker_with_events(start_broker):
    return start_broker({"event_exchange.enabled": "true"})


def test_objects(broker_with_events):
    listener, ch = Listener(broker_with_events), wire.Conn.open(broker_with_events).channel(1)
    ch.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 5})
    h = listener.next("queue.created", name="q")
    assert (h["vhost"], h["durable"], h["exclusive"], h["auto_delete"], h["arguments"], h["user_who_performed_action"]) == \
        ("/", True, False, False, {"x-max-length": 5}, "guest")
    ch.call("exchange.declare", exchange="x", type="topic")
    h = listener.next("exchange.created", name="x")
    assert (h["vhost"], h["type"], h["durable"], h["internal"], h["arguments"]) == ("/", "topic", False, False, {})
    ch.call("queue.bind", queue="q", exchange="x", routing_key="k", arguments={"a": 1})
    ends = {"source_name": "x", "source_kind": "exchange", "destination_name": "q", "destination_kind": "queue",
            "routing_key": "k", "vhost": "/"}
    assert listener.next("binding.created", **ends)["arguments"] == {"a": 1}
    ch.call("exchange.bind", destination="x", source="amq.fanout", routing_key="z")
    listener.next("binding.created", source_name="amq.fanout", destination_name="x", destination_kind="exchange")
    ch.call("queue.unbind", queue="q", exchange="x", routing_key="k", arguments={"a": 1})
    listener.next("binding.deleted", **ends)
    ch.call("queue.delete", queue="q")
    assert listener.next("queue.deleted", name="q", vhost="/")["user_who_performed_action"] == "guest"
    ch.call("exchange.delete", exchange="x")
    listener.next("binding.deleted", source_name="amq.fanout", destination_name="x")
    listener.next("exchange.deleted", name="x", vhost="/")
    # a delayed exchange has a queue of its own, which is nobody's business
    ch.call("exchange.declare", exchange="d", type="x-delayed-message", arguments={"x-delayed-type": "fanout"})
    ch.call("queue.declare", queue="after", exclusive=True)
    listener.next("exchange.created", name="d")
    assert listener.next("queue.created")["name"] == "after"


def test_who_hears_of_a_queue_can_use_it(broker_with_events):
    listener, ch = Listener(broker_with_events, "queue.created"), wire.Conn.open(broker_with_events).channel(1)
    other = wire.Conn.open(broker_with_events).channel(1)
    for i in range(50):
        ch.send("queue.declare", queue=f"q{i}")
        listener.next("queue.created", name=f"q{i}")
        assert other.count(f"q{i}")[0] == 0
        assert ch.expect("queue.declare-ok").queue == f"q{i}"


def test_connections_channels_consumers(broker_with_events):
    listener, conn = Listener(broker_with_events), wire.Conn.open(broker_with_events)
    h = listener.next("user.authentication.success", name="guest")
    assert (h["auth_mechanism"], h["peer_host"], h["ssl"], h["connection_type"]) == ("PLAIN", "127.0.0.1", False, "network")
    name = h["connection_name"]
    h = listener.next("connection.created", name=name)
    assert (h["user"], h["vhost"], h["pid"]) == ("guest", "/", name) and "@" in h["node"]
    ch = conn.channel(7)
    h = listener.next("channel.created", number=7)
    assert (h["name"], h["connection"], h["user"], h["vhost"]) == (f"{name} (7)", name, "guest", "/")
    q = ch.queue("", exclusive=True)
    ch.call("basic.qos", prefetch_count=3)
    ch.consume(q, "tag")
    h = listener.next("consumer.created", consumer_tag="tag")
    assert (h["queue"], h["vhost"], h["ack_required"], h["exclusive"], h["prefetch_count"], h["channel"]) == \
        (q, "/", True, False, 3, f"{name} (7)")
    ch.call("basic.cancel", consumer_tag="tag")
    listener.next("consumer.deleted", consumer_tag="tag", queue=q)
    ch.consume(q, "other")
    conn.abort()
    listener.next("consumer.deleted", consumer_tag="other")
    listener.next("channel.closed", name=f"{name} (7)")
    listener.next("connection.closed", name=name)
    listener.next("queue.deleted", name=q)
    with pytest.raises(wire.Closed):
        wire.Conn.open(broker_with_events, password="wrong")
    assert "invalid credentials" in listener.next("user.authentication.failure", name="guest")["error"]


def test_administration(broker_with_events):
    listener, ctl = Listener(broker_with_events), broker_with_events.ctl
    for command, key, headers in [
            (("add_vhost", "ev"), "vhost.created", {"name": "ev"}),
            (("add_user", "u", "p"), "user.created", {"name": "u"}),
            (("set_user_tags", "u", "monitoring"), "user.tags.set", {"name": "u", "tags": "monitoring"}),
            (("change_password", "u", "p2"), "user.password.changed", {"name": "u"}),
            (("set_permissions", "-p", "ev", "u", "a", "b", "c"), "permission.created",
             {"user": "u", "vhost": "ev", "configure": "a", "write": "b", "read": "c"}),
            (("set_topic_permissions", "-p", "ev", "u", "amq.topic", "w", "r"), "topic.permission.created",
             {"user": "u", "vhost": "ev", "exchange": "amq.topic", "write": "w", "read": "r"}),
            (("set_policy", "-p", "ev", "pol", "^x", '{"max-length":5}'), "policy.set", {"name": "pol", "vhost": "ev"}),
            (("set_vhost_limits", "-p", "ev", '{"max-queues":5}'), "vhost.limits.set", {"vhost": "ev", "max-queues": 5}),
            (("clear_vhost_limits", "-p", "ev"), "vhost.limits.cleared", {"vhost": "ev"}),
            (("clear_policy", "-p", "ev", "pol"), "policy.cleared", {"name": "pol", "vhost": "ev"}),
            (("clear_topic_permissions", "-p", "ev", "u"), "topic.permission.deleted", {"user": "u", "vhost": "ev"}),
            (("clear_permissions", "-p", "ev", "u"), "permission.deleted", {"user": "u", "vhost": "ev"}),
            (("delete_user", "u"), "user.deleted", {"name": "u"}),
            (("delete_vhost", "ev"), "exchange.deleted", {"name": "amq.topic", "vhost": "ev"}),
            ((), "vhost.deleted", {"name": "ev"})]:
        if command:
            ctl(*command)
        listener.next(key, **headers)


def test_no_exchange_unless_it_is_wanted(start_broker):
    broker = start_broker()
    ch = wire.Conn.open(broker).channel(1)
    with pytest.raises(wire.Closed) as e:
        ch.call("exchange.declare", exchange="amq.rabbitmq.event", type="topic", passive=True)
    assert e.value.code == 404


def test_clients_cannot_publish_events(broker_with_events):
    ch = wire.Conn.open(broker_with_events).channel(1)
    ch.publish("amq.rabbitmq.event", "queue.created", b"lie")
    with pytest.raises(wire.Closed) as e:
        ch.sync()
    assert e.value.code == 403 and "internal exchange" in e.value.text


def test_the_log_as_messages(start_broker):
    broker = start_broker({"log.exchange": "true", "log.exchange.level": "warning"})
    ch = wire.Conn.open(broker).channel(1)
    everything, errors = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=everything, exchange="amq.rabbitmq.log", routing_key="#")
    ch.call("queue.bind", queue=errors, exchange="amq.rabbitmq.log", routing_key="error")
    with pytest.raises(wire.Closed):
        wire.Conn.open(broker, password="wrong")
    got = ch.get_soon(errors)
    assert (got.exchange, got.routing_key) == ("amq.rabbitmq.log", "error")
    assert b"[error] <connection>" in got.body and b"invalid credentials" in got.body and not got.body.endswith(b"\n")
    assert got.props["content_type"] == "text/plain" and "@" in got.props["headers"]["node"]
    assert abs(got.props["timestamp"] - time.time()) < 60
    assert ch.get_soon(everything).routing_key in ("error", "warning")
    while ch.get(everything) is not None:
        pass
    wire.Conn.open(broker).abort()  # "accepting …" is info; "closed unexpectedly" a warning
    got = ch.get_soon(everything)
    assert got.routing_key == "warning" and b"accepting" not in got.body


def test_the_log_stays_out_of_amqp_unless_it_is_wanted(start_broker):
    ch = wire.Conn.open(start_broker()).channel(1)
    with pytest.raises(wire.Closed) as e:
        ch.call("exchange.declare", exchange="amq.rabbitmq.log", type="topic", passive=True)
    assert e.value.code == 404
