// test_props.c: message properties, each alone and all together, cut at every place.
#include "wire_test.h"

#include "amqp/wire/props.h"

static const struct amqp_basic_props all = {
    .flags = AMQP_PROP_ALL,
    .delivery_mode = 2,
    .priority = 9,
    .timestamp = 0x0102030405060708,
    .content_type = {(const uint8_t *)"text/plain", 10},
    .content_encoding = {(const uint8_t *)"gzip", 4},
    .headers = {(const uint8_t *)"\x01kI\0\0\0\x05", 7},
    .correlation_id = {(const uint8_t *)"corr", 4},
    .reply_to = {(const uint8_t *)"rq", 2},
    .expiration = {(const uint8_t *)"60000", 5},
    .message_id = {(const uint8_t *)"id", 2},
    .type = {(const uint8_t *)"t", 1},
    .user_id = {(const uint8_t *)"guest", 5},
    .app_id = {(const uint8_t *)"\xff", 1}, // not UTF-8: nobody minds
    .cluster_id = {(const uint8_t *)"", 0},
};

static const char all_bytes[] = "\xff\xfc"
                                "\x0atext/plain"
                                "\x04gzip"
                                "\0\0\0\x07\x01kI\0\0\0\x05"
                                "\x02"
                                "\x09"
                                "\x04"
                                "corr"
                                "\x02rq"
                                "\x05"
                                "60000"
                                "\x02id"
                                "\x01\x02\x03\x04\x05\x06\x07\x08"
                                "\x01t"
                                "\x05guest"
                                "\x01\xff"
                                "\0";

static void
assert_props_eq(const struct amqp_basic_props *a, const struct amqp_basic_props *b)
{
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->delivery_mode, b->delivery_mode);
    assert_int_equal(a->priority, b->priority);
    assert_true(a->timestamp == b->timestamp);
    assert_slice_eq(a->content_type, b->content_type);
    assert_slice_eq(a->content_encoding, b->content_encoding);
    assert_slice_eq(a->headers, b->headers);
    assert_slice_eq(a->correlation_id, b->correlation_id);
    assert_slice_eq(a->reply_to, b->reply_to);
    assert_slice_eq(a->expiration, b->expiration);
    assert_slice_eq(a->message_id, b->message_id);
    assert_slice_eq(a->type, b->type);
    assert_slice_eq(a->user_id, b->user_id);
    assert_slice_eq(a->app_id, b->app_id);
    assert_slice_eq(a->cluster_id, b->cluster_id);
}

static void
all_properties_are_these_bytes(void **state)
{
    struct buf b = BUF_INIT;
    amqp_props_encode(&b, &all);
    assert_slice_eq(buf_slice(&b), slice_of(all_bytes, sizeof all_bytes - 1));
    struct slice bytes = exact_new(buf_slice(&b));
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(bytes, &p), 0);
    assert_props_eq(&p, &all);
    assert_int_equal(amqp_props_decode_trusted(bytes, &p), 0);
    assert_props_eq(&p, &all);
    exact_free(bytes);
    buf_fini(&b);
}

static void
each_property_alone(void **state)
{
    for (unsigned bit = 2; bit < 16; bit++) {
        struct amqp_basic_props in = all, out;
        in.flags = (uint16_t)(1u << bit);
        struct buf b = BUF_INIT;
        amqp_props_encode(&b, &in);
        struct slice bytes = exact_new(buf_slice(&b));
        assert_int_equal(amqp_props_decode(bytes, &out), 0);
        assert_int_equal(out.flags, in.flags);
        assert_true(amqp_props_has(&out, (enum amqp_prop)(1 << bit)));
        struct buf again = BUF_INIT; // what is not flagged is empty, so the same bytes come out
        amqp_props_encode(&again, &out);
        assert_slice_eq(buf_slice(&again), bytes);
        exact_free(bytes);
        buf_fini(&again);
        buf_fini(&b);
    }
}

static void
no_properties_at_all(void **state)
{
    struct amqp_basic_props p = all;
    assert_int_equal(amqp_props_decode(BYTES(0, 0), &p), 0);
    assert_props_eq(&p, &(struct amqp_basic_props){0});
    struct buf b = BUF_INIT;
    amqp_props_encode(&b, &p);
    assert_slice_eq(buf_slice(&b), BYTES(0, 0));
    buf_fini(&b);
}

static void
refuses_every_cut_and_extra_bytes(void **state)
{
    struct amqp_basic_props p;
    for (size_t len = 0; len < sizeof all_bytes - 1; len++) {
        struct slice part = exact_new(slice_of(all_bytes, len));
        assert_int_equal(amqp_props_decode(part, &p), -LE_SYNTAX);
        assert_int_equal(amqp_props_decode_trusted(part, &p), -LE_SYNTAX);
        exact_free(part);
    }
    assert_int_equal(amqp_props_decode(slice_of(all_bytes, sizeof all_bytes), &p),
                     -LE_SYNTAX); // with the NUL
    assert_int_equal(amqp_props_decode(BYTES(0, 0, 0), &p), -LE_SYNTAX);
}

static void
refuses_unknown_flags_and_bad_headers(void **state)
{
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(BYTES(0, 1), &p), -LE_SYNTAX); // continuation
    assert_int_equal(amqp_props_decode(BYTES(0, 1, 0, 0), &p), -LE_SYNTAX);
    assert_int_equal(amqp_props_decode(BYTES(0, 2), &p), -LE_SYNTAX); // reserved
    assert_int_equal(amqp_props_decode(SLICE_LIT("\x20\0\0\0\0\x03\x01kZ"), &p), -LE_CORRUPT);
    struct buf deep = BUF_INIT;
    buf_append(&deep, "\x20\0\0\0\0\0", 6);
    for (unsigned i = 0; i < 70; i++) {
        buf_append(&deep, "\0F", 2);
        buf_append_u32be(&deep, 6 * (69 - i));
    }
    wire_put_u32(deep.ptr + 2, (uint32_t)(deep.len - 6));
    assert_int_equal(amqp_props_decode(buf_slice(&deep), &p), -LE_LIMIT);
    buf_fini(&deep);
}

static void
refuses_to_encode_what_does_not_fit(void **state)
{
    static const char long_text[256];
    struct buf b = BUF_INIT;
    amqp_props_encode(
        &b, &(struct amqp_basic_props){.flags = AMQP_PROP_USER_ID, .user_id = slice_of(long_text, 256)});
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
    amqp_props_encode(&b, &(struct amqp_basic_props){.flags = 1});
    assert_true(b.failed);
    buf_fini(&b);
    // Not flagged, so not looked at.
    amqp_props_encode(&b, &(struct amqp_basic_props){.flags = 0, .user_id = slice_of(long_text, 256)});
    assert_false(b.failed);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_properties_are_these_bytes),
        cmocka_unit_test(each_property_alone),
        cmocka_unit_test(no_properties_at_all),
        cmocka_unit_test(refuses_every_cut_and_extra_bytes),
        cmocka_unit_test(refuses_unknown_flags_and_bad_headers),
        cmocka_unit_test(refuses_to_encode_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
