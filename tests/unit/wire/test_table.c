// test_table.c: checking, walking and searching tables: every type, every cut, every bound.
#include "wire_test.h"

#include <math.h>

#include "amqp/wire/table.h"

// One entry of each type RabbitMQ knows, with negative and large values where signs matter.
static const struct sample {
    const char *bytes; // key of one letter, type, value
    size_t size;
    const char *type_name;
    struct field want;
} samples[] = {
#define SAMPLE(bytes, name, ...)                                                                             \
    {                                                                                                        \
        bytes, sizeof bytes - 1, name,                                                                       \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
    SAMPLE("\x01kt\x02", "bool", .type = 't', .i64 = 1),
    SAMPLE("\x01kt\x00", "bool", .type = 't', .i64 = 0),
    SAMPLE("\x01kb\xff", "byte", .type = 'b', .i64 = -1),
    SAMPLE("\x01kB\xff", "unsignedbyte", .type = 'B', .i64 = 255),
    SAMPLE("\x01ks\xff\xfe", "short", .type = 's', .i64 = -2),
    SAMPLE("\x01ku\xff\xfe", "unsignedshort", .type = 'u', .i64 = 65534),
    SAMPLE("\x01kI\xff\xff\xff\xfd", "signedint", .type = 'I', .i64 = -3),
    SAMPLE("\x01ki\xff\xff\xff\xfd", "unsignedint", .type = 'i', .i64 = 4294967293),
    SAMPLE("\x01kl\xff\xff\xff\xff\xff\xff\xff\xfc", "long", .type = 'l', .i64 = -4),
    SAMPLE("\x01kL\xff\xff\xff\xff\xff\xff\xff\xfc", "long", .type = 'L', .i64 = -4),
    SAMPLE("\x01kf\x3f\xc0\x00\x00", "float", .type = 'f', .f64 = 1.5),
    SAMPLE("\x01kd\xc0\x04\x00\x00\x00\x00\x00\x00", "double", .type = 'd', .f64 = -2.5),
    SAMPLE("\x01kD\x02\x00\x00\x01\x3a", "decimal", .type = 'D', .decimal = {2, 314}),
    SAMPLE("\x01kT\x00\x00\x00\x00\x65\x00\x00\x00", "timestamp", .type = 'T', .i64 = 0x65000000),
    SAMPLE("\x01kS\x00\x00\x00\x02\xc3\x28", "longstr", .type = 'S',
           .bytes = {(const uint8_t *)"\xc3\x28", 2}),
    SAMPLE("\x01kx\x00\x00\x00\x01z", "binary", .type = 'x', .bytes = {(const uint8_t *)"z", 1}),
    SAMPLE("\x01kF\x00\x00\x00\x04\x01it\x01", "table", .type = 'F',
           .table = {(const uint8_t *)"\x01it\x01", 4}),
    SAMPLE("\x01k"
           "A\x00\x00\x00\x03"
           "b\x07V",
           "array", .type = 'A', .array = {(const uint8_t *)"b\x07V", 3}),
    SAMPLE("\x01kV", "void", .type = 'V'),
};

static struct slice
sample_slice(size_t i)
{
    return slice_of(samples[i].bytes, samples[i].size);
}

// All samples one after the other; freed by the caller.
static struct buf
all_samples(void)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(samples); i++)
        buf_append_slice(&b, sample_slice(i));
    return b;
}

static void
assert_field_is(const struct field *got, const struct field *want)
{
    assert_int_equal(got->type, want->type);
    switch (want->type) {
    case 'S':
    case 'x':
    case 'F':
    case 'A': assert_slice_eq(got->bytes, want->bytes); break;
    case 'D':
        assert_int_equal(got->decimal.scale, want->decimal.scale);
        assert_int_equal(got->decimal.value, want->decimal.value);
        break;
    case 'f':
    case 'd': assert_true(got->f64 == want->f64); break;
    case 'V': break;
    default: assert_true(got->i64 == want->i64); break;
    }
}

static void
reads_every_type(void **state)
{
    struct buf b = all_samples();
    struct slice table = exact_new(buf_slice(&b));
    assert_int_equal(table_validate(table, TABLE_DEPTH_MAX), 0);
    assert_int_equal(table_count(table), LV_ARRAY_LEN(samples));
    struct table_iter it = table_iter_of(table);
    struct slice key;
    struct field field;
    for (size_t i = 0; i < LV_ARRAY_LEN(samples); i++) {
        assert_true(table_iter_next(&it, &key, &field));
        assert_slice_eq(key, SLICE_LIT("k"));
        assert_field_is(&field, &samples[i].want);
        assert_slice_eq(it.item, sample_slice(i));
        assert_string_equal(field_type_name(field.type), samples[i].type_name);
        assert_int_equal(field_is_integer(&field), strchr("bBsuIilL", field.type) != NULL);
    }
    assert_false(table_iter_next(&it, &key, &field));
    assert_int_equal(it.left.len, 0);
    exact_free(table);
    buf_fini(&b);
}

static void
reads_arrays_of_every_type(void **state)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(samples); i++)
        buf_append_slice(&b, slice_from(sample_slice(i), 2)); // without the key
    struct slice array = exact_new(buf_slice(&b));
    assert_int_equal(array_validate(array, TABLE_DEPTH_MAX), 0);
    assert_int_equal(array_count(array), LV_ARRAY_LEN(samples));
    struct array_iter it = array_iter_of(array);
    struct field field;
    for (size_t i = 0; i < LV_ARRAY_LEN(samples); i++) {
        assert_true(array_iter_next(&it, &field));
        assert_field_is(&field, &samples[i].want);
        assert_slice_eq(it.item, slice_from(sample_slice(i), 2));
    }
    assert_false(array_iter_next(&it, &field));
    exact_free(array);
    buf_fini(&b);
}

// A table cut between two entries is a table; cut anywhere else it is malformed, and walking it stops there.
static void
refuses_every_cut(void **state)
{
    struct buf b = all_samples();
    size_t boundary = 0, entries = 0;
    for (size_t len = 0; len <= b.len; len++) {
        struct slice part = exact_new(slice_head(buf_slice(&b), len));
        if (len == boundary + (entries < LV_ARRAY_LEN(samples) ? samples[entries].size : 0) && len != 0)
            boundary += samples[entries++].size;
        bool is_whole = len == boundary;
        assert_int_equal(table_validate(part, TABLE_DEPTH_MAX), is_whole ? 0 : -LE_SYNTAX);
        assert_int_equal(table_count(part), entries);
        assert_int_equal(table_find(part, SLICE_LIT("nosuch"), NULL), false);
        exact_free(part);
    }
    assert_int_equal(entries, LV_ARRAY_LEN(samples));
    buf_fini(&b);
}

static void
refuses_what_is_malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
#define BAD(text) {text, sizeof text - 1}
        BAD("\x05key"),    // key longer than the table
        BAD("\x00"),       // no type
        BAD("\x01kZ\x00"), // unknown type
        BAD("\x01k\x00"),  // type zero
        BAD("\x01kS\x00\x00\x00\x05"
            "abc"),                              // string longer than the table
        BAD("\x01kS\xff\xff\xff\xff"),           // much longer
        BAD("\x01kF\x00\x00\x00\x01\x00"),       // nested: no type
        BAD("\x01kF\x00\x00\x00\x03\x01kIabcd"), // nested: value goes past the end of its own table alone
        BAD("\x01kA\x00\x00\x00\x01I"),          // nested: value missing
        BAD("\x01kA\x00\x00\x00\x02Z\x00"),      // nested: unknown type
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(bad); i++) {
        struct slice table = exact_new(slice_of(bad[i].bytes, bad[i].size));
        assert_int_equal(table_validate(table, TABLE_DEPTH_MAX), -LE_SYNTAX);
        exact_free(table);
    }
    assert_int_equal(table_validate(SLICE_EMPTY, TABLE_DEPTH_MAX), 0);
    assert_int_equal(array_validate(SLICE_EMPTY, TABLE_DEPTH_MAX), 0);
}

// levels - 1 tables (or arrays) within one another, written inside out.
static struct buf
nested(unsigned levels, uint8_t type)
{
    struct buf inner = BUF_INIT;
    for (unsigned i = 1; i < levels; i++) {
        struct buf outer = BUF_INIT;
        if (type == 'F')
            buf_append_u8(&outer, 0);
        buf_append_u8(&outer, type);
        buf_append_u32be(&outer, (uint32_t)inner.len);
        buf_append_slice(&outer, buf_slice(&inner));
        buf_fini(&inner);
        inner = outer;
    }
    return inner;
}

static void
bounds_nesting(void **state)
{
    for (unsigned levels = 2; levels <= TABLE_DEPTH_MAX + 2; levels++) {
        struct buf table = nested(levels, 'F');
        struct buf array = nested(levels, 'A');
        int want = levels <= TABLE_DEPTH_MAX ? 0 : -LE_LIMIT;
        assert_int_equal(table_validate(buf_slice(&table), TABLE_DEPTH_MAX), want);
        assert_int_equal(array_validate(buf_slice(&array), TABLE_DEPTH_MAX), want);
        assert_int_equal(table_validate(buf_slice(&table), 1000), want); // never deeper than the constant
        assert_int_equal(table_validate(buf_slice(&table), levels), want);
        assert_int_equal(table_validate(buf_slice(&table), levels - 1), -LE_LIMIT);
        assert_int_equal(array_validate(buf_slice(&array), levels - 1), -LE_LIMIT);
        buf_fini(&table);
        buf_fini(&array);
    }
    assert_int_equal(table_validate(SLICE_LIT("\x01kt\x01"), 1), 0);
    assert_int_equal(table_validate(SLICE_LIT("\x01kt\x01"), 0), -LE_LIMIT);
}

// Many levels one after another are no depth.
static void
siblings_are_not_nesting(void **state)
{
    struct buf b = BUF_INIT;
    for (unsigned i = 0; i < 1000; i++)
        buf_append(&b,
                   "\x01k"
                   "A\x00\x00\x00\x05"
                   "F\x00\x00\x00\x00",
                   12);
    assert_int_equal(table_validate(buf_slice(&b), 3), 0);
    assert_int_equal(table_validate(buf_slice(&b), 2), -LE_LIMIT);
    buf_fini(&b);
}

static void
finds_the_first_of_a_key(void **state)
{
    struct slice table = SLICE_LIT("\x01"
                                   "aI\x00\x00\x00\x01"
                                   "\x00t\x01"
                                   "\x01"
                                   "aI\x00\x00\x00\x02"
                                   "\x01sS\x00\x00\x00\x02hi");
    struct field field;
    assert_true(table_find(table, SLICE_LIT("a"), &field));
    assert_int_equal(field.i64, 1);
    assert_true(table_find(table, SLICE_LIT(""), NULL));
    assert_false(table_find(table, SLICE_LIT("A"), &field));
    assert_false(table_find(table, SLICE_LIT("aI"), &field));
    assert_false(table_find(SLICE_EMPTY, SLICE_LIT("a"), &field));

    int64_t number = 7;
    struct slice text = SLICE_LIT("before");
    bool flag = false;
    assert_true(table_find_longstr(table, SLICE_LIT("s"), &text));
    assert_slice_eq(text, SLICE_LIT("hi"));
    assert_false(table_find_integer(table, SLICE_LIT("s"), &number));
    assert_int_equal(number, 7);
    assert_true(table_find_integer(table, SLICE_LIT("a"), &number));
    assert_int_equal(number, 1);
    assert_false(table_find_longstr(table, SLICE_LIT("a"), &text));
    assert_slice_eq(text, SLICE_LIT("hi"));
    assert_true(table_find_bool(table, SLICE_LIT(""), &flag));
    assert_true(flag);
    assert_false(table_find_bool(table, SLICE_LIT("a"), &flag));
    assert_false(table_find_integer(table, SLICE_LIT(""), &number)); // a bool is not an integer
}

static void
accepts_not_a_number(void **state)
{
    struct slice table = SLICE_LIT("\x01kd\x7f\xf8\x00\x00\x00\x00\x00\x00");
    struct field field;
    assert_int_equal(table_validate(table, 1), 0);
    assert_true(table_find(table, SLICE_LIT("k"), &field));
    assert_true(isnan(field.f64));
    assert_true(field_eq(&field, &field));
    assert_string_equal(field_type_name('Z'), "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),         cmocka_unit_test(reads_arrays_of_every_type),
        cmocka_unit_test(refuses_every_cut),        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(bounds_nesting),           cmocka_unit_test(siblings_are_not_nesting),
        cmocka_unit_test(finds_the_first_of_a_key), cmocka_unit_test(accepts_not_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
