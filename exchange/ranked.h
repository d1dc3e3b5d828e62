// ranked.h: the bindings of an exchange that picks one of them: a persistent ordered set with ranks.
//
// A weight-balanced tree in the order of ranked_hash, which depends on nothing but the names: the same
// bindings have the same ranks and hashes after a restart, on every node, in whatever order they were bound.
// A change copies the path, O(log n); nodes stamped with the running edit's id are changed in place, all
// others are copied and retired (pmap.h). One thread edits, any thread reads. Out of memory aborts in changes.
// Private to exchange/.
#pragma once

#include "exchange/binding.h"
#include "src/base/pmap.h"

struct ranked_node {
    uint64_t edit_id; // first: see pmap_edit_retire. The edit that may change it in place
    const struct ranked_node *left, *right;
    const struct binding *binding;
    uint64_t hash;  // ranked_hash of the binding
    double weight;  // binding_weight of its key
    uint64_t count; // nodes of this subtree
};

// Of destination, key and arguments by their names: the same everywhere and always.
uint64_t ranked_hash(const struct binding *b);

static inline uint64_t
ranked_count(const struct ranked_node *n)
{
    return n == NULL ? 0 : n->count;
}

// NULL when there is none that is binding_same.
const struct binding *ranked_find(const struct ranked_node *root, const struct binding *b);
// Adds one that is not there.
void ranked_insert(const struct ranked_node **root, struct pmap_edit *e, const struct binding *b);
// Removes one that is there.
void ranked_remove(const struct ranked_node **root, struct pmap_edit *e, const struct binding *b);
void ranked_clear(const struct ranked_node **root, struct pmap_edit *e);
bool ranked_each(const struct ranked_node *root, pmap_visit_fn visit, void *ctx);
// The one before which there are `rank` others; rank < count.
const struct binding *ranked_at(const struct ranked_node *root, uint64_t rank);
