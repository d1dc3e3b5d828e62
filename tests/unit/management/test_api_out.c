// test_api_out.c: JSON through columns, and values caught for sorting.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/management/api_out.h"

// A queue as a listing writes it.
static void
put_object(struct api_out *o)
{
    struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    table_put_i64(&w, SLICE_LIT("x-max"), 5);
    table_begin_array(&w, SLICE_LIT("list"));
    array_put_i64(&w, 1);
    array_begin_table(&w);
    table_put_str(&w, SLICE_LIT("in"), "side");
    table_writer_end(&w);
    table_writer_end(&w);
    api_out_object(o, NULL);
    api_out_str(o, "name", "q\"1");
    api_out_int(o, "messages", -3);
    api_out_object(o, "stats");
    api_out_int(o, "publish", 7);
    api_out_object(o, "publish_details");
    api_out_double(o, "rate", 0.2);
    api_out_end(o);
    api_out_end(o);
    api_out_array(o, "consumers");
    for (int i = 0; i < 2; i++) {
        api_out_object(o, NULL);
        api_out_int(o, "tag", i);
        api_out_bool(o, "active", i == 0);
        api_out_end(o);
    }
    api_out_end(o);
    api_out_table(o, "arguments", buf_slice(&arguments));
    api_out_null(o, "policy");
    api_out_end(o);
    buf_fini(&arguments);
}

static void
expect(const char *columns, const char *want)
{
    struct buf out = BUF_INIT;
    struct api_columns c;
    struct api_out o;
    assert_int_equal(api_columns_parse(slice_str(columns), &c), 0);
    api_out_init(&o, &out, &c);
    put_object(&o);
    assert_int_equal(o.depth, 0);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static void
test_columns(void **state)
{
    expect(
        "",
        "{\"name\":\"q\\\"1\",\"messages\":-3,\"stats\":{\"publish\":7,\"publish_details\":{\"rate\":0.2}},"
        "\"consumers\":[{\"tag\":0,\"active\":true},{\"tag\":1,\"active\":false}],"
        "\"arguments\":{\"x-max\":5,\"list\":[1,{\"in\":\"side\"}]},\"policy\":null}");
    expect("messages,name", "{\"name\":\"q\\\"1\",\"messages\":-3}");
    expect("stats", "{\"stats\":{\"publish\":7,\"publish_details\":{\"rate\":0.2}}}");
    expect("stats.publish_details.rate", "{\"stats\":{\"publish_details\":{\"rate\":0.2}}}");
    expect("stats.publish,stats.publish_details.rate,stats.none",
           "{\"stats\":{\"publish\":7,\"publish_details\":{\"rate\":0.2}}}");
    expect("consumers.tag", "{\"consumers\":[{\"tag\":0},{\"tag\":1}]}");
    expect("consumers.none", "{}"); // nothing is left of it
    expect("none,stats.none,messages.deeper,arguments.none", "{}");
    expect("arguments.x-max,arguments.list.in", "{\"arguments\":{\"x-max\":5,\"list\":[{\"in\":\"side\"}]}}");
    expect(",,name,", "{\"name\":\"q\\\"1\"}");
    expect("policy,policy", "{\"policy\":null}");
}

static struct api_value
catch_value(const char *path)
{
    struct api_columns c;
    struct api_out o;
    struct api_value v = {0};
    assert_int_equal(api_columns_parse(slice_str(path), &c), 0);
    api_out_init_catch(&o, &c, &v);
    put_object(&o);
    return v;
}

static void
test_catching(void **state)
{
    assert_true(catch_value("messages").number == -3);
    assert_true(catch_value("stats.publish_details.rate").number == 0.2);
    assert_int_equal(catch_value("name").kind, API_VALUE_TEXT);
    assert_true(slice_eq_str(catch_value("name").text, "q\"1"));
    assert_int_equal(catch_value("policy").kind, API_VALUE_ATOM);
    assert_int_equal(catch_value("none").kind, API_VALUE_NUMBER); // what is missing counts as 0
    assert_true(catch_value("none").number == 0);
    assert_true(catch_value("stats").number == 0.2); // all of it: the last
}

static void
expect_double(double v, const char *want)
{
    struct buf out = BUF_INIT;
    struct api_out o;
    api_out_init(&o, &out, NULL);
    api_out_double(&o, NULL, v);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static void
test_doubles(void **state)
{
    expect_double(0, "0.0");
    expect_double(12, "12.0");
    expect_double(-0.1, "-0.1");
    expect_double(1.0 / 3, "0.3333333333333333");
    expect_double(INFINITY, "null");
    expect_double(NAN, "null");
    expect_double(1e22, "1e+22");
}

static void
test_bounds(void **state)
{
    struct api_columns c;
    struct buf text = BUF_INIT, out = BUF_INIT;
    struct api_out o;
    for (int i = 0; i < API_COLUMNS_MAX; i++)
        buf_printf(&text, "c%d,", i);
    assert_int_equal(api_columns_parse(buf_slice(&text), &c), 0);
    assert_int_equal(c.count, API_COLUMNS_MAX);
    buf_append_str(&text, "more");
    assert_int_equal(api_columns_parse(buf_slice(&text), &c), -LE_LIMIT);
    assert_int_equal(api_columns_parse(SLICE_LIT("a.b.c.d.e.f.g.h"), &c), 0);
    assert_int_equal(api_columns_parse(SLICE_LIT("a.b.c.d.e.f.g.h.i"), &c), -LE_LIMIT);
    api_out_init(&o, &out, NULL);
    for (int i = 0; i < API_OUT_DEPTH + 50; i++) // deeper than there is room: null stands there
        api_out_array(&o, NULL);
    for (int i = 0; i < API_OUT_DEPTH + 50; i++)
        api_out_end(&o);
    json_t *back = json_loadb((const char *)out.ptr, out.len, 0, NULL);
    assert_non_null(back);
    json_decref(back);
    buf_fini(&text);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_catching),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
