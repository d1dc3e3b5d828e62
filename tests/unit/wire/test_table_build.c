// test_table_build.c: tables written, compared whatever their order, and brought into normal form.
#include "wire_test.h"

#include "amqp/wire/table.h"
#include "src/base/mem.h"

static void
writes_every_kind_of_entry(void **state)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_bool(&w, SLICE_LIT("t"), true);
    table_put_i32(&w, SLICE_LIT("i"), -2);
    table_put_i64(&w, SLICE_LIT("l"), 3);
    table_put_double(&w, SLICE_LIT("d"), 1.5);
    table_put_timestamp(&w, SLICE_LIT("T"), 9);
    table_put_longstr(&w, SLICE_LIT("s"), SLICE_LIT("x"));
    table_put_str(&w, SLICE_LIT("S"), "yz");
    table_put_void(&w, SLICE_LIT(""));
    assert_false(b.failed);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("\x01tt\x01"
                                             "\x01iI\xff\xff\xff\xfe"
                                             "\x01ll\0\0\0\0\0\0\0\x03"
                                             "\x01"
                                             "dd\x3f\xf8\0\0\0\0\0\0"
                                             "\x01TT\0\0\0\0\0\0\0\x09"
                                             "\x01sS\0\0\0\x01x"
                                             "\x01SS\0\0\0\x02yz"
                                             "\0V"));
    assert_int_equal(table_validate(buf_slice(&b), 1), 0);
    buf_fini(&b);
}

// The x-death header of a dead-lettered message, as RabbitMQ writes it.
static void
writes_nested_tables_and_arrays(void **state)
{
    struct buf b = BUF_INIT;
    buf_append_str(&b, "before");
    struct table_writer w = table_writer_of(&b);
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    table_put_i64(&w, SLICE_LIT("count"), 1);
    table_begin_array(&w, SLICE_LIT("routing-keys"));
    array_put_longstr(&w, SLICE_LIT("k"));
    array_put_i64(&w, 5);
    array_begin_array(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    table_begin_table(&w, SLICE_LIT("e"));
    table_writer_end(&w);
    struct slice table = slice_from(buf_slice(&b), 6);
    assert_slice_eq(table, SLICE_LIT("\x07x-death"
                                     "A\0\0\0\x3a"
                                     "F\0\0\0\x35"
                                     "\x05"
                                     "countl\0\0\0\0\0\0\0\x01"
                                     "\x0crouting-keysA\0\0\0\x14"
                                     "S\0\0\0\x01k"
                                     "l\0\0\0\0\0\0\0\x05"
                                     "A\0\0\0\0"
                                     "\x01"
                                     "eF\0\0\0\0"));
    assert_int_equal(table_validate(table, 5), 0);
    assert_int_equal(table_validate(table, 4), -LE_LIMIT);

    struct buf copy = BUF_INIT; // an entry in front of the array, the rest as it was
    struct field death;
    assert_true(table_find(table, SLICE_LIT("x-death"), &death));
    struct table_writer v = table_writer_of(&copy);
    table_begin_array(&v, SLICE_LIT("x-death"));
    array_put_table(&v, SLICE_LIT("\x01"
                                  "at\x01"));
    table_put_raw(&v, death.array);
    table_writer_end(&v);
    assert_int_equal(table_validate(buf_slice(&copy), 5), 0);
    assert_true(table_find(buf_slice(&copy), SLICE_LIT("x-death"), &death));
    assert_int_equal(array_count(death.array), 2);
    buf_fini(&copy);
    buf_fini(&b);
}

static void
writes_what_was_read(void **state)
{
    static const struct field fields[] = {
        {.type = 't', .i64 = 1},
        {.type = 'b', .i64 = -128},
        {.type = 'B', .i64 = 255},
        {.type = 's', .i64 = -32768},
        {.type = 'u', .i64 = 65535},
        {.type = 'I', .i64 = INT32_MIN},
        {.type = 'i', .i64 = UINT32_MAX},
        {.type = 'l', .i64 = INT64_MIN},
        {.type = 'L', .i64 = INT64_MAX},
        {.type = 'f', .f64 = 0.25},
        {.type = 'd', .f64 = 1e300},
        {.type = 'D', .decimal = {255, UINT32_MAX}},
        {.type = 'T', .i64 = -1},
        {.type = 'V'},
        {.type = 'x', .bytes = {(const uint8_t *)"\0", 1}},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(fields); i++) {
        struct buf b = BUF_INIT;
        struct table_writer w = table_writer_of(&b);
        table_put(&w, SLICE_LIT("key"), &fields[i]);
        assert_int_equal(table_validate(buf_slice(&b), 1), 0);
        struct field got;
        assert_true(table_find(buf_slice(&b), SLICE_LIT("key"), &got));
        assert_int_equal(got.type, fields[i].type);
        assert_true(field_eq(&got, &fields[i]));

        buf_reset(&b);
        w = array_writer_of(&b);
        array_put(&w, &fields[i]);
        assert_int_equal(array_validate(buf_slice(&b), 1), 0);
        buf_fini(&b);
    }
}

static void
writers_fail_once_and_stay_failed(void **state)
{
    static const char long_key[256];
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_begin_table(&w, SLICE_LIT("outer"));
    table_put_bool(&w, slice_of(long_key, 256), true);
    assert_true(b.failed);
    size_t len = b.len;
    table_put_i32(&w, SLICE_LIT("later"), 1);
    table_begin_array(&w, SLICE_LIT("later"));
    array_begin_table(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    assert_int_equal(b.len, len);
    buf_fini(&b);

    w = table_writer_of(&b); // the longest key that fits
    table_put_bool(&w, slice_of(long_key, 255), true);
    assert_int_equal(table_validate(buf_slice(&b), 1), 0);
    buf_fini(&b);

    w = table_writer_of(&b);
    table_put(&w, SLICE_LIT("k"), &(struct field){.type = 'Z'});
    assert_true(b.failed);
    buf_fini(&b);
}

static void
writers_nest_as_deep_as_readers(void **state)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    for (unsigned i = 1; i < TABLE_DEPTH_MAX; i++)
        table_begin_table(&w, SLICE_LIT("k"));
    for (unsigned i = 1; i < TABLE_DEPTH_MAX; i++)
        table_writer_end(&w);
    assert_false(b.failed);
    assert_int_equal(table_validate(buf_slice(&b), TABLE_DEPTH_MAX), 0);
    buf_fini(&b);

    w = table_writer_of(&b);
    for (unsigned i = 0; i < TABLE_DEPTH_MAX + 5; i++)
        table_begin_table(&w, SLICE_LIT("k"));
    assert_true(b.failed);
    for (unsigned i = 0; i < TABLE_DEPTH_MAX + 5; i++)
        table_writer_end(&w);
    buf_fini(&b);
}

static void
copies_without_and_with_first(void **state)
{
    struct slice table = SLICE_LIT("\x01"
                                   "at\x01"
                                   "\x01"
                                   "bt\x01"
                                   "\x01"
                                   "at\0"
                                   "\x01"
                                   "cV");
    struct buf b = BUF_INIT;
    table_copy_without(table, SLICE_LIT("a"), &b);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("\x01"
                                             "bt\x01"
                                             "\x01"
                                             "cV"));
    buf_reset(&b);
    table_copy_without(table, SLICE_LIT("zz"), &b);
    assert_slice_eq(buf_slice(&b), table);
    buf_reset(&b);
    struct field five = field_i32(5);
    table_copy_with_first(table, SLICE_LIT("b"), &five, &b);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("\x01"
                                             "bI\0\0\0\x05"
                                             "\x01"
                                             "at\x01"
                                             "\x01"
                                             "at\0"
                                             "\x01"
                                             "cV"));
    buf_fini(&b);
}

static void
compares_fields_by_value(void **state)
{
    struct field i32 = field_i32(5), i64 = field_i64(5), six = field_i64(6);
    struct field u8 = {.type = 'B', .i64 = 5}, stamp = field_timestamp(5), yes = field_bool(true);
    struct field f = {.type = 'f', .f64 = 0.5}, d = {.type = 'd', .f64 = 0.5};
    struct field text = field_longstr(SLICE_LIT("a")), bin = {.type = 'x', .bytes = SLICE_LIT("a")};
    struct field one = field_i32(1), d5 = {.type = 'd', .f64 = 5};
    assert_true(field_eq(&i32, &i64));
    assert_true(field_eq(&u8, &i64));
    assert_false(field_eq(&i64, &six));
    assert_false(field_eq(&i64, &stamp));
    assert_false(field_eq(&stamp, &i64));
    assert_false(field_eq(&yes, &one));
    assert_false(field_eq(&d5, &i64));
    assert_true(field_eq(&f, &d));
    assert_false(field_eq(&text, &bin));
    assert_true(field_eq(&text, &text));
    struct field arr1 = field_array(SLICE_LIT("I\0\0\0\x01"
                                              "b\x02")),
                 arr2 = field_array(SLICE_LIT("b\x01"
                                              "B\x02"));
    struct field arr3 = field_array(SLICE_LIT("b\x02"
                                              "b\x01")),
                 arr4 = field_array(SLICE_LIT("b\x01"));
    assert_true(field_eq(&arr1, &arr2));
    assert_false(field_eq(&arr1, &arr3)); // the order of items matters
    assert_false(field_eq(&arr1, &arr4));
    assert_false(field_eq(&arr4, &arr1));
    struct field tab1 = field_table(SLICE_LIT("\x01"
                                              "at\x01"
                                              "\x01"
                                              "bb\x01")),
                 tab2 = field_table(SLICE_LIT("\x01"
                                              "bB\x01"
                                              "\x01"
                                              "at\x01"));
    assert_true(field_eq(&tab1, &tab2));
}

static void
compares_tables_whatever_their_order(void **state)
{
    struct slice a = SLICE_LIT("\x01"
                               "at\x01"
                               "\x01"
                               "bI\0\0\0\x05"
                               "\x01"
                               "cF\0\0\0\x06\x01xV\x01yV");
    struct slice b = SLICE_LIT("\x01"
                               "cF\0\0\0\x06\x01yV\x01xV"
                               "\x01"
                               "bB\x05"
                               "\x01"
                               "at\x01");
    assert_true(table_equivalent(a, b));
    assert_true(table_equivalent(SLICE_EMPTY, SLICE_EMPTY));
    assert_false(table_equivalent(a, SLICE_EMPTY));
    assert_false(table_equivalent(SLICE_EMPTY, a));
    assert_false(table_equivalent(SLICE_LIT("\x01"
                                            "at\x01"),
                                  SLICE_LIT("\x01"
                                            "bt\x01")));
    assert_false(table_equivalent(SLICE_LIT("\x01"
                                            "at\x01"),
                                  SLICE_LIT("\x01"
                                            "at\0")));
    // Twice a key is not once, nor is the other one doubled.
    assert_false(table_equivalent(SLICE_LIT("\x01"
                                            "aV\x01"
                                            "aV\x01"
                                            "bV"),
                                  SLICE_LIT("\x01"
                                            "aV\x01"
                                            "bV\x01"
                                            "bV")));
    assert_false(table_equivalent(SLICE_LIT("\x01"
                                            "aZ"),
                                  SLICE_LIT("\x01"
                                            "aZ"))); // malformed
}

// More entries than are sorted on the stack, in two orders.
static void
compares_large_tables(void **state)
{
    enum { COUNT = 5000 };
    struct buf up = BUF_INIT, down = BUF_INIT, out_up = BUF_INIT, out_down = BUF_INIT;
    struct table_writer w_up = table_writer_of(&up), w_down = table_writer_of(&down);
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%d", i);
        table_put_i32(&w_up, slice_str(key), i);
        snprintf(key, sizeof key, "key-%d", COUNT - 1 - i);
        table_put_i32(&w_down, slice_str(key), COUNT - 1 - i);
    }
    assert_true(table_equivalent(buf_slice(&up), buf_slice(&down)));
    assert_int_equal(table_canonical(buf_slice(&up), &out_up), 0);
    assert_int_equal(table_canonical(buf_slice(&down), &out_down), 0);
    assert_slice_eq(buf_slice(&out_up), buf_slice(&out_down));

    mem_test_fail_after(1);
    assert_false(table_equivalent(buf_slice(&up), buf_slice(&down)));
    mem_test_fail_after(1);
    buf_reset(&out_up);
    assert_int_equal(table_canonical(buf_slice(&up), &out_up), -LE_NOMEM);
    mem_test_fail_after(0);
    assert_int_equal(out_up.len, 0);
    assert_false(out_up.failed);
    buf_fini(&up);
    buf_fini(&down);
    buf_fini(&out_up);
    buf_fini(&out_down);
}

static void
normal_form_is_sorted(void **state)
{
    struct buf b = BUF_INIT;
    buf_append_str(&b, "before");
    struct slice table = SLICE_LIT("\x02"
                                   "abV"
                                   "\x01"
                                   "bL\0\0\0\0\0\0\0\x01"
                                   "\x01"
                                   "at\x07"
                                   "\x01"
                                   "cF\0\0\0\x06\x01yV\x01xV"
                                   "\x01"
                                   "dA\0\0\0\x0b"
                                   "F\0\0\0\x06\x01zV\x01wV"
                                   "\0V"
                                   "\x01"
                                   "bV");
    assert_int_equal(table_canonical(table, &b), 0);
    assert_slice_eq(slice_from(buf_slice(&b), 6), SLICE_LIT("\0V"
                                                            "\x01"
                                                            "at\x01"
                                                            "\x02"
                                                            "abV"
                                                            "\x01"
                                                            "bl\0\0\0\0\0\0\0\x01"
                                                            "\x01"
                                                            "bV"
                                                            "\x01"
                                                            "cF\0\0\0\x06\x01xV\x01yV"
                                                            "\x01"
                                                            "dA\0\0\0\x0b"
                                                            "F\0\0\0\x06\x01wV\x01zV"));
    buf_reset(&b);
    assert_int_equal(table_canonical(SLICE_EMPTY, &b), 0);
    assert_int_equal(b.len, 0);
    buf_append_str(&b, "before");
    assert_int_equal(table_canonical(SLICE_LIT("\x01kF\0\0\0\x03\x01kZ"), &b), -LE_SYNTAX);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("before"));
    // Types are kept: RabbitMQ has two bindings then.
    struct buf c = BUF_INIT;
    buf_reset(&b);
    assert_int_equal(table_canonical(SLICE_LIT("\x01kb\x05"), &b), 0);
    assert_int_equal(table_canonical(SLICE_LIT("\x01kB\x05"), &c), 0);
    assert_false(slice_eq(buf_slice(&b), buf_slice(&c)));
    buf_fini(&b);
    buf_fini(&c);
}

static void
normal_form_and_comparison_bound_nesting(void **state)
{
    struct buf inner = BUF_INIT, out = BUF_INIT;
    for (unsigned i = 0; i < 3 * TABLE_DEPTH_MAX; i++) {
        struct buf outer = BUF_INIT;
        struct table_writer w = table_writer_of(&outer);
        table_put_table(&w, SLICE_EMPTY, buf_slice(&inner));
        buf_fini(&inner);
        inner = outer;
    }
    assert_int_equal(table_canonical(buf_slice(&inner), &out), -LE_LIMIT);
    assert_false(table_equivalent(buf_slice(&inner), buf_slice(&inner)));
    buf_fini(&inner);
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_every_kind_of_entry),
        cmocka_unit_test(writes_nested_tables_and_arrays),
        cmocka_unit_test(writes_what_was_read),
        cmocka_unit_test(writers_fail_once_and_stay_failed),
        cmocka_unit_test(writers_nest_as_deep_as_readers),
        cmocka_unit_test(copies_without_and_with_first),
        cmocka_unit_test(compares_fields_by_value),
        cmocka_unit_test(compares_tables_whatever_their_order),
        cmocka_unit_test(compares_large_tables),
        cmocka_unit_test(normal_form_is_sorted),
        cmocka_unit_test(normal_form_and_comparison_bound_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
