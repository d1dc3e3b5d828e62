// topology_writer_exchange.c: declaring and deleting exchanges, binding and unbinding, auto-delete.
//
// Each destination (queue_entry, exchange_entry) lists the bindings that lead to it, so that removing it costs what it touches.
// An auto-delete exchange goes when its last binding as a source goes; that may leave others without any: worked off from a
// list, because a chain of exchanges may be as long as a client likes.
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/event.h"
#include "src/broker/log_exchange.h"
#include "src/broker/reasons.h"
#include "src/broker/topology_writer.h"

// --- removal ----------------------------------------------------------------------------------------------------------

// Exchanges that are to be removed.
struct doomed {
    struct exchange_entry **items;
    size_t count, cap;
};

static void
doomed_add(struct doomed *d, struct exchange_entry *e)
{
    d->items = array_grow(d->items, d->count, &d->cap, sizeof(struct exchange_entry *));
    d->items[d->count++] = e;
}

struct list *
binding_dest_list(struct vhost_entry *v, const struct binding *b)
{
    if (b->dest == BINDING_TO_QUEUE)
        return &queue_entry_of(b->queue)->bindings;
    const struct exchange *x = vhost_exchange_by_id(&v->now->v, b->dest_id);
    LV_ASSERT(x != NULL);
    return &exchange_entry_of(x)->incoming;
}

static struct exchange_entry *
binding_source(struct vhost_entry *v, const struct binding *b)
{
    const struct exchange *x = vhost_exchange_by_id(&v->now->v, b->source_id);
    LV_ASSERT(x != NULL);
    return exchange_entry_of(x);
}

// Takes the binding out of its source's router and its destination's list.
static const struct binding *
binding_remove(struct topology_writer *tw, struct exchange_entry *source, const struct binding *like,
               struct doomed *doomed)
{
    struct exchange *x = exchange_edit(tw, source);
    struct binding *b = (struct binding *)(uintptr_t)router_unbind(&x->router, &tw->turn.edit, like);
    if (b == NULL)
        return NULL;
    list_remove(&b->dest_node);
    journal_add(tw, JOURNAL_UNBOUND, source, b);
    if (x->is_auto_delete && x->router.count == 0)
        doomed_add(doomed, source);
    return b;
}

static void
remove_incoming(struct topology_writer *tw, struct vhost_entry *v, struct list *bindings,
                struct doomed *doomed)
{
    for (struct list *it; (it = list_first(bindings)) != NULL;) {
        const struct binding *b = LV_CONTAINER_OF(it, struct binding, dest_node);
        const struct binding *removed = binding_remove(tw, binding_source(v, b), b, doomed);
        LV_ASSERT(removed == b);
    }
}

static bool
unlink_binding(const struct binding *b, void *ctx)
{
    list_remove(&((struct binding *)(uintptr_t)b)->dest_node);
    return true;
}

// The order matters to journal_undo: what leads to the exchange first, then the exchange with its own bindings.
static void
remove_doomed(struct topology_writer *tw, struct doomed *doomed)
{
    while (doomed->count > 0) {
        struct exchange_entry *e = doomed->items[--doomed->count];
        router_each(&e->now->x.router, unlink_binding, NULL);
        remove_incoming(tw, e->vhost, &e->incoming, doomed);
        exchange_unmap(tw, e);
        journal_add(tw, JOURNAL_EXCHANGE_GONE, e, NULL);
        if (e->now->x.is_durable)
            store_drop_row(tw, e->now->x.id, false);
    }
    mem_free(doomed->items);
    *doomed = (struct doomed){0};
}

void
bindings_remove_all(struct topology_writer *tw, struct vhost_entry *v, struct list *bindings)
{
    struct doomed doomed = {0};
    remove_incoming(tw, v, bindings, &doomed);
    remove_doomed(tw, &doomed);
}

// --- exchanges --------------------------------------------------------------------------------------------------------

static void
store_exchange(struct topology_writer *tw, const struct exchange *x)
{
    if (!x->is_durable || !store_is_open(tw))
        return;
    struct meta_exchange row = {
        .id = x->id,
        .vhost = x->vhost,
        .name = x->name,
        .type = slice_str(exchange_type_name(x->type)),
        .arguments = x->arguments,
        .user = x->user,
        .is_auto_delete = x->is_auto_delete,
        .is_internal = x->is_internal,
    };
    store_note(tw, meta_put_exchange(tw->meta, &row));
}

void
exchange_add_system(struct topology_writer *tw, struct vhost_entry *v)
{
    // RabbitMQ's predeclared exchanges.
    const struct system_exchange {
        const char *name;
        enum exchange_type type;
        bool is_internal;
        const struct slice *only_in; // NULL: in every vhost
    } all[] = {
        {"", EXCHANGE_DIRECT, false, NULL},
        {"amq.direct", EXCHANGE_DIRECT, false, NULL},
        {"amq.fanout", EXCHANGE_FANOUT, false, NULL},
        {"amq.topic", EXCHANGE_TOPIC, false, NULL},
        {"amq.headers", EXCHANGE_HEADERS, false, NULL},
        {"amq.match", EXCHANGE_HEADERS, false, NULL},
        {"amq.rabbitmq.trace", EXCHANGE_TOPIC, true, NULL},
        {EVENT_EXCHANGE, EXCHANGE_TOPIC, true, &tw->event_vhost},
        {LOG_EXCHANGE, EXCHANGE_TOPIC, true, &tw->log_vhost},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++) {
        if (all[i].only_in != NULL && !slice_eq(*all[i].only_in, v->name)) // an empty one is no vhost
            continue;
        if (vhost_exchange(&v->now->v, slice_str(all[i].name)) != NULL)
            continue;
        struct exchange_args args = {
            .id = id_take(tw),
            .vhost = v,
            .name = slice_str(all[i].name),
            .user = SLICE_LIT("rmq-internal"),
            .type = all[i].type,
            .is_durable = true,
            .is_internal = all[i].is_internal,
        };
        LV_ASSERT(args.id != 0);
        store_exchange(tw, &exchange_entry_add(tw, &args)->now->x);
    }
}

static void
fault_set_default_exchange(struct fault *f)
{
    fault_set(f, FAULT_ACCESS_REFUSED, "operation not permitted on the default exchange");
}

static void
fault_set_no_exchange(struct fault *f, struct slice name, struct slice vhost)
{
    fault_set(f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(name), SLICE_FMT(vhost));
}

static void
exchange_create(struct topology_writer *tw, struct task *task, struct vhost_entry *ve)
{
    struct topology_request *r = &task->req;
    struct slice alternate = SLICE_EMPTY;
    enum exchange_type type;
    if (exchange_type_parse(r->type, &type) != 0) {
        fault_set(&r->fault, FAULT_COMMAND_INVALID,
                  r->type.len == 0 ? "invalid exchange type '%.*s'" : "unknown exchange type '%.*s'",
                  SLICE_FMT(r->type));
        return;
    }
    if (r->name.len > TOPOLOGY_NAME_MAX) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "an exchange name has at most %d bytes",
                  TOPOLOGY_NAME_MAX);
        return;
    }
    if ((r->flags & CHANGE_INTERNAL_CALLER) == 0 && slice_has_prefix(r->name, SLICE_LIT("amq."))) {
        fault_set(&r->fault, FAULT_ACCESS_REFUSED, "exchange name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(r->name));
        return;
    }
    if (tw->limits.exchanges >= 0 && tw->exchange_count >= tw->limits.exchanges) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED,
                  "cannot declare exchange '%.*s' in vhost '%.*s': exchange limit of %lld is reached",
                  SLICE_FMT(r->name), SLICE_FMT(ve->name), (long long)tw->limits.exchanges);
        r->fault.reason = REASON_REFUSED_CLUSTER_EXCHANGES;
        return;
    }
    if (!arguments_check_exchange(ve->name, r->name, r->arguments, &alternate, &r->fault) ||
        !arguments_check_exchange_type(type, r->arguments, &r->fault))
        return;
    bool is_durable = (r->flags & CHANGE_DURABLE) != 0;
    if (is_durable && !store_may_change(tw, task))
        return;
    struct exchange_args args = {
        .id = id_take(tw),
        .vhost = ve,
        .name = r->name,
        .arguments = r->arguments,
        .user = r->user,
        .type = type,
        .is_durable = is_durable,
        .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0,
        .is_internal = (r->flags & CHANGE_INTERNAL) != 0,
    };
    uint64_t delay_id = type == EXCHANGE_DELAYED ? id_take(tw) : 1;
    if (args.id == 0 || delay_id == 0) {
        fault_set(&r->fault, FAULT_INTERNAL_ERROR, "the metadata store gave no object id");
        return;
    }
    struct exchange_entry *e = exchange_entry_add(tw, &args);
    store_exchange(tw, &e->now->x);
    if (e->now->x.is_delayed)
        delay_begin(tw, e, type == EXCHANGE_DELAYED ? delay_id : id_take(tw));
    r->is_created = true;
}

void
task_exchange_declare(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *ve = vhost_for_task(tw, task);
    if (ve != NULL && r->name.len == 0) {
        fault_set_default_exchange(&r->fault);
    } else if (ve != NULL) {
        const struct exchange *x = vhost_exchange(&ve->now->v, r->name);
        struct exchange_properties p = {
            .type = r->type,
            .is_durable = (r->flags & CHANGE_DURABLE) != 0,
            .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0,
            .is_internal = (r->flags & CHANGE_INTERNAL) != 0,
        };
        if (x != NULL)
            arguments_same_exchange(x, &p, r->arguments, &r->fault);
        else
            exchange_create(tw, task, ve);
    }
    task_done(tw, task);
}

void
task_exchange_delete(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *ve = vhost_for_task(tw, task);
    const struct exchange *x = ve != NULL ? vhost_exchange(&ve->now->v, r->name) : NULL;
    if (ve != NULL && r->name.len == 0) {
        fault_set_default_exchange(&r->fault);
    } else if (ve != NULL && slice_has_prefix(r->name, SLICE_LIT("amq."))) {
        fault_set(&r->fault, FAULT_ACCESS_REFUSED,
                  "deletion of system exchange '%.*s' in vhost '%.*s' not allowed", SLICE_FMT(r->name),
                  SLICE_FMT(ve->name));
    } else if (x == NULL) {
        // PROTOCOL: RabbitMQ: deleting what is not there succeeds.
    } else if ((r->flags & CHANGE_IF_UNUSED) != 0 && x->router.count > 0) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "exchange '%.*s' in vhost '%.*s' in use",
                  SLICE_FMT(r->name), SLICE_FMT(ve->name));
    } else if (!x->is_durable || store_may_change(tw, task)) {
        struct doomed doomed = {0};
        doomed_add(&doomed, exchange_entry_of(x));
        remove_doomed(tw, &doomed);
    }
    task_done(tw, task);
}

// --- bindings ---------------------------------------------------------------------------------------------------------

// What a bind or unbind names.
struct bind_ends {
    struct vhost_entry *vhost;
    const struct exchange *source;
    const struct queue_def *queue; // or
    const struct exchange *dest;   // by CHANGE_DEST_IS_QUEUE
};

// Names that are never allowed. False with the fault.
static bool
bind_check_names(struct topology_writer *tw, struct task *task, struct bind_ends *ret_ends)
{
    struct topology_request *r = &task->req;
    bool is_queue = (r->flags & CHANGE_DEST_IS_QUEUE) != 0;
    struct vhost_entry *ve = vhost_for_task(tw, task);
    if (ve == NULL)
        return false;
    if (r->name.len == 0 || (!is_queue && r->dest_name.len == 0)) {
        fault_set_default_exchange(&r->fault);
        return false;
    }
    if (r->key.len > TOPOLOGY_NAME_MAX) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "a binding key has at most %d bytes",
                  TOPOLOGY_NAME_MAX);
        return false;
    }
    *ret_ends = (struct bind_ends){
        .vhost = ve,
        .source = vhost_exchange(&ve->now->v, r->name),
        .queue = is_queue ? vhost_queue(&ve->now->v, r->dest_name) : NULL,
        .dest = is_queue ? NULL : vhost_exchange(&ve->now->v, r->dest_name),
    };
    return true;
}

// In RabbitMQ's order: what is missing (source first), the arguments, the lock. False with the fault.
static bool
bind_check(struct task *task, const struct bind_ends *ends)
{
    struct topology_request *r = &task->req;
    struct slice vhost = ends->vhost->name;
    if (ends->source == NULL) {
        fault_set_no_exchange(&r->fault, r->name, vhost);
        return false;
    }
    if (ends->queue == NULL && ends->dest == NULL) {
        if ((r->flags & CHANGE_DEST_IS_QUEUE) != 0)
            fault_set(&r->fault, FAULT_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SLICE_FMT(r->dest_name),
                      SLICE_FMT(vhost));
        else
            fault_set_no_exchange(&r->fault, r->dest_name, vhost);
        return false;
    }
    if (!arguments_check_binding(ends->source->router.type, r->key, r->arguments, &r->fault))
        return false;
    if (ends->queue != NULL && queue_is_locked_for(ends->queue, r->owner_conn)) {
        fault_set_locked(&r->fault, ends->queue);
        return false;
    }
    return true;
}

// NULL, with the fault: no memory.
static struct binding *
bind_make(struct task *task, const struct bind_ends *ends)
{
    struct topology_request *r = &task->req;
    struct binding_args args = {
        .source_id = ends->source->id,
        .dest_id = ends->queue != NULL ? ends->queue->id : ends->dest->id,
        .dest = ends->queue != NULL ? BINDING_TO_QUEUE : BINDING_TO_EXCHANGE,
        .is_durable = ends->source->is_durable &&
                      (ends->queue != NULL ? queue_is_kept(ends->queue) : ends->dest->is_durable),
        .queue = ends->queue,
        .key = r->key,
        .arguments = r->arguments,
        .source_name = ends->source->name,
        .dest_name = r->dest_name,
    };
    struct binding *b = binding_new(&args);
    if (b == NULL) // the key's length is checked
        fault_set(&r->fault, FAULT_RESOURCE_ERROR, "out of memory");
    else
        list_init(&b->dest_node);
    return b;
}

static struct meta_binding
binding_row(const struct binding *b)
{
    return (struct meta_binding){
        .source_id = b->source_id,
        .dest_id = b->dest_id,
        .is_dest_queue = b->dest == BINDING_TO_QUEUE,
        .key = b->key,
        .arguments = b->arguments,
        .canonical = b->canonical,
    };
}

bool
binding_add(struct topology_writer *tw, struct exchange_entry *source, struct binding *b)
{
    if (!router_bind(&exchange_edit(tw, source)->router, &tw->turn.edit, b)) {
        binding_free(b);
        return false;
    }
    list_push_back(binding_dest_list(source->vhost, b), &b->dest_node);
    journal_add(tw, JOURNAL_BOUND, source, b);
    return true;
}

void
task_bind(struct topology_writer *tw, struct task *task)
{
    struct bind_ends ends;
    if (!bind_check_names(tw, task, &ends)) {
        task_done(tw, task);
        return;
    }
    if (ends.source != NULL && ends.queue != NULL && queue_must_wait(tw, queue_entry_of(ends.queue), task))
        return;
    struct binding *b = bind_check(task, &ends) ? bind_make(task, &ends) : NULL;
    if (b != NULL) {
        struct meta_binding row = binding_row(b);
        bool is_durable = b->is_durable;
        if (is_durable && !store_may_change(tw, task)) {
            binding_free(b);
        } else if (binding_add(tw, exchange_entry_of(ends.source), b)) {
            task->req.is_created = true;
            if (is_durable && store_is_open(tw))
                store_note(tw, meta_put_binding(tw->meta, &row));
        }
    }
    task_done(tw, task);
}

// A queue of another connection: RabbitMQ refuses only when the binding exists.
static bool
is_bound(const struct queue_def *queue, const struct binding *like)
{
    LV_LIST_EACH (it, &queue_entry_of(queue)->bindings) {
        if (binding_same(LV_CONTAINER_OF(it, struct binding, dest_node), like))
            return true;
    }
    return false;
}

static void
unbind(struct topology_writer *tw, struct task *task, const struct bind_ends *ends)
{
    struct binding *like = bind_make(task, ends);
    if (like == NULL)
        return;
    bool is_locked = ends->queue != NULL && queue_is_locked_for(ends->queue, task->req.owner_conn);
    if (is_locked && is_bound(ends->queue, like)) {
        fault_set_locked(&task->req.fault, ends->queue);
    } else if (!is_locked && (!like->is_durable || store_may_change(tw, task))) {
        struct doomed doomed = {0};
        const struct binding *b = binding_remove(tw, exchange_entry_of(ends->source), like, &doomed);
        if (b != NULL && b->is_durable && store_is_open(tw)) {
            struct meta_binding row = binding_row(b);
            store_note(tw, meta_delete_binding(tw->meta, &row));
        }
        remove_doomed(tw, &doomed);
    }
    binding_free(like);
}

void
task_unbind(struct topology_writer *tw, struct task *task)
{
    struct bind_ends ends;
    if (!bind_check_names(tw, task, &ends)) {
        task_done(tw, task);
        return;
    }
    if (ends.source != NULL && ends.queue != NULL && queue_must_wait(tw, queue_entry_of(ends.queue), task))
        return;
    if (ends.source != NULL && (ends.queue != NULL || ends.dest != NULL))
        unbind(tw, task, &ends);
    task_done(tw, task);
}
