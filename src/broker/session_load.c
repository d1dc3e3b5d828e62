// session_load.c: the limits of what the queues of a virtual host hold (vhost_load.h): each worker counts its own queues, and blocks and frees the publishers
// that it has in there.
//
// Happy path: the topology says that a virtual host has such a limit → the worker keeps a watch for it → its timer: a walk over the worker's queues,
// some thousand a turn, adds up → the sums are put in when the walk is through → the state of each watch is compared with what its clients were told.
// Where no virtual host has a limit there is no watch, no timer and no walk.
#include <uthash.h>

#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// LIMIT: places in the table of queues that are looked at in one turn.
enum { WALK_A_TURN = 16384 };

struct load_watch {
    struct vhost_load *load;
    uint64_t messages, memory; // of the walk that is under way
    enum load_state told;
    struct slice vhost; // bytes behind this struct
    UT_hash_handle hh;  // in broker_worker.loads, by these
};

static struct load_watch *
watch_of(const struct broker_worker *b, struct slice vhost)
{
    struct load_watch *w;
    HASH_FIND(hh, b->loads, vhost.ptr, vhost.len, w);
    return w;
}

static void
tell_clients(struct broker_worker *b, const struct load_watch *w)
{
    LV_LIST_EACH_SAFE (it, &b->clients) {
        struct client *c = LV_CONTAINER_OF(it, struct client, node);
        if (!slice_eq(c->vhost, w->vhost))
            continue;
        c->vhost_load = (uint8_t)w->told;
        client_tell_alarm(c);
    }
}

static void
watch_free(struct load_watch *w)
{
    vhost_load_put(w->load);
    mem_free(w);
}

// The virtual host has no such limit any more.
static void
watch_end(struct broker_worker *b, struct load_watch *w)
{
    if (w->told != LOAD_FINE) {
        w->told = LOAD_FINE;
        tell_clients(b, w);
    }
    vhost_load_set(w->load, b->worker->index, 0, 0);
    watch_free(w);
}

static struct load_watch *
watch_new(struct broker_worker *b, const struct vhost *v)
{
    struct load_watch *w = mem_calloc(1, sizeof *w + v->name.len);
    if (w == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)(w + 1);
    w->vhost = slice_place(&at, v->name);
    w->load = vhost_load_get(v->name, &v->content, topology_of(b->worker)->auth_version);
    if (w->load != NULL)
        return w;
    mem_free(w);
    return NULL;
}

// The watches that the adopted topology asks for. False: no memory; tried again.
static bool
refresh(struct broker_worker *b)
{
    const struct topology *t = topology_of(b->worker);
    struct load_watch *old = b->loads, *fresh = NULL;
    struct pmap_iter it;
    bool is_whole = true;
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        struct load_watch *w = content_is_limited(&v->content) ? watch_new(b, v) : NULL;
        if (w == NULL) {
            is_whole &= !content_is_limited(&v->content);
            continue;
        }
        HASH_ADD_KEYPTR(hh, fresh, w->vhost.ptr, w->vhost.len, w);
    }
    for (struct load_watch *w = fresh; w != NULL; w = w->hh.next) {
        const struct load_watch *before = watch_of(b, w->vhost);
        w->told = before != NULL ? before->told : LOAD_FINE;
    }
    b->loads = fresh;
    b->load_at = 0; // the walk begins anew
    for (struct load_watch *w; (w = old) != NULL;) {
        HASH_DEL(old, w);
        if (watch_of(b, w->vhost) != NULL)
            watch_free(w);
        else
            watch_end(b, w);
    }
    return is_whole;
}

static void
add_queue(void *ctx, const struct queue_def *def, const struct queue_totals *t)
{
    struct load_watch *w = watch_of(ctx, def->vhost);
    if (w == NULL)
        return;
    w->messages += t->ready + t->unacked;
    w->memory += t->memory_bytes;
}

// Some more of the queues; at the end of them the sums count.
static void
walk(struct broker_worker *b)
{
    queue_worker_each(b->worker, &b->load_at, WALK_A_TURN, add_queue, b);
    if (b->load_at != 0) {
        worker_keep_awake(b->worker);
        return;
    }
    b->has_load_turn = false;
    for (struct load_watch *w = b->loads; w != NULL; w = w->hh.next) {
        vhost_load_set(w->load, b->worker->index, w->messages, w->memory);
        w->messages = w->memory = 0;
    }
}

static void
compare(struct broker_worker *b)
{
    for (struct load_watch *w = b->loads; w != NULL; w = w->hh.next) {
        enum load_state now = vhost_load_state(w->load);
        if (now == w->told)
            continue;
        w->told = now;
        tell_clients(b, w);
    }
}

static bool
load_hook(struct worker *worker, void *ctx)
{
    struct broker_worker *b = ctx;
    uint64_t version = topology_of(worker)->auth_version;
    if (LV_UNLIKELY(b->load_version != version) && refresh(b)) {
        b->load_version = version;
        b->has_load_turn = b->loads != NULL;
        if (b->loads != NULL && !ev_is_active(&b->load_timer))
            ev_timer_again(worker->loop, &b->load_timer);
    }
    if (LV_LIKELY(!b->has_load_turn))
        return false;
    walk(b);
    compare(b);
    if (b->loads == NULL)
        ev_timer_stop(worker->loop, &b->load_timer);
    return false;
}

static void
on_load_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct broker_worker *b = timer->data;
    b->has_load_turn = true; // the turn that follows does the work
}

void
loads_init(struct broker_worker *b)
{
    b->load_version = UINT64_MAX;
    ev_timer_init(&b->load_timer, on_load_timer, 0., LOAD_LOOK_MS / 1000.0);
    b->load_timer.data = b;
    worker_add_hook(b->worker, PHASE_TIMERS, load_hook, b);
}

void
loads_fini(struct broker_worker *b)
{
    ev_timer_stop(b->worker->loop, &b->load_timer);
    for (struct load_watch *w; (w = b->loads) != NULL;) {
        HASH_DEL(b->loads, w);
        watch_free(w);
    }
}

void
client_load_init(struct client *c)
{
    const struct load_watch *w = watch_of(c->broker, c->vhost);
    c->vhost_load = (uint8_t)(w != NULL ? w->told : LOAD_FINE);
}

bool
client_load_describe(const struct client *c, struct buf *out)
{
    const struct load_watch *w = c->vhost_load != LOAD_FINE ? watch_of(c->broker, c->vhost) : NULL;
    if (w != NULL)
        vhost_load_describe(w->load, (enum load_state)c->vhost_load, out);
    return w != NULL;
}

bool
client_is_vhost_full(const struct client *c, struct buf *ret_reason)
{
    return client_load_describe(c, ret_reason);
}
