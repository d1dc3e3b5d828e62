// config_table_other.c: RabbitMQ's keys that have no effect here (accepted with a warning) or cannot be
// accepted.
//
// The rule: a key is ignored only when ignoring it is safe. What would silently weaken security (TLS, other
// authentication back-ends, restrictions) or a promise of durability (clusters, quorum queues) is refused.
#include "src/config/config_keys.h"

#define STORE_OF(member)                                                                                     \
    _Generic(((struct config *)0)->member, bool : STORE_BOOL, uint16_t : STORE_U16, uint32_t : STORE_U32,          \
             int : STORE_INT, uint64_t : STORE_U64, double : STORE_DOUBLE, const char * : STORE_TEXT)
#define FIELD(member) .store = STORE_OF(member), .field = offsetof(struct config, member)
#define IGNORED(key, kind, reason)                                                                           \
    .pattern = (key), .type = (kind), .section = SECTION_OTHER, .status = STATUS_IGNORED, .why = (reason)
#define REFUSED(key, kind, reason)                                                                           \
    .pattern = (key), .type = (kind), .section = SECTION_OTHER, .status = STATUS_REFUSED, .why = (reason)
#define INT_MAX_32 .min = 0, .max = 4294967295

#define NO_TLS      "TLS is not available in this version"
#define NO_ERLANG   "it concerns the Erlang runtime"
#define NO_CLUSTER  "this version runs as a single node"
#define NO_HTTP     "the HTTP server of this version has nothing like it"
#define NO_METRICS  "the metrics have nothing like it in this version"
#define NO_BACKENDS "only the internal authentication back-end is available in this version"
#define NO_QUORUM   "a quorum queue has one member in this version, on this node"
#define NO_PROTOCOL "this version speaks AMQP 0-9-1 only, the listener is not opened"
#define NO_ROTATION "log files are rotated from outside (logrotate, then SIGHUP)"
#define NO_DEFINITIONS "definitions are read from files of this machine alone"
#define CLOSES_IN_BACKGROUND "closing a socket never waits here, and drops nothing that was sent"
#define OWN_FORMAT           "log lines have a format of their own"
#define OWN_STORE            "messages are kept in a store of our own"

// clang-format off
const struct config_key config_keys_other[] = {
    // TLS.
    {IGNORED("listeners.ssl", TYPE_NONE, NO_TLS), .fine = "none"},
    {REFUSED("listeners.ssl.$name", TYPE_LISTENER, NO_TLS)},
    {IGNORED("ssl_options", TYPE_NONE, NO_TLS), .fine = "none"},
    {REFUSED("ssl_options.**", TYPE_ANY, NO_TLS)},
    {IGNORED("ssl_allow_poodle_attack", TYPE_BOOL, NO_TLS), .fine = "false"},
    {IGNORED("ssl_handshake_timeout", TYPE_INT, NO_TLS), INT_MAX_32},
    {IGNORED("ssl_cert_login_from", TYPE_TEXT, NO_TLS)},
    {IGNORED("ssl_cert_login_san_type", TYPE_TEXT, NO_TLS)},
    {IGNORED("ssl_cert_login_san_index", TYPE_INT, NO_TLS), INT_MAX_32},
    {IGNORED("num_acceptors.ssl", TYPE_INT, NO_TLS), INT_MAX_32},
    {IGNORED("trust_store.**", TYPE_ANY, NO_TLS)},

    // Listeners and sockets.
    {IGNORED("num_acceptors.tcp", TYPE_INT, "one acceptor serves all listeners"), INT_MAX_32},
    {REFUSED("proxy_protocol", TYPE_BOOL, "the PROXY protocol is not available in this version: clients would be taken for the proxy, and be let in as local ones"), .fine = "false,off"},
    {IGNORED("reverse_dns_lookups", TYPE_BOOL, "peers are shown by address"), .fine = "false,off"},
    {IGNORED("socket_writer.gc_threshold", TYPE_ANY, NO_ERLANG)},
    {IGNORED("ranch_connection_max", TYPE_COUNT, "connection_max is the limit"), INT_MAX_32},
    {IGNORED("tcp_listen_options", TYPE_NONE, "each option keeps its default")},
    {IGNORED("tcp_listen_options.buffer", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("tcp_listen_options.delay_send", TYPE_BOOL, NO_ERLANG)},
    {IGNORED("tcp_listen_options.dontroute", TYPE_BOOL, "packets are routed as the system says"), .fine = "false,off"},
    {IGNORED("tcp_listen_options.exit_on_close", TYPE_BOOL, NO_ERLANG)},
    {IGNORED("tcp_listen_options.fd", TYPE_INT, "listeners open their own sockets"), INT_MAX_32},
    {IGNORED("tcp_listen_options.high_msgq_watermark", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("tcp_listen_options.high_watermark", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("tcp_listen_options.linger.on", TYPE_BOOL, CLOSES_IN_BACKGROUND)},
    {IGNORED("tcp_listen_options.linger.timeout", TYPE_INT, CLOSES_IN_BACKGROUND), INT_MAX_32},
    {IGNORED("tcp_listen_options.low_msgq_watermark", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("tcp_listen_options.low_watermark", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("tcp_listen_options.port", TYPE_PORT, "listeners.tcp.NAME gives the port")},
    {IGNORED("tcp_listen_options.priority", TYPE_INT, "sockets keep the system's priority"), INT_MAX_32},
    {IGNORED("tcp_listen_options.send_timeout", TYPE_INT, "a client that does not read is held by credit, and found dead by heartbeats"), INT_MAX_32},
    {IGNORED("tcp_listen_options.send_timeout_close", TYPE_BOOL, "a client that does not read is held by credit, and found dead by heartbeats")},
    {IGNORED("tcp_listen_options.tos", TYPE_INT, "packets keep the system's type of service"), INT_MAX_32},

    // Authentication.
    {REFUSED("auth_mechanisms.$name", TYPE_TEXT, "the mechanisms of this version are PLAIN and AMQPLAIN"), .fine = "PLAIN|AMQPLAIN", .example = "PLAIN"},
    {REFUSED("auth_backends.$num", TYPE_TEXT, NO_BACKENDS), .fine = "internal,rabbit_auth_backend_internal", .example = "internal"},
    {REFUSED("auth_backends.$num.authn", TYPE_TEXT, NO_BACKENDS), .fine = "internal,rabbit_auth_backend_internal", .example = "internal"},
    {REFUSED("auth_backends.$num.authz", TYPE_TEXT, NO_BACKENDS), .fine = "internal,rabbit_auth_backend_internal", .example = "internal"},
    {REFUSED("http_dispatch.auth_backends.**", TYPE_TEXT, NO_BACKENDS), .fine = "internal,rabbit_auth_backend_internal", .example = "internal"},
    {IGNORED("auth_http.**", TYPE_ANY, NO_BACKENDS)},
    {IGNORED("auth_ldap.**", TYPE_ANY, NO_BACKENDS)},
    {IGNORED("auth_oauth2.**", TYPE_ANY, NO_BACKENDS)},
    {IGNORED("auth_cache.**", TYPE_ANY, NO_BACKENDS)},
    {REFUSED("password_hashing_module", TYPE_CHOICE, "new passwords are hashed with salted SHA-256 in this version"), FIELD(password_hashing),
     .choices = "rabbit_password_hashing_sha256|rabbit_password_hashing_sha512|rabbit_password_hashing_md5", .fine = "rabbit_password_hashing_sha256", .fallback = "rabbit_password_hashing_sha256"},
    {IGNORED("anonymous_login_user", TYPE_TEXT, "nobody is let in without a name"), .fine = "none"},
    {IGNORED("anonymous_login_pass", TYPE_TEXT, "nobody is let in without a name"), .flags = KEY_SECRET},
    {IGNORED("default_users.**", TYPE_ANY, "users are not made with virtual hosts in this version; use leveretctl add_user")},
    {REFUSED("default_policies.operator.**", TYPE_ANY, "no such key of an operator policy is known")},

    // Definitions.
    {IGNORED("definitions.hashing.algorithm", TYPE_TEXT, "files are compared by SHA-256")},
    {REFUSED("definitions.**", TYPE_ANY, NO_DEFINITIONS)},

    // Queues.
    {IGNORED("queue_master_locator", TYPE_TEXT, NO_CLUSTER)},
    {IGNORED("queue_leader_locator", TYPE_TEXT, NO_CLUSTER)},
    {IGNORED("classic_queue.default_version", TYPE_INT, OWN_STORE), .min = 1, .max = 2, .fine = "1|2"},
    {IGNORED("quorum_queue.**", TYPE_ANY, NO_QUORUM)},
    {IGNORED("raft.**", TYPE_ANY, NO_QUORUM)},
    {IGNORED("mirroring_sync_batch_size", TYPE_BYTES, NO_CLUSTER), .min = 1, .max = 1000000},
    {IGNORED("mirroring_sync_max_throughput", TYPE_SIZE, NO_CLUSTER)},
    {REFUSED("mirroring.promote_on_failure", TYPE_CHOICE, NO_CLUSTER), .choices = "always|when-synced", .flags = KEY_OURS},
    {IGNORED("queue_index_embed_msgs_below", TYPE_BYTES, OWN_STORE)},
    {IGNORED("message_store_shutdown_timeout", TYPE_INT, OWN_STORE), INT_MAX_32},
    {IGNORED("vhost_restart_strategy", TYPE_CHOICE, "virtual hosts have no processes that could fail alone"), .choices = "stop_node|continue|transient|persistent", .fine = "continue|transient"},
    {IGNORED("message_interceptors.**", TYPE_ANY, "messages are passed on unchanged by these")},
    {IGNORED("deprecated_features.permit.$name", TYPE_BOOL, "nothing is deprecated here"), .fine = "true,on"},
    {IGNORED("runtime_parameters.limits.$category", TYPE_INT, "parameters are not counted in this version"), INT_MAX_32},
    {IGNORED("exchange_types.**", TYPE_ANY, "exchange types are fixed")},
    {IGNORED("queue_types.**", TYPE_ANY, "queue types are fixed")},
    {IGNORED("channel_operation_timeout", TYPE_COUNT, "operations between workers end with the connection, not by a clock"), INT_MAX_32},
    {IGNORED("consumer_disconnected_timeout", TYPE_INT, NO_QUORUM), INT_MAX_32},

    // Memory.
    {IGNORED("vm_memory_calculation_strategy", TYPE_CHOICE, "memory is measured as resident set size"), .choices = "rss|erlang|allocated|legacy", .fine = "rss|allocated"},
    {IGNORED("background_gc_enabled", TYPE_BOOL, NO_ERLANG), .fine = "false,off"},
    {IGNORED("background_gc_target_interval", TYPE_INT, NO_ERLANG), INT_MAX_32},

    // Cluster.
    {REFUSED("cluster_formation.peer_discovery_backend", TYPE_TEXT, "this version runs as a single node: the nodes found would each be a broker of its own, without mirrors"),
     .fine = "classic_config,rabbit_peer_discovery_classic_config", .example = "rabbit_peer_discovery_classic_config"},
    {REFUSED("cluster_formation.classic_config.nodes.$node", TYPE_NODE, "this version runs as a single node: the nodes named would each be a broker of its own, without mirrors")},
    {IGNORED("cluster_formation.**", TYPE_ANY, NO_CLUSTER)},
    {IGNORED("cluster_partition_handling", TYPE_CHOICE, NO_CLUSTER), .choices = "ignore|pause_minority|autoheal|pause_if_all_down", .fine = "ignore"},
    {IGNORED("cluster_partition_handling.**", TYPE_ANY, NO_CLUSTER)},
    {IGNORED("cluster_keepalive_interval", TYPE_INT, NO_CLUSTER), INT_MAX_32},
    {IGNORED("cluster_tags.$tag", TYPE_ANY, NO_CLUSTER)},
    {IGNORED("node_tags.$tag", TYPE_ANY, NO_CLUSTER)},
    {IGNORED("net_ticktime", TYPE_INT, NO_CLUSTER), INT_MAX_32},
    {IGNORED("distribution.**", TYPE_ANY, NO_CLUSTER)},
    {IGNORED("prevent_startup_if_node_was_reset", TYPE_BOOL, NO_CLUSTER), .fine = "false,off"},
    {IGNORED("mnesia_table_loading_retry_timeout", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("mnesia_table_loading_retry_limit", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("metadata_store.**", TYPE_ANY, NO_ERLANG)},
    {IGNORED("delegate_count", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("default_worker_pool_size", TYPE_INT, "workers gives the number of threads"), INT_MAX_32},
    {IGNORED("hipe_compile", TYPE_BOOL, NO_ERLANG)},
    {IGNORED("erlang.**", TYPE_ANY, NO_ERLANG)},
    {IGNORED("sysmon_handler.**", TYPE_ANY, NO_ERLANG)},
    {IGNORED("aws.**", TYPE_ANY, NO_CLUSTER)},

    // Log.
    {IGNORED("log.console.use_colors", TYPE_BOOL, OWN_FORMAT), .fine = "false,off"},
    {IGNORED("log.console.color_esc_seqs.**", TYPE_ANY, OWN_FORMAT)},
    {IGNORED("log.console.formatter.**", TYPE_ANY, OWN_FORMAT)},
    {IGNORED("log.file.formatter.**", TYPE_ANY, OWN_FORMAT)},
    {IGNORED("log.file.rotation.**", TYPE_ANY, NO_ROTATION)},
    {IGNORED("log.default.rotation.**", TYPE_ANY, NO_ROTATION)},
    {IGNORED("log.$category.file", TYPE_TEXT, "all categories go to one file")},
    {IGNORED("log.$category.rotation.**", TYPE_ANY, NO_ROTATION)},
    {IGNORED("log.ra.level", TYPE_LEVEL, NO_QUORUM)},
    {IGNORED("log.user.level", TYPE_LEVEL, "there is no such category")},
    {IGNORED("log.prelaunch.level", TYPE_LEVEL, "there is no such category")},
    {IGNORED("log.exchange.formatter.**", TYPE_ANY, "lines are those of console and file")},
    {IGNORED("log.exchange.formatter", TYPE_ANY, "lines are those of console and file")},
    {IGNORED("log.journald", TYPE_BOOL, "under systemd the console goes to the journal"), .fine = "false,off"},
    {IGNORED("log.journald.**", TYPE_ANY, "under systemd the console goes to the journal")},
    {IGNORED("log.syslog", TYPE_BOOL, "logging to syslog is not available in this version"), .fine = "false,off"},
    {IGNORED("log.syslog.**", TYPE_ANY, "logging to syslog is not available in this version")},
    {IGNORED("log.summarize_process_state", TYPE_BOOL, NO_ERLANG)},
    {IGNORED("log.error_logger_format_depth", TYPE_ANY, NO_ERLANG)},
    {IGNORED("motd_file", TYPE_TEXT, "no banner is printed")},

    // Management and metrics.
    {IGNORED("collect_statistics", TYPE_CHOICE, "statistics are always collected"), .choices = "none|coarse|fine"},
    {IGNORED("management.tcp.**", TYPE_ANY, NO_HTTP)},
    {REFUSED("management.ssl.**", TYPE_ANY, NO_TLS)},
    {REFUSED("management.listener.ssl", TYPE_BOOL, NO_TLS), .fine = "false,off"},
    {IGNORED("management.listener.ssl_opts", TYPE_NONE, NO_TLS), .fine = "none"},
    {REFUSED("management.listener.ssl_opts.**", TYPE_ANY, NO_TLS)},
    {IGNORED("management.listener.server.**", TYPE_ANY, NO_HTTP)},
    {IGNORED("management.http.hide_allow_header", TYPE_BOOL, NO_HTTP)},
    {IGNORED("management.http_log_dir", TYPE_TEXT, NO_HTTP)},
    {IGNORED("management.sample_retention_policies.$section.$interval", TYPE_INT, NO_HTTP), INT_MAX_32},
    {IGNORED("management.db_cache_multiplier", TYPE_INT, NO_HTTP), INT_MAX_32},
    {IGNORED("management.delegate_count", TYPE_INT, NO_ERLANG), INT_MAX_32},
    {IGNORED("management.csp.policy", TYPE_TEXT, NO_HTTP)},
    {IGNORED("management.hsts.policy", TYPE_TEXT, NO_HTTP)},
    {IGNORED("management.headers.$name", TYPE_TEXT, NO_HTTP)},
    {REFUSED("management.disable_basic_auth", TYPE_BOOL, "only user names and passwords are available in this version"), .fine = "false,off"},
    {REFUSED("management.oauth_disable_basic_auth", TYPE_BOOL, "only user names and passwords are available in this version"), .fine = "false,off"},
    {IGNORED("management.enable_uaa", TYPE_BOOL, NO_BACKENDS), .fine = "false,off"},
    {IGNORED("management.uaa_client_id", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.uaa_location", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_enabled", TYPE_BOOL, NO_BACKENDS), .fine = "false,off"},
    {IGNORED("management.oauth_provider_url", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_client_id", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_client_secret", TYPE_TEXT, NO_BACKENDS), .flags = KEY_SECRET},
    {IGNORED("management.oauth_response_type", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_scopes", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_metadata_url", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_initiated_logon_type", TYPE_TEXT, NO_BACKENDS)},
    {IGNORED("management.oauth_resource_servers.**", TYPE_ANY, NO_BACKENDS)},
    {IGNORED("management.oauth_authorization_endpoint_params.$name", TYPE_ANY, NO_BACKENDS)},
    {IGNORED("management.oauth_token_endpoint_params.$name", TYPE_ANY, NO_BACKENDS)},
    {REFUSED("management.restrictions.quorum_queue_replica_operations.disabled", TYPE_BOOL, "this restriction is not available in this version"), .fine = "false,off"},
    {REFUSED("management.require_auth_for_api_reference", TYPE_BOOL, "this restriction is not available in this version"), .fine = "false,off"},
    {IGNORED("management.credential_encryption_secret", TYPE_TEXT, NO_HTTP), .flags = KEY_SECRET},
    {IGNORED("management.definitions.require_json_extension", TYPE_BOOL, NO_HTTP)},
    {IGNORED("management_agent.disable_metrics_collector", TYPE_BOOL, "statistics are always collected"), .fine = "false,off"},
    {IGNORED("management_agent.filter_aggregated_queue_metrics_pattern", TYPE_TEXT, NO_METRICS)},
    {IGNORED("prometheus.tcp.listener", TYPE_ANY, NO_METRICS), .fine = "none"},
    {IGNORED("prometheus.tcp.**", TYPE_ANY, NO_METRICS)},
    {REFUSED("prometheus.ssl.**", TYPE_ANY, NO_TLS)},
    {REFUSED("prometheus.authentication.enabled", TYPE_BOOL, "metrics are told without a log-in in this version"), .fine = "false,off"},
    {IGNORED("prometheus.filter_aggregated_queue_metrics_pattern", TYPE_TEXT, NO_METRICS)},
    {IGNORED("http_dispatch.**", TYPE_ANY, NO_HTTP)},

    // Other protocols and plugins.
    {IGNORED("mqtt.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("web_mqtt.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("stomp.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("web_stomp.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("stream.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("amqp1_0.**", TYPE_ANY, NO_PROTOCOL)},
    {IGNORED("session_max_per_connection", TYPE_INT, NO_PROTOCOL), INT_MAX_32},
    {IGNORED("link_max_per_session", TYPE_INT, NO_PROTOCOL), INT_MAX_32},
    {IGNORED("amqp_client.**", TYPE_ANY, "links to other brokers are not available in this version")},
    {IGNORED("amqp10_client.**", TYPE_ANY, "links to other brokers are not available in this version")},
    {IGNORED("federation.**", TYPE_ANY, "links to other brokers are not available in this version")},
    {IGNORED("shovel.**", TYPE_ANY, "links to other brokers are not available in this version")},
    {IGNORED("tracing.**", TYPE_ANY, "trace files are not available in this version")},
};
// clang-format on

const size_t config_keys_other_count = LV_ARRAY_LEN(config_keys_other);
