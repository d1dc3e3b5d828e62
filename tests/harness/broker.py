"""Brokers as processes: start, stop, look after. Leveret by default; a real RabbitMQ proves the tests themselves.

Which broker the tests run against is decided by the environment:
  LEVERETD=PATH       leveretd, with LEVERETD_ARGS (shell words) appended, leveretctl from LEVERETCTL (default: beside it)
  BROKER=rabbitmq     the rabbitmq-server package, started privately: own node name, data, cookie and epmd, loopback only
  AMQP_URL=amqp://…   a broker that is already running; tests that must start or administer one are skipped

All brokers listen on 127.0.0.1 alone, on ports the kernel chose, with their data in a temporary folder.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

START_DEADLINE_S = 60  # a RabbitMQ on a busy 2-core machine, or a sanitizer build
STOP_DEADLINE_S = 30
LOG_TAIL_LINES = 30
SANITIZER_REPORT = re.compile(
    r"(ERROR: (Address|Leak|Thread|Memory|Undefined\w*)Sanitizer|WARNING: ThreadSanitizer|runtime error:|LV_ASSERT|assertion failed)",
    re.IGNORECASE)


class BrokerError(Exception):
    """The broker did not do what every test takes for granted: start, stay alive, stop cleanly."""


def free_port():
    """A port nobody listens on at this moment (the broker binds with SO_REUSEADDR, so TIME_WAIT does not matter)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def build_dir():
    """Scratch space inside the checkout (never /tmp of the machine), falling back to $TMPDIR outside of ./dev."""
    return os.environ.get("LEVERET_TEST_TMP") or tempfile.gettempdir()


def amqp_greets(host, port, timeout=2.0):
    """True when something at host:port answers the protocol header with connection.start."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as s:
            s.settimeout(timeout)
            s.sendall(b"AMQP\x00\x00\x09\x01")
            return s.recv(1) == b"\x01"
    except OSError:
        return False


class Broker:
    """What the tests know of a broker. `options` are configuration keys of rabbitmq.conf."""

    kind = "?"
    can_admin = True
    can_restart = True

    def __init__(self, options=None):
        self.host = "127.0.0.1"
        self.port = free_port()
        self.http_port = free_port()
        self.user = "guest"
        self.password = "guest"
        self.options = dict(options or {})
        self.process = None
        self.dir = tempfile.mkdtemp(prefix=f"{self.kind}-", dir=build_dir())
        self.log_path = os.path.join(self.dir, "broker.log")
        self.pid = 0
        self.is_stopping = False  # SIGTERM was sent

    # -- what subclasses say -------------------------------------------------------------------------------------

    def command(self):
        """(argv, environment) of the daemon."""
        raise NotImplementedError

    def ctl_command(self):
        """(argv prefix, environment) of the command line tool."""
        raise NotImplementedError

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self):
        argv, env = self.command()
        log = open(self.log_path, "ab")
        try:
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                                            start_new_session=True)
        finally:
            log.close()
        self.pid, self.is_stopping = self.process.pid, False
        deadline = time.monotonic() + START_DEADLINE_S
        while not amqp_greets(self.host, self.port):
            if self.process.poll() is not None:
                raise BrokerError(f"{self.kind} ended at start with status {self.process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerError(f"{self.kind} does not accept connections after {START_DEADLINE_S} s\n{self.log_tail()}")
            time.sleep(0.02)
        self.started()
        return self

    def started(self):
        """Hook: the port answers; wait for the rest of the start-up."""

    def terminate(self):
        """SIGTERM, once: a second one would mean \"at once\"."""
        if not self.is_stopping:
            self.process.send_signal(signal.SIGTERM)
        self.is_stopping = True

    def stop(self):
        """SIGTERM and a clean end. Raises when it does not end by itself, with a status other than 0, or with a report."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.terminate()
        try:
            status = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"{self.kind} did not end {STOP_DEADLINE_S} s after SIGTERM\n{self.log_tail()}") from None
        self.process = None
        if status not in self.clean_statuses():
            raise BrokerError(f"{self.kind} ended with status {status} after SIGTERM\n{self.log_tail()}")
        self.check_reports()

    def clean_statuses(self):
        return (0,)

    def kill(self):
        """SIGKILL, as in a crash; the data stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- state ---------------------------------------------------------------------------------------------------

    def assert_alive(self):
        if self.process is not None and self.process.poll() is not None:
            raise BrokerError(f"{self.kind} ended with status {self.process.returncode}\n{self.log_tail()}")
        if not amqp_greets(self.host, self.port, timeout=10):
            raise BrokerError(f"{self.kind} no longer answers on port {self.port}\n{self.log_tail()}")

    def check_reports(self):
        """Fails when a sanitizer or an assertion wrote into the log."""
        with open(self.log_path, errors="replace") as f:
            for line in f:
                if SANITIZER_REPORT.search(line):
                    raise BrokerError(f"{self.kind} reported: {line.strip()}\n{self.log_tail(400)}")

    def log_tail(self, lines=LOG_TAIL_LINES):
        try:
            with open(self.log_path, errors="replace") as f:
                tail = f.readlines()[-lines:]
        except OSError as e:
            return f"(no log: {e})"
        return f"--- end of {self.log_path} ---\n" + "".join(tail)

    def url(self, vhost="/", user=None, password=None):
        quote = lambda s: urllib.parse.quote(s, safe="")
        return f"amqp://{quote(user or self.user)}:{quote(password or self.password)}@{self.host}:{self.port}/{quote(vhost)}"

    # -- administration ------------------------------------------------------------------------------------------

    def ctl(self, *args, check=True):
        """Runs a rabbitmqctl-style command; returns its standard output."""
        prefix, env = self.ctl_command()
        done = subprocess.run([*prefix, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
        if check and done.returncode != 0:
            raise BrokerError(f"{args} ended with {done.returncode}: {done.stdout}{done.stderr}\n{self.log_tail()}")
        return done.stdout

    def add_vhost(self, vhost, *users):
        self.ctl("add_vhost", vhost)
        for user in users or (self.user,):
            self.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")

    def add_user(self, user, password, vhost=None, permissions=(".*", ".*", ".*")):
        self.ctl("add_user", user, password)
        if vhost is not None:
            self.ctl("set_permissions", "-p", vhost, user, *permissions)


class Leveret(Broker):
    kind = "leveret"

    def __init__(self, options=None):
        super().__init__(options)
        self.program = os.path.abspath(os.environ["LEVERETD"])
        self.data = os.path.join(self.dir, "data")
        self.socket = os.path.join(self.data, "control.sock")

    def command(self):
        options = {"listeners.tcp.1": f"{self.host}:{self.port}", "management.tcp.ip": self.host,
                   "management.tcp.port": self.http_port, "prometheus.tcp.port": 0, **self.options}
        argv = [self.program, "-d", self.data]
        for key, value in options.items():
            argv += ["-o", f"{key}={value}"]
        env = {**os.environ, "HOME": self.dir}
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=98")
        env.setdefault("TSAN_OPTIONS", "halt_on_error=0:exitcode=97")
        # Small segments: many brokers are started, and the ring comes round now and then.
        argv += ["-o", "message_log.segment_size=1MB"]
        return argv + shlex.split(os.environ.get("LEVERETD_ARGS", "")), env

    def ctl_command(self):
        tool = os.environ.get("LEVERETCTL") or os.path.join(os.path.dirname(self.program), "leveretctl")
        return [tool, "--socket", self.socket], {**os.environ, "LEVERET_SOCKET": self.socket}


class RabbitMQ(Broker):
    """A private node of Debian's rabbitmq-server, seen by nobody but this process."""

    kind = "rabbitmq"
    home = "/usr/lib/rabbitmq/lib"
    plugins = "rabbitmq_consistent_hash_exchange,rabbitmq_random_exchange,rabbitmq_sharding"

    def __init__(self, options=None):
        super().__init__(options)
        self.dist_port = free_port()
        self.epmd_port = free_port()
        self.log_path = os.path.join(self.dir, "broker.log")
        self.node = f"ref{self.port}@localhost"
        releases = sorted(d for d in os.listdir(self.home) if d.startswith("rabbitmq_server-"))
        self.sbin = os.path.join(self.home, releases[-1], "sbin")
        config = {"listeners.tcp.1": f"{self.host}:{self.port}", "cluster_name": "reference", "log.console": "true",
                  "log.console.formatter": "json", "log.file": "false", **self.options}
        with open(os.path.join(self.dir, "rabbitmq.conf"), "w") as f:
            f.writelines(f"{key} = {value}\n" for key, value in config.items())
        for name in ("enabled_plugins", "rabbitmq-env.conf"):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(f"[{self.plugins}].\n" if name == "enabled_plugins" else "")

    def environment(self):
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {"PATH": os.environ["PATH"], "HOME": self.dir, "LANG": "C.UTF-8",
                "RABBITMQ_NODENAME": self.node, "RABBITMQ_BASE": self.dir, "RABBITMQ_MNESIA_BASE": f"{self.dir}/mnesia",
                "RABBITMQ_LOG_BASE": self.dir, "RABBITMQ_CONFIG_FILE": f"{self.dir}/rabbitmq.conf",
                "RABBITMQ_CONF_ENV_FILE": f"{self.dir}/rabbitmq-env.conf", "RABBITMQ_PID_FILE": f"{self.dir}/pid",
                "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.dir}/enabled_plugins", "RABBITMQ_DIST_PORT": str(self.dist_port),
                "ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback, "RABBITMQ_CTL_ERL_ARGS": loopback}

    def command(self):
        return [os.path.join(self.sbin, "rabbitmq-server")], self.environment()

    def ctl_command(self):
        return [os.path.join(self.sbin, "rabbitmqctl"), "-q"], self.environment()

    def started(self):
        self.ctl("await_startup")

    def terminate(self):
        if not self.is_stopping:
            self.ctl("stop", check=False)  # SIGTERM would end the shell around the node first
        self.is_stopping = True

    def stop(self):
        super().stop()
        self.stop_epmd()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
        self.stop_epmd()

    def stop_epmd(self):
        subprocess.run(["epmd", "-port", str(self.epmd_port), "-kill"], env=self.environment(), capture_output=True, check=False)

    def clean_statuses(self):
        return (0, -signal.SIGTERM, 128 + signal.SIGTERM)

    def check_reports(self):
        pass


class External(Broker):
    """Somebody else's broker, given by its address: no log, no administration."""

    kind = "external"
    can_admin = False
    can_restart = False

    def __init__(self, options=None):
        super().__init__(options)
        url = urllib.parse.urlsplit(os.environ["AMQP_URL"])
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 5672
        self.user = urllib.parse.unquote(url.username or "guest")
        self.password = urllib.parse.unquote(url.password or "guest")

    def start(self):
        self.assert_alive()
        return self

    def stop(self):
        pass


def broker_class():
    if os.environ.get("AMQP_URL"):
        return External
    if os.environ.get("BROKER") == "rabbitmq":
        return RabbitMQ
    if os.environ.get("LEVERETD"):
        return Leveret
    sys.exit("tests: set LEVERETD=path/to/leveretd, BROKER=rabbitmq or AMQP_URL")
