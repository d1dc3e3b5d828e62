// test_ctl_options.c: the command line's grammar, which is rabbitmqctl's.
#include "ctl_test.h"

#include "src/cli/leveretctl_options.h"

// Parses words ended by NULL behind a program name; the result is freed by ctl_options_fini.
static struct ctl_options
parse(const char *first, ...)
{
    static char program[] = "leveretctl";
    char *argv[CTL_ARGS_MAX + 8] = {program};
    int argc = 1;
    va_list ap;
    struct ctl_options o;
    va_start(ap, first);
    for (const char *word = first; word != NULL; word = va_arg(ap, const char *))
        argv[argc++] = (char *)(uintptr_t)word;
    va_end(ap);
    assert_int_equal(ctl_options_parse(argc, argv, &o), 0);
    return o;
}

static void
options_stand_before_and_behind(void **state)
{
    struct ctl_options o =
        parse("-q", "list_queues", "-p", "v", "name", "--formatter", "json", "messages", "-t", "5", NULL);
    assert_string_equal(o.command, "list_queues");
    assert_int_equal(o.arg_count, 2);
    assert_string_equal(o.args[0], "name");
    assert_string_equal(o.args[1], "messages");
    assert_string_equal(o.vhost, "v");
    assert_true(o.is_quiet);
    assert_false(o.is_silent);
    assert_int_equal(o.timeout_s, 5);
    assert_int_equal(o.format, FORMAT_JSON);
    assert_null(o.formatter);
    assert_int_equal(o.invalid.len, 0);
    ctl_options_fini(&o);
}

static void
values_may_follow_an_equals_sign(void **state)
{
    struct ctl_options o = parse("--vhost=/", "-n=rabbit@h", "--timeout=10", "--quiet=false", "--silent=true",
                                 "list_users", NULL);
    assert_string_equal(o.vhost, "/");
    assert_string_equal(o.node, "rabbit@h");
    assert_int_equal(o.timeout_s, 10);
    assert_false(o.is_quiet);
    assert_true(o.is_silent);
    assert_int_equal(o.invalid.len, 0);
    ctl_options_fini(&o);
    o = parse("--vhost=", "list_queues", NULL);
    assert_string_equal(o.vhost, "");
    ctl_options_fini(&o);
}

static void
switches_can_be_turned_off(void **state)
{
    struct ctl_options o = parse("list_users", "--no-table-headers", "shutdown", "--no-wait", NULL);
    assert_false(o.has_headers);
    assert_false(o.is_waiting);
    ctl_options_forbid(&o, OPTION_WAIT);
    assert_int_equal(o.invalid.len, 0);
    ctl_options_forbid(&o, 0);
    assert_text(&o.invalid, "--wait : \n");
    ctl_options_fini(&o);
    o = parse("list_users", NULL);
    assert_true(o.has_headers);
    assert_true(o.is_waiting);
    ctl_options_fini(&o);
}

static void
two_dashes_end_the_options(void **state)
{
    struct ctl_options o = parse("add_user", "--", "-u", "--", NULL);
    assert_string_equal(o.command, "add_user");
    assert_int_equal(o.arg_count, 2);
    assert_string_equal(o.args[0], "-u");
    assert_string_equal(o.args[1], "--");
    ctl_options_fini(&o);
}

static void
negative_numbers_and_a_dash_are_arguments(void **state)
{
    struct ctl_options o = parse("x", "-5", "-", "", NULL);
    assert_int_equal(o.arg_count, 3);
    assert_int_equal(o.invalid.len, 0);
    ctl_options_fini(&o);
}

static void
bad_options_are_collected(void **state)
{
    struct ctl_options o = parse("ping", "--nosuch", "--other=1", "-t", "abc", "-x", "--vhost", NULL);
    assert_text(&o.invalid, "--nosuch : \n--other : 1\n-t : abc\n-x : \n--vhost : \n");
    ctl_options_fini(&o);
    // A value is not taken from what looks like an option.
    o = parse("list_queues", "-p", "-q", NULL);
    assert_text(&o.invalid, "-p : \n");
    assert_true(o.is_quiet);
    ctl_options_fini(&o);
    o = parse("--quiet=maybe", "--timeout=99999999999999999999", NULL);
    assert_text(&o.invalid, "--quiet : maybe\n--timeout : 99999999999999999999\n");
    ctl_options_fini(&o);
}

static void
options_of_other_commands_are_refused(void **state)
{
    struct ctl_options o = parse("list_users", "--limit", "5", "-e", "--user", "bob", NULL);
    assert_int_equal(o.invalid.len, 0);
    ctl_options_forbid(&o, OPTION_USER);
    assert_text(&o.invalid, "--if-empty : \n--limit : 5\n");
    ctl_options_fini(&o);
}

static void
an_unknown_formatter_is_kept(void **state)
{
    struct ctl_options o = parse("--formatter", "foo", "list_users", NULL);
    assert_string_equal(o.formatter, "foo");
    assert_int_equal(o.format, FORMAT_TABLE);
    ctl_options_fini(&o);
    o = parse("--formatter", "pretty_table", NULL);
    assert_null(o.formatter);
    assert_int_equal(o.format, FORMAT_PRETTY);
    assert_null(o.command);
    ctl_options_fini(&o);
}

static void
arguments_are_bounded(void **state)
{
    static char word[] = "x";
    char *argv[CTL_ARGS_MAX + 4];
    struct ctl_options o;
    for (size_t i = 0; i < LV_ARRAY_LEN(argv); i++)
        argv[i] = word;
    assert_int_equal(ctl_options_parse(CTL_ARGS_MAX + 2, argv, &o), 0);
    assert_int_equal(o.arg_count, CTL_ARGS_MAX);
    ctl_options_fini(&o);
    assert_true(ctl_options_parse(CTL_ARGS_MAX + 3, argv, &o) < 0);
    ctl_options_fini(&o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_behind),
        cmocka_unit_test(values_may_follow_an_equals_sign),
        cmocka_unit_test(switches_can_be_turned_off),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(negative_numbers_and_a_dash_are_arguments),
        cmocka_unit_test(bad_options_are_collected),
        cmocka_unit_test(options_of_other_commands_are_refused),
        cmocka_unit_test(an_unknown_formatter_is_kept),
        cmocka_unit_test(arguments_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
