// test_methods.c: every method in both directions. The round trip is generated from the method's own
// description; a dozen methods are also compared with bytes written by hand from the specification.
#include "wire_test.h"

#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "amqp/wire/table.h"
#include "src/base/mem.h"

static const uint8_t some_table[] = {1, 'k', 'I', 0, 0, 0, 5, 0, 't', 1}; // k: 5, and an empty key: true

static void *
member(const union amqp_method *m, const struct amqp_arg_info *arg)
{
    return (uint8_t *)(uintptr_t)m + arg->offset;
}

// Values that differ from argument to argument and from round to round; every bit pattern of up to five bits
// in 32 rounds.
static void
fill(union amqp_method *m, const struct amqp_method_info *info, unsigned round)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    memset(m, 0, sizeof *m);
    unsigned bit = 0;
    for (size_t i = 0; i < info->arg_count; i++) {
        void *p = member(m, &info->args[i]);
        uint64_t number = 0x0123456789ABCDEFu * (i + 1) + round;
        switch (info->args[i].kind) {
        case AMQP_ARG_BIT: *(bool *)p = round >> bit++ & 1; break;
        case AMQP_ARG_OCTET: *(uint8_t *)p = (uint8_t)number; break;
        case AMQP_ARG_SHORT: *(uint16_t *)p = (uint16_t)number; break;
        case AMQP_ARG_LONG: *(uint32_t *)p = (uint32_t)number; break;
        case AMQP_ARG_LONGLONG: *(uint64_t *)p = number; break;
        case AMQP_ARG_SHORTSTR:
        case AMQP_ARG_LONGSTR: *(struct slice *)p = slice_of(letters + i, round % 20); break;
        case AMQP_ARG_TABLE:
            *(struct slice *)p = slice_of(some_table, round % 2 != 0 ? sizeof some_table : 0);
            break;
        }
    }
}

static void
assert_same(const union amqp_method *a, const union amqp_method *b, const struct amqp_method_info *info)
{
    for (size_t i = 0; i < info->arg_count; i++) {
        const void *x = member(a, &info->args[i]);
        const void *y = member(b, &info->args[i]);
        switch (info->args[i].kind) {
        case AMQP_ARG_BIT: assert_int_equal(*(const bool *)x, *(const bool *)y); break;
        case AMQP_ARG_OCTET: assert_int_equal(*(const uint8_t *)x, *(const uint8_t *)y); break;
        case AMQP_ARG_SHORT: assert_int_equal(*(const uint16_t *)x, *(const uint16_t *)y); break;
        case AMQP_ARG_LONG: assert_int_equal(*(const uint32_t *)x, *(const uint32_t *)y); break;
        case AMQP_ARG_LONGLONG: assert_true(*(const uint64_t *)x == *(const uint64_t *)y); break;
        default: assert_slice_eq(*(const struct slice *)x, *(const struct slice *)y); break;
        }
    }
}

static void
every_method_comes_back_as_it_was(void **state)
{
    size_t count;
    const struct amqp_method_info *infos = amqp_method_list(&count);
    assert_int_equal(count, AMQP_METHOD_COUNT);
    for (size_t i = 0; i < count; i++) {
        for (unsigned round = 0; round < 32; round++) {
            union amqp_method in, out;
            fill(&in, &infos[i], round);
            struct buf b = BUF_INIT;
            amqp_method_encode(&b, infos[i].id, &in);
            assert_false(b.failed);
            struct slice args = exact_new(buf_slice(&b));
            assert_int_equal(amqp_method_decode(infos[i].id, args, &out), 0);
            assert_same(&in, &out, &infos[i]);

            buf_reset(&b);
            amqp_method_frame(&b, (uint16_t)(round + 1), infos[i].id, &in);
            struct frame f;
            assert_int_equal(frame_parse(b.ptr, b.len, UINT32_MAX, &f), FRAME_OK);
            assert_int_equal(f.size, b.len);
            assert_int_equal(f.type, FRAME_METHOD);
            assert_int_equal(f.channel, round + 1);
            assert_int_equal(wire_get_u32(f.payload.ptr), infos[i].id);
            assert_slice_eq(slice_from(f.payload, 4), args);
            exact_free(args);
            buf_fini(&b);
        }
    }
}

static void
every_cut_and_every_extra_byte_is_refused(void **state)
{
    size_t count;
    const struct amqp_method_info *infos = amqp_method_list(&count);
    for (size_t i = 0; i < count; i++) {
        union amqp_method in, out;
        fill(&in, &infos[i], 31);
        struct buf b = BUF_INIT;
        amqp_method_encode(&b, infos[i].id, &in);
        for (size_t len = 0; len < b.len; len++) {
            struct slice part = exact_new(slice_head(buf_slice(&b), len));
            memset(&out, 0x5A, sizeof out);
            union amqp_method before = out;
            assert_int_equal(amqp_method_decode(infos[i].id, part, &out), -LE_SYNTAX);
            assert_memory_equal(&out, &before, sizeof out);
            exact_free(part);
        }
        buf_append_u8(&b, 0);
        assert_int_equal(amqp_method_decode(infos[i].id, buf_slice(&b), &out), -LE_SYNTAX);
        buf_fini(&b);
    }
}

static void
descriptions_agree(void **state)
{
    size_t count;
    const struct amqp_method_info *infos = amqp_method_list(&count);
    for (size_t i = 0; i < count; i++) {
        const struct amqp_method_info *m = &infos[i];
        assert_true(i == 0 || infos[i - 1].id < m->id);
        assert_ptr_equal(amqp_method_info(m->id), m);
        assert_string_equal(amqp_method_name(m->id), m->name);
        assert_int_equal(amqp_method_has_content(m->id), m->has_content);
        assert_int_equal(m->is_sync, m->answers[0] != 0);
        for (size_t a = 0; a < 2 && m->answers[a] != 0; a++) {
            const struct amqp_method_info *answer = amqp_method_info(m->answers[a]);
            assert_non_null(answer);
            assert_true(m->side == AMQP_FROM_BOTH || (m->side ^ answer->side) == AMQP_FROM_BOTH);
            assert_int_equal(amqp_class_of(answer->id), amqp_class_of(m->id));
        }
        assert_true(!m->has_nowait || m->is_sync);
    }
    assert_null(amqp_method_info(0));
    assert_null(amqp_method_info(99 << 16 | 10));
    assert_null(amqp_method_info(AMQP_QUEUE_DECLARE + 1000));
    assert_string_equal(amqp_method_name(50 << 16 | 99), "unknown");
    assert_false(amqp_method_has_content(50 << 16 | 99));
    union amqp_method m;
    assert_int_equal(amqp_method_decode(50 << 16 | 99, SLICE_EMPTY, &m), -LE_NOTFOUND);
}

static void
ids_are_the_published_ones(void **state)
{
    assert_int_equal(AMQP_EXCHANGE_UNBIND_OK, 40 << 16 | 51);
    assert_int_equal(AMQP_QUEUE_UNBIND_OK, 50 << 16 | 51);
    assert_int_equal(AMQP_BASIC_NACK, 60 << 16 | 120);
    assert_int_equal(AMQP_BASIC_RECOVER_OK, 60 << 16 | 111);
    assert_int_equal(AMQP_CONFIRM_SELECT, 85 << 16 | 10);
    assert_int_equal(AMQP_TX_ROLLBACK_OK, 90 << 16 | 31);
    assert_int_equal(AMQP_CONNECTION_BLOCKED, 10 << 16 | 60);
    assert_int_equal(AMQP_CONNECTION_UPDATE_SECRET_OK, 10 << 16 | 71);
    assert_int_equal(amqp_class_of(AMQP_BASIC_GET_EMPTY), 60);
    assert_int_equal(amqp_method_of(AMQP_BASIC_GET_EMPTY), 72);
    assert_string_equal(amqp_method_name(AMQP_BASIC_RECOVER_ASYNC), "basic.recover-async");
    assert_string_equal(amqp_method_name(AMQP_CONNECTION_START_OK), "connection.start-ok");
}

// The args of each method as the specification draws them.
#define GOLDEN(name, want, ...)                                                                              \
    do {                                                                                                     \
        struct buf b_ = BUF_INIT;                                                                            \
        amqp_encode_##name(&b_, &(struct amqp_##name){__VA_ARGS__});                                         \
        assert_slice_eq(buf_slice(&b_), SLICE_LIT(want));                                                    \
        buf_fini(&b_);                                                                                       \
    } while (0)

static void
connection_methods_are_these_bytes(void **state)
{
    GOLDEN(connection_start,
           "\x00\x09"
           "\x00\x00\x00\x0a"
           "\x01kI\x00\x00\x00\x05\x00t\x01"
           "\x00\x00\x00\x05PLAIN"
           "\x00\x00\x00\x05"
           "en_US",
           .version_major = 0, .version_minor = 9,
           .server_properties = slice_of(some_table, sizeof some_table), .mechanisms = SLICE_LIT("PLAIN"),
           .locales = SLICE_LIT("en_US"));
    GOLDEN(connection_tune, "\x07\xff\x00\x02\x00\x00\x00\x3c", .channel_max = 2047, .frame_max = 131072,
           .heartbeat = 60);
    GOLDEN(connection_open, "\x01/\x00\x00", .virtual_host = SLICE_LIT("/"));
    GOLDEN(connection_close, "\x01\xf5\x02no\x00\x32\x00\x0a", .reply_code = 501,
           .reply_text = SLICE_LIT("no"), .class_id = 50, .method_id = 10);
    GOLDEN(connection_update_secret, "\x00\x00\x00\x02pw\x03why", .new_secret = SLICE_LIT("pw"),
           .reason = SLICE_LIT("why"));
    GOLDEN(access_request, "\x05/data\x1d", .realm = SLICE_LIT("/data"), .exclusive = true, .active = true,
           .write = true, .read = true);
}

static void
queue_and_exchange_methods_are_these_bytes(void **state)
{
    GOLDEN(exchange_declare,
           "\x00\x00\x01x\x06"
           "direct\x0a\x00\x00\x00\x00",
           .exchange = SLICE_LIT("x"), .type = SLICE_LIT("direct"), .durable = true, .internal = true);
    GOLDEN(exchange_unbind,
           "\x00\x00\x01"
           "d\x01s\x01k\x01\x00\x00\x00\x00",
           .destination = SLICE_LIT("d"), .source = SLICE_LIT("s"), .routing_key = SLICE_LIT("k"),
           .nowait = true);
    GOLDEN(queue_declare, "\x00\x00\x04jobs\x12\x00\x00\x00\x00", .queue = SLICE_LIT("jobs"), .durable = true,
           .nowait = true);
    GOLDEN(queue_declare_ok, "\x01q\x00\x00\x00\x07\x00\x00\x01\x00", .queue = SLICE_LIT("q"),
           .message_count = 7, .consumer_count = 256);
    GOLDEN(queue_unbind, "\x00\x00\x01q\x01x\x01k\x00\x00\x00\x00", .queue = SLICE_LIT("q"),
           .exchange = SLICE_LIT("x"), .routing_key = SLICE_LIT("k"));
}

static void
basic_methods_are_these_bytes(void **state)
{
    GOLDEN(basic_qos, "\x00\x00\x00\x00\x00\x0a\x01", .prefetch_count = 10, .global = true);
    GOLDEN(basic_publish,
           "\x00\x00\x02"
           "ex\x03key\x01",
           .exchange = SLICE_LIT("ex"), .routing_key = SLICE_LIT("key"), .mandatory = true);
    GOLDEN(basic_deliver, "\x03tag\x00\x00\x00\x00\x00\x00\x01\x02\x01\x00\x01q",
           .consumer_tag = SLICE_LIT("tag"), .delivery_tag = 0x0102, .redelivered = true,
           .routing_key = SLICE_LIT("q"));
    GOLDEN(basic_get_ok,
           "\x00\x00\x00\x00\x00\x00\x00\x05\x00\x01"
           "e\x01r\x00\x00\x00\x09",
           .delivery_tag = 5, .exchange = SLICE_LIT("e"), .routing_key = SLICE_LIT("r"), .message_count = 9);
    GOLDEN(basic_return, "\x01\x38\x08NO_ROUTE\x00\x01k", .reply_code = 312,
           .reply_text = SLICE_LIT("NO_ROUTE"), .routing_key = SLICE_LIT("k"));
    GOLDEN(basic_nack, "\x00\x00\x00\x00\x00\x00\x00\x03\x02", .delivery_tag = 3, .requeue = true);

    struct buf b = BUF_INIT;
    amqp_frame_basic_get_empty(&b, 1);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("\x01\x00\x01\x00\x00\x00\x05\x00\x3c\x00\x48\x00\xce"));
    buf_reset(&b);
    amqp_frame_channel_open_ok(&b, 1);
    assert_slice_eq(buf_slice(&b),
                    SLICE_LIT("\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0b\x00\x00\x00\x00\xce"));
    buf_reset(&b);
    amqp_frame_tx_select_ok(&b, 300);
    assert_slice_eq(buf_slice(&b), SLICE_LIT("\x01\x01\x2c\x00\x00\x00\x04\x00\x5a\x00\x0b\xce"));
    buf_fini(&b);
}

static void
decodes_bytes_written_by_hand(void **state)
{
    struct amqp_queue_declare q;
    struct slice args =
        exact_new(SLICE_LIT("\x01\x02\x04jobs\xf6\x00\x00\x00\x0a\x01kI\x00\x00\x00\x05\x00t\x01"));
    assert_int_equal(amqp_decode_queue_declare(args, &q), 0); // reserved-1 and the upper bits are ignored
    assert_slice_eq(q.queue, SLICE_LIT("jobs"));
    assert_false(q.passive);
    assert_true(q.durable);
    assert_true(q.exclusive);
    assert_false(q.auto_delete);
    assert_true(q.nowait);
    assert_slice_eq(q.arguments, slice_of(some_table, sizeof some_table));
    exact_free(args);

    struct amqp_connection_start_ok s;
    args = exact_new(SLICE_LIT("\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05"
                               "en_US"));
    assert_int_equal(amqp_decode_connection_start_ok(args, &s), 0);
    assert_slice_eq(s.mechanism, SLICE_LIT("PLAIN"));
    assert_slice_eq(s.response, SLICE_LIT("\0guest\0guest"));
    assert_slice_eq(s.locale, SLICE_LIT("en_US"));
    exact_free(args);
}

// As RabbitMQ answers "cannot decode <<0,0,32,97,98>>".
static void
tells_apart_what_is_wrong(void **state)
{
    struct amqp_queue_declare q;
    assert_int_equal(amqp_decode_queue_declare(BYTES(0, 0, 32, 97, 98), &q), -LE_SYNTAX);
    assert_int_equal(amqp_decode_queue_declare(SLICE_LIT("\0\0\x02\xc3\x28\0\0\0\0\0"), &q), -LE_INVAL);
    assert_int_equal(amqp_decode_queue_declare(SLICE_LIT("\0\0\x01q\0\0\0\0\x03\x01kZ"), &q), -LE_CORRUPT);
    assert_int_equal(amqp_decode_queue_declare(SLICE_LIT("\0\0\x01q\0\0\0\0\x04\x01kI\0"), &q), -LE_CORRUPT);
    // In this order when several are wrong: truncated, not UTF-8, malformed table.
    assert_int_equal(amqp_decode_queue_declare(SLICE_LIT("\0\0\x02\xc3\x28\0\0\0\0\x04\x01kZ"), &q),
                     -LE_SYNTAX);
    assert_int_equal(amqp_decode_queue_declare(SLICE_LIT("\0\0\x02\xc3\x28\0\0\0\0\x03\x01kZ"), &q),
                     -LE_INVAL);

    struct buf table = BUF_INIT; // one deeper than allowed
    struct buf args = BUF_INIT;
    for (unsigned depth = 0; depth < TABLE_DEPTH_MAX; depth++) {
        struct buf outer = BUF_INIT;
        struct table_writer w = table_writer_of(&outer);
        table_put_table(&w, SLICE_LIT("k"), buf_slice(&table));
        buf_fini(&table);
        table = outer;
    }
    amqp_encode_queue_declare(&args, &(struct amqp_queue_declare){.arguments = buf_slice(&table)});
    assert_int_equal(amqp_decode_queue_declare(buf_slice(&args), &q), -LE_LIMIT);
    buf_fini(&table);
    buf_fini(&args);
}

static void
methods_with_content_may_carry_any_bytes(void **state)
{
    struct amqp_basic_publish p;
    assert_int_equal(amqp_decode_basic_publish(SLICE_LIT("\0\0\0\x02\xc3\x28\0"), &p), 0);
    assert_slice_eq(p.routing_key, SLICE_LIT("\xc3\x28"));
    struct amqp_connection_open open; // the reserved string is looked at too
    assert_int_equal(amqp_decode_connection_open(SLICE_LIT("\x01/\x01\xff\0"), &open), -LE_INVAL);
}

static void
refuses_to_encode_what_does_not_fit(void **state)
{
    static const char long_text[256];
    struct buf b = BUF_INIT;
    buf_append_str(&b, "x");
    amqp_encode_queue_declare(&b, &(struct amqp_queue_declare){.queue = slice_of(long_text, 256)});
    assert_true(b.failed);
    assert_int_equal(b.len, 1);
    buf_fini(&b);

    amqp_frame_queue_declare(&b, 1, &(struct amqp_queue_declare){.queue = slice_of(long_text, 255)});
    assert_false(b.failed);
    assert_int_equal(b.len, 8 + 4 + 2 + 256 + 1 + 4);
    amqp_frame_queue_declare(&b, 1,
                             &(struct amqp_queue_declare){.arguments = slice_of(long_text, SIZE_MAX - 8)});
    assert_true(b.failed);
    buf_fini(&b);
}

static void
no_memory_shows_in_the_buffer(void **state)
{
    struct buf b = BUF_INIT;
    mem_test_fail_after(1);
    amqp_frame_basic_ack(&b, 1, &(struct amqp_basic_ack){.delivery_tag = 1});
    mem_test_fail_after(0);
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    amqp_frame_basic_ack(&b, 1, &(struct amqp_basic_ack){.delivery_tag = 1}); // stays failed
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void
cuts_texts_between_characters(void **state)
{
    char text[400];
    memset(text, 'a', sizeof text);
    assert_int_equal(amqp_shortstr_cut(slice_of(text, 255)).len, 255);
    assert_int_equal(amqp_shortstr_cut(slice_of(text, 256)).len, 255);
    memcpy(text + 253, "\xe2\x82\xac", 3); // a euro sign over the border
    assert_int_equal(amqp_shortstr_cut(slice_of(text, 300)).len, 253);
    memcpy(text + 252, "\xf0\x9f\x90\x87", 4); // a rabbit
    assert_int_equal(amqp_shortstr_cut(slice_of(text, 300)).len, 252);
    memset(text, 0x80, sizeof text); // no UTF-8 at all
    assert_int_equal(amqp_shortstr_cut(slice_of(text, 300)).len, 255);

    struct buf b = BUF_INIT;
    memset(text, 'a', sizeof text);
    amqp_reply_text_cut(slice_of(text, 255), &b);
    assert_slice_eq(buf_slice(&b), slice_of(text, 255));
    buf_reset(&b);
    amqp_reply_text_cut(slice_of(text, 256), &b);
    assert_int_equal(b.len, 255);
    assert_slice_eq(slice_from(buf_slice(&b), 251), SLICE_LIT("a..."));
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_comes_back_as_it_was),
        cmocka_unit_test(every_cut_and_every_extra_byte_is_refused),
        cmocka_unit_test(descriptions_agree),
        cmocka_unit_test(ids_are_the_published_ones),
        cmocka_unit_test(connection_methods_are_these_bytes),
        cmocka_unit_test(queue_and_exchange_methods_are_these_bytes),
        cmocka_unit_test(basic_methods_are_these_bytes),
        cmocka_unit_test(decodes_bytes_written_by_hand),
        cmocka_unit_test(tells_apart_what_is_wrong),
        cmocka_unit_test(methods_with_content_may_carry_any_bytes),
        cmocka_unit_test(refuses_to_encode_what_does_not_fit),
        cmocka_unit_test(no_memory_shows_in_the_buffer),
        cmocka_unit_test(cuts_texts_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
