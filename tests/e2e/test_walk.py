"""Messages of a queue over HTTP: browsing without taking, searching, moving, and dead letters back to where they came from."""

import time

import pika
import pytest

from harness.http_api import HttpApi, quote


@pytest.fixture
def api(broker):
    if broker.kind != "leveret":
        pytest.skip("Leveret only")
    return HttpApi(broker)


@pytest.fixture
def channel(api, pika_connect):
    channel = pika_connect().channel()
    for queue in ("walk", "target"):
        channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    yield channel
    for queue in ("walk", "target"):
        api.delete(f"/queues/%2F/{queue}")


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fill(channel, count=10, queue="walk"):
    for i in range(count):
        headers = {"n": i, "even": i % 2 == 0, "color": "red" if i < 3 else "blue"}
        channel.basic_publish("", queue, b"body %d" % i, pika.BasicProperties(message_id=f"id-{i}", headers=headers, delivery_mode=2))


def ready(api, queue="walk"):
    return api.get(f"/queues/%2F/{queue}")["messages_ready"]


def drain(channel, queue):
    found = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return found
        found.append((body, method.redelivered, properties))


def browse(api, query=""):
    return api.get("/queues/%2F/walk/messages" + query)


def bodies(answer):
    return [m["payload"] for m in answer["messages"]]


def test_browsing_takes_nothing(api, channel):
    fill(channel)
    answer = browse(api)
    assert bodies(answer) == [f"body {i}" for i in range(10)]
    assert (answer["examined"], answer["matched"], answer["more"]) == (10, 10, False)
    first = answer["messages"][0]
    assert first["properties"]["message_id"] == "id-0" and first["properties"]["headers"] == {"n": 0, "even": True, "color": "red"}
    assert (first["position"], first["routing_key"], first["redelivered"], first["payload_bytes"]) == (0, "walk", False, 6)
    assert abs(first["published_at"] / 1000 - time.time()) < 3600
    answer = browse(api, "?offset=3&count=2")
    assert bodies(answer) == ["body 3", "body 4"] and answer["more"]
    assert [m["position"] for m in answer["messages"]] == [3, 4]
    assert browse(api, "?count=1&truncate=2&encoding=base64")["messages"][0]["payload"] == "Ym8="
    wait_for(lambda: ready(api) == 10)
    # Nothing has changed: order, and no mark of having been delivered.
    assert [(b, r) for b, r, _ in drain(channel, "walk")] == [(b"body %d" % i, False) for i in range(10)]
    assert browse(api) == {"messages": [], "examined": 0, "matched": 0, "more": False}


def test_searching(api, channel):
    fill(channel)
    for query, expected in (("message_id=id-7", [7]), ("header.color=red", [0, 1, 2]), ("header.n=4", [4]), ("header.even=false&header.color=red", [1]),
                            ("body=dy%209", [9]), ("routing_key=walk&exchange=&body=3", [3]), ("routing_key=other", []), ("header.none=x", []),
                            ("message_id=id-7&body=nothing", []), ("correlation_id=", [])):
        answer = browse(api, "?" + query)
        assert bodies(answer) == [f"body {i}" for i in expected] and answer["examined"] == 10, query
    answer = browse(api, "?body=body&examine=4")
    assert len(answer["messages"]) == 4 == answer["examined"] and answer["more"]
    for bad in ("?nonsense=1", "?count=x", "?count=0", "?examine=10001", "?offset=1000", "?" + "&".join(["body=x"] * 17)):
        assert api.ask("GET", "/queues/%2F/walk/messages" + bad).status == 400, bad
    assert api.ask("GET", "/queues/%2F/none/messages").status == 404
    wait_for(lambda: ready(api) == 10)


def test_moving(api, channel):
    fill(channel)
    move = "/queues/%2F/walk/messages/move"
    answer = api.post(move, {"queue": "target", "filter": {"header.color": "red"}})
    assert (answer.status, answer.json) == (200, {"moved": 3, "examined": 10, "matched": 3, "more": False})
    wait_for(lambda: ready(api) == 7)
    moved = drain(channel, "target")
    assert [b for b, _, _ in moved] == [b"body 0", b"body 1", b"body 2"]
    assert moved[0][2].message_id == "id-0" and moved[0][2].headers["n"] == 0 and moved[0][2].delivery_mode == 2
    channel.queue_bind("target", "amq.topic", "new.#")
    answer = api.post(move, {"exchange": "amq.topic", "routing_key": "new.key", "count": 2}).json
    assert (answer["moved"], answer["examined"], answer["more"]) == (2, 2, True)
    assert [b for b, _, _ in drain(channel, "target")] == [b"body 3", b"body 4"]
    # Without a route nothing is lost, and the answer says so.
    answer = api.post(move, {"exchange": "amq.topic", "routing_key": "nowhere"})
    assert answer.status == 400 and "no queue" in answer.json["reason"]
    assert api.post(move, {"queue": "not-there"}).status == 400
    channel.queue_declare("small", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    answer = api.post(move, {"queue": "small"}).json
    assert answer["moved"] == 2 and "refused" in answer["stopped"] and answer["more"]
    wait_for(lambda: ready(api) == 3)
    assert [b for b, _, _ in drain(channel, "walk")] == [b"body 7", b"body 8", b"body 9"]
    assert api.delete("/queues/%2F/small").status == 204
    for bad in ({}, {"queue": "walk"}, {"queue": "a", "exchange": "b"}, {"queue": "q" * 256}, {"queue": "target", "count": 0},
                {"queue": "target", "filter": {"x": "y"}}, {"queue": "target", "filter": {"body": 1}}, {"queue": "target", "filter": []}):
        assert api.post(move, bad).status == 400, bad


def test_back_to_where_they_died(api, channel):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "walk"}
    for queue in ("origin1", "origin2"):
        channel.queue_declare(queue, durable=True, arguments=arguments)
        fill(channel, 2, queue)
        for _ in range(2):
            channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)
    channel.basic_publish("", "walk", b"no dead letter")
    wait_for(lambda: ready(api) == 5)
    answer = api.post("/queues/%2F/walk/messages/redrive", {"filter": {"header.color": "red"}, "count": 3}).json
    assert (answer["moved"], answer["matched"]) == (3, 3)
    answer = api.post("/queues/%2F/walk/messages/redrive").json
    assert (answer["moved"], answer["examined"]) == (1, 2)
    assert [b for b, _, _ in drain(channel, "origin1")] == [b"body 0", b"body 1"] == [b for b, _, _ in drain(channel, "origin2")]
    wait_for(lambda: ready(api) == 1)
    assert [b for b, _, _ in drain(channel, "walk")] == [b"no dead letter"]
    for queue in ("origin1", "origin2"):
        assert api.delete("/queues/%2F/" + queue).status == 204


def test_the_permissions_are_those_of_clients(broker, api, channel):
    fill(channel, 2)
    assert api.put("/users/walker", {"password": "p", "tags": "management"}).status == 201
    assert api.put("/permissions/%2F/walker", {"configure": "", "write": "^$", "read": "^walk$"}).status == 201
    walker = HttpApi(broker, "walker", "p")
    assert len(walker.get("/queues/%2F/walk/messages")["messages"]) == 2
    assert walker.ask("GET", "/queues/%2F/target/messages").status == 401
    assert walker.post("/queues/%2F/walk/messages/move", {"queue": "target"}).status == 401
    assert walker.post("/queues/%2F/target/messages/move", {"queue": "walk"}).status == 401
    assert HttpApi(broker, "guest", "wrong").ask("GET", "/queues/%2F/walk/messages").status == 401
    wait_for(lambda: ready(api) == 2)
    assert api.delete("/users/walker").status == 204


def test_a_deep_queue(api, channel):
    """More than a turn settles: all of it comes back, in its order."""
    raw = channel.connection.channel()
    for i in range(12000):
        raw.basic_publish("", "walk", b"%d" % i)
    wait_for(lambda: ready(api) == 12000)
    answer = browse(api, "?examine=10000&body=nothing")
    assert (answer["examined"], answer["matched"], answer["more"]) == (10000, 0, True)
    wait_for(lambda: ready(api) == 12000)
    found = drain(channel, "walk")
    assert [b for b, _, _ in found] == [b"%d" % i for i in range(12000)] and not any(r for _, r, _ in found)


def test_which_policy_makes_it_so(api, channel):
    for name, body in (("weak", {"pattern": "^wa", "priority": 1, "definition": {"max-length": 5}, "apply-to": "queues"}),
                       ("strong", {"pattern": "lk$", "priority": 7, "definition": {"max-length": 50, "overflow": "reject-publish"}}),
                       ("other", {"pattern": "^x", "definition": {"expires": 100000}})):
        assert api.put(f"/policies/%2F/{name}", body).status == 201
    assert api.put("/operator-policies/%2F/ops", {"pattern": "w", "definition": {"max-length": 20}}).status == 201
    wait_for(lambda: api.get("/queues/%2F/walk/policy")["operator_policy"] == "ops")
    found = api.get("/queues/%2F/walk/policy")
    assert (found["policy"], found["operator_policy"], found["effective"]) == ("strong", "ops", {"max-length": 20, "overflow": "reject-publish"})
    assert found["settings"] == [{"key": "max-length", "value": 20, "from": "operator policy ops"},
                                 {"key": "overflow", "value": "reject-publish", "from": "policy strong"}]
    assert [(p["name"], p["kind"], p["wins"], p["priority"]) for p in found["matching"]] == [
        ("strong", "policy", True, 7), ("weak", "policy", False, 1), ("ops", "operator_policy", True, 0)]
    for path in ("/policies/%2F/weak", "/policies/%2F/strong", "/policies/%2F/other", "/operator-policies/%2F/ops"):
        assert api.delete(path).status == 204
    assert api.get("/queues/%2F/walk/policy")["matching"] == []
    assert api.ask("GET", "/queues/%2F/none/policy").status == 404
