"""Delayed messages outlive the broker: orderly, and by SIGKILL; what is confirmed comes, once it is due, and not twice as a habit."""

import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("Debian's RabbitMQ has no delayed-message plugin")]


def open_channel(broker):
    return wire.Conn.open(broker).channel(1)


def build(broker, inner="direct"):
    ch = open_channel(broker)
    ch.call("exchange.declare", exchange="d", type="x-delayed-message", durable=True, arguments={"x-delayed-type": inner})
    ch.call("queue.declare", queue="q", durable=True)
    ch.call("queue.bind", queue="q", exchange="d", routing_key="k")
    ch.call("confirm.select")
    return ch


def confirmed(ch, count):
    """Waits until so many publishes are confirmed."""
    done = 0
    while done < count:
        ack = ch.expect("basic.ack")
        done = ack.delivery_tag if ack.multiple else done + 1


def publish(ch, delays, body=b""):
    for i, delay in enumerate(delays):
        ch.publish("d", "k", b"%d" % i + body, headers={"x-delay": delay}, delivery_mode=2)
    confirmed(ch, len(delays))


def bodies(ch, count):
    return [ch.get_soon("q").body for _ in range(count)]


@pytest.mark.parametrize("how", ["orderly", "crash"])
def test_what_waits_survives(start_broker, how):
    broker = start_broker()
    ch = build(broker)
    began = time.monotonic()
    publish(ch, [30_000 + i for i in range(50)] + [3000, 2500, 2000], b"x" * 200)
    ch.conn.abort() if how == "crash" else ch.conn.close()
    if how == "crash":
        broker.kill()
        broker.start()
    else:
        broker.restart()
    ch = open_channel(broker)
    got = [ch.get_soon("q") for _ in range(3)]
    assert [g.body for g in got] == [b"%d" % i + b"x" * 200 for i in (52, 51, 50)]
    assert time.monotonic() - began >= 3.0
    for g in got:
        assert g.exchange == "d" and g.routing_key == "k" and "x-death" not in g.props["headers"]
    assert [g.props["headers"]["x-delay"] for g in got] == [-2000, -2500, -3000]
    assert ch.count("q")[0] == 0  # the others wait on
    ch.conn.close()


def test_what_became_due_while_nobody_ran_comes_at_the_start(start_broker):
    broker = start_broker()
    ch = build(broker)
    publish(ch, [50, 60, 70])
    ch.conn.abort()
    broker.kill()
    time.sleep(0.1)  # let them become due
    broker.start()
    ch = open_channel(broker)
    assert sorted(bodies(ch, 3)) == [b"0", b"1", b"2"]
    ch.conn.close()


def test_kills_while_they_come_due(start_broker):
    """Killed again and again in the middle of releases: every confirmed message comes, at least once."""
    broker = start_broker()
    ch = build(broker)
    count = 3000
    publish(ch, [1 + i * 7 % 3000 for i in range(count)])
    ch.conn.abort()
    for _ in range(3):
        broker.kill()
        broker.start()
        time.sleep(0.3)  # some of them go out
    ch = open_channel(broker)
    seen = set()
    deadline = time.monotonic() + 60
    while len(seen) < count and time.monotonic() < deadline:
        got = ch.get("q")
        if got is None:
            time.sleep(0.01)
        else:
            seen.add(int(got.body))
    assert seen == set(range(count))
    ch.conn.close()


def test_a_deleted_exchange_stays_deleted(start_broker):
    broker = start_broker()
    ch = build(broker)
    publish(ch, [60_000] * 20, b"y" * 3000)
    ch.call("exchange.delete", exchange="d")
    ch.conn.abort()
    broker.kill()
    broker.start()
    ch = open_channel(broker)
    ch.call("exchange.declare", exchange="d", type="x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"})
    ch.call("exchange.delete", exchange="d")
    ch.conn.close()
    broker.restart()
    broker.assert_alive()


def test_by_policy(start_broker):
    broker = start_broker()
    ch = open_channel(broker)
    ch.call("exchange.declare", exchange="d", type="topic", durable=True)
    ch.call("queue.declare", queue="q", durable=True)
    ch.call("queue.bind", queue="q", exchange="d", routing_key="#")
    ch.call("confirm.select")
    ch.publish("d", "k", b"at once", headers={"x-delay": 60_000})
    confirmed(ch, 1)
    assert bodies(ch, 1) == [b"at once"]
    broker.ctl("set_policy", "later", "^d$", '{"delayed-message":true}', "--apply-to", "exchanges")
    for i, delay in enumerate((3000, 100)):
        ch.publish("d", "k", b"%d" % i, headers={"x-delay": delay}, delivery_mode=2)
    confirmed(ch, 2)
    assert bodies(ch, 1) == [b"1"]
    ch.conn.abort()
    broker.kill()
    broker.start()
    ch = open_channel(broker)
    broker.ctl("clear_policy", "later")
    ch.publish("d", "k", b"at once", headers={"x-delay": 60_000})
    seen = set()
    while not seen >= {b"at once", b"0"}:  # what waited goes out all the same; "1" may come again: its ack was not on disk
        seen.add(ch.get_soon("q").body)
    assert seen <= {b"at once", b"0", b"1"}
    ch.conn.close()
