// route.h: from a publish to the queues it goes to: through exchange-to-exchange bindings, alternate
// exchanges and several routing keys (CC, BCC), each queue once.
//
// Reads immutable topology through struct route_graph; everything mutable is in the worker's own struct
// route_ctx. Cycles of exchanges are cut: each exchange is visited once a message. An exchange whose keys
// match nothing at all hands the message to its alternate exchange, if that exists (chains too, each once).
#pragma once

#include "exchange/hash_on.h"
#include "exchange/router.h"

// One version of an exchange, immutable.
struct exchange {
    uint64_t id; // never reused
    enum exchange_type type;
    bool is_durable, is_auto_delete, is_internal,
        is_default;    // is_default: the nameless exchange: key = queue name
    struct slice name; // these slices point into memory shared by all versions of the exchange
    struct slice vhost;
    struct slice arguments; // field table without its length
    struct slice alternate; // name of the alternate exchange, empty when none
    struct slice user;
    const void *owner; // the topology's own: what the names point into
    // A delayed exchange: messages of a delayed request (below) go to this queue instead of being routed. NULL: it has none.
    const struct queue_def *delay_queue;
    bool is_delayed;        // by its type, or by policy
    struct hash_on hash_on; // x-consistent-hash
    struct router router;   // its type is `type`, of a delayed exchange the one it routes by
};

// How to look up neighbours in the topology version at hand. `graph` is the vhost's view.
struct route_graph {
    const void *graph;
    const struct exchange *(*exchange_by_id)(const void *graph, uint64_t id);
    const struct exchange *(*exchange_by_name)(const void *graph, struct slice name);
    const struct queue_def *(*queue_by_name)(const void *graph, struct slice name);
};

struct route_ctx;
LV_MUST_USE struct route_ctx *route_ctx_new(void); // one per thread
void route_ctx_free(struct route_ctx *c);

struct route_request {
    const struct exchange *exchange;
    const struct slice *keys; // the routing key first, then CC and BCC keys
    size_t key_count;
    struct slice headers;                 // headers table, may be empty
    const struct amqp_basic_props *props; // for what is hashed; NULL: it has none
    bool is_delayed; // the message waits in the queues of the delayed exchanges it comes to (QUEUE_DELAY)
};

// The result: distinct queues, grouped by owner worker (all of one worker are neighbours). Valid until the
// next route_resolve on this ctx or the next topology version, whichever is first.
struct route_result {
    const struct queue_def *const *queues;
    size_t count;
    bool
        is_for_one; // another message of the same keys may go elsewhere: an exchange looked at more than keys
};

// 0 or -LE_NOMEM (the ctx can be used again; *ret is untouched).
LV_MUST_USE int route_resolve(struct route_ctx *c, const struct route_graph *g,
                              const struct route_request *request, struct route_result *ret);
