// session_sampler.c: samples of what sessions and clients of a worker do, taken while somebody looks at their listings.
//
// As queue/sampler.h: a look (broker_list) starts a timer, ten minutes without one end it and forget everything. Each round walks all
// clients and sessions of the worker; those that have done anything yet are sampled, the last two alone: rates. Whose history was asked
// for keeps ten minutes and an hour, some kilobytes.
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

enum { WATCH_MS = 10 * 60 * 1000 };

static_assert(SESSION_SERIES_COUNT <= (int)SAMPLES_SERIES_MAX, "samples have a series for each count");

static void
add_sample(struct samples **samples, bool is_watched, unsigned series, int64_t now_ms, const uint64_t *values)
{
    bool has_any = *samples != NULL || is_watched;
    for (unsigned i = 0; i < series; i++)
        has_any |= values[i] > 0;
    if (has_any && *samples == NULL)
        *samples = samples_new(series, is_watched ? SAMPLES_BASIC : SAMPLES_RATE);
    if (*samples != NULL)
        samples_add(*samples, now_ms, values);
}

static void
sample_traffic(struct client *c, int64_t now_ms)
{
    uint64_t values[CLIENT_SERIES_COUNT] = {0};
    if (c->traffic != NULL)
        c->traffic(c->ctx, &values[CLIENT_RECEIVED], &values[CLIENT_SENT]);
    add_sample(&c->samples, c->is_watched, CLIENT_SERIES_COUNT, now_ms, values);
}

static void
sample_session(struct session *s, int64_t now_ms)
{
    uint64_t counts[SESSION_SERIES_COUNT];
    memcpy(counts, &s->stats, sizeof counts);
    add_sample(&s->samples, s->is_watched, SESSION_SERIES_COUNT, now_ms, counts);
}

static void
sample_client(struct client *c, int64_t now_ms)
{
    sample_traffic(c, now_ms);
    LV_LIST_EACH (it, &c->sessions)
        sample_session(LV_CONTAINER_OF(it, struct session, node), now_ms);
}

// What was kept for its rate alone goes: its place is too small.
void
client_watch(struct client *c)
{
    if (c->is_watched || c->broker->config.sample_ms == 0)
        return;
    c->is_watched = true;
    samples_free(c->samples);
    c->samples = NULL;
    sample_traffic(c, c->broker->worker->now_ms);
}

void
session_watch(struct session *s)
{
    if (s->is_watched || s->client->broker->config.sample_ms == 0)
        return;
    s->is_watched = true;
    samples_free(s->samples);
    s->samples = NULL;
    sample_session(s, s->client->broker->worker->now_ms);
}

static void
forget(struct broker_worker *b)
{
    LV_LIST_EACH (it, &b->clients) {
        struct client *c = LV_CONTAINER_OF(it, struct client, node);
        samples_free(c->samples);
        c->samples = NULL;
        c->is_watched = false;
        LV_LIST_EACH (node, &c->sessions) {
            struct session *s = LV_CONTAINER_OF(node, struct session, node);
            samples_free(s->samples);
            s->samples = NULL;
            s->is_watched = false;
        }
    }
}

static bool
sample_hook(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    if (!b->sampler.is_due)
        return false;
    b->sampler.is_due = false;
    if (w->now_ms - b->sampler.watched_ms > WATCH_MS) {
        ev_timer_stop(w->loop, &b->sampler.timer);
        forget(b);
        return false;
    }
    LV_LIST_EACH (it, &b->clients)
        sample_client(LV_CONTAINER_OF(it, struct client, node), w->now_ms);
    return false;
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    ((struct broker_worker *)timer->data)->sampler.is_due = true;
}

void
broker_sampler_watch(struct broker_worker *b)
{
    b->sampler.watched_ms = b->worker->now_ms;
    if (b->config.sample_ms == 0 || ev_is_active(&b->sampler.timer))
        return;
    b->sampler.is_due = true;
    worker_keep_awake(b->worker);
    ev_timer_start(b->worker->loop, &b->sampler.timer);
}

double
broker_rate(const struct broker_worker *b, const struct samples *s, unsigned series)
{
    return samples_rate(s, series, b->worker->now_ms, 3 * (int64_t)b->config.sample_ms);
}

void
broker_sampler_init(struct broker_worker *b)
{
    double seconds = (double)b->config.sample_ms / 1000.0;
    ev_timer_init(&b->sampler.timer, on_timer, seconds, seconds);
    b->sampler.timer.data = b;
    worker_add_hook(b->worker, PHASE_TIMERS, sample_hook, b);
}

void
broker_sampler_fini(struct broker_worker *b)
{
    ev_timer_stop(b->worker->loop, &b->sampler.timer);
    forget(b);
}
