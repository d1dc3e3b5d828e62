// router.c: the part of router.h that all exchange types share; fanout; the growing arrays.
#include "exchange/router.h"

#include "exchange/router_impl.h"
#include "src/base/mem.h"

static const char *const type_names[EXCHANGE_TYPE_COUNT] = {
    [EXCHANGE_DIRECT] = "direct",
    [EXCHANGE_FANOUT] = "fanout",
    [EXCHANGE_TOPIC] = "topic",
    [EXCHANGE_HEADERS] = "headers",
    [EXCHANGE_CONSISTENT_HASH] = "x-consistent-hash",
    [EXCHANGE_MODULUS_HASH] = "x-modulus-hash",
    [EXCHANGE_RANDOM] = "x-random",
    [EXCHANGE_LOCAL_RANDOM] = "x-local-random",
    [EXCHANGE_DELAYED] = "x-delayed-message",
};

int
exchange_type_parse(struct slice name, enum exchange_type *ret_type)
{
    for (int i = 0; i < EXCHANGE_TYPE_COUNT; i++) {
        if (slice_eq_str(name, type_names[i])) {
            *ret_type = (enum exchange_type)i;
            return 0;
        }
    }
    return -LE_NOTFOUND;
}

const char *
exchange_type_name(enum exchange_type type)
{
    LV_ASSERT((unsigned)type < EXCHANGE_TYPE_COUNT);
    return type_names[type];
}

static uint64_t
hash_binding(const void *b)
{
    return ((const struct binding *)b)->hash;
}

static bool
eq_binding(const void *a, const void *b)
{
    return binding_same(a, b);
}

const struct pset_type binding_pset_type = {hash_binding, hash_binding, eq_binding};

void
router_init(struct router *r, enum exchange_type type)
{
    LV_ASSERT((unsigned)type < EXCHANGE_ROUTER_COUNT);
    *r = (struct router){.type = type};
}

static bool
fanout_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    if (pmap_find(&r->by_key, b->hash, eq_binding, b) != NULL)
        return false;
    pmap_put(&r->by_key, e, b->hash, eq_binding, b, (void *)b);
    return true;
}

bool
router_bind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    bool is_new = false;
    switch (r->type) {
    case EXCHANGE_DIRECT: is_new = direct_bind(r, e, b); break;
    case EXCHANGE_FANOUT: is_new = fanout_bind(r, e, b); break;
    case EXCHANGE_TOPIC: is_new = topic_bind(r, e, b); break;
    case EXCHANGE_HEADERS: is_new = headers_bind(r, e, b); break;
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: is_new = pick_bind(r, e, b); break;
    case EXCHANGE_DELAYED:
    case EXCHANGE_TYPE_COUNT: break;
    }
    r->count += is_new;
    return is_new;
}

const struct binding *
router_unbind(struct router *r, struct pmap_edit *e, const struct binding *b)
{
    const struct binding *removed = NULL;
    switch (r->type) {
    case EXCHANGE_DIRECT: removed = direct_unbind(r, e, b); break;
    case EXCHANGE_FANOUT: removed = pmap_remove(&r->by_key, e, b->hash, eq_binding, b); break;
    case EXCHANGE_TOPIC: removed = topic_unbind(r, e, b); break;
    case EXCHANGE_HEADERS: removed = headers_unbind(r, e, b); break;
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: removed = pick_unbind(r, e, b); break;
    case EXCHANGE_DELAYED:
    case EXCHANGE_TYPE_COUNT: break;
    }
    LV_ASSERT_HOT(removed == NULL || r->count > 0);
    r->count -= removed != NULL;
    return removed;
}

void
router_clear(struct router *r, struct pmap_edit *e)
{
    switch (r->type) {
    case EXCHANGE_DIRECT: direct_clear(r, e); break;
    case EXCHANGE_FANOUT: pmap_clear(&r->by_key, e); break;
    case EXCHANGE_TOPIC: topic_clear(r, e); break;
    case EXCHANGE_HEADERS: headers_clear(r, e); break;
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: ranked_clear(&r->ranked, e); break;
    case EXCHANGE_DELAYED:
    case EXCHANGE_TYPE_COUNT: break;
    }
    router_init(r, r->type);
}

struct each_call {
    bool (*visit)(const struct binding *b, void *ctx);
    void *ctx;
};

static bool
each_visit(void *value, void *ctx)
{
    const struct each_call *call = ctx;
    return call->visit(value, call->ctx);
}

bool
router_each(const struct router *r, bool (*visit)(const struct binding *b, void *ctx), void *ctx)
{
    struct each_call call = {visit, ctx};
    switch (r->type) {
    case EXCHANGE_DIRECT: return direct_each(r, each_visit, &call);
    case EXCHANGE_FANOUT: return pmap_each(&r->by_key, each_visit, &call);
    case EXCHANGE_TOPIC: return topic_each(r, each_visit, &call);
    case EXCHANGE_HEADERS: return headers_each(r, each_visit, &call);
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: return ranked_each(r->ranked, each_visit, &call);
    case EXCHANGE_DELAYED:
    case EXCHANGE_TYPE_COUNT: break;
    }
    return true;
}

// --- matching ---

static int
binding_set_reserve(struct binding_set *s, size_t extra)
{
    if (extra <= s->cap - s->count)
        return 0;
    size_t cap = LV_MAX(LV_MAX(s->cap * 2, s->count + extra), (size_t)16);
    const struct binding **items = mem_realloc((void *)s->items, cap * sizeof *items);
    if (items == NULL)
        return -LE_NOMEM;
    s->items = items;
    s->cap = cap;
    return 0;
}

int
binding_set_add(struct binding_set *s, const struct binding *b)
{
    int r = binding_set_reserve(s, 1);
    if (r == 0)
        s->items[s->count++] = b;
    return r;
}

static int
binding_set_add_map(struct binding_set *s, const struct pmap *map)
{
    int r = binding_set_reserve(s, map->count);
    if (r < 0)
        return r;
    struct pmap_iter it;
    pmap_iter_init(&it, map);
    for (void *b; (b = pmap_iter_next(&it)) != NULL;)
        s->items[s->count++] = b;
    LV_ASSERT(s->count <= s->cap);
    return 0;
}

int
binding_set_add_all(struct binding_set *s, struct pset bindings)
{
    if (pset_is_empty(bindings))
        return 0;
    switch (pset_tag(bindings)) {
    case PSET_ONE: return binding_set_add(s, pset_one(bindings));
    case PSET_FEW: {
        const struct pset_few *few = pset_few(bindings);
        int r = binding_set_reserve(s, few->count);
        for (uint32_t i = 0; r == 0 && i < few->count; i++)
            s->items[s->count++] = few->items[i];
        return r;
    }
    default: return binding_set_add_map(s, &pset_many(bindings)->map);
    }
}

void
binding_set_fini(struct binding_set *s)
{
    mem_free((void *)s->items);
    *s = (struct binding_set){0};
}

struct router_scratch *
router_scratch_new(void)
{
    struct router_scratch *scratch = mem_calloc(1, sizeof *scratch);
    if (scratch == NULL)
        return NULL;
    uint64_t seed;
    rng_secure(&seed, sizeof seed);
    rng_init(&scratch->rng, seed);
    stamps_init(&scratch->met);
    return scratch;
}

void
router_scratch_free(struct router_scratch *s)
{
    if (s == NULL)
        return;
    stamps_fini(&s->met);
    mem_free((void *)s->now.items);
    mem_free((void *)s->next.items);
    mem_free((void *)s->loops.items);
    mem_free(s->headers);
    mem_free(s);
}

int
router_match(const struct router *r, struct router_scratch *scratch, struct slice key, struct slice headers,
             struct binding_set *ret_found)
{
    switch (r->type) {
    case EXCHANGE_DIRECT: return binding_set_add_all(ret_found, direct_lookup(r, key));
    case EXCHANGE_FANOUT: return binding_set_add_map(ret_found, &r->by_key);
    case EXCHANGE_TOPIC: return topic_match(r, scratch, key, ret_found);
    case EXCHANGE_HEADERS: return headers_match(r, scratch, headers, ret_found);
    case EXCHANGE_CONSISTENT_HASH:
    case EXCHANGE_MODULUS_HASH:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: return pick_match(r, scratch, key, ret_found);
    case EXCHANGE_DELAYED:
    case EXCHANGE_TYPE_COUNT: break;
    }
    return 0;
}
