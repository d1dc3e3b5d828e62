"""tx: AMQP 0-9-1 §1.9. Publishes and acks take effect at commit; rollback drops them."""

import pytest
import wire


@pytest.fixture
def tx(conn):
    ch = conn.channel(1)
    ch.call("tx.select")
    return ch


@pytest.fixture
def other(conn):
    return conn.channel(2)


@pytest.fixture
def q(other):
    return other.queue("", exclusive=True)


def test_publishes_appear_at_commit(tx, other, q):
    for i in range(5):
        tx.publish("", q, b"%d" % i)
    tx.sync()
    assert other.get(q) is None
    tx.call("tx.commit")
    assert [other.get(q).body for _ in range(5)] == [b"%d" % i for i in range(5)]


def test_bcc_is_taken_out_at_commit(tx, other, q):
    b = other.queue("", exclusive=True)
    tx.publish("", q, b"x", headers={"BCC": [b], "other": 1})
    tx.call("tx.commit")
    for queue in (q, b):
        got = other.get(queue)
        assert got.body == b"x"
        assert got.props["headers"] == {"other": 1}


def test_rollback_drops_publishes(tx, other, q):
    tx.publish("", q, b"dropped")
    tx.call("tx.rollback")
    tx.publish("", q, b"kept")
    tx.call("tx.commit")
    assert other.get(q).body == b"kept"
    assert other.get(q) is None


def test_acks_take_effect_at_commit(tx, other, q):
    other.publish("", q, b"x")
    other.sync()
    assert tx.get(q, no_ack=False).body == b"x"
    tx.send("basic.ack", delivery_tag=1)
    tx.call("tx.rollback")
    tx.send("basic.ack", delivery_tag=1)  # rolled back, so it can be acked again
    tx.call("tx.commit")
    tx.call("basic.recover", requeue=True)
    assert other.get(q) is None


def test_rollback_does_not_requeue(tx, other, q):
    """§1.9.2.6: rollback does not redeliver; recover does."""
    other.publish("", q, b"x")
    other.sync()
    tx.get(q, no_ack=False)
    tx.send("basic.ack", delivery_tag=1)
    tx.call("tx.rollback")
    assert other.get(q) is None
    tx.call("basic.recover", requeue=True)
    got = other.get(q)
    assert (got.body, got.redelivered) == (b"x", True)


def test_rejects_are_part_of_the_transaction(tx, other, q):
    for i in range(3):
        other.publish("", q, b"%d" % i)
    other.sync()
    for _ in range(3):
        tx.get(q, no_ack=False)
    tx.send("basic.reject", delivery_tag=1, requeue=True)
    tx.send("basic.nack", delivery_tag=2)
    tx.sync()
    assert other.get(q) is None
    tx.call("tx.commit")
    assert other.get(q).body == b"0"
    assert other.get(q) is None


def test_an_unacked_transaction_is_rolled_back_with_the_channel(conn, tx, other, q):
    other.publish("", q, b"x")
    other.sync()
    tx.publish("", q, b"never")
    tx.get(q, no_ack=False)
    tx.send("basic.ack", delivery_tag=1)
    tx.close()
    got = other.get(q)
    assert (got.body, got.redelivered) == (b"x", True)
    assert other.get(q) is None


def test_returns_come_at_commit(tx, q):
    tx.publish("", "nowhere", b"returned", mandatory=True)
    tx.expect_silence(0.2)
    tx.send("tx.commit")
    assert tx.next().name == "basic.return"
    assert tx.next().name == "tx.commit-ok"


def test_several_queues_in_one_transaction(tx, other):
    queues = [other.queue("", exclusive=True) for _ in range(10)]
    for q in queues:
        tx.publish("", q, b"x")
    tx.call("tx.commit")
    assert all(other.get(q).body == b"x" for q in queues)


def test_a_large_transaction(tx, other, q):
    for i in range(2000):
        tx.publish("", q, b"%d" % i)
    tx.call("tx.commit")
    assert other.call("queue.purge", queue=q).message_count == 2000


def test_an_unknown_tag_fails_when_it_is_acked(tx):
    tx.send("basic.ack", delivery_tag=7)
    with pytest.raises(wire.Closed) as e:
        tx.call("tx.commit")
    assert (e.value.code, e.value.ids) == (406, (60, 80))


def test_consumers_of_a_tx_channel_get_messages_at_once(tx, other, q):
    tx.consume(q, "c")
    other.publish("", q, b"x")
    d = tx.deliver()
    tx.send("basic.ack", delivery_tag=d.delivery_tag)
    tx.call("tx.commit")


def test_prefetch_room_returns_at_commit(tx, other, q):
    for i in range(2):
        other.publish("", q, b"%d" % i)
    other.sync()
    tx.call("basic.qos", prefetch_count=1)
    tx.consume(q, "c")
    d = tx.deliver()
    tx.send("basic.ack", delivery_tag=d.delivery_tag)
    tx.expect_silence(0.2)
    tx.call("tx.commit")
    assert tx.deliver().body == b"1"
