"""P3 and P4 with the daemon: one file of a dead daemon's log or backlog is damaged, then it starts, and serves what is intact.

P3 cuts files, fills their ends with zeros or rubbish, empties them, takes them away, adds some. P4 flips bits, swaps blocks, puts stale ones
in their place. What comes must be what was sent; what is missing must have lain in the damage: in the group of the log, or in the block of
the backlog file, of which the records before the damage have to be there. And the daemon takes messages as before.
"""

import contextlib
import hashlib
import os
import random
import shutil

import wire
from node import DEADLINE_S, Node, Violation

QUEUES = ("d.a", "d.b", "d.c")
MESSAGES, TURN = 700, 50
STORE = {"message_log.segments": "5"}  # of 1 MB: most of the messages lie in backlog files
SECTOR, PAGE = 512, 4096
UNITS = {".blg": (b"BLGOBLCK", 512, 80), ".seg": (b"LGRP", 64, 36)}  # magic, size of the header, where in it the length of the records is


def body_of(number, size):
    head = f"d:{number}:{size}:".encode()
    return head + hashlib.shake_128(head).digest(size - len(head))


class Unit:
    """A block of a backlog file or a group of the log, and the messages whose bodies lie in it."""

    def __init__(self, at, header_end, end):
        self.at, self.header_end, self.end = at, header_end, end
        self.messages = []  # (number, where its body ends)

    def may_lose(self, body_end, begin, end, is_group):
        """Whether damage to [begin, end) excuses the loss of one message."""
        if end <= self.at or begin >= self.end:
            return False
        return is_group or begin < body_end


class Store:
    """The data directory of a killed daemon, and where in its files each message lies."""

    def __init__(self, ctx):
        self.dir = os.path.join(ctx.dir, "template")
        self.bodies = {}
        self.sent, self.acked = {name: set() for name in QUEUES}, {name: set() for name in QUEUES}
        node = Node(ctx.options() | STORE, data=self.dir)
        try:
            node.start()
            self.fill(node, random.Random(f"{ctx.seed}/store"))
        finally:
            node.kill()
            node.remove()
        self.units = {path: self.look(path) for path in self.files()}

    def fill(self, node, rng):
        ch = wire.Conn.open(node, timeout=DEADLINE_S).channel(1)
        ch.call("exchange.declare", exchange="d.fan", type="fanout", durable=True)
        for name in QUEUES:
            ch.queue(name, durable=True)
            ch.call("queue.bind", queue=name, exchange="d.fan")
        ch.call("confirm.select")
        for number in range(MESSAGES):
            size = 300000 if number % 500 == 250 else rng.randrange(10000, 60000) if rng.randrange(4) == 0 else rng.randrange(100, 3000)
            self.bodies[number] = body_of(number, size)
            targets = QUEUES if rng.randrange(4) == 0 else (rng.choice(QUEUES),)
            for name in targets:
                self.sent[name].add(number)
            ch.publish("d.fan" if len(targets) > 1 else "", targets[0], self.bodies[number], delivery_mode=2, message_id=str(number))
            if number % TURN == TURN - 1:
                while ch.next().delivery_tag <= number:
                    pass  # tags begin with 1
                self.acknowledge(ch, rng)

    def acknowledge(self, ch, rng):
        for name in QUEUES:
            for _ in range(rng.randrange(8)):
                got = ch.get(name, no_ack=False)
                if got is not None and rng.randrange(2):
                    ch.send("basic.ack", delivery_tag=got.delivery_tag)
                    self.acked[name].add(int(got.props["message_id"]))

    def files(self):
        return sorted(os.path.relpath(os.path.join(folder, name), self.dir) for folder, _, names in os.walk(self.dir) for name in names
                      if name.endswith((".blg", ".seg")) or name == "state")

    def look(self, path):
        with open(os.path.join(self.dir, path), "rb") as f:
            data = f.read()
        units = []
        if os.path.splitext(path)[1] in UNITS:
            magic, header, where = UNITS[os.path.splitext(path)[1]]
            for at in range(0, len(data), SECTOR):
                if data[at:at + len(magic)] == magic:
                    end = at + header + int.from_bytes(data[at + where:at + where + 4], "little")
                    units.append(Unit(at, at + header, min(end, len(data))))
        for unit in units:
            at = unit.at
            while (at := data.find(b"d:", at, unit.end)) >= 0:
                number = data[at + 2:at + 12].split(b":")[0]
                body = self.bodies.get(int(number)) if number.isdigit() else None
                if body is not None and data.startswith(body, at):
                    unit.messages.append((int(number), at + len(body)))
                    at += len(body)
                else:
                    at += 2
        return units

    def excused(self, path, begin, end):
        """Messages that may be gone with these bytes of that file."""
        is_group = path.endswith(".seg")
        found = {number for unit in self.units[path] for number, body_end in unit.messages
                 if unit.may_lose(body_end, begin, end, is_group)}
        if path.endswith(".blg") or is_group:  # a large body is not in it, its record is
            found |= {number for number, body in self.bodies.items() if len(body) >= 1 << 18}
        return found


class Damage:
    """What was done to one file; `begin` and `end` bound what is not as it was."""

    def __init__(self, path, what, begin, end):
        self.path, self.what, self.begin, self.end = path, what, begin, end

    def __str__(self):
        return f"{self.path}: {self.what}, bytes {self.begin} to {self.end}"


def write(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def cut(rng, top, path, size):
    """P3."""
    full = os.path.join(top, path)
    at = rng.randrange(size)
    kind = rng.choice(("cut", "cut", "zeros", "rubbish", "empty", "missing", "extra", "extra rubbish"))
    if kind == "cut":
        os.truncate(full, at)
    elif kind in ("zeros", "rubbish"):
        write(full, at, bytes(size - at) if kind == "zeros" else rng.randbytes(size - at))
    elif kind == "empty":
        os.truncate(full, 0)
    elif kind == "missing":
        os.unlink(full)
    else:
        name = os.path.join(os.path.dirname(full), rng.choice(("00000099.blg", "00099.seg", "state.new", "other")))
        if kind == "extra":
            shutil.copyfile(full, name)
        else:
            with open(name, "wb") as f:
                f.write(rng.randbytes(rng.randrange(70000)))
        return Damage(path, f"{kind} {os.path.basename(name)}", size, size)
    return Damage(path, kind, 0 if kind in ("empty", "missing") else at, size)


def rot(rng, top, path, size):
    """P4."""
    full = os.path.join(top, path)
    with open(full, "rb") as f:
        data = f.read()
    kind = rng.choice(("bits", "bits", "bits", "sector", "swap", "stale"))
    at = rng.randrange(size)
    if kind == "bits":
        flipped = bytearray(data[at:at + 8])
        for _ in range(rng.randrange(1, 9)):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        write(full, at, flipped)
        return Damage(path, kind, at, at + len(flipped))
    unit = SECTOR if kind == "sector" or size < 2 * PAGE else PAGE
    if size < 2 * unit:
        write(full, 0, bytes(size))
        return Damage(path, "zeros", 0, size)
    a, b = (n * unit for n in rng.sample(range(size // unit), 2))
    if kind == "sector":
        write(full, a, rng.randbytes(unit))
    elif kind == "swap":
        write(full, a, data[b:b + unit])
        write(full, b, data[a:a + unit])
        return Damage(path, f"{kind} with {b}", min(a, b), max(a, b) + unit)
    else:
        write(full, a, data[b:b + unit])
    return Damage(path, kind, a, a + unit)


def choose(store, rng):
    paths = store.files()
    kind = rng.choice((".blg", ".blg", ".blg", ".seg", ".seg", "state"))
    path = rng.choice([p for p in paths if p.endswith(kind)] or paths)
    return path, os.path.getsize(os.path.join(store.dir, path))


def read(store, node, extra):
    """What each queue has, judged by itself; numbers in order."""
    ch = wire.Conn.open(node, timeout=DEADLINE_S).channel(1)
    found = {}
    for name in QUEUES:
        found[name] = numbers = []
        while (got := ch.get(name, no_ack=False)) is not None:
            number = int(got.props.get("message_id", -1))
            body = store.bodies.get(number)
            if body is None or got.body != body:
                raise Violation(f"{name} delivers what was not sent: {len(got.body)} bytes, {got.body[:40]!r}, message {number}")
            if number not in store.sent[name] | extra:
                raise Violation(f"{name} delivers message {number}, which was not sent to it")
            numbers.append(number)
        if numbers != sorted(set(numbers)):
            raise Violation(f"{name}: the order is {numbers}")
    ch.conn.close()
    return found


def judge(store, found, damage, extra):
    """How many are gone."""
    excused = store.excused(damage.path, damage.begin, damage.end)
    gone = 0
    for name in QUEUES:
        missing = (store.sent[name] | extra) - store.acked[name] - set(found[name])
        gone += len(missing)
        if missing - excused:
            raise Violation(f"{name}: messages {sorted(missing - excused)} are gone; {sorted(missing & excused)} may be")
    return gone


def publish(store, node, number):
    ch = wire.Conn.open(node, timeout=DEADLINE_S).channel(1)
    ch.call("confirm.select")
    store.bodies[number] = body_of(number, 500)
    ch.publish("d.fan", "", store.bodies[number], delivery_mode=2, message_id=str(number))
    ch.next()
    ch.conn.close()


def one_round(store, ctx, node, damager):
    """The damage, and how many messages it cost."""
    shutil.rmtree(node.data, ignore_errors=True)
    shutil.copytree(store.dir, node.data)
    damage = damager(ctx.rng, node.data, *choose(store, ctx.rng))
    ctx.say(str(damage))
    try:
        node.start()
        gone = judge(store, read(store, node, set()), damage, set())
        if gone > 0 and damage.what == "bits" and not node.logged(r"damaged|is missing|cannot be read|cut off"):
            raise Violation(f"{gone} messages are gone, and the log says nothing")
        publish(store, node, MESSAGES)
        node.check_killed()
        node.start()
        extra = {MESSAGES}
        found = read(store, node, extra)
        if any(MESSAGES not in numbers for numbers in found.values()):
            raise Violation("a message that was confirmed after it is gone")
        judge(store, found, damage, extra)
        node.check_killed()
        return gone
    except Violation as e:
        raise Violation(f"{damage}: {e}\n{node.log_tail()}") from None
    finally:
        node.kill()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node.log_path)


def run(ctx, damager):
    store = Store(ctx)
    node = Node(ctx.options() | STORE, data=os.path.join(ctx.dir, "data"))
    try:
        costs = [one_round(store, ctx, node, damager) for _ in range(ctx.count)]
        return (f"{ctx.count} damaged stores of {sum(len(s) for s in store.sent.values())} messages, {sum(c > 0 for c in costs)} of them lost some, "
                f"{sum(costs)} in all, where the damage was; 0 others, 0 with wrong content")
    finally:
        node.kill()
        node.remove()
