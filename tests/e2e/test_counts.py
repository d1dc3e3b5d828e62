"""Delivery counts and limits outlive the daemon; quorum queues keep what was published as transient."""

import pytest
import wire

pytestmark = [pytest.mark.needs_restart,
              pytest.mark.leveret_only("kills the daemon in ways RabbitMQ's scripts do not allow, and classic queues have no limit there")]

LIMIT = {"x-delivery-limit": 5}
QUORUM = {"x-queue-type": "quorum"}


def open_channel(broker, **options):
    return wire.Conn.open(broker, **options).channel(1)


def count_of(method):
    count = method.props.get("headers", {}).get("x-delivery-count")
    return 0 if count is None else count.value


def publish(ch, queue, count, body=b"x" * 100, **props):
    ch.call("confirm.select")
    for i in range(count):
        ch.publish("", queue, b"%d " % i + body, **{"delivery_mode": 2, **props})
    acked = 0
    while acked < count:
        acked = ch.expect("basic.ack").delivery_tag


def give_back(ch, queue, count, times=1):
    """Each of the first messages comes back so often."""
    for _ in range(times):
        got = [ch.get(queue, no_ack=False) for _ in range(count)]
        ch.send("basic.nack", delivery_tag=got[-1].delivery_tag, multiple=True, requeue=True)
    ch.sync()


def durable_publish(ch, queue):
    """A confirmed publish to another queue, on the same log: what was written before it is durable too."""
    ch.call("queue.declare", queue=queue, durable=True)
    ch.publish("", queue, b"mark", delivery_mode=2)
    ch.expect("basic.ack")


def counts(ch, queue, count):
    got = [ch.get(queue, no_ack=False) for _ in range(count)]
    result = [(int(m.body.split()[0]), count_of(m)) for m in got]
    return result, got[-1].delivery_tag


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_counts_go_on_after_a_restart(start_broker, end, kind):
    broker = start_broker({"workers": 1})
    arguments = {**LIMIT, **(QUORUM if kind == "quorum" else {})}
    ch = open_channel(broker)
    ch.call("queue.declare", queue="q", durable=True, arguments=arguments)
    publish(ch, "q", 10)
    give_back(ch, "q", 10, 2)
    give_back(ch, "q", 3, 1)
    durable_publish(ch, "mark")
    for life in range(2):
        ch.conn.abort()
        broker.stop() if end == "stop" else broker.kill()
        broker.start()
        ch = open_channel(broker)
        # Counts of get's go back with the connection, which counts as well, unless the process dies first.
        got, tag = counts(ch, "q", 10)
        more = life
        assert got == [(i, 2 + (i < 3) + more) for i in range(10)]
        ch.send("basic.nack", delivery_tag=tag, multiple=True, requeue=True)
        ch.call("confirm.select")
        ch.sync()
        durable_publish(ch, "mark")
    give_back(ch, "q", 3, 1)
    assert counts(ch, "q", 7)[0] == [(i, 4) for i in range(3, 10)]
    ch.conn.abort()


def test_counts_of_a_deep_backlog(start_broker):
    """The log comes round several times; the messages that came back lie in files, their counts in the state of the queue."""
    broker = start_broker({"workers": 1})
    ch = open_channel(broker)
    ch.call("queue.declare", queue="q", durable=True, arguments=LIMIT)
    ch.call("queue.declare", queue="other", durable=True)
    publish(ch, "q", 200, b"x" * 5000)
    give_back(ch, "q", 100, 3)
    publish(ch, "other", 4000, b"y" * 10000)  # what is in the ring goes to files
    give_back(ch, "q", 50, 1)
    publish(ch, "other", 4000, b"z" * 10000)  # what the log knew of counts goes to the state
    ch.conn.abort()
    broker.kill()
    broker.start()
    ch = open_channel(broker)
    assert counts(ch, "q", 200)[0] == [(i, 4 if i < 50 else 3 if i < 100 else 0) for i in range(200)]
    ch.conn.abort()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_quorum_queue_keeps_transient_messages(start_broker, end):
    broker = start_broker()
    ch = open_channel(broker)
    ch.call("queue.declare", queue="quo", durable=True, arguments=QUORUM)
    ch.call("queue.declare", queue="classic", durable=True)
    for queue in ("quo", "classic"):
        ch.call("queue.bind", queue=queue, exchange="amq.fanout")
    ch.call("confirm.select")
    ch.publish("amq.fanout", "", b"one", content_type="a")
    ch.expect("basic.ack")
    ch.publish("", "quo", b"two", delivery_mode=1)
    ch.expect("basic.ack")
    tx = ch.conn.channel(2)
    tx.call("tx.select")
    tx.publish("", "quo", b"three")
    tx.call("tx.commit")
    ch.conn.abort()
    broker.stop() if end == "stop" else broker.kill()
    broker.start()
    ch = open_channel(broker)
    got = [ch.get("quo") for _ in range(3)]
    assert [m.body for m in got] == [b"one", b"two", b"three"]
    assert [m.props.get("delivery_mode") for m in got] == [None, 1, None] and got[0].props["content_type"] == "a"
    assert ch.get("quo") is None and ch.get("classic") is None
    ch.conn.abort()
