// limit.h: length limits of a queue: x-max-length and x-max-length-bytes with their x-overflow (queue_rules.h).
//
// Both count ready messages, and the bytes of their bodies. Drop-head: what came in stays, the oldest go (DEATH_MAXLEN). Reject-publish: what would go
// beyond the limit is refused, and with `-dlx` dead-lettered as well. As in RabbitMQ a message that a waiting consumer takes does not count: it is
// delivered in the dispatch of the same turn, so as many as the consumers' windows can take are neither dropped nor a reason to refuse.
//
// Invariant: at the end of a turn a drop-head queue is within its limit, but for what consumers that wait are about to take, what one turn's budget
// did not reach (rules that were changed under a million messages), and one block of a backlog file that is being read. Each message that comes in
// takes up to LIMIT_AT_ONCE out, so a queue that is over its limit shrinks whatever is published. Without a dead-letter exchange blocks that are to
// go as a whole are not read. With one, dropping waits while too many are on their way to it (dying_has_room).
// A queue without a limit has no struct queue_limit. One thread: the owner.
#pragma once

#include "queue/queue.h"

struct queue_worker;

struct limit_count {
    uint64_t count;     // messages
    uint64_t logged;    // of them, when it was last said in the log
    uint64_t logged_ns; // then; 0: never
};

struct queue_limit {
    struct queue *queue;
    struct list node; // in queue_worker.limited: to be looked at in the dispatch
    struct limit_count dropped, refused;
    uint64_t held, held_bytes; // messages of transactions without a verdict, and their bodies
};

// LIMIT: messages that one that comes in takes out at once.
enum { LIMIT_AT_ONCE = 32 };

static inline bool
limit_is_set(const struct queue_rules *r)
{
    return r != NULL && (r->max_length != RULE_NONE || r->max_length_bytes != RULE_NONE);
}

// Rules have changed: looks at the queue in the dispatch.
void limit_rules_changed(struct queue_worker *qw, struct queue *q);
void limit_fini(struct queue *q);
// Whether a message with so large a body would be refused if it came now.
bool limit_is_refusing(const struct queue *q, uint32_t body_len);
// A publish, before anything was made of it; true: it was refused.
LV_MUST_USE bool limit_refuses(struct queue_worker *qw, struct queue *q, struct message *msg);
// The same for a publish of a transaction, which is refused with it: nothing of it happens, so nothing is dead-lettered either.
LV_MUST_USE bool limit_refuses_tx(struct queue_worker *qw, struct queue *q, const struct message *msg);
// What a transaction holds for the queue has its place there.
static inline void
limit_hold(struct queue *q, uint32_t body_len)
{
    if (LV_LIKELY(q->limit == NULL))
        return;
    q->limit->held++;
    q->limit->held_bytes += body_len;
}
static inline void
limit_unhold(struct queue *q, uint32_t body_len)
{
    if (LV_LIKELY(q->limit == NULL || q->limit->held == 0)) // held before there was a limit
        return;
    q->limit->held--;
    q->limit->held_bytes -= LV_MIN(q->limit->held_bytes, (uint64_t)body_len);
}
// A message has come in by a publish, or has come back: the oldest go.
void limit_entered(struct queue_worker *qw, struct queue *q);
void limit_returned(struct queue_worker *qw, struct queue *q);
// In the dispatch, when the consumers have had what they can take; true: more is to be done in the next turn.
bool limit_step(struct queue_worker *qw);
