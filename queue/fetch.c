// fetch.c: messages whose bodies lie in the store, and basic.get, which may have to wait for one.
//
// One fetch at a time a queue: the entry leaves `ready` for queue->fetch, the queue hands nothing out
// meanwhile (the order holds), gets wait in line behind it. The answer puts the entry back to its place, now
// in memory: somebody may have given back an earlier message meanwhile, which then goes first. A purge marks
// the entry, a delete lets go of the fetch; the answer that comes later finds the handle stale and drops the
// message.
#include "queue/queue_worker.h"
#include "src/base/log.h"

bool
queue_fetch_start(struct queue_worker *qw, struct queue *q)
{
    LV_ASSERT(q->fetch == NULL && q->ready.count > 0);
    struct queue_fetch *f = pool_take(&qw->fetch_pool);
    if (f == NULL)
        return false;
    if (!ready_reserve_return(&q->ready)) {
        pool_give(&qw->fetch_pool, f);
        return false;
    }
    *f = (struct queue_fetch){.entry = *ready_peek(&q->ready)};
    LV_ASSERT(ready_entry_is(&f->entry, READY_PAGED));
    ready_pop(&q->ready, &qw->ready_pools);
    q->fetch = f;
    qw->store->fetch(qw->store->ctx, f->entry.location, q->handle);
    LV_ASSERT(q->fetch == f); // never answered at once
    return true;
}

// Puts the fetched entry back where it was, or forgets it.
static void
take_answer(struct queue_worker *qw, struct queue *q, struct queue_fetch *f, struct message *msg)
{
    struct ready_entry e = f->entry;
    qw->store->forget(qw->store->ctx, e.location);
    if (f->is_dropped) {
        message_unref(msg);
        return;
    }
    if (msg == NULL) {
        log_error(LOG_QUEUE,
                  "queue '%.*s' in vhost '%.*s': message %llu cannot be read from the store, dropping it",
                  SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)e.seq);
        ready_cancel_reserved(&q->ready);
        q->ready_sum.bytes -= e.body_len;
        q->ready_sum.persistent -= ready_entry_is(&e, READY_PERSISTENT);
        return;
    }
    e.msg = msg;
    e.count_flags &= ~(uint32_t)READY_PAGED;
    uint64_t weight = message_weight(msg);
    q->ready_sum.weight += weight;
    queue_worker_add_bytes(qw, weight);
    ready_push_reserved(&q->ready, &e);
}

void
queue_fetch_done(struct queue_worker *qw, struct queue *q, struct message *msg)
{
    struct queue_fetch *f = q->fetch;
    struct queue_request *waiting = f->waiting;
    q->fetch = NULL;
    take_answer(qw, q, f, msg);
    pool_give(&qw->fetch_pool, f);
    queue_enter(q);
    while (waiting != NULL) {
        struct queue_request *r = waiting;
        waiting = r->next;
        r->next = NULL;
        if (q->is_dead)
            request_answer(qw->w, r, QUEUE_GONE);
        else
            queue_get(qw, q, r); // may wait again, for the next body
    }
    queue_touch(qw, q);
    queue_leave(qw, q);
}

void
queue_fetch_abort(struct queue_worker *qw, struct queue *q)
{
    struct queue_fetch *f = q->fetch;
    struct queue_request *waiting = f->waiting;
    q->fetch = NULL;
    if (!f->is_dropped)
        ready_cancel_reserved(&q->ready);
    qw->store->forget(qw->store->ctx, f->entry.location);
    pool_give(&qw->fetch_pool, f);
    while (waiting != NULL) {
        struct queue_request *r = waiting;
        waiting = r->next;
        r->next = NULL;
        request_answer(qw->w, r, QUEUE_GONE);
    }
}

static void
wait_for_body(struct queue_fetch *f, struct queue_request *r)
{
    r->next = NULL;
    if (f->waiting == NULL)
        f->waiting = r;
    else
        f->waiting_last->next = r;
    f->waiting_last = r;
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
    r->is_redelivered = d.is_redelivered;
    return QUEUE_OK;
}

void
queue_get(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    q->active_ms = qw->w->now_ms;
    enum queue_outcome outcome;
    if (q->fetch != NULL) {
        wait_for_body(q->fetch, r);
        return;
    }
    const struct ready_entry *next = ready_peek(&q->ready);
    if (next == NULL) {
        outcome = QUEUE_EMPTY;
    } else if (!ready_entry_is(next, READY_PAGED)) {
        outcome = take_for_get(qw, q, r);
    } else if (queue_fetch_start(qw, q)) {
        wait_for_body(q->fetch, r);
        return;
    } else {
        outcome = QUEUE_NO_MEMORY;
    }
    r->message_count = queue_ready_count(q);
    r->consumer_count = q->consumer_count;
    queue_enter(q);
    request_answer(qw->w, r, outcome);
    queue_touch(qw, q); // it may be empty now, with grants out
    queue_leave(qw, q);
}
