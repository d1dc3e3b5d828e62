"""Reads and runs the case files in cases/: one protocol situation and what the broker must answer, five lines or so each.

    case passive declare of a missing queue         a title; a blank line ends the case
    as lim                                          log in as this user (default: guest)
    vhost other                                     … to this vhost (default: spec)
    only leveret: REASON | only rabbitmq: REASON    skipped on the other one
    other: queue.declare queue=mine exclusive       a step on a second connection, which stays open
    2: basic.consume queue=q                        a step on channel 2 (default 1), opened when it is first used
    queue.declare queue=nosuch passive              a step: a method and its fields. Every step but the last must succeed
    => channel 404 50,10 NOT_FOUND - no queue …     what the last step must lead to

Values are JSON, or a bare word; a field alone is `true`. {"!s": 5} in a table forces the wire type s. {vhost} and {user} in
an expectation are filled in. Besides methods there are these steps:

    publish exchange=x routing_key=k body="b" props={…} mandatory     method, header and body frames
    frame TYPE CHANNEL PAYLOAD [end=00]       a raw frame; PAYLOAD is hex, "text", or zeros:N
    method CLASS.METHOD HEX                   a method frame on the channel, arguments as given
    get-ok queue=q                            basic.get which must find a message; basic.get itself accepts both answers

What the steps declared is deleted after the case.

Expectations:
    => channel CODE CLASS,METHOD TEXT         channel.close; then the channel can be opened again and works
    => connection CODE CLASS,METHOD TEXT      connection.close; then, after close-ok, the broker closes TCP
    => refused CODE,CODE,…                    connection.close with one of the codes, or just an end of the TCP connection
    => ok [METHOD field=value …]              the reply, if the step has one; no error; the channel still works
    => return CODE TEXT                       basic.return, and no error
"""

import json
import re

import wire

DECODER = json.JSONDecoder()
ASYNC = {"basic.ack", "basic.nack", "basic.reject", "basic.recover-async", "channel.close-ok", "publish", "frame", "method",
         "basic.deliver", "basic.publish", "connection.start-ok", "connection.tune-ok"}


class Case:
    def __init__(self, title, source):
        self.title, self.source = title, source
        self.user, self.vhost, self.only, self.steps, self.expected = "guest", "spec", None, [], None


class Step:
    def __init__(self, where, name, words, values):
        self.where, self.name, self.words, self.values = where, name, words, values

    def __repr__(self):
        return f"{self.where}: {self.name} {self.words or ''} {self.values}"


def read_cases(path):
    """All cases of a file; refuses duplicates and lines it does not understand."""
    cases, case = [], None
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if not line:
                case = None
                continue
            if line.startswith("#"):
                continue
            if line.startswith("case "):
                case = Case(line[5:], f"{path}:{number}")
                cases.append(case)
            elif case is None or case.expected is not None:
                raise ValueError(f"{path}:{number}: not inside a case: {line}")
            else:
                read_line(case, line)
    for case in cases:
        if case.expected is None or not case.steps:
            raise ValueError(f"{case.source}: no expectation, or no step")
    titles = [c.title for c in cases]
    repeated = {t for t in titles if titles.count(t) > 1}
    if repeated:
        raise ValueError(f"{path}: the same title twice: {repeated}")
    return cases


def read_line(case, line):
    word, _, rest = line.partition(" ")
    if word == "as":
        case.user = rest
    elif word == "vhost":
        case.vhost = rest
    elif word == "only":
        case.only = tuple(part.strip() for part in rest.split(":", 1))
    elif word == "=>":
        case.expected = rest
    else:
        where = "1"
        prefixed = re.match(r"(other|\d+): (.*)", line)
        if prefixed:
            where, line = prefixed.groups()
        case.steps.append(read_step(where, line))


def read_step(where, line):
    name, _, rest = line.partition(" ")
    words, values, at = [], {}, 0
    while at < len(rest):
        if rest[at] == " ":
            at += 1
            continue
        key = re.compile(r"([a-z_]+)=").match(rest, at)
        value, end = read_value(rest, key.end() if key else at, as_written=name in ("frame", "method"))
        if key:
            values[key.group(1)] = value
        elif name in wire.BY_NAME or name in ("publish", "get-ok"):
            values[value] = True
        else:
            words.append(value)
        at = end
    return Step(where, name, words, values)


def read_value(text, at, as_written=False):
    if at < len(text) and text[at] in '"{[':
        value, end = DECODER.raw_decode(text, at)
        return typed(value), end
    word = re.compile(r"\S*").match(text, at)
    if as_written:
        return word.group(), word.end()
    if re.fullmatch(r"-?\d{1,20}", word.group()):
        return int(word.group()), word.end()
    return {"true": True, "false": False}.get(word.group(), word.group()), word.end()


def typed(value):
    """JSON to table values: {"!d": 1.0} is the value 1.0 with the wire type d."""
    if isinstance(value, list):
        return [typed(v) for v in value]
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("!"):
            code, inner = next(iter(value.items()))
            return wire.T(code[1:], tuple(inner) if code == "!D" else bytes.fromhex(inner) if code == "!x" else typed(inner))
        return {k: typed(v) for k, v in value.items()}
    return value


class Run:
    """One case on its connections."""

    def __init__(self, case, connect):
        self.case, self.connect = case, connect
        self.conns, self.channels, self.declared = {}, {}, []

    def conn_of(self, where):
        key = "other" if where == "other" else "main"
        if key not in self.conns:
            user = "guest" if key == "other" else self.case.user
            self.conns[key] = self.connect(vhost=self.case.vhost, user=user, password=user)
        return self.conns[key]

    def channel_of(self, where):
        conn = self.conn_of(where)
        if where == "0":
            return wire.Channel(conn, 0)
        if where not in self.channels:
            self.channels[where] = conn.channel(1 if where == "other" else int(where))
        return self.channels[where]

    def go(self):
        try:
            *given, last = self.case.steps
            for step in given:
                self.perform(step)
            self.judge(last)
        finally:
            self.clean_up()

    def perform(self, step):
        """Sends a step; returns the reply of a synchronous method."""
        ch = self.channel_of(step.where)
        values = {k: fill_in(v, self.case) if isinstance(v, str) else v for k, v in step.values.items()}
        if step.name in ("queue.declare", "exchange.declare") and not values.get("passive"):
            self.declared.append((step.name.split(".")[0], values.get("queue") or values.get("exchange")))
        if step.name == "publish":
            ch.publish(values.pop("exchange", ""), values.pop("routing_key", ""), values.pop("body", "x"),
                       **values.pop("props", {}), **values)
        elif step.name == "frame":
            kind, channel, *payload = step.words
            end = int(values.get("end", "ce"), 16)
            ch.conn.send_frame(int(kind), int(channel), raw_bytes("".join(payload)), end)
        elif step.name == "method":
            class_id, method_id = map(int, step.words[0].split("."))
            ch.conn.send_frame(1, ch.number, class_id.to_bytes(2, "big") + method_id.to_bytes(2, "big") +
                               bytes.fromhex("".join(step.words[1:])))
        elif step.name == "get-ok":
            reply = ch.call("basic.get", **values)
            assert reply.name == "basic.get-ok", reply
            return reply
        elif step.name in ASYNC or values.get("nowait"):
            ch.send(step.name, **values)
        elif step.name == "channel.close":
            return ch.call(step.name, **values)
        else:
            return ch.call(step.name, **values)
        return None

    def judge(self, step):
        kind, _, rest = self.case.expected.partition(" ")
        getattr(self, "judge_" + kind)(step, fill_in(rest, self.case))

    def closed_by(self, step):
        try:
            reply = self.perform(step)
            if reply is None:
                return self.conn_of(step.where).drain_close()
        except wire.Closed as closed:
            return closed
        raise AssertionError(f"{step} was answered with {reply}, expected {self.case.expected}")

    def judge_channel(self, step, rest):
        closed = self.closed_by(step)
        assert_closed(closed, "channel", rest)
        conn = self.conn_of(step.where)
        again = conn.channel(closed.channel)
        again.sync()

    def judge_connection(self, step, rest):
        closed = self.closed_by(step)
        assert_closed(closed, "connection", rest)
        self.conn_of(step.where).expect_end()

    def judge_refused(self, step, rest):
        codes = [int(c) for c in rest.split(",")]
        try:
            closed = self.closed_by(step)
        except wire.SocketClosed:
            return
        assert closed.scope == "connection" and closed.code in codes, closed
        self.conn_of(step.where).expect_end()

    def judge_ok(self, step, rest):
        reply = self.perform(step)
        if rest:
            wanted = read_step("1", rest)
            assert reply is not None and reply.name == wanted.name, reply
            for field, value in wanted.values.items():
                assert getattr(reply, field) == value, (field, reply)
        self.channel_of(step.where).sync()

    def judge_return(self, step, rest):
        self.perform(step)
        code, text = rest.split(" ", 1)
        returned = self.channel_of(step.where).expect("basic.return")
        assert (returned.reply_code, returned.reply_text) == (int(code), text), returned
        self.channel_of(step.where).sync()

    def clean_up(self):
        for conn in self.conns.values():
            conn.abort()
        if not self.declared:
            return
        conn = self.connect(vhost=self.case.vhost)
        for number, (kind, name) in enumerate(self.declared, 1):
            try:
                if name:
                    conn.channel(number).call(kind + ".delete", **{kind: name})
            except wire.Closed:
                pass
        conn.close()


def fill_in(text, case):
    return text.replace("{vhost}", case.vhost).replace("{user}", case.user)


def raw_bytes(word):
    if word.startswith("zeros:"):
        return bytes(int(word[6:]))
    if word.startswith("text:"):
        return word[5:].encode()
    return bytes.fromhex(word if word != "-" else "")


def assert_closed(closed, scope, rest):
    code, ids, text = rest.split(" ", 2)
    class_id, method_id = map(int, ids.split(","))
    assert (closed.scope, closed.code, closed.ids, closed.text) == (scope, int(code), (class_id, method_id), text)
