// topology_writer_policy.c: policies put and cleared, and how queues and exchanges that exist come to live by them.
//
// Happy path: the request changes the vhost's list of policies, in the draft; from then on whatever is made gets its rules by it.
// When that version is adopted by all, the request does not get its answer yet but joins a *sweep*: a walk over all exchanges and
// queues of the vhost, a part of it at the start of each turn. A queue that other policies are for than its owner knows gets new
// rules by QUEUE_REQUEST_RULES; an exchange whose alternate exchange changes gets a new version. At the end of the walk, when all
// owners have answered and the last version is adopted, the requests are answered.
// A mark in the lists of the vhost's objects says how far the walk is: what is added goes to the end, what is removed leaves the
// list. Policies put during a walk make for another lap; requests are answered at the end of the first lap that began after them.
// Failure modes: a commit that fails undoes the list (JOURNAL_POLICY); what the walk changes follows from what was committed, and is
// never undone. A vhost that is deleted ends its walk.
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/queue_settings.h"
#include "src/broker/topology_writer.h"

// LIMIT: objects looked at and patterns tried in one turn; questions to owners under way.
enum { SWEEP_STEPS_MAX = 2048, SWEEP_TELLINGS_MAX = 512 };

// --- what policies say --------------------------------------------------------------------------------------------------------

struct queue_rules *
policy_queue_rules(struct topology_writer *tw, struct queue_entry *q)
{
    struct policy_pair pair = vhost_queue_policies(&q->vhost->now->v, tw->matcher, &q->def);
    for (int kind = 0; kind < POLICY_KINDS; kind++)
        q->told[kind] = pair.of[kind] != NULL ? pair.of[kind]->serial : 0;
    return queue_settings_rules(&q->def, &pair);
}

static bool
knows_its_policies(struct topology_writer *tw, const struct queue_entry *q)
{
    struct policy_pair pair = vhost_queue_policies(&q->vhost->now->v, tw->matcher, &q->def);
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        if (q->told[kind] != (pair.of[kind] != NULL ? pair.of[kind]->serial : 0))
            return false;
    }
    return true;
}

struct slice
policy_alternate(struct topology_writer *tw, const struct vhost_entry *ve, const struct exchange *x)
{
    if (x->is_default) // what it cannot route has no exchange to go to, as in RabbitMQ
        return SLICE_EMPTY;
    struct policy_pair pair = vhost_exchange_policies(&ve->now->v, tw->matcher, x);
    const struct policy_value *v = policy_effective(&pair, POLICY_ALTERNATE_EXCHANGE);
    return v != NULL ? v->text : SLICE_EMPTY;
}

bool
policy_delays(struct topology_writer *tw, const struct vhost_entry *ve, const struct exchange *x)
{
    if (x->is_default)
        return false;
    struct policy_pair pair = vhost_exchange_policies(&ve->now->v, tw->matcher, x);
    const struct policy_value *v = policy_effective(&pair, POLICY_DELAYED_MESSAGE);
    return v != NULL && v->number != 0;
}

// --- put and clear ------------------------------------------------------------------------------------------------------------

static void
change_list(struct topology_writer *tw, struct vhost_entry *e, enum policy_kind kind, struct policy *old,
            struct policy *new)
{
    struct policy_change *change = mem_xalloc(sizeof *change);
    struct vhost *v = vhost_edit(tw, e);
    *change = (struct policy_change){.kind = kind, .old_list = v->policies[kind], .old = old, .new = new};
    if (new != NULL) {
        if (++tw->policy_serial == 0)
            tw->policy_serial++;
        new->serial = tw->policy_serial;
    }
    v->policies[kind] = policy_list_with(v->policies[kind], old, new);
    journal_add(tw, JOURNAL_POLICY, e, change);
}

void
policy_undo(struct topology_writer *tw, struct vhost_entry *e, struct policy_change *change)
{
    struct vhost *v = vhost_edit(tw, e);
    mem_free((void *)(uintptr_t)v->policies[change->kind]);
    v->policies[change->kind] = change->old_list;
    policy_free(change->new);
    mem_free(change);
}

void
policy_finish(struct topology_writer *tw, struct policy_change *change)
{
    if (change->old_list != NULL)
        retire(tw, RETIRED_BLOCK, (void *)(uintptr_t)change->old_list);
    if (change->old != NULL)
        retire(tw, RETIRED_POLICY, change->old);
    mem_free(change);
}

void
policy_lists_free(struct vhost_entry *e)
{
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        const struct policy_list *l = e->now->v.policies[kind];
        for (size_t i = 0; l != NULL && i < l->count; i++)
            policy_free((struct policy *)(uintptr_t)l->items[i]);
        mem_free((void *)(uintptr_t)l);
    }
}

// The policy of that name in effect; NULL.
static struct policy *
policy_of(const struct vhost_entry *e, enum policy_kind kind, struct slice name)
{
    return (struct policy *)(uintptr_t)policy_list_find(e->now->v.policies[kind], name);
}

int
policy_load(struct topology_writer *tw, const struct policy_args *args, struct buf *reason)
{
    struct policy *p;
    struct vhost_entry *e = vhost_entry_find(tw, args->vhost);
    if (e == NULL) {
        buf_append_str(reason, "its vhost does not exist");
        return -LE_INVAL;
    }
    int result = policy_new(args, &p, reason);
    if (result < 0)
        return result;
    change_list(tw, e, args->kind, NULL, p);
    return 0;
}

static void
store_parameter(struct topology_writer *tw, const struct policy *p, struct slice value)
{
    struct topology_key key = {{policy_component(p->kind), p->vhost, p->name}};
    parameter_put(tw, &key, value);
    struct meta_parameter row = {
        .component = key.part[0], .vhost = p->vhost, .name = p->name, .value = value};
    if (store_is_open(tw))
        store_note(tw, meta_put_parameter(tw->meta, &row));
}

void
policy_add(struct topology_writer *tw, struct vhost_entry *e, struct policy *p)
{
    struct buf value = BUF_INIT;
    policy_put_value(&value, p);
    LV_ASSERT(!value.failed); // topology objects, as above
    store_parameter(tw, p, buf_slice(&value));
    change_list(tw, e, p->kind, policy_of(e, p->kind, p->name), p);
    buf_fini(&value);
}

static void
policy_clear(struct topology_writer *tw, struct task *task, struct vhost_entry *e, enum policy_kind kind)
{
    struct topology_request *r = &task->req;
    struct topology_key key = {{r->component, r->vhost, r->name}};
    struct policy *old = policy_of(e, kind, r->name);
    if (topology_parameter(&tw->turn.draft, r->component, r->vhost, r->name) == NULL) {
        fault_set(&r->fault, FAULT_NOT_FOUND, "Parameter does not exist");
        return;
    }
    if (!store_may_change(tw, task))
        return;
    swap_value(tw, SWAP_PARAMETER, &key, NULL);
    if (store_is_open(tw))
        store_note(tw, meta_delete_parameter(tw->meta, r->component, r->vhost, r->name));
    if (old != NULL) // otherwise it came out of the store, and was not understood
        change_list(tw, e, kind, old, NULL);
    task->is_policy_set = old != NULL;
}

// Takes over p, and `value`, which is how it is written.
static void
policy_put(struct topology_writer *tw, struct task *task, struct vhost_entry *e, struct policy *p,
           struct slice value)
{
    struct topology_request *r = &task->req;
    const struct parameter *known = topology_parameter(&tw->turn.draft, r->component, r->vhost, r->name);
    struct policy *old = policy_of(e, p->kind, r->name);
    if ((old != NULL && slice_eq(known->value, value)) || !store_may_change(tw, task)) {
        policy_free(p);
        return;
    }
    r->is_created = known == NULL;
    store_parameter(tw, p, value);
    change_list(tw, e, p->kind, old, p);
    task->is_policy_set = true;
}

void
task_policy(struct topology_writer *tw, struct task *task, enum policy_kind kind)
{
    struct topology_request *r = &task->req;
    struct vhost_entry *e = vhost_entry_find(tw, r->vhost);
    struct policy_args args = {.kind = kind, .vhost = r->vhost, .name = r->name, .json = r->text};
    struct policy *p;
    struct buf text = BUF_INIT;
    if (e == NULL || r->name.len == 0 || r->name.len > TOPOLOGY_NAME_MAX) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED,
                  "a policy is in a virtual host, and has a name of 1 to %d bytes", TOPOLOGY_NAME_MAX);
    } else if (r->change == CHANGE_PARAMETER_DELETE) {
        policy_clear(tw, task, e, kind);
    } else if (policy_new(&args, &p, &text) < 0) {
        fault_set(&r->fault, FAULT_PRECONDITION_FAILED, "%s",
                  text.len > 0 ? buf_cstr(&text) : "out of memory");
    } else {
        policy_put_value(&text, p);
        LV_ASSERT(!text.failed); // topology objects, as above
        policy_put(tw, task, e, p, buf_slice(&text));
    }
    buf_fini(&text);
}

// --- the sweep ----------------------------------------------------------------------------------------------------------------

static bool
is_at_end(const struct list *mark, const struct list *head)
{
    return mark->next == head;
}

static bool
is_walked(const struct policy_sweep *s)
{
    return is_at_end(&s->exchange_mark, &s->vhost->exchange_list) &&
           is_at_end(&s->queue_mark, &s->vhost->queue_list);
}

// A vhost that was deleted stays in memory until all have left the versions that show it.
static bool
is_vhost_gone(const struct topology_writer *tw, const struct policy_sweep *s)
{
    const struct vhost *v = topology_vhost(tw->newest, s->vhost->name);
    return v == NULL || LV_CONTAINER_OF(v, struct vhost_version, v)->entry != s->vhost;
}

static void
lap_begin(struct policy_sweep *s)
{
    list_remove(&s->exchange_mark);
    list_remove(&s->queue_mark);
    list_push_front(&s->vhost->exchange_list, &s->exchange_mark);
    list_push_front(&s->vhost->queue_list, &s->queue_mark);
}

bool
sweep_join(struct topology_writer *tw, struct task *task)
{
    const struct vhost *v = topology_vhost(tw->newest, task->req.vhost);
    task->is_policy_set = false;
    if (v == NULL)
        return false;
    struct vhost_entry *e = LV_CONTAINER_OF(v, struct vhost_version, v)->entry;
    struct policy_sweep *s = e->sweep;
    if (s != NULL) {
        list_push_back(&s->next_tasks, &task->node);
        return true;
    }
    s = mem_xalloc(sizeof *s);
    *s = (struct policy_sweep){.vhost = e};
    list_init(&s->node);
    list_init(&s->exchange_mark);
    list_init(&s->queue_mark);
    list_init(&s->lap_tasks);
    list_init(&s->next_tasks);
    e->sweep = s;
    list_push_back(&tw->sweeps, &s->node);
    list_push_back(&s->lap_tasks, &task->node);
    lap_begin(s);
    return true;
}

// One that the sweep waits for. `r`: at the queue's owner; NULL: a request to the writer itself.
static struct telling *
telling_new(struct topology_writer *tw, struct policy_sweep *s, struct queue_request *r)
{
    struct telling *t = mem_xalloc(sizeof *t);
    *t = (struct telling){.sweep = s, .request = r};
    list_init(&t->node);
    list_push_back(&tw->tellings, &t->node);
    tw->telling_count++;
    s->telling++;
    return t;
}

void
telling_done(struct topology_writer *tw, struct telling *t)
{
    struct policy_sweep *s = t->sweep;
    list_remove(&t->node);
    tw->telling_count--;
    if (--s->telling == 0 && s->vhost == NULL)
        mem_free(s);
    mem_free(t);
}

static void
told(struct queue_request *r)
{
    telling_done(worker_self->extra_state, r->ctx);
    queue_request_free(r);
}

static void
tell(struct topology_writer *tw, struct policy_sweep *s, struct queue_entry *q)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_RULES, q->def.handle);
    mem_require(r != NULL);
    r->rules = policy_queue_rules(tw, q);
    r->done = told;
    r->ctx = telling_new(tw, s, r);
    queue_request_send(r);
}

static void
visit_exchange(struct topology_writer *tw, struct policy_sweep *s, struct exchange_entry *e)
{
    if (delay_is_to_change(tw, e))
        delay_change(e, telling_new(tw, s, NULL));
    if (e->has_own_alternate)
        return;
    struct slice alternate = policy_alternate(tw, e->vhost, &e->now->x);
    if (!slice_eq(alternate, e->now->x.alternate))
        exchange_set_alternate(tw, e, alternate);
}

// Moves the mark behind its successor, which is returned.
static struct list *
pass(struct list *mark)
{
    struct list *node = mark->next;
    list_remove(mark);
    list_push_front(node, mark);
    return node;
}

// Until `steps_end`, counted in patterns tried and objects looked at.
static void
walk(struct topology_writer *tw, struct policy_sweep *s, uint64_t *looked, uint64_t steps_end)
{
    while (*looked + policy_matcher_tries(tw->matcher) < steps_end &&
           !is_at_end(&s->exchange_mark, &s->vhost->exchange_list)) {
        visit_exchange(tw, s, LV_CONTAINER_OF(pass(&s->exchange_mark), struct exchange_entry, vhost_node));
        ++*looked;
    }
    while (*looked + policy_matcher_tries(tw->matcher) < steps_end &&
           tw->telling_count < SWEEP_TELLINGS_MAX && !is_at_end(&s->queue_mark, &s->vhost->queue_list)) {
        struct queue_entry *q = LV_CONTAINER_OF(pass(&s->queue_mark), struct queue_entry, vhost_node);
        LV_ASSERT(!q->is_new);
        if (!knows_its_policies(tw, q))
            tell(tw, s, q);
        ++*looked;
    }
}

static void
sweep_end(struct policy_sweep *s)
{
    list_remove(&s->node);
    list_remove(&s->exchange_mark);
    list_remove(&s->queue_mark);
    s->vhost->sweep = NULL;
    mem_free(s);
}

// All know: those who asked for it are answered with the version of this turn.
static void
lap_end(struct topology_writer *tw, struct policy_sweep *s)
{
    for (struct list *it; (it = list_pop_front(&s->lap_tasks)) != NULL;) {
        struct task *task = LV_CONTAINER_OF(it, struct task, node);
        task->is_final = true;
        task_done(tw, task);
    }
    list_splice_back(&s->lap_tasks, &s->next_tasks);
    if (list_is_empty(&s->lap_tasks))
        sweep_end(s);
    else
        lap_begin(s);
}

bool
sweep_has_work(const struct topology_writer *tw)
{
    LV_LIST_EACH (it, &tw->sweeps) {
        const struct policy_sweep *s = LV_CONTAINER_OF(it, struct policy_sweep, node);
        if (is_walked(s) ? s->telling == 0 : tw->telling_count < SWEEP_TELLINGS_MAX)
            return true;
    }
    return false;
}

void
sweep_run(struct topology_writer *tw)
{
    uint64_t looked = 0, steps_end = policy_matcher_tries(tw->matcher) + SWEEP_STEPS_MAX;
    LV_LIST_EACH_SAFE (it, &tw->sweeps) {
        struct policy_sweep *s = LV_CONTAINER_OF(it, struct policy_sweep, node);
        bool is_gone = is_vhost_gone(tw, s);
        if (!is_gone)
            walk(tw, s, &looked, steps_end);
        if (s->telling == 0 && (is_gone || is_walked(s)))
            lap_end(tw, s);
    }
    // The next turn begins with another vhost, so that none waits for a larger one.
    if (!list_is_empty(&tw->sweeps))
        list_push_back(&tw->sweeps, list_pop_front(&tw->sweeps));
}

void
sweep_forget(struct topology_writer *tw, struct vhost_entry *e)
{
    struct policy_sweep *s = e->sweep;
    if (s == NULL)
        return;
    list_splice_back(&s->lap_tasks, &s->next_tasks);
    for (struct list *it; (it = list_pop_front(&s->lap_tasks)) != NULL;)
        topology_answer(LV_CONTAINER_OF(it, struct task, node));
    list_remove(&s->node);
    list_remove(&s->exchange_mark);
    list_remove(&s->queue_mark);
    s->vhost->sweep = NULL;
    s->vhost = NULL;
    if (s->telling == 0)
        mem_free(s);
}

void
sweeps_free(struct topology_writer *tw)
{
    for (struct list *it; (it = list_pop_front(&tw->tellings)) != NULL;) {
        struct telling *t = LV_CONTAINER_OF(it, struct telling, node);
        if (--t->sweep->telling == 0 && t->sweep->vhost == NULL)
            mem_free(t->sweep);
        queue_request_free(t->request);
        mem_free(t);
    }
    for (struct list *it; (it = list_first(&tw->sweeps)) != NULL;) {
        struct policy_sweep *s = LV_CONTAINER_OF(it, struct policy_sweep, node);
        tasks_free(&s->lap_tasks);
        tasks_free(&s->next_tasks);
        sweep_end(s);
    }
}
