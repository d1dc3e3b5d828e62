"""The real daemon as a process: signals, exit statuses, what it says when it cannot start, what systemd hears, file descriptors."""

import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
import wire

pytestmark = [pytest.mark.needs_restart, pytest.mark.leveret_only("the daemon's own command line, signals and messages")]

SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


# -- ending ----------------------------------------------------------------------------------------------------------------


def end_in_order(conn):
    """The connection must end with a FIN. A reset would destroy, on its way or at another kernel than ours, what was sent before."""
    conn.sock.settimeout(20)
    while conn.sock.recv(1 << 20):
        pass
    conn.abort()


class Flood(threading.Thread):
    """Publishes without end and, in the same thread, reads what comes: what a client sees when the broker stops under load."""

    def __init__(self, broker, size, vhost="/"):
        super().__init__(daemon=True)
        self.conn = wire.Conn.open(broker, vhost=vhost, timeout=60)
        self.ch = self.conn.channel(1)
        self.closed = self.error = None
        queue = self.ch.queue("", exclusive=True)
        self.ch.consume(queue, no_ack=True)
        self.block = self.ch.publish_bytes("", queue, b"x" * size) * max(1, 60000 // (size + 60))
        self.left = memoryview(self.block)  # of the block being sent

    def run(self):
        sock = self.conn.sock
        try:
            sock.setblocking(False)
            while self.closed is None:
                try:
                    self.left = self.left[sock.send(self.left):] or memoryview(self.block)
                except BlockingIOError:
                    pass
                self.read()
        except Exception as e:  # told by the test
            self.error = e

    def answer(self):
        """close-ok, behind the frame that was under way, and the end."""
        self.conn.sock.setblocking(True)
        self.conn.send_bytes(self.left)
        self.conn.send(0, "connection.close-ok")
        end_in_order(self.conn)

    def read(self):
        conn = self.conn
        try:
            data = conn.sock.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise wire.SocketClosed("end of stream without connection.close")
        conn.buffer += data
        while len(conn.buffer) >= 7:
            size = int.from_bytes(conn.buffer[3:7], "big") + 8
            if len(conn.buffer) < size:
                return
            payload = bytes(conn.buffer[7:size - 1])
            if conn.buffer[0] == wire.FRAME_METHOD and payload[:4] == b"\x00\x0a\x00\x32":
                self.closed = wire.decode_method(payload)
                return
            del conn.buffer[:size]


@pytest.mark.parametrize("size", [16, 4000, 300000])
def test_sigterm_under_load_tells_every_client(configured, size):
    """Socket buffers are full in both directions; the text must come all the same, not a reset."""
    broker = configured("shutdown_timeout = 20s\n")
    floods = [Flood(broker, size) for _ in range(6)]
    for flood in floods:
        flood.start()
    time.sleep(1)
    assert [f.error for f in floods] == [None] * len(floods)
    start = time.monotonic()
    broker.terminate()
    for flood in floods:
        flood.join(30)
    assert [f.error for f in floods] == [None] * len(floods)
    for flood in floods:
        assert (flood.closed.reply_code, flood.closed.reply_text) == (320, SHUTDOWN)
        flood.answer()
    assert broker.process.wait(30) == 0
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("size", [16, 300000])
def test_a_vhost_deleted_under_load_tells_every_client(configured, size):
    broker = configured()
    broker.add_vhost("v")
    floods = [Flood(broker, size, "v") for _ in range(4)]
    for flood in floods:
        flood.start()
    time.sleep(0.5)
    broker.ctl("delete_vhost", "v")
    for flood in floods:
        flood.join(30)
        assert flood.error is None
        # The second: a publish met the vhost's absence before the worker was told to close its connections.
        assert (flood.closed.reply_code, flood.closed.reply_text) in (
            (320, "CONNECTION_FORCED - vhost 'v' is deleted"), (530, "NOT_ALLOWED - vhost v not found"))
        flood.answer()
    wire.Conn.open(broker).close()


def test_a_refused_login_is_told_to_a_client_that_does_not_wait(configured):
    """All the handshake, and a megabyte, sent without reading: the refusal must not drown in a reset."""
    broker = configured()
    for _ in range(10):
        conn = wire.Conn(broker.host, broker.port, timeout=20)
        conn.send_bytes(wire.HEADER)
        conn.send_start_ok("guest", "wrong")
        conn.send(0, "connection.tune-ok", channel_max=0, frame_max=131072, heartbeat=0)
        conn.send(0, "connection.open", virtual_host="/")
        conn.send_bytes(wire.frame(3, 1, b"x" * 4000) * 250)
        conn.expect(0, "connection.start")
        closed = conn.drain_close()
        assert (closed.scope, closed.code) == ("connection", 403)
        assert closed.text.startswith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.")
        end_in_order(conn)


def test_the_shutdown_timeout_is_kept(configured):
    """A client that does not answer connection.close holds the shutdown up to the limit, not longer."""
    broker = configured("shutdown_timeout = 1s\n")
    conn = wire.Conn.open(broker)
    start = time.monotonic()
    broker.terminate()
    assert broker.process.wait(30) == 0
    assert 0.9 <= time.monotonic() - start < 8
    assert "clients did not close within 1000 ms" in broker.log()
    with pytest.raises(wire.Closed) as e:
        conn.next(0)
    assert e.value.text == SHUTDOWN


@pytest.mark.parametrize("count", [1, 30, 200, 1000])
def test_declarations_under_way_at_sigterm_leave_nothing_behind(configured, count):
    """Their answers may be anywhere between the threads when these end: a leak checker tells when one stays."""
    broker = configured("shutdown_timeout = 1000\n")
    for _ in range(4):
        conns = [wire.Conn.open(broker) for _ in range(3)]
        for conn in conns:
            conn.channel(1).queue("q", durable=True)
        binds = [b"".join(wire.frame(wire.FRAME_METHOD, 1, wire.encode_method("queue.bind", queue="q", exchange="amq.direct", routing_key=f"{i}.{n}"))
                          for n in range(count)) for i in range(len(conns))]
        for conn, frames in zip(conns, binds):
            conn.send_bytes(frames)
        broker.terminate()
        for conn in conns:
            conn.abort()
        broker.stop()
        broker.start()


def test_a_second_sigterm_ends_it_at_once(configured):
    broker = configured("shutdown_timeout = 1h\n")
    conn = wire.Conn.open(broker)
    broker.terminate()
    broker.wait_log("closing listeners and connections")
    assert broker.process.poll() is None
    start = time.monotonic()
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(30) == 1
    assert time.monotonic() - start < 5
    broker.process = None
    conn.abort()


def test_no_new_connections_while_it_ends(configured):
    broker = configured("shutdown_timeout = 5s\n")
    conn = wire.Conn.open(broker)
    broker.terminate()
    assert conn.drain_close(20).code == 320  # answered: it may end
    conn.expect_end()
    with pytest.raises((OSError, wire.SocketClosed)):
        wire.Conn.open(broker)
    assert broker.process.wait(30) == 0
    conn.abort()


@pytest.mark.parametrize("mistake", ["frame end", "syntax", "unknown method", "too large"])
def test_a_mistake_in_the_middle_of_a_flood_gets_its_answer(configured, mistake):
    """The client sees the close although it had megabytes on their way: the broker reads on, so that no reset destroys its text."""
    broker = configured()
    bad = {
        "frame end": wire.frame(1, 1, wire.encode_method("queue.declare", queue="q"), end=0),
        "syntax": wire.frame(1, 1, b"\x00\x32\x00\x0a\x00\x00\xff"),
        "unknown method": wire.frame(1, 1, b"\x00\x32\x01\x00"),
        "too large": b"\x03\x00\x01\x7f\xff\xff\xff",
    }[mistake]
    code = {"frame end": 501, "syntax": 501, "unknown method": 503, "too large": 501}[mistake]
    for _ in range(20):
        conn = wire.Conn.open(broker, timeout=20)
        ch = conn.channel(1)
        publish = ch.publish_bytes("amq.fanout", "", b"x" * 1000)
        conn.send_bytes(publish * 500 + bad + publish * 500)
        closed = conn.drain_close()
        assert (closed.scope, closed.code) == ("connection", code), closed
        end_in_order(conn)


# -- starting --------------------------------------------------------------------------------------------------------------


def test_a_port_in_use(configured):
    broker = configured(start=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", broker.port))
        other.listen()
        status, text = broker.run("-c", broker.conf, "-d", broker.data, "-o", f"listeners.tcp.1=127.0.0.1:{broker.port}")
    assert status == 69
    assert text.splitlines()[-1] == f"leveretd: listeners.tcp.1: address 127.0.0.1:{broker.port} is in use by another process"


def test_a_data_directory_in_use(configured):
    broker = configured()
    status, text = broker.run("-c", "/dev/null", "-d", broker.data, "-o", "listeners.tcp.1=127.0.0.1:1")
    assert status == 75
    assert text.splitlines()[-1] == f"leveretd: data directory {broker.data} is in use by process {broker.pid}"
    broker.assert_alive()


def test_a_lock_left_behind_by_a_crash_locks_nobody_out(configured):
    broker = configured()
    broker.kill()
    assert os.path.exists(os.path.join(broker.data, "lock"))
    broker.start()
    broker.assert_alive()


def test_configurations_that_cannot_be_read(configured, tmp_path):
    broker = configured(start=False)
    assert broker.run("-c", str(tmp_path / "none.conf")) == (78, f"leveretd: {tmp_path}/none.conf: cannot be read: not found\n")
    broker.write("heartbeat = 60\nheartbeat_interval = 9\nframe_max = lots\n")
    status, text = broker.run("-c", broker.conf)
    assert status == 78
    assert f"{broker.conf}:2: unknown key 'heartbeat_interval'" in text
    assert f"{broker.conf}:3: " in text and "frame_max" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_permissions(configured):
    """As nobody: a file that may not be read, a data directory that is another's, a folder that may not be written."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o755)
        check_permissions(configured, pathlib.Path(folder))


def check_permissions(configured, tmp_path):
    broker = configured(start=False)
    secret = tmp_path / "secret.conf"
    secret.write_text("heartbeat = 60\n")
    secret.chmod(0o600)
    ours = tmp_path / "data"
    ours.mkdir()
    program = tmp_path / "leveretd"  # the checkout may be closed to nobody
    program.write_bytes(open(broker.program, "rb").read())
    program.chmod(0o755)
    broker.program = str(program)
    as_nobody = {"user": "nobody", "group": "nogroup", "cwd": "/"}
    status, text = broker.run("-c", str(secret), **as_nobody)
    assert (status, text) == (78, f"leveretd: {secret}: cannot be read: permission denied\n")
    status, text = broker.run("-c", "/dev/null", "-d", str(ours), **as_nobody)
    assert status == 77 and re.search(r"data directory .* belongs to user 0, not to the one leveretd runs as", text)
    status, text = broker.run("-c", "/dev/null", "-d", str(tmp_path / "new"), **as_nobody)
    assert status == 77 and "cannot be made: Permission denied" in text


def test_the_data_directory_is_closed_to_others(configured):
    broker = configured(start=False)
    os.mkdir(broker.data, 0o755)
    broker.start()
    assert os.stat(broker.data).st_mode & 0o777 == 0o700
    assert "was open to others" in broker.log()
    for name in os.listdir(broker.data):
        assert os.stat(os.path.join(broker.data, name)).st_mode & 0o077 == 0, name


def test_a_failed_start_leaves_nothing_running_and_can_be_repeated(configured):
    """The default user's permissions are checked before the store is touched: the corrected file makes the user after all."""
    broker = configured("default_permissions.write = (\n", start=False)
    status, text = broker.run("-c", broker.conf, "-d", broker.data, "-o", f"listeners.tcp.1=127.0.0.1:{broker.port}")
    assert status == 78
    assert re.search(r"default_permissions: invalid regular expression '\('", text)
    broker.write("")
    broker.start()
    wire.Conn.open(broker).close()


# -- descriptors, systemd --------------------------------------------------------------------------------------------------


def limits_of(pid):
    with open(f"/proc/{pid}/limits") as f:
        line = next(line for line in f if line.startswith("Max open files"))
    return [int(x) for x in line.split()[3:5]]


def test_descriptors_are_raised_as_far_as_allowed(configured):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        broker = configured()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limits_of(broker.pid)[0] >= hard


def test_few_descriptors_are_said(configured):
    """With a hard limit that may not be raised, the log says how many connections there can be, and the broker bears the end of them."""
    broker = configured(start=False)
    if os.geteuid() == 0 and subprocess.run(["prlimit", "--version"], capture_output=True).returncode != 0:
        pytest.skip("no prlimit")
    broker.start()
    # Afterwards, because root would raise it again at start.
    subprocess.run(["prlimit", f"--pid={broker.pid}", "--nofile=64:64"], check=True)
    held = []
    for _ in range(100):
        try:
            held.append(socket.create_connection((broker.host, broker.port), timeout=5))
        except OSError:
            break
    broker.wait_log("no connection can be accepted")
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 20
    while True:
        try:
            wire.Conn.open(broker).close()
            break
        except (OSError, wire.SocketClosed):  # turned away
            assert time.monotonic() < deadline
            time.sleep(0.05)
    broker.wait_log("connections are accepted again")


def test_systemd_is_told(configured, tmp_path):
    broker = configured(start=False)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        broker.extra_env = {"NOTIFY_SOCKET": path}
        broker.start()
        first = notify.recv(4096)
        if not first:
            pytest.skip("built without libsystemd")
        assert b"READY=1" in first
        broker.process.send_signal(signal.SIGHUP)
        reloading = notify.recv(4096)
        assert b"RELOADING=1" in reloading and re.search(rb"MONOTONIC_USEC=\d+", reloading)
        assert b"READY=1" in notify.recv(4096)
        broker.terminate()
        assert b"STOPPING=1" in notify.recv(4096)
        assert broker.process.wait(30) == 0


def test_ready_is_said_only_when_connections_are_taken(configured, tmp_path):
    broker = configured(start=False)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        argv, env = broker.command()
        with open(broker.log_path, "ab") as log:
            broker.process = subprocess.Popen(argv, env={**env, "NOTIFY_SOCKET": path}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        broker.pid = broker.process.pid
        assert b"READY=1" in notify.recv(4096)
        wire.Conn.open(broker).close()  # at once, without a second try
        broker.ctl("list_queues")
