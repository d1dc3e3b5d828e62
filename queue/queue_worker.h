// queue_worker.h: what queue/ keeps per crew member (worker->queue_state), shared by the files of this
// folder.
//
// Two threads touch it: `numbers` belongs to the topology writer alone, everything else to the member itself;
// the two counters at the end are written by the member and read by any thread.
#pragma once

#include <stdatomic.h>

#include "queue/handles.h"
#include "queue/queue.h"
#include "queue/sampler.h"
#include "queue/tally.h"

// Of dying.c.
struct dying_worker {
    struct pool entries;
    struct list retrying; // dying.node: queues that try some later
    ev_timer timer;       // runs while there are any
    unsigned retry_ms;    // before the first one
    bool is_held;         // nothing more is handed over
    // One writer, the worker; read by any thread, relaxed.
    _Atomic uint64_t totals[DEAD_TYPES][DEAD_STRATEGIES][DEATH_REASON_COUNT], confirmed[DEAD_TYPES], lost;
};

struct queue_worker {
    struct worker *w;
    const struct queue_client *client;
    struct durable *durable;       // NULL: everything stays in memory
    struct handle_slots queues;    // handle → struct queue
    struct handle_slots consumers; // handle → struct consumer
    struct handle_numbers consumer_numbers;
    struct list runnable; // queue.run
    struct list dead;     // queue.run: deleted, messages still to be dropped
    struct list purged;   // struct purged_part.node
    struct list txs;      // tx_work.node
    struct dying_worker dying;
    struct tally tally;
    struct list limited;      // queue_limit.node: perhaps over their limit, looked at in the dispatch
    uint64_t dispatched_turn; // worker.turn of the last PHASE_DISPATCH
    struct queue_deadlines deadlines;
    bool is_untimed; // tests: a dispatch has no limit of time, so that a seed repeats
    struct ready_pools ready_pools;
    struct pool unacked_tables, consumer_pool, group_pool;
    struct sampler sampler;
    struct queue_gone gone;                                                // of quorum queues
    bool is_waiting_topology;                                              // inside worker_drain_from
    _Atomic uint64_t queue_count;                                          // readers: any thread, relaxed
    _Atomic uint64_t message_bytes;                                        // readers: any thread, relaxed
    struct handle_numbers numbers __attribute__((aligned(LV_CACHE_LINE))); // topology writer only
};

// What a purge left to be dropped in later turns.
struct purged_part {
    struct list node;
    struct ready ready;
};

static inline struct queue_worker *
queue_worker_of(const struct worker *w)
{
    return w->queue_state;
}

// The queue of a handle on its owner; waits for the topology writer's mail when the handle is newer than what
// is known here.
struct queue *queue_worker_find(struct queue_worker *qw, lv_handle h);

// Removes what queue_front shows; there must be one. Its sums are the caller's to take off.
static inline void
queue_pop_front(struct queue_worker *qw, struct queue *q)
{
    if (LV_LIKELY(q->levels == NULL)) {
        ready_pop(&q->ready, &qw->ready_pools);
        return;
    }
    struct level *top = q->levels->top;
    ready_pop(&top->ready, &qw->ready_pools);
    levels_removed(q->levels, top);
}

static inline struct consumer *
queue_worker_find_consumer(struct queue_worker *qw, lv_handle h)
{
    return handle_slots_find(&qw->consumers, h);
}

// Bytes of messages held, as a count that other threads may read.
static inline void
queue_worker_add_bytes(struct queue_worker *qw, uint64_t bytes)
{
    uint64_t now = atomic_load_explicit(&qw->message_bytes, memory_order_relaxed);
    atomic_store_explicit(&qw->message_bytes, now + bytes, memory_order_relaxed);
}

static inline void
queue_worker_sub_bytes(struct queue_worker *qw, uint64_t bytes)
{
    uint64_t now = atomic_load_explicit(&qw->message_bytes, memory_order_relaxed);
    LV_ASSERT_HOT(now >= bytes);
    atomic_store_explicit(&qw->message_bytes, now - bytes, memory_order_relaxed);
}

// PHASE_DISPATCH (dispatch.c).
bool queue_dispatch_hook(struct worker *w, void *ctx);

// Lets go of a message of a queue that was purged or deleted.
void queue_worker_drop_entry(struct queue_worker *qw, const struct ready_entry *e);
// Drops up to *budget entries of what was ready; true when nothing is left.
bool queue_worker_drop_ready(struct queue_worker *qw, struct ready *r, size_t *budget);

// Calls of the client on the thread of the session: a plain call here, a mail elsewhere.
void notify_published(struct queue_worker *qw, lv_handle session, uint64_t number, unsigned accepted,
                      unsigned refused);
void notify_deliver(struct queue_worker *qw, const struct delivery *d);
void notify_ready(struct queue_worker *qw, const struct consumer *c);
void notify_unused(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, uint32_t count);
void notify_timeout(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, uint64_t timeout_ms);
void notify_cancelled(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, const char *reason);

// Sends a request back to where it came from and calls `done` there.
void request_answer(struct worker *w, struct queue_request *r, enum queue_outcome outcome);
