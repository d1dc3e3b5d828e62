"""Dead letters and the end of the daemon: what is on its way to the dead-letter exchange is afterwards in its queue, or where it went, or both."""

import os
import random
import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("SIGKILL in the middle")]

COUNT = 10_000
SEED = int(os.environ.get("LEVERET_SEED", "1"))


def open_channel(broker):
    return wire.Conn.open(broker).channel(1)


def confirmed(ch, queue, count):
    ch.call("confirm.select")
    for n in range(count):
        ch.publish("", queue, b"%d" % n, delivery_mode=2)
    done = 0
    while done < count:
        done = ch.expect("basic.ack").delivery_tag


def bodies(broker, queue):
    """All that is in the queue, with how often."""
    ch = open_channel(broker)
    count = ch.count(queue)[0]
    ch.consume(queue, no_ack=True)
    found = {}
    for _ in range(count):
        body = int(ch.deliver().body)
        found[body] = found.get(body, 0) + 1
    ch.sync()
    assert ch.conn.inbox[1] == type(ch.conn.inbox[1])(), "more than were counted"
    ch.conn.close()
    return found


def reject_all(ch, queue, count):
    ch.consume(queue, tag="c")
    for _ in range(count):
        tag = ch.deliver().delivery_tag
    ch.send("basic.nack", delivery_tag=tag, multiple=True, requeue=False)
    # Some have arrived, most have not.
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and ch.count("target")[0] == 0:
        pass


def settle_on_disk(ch, queue):
    """What is in the queue now is on disk afterwards: a message behind it (body -1) is confirmed."""
    other = ch.conn.channel(2)
    other.call("confirm.select")
    other.publish("", queue, b"-1", delivery_mode=2)
    other.expect("basic.ack")


def declare(broker, **arguments):
    ch = open_channel(broker)
    ch.queue("target", durable=True)
    ch.queue("source", durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "target", **arguments})
    return ch


AT_LEAST_ONCE = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("arguments", [{}, AT_LEAST_ONCE], ids=["at-most-once", "at-least-once"])
def test_killed_in_the_middle(start_broker, workers, arguments):
    rng = random.Random(SEED)
    broker = start_broker({"workers": workers})
    ch = declare(broker, **arguments)
    confirmed(ch, "source", COUNT)
    reject_all(ch, "source", COUNT)
    settle_on_disk(ch, "target")
    time.sleep(rng.random() * 0.02)
    broker.kill()
    ch.conn.abort()
    broker.start()
    source, target = bodies(broker, "source"), bodies(broker, "target")
    assert target.pop(-1) == 1
    assert set(source) | set(target) == set(range(COUNT))
    assert target and max(source.values(), default=1) == 1 and max(target.values()) == 1
    # No more than were under way are in both.
    assert len(set(source) & set(target)) <= 1024


@pytest.mark.parametrize("workers", [1, 3])
def test_stopped_in_the_middle(start_broker, workers):
    broker = start_broker({"workers": workers})
    ch = declare(broker)
    confirmed(ch, "source", COUNT)
    reject_all(ch, "source", COUNT)
    ch.conn.abort()
    broker.restart()
    source, target = bodies(broker, "source"), bodies(broker, "target")
    assert set(source) | set(target) == set(range(COUNT))
    assert not set(source) & set(target)
    assert target and max(source.values(), default=1) == 1 and max(target.values()) == 1


def test_it_goes_on_after_a_crash(start_broker):
    """At least once, to an exchange that is not there: they come back to their queue, and are rejected again."""
    broker = start_broker()
    ch = open_channel(broker)
    ch.queue("target", durable=True)
    ch.queue("source", durable=True, arguments={"x-dead-letter-exchange": "later", **AT_LEAST_ONCE})
    confirmed(ch, "source", 1000)
    tags = [ch.get("source", no_ack=False).delivery_tag for _ in range(1000)]
    ch.send("basic.nack", delivery_tag=tags[-1], multiple=True, requeue=False)
    assert ch.count("source")[0] == 0
    broker.kill()
    ch.conn.abort()
    broker.start()
    ch = open_channel(broker)
    got = [ch.get("source", no_ack=False) for _ in range(1000)]
    assert [int(m.body) for m in got] == list(range(1000)) and all(m.redelivered for m in got)
    ch.send("basic.nack", delivery_tag=got[-1].delivery_tag, multiple=True, requeue=False)
    ch.call("exchange.declare", exchange="later", type="fanout", durable=True)
    ch.call("queue.bind", queue="target", exchange="later")
    assert sorted(int(ch.get_soon("target").body) for _ in range(1000)) == list(range(1000))
    ch.conn.close()
