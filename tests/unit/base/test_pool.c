// Pools: reuse up to the limit, counts, no memory, and the assertion on what is never given back.
#include "src/base/mem.h"
#include "src/base/pool.h"
#include "tests/unit/base/unit.h"

static void
test_take_and_give(void **state)
{
    struct pool p;
    pool_init(&p, 1, 4); // smaller than a link
    void *objects[10];
    for (int i = 0; i < 10; i++) {
        objects[i] = pool_take(&p);
        assert_non_null(objects[i]);
        memset(objects[i], 0xab, 1);
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(objects[i], objects[j]);
    }
    assert_int_equal(p.live_count, 10);
    for (int i = 0; i < 10; i++)
        pool_give(&p, objects[i]);
    assert_int_equal(p.live_count, 0);
#ifdef LV_POOL_DEBUG
    assert_int_equal(p.free_count, 0);
#else
    assert_int_equal(p.free_count, 4);
    for (int i = 3; i >= 0; i--)
        assert_ptr_equal(pool_take(&p), objects[i]); // the last given is the warmest
    for (int i = 0; i < 4; i++)
        pool_give(&p, objects[i]);
#endif
    pool_fini(&p);
}

static void
test_no_memory(void **state)
{
    struct pool p;
    pool_init(&p, 100, 1);
    mem_test_fail_after(1);
    assert_null(pool_take(&p));
    assert_int_equal(p.live_count, 0);
    pool_fini(&p);
}

static void
end_with_live_object(void)
{
    struct pool p;
    pool_init(&p, 100, 1);
    void *object = pool_take(&p);
    if (object != NULL)
        pool_fini(&p);
}

static void
test_live_object_at_the_end_aborts(void **state)
{
    assert_true(does_abort(end_with_live_object, -1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_give),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_live_object_at_the_end_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
