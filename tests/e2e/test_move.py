"""POST /api/queues/VHOST/NAME/move: messages leave a queue when another has taken them, and stay when nobody does."""

import pika
import pytest

from harness.http_api import HttpApi, quote

pytestmark = [pytest.mark.leveret_only("it is Leveret's own"), pytest.mark.needs_admin]


@pytest.fixture
def api(broker):
    return HttpApi(broker)


@pytest.fixture
def channel(pika_connect):
    channel = pika_connect().channel()
    channel.confirm_delivery()
    return channel


def fill(channel, queue, bodies, **properties):
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2, **properties))


def drain(channel, queue):
    """Every message of the queue: (exchange, key, properties, body)."""
    found = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return found
        found.append((method.exchange, method.routing_key, properties, body))


def move(api, queue, **body):
    return api.post(f"/queues/%2F/{quote(queue)}/move", body)


def test_all_of_them_in_order(api, channel, name):
    source, target = name("source"), name("target")
    for queue in (source, target):
        channel.queue_declare(queue, durable=True)
    bodies = [b"%d" % i for i in range(250)]  # several windows
    fill(channel, source, bodies, headers={"kept": "yes"}, message_id="m")
    answer = move(api, source, routing_key=target)
    assert (answer.status, answer.json) == (200, {"moved": 250}), answer
    assert drain(channel, source) == []
    found = drain(channel, target)
    assert [body for *_, body in found] == bodies
    assert {(x, key, p.message_id, p.headers["kept"], p.delivery_mode) for x, key, p, _ in found} == {("", target, "m", "yes", 2)}


def test_so_many_from_the_front(api, channel, name):
    source, target = name("source"), name("target")
    for queue in (source, target):
        channel.queue_declare(queue)
    fill(channel, source, [b"%d" % i for i in range(10)])
    assert move(api, source, routing_key=target, count=3).json == {"moved": 3}
    assert move(api, source, routing_key=target, count=0).json == {"moved": 0}
    assert [body for *_, body in drain(channel, target)] == [b"0", b"1", b"2"]
    assert [body for *_, body in drain(channel, source)] == [b"%d" % i for i in range(3, 10)]


def test_what_nobody_takes_stays_where_it_was(api, channel, name):
    source = name("source")
    channel.queue_declare(source)
    fill(channel, source, [b"a", b"b"])
    answer = move(api, source, routing_key=name("nowhere"))
    assert answer.status == 200 and answer.json["moved"] == 0 and "no queue" in answer.json["reason"]
    assert [body for *_, body in drain(channel, source)] == [b"a", b"b"]


def test_some_are_taken_some_returned(api, channel, name):
    """By headers: what matches goes, what does not stays, and nothing is lost or doubled."""
    source, target, exchange = name("source"), name("target"), name("exchange")
    for queue in (source, target):
        channel.queue_declare(queue)
    channel.exchange_declare(exchange, "headers")
    channel.queue_bind(target, exchange, "", {"colour": "red"})
    for i in range(6):
        fill(channel, source, [b"%d" % i], headers={"colour": "red" if i % 2 == 0 else "blue"})
    answer = move(api, source, exchange=exchange, routing_key="")
    assert answer.json["moved"] == 3 and "no queue" in answer.json["reason"]
    assert [body for *_, body in drain(channel, target)] == [b"0", b"2", b"4"]
    assert [body for *_, body in drain(channel, source)] == [b"1", b"3", b"5"]


def test_a_queue_that_refuses(api, channel, name):
    source, target = name("source"), name("target")
    channel.queue_declare(source)
    channel.queue_declare(target, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    fill(channel, source, [b"%d" % i for i in range(5)])
    answer = move(api, source, routing_key=target)
    assert "refuses" in answer.json["reason"]
    moved = answer.json["moved"]
    assert [body for *_, body in drain(channel, target)] == [b"%d" % i for i in range(moved)]
    assert [body for *_, body in drain(channel, source)] == [b"%d" % i for i in range(moved, 5)]
    assert moved == 2


def test_to_itself_ends(api, channel, name):
    queue = name()
    channel.queue_declare(queue)
    fill(channel, queue, [b"a", b"b", b"c"])
    assert move(api, queue, routing_key=queue, count=3).json == {"moved": 3}
    assert [body for *_, body in drain(channel, queue)] == [b"a", b"b", b"c"]


def test_permissions_are_those_of_amqp(broker, api, channel, name):
    source, target, user = name("source"), name("target"), name("user")
    for queue in (source, target):
        channel.queue_declare(queue)
    fill(channel, source, [b"a"])
    assert api.put(f"/users/{user}", {"password": "p", "tags": "management"}).status == 201
    asker = HttpApi(broker, user, "p")
    for read, write, status in (("^$", ".*", 401), (".*", "^$", 401), (".*", ".*", 200)):
        assert api.put(f"/permissions/%2F/{user}", {"configure": "", "write": write, "read": read}).status in (201, 204)
        assert move(asker, source, routing_key=target, exchange="amq.default").status == status, (read, write)
    assert api.delete(f"/users/{user}").status == 204
    assert [body for *_, body in drain(channel, target)] == [b"a"]


def test_what_is_wrong_with_a_request(api, channel, name):
    queue = name()
    channel.queue_declare(queue)
    assert move(api, queue).status == 400
    assert move(api, queue, routing_key=1).status == 400
    assert move(api, queue, routing_key="k", count="many").status == 400
    assert move(api, queue, routing_key="k", count=-1).status == 400
    assert move(api, queue, routing_key="k" * 256).status == 400
    assert move(api, queue, routing_key="k", exchange=name("nosuch")).json == {"moved": 0}  # it is empty
    fill(channel, queue, [b"a"])
    assert move(api, queue, routing_key="k", exchange=name("nosuch")).status == 404
    assert move(api, name("nosuch"), routing_key="k").status == 404
