// Random numbers: repeatable by seed, in range, evenly spread; the known first values of xoshiro256**.
#include "src/base/rng.h"
#include "tests/unit/base/unit.h"

static void
test_known_values(void **state)
{
    struct rng r = {{1, 2, 3, 4}}; // reference output of the algorithm for this state
    static const uint64_t want[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    for (size_t i = 0; i < LV_ARRAY_LEN(want); i++)
        assert_true(rng_next(&r) == want[i]);
    struct rng zero;
    rng_init(&zero, 0); // splitmix64 from 0
    assert_true(zero.state[0] == UINT64_C(0xe220a8397b1dcdaf));
}

static void
test_seed_repeats(void **state)
{
    struct rng a;
    struct rng b;
    struct rng c;
    rng_init(&a, 42);
    rng_init(&b, 42);
    rng_init(&c, 43);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = rng_next(&a);
        assert_true(v == rng_next(&b));
        same += v == rng_next(&c);
    }
    assert_int_equal(same, 0);
}

static void
test_below(void **state)
{
    struct rng r;
    rng_init(&r, 1);
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t v = rng_below(&r, 7);
        assert_true(v < 7);
        count[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_true(count[i] > 9500 && count[i] < 10500);
    for (int i = 0; i < 100; i++) {
        assert_true(rng_below(&r, 1) == 0);
        assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
        assert_true(rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
}

static void
test_secure(void **state)
{
    uint8_t a[40] = {0};
    uint8_t b[40] = {0};
    rng_secure(a, 32);
    rng_secure(b, 32);
    rng_secure(b, 0);
    assert_memory_not_equal(a, b, 32);
    assert_memory_equal(a + 32, "\0\0\0\0\0\0\0\0", 8);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_seed_repeats),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_secure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
