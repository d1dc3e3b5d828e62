"""Plays a case on one broker and writes down all that can be seen.

After every step the broker is brought to rest: each queue is asked for its counts as often as a dead letter may have to travel, then each
channel is asked to answer. What came meanwhile belongs to the step. Names are the same in every case; tidy() removes them.
"""

import time

import wire
from generate import CHANNELS, EXCHANGES, POLICIES, QUEUES, TX_CHANNEL
from harness.http_api import HttpApi

MONITOR = 9
ALL_CHANNELS = (*CHANNELS, TX_CHANNEL)
NAMED = [*QUEUES, "fresh"]
TIMEOUT_S = 20
LOOKS_MAX = 50
QUORUM_PAUSE_S = 0.15


def tidy(broker):
    """Nothing of an earlier case is left."""
    for policy in POLICIES:
        HttpApi(broker).delete(f"/policies/%2F/{policy}")
    with wire.Conn.open(broker, timeout=TIMEOUT_S) as conn:
        ch = conn.channel(1)
        for queue in [*NAMED, "missing"]:
            ch.call("queue.delete", queue=queue)
        for exchange in [*EXCHANGES, "fresh", "missing", "nowhere"]:
            ch.call("exchange.delete", exchange=exchange)
        for source in ("amq.direct", "amq.fanout", "amq.topic", "amq.match"):
            assert ch.call("exchange.declare", exchange=source, passive=True)
        conn.close()


def declare_passive(queue):
    return wire.frame(wire.FRAME_METHOD, MONITOR, wire.encode_method("queue.declare", queue=queue, passive=True))


def play(broker, case):
    """The observations, one a step: {"reply", "events": {channel: [...]}, "queues": {name: (ready, consumers)}}."""
    tidy(broker)
    player = Player(broker)
    try:
        return [player.step(number, step) for number, step in enumerate(case)]
    finally:
        player.conn.abort()


class Player:
    def __init__(self, broker):
        self.broker = broker
        self.counts = {}  # queue -> (ready, consumers), those that are there
        self.gets = set()  # (channel, delivery tag) of basic.get
        self.deaths = {}  # (channel, delivery tag) -> how many entries x-death has
        self.has_quorum = False  # a quorum queue was declared
        self.single = {}  # queue -> is it one of a single active consumer
        self.connect()

    def connect(self):
        self.conn = wire.Conn.open(self.broker, timeout=TIMEOUT_S)
        self.channels, self.unacked, self.consumers, self.published = {}, {}, {}, 0
        for number in (*ALL_CHANNELS, MONITOR):
            self.open(number)

    def open(self, number):
        self.conn.inbox[number].clear()
        self.conn.contents.pop(number, None)
        self.channels[number] = self.conn.channel(number)
        self.unacked[number] = []
        self.gets = {(n, tag) for n, tag in self.gets if n != number}
        self.consumers.pop(number, None)
        if number == 1:
            self.published = 0
            self.channels[1].call("confirm.select")
        elif number == TX_CHANNEL:
            self.tx_settled = []  # by the transaction that is open
            self.channels[number].call("tx.select")

    # a step

    def step(self, number, step):
        self.events = {}
        try:
            reply = self.guarded(step.get("ch", 1), lambda: getattr(self, step["op"])(number, step))
            self.rest()
        except wire.NothingCame:
            reply = "nothing came"
            self.conn.abort()
            self.connect()
        except wire.SocketClosed:
            reply = "the socket was closed"
            self.connect()
        return {"reply": reply, "events": self.events, "queues": dict(sorted(self.counts.items()))}

    def guarded(self, number, action):
        """What the action returns, or the error it got; the channel is open again after that."""
        try:
            return action()
        except wire.Closed as e:
            self.collect()
            if e.scope == "channel":
                self.open(e.channel)
            else:
                self.conn.abort()
                self.connect()
            return {"closed": e.scope, "channel": e.channel, "code": e.code, "text": e.text, "ids": e.ids}

    def call(self, number, step):
        method, values = step["method"], step["values"]
        reply = self.seen(self.channels[step["ch"]].call(method, **values))
        if method == "queue.declare":
            if reply["queue"] not in self.counts:
                self.single[reply["queue"]] = bool(values.get("arguments", {}).get("x-single-active-consumer"))
            self.counts.setdefault(reply["queue"], None)
            self.has_quorum |= values.get("arguments", {}).get("x-queue-type") == "quorum"
        elif method == "queue.delete":
            self.counts.pop(values["queue"], None)
        elif method == "basic.recover":
            self.unacked[step["ch"]] = []
        return reply

    def send(self, number, step):
        self.channels[step["ch"]].send(step["method"], **step["values"])
        self.channels[step["ch"]].sync()

    def publish(self, number, step):
        props = dict(step["props"])
        if props.get("expiration") == "0" and not self.is_idle():
            del props["expiration"]  # what stands behind another message leaves at another time
        body = (b"s%d." % number).ljust(step["size"], b".")[:step["size"]] if step["size"] else b""
        ch = self.channels[1]
        ch.publish(body=body, **step["values"], **props)
        self.published += 1
        while True:
            method = ch.next()
            if method.name not in ("basic.ack", "basic.nack"):
                self.note(1, method)
            elif method.delivery_tag == self.published:
                return method.name
            else:
                raise wire.WireError(f"publish {self.published} waits, and there is {method}")

    def tx_publish(self, number, step):
        body = (b"s%d." % number).ljust(step["size"], b".")[:step["size"]] if step["size"] else b""
        ch = self.channels[TX_CHANNEL]
        ch.publish(body=body, **step["values"], **step["props"])
        ch.sync()

    def tx_end(self, number, step):
        settled, self.tx_settled = self.tx_settled, []
        reply = self.seen(self.channels[TX_CHANNEL].call(step["method"]))
        if step["method"] == "tx.rollback":
            self.unacked[TX_CHANNEL] = sorted(self.unacked[TX_CHANNEL] + settled)
        return {**reply, "has died before": any(self.deaths[TX_CHANNEL, tag] for tag in settled)}

    def policy(self, number, step):
        path = f"/policies/%2F/{step['name']}"
        api = HttpApi(self.broker)
        answer = api.delete(path) if step["body"] is None else api.put(path, step["body"])
        return answer.status

    def is_idle(self):
        return not any(self.unacked.values()) and not any(map(self.ready, self.counts))

    def ready(self, queue):
        count = self.counts.get(queue)
        return count[0] if count else 0

    def get(self, number, step):
        queue = step["queue"]
        if step["filled"] and not self.ready(queue):
            queue = next((q for q in sorted(self.counts) if self.ready(q)), queue)
        got = self.channels[step["ch"]].call("basic.get", queue=queue, no_ack=step["no_ack"])
        self.held(step["ch"], got, step["no_ack"])
        self.gets.add((step["ch"], got.values.get("delivery_tag")))
        return self.seen(got)

    def held(self, number, method, no_ack):
        if method.name != "basic.get-empty" and not no_ack:
            self.unacked[number].append(method.delivery_tag)
            deaths = (method.props.get("headers") or {}).get("x-death", [])
            self.deaths[number, method.delivery_tag] = len(deaths)

    def consume(self, number, step):
        """Left out where the broker is free to choose who gets what: two consumers of a queue, two queues into a channel."""
        at, queue = step["ch"], step["queue"]
        others = [c for c in self.consumers.values() if c["queue"] == queue]
        alone = step["exclusive"] or any(c["exclusive"] for c in others)  # refused
        if at in self.consumers or (others and not alone and not self.single.get(queue)):
            return "left out"
        ch = self.channels[at]
        ch.call("basic.qos", prefetch_count=step["prefetch"], **{"global": step["global"]})
        self.consumers[at] = {"queue": queue, "exclusive": step["exclusive"], "no_ack": step["no_ack"]}
        ok = ch.call("basic.consume", queue=queue, consumer_tag=f"c{at}", no_ack=step["no_ack"], exclusive=step["exclusive"])
        return {**self.seen(ok), "limited with gets": step["global"] and any((at, tag) in self.gets for tag in self.unacked[at])}

    def cancel(self, number, step):
        if step["ch"] not in self.consumers:
            return "no consumer"
        reply = self.seen(self.channels[step["ch"]].call("basic.cancel", consumer_tag=f"c{step['ch']}"))
        self.collect()
        self.consumers.pop(step["ch"], None)
        return reply

    def settle(self, number, step):
        at = next((n for n in (step["ch"], *ALL_CHANNELS) if self.unacked[n]), None)
        if at is None:
            return "nothing held"
        held = self.unacked[at]
        tag = held[step["nth"] % len(held)]
        values = {"delivery_tag": tag}
        if step["multiple"]:
            values = {"delivery_tag": 0 if step["all"] else tag, "multiple": True}
        if step["method"] != "basic.ack":
            values["requeue"] = step["requeue"]
        gone = [t for t in held if (step["all"] or t <= tag if step["multiple"] else t == tag)]
        self.unacked[at] = [t for t in held if t not in gone]
        if at == TX_CHANNEL:
            self.tx_settled += gone
        self.channels[at].send(step["method"], **values)
        self.channels[at].sync()
        again = "basic.ack" not in step["method"] and not step["requeue"] and any(self.deaths[at, tag] for tag in gone)
        return {"name": step["method"], "messages": len(gone), "has died before": again}

    def reopen(self, number, step):
        self.channels[step["ch"]].close()
        self.open(step["ch"])

    # looking

    def rest(self):
        """Until two looks see the same; a dead letter travels at least one queue further from one look to the next."""
        before = None
        for _ in range(LOOKS_MAX):
            rounds = self.look(len(self.counts) + 2)
            is_still = rounds is not None and rounds[-1] == rounds[-2]
            if is_still and (not self.has_quorum or rounds[-1] == before):
                break
            if self.has_quorum:  # what comes to one waits for RabbitMQ's log, and is in no count meanwhile
                before = rounds and rounds[-1]
                time.sleep(QUORUM_PAUSE_S)
        else:
            self.note_text(MONITOR, "does not come to rest")
        for number in ALL_CHANNELS:
            self.channels[number].send("channel.flow", active=True)
        for number in ALL_CHANNELS:
            error = self.guarded(number, lambda n=number: self.flow_ok(n))
            if error is not None:
                self.note_text(number, error)
        self.collect()

    def look(self, times):
        """Asks for the counts of all queues, that often and all at once; each time's, or None when a queue is not there any more."""
        monitor, queues = self.channels[MONITOR], sorted(self.counts)
        self.conn.send_bytes(b"".join(declare_passive(queue) for queue in queues) * times)
        rounds, queue = [], None
        try:
            for _ in range(times):
                for queue in queues:
                    ok = monitor.expect("queue.declare-ok")
                    self.counts[queue] = (ok.message_count, ok.consumer_count)
                rounds.append(dict(self.counts))
        except wire.Closed as e:
            if e.code != 404:
                raise
            del self.counts[queue]
            self.open(MONITOR)
            return None
        return rounds

    def flow_ok(self, number):
        while True:
            method = self.channels[number].next()
            if method.name == "channel.flow-ok":
                return
            self.note(number, method)

    def collect(self):
        """What the channels have received leaves their inboxes for the observation."""
        for number in ALL_CHANNELS:
            box = self.conn.inbox[number]
            while box and box[0].name not in ("channel.close", "connection.close"):
                self.note(number, box.popleft())

    def note(self, number, method):
        self.note_text(number, self.seen(method))
        if method.name == "basic.deliver":
            self.held(number, method, self.consumers.get(number, {}).get("no_ack", False))
        elif method.name == "basic.cancel":
            self.consumers.pop(number, None)

    def note_text(self, number, what):
        self.events.setdefault(number, []).append(what)

    @staticmethod
    def seen(method):
        what = {"name": method.name, **method.values}
        if method.body is not None:
            what.update(props=method.props, body=method.body)
        return what
