// test_samples.c: rings of samples, rates, and what a counter was at a time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/base/samples.h"

enum { SECOND = 1000 };

static void
add(struct samples *s, int64_t seconds, uint64_t a, uint64_t b)
{
    const uint64_t values[2] = {a, b};
    samples_add(s, seconds * SECOND, values);
}

static void
test_rates(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_BASIC);
    assert_true(samples_rate(s, 0, 0, SECOND) == 0);
    add(s, 10, 100, 50);
    assert_true(samples_rate(s, 0, 10 * SECOND, SECOND) == 0); // one is no rate
    add(s, 15, 150, 40);
    assert_true(samples_rate(s, 0, 15 * SECOND, SECOND) == 10);
    assert_true(samples_rate(s, 1, 15 * SECOND, SECOND) == -2); // of a number of things
    assert_true(samples_rate(s, 0, 17 * SECOND, SECOND) == 0);  // too long ago
    add(s, 15, 999, 999);                                       // no later than the last: left out
    add(s, 14, 999, 999);
    assert_int_equal(samples_at(s, 0, 20 * SECOND), 150);
    assert_true(samples_rate(NULL, 0, 0, 0) == 0);
    samples_free(s);
}

static void
test_at(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_BASIC);
    assert_int_equal(samples_at(s, 0, 100), 0);
    assert_int_equal(samples_at(NULL, 0, 100), 0);
    for (int i = 1; i <= 100; i++)
        add(s, 5 * i, (uint64_t)i, 0);
    assert_int_equal(samples_at(s, 0, 4 * SECOND), 0); // before the first
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(samples_at(s, 0, 5 * i * SECOND), i);
        assert_int_equal(samples_at(s, 0, 5 * i * SECOND + 4999), i);
    }
    samples_free(s);
}

// Ten minutes in steps of five seconds, an hour in steps of a minute; older ones are gone.
static void
test_old_samples_are_coarse(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_BASIC);
    const int last = 2 * 3600;
    for (int at = 5; at <= last; at += 5)
        add(s, at, (uint64_t)at, 1);
    assert_int_equal(samples_at(s, 0, (last - 300) * SECOND), last - 300);
    uint64_t older = samples_at(s, 0, (last - 1800) * SECOND);
    assert_true(older <= last - 1800 && older > last - 1800 - 61);
    assert_int_equal(samples_at(s, 0, (last - 2 * 3600 + 5) * SECOND), 0);
    assert_true(samples_bytes(s) < 8 * 1024);
    samples_free(s);
}

static void
test_rates_alone_are_small(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_RATE);
    for (int i = 1; i <= 1000; i++)
        add(s, i, (uint64_t)(i * 3), 0);
    assert_true(samples_rate(s, 0, 1000 * SECOND, SECOND) == 3);
    assert_int_equal(samples_at(s, 0, 998 * SECOND), 0);
    assert_true(samples_bytes(s) < 300);
    samples_free(s);
}

static void
test_unchanged(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_BASIC);
    add(s, 1, 5, 5);
    assert_int_equal(samples_unchanged(s), 0);
    add(s, 2, 5, 5);
    add(s, 3, 5, 5);
    assert_int_equal(samples_unchanged(s), 2);
    add(s, 4, 5, 6);
    assert_int_equal(samples_unchanged(s), 0);
    samples_free(s);
}

static void
test_copies(void **state)
{
    struct samples *s = samples_new(2, SAMPLES_GLOBAL);
    for (int i = 1; i <= 300; i++)
        add(s, 5 * i, (uint64_t)i, 0);
    struct samples *copy = samples_copy(s);
    add(s, 5 * 301, 301, 0);
    assert_int_equal(samples_at(copy, 0, 9999 * SECOND), 300);
    assert_int_equal(samples_at(s, 0, 9999 * SECOND), 301);
    add(copy, 5 * 400, 400, 0); // a full ring goes on
    assert_int_equal(samples_at(copy, 0, 9999 * SECOND), 400);
    samples_free(copy);
    samples_free(s);
    assert_null(samples_copy(NULL));
}

// Without memory a sample is left out; what is there stays.
static void
test_out_of_memory(void **state)
{
    for (uint64_t n = 1; n < 12; n++) {
        struct samples *s = samples_new(2, SAMPLES_BASIC);
        add(s, 1, 1, 0);
        mem_test_fail_after(n);
        for (int i = 2; i < 40; i++)
            add(s, i, (uint64_t)i, 0);
        struct samples *copy = samples_copy(s);
        mem_test_fail_after(0);
        assert_true(samples_at(s, 0, SECOND) == 1);
        assert_true(samples_at(s, 0, 100 * SECOND) == 39);
        samples_free(copy);
        samples_free(s);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_at),
        cmocka_unit_test(test_old_samples_are_coarse),
        cmocka_unit_test(test_rates_alone_are_small),
        cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
