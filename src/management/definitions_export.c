// definitions_export.c: see definitions_export.h. Here: the thread and its buffer; what is written: definitions_write.c.
#include "src/management/definitions_export.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/broker/json.h"
#include "src/management/definitions_plan.h"

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
    int error;
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

// --- plans ----------------------------------------------------------------------------------------------------------------------------

struct plan_writer {
    struct definitions_export *e;
    uint64_t counts[PLAN_VERBS];
    bool is_first;
};

static int
write_item(void *ctx, const struct plan_item *item)
{
    struct plan_writer *w = ctx;
    struct definitions_export *e = w->e;
    w->counts[item->verb]++;
    if (e->args.is_for_deletions)
        return definitions_import_add_deletion(e->args.import, item->request);
    if (item->verb == PLAN_SAME)
        return 0;
    if (e->args.is_text) {
        plan_put_text(&e->part, item);
    } else {
        buf_append_str(&e->part, w->is_first ? "" : ",");
        plan_put_json(&e->part, item);
    }
    w->is_first = false;
    return e->part.failed ? -LE_NOMEM : e->part.len >= EXPORT_PART_BYTES ? flush(e) : 0;
}

static void
write_counts(struct plan_writer *w)
{
    struct buf *out = &w->e->part;
    if (w->e->args.is_for_deletions)
        return;
    buf_append_str(out, w->e->args.is_text ? "" : "],\"counts\":{");
    for (int v = 0; v < PLAN_VERBS; v++) {
        if (w->e->args.is_text)
            buf_printf(out, "%s%llu %s", v > 0 ? ", " : "", (unsigned long long)w->counts[v],
                       plan_verb_names[v]);
        else
            json_put_member_int(out, plan_verb_names[v], (int64_t)w->counts[v]);
    }
    json_drop_comma(out);
    buf_append_str(out, w->e->args.is_text ? "\n" : "}}");
}

static int
write_plan(struct definitions_export *e)
{
    struct plan_writer w = {.e = e, .is_first = true};
    struct plan_args args = {.import = e->args.import,
                             .topology = e->topology,
                             .is_exact = e->args.is_exact,
                             .is_deletions_only = e->args.is_for_deletions,
                             .is_forced = e->args.is_forced};
    if (!e->args.is_for_deletions && !e->args.is_text)
        buf_printf(&e->part, "{\"mode\":\"%s\",\"changes\":[", e->args.is_exact ? "exact" : "merge");
    int err = definitions_plan(&args, write_item, &w);
    if (err == 0)
        write_counts(&w);
    return err;
}

static void *
export_thread(void *ctx)
{
    struct definitions_export *e = ctx;
    int err = e->args.import != NULL ? write_plan(e)
                                     : definitions_export_write(e->topology, &e->args, &e->part, flush, e);
    if (err == 0)
        err = flush(e);
    pthread_mutex_lock(&e->lock);
    e->is_over = true;
    e->has_failed = err != 0;
    e->error = err;
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

int
definitions_export_error(const struct definitions_export *e)
{
    return e->error;
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
