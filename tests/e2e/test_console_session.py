"""Log-ins of the web console: tokens, when they end, what pages of other origins may do; and how its files are served."""

import gzip
import http.client
import re

import pytest

from harness.http_api import Answer, HttpApi

pytestmark = [pytest.mark.leveret_only("it is Leveret's console"), pytest.mark.needs_admin]


@pytest.fixture
def api(broker):
    return HttpApi(broker)


def with_token(broker, token):
    found = HttpApi(broker, None)
    ask = found.ask
    found.ask = lambda method, path, body=None, headers=None: ask(method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})})
    return found


def log_in(api):
    answer = api.post("/session")
    assert answer.status == 200, answer
    return answer.json


def fetch(broker, path, headers=None, method="GET"):
    connection = http.client.HTTPConnection(broker.host, broker.http_port, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


# --- tokens -----------------------------------------------------------------------------------------------------------------


def test_a_token_does_what_its_user_may(broker, api, name):
    session = log_in(api)
    assert session["name"] == "guest" and session["tags"] == ["administrator"] and session["idle_seconds"] > 0
    assert re.fullmatch(r"[\w-]{43}", session["token"])
    console = with_token(broker, session["token"])
    assert console.get("/whoami")["name"] == "guest"
    assert console.put(f"/queues/%2F/{name()}").status == 201
    user = name("user")
    assert api.put(f"/users/{user}", {"password": "p", "tags": "management"}).status == 201
    small = with_token(broker, log_in(HttpApi(broker, user, "p"))["token"])
    assert small.ask("GET", "/users").status == 401  # for administrators
    assert small.ask("GET", "/queues/%2F").status == 401  # no permission
    assert api.put(f"/users/{user}", {"password_hash": api.get(f"/users/{user}")["password_hash"], "tags": "administrator"}).status == 204
    assert small.ask("GET", "/users").status == 200  # tags count as they are now
    assert api.delete(f"/users/{user}").status == 204
    assert small.ask("GET", "/whoami").status == 401


def test_a_token_ends(broker, api, name):
    user = name("user")
    assert api.put(f"/users/{user}", {"password": "p", "tags": "management"}).status == 201
    own = HttpApi(broker, user, "p")
    first, second = (with_token(broker, log_in(own)["token"]) for _ in range(2))
    assert first.delete("/session").status == 204
    assert first.ask("GET", "/session").status == 401
    assert second.get("/session")["name"] == user and "token" not in second.get("/session")
    assert api.put(f"/users/{user}", {"password": "other", "tags": "management"}).status == 204
    refused = second.ask("GET", "/whoami")
    assert refused.status == 401 and refused.json["error"] == "not_authorized"
    assert "www-authenticate" not in refused.headers  # no question of the browser's own
    assert api.delete(f"/users/{user}").status == 204


def test_who_gets_no_token(broker, api, name):
    wrong = HttpApi(broker, "guest", "wrong").post("/session")
    assert wrong.status == 401 and "www-authenticate" not in wrong.headers
    user = name("user")
    assert api.put(f"/users/{user}", {"password": "p", "tags": ""}).status == 201
    assert HttpApi(broker, user, "p").post("/session").status == 401
    assert api.delete(f"/users/{user}").status == 204
    token = log_in(api)["token"]
    assert with_token(broker, token).post("/session").status == 400  # a token makes no other
    for text in ("", "x", token[:-1], token + "A", token.swapcase(), "A" * 5000):
        assert with_token(broker, text).ask("GET", "/whoami").status == 401, text
    assert HttpApi(broker, None).ask("GET", "/whoami").headers["www-authenticate"].startswith("Basic")


@pytest.mark.needs_restart
def test_the_answer_to_wrong_log_ins_slows_down(start_broker):
    broker = start_broker()  # its own: the address has to wait afterwards
    statuses = [HttpApi(broker, "nobody", str(i)).post("/session").status for i in range(40)]
    assert set(statuses) == {401, 429}, statuses


# --- other origins ------------------------------------------------------------------------------------------------------------


def test_browsers_of_other_pages_change_nothing(broker, api, name):
    queue = name()
    where = f"/queues/%2F/{queue}"
    own = f"http://{broker.host}:{broker.http_port}"
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site", "Origin": "http://other.example"}, {"Origin": own + "1"}):
        for method, path in (("PUT", where), ("POST", "/exchanges/%2F/amq.default/publish"), ("DELETE", where)):
            answer = api.ask(method, path, {}, headers)
            assert (answer.status, answer.json["error"]) == (403, "forbidden"), (headers, method, answer)
        assert api.ask("GET", "/overview", None, headers).status == 200  # the page cannot read it
    assert api.ask("GET", where).status == 404
    for headers in ({}, {"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, {"Sec-Fetch-Site": "none"}):
        assert api.ask("PUT", where, {}, headers).status in (201, 204), headers
    token = with_token(broker, log_in(api)["token"])  # no browser adds it by itself
    assert token.ask("DELETE", where, None, {"Origin": "http://evil.example"}).status == 204


@pytest.mark.needs_restart
def test_origins_that_are_configured(start_broker):
    broker = start_broker({"management.cors.allow_origins.1": "https://console.example"})
    api = HttpApi(broker)
    assert api.ask("PUT", "/queues/%2F/q", {}, {"Origin": "https://console.example", "Sec-Fetch-Site": "cross-site"}).status == 201
    assert api.ask("DELETE", "/queues/%2F/q", None, {"Origin": "https://other.example"}).status == 403


@pytest.mark.needs_restart
def test_any_origin_is_for_those_that_asked_before(start_broker):
    broker = start_broker({"management.cors.allow_origins.1": "*"})
    api = HttpApi(broker)
    origin = {"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
    body = {"properties": {}, "routing_key": "nowhere", "payload": "", "payload_encoding": "string"}
    for kind, status in (("text/plain", 403), ("application/x-www-form-urlencoded", 403), ("application/json", 200)):
        assert api.ask("POST", "/exchanges/%2F/amq.default/publish", body, {**origin, "Content-Type": kind}).status == status, kind


# --- files ----------------------------------------------------------------------------------------------------------------------


def files_of(page):
    return re.findall(rb'(?:src|href)="(console/[^"]+)"', page)


def test_the_page_and_its_files(broker):
    page = fetch(broker, "/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'",
                 "require-trusted-types-for 'script'"):
        assert part in policy
    assert "unsafe" not in policy and "*" not in policy
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
    assert b"<style" not in page.body and not re.search(rb"<script(?![^>]*src=)", page.body) and b" style=" not in page.body
    found = files_of(page.body)
    assert len(found) >= 4
    for path in found:
        answer = fetch(broker, "/" + path.decode())
        assert answer.status == 200 and answer.headers["cache-control"] == "public, max-age=31536000, immutable", path
        assert answer.headers["content-security-policy"] == policy and answer.headers["x-content-type-options"] == "nosniff"


def test_compressed_and_remembered(broker):
    plain = fetch(broker, "/")
    compressed = fetch(broker, "/", {"Accept-Encoding": "gzip, deflate"})
    assert compressed.headers["content-encoding"] == "gzip" and gzip.decompress(compressed.body) == plain.body
    assert "content-encoding" not in fetch(broker, "/", {"Accept-Encoding": "gzip;q=0"}).headers
    again = fetch(broker, "/", {"If-None-Match": plain.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    head = fetch(broker, "/", method="HEAD")
    assert (head.status, head.body) == (200, b"") and head.headers["content-length"] == plain.headers["content-length"]


def test_what_is_not_there(broker):
    for path in ("/console/", "/console/app.js", "/console/../console/x", "/index.html", "/console/app.0000000000000000.js", "//", "/console/%2e%2e/"):
        assert fetch(broker, path).status == 404, path
    assert fetch(broker, "/", method="POST").status in (404, 405)


@pytest.mark.needs_restart
def test_behind_a_prefix(start_broker):
    broker = start_broker({"management.path_prefix": "/broker"})
    assert fetch(broker, "/").status == 404
    moved = fetch(broker, "/broker")
    assert (moved.status, moved.headers["location"]) == (301, "/broker/")
    page = fetch(broker, "/broker/")
    assert page.status == 200
    assert all(fetch(broker, "/broker/" + path.decode()).status == 200 for path in files_of(page.body))


# --- parts of lists ---------------------------------------------------------------------------------------------------------------


def test_lists_without_pages_have_a_limit(api, name):
    exchange = name("exchange")
    assert api.put(f"/exchanges/%2F/{exchange}", {"type": "direct"}).status == 201
    queues = [name(f"queue-{i}") for i in range(5)]
    for queue in queues:
        assert api.put(f"/queues/%2F/{queue}").status == 201
        assert api.post(f"/bindings/%2F/e/{exchange}/q/{queue}", {"routing_key": "k"}).status == 201
    where = f"/exchanges/%2F/{exchange}/bindings/source"
    some = api.ask("GET", where + "?limit=2")
    assert [b["destination"] for b in some.json] == queues[:2] and some.headers["x-total-count"] == "5"
    one = api.ask("GET", where + f"?limit=10&name={queues[3]}")
    assert [b["destination"] for b in one.json] == [queues[3]] and one.headers["x-total-count"] == "1"
    assert len(api.get(where)) == 5 and "x-total-count" not in api.ask("GET", where).headers
    assert api.ask("GET", where + "?limit=0").status == 400 and api.ask("GET", where + "?limit=x").status == 400
