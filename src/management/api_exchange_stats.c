// api_exchange_stats.c: what was published to exchanges and handed on by them, added up over the workers, with rates and histories.
//
// A question about all asks every worker part by part for its counters (those of exchanges that nobody published to do not exist); a question
// about one asks for that one alone. While somebody asks, and for ten minutes after, a round is made every collect_statistics_interval and kept:
// the last two samples of each exchange, and a history of those whose history was asked for.
#include <uthash.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/management/api_stats.h"
#include "src/management/api_waiters.h"
#include "src/management/http_server.h"

// LIMIT: exchanges that are sampled, and those with a history; how long after the last look; counters of a part.
enum { SAMPLED_MAX = 100000, WATCHED_MAX = 1000, WATCH_MS = 10 * 60 * 1000, COUNTS_A_PART = 4096 };
enum { SERIES_IN, SERIES_OUT, SERIES_COUNT };

struct exchange_stats {
    UT_hash_handle hh;
    uint64_t id;
    uint64_t now[SERIES_COUNT], next[SERIES_COUNT]; // next: being added up
    struct samples *samples;
    bool is_watched, is_seen;
};

struct api_exchange_stats { // one a server
    struct api_server *server;
    struct exchange_stats *all;
    unsigned watched;
    struct api_waiters waiters;
    unsigned parts; // answers that are missing
    bool is_running, has_failed, is_due;
    int64_t watched_ms, sampled_ms; // wall clock
    ev_timer timer;
};

struct part_mail {
    struct api_exchange_stats *stats;
    struct worker *back, *worker;
    uint32_t from;
    struct buf *part; // heap; NULL: no memory
};

static void start_round(struct api_exchange_stats *t);
static void part_asked(struct worker *w, void *payload);

// --- a round ----------------------------------------------------------------------------------------------------------------------------

static struct exchange_stats *
stats_of(struct api_exchange_stats *t, uint64_t id)
{
    struct exchange_stats *x;
    HASH_FIND(hh, t->all, &id, sizeof id, x);
    if (x != NULL)
        return x;
    x = mem_calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->id = id;
    HASH_ADD(hh, t->all, id, sizeof x->id, x);
    return x;
}

static void
forget(struct api_exchange_stats *t, struct exchange_stats *x)
{
    t->watched -= x->is_watched;
    HASH_DEL(t->all, x);
    samples_free(x->samples);
    mem_free(x);
}

static void
add_part(struct api_exchange_stats *t, struct slice records)
{
    struct broker_exchange_count n;
    while (broker_exchange_count_next(&records, &n)) {
        struct exchange_stats *x = stats_of(t, n.id);
        t->has_failed |= x == NULL;
        if (x == NULL)
            continue;
        x->is_seen = true;
        x->next[SERIES_IN] += n.in;
        x->next[SERIES_OUT] += n.out;
    }
}

static void
sample(struct exchange_stats *x, int64_t now_ms)
{
    if (x->samples == NULL)
        x->samples = samples_new(SERIES_COUNT, x->is_watched ? SAMPLES_BASIC : SAMPLES_RATE);
    if (x->samples != NULL)
        samples_add(x->samples, now_ms, x->now);
}

static void
finish_round(struct api_exchange_stats *t)
{
    struct exchange_stats *x, *next;
    int64_t now_ms = clock_wall_ms(),
            half_ms = (int64_t)LV_MAX(http_server_config(t->server)->statistics_interval_ms, 1000u) / 2;
    // A sample that comes a little early is one.
    bool is_sample = now_ms - t->sampled_ms >= half_ms || now_ms < t->sampled_ms;
    HASH_ITER(hh, t->all, x, next)
    {
        memcpy(x->now, x->next, sizeof x->now);
        if (!x->is_seen && !t->has_failed)
            forget(t, x);
        else if (is_sample && HASH_COUNT(t->all) <= SAMPLED_MAX)
            sample(x, now_ms);
    }
    if (is_sample)
        t->sampled_ms = now_ms;
    t->is_running = false;
    api_waiters_serve(&t->waiters, t->has_failed);
    if (api_waiters_are_any(&t->waiters))
        start_round(t);
}

static void
part_answered(struct worker *w, void *payload)
{
    struct part_mail *mail = payload;
    struct api_exchange_stats *t = mail->stats;
    if (mail->part == NULL || mail->part->failed)
        t->has_failed = true;
    else
        add_part(t, buf_slice(mail->part));
    if (mail->part != NULL)
        buf_fini(mail->part);
    mem_free(mail->part);
    mail->part = NULL;
    if (mail->from > 0)
        worker_post(mail->worker, part_asked, mail, sizeof *mail, 0);
    else if (--t->parts == 0)
        finish_round(t);
}

static void
part_asked(struct worker *w, void *payload)
{
    struct part_mail mail = *(struct part_mail *)payload;
    mail.part = mem_calloc(1, sizeof *mail.part);
    if (mail.part != NULL)
        broker_exchange_counts(w, &mail.from, COUNTS_A_PART, mail.part);
    else
        mail.from = 0;
    worker_post(mail.back, part_answered, &mail, sizeof mail, 0);
}

static void
start_round(struct api_exchange_stats *t)
{
    struct exchange_stats *x, *next;
    struct worker *w = http_server_worker(t->server);
    LV_ASSERT(!t->is_running);
    t->is_running = true;
    t->has_failed = false;
    api_waiters_begin(&t->waiters);
    HASH_ITER(hh, t->all, x, next)
    {
        memset(x->next, 0, sizeof x->next);
        x->is_seen = false;
    }
    t->parts = (unsigned)w->crew->n_workers + 1;
    for (int i = 0; i <= w->crew->n_workers;
         i++) { // the last is this one: publishes over HTTP are its sessions'
        struct worker *asked = i < w->crew->n_workers ? w->crew->members[i] : w;
        struct part_mail mail = {.stats = t, .back = w, .worker = asked};
        worker_post(asked, part_asked, &mail, sizeof mail, 0);
    }
}

// --- looking ----------------------------------------------------------------------------------------------------------------------------

static void
look(struct api_exchange_stats *t)
{
    t->watched_ms = clock_wall_ms();
    if (http_server_config(t->server)->has_rates && !ev_is_active(&t->timer))
        ev_timer_start(http_server_worker(t->server)->loop, &t->timer);
}

void
api_take_exchange_stats(struct api_request *r, void (*then)(struct api_request *r))
{
    struct api_exchange_stats *t = http_server_exchange_stats(r->server);
    if (!api_waiters_add(&t->waiters, r, then))
        return;
    look(t);
    if (!t->is_running)
        start_round(t);
}

static void
one_on_worker(struct worker *w, const void *order, struct buf *part)
{
    broker_exchange_count_one(w, *(const uint64_t *)order, part);
}

static void
one_gathered(struct api_request *r)
{
    struct api_exchange_stats *t = http_server_exchange_stats(r->server);
    struct slice records = buf_slice(&r->gathering);
    struct broker_exchange_count n;
    uint64_t sums[SERIES_COUNT] = {0};
    struct exchange_stats *x = NULL;
    while (!r->has_failed && broker_exchange_count_next(&records, &n)) {
        x = stats_of(t, n.id);
        sums[SERIES_IN] += n.in;
        sums[SERIES_OUT] += n.out;
    }
    if (x != NULL)
        memcpy(x->now, sums, sizeof x->now);
    if (x != NULL && r->ranges[API_RANGE_MESSAGES].step_s > 0 && !x->is_watched && t->watched < WATCHED_MAX) {
        x->is_watched = true; // what was kept for its rate alone goes: its place is too small
        t->watched++;
        samples_free(x->samples);
        x->samples = NULL;
        sample(x, clock_wall_ms());
    }
    buf_reset(&r->gathering);
    r->listed(r);
}

void
api_take_exchange_stats_of(struct api_request *r, uint64_t id, void (*then)(struct api_request *r))
{
    look(http_server_exchange_stats(r->server));
    r->listed = then;
    r->gathered = one_gathered;
    broker_exchange_count_one(http_server_worker(r->server), id,
                              &r->gathering); // publishes over HTTP are its sessions'
    api_ask_workers(r, one_on_worker, &id, sizeof id);
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct api_exchange_stats *t = timer->data;
    t->is_due = true;
}

bool
api_exchange_stats_run(struct api_exchange_stats *t)
{
    struct exchange_stats *x, *next;
    if (!t->is_due)
        return false;
    t->is_due = false;
    if (clock_wall_ms() - t->watched_ms <= WATCH_MS) {
        if (!t->is_running)
            start_round(t);
        return true;
    }
    ev_timer_stop(http_server_worker(t->server)->loop, &t->timer);
    HASH_ITER(hh, t->all, x, next)
    {
        if (!t->is_running)
            forget(t, x);
    }
    return true;
}

struct api_exchange_stats *
api_exchange_stats_new(struct api_server *s)
{
    struct api_exchange_stats *t = mem_xcalloc(1, sizeof *t);
    double seconds = (double)LV_MAX(http_server_config(s)->statistics_interval_ms, 1000u) / 1000.0;
    t->server = s;
    api_waiters_init(&t->waiters);
    ev_timer_init(&t->timer, on_timer, seconds, seconds);
    t->timer.data = t;
    return t;
}

void
api_exchange_stats_free(struct api_exchange_stats *t)
{
    struct exchange_stats *x, *next;
    if (t == NULL)
        return;
    ev_timer_stop(http_server_worker(t->server)->loop, &t->timer);
    HASH_ITER(hh, t->all, x, next)
    forget(t, x);
    api_waiters_fini(&t->waiters);
    mem_free(t);
}

// --- showing ----------------------------------------------------------------------------------------------------------------------------

void
api_put_exchange_stats(struct api_request *r, struct api_out *o, uint64_t id)
{
    static const char *const names[SERIES_COUNT] = {"publish_in", "publish_out"};
    int64_t now_ms = clock_wall_ms(),
            stale_ms = 3 * (int64_t)http_server_config(r->server)->statistics_interval_ms;
    struct exchange_stats *x;
    HASH_FIND(hh, http_server_exchange_stats(r->server)->all, &id, sizeof id, x);
    if (x == NULL)
        return; // RabbitMQ shows none either where nothing was published
    api_out_object(o, "message_stats");
    for (unsigned i = 0; i < SERIES_COUNT; i++) {
        struct api_sampled s = {
            .samples = x->samples, .series = {i}, .series_count = 1, .kind = API_RANGE_MESSAGES};
        s.rate = x->samples != NULL ? samples_rate(x->samples, i, now_ms, stale_ms) : 0.0;
        api_put_sampled(r, o, names[i], (int64_t)x->now[i], &s);
    }
    api_out_end(o);
}
