"""Policies and operator policies: the command line tool, the HTTP API on the control socket, and what they do to queues and exchanges
that exist. The tests of the tool and of the effect run against RabbitMQ too."""

import json
import subprocess
import time
import urllib.parse

import pytest
import wire
from test_leveretctl import Tool, ctl, expect, refused, vhost  # noqa: F401 (fixtures)

KINDS = {"policy": ("policies", "policy", "policy", "policies"),
         "operator_policy": ("operator-policies", "operator policy override", "operator policy", "operator policy overrides")}


def set_banner(kind, name, pattern, definition, vhost, priority=0):
    return f'Setting {KINDS[kind][1]} "{name}" for pattern "{pattern}" to "{definition}" with priority "{priority}" for vhost "{vhost}" ...\n'


def get(broker, path, method="GET", body=None):
    """(status, JSON of the answer or None) over the control socket."""
    if broker.kind != "leveret":
        pytest.skip("Leveret only: the control socket")
    data = [] if body is None else ["-d", body if isinstance(body, str) else json.dumps(body)]
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", broker.socket, "-X", method, *data, "http://localhost" + path],
                          capture_output=True, text=True, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text) if text else None


def until(ch, queue, count):
    deadline = time.monotonic() + 20
    while ch.count(queue)[0] != count:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_a_policy(ctl, vhost, kind):
    plural = KINDS[kind][3]
    definition = '{"max-length":10}'
    expect(ctl(f"set_{kind}", "-p", vhost, "--priority", "3", "--apply-to", "queues", "pol", "^q", definition), 0,
           set_banner(kind, "pol", "^q", definition, vhost, 3))
    listed = f'Listing {plural} for vhost "{vhost}" ...\nvhost\tname\tpattern\tapply-to\tdefinition\tpriority\n'
    rows = f'{vhost}\tpol\t^q\tqueues\t{definition}\t3\n'
    expect(ctl("list_policies" if kind == "policy" else "list_operator_policies", "-p", vhost), 0, listed + rows)
    definition = '{"expires":5000,"max-length":11}'
    expect(ctl(f"set_{kind}", "-p", vhost, "pol", "", definition), 0, set_banner(kind, "pol", "", definition, vhost))
    rows = f'{vhost}\tpol\t\tall\t{definition}\t0\n'
    listing = ctl("list_policies" if kind == "policy" else "list_operator_policies", "-p", vhost)
    expect(listing, 0, listed + rows)
    # The other kind has none.
    other = ctl("list_operator_policies" if kind == "policy" else "list_policies", "-p", vhost)
    assert other.out.count("\n") <= 2
    expect(ctl(f"clear_{kind}", "-p", vhost, "pol"), 0, f'Clearing {KINDS[kind][2]} "pol" on vhost "{vhost}" ...\n')
    refused(ctl(f"clear_{kind}", "-p", vhost, "pol"), 69, f'Clearing {KINDS[kind][2]} "pol" on vhost "{vhost}" ...\n',
            "Parameter does not exist")


def test_lists_are_sorted_by_priority(ctl, vhost):
    for name, priority in (("c", 0), ("a", 7), ("b", -2)):
        assert ctl("set_policy", "-p", vhost, "--priority", str(priority), name, "x", '{"max-length":1}').status == 0
    assert [row[1] for row in ctl("list_policies", "-p", vhost, "-s").rows] == ["b", "c", "a"]
    assert [entry["name"] for entry in ctl("list_policies", "-p", vhost, "--formatter", "json").json] == ["b", "c", "a"]


@pytest.mark.parametrize("kind, pattern, definition, text", [
    ("policy", "a", '{"nosuch":10}', 'Validation failed\n\n[{<<"nosuch">>,10}] are not recognised policy settings\n'),
    ("policy", "a", "{", "JSON decoding error. Reason: badarg"),
    ("policy", "[", '{"max-length":10}', 'Validation failed\n\npattern should be regular expression but is invalid: {"missing terminating ] for '
     'character class",\n                                                      1}\n'),
    ("policy", "a", '{"ha-mode":"exactly","ha-params":"2"}',
     'Validation failed\n\nha-mode="exactly" takes an integer, <<"2">> given\n'),
    ("policy", "a", "{}", "Validation failed\n\nno policy provided\n"),
    ("policy", "a", '{"message-ttl":-1}', "Validation failed\n\n-1 is not a valid message TTL\n"),
    ("operator_policy", "a", '{"queue-mode":"lazy"}',
     'Validation failed\n\n[{<<"queue-mode">>,<<"lazy">>}] are not recognised policy settings\n'),
])
def test_refusals(ctl, kind, pattern, definition, text):
    refused(ctl(f"set_{kind}", "bad", pattern, definition), 69, set_banner(kind, "bad", pattern, definition, "/"), text)


def test_an_unknown_vhost(ctl):
    expect(ctl("list_policies", "-p", "nosuch"), 65, 'Listing policies for vhost "nosuch" ...\n', "Virtual host 'nosuch' does not exist\n")


def test_columns_of_lists(ctl, vhost, broker):
    ch = wire.Conn.open(broker, vhost=vhost).channel(1)
    ch.call("queue.declare", queue="q.one", exclusive=True)
    ch.call("exchange.declare", exchange="x.one", type="fanout")
    ctl("set_policy", "-p", vhost, "weak", "one", '{"max-length":5}')
    ctl("set_policy", "-p", vhost, "--priority", "1", "--apply-to", "queues", "strong", "^q", '{"max-length":6}')
    assert ctl("list_queues", "-p", vhost, "-s", "name", "policy").rows == [["q.one", "strong"]]
    assert ["x.one", "weak"] in ctl("list_exchanges", "-p", vhost, "-s", "name", "policy").rows
    ch.call("queue.declare", queue="q.two", exclusive=True)
    assert ["q.two", "strong"] in ctl("list_queues", "-p", vhost, "-s", "name", "policy").rows
    ctl("clear_policy", "-p", vhost, "strong")
    assert ["q.two", ""] in ctl("list_queues", "-p", vhost, "-s", "name", "policy").rows
    assert ["q.one", "weak"] in ctl("list_queues", "-p", vhost, "-s", "name", "policy").rows
    ch.conn.close()


def test_an_alternate_exchange_by_policy(ctl, vhost, broker):
    ch = wire.Conn.open(broker, vhost=vhost).channel(1)
    ch.call("exchange.declare", exchange="x", type="direct")
    ch.call("queue.declare", queue="lost", exclusive=True)
    ch.call("queue.bind", queue="lost", exchange="amq.fanout")

    def arrives(body):
        ch.publish("x", "nowhere", body)
        got = ch.get("lost")
        return got is not None and got.body == body

    assert not arrives(b"before")
    ctl("set_policy", "-p", vhost, "ae", "^x$", '{"alternate-exchange":"amq.fanout"}', "--apply-to", "exchanges")
    assert arrives(b"with")
    ctl("clear_policy", "-p", vhost, "ae")
    assert not arrives(b"after")
    ch.conn.close()


def test_a_length_limit_by_policy(ctl, vhost, broker):
    """It holds for the messages that are there already, and no more when it is cleared."""
    ch = wire.Conn.open(broker, vhost=vhost).channel(1)
    ch.call("queue.declare", queue="q", exclusive=True)
    for body in (b"1", b"2", b"3", b"4"):
        ch.publish("", "q", body)
    until(ch, "q", 4)
    ctl("set_policy", "-p", vhost, "p", "^q$", '{"max-length":3}')
    ctl("set_operator_policy", "-p", vhost, "o", "^q$", '{"max-length":2}')
    until(ch, "q", 2)
    ch.publish("", "q", b"5")
    until(ch, "q", 2)
    ctl("clear_operator_policy", "-p", vhost, "o")
    ctl("clear_policy", "-p", vhost, "p")
    for body in (b"6", b"7"):
        ch.publish("", "q", body)
    until(ch, "q", 4)
    assert [ch.get("q").body for _ in range(4)] == [b"4", b"5", b"6", b"7"]
    ch.conn.close()


def test_a_dead_letter_exchange_by_policy(ctl, vhost, broker):
    ch = wire.Conn.open(broker, vhost=vhost).channel(1)
    ch.call("queue.declare", queue="q", exclusive=True)
    ch.call("queue.declare", queue="dead", exclusive=True)
    ch.call("queue.bind", queue="dead", exchange="amq.direct", routing_key="gone")
    ctl("set_policy", "-p", vhost, "p", "^q$", '{"dead-letter-exchange":"amq.direct","dead-letter-routing-key":"gone"}')
    ch.publish("", "q", b"one")
    got = ch.get("q", no_ack=False)
    ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
    until(ch, "dead", 1)
    assert ch.get("dead").body == b"one"
    ch.conn.close()


@pytest.mark.leveret_only("RabbitMQ tries again after three minutes")
def test_at_least_once_by_policy(ctl, vhost, broker):
    """A dead letter waits for its target while the policy says at-least-once, and is lost when it does not."""
    ch = wire.Conn.open(broker, vhost=vhost, timeout=60).channel(1)
    ch.call("queue.declare", queue="q", durable=True, arguments={"x-queue-type": "quorum"})

    def reject(body):
        ch.publish("", "q", body, delivery_mode=2)
        ch.send("basic.reject", delivery_tag=ch.get_soon("q", no_ack=False).delivery_tag, requeue=False)
        ch.sync()

    definition = {"dead-letter-exchange": "", "dead-letter-routing-key": "later", "overflow": "reject-publish"}
    ctl("set_policy", "-p", vhost, "p", "^q$", json.dumps(definition), "--apply-to", "quorum_queues")
    reject(b"lost")
    deadline = time.monotonic() + 60
    while not lost(broker, vhost):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ctl("set_policy", "-p", vhost, "p", "^q$", json.dumps({**definition, "dead-letter-strategy": "at-least-once"}),
        "--apply-to", "quorum_queues")
    reject(b"kept")
    ch.call("queue.declare", queue="later")
    got = ch.get_soon("later")
    assert got.body == b"kept" and got.props["headers"]["x-death"][0]["reason"] == "rejected"
    assert ch.get("later") is None
    ch.conn.close()


def lost(broker, vhost):
    recent = get(broker, f"/api/reasons?vhost={vhost}&kind=drop_dead_letter")[1]["recent"]
    return [e["object"] for e in recent] == ["q"]


@pytest.mark.needs_restart
@pytest.mark.leveret_only("kills the daemon")
def test_policies_outlive_a_crash(start_broker):
    broker = start_broker()
    tool = Tool(broker)
    ch = wire.Conn.open(broker).channel(1)
    ch.call("queue.declare", queue="q", durable=True, arguments={"x-message-ttl": 500})
    assert tool("set_policy", "p", "q", '{"message-ttl":1000,"max-length":7}').status == 0
    assert tool("set_operator_policy", "op", "q", '{"max-length":5,"expires":900000}').status == 0
    assert tool("set_policy", "gone", "q", '{"max-length":1}', "--priority", "9").status == 0
    assert tool("clear_policy", "gone").status == 0
    broker.kill()
    broker.start()
    for _ in range(2):
        status, queue = get(broker, "/api/queues/%2F/q")
        assert (status, queue["policy"], queue["operator_policy"]) == (200, "p", "op")
        assert queue["effective_policy_definition"] == {"message-ttl": 1000, "max-length": 5, "expires": 900000}
        assert queue["arguments"] == {"x-message-ttl": 500}
        broker.restart()


DEFAULTS = """
default_policies.operator.limits.vhost_pattern = ^customer
default_policies.operator.limits.max_length_bytes = 1MB
default_policies.operator.limits.expires = 1h
management.restrictions.operator_policy_changes.disabled = true
"""


@pytest.mark.leveret_only("a daemon with a configuration of its own")
def test_default_policies_of_the_configuration(configured):
    broker = configured(DEFAULTS)
    tool = Tool(broker)
    assert tool("add_vhost", "customer-1").status == 0
    assert tool("list_operator_policies", "-p", "customer-1", "-s").rows == [
        ["customer-1", "limits", ".*", "all", '{"expires":3600000,"max-length-bytes":1048576}', "0"]]
    assert "limits" not in tool("list_operator_policies", "-s").out
    # The tool is not bound by the restriction, as rabbitmqctl is not.
    assert tool("clear_operator_policy", "-p", "customer-1", "limits").status == 0


@pytest.mark.leveret_only("a daemon with a configuration of its own")
def test_a_default_policy_that_is_none_refuses_the_start(configured):
    broker = configured("default_policies.operator.x.classic_queues.ha_params = 2\n", start=False)
    status, out = broker.run("-c", broker.conf, "-o", f"data_dir={broker.data}", "-o", "listeners.tcp=none")
    assert status == 78 and "default_policies.operator.x: Validation failed" in out


# --- the HTTP API -----------------------------------------------------------------------------------------------------------------

INVALID = "Validation failed\n\n"
REFUSED = [
    ({"definition": {"max-length": 5}}, "[{key_missing,pattern}]"),
    ({"pattern": "a"}, "[{key_missing,definition}]"),
    ({}, "[{key_missing,pattern},{key_missing,definition}]"),
    ({"pattern": "^zz", "definition": {"nosuch": 1}}, INVALID + "[{&lt;&lt;\"nosuch\"&gt;&gt;,1}] are not recognised policy settings\n"),
    ({"pattern": "^zz", "definition": {}}, INVALID + "no policy provided\n"),
    ({"pattern": "^zz", "definition": {"ha-mode": "some"}}, INVALID + "&lt;&lt;\"some\"&gt;&gt; is not a valid ha-mode value\n"),
    ({"pattern": "^zz", "definition": {"max-length": 5}, "priority": "x"},
     INVALID + "priority should be a number, actually was &lt;&lt;\"x\"&gt;&gt;\n"),
    ({"pattern": "^zz", "definition": {"expires": 0}}, INVALID + "0 is not a valid queue expiry\n"),
    ({"pattern": "^zz", "definition": {"dead-letter-exchange": 5}}, INVALID + "5 is not a valid dead letter exchange name\n"),
    ({"pattern": "^zz", "definition": {"queue-master-locator": "x&y"}},
     INVALID + "&lt;&lt;\"x&amp;y\"&gt;&gt; invalid queue-master-locator value\n"),
]


@pytest.mark.parametrize("body, reason", REFUSED)
def test_api_refusals(broker, body, reason):
    assert get(broker, "/api/policies/%2F/bad", "PUT", body) == (400, {"error": "bad_request", "reason": reason})
    assert get(broker, "/api/policies/%2F/bad")[0] == 404


def test_api_refuses_a_text_longer_than_a_fault(broker):
    keys = {f"unknown-key-number-{i:02}": i for i in range(30)}
    status, answer = get(broker, "/api/operator-policies/%2F/bad", "PUT", {"pattern": "a", "definition": keys})
    listed = ",".join(f'{{<<"{key}">>,{value}}}' for key, value in keys.items())
    assert (status, answer["reason"]) == (400, f"{INVALID}[{listed}] are not recognised policy settings\n")


@pytest.mark.parametrize("collection", ["policies", "operator-policies"])
def test_api_life(broker, ctl, vhost, collection):
    base = f"/api/{collection}/{urllib.parse.quote(vhost)}"
    missing = (404, {"error": "Object Not Found", "reason": "Not Found"})
    assert get(broker, base) == (200, [])
    assert get(broker, base + "/p") == missing
    assert get(broker, base + "/p", "DELETE") == missing
    assert get(broker, f"/api/{collection}/nosuch") == missing
    assert get(broker, f"/api/{collection}/nosuch/p", "PUT", {"pattern": "a", "definition": {"expires": 1}}) == missing
    body = {"pattern": "^lim\\.", "definition": {"max-length": 1000, "expires": 3600000}, "priority": 0, "apply-to": "queues"}
    assert get(broker, base + "/a%2Fb", "PUT", body) == (201, None)
    assert get(broker, base + "/a%2Fb", "PUT", {**body, "name": "other", "vhost": "zz"}) == (204, None)
    whole = {"vhost": vhost, "name": "a/b", **body}
    assert get(broker, base + "/a%2Fb") == (200, whole)
    assert get(broker, base + "/weaker", "PUT", {"pattern": "", "definition": {"expires": 5}, "priority": -1.5})[0] == 201
    status, listed = get(broker, base)
    assert (status, [entry["name"] for entry in listed], listed[0]["priority"], listed[0]["apply-to"]) == (200, ["weaker", "a/b"], -1.5, "all")
    assert whole in get(broker, f"/api/{collection}")[1]
    assert get(broker, base + "/a%2Fb", "DELETE") == (204, None)
    assert get(broker, base + "/a%2Fb", "DELETE") == missing


def test_api_shows_what_is_in_effect(broker, ctl, vhost):
    quoted = urllib.parse.quote(vhost)
    assert get(broker, f"/api/queues/{quoted}/q1", "PUT", {"arguments": {"x-max-length": 3}})[0] == 201
    assert get(broker, f"/api/queues/{quoted}/none", "PUT", {})[0] == 201
    assert get(broker, f"/api/policies/{quoted}/p", "PUT", {"pattern": "1$", "definition": {"ha-mode": "exactly", "ha-params": 2, "max-length": 9}})[0] == 201
    assert get(broker, f"/api/operator-policies/{quoted}/o", "PUT", {"pattern": "^q", "definition": {"ha-mode": "all", "max-length": 10}})[0] == 201
    queue = get(broker, f"/api/queues/{quoted}/q1")[1]
    assert (queue["policy"], queue["operator_policy"]) == ("p", "o")
    assert queue["effective_policy_definition"] == {"ha-mode": "all", "ha-params": 2, "max-length": 9}
    queue = get(broker, f"/api/queues/{quoted}/none")[1]
    assert (queue["policy"], queue["operator_policy"], queue["effective_policy_definition"]) == (None, None, {})
    assert "policy" not in get(broker, f"/api/exchanges/{quoted}/amq.topic")[1]
    get(broker, f"/api/policies/{quoted}/x", "PUT", {"pattern": "topic", "apply-to": "exchanges", "definition": {"alternate-exchange": "amq.fanout"}})
    assert get(broker, f"/api/exchanges/{quoted}/amq.topic")[1]["policy"] == "x"
