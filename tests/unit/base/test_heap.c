// The heap against sorting: whatever the order of pushes, pops come by rising key.
#include "src/base/err.h"
#include "src/base/heap.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

static void
test_random_orders(void **state)
{
    struct rng r;
    rng_init(&r, 5);
    static uint64_t values[500];
    for (int round = 0; round < 200; round++) {
        struct heap h;
        heap_init(&h);
        assert_null(heap_peek(&h));
        size_t n = 1 + rng_below(&r, 500);
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            values[i] = rng_below(&r, round % 2 == 0 ? 20 : UINT64_MAX); // with and without equal keys
            sum += values[i];
            assert_int_equal(heap_push(&h, values[i], &values[i]), 0);
        }
        uint64_t last = 0;
        struct heap_item item;
        for (size_t i = 0; i < n; i++) {
            uint64_t peeked = heap_peek(&h)->key;
            assert_true(heap_pop(&h, &item));
            assert_true(item.key == peeked && item.key >= last);
            assert_true(*(uint64_t *)item.value == item.key);
            last = item.key;
            sum -= item.key;
        }
        assert_false(heap_pop(&h, &item));
        assert_true(sum == 0);
        heap_fini(&h);
    }
}

static void
test_pushes_between_pops(void **state)
{
    struct rng r;
    rng_init(&r, 6);
    struct heap h;
    heap_init(&h);
    uint64_t now = 0;
    struct heap_item item;
    for (int i = 0; i < 100000; i++) {
        if (rng_below(&r, 2) == 0 || h.count == 0) {
            assert_int_equal(heap_push(&h, now + rng_below(&r, 1000), &h), 0);
        } else {
            assert_true(heap_pop(&h, &item));
            assert_true(item.key >= now);
            now = item.key;
        }
    }
    heap_fini(&h);
}

static void
test_no_memory_changes_nothing(void **state)
{
    struct heap h;
    heap_init(&h);
    int pushed = 0;
    mem_test_fail_after(2);
    while (heap_push(&h, (uint64_t)(100 - pushed), &h) == 0)
        pushed++;
    assert_int_equal(h.count, pushed);
    struct heap_item item;
    for (int i = pushed - 1; i >= 0; i--) {
        assert_true(heap_pop(&h, &item));
        assert_true(item.key == (uint64_t)(100 - i));
    }
    heap_fini(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_orders),
        cmocka_unit_test(test_pushes_between_pops),
        cmocka_unit_test(test_no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
