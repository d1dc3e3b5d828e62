// ready.h: the messages of one queue that wait for a consumer, ordered by sequence number.
//
// Two parts: a FIFO of fresh messages (a chain of chunks taken from pools and given back as it drains) and a
// min-heap of messages that came back, or that a transaction let in late. Invariants: sequence numbers in the
// FIFO ascend; the next message is the one with the lower number of the top of the heap and the first of the
// FIFO. An empty one holds no memory beside the struct. Entries own a reference of their message, or a struct
// stored. One thread: the owner of the queue.
//
// What leaves the middle of the FIFO (it expired) leaves a hole there: `count` does not count it, walks pass over it, the first of the
// FIFO is never one, and a chunk of holes alone goes back to its pool wherever it stands: a long-lived head holds no memory of those
// that went behind it. A directory of the chunks, made when something in the middle is looked for, finds it by its number.
#pragma once

#include "queue/message.h"
#include "queue/stored.h"
#include "src/base/pool.h"

enum ready_flags {
    READY_STORED = 1u << 0,      // it is, or will be, on disk: `stored` counts, not `msg`
    READY_REDELIVERED = 1u << 1, // was delivered to a client before
    READY_PERSISTENT = 1u << 2,
    READY_HOLE = 1u << 3,    // in the FIFO: nothing, with the number of what was there
    READY_EXPIRES = 1u << 4, // the queue's expiry knows when
    // 1u << 5 … 1u << 7: enum unacked_extra_flags of queue.h.
};

struct ready_entry {
    uint64_t seq; // in the queue, from 1
    union {
        struct message *msg;   // a reference
        struct stored *stored; // READY_STORED
    };
    uint32_t body_len;    // bytes
    uint32_t count_flags; // delivery count << 16 | priority << 8 | enum ready_flags
};
static_assert(sizeof(struct ready_entry) == 24, "the backlog in memory costs this per message");

enum { DELIVERY_COUNT_MAX = 0xffff }; // LIMIT: saturates
// Of count_flags, what is known of earlier deliveries; and what goes to disk with the message from the beginning.
static const uint32_t READY_HISTORY_MASK = 0xffff0000u | READY_REDELIVERED;
static const uint32_t READY_PRIORITY_MASK = 0xff00u;

static inline uint32_t
ready_entry_count(const struct ready_entry *e)
{
    return e->count_flags >> 16;
}

// What is known from two places: the count never goes down.
static inline uint32_t
ready_history_merge(uint32_t a, uint32_t b)
{
    return LV_MAX(a & 0xffff0000u, b & 0xffff0000u) | ((a | b) & READY_REDELIVERED);
}

// In a queue with priorities, its level there; else 0.
static inline uint8_t
ready_entry_priority(const struct ready_entry *e)
{
    return (uint8_t)(e->count_flags >> 8);
}

static inline bool
ready_entry_is(const struct ready_entry *e, enum ready_flags flag)
{
    return (e->count_flags & (uint32_t)flag) != 0;
}

// A client had it and gave it back: one delivery more, and marked.
static inline void
ready_entry_mark_redelivered(struct ready_entry *e)
{
    if (ready_entry_count(e) < DELIVERY_COUNT_MAX)
        e->count_flags += 1u << 16;
    e->count_flags |= READY_REDELIVERED;
}

// The first chunk of a FIFO is small, so that 100,000 queues with one message each stay cheap.
enum { READY_CHUNK_SMALL = 8, READY_CHUNK_LARGE = 255 };

struct ready_chunk {
    struct ready_chunk *next;
    uint16_t cap;   // entries
    uint16_t holes; // among those that are in use
    struct ready_entry entries[];
};

struct ready_dir; // ready_find's

// Chunks of all queues of one worker.
struct ready_pools {
    struct pool small;
    struct pool large;
};

void ready_pools_init(struct ready_pools *p);
void ready_pools_fini(struct ready_pools *p);

struct ready {
    struct ready_chunk *head, *tail; // FIFO; both NULL when it is empty
    uint16_t head_pos, tail_pos;     // first entry in head; entries used in tail
    uint32_t reserved;               // heap places promised by ready_reserve_return
    uint64_t count;                  // entries, FIFO and heap, without holes
    struct ready_dir *dir;    // its chunks, in order; NULL: nothing was looked for in it, or it is empty
    struct ready_entry *heap; // heap_cap of them; NULL when empty
    uint32_t heap_count, heap_cap;
};

// Makes room for one ready_push; false when out of memory.
LV_MUST_USE bool ready_grow(struct ready *r, struct ready_pools *p);

// Room for one ready_push.
LV_MUST_USE static inline bool
ready_reserve_push(struct ready *r, struct ready_pools *p)
{
    return LV_LIKELY(r->tail != NULL && r->tail_pos < r->tail->cap) || ready_grow(r, p);
}

// After a ready_reserve_push that no push followed.
void ready_cancel_push(struct ready *r, struct ready_pools *p);

// Appends a fresh message: its sequence number is the highest so far. False when out of memory (nothing
// changed).
LV_MUST_USE static inline bool
ready_push(struct ready *r, struct ready_pools *p, const struct ready_entry *e)
{
    if (!ready_reserve_push(r, p))
        return false;
    r->tail->entries[r->tail_pos++] = *e;
    r->count++;
    return true;
}

// Puts a message back to its place. False when out of memory (nothing changed).
LV_MUST_USE bool ready_push_returned(struct ready *r, const struct ready_entry *e);
// Promises a place in the heap for one entry; ready_push_reserved uses it up and cannot fail.
LV_MUST_USE bool ready_reserve_return(struct ready *r);
void ready_push_reserved(struct ready *r, const struct ready_entry *e);
void ready_cancel_reserved(struct ready *r);

// The next message; NULL when there is none. Valid until the next change.
static inline struct ready_entry *
ready_peek(const struct ready *r)
{
    struct ready_entry *first = r->head == NULL ? NULL : &r->head->entries[r->head_pos];
    if (LV_UNLIKELY(r->heap_count > 0) && (first == NULL || r->heap[0].seq < first->seq))
        return &r->heap[0];
    return first;
}

// Visits the FIFO from its front: start with `chunk` NULL; NULL at the end. The FIFO must not change meanwhile.
struct ready_cursor {
    struct ready_chunk *chunk;
    uint32_t pos;
};
struct ready_entry *ready_next(const struct ready *r, struct ready_cursor *at);

// So that ready_next shows the first of the FIFO with a number from `from` on. Passes over chunks, not entries.
void ready_seek(const struct ready *r, uint64_t from, struct ready_cursor *ret_at);

// Visits all of it, heap and FIFO, in no order; NULL at the end. It must not change meanwhile.
struct ready_walk {
    uint32_t heap_at;
    struct ready_cursor fifo;
};
static inline const struct ready_entry *
ready_walk_next(const struct ready *r, struct ready_walk *at)
{
    return at->heap_at < r->heap_count ? &r->heap[at->heap_at++] : ready_next(r, &at->fifo);
}

// Removes the first of the FIFO, whatever the heap holds; there must be one.
void ready_pop_fifo(struct ready *r, struct ready_pools *p);
// Takes one out of the middle of the heap.
void ready_remove_heap(struct ready *r, uint32_t at);
// Finds a number in the FIFO: true, and where it is, until the next change. Of `n` chunks it looks at log n.
LV_MUST_USE bool ready_find(struct ready *r, uint64_t seq, struct ready_cursor *ret);
// Takes out what ready_find or ready_next has found.
void ready_punch(struct ready *r, struct ready_pools *p, const struct ready_cursor *at);
// Takes out of the heap what `takes` says yes to; it may not change it itself. O(heap).
void ready_filter_heap(struct ready *r, bool (*takes)(void *ctx, const struct ready_entry *e), void *ctx);
// Moves the FIFO from where `at` stands on to `to`, whose FIFO is empty. False when out of memory (nothing changed).
LV_MUST_USE bool ready_cut_fifo(struct ready *from, const struct ready_cursor *at, struct ready *to,
                                struct ready_pools *p);
// Moves the FIFO of `from` to `to`, which has none.
void ready_move_fifo(struct ready *to, struct ready *from);

static inline uint64_t
ready_fifo_count(const struct ready *r)
{
    return r->count - r->heap_count;
}

void ready_pop_slow(struct ready *r, struct ready_pools *p);

// Removes what ready_peek shows; there must be one.
static inline void
ready_pop(struct ready *r, struct ready_pools *p)
{
    if (LV_UNLIKELY(r->heap_count > 0 || r->head->holes > 0 || r->head_pos + 1u == r->head->cap ||
                    (r->head == r->tail && r->head_pos + 1u == r->tail_pos))) {
        ready_pop_slow(r, p);
        return;
    }
    r->head_pos++;
    r->count--;
    // The one after: its header will be read soon, and in a deep backlog it is out of the cache.
    __builtin_prefetch(r->head->entries[r->head_pos].msg);
}

// Bytes of memory held beside the struct itself.
size_t ready_memory(const struct ready *r);
// Gives back what the heap holds; the FIFO must be empty already (pop everything first).
void ready_fini(struct ready *r);
