// test_password.c: password hashes are RabbitMQ's, base-64 is checked, tags are known, JSON text is always valid.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "src/broker/auth.h"
#include "src/broker/json.h"

// Made by RabbitMQ's documented procedure: salt 908dc60a, password "test12".
static void
test_documented_hash(void **state)
{
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len;
    assert_int_equal(
        base64_decode(SLICE_LIT("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"), hash, sizeof hash, &len),
        0);
    assert_int_equal(len, 36);
    struct user u = {.password_hash = slice_of(hash, len),
                     .hashing = SLICE_LIT("rabbit_password_hashing_sha256")};
    assert_true(password_matches(&u, SLICE_LIT("test12")));
    assert_false(password_matches(&u, SLICE_LIT("test13")));
    assert_false(password_matches(&u, SLICE_EMPTY));
}

static void
test_made_hashes_match(void **state)
{
    static const char *const names[] = {"rabbit_password_hashing_sha256", "rabbit_password_hashing_sha512",
                                        "rabbit_password_hashing_md5"};
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len;
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        assert_int_equal(password_hash_make(SLICE_LIT("secret"), slice_str(names[i]), hash, &len), 0);
        struct user u = {.password_hash = slice_of(hash, len), .hashing = slice_str(names[i])};
        assert_true(password_matches(&u, SLICE_LIT("secret")));
        assert_false(password_matches(&u, SLICE_LIT("Secret")));
    }
    assert_int_equal(password_hash_make(SLICE_LIT("x"), SLICE_LIT("rot13"), hash, &len), -LE_UNSUPPORTED);
    struct user none = {.hashing = SLICE_LIT("rabbit_password_hashing_sha256")};
    assert_false(
        password_matches(&none, SLICE_EMPTY)); // no password set: nobody gets in, also with an empty one
}

static void
test_base64_is_checked(void **state)
{
    uint8_t out[8];
    char text[16];
    size_t len;
    assert_int_equal(base64_decode(SLICE_LIT("YWJj"), out, sizeof out, &len), 0);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(base64_decode(SLICE_LIT("YQ=="), out, sizeof out, &len), 0);
    assert_int_equal(len, 1);
    assert_int_equal(base64_decode(SLICE_LIT("YWJ"), out, sizeof out, &len), -LE_SYNTAX);
    assert_int_equal(base64_decode(SLICE_LIT("YWJj!!!!"), out, sizeof out, &len), -LE_SYNTAX);
    assert_int_equal(base64_decode(SLICE_LIT("YWJjZGVmZ2hpamts"), out, sizeof out, &len),
                     -LE_SYNTAX); // too long for `out`
    assert_int_equal(base64_encode(SLICE_LIT("abc"), text, sizeof text), 4);
    assert_string_equal(text, "YWJj");
    assert_int_equal(base64_encode(SLICE_LIT("abc"), text, 4), 0);
}

static void
test_tags(void **state)
{
    assert_int_equal(user_tags_parse(SLICE_LIT("administrator, custom,management")),
                     USER_TAG_ADMINISTRATOR | USER_TAG_MANAGEMENT);
    assert_int_equal(user_tags_parse(SLICE_EMPTY), 0);
    assert_int_equal(user_tags_parse(SLICE_LIT(",,")), 0);
}

static void
test_json_text(void **state)
{
    struct buf out = BUF_INIT, table = BUF_INIT;
    json_put_string(&out, slice_of("a\"b\\c\n\x01\xff\xc3\xa9\xed\xa0\x80", 13));
    assert_string_equal(buf_cstr(&out), "\"a\\\"b\\\\c\\n\\u0001\\ufffd\xc3\xa9\\ufffd\\ufffd\\ufffd\"");
    struct table_writer w = table_writer_of(&table);
    table_put_i64(&w, SLICE_LIT("n"), -5);
    table_put_double(&w, SLICE_LIT("d"), 0.5);
    table_put_void(&w, SLICE_LIT("v"));
    table_begin_array(&w, SLICE_LIT("a"));
    array_put_longstr(&w, SLICE_LIT("x"));
    array_begin_table(&w);
    table_put_bool(&w, SLICE_LIT("b"), true);
    table_writer_end(&w);
    table_writer_end(&w);
    buf_reset(&out);
    json_put_table(&out, buf_slice(&table));
    assert_string_equal(buf_cstr(&out), "{\"n\":-5,\"d\":0.5,\"v\":null,\"a\":[\"x\",{\"b\":true}]}");
    buf_fini(&out);
    buf_fini(&table);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documented_hash),   cmocka_unit_test(test_made_hashes_match),
        cmocka_unit_test(test_base64_is_checked), cmocka_unit_test(test_tags),
        cmocka_unit_test(test_json_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
