// test_perf_report.c: numbers for people, JSON for programs, and what /proc says of a process.
#include "perf_test.h"

#include "src/cli/perf_proc.h"
#include "src/cli/perf_report.h"

static void
numbers_in_groups_of_three(void **state)
{
    char t[40];
    assert_string_equal(perf_grouped(0, 0, t), "0");
    assert_string_equal(perf_grouped(999, 0, t), "999");
    assert_string_equal(perf_grouped(1000, 0, t), "1,000");
    assert_string_equal(perf_grouped(1234567, 0, t), "1,234,567");
    assert_string_equal(perf_grouped(-1234567, 0, t), "-1,234,567");
    assert_string_equal(perf_grouped(-123, 0, t), "-123");
    assert_string_equal(perf_grouped(1234.5678, 2, t), "1,234.57");
    assert_string_equal(perf_grouped(0.129, 3, t), "0.129");
    assert_string_equal(perf_grouped(1e300, 0, t), "0");
    assert_string_equal(perf_grouped(999999999999999, 2, t), "999,999,999,999,999.00");
}

static void
texts_are_escaped(void **state)
{
    struct buf b = BUF_INIT;
    perf_json_quote(&b, "a\"b\\c\nd\x7f\xc3\xa4");
    assert_string_equal(buf_cstr(&b), "\"a\\\"b\\\\c\\u000ad\\u007f\xc3\xa4\"");
    buf_fini(&b);
}

static void
json_has_commas_between_members_only(void **state)
{
    struct perf_report r;
    struct perf_hist *h = calloc(1, sizeof *h);
    perf_hist_record(h, 1500);
    perf_report_begin(&r, "x", true);
    perf_report_number(&r, "Label", "number", 1.25, 2, "s");
    perf_report_flag(&r, "Label", "flag", "yes", true);
    perf_report_latency(&r, "Label", "latency_us", h);
    const char *text = buf_cstr(&r.out);
    assert_non_null(strstr(text, "{\n \"command\": \"x\",\n \"version\": "));
    assert_non_null(
        strstr(text, ",\n \"number\": 1.25,\n \"flag\": true,\n \"latency_us\": {\"count\": 1, "));
    assert_non_null(strstr(text, "\"p50\": 1.5, "));
    assert_non_null(strstr(text, "\"max\": 1.5}"));
    buf_fini(&r.out);
    free(h);
}

static void
an_impossible_number_is_zero(void **state)
{
    struct perf_report r;
    perf_report_begin(&r, "x", true);
    perf_report_number(&r, "", "n", 1.0 / (double)(r.out.len * 0), 1, "");
    assert_non_null(strstr(buf_cstr(&r.out), "\"n\": 0.0"));
    buf_fini(&r.out);
}

static void
this_process_is_there(void **state)
{
    struct perf_proc p;
    assert_int_equal(perf_proc_sample(getpid(), &p), 0);
    assert_true(p.rss_bytes > 100000);
    assert_true(p.cpu_s >= 0 && p.cpu_s < 1000);
    assert_true(perf_own_cpu_s() >= 0);
    // LIMIT: /proc/sys/kernel/pid_max is at most 4194304.
    assert_int_equal(perf_proc_sample(4194304 + 1, &p), -LE_NOTFOUND);
}

static void
a_process_that_is_gone_is_said_to_be(void **state)
{
    struct perf_usage u;
    struct perf_report r;
    perf_usage_begin(&u, 4194304 + 1);
    perf_usage_sample(&u);
    perf_usage_end(&u);
    assert_true(u.is_lost);
    perf_report_begin(&r, "x", true);
    perf_report_usage(&r, &u, 10, "message");
    assert_non_null(strstr(buf_cstr(&r.out), "\"broker_error\": \"process 4194305 has ended\""));
    assert_non_null(strstr(buf_cstr(&r.out), "\"client_cpu_us_per_message\": "));
    buf_fini(&r.out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_groups_of_three),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(json_has_commas_between_members_only),
        cmocka_unit_test(an_impossible_number_is_zero),
        cmocka_unit_test(this_process_is_there),
        cmocka_unit_test(a_process_that_is_gone_is_said_to_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
