"""P5: the disk says no: syncs that fail once or for good, no room for a while, short writes, one failure at a random call."""

import contextlib
import os
import random

import load
from ledger import Ledger
from node import DEADLINE_S, Node, Violation, wait_until

STATUS_IOERR = 74
GOES_ON = 200  # confirms that show it
# What fails once `flag` exists, and what becomes of the daemon; for a while: until the flag is gone.
KINDS = (
    ("a sync once", "fdatasync:1:1:EIO", "goes on"),
    ("syncs for good", "syncs:1:0:EIO", "ends"),
    ("all for good", "changes:1:0:EIO", "ends"),
    ("a write once", "write:1:1:EIO", "goes on"),
    ("no room", "write:1:0:ENOSPC,allocate:1:0:ENOSPC", "waits"),
    ("short", "write:1:0:short,read:1:0:short", "goes on"),
    ("one call", "changes:{n}:1:EIO", "goes on"),
)


class Lives:
    def __init__(self, ctx):
        self.ctx, self.rng = ctx, ctx.rng
        self.flag = os.path.join(ctx.dir, "flag")
        self.node = Node(ctx.options())
        self.world = load.World(Ledger(), ctx.seed, large_bytes=70000)
        self.patience = 3 if ctx.bug else DEADLINE_S
        self.outcomes = {}
        self.failed_before = 0  # how many plans had come true before this life

    def has_failed(self):
        return self.node.log().count("test.io_fault: ") > self.failed_before

    def raise_flag(self, is_up):
        if is_up:
            with open(self.flag, "w", encoding="ascii"):
                pass
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.flag)

    def confirmed_since(self, count):
        return self.world.ledger.counts["confirmed"] - count

    def await_progress(self, what):
        since = self.world.ledger.counts["confirmed"]
        wait_until(lambda: self.confirmed_since(since) >= GOES_ON or not self.node.is_alive(), f"{what}: confirms do not go on", self.patience)
        if not self.node.is_alive():
            raise Violation(f"{what}: the daemon ended, status {self.node.process.poll()}")

    def start(self, plan):
        self.node.options["test.io_fault"] = plan or "none"
        self.world.is_ending.clear()
        self.node.start()
        self.world.set_up(self.node)
        return load.audit(self.world, self.node, self.rng)

    def end(self, actors):
        self.world.is_ending.set()
        self.node.check_killed()
        load.join(self.world, actors)

    def expect(self, name, outcome):
        """After something has failed. Whether the daemon lives."""
        if outcome == "ends":
            status = self.node.wait_end(self.patience)
            if status != STATUS_IOERR:
                raise Violation(f"{name}: status {status} instead of {STATUS_IOERR}")
            self.node.check_reports()
            return False
        if outcome == "waits":
            wait_until(lambda: {"p0", "p1"} <= self.world.blocked, f"{name}: publishers are not told connection.blocked", self.patience)
            self.raise_flag(False)
            wait_until(lambda: not self.world.blocked, f"{name}: publishers stay blocked", self.patience)
        self.await_progress(name)
        return True

    def life(self, kind):
        name, plan, outcome = kind
        plan = ",".join(f"{part}@{self.flag}" for part in plan.format(n=1 + self.rng.randrange(60)).split(","))
        self.raise_flag(False)
        self.world.may_refuse = outcome != "goes on"
        self.start(plan)
        actors = load.start(self.world, self.node, lambda: random.Random(self.rng.random()))
        self.await_progress(f"{name}, before it")
        self.failed_before = self.node.log().count("test.io_fault: ")
        if outcome == "ends":
            self.world.ledger.is_closing = True  # connections one after the other
            self.world.is_ending.set()
        self.raise_flag(True)
        wait_until(lambda: self.has_failed() or not self.node.is_alive(), f"{name}: nothing was asked of the disk", self.patience)
        key = name, "went on" if self.expect(name, outcome) else "ended with 74"
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        self.end(actors)


def run(ctx):
    lives = Lives(ctx)
    try:
        kinds = [k for k in KINDS if k[2] == "ends"] if ctx.bug else KINDS
        for cycle in range(ctx.count):
            lives.life(kinds[cycle % len(kinds)])
            ctx.say(f"life {cycle}: {lives.world.ledger.summary()}")
        lives.raise_flag(False)
        lives.start(None)
        lives.node.stop()
        outcomes = ", ".join(f"{name}: {count} {what}" for (name, what), count in sorted(lives.outcomes.items()))
        return f"{ctx.count} lives ({outcomes}): {lives.world.ledger.summary()}; 0 lost, 0 falsely confirmed"
    except Violation as e:
        raise Violation(f"{e}\n{lives.world.ledger.summary()}\n{lives.node.log_tail()}") from None
    finally:
        with contextlib.suppress(Exception):
            lives.node.kill()
        lives.node.remove()
