"""Random operations on one queue, held against a model of thirty lines: order, redelivered flags, counts, who holds what.

The queue is used by three channels of a connection and at most one consumer (with several, who gets what is the broker's
choice). A failure names its seed and prints the last operations; the seed alone repeats it.
"""

import os
import random
import time

import pytest
import wire

STEPS = 250


class Model:
    """What a queue has to look like."""

    def __init__(self):
        self.ready = []      # (sequence, redelivered), in order
        self.next_seq = 0

    def publish(self):
        self.ready.append((self.next_seq, False))
        self.next_seq += 1

    def take(self):
        return self.ready.pop(0)

    def put_back(self, messages):
        self.ready = sorted(self.ready + [(seq, True) for seq, _ in messages])


class Run:
    def __init__(self, conn, seed, queue):
        self.rng, self.queue, self.model, self.log = random.Random(seed), queue, Model(), []
        self.conn = conn
        self.channels = [conn.channel(n) for n in (1, 2, 3)]
        self.publisher = conn.channel(9)
        self.publisher.call("queue.declare", queue=queue, exclusive=True)
        self.publisher.call("confirm.select")
        self.unacked = {ch.number: {} for ch in self.channels}  # channel -> tag -> (sequence, redelivered)
        self.next_tag = {ch.number: 1 for ch in self.channels}
        self.consumer = None  # (channel, consumer tag, prefetch, tags that count)
        self.confirmed = 0    # publishes confirmed so far

    def go(self):
        operations = [self.publish] * 5 + [self.get] * 4 + [self.settle] * 5 + [self.consume, self.cancel, self.recover, self.purge,
                                                                             self.reopen, self.count, self.count]
        for _ in range(STEPS):
            operation = self.rng.choice(operations)
            operation()
            self.deliveries()
            if operation in (self.settle, self.recover, self.reopen):
                self.settled()
        self.count()

    def note(self, *what):
        self.log.append(what)

    def any_channel(self):
        return self.rng.choice(self.channels)

    # operations

    def publish(self):
        count = self.rng.randint(1, 6)
        self.note("publish", count)
        for _ in range(count):
            self.publisher.publish("", self.queue, b"%d" % self.model.next_seq)
            self.model.publish()
        while self.confirmed < self.model.next_seq:  # confirms of one queue come in order
            self.confirmed = self.publisher.expect("basic.ack").delivery_tag

    def get(self):
        ch, no_ack = self.any_channel(), self.rng.random() < 0.3
        self.note("get", ch.number, no_ack)
        got = ch.get(self.queue, no_ack)
        if not self.model.ready:
            assert got is None
            return
        message = self.model.take()
        assert got is not None, f"expected {message}"
        self.received(ch, got, message, no_ack)
        assert got.message_count == len(self.model.ready)

    def received(self, ch, got, message, no_ack=False):
        assert (int(got.body), got.redelivered) == message
        assert got.delivery_tag == self.next_tag[ch.number]
        self.next_tag[ch.number] += 1
        if not no_ack:
            self.unacked[ch.number][got.delivery_tag] = message

    def settle(self):
        ch = self.any_channel()
        tags = sorted(self.unacked[ch.number])
        if not tags:
            return
        tag, multiple = self.rng.choice(tags), self.rng.random() < 0.4
        method = self.rng.choice(["basic.ack", "basic.nack", "basic.reject"])
        requeue = self.rng.random() < 0.7
        values = {"delivery_tag": tag}
        if method == "basic.reject":
            multiple = False
        else:
            values["multiple"] = multiple
            if multiple and self.rng.random() < 0.3:
                values["delivery_tag"], tag = 0, tags[-1]
        if method != "basic.ack":
            values["requeue"] = requeue
        self.note(method, ch.number, values)
        ch.send(method, **values)
        ch.sync()
        settled = [self.unacked[ch.number].pop(t) for t in tags if (t <= tag if multiple else t == tag)]
        if method != "basic.ack" and requeue:
            self.model.put_back(settled)

    def consume(self):
        if self.consumer:
            return
        ch, prefetch = self.any_channel(), self.rng.randint(1, 5)
        self.note("consume", ch.number, prefetch)
        ch.call("basic.qos", prefetch_count=prefetch)
        self.consumer = (ch, ch.consume(self.queue), prefetch, set())

    def cancel(self):
        if not self.consumer:
            return
        ch, tag, _, _ = self.consumer
        self.note("cancel", ch.number)
        ch.call("basic.cancel", consumer_tag=tag)
        self.consumer = None

    def recover(self):
        ch = self.any_channel()
        if self.consumer and self.consumer[0] is ch:
            return  # which of the returned ones it gets first is the broker's choice
        self.note("recover", ch.number)
        ch.call("basic.recover", requeue=True)
        self.model.put_back(self.unacked[ch.number].values())
        self.unacked[ch.number].clear()

    def purge(self):
        if self.rng.random() < 0.7:
            return
        self.note("purge")
        assert self.publisher.call("queue.purge", queue=self.queue).message_count == len(self.model.ready)
        self.model.ready.clear()

    def reopen(self):
        index = self.rng.randrange(3)
        ch = self.channels[index]
        self.note("reopen", ch.number)
        ch.close()
        if self.consumer and self.consumer[0] is ch:
            self.consumer = None
        self.model.put_back(self.unacked[ch.number].values())
        self.unacked[ch.number].clear()
        self.next_tag[ch.number] = 1
        self.channels[index] = self.conn.channel(ch.number)

    def count(self):
        self.note("count")
        expected = (len(self.model.ready), 1 if self.consumer else 0)
        assert self.publisher.count(self.queue) == expected

    def settled(self):
        """What a channel gives back may reach the queue a moment after the answer: other channels must not run ahead of it."""
        expected, deadline = (len(self.model.ready), 1 if self.consumer else 0), time.monotonic() + 5
        while (found := self.publisher.count(self.queue)) != expected:
            assert time.monotonic() < deadline, (found, expected)

    def deliveries(self):
        """Takes what the consumer must have got by now."""
        if not self.consumer:
            return
        ch, _, prefetch, counted = self.consumer
        while True:
            counted &= set(self.unacked[ch.number])
            if len(counted) >= prefetch or not self.model.ready:
                break
            got = ch.deliver()
            counted.add(got.delivery_tag)
            self.received(ch, got, self.model.take())
        ch.sync()
        assert not self.conn.inbox[ch.number], f"more than prefetch allows: {self.conn.inbox[ch.number]}"


@pytest.mark.parametrize("seed", range(int(os.environ.get("LEVERET_MODEL_SEEDS", "12"))))
def test_against_the_model(conn, name, seed):
    run = Run(conn, seed, name())
    try:
        run.go()
    except (AssertionError, wire.Closed, wire.NothingCame) as e:
        raise AssertionError(f"seed {seed}, after {run.log[-15:]}: {type(e).__name__} {e}") from e
