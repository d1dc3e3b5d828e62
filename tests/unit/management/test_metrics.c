// test_metrics.c: what the text of metrics is made of: columns of numbers, labels, histograms, packing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <isa-l/igzip_lib.h>

#include "src/base/mem.h"
#include "src/management/http_gzip.h"
#include "src/management/metrics.h"

static void
test_columns(void **state)
{
    const uint64_t values[] = {0, 1, 126, 127, 128, 16383, 16384, 1u << 31, UINT64_MAX, UINT64_MAX - 1, 5};
    struct buf column = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(values); i++)
        metrics_column_put(&column, values[i]);
    assert_int_equal(column.ptr[0], 1); // most numbers are small: a byte each
    struct slice left = buf_slice(&column);
    for (size_t i = 0; i < LV_ARRAY_LEN(values); i++) {
        uint64_t value = 42;
        assert_int_equal(metrics_column_next(&left, &value), values[i] != UINT64_MAX);
        if (values[i] != UINT64_MAX)
            assert_int_equal(value, values[i]);
    }
    assert_int_equal(left.len, 0);
    buf_fini(&column);
}

static void
test_labels(void **state)
{
    static const struct {
        struct slice value;
        const char *text;
    } cases[] = {
        {SLICE_LIT(""), "a=\"\""},
        {SLICE_LIT("a\"b\\c\nd"), "a=\"a\\\"b\\\\c\\nd\""},
        {SLICE_LIT("\xc3\xbc{},="), "a=\"\xc3\xbc{},=\""},
        {SLICE_LIT("\xff\xc3(x"), "a=\"?"
                                  "?(x\""}, // no UTF-8: the scrape must stay one
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT;
        metrics_put_label(&out, true, "a", cases[i].value);
        assert_string_equal(buf_cstr(&out), cases[i].text);
        buf_reset(&out);
        metrics_put_label(&out, false, "a", cases[i].value);
        assert_int_equal(buf_cstr(&out)[0], ',');
        buf_fini(&out);
    }
}

static unsigned
bucket_of(uint64_t value, uint64_t unit)
{
    struct histogram h = {0};
    struct histogram_sum sum = {0};
    unsigned at = 0;
    histogram_add(&h, value, unit);
    histogram_read(&h, &sum);
    assert_int_equal(sum.sum, value);
    while (sum.counts[at] == 0)
        at++;
    return at;
}

static void
test_histogram(void **state)
{
    // Bucket i: up to unit << i.
    for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        assert_int_equal(bucket_of(UINT64_C(10) << i, 10), i);
        assert_int_equal(bucket_of((UINT64_C(10) << i) + 1, 10), i + 1);
    }
    assert_int_equal(bucket_of(0, 10), 0);
    assert_int_equal(bucket_of(UINT64_MAX / 2, 1), HISTOGRAM_BUCKETS - 1);
}

static void
check_round_trip(const struct buf *text, size_t piece)
{
    struct http_gzip *g = http_gzip_new();
    struct buf packed = BUF_INIT, back = BUF_INIT;
    struct slice left = buf_slice(text);
    struct inflate_state z;
    do {
        struct slice now = slice_head(left, LV_MIN(piece, left.len));
        left = slice_from(left, now.len);
        http_gzip_add(g, now, left.len == 0 ? HTTP_GZIP_LAST : HTTP_GZIP_MORE, &packed);
    } while (left.len > 0);
    assert_false(packed.failed);
    assert_true(buf_reserve(&back, text->len + 1));
    isal_inflate_init(&z);
    z.crc_flag = ISAL_GZIP;
    z.next_in = packed.ptr;
    z.avail_in = (uint32_t)packed.len;
    z.next_out = back.ptr;
    z.avail_out = (uint32_t)text->len + 1;
    assert_int_equal(isal_inflate(&z), ISAL_DECOMP_OK);
    assert_int_equal(z.total_out, text->len);
    assert_int_equal(z.block_state, ISAL_BLOCK_FINISH);
    if (text->len > 0)
        assert_memory_equal(back.ptr, text->ptr, text->len);
    buf_fini(&packed);
    buf_fini(&back);
    http_gzip_free(g);
}

static void
test_packing(void **state)
{
    struct buf text = BUF_INIT;
    uint64_t random = 88172645463325252;
    check_round_trip(&text, 1);
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        buf_printf(&text, "rabbitmq_queue_messages{vhost=\"/\",queue=\"q%d\"} %llu\n", i,
                   (unsigned long long)random);
    }
    check_round_trip(&text, 100000);
    check_round_trip(&text, 64 * 1024);
    check_round_trip(&text, text.len);
    text.len = 3000;
    check_round_trip(&text, 1);
    buf_fini(&text);
}

static void
test_who_takes_it(void **state)
{
    static const char *const takes[] = {"gzip",       "GZIP", "deflate, gzip",  "gzip;q=0.5",
                                        "gzip ; q=1", "*",    "br,gzip;q=0.001"},
                             *const refuses[] = {"",        "identity", "gzip;q=0", "gzip;q=0.000",
                                                 "deflate", "gzipped",  "*;q=0",    ", ,"};
    for (size_t i = 0; i < LV_ARRAY_LEN(takes); i++)
        assert_true(http_gzip_is_accepted(takes[i]));
    for (size_t i = 0; i < LV_ARRAY_LEN(refuses); i++)
        assert_false(http_gzip_is_accepted(refuses[i]));
    assert_false(http_gzip_is_accepted(NULL));
}

// Every metric has a name of the format, and a text; none comes twice in one answer.
static void
test_table(void **state)
{
    for (const struct metric *m = metrics_table; m->name != NULL; m++) {
        assert_true(strspn(m->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(m->name));
        assert_true(m->help != NULL && m->help[0] != '\0' && strchr(m->help, '\n') == NULL);
        assert_true(m->put != NULL || m->offset > 0 || m->is_alias);
        bool is_total = strlen(m->name) > 6 && strcmp(m->name + strlen(m->name) - 6, "_total") == 0;
        assert_int_equal(m->type == METRIC_COUNTER, is_total);
        for (const struct metric *other = m + 1; other->name != NULL; other++)
            assert_true(strcmp(m->name, other->name) != 0 || m->prefix != other->prefix || other->is_alias);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns), cmocka_unit_test(test_labels),       cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_packing), cmocka_unit_test(test_who_takes_it), cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
