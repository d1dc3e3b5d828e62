// dying.h: messages that leave their queue for a reason other than an ack.
//
// Owner's thread.
#pragma once

#include "queue/durable.h"
#include "queue/queue_worker.h"

enum death_reason { DEATH_REJECTED, DEATH_EXPIRED, DEATH_MAXLEN, DEATH_DELIVERY_LIMIT };

// Lets go of an entry that was taken out of `ready` or `unacked`, and whose sums were taken off already.
static inline void
queue_bury_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e,
                 enum death_reason reason)
{
    (void)reason;
    if (ready_entry_is(e, READY_STORED))
        durable_drop(qw, q, e->seq, e->stored);
    else
        queue_worker_drop_entry(qw, e);
}

// More of them may be buried than nobody waits for: expiry and length limits stop while this is false. A reject is always taken.
static inline bool
dying_has_room(const struct queue *q)
{
    (void)q;
    return true;
}
