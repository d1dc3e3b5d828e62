"""guest may log in from the loopback only. Needs root: a network namespace with a veth pair gives the broker a far client."""

import os
import subprocess
import sys
import time

import pytest

# One after the other: they share their addresses.
pytestmark = [pytest.mark.needs_restart, pytest.mark.xdist_group("far network"),
              pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")]

HERE = os.path.dirname(os.path.abspath(__file__))
NEAR, FAR = "10.251.37.1", "10.251.37.2"
CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import wire
class Target: host, port = sys.argv[2], int(sys.argv[3])
try:
    wire.Conn.open(Target, user=sys.argv[4], password=sys.argv[4]).close()
    print("open")
except wire.Closed as e:
    print(e.code, e.text)
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def far_network():
    """A namespace `name` whose only way out is a veth pair to here."""
    name = f"lv{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", f"{NEAR}/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", f"{FAR}/30", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
    except (OSError, subprocess.CalledProcessError) as e:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pytest.skip(f"no network namespaces here: {e}")
    yield name
    subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def from_afar(namespace, broker, user):
    spec = os.path.join(os.path.dirname(HERE), "spec")
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", CLIENT, spec, NEAR, str(broker.port), user]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_guest_is_refused_from_afar_and_others_are_not(start_broker, far_network):
    from harness.broker import free_port
    far_port = free_port()
    broker = start_broker({"listeners.tcp.2": f"{NEAR}:{far_port}"})
    broker.add_user("far", "far", "/")
    broker.assert_alive()  # guest on the loopback

    class There:
        port = far_port

    assert from_afar(far_network, There, "guest").startswith("403 ACCESS_REFUSED - ")
    assert from_afar(far_network, There, "far") == "open"


def test_loopback_users_can_be_switched_off(start_broker, far_network):
    from harness.broker import free_port
    far_port = free_port()
    broker = start_broker({"listeners.tcp.2": f"{NEAR}:{far_port}", "loopback_users.guest": "false"})

    class There:
        port = far_port

    assert from_afar(far_network, There, "guest") == "open"
    broker.assert_alive()


def answers_soon(namespace, there, start):
    """What SIGHUP changes reaches the workers a moment after the log has said so."""
    deadline = time.monotonic() + 20
    while not from_afar(namespace, there, "guest").startswith(start):
        assert time.monotonic() < deadline


@pytest.mark.leveret_only("RabbitMQ reads its file at start only")
def test_loopback_users_are_reloaded(configured, far_network):
    from harness.broker import free_port
    far_port = free_port()
    listen = f"listeners.tcp.2 = {NEAR}:{far_port}\n"
    broker = configured(listen)

    class There:
        port = far_port

    assert from_afar(far_network, There, "guest").startswith("403 ")
    broker.reload(listen + "loopback_users.guest = false\n")
    answers_soon(far_network, There, "open")
    broker.reload(listen)
    answers_soon(far_network, There, "403 ")
