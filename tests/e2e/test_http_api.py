"""The HTTP API on its TCP port: who may do what, what is answered, and what hostile clients do to it."""

import base64
import concurrent.futures
import json
import socket
import time
import urllib.parse

import pytest

from harness.http_api import HttpApi, quote
import http_shapes


@pytest.fixture
def api(broker):
    if broker.kind != "leveret":
        pytest.skip("Leveret only: the port of the HTTP API")
    return HttpApi(broker)


@pytest.fixture
def vhost(api):
    """A vhost of the test's own, percent-encoded."""
    name = "http/" + base64.b32encode(str(time.monotonic_ns()).encode()).decode().strip("=")
    assert api.put("/vhosts/" + quote(name), {"description": "of a test"}).status == 201
    yield quote(name)
    assert api.delete("/vhosts/" + quote(name)).status == 204


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def errors(answer):
    return answer.status, answer.json["error"], answer.json["reason"]


# -- log-in ------------------------------------------------------------------------------------------------------------------


def test_nobody_is_let_in_without_a_password(broker, api):
    answer = HttpApi(broker, None).ask("GET", "/overview")
    assert (answer.status, answer.body) == (401, b"")
    assert answer.headers["www-authenticate"] == 'Basic realm="RabbitMQ Management"'
    for user, password in (("guest", "wrong"), ("nobody", "x"), ("guest", ""), ("", ""), ("guest\0x", "guest")):
        assert errors(HttpApi(broker, user, password).ask("GET", "/overview")) == (401, "not_authorized", "Login failed")
    for header in ("Bearer abc", "Basic", "Basic ???", "Basic " + "A" * 5000, "basic"):
        assert api.ask("GET", "/overview", headers={"Authorization": header}).status == 401
    assert HttpApi(broker, None).get("/auth")["oauth_enabled"] is False
    answer = HttpApi(broker, None).ask("POST", "/login", "username=guest&password=guest")
    assert (answer.status, answer.body) == (200, b'"ok"') and "set-cookie" not in answer.headers
    assert HttpApi(broker, None).ask("POST", "/login", "username=guest&password=no").status == 401


def test_too_many_refused_log_ins_have_to_wait(configured):
    broker = configured()
    good, bad = HttpApi(broker), HttpApi(broker, "guest", "wrong")
    assert good.ask("GET", "/whoami").status == 200
    answers = [bad.ask("GET", "/whoami").status for _ in range(30)]
    assert answers[:20] == [401] * 20 and answers[-1] == 429
    assert good.ask("GET", "/whoami").status == 200  # its password was right a moment ago
    counters = {row["protocol"]: row for row in good.get(f"/auth/attempts/{good.get('/overview')['node']}")}
    assert counters["http"]["auth_attempts_failed"] == 20


def test_tags_and_vhosts(broker, api, vhost):
    users = {}
    for tag in ("", "management", "policymaker", "monitoring", "administrator"):
        name = f"http-{tag or 'none'}"
        assert api.put(f"/users/{name}", {"password": "p", "tags": tag}).status in (201, 204)
        users[tag] = HttpApi(broker, name, "p")
    assert api.put(f"/queues/{vhost}/q", {"durable": True}).status == 201
    assert errors(users[""].ask("GET", "/whoami")) == (401, "not_authorised", "Not management user")
    alice = users["management"]
    assert errors(alice.ask("GET", "/users")) == (401, "not_authorised", "Not administrator user")
    assert errors(alice.ask("GET", "/nodes")) == (401, "not_authorised", "Not monitor user")
    assert errors(alice.ask("GET", "/parameters")) == (401, "not_authorised", "User not authorised to access object")
    no_vhost = (401, "not_authorised", "User not authorised to access virtual host")
    for method, path in (("GET", f"/queues/{vhost}"), ("GET", f"/queues/{vhost}/q"), ("PUT", f"/queues/{vhost}/x"),
                         ("DELETE", f"/queues/{vhost}/q/contents"), ("POST", f"/queues/{vhost}/q/get")):
        assert errors(users["administrator"].ask(method, path, "{}")) == no_vhost  # a tag is no permission
    assert alice.get("/vhosts") == [] and len(users["monitoring"].get("/vhosts")) >= 2
    assert alice.get("/queues") == [] and alice.get("/exchanges") == [] and alice.get("/bindings") == []
    assert api.put(f"/permissions/{vhost}/http-management", {"configure": "^my", "write": "^my", "read": ".*"}).status == 201
    assert [q["name"] for q in alice.get("/queues")] == ["q"]
    refused = (401, "not_authorised", "Access refused.")
    assert errors(alice.put(f"/queues/{vhost}/other", {})) == refused
    assert errors(alice.delete(f"/queues/{vhost}/q")) == refused
    assert errors(alice.put(f"/exchanges/{vhost}/other", {})) == refused
    assert alice.put(f"/queues/{vhost}/my", {}).status == 201
    message = {"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"}
    status, _, reason = errors(alice.post(f"/exchanges/{vhost}/amq.default/publish", message))
    assert (status, reason[:18]) == (400, "403 ACCESS_REFUSED")
    for name in users.values():
        assert api.delete("/users/" + name.user).status == 204


def test_clients_see_their_own_connections(broker, api, pika_connect):
    api.put("/users/http-own", {"password": "p", "tags": "management"})
    own, other = HttpApi(broker, "http-own", "p"), pika_connect()
    other.channel()
    wait_for(lambda: len(api.get("/channels")) >= 1)
    name = api.get("/channels")[0]["name"]
    assert own.get("/connections") == [] and own.get("/channels") == []
    assert own.ask("GET", "/channels/" + quote(name)).status == 401
    assert own.ask("DELETE", "/connections/" + quote(name.rsplit(" ", 1)[0])).status == 401
    assert own.ask("GET", "/connections/username/guest").status == 401
    assert api.delete("/users/http-own").status == 204


# -- shapes ------------------------------------------------------------------------------------------------------------------


def test_answers_have_the_shape_of_rabbitmqs(broker, api, pika_connect):
    connection = pika_connect()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("shape", durable=True)
    channel.basic_publish("", "shape", b"x")
    channel.basic_consume("shape", lambda *_: None, consumer_tag="tag")
    connection.process_data_events(0)
    name = quote(api.get("/connections")[0]["name"])
    api.put("/bindings/%2F/e/amq.topic/q/shape")
    api.post("/bindings/%2F/e/amq.topic/q/shape", {"routing_key": "a.#"})
    found = {
        "overview": api.get("/overview"),
        "connection": api.get(f"/connections/{name}"),
        "channel": api.get(f"/channels/{name}%20%281%29"),
        "queue": api.get("/queues/%2F/shape"),
        "exchange": api.get("/exchanges/%2F/amq.topic"),
        "binding": api.get("/bindings/%2F/e/amq.topic/q/shape/a.%2523"),
        "vhost": api.get("/vhosts/%2F"),
        "user": api.get("/users/guest"),
        "consumer": api.get("/consumers/%2F")[0],
        "permission": api.get("/permissions/%2F/guest"),
        "whoami": api.get("/whoami"),
    }
    for kind, value in found.items():
        assert http_shapes.differences(kind, value) == (set(), set(), set()), kind
    assert found["channel"]["consumer_details"] == [found["consumer"]] and found["queue"]["consumer_details"] == [found["consumer"]]
    assert found["queue"]["messages_unacknowledged"] == 1 and found["queue"]["message_stats"]["publish"] == 1
    connection.close()
    wait_for(lambda: api.get("/queues/%2F/shape")["messages_ready"] == 1)
    message = api.post("/queues/%2F/shape/get", {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}).json[0]
    message["properties"] = dict(message["properties"])
    assert http_shapes.differences("message", message) == (set(), set(), set())
    assert api.delete("/queues/%2F/shape").status == 204


# -- objects -----------------------------------------------------------------------------------------------------------------


def test_queues_and_their_errors(api, vhost):
    q = f"/queues/{vhost}/q.plain"
    assert api.put(q).status == 201 and api.put(q).status == 204
    name = urllib.parse.unquote(vhost)
    reason = f"inequivalent arg 'durable' for queue 'q.plain' in vhost '{name}': received 'true' but current is 'false'"
    assert errors(api.put(q, {"durable": True})) == (400, "bad_request", reason)
    assert errors(api.put(q, "{not json")) == (400, "bad_request", "not_json")
    assert errors(api.put(q, [1])) == (400, "bad_request", "not_json")
    assert errors(api.put(q, {"durable": "yes"})) == (400, "bad_request", ["not_boolean", "yes"])
    assert errors(api.put(q, {"node": "nope@localhost"})) == (400, "bad_request", "Node nope@localhost could not be contacted")
    assert errors(api.put("/queues/nosuch/q")) == (404, "not_found", "vhost_not_found")
    assert errors(api.put(f"/queues/{vhost}/amq.mine")) == (401, "not_authorised", "Access refused.")
    assert api.put(f"/queues/{vhost}/{'q' * 256}").status == 400
    assert errors(api.ask("GET", f"/queues/{vhost}/none")) == (404, "Object Not Found", "Not Found")
    assert errors(api.ask("GET", "/queues/nosuch")) == (404, "Object Not Found", "Not Found")
    assert api.post(q + "/actions", {"action": "sync"}).status == 204
    assert errors(api.post(q + "/actions", {"action": "x"})) == (400, "bad_request", ["unknown", "x"])
    assert errors(api.post(q + "/actions")) == (400, "bad_request", "[{key_missing,action}]")
    assert api.delete(q + "?if-empty=true&if-unused=true").status == 204 and api.delete(q).status == 404


def test_an_exclusive_queue_is_locked(api, pika_connect):
    channel = pika_connect().channel()
    channel.queue_declare("mine", exclusive=True)
    for answer in (api.delete("/queues/%2F/mine"), api.delete("/queues/%2F/mine/contents"), api.put("/queues/%2F/mine"),
                   api.post("/bindings/%2F/e/amq.direct/q/mine"),
                   api.post("/queues/%2F/mine/get", {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"})):
        assert answer.status == 400 and "cannot obtain exclusive access to locked queue 'mine'" in answer.json["reason"]


def test_bindings_have_names(api, vhost):
    api.put(f"/queues/{vhost}/q")
    api.put(f"/exchanges/{vhost}/x", {"type": "direct"})
    between = f"/bindings/{vhost}/e/x/q/q"
    for body, location in (({"routing_key": "plain"}, "q/plain"), ({}, "q/~"), ({"routing_key": "a/b~c #"}, "q/a%252Fb%257Ec+%2523"),
                           ({"routing_key": 5}, "q/5")):
        answer = api.post(between, body)
        assert (answer.status, answer.headers["location"]) == (201, location)
    with_arguments = api.post(between, {"routing_key": "plain", "arguments": {"b": 1, "a": "x"}}).headers["location"]
    assert api.post(between, {"routing_key": "plain", "arguments": {"a": "x", "b": 1}}).headers["location"] == with_arguments
    keys = [b["properties_key"] for b in api.get(between)]
    assert len(keys) == 5 and with_arguments.split("/")[1] in keys
    for key in keys:
        one = api.get(f"{between}/{quote(key)}")
        assert one["properties_key"] == key
        assert api.delete(f"{between}/{quote(key)}").status == 204
        assert api.ask("GET", f"{between}/{quote(key)}").status == 404
    assert [b["source"] for b in api.get(f"/queues/{vhost}/q/bindings")] == [""]
    assert len(api.get(f"/bindings/{vhost}/e//q/q")) == 1
    assert errors(api.post(f"/bindings/{vhost}/e/none/q/q"))[:2] == (404, "not_found")
    assert api.post(f"/exchanges/{vhost}/x/publish").status == 400
    assert errors(api.post(f"/bindings/{vhost}/e/amq.default/q/q", {"routing_key": "a"})) == (401, "not_authorised", "Access refused.")


def test_publish_and_get(api, vhost):
    api.put(f"/queues/{vhost}/q", {"durable": True})
    publish, get = f"/exchanges/{vhost}/amq.default/publish", f"/queues/{vhost}/q/get"
    message = {"properties": {}, "routing_key": "q", "payload": "h\u00e9\u0000", "payload_encoding": "string"}
    for missing in message:
        body = {k: v for k, v in message.items() if k != missing}
        assert errors(api.post(publish, body)) == (400, "bad_request", "[{key_missing,%s}]" % missing)
    assert api.post(publish, message).json == {"routed": True}
    assert api.post(publish, {**message, "routing_key": "none"}).json == {"routed": False}
    properties = {"delivery_mode": 2, "content_type": "text/plain", "priority": 3, "timestamp": 5, "message_id": "m", "app_id": "a",
                  "headers": {"i": 1, "s": "x", "b": True, "d": 1.5, "n": None, "l": [1, "two"], "t": {"h": 1}}}
    body = {**message, "payload": "/wD+", "payload_encoding": "base64", "properties": properties}
    assert api.post(publish, body).json == {"routed": True}
    assert errors(api.post(publish, {**body, "payload": "***"})) == (400, "bad_request", ["not_base64", "***"])
    assert errors(api.post(publish, {**body, "payload_encoding": "x"})) == (400, "bad_request", ["unsupported_encoding", "x"])
    assert errors(api.post(publish, {**body, "properties": {"priority": "x"}})) == (400, "bad_request", ["not_int", "priority"])
    assert api.post(publish, {**body, "properties": {"user_id": "other"}}).json["reason"].startswith("406 PRECONDITION_FAILED - user_id")
    assert api.post(f"/exchanges/{vhost}/none/publish", message).json["reason"].startswith("404 NOT_FOUND - no exchange 'none'")
    want = {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}
    first, second = api.post(get, want).json
    assert (first["payload"], first["payload_encoding"], first["redelivered"], first["message_count"]) == ("hé\0", "string", False, 1)
    assert first["properties"] == [] and second["properties"] == properties
    assert (second["payload"], second["payload_encoding"], second["payload_bytes"]) == ("/wD+", "base64", 3)
    first, second = api.post(get, {**want, "truncate": 1, "encoding": "base64"}).json
    assert first["redelivered"] and (first["payload"], second["payload"]) == ("aA==", "/w==")
    assert len(api.post(get, {**want, "count": 1, "ackmode": "reject_requeue_false"}).json) == 1
    assert len(api.post(get, {**want, "ackmode": "ack_requeue_false"}).json) == 1
    assert api.post(get, want).json == [] and api.post(get, {**want, "count": "x"}).status == 400
    assert api.post(get, {**want, "ackmode": "maybe"}).status == 400 and api.post(get, {**want, "encoding": "x"}).status == 400
    assert errors(api.post(f"/queues/{vhost}/none/get", want))[:2] == (404, "not_found")
    for _ in range(3):
        api.post(publish, message)
    assert api.delete(f"/queues/{vhost}/q/contents").status == 204 and api.get(f"/queues/{vhost}/q")["messages"] == 0


def test_users_and_permissions(api, vhost):
    assert errors(api.put("/users/u1", {"password": "x"})) == (400, "bad_request", "tags_not_present")
    assert api.put("/users/u1", {"password": "x", "password_hash": "y", "tags": ""}).status == 400
    assert errors(api.put("/users/u1", {"password_hash": "not base64!", "tags": ""})) == (400, "bad_request", ["not_base64", "not base64!"])
    assert api.put("/users/u1", {"password": "x", "tags": ["management", "custom"]}).status == 201
    assert api.put("/users/u2", {"tags": "monitoring, other"}).status == 201
    assert api.get("/users/u2")["tags"] == ["monitoring", "other"] and api.get("/users/u2")["password_hash"] == ""
    assert {"u1", "u2"} <= {u["name"] for u in api.get("/users/without-permissions")}
    path = f"/permissions/{vhost}/u1"
    assert errors(api.put(path, {"configure": "", "write": ""})) == (400, "bad_request", "[{key_missing,read}]")
    assert api.put(path, {"configure": "[", "write": "", "read": ""}).status == 400
    good = {"configure": "", "write": "^a", "read": ".*"}
    assert api.put(path, good).status == 201 and api.put(path, good).status == 204
    assert errors(api.put(f"/permissions/{vhost}/nobody", good)) == (400, "bad_request", "vhost_or_user_not_found")
    assert api.get("/users/u1/permissions") == [{**good, "user": "u1", "vhost": urllib.parse.unquote(vhost)}]
    topic = f"/topic-permissions/{vhost}/u1"
    assert api.put(topic, {"exchange": "amq.topic", "write": "^a", "read": "^b"}).status == 201
    assert len(api.get(topic)) == 1 and api.delete(topic + "/amq.topic").status == 204 and api.get(topic) == []
    assert api.delete(path).status == 204 and api.delete(path).status == 404
    assert errors(api.post("/users/bulk-delete", {"users": ["u2", "nobody", "u1"]})) == (400, "bad_request", ["no_such_user", "nobody"])
    assert api.post("/users/bulk-delete", {"users": ["u1"]}).status == 204
    assert errors(api.post("/users/bulk-delete")) == (400, "bad_request", "[{key_missing,users}]")


def test_global_parameters_and_the_clusters_name(api):
    value = {"a": 1, "b": ["x", None], "e": "text", "f": 1.5}
    assert api.put("/global-parameters/mine", {"value": value}).status == 201
    assert api.get("/global-parameters/mine") == {"name": "mine", "value": value}
    assert api.put("/global-parameters/mine", {}).status == 400
    assert "mine" in [p["name"] for p in api.get("/global-parameters")]
    assert api.delete("/global-parameters/mine").status == 204 and api.delete("/global-parameters/mine").status == 404
    before = api.get("/cluster-name")["name"]
    assert api.put("/cluster-name", {"name": "orders"}).status in (201, 204)
    assert api.get("/cluster-name") == {"name": "orders"} and api.get("/overview")["cluster_name"] == "orders"
    assert api.put("/cluster-name", {"name": before}).status == 204
    assert errors(api.put("/parameters/nosuch/%2F/x", {"value": 1})) == (400, "bad_request", "Validation failed\n\ncomponent nosuch not found\n")


def test_health_checks_and_the_rest(broker, api):
    for path in ("alarms", "local-alarms", "virtual-hosts", "node-is-mirror-sync-critical", "node-is-quorum-critical", "is-in-service",
                 "ready-to-serve-clients", f"port-listener/{broker.port}", f"port-listener/{broker.http_port}", "protocol-listener/amqp091",
                 "protocol-listener/http", "certificate-expiration/1/months"):
        assert api.get("/health/checks/" + path)["status"] == "ok"
    assert api.ask("GET", "/health/checks/port-listener/1").status == 503
    assert api.ask("GET", "/health/checks/certificate-expiration/x/days").status == 400
    assert api.ask("GET", "/health/checks/nonsense").status == 404
    assert api.get("/aliveness-test/%2F") == {"status": "ok"}
    assert api.ask("GET", "/aliveness-test/nosuch").status == 404
    node = api.get("/overview")["node"]
    assert api.get(f"/nodes/{node}")["name"] == node and api.get(f"/nodes/{node}/memory")["memory"]["strategy"] == "rss"
    assert api.post("/rebalance/queues").status == 204 and api.get("/extensions") == []
    assert all(flag["state"] == "enabled" for flag in api.get("/feature-flags"))
    assert api.get("/whoami") == {"name": "guest", "tags": ["administrator"]}


def test_closing_connections(api, pika_connect):
    import pika
    connection = pika_connect()
    connection.channel()
    name = [c["name"] for c in api.get("/connections")][-1]
    assert [c["number"] for c in api.get(f"/connections/{quote(name)}/channels")] == [1]
    assert api.ask("DELETE", f"/connections/{quote(name)}", headers={"X-Reason": "because"}).status == 204
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="because"):
        connection.process_data_events(10)
    assert api.delete("/connections/nosuch").status == 404


# -- lists -------------------------------------------------------------------------------------------------------------------


def test_pages_names_order_columns(api, vhost):
    lengths = {"alpha": 2, "beta": 0, "Gamma": 1, "delta": 3, "eps": 0}
    for name, count in lengths.items():
        api.put(f"/queues/{vhost}/{name}")
        for _ in range(count):
            api.post(f"/exchanges/{vhost}/amq.default/publish", {"properties": {}, "routing_key": name, "payload": "", "payload_encoding": "string"})
    q = f"/queues/{vhost}?"
    names = lambda query: [x["name"] for x in api.get(q + query)["items"]]
    page = api.get(q + "page=2&page_size=2&columns=name")
    assert page == {"filtered_count": 5, "item_count": 2, "page": 2, "page_count": 3, "page_size": 2, "total_count": 5,
                    "items": [{"name": "beta"}, {"name": "delta"}]}
    assert names("page=1&name=A") == ["Gamma", "alpha", "beta", "delta"]
    assert names("page=1&use_regex=true&name=%5E%5Ba-d%5D.*a%24") == ["Gamma", "alpha", "beta", "delta"][1:]
    assert api.get(q + "page=1&name=zzz")["page_count"] == 0
    assert names("page=1&sort=messages&sort_reverse=true") == ["delta", "alpha", "Gamma", "eps", "beta"]
    assert names("page=1&page_size=2&sort=message_stats.publish&sort_reverse=true") == ["delta", "alpha"]
    assert names("page=1&sort=name&sort_reverse=true") == ["eps", "delta", "beta", "alpha", "Gamma"]
    assert names("page=1&sort=no.such") == ["Gamma", "alpha", "beta", "delta", "eps"]
    assert api.get(q + "columns=messages,message_stats.publish&sort=messages")[-1] == {"messages": 3, "message_stats": {"publish": 3}}
    bare = api.get(q + "disable_stats=true")[0]
    assert bare["state"] == "live" and "messages" not in bare
    assert api.get(q + "disable_stats=true&enable_queue_totals=true&sort=messages")[-1]["messages"] == 3
    for query, error in (("page=0", "invalid_pagination_parameters"), ("page=1&page_size=501", "invalid_pagination_parameters"),
                         ("page=x", "bad_request"), ("page=9&page_size=5", "page_out_of_range"), ("page=1&name=%5B&use_regex=true", "bad_request"),
                         ("msg_rates_age=100000&msg_rates_incr=1", "invalid_range_parameters"), ("columns=" + "a.b.c.d.e.f.g.h.i", "bad_request")):
        assert api.ask("GET", q + query).json["error"] == error, query
    assert len(api.get(q + "name=alpha")) == 5  # without a page it is no filter
    details = api.get(q + "lengths_age=60&lengths_incr=5&columns=messages_details")[0]["messages_details"]
    assert len(details["samples"]) == 13 and set(details) == {"rate", "samples", "avg", "avg_rate"}


def test_a_pattern_that_explodes_is_bounded(api, vhost):
    for i in range(200):
        api.put(f"/queues/{vhost}/{'a' * 60}{i}")
    started = time.monotonic()
    answer = api.ask("GET", f"/queues/{vhost}?page=1&use_regex=true&name=%28a%2B%29%2B%24x")
    assert answer.status in (200, 400) and time.monotonic() - started < 30
    assert api.get("/whoami")["name"] == "guest"


def test_a_long_list_is_a_stream(api, vhost):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: api.put(f"/queues/{vhost}/q{i:04}"), range(1000)))
    answer = api.ask("GET", f"/queues/{vhost}")
    assert answer.headers["transfer-encoding"] == "chunked" and "content-length" not in answer.headers
    assert [q["name"] for q in answer.json] == [f"q{i:04}" for i in range(1000)]
    assert len(api.get(f"/bindings/{vhost}")) == 1000
    assert [q["name"] for q in api.get(f"/queues/{vhost}?sort=messages&sort_reverse=true&columns=name")][0] == "q0999"
    head = api.ask("HEAD", f"/queues/{vhost}")
    assert head.status == 200 and head.body == b""


def test_rates_come_while_somebody_looks(configured, pika_connect):
    broker = configured("collect_statistics_interval = 1000\n")
    api, channel = HttpApi(broker), pika_connect(broker).channel()
    channel.queue_declare("busy")
    seen = {}

    def look():
        queue, overview = api.get("/queues/%2F/busy"), api.get("/overview")
        seen["queue"] = queue["message_stats"]["publish_details"]["rate"]
        seen["length"] = queue["messages_details"]["rate"]
        seen["node"] = overview["message_stats"]["publish_details"]["rate"]
        seen["channel"] = api.get("/channels")[0]["message_stats"]["publish_details"]["rate"]
        seen["bytes"] = api.get("/connections")[0]["recv_oct_details"]["rate"]
        channel.basic_publish("", "busy", b"x" * 100)
        return all(rate > 0 for rate in seen.values())

    wait_for(look, 60)
    history = lambda: api.get("/queues/%2F/busy?msg_rates_age=60&msg_rates_incr=5")["message_stats"]["publish_details"]
    wait_for(lambda: history()["samples"][0]["sample"] > 0)
    ranged = history()
    assert len(ranged["samples"]) == 13 and ranged["avg"] > 0
    assert ranged["samples"][0]["timestamp"] - ranged["samples"][1]["timestamp"] == 5000


# -- HTTP ----------------------------------------------------------------------------------------------------------------------


def test_methods_and_headers(broker, api):
    for method, path, status, allow in (("POST", "/overview", 405, "HEAD, GET, OPTIONS"), ("PATCH", "/overview", 405, "HEAD, GET, OPTIONS"),
                                        ("OPTIONS", "/queues/%2F/q", 200, "HEAD, GET, PUT, DELETE, OPTIONS"),
                                        ("GET", "/queues/%2F/q/get", 405, "POST, OPTIONS")):
        answer = HttpApi(broker, None).ask(method, path, "{}" if method in ("POST", "PATCH") else None)
        assert (answer.status, answer.headers["allow"], answer.body) == (status, allow, b"")
    assert api.ask("GET", "/overview%zz").status == 400
    assert api.ask("GET", "/overview/").status == 200
    assert api.ask("GET", "/overview", headers={"Accept": "text/html"}).status == 406
    for path in ("/nosuch/deep/path", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/queues///x", "/" + "a/" * 50):
        assert api.ask("GET", path).status in (400, 404)
    answer = api.ask("GET", "/whoami")
    again = api.ask("GET", "/whoami", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert answer.headers["content-type"] == "application/json" and answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in api.ask("GET", "/whoami", headers={"Origin": "http://page.example"}).headers


def test_pages_of_other_origins(configured):
    named = HttpApi(configured("management.cors.allow_origins.1 = http://page.example\n"))
    answer = named.ask("GET", "/whoami", headers={"Origin": "http://page.example"})
    assert answer.headers["access-control-allow-origin"] == "http://page.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in named.ask("GET", "/whoami", headers={"Origin": "http://other.example"}).headers
    asked = named.ask("OPTIONS", "/whoami", headers={"Origin": "http://page.example", "Access-Control-Request-Headers": "authorization"})
    assert asked.headers["access-control-allow-headers"] == "authorization" and asked.headers["access-control-max-age"] == "1800"
    everybody = HttpApi(configured("management.cors.allow_origins.1 = *\n"))
    answer = everybody.ask("GET", "/whoami", headers={"Origin": "http://other.example"})
    assert answer.headers["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in answer.headers


def test_prefix_limits_and_no_port(configured):
    broker = configured("management.path_prefix = /broker\nmanagement.http.max_body_size = 2000\n")
    api = HttpApi(broker)
    assert api.ask("GET", "/whoami").status == 404
    connection_path = "/../broker/api/whoami"
    assert api.ask("GET", connection_path).status == 404
    import http.client
    plain = http.client.HTTPConnection(broker.host, broker.http_port, timeout=30)
    login = {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()}
    plain.request("GET", "/broker/api/whoami", headers=login)
    assert plain.getresponse().read() == b'{"name":"guest","tags":["administrator"]}'
    plain.request("PUT", "/broker/api/queues/%2F/q", body=json.dumps({"arguments": {"x": "y" * 3000}}), headers=login)
    assert plain.getresponse().status == 413
    none = configured("", start=False)
    none.options["management.tcp.port"] = 0
    none.start()
    with pytest.raises(ConnectionRefusedError):
        HttpApi(none).ask("GET", "/whoami")


def test_the_port_is_taken(configured):
    broker = configured()
    status, text = broker.run("-c", "/dev/null", "-d", broker.data + "2", "-o", f"listeners.tcp.1=127.0.0.2:{broker.port}", "-o",
                              f"management.tcp.port={broker.http_port}", "-o", "management.tcp.ip=127.0.0.1")
    assert status == 71
    assert text.splitlines()[-1] == f"leveretd: management.tcp.port: address 127.0.0.1:{broker.http_port} is in use by another process"


# -- hostile clients -----------------------------------------------------------------------------------------------------------


def raw(broker, data):
    with socket.create_connection((broker.host, broker.http_port), timeout=5) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)  # what is not whole by now never will be
            return s.recv(65536)
        except OSError:
            return b""  # it has had enough of us


LOGIN = b"Authorization: Basic " + base64.b64encode(b"guest:guest") + b"\r\n"


def test_hostile_requests(broker, api):
    for data in (b"\0" * 5000, b"GET " + b"/" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET /api/overview HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                 b"GET /api/overview?" + b"a=b&" * 1000 + b" HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"\r\n",
                 b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Content-Length: 99999999999999999999\r\n\r\n",
                 b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Content-Length: -5\r\n\r\n",
                 b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
                 b"GET /api/overview HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET http://other/api/whoami HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"\r\n"):
        answer = raw(broker, data)
        assert answer == b"" or not answer.startswith(b"HTTP/1.1 2") or data.startswith(b"OPTIONS"), (data[:60], answer[:200])
    bodies = ["[" * 100000, '{"a":' * 50000, '{"arguments":' + '{"a":' * 200 + "1" + "}" * 200 + "}", '{"arguments":{"\\u0000":1}}',
              b'{"arguments":{"a":"\xff\xfe"}}', b"\xff" * 100, '{"arguments":{"%s":1}}' % ("k" * 300), '{"durable":1e999}',
              '{"arguments":{"a":123456789012345678901234567890}}', "null", "", " ", '{"durable":true,"durable":false}']
    for body in bodies:
        assert api.ask("PUT", "/queues/%2F/hostile", body).status in (201, 204, 400), body[:40]
    assert api.delete("/queues/%2F/hostile").status in (204, 404)
    for path in ("/queues/%2F/%00", "/queues/%ff%fe", "/queues/%2F/" + "%F0" * 200, "/exchanges/%2F/" + "x" * 5000):
        assert api.ask("GET", path).status in (200, 404)
    api.get("/whoami")


def test_slow_clients_keep_nobody_out(broker, api):
    held = []
    try:
        for i in range(400):
            s = socket.create_connection((broker.host, broker.http_port), timeout=10)
            s.sendall(b"GET /api/overview HTTP/1.1\r\nHost: x\r\nX-Slow: " if i % 2 else
                      b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Content-Length: 100\r\n\r\n{")
            held.append(s)
            if i % 50 == 0:
                assert api.get("/whoami")["name"] == "guest"
        assert api.get("/whoami")["name"] == "guest"
    finally:
        for s in held:
            s.close()
    assert api.ask("GET", "/queues/%2F/q").status == 404


def test_readers_that_do_not_read(broker, api, vhost):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: api.put(f"/queues/{vhost}/q{i:04}"), range(600)))
    held = []
    for _ in range(20):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((broker.host, broker.http_port))
        s.sendall(f"GET /api/queues/{vhost} HTTP/1.1\r\nHost: x\r\n".encode() + LOGIN + b"\r\n")
        held.append(s)
    assert len(api.get(f"/queues/{vhost}?columns=name")) == 600
    for s in held:
        s.close()  # in the middle of the stream
    assert len(api.get(f"/queues/{vhost}?columns=name")) == 600


def test_many_requests_at_once(broker, api):
    def ask(i):
        path = ("/overview", "/queues", "/exchanges?page=1", "/nosuch", "/connections", "/vhosts")[i % 6]
        return api.ask("GET", path).status
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(1500))) == {200, 404}
