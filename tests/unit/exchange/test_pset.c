// Persistent sets: all forms against a plain array; older values unchanged.
#include "exchange/pset.h"
#include "tests/unit/exchange/support.h"

enum { UNIVERSE = 40, VERSIONS = 60 };

struct item {
    uint64_t number;
};

static uint64_t
hash_number(const void *key)
{
    return *(const uint64_t *)key % 3; // many collisions
}

static uint64_t
hash_item(const void *item)
{
    return ((const struct item *)item)->number % 3;
}

static bool
eq_number(const void *item, const void *key)
{
    return ((const struct item *)item)->number == *(const uint64_t *)key;
}

static const struct pset_type item_type = {hash_number, hash_item, eq_number};
static struct item items[UNIVERSE];

struct seen {
    const bool *expected;
    bool met[UNIVERSE];
};

static bool
see(void *value, void *ctx)
{
    struct seen *s = ctx;
    uint64_t number = ((struct item *)value)->number;
    assert_ptr_equal(value, &items[number]);
    assert_false(s->met[number]);
    s->met[number] = true;
    return true;
}

static void
check(struct pset set, const bool *expected)
{
    struct seen s = {.expected = expected};
    assert_true(pset_each(set, see, &s));
    assert_memory_equal(s.met, expected, sizeof s.met);
    uint64_t count = 0;
    for (uint64_t i = 0; i < UNIVERSE; i++) {
        assert_ptr_equal(pset_find(set, &item_type, &i), expected[i] ? &items[i] : NULL);
        count += expected[i];
    }
    assert_int_equal(pset_count(set), count);
    assert_int_equal(pset_is_empty(set), count == 0);
    struct item *any = pset_any(set);
    assert_true(any == NULL ? count == 0 : expected[any->number]);
}

static void
change(struct pset *set, struct pmap_edit *e, bool *expected, uint64_t number, bool is_put)
{
    if (is_put) {
        struct item *replaced = pset_put(set, &item_type, e, &number, &items[number]);
        assert_ptr_equal(replaced, expected[number] ? &items[number] : NULL);
    } else {
        struct item *removed = pset_remove(set, &item_type, e, &number);
        assert_ptr_equal(removed, expected[number] ? &items[number] : NULL);
    }
    expected[number] = is_put;
}

// Edits of 1 to 6 changes; all versions are kept and looked at again at the end.
static void
versions_stay_as_they_were(void **state)
{
    static struct pset versions[VERSIONS];
    static bool expected[VERSIONS + 1][UNIVERSE];
    struct pmap_retired *retired[VERSIONS];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct pset set = {0};
        memset(expected, 0, sizeof expected);
        uint64_t width = 2 + rng_below(&rng, UNIVERSE - 2);
        for (int v = 0; v < VERSIONS; v++) {
            struct pmap_edit e;
            pmap_edit_begin(&e);
            for (uint64_t n = 1 + rng_below(&rng, 6); n > 0; n--)
                change(&set, &e, expected[v], rng_below(&rng, width),
                       rng_below(&rng, 5) < (v < VERSIONS / 2 ? 4 : 1));
            if (v == VERSIONS - 1) {
                pset_clear(&set, &e);
                memset(expected[v], 0, sizeof expected[v]);
            }
            versions[v] = set;
            memcpy(expected[v + 1], expected[v], sizeof expected[v]);
            retired[v] = pmap_edit_end(&e);
        }
        for (int v = 0; v < VERSIONS; v++) {
            check(versions[v], expected[v]);
            if (v > 0)
                check(versions[v - 1], expected[v - 1]); // still, as its list is freed below
            if (v > 0)
                pmap_retired_free(retired[v - 1]);
        }
        pmap_retired_free(retired[VERSIONS - 1]);
    }
}

// Only the newest value is in use: everything retired is freed at once.
static void
newest_needs_nothing_retired(void **state)
{
    struct rng rng;
    rng_init(&rng, 7);
    struct pset set = {0};
    bool expected[UNIVERSE] = {false};
    for (int v = 0; v < 2000; v++) {
        struct pmap_edit e;
        pmap_edit_begin(&e);
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            change(&set, &e, expected, rng_below(&rng, UNIVERSE),
                   rng_below(&rng, 100) < (v / 200 % 2 == 0 ? 80u : 20u));
        pmap_retired_free(pmap_edit_end(&e));
        check(set, expected);
    }
    struct pmap_edit e;
    pmap_edit_begin(&e);
    pset_clear(&set, &e);
    pmap_retired_free(pmap_edit_end(&e));
}

static bool
stop_at_third(void *value, void *ctx)
{
    return ++*(int *)ctx < 3;
}

static void
each_stops_when_told(void **state)
{
    struct pset set = {0};
    struct pmap_edit e;
    pmap_edit_begin(&e);
    for (uint64_t i = 0; i < UNIVERSE; i++) {
        pset_put(&set, &item_type, &e, &i, &items[i]);
        int met = 0;
        assert_int_equal(pset_each(set, stop_at_third, &met), i < 2);
        assert_int_equal(met, LV_MIN(i + 1, UINT64_C(3)));
    }
    pset_clear(&set, &e);
    pmap_retired_free(pmap_edit_end(&e));
}

int
main(void)
{
    for (uint64_t i = 0; i < UNIVERSE; i++)
        items[i].number = i;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_stay_as_they_were),
        cmocka_unit_test(newest_needs_nothing_retired),
        cmocka_unit_test(each_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
