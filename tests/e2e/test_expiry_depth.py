"""Times to live and delays of messages that lie deep in backlog files, over kills: what is due is gone, what is not is there, dead letters come, and none early."""

import glob
import os
import random
import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.leveret_only("SIGKILL in the middle")]

SEED = int(os.environ.get("LEVERET_SEED", "1"))
COUNT = int(os.environ.get("LEVERET_EXPIRING", "100000"))
DELAYED = int(os.environ.get("LEVERET_DELAYED", "40000"))
# Little of a queue stays in memory.
OPTIONS = {"message_log.index_max": "16384", "message_log.segments": "5"}
WAIT_S = 300


def open_channel(broker):
    return wire.Conn.open(broker).channel(1)


def confirmed(ch, count):
    """Waits until so many publishes are confirmed."""
    done = 0
    while done < count:
        ack = ch.expect("basic.ack")
        done = ack.delivery_tag if ack.multiple else done + 1


def publish_all(ch, queue, messages):
    """(body, properties) each; a thousand at a time are not confirmed."""
    for at in range(0, len(messages), 1000):
        for body, props in messages[at:at + 1000]:
            ch.publish("", queue, body, delivery_mode=2, **props)
        ch.sync()


def wait_for_files(broker):
    deadline = time.monotonic() + WAIT_S
    while not glob.glob(f"{broker.data}/queues/*/*.blg"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for_count(ch, queue, count):
    deadline = time.monotonic() + WAIT_S
    while (now := ch.count(queue)[0]) != count:
        assert time.monotonic() < deadline, f"{now} messages wait, not {count}"
        time.sleep(0.1)


def drain(broker, queue):
    ch = open_channel(broker)
    count = ch.count(queue)[0]
    ch.consume(queue, no_ack=True)
    found = [int(ch.deliver(timeout=WAIT_S).body) for _ in range(count)]
    ch.conn.close()
    return found


def kill(broker, ch):
    ch.conn.abort()
    broker.kill()
    broker.start()
    return open_channel(broker)


def test_random_times_to_live_over_kills(start_broker):
    """Of many messages those without a time to live are left, in order, and they alone; nobody consumes meanwhile."""
    rng = random.Random(SEED)
    broker = start_broker(OPTIONS)
    ch = open_channel(broker)
    ch.call("queue.declare", queue="q", durable=True)
    messages = [(b"%d" % n, {"expiration": str(rng.randrange(60_000))} if n % 20 != 0 else {}) for n in range(COUNT)]
    publish_all(ch, "q", messages)
    wait_for_files(broker)
    last = COUNT
    for _ in range(3):
        ch = kill(broker, ch)
        time.sleep(1)
        count = ch.count("q")[0]
        assert COUNT // 20 <= count <= last
    ch.conn.close()
    broker.restart()
    ch = open_channel(broker)
    wait_for_count(ch, "q", COUNT // 20)
    ch = kill(broker, ch)
    wait_for_count(ch, "q", COUNT // 20)
    ch.conn.close()
    assert drain(broker, "q") == list(range(0, COUNT, 20))


def test_dead_letters_out_of_files_over_kills(start_broker):
    """Each that has expired goes where dead letters go, none that has not, none early."""
    rng = random.Random(SEED)
    count = COUNT // 2
    broker = start_broker(OPTIONS)
    ch = open_channel(broker)
    ch.call("queue.declare", queue="dead", durable=True)
    ch.call("queue.declare", queue="q", durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    messages = [(b"%d" % n, {"expiration": str(2000 + rng.randrange(30_000))} if n % 10 != 0 else {}) for n in range(count)]
    publish_all(ch, "q", messages)
    wait_for_files(broker)
    for _ in range(3):
        time.sleep(1)
        ch = kill(broker, ch)
    wait_for_count(ch, "q", count // 10)
    # The last ones are on their way.
    deadline = time.monotonic() + WAIT_S
    expected = {n for n in range(count) if n % 10 != 0}
    found = set()
    while found != expected and time.monotonic() < deadline:
        found |= set(drain(broker, "dead"))
    assert found == expected
    ch.conn.close()
    assert drain(broker, "q") == list(range(0, count, 10))


def test_delayed_messages_out_of_files(start_broker):
    """Every one comes, though it lies behind others that are due later; none before its time."""
    rng = random.Random(SEED)
    broker = start_broker(OPTIONS)
    ch = open_channel(broker)
    ch.call("exchange.declare", exchange="d", type="x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"})
    ch.call("queue.declare", queue="q", durable=True)
    ch.call("queue.bind", queue="q", exchange="d")
    ch.call("confirm.select")
    due = []
    for n in range(DELAYED):
        delay = 2000 + rng.randrange(20_000)
        due.append(time.time() + delay / 1000)
        ch.publish("d", "", b"%d" % n, headers={"x-delay": delay}, delivery_mode=2)
        if n % 1000 == 999:
            ch.sync()
    wait_for_files(broker)
    ch = kill(broker, ch)
    ch.consume("q", no_ack=True)
    seen = set()
    order = []
    while len(seen) < DELAYED:
        n = int(ch.deliver(timeout=WAIT_S).body)
        assert time.time() >= due[n] - 0.001
        if n not in seen:
            order.append(n)
        seen.add(n)
    late = max(0, *(b - a for a, b in zip((due[n] for n in order[1:]), (due[n] for n in order))))
    print(f"{DELAYED} delayed messages: one came at most {late * 1000:.0f} ms behind one that was due later")
    ch.conn.close()
