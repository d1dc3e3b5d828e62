// log_filler.c: see log_filler.h. One mutex around the hand-over; the writing is done outside of it.
#include "src/store/log_filler.h"

#include <pthread.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_ring.h"

enum { CHUNK_BYTES = 64 * 1024 };
// LIMIT: written, then given to the device, so that a sync of the log never finds a whole segment of zeros in its way.
enum { PACE_BYTES = 4 * 1024 * 1024 };

enum filler_state { FILLER_IDLE, FILLER_FILLING, FILLER_DONE };

struct filler {
    const struct io *io;
    const char *dir;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; // rank: leaf
    pthread_cond_t changed;
    // Guarded by lock:
    enum filler_state state;
    bool is_ending;
    int fd;
    uint64_t bytes;
    int result;
};

int
filler_zeros(const struct io *io, int fd, uint64_t from, uint64_t bytes)
{
    static const uint8_t zeros[CHUNK_BYTES];
    int err = 0;
    for (uint64_t done = 0; err == 0 && done < bytes;) {
        uint64_t n = LV_MIN(bytes - done, (uint64_t)sizeof zeros);
        struct iovec part = {(void *)(uintptr_t)zeros, n};
        err = io_write_all(io, fd, &part, 1, from + done);
        done += n;
    }
    return err;
}

int
filler_secure(const struct io *io, int fd, const char *dir)
{
    int err = io->fsync(io->ctx, fd);
    return err == 0 && !LOG_BUG(BUG_NO_DIR_SYNC) ? io->sync_dir(io->ctx, dir) : err;
}

static int
fill(const struct filler *f, int fd, uint64_t bytes)
{
    int err = 0;
    for (uint64_t at = 0; err == 0 && at < bytes; at += PACE_BYTES) {
        err = filler_zeros(f->io, fd, at, LV_MIN(bytes - at, (uint64_t)PACE_BYTES));
        if (err == 0)
            err = f->io->fdatasync(f->io->ctx, fd);
    }
    return err == 0 ? filler_secure(f->io, fd, f->dir) : err;
}

static void *
filler_thread(void *arg)
{
    struct filler *f = arg;
    (void)pthread_setname_np(pthread_self(), "msglog-filler");
    pthread_mutex_lock(&f->lock);
    while (!f->is_ending) {
        if (f->state != FILLER_FILLING) {
            pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        int fd = f->fd;
        uint64_t bytes = f->bytes;
        pthread_mutex_unlock(&f->lock);
        int result = fill(f, fd, bytes);
        pthread_mutex_lock(&f->lock);
        f->result = result == -LE_AGAIN ? -LE_IO : result;
        f->state = FILLER_DONE;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

struct filler *
filler_new(const struct io *io, const char *dir)
{
    struct filler *f = mem_calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->io = io;
    f->dir = dir;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return f;
}

void
filler_free(struct filler *f)
{
    if (f == NULL)
        return;
    if (f->has_thread) {
        pthread_mutex_lock(&f->lock);
        f->is_ending = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    mem_free(f);
}

int
filler_start(struct filler *f, int fd, uint64_t bytes)
{
    if (!f->has_thread) {
        int rc = pthread_create(&f->thread, NULL, filler_thread, f);
        if (rc != 0)
            return err_from_errno(rc);
        f->has_thread = true;
    }
    pthread_mutex_lock(&f->lock);
    LV_ASSERT(f->state == FILLER_IDLE);
    f->fd = fd;
    f->bytes = bytes;
    f->state = FILLER_FILLING;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

int
filler_result(struct filler *f, bool may_wait)
{
    int result = -LE_AGAIN;
    pthread_mutex_lock(&f->lock);
    while (may_wait && f->state == FILLER_FILLING)
        pthread_cond_wait(&f->changed, &f->lock);
    if (f->state == FILLER_DONE) {
        result = f->result;
        f->state = FILLER_IDLE;
    }
    pthread_mutex_unlock(&f->lock);
    return result;
}
