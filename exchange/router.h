// router.h: the routing table of one exchange as a persistent structure: which bindings match a message.
//
// A router is a value (a few pointers): a change copies the paths it touches and leaves earlier versions as
// they were, so readers on other threads need no lock (see src/base/pmap.h for edits and retiring). Cost of
// bind and unbind: O(key words · log n), independent of the number of other bindings. Matching (AMQP 0-9-1
// §3.1.3; RabbitMQ for headers and x-match):
//   direct   one lookup by key
//   fanout   all bindings
//   topic    a trie of words matched as a *set of nodes* per word, so that keys like #.#.#.a cannot explode:
//            at most words × nodes steps; words split by '.', '*' is exactly one word, '#' zero or more
//   headers  x-match all | any | all-with-x | any-with-x
//   x-consistent-hash, x-modulus-hash, x-random, x-local-random: one of all bindings: see pick.c. On one node
//   every queue is local.
// Out of memory aborts in changes (topology); matching uses the caller's scratch and reports failure.
#pragma once

#include "exchange/binding.h"
#include "src/base/err.h"
#include "src/base/pmap.h"

enum exchange_type {
    EXCHANGE_DIRECT,
    EXCHANGE_FANOUT,
    EXCHANGE_TOPIC,
    EXCHANGE_HEADERS,
    EXCHANGE_CONSISTENT_HASH,
    EXCHANGE_MODULUS_HASH,
    EXCHANGE_RANDOM,
    EXCHANGE_LOCAL_RANDOM,
    EXCHANGE_ROUTER_COUNT, // those above say how a message is routed: a router has one of them
    EXCHANGE_DELAYED = EXCHANGE_ROUTER_COUNT, // routes by the type in its argument x-delayed-type
    EXCHANGE_TYPE_COUNT
};

// "direct", "x-random" … to a type; -LE_NOTFOUND for an unknown one.
LV_MUST_USE int exchange_type_parse(struct slice name, enum exchange_type *ret_type);
const char *exchange_type_name(enum exchange_type type);
// One of a message's bindings gets it, which one is a matter of `key` or of chance.
static inline bool
exchange_type_picks(enum exchange_type type)
{
    return type >= EXCHANGE_CONSISTENT_HASH && type <= EXCHANGE_LOCAL_RANDOM;
}

struct topic_node;
struct ranked_node;

struct router {
    enum exchange_type type;
    uint64_t count; // bindings
    // direct: key → set of bindings; fanout: bindings by identity; headers: groups by anchor
    struct pmap by_key;
    const struct topic_node *root;    // topic: the trie
    const struct ranked_node *ranked; // consistent hash, modulus hash, random: in the order of fixed hashes
};

void router_init(struct router *r, enum exchange_type type);
// Adds; false when the same binding (binding_same) is there already: nothing changed.
bool router_bind(struct router *r, struct pmap_edit *e, const struct binding *b);
// Removes the one that is binding_same; returns it, or NULL.
const struct binding *router_unbind(struct router *r, struct pmap_edit *e, const struct binding *b);
// Retires all nodes (exchange deleted); the bindings stay the caller's.
void router_clear(struct router *r, struct pmap_edit *e);
// All bindings, in no order; the callback returns false to stop.
bool router_each(const struct router *r, bool (*visit)(const struct binding *b, void *ctx), void *ctx);

// Bindings found for one message, in the caller's growable array; each once a call of router_match, but maybe
// several of the same destination.
struct binding_set {
    const struct binding **items;
    size_t count;
    size_t cap;
};
void binding_set_fini(struct binding_set *s);

// Scratch for matching, one per worker.
struct router_scratch;
LV_MUST_USE struct router_scratch *router_scratch_new(void);
void router_scratch_free(struct router_scratch *s);

// Appends the bindings that match. `key`: the routing key, for the hash types what is to be hashed.
// `headers`: the message's headers table without its length (empty when it has none), used by headers
// exchanges only. 0 or -LE_NOMEM.
LV_MUST_USE int router_match(const struct router *r, struct router_scratch *scratch, struct slice key,
                             struct slice headers, struct binding_set *ret_found);
