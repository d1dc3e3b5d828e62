// topology.c: reading topology versions, adoption at the start of a turn, and requests to the writer.
//
// Adoption: the writer stores `published` (release); a reader loads it (acquire) in PHASE_ADOPT, keeps the pointer for the whole
// turn and stores the version number it adopted (release), which the writer loads (acquire) before it answers requests and frees
// what older versions alone reached. All reads of the older version come before that store, so no reader needs a lock.
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/queue_settings.h"
#include "src/broker/topology_writer.h"

// --- keys -------------------------------------------------------------------------------------------------------------

uint64_t
topology_hash_id(uint64_t id)
{
    // Ids are small consecutive numbers, the map wants all bits: the finalizer of splitmix64.
    uint64_t h = id;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

uint64_t
topology_hash_key(const struct topology_key *key)
{
    uint64_t h = slice_hash(key->part[0]);
    h = slice_hash_more(key->part[1], h);
    return slice_hash_more(key->part[2], h);
}

bool
topology_eq_vhost(const void *value, const void *key)
{
    return slice_eq(((const struct vhost *)value)->name, *(const struct slice *)key);
}

bool
topology_eq_user(const void *value, const void *key)
{
    return slice_eq(((const struct user *)value)->name, *(const struct slice *)key);
}

bool
topology_eq_exchange(const void *value, const void *key)
{
    return slice_eq(((const struct exchange *)value)->name, *(const struct slice *)key);
}

bool
topology_eq_exchange_id(const void *value, const void *key)
{
    return ((const struct exchange *)value)->id == *(const uint64_t *)key;
}

bool
topology_eq_queue_id(const void *value, const void *key)
{
    return ((const struct queue_def *)value)->id == *(const uint64_t *)key;
}

bool
topology_eq_queue(const void *value, const void *key)
{
    return slice_eq(((const struct queue_def *)value)->name, *(const struct slice *)key);
}

bool
topology_eq_permission(const void *value, const void *key)
{
    const struct permission *p = value;
    const struct topology_key *k = key;
    return slice_eq(p->user, k->part[0]) && slice_eq(p->vhost, k->part[1]);
}

bool
topology_eq_topic_permission(const void *value, const void *key)
{
    const struct topic_permission *p = value;
    const struct topology_key *k = key;
    return slice_eq(p->user, k->part[0]) && slice_eq(p->vhost, k->part[1]) &&
           slice_eq(p->exchange, k->part[2]);
}

bool
topology_eq_parameter(const void *value, const void *key)
{
    const struct parameter *p = value;
    const struct topology_key *k = key;
    return slice_eq(p->component, k->part[0]) && slice_eq(p->vhost, k->part[1]) &&
           slice_eq(p->name, k->part[2]);
}

// --- reading ----------------------------------------------------------------------------------------------------------

struct topology_writer *
topology_writer_of(const struct crew *crew)
{
    return crew->members[crew->n_workers + CREW_TOPOLOGY]->extra_state;
}

void
topology_queue_churn(const struct crew *crew, uint64_t *ret_made, uint64_t *ret_gone)
{
    const struct topology_writer *tw = topology_writer_of(crew);
    *ret_made = atomic_load_explicit(&tw->queues_made, memory_order_relaxed);
    *ret_gone = atomic_load_explicit(&tw->queues_gone, memory_order_relaxed);
}

const struct topology *
topology_of(struct worker *w)
{
    const struct topology *t = topology_writer_of(w->crew)->readers[w->index].now;
    LV_ASSERT_HOT(worker_self == w && t != NULL);
    return t;
}

const struct vhost *
topology_vhost(const struct topology *t, struct slice name)
{
    return pmap_find(&t->vhosts, slice_hash(name), topology_eq_vhost, &name);
}

const struct user *
topology_user(const struct topology *t, struct slice name)
{
    return pmap_find(&t->users, slice_hash(name), topology_eq_user, &name);
}

const struct permission *
topology_permission(const struct topology *t, struct slice user, struct slice vhost)
{
    struct topology_key key = {{user, vhost}};
    return pmap_find(&t->permissions, topology_hash_key(&key), topology_eq_permission, &key);
}

const struct topic_permission *
topology_topic_permission(const struct topology *t, struct slice user, struct slice vhost,
                          struct slice exchange)
{
    struct topology_key key = {{user, vhost, exchange}};
    return pmap_find(&t->topic_permissions, topology_hash_key(&key), topology_eq_topic_permission, &key);
}

const struct parameter *
topology_parameter(const struct topology *t, struct slice component, struct slice vhost, struct slice name)
{
    struct topology_key key = {{component, vhost, name}};
    return pmap_find(&t->parameters, topology_hash_key(&key), topology_eq_parameter, &key);
}

const struct exchange *
vhost_exchange(const struct vhost *v, struct slice name)
{
    return pmap_find(&v->exchanges, slice_hash(name), topology_eq_exchange, &name);
}

const struct exchange *
vhost_exchange_by_id(const struct vhost *v, uint64_t id)
{
    return pmap_find(&v->exchanges_by_id, topology_hash_id(id), topology_eq_exchange_id, &id);
}

const struct queue_def *
vhost_queue(const struct vhost *v, struct slice name)
{
    return pmap_find(&v->queues, slice_hash(name), topology_eq_queue, &name);
}

static const struct exchange *
graph_exchange_by_id(const void *graph, uint64_t id)
{
    return vhost_exchange_by_id(graph, id);
}

static const struct exchange *
graph_exchange_by_name(const void *graph, struct slice name)
{
    return vhost_exchange(graph, name);
}

static const struct queue_def *
graph_queue_by_name(const void *graph, struct slice name)
{
    return vhost_queue(graph, name);
}

struct route_graph
vhost_route_graph(const struct vhost *v)
{
    return (struct route_graph){
        .graph = v,
        .exchange_by_id = graph_exchange_by_id,
        .exchange_by_name = graph_exchange_by_name,
        .queue_by_name = graph_queue_by_name,
    };
}

struct policy_pair
vhost_queue_policies(const struct vhost *v, struct policy_matcher *m, const struct queue_def *def)
{
    return policy_match(v->policies, m, queue_settings_object(def), def->name);
}

struct policy_pair
vhost_exchange_policies(const struct vhost *v, struct policy_matcher *m, const struct exchange *x)
{
    return policy_match(v->policies, m, POLICY_EXCHANGE, x->name);
}

// --- adoption ---------------------------------------------------------------------------------------------------------

static bool
adopt_hook(struct worker *w, void *ctx)
{
    struct topology_writer *tw = ctx;
    struct topology_reader *r = &tw->readers[w->index];
    const struct topology *t = atomic_load_explicit(&tw->published, memory_order_acquire);
    if (LV_LIKELY(t == r->now))
        return false;
    r->now = t;
    atomic_store_explicit(&r->adopted, t->version, memory_order_release);
    ev_async_send(tw->worker->loop, &tw->worker->wake);
    return false;
}

void
topology_worker_init(struct worker *w)
{
    struct topology_writer *tw = topology_writer_of(w->crew);
    LV_ASSERT(tw != NULL && tw->worker != w);
    struct topology_reader *r = &tw->readers[w->index];
    LV_ASSERT(!r->is_reader);
    r->is_reader = true;
    r->now = atomic_load_explicit(&tw->published, memory_order_acquire);
    atomic_store_explicit(&r->adopted, r->now->version, memory_order_release);
    atomic_store_explicit(&r->pinned, UINT64_MAX, memory_order_release);
    worker_add_hook(w, PHASE_ADOPT, adopt_hook, tw);
}

// The writer reads `adopted` first: what a member pins before it adopts a newer version is seen by then.
static void
publish_pins(struct topology_reader *r)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < TOPOLOGY_PINS_MAX; i++) {
        if (r->pins[i] != NULL && r->pins[i]->version < oldest)
            oldest = r->pins[i]->version;
    }
    atomic_store_explicit(&r->pinned, oldest, memory_order_release);
}

const struct topology *
topology_pin(struct worker *w)
{
    LV_ON_WORKER(w);
    struct topology_reader *r = &topology_writer_of(w->crew)->readers[w->index];
    for (size_t i = 0; i < TOPOLOGY_PINS_MAX; i++) {
        if (r->pins[i] != NULL)
            continue;
        r->pins[i] = r->now;
        publish_pins(r);
        return r->now;
    }
    return NULL;
}

void
topology_unpin(struct worker *w, const struct topology *t)
{
    LV_ON_WORKER(w);
    struct topology_writer *tw = topology_writer_of(w->crew);
    struct topology_reader *r = &tw->readers[w->index];
    size_t i = 0;
    while (i < TOPOLOGY_PINS_MAX && r->pins[i] != t)
        i++;
    LV_ASSERT(i < TOPOLOGY_PINS_MAX);
    r->pins[i] = NULL;
    publish_pins(r);
    ev_async_send(tw->worker->loop, &tw->worker->wake);
}

// --- requests ---------------------------------------------------------------------------------------------------------

// Every slice of a request, so that none is forgotten in the copy.
static const size_t slice_offsets[] = {
    offsetof(struct topology_request, vhost),     offsetof(struct topology_request, name),
    offsetof(struct topology_request, dest_name), offsetof(struct topology_request, key),
    offsetof(struct topology_request, arguments), offsetof(struct topology_request, type),
    offsetof(struct topology_request, user),      offsetof(struct topology_request, text),
    offsetof(struct topology_request, tags),      offsetof(struct topology_request, component),
    offsetof(struct topology_request, configure), offsetof(struct topology_request, write),
    offsetof(struct topology_request, read),      offsetof(struct topology_request, password_hash),
    offsetof(struct topology_request, hashing),   offsetof(struct topology_request, default_queue_type),
};

static struct slice *
request_slice(struct topology_request *r, size_t i)
{
    return (struct slice *)(void *)((char *)r + slice_offsets[i]);
}

struct topology_request *
topology_request_new(const struct topology_request *args)
{
    struct topology_request copy = *args;
    size_t size = sizeof(struct task);
    for (size_t i = 0; i < LV_ARRAY_LEN(slice_offsets); i++) {
        if (__builtin_add_overflow(size, request_slice(&copy, i)->len, &size))
            return NULL;
    }
    struct task *task = mem_alloc(size);
    if (task == NULL)
        return NULL;
    uint8_t *at = task->bytes;
    for (size_t i = 0; i < LV_ARRAY_LEN(slice_offsets); i++) {
        struct slice *s = request_slice(&copy, i);
        if (s->ptr == NULL)
            continue; // stays NULL: "not given" is not "empty"
        if (s->len > 0)
            memcpy(at, s->ptr, s->len);
        s->ptr = at;
        at += s->len;
    }
    *task = (struct task){.req = copy};
    list_init(&task->node);
    list_init(&task->conn_node);
    return &task->req;
}

void
topology_request_free(struct topology_request *r)
{
    if (r == NULL)
        return;
    struct task *task = LV_CONTAINER_OF(r, struct task, req);
    LV_ASSERT(!list_is_linked(&task->node) && !list_is_linked(&task->conn_node));
    mem_free(task);
}

struct task_mail {
    struct task *task;
};

static void
request_arrived(struct worker *to, void *payload)
{
    struct topology_writer *tw = to->extra_state;
    list_push_back(&tw->inbox, &((struct task_mail *)payload)->task->node);
}

void
topology_submit(struct topology_request *r)
{
    struct worker *self = worker_self;
    LV_ASSERT(self != NULL && r->done != NULL);
    r->requester = self;
    r->fault.code = FAULT_NONE;
    struct task_mail mail = {LV_CONTAINER_OF(r, struct task, req)};
    worker_post(crew_extra_member(self->crew, CREW_TOPOLOGY), request_arrived, &mail, sizeof mail, 0);
}

static void
answer_arrived(struct worker *to, void *payload)
{
    struct topology_request *r = &((struct task_mail *)payload)->task->req;
    LV_ASSERT_HOT(r->requester == to);
    r->done(r);
}

static void
answer_drop(void *payload)
{
    topology_request_free(&((struct task_mail *)payload)->task->req);
}

void
topology_answers_drop(struct topology_writer *tw)
{
    for (int i = 0; i < tw->crew->n_members; i++)
        mailbox_discard(tw->worker->out[i], answer_arrived, answer_drop);
}

void
topology_answer(struct task *task)
{
    struct task_mail mail = {task};
    worker_post(task->req.requester, answer_arrived, &mail, sizeof mail, 0);
}

struct unused_mail {
    struct queue_entry *queue;
};

static void
unused_arrived(struct worker *to, void *payload)
{
    deletion_want_unused(to->extra_state, ((struct unused_mail *)payload)->queue);
}

void
topology_queue_unused(struct worker *owner, const struct queue_def *def)
{
    LV_ON_WORKER(owner);
    LV_ASSERT(handle_worker(def->handle) == (unsigned)owner->index);
    // The pointer stays good: the writer frees the entry only after the owner's answer to a delete, which comes behind this
    // mail in the same ring.
    struct unused_mail mail = {queue_entry_of(def)};
    worker_post(crew_extra_member(owner->crew, CREW_TOPOLOGY), unused_arrived, &mail, sizeof mail, 0);
}
