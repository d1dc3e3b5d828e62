"""File systems of their own for a daemon: a tmpfs, or ext4 and xfs in an image, whose power can be cut.

They are mounted in a mount namespace that a process holds: only it and who enters see them, and they go with it, whatever becomes of the tests.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import time

from node import DEADLINE_S

GOINGDOWN = 0x8004587D  # the ioctl that ends ext4, xfs and f2fs as a power cut would: FS_IOC_SHUTDOWN
LOG_FLUSH, NO_LOG_FLUSH = 1, 2  # with the journal written out, or not even that
IMAGE_BYTES = {"ext4": 192 << 20, "xfs": 384 << 20}  # xfs takes no less than 300 MiB; both images are sparse
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"], "xfs": ["mkfs.xfs", "-q", "-f"]}


class NoDisk(Exception):
    """There is none to be had here; the text says why."""


class Namespace:
    """Holds a mount namespace."""

    def __init__(self, path, script, *args):
        self.path = path
        os.mkdir(path)
        self.user = [] if os.geteuid() == 0 else ["--user"]
        self.holder = subprocess.Popen(["unshare", *(["--map-root-user", *self.user] if self.user else []), "--mount", "sh", "-c",
                                        f"{script} echo mounted && exec cat", "sh", path, *args], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.is_mounted = self.holder.stdout.readline() == b"mounted\n"

    def prefix(self):
        keep = [*self.user, "--preserve-credentials"] if self.user else []
        return ["nsenter", f"--target={self.holder.pid}", *keep, "--mount", "--"]

    def seen(self):
        """The mount point as others reach it."""
        return f"/proc/{self.holder.pid}/root{self.path}"

    def run(self, *argv):
        return subprocess.run([*self.prefix(), *argv], capture_output=True, text=True, check=False)

    def close(self):
        self.holder.stdin.close()  # the mount goes with its last process
        self.holder.wait()
        self.holder.stdout.close()


class Memory(Namespace):
    """A tmpfs of so many bytes."""

    def __init__(self, path, size):
        super().__init__(path, 'mount -t tmpfs -o size="$2" tmpfs "$1" && mkdir "$1/data" &&', str(size))

    def ballast(self):
        return os.path.join(self.seen(), "ballast")

    def fill(self, is_full):
        if not is_full:
            os.unlink(self.ballast())
            return
        fd = os.open(self.ballast(), os.O_WRONLY | os.O_CREAT)
        with contextlib.closing(os.fdopen(fd, "wb", buffering=0)) as f:
            try:
                while True:
                    f.write(bytes(1 << 16))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise


class Image(Namespace):
    """A file system in a file. Raises NoDisk where it cannot be."""

    def __init__(self, path, kind):
        self.kind, self.image = kind, path + ".img"
        if os.geteuid() != 0:
            raise NoDisk("only root may mount an image")
        if shutil.which(MAKE[kind][0]) is None:
            raise NoDisk(f"there is no {MAKE[kind][0]}")
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_BYTES[kind])
        made = subprocess.run([*MAKE[kind], self.image], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise NoDisk(f"{MAKE[kind][0]}: {made.stderr.strip()}")
        super().__init__(path, "")
        if not self.is_mounted:
            raise NoDisk("no mount namespace can be made")
        try:
            self.mount()
        except OSError as e:
            self.close()
            raise NoDisk(str(e)) from None
        os.mkdir(os.path.join(self.seen(), "data"))
        self.run("sync", "-f", path)

    def mount(self):
        done = self.run("mount", "-t", self.kind, "-o", "loop", self.image, self.path)
        if done.returncode != 0:
            raise OSError(done.stderr.strip() or "mount fails")
        self.device = self.run("findmnt", "-n", "-o", "SOURCE", self.path).stdout.strip()

    def unmount(self):
        """Once nobody uses it; a dead daemon's last descriptors take a moment."""
        deadline = time.monotonic() + DEADLINE_S
        while (done := self.run("umount", self.path)).returncode != 0:
            if time.monotonic() > deadline:
                raise OSError(done.stderr)
            time.sleep(0.01)

    def cut(self, how):
        """Nothing reaches the disk any more. What was in memory alone is gone with the next mount."""
        fd = os.open(self.seen(), os.O_RDONLY)
        try:
            fcntl.ioctl(fd, GOINGDOWN, struct.pack("I", how))
        finally:
            os.close(fd)

    def activity(self):
        with open(f"/sys/block/{os.path.basename(self.device)}/stat", encoding="ascii") as f:
            return f.read().split()

    def copy(self, to):
        """What the disk has at one moment, while nobody but the kernel writes to it."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            before = self.activity()
            if before[8] == "0":  # requests on their way
                subprocess.run(["cp", "--sparse=always", self.image, to], check=True)
                if self.activity() == before:
                    return
            if time.monotonic() > deadline:
                raise OSError(f"{self.device} is never at rest: {before}")
            time.sleep(0.01)
