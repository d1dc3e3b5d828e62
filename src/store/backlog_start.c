// backlog_start.c: opening the files of one queue, or of all of them: several threads look (backlog_open.c), then what may be in the page cache alone
// is synced.
//
// The threads take one queue after the other from a common counter; most of their time is system calls, and with a cold page cache waiting for the
// disk, so more of them than there are cores are of use. Syncs come when all have been read: a file and two folders for each of a few queues, of
// many the whole file system once. Failure modes: a queue's own, in its result; threads that cannot be started are done without.
#include <pthread.h>
#include <stdatomic.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"

// LIMIT: threads beside the caller's.
enum { THREADS_MAX = 32 };
// Queues to sync from which on the whole file system is synced: somebody else may be writing to it, too.
enum { SYNC_ALL_MIN = 16 };

struct team {
    const struct backlog_open_all *a;
    atomic_size_t next, done; // queues; partner: the other threads
};

struct asked { // whose numbers
    const struct backlog_open_all *a;
    uint64_t queue;
};

static void
gone_of(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    const struct asked *asked = ctx;
    asked->a->gone(asked->a->ctx, asked->queue, from, ret_first, ret_end);
}

enum teller { SILENT, TELLING };

static void
open_some(struct team *t, enum teller teller)
{
    const struct backlog_open_all *a = t->a;
    for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < a->count;) {
        struct asked asked = {a, a->queues[i].queue};
        const struct backlog_source from = {a->io, a->data_dir, gone_of, &asked};
        a->queues[i].result = backlog_open_unsynced(&from, &a->queues[i]);
        size_t done = atomic_fetch_add(&t->done, 1) + 1;
        if (teller == TELLING && a->progress != NULL)
            a->progress(a->ctx, done, a->count);
    }
}

static void *
team_thread(void *arg)
{
    open_some(arg, SILENT);
    return NULL;
}

// --- syncs ---

static int
sync_file(const struct io *io, const char *data_dir, const struct backlog_opened *o,
          int (*sync)(void *ctx, int fd))
{
    char path[IO_PATH_MAX];
    int fd, err = backlog_file_path(data_dir, o->queue, false, o->unsynced_file, path);
    if (err == 0)
        err = io->open(io->ctx, path, IO_WRITE, &fd);
    if (err != 0)
        return err;
    err = sync(io->ctx, fd);
    (void)io->close(io->ctx, fd);
    return err;
}

// The file, and its name. The folder of the queue may be new too: its name is the caller's.
static int
sync_one(const struct io *io, const char *data_dir, const struct backlog_opened *o)
{
    char path[IO_PATH_MAX];
    int err = sync_file(io, data_dir, o, io->fdatasync);
    if (err == 0)
        err = backlog_queue_path(data_dir, o->queue, false, path);
    return err == 0 ? io->sync_dir(io->ctx, path) : err;
}

static int
sync_folders(const struct io *io, const char *data_dir)
{
    char path[IO_PATH_MAX];
    int err = backlog_dir_path(data_dir, false, path);
    return err == 0 ? io->sync_dir(io->ctx, path) : err;
}

static bool
needs_sync(const struct backlog_opened *o)
{
    return o->result == 0 && o->unsynced_file != 0;
}

static void
sync_queues(const struct backlog_open_all *a)
{
    size_t count = 0, min = a->sync_all_min > 0 ? a->sync_all_min : SYNC_ALL_MIN;
    const struct backlog_opened *first = NULL;
    for (size_t i = 0; i < a->count; i++) {
        count += needs_sync(&a->queues[i]);
        if (first == NULL && needs_sync(&a->queues[i]))
            first = &a->queues[i];
    }
    if (count == 0)
        return;
    bool is_all = count >= min;
    int err = is_all ? sync_file(a->io, a->data_dir, first, a->io->sync_all) : 0;
    for (size_t i = 0; i < a->count; i++)
        if (needs_sync(&a->queues[i]))
            a->queues[i].result = is_all ? err : sync_one(a->io, a->data_dir, &a->queues[i]);
    err = is_all ? 0 : sync_folders(a->io, a->data_dir);
    for (size_t i = 0; i < a->count && err != 0; i++)
        if (needs_sync(&a->queues[i]))
            a->queues[i].result = err;
}

// --- the outside ---

void
backlog_open_all(const struct backlog_open_all *a)
{
    pthread_t threads[THREADS_MAX];
    struct team team = {.a = a};
    unsigned count = 0, wanted = LV_MIN(a->threads, (unsigned)THREADS_MAX);
    while (count < wanted && count + 1 < a->count &&
           pthread_create(&threads[count], NULL, team_thread, &team) == 0)
        count++;
    open_some(&team, TELLING);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    sync_queues(a);
}

void
backlog_opened_fini(struct backlog_opened *o)
{
    backlog_fini(&o->backlog);
    mem_free(o->kept);
    mem_free(o->report.large);
    o->kept = NULL;
    o->report.large = NULL;
}

int
backlog_report_add(struct backlog_report *to, struct backlog_report *from)
{
    size_t count = to->large_count + from->large_count;
    if (from->large_count > 0 && count > to->large_cap) {
        size_t cap = LV_MAX(count, to->large_cap * 2);
        uint64_t *large = mem_realloc(to->large, cap * sizeof(*large));
        if (large == NULL)
            return -LE_NOMEM;
        to->large = large;
        to->large_cap = cap;
    }
    if (from->large_count > 0)
        memcpy(to->large + to->large_count, from->large, from->large_count * sizeof(*from->large));
    to->large_count = count;
    mem_free(from->large);
    from->large = NULL;
    from->large_count = from->large_cap = 0;
    to->files += from->files;
    to->blocks += from->blocks;
    to->messages += from->messages;
    to->bad_blocks += from->bad_blocks;
    to->bad_records += from->bad_records;
    to->bad_states += from->bad_states;
    to->torn_bytes += from->torn_bytes;
    to->transient_dropped += from->transient_dropped;
    return 0;
}

int
backlog_open(const struct io *io, const char *data_dir, uint64_t queue, backlog_gone_fn gone, void *ctx,
             struct backlog *b, struct backlog_kept **ret_kept, size_t *ret_kept_count,
             struct backlog_report *report)
{
    struct backlog_opened o = {.queue = queue, .report = *report};
    int err = backlog_open_unsynced(&(struct backlog_source){io, data_dir, gone, ctx}, &o);
    if (err == 0 && o.unsynced_file != 0)
        err = sync_one(io, data_dir, &o);
    if (err == 0 && o.unsynced_file != 0)
        err = sync_folders(io, data_dir);
    *report = o.report;
    *b = o.backlog;
    if (err == 0) {
        *ret_kept = o.kept;
        *ret_kept_count = o.kept_count;
        return 0;
    }
    mem_free(o.kept);
    backlog_fini(b);
    backlog_init(b);
    return err;
}
