"""leveretctl store on the data directory of a Leveret that ran, stopped or killed: what it says, and that it changes nothing."""

import base64
import hashlib
import json
import os
import subprocess

import pika
import pytest

TIMEOUT_S = 120


def snapshot(path):
    """Names, times, sizes and contents of everything below a folder."""
    found = {}
    for folder, _, names in os.walk(path):
        found[folder] = os.stat(folder).st_mtime_ns
        for name in names:
            full = os.path.join(folder, name)
            stat = os.lstat(full)
            content = b""
            if os.path.isfile(full):
                with open(full, "rb") as f:
                    content = hashlib.sha256(f.read()).digest()
            found[full] = (stat.st_mtime_ns, stat.st_size, content)
    return found


class Store:
    def __init__(self, broker):
        prefix, self.env = broker.ctl_command()
        self.program, self.dir, self.err = prefix[0], os.path.dirname(broker.socket), ""

    def __call__(self, *words, status=0):
        done = subprocess.run([self.program, "store", *words, "-d", self.dir], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == status, f"{done.args}: {done.returncode}\n{done.stdout}{done.stderr}"
        self.err = done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def unchanged(self, *words, status=0):
        before = snapshot(self.dir)
        answer = self(*words, status=status)
        assert snapshot(self.dir) == before
        return answer

    def file_of(self, message):
        return os.path.join(self.dir, message["file"])


@pytest.fixture
def ran(configured, pika_connect):
    """ran(end): a Leveret that took 40 messages into one durable queue and one large into another, acked the first five, and was then
    stopped ("stop") or killed ("kill"); its Store."""

    def run(end, queue="orders"):
        broker = configured()
        connection = pika_connect(to=broker)
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2, headers={"n": 1, "t": "x"}, content_type="text/plain")
        channel.queue_declare(queue, durable=True)
        channel.queue_declare("large", durable=True)
        for n in range(40):
            channel.basic_publish("", queue, f"message {n}".encode() if n != 7 else b"\xff\x00\xfe", persistent)
        channel.basic_publish("", "large", b"L" * (20 << 20), persistent)
        for _ in range(5):
            method, _, _ = channel.basic_get(queue)
            channel.basic_ack(method.delivery_tag)
        channel.queue_declare(queue, passive=True)  # the acks were taken
        store = Store(broker)
        store("verify", status=69)
        assert "in use by process" in store.err
        if end == "stop":
            connection.close()
            broker.stop()
        else:
            broker.kill()
        if not os.path.isdir(os.path.join(store.dir, "log")):
            pytest.skip("this broker keeps no messages on disk")
        return store

    return run


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_a_broker_left_is_clean_and_counted(ran, end):
    store = ran(end)
    assert store.unchanged("verify", "--json")["result"] == "clean"
    stats = store.unchanged("stats", "--json")
    queues = {q["name"]: q for q in stats["queues"]}
    assert 35 <= queues["orders"]["messages"] <= 40  # a kill may lose acks, never messages
    assert queues["large"]["messages"] == 1 and queues["large"]["message_bytes"] == 20 << 20
    if end == "stop":
        assert queues["orders"]["messages"] == 35
    assert stats["start"]["messages_to_lost_found"] == 0
    messages = {m["seq"]: m for m in store.unchanged("dump", "--queue", "orders", "--json", "--limit", "0")}
    bodies = [base64.b64decode(m["payload"]) if m["payload_encoding"] == "base64" else m["payload"].encode()
              for m in messages.values()]
    assert bodies[-33:] == [b"\xff\x00\xfe"] + [f"message {n}".encode() for n in range(8, 40)]
    last = messages[max(messages)]
    assert last["routing_key"] == "orders" and last["exchange"] == ""
    assert last["properties"] == {"delivery_mode": 2, "headers": {"n": 1, "t": "x"}, "content_type": "text/plain"}
    assert "orders" in store.unchanged("stats") and "message 39" in store.unchanged("dump", "--limit", "0", "--truncate", "100")


def test_planted_damage_is_found_where_it_is(ran):
    store = ran("kill")
    message = next(m for m in store("dump", "--queue", "orders", "--json") if m.get("payload") == "message 20")
    with open(store.file_of(message), "r+b") as f:
        f.seek(message["offset"] + 60)
        byte = f.read(1)
        f.seek(message["offset"] + 60)
        f.write(bytes([byte[0] ^ 1]))
    report = store.unchanged("verify", "--json", status=1)
    assert report["result"] == "damaged"
    assert any(f["severity"] == "damage" and f["file"] == message["file"] and
               f["offset"] <= message["offset"] + 60 < f["offset"] + max(f["bytes"], 1 << 30) for f in report["findings"])
    assert "damage: " + message["file"] in store.unchanged("verify", status=1)


def test_metadata_that_rots_is_found(ran):
    store = ran("stop")
    with open(os.path.join(store.dir, "meta.sqlite"), "r+b") as f:
        f.seek(4096)
        f.write(b"\xaa" * 64)
    report = store.unchanged("verify", "--json", status=1)
    assert any(f["severity"] == "damage" and f["file"] == "meta.sqlite" for f in report["findings"])
