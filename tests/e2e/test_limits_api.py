"""Limits, reasons, counters and the dry run of routing over the HTTP API and leveretctl; what the configuration adds to messages."""

import json
import subprocess
import time

import pika
import pytest

pytestmark = pytest.mark.leveret_only("the control socket; texts and fields are those of RabbitMQ's HTTP API")


def http(broker, method, path, body=None):
    """(status, JSON or None)"""
    data = [] if body is None else ["-d", body if isinstance(body, str) else json.dumps(body)]
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", broker.socket, "-X", method, *data,
                           "http://localhost" + path], capture_output=True, text=True, check=True)
    text, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(text) if text else None


@pytest.fixture
def vhost(broker):
    broker.add_vhost("limits")
    yield "limits"
    broker.ctl("delete_vhost", "limits")


@pytest.fixture
def user(broker):
    broker.add_user("limited", "limited")
    yield "limited"
    broker.ctl("delete_user", "limited")


# --- limits ---------------------------------------------------------------------------------------------------------------------

ALL = {"max-connections": 9223372036854775807, "max-queues": 0, "max-publish-rate": 5, "max-publish-bytes-rate": 1000}


def test_vhost_limits_are_set_and_kept(broker, vhost):
    for name, value in ALL.items():
        assert http(broker, "PUT", f"/api/vhost-limits/{vhost}/{name}", {"value": value}) == (204, None)
    assert http(broker, "GET", f"/api/vhost-limits/{vhost}") == (200, [{"vhost": vhost, "value": ALL}])
    assert {"vhost": vhost, "value": ALL} in http(broker, "GET", "/api/vhost-limits")[1]
    assert http(broker, "GET", f"/api/vhosts/{vhost}")[1]["limits"] == ALL
    for name in ALL:
        assert http(broker, "PUT", f"/api/vhost-limits/{vhost}/{name}", {"value": -1}) == (204, None)
    assert http(broker, "GET", f"/api/vhost-limits/{vhost}") == (200, [])
    for name in (*ALL, "max-connections-x"):
        assert http(broker, "DELETE", f"/api/vhost-limits/{vhost}/{name}") == (204, None)


def test_user_limits_are_set_and_kept(broker, user):
    limits = {"max-connections": 1, "max-channels": 2, "max-publish-rate": 3, "max-publish-bytes-rate": 4}
    for name, value in limits.items():
        assert http(broker, "PUT", f"/api/user-limits/{user}/{name}", {"value": value}) == (204, None)
    assert http(broker, "GET", f"/api/user-limits/{user}") == (200, [{"user": user, "value": limits}])
    assert http(broker, "DELETE", f"/api/user-limits/{user}/max-channels") == (204, None)
    assert http(broker, "GET", f"/api/users/{user}")[1]["limits"] == {k: v for k, v in limits.items() if k != "max-channels"}


@pytest.mark.parametrize("path, body, status, error, reason", [
    ("vhost-limits/limits/nosuch", {"value": 1}, 400, "bad_request", 'Validation failed\n\nUnrecognised terms [{<<"nosuch">>,1}] in limits\n'),
    ("vhost-limits/limits/max-queues", {"value": "x"}, 400, "bad_request",
     'Validation failed\n\nmax-queues should be a number, actually was <<"x">>\n'),
    ("vhost-limits/limits/max-queues", {}, 400, "bad_request", "[{key_missing,value}]"),
    ("user-limits/limited/nosuch", {"value": 1}, 400, "bad_request", 'Unrecognised terms [{<<"nosuch">>,1}] in user-limits'),
    ("user-limits/limited/max-channels", {"value": "x"}, 400, "bad_request", 'max-channels should be a number, actually was <<"x">>'),
    ("user-limits/nosuch/max-channels", {"value": 1}, 400, "bad_request", ["no_such_user", "nosuch"]),
    ("vhost-limits/nosuch/max-queues", {"value": 1}, 404, "not_found", "vhost_not_found"),
    ("vhost-limits/limits/max-publish-rate", {"value": None}, 400, "bad_request",
     "Validation failed\n\nmax-publish-rate should be a number, actually was null\n"),
])
def test_refused_limits(broker, vhost, user, path, body, status, error, reason):
    assert http(broker, "PUT", "/api/" + path, body) == (status, {"error": error, "reason": reason})


def test_clients_that_flap_at_the_limit(broker, vhost, pika_connect):
    """Whoever closes makes room at once; whoever is refused takes none."""
    http(broker, "PUT", f"/api/vhost-limits/{vhost}/max-connections", {"value": 1})
    refused = http(broker, "GET", "/api/reasons")[1]["totals"]["refused_vhost_connections"]
    for _ in range(30):
        connection = pika_connect(virtual_host=vhost)
        with pytest.raises(pika.exceptions.ProbableAccessDeniedError) as e:
            pika_connect(virtual_host=vhost)
        assert "connection limit (1) is reached" in str(e.value)
        connection.close()
    reasons = http(broker, "GET", f"/api/reasons?kind=refused_vhost_connections&vhost={vhost}")[1]
    assert [e["object"] for e in reasons["recent"]] == ["guest"]
    assert reasons["totals"]["refused_vhost_connections"] == refused + 30


def test_limits_survive_a_restart(start_broker):
    broker = start_broker()
    broker.ctl("set_vhost_limits", json.dumps(ALL))
    broker.ctl("set_user_limits", "guest", '{"max-publish-rate": 7}')
    broker.stop()
    broker.start()
    assert json.loads(broker.ctl("list_vhost_limits", "-q")) == ALL
    assert json.loads(broker.ctl("list_user_limits", "-q")) == {"max-publish-rate": 7}


def test_limits_of_new_vhosts(start_broker):
    prefix = "default_limits.vhosts"
    broker = start_broker({f"{prefix}.1.pattern": "^device-[0-9]+$", f"{prefix}.1.max_queues": "2", f"{prefix}.10.max_connections": "5",
                           f"{prefix}.2.pattern": "device", f"{prefix}.2.max_publish_rate": "100"})
    for vhost, limits in (("device-1", {"max-queues": 2}), ("a device", {"max-publish-rate": 100}), ("other", {"max-connections": 5})):
        broker.add_vhost(vhost)
        assert json.loads(broker.ctl("list_vhost_limits", "-q", "-p", vhost)) == limits
    broker.ctl("clear_vhost_limits", "-p", "other")
    broker.ctl("add_vhost", "other")  # it is there already
    assert broker.ctl("list_vhost_limits", "-q", "-p", "other").strip() == ""


# --- counters and reasons ---------------------------------------------------------------------------------------------------------


def test_message_stats(broker, vhost, pika_connect):
    ch = pika_connect(virtual_host=vhost).channel()
    ch.confirm_delivery()
    ch.exchange_declare("x", "fanout")
    for queue in ("a", "b"):
        ch.queue_declare(queue)
        ch.queue_bind(queue, "x")
    for _ in range(3):
        ch.basic_publish("x", "", b"m")
    with pytest.raises(pika.exceptions.UnroutableError):
        ch.basic_publish("amq.direct", "nowhere", b"m", mandatory=True)
    ch.basic_publish("amq.direct", "nowhere", b"m")
    assert ch.basic_get("a", auto_ack=True)[0] is not None
    counts = lambda stats: stats and {key: stats[key] for key in ("publish_in", "publish_out")}
    assert counts(http(broker, "GET", f"/api/exchanges/{vhost}/x")[1]["message_stats"]) == {"publish_in": 3, "publish_out": 6}
    listed = {x["name"]: counts(x.get("message_stats")) for x in http(broker, "GET", f"/api/exchanges/{vhost}")[1]}
    assert listed["amq.direct"] == {"publish_in": 2, "publish_out": 0} and listed["amq.topic"] is None
    stats = http(broker, "GET", f"/api/vhosts/{vhost}")[1]["message_stats"]
    expected = {"publish": 5, "confirm": 5, "return_unroutable": 1, "drop_unroutable": 1, "get_no_ack": 1, "deliver_get": 1}
    assert {key: stats[key] for key in expected} == expected
    channels = http(broker, "GET", f"/api/vhosts/{vhost}/channels")[1]
    assert {key: channels[0]["message_stats"][key] for key in expected} == expected
    assert http(broker, "GET", "/api/exchanges/nosuch")[0] == 404
    assert http(broker, "GET", f"/api/exchanges/{vhost}/nosuch")[0] == 404
    assert http(broker, "GET", "/api/vhosts/nosuch")[0] == 404


def test_reasons(broker, vhost, pika_connect):
    before = http(broker, "GET", "/api/reasons")[1]
    connection = pika_connect(virtual_host=vhost)
    ch = connection.channel()
    ch.exchange_declare('odd "name" é', "direct")
    for _ in range(25):
        ch.basic_publish('odd "name" é', "k", b"m")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        ch.queue_declare("nosuch", passive=True)
    http(broker, "PUT", f"/api/vhost-limits/{vhost}/max-queues", {"value": 0})
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        connection.channel().queue_declare("one too many")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika_connect(virtual_host=vhost, credentials=pika.PlainCredentials("nobody", "nothing"))
    after = http(broker, "GET", "/api/reasons")[1]
    for kind, more in (("drop_unroutable", 25), ("channel_error", 1), ("refused_vhost_queues", 1), ("refused_login", 1)):
        assert after["totals"][kind] == before["totals"][kind] + more, kind
    assert after["totals"]["connection_error"] == before["totals"]["connection_error"]  # a refusal is counted once
    assert after["channel_errors"]["404"] == before["channel_errors"].get("404", 0) + 1
    mine = {e["kind"]: e for e in http(broker, "GET", f"/api/reasons?vhost={vhost}")[1]["recent"] if e["object"] != "amq.direct"}
    dropped = mine["drop_unroutable"]
    assert (dropped["object_kind"], dropped["object"], dropped["count"]) == ("exchange", 'odd "name" é', 25)
    assert mine["refused_vhost_queues"]["text"].endswith("queue limit in vhost 'limits' (0) is reached")
    assert mine["channel_error"]["code"] == 404
    times = [e["time"] for e in after["recent"]]
    assert times == sorted(times, reverse=True)
    shown = broker.ctl("reasons")
    assert shown.startswith("Listing recent refusals, drops, returns and holds ...\ntime\tkind\tvhost\tobject\tcount\treason\n")
    assert "refused_login" in shown
    assert "refused_vhost_queues\t1\n" in broker.ctl("reasons", "totals", "-q") or after["totals"]["refused_vhost_queues"] > 1


@pytest.mark.parametrize("fate", ["drop", "dead_letter"])
def test_reasons_of_what_leaves_a_queue(broker, vhost, pika_connect, fate):
    """What was rejected, expired, over the length or delivered too often is counted by queue, with the rule; so are dead letters that nobody took."""
    ch = pika_connect(virtual_host=vhost).channel()
    dead, limited = {"x-dead-letter-exchange": "amq.direct"} if fate == "dead_letter" else {}, f"by policy {fate}"
    ways = {"rejected": {}, "expired": {"x-message-ttl": 1}, "maxlen": {"x-max-length": 0},
            "delivery_limit": {"x-delivery-limit": 0}}
    for why, arguments in ways.items():
        queue = f"{fate} {why}"
        ch.queue_declare(queue, arguments={**arguments, **dead})
        for n in range(3):
            ch.basic_publish("", queue, b"m")
        for n in range(3 if why in ("rejected", "delivery_limit") else 0):
            got = None
            while got is None:
                got = ch.basic_get(queue)[0]
            ch.basic_reject(got.delivery_tag, requeue=why == "delivery_limit")

    def counts():
        recent = http(broker, "GET", f"/api/reasons?vhost={vhost}")[1]["recent"]
        return {(e["kind"], e["object"]): e["count"] for e in recent if e["object"].startswith(fate + " ") or e["object"] == limited}

    expected = {(f"{fate}_{why}", f"{fate} {why}"): 3 for why in ways}
    if dead:  # amq.direct leads nowhere
        expected.update({("drop_dead_letter", f"{fate} {why}"): 3 for why in ways})
    deadline = time.monotonic() + 60
    while counts() != expected:
        assert time.monotonic() < deadline, counts()
        time.sleep(0.05)
    by_kind = {e["kind"]: e["text"] for e in http(broker, "GET", f"/api/reasons?vhost={vhost}")[1]["recent"]}
    assert by_kind[f"{fate}_expired"].startswith("its time to live is over; ")
    broker.ctl("set_policy", "-p", vhost, "short", "^by policy", '{"max-length": 0}')
    ch.queue_declare(limited)
    ch.basic_publish("", limited, b"m")
    while ("drop_maxlen", limited) not in counts():
        assert time.monotonic() < deadline, counts()
        time.sleep(0.05)
    entry = [e for e in http(broker, "GET", f"/api/reasons?vhost={vhost}&kind=drop_maxlen")[1]["recent"] if e["object"] == limited][0]
    assert entry["text"].endswith("(policy 'short')")


# --- the dry run ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def topology(broker, vhost, pika_connect):
    ch = pika_connect(virtual_host=vhost).channel()
    ch.exchange_declare("alternate", "fanout")
    ch.exchange_declare("t", "topic", arguments={"alternate-exchange": "alternate"})
    ch.exchange_declare("h", "headers")
    ch.exchange_declare("inside", "direct", internal=True)
    for queue, arguments in (("a", None), ("b", None), ("full", {"x-max-length": 0, "x-overflow": "reject-publish"})):
        ch.queue_declare(queue, arguments=arguments)
    ch.queue_bind("a", "t", "x.*")
    ch.exchange_bind("h", "t", "x.#")
    ch.queue_bind("b", "h", arguments={"x-match": "any", "k": "v"})
    ch.queue_bind("full", "alternate")
    return vhost


def route(broker, vhost, exchange, key, **more):
    status, answer = http(broker, "POST", f"/api/exchanges/{vhost}/{exchange}/route", {"routing_key": key, **more})
    assert status == 200
    return answer


def test_route(broker, topology):
    answer = route(broker, topology, "t", "x.1", headers={"k": "v"})
    assert (answer["routed"], answer["outcome"], answer["queue_count"]) == (True, "routed", 2)
    assert {q["name"]: q["path"] for q in answer["queues"]} == {
        "a": "exchange 't' -> queue 'a'", "b": "exchange 't' -> exchange 'h' -> queue 'b'"}
    assert all(q["accepts"] for q in answer["queues"])
    assert [s["kind"] for s in answer["steps"]] == ["binding"] * 3
    assert route(broker, topology, "t", "x.1", properties={"headers": {"k": "w"}})["queue_count"] == 1


def test_route_to_an_alternate_exchange_and_a_full_queue(broker, topology):
    answer = route(broker, topology, "t", "y")
    assert [s["kind"] for s in answer["steps"]] == ["no_match", "alternate", "binding"]
    assert answer["steps"][0]["text"] == "none of the 2 bindings of exchange 't' (topic) matches routing key 'y'"
    full = answer["queues"][0]
    assert (full["name"], full["accepts"], answer["nacked"]) == ("full", False, True)
    assert "overflow is reject-publish" in full["text"]


def test_route_to_nowhere(broker, topology):
    answer = route(broker, topology, "h", "k")
    assert (answer["outcome"], answer["text"]) == ("unroutable", "the message goes to no queue: it is dropped, and confirmed")
    answer = route(broker, topology, "h", "k", mandatory=True)
    assert answer["text"] == "the message goes to no queue: it is returned (312 NO_ROUTE), then confirmed"
    answer = route(broker, topology, "amq.default", "nosuch")
    assert answer["steps"][0]["kind"] == "no_match"
    for exchange, user, kind in (("inside", None, "internal_exchange"), ("nosuch", None, "no_exchange"), ("t", "nobody", "no_permission")):
        answer = route(broker, topology, exchange, "k", **({"user": user} if user else {}))
        assert (answer["outcome"], answer["steps"][0]["kind"]) == ("refused", kind)


def test_route_over_get_and_what_is_wrong(broker, topology):
    assert http(broker, "GET", f"/api/exchanges/{topology}/t/route?routing_key=x.1")[1]["queue_count"] == 1
    assert http(broker, "GET", "/api/exchanges/nosuch/t/route?routing_key=k")[0] == 404
    assert http(broker, "POST", f"/api/exchanges/{topology}/t/route", {"headers": 5})[0] == 400
    assert http(broker, "POST", f"/api/exchanges/{topology}/t/route", {"routing_key": "k" * 256})[0] == 400
    assert http(broker, "PUT", f"/api/exchanges/{topology}/t/route", {})[0] == 405


def test_route_on_the_command_line(broker, topology):
    assert broker.ctl("route", "-p", topology, "t", "x.1", '{"k":"v"}') == (
        f'Routing a message to exchange "t" with routing key "x.1" in vhost "{topology}" ...\n'
        "the message goes to 2 queues\n"
        "a\texchange 't' -> queue 'a'\ttakes the message\n"
        "b\texchange 't' -> exchange 'h' -> queue 'b'\ttakes the message\n"
        "\nSteps:\n"
        "0\trouting key 'x.1' matches binding key 'x.*' of exchange 't' (topic): to queue 'a'\n"
        "1\trouting key 'x.1' matches binding key 'x.#' of exchange 't' (topic): to exchange 'h'\n"
        "2\tthe headers match a binding of exchange 'h' (headers, x-match any): to queue 'b'\n")


# --- what the configuration adds ----------------------------------------------------------------------------------------------------


def test_interceptors_and_server_properties(start_broker, pika_connect):
    prefix = "message_interceptors.incoming."
    broker = start_broker({prefix + "set_header_timestamp": "true", prefix + "set_header_routing_node.overwrite": "true",
                           "server_properties.region": "eu west"})
    connection = pika_connect(to=broker)
    assert connection._impl.server_properties["region"] == "eu west"
    ch = connection.channel()
    q = ch.queue_declare("", exclusive=True).method.queue
    given = pika.BasicProperties(timestamp=7, headers={"x-routed-by": "me", "mine": 1}, delivery_mode=2, message_id="m")
    for properties in (None, given):
        ch.basic_publish("", q, b"body", properties)
    plain, kept = (ch.basic_get(q, auto_ack=True) for _ in range(2))
    assert plain[2] == kept[2] == b"body"
    node = plain[1].headers["x-routed-by"]
    assert node.startswith("rabbit@") or "@" in node
    assert plain[1].headers["timestamp_in_ms"] // 1000 == plain[1].timestamp > 1_600_000_000
    assert kept[1].timestamp == 7 and kept[1].message_id == "m" and kept[1].delivery_mode == 2
    assert kept[1].headers["mine"] == 1 and kept[1].headers["x-routed-by"] == node
