// headers.c: headers exchanges: the bindings in groups, so that a message is compared with few of them.
//
// A rule can match a message only if certain things are in its headers. Such a thing, an anchor, is the hash
// of a key with a value, or of a key alone (void). `by_key` maps anchors to groups of bindings:
//   - all …: in the group of one of its entries: the one that is smallest when the binding comes (of the
//     first ANCHORS_MAX), so that among 100,000 rules {type: order, customer: N} each is found by its
//     customer.
//   - any … with at most ANCHORS_MAX entries: in the group of each. It is reported in the group of the entry
//     that decided the match, hence once.
//   - all others (no entry at all; an any with many) in the group ANCHOR_SCAN, which every message is
//     compared with.
// A message visits ANCHOR_SCAN and the groups of its headers (two for each), and walks through each
// candidate's rule. Hashes are only a hint: two things with one anchor share a group. Groups know their
// anchor, not what it stands for.
#include "exchange/header_rule.h"
#include "src/base/mem.h"

#include <stdlib.h>

// LIMIT: entries of a rule that are considered for groups. Bounds the memory of a binding and the cost of a
// bind.
#define ANCHORS_MAX 4

enum { ANCHOR_SCAN = 1, SORT_INSERTION_MAX = 16, HEADERS_CAP_FIRST = 32 };

struct headers_group {
    uint64_t edit_id; // first: see pmap_edit_retire. The edit that may change it in place
    uint64_t anchor;
    struct pset bindings;
};

struct anchors {
    uint64_t items[ANCHORS_MAX]; // distinct
    size_t count;
    bool is_each; // the binding is in all the groups; otherwise in one of them
};

// --- anchors ---

static uint64_t
anchor_of_key(const struct header_item *h)
{
    uint64_t anchor = slice_hash(h->key);
    return anchor > ANCHOR_SCAN ? anchor : anchor + 2;
}

static uint64_t
anchor_of_value(const struct header_item *h)
{
    uint64_t anchor = header_value_hash(&h->value, slice_hash(h->key));
    return anchor > ANCHOR_SCAN ? anchor : anchor + 2;
}

static uint64_t
anchor_of_entry(const struct header_item *h)
{
    return h->value.type == FIELD_VOID ? anchor_of_key(h) : anchor_of_value(h);
}

static void
anchors_add(struct anchors *a, uint64_t anchor)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->items[i] == anchor)
            return;
    }
    a->items[a->count++] = anchor;
}

static struct anchors
anchors_of(const struct binding *b)
{
    struct anchors ret = {.count = 0};
    struct header_rule rule = header_rule_of(b);
    ret.is_each = header_mode_is_any(rule.mode);
    struct header_item entry;
    while (header_rule_next(&rule, &entry)) {
        if (ret.count == ANCHORS_MAX) {
            if (!ret.is_each)
                break;
            ret.count = 0;
            break;
        }
        anchors_add(&ret, anchor_of_entry(&entry));
    }
    if (ret.count == 0)
        anchors_add(&ret, ANCHOR_SCAN);
    return ret;
}

// --- groups ---

static bool
group_eq(const void *value, const void *key)
{
    return ((const struct headers_group *)value)->anchor == *(const uint64_t *)key;
}

static struct headers_group *
group_find(const struct router *r, uint64_t anchor)
{
    return pmap_find(&r->by_key, anchor, group_eq, &anchor);
}

// The group in memory that this edit may change; made when there is none.
static struct headers_group *
group_edit(struct router *r, struct pmap_edit *e, uint64_t anchor)
{
    struct headers_group *old = group_find(r, anchor);
    if (old != NULL && old->edit_id == e->id)
        return old;
    struct headers_group *group = mem_xalloc(sizeof *group);
    *group = (struct headers_group){e->id, anchor, old == NULL ? (struct pset){0} : old->bindings};
    pmap_put(&r->by_key, e, anchor, group_eq, &anchor, group);
    if (old != NULL)
        pmap_edit_retire(e, old);
    return group;
}

static void
group_add(struct router *r, struct pmap_edit *e, uint64_t anchor, const struct binding *b)
{
    pset_put(&group_edit(r, e, anchor)->bindings, &binding_pset_type, e, b, (void *)b);
}

static const struct binding *
group_remove(struct router *r, struct pmap_edit *e, uint64_t anchor, const struct binding *b)
{
    struct headers_group *group = group_find(r, anchor);
    if (group == NULL || pset_find(group->bindings, &binding_pset_type, b) == NULL)
        return NULL;
    if (pset_count(group->bindings) == 1) {
        const struct binding *only = pset_any(group->bindings);
        pmap_remove(&r->by_key, e, anchor, group_eq, &anchor);
        pmap_edit_retire(e, group);
        return only;
    }
    return pset_remove(&group_edit(r, e, anchor)->bindings, &binding_pset_type, e, b);
}

static uint64_t
group_count(const struct router *r, uint64_t anchor)
{
    struct headers_group *group = group_find(r, anchor);
    return group == NULL ? 0 : pset_count(group->bindings);
}

// --- changes ---

bool
headers_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    struct anchors anchors = anchors_of(b);
    uint64_t best = anchors.items[0], best_count = UINT64_MAX;
    for (size_t i = 0; i < anchors.count; i++) {
        struct headers_group *group = group_find(r, anchors.items[i]);
        if (group != NULL && pset_find(group->bindings, &binding_pset_type, b) != NULL)
            return false;
        uint64_t count = group_count(r, anchors.items[i]);
        if (count < best_count) {
            best = anchors.items[i];
            best_count = count;
        }
    }
    if (!anchors.is_each) {
        group_add(r, e, best, b);
        return true;
    }
    for (size_t i = 0; i < anchors.count; i++)
        group_add(r, e, anchors.items[i], b);
    return true;
}

const struct binding *
headers_unbind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    struct anchors anchors = anchors_of(b);
    const struct binding *removed = NULL;
    for (size_t i = 0; i < anchors.count && (removed == NULL || anchors.is_each); i++) {
        const struct binding *here = group_remove(r, e, anchors.items[i], b);
        LV_ASSERT(removed == NULL || here == removed);
        removed = here;
    }
    return removed;
}

void
headers_clear(struct router *r, struct pmap_edit *e)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &r->by_key);
    for (struct headers_group *group; (group = pmap_iter_next(&it)) != NULL;) {
        struct pset bindings = group->bindings;
        pset_clear(&bindings, e);
        pmap_edit_retire(e, group);
    }
    pmap_clear(&r->by_key, e);
}

struct group_each_call {
    uint64_t anchor;
    pmap_visit_fn visit;
    void *ctx;
};

static bool
group_each(void *value, void *ctx)
{
    const struct group_each_call *call = ctx;
    struct anchors anchors = anchors_of(value);
    if (anchors.is_each && anchors.items[0] != call->anchor)
        return true; // shown in the first of its groups
    return call->visit(value, call->ctx);
}

bool
headers_each(const struct router *r, pmap_visit_fn visit, void *ctx)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &r->by_key);
    for (struct headers_group *group; (group = pmap_iter_next(&it)) != NULL;) {
        struct group_each_call call = {group->anchor, visit, ctx};
        if (!pset_each(group->bindings, group_each, &call))
            return false;
    }
    return true;
}

// --- matching ---

// Entries of one key stay in the order in which they came: their keys lie one behind the other in the
// message.
static int
header_cmp(const void *a, const void *b)
{
    const struct header_item *x = a, *y = b;
    int order = slice_cmp(x->key, y->key);
    return order != 0 ? order : (x->key.ptr > y->key.ptr) - (x->key.ptr < y->key.ptr);
}

static void
headers_sort(struct header_item *items, size_t count)
{
    if (count > SORT_INSERTION_MAX) {
        qsort(items, count, sizeof *items, header_cmp);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct header_item item = items[i];
        size_t place = i;
        for (; place > 0 && header_cmp(&items[place - 1], &item) > 0; place--)
            items[place] = items[place - 1];
        items[place] = item;
    }
}

static int
headers_read(struct router_scratch *s, struct slice table)
{
    s->headers_count = 0;
    struct header_item item;
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &item.key, &item.value);) {
        if (s->headers_count == s->headers_cap) {
            // Bounded by the frame: a header has at least two bytes.
            size_t cap = LV_MAX(s->headers_cap * 2, (size_t)HEADERS_CAP_FIRST);
            struct header_item *items = mem_realloc(s->headers, cap * sizeof *items);
            if (items == NULL)
                return -LE_NOMEM;
            s->headers = items;
            s->headers_cap = cap;
        }
        s->headers[s->headers_count++] = item;
    }
    headers_sort(s->headers, s->headers_count);
    return 0;
}

struct group_match_call {
    const struct router_scratch *scratch;
    uint64_t anchor;
    struct binding_set *found;
    int ret;
};

static bool
group_match_visit(void *value, void *ctx)
{
    struct group_match_call *call = ctx;
    const struct router_scratch *s = call->scratch;
    struct header_rule rule = header_rule_of(value);
    struct header_item first;
    if (!header_rule_match(rule, s->headers, s->headers_count, &first))
        return true;
    // An "any" is in several groups, and reported in that of the entry that decided it.
    if (header_mode_is_any(rule.mode) && call->anchor != ANCHOR_SCAN &&
        call->anchor != anchor_of_entry(&first))
        return true;
    call->ret = binding_set_add(call->found, value);
    return call->ret == 0;
}

static int
group_match(const struct router *r, struct router_scratch *s, uint64_t anchor, struct binding_set *found)
{
    const struct headers_group *group = group_find(r, anchor);
    if (group == NULL)
        return 0;
    int met = stamps_add(&s->met, anchor); // the message may have a header twice
    if (met != 1)
        return met;
    struct group_match_call call = {s, anchor, found, 0};
    pset_each(group->bindings, group_match_visit, &call);
    return call.ret;
}

int
headers_match(const struct router *r, struct router_scratch *s, struct slice headers,
              struct binding_set *found)
{
    if (r->count == 0)
        return 0;
    int ret = headers_read(s, headers);
    stamps_reset(&s->met);
    if (ret == 0)
        ret = group_match(r, s, ANCHOR_SCAN, found);
    for (size_t i = 0; ret == 0 && i < s->headers_count; i++) {
        ret = group_match(r, s, anchor_of_key(&s->headers[i]), found);
        if (ret == 0)
            ret = group_match(r, s, anchor_of_value(&s->headers[i]), found);
    }
    return ret;
}
