// backlog_dir.c: the folders of backlog files and the file `state`: made, written, listed, removed.
//
// `state` is replaced as a whole: written beside as `state.new`, synced, renamed, the folder synced; those of many queues go through these steps
// together, with two syncs of the whole file system. Failure modes: the old one stays;
// a leftover `state.new` is overwritten the next time. Files are removed without a sync: one that comes back after a power cut holds
// nothing that `state` or the log does not call dead.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"

// States from which on the whole file system is synced: somebody else may be writing to it, too.
enum { SYNC_ALL_MIN = 8 };

// --- names ---

static int
collect_name(void *ctx, const char *name)
{
    struct buf *names = ctx;
    buf_append(names, name, strlen(name) + 1);
    return names->failed ? -LE_NOMEM : 0;
}

// All names of a folder, each with its NUL.
static int
collect_names(const struct io *io, const char *path, struct buf *names)
{
    buf_reset(names);
    return io->list(io->ctx, path, collect_name, names);
}

static const char *
next_name(const struct buf *names, size_t *at)
{
    if (*at >= names->len)
        return NULL;
    const char *name = (const char *)names->ptr + *at;
    *at += strlen(name) + 1;
    return name;
}

static int
make_dir(const struct io *io, const char *path)
{
    int err = io->mkdir(io->ctx, path);
    return err == -LE_EXISTS ? 0 : err;
}

// Everything in the folder of a queue, then the folder. `state` goes last: as long as there are files it says what is dead in them.
static int
remove_queue(const struct io *io, const char *path)
{
    struct buf names = BUF_INIT;
    char file[IO_PATH_MAX];
    int err = collect_names(io, path, &names);
    for (int turn = 0; turn < 2 && err == 0; turn++) {
        const char *name;
        for (size_t at = 0; err == 0 && (name = next_name(&names, &at)) != NULL;) {
            if ((strcmp(name, "state") == 0) != (turn == 1))
                continue;
            int n = snprintf(file, sizeof file, "%s/%s", path, name);
            err = n > 0 && n < IO_PATH_MAX ? io->unlink(io->ctx, file) : -LE_LIMIT;
            err = err == -LE_NOTFOUND ? 0 : err;
        }
    }
    if (err == 0)
        err = io->unlink(io->ctx, path);
    buf_fini(&names);
    return err == -LE_NOTFOUND ? 0 : err;
}

// --- start ---

// What cannot be removed does no harm: a name that is in the way costs an append, and the next file has another one.
static int
empty_transient(const struct io *io, const char *data_dir)
{
    struct buf names = BUF_INIT;
    char path[IO_PATH_MAX];
    int err = backlog_dir_path(data_dir, true, path);
    if (err == 0)
        err = collect_names(io, path, &names);
    const char *name;
    for (size_t at = 0; err == 0 && (name = next_name(&names, &at)) != NULL;) {
        uint64_t queue;
        if (backlog_parse_queue(name, &queue) && backlog_queue_path(data_dir, queue, true, path) == 0)
            (void)remove_queue(io, path);
    }
    buf_fini(&names);
    return err;
}

int
backlog_prepare_dirs(const struct io *io, const char *data_dir)
{
    char path[IO_PATH_MAX];
    int err = 0;
    for (int is_transient = 0; is_transient < 2 && err == 0; is_transient++) {
        err = backlog_dir_path(data_dir, is_transient, path);
        if (err == 0)
            err = make_dir(io, path);
    }
    if (err == 0)
        err = io->sync_dir(io->ctx, data_dir);
    return err == 0 ? empty_transient(io, data_dir) : err;
}

int
backlog_each_queue(const struct io *io, const char *data_dir, int (*fn)(void *ctx, uint64_t queue), void *ctx)
{
    struct buf names = BUF_INIT;
    char path[IO_PATH_MAX];
    int err = backlog_dir_path(data_dir, false, path);
    if (err == 0)
        err = collect_names(io, path, &names);
    const char *name;
    for (size_t at = 0; err == 0 && (name = next_name(&names, &at)) != NULL;) {
        uint64_t queue;
        if (backlog_parse_queue(name, &queue))
            err = fn(ctx, queue);
    }
    buf_fini(&names);
    return err;
}

static int
ignore_name(void *ctx, const char *name)
{
    return 0;
}

int
backlog_set_aside(const struct io *io, const char *data_dir, uint64_t queue, struct buf *ret_path)
{
    char from[IO_PATH_MAX], to[IO_PATH_MAX], dir[IO_PATH_MAX];
    int err = backlog_queue_path(data_dir, queue, false, from);
    if (err == 0 && snprintf(dir, sizeof dir, "%s/lost+found", data_dir) >= IO_PATH_MAX)
        err = -LE_LIMIT;
    if (err == 0)
        err = make_dir(io, dir);
    int found = 0;
    for (unsigned n = 1; err == 0 && found == 0; n++) { // until a name is free
        int len =
            snprintf(to, sizeof to, "%s/lost+found/queue-%016llx-%u", data_dir, (unsigned long long)queue, n);
        err = len < IO_PATH_MAX ? 0 : -LE_LIMIT;
        if (err == 0)
            found = io->list(io->ctx, to, ignore_name, NULL);
    }
    if (err == 0)
        err = found == -LE_NOTFOUND ? io->rename(io->ctx, from, to) : found;
    if (err == 0)
        err = io->sync_dir(io->ctx, dir);
    if (err == 0)
        err = io->sync_dir(io->ctx, data_dir);
    if (err == 0)
        err = backlog_dir_path(data_dir, false, dir);
    if (err == 0)
        err = io->sync_dir(io->ctx, dir);
    if (err == 0)
        buf_append_str(ret_path, to);
    return err;
}

// --- state ---

static int
open_fresh(const struct io *io, const char *path, int *ret_fd)
{
    int err = io->open(io->ctx, path, IO_WRITE | IO_CREATE, ret_fd);
    if (err == -LE_EXISTS) { // of an attempt that did not come to its end
        err = io->unlink(io->ctx, path);
        if (err == 0)
            err = io->open(io->ctx, path, IO_WRITE | IO_CREATE, ret_fd);
    }
    return err;
}

// The bytes beside the state that counts; the caller syncs and closes *ret_fd (-1: it was not opened).
static int
write_beside(const struct io *io, const char *data_dir, struct backlog_state_write *w, int *ret_fd)
{
    char path[IO_PATH_MAX], dir[IO_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    *ret_fd = -1;
    int err = backlog_queue_path(data_dir, w->queue, false, dir);
    if (err == 0)
        err = backlog_state_path(data_dir, w->queue,
                                 BACKLOG_BUG(BLG_BUG_STATE_IN_PLACE) ? "state" : "state.new", path);
    if (err == 0)
        err = state_encode(w->queue, w->state, &bytes, &len);
    if (err == 0)
        err = make_dir(io, dir);
    if (err == 0)
        err = open_fresh(io, path, ret_fd);
    if (err == 0)
        err = io_write_all(io, *ret_fd, &(struct iovec){bytes, len}, 1, 0);
    mem_free(bytes);
    return err;
}

static int
put_in_place(const struct io *io, const char *data_dir, uint64_t queue)
{
    char path[IO_PATH_MAX], beside[IO_PATH_MAX];
    int err = backlog_state_path(data_dir, queue, "state", path);
    if (err == 0)
        err = backlog_state_path(data_dir, queue, "state.new", beside);
    if (err == 0 && !BACKLOG_BUG(BLG_BUG_STATE_IN_PLACE))
        err = io->rename(io->ctx, beside, path);
    return err;
}

// The folder above too: that of the queue may be new.
static int
sync_names(const struct io *io, const char *data_dir, uint64_t queue)
{
    char path[IO_PATH_MAX];
    if (BACKLOG_BUG(BLG_BUG_NO_DIR_SYNC))
        return 0;
    int err = backlog_queue_path(data_dir, queue, false, path);
    if (err == 0)
        err = io->sync_dir(io->ctx, path);
    if (err == 0)
        err = backlog_dir_path(data_dir, false, path);
    return err == 0 ? io->sync_dir(io->ctx, path) : err;
}

static int
write_one(const struct io *io, const char *data_dir, struct backlog_state_write *w)
{
    int fd, err = write_beside(io, data_dir, w, &fd);
    if (err == 0)
        err = io->fsync(io->ctx, fd);
    if (fd >= 0)
        (void)io->close(io->ctx, fd);
    if (err == 0)
        err = put_in_place(io, data_dir, w->queue);
    return err == 0 ? sync_names(io, data_dir, w->queue) : err;
}

static void
sync_writes(const struct io *io, int fd, struct backlog_state_write *writes, size_t count)
{
    int err = io->sync_all(io->ctx, fd);
    for (size_t i = 0; i < count; i++)
        writes[i].result = writes[i].result == 0 ? err : writes[i].result;
}

// Two syncs for all of them, by the first file, which was opened before the others were written.
static void
write_group(const struct io *io, const char *data_dir, struct backlog_state_write *writes, size_t count)
{
    int first = -1, fd;
    for (size_t i = 0; i < count; i++) {
        writes[i].result = write_beside(io, data_dir, &writes[i], &fd);
        if (first < 0)
            first = fd;
        else if (fd >= 0)
            (void)io->close(io->ctx, fd); // its errors are the file system's
    }
    if (first < 0)
        return;
    sync_writes(io, first, writes, count);
    for (size_t i = 0; i < count; i++)
        if (writes[i].result == 0)
            writes[i].result = put_in_place(io, data_dir, writes[i].queue);
    sync_writes(io, first, writes, count);
    (void)io->close(io->ctx, first);
}

// DURABLE at 0: acks that the log alone knew before are known here now.
void
backlog_write_states(const struct io *io, const char *data_dir, struct backlog_state_write *writes,
                     size_t count, size_t sync_all_min)
{
    if (count > 1 && count >= (sync_all_min > 0 ? sync_all_min : (size_t)SYNC_ALL_MIN)) {
        write_group(io, data_dir, writes, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        writes[i].result = write_one(io, data_dir, &writes[i]);
}

int
backlog_write_state(const struct io *io, const char *data_dir, uint64_t queue, const struct backlog_state *s)
{
    struct backlog_state_write w = {.queue = queue, .state = s};
    backlog_write_states(io, data_dir, &w, 1, 0);
    return w.result;
}

// --- removing ---

int
backlog_unlink(const struct io *io, const char *data_dir, uint64_t queue, bool is_transient, uint32_t file)
{
    char path[IO_PATH_MAX];
    int err = backlog_file_path(data_dir, queue, is_transient, file, path);
    if (err == 0)
        err = io->unlink(io->ctx, path);
    return err == -LE_NOTFOUND ? 0 : err; // never made, or gone before
}

int
backlog_remove(const struct io *io, const char *data_dir, uint64_t queue, bool is_transient)
{
    char path[IO_PATH_MAX];
    int err = backlog_queue_path(data_dir, queue, is_transient, path);
    if (err == 0)
        err = remove_queue(io, path);
    if (err == 0 && !is_transient) // DURABLE: the queue's DELETE may leave the log
        err = backlog_dir_path(data_dir, false, path);
    return err == 0 && !is_transient ? io->sync_dir(io->ctx, path) : err;
}
