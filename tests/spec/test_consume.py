"""basic.consume, get, ack, nack, reject, recover, qos, cancel: AMQP 0-9-1 §1.8.3, §4.7, and RabbitMQ's consumer extensions."""

import collections
import time

import pytest
import wire


def fill(ch, q, count, **props):
    for i in range(count):
        ch.publish("", q, b"%d" % i, **props)
    ch.sync()


def numbers(deliveries):
    return [int(d.body) for d in deliveries]


def take(ch, count, timeout=None):
    return [ch.deliver(timeout) for _ in range(count)]


@pytest.fixture
def q(ch):
    return ch.queue("", exclusive=True)


def settled(ch, queue, ready, deadline=5.0):
    """Waits until the queue shows that many ready messages."""
    end = time.monotonic() + deadline
    while ch.count(queue)[0] != ready:
        assert time.monotonic() < end, ch.count(queue)
        time.sleep(0.01)


# --- consume and cancel ---------------------------------------------------------------------------------------------------


def test_tags_made_up_by_the_broker(ch, q):
    tags = {ch.consume(q) for _ in range(20)}
    assert len(tags) == 20 and all(t.startswith("amq.ctag-") and len(t) == 31 for t in tags)


def test_consume_ok_comes_before_the_first_delivery(ch, q):
    fill(ch, q, 10)
    ch.send("basic.consume", queue=q, consumer_tag="c", no_ack=True)
    assert ch.next().name == "basic.consume-ok"
    assert numbers(take(ch, 10)) == list(range(10))


def test_delivery_tags_are_shared_by_consumers_and_gets(ch, q):
    other = ch.queue("", exclusive=True)
    fill(ch, q, 3)
    assert ch.get(q, no_ack=False).delivery_tag == 1
    ch.publish("", other, b"0")
    ch.consume(other, no_ack=True)
    assert ch.deliver().delivery_tag == 2
    assert ch.get(q, no_ack=True).delivery_tag == 3
    assert ch.get(q, no_ack=False).delivery_tag == 4


def test_nothing_is_delivered_after_cancel_ok(ch, q):
    ch.consume(q, "c", no_ack=True)
    fill(ch, q, 500)
    ch.send("basic.cancel", consumer_tag="c")
    count = 0
    while (method := ch.next()).name == "basic.deliver":
        count += 1
    assert method.name == "basic.cancel-ok" and method.consumer_tag == "c"
    ch.expect_silence(0.2)
    settled(ch, q, 500 - count)


def test_cancel_leaves_unacked_deliveries_with_the_channel(ch, q):
    fill(ch, q, 3)
    ch.consume(q, "c")
    take(ch, 3)
    ch.call("basic.cancel", consumer_tag="c")
    assert ch.count(q) == (0, 0)
    ch.send("basic.ack", delivery_tag=2, multiple=True)
    ch.send("basic.reject", delivery_tag=3, requeue=True)
    got = ch.get(q)
    assert (got.body, got.redelivered) == (b"2", True)


def test_round_robin_among_equals(ch, q):
    for tag in "abc":
        ch.consume(q, tag, no_ack=True)
    fill(ch, q, 300)
    count = collections.Counter(d.consumer_tag for d in take(ch, 300))
    assert all(80 <= count[tag] <= 120 for tag in "abc"), count


def test_round_robin_over_connections(connect, name):
    queue = name()
    feeder = connect().channel(1)
    feeder.queue(queue, auto_delete=True)
    consumers = [connect().channel(1) for _ in range(4)]
    for ch in consumers:
        ch.call("basic.qos", prefetch_count=1)
        ch.consume(queue)
    for i in range(40):
        feeder.publish("", queue, b"%d" % i)
    # One at a time from each: the broker sees the acks of different connections in any order, but with all others waiting for
    # their ack the next message can only go to the one that sent it.
    seen = []
    for ch in consumers:
        seen.append(int(ch.deliver().body))
    for _ in range(9):
        for number, ch in enumerate(consumers):
            ch.send("basic.ack", delivery_tag=len(seen) // 4)
            d = ch.deliver()
            seen.append(int(d.body))
    assert sorted(seen) == list(range(40))


def test_a_consumer_that_leaves_returns_its_messages_in_order(connect, name):
    queue = name()
    first, second = connect(), connect()
    ch = first.channel(1)
    ch.queue(queue)
    fill(ch, queue, 10)
    ch.call("basic.qos", prefetch_count=7)
    ch.consume(queue)
    take(ch, 7)
    first.close()
    ch = second.channel(1)
    ch.consume(queue, no_ack=True)
    deliveries = take(ch, 10)
    assert numbers(deliveries) == list(range(10))
    assert [d.redelivered for d in deliveries] == [True] * 7 + [False] * 3
    ch.call("queue.delete", queue=queue)


@pytest.mark.parametrize("how", ["channel", "abort"])
def test_unacked_gets_return_when_the_channel_or_connection_goes(connect, name, how):
    queue = name()
    conn = connect()
    ch = conn.channel(1)
    ch.queue(queue)
    fill(ch, queue, 3)
    for _ in range(2):
        ch.get(queue, no_ack=False)
    ch.close() if how == "channel" else conn.abort()
    ch = connect().channel(1)
    settled(ch, queue, 3)
    got = [ch.get(queue) for _ in range(3)]
    assert [(m.body, m.redelivered) for m in got] == [(b"0", True), (b"1", True), (b"2", False)]
    ch.call("queue.delete", queue=queue)


# --- cancel notify --------------------------------------------------------------------------------------------------------


def test_consumers_are_told_when_their_queue_is_deleted(conn, ch, name):
    q = ch.queue(name())
    for tag in ("one", "two"):
        ch.consume(q, tag)
    other = conn.channel(2)
    other.consume(q, "three")
    conn.channel(3).call("queue.delete", queue=q)
    cancels = [ch.expect("basic.cancel"), ch.expect("basic.cancel"), other.expect("basic.cancel")]
    assert {c.consumer_tag for c in cancels} == {"one", "two", "three"}
    assert all(c.nowait for c in cancels)
    ch.consume(ch.queue("", exclusive=True), "one")  # the tag is free again


@pytest.mark.parametrize("capabilities", [None, {"consumer_cancel_notify": False}, {"basic.nack": True}])
def test_clients_without_the_capability_are_not_told(connect, name, capabilities):
    conn = connect(capabilities=capabilities)
    ch = conn.channel(1)
    q = ch.queue(name())
    ch.consume(q, "c")
    conn.channel(2).call("queue.delete", queue=q)
    ch.expect_silence(0.3)
    ch.sync()


def test_no_cancel_for_ones_own_delete_ok_order(ch, name):
    """Deleting a queue one consumes from: both the cancel and the delete-ok come."""
    q = ch.queue(name())
    ch.consume(q, "c")
    ch.send("queue.delete", queue=q)
    assert {ch.next().name, ch.next().name} == {"basic.cancel", "queue.delete-ok"}


def test_acks_for_a_deleted_queue_are_fine(ch, name):
    q = ch.queue(name())
    fill(ch, q, 3)
    ch.consume(q, "c")
    take(ch, 3)
    ch.send("queue.delete", queue=q)
    ch.send("basic.ack", delivery_tag=1)
    ch.send("basic.nack", delivery_tag=2, requeue=True)
    ch.send("basic.reject", delivery_tag=3)
    ch.sync()


# --- settling -------------------------------------------------------------------------------------------------------------


def test_ack_removes(ch, q):
    fill(ch, q, 2)
    ch.get(q, no_ack=False)
    ch.send("basic.ack", delivery_tag=1)
    ch.call("basic.recover", requeue=True)
    assert ch.get(q).body == b"1"
    assert ch.get(q) is None


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_settles_up_to_and_including(ch, q, method):
    fill(ch, q, 5)
    ch.consume(q)
    take(ch, 5)
    ch.send(method, delivery_tag=3, multiple=True)
    ch.send("basic.ack", delivery_tag=4)
    with pytest.raises(wire.Closed) as e:
        ch.send(method, delivery_tag=3)
        ch.sync()
    assert e.value.text == "PRECONDITION_FAILED - unknown delivery tag 3"


def test_tag_zero_with_multiple_settles_all(ch, q):
    fill(ch, q, 5)
    ch.consume(q, "c")
    take(ch, 5)
    ch.send("basic.ack", delivery_tag=0, multiple=True)
    ch.call("basic.cancel", consumer_tag="c")
    ch.call("basic.recover", requeue=True)
    assert ch.get(q) is None


def test_multiple_covers_all_consumers_and_gets_of_the_channel(ch, q):
    other = ch.queue("", exclusive=True)
    fill(ch, q, 2)
    fill(ch, other, 2)
    ch.consume(q, "a")
    take(ch, 2)
    ch.get(other, no_ack=False)
    ch.get(other, no_ack=False)
    ch.send("basic.ack", delivery_tag=3, multiple=True)
    ch.send("basic.reject", delivery_tag=4, requeue=True)
    assert ch.get(other).body == b"1"
    assert ch.get(other) is None


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
@pytest.mark.parametrize("requeue", [True, False])
def test_reject_and_nack(ch, q, method, requeue):
    fill(ch, q, 1)
    ch.get(q, no_ack=False)
    ch.send(method, delivery_tag=1, requeue=requeue)
    got = ch.get(q)
    assert (got is not None) == requeue
    if requeue:
        assert (got.body, got.redelivered) == (b"0", True)


def test_a_requeued_message_returns_to_its_place(ch, q):
    fill(ch, q, 10)
    for _ in range(6):
        ch.get(q, no_ack=False)
    for tag in (3, 5, 1):
        ch.send("basic.nack", delivery_tag=tag, requeue=True)
    got = [ch.get(q) for _ in range(7)]
    assert numbers(got) == [0, 2, 4, 6, 7, 8, 9]
    assert [m.redelivered for m in got] == [True] * 3 + [False] * 4


def test_requeue_multiple_keeps_the_order(ch, q):
    fill(ch, q, 20)
    ch.call("basic.qos", prefetch_count=10)
    ch.consume(q, "c")
    take(ch, 10)
    ch.call("basic.cancel", consumer_tag="c")
    ch.send("basic.nack", delivery_tag=10, multiple=True, requeue=True)
    assert numbers(ch.get(q) for _ in range(20)) == list(range(20))


def test_a_rejected_message_goes_to_whoever_has_room(conn, ch, q):
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q, "full")
    other = conn.channel(2)
    other.call("basic.qos", prefetch_count=1)
    fill(ch, q, 2)
    assert ch.deliver().body == b"0"
    other.consume(q, "rejects")
    d = other.deliver()
    third = conn.channel(3)
    third.consume(q, "has room")
    other.call("basic.cancel", consumer_tag="rejects")
    other.send("basic.reject", delivery_tag=d.delivery_tag, requeue=True)
    got = third.deliver()
    assert (got.body, got.redelivered) == (b"1", True)


def test_recover_returns_everything_unacked(ch, q):
    fill(ch, q, 5)
    ch.consume(q, "c")
    first = take(ch, 5)
    ch.send("basic.ack", delivery_tag=first[1].delivery_tag)
    ch.send("basic.recover", requeue=True)
    assert ch.expect("basic.recover-ok").name
    again = take(ch, 4)
    assert numbers(again) == [0, 2, 3, 4]
    assert all(d.redelivered for d in again)
    assert [d.delivery_tag for d in again] == [6, 7, 8, 9]


def test_recover_async_is_not_answered(ch, q):
    fill(ch, q, 2)
    ch.consume(q)
    take(ch, 2)
    ch.send("basic.recover-async", requeue=True)
    assert [d.redelivered for d in take(ch, 2)] == [True, True]


def test_redelivered_stays_set(ch, q):
    fill(ch, q, 1)
    for round_ in range(3):
        d = ch.get(q, no_ack=False)
        assert d.redelivered == (round_ > 0)
        ch.send("basic.reject", delivery_tag=d.delivery_tag, requeue=True)


# --- get ------------------------------------------------------------------------------------------------------------------


def test_get_counts_down(ch, q):
    fill(ch, q, 3)
    assert [ch.get(q).message_count for _ in range(3)] == [2, 1, 0]
    empty = ch.call("basic.get", queue=q)
    assert (empty.name, empty.cluster_id) == ("basic.get-empty", "")


def test_get_takes_the_oldest(ch, q):
    fill(ch, q, 100)
    assert numbers(ch.get(q) for _ in range(100)) == list(range(100))


def test_get_is_not_limited_by_qos(ch, q):
    fill(ch, q, 5)
    ch.call("basic.qos", prefetch_count=1)
    for i in range(5):
        assert ch.get(q, no_ack=False).body == b"%d" % i


def test_purge_leaves_unacked_messages(ch, q):
    fill(ch, q, 5)
    ch.get(q, no_ack=False)
    assert ch.call("queue.purge", queue=q).message_count == 4
    ch.send("basic.reject", delivery_tag=1, requeue=True)
    assert ch.get(q).body == b"0"


# --- qos ------------------------------------------------------------------------------------------------------------------


def test_prefetch_holds_and_acks_release(ch, q):
    fill(ch, q, 10)
    ch.call("basic.qos", prefetch_count=3)
    ch.consume(q)
    take(ch, 3)
    ch.expect_silence(0.2)
    ch.send("basic.ack", delivery_tag=1)
    assert ch.deliver().body == b"3"
    ch.expect_silence(0.1)
    ch.send("basic.ack", delivery_tag=4, multiple=True)
    assert numbers(take(ch, 3)) == [4, 5, 6]
    ch.expect_silence(0.1)
    ch.send("basic.reject", delivery_tag=5)
    assert ch.deliver().body == b"7"


def test_prefetch_is_per_consumer(ch, q):
    fill(ch, q, 20)
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(q, "a")
    ch.call("basic.qos", prefetch_count=5)
    ch.consume(q, "b")
    ch.call("basic.qos", prefetch_count=1)
    got = collections.Counter(d.consumer_tag for d in take(ch, 7))
    assert got == {"a": 2, "b": 5}
    ch.expect_silence(0.2)


def test_prefetch_does_not_count_for_no_ack(ch, q):
    fill(ch, q, 50)
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q, no_ack=True)
    assert numbers(take(ch, 50)) == list(range(50))


def test_global_prefetch_is_shared_by_the_channel(conn, ch):
    a, b = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    fill(ch, a, 10)
    fill(ch, b, 10)
    ch.call("basic.qos", prefetch_count=4, **{"global": True})
    ch.consume(a, "a")
    ch.consume(b, "b")
    first = take(ch, 4)
    ch.expect_silence(0.2)
    ch.send("basic.ack", delivery_tag=first[0].delivery_tag)
    ch.deliver()
    ch.expect_silence(0.1)
    seen = 5
    while seen < 20:
        ch.send("basic.ack", delivery_tag=0, multiple=True)
        got = 0
        try:
            while got < 4:
                ch.deliver(0.5)
                got += 1
        except wire.NothingCame:
            pass
        assert got, "a shared limit must not starve a queue"
        seen += got
    assert seen == 20


def test_global_prefetch_with_an_empty_queue_does_not_starve_the_other(ch):
    """Nothing of a shared limit is parked with a queue that has nothing to give."""
    busy, idle = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    ch.call("basic.qos", prefetch_count=1, **{"global": True})
    ch.consume(idle, "idle")
    ch.consume(busy, "busy")
    for i in range(20):
        ch.publish("", busy, b"%d" % i)
        d = ch.deliver()
        assert d.body == b"%d" % i
        ch.send("basic.ack", delivery_tag=d.delivery_tag)
    ch.publish("", idle, b"idle")
    assert ch.deliver().consumer_tag == "idle"


def test_global_and_per_consumer_prefetch_together(ch, q):
    fill(ch, q, 20)
    ch.call("basic.qos", prefetch_count=3)
    ch.consume(q, "a")
    ch.consume(q, "b")
    take(ch, 6)
    ch.send("basic.ack", delivery_tag=0, multiple=True)
    take(ch, 6)
    ch.call("basic.qos", prefetch_count=4, **{"global": True})
    ch.send("basic.ack", delivery_tag=0, multiple=True)
    take(ch, 4)
    ch.expect_silence(0.2)


def test_global_prefetch_can_be_raised_and_lifted(ch, q):
    fill(ch, q, 20)
    ch.call("basic.qos", prefetch_count=2, **{"global": True})
    ch.consume(q)
    take(ch, 2)
    ch.expect_silence(0.1)
    ch.call("basic.qos", prefetch_count=5, **{"global": True})
    take(ch, 3)
    ch.expect_silence(0.1)
    ch.call("basic.qos", prefetch_count=0, **{"global": True})
    take(ch, 15)


def test_a_message_returns_when_no_consumer_has_room(conn, ch, q):
    """Two consumers of one message each; the rest stays ready and can be got."""
    fill(ch, q, 5)
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q, "a")
    ch.consume(q, "b")
    take(ch, 2)
    assert conn.channel(2).get(q).body == b"2"


# --- priorities -----------------------------------------------------------------------------------------------------------


def test_consumer_priorities(ch, q):
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(q, "low", arguments={"x-priority": -1})
    ch.consume(q, "high", arguments={"x-priority": 10})
    ch.consume(q, "middle")
    fill(ch, q, 6)
    assert [d.consumer_tag for d in take(ch, 6)] == ["high"] * 2 + ["middle"] * 2 + ["low"] * 2


def test_a_lower_priority_gets_what_the_higher_has_no_room_for(ch, q):
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(q, "high", arguments={"x-priority": wire.T("b", 5)})
    ch.consume(q, "low")
    fill(ch, q, 3)
    first, second = take(ch, 2)
    assert (first.consumer_tag, second.consumer_tag) == ("high", "low")
    ch.send("basic.ack", delivery_tag=first.delivery_tag)
    assert ch.deliver().consumer_tag == "high"


# --- exclusive consumers, single active consumer --------------------------------------------------------------------------


def test_an_exclusive_consumer_leaves_with_its_connection(connect, name):
    q = name()
    watcher = connect()
    watcher.channel(1).queue(q)
    owner = connect()
    owner.channel(1).consume(q, exclusive=True)
    with pytest.raises(wire.Closed) as e:
        watcher.channel(2).consume(q)
    assert e.value.code == 403
    owner.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            watcher.channel(2).consume(q, "c", exclusive=True)
            break
        except wire.Closed:
            assert time.monotonic() < deadline
    watcher.channel(3).call("queue.delete", queue=q)


@pytest.fixture
def sac(ch, name):
    q = ch.queue(name("sac"), arguments={"x-single-active-consumer": True})
    yield q
    ch.conn.channel(950).call("queue.delete", queue=q)


def test_single_active_consumer_takes_turns_by_cancel(ch, sac):
    for tag in "abc":
        ch.consume(sac, tag, no_ack=True)
    fill(ch, sac, 10)
    assert {d.consumer_tag for d in take(ch, 10)} == {"a"}
    ch.call("basic.cancel", consumer_tag="b")
    ch.call("basic.cancel", consumer_tag="a")
    fill(ch, sac, 10)
    assert {d.consumer_tag for d in take(ch, 10)} == {"c"}


def test_single_active_consumer_is_not_passed_on_while_it_is_full(ch, sac):
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(sac, "a")
    ch.consume(sac, "b")
    fill(ch, sac, 3)
    d = ch.deliver()
    ch.expect_silence(0.2)
    ch.send("basic.ack", delivery_tag=d.delivery_tag)
    assert ch.deliver().consumer_tag == "a"


def test_single_active_consumer_fails_over_to_another_connection(connect, sac):
    first, second = connect(), connect()
    first.channel(1).consume(sac, "first")
    standby = second.channel(1)
    standby.consume(sac, "second")
    feeder = connect().channel(1)
    fill(feeder, sac, 5)
    take(wire.Channel(first, 1), 5)
    first.abort()
    again = take(standby, 5)
    assert numbers(again) == list(range(5))
    assert all(d.redelivered for d in again)


def test_exclusive_consumers_are_refused_with_single_active(ch, sac):
    with pytest.raises(wire.Closed) as e:
        ch.consume(sac, exclusive=True)
    assert (e.value.code, e.value.ids) == (403, (60, 20))


def test_single_active_ignores_priorities(ch, sac):
    ch.consume(sac, "first", no_ack=True)
    ch.consume(sac, "later", no_ack=True, arguments={"x-priority": 10})
    fill(ch, sac, 3)
    assert {d.consumer_tag for d in take(ch, 3)} == {"first"}


# --- slow consumers -------------------------------------------------------------------------------------------------------


def test_a_consumer_that_does_not_read_holds_nobody_up(connect, name):
    q, p = name("slow"), name("fast")
    slow, fast = connect(), connect()
    ch = fast.channel(1)
    for queue in (q, p):
        ch.queue(queue, auto_delete=True)
        ch.call("queue.bind", queue=queue, exchange="amq.fanout")
    slow.channel(1).consume(q, no_ack=True)
    ch.consume(p, "fast", no_ack=True)
    body = bytes(20000)
    for i in range(1000):  # 20 MB, far above what sockets hold
        ch.publish("amq.fanout", "", body)
        ch.deliver()
    got = take(wire.Channel(slow, 1), 1000)
    assert len(got) == 1000 and all(d.body == body for d in got)
