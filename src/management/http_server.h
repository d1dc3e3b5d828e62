// http_server.h: the listeners of the HTTP API: the control socket (HTTP over a Unix socket) for leveretctl, and a TCP port.
//
// libmicrohttpd runs inside the loop of crew member CREW_HTTP: no thread of its own. The control socket is a file that only the
// broker's user may open (mode 0600); whoever can may do everything. Over TCP every request is authenticated (api_auth.h).
// Connections, headers, bodies and times are bounded for both.
#pragma once

#include "src/base/log.h"
#include "src/base/worker.h"

struct api_auth;
struct api_server;
struct api_exchange_stats;
struct api_tokens;
struct api_totals;
struct definitions_queue;
struct list;
struct metrics_memory;
struct msglog_stats;
struct password_rule;
struct policy_matcher;

struct api_resources {
    bool is_running; // the start-up is over, the stop has not begun
    bool has_memory_alarm, has_disk_alarm;
    uint64_t memory_limit_bytes; // watermark; 0: not known
    uint64_t disk_limit_bytes;
    double memory_relative; // how the watermark is set: share of the memory; 0: absolute
};

struct api_node { // what the node says about itself; strings live as long as the server
    const char *node_name, *cluster_name, *product_name, *product_version, *data_dir;
    const char *listeners;    // JSON array of listeners
    const char *contexts;     // JSON array of HTTP listeners
    const char *config_files; // JSON array of paths
    const char *log_files;    // JSON array of paths, "<stdout>", "<stderr>"
    // Writes the effective configuration as JSON object members (may be NULL).
    void (*environment)(void *ctx, void *buf);
    // Asks the process to stop, or to reopen its logs (may be NULL).
    void (*stop)(void *ctx);
    void (*rotate_logs)(void *ctx);
    // Sets the log level of all outputs and categories until the next start or reload (may be NULL).
    void (*set_log_level)(void *ctx, enum log_level level);
    // Resource use and limits (may be NULL).
    void (*resources)(void *ctx, struct api_resources *ret);
    // What the message log does and holds (may be NULL).
    void (*log_stats)(void *ctx, struct msglog_stats *ret);
    // Must this user connect from a loopback address? (may be NULL)
    bool (*is_loopback_user)(void *ctx, const char *user);
    // Which passwords users may be given (src/broker/auth.h); NULL: all.
    const struct password_rule *password_rule;
    bool is_operator_policy_frozen; // no changes but over the control socket
    void *ctx;
};

struct http_config { // strings live as long as the server
    const char *control_socket;
    const char *ip;                          // numeric; "" or NULL: every address
    uint16_t port;                           // 0: no TCP listener
    const char *path_prefix;                 // "" or NULL: none
    size_t body_bytes_max;                   // over TCP
    uint32_t session_minutes;                // how long a token of api_tokens.h may be unused
    bool is_without_stats, has_queue_totals; // of lists, unless the query says otherwise
    bool has_rates;
    uint32_t statistics_interval_ms;
    const char *metrics_ip; // as `ip`
    uint16_t metrics_port;  // 0: no metrics
    const char *metrics_path;
    bool is_metrics_per_object;
    const char *const *cors_origins; // "*": every origin, without credentials
    size_t cors_origin_count;
    uint32_t cors_max_age_s;
};

// Start-up, before crew_start: binds the listeners and hooks the member. 0, or -LE_xxx with a sentence (heap).
LV_MUST_USE int http_server_start(struct crew *crew, const struct http_config *config,
                                  const struct api_node *node, struct api_server **ret, char **ret_error);
// After the crew's threads have ended. Removes the socket file.
void http_server_stop(struct api_server *s);
const struct api_node *http_server_node(const struct api_server *s);
const struct http_config *http_server_config(const struct api_server *s);
int64_t http_server_started_ms(const struct api_server *s); // wall clock
struct api_auth *http_server_auth(const struct api_server *s);
struct api_tokens *http_server_tokens(const struct api_server *s);
size_t *http_server_list_bytes(struct api_server *s); // api_list.c: bytes of the keys of all lists
struct api_totals *http_server_totals(const struct api_server *s);
struct definitions_queue *http_server_definitions(const struct api_server *s);
struct list *http_server_exports(struct api_server *s); // api_definitions.c's
struct metrics_memory *http_server_metrics(struct api_server *s, size_t **ret_bytes); // metrics.c
struct api_exchange_stats *http_server_exchange_stats(const struct api_server *s);
// api_exchange_stats.c and api_totals.c, for http_server.c.
struct api_exchange_stats *api_exchange_stats_new(struct api_server *s);
void api_exchange_stats_free(struct api_exchange_stats *t); // accepts NULL
bool api_exchange_stats_run(struct api_exchange_stats *t);  // in the loop; true: something was begun
struct api_totals *api_totals_new(struct api_server *s);
void api_totals_free(struct api_totals *t); // accepts NULL
bool api_totals_run(struct api_totals *t);  // in the loop; true: something was begun
struct api_request;
const char *http_header(const struct api_request *r, const char *name);
// The address of who asks, "?" when it is not known; and whether that is a loopback address, or the control socket.
void http_peer(const struct api_request *r, char *text, size_t size, uint16_t *ret_port,
               bool *ret_is_loopback);
struct policy_matcher *http_server_matcher(const struct api_server *s); // of this member
struct worker *http_server_worker(const struct api_server *s);
