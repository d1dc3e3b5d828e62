"""What the queues of a virtual host may hold: who publishes there is blocked while it is more, everybody else goes on."""

import json
import time

import pytest
import wire
from harness.http_api import HttpApi

pytestmark = pytest.mark.leveret_only("limits of Leveret's own")

LIMITS = ("max-messages", "max-memory-bytes")


@pytest.fixture
def api(broker):
    return HttpApi(broker)


@pytest.fixture
def vhosts(broker):
    """(one that gets limits, one that has none)"""
    for vhost in ("flooded", "quiet"):
        broker.add_vhost(vhost)
    yield "flooded", "quiet"
    for vhost in ("flooded", "quiet"):
        broker.ctl("delete_vhost", vhost)


def limit(api, vhost, **limits):
    for name, value in limits.items():
        assert api.put(f"/vhost-limits/{vhost}/{name.replace('_', '-')}", {"value": value}).status == 204


def open_in(broker, vhost, **options):
    return wire.Conn.open(broker, vhost=vhost, timeout=60, **options)


def fill(ch, queue, count, body=b"x" * 1000, **props):
    ch.call("confirm.select")
    for _ in range(count):
        ch.publish("", queue, body, **props)
    tag = 0
    while tag < count:
        tag = max(tag, ch.expect("basic.ack").delivery_tag)


def eventually(holds):
    """Each worker looks at its own time."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def blocked(conn):
    return conn.expect(0, "connection.blocked").reason


def test_limits_are_set_and_kept(broker, api, vhosts):
    vhost, _ = vhosts
    limit(api, vhost, max_messages=5, max_memory_bytes=70, max_queues=3)
    value = {"max-messages": 5, "max-memory-bytes": 70, "max-queues": 3}
    assert api.get(f"/vhost-limits/{vhost}") == [{"vhost": vhost, "value": value}]
    assert api.get(f"/vhosts/{vhost}")["limits"] == value
    assert json.loads(broker.ctl("list_vhost_limits", "-q", "-p", vhost)) == value
    assert api.delete(f"/vhost-limits/{vhost}/max-messages").status == 204
    limit(api, vhost, max_memory_bytes=-1)
    assert api.get(f"/vhost-limits/{vhost}") == [{"vhost": vhost, "value": {"max-queues": 3}}]
    broker.ctl("set_vhost_limits", "-p", vhost, '{"max-messages": 9}')
    assert json.loads(broker.ctl("list_vhost_limits", "-q", "-p", vhost)) == {"max-messages": 9}
    broker.ctl("clear_vhost_limits", "-p", vhost)
    assert broker.ctl("list_vhost_limits", "-q", "-p", vhost).strip() == ""
    assert api.put(f"/vhost-limits/{vhost}/max-messages", {"value": "x"}).status == 400
    assert api.put("/user-limits/guest/max-messages", {"value": 1}).status == 400
    # Definitions and the parameter know them too.
    limit(api, vhost, max_messages=5, max_memory_bytes=70)
    exported = api.get("/definitions")
    assert {"component": "vhost-limits", "name": "limits", "value": {"max-messages": 5, "max-memory-bytes": 70}, "vhost": vhost} in exported["parameters"]
    broker.ctl("clear_vhost_limits", "-p", vhost)
    assert api.ask("POST", "/definitions", exported, {"Content-Type": "application/json"}).status in (200, 204)
    assert api.get(f"/vhost-limits/{vhost}") == [{"vhost": vhost, "value": {"max-messages": 5, "max-memory-bytes": 70}}]
    value = {"component": "vhost-limits", "name": "limits", "vhost": vhost, "value": {"max-messages": 6}}
    assert api.put(f"/parameters/vhost-limits/{vhost}/limits", value).status in (201, 204)
    assert api.get(f"/vhost-limits/{vhost}") == [{"vhost": vhost, "value": {"max-messages": 6}}]
    assert api.delete(f"/parameters/vhost-limits/{vhost}/limits").status == 204
    assert api.get(f"/vhost-limits/{vhost}") == []


@pytest.mark.parametrize("kind", LIMITS)
def test_only_publishers_of_that_vhost_are_blocked(broker, api, vhosts, kind):
    flooded, quiet = vhosts
    limits = {"max-messages": 100, "max-memory-bytes": 100_000}
    publisher, consumer, other, silent = open_in(broker, flooded), open_in(broker, flooded), open_in(broker, quiet), \
        open_in(broker, flooded, capabilities={})
    pub, con, quiet_ch, mute = publisher.channel(1), consumer.channel(1), other.channel(1), silent.channel(1)
    for ch in (con, quiet_ch):
        ch.queue("q")
        ch.queue("r")
    fill(mute, "r", 1)
    fill(pub, "q", 150)
    limit(api, flooded, **{kind: limits[kind]})  # now: who is blocked in the middle would wait for confirms
    words = {"max-messages": "limit of 100 messages in vhost 'flooded' is reached",
             "max-memory-bytes": "limit of 100000 bytes of memory in vhost 'flooded' is reached"}
    assert blocked(publisher) == words[kind]
    pub.publish("", "r", b"held")
    mute.publish("", "r", b"held too")
    # Others publish on; who consumes here goes on.
    fill(quiet_ch, "q", 500)
    assert not other.inbox[0]
    con.consume("r", tag="r", no_ack=True)
    assert con.deliver().body == b"x" * 1000  # the first one; none of those that are held
    expected = sorted([("blocked", words[kind])] * 2 + [("running", None)], key=str)
    eventually(lambda: sorted(((c["state"], c.get("held_by")) for c in api.get("/connections") if c["vhost"] == flooded), key=str) == expected)
    publish = {"properties": {}, "routing_key": "k", "payload": "x", "payload_encoding": "string"}
    answers = []

    def is_refused():
        answers.append(HttpApi(broker).post(f"/exchanges/{flooded}/amq.direct/publish", publish))
        return answers[-1].status == 503

    eventually(is_refused)
    assert words[kind] in answers[-1].json["reason"]
    reasons = api.get(f"/reasons?vhost={flooded}&kind=blocked_vhost_{'messages' if kind == 'max-messages' else 'memory'}")
    assert {e["object"] for e in reasons["recent"]} == {"guest"}
    # Room: they go on.
    assert con.call("queue.purge", queue="q").message_count == 150
    publisher.expect(0, "connection.unblocked")
    assert sorted(con.deliver().body for _ in range(2)) == [b"held", b"held too"]
    fill(quiet_ch, "r", 10)
    assert not other.inbox[0] and not consumer.inbox[0]
    for conn in (publisher, consumer, other, silent):
        conn.close()


def test_unacknowledged_and_delayed_messages_count(broker, api, vhosts):
    flooded, _ = vhosts
    with open_in(broker, flooded) as conn, open_in(broker, flooded) as taker:
        ch, con = conn.channel(1), taker.channel(1)
        ch.call("exchange.declare", exchange="x", type="x-delayed-message", arguments={"x-delayed-type": "direct"})
        ch.queue("q")
        con.consume("q")
        fill(ch, "q", 6)
        got = [con.deliver().delivery_tag for _ in range(6)]
        for _ in range(5):
            ch.publish("x", "k", b"later", headers={"x-delay": 3600_000})
        ch.sync()
        limit(api, flooded, max_messages=10)
        assert "limit of 10 messages" in blocked(conn)
        con.send("basic.ack", delivery_tag=got[0])
        conn.expect(0, "connection.unblocked")
        limit(api, flooded, max_messages=5)
        blocked(conn)
        limit(api, flooded, max_messages=-1)
        conn.expect(0, "connection.unblocked")
        conn.close()


def test_a_limit_of_nothing(broker, api, vhosts):
    """One message gets through, which is more than there may be."""
    flooded, _ = vhosts
    limit(api, flooded, max_messages=0)
    with open_in(broker, flooded) as conn:
        ch = conn.channel(1)
        ch.queue("q")
        fill(ch, "q", 1)
        blocked(conn)
        with open_in(broker, flooded) as late:  # comes when it is over already
            ch = late.channel(1)
            ch.publish("", "q", b"first")
            blocked(late)
            late.close()


@pytest.mark.needs_restart
def test_after_a_restart(start_broker):
    """The limit is kept, and what the queues have on disk counts from the start."""
    broker = start_broker({"workers": 2})
    broker.add_vhost("flooded")
    with open_in(broker, "flooded") as conn:
        ch = conn.channel(1)
        for queue in ("a", "b", "c"):
            ch.queue(queue, durable=True)
            fill(conn.channel(ord(queue)), queue, 20, delivery_mode=2)
        broker.ctl("set_vhost_limits", "-p", "flooded", '{"max-messages": 50}')
        blocked(conn)
    broker.restart()
    with open_in(broker, "flooded") as conn, open_in(broker, "/") as other:
        ch, free = conn.channel(1), other.channel(1)
        ch.publish("", "a", b"one more")
        assert "limit of 50 messages in vhost 'flooded'" in blocked(conn)
        free.queue("q")
        fill(free, "q", 100)
        assert conn.channel(2).call("queue.purge", queue="b").message_count == 20
        conn.expect(0, "connection.unblocked")
        conn.close()
        other.close()


def test_a_flood_does_not_stop_others(start_broker):
    """A vhost is flooded without end; publishers of another are never told to wait, and their messages are confirmed."""
    broker = start_broker({"workers": 2})
    for vhost in ("flooded", "quiet"):
        broker.add_vhost(vhost)
    broker.ctl("set_vhost_limits", "-p", "flooded", '{"max-memory-bytes": 20000000}')
    with open_in(broker, "flooded") as flood, open_in(broker, "quiet") as quiet:
        ch, other = flood.channel(1), quiet.channel(1)
        ch.queue("q")
        other.queue("q")
        block = ch.publish_bytes("", "q", b"f" * 10_000) * 100
        flood.sock.setblocking(False)
        deadline, told, pending, rounds = time.monotonic() + 60, False, memoryview(block), 0
        other.call("confirm.select")
        while not told or rounds < 50:
            assert time.monotonic() < deadline
            try:
                pending = pending[flood.sock.send(pending):] or memoryview(block)
            except BlockingIOError:
                pass
            try:
                told |= b"limit of 20000000 bytes" in flood.sock.recv(4096)
            except BlockingIOError:
                pass
            other.publish("", "q", b"mine")
            other.expect("basic.ack")
            rounds += 1
        assert not quiet.inbox[0]
