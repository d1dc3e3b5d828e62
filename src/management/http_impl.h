// http_impl.h: what http_server.c (listeners, connections) and http_request.c (requests, answers) share. Nobody else includes it.
#pragma once

#include <microhttpd.h>

#include "src/management/api.h"
#include "src/management/api_auth.h"
#include "src/management/api_tokens.h"
#include "src/management/http_server.h"
#include "src/management/metrics.h"

struct http_listener {
    struct api_server *server;
    struct MHD_Daemon *daemon;
    ev_io readable;            // the library's epoll descriptor
    struct list connections;   // struct http_connection.node: the longest without a sign of life first
    unsigned connection_count; // in that list, without those that are being ended
};

// A connection, from its start to its end.
struct http_connection {
    struct http_listener *listener;
    struct list node;
    struct api_request *request; // NULL: between two
    int fd;                      // the library's
};

enum { LISTENER_CONTROL, LISTENER_TCP, LISTENER_METRICS, LISTENER_COUNT };

struct api_server {
    struct worker *worker;
    int64_t started_ms; // wall clock
    struct api_node node;
    struct http_config config;
    struct api_auth *auth;
    struct api_tokens *tokens;
    struct http_listener listeners[LISTENER_COUNT]; // daemon NULL: not there
    ev_timer timeout;                               // the library's own next time-out
    struct list requests;                           // struct api_request.node
    bool is_due;                                    // the library has something to do
    struct api_totals *totals;
    struct api_exchange_stats *exchange_stats;
    struct policy_matcher *matcher;
    struct definitions_queue *definitions;
    struct list exports; // api_definitions.c's
    size_t list_bytes;   // api_list.c's
    struct metrics_memory metrics;
    size_t metrics_bytes; // metrics.c's: of all scrapes under way
    char *socket_path;
};

struct http_connection *http_connection_of(struct MHD_Connection *connection);
// A sign of life; `request` is what it is at work on now.
void http_connection_touch(struct http_connection *c, struct api_request *request);
void http_server_wake(struct api_server *s); // the library has something to do

// The library's callbacks.
void *http_on_uri(void *ctx, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data, size_t *data_len,
                                void **request);
// The connection is closed: frees requests of it that never came as far as their end.
void http_connection_ended(struct api_server *s, struct MHD_Connection *connection);
void http_on_completed(void *ctx, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
