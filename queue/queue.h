// queue.h: the running queue: what waits, what is out, who consumes. Owned by one worker, found by handle.
//
// Invariants: every message is in exactly one of ready, the disk side's chain and `behind`, and unacked; `run` is linked in
// queue_worker.runnable while there is something to do for the dispatcher; a queue that was deleted (is_dead)
// has no consumers and is out of the handle table, and its memory goes when no function works on it any more
// (`busy`) and its messages have been dropped bit by bit. An empty idle queue costs its struct and a slot in
// the handle table: no chunk, no table, no group. All functions: on the owner's thread.
#pragma once

#include "queue/consumer.h"
#include "queue/deadline.h"
#include "queue/levels.h"
#include "queue/queue_rules.h"
#include "queue/ready.h"
#include "queue/unacked.h"

enum unacked_extra_flags {
    UNACKED_DYING = 1u << 5,     // settled, on its way to the dead-letter exchange (dying.h)
    UNACKED_IS_GET = 1u << 6,    // in count_flags of an unacked entry: `owner` is the session of a basic.get
    UNACKED_RETURNING = 1u << 7, // given back already, but there was no memory to put it back; retried
};

// What a confirm of a persistent message means.
enum queue_durability {
    DURABILITY_NONE,   // the queue is not durable, or there is no store
    DURABILITY_FSYNC,  // on disk, synced
    DURABILITY_OS,     // handed to the operating system: survives the process, not the power
    DURABILITY_MEMORY, // taken; written when it suits
};

struct queue_counters {
    uint64_t published, delivered, delivered_no_ack, got, got_no_ack, redelivered, acked, requeued, rejected,
        returned, purged, expired;
    uint32_t delivery_limited, consumer_timeouts; // few: each is logged
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
    const struct queue_rules *rules; // owned; NULL: none of them
    lv_handle handle;
    struct ready ready;
    struct unacked unacked;
    struct consumer_group *groups;              // highest priority first
    struct consumer_group *top;                 // highest one that is not blocked, or NULL
    struct ready *tail;                         // where publishes go: `ready`, or disk->behind
    struct queue_disk *disk;                    // NULL: nothing of it was ever stored
    struct dying *dying;                        // NULL: nothing of it was ever dead-lettered
    struct expiry *expiry;                      // NULL: nothing in it ever expired
    struct queue_request *get_first, *get_last; // basic.get's that wait for a message to come into memory
    union {
        uint64_t next_seq;    // of the next publish
        uint64_t bury_cursor; // dead: how far the walk through `unacked` is
    };
    int64_t active_ms; // wall clock of the last operation
    int64_t taken_ms;  // published_ms of the message that was taken last; 0: none was
    uint32_t consumer_count;
    uint32_t offers;         // grants asked for or held: no more than there are messages
    uint32_t returning;      // unacked records with UNACKED_RETURNING
    uint32_t holds;          // queue_hold: nothing is delivered to consumers while there are any
    uint32_t deadline_place; // deadline.h
    uint16_t busy;           // functions that call back and go on with this queue
    uint8_t durability;      // enum queue_durability
    bool is_dead;
    bool is_all_stored;    // a durable quorum queue: messages without delivery-mode 2 are stored too
    bool is_counted;       // delivery counts are limited, shown and kept (delivery_limit.h)
    bool has_exclusive;    // its one consumer is exclusive
    bool has_deadline;     // there is room for one
    struct levels *levels; // what waits, of a queue with priorities: `ready` is empty then; NULL: it has none
    struct queue_limit *limit; // limit.h; NULL: no length limit
    struct queue_sum ready_sum, unacked_sum;
    struct queue_counters counters;
    struct samples *samples; // sampler.c; NULL: it is not sampled
};

uint64_t queue_disk_waiting(const struct queue_disk *k); // messages that are ready, but not in `ready`
size_t durable_memory(const struct queue *q);

static inline uint64_t
queue_ready_count(const struct queue *q)
{
    uint64_t elsewhere = LV_UNLIKELY(q->disk != NULL) ? queue_disk_waiting(q->disk) : 0;
    return (LV_UNLIKELY(q->levels != NULL) ? q->levels->count : q->ready.count) + elsewhere;
}

static inline struct message *
ready_entry_message(const struct ready_entry *e)
{
    return LV_UNLIKELY(ready_entry_is(e, READY_STORED)) ? e->stored->msg : e->msg;
}

// The next message; NULL: none, or it is not in memory. Valid until the next change.
static inline struct ready_entry *
queue_front(const struct queue *q)
{
    if (LV_LIKELY(q->levels == NULL))
        return ready_peek(&q->ready);
    return q->levels->top != NULL ? ready_peek(&q->levels->top->ready) : NULL;
}

// The bits of count_flags for a message's level; 0 in a queue without priorities.
static inline uint32_t
queue_level_flags(const struct queue *q, const struct message *msg)
{
    return LV_LIKELY(q->levels == NULL) ? 0 : (uint32_t)levels_of_priority(q->levels, msg->priority) << 8;
}

// Where a message that was delivered, or lies on disk, waits again; NULL when out of memory. queue_ready_added tells that it is there.
LV_MUST_USE static inline struct ready *
queue_ready_of(struct queue *q, const struct ready_entry *e)
{
    if (LV_LIKELY(q->levels == NULL))
        return &q->ready;
    struct level *at = levels_get(q->levels, ready_entry_priority(e));
    return at != NULL ? &at->ready : NULL;
}

static inline void
queue_ready_added(struct queue *q, struct ready *r)
{
    if (LV_UNLIKELY(q->levels != NULL))
        levels_added(q->levels, LV_CONTAINER_OF(r, struct level, ready));
}

// Where a new message goes; NULL when out of memory.
LV_MUST_USE static inline struct ready *
queue_tail_of(struct queue *q, const struct message *msg)
{
    if (LV_LIKELY(q->levels == NULL))
        return q->tail;
    struct level *at = levels_get(q->levels, levels_of_priority(q->levels, msg->priority));
    return at != NULL ? &at->ready : NULL;
}

// The message that is to go out next: nowhere, in memory, to be brought there, or on its way.
enum next_message { NEXT_NONE, NEXT_HERE, NEXT_ABSENT, NEXT_COMING };
enum next_message queue_next(const struct queue *q);

static inline void
sum_add(struct queue_sum *s, const struct ready_entry *e, uint64_t weight)
{
    s->bytes += e->body_len;
    s->weight += weight;
    s->persistent += ready_entry_is(e, READY_PERSISTENT);
}

static inline void
sum_sub(struct queue_sum *s, const struct ready_entry *e, uint64_t weight)
{
    LV_ASSERT_HOT(s->bytes >= e->body_len && s->weight >= weight);
    s->bytes -= e->body_len;
    s->weight -= weight;
    s->persistent -= ready_entry_is(e, READY_PERSISTENT);
}

LV_MUST_USE struct queue *queue_new(struct queue_worker *qw, const struct queue_def *def);
// New rules, which the queue owns from here on, for what it holds too; NULL: none.
void queue_set_rules(struct queue_worker *qw, struct queue *q, struct queue_rules *rules);
// Ends a queue: answers waiting gets with QUEUE_GONE, tells its consumers `reason`, takes it out of the
// tables; messages are dropped in later turns. `request` is answered with QUEUE_OK when that is durable.
void queue_kill(struct queue_worker *qw, struct queue *q, const char *reason, struct queue_request *request);
// Drops up to `budget` messages of a dead queue; true when it is gone altogether.
bool queue_bury(struct queue_worker *qw, struct queue *q, size_t *budget);

// Work on a queue that calls back: it is not freed before the last queue_leave.
static inline void
queue_enter(struct queue *q)
{
    q->busy++;
}

void queue_leave(struct queue_worker *qw, struct queue *q);

// Takes the message in (a reference of its own), in memory alone; false when out of memory.
LV_MUST_USE bool queue_push(struct queue_worker *qw, struct queue *q, struct message *msg);
// Puts a fresh entry at the end; there is room (ready_reserve_push), and `weight` bytes of it are in memory.
void queue_enter_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e,
                       uint64_t weight);
// An entry whose number was taken earlier comes in now; false when out of memory.
LV_MUST_USE bool queue_enter_late(struct queue_worker *qw, struct queue *q, const struct ready_entry *e,
                                  uint64_t weight);
// Takes the next ready message, which is in memory, for `owner`: counts it as delivered or got, enters it in
// `unacked` unless QUEUE_TAKE_NO_ACK. Fills seq, msg (a reference), delivery_count and is_redelivered. False
// when out of memory.
enum queue_take_flags { QUEUE_TAKE_NO_ACK = 1u << 0, QUEUE_TAKE_GET = 1u << 1 };
LV_MUST_USE bool queue_take(struct queue_worker *qw, struct queue *q, lv_handle owner, unsigned flags,
                            struct delivery *ret);
// Lets go of an entry that is out of all tables and sums: an ack is written for one that is stored.
void queue_drop_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e);
// Carries out queue_settle on the owner.
void queue_settle_here(struct queue_worker *qw, struct queue *q, enum settle_kind kind, const uint64_t *seqs,
                       size_t count);
// Removes the ready messages; returns how many.
uint64_t queue_purge(struct queue_worker *qw, struct queue *q);
// Answers a get now, or later when the body has to be fetched first. Owns the request.
void queue_get(struct queue_worker *qw, struct queue *q, struct queue_request *r);
// The request is run again when messages have come into memory.
void queue_wait_for_message(struct queue *q, struct queue_request *r);
// Hands ready messages to consumers, as many as one turn allows; returns how many.
size_t queue_run(struct queue_worker *qw, struct queue *q);
// After any change: makes the queue runnable if it is, returns grants nobody can use.
void queue_touch(struct queue_worker *qw, struct queue *q);
// Puts back what could not be put back earlier for want of memory, as far as there is some now.
void queue_retry_returning(struct queue_worker *qw, struct queue *q);

// Messages have come into memory: gets that waited go on.
void queue_gets_continue(struct queue_worker *qw, struct queue *q);
// Answers them with QUEUE_GONE.
void queue_gets_end(struct queue_worker *qw, struct queue *q);
void queue_drop_later(struct queue_worker *qw, struct ready *r);

// What it counts and holds; rates are left as they are.
void queue_fill_counts(const struct queue_worker *qw, const struct queue *q, struct queue_stats *ret_stats);
void queue_fill_stats(const struct queue_worker *qw, const struct queue *q, struct queue_stats *ret_stats);
