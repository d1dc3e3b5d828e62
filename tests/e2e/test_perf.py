"""leveret-perf: its commands against a broker, its JSON, its verdicts. It is found in LEVERET_PERF, or beside leveretctl."""

import json
import os
import shutil
import subprocess
import time

import pika
import pytest

TIMEOUT_S = 100


def program():
    """leveret-perf as its own file: pytest runs in the broker's folder or elsewhere."""
    beside = [os.environ.get(name) for name in ("LEVERETCTL", "LEVERETD") if os.environ.get(name)]
    candidates = [os.environ.get("LEVERET_PERF")]
    for path in beside:
        candidates += [os.path.join(os.path.dirname(path), "leveret-perf"), os.path.join(os.path.dirname(path), "cli", "leveret-perf")]
    found = next((os.path.abspath(c) for c in candidates if c and os.access(c, os.X_OK)), None) or shutil.which("leveret-perf")
    if found is None:
        pytest.skip("leveret-perf is not built")
    return found


@pytest.fixture
def perf(broker, tmp_path):
    """perf(command, options..., status=0): runs it against the broker; its JSON, or None."""

    def run(*arguments, status=0):
        command = [program(), arguments[0], "--uri", broker.url(), "--json", *(str(a) for a in arguments[1:])]
        done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S,
                              check=False)
        assert done.returncode == status, f"{done.args} ended with {done.returncode}: {done.stdout}{done.stderr}"
        run.stderr = done.stderr
        return json.loads(done.stdout) if done.stdout else None

    return run


@pytest.fixture
def queue_name(name, pika_connect):
    """A queue's name (a pattern); whatever is left of it is deleted."""
    pattern = name("perf-%d")
    yield pattern
    channel = pika_connect().channel()
    for i in range(1, 6):
        channel.queue_delete(pattern.replace("%d", str(i)))


def test_every_message_is_published_confirmed_and_consumed(perf, queue_name):
    r = perf("run", "--queue", queue_name, "--messages", 20000, "--confirm", 100, "--auto-ack")
    assert (r["published"], r["confirmed"], r["nacked"], r["consumed"]) == (20000, 20000, 0, 20000)
    for latency in (r["confirm_latency_us"], r["delivery_latency_us"]):
        assert latency["count"] == 20000
        assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]


@pytest.mark.parametrize("options", [
    ["--prefetch", 10], ["--prefetch", 100, "--multi-ack-every", 1000], ["--prefetch", 0, "--multi-ack-every", 7],
    ["--size", 0], ["--size", 15], ["--size", 300000, "--frame-max", 4096], ["--persistent", "--durable"],
    ["--producers", 3, "--consumers", 2, "--queues", 5], ["--producers", 4, "--consumers", 5, "--queues", 2, "--threads", 1],
], ids=lambda o: " ".join(map(str, o)))
def test_every_message_arrives(perf, queue_name, options):
    producers = options[options.index("--producers") + 1] if "--producers" in options else 1
    messages = 50 if 300000 in options else 3000
    r = perf("run", "--queue-pattern", queue_name, "--messages", messages, "--confirm", 50, *options)
    assert r["published"] == r["confirmed"] == r["consumed"] == messages * producers
    assert r["redelivered"] == 0


def test_exchanges_copy(perf, queue_name, name):
    exchange = name("x")
    r = perf("run", "--queue-pattern", queue_name, "--queues", 3, "--exchange", exchange, "--type", "topic", "--routing-key",
             "order.eu.new", "--binding-key", "order.#", "--messages", 500, "--consumers", 3)
    assert (r["published"], r["consumed"]) == (500, 1500)


def test_a_rate_is_kept(perf, queue_name):
    r = perf("run", "--queue", queue_name, "--rate", 200, "--producers", 2, "--duration", 2, "--warmup", 0.5, "--confirm", 50)
    assert 300 < r["published_per_s"] < 500
    assert r["seconds"] == pytest.approx(2, abs=0.5)


def test_what_was_there_stays(perf, pika_connect, queue_name):
    """An existing queue is used with what is in it, and is not deleted; one that the run declared is."""
    channel = pika_connect().channel()
    channel.queue_declare(queue_name, durable=True)
    perf("run", "--queue", queue_name, "--messages", 10, "--consumers", 0, "--confirm", 10)
    assert channel.queue_declare(queue_name, passive=True).method.message_count == 10
    channel.queue_delete(queue_name)
    perf("run", "--queue", queue_name, "--messages", 10)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare(queue_name, passive=True)


def test_a_queue_is_filled_and_emptied_by_count(perf, queue_name, name):
    """Without consumers --messages fills; without producers it is what all consumers together take. --hold keeps what it was given, unacknowledged."""
    queue = name("fill")
    fill = perf("run", "--queue", queue, "--messages", 500, "--consumers", 0, "--confirm", 100, "--keep", "--size", 100)
    assert fill["confirmed"] == 500
    held = perf("run", "--queue", queue, "--producers", 0, "--hold", "--prefetch", 3, "--messages", 3, "--keep")
    assert (held["consumed"], held["redelivered"]) == (3, 0)
    drained = perf("run", "--queue", queue, "--producers", 0, "--consumers", 2, "--messages", 500, "--connect-within", 5,
                   "--multi-ack-every", 7)
    assert (drained["consumed"], drained["redelivered"]) == (500, 3)
    assert 0 < drained["connected_ms"] <= drained["first_delivery_ms"] < 60000
    perf("run", "--queue", queue, "--hold", "--auto-ack", status=2)


def test_a_broker_that_starts_is_waited_for(configured, perf):
    broker = configured(start=False)
    waiting = subprocess.Popen([program(), "run", "--uri", broker.url(), "--json", "--connect-within", "60", "--messages", "10"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    broker.start()
    out, _ = waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 0 and json.loads(out)["consumed"] == 10


def test_the_broker_is_watched(perf, broker, queue_name):
    if not broker.pid:
        pytest.skip("needs the broker's process")
    r = perf("run", "--queue", queue_name, "--duration", 1, "--warmup", 0.2, "--auto-ack", "--pid", broker.pid, "--disk", ".")
    assert r["broker_cpu_us_per_message"] > 0
    assert 0 < r["broker_anon_after_mib"] < r["broker_rss_peak_mib"]
    assert r.get("disk_written_bytes_per_message", 0) >= 0  # a folder in memory has no disk


def test_failures_have_the_brokers_words(broker, perf, queue_name, tmp_path):
    perf("run", "--queue", queue_name, "--queue-args", "x-max-length=many", status=1)
    assert "PRECONDITION_FAILED" in perf.stderr
    done = subprocess.run([program(), "run", "--uri", broker.url(password="wrong")], capture_output=True, text=True, timeout=TIMEOUT_S,
                          check=False)
    assert done.returncode == 1 and "403 ACCESS_REFUSED" in done.stderr and "wrong" not in done.stderr
    perf("run", "--confrim", 5, status=2)
    assert "did you mean --confirm?" in perf.stderr


def test_help_needs_no_broker():
    for command in ("run", "verify", "idle", "declare", "churn"):
        done = subprocess.run([program(), command, "--help"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        assert "Examples" in done.stdout and f"leveret-perf {command}" in done.stdout


def test_idle_connections(perf):
    r = perf("idle", "--connections", 40, "--channels", 2, "--heartbeat", 1, "--hold", 3, "--settle", 0)
    assert (r["connections"], r["lost"]) == (40, 0)


@pytest.mark.parametrize("options", [[], ["--durable", "--bind", "amq.direct"], ["--window", 1, "--channels", 1]], ids=str)
def test_declared_queues_are_deleted_again(perf, pika_connect, name, options):
    pattern = name("many-%d")
    r = perf("declare", "--queues", 120, "--queue-pattern", pattern, "--settle", 0, *options)
    assert r["queues"] == 120 and r["deleted_per_s"] > 0
    for i in (1, 60, 120):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            pika_connect().channel().queue_declare(pattern.replace("%d", str(i)), passive=True)


@pytest.mark.parametrize("what", ["connections", "channels", "queues", "bindings", "consumers"])
def test_churn(perf, what):
    r = perf("churn", "--what", what, "--cycles", 20, "--clients", 3)
    assert r["cycles"] == r["cycle_latency_us"]["count"] == 60


# --- verify ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def verify(perf, queue_name):
    def run(*options, status=0):
        return perf("verify", "--queue-pattern", queue_name, *options, status=status)
    return run


def publish_some(verify, *options):
    r = verify("--messages", 500, "--rate", 0, *options)
    assert (r["sent"], r["confirmed"], r["reconnects"]) == (1000, 1000, 0)


def test_verify_finds_nothing_wrong(verify):
    publish_some(verify)
    r = verify("--check")
    assert r["verdict"] == "GOOD"
    assert (r["sent"], r["confirmed"], r["received"], r["drained"]) == (1000, 1000, 1000, 1000)


def test_verify_consumes_live(verify):
    publish_some(verify, "--consume-live", "--queues", 3, "--size", 5000)
    r = verify("--check", "--keep")
    assert (r["verdict"], r["received"]) == ("GOOD", 1000)
    # What was received is remembered: a second check, with nothing left to drain, says the same.
    r = verify("--check")
    assert (r["verdict"], r["received"], r["drained"]) == ("GOOD", 1000, 0)


def tampered(queue_name, pika_connect, change):
    """Takes the first message of queue 1 out and hands it to `change`, which publishes what it likes."""
    channel = pika_connect().channel()
    queue = queue_name.replace("%d", "1")
    method, _properties, body = channel.basic_get(queue, auto_ack=True)
    assert method is not None
    change(lambda b: channel.basic_publish("", queue, b), body)
    channel.connection.close()


@pytest.mark.parametrize("change, finding, count", [
    (lambda publish, body: None, "lost", 1),
    (lambda publish, body: publish(body), "out_of_order", 1),
    (lambda publish, body: (publish(body), publish(body)), "duplicated_unexplained", 1),
    (lambda publish, body: publish(body[:-1]), "corrupted", 1),
    (lambda publish, body: publish(body[:60] + b"?" + body[61:]), "corrupted", 1),
    (lambda publish, body: publish(b"somebody else's"), "unexpected", 1),
], ids=["lost", "out of order", "duplicated", "shortened", "damaged", "foreign"])
def test_verify_finds_what_is_wrong(verify, queue_name, pika_connect, change, finding, count):
    publish_some(verify)
    tampered(queue_name, pika_connect, change)
    r = verify("--check", status=1)
    assert r["verdict"] == "BAD"
    assert r[finding] == count


def test_verify_misses_a_whole_queue(verify, queue_name, pika_connect):
    publish_some(verify)
    pika_connect().channel().queue_delete(queue_name.replace("%d", "2"))
    r = verify("--check", status=1)
    assert r["verdict"].startswith("BAD") and r["lost"] == 500


def test_verify_needs_its_log(verify):
    verify("--check", status=1)


@pytest.mark.needs_restart
@pytest.mark.leveret_only("kills the daemon while it is used")
def test_publishers_come_back_after_a_crash(start_broker, tmp_path):
    broker = start_broker()
    command = [program(), "verify", "--uri", broker.url(), "--json", "--duration", "60", "--rate", "500"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        def confirmed():
            log = tmp_path / "leveret-verify.log"
            return sum(line.startswith("c ") for line in log.read_text().splitlines()) if log.exists() else 0

        def wait_for_more(than):
            deadline = time.monotonic() + 30
            while confirmed() <= than:
                assert time.monotonic() < deadline, "nothing is confirmed any more"
                time.sleep(0.05)

        wait_for_more(20)
        broker.kill()
        before = confirmed()
        broker.start()
        wait_for_more(before + 20)
        process.terminate()
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["reconnects"] >= 1
    assert result["confirmed"] <= result["sent"]
