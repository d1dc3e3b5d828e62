// The persistent map: a million random changes against a model with many old versions kept, hashes that share
// long prefixes or are equal, edits that change in place, order of walks, memory given back in full.
#include "src/base/mem.h"
#include "src/base/pmap.h"
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

struct entry {
    uint64_t key;
    uint64_t stamp;
};

static bool
entry_eq(const void *value, const void *key)
{
    return ((const struct entry *)value)->key == *(const uint64_t *)key;
}

enum hash_shape { HASH_GOOD, HASH_FEW, HASH_EQUAL, HASH_LOW_BITS };

static uint64_t
hash_of(enum hash_shape shape, uint64_t key)
{
    switch (shape) {
    case HASH_FEW:
        return (key % 50) * UINT64_C(0x0842108421084210); // long common prefixes, many wholly equal
    case HASH_EQUAL: return UINT64_C(0xdeadbeefcafef00d);
    case HASH_LOW_BITS: return key; // differ in the last levels only
    default: return (key + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ key << 7;
    }
}

enum { KEYS = 2048, VERSIONS = 64 };

// A version kept by a reader: its root, what it must show, and the nodes that must live as long as it does.
struct version {
    struct pmap map;
    struct entry *content[KEYS];
    struct pmap_retired *retired; // replaced by the edit that came after this version
};

static void
check_version(const struct pmap *m, struct entry *const *content, enum hash_shape shape)
{
    uint64_t count = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        assert_ptr_equal(pmap_find(m, hash_of(shape, key), entry_eq, &key), content[key]);
        count += content[key] != NULL;
    }
    assert_int_equal(m->count, count);
    struct pmap_iter it;
    pmap_iter_init(&it, m);
    uint64_t last = 0;
    uint64_t seen = 0;
    for (struct entry *e; (e = pmap_iter_next(&it)) != NULL; seen++) {
        assert_ptr_equal(content[e->key], e);
        uint64_t hash = hash_of(shape, e->key);
        assert_true(hash >= last); // in order of the hash
        last = hash;
    }
    assert_null(pmap_iter_next(&it));
    assert_int_equal(seen, count);
}

static void
change_one(struct pmap *m, struct pmap_edit *e, struct entry **model, struct entry *pool, struct rng *r,
           enum hash_shape shape, unsigned put_percent)
{
    uint64_t key = rng_below(r, KEYS);
    uint64_t hash = hash_of(shape, key);
    if (rng_below(r, 100) < put_percent) {
        struct entry *fresh = &pool[key * 4 + rng_below(r, 4)];
        assert_ptr_equal(pmap_put(m, e, hash, entry_eq, &key, fresh), model[key]);
        model[key] = fresh;
    } else {
        assert_ptr_equal(pmap_remove(m, e, hash, entry_eq, &key), model[key]);
        model[key] = NULL;
    }
}

static void
run_against_model(enum hash_shape shape, unsigned changes)
{
    static struct entry pool[KEYS * 4];
    for (uint64_t i = 0; i < KEYS * 4; i++)
        pool[i] = (struct entry){.key = i / 4, .stamp = i};
    struct version *versions = mem_xcalloc(VERSIONS, sizeof *versions);
    struct entry **model = mem_xcalloc(KEYS, sizeof *model);
    struct pmap now = {0};
    struct rng r;
    rng_init(&r, (uint64_t)shape + 100);
    unsigned slot = 0;
    unsigned done = 0;
    for (unsigned edits = 0; done < changes; edits++) {
        struct version *v = &versions[slot];
        // The oldest version goes: its readers are gone, so what was retired after it can go too.
        if (edits % 16 == 0)
            check_version(&v->map, v->content, shape);
        pmap_retired_free(v->retired);
        v->map = now;
        memcpy(v->content, model, KEYS * sizeof *model);
        struct pmap_edit e;
        pmap_edit_begin(&e);
        unsigned batch = 1 + (unsigned)rng_below(&r, edits % 8 == 0 ? 2000 : 20);
        unsigned put_percent = edits / 128 % 2 == 0 ? 70 : 25;
        for (unsigned i = 0; i < batch; i++)
            change_one(&now, &e, model, pool, &r, shape, put_percent);
        v->retired = pmap_edit_end(&e);
        done += batch;
        if (edits % 64 == 0)
            check_version(&now, model, shape);
        slot = (slot + 1) % VERSIONS;
    }
    for (unsigned i = 0; i < VERSIONS; i++) {
        struct version *v = &versions[(slot + i) % VERSIONS];
        check_version(&v->map, v->content, shape);
        pmap_retired_free(v->retired);
    }
    struct pmap_edit e;
    pmap_edit_begin(&e);
    pmap_clear(&now, &e);
    assert_null(now.root);
    assert_int_equal(now.count, 0);
    pmap_retired_free(pmap_edit_end(&e));
    mem_free(versions);
    mem_free(model);
}

static void
test_model_good_hashes(void **state)
{
    run_against_model(HASH_GOOD, 1000000);
}

static void
test_model_few_hashes(void **state)
{
    run_against_model(HASH_FEW, 100000);
}

static void
test_model_equal_hashes(void **state)
{
    run_against_model(HASH_EQUAL, 20000);
}

static void
test_model_low_bits(void **state)
{
    run_against_model(HASH_LOW_BITS, 300000);
}

static void
test_edit_in_place_retires_nothing(void **state)
{
    static struct entry entries[1000];
    struct pmap m = {0};
    struct pmap_edit e;
    pmap_edit_begin(&e);
    for (uint64_t key = 0; key < 1000; key++) {
        entries[key].key = key;
        pmap_put(&m, &e, hash_of(HASH_GOOD, key), entry_eq, &key, &entries[key]);
    }
    for (uint64_t key = 0; key < 1000; key += 2)
        assert_ptr_equal(pmap_remove(&m, &e, hash_of(HASH_GOOD, key), entry_eq, &key), &entries[key]);
    assert_null(e.retired); // all nodes were this edit's own
    assert_null(pmap_edit_end(&e));
    // A change that changes nothing copies nothing.
    struct pmap before = m;
    pmap_edit_begin(&e);
    uint64_t absent = 0;
    assert_null(pmap_remove(&m, &e, hash_of(HASH_GOOD, absent), entry_eq, &absent));
    assert_ptr_equal(m.root, before.root);
    assert_null(e.retired);
    pmap_clear(&m, &e);
    pmap_retired_free(pmap_edit_end(&e));
}

// A node of another structure (its first eight bytes are the edit's id) shares the life of the map's nodes.
static void
test_foreign_blocks_retire_with_the_edit(void **state)
{
    struct foreign {
        uint64_t edit_id;
        uint64_t content;
    };
    struct pmap_edit e;
    pmap_edit_begin(&e);
    struct foreign *kept = mem_xalloc(sizeof *kept);
    *kept = (struct foreign){e.id, 1};
    struct foreign *own = mem_xalloc(sizeof *own);
    *own = (struct foreign){e.id, 2};
    pmap_edit_retire(&e, own); // made by this edit: freed at once
    assert_null(e.retired);
    assert_null(pmap_edit_end(&e));
    pmap_edit_begin(&e);
    pmap_edit_retire(&e, kept);
    assert_int_equal(kept->content, 1); // readable until the list is freed
    struct pmap_retired *retired = pmap_edit_end(&e);
    assert_non_null(retired);
    assert_int_equal(kept->content, 1);
    pmap_retired_free(retired);
    pmap_retired_free(NULL);
}

static bool
stop_at_third(void *value, void *ctx)
{
    return ++*(int *)ctx < 3;
}

static void
test_walks(void **state)
{
    struct pmap m = {0};
    int calls = 0;
    assert_true(pmap_each(&m, stop_at_third, &calls));
    assert_int_equal(calls, 0);
    static struct entry entries[5];
    struct pmap_edit e;
    pmap_edit_begin(&e);
    for (uint64_t key = 0; key < 5; key++) {
        entries[key].key = key;
        pmap_put(&m, &e, hash_of(HASH_GOOD, key), entry_eq, &key, &entries[key]);
        calls = 0;
        assert_int_equal(pmap_each(&m, stop_at_third, &calls), key < 2);
        assert_int_equal(calls, LV_MIN(key + 1, 3));
    }
    pmap_clear(&m, &e);
    pmap_clear(&m, &e); // of nothing
    pmap_retired_free(pmap_edit_end(&e));
}

static void
put_after_the_end(void)
{
    struct pmap m = {0};
    struct pmap_edit e;
    pmap_edit_begin(&e);
    (void)pmap_edit_end(&e);
    static struct entry entry;
    pmap_put(&m, &e, 1, entry_eq, &entry.key, &entry);
}

static void
test_change_outside_an_edit_aborts(void **state)
{
    assert_true(does_abort(put_after_the_end, -1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_good_hashes),
        cmocka_unit_test(test_model_few_hashes),
        cmocka_unit_test(test_model_equal_hashes),
        cmocka_unit_test(test_model_low_bits),
        cmocka_unit_test(test_edit_in_place_retires_nothing),
        cmocka_unit_test(test_foreign_blocks_retire_with_the_edit),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_change_outside_an_edit_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
