// test_ctl_format.c: the formatters, compared with what rabbitmqctl 3.10.8 printed for the same data.
#include "ctl_test.h"

#include <stdlib.h>

#include "src/cli/leveretctl_format.h"
#include "src/cli/leveretctl_term.h"

// --- single values --------------------------------------------------------------------------------------------------------------

static void
check_cell(enum ctl_kind kind, const char *json, const char *const expected[5])
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    for (int format = FORMAT_TABLE; format <= FORMAT_ERLANG; format++) {
        struct buf out = BUF_INIT;
        ctl_format_cell(&out, (enum ctl_format)format, kind, value);
        assert_text(&out, expected[format]);
        buf_fini(&out);
    }
    json_decref(value);
}

// In the order of enum ctl_format: table, json, csv, pretty_table, erlang.
#define CELL(kind, json, ...) check_cell(kind, json, (const char *const[5]){__VA_ARGS__})

static void
values_in_all_formats(void **state)
{
    CELL(KIND_TEXT, "\"tab\\tq\\\\b\\\"d\"", "tab\tq\\b\"d", "\"tab\\tq\\\\b\\\"d\"", "tab\tq\\b\"d",
         "tab\tq\\b\"d", "<<\"tab\\tq\\\\b\\\"d\">>");
    CELL(KIND_TEXT, "\"\"", "", "\"\"", "", "", "<<>>");
    CELL(KIND_ATOM, "\"running\"", "running", "\"running\"", "running", "running", "running");
    CELL(KIND_ATOM, "\"rabbit@my-host\"", "rabbit@my-host", "\"rabbit@my-host\"", "rabbit@my-host",
         "rabbit@my-host", "'rabbit@my-host'");
    CELL(KIND_NUMBER, "1099511627776", "1099511627776", "1099511627776", "1099511627776", "1099511627776",
         "1099511627776");
    CELL(KIND_NUMBER, "1.0", "1.0", "1.0", "1.0", "1.0", "1.0");
    CELL(KIND_NUMBER, "0.25", "0.25", "0.25", "0.25", "0.25", "0.25");
    CELL(KIND_BOOL, "true", "true", "true", "true", "true", "true");
    CELL(KIND_TAGS, "[\"management\",\"policymaker\"]", "[management, policymaker]",
         "[\"management\",\"policymaker\"]", "[management, policymaker]", "managementpolicymaker",
         "[management,policymaker]");
    CELL(KIND_TAGS, "[]", "[]", "[]", "[]", "", "[]");
    CELL(KIND_PID, "\"<b@localhost.1795262831.705.0>\"", "<b@localhost.1795262831.705.0>",
         "\"#PID<1.705.0>\"", "<b@localhost.1795262831.705.0>", "<1.705.0>", "<1.705.0>");
    CELL(KIND_ADDRESS, "\"127.0.0.1\"", "127.0.0.1", "[127,0,0,1]", "127.0.0.1", "{127,0,0,1}",
         "{127,0,0,1}");
    CELL(KIND_ADDRESS, "\"::1\"", "::1", "[0,0,0,0,0,0,0,1]", "::1", "{0,0,0,0,0,0,0,1}",
         "{0,0,0,0,0,0,0,1}");
    CELL(KIND_ADDRESS, "\"unknown\"", "unknown", "\"unknown\"", "unknown", "unknown", "unknown");
    CELL(KIND_PROTOCOL, "\"AMQP 0-9-1\"", "{0,9,1}", "[0,9,1]", "{0,9,1}", "{0,9,1}", "{0,9,1}");
    CELL(KIND_JSON, "{\"max-queues\":5}", "{\"max-queues\":5}", "\"{\\\"max-queues\\\":5}\"",
         "{\"max-queues\":5}", "{\"max-queues\":5}", "<<\"{\\\"max-queues\\\":5}\">>");
    CELL(KIND_NODES, "{\"a@h\":\"running\",\"b@h\":\"stopped\"}", "[{a@h, running}, {b@h, stopped}]",
         "{\"a@h\":\"running\",\"b@h\":\"stopped\"}", "[{a@h, running}, {b@h, stopped}]",
         "[{a@h, running}, {b@h, stopped}]", "[{a@h,running},{b@h,stopped}]");
    CELL(KIND_TEXT, "null", "", "\"\"", "", "", "''");
}

static void
amqp_tables_in_all_formats(void **state)
{
    CELL(KIND_TABLE, "{}", "[]", "[]", "[]", "", "[]");
    CELL(KIND_TABLE, "{\"x-max-length\":100,\"x-dead-letter-exchange\":\"dlx\"}",
         "[{\"x-max-length\",100},{\"x-dead-letter-exchange\",\"dlx\"}]",
         "[[\"x-max-length\",\"signedint\",100],[\"x-dead-letter-exchange\",\"longstr\",\"dlx\"]]",
         "[{\"x-max-length\",100},{\"x-dead-letter-exchange\",\"dlx\"}]",
         "{<<\"x-max-length\">>,signedint,100}{<<\"x-dead-letter-exchange\">>,longstr,<<\"dlx\">>}",
         "[{<<\"x-max-length\">>,signedint,100},{<<\"x-dead-letter-exchange\">>,longstr,<<\"dlx\">>}]");
    CELL(KIND_TABLE, "{\"s\":\"a\\\"b\\\\c\",\"n\":null,\"big\":1099511627776,\"t\":{\"k\":\"v\"},\"e\":{}}",
         "[{\"s\",\"a\\\"b\\\\c\"},{\"n\",undefined},{\"big\",1099511627776},{\"t\",[{\"k\",\"v\"}]},{\"e\",["
         "]}]",
         "[[\"s\",\"longstr\",\"a\\\"b\\\\c\"],[\"n\",\"void\",\"undefined\"],[\"big\",\"long\","
         "1099511627776],"
         "[\"t\",\"table\",[[\"k\",\"longstr\",\"v\"]]],[\"e\",\"table\",[]]]",
         "[{\"s\",\"a\\\"b\\\\c\"},{\"n\",undefined},{\"big\",1099511627776},{\"t\",[{\"k\",\"v\"}]},{\"e\",["
         "]}]",
         "{<<\"s\">>,longstr,<<\"a\\\"b\\\\c\">>}{<<\"n\">>,void,undefined}{<<\"big\">>,long,1099511627776}"
         "{<<\"t\">>,table,[{<<\"k\">>,longstr,<<\"v\">>}]}{<<\"e\">>,table,[]}",
         "[{<<\"s\">>,longstr,<<\"a\\\"b\\\\c\">>},{<<\"n\">>,void,undefined},{<<\"big\">>,long,"
         "1099511627776},"
         "{<<\"t\">>,table,[{<<\"k\">>,longstr,<<\"v\">>}]},{<<\"e\">>,table,[]}]");
}

// --- rows -----------------------------------------------------------------------------------------------------------------------

static const struct ctl_heading user_headings[] = {{"user", KIND_TEXT}, {"tags", KIND_TAGS}};

static void
check_table(enum ctl_format format, const char *rows, const struct ctl_table *shape, const char *expected)
{
    char *text = NULL;
    size_t size;
    struct ctl_table t = *shape;
    json_t *parsed = json_loads(rows, 0, NULL);
    assert_non_null(parsed);
    t.rows = parsed;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    ctl_format_table(to, format, &t);
    fclose(to);
    assert_string_equal(text, expected);
    free(text);
    json_decref(parsed);
}

static const struct ctl_table users = {.headings = user_headings, .column_count = 2, .has_headings = true};
static const char three_users[] =
    "[[\"alice\",[\"management\",\"policymaker\"]],[\"carl\",[]],[\"guest\",[\"administrator\"]]]";

static void
rows_in_all_formats(void **state)
{
    check_table(FORMAT_TABLE, three_users, &users,
                "user\ttags\nalice\t[management, policymaker]\ncarl\t[]\nguest\t[administrator]\n");
    check_table(FORMAT_CSV, three_users, &users,
                "\"user\",\"tags\"\n\"alice\",\"[management, "
                "policymaker]\"\n\"carl\",\"[]\"\n\"guest\",\"[administrator]\"\n");
    check_table(FORMAT_JSON, three_users, &users,
                "[\n{\"user\":\"alice\",\"tags\":[\"management\",\"policymaker\"]}\n,{\"user\":\"carl\","
                "\"tags\":[]}\n"
                ",{\"user\":\"guest\",\"tags\":[\"administrator\"]}\n]\n");
    check_table(
        FORMAT_ERLANG, three_users, &users,
        "[[{user,<<\"alice\">>},{tags,[management,policymaker]}],\n [{user,<<\"carl\">>},{tags,[]}],\n"
        " [{user,<<\"guest\">>},{tags,[administrator]}]]\n");
    check_table(FORMAT_PRETTY, "[[\"alice\",[]],[\"carl\",[\"a\"]]]", &users,
                "\033(0lqqqqqqqwqqqqqqk\033(B\n"
                "\033(0x\033(B \033[1muser\033[0m  \033(0x\033(B \033[1mtags\033[0m \033(0x\033(B\n"
                "\033(0tqqqqqqqnqqqqqqu\033(B\n"
                "\033(0x\033(B alice \033(0x\033(B      \033(0x\033(B\n"
                "\033(0tqqqqqqqnqqqqqqu\033(B\n"
                "\033(0x\033(B carl  \033(0x\033(B a    \033(0x\033(B\n"
                "\033(0mqqqqqqqvqqqqqqj\033(B\n");
}

static void
quotes_are_doubled_in_csv(void **state)
{
    static const struct ctl_heading headings[] = {{"arguments", KIND_TABLE}};
    struct ctl_table t = {.headings = headings, .column_count = 1};
    check_table(FORMAT_CSV, "[[{\"k\":\"v\"}]]", &t, "\"[{\"\"k\"\",\"\"v\"\"}]\"\n");
}

static void
empty_lists(void **state)
{
    struct ctl_table streamed = users;
    streamed.is_streamed = true;
    check_table(FORMAT_TABLE, "[]", &users, "\n");
    check_table(FORMAT_TABLE, "[]", &streamed, "");
    check_table(FORMAT_JSON, "[]", &users, "[]\n");
    check_table(FORMAT_JSON, "[]", &streamed, "[\n]\n");
    check_table(FORMAT_CSV, "[]", &streamed, "");
    check_table(FORMAT_PRETTY, "[]", &streamed, "");
    check_table(FORMAT_ERLANG, "[]", &users, "[]\n");
}

// list_consumers has a list more around each row.
static void
nested_rows(void **state)
{
    struct ctl_table t = users;
    t.is_nested = true;
    check_table(FORMAT_ERLANG, "[[\"a\",[]],[\"b\",[]]]", &t,
                "[[[{user,<<\"a\">>},{tags,[]}]],[[{user,<<\"b\">>},{tags,[]}]]]\n");
}

// --- Erlang's line breaks -------------------------------------------------------------------------------------------------------

static void
lines_break_as_erlang_breaks_them(void **state)
{
    static const struct ctl_heading headings[] = {{"name", KIND_TEXT}, {"arguments", KIND_TABLE}};
    struct ctl_table t = {.headings = headings, .column_count = 2};
    check_table(
        FORMAT_ERLANG,
        "[[\"tab\\tq\\\\b\\\"d\",{\"x-s\":\"a\\\"b\\\\c\",\"x-n\":null,\"x-b\":true,\"x-big\":1099511627776,"
        "\"x-t\":{\"k\":\"v\",\"l\":[1,\"a\",{\"z\":2}]},\"x-a\":[],\"x-e\":{}}]]",
        &t,
        "[[{name,<<\"tab\\tq\\\\b\\\"d\">>},\n"
        "  {arguments,[{<<\"x-s\">>,longstr,<<\"a\\\"b\\\\c\">>},\n"
        "              {<<\"x-n\">>,void,undefined},\n"
        "              {<<\"x-b\">>,bool,true},\n"
        "              {<<\"x-big\">>,long,1099511627776},\n"
        "              {<<\"x-t\">>,table,\n"
        "               [{<<\"k\">>,longstr,<<\"v\">>},\n"
        "                {<<\"l\">>,array,\n"
        "                 [{signedint,1},\n"
        "                  {longstr,<<\"a\">>},\n"
        "                  {table,[{<<\"z\">>,signedint,2}]}]}]},\n"
        "              {<<\"x-a\">>,array,[]},\n"
        "              {<<\"x-e\">>,table,[]}]}]]\n");
}

static void
seventy_nine_columns_fit(void **state)
{
    struct buf out = BUF_INIT;
    struct term *pair = term_list();
    term_add(pair, term_leaf(SLICE_LIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
    term_add(pair, term_leaf(SLICE_LIT("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")));
    term_print(&out, pair);
    assert_int_equal(out.len, 78);
    assert_null(strchr(buf_cstr(&out), '\n'));
    buf_reset(&out);
    term_add(pair, term_leaf(SLICE_LIT("c")));
    term_print(&out, pair);
    assert_non_null(strchr(buf_cstr(&out), '\n'));
    term_free(pair);
    term_free(NULL);
    term_add(NULL, term_list());
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_in_all_formats),
        cmocka_unit_test(amqp_tables_in_all_formats),
        cmocka_unit_test(rows_in_all_formats),
        cmocka_unit_test(quotes_are_doubled_in_csv),
        cmocka_unit_test(empty_lists),
        cmocka_unit_test(nested_rows),
        cmocka_unit_test(lines_break_as_erlang_breaks_them),
        cmocka_unit_test(seventy_nine_columns_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
