// config_table.c: the keys that are carried out. The help texts become etc/leveret.conf.
#include "src/config/config_keys.h"

#define STORE_OF(member)                                                                                     \
    _Generic(((struct config *)0)->member, bool : STORE_BOOL, uint16_t : STORE_U16, uint32_t : STORE_U32,          \
             int : STORE_INT, uint64_t : STORE_U64, double : STORE_DOUBLE, const char * : STORE_TEXT)
#define FIELD(member) .store = STORE_OF(member), .field = offsetof(struct config, member)
#define HONOURED(key, kind, group)                                                                           \
    .pattern = (key), .type = (kind), .section = (group), .status = STATUS_HONOURED
#define RANGE(least, most) .min = (least), .max = (most)

enum { BYTES_MAX = 1 << 30 };
#define EXABYTE 1152921504606846976.0

// clang-format off
const struct config_key config_keys_honoured[] = {
    // Listeners.
    {HONOURED("listeners.tcp.$name", TYPE_LISTENER, SECTION_LISTENERS), .fallback = "5672",
     .help = "Where AMQP 0-9-1 clients connect: a port (every address, IPv6 and IPv4), or ADDRESS:PORT with a numeric "
             "address. One line for each listener, with a name of its own."},
    {HONOURED("listeners.tcp", TYPE_NONE, SECTION_LISTENERS), .example = "none",
     .help = "`none`: no TCP listener at all."},
    {HONOURED("tcp_listen_options.backlog", TYPE_INT, SECTION_LISTENERS), RANGE(1, 65535), FIELD(tcp.backlog),
     .fallback = "128",
     .help = "Connections that may wait to be accepted. More lets a wave of reconnecting clients in without "
             "retries; the kernel caps it at net.core.somaxconn."},
    {HONOURED("tcp_listen_options.nodelay", TYPE_BOOL, SECTION_LISTENERS), FIELD(tcp.is_nodelay), .fallback = "true",
     .help = "Send small packets at once (TCP_NODELAY). `false` saves packets and costs up to 40 ms of latency."},
    {HONOURED("tcp_listen_options.keepalive", TYPE_BOOL, SECTION_LISTENERS), FIELD(tcp.is_keepalive), .fallback = "false",
     .help = "TCP keep-alive: finds dead peers of clients without heartbeats, in the kernel's time (two hours)."},
    {HONOURED("tcp_listen_options.sndbuf", TYPE_INT, SECTION_LISTENERS), RANGE(0, BYTES_MAX), FIELD(tcp.sndbuf_bytes),
     .computed = "the kernel's own tuning", .example = "196608",
     .help = "Bytes of kernel memory for sending, each connection. A fixed size bounds the memory of many "
             "connections and the throughput of distant ones."},
    {HONOURED("tcp_listen_options.recbuf", TYPE_INT, SECTION_LISTENERS), RANGE(0, BYTES_MAX), FIELD(tcp.recbuf_bytes),
     .computed = "the kernel's own tuning", .example = "196608",
     .help = "Bytes of kernel memory for receiving, each connection; as sndbuf."},

    // Connections.
    {HONOURED("handshake_timeout", TYPE_COUNT, SECTION_CONNECTIONS), RANGE(1, 3600000), FIELD(handshake_timeout_ms),
     .fallback = "10000", .flags = KEY_RELOAD,
     .help = "Milliseconds a client has from connecting to connection.open-ok, or `infinity`. More helps clients "
             "behind slow authentication, and those who only want to occupy connections."},
    {HONOURED("max_unauthenticated_connections", TYPE_INT, SECTION_CONNECTIONS), RANGE(1, 1000000),
     FIELD(max_unauthenticated_connections), .fallback = "4096", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Connections that have not logged in yet; the next ones are closed at once. Bounds what strangers "
             "can occupy."},
    {HONOURED("heartbeat", TYPE_INT, SECTION_CONNECTIONS), RANGE(0, 65535), FIELD(heartbeat_s), .fallback = "60",
     .flags = KEY_RELOAD,
     .help = "Seconds proposed to clients; the smaller of the two sides' values is used, 0 switches heartbeats off. A "
             "dead peer is noticed after two intervals. Values below 5 find peers dead that are only busy."},
    {HONOURED("frame_max", TYPE_BYTES, SECTION_CONNECTIONS), RANGE(0, 4294967295), FIELD(frame_max_bytes),
     .fallback = "131072",
     .help = "Largest frame in bytes proposed to clients, at least 4096. 0 (no limit) and larger values mean 16 MiB. "
             "Larger frames carry large messages slightly faster and cost memory for each connection."},
    {HONOURED("initial_frame_max", TYPE_BYTES, SECTION_CONNECTIONS), RANGE(4096, 131072), FIELD(initial_frame_max_bytes),
     .fallback = "4096",
     .help = "Largest frame in bytes before log-in. More is needed only for log-in with very long tokens."},
    {HONOURED("channel_max", TYPE_INT, SECTION_CONNECTIONS), RANGE(0, 65535), FIELD(channel_max), .fallback = "2047",
     .help = "Channels a connection may open; 0 means 65535. Bounds what a client that leaks channels costs."},
    {HONOURED("default_queue_type", TYPE_CHOICE, SECTION_CONNECTIONS), FIELD(default_queue_type),
     .choices = "classic|rabbit_classic_queue|quorum|rabbit_quorum_queue", .fallback = "classic",
     .help = "The type of a queue that is declared without x-queue-type, where its virtual host has no default of its own. Queues that "
             "are exclusive, transient or auto-deleted stay classic."},
    {HONOURED("consumer_timeout", TYPE_COUNT, SECTION_CONNECTIONS), RANGE(1, 4000000000), FIELD(consumer_timeout_ms),
     .fallback = "1800000",
     .help = "Milliseconds a delivery may stay unacknowledged, or `infinity`. After that all that its consumer has is requeued and "
             "the consumer cancelled; the channel stays. Queues and consumers may have their own: x-consumer-timeout."},
    {HONOURED("connection_max", TYPE_COUNT, SECTION_CONNECTIONS), RANGE(0, 10000000), FIELD(connection_max),
     .fallback = "infinity", .flags = KEY_RELOAD,
     .help = "Client connections of this node; further ones are refused."},
    {HONOURED("channel_max_per_node", TYPE_COUNT, SECTION_CONNECTIONS), RANGE(0, 4000000000), FIELD(channel_max_per_node),
     .fallback = "infinity", .flags = KEY_RELOAD,
     .help = "Channels of all connections of this node together; further ones are refused."},
    {HONOURED("consumer_max_per_channel", TYPE_COUNT, SECTION_CONNECTIONS), RANGE(0, 4000000000),
     FIELD(consumer_max_per_channel), .fallback = "infinity", .flags = KEY_RELOAD,
     .help = "Consumers of one channel; further ones are refused."},
    {HONOURED("max_message_size", TYPE_INT, SECTION_CONNECTIONS), RANGE(1, 536870912), FIELD(max_message_bytes),
     .fallback = "134217728", .flags = KEY_RELOAD,
     .help = "Largest message body in bytes. A larger one closes the channel with 406 before memory is taken for it."},

    // Users.
    {HONOURED("loopback_users.$user", TYPE_BOOL, SECTION_USERS), .fallback = "true", .flags = KEY_RELOAD,
     .help = "`true`: this user may only connect from this machine. It holds for `guest` unless "
             "`loopback_users.guest = false` says otherwise, which lets anybody in who can reach the port and has "
             "not had the password changed."},
    {HONOURED("loopback_users", TYPE_NONE, SECTION_USERS), .example = "none", .flags = KEY_RELOAD,
     .help = "`none`: every user may connect from anywhere, `guest` too."},
    {HONOURED("default_vhost", TYPE_TEXT, SECTION_USERS), RANGE(1, 255), FIELD(default_vhost), .fallback = "/",
     .help = "Virtual host made when the data directory is new. Also by RABBITMQ_DEFAULT_VHOST."},
    {HONOURED("default_user", TYPE_TEXT, SECTION_USERS), RANGE(1, 255), FIELD(default_user), .fallback = "guest",
     .help = "User made when the data directory is new. Also by RABBITMQ_DEFAULT_USER."},
    {HONOURED("default_pass", TYPE_TEXT, SECTION_USERS), FIELD(default_pass), .fallback = "guest", .flags = KEY_SECRET,
     .help = "The password of that user. Also by RABBITMQ_DEFAULT_PASS. A file can be named instead: "
             "`default_pass = $(</run/secrets/password)`."},
    {HONOURED("default_user_tags.$tag", TYPE_BOOL, SECTION_USERS), .fallback = "true",
     .help = "Tags of that user: administrator, monitoring, policymaker, management."},
    {HONOURED("default_permissions.configure", TYPE_TEXT, SECTION_USERS), FIELD(default_permission_configure),
     .fallback = ".*", .help = "That user's permission to declare and delete: a regular expression of names."},
    {HONOURED("default_permissions.read", TYPE_TEXT, SECTION_USERS), FIELD(default_permission_read), .fallback = ".*",
     .help = "That user's permission to consume and to bind from: a regular expression of names."},
    {HONOURED("default_permissions.write", TYPE_TEXT, SECTION_USERS), FIELD(default_permission_write), .fallback = ".*",
     .help = "That user's permission to publish and to bind to: a regular expression of names."},
    {HONOURED("credential_validator.validation_backend", TYPE_CHOICE, SECTION_USERS), FIELD(credential_validator),
     .choices = "rabbit_credential_validator_accept_everything|rabbit_credential_validator_min_password_length|"
                "rabbit_credential_validator_password_regexp",
     .fallback = "rabbit_credential_validator_accept_everything",
     .help = "Which passwords users may be given."},
    {HONOURED("credential_validator.min_length", TYPE_INT, SECTION_USERS), RANGE(0, 1024), FIELD(credential_min_length),
     .fallback = "5", .help = "Bytes, for ..._min_password_length."},
    {HONOURED("credential_validator.regexp", TYPE_TEXT, SECTION_USERS), FIELD(credential_regexp), .example = "^.{8,}$",
     .help = "For ..._password_regexp, which needs it."},

    // Objects.
    {HONOURED("vhost_max", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 10000000), FIELD(vhost_max), .fallback = "infinity",
     .flags = KEY_RELOAD, .help = "Virtual hosts; making more is refused."},
    {HONOURED("cluster_queue_limit", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 100000000), FIELD(cluster_queue_limit),
     .fallback = "infinity", .flags = KEY_RELOAD, .help = "Queues of all virtual hosts; declaring more is refused."},
    {HONOURED("cluster_exchange_limit", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 100000000), FIELD(cluster_exchange_limit),
     .fallback = "infinity", .flags = KEY_RELOAD, .help = "Exchanges of all virtual hosts; declaring more is refused."},

    {HONOURED("vhost_max_publish_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(vhost_max_publish_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Messages a second that may be published in a virtual host without "
             "a limit of its own (leveretctl set_vhost_limits). Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("vhost_max_publish_bytes_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(vhost_max_publish_bytes_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Bytes of message bodies a second that may be published in a virtual host without "
             "a limit of its own (leveretctl set_vhost_limits). Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("user_max_publish_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(user_max_publish_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Messages a second that all connections together may publish of a user without "
             "a limit of its own (leveretctl set_user_limits). Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("user_max_publish_bytes_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(user_max_publish_bytes_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Bytes of message bodies a second that all connections together may publish of a user without "
             "a limit of its own (leveretctl set_user_limits). Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("connection_max_publish_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(connection_max_publish_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Messages a second that each connection may publish. "
             "Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("connection_max_publish_bytes_rate", TYPE_COUNT, SECTION_OBJECTS), RANGE(0, 4000000000),
     FIELD(connection_max_publish_bytes_rate), .fallback = "infinity", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Bytes of message bodies a second that each connection may publish. "
             "Who is faster is held back, not disconnected; 0 holds every publisher."},
    {HONOURED("default_limits.vhosts.$id.pattern", TYPE_TEXT, SECTION_OBJECTS), .example = "^device",
     .help = "Limits of virtual hosts made from now on: a regular expression of their names; without it, all. The first that "
             "matches, in the order of the ids, gives its limits."},
    {HONOURED("default_limits.vhosts.$id.max_connections", TYPE_INT, SECTION_OBJECTS), RANGE(-1, 4000000000),
     .example = "100", .help = "Their connections; -1: no limit."},
    {HONOURED("default_limits.vhosts.$id.max_queues", TYPE_INT, SECTION_OBJECTS), RANGE(-1, 4000000000),
     .example = "1000", .help = "Their queues; -1: no limit."},
    {HONOURED("default_limits.vhosts.$id.max_publish_rate", TYPE_INT, SECTION_OBJECTS), RANGE(-1, 4000000000),
     .flags = KEY_OURS, .example = "10000", .help = "Messages published a second; -1: no limit."},
    {HONOURED("default_limits.vhosts.$id.max_publish_bytes_rate", TYPE_INT, SECTION_OBJECTS), RANGE(-1, 4000000000),
     .flags = KEY_OURS, .example = "10000000", .help = "Bytes published a second; -1: no limit."},
    {HONOURED("message_interceptors.incoming.set_header_timestamp", TYPE_BOOL, SECTION_OBJECTS), .flags = KEY_OURS,
     .example = "true",
     .help = "Gives each published message the property timestamp and the header timestamp_in_ms; what a message has "
             "already stays."},
    {HONOURED("message_interceptors.incoming.set_header_timestamp.overwrite", TYPE_BOOL, SECTION_OBJECTS),
     .example = "false", .help = "The same, and whether what a message has already is replaced."},
    {HONOURED("message_interceptors.incoming.set_header_routing_node", TYPE_BOOL, SECTION_OBJECTS), .flags = KEY_OURS,
     .example = "true", .help = "Gives each published message the header x-routed-by, the node's name, unless it has one."},
    {HONOURED("message_interceptors.incoming.set_header_routing_node.overwrite", TYPE_BOOL, SECTION_OBJECTS),
     .example = "false", .help = "The same, and whether a header x-routed-by that a message has already is replaced."},
    // Operator policies of new virtual hosts.
    {HONOURED("management.restrictions.operator_policy_changes.disabled", TYPE_BOOL, SECTION_OBJECTS),
     FIELD(is_operator_policy_frozen), .fallback = "false",
     .help = "`true`: operator policies are not changed over the HTTP API; leveretctl still may."},
    {HONOURED("default_policies.operator.$id.vhost_pattern", TYPE_TEXT, SECTION_OBJECTS), .example = "^customers/",
     .help = "Each virtual host made from now on whose name holds this regular expression gets this operator policy. Not set: each. "
             "Virtual hosts that are there already keep what they have."},
    {HONOURED("default_policies.operator.$id.queue_pattern", TYPE_TEXT, SECTION_OBJECTS), .example = "^transient",
     .help = "Its pattern. Not set: all queues."},
    {HONOURED("default_policies.operator.$id.expires", TYPE_DURATION, SECTION_OBJECTS), RANGE(1, EXABYTE), .example = "1h",
     .help = "The longest time a queue may be unused. This and the following are what the operator policy says; the smaller number of "
             "it, a policy and the queue's own argument counts."},
    {HONOURED("default_policies.operator.$id.message_ttl", TYPE_DURATION, SECTION_OBJECTS), RANGE(0, EXABYTE), .example = "10m",
     .help = "The longest time a message may wait."},
    {HONOURED("default_policies.operator.$id.max_length", TYPE_INT, SECTION_OBJECTS), RANGE(1, EXABYTE), .example = "100000",
     .help = "Messages in a queue."},
    {HONOURED("default_policies.operator.$id.max_length_bytes", TYPE_BYTES, SECTION_OBJECTS), RANGE(1, EXABYTE), .example = "1GB",
     .help = "Bytes of the bodies in a queue."},
    {HONOURED("default_policies.operator.$id.max_in_memory_length", TYPE_INT, SECTION_OBJECTS), RANGE(1, EXABYTE),
     .example = "1000", .help = "For quorum queues; kept, without effect."},
    {HONOURED("default_policies.operator.$id.max_in_memory_bytes", TYPE_BYTES, SECTION_OBJECTS), RANGE(1, EXABYTE),
     .example = "100MB", .help = "For quorum queues; kept, without effect."},
    {HONOURED("default_policies.operator.$id.delivery_limit", TYPE_INT, SECTION_OBJECTS), RANGE(1, EXABYTE), .example = "20",
     .help = "How often a message may come back to a quorum queue."},
    {HONOURED("default_policies.operator.$id.classic_queues.ha_mode", TYPE_CHOICE, SECTION_OBJECTS),
     .choices = "all|exactly|nodes", .example = "exactly", .help = "Mirrors; kept, without effect on a single node."},
    {HONOURED("default_policies.operator.$id.classic_queues.ha_params", TYPE_TEXT, SECTION_OBJECTS), .example = "2",
     .help = "For ha_mode exactly a number, for nodes their names, separated by commas."},
    {HONOURED("default_policies.operator.$id.classic_queues.ha_sync_mode", TYPE_CHOICE, SECTION_OBJECTS),
     .choices = "manual|automatic", .example = "automatic", .help = "How mirrors catch up."},
    {HONOURED("default_policies.operator.$id.classic_queues.queue_version", TYPE_INT, SECTION_OBJECTS), RANGE(1, 2),
     .example = "2", .help = "Accepted; there is one version."},

    // Memory and disk.
    {HONOURED("vm_memory_high_watermark.relative", TYPE_FRACTION, SECTION_RESOURCES), RANGE(0, 1),
     FIELD(memory_watermark_relative), .fallback = "0.4", .flags = KEY_RELOAD,
     .help = "Fraction of the machine's (or the control group's) memory that the process may use before publishers "
             "are held; 0 holds them always."},
    {HONOURED("vm_memory_high_watermark.absolute", TYPE_SIZE, SECTION_RESOURCES), RANGE(1, EXABYTE),
     FIELD(memory_watermark_absolute_bytes), .example = "2GB", .flags = KEY_RELOAD,
     .help = "The same in bytes (kB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024). Used when the relative one "
             "is not set; when both are set the relative one is used, as in RabbitMQ."},
    {HONOURED("vm_memory_high_watermark_paging_ratio", TYPE_FRACTION, SECTION_RESOURCES), .min = 0, .max = 1,
     FIELD(memory_paging_ratio), .fallback = "0.5",
     .help = "Part of the watermark from which on messages leave memory for files."},
    {HONOURED("total_memory_available_override_value", TYPE_SIZE, SECTION_RESOURCES), RANGE(1, EXABYTE),
     FIELD(memory_total_override_bytes), .computed = "what the system or the control group says", .example = "2GB",
     .flags = KEY_RELOAD, .help = "Bytes to take for the machine's memory."},
    {HONOURED("memory_monitor_interval", TYPE_INT, SECTION_RESOURCES), RANGE(100, 3600000),
     FIELD(memory_monitor_interval_ms), .fallback = "2500", .flags = KEY_RELOAD,
     .help = "Milliseconds between two looks at memory use and at free disk space."},
    {HONOURED("disk_free_limit.absolute", TYPE_SIZE, SECTION_RESOURCES), RANGE(0, EXABYTE),
     FIELD(disk_free_absolute_bytes), .fallback = "50000000", .flags = KEY_RELOAD,
     .help = "Free bytes of the data directory's file system below which publishers are held (units as above). "
             "50 MB is RabbitMQ's default and little: more leaves time to act."},
    {HONOURED("disk_free_limit.relative", TYPE_FRACTION, SECTION_RESOURCES), RANGE(0, 1000), FIELD(disk_free_relative),
     .example = "1.5", .flags = KEY_RELOAD,
     .help = "The same as a multiple of the machine's memory; wins over the absolute one when both are set."},

    // Log.
    {HONOURED("log.console", TYPE_BOOL, SECTION_LOG), FIELD(log.is_console), .flags = KEY_RELOAD,
     .computed = "true, but false when log.file or log.dir is set", .example = "true",
     .help = "Log to standard error, which systemd's journal and containers collect."},
    {HONOURED("log.console.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.console_level), .fallback = "info",
     .flags = KEY_RELOAD, .help = "Least level: debug, info, notice, warning, error, critical, none."},
    {HONOURED("log.console.stdio", TYPE_CHOICE, SECTION_LOG), FIELD(log.is_console_stdout), .choices = "stderr|stdout",
     .fallback = "stderr", .flags = KEY_RELOAD, .help = "Which stream. RabbitMQ's default is stdout."},
    {HONOURED("log.console.formatter", TYPE_CHOICE, SECTION_LOG), .choices = "plaintext|json", .fallback = "plaintext",
     .flags = KEY_RELOAD,
     .help = "json: one JSON object a line. Console and file use the same; setting one sets both."},
    {HONOURED("log.dir", TYPE_PATH, SECTION_LOG), .example = "/var/log/leveret", .flags = KEY_RELOAD,
     .help = "Folder of the log file, whose name is the node's name with `.log` unless log.file says otherwise."},
    {HONOURED("log.file", TYPE_TEXT, SECTION_LOG), .example = "leveret.log", .flags = KEY_RELOAD,
     .help = "Name in log.dir, or an absolute path; `false`: none. The file is reopened at SIGHUP, so that logrotate "
             "can rotate it."},
    {HONOURED("log.file.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.file_level), .fallback = "info",
     .flags = KEY_RELOAD, .help = "Least level written to the file."},
    {HONOURED("log.file.formatter", TYPE_CHOICE, SECTION_LOG), .choices = "plaintext|json", .fallback = "plaintext",
     .flags = KEY_RELOAD, .help = "As log.console.formatter."},
    {HONOURED("log.default.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_DEFAULT]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_RELOAD, .help = "Least level of what belongs to no other category."},
    {HONOURED("log.connection.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_CONNECTION]), .example = "info",
     .computed = "what console and file take", .flags = KEY_RELOAD,
     .help = "Log-ins, refusals, closes. `error` keeps logs short where clients come and go by the thousand."},
    {HONOURED("log.channel.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_CHANNEL]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_RELOAD, .help = "Channel errors."},
    {HONOURED("log.queue.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_QUEUE]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_RELOAD, .help = "Queues."},
    {HONOURED("log.mirroring.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_MIRRORING]), .example = "info",
     .computed = "what console and file take", .flags = KEY_RELOAD, .help = "Mirrored queues."},
    {HONOURED("log.federation.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_FEDERATION]), .example = "info",
     .computed = "what console and file take", .flags = KEY_RELOAD, .help = "Links to other brokers."},
    {HONOURED("log.upgrade.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_UPGRADE]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_RELOAD, .help = "Changes of the data directory's format."},
    {HONOURED("log.store.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_STORE]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_OURS | KEY_RELOAD, .help = "Disk and recovery."},
    {HONOURED("log.http.level", TYPE_LEVEL, SECTION_LOG), FIELD(log.category_level[LOG_HTTP]), .example = "info",
     .computed = "what console and file take",
     .flags = KEY_OURS | KEY_RELOAD, .help = "The HTTP API."},

    // Node.
    {HONOURED("node_name", TYPE_NODE, SECTION_NODE), FIELD(node_name), .computed = "rabbit@HOST, the short host name",
     .example = "rabbit@host", .flags = KEY_OURS,
     .help = "The node's name, shown to clients and tools. Also by RABBITMQ_NODENAME."},
    {HONOURED("cluster_name", TYPE_TEXT, SECTION_NODE), FIELD(cluster_name), .computed = "the node's name",
     .example = "orders", .help = "Name of the cluster in server properties, console and metrics."},
    {HONOURED("server_properties.$name", TYPE_TEXT, SECTION_NODE), .flags = KEY_OURS, .example = "eu-west",
     .help = "More properties that clients are told when they connect (server-properties of connection.start), beside "
             "product, version and so on."},
    {HONOURED("workers", TYPE_INT, SECTION_NODE), RANGE(1, 64), FIELD(workers), .computed = "one a core", .example = "2",
     .flags = KEY_OURS,
     .help = "Threads that own connections and queues. More than cores is slower; fewer leaves cores to others."},
    {HONOURED("data_dir", TYPE_PATH, SECTION_NODE), FIELD(data_dir), .fallback = "/var/lib/leveret", .flags = KEY_OURS,
     .help = "Folder of everything durable; made with mode 0700, locked while the daemon runs. Also by -d."},
    {HONOURED("control_socket", TYPE_PATH, SECTION_NODE), FIELD(control_socket), .computed = "control.sock in data_dir",
     .example = "/run/leveret/control.sock", .flags = KEY_OURS,
     .help = "Unix socket that leveretctl talks to. Who may open it rules the broker."},
    {HONOURED("shutdown_timeout", TYPE_DURATION, SECTION_NODE), RANGE(0, 3600000), FIELD(shutdown_timeout_ms),
     .fallback = "10s", .flags = KEY_OURS | KEY_RELOAD,
     .help = "Time at SIGTERM for clients to take note of connection.close before their sockets are closed."},
    {HONOURED("product.name", TYPE_TEXT, SECTION_NODE), FIELD(product_name), .fallback = "RabbitMQ",
     .help = "Product told to clients. Some clients switch features on by it: Celery, for one, uses "
             "prefetch per consumer only with RabbitMQ 3.3 or later."},
    {HONOURED("product.version", TYPE_TEXT, SECTION_NODE), FIELD(product_version), .fallback = "3.10.8",
     .help = "Version told to clients; as product.name."},

    {HONOURED("message_log.segment_size", TYPE_BYTES, SECTION_RESOURCES), RANGE(1048576, 1073741824),
     FIELD(message_log_segment_bytes), .fallback = "16MB", .flags = KEY_OURS,
     .help = "Bytes of a file of the message log; a multiple of 512. Files that are there keep their size."},
    {HONOURED("message_log.segments", TYPE_INT, SECTION_RESOURCES), RANGE(5, 1024), FIELD(message_log_segments),
     .fallback = "16", .flags = KEY_OURS,
     .help = "Files of the message log, used in turn. What still waits when one is to be used again moves to a file of its queue."},
    {HONOURED("message_log.index_max", TYPE_INT, SECTION_RESOURCES), RANGE(16384, 1000000000),
     FIELD(message_log_index_max), .fallback = "1000000", .flags = KEY_OURS,
     .help = "Messages of the log that are remembered in memory, some 50 bytes each; beyond it the longest queue moves to files."},

    // Test builds.
    {HONOURED("test.placement", TYPE_CHOICE, SECTION_TEST), FIELD(test_placement), .choices = "normal|local|remote",
     .fallback = "normal", .flags = KEY_OURS | KEY_TEST,
     .help = "Places each queue on its declarer's worker, or away from it."},
    {HONOURED("test.mailbox_delay_seed", TYPE_INT, SECTION_TEST), RANGE(0, 4294967295), FIELD(test_mailbox_delay_seed),
     .fallback = "0", .flags = KEY_OURS | KEY_TEST, .help = "Not 0: mailboxes are delayed at random by this seed."},
    {HONOURED("test.page_out_seed", TYPE_INT, SECTION_TEST), RANGE(0, 4294967295), FIELD(test_page_out_seed),
     .fallback = "0", .flags = KEY_OURS | KEY_TEST, .help = "Not 0: bodies leave memory at random by this seed."},
    {HONOURED("test.crash_at", TYPE_INT, SECTION_TEST), RANGE(0, 4294967295), FIELD(test_crash_at),
     .fallback = "0", .flags = KEY_OURS | KEY_TEST, .help = "Not 0: the process dies as by SIGKILL after that I/O call of the store."},
    {HONOURED("test.io_fault", TYPE_TEXT, SECTION_TEST), FIELD(test_io_fault), .fallback = "none",
     .flags = KEY_OURS | KEY_TEST, .help = "I/O calls of the store that fail: CALL:N:COUNT:ERROR[@FILE], separated by commas."},
    {HONOURED("test.alloc_fail_at", TYPE_TEXT, SECTION_TEST), FIELD(test_alloc_fail_at), .fallback = "none",
     .flags = KEY_OURS | KEY_TEST, .help = "N:COUNT: from the N-th allocation after the start on, COUNT of them fail (0: all)."},
    {HONOURED("test.bug", TYPE_TEXT, SECTION_TEST), FIELD(test_bug), .fallback = "none",
     .flags = KEY_OURS | KEY_TEST, .help = "Switches a planted bug on, to see a test find it."},
};
// clang-format on

const size_t config_keys_honoured_count = LV_ARRAY_LEN(config_keys_honoured);
