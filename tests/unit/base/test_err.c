// Error numbers: each has a text under either sign, and errno values that matter keep their meaning.
#include <errno.h>

#include "src/base/err.h"
#include "tests/unit/base/unit.h"

static void
test_each_number_has_its_text(void **state)
{
#define X(name, number, text)                                                                                \
    assert_string_equal(err_text(name), text);                                                               \
    assert_string_equal(err_text(-name), text);
    LE_MAP(X)
#undef X
    assert_string_equal(err_text(0), "success");
    assert_string_equal(err_text(9999), "unknown error");
    assert_string_equal(err_text(INT32_MIN), "unknown error");
    assert_string_equal(err_text(INT32_MAX), "unknown error");
}

static void
test_errno_becomes_an_error(void **state)
{
    assert_int_equal(err_from_errno(ENOMEM), -LE_NOMEM);
    assert_int_equal(err_from_errno(ENOSPC), -LE_NOSPACE);
    assert_int_equal(err_from_errno(EDQUOT), -LE_NOSPACE);
    assert_int_equal(err_from_errno(EIO), -LE_IO);
    assert_int_equal(err_from_errno(EACCES), -LE_ACCESS);
    assert_int_equal(err_from_errno(EAGAIN), -LE_AGAIN);
    assert_int_equal(err_from_errno(EWOULDBLOCK), -LE_AGAIN);
    assert_int_equal(err_from_errno(ENOENT), -LE_NOTFOUND);
    assert_int_equal(err_from_errno(EEXIST), -LE_EXISTS);
    assert_int_equal(err_from_errno(EADDRINUSE), -LE_INUSE);
    assert_int_equal(err_from_errno(ECONNREFUSED), -LE_NETWORK);
    assert_int_equal(err_from_errno(ETIMEDOUT), -LE_TIMEOUT);
    assert_int_equal(err_from_errno(EPIPE), -LE_CLOSED);
    assert_int_equal(err_from_errno(12345), -LE_IO);
    for (int e = 0; e < 256; e++)
        assert_true(err_from_errno(e) < 0); // never success
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_number_has_its_text),
        cmocka_unit_test(test_errno_becomes_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
