// http_server.h: the HTTP API's listener: today the control socket (HTTP over a Unix socket), for leveretctl.
//
// libmicrohttpd runs inside the loop of crew member CREW_HTTP: no thread of its own. The control socket is a file that only the
// broker's user may open (mode 0600); whoever can may do everything.
#pragma once

#include "src/base/worker.h"

struct api_node {                 // what the node says about itself; strings live as long as the server
    const char *node_name, *cluster_name, *product_version, *data_dir;
    const char *listeners;        // JSON array of listeners
    // Writes the effective configuration as JSON object members (may be NULL).
    void (*environment)(void *ctx, void *buf);
    // Asks the process to stop, or to reopen its logs (may be NULL).
    void (*stop)(void *ctx);
    void (*rotate_logs)(void *ctx);
    void *ctx;
};

struct api_server;

// Start-up, before crew_start: binds the control socket and hooks the member. 0, or -LE_xxx with a sentence (heap).
LV_MUST_USE int http_server_start(struct crew *crew, const char *control_socket, const struct api_node *node, struct api_server **ret,
                                  char **ret_error);
// After the crew's threads have ended. Removes the socket file.
void http_server_stop(struct api_server *s);
const struct api_node *http_server_node(const struct api_server *s);
struct worker *http_server_worker(const struct api_server *s);
