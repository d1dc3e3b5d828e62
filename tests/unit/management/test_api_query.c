// test_api_query.c: paths and queries taken apart.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "src/base/err.h"
#include "src/management/api_query.h"

static char text[4096];
static struct api_query q;

static int
parse(const char *from)
{
    snprintf(text, sizeof text, "%s", from);
    return api_query_parse(text, &q);
}

static void
expect_segment(size_t i, const char *want)
{
    assert_true(i < q.segment_count);
    assert_true(slice_eq_str(q.segments[i], want));
}

static void
test_paths(void **state)
{
    assert_int_equal(parse("/api/queues/%2F/a%20b"), 0);
    assert_int_equal(q.segment_count, 4);
    expect_segment(2, "/");
    expect_segment(3, "a b");
    assert_int_equal(parse("/api/queues/%2f/"), 0); // a slash at the end is nothing
    assert_int_equal(q.segment_count, 3);
    assert_int_equal(parse("/api/bindings/v/e//q/q"), 0); // one in the middle is an empty name
    assert_int_equal(q.segment_count, 7);
    expect_segment(4, "");
    assert_int_equal(parse("/a+b/%00"), 0); // '+' is itself in a path
    expect_segment(0, "a+b");
    assert_int_equal(q.segments[1].len, 1);
    assert_int_equal(parse("/"), 0);
    assert_int_equal(q.segment_count, 0);
    assert_int_equal(parse(""), 0);
    assert_int_equal(parse("api"), -LE_SYNTAX);
    assert_int_equal(parse("/a%"), -LE_SYNTAX);
    assert_int_equal(parse("/a%2"), -LE_SYNTAX);
    assert_int_equal(parse("/a%zz"), -LE_SYNTAX);
    assert_int_equal(parse("/a%2/b"), -LE_SYNTAX); // the digits must be of the same segment
    assert_int_equal(parse("/1/2/3/4/5/6/7/8/9/10/11/12"), 0);
    assert_int_equal(parse("/1/2/3/4/5/6/7/8/9/10/11/12/13"), -LE_LIMIT);
}

static void
test_queries(void **state)
{
    assert_int_equal(parse("/a?page=1&name=x+y%2B&empty=&flag&&=v&page=2"), 0);
    assert_true(slice_eq_str(api_query_find(&q, "page"), "1")); // the first counts
    assert_true(slice_eq_str(api_query_find(&q, "name"), "x y+"));
    assert_non_null(api_query_find(&q, "empty").ptr);
    assert_int_equal(api_query_find(&q, "empty").len, 0);
    assert_non_null(api_query_find(&q, "flag").ptr);
    assert_null(api_query_find(&q, "none").ptr);
    assert_int_equal(parse("/a?"), 0);
    assert_int_equal(q.parameter_count, 0);
    assert_int_equal(parse("/a?b=%2"), -LE_SYNTAX);
    assert_int_equal(parse("/a?%=b"), -LE_SYNTAX);
    assert_int_equal(parse("/a?x=1?y=2&z=/"), 0);
    assert_true(slice_eq_str(api_query_find(&q, "x"), "1?y=2"));
    char many[1024] = "/a?";
    for (int i = 0; i < API_PARAMETERS_MAX; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "k%d=v&", i);
    assert_int_equal(parse(many), 0);
    snprintf(many + strlen(many), sizeof many - strlen(many), "one=more");
    assert_int_equal(parse(many), -LE_LIMIT);
}

static void
test_escaping(void **state)
{
    struct buf out = BUF_INIT;
    api_put_escaped(&out, SLICE_LIT("a b/~*#.-_\xff"));
    assert_string_equal(buf_cstr(&out), "a+b%2F%7E%2A%23.-_%FF");
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
