"""What outlives the daemon: durable exchanges, queues, bindings, vhosts, users, permissions. And how it says goodbye."""

import signal
import subprocess

import pytest
import wire

pytestmark = pytest.mark.needs_restart

# Starting a RabbitMQ after SIGKILL, with its recovery, is RabbitMQ's business.
leveret = pytest.mark.leveret_only("stops and starts the daemon in ways RabbitMQ's scripts do not allow")


def open_channel(broker, **options):
    return wire.Conn.open(broker, **options).channel(1)


def build(broker):
    """Durable and transient things, in two vhosts."""
    broker.add_vhost("shop")
    broker.add_user("alice", "secret", "shop", ("^a", "^a", ".*"))
    broker.ctl("set_user_tags", "alice", "monitoring")
    broker.ctl("set_topic_permissions", "-p", "shop", "alice", "amq.topic", "^x", "^y")
    ch = open_channel(broker, vhost="shop")
    ch.call("exchange.declare", exchange="events", type="topic", durable=True, arguments={"alternate-exchange": "lost"})
    ch.call("exchange.declare", exchange="lost", type="fanout", durable=True, internal=True)
    ch.call("exchange.declare", exchange="passing", type="fanout")
    ch.call("queue.declare", queue="orders", durable=True, arguments={"x-max-length": 1000, "x-queue-mode": "lazy"})
    ch.call("queue.declare", queue="rest", durable=True)
    ch.call("queue.declare", queue="transient")
    ch.call("queue.declare", queue="exclusive", exclusive=True, durable=True)
    ch.call("queue.bind", queue="orders", exchange="events", routing_key="order.#")
    ch.call("queue.bind", queue="rest", exchange="lost")
    ch.call("queue.bind", queue="transient", exchange="events", routing_key="order.#")
    ch.call("queue.bind", queue="orders", exchange="amq.headers", arguments={"x-match": "any", "k": wire.T("l", 5), "n": [1, {"d": None}]})
    ch.call("exchange.bind", destination="events", source="amq.direct", routing_key="into")
    ch.call("queue.declare", queue="to-be-deleted", durable=True)
    ch.call("queue.delete", queue="to-be-deleted")
    ch.conn.close()


def missing(broker, method, **values):
    ch = open_channel(broker, vhost="shop")
    with pytest.raises(wire.Closed) as e:
        ch.call(method, passive=True, **values)
    ch.conn.abort()
    return e.value.code == 404


def check(broker):
    ch = open_channel(broker, vhost="shop")
    # equivalence checks see every property
    ch.call("exchange.declare", exchange="events", type="topic", durable=True, arguments={"alternate-exchange": "lost"})
    ch.call("exchange.declare", exchange="lost", type="fanout", durable=True, internal=True)
    ch.call("queue.declare", queue="orders", durable=True, arguments={"x-max-length": 1000, "x-queue-mode": "lazy"})
    for key in ("order.new", "unknown"):
        ch.publish("events", key, key.encode())
    ch.publish("amq.direct", "into", b"not an order")
    ch.publish("amq.headers", "", b"by header", headers={"k": 5})
    assert [ch.get("orders").body for _ in range(2)] == [b"order.new", b"by header"]
    assert [ch.get("rest").body for _ in range(2)] == [b"unknown", b"not an order"]
    ch.conn.close()
    for queue in ("transient", "exclusive", "to-be-deleted"):
        assert missing(broker, "queue.declare", queue=queue)
    assert missing(broker, "exchange.declare", exchange="passing", type="fanout")
    # the user, her password, permissions, topic permissions and tags
    with pytest.raises(wire.Closed) as e:
        open_channel(broker, vhost="shop", user="alice", password="wrong")
    assert e.value.code == 403
    alice = open_channel(broker, vhost="shop", user="alice", password="secret")
    alice.call("queue.declare", queue="a", exclusive=True)
    with pytest.raises(wire.Closed) as e:
        alice.call("queue.declare", queue="b", exclusive=True)
    assert e.value.code == 403
    alice = alice.conn.channel(2)
    with pytest.raises(wire.Closed) as e:
        alice.call("queue.bind", queue="a", exchange="amq.topic", routing_key="x")
    assert e.value.code == 403
    alice.conn.abort()
    assert "monitoring" in broker.ctl("list_users")


def test_a_restart_keeps_the_durable(start_broker):
    broker = start_broker()
    build(broker)
    if broker.kind == "rabbitmq":
        broker.ctl("stop_app")
        broker.ctl("start_app")
    else:
        broker.restart()
    check(broker)
    if broker.kind != "rabbitmq":
        broker.restart()
        check(broker)


@leveret
def test_a_crash_keeps_the_durable(start_broker):
    """Everything that was answered is there after SIGKILL."""
    broker = start_broker()
    build(broker)
    broker.kill()
    broker.start()
    check(broker)


@leveret
def test_a_crash_right_after_the_answer(start_broker):
    """Durable declares are answered only when they are stored: kill at once after each declare-ok."""
    broker = start_broker()
    for i in range(10):
        ch = open_channel(broker)
        ch.call("queue.declare", queue=f"q{i}", durable=True)
        ch.call("queue.bind", queue=f"q{i}", exchange="amq.direct", routing_key="k")
        if i % 2:
            ch.call("queue.delete", queue=f"q{i - 1}")
        broker.kill()
        broker.start()
    ch = open_channel(broker)
    ch.publish("amq.direct", "k", b"x")
    assert {q for q in range(10) if found(broker, f"q{q}")} == {1, 3, 5, 7, 9}
    for i in (1, 3, 5, 7, 9):
        assert ch.get(f"q{i}").body == b"x"
    ch.conn.close()


def found(broker, queue):
    ch = open_channel(broker)
    try:
        ch.count(queue)
        return True
    except wire.Closed as e:
        assert e.code == 404
        return False
    finally:
        ch.conn.abort()


def test_sigterm_tells_the_clients(start_broker):
    """Open connections get connection.close 320 before the sockets end."""
    broker = start_broker()
    conns = [wire.Conn.open(broker) for _ in range(5)]
    ch = conns[0].channel(1)
    ch.consume(ch.queue("", exclusive=True))
    half = wire.Conn(broker.host, broker.port)
    half.send_bytes(wire.HEADER[:3])
    broker.terminate()
    for conn in conns:
        closed = conn.drain_close(30)
        assert (closed.scope, closed.code, closed.ids) == ("connection", 320, (0, 0))
        assert closed.text == "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
        conn.expect_end()
    half.abort()


@leveret
def test_sigterm_does_not_wait_for_clients_that_do_not_answer(start_broker):
    """stop() gives it 30 s; a client that never says close-ok must not use them up."""
    broker = start_broker()
    conn = wire.Conn.open(broker)
    broker.terminate()
    assert broker.process.wait(20) == 0
    conn.abort()


@leveret
def test_two_daemons_do_not_share_a_data_directory(start_broker):
    broker = start_broker()
    argv, env = broker.command()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "in use" in done.stderr.strip().splitlines()[-1], done.stderr
    broker.assert_alive()


@leveret
def test_sighup_keeps_connections(start_broker):
    broker = start_broker()
    ch = open_channel(broker)
    broker.process.send_signal(signal.SIGHUP)
    for _ in range(20):
        ch.sync()
    broker.assert_alive()
    ch.conn.close()
