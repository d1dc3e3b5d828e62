// topology_writer_delay.c: the queues of delayed exchanges, which no client sees.
//
// One for each exchange that delays, made in the same request (and store transaction) as the exchange, as durable as that. Its row in the
// store is a queue's, named amq.delayed.ID.EXCHANGE: no client can declare a name like that. It lies in a map of its own
// (vhost.delay_queues), so that nothing that names a queue finds it: no listing, binding, consumer, purge or key of the default exchange.
// It goes after its exchange: when the commit that removes the exchange stands (journal_finish) its owner is asked to delete it,
// with what waits in it. A crash in between leaves a queue without an exchange, which the next start removes (delay_sweep).
#include <inttypes.h>
#include <stdio.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/topology_writer.h"

#define DELAY_PREFIX "amq.delayed."

bool
delay_is_queue(struct slice name, uint64_t *ret_exchange)
{
    uint64_t id = 0;
    size_t at = sizeof DELAY_PREFIX - 1;
    if (!slice_has_prefix(name, SLICE_LIT(DELAY_PREFIX)))
        return false;
    size_t first = at;
    for (; at < name.len && at - first < 19 && name.ptr[at] >= '0' && name.ptr[at] <= '9'; at++)
        id = id * 10 + (uint64_t)(name.ptr[at] - '0');
    *ret_exchange = id;
    return at > first && at < name.len && name.ptr[at] == '.';
}

void
delay_attach(struct topology_writer *tw, struct exchange_entry *e, struct queue_entry *q)
{
    struct exchange *x = exchange_edit(tw, e);
    q->delays = e;
    e->delay = q;
    x->delay_queue = &q->def;
}

static struct queue_entry *
make_queue(struct topology_writer *tw, const struct exchange *x, struct vhost_entry *ve, uint64_t id)
{
    LV_CLEANUP(buf_fini) struct buf name = BUF_INIT;
    LV_CLEANUP(buf_fini) struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    buf_printf(&name, DELAY_PREFIX "%" PRIu64 ".", x->id);
    buf_append_slice(&name, x->name);
    table_put_longstr(&w, SLICE_LIT("x-dead-letter-exchange"), x->name);
    mem_require(!name.failed && !arguments.failed);
    struct queue_args args = {
        .id = id,
        .vhost = ve,
        .name = buf_slice(&name),
        .arguments = buf_slice(&arguments),
        .user = x->user,
        .flags = (uint32_t)QUEUE_DELAY | (x->is_durable ? (uint32_t)QUEUE_DURABLE : 0),
        .type = QUEUE_CLASSIC,
        .created_ms = clock_wall_ms(),
    };
    struct queue_entry *q = queue_entry_add(tw, &args);
    if (x->is_durable)
        queue_store(tw, &q->def);
    return q;
}

void
delay_begin(struct topology_writer *tw, struct exchange_entry *e, uint64_t id)
{
    exchange_edit(tw, e)->is_delayed = true;
    if (e->delay == NULL && id != 0)
        delay_attach(tw, e, make_queue(tw, &e->now->x, e->vhost, id));
}

static struct exchange_entry *
find_without_queue(const struct vhost *v)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;) {
        if (x->is_delayed && x->delay_queue == NULL)
            return exchange_entry_of(x);
    }
    return NULL;
}

void
delay_complete(struct topology_writer *tw, struct vhost_entry *ve)
{
    for (struct exchange_entry *e; (e = find_without_queue(&ve->now->v)) != NULL;) {
        uint64_t id = id_take(tw);
        if (id == 0)
            return;
        log_warn(
            LOG_STORE,
            "exchange '%.*s' in vhost '%.*s': its queue of delayed messages is not in the store: making one",
            SLICE_FMT(e->now->x.name), SLICE_FMT(ve->name));
        delay_begin(tw, e, id);
    }
}

// --- by policy ----------------------------------------------------------------------------------------------------------------

static bool
should_delay(struct topology_writer *tw, const struct exchange_entry *e)
{
    return e->now->x.type == EXCHANGE_DELAYED || policy_delays(tw, e->vhost, &e->now->x);
}

bool
delay_is_to_change(struct topology_writer *tw, const struct exchange_entry *e)
{
    return should_delay(tw, e) != e->now->x.is_delayed;
}

static void
delay_told(struct topology_request *r)
{
    if (r->fault.code != FAULT_NONE)
        log_error(LOG_QUEUE, "exchange '%.*s' in vhost '%.*s' cannot delay messages as its policy says: %s",
                  SLICE_FMT(r->name), SLICE_FMT(r->vhost), r->fault.text);
    telling_done(worker_self->extra_state, r->ctx);
    topology_request_free(r);
}

void
delay_change(const struct exchange_entry *e, struct telling *t)
{
    struct topology_request args = {.change = CHANGE_EXCHANGE_DELAY,
                                    .vhost = e->vhost->name,
                                    .name = e->now->x.name,
                                    .done = delay_told,
                                    .ctx = t};
    struct topology_request *r = topology_request_new(&args);
    mem_require(r != NULL);
    topology_submit(r);
}

// What waits when it ends goes out in its time.
void
task_exchange_delay(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *ve = vhost_entry_find(tw, r->vhost);
    const struct exchange *x = ve != NULL ? vhost_exchange(&ve->now->v, r->name) : NULL;
    struct exchange_entry *e = x != NULL ? exchange_entry_of(x) : NULL;
    if (e != NULL && ve->deleting == NULL && delay_is_to_change(tw, e)) {
        bool is_on = !x->is_delayed, needs_queue = is_on && e->delay == NULL;
        if (!is_on)
            exchange_edit(tw, e)->is_delayed = false;
        else if (!needs_queue || !x->is_durable || store_may_change(tw, task))
            delay_begin(tw, e, needs_queue ? id_take(tw) : 0);
    }
    task_done(tw, task);
}

// --- the end ------------------------------------------------------------------------------------------------------------------

void
delay_exchange_gone(struct topology_writer *tw, struct exchange_entry *e)
{
    struct queue_entry *q = e->delay;
    if (q == NULL)
        return;
    e->delay = NULL;
    q->delays = NULL;
    queue_drop(tw, q);
}

// Its making was undone, its vhost goes, or its owner had no memory for it.
void
delay_queue_gone(struct topology_writer *tw, struct queue_entry *q)
{
    struct exchange_entry *e = q->delays;
    e->delay = NULL;
    struct exchange *x = exchange_edit(tw, e);
    x->delay_queue = NULL;
    x->is_delayed = x->type == EXCHANGE_DELAYED;
    q->delays = NULL;
}

void
delay_sweep(struct topology_writer *tw)
{
    struct pmap_iter vhosts, it;
    tw->has_swept = true;
    pmap_iter_init(&vhosts, &tw->newest->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&vhosts)) != NULL;) {
        pmap_iter_init(&it, &v->delay_queues);
        for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;) {
            struct queue_entry *q = queue_entry_of(def);
            if (q->delays != NULL || q->is_new)
                continue;
            log_info(LOG_QUEUE, "queue '%.*s' in vhost '%.*s': its exchange was deleted: removing it",
                     SLICE_FMT(def->name), SLICE_FMT(def->vhost));
            queue_drop(tw, q);
        }
    }
}
