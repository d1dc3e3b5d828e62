"""Limits: channels, frames, message size, and those of vhosts and users."""

import json

import pytest
import wire


def test_channel_max_counts_channels(connect):
    conn = connect(channel_max=10)
    for number in range(1, 11):
        conn.channel(number)
    conn.send(11, "channel.open")
    closed = conn.drain_close()
    assert (closed.scope, closed.code, closed.ids) == ("connection", 530, (0, 0))
    assert closed.text == "NOT_ALLOWED - number of channels opened (10) has reached the negotiated channel_max (10)"
    conn.expect_end()


def test_channel_numbers_above_channel_max_are_fine(connect):
    conn = connect(channel_max=10)
    for number in (11, 2048, 65535):
        conn.channel(number).sync()


def test_a_closed_channel_makes_room(connect):
    conn = connect(channel_max=2)
    first = conn.channel(1)
    conn.channel(2)
    first.close()
    conn.channel(3)


def test_all_2047_channels_and_one_more(conn):
    for number in range(1, 2048):
        conn.send(number, "channel.open")
    for number in range(1, 2048):
        conn.expect(number, "channel.open-ok")
    conn.send(2048, "channel.open")
    closed = conn.drain_close()
    assert closed.text == "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)"


@pytest.mark.needs_restart
def test_tune_offers_what_is_configured(start_broker):
    broker = start_broker({"channel_max": "77", "frame_max": "16384"})
    with wire.Conn.open(broker) as conn:
        assert (conn.tune.channel_max, conn.tune.frame_max) == (77, 16384)


@pytest.mark.needs_restart
def test_max_message_size(start_broker):
    broker = start_broker({"max_message_size": "10000"})
    with wire.Conn.open(broker) as conn:
        ch = conn.channel(1)
        q = ch.queue("", exclusive=True)
        ch.publish("", q, bytes(10000))
        assert len(ch.get(q).body) == 10000
        ch.publish("", q, bytes(10001))
        with pytest.raises(wire.Closed) as e:
            ch.next()
        assert (e.value.scope, e.value.code, e.value.ids) == ("channel", 406, (60, 40))
        assert e.value.text == "PRECONDITION_FAILED - message size 10001 is larger than configured max size 10000"
        conn.channel(1).sync()


@pytest.mark.leveret_only("RabbitMQ waits for the whole body before it looks at its size")
@pytest.mark.parametrize("size", [134217729, 2**29 + 1, 2**32, 2**63 - 1, 2**64 - 1])
def test_a_header_announcing_too_much_is_refused_at_once(ch, conn, size):
    conn.send_frame(1, 1, wire.encode_method("basic.publish", exchange="amq.direct"))
    conn.send_frame(2, 1, wire.encode_header(size, {}))
    with pytest.raises(wire.Closed) as e:
        ch.next()
    assert (e.value.scope, e.value.code, e.value.ids) == ("channel", 406, (60, 40))
    assert e.value.text == f"PRECONDITION_FAILED - message size {size} is larger than configured max size 134217728"


@pytest.mark.leveret_only("RabbitMQ waits for more, and takes the surplus as part of the next content")
def test_more_body_than_announced(ch, conn):
    conn.send_frame(1, 1, wire.encode_method("basic.publish", exchange="amq.direct"))
    conn.send_frame(2, 1, wire.encode_header(3, {}))
    conn.send_frame(3, 1, b"four")
    closed = conn.drain_close()
    assert closed.scope == "connection" and closed.code in (501, 502, 505)


# --- vhosts and users -----------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(broker):
    """A vhost and a user of their own."""
    if not broker.can_admin:
        pytest.skip("administers the broker")
    broker.add_vhost("limited")
    broker.add_user("limuser", "limuser", "limited")
    yield broker
    broker.ctl("delete_vhost", "limited")
    broker.ctl("delete_user", "limuser")


def open_limited(broker, user=None):
    return wire.Conn.open(broker, vhost="limited", user=user, password=user)


def test_vhost_max_queues(limited):
    limited.ctl("set_vhost_limits", "-p", "limited", json.dumps({"max-queues": 1}))
    with open_limited(limited) as conn:
        ch = conn.channel(1)
        ch.queue("first")
        ch.queue("first")
        with pytest.raises(wire.Closed) as e:
            ch.queue("over")
        assert (e.value.code, e.value.ids) == (406, (50, 10))
        assert e.value.text == ("PRECONDITION_FAILED - cannot declare queue 'over': queue limit in vhost 'limited' (1) "
                                "is reached")
        ch = conn.channel(1)
        ch.call("queue.delete", queue="first")
        ch.queue("over")


def test_vhost_default_queue_type(broker):
    """A declare without x-queue-type means the vhost's, where that type can be what is declared."""
    if not broker.can_admin:
        pytest.skip("administers the broker")
    vhost = "typed"
    broker.ctl("add_vhost", vhost, "--default-queue-type", "quorum")
    try:
        broker.ctl("set_permissions", "-p", vhost, broker.user, ".*", ".*", ".*")
        with wire.Conn.open(broker, vhost=vhost) as conn:
            def declared(ch, queue, **options):
                ch.call("queue.declare", queue=queue, **options)

            def refused(text, queue, **options):
                with pytest.raises(wire.Closed) as e:
                    declared(conn.channel(1), queue, **options)
                assert (e.value.code, e.value.ids) == (406, (50, 10))
                assert e.value.text == f"PRECONDITION_FAILED - {text}"

            refused("Cannot declare a server-named queue for type rabbit_quorum_queue", "", durable=True)
            ch = conn.channel(1)
            declared(ch, "", exclusive=True, durable=True)
            declared(ch, "q", durable=True)
            declared(ch, "q", durable=True)
            declared(ch, "q", durable=True, arguments={"x-queue-type": "quorum"})
            declared(ch, "transient")
            declared(ch, "deleted", durable=True, auto_delete=True)
            declared(ch, "classic", durable=True, arguments={"x-queue-type": "classic"})
            ch.close()
            inequivalent = f"inequivalent arg 'x-queue-type' for queue '%s' in vhost '{vhost}': received '%s' but current is '%s'"
            refused(inequivalent % ("q", "classic", "quorum"), "q", durable=True, arguments={"x-queue-type": "classic"})
            refused(inequivalent % ("classic", "quorum", "classic"), "classic", durable=True)
            refused(f"inequivalent arg 'durable' for queue 'q' in vhost '{vhost}': received 'false' but current is 'true'", "q")
    finally:
        broker.ctl("delete_vhost", vhost)


def refused_connection(broker, user=None):
    with pytest.raises(wire.Closed) as e:
        open_limited(broker, user)
    assert (e.value.scope, e.value.code, e.value.ids) == ("connection", 530, (10, 40))
    return e.value.text


def test_vhost_max_connections(limited):
    limited.ctl("set_vhost_limits", "-p", "limited", json.dumps({"max-connections": 0}))
    assert refused_connection(limited) == ("NOT_ALLOWED - access to vhost 'limited' refused for user 'guest': "
                                           "connection limit (0) is reached")
    limited.ctl("clear_vhost_limits", "-p", "limited")
    open_limited(limited).close()


def test_user_max_connections(limited):
    limited.ctl("set_user_limits", "limuser", json.dumps({"max-connections": 0}))
    assert refused_connection(limited, "limuser") == ("NOT_ALLOWED - connection refused for user 'limuser': "
                                                      "user connection limit (0) is reached")
    open_limited(limited).close()


def test_user_max_channels(limited):
    limited.ctl("set_user_limits", "limuser", json.dumps({"max-channels": 1}))
    with open_limited(limited, "limuser") as conn:
        conn.channel(1)
        conn.send(2, "channel.open")
        closed = conn.drain_close()
        assert (closed.scope, closed.code, closed.ids) == ("connection", 530, (0, 0))
        assert closed.text == ("NOT_ALLOWED - number of channels opened for user 'limuser' has reached the maximum allowed "
                               "user limit of (1)")


@pytest.mark.needs_admin
def test_a_vhost_deleted_under_a_connection(broker):
    broker.add_vhost("gone")
    with wire.Conn.open(broker, vhost="gone") as conn:
        conn.channel(1).queue("q")
        broker.ctl("delete_vhost", "gone")
        closed = conn.drain_close()
        assert (closed.scope, closed.code, closed.ids) == ("connection", 320, (0, 0))
        assert closed.text == "CONNECTION_FORCED - vhost 'gone' is deleted"
        conn.expect_end()
