// stage_alarms.c: the resource alarms. Resident memory and the free space of the data directory are looked at every
// memory_monitor_interval, and memory is compared with its watermark in between, because a flood fills gigabytes in the default
// interval; while memory is above its watermark or free space below its limit, publishers are blocked
// (connection.blocked); acknowledgements and deliveries go on (RabbitMQ documentation, "Memory Alarms", "Free Disk Space Alarms").
//
// Failure modes: memory use that cannot be read is 0; free space that cannot be asked sets the disk alarm: a file system that does
// not answer takes no messages either; so does a message log that stays without room. One that has none for a moment holds publishers, and
// nobody is told that disk is short.
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "src/base/bug.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/broker/session.h"
#include "src/resources.h"
#include "src/stages.h"

// LIMIT: time between two looks at memory use alone, which only ever set the alarm.
enum { MEMORY_LOOK_MS = 100 };
// A log that had no room for so long is out of disk.
enum { FULL_MS = 10000 };

static ev_timer timer;         // on the main loop
static uint32_t since_look_ms; // main thread: how long ago everything was looked at
static bool was_full;          // main thread: the message log had no room then
static uint64_t full_since_ms; // main thread: monotonic; 0: it has room
// Written by the main thread alone; partner: the HTTP member's relaxed loads, which show them.
static _Atomic unsigned alarms_set;
static _Atomic uint64_t watermark_now;
static _Atomic uint64_t disk_limit_now;

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

uint64_t
stage_alarms_disk_limit_bytes(void)
{
    return atomic_load_explicit(&disk_limit_now, memory_order_relaxed);
}

static double
memory_bytes(const struct config *c)
{
    return (double)(c->memory_total_override_bytes > 0 ? c->memory_total_override_bytes
                                                       : resources_total_bytes());
}

uint64_t
stage_alarms_watermark_of(const struct config *c)
{
    if (c->memory_watermark_absolute_bytes > 0)
        return c->memory_watermark_absolute_bytes;
    return (uint64_t)(memory_bytes(c) * c->memory_watermark_relative);
}

static uint64_t
disk_limit_bytes(const struct config *c)
{
    return c->disk_free_relative > 0 ? (uint64_t)(memory_bytes(c) * c->disk_free_relative)
                                     : c->disk_free_absolute_bytes;
}

static unsigned
look_at_memory(const struct config *c, unsigned before)
{
    uint64_t used = resources_resident_bytes(), watermark = stage_alarms_watermark_of(c);
    unsigned now = used > watermark ? STAGE_ALARM_MEMORY : 0;
    atomic_store_explicit(&watermark_now, watermark, memory_order_relaxed);
    if (now > before)
        log_warn(LOG_DEFAULT,
                 "memory: %" PRIu64 " bytes are in use, the watermark is %" PRIu64 ": publishers are blocked",
                 used, watermark);
    else if (now < before)
        log_notice(LOG_DEFAULT,
                   "memory: %" PRIu64 " bytes are in use, under the watermark of %" PRIu64 " again", used,
                   watermark);
    return now;
}

static unsigned
look_at_disk(const struct daemon *d, unsigned before)
{
    const struct config *c = d->config;
    uint64_t limit = disk_limit_bytes(c), free_bytes = 0;
    int error = resources_disk_free(c->data_dir, &free_bytes);
    // The log has no room for a moment when it fills faster than its messages move to files; when that lasts, or there is no room for one
    // more of its segments either, it is for want of disk.
    bool is_full = stage_store_is_full(d);
    full_since_ms = !is_full ? 0 : full_since_ms != 0 ? full_since_ms : clock_mono_ns() / 1000000;
    bool is_for_long = is_full && clock_mono_ns() / 1000000 - full_since_ms >= FULL_MS;
    bool is_disk = error < 0 || free_bytes < limit || is_for_long ||
                   (is_full && free_bytes < 2 * c->message_log_segment_bytes);
    unsigned now = is_disk ? STAGE_ALARM_DISK : 0, held = is_full && !is_disk ? STAGE_ALARM_LOG : 0;
    atomic_store_explicit(&disk_limit_now, limit, memory_order_relaxed);
    if (now > before && error < 0)
        log_error(LOG_DEFAULT, "disk: free space of %s is unknown: %s: publishers are blocked", c->data_dir,
                  err_text(error));
    else if (now > before && is_full)
        log_warn(LOG_DEFAULT,
                 "disk: the message log in %s has no room: publishers are blocked (%" PRIu64 " bytes free)",
                 c->data_dir, free_bytes);
    else if (now > before)
        log_warn(LOG_DEFAULT,
                 "disk: %s has %" PRIu64 " bytes free, the limit is %" PRIu64 ": publishers are blocked",
                 c->data_dir, free_bytes, limit);
    else if (now < before)
        log_notice(LOG_DEFAULT, "disk: %s has %" PRIu64 " bytes free, over the limit of %" PRIu64 " again",
                   c->data_dir, free_bytes, limit);
    return now | held;
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
    unsigned before = stage_alarms_now();
    unsigned now =
        look_at_memory(d->config, before & STAGE_ALARM_MEMORY) | look_at_disk(d, before & STAGE_ALARM_DISK);
    if (now == before)
        return;
    if (LV_BUG(ALARM_STAYS) && now == 0)
        return;
    if ((now & ~(unsigned)STAGE_ALARM_LOG) == 0 && (before & ~(unsigned)STAGE_ALARM_LOG) != 0)
        log_notice(LOG_DEFAULT, "alarms: none is left, publishers go on");
    atomic_store_explicit(&alarms_set, now, memory_order_relaxed);
    struct alarm_mail mail = {.alarms = now};
    stages_post_workers(d->crew, alarm_on_worker, &mail, sizeof mail);
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    struct daemon *d = watcher->data;
    uint32_t interval = d->config->memory_monitor_interval_ms;
    since_look_ms += LV_MIN(interval, (uint32_t)MEMORY_LOOK_MS);
    bool is_flooded = (stage_alarms_now() & STAGE_ALARM_MEMORY) == 0 &&
                      resources_resident_bytes() > stage_alarms_watermark_bytes();
    is_flooded |= stage_store_is_full(d) != was_full || (stage_alarms_now() & STAGE_ALARM_LOG) != 0;
    if (since_look_ms < interval && !is_flooded)
        return;
    since_look_ms = 0;
    was_full = stage_store_is_full(d);
    look(d);
}

static void
arm(struct daemon *d)
{
    double interval =
        (double)LV_MIN(d->config->memory_monitor_interval_ms, (uint32_t)MEMORY_LOOK_MS) / 1000.0;
    since_look_ms = 0;
    ev_timer_stop(d->main->loop, &timer);
    ev_timer_set(&timer, interval, interval);
    ev_timer_start(d->main->loop, &timer);
}

static int
alarms_run(struct daemon *d, struct buf *problem)
{
    ev_timer_init(&timer, on_timer, 0, 0);
    timer.data = d;
    look(d); // before the listeners open
    log_info(LOG_DEFAULT, "alarms: memory watermark %" PRIu64 " bytes, free disk limit %" PRIu64 " bytes",
             stage_alarms_watermark_bytes(), stage_alarms_disk_limit_bytes());
    arm(d);
    return 0;
}

static void
alarms_reload(struct daemon *d, const struct config *old)
{
    look(d);
    arm(d);
}

static void
alarms_stop(struct daemon *d)
{
    ev_timer_stop(d->main->loop, &timer);
}

const struct daemon_stage stage_alarms = {
    .name = "alarms", .run = alarms_run, .reload = alarms_reload, .stop = alarms_stop};
