"""P7: a client dies at every byte of a publish to three queues: all of the message is there, or nothing of it; memory comes back.

The client sends message A whole and message B up to a byte, and then resets the connection, ends it, or falls silent (a peer that
has vanished: only the missing heartbeats tell). Plain, with confirms, in a transaction that is never committed, and in one whose
commit is what is cut. What was sent before an orderly end of the stream has to count; what a reset overtook may.
"""

import socket
import struct

import wire
from node import Node, Violation, drain, wait_until

QUEUES = ("p7.a", "p7.b", "p7.c")
BIG_BYTES, BIG_CLIENTS, BIG_ROUNDS = 1 << 20, 40, 4
GROWTH_MAX = 12 << 20


class Attempt:
    """One client's death. `cut` bytes of B's stream were sent."""

    def __init__(self, number, mode, ending, cut, whole):
        self.number, self.mode, self.ending, self.cut, self.is_whole = number, mode, ending, cut, cut == whole

    def body(self, which):
        return f"p7 {self.number:06} {which}".encode()

    def allowed(self, which):
        """How many copies of A or B there may be in each queue."""
        if self.mode == "tx":
            return {0}
        if self.mode == "commit":
            return {0, 1} if self.is_whole else {0}  # without commit-ok nobody knows
        if which == "B" and not self.is_whole:
            return {0}
        # Silence comes after everything has arrived.
        return {0, 1} if self.ending == "rst" else {1}


def open_client(node, mode, heartbeat=0):
    conn = wire.Conn.open(node, heartbeat=heartbeat, timeout=30)
    ch = conn.channel(1)
    if mode == "confirm":
        ch.call("confirm.select")
    elif mode in ("tx", "commit"):
        ch.call("tx.select")
    return conn, ch


def stream(ch, attempt):
    publish = lambda which: ch.publish_bytes("p7", "", attempt.body(which), delivery_mode=2, message_id="p7")
    tail = wire.frame(wire.FRAME_METHOD, 1, wire.encode_method("tx.commit")) if attempt.mode == "commit" else b""
    return publish("A"), publish("B") + tail


def die(conn, ending):
    if ending == "rst":
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif ending == "fin":
        conn.sock.shutdown(socket.SHUT_WR)
        conn.expect_end()
    conn.sock.close()


def judge(node, attempts):
    found = {queue: [m.body for m in drain(node, queue)] for queue in QUEUES}
    known = {a.body(which): (a, which) for a in attempts for which in "AB"}
    for queue, bodies in found.items():
        for body in bodies:
            if body not in known:
                raise Violation(f"{queue} has a message that nobody sent whole: {body!r}")
    for body, (a, which) in known.items():
        counts = {queue: found[queue].count(body) for queue in QUEUES}
        where = f"message {which}, {a.mode}, {a.ending} after {a.cut} bytes of B (whole: {a.is_whole}): {counts}"
        if len(set(counts.values())) != 1:
            raise Violation(f"a part of the queues has it: {where}")
        if counts[QUEUES[0]] not in a.allowed(which):
            raise Violation(f"not what was promised: {where}")
    for a in attempts:
        if a.mode == "commit" and (a.body("A") in found[QUEUES[0]]) != (a.body("B") in found[QUEUES[0]]):
            raise Violation(f"half a transaction: {a.ending} after {a.cut} bytes")


def each_byte(node, mode, ending, number):
    """All deaths of one kind. The next free number."""
    probe = Attempt(0, mode, ending, 0, 0)
    conn, ch = open_client(node, mode)
    whole = len(stream(ch, probe)[1])
    conn.close()
    attempts, silent = [], []
    for cut in range(whole + 1):
        a = Attempt(number, mode, ending, cut, whole)
        number += 1
        conn, ch = open_client(node, mode, heartbeat=1 if ending == "silence" else 0)
        first, second = stream(ch, a)
        conn.send_bytes(first + second[:cut])
        attempts.append(a)
        if ending == "silence":
            silent.append(conn)
        else:
            die(conn, ending)
    node.wait_alone()
    for conn in silent:
        conn.sock.close()
    judge(node, attempts)
    return number


def half_a_megabyte(node):
    clients = []
    for _ in range(BIG_CLIENTS):
        conn, ch = open_client(node, "plain")
        data = ch.publish_bytes("p7", "", b"x" * BIG_BYTES, delivery_mode=2)
        conn.send_bytes(data[:len(data) // 2])
        clients.append(conn)
    for conn in clients:
        die(conn, "rst")
    node.wait_alone()


def check_memory(node):
    """The same again and again must not make it larger."""
    half_a_megabyte(node)
    half_a_megabyte(node)
    before = node.resident_bytes()
    for _ in range(BIG_ROUNDS):
        half_a_megabyte(node)
    grown = node.resident_bytes() - before
    if grown > GROWTH_MAX:
        raise Violation(f"{BIG_ROUNDS * BIG_CLIENTS} clients that died in the middle of 1 MiB left {grown >> 20} MiB behind")


def run(ctx):
    node = Node(ctx.options())
    node.start()
    try:
        conn = wire.Conn.open(node)
        ch = conn.channel(1)
        ch.call("exchange.declare", exchange="p7", type="fanout", durable=True)
        for queue in QUEUES:
            ch.queue(queue, durable=True)
            ch.call("queue.bind", queue=queue, exchange="p7")
        conn.close()
        node.wait_alone()
        sockets = node.sockets()
        number = 0
        for _ in range(ctx.count):
            for mode in ("plain", "confirm", "tx", "commit"):
                for ending in ("rst", "fin", "silence"):
                    number = each_byte(node, mode, ending, number)
        check_memory(node)
        wait_until(lambda: node.sockets() <= sockets, "sockets are still open")
        node.stop()
        return f"{number} deaths in the middle of a publish, 0 parts of messages"
    finally:
        node.kill()
        node.remove()
