"""How queues and exchanges come and go: names, exclusive, auto-delete, passive, internal."""

import re
import time

import pytest
import wire


def gone(conn, queue, deadline=5.0):
    """Waits until a passive declare of the queue says 404. 405: it is there, exclusive to a connection that is not gone yet."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            conn.channel(999).count(queue)
            conn.send(999, "channel.close", reply_code=200)
            conn.expect(999, "channel.close-ok")
        except wire.Closed as closed:
            if closed.code == 404:
                return True
            assert closed.code == 405
        time.sleep(0.01)
    return False


def exchange_gone(conn, exchange, deadline=5.0):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            ch = conn.channel(998)
            ch.call("exchange.declare", exchange=exchange, type="direct", passive=True)
            ch.close()
        except wire.Closed as closed:
            assert closed.code == 404
            return True
        time.sleep(0.01)
    return False


def wait_confirms(ch, last):
    """Until every publish up to number `last` is confirmed."""
    done = set()
    while len(done) < last:
        ack = ch.expect("basic.ack")
        done |= set(range(1, ack.delivery_tag + 1)) if ack.multiple else {ack.delivery_tag}


# --- names ----------------------------------------------------------------------------------------------------------------


def test_the_broker_makes_up_names(ch):
    names = {ch.queue("", exclusive=True) for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", n) for n in names)


def test_a_made_up_name_can_be_used_by_others(ch, connect):
    q = ch.queue("", auto_delete=False)
    other = connect().channel(1)
    other.publish("", q, b"found")
    assert ch.get_soon(q).body == b"found"
    ch.call("queue.delete", queue=q)


def test_a_made_up_name_can_only_be_declared_passively(ch, conn):
    """The prefix amq. is reserved, also for a queue that exists."""
    q = ch.queue("", exclusive=True)
    assert ch.count(q) == (0, 0)
    with pytest.raises(wire.Closed) as e:
        ch.queue(q, exclusive=True)
    assert (e.value.code, e.value.text) == (403, f"ACCESS_REFUSED - queue name '{q}' contains reserved prefix 'amq.*'")


def test_the_empty_name_means_the_last_one_declared(ch):
    first, last = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    ch.publish("", first, b"first")
    ch.publish("", last, b"last")
    assert ch.get("").body == b"last"
    ch.publish("", last, b"again")
    assert ch.call("queue.purge", queue="").message_count == 1
    ch.consume("", "c")
    assert ch.count(last) == (0, 1)


def test_the_empty_name_in_bind_and_its_empty_key(ch):
    """queue.bind: an empty queue name means the last declared; with an empty key too, the key is that queue's name."""
    q = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue="", exchange="amq.direct", routing_key="")
    ch.publish("amq.direct", q, b"by name")
    assert ch.get(q).body == b"by name"
    ch.call("queue.unbind", queue="", exchange="amq.direct", routing_key="")
    ch.publish("amq.direct", q, b"lost")
    assert ch.get(q) is None


def test_an_empty_key_with_a_named_queue_stays_empty(ch):
    q = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=q, exchange="amq.direct", routing_key="")
    ch.publish("amq.direct", "", b"empty key")
    ch.publish("amq.direct", q, b"queue name as key")
    assert ch.get(q).body == b"empty key"
    assert ch.get(q) is None


def test_the_last_declared_is_per_channel(conn):
    conn.channel(1).queue("", exclusive=True)
    other = conn.channel(2)
    with pytest.raises(wire.Closed) as e:
        other.get("")
    assert e.value.text == "NOT_FOUND - no previously declared queue"


def test_a_passive_declare_sets_the_last_declared(ch, name):
    a, b = ch.queue(name("a"), exclusive=True), ch.queue(name("b"), exclusive=True)
    ch.count(a)
    ch.publish("", a, b"a")
    ch.publish("", b, b"b")
    assert ch.get("").body == b"a"


def test_declare_counts_ready_messages_and_consumers(ch, name):
    q = ch.queue(name(), exclusive=True)
    ch.call("confirm.select")
    for _ in range(5):
        ch.publish("", q, b"x")
    wait_confirms(ch, 5)
    assert ch.count(q) == (5, 0)
    ch.get(q, no_ack=False)
    assert ch.count(q) == (4, 0)
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q)
    ch.deliver()
    assert ch.count(q) == (3, 1)


# --- exclusive ------------------------------------------------------------------------------------------------------------


def test_an_exclusive_queue_serves_all_channels_of_its_connection(conn, name):
    q = conn.channel(1).queue(name(), exclusive=True)
    conn.channel(2).publish("", q, b"x")
    conn.channel(3).sync()
    assert conn.channel(4).get(q).body == b"x"


def test_an_exclusive_queue_survives_its_channel(conn, name):
    ch = conn.channel(1)
    q = ch.queue(name(), exclusive=True)
    ch.close()
    assert conn.channel(2).count(q) == (0, 0)


@pytest.mark.parametrize("durable", [False, True])
def test_an_exclusive_queue_goes_with_its_connection(connect, name, durable):
    q = connect().channel(1).queue(name(), exclusive=True, durable=durable)
    owner = connect()
    mine = owner.channel(1).queue(name("mine"), exclusive=True, durable=durable)
    owner.close()
    watcher = connect()
    assert gone(watcher, mine)
    with pytest.raises(wire.Closed) as e:
        watcher.channel(1).count(q)
    assert e.value.code == 405


def test_an_exclusive_queue_goes_with_a_broken_connection(connect, name):
    owner = connect()
    q = owner.channel(1).queue(name(), exclusive=True)
    owner.abort()
    assert gone(connect(), q)


def test_others_may_publish_to_an_exclusive_queue(connect, name):
    owner = connect().channel(1)
    q = owner.queue(name(), exclusive=True)
    other = connect().channel(1)
    other.publish("", q, b"hello")
    assert owner.get_soon(q).body == b"hello"


@pytest.mark.parametrize("same_name", [True, False])
def test_close_then_declare_again_never_meets_405(connect, name, same_name):
    """Close-ok of a connection comes after its exclusive queues are gone: clients that reconnect declare them at once."""
    for i in range(200):
        conn = connect()
        ch = conn.channel(1)
        q = ch.queue(name() if not same_name else name("x").split(".")[0] + ".again", exclusive=True)
        ch.publish("", q, b"left behind")
        ch.consume(q)
        conn.close()


def test_close_then_declare_again_with_many_queues(connect, name):
    names = [name(str(i)) for i in range(30)]
    for _ in range(5):
        conn = connect()
        ch = conn.channel(1)
        for q in names:
            assert ch.call("queue.declare", queue=q, exclusive=True).message_count == 0
            ch.call("queue.bind", queue=q, exchange="amq.fanout")
        ch.publish("amq.fanout", "", b"x")
        conn.close()


# --- auto-delete ----------------------------------------------------------------------------------------------------------


def test_an_auto_delete_queue_goes_with_its_last_consumer(conn, name):
    ch = conn.channel(1)
    q = ch.queue(name(), auto_delete=True)
    ch.consume(q, "a")
    ch.consume(q, "b")
    ch.call("basic.cancel", consumer_tag="a")
    assert ch.count(q) == (0, 1)
    ch.call("basic.cancel", consumer_tag="b")
    assert gone(conn, q)


@pytest.mark.parametrize("how", ["channel", "connection", "abort"])
def test_an_auto_delete_queue_goes_when_the_consumer_leaves(connect, name, how):
    owner = connect()
    ch = owner.channel(1)
    q = ch.queue(name(), auto_delete=True)
    ch.consume(q)
    if how == "channel":
        ch.close()
    elif how == "connection":
        owner.close()
    else:
        owner.abort()
    assert gone(connect(), q)


def test_an_auto_delete_queue_without_consumers_stays(connect, name):
    owner = connect()
    q = owner.channel(1).queue(name(), auto_delete=True)
    owner.channel(2).publish("", q, b"x")
    owner.close()
    ch = connect().channel(1)
    assert ch.count(q) == (1, 0)
    assert ch.get(q).body == b"x"  # a get is no consumer
    ch.count(q)
    ch.call("queue.delete", queue=q)


def test_an_auto_delete_exchange_goes_with_its_last_binding(conn, name):
    ch = conn.channel(1)
    x, q, p = name("x"), ch.queue(name("q"), exclusive=True), ch.queue(name("p"), exclusive=True)
    ch.call("exchange.declare", exchange=x, type="direct", auto_delete=True)
    ch.call("queue.bind", queue=q, exchange=x, routing_key="1")
    ch.call("queue.bind", queue=p, exchange=x, routing_key="2")
    ch.call("queue.unbind", queue=q, exchange=x, routing_key="1")
    ch.call("exchange.declare", exchange=x, type="direct", passive=True)
    ch.call("queue.delete", queue=p)
    assert exchange_gone(conn, x)


def test_an_auto_delete_exchange_goes_when_its_queue_expires_with_the_connection(connect, name):
    owner = connect()
    ch = owner.channel(1)
    x, q = name("x"), ch.queue(name(), exclusive=True)
    ch.call("exchange.declare", exchange=x, type="fanout", auto_delete=True)
    ch.call("queue.bind", queue=q, exchange=x)
    owner.close()
    assert exchange_gone(connect(), x)


def test_an_auto_delete_exchange_never_bound_stays(connect, name):
    owner = connect()
    x = name("x")
    owner.channel(1).call("exchange.declare", exchange=x, type="fanout", auto_delete=True)
    owner.close()
    ch = connect().channel(1)
    ch.call("exchange.declare", exchange=x, type="fanout", passive=True)
    ch.call("exchange.delete", exchange=x)


def test_an_auto_delete_source_exchange_goes_with_an_exchange_binding(conn, name):
    ch = conn.channel(1)
    a, b = name("a"), name("b")
    ch.call("exchange.declare", exchange=a, type="fanout", auto_delete=True)
    ch.call("exchange.declare", exchange=b, type="fanout")
    ch.call("exchange.bind", source=a, destination=b)
    ch.call("exchange.delete", exchange=b)
    assert exchange_gone(conn, a)


# --- delete ---------------------------------------------------------------------------------------------------------------


def test_a_deleted_queue_takes_its_bindings_along(ch, name):
    q = ch.queue(name(), exclusive=True)
    ch.call("queue.bind", queue=q, exchange="amq.fanout")
    ch.call("queue.delete", queue=q)
    ch.queue(q, exclusive=True)
    ch.publish("amq.fanout", "", b"x")
    assert ch.get(q) is None


def test_a_deleted_exchange_takes_its_bindings_along(ch, name):
    x, q = name("x"), ch.queue(name(), exclusive=True)
    for _ in range(2):
        ch.call("exchange.declare", exchange=x, type="fanout")
        ch.publish(x, "", b"x")
        assert ch.get(q) is None
        ch.call("queue.bind", queue=q, exchange=x)
        ch.publish(x, "", b"x")
        assert ch.get(q).body == b"x"
        ch.call("exchange.delete", exchange=x)


def test_if_unused_and_if_empty_when_they_hold(ch, name):
    x, q = name("x"), ch.queue(name())
    ch.call("exchange.declare", exchange=x, type="fanout")
    ch.call("exchange.delete", exchange=x, if_unused=True)
    ch.publish("", q, b"x")
    assert ch.call("queue.delete", queue=q, if_unused=True).message_count == 1
    q = ch.queue(q)
    ch.consume(q)
    assert ch.call("queue.delete", queue=q, if_empty=True).message_count == 0


def test_delete_sees_what_was_published_before(conn, name):
    """Methods of a channel are carried out in order: a delete if-empty after a publish must not take the message away."""
    for number in range(1, 41):
        ch = conn.channel(number)
        q = ch.queue(name())
        ch.publish("", q, b"precious")
        if number % 2:
            with pytest.raises(wire.Closed) as e:
                ch.call("queue.delete", queue=q, if_empty=True)
            assert e.value.text == f"PRECONDITION_FAILED - queue '{q}' in vhost '/' not empty"
            ch = conn.channel(number)
        assert ch.call("queue.delete", queue=q).message_count == 1


def test_the_name_is_free_at_once_after_delete(ch, name):
    q, x = name(), name("x")
    for i in range(50):
        ch.queue(q, durable=bool(i % 2))
        ch.call("queue.delete", queue=q)
        ch.call("exchange.declare", exchange=x, type=("direct", "fanout")[i % 2])
        ch.call("exchange.delete", exchange=x)


# --- no-wait --------------------------------------------------------------------------------------------------------------


def test_nowait_methods_are_carried_out_in_order_and_not_answered(ch, name):
    q, x = name(), name("x")
    ch.send("queue.declare", queue=q, exclusive=True, nowait=True)
    ch.send("exchange.declare", exchange=x, type="direct", nowait=True)
    ch.send("queue.bind", queue=q, exchange=x, routing_key="k", nowait=True)
    ch.publish(x, "k", b"1")
    ch.send("queue.purge", queue=q, nowait=True)
    ch.publish(x, "k", b"2")
    ch.send("basic.consume", queue=q, consumer_tag="c", no_ack=True, nowait=True)
    assert ch.next().body == b"2"
    ch.send("basic.cancel", consumer_tag="c", nowait=True)
    ch.publish(x, "k", b"3")
    assert ch.get(q).body == b"3"
    ch.send("exchange.delete", exchange=x, nowait=True)
    ch.send("queue.delete", queue=q, nowait=True)
    ch.sync()
    with pytest.raises(wire.Closed) as e:
        ch.count(q)
    assert e.value.code == 404


# --- server-side closing of channels -------------------------------------------------------------------------------------


def test_methods_between_a_channel_error_and_close_ok_are_dropped(conn, name):
    """§1.5.2.5: after sending close the peer MUST discard everything but close and close-ok."""
    conn.send(1, "channel.open")
    conn.expect(1, "channel.open-ok")
    conn.send(1, "queue.declare", queue="nosuch-queue", passive=True)
    for _ in range(20):
        conn.send(1, "queue.declare", queue=name(), exclusive=True)
        conn.send_bytes(wire.Channel(conn, 1).publish_bytes("", "x", b"body"))
    with pytest.raises(wire.Closed) as e:
        conn.next(1)
    assert e.value.code == 404
    again = conn.channel(1)
    again.expect_silence(0.1)
    again.sync()


def test_a_client_may_close_at_the_same_time_as_the_broker(conn):
    """§1.5.2.5: both sides close; the broker must answer ours although it sent its own."""
    conn.channel(1)
    conn.send(1, "queue.declare", queue="nosuch-queue", passive=True)
    conn.send(1, "channel.close", reply_code=200)
    with pytest.raises(wire.Closed):
        while conn.next(1).name != "channel.close-ok":
            pass
    conn.channel(2).sync()


def test_an_error_on_one_channel_leaves_the_others_alone(conn, name):
    one, two = conn.channel(1), conn.channel(2)
    q = two.queue(name(), exclusive=True)
    two.consume(q, no_ack=True)
    with pytest.raises(wire.Closed):
        one.count("nosuch-queue")
    two.publish("", q, b"x")
    assert two.deliver().body == b"x"
