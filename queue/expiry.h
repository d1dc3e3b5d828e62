// expiry.h: messages and queues that live for a time.
//
// Messages. The instant is fixed when a message enters its queue: now + the lower of the queue's TTL and the message's own; rules that change later do not change it. It goes to disk
// with the message and comes back with it; what is requeued keeps it, what is out does not expire before it comes back. When it has come the message is never
// handed out any more, and leaves on time, wherever it is in memory: the front of the queue, the middle of it (a hole in the FIFO), among those that came
// back. PROTOCOL: RabbitMQ drops expired messages only when they reach the head of a queue. TTL 0 means: delivered in the same turn, or never.
//
// The same in the chain of backlog files, wherever it lies there (expiry_chain.h).
//
// Queues (x-expires): one without consumers that nobody declared or got from for so long is deleted, by the topology writer, if it is still unused when
// that asks. The clock starts anew with each start of the broker, and when a policy changes it.
//
// A queue has a struct expiry while, or since, there was something that expires; others have NULL. Owner's thread.
#pragma once

#include "queue/expiry_index.h"
#include "queue/queue_worker.h"

struct expiry;
struct expiry_chain;
struct backlog_block;

// When a message that enters now expires; 0: never. (Inline: what every publish costs.)
int64_t expiry_instant(const struct queue_worker *qw, const struct queue *q, const struct message *msg);
static inline int64_t
expiry_of(const struct queue_worker *qw, const struct queue *q, const struct message *msg)
{
    if (LV_LIKELY(q->rules == NULL && (msg->flags & MESSAGE_HAS_EXPIRY) == 0))
        return 0;
    return expiry_instant(qw, q, msg);
}

// Remembers that the entry, which is about to come into memory, expires then, and marks it; 0: it does not. False: no memory.
LV_MUST_USE bool expiry_note(struct queue_worker *qw, struct queue *q, struct ready_entry *e, int64_t at_ms);
// Its instant; 0: it has none. For an entry that is in memory or out.
int64_t expiry_at(const struct queue *q, const struct ready_entry *e);
// It is in memory no more, or out no more.
void expiry_forget_slow(struct queue *q, uint64_t seq);
static inline void
expiry_forget(struct queue *q, const struct ready_entry *e)
{
    if (LV_UNLIKELY(ready_entry_is(e, READY_EXPIRES)))
        expiry_forget_slow(q, e->seq);
}
// It was out and is ready again.
void expiry_came_back(struct queue_worker *qw, struct queue *q, const struct ready_entry *e);
// Takes away what stands first and was to be gone before `at_ms`, a few at a time. It may call back: whoever else is in the queue may have changed.
enum expiry_front { FRONT_IS_CLEAR, FRONT_HAS_MORE, FRONT_IS_DEAD };
enum expiry_front expiry_clear_front_slow(struct queue_worker *qw, struct queue *q, int64_t at_ms);
static inline enum expiry_front
expiry_clear_front(struct queue_worker *qw, struct queue *q, int64_t at_ms)
{
    return LV_LIKELY(q->expiry == NULL) ? FRONT_IS_CLEAR : expiry_clear_front_slow(qw, q, at_ms);
}
// What was ready is gone, what is out is still there.
void expiry_purged(struct queue_worker *qw, struct queue *q);
// Blocks are new in the chain of backlog files.
void expiry_chain_grew(struct queue_worker *qw, struct queue *q, const struct backlog_block *blocks,
                       size_t count);
struct expiry_chain *expiry_chain_of(const struct queue *q); // there is an expiry
// The blocks are looked at then, or earlier if that was asked for.
void expiry_chain_look_soon(struct queue_worker *qw, struct queue *q, int64_t at_ms);
// Messages that were being moved to the chain are there, or stay where they were.
void expiry_move_done(struct queue_worker *qw, struct queue *q, uint64_t first_seq, uint64_t last_seq);
// All that it knows, in memory or out, in the order of numbers (browse.c): how many, the n-th, the first with a number from `from` on; false: none.
uint64_t expiry_known(const struct queue *q);
bool expiry_nth(const struct queue *q, uint64_t n, struct expiry_due *ret);
bool expiry_each(const struct queue *q, uint64_t from, struct expiry_due *ret);
// What is due (deadline.c); says when there is something again.
int64_t expiry_due(struct queue_worker *qw, struct queue *q, size_t *budget);
void expiry_end(struct queue_worker *qw, struct queue *q); // the queue goes
size_t expiry_memory(const struct queue *q);

// --- queues ---
// Somebody made use of the queue, or it has new rules.
void expiry_used_slow(struct queue_worker *qw, struct queue *q);
static inline void
expiry_used(struct queue_worker *qw, struct queue *q)
{
    if (LV_UNLIKELY(q->rules != NULL))
        expiry_used_slow(qw, q);
}
// Nobody has used it for as long as its rules allow.
bool expiry_is_unused(const struct queue_worker *qw, const struct queue *q);
