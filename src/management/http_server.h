// http_server.h: the HTTP API's listener: today the control socket (HTTP over a Unix socket), for leveretctl.
//
// libmicrohttpd runs inside the loop of crew member CREW_HTTP: no thread of its own. The control socket is a file that only the
// broker's user may open (mode 0600); whoever can may do everything.
#pragma once

#include "src/base/log.h"
#include "src/base/worker.h"

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
    const char *node_name, *cluster_name, *product_version, *data_dir;
    const char *listeners;    // JSON array of listeners
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
    // Which passwords users may be given (src/broker/auth.h); NULL: all.
    const struct password_rule *password_rule;
    bool is_operator_policy_frozen; // no changes but over the control socket
    void *ctx;
};

struct api_server;

// Start-up, before crew_start: binds the control socket and hooks the member. 0, or -LE_xxx with a sentence (heap).
LV_MUST_USE int http_server_start(struct crew *crew, const char *control_socket, const struct api_node *node,
                                  struct api_server **ret, char **ret_error);
// After the crew's threads have ended. Removes the socket file.
void http_server_stop(struct api_server *s);
const struct api_node *http_server_node(const struct api_server *s);
int64_t http_server_started_ms(const struct api_server *s); // wall clock
struct api_request;
// A parameter of the request's query, decoded; NULL when it is not there.
const char *http_query(const struct api_request *r, const char *key);
const char *http_header(const struct api_request *r, const char *name);
struct policy_matcher *http_server_matcher(const struct api_server *s); // of this member
struct worker *http_server_worker(const struct api_server *s);
