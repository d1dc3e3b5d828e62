"""The HTTP API as a door: packed answers, what browsers may do, no secret in any answer or log line."""

import gzip
import json

import pytest

from harness.http_api import HttpApi, quote


@pytest.fixture
def api(broker):
    if broker.kind != "leveret":
        pytest.skip("Leveret only")
    return HttpApi(broker)


def test_answers_are_packed_for_who_takes_that(api):
    for i in range(300):
        assert api.put(f"/queues/%2F/packed{i}", {"arguments": {"x-message-ttl": 1000 + i}}).status == 201
    for path in ("/queues", "/queues?page=1&page_size=200", "/queues/%2F?columns=name,arguments", "/exchanges", "/overview"):
        plain = api.ask("GET", path)
        packed = api.ask("GET", path, headers={"Accept-Encoding": "br, gzip"})
        assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers, path
        assert "accept-encoding" in packed.headers["vary"] and len(packed.body) < len(plain.body) / 2
        assert json.loads(gzip.decompress(packed.body)).__class__ is plain.json.__class__
        if path == "/queues/%2F?columns=name,arguments":
            assert json.loads(gzip.decompress(packed.body)) == plain.json
    short = api.ask("GET", "/whoami", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in short.headers and short.json["name"] == "guest"
    tag = api.ask("GET", "/exchanges").headers["etag"]
    again = api.ask("GET", "/exchanges", headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
    assert (again.status, again.body) == (304, b"") and "content-encoding" not in again.headers
    for i in range(300):
        assert api.delete(f"/queues/%2F/packed{i}").status == 204


def test_headers_that_keep_browsers_in_check(broker, api):
    for path, status in (("/overview", 200), ("/nosuch", 404), ("/queues/%2F/nosuch", 404)):
        answer = api.ask("GET", path, headers={"Origin": "https://evil.example"})
        assert answer.status == status
        assert answer.headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"] and answer.headers["cache-control"] == "no-cache"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "set-cookie" not in HttpApi(broker, None).ask("POST", "/login", "username=guest&password=guest").headers


def test_any_origin_is_never_trusted_with_log_ins(configured):
    node = configured("management.cors.allow_origins.1 = *\nmanagement.cors.allow_origins.2 = https://console.example\n")
    api = HttpApi(node)
    any_of = api.ask("GET", "/overview", headers={"Origin": "https://evil.example"}).headers
    assert any_of["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in any_of
    named = api.ask("GET", "/overview", headers={"Origin": "https://console.example"}).headers
    assert named["access-control-allow-origin"] == "https://console.example" and named["access-control-allow-credentials"] == "true"


def test_no_secret_in_answers_or_log(configured):
    node = configured("log.console.level = debug\ndefault_pass = topsecret-default\n")
    api = HttpApi(node, "guest", "topsecret-default")
    secrets = ["topsecret-default", "topsecret-user", "topsecret-wrong"]
    assert api.put("/users/keeper", {"password": secrets[1], "tags": "administrator"}).status == 201
    keeper = HttpApi(node, "keeper", secrets[1])
    assert keeper.get("/whoami")["name"] == "keeper"
    assert HttpApi(node, "keeper", secrets[2]).ask("GET", "/whoami").status == 401
    assert api.put("/users/keeper", {"password": secrets[1], "tags": 5}).status in (201, 204, 400)
    assert HttpApi(node, None).ask("POST", "/login", f"username=keeper&password={secrets[2]}").status == 401
    node_name = api.get("/overview")["node"]
    description = api.get("/openapi.json")
    of_path = {"vhost": "/", "user": "keeper", "node": node_name, "exchange": "amq.topic"}
    for path, operations in description["paths"].items():
        if "get" not in operations or not path.startswith("/api/"):
            continue
        filled = path.format(**{p["name"]: quote(of_path.get(p["name"], "x")) for p in operations["get"]["parameters"]})
        text = api.ask("GET", filled[4:]).body.decode()
        assert not [s for s in secrets if s in text], path
    # Hashes are for administrators: as RabbitMQ, which exports them.
    assert api.put("/users/watcher", {"password": "p", "tags": "monitoring"}).status == 201
    watcher = HttpApi(node, "watcher", "p")
    for path in ("/users", "/users/keeper", "/definitions"):
        assert "password_hash" not in watcher.ask("GET", path).body.decode(), path
    log = node.log()
    assert not [s for s in secrets if s in log]
    assert "keeper" in log
