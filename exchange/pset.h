// pset.h: a persistent set of pointers that is small while it holds few: nothing, one item (no memory at
// all), a few in an array, many in a map (src/base/pmap.h). For the bindings of a key or a node, and the
// children of a trie node.
//
// A set is one word by value. A change never touches memory that an earlier value of the set shows, unless
// that memory was made in the same edit; what it replaces goes to the edit's retire list. The set never owns
// its items. One thread edits; any thread reads. Out of memory aborts in changes.
#pragma once

#include "src/base/pmap.h"

// LIMIT: an array above this becomes a map (a change copies the array); below PSET_FEW_MIN a map becomes an
// array again.
#define PSET_FEW_MAX 8
#define PSET_FEW_MIN 4

struct pset {
    uintptr_t ref; // 0: empty; else a pointer with a PSET_TAG in the low bits
};

enum pset_tag { PSET_ONE, PSET_FEW, PSET_MANY, PSET_TAG_MASK = 3 };

struct pset_few {
    uint64_t edit_id; // first: see pmap_edit_retire. The edit that may change it in place
    uint32_t count;
    uint32_t cap;
    void *items[];
};

struct pset_many {
    uint64_t edit_id;
    struct pmap map;
};

// How the items of a set are told apart. `key` is whatever the user passes with an item.
struct pset_type {
    uint64_t (*hash_key)(const void *key);
    uint64_t (*hash_item)(const void *item);
    bool (*eq)(const void *item, const void *key);
};

static inline enum pset_tag
pset_tag(struct pset s)
{
    return (enum pset_tag)(s.ref & PSET_TAG_MASK);
}

static inline bool
pset_is_empty(struct pset s)
{
    return s.ref == 0;
}

static inline void *
pset_one(struct pset s)
{
    return (void *)s.ref;
}

static inline struct pset_few *
pset_few(struct pset s)
{
    return (struct pset_few *)(s.ref & ~(uintptr_t)PSET_TAG_MASK);
}

static inline struct pset_many *
pset_many(struct pset s)
{
    return (struct pset_many *)(s.ref & ~(uintptr_t)PSET_TAG_MASK);
}

// NULL when there is none. Inline, so that a constant `type` costs no indirect calls.
static inline void *
pset_find(struct pset s, const struct pset_type *type, const void *key)
{
    switch (pset_tag(s)) {
    case PSET_ONE: return s.ref != 0 && type->eq(pset_one(s), key) ? pset_one(s) : NULL;
    case PSET_FEW:
        for (uint32_t i = 0; i < pset_few(s)->count; i++) {
            if (type->eq(pset_few(s)->items[i], key))
                return pset_few(s)->items[i];
        }
        return NULL;
    default: return pmap_find(&pset_many(s)->map, type->hash_key(key), type->eq, key);
    }
}

uint64_t pset_count(struct pset s);
// Some item; NULL when the set is empty.
void *pset_any(struct pset s);
// Adds `item`, or puts it in the place of the one equal to `key`, which is returned.
void *pset_put(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key,
               void *item);
// Removes and returns; NULL when there is none (nothing is changed then).
void *pset_remove(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key);
// Retires the set's own memory; the items stay the caller's.
void pset_clear(struct pset *s, struct pmap_edit *e);
// In no order; the callback returns false to stop. False when stopped.
bool pset_each(struct pset s, pmap_visit_fn visit, void *ctx);
