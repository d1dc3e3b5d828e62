"""The thinnest path: log in, declare, publish, get, consume. Nothing else is worth looking at while this fails."""


def test_handshake_offers_what_clients_switch_on(conn):
    properties = conn.start.server_properties
    assert (conn.start.version_major, conn.start.version_minor) == (0, 9)
    assert conn.start.mechanisms.split() == [b"PLAIN", b"AMQPLAIN"]
    assert conn.start.locales == b"en_US"
    assert (properties["product"], properties["version"]) == ("RabbitMQ", "3.10.8")
    assert properties["capabilities"] == {
        "publisher_confirms": True, "exchange_exchange_bindings": True, "basic.nack": True, "consumer_cancel_notify": True,
        "connection.blocked": True, "consumer_priorities": True, "authentication_failure_close": True,
        "per_consumer_qos": True, "direct_reply_to": True}
    assert (conn.tune.channel_max, conn.tune.frame_max, conn.tune.heartbeat) == (2047, 131072, 60)


def test_a_message_goes_through_a_queue(ch, name):
    q = ch.queue(name(), exclusive=True)
    ch.publish("", q, b"hello", delivery_mode=1)
    got = ch.get(q)
    assert (got.body, got.props, got.redelivered, got.message_count) == (b"hello", {"delivery_mode": 1}, False, 0)
    assert (got.exchange, got.routing_key, got.delivery_tag) == ("", q, 1)
    assert ch.get(q) is None


def test_a_message_is_pushed_to_a_consumer(ch, name):
    q = ch.queue(name(), exclusive=True)
    tag = ch.consume(q, no_ack=True)
    ch.publish("", q, b"pushed")
    delivery = ch.deliver()
    assert (delivery.consumer_tag, delivery.body, delivery.delivery_tag) == (tag, b"pushed", 1)
