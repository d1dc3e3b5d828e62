// test_frame.c: frames, content headers and the protocol header; byte for byte, and cut at every place.
#include "wire_test.h"

#include "amqp/wire/frame.h"

static const uint8_t heartbeat[] = {8, 0, 0, 0, 0, 0, 0, 0xCE};
static const uint8_t body_abc[] = {3, 0x12, 0x34, 0, 0, 0, 3, 'a', 'b', 'c', 0xCE};

static void
parses_whole_frames(void **state)
{
    struct frame f;
    assert_int_equal(frame_parse(heartbeat, sizeof heartbeat, UINT32_MAX, &f), FRAME_OK);
    assert_int_equal(f.type, FRAME_HEARTBEAT);
    assert_int_equal(f.channel, 0);
    assert_int_equal(f.payload.len, 0);
    assert_int_equal(f.size, 8);

    assert_int_equal(frame_parse(body_abc, sizeof body_abc, 3, &f), FRAME_OK);
    assert_int_equal(f.type, FRAME_BODY);
    assert_int_equal(f.channel, 0x1234);
    assert_slice_eq(f.payload, SLICE_LIT("abc"));
    assert_int_equal(f.size, sizeof body_abc);
    assert_int_equal(f.end, FRAME_END);
}

static void
leaves_what_follows_alone(void **state)
{
    struct buf b = BUF_INIT;
    buf_append(&b, body_abc, sizeof body_abc);
    buf_append(&b, heartbeat, sizeof heartbeat);
    struct frame f;
    assert_int_equal(frame_parse(b.ptr, b.len, UINT32_MAX, &f), FRAME_OK);
    assert_int_equal(f.size, sizeof body_abc);
    assert_int_equal(frame_parse(b.ptr + f.size, b.len - f.size, UINT32_MAX, &f), FRAME_OK);
    assert_int_equal(f.type, FRAME_HEARTBEAT);
    buf_fini(&b);
}

static void
asks_for_more_at_every_cut(void **state)
{
    for (size_t len = 0; len < sizeof body_abc; len++) {
        struct slice part = exact_new(slice_of(body_abc, len));
        struct frame f;
        assert_int_equal(frame_parse(part.ptr, part.len, 3, &f), FRAME_MORE);
        assert_int_equal(f.size, len < FRAME_HEADER_SIZE ? 0 : sizeof body_abc);
        assert_int_equal(f.payload.len, 0);
        exact_free(part);
    }
}

static void
refuses_too_large_by_the_header_alone(void **state)
{
    struct frame f;
    assert_int_equal(frame_parse(body_abc, FRAME_HEADER_SIZE, 2, &f), FRAME_TOO_LARGE);
    assert_int_equal(f.payload_len, 3);
    assert_int_equal(f.type, FRAME_BODY);
    assert_int_equal(f.payload.len, 0);
    static const uint8_t huge[] = {1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF};
    assert_int_equal(frame_parse(huge, sizeof huge, 131064, &f), FRAME_TOO_LARGE);
    assert_int_equal(frame_parse(huge, sizeof huge, UINT32_MAX, &f), FRAME_MORE);
    assert_true(f.size == (size_t)UINT32_MAX + 8);
}

static void
tells_the_wrong_end_octet(void **state)
{
    uint8_t bad[sizeof body_abc];
    memcpy(bad, body_abc, sizeof bad);
    bad[sizeof bad - 1] = 0xCD;
    struct frame f;
    assert_int_equal(frame_parse(bad, sizeof bad, UINT32_MAX, &f), FRAME_BAD_END);
    assert_int_equal(f.end, 0xCD);
    assert_slice_eq(f.payload, SLICE_LIT("abc"));
}

static void
writes_frames(void **state)
{
    struct buf b = BUF_INIT;
    buf_append_str(&b, "before");
    size_t at = frame_begin(&b, FRAME_BODY, 0x1234);
    buf_append_str(&b, "abc");
    frame_end(&b, at);
    frame_append_heartbeat(&b);
    assert_false(b.failed);
    assert_slice_eq(
        slice_from(buf_slice(&b), 6),
        slice_of((uint8_t[]){3, 0x12, 0x34, 0, 0, 0, 3, 'a', 'b', 'c', 0xCE, 8, 0, 0, 0, 0, 0, 0, 0xCE}, 19));
    buf_fini(&b);
}

static void
splits_bodies_by_frame_max(void **state)
{
    struct buf b = BUF_INIT;
    frame_append_body(&b, 1, SLICE_LIT("abcdefg"), 11); // three bytes a frame
    static const uint8_t want[] = {3, 0, 1,   0,   0,   0,    3, 'a', 'b', 'c', 0xCE, 3, 0, 1,   0,   0,
                                   0, 3, 'd', 'e', 'f', 0xCE, 3, 0,   1,   0,   0,    0, 1, 'g', 0xCE};
    assert_slice_eq(buf_slice(&b), slice_of(want, sizeof want));
    assert_int_equal(frame_body_size(7, 11), sizeof want);
    assert_int_equal(frame_body_size(6, 11), 22);
    assert_int_equal(frame_body_size(0, 11), 0);
    assert_int_equal(frame_body_size(1000000, 0), 1000008);

    buf_reset(&b);
    frame_append_body(&b, 1, SLICE_EMPTY, 4096);
    assert_int_equal(b.len, 0);
    frame_append_body(&b, 0x1234, SLICE_LIT("abc"), 0);
    assert_slice_eq(buf_slice(&b), slice_of(body_abc, sizeof body_abc));
    buf_fini(&b);
}

static void
writes_and_reads_content_headers(void **state)
{
    struct buf b = BUF_INIT;
    frame_append_content_header(&b, 2, 0x0102030405060708, BYTES(0x10, 0, 2)); // delivery-mode 2
    static const uint8_t want[] = {2, 0, 2, 0, 0, 0, 15, 0,    60, 0, 0,   1,
                                   2, 3, 4, 5, 6, 7, 8,  0x10, 0,  2, 0xCE};
    assert_slice_eq(buf_slice(&b), slice_of(want, sizeof want));

    struct frame f;
    assert_int_equal(frame_parse(b.ptr, b.len, UINT32_MAX, &f), FRAME_OK);
    struct content_header h;
    assert_int_equal(content_header_decode(f.payload, &h), 0);
    assert_int_equal(h.class_id, 60);
    assert_true(h.body_size == 0x0102030405060708);
    assert_slice_eq(h.props, BYTES(0x10, 0, 2));
    for (size_t len = 0; len < 12; len++) {
        struct slice part = exact_new(slice_head(f.payload, len));
        assert_int_equal(content_header_decode(part, &h), -LE_SYNTAX);
        exact_free(part);
    }
    assert_int_equal(content_header_decode(slice_head(f.payload, 12), &h), 0);
    assert_int_equal(h.props.len, 0);
    buf_fini(&b);
}

static enum protocol_version
version_of(const char *text, size_t len)
{
    struct slice s = exact_new(slice_of(text, len));
    enum protocol_version v = protocol_header_parse(s.ptr, s.len);
    exact_free(s);
    return v;
}

static void
knows_protocol_headers(void **state)
{
    assert_int_equal(version_of("AMQP\0\0\x09\x01", 8), PROTOCOL_0_9_1);
    assert_int_equal(version_of("AMQP\x01\x01\0\x09", 8), PROTOCOL_0_9);
    assert_int_equal(version_of("AMQP\x01\x01\x08\0", 8), PROTOCOL_0_8);
    assert_int_equal(version_of("AMQP\x01\x01\x09\x01", 8), PROTOCOL_0_8);
    assert_int_equal(version_of("AMQP\0\x01\0\0", 8), PROTOCOL_1_0);
    assert_int_equal(version_of("AMQP\x03\x01\0\0", 8), PROTOCOL_1_0);
    assert_int_equal(version_of("AMQP\0\0\x09\0", 8), PROTOCOL_UNKNOWN);
    assert_int_equal(version_of("AMQP\x01\x01\0\x0a", 8), PROTOCOL_UNKNOWN);
    assert_int_equal(version_of("GET / HT", 8), PROTOCOL_NOT_AMQP);
    assert_int_equal(version_of("\x16\x03", 2), PROTOCOL_NOT_AMQP);
    assert_int_equal(version_of("AMX", 3), PROTOCOL_NOT_AMQP);
    for (size_t len = 0; len < 8; len++)
        assert_int_equal(version_of("AMQP\0\0\x09\x01", len), PROTOCOL_MORE);
    assert_int_equal(protocol_header_parse(protocol_header().ptr, protocol_header().len), PROTOCOL_0_9_1);
    assert_int_equal(protocol_header().len, PROTOCOL_HEADER_SIZE);
}

static void
readers_stop_at_the_end(void **state)
{
    struct slice s = exact_new(BYTES(1, 2, 3, 4, 5, 6, 7, 8, 9));
    struct wire_reader r = wire_reader_of(s);
    assert_int_equal(wire_read_u8(&r), 1);
    assert_int_equal(wire_read_u16(&r), 0x0203);
    assert_int_equal(wire_read_u32(&r), 0x04050607);
    assert_false(wire_reader_is_done(&r));
    assert_int_equal(wire_read_u32(&r), 0); // two bytes left
    assert_true(r.is_bad);
    assert_int_equal(wire_reader_left(&r), 0);
    assert_int_equal(wire_read_u8(&r), 0); // stays bad, though a byte would have fitted
    assert_int_equal(wire_read_shortstr(&r).len, 0);
    assert_false(wire_reader_is_done(&r));
    exact_free(s);

    r = wire_reader_of(SLICE_EMPTY);
    assert_true(wire_reader_is_done(&r));
    assert_true(wire_read_u64(&r) == 0);
    assert_false(wire_reader_is_done(&r));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_whole_frames),        cmocka_unit_test(leaves_what_follows_alone),
        cmocka_unit_test(asks_for_more_at_every_cut), cmocka_unit_test(refuses_too_large_by_the_header_alone),
        cmocka_unit_test(tells_the_wrong_end_octet),  cmocka_unit_test(writes_frames),
        cmocka_unit_test(splits_bodies_by_frame_max), cmocka_unit_test(writes_and_reads_content_headers),
        cmocka_unit_test(knows_protocol_headers),     cmocka_unit_test(readers_stop_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
