"""leveretctl over the HTTP API, as a user, from anywhere; and by the names of RabbitMQ's tools."""

import json
import os
import subprocess

import pytest

pytestmark = [pytest.mark.needs_admin, pytest.mark.leveret_only("RabbitMQ's tools speak Erlang's own protocol")]


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


@pytest.fixture
def tool(broker):
    return broker.ctl_command()[0][0]


@pytest.fixture
def run(broker, tool):
    """run("list_users", "-q") asks the HTTP API; program="rabbitmqctl" calls it by another name; local=True uses the socket."""
    def call(*args, program=None, local=False, stdin="", **env):
        where = ["--socket", broker.socket] if local else ["-n", f"http://{broker.host}:{broker.http_port}"]
        env = {"PATH": os.environ["PATH"], "HOME": broker.dir, **env}
        return Result(subprocess.run([program or "leveretctl", *where, *args], executable=tool, env=env, input=stdin, capture_output=True,
                                     text=True, timeout=120))
    return call


@pytest.fixture
def user(run, name):
    user = name("u")
    assert run("add_user", user, "secret", local=True).status == 0
    yield user
    run("delete_user", user, local=True)


# --- over HTTP ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ping", "status", "cluster_status", "check_running", "list_users", "list_queues", "list_exchanges",
                                     "list_permissions", "list_vhosts", "list_connections", "listeners", "report", "list_global_parameters",
                                     "memory_breakdown", "list_feature_flags", "check_port_connectivity", "check_local_alarms"])
def test_what_the_socket_says_http_says_too(run, command):
    http, local = run(command, "-q"), run(command, "-q", local=True)
    assert (http.status, http.err) == (0, "") == (local.status, local.err)
    if command in ("list_users", "list_queues", "list_exchanges", "list_permissions", "list_vhosts", "listeners"):
        assert http.out == local.out


def test_changes_over_http(run, name):
    user, vhost = name("u"), name("v")
    assert run("add_user", user, "one").status == 0
    again = run("add_user", user, "two")
    assert (again.status, again.err) == (70, f'Error:\nUser "{user}" already exists\n')
    assert run("set_user_tags", user, "management", "x").status == 0
    assert run("authenticate_user", user, "one", local=True).status == 0  # tags were changed, not the password
    assert run("change_password", user, "three").status == 0
    assert [user, "[management, x]"] in [line.split("\t") for line in run("list_users", "-q").out.splitlines()]
    assert run("authenticate_user", user, "three").status == 0
    wrong = run("authenticate_user", user, "one")
    assert (wrong.status, wrong.err) == (65, f"Error:\nError: failed to authenticate user \"{user}\"\nuser '{user}' - invalid credentials\n")
    assert run("add_vhost", vhost, "--description", "what for", "--tags", "a").status == 0
    assert run("add_vhost", vhost, "--description", "other").status == 0
    assert run("set_vhost_tags", vhost, "b", "c").status == 0
    assert f"{vhost}\twhat for\t[b, c]\n" in run("list_vhosts", "name", "description", "tags").out
    assert run("set_permissions", "-p", vhost, user, ".*", ".*", ".*").status == 0
    assert run("trace_on", "-p", vhost).status == 0
    assert run("delete_vhost", vhost).status == 0
    assert run("delete_user", user).status == 0
    gone = run("change_password", user, "x")
    assert (gone.status, gone.err) == (67, f'Error:\nUser "{user}" does not exist\n')
    assert run("set_vhost_tags", vhost, "x").status == 65


@pytest.mark.parametrize("command", [("environment",), ("stop",), ("shutdown",), ("set_log_level", "debug"), ("rotate_logs",), ("log_tail",)])
def test_what_only_the_socket_can_do_is_refused(run, command):
    result = run(*command)
    assert (result.status, result.out) == (69, "")
    assert result.err == f"Error:\n{command[0]} works over the control socket only, on the node's own machine\n"


def test_connections_are_closed_by_pid_and_by_user(run, pika_connect, user):
    assert run("set_permissions", user, ".*", ".*", ".*", local=True).status == 0
    import pika
    for close in (lambda pid: ("close_connection", pid, "bye"), lambda pid: ("close_all_user_connections", user, "bye")):
        connection = pika_connect(credentials=pika.PlainCredentials(user, "secret"))
        rows = [line.split("\t") for line in run("list_connections", "-s", "pid", "user").out.splitlines()]
        (pid,) = [pid for pid, name in rows if name == user]
        assert run(*close(pid)).status == 0
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            while True:
                connection.process_data_events(time_limit=60)
        assert closed.value.reply_code == 320 and "bye" in closed.value.reply_text
    assert run("close_connection", "<rabbit@host.1.999999.0>", "bye").status == 0


def test_passwords(run, user, broker, tmp_path):
    assert run("set_user_tags", user, "administrator", local=True).status == 0
    path = tmp_path / "password"
    path.write_text("secret\n")
    assert run("list_users", "--username", user, "--password", "secret").status == 0
    assert run("list_users", "--username", user, "--password-file", str(path)).status == 0
    assert run("list_users", LEVERET_USERNAME=user, LEVERET_PASSWORD="secret").status == 0
    assert run("list_users", LEVERET_USERNAME=user, LEVERET_PASSWORD_FILE=str(path)).status == 0
    asked = run("list_users", "--username", user, stdin="secret\n")
    assert asked.status == 0 and asked.err == "Password: \n"
    wrong = run("list_users", "--username", user, "--password", "s3same")
    assert (wrong.status, wrong.err) == (69, "Error:\nLogin failed\n") and "s3same" not in wrong.out + wrong.err
    none = run("list_users", "--username", user)
    assert none.status == 69 and "no password" in none.err
    # Nor does a refusal of the command line repeat it.
    assert "s3same" not in run("list_queues", "nosuch", "--password", "s3same").err


def test_nobody_there(run, free_port_number):
    result = run("-n", f"http://127.0.0.1:{free_port_number}", "list_users")
    assert result.status == 69
    assert f"  * HTTP API: http://127.0.0.1:{free_port_number}\n" in result.err
    assert run("-n", "amqp://localhost", "ping").err == "Error: a URL begins with http:// or https://\n"


@pytest.fixture
def free_port_number():
    from harness.broker import free_port
    return free_port()


# --- names ----------------------------------------------------------------------------------------------------------------------


def test_the_names_of_rabbitmqs_tools(run, broker):
    for program in ("rabbitmqctl", "rabbitmq-diagnostics", "rabbitmq-queues"):
        assert run("-q", "ping", program=f"/usr/sbin/{program}", local=True).out == "Ping succeeded\n"
        assert f"Usage\033[0m\n\n{program} [--node" in run("list_queues", "nosuch", program=program, local=True).err
    listed = run("list", "-m", "-q", program="rabbitmq-plugins", local=True)
    assert listed.status == 0 and "rabbitmq_management\n" in listed.out and "rabbitmq_mqtt\n" in listed.out
    assert "rabbitmq_mqtt\n" not in run("list", "-m", "-q", "-e", program="rabbitmq-plugins", local=True).out
    assert "rabbitmq_web_dispatch\n" not in run("list", "-m", "-q", "-E", program="rabbitmq-plugins", local=True).out
    assert run("enable", "rabbitmq_management", "rabbitmq_prometheus", "--offline", program="rabbitmq-plugins", local=True).status == 0
    refused = run("enable", "rabbitmq_management", "rabbitmq_mqtt", program="rabbitmq-plugins", local=True)
    assert (refused.status, refused.err.splitlines()[:2]) == (70, ["Error:", "{:plugins_not_found, [:rabbitmq_mqtt]}"])
    assert run("is_enabled", "rabbitmq_management", program="rabbitmq-plugins", local=True).status == 0
    assert run("is_enabled", "rabbitmq_mqtt", program="rabbitmq-plugins", local=True).status == 69
    assert run("list_queues", program="rabbitmq-plugins", local=True).status == 64
    assert run("plugins", "list", "-m", "-q", local=True).out == listed.out
    plugins = json.loads(run("list", "--formatter", "json", program="rabbitmq-plugins", local=True).out)
    (management,) = [p for p in plugins["plugins"] if p["name"] == "rabbitmq_management"]
    assert (management["enabled"], management["running"], "".join(map(chr, management["version"]))) == ("enabled", True, "3.10.8")


def test_plugins_need_no_broker(run, tmp_path):
    result = run("enable", "--offline", "rabbitmq_management", "--socket", str(tmp_path / "none"), program="rabbitmq-plugins", local=True)
    assert result.status == 0 and "rabbitmq_management" in result.out


# --- a cluster of one node --------------------------------------------------------------------------------------------------------


def test_clusters_of_one_node(run, broker, pika_connect, name):
    node = json.loads(run("status", "--formatter", "json", local=True).out)["listeners"][0]["node"]
    queue = name("q")
    channel = pika_connect().channel()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    for status, *command in ((0, "await_online_nodes", "1"), (70, "await_online_nodes", "2"), (69, "forget_cluster_node", "rabbit@nosuch"),
                             (0, "start_app"), (69, "stop_app"), (69, "join_cluster", "rabbit@x"), (0, "rebalance", "all"),
                             (0, "quorum_status", queue), (69, "quorum_status", "nosuch"), (0, "add_member", queue, node),
                             (69, "add_member", queue, "rabbit@x"), (69, "delete_member", queue, node), (0, "grow", node, "all"),
                             (69, "sync_queue", queue), (0, "check_if_node_is_quorum_critical"), (0, "restart_vhost"),
                             (0, "list_unresponsive_queues"), (64, "enable_feature_flag", "nosuch"), (0, "enable_feature_flag", "all"),
                             (65, "await_online_nodes", "x"), (65, "rebalance", "x"), (0, "node_health_check"), (0, "erlang_version")):
        assert (command, run(*command, local=True).status) == (command, status)
    assert f"{node}\tleader\t" in run("quorum_status", queue, local=True).out
    absent = run("force_gc", local=True)
    assert absent.err == "Error:\nLeveret has no command 'force_gc': there is no garbage collector.\n"
    channel.queue_delete(queue)


# --- parameters -------------------------------------------------------------------------------------------------------------------


def test_parameters(run, name):
    parameter = name("p")
    assert run("set_global_parameter", parameter, '{"a":[1,"x"]}').out == f'Setting global runtime parameter "{parameter}" to "{{"a":[1,"x"]}}" ...\n'
    assert f'{parameter}\t{{"a":[1,"x"]}}\n' in run("list_global_parameters").out
    assert run("set_global_parameter", parameter, "{").err == "Error:\nJSON decoding error. Reason: badarg\n"
    assert run("clear_global_parameter", parameter).status == 0
    gone = run("clear_global_parameter", parameter)
    assert (gone.status, gone.err) == (69, "Error:\nParameter does not exist\n")
    unknown = run("set_parameter", "nocomp", "x", "{}")
    assert unknown.status == 69 and unknown.err.startswith("Error:\nValidation failed\n\ncomponent nocomp not found\n")
    assert run("clear_parameter", "nocomp", "x").err == "Error:\nParameter does not exist\n"


# --- top --------------------------------------------------------------------------------------------------------------------------


def test_top_in_a_pipe(run, pika_connect, name):
    queue = name("q")
    channel = pika_connect().channel()
    channel.queue_declare(queue)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    channel.queue_declare(queue, passive=True)
    shown = run("top", "--once", "--sort", "ready", "--limit", "1000")
    assert (shown.status, shown.err) == (0, "")
    (row,) = [line.split() for line in shown.out.splitlines() if line.startswith(queue)]
    assert row[1:4] == ["3", "0", "0"]
    assert "\nCONNECTIONS" in shown.out and "\033" not in shown.out
    as_json = json.loads(run("top", "queues", "--once", "--limit", "1000", "--formatter", "json").out)
    (entry,) = [q for q in as_json["queues"] if q["name"] == queue]
    assert entry["messages_ready"] == 3 and entry["in/s"] == 0
    assert run("top", "nosuch").status == 65
    assert run("top", "--sort", "nosuch").status == 65


# --- completion -------------------------------------------------------------------------------------------------------------------

COMPLETION = os.path.join(os.path.dirname(__file__), "../../etc/leveretctl.bash")


@pytest.mark.parametrize("words, offered", [
    (["leveretctl", "list_qu"], ["list_queues"]),
    (["rabbitmqctl", "-n", "rabbit@host", "list_qu"], ["list_queues"]),
    (["leveretctl", "list_queues", "name", "messages_ready_"], ["messages_ready_ram"]),
    (["leveretctl", "list_queues", "--off"], ["--offline"]),
    (["leveretctl", "list_users", "--off"], []),
    (["leveretctl", "--formatter", "cs"], ["csv"]),
    (["leveretctl", "plugins", "en"], ["enable"]),
    (["rabbitmq-plugins", "is"], ["is_enabled"]),
    (["leveretctl", "reasons", "t"], ["totals"]),
])
def test_completion_in_bash(words, offered):
    script = f'. {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _leveretctl "$1"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_completion_asks_the_broker(run, tool, broker, name, pika_connect):
    queue = name("completed")
    channel = pika_connect().channel()
    channel.queue_declare(queue)
    script = f'. {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _leveretctl "$1"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", tool, "purge_queue", queue[:-1]], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LEVERET_SOCKET": broker.socket}, check=True)
    assert queue in done.stdout.split()
    channel.queue_delete(queue)


# --- policy explain ---------------------------------------------------------------------------------------------------------------


def test_policies_are_explained(run, pika_connect, name):
    queue, user, operator = name("q"), name("user"), name("operator")
    channel = pika_connect().channel()
    channel.queue_declare(queue, arguments={"x-message-ttl": 5000, "x-max-length": 10, "x-max-priority": 3})
    definition = '{"message-ttl":9000,"max-length":5,"dead-letter-exchange":"dead","expires":100000}'
    assert run("set_policy", "--priority", "7", user, f"^{queue}$", definition, "--apply-to", "queues").status == 0
    assert run("set_operator_policy", operator, f"^{queue}$", '{"expires":90000}', "--apply-to", "queues").status == 0
    try:
        by_user, by_operator = f"policy '{user}' (pattern ^{queue}$, priority 7)", f"operator policy '{operator}' (pattern ^{queue}$, priority 0)"
        explained = [tuple(line.split("\t")) for line in run("policy", "explain", queue, "-s").out.splitlines()]
        assert sorted(explained) == sorted([
            ("dead-letter-exchange", '"dead"', by_user, ""), ("expires", "90000", by_operator, ""),
            ("max-length", "5", by_user, "smaller than the argument x-max-length"),
            ("message-ttl", "9000", by_user, "the argument x-message-ttl wins"),
            ("x-message-ttl", "5000", "argument", ""), ("x-max-length", "10", "argument", ""), ("x-max-priority", "3", "argument", ""),
        ])
        assert run("policy", "explain", "nosuch").err == "Error:\nnot_found\n"
        assert run("policy", "nosuch", queue).status == 65
    finally:
        run("clear_policy", user)
        run("clear_operator_policy", operator)
        channel.queue_delete(queue)


# --- messages ---------------------------------------------------------------------------------------------------------------------


def test_messages_are_found_and_moved(run, pika_connect, name):
    import pika
    source, target = name("source"), name("target")
    channel = pika_connect().channel()
    channel.confirm_delivery()
    for queue in (source, target):
        channel.queue_declare(queue)
    for i in range(5):
        properties = pika.BasicProperties(message_id=f"m{i}", headers={"parity": "odd" if i % 2 else "even"})
        channel.basic_publish("", source, f"body {i}".encode(), properties)

    def found(*words):
        shown = run("messages", "find", *words, "--formatter", "json")
        assert (shown.status, shown.err) == (0, "")
        return [(m["position"], m["message_id"], m["payload"], m["redelivered"]) for m in json.loads(shown.out)]

    assert found(source) == [(i + 1, f"m{i}", f"body {i}", False) for i in range(5)]
    assert found(source, "header.parity=odd") == [(2, "m1", "body 1", False), (4, "m3", "body 3", False)]
    assert found(source, "header.parity=odd", "body=3") == [(4, "m3", "body 3", False)]
    assert found(source, "--limit", "2") == [(1, "m0", "body 0", False), (2, "m1", "body 1", False)]
    assert "body 2" in run("messages", "peek", source, "3").out
    beyond = run("messages", "peek", source, "6")
    assert (beyond.status, beyond.err) == (69, "Error:\nthere is no message at position 6\n")
    moved = run("messages", "move", source, target, "header.parity=odd")
    assert (moved.status, moved.out.splitlines()[-1]) == (0, "Moved 2 messages")
    assert [m[1] for m in found(source)] == ["m0", "m2", "m4"] and [m[1] for m in found(target)] == ["m1", "m3"]
    assert run("messages", "move", source, "--exchange", "", "--routing-key", target, "--limit", "1", "-q").out.startswith("Moved 1 messages")
    assert [m[1] for m in found(target)] == ["m1", "m3", "m0"]
    nowhere = run("messages", "move", source, name("nosuch"))
    assert nowhere.status == 69 and "no queue" in nowhere.err
    assert [m[1] for m in found(source)] == ["m2", "m4"]
    assert run("messages", "find", name("nosuch")).err == "Error:\nnot_found\n"
    for wrong in (("nosuch", source), ("find", source, "word"), ("peek", source, "0"), ("peek", source, "x")):
        assert run("messages", *wrong).status == 65
    assert run("messages", "move", source).status == 64
    for queue in (source, target):
        channel.queue_delete(queue)


def test_dead_letters_are_replayed(run, pika_connect, name):
    source, dead = name("source"), name("dead")
    channel = pika_connect().channel()
    channel.queue_declare(dead)
    channel.queue_declare(source, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    channel.confirm_delivery()
    for i in range(3):
        channel.basic_publish("", source, b"%d" % i)
        method, _, _ = channel.basic_get(source)
        channel.basic_nack(method.delivery_tag, requeue=False)
    channel.basic_publish("", dead, b"never died")
    replayed = run("messages", "replay", dead, "-q")
    assert replayed.status == 0 and replayed.out.startswith("Moved 3 messages")
    assert [channel.basic_get(source, auto_ack=True)[2] for _ in range(3)] == [b"0", b"1", b"2"]
    assert channel.basic_get(dead, auto_ack=True)[2] == b"never died"
    for queue in (source, dead):
        channel.queue_delete(queue)
