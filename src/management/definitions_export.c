// definitions_export.c: see definitions_export.h. Here: the thread and its buffer; what is written: definitions_write.c.
#include "src/management/definitions_export.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "src/base/clock.h"
#include "src/base/mem.h"

struct definitions_export {
    struct worker *worker;
    const struct topology *topology; // pinned
    struct definitions_export_args args;
    char *vhost;
    pthread_t thread;
    pthread_mutex_t lock; // rank: leaf; of what follows
    pthread_cond_t room;
    struct buf ahead;
    bool is_over, has_failed, is_cancelled;
    struct buf part; // the thread's
    uint64_t until_ns;
};

// What was made goes into the buffer when there is room. Other than 0: the client has gone, or is too slow.
static int
flush(void *ctx)
{
    struct definitions_export *e = ctx;
    pthread_mutex_lock(&e->lock);
    while (e->ahead.len > EXPORT_AHEAD_BYTES && !e->is_cancelled)
        pthread_cond_wait(&e->room, &e->lock);
    buf_append_slice(&e->ahead, buf_slice(&e->part));
    bool is_bad = e->is_cancelled || e->ahead.failed || e->part.failed || clock_mono_ns() > e->until_ns;
    pthread_mutex_unlock(&e->lock);
    buf_reset(&e->part);
    e->args.ready(e->args.ctx);
    return is_bad ? -LE_CLOSED : 0;
}

static void *
export_thread(void *ctx)
{
    struct definitions_export *e = ctx;
    int err = definitions_export_write(e->topology, &e->args, &e->part, flush, e);
    if (err == 0)
        err = flush(e);
    pthread_mutex_lock(&e->lock);
    e->is_over = true;
    e->has_failed = err != 0;
    pthread_mutex_unlock(&e->lock);
    e->args.ready(e->args.ctx);
    return NULL;
}

static int
start_thread(struct definitions_export *e)
{
    sigset_t blocked, before;
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); // signals are the main thread's
    int rc = pthread_create(&e->thread, NULL, export_thread, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct definitions_export *
definitions_export_new(struct worker *w, const struct definitions_export_args *args)
{
    struct definitions_export *e = mem_calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->worker = w;
    e->args = *args;
    if (args->vhost.ptr != NULL) {
        e->vhost = mem_xslice_dup(args->vhost);
        e->args.vhost = slice_str(e->vhost);
    }
    e->until_ns = clock_mono_ns() + (uint64_t)EXPORT_SECONDS_MAX * 1000000000;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->room, NULL);
    e->topology = topology_pin(w);
    if (e->topology == NULL || start_thread(e) != 0) {
        if (e->topology != NULL)
            topology_unpin(w, e->topology);
        mem_free(e->vhost);
        mem_free(e);
        return NULL;
    }
    return e;
}

void
definitions_export_free(struct definitions_export *e)
{
    if (e == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    e->is_cancelled = true;
    pthread_cond_signal(&e->room);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    topology_unpin(e->worker, e->topology);
    pthread_cond_destroy(&e->room);
    pthread_mutex_destroy(&e->lock);
    buf_fini(&e->ahead);
    buf_fini(&e->part);
    mem_free(e->vhost);
    mem_free(e);
}

enum export_state
definitions_export_take(struct definitions_export *e, struct buf *out)
{
    pthread_mutex_lock(&e->lock);
    enum export_state state = EXPORT_WAIT;
    if (e->has_failed)
        state = EXPORT_FAILED;
    else if (e->is_over)
        state = EXPORT_END;
    else if (e->ahead.len > 0)
        state = EXPORT_MORE;
    if (state != EXPORT_FAILED)
        buf_append_slice(out, buf_slice(&e->ahead));
    buf_reset(&e->ahead);
    pthread_cond_signal(&e->room);
    pthread_mutex_unlock(&e->lock);
    return state;
}
