"""The shapes of RabbitMQ 3.10's answers: members and the types of their values, and in which of them Leveret differs on purpose.

`int+` stands for a count that comes with its NAME_details. MISSING and MORE are the whole difference: docs/compatibility.md says why.
"""

MESSAGE_STATS = {name: "int+" for name in ("ack", "confirm", "deliver", "deliver_get", "deliver_no_ack", "drop_unroutable", "get",
                                           "get_empty", "get_no_ack", "publish", "redeliver", "return_unroutable")}
QUEUE_MESSAGE_STATS = {name: "int+" for name in ("ack", "deliver", "deliver_get", "deliver_no_ack", "get", "get_empty", "get_no_ack",
                                                 "publish", "redeliver")}

SHAPES = {
    "overview": {
        "churn_rates": "dict", "cluster_name": "str", "contexts": "list", "disable_stats": "bool", "enable_queue_totals": "bool",
        "erlang_full_version": "str", "erlang_version": "str", "exchange_types": "list", "listeners": "list",
        "management_version": "str", "message_stats": {**MESSAGE_STATS, "disk_reads": "int+", "disk_writes": "int+"}, "node": "str",
        "object_totals": {"channels": "int", "connections": "int", "consumers": "int", "exchanges": "int", "queues": "int"},
        "product_name": "str", "product_version": "str",
        "queue_totals": {"messages": "int+", "messages_ready": "int+", "messages_unacknowledged": "int+"},
        "rabbitmq_version": "str", "rates_mode": "str", "release_series_support_status": "str",
        "sample_retention_policies": {"global": "list", "basic": "list", "detailed": "list"}, "statistics_db_event_queue": "int"},
    "connection": {
        "auth_mechanism": "str", "channel_max": "int", "channels": "int", "client_properties": "dict", "connected_at": "int",
        "frame_max": "int", "garbage_collection": "dict", "host": "str", "name": "str", "node": "str", "peer_cert_issuer": "null",
        "peer_cert_subject": "null", "peer_cert_validity": "null", "peer_host": "str", "peer_port": "int", "port": "int",
        "protocol": "str", "recv_cnt": "int", "recv_oct": "int+", "reductions": "int+", "send_cnt": "int", "send_oct": "int+",
        "send_pend": "int", "ssl": "bool", "ssl_cipher": "null", "ssl_hash": "null", "ssl_key_exchange": "null",
        "ssl_protocol": "null", "state": "str", "timeout": "int", "type": "str", "user": "str", "user_who_performed_action": "str",
        "vhost": "str"},
    "channel": {
        "acks_uncommitted": "int", "confirm": "bool", "connection_details": {"name": "str", "peer_host": "str", "peer_port": "int"},
        "consumer_count": "int", "consumer_details": "list", "deliveries": "list", "garbage_collection": "dict",
        "global_prefetch_count": "int", "message_stats": MESSAGE_STATS, "messages_unacknowledged": "int", "messages_uncommitted": "int",
        "messages_unconfirmed": "int", "name": "str", "node": "str", "number": "int", "pending_raft_commands": "int",
        "prefetch_count": "int", "publishes": "list", "reductions": "int+", "state": "str", "transactional": "bool", "user": "str",
        "user_who_performed_action": "str", "vhost": "str"},
    "queue": {
        "arguments": "dict", "auto_delete": "bool", "backing_queue_status": "dict", "consumer_capacity": "float",
        "consumer_details": "list", "consumer_utilisation": "float", "consumers": "int", "deliveries": "list", "durable": "bool",
        "effective_policy_definition": "dict", "exclusive": "bool", "exclusive_consumer_tag": "null", "garbage_collection": "dict",
        "head_message_timestamp": "null", "incoming": "list", "memory": "int", "message_bytes": "int", "message_bytes_paged_out": "int",
        "message_bytes_persistent": "int", "message_bytes_ram": "int", "message_bytes_ready": "int",
        "message_bytes_unacknowledged": "int", "message_stats": QUEUE_MESSAGE_STATS, "messages": "int+", "messages_paged_out": "int",
        "messages_persistent": "int", "messages_ram": "int", "messages_ready": "int+", "messages_ready_ram": "int",
        "messages_unacknowledged": "int+", "messages_unacknowledged_ram": "int", "name": "str", "node": "str",
        "operator_policy": "null", "policy": "null", "recoverable_slaves": "null", "reductions": "int+",
        "single_active_consumer_tag": "null", "state": "str", "type": "str", "vhost": "str"},
    "exchange": {
        "arguments": "dict", "auto_delete": "bool", "durable": "bool", "incoming": "list", "internal": "bool", "name": "str",
        "outgoing": "list", "type": "str", "user_who_performed_action": "str", "vhost": "str"},
    "binding": {
        "arguments": "dict", "destination": "str", "destination_type": "str", "properties_key": "str", "routing_key": "str",
        "source": "str", "vhost": "str"},
    "vhost": {
        "cluster_state": "dict", "default_queue_type": "str", "description": "str", "message_stats": MESSAGE_STATS, "messages": "int+",
        "messages_ready": "int+", "messages_unacknowledged": "int+", "metadata": {"description": "str", "tags": "list"}, "name": "str",
        "recv_oct": "int+", "send_oct": "int+", "tags": "list", "tracing": "bool"},
    "user": {"hashing_algorithm": "str", "limits": "dict", "name": "str", "password_hash": "str", "tags": "list"},
    "consumer": {
        "ack_required": "bool", "active": "bool", "activity_status": "str", "arguments": "dict",
        "channel_details": {"connection_name": "str", "name": "str", "node": "str", "number": "int", "peer_host": "str",
                            "peer_port": "int", "user": "str"},
        "consumer_tag": "str", "exclusive": "bool", "prefetch_count": "int", "queue": {"name": "str", "vhost": "str"}},
    "permission": {"configure": "str", "read": "str", "user": "str", "vhost": "str", "write": "str"},
    "whoami": {"name": "str", "tags": "list"},
    "message": {"payload_bytes": "int", "redelivered": "bool", "exchange": "str", "routing_key": "str", "message_count": "int",
                "properties": "dict", "payload": "str", "payload_encoding": "str"},
}

ERLANG = {"garbage_collection", "reductions", "reductions_details"}
MISSING = {
    "overview": {"erlang_version", "erlang_full_version", "release_series_support_status"} |
                {f"message_stats.disk_{kind}{more}" for kind in ("reads", "writes") for more in ("", "_details")},
    "connection": ERLANG,
    "channel": ERLANG | {"pending_raft_commands"},
    "queue": ERLANG | {"backing_queue_status", "message_stats.get_empty", "message_stats.get_empty_details"},
}
MORE = {
    "overview": {"running", "start_time", "data_dir", "os_pid", "workers", "topology_version", "leveret_version", "object_totals.vhosts",
                 "object_totals.users"},
    "connection": {"connection_id"},
    "channel": {"connection_id", "replies_dropped"} |
               {f"message_stats.{name}{more}" for name in ("nack", "reject", "requeue") for more in ("", "_details")},
    "exchange": {"message_stats"},
    "queue": {"queue_id", "owner_connection_id", "worker", "user_who_performed_action"},
    "vhost": {"limits"},
    "consumer": {"channel_details.connection_id"},
}


def kind_of(value):
    return "null" if value is None else type(value).__name__


def spread(shape, prefix=""):
    """{path: type}; an int+ becomes two."""
    flat = {}
    for name, kind in shape.items():
        if isinstance(kind, dict):
            flat[prefix + name] = "dict"
            flat.update(spread(kind, f"{prefix}{name}."))
        elif kind == "int+":
            flat[prefix + name] = "int"
            flat[prefix + name + "_details"] = "dict"
        else:
            flat[prefix + name] = kind
    return flat


def members(value, shape, prefix=""):
    """{path: type} of an answer, as deep as the shape goes."""
    flat = {}
    for name, item in value.items():
        flat[prefix + name] = kind_of(item)
        if isinstance(shape.get(name), dict):
            flat.update(members(item, shape[name], f"{prefix}{name}."))
    return flat


def differences(name, value):
    """(missing, more, of another type) against RabbitMQ's shape, without the wanted ones."""
    want, have = spread(SHAPES[name]), members(value, SHAPES[name])
    missing = set(want) - set(have) - MISSING.get(name, set())
    more = set(have) - set(want) - MORE.get(name, set())
    other = {(path, want[path], have[path]) for path in set(want) & set(have) if want[path] != have[path]}
    return missing, more, other
