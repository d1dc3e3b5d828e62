// dying.h: messages that leave their queue for a reason other than an ack, and go to its dead-letter exchange if it has one.
//
// queue_bury_entry is the one way out. Without a dead-letter exchange it drops the message. With one, the entry goes to (or stays in) `unacked` as
// a record with UNACKED_DYING, is handed to queue_client.dead in its turn, and leaves when queue_dead_done has said that its targets have it.
//
// Invariants: a dying record is never delivered, settled, or put back in this run; it counts in unacked_sum, and
// listings tell it apart (dying_fill_stats). On disk it is a message of its queue until the target has it: after a crash it is ready again. The ack is
// submitted after the answer (DURABLE). No more than DYING_OUT_MAX of a queue are handed over and not answered or wait for another try; so a target
// that is slow, full or missing holds up the ones behind, and memory is bounded. Accepting costs no credit: cycles of queues over workers do not
// wait for each other.
//
// Owner's thread. RabbitMQ: "Dead Letter Exchanges", "At-Least-Once Dead Lettering".
#pragma once

#include "queue/durable.h"
#include "queue/queue_worker.h"

// LIMIT: dying messages of one queue from which on nothing more is expired or dropped from its length; those handed over and not answered,
// and their bytes.
enum { DYING_MAX = 4096, DYING_OUT_MAX = 256, DYING_OUT_BYTES = 16 * 1024 * 1024 };
// Between tries of what has to be delivered at least once: the first wait, doubled each time up to the last.
enum { DYING_RETRY_MS = 250, DYING_RETRY_MAX_MS = 8000 };

// One of them, found by its record.
struct dying_entry {
    struct list node; // dying.waiting, out or retrying
    uint64_t seq;
    uint64_t retry_ns;        // retrying: when
    int64_t died_ms;          // wall clock
    struct dead_targets *had; // owned; NULL: none
    uint32_t weight;          // while it is out
    uint32_t body_len;
    uint8_t reason; // enum death_reason
    uint8_t state;  // enum dying_state
    uint8_t tries;  // that came to nothing; saturates
};

enum dying_state { DYING_WAITS, DYING_OUT, DYING_RETRIES };

struct dying {
    struct list waiting, out, retrying; // dying_entry.node; waiting: in order of death
    struct list node;                   // dying_worker.retrying, while `retrying` is not empty
    struct queue *queue;
    const struct dying_worker *worker;
    uint64_t count, bytes; // of all of them; bodies
    uint64_t out_weight;
    uint32_t out_count, retry_count;
    int64_t logged_ms;
    uint64_t unlogged;                                       // in trouble since then
    uint64_t by_reason[DEATH_REASON_COUNT], confirmed, lost; // since the queue was made
};

// Lets go of an entry that was taken out of `ready` or `unacked`, and whose sums were taken off already.
void queue_bury_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e,
                      enum death_reason reason);

static inline uint64_t
dying_count(const struct queue *q)
{
    return q->dying != NULL ? q->dying->count : 0;
}

// More of them may be buried than nobody waits for: expiry and length limits stop while this is false. A reject is always taken.
static inline bool
dying_has_room(const struct queue *q)
{
    return dying_count(q) < DYING_MAX;
}

// The queue has a dead-letter exchange, perhaps one that does not exist.
static inline bool
dying_is_wanted(const struct queue_worker *qw, const struct queue *q)
{
    return q->rules != NULL && q->rules->has_dead_exchange && qw->client->dead != NULL;
}

// A record of `unacked` stays there as a dying one; false when out of memory (nothing changed).
LV_MUST_USE bool dying_add_record(struct queue_worker *qw, struct queue *q, struct unacked_record *record,
                                  enum death_reason reason);
// Counts one that was dropped, where nobody wants it.
void dying_count_dropped(struct queue_worker *qw, struct queue *q, enum death_reason reason);

bool dying_can_run(const struct queue *q);

// For the dispatcher: something can be handed over now.
static inline bool
dying_is_runnable(const struct queue *q)
{
    return q->dying != NULL && dying_can_run(q);
}

// Hands over as many as one turn allows; returns what they cost. Calls the client: the queue may be dead afterwards.
size_t dying_run(struct queue_worker *qw, struct queue *q);

// The queue ends: nothing more is handed over. Its records are forgotten one by one, with the others of `unacked`.
void dying_stop(struct queue_worker *qw, struct queue *q);
void dying_forget(struct queue_worker *qw, struct unacked_record *record);

// Completes what queue_fill_stats found: those that are dying are not unacked.
void dying_fill_stats(const struct queue *q, struct queue_stats *stats);

void dying_init(struct queue_worker *qw);
void dying_fini(struct queue_worker *qw);
