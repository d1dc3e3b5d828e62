// stage_store.c: the message log and the backlog files: recovery before the queues are made, the threads, the end.
//
// Two stages: `store` opens and recovers, before the broker makes its queues, which take what is theirs; `store ready`, behind the broker, sets aside what
// nobody took and starts the threads of the store. At the end the broker stops first: its workers' last batches are written, then `orderly`.
// When a write has failed twice the log is out of service: nothing is confirmed any more, and the process ends with DAEMON_IOERR.
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "queue/durable.h"
#include "queue/durable_start.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/stages.h"

// LIMIT: bytes of written messages that all workers together keep in memory; bytes of a message's index in the ring (queue/stored.h).
enum { WRITTEN_MAX = 256 * 1024 * 1024 };
// LIMIT: threads of a start that look into backlog folders; however few cores there are, with a cold page cache each waits for the disk.
enum { RECOVERY_THREADS = 16 };

static struct recovery recovery;
static struct durable_config durable;
static struct mover *mover;
static ev_async out_of_service;
static uint64_t opened_ns, told_ns; // when the start began; when a word about it was said last
static atomic_bool is_out;          // the log thread sets it

const struct durable_config *
stage_store_config(void)
{
    return durable.log != NULL ? &durable : NULL;
}

bool
stage_store_is_full(const struct daemon *d)
{
    for (int i = 0; i < d->crew->n_workers; i++)
        if (queue_worker_is_full(d->crew->members[i]))
            return true;
    return false;
}

static void
on_out_of_service(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct daemon *d = watcher->data;
    log_critical(LOG_STORE,
                 "message log: out of service after repeated errors; nothing more is confirmed, stopping");
    daemon_request_stop(d, DAEMON_IOERR);
}

// On the log thread.
static void
log_is_out(void *ctx, int error)
{
    struct daemon *d = ctx;
    atomic_store(&is_out, true);
    log_critical(LOG_STORE, "message log: a write failed, and so did the next one, to a fresh file: %s",
                 err_text(error));
    ev_async_send(d->main->loop, &out_of_service);
}

static void
report(const struct msglog_report *r)
{
    log_info(LOG_STORE, "message log: %" PRIu64 " segments, %" PRIu64 " groups, %" PRIu64 " messages read",
             r->segments, r->groups, r->messages);
    if (r->torn_bytes > 0)
        log_notice(LOG_STORE,
                   "message log: %" PRIu64 " bytes at the end were being written when the node died: cut off",
                   r->torn_bytes);
    if (r->bad_spots > 0)
        log_error(LOG_STORE,
                  "message log: %" PRIu64 " damaged places, %" PRIu64
                  " bytes skipped, the first in generation %" PRIu64 " at offset %" PRIu64,
                  r->bad_spots, r->bad_bytes, r->first_bad_generation, r->first_bad_offset);
    if (r->missing_segments > 0)
        log_error(LOG_STORE, "message log: %" PRIu64 " segments are missing", r->missing_segments);
    if (r->void_parts > 0)
        log_info(LOG_STORE,
                 "message log: %" PRIu64 " records of transactions that were never committed: left out",
                 r->void_parts);
}

static void
fill_config(const struct config *c)
{
    uint64_t workers = (uint64_t)c->workers,
             paging = (uint64_t)((double)stage_alarms_watermark_of(c) * c->memory_paging_ratio);
    durable = (struct durable_config){
        .log = recovery.log,
        .mover = mover,
        .recovery = &recovery,
        .body_max = paging / workers,
        .written_max = LV_MIN(paging / 2, (uint64_t)WRITTEN_MAX) / workers,
        .index_max = LV_MAX(c->message_log_index_max / workers, (uint64_t)16384),
        .tx_max = (size_t)(c->message_log_segment_bytes * c->message_log_segments / 4),
        // An eighth of a segment, of all workers together.
        .rewrite_max = c->message_log_segment_bytes / 8 / workers,
        .page_out_seed = c->test_page_out_seed,
        .page_out_percent = 30,
    };
}

// How far a long start has come, every second. Main thread.
static void
tell_progress(void *ctx, enum recovery_step step, uint64_t done, uint64_t total)
{
    uint64_t now_ns = clock_mono_ns(), mib = 1024 * 1024;
    if (now_ns - told_ns < UINT64_C(1000000000))
        return;
    told_ns = now_ns;
    switch (step) {
    case RECOVERY_LOG:
        log_info(LOG_STORE, "message log: %" PRIu64 " of %" PRIu64 " MiB read", done / mib, total / mib);
        break;
    case RECOVERY_FOLDERS:
        log_info(LOG_STORE, "backlog files: those of %" PRIu64 " of %" PRIu64 " queues opened", done, total);
        break;
    case RECOVERY_QUEUES:
        log_info(LOG_STORE, "store: %" PRIu64 " of %" PRIu64 " queues have their messages back", done, total);
        break;
    }
}

static int
store_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    struct recovery_config config = {
        .log = {.io = io_system(),
                .dir = c->data_dir,
                .segment_bytes = (uint32_t)c->message_log_segment_bytes,
                .segment_max = (uint32_t)c->message_log_segments,
                .writer_count = (unsigned)c->workers},
        .data_dir = c->data_dir,
        .threads = RECOVERY_THREADS - 1,
        .progress = tell_progress,
    };
    rng_secure(&config.log.seed, sizeof config.log.seed);
    opened_ns = told_ns = clock_mono_ns();
    int err = recovery_open(&recovery, &config);
    if (err == -LE_UNSUPPORTED) {
        buf_printf(problem,
                   "data directory %s was written by a newer version of Leveret; nothing was changed in it",
                   c->data_dir);
        return DAEMON_CONFIG;
    }
    if (err < 0) {
        buf_printf(problem, "message log in %s cannot be read: %s", c->data_dir, err_text(err));
        return err == -LE_ACCESS ? DAEMON_NOPERM : DAEMON_IOERR;
    }
    report(&recovery.report);
    struct mover_config movers = {
        .io = io_system(), .data_dir = c->data_dir, .log = recovery.log, .port_count = (unsigned)c->workers};
    mover = mover_new(&movers);
    fill_config(c);
    return 0;
}

static void
store_stop(struct daemon *d)
{
    mover_stop(mover);
    mover_free(mover);
    mover = NULL;
    recovery_fini(&recovery);
    msglog_close(recovery.log);
    durable = (struct durable_config){0};
}

const struct daemon_stage stage_store = {.name = "store", .start = store_start, .stop = store_stop};

static int
ready_start(struct daemon *d, struct buf *problem)
{
    uint64_t messages = recovery.messages;
    int err = recovery_close(&recovery, d->crew->members[0]);
    if (err == 0) {
        ev_async_init(&out_of_service, on_out_of_service);
        out_of_service.data = d;
        ev_async_start(d->main->loop, &out_of_service);
        err = msglog_start(recovery.log, log_is_out, d);
    }
    if (err == 0)
        err = mover_start(mover);
    if (err < 0) {
        buf_printf(problem, "messages in %s cannot be recovered: %s", d->config->data_dir, err_text(err));
        return err == -LE_NOMEM ? DAEMON_SOFTWARE : DAEMON_IOERR;
    }
    // Where there was no log there was no stop.
    bool is_as_left = recovery.is_orderly || recovery.report.segments == 0;
    log_info(LOG_STORE, "store: %" PRIu64 " messages are back after %" PRIu64 " ms%s", messages,
             (clock_mono_ns() - opened_ns) / 1000000,
             is_as_left ? "" : "; the last stop was not orderly, all count as redelivered");
    if (recovery.backlog.bad_blocks > 0 || recovery.backlog.bad_records > 0)
        log_error(LOG_STORE,
                  "backlog files: %" PRIu64 " damaged blocks, %" PRIu64 " damaged messages, left out",
                  recovery.backlog.bad_blocks, recovery.backlog.bad_records);
    return 0;
}

static void
ready_stop(struct daemon *d)
{
    ev_async_stop(d->main->loop, &out_of_service);
    queue_workers_stop(d->crew);
    int err = !atomic_load(&is_out) ? orderly_write(io_system(), d->config->data_dir, d->crew) : 0;
    if (err < 0)
        log_warn(LOG_STORE,
                 "store: what was delivered before cannot be noted: %s; all will count as redelivered",
                 err_text(err));
}

const struct daemon_stage stage_store_ready = {
    .name = "recovered messages", .start = ready_start, .stop = ready_stop};
