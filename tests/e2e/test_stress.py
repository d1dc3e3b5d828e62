"""Many threads at once: nothing confirmed is lost, every repeat is marked, every question is answered."""

import collections
import random
import threading
import time

import pytest
import wire

LIMIT_S = 90


def run_threads(*functions):
    """Runs them at once; the first exception of any is raised here."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as e:  # noqa: B902  (carried to the test's own thread)
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join(LIMIT_S)
    assert not any(t.is_alive() for t in threads), "a thread still waits for the broker"
    if errors:
        raise errors[0]


def test_nothing_confirmed_is_lost(broker, name):
    """4 publishers, 4 queues behind a topic exchange, 8 consumers that ack, requeue, or vanish with messages in their hands."""
    publishers, per_publisher, queues = 4, 1500, [name(f"q{i}") for i in range(4)]
    exchange = name("x")
    setup = wire.Conn.open(broker, timeout=60)
    ch = setup.channel(1)
    ch.call("exchange.declare", exchange=exchange, type="topic", auto_delete=True)
    for i, q in enumerate(queues):
        ch.queue(q, durable=i % 2 == 0)
        ch.call("queue.bind", queue=q, exchange=exchange, routing_key=f"#.{i}.#" if i < 2 else "#")
    received = {q: collections.Counter() for q in queues}
    lock, finished = threading.Lock(), threading.Event()

    def expected(q):
        index = queues.index(q)
        return {(p, i) for p in range(publishers) for i in range(per_publisher) if index >= 2 or i % 4 == index}

    def publish(p):
        conn = wire.Conn.open(broker, timeout=60)
        ch = conn.channel(1)
        ch.call("confirm.select")
        unconfirmed = set()

        def confirm_down_to(count):
            while len(unconfirmed) > count:
                ack = ch.expect("basic.ack")
                unconfirmed.difference_update([n for n in unconfirmed if n <= ack.delivery_tag] if ack.multiple else [ack.delivery_tag])

        for i in range(per_publisher):
            ch.publish(exchange, f"k.{i % 4}.p{p}", b"%d %d " % (p, i) + b"." * (i % 500), delivery_mode=1 + i % 2, mandatory=True)
            unconfirmed.add(i + 1)
            confirm_down_to(200)
        confirm_down_to(0)
        conn.close()

    def consume(q, seed):
        rng = random.Random(seed)
        while not finished.is_set():
            conn = wire.Conn.open(broker, timeout=60)
            ch = conn.channel(1)
            ch.call("basic.qos", prefetch_count=rng.choice([1, 10, 100]), **{"global": rng.random() < 0.3})
            ch.consume(q)
            left = rng.randint(50, 800)
            while left and not finished.is_set():
                try:
                    d = ch.deliver(0.2)
                except wire.NothingCame:
                    continue
                left -= 1
                if rng.random() < 0.05:
                    ch.send("basic.reject", delivery_tag=d.delivery_tag, requeue=True)
                    continue
                p, i = map(int, d.body.split(b" ")[:2])
                with lock:
                    received[q][p, i] += 1
                    assert d.redelivered or received[q][p, i] == 1, f"{q} {p} {i}: again, and not marked redelivered"
                ch.send("basic.ack", delivery_tag=d.delivery_tag)
            if rng.random() < 0.5:
                conn.abort()
            else:
                conn.close()

    def watch():
        deadline = time.monotonic() + LIMIT_S - 20
        while time.monotonic() < deadline:
            with lock:
                if all(len(received[q]) == len(expected(q)) for q in queues):
                    break
            time.sleep(0.1)
        finished.set()

    try:
        run_threads(watch, *[lambda p=p: publish(p) for p in range(publishers)],
                    *[lambda q=q, n=n: consume(q, n * 10 + len(q)) for q in queues for n in range(2)])
        for q in queues:
            missing = expected(q) - set(received[q])
            assert not missing, f"{q}: {len(missing)} lost, for example {sorted(missing)[:5]}"
            assert set(received[q]) == expected(q)
    finally:
        finished.set()
        cleaner = setup.channel(2)
        for q in queues:
            cleaner.call("queue.delete", queue=q)
        setup.close()


@pytest.mark.leveret_only("RabbitMQ answers 541 INTERNAL_ERROR now and then")
def test_topology_changes_under_load(broker, name):
    """Six clients declare, bind, delete and publish to the same few names; everything is answered, nothing hangs, nobody else is hurt."""
    queues, exchanges = [name(f"q{i}") for i in range(3)], [name(f"x{i}") for i in range(3)]
    until = time.monotonic() + 6

    def client(seed):
        rng, conn, number = random.Random(seed), wire.Conn.open(broker, timeout=60), 0
        ch, closes = None, 0
        while time.monotonic() < until:
            if ch is None:
                number += 1
                ch = conn.channel(number)
                if rng.random() < 0.5:
                    ch.call("confirm.select")
            q, x = rng.choice(queues), rng.choice(exchanges)
            step = rng.randrange(9)
            try:
                if step == 0:
                    ch.call("queue.declare", queue=q, auto_delete=True)
                elif step == 1:
                    ch.call("exchange.declare", exchange=x, type="fanout", auto_delete=True)
                elif step == 2:
                    ch.call("queue.bind", queue=q, exchange=x, routing_key="k")
                elif step == 3:
                    ch.call("queue.delete", queue=q)
                elif step == 4:
                    ch.call("exchange.delete", exchange=x)
                elif step == 5:
                    ch.call("exchange.bind", source=x, destination=rng.choice(exchanges))
                elif step == 6:
                    ch.consume(q, no_ack=rng.random() < 0.5)
                else:
                    for _ in range(10):
                        ch.publish(x, "k", b"x" * rng.randint(0, 2000))
                        ch.publish("", q, b"y")
                if rng.random() < 0.1:
                    ch.close()
                    ch = None
            except wire.Closed as closed:
                assert (closed.scope, closed.code) == ("channel", 404), closed
                ch, closes = None, closes + 1
            if number > 1500:
                break
        conn.close()

    def bystander():
        conn = wire.Conn.open(broker, timeout=60)
        ch = conn.channel(1)
        q = ch.queue("", exclusive=True)
        ch.consume(q, no_ack=True)
        count = 0
        while time.monotonic() < until:
            ch.publish("", q, b"%d" % count)
            assert int(ch.deliver().body) == count
            count += 1
        conn.close()

    run_threads(bystander, *[lambda s=s: client(s) for s in range(6)])
    with wire.Conn.open(broker) as conn:
        ch = conn.channel(1)
        for q in queues:
            ch.call("queue.delete", queue=q)
        for x in exchanges:
            ch.call("exchange.delete", exchange=x)


def test_exclusive_queues_of_connections_that_vanish(broker, name):
    """Clients with the same exclusive queue name, one after the other, half of them without a goodbye: 405 at most for a moment."""
    def client(number):
        q = name("same").split(".")[0] + f".mine{number}"
        for i in range(30):
            conn = wire.Conn.open(broker, timeout=60)
            deadline = time.monotonic() + 10
            while True:
                try:
                    ch = conn.channel(1)
                    ch.queue(q, exclusive=True)
                    break
                except wire.Closed as closed:
                    assert closed.code == 405 and time.monotonic() < deadline, closed
            ch.consume(q)
            ch.publish("", q, b"x")
            if i % 2:
                conn.close()
            else:
                conn.abort()

    run_threads(*[lambda n=n: client(n) for n in range(4)])
