"""The checker: what was attempted, what was promised, what came; and whether that can be true (invariant I0). No code of the product.

A message goes to one or more queues: a *copy* in each. What is known of a copy:

    OPEN     sent, not confirmed: a crash may keep it or lose it
    SURE     confirmed, or committed, or seen after a restart: it has to be there
    ACKED    an acknowledgement was sent: a crash may bring it back, but only marked redelivered
    DROPPED  purged (which a crash may undo, as it may an ack), or a delete is on its way: either, and unmarked
    GONE     acknowledged in a committed transaction, deleted with its queue, or not there after a restart: it must never come again

After each restart every queue is read from end to end (`audit`): each copy that has to be there is, none is twice, none is unknown, bodies
and properties are what was sent, the messages of one publisher are in order, second deliveries are marked. A transaction whose
commit was not answered happened as a whole or not at all. Transient messages are gone. What an audit has seen holds from then on.

Everything is called from many threads; the first thing that cannot be true raises Violation and is remembered.
"""

import hashlib
import threading

from node import Violation

OPEN, SURE, ACKED, DROPPED, GONE = "open", "sure", "acked", "dropped", "gone"


def without_count(props):
    """What the publisher sent: a queue that limits deliveries adds their count to the headers."""
    if "x-delivery-count" not in props.get("headers", {}):
        return props
    headers = {key: value for key, value in props["headers"].items() if key != "x-delivery-count"}
    rest = {key: value for key, value in props.items() if key != "headers"}
    return {**rest, "headers": headers} if headers else rest


class Queue:
    """One incarnation of a queue: a name that is deleted and declared again is another one."""

    def __init__(self, name, number, arguments):
        self.name, self.number, self.arguments = name, number, arguments
        self.copies = {}  # message id -> Copy
        self.is_sure = False  # declare-ok came
        self.is_deleting = self.is_gone = False

    def __repr__(self):
        return f"{self.name}#{self.number}"


class Message:
    __slots__ = ("id", "publisher", "number", "exchange", "key", "size", "props", "tx", "copies")

    def __init__(self, publisher, number, exchange, key, size, props, tx):
        self.publisher, self.number, self.exchange, self.key, self.size = publisher, number, exchange, key, size
        self.id = f"{publisher}:{number}"
        self.props = {**props, "message_id": self.id}
        self.tx, self.copies = tx, []

    def body(self):
        """Follows from the name, so that nothing has to be kept."""
        head = f"{self.id}:{self.size}:".encode()
        return head + hashlib.shake_128(head).digest(max(0, self.size - len(head)))

    @property
    def is_persistent(self):
        return self.props.get("delivery_mode") == 2


class Copy:
    __slots__ = ("message", "queue", "state", "delivered", "holder", "ack_tx", "is_overtaking")

    def __init__(self, message, queue):
        self.message, self.queue = message, queue
        self.is_overtaking = False  # the daemon is ending, and all that was read of it is a second delivery: the first may be read yet
        self.state, self.delivered, self.holder, self.ack_tx = OPEN, 0, None, None

    @property
    def is_stored(self):
        """A quorum queue stores whatever it takes."""
        return self.message.is_persistent or (self.queue.arguments or {}).get("x-queue-type") == "quorum"

    def __repr__(self):
        return f"{self.message.id} in {self.queue} ({self.state}, delivered {self.delivered} times)"


class Tx:
    """`state`: open, committing (sent), committed (answered), void (rolled back, or its client died before it sent commit)."""

    def __init__(self):
        self.state, self.publishes, self.acks = "open", [], []


class Ledger:
    def __init__(self):
        self.lock = threading.RLock()
        self.queues = {}  # name -> the newest Queue
        self.next_number = {}
        self.incarnation = 0
        self.txs = []  # not decided
        self.violation = None
        self.is_closing = False  # the daemon ends the connections one after the other: what one held another may still get
        self.may_lose_channel = set()  # consumers whose channel may end at any time: others may hear of it first
        self.newest = {}  # (consumer, queue, publisher) -> number of the last first delivery
        self.counts = dict.fromkeys(("attempted", "confirmed", "refused", "delivered", "redelivered", "acked", "committed", "audited",
                                     "kept", "let_go", "deaths", "overtaken"), 0)

    def fail(self, text):
        with self.lock:
            if self.violation is None:
                self.violation = text
        raise Violation(text)

    # -- queues ----------------------------------------------------------------------------------------------------

    def declare(self, name, arguments=None):
        """Before queue.declare is sent. The same incarnation when it is known to be there."""
        with self.lock:
            queue = self.queues.get(name)
            if queue is None or queue.is_gone:
                self.incarnation += 1
                queue = self.queues[name] = Queue(name, self.incarnation, dict(arguments or {}))
            return queue

    def declared(self, queue):
        queue.is_sure = True

    def drop(self, queue, is_delete):
        """Before queue.purge or queue.delete is sent."""
        with self.lock:
            queue.is_deleting |= is_delete
            for copy in queue.copies.values():
                if copy.state in (OPEN, SURE, ACKED):
                    copy.state = DROPPED

    def dropped(self, queue, is_delete):
        """purge-ok or delete-ok."""
        with self.lock:
            queue.is_gone |= is_delete
            for copy in queue.copies.values() if is_delete else ():
                copy.state = GONE if copy.state == DROPPED else copy.state

    # -- publishing --------------------------------------------------------------------------------------------------

    def publish(self, publisher, exchange, key, queues, size, props, tx=None):
        """Before basic.publish is sent."""
        with self.lock:
            number = self.next_number[publisher] = self.next_number.get(publisher, 0) + 1
            message = Message(publisher, number, exchange, key, size, props, tx)
            for queue in queues:
                copy = Copy(message, queue)
                message.copies.append(copy)
                queue.copies[message.id] = copy
            if tx is not None:
                tx.publishes.extend(message.copies)
            self.counts["attempted"] += 1
            return message

    def confirmed(self, message):
        with self.lock:
            self.counts["confirmed"] += 1
            for copy in message.copies:
                if copy.state == OPEN:
                    copy.state = SURE

    def refused(self, message):
        self.counts["refused"] += 1

    # -- transactions ------------------------------------------------------------------------------------------------

    def begin(self):
        tx = Tx()
        with self.lock:
            self.txs.append(tx)
        return tx

    def ack_in(self, tx, copy):
        with self.lock:
            copy.ack_tx = tx
            tx.acks.append(copy)

    def committing(self, tx):
        tx.state = "committing"

    def committed(self, tx):
        with self.lock:
            tx.state = "committed"
            self.txs.remove(tx)
            self.counts["committed"] += 1
            for copy in tx.publishes:
                if copy.state == OPEN:
                    copy.state = SURE
            for copy in tx.acks:
                copy.state, copy.holder, copy.ack_tx = GONE, None, None

    def rolled_back(self, tx):
        """The acknowledged ones stay with their holder."""
        with self.lock:
            tx.state = "void"
            self.txs.remove(tx)
            for copy in tx.publishes:
                copy.state = GONE
            for copy in tx.acks:
                copy.ack_tx = None

    # -- consuming ---------------------------------------------------------------------------------------------------

    def identify(self, queue, got):
        """The copy that a delivery is of; everything about it but its turn is checked here."""
        name = got.props.get("message_id", "")
        copy = queue.copies.get(name)
        if copy is None:
            self.fail(f"{queue} delivers a message that was never sent to it: {got}")
        message = copy.message
        if got.body != message.body():
            self.fail(f"{copy} is damaged: {len(got.body)} bytes, {got.body[:60]!r}, sent {message.size}")
        if (got.exchange, got.routing_key, without_count(got.props)) != (message.exchange, message.key, message.props):
            self.fail(f"{copy} has other properties or another route: {got}, sent {message.exchange} {message.key} {message.props}")
        if message.tx is not None and message.tx.state in ("open", "void"):
            self.fail(f"{copy} is of a transaction that was not committed ({message.tx.state})")
        if copy.is_overtaking and not got.redelivered:
            return copy
        if copy.state == GONE:
            self.fail(f"{copy} came back")
        if copy.delivered > 0 and not got.redelivered:
            self.fail(f"{copy} comes again and is not marked redelivered")
        return copy

    def delivered(self, consumer, queue, got):
        with self.lock:
            copy = self.identify(queue, got)
            message = copy.message
            if copy.is_overtaking and not got.redelivered:
                # Another connection was faster: this one had the message first, lost it with its end, and is only now read.
                copy.is_overtaking = False
                self.counts["overtaken"] += 1
                return copy
            if self.is_closing and got.redelivered:
                copy.is_overtaking |= copy.delivered == 0
                copy.holder = None
            elif got.redelivered and copy.holder in self.may_lose_channel:
                copy.holder = None
            elif copy.state in (ACKED, DROPPED) and not queue.is_deleting:
                self.fail(f"{copy} comes again, and there was no crash")
            if copy.holder is not None:
                self.fail(f"{copy} is delivered to {consumer} and held by {copy.holder}")
            if not got.redelivered:
                key = (consumer, queue.number, message.publisher)
                if self.newest.get(key, 0) >= message.number:
                    self.fail(f"{copy} comes after {message.publisher}:{self.newest[key]}")
                self.newest[key] = message.number
            copy.delivered += 1
            copy.holder = consumer
            self.counts["redelivered" if got.redelivered else "delivered"] += 1
            return copy

    def ack(self, copy):
        with self.lock:
            copy.state, copy.holder = ACKED, None
            self.counts["acked"] += 1

    def requeue(self, copy):
        with self.lock:
            copy.holder = None

    # -- death and after ---------------------------------------------------------------------------------------------

    def died(self):
        """All connections have ended, however."""
        with self.lock:
            self.counts["deaths"] += 1
            self.is_closing = False
            self.newest.clear()
            for queue in self.queues.values():
                for copy in queue.copies.values():
                    copy.holder, copy.is_overtaking = None, False
            for tx in self.txs:
                tx.state = "void" if tx.state == "open" else tx.state

    def audit(self, queue, got, is_restarted=True):
        """All that is in the queue, in order. is_restarted: the daemon has been started since anything else happened."""
        with self.lock:
            if self.violation is not None:
                raise Violation(self.violation)
            seen, last = {}, {}
            for method in got:
                copy = self.identify(queue, method)
                message = copy.message
                if message.id in seen:
                    self.fail(f"{copy} is there twice")
                if copy.state == ACKED and not method.redelivered:
                    self.fail(f"{copy} was acknowledged, comes back and is not marked redelivered")
                if is_restarted and not copy.is_stored:
                    self.fail(f"{copy} is transient and survived a restart")
                if last.get(message.publisher, 0) > message.number:
                    self.fail(f"{copy} lies behind {message.publisher}:{last[message.publisher]}")
                last[message.publisher] = message.number
                seen[message.id] = copy
                copy.delivered += 1
            for copy in list(queue.copies.values()):
                self.settle(copy, copy.message.id in seen)
            self.counts["audited"] += len(seen)
            return list(seen.values())

    def settle(self, copy, is_there):
        """What a look at the queue says of a copy."""
        is_undecided = copy.ack_tx is not None and copy.ack_tx.state == "committing"
        if not is_there and copy.state == SURE and copy.is_stored and not is_undecided:
            self.fail(f"{copy} is lost")
        if not is_there and copy.state == OPEN:
            self.counts["let_go"] += 1
        if is_there and copy.state == OPEN:
            self.counts["kept"] += 1
        # Decided with the rest of their transaction (audited).
        if is_undecided or copy.message.tx is not None and copy.message.tx.state == "committing" and copy.state == OPEN:
            return
        copy.state = SURE if is_there else GONE

    def audited(self, present):
        """After the audit of all queues: `present` are all copies that are there. Transactions are whole or void."""
        with self.lock:
            for tx in self.txs:
                if tx.state == "void":
                    for copy in tx.acks:
                        copy.ack_tx = None
                    continue
                happened = {copy: copy in present for copy in tx.publishes if copy.state == OPEN and copy.is_stored}
                happened |= {copy: True for copy in tx.publishes if copy.state == SURE and copy in present}  # acknowledged, and back
                happened |= {copy: copy not in present for copy in tx.acks if copy.state == SURE and copy.is_stored}
                if len(set(happened.values())) > 1:
                    self.fail("half a transaction: " + ", ".join(f"{c}: {'yes' if h else 'no'}" for c, h in happened.items()))
                for copy in tx.publishes:
                    if copy.state == OPEN:
                        copy.state = SURE if copy in present else GONE
                for copy in tx.acks:
                    copy.ack_tx = None
                    if copy.state == SURE and copy not in present:
                        copy.state = GONE
                tx.state = "committed" if any(happened.values()) else "void"
            self.txs = []
            for queue in self.queues.values():  # names that are done with are only kept as long as they may come back
                old = [key for key, copy in queue.copies.items() if copy.state == GONE and copy.message.number + 20000 <
                       self.next_number[copy.message.publisher]]
                for key in old:
                    del queue.copies[key]

    def summary(self):
        return ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
