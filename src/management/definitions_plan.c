// definitions_plan.c: see definitions_plan.h.
//
// 1. Of each record the identity (what it names) goes into a set; all but bindings are looked up in the topology and told.
// 2. All bindings that are there are looked up in the set and marked, those of the file that are not marked are told.
// 3. Exact: everything that is there and not in the set is told, to be deleted.
#include "src/management/definitions_plan.h"

#include <xxhash.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/broker/policy.h"

const char *const plan_verb_names[PLAN_VERBS] = {"create", "change", "conflict", "skip", "delete", "same"};

struct plan {
    const struct plan_args *args;
    const struct topology *topology;
    int (*visit)(void *ctx, const struct plan_item *item);
    void *ctx;
    XXH128_hash_t *set; // 0: free; the lowest bit is the mark
    uint64_t mask;      // slots - 1
    struct buf scratch, canonical;
    const struct vhost *vhost; // of the walk
    int error;
};

// --- the set ----------------------------------------------------------------------------------------------------------------------

static XXH128_hash_t *
slot_of(struct plan *p, const struct slice *parts, size_t count)
{
    buf_reset(&p->scratch);
    for (size_t i = 0; i < count; i++) {
        buf_append_u32be(&p->scratch, (uint32_t)parts[i].len);
        buf_append_slice(&p->scratch, parts[i]);
    }
    if (p->scratch.failed)
        p->error = -LE_NOMEM;
    XXH128_hash_t h = XXH3_128bits(p->scratch.ptr, p->scratch.len);
    h.low64 |= 2; // never 0
    h.low64 &= ~UINT64_C(1);
    uint64_t at = h.high64 & p->mask;
    while (p->set[at].low64 != 0 &&
           ((p->set[at].low64 & ~UINT64_C(1)) != h.low64 || p->set[at].high64 != h.high64))
        at = (at + 1) & p->mask;
    if (p->set[at].low64 == 0) { // not there: the caller fills it, or not
        p->set[at].high64 = h.high64;
        p->set[p->mask + 1] = h; // spare
    }
    return &p->set[at];
}

static void
set_add(struct plan *p, const struct slice *parts, size_t count)
{
    XXH128_hash_t *slot = slot_of(p, parts, count);
    if (slot->low64 == 0)
        slot->low64 = p->set[p->mask + 1].low64;
}

static bool
set_has(struct plan *p, const struct slice *parts, size_t count)
{
    return slot_of(p, parts, count)->low64 != 0;
}

#define PARTS(...)                                                                                           \
    ((const struct slice[]){__VA_ARGS__}), sizeof((const struct slice[]){__VA_ARGS__}) / sizeof(struct slice)
#define USER       SLICE_LIT("u")
#define VHOST      SLICE_LIT("v")
#define PERMISSION SLICE_LIT("p")
#define TOPIC      SLICE_LIT("t")
#define PARAMETER  SLICE_LIT("c")
#define LIMITS     SLICE_LIT("l")
#define QUEUE      SLICE_LIT("q")
#define EXCHANGE   SLICE_LIT("x")
#define BINDING    SLICE_LIT("b")

static XXH128_hash_t *
binding_slot(struct plan *p, struct slice vhost, struct slice source, bool is_queue, struct slice dest,
             struct slice key, struct slice arguments)
{
    buf_reset(&p->canonical);
    if (table_canonical(arguments, &p->canonical) != 0 || p->canonical.failed)
        p->error = p->canonical.failed ? -LE_NOMEM : p->error;
    return slot_of(
        p, PARTS(BINDING, vhost, source, is_queue ? QUEUE : EXCHANGE, dest, key, buf_slice(&p->canonical)));
}

static XXH128_hash_t *
binding_slot_of(struct plan *p, const struct topology_request *r)
{
    return binding_slot(p, r->vhost, r->name, (r->flags & CHANGE_DEST_IS_QUEUE) != 0, r->dest_name, r->key,
                        r->arguments);
}

static void
add_record(struct plan *p, const struct topology_request *r)
{
    XXH128_hash_t *slot;
    switch (r->change) {
    case CHANGE_USER_PUT: set_add(p, PARTS(USER, r->name)); break;
    case CHANGE_VHOST_PUT: set_add(p, PARTS(VHOST, r->name)); break;
    case CHANGE_VHOST_LIMITS: set_add(p, PARTS(LIMITS, r->name)); break;
    case CHANGE_PERMISSION_SET: set_add(p, PARTS(PERMISSION, r->user, r->vhost)); break;
    case CHANGE_TOPIC_PERMISSION_SET: set_add(p, PARTS(TOPIC, r->user, r->vhost, r->name)); break;
    case CHANGE_PARAMETER_PUT: set_add(p, PARTS(PARAMETER, r->component, r->vhost, r->name)); break;
    case CHANGE_QUEUE_DECLARE: set_add(p, PARTS(QUEUE, r->vhost, r->name)); break;
    case CHANGE_EXCHANGE_DECLARE: set_add(p, PARTS(EXCHANGE, r->vhost, r->name)); break;
    case CHANGE_BIND:
        slot = binding_slot_of(p, r);
        if (slot->low64 == 0)
            slot->low64 = p->set[p->mask + 1].low64;
        break;
    default: break;
    }
}

static void
tell(struct plan *p, enum plan_verb verb, const struct topology_request *r, const char *why)
{
    struct plan_item item = {.verb = verb, .request = r, .why = why};
    if (p->error == 0 && (verb == PLAN_DELETE || !p->args->is_deletions_only))
        p->error = p->visit(p->ctx, &item);
}

// --- what records come to ---------------------------------------------------------------------------------------------------------

static bool
is_limit_same(int64_t wanted, int64_t now)
{
    return wanted == INT64_MIN || wanted == now;
}

static enum plan_verb
same_or_change(bool is_same)
{
    return is_same ? PLAN_SAME : PLAN_CHANGE;
}

static enum plan_verb
verb_of_limits(const struct topology_request *r, int64_t number, int64_t number2,
               const struct rate_limit *rate, const struct content_limit *content)
{
    bool is_rate = (r->flags & CHANGE_RATE_LIMITS) != 0;
    if ((r->flags & CHANGE_CONTENT_LIMITS) != 0)
        return same_or_change(is_limit_same(r->number, content->messages) &&
                              is_limit_same(r->number2, content->memory_bytes));
    return same_or_change(is_limit_same(r->number, is_rate ? rate->messages : number) &&
                          is_limit_same(r->number2, is_rate ? rate->bytes : number2));
}

static enum plan_verb
verb_of_user(struct plan *p, const struct topology_request *r)
{
    const struct user *u = topology_user(p->topology, r->name);
    struct slice hashing = r->hashing.ptr != NULL
                               ? r->hashing
                               : definitions_default_hashing(buf_slice(&p->args->import->version));
    if (u == NULL)
        return r->change == CHANGE_USER_PUT ? PLAN_CREATE : PLAN_CHANGE;
    if (r->change == CHANGE_USER_LIMITS)
        return verb_of_limits(r, u->max_connections, u->max_channels, &u->rate, &content_unlimited);
    return same_or_change(slice_eq(u->password_hash, r->password_hash) && slice_eq(u->hashing, hashing) &&
                          slice_eq(u->tags, r->tags));
}

static enum plan_verb
verb_of_vhost(struct plan *p, const struct topology_request *r)
{
    const struct vhost *v = topology_vhost(p->topology, r->name);
    if (v == NULL)
        return r->change == CHANGE_VHOST_PUT ? PLAN_CREATE : PLAN_CHANGE;
    if (r->change == CHANGE_VHOST_LIMITS)
        return verb_of_limits(r, v->max_connections, v->max_queues, &v->rate, &v->content);
    bool is_tracing_same = (r->flags & CHANGE_TRACING_ON) != 0    ? v->is_tracing
                           : (r->flags & CHANGE_TRACING_OFF) != 0 ? !v->is_tracing
                                                                  : true;
    return same_or_change(
        is_tracing_same && (r->text.ptr == NULL || slice_eq(r->text, v->description)) &&
        ((r->flags & CHANGE_HAS_TAGS) == 0 || slice_eq(r->tags, v->tags)) &&
        (r->default_queue_type.ptr == NULL || slice_eq(r->default_queue_type, v->default_queue_type)));
}

static enum plan_verb
verb_of_permission(struct plan *p, const struct topology_request *r)
{
    if (r->change == CHANGE_PERMISSION_SET) {
        const struct permission *now = topology_permission(p->topology, r->user, r->vhost);
        return now == NULL ? PLAN_CREATE
                           : same_or_change(slice_eq(now->pattern[ACCESS_CONFIGURE], r->configure) &&
                                            slice_eq(now->pattern[ACCESS_WRITE], r->write) &&
                                            slice_eq(now->pattern[ACCESS_READ], r->read));
    }
    const struct topic_permission *now = topology_topic_permission(p->topology, r->user, r->vhost, r->name);
    return now == NULL ? PLAN_CREATE
                       : same_or_change(slice_eq(now->pattern[ACCESS_WRITE], r->write) &&
                                        slice_eq(now->pattern[ACCESS_READ], r->read));
}

// Values are the same when they are as JSON, policies when they say the same.
static enum plan_verb
verb_of_parameter(struct plan *p, const struct topology_request *r)
{
    const struct parameter *now = topology_parameter(p->topology, r->component, r->vhost, r->name);
    enum policy_kind kind;
    struct buf text = BUF_INIT, reason = BUF_INIT;
    struct slice wanted = r->text;
    struct policy *policy = NULL;
    if (now == NULL)
        return PLAN_CREATE;
    if (policy_kind_parse(r->component, &kind) &&
        policy_new(&(struct policy_args){.kind = kind, .vhost = r->vhost, .name = r->name, .json = r->text},
                   &policy, &reason) == 0) {
        policy_put_value(&text, policy);
        wanted = buf_slice(&text);
    }
    json_t *a = json_loadb((const char *)wanted.ptr, wanted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *b =
        json_loadb((const char *)now->value.ptr, now->value.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool is_same = json_equal(a, b) == 1;
    json_decref(a);
    json_decref(b);
    policy_free(policy);
    buf_fini(&text);
    buf_fini(&reason);
    return same_or_change(is_same);
}

static void
tell_queue(struct plan *p, const struct topology_request *r)
{
    const struct vhost *v = topology_vhost(p->topology, r->vhost);
    const struct queue_def *now = v != NULL ? vhost_queue(v, r->name) : NULL;
    struct queue_properties properties = {.is_durable = (r->flags & CHANGE_DURABLE) != 0,
                                          .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0};
    struct fault f;
    if (now == NULL && definitions_is_stream(r->arguments))
        tell(p, PLAN_SKIP, r, "a stream, which this broker does not have");
    else if (now == NULL)
        tell(p, PLAN_CREATE, r, NULL);
    else if ((now->flags & QUEUE_EXCLUSIVE) != 0)
        tell(p, PLAN_CONFLICT, r, "an exclusive queue of that name is there");
    else if (arguments_same_queue(now, &properties, r->arguments, &f))
        tell(p, PLAN_SAME, r, NULL);
    else
        tell(p, PLAN_CONFLICT, r, f.text);
}

static void
tell_exchange(struct plan *p, const struct topology_request *r)
{
    const struct vhost *v = topology_vhost(p->topology, r->vhost);
    const struct exchange *now = v != NULL ? vhost_exchange(v, r->name) : NULL;
    struct exchange_properties properties = {.type = r->type,
                                             .is_durable = (r->flags & CHANGE_DURABLE) != 0,
                                             .is_auto_delete = (r->flags & CHANGE_AUTO_DELETE) != 0,
                                             .is_internal = (r->flags & CHANGE_INTERNAL) != 0};
    struct fault f;
    if (definitions_is_federation(r->type))
        tell(p, PLAN_SKIP, r, "a federation link's own");
    else if (now == NULL)
        tell(p, PLAN_CREATE, r, NULL);
    else if (arguments_same_exchange(now, &properties, r->arguments, &f))
        tell(p, PLAN_SAME, r, NULL);
    else
        tell(p, PLAN_CONFLICT, r, f.text);
}

static int
take_record(void *ctx, const struct topology_request *r, uint32_t index)
{
    struct plan *p = ctx;
    add_record(p, r);
    switch (r->change) {
    case CHANGE_USER_PUT:
    case CHANGE_USER_LIMITS: tell(p, verb_of_user(p, r), r, NULL); break;
    case CHANGE_VHOST_PUT:
    case CHANGE_VHOST_LIMITS: tell(p, verb_of_vhost(p, r), r, NULL); break;
    case CHANGE_PERMISSION_SET:
    case CHANGE_TOPIC_PERMISSION_SET: tell(p, verb_of_permission(p, r), r, NULL); break;
    case CHANGE_PARAMETER_PUT: tell(p, verb_of_parameter(p, r), r, NULL); break;
    case CHANGE_QUEUE_DECLARE: tell_queue(p, r); break;
    case CHANGE_EXCHANGE_DECLARE: tell_exchange(p, r); break;
    default: break;
    }
    return p->error;
}

static bool
is_end_there(struct plan *p, const struct vhost *v, struct slice vhost, bool is_queue, struct slice name)
{
    bool is_now = v != NULL && (is_queue ? vhost_queue(v, name) != NULL : vhost_exchange(v, name) != NULL);
    return is_now || set_has(p, PARTS(is_queue ? QUEUE : EXCHANGE, vhost, name));
}

static int
take_binding(void *ctx, const struct topology_request *r, uint32_t index)
{
    struct plan *p = ctx;
    const struct vhost *v = topology_vhost(p->topology, r->vhost);
    bool is_queue = (r->flags & CHANGE_DEST_IS_QUEUE) != 0;
    bool is_marked = (binding_slot_of(p, r)->low64 & 1) != 0;
    if (is_marked)
        tell(p, PLAN_SAME, r, NULL);
    else if (is_end_there(p, v, r->vhost, false, r->name) &&
             is_end_there(p, v, r->vhost, is_queue, r->dest_name))
        tell(p, PLAN_CREATE, r, NULL);
    else
        tell(p, PLAN_SKIP, r, "its source or destination is not there");
    return p->error;
}

// --- what is there ----------------------------------------------------------------------------------------------------------------

static bool
has_section(const struct plan *p, enum definitions_section section)
{
    return (p->args->import->present & 1u << section) != 0;
}

static void
tell_deletion(struct plan *p, const struct topology_request *r)
{
    if (p->args->is_exact)
        tell(p, PLAN_DELETE, r, NULL);
}

// Marks those of the file; the others of the vhost are to go.
static bool
walk_binding(const struct binding *b, void *ctx)
{
    struct plan *p = ctx;
    bool is_queue = b->dest == BINDING_TO_QUEUE;
    XXH128_hash_t *slot =
        binding_slot(p, p->vhost->name, b->source_name, is_queue, b->dest_name, b->key, b->arguments);
    if (slot->low64 != 0)
        slot->low64 |= 1;
    else if (has_section(p, DEFINITIONS_BINDINGS) &&
             (!is_queue || (b->queue->flags & (QUEUE_EXCLUSIVE | QUEUE_DELAY)) == 0))
        tell_deletion(p, &(struct topology_request){.change = CHANGE_UNBIND,
                                                    .flags = is_queue ? (uint32_t)CHANGE_DEST_IS_QUEUE : 0,
                                                    .vhost = p->vhost->name,
                                                    .name = b->source_name,
                                                    .dest_name = b->dest_name,
                                                    .key = b->key,
                                                    .arguments = b->arguments});
    return p->error == 0;
}

static void
walk_bindings(struct plan *p)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &p->vhost->exchanges);
    for (const struct exchange *x; p->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        if (!x->is_default)
            router_each(&x->router, walk_binding, p);
    }
}

static bool
is_reserved(struct slice name)
{
    return name.len == 0 || slice_has_prefix(name, SLICE_LIT("amq."));
}

static void
walk_queues(struct plan *p)
{
    struct pmap_iter it;
    uint32_t flags = p->args->is_forced ? 0 : (uint32_t)CHANGE_IF_EMPTY | (uint32_t)CHANGE_IF_UNUSED;
    pmap_iter_init(&it, &p->vhost->queues);
    for (const struct queue_def *q; p->error == 0 && (q = pmap_iter_next(&it)) != NULL;) {
        if ((q->flags & (QUEUE_EXCLUSIVE | QUEUE_DELAY)) == 0 && !is_reserved(q->name) &&
            !set_has(p, PARTS(QUEUE, p->vhost->name, q->name)))
            tell_deletion(p, &(struct topology_request){.change = CHANGE_QUEUE_DELETE,
                                                        .flags = flags,
                                                        .vhost = p->vhost->name,
                                                        .name = q->name});
    }
}

static void
walk_exchanges(struct plan *p)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &p->vhost->exchanges);
    for (const struct exchange *x; p->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        if (!is_reserved(x->name) && !set_has(p, PARTS(EXCHANGE, p->vhost->name, x->name)))
            tell_deletion(p, &(struct topology_request){
                                 .change = CHANGE_EXCHANGE_DELETE, .vhost = p->vhost->name, .name = x->name});
    }
}

static bool
is_of_scope(const struct plan *p, struct slice vhost)
{
    const char *only = p->args->import->vhost;
    return only == NULL || slice_eq_str(vhost, only);
}

// Of vhosts that stay.
static void
walk_vhosts(struct plan *p, void (*walk)(struct plan *p))
{
    struct pmap_iter it;
    pmap_iter_init(&it, &p->topology->vhosts);
    while (p->error == 0 && (p->vhost = pmap_iter_next(&it)) != NULL) {
        bool goes = p->args->is_exact && has_section(p, DEFINITIONS_VHOSTS) &&
                    !set_has(p, PARTS(VHOST, p->vhost->name));
        if (!goes && is_of_scope(p, p->vhost->name))
            walk(p);
    }
}

static void
delete_parameters(struct plan *p)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &p->topology->parameters);
    for (const struct parameter *x; p->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        enum definitions_section section = slice_eq_str(x->component, "global")
                                               ? DEFINITIONS_GLOBAL_PARAMETERS
                                           : slice_eq_str(x->component, "policy") ? DEFINITIONS_POLICIES
                                                                                  : DEFINITIONS_PARAMETERS;
        bool is_in_scope = x->vhost.len == 0 ? p->args->import->vhost == NULL : is_of_scope(p, x->vhost);
        if (has_section(p, section) && is_in_scope &&
            !set_has(p, PARTS(PARAMETER, x->component, x->vhost, x->name)))
            tell_deletion(p, &(struct topology_request){.change = CHANGE_PARAMETER_DELETE,
                                                        .component = x->component,
                                                        .vhost = x->vhost,
                                                        .name = x->name});
    }
}

static void
delete_limits_of(struct plan *p)
{
    const struct vhost *v = p->vhost;
    bool has_limits = v->max_connections >= 0 || v->max_queues >= 0 || rate_is_limited(&v->rate) ||
                      content_is_limited(&v->content);
    if (!has_limits || set_has(p, PARTS(LIMITS, v->name)))
        return;
    struct topology_request r = {.change = CHANGE_VHOST_LIMITS, .name = v->name, .number = -1, .number2 = -1};
    tell_deletion(p, &r);
    r.flags = CHANGE_RATE_LIMITS;
    tell_deletion(p, &r);
    r.flags = CHANGE_CONTENT_LIMITS;
    tell_deletion(p, &r);
}

static void
delete_permissions(struct plan *p)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &p->topology->permissions);
    for (const struct permission *x; p->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        if (has_section(p, DEFINITIONS_PERMISSIONS) && !set_has(p, PARTS(PERMISSION, x->user, x->vhost)))
            tell_deletion(p, &(struct topology_request){
                                 .change = CHANGE_PERMISSION_CLEAR, .user = x->user, .vhost = x->vhost});
    }
    pmap_iter_init(&it, &p->topology->topic_permissions);
    for (const struct topic_permission *x; p->error == 0 && (x = pmap_iter_next(&it)) != NULL;) {
        if (has_section(p, DEFINITIONS_TOPIC_PERMISSIONS) &&
            !set_has(p, PARTS(TOPIC, x->user, x->vhost, x->exchange)))
            tell_deletion(p, &(struct topology_request){.change = CHANGE_TOPIC_PERMISSION_CLEAR,
                                                        .user = x->user,
                                                        .vhost = x->vhost,
                                                        .name = x->exchange});
    }
}

static void
delete_users_and_vhosts(struct plan *p)
{
    struct pmap_iter it;
    const char *self = p->args->import->user;
    pmap_iter_init(&it, &p->topology->vhosts);
    for (const struct vhost *v; p->error == 0 && (v = pmap_iter_next(&it)) != NULL;) {
        if (has_section(p, DEFINITIONS_VHOSTS) && !set_has(p, PARTS(VHOST, v->name)))
            tell_deletion(p, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = v->name});
    }
    pmap_iter_init(&it, &p->topology->users);
    for (const struct user *u; p->error == 0 && (u = pmap_iter_next(&it)) != NULL;) {
        if (has_section(p, DEFINITIONS_USERS) && !set_has(p, PARTS(USER, u->name)) &&
            (self == NULL || !slice_eq_str(u->name, self)))
            tell_deletion(p, &(struct topology_request){.change = CHANGE_USER_DELETE, .name = u->name});
    }
}

static void
tell_deletions(struct plan *p)
{
    if (has_section(p, DEFINITIONS_EXCHANGES))
        walk_vhosts(p, walk_exchanges);
    if (has_section(p, DEFINITIONS_QUEUES))
        walk_vhosts(p, walk_queues);
    delete_parameters(p);
    if (has_section(p, DEFINITIONS_PARAMETERS))
        walk_vhosts(p, delete_limits_of);
    if (p->args->import->vhost != NULL)
        return;
    delete_permissions(p);
    delete_users_and_vhosts(p);
}

int
definitions_plan(const struct plan_args *args, int (*visit)(void *ctx, const struct plan_item *item),
                 void *ctx)
{
    struct plan p = {.args = args, .topology = args->topology, .visit = visit, .ctx = ctx};
    uint64_t slots = 1024, records = 0;
    for (int s = 0; s < DEFINITIONS_COUNT; s++)
        records += args->import->spools[s].count;
    if (records > PLAN_ELEMENTS_MAX)
        return -LE_LIMIT;
    while (slots < 2 * records)
        slots *= 2;
    p.mask = slots - 1;
    p.set = mem_calloc(slots + 1, sizeof *p.set);
    if (p.set == NULL)
        return -LE_NOMEM;
    for (int s = 0; s < DEFINITIONS_COUNT && p.error == 0; s++)
        p.error = definitions_import_each(args->import, (enum definitions_section)s, take_record, &p);
    if (p.error == 0)
        walk_vhosts(&p, walk_bindings);
    if (p.error == 0)
        p.error = definitions_import_each(args->import, DEFINITIONS_BINDINGS, take_binding, &p);
    if (p.error == 0 && args->is_exact)
        tell_deletions(&p);
    mem_free(p.set);
    buf_fini(&p.scratch);
    buf_fini(&p.canonical);
    return p.error;
}
