// refusal.h: tells the layer above why a queue did not take a message (queue_client.refused): for counters and the log of reasons.
//
// On the owner's thread. Nothing here is on the way of a message that is taken.
#pragma once

#include "queue/limit.h"
#include "queue/queue_worker.h"

// `q` NULL: the queue has gone.
static inline void
queue_tell_refusal(struct queue_worker *qw, const struct queue *q, const struct message *msg)
{
    if (qw->client->refused == NULL)
        return;
    enum queue_refusal why = q == NULL                             ? QUEUE_REFUSAL_GONE
                             : limit_is_refusing(q, msg->body_len) ? QUEUE_REFUSAL_FULL
                                                                   : QUEUE_REFUSAL_NO_MEMORY;
    qw->client->refused(qw->w, q != NULL ? q->def : NULL, msg, why);
}
