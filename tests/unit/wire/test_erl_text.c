// test_erl_text.c: values as Erlang prints them, compared with what RabbitMQ 3.10 was seen to say.
#include "wire_test.h"

#include <math.h>

#include "amqp/wire/erl_text.h"

static void
prints_binaries(void **state)
{
    struct buf b = BUF_INIT;
    wire_print_erlang_binary(&b, BYTES(0, 20, 0, 10, 0), 100);
    assert_text(&b, "<<0,20,0,10,0>>");
    buf_reset(&b);
    wire_print_erlang_binary(&b, SLICE_LIT("abc"), 100);
    assert_text(&b, "<<\"abc\">>");
    buf_reset(&b);
    wire_print_erlang_binary(&b, SLICE_EMPTY, 100);
    assert_text(&b, "<<>>");
    buf_reset(&b);
    wire_print_erlang_binary(&b, SLICE_LIT("a\"b\\c\n\x1b"), 100);
    assert_text(&b, "<<\"a\\\"b\\\\c\\n\\e\">>");
    buf_reset(&b);
    wire_print_erlang_binary(&b, SLICE_LIT("caf\xc3\xa9"), 100);
    assert_text(&b, "<<99,97,102,195,169>>");
    buf_reset(&b);
    wire_print_erlang_octets(&b, BYTES(0, 0, 32, 97, 98), 100);
    assert_text(&b, "<<0,0,32,97,98>>");
    buf_reset(&b);
    wire_print_erlang_octets(&b, SLICE_LIT("ab"), 100);
    assert_text(&b, "<<97,98>>");
    buf_fini(&b);
}

static void
output_is_bounded(void **state)
{
    struct buf b = BUF_INIT;
    wire_print_erlang_binary(&b, SLICE_LIT("abcdef"), 3);
    assert_text(&b, "<<\"abc\"...>>");
    buf_reset(&b);
    wire_print_erlang_octets(&b, SLICE_LIT("abcdef"), 2);
    assert_text(&b, "<<97,98,...>>");
    buf_reset(&b);
    wire_print_erlang_octets(&b, SLICE_LIT("abcdef"), 0);
    assert_text(&b, "<<...>>");
    static const uint8_t big[100000];
    buf_reset(&b);
    struct field field = {.type = 'x', .bytes = {big, sizeof big}};
    wire_print_erlang_field(&b, &field, 50);
    assert_int_equal(b.len, 53);
    buf_reset(&b);
    field = field_array(slice_of("VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV", 40));
    wire_print_erlang_field(&b, &field, 20);
    assert_text(&b, "[{void,undefined},{v...");
    buf_reset(&b);
    field = field_longstr(SLICE_LIT("abcdef"));
    wire_print_field_value(&b, &field, 4);
    assert_text(&b, "abcd...");
    buf_reset(&b);
    wire_print_field_value(&b, &field, 6);
    assert_text(&b, "abcdef");
    buf_fini(&b);
}

static void
shows_the_front_of_payloads(void **state)
{
    struct buf b = BUF_INIT;
    wire_print_payload_snippet(&b, SLICE_LIT("x"));
    assert_text(&b, "all octets = <<\"x\">>");
    buf_reset(&b);
    wire_print_payload_snippet(&b, SLICE_EMPTY);
    assert_text(&b, "all octets = <<>>");
    buf_reset(&b);
    wire_print_payload_snippet(&b, SLICE_LIT("0123456789abcdef"));
    assert_text(&b, "all octets = <<\"0123456789abcdef\">>");
    buf_reset(&b);
    wire_print_payload_snippet(&b, SLICE_LIT("0123456789abcdefg"));
    assert_text(&b, "first 16 octets = <<\"0123456789abcdef\">>");
    buf_fini(&b);
}

static void
prints_floats_as_short_as_they_read_back(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {100.0, "100.0"},
        {1000.0, "1.0e3"},
        {123456.0, "123456.0"},
        {0.1, "0.1"},
        {0.001, "0.001"},
        {0.0001, "0.0001"},
        {0.00001, "1.0e-5"},
        {3.14159, "3.14159"},
        {1e22, "1.0e22"},
        {1.25e100, "1.25e100"},
        {12.0, "12.0"},
        {5e-324, "5.0e-324"},
        {1.7976931348623157e308, "1.7976931348623157e308"},
        {0.012, "0.012"},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        buf_reset(&b);
        wire_print_erlang_float(&b, cases[i].value);
        assert_text(&b, cases[i].text);
        assert_true(strtod(buf_cstr(&b), NULL) == cases[i].value);
    }
    buf_reset(&b);
    wire_print_erlang_float(&b, NAN);
    wire_print_erlang_float(&b, -INFINITY);
    assert_text(&b, "nan-inf");
    buf_fini(&b);
}

static void
prints_fields(void **state)
{
    static const struct {
        struct field field;
        const char *text;
    } cases[] = {
        {{.type = 'I', .i64 = -5}, "-5"},
        {{.type = 'l', .i64 = INT64_MIN}, "-9223372036854775808"},
        {{.type = 'T', .i64 = -1}, "18446744073709551615"},
        {{.type = 't', .i64 = 1}, "true"},
        {{.type = 't', .i64 = 0}, "false"},
        {{.type = 'V'}, "undefined"},
        {{.type = 'D', .decimal = {2, 314}}, "{2,314}"},
        {{.type = 'd', .f64 = 2.5}, "2.5"},
        {{.type = 'S', .bytes = {(const uint8_t *)"abc", 3}}, "<<\"abc\">>"},
        {{.type = 'F', .table = {(const uint8_t *)"\x01kI\0\0\0\x01\x01jV", 10}},
         "[{<<\"k\">>,signedint,1},{<<\"j\">>,void,undefined}]"},
        {{.type = 'A',
          .array = {(const uint8_t *)"S\0\0\0\x01"
                                     "aA\0\0\0\0",
                    11}},
         "[{longstr,<<\"a\">>},{array,[]}]"},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        buf_reset(&b);
        wire_print_erlang_field(&b, &cases[i].field, 200);
        assert_text(&b, cases[i].text);
        buf_reset(&b);
        wire_print_field_value(&b, &cases[i].field, 200);
        assert_text(&b, cases[i].field.type == 'S' ? "abc" : cases[i].text);
    }
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_binaries),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(shows_the_front_of_payloads),
        cmocka_unit_test(prints_floats_as_short_as_they_read_back),
        cmocka_unit_test(prints_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
