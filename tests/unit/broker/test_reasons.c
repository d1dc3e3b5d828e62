// test_reasons.c: counters and the last occasions of refusals; how often they are logged.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/base/worker.h"
#include "src/broker/reasons.h"

static struct worker clock_of;

static struct reason
about(enum reason_kind kind, const char *object)
{
    return (struct reason){
        .kind = kind, .object_kind = "queue", .object = slice_str(object), .vhost = SLICE_LIT("/")};
}

static size_t
occurrences(struct buf *text, const char *what)
{
    size_t count = 0;
    for (const char *at = buf_cstr(text); (at = strstr(at, what)) != NULL; at += strlen(what))
        count++;
    return count;
}

static void
test_one_entry_for_each_object(void **state)
{
    struct reasons *r = reasons_new();
    struct buf out = BUF_INIT;
    clock_of.now_ms = 1000;
    for (int i = 0; i < 50; i++) {
        struct reason a = about(REASON_NACK_QUEUE_FULL, "a"), b = about(REASON_NACK_QUEUE_FULL, "b");
        reasons_add(r, &clock_of, &a, 1);
        reasons_add(r, &clock_of, &b, 2);
    }
    struct reason a = about(REASON_DROP_UNROUTABLE, "a");
    a.text = SLICE_LIT("a \"text\" of its own");
    reasons_add(r, &clock_of, &a, 1);
    assert_int_equal(reasons_count(r, REASON_NACK_QUEUE_FULL), 150);
    assert_int_equal(reasons_count(r, REASON_DROP_UNROUTABLE), 1);
    assert_int_equal(reasons_count(r, REASON_CHANNEL_ERROR), 0);
    reasons_put_recent(r, &out);
    assert_int_equal(occurrences(&out, "\"kind\""), 3);
    assert_int_equal(occurrences(&out, "\"count\":50,"), 1);
    assert_int_equal(occurrences(&out, "\"count\":100,"), 1);
    assert_int_equal(occurrences(&out, "a \\\"text\\\" of its own"), 1);
    buf_fini(&out);
    reasons_free(r);
}

static void
test_codes(void **state)
{
    struct reasons *r = reasons_new();
    struct buf out = BUF_INIT;
    for (int i = 0; i < 3; i++) {
        struct reason e = about(REASON_CHANNEL_ERROR, "guest");
        e.code = (uint16_t)(i == 2 ? 406 : 404);
        reasons_add(r, &clock_of, &e, 1);
    }
    struct reason odd = about(REASON_CONNECTION_ERROR, "guest");
    odd.code = 65535; // counted under its kind alone
    reasons_add(r, &clock_of, &odd, 1);
    odd.code = 541;
    reasons_add(r, &clock_of, &odd, 1);
    reasons_put_counts(r, &out);
    assert_non_null(strstr(buf_cstr(&out), "\"channel_error\":3,\"connection_error\":2"));
    assert_non_null(strstr(buf_cstr(&out), "\"channel_errors\":{\"404\":2,\"406\":1}"));
    assert_non_null(strstr(buf_cstr(&out), "\"connection_errors\":{\"541\":1}"));
    buf_fini(&out);
    reasons_free(r);
}

// What was quiet longest makes room; the counters stay right.
static void
test_no_more_than_so_many(void **state)
{
    struct reasons *r = reasons_new();
    struct buf out = BUF_INIT;
    struct reason steady = about(REASON_DROP_UNROUTABLE, "steady");
    char name[32];
    for (int i = 0; i < 10 * REASONS_KEPT; i++) {
        snprintf(name, sizeof name, "object-%d-", i);
        struct reason e = about(REASON_RETURN_UNROUTABLE, name);
        reasons_add(r, &clock_of, &e, 1);
        reasons_add(r, &clock_of, &steady, 1);
    }
    reasons_put_recent(r, &out);
    assert_int_equal(occurrences(&out, "\"kind\""), REASONS_KEPT);
    assert_int_equal(occurrences(&out, "\"count\":2560,"), 1); // the steady one has never been pushed out
    snprintf(name, sizeof name, "object-%d-", 10 * REASONS_KEPT - REASONS_KEPT + 1);
    assert_int_equal(occurrences(&out, name), 1);
    assert_int_equal(occurrences(&out, "object-0-"), 0);
    assert_int_equal(reasons_count(r, REASON_RETURN_UNROUTABLE), 10 * REASONS_KEPT);
    buf_fini(&out);
    reasons_free(r);
}

// Longer than anything a client can send.
static void
test_long_names(void **state)
{
    struct reasons *r = reasons_new();
    struct buf out = BUF_INIT;
    char *name = mem_xalloc(100000);
    memset(name, 'x', 100000);
    struct reason e = about(REASON_DROP_UNROUTABLE, "");
    e.object = e.text = e.vhost = slice_of(name, 100000);
    reasons_add(r, &clock_of, &e, 1);
    reasons_put_recent(r, &out);
    assert_true(out.len < 4096);
    buf_fini(&out);
    mem_free(name);
    reasons_free(r);
}

// --- the log ----------------------------------------------------------------------------------------------------------------

static char log_path[64];

static int
log_open(void **state)
{
    snprintf(log_path, sizeof log_path, "/tmp/leveret-reasons-XXXXXX");
    int fd = mkstemp(log_path);
    assert_true(fd >= 0);
    close(fd);
    struct log_config config = {.file = log_path, .file_level = LOG_INFO};
    return log_configure(&config);
}

static int
log_close(void **state)
{
    struct log_config none = {.file_level = LOG_NONE, .console_level = LOG_NONE};
    int err = log_configure(&none);
    unlink(log_path);
    return err;
}

static size_t
lines(char last[static 512])
{
    FILE *f = fopen(log_path, "r");
    size_t count = 0;
    assert_non_null(f);
    while (fgets(last, 512, f) != NULL)
        count++;
    fclose(f);
    return count;
}

// Ten occasions a second for a day: lines after 1, 2, 4 … seconds, then one an hour, each with the number left out.
static void
test_lines_grow_rare(void **state)
{
    struct reasons *r = reasons_new();
    char last[512] = "";
    struct reason e = about(REASON_DROP_UNROUTABLE, "x");
    clock_of.now_ns = UINT64_C(5000000000);
    reasons_add(r, &clock_of, &e, 1);
    assert_int_equal(lines(last), 1);
    assert_non_null(strstr(last, "queue 'x' in vhost '/': message dropped"));
    assert_null(strstr(last, "more"));
    for (int i = 0; i < 10; i++) {
        clock_of.now_ns += 90000000;
        reasons_add(r, &clock_of, &e, 1);
    }
    assert_int_equal(lines(last), 1);
    clock_of.now_ns += UINT64_C(100000000);
    reasons_add(r, &clock_of, &e, 1);
    assert_int_equal(lines(last), 2);
    assert_non_null(strstr(last, "(and 10 more since the last such line)"));
    for (int i = 0; i < 10 * 86400; i++) {
        clock_of.now_ns += 100000000;
        reasons_add(r, &clock_of, &e, 1);
    }
    size_t day = lines(last);
    assert_true(day > 24 && day < 45);
    clock_of.now_ns += UINT64_C(4) * 3600 * 1000000000; // quiet: it begins anew
    reasons_add(r, &clock_of, &e, 1);
    assert_int_equal(lines(last), day + 1);
    clock_of.now_ns += UINT64_C(1000000000);
    reasons_add(r, &clock_of, &e, 1);
    assert_int_equal(lines(last), day + 2);
    reasons_free(r);
}

// However many different objects: so many lines a second.
static void
test_lines_are_limited(void **state)
{
    struct reasons *r = reasons_new();
    char last[512], name[32];
    clock_of.now_ns = UINT64_C(77000000000);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "object-%d", i);
        struct reason e = about(REASON_DROP_UNROUTABLE, name);
        reasons_add(r, &clock_of, &e, 1);
    }
    assert_int_equal(lines(last), REASON_LINES_MAX);
    struct reason silent = about(REASON_CHANNEL_ERROR, "x"); // logged by who found it
    clock_of.now_ns += UINT64_C(9000000000);
    reasons_add(r, &clock_of, &silent, 1);
    assert_int_equal(lines(last), REASON_LINES_MAX);
    reasons_free(r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_entry_for_each_object),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_no_more_than_so_many),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test_setup_teardown(test_lines_grow_rare, log_open, log_close),
        cmocka_unit_test_setup_teardown(test_lines_are_limited, log_open, log_close),
    };
    struct log_config none = {.file_level = LOG_NONE, .console_level = LOG_NONE};
    return log_configure(&none) + cmocka_run_group_tests(tests, NULL, NULL);
}
