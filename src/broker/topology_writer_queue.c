// topology_writer_queue.c: declaring and removing queues.
//
// A queue is removed in two steps. First a conditional QUEUE_REQUEST_DELETE goes to its owner (struct deletion); until the owner
// answers, all requests on that queue wait in the deletion's list. The answer is a *fact*: carried out at the start of a turn,
// before any request, and never undone; then the waiting requests are looked at again, in their order.
// A deletion is never begun for a queue made in the same turn: the request is put off to the next turn (task_cut), because the
// owner has not heard of that queue and the commit may still fail.
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/reasons.h"
#include "src/broker/topology_writer.h"

// --- connections ------------------------------------------------------------------------------------------------------

struct conn_entry *
conn_entry_get(struct topology_writer *tw, uint64_t id)
{
    struct conn_entry *c = inttab_get(&tw->conns, id);
    if (c != NULL)
        return c;
    c = mem_xalloc(sizeof *c);
    c->id = id;
    list_init(&c->queues);
    list_init(&c->waiting);
    int result = inttab_put(&tw->conns, id, c);
    mem_require(result == 0);
    return c;
}

void
conn_entry_put(struct topology_writer *tw, struct conn_entry *c)
{
    if (c == NULL || !list_is_empty(&c->queues) || !list_is_empty(&c->waiting))
        return;
    inttab_take(&tw->conns, c->id);
    mem_free(c);
}

// --- entries ----------------------------------------------------------------------------------------------------------

static uint32_t
slot_take(struct topology_writer *tw)
{
    return tw->free_slot_count > 0 ? tw->free_slots[--tw->free_slot_count] : tw->slot_count++;
}

static void
slot_give(struct topology_writer *tw, uint32_t slot)
{
    tw->free_slots =
        array_grow(tw->free_slots, tw->free_slot_count, &tw->free_slot_cap, sizeof *tw->free_slots);
    tw->free_slots[tw->free_slot_count++] = slot;
}

// The worker that gets a new queue. `home`: the declarer's, NULL when that is no worker.
static struct worker *
place_queue(struct topology_writer *tw, struct worker *home, bool is_exclusive)
{
    int n = tw->crew->n_workers;
    if (home != NULL && (tw->placement == PLACE_LOCAL || (tw->placement == PLACE_BALANCED && is_exclusive)))
        return home;
    int best = -1;
    for (int k = 0; k < n; k++) {
        int i = (tw->place_next + k) % n;
        bool is_barred = tw->placement == PLACE_REMOTE && n > 1 && tw->crew->members[i] == home;
        if (!is_barred && (best < 0 || tw->queues_of[i] < tw->queues_of[best]))
            best = i;
    }
    LV_ASSERT(best >= 0); // one worker at the most is barred, and only when there are two
    tw->place_next = (best + 1) % n;
    return tw->crew->members[best];
}

struct queue_entry *
queue_entry_add(struct topology_writer *tw, const struct queue_args *args)
{
    struct worker *owner = place_queue(tw, args->home, (args->flags & QUEUE_EXCLUSIVE) != 0);
    struct queue_entry *q = mem_xalloc(sizeof *q + args->name.len + args->arguments.len + args->user.len);
    uint8_t *at = (uint8_t *)(q + 1);
    *q = (struct queue_entry){
        .vhost = args->vhost,
        .is_new = true,
        .def =
            {
                .id = args->id,
                .handle = queue_handle_alloc(owner),
                .slot = slot_take(tw),
                .flags = args->flags,
                .type = args->type,
                .owner_conn = args->owner_conn,
                .name = slice_place(&at, args->name),
                .vhost = args->vhost->name,
                .arguments = slice_place(&at, args->arguments),
                .user = slice_place(&at, args->user),
                .created_ms = args->created_ms,
            },
    };
    list_init(&q->bindings);
    list_init(&q->conn_node);
    list_init(&q->vhost_node);
    if ((args->flags & QUEUE_DELAY) == 0)
        list_push_back(&args->vhost->queue_list, &q->vhost_node);
    tw->queues_of[owner->index]++;
    if (args->owner_conn != 0)
        list_push_back(&conn_entry_get(tw, args->owner_conn)->queues, &q->conn_node);
    queue_map(tw, vhost_edit(tw, args->vhost), q);
    journal_add(tw, JOURNAL_QUEUE_NEW, q, NULL);
    return q;
}

void
queue_map(struct topology_writer *tw, struct vhost *v, struct queue_entry *q)
{
    struct queue_def *def = &q->def;
    struct pmap_edit *e = &tw->turn.edit;
    void *old =
        (def->flags & QUEUE_DELAY) != 0
            ? pmap_put(&v->delay_queues, e, topology_hash_id(def->id), topology_eq_queue_id, &def->id, def)
            : pmap_put(&v->queues, e, slice_hash(def->name), topology_eq_queue, &def->name, def);
    LV_ASSERT(old == NULL);
}

void
queue_unmap(struct topology_writer *tw, struct vhost *v, struct queue_entry *q)
{
    struct queue_def *def = &q->def;
    struct pmap_edit *e = &tw->turn.edit;
    void *there =
        (def->flags & QUEUE_DELAY) != 0
            ? pmap_remove(&v->delay_queues, e, topology_hash_id(def->id), topology_eq_queue_id, &def->id)
            : pmap_remove(&v->queues, e, slice_hash(def->name), topology_eq_queue, &def->name);
    LV_ASSERT(there == def);
}

void
queue_entry_unlink(struct topology_writer *tw, struct queue_entry *q)
{
    unsigned owner = handle_worker(q->def.handle);
    LV_ASSERT(tw->queues_of[owner] > 0);
    tw->queues_of[owner]--;
    list_remove(&q->vhost_node);
    if (q->def.owner_conn != 0) {
        list_remove(&q->conn_node);
        conn_entry_put(tw, inttab_get(&tw->conns, q->def.owner_conn));
    }
}

void
queue_entry_free(struct topology_writer *tw, struct queue_entry *q)
{
    if (!tw->is_ending) {
        queue_handle_release(q->def.handle);
        slot_give(tw, q->def.slot);
    }
    mem_free(q);
}

// --- creation at the owner --------------------------------------------------------------------------------------------

static struct queue_request *
request_new(struct queue_entry *q, enum queue_request_kind kind, void (*done)(struct queue_request *),
            void *ctx)
{
    struct queue_request *r = queue_request_new(kind, q->def.handle);
    mem_require(r != NULL);
    r->done = done;
    r->ctx = ctx;
    return r;
}

static void deletion_start(struct topology_writer *tw, struct queue_entry *q, uint32_t conditions,
                           struct task *asker);

static void
creation_done(struct queue_request *r)
{
    struct topology_writer *tw = worker_self->extra_state;
    struct creation *c = r->ctx;
    struct queue_entry *q = c->queue;
    if (r->outcome != QUEUE_OK) {
        log_error(LOG_QUEUE, "queue '%.*s' in vhost '%.*s': out of memory on its worker: removing it",
                  SLICE_FMT(q->def.name), SLICE_FMT(q->def.vhost));
        if (q->deletion == NULL)
            deletion_start(tw, q, 0, NULL);
    }
    list_remove(&c->node);
    mem_free(c);
    queue_request_free(r);
}

void
creations_send(struct topology_writer *tw)
{
    const struct journal *j = &tw->turn.journal;
    for (size_t i = 0; i < j->count; i++) {
        if (j->records[i].kind != JOURNAL_QUEUE_NEW)
            continue;
        struct queue_entry *q = j->records[i].a;
        struct creation *c = mem_xalloc(sizeof *c);
        *c = (struct creation){.queue = q, .request = request_new(q, QUEUE_REQUEST_CREATE, creation_done, c)};
        c->request->def = &q->def;
        c->request->rules = policy_queue_rules(tw, q);
        list_init(&c->node);
        list_push_back(&tw->creations, &c->node);
        q->is_new = false;
        queue_request_send(c->request);
    }
}

// --- deletion ---------------------------------------------------------------------------------------------------------

static void
deletion_done(struct queue_request *r)
{
    struct topology_writer *tw = worker_self->extra_state;
    struct deletion *d = r->ctx;
    list_remove(&d->node);
    list_push_back(&tw->settled, &d->node);
}

static void
deletion_send(struct topology_writer *tw, struct deletion *d, uint32_t conditions)
{
    queue_request_free(d->request);
    d->request = request_new(d->queue, QUEUE_REQUEST_DELETE, deletion_done, d);
    d->request->delete_conditions = conditions;
    list_push_back(&tw->deletions, &d->node);
    queue_request_send(d->request);
}

static void
deletion_start(struct topology_writer *tw, struct queue_entry *q, uint32_t conditions, struct task *asker)
{
    LV_ASSERT(q->deletion == NULL && !q->is_new);
    struct deletion *d = mem_xalloc(sizeof *d);
    *d = (struct deletion){.queue = q, .asker = asker};
    list_init(&d->node);
    list_init(&d->waiting);
    q->deletion = d;
    deletion_send(tw, d, conditions);
}

void
queue_drop(struct topology_writer *tw, struct queue_entry *q)
{
    if (q->deletion == NULL)
        deletion_start(tw, q, 0, NULL);
}

void
deletion_want_unused(struct topology_writer *tw, struct queue_entry *q)
{
    if (q->deletion != NULL)
        q->deletion->is_unused_again = true;
    else
        deletion_start(tw, q, DELETE_IF_UNUSED | DELETE_IF_OVER, NULL);
}

void
deletion_join(struct topology_writer *tw, struct queue_entry *q, struct group *g, int kind)
{
    if (q->deletion == NULL)
        deletion_start(tw, q, 0, NULL);
    LV_ASSERT(q->deletion->groups[kind] == NULL);
    q->deletion->groups[kind] = g;
    g->pending++;
}

bool
queue_must_wait(struct topology_writer *tw, struct queue_entry *q, struct task *task)
{
    if (q->deletion == NULL)
        return false;
    list_push_back(&q->deletion->waiting, &task->node);
    // A queue of a connection that is gone by then must not be made: the connection has to find this task.
    if (task->req.change == CHANGE_QUEUE_DECLARE && (task->req.flags & CHANGE_EXCLUSIVE) != 0)
        list_push_back(&conn_entry_get(tw, task->req.owner_conn)->waiting, &task->conn_node);
    return true;
}

static struct group *
group_new(struct task *task, struct vhost_entry *vhost)
{
    struct group *g = mem_xalloc(sizeof *g);
    *g = (struct group){.task = task, .vhost = vhost};
    list_init(&g->waiting);
    return g;
}

void
group_free(struct group *g)
{
    if (g == NULL)
        return;
    if (g->vhost != NULL)
        g->vhost->deleting = NULL;
    if (g->task != NULL)
        topology_request_free(&g->task->req);
    tasks_free(&g->waiting);
    mem_free(g);
}

static void
group_one_less(struct topology_writer *tw, struct group *g)
{
    LV_ASSERT(g->pending > 0);
    if (--g->pending > 0)
        return;
    struct task *task = g->task;
    g->task = NULL;
    if (g->vhost != NULL) { // the vhost itself is still to go
        task->is_emptied = true;
        list_push_back(&tw->turn.tasks, &task->node);
        return;
    }
    task->is_final = true;
    task_done(tw, task);
    list_splice_back(&tw->turn.tasks, &g->waiting);
    group_free(g);
}

static void
fault_set_refused(struct fault *f, const struct queue_def *def, enum queue_outcome outcome)
{
    switch (outcome) {
    case QUEUE_IN_USE:
    case QUEUE_NOT_EMPTY:
        fault_set(f, FAULT_PRECONDITION_FAILED, "queue '%.*s' in vhost '%.*s' %s", SLICE_FMT(def->name),
                  SLICE_FMT(def->vhost), outcome == QUEUE_IN_USE ? "in use" : "not empty");
        return;
    case QUEUE_OK:
    case QUEUE_GONE:
    case QUEUE_EMPTY:
    case QUEUE_EXCLUSIVE_USE:
    case QUEUE_NO_MEMORY:
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory while deleting queue '%.*s' in vhost '%.*s'",
                  SLICE_FMT(def->name), SLICE_FMT(def->vhost));
    }
}

static void
answer_asker(struct topology_writer *tw, struct deletion *d, bool is_gone)
{
    struct task *asker = d->asker;
    if (asker == NULL)
        return;
    d->asker = NULL;
    asker->is_final = true;
    if (is_gone) {
        asker->req.message_count = d->request->message_count;
        asker->is_row_owed = tw->meta != NULL && queue_is_kept(&d->queue->def);
    } else {
        fault_set_refused(&asker->req.fault, &d->queue->def, d->request->outcome);
    }
    task_done(tw, asker);
}

// The owner has removed the queue: it goes from the draft too.
static void
queue_remove(struct topology_writer *tw, struct queue_entry *q)
{
    bindings_remove_all(tw, q->vhost, &q->bindings);
    queue_unmap(tw, vhost_edit(tw, q->vhost), q);
    if (q->delays != NULL)
        delay_queue_gone(tw, q);
    queue_entry_unlink(tw, q);
    if (queue_is_kept(&q->def))
        store_drop_row(tw, q->def.id, true);
    journal_add(tw, JOURNAL_QUEUE_GONE, q, NULL);
    (void)atomic_fetch_add_explicit(&tw->queues_gone, 1, memory_order_relaxed);
}

void
deletion_settle(struct topology_writer *tw, struct deletion *d)
{
    struct queue_entry *q = d->queue;
    enum queue_outcome outcome = d->request->outcome;
    bool is_gone = outcome == QUEUE_OK || outcome == QUEUE_GONE;
    tw->turn.user = d->asker != NULL ? d->asker->req.user : SLICE_EMPTY;
    answer_asker(tw, d, is_gone);
    if (!is_gone && (d->groups[GROUP_CONN] != NULL || d->groups[GROUP_VHOST] != NULL)) {
        deletion_send(tw, d, 0);
        return;
    }
    if (!is_gone && d->is_unused_again) {
        d->is_unused_again = false;
        deletion_send(tw, d, DELETE_IF_UNUSED);
        return;
    }
    if (is_gone)
        queue_remove(tw, q);
    q->deletion = NULL;
    for (int i = 0; i < GROUP_COUNT; i++) {
        if (d->groups[i] != NULL)
            group_one_less(tw, d->groups[i]);
    }
    LV_LIST_EACH (it, &d->waiting) {
        struct task *task = LV_CONTAINER_OF(it, struct task, node);
        if (!list_is_linked(&task->conn_node))
            continue;
        list_remove(&task->conn_node);
        conn_entry_put(tw, inttab_get(&tw->conns, task->req.owner_conn));
    }
    list_splice_back(&tw->turn.tasks, &d->waiting);
    queue_request_free(d->request);
    mem_free(d);
}

// --- requests ---------------------------------------------------------------------------------------------------------

bool
queue_is_locked_for(const struct queue_def *def, uint64_t conn)
{
    return def->owner_conn != 0 && def->owner_conn != conn;
}

void
fault_set_locked(struct fault *f, const struct queue_def *def)
{
    fault_set(f, FAULT_RESOURCE_LOCKED,
              "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could be originally "
              "declared on another "
              "connection or the exclusive property value does not match that of the original declaration.",
              SLICE_FMT(def->name), SLICE_FMT(def->vhost));
}

static void
check_redeclare(struct task *task, const struct queue_def *def, const struct queue_properties *p)
{
    struct topology_request *r = &task->req;
    if (def->owner_conn != (p->is_exclusive ? r->owner_conn : 0))
        fault_set_locked(&r->fault, def);
    else
        arguments_same_queue(def, p, r->arguments, &r->fault);
}

// False with the fault.
static bool
check_limits(const struct topology_writer *tw, struct topology_request *r, const struct vhost *v)
{
    uint64_t total = 0;
    if (v->max_queues >= 0 && v->queues.count >= (uint64_t)v->max_queues) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED,
                  "cannot declare queue '%.*s': queue limit in vhost '%.*s' (%lld) is reached",
                  SLICE_FMT(r->name), SLICE_FMT(v->name), (long long)v->max_queues);
        r->fault.reason = REASON_REFUSED_VHOST_QUEUES;
        return false;
    }
    for (int i = 0; i < tw->crew->n_workers; i++)
        total += tw->queues_of[i];
    if (tw->limits.queues >= 0 && total >= (uint64_t)tw->limits.queues) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED,
                  "cannot declare queue '%.*s': queue limit in cluster (%lld) is reached", SLICE_FMT(r->name),
                  (long long)tw->limits.queues);
        r->fault.reason = REASON_REFUSED_CLUSTER_QUEUES;
        return false;
    }
    return true;
}

// Everything that can refuse a new queue. False with the fault.
static bool
check_declare(struct topology_writer *tw, struct task *task, const struct vhost *v, struct queue_args *args)
{
    struct topology_request *r = &task->req;
    struct queue_properties p = {
        .is_durable = (r->flags & CHANGE_DURABLE) != 0,
        .is_exclusive = (r->flags & CHANGE_EXCLUSIVE) != 0,
        .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0,
    };
    uint32_t flags = 0;
    if (!check_limits(tw, r, v))
        return false;
    if (!arguments_check_queue(v->name, r->name, r->arguments, &p, &args->type, &flags, &r->fault))
        return false;
    args->flags = flags | (p.is_durable ? (uint32_t)QUEUE_DURABLE : 0) |
                  (p.is_exclusive ? (uint32_t)QUEUE_EXCLUSIVE : 0) |
                  (p.is_auto_delete ? (uint32_t)QUEUE_AUTO_DELETE : 0);
    if (p.is_durable && !p.is_exclusive && !store_may_change(tw, task))
        return false;
    args->id = id_take(tw);
    if (args->id == 0) {
        fault_set(&r->fault, FAULT_INTERNAL_ERROR, "the metadata store gave no object id");
        return false;
    }
    return true;
}

static bool
check_name(struct topology_request *r)
{
    if (r->name.len == 0 || r->name.len > TOPOLOGY_NAME_MAX) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "a queue name has 1 to %d bytes", TOPOLOGY_NAME_MAX);
        return false;
    }
    if ((r->flags & CHANGE_INTERNAL_CALLER) == 0 && slice_has_prefix(r->name, SLICE_LIT("amq."))) {
        fault_set(&r->fault, FAULT_ACCESS_REFUSED, "queue name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(r->name));
        return false;
    }
    return true;
}

void
queue_store(struct topology_writer *tw, const struct queue_def *def)
{
    if (!queue_is_kept(def) || !store_is_open(tw))
        return;
    struct meta_queue row = {
        .id = def->id,
        .vhost = def->vhost,
        .name = def->name,
        .arguments = def->arguments,
        .user = def->user,
        .is_auto_delete = (def->flags & QUEUE_AUTO_DELETE) != 0,
        .created_ms = def->created_ms,
    };
    store_note(tw, meta_put_queue(tw->meta, &row));
}

void
task_queue_declare(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *ve = vhost_for_task(tw, task);
    if (ve == NULL || !check_name(r)) {
        task_done(tw, task);
        return;
    }
    const struct vhost *v = &ve->now->v;
    const struct queue_def *def = vhost_queue(v, r->name);
    if (def != NULL && queue_must_wait(tw, queue_entry_of(def), task))
        return;
    struct queue_args args = {
        .vhost = ve,
        .name = r->name,
        .arguments = r->arguments,
        .user = r->user,
        .owner_conn = (r->flags & CHANGE_EXCLUSIVE) != 0 ? r->owner_conn : 0,
        .created_ms = clock_wall_ms(),
        .home = r->requester->index < tw->crew->n_workers ? r->requester : NULL,
    };
    if (def != NULL) {
        struct queue_properties p = {
            .is_durable = (r->flags & CHANGE_DURABLE) != 0,
            .is_exclusive = (r->flags & CHANGE_EXCLUSIVE) != 0,
            .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0,
            .is_relaxed = (r->flags & CHANGE_RELAXED) != 0,
        };
        check_redeclare(task, def, &p);
    } else if (check_declare(tw, task, v, &args)) {
        queue_store(tw, &queue_entry_add(tw, &args)->def);
        r->is_created = true;
        (void)atomic_fetch_add_explicit(&tw->queues_made, 1, memory_order_relaxed);
    }
    task_done(tw, task);
}

void
task_queue_delete(struct topology_writer *tw, struct task *task)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *ve = vhost_for_task(tw, task);
    const struct queue_def *def = ve != NULL ? vhost_queue(&ve->now->v, r->name) : NULL;
    if (def == NULL) { // PROTOCOL: RabbitMQ: deleting what is not there succeeds
        task_done(tw, task);
        return;
    }
    struct queue_entry *q = queue_entry_of(def);
    if (queue_must_wait(tw, q, task))
        return;
    if (queue_is_locked_for(def, r->owner_conn)) {
        fault_set_locked(&r->fault, def);
        task_done(tw, task);
    } else if (q->is_new) {
        task_cut(tw, task);
    } else {
        deletion_start(tw, q,
                       ((r->flags & CHANGE_IF_UNUSED) != 0 ? (uint32_t)DELETE_IF_UNUSED : 0) |
                           ((r->flags & CHANGE_IF_EMPTY) != 0 ? (uint32_t)DELETE_IF_EMPTY : 0),
                       task);
    }
}

// Declares of exclusive queues that wait for an earlier queue of that name to go: the connection will not need them.
static void
drop_waiting_declares(struct topology_writer *tw, struct conn_entry *c)
{
    for (struct list *it; (it = list_pop_front(&c->waiting)) != NULL;) {
        struct task *task = LV_CONTAINER_OF(it, struct task, conn_node);
        list_remove(&task->node);
        task->is_final = true;
        fault_set(&task->req.fault, FAULT_CHANNEL_ERROR, "the connection is closed");
        task_done(tw, task);
    }
}

void
task_connection_gone(struct topology_writer *tw, struct task *task)
{
    struct conn_entry *c = inttab_get(&tw->conns, task->req.owner_conn);
    if (c == NULL) {
        task_done(tw, task);
        return;
    }
    LV_LIST_EACH (it, &c->queues) {
        struct queue_entry *q = LV_CONTAINER_OF(it, struct queue_entry, conn_node);
        if (q->is_new) {
            task_cut(tw, task);
            return;
        }
        if (q->deletion != NULL && q->deletion->groups[GROUP_CONN] != NULL) { // said twice
            list_push_back(&q->deletion->groups[GROUP_CONN]->waiting, &task->node);
            return;
        }
    }
    drop_waiting_declares(tw, c);
    if (list_is_empty(&c->queues)) {
        conn_entry_put(tw, c);
        task_done(tw, task);
        return;
    }
    struct group *g = group_new(task, NULL);
    LV_LIST_EACH (it, &c->queues)
        deletion_join(tw, LV_CONTAINER_OF(it, struct queue_entry, conn_node), g, GROUP_CONN);
}

// The queues of a vhost that goes. True: none is left.
bool
vhost_empty(struct topology_writer *tw, struct vhost_entry *ve, struct task *task)
{
    ve->deleting = group_new(task, ve);
    const struct pmap *maps[] = {&ve->now->v.queues, &ve->now->v.delay_queues};
    for (size_t i = 0; i < LV_ARRAY_LEN(maps); i++) {
        struct pmap_iter it;
        pmap_iter_init(&it, maps[i]);
        for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
            deletion_join(tw, queue_entry_of(def), ve->deleting, GROUP_VHOST);
    }
    if (ve->deleting->pending > 0)
        return false;
    ve->deleting->task = NULL;
    return true;
}

bool
vhost_has_new_queue(const struct vhost_entry *ve)
{
    const struct pmap *maps[] = {&ve->now->v.queues, &ve->now->v.delay_queues};
    for (size_t i = 0; i < LV_ARRAY_LEN(maps); i++) {
        struct pmap_iter it;
        pmap_iter_init(&it, maps[i]);
        for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;) {
            if (queue_entry_of(def)->is_new)
                return true;
        }
    }
    return false;
}
