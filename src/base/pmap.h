// pmap.h: persistent map (hash array mapped trie, 32-way) from 64-bit hashes plus a caller-defined key to
// pointers.
//
// A version of the map is its root (`struct pmap`, by value). A change copies only the path from the root to
// the place changed; earlier roots go on showing what they showed, and readers on other threads need no lock:
// whoever has a root may read it until its nodes are retired and freed. Many changes in one `struct
// pmap_edit` share the copies: a node made in the same edit is changed in place. The cost of a change is
// O(log32 n) at any size.
//
// Ownership: the map never owns the values. Nodes replaced by an edit are collected in the edit's retire
// list; the caller frees them (pmap_retired_free) when no reader can have an older root. One thread edits;
// any thread reads. Out of memory aborts (topology objects; see mem.h).
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

struct pmap_node;

struct pmap {
    const struct pmap_node *root; // NULL: empty
    uint64_t count;               // values
};

struct pmap_retired; // opaque list of nodes no longer reachable from the newest version

struct pmap_edit {
    uint64_t id;                  // unique for the process; nodes stamped with it may be changed in place
    struct pmap_retired *retired; // grows with each copied node
};

// Whether `value` is the one looked for.
typedef bool (*pmap_eq_fn)(const void *value, const void *key);

void pmap_edit_begin(struct pmap_edit *e);
// Takes the retire list out (the edit is over: begin a new one before the next change).
struct pmap_retired *pmap_edit_end(struct pmap_edit *e);
// For nodes of other structures that are changed along with maps (exchange/): a mem_alloc'd block whose first
// eight bytes are the id of the edit that made it, and are read by editors alone. Frees it at once when that
// is this edit, otherwise with the edit's retire list (which is chained through those eight bytes; all others
// stay readable until then).
void pmap_edit_retire(struct pmap_edit *e, void *block);
// Accepts NULL; only when no reader can reach the nodes any more.
void pmap_retired_free(struct pmap_retired *r);

void *pmap_find(const struct pmap *m, uint64_t hash, pmap_eq_fn eq, const void *key);
// Inserts or replaces; returns the value replaced, or NULL.
void *pmap_put(struct pmap *m, struct pmap_edit *e, uint64_t hash, pmap_eq_fn eq, const void *key,
               void *value);
// Removes; returns the value removed, or NULL.
void *pmap_remove(struct pmap *m, struct pmap_edit *e, uint64_t hash, pmap_eq_fn eq, const void *key);

// In-order walk (by hash); the callback returns false to stop. Not recursive in the number of values.
typedef bool (*pmap_visit_fn)(void *value, void *ctx);
bool pmap_each(const struct pmap *m, pmap_visit_fn visit, void *ctx);

// Iteration without a callback, by a cursor on the caller's stack.
struct pmap_iter {
    const struct pmap_node *path[16];
    uint32_t pos[16];
    int depth;
};
void pmap_iter_init(struct pmap_iter *it, const struct pmap *m);
void *pmap_iter_next(struct pmap_iter *it); // NULL at the end

// Retires every node of a map (the values stay the caller's); the map is empty afterwards.
void pmap_clear(struct pmap *m, struct pmap_edit *e);
