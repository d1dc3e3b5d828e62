"""Rates and histories in the HTTP API: of channels, connections, exchanges, vhosts, and what comes and goes."""

import time

import pytest

from harness.http_api import HttpApi, quote

RANGES = "?msg_rates_age=60&msg_rates_incr=5&data_rates_age=60&data_rates_incr=5&lengths_age=60&lengths_incr=5"


@pytest.fixture
def node(configured):
    return configured("collect_statistics_interval = 1000\n")


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.2)


def publish_until(channel, exchange, condition):
    """Publishes all the while, so that there is a rate."""
    def again():
        for _ in range(50):
            channel.basic_publish(exchange, "key", b"x" * 100)
        channel.connection.process_data_events(0)
        return condition()
    return wait_for(again)


def check_samples(details, count=13):
    times = [s["timestamp"] for s in details["samples"]]
    assert len(times) == count and times == sorted(times, reverse=True) and all(t % 5000 == 0 for t in times)
    values = [s["sample"] for s in details["samples"]]
    assert values == sorted(values, reverse=True)  # of what only grows
    assert details["avg"] == pytest.approx(sum(values) / count, abs=0.001) and details["rate"] >= 0
    assert details["avg_rate"] == pytest.approx((values[0] - values[-1]) * 1000 / (times[0] - times[-1]), abs=0.001)
    return values


def test_channels_and_connections(node, pika_connect):
    api = HttpApi(node)
    channel = pika_connect(node).channel()
    name = wait_for(lambda: [c["name"] for c in api.get("/channels")])[0]
    one, connection = "/channels/" + quote(name), "/connections/" + quote(name.rsplit(" ", 1)[0])
    assert "samples" not in api.get(one)["message_stats"]["publish_details"]
    found = publish_until(channel, "amq.fanout", lambda: next(
        (c for c in [api.get(one + RANGES)] if c["message_stats"]["publish_details"]["samples"][0]["sample"] > 0), None))
    assert found["message_stats"]["publish_details"]["samples"][0]["sample"] <= found["message_stats"]["publish"]
    for key in ("publish", "confirm", "ack", "deliver_get", "drop_unroutable"):
        check_samples(found["message_stats"][key + "_details"])
    assert check_samples(found["message_stats"]["ack_details"])[0] == 0
    publish_until(channel, "amq.fanout", lambda: api.get(one)["message_stats"]["publish_details"]["rate"] > 0)
    found = publish_until(channel, "amq.fanout", lambda: next(
        (c for c in [api.get(connection + RANGES)] if c["recv_oct_details"]["samples"][0]["sample"] > 0), None))
    check_samples(found["recv_oct_details"])
    check_samples(found["send_oct_details"])
    assert found["recv_oct"] >= found["recv_oct_details"]["samples"][0]["sample"]
    publish_until(channel, "amq.fanout", lambda: api.get(connection)["recv_oct_details"]["rate"] > 0)
    assert "samples" not in api.get("/connections" + RANGES)[0]["recv_oct_details"]  # lists have rates


def test_exchanges(node, pika_connect):
    api = HttpApi(node)
    channel = pika_connect(node).channel()
    channel.queue_declare("history")
    channel.queue_bind("history", "amq.fanout")
    assert "message_stats" not in api.get("/exchanges/%2F/amq.fanout")
    publish_until(channel, "amq.fanout", lambda: api.get("/exchanges/%2F/amq.fanout").get("message_stats"))
    found = publish_until(channel, "amq.fanout", lambda: next((x for x in [api.get("/exchanges/%2F/amq.fanout" + RANGES)] if
                          x["message_stats"]["publish_in_details"]["samples"][0]["sample"] > 0), None))
    assert check_samples(found["message_stats"]["publish_in_details"]) == check_samples(found["message_stats"]["publish_out_details"])
    assert found["message_stats"]["publish_in"] == found["message_stats"]["publish_out"]
    all_of = {x["name"]: x for x in api.get("/exchanges/%2F")}
    assert [n for n, x in all_of.items() if "message_stats" in x] == ["amq.fanout"]
    publish_until(channel, "amq.fanout", lambda: {x["name"]: x for x in api.get("/exchanges")}["amq.fanout"]["message_stats"]
                  ["publish_in_details"]["rate"] > 0)
    # What is published over HTTP counts as well.
    before = api.get("/exchanges/%2F/amq.fanout")["message_stats"]["publish_in"]
    message = {"properties": {}, "routing_key": "", "payload": "x", "payload_encoding": "string"}
    assert api.post("/exchanges/%2F/amq.fanout/publish", message).json == {"routed": True}
    wait_for(lambda: api.get("/exchanges/%2F/amq.fanout")["message_stats"]["publish_in"] == before + 1)
    assert api.ask("GET", "/exchanges/%2F/nowhere").status == 404


def test_vhosts_have_bytes_and_the_node_churn(node, pika_connect):
    api = HttpApi(node)
    connection = pika_connect(node)
    channel = connection.channel()
    for i in range(3):
        channel.queue_declare(f"churn{i}")
    channel.queue_declare("churn0")
    channel.queue_delete("churn2")
    before = wait_for(lambda: next((v for v in [api.get("/vhosts/%2F")] if v["recv_oct"] > 0 < v["send_oct"]), None))
    publish_until(channel, "amq.fanout", lambda: api.get("/vhosts/%2F")["recv_oct_details"]["rate"] > 0)
    check_samples(publish_until(channel, "amq.fanout", lambda: next(
        (v for v in [api.get("/vhosts/%2F" + RANGES)] if v["recv_oct_details"]["samples"][0]["sample"] > 0), None))["recv_oct_details"])
    connection.close()
    wait_for(lambda: api.get("/overview")["churn_rates"]["connection_closed"] == 1)
    churn = api.get("/overview" + RANGES)["churn_rates"]
    assert {k: v for k, v in churn.items() if not k.endswith("_details")} == {
        "connection_created": 1, "connection_closed": 1, "channel_created": 1, "channel_closed": 1, "queue_declared": 4,
        "queue_created": 3, "queue_deleted": 1}
    assert all(len(churn[k + "_details"]["samples"]) == 13 for k in ("queue_created", "channel_closed"))
    assert api.get("/vhosts/%2F")["recv_oct"] >= before["recv_oct"]  # of closed connections too


def test_tags_of_special_consumers_and_lean_columns(node, pika_connect):
    api = HttpApi(node)
    channel = pika_connect(node).channel()
    channel.queue_declare("single", arguments={"x-single-active-consumer": True})
    channel.queue_declare("alone")
    channel.basic_consume("single", lambda *_: None, consumer_tag="first")
    channel.basic_consume("single", lambda *_: None, consumer_tag="second")
    channel.basic_consume("alone", lambda *_: None, consumer_tag="only", exclusive=True)
    single, alone = api.get("/queues/%2F/single"), api.get("/queues/%2F/alone")
    assert (single["single_active_consumer_tag"], single["exclusive_consumer_tag"]) == ("first", None)
    assert (alone["single_active_consumer_tag"], alone["exclusive_consumer_tag"]) == (None, "only")
    channel.basic_cancel("first")
    wait_for(lambda: api.get("/queues/%2F/single")["single_active_consumer_tag"] == "second")
    assert api.get("/queues?columns=name,durable,type") == [
        {"name": "alone", "durable": False, "type": "classic"}, {"name": "single", "durable": False, "type": "classic"}]
    assert api.get("/queues?columns=name&sort=messages&sort_reverse=true") == [{"name": "single"}, {"name": "alone"}]
    assert api.get("/queues?columns=name,consumers&sort=name&sort_reverse=true") == [
        {"name": "single", "consumers": 1}, {"name": "alone", "consumers": 1}]
    assert api.get("/queues/%2F/single?columns=name,messages") == {"name": "single", "messages": 0}
