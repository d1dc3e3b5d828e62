"""basic.publish, basic.return and publisher confirms: AMQP 0-9-1 §1.8.3, §4.2.6, and RabbitMQ's confirm extension."""

import random

import pytest
import wire


class Confirms:
    """Follows the acks and nacks of a confirm channel: `open` are the numbers still without an answer."""

    def __init__(self, ch):
        self.ch, self.next_number, self.open, self.nacked = ch, 1, set(), set()
        ch.call("confirm.select")

    def publish(self, exchange, key, body=b"x", **props):
        self.ch.publish(exchange, key, body, **props)
        self.open.add(self.next_number)
        self.next_number += 1
        return self.next_number - 1

    def take(self, method):
        """Applies a basic.ack or basic.nack; returns False for anything else."""
        if method.name not in ("basic.ack", "basic.nack"):
            return False
        numbers = {n for n in self.open if n <= method.delivery_tag} if method.multiple else {method.delivery_tag}
        assert method.multiple or numbers <= self.open, f"confirmed twice, or never published: {method}"
        assert 0 < method.delivery_tag < self.next_number, method
        self.open -= numbers
        if method.name == "basic.nack":
            self.nacked |= numbers
        return True

    def wait(self):
        others = []
        while self.open:
            method = self.ch.next()
            if not self.take(method):
                others.append(method)
        return others


# --- content --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 256, 4096, 65535, 65536, 131063, 131064, 131065, 262128, 262129, 1 << 20])
def test_bodies_come_back_as_they_were(ch, size):
    q = ch.queue("", exclusive=True)
    body = random.Random(size).randbytes(size)
    ch.publish("", q, body)
    assert ch.get(q).body == body


def test_bodies_may_be_cut_into_frames_of_any_size(ch, conn):
    q = ch.queue("", exclusive=True)
    body = bytes(range(256)) * 20
    for step in (1, 7, 1000, 5119, 5120):
        conn.send_frame(1, 1, wire.encode_method("basic.publish", routing_key=q))
        conn.send_frame(2, 1, wire.encode_header(len(body), {}))
        conn.send_bytes(b"".join(wire.frame(3, 1, body[at:at + step]) for at in range(0, len(body), step)))
        assert ch.get(q).body == body


def test_every_property_comes_back(ch):
    q = ch.queue("", exclusive=True)
    props = {"content_type": "text/plain", "content_encoding": "gzip", "delivery_mode": 2, "priority": 255,
             "correlation_id": "c" * 255, "reply_to": "somewhere", "expiration": "60000", "message_id": "", "timestamp": 2**62,
             "type": "tüpe", "user_id": "guest", "app_id": "app", "cluster_id": "cluster",
             "headers": {"t": True, "f": False, "b": wire.T("b", -128), "B": wire.T("B", 255), "s": wire.T("s", -32768),
                         "u": wire.T("u", 65535), "I": -2**31, "i": wire.T("i", 2**32 - 1), "l": -2**63,
                         "F": {"inner": {"x": 1}}, "fl": wire.T("f", 0.5), "d": 1e300, "D": wire.T("D", (3, -31415)),
                         "S": "x" * 300, "A": [1, "two", [3], {"four": 4}, None], "T": wire.T("T", 1), "V": None,
                         "x": b"\0\1\2\xff", "": "empty key", "k" * 128: "long key"}}
    ch.publish("", q, b"body", **props)
    got = ch.get(q)
    assert got.props == props
    for bit in range(len(wire.PROPERTIES)):
        one = {wire.PROPERTIES[bit][0]: props[wire.PROPERTIES[bit][0]]}
        ch.publish("", q, b"", **one)
        assert ch.get(q).props == one


@pytest.mark.parametrize("shape", ["tables", "arrays", "mixed"])
@pytest.mark.parametrize("depth", [1, 10, 60])
def test_nested_headers(ch, shape, depth):
    q = ch.queue("", exclusive=True)
    value = 1
    for level in range(depth):
        value = [value] if shape == "arrays" or (shape == "mixed" and level % 2) else {"k": value}
    ch.publish("", q, b"", headers={"nested": value})
    assert ch.get(q).props == {"headers": {"nested": value}}


def test_endless_nesting_does_no_harm(broker):
    """20,000 tables inside each other: refused or carried, but the broker goes on (the fixture looks)."""
    conn = wire.Conn.open(broker)
    ch = conn.channel(1)
    q = ch.queue("", exclusive=True)
    table = b"\0\0\0\0"
    for _ in range(12000):
        table = b"\x01kF" + table
        table = len(table).to_bytes(4, "big") + table
        if len(table) > 120000:
            break
    conn.send_frame(1, 1, wire.encode_method("basic.publish", routing_key=q))
    conn.send_frame(2, 1, wire.encode_header(0, {"headers": table}))
    conn.send_frame(1, 1, wire.encode_method("queue.declare", queue="", exclusive=True, arguments=table))
    try:
        ch.next()
    except (wire.Closed, wire.SocketClosed):
        pass
    conn.abort()


def test_a_table_of_many_fields(ch, conn):
    """As many fields as a content header can hold; and as queue arguments."""
    q = ch.queue("", exclusive=True)
    headers = {f"k{i}": i for i in range(9000)}
    ch.publish("", q, b"", headers=headers)
    assert ch.get(q).props["headers"] == headers
    ch.call("queue.declare", queue="", exclusive=True, arguments={f"x-{i}": True for i in range(1000)})


@pytest.mark.parametrize("headers", [b"\0\0\0\x05\x01kI\0\0", b"\0\0\0\x04\x01kZ\0", b"\xff\xff\xff\xff", b"\0\0\0\x06\x01kS\xff\xff\xff",
                                     b"\0\0\0\x07\x01kA\0\0\0\xff", b"\0\0\0\x02\x05k"])
def test_malformed_headers_do_no_harm(broker, headers):
    """RabbitMQ looks into headers only where it must; checking them at once is as good."""
    conn = wire.Conn.open(broker)
    ch = conn.channel(1)
    q = ch.queue("", exclusive=True)
    ch.call("queue.bind", queue=q, exchange="amq.headers", arguments={"k": 1})
    conn.send_frame(1, 1, wire.encode_method("basic.publish", exchange="amq.headers"))
    conn.send_frame(2, 1, wire.encode_header(0, {"headers": headers}))
    try:
        ch.sync()
    except (wire.Closed, wire.SocketClosed):
        pass
    conn.abort()


# --- return ---------------------------------------------------------------------------------------------------------------


def test_a_returned_message_is_whole(ch):
    body = b"r" * 200000
    ch.publish("amq.direct", "nowhere", body, mandatory=True, correlation_id="7", headers={"a": 1})
    returned = ch.expect("basic.return")
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert (returned.exchange, returned.routing_key) == ("amq.direct", "nowhere")
    assert (returned.body, returned.props) == (body, {"correlation_id": "7", "headers": {"a": 1}})


def test_a_routed_mandatory_message_is_not_returned(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"x", mandatory=True)
    assert ch.get(q).body == b"x"
    ch.expect_silence(0.1)


def test_returns_come_in_order_and_before_their_confirms(ch):
    confirms = Confirms(ch)
    q = ch.queue("", exclusive=True)
    expected = []
    for i in range(100):
        body = b"%d" % i
        if i % 3:
            confirms.publish("", q, body, mandatory=True)
        else:
            expected.append((confirms.publish("", "nowhere", body, mandatory=True), body))
    returned = []
    while confirms.open:
        method = ch.next()
        if method.name == "basic.return":
            assert expected[len(returned)][0] in confirms.open, "its confirm came first"
            returned.append(method.body)
        else:
            assert confirms.take(method), method
    assert returned == [body for _, body in expected]
    assert not confirms.nacked


# --- confirms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable,mode", [(False, 1), (True, 2), (True, 1), (False, 2)])
def test_every_publish_is_confirmed_once(ch, name, durable, mode):
    q = ch.queue(name(), durable=durable)
    confirms = Confirms(ch)
    for i in range(500):
        confirms.publish("", q, b"%d" % i, delivery_mode=mode)
    confirms.wait()
    assert not confirms.nacked
    ch.expect_silence(0.1)
    assert ch.call("queue.delete", queue=q).message_count == 500


def test_unroutable_is_confirmed(ch):
    confirms = Confirms(ch)
    confirms.publish("amq.direct", "nowhere")
    confirms.publish("", "nowhere")
    confirms.wait()
    assert not confirms.nacked


def test_fan_out_is_confirmed_once(ch, conn, name):
    x = name("x")
    ch.call("exchange.declare", exchange=x, type="fanout", auto_delete=True)
    queues = [conn.channel(2 + i).queue("", exclusive=True) for i in range(20)]
    for q in queues:
        ch.call("queue.bind", queue=q, exchange=x)
    confirms = Confirms(ch)
    for _ in range(50):
        confirms.publish(x, "")
    confirms.wait()
    ch.expect_silence(0.1)
    assert [ch.count(q)[0] for q in queues] == [50] * 20


def test_confirm_numbers_start_at_select(ch):
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"before")
    confirms = Confirms(ch)
    confirms.publish("", q)
    confirms.wait()


def test_a_publish_before_a_queue_is_deleted_is_confirmed(ch, name):
    confirms = Confirms(ch)
    for _ in range(20):
        q = ch.queue(name())
        for _ in range(20):
            confirms.publish("", q)
        ch.send("queue.delete", queue=q, nowait=True)
    confirms.wait()


def test_confirms_of_two_channels_are_apart(conn):
    one, two = conn.channel(1), conn.channel(2)
    a, b = Confirms(one), Confirms(two)
    for i in range(30):
        a.publish("amq.direct", "nowhere")
        if i % 3 == 0:
            b.publish("amq.direct", "nowhere")
    a.wait()
    b.wait()
    one.expect_silence(0.1)
    two.expect_silence(0.1)


def test_deliveries_and_confirms_on_one_channel(ch):
    q = ch.queue("", exclusive=True)
    ch.consume(q, no_ack=True)
    confirms = Confirms(ch)
    for i in range(200):
        confirms.publish("", q, b"%d" % i)
    bodies = [m.body for m in confirms.wait()]
    while len(bodies) < 200:
        bodies.append(ch.deliver().body)
    assert bodies == [b"%d" % i for i in range(200)]


def test_messages_of_a_channel_arrive_in_order(ch, name):
    """§4.7: content of a channel through one exchange and one queue keeps its order."""
    x = name("x")
    ch.call("exchange.declare", exchange=x, type="topic", auto_delete=True)
    q, p = ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    for queue in (q, p):
        ch.call("queue.bind", queue=queue, exchange=x, routing_key="#")
    for i in range(1000):
        ch.publish(x, f"k.{i % 7}", b"%d" % i)
    for queue in (q, p):
        ch.consume(queue, queue, no_ack=True)
    got = {q: [], p: []}
    for _ in range(2000):
        delivery = ch.deliver()
        got[delivery.consumer_tag].append(int(delivery.body))
    assert got[q] == got[p] == list(range(1000))


# --- CC and BCC -----------------------------------------------------------------------------------------------------------


def test_cc_and_bcc_add_routing_keys(ch):
    a, b, c = (ch.queue("", exclusive=True) for _ in range(3))
    ch.publish("", a, b"x", headers={"CC": [b], "BCC": [c], "other": 1})
    for q in (a, b, c):
        got = ch.get(q)
        assert (got.body, got.routing_key) == (b"x", a)
        assert got.props["headers"] == {"CC": [b], "other": 1}


def test_cc_alone_routes(ch):
    a = ch.queue("", exclusive=True)
    ch.publish("", "nowhere", b"x", mandatory=True, headers={"CC": ["nowhere else", a]})
    assert ch.get(a).routing_key == "nowhere"
    ch.expect_silence(0.1)


def test_cc_of_the_same_queue_is_one_copy(ch):
    a = ch.queue("", exclusive=True)
    ch.publish("", a, b"x", headers={"CC": [a, a], "BCC": [a]})
    assert ch.get(a).body == b"x"
    assert ch.get(a) is None


def test_cc_works_with_other_exchanges(ch, name):
    x, a, b = name("x"), ch.queue("", exclusive=True), ch.queue("", exclusive=True)
    ch.call("exchange.declare", exchange=x, type="topic", auto_delete=True)
    ch.call("queue.bind", queue=a, exchange=x, routing_key="a.*")
    ch.call("queue.bind", queue=b, exchange=x, routing_key="b.*")
    ch.publish(x, "a.1", b"x", headers={"BCC": ["b.1"]})
    assert ch.get(a).props == {"headers": {}}
    assert ch.get(b).routing_key == "a.1"


def test_an_empty_cc_is_fine(ch):
    a = ch.queue("", exclusive=True)
    ch.publish("", a, b"x", headers={"CC": []})
    assert ch.get(a).props == {"headers": {"CC": []}}


# --- user-id --------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_admin
def test_an_impersonator_may_set_any_user_id(broker, connect):
    broker.add_user("twoface", "twoface", "/")
    broker.ctl("set_user_tags", "twoface", "impersonator")
    ch = connect(user="twoface", password="twoface").channel(1)
    q = ch.queue("", exclusive=True)
    ch.publish("", q, b"x", user_id="guest")
    assert ch.get(q).props == {"user_id": "guest"}
    broker.ctl("delete_user", "twoface")
