// unacked.h: what a queue has delivered and nobody has settled yet, by sequence number.
//
// Open addressing with linear probing; records lie in the table itself, so that a delivery allocates nothing.
// The home slot is a multiplicative hash, which spreads runs of consecutive numbers (the normal case) almost
// without collisions; half full at most, halved below 1/16, no memory when empty and small. Key 0 marks an
// empty slot. One thread: the queue's owner.
#pragma once

#include "queue/queue_def.h"
#include "queue/ready.h"

struct unacked_record {
    struct ready_entry entry; // seq 0: the slot is empty; owns a reference of its message
    union {
        lv_handle owner;           // the consumer; the session of a basic.get
        struct dying_entry *dying; // UNACKED_DYING
    };
};
static_assert(sizeof(struct unacked_record) == 32, "two to a cache line");

struct unacked {
    struct unacked_record *slots; // cap of them
    uint32_t cap;                 // power of two, or 0
    uint32_t count;
};

enum { UNACKED_FIRST_CAP = 16 };

// Tables of the first size come from a pool of such; larger ones from the heap.
void unacked_pool_init(struct pool *p);
void unacked_fini(struct unacked *u, struct pool *p); // the references are the caller's to drop before

LV_MUST_USE bool unacked_grow(struct unacked *u, struct pool *p);

// Makes room for one unacked_put; false when out of memory.
LV_MUST_USE static inline bool
unacked_reserve(struct unacked *u, struct pool *p)
{
    return LV_LIKELY((u->count + 1) * 2ull <= u->cap) || unacked_grow(u, p);
}

void unacked_put(struct unacked *u, const struct ready_entry *e,
                 lv_handle owner); // after unacked_reserve; seq is new
struct unacked_record *unacked_find(const struct unacked *u, uint64_t seq); // NULL when unknown
// Removes the record that unacked_find or unacked_next returned; every pointer into the table is void
// afterwards.
void unacked_remove(struct unacked *u, struct pool *p, struct unacked_record *record);
// Visits all in no order; *cursor starts at 0; NULL at the end. The table must not change meanwhile.
struct unacked_record *unacked_next(const struct unacked *u, size_t *cursor);

static inline size_t
unacked_memory(const struct unacked *u)
{
    return (size_t)u->cap * sizeof(struct unacked_record);
}
