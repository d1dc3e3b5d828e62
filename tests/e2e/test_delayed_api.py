"""Messages that wait at a delayed exchange are listed and cancelled: over HTTP with the user's permissions, and by leveretctl; also after a restart."""

import json
import subprocess
import time

import pytest
import wire
from harness.http_api import HttpApi, quote

pytestmark = pytest.mark.leveret_only("Debian's RabbitMQ has no delayed-message plugin, and that lists nothing")

HOUR = 3600_000


def declare(ch, exchange, queue):
    ch.call("exchange.declare", exchange=exchange, type="x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
    ch.call("queue.declare", queue=queue, durable=True)
    ch.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    ch.call("confirm.select")


def publish(ch, exchange, delays, key="k", body=b"x", **props):
    """With confirms."""
    ch.confirmed = getattr(ch, "confirmed", 0) + len(delays)
    for i, delay in enumerate(delays):
        ch.publish(exchange, key, body + b"%d" % i, headers={"x-delay": delay, "n": i}, **{"delivery_mode": 2, **props})
    tag = 0
    while tag < ch.confirmed:
        ack = ch.expect("basic.ack")
        tag = max(tag, ack.delivery_tag)


def path(exchange, vhost="/", more=""):
    return f"/exchanges/{quote(vhost)}/{quote(exchange)}/delayed{more}"


def listed(api, exchange, **query):
    more = "?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else ""
    return api.get(path(exchange, more=more))


@pytest.fixture
def api(broker):
    return HttpApi(broker)


@pytest.fixture
def ch(broker):
    with wire.Conn.open(broker) as conn:
        yield conn.channel(1)


@pytest.fixture
def made(ch, name):
    """(exchange, queue)."""
    exchange, queue = name("x"), name("q")
    declare(ch, exchange, queue)
    yield exchange, queue
    cleaner = ch.conn.channel(99)
    cleaner.call("exchange.delete", exchange=exchange)
    cleaner.call("queue.delete", queue=queue)


def test_what_a_list_says(api, ch, made):
    exchange, _ = made
    empty = listed(api, exchange)
    assert empty == {"items": [], "filtered_count": 0, "item_count": 0, "page": 1, "page_count": 0, "page_size": 100, "total_count": 0}
    before = time.time() * 1000
    publish(ch, exchange, [HOUR, 2 * HOUR], message_id="m", content_type="text/plain")
    got = listed(api, exchange)
    assert (got["total_count"], got["item_count"]) == (2, 2)
    for n, (item, delay) in enumerate(zip(got["items"], (HOUR, 2 * HOUR))):
        assert before + delay - 1000 <= item.pop("due") <= time.time() * 1000 + delay + 1000
        assert item.pop("id") > 0
        assert item == {"state": "waiting", "payload_bytes": 2, "exchange": exchange, "routing_key": "k",
                        "properties": {"delivery_mode": 2, "message_id": "m", "content_type": "text/plain", "headers": {"x-delay": delay, "n": n}}}


def test_pages(api, ch, made):
    exchange, _ = made
    publish(ch, exchange, [HOUR - i for i in range(1234)])
    seen = []
    for page in range(1, 14):
        got = listed(api, exchange, page=page, page_size=100)
        assert (got["page"], got["page_count"], got["total_count"], got["item_count"]) == (page, 13, 1234, 100 if page < 13 else 34)
        seen += [m["properties"]["headers"]["n"] for m in got["items"]]
    assert seen == list(range(1234)), "in the order of their publishes"
    assert listed(api, exchange, page=14, page_size=100)["items"] == []
    for query in ("page=0", "page=x", "page_size=0", "page_size=501", "page=-1", "page=99999999999999999999"):
        assert api.ask("GET", path(exchange, more="?" + query)).status == 400, query


@pytest.mark.parametrize("mode", [1, 2])
def test_a_cancelled_message_never_comes(api, ch, made, mode):
    exchange, queue = made
    publish(ch, exchange, [HOUR] * 5 + [1500], delivery_mode=mode)
    items = listed(api, exchange)["items"]
    for item in (items[1], items[5], items[4]):
        assert api.delete(path(exchange, more=f"/{item['id']}")).status == 204
    left = [items[0]["id"], items[2]["id"], items[3]["id"]]
    assert [m["id"] for m in listed(api, exchange)["items"]] == left
    again = api.delete(path(exchange, more=f"/{items[1]['id']}"))
    assert again.status == 404 and f"no delayed message {items[1]['id']} at exchange '{exchange}'" in again.json["reason"]
    assert api.delete(path(exchange, more="/abc")).status == 404
    assert api.delete(path(exchange, more=f"/{2**64}")).status == 404
    publish(ch, exchange, [1600], body=b"last")  # due behind the cancelled one
    assert ch.get_soon(queue).body == b"last0"
    assert ch.get(queue) is None


def test_no_such_things(api, ch, made, name):
    exchange, _ = made
    assert api.ask("GET", path(name("nosuch"))).status == 404
    assert api.ask("GET", path(exchange, vhost="nosuch")).status == 404
    assert api.delete(path(exchange, more="/1")).status == 404
    assert listed(api, "amq.direct")["total_count"] == 0, "it delays nothing"
    assert api.delete(path("amq.direct", more="/1")).status == 404
    assert api.ask("POST", path(exchange)).status == 405


def test_permissions(broker, ch, made):
    exchange, _ = made
    publish(ch, exchange, [HOUR])
    user = HttpApi(broker, "delayer", "delayer")
    broker.add_user("delayer", "delayer")
    try:
        assert user.ask("GET", path(exchange)).status == 401  # no tag
        broker.ctl("set_user_tags", "delayer", "management")
        assert user.ask("GET", path(exchange)).status == 401  # not in this vhost
        broker.ctl("set_permissions", "delayer", "", "", "^other$")
        assert user.ask("GET", path(exchange)).status == 401
        broker.ctl("set_permissions", "delayer", "", "", f"^{exchange}$")
        number = listed(user, exchange)["items"][0]["id"]
        assert user.delete(path(exchange, more=f"/{number}")).status == 401  # no write permission
        broker.ctl("set_permissions", "delayer", "", f"^{exchange}$", "")
        assert user.ask("GET", path(exchange)).status == 401
        assert user.delete(path(exchange, more=f"/{number}")).status == 204
    finally:
        broker.ctl("delete_user", "delayer")


def test_leveretctl(broker, ch, made):
    exchange, _ = made
    publish(ch, exchange, [HOUR] * 3)
    text = broker.ctl("list_delayed_messages", exchange)
    assert text.startswith(f'Listing delayed messages of exchange "{exchange}" in vhost "/", page 1 ...\nid\tdue\tstate\trouting_key\tpayload_bytes\n')
    rows = [line.split("\t") for line in text.strip().split("\n")[2:]]
    assert [(row[2], row[3], row[4]) for row in rows] == [("waiting", "k", "2")] * 3
    broker.ctl("cancel_delayed_message", exchange, rows[1][0])
    left = json.loads(broker.ctl("list_delayed_messages", exchange, "--formatter", "json"))
    assert [str(m["id"]) for m in left] == [rows[0][0], rows[2][0]]
    assert broker.ctl("list_delayed_messages", "-q", "-s", exchange, "2").strip() == ""
    prefix, env = broker.ctl_command()
    for arguments, text in ((["cancel_delayed_message", exchange, rows[1][0]], "no delayed message"), (["list_delayed_messages", "nosuch"], "no exchange"),
                            (["list_delayed_messages", exchange, "x"], "is not a number")):
        done = subprocess.run([*prefix, *arguments], env=env, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and text in done.stderr, done


def test_delayed_in_a_transaction(api, ch, made, broker):
    """What a transaction lets in late lies elsewhere in memory."""
    exchange, queue = made
    with wire.Conn.open(broker) as conn:
        tx = conn.channel(1)
        tx.call("tx.select")
        for i in range(5):
            tx.publish(exchange, "k", b"tx%d" % i, headers={"x-delay": HOUR, "n": i}, delivery_mode=2)
        publish(ch, exchange, [HOUR] * 3)
        tx.call("tx.commit")
    items = listed(api, exchange)["items"]
    assert sorted(m["properties"]["headers"]["n"] for m in items) == [0, 0, 1, 1, 2, 2, 3, 4]
    for item in items[::2]:
        assert api.delete(path(exchange, more=f"/{item['id']}")).status == 204
    assert [m["id"] for m in listed(api, exchange)["items"]] == [m["id"] for m in items[1::2]]


@pytest.mark.needs_restart
@pytest.mark.parametrize("how", ["orderly", "crash"])
def test_after_a_restart(start_broker, how):
    """What waited is listed again, with bodies that are on disk alone; what was cancelled stays away."""
    broker = start_broker({"workers": 2})
    ch = wire.Conn.open(broker).channel(1)
    declare(ch, "x", "q")
    publish(ch, "x", [HOUR + i for i in range(700)] + [20_000], body=b"b" * 3000)
    api = HttpApi(broker)
    items = listed(api, "x", page=1, page_size=500)["items"]
    gone = [item["id"] for item in items[100:120]]
    last = listed(api, "x", page=2, page_size=500)["items"][-1]
    for number in (*gone, last["id"]):
        assert api.delete(path("x", more=f"/{number}")).status == 204
    publish(ch, "x", [HOUR])  # a confirm behind the cancellations: they are on disk too
    ch.conn.abort()
    if how == "crash":
        broker.kill()
        broker.start()
    else:
        broker.restart()
    pages = [listed(api, "x", page=page, page_size=300) for page in (1, 2, 3)]
    after = [item for page in pages for item in page["items"]]
    assert len(after) == 700 + 1 + 1 - len(gone) - 1 == pages[0]["total_count"]
    numbers = [item["id"] for item in after]
    assert numbers == sorted(numbers) and not set(numbers) & {*gone, last["id"]}
    by_number = {item["id"]: item for item in items}
    for item in after[:300]:
        assert item == by_number[item["id"]], "as it was, its time too"
    for item in after[::2]:
        assert api.delete(path("x", more=f"/{item['id']}")).status == 204
    assert listed(api, "x")["total_count"] == len(after) // 2
    ch = wire.Conn.open(broker).channel(1)
    assert ch.count("q")[0] == 0
    ch.call("exchange.delete", exchange="x")
