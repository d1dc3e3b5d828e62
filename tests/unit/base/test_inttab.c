// The integer table against a plain array as model, with keys that fall into one cluster; growth, shrinking,
// no memory.
#include "src/base/err.h"
#include "src/base/inttab.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

enum { KEYS = 3000 };

static void
test_against_a_model(void **state)
{
    static int values[KEYS * 2];
    for (int spread = 0; spread < 3; spread++) {
        void *model[KEYS] = {NULL};
        size_t count = 0;
        struct inttab t;
        struct rng r;
        inttab_init(&t);
        rng_init(&r, (uint64_t)spread);
        for (int i = 0; i < 300000; i++) {
            // Phases of growth and of decline.
            bool is_put = rng_below(&r, 10) < (i / 30000 % 2 == 0 ? 7u : 2u);
            size_t k = rng_below(&r, KEYS);
            uint64_t key = spread == 0   ? k + 1
                           : spread == 1 ? (k + 1) << 52
                                         : (k + 1) * UINT64_C(0x100000001);
            void *want = model[k];
            switch (rng_below(&r, 3)) {
            case 0: assert_ptr_equal(inttab_get(&t, key), want); break;
            default:
                if (is_put) {
                    void *value = &values[rng_below(&r, KEYS * 2)];
                    assert_int_equal(inttab_put(&t, key, value), 0);
                    count += want == NULL;
                    model[k] = value;
                } else {
                    assert_ptr_equal(inttab_take(&t, key), want);
                    count -= want != NULL;
                    model[k] = NULL;
                }
            }
            assert_int_equal(t.count, count);
            assert_true(t.count <= t.cap / 4 * 3 && (t.cap <= 16 || t.count >= t.cap / 8 - 1));
        }
        size_t seen = 0;
        size_t cursor = 0;
        uint64_t key;
        void *value;
        while (inttab_next(&t, &cursor, &key, &value)) {
            assert_ptr_equal(inttab_get(&t, key), value);
            seen++;
        }
        assert_int_equal(seen, count);
        inttab_fini(&t);
    }
}

static void
test_empty_and_odd_keys(void **state)
{
    struct inttab t;
    inttab_init(&t);
    size_t cursor = 0;
    uint64_t key;
    void *value;
    assert_null(inttab_get(&t, 1));
    assert_null(inttab_take(&t, 1));
    assert_false(inttab_next(&t, &cursor, &key, &value));
    assert_int_equal(inttab_put(&t, UINT64_MAX, &t), 0);
    assert_null(inttab_get(&t, 0));
    assert_null(inttab_take(&t, 0));
    assert_ptr_equal(inttab_get(&t, UINT64_MAX), &t);
    assert_ptr_equal(inttab_take(&t, UINT64_MAX), &t);
    assert_null(inttab_get(&t, UINT64_MAX));
    inttab_fini(&t);
}

static void
test_no_memory_changes_nothing(void **state)
{
    struct inttab t;
    inttab_init(&t);
    mem_test_fail_after(1);
    assert_int_equal(inttab_put(&t, 1, &t), -LE_NOMEM);
    assert_int_equal(t.count, 0);
    mem_test_fail_after(3); // the first table, its double, then none
    uint64_t key = 1;
    while (inttab_put(&t, key, &t) == 0)
        key++;
    assert_int_equal(t.count, key - 1);
    assert_int_equal(inttab_put(&t, 1, &key), 0); // replacing needs no memory
    for (uint64_t k = 2; k < key; k++)
        assert_ptr_equal(inttab_get(&t, k), &t);
    assert_null(inttab_get(&t, key));
    for (uint64_t k = 1; k < key; k++) {
        mem_test_fail_after(1); // nor does taking, although it would like to shrink
        assert_non_null(inttab_take(&t, k));
    }
    mem_test_fail_after(0);
    assert_int_equal(t.count, 0);
    inttab_fini(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_empty_and_odd_keys),
        cmocka_unit_test(test_no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
