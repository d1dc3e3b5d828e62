"""What /api/openapi.json says is what there is: members and their types, and who may ask."""

import pytest

from harness.http_api import HttpApi, quote

TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}


@pytest.fixture
def api(broker):
    if broker.kind != "leveret":
        pytest.skip("Leveret only")
    return HttpApi(broker)


def check(schema, value, where):
    """Members that are there are described, those that are said to be always there are, and types are right."""
    assert set(value) <= set(schema["properties"]), (where, set(value) - set(schema["properties"]))
    assert set(schema["required"]) <= set(value), (where, set(schema["required"]) - set(value))
    for name, kind in schema["properties"].items():
        if name not in value or "type" not in kind:
            continue
        if kind["type"] == "number":
            assert isinstance(value[name], (int, float)), (where, name)
        else:
            assert type(value[name]) is TYPES[kind["type"]], (where, name, value[name])


def test_members_are_as_described(broker, api, pika_connect):
    channel = pika_connect().channel()
    channel.confirm_delivery()
    for queue, arguments in (("described", {"x-max-length": 5}), ("quorum", {"x-queue-type": "quorum"}), ("single", {"x-single-active-consumer": True})):
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.basic_publish("", queue, b"x")
        channel.basic_publish("amq.topic", queue, b"x")
        channel.queue_bind(queue, "amq.topic", "#")
    channel.basic_consume("single", lambda *_: None)
    api.put("/policies/%2F/described", {"pattern": "^desc", "definition": {"max-length": 4}})
    api.put("/topic-permissions/%2F/guest", {"exchange": "amq.topic", "write": ".*", "read": ".*"})
    api.put("/operator-policies/%2F/described", {"pattern": "^desc", "definition": {"max-length": 3}})
    answer = api.ask("GET", "/openapi.json", headers={"Authorization": ""})
    description = answer.json
    schemas, found = description["components"]["schemas"], {}
    names = {"vhost": "/", "queue": "described", "exchange": "amq.topic", "user": "guest", "policy": "described",
             "node": api.get("/overview")["node"]}
    for path, operations in description["paths"].items():
        answer = operations.get("get", {}).get("responses", {}).get("2XX", {}).get("content")
        if answer is None:
            continue
        schema = answer["application/json"]["schema"]
        name = (schema.get("items") or schema)["$ref"].rsplit("/", 1)[1]
        of = {p["name"]: names.get(p["name"]) for p in operations["get"]["parameters"]}
        if "name" in of:  # of a connection or channel
            of["name"] = api.get("/channels" if "channels" in path else "/connections")[0]["name"]
        assert None not in of.values(), (path, of)
        filled = path.format(**{k: quote(v) for k, v in of.items()})
        value = api.get(filled[4:])
        assert isinstance(value, list) == (schema.get("type") == "array"), path
        for item in value if isinstance(value, list) else [value]:
            check(schemas[name], item, path)
            found.setdefault(name, set()).update(item)
        assert value or isinstance(value, list)
    for name, schema in schemas.items():  # nothing is described that never comes
        never = set(schema["properties"]) - found.get(name, set())
        assert never <= {"Queue": {"message_bytes_persistent", "idle_since"}, "Connection": {"held_by", "user_provided_name"}, "Walk": {"stopped"},
                         "Error": {"error", "reason"}, "Exchange": {"policy"}}.get(name, set()), (name, never)
    for path in ("/policies/%2F/described", "/operator-policies/%2F/described", "/topic-permissions/%2F/guest"):
        assert api.delete(path).status == 204
    for queue in ("described", "quorum", "single"):
        assert api.delete("/queues/%2F/" + queue).status == 204


def test_who_may_ask_is_as_described(broker, api):
    description = HttpApi(broker, None).get("/openapi.json")
    users, order = {}, ["management", "policymaker", "monitoring", "administrator"]
    for tag in order:
        assert api.put(f"/users/may-{tag}", {"password": "p", "tags": tag}).status == 201
        assert api.put(f"/permissions/%2F/may-{tag}", {"configure": ".*", "write": ".*", "read": ".*"}).status == 201
        users[tag] = HttpApi(broker, "may-" + tag, "p")
    allowed = {"none": order, "management": order, "monitoring": ["monitoring", "administrator"], "policymaker": ["policymaker", "administrator"],
               "administrator": ["administrator"]}
    for path, operations in description["paths"].items():
        if "get" not in operations or not path.startswith("/api/"):
            continue
        of = {p["name"]: "/" if p["name"] == "vhost" else "nosuch" for p in operations["get"]["parameters"]}
        filled = path.format(**{k: quote(v) for k, v in of.items()})[4:]
        for tag in order:
            answer = users[tag].ask("GET", filled)
            is_refused = answer.status == 401 and answer.json["reason"].startswith(("Not ", "User not authorised to access object"))
            if "/connections/username/" in path:
                continue  # one's own
            assert is_refused == (tag not in allowed[operations["get"]["x-tag"]]), (path, tag, answer)
    for tag in order:
        assert api.delete(f"/users/may-{tag}").status == 204


def test_pages_without_a_log_in(broker):
    nobody = HttpApi(broker, None)
    answer = nobody.ask("GET", "/index.html")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html") and b"/api/queues/{vhost}/{queue}" in answer.body
    assert nobody.ask("GET", "/openapi.json").json["openapi"].startswith("3.")
    assert nobody.ask("GET", "/../cli/rabbitmqadmin").status == 404
