// queue_worker.c: start-up and end of a worker's queues, the handle tables, and dropping messages bit by bit.
#include "queue/queue_worker.h"

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/tx.h"
#include "src/base/mem.h"

// LIMIT: objects kept for reuse; messages dropped of purged and deleted queues in one turn.
enum { KEEP_CONSUMERS = 1024, KEEP_GROUPS = 256, DROP_A_TURN = 2000 };

static bool
reap_hook(struct worker *w, void *ctx)
{
    struct queue_worker *qw = ctx;
    size_t budget = DROP_A_TURN;
    tally_flush(qw, NULL);
    if (!list_is_empty(&qw->txs))
        tx_step(qw);
    for (struct list *at; budget > 0 && (at = list_first(&qw->purged)) != NULL;) {
        struct purged_part *part = LV_CONTAINER_OF(at, struct purged_part, node);
        if (!queue_worker_drop_ready(qw, &part->ready, &budget))
            break;
        list_remove(at);
        mem_free(part);
    }
    for (struct list *at; budget > 0 && (at = list_first(&qw->dead)) != NULL;) {
        if (!queue_bury(qw, LV_CONTAINER_OF(at, struct queue, run), &budget))
            break;
    }
    return !list_is_empty(&qw->purged) || !list_is_empty(&qw->dead);
}

void
queue_worker_init(struct worker *w, const struct queue_worker_config *config)
{
    LV_ASSERT(w->queue_state == NULL && config->client != NULL);
    struct queue_worker *qw = mem_aligned(LV_CACHE_LINE, sizeof(*qw));
    LV_ASSERT(qw != NULL);
    *qw = (struct queue_worker){.w = w, .client = config->client, .dispatched_turn = UINT64_MAX};
    list_init(&qw->runnable);
    list_init(&qw->dead);
    list_init(&qw->purged);
    list_init(&qw->txs);
    list_init(&qw->limited);
    queue_deadlines_init(qw);
    ready_pools_init(&qw->ready_pools);
    unacked_pool_init(&qw->unacked_tables);
    pool_init(&qw->consumer_pool, sizeof(struct consumer), KEEP_CONSUMERS);
    pool_init(&qw->group_pool, sizeof(struct consumer_group), KEEP_GROUPS);
    w->queue_state = qw;
    dying_init(qw);
    if (config->durable != NULL)
        durable_init(qw, config->durable);
    sampler_init(qw, config->sample_ms);
    worker_add_hook(w, PHASE_DISPATCH, queue_dispatch_hook, qw);
    worker_add_hook(w, PHASE_DISPATCH, queue_deadline_hook, qw);
    worker_add_hook(w, PHASE_REAP, reap_hook, qw);
}

// At the end nobody is told anything: sessions and requesters are gone already.
static void
end_queue(struct queue_worker *qw, struct queue *q)
{
    for (struct queue_request *r; (r = q->get_first) != NULL;) {
        q->get_first = r->next;
        queue_request_free(r);
    }
    for (struct list *at; (at = list_pop_front(&q->consumers)) != NULL;) {
        struct consumer *c = LV_CONTAINER_OF(at, struct consumer, all);
        pool_give(&qw->consumer_pool, c);
    }
    for (struct consumer_group *g; (g = q->groups) != NULL;) {
        q->groups = g->next;
        pool_give(&qw->group_pool, g);
    }
    LV_ASSERT(q->busy == 0);
    list_remove(&q->run);
    if (q->disk != NULL)
        durable_forget(qw, q);
    dying_stop(qw, q);
    q->is_dead = true;
    q->bury_cursor = 0;
    size_t budget = SIZE_MAX;
    LV_ASSERT(queue_bury(qw, q, &budget));
}

void
queue_workers_stop(struct crew *crew)
{
    durable_end(crew);
}

bool
queue_worker_is_full(const struct worker *w)
{
    const struct durable *d = queue_worker_of(w)->durable;
    return d != NULL && atomic_load_explicit(&d->is_full, memory_order_relaxed);
}

void
queue_worker_fini(struct worker *w)
{
    struct queue_worker *qw = queue_worker_of(w);
    if (qw == NULL)
        return;
    queue_workers_stop(w->crew);
    qw->tally = (struct tally){0};
    tx_drop_all(qw);
    while (reap_hook(w, qw))
        ;
    for (uint32_t i = 0; i < qw->queues.cap; i++) {
        if (qw->queues.items[i].object != NULL)
            end_queue(qw, qw->queues.items[i].object);
    }
    LV_ASSERT(atomic_load_explicit(&qw->message_bytes, memory_order_relaxed) == 0);
    sampler_fini(qw);
    handle_slots_fini(&qw->queues);
    handle_slots_fini(&qw->consumers);
    handle_numbers_fini(&qw->consumer_numbers);
    handle_numbers_fini(&qw->numbers);
    queue_deadlines_fini(qw);
    ready_pools_fini(&qw->ready_pools);
    pool_fini(&qw->unacked_tables);
    pool_fini(&qw->consumer_pool);
    pool_fini(&qw->group_pool);
    dying_fini(qw);
    if (qw->durable != NULL)
        durable_fini(qw);
    mem_free(qw);
    w->queue_state = NULL;
}

struct queue *
queue_worker_find(struct queue_worker *qw, lv_handle h)
{
    if (LV_UNLIKELY(handle_worker(h) != (unsigned)qw->w->index))
        return NULL;
    struct queue *q = handle_slots_find(&qw->queues, h);
    if (LV_LIKELY(q != NULL))
        return q;
    if (!handle_slots_is_newer(&qw->queues, h) || qw->is_waiting_topology)
        return NULL;
    // Its CREATE may wait in the ring of the topology writer.
    struct worker *writer = crew_extra_member(qw->w->crew, CREW_TOPOLOGY);
    if (writer == qw->w)
        return NULL;
    qw->is_waiting_topology = true;
    worker_drain_from(qw->w, writer);
    qw->is_waiting_topology = false;
    return handle_slots_find(&qw->queues, h);
}

void
queue_worker_drop_entry(struct queue_worker *qw, const struct ready_entry *e)
{
    if (ready_entry_is(e, READY_STORED)) {
        stored_gone(qw, e->stored);
        return;
    }
    queue_worker_sub_bytes(qw, message_weight(e->msg));
    message_unref(e->msg);
}

bool
queue_worker_drop_ready(struct queue_worker *qw, struct ready *r, size_t *budget)
{
    while (r->count > 0) {
        if (*budget == 0)
            return false;
        (*budget)--;
        struct ready_entry e = *ready_peek(r);
        ready_pop(r, &qw->ready_pools);
        queue_worker_drop_entry(qw, &e);
    }
    ready_fini(r);
    return true;
}

uint64_t
queue_worker_queue_count(const struct worker *w)
{
    return atomic_load_explicit(&queue_worker_of(w)->queue_count, memory_order_relaxed);
}

uint64_t
queue_worker_message_bytes(const struct worker *w)
{
    return atomic_load_explicit(&queue_worker_of(w)->message_bytes, memory_order_relaxed);
}

lv_handle
queue_handle_alloc(struct worker *w)
{
    lv_handle h;
    int rc = handle_numbers_take(&queue_worker_of(w)->numbers, (unsigned)w->index, &h);
    LV_ASSERT(rc == 0); // topology objects: out of memory aborts (mem.h)
    return h;
}

void
queue_handle_release(lv_handle h)
{
    struct worker *self = worker_self;
    LV_ASSERT(self != NULL && (int)handle_worker(h) < self->crew->n_workers);
    handle_numbers_give(&queue_worker_of(self->crew->members[handle_worker(h)])->numbers, h);
}

void
queue_worker_each_stats(const struct worker *w, uint32_t *from, uint32_t max,
                        void (*visit)(void *ctx, const struct queue_def *def,
                                      const struct queue_stats *stats),
                        void *ctx)
{
    const struct queue_worker *qw = queue_worker_of(w);
    LV_ON_WORKER(w);
    uint32_t at = *from, end = qw->queues.cap - LV_MIN(at, qw->queues.cap) > max ? at + max : qw->queues.cap;
    for (; at < end; at++) {
        const struct queue *q = qw->queues.items[at].object;
        struct queue_stats stats;
        if (q == NULL)
            continue;
        queue_fill_counts(qw, q, &stats);
        visit(ctx, q->def, &stats);
    }
    *from = end < qw->queues.cap ? end : 0;
}

void
queue_worker_gone(const struct worker *w, struct queue_gone *ret)
{
    LV_ON_WORKER(w);
    *ret = queue_worker_of(w)->gone;
}

void
queue_worker_each(const struct worker *w, uint32_t *from, uint32_t max,
                  void (*visit)(void *ctx, const struct queue_def *def, const struct queue_totals *t),
                  void *ctx)
{
    const struct queue_worker *qw = queue_worker_of(w);
    LV_ON_WORKER(w);
    uint32_t at = *from, end = qw->queues.cap - LV_MIN(at, qw->queues.cap) > max ? at + max : qw->queues.cap;
    for (; at < end; at++) {
        const struct queue *q = qw->queues.items[at].object;
        if (q == NULL)
            continue;
        struct queue_totals t = {.ready = queue_ready_count(q),
                                 .unacked = q->unacked.count,
                                 .consumers = q->consumer_count,
                                 .memory_bytes = q->ready_sum.weight + q->unacked_sum.weight};
        visit(ctx, q->def, &t);
    }
    *from = end < qw->queues.cap ? end : 0;
}
