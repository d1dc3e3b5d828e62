"""Definitions files and run-time parameters over the HTTP API, and on boot: files of RabbitMQ as they are, export and import, hostile ones."""

import base64
import http.client
import json
import os
import subprocess
import time
import urllib.parse

import pytest

pytestmark = pytest.mark.leveret_only("Leveret only: the port of the HTTP API, and what is ours")

FILES = os.path.join(os.path.dirname(__file__), "definitions")
LISTS = ["users", "vhosts", "permissions", "topic_permissions", "parameters", "global_parameters", "policies", "queues", "exchanges", "bindings"]


class Api:
    def __init__(self, broker, user="guest:guest"):
        self.broker, self.user = broker, user

    def __call__(self, method, path, body=None, kind="application/json", user=None):
        """(status, text, headers)"""
        link = http.client.HTTPConnection(self.broker.host, self.broker.http_port, timeout=120)
        headers = {"Authorization": "Basic " + base64.b64encode((user or self.user).encode()).decode()}
        if body is not None and kind:
            headers["Content-Type"] = kind
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            link.close()

    def json(self, path):
        status, text, _ = self("GET", path)
        assert status == 200, text
        return json.loads(text)

    def take(self, definitions, path="/api/definitions"):
        status, text, _ = self("POST", path, definitions)
        assert status == 204, text

    def refused(self, definitions, path="/api/definitions", status=400):
        got, text, _ = self("POST", path, definitions)
        assert got == status, text
        return json.loads(text)


@pytest.fixture
def api(broker):
    return Api(broker)


@pytest.fixture
def vhost(broker, api, name):
    made = name("defs")
    assert api("PUT", f"/api/vhosts/{made}")[0] == 201
    yield made
    api("DELETE", f"/api/vhosts/{made}")


def file(name):
    with open(os.path.join(FILES, name), encoding="utf-8") as f:
        return json.load(f)


def texts(items):
    return sorted(json.dumps(item, sort_keys=True) for item in items)


def without_ours(definitions):
    """What an export of 3.10 does not have: descriptions and the like of vhosts."""
    result = dict(definitions)
    result["vhosts"] = [{"name": v["name"]} for v in definitions["vhosts"]]
    return result


@pytest.mark.needs_restart
def test_export_of_rabbitmq_is_imported_and_exported_again(start_broker):
    broker = start_broker()
    api = Api(broker)
    given = file("rabbitmq-3.10.8.json")
    # What this broker does not have is left out, with a note: streams, the exchange of a federation link, and what is bound to them.
    absent_queues = {"q.stream"}
    absent_exchanges = {"federation: fed.events -> reference:app:fed.events B"}
    wanted = dict(given)
    wanted["queues"] = [q for q in given["queues"] if q["name"] not in absent_queues]
    wanted["exchanges"] = [x for x in given["exchanges"] if x["name"] not in absent_exchanges]
    wanted["bindings"] = [b for b in given["bindings"] if b["destination"] not in absent_queues and b["source"] not in absent_exchanges]
    api.take(given)
    last = api.json("/api/imports")["last"]
    assert last["state"] == "done" and len(last["notes"]) == 4
    exported = api.json("/api/definitions")
    assert list(exported) == list(given)
    assert {k: exported[k] for k in exported if k not in LISTS} == {k: given[k] for k in given if k not in LISTS}
    for section in LISTS:
        assert texts(without_ours(exported)[section]) == texts(wanted[section]), section
        if section != "vhosts" and exported[section]:
            orders = {tuple(x) for x in given[section]}
            assert {tuple(x) for x in exported[section]} <= orders, section
    # Once more changes nothing, and neither does a restart.
    api.take(given)
    assert api.json("/api/definitions") == exported
    api.take(exported)
    broker.restart()
    again = Api(broker).json("/api/definitions")
    durable = {"queues": lambda q: q["durable"], "exchanges": lambda x: x["durable"]}
    for section in LISTS:
        if section != "bindings":
            assert texts(again[section]) == texts(x for x in exported[section] if durable.get(section, lambda x: True)(x)), section
    one = api.json("/api/definitions/app")
    assert list(one) == ["rabbit_version", "parameters", "policies", "queues", "exchanges", "bindings"]
    assert all("vhost" not in x for section in ("queues", "exchanges", "bindings") for x in one[section])
    assert {p["component"] for p in one["parameters"]} == {"shovel", "federation-upstream", "operator_policy", "vhost-limits"}


@pytest.mark.parametrize("name, vhost, user", [("rabbitmq-4.1.json", "four", "svc"), ("rabbitmqctl-3.8.json", "eight", "old")])
def test_files_of_other_versions(api, broker, name, vhost, user):
    given = file(name)
    api.take(given)
    try:
        exported = api.json("/api/definitions")
        for section in ("users", "permissions", "policies", "exchanges"):
            for item in given[section]:
                wanted = dict(item)
                if section == "users" and isinstance(item["tags"], str):
                    wanted["tags"] = [t for t in item["tags"].split(",") if t]
                assert wanted in exported[section], section
        kept = [q for q in given["queues"] if q["arguments"].get("x-queue-type") != "stream"]
        assert texts({k: v for k, v in q.items() if k != "type"} for q in kept) == texts(q for q in exported["queues"] if q["vhost"] == vhost)
        if vhost == "four":
            assert {"name": "four", "metadata": {"description": "of 4.x", "tags": ["a", "b"], "default_queue_type": "quorum"}} in exported["vhosts"]
    finally:
        api("DELETE", f"/api/vhosts/{vhost}")
        api("DELETE", f"/api/users/{user}")
        for parameter in given["global_parameters"]:
            api("DELETE", f"/api/global-parameters/{parameter['name']}")


def form(part, name="file"):
    return (b"--XX\r\nContent-Disposition: form-data; name=\"" + name.encode() + b"\"; filename=\"d.json\"\r\n"
            b"Content-Type: application/json\r\n\r\n" + part + b"\r\n--XX--\r\n")


def test_bodies_and_content_types(api, vhost):
    multi = "multipart/form-data; boundary=XX"
    queue = json.dumps({"queues": [{"name": "by-form", "durable": True, "auto_delete": False, "arguments": {}}]}).encode()
    assert api("POST", f"/api/definitions/{vhost}", form(queue), multi)[0] == 204
    assert [q["name"] for q in api.json(f"/api/definitions/{vhost}")["queues"]] == ["by-form"]
    assert api("POST", "/api/definitions", form(b"{}"), multi)[0] == 204
    assert api("POST", "/api/definitions", b"{}")[0] == 204
    assert api("POST", "/api/definitions", b"")[0] == 204
    for kind in ("text/plain", None, "application/x-www-form-urlencoded"):
        assert api("POST", "/api/definitions", b"{}", kind)[0] == 415
    for body, kind in [(form(b"{}", "other"), multi), (form(b'{"a'), multi), (b"[]", "application/json"), (b'"x"', "application/json"),
                       (b'{"users":[', "application/json")]:
        status, text, _ = api("POST", "/api/definitions", body, kind)
        assert (status, json.loads(text)["reason"]) == (400, "failed_to_parse_json")
    assert api("POST", "/api/all-configuration", b"{}")[0] == 204
    assert api("GET", "/api/all-configuration")[0] == 200


def test_download_name_and_unknown_vhosts(api):
    assert api("GET", "/api/definitions?download=broker.json")[2]["Content-Disposition"] == "attachment; filename=broker.json"
    assert api("GET", "/api/definitions?download=a%0d%0aX-Evil:1")[2]["Content-Disposition"] == "attachment; filename=a__X-Evil_1"
    assert api("GET", "/api/definitions/nosuch")[:2] == (400, '{"error":"bad_request","reason":"vhost_not_found"}')
    assert api("POST", "/api/definitions/nosuch", {})[:2] == (404, '{"error":"not_found","reason":"vhost_not_found"}')


@pytest.mark.parametrize("tag", ["", "management", "policymaker", "monitoring"])
def test_only_administrators(api, vhost, name, tag):
    user = name("u")
    assert api("PUT", f"/api/users/{user}", {"password": "p", "tags": tag})[0] == 201
    assert api("PUT", f"/api/permissions/{vhost}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})[0] == 201
    for method, path, body in [("GET", "/api/definitions", None), ("GET", f"/api/definitions/{vhost}", None), ("POST", "/api/definitions", {}),
                               ("POST", f"/api/definitions/{vhost}", {}), ("POST", "/api/definitions?dry_run=true", {}),
                               ("GET", "/api/imports", None)]:
        status, text, _ = api(method, path, body, user=f"{user}:p")
        assert status == 401 and json.loads(text)["error"] == "not_authorised", path
    api("DELETE", f"/api/users/{user}")


BINDING = {"source": "amq.topic", "destination": "q", "destination_type": "queue", "routing_key": "a", "arguments": {}}


@pytest.mark.parametrize("section", LISTS)
@pytest.mark.parametrize("value", [5, None, {"a": 1}, "x", [5], [{}], [None], [[]], ["x"]])
def test_wrong_types_at_every_place(api, section, value):
    before = api.json("/api/definitions")
    assert api.refused({section: value})["error"] == "bad_request"
    assert api.json("/api/definitions") == before


@pytest.mark.parametrize("section, element", [
    ("queues", {"name": "q", "durable": True, "auto_delete": False, "arguments": {"x-max-length": 1}}),
    ("exchanges", {"name": "x", "type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}),
    ("bindings", BINDING),
    ("policies", {"name": "p", "pattern": "a", "apply-to": "queues", "definition": {"max-length": 1}, "priority": 0}),
    ("parameters", {"component": "federation-upstream", "name": "n", "value": {"uri": "amqp://"}}),
    ("permissions", {"user": "guest", "configure": "", "write": "", "read": ""}),
    ("users", {"name": "wrong", "password_hash": "", "hashing_algorithm": "x", "tags": "", "limits": {"max-channels": 1}}),
])
def test_wrong_types_of_every_member(api, vhost, section, element):
    """Whatever stands in a member's place: an answer, and the broker lives."""
    for key in element:
        for value in (None, 5, 1.5, True, "", "x" * 300, [], [1], {}, {"a": {"b": [None]}}, "\u0000", -1, 10**18):
            if section == "permissions" and key == "user" and value == "guest":
                continue
            changed = {**element, "vhost": vhost, key: value}
            status, text, _ = api("POST", "/api/definitions", {section: [changed]})
            assert status in (204, 400), text
        left = {k: v for k, v in {**element, "vhost": vhost}.items() if k != key}
        assert api("POST", "/api/definitions", {section: [left]})[0] in (204, 400)
    for user in ("wrong", "\u0000"):
        api("DELETE", "/api/users/" + urllib.parse.quote(user))


@pytest.mark.parametrize("text", [
    b'{"queues":[' + b"[" * 100000, b'{"queues":[{"name":"' + b"x" * 2_000_000 + b'"}]}', b'{"users":[],"users":[]}', b'{"queues":[{"name":"a","name":"b"}]}',
    b'{"a":' * 1000, b'{"queues":[}', b'{"queues":[{]}', b"{} x", b'{"x":[1 2]}', b'{"queues":[,]}', b'{"queues":[],}', b"\xff\xfe{}",
    b'{"queues":[{"name":"\xff"}]}', b'{"' + b"k" * 300 + b'":1}', b'{"queues":[tru]}', b'{"a":1e999999}',
    b"{" + b",".join(b'"k%d":1' % i for i in range(1000)) + b"}"])
def test_hostile_text(api, text):
    status, answer, _ = api("POST", "/api/definitions", text)
    assert (status, json.loads(answer)["reason"]) == (400, "failed_to_parse_json")


def test_an_endless_text_costs_no_memory(broker, api):
    """64 MB of queues that are refused at the end, and an element without an end."""
    def resident():
        with open(f"/proc/{broker.process.pid}/status", encoding="ascii") as f:
            kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.startswith("Vm")}
        # A sanitizer keeps what was freed, and says so by terabytes of addresses.
        return kib["VmRSS"] if kib["VmSize"] < 1 << 30 else 0

    part = b'{"name":"amq.q","vhost":"nosuch","durable":true,"auto_delete":false,"arguments":{}},' * 1000

    def stream(head, chunk, count):
        yield head
        for _ in range(count):
            yield chunk

    for head, chunk in [(b'{"queues":[', part), (b'{"queues":["', b"x" * len(part))]:
        before = resident()
        link = http.client.HTTPConnection(broker.host, broker.http_port, timeout=300)
        link.request("POST", "/api/definitions", stream(head, chunk, 64_000_000 // len(part)), encode_chunked=True,
                     headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        assert link.getresponse().status == 400
        assert resident() < before + 40_000
        link.close()


def test_refusals_with_rabbitmqs_reasons(api, vhost):
    permission = {"user": "guest", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
    queue = {"name": "q", "vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    for definitions, reason in [
            ({"users": [{"name": "u", "password_hash": "!!", "tags": ""}]}, ["not_base64", "!!"]),
            ({"users": [{"name": "u", "password_hash": ""}]}, "tags_not_present"),
            ({"users": [{"name": "u", "password": "a", "password_hash": "", "tags": ""}]}, "both_password_and_password_hash_are_provided"),
            ({"permissions": [{**permission, "user": "nosuch"}]}, ["no_such_user", "nosuch"]),
            ({"permissions": [{**permission, "vhost": "nosuch"}]}, ["no_such_vhost", "nosuch"]),
            ({"queues": [{**queue, "vhost": "nosuch"}]}, ["no_such_vhost", "nosuch"]),
            ({"exchanges": [{**queue, "type": "nope"}]}, "invalid exchange type 'nope'"),
            ({"policies": [{"vhost": vhost, "name": "p", "pattern": "[", "definition": {"max-length": 1}}]},
             "Validation failed\n\npattern should be regular expression but is invalid: {\"missing terminating ] for character class\",\n"
             f"                                                      1}}\n ({vhost}/p)"),
            ({"parameters": [{"component": "nope", "vhost": vhost, "name": "n", "value": 1}]},
             f"Validation failed\n\ncomponent nope not found\n ({vhost}/nope/n)"),
            ({"parameters": [{"component": "policy", "vhost": vhost, "name": "n", "value": 1}]},
             f"policies may not be set using this method ({vhost}/policy/n)"),
            ({"parameters": [{"component": "federation-upstream", "vhost": vhost, "name": "n", "value": {"foo": 1}}]},
             "Validation failed\n\nUnrecognised terms [{&lt;&lt;\"foo\"&gt;&gt;,1}] in n\nKey \"uri\" not found in n\n"
             f" ({vhost}/federation-upstream/n)")]:
        # Nothing before it was done either.
        assert api.refused({"vhosts": [{"name": "never-made"}], **definitions})["reason"] == reason
        assert api("GET", "/api/vhosts/never-made")[0] == 404


def test_what_exists_with_other_properties_stays(api, vhost):
    queue = {"name": "q", "vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    exchange = {"name": "x", "vhost": vhost, "type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    api.take({"queues": [queue], "exchanges": [exchange]})
    api.take({"queues": [{**queue, "durable": False, "arguments": {"x-max-length": 3}}, {**queue, "name": "amq.q"}],
              "exchanges": [{**exchange, "type": "fanout"}, {**exchange, "name": ""}, {**exchange, "name": "amq.x"}],
              "bindings": [{**BINDING, "vhost": vhost, "destination": "nosuch"}, {**BINDING, "vhost": vhost, "source": "nosuch"},
                           {**BINDING, "vhost": "nosuch"}, {**BINDING, "vhost": vhost, "source": "", "routing_key": "q"}]})
    exported = api.json("/api/definitions")
    assert [q for q in exported["queues"] if q["vhost"] == vhost] == [queue]
    assert [x for x in exported["exchanges"] if x["vhost"] == vhost] == [exchange]
    assert [b for b in exported["bindings"] if b["vhost"] == vhost] == []
    assert len(api.json("/api/imports")["last"]["notes"]) == 5


def test_a_refusal_on_the_way_says_what_was_done(start_broker):
    api = Api(start_broker({"cluster_queue_limit": "2"}))
    queues = [{"name": f"q{i}", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}} for i in range(5)]
    refused = api.refused({"vhosts": [{"name": "made"}], "queues": queues})
    assert refused["error"] == "bad_request" and refused["section"] == "queues" and refused["element"] >= 2
    assert refused["applied"] == {"vhosts": 1, "queues": 2}
    assert "queue" in refused["reason"]


# --- plans --------------------------------------------------------------------------------------------------------------------------

def test_plan_and_exact(api, broker, vhost):
    queue = {"durable": True, "auto_delete": False, "arguments": {}}
    exchange = {"type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    api.take({"queues": [{"name": n, **queue} for n in ("same", "other", "gone", "full")], "exchanges": [{"name": "x", **exchange}, {"name": "old", **exchange}],
              "bindings": [{**BINDING, "destination": "same"}, {**BINDING, "destination": "same", "routing_key": "old"}],
              "policies": [{"name": "p", "pattern": "a", "definition": {"max-length": 1}}, {"name": "old", "pattern": "a", "definition": {"max-length": 1}}]},
             f"/api/definitions/{vhost}")
    assert api("POST", f"/api/exchanges/{vhost}/amq.default/publish",
               {"properties": {}, "routing_key": "full", "payload": "x", "payload_encoding": "string"})[0] == 200
    wanted = {"queues": [{"name": "same", **queue}, {"name": "other", **queue, "arguments": {"x-max-length": 1}}, {"name": "new", **queue},
                         {"name": "stream", **queue, "arguments": {"x-queue-type": "stream"}}],
              "exchanges": [{"name": "x", **exchange}],
              "bindings": [{**BINDING, "destination": "same"}, {**BINDING, "destination": "new"}, {**BINDING, "destination": "nosuch"}],
              "policies": [{"name": "p", "pattern": "a", "definition": {"max-length": 2}}]}
    before = api.json(f"/api/definitions/{vhost}")

    def plan(query):
        status, text, _ = api("POST", f"/api/definitions/{vhost}?dry_run=true{query}", wanted)
        assert status == 200, text
        return json.loads(text)

    def short(found):
        return {(c["action"], c["kind"], c.get("name") or c["destination"] + "/" + c["routing_key"]) for c in found["changes"]}

    merge = {("create", "queue", "new"), ("conflict", "queue", "other"), ("skip", "queue", "stream"), ("create", "binding", "new/a"),
             ("skip", "binding", "nosuch/a"), ("change", "policy", "p")}
    exact = merge | {("delete", "queue", "gone"), ("delete", "queue", "full"), ("delete", "exchange", "old"), ("delete", "binding", "same/old"),
                     ("delete", "policy", "old")}
    assert short(plan("")) == merge and plan("")["mode"] == "merge"
    found = plan("&mode=exact")
    assert short(found) == exact and found["mode"] == "exact"
    assert found["counts"] == {"create": 2, "change": 1, "conflict": 1, "skip": 2, "delete": 5, "same": 3}
    assert api.json(f"/api/definitions/{vhost}") == before
    text = api("POST", f"/api/definitions/{vhost}?dry_run=true&mode=exact&format=text", wanted)
    assert text[2]["Content-Type"].startswith("text/plain")
    assert f'+ queue "new" in vhost "{vhost}"\n' in text[1] and "- queue \"gone\"" in text[1] and "! queue \"other\"" in text[1]
    # Now for good: a queue that holds messages stays unless it is said.
    status, text, _ = api("POST", f"/api/definitions/{vhost}?mode=exact", wanted)
    assert status == 200 and any("full" in note for note in json.loads(text)["notes"]), text
    names = {q["name"] for q in api.json(f"/api/definitions/{vhost}")["queues"]}
    assert names == {"same", "other", "new", "full"}
    assert short(plan("&mode=exact")) == {("conflict", "queue", "other"), ("skip", "queue", "stream"), ("skip", "binding", "nosuch/a"),
                                          ("delete", "queue", "full")}
    assert api("POST", f"/api/definitions/{vhost}?mode=exact&force=true", wanted)[0] == 200
    assert {q["name"] for q in api.json(f"/api/definitions/{vhost}")["queues"]} == {"same", "other", "new"}
    # A section that the file does not have is left alone.
    assert api("POST", f"/api/definitions/{vhost}?mode=exact&force=true", {"policies": []})[0] == 200
    assert len(api.json(f"/api/definitions/{vhost}")["queues"]) == 3 and api.json(f"/api/definitions/{vhost}")["policies"] == []


@pytest.mark.needs_restart
def test_exact_of_the_whole_broker(start_broker):
    api = Api(start_broker())
    given = api.json("/api/definitions")
    api.take(file("rabbitmq-3.10.8.json"))
    assert api("PUT", "/api/users/guest", {"password": "guest", "tags": "administrator"})[0] == 204
    given["users"] = [u for u in api.json("/api/definitions")["users"] if u["name"] == "guest"]
    status, text, _ = api("POST", "/api/definitions?mode=exact", given)
    assert status == 200, text
    assert api.json("/api/definitions") == given
    # Who asks is never deleted.
    assert api("POST", "/api/definitions?mode=exact", {"users": []})[0] == 200
    assert [u["name"] for u in api.json("/api/users")] == ["guest"]


# --- boot, crash --------------------------------------------------------------------------------------------------------------------

def big(count, vhost="big"):
    """A file of `count` queues, each bound three times."""
    queues = [{"name": f"q{i}", "vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}} for i in range(count)]
    bindings = [{"source": "amq.topic", "vhost": vhost, "destination": f"q{i}", "destination_type": "queue", "routing_key": f"k{n}.{i}", "arguments": {}}
                for i in range(count) for n in range(3)]
    return {"bindings": bindings, "queues": queues, "vhosts": [{"name": vhost}]}


@pytest.mark.needs_restart
def test_load_definitions(configured, tmp_path):
    folder = tmp_path / "defs"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps(file("rabbitmq-3.10.8.json")))
    (folder / "2.json").write_text(json.dumps(file("rabbitmqctl-3.8.json")))
    (folder / "notes.txt").write_text("no definitions")
    broker = configured(f"load_definitions = {folder}\ndefinitions.skip_if_unchanged = true\n")
    listed = set(broker.ctl("list_vhosts", "-q").split())
    assert {"/", "app", "tmp", "eight"} <= listed
    # What is changed stays changed as long as the files are the same.
    broker.ctl("delete_vhost", "tmp")
    broker.restart()
    assert "tmp" not in broker.ctl("list_vhosts", "-q").split()
    (folder / "2.json").write_text(json.dumps({"vhosts": [{"name": "more"}]}))
    broker.restart()
    assert {"tmp", "more"} <= set(broker.ctl("list_vhosts", "-q").split())


@pytest.mark.needs_restart
@pytest.mark.parametrize("text, problem", [
    ('{"users":[{"name":"x"', "malformed JSON: the text is cut off at byte 21"), ("[]", "malformed JSON: no object at byte 1"),
    ('{"users":[{"name":"x"}]}', "tags_not_present"), (None, "not found"),
    ('{"permissions":[{"user":"a","vhost":"b","configure":"","write":"","read":""}]}', '["no_such_vhost", "b"]')])
def test_bad_definitions_end_the_start(broker, tmp_path, text, problem):
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    done = subprocess.run([broker.command()[0][0], "-o", f"data_dir={tmp_path}/data", "-o", "listeners.tcp=none", "-o", "management.tcp.port=0", "-o", "prometheus.tcp.port=0",
                           "-o", f"load_definitions={path}"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 78, done
    assert f"leveretd: definitions file {path}: {problem}" in done.stderr.splitlines()


@pytest.mark.needs_restart
def test_killed_in_the_middle(start_broker):
    """What is there after it is a part of the file, without bindings of queues that are not there; the same file again completes it."""
    broker = start_broker()
    given = big(3000)
    link = http.client.HTTPConnection(broker.host, broker.http_port, timeout=120)
    link.request("POST", "/api/definitions", json.dumps(given), {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running = Api(broker).json("/api/imports")
        if running["last"] or any(i["sections"].get("bindings", {}).get("done", 0) > 100 for i in running["imports"]):
            break
    broker.kill()
    link.close()
    broker.start()
    api = Api(broker)
    exported = api.json("/api/definitions/big") if api("GET", "/api/vhosts/big")[0] == 200 else {"queues": [], "bindings": []}
    names = {q["name"] for q in exported["queues"]}
    assert names <= {q["name"] for q in given["queues"]}
    assert all(b["destination"] in names for b in exported["bindings"])
    api.take(given)
    exported = api.json("/api/definitions")
    for section in ("queues", "bindings"):
        assert texts(x for x in exported[section] if x["vhost"] == "big") == texts(given[section])


def test_an_export_shows_one_moment(api, vhost):
    """Queues come and go with their bindings meanwhile: none is shown bound without being there."""
    queue = {"durable": True, "auto_delete": False, "arguments": {}}
    api.take({"queues": [{"name": f"q{i}", **queue} for i in range(2000)]}, f"/api/definitions/{vhost}")
    link = http.client.HTTPConnection(api.broker.host, api.broker.http_port, timeout=120)
    for i in range(20):
        link.request("GET", f"/api/definitions/{vhost}", headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="})
        answer = link.getresponse()
        first = answer.read(1000)
        api.take({"queues": [{"name": f"new{i}", **queue}], "bindings": [{**BINDING, "destination": f"new{i}"}]}, f"/api/definitions/{vhost}")
        assert api("DELETE", f"/api/queues/{vhost}/q{i}")[0] == 204
        shown = json.loads(first + answer.read())
        names = {q["name"] for q in shown["queues"]}
        assert all(b["destination"] in names for b in shown["bindings"])
    link.close()


# --- parameters ---------------------------------------------------------------------------------------------------------------------

SHOVEL = {"src-uri": "amqp://", "src-queue": "a", "dest-uri": "amqp://", "dest-queue": "b"}


def test_parameters(api, vhost):
    upstream = {"uri": "amqp://user:secret@host", "expires": 1000, "ack-mode": "on-confirm"}
    path = f"/api/parameters/federation-upstream/{vhost}/up"
    assert api("PUT", path, {"value": upstream})[0] == 201
    assert api("PUT", path, {"value": upstream})[0] == 204
    shown = {"value": upstream, "vhost": vhost, "component": "federation-upstream", "name": "up"}
    assert api.json(path) == shown
    assert api.json(f"/api/parameters/federation-upstream/{vhost}") == [shown]
    assert shown in api.json("/api/parameters/federation-upstream") and shown in api.json("/api/parameters")
    for component, value in [("federation-upstream-set", [{"upstream": "up"}]), ("federation-upstream-set", []), ("shovel", SHOVEL)]:
        assert api("PUT", f"/api/parameters/{component}/{vhost}/n", {"value": value})[0] in (201, 204)
    limits = f"/api/parameters/vhost-limits/{vhost}/limits"
    assert api("PUT", limits, {"value": {"max-queues": 7, "max-connections": 5}})[0] == 201
    assert api.json(limits) == {"value": {"max-connections": 5, "max-queues": 7}, "vhost": vhost, "component": "vhost-limits", "name": "limits"}
    assert api("PUT", limits, {"value": {"max-queues": 8}})[0] == 204
    assert api.json(f"/api/vhost-limits/{vhost}") == [{"vhost": vhost, "value": {"max-queues": 8}}]
    assert api("DELETE", limits)[0] == 204 and api("DELETE", limits)[0] == 404
    assert api("DELETE", path)[0] == 204 and api("DELETE", path)[0] == 404
    operator = {"pattern": "a", "definition": {"max-length": 1}, "priority": 0, "apply-to": "queues"}
    assert api("PUT", f"/api/parameters/operator_policy/{vhost}/op", {"value": operator})[0] == 201
    assert api.json(f"/api/operator-policies/{vhost}/op")["definition"] == {"max-length": 1}
    assert api("PUT", "/api/global-parameters/g", {"value": {"a": [1, None]}})[0] == 201
    assert api.json("/api/global-parameters/g") == {"name": "g", "value": {"a": [1, None]}}
    assert api("DELETE", "/api/global-parameters/g")[0] == 204 and api("DELETE", "/api/global-parameters/g")[0] == 404


V = "Validation failed\n\n"


@pytest.mark.parametrize("component, value, reason", [
    ("federation-upstream", {}, V + 'Key "uri" not found in n\n'),
    ("federation-upstream", {"uri": "amqp://", "prefetch-count": "z"}, V + "prefetch-count should be a number, actually was &lt;&lt;\"z\"&gt;&gt;\n"),
    ("federation-upstream", {"uri": "amqp://", "trust-user-id": 1.5}, V + "trust-user-id should be boolean, actually was 1.5\n"),
    ("federation-upstream", {"uri": "amqp://", "exchange": []}, V + "exchange should be binary, actually was []\n"),
    ("federation-upstream", {"uri": "amqp://", "ack-mode": "z"},
     V + "ack-mode should be one of [&lt;&lt;\"no-ack\"&gt;&gt;,&lt;&lt;\"on-publish\"&gt;&gt;,&lt;&lt;\"on-confirm\"&gt;&gt;], actually was &lt;&lt;\"z\"&gt;&gt;\n"),
    ("federation-upstream", [1], None), ("federation-upstream", 5, None), ("federation-upstream", {"uri": "http://user:secret@host"}, None),
    ("federation-upstream-set", [{"upstream": "a", "uri": "x"}], V + "Unrecognised terms [{&lt;&lt;\"uri\"&gt;&gt;,&lt;&lt;\"x\"&gt;&gt;}] in n\n"),
    ("federation-upstream-set", [{}], V + 'Key "upstream" not found in n\n'), ("federation-upstream-set", [5], None),
    ("shovel", {}, V + "Must specify 'src-exchange' or 'src-queue'\nKey \"dest-uri\" not found in n\nKey \"src-uri\" not found in n\n"),
    ("shovel", {**SHOVEL, "src-exchange": "x"}, V + "Cannot specify 'src-exchange' and 'src-queue'\n"),
    ("shovel", {**SHOVEL, "dest-exchange": "x"}, V + "Cannot specify 'dest-exchange' and 'dest-queue'\n"),
    ("shovel", {**SHOVEL, "delete-after": "z"},
     V + "delete-after should be a number greater than or equal to 0, \"never\" or \"queue-length\", actually was &lt;&lt;\"z\"&gt;&gt;\n"),
    ("shovel", {**SHOVEL, "src-protocol": "z"}, None),
    ("shovel", {"src-protocol": "amqp10", "src-uri": "amqp://", "dest-protocol": "amqp10", "dest-uri": "amqp://"},
     V + "Key \"dest-address\" not found in n\nKey \"src-address\" not found in n\n"),
    ("vhost-limits", {"max-queues": 1}, None),
    ("nope", 1, V + "component nope not found\n"),
    ("policy", {"pattern": "a", "definition": {"max-length": 1}}, "policies may not be set using this method"),
    ("operator_policy", {"pattern": "["}, None),
])
def test_refused_parameters(api, vhost, component, value, reason):
    status, text, _ = api("PUT", f"/api/parameters/{component}/{vhost}/n", {"value": value})
    assert status == 400 and "secret" not in text
    if reason is not None:
        assert json.loads(text) == {"error": "bad_request", "reason": reason}
    assert api("PUT", f"/api/parameters/{component}/nosuch/n", {"value": value})[0] == 404
    assert api("PUT", f"/api/parameters/{component}/{vhost}/n", {})[:2] == (400, '{"error":"bad_request","reason":"[{key_missing,value}]"}')


@pytest.mark.parametrize("tag, is_allowed", [("management", False), ("monitoring", False), ("policymaker", True), ("administrator", True)])
def test_parameters_by_tag(api, vhost, name, tag, is_allowed):
    user = name("u")
    api("PUT", f"/api/users/{user}", {"password": "p", "tags": tag})
    api("PUT", f"/api/permissions/{vhost}/{user}", {"configure": "", "write": "", "read": ""})
    for path, value in [(f"/api/parameters/federation-upstream/{vhost}/a", {"uri": "amqp://"}), (f"/api/parameters/vhost-limits/{vhost}/limits", {"max-queues": 1}),
                        ("/api/global-parameters/by-tag", 1)]:
        assert (api("PUT", path, {"value": value}, user=f"{user}:p")[0] < 300) == is_allowed
        assert (api("GET", path, user=f"{user}:p")[0] == 200) == is_allowed
        assert (api("DELETE", path, user=f"{user}:p")[0] < 300) == is_allowed
    # Limits that administrators set on queues are theirs on this path too.
    operator = {"pattern": "a", "definition": {"max-length": 1}, "priority": 0, "apply-to": "queues"}
    assert (api("PUT", f"/api/parameters/operator_policy/{vhost}/op", {"value": operator}, user=f"{user}:p")[0] < 300) == (tag == "administrator")
    api("DELETE", f"/api/users/{user}")


def test_no_secret_is_logged(broker, api, vhost):
    api.take({"users": [{"name": "logged", "password": "s3cr3t-one", "tags": ""}],
              "parameters": [{"component": "shovel", "vhost": vhost, "name": "s", "value": {**SHOVEL, "src-uri": "amqp://u:s3cr3t-two@h"}}]})
    api("PUT", f"/api/parameters/shovel/{vhost}/t", {"value": {**SHOVEL, "src-uri": "amqp://u:s3cr3t-three@h"}})
    api.refused({"parameters": [{"component": "shovel", "vhost": vhost, "name": "s", "value": {**SHOVEL, "src-uri": "http://u:s3cr3t-four@h"}}]})
    assert "s3cr3t" not in broker.log_tail(100000)
    assert "s3cr3t-one" not in api("GET", "/api/definitions")[1] and "s3cr3t-two" in api("GET", "/api/definitions")[1]
    assert "s3cr3t" not in api("POST", "/api/definitions?dry_run=true&mode=exact", {"parameters": [], "users": []})[1]
    api("DELETE", "/api/users/logged")


# --- leveretctl ---------------------------------------------------------------------------------------------------------------------

def test_leveretctl(broker, api, vhost, tmp_path):
    path = tmp_path / "d.json"
    queue = {"name": "q", "durable": True, "auto_delete": False, "arguments": {}}
    api.take({"queues": [queue, {**queue, "name": "old"}]}, f"/api/definitions/{vhost}")
    assert "Exporting definitions in JSON to a file" in broker.ctl("export_definitions", str(path))
    assert json.loads(path.read_text()) == api.json("/api/definitions") == json.loads(broker.ctl("export_definitions", "-"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(broker.ctl("export_definitions", "-p", vhost, "-")) == api.json(f"/api/definitions/{vhost}")
    path.write_text(json.dumps({"queues": [queue, {**queue, "name": "new"}]}))
    assert broker.ctl("definitions", "plan", "-p", vhost, str(path)).splitlines() == [
        f'+ queue "new" in vhost "{vhost}"', "1 create, 0 change, 0 conflict, 0 skip, 0 delete, 1 same"]
    planned = json.loads(broker.ctl("definitions", "plan", "--exact", "-p", vhost, str(path), "--formatter", "json"))
    assert planned["counts"]["delete"] == 1
    assert "Applied" in broker.ctl("definitions", "apply", "--exact", "-p", vhost, str(path))
    assert {q["name"] for q in api.json(f"/api/definitions/{vhost}")["queues"]} == {"q", "new"}
    assert "Successfully imported" in broker.ctl("import_definitions", "-p", vhost, str(path), "--skip-if-unchanged")

    def fails(*arguments):
        command, env = broker.ctl_command()
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, timeout=90, check=False)
        return done.returncode, done.stderr

    assert fails("import_definitions", "/nonexistent") == (65, "Bad argument: File /nonexistent does not exist\n")
    path.write_text("{")
    assert fails("import_definitions", str(path))[0] == 65
    path.write_text('{"queues":5}')
    assert fails("import_definitions", str(path)) == (69, "Error:\n'queues' is not a list\n")
    assert fails("import_definitions", "-p", "nosuch", str(path))[0] == 65
