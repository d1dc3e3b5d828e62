// Assertions: what they print, and that they end the process; container_of.
#include "tests/unit/base/unit.h"

static void
fail_an_assertion(void)
{
    volatile int two = 2;
    LV_ASSERT(two == 3);
}

static void
pass_an_assertion(void)
{
    volatile int two = 2;
    LV_ASSERT(two == 2);
}

static void
test_failed_assertion_tells_place_and_trace(void **state)
{
    char path[] = "/tmp/lv_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_true(does_abort(fail_an_assertion, fd));
    char text[4096] = "";
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    assert_non_null(strstr(text, "test_lv.c:"));
    assert_non_null(strstr(text, "fail_an_assertion: assertion failed: two == 3\n"));
    assert_non_null(strstr(text, "[0x")); // at least one frame
    close(fd);
}

static void
test_true_assertion_goes_on(void **state)
{
    assert_false(does_abort(pass_an_assertion, -1));
}

static void
test_container_of(void **state)
{
    struct outer {
        int a;
        char inner;
    } o;
    assert_ptr_equal(LV_CONTAINER_OF(&o.inner, struct outer, inner), &o);
    assert_int_equal(LV_MIN(3, 4), 3);
    assert_int_equal(LV_MAX(3, 4), 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_assertion_tells_place_and_trace),
        cmocka_unit_test(test_true_assertion_goes_on),
        cmocka_unit_test(test_container_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
