// sampler.c: see sampler.h.
#include "queue/sampler.h"

#include "queue/queue_worker.h"

// LIMIT: slots looked at in a turn; queues of a worker with a whole history (15 KB each), the others have rates alone (300 bytes);
// how long nobody has to look until all is forgotten; samples without a change until a queue is.
enum { SLOTS_A_TURN = 4096, HISTORIES_MAX = 4096, WATCH_MS = 10 * 60 * 1000, UNCHANGED_MAX = 125 };

static void
values_of(const struct queue *q, uint64_t ret[static QUEUE_SERIES_COUNT])
{
    const struct queue_counters *n = &q->counters;
    ret[QUEUE_SERIES_PUBLISHED] = n->published;
    ret[QUEUE_SERIES_DELIVERED] = n->delivered;
    ret[QUEUE_SERIES_DELIVERED_NO_ACK] = n->delivered_no_ack;
    ret[QUEUE_SERIES_GOT] = n->got;
    ret[QUEUE_SERIES_GOT_NO_ACK] = n->got_no_ack;
    ret[QUEUE_SERIES_REDELIVERED] = n->redelivered;
    ret[QUEUE_SERIES_ACKED] = n->acked;
    ret[QUEUE_SERIES_READY] = queue_ready_count(q);
    ret[QUEUE_SERIES_UNACKED] = q->unacked.count;
}

void
sampler_forget(struct queue_worker *qw, struct queue *q)
{
    if (q->samples == NULL)
        return;
    samples_free(q->samples);
    q->samples = NULL;
    qw->sampler.count--;
}

static void
sample(struct queue_worker *qw, struct queue *q)
{
    struct sampler *s = &qw->sampler;
    uint64_t values[QUEUE_SERIES_COUNT];
    if (q->samples == NULL && q->active_ms < s->last_ms)
        return; // idle
    if (q->samples == NULL) {
        q->samples = samples_new(QUEUE_SERIES_COUNT, s->count < HISTORIES_MAX ? SAMPLES_BASIC : SAMPLES_RATE);
        if (q->samples == NULL)
            return;
        s->count++;
    }
    values_of(q, values);
    samples_add(q->samples, s->walk_ms, values);
    if (samples_unchanged(q->samples) > UNCHANGED_MAX)
        sampler_forget(qw, q);
}

static void
forget_all(struct queue_worker *qw)
{
    for (uint32_t i = 0; i < qw->queues.cap && qw->sampler.count > 0; i++) {
        if (qw->queues.items[i].object != NULL)
            sampler_forget(qw, qw->queues.items[i].object);
    }
}

static bool
walk_hook(struct worker *w, void *ctx)
{
    struct queue_worker *qw = ctx;
    struct sampler *s = &qw->sampler;
    if (!s->is_walking)
        return false;
    uint32_t end = LV_MIN(s->cursor + SLOTS_A_TURN, qw->queues.cap);
    for (; s->cursor < end; s->cursor++) {
        if (qw->queues.items[s->cursor].object != NULL)
            sample(qw, qw->queues.items[s->cursor].object);
    }
    s->is_walking = s->cursor < qw->queues.cap;
    return s->is_walking;
}

static void
start_walk(struct queue_worker *qw)
{
    struct sampler *s = &qw->sampler;
    s->is_walking = true;
    s->cursor = 0;
    s->last_ms = s->walk_ms;
    s->walk_ms = qw->w->now_ms;
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct queue_worker *qw = timer->data;
    struct sampler *s = &qw->sampler;
    if (qw->w->now_ms - s->watched_ms > WATCH_MS) {
        ev_timer_stop(loop, timer);
        s->is_walking = false;
        forget_all(qw);
    } else if (!s->is_walking) {
        start_walk(qw);
    }
}

void
sampler_watch(struct queue_worker *qw)
{
    struct sampler *s = &qw->sampler;
    s->watched_ms = qw->w->now_ms;
    if (s->interval_ms == 0 || ev_is_active(&s->timer))
        return;
    // What happened in the last interval before the first look counts as traffic.
    s->walk_ms = qw->w->now_ms - s->interval_ms;
    start_walk(qw);
    worker_keep_awake(qw->w);
    ev_timer_start(qw->w->loop, &s->timer);
}

void
sampler_fill_rates(const struct queue_worker *qw, const struct queue *q,
                   double ret[static QUEUE_SERIES_COUNT])
{
    for (unsigned i = 0; i < QUEUE_SERIES_COUNT && q->samples != NULL; i++)
        ret[i] = samples_rate(q->samples, i, qw->w->now_ms, 3 * (int64_t)qw->sampler.interval_ms);
}

void
sampler_init(struct queue_worker *qw, uint32_t interval_ms)
{
    double seconds = (double)interval_ms / 1000.0;
    qw->sampler.interval_ms = interval_ms;
    ev_timer_init(&qw->sampler.timer, on_timer, seconds, seconds);
    qw->sampler.timer.data = qw;
    worker_add_hook(qw->w, PHASE_TIMERS, walk_hook, qw);
}

void
sampler_fini(struct queue_worker *qw)
{
    ev_timer_stop(qw->w->loop, &qw->sampler.timer);
}
