"""P27: the disk is full, is below its limit, memory is above its watermark: publishers wait, consumers do not, and it ends by itself.

The data lie on a disk of their own: a tmpfs in a mount namespace. Where nobody may mount one, writes fail by plan instead.
"""

import contextlib
import os
import random

import load
from disk import Memory
from ledger import SURE, Ledger
from node import DEADLINE_S, Node, Violation, wait_until

DISK_BYTES = 64 << 20
ENOUGH = 50  # confirms, or acknowledgements, that show that it goes on
WAITING = 200  # confirmed messages in a queue before consumers come; two of these hold up to 80
SMALL_RING = {"message_log.segments": "5"}
QUIET = "disk_free_limit.absolute = 1\nvm_memory_high_watermark.absolute = 8GB"
KINDS = {
    "no room": None,
    "free space below its limit": QUIET.replace("disk_free_limit.absolute = 1", "disk_free_limit.absolute = 1000000000000000"),
    "memory above its watermark": QUIET.replace("8GB", "1000"),
}


class PlannedDisk:
    """Where no disk can be mounted."""

    def __init__(self, flag):
        self.flag = flag

    def plan(self):
        return f"write:1:0:ENOSPC@{self.flag},allocate:1:0:ENOSPC@{self.flag}"

    def fill(self, is_full):
        if is_full:
            with open(self.flag, "w", encoding="ascii"):
                pass
        else:
            os.unlink(self.flag)

    def close(self):
        pass


def make(ctx):
    """(disk, node, what it is)."""
    disk = Memory(os.path.join(ctx.dir, "disk"), DISK_BYTES)
    options = ctx.options() | SMALL_RING
    if disk.is_mounted:
        return disk, Node(options, data=os.path.join(disk.path, "data"), prefix=disk.prefix()), f"a disk of {DISK_BYTES >> 20} MiB"
    disk.close()
    disk = PlannedDisk(os.path.join(ctx.dir, "full"))
    return disk, Node(options | {"test.io_fault": disk.plan()}), "writes that fail by plan"


class Rounds:
    def __init__(self, ctx, node, disk):
        self.ctx, self.node, self.disk = ctx, node, disk
        self.world = load.World(Ledger(), ctx.seed, large_bytes=100000)
        self.patience = 5 if ctx.bug else DEADLINE_S

    def await_more(self, what, when):
        since = self.world.ledger.counts[what]
        wait_until(lambda: self.world.ledger.counts[what] >= since + ENOUGH, f"{when}: no more messages are {what}", self.patience)

    def await_messages(self):
        copies = self.world.queues["f.plain"].copies

        def is_enough():
            with self.world.ledger.lock:
                return sum(copy.state == SURE for copy in copies.values()) >= WAITING

        wait_until(is_enough, "too few messages are confirmed", self.patience)

    def await_blocked(self, kind, is_blocked):
        wait_until(lambda: {"p0", "p1"} <= self.world.blocked if is_blocked else not self.world.blocked,
                   f"{kind}: publishers are not told that they are {'blocked' if is_blocked else 'not blocked any more'}", self.patience)

    def set_alarm(self, kind, is_on):
        if KINDS[kind] is None:
            self.disk.fill(is_on)
        else:
            self.node.configure(KINDS[kind] if is_on else QUIET)

    def start(self):
        self.world.is_ending.clear()
        self.node.configure(QUIET)
        self.node.start()
        self.world.set_up(self.node)
        load.audit(self.world, self.node, self.ctx.rng)

    def round(self, kind):
        def rng():
            return random.Random(self.ctx.rng.random())

        self.start()
        actors = load.start(self.world, self.node, rng, load.PUBLISHERS)
        self.await_messages()
        self.set_alarm(kind, True)
        self.await_blocked(kind, True)
        actors += load.start(self.world, self.node, rng, load.STEADY_CONSUMERS)
        self.await_more("acked", f"{kind}, publishers blocked")
        if KINDS[kind] is not None and not {"p0", "p1"} <= self.world.blocked:  # no room ends when enough was consumed
            raise Violation(f"{kind}: publishers go on, and it is not over")
        self.set_alarm(kind, False)
        self.await_blocked(kind, False)
        self.await_more("confirmed", f"{kind}, after it")
        self.world.is_ending.set()
        self.node.check_killed()
        load.join(self.world, actors)


def run(ctx):
    disk, node, what = make(ctx)
    rounds = Rounds(ctx, node, disk)
    ledger = rounds.world.ledger
    try:
        for cycle in range(ctx.count):
            rounds.round(list(KINDS)[cycle % len(KINDS)])
            ctx.say(f"round {cycle}: {ledger.summary()}")
        rounds.start()
        node.stop()
        return f"{ctx.count} rounds on {what}, {rounds.world.times_blocked} times blocked: {ledger.summary()}; 0 lost"
    except Violation as e:
        raise Violation(f"{e}\n{ledger.summary()}\n{node.log_tail()}") from None
    finally:
        with contextlib.suppress(Exception):
            node.kill()
        node.remove()
        disk.close()
