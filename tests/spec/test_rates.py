"""Limits of publish rates: who is over one is held, not disconnected; acknowledgements and everything else go on."""

import json

import pytest
import wire

pytestmark = [pytest.mark.leveret_only("RabbitMQ has no limits of rates"), pytest.mark.needs_admin]


@pytest.fixture
def limited(broker):
    """A vhost and a user of their own."""
    broker.add_vhost("rated")
    broker.add_user("rateuser", "rateuser", "rated")
    broker.ctl("set_permissions", "-p", "/", "rateuser", ".*", ".*", ".*")
    yield broker
    broker.ctl("delete_vhost", "rated")
    broker.ctl("delete_user", "rateuser")


def open_rated(broker, vhost="rated"):
    return wire.Conn.open(broker, vhost=vhost, user="rateuser", password="rateuser")


def limit_vhost(broker, **limits):
    broker.ctl("set_vhost_limits", "-p", "rated", json.dumps({key.replace("_", "-"): n for key, n in limits.items()}))


def limit_user(broker, **limits):
    broker.ctl("set_user_limits", "rateuser", json.dumps({key.replace("_", "-"): n for key, n in limits.items()}))


def state_of(broker, user="rateuser"):
    """(state, what holds it) of the user's connection."""
    listed = json.loads(broker.ctl("list_connections", "user", "state", "--formatter", "json"))
    return [entry["state"] for entry in listed if entry["user"] == user]


def totals(broker):
    lines = broker.ctl("reasons", "totals", "-s").splitlines()
    return {name: int(value) for name, value in (line.split("\t") for line in lines if "\t" in line)}


@pytest.mark.parametrize("limits", [{"max_publish_rate": 0}, {"max_publish_bytes_rate": 0}])
def test_a_limit_of_nothing_holds_the_channel_only(limited, limits):
    with open_rated(limited) as conn:
        ch, other = conn.channel(1), conn.channel(2)
        q = ch.queue("q")
        for body in ("1", "2"):
            ch.publish("", q, body)
        tags = [ch.get(q, no_ack=False).delivery_tag for _ in range(2)]
        limit_vhost(limited, **limits)
        held = totals(limited)["held_vhost_rate"]
        ch.publish("", q, "held")
        ch.send("basic.nack", delivery_tag=tags[1], requeue=True)  # overtakes it
        other.publish("", q, "held too")
        third = conn.channel(3)
        assert third.get_soon(q).body == b"2"
        assert third.count(q) == (0, 0)  # nothing else came through, and methods are answered
        assert state_of(limited) == ["flow"]
        assert totals(limited)["held_vhost_rate"] > held
        assert "held_vhost_rate\trated\tuser 'rateuser'" in limited.ctl("reasons", "-s")
        limited.ctl("clear_vhost_limits", "-p", "rated")
        bodies = {third.get_soon(q).body, third.get_soon(q).body}
        assert bodies == {b"held", b"held too"}
        ch.sync()
        other.sync()
        assert state_of(limited) == ["running"]


def test_a_held_vhost_does_not_hold_others(limited):
    limit_vhost(limited, max_publish_rate=0)
    with open_rated(limited) as held, open_rated(limited, "/") as free:
        ch = held.channel(1)
        ch.send("basic.publish", exchange="", routing_key="q")
        ch.conn.send_frame(2, 1, wire.encode_header(0, {}))
        other = free.channel(1)
        q = other.queue("", exclusive=True)
        for _ in range(1000):
            other.publish("", q, b"free")
        other.sync()
        assert other.count(q) == (1000, 0)
        limit_user(limited, max_publish_rate=0)  # the user's reaches everywhere
        other.publish("", q, b"held")
        assert free.channel(2).count(q) == (1000, 0)


def test_every_message_comes_in_order_and_is_confirmed(limited):
    """Many channels of several connections share one rate."""
    limit_user(limited, max_publish_rate=400)
    connections = [open_rated(limited) for _ in range(3)]
    channels = [conn.channel(number) for conn in connections for number in (1, 2, 3)]
    queues = [ch.queue("", exclusive=True) for ch in channels]
    for ch in channels:
        ch.call("confirm.select")
    for n in range(40):
        for ch, q in zip(channels, queues):
            ch.publish("", q, b"%d" % n)
    for ch, q in zip(channels, queues):
        confirmed = 0
        while confirmed < 40:
            confirmed = max(confirmed, ch.expect("basic.ack", timeout=60).delivery_tag)
        assert [ch.get(q).body for _ in range(40)] == [b"%d" % n for n in range(40)]
    assert totals(limited)["held_user_rate"] > 0
    for conn in connections:
        conn.close()


def test_a_message_larger_than_the_rate_goes_through(limited):
    limit_vhost(limited, max_publish_bytes_rate=200_000)
    with open_rated(limited) as conn:
        ch = conn.channel(1)
        q = ch.queue("q")
        ch.publish("", q, bytes(300_000))
        ch.publish("", q, b"next")
        assert len(ch.get_soon(q).body) == 300_000
        assert ch.get_soon(q).body == b"next"


def test_more_than_the_bound_is_not_read(limited):
    """What waits in the broker is bounded; the client's socket fills up, nothing is lost."""
    limit_vhost(limited, max_publish_rate=0)
    with open_rated(limited) as conn:
        ch = conn.channel(1)
        q = conn.channel(2).queue("q")
        body = bytes(60_000)
        for n in range(16):
            ch.publish("", q, body)
        limited.ctl("clear_vhost_limits", "-p", "rated")
        for n in range(16):
            assert len(conn.channel(3 + n).get_soon(q).body) == len(body)


def test_a_client_that_closes_while_it_is_held(limited):
    limit_vhost(limited, max_publish_rate=0)
    for _ in range(20):
        with open_rated(limited) as conn:
            ch = conn.channel(1)
            q = ch.queue("q")
            ch.publish("", q, b"never")
    conn = open_rated(limited)
    conn.channel(1).publish("", "q", b"never")
    conn.abort()
    limited.ctl("clear_vhost_limits", "-p", "rated")
    with open_rated(limited) as conn:
        conn.channel(1).count("q")


def test_transactions(limited):
    limit_vhost(limited, max_publish_rate=0)
    with open_rated(limited) as conn:
        ch = conn.channel(1)
        q = ch.queue("q")
        ch.call("tx.select")
        ch.publish("", q, b"held")
        ch.send("tx.commit")
        assert conn.channel(2).count(q) == (0, 0)
        limited.ctl("clear_vhost_limits", "-p", "rated")
        ch.expect("tx.commit-ok")
        assert conn.channel(3).get_soon(q).body == b"held"


@pytest.mark.needs_restart
def test_configured_rates(start_broker):
    """Of every connection, and of vhosts and users without a limit of their own."""
    broker = start_broker({"connection_max_publish_rate": "100000", "user_max_publish_rate": "0"})
    with wire.Conn.open(broker) as conn:
        ch = conn.channel(1)
        q = ch.queue("", exclusive=True)
        ch.publish("", q, b"held")
        assert conn.channel(2).count(q) == (0, 0)
        broker.ctl("set_user_limits", "guest", '{"max-publish-rate": 1000}')
        assert conn.channel(3).get_soon(q).body == b"held"
