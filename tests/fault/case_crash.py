"""P1: the daemon is killed, at random times and right after its n-th I/O call, and starts on what is left, again and again."""

import contextlib
import random
import time

import load
from ledger import Ledger
from node import Node, Violation

LOAD_S = (0.05, 0.6)
STORE = {}  # keys that make the store small; every roll-over comes often


def wait_end(node, seconds):
    """A while, or until a planned crash."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and node.is_alive():
        time.sleep(0.005)


def crash_at(rng, cycle):
    """Which I/O call is the last one; 0: none. The first ones are recovery's."""
    kind = cycle % 4
    return 0 if kind in (0, 2) else 1 + cycle // 4 % 150 if kind == 1 else int(10 ** rng.uniform(0, 3.5))


def one_life(ctx, world, node, cycle):
    """Start, audit, load, death. False when it died before it could be audited."""
    rng = ctx.rng
    at = crash_at(rng, cycle)
    node.options["test.crash_at"] = str(at)
    world.is_ending.clear()
    if not node.start_or_die():
        return False
    try:
        world.set_up(node)
        load.audit(world, node, rng)
    except (OSError, load.wire.SocketClosed, load.wire.NothingCame):
        if at == 0 or not died_as_planned(node):
            raise
        world.ledger.died()
        return False
    actors = load.start(world, node, lambda: random.Random(rng.random()))
    wait_end(node, rng.uniform(*LOAD_S))
    world.is_ending.set()
    if at == 0 and rng.randrange(8) == 0:
        world.ledger.is_closing = True
        node.stop()  # an orderly end loses nothing either
    else:
        node.check_killed()
    load.join(world, actors)
    return True


def died_as_planned(node):
    deadline = time.monotonic() + 5
    while node.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not node.is_alive()


def run(ctx):
    node = Node(ctx.options(**STORE))
    world = load.World(Ledger(), ctx.seed, large_bytes=70000)
    audits = 0
    try:
        for cycle in range(ctx.count):
            audits += one_life(ctx, world, node, cycle)
            node.kill()
            ctx.say(f"life {cycle}: {world.ledger.summary()}")
        for _ in range(2):  # and once more, after an orderly end
            node.options["test.crash_at"] = "0"
            node.start()
            left = load.audit(world, node, ctx.rng)
            node.stop()
            world.ledger.died()
        return f"{ctx.count} lives, {audits} under load: {world.ledger.summary()}, {left} left at the end; 0 lost, 0 unexpected"
    except Violation as e:
        raise Violation(f"{e}\n{world.ledger.summary()}\n{node.log_tail()}") from None
    finally:
        with contextlib.suppress(Exception):
            node.kill()
        node.remove()
