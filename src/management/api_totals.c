// api_totals.c: what the whole node and each vhost hold and do: added up over the workers, part by part.
//
// Sampling: while somebody looks (overview, vhosts), and for ten minutes after, the totals are asked for every
// collect_statistics_interval and kept as samples, of the node and of each vhost.
#include <uthash.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/management/api_stats.h"
#include "src/management/api_waiters.h"
#include "src/management/http_server.h"

// LIMIT: vhosts with histories; how long after the last look they are kept.
enum { WATCHED_MAX = 1000, WATCH_MS = 10 * 60 * 1000 };
static_assert((int)TOTAL_COUNT <= (int)SAMPLES_SERIES_MAX, "samples have a series for each total");

struct vhost_totals {
    UT_hash_handle hh;
    uint64_t now[TOTAL_COUNT], next[TOTAL_COUNT]; // next: being added up
    struct samples *samples;
    bool is_seen; // in the round being added up
    size_t name_len;
    uint8_t name[];
};

struct api_totals { // one a server
    struct api_server *server;
    struct vhost_totals *vhosts;
    struct vhost_totals *all; // the node; not in the table
    struct api_waiters waiters;
    unsigned parts; // answers that are missing
    bool is_running, has_failed;
    int64_t watched_ms, sampled_ms; // wall clock: last look, last sample
    bool is_due;
    ev_timer timer;
    uint32_t interval_ms;
    struct worker **workers;
    struct samples *node; // api_node_stats.c
};

struct part_mail {
    struct api_totals *totals;
    struct worker *back;
    uint32_t worker;  // index of who is asked
    uint32_t from;    // where its next part begins; 0: that was the last
    struct buf *part; // heap; NULL: no memory
};

static void start_round(struct api_totals *t);
static void part_asked(struct worker *w, void *payload);

// --- a round --------------------------------------------------------------------------------------------------------------------------

static struct vhost_totals *
vhost_totals_of(struct api_totals *t, struct slice name)
{
    struct vhost_totals *v;
    HASH_FIND(hh, t->vhosts, name.ptr, name.len, v);
    if (v != NULL)
        return v;
    v = mem_calloc(1, sizeof *v + name.len);
    if (v == NULL)
        return NULL;
    v->name_len = name.len;
    if (name.len > 0)
        memcpy(v->name, name.ptr, name.len);
    HASH_ADD_KEYPTR(hh, t->vhosts, v->name, v->name_len, v);
    return v;
}

static void
add_part(struct api_totals *t, struct slice records)
{
    struct slice name;
    uint64_t totals[TOTAL_COUNT];
    while (broker_total_next(&records, &name, totals)) {
        struct vhost_totals *v = vhost_totals_of(t, name);
        t->has_failed |= v == NULL;
        for (int i = 0; i < TOTAL_COUNT; i++) {
            t->all->next[i] += totals[i];
            if (v != NULL)
                v->next[i] += totals[i];
        }
        if (v != NULL)
            v->is_seen = true;
    }
}

static void
sample(struct api_totals *t, struct vhost_totals *v, enum samples_reach reach, int64_t now_ms)
{
    if (v->samples == NULL)
        v->samples = samples_new(TOTAL_COUNT, reach);
    if (v->samples != NULL)
        samples_add(v->samples, now_ms, v->now);
}

static void
vhost_totals_free(struct vhost_totals *v)
{
    if (v != NULL)
        samples_free(v->samples);
    mem_free(v);
}

// What nobody of the round knew of has gone.
static void
finish_round(struct api_totals *t)
{
    struct vhost_totals *v, *next;
    int64_t now_ms = clock_wall_ms();
    bool is_sample = now_ms - t->sampled_ms >= t->interval_ms || now_ms < t->sampled_ms;
    memcpy(t->all->now, t->all->next, sizeof t->all->now);
    HASH_ITER(hh, t->vhosts, v, next)
    {
        memcpy(v->now, v->next, sizeof v->now);
        if (!v->is_seen) {
            HASH_DEL(t->vhosts, v);
            vhost_totals_free(v);
        } else if (is_sample && HASH_COUNT(t->vhosts) <= WATCHED_MAX) {
            sample(t, v, SAMPLES_BASIC, now_ms);
        }
    }
    if (is_sample) {
        sample(t, t->all, SAMPLES_GLOBAL, now_ms);
        api_node_sample(t->server, &t->node, now_ms);
        t->sampled_ms = now_ms;
    }
    t->is_running = false;
    api_waiters_serve(&t->waiters, t->has_failed);
    if (api_waiters_are_any(&t->waiters))
        start_round(t);
}

static void
part_answered(struct worker *w, void *payload)
{
    struct part_mail *mail = payload;
    struct api_totals *t = mail->totals;
    struct worker *worker = t->workers[mail->worker];
    if (mail->part == NULL || mail->part->failed)
        t->has_failed = true;
    else
        add_part(t, buf_slice(mail->part));
    if (mail->part != NULL)
        buf_fini(mail->part);
    mem_free(mail->part);
    mail->part = NULL;
    if (mail->from > 0)
        worker_post(worker, part_asked, mail, sizeof *mail, 0);
    else if (--t->parts == 0)
        finish_round(t);
}

static void
part_asked(struct worker *w, void *payload)
{
    struct part_mail mail = *(struct part_mail *)payload;
    mail.part = mem_calloc(1, sizeof *mail.part);
    mail.from = mail.part != NULL ? broker_totals(w, mail.from, mail.part) : 0;
    worker_post(mail.back, part_answered, &mail, sizeof mail, 0);
}

static void
start_round(struct api_totals *t)
{
    struct vhost_totals *v, *next;
    struct worker *w = http_server_worker(t->server);
    LV_ASSERT(!t->is_running);
    t->is_running = true;
    t->has_failed = false;
    api_waiters_begin(&t->waiters);
    memset(t->all->next, 0, sizeof t->all->next);
    HASH_ITER(hh, t->vhosts, v, next)
    {
        memset(v->next, 0, sizeof v->next);
        v->is_seen = false;
    }
    t->parts = (unsigned)w->crew->n_workers + 1;
    t->workers = w->crew->members;
    for (int i = 0; i <= w->crew->n_workers;
         i++) { // the last is this one: publishes over HTTP are its sessions'
        uint32_t index = (uint32_t)(i < w->crew->n_workers ? i : w->index);
        struct part_mail mail = {.totals = t, .back = w, .worker = index};
        worker_post(w->crew->members[index], part_asked, &mail, sizeof mail, 0);
    }
}

// --- looking ------------------------------------------------------------------------------------------------------------------------

const struct samples *
api_look_at_node(struct api_request *r)
{
    struct api_totals *t = http_server_totals(r->server);
    t->watched_ms = clock_wall_ms();
    if (http_server_config(r->server)->has_rates && !ev_is_active(&t->timer))
        ev_timer_start(http_server_worker(r->server)->loop, &t->timer);
    return t->node;
}

void
api_take_totals(struct api_request *r, void (*then)(struct api_request *r))
{
    struct api_totals *t = http_server_totals(r->server);
    if (!api_waiters_add(&t->waiters, r, then))
        return;
    (void)api_look_at_node(r);
    if (!t->is_running)
        start_round(t);
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct api_totals *t = timer->data;
    t->is_due = true;
}

bool
api_totals_run(struct api_totals *t)
{
    if (!t->is_due)
        return false;
    t->is_due = false;
    int64_t now_ms = clock_wall_ms();
    if (now_ms - t->watched_ms > WATCH_MS)
        ev_timer_stop(http_server_worker(t->server)->loop, &t->timer);
    else if (!t->is_running)
        start_round(t);
    return true;
}

struct api_totals *
api_totals_new(struct api_server *s)
{
    struct api_totals *t = mem_xcalloc(1, sizeof *t);
    double seconds = (double)LV_MAX(http_server_config(s)->statistics_interval_ms, 1000u) / 1000.0;
    t->server = s;
    t->all = mem_xcalloc(1, sizeof *t->all);
    t->interval_ms = (uint32_t)(seconds * 500); // half: a sample that comes a little early is one
    api_waiters_init(&t->waiters);
    ev_timer_init(&t->timer, on_timer, seconds, seconds);
    t->timer.data = t;
    return t;
}

void
api_totals_free(struct api_totals *t)
{
    struct vhost_totals *v, *next;
    if (t == NULL)
        return;
    ev_timer_stop(http_server_worker(t->server)->loop, &t->timer);
    HASH_ITER(hh, t->vhosts, v, next)
    {
        HASH_DEL(t->vhosts, v);
        vhost_totals_free(v);
    }
    vhost_totals_free(t->all);
    samples_free(t->node);
    api_waiters_fini(&t->waiters);
    mem_free(t);
}

// --- showing ------------------------------------------------------------------------------------------------------------------------

static void
put_number(struct api_request *r, struct api_out *o, const char *key, const struct vhost_totals *v,
           struct api_sampled s)
{
    uint64_t value = 0;
    uint32_t interval_ms = http_server_config(r->server)->statistics_interval_ms;
    int64_t now_ms = clock_wall_ms();
    s.samples = v->samples;
    for (unsigned i = 0; i < s.series_count; i++) {
        value += v->now[s.series[i]];
        s.rate += samples_rate(v->samples, s.series[i], now_ms, 3 * (int64_t)interval_ms);
    }
    api_put_sampled(r, o, key, (int64_t)value, &s);
}

static void
put_lengths(struct api_request *r, struct api_out *o, const struct vhost_totals *v)
{
    put_number(r, o, "messages", v,
               (struct api_sampled){
                   .kind = API_RANGE_LENGTHS, .series = {TOTAL_READY, TOTAL_UNACKED}, .series_count = 2});
    put_number(r, o, "messages_ready", v,
               (struct api_sampled){.kind = API_RANGE_LENGTHS, .series = {TOTAL_READY}, .series_count = 1});
    put_number(r, o, "messages_unacknowledged", v,
               (struct api_sampled){.kind = API_RANGE_LENGTHS, .series = {TOTAL_UNACKED}, .series_count = 1});
}

static void
put_message_stats(struct api_request *r, struct api_out *o, const struct vhost_totals *v)
{
    static const struct {
        const char *key;
        struct api_sampled s;
    } rows[] = {
        {"publish", {.series = {TOTAL_PUBLISHED}, .series_count = 1}},
        {"confirm", {.series = {TOTAL_CONFIRMED}, .series_count = 1}},
        {"return_unroutable", {.series = {TOTAL_RETURNED}, .series_count = 1}},
        {"deliver", {.series = {TOTAL_DELIVERED}, .series_count = 1}},
        {"deliver_no_ack", {.series = {TOTAL_DELIVERED_NO_ACK}, .series_count = 1}},
        {"get", {.series = {TOTAL_GOT}, .series_count = 1}},
        {"get_no_ack", {.series = {TOTAL_GOT_NO_ACK}, .series_count = 1}},
        {"redeliver", {.series = {TOTAL_REDELIVERED}, .series_count = 1}},
        {"ack", {.series = {TOTAL_ACKED}, .series_count = 1}},
        {"drop_unroutable", {.series = {TOTAL_DROPPED}, .series_count = 1}},
        {"get_empty", {.series = {TOTAL_GOT_EMPTY}, .series_count = 1}},
        {"deliver_get",
         {.series = {TOTAL_DELIVERED, TOTAL_DELIVERED_NO_ACK, TOTAL_GOT, TOTAL_GOT_NO_ACK},
          .series_count = 4}},
    };
    api_out_object(o, "message_stats");
    for (size_t i = 0; i < LV_ARRAY_LEN(rows); i++) {
        struct api_sampled s = rows[i].s;
        s.kind = API_RANGE_MESSAGES;
        put_number(r, o, rows[i].key, v, s);
    }
    api_out_end(o);
}

void
api_put_vhost_totals(struct api_request *r, struct api_out *o, struct slice vhost)
{
    static const struct vhost_totals none;
    struct vhost_totals *v;
    HASH_FIND(hh, http_server_totals(r->server)->vhosts, vhost.ptr, vhost.len, v);
    static const struct api_sampled bytes[] = {
        {.kind = API_RANGE_DATA, .series = {TOTAL_RECEIVED}, .series_count = 1},
        {.kind = API_RANGE_DATA, .series = {TOTAL_SENT}, .series_count = 1}};
    put_lengths(r, o, v != NULL ? v : &none);
    put_number(r, o, "recv_oct", v != NULL ? v : &none, bytes[0]);
    put_number(r, o, "send_oct", v != NULL ? v : &none, bytes[1]);
    if (v != NULL)
        put_message_stats(r, o, v);
}

// Only the vhosts that who asks may see count, unless it may see all.
static void
add_visible(const struct api_request *r, const struct api_totals *t, struct vhost_totals *sum)
{
    struct vhost_totals *v, *next;
    HASH_ITER(hh, t->vhosts, v, next)
    {
        if (!api_may_see_vhost(r, slice_of(v->name, v->name_len)))
            continue;
        for (int i = 0; i < TOTAL_COUNT; i++)
            sum->now[i] += v->now[i];
    }
}

void
api_put_node_totals(struct api_request *r, struct api_out *o, const struct api_object_counts *counts)
{
    const struct api_totals *t = http_server_totals(r->server);
    struct vhost_totals visible = {0};
    const struct vhost_totals *v = t->all;
    if (!api_is_monitor(r)) {
        add_visible(r, t, &visible);
        v = &visible;
    }
    put_message_stats(r, o, v);
    api_out_object(o, "queue_totals");
    put_lengths(r, o, v);
    api_out_end(o);
    api_out_object(o, "object_totals");
    api_out_int(o, "channels", (int64_t)v->now[TOTAL_CHANNELS]);
    api_out_int(o, "connections", (int64_t)v->now[TOTAL_CONNECTIONS]);
    api_out_int(o, "consumers", (int64_t)v->now[TOTAL_CONSUMERS]);
    api_out_int(o, "exchanges", (int64_t)counts->exchanges);
    api_out_int(o, "queues", (int64_t)counts->queues);
    api_out_int(o, "vhosts", (int64_t)counts->vhosts);
    api_out_int(o, "users", (int64_t)counts->users);
    api_out_end(o);
}
