"""P8: exchanges, queues, bindings, vhosts, users and permissions come and go while the daemon is killed every 200 ms.

Each actor works on names of its own, in order, several changes on the way at a time. After each start what is there has to be what was
answered, and of the changes that were on their way the first few: none is left out in the middle, none is half done.
"""

import contextlib
import http.client
import json
import random
import socket
import subprocess
import threading
import time

import wire
from node import Node, Violation

PERIOD_S = 0.2
CLIENTS, BATCH = 3, 12


class ControlSocket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def listing(node):
    """Everything durable there is, as a dict of key -> value; what every broker has is left out."""
    there = {}
    conn = ControlSocket(node.socket)

    def rows(path):
        conn.request("GET", "/api/" + path)
        answer = conn.getresponse()
        if answer.status != 200:
            raise Violation(f"GET {path}: {answer.status}")
        return json.loads(answer.read())

    text = lambda arguments: json.dumps(arguments, sort_keys=True)
    for r in rows("vhosts"):
        if r["name"] != "/":
            there["vhost", r["name"]] = ",".join(r["tags"])
    for r in rows("users"):
        if r["name"] != "guest":
            there["user", r["name"]] = ",".join(r["tags"])
    for r in rows("permissions"):
        if (r["user"], r["vhost"]) != ("guest", "/"):
            there["permission", r["vhost"], r["user"]] = (r["configure"], r["write"], r["read"])
    for r in rows("exchanges"):
        if r["name"] and not r["name"].startswith("amq."):
            there["exchange", r["vhost"], r["name"]] = (r["type"], r["internal"], text(r["arguments"]))
    for r in rows("queues"):
        there["queue", r["vhost"], r["name"]] = (r["durable"], text(r["arguments"]))
    for r in rows("bindings"):
        if r["source"]:
            there["binding", r["vhost"], r["source"], r["destination_type"], r["destination"], r["routing_key"]] = text(r["arguments"])
    conn.close()
    return there


class Actor:
    """`model` is what was answered; `pending` the changes on the way, in order; `answered` how many of these."""

    def __init__(self, name, rng):
        self.name, self.rng = name, rng
        self.model, self.pending, self.answered = {}, [], 0
        self.error = None
        self.changes = 0
        self.may_refuse = False  # 541 is no violation (a disk that fails)

    def mine(self, key):
        """Whether that object is this actor's: its own part of the name begins so."""
        return any(part.startswith(self.name + ".") for part in key[1:])

    def sent(self, change):
        """A change is a dict of key -> new value, None for gone. It happens at once or not at all."""
        self.pending.append(change)

    def answer(self):
        self.answered += 1
        self.changes += 1

    def settle(self):
        """All that was sent has been answered."""
        for change in self.pending:
            apply(self.model, change)
        self.pending, self.answered = [], 0

    def judge(self, there):
        there = {key: value for key, value in there.items() if self.mine(key)}
        state = dict(self.model)
        best = None
        for count in range(len(self.pending) + 1):
            if count > 0:
                apply(state, self.pending[count - 1])
            if count < self.answered:
                continue
            wrong = {key for key in state.keys() | there.keys() if state.get(key) != there.get(key)}
            if not wrong:
                self.model, self.pending, self.answered = state, [], 0
                return
            if best is None or len(wrong) < len(best):
                best = {key: (state.get(key), there.get(key)) for key in wrong}
        raise Violation(f"{self.name}: with {self.answered} of {len(self.pending)} changes answered, expected and found differ: {best}")

    def run(self, node):
        """Until the daemon dies."""
        try:
            self.work(node)
        except (wire.SocketClosed, OSError):
            pass
        except wire.Closed as e:
            if e.code != 320 and not (e.code == 541 and self.may_refuse):
                self.error = f"{self.name}: {e}"
        except (wire.WireError, wire.NothingCame) as e:
            self.error = f"{self.name}: {e!r}"


def apply(state, change):
    for key, value in change.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


class Client(Actor):
    """Declares, binds, unbinds and deletes over AMQP, a batch on the way at a time."""

    def next_state(self):
        state = dict(self.model)
        for change in self.pending:
            apply(state, change)
        return state

    def step(self, ch):
        """Sends one change; the name of its answer."""
        state, rng = self.next_state(), self.rng
        queue, exchange = f"{self.name}.q{rng.randrange(8)}", f"{self.name}.x{rng.randrange(4)}"
        has_queue, has_exchange = ("queue", "/", queue) in state, ("exchange", "/", exchange) in state
        kind = rng.randrange(6)
        if kind == 0 and has_queue:
            ch.send("queue.delete", queue=queue)
            self.sent({key: None for key in state if key == ("queue", "/", queue) or key[0] == "binding" and key[3:5] == ("queue", queue)})
            return "queue.delete-ok"
        if kind == 1 and has_exchange:
            ch.send("exchange.delete", exchange=exchange)
            self.sent({key: None for key in state if key == ("exchange", "/", exchange) or key[0] == "binding" and
                       (key[2] == exchange or key[3:5] == ("exchange", exchange))})
            return "exchange.delete-ok"
        if kind == 2 and has_queue and has_exchange:
            bound = [key for key in state if key[0] == "binding" and key[2] == exchange and key[4] == queue]
            if bound:
                key = rng.choice(bound)
                ch.send("queue.unbind", queue=queue, exchange=exchange, routing_key=key[5])
                self.sent({key: None})
                return "queue.unbind-ok"
        if kind in (2, 3) and has_queue and has_exchange:
            key = f"k{rng.randrange(3)}"
            ch.send("queue.bind", queue=queue, exchange=exchange, routing_key=key)
            self.sent({("binding", "/", exchange, "queue", queue, key): "{}"})
            return "queue.bind-ok"
        if kind == 4 and not has_exchange:
            arguments = {"alternate-exchange": f"{self.name}.alt"} if rng.randrange(2) else {}
            ch.send("exchange.declare", exchange=exchange, type="topic", durable=True, arguments=arguments)
            self.sent({("exchange", "/", exchange): ("topic", False, json.dumps(arguments))})
            return "exchange.declare-ok"
        if has_queue:
            return None
        arguments = {"x-max-length": rng.randrange(1000)} if rng.randrange(2) else {}
        ch.send("queue.declare", queue=queue, durable=True, arguments=arguments)
        self.sent({("queue", "/", queue): (True, json.dumps(arguments))})
        return "queue.declare-ok"

    def work(self, node):
        conn = wire.Conn.open(node, timeout=30)
        ch = conn.channel(1)
        while True:
            expected = []
            for _ in range(self.rng.randrange(1, BATCH)):
                answer = self.step(ch)
                if answer is not None:
                    expected.append(answer)
            for answer in expected:
                ch.expect(answer)
                self.answer()
            self.settle()


class Administrator(Actor):
    """Vhosts, users and permissions by leveretctl; what lies in a vhost goes with it."""

    def ctl(self, node, change, *args):
        prefix, env = node.ctl_command()
        self.sent(change)
        done = subprocess.run([*prefix, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode != 0:
            if node.is_alive() and not self.is_dying.wait(5):
                self.error = f"{args}: {done.returncode} {done.stdout}{done.stderr}"
            raise OSError("the daemon is gone")
        self.answer()
        self.settle()

    def make_vhost(self, node, vhost):
        """A vhost with a queue in it."""
        self.ctl(node, {("vhost", vhost): ""}, "add_vhost", vhost)
        self.ctl(node, {("permission", vhost, "guest"): (".*", ".*", ".*")}, "set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        ch = wire.Conn.open(node, vhost=vhost, timeout=30).channel(1)
        ch.send("queue.declare", queue="q", durable=True)
        self.sent({("queue", vhost, "q"): (True, "{}")})
        ch.expect("queue.declare-ok")
        self.answer()
        ch.send("queue.bind", queue="q", exchange="amq.topic", routing_key="#")
        self.sent({("binding", vhost, "amq.topic", "queue", "q", "#"): "{}"})
        ch.expect("queue.bind-ok")
        self.answer()
        self.settle()
        ch.conn.close()

    def work(self, node):
        rng = self.rng
        while True:
            vhost, user = f"{self.name}.v{rng.randrange(2)}", f"{self.name}.u{rng.randrange(3)}"
            has_vhost, has_user = ("vhost", vhost) in self.model, ("user", user) in self.model
            kind = rng.randrange(4)
            if kind == 0 and has_vhost:
                self.ctl(node, {key: None for key in self.model if key[1] == vhost}, "delete_vhost", vhost)
            elif kind == 0:
                self.make_vhost(node, vhost)
            elif kind == 1 and has_user:
                self.ctl(node, {key: None for key in self.model if key[-1] == user}, "delete_user", user)
            elif not has_user:
                self.ctl(node, {("user", user): ""}, "add_user", user, "secret")
            elif kind == 2:
                tag = rng.choice(("monitoring", "management"))
                self.ctl(node, {("user", user): tag}, "set_user_tags", user, tag)
            elif has_vhost:
                pattern = f"^{rng.randrange(1000)}"
                self.ctl(node, {("permission", vhost, user): (pattern, pattern, ".*")}, "set_permissions", "-p", vhost, user, pattern,
                         pattern, ".*")


def one_life(ctx, node, actors, seconds):
    Administrator.is_dying.clear()
    threads = [threading.Thread(target=actor.run, args=(node,)) for actor in actors]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    Administrator.is_dying.set()
    node.check_killed()
    for thread in threads:
        thread.join(60)
    errors = [actor.error for actor in actors if actor.error]
    if errors:
        raise Violation("; ".join(errors))


def check(node, actors):
    there = listing(node)
    for key in there:
        if not any(actor.mine(key) for actor in actors):
            raise Violation(f"nobody made {key}")
    for actor in actors:
        actor.judge(there)


def run(ctx):
    Administrator.is_dying = threading.Event()
    actors = [Client(f"c{i}", random.Random(f"{ctx.seed}/c{i}")) for i in range(CLIENTS)]
    actors += [Administrator(f"a{i}", random.Random(f"{ctx.seed}/a{i}")) for i in range(2)]
    node = Node(ctx.options())
    try:
        for cycle in range(ctx.count):
            node.start()
            check(node, actors)
            one_life(ctx, node, actors, ctx.rng.uniform(0.5, 1.5) * PERIOD_S)
            ctx.say(f"cycle {cycle}: {sum(a.changes for a in actors)} changes")
        for _ in range(2):  # and once more after an orderly end
            node.start()
            check(node, actors)
            node.stop()
        return f"{ctx.count} kills, {sum(a.changes for a in actors)} changes answered, none lost"
    finally:
        with contextlib.suppress(Exception):
            node.kill()
        node.remove()
