"""py-amqp, kombu and Celery."""

import os
import signal
import socket
import subprocess
import sys
import time

import amqp
import kombu
import kombu.pools
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


# --- py-amqp --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def amqp_connection(broker):
    connection = amqp.Connection(f"{broker.host}:{broker.port}", userid=broker.user, password=broker.password, confirm_publish=True,
                                 heartbeat=10)
    connection.connect()
    yield connection
    connection.close()


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_py_amqp_logs_in(broker, method):
    with amqp.Connection(f"{broker.host}:{broker.port}", userid=broker.user, password=broker.password, login_method=method) as connection:
        assert connection.server_properties["product"] == "RabbitMQ"
        assert connection.server_capabilities["consumer_cancel_notify"]


def test_py_amqp_publish_consume_recover(amqp_connection, name):
    channel = amqp_connection.channel()
    queue = channel.queue_declare(name(), durable=True, auto_delete=False).queue
    for i in range(100):
        channel.basic_publish(amqp.Message(str(i), delivery_mode=2, application_headers={"i": i}), routing_key=queue)
    got = []
    channel.basic_qos(0, 10, False)
    tag = channel.basic_consume(queue, callback=lambda m: (got.append(int(m.body)), channel.basic_ack(m.delivery_tag)))
    while len(got) < 100:
        amqp_connection.drain_events(timeout=20)
    assert got == list(range(100))
    channel.basic_cancel(tag)
    channel.queue_delete(queue)


def test_py_amqp_errors_and_returns(amqp_connection):
    channel = amqp_connection.channel()
    returned = []
    channel.events["basic_return"].add(lambda error, exchange, key, message: returned.append((error.reply_code, key)))
    channel.basic_publish(amqp.Message("x"), exchange="amq.direct", routing_key="nowhere", mandatory=True)
    assert returned == [(312, "nowhere")]
    with pytest.raises(amqp.exceptions.NotFound):
        channel.queue_declare("nosuch-queue", passive=True)
    with pytest.raises(amqp.exceptions.AccessRefused):
        amqp_connection.channel().queue_declare("amq.mine")


def test_py_amqp_heartbeats(broker):
    connection = amqp.Connection(f"{broker.host}:{broker.port}", userid=broker.user, password=broker.password, heartbeat=3)
    connection.connect()
    for _ in range(16):
        connection.heartbeat_tick()
        try:
            connection.drain_events(timeout=0.5)
        except socket.timeout:
            pass
    assert connection.connected
    connection.close()


# --- kombu ----------------------------------------------------------------------------------------------------------------


def test_kombu_producer_and_consumer(broker, name):
    exchange = kombu.Exchange(name("x"), "topic", durable=False, auto_delete=True)
    queue = kombu.Queue(name(), exchange, routing_key="a.#", auto_delete=True, durable=False)
    with kombu.Connection(broker.url()) as connection:
        got = []
        with connection.Consumer(queue, callbacks=[lambda body, message: (got.append(body), message.ack())], prefetch_count=3):
            producer = connection.Producer(serializer="json")
            for i in range(50):
                producer.publish({"i": i, "text": "größe"}, exchange=exchange, routing_key=f"a.{i}", declare=[queue], retry=True)
            while len(got) < 50:
                connection.drain_events(timeout=20)
        assert got == [{"i": i, "text": "größe"} for i in range(50)]


def test_kombu_simple_queue_and_compression(broker, name):
    with kombu.Connection(broker.url()) as connection:
        queue = connection.SimpleQueue(name())
        queue.put({"big": "x" * 300000}, compression="zlib")
        message = queue.get(timeout=20)
        assert message.payload == {"big": "x" * 300000}
        message.requeue()
        message = queue.get(timeout=20)
        assert message.delivery_info["redelivered"]
        message.ack()
        queue.close()
        with connection.channel() as channel:
            queue.queue(channel).delete()


def test_kombu_pools_and_ensure(broker, name):
    connection = kombu.Connection(broker.url())
    queue = kombu.Queue(name(), auto_delete=True)
    for i in range(20):
        with kombu.pools.producers[connection].acquire(block=True) as producer:
            producer.publish({"i": i}, routing_key=queue.name, declare=[queue], retry=True)
    with connection.channel() as channel:
        assert queue(channel).queue_declare(passive=True).message_count == 20
        queue(channel).delete()
    kombu.pools.reset()


# --- Celery ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_celery_worker_on_two_queues(broker, tmp_path, name):
    """A worker with prefetch 1 (a global limit shared by all its queues) must get the tasks of both; results come by rpc://."""
    queues = [name("one"), name("two")]
    env = {**os.environ, "E2E_BROKER": broker.url(), "E2E_QUEUES": ",".join(queues), "PYTHONDONTWRITEBYTECODE": "1"}
    log = open(tmp_path / "worker.log", "wb")
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-c", "2", "--prefetch-multiplier", "1",
                               "-O", "fair", "-Q", ",".join(queues), "-l", "INFO", "-n", name("worker") + "@%h"],
                              cwd=HERE, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        os.environ.update(E2E_BROKER=broker.url(), E2E_QUEUES=",".join(queues))
        sys.path.insert(0, HERE)
        sys.modules.pop("celery_app", None)
        import celery_app
        results = [celery_app.add.apply_async((i, 1), queue=queues[i % 2]) for i in range(60)]
        assert [r.get(timeout=60) for r in results] == [i + 1 for i in range(60)]
        # all tasks in one queue, the other idle: nothing of the limit may be parked there
        results = [celery_app.add.apply_async((i, 1), queue=queues[1]) for i in range(20)]
        assert [r.get(timeout=60) for r in results] == [i + 1 for i in range(20)]
        # a task that is retried with a countdown raises and lowers the prefetch while it waits
        assert celery_app.flaky.apply_async(queue=queues[0]).get(timeout=60) == "third time"
        pong = celery_app.app.control.ping(timeout=3)
        assert any("pong" in str(p) for p in pong), pong
        celery_app.app.close()
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            status = worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            status = worker.wait()
        log.close()
        text = (tmp_path / "worker.log").read_text()
    assert status == 0, text
    assert "Traceback" not in text.replace("Retry in", ""), text
