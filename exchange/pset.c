// pset.c: see pset.h.
//
// Forms by number of items: 0: ref is 0. 1: ref is the item. 2 … PSET_FEW_MAX: an array, copied by a change
// of another edit, grown by doubling within one. More: a map behind a small header (so that a set stays one
// word); back to an array at PSET_FEW_MIN, half-way, so that a set at the border does not change its form
// with every bind.
#include "exchange/pset.h"

#include "src/base/mem.h"

static struct pset
tagged(void *ptr, enum pset_tag tag)
{
    LV_ASSERT_HOT(((uintptr_t)ptr & PSET_TAG_MASK) == 0);
    return (struct pset){(uintptr_t)ptr | tag};
}

static struct pset_few *
few_new(struct pmap_edit *e, uint32_t cap)
{
    struct pset_few *few = mem_xalloc(sizeof *few + cap * sizeof few->items[0]);
    few->edit_id = e->id;
    few->count = 0;
    few->cap = cap;
    return few;
}

// The array, with room for `cap` items, in memory that this edit may change.
static struct pset_few *
few_edit(struct pset *s, struct pmap_edit *e, uint32_t cap)
{
    struct pset_few *old = pset_few(*s);
    if (old->edit_id == e->id && cap <= old->cap)
        return old;
    if (old->edit_id == e->id)
        cap = LV_MIN(old->cap * 2, (uint32_t)PSET_FEW_MAX);
    struct pset_few *few = few_new(e, cap);
    memcpy(few->items, old->items, old->count * sizeof old->items[0]);
    few->count = old->count;
    pmap_edit_retire(e, old);
    *s = tagged(few, PSET_FEW);
    return few;
}

static struct pset_many *
many_edit(struct pset *s, struct pmap_edit *e)
{
    struct pset_many *old = pset_many(*s);
    if (old->edit_id == e->id)
        return old;
    struct pset_many *many = mem_xalloc(sizeof *many);
    many->edit_id = e->id;
    many->map = old->map;
    pmap_edit_retire(e, old);
    *s = tagged(many, PSET_MANY);
    return many;
}

static bool
eq_never(const void *item, const void *key)
{
    return false;
}

static void
few_to_many(struct pset *s, const struct pset_type *type, struct pmap_edit *e)
{
    struct pset_few *few = pset_few(*s);
    struct pset_many *many = mem_xcalloc(1, sizeof *many);
    many->edit_id = e->id;
    for (uint32_t i = 0; i < few->count; i++) {
        // The items differ from one another, so none is equal to this one.
        pmap_put(&many->map, e, type->hash_item(few->items[i]), eq_never, NULL, few->items[i]);
    }
    LV_ASSERT(many->map.count == few->count);
    pmap_edit_retire(e, few);
    *s = tagged(many, PSET_MANY);
}

void
pset_clear(struct pset *s, struct pmap_edit *e)
{
    if (pset_tag(*s) == PSET_FEW) {
        pmap_edit_retire(e, pset_few(*s));
    } else if (pset_tag(*s) == PSET_MANY) {
        struct pmap map = pset_many(*s)->map; // older values of the set may still show it
        pmap_clear(&map, e);
        pmap_edit_retire(e, pset_many(*s));
    }
    s->ref = 0;
}

static void
many_to_few(struct pset *s, struct pmap_edit *e)
{
    struct pset_many *many = pset_many(*s);
    struct pset_few *few = few_new(e, PSET_FEW_MAX);
    struct pmap_iter it;
    pmap_iter_init(&it, &many->map);
    for (void *item; (item = pmap_iter_next(&it)) != NULL;) {
        LV_ASSERT(few->count < few->cap);
        few->items[few->count++] = item;
    }
    pset_clear(s, e);
    *s = tagged(few, PSET_FEW);
}

uint64_t
pset_count(struct pset s)
{
    switch (pset_tag(s)) {
    case PSET_ONE: return s.ref != 0;
    case PSET_FEW: return pset_few(s)->count;
    default: return pset_many(s)->map.count;
    }
}

void *
pset_any(struct pset s)
{
    switch (pset_tag(s)) {
    case PSET_ONE: return pset_one(s);
    case PSET_FEW: return pset_few(s)->items[0];
    default: {
        struct pmap_iter it;
        pmap_iter_init(&it, &pset_many(s)->map);
        return pmap_iter_next(&it);
    }
    }
}

static void *
few_put(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key, void *item)
{
    struct pset_few *few = pset_few(*s);
    uint32_t idx = 0;
    while (idx < few->count && !type->eq(few->items[idx], key))
        idx++;
    if (idx == few->count && few->count == PSET_FEW_MAX) {
        few_to_many(s, type, e);
        return pmap_put(&pset_many(*s)->map, e, type->hash_key(key), type->eq, key, item);
    }
    void *replaced = idx < few->count ? few->items[idx] : NULL;
    if (replaced == item)
        return item;
    few = few_edit(s, e, LV_MAX(few->count, idx + 1));
    few->items[idx] = item;
    few->count = LV_MAX(few->count, idx + 1);
    return replaced;
}

void *
pset_put(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key, void *item)
{
    LV_ASSERT_HOT(item != NULL);
    if (pset_is_empty(*s)) {
        *s = tagged(item, PSET_ONE);
        return NULL;
    }
    if (pset_tag(*s) == PSET_FEW)
        return few_put(s, type, e, key, item);
    if (pset_tag(*s) == PSET_MANY)
        return pmap_put(&many_edit(s, e)->map, e, type->hash_key(key), type->eq, key, item);
    void *only = pset_one(*s);
    if (type->eq(only, key)) {
        *s = tagged(item, PSET_ONE);
        return only;
    }
    struct pset_few *few = few_new(e, 2);
    few->items[0] = only;
    few->items[1] = item;
    few->count = 2;
    *s = tagged(few, PSET_FEW);
    return NULL;
}

static void *
few_remove(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key)
{
    struct pset_few *few = pset_few(*s);
    uint32_t idx = 0;
    while (idx < few->count && !type->eq(few->items[idx], key))
        idx++;
    if (idx == few->count)
        return NULL;
    void *removed = few->items[idx];
    if (few->count == 2) {
        *s = tagged(few->items[1 - idx], PSET_ONE);
        pmap_edit_retire(e, few);
        return removed;
    }
    few = few_edit(s, e, few->count);
    few->items[idx] = few->items[--few->count];
    return removed;
}

void *
pset_remove(struct pset *s, const struct pset_type *type, struct pmap_edit *e, const void *key)
{
    if (pset_tag(*s) == PSET_FEW)
        return few_remove(s, type, e, key);
    if (pset_tag(*s) == PSET_MANY) {
        uint64_t hash = type->hash_key(key);
        if (pmap_find(&pset_many(*s)->map, hash, type->eq, key) == NULL)
            return NULL;
        struct pset_many *many = many_edit(s, e);
        void *removed = pmap_remove(&many->map, e, hash, type->eq, key);
        if (many->map.count <= PSET_FEW_MIN)
            many_to_few(s, e);
        return removed;
    }
    if (pset_is_empty(*s) || !type->eq(pset_one(*s), key))
        return NULL;
    void *removed = pset_one(*s);
    s->ref = 0;
    return removed;
}

bool
pset_each(struct pset s, pmap_visit_fn visit, void *ctx)
{
    if (pset_tag(s) == PSET_MANY)
        return pmap_each(&pset_many(s)->map, visit, ctx);
    if (pset_tag(s) == PSET_ONE)
        return s.ref == 0 || visit(pset_one(s), ctx);
    for (uint32_t i = 0; i < pset_few(s)->count; i++) {
        if (!visit(pset_few(s)->items[i], ctx))
            return false;
    }
    return true;
}
