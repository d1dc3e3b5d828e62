// UTF-8: every code point is valid in its shortest form and in no other; the edges of RFC 3629.
#include "src/base/utf8.h"
#include "tests/unit/base/unit.h"

static size_t
encode(uint32_t c, size_t len, uint8_t *ret)
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (len == 1) {
        ret[0] = (uint8_t)c;
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--) {
        ret[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    ret[0] = (uint8_t)(leads[len] | c);
    return len;
}

static void
test_every_code_point(void **state)
{
    uint8_t bytes[8];
    for (uint32_t c = 0; c <= 0x1fffff; c++) {
        size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        bool is_ok = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
        encode(c, shortest, bytes);
        assert_int_equal(utf8_is_valid(slice_of(bytes, shortest)), is_ok);
        assert_int_equal(utf8_sequence_len(bytes, shortest), is_ok ? shortest : 0);
        if (shortest > 1)
            assert_false(utf8_is_valid(slice_of(bytes, shortest - 1))); // cut
        for (size_t len = shortest + 1; len <= 4; len++) {
            encode(c, len, bytes);
            assert_false(utf8_is_valid(slice_of(bytes, len))); // overlong
        }
    }
}

static void
test_bad_bytes_anywhere(void **state)
{
    static const char *const bad[] = {
        "\x80",     "\xbf",      "\xc0\x80",     "\xc1\xbf",     "\xf5\x80\x80\x80", "\xfe", "\xff", "\xc3(",
        "\xe2\x82", "\xe2(\xa1", "\xf0\x9f\x92", "\xed\xa0\x80", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < LV_ARRAY_LEN(bad); i++) {
        for (size_t before = 0; before < 20; before++) {
            char text[64];
            memset(text, 'a', sizeof text);
            memcpy(text + before, bad[i], strlen(bad[i]));
            assert_false(utf8_is_valid(slice_of(text, before + strlen(bad[i]))));
            assert_false(utf8_is_valid(slice_of(text, before + strlen(bad[i]) + 17)));
            assert_true(utf8_is_valid(slice_of(text, before)));
        }
    }
}

static void
test_good_texts(void **state)
{
    assert_true(utf8_is_valid(SLICE_EMPTY));
    assert_true(utf8_is_valid(SLICE_LIT("\0\0nul is a character")));
    assert_true(utf8_is_valid(SLICE_LIT("grüße, 日本語, \xf0\x9f\x90\x87 and plain text behind it")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_bad_bytes_anywhere),
        cmocka_unit_test(test_good_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
