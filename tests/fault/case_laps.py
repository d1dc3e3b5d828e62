"""Three publishers write the ring of the log full again and again, under kill -9: what is used again must not have been needed.

Three ways: `kept`: nobody consumes, everything has to be moved to backlog files; `consumed`: everything is acknowledged; `front`: everything but
the very first message of each queue, which holds on to the oldest place there is. Says how many bytes were written to disk for a message.
"""

import contextlib
import random
import time

import load
import wire
from ledger import Ledger
from node import DEADLINE_S, Node, Violation

SEGMENT_BYTES, SEGMENTS = 1 << 20, 5
RING_BYTES = SEGMENT_BYTES * SEGMENTS
BODY_BYTES = 4000
QUEUES = ("f.plain", "f.lazy", "f.other")
LIFE_S = (0.3, 2)
LAP_S = 60  # one that takes longer is none: nothing goes on


class World(load.World):
    def size(self, rng):
        return BODY_BYTES

    def props(self, rng):
        return {"delivery_mode": 2}


class LapPublisher(load.Publisher):
    """Of one queue."""

    def routes(self):
        return (QUEUES[int(self.name[1:])],)


class Acker(load.Actor):
    """Acknowledges whatever comes from one queue."""

    def work(self):
        _, ch = self.open()
        name = QUEUES[int(self.name[1:])]
        ch.call("basic.qos", prefetch_count=100)
        tag = ch.consume(name)
        while True:
            got = ch.next(DEADLINE_S * 10)
            copy = self.ledger.delivered(f"{self.name}/{tag}", self.world.queues[name], got)
            self.ledger.ack(copy)
            ch.send("basic.ack", delivery_tag=got.delivery_tag)


class Laps:
    def __init__(self, ctx, way):
        self.ctx, self.rng, self.way = ctx, ctx.rng, way
        self.node = Node(ctx.options() | {"message_log.segments": SEGMENTS})
        self.world = World(Ledger(), ctx.seed)
        self.lives = self.written = 0
        self.fronts = {}

    def published(self):
        return self.world.ledger.counts["attempted"] * BODY_BYTES

    def laps(self):
        return self.published() / RING_BYTES

    def start(self, is_last=False):
        self.world.is_ending.clear()
        self.node.start()
        self.world.set_up(self.node)
        if self.way != "kept" or is_last:  # reading all of it each time would take longer than the laps
            load.audit(self.world, self.node, self.rng, keep=None)

    def hold(self):
        """The first message of each queue, by a consumer that never answers."""
        conn = wire.Conn.open(self.node, timeout=DEADLINE_S)
        for number, name in enumerate(QUEUES, 1):
            ch = conn.channel(number)
            if name not in self.fronts:
                message = self.world.ledger.publish(f"front{number}", "", name, [self.world.queues[name]], BODY_BYTES, {"delivery_mode": 2})
                ch.call("confirm.select")
                load.publish(ch, message)
                ch.expect("basic.ack")
                self.world.ledger.confirmed(message)
            ch.call("basic.qos", prefetch_count=1)
            ch.consume(name)
            got = ch.deliver()
            copy = self.world.ledger.delivered("holder", self.world.queues[name], got)
            if self.fronts.setdefault(name, copy.message.id) != copy.message.id:
                raise Violation(f"the first message of {name} is {copy}, and was {self.fronts[name]}")
        return conn

    def life(self, until):
        self.start()
        self.lives += 1
        holder = self.hold() if self.way == "front" else None
        kinds = {f"p{i}": LapPublisher for i in range(3)}
        if self.way != "kept":
            kinds |= {f"c{i}": Acker for i in range(3)}
        before = self.laps()
        actors = load.start(self.world, self.node, lambda: random.Random(self.rng.random()), kinds)
        end = time.monotonic() + self.rng.uniform(*LIFE_S)
        while time.monotonic() < end and self.laps() < until and self.node.is_alive():
            time.sleep(0.01)
        with open(f"/proc/{self.node.pid}/io", encoding="ascii") as f:
            self.written += int(dict(line.split(": ") for line in f)["write_bytes"])
        self.world.is_ending.set()
        self.node.check_killed()
        if holder is not None:
            holder.abort()
        load.join(self.world, actors)
        self.stuck = 0 if self.laps() > before else self.stuck + 1
        if self.stuck > LAP_S / LIFE_S[1]:
            raise Violation("publishers do not get on")

    stuck = 0

    def run(self):
        try:
            while self.laps() < self.ctx.count:
                self.life(self.ctx.count)
            self.start(is_last=True)
            self.node.stop()
            self.world.ledger.died()
            self.start(is_last=True)
            self.node.stop()
            count = self.world.ledger.counts["attempted"]
            return (f"{self.way}: {self.laps():.1f} laps in {self.lives} lives, {count} messages of {BODY_BYTES} bytes, "
                    f"{self.written // count} written for each")
        except Violation as e:
            raise Violation(f"{self.way}, after {self.laps():.1f} laps: {e}\n{self.world.ledger.summary()}\n{self.node.log_tail()}") from None
        finally:
            with contextlib.suppress(Exception):
                self.node.kill()
            self.node.remove()


def run(ctx):
    ways = ("kept", "consumed", "front")
    return "; ".join(Laps(ctx, way).run() for way in (ways if ctx.bug is None else ("front",))) + "; 0 lost"
