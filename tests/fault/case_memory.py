"""P9: memory that cannot be had. The n-th allocation fails, alone, with some behind it, or with all; or the process has a limit (ulimit -v).

A scene of clients is played again and again, each time with the failure one allocation later, until none is hit any more. It may cost a client
its channel or connection, or a refusal, with an answer; never the daemon, another client's connection, or anything that was confirmed.
"""

import contextlib
import random
import signal
import subprocess

import wire
from ledger import Ledger
from load import Confirms, World, audit
from node import DEADLINE_S, Node, Violation, wait_until

LIFE_POINTS = 60      # points between a death, a start and an audit
SWEEP = 1000          # from so many points on they are 1, 2, 3, … until a life hits nothing; fewer are drawn
MOST = 500            # more than the scene has allocations
COUNTS = (1, 1, 1, 30, 1000)  # how many fail in a row
FLOOD_BYTES, LIMIT_BYTES = 200000, 8 << 20  # what is published at a time under ulimit -v, and how much it leaves at most
REFUSALS = {311, 404, 406, 504, 505, 506, 541, 320}


class Refused(Exception):
    """The client was told no, or lost its connection."""


class Scene:
    """What clients do in one go: all kinds of operations, in an order that repeats itself."""

    def __init__(self, world, node, name):
        self.world, self.node, self.ledger, self.name = world, node, world.ledger, name
        self.rng = random.Random(name)

    def publish(self, ch, confirms, route, tx=None):
        exchange, key = ("f.fan", "k") if route == "f.fan" else ("", route)
        message = self.ledger.publish(self.name, exchange, key, self.world.targets(route), self.rng.randrange(40, 5000),
                                      {"delivery_mode": 2, "headers": {"n": 1, "list": [1, "two"]}}, tx)
        if confirms is not None:
            confirms.sent(message)
        ch.publish(exchange, key, message.body(), **message.props)

    def play(self):
        """Until the end, or what it was told instead."""
        conns = []
        try:
            self.publisher(conns)
            self.transaction(conns)
            self.consumer(conns)
            self.others(conns)
            for conn in conns:
                conn.close()
        except wire.Closed as e:
            if e.code not in REFUSALS:
                raise Violation(f"out of memory, {self.name} is told {e}") from None
            raise Refused(str(e)) from None
        except (wire.SocketClosed, OSError) as e:
            raise Refused(repr(e)) from None
        finally:
            for conn in conns:
                conn.abort()

    def open(self, conns):
        conns.append(wire.Conn.open(self.node, timeout=DEADLINE_S))
        return conns[-1].channel(1)

    def publisher(self, conns):
        ch = self.open(conns)
        ch.call("confirm.select")
        confirms = Confirms(self.world, self.name)
        for route in ("f.fan", "f.plain", "f.lazy", "f.quorum", "f.dlx", "f.dlx", "f.fan"):
            self.publish(ch, confirms, route)
        refused = self.ledger.counts["refused"]
        while confirms.open:
            confirms.take(ch.next())
        if self.ledger.counts["refused"] > refused:
            raise Refused("basic.nack")  # there may be too few for the consumers

    def transaction(self, conns):
        ch = self.open(conns)
        ch.call("tx.select")
        tx = self.ledger.begin()
        got = ch.get("f.lazy", no_ack=False)
        if got is not None:
            self.ledger.ack_in(tx, self.ledger.delivered(f"{self.name}/tx", self.world.queues["f.lazy"], got))
            ch.send("basic.ack", delivery_tag=got.delivery_tag)
        for route in ("f.fan", "f.other"):
            self.publish(ch, None, route, tx)
        self.ledger.committing(tx)
        ch.call("tx.commit")
        self.ledger.committed(tx)

    def consumer(self, conns):
        """What comes and is not read goes back with the connection."""
        self.open(conns)
        for number, name in enumerate(("f.plain", "f.quorum", "f.dlx"), 2):
            ch = conns[-1].channel(number)
            ch.call("basic.qos", prefetch_count=5)
            queue = self.world.queues[name]
            tag = ch.consume(name)
            for turn in range(2):
                got = ch.deliver()
                copy = self.ledger.delivered(f"{self.name}/{tag}", queue, got)
                if turn == 0:
                    self.ledger.ack(copy)
                    ch.send("basic.ack", delivery_tag=got.delivery_tag)
                else:
                    self.ledger.requeue(copy)
                    ch.send("basic.nack", delivery_tag=got.delivery_tag, requeue=True)
            ch.call("basic.cancel", consumer_tag=tag)

    def others(self, conns):
        ch = self.open(conns)
        name = f"m.{self.name}"
        ch.call("exchange.declare", exchange=name, type="topic", durable=True)
        ch.queue(name, durable=True, arguments={"x-max-length": 10})
        ch.call("queue.bind", queue=name, exchange=name, routing_key="a.*.b")
        for _ in range(3):
            ch.publish(name, "a.x.b", b"x" * 100)
        ch.get(name)
        ch.call("queue.purge", queue=name)
        ch.call("queue.delete", queue=name)
        ch.call("exchange.delete", exchange=name)


class Lives:
    def __init__(self, ctx):
        self.ctx, self.rng = ctx, ctx.rng
        self.node = Node(ctx.options())
        self.world = World(Ledger(), ctx.seed, may_refuse=True)
        self.points = self.hit = self.scenes = self.aborts = self.limits = 0

    def start(self):
        self.node.configure("test.alloc_fail_at = none")
        self.node.start()
        self.world.set_up(self.node)
        return audit(self.world, self.node, self.rng, keep=100)

    def end(self):
        self.node.check_killed()
        self.world.ledger.died()

    def arm(self, plan):
        """The daemon reads it; without memory it does not, and is asked again."""
        reloads = self.node.log().count("configuration: reloaded")
        refusals = -1

        def is_read():
            nonlocal refusals
            log = self.node.log()
            if log.count("configuration: reloaded") > reloads or not self.node.is_alive():
                return True
            if log.count("configuration: not reloaded") != refusals:
                refusals = log.count("configuration: not reloaded")
                self.node.configure(f"test.alloc_fail_at = {plan}")
            return False

        wait_until(is_read, "the plan is not read")

    def scene(self):
        """Whether it was played to its end."""
        self.scenes += 1
        name = f"s{self.scenes}"
        try:
            Scene(self.world, self.node, name).play()
            return True
        except Refused as e:
            self.ctx.say(f"{name}: {e}")
            return False
        except wire.NothingCame as e:
            raise Violation(f"{name}: no answer: {e}") from None

    def forget(self):
        """What connections held goes back, once they are gone."""
        self.node.wait_alone()
        ledger = self.world.ledger
        with ledger.lock:
            for queue in ledger.queues.values():
                for copy in queue.copies.values():
                    copy.holder = None
            for tx in ledger.txs:
                tx.state = "void" if tx.state == "open" else tx.state

    def has_ended(self, what):
        """Whether the broker chose to end. It says so, and the store is as it was promised."""
        if self.node.is_alive():
            return False
        status = self.node.wait_end()
        if status != -signal.SIGABRT or not self.node.logged("^out of memory: "):
            raise Violation(f"{what}: the daemon ended, status {status}")
        self.aborts += 1
        self.world.ledger.died()
        return True

    def point(self, n, count):
        """The scene with a failure at the n-th allocation, and once more without. Whether it was hit."""
        what = f"allocation {n}, {count} in a row"
        self.ctx.say(what)
        self.arm(f"{n}:{count}")
        is_whole = self.scene()
        if self.has_ended(what):
            self.start()
        self.arm("none")
        self.forget()
        if not self.scene():
            raise Violation(f"{what}: with memory again, the scene is not played")
        self.forget()
        self.points += 1
        self.hit += not is_whole
        return not is_whole

    def flood(self):
        """As much as it takes."""
        conn = wire.Conn.open(self.node, timeout=DEADLINE_S)
        try:
            ch = conn.channel(1)
            ch.queue("m.flood", arguments={"x-max-length": 200})
            for _ in range(100):
                ch.publish("", "m.flood", bytes(FLOOD_BYTES))
            ch.count("m.flood")
        finally:
            conn.abort()

    def limited(self):
        """`ulimit -v` below what is asked for. The broker may choose to end then, and says so."""
        self.limits += 1
        with open(f"/proc/{self.node.pid}/statm", encoding="ascii") as f:
            now = int(f.read().split()[0]) * 4096
        subprocess.run(["prlimit", f"--pid={self.node.pid}", f"--as={now + self.rng.randrange(LIMIT_BYTES)}:"], check=True)
        for _ in range(3):
            with contextlib.suppress(wire.Closed, wire.SocketClosed, OSError):
                self.flood()
            with contextlib.suppress(wire.SocketClosed, OSError):
                self.scene()
        if self.has_ended("ulimit -v"):
            self.start()
            return
        subprocess.run(["prlimit", f"--pid={self.node.pid}", "--as=unlimited:"], check=True)
        self.forget()
        if not self.scene():
            raise Violation("with memory again, the scene is not played")

    def life(self, points):
        """Points, a limit, a death, and what is left of it with the next start. Whether a client was hit."""
        self.start()
        hits = [self.point(n, count) for n, count in points]
        self.limited()
        self.end()
        return any(hits)


def run(ctx):
    lives = Lives(ctx)
    try:
        if ctx.bug:
            lives.life([(n, 1) for n in range(20, 20 + ctx.count)])
        elif ctx.count < SWEEP:
            left = ctx.count
            while left > 0:
                count = min(left, LIFE_POINTS)
                lives.life([(1 + ctx.rng.randrange(MOST), ctx.rng.choice(COUNTS)) for _ in range(count)])
                left -= count
        for many in (1, 30) if ctx.count >= SWEEP and not ctx.bug else ():
            n = 1
            while lives.life([(n + i, many) for i in range(LIFE_POINTS)]) and n < ctx.count:
                n += LIFE_POINTS
        lives.start()
        lives.node.stop()
        lives.node.check_reports()
        return (f"{lives.points} points, {lives.hit} hit a client; {lives.limits} times ulimit -v, {lives.aborts} chose to end: "
                f"{lives.world.ledger.summary()}; 0 lost, 0 crashes")
    except Violation as e:
        raise Violation(f"{e}\n{lives.world.ledger.summary()}\n{lives.node.log_tail()}") from None
    finally:
        with contextlib.suppress(Exception):
            lives.node.kill()
        lives.node.remove()
