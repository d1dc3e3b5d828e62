// durable_move.h: a move to backlog files, between durable_move.c and durable_vacate.c.
#pragma once

#include "queue/durable.h"

// LIMIT: messages and bytes of one append.
enum { APPEND_MAX = 16384, APPEND_BYTES = 8 * 1024 * 1024 };

struct append_job {
    struct mover_job job;
    struct durable *d;
    struct queue_disk *disk;
    struct backlog_item *items;
    struct stored **stored;          // of each item; NULL: it has none (transient)
    struct msglog_content *contents; // of those that are in memory
    struct message **msgs;           // their references
    uint32_t *body_lens;
    size_t count, cap, bytes;
    bool is_chain, is_vacating;
};

// The FIFO that is nearest to the disk: what publishes go to.
static inline struct ready *
fifo_of(struct queue_disk *k)
{
    return k->is_split ? &k->behind : &k->queue->ready;
}

// The first entry that may go to the chain: what lies below its cursor was in it before, or is beside it. NULL: none.
static inline struct ready_entry *
first_for_chain(const struct queue_disk *k, const struct ready *r, struct ready_cursor *at)
{
    struct ready_entry *e;
    while ((e = ready_next(r, at)) != NULL && e->seq < k->backlog.cursor)
        continue;
    return e;
}

struct append_job *append_new(struct durable *d, struct queue_disk *k, bool is_chain,
                              size_t cap);                          // NULL: no memory
bool append_add(struct append_job *a, const struct ready_entry *e); // false when it is full
// Takes the job over; false: it could not be submitted.
bool append_submit(struct durable *d, struct queue_disk *k, struct append_job *a, bool is_vacating);
// Moves the first `count` of the FIFO, as far as one append takes.
bool append_front(struct durable *d, struct queue_disk *k, size_t count, bool is_vacating);
