"""Metrics for Prometheus: the text, RabbitMQ's names and labels, and that what is counted is what was done."""

import socket
import time

import pika
import pytest

from harness.broker import free_port
from harness.http_api import HttpApi, quote
from harness.metrics import ask, scrape

# What the dashboard "RabbitMQ-Overview" reads.
OVERVIEW = """build_info channel_consumers channels channels_closed_total channels_opened_total connections connections_closed_total
connections_opened_total consumers disk_space_available_bytes global_messages_acknowledged_total global_messages_confirmed_total
global_messages_delivered_consume_auto_ack_total global_messages_delivered_consume_manual_ack_total
global_messages_delivered_get_auto_ack_total global_messages_delivered_get_manual_ack_total global_messages_get_empty_total
global_messages_received_confirm_total global_messages_received_total global_messages_redelivered_total global_messages_routed_total
global_messages_unroutable_dropped_total global_messages_unroutable_returned_total identity_info process_max_fds process_max_tcp_sockets
process_open_fds process_open_tcp_sockets process_resident_memory_bytes queue_messages_ready queue_messages_unacked queues
queues_created_total queues_declared_total queues_deleted_total resident_memory_limit_bytes""".split()


@pytest.fixture
def node(configured):
    broker = configured("", start=False)
    broker.options["prometheus.tcp.ip"] = broker.host
    broker.options["prometheus.tcp.port"] = free_port()
    return broker.start()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def connect(broker):
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, socket_timeout=20))


def test_a_fresh_node_has_what_the_overview_reads(node):
    now = scrape(node)
    assert {f"rabbitmq_{name}" for name in OVERVIEW} <= now.names()
    assert now.labels("rabbitmq_identity_info")[0].keys() == {"rabbitmq_node", "rabbitmq_cluster", "rabbitmq_cluster_permanent_id"}
    assert now.labels("rabbitmq_build_info")[0]["rabbitmq_version"] == "3.10.8"
    for name in OVERVIEW:
        if name.startswith(("global_", "queue_", "channel", "connections", "consumers", "queues")):
            assert now.sum(f"rabbitmq_{name}") == 0, name
    assert now.get("rabbitmq_process_open_fds") > 10 < now.get("rabbitmq_process_max_fds")
    assert now.get("rabbitmq_process_resident_memory_bytes") > 1000000 < now.get("rabbitmq_resident_memory_limit_bytes")
    assert now.get("rabbitmq_disk_space_available_bytes") > 1000000
    assert all(kind == "counter" for name, kind in now.types.items() if name.endswith("_total"))
    assert not [name for name in now.types if name.startswith("rabbitmq_detailed_")]


def drive(broker):
    """Traffic of which every number is known."""
    connection = connect(broker)
    plain, sure = connection.channel(), connection.channel()
    sure.confirm_delivery()
    for queue in ("m1", "m2", "m3"):
        plain.queue_declare(queue, durable=True)
    plain.queue_declare("m1", durable=True)
    plain.queue_declare("quorum", durable=True, arguments={"x-queue-type": "quorum"})
    plain.queue_declare("gone")
    plain.queue_delete("gone")
    for queue in ("m1", "m2"):
        plain.queue_bind(queue, "amq.fanout")
    for _ in range(10):
        plain.basic_publish("amq.fanout", "", b"12345")                   # 20 copies
    for _ in range(7):
        sure.basic_publish("", "m3", b"123", pika.BasicProperties(delivery_mode=2))
    for _ in range(4):
        sure.basic_publish("", "quorum", b"1")
    for _ in range(3):
        sure.basic_publish("", "nowhere", b"1")                            # dropped
    for _ in range(2):
        with pytest.raises(pika.exceptions.UnroutableError):
            sure.basic_publish("", "nowhere", b"1", mandatory=True)        # returned
    for _ in range(4):
        assert plain.basic_get("m1", auto_ack=True)[0]                     # 4 got, auto
    tags = [plain.basic_get("m1")[0].delivery_tag for _ in range(3)]       # 3 got, manual
    plain.basic_ack(tags[0])
    plain.basic_nack(tags[1], requeue=True)
    assert plain.basic_get("m1", auto_ack=True)[0].redelivered             # 1 got, auto, redelivered; 3 are ready, 1 is out
    assert plain.basic_get("m1")[0]                                        # 1 got, manual: 2 ready, 2 out
    got = []
    plain.basic_consume("m2", lambda *a: got.append(a), auto_ack=True)     # 10 delivered, auto
    sure.basic_qos(prefetch_count=5)
    sure.basic_consume("m3", lambda ch, m, *_: (got.append(m), ch.basic_ack(m.delivery_tag)))  # 7 delivered, manual; 7 acked
    while len(got) < 17:
        connection.process_data_events(1)
    quorum = plain.basic_get("quorum")[0]                                  # 1 got, manual, of a quorum queue
    plain.basic_ack(quorum.delivery_tag)
    assert plain.basic_get("m3") == (None, None, None)                     # empty
    return connection


def test_what_is_counted_is_what_was_done(node):
    before = scrape(node)
    connection = drive(node)
    other = connect(node)
    other.channel().close()
    other.close()
    wait_for(lambda: scrape(node).get("rabbitmq_connections_closed_total") == 1)
    now = scrape(node)
    one = {"protocol": "amqp091"}
    classic, quorum = {**one, "queue_type": "rabbit_classic_queue"}, {**one, "queue_type": "rabbit_quorum_queue"}
    received = 10 + 7 + 4 + 3 + 2
    expected = {"received_total": received, "received_confirm_total": received - 10, "confirmed_total": received - 10,
                "routed_total": 20 + 7 + 4, "unroutable_dropped_total": 3, "unroutable_returned_total": 2}
    for name, value in expected.items():
        assert now.get(f"rabbitmq_global_messages_{name}", **one) == value, name
    of_classic = {"acknowledged_total": 1 + 7, "delivered_consume_auto_ack_total": 10, "delivered_consume_manual_ack_total": 7,
                  "delivered_get_auto_ack_total": 5, "delivered_get_manual_ack_total": 4, "redelivered_total": 1, "get_empty_total": 1,
                  "delivered_total": 26}
    of_quorum = {"acknowledged_total": 1, "delivered_get_manual_ack_total": 1, "delivered_total": 1, "redelivered_total": 0}
    for values, labels in ((of_classic, classic), (of_quorum, quorum)):
        for name, value in values.items():
            assert now.get(f"rabbitmq_global_messages_{name}", **labels) == value, (name, labels)
    plain = {"connections_opened_total": 2, "connections_closed_total": 1, "connections": 1, "channels_opened_total": 3,
             "channels_closed_total": 1, "channels": 2, "consumers": 2, "queues": 4, "queues_declared_total": 6, "queues_created_total": 5,
             "queues_deleted_total": 1, "channel_consumers": 2, "queue_messages_ready": 2 + 3, "queue_messages_unacked": 2,
             "queue_messages": 7, "queue_consumers": 2, "channel_messages_unacked": 2, "process_open_tcp_sockets": 1,
             "queue_messages_published_total": 31, "channel_messages_published_total": received, "channel_messages_acked_total": 9,
             "queue_messages_ready_bytes": 10 + 3, "queue_messages_unacked_bytes": 10, "queue_messages_paged_out": 0,
             "channel_get_empty_total": 1, "connection_channels": 2}
    for name, value in plain.items():
        assert now.get(f"rabbitmq_{name}") == value, name
    assert now.get("rabbitmq_global_publishers", **one) == 2 == now.get("rabbitmq_global_consumers", **one)
    assert now.get("rabbitmq_auth_attempts_succeeded_total", **one) == 2 == now.get("rabbitmq_auth_attempts_total", **one)
    assert now.get("rabbitmq_auth_attempts_failed_total", **one) == 0
    assert now.get("rabbitmq_io_sync_ops_total") > before.get("rabbitmq_io_sync_ops_total")
    assert now.get("rabbitmq_io_write_bytes_total") > before.get("rabbitmq_io_write_bytes_total")
    assert now.get("leveret_reasons_total", reason="drop_unroutable") == 3
    assert now.get("leveret_reasons_total", reason="return_unroutable") == 2
    assert now.get("leveret_confirm_seconds_count") >= 1 <= now.get("leveret_log_group_entries_count")
    assert now.get("leveret_log_group_seconds_bucket", le="+Inf") == now.get("leveret_log_group_seconds_count")
    assert now.get("leveret_log_used_bytes") > 0 < now.get("leveret_queue_oldest_message_age_seconds")
    connection.close()


def test_counters_only_grow_when_queues_and_connections_go(node):
    connection = drive(node)
    before = scrape(node)
    for queue in ("m1", "m2", "m3", "quorum"):
        connection.channel().queue_delete(queue)
    connection.close()
    wait_for(lambda: scrape(node).get("rabbitmq_connections") == 0)
    now = scrape(node)
    for (name, labels), value in before.values.items():
        if before.types.get(name) == "counter" and name.startswith("rabbitmq_global_"):
            assert now.get(name, **dict(labels)) >= value, name
    assert now.get("rabbitmq_queues") == 0 == now.get("rabbitmq_queue_messages")


def test_dead_letters_by_reason(node):
    connection = connect(node)
    channel = connection.channel()
    channel.queue_declare("target")
    channel.queue_declare("source", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "target", "x-max-length": 2})
    for _ in range(5):
        channel.basic_publish("", "source", b"x")
    channel.basic_reject(channel.basic_get("source")[0].delivery_tag, requeue=False)
    labels = {"queue_type": "rabbit_classic_queue", "dead_letter_strategy": "at_most_once"}
    wait_for(lambda: scrape(node).get("rabbitmq_global_messages_dead_lettered_maxlen_total", **labels) == 3)
    wait_for(lambda: scrape(node).get("rabbitmq_global_messages_dead_lettered_rejected_total", **labels) == 1)
    wait_for(lambda: scrape(node).get("rabbitmq_queue_messages_ready") == 5)
    connection.close()


def test_single_objects(node):
    api = HttpApi(node)
    strange = 'a"b\\c\nd{}=,ü'
    assert api.put("/vhosts/" + quote("other")).status == 201
    assert api.put(f"/queues/other/{quote(strange)}", {"durable": True}).status == 201
    connection = drive(node)
    now = scrape(node, "/metrics/per-object")
    shown = strange.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert now.get("rabbitmq_queue_messages_ready", vhost="other", queue=shown) == 0
    assert now.get("rabbitmq_queue_messages_ready", vhost="/", queue="m1") == 2
    assert now.get("rabbitmq_queue_messages_unacked", vhost="/", queue="m1") == 2
    assert now.get("rabbitmq_queue_messages_ready", vhost="/", queue="quorum") == 3
    assert now.get("leveret_queue_messages_delivered_total", vhost="/", queue="m3") == 7
    assert len(now.labels("rabbitmq_queue_consumers")) == 5
    assert not [v for v in now.labels("leveret_queue_oldest_message_age_seconds") if v["queue"] in ("m2", "m3")]  # empty: not known
    assert sorted(v["queue"] for v in now.labels("leveret_queue_oldest_message_age_seconds")) == ["m1", "quorum"]
    channels = now.labels("rabbitmq_channel_messages_published_total")
    assert len(channels) == 2 and len(now.labels("rabbitmq_connection_incoming_bytes_total")) == 1
    assert sorted(now.get("rabbitmq_channel_messages_published_total", **labels) for labels in channels) == [10, 16]
    assert now.get("rabbitmq_connection_channels", **now.labels("rabbitmq_connection_channels")[0]) == 2
    assert now.get("rabbitmq_global_messages_received_total", protocol="amqp091") == 26  # those stay sums
    connection.close()


def test_detailed(node):
    connection = drive(node)
    always = {"telemetry_scrape_duration_seconds", "telemetry_scrape_size_bytes", "telemetry_scrape_encoded_size_bytes", "rabbitmq_build_info",
              "rabbitmq_identity_info"}
    for nothing in ("", "?family=cluster_status", "?family="):
        assert scrape(node, "/metrics/detailed" + nothing).types.keys() == always
    some = scrape(node, "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count")
    assert some.types.keys() - always == {"rabbitmq_detailed_queue_messages_ready", "rabbitmq_detailed_queue_messages_unacked",
                                          "rabbitmq_detailed_queue_messages", "rabbitmq_detailed_queue_consumers"}
    assert some.get("rabbitmq_detailed_queue_messages_ready", vhost="/", queue="m1") == 2
    assert not scrape(node, "/metrics/detailed?family=queue_coarse_metrics&vhost=none").labels("rabbitmq_detailed_queue_messages")
    assert len(scrape(node, "/metrics/detailed?family=queue_metrics&vhost=none&vhost=%2F").labels("rabbitmq_detailed_queue_consumers")) == 4
    both = scrape(node, "/metrics/detailed?family=queue_metrics&family=queue_consumer_count")
    assert both.get("rabbitmq_detailed_queue_consumers", vhost="/", queue="m3") == 1
    exchanges = scrape(node, "/metrics/detailed?family=exchange_bindings&family=exchange_names&family=vhost_status&vhost=%2F")
    assert exchanges.get("rabbitmq_cluster_exchange_bindings", vhost="/", exchange="amq.fanout", type="fanout") == 2
    assert exchanges.get("rabbitmq_cluster_exchange_name", vhost="/", exchange="", type="direct") == 1
    assert exchanges.get("rabbitmq_cluster_vhost_status", vhost="/") == 1
    for family in ("auth_attempt_metrics", "channel_exchange_metrics", "channel_metrics", "channel_queue_metrics", "connection_churn_metrics",
                   "connection_coarse_metrics", "connection_metrics", "node_coarse_metrics", "node_metrics", "node_persister_metrics",
                   "channel_queue_exchange_metrics"):
        assert scrape(node, f"/metrics/detailed?family={family}").types.keys() > always, family
    assert "rabbitmq_detailed_process_open_fds" in scrape(node, "/metrics/detailed?family=node_coarse_metrics").types
    connection.close()


def test_paths_methods_and_packing(node):
    assert ask(node, "/metrics/nonsense")[::2] == (404, b"Unknown Registry")
    for path in ("/", "/api/overview", "/metricsx", "/metrics/per-object/more"):
        assert ask(node, path)[::2] == (404, b'{"error":"Object Not Found","reason":"Not Found"}'), path
    for method in ("POST", "PUT", "DELETE"):
        assert ask(node, "/metrics", method)[0] == 405
    status, headers, body = ask(node, "/metrics", "HEAD")
    assert (status, headers["content-type"], body) == (200, "text/plain; version=0.0.4", b"")
    assert scrape(node, "/metrics/default").types.keys() == scrape(node, "/metrics/").types.keys() == scrape(node).types.keys()
    assert scrape(node, packed=True).types == scrape(node).types
    for refused in ("gzip;q=0", "identity", "deflate, gzip;q=0.0"):
        assert "content-encoding" not in ask(node, "/metrics", headers={"Accept-Encoding": refused})[1]
    assert ask(node, "/metrics", headers={"Accept-Encoding": "deflate, gzip;q=0.5"})[1]["content-encoding"] == "gzip"
    told = scrape(node)
    assert told.get("telemetry_scrape_duration_seconds_count", registry="default", content_type="text/plain; version=0.0.4") >= 5


def test_a_client_that_goes_in_the_middle_of_a_scrape(node):
    api = HttpApi(node)
    for i in range(1500):
        api.put(f"/queues/%2F/{'x' * 100}{i}")
    for n in range(40):
        with socket.create_connection((node.host, node.options["prometheus.tcp.port"]), timeout=20) as s:
            s.sendall(b"GET /metrics/per-object HTTP/1.1\r\nHost: x\r\n" + b"Accept-Encoding: gzip\r\n" * (n % 2) + b"\r\n")
            if n % 3:
                s.recv(n * 500 + 1)
    assert len(scrape(node, "/metrics/per-object", packed=True).labels("rabbitmq_queue_messages")) == 1500


def test_another_path_and_single_objects_by_default(configured):
    broker = configured("prometheus.path = /some/where\nprometheus.return_per_object_metrics = true\n", start=False)
    broker.options["prometheus.tcp.ip"] = broker.host
    broker.options["prometheus.tcp.port"] = free_port()
    broker.start()
    assert HttpApi(broker).put("/queues/%2F/q").status == 201
    assert ask(broker, "/metrics")[0] == 404
    assert scrape(broker, "/some/where").get("rabbitmq_queue_messages", vhost="/", queue="q") == 0
    assert scrape(broker, "/some/where/default").get("rabbitmq_queue_messages") == 0
    ports = [row for row in HttpApi(broker).get("/overview")["listeners"] if row["protocol"] == "http/prometheus"]
    assert [row["port"] for row in ports] == [broker.options["prometheus.tcp.port"]]
