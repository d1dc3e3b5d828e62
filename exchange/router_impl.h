// router_impl.h: what the files of the exchange types share. Private to exchange/.
//
// Each type has the same five functions over `struct router`; router.c picks by type. The rules of pset.h and
// pmap.h hold for all of them: nodes made in the edit at hand are changed in place, all others are copied and
// retired.
#pragma once

#include "amqp/wire/table.h"
#include "exchange/pset.h"
#include "exchange/ranked.h"
#include "exchange/router.h"
#include "exchange/stamps.h"
#include "src/base/rng.h"

// Sets of bindings by identity; the key is a binding too.
extern const struct pset_type binding_pset_type;

// A growable array of trie nodes.
struct node_list {
    const struct topic_node **items;
    size_t count;
    size_t cap;
};

// One header of the message at hand.
struct header_item {
    struct slice key;
    struct field value;
};

struct router_scratch {
    struct stamps met;           // topic: '#' nodes that are active; headers: groups that were visited
    struct node_list now, next;  // topic: active nodes before and after a word
    struct node_list loops;      // topic: active '#' nodes: they stay active
    struct header_item *headers; // headers: the message's, sorted by key
    size_t headers_count, headers_cap;
    struct rng rng; // random
};

LV_MUST_USE int binding_set_add(struct binding_set *s, const struct binding *b);
LV_MUST_USE int binding_set_add_all(struct binding_set *s, struct pset bindings);

bool direct_bind(struct router *r, struct pmap_edit *e, const struct binding *b);
const struct binding *direct_unbind(struct router *r, struct pmap_edit *e, const struct binding *b);
void direct_clear(struct router *r, struct pmap_edit *e);
bool direct_each(const struct router *r, pmap_visit_fn visit, void *ctx);

bool topic_bind(struct router *r, struct pmap_edit *e, const struct binding *b);
const struct binding *topic_unbind(struct router *r, struct pmap_edit *e, const struct binding *b);
void topic_clear(struct router *r, struct pmap_edit *e);
bool topic_each(const struct router *r, pmap_visit_fn visit, void *ctx);
LV_MUST_USE int topic_match(const struct router *r, struct router_scratch *scratch, struct slice key,
                            struct binding_set *found);

bool headers_bind(struct router *r, struct pmap_edit *e, const struct binding *b);
const struct binding *headers_unbind(struct router *r, struct pmap_edit *e, const struct binding *b);
void headers_clear(struct router *r, struct pmap_edit *e);
bool headers_each(const struct router *r, pmap_visit_fn visit, void *ctx);
LV_MUST_USE int headers_match(const struct router *r, struct router_scratch *scratch, struct slice headers,
                              struct binding_set *found);

// The types that pick one binding (exchange_type_picks).
bool pick_bind(struct router *r, struct pmap_edit *e, const struct binding *b);
const struct binding *pick_unbind(struct router *r, struct pmap_edit *e, const struct binding *b);
LV_MUST_USE int pick_match(const struct router *r, struct router_scratch *scratch, struct slice key,
                           struct binding_set *found);

// direct: the bindings of a key.
bool direct_key_eq(const void *value, const void *key);

static inline struct pset
direct_lookup(const struct router *r, struct slice key)
{
    return (struct pset){(uintptr_t)pmap_find(&r->by_key, slice_hash(key), direct_key_eq, &key)};
}
