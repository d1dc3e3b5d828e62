"""Every answer to a GET beside RabbitMQ's, member by member (http_fields.txt). WITHOUT, MORE and OTHER are the whole difference, and each of
them is one: docs/compatibility.md ("Members of answers") has the reasons."""

import os
import re

import pytest

from harness.http_api import HttpApi, quote

LETTERS = {bool: "b", int: "i", float: "f", str: "s", list: "a", dict: "o", type(None): "z"}

REDUCTIONS = {"reductions", "reductions_details"}
ERLANG = REDUCTIONS | {"garbage_collection"}
CHANNELS, CONNECTIONS, NODES = r"(/vhosts/\{vhost\})?/channels", r"(/vhosts/\{vhost\})?/connections", r"/nodes(/\{node\})?"
QUEUES, QUEUE = r"/queues(/\{vhost\})?", r"/queues/\{vhost\}/\{(queue|quorum)\}"


def with_details(*names):
    return {name + more for name in names for more in ("", "_details")}


# By path: members that RabbitMQ has always and Leveret never, the other way round, and those of another type.
WITHOUT = {
    CHANNELS: ERLANG | {"pending_raft_commands"},
    NODES: {"metrics_gc_queue_length", "net_ticktime", "ra_open_file_metrics"} |
           with_details("context_switches", "gc_bytes_reclaimed", "gc_num", "io_reopen_count", "io_seek_avg_time", "io_seek_count",
                        "mnesia_disk_tx_count", "mnesia_ram_tx_count", "msg_store_read_count", "msg_store_write_count",
                        "queue_index_read_count", "queue_index_write_count") |
           {"io_read_avg_time_details", "io_write_avg_time_details", "io_sync_avg_time_details"},
    "/overview": {"erlang_full_version", "erlang_version", "release_series_support_status"},
    QUEUES: REDUCTIONS,
    QUEUE: ERLANG,
    r"/queues/\{vhost\}/\{queue\}": {"backing_queue_status", "idle_since"},  # it is not idle here
    r"/queues/\{vhost\}/\{quorum\}": {"message_bytes_dlx", "messages_dlx", "open_files", "single_active_consumer_ctag"},
}
MORE = {
    "/auth": {"oauth_enabled"},
    CHANNELS: {"connection_id", "replies_dropped"},
    CONNECTIONS: {"connection_id"},
    NODES: {"being_drained", "crypto_lib_version", "leveret_version", "management_version", "mem_limit_relative", "product_name",
            "product_version", "rabbitmq_version"},
    "/nodes": {"memory"},
    "/overview": {"data_dir", "leveret_version", "os_pid", "running", "start_time", "topology_version", "workers"},
    QUEUES + "|" + QUEUE: {"owner_connection_id", "queue_id", "user_who_performed_action", "worker"},
    r"/queues/\{vhost\}/\{queue\}": {"message_stats"},  # RabbitMQ's had none when it was looked at
    r"/queues/\{vhost\}/\{quorum\}": {"exclusive_consumer_tag", "head_message_timestamp", "message_bytes_paged_out", "messages_paged_out",
                                      "messages_ready_ram", "messages_unacknowledged_ram", "recoverable_slaves", "single_active_consumer_tag"},
    r"/vhosts(/\{vhost\})?": {"limits"},
}
OTHER = {
    r"/queues/\{vhost\}/\{queue\}": {"consumer_capacity", "consumer_utilisation"},  # 0 without consumers, otherwise a float
}


def rows():
    with open(os.path.join(os.path.dirname(__file__), "http_fields.txt"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("/"):
                path, kind, *members = line.split()
                yield path, kind == "+", dict(member.rsplit(":", 1) for member in members)


def wanted(table, path):
    return set().union(*(members for key, members in table.items() if re.fullmatch(key, path)))


@pytest.fixture
def busy(broker, pika_connect):
    """A broker with one of everything, and what fills the names in paths."""
    if broker.kind != "leveret":
        pytest.skip("Leveret only")
    api = HttpApi(broker)
    channel = pika_connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("plain", durable=True)
    channel.queue_declare("quorum", durable=True, arguments={"x-queue-type": "quorum"})
    channel.exchange_declare("busy", "direct", durable=True)
    channel.exchange_declare("other", "topic", durable=True)
    channel.queue_bind("plain", "busy", "key")
    channel.exchange_bind("other", "busy", "to.other")
    for queue in ("plain", "quorum"):
        channel.basic_publish("", queue, b"x")
    channel.basic_publish("busy", "key", b"x")
    channel.basic_consume("plain", lambda *_: None)
    assert channel.basic_get("quorum", auto_ack=True)[0]
    assert api.put("/cluster-name", {"name": "busy"}).status in (201, 204)
    node = api.get("/overview")["node"]
    for path, body in (("/policies/%2F/made", {"pattern": "^none", "definition": {"max-length": 5}}),
                       ("/operator-policies/%2F/made", {"pattern": "^none", "definition": {"max-length": 5}}),
                       ("/topic-permissions/%2F/guest", {"exchange": "other", "write": ".*", "read": ".*"}),
                       ("/users/alone", {"password": "p", "tags": ""}), ("/user-limits/guest/max-channels", {"value": 1000}),
                       ("/vhost-limits/%2F/max-queues", {"value": 100000})):
        assert api.put(path, body).status in (201, 204), path
    yield api, {"vhost": "/", "queue": "plain", "quorum": "quorum", "exchange": "busy", "other": "other", "user": "guest", "node": node,
                "policy": "made", "port": str(broker.port)}
    for path in ("/global-parameters/cluster_name", "/policies/%2F/made", "/operator-policies/%2F/made", "/topic-permissions/%2F/guest", "/users/alone", "/user-limits/guest/max-channels",
                 "/vhost-limits/%2F/max-queues", "/queues/%2F/plain", "/queues/%2F/quorum", "/exchanges/%2F/busy", "/exchanges/%2F/other"):
        assert api.delete(path).status == 204, path


def test_every_answer_has_rabbitmqs_members(busy):
    api, names = busy
    found = {}
    for path, is_list, members in rows():
        value = api.get(path.format(**{k: quote(v) for k, v in names.items()}))
        assert isinstance(value, list) == is_list, path
        items = value if is_list else [value]
        assert items, path
        have = {}
        for item in items:
            for name, member in item.items():
                have.setdefault(name, set()).add(LETTERS[type(member)])
        always = {name for name, types in members.items() if not types.endswith("?")}
        without = always - set(have)
        more = set(have) - set(members)
        other = {name for name in set(have) & set(members) if not have[name] <= set(members[name]) | {"z"}}
        if (without, more, other) != (wanted(WITHOUT, path), wanted(MORE, path), wanted(OTHER, path)):
            found[path] = [sorted(s) for s in (without, more, other)]
    assert not found, "\n" + "\n".join(f"{path}: {sets}" for path, sets in found.items())
