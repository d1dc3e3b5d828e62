"""The command line tools of rabbitmq-c (Debian: amqp-tools)."""

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("amqp-publish") is None, reason="no amqp-tools")


def tool(broker, program, *arguments, input=None, check=True):
    done = subprocess.run([program, f"--url={broker.url()}", *arguments], input=input, capture_output=True, timeout=60)
    assert not check or done.returncode == 0, done
    return done


def test_publish_and_get(broker, name):
    q = name()
    assert tool(broker, "amqp-declare-queue", f"--queue={q}").stdout.strip() == q.encode()
    tool(broker, "amqp-publish", f"--routing-key={q}", "--body=hello", "--persistent", "--content-type=text/plain")
    assert tool(broker, "amqp-get", f"--queue={q}").stdout == b"hello"
    assert tool(broker, "amqp-get", f"--queue={q}", check=False).returncode == 2  # empty
    assert tool(broker, "amqp-delete-queue", f"--queue={q}").stdout.strip() == b"0"


def test_consume_into_a_command(broker, name):
    q = name()
    tool(broker, "amqp-declare-queue", f"--queue={q}")
    for i in range(20):
        tool(broker, "amqp-publish", f"--routing-key={q}", f"--body=line {i}")
    done = tool(broker, "amqp-consume", f"--queue={q}", "--count=20", "--prefetch-count=5", "awk", "1")
    assert done.stdout.decode().splitlines() == [f"line {i}" for i in range(20)]
    tool(broker, "amqp-delete-queue", f"--queue={q}")


def test_consume_by_an_exchange(broker, name):
    """amqp-consume makes a queue of its own and binds it; a large body from standard input goes through it."""
    body, key = bytes(range(256)) * 2000, name("k")
    consumer = subprocess.Popen(["amqp-consume", f"--url={broker.url()}", "--exchange=amq.topic", f"--routing-key={key}.#",
                                 "--count=1", "cat"], stdout=subprocess.PIPE)
    try:
        for _ in range(100):  # until its binding is there
            tool(broker, "amqp-publish", "--exchange=amq.topic", f"--routing-key={key}.x", input=body)
            try:
                out, _ = consumer.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                continue
        assert out == body and consumer.returncode == 0
    finally:
        consumer.kill()


def test_declare_and_errors(broker, name):
    q = name()
    tool(broker, "amqp-declare-queue", f"--queue={q}", "--durable")
    done = tool(broker, "amqp-declare-queue", f"--queue={q}", check=False)
    assert done.returncode != 0 and b"PRECONDITION_FAILED" in done.stderr
    done = tool(broker, "amqp-get", "--queue=nosuch-queue", check=False)
    assert done.returncode != 0 and b"NOT_FOUND" in done.stderr
    tool(broker, "amqp-delete-queue", f"--queue={q}")


def test_wrong_password(broker):
    done = subprocess.run(["amqp-publish", f"--server={broker.host}", f"--port={broker.port}", "--username=guest", "--password=wrong",
                           "--routing-key=x", "--body=x"], capture_output=True, timeout=60)
    assert done.returncode != 0
