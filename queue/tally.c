// tally.c: see tally.h.
#include "queue/tally.h"

#include "queue/queue_worker.h"

void
tally_flush(struct queue_worker *qw, const struct queue *q)
{
    struct tally *t = &qw->tally;
    if (LV_LIKELY(t->queue == NULL) || (q != NULL && t->queue != q))
        return;
    struct tally told = *t;
    *t = (struct tally){0};
    qw->client->died(qw->w, told.queue->def, QUEUE_RULES(told.queue), (enum death_reason)told.reason,
                     (enum death_fate)told.fate, told.count);
}

void
tally_note(struct queue_worker *qw, const struct queue *q, enum death_reason reason, enum death_fate fate)
{
    struct tally *t = &qw->tally;
    if (t->queue == q && t->reason == reason && t->fate == fate) {
        t->count++;
        return;
    }
    if (qw->client->died == NULL || QUEUE_RULES(q)->is_delay)
        return;
    tally_flush(qw, NULL);
    *t = (struct tally){.queue = q, .count = 1, .reason = (uint8_t)reason, .fate = (uint8_t)fate};
}
