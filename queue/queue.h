// queue.h: the running queue: what waits, what is out, who consumes. Owned by one worker, found by handle.
//
// Invariants: every message is in exactly one of ready, fetch and unacked; `run` is linked in
// queue_worker.runnable while there is something to do for the dispatcher; a queue that was deleted (is_dead)
// has no consumers and is out of the handle table, and its memory goes when no function works on it any more
// (`busy`) and its messages have been dropped bit by bit. An empty idle queue costs its struct and a slot in
// the handle table: no chunk, no table, no group. All functions: on the owner's thread.
#pragma once

#include "queue/consumer.h"
#include "queue/ready.h"
#include "queue/unacked.h"

enum unacked_extra_flags {
    UNACKED_IS_GET = 1u << 6,    // in count_flags of an unacked entry: `owner` is the session of a basic.get
    UNACKED_RETURNING = 1u << 7, // given back already, but there was no memory to put it back; retried
};

// A body on its way from the store: the entry is out of `ready` meanwhile, but counted there.
struct queue_fetch {
    struct ready_entry entry;
    bool is_dropped;               // purged meanwhile
    struct queue_request *waiting; // basic.get's that wait, oldest first
    struct queue_request *waiting_last;
};

struct queue_counters {
    uint64_t published, delivered, delivered_no_ack, got, got_no_ack, redelivered, acked, requeued, rejected,
        returned, purged;
};

// What a set of messages adds up to.
struct queue_sum {
    uint64_t bytes;      // bodies
    uint64_t weight;     // memory of those that are in memory
    uint32_t persistent; // messages
};

struct queue {
    struct list run;       // in queue_worker.runnable
    struct list consumers; // consumer.all
    struct list granted;   // consumer.granted: grants not used yet
    const struct queue_def *def;
    lv_handle handle;
    struct ready ready;
    struct unacked unacked;
    struct consumer_group *groups; // highest priority first
    struct consumer_group *top;    // highest one that is not blocked, or NULL
    struct queue_fetch *fetch;     // one at a time; NULL: none
    union {
        uint64_t next_seq;    // of the next publish
        uint64_t bury_cursor; // dead: how far the walk through `unacked` is
    };
    int64_t active_ms; // wall clock of the last operation
    uint32_t consumer_count;
    uint32_t offers;    // grants asked for or held: no more than there are messages
    uint32_t returning; // unacked records with UNACKED_RETURNING
    uint16_t busy;      // functions that call back and go on with this queue
    bool is_dead;
    bool has_exclusive;                      // its one consumer is exclusive
    struct queue_sum ready_sum, unacked_sum; // the first includes the body being fetched
    struct queue_counters counters;
};

// Ready messages, the one being fetched included.
static inline uint64_t
queue_ready_count(const struct queue *q)
{
    return q->ready.count + (q->fetch != NULL && !q->fetch->is_dropped ? 1 : 0);
}

LV_MUST_USE struct queue *queue_new(struct queue_worker *qw, const struct queue_def *def);
// Ends a queue: answers waiting gets with QUEUE_GONE, tells its consumers `reason`, takes it out of the
// tables; messages are dropped in later turns.
void queue_kill(struct queue_worker *qw, struct queue *q, const char *reason);
// Drops up to `budget` messages of a dead queue; true when it is gone altogether.
bool queue_bury(struct queue_worker *qw, struct queue *q, size_t *budget);

// Work on a queue that calls back: it is not freed before the last queue_leave.
static inline void
queue_enter(struct queue *q)
{
    q->busy++;
}

void queue_leave(struct queue_worker *qw, struct queue *q);

// Takes the message in (a reference of its own); false when out of memory.
LV_MUST_USE bool queue_push(struct queue_worker *qw, struct queue *q, struct message *msg);
// Takes the next ready message, which is in memory, for `owner`: counts it as delivered or got, enters it in
// `unacked` unless QUEUE_TAKE_NO_ACK. Fills seq, msg (a reference), delivery_count and is_redelivered. False
// when out of memory.
enum queue_take_flags { QUEUE_TAKE_NO_ACK = 1u << 0, QUEUE_TAKE_GET = 1u << 1 };
LV_MUST_USE bool queue_take(struct queue_worker *qw, struct queue *q, lv_handle owner, unsigned flags,
                            struct delivery *ret);
// Carries out queue_settle on the owner.
void queue_settle_here(struct queue_worker *qw, struct queue *q, enum settle_kind kind, const uint64_t *seqs,
                       size_t count);
// Removes the ready messages; returns how many.
uint64_t queue_purge(struct queue_worker *qw, struct queue *q);
// Answers a get now, or later when the body has to be fetched first. Owns the request.
void queue_get(struct queue_worker *qw, struct queue *q, struct queue_request *r);
// Hands ready messages to consumers, as many as one turn allows; returns how many.
size_t queue_run(struct queue_worker *qw, struct queue *q);
// After any change: makes the queue runnable if it is, returns grants nobody can use.
void queue_touch(struct queue_worker *qw, struct queue *q);
// Puts back what could not be put back earlier for want of memory, as far as there is some now.
void queue_retry_returning(struct queue_worker *qw, struct queue *q);

// The next message lies in the store: asks for it. False when out of memory (tried again in a later turn).
LV_MUST_USE bool queue_fetch_start(struct queue_worker *qw, struct queue *q);
// The store's answer: the reference of `msg` passes over; NULL: it cannot be read and is dropped.
void queue_fetch_done(struct queue_worker *qw, struct queue *q, struct message *msg);
// Ends the fetch of a queue that is being killed.
void queue_fetch_abort(struct queue_worker *qw, struct queue *q);

void queue_fill_stats(const struct queue_worker *qw, const struct queue *q, struct queue_stats *ret_stats);
