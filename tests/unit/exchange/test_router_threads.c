// One thread edits and publishes versions, two match: no lock, no torn version, nothing freed too early. Made
// for TSan and ASan.
//
// Reclamation as the broker does it: a reader says which version it has adopted; what an edit retired, and
// what it unbound, is freed when all readers have adopted that edit's version or a later one.
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/exchange/support.h"

enum { READERS = 2, VERSIONS = 10000, SLOTS = 64, KEYS = 6 };

struct version {
    uint64_t number;
    struct router routers[EXCHANGE_ROUTER_COUNT];
    uint64_t expected[KEYS];      // bindings of each key: of direct and topic routers
    struct pmap_retired *retired; // by the edit that made it: shown by earlier versions
    struct binding *unbound;      // likewise
};

static _Atomic(struct version *) newest;   // partner: readers
static _Atomic(uint64_t) adopted[READERS]; // partner: the editor
static atomic_bool is_over;
static atomic_uint_fast64_t rounds;
static struct queue_def *queues[SLOTS];
static const char *const keys[KEYS] = {"a", "a.b", "b.c.d", "", "x.y", "z"};

static void
check_version(const struct version *v, struct router_scratch *scratch, struct binding_set *found)
{
    uint64_t total = 0;
    for (size_t k = 0; k < KEYS; k++) {
        for (int type = EXCHANGE_DIRECT; type <= EXCHANGE_TOPIC; type += EXCHANGE_TOPIC - EXCHANGE_DIRECT) {
            found->count = 0;
            if (router_match(&v->routers[type], scratch, slice_str(keys[k]), SLICE_EMPTY, found) != 0)
                abort();
            if (found->count != v->expected[k])
                abort();
            for (size_t i = 0; i < found->count; i++) {
                if (!slice_eq_str(found->items[i]->key, keys[k]))
                    abort();
            }
        }
        total += v->expected[k];
    }
    for (int type = EXCHANGE_FANOUT; type <= EXCHANGE_HEADERS; type += EXCHANGE_HEADERS - EXCHANGE_FANOUT) {
        found->count = 0;
        if (router_match(&v->routers[type], scratch, SLICE_EMPTY, SLICE_EMPTY, found) != 0 ||
            found->count != total)
            abort();
    }
    for (int type = EXCHANGE_CONSISTENT_HASH; type < EXCHANGE_ROUTER_COUNT; type++) {
        found->count = 0;
        if (router_match(&v->routers[type], scratch, SLICE_LIT("k"), SLICE_EMPTY, found) != 0 ||
            found->count != (total > 0))
            abort();
        for (size_t i = 0; i < found->count; i++) {
            if (found->items[i]->key.len > 5) // looks at what was picked
                abort();
        }
    }
}

static void *
reader(void *arg)
{
    _Atomic(uint64_t) *mine = arg;
    struct router_scratch *scratch = router_scratch_new();
    struct binding_set found = {0};
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        struct version *v = atomic_load_explicit(&newest, memory_order_acquire);
        check_version(v, scratch, &found);
        atomic_store_explicit(mine, v->number, memory_order_release); // done with all that is older
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    }
    binding_set_fini(&found);
    router_scratch_free(scratch);
    return NULL;
}

static void
toggle(struct version *v, struct pmap_edit *e, struct binding **slot, struct queue_def *q, uint64_t key)
{
    if (*slot != NULL) {
        for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++)
            assert_ptr_equal(router_unbind(&v->routers[type], e, *slot), *slot);
        v->unbound = *slot;
        *slot = NULL;
        v->expected[key]--;
    } else {
        *slot = binding_make(1, q, slice_str(keys[key]), SLICE_EMPTY);
        for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++)
            assert_true(router_bind(&v->routers[type], e, *slot));
        v->expected[key]++;
    }
}

// `done`: every reader has told of this version or a later one, so that nobody holds an earlier one.
static void
reclaim(struct version **versions, uint64_t *first, uint64_t done)
{
    while (*first < done) {
        struct version *next = versions[*first + 1];
        pmap_retired_free(next->retired);
        binding_free(next->unbound);
        mem_free(versions[(*first)++]);
    }
}

static uint64_t
least_adopted(void)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < READERS; i++) {
        uint64_t number = atomic_load_explicit(&adopted[i], memory_order_acquire); // once: it grows meanwhile
        least = LV_MIN(least, number);
    }
    return least;
}

static void
readers_see_whole_versions(void **state)
{
    static struct version *versions[VERSIONS];
    static struct binding *bound[SLOTS][KEYS];
    struct version *v = mem_xcalloc(1, sizeof *v);
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++)
        router_init(&v->routers[type], (enum exchange_type)type);
    versions[0] = v;
    atomic_store(&newest, v);
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &adopted[i]), 0);
    struct rng rng;
    rng_init(&rng, 5);
    uint64_t first = 0; // oldest version not freed
    for (uint64_t n = 1; n < VERSIONS; n++) {
        v = mem_xalloc(sizeof *v);
        *v = *versions[n - 1];
        v->number = n;
        v->unbound = NULL;
        struct pmap_edit e;
        pmap_edit_begin(&e);
        uint64_t slot = rng_below(&rng, SLOTS), key = rng_below(&rng, KEYS);
        toggle(v, &e, &bound[slot][key], queues[slot], key);
        v->retired = pmap_edit_end(&e);
        versions[n] = v;
        atomic_store_explicit(&newest, v, memory_order_release);
        reclaim(versions, &first, least_adopted());
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&rounds) > 0);
    reclaim(versions, &first, VERSIONS - 1);
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++)
        clear_now(&v->routers[type]);
    mem_free(v);
    for (size_t i = 0; i < SLOTS; i++) {
        for (size_t k = 0; k < KEYS; k++)
            binding_free(bound[i][k]);
    }
}

int
main(void)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        queues[i] = queue_make(i, 0, "q");
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_see_whole_versions)};
    int ret = cmocka_run_group_tests(tests, NULL, NULL);
    for (uint32_t i = 0; i < SLOTS; i++)
        mem_free(queues[i]);
    return ret;
}
