// fetch.c: basic.get, which may have to wait for its message to come into memory (durable_load.c brings it).
#include "queue/browse.h"
#include "queue/consumer_timeout.h"
#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"

enum next_message
queue_next(const struct queue *q)
{
    const struct ready_entry *e = queue_front(q);
    if (LV_LIKELY(e != NULL)) {
        if (LV_LIKELY(ready_entry_message(e) != NULL))
            return NEXT_HERE;
        return stored_is(e->stored, STORED_FETCHING) || q->disk->is_read_held ? NEXT_COMING : NEXT_ABSENT;
    }
    if (q->disk == NULL || queue_disk_waiting(q->disk) == 0)
        return NEXT_NONE;
    return q->disk->is_loading || q->disk->is_read_held ? NEXT_COMING : NEXT_ABSENT;
}

void
queue_gets_continue(struct queue_worker *qw, struct queue *q)
{
    struct queue_request *r = q->get_first;
    q->get_first = q->get_last = NULL;
    queue_enter(q);
    while (r != NULL) {
        struct queue_request *next = r->next;
        r->next = NULL;
        if (q->is_dead)
            request_answer(qw->w, r, QUEUE_GONE);
        else if (r->kind == QUEUE_REQUEST_BROWSE)
            queue_browse(qw, q, r);
        else
            queue_get(qw, q, r); // may wait again, for the next message
        r = next;
    }
    queue_touch(qw, q);
    queue_leave(qw, q);
}

void
queue_gets_end(struct queue_worker *qw, struct queue *q)
{
    for (struct queue_request *r; (r = q->get_first) != NULL;) {
        q->get_first = r->next;
        r->next = NULL;
        request_answer(qw->w, r, QUEUE_GONE);
    }
    q->get_last = NULL;
}

void
queue_wait_for_message(struct queue *q, struct queue_request *r)
{
    r->next = NULL;
    if (q->get_first == NULL)
        q->get_first = r;
    else
        q->get_last->next = r;
    q->get_last = r;
}

// Fills the answer of a get from the next message, which is in memory.
static enum queue_outcome
take_for_get(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    struct delivery d;
    if (!queue_take(qw, q, r->session, QUEUE_TAKE_GET | (r->is_no_ack ? QUEUE_TAKE_NO_ACK : 0u), &d))
        return QUEUE_NO_MEMORY;
    r->msg = d.msg;
    r->seq = d.seq;
    r->delivery_count = d.delivery_count;
    r->is_counted = d.is_counted;
    r->consumer_timeout_ms = consumer_timeout_of(q);
    r->is_redelivered = d.is_redelivered;
    return QUEUE_OK;
}

void
queue_get(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    q->active_ms = qw->w->now_ms;
    expiry_used(qw, q);
    enum queue_outcome outcome = QUEUE_EMPTY;
    enum next_message next;
    bool is_new_front;
    do {
        enum expiry_front front;
        while ((front = expiry_clear_front(qw, q, qw->w->now_ms + 1)) == FRONT_HAS_MORE)
            continue;
        if (front == FRONT_IS_DEAD) {
            request_answer(qw->w, r, QUEUE_GONE);
            return;
        }
        next = q->get_first != NULL ? NEXT_COMING : queue_next(q);
        is_new_front = next == NEXT_ABSENT && (next = durable_load(qw, q)) == NEXT_HERE;
    } while (is_new_front && q->expiry != NULL);
    if (next == NEXT_COMING) {
        queue_wait_for_message(q, r);
        return;
    }
    if (next != NEXT_NONE)
        outcome = next == NEXT_HERE ? take_for_get(qw, q, r) : QUEUE_NO_MEMORY;
    r->message_count = queue_ready_count(q);
    r->consumer_count = q->consumer_count;
    queue_enter(q);
    request_answer(qw->w, r, outcome);
    queue_touch(qw, q); // it may be empty now, with grants out
    queue_leave(qw, q);
}
