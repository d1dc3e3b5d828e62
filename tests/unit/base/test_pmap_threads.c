// The persistent map between threads (meant for ThreadSanitizer): one editor publishes roots, two readers
// adopt them by acquire, say which version they hold by release, and the editor frees retired nodes only when
// both have moved on.
//
// Every version is self-consistent: it holds exactly the keys 0 … count-1 with the version's stamp in key 0's
// value, so that a reader that sees half a change, or a freed node, notices.
#include <pthread.h>
#include <stdatomic.h>

#include "src/base/mem.h"
#include "src/base/pmap.h"
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

enum { ROUNDS = 3000, READERS = 2, KEYS = 4000 };

struct version {
    struct pmap map;
    uint64_t number;
};

static struct version versions[ROUNDS + 1];
static uint64_t numbers[KEYS];                 // the values: value of key k is &numbers[k], numbers[k] == k
static _Atomic(const struct version *) newest; // partner: adopt in reader_main
static _Atomic(uint64_t) held[READERS];        // partner: oldest_held

static bool
number_eq(const void *value, const void *key)
{
    return *(const uint64_t *)value == *(const uint64_t *)key;
}

static uint64_t
hash_of(uint64_t key)
{
    return (key + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool
count_value(void *value, void *ctx)
{
    ++*(uint64_t *)ctx;
    return true;
}

static void *
reader_main(void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    struct rng r;
    rng_init(&r, me);
    uint64_t bad = 0;
    for (;;) {
        const struct version *v = atomic_load_explicit(&newest, memory_order_acquire);
        for (int i = 0; i < 20; i++) {
            uint64_t key = rng_below(&r, KEYS);
            const void *value = pmap_find(&v->map, hash_of(key), number_eq, &key);
            bad += (value != NULL) != (key < v->map.count) || (value != NULL && value != &numbers[key]);
        }
        if (rng_below(&r, 50) == 0) {
            uint64_t seen = 0;
            pmap_each(&v->map, count_value, &seen);
            bad += seen != v->map.count;
        }
        atomic_store_explicit(&held[me], v->number, memory_order_release); // done with all before v
        if (v->number == ROUNDS)
            return (void *)(uintptr_t)bad;
    }
}

static uint64_t
oldest_held(void)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < READERS; i++) {
        uint64_t number = atomic_load_explicit(&held[i], memory_order_acquire); // once: it grows meanwhile
        oldest = LV_MIN(oldest, number);
    }
    return oldest;
}

static void
test_readers_see_whole_versions(void **state)
{
    static struct pmap_retired *retired[ROUNDS + 1];
    for (uint64_t k = 0; k < KEYS; k++)
        numbers[k] = k;
    atomic_store(&newest, &versions[0]);
    pthread_t readers[READERS];
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, (void *)(uintptr_t)i), 0);
    struct rng r;
    rng_init(&r, 99);
    struct pmap m = {0};
    uint64_t freed = 0;
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        struct pmap_edit e;
        pmap_edit_begin(&e);
        // Mostly a little more, now and then anything.
        uint64_t want = rng_below(&r, 10) == 0 ? rng_below(&r, KEYS) : m.count + rng_below(&r, 20);
        want = LV_MIN(want, (uint64_t)KEYS);
        while (m.count < want) {
            uint64_t key = m.count;
            assert_null(pmap_put(&m, &e, hash_of(key), number_eq, &key, &numbers[key]));
        }
        while (m.count > want) {
            uint64_t key = m.count - 1;
            assert_non_null(pmap_remove(&m, &e, hash_of(key), number_eq, &key));
        }
        retired[n] = pmap_edit_end(&e);
        versions[n] = (struct version){m, n};
        atomic_store_explicit(&newest, &versions[n], memory_order_release);
        // Nodes replaced by version f are in use by readers of versions before f only. A reader that has said
        // "n" may hold n still, and adopts nothing older.
        for (uint64_t oldest = oldest_held(); freed < oldest; freed++)
            pmap_retired_free(retired[freed + 1]);
    }
    for (size_t i = 0; i < READERS; i++) {
        void *bad = NULL;
        pthread_join(readers[i], &bad);
        assert_null(bad);
    }
    for (; freed < ROUNDS; freed++)
        pmap_retired_free(retired[freed + 1]);
    struct pmap_edit e;
    pmap_edit_begin(&e);
    pmap_clear(&m, &e);
    pmap_retired_free(pmap_edit_end(&e));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_readers_see_whole_versions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
