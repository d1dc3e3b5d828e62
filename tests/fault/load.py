"""Clients that publish, consume, acknowledge and commit until the daemon dies under them, and tell the ledger first.

Each actor is a thread with a connection of its own. The end of the connection is expected once the daemon is gone (or is being killed);
anything else the broker says no to is a violation.
"""

import select
import threading
import time

import pika
import pika.exceptions

import wire
from node import DEADLINE_S, Violation

QUEUE_KINDS = {
    "f.plain": {},
    "f.lazy": {"x-queue-mode": "lazy"},
    "f.quorum": {"x-queue-type": "quorum", "x-delivery-limit": -1},  # audits deliver, too
    "f.dlx": {"x-dead-letter-exchange": "f.dead"},
    "f.other": {},
    "f.dead": {},
}
FAN = ("f.plain", "f.lazy", "f.quorum", "f.other")  # bound to the exchange f.fan
WINDOW = 100


class World:
    """What the actors of a run share."""

    def __init__(self, ledger, seed, large_bytes=0, may_refuse=False):
        self.ledger, self.seed = ledger, seed
        self.large_bytes = large_bytes  # now and then a body of that size; 0: never
        self.may_refuse = may_refuse    # nacks and failed commits are no violation (a disk that fails)
        self.may_refuse_tx = False      # commits alone (a log that is small)
        self.is_ending = threading.Event()
        self.blocked = set()            # names of publishers that were told connection.blocked, and not the end of it
        self.times_blocked = 0
        self.queues = {}
        self.names = {}

    def set_up(self, node):
        """Declares what is there always. Idempotent."""
        conn = wire.Conn.open(node, timeout=DEADLINE_S)
        ch = conn.channel(1)
        for exchange in ("f.fan", "f.dead"):
            ch.call("exchange.declare", exchange=exchange, type="fanout", durable=True)
        for name, arguments in QUEUE_KINDS.items():
            queue = self.queues[name] = self.ledger.declare(name, arguments)
            ch.queue(name, durable=True, arguments=arguments)
            self.ledger.declared(queue)
        for name in FAN:
            ch.call("queue.bind", queue=name, exchange="f.fan")
        ch.call("queue.bind", queue="f.dead", exchange="f.dead")
        conn.close()

    def targets(self, route):
        return [self.queues[name] for name in (FAN if route == "f.fan" else (route,))]

    def size(self, rng):
        dice = rng.randrange(200)
        if dice == 0 and self.large_bytes:
            return self.large_bytes + rng.randrange(self.large_bytes)
        return rng.randrange(40, 200) if dice < 130 else rng.randrange(200, 3000) if dice < 190 else rng.randrange(3000, 20000)

    def props(self, rng):
        props = {"delivery_mode": 1 if rng.randrange(12) == 0 else 2}
        if rng.randrange(3) == 0:
            props |= {"content_type": "text/plain", "headers": {"n": rng.randrange(1 << 30), "deep": {"list": [1, "zwei", True]}}}
        return props


class Actor(threading.Thread):
    def __init__(self, world, node, name, rng):
        super().__init__(name=name, daemon=True)
        self.world, self.node, self.rng, self.ledger = world, node, rng, world.ledger
        self.error = None

    def run(self):
        try:
            self.work()
        except Violation as e:
            self.error = str(e)
        except (wire.SocketClosed, OSError) as e:
            self.expect_end(repr(e))
        except wire.Closed as e:
            # What the disk refuses: 406 is a commit, 541 a change of metadata.
            if e.code == 406 and self.world.may_refuse_tx:
                return
            if e.code != 320 and not (e.code in (406, 541) and self.world.may_refuse):
                self.error = f"{self.name}: {e}"
        except (wire.NothingCame, wire.WireError) as e:
            if self.node.is_alive() and not self.world.is_ending.is_set():
                self.error = f"{self.name}: {e!r}"
        except pika.exceptions.AMQPError as e:
            self.expect_end(repr(e))

    def expect_end(self, text):
        """The connection ended: right when the daemon is gone, or about to go."""
        deadline = time.monotonic() + 5
        while self.node.is_alive() and not self.world.is_ending.is_set():
            if time.monotonic() > deadline:
                self.error = f"{self.name}: the connection ended, the daemon did not: {text}"
                return
            time.sleep(0.01)

    def open(self):
        conn = wire.Conn.open(self.node, timeout=DEADLINE_S)
        return conn, conn.channel(1)

    def work(self):
        raise NotImplementedError


def take(conn, wait=0.0):
    """Reads one frame if one is there, or comes within `wait` seconds."""
    size = int.from_bytes(conn.buffer[3:7], "big") + 8 if len(conn.buffer) >= 7 else None
    if size is None or len(conn.buffer) < size:
        if not select.select([conn.sock], [], [], wait)[0]:
            return False
    conn.pump()
    return True


def heed(world, name, conn):
    """Takes connection.blocked and connection.unblocked. Whether the publisher may go on."""
    notices = conn.inbox[0]
    while notices and notices[0].name in ("connection.blocked", "connection.unblocked"):
        if notices.popleft().name == "connection.blocked":
            world.blocked.add(name)
            world.times_blocked += 1
        else:
            world.blocked.discard(name)
    return name not in world.blocked


def publish(ch, message):
    ch.publish(message.exchange, message.key, message.body(), **message.props)


class Confirms:
    """The open publishes of a channel in confirm mode; every tag is answered once."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.open, self.next_tag, self.last = {}, 1, 0

    def sent(self, message):
        self.open[self.next_tag] = message
        self.next_tag += 1

    def take(self, method):
        ledger = self.world.ledger
        if method.name not in ("basic.ack", "basic.nack"):
            raise Violation(f"{self.name}: {method} instead of a confirm")
        tag = method.delivery_tag
        tags = [t for t in self.open if t <= tag] if method.multiple else [tag]
        if not tags or any(t not in self.open for t in tags):
            raise Violation(f"{self.name}: {method} confirms what is not open; the last was {self.last}, open from {min(self.open, default=None)}")
        self.last = tag
        for t in tags:
            message = self.open.pop(t)
            if method.name == "basic.ack":
                ledger.confirmed(message)
            elif self.world.may_refuse:
                ledger.refused(message)
            else:
                raise Violation(f"{self.name}: {message.id} is refused")


class Publisher(Actor):
    """Confirms, many on the way; one queue or several."""

    def routes(self):
        return ("f.fan", *QUEUE_KINDS)

    def work(self):
        conn, ch = self.open()
        ch.call("confirm.select")
        confirms = Confirms(self.world, self.name)
        while True:
            may_go_on = heed(self.world, self.name, conn)
            for _ in range(self.rng.randrange(1, 30) if may_go_on else 0):
                routes = self.routes()
                route = routes[0] if self.rng.randrange(4) == 0 else self.rng.choice(routes[-len(QUEUE_KINDS):])
                exchange, key = ("f.fan", "k") if route == "f.fan" else ("", route)
                message = self.ledger.publish(self.name, exchange, key, self.world.targets(route), self.world.size(self.rng),
                                              self.world.props(self.rng))
                confirms.sent(message)
                publish(ch, message)
            while take(conn, 0 if may_go_on and len(confirms.open) < WINDOW else 1):
                may_go_on = heed(self.world, self.name, conn)
            while conn.inbox[1] or conn.inbox[0]:
                method = conn.next(1)
                confirms.take(method)


class PikaPublisher(Actor):
    """A client that people use: each message waits for its confirm."""

    def work(self):
        connection = pika.BlockingConnection(pika.ConnectionParameters(self.node.host, self.node.port, socket_timeout=DEADLINE_S,
                                                                       blocked_connection_timeout=DEADLINE_S))
        channel = connection.channel()
        channel.confirm_delivery()
        while True:
            message = self.ledger.publish(self.name, "", "f.other", self.world.targets("f.other"), self.rng.randrange(40, 2000),
                                          {"delivery_mode": 2})
            try:
                channel.basic_publish("", "f.other", message.body(), pika.BasicProperties(delivery_mode=2, message_id=message.id))
                self.ledger.confirmed(message)
            except pika.exceptions.NackError:
                if not self.world.may_refuse:
                    raise Violation(f"{self.name}: {message.id} is refused") from None
                self.ledger.refused(message)


class TxClient(Actor):
    """Transactions over several queues of several workers: publishes, acknowledgements of what it got, commit or rollback."""

    def work(self):
        _, ch = self.open()
        ch.call("tx.select")
        if self.world.may_refuse_tx:
            self.ledger.may_lose_channel.add(self.name)
        held = []
        while True:
            tx = self.ledger.begin()
            # A commit that is refused closes the channel, and another consumer may be faster than the news of it: then nothing is held.
            for _ in range(0 if self.world.may_refuse else self.rng.randrange(3)):
                got = ch.get(name := self.rng.choice(("f.plain", "f.lazy")), no_ack=False)
                if got is not None:
                    held.append((got.delivery_tag, self.ledger.delivered(self.name, self.world.queues[name], got)))
            acked = [h for h in held if self.rng.randrange(2)]
            for tag, copy in acked:
                self.ledger.ack_in(tx, copy)
                ch.send("basic.ack", delivery_tag=tag)
            for _ in range(self.rng.randrange(1, 6)):
                route = self.rng.choice(("f.fan", "f.plain", "f.other", "f.quorum"))
                exchange, key = ("f.fan", "k") if route == "f.fan" else ("", route)
                message = self.ledger.publish(self.name, exchange, key, self.world.targets(route), self.world.size(self.rng),
                                              self.world.props(self.rng), tx)
                publish(ch, message)
            if self.rng.randrange(5) == 0:
                ch.call("tx.rollback")
                self.ledger.rolled_back(tx)
            else:
                self.ledger.committing(tx)
                ch.call("tx.commit")
                self.ledger.committed(tx)
                held = [h for h in held if h not in acked]


class Consumer(Actor):
    """Acknowledges one by one and many at once, puts back, throws away, and holds on to some."""

    queues = ("f.plain", "f.lazy", "f.quorum")
    prefetch = (1, 5, 50)  # with the smaller ones it may come to a halt, on what it holds

    def work(self):
        conn, ch = self.open()
        ch.call("basic.qos", prefetch_count=self.rng.choice(self.prefetch))
        tags = {ch.consume(name): self.world.queues[name] for name in self.queues}
        held = {}
        while True:
            method = ch.next(DEADLINE_S * 10)
            copy = self.ledger.delivered(f"{self.name}/{method.consumer_tag}", tags[method.consumer_tag], method)
            held[method.delivery_tag] = copy
            dice = self.rng.randrange(20)
            if dice < 8:
                self.ledger.ack(held.pop(method.delivery_tag))
                ch.send("basic.ack", delivery_tag=method.delivery_tag)
            elif dice < 11:
                for tag in [t for t in held if t <= method.delivery_tag]:
                    self.ledger.ack(held.pop(tag))
                ch.send("basic.ack", delivery_tag=method.delivery_tag, multiple=True)
            elif dice < 13:
                self.ledger.requeue(held.pop(method.delivery_tag))
                ch.send("basic.nack", delivery_tag=method.delivery_tag, requeue=True)
            elif dice < 14:
                self.ledger.ack(held.pop(method.delivery_tag))
                ch.send("basic.reject", delivery_tag=method.delivery_tag)
            elif len(held) >= 40:
                tag = min(held)
                self.ledger.ack(held.pop(tag))
                ch.send("basic.ack", delivery_tag=tag)


class SteadyConsumer(Consumer):
    """Never comes to a halt."""

    prefetch = (50,)


class Churner(Actor):
    """Queues that come, are filled, purged and go, under names that return."""

    def work(self):
        conn, ch = self.open()
        ch.call("confirm.select")
        confirms = Confirms(self.world, self.name)
        while True:
            name = f"f.churn{self.rng.randrange(3)}"
            queue = self.ledger.declare(name)
            ch.queue(name, durable=True)
            self.ledger.declared(queue)
            for _ in range(self.rng.randrange(20)):
                message = self.ledger.publish(self.name, "", name, [queue], self.world.size(self.rng), self.world.props(self.rng))
                confirms.sent(message)
                publish(ch, message)
            while confirms.open:
                confirms.take(ch.next())
            dice = self.rng.randrange(3)
            if dice == 0:
                continue
            self.ledger.drop(queue, dice == 1)
            ch.call("queue.delete" if dice == 1 else "queue.purge", queue=name)
            self.ledger.dropped(queue, dice == 1)


PUBLISHERS = {"p0": Publisher, "p1": Publisher, "pika": PikaPublisher}
CONSUMERS = {"c0": Consumer, "c1": Consumer}
STEADY_CONSUMERS = {"c0": SteadyConsumer, "c1": SteadyConsumer}
ALL = {**PUBLISHERS, "t0": TxClient, "u0": Churner, **CONSUMERS}


def start(world, node, rng, kinds=None):
    """Of each kind what is named (default: all), running."""
    # A name is a publisher's for ever: its numbers go on.
    actors = [kind(world, node, name, rng()) for name, kind in (kinds or ALL).items()]
    for actor in actors:
        actor.start()
    return actors


def join(world, actors):
    """After the daemon's end."""
    for actor in actors:
        actor.join(DEADLINE_S)
    if any(actor.is_alive() for actor in actors):
        raise RuntimeError(f"actors do not end: {[a.name for a in actors if a.is_alive()]}")
    world.ledger.died()
    world.blocked.clear()
    errors = [actor.error for actor in actors if actor.error]
    if errors:
        raise Violation(world.ledger.violation or "; ".join(errors))


def read_all(node, ch, name):
    """Every message of a queue, held; None when there is no such queue."""
    try:
        ready = ch.count(name)[0]
    except wire.Closed as e:
        if e.code != 404:
            raise
        return None
    got = []
    if ready:
        tag = ch.consume(name)
        deadline, asker = time.monotonic() + DEADLINE_S, None
        while len(got) < ready:
            try:
                got.append(ch.deliver(timeout=1))
            except wire.NothingCame:  # fewer than was said are fit to be delivered: the ledger will tell which
                asker = asker or ch.conn.channel(1000 + ch.number)
                if asker.count(name)[0] == 0 and not ch.conn.inbox[ch.number]:
                    break
                if time.monotonic() > deadline:
                    raise
        ch.call("basic.cancel", consumer_tag=tag)
        got.extend(ch.conn.inbox[ch.number])
        ch.conn.inbox[ch.number].clear()
    while (more := ch.get(name, no_ack=False)) is not None:
        got.append(more)
    return got


def audit(world, node, rng, keep=400, is_restarted=True):
    """Reads every queue from end to end and judges; acknowledges so many that about `keep` stay in each (None: all of them do)."""
    ledger = world.ledger
    conn = wire.Conn.open(node, timeout=DEADLINE_S)
    present, number = set(), 0
    for name, queue in list(ledger.queues.items()):
        number += 1
        ch = conn.channel(number)
        got = read_all(node, ch, name)
        if got is None:
            if queue.is_sure and not queue.is_deleting:
                raise Violation(f"{queue} is not there")
            queue.is_gone = True
            ledger.dropped(queue, True)
            continue
        if queue.is_gone:
            raise Violation(f"{queue} was deleted and is there again")
        copies = ledger.audit(queue, got, is_restarted)
        queue.is_sure, queue.is_deleting = True, False  # what is there stays there
        present |= set(copies)
        acked = [] if keep is None else [(m, c) for m, c in zip(got, copies) if rng.random() < 1 - keep / max(len(got), keep) or rng.randrange(10) == 0]
        world.names[name] = (ch, [(m, c) for m, c in acked])
    ledger.audited(present)
    # Only now: what an undecided transaction did has been settled.
    for ch, acked in world.names.values():
        for method, copy in acked:
            ledger.ack(copy)
            ch.send("basic.ack", delivery_tag=method.delivery_tag)
    world.names.clear()
    conn.close()
    return len(present)
