// config.h: the configuration of one daemon, as plain typed fields, and where every value came from.
//
// Values come from, later ones winning: built-in defaults, configuration files in the order given (RabbitMQ's
// `key = value` syntax, config_file.h), RABBITMQ_* variables of the environment, `-o KEY=VALUE` of the
// command line. The table of all keys with type, default and status is config_keys.h.
//
// Invariants: a struct config that config_load returned is complete, in range, and never changes; its strings
// are NUL-terminated, without NUL inside, and live as long as it. Reading it is free for every thread. It is
// counted: whoever keeps a pointer across a reload (SIGHUP makes a new struct config, daemon.h) takes a
// reference.
#pragma once

#include <stdatomic.h>

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

// LIMIT: entries of the lists below; more is an error of configuration.
enum { CONFIG_LISTENERS_MAX = 32, CONFIG_LIST_MAX = 64 };

// "No limit" in the fields that say so (`infinity` in a file).
#define CONFIG_UNLIMITED UINT32_MAX

enum config_placement { PLACEMENT_NORMAL, PLACEMENT_LOCAL, PLACEMENT_REMOTE };
enum config_hashing { HASHING_SHA256, HASHING_SHA512, HASHING_MD5 };
enum config_credentials { CREDENTIALS_ACCEPT_ALL, CREDENTIALS_MIN_LENGTH, CREDENTIALS_REGEXP };
enum config_rates_mode { RATES_BASIC, RATES_DETAILED, RATES_NONE };

enum config_interceptor { INTERCEPT_OFF, INTERCEPT_KEEP, INTERCEPT_OVERWRITE };

struct config_vhost_limits {
    const char *name;    // the part of the keys: "1", "devices"
    const char *pattern; // regular expression of names [.*]
    int64_t max_connections, max_queues, max_publish_rate, max_publish_bytes_rate; // -1: none
};

// Names and values of server_properties.NAME.
struct config_pair {
    const char *name, *value;
};

struct config_listener {
    const char *name; // the last part of the key: "default", "1"
    const char *host; // numeric address; "" for every address, IPv6 and IPv4
    uint16_t port;    // 1 … 65535; 0 (any free port) only in builds with test hooks
};

struct config_strings {
    size_t count;
    const char *const *items;
};

// One operator policy that every new virtual host gets whose name matches: default_policies.operator.NAME.*.
struct config_default_policy {
    const char *name;
    const char *vhost_pattern, *queue_pattern; // regular expressions [.*]
    const char *definition;                    // JSON object
};

// Options of accepted sockets; tcp_listen_options.* except the backlog.
struct config_tcp {
    int backlog;       // pending connections of a listener [128]
    bool is_nodelay;   // TCP_NODELAY [true; RabbitMQ's shipped default]
    bool is_keepalive; // SO_KEEPALIVE [false]
    int sndbuf_bytes;  // SO_SNDBUF [0: the kernel's own tuning]
    int recbuf_bytes;  // SO_RCVBUF [0: the kernel's own tuning]
};

struct config_fs;

enum config_source_kind { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENV, SOURCE_OPTION };

// One effective value, for `leveretctl environment`. Secrets have the value "[redacted]".
struct config_value {
    const char *key;
    const char *value;
    enum config_source_kind source_kind;
    const char *source; // "/etc/leveret/leveret.conf:12", "RABBITMQ_NODE_PORT", "-o", "default"
    bool is_secret;
    bool is_reloadable; // a change takes effect at SIGHUP; other changes need a restart
    bool is_ignored;    // accepted without effect, a warning was given
};

struct config {
    atomic_uint refs; // config_ref, config_unref

    // Identity.
    const char *node_name;       // [rabbit@HOST]; RABBITMQ_NODENAME
    const char *cluster_name;    // cluster_name [node_name]
    const char *product_name;    // product.name [RabbitMQ]
    const char *product_version; // product.version [3.10.8]

    // server_properties.NAME: more of what clients are told of the broker when they connect.
    size_t server_property_count;
    const struct config_pair *server_properties;

    // Process.
    int workers;                  // workers, threads, 1 … CREW_WORKERS_MAX [one a core]
    const char *data_dir;         // data_dir, absolute path [/var/lib/leveret]
    const char *control_socket;   // control_socket, absolute path [DATADIR/control.sock]
    uint32_t shutdown_timeout_ms; // shutdown_timeout, time to close connections at SIGTERM [10000]

    // Listeners and sockets.
    size_t tcp_listener_count;                   // 0 with listeners.tcp = none
    const struct config_listener *tcp_listeners; // listeners.tcp.NAME [{"default", "", 5672}]
    struct config_tcp tcp;

    // Connections and channels.
    uint32_t handshake_timeout_ms;            // from accept to connection.open, ms; CONFIG_UNLIMITED [10000]
    uint32_t heartbeat_s;                     // proposed in tune, seconds; 0 none [60]; reloadable
    uint32_t frame_max_bytes;                 // proposed in tune, 4096 … CONFIG_FRAME_BYTES_MAX [131072]
    uint32_t initial_frame_max_bytes;         // before tune-ok [4096]
    uint16_t channel_max;                     // channels a connection, 0 none [2047]
    uint32_t connection_max;                  // of the node; CONFIG_UNLIMITED []
    uint32_t channel_max_per_node;            // CONFIG_UNLIMITED []
    uint32_t consumer_max_per_channel;        // CONFIG_UNLIMITED []
    uint32_t max_unauthenticated_connections; // before connection.open [4096]
    uint32_t max_message_bytes;               // body size [134217728]
    uint16_t default_consumer_prefetch;       // of channels that have not asked for one; 0 none [0]
    uint32_t consumer_timeout_ms;             // longest time without ack; CONFIG_UNLIMITED [1800000]

    // Objects.
    const char *
        default_queue_type; // of vhosts that have none: classic or quorum, or RabbitMQ's module names [classic]
    bool is_redeclare_relaxed;       // a quorum queue may be declared again as a classic one [false]
    uint32_t vhost_max;              // CONFIG_UNLIMITED []
    uint32_t cluster_queue_limit;    // CONFIG_UNLIMITED []
    uint32_t cluster_exchange_limit; // CONFIG_UNLIMITED []
    size_t default_policy_count;
    const struct config_default_policy *default_policies; // in the order of their first settings [none]

    // Rates of publishing, a second: of virtual hosts and users without a limit of their own, of each connection.
    // CONFIG_UNLIMITED []; reloadable
    uint32_t vhost_max_publish_rate, vhost_max_publish_bytes_rate;
    uint32_t user_max_publish_rate, user_max_publish_bytes_rate;
    uint32_t connection_max_publish_rate, connection_max_publish_bytes_rate;

    // Limits of new virtual hosts, in order; the first whose pattern matches the name is used.
    size_t vhost_limits_count;
    const struct config_vhost_limits *vhost_limits; // default_limits.vhosts.N.* []

    // Message interceptors: what is added to every message on its way in.
    enum config_interceptor intercept_timestamp; // message_interceptors.incoming.set_header_timestamp [off]
    enum config_interceptor
        intercept_routing_node; // message_interceptors.incoming.set_header_routing_node [off]

    // Events.
    bool has_event_exchange;           // event_exchange.enabled [false]
    const char *event_vhost;           // event_exchange.vhost [default_vhost]
    bool has_log_exchange;             // log.exchange [false]
    enum log_level log_exchange_level; // log.exchange.level [info]

    // Authentication and the first user.
    struct config_strings loopback_users;         // user names only let in from loopback [guest]; reloadable
    struct config_strings auth_mechanisms;        // PLAIN, AMQPLAIN in the order to be offered [both]
    enum config_hashing password_hashing;         // of new passwords [sha256]
    enum config_credentials credential_validator; // [accept everything]
    uint32_t credential_min_length;               // bytes, for CREDENTIALS_MIN_LENGTH
    const char *credential_regexp;                // for CREDENTIALS_REGEXP; "" otherwise
    const char *default_vhost;                    // made when the data directory is new [/]
    const char *default_user;                     // [guest]
    const char *default_pass;                     // secret: never logged [guest]
    struct config_strings default_user_tags;      // [administrator]
    const char *default_permission_configure;     // regular expressions [.*]
    const char *default_permission_write;
    const char *default_permission_read;

    // Memory and disk alarms; reloadable.
    double memory_watermark_relative;         // 0 … 1 of the memory; used when the absolute one is 0 [0.4]
    uint64_t memory_watermark_absolute_bytes; // 0: not set []
    double memory_paging_ratio;           // of the watermark, from here on messages go to disk, 0 … 1 [0.5]
    uint64_t memory_total_override_bytes; // total_memory_available_override_value, 0: what the system says []
    uint32_t memory_monitor_interval_ms;  // [2500]
    double disk_free_relative;            // of total memory; 0: not set []
    uint64_t disk_free_absolute_bytes;    // used when the relative one is 0 [50000000]

    // The message log.
    uint64_t message_log_segment_bytes; // [16 MiB]
    uint64_t message_log_segments;      // [16]
    uint64_t message_log_index_max;     // messages whose places are in memory [1000000]

    // Statistics, HTTP API.
    const char *load_definitions;                  // a file or folder; "": none
    bool is_definitions_skipped_if_unchanged;      // definitions.skip_if_unchanged [false]
    uint32_t statistics_interval_ms;               // collect_statistics_interval [5000]
    const char *management_ip;                     // management.tcp.ip, numeric address; "" every address
    uint16_t management_port;                      // management.tcp.port, 0: none [15672]
    const char *management_path_prefix;            // "" or "/prefix" []
    uint32_t management_body_bytes_max;            // management.http.max_body_size [10000000]
    uint32_t management_session_minutes;           // management.login_session_timeout [60]
    bool management_is_without_stats;              // management.disable_stats [false]
    bool management_has_queue_totals;              // management.enable_queue_totals [false]
    struct config_strings management_cors_origins; // management.cors.allow_origins.NAME; "*": every origin []
    uint32_t management_cors_max_age_s;            // [1800]
    enum config_rates_mode rates_mode;             // management.rates_mode [basic]
    bool is_operator_policy_frozen; // management.restrictions.operator_policy_changes.disabled [false]
    const char *prometheus_path;    // [/metrics]
    const char *prometheus_ip;      // prometheus.tcp.ip, numeric address; "" every address
    uint16_t prometheus_port;       // prometheus.tcp.port; 0: none [15692]
    bool prometheus_is_per_object;  // prometheus.return_per_object_metrics [false]

    // The log: ready for log_configure (strings live here); reloadable.
    struct log_config log;

    // Test builds only (LV_TEST_HOOKS); constant otherwise.
    enum config_placement test_placement; // test.placement: where a queue is placed, seen from its declarer
    uint64_t test_mailbox_delay_seed;     // 0: off
    uint64_t test_page_out_seed;          // 0: off
    uint64_t test_crash_at;               // 0: off
    const char *test_io_fault;            // src/base/io_test.h [none]
    const char *test_alloc_fail_at;       // "N:COUNT" [none]
    const char *test_bug;                 // src/base/bug.h [none]

    // What is in force and from where: every key with a default and every key that was set, in the order of
    // the table.
    size_t value_count;
    const struct config_value *values;
    size_t file_count;
    const char *const *files; // read, in order
};

// LIMIT: the largest frame we propose or accept; frame_max = 0 ("no limit") means this.
enum { CONFIG_FRAME_BYTES_MAX = 16 * 1024 * 1024 };

// What the command line and the world give; all pointers are the caller's.
struct config_input {
    const char *const
        *files; // -c, in order; none: RABBITMQ_CONFIG_FILE, else /etc/leveret/leveret.conf if it exists
    size_t file_count;
    const char *const *options; // -o "key=value", in order
    size_t option_count;
    const char *data_dir;           // -d, or NULL
    const char *const *environment; // as `environ`, NULL-terminated; NULL: empty
    const char *hostname;           // full or short; NULL: the system's
    const struct config_fs *fs;     // NULL: the system's files (config_files.h)
};

// Reads everything. 0 and a new reference in ret_config; or
// -LE_SYNTAX/-LE_INVAL/-LE_LIMIT/-LE_ACCESS/-LE_NOTFOUND/-LE_NOMEM and nothing in it. `problems` gets one
// line for each error ("FILE:LINE: …"), `warnings` one for each key accepted without effect or suspicious
// value; both may grow in either case. Any thread; reads files, blocks.
LV_MUST_USE int config_load(const struct config_input *input, struct config **ret_config,
                            struct buf *problems, struct buf *warnings);
// As config_load, for SIGHUP: keys that cannot be reloaded keep the value they have in `running`. `changes`
// gets one line for each key whose value differs: taken over, or in need of a restart. Secrets are not shown.
LV_MUST_USE int config_reload(const struct config *running, const struct config_input *input,
                              struct config **ret_config, struct buf *problems, struct buf *changes);
struct config *config_ref(struct config *c);
void config_unref(struct config *c); // accepts NULL; wipes secrets when the last reference goes

// The effective value of a key, or NULL when it is unset or unknown.
const struct config_value *config_find(const struct config *c, const char *key);
