"""Direct reply-to: the pseudo-queue amq.rabbitmq.reply-to."""

import pytest
import wire

PSEUDO = "amq.rabbitmq.reply-to"


def request(ch, queue, body=b"question", **props):
    """Publishes a request."""
    ch.publish("", queue, body, reply_to=PSEUDO, **props)
    ch.sync()


@pytest.fixture
def server(connect):
    """A channel on another connection, and its request queue."""
    ch = connect().channel(1)
    return ch, ch.queue("", exclusive=False, auto_delete=True)


def test_request_and_reply(ch, server):
    server_ch, queue = server
    tag = ch.consume(PSEUDO, no_ack=True)
    for i in range(10):
        request(ch, queue, b"q%d" % i, correlation_id=str(i))
        question = server_ch.get_soon(queue)
        address = question.props["reply_to"]
        assert address.startswith(PSEUDO + ".") and len(address) <= 255
        server_ch.publish("", address, b"a%d" % i, correlation_id=question.props["correlation_id"])
        answer = ch.deliver()
        assert (answer.consumer_tag, answer.body, answer.props) == (tag, b"a%d" % i, {"correlation_id": str(i)})
        assert (answer.exchange, answer.routing_key, answer.redelivered) == ("", address, False)


def test_the_address_stays_the_same_for_a_channel_and_differs_between_channels(conn, server):
    server_ch, queue = server
    addresses = []
    for number in (1, 2):
        ch = conn.channel(number)
        ch.consume(PSEUDO, no_ack=True)
        for _ in range(2):
            request(ch, queue)
            addresses.append(server_ch.get_soon(queue).props["reply_to"])
    assert addresses[0] == addresses[1] != addresses[2] == addresses[3]


def test_consume_must_not_want_acks(ch):
    with pytest.raises(wire.Closed) as e:
        ch.consume(PSEUDO)
    assert (e.value.scope, e.value.code, e.value.ids) == ("channel", 406, (60, 20))
    assert e.value.text == "PRECONDITION_FAILED - reply consumer cannot acknowledge"


def test_only_one_reply_consumer_a_channel(ch):
    ch.consume(PSEUDO, no_ack=True)
    with pytest.raises(wire.Closed) as e:
        ch.consume(PSEUDO, no_ack=True)
    assert (e.value.scope, e.value.code, e.value.ids) == ("channel", 406, (60, 20))
    assert e.value.text == "PRECONDITION_FAILED - reply consumer already set"


def test_publish_without_a_reply_consumer(ch, server):
    with pytest.raises(wire.Closed) as e:
        request(ch, server[1])
    assert (e.value.scope, e.value.code, e.value.ids) == ("channel", 406, (60, 40))
    assert e.value.text == "PRECONDITION_FAILED - fast reply consumer does not exist"


def test_cancel_ends_it(ch, server):
    tag = ch.consume(PSEUDO, no_ack=True)
    ch.call("basic.cancel", consumer_tag=tag)
    with pytest.raises(wire.Closed) as e:
        request(ch, server[1])
    assert e.value.code == 406


def test_the_responder_can_ask_whether_the_requester_lives(connect, server):
    server_ch, queue = server
    requester = connect()
    ch = requester.channel(1)
    ch.consume(PSEUDO, no_ack=True)
    request(ch, queue)
    address = server_ch.get_soon(queue).props["reply_to"]
    ok = server_ch.call("queue.declare", queue=address, passive=True)
    assert (ok.queue, ok.message_count, ok.consumer_count) == (address, 0, 1)
    requester.close()
    with pytest.raises(wire.Closed) as e:
        for _ in range(100):
            server_ch.call("queue.declare", queue=address, passive=True)
    assert (e.value.code, e.value.ids) == (404, (50, 10))
    assert e.value.text == f"NOT_FOUND - no queue '{address}' in vhost '/'"


def test_declaring_the_pseudo_queue_itself(ch):
    ok = ch.call("queue.declare", queue=PSEUDO, passive=True)
    assert (ok.queue, ok.message_count, ok.consumer_count) == (PSEUDO, 0, 1)


def test_a_reply_to_nobody_is_dropped_or_returned(conn, ch, server):
    server_ch, queue = server
    ch.consume(PSEUDO, no_ack=True)
    request(ch, queue)
    address = server_ch.get_soon(queue).props["reply_to"]
    ch.close()
    server_ch.publish("", address, b"dropped")
    server_ch.sync()
    server_ch.publish("", address + "x", b"no such address", mandatory=True)
    assert server_ch.expect("basic.return").reply_code == 312


@pytest.mark.parametrize("address", [PSEUDO + ".", PSEUDO + ".x", PSEUDO + ".!!!", PSEUDO + "." + "A" * 100, PSEUDO + ".g2dkAAE="])
def test_forged_addresses_do_no_harm(ch, address):
    ch.publish("", address, b"forged")
    ch.sync()


def test_a_mandatory_reply_arrives_and_is_confirmed(ch, server):
    """RabbitMQ 3.10 sends it back as well (4.2 no longer does): clients have to live with both."""
    server_ch, queue = server
    ch.consume(PSEUDO, no_ack=True)
    request(ch, queue)
    address = server_ch.get_soon(queue).props["reply_to"]
    server_ch.call("confirm.select")
    server_ch.publish("", address, b"answer", mandatory=True)
    answer = server_ch.next()
    if answer.name == "basic.return":
        answer = server_ch.next()
    assert answer.name == "basic.ack"
    assert ch.deliver().body == b"answer"


def test_get_from_the_pseudo_queue(ch):
    with pytest.raises(wire.Closed) as e:
        ch.get(PSEUDO)
    assert e.value.code in (404, 405, 406)
