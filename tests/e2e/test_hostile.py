"""Clients that mean harm: whatever they send, or do not, others are served, memory stays bounded, and nothing confirmed is lost."""

import random
import select
import socket
import struct
import time

import pytest
import wire
from test_stress import run_threads
from wire import encode_header, encode_method, frame

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST


def method(channel, name, **values):
    return frame(wire.FRAME_METHOD, channel, encode_method(name, **values))


def dial(broker):
    return socket.create_connection((broker.host, broker.port), timeout=10)


def reset(conn):
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    conn.sock.close()


def assert_served(broker, seconds=5):
    """An honest client comes in and gets its work done."""
    start = time.monotonic()
    with wire.Conn.open(broker) as conn:
        ch = conn.channel(1)
        q = ch.queue("", exclusive=True)
        ch.publish("", q, b"x")
        assert ch.get(q).body == b"x"
        conn.close()
    assert time.monotonic() - start < seconds


def push(sock, data, limit, seconds):
    """Sends `data` again and again until `limit` bytes are gone, the other side takes no more, or it has closed; returns the bytes."""
    sock.setblocking(False)
    sent, until = 0, time.monotonic() + seconds
    while sent < limit and time.monotonic() < until:
        if not select.select([], [sock], [], 0.5)[1]:
            break
        try:
            sent += sock.send(data[sent % len(data):])
        except BlockingIOError:
            continue
        except OSError:
            break
    return sent


def read_all(sock, seconds=15):
    """Everything up to the end of the stream."""
    got, until = bytearray(), time.monotonic() + seconds
    sock.settimeout(1)
    while time.monotonic() < until:
        try:
            data = sock.recv(1 << 20)
        except socket.timeout:
            continue
        except OSError:
            break
        if not data:
            break
        got += data
    return bytes(got)


# --- before the log-in ----------------------------------------------------------------------------------------------------


def test_half_open_handshakes(broker):
    """Hundreds that say nothing, a part of something, or a byte now and then."""
    start_ok = method(0, "connection.start-ok", client_properties={"a": "x" * 3000}, mechanism="PLAIN", response=b"\0guest\0guest",
                      locale="en_US")
    beginnings = [b"", wire.HEADER[:3], wire.HEADER, wire.HEADER + start_ok[:1000], wire.HEADER + start_ok]
    socks = [dial(broker) for _ in range(600)]
    for i, sock in enumerate(socks):
        sock.send(beginnings[i % len(beginnings)])
    for at in range(10):
        for sock in socks[::20]:
            sock.send(wire.HEADER[at % 8:at % 8 + 1]) if at < 3 else None
    assert_served(broker)
    for sock in socks:
        sock.close()


def test_garbage_before_the_login(broker):
    rng = random.Random(4711)
    good = (wire.HEADER + method(0, "connection.start-ok", client_properties={}, mechanism="PLAIN", response=b"\0guest\0guest", locale="x")
            + method(0, "connection.tune-ok", channel_max=10, frame_max=8192, heartbeat=1)
            + method(0, "connection.open", virtual_host="/") + method(1, "channel.open"))
    for i in range(400):
        data = bytearray(good)
        if i % 4 == 0:
            data = wire.HEADER + frame(rng.randrange(10), rng.randrange(3), rng.randbytes(rng.randrange(40)))
        elif i % 4 == 1:
            data = rng.randbytes(rng.randrange(1, 300))
        else:
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        sock = dial(broker)
        try:
            sock.send(data)
        except OSError:
            pass
        if i % 3 == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
    assert_served(broker)


@pytest.mark.leveret_only("RabbitMQ answers each")
def test_closes_without_end_are_answered_once(broker):
    """After an error of its own a client sends close after close and reads nothing: it must not fill the broker's memory."""
    sock = dial(broker)
    sock.send(wire.HEADER + method(0, "tx.select"))
    for _ in range(20):
        sock.sendall(method(0, "connection.close", reply_code=200) * 50_000)
    sock.sendall(method(0, "connection.close-ok"))
    answers = read_all(sock)
    sock.close()
    assert answers.count(method(0, "connection.close-ok")) == 1
    assert_served(broker)


# --- closes that cross ----------------------------------------------------------------------------------------------------


def test_a_close_that_waits_behind_an_error_is_answered(broker, name):
    x = name("x")
    with wire.Conn.open(broker) as conn:
        ch = conn.channel(1)
        ch.call("exchange.declare", exchange=x, type="fanout")
        ch.call("queue.bind", queue=ch.queue("", exclusive=True), exchange=x)
        conn.send_bytes(method(1, "exchange.delete", exchange=x, if_unused=True) + method(1, "channel.close", reply_code=200))
        with pytest.raises(wire.Closed) as closed:
            ch.next()
        assert closed.value.code == 406
        ch.expect("channel.close-ok")
        conn.channel(1).call("exchange.delete", exchange=x)
        conn.close()


def test_a_connection_close_behind_an_error_is_answered(broker):
    """The frames before it are carried out first, one of them is wrong: the answer comes all the same."""
    with wire.Conn.open(broker) as conn:
        conn.channel(1)
        conn.send_bytes(method(1, "queue.declare", exclusive=True) + frame(wire.FRAME_BODY, 1, b"no content comes here")
                        + method(0, "connection.close", reply_code=200))
        assert read_all(conn.sock).endswith(method(0, "connection.close-ok"))


def test_a_declare_never_finds_its_queue_gone(broker, name):
    """An auto-delete queue vanishes and is declared again by many: a declare may make it anew, not say that there is none."""
    queues, until = [name("a"), name("b")], time.monotonic() + 3

    def client(seed):
        rng, conn = random.Random(seed), wire.Conn.open(broker, timeout=60)
        ch = conn.channel(1)
        while time.monotonic() < until:
            q = rng.choice(queues)
            ch.queue(q, auto_delete=True)
            try:
                ch.call("basic.cancel", consumer_tag=ch.consume(q))
            except wire.Closed as closed:
                assert closed.code == 404, closed
                ch = conn.channel(1)
        conn.close()

    run_threads(*[lambda s=s: client(s) for s in range(6)])


# --- clients that do not read ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.leveret_only("RabbitMQ keeps them all")
def test_replies_that_nobody_reads_are_dropped(broker):
    """Direct replies pass all queues and windows: what one that does not read may have waiting is bounded."""
    body, count = b"r" * 1_000_000, 400
    with wire.Conn.open(broker, timeout=60) as asker, wire.Conn.open(broker, timeout=60) as server:
        inbound, outbound = asker.channel(1), server.channel(1)
        inbound.consume("amq.rabbitmq.reply-to", no_ack=True)
        q = outbound.queue("", exclusive=True)
        inbound.publish("", q, b"?", reply_to="amq.rabbitmq.reply-to")
        token = outbound.get_soon(q).props["reply_to"]
        outbound.call("confirm.select")
        for _ in range(count):
            outbound.publish("", token, body)
        while outbound.expect("basic.ack").delivery_tag < count:
            pass
        time.sleep(0.5)
        assert_served(broker)
        inbound.send("channel.flow", active=True)
        got = 0
        while (m := inbound.next()).name != "channel.flow-ok":
            assert m.body == body
            got += 1
        assert 100 <= got < count - 100
        outbound.publish("", token, b"again")
        assert inbound.deliver().body == b"again"


@pytest.mark.slow
@pytest.mark.leveret_only("RabbitMQ sends until the socket is full, then keeps the rest in the channel")
def test_many_consumers_that_do_not_read(broker):
    """Each consumer has a window of what may be on its way; a connection with hundreds of them does not get hundreds of windows."""
    count = 150_000
    with wire.Conn.open(broker, timeout=60) as idle, wire.Conn.open(broker, timeout=60) as publisher:
        ch = publisher.channel(1)
        q = ch.queue("", auto_delete=True)
        inbound = idle.channel(1)
        for i in range(300):
            inbound.send("basic.consume", queue=q, consumer_tag=f"c{i}", no_ack=True, nowait=True)
        inbound.sync()
        some = ch.publish_bytes("", q, b"x" * 1000) * 1000
        for _ in range(count // 1000):
            publisher.send_bytes(some)
        ch.sync()
        time.sleep(0.5)
        assert ch.count(q)[0] > count // 3
        assert_served(broker)


@pytest.mark.slow
@pytest.mark.needs_restart
@pytest.mark.leveret_only("looks at memory only every memory_monitor_interval")
def test_a_flood_meets_the_memory_alarm_in_time(start_broker):
    """A publisher of gigabytes is stopped near the watermark, not where the next look at memory finds it."""
    broker = start_broker({"vm_memory_high_watermark.absolute": "500MB", "memory_monitor_interval": "60000"})
    conn = wire.Conn.open(broker)
    ch = conn.channel(1)
    q = ch.queue("")
    sent = push(conn.sock, ch.publish_bytes("", q, b"z" * 100_000), 3_000_000_000, 60)
    assert sent < 1_500_000_000
    assert_served(broker)
    conn.abort()


# --- limits shared by queues ----------------------------------------------------------------------------------------------


def test_global_qos_switched_while_delivering(broker, name):
    """The shared limit comes and goes while deliveries and grants are under way: none of it may be lost on the way."""
    queues, until = [name(f"g{i}") for i in range(3)], time.monotonic() + 4

    def drain(conn, ch, q, limit, count):
        """`count` messages come through a consumer under this limit, with everything else the channel gets settled."""
        ch.call("basic.qos", prefetch_count=limit, **{"global": True})
        tag = ch.consume(q)
        for i in range(count):
            ch.publish("", q, b"%d" % i)
        while count:
            m = ch.deliver(timeout=20)
            count -= m.consumer_tag == tag
            ch.send("basic.ack", delivery_tag=m.delivery_tag)
        ch.call("basic.cancel", consumer_tag=tag)

    def client(seed):
        rng = random.Random(seed)
        while time.monotonic() < until:
            conn = wire.Conn.open(broker, timeout=60)
            ch = conn.channel(1)
            mine = ch.queue("", exclusive=True)
            for i, q in enumerate(rng.sample(queues, 2)):
                ch.consume(q, tag=f"c{i}", arguments={"x-priority": rng.randrange(-1, 2)})
            unsettled = []
            for _ in range(60):
                unsettled += [m.delivery_tag for m in conn.inbox[1]]
                conn.inbox[1].clear()
                step = rng.randrange(4)
                if step == 0:
                    ch.call("basic.qos", prefetch_count=rng.choice([0, 1, 2, 10]), **{"global": True})
                elif step == 1 and unsettled:
                    ch.send(rng.choice(["basic.ack", "basic.nack"]), delivery_tag=unsettled.pop(rng.randrange(len(unsettled))))
                elif step == 2:
                    conn.send_bytes(ch.publish_bytes("", rng.choice(queues), b"m") * rng.randrange(1, 20))
                else:
                    ch.sync()
            for m in conn.inbox[1]:
                unsettled.append(m.delivery_tag)
            conn.inbox[1].clear()
            for tag in unsettled:
                ch.send("basic.ack", delivery_tag=tag)
            for limit in (1, 2):
                drain(conn, ch, mine, limit, 10)
            rng.choice([conn.close, conn.abort])()

    with wire.Conn.open(broker) as setup:
        ch = setup.channel(1)
        for q in queues:
            ch.queue(q)
        run_threads(*[lambda s=s: client(s) for s in range(4)])
        for q in queues:
            ch.call("queue.delete", queue=q)


# --- connections that break -----------------------------------------------------------------------------------------------


def random_bytes_of_a_client(rng, queues):
    """A long run of frames on three channels: publishes, gets, consumers, acks that may be wrong, transactions, closes."""
    out = []
    for ch in (1, 2, 3):
        out.append(method(ch, "channel.open"))
        out.append(rng.choice([b"", method(ch, "confirm.select"), method(ch, "tx.select")]))
    for _ in range(rng.randrange(1, 60)):
        ch, q, yes = rng.choice((1, 2, 3)), rng.choice(queues), rng.random() < 0.5
        body = b"y" * rng.choice([1, 100, 5000, 100_000])
        out.append(rng.choice([
            method(ch, "basic.publish", routing_key=q, mandatory=yes) + frame(2, ch, encode_header(len(body), {})) + frame(3, ch, body),
            method(ch, "basic.publish", routing_key=q) + frame(2, ch, encode_header(1 << 26, {})) + frame(3, ch, body),
            method(ch, "basic.get", queue=q, no_ack=yes),
            method(ch, "basic.consume", queue=q, no_ack=yes),
            method(ch, "queue.declare", queue=queues[-1], auto_delete=True),
            method(ch, "queue.declare", queue=queues[-1] + ".mine", exclusive=True),
            method(ch, "queue.delete", queue=queues[-1]),
            method(ch, "queue.bind", queue=q, exchange="amq.topic", routing_key="#"),
            method(ch, "basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True),
            method(ch, "basic.ack", delivery_tag=rng.randrange(5), multiple=yes),
            method(ch, "basic.recover", requeue=True),
            method(ch, "tx.commit"),
            method(ch, "channel.close") + method(ch, "channel.open"),
        ]))
    return b"".join(out)


def test_connections_that_break_anywhere(broker, name):
    queues, until = [name("a"), name("b"), name("c")], time.monotonic() + 4
    setup = wire.Conn.open(broker, timeout=60)
    ch = setup.channel(1)
    for q in queues[:2]:
        ch.queue(q)

    def client(seed):
        rng = random.Random(seed)
        while time.monotonic() < until:
            conn = wire.Conn.open(broker, timeout=60)
            data = random_bytes_of_a_client(rng, queues)
            try:
                conn.sock.sendall(data[:rng.randrange(len(data))])
                if rng.random() < 0.3:
                    conn.sock.shutdown(socket.SHUT_WR)
                time.sleep(rng.choice([0, 0, 0.01]))
            except OSError:
                pass
            rng.choice([reset, wire.Conn.abort])(conn)

    run_threads(*[lambda s=s: client(s) for s in range(6)])
    deadline = time.monotonic() + 20
    while any(ch.count(q)[1] for q in queues[:2]):  # consumers of connections that are gone
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for q in queues:
        ch.call("queue.delete", queue=q)
    setup.close()
    assert_served(broker)


@pytest.mark.needs_restart
def test_the_end_in_the_middle_of_everything(start_broker, name):
    """SIGTERM while clients publish, declare and consume: an orderly end (the fixture looks at it), whatever they are doing."""
    for seed in range(2):
        broker, queues = start_broker(), [name(f"q{i}") for i in range(3)]

        def client(number):
            rng = random.Random(seed * 100 + number)
            try:
                while True:
                    conn = wire.Conn.open(broker, timeout=20)
                    conn.sock.sendall(random_bytes_of_a_client(rng, queues))
                    time.sleep(rng.random() * 0.02)
                    rng.choice([reset, wire.Conn.abort])(conn)
            except (OSError, wire.SocketClosed, wire.Closed, wire.NothingCame):
                return

        def end():
            time.sleep(0.7)
            broker.terminate()

        run_threads(end, *[lambda n=n: client(n) for n in range(5)])
        broker.stop()
