// request.c: the operations that are a struct queue_request: to the owner, carried out, back to `done`.
//
// Each request is answered exactly once: gets may wait for a body (fetch.c), deletes for the disk, all others are
// answered where they are carried out. A request for a handle that names nothing is answered with QUEUE_GONE.
#include "queue/browse.h"
#include "queue/consumer_timeout.h"
#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/samples.h"

struct queue_request *
queue_request_new(enum queue_request_kind kind, lv_handle queue)
{
    struct queue_request *r = mem_calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->kind = kind;
    r->queue = queue;
    return r;
}

void
queue_request_free(struct queue_request *r)
{
    if (r == NULL)
        return;
    message_unref(r->msg);
    for (size_t i = 0; r->browse != NULL && i < r->browse->count; i++)
        message_unref(r->browse->items[i].msg);
    mem_free(r->browse);
    mem_free(r->consumers);
    samples_free(r->samples);
    mem_free(r->rules);
    mem_free(r);
}

struct request_mail {
    struct queue_request *request;
};

static void
request_returned(struct worker *to, void *payload)
{
    struct queue_request *r = ((struct request_mail *)payload)->request;
    LV_ASSERT_HOT(r->requester == to);
    r->done(r);
}

void
request_answer(struct worker *w, struct queue_request *r, enum queue_outcome outcome)
{
    r->outcome = outcome;
    if (r->requester == w) {
        r->done(r);
        return;
    }
    struct request_mail mail = {r};
    worker_post(r->requester, request_returned, &mail, sizeof(mail),
                r->msg == NULL ? 0 : message_weight(r->msg));
}

static void
fill_counts(const struct queue *q, struct queue_request *r)
{
    r->message_count = queue_ready_count(q);
    r->consumer_count = q->consumer_count;
}

static enum queue_outcome
run_create(struct queue_worker *qw, struct queue_request *r)
{
    LV_ASSERT(r->def != NULL && r->def->handle == r->queue);
    if (handle_slots_reserve(&qw->queues, r->queue) < 0)
        return QUEUE_NO_MEMORY;
    struct queue *q = queue_new(qw, r->def);
    if (q == NULL)
        return QUEUE_NO_MEMORY;
    // They come with the declaration alone, no policy changes them.
    // What waits for a time of its own leaves from anywhere: it has to have an entry in memory, which is what levels do, if only one.
    if (r->rules != NULL && (r->rules->max_priority > 0 || r->rules->is_delay) &&
        (q->levels = levels_new(r->rules->max_priority)) == NULL) {
        mem_free(q);
        return QUEUE_NO_MEMORY;
    }
    handle_slots_put(&qw->queues, r->queue, q);
    queue_set_rules(qw, q, r->rules);
    r->rules = NULL;
    if (q->durability != DURABILITY_NONE && durable_adopt(qw, q) < 0)
        return QUEUE_NO_MEMORY; // at start only: the process ends
    atomic_fetch_add_explicit(&qw->queue_count, 1, memory_order_relaxed);
    return QUEUE_OK;
}

static enum queue_outcome
run_consume(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    fill_counts(q, r);
    bool wants_exclusive = (r->consumer_flags & CONSUMER_EXCLUSIVE) != 0;
    bool is_single_active = (q->def->flags & QUEUE_SINGLE_ACTIVE) != 0;
    if (q->has_exclusive || (wants_exclusive && (q->consumer_count > 0 || is_single_active)))
        return QUEUE_EXCLUSIVE_USE;
    struct consumer *c;
    if (consumer_add(qw, q, r, &c) < 0)
        return QUEUE_NO_MEMORY;
    r->consumer = c->handle;
    r->consumer_timeout_ms = consumer_timeout_of(q);
    r->consumer_count = q->consumer_count;
    return QUEUE_OK;
}

static enum queue_outcome
run_cancel(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    struct consumer *c = queue_worker_find_consumer(qw, r->consumer);
    bool is_known = c != NULL && c->queue == q;
    if (is_known)
        consumer_remove(qw, c);
    q->counters.consumer_timeouts += r->is_late;
    if (q->is_dead)
        return QUEUE_GONE;
    fill_counts(q, r);
    if (is_known && q->consumer_count == 0 && (q->def->flags & QUEUE_AUTO_DELETE) != 0)
        qw->client->is_unused(qw->w, q->def);
    return QUEUE_OK;
}

static enum queue_outcome
run_delete(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    fill_counts(q, r);
    if ((r->delete_conditions & DELETE_IF_EMPTY) != 0 && r->message_count > 0)
        return QUEUE_NOT_EMPTY;
    if ((r->delete_conditions & DELETE_IF_UNUSED) != 0 && r->consumer_count > 0)
        return QUEUE_IN_USE;
    bool is_over = (q->def->flags & QUEUE_AUTO_DELETE) != 0 || expiry_is_unused(qw, q);
    if ((r->delete_conditions & DELETE_IF_OVER) != 0 && !is_over)
        return QUEUE_IN_USE;
    queue_kill(qw, q, "queue deleted", r); // answers when that is durable
    return QUEUE_OK;
}

// The active ones among the consumers: all, or with single-active the one that does not stand by.
static enum queue_outcome
run_stats(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    fill_counts(q, r);
    sampler_watch(qw);
    queue_fill_stats(qw, q, &r->stats);
    if (r->wants_samples)
        r->samples = samples_copy(q->samples);
    if (q->consumer_count == 0)
        return QUEUE_OK;
    r->consumers = mem_calloc(q->consumer_count, sizeof(*r->consumers));
    if (r->consumers == NULL) {
        r->stats.consumers = 0; // how many entries there are to read
        return QUEUE_NO_MEMORY;
    }
    uint32_t at = 0;
    LV_LIST_EACH (it, &q->consumers) {
        const struct consumer *c = LV_CONTAINER_OF(it, struct consumer, all);
        if (!c->is_standby && (q->def->flags & QUEUE_SINGLE_ACTIVE) != 0)
            r->stats.active_consumer = at;
        r->consumers[at++] = (struct consumer_info){
            .session = c->session,
            .consumer_id = c->consumer_id,
            .flags = c->flags,
            .prefetch = c->prefetch,
            .priority = c->group->priority,
            .is_active = !c->is_standby,
        };
    }
    LV_ASSERT(at == q->consumer_count);
    return QUEUE_OK;
}

static enum queue_outcome
run_on_queue(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    if (r->kind != QUEUE_REQUEST_STATS && r->kind != QUEUE_REQUEST_RULES)
        q->active_ms = qw->w->now_ms;
    switch (r->kind) {
    case QUEUE_REQUEST_STATUS:
        expiry_used(qw, q);
        fill_counts(q, r);
        return QUEUE_OK;
    case QUEUE_REQUEST_CONSUME: return run_consume(qw, q, r);
    case QUEUE_REQUEST_CANCEL: return run_cancel(qw, q, r);
    case QUEUE_REQUEST_PURGE:
        r->message_count = queue_purge(qw, q);
        r->consumer_count = q->consumer_count;
        return QUEUE_OK;
    case QUEUE_REQUEST_DELETE: return run_delete(qw, q, r);
    case QUEUE_REQUEST_STATS: return run_stats(qw, q, r);
    case QUEUE_REQUEST_RULES:
        queue_set_rules(qw, q, r->rules);
        r->rules = NULL;
        return QUEUE_OK;
    case QUEUE_REQUEST_REMOVE: return queue_remove_message(qw, q, r->seq);
    case QUEUE_REQUEST_BROWSE:
    case QUEUE_REQUEST_GET:
    case QUEUE_REQUEST_CREATE: break;
    }
    lv_assert_failed("a kind of request that comes here", __FILE__, __LINE__, __func__);
}

static void
request_run(struct queue_worker *qw, struct queue_request *r)
{
    if (r->kind == QUEUE_REQUEST_CREATE) {
        request_answer(qw->w, r, run_create(qw, r));
        return;
    }
    struct queue *q = queue_worker_find(qw, r->queue);
    if (q == NULL) {
        request_answer(qw->w, r, QUEUE_GONE);
        return;
    }
    if (r->kind == QUEUE_REQUEST_GET) {
        queue_get(qw, q, r);
        return;
    }
    if (r->kind == QUEUE_REQUEST_BROWSE) {
        queue_browse(qw, q, r);
        return;
    }
    queue_enter(q);
    bool is_delete = r->kind == QUEUE_REQUEST_DELETE;
    enum queue_outcome outcome = run_on_queue(qw, q, r);
    if (!is_delete || outcome != QUEUE_OK)
        request_answer(qw->w, r, outcome);
    queue_touch(qw, q);
    queue_leave(qw, q);
}

static void
request_arrived(struct worker *to, void *payload)
{
    request_run(queue_worker_of(to), ((struct request_mail *)payload)->request);
}

void
queue_request_send(struct queue_request *r)
{
    struct worker *w = worker_self;
    LV_ASSERT(w != NULL && r->done != NULL);
    r->requester = w;
    unsigned owner = handle_worker(r->queue);
    if ((int)owner == w->index || (int)owner >= w->crew->n_workers) {
        request_run(queue_worker_of(w),
                    r); // an owner that is no worker: found by nobody, so answered as gone
        return;
    }
    struct request_mail mail = {r};
    worker_post(w->crew->members[owner], request_arrived, &mail, sizeof(mail), 0);
}
