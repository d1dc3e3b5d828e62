// test_perf_verify_log.c: what is written is read; what a crash cut off is left out; what is damaged is named by its line.
#include "perf_test.h"

#include "src/cli/perf_verify.h"

static char path[] = "/tmp/leveret-perf-log-XXXXXX";
static struct verify_fact facts[32];
static size_t fact_count;

static int
setup(void **state)
{
    memset(path + strlen(path) - 6, 'X', 6);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    fact_count = 0;
    return 0;
}

static int
teardown(void **state)
{
    unlink(path);
    return 0;
}

static int
keep(void *ctx, const struct verify_fact *fact)
{
    assert_true(fact_count < LV_ARRAY_LEN(facts));
    facts[fact_count++] = *fact;
    return 0;
}

static const struct verify_head head = {
    .run = UINT64_C(0xFEDCBA9876543210), .producers = 3, .queues = 2, .pattern = "a b-%d"};
static const struct verify_fact all[] = {
    {.kind = FACT_SENT, .producer = 2, .last = 100},
    {.kind = FACT_CONFIRMED, .producer = 2, .first = 1, .last = 99},
    {.kind = FACT_NACKED, .producer = 2, .first = 100, .last = 100},
    {.kind = FACT_RECEIVED, .queue = 1, .producer = 2, .first = 5, .last = 6},
    {.kind = FACT_RECEIVED, .queue = 1, .producer = 2, .first = 5, .last = 5, .is_redelivered = true},
    {.kind = FACT_CORRUPTED, .queue = 1},
    {.kind = FACT_UNEXPECTED, .queue = 1},
    {.kind = FACT_DRAIN},
};

static void
write_all(void)
{
    struct verify_log log;
    assert_int_equal(verify_log_create(&log, path, &head), 0);
    verify_log_write(&log, all, LV_ARRAY_LEN(all));
    verify_log_close(&log);
}

static void
append_text(const char *text)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void
what_is_written_is_read(void **state)
{
    struct verify_head got = {0};
    uint64_t line;
    write_all();
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), 0);
    assert_true(got.run == head.run && got.producers == 3 && got.queues == 2);
    assert_string_equal(got.pattern, head.pattern);
    assert_int_equal(fact_count, LV_ARRAY_LEN(all));
    for (size_t i = 0; i < fact_count; i++) {
        assert_int_equal(facts[i].kind, all[i].kind);
        assert_int_equal(facts[i].queue, all[i].queue);
        assert_int_equal(facts[i].producer, all[i].producer);
        assert_int_equal(facts[i].first, all[i].first);
        assert_int_equal(facts[i].last, all[i].last);
        assert_int_equal(facts[i].is_redelivered, all[i].is_redelivered);
    }
}

static void
a_cut_line_at_the_end_is_left_out_and_ended(void **state)
{
    struct verify_head got;
    struct verify_log log;
    uint64_t line;
    write_all();
    append_text("c 2 1 9");
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), 0);
    assert_int_equal(fact_count, LV_ARRAY_LEN(all));
    // Going on behind it does not make one line of two.
    append_text("\n");
    append_text("c 2 1 8");
    assert_int_equal(verify_log_append_to(&log, path), 0);
    verify_log_write(&log, &all[7], 1);
    verify_log_close(&log);
    fact_count = 0;
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), 0);
    assert_int_equal(fact_count, LV_ARRAY_LEN(all) + 3);
    assert_int_equal(facts[fact_count - 1].kind, FACT_DRAIN);
}

static void
damage_is_named_by_its_line(void **state)
{
    struct verify_head got;
    uint64_t line = 0;
    static const char *const bad[] = {"c 2 1\n",           "c 2 1 9 9\n", "q 1 2 3\n",
                                      "r 1 2 3 4 maybe\n", "x\n",         "drainage\n"};
    for (size_t i = 0; i < LV_ARRAY_LEN(bad); i++) {
        write_all();
        append_text(bad[i]);
        fact_count = 0;
        assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), -LE_SYNTAX);
        assert_int_equal(line, 5 + LV_ARRAY_LEN(all) + 1);
    }
}

static void
another_file_is_refused(void **state)
{
    struct verify_head got;
    uint64_t line;
    append_text("hello\n");
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), -LE_SYNTAX);
    assert_int_equal(line, 1);
    assert_int_equal(verify_log_read("/nowhere/at/all", &got, keep, NULL, &line), -LE_NOTFOUND);
}

static void
a_head_that_is_cut_is_refused(void **state)
{
    struct verify_head got;
    uint64_t line;
    append_text("leveret-perf verify 1\nrun 1\nproducers 2\n");
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), -LE_SYNTAX);
}

static void
heads_are_bounded(void **state)
{
    struct verify_head got;
    uint64_t line;
    append_text("leveret-perf verify 1\nrun 1\nproducers 4000000000\nqueues 1\npattern q\n");
    assert_int_equal(verify_log_read(path, &got, keep, NULL, &line), -LE_SYNTAX);
    assert_int_equal(line, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_line_at_the_end_is_left_out_and_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_named_by_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(another_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_that_is_cut_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(heads_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
