"""A Leveret that is told by a file, so that the file can be changed and SIGHUP sent."""

import os
import re
import signal
import subprocess
import time

from harness.broker import BrokerError, Leveret


class Configured(Leveret):
    """`text` is the configuration file; the harness adds port and data directory on the command line."""

    def __init__(self, text=""):
        super().__init__()
        self.conf = os.path.join(self.dir, "leveret.conf")
        self.extra_env = {}
        self.write(text)

    def write(self, text):
        with open(self.conf, "w") as f:
            f.write(text)

    def command(self):
        argv, env = super().command()
        return [argv[0], "-c", self.conf, *argv[1:]], {**env, **self.extra_env}

    def run(self, *arguments, timeout=60, **popen):
        """Runs the daemon to its end, with these arguments alone; (status, what it wrote)."""
        _, env = self.command()
        done = subprocess.run([self.program, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, **popen)
        return done.returncode, done.stdout

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, pattern, seconds=20, start=0):
        """Waits until the log matches behind `start`; the position behind the match."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.compile(pattern).search(self.log(), start)
            if found:
                return found.end()
            if time.monotonic() > deadline:
                raise BrokerError(f"{pattern!r} did not come into the log\n{self.log_tail()}")
            time.sleep(0.02)

    def reload(self, text, expect="configuration: reloaded"):
        """Writes the file anew and sends SIGHUP; the log of the reload."""
        start = len(self.log())
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        end = self.wait_log(expect, start=start)
        return self.log()[start:end]
