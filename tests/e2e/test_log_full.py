"""A message log that is small for what is published: publishers wait for room, transactions too, and nobody is told that the disk is short."""

import threading

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("the size of its message log")]


class Publisher(threading.Thread):
    """Publishes in rounds, each confirmed or committed before the next one; what it was told meanwhile."""

    def __init__(self, broker, queue, is_tx, rounds):
        super().__init__(daemon=True)
        self.conn = wire.Conn.open(broker, timeout=120)
        self.ch = self.conn.channel(1)
        self.queue, self.is_tx, self.rounds = queue, is_tx, rounds
        self.done, self.error = 0, None

    def round(self):
        for _ in range(4 if self.is_tx else 8):
            self.ch.publish("", self.queue, b"x" * 100_000, delivery_mode=2)
        if self.is_tx:
            self.ch.call("tx.commit")
            self.done += 4
            return
        while self.done < 8 * self.count:
            ack = self.ch.expect("basic.ack")
            self.done = max(self.done, ack.delivery_tag)

    def run(self):
        try:
            self.ch.call("tx.select" if self.is_tx else "confirm.select")
            for self.count in range(1, self.rounds + 1):
                self.round()
        except Exception as e:  # told by the test
            self.error = e


def test_transactions_wait_for_room(start_broker):
    broker = start_broker({"message_log.segments": 5, "disk_free_limit.absolute": 0, "workers": 3})
    with wire.Conn.open(broker) as conn:
        for queue in ("tx", "plain"):
            conn.channel(1 if queue == "tx" else 2).queue(queue, durable=True)
    publishers = [Publisher(broker, "tx" if n < 2 else "plain", n < 2, 60) for n in range(4)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join(300)
        assert not publisher.is_alive() and publisher.error is None, publisher.error
        assert not [m for m in publisher.conn.inbox[0] if m.name == "connection.blocked"]
    with wire.Conn.open(broker, timeout=60) as conn:
        ch = conn.channel(1)
        for queue, count in (("tx", 2 * 60 * 4), ("plain", 2 * 60 * 8)):
            ch.consume(queue, tag=queue, no_ack=True)
            for _ in range(count):
                assert len(ch.deliver(timeout=60).body) == 100_000
    for publisher in publishers:
        publisher.conn.abort()
