// fixture_store.c: the fixture's commit log and mover, on a simulated disk or in real files.
//
// On the simulated disk there are no threads: fx_store_step lets the log, the mover, and the timers of the disk side take their steps, each with
// its own chance, so that answers come some turns after their question, in any order that threads could bring about.
#include "fixture.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"
#include "src/store/log_core.h"

struct durable *
fx_durable(int worker)
{
    return queue_worker_of(fx_member(worker))->durable;
}

static void
out_of_service(void *ctx, int error)
{
    ((struct fx *)ctx)->is_out_of_service = true;
}

static void
open_disk(const struct fx_config *config)
{
    snprintf(fx->dir, sizeof fx->dir, "/d");
    fx->disk = config->disk != NULL ? config->disk : powercut_new(config->store_seed);
    fx->is_own_disk = config->disk == NULL;
    const struct io *io = powercut_io(fx->disk);
    int err = io->mkdir(io->ctx, fx->dir);
    if (err == 0)
        err = io->sync_dir(io->ctx, "/");
    assert_true(err == 0 || err == -LE_EXISTS || powercut_is_off(fx->disk));
}

static void
open_folder(void)
{
    snprintf(fx->dir, sizeof fx->dir, "/tmp/lv-queue-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
}

static uint64_t
or_much(uint64_t value)
{
    return value != 0 ? value : UINT64_MAX / 4;
}

int
fx_store_open(const struct fx_config *config)
{
    rng_init(&fx->rng, config->store_seed);
    fx->delay_max = LV_MAX(config->delay_max, 1u);
    fx->queue_flags = QUEUE_DURABLE;
    fx->message_flags = MESSAGE_PERSISTENT;
    if (config->has_files)
        open_folder();
    else
        open_disk(config);
    const struct io *io = config->has_files ? io_system() : powercut_io(fx->disk);
    struct recovery_config rc = {.log = {.io = io,
                                         .dir = fx->dir,
                                         .segment_bytes = config->segment_bytes,
                                         .segment_max = config->segment_max,
                                         .seed = rng_next(&fx->rng),
                                         .writer_count = (unsigned)config->workers},
                                 .data_dir = fx->dir,
                                 .threads = config->has_files ? 3 : 0,
                                 .sync_all_min = fx->disk != NULL ? 1 + config->store_seed % 4 : 0};
    if (rc.log.segment_bytes == 0)
        rc.log.segment_bytes = 1024 * 1024;
    int err = recovery_open(&fx->recovery, &rc);
    if (err != 0) {
        crew_free(fx->crew);
        mem_free(fx);
        fx = NULL;
        return err;
    }
    fx->mover =
        mover_new(&(struct mover_config){.io = io,
                                         .data_dir = fx->dir,
                                         .log = fx->recovery.log,
                                         .port_count = (unsigned)config->workers,
                                         .sync_all_min = fx->disk != NULL ? 1 + rng_below(&fx->rng, 4) : 0});
    fx->durable = (struct durable_config){.log = fx->recovery.log,
                                          .mover = fx->mover,
                                          .recovery = &fx->recovery,
                                          .written_max = or_much(config->written_max),
                                          .body_max = or_much(config->body_max),
                                          .index_max = or_much(config->index_max),
                                          .tx_max = (size_t)or_much(config->tx_max),
                                          .rewrite_max = or_much(config->rewrite_max),
                                          .page_out_seed = config->page_percent > 0 ? config->store_seed : 0,
                                          .page_out_percent = config->page_percent};
    return 0;
}

int
fx_recovered(void)
{
    int err = recovery_close(&fx->recovery, fx_member(0));
    if (err == 0)
        err = fx->disk != NULL ? msglog_start_stepped(fx->durable.log, out_of_service, fx)
                               : msglog_start(fx->durable.log, out_of_service, fx);
    if (err == 0 && fx->disk == NULL)
        err = mover_start(fx->mover);
    fx->is_started = err == 0;
    return err;
}

// --- steps ---

void
fx_store_step(void)
{
    if (!fx->is_started)
        return;
    if (fx->disk == NULL) { // threads do it
        if (!fx_store_is_quiet())
            (void)poll(NULL, 0, 1);
        return;
    }
    if (rng_below(&fx->rng, fx->delay_max) == 0)
        msglog_step(fx->durable.log);
    if (rng_below(&fx->rng, fx->delay_max) == 0)
        mover_step(fx->mover);
    // Timers expire when the seed says so, whatever the clock says.
    bool is_due = rng_below(&fx->rng, fx->delay_max + 1) == 0 && !fx->has_crashed;
    for (int i = 0; i < fx->crew->n_workers; i++) {
        struct durable *d = fx_durable(i);
        d->retry_ns = is_due ? 0 : UINT64_MAX;
        d->look_ns = is_due ? 0 : UINT64_MAX;
        if (d->reread_ns != 0)
            d->reread_ns = is_due ? 1 : UINT64_MAX;
        if (d->move_retry_ns != 0)
            d->move_retry_ns = is_due ? 1 : UINT64_MAX;
    }
}

// Nothing is under way. What waits for room on the disk may wait for ever.
bool
fx_store_is_quiet(void)
{
    for (int i = 0; fx->is_started && i < fx->crew->n_workers; i++) {
        const struct durable *d = fx_durable(i);
        if (d->open_batches > 0 || mover_port_open(d->port) > 0 || d->filling != NULL || d->first != NULL)
            return false;
        if (d->vacating != 0 && d->is_wave_wanted && !d->is_ending)
            return false;
    }
    return fx->disk == NULL || !fx->is_started || !core_has_work(msglog_core(fx->durable.log));
}

void
fx_let_go(lv_handle queue)
{
    struct queue *q = fx_queue_of(queue);
    const struct ready *r;
    for (size_t n = 0; (r = queue_row(q, n)) != NULL; n++) {
        struct ready_walk at = {0};
        for (const struct ready_entry *e; (e = ready_walk_next(r, &at)) != NULL;)
            durable_let_go(queue_worker_of(fx_member((int)handle_worker(queue))), q, e->stored);
    }
}

void
fx_rot(lv_handle queue, const struct ready_entry *e)
{
    char path[IO_PATH_MAX];
    const struct stored *s = e->stored;
    assert_true(ready_entry_is(e, READY_STORED) && stored_is(s, STORED_WRITTEN));
    if (stored_is(s, STORED_BACKLOG)) {
        assert_int_equal(backlog_file_path(fx->dir, fx_queue_id(queue), false, s->file, path), 0);
    } else {
        const struct ring *ring = &msglog_core(fx->durable.log)->ring;
        const struct segment *segment = ring_find(ring, s->file);
        assert_non_null(segment);
        ring_path(ring, segment->slot, path);
    }
    assert_true(powercut_rot(fx->disk, path, s->offset + s->len - 1, 0x40));
}

void
fx_assert_nothing_left(void)
{
    fx_quiet();
    for (int i = 0; i < fx->crew->n_workers; i++) {
        assert_int_equal(queue_worker_message_bytes(fx_member(i)), 0);
        if (fx_durable(i) == NULL)
            continue;
        assert_int_equal(fx_durable(i)->stored_count, 0);
        assert_int_equal(fx_durable(i)->large.count, 0);
    }
}

// --- the end ---

bool fx_stopped_full;

void
fx_store_stop(bool is_orderly)
{
    const struct io *io = fx->disk != NULL ? powercut_io(fx->disk) : io_system();
    queue_workers_stop(fx->crew);
    fx_stopped_full = false;
    for (int i = 0; i < fx->crew->n_workers; i++)
        fx_stopped_full |= queue_worker_is_full(fx_member(i));
    if (is_orderly && !fx->is_out_of_service)
        assert_int_equal(orderly_write(io, fx->dir, fx->crew), 0);
}

static void
remove_folder(const char *path)
{
    char file[512];
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (lstat(file, &st) == 0 && S_ISDIR(st.st_mode))
            remove_folder(file);
        else
            unlink(file);
    }
    closedir(dir);
    rmdir(path);
}

void
fx_store_close(void)
{
    if (fx->durable.log == NULL)
        return;
    mover_free(fx->mover);
    recovery_fini(&fx->recovery);
    msglog_close(fx->durable.log);
    if (fx->disk == NULL)
        remove_folder(fx->dir);
    else if (fx->is_own_disk)
        powercut_free(fx->disk);
}
