"""Dead-letter exchanges: RabbitMQ's documentation "Dead Letter Exchanges" and "At-Least-Once Dead Lettering".

Headers are compared with their types and their order, as RabbitMQ 3.10 writes them; x-last-death-*, which came later, apart.
"""

import time
import uuid

import pytest
import wire
from test_publish import Confirms

LAST = ("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason")


# --- ways to die: each takes one message out of the queue it put it into, for its reason -----------------------------------


def die_rejected(ch, queue, body=b"x", exchange="", key=None, **props):
    ch.publish(exchange, queue if key is None else key, body, **props)
    ch.send("basic.reject", delivery_tag=ch.get_soon(queue, no_ack=False).delivery_tag, requeue=False)


def die_at_once(ch, queue, body=b"x", exchange="", key=None, **props):
    """Of a queue with max_length=0, or message_ttl=1."""
    ch.publish(exchange, queue if key is None else key, body, **props)


def die_delivered(ch, queue, body=b"x", exchange="", key=None, **props):
    """Of a queue with delivery_limit=0."""
    ch.publish(exchange, queue if key is None else key, body, **props)
    ch.send("basic.reject", delivery_tag=ch.get_soon(queue, no_ack=False).delivery_tag, requeue=True)


# The arguments that a queue needs for it, beside those of source(); how; the reason.
WAYS = [pytest.param({}, die_rejected, "rejected", id="rejected"),
        pytest.param({"max_length": 0}, die_at_once, "maxlen", id="maxlen"),
        pytest.param({"max_length": 0, "overflow": "reject-publish-dlx"}, die_at_once, "maxlen", id="refused"),
        pytest.param({"max_length_bytes": 0}, die_at_once, "maxlen", id="maxlen-bytes"),
        pytest.param({"message_ttl": 1}, die_at_once, "expired", id="expired"),
        pytest.param({"message_ttl": 0}, die_at_once, "expired", id="expired-at-once"),
        pytest.param({"queue_type": "quorum", "delivery_limit": 0}, die_delivered, "delivery_limit", id="delivery_limit"),
        pytest.param({"queue_type": "quorum", "message_ttl": 1}, die_at_once, "expired", id="expired-quorum")]


def source(ch, exchange="", key=None, **arguments):
    """A queue with that dead-letter exchange and key. Further arguments with _ for -, without x-."""
    args = {"x-dead-letter-exchange": exchange, **({} if key is None else {"x-dead-letter-routing-key": key})}
    args.update({"x-" + name.replace("_", "-"): value for name, value in arguments.items()})
    if "queue_type" in arguments:  # durable ones stay: until nobody has used them for a while
        return ch.queue(f"source.{uuid.uuid4()}", durable=True, arguments={**args, "x-expires": 600_000})
    return ch.queue("", exclusive=True, arguments=args)


def headers_of(message):
    """The headers without what 3.13 added, which is checked."""
    headers = dict(message.props["headers"])
    last = [headers.pop(name) for name in LAST if name in headers]
    if last:
        newest = headers["x-death"][0]
        assert last[1:] == [as_text(newest["queue"]), newest["reason"]], headers
    return headers


def as_text(value):
    return value.decode() if isinstance(value, bytes) else value


def check_time(death):
    sent = death.pop("time")
    assert sent.code == "T" and abs(sent.value - time.time()) < 300


def count(n):
    return wire.T("l", n)


@pytest.fixture
def dead(ch):
    return ch.queue("", exclusive=True)


# --- headers, properties, address --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, die, reason", WAYS)
def test_the_first_death(ch, dead, arguments, die, reason):
    q = source(ch, key=dead, **arguments)
    die(ch, q, b"body", content_type="text/plain", expiration="60000", delivery_mode=2, message_id="m", user_id="guest",
                 priority=3, headers={"zz": 1, "Alpha": "x", "CC": ["nope1", "nope2"], "b": wire.T("b", 3)})
    got = ch.get_soon(dead)
    assert (got.body, got.exchange, got.routing_key, got.redelivered) == (b"body", "", dead, False)
    headers = headers_of(got)
    assert list(headers) == ["Alpha", "b", "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "zz"]
    death = headers["x-death"][0]
    assert list(death) == ["count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration"]
    check_time(death)
    assert headers == {"Alpha": "x", "b": wire.T("b", 3), "zz": 1, "x-first-death-exchange": "", "x-first-death-queue": q,
                       "x-first-death-reason": reason,
                       "x-death": [{"count": count(1), "reason": reason, "queue": q, "exchange": "",
                                    "routing-keys": [q, "nope1", "nope2"], "original-expiration": "60000"}]}
    del got.props["headers"]
    assert got.props == {"content_type": "text/plain", "delivery_mode": 2, "message_id": "m", "user_id": "guest", "priority": 3}


def test_without_a_key_it_keeps_its_own_and_those_of_cc(ch, name, dead):
    exchange = name("x")
    ch.call("exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    q = source(ch, exchange)
    for key in (q, "copy1", "copy2"):
        ch.call("queue.bind", queue=dead, exchange=exchange, routing_key=key)
    other = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=other, exchange=exchange, routing_key="copy2")
    die_rejected(ch, q, headers={"CC": ["copy1", "copy2"]})
    for target in (dead, other):
        got = ch.get_soon(target)
        assert (got.exchange, got.routing_key) == (exchange, q)
        assert got.props["headers"]["CC"] == ["copy1", "copy2"]
        assert got.props["headers"]["x-death"][0]["routing-keys"] == [q, "copy1", "copy2"]
    assert ch.get(dead) is None, "each queue gets it once"


def test_messages_without_properties(ch, dead):
    q = source(ch, key=dead)
    die_rejected(ch, q, b"")
    got = ch.get_soon(dead)
    assert got.body == b"" and list(got.props) == ["headers"]
    assert list(headers_of(got)) == ["x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"]


def test_expired_by_its_own_time(ch, dead):
    """The property leaves; the header keeps it."""
    q = source(ch, key=dead)
    ch.publish("", q, b"mine", expiration="20")
    got = ch.get_soon(dead)
    death = headers_of(got)["x-death"][0]
    assert (death["reason"], death["original-expiration"], death["queue"]) == ("expired", "20", q)
    assert "expiration" not in got.props and got.body == b"mine"


@pytest.mark.parametrize("limit", [1, 3])
def test_delivered_too_often(ch, dead, limit):
    q = source(ch, key=dead, queue_type="quorum", delivery_limit=limit)
    ch.publish("", q, b"poison", delivery_mode=2)
    for _ in range(limit + 1):
        ch.send("basic.nack", delivery_tag=ch.get_soon(q, no_ack=False).delivery_tag, requeue=True)
    got = ch.get_soon(dead)
    assert (got.body, headers_of(got)["x-death"][0]["reason"]) == (b"poison", "delivery_limit")
    assert ch.get(q) is None


def test_refused_and_dead_lettered(conn, ch, dead):
    """reject-publish-dlx: who publishes is told that it was refused, and the dead-letter exchange gets it."""
    q = source(ch, key=dead, max_length=2, overflow="reject-publish-dlx")
    confirms = Confirms(conn.channel(2))
    for n in range(1, 6):
        confirms.publish("", q, b"%d" % n, delivery_mode=1 + n % 2)
    confirms.wait()
    assert confirms.nacked == {3, 4, 5}
    for n in (3, 4, 5):
        got = ch.get_soon(dead)
        assert (got.body, headers_of(got)["x-death"][0]["reason"]) == (b"%d" % n, "maxlen")
    assert [ch.get(q).body for _ in range(2)] == [b"1", b"2"] and ch.get(q) is None


def test_a_quorum_queue_drops_from_the_head_instead(conn, ch, dead):
    """It does not know reject-publish-dlx."""
    q = source(ch, key=dead, queue_type="quorum", max_length=1, overflow="reject-publish-dlx")
    confirms = Confirms(conn.channel(2))
    for n in range(4):
        confirms.publish("", q, b"%d" % n, delivery_mode=2)
    confirms.wait()
    assert confirms.nacked == set()
    for n in range(3):
        got = ch.get_soon(dead)
        assert (got.body, headers_of(got)["x-death"][0]["reason"]) == (b"%d" % n, "maxlen")
    assert ch.get_soon(q).body == b"3" and ch.get(dead) is None


@pytest.mark.leveret_only("3.10 does not know them")
def test_the_last_death(ch, dead):
    first = source(ch, key=dead)
    second = source(ch, "amq.direct", key=dead)
    ch.call("queue.bind", queue=dead, exchange="amq.direct", routing_key=dead)
    die_rejected(ch, first)
    got = ch.get_soon(dead)
    die_rejected(ch, second, **got.props)
    headers = ch.get_soon(dead).props["headers"]
    assert [headers[name] for name in LAST] == ["", second, "rejected"]
    assert headers["x-first-death-queue"] == first


def test_a_second_death_of_the_same_kind_counts(ch, dead):
    q = source(ch, key=dead)
    other = source(ch, key=dead)
    die_rejected(ch, q, headers={"k": 1})
    got = ch.get_soon(dead)
    first_time = got.props["headers"]["x-death"][0]["time"]
    for n in (2, 3):
        die_rejected(ch, q, **got.props)
        got = ch.get_soon(dead)
        deaths = headers_of(got)["x-death"]
        assert list(deaths[0]) == ["count", "exchange", "queue", "reason", "routing-keys", "time"]
        assert deaths == [{"count": count(n), "exchange": "", "queue": q, "reason": "rejected", "routing-keys": [q], "time": first_time}]
    die_rejected(ch, other, **got.props)
    got = ch.get_soon(dead)
    deaths = headers_of(got)["x-death"]
    assert [(d["queue"], d["count"]) for d in deaths] == [(other, count(1)), (q, count(3))]
    assert list(deaths[0]) == ["count", "exchange", "queue", "reason", "routing-keys", "time"]
    die_rejected(ch, q, **got.props)
    got = ch.get_soon(dead)
    assert [(d["queue"], d["count"]) for d in headers_of(got)["x-death"]] == [(q, count(4)), (other, count(1))]
    assert got.props["headers"]["x-first-death-queue"] == q


def test_deaths_that_a_client_made_up(ch, dead):
    q = source(ch, key=dead)

    def after(**headers):
        die_rejected(ch, q, headers=headers)
        return headers_of(ch.get_soon(dead))

    mine = {"queue": q, "reason": "rejected"}
    # not an array: it is replaced, and that was not the first death
    headers = after(a=1, **{"x-death": "hello"})
    check_time(headers["x-death"][0])
    assert headers == {"a": 1, "x-death": [{"count": count(1), "exchange": "", "routing-keys": [q], **mine}]}
    headers = after(**{"x-death": []})
    assert list(headers) == ["x-death"] and list(headers["x-death"][0]) == ["count", "exchange", "queue", "reason", "routing-keys", "time"]
    # numbers of any width
    for five in (5, wire.T("b", 5), wire.T("l", 5), wire.T("u", 5)):
        assert after(**{"x-death": [{**mine, "count": five}]}) == {"x-death": [{"count": count(6), **mine}]}
    assert after(**{"x-death": [{**mine, "count": -3}]}) == {"x-death": [{"count": count(-2), **mine}]}
    # others are passed on as they are
    other = {"queue": "a", "reason": "rejected", "count": 4, "zz": True}
    headers = after(**{"x-death": [other], "x-first-death-queue": "foo"})
    assert headers["x-death"][1] == other and headers["x-death"][0]["queue"] == q and headers["x-first-death-queue"] == "foo"
    # what looks like a first death is not believed
    headers = after(**{"x-first-death-queue": "foo", "x-first-death-reason": 3})
    assert headers["x-first-death-queue"] == q and headers["x-first-death-reason"] == "rejected"


@pytest.mark.leveret_only("RabbitMQ loses the message")
def test_deaths_that_are_none(ch, dead):
    q = source(ch, key=dead)
    odd = [1, "x", None, [[]], {}, {"queue": 3}, {"queue": q, "reason": 4}, {"queue": q, "reason": "rejected", "count": "five"}]
    die_rejected(ch, q, headers={"x-death": odd})
    deaths = headers_of(ch.get_soon(dead))["x-death"]
    assert deaths == [{"count": count(1), "queue": q, "reason": "rejected"}, *odd[:-1]]


@pytest.mark.leveret_only("3.10 turns the older ones round each time")
def test_the_newest_death_is_first(ch, dead):
    queues = [source(ch, key=dead) for _ in range(5)]
    props = {}
    for q in queues + queues[1:3]:
        die_rejected(ch, q, **props)
        props = ch.get_soon(dead).props
    order = [queues[n] for n in (2, 1, 4, 3, 0)]
    assert [d["queue"] for d in props["headers"]["x-death"]] == order


@pytest.mark.leveret_only("a limit of its own")
def test_the_headers_do_not_grow_without_end(ch, dead):
    q = source(ch, key=dead)
    many = [{"queue": f"q{n}", "reason": "expired", "n": n} for n in range(2000)]
    props = {"headers": {"x-death": many}}
    for _ in range(30):
        die_rejected(ch, q, **props)
        props = ch.get_soon(dead).props
    assert props["headers"]["x-death"][0]["count"] == count(30)
    assert len(props["headers"]["x-death"]) == 513


@pytest.mark.leveret_only("RabbitMQ sends frames that are larger than the client allows")
@pytest.mark.parametrize("how", ["get", "consume"])
@pytest.mark.parametrize("counted", [False, True])
def test_a_frame_of_the_client_holds_the_headers(ch, connect, dead, name, how, counted):
    """Deaths make headers longer. For a client with small frames the oldest are left out; a small message that was published with large headers cannot be shown."""
    small = connect(frame_max=4096).channel(1)
    q = source(ch, key=name("target"))
    target = ch.queue(name("target"), durable=True, arguments={"x-queue-type": "quorum"} if counted else {})
    many = [{"queue": f"queue number {n}", "reason": "expired", "count": wire.T("l", n)} for n in range(200)]

    def take():
        if how == "get":
            return small.get_soon(target, no_ack=False)
        small.consume(target)
        return small.deliver()

    die_rejected(ch, q, b"body", headers={"mine": 1, "x-death": many, "yours": "y" * 100})
    got = take()
    headers = got.props["headers"]
    deaths = headers["x-death"]
    assert got.body == b"body" and headers["mine"] == 1 and headers["yours"] == "y" * 100
    assert deaths[0]["reason"] == "rejected" and deaths[0]["queue"] == q
    assert deaths[1:] == many[:len(deaths) - 1] and 20 < len(deaths) < 200
    size = len(wire.encode_header(4, got.props))
    assert 4096 - 8 - 100 < size <= 4096 - 8, "as many as a frame holds"
    small.send("basic.ack", delivery_tag=got.delivery_tag)
    # What a client with large frames put in itself is not left out.
    small = connect(frame_max=4096).channel(1)
    ch.publish("", target, b"large", headers={"large": "z" * 5000}, delivery_mode=2)
    with pytest.raises(wire.Closed) as e:
        take()
    assert (e.value.scope, e.value.code) == ("channel", 311) and "a frame of this connection holds 4088" in e.value.text
    small.conn.channel(2)  # the connection lives
    got = ch.get_soon(target)
    assert got.body == b"large" and got.redelivered and got.props["headers"]["large"] == "z" * 5000
    ch.call("queue.delete", queue=target)


# --- where it goes ---------------------------------------------------------------------------------------------------------------


def test_nack_of_many_at_once(ch, dead):
    q = source(ch, key=dead)
    for n in range(500):
        ch.publish("", q, b"%d" % n)
    tags = [ch.get_soon(q, no_ack=False).delivery_tag for _ in range(500)]
    ch.send("basic.nack", delivery_tag=tags[-1], multiple=True, requeue=False)
    assert [ch.get_soon(dead).body for _ in range(500)] == [b"%d" % n for n in range(500)], "in the order of their deaths"
    assert ch.count(q) == (0, 0)


def test_an_exchange_that_is_not_there_yet(ch, name, dead):
    exchange = name("x")
    q = source(ch, exchange)
    die_rejected(ch, q, b"lost")
    ch.sync()
    time.sleep(0.1)
    ch.call("exchange.declare", exchange=exchange, type="fanout", auto_delete=True)
    ch.call("queue.bind", queue=dead, exchange=exchange)
    die_rejected(ch, q, b"found")
    assert ch.get_soon(dead).body == b"found"
    assert ch.get(dead) is None


def test_internal_and_alternate_exchanges(ch, name, dead):
    front, behind = name("front"), name("behind")
    ch.call("exchange.declare", exchange=behind, type="fanout", internal=True)
    ch.call("exchange.declare", exchange=front, type="direct", internal=True, arguments={"alternate-exchange": behind})
    ch.call("queue.bind", queue=dead, exchange=behind)
    q = source(ch, front)
    die_rejected(ch, q)
    got = ch.get_soon(dead)
    assert got.exchange == front
    for exchange in (front, behind):
        ch.call("exchange.delete", exchange=exchange)


def test_a_fan_out_of_1000(ch, name):
    exchange = name("x")
    ch.call("exchange.declare", exchange=exchange, type="fanout")
    q = source(ch, exchange)
    targets = [ch.queue("", exclusive=True) for _ in range(1000)]
    for target in targets:
        ch.send("queue.bind", queue=target, exchange=exchange, nowait=True)
    for n in range(5):
        die_rejected(ch, q, b"%d" % n)
    for target in targets:
        for n in range(5):
            assert ch.get_soon(target).body == b"%d" % n
        assert ch.get(target) is None
    ch.call("exchange.delete", exchange=exchange)


def test_a_rejection_is_no_cycle(ch):
    q = source(ch)  # its own target
    die_rejected(ch, q, b"again")
    for n in range(1, 20):
        got = ch.get_soon(q, no_ack=False)
        assert got.props["headers"]["x-death"][0]["count"] == count(n)
        ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
    assert ch.get_soon(q).body == b"again"


def test_there_and_back_again(ch, name):
    """A and B are each other's dead-letter queue; with several workers they live on different ones."""
    names = [[name(f"{kind}{n}") for kind in "ab"] for n in range(8)]
    for pair in names:
        for own, other in (pair, pair[::-1]):
            ch.queue(own, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other})
    for n in range(50):
        for a, b in names:
            ch.publish("", a, b"a%d" % n)
            ch.publish("", b, b"b%d" % n)
    ch.call("basic.qos", prefetch_count=20)
    turns = {}
    for pair in names:
        for q in pair:
            ch.consume(q, tag=q)
    done = 0
    while done < 100 * len(names):
        got = ch.deliver()
        key = (got.consumer_tag.rsplit(".", 1)[1][1:], got.body)
        turns[key] = turns.get(key, 0) + 1
        if turns[key] < 6:
            ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
            continue
        assert sorted(d["count"].value for d in got.props["headers"]["x-death"]) == [2, 3]
        ch.send("basic.ack", delivery_tag=got.delivery_tag)
        done += 1
    for pair in names:
        for q in pair:
            assert ch.count(q)[0] == 0


def test_delete_and_purge_are_no_deaths(ch, dead):
    q = source(ch, key=dead)
    for _ in range(10):
        ch.publish("", q, b"x")
    assert ch.call("queue.purge", queue=q).message_count == 10
    ch.publish("", q, b"x")
    unacked = ch.get_soon(q, no_ack=False)
    ch.publish("", q, b"x")
    ch.call("queue.delete", queue=q)
    ch.send("basic.reject", delivery_tag=unacked.delivery_tag, requeue=False)
    ch.sync()
    time.sleep(0.1)
    assert ch.get(dead) is None


def test_acks_and_requeues_are_no_deaths(ch, dead):
    q = source(ch, key=dead)
    ch.publish("", q, b"x")
    ch.send("basic.reject", delivery_tag=ch.get_soon(q, no_ack=False).delivery_tag, requeue=True)
    ch.send("basic.ack", delivery_tag=ch.get_soon(q, no_ack=False).delivery_tag)
    ch.sync()
    assert ch.get(dead) is None and ch.get(q) is None


def test_rejections_of_a_transaction(ch, dead):
    q = source(ch, key=dead)
    ch.call("tx.select")
    ch.publish("", q, b"x")
    ch.call("tx.commit")
    got = ch.get_soon(q, no_ack=False)
    ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
    assert ch.get(dead) is None
    ch.call("tx.rollback")
    ch.send("basic.reject", delivery_tag=got.delivery_tag, requeue=False)
    ch.call("tx.commit")
    assert ch.get_soon(dead).body == b"x"


def test_a_persistent_message_is_confirmed_and_dead_lettered(ch, name):
    """Durable at both ends."""
    q, target = name("source"), name("target")
    ch.queue(target, durable=True)
    ch.queue(q, durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target})
    ch.call("confirm.select")
    for n in range(300):
        ch.publish("", q, b"%d" % n, delivery_mode=2)
    acked = 0
    while acked < 300:
        acked = ch.expect("basic.ack").delivery_tag
    ch.consume(q, tag="c")
    for _ in range(300):
        tag = ch.deliver().delivery_tag
    ch.send("basic.nack", delivery_tag=tag, multiple=True, requeue=False)
    assert [ch.get_soon(target).body for _ in range(300)] == [b"%d" % n for n in range(300)]
    assert ch.call("queue.delete", queue=q).message_count == 0
    ch.call("queue.delete", queue=target)


# --- length limits ---------------------------------------------------------------------------------------------------------------


def test_the_oldest_of_many(ch, dead):
    q = source(ch, key=dead, max_length=10)
    for n in range(5000):
        ch.publish("", q, b"%d" % n)
    assert [int(ch.get_soon(dead).body) for _ in range(4990)] == list(range(4990))
    assert [int(ch.get_soon(q).body) for _ in range(10)] == list(range(4990, 5000))


def test_a_circle_is_cut(ch, name):
    """A and B, full at once, are each other's dead-letter queue; a queue that is its own."""
    a, b, own = name("a"), name("b"), name("own")
    for q, target in ((a, b), (b, a), (own, own)):
        ch.queue(q, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target, "x-max-length": 0})
    for _ in range(100):
        for q in (a, b, own):
            ch.publish("", q, b"x")
    ch.sync()
    time.sleep(0.2)
    assert [ch.count(q)[0] for q in (a, b, own)] == [0, 0, 0]


def test_a_full_target_loses_it_at_most_once(ch, name):
    target = name("target")
    ch.queue(target, exclusive=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    q = source(ch, key=target)
    for n in range(10):
        die_rejected(ch, q, b"%d" % n)
    ch.sync()
    time.sleep(0.3)  # all have been refused, or there is room for one that was late
    assert [ch.get_soon(target).body for _ in range(3)] == [b"0", b"1", b"2"]
    assert ch.get(target) is None and ch.get(q) is None


# --- at least once -----------------------------------------------------------------------------------------------------------------


@pytest.mark.leveret_only("3.10 does it for quorum queues, and looks again after three minutes")
def test_at_least_once_waits_for_a_route(ch, name):
    exchange, q, target = name("x"), name("source"), name("target")
    ch.queue(q, durable=True, arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": exchange, "x-overflow": "reject-publish",
                                         "x-dead-letter-strategy": "at-least-once"})
    ch.queue(target, durable=True)
    for n in range(600):
        ch.publish("", q, b"%d" % n, delivery_mode=2)
    tags = [ch.get_soon(q, no_ack=False).delivery_tag for _ in range(600)]
    ch.send("basic.nack", delivery_tag=tags[-1], multiple=True, requeue=False)
    ch.sync()
    time.sleep(0.3)
    ch.call("exchange.declare", exchange=exchange, type="fanout")
    time.sleep(0.3)
    ch.call("queue.bind", queue=target, exchange=exchange)
    assert sorted(int(ch.get_soon(target).body) for _ in range(600)) == list(range(600))
    assert ch.get(target) is None
    for queue in (q, target):
        ch.call("queue.delete", queue=queue)
    ch.call("exchange.delete", exchange=exchange)


@pytest.mark.leveret_only("it looks again after three minutes")
def test_at_least_once_waits_for_room(ch, name):
    """Two targets, one of them full: the message goes to each once, and leaves its queue when both have it."""
    exchange, q, full, other = name("x"), name("source"), name("full"), name("other")
    ch.queue(q, durable=True, arguments={"x-queue-type": "quorum", "x-dead-letter-exchange": exchange, "x-overflow": "reject-publish",
                                         "x-dead-letter-strategy": "at-least-once"})
    ch.call("exchange.declare", exchange=exchange, type="fanout")
    ch.queue(full, durable=True, arguments={"x-max-length": 10, "x-overflow": "reject-publish"})
    ch.queue(other, durable=True)
    for queue in (full, other):
        ch.call("queue.bind", queue=queue, exchange=exchange)
    for n in range(60):
        die_rejected(ch, q, b"%d" % n, delivery_mode=2)
    assert [int(ch.get_soon(other).body) for _ in range(60)] == list(range(60))
    assert sorted(int(ch.get_soon(full).body) for _ in range(60)) == list(range(60))
    time.sleep(0.3)
    for queue in (q, full, other):
        assert ch.get(queue) is None
        ch.call("queue.delete", queue=queue)
    ch.call("exchange.delete", exchange=exchange)
