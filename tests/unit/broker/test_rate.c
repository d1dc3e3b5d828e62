// test_rate.c: meters of publish rates on a clock of the test's own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/rng.h"
#include "src/broker/rate.h"

#define SECOND UINT64_C(1000000000)

static struct rate_meter *
meter(int64_t messages, int64_t bytes)
{
    const struct rate_limit limit = {messages, bytes};
    struct rate_meter *m = rate_meter_get(RATE_USER, SLICE_LIT("u"), &limit, 1);
    assert_non_null(m);
    return m;
}

// Publishes for so long as fast as it may; the messages that were taken.
static uint64_t
run(struct rate_meter *m, uint64_t *now_ns, uint64_t for_ns, size_t bytes)
{
    uint64_t taken = 0, end_ns = *now_ns + for_ns;
    while (*now_ns < end_ns) {
        uint64_t wait_ns = rate_meter_wait_ns(m, *now_ns);
        assert_true(wait_ns != UINT64_MAX);
        *now_ns += wait_ns;
        if (*now_ns >= end_ns)
            break;
        taken++;
        if (!rate_meter_charge(m, *now_ns, bytes))
            *now_ns += 100; // the publisher's own time
    }
    return taken;
}

static void
near(uint64_t value, uint64_t least, uint64_t most)
{
    if (value < least || value > most)
        fail_msg("%llu is not between %llu and %llu", (unsigned long long)value, (unsigned long long)least,
                 (unsigned long long)most);
}

// Over ten seconds the limit is kept, from one message a second to a million.
static void
test_messages(void **state)
{
    static const int64_t rates[] = {1, 3, 10, 99, 1000, 12345, 1000000};
    for (size_t i = 0; i < LV_ARRAY_LEN(rates); i++) {
        struct rate_meter *m = meter(rates[i], -1);
        uint64_t now_ns = 77 * SECOND, limit = 10 * (uint64_t)rates[i];
        uint64_t burst = (uint64_t)rates[i] * RATE_BURST_MS / 1000 + 2;
        near(run(m, &now_ns, 10 * SECOND, 1000000), limit - limit / 50, limit + burst);
        rate_meter_put(m);
    }
}

static void
test_bytes(void **state)
{
    static const struct {
        int64_t rate;
        size_t bytes;
    } cases[] = {{1000, 100}, {1000000, 12345}, {100, 1000}, {4000000000, 65536}};
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct rate_meter *m = meter(-1, cases[i].rate);
        uint64_t now_ns = SECOND, expected = 100 * (uint64_t)cases[i].rate / cases[i].bytes;
        uint64_t burst = expected / 1000 + 2;
        near(run(m, &now_ns, 100 * SECOND, cases[i].bytes), expected - expected / 50, expected + burst);
        rate_meter_put(m);
    }
}

// Nothing is saved up beyond the burst.
static void
test_idle_earns_a_burst_only(void **state)
{
    struct rate_meter *m = meter(100, -1);
    uint64_t now_ns = 5 * SECOND;
    (void)run(m, &now_ns, SECOND, 0);
    now_ns += 3600 * SECOND;
    uint64_t at_once = 0;
    while (rate_meter_wait_ns(m, now_ns) == 0) {
        rate_meter_charge(m, now_ns, 0);
        at_once++;
    }
    near(at_once, 9, 12);
    rate_meter_put(m);
}

static void
test_no_limit_and_nothing(void **state)
{
    struct rate_meter *m = meter(-1, -1);
    for (int i = 0; i < 1000; i++)
        assert_false(rate_meter_charge(m, 1, 1u << 30));
    assert_int_equal(rate_meter_wait_ns(m, 1), 0);
    rate_meter_put(m);
    m = meter(0, -1);
    assert_true(rate_meter_wait_ns(m, 1) == UINT64_MAX);
    assert_true(rate_meter_charge(m, 1, 1));
    rate_meter_put(m);
    m = meter(INT64_MAX, INT64_MAX); // no overflow, no limit to speak of
    for (int i = 0; i < 1000; i++)
        assert_false(rate_meter_charge(m, 1, UINT32_MAX));
    assert_int_equal(rate_meter_wait_ns(m, 1), 0);
    rate_meter_put(m);
    m = meter(-1, 1); // one message of 4 GB at a byte a second: an hour, not 136 years
    assert_true(rate_meter_charge(m, SECOND, UINT32_MAX));
    near(rate_meter_wait_ns(m, SECOND), 3599 * SECOND, 3600 * SECOND);
    rate_meter_put(m);
}

// All who name it share it; a newer limit forgets what was owed; an older one changes nothing.
static void
test_sharing_and_versions(void **state)
{
    const struct rate_limit slow = {1, -1}, fast = {1000000, -1};
    struct rate_meter *a = rate_meter_get(RATE_VHOST, SLICE_LIT("v"), &slow, 5);
    struct rate_meter *b = rate_meter_get(RATE_VHOST, SLICE_LIT("v"), &slow, 5);
    struct rate_meter *other = rate_meter_get(RATE_USER, SLICE_LIT("v"), &slow, 5);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, other);
    assert_true(rate_meter_charge(a, SECOND, 0));
    assert_true(rate_meter_wait_ns(b, SECOND) > 0);
    assert_int_equal(rate_meter_wait_ns(other, SECOND), 0);
    struct rate_meter *c = rate_meter_get(RATE_VHOST, SLICE_LIT("v"), &fast, 4);
    assert_true(rate_meter_wait_ns(c, SECOND) > 0);
    rate_meter_put(rate_meter_get(RATE_VHOST, SLICE_LIT("v"), &fast, 6));
    assert_int_equal(rate_meter_wait_ns(a, SECOND), 0);
    assert_false(rate_meter_charge(a, SECOND, 0));
    rate_meter_put(a);
    rate_meter_put(b);
    rate_meter_put(c);
    rate_meter_put(other);
    // The last one is gone, and with it its version.
    a = rate_meter_get(RATE_VHOST, SLICE_LIT("v"), &slow, 1);
    assert_true(rate_meter_charge(a, SECOND, 0));
    rate_meter_put(a);
    rate_meter_put(NULL);
}

// Random limits, sizes and pauses: never more than the limit over the whole time, a burst and one message.
static void
test_random(void **state)
{
    struct rng r;
    const char *seed = getenv("LEVERET_SEED");
    rng_init(&r, seed != NULL ? strtoull(seed, NULL, 10) : 42);
    for (int round = 0; round < 200; round++) {
        int64_t messages = (int64_t)(1 + rng_below(&r, 5000)), bytes = (int64_t)(1 + rng_below(&r, 5000000));
        struct rate_meter *m = meter(messages, bytes);
        uint64_t begin_ns = SECOND, now_ns = begin_ns, taken = 0, taken_bytes = 0, largest = 0;
        for (int i = 0; i < 500; i++) {
            uint64_t wait_ns = rate_meter_wait_ns(m, now_ns);
            now_ns += wait_ns + rng_below(&r, 2000000);
            size_t size = rng_below(&r, 20000);
            rate_meter_charge(m, now_ns, size);
            taken++;
            taken_bytes += size;
            largest = LV_MAX(largest, (uint64_t)size);
        }
        double seconds = (double)(now_ns - begin_ns) * 1e-9 + RATE_BURST_MS * 1e-3;
        assert_true((double)taken <= seconds * (double)messages + 2);
        assert_true((double)taken_bytes <= seconds * (double)bytes * 1.001 + 2 * (double)largest);
        rate_meter_put(m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_idle_earns_a_burst_only),
        cmocka_unit_test(test_no_limit_and_nothing),
        cmocka_unit_test(test_sharing_and_versions),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
