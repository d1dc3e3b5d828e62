"""pika: the flows people write with it, over the blocking and the asynchronous connection."""

import collections
import functools
import random
import socket
import threading
import time

import pika
import pytest


@pytest.fixture
def channel(pika_connect):
    return pika_connect().channel()


def drain(channel, queue, count, **options):
    """The next `count` messages of a queue as (method, properties, body), acked one by one unless auto_ack is given."""
    got = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=20, **options):
        assert method is not None, f"only {len(got)} of {count} messages came"
        got.append((method, properties, body))
        if not options.get("auto_ack"):
            channel.basic_ack(method.delivery_tag)
        if len(got) == count:
            break
    channel.cancel()
    return got


# --- work queue -----------------------------------------------------------------------------------------------------------


def test_work_queue_with_workers_that_fail(pika_connect, name):
    """Three workers; one rejects now and then, one drops its connection half-way. Everything is done at least once."""
    queue = name()
    boss = pika_connect().channel()
    boss.queue_declare(queue, durable=True)
    boss.confirm_delivery()
    for i in range(300):
        boss.basic_publish("", queue, str(i), pika.BasicProperties(delivery_mode=2), mandatory=True)

    done = collections.Counter()
    lock = threading.Lock()

    def work(number):
        connection = pika_connect()
        channel = connection.channel()
        channel.basic_qos(prefetch_count=5)
        seen = 0
        for method, _, body in channel.consume(queue, inactivity_timeout=1):
            if method is None:
                break
            seen += 1
            if number == 1 and seen % 7 == 0:
                channel.basic_reject(method.delivery_tag, requeue=True)
                continue
            if number == 2 and seen == 20:
                connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # no goodbye; pika has no public way
                return
            with lock:
                done[int(body)] += 1
            channel.basic_ack(method.delivery_tag)
        connection.close()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert sorted(done) == list(range(300))
    assert boss.queue_delete(queue).method.message_count == 0


def test_a_worker_that_reconnects_goes_on(pika_connect, name):
    queue = name()
    boss = pika_connect().channel()
    boss.queue_declare(queue)
    for i in range(100):
        boss.basic_publish("", queue, str(i))
    seen = []
    for _ in range(5):
        connection = pika_connect()
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        seen += [int(body) for _, _, body in drain(channel, queue, 20)]
        connection.close()
    assert seen == list(range(100))
    boss.queue_delete(queue)


# --- publish/subscribe ----------------------------------------------------------------------------------------------------


def test_publish_subscribe_over_connections(pika_connect, name):
    exchange = name("x")
    publisher = pika_connect().channel()
    publisher.exchange_declare(exchange, "fanout", auto_delete=True)
    subscribers = []
    for _ in range(10):
        channel = pika_connect().channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange)
        subscribers.append((channel, queue))
    for i in range(50):
        publisher.basic_publish(exchange, "", str(i))
    for channel, queue in subscribers:
        assert [int(b) for _, _, b in drain(channel, queue, 50, auto_ack=True)] == list(range(50))


# --- RPC ------------------------------------------------------------------------------------------------------------------


def test_rpc_with_direct_reply_to(pika_connect, name):
    queue = name()
    stop = threading.Event()

    def serve():
        connection = pika_connect()
        channel = connection.channel()
        for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.1):
            if method is not None:
                channel.basic_publish("", properties.reply_to, body[::-1], pika.BasicProperties(correlation_id=properties.correlation_id))
            if stop.is_set():
                break
        connection.close()

    pika_connect().channel().queue_declare(queue, auto_delete=True)
    server = threading.Thread(target=serve)
    server.start()
    try:
        channel = pika_connect().channel()
        answers = {}
        channel.basic_consume("amq.rabbitmq.reply-to", lambda c, m, p, b: answers.update({p.correlation_id: b}), auto_ack=True)
        for i in range(50):
            channel.basic_publish("", queue, f"question {i}", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(i)))
        deadline = time.monotonic() + 20
        while len(answers) < 50 and time.monotonic() < deadline:
            channel.connection.process_data_events(0.1)
        assert answers == {str(i): f"question {i}".encode()[::-1] for i in range(50)}
    finally:
        stop.set()
        server.join(20)


# --- sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 10 * 1024 * 1024])
def test_message_sizes(channel, size):
    queue = channel.queue_declare("", exclusive=True).method.queue
    body = random.Random(size).randbytes(size)
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", queue, body)
    for _, _, got in drain(channel, queue, 3, auto_ack=True):
        assert got == body
    channel.basic_publish("", queue, body)
    assert channel.basic_get(queue, auto_ack=True)[2] == body


# --- confirms, returns ----------------------------------------------------------------------------------------------------


def test_unroutable_raises(channel):
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError) as e:
        channel.basic_publish("", "nowhere", b"x", mandatory=True)
    assert e.value.messages[0].method.reply_text == "NO_ROUTE"


def test_errors_have_their_codes(pika_connect):
    connection = pika_connect()
    for code, broken in ((404, lambda c: c.queue_declare("nosuch-queue", passive=True)),
                         (403, lambda c: c.exchange_declare("amq.mine", "direct")),
                         (406, lambda c: c.exchange_declare("amq.direct", "fanout", durable=True))):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as e:
            broken(connection.channel())
        assert e.value.reply_code == code
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as e:
        connection.channel().basic_publish("", "x", b"x", properties=pika.BasicProperties())
        connection.channel()._impl.flow(False)
        connection.channel().exchange_declare("e", "no-such-type")
    assert e.value.reply_code in (503, 540)


def test_transactions(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.tx_select()
    channel.basic_publish("", queue, b"rolled back")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"committed")
    assert channel.basic_get(queue)[0] is None
    channel.tx_commit()
    assert channel.basic_get(queue, auto_ack=True)[2] == b"committed"


# --- asynchronous ---------------------------------------------------------------------------------------------------------


class AsyncClient:
    """SelectConnection: opens a channel, publishes with confirms, consumes what it published, closes."""

    def __init__(self, broker, count):
        self.count, self.acked, self.got, self.error = count, 0, [], None
        parameters = pika.ConnectionParameters(broker.host, broker.port, credentials=pika.PlainCredentials(broker.user, broker.password))
        self.connection = pika.SelectConnection(parameters, on_open_callback=self.on_open, on_open_error_callback=self.on_error,
                                                on_close_callback=self.on_close)

    def run(self):
        self.connection.ioloop.call_later(30, functools.partial(self.on_error, None, "timeout"))
        self.connection.ioloop.start()
        return self

    def on_open(self, connection):
        connection.channel(on_open_callback=self.on_channel)

    def on_channel(self, channel):
        self.channel = channel
        channel.confirm_delivery(self.on_confirm)
        channel.queue_declare("", exclusive=True, callback=self.on_queue)

    def on_queue(self, frame):
        queue = frame.method.queue
        self.channel.basic_qos(prefetch_count=7)
        self.channel.basic_consume(queue, self.on_message)
        for i in range(self.count):
            self.channel.basic_publish("", queue, str(i))

    def on_confirm(self, frame):
        self.acked = frame.method.delivery_tag if frame.method.multiple else self.acked + 1
        self.finish()

    def on_message(self, channel, method, properties, body):
        self.got.append(int(body))
        channel.basic_ack(method.delivery_tag)
        self.finish()

    def finish(self):
        if self.acked >= self.count and len(self.got) >= self.count and self.connection.is_open:
            self.connection.close()

    def on_error(self, connection, error):
        self.error = error
        self.connection.ioloop.stop()

    def on_close(self, connection, reason):
        self.connection.ioloop.stop()


def test_select_connection(broker):
    client = AsyncClient(broker, 500).run()
    assert client.error is None
    assert client.got == list(range(500))
