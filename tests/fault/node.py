"""The daemon as the fault tests see it: a data directory that outlives it, ways to die, and what it holds."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import wire
from harness.broker import BrokerError, Leveret, build_dir

# What every store of the tests looks like: several workers, queues away from their connections.
WORKERS = {"workers": "3", "test.placement": "remote"}
DEADLINE_S = 60  # for anything that has to happen; on a loaded machine, under sanitizers


class Violation(Exception):
    """The promise of a case was broken. The text says how, for a person."""


class Context:
    """What a case gets: how often, from which seed, with which planted bug; and a place for its files."""

    def __init__(self, name, count, seed, bug=None, verbose=False):
        self.name, self.count, self.seed, self.bug, self.verbose = name, count, seed, bug, verbose
        self.rng = random.Random(f"{name}/{seed}")
        self.dir = tempfile.mkdtemp(prefix=f"fault-{name}-", dir=build_dir())
        self.notes = []

    def options(self, **more):
        """Configuration keys: those of every test, the planted bug, and these (dots as two underscores)."""
        options = dict(WORKERS)
        if self.bug:
            options["test.bug"] = self.bug
        options.update({key.replace("__", "."): str(value) for key, value in more.items()})
        return options

    def say(self, text):
        if self.verbose:
            print(text, flush=True)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Node(Leveret):
    """A leveretd of the test build. Its log lies outside the data directory, which may be on a disk of its own."""

    def __init__(self, options, data=None, prefix=()):
        """prefix: a command that runs the daemon (nsenter)."""
        super().__init__(options)
        self.prefix, self.conf = list(prefix), None
        if data is not None:
            self.data = data
            self.socket = os.path.join(self.dir, "control.sock")
            self.options.setdefault("control_socket", self.socket)

    def command(self):
        argv, env = super().command()
        return [*self.prefix, *argv, *(["-c", self.conf] if self.conf else [])], env

    def configure(self, lines):
        """A configuration file of these lines, which a running daemon reads again."""
        self.conf = os.path.join(self.dir, "leveret.conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write(lines + "\n")
        if self.is_alive():
            self.process.send_signal(signal.SIGHUP)

    def start_or_die(self):
        """True when it came up, False when a planned crash came first."""
        try:
            self.start()
            return True
        except BrokerError:
            if self.process is not None and self.process.poll() == -signal.SIGKILL:
                self.process = None
                return False
            raise

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_end(self, seconds=DEADLINE_S):
        """Its status once it has ended by itself."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Violation(f"the daemon did not end\n{self.log_tail()}") from None
        self.process = None
        return status

    def check_killed(self):
        """After a kill: fails when it had ended otherwise before."""
        status = self.process.poll() if self.process is not None else -signal.SIGKILL
        if status not in (None, -signal.SIGKILL):
            self.process = None
            raise Violation(f"the daemon ended by itself, status {status}\n{self.log_tail(60)}")
        self.kill()
        self.check_reports()

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def sockets(self):
        """Descriptors of sockets; files come and go with the store."""
        found = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/{self.pid}/fd/{name}").startswith("socket:")
        return found

    def connections(self):
        return len([line for line in self.ctl("-q", "list_connections", "pid").splitlines() if line.strip() and line != "pid"])

    def wait_alone(self):
        """Until all clients are gone, for the broker too."""
        wait_until(lambda: self.connections() == 0, "clients are still connected")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def logged(self, pattern):
        return re.search(pattern, self.log(), re.MULTILINE) is not None


def wait_until(is_true, what, seconds=DEADLINE_S):
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise Violation(f"after {seconds} s: {what}")
        time.sleep(0.01)


def drain(node, queue, vhost="/"):
    """All messages of a queue, taken out of it."""
    conn = wire.Conn.open(node, vhost=vhost, timeout=DEADLINE_S)
    ch = conn.channel(1)
    taken = []
    ready = ch.count(queue)[0]
    if ready > 0:
        tag = ch.consume(queue, no_ack=True)
        while len(taken) < ready:
            taken.append(ch.deliver())
        ch.call("basic.cancel", consumer_tag=tag)
        taken.extend(conn.inbox[1])
        conn.inbox[1].clear()
    while (got := ch.get(queue)) is not None:
        taken.append(got)
    conn.close()
    return taken
