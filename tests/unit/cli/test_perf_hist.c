// test_perf_hist.c: buckets, percentiles, copies and differences.
#include "perf_test.h"

#include "src/base/rng.h"
#include "src/cli/perf_hist.h"

static struct perf_hist a, b;

static int
setup(void **state)
{
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    return 0;
}

static uint64_t
max_of(const struct perf_hist *h)
{
    return atomic_load(&h->max);
}

static void
every_bucket_holds_its_own_upper_end(void **state)
{
    for (size_t i = 0; i < PERF_HIST_BUCKETS; i++) {
        assert_int_equal(perf_hist_index(perf_hist_upper(i)), i);
        if (i > 0)
            assert_int_equal(perf_hist_index(perf_hist_upper(i - 1) + 1), i);
    }
    assert_int_equal(perf_hist_upper(PERF_HIST_BUCKETS - 1), (UINT64_C(1) << PERF_HIST_VALUE_BITS) - 1);
}

static void
is_right_to_less_than_one_percent(void **state)
{
    struct rng r;
    rng_init(&r, 1);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t v = rng_next(&r) >> (64 - 1 - i % PERF_HIST_VALUE_BITS);
        uint64_t upper = perf_hist_upper(perf_hist_index(v));
        assert_true(upper >= v);
        assert_true((double)(upper - v) <= 0.008 * (double)v);
    }
}

static void
small_values_are_exact(void **state)
{
    for (uint64_t v = 0; v < 256; v++)
        assert_int_equal(perf_hist_upper(perf_hist_index(v)), v);
}

static void
percentiles_are_ranks_rounded_up(void **state)
{
    assert_int_equal(perf_hist_percentile(&a, 0.5), 0);
    for (uint64_t v = 1; v <= 100; v++)
        perf_hist_record(&a, v);
    assert_int_equal(perf_hist_percentile(&a, 0), 1);
    assert_int_equal(perf_hist_percentile(&a, 0.5), 50);
    assert_int_equal(perf_hist_percentile(&a, 0.99), 99);
    assert_int_equal(perf_hist_percentile(&a, 0.991), 100);
    assert_int_equal(perf_hist_percentile(&a, 1), 100);
    assert_int_equal(perf_hist_count(&a), 100);
    assert_true(perf_hist_mean(&a) > 50.49 && perf_hist_mean(&a) < 50.51);
}

static void
one_value_is_every_percentile(void **state)
{
    perf_hist_record(&a, 1000003);
    assert_int_equal(perf_hist_percentile(&a, 0.5), 1000003); // not the bucket's end above it
    assert_int_equal(perf_hist_percentile(&a, 1), 1000003);
    assert_int_equal(max_of(&a), 1000003);
}

static void
values_beyond_the_range_are_the_largest(void **state)
{
    perf_hist_record(&a, UINT64_MAX);
    perf_hist_record(&a, 1);
    assert_int_equal(perf_hist_count(&a), 2);
    assert_true(perf_hist_percentile(&a, 1) == UINT64_MAX);
    assert_int_equal(perf_hist_percentile(&a, 0.5), 1);
}

static void
many_at_once_are_many(void **state)
{
    perf_hist_record_many(&a, 7, 999);
    perf_hist_record(&a, 70);
    assert_int_equal(perf_hist_count(&a), 1000);
    assert_int_equal(perf_hist_percentile(&a, 0.999), 7);
    assert_int_equal(perf_hist_percentile(&a, 0.9991), 70);
}

static void
adding_and_subtracting_are_windows(void **state)
{
    perf_hist_record(&a, 100);
    perf_hist_record(&a, 1000000);
    perf_hist_add(&b, &a); // the earlier moment
    perf_hist_record(&a, 200);
    perf_hist_record(&a, 5000);
    struct perf_hist *window = calloc(1, sizeof *window);
    perf_hist_add(window, &a);
    perf_hist_subtract(window, &b);
    assert_int_equal(perf_hist_count(window), 2);
    assert_int_equal(perf_hist_percentile(window, 0.5), 200);
    // The million is of before: the maximum is that of what is left, to its bucket.
    assert_true(max_of(window) >= 5000 && max_of(window) < 5040);
    // A maximum within the window stays exact.
    perf_hist_record(&a, 2000003);
    memset(window, 0, sizeof *window);
    perf_hist_add(window, &a);
    perf_hist_subtract(window, &b);
    assert_int_equal(max_of(window), 2000003);
    free(window);
}

static void
an_empty_window_is_empty(void **state)
{
    perf_hist_record(&a, 100);
    perf_hist_add(&b, &a);
    perf_hist_subtract(&b, &a);
    assert_int_equal(perf_hist_count(&b), 0);
    assert_int_equal(perf_hist_percentile(&b, 0.99), 0);
    assert_true(perf_hist_mean(&b) == 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_bucket_holds_its_own_upper_end, setup),
        cmocka_unit_test_setup(is_right_to_less_than_one_percent, setup),
        cmocka_unit_test_setup(small_values_are_exact, setup),
        cmocka_unit_test_setup(percentiles_are_ranks_rounded_up, setup),
        cmocka_unit_test_setup(one_value_is_every_percentile, setup),
        cmocka_unit_test_setup(values_beyond_the_range_are_the_largest, setup),
        cmocka_unit_test_setup(many_at_once_are_many, setup),
        cmocka_unit_test_setup(adding_and_subtracting_are_windows, setup),
        cmocka_unit_test_setup(an_empty_window_is_empty, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
