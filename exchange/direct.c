// direct.c: direct exchanges: a map from the key to the set of its bindings (pset.h).
//
// The map's value is the one word of the set itself, tag included, so that a key with one binding costs
// nothing but its place in the map.
#include "exchange/router_impl.h"

bool
direct_key_eq(const void *value, const void *key)
{
    const struct binding *b = pset_any((struct pset){(uintptr_t)value});
    return slice_eq(b->key, *(const struct slice *)key);
}

// For replacing and removing the value that was found before: its memory is not looked at, as it may have
// been retired.
static bool
ref_eq(const void *value, const void *key)
{
    return (uintptr_t)value == ((const struct pset *)key)->ref;
}

static struct pset
direct_find(const struct router *r, uint64_t hash, const struct slice *key)
{
    return (struct pset){(uintptr_t)pmap_find(&r->by_key, hash, direct_key_eq, key)};
}

bool
direct_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    uint64_t hash = slice_hash(b->key);
    struct pset old = direct_find(r, hash, &b->key);
    if (pset_find(old, &binding_pset_type, b) != NULL)
        return false;
    struct pset set = old;
    pset_put(&set, &binding_pset_type, e, b, (void *)b);
    if (set.ref != old.ref)
        pmap_put(&r->by_key, e, hash, ref_eq, &old, (void *)set.ref);
    return true;
}

const struct binding *
direct_unbind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    uint64_t hash = slice_hash(b->key);
    struct pset old = direct_find(r, hash, &b->key);
    struct pset set = old;
    const struct binding *removed = pset_remove(&set, &binding_pset_type, e, b);
    if (removed == NULL)
        return NULL;
    if (pset_is_empty(set))
        pmap_remove(&r->by_key, e, hash, ref_eq, &old);
    else if (set.ref != old.ref)
        pmap_put(&r->by_key, e, hash, ref_eq, &old, (void *)set.ref);
    return removed;
}

void
direct_clear(struct router *r, struct pmap_edit *e)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &r->by_key);
    for (void *value; (value = pmap_iter_next(&it)) != NULL;) {
        struct pset set = {(uintptr_t)value};
        pset_clear(&set, e);
    }
    pmap_clear(&r->by_key, e);
}

bool
direct_each(const struct router *r, pmap_visit_fn visit, void *ctx)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &r->by_key);
    for (void *value; (value = pmap_iter_next(&it)) != NULL;) {
        if (!pset_each((struct pset){(uintptr_t)value}, visit, ctx))
            return false;
    }
    return true;
}
