// refusal.h: tells the layer above why a queue did not take a message (queue_client.refused): for counters and the log of reasons.
//
// On the owner's thread. Nothing here is on the way of a message that is taken.
#pragma once

#include "queue/queue.h"
#include "queue/queue_worker.h"

// A message that came now would be refused: a limit of length is reached and overflow is reject-publish.
static inline bool
queue_is_refusing(const struct queue *q)
{
    const struct queue_rules *r = q->rules;
    return r != NULL && r->overflow != OVERFLOW_DROP_HEAD &&
           ((r->max_length != RULE_NONE && queue_ready_count(q) >= r->max_length) ||
            (r->max_length_bytes != RULE_NONE && q->ready_sum.bytes >= r->max_length_bytes));
}

// `q` NULL: the queue has gone.
static inline void
queue_tell_refusal(struct queue_worker *qw, const struct queue *q, const struct message *msg)
{
    if (qw->client->refused == NULL)
        return;
    enum queue_refusal why = q == NULL              ? QUEUE_REFUSAL_GONE
                             : queue_is_refusing(q) ? QUEUE_REFUSAL_FULL
                                                    : QUEUE_REFUSAL_NO_MEMORY;
    qw->client->refused(qw->w, q != NULL ? q->def : NULL, msg, why);
}
