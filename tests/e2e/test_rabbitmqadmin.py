"""rabbitmqadmin: the script of Debian's rabbitmq-server package as it is, and leveretctl by that name, which has to say the same."""

import glob
import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.timeout(600)  # dozens of programs a test

PLACES = ["/usr/bin/rabbitmqadmin", "/usr/lib/rabbitmq/lib/*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin"]


@pytest.fixture(params=["script", "leveretctl"])
def admin(request, broker):
    """admin(*arguments): its standard output."""
    if broker.kind != "leveret":
        pytest.skip("Leveret only: the port of the HTTP API")
    found = [path for place in PLACES for path in glob.glob(place) if os.path.exists(path)]
    program = ["/usr/bin/python3", *found[:1]] if request.param == "script" else ["rabbitmqadmin"]
    executable = None if request.param == "script" else broker.ctl_command()[0][0]
    if request.param == "script" and not found:
        pytest.skip("no rabbitmqadmin: the rabbitmq-server package has it")

    def run(*arguments, user=("guest", "guest"), status=0):
        done = subprocess.run([*program, "-H", broker.host, "-P", str(broker.http_port), "-u", user[0], "-p", user[1], *arguments],
                              executable=executable, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done
        return done.stdout if status == 0 else done.stdout + done.stderr

    return run


def rows(admin, *arguments):
    return json.loads(admin("-f", "raw_json", *arguments))


def test_a_session_with_rabbitmqadmin(admin):
    assert admin("declare", "vhost", "name=adm") == "vhost declared\n"
    vhost = ("-V", "adm")
    assert admin("declare", "user", "name=joe", "password=p", "tags=management") == "user declared\n"
    assert admin("declare", "permission", "vhost=adm", "user=joe", "configure=.*", "write=.*", "read=.*") == "permission declared\n"
    joe = ("joe", "p")
    assert admin(*vhost, "declare", "queue", "name=orders", "durable=true", 'arguments={"x-max-length": 100}', user=joe) == "queue declared\n"
    assert admin(*vhost, "declare", "exchange", "name=shop", "type=topic", user=joe) == "exchange declared\n"
    assert admin(*vhost, "declare", "binding", "source=shop", "destination=orders", "routing_key=order.#", user=joe) == "binding declared\n"
    assert admin(*vhost, "publish", "exchange=shop", "routing_key=order.new", "payload=hello",
                 'properties={"delivery_mode": 2}', user=joe) == "Message published\n"
    assert admin(*vhost, "publish", "exchange=shop", "routing_key=other", "payload=x", user=joe) == "Message published but NOT routed\n"
    listed = rows(admin, *vhost, "list", "queues", "name", "messages", "arguments")
    assert listed == [{"name": "orders", "messages": 1, "arguments": {"x-max-length": 100}}]
    message = rows(admin, *vhost, "get", "queue=orders", "ackmode=ack_requeue_true")[0]
    assert (message["payload"], message["routing_key"], message["properties"]) == ("hello", "order.new", {"delivery_mode": 2})
    assert "hello" in admin(*vhost, "get", "queue=orders", "ackmode=ack_requeue_false", user=joe)
    assert "No items" in admin(*vhost, "get", "queue=orders")
    key = [b["properties_key"] for b in rows(admin, *vhost, "list", "bindings") if b["source"] == "shop"][0]
    assert admin(*vhost, "delete", "binding", "source=shop", "destination=orders", "destination_type=queue",
                 f"properties_key={key}") == "binding deleted\n"
    assert admin(*vhost, "purge", "queue", "name=orders") == "queue purged\n"
    assert admin(*vhost, "delete", "queue", "name=orders") == "queue deleted\n"
    assert admin(*vhost, "delete", "exchange", "name=shop") == "exchange deleted\n"
    assert "Not found" in admin(*vhost, "delete", "queue", "name=orders", status=1)
    assert "Access refused" in admin("list", "users", user=("joe", "no"), status=1)
    assert admin("delete", "user", "name=joe") == "user deleted\n"
    assert admin("delete", "vhost", "name=adm") == "vhost deleted\n"


def test_every_list_of_rabbitmqadmin(admin, pika_connect):
    channel = pika_connect().channel()
    channel.queue_declare("adm", exclusive=True)
    channel.basic_consume("adm", lambda *_: None)
    for what in ("users", "vhosts", "connections", "exchanges", "bindings", "permissions", "channels", "consumers", "queues", "nodes"):
        assert rows(admin, "list", what), what
        assert admin("list", what), what
        assert admin("-f", "long", "-d", "3", "list", what), what
    for what in ("parameters", "vhost_limits"):
        admin("list", what)
    assert rows(admin, "list", "queues", "name", "messages_ready")[0].keys() == {"name", "messages_ready"}
    assert "rabbitmq_version" in admin("show", "overview")
    connection = rows(admin, "list", "connections", "name")[0]["name"]
    assert admin("close", "connection", f"name={connection}") == "connection closed\n"


def test_export_and_import_with_rabbitmqadmin(admin, tmp_path):
    path = str(tmp_path / "broker.json")
    admin("declare", "vhost", "name=exported")
    vhost = ("-V", "exported")
    admin(*vhost, "declare", "queue", "name=q", "durable=true", 'arguments={"x-max-length": 7}')
    admin(*vhost, "declare", "exchange", "name=x", "type=topic")
    admin(*vhost, "declare", "binding", "source=x", "destination=q", "routing_key=a.#")
    admin(*vhost, "declare", "policy", "name=p", "pattern=^q", 'definition={"max-length": 3}')
    assert "Exported definitions" in admin("export", path)
    with open(path, encoding="utf-8") as f:
        exported = json.load(f)
    assert {"name": "q", "vhost": "exported", "durable": True, "auto_delete": False, "arguments": {"x-max-length": 7}} in exported["queues"]
    assert admin("delete", "vhost", "name=exported") == "vhost deleted\n"
    assert "Uploaded definitions" in admin("import", path)
    assert [q["name"] for q in rows(admin, *vhost, "list", "queues", "name")] == ["q"]
    again = str(tmp_path / "again.json")
    admin("export", again)
    with open(again, encoding="utf-8") as f:
        assert json.load(f) == exported
    # Of one virtual host.
    admin(*vhost, "export", path)
    admin(*vhost, "delete", "queue", "name=q")
    assert "Uploaded definitions" in admin(*vhost, "import", path)
    assert [b["routing_key"] for b in rows(admin, *vhost, "list", "bindings", "source", "routing_key") if b["source"] == "x"] == ["a.#"]
    assert admin("delete", "vhost", "name=exported") == "vhost deleted\n"


@pytest.mark.parametrize("shown", ["table", "tsv", "kvp", "bash", "long"])
def test_formats_are_those_of_the_script(broker, pika_connect, shown):
    found = [path for place in PLACES for path in glob.glob(place) if os.path.exists(path)]
    if broker.kind != "leveret" or not found:
        pytest.skip("needs Leveret, and the script of the rabbitmq-server package")
    channel = pika_connect().channel()
    for name in ("first", "the second ü"):
        channel.queue_declare(name, arguments={"x-max-length": 5})

    def outputs(*words):
        where = ["-H", broker.host, "-P", str(broker.http_port), "-f", shown, *words]
        for program, executable in ((["/usr/bin/python3", found[0]], None), (["rabbitmqadmin"], broker.ctl_command()[0][0])):
            yield subprocess.run([*program, *where], executable=executable, capture_output=True, text=True, timeout=60, check=True).stdout

    for words in (("list", "queues", "name", "messages", "durable"), ("list", "exchanges", "name", "type"), ("list", "users", "name", "tags"),
                  ("list", "queues"), ("list", "bindings"), ("-d", "2", "list", "queues", "name", "arguments.x-max-length"),
                  ("-S", "name", "-R", "list", "queues", "name")):
        theirs, ours = outputs(*words)
        assert ours == theirs, words
    for name in ("first", "the second ü"):
        channel.queue_delete(name)
