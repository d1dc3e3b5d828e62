"""P2: the power goes while the daemon works. What was confirmed, committed or answered is there afterwards, in the log, the files and SQLite.

Three ways to lose power:

    recorded    everything that the daemon asks of the file system is recorded, and what would be left of it is worked out: of what was not
                synced any sectors are there, or torn, any names, any sizes (record_io.c, cut_image.c). Works everywhere
    cut         an ext4 or xfs of its own goes down as in a power cut: what was not written to the device is gone. The daemon is held, dies
                with it or lives on for a moment, without a disk
    copied      the daemon is held, and what the device of its ext4 or xfs has at that moment is copied and used from then on

and three times: at random; at the n-th call of any kind; at the n-th write, sync, creation, rename or removal of files of one kind, which
is when the log rolls over, messages are moved into backlog files, queues are deleted, SQLite commits and checkpoints.
"""

import contextlib
import filecmp
import os
import random
import shutil
import signal
import subprocess
import time

import case_meta
import load
from disk import LOG_FLUSH, NO_LOG_FLUSH, Image, NoDisk
from ledger import Ledger
from node import DEADLINE_S, Node, Violation

LOAD_S = (0.1, 0.8)
LOAD_PLANNED_S = 3  # how long a planned death is waited for
KEPT = 60           # messages in a queue
STORE = {"message_log.segments": "12"}  # the ring comes round again and again, and has room for every transaction
CLIENTS = 2
# Letters of calls (record_io.c), a part of the path, and below which count the call is.
MOMENTS = (
    ("cwtasrum", "*", 3000),
    ("ws", "log/", 600),          # groups, roll-over
    ("cwasrum", "queues/", 80),   # moves to backlog files, their states, deleted queues
    ("rs", "state", 12),
    ("u", "queues/", 12),
    ("cwsu", "large/", 12),
    ("wt", "meta.sqlite", 400),
    ("s", "meta.sqlite", 60),
    ("c", "*", 60),
    ("m", "queues/", 6),
)
STATUSES = {-signal.SIGKILL, 74}


class World(load.World):
    """With larger bodies: the log has to come round."""

    def size(self, rng):
        return rng.randrange(5000, 40000) if rng.randrange(5) == 0 else super().size(rng)


class Way:
    """A daemon, its data and what it promised, and how its power goes."""

    name = "?"

    def __init__(self, ctx, build):
        self.ctx, self.rng, self.build = ctx, ctx.rng, build
        self.world = World(Ledger(), ctx.seed, large_bytes=300000)
        self.world.may_refuse_tx = True
        self.clients = [case_meta.Client(f"c{i}", random.Random(f"{ctx.seed}/{self.name}/c{i}")) for i in range(CLIENTS)]
        self.options = ctx.options() | STORE
        self.lives = self.loaded = 0
        self.environment = {}
        self.node = self.make()
        command = self.node.command  # its environment changes from life to life
        self.node.command = lambda: (command()[0], {**command()[1], **self.environment})

    def make(self):
        raise NotImplementedError

    def before(self, plan):
        """Before a start. `plan`: a moment and its n, or None."""
        self.environment = {"LD_PRELOAD": os.path.join(self.build, "tests", "fault", "librecord_io.so"),
                            "RECORD_DIR": self.node.data, "RECORD_KILL": "{}:{}:{}".format(*plan)} if plan else {}

    def lose_power(self, is_dead):
        """Cuts, and leaves a dead daemon and the data of the next life."""
        raise NotImplementedError

    def plan(self):
        if self.rng.randrange(3) == 0:
            return None
        letters, part, most = self.rng.choice(MOMENTS)
        return letters, part, int(most ** self.rng.random())

    def judge(self):
        self.world.set_up(self.node)
        left = load.audit(self.world, self.node, self.rng, keep=KEPT)
        there = case_meta.listing(self.node)
        for client in self.clients:
            client.judge(there)
        return left

    def start(self, plan):
        """False: the planned moment was before the load."""
        self.world.is_ending.clear()
        self.world.may_refuse = False
        for client in self.clients:
            client.may_refuse = False
        self.before(plan)
        if not self.node.start_or_die():
            return False
        try:
            self.judge()
        except (OSError, load.wire.SocketClosed, load.wire.NothingCame):
            if plan is None or not self.is_dead_soon():
                raise
            self.world.ledger.died()
            return False
        return True

    def is_dead_soon(self):
        deadline = time.monotonic() + DEADLINE_S
        while self.node.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.node.is_alive()

    def life(self):
        plan = self.plan()
        self.lives += 1
        if not self.start(plan):
            self.lose_power(True)
            return
        self.loaded += 1
        actors = load.start(self.world, self.node, lambda: random.Random(self.rng.random()))
        threads = [case_meta.threading.Thread(target=client.run, args=(self.node,), daemon=True) for client in self.clients]
        for thread in threads:
            thread.start()
        end = time.monotonic() + (LOAD_PLANNED_S if plan else self.rng.uniform(*LOAD_S))
        while time.monotonic() < end and self.node.is_alive():
            time.sleep(0.002)
        self.world.is_ending.set()
        self.lose_power(not self.node.is_alive())
        for thread in threads:
            thread.join(DEADLINE_S)
        load.join(self.world, actors)
        errors = [client.error for client in self.clients if client.error]
        if errors:
            raise Violation("; ".join(errors))

    def bury(self):
        """The daemon, which may have noticed that it has no disk."""
        status = self.node.process.poll() if self.node.process is not None else -signal.SIGKILL
        if status is not None and status not in STATUSES:
            self.node.process = None
            raise Violation(f"the daemon ended by itself, status {status}\n{self.node.log_tail(60)}")
        self.node.kill()
        self.node.check_reports()

    def last(self):
        """And once more, after an orderly end."""
        for _ in range(2):
            self.start(None)
            self.node.stop()
            self.world.ledger.died()

    def close(self):
        with contextlib.suppress(Exception):
            self.node.kill()
        self.node.remove()


class Recorded(Way):
    name = "recorded"

    def make(self):
        self.before_data, self.record = os.path.join(self.ctx.dir, "before"), os.path.join(self.ctx.dir, "record")
        data = os.path.join(os.path.realpath(self.ctx.dir), "data")
        os.mkdir(data)
        return Node(self.options, data=data)

    def before(self, plan):
        super().before(plan or ("c", "no such file", 1))
        for path in (self.before_data, self.record):  # those of the life before are what a failure is looked for in
            shutil.rmtree(path + ".old", ignore_errors=True)
            if os.path.exists(path):
                os.rename(path, path + ".old")
        shutil.copytree(self.node.data, self.before_data)
        self.environment["RECORD_FILE"] = self.record

    def image(self, seed):
        after = os.path.join(self.ctx.dir, "after")
        done = subprocess.run([os.path.join(self.build, "tests", "fault", "cut_image"), self.before_data, self.record, seed, after],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"cut_image: {done.returncode} {done.stdout}{done.stderr}")
        return after

    def lose_power(self, is_dead):
        self.bury()
        if is_dead:  # by its own hand, between two calls: nothing is missing in the record
            self.check_whole(self.image("none"))
        after = self.image(str(self.rng.randrange(1 << 32)))
        shutil.rmtree(self.node.data)
        os.rename(after, self.node.data)

    def check_whole(self, after):
        """Without a cut the image is what the daemon left: the recorder has seen everything."""
        def files(top):
            return {os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names
                    if not name.endswith("-shm")}

        there, made = files(self.node.data), files(after)
        differ = sorted(there ^ made) + sorted(name for name in there & made if not filecmp.cmp(
            os.path.join(self.node.data, name), os.path.join(after, name), shallow=False))
        if differ:
            raise RuntimeError(f"the recorder has missed something: {differ}")
        shutil.rmtree(after)

    def last(self):
        self.start(None)
        self.check_record()
        self.node.stop()
        self.environment = {}
        self.world.ledger.died()

    def check_record(self):
        """The start alone has written to the log and to SQLite: a recorder that has not seen it proves nothing."""
        with open(self.record, "rb") as f:
            seen = f.read()
        if b"meta.sqlite-wal" not in seen or b"log/0" not in seen:
            raise RuntimeError("the recorder does not see what the daemon does")


class Mounted(Way):
    def __init__(self, ctx, build, kind):
        self.kind = kind
        super().__init__(ctx, build)

    def make(self):
        self.disk = Image(os.path.join(self.ctx.dir, self.name.replace(" ", "-")), self.kind)
        return Node(self.options, data=os.path.join(self.disk.path, "data"), prefix=self.disk.prefix())

    def close(self):
        super().close()
        self.disk.close()


class Cut(Mounted):
    def __init__(self, ctx, build, kind):
        self.name = f"{kind} cut"
        super().__init__(ctx, build, kind)

    def lose_power(self, is_dead):
        how = self.rng.choice((LOG_FLUSH, NO_LOG_FLUSH, NO_LOG_FLUSH))
        lives_on = not is_dead and self.rng.randrange(2) == 0
        if not is_dead:
            # Whatever it still confirms has to be true all the same; refusing is all that is left to it. (A stop, too, takes a moment.)
            self.world.may_refuse = self.world.ledger.is_closing = True
            for client in self.clients:
                client.may_refuse = True
        if not is_dead and not lives_on:
            self.node.process.send_signal(signal.SIGSTOP)
        self.disk.cut(how)
        if lives_on:
            time.sleep(self.rng.uniform(0, 0.1))
        self.bury()
        self.disk.unmount()
        self.disk.mount()


class Copied(Mounted):
    def __init__(self, ctx, build, kind):
        self.name = f"{kind} copied"
        super().__init__(ctx, build, kind)

    def lose_power(self, is_dead):
        copy = self.disk.image + ".copy"
        if not is_dead:
            self.node.process.send_signal(signal.SIGSTOP)
        self.disk.copy(copy)
        self.bury()
        self.disk.unmount()
        os.rename(copy, self.disk.image)
        self.disk.mount()


def ways(ctx, build):
    """(those that work here, why the others do not)."""
    found, skipped = [Recorded(ctx, build)], {}
    for kind in ("ext4", "xfs"):
        for way in (Cut, Copied):
            try:
                found.append(way(ctx, build, kind))
            except NoDisk as e:
                skipped[kind] = str(e)
                break
    return found, skipped


def run(ctx, build):
    every, skipped = ways(ctx, build) if ctx.bug is None else ([Recorded(ctx, build)], {})
    way = every[0]
    try:
        for cycle in range(ctx.count):
            way = every[cycle % len(every)]
            way.life()
            ctx.say(f"life {cycle}, {way.name}: {way.world.ledger.summary()}")
        for way in every if ctx.bug is None else []:
            way.last()
        confirmed = sum(w.world.ledger.counts["confirmed"] for w in every)
        changes = sum(client.changes for w in every for client in w.clients)
        how = ", ".join(f"{w.lives} {w.name} ({w.loaded} under load)" for w in every)
        left_out = "".join(f"; SKIPPED {kind}: {why}" for kind, why in skipped.items())
        return f"{ctx.count} power cuts: {how}: {confirmed} confirmed, {changes} changes of metadata answered, 0 lost{left_out}"
    except Violation as e:
        raise Violation(f"{way.name}: {e}\n{way.world.ledger.summary()}\n{way.node.log_tail()}") from None
    finally:
        for w in every:
            w.close()
