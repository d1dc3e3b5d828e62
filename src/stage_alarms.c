// stage_alarms.c: the memory watermark: resident memory is looked at every memory_monitor_interval; above the watermark publishers
// are blocked (connection.blocked), acknowledgements and deliveries go on (RabbitMQ documentation, "Memory Alarms").
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/broker/session.h"
#include "src/stages.h"

enum { ALARM_MEMORY = 1 };

static ev_timer timer;       // on the main loop
// Written by the main thread alone; partner: the HTTP member's relaxed loads, which show them.
static _Atomic unsigned alarms_set;
static _Atomic uint64_t watermark_now;

unsigned
stage_alarms_now(void)
{
    return atomic_load_explicit(&alarms_set, memory_order_relaxed);
}

uint64_t
stage_alarms_watermark_bytes(void)
{
    return atomic_load_explicit(&watermark_now, memory_order_relaxed);
}

static uint64_t
resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t
total_bytes(const struct config *c)
{
    if (c->memory_total_override_bytes > 0)
        return c->memory_total_override_bytes;
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t
watermark_bytes(const struct config *c)
{
    if (c->memory_watermark_absolute_bytes > 0)
        return c->memory_watermark_absolute_bytes;
    return (uint64_t)((double)total_bytes(c) * c->memory_watermark_relative);
}

struct alarm_mail {
    unsigned alarms;
};

static void
alarm_on_worker(struct worker *w, void *payload)
{
    broker_set_alarms(w, ((struct alarm_mail *)payload)->alarms);
}

static void
look(struct daemon *d)
{
    uint64_t used = resident_bytes(), watermark = watermark_bytes(d->config);
    unsigned alarms = used > watermark ? ALARM_MEMORY : 0;
    atomic_store_explicit(&watermark_now, watermark, memory_order_relaxed);
    if (alarms == atomic_load_explicit(&alarms_set, memory_order_relaxed))
        return;
    atomic_store_explicit(&alarms_set, alarms, memory_order_relaxed);
    if (alarms != 0)
        log_warn(LOG_DEFAULT, "memory: %" PRIu64 " bytes are in use, the watermark is %" PRIu64 ": publishers are blocked", used, watermark);
    else
        log_notice(LOG_DEFAULT, "memory: %" PRIu64 " bytes are in use, under the watermark again: publishers go on", used);
    struct alarm_mail mail = {.alarms = alarms};
    stages_post_workers(d->crew, alarm_on_worker, &mail, sizeof mail);
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    look(watcher->data);
}

static void
arm(struct daemon *d)
{
    double interval = (double)d->config->memory_monitor_interval_ms / 1000.0;
    ev_timer_stop(d->main->loop, &timer);
    ev_timer_set(&timer, interval, interval);
    ev_timer_start(d->main->loop, &timer);
}

static int
alarms_run(struct daemon *d, struct buf *problem)
{
    ev_timer_init(&timer, on_timer, 0, 0);
    timer.data = d;
    look(d);
    arm(d);
    return 0;
}

static void
alarms_reload(struct daemon *d, const struct config *old)
{
    arm(d);
}

static void
alarms_stop(struct daemon *d)
{
    ev_timer_stop(d->main->loop, &timer);
}

const struct daemon_stage stage_alarms = {.name = "alarms", .run = alarms_run, .reload = alarms_reload, .stop = alarms_stop};
