// Clocks: they run, and tests replace them.
#include <time.h>

#include "src/base/clock.h"
#include "tests/unit/base/unit.h"

static uint64_t
fake_mono(void *ctx)
{
    return *(uint64_t *)ctx;
}

static int64_t
fake_wall(void *ctx)
{
    return (int64_t) * (uint64_t *)ctx * 2;
}

static void
test_real_clocks(void **state)
{
    uint64_t a = clock_mono_ns();
    uint64_t b = clock_mono_ns();
    assert_true(b >= a);
    int64_t wall = clock_wall_ms();
    int64_t now = (int64_t)time(NULL) * 1000;
    assert_true(wall > now - 5000 && wall < now + 5000);
}

static void
test_replaced_clocks(void **state)
{
    uint64_t now = 77;
    struct clock_source source = {fake_mono, fake_wall, &now};
    clock_set_source(&source);
    source = (struct clock_source){0}; // the caller's struct is not needed any more
    assert_int_equal(clock_mono_ns(), 77);
    assert_int_equal(clock_wall_ms(), 154);
    now = 78;
    assert_int_equal(clock_mono_ns(), 78);
    clock_set_source(NULL);
    assert_true(clock_wall_ms() > 1000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_clocks),
        cmocka_unit_test(test_replaced_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
