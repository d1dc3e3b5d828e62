"""leveretctl against a running broker: outputs, columns, formats and exit statuses, which are rabbitmqctl's.

Most of it runs against a real RabbitMQ too (BROKER=rabbitmq), where rabbitmqctl and rabbitmq-diagnostics take leveretctl's place:
that is how the expectations were checked.
"""

import contextlib
import http.server
import json
import os
import re
import socketserver
import subprocess
import threading
import time

import pika
import pytest

pytestmark = pytest.mark.needs_admin

# What rabbitmqctl has only as rabbitmq-diagnostics.
DIAGNOSTICS = ("alarms", "check_", "is_", "listeners", "server_version")


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def rows(self):
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self):
        return json.loads(self.out)


class Tool:
    """ctl("list_users", "-q") runs one command. `node` is the name of the broker's node."""

    def __init__(self, broker):
        self.broker = broker
        prefix, self.env = broker.ctl_command()
        self.prefix = [word for word in prefix if word != "-q"]
        self.node = getattr(broker, "node", None) or self("status", "--formatter", "json").json["listeners"][0]["node"]

    def __call__(self, *args, stdin="", env=None):
        prefix = list(self.prefix)
        words = [word for word in args if not word.startswith("-")]
        if self.broker.kind == "rabbitmq" and words and words[0].startswith(DIAGNOSTICS):
            prefix[0] = prefix[0].replace("rabbitmqctl", "rabbitmq-diagnostics")
        return Result(subprocess.run([*prefix, *args], env={**self.env, **(env or {})}, input=stdin, capture_output=True, text=True,
                                     timeout=90))


@pytest.fixture
def ctl(broker):
    return Tool(broker)


@pytest.fixture
def user(ctl, name):
    """A user with the password `secret`, deleted afterwards."""
    user = name("u")
    assert ctl("add_user", user, "secret").status == 0
    yield user
    ctl("delete_user", user)


@pytest.fixture
def vhost(ctl, name):
    vhost = name("v")
    assert ctl("add_vhost", vhost).status == 0
    assert ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*").status == 0
    yield vhost
    ctl("delete_vhost", vhost)


@pytest.fixture
def channel(pika_connect, vhost):
    return pika_connect(virtual_host=vhost, client_properties={"connection_name": "the client"}).channel()


def expect(result, status, out, err=""):
    assert (result.status, result.out, result.err) == (status, out, err)


def refused(result, status, banner, text):
    """A refusal: the banner on standard output, "Error:" and the text on standard error (after RabbitMQ's own log lines)."""
    assert result.status == status
    assert result.out == banner
    assert result.err.endswith("Error:\n" + text + "\n")


# --- users ----------------------------------------------------------------------------------------------------------------------


def test_the_life_of_a_user(ctl, name):
    user = name("u")
    done = ctl("add_user", user, "one")
    assert done.status == 0
    assert re.fullmatch(f'Adding user "{user}" ...\nDone. Don\'t forget to grant the user permissions to some virtual hosts! '
                        "See '\\w+ help set_permissions' to learn more.\n", done.out)
    refused(ctl("add_user", user, "two"), 70, f'Adding user "{user}" ...\n', f'User "{user}" already exists')
    expect(ctl("authenticate_user", user, "one"), 0, f'Authenticating user "{user}" ...\nSuccess\n')
    refused(ctl("authenticate_user", user, "two"), 65, f'Authenticating user "{user}" ...\n',
            f"Error: failed to authenticate user \"{user}\"\nuser '{user}' - invalid credentials")
    expect(ctl("change_password", user, "two"), 0, f'Changing password for user "{user}" ...\n')
    assert ctl("authenticate_user", user, "two").status == 0
    expect(ctl("clear_password", user), 0, f'Clearing password for user "{user}" ...\n')
    assert ctl("authenticate_user", user, "two").status == 65
    assert ctl("authenticate_user", user, "").status == 65
    expect(ctl("set_user_tags", user, "management", "policymaker"), 0,
           f'Setting tags for user "{user}" to [management, policymaker] ...\n')
    assert [user, "[management, policymaker]"] in ctl("list_users").rows
    expect(ctl("set_user_tags", user), 0, f'Setting tags for user "{user}" to [] ...\n')
    assert [user, "[]"] in ctl("list_users").rows
    expect(ctl("delete_user", user), 0, f'Deleting user "{user}" ...\n')
    refused(ctl("delete_user", user), 67, f'Deleting user "{user}" ...\n', f'User "{user}" does not exist')


@pytest.mark.parametrize("command, status, banner, text", [
    (("change_password", "nosuch", "x"), 67, 'Changing password for user "nosuch" ...', 'User "nosuch" does not exist'),
    (("set_user_tags", "nosuch", "a"), 67, 'Setting tags for user "nosuch" to [a] ...', 'User "nosuch" does not exist'),
    (("clear_password", "nosuch"), 69, 'Clearing password for user "nosuch" ...', '{:no_such_user, "nosuch"}'),
    (("list_user_permissions", "nosuch"), 69, 'Listing permissions for user "nosuch" ...', '{:no_such_user, "nosuch"}'),
    (("list_user_topic_permissions", "nosuch"), 69, 'Listing topic permissions for user "nosuch" ...',
     '{:no_such_user, "nosuch"}'),
    (("set_user_limits", "nosuch", "{}"), 69, 'Setting user limits to "{}" for user "nosuch" ...', None),
    (("clear_user_limits", "nosuch", "all"), 69, 'Clearing all limits for user "nosuch" ...', '{:no_such_user, "nosuch"}'),
    (("list_user_limits", "--user", "nosuch"), 69, 'Listing limits for user "nosuch" ...', '{:no_such_user, "nosuch"}'),
    (("set_permissions", "nosuch", ".*", ".*", ".*"), 67, 'Setting permissions for user "nosuch" in vhost "/" ...',
     "User nosuch does not exist"),
    (("clear_permissions", "nosuch"), 67, 'Clearing permissions for user "nosuch" in vhost "/" ...', "User nosuch does not exist"),
    (("clear_topic_permissions", "nosuch"), 67, 'Clearing topic permissions for user "nosuch" in vhost "/" ...',
     "User nosuch does not exist"),
    (("set_permissions", "-p", "nosuch", "guest", ".*", ".*", ".*"), 69,
     'Setting permissions for user "guest" in vhost "nosuch" ...', "Virtual host nosuch does not exist"),
    (("clear_permissions", "-p", "nosuch", "guest"), 69, 'Clearing permissions for user "guest" in vhost "nosuch" ...',
     "Virtual host nosuch does not exist"),
    (("set_permissions", "guest", "[", ".*", ".*"), 69, 'Setting permissions for user "guest" in vhost "/" ...',
     "{:invalid_regexp, '[', {'missing terminating ] for character class', 1}}"),
    (("set_topic_permissions", "guest", "amq.topic", "[", ".*"), 69,
     'Setting topic permissions on "amq.topic" for user "guest" in vhost "/" ...',
     "{:invalid_regexp, \"[\", {'missing terminating ] for character class', 1}}"),
    (("set_vhost_tags", "nosuch", "x"), 65, 'Setting tags for virtual host "nosuch" to [x] ...',
     'Virtual host "nosuch" does not exist'),
    (("trace_on", "-p", "nosuch"), 65, 'Starting tracing for vhost "nosuch" ...', 'Virtual host "nosuch" does not exist'),
    (("clear_vhost_limits", "-p", "nosuch"), 69, 'Clearing vhost "nosuch" limits ...', "Parameter does not exist"),
    (("set_vhost_limits", "{"), 69, 'Setting vhost limits to "{" for vhost "/" ...', "JSON decoding error. Reason: badarg"),
    (("set_vhost_limits", '{"max-foo":10}'), 69, 'Setting vhost limits to "{"max-foo":10}" for vhost "/" ...',
     'Validation failed\n\nUnrecognised terms [{<<"max-foo">>,10}] in limits\n'),
    (("set_vhost_limits", '{"max-queues":"a"}'), 69, 'Setting vhost limits to "{"max-queues":"a"}" for vhost "/" ...',
     'Validation failed\n\nmax-queues should be a number, actually was <<"a">>\n'),
    (("set_user_limits", "guest", '{"max-channels":"x"}'), 69,
     'Setting user limits to "{"max-channels":"x"}" for user "guest" ...',
     'max-channels should be a number, actually was <<"x">>'),
    (("purge_queue", "nosuch"), 69, "Purging queue 'nosuch' in vhost '/' ...", "not_found"),
    (("delete_queue", "nosuch"), 64, "Deleting queue 'nosuch' on vhost '/' ...", "Queue not found"),
    (("add_vhost", "x", "--default-queue-type", "nosuch"), 69, 'Adding vhost "x" ...', "invalid_queue_type"),
])
def test_refusals(ctl, command, status, banner, text):
    result = ctl(*command)
    if text is None:
        assert result.status in (0, status)  # {} changes nothing: RabbitMQ looks the user up all the same
        return
    refused(result, status, banner + "\n", text)


@pytest.mark.parametrize("command, banner", [
    (("delete_vhost", "nosuch"), 'Deleting vhost "nosuch" ...'),
    (("list_permissions", "-p", "nosuch"), 'Listing permissions for vhost "nosuch" ...'),
    (("list_topic_permissions", "-p", "nosuch"), 'Listing topic permissions for vhost "nosuch" ...'),
    (("list_vhost_limits", "-p", "nosuch"), 'Listing limits for vhost "nosuch" ...'),
    (("set_vhost_limits", "-p", "nosuch", "{}"), 'Setting vhost limits to "{}" for vhost "nosuch" ...'),
])
def test_an_unknown_vhost_is_told_without_error_line(ctl, command, banner):
    expect(ctl(*command), 65, banner + "\n", "Virtual host 'nosuch' does not exist\n")


@pytest.mark.leveret_only("RabbitMQ's tools read passwords from a terminal's group leader")
def test_a_password_may_come_from_standard_input(ctl, name):
    user = name("u")
    assert ctl("add_user", user, stdin="from outside\n").status == 0
    assert ctl("authenticate_user", user, "from outside").status == 0
    assert ctl("authenticate_user", user, stdin="wrong\n").status == 65
    ctl("delete_user", user)


@pytest.mark.leveret_only("rabbitmqctl 3.10 has no hash_password")
def test_a_hash_is_a_password(ctl, user, broker):
    shown = ctl("hash_password", "s€cret", "-q").out.strip()
    definition = json.dumps({"password_hash": shown, "tags": ""})
    control_request(broker, "PUT", f"/api/users/{user}", definition)
    assert ctl("authenticate_user", user, "s€cret").status == 0


def test_names_of_any_kind(ctl, name):
    """Every character that means something in a URL, to a shell, or to JSON."""
    for odd in ("a/b", "..", "%2F", "ü €", 'q"\\', "a b", "?x=1&y#z", "+"):
        user = name(odd)
        assert ctl("add_user", user, odd).status == 0
        assert ctl("authenticate_user", user, odd).status == 0
        assert user in [entry["user"] for entry in ctl("list_users", "--formatter", "json").json]
        assert ctl("delete_user", user).status == 0


# --- formats --------------------------------------------------------------------------------------------------------------------


def test_formats(ctl, user):
    ctl("set_user_tags", user, "a", "b")
    assert ctl("list_users").out.startswith("Listing users ...\nuser\ttags\n")
    assert f"{user}\t[a, b]\n" in ctl("list_users").out
    assert ctl("list_users", "-q").out.startswith("user\ttags\n")
    assert not ctl("list_users", "-s").out.startswith("user\ttags\n")
    assert ctl("--no-table-headers", "list_users").out.startswith("Listing users ...\n")
    assert "user\ttags" not in ctl("list_users", "--no-table-headers").out
    assert {"user": user, "tags": ["a", "b"]} in ctl("list_users", "--formatter", "json").json
    assert f'{{"user":"{user}","tags":["a","b"]}}\n' in ctl("list_users", "--formatter=json").out
    csv = ctl("--formatter", "csv", "list_users").out
    assert csv.startswith('"user","tags"\n') and f'"{user}","[a, b]"\n' in csv
    assert f'[{{user,<<"{user}">>}},{{tags,[a,b]}}]' in ctl("list_users", "--formatter", "erlang").out
    assert f"\x1b(0x\x1b(B {user}" in ctl("list_users", "--formatter", "pretty_table").out


def test_options_stand_anywhere(ctl, vhost):
    expected = ctl("list_exchanges", "-p", vhost, "-q", "name", "type").rows
    assert ctl("-q", "--vhost", vhost, "list_exchanges", "name,type").rows == expected
    assert ctl(f"--vhost={vhost}", "list_exchanges", "name,", "type", "--quiet").rows == expected


# --- permissions ----------------------------------------------------------------------------------------------------------------


def test_permissions(ctl, user, vhost):
    expect(ctl("set_permissions", "-p", vhost, user, "^a", ".*", "^$"), 0,
           f'Setting permissions for user "{user}" in vhost "{vhost}" ...\n')
    listed = ctl("list_permissions", "-p", vhost)
    assert listed.out.startswith(f'Listing permissions for vhost "{vhost}" ...\nuser\tconfigure\twrite\tread\n')
    assert [user, "^a", ".*", "^$"] in listed.rows
    expect(ctl("list_user_permissions", user), 0,
           f'Listing permissions for user "{user}" ...\nvhost\tconfigure\twrite\tread\n{vhost}\t^a\t.*\t^$\n')
    expect(ctl("clear_permissions", "-p", vhost, user), 0, f'Clearing permissions for user "{user}" in vhost "{vhost}" ...\n')
    expect(ctl("list_user_permissions", user), 0, f'Listing permissions for user "{user}" ...\n\n')
    expect(ctl("list_user_permissions", user, "--formatter", "json"), 0, "[]\n")
    assert ctl("clear_permissions", "-p", vhost, user).status == 0


def test_topic_permissions(ctl, user, vhost):
    for exchange in ("amq.topic", "other"):
        expect(ctl("set_topic_permissions", "-p", vhost, user, exchange, "^x", ".*"), 0,
               f'Setting topic permissions on "{exchange}" for user "{user}" in vhost "{vhost}" ...\n')
    listed = ctl("list_topic_permissions", "-p", vhost)
    assert listed.out.startswith(f'Listing topic permissions for vhost "{vhost}" ...\nuser\texchange\twrite\tread\n')
    assert [user, "amq.topic", "^x", ".*"] in listed.rows
    mine = ctl("list_user_topic_permissions", user)
    assert mine.out.startswith(f'Listing topic permissions for user "{user}" ...\n{vhost}\t')
    assert sorted(mine.rows[1:]) == [[vhost, "amq.topic", "^x", ".*"], [vhost, "other", "^x", ".*"]]
    assert ctl("clear_topic_permissions", "-p", vhost, user, "other").status == 0
    assert ctl("list_user_topic_permissions", user, "-s").rows == [[vhost, "amq.topic", "^x", ".*"]]
    expect(ctl("clear_topic_permissions", "-p", vhost, user), 0,
           f'Clearing topic permissions for user "{user}" in vhost "{vhost}" ...\n')
    assert ctl("list_user_topic_permissions", user, "--formatter", "json").json == []


# --- vhosts and limits ----------------------------------------------------------------------------------------------------------


def test_vhosts(ctl, name):
    vhost = name("v")
    expect(ctl("add_vhost", vhost, "--description", "what for", "--tags", "a,b", "--default-queue-type", "quorum"), 0,
           f'Adding vhost "{vhost}" ...\n')
    expect(ctl("add_vhost", vhost), 0, f'Adding vhost "{vhost}" ...\n')
    columns = ("name", "description", "tags", "default_queue_type", "tracing", "cluster_state")
    assert [vhost, "what for", "[a, b]", "quorum", "false", f"[{{{ctl.node}, running}}]"] in ctl("list_vhosts", *columns).rows
    assert {"name": vhost, "description": "what for", "tags": ["a", "b"], "default_queue_type": "quorum", "tracing": False,
            "cluster_state": {ctl.node: "running"}} in ctl("list_vhosts", *columns, "--formatter", "json").json
    expect(ctl("set_vhost_tags", vhost, "x", "y"), 0, f'Setting tags for virtual host "{vhost}" to [x, y] ...\n')
    assert [vhost, "[x, y]", "what for"] in ctl("list_vhosts", "name", "tags", "description").rows
    expect(ctl("trace_on", "-p", vhost), 0, f'Starting tracing for vhost "{vhost}" ...\nTrace enabled for vhost {vhost}\n')
    assert [vhost, "true", "what for"] in ctl("list_vhosts", "name", "tracing", "description").rows
    expect(ctl("trace_off", "-p", vhost), 0, f'Stopping tracing for vhost "{vhost}" ...\nTrace disabled for vhost {vhost}\n')
    assert [vhost, "false", "what for"] in ctl("list_vhosts", "name", "tracing", "description").rows
    expect(ctl("delete_vhost", vhost), 0, f'Deleting vhost "{vhost}" ...\n')
    assert [vhost] not in ctl("list_vhosts").rows


def test_vhost_limits(ctl, vhost):
    limits = '{"max-connections": 10, "max-queues": 5}'
    expect(ctl("list_vhost_limits", "-p", vhost), 0, f'Listing limits for vhost "{vhost}" ...\n\n')
    assert ctl("list_vhost_limits", "-p", vhost, "--formatter", "json").out == "[]\n"
    expect(ctl("set_vhost_limits", "-p", vhost, limits), 0, f'Setting vhost limits to "{limits}" for vhost "{vhost}" ...\n')
    assert json.loads(ctl("list_vhost_limits", "-p", vhost, "-q").out) == json.loads(limits)
    shown = ctl("list_vhost_limits", "-p", vhost, "--formatter", "json").json
    assert shown["result"] == "ok" and json.loads(shown["value"]) == json.loads(limits)
    everywhere = ctl("list_vhost_limits", "--global")
    assert everywhere.out.startswith("Listing limits for all vhosts ...\nvhost\tlimits\n")
    assert [json.loads(row[1]) for row in everywhere.rows[2:] if row[0] == vhost] == [json.loads(limits)]
    # What is set is all there is.
    ctl("set_vhost_limits", "-p", vhost, '{"max-queues": 3}')
    assert ctl("list_vhost_limits", "-p", vhost, "-q").out == '{"max-queues":3}\n'
    expect(ctl("clear_vhost_limits", "-p", vhost), 0, f'Clearing vhost "{vhost}" limits ...\n')
    assert ctl("list_vhost_limits", "-p", vhost, "-q").out == "\n"


def test_user_limits(ctl, user):
    expect(ctl("set_user_limits", user, '{"max-channels": 5}'), 0, f'Setting user limits to "{{"max-channels": 5}}" for user "{user}" ...\n')
    assert ctl("set_user_limits", user, '{"max-connections": 7}').status == 0
    shown = ctl("list_user_limits", "--user", user)
    assert shown.out.startswith(f'Listing limits for user "{user}" ...\n')
    assert json.loads(shown.out.splitlines()[1]) == {"max-channels": 5, "max-connections": 7}  # what is not named stays
    assert json.loads(ctl("list_user_limits", "--user", user, "--formatter", "json").json["message"])["max-channels"] == 5
    everywhere = ctl("list_user_limits", "--global")
    assert everywhere.out.startswith("Listing limits for all users ...\nuser\tlimits\n")
    assert user in [row[0] for row in everywhere.rows]
    expect(ctl("clear_user_limits", user, "max-channels"), 0, f'Clearing "max-channels" limit for user "{user}" ...\n')
    assert ctl("list_user_limits", "--user", user, "-q").out == '{"max-connections":7}\n'
    assert ctl("clear_user_limits", user, "nosuch").status == 0
    expect(ctl("clear_user_limits", user, "all"), 0, f'Clearing all limits for user "{user}" ...\n')
    assert ctl("list_user_limits", "--user", user, "-q").out == "{}\n"


# --- lists ----------------------------------------------------------------------------------------------------------------------

PID = re.compile(r"<[^<>]+@[^<>]+\.\d+\.\d+\.\d+>")


def test_list_a_quorum_queue(ctl, channel, vhost):
    channel.queue_declare("quo", durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare("classic", durable=True)
    rows = {row[0]: row[1:] for row in ctl("list_queues", "-p", vhost, "-s", "name", "type", "leader", "members", "online").rows}
    assert rows["quo"] == ["quorum", ctl.node, f"[{ctl.node}]", f"[{ctl.node}]"]
    assert rows["classic"][0] == "classic"


def test_list_queues(ctl, channel, vhost):
    channel.queue_declare("plain")
    channel.queue_declare("odd", durable=True, arguments={"x-max-length": 100, "x-dead-letter-exchange": "dlx"})
    channel.queue_declare("mine", exclusive=True)
    channel.basic_consume("mine", lambda *_: None, exclusive=True, consumer_tag="only")
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", "plain", b"ten bytes.")
    listed = ctl("list_queues", "-p", vhost)
    assert listed.out.startswith(f"Timeout: 60.0 seconds ...\nListing queues for vhost {vhost} ...\nname\tmessages\n")
    assert sorted(listed.rows[3:]) == [["mine", "0"], ["odd", "0"], ["plain", "3"]]
    columns = ("name", "durable", "exclusive", "auto_delete", "arguments", "state", "type", "messages_ready", "message_bytes", "policy")
    rows = {row[0]: row[1:] for row in ctl("list_queues", "-p", vhost, "-s", *columns).rows}
    assert rows["plain"] == ["false", "false", "false", "[]", "running", "classic", "3", "30", ""]
    assert rows["odd"][3] == '[{"x-max-length",100},{"x-dead-letter-exchange","dlx"}]'
    assert rows["mine"][1] == "true"
    owners = {row[0]: row[1:] for row in ctl("list_queues", "-p", vhost, "-s", "name", "pid", "owner_pid", "exclusive_consumer_tag",
                                             "exclusive_consumer_pid").rows}
    assert all(PID.fullmatch(row[0]) for row in owners.values())
    connection = ctl("list_connections", "-s", "vhost", "pid").rows
    assert [vhost, owners["mine"][1]] in connection and owners["plain"][1] == ""
    shown = {row["name"]: row for row in ctl("list_queues", "-p", vhost, "--formatter", "json", "name", "arguments", "messages", "pid",
                                             "owner_pid", "policy").json}
    assert shown["odd"]["arguments"] == [["x-max-length", "signedint", 100], ["x-dead-letter-exchange", "longstr", "dlx"]]
    assert shown["plain"]["messages"] == 3 and shown["plain"]["owner_pid"] == "" and shown["plain"]["policy"] == ""
    assert re.fullmatch(r"#PID<\d+\.\d+\.\d+>", shown["plain"]["pid"])
    assert ctl("list_queues", "-p", vhost, "--offline", "-s").out == ""
    assert len(ctl("list_queues", "-p", vhost, "--offline", "--online", "-s").rows) == 3


@pytest.mark.leveret_only("RabbitMQ shows who holds an exclusive queue's consumer a statistics interval later")
def test_exclusive_consumers(ctl, channel, vhost):
    channel.queue_declare("mine", exclusive=True)
    channel.basic_consume("mine", lambda *_: None, exclusive=True, consumer_tag="only")
    row = ctl("list_queues", "-p", vhost, "-s", "exclusive_consumer_tag", "exclusive_consumer_pid").rows[0]
    assert row[0] == "only"
    assert [vhost, row[1]] in ctl("list_channels", "-s", "vhost", "pid").rows


def test_lists_of_an_unknown_vhost_are_empty(ctl):
    expect(ctl("list_queues", "-p", "nosuch"), 0, "Timeout: 60.0 seconds ...\nListing queues for vhost nosuch ...\n")
    expect(ctl("list_exchanges", "-p", "nosuch"), 0, "Listing exchanges for vhost nosuch ...\n")
    expect(ctl("list_bindings", "-p", "nosuch"), 0, "Listing bindings for vhost nosuch...\n")
    expect(ctl("list_consumers", "-p", "nosuch"), 0, "Listing consumers in vhost nosuch ...\n")
    expect(ctl("list_queues", "-p", "nosuch", "--formatter", "json"), 0, "[\n]\n")


def test_list_exchanges_and_bindings(ctl, channel, vhost):
    channel.exchange_declare("cx", "topic", arguments={"alternate-exchange": "amq.fanout"})
    channel.queue_declare("cq")
    channel.queue_bind("cq", "cx", "a.#", arguments={"h": 1})
    channel.exchange_bind("amq.fanout", "cx", "b")
    listed = ctl("list_exchanges", "-p", vhost)
    assert listed.out.startswith(f"Listing exchanges for vhost {vhost} ...\nname\ttype\n")
    assert {tuple(row) for row in listed.rows[2:]} == {
        ("", "direct"), ("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.headers", "headers"), ("amq.match", "headers"),
        ("amq.rabbitmq.trace", "topic"), ("amq.topic", "topic"), ("cx", "topic")}
    rows = ctl("list_exchanges", "-p", vhost, "-s", "name", "durable", "auto_delete", "internal", "arguments", "policy").rows
    assert ["cx", "false", "false", "false", '[{"alternate-exchange","amq.fanout"}]', ""] in rows
    assert ["amq.rabbitmq.trace", "true", "false", "true", "[]", ""] in rows
    bound = ctl("list_bindings", "-p", vhost)
    assert bound.out.startswith(f"Listing bindings for vhost {vhost}...\n"
                                "source_name\tsource_kind\tdestination_name\tdestination_kind\trouting_key\targuments\n")
    assert sorted(bound.rows[2:]) == [
        ["", "exchange", "cq", "queue", "cq", "[]"],
        ["cx", "exchange", "amq.fanout", "exchange", "b", "[]"],
        ["cx", "exchange", "cq", "queue", "a.#", '[{"h",1}]']]


def test_list_connections_and_channels(ctl, channel, vhost):
    channel.basic_qos(prefetch_count=7)
    channel.confirm_delivery()
    name = "127.0.0.1:%d -> 127.0.0.1:%d" % (channel.connection._impl._transport._sock.getsockname()[1], ctl.broker.port)
    listed = ctl("list_connections")
    assert listed.out.startswith("Listing connections ...\nuser\tpeer_host\tpeer_port\tstate\n")
    columns = ("name", "vhost", "user", "peer_host", "host", "port", "state", "protocol", "auth_mechanism", "channels", "ssl", "channel_max",
               "frame_max", "ssl_protocol")
    assert [name, vhost, "guest", "127.0.0.1", "127.0.0.1", str(ctl.broker.port), "running", "{0,9,1}", "PLAIN", "1", "false", "2047",
            "131072", ""] in ctl("list_connections", *columns).rows
    shown = [c for c in ctl("list_connections", "--formatter", "json", "name", "peer_host", "protocol", "client_properties",
                            "connected_at").json if c["name"] == name][0]
    assert shown["peer_host"] == [127, 0, 0, 1] and shown["protocol"] == [0, 9, 1]
    assert ["connection_name", "longstr", "the client"] in shown["client_properties"]
    assert abs(shown["connected_at"] / 1000 - time.time()) < 120
    listed = ctl("list_channels")
    assert listed.out.startswith("Listing channels ...\npid\tuser\tconsumer_count\tmessages_unacknowledged\n")
    columns = ("name", "number", "user", "vhost", "transactional", "confirm", "prefetch_count", "global_prefetch_count")
    assert [name + " (1)", "1", "guest", vhost, "false", "true", "7", "0"] in ctl("list_channels", *columns).rows
    pids = {row[0]: row[1:] for row in ctl("list_channels", "-s", "name", "pid", "connection").rows}[name + " (1)"]
    assert all(PID.fullmatch(pid) for pid in pids) and [name, pids[1]] in ctl("list_connections", "-s", "name", "pid").rows


def test_list_consumers(ctl, channel, vhost):
    channel.queue_declare("cq")
    channel.queue_declare("sac", arguments={"x-single-active-consumer": True})
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume("cq", lambda *_: None, consumer_tag="c1", arguments={"x-priority": 3})
    channel.basic_consume("cq", lambda *_: None, consumer_tag="c2", auto_ack=True)
    channel.basic_consume("sac", lambda *_: None, consumer_tag="s1")
    channel.basic_consume("sac", lambda *_: None, consumer_tag="s2")
    listed = ctl("list_consumers", "-p", vhost)
    assert listed.out.startswith(f"Listing consumers in vhost {vhost} ...\nqueue_name\tchannel_pid\tconsumer_tag\tack_required\t"
                                 "prefetch_count\tactive\targuments\n")
    rows = {row[2]: [row[0], *row[3:]] for row in listed.rows[2:]}
    assert rows["c1"] == ["cq", "true", "7", "true", '[{"x-priority",3}]']
    assert rows["c2"] == ["cq", "false", rows["c2"][2], "true", "[]"]
    states = {row[0]: row[1:] for row in ctl("list_consumers", "-p", vhost, "-s", "consumer_tag", "active", "activity_status").rows}
    assert states == {"c1": ["true", "up"], "c2": ["true", "up"], "s1": ["true", "single_active"], "s2": ["false", "waiting"]}
    assert all(PID.fullmatch(row[0]) for row in ctl("list_consumers", "-p", vhost, "-s", "channel_pid").rows)
    channel.basic_cancel("s1")
    states = dict(ctl("list_consumers", "-p", vhost, "-s", "consumer_tag", "active").rows)
    assert states == {"c1": "true", "c2": "true", "s2": "true"}


# --- changes --------------------------------------------------------------------------------------------------------------------


def test_purge_and_delete(ctl, channel, vhost):
    channel.queue_declare("q")
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", "q", b"x")
    refused(ctl("delete_queue", "-p", vhost, "q", "--if-empty"), 64, f"Deleting queue 'q' on vhost '{vhost}' if queue is empty ...\n",
            "Queue is not empty")
    expect(ctl("purge_queue", "-p", vhost, "q"), 0, f"Purging queue 'q' in vhost '{vhost}' ...\n")
    assert ctl("list_queues", "-p", vhost, "-s").rows == [["q", "0"]]
    channel.basic_publish("", "q", b"x")
    channel.basic_publish("", "q", b"x")
    tag = channel.basic_consume("q", lambda *_: None)
    refused(ctl("delete_queue", "-p", vhost, "-u", "q"), 64, f"Deleting queue 'q' on vhost '{vhost}' if queue is unused ...\n",
            "Queue is in use")
    channel.basic_cancel(tag)
    done = ctl("delete_queue", "-p", vhost, "q")
    assert done.status == 0 and done.out.startswith(f"Deleting queue 'q' on vhost '{vhost}' ...\nQueue was successfully deleted with ")
    assert ctl("list_queues", "-p", vhost, "-s").rows == []


def closing_reason(connection):
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            connection.process_data_events(0.2)
    except pika.exceptions.ConnectionClosed as e:
        return e.reply_code, e.reply_text
    return None


def is_open(connection):
    try:
        connection.process_data_events(0)
    except pika.exceptions.ConnectionClosed:
        pass
    return connection.is_open


def test_close_one_connection(ctl, pika_connect, vhost):
    first, second = pika_connect(virtual_host=vhost), pika_connect(virtual_host=vhost)
    port = first._impl._transport._sock.getsockname()[1]
    pid = {row[0]: row[1] for row in ctl("list_connections", "-s", "peer_port", "pid").rows}[str(port)]
    expect(ctl("close_connection", pid, "enough of you"), 0, f"Closing connection {pid}, reason: enough of you...\n")
    assert closing_reason(first) == (320, "CONNECTION_FORCED - enough of you")
    second.process_data_events(0)
    expect(ctl("close_connection", pid, "again"), 0, f"Closing connection {pid}, reason: again...\n")
    result = ctl("close_connection", "foo", "bar")
    assert result.status == 69 and result.err.endswith('Error:\n{:invalid_pid_syntax, "foo"}\n')


@pytest.mark.leveret_only("rabbitmqctl knows connections by pid only")
def test_close_one_connection_by_name(ctl, pika_connect, vhost):
    connection = pika_connect(virtual_host=vhost)
    port = connection._impl._transport._sock.getsockname()[1]
    assert ctl("close_connection", f"127.0.0.1:{port} -> 127.0.0.1:{ctl.broker.port}", "bye").status == 0
    assert closing_reason(connection) == (320, "CONNECTION_FORCED - bye")


def test_close_all_connections(ctl, pika_connect, vhost):
    elsewhere = pika_connect()
    connections = [pika_connect(virtual_host=vhost) for _ in range(3)]
    expect(ctl("close_all_connections", "-p", vhost, "--limit", "1", "--per-connection-delay", "1", "bye"), 0,
           f"Closing 1 connections in vhost {vhost}, reason: bye...\nClosed 1 connections\n")
    wait_until(lambda: sum(is_open(c) for c in connections) == 2)  # closed by both sides
    expect(ctl("close_all_connections", "-p", vhost, "bye now"), 0,
           f"Closing all connections in vhost {vhost}, reason: bye now...\nClosed 2 connections\n")
    open_ones = [c for c in connections if c.is_open]
    assert [closing_reason(c) for c in open_ones] == [(320, "CONNECTION_FORCED - bye now")] * 2
    elsewhere.process_data_events(0)


def test_close_all_connections_of_a_user(ctl, pika_connect, user):
    ctl("set_permissions", user, ".*", ".*", ".*")
    other, mine = pika_connect(), pika_connect(credentials=pika.PlainCredentials(user, "secret"))
    expect(ctl("close_all_user_connections", user, "bye"), 0, f"Closing connections of user {user}, reason: bye...\n")
    assert closing_reason(mine) == (320, "CONNECTION_FORCED - bye")
    other.process_data_events(0)


# --- state and checks -----------------------------------------------------------------------------------------------------------


def test_ping_and_running(ctl):
    node = ctl.node
    expect(ctl("ping"), 0, f"Will ping {node}. This only checks if the OS process is running and registered with epmd. "
                           "Timeout: 60000 ms.\nPing succeeded\n")
    expect(ctl("check_running"), 0, f"Checking if RabbitMQ is running on node {node} ...\n"
                                    f"RabbitMQ on node {node} is fully booted and running\n")
    expect(ctl("is_running", "--formatter", "json"), 0,
           f'{{"message":"RabbitMQ on node {node} is fully booted and running","result":true}}\n')
    expect(ctl("is_booting"), 0, f"Asking node {node} for its boot status ...\nRabbitMQ on node {node} is fully booted "
                                 "(check with is_running), stopped or has not started booting yet\n")
    expect(ctl("await_startup"), 0, "")
    assert ctl("-n", node, "list_users").status == 0
    result = ctl("-n", "nosuch@localhost", "list_users")
    assert result.status == 69 and result.err.startswith("Error: unable to perform an operation on node 'nosuch@localhost'.")


def test_alarm_checks(ctl):
    node, asking = ctl.node, f"Asking node {ctl.node} to report any local resource alarms ...\n"
    expect(ctl("check_local_alarms"), 0, asking + f"Node {node} reported no local alarms\n")
    expect(ctl("check_alarms"), 0, asking + f"Node {node} reported no alarms, local or clusterwide\n")
    expect(ctl("alarms", "--formatter", "json"), 0, f'{{"alarms":[],"node":"{node}","result":"ok"}}\n')
    expect(ctl("check_local_alarms", "--formatter", "json"), 0, '{"result":"ok"}\n')


@pytest.mark.needs_restart
@pytest.mark.leveret_only("the texts were compared by hand")
def test_alarm_checks_with_an_alarm(start_broker):
    ctl = Tool(start_broker({"vm_memory_high_watermark.absolute": "1MB"}))
    sentence = f"Memory alarm on node {ctl.node}\n"
    asking = f"Asking node {ctl.node} to report any local resource alarms ...\n"
    expect(ctl("check_local_alarms"), 69, asking, "Error:\n" + sentence)
    expect(ctl("check_alarms"), 69, asking, sentence)
    expect(ctl("alarms", "-q"), 0, sentence)
    assert ctl("status", "--formatter", "json").json["alarms"] == [sentence.strip()]
    assert "\x1b[1mAlarms\x1b[0m\n\n" + sentence in ctl("status").out


def test_listener_checks(ctl):
    node, port = ctl.node, ctl.broker.port
    listed = ctl("listeners", "--formatter", "json").json
    mine = [listener for listener in listed["listeners"] if listener["port"] == port][0]
    assert (listed["result"], listed["node"]) == ("ok", node)
    assert (mine["interface"], mine["node"], mine["protocol"]) == ("127.0.0.1", node, "amqp")
    assert f"Interface: 127.0.0.1, port: {port}, protocol: amqp, purpose: AMQP 0-9-1" in ctl("listeners").out
    expect(ctl("check_port_listener", str(port)), 0, f"Asking node {node} if there's an active listener on port {port} ...\n"
                                                     f"A listener for port {port} is running on node {node}.\n")
    missing = ctl("check_port_listener", "1")
    assert missing.status == 69
    assert missing.err.startswith(f"No listener for port 1 is active on node {node}. Found listeners that use the following ports: ")
    expect(ctl("check_protocol_listener", "amqp091"), 0,
           f"Asking node {node} if there's an active listener for protocol amqp091 ...\n"
           f"A listener for protocol amqp is running on node {node}.\n")
    missing = ctl("check_protocol_listener", "mqtt")
    assert missing.status == 69 and missing.err.startswith(f"Error:\nNo listener for protocol mqtt is active on node {node}. Found ")
    reached = ctl("check_port_connectivity")
    assert reached.status == 0 and re.search(rf"Successfully connected to ports [\d, ]*{port}[\d, ]* on node {node}\.\n", reached.out)
    expect(ctl("check_virtual_hosts"), 0,
           f"Checking if all vhosts are running on node {node} ...\nNode {node} reported all vhosts as running\n")


def test_versions(ctl):
    expect(ctl("server_version"), 0, f"Asking node {ctl.node} for its RabbitMQ version...\n3.10.8\n")
    expect(ctl("version"), 0, "3.10.8\n")


STATUS_KEYS = {
    "active_plugins", "alarms", "config_files", "crypto_lib_version", "data_directory", "disk_free", "disk_free_limit",
    "enabled_plugin_file", "erlang_version", "file_descriptors", "is_under_maintenance", "listeners", "log_files", "memory", "net_ticktime",
    "os", "pid", "processes", "product_name", "product_version", "rabbitmq_version", "raft_data_directory",
    "release_series_support_status", "run_queue", "totals", "uptime", "vm_memory_calculation_strategy", "vm_memory_high_watermark_limit",
    "vm_memory_high_watermark_setting"}


def test_status(ctl, channel):
    channel.queue_declare("q")
    text = ctl("status").out
    assert text.startswith(f"Status of node {ctl.node} ...\n\x1b[1mRuntime\x1b[0m\n\nOS PID: ")
    for title in ("Plugins", "Data directory", "Config files", "Log file(s)", "Alarms", "Memory", "File Descriptors", "Free Disk Space",
                  "Totals", "Listeners"):
        assert f"\n\x1b[1m{title}\x1b[0m\n\n" in text
    status = ctl("status", "--formatter", "json").json
    assert set(status) == STATUS_KEYS
    assert status["rabbitmq_version"] == "3.10.8" and status["os"] == "Linux"
    assert status["totals"]["connection_count"] >= 1 and status["totals"]["queue_count"] >= 1
    assert status["file_descriptors"]["total_limit"] > 0 and status["memory"]["total"]["rss"] > 0
    assert os.path.isdir(f"/proc/{status['pid']}")


def test_cluster_status(ctl):
    node = ctl.node
    text = ctl("cluster_status").out
    assert text.startswith(f"Cluster status of node {node} ...\n\x1b[1mBasics\x1b[0m\n\nCluster name: ")
    for title in ("Disk Nodes", "Running Nodes", "Versions", "Maintenance status", "Alarms", "Network Partitions", "Listeners",
                  "Feature flags"):
        assert f"\n\x1b[1m{title}\x1b[0m\n\n" in text
    status = ctl("cluster_status", "--formatter", "json").json
    assert set(status) == {"alarms", "cluster_name", "disk_nodes", "feature_flags", "listeners", "maintenance_status", "partitions",
                           "ram_nodes", "running_nodes", "versions"}
    assert status["disk_nodes"] == status["running_nodes"] == [node]
    assert status["versions"][node]["rabbitmq_version"] == "3.10.8"
    assert status["maintenance_status"] == {node: "not under maintenance"}


@pytest.mark.leveret_only("RabbitMQ's environment is Erlang's")
def test_environment(ctl, broker):
    environment = ctl("environment", "--formatter", "json").json["leveret"]
    assert environment["listeners.tcp.1"] == {"value": f"127.0.0.1:{broker.port}", "source": "-o", "reloadable": False}
    assert environment["default_pass"]["value"] == "[redacted]"
    text = ctl("environment").out
    assert text.startswith(f"Application environment of node {ctl.node} ...\n[{{leveret,[{{")
    assert '{heartbeat,<<"60">>,<<"default">>}' in text


@pytest.mark.leveret_only("RabbitMQ's report is Erlang's")
def test_report(ctl, channel, vhost):
    channel.queue_declare("reported")
    report = ctl("report")
    assert report.status == 0
    for banner in (f"Reporting server status of node {ctl.node} ...\n\n", f"Status of node {ctl.node} ...\n",
                   f"Cluster status of node {ctl.node} ...\n", f"Application environment of node {ctl.node} ...\n",
                   "Listing connections ...\n", "Listing channels ...\n", "Listing users ...\n", f"Listing queues for vhost {vhost} ...\n",
                   f"Listing bindings for vhost {vhost}...\n", f'Listing permissions for vhost "{vhost}" ...\n'):
        assert banner in report.out
    assert "\nreported\t" in report.out and "the client" in report.out


# --- the process ----------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_restart
@pytest.mark.leveret_only("RabbitMQ's log is elsewhere")
def test_log_level(start_broker, tmp_path):
    log = tmp_path / "l.log"
    ctl = Tool(start_broker({"log.file": str(log), "log.file.level": "error"}))
    expect(ctl("set_log_level", "debug"), 0, 'Setting log level to "debug" ...\n')
    wait_until(lambda: "log level is debug" in log.read_text() or connected(ctl.broker, log))
    log.rename(tmp_path / "moved.log")
    assert ctl("rotate_logs").status == 0
    wait_until(lambda: connected(ctl.broker, log))
    assert ctl("set_log_level", "none").status == 0


def connected(broker, log):
    """Makes the broker log something; True when it is in the file."""
    pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port)).close()
    return log.exists() and "accepting AMQP connection" in log.read_text()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.needs_restart
@pytest.mark.leveret_only("shutdown and wait of a private RabbitMQ node need its pid file")
def test_stop_and_wait(start_broker):
    broker = start_broker()
    ctl = Tool(broker)
    lock = os.path.join(broker.data, "lock")
    expect(ctl("wait", lock), 0,
           f"Waiting for pid file '{lock}' to appear\npid is {broker.pid}\n"
           f"Waiting for erlang distribution on node '{ctl.node}' while OS process '{broker.pid}' is running\n"
           f"Waiting for applications 'rabbit_and_plugins' to start on node '{ctl.node}'\n"
           f"Applications 'rabbit_and_plugins' are running on node '{ctl.node}'\n")
    expect(ctl("wait", "-q", "--pid", "999999999"), 69, "", "Error:\nprocess_not_running\n")
    late = ctl("wait", os.path.join(broker.data, "nosuch"), "-t", "1")
    assert late.status == 75
    assert late.err == f"Error: operation wait on node {ctl.node} timed out. Timeout value used: 1000\n"
    reaper = threading.Thread(target=broker.process.wait)  # a zombie still counts as running
    reaper.start()
    expect(ctl("stop", lock), 0, f"Stopping and halting node {ctl.node} (will monitor pid file {lock}) ...\n"
                                 f"process {broker.pid} (take from pid file {lock}) is no longer running\n")
    reaper.join(20)
    assert broker.process.returncode == 0
    unreachable = ctl("list_users")
    assert unreachable.status == 69 and unreachable.out == "Listing users ...\n"
    assert "the socket cannot be found" in unreachable.err
    assert ctl("await_startup", "--timeout", "1").status == 75


# --- a server that misbehaves ---------------------------------------------------------------------------------------------------


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("local", 0)


@contextlib.contextmanager
def fake_broker(path, answer):
    """Answers every request with answer(handler)."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.body = self.rfile.read(length)
            answer(self)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def reply(self, status, text):
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = UnixServer(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        os.unlink(path)


def control_request(broker, method, path, body):
    done = subprocess.run(["curl", "-sf", "--unix-socket", broker.socket, "-X", method, "-d", body, "http://localhost" + path], check=False)
    if done.returncode == 127:
        pytest.skip("no curl")
    assert done.returncode == 0


@pytest.mark.parametrize("method, body, status", [
    ("DELETE", '{"id":"12"}', 400), ("DELETE", '{"vhost":5}', 400), ("DELETE", '{"user":null}', 400), ("DELETE", '{"id":0}', 400),
    ("PATCH", "{}", 405), ("OPTIONS", "{}", 200),
])
def test_a_filter_that_cannot_be_read_closes_nothing(broker, pika_connect, method, body, status):
    """A wrong type must not be taken for "no filter": that would close every connection."""
    if broker.kind != "leveret":
        pytest.skip("Leveret only: the control socket")
    living = pika_connect()
    done = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--unix-socket", broker.socket, "-X", method, "-d", body,
                           "http://localhost/api/connections"], capture_output=True, text=True, check=False)
    assert done.stdout == str(status)
    living.channel()


@pytest.fixture
def fake(broker, tmp_path):
    """fake(answer, *args): one command against a server that answers like that."""
    if broker.kind != "leveret":
        pytest.skip("Leveret only: the control socket")
    path = tmp_path / "s"
    tool = Tool(broker)

    def run(answer, *args):
        with fake_broker(path, answer):
            return Result(subprocess.run([tool.prefix[0], "--socket", str(path), *args], capture_output=True, text=True, timeout=60,
                                         env=tool.env, stdin=subprocess.DEVNULL))
    return run


def test_an_answer_that_does_not_come(fake):
    def never(handler):
        if handler.path != "/api/overview":
            time.sleep(3)
        handler.reply(200, '{"node":"slow@h"}')
    result = fake(never, "-t", "1", "list_users")
    assert (result.status, result.out) == (75, "Listing users ...\n")
    assert result.err == "Error: operation list_users on node slow@h timed out. Timeout value used: 1000\n"


@pytest.mark.parametrize("status, text, told", [
    (200, "<html>", "the broker's answer is not JSON"),
    (200, "", "the broker's answer is not JSON"),
    (500, '{"error":"internal_error","reason":"out of memory"}', "out of memory"),
    (503, "", "the broker answered with HTTP status 503"),
    (404, '{"reason":7}', "the broker answered with HTTP status 404"),
    (200, "[" * 100000, "the broker's answer is not JSON"),
])
def test_answers_that_make_no_sense(fake, status, text, told):
    expect(fake(lambda handler: handler.reply(status, text), "list_users"), 69, "Listing users ...\n", f"Error:\n{told}\n")


@pytest.mark.parametrize("text", ["{}", "[1,2,null]", '[{"name":7,"tags":{"a":1}}]', '{"name":[]}', "7", '"x"', '[[]]'])
def test_json_of_another_shape(fake, text):
    """Nothing that comes from the socket makes the tool crash."""
    commands = [("list_users",), ("list_queues", "name", "pid", "arguments", "exclusive_consumer_tag", "members"), ("list_bindings",),
                ("list_connections", "peer_host", "protocol", "client_properties", "pid"), ("list_consumers", "--formatter", "erlang"),
                ("list_vhosts", "tags", "cluster_state", "--formatter", "json"), ("status",), ("status", "--formatter", "json"),
                ("cluster_status",), ("cluster_status", "--formatter", "json"), ("environment",), ("list_vhost_limits", "--global"),
                ("list_user_limits",), ("alarms",), ("listeners",), ("check_port_listener", "1"), ("check_port_connectivity",), ("report",),
                ("close_all_connections", "x"), ("list_users", "--formatter", "pretty_table")]
    for command in commands:
        for overview in (text, '{"node":"n@h","start_time":1,"listeners":' + text + "}"):
            def answer(handler):
                handler.reply(200, overview if handler.path == "/api/overview" else text)
            result = fake(answer, *command)
            assert result.status in (0, 69), (command, result.status, result.err)


def test_a_connection_that_breaks(fake):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"[")
        handler.close_connection = True
    result = fake(cut, "list_users")
    assert result.status == 69 and "nobody answers" in result.err
