"""Cases out of a seed: a random topology, then random operations on it. A case is a list of steps; a step is a dict of JSON.

    {"op": "call", "ch": 2, "method": "queue.bind", "values": {...}}      a method that is answered
    {"op": "send", "ch": 2, "method": "basic.ack", "values": {...}}       one that is not
    {"op": "publish", "values": {"exchange", "routing_key", "mandatory", "immediate"}, "props": {...}, "size": 5}
    {"op": "get", "ch": 2, "queue": "q0", "no_ack": false, "filled": true}   from another queue when that one is empty
    {"op": "consume", "ch": 2, "queue": "q0", "prefetch": 1, "global": false, "no_ack": false, "exclusive": false}
    {"op": "cancel", "ch": 2}                                             the consumer of that channel
    {"op": "settle", "ch": 2, "method": "basic.nack", "nth": 3, "multiple": true, "requeue": false, "all": false}
                                                                          of another channel when that one holds nothing
    {"op": "reopen", "ch": 2}                                             channel.close and channel.open
    {"op": "tx_publish", …}                                               as publish, on the channel that is transactional
    {"op": "tx_end", "method": "tx.commit"}                               of that channel; or tx.rollback
    {"op": "policy", "name": "p0", "body": {…}}                           put over HTTP; a body of null: deleted

What depends on what happened before (delivery tags, whether there is a consumer) is worked out by play.py when the step's turn comes,
so that any part of a case is a case: the shrinker lives on that.

Left out is what RabbitMQ itself does not decide the same way twice: several consumers that share a queue (but single active ones), two
queues whose dead letters meet in a third within one step, and everything that waits for a clock.
"""

import random

QUEUES = ["q0", "q1", "q2", "q3", "q4"]
EXCHANGES = {"x0": "direct", "x1": "fanout", "x2": "topic", "x3": "headers"}
CHANNELS = (1, 2, 3, 4)  # 1 publishes, with confirms; it gets and acks too
TX_CHANNEL = 5  # gets and settles too, until the end of its transaction
POLICIES = ("p0", "p1")
KEYS = ["a", "b", "a.b", "a.b.c", "", "q0", "q1"]
PATTERNS = ["a", "b", "#", "*", "a.#", "*.b", "a.*.c", "#.b.#", "", "q0"]
HEADERS = [{}, {"h": 1}, {"h": "one"}, {"h": 1, "k": True}, {"k": None}, {"k": False, "h": 2}]
LONG_MS = 3600000


def generate(seed):
    return Generator(seed).case()


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.queues = QUEUES[:self.rng.randint(2, len(QUEUES))]
        self.declared = {}  # queue -> values of its declare
        # what only some cases have
        self.has_tx, self.has_quorum, self.has_policies = self.chance(0.3), self.chance(0.15), self.chance(0.3)

    def chance(self, probability):
        return self.rng.random() < probability

    def case(self):
        steps = self.topology()
        steps += [self.publish() for _ in range(self.rng.randint(0, 10))]
        for _ in range(self.rng.randint(30, 80)):
            steps.append(self.operation())
        return steps

    # the topology

    def topology(self):
        steps = [self.call("exchange.declare", exchange=x, type=t, **self.exchange_values(x)) for x, t in EXCHANGES.items()]
        self.rng.shuffle(steps)
        deaths = self.dead_letters()
        for q in self.queues:
            if self.has_quorum and self.chance(0.5):
                self.declared[q] = {"queue": q, "durable": True, "auto_delete": False,
                                    "arguments": {"x-queue-type": "quorum", **self.quorum_arguments(), **deaths.get(q, {})}}
            else:
                self.declared[q] = {"queue": q, "durable": self.chance(0.5), "auto_delete": self.chance(0.08),
                                    "arguments": {**self.queue_arguments(), **deaths.get(q, {})}}
            steps.append(self.call("queue.declare", **self.declared[q]))
        for _ in range(self.rng.randint(4, 14)):
            steps.append(self.bind())
        return steps

    def exchange_values(self, name):
        values = {"durable": self.chance(0.5), "auto_delete": self.chance(0.1), "internal": self.chance(0.02), "arguments": {}}
        if self.chance(0.3):
            values["arguments"]["alternate-exchange"] = self.rng.choice([x for x in EXCHANGES if x != name] + ["nowhere"])
        return values

    def queue_arguments(self):
        arguments = {}
        if self.chance(0.4):
            arguments["x-max-length"] = self.rng.choice([0, 1, 2, 2, 3, 3, 5, 8])
        if self.chance(0.15):
            arguments["x-max-length-bytes"] = self.rng.choice([0, 10, 40, 40, 100])
        if self.chance(0.4):
            arguments["x-overflow"] = self.rng.choice(["drop-head", "reject-publish", "reject-publish-dlx"])
        if self.chance(0.25):
            arguments["x-message-ttl"] = self.rng.choice([0, LONG_MS, LONG_MS, LONG_MS])
        # with a limit and drop-head the two differ on purpose: such a case says little, so there are few
        limited = {"x-max-length", "x-max-length-bytes"} & set(arguments) and not arguments.get("x-overflow", "").startswith("reject")
        if self.chance(0.02 if limited else 0.3):
            arguments["x-max-priority"] = self.rng.choice([1, 3, 10])
        if self.chance(0.2):
            arguments["x-single-active-consumer"] = True
        if self.chance(0.1):
            arguments["x-expires"] = LONG_MS
        return arguments

    def quorum_arguments(self):
        """Those whose effect RabbitMQ decides by the message, not by what its publisher has heard of the queue so far."""
        arguments = {}
        if self.chance(0.3):
            arguments["x-max-length"] = self.rng.choice([1, 2, 3, 5])
        if self.chance(0.4):
            arguments["x-delivery-limit"] = self.rng.choice([0, 1, 2, 5])
        if self.chance(0.2):
            arguments["x-single-active-consumer"] = True
        if self.chance(0.2):
            arguments["x-message-ttl"] = LONG_MS
        if self.chance(0.1):
            arguments["x-expires"] = LONG_MS
        return arguments

    def dead_letters(self):
        """Queues by name to their dead-letter arguments. One queue's go anywhere, the others' each to a queue of their own."""
        targets, deaths = list(self.queues), {}
        self.rng.shuffle(targets)
        free = self.rng.choice(self.queues) if self.chance(0.7) else None
        for q in self.queues:
            if q == free:
                deaths[q] = {"x-dead-letter-exchange": self.rng.choice([*EXCHANGES, "", "amq.fanout", "nowhere"])}
                if self.chance(0.6):
                    deaths[q]["x-dead-letter-routing-key"] = self.rng.choice(KEYS + self.queues)
            elif self.chance(0.5):
                deaths[q] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": targets.pop()}
        return deaths

    def bind(self):
        source = self.rng.choice(list(EXCHANGES) * 3 + ["amq.direct", "amq.fanout", "amq.topic", "amq.match"])
        kind = EXCHANGES.get(source, {"amq.match": "headers"}.get(source, source[4:]))
        arguments = {}
        if kind == "headers":
            arguments = dict(self.rng.choice(HEADERS))
            if self.chance(0.7):
                arguments["x-match"] = self.rng.choice(["all", "any", "all-with-x", "any-with-x"])
        key = self.rng.choice(PATTERNS if kind == "topic" else KEYS)
        if self.chance(0.25):
            return self.call("exchange.bind", destination=self.rng.choice(list(EXCHANGES)), source=source, routing_key=key,
                             arguments=arguments)
        return self.call("queue.bind", queue=self.queue(), exchange=source, routing_key=key, arguments=arguments)

    # operations

    def operation(self):
        weighted = [(self.publish, 16), (self.get, 7), (self.consume, 2), (self.cancel, 1), (self.settle, 9), (self.purge, 0.5),
                    (self.delete, 0.7), (self.bind, 0.7), (self.unbind, 1), (self.declare, 1.5), (self.illegal, 1.5),
                    (self.recover, 0.5), (self.reopen, 0.7)]
        if self.has_tx:
            weighted += [(self.tx_publish, 6), (self.tx_end, 4)]
        if self.has_policies:
            weighted += [(self.policy, 2)]
        return self.rng.choices([o for o, _ in weighted], [w for _, w in weighted])[0]()

    def call(self, method, ch=2, **values):
        return {"op": "call", "ch": ch, "method": method, "values": values}

    def queue(self):
        return self.rng.choice(self.queues)

    def channel(self):
        return self.rng.choice(CHANNELS)

    def taker(self):
        return self.rng.choice((*CHANNELS, TX_CHANNEL, TX_CHANNEL) if self.has_tx else CHANNELS)

    def tx_publish(self):
        step = {**self.publish(), "op": "tx_publish"}
        step["props"].pop("expiration", None)  # its time begins earlier here
        return step

    def tx_end(self):
        return {"op": "tx_end", "method": "tx.commit" if self.chance(0.7) else "tx.rollback"}

    def policy(self):
        name = self.rng.choice(POLICIES)
        if self.chance(0.25):
            return {"op": "policy", "name": name, "body": None}
        definition = self.rng.choice([
            lambda: {"max-length": self.rng.choice([0, 1, 2, 3])}, lambda: {"max-length-bytes": self.rng.choice([0, 10, 40])},
            lambda: {"max-length": 2, "overflow": self.rng.choice(["reject-publish", "drop-head"])}, lambda: {"message-ttl": LONG_MS},
            lambda: {"dead-letter-exchange": "", "dead-letter-routing-key": self.queue()}, lambda: {"expires": LONG_MS, "max-length": 4},
            lambda: {"alternate-exchange": self.rng.choice(["x1", "amq.fanout"])}, lambda: {"dead-letter-exchange": "x1", "max-length": 3}])()
        kind = "exchanges" if "alternate-exchange" in definition else self.rng.choice(["queues", "all"])
        pattern = self.rng.choice([f"^{self.queue()}$"] * 3 + ["^q[01]$", "^x[02]$", "", "nothing"])
        body = {"pattern": pattern, "definition": definition, "priority": self.rng.randint(0, 9) * 2 + POLICIES.index(name), "apply-to": kind}
        return {"op": "policy", "name": name, "body": body}

    def publish(self):
        exchange = self.rng.choice([""] * 14 + ["x1"] * 6 + list(EXCHANGES) * 2 + ["amq.direct", "amq.fanout", "amq.topic", "amq.match"])
        values = {"exchange": exchange, "routing_key": self.rng.choice(self.queues if exchange == "" else KEYS)}
        if self.chance(0.3):
            values["mandatory"] = True
        props = {}
        headers = dict(self.rng.choice(HEADERS)) if self.chance(0.4) else {}
        if self.chance(0.12):
            headers[self.rng.choice(["CC", "CC", "BCC"])] = [self.rng.choice(KEYS + self.queues) for _ in range(self.rng.randint(0, 2))]
        if headers:
            props["headers"] = headers
        if self.chance(0.4):
            props["priority"] = self.rng.choice([0, 1, 2, 5, 9, 255])
        if self.chance(0.5):
            props["delivery_mode"] = self.rng.choice([1, 2])
        if self.chance(0.12):  # what has no time at all stays in RabbitMQ's quorum queues until something moves there
            props["expiration"] = self.rng.choice([str(LONG_MS)] if self.has_quorum else ["0", "0", str(LONG_MS)])
        if self.chance(0.1):
            props.update(self.rng.choice([{"message_id": "m"}, {"type": "t", "app_id": "a"}, {"correlation_id": "c", "reply_to": "r"},
                                          {"content_type": "text/plain", "content_encoding": "utf-8"}, {"user_id": "guest"},
                                          {"timestamp": 1}]))
        return {"op": "publish", "values": values, "props": props, "size": self.rng.choice([0, 1, 4, 4, 10, 30, 50])}

    def get(self):
        return {"op": "get", "ch": self.taker(), "queue": self.queue(), "no_ack": self.chance(0.25), "filled": self.chance(0.9)}

    def consume(self):
        return {"op": "consume", "ch": self.rng.choice(CHANNELS[1:]), "queue": self.queue(), "prefetch": self.rng.choice([0, 1, 2, 3, 10]),
                "global": self.chance(0.2), "no_ack": self.chance(0.1), "exclusive": self.chance(0.1)}

    def cancel(self):
        return {"op": "cancel", "ch": self.rng.choice(CHANNELS[1:])}

    def settle(self):
        method = self.rng.choice(["basic.ack", "basic.nack", "basic.nack", "basic.reject"])
        return {"op": "settle", "ch": self.taker(), "method": method, "nth": self.rng.randrange(8), "requeue": self.chance(0.4),
                "multiple": method != "basic.reject" and self.chance(0.4), "all": self.chance(0.2)}

    def purge(self):
        return self.call("queue.purge", self.channel(), queue=self.queue())

    def delete(self):
        if self.chance(0.25):
            return self.call("exchange.delete", self.channel(), exchange=self.rng.choice(list(EXCHANGES)), if_unused=self.chance(0.5))
        return self.call("queue.delete", self.channel(), queue=self.queue(), if_unused=self.chance(0.3), if_empty=self.chance(0.3))

    def unbind(self):
        step = self.bind()  # often one that is not there
        step["method"] = step["method"].replace("bind", "unbind")
        return step

    def declare(self):
        queue = self.queue()
        values = {k: dict(v) if isinstance(v, dict) else v for k, v in self.declared[queue].items()}
        kind = self.rng.choice(["same", "passive", "durable", "arguments", "exchange", "exchange passive"])
        if kind == "passive":
            values = {"queue": self.rng.choice([queue, "missing"]), "passive": True}
        elif kind == "durable":
            values["durable"] = not values["durable"]
        elif kind == "arguments":
            if values["arguments"] and self.chance(0.4):
                del values["arguments"][self.rng.choice(list(values["arguments"]))]
            else:
                values["arguments"].update(self.rng.choice([{"x-max-length": 7}, {"x-overflow": "reject-publish"}, {"x-message-ttl": LONG_MS + 1},
                                                            {"x-max-priority": 2}, {"x-dead-letter-exchange": "x0"}, {"other": 1},
                                                            {"x-expires": 9000000}, {"x-max-length-bytes": 7}]))
        elif kind.startswith("exchange"):
            name = self.rng.choice([*EXCHANGES, "amq.direct", ""])
            values = {"exchange": name, "type": self.rng.choice([EXCHANGES.get(name, "direct"), "topic"]),
                      "passive": kind == "exchange passive", **self.exchange_values(name)}
            return self.call("exchange.declare", self.channel(), **values)
        return self.call("queue.declare", self.channel(), **values)

    def recover(self):
        return self.call("basic.recover", self.channel(), requeue=not self.chance(0.1))

    def reopen(self):
        return {"op": "reopen", "ch": self.channel()}

    # what is refused

    def illegal(self):
        ch, q = self.channel(), self.queue()
        publish = lambda values, **props: {"op": "publish", "values": {"exchange": "", "routing_key": q, **values}, "props": props, "size": 4}
        arguments = self.rng.choice([{"x-max-length": -1}, {"x-max-length": "a"}, {"x-overflow": "other"}, {"x-overflow": 1},
                                     {"x-max-priority": 256}, {"x-max-priority": -1}, {"x-dead-letter-routing-key": "k"},
                                     {"x-dead-letter-exchange": 5}, {"x-message-ttl": -1}, {"x-message-ttl": "0"}, {"x-expires": 0},
                                     {"x-single-active-consumer": "yes"}, {"x-queue-type": "other"}, {"x-queue-mode": "other"},
                                     {"x-max-length-bytes": 1.5}, {"x-max-length": None}])
        return self.rng.choice([
            lambda: self.call("queue.declare", ch, queue="fresh", arguments=arguments),
            lambda: self.call("queue.declare", ch, queue="amq.mine"),
            lambda: self.call("queue.bind", ch, queue=self.rng.choice([q, "missing"]), exchange=self.rng.choice(["", "missing"]),
                              routing_key="k"),
            lambda: self.call("queue.unbind", ch, queue=self.rng.choice([q, "missing"]), exchange=self.rng.choice(["", "missing"]),
                              routing_key="k"),
            lambda: self.call("queue.bind", ch, queue=q, exchange="x3", routing_key="", arguments={"x-match": self.rng.choice(["some", 1])}),
            lambda: self.call("exchange.bind", ch, destination=self.rng.choice(["missing", "", "x0"]),
                              source=self.rng.choice(["missing", ""]), routing_key="k"),
            lambda: self.call("queue.purge", ch, queue="missing"),
            lambda: self.call("queue.delete", ch, queue="missing"),
            lambda: self.call("exchange.declare", ch, exchange="amq.mine", type="direct"),
            lambda: self.call("exchange.declare", ch, exchange="fresh", type="no-type-of-any"),
            lambda: self.call("exchange.declare", ch, exchange="fresh", type="direct", arguments={"alternate-exchange": 5}),
            lambda: self.call("exchange.delete", ch, exchange=self.rng.choice(["amq.direct", "", "missing"])),
            lambda: self.call("basic.qos", ch, prefetch_size=10),
            lambda: self.call("basic.cancel", ch, consumer_tag="missing"),
            lambda: self.call("channel.flow", ch, active=False),
            lambda: self.call("tx.commit", ch),
            lambda: self.call("tx.select", 1),
            lambda: self.call("channel.open", ch),
            lambda: {"op": "get", "ch": ch, "queue": "missing", "no_ack": True, "filled": False},
            lambda: {"op": "consume", "ch": max(ch, 2), "queue": "missing", "prefetch": 0, "global": False, "no_ack": True,
                     "exclusive": False},
            lambda: {"op": "send", "ch": ch, "method": "basic.ack", "values": {"delivery_tag": 900, "multiple": self.chance(0.5)}},
            lambda: {"op": "send", "ch": ch, "method": "basic.nack", "values": {"delivery_tag": 901, "requeue": True}},
            lambda: {"op": "send", "ch": ch, "method": "basic.reject", "values": {"delivery_tag": 902}},
            lambda: publish({"exchange": "missing"}),
            lambda: publish({"immediate": True}),
            lambda: publish({}, user_id="somebody"),
            lambda: publish({}, expiration=self.rng.choice(["a", "-1", "", "1.5"])),
            lambda: publish({}, headers={"CC": self.rng.choice(["q0", 5, {"a": 1}])}),
            lambda: publish({}, headers={"CC": [1, "q0"]}),
        ])()
