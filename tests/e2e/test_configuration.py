"""Configuration keys do what they say, in the real daemon: a real-life rabbitmq.conf, limits, the first user, SIGHUP."""

import os
import socket
import sqlite3
import subprocess
import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("what RabbitMQ does with its keys is RabbitMQ's business")]

# What people have in /etc/rabbitmq: the distribution's comments, the Docker image's and the Helm charts' lines, tuning advice.
REAL_LIFE = """
# ======================================
# RabbitMQ broker section
# ======================================
## listeners.tcp.default = 5672
num_acceptors.tcp = 10
handshake_timeout = 10000
reverse_dns_lookups = false

loopback_users.guest = false
auth_backends.1 = internal
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
default_vhost = /
default_user = guest
default_pass = guest
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*

heartbeat = 60
frame_max = 131072
initial_frame_max = 4096
channel_max = 2047
consumer_timeout = 3600000
max_message_size = 134217728

tcp_listen_options.backlog = 4096
tcp_listen_options.nodelay = true
tcp_listen_options.linger.on = true
tcp_listen_options.linger.timeout = 0
tcp_listen_options.exit_on_close = false
tcp_listen_options.sndbuf = 196608
tcp_listen_options.recbuf = 196608

vm_memory_high_watermark.relative = 0.6
vm_memory_high_watermark_paging_ratio = 0.75
vm_memory_calculation_strategy = rss
total_memory_available_override_value = 4GB
disk_free_limit.absolute = 50MB

cluster_partition_handling = pause_minority
cluster_keepalive_interval = 10000
queue_master_locator = min-masters
mirroring_sync_batch_size = 4096
net_ticktime = 60
cluster_name = orders
collect_statistics_interval = 30000
hipe_compile = false

management.tcp.port = 15672
management.tcp.ip = 127.0.0.1
management.load_balancer = x
management.rates_mode = none
prometheus.tcp.port = 15692
prometheus.return_per_object_metrics = true

log.file = false
log.console = true
log.console.level = info
log.connection.level = warning
log.exchange = false
""".replace("management.load_balancer = x\n", "")


def test_a_real_life_file_starts_leveret(configured):
    broker = configured(REAL_LIFE, start=False)
    status, text = broker.run("--check-config", "-c", broker.conf)
    assert status == 0 and text.endswith("configuration is valid\n"), text
    broker.start()
    with wire.Conn.open(broker) as conn:
        assert (conn.tune.channel_max, conn.tune.frame_max, conn.tune.heartbeat) == (2047, 131072, 60)
        assert conn.start.server_properties["cluster_name"] == "orders"
    log = broker.log()
    for key in ("num_acceptors.tcp",
                "cluster_partition_handling", "tcp_listen_options.linger.on"):
        assert f"'{key}' has no effect: " in log, key


def test_the_commented_example_is_valid(configured):
    broker = configured(start=False)
    example = os.path.join(os.path.dirname(__file__), "..", "..", "etc", "leveret.conf")
    assert broker.run("--check-config", "-c", example) == (0, "configuration is valid\n")


def eventually(step, seconds=20):
    """What SIGHUP changes reaches the other threads a moment after the log has said so."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except (AssertionError, wire.Closed):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


# -- limits ----------------------------------------------------------------------------------------------------------------


def refused(function, *args, **values):
    with pytest.raises(wire.Closed) as e:
        function(*args, **values)
    return e.value.scope, e.value.code, e.value.text


def test_limits_of_the_node(configured):
    broker = configured("cluster_queue_limit = 2\ncluster_exchange_limit = 9\nvhost_max = 2\n")
    conn = wire.Conn.open(broker)
    ch = conn.channel(1)
    ch.queue("a", durable=True)
    ch.queue("b", exclusive=True)
    assert refused(ch.queue, "c") == ("channel", 406, "PRECONDITION_FAILED - cannot declare queue 'c': queue limit in cluster (2) is reached")
    ch = conn.channel(1)
    ch.queue("a", durable=True)  # is there already
    ch.call("queue.delete", queue="b")
    ch.queue("c")
    for exchange in ("x", "y"):  # and seven predeclared ones
        ch.call("exchange.declare", exchange=exchange, type="direct")
    assert refused(ch.call, "exchange.declare", exchange="z", type="fanout") == (
        "channel", 406, "PRECONDITION_FAILED - cannot declare exchange 'z' in vhost '/': exchange limit of 9 is reached")
    ch = conn.channel(1)
    ch.call("exchange.declare", exchange="x", type="direct")
    ch.call("exchange.delete", exchange="y")
    ch.call("exchange.declare", exchange="z", type="fanout")
    broker.ctl("add_vhost", "two")  # its own exchanges are made all the same
    done = ctl(broker, "add_vhost", "three")
    assert done.returncode == 69 or done.returncode == 70
    assert "cannot create vhost 'three': vhost limit of 2 is reached" in done.stderr
    broker.ctl("delete_vhost", "two")  # with its seven exchanges
    broker.reload("cluster_queue_limit = 3\ncluster_exchange_limit = 10\nvhost_max = 3\n")
    eventually(lambda: conn.channel(9).queue("d"))
    ch.call("exchange.declare", exchange="w", type="fanout")
    assert refused(ch.queue, "e")[1] == 406
    ch = conn.channel(1)
    assert refused(ch.call, "exchange.declare", exchange="v", type="fanout")[1] == 406
    broker.ctl("add_vhost", "two")
    broker.ctl("add_vhost", "three")
    conn.close()
    broker.restart()  # what is there stays, also above the limit
    conn = wire.Conn.open(broker)
    conn.channel(1).queue("a", durable=True)
    conn.close()


def test_limits_of_connections(configured):
    broker = configured("connection_max = 2\nchannel_max_per_node = 3\nconsumer_max_per_channel = 1\n")
    one, two = wire.Conn.open(broker), wire.Conn.open(broker)
    scope, code, text = refused(wire.Conn.open, broker)
    assert (scope, code) == ("connection", 530) and "limit (2) is reached" in text
    ch = one.channel(1)
    one.channel(2)
    two.channel(1)
    scope, code, _ = refused(two.channel, 2)
    assert code == 530
    ch.queue("q")
    ch.consume("q")
    assert refused(ch.consume, "q")[1] in (406, 530)
    broker.reload("connection_max = 9\nchannel_max_per_node = infinity\nconsumer_max_per_channel = 2\n")

    def more():
        with wire.Conn.open(broker) as three:
            for number in range(1, 20):
                ch = three.channel(number)
            ch.consume("q")
            ch.consume("q")

    eventually(more)


def test_the_default_prefetch(configured):
    """default_consumer_prefetch is that of each consumer whose channel has not said otherwise."""
    broker = configured("default_consumer_prefetch = 2\n")
    with wire.Conn.open(broker) as conn:
        ch, other = conn.channel(1), conn.channel(2)
        q = ch.queue("", exclusive=True)
        for n in range(12):
            ch.publish("", q, b"%d" % n)
        ch.consume(q, tag="one")
        assert [ch.deliver().body for _ in range(2)] == [b"0", b"1"]
        ch.consume(q, tag="two")  # each has its own
        assert [ch.deliver().consumer_tag for _ in range(2)] == ["two", "two"]
        assert ch.count(q)[0] == 8  # no more went out before this answer
        ch.send("basic.ack", delivery_tag=1)
        assert ch.deliver().body == b"4"
        ch.call("basic.qos", prefetch_count=3)  # of consumers from now on
        ch.consume(q, tag="three")
        assert [ch.deliver().consumer_tag for _ in range(3)] == ["three"] * 3
        assert ch.count(q)[0] == 4
        other.call("basic.qos", prefetch_count=0)  # none
        other.consume(q)
        assert [other.deliver().body for _ in range(4)] == [b"8", b"9", b"10", b"11"]


@pytest.mark.parametrize("name", ["quorum", "rabbit_quorum_queue", "classic"])
def test_the_default_queue_type(configured, name):
    """Of virtual hosts without one of their own, where a queue can be of that type."""
    broker = configured(f"default_queue_type = {name}\n")
    kind = "classic" if name == "classic" else "quorum"
    broker.add_vhost("own")
    broker.ctl("add_vhost", "typed", "--default-queue-type", "classic" if kind == "quorum" else "quorum")
    broker.ctl("set_permissions", "-p", "typed", "guest", ".*", ".*", ".*")

    def types(vhost):
        with wire.Conn.open(broker, vhost=vhost) as conn:
            ch = conn.channel(1)
            ch.queue("q", durable=True)
            ch.queue("transient")
            ch.queue("named", durable=True, arguments={"x-queue-type": "classic"})
            ch.queue("gone with its consumer", durable=True, auto_delete=True)
            ch.queue("q", durable=True)  # means the same again
            rows = broker.ctl("list_queues", "-q", "-p", vhost, "name", "type").strip().split("\n")[1:]
            return dict(row.split("\t") for row in rows)

    others = {"transient": "classic", "named": "classic", "gone with its consumer": "classic"}
    for vhost in ("/", "own"):
        assert types(vhost) == {"q": kind, **others}
    assert types("typed") == {"q": "classic" if kind == "quorum" else "quorum", **others}


def test_a_quorum_queue_declared_again_as_a_classic_one(configured):
    key = "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration"
    quorum, classic = {"x-queue-type": "quorum"}, {"x-queue-type": "classic"}
    broker = configured()

    def inequivalent(ch, **options):
        scope, code, text = refused(ch.queue, "q", durable=True, **options)
        assert (scope, code) == ("channel", 406) and "inequivalent arg" in text

    def declare():
        with wire.Conn.open(broker) as conn:
            conn.channel(1).queue("q", durable=True, arguments={**quorum, "x-max-length": 5})
            inequivalent(conn.channel(2), arguments={**classic, "x-max-length": 6})
            inequivalent(conn.channel(3), auto_delete=True, arguments={**classic, "x-max-length": 5})
            return conn.channel(4).queue("q", durable=True, arguments={**classic, "x-max-length": 5})

    assert "received 'classic' but current is 'quorum'" in refused(declare)[2]
    broker.stop()
    broker.write(f"{key} = true\n")
    broker.start()
    assert declare() == "q"
    rows = broker.ctl("list_queues", "-q", "name", "type").strip().split("\n")
    assert rows[1:] == ["q\tquorum"], rows
    with wire.Conn.open(broker) as conn:
        inequivalent(conn.channel(1), arguments={"x-max-length": 5})  # who names no type is told
        conn.channel(2).queue("c", durable=True)
        scope, code, text = refused(conn.channel(3).queue, "c", durable=True, arguments=quorum)
        assert code == 406, "not the other way round"


def test_the_handshake_timeout(configured):
    broker = configured("handshake_timeout = 300\n")

    def seconds_until_end():
        start = time.monotonic()
        with socket.create_connection((broker.host, broker.port)) as s:
            s.settimeout(30)
            while s.recv(1000):
                pass
        return time.monotonic() - start

    assert 0.2 < seconds_until_end() < 3
    broker.reload("handshake_timeout = 1500\n")

    def is_longer():
        assert 1.2 < seconds_until_end() < 5

    eventually(is_longer)


def test_unauthenticated_connections(configured):
    broker = configured("max_unauthenticated_connections = 4\nhandshake_timeout = infinity\nworkers = 1\n")
    held = [socket.create_connection((broker.host, broker.port)) for _ in range(8)]
    broker.wait_log("too many connections that have not logged in")
    wire.Conn.open(broker).close()
    for s in held:
        s.close()


# -- users -----------------------------------------------------------------------------------------------------------------


def ctl(broker, *args):
    prefix, env = broker.ctl_command()
    return subprocess.run([*prefix, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_the_first_user(configured):
    broker = configured("default_vhost = shop\ndefault_user = alice\ndefault_pass = secret\n"
                        "default_user_tags.monitoring = true\ndefault_user_tags.policymaker = true\n"
                        "default_permissions.configure = ^c\ndefault_permissions.write = ^w\ndefault_permissions.read = ^r\n", start=False)
    broker.user, broker.password = "alice", "secret"
    broker.start()
    users = broker.ctl("-q", "list_users")
    assert "alice" in users and "monitoring" in users and "policymaker" in users
    assert "administrator" not in users and "guest" not in users
    assert broker.ctl("-q", "list_permissions", "-p", "shop").split()[-4:] == ["alice", "^c", "^w", "^r"]
    conn = wire.Conn.open(broker, vhost="shop")
    conn.channel(1).queue("c1")
    assert refused(conn.channel(2).queue, "x1")[1] == 403
    conn.close()
    assert refused(wire.Conn.open, broker, vhost="/")[1] == 530
    # Of a store that is there already nothing is changed.
    broker.write("default_vhost = other\ndefault_user = bob\n")
    broker.restart()
    assert "bob" not in broker.ctl("list_users") and "other" not in broker.ctl("list_vhosts")


def test_no_tags_at_all(configured):
    broker = configured("default_user_tags.administrator = false\n")
    assert "[]" in broker.ctl("-q", "list_users")


@pytest.mark.parametrize("seconds", [0.001 * 2**i for i in range(9)])
def test_a_first_start_that_did_not_come_to_its_end(configured, seconds):
    """Killed at any moment: the next start finds a store with the first user in it, or makes him."""
    broker = configured(start=False)
    argv, env = broker.command()
    with open(broker.log_path, "ab") as log:
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    time.sleep(seconds)
    process.kill()
    process.wait()
    broker.start()
    wire.Conn.open(broker).close()


def test_a_store_without_its_first_user_is_a_new_one(configured):
    """As a start leaves it that was killed before its first commit. But who deletes everything does not get guest back."""
    broker = configured()
    broker.stop()
    with sqlite3.connect(os.path.join(broker.data, "meta.sqlite")) as db:
        for table in ("users", "vhosts", "permissions", "exchanges", "numbers"):
            db.execute(f"DELETE FROM {table}")
    db.close()
    broker.start()
    wire.Conn.open(broker).close()
    broker.ctl("delete_vhost", "/")
    broker.ctl("delete_user", "guest")
    broker.restart()
    assert refused(wire.Conn.open, broker)[1] == 403


VALIDATORS = {
    "min": ("credential_validator.validation_backend = rabbit_credential_validator_min_password_length\ncredential_validator.min_length = 12\n",
            "short", "long enough for it", "minimum required password length is 12"),
    "regexp": ("credential_validator.validation_backend = rabbit_credential_validator_password_regexp\n"
               "credential_validator.regexp = ^[a-z]+[0-9]{3}$\n",
               "abc12", "abc123", "provided password does not match the validator regular expression"),
}


@pytest.mark.parametrize("kind", VALIDATORS)
def test_which_passwords_users_may_have(configured, kind):
    conf, bad, good, text = VALIDATORS[kind]
    broker = configured(conf + f"default_pass = {good}\n", start=False)
    broker.password = good
    broker.start()
    for command in ("add_user", "change_password"):
        done = ctl(broker, command, "u", bad)
        assert done.returncode in (65, 69, 70) and text in done.stderr, done
        assert text in ctl(broker, command, "u", "").stderr
        broker.ctl(command, "u", good)
    broker.ctl("clear_password", "u")  # no password is no bad password
    assert broker.ctl("list_users").count("u") >= 1


def test_a_first_password_that_the_validator_refuses(configured):
    broker = configured(VALIDATORS["min"][0], start=False)
    listen = f"listeners.tcp.1=127.0.0.1:{broker.port}"
    status, text = broker.run("-c", broker.conf, "-d", broker.data, "-o", listen)
    assert (status, text.splitlines()[-1]) == (78, "leveretd: default_pass: minimum required password length is 12")
    broker.write(VALIDATORS["regexp"][0].replace("^", "("))
    status, text = broker.run("-c", broker.conf, "-d", broker.data, "-o", listen)
    assert status == 78 and "credential_validator.regexp: invalid regular expression: " in text


# -- reload ----------------------------------------------------------------------------------------------------------------


def test_sighup_takes_over_what_can_be(configured):
    broker = configured("heartbeat = 33\nlog.console.level = info\nlog.connection.level = warning\nmax_message_size = 1000\nframe_max = 8192\n")
    old = wire.Conn.open(broker)
    assert old.tune.heartbeat == 33
    start = len(broker.log())
    wire.Conn.open(broker).close()
    assert "accepting AMQP connection" not in broker.log()[start:]
    told = broker.reload("heartbeat = 44\nlog.connection.level = debug\nmax_message_size = 100\nframe_max = 16384\n")
    assert "'heartbeat': 33 -> 44" in told
    assert "'frame_max': 8192 -> 16384, which needs a restart" in told
    start = len(broker.log())

    def is_taken_over():
        with wire.Conn.open(broker) as conn:
            assert (conn.tune.heartbeat, conn.tune.frame_max) == (44, 8192)
            ch = conn.channel(1)
            ch.publish("amq.fanout", "", b"x" * 101)
            assert refused(ch.sync)[:2] == ("channel", 406)

    eventually(is_taken_over)
    broker.wait_log("accepting AMQP connection", start=start)
    old.channel(1).sync()  # an open connection has noticed nothing

    def is_shown():
        assert "44" in [line for line in broker.ctl("environment").splitlines() if "heartbeat" in line][0]

    eventually(is_shown)
    old.close()


def proposes(broker, heartbeat):
    with wire.Conn.open(broker) as conn:
        assert conn.tune.heartbeat == heartbeat


def test_a_bad_file_changes_nothing(configured):
    broker = configured("heartbeat = 33\n")
    told = broker.reload("heartbeat = 44\nhartbeat = 7\n", expect="the one in force stays")
    assert "unknown key 'hartbeat'" in told
    with wire.Conn.open(broker) as conn:
        assert conn.tune.heartbeat == 33
    broker.reload("heartbeat = 44\n")
    eventually(lambda: proposes(broker, 44))


def test_sighup_reopens_the_log_file(configured, tmp_path):
    path = tmp_path / "leveret.log"
    broker = configured(f"log.file = {path}\nlog.console = true\n")
    assert "node " in path.read_text()
    path.rename(tmp_path / "leveret.log.1")
    broker.reload(f"log.file = {path}\nlog.console = true\nlog.file.formatter = json\n")
    wire.Conn.open(broker).close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (path.exists() and "accepting AMQP" in path.read_text()):
        time.sleep(0.02)
    assert path.read_text().splitlines()[-1].startswith("{")


def test_many_reloads_under_load(configured):
    """Settings are freed only when every worker has taken the next ones: connections come and go meanwhile."""
    broker = configured("workers = 3\n")
    for i in range(40):
        broker.write(f"heartbeat = {30 + i}\nloopback_users.u{i} = true\nworkers = 3\n")
        broker.process.send_signal(1)
        with wire.Conn.open(broker) as conn:
            assert 30 <= conn.tune.heartbeat <= 69
            conn.channel(1).sync()
    broker.wait_log("(?s)(configuration: reloaded.*){3}")
    broker.reload("heartbeat = 99\nworkers = 3\n")
    eventually(lambda: proposes(broker, 99))
