// consumer_timeout.c: see consumer_timeout.h.
#include "queue/consumer_timeout.h"

#include "queue/queue_worker.h"

void
consumer_timeout_changed(struct queue_worker *qw, struct queue *q)
{
    LV_LIST_EACH (it, &q->consumers) {
        const struct consumer *c = LV_CONTAINER_OF(it, struct consumer, all);
        notify_timeout(qw, c->session, c->consumer_id, consumer_timeout_of(q));
    }
}
