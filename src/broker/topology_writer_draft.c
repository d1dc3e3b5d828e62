// topology_writer_draft.c: the version being made: copies on first change, the journal and its undoing, and what is freed later.
//
// Happy path: a request changes the draft by the functions here and in the files beside, each change leaves a journal record;
// after the commit journal_finish hands everything that is gone to the retire list of the version being made.
// Failed commit: journal_undo takes the changes back by their opposites, last first. Copies of vhosts and exchanges stay (they
// are then equal to what they were copied from), so that no node of a map is ever reached from two lines of versions.
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/broker/topology_writer.h"

void *
array_grow(void *items, size_t count, size_t *cap, size_t item_size)
{
    if (count < *cap)
        return items;
    *cap = *cap == 0 ? 16 : *cap * 2;
    return mem_xrealloc(items, *cap * item_size);
}

uint64_t
id_take(struct topology_writer *tw)
{
    if (tw->meta != NULL && tw->id_last >= tw->id_ceiling)
        return 0;
    return ++tw->id_last;
}

// --- copies -----------------------------------------------------------------------------------------------------------

struct vhost_entry *
vhost_entry_find(struct topology_writer *tw, struct slice name)
{
    const struct vhost *v = topology_vhost(&tw->turn.draft, name);
    return v == NULL ? NULL : LV_CONTAINER_OF(v, struct vhost_version, v)->entry;
}

struct vhost *
vhost_edit(struct topology_writer *tw, struct vhost_entry *e)
{
    if (e->now->turn == tw->turn.number)
        return &e->now->v;
    struct vhost_version *copy = mem_xalloc(sizeof *copy);
    *copy = *e->now;
    copy->turn = tw->turn.number;
    void *old = pmap_put(&tw->turn.draft.vhosts, &tw->turn.edit, slice_hash(e->name), topology_eq_vhost,
                         &e->name, &copy->v);
    LV_ASSERT(old == &e->now->v);
    retire(tw, RETIRED_BLOCK, e->now);
    e->now = copy;
    tw->turn.has_changed = true;
    return &copy->v;
}

static void
exchange_map(struct topology_writer *tw, struct exchange_entry *e)
{
    struct exchange *x = &e->now->x;
    struct vhost *v = vhost_edit(tw, e->vhost);
    if (pmap_put(&v->exchanges, &tw->turn.edit, slice_hash(x->name), topology_eq_exchange, &x->name, x) ==
        NULL)
        tw->exchange_count++;
    pmap_put(&v->exchanges_by_id, &tw->turn.edit, topology_hash_id(x->id), topology_eq_exchange_id, &x->id,
             x);
}

void
exchange_unmap(struct topology_writer *tw, struct exchange_entry *e)
{
    struct exchange *x = &e->now->x;
    struct vhost *v = vhost_edit(tw, e->vhost);
    void *by_name =
        pmap_remove(&v->exchanges, &tw->turn.edit, slice_hash(x->name), topology_eq_exchange, &x->name);
    void *by_id = pmap_remove(&v->exchanges_by_id, &tw->turn.edit, topology_hash_id(x->id),
                              topology_eq_exchange_id, &x->id);
    LV_ASSERT(by_name == x && by_id == x);
    list_remove(&e->vhost_node);
    tw->exchange_count--;
}

// Replaces the version of this turn too, which nobody has seen.
static struct exchange_version *
exchange_copy(struct topology_writer *tw, struct exchange_entry *e, struct slice alternate, bool is_by_policy)
{
    struct exchange_version *copy = mem_xalloc(sizeof *copy + alternate.len);
    uint8_t *at = copy->alternate;
    *copy = *e->now;
    copy->turn = tw->turn.number;
    if (is_by_policy)
        copy->x.alternate = slice_place(&at, alternate);
    retire(tw, RETIRED_BLOCK, e->now);
    e->now = copy;
    exchange_map(tw, e);
    return copy;
}

struct exchange *
exchange_edit(struct topology_writer *tw, struct exchange_entry *e)
{
    if (e->now->turn == tw->turn.number)
        return &e->now->x;
    bool is_by_policy = e->now->x.alternate.ptr == e->now->alternate;
    return &exchange_copy(tw, e, is_by_policy ? e->now->x.alternate : SLICE_EMPTY, is_by_policy)->x;
}

void
exchange_set_alternate(struct topology_writer *tw, struct exchange_entry *e, struct slice alternate)
{
    exchange_copy(tw, e, alternate, true);
}

struct exchange_entry *
exchange_entry_add(struct topology_writer *tw, const struct exchange_args *args)
{
    struct exchange_entry *e = mem_xalloc(sizeof *e + args->name.len + args->arguments.len + args->user.len);
    struct exchange_version *version = mem_xalloc(sizeof *version);
    uint8_t *at = (uint8_t *)(e + 1);
    *e = (struct exchange_entry){.now = version, .vhost = args->vhost};
    list_init(&e->incoming);
    list_init(&e->vhost_node);
    *version = (struct exchange_version){
        .turn = tw->turn.number,
        .x =
            {
                .id = args->id,
                .type = args->type,
                .is_durable = args->is_durable,
                .is_auto_delete = args->is_auto_delete,
                .is_internal = args->is_internal,
                .is_default = args->name.len == 0,
                .name = slice_place(&at, args->name),
                .vhost = args->vhost->name,
                .arguments = slice_place(&at, args->arguments),
                .user = slice_place(&at, args->user),
                .owner = e,
            },
    };
    struct exchange *x = &version->x;
    struct fault fault = {0};
    if (!arguments_check_exchange(x->vhost, x->name, x->arguments, &x->alternate, &fault)) {
        // Only rows of the store come here unchecked.
        log_warn(LOG_DEFAULT, "exchange '%.*s' in vhost '%.*s': %s: ignoring its alternate exchange",
                 SLICE_FMT(x->name), SLICE_FMT(x->vhost), fault.text);
        x->alternate = SLICE_EMPTY;
    }
    enum exchange_type router = arguments_router_type(args->type, x->arguments);
    if (router == EXCHANGE_CONSISTENT_HASH)
        (void)hash_on_parse(x->arguments, &x->hash_on); // checked where it came in
    e->has_own_alternate = x->alternate.len > 0;
    x->is_delayed = args->type == EXCHANGE_DELAYED || policy_delays(tw, e->vhost, x);
    router_init(&x->router, router);
    exchange_map(tw, e);
    list_push_back(&args->vhost->exchange_list, &e->vhost_node);
    struct slice alternate = e->has_own_alternate ? SLICE_EMPTY : policy_alternate(tw, e->vhost, x);
    if (alternate.len > 0)
        exchange_set_alternate(tw, e, alternate);
    journal_add(tw, JOURNAL_EXCHANGE_NEW, e, NULL);
    return e;
}

static void
free_object(struct topology_writer *tw, enum retired_kind kind, void *object)
{
    switch (kind) {
    case RETIRED_BLOCK: mem_free(object); break;
    case RETIRED_VHOST: vhost_entry_free(tw, object); break;
    case RETIRED_EXCHANGE: exchange_entry_free(object); break;
    case RETIRED_QUEUE: queue_entry_free(tw, object); break;
    case RETIRED_BINDING: binding_free(object); break;
    case RETIRED_PERMISSION: permission_free(object); break;
    case RETIRED_POLICY: policy_free(object); break;
    case RETIRED_TOPIC_PERMISSION: topic_permission_free(object); break;
    }
}

// --- plain maps -------------------------------------------------------------------------------------------------------

static struct topology_key
key_of_user(const void *value)
{
    return (struct topology_key){{((const struct user *)value)->name}};
}

static struct topology_key
key_of_permission(const void *value)
{
    const struct permission *p = value;
    return (struct topology_key){{p->user, p->vhost}};
}

static struct topology_key
key_of_topic_permission(const void *value)
{
    const struct topic_permission *p = value;
    return (struct topology_key){{p->user, p->vhost, p->exchange}};
}

static struct topology_key
key_of_parameter(const void *value)
{
    const struct parameter *p = value;
    return (struct topology_key){{p->component, p->vhost, p->name}};
}

static uint64_t
hash_user(const struct topology_key *key)
{
    return slice_hash(key->part[0]);
}

static const struct swap_kind {
    size_t map; // offset in struct topology
    uint64_t (*hash)(const struct topology_key *key);
    pmap_eq_fn eq;
    struct topology_key (*key_of)(const void *value);
    enum retired_kind retired;
    bool is_auth;
} swap_kinds[SWAP_COUNT] = {
    [SWAP_USER] = {offsetof(struct topology, users), hash_user, topology_eq_user, key_of_user, RETIRED_BLOCK,
                   true},
    [SWAP_PERMISSION] = {offsetof(struct topology, permissions), topology_hash_key, topology_eq_permission,
                         key_of_permission, RETIRED_PERMISSION, true},
    [SWAP_TOPIC_PERMISSION] = {offsetof(struct topology, topic_permissions), topology_hash_key,
                               topology_eq_topic_permission, key_of_topic_permission,
                               RETIRED_TOPIC_PERMISSION, true},
    [SWAP_PARAMETER] = {offsetof(struct topology, parameters), topology_hash_key, topology_eq_parameter,
                        key_of_parameter, RETIRED_BLOCK, false},
};

struct pmap *
swap_map_of(struct topology *t, enum swap_map map)
{
    return (struct pmap *)(void *)((char *)t + swap_kinds[map].map);
}

// A struct topology_key begins with part[0], which is all that topology_eq_user looks at.
static_assert(offsetof(struct topology_key, part) == 0, "a user's key is its first part");

void
swap_map_free(struct topology_writer *tw, struct topology *t, enum swap_map map, struct pmap_edit *edit)
{
    struct pmap *m = swap_map_of(t, map);
    struct pmap_iter it;
    pmap_iter_init(&it, m);
    for (void *value; (value = pmap_iter_next(&it)) != NULL;)
        free_object(tw, swap_kinds[map].retired, value);
    pmap_clear(m, edit);
}

struct topology_key
swap_key_of(enum swap_map map, const void *value)
{
    return swap_kinds[map].key_of(value);
}

static void *
swap_raw(struct topology_writer *tw, enum swap_map map, const struct topology_key *key, void *value)
{
    const struct swap_kind *k = &swap_kinds[map];
    struct pmap *m = swap_map_of(&tw->turn.draft, map);
    tw->turn.has_changed = true;
    tw->turn.has_auth_changed |= k->is_auth;
    if (value == NULL)
        return pmap_remove(m, &tw->turn.edit, k->hash(key), k->eq, key);
    return pmap_put(m, &tw->turn.edit, k->hash(key), k->eq, key, value);
}

void
swap_value(struct topology_writer *tw, enum swap_map map, const struct topology_key *key, void *value)
{
    void *old = swap_raw(tw, map, key, value);
    if (value == NULL && old == NULL)
        return;
    journal_add(tw, JOURNAL_SWAP, value, old);
    tw->turn.journal.records[tw->turn.journal.count - 1].map = map;
}

// --- the journal ------------------------------------------------------------------------------------------------------

void
journal_add(struct topology_writer *tw, enum journal_kind kind, void *a, void *b)
{
    struct journal *j = &tw->turn.journal;
    j->records = array_grow(j->records, j->count, &j->cap, sizeof *j->records);
    j->records[j->count++] = (struct journal_record){.user = tw->turn.user, .kind = kind, .a = a, .b = b};
    tw->turn.has_changed = true;
}

static void
undo_swap(struct topology_writer *tw, const struct journal_record *r)
{
    struct topology_key key = swap_kinds[r->map].key_of(r->a != NULL ? r->a : r->b);
    void *there = swap_raw(tw, r->map, &key, r->b);
    LV_ASSERT(there == r->a);
    if (r->a != NULL)
        free_object(tw, swap_kinds[r->map].retired, r->a);
}

static void
undo_vhost_new(struct topology_writer *tw, struct vhost_entry *e)
{
    void *there =
        pmap_remove(&tw->turn.draft.vhosts, &tw->turn.edit, slice_hash(e->name), topology_eq_vhost, &e->name);
    LV_ASSERT(there == &e->now->v && e->now->v.queues.count == 0 && e->now->v.delay_queues.count == 0);
    vhost_entry_free(tw, e);
}

static void
undo_vhost_setting(struct topology_writer *tw, struct vhost_entry *e, struct vhost_settings *old)
{
    mem_free(e->settings);
    e->settings = old;
    vhost_apply_settings(vhost_edit(tw, e), old);
}

static bool
relink_binding(const struct binding *b, void *ctx)
{
    struct binding *own = (struct binding *)(uintptr_t)b;
    list_push_back(binding_dest_list(ctx, b), &own->dest_node);
    return true;
}

static void
undo_exchange_gone(struct topology_writer *tw, struct exchange_entry *e)
{
    exchange_map(tw, e);
    list_push_back(&e->vhost->exchange_list, &e->vhost_node);
    router_each(&e->now->x.router, relink_binding, e->vhost);
}

static void
undo_queue_new(struct topology_writer *tw, struct queue_entry *q)
{
    LV_ASSERT(list_is_empty(&q->bindings));
    queue_unmap(tw, vhost_edit(tw, q->vhost), q);
    if (q->delays != NULL)
        delay_queue_gone(tw, q);
    queue_entry_unlink(tw, q);
    queue_entry_free(tw, q);
}

static void
undo_bound(struct topology_writer *tw, struct exchange_entry *source, struct binding *b)
{
    const struct binding *there = router_unbind(&exchange_edit(tw, source)->router, &tw->turn.edit, b);
    LV_ASSERT(there == b);
    list_remove(&b->dest_node);
    binding_free(b);
}

static void
undo_unbound(struct topology_writer *tw, struct exchange_entry *source, struct binding *b)
{
    bool is_new = router_bind(&exchange_edit(tw, source)->router, &tw->turn.edit, b);
    LV_ASSERT(is_new);
    list_push_back(binding_dest_list(source->vhost, b), &b->dest_node);
}

static void
undo_record(struct topology_writer *tw, const struct journal_record *r)
{
    switch (r->kind) {
    case JOURNAL_SWAP: undo_swap(tw, r); break;
    case JOURNAL_VHOST_NEW: undo_vhost_new(tw, r->a); break;
    case JOURNAL_VHOST_GONE: {
        struct vhost_entry *e = r->a;
        pmap_put(&tw->turn.draft.vhosts, &tw->turn.edit, slice_hash(e->name), topology_eq_vhost, &e->name,
                 &e->now->v);
        tw->exchange_count += (int64_t)e->now->v.exchanges.count;
        break;
    }
    case JOURNAL_VHOST_SETTING: undo_vhost_setting(tw, r->a, r->b); break;
    case JOURNAL_EXCHANGE_NEW:
        exchange_unmap(tw, r->a);
        exchange_entry_free(r->a);
        break;
    case JOURNAL_EXCHANGE_GONE: undo_exchange_gone(tw, r->a); break;
    case JOURNAL_QUEUE_NEW: undo_queue_new(tw, r->a); break;
    case JOURNAL_BOUND: undo_bound(tw, r->a, r->b); break;
    case JOURNAL_UNBOUND: undo_unbound(tw, r->a, r->b); break;
    case JOURNAL_POLICY: policy_undo(tw, r->a, r->b); break;
    case JOURNAL_QUEUE_GONE:
    case JOURNAL_KIND_COUNT: lv_assert_failed("a record that can be undone", __FILE__, __LINE__, __func__);
    }
}

void
journal_undo(struct topology_writer *tw, size_t down_to)
{
    struct journal *j = &tw->turn.journal;
    LV_ASSERT(down_to <= j->count);
    while (j->count > down_to) {
        struct journal_record r = j->records[--j->count];
        undo_record(tw, &r);
    }
}

void
journal_finish(struct topology_writer *tw)
{
    struct journal *j = &tw->turn.journal;
    bool are_heard = events_are_heard(tw);
    for (size_t i = 0; i < j->count; i++) {
        const struct journal_record *r = &j->records[i];
        if (LV_UNLIKELY(are_heard))
            event_of_change(tw, r);
        switch (r->kind) {
        case JOURNAL_SWAP:
            if (r->b != NULL)
                retire(tw, swap_kinds[r->map].retired, r->b);
            break;
        case JOURNAL_VHOST_GONE: retire(tw, RETIRED_VHOST, r->a); break;
        case JOURNAL_VHOST_SETTING: retire(tw, RETIRED_BLOCK, r->b); break;
        case JOURNAL_EXCHANGE_GONE:
            delay_exchange_gone(tw, r->a);
            retire(tw, RETIRED_EXCHANGE, r->a);
            break;
        case JOURNAL_QUEUE_GONE: retire(tw, RETIRED_QUEUE, r->a); break;
        case JOURNAL_UNBOUND: retire(tw, RETIRED_BINDING, r->b); break;
        case JOURNAL_POLICY: policy_finish(tw, r->b); break;
        case JOURNAL_VHOST_NEW:
        case JOURNAL_EXCHANGE_NEW:
        case JOURNAL_QUEUE_NEW:
        case JOURNAL_BOUND:
        case JOURNAL_KIND_COUNT: break;
        }
    }
    j->count = 0;
}

// --- freeing ----------------------------------------------------------------------------------------------------------

void
retire(struct topology_writer *tw, enum retired_kind kind, void *object)
{
    struct retire_list *l = &tw->turn.retired;
    l->items = array_grow(l->items, l->count, &l->cap, sizeof *l->items);
    l->items[l->count++] = (struct retired_item){kind, object};
}

void
retire_list_free(struct topology_writer *tw, struct retire_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        free_object(tw, l->items[i].kind, l->items[i].object);
    mem_free(l->items);
    *l = (struct retire_list){0};
}

struct binding_array {
    const struct binding **items;
    size_t count, cap;
};

static bool
collect_binding(const struct binding *b, void *ctx)
{
    struct binding_array *a = ctx;
    a->items = array_grow((void *)a->items, a->count, &a->cap, sizeof *a->items);
    a->items[a->count++] = b;
    return true;
}

void
exchange_entry_free(struct exchange_entry *e)
{
    struct binding_array bindings = {0};
    struct pmap_edit edit;
    router_each(&e->now->x.router, collect_binding, &bindings);
    pmap_edit_begin(&edit);
    router_clear(&e->now->x.router, &edit);
    pmap_retired_free(pmap_edit_end(&edit));
    for (size_t i = 0; i < bindings.count; i++)
        binding_free((struct binding *)(uintptr_t)bindings.items[i]);
    mem_free((void *)bindings.items);
    list_remove(&e->vhost_node);
    mem_free(e->now);
    mem_free(e);
}

void
vhost_entry_free(struct topology_writer *tw, struct vhost_entry *e)
{
    struct vhost *v = &e->now->v;
    struct pmap_edit edit;
    struct pmap_iter it;
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        exchange_entry_free(exchange_entry_of(x));
    pmap_edit_begin(&edit);
    pmap_clear(&v->exchanges, &edit);
    pmap_clear(&v->exchanges_by_id, &edit);
    pmap_clear(&v->queues, &edit);
    pmap_clear(&v->delay_queues, &edit);
    pmap_retired_free(pmap_edit_end(&edit));
    group_free(e->deleting);
    sweep_forget(tw, e);
    policy_lists_free(e);
    mem_free(e->settings);
    mem_free(e->now);
    mem_free(e);
}
