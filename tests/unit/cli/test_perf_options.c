// test_perf_options.c: the command line: values with their units, options in every spelling, refusals a person understands, help.
#include "perf_test.h"

#include "amqp/wire/table.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_options.h"

struct config {
    bool is_flag, is_on;
    const char *text;
    uint64_t number, size;
    double time, rate;
    struct buf args;
};

static const struct config defaults = {
    .is_on = true, .text = "preset", .number = 20000, .size = 4096, .time = 1.5};

#define AT(member) offsetof(struct config, member)

static const struct perf_option options[] = {
    {OPTION_HEADING, 0, "Things", 0, NULL, NULL, 0, 0},
    {OPTION_FLAG, 'f', "flag", AT(is_flag), NULL, "A flag.", 0, 0},
    {OPTION_FLAG, 0, "on", AT(is_on), NULL, "Another.", 0, 0},
    {OPTION_TEXT, 't', "text", AT(text), "TEXT", "A text.", 0, 0},
    {OPTION_COUNT, 'n', "number", AT(number), "N", "A number.", 1, 1000000},
    {OPTION_SIZE, 's', "size", AT(size), "BYTES", "A size.", 0, 0},
    {OPTION_SECONDS, 'z', "duration", AT(time), "TIME", "A time.", 0, 0},
    {OPTION_RATE, 'r', "rate", AT(rate), "PER_S", "A rate.", 0, 0},
    {OPTION_ARGS, 'a', "args", AT(args), "K=V,...", "Arguments.", 0, 0},
};

static const struct perf_command command = {
    .name = "test",
    .summary = "summary",
    .about = "About.",
    .examples = "  example\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct config),
    .defaults = &defaults,
};

static struct config config;
static struct buf error;

static int
setup(void **state)
{
    config = defaults;
    error = BUF_INIT;
    return 0;
}

static int
teardown(void **state)
{
    perf_options_fini(&command, &config);
    buf_fini(&error);
    return 0;
}

// Words after the last one are NULL.
static int
parse(const char *a, const char *b, const char *c, const char *d)
{
    char *argv[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b, (char *)(uintptr_t)c, (char *)(uintptr_t)d,
                    NULL};
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return perf_options_parse(&command, argc, argv, &config, &error);
}

static void
refused(const char *a, const char *b, const char *text)
{
    buf_reset(&error);
    assert_int_equal(parse(a, b, NULL, NULL), -LE_INVAL);
    if (strstr(buf_cstr(&error), text) == NULL)
        fail_msg("'%s' does not contain '%s'", buf_cstr(&error), text);
}

static void
counts(void **state)
{
    uint64_t v = 7;
    assert_true(perf_parse_count("0", &v) && v == 0);
    assert_true(perf_parse_count("1000", &v) && v == 1000);
    assert_true(perf_parse_count("10k", &v) && v == 10000);
    assert_true(perf_parse_count("2M", &v) && v == 2000000);
    assert_true(perf_parse_count("1.5M", &v) && v == 1500000);
    v = 7;
    static const char *const bad[] = {"",    "-1",  "x",  "10x", "1.5",   "0x10",
                                      "inf", "nan", " 1", "1 ",  "1e400", "99999999999999999999",
                                      "k",   "."};
    for (size_t i = 0; i < LV_ARRAY_LEN(bad); i++)
        if (perf_parse_count(bad[i], &v))
            fail_msg("'%s' was taken as a number", bad[i]);
    assert_int_equal(v, 7);
}

static void
sizes_times_and_rates(void **state)
{
    uint64_t v;
    double d;
    assert_true(perf_parse_size("16", &v) && v == 16);
    assert_true(perf_parse_size("1KiB", &v) && v == 1024);
    assert_true(perf_parse_size("4k", &v) && v == 4096);
    assert_true(perf_parse_size("1kB", &v) && v == 1000);
    assert_true(perf_parse_size("2MiB", &v) && v == 2 << 20);
    assert_true(perf_parse_size("1.5KiB", &v) && v == 1536);
    assert_false(perf_parse_size("0.3k", &v));
    assert_false(perf_parse_size("1s", &v));
    assert_true(perf_parse_seconds("10", &d) && d == 10);
    assert_true(perf_parse_seconds("500ms", &d) && d == 0.5);
    assert_true(perf_parse_seconds("2m", &d) && d == 120);
    assert_true(perf_parse_seconds("1h", &d) && d == 3600);
    assert_false(perf_parse_seconds("1d", &d));
    assert_true(perf_parse_rate("0.5", &d) && d == 0.5);
    assert_true(perf_parse_rate("10k", &d) && d == 10000);
    assert_true(perf_parse_rate("100/s", &d) && d == 100);
}

static void
every_spelling(void **state)
{
    assert_int_equal(parse("--number", "5", "--flag", "--no-on"), 0);
    assert_true(config.number == 5 && config.is_flag && !config.is_on);
    assert_int_equal(parse("--number=6k", "-s", "1KiB", "-t=x"), 0);
    assert_true(config.number == 6000 && config.size == 1024);
    assert_string_equal(config.text, "x");
    assert_int_equal(parse("-n7", "--duration=250ms", "-r", "2.5"), 0);
    assert_true(config.number == 7 && config.time == 0.25 && config.rate == 2.5);
    assert_int_equal(parse("--text", "--looks-like-an-option", NULL, NULL), 0);
    assert_string_equal(config.text, "--looks-like-an-option");
    assert_int_equal(parse("--text=", NULL, NULL, NULL), 0);
    assert_string_equal(config.text, "");
}

static void
help_is_asked_for(void **state)
{
    assert_int_equal(parse("--flag", "--help", NULL, NULL), 1);
    assert_int_equal(parse("-h", "--unknown", NULL, NULL), 1);
    assert_int_equal(parse(NULL, NULL, NULL, NULL), 0);
}

static void
refusals_say_what_is_meant(void **state)
{
    refused("--nmber", "5", "there is no option --nmber; did you mean --number?");
    refused("--entirely-different", NULL, "there is no option --entirely-different");
    refused("-x", "5", "there is no option -x");
    refused("word", NULL, "'word' is not an option");
    refused("-", NULL, "'-' is not an option");
    refused("--number", NULL, "--number needs a value");
    refused("--number", "many", "--number: 'many' is not a number such as");
    refused("--number", "0", "--number: 0 is not between 1 and 1000000");
    refused("--number", "2M", "not between");
    refused("--flag=yes", NULL, "--flag takes no value");
    refused("--no-number", NULL, "there is no option --no-number");
    refused("--args", "novalue", "--args: 'novalue' is not key=value");
    refused("--args", "=5", "is not key=value");
    assert_int_equal(config.number, defaults.number);
}

static void
arguments_become_a_table(void **state)
{
    assert_int_equal(
        parse("--args", "x-max-length=1000,x-queue-mode=lazy", "--args", "x-flag=true,x-text='12'"), 0);
    struct slice table = buf_slice(&config.args);
    int64_t number;
    struct slice text;
    bool flag;
    assert_int_equal(table_validate(table, 1), 0);
    assert_int_equal(table_count(table), 4);
    assert_true(table_find_integer(table, SLICE_LIT("x-max-length"), &number) && number == 1000);
    assert_true(table_find_longstr(table, SLICE_LIT("x-queue-mode"), &text) && slice_eq_str(text, "lazy"));
    assert_true(table_find_bool(table, SLICE_LIT("x-flag"), &flag) && flag);
    assert_true(table_find_longstr(table, SLICE_LIT("x-text"), &text) && slice_eq_str(text, "12"));
}

static void
the_help_knows_defaults_and_has_no_trailing_blanks(void **state)
{
    struct buf help = BUF_INIT;
    perf_options_help(&command, &help);
    const char *text = buf_cstr(&help);
    assert_non_null(strstr(text, "leveret-perf test: summary"));
    assert_non_null(strstr(text, "A number. [20k]"));
    assert_non_null(strstr(text, "A size. [4KiB]"));
    assert_non_null(strstr(text, "A time. [1.5s]"));
    assert_non_null(strstr(text, "Another. [on; --no-on]"));
    assert_non_null(strstr(text, "  -n, --number N"));
    assert_null(strstr(text, " \n"));
    buf_fini(&help);
}

// The tables of the real commands: each option has its place, its name once, its letter once, and a default that it would take.
static void
the_commands_are_consistent(void **state)
{
    static const struct perf_command *const all[] = {&perf_command_run, &perf_command_verify,
                                                     &perf_command_idle, &perf_command_declare,
                                                     &perf_command_churn};
    for (size_t k = 0; k < LV_ARRAY_LEN(all); k++) {
        struct buf help = BUF_INIT;
        for (size_t i = 0; i < all[k]->option_count; i++) {
            const struct perf_option *o = &all[k]->options[i];
            assert_true(o->offset < all[k]->config_size);
            if (o->kind == OPTION_HEADING)
                continue;
            assert_non_null(o->help);
            assert_true((o->argument == NULL) == (o->kind == OPTION_FLAG));
            for (size_t j = 0; j < i; j++) {
                const struct perf_option *other = &all[k]->options[j];
                assert_false(o->letter != 0 && o->letter == other->letter);
                assert_string_not_equal(o->name, other->name);
            }
            const void *value = (const char *)all[k]->defaults + o->offset;
            bool is_whole = o->kind == OPTION_COUNT || o->kind == OPTION_SIZE;
            double number = is_whole ? (double)*(const uint64_t *)value : 0;
            if (is_whole && o->max > 0 && number != 0)
                assert_true(number >= o->min && number <= o->max);
        }
        perf_options_help(all[k], &help);
        for (const char *line = buf_cstr(&help); *line != '\0';) {
            size_t len = strcspn(line, "\n");
            if (len > 115)
                fail_msg("%s --help has a line of %zu columns: %.*s", all[k]->name, len, (int)len, line);
            line += len + 1;
        }
        buf_fini(&help);
    }
}

static void
queue_names(void **state)
{
    char name[256];
    perf_queue_name("q-%d", 7, 10, name);
    assert_string_equal(name, "q-7");
    perf_queue_name("a%db", 7, 1, name);
    assert_string_equal(name, "a7b");
    perf_queue_name("q", 1, 1, name);
    assert_string_equal(name, "q");
    perf_queue_name("q", 2, 3, name);
    assert_string_equal(name, "q-2");
    perf_queue_name("%s%n", 1, 1, name); // never a format
    assert_string_equal(name, "%s%n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_times_and_rates, setup, teardown),
        cmocka_unit_test_setup_teardown(every_spelling, setup, teardown),
        cmocka_unit_test_setup_teardown(help_is_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_say_what_is_meant, setup, teardown),
        cmocka_unit_test_setup_teardown(arguments_become_a_table, setup, teardown),
        cmocka_unit_test_setup_teardown(the_help_knows_defaults_and_has_no_trailing_blanks, setup, teardown),
        cmocka_unit_test_setup_teardown(the_commands_are_consistent, setup, teardown),
        cmocka_unit_test_setup_teardown(queue_names, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
