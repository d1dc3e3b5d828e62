// test_arguments.c: optional arguments are accepted, refused and compared as RabbitMQ does it, with its texts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "exchange/route.h"
#include "src/broker/arguments.h"

static const struct queue_properties durable = {.is_durable = true};

// The text of the fault without its code's name; "" when there is none.
static const char *
declare(struct buf *arguments, const struct queue_properties *p)
{
    static struct fault f;
    enum queue_type type;
    uint32_t flags;
    f.text[0] = '\0';
    bool ok = arguments_check_queue(SLICE_LIT("wire"), SLICE_LIT("arg"), buf_slice(arguments), p, &type,
                                    &flags, &f);
    assert_true(ok == (f.text[0] == '\0'));
    if (!ok) {
        assert_int_equal(f.code, 406);
        assert_false(f.is_connection);
    }
    buf_fini(arguments);
    return ok ? "" : f.text + strlen("PRECONDITION_FAILED - ");
}

static const char *
with_int(const char *key, int64_t value)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_i64(&w, slice_str(key), value);
    return declare(&b, &durable);
}

static const char *
with_string(const char *key, const char *value)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, slice_str(key), value);
    return declare(&b, &durable);
}

static const char *
with_type(const char *type, const char *key, int64_t value)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("x-queue-type"), type);
    table_put_i64(&w, slice_str(key), value);
    return declare(&b, &durable);
}

#define PREFIX(arg)        "invalid arg '" arg "' for queue 'arg' in vhost 'wire': "
#define OF_TYPE(arg, type) "invalid arg '" arg "' for queue 'arg' in vhost 'wire' of queue type " type

static void
test_values(void **state)
{
    assert_string_equal(with_int("x-message-ttl", 1000), "");
    assert_string_equal(with_int("x-message-ttl", 8589934592), "");
    assert_string_equal(with_int("x-message-ttl", -1), PREFIX("x-message-ttl") "{value_negative,-1}");
    assert_string_equal(with_string("x-message-ttl", "abc"),
                        PREFIX("x-message-ttl") "\"expected integer, got longstr\"");
    assert_string_equal(with_int("x-expires", 0), PREFIX("x-expires") "{value_zero,0}");
    assert_string_equal(with_int("x-max-priority", 256), PREFIX("x-max-priority") "{max_value_exceeded,256}");
    assert_string_equal(with_int("x-max-priority", 255), "");
    assert_string_equal(with_string("x-overflow", "bad"), PREFIX("x-overflow") "invalid_overflow");
    assert_string_equal(with_int("x-overflow", 5), PREFIX("x-overflow") "{unacceptable_type,long}");
    assert_string_equal(with_string("x-queue-mode", "bad"),
                        PREFIX("x-queue-mode") "\"unsupported queue mode 'bad'\"");
    assert_string_equal(with_string("x-queue-type", "bad"),
                        PREFIX("x-queue-type") "\"unsupported queue type 'bad'\"");
    assert_string_equal(
        with_int("x-dead-letter-exchange", 5),
        "invalid type 'long' for arg 'x-dead-letter-exchange' in queue 'arg' in vhost 'wire'");
    assert_string_equal(with_string("x-dead-letter-routing-key", "k"),
                        PREFIX("x-dead-letter-routing-key") "routing_key_but_no_dlx_defined");
    assert_string_equal(with_string("x-single-active-consumer", "yes"),
                        PREFIX("x-single-active-consumer") "{unacceptable_type,longstr}");
    assert_string_equal(with_string("x-unknown", "kept"), "");
}

static void
test_queue_types(void **state)
{
    assert_string_equal(with_type("quorum", "x-message-ttl", 1000), "");
    assert_string_equal(with_type("quorum", "x-max-priority", 5),
                        OF_TYPE("x-max-priority", "rabbit_quorum_queue"));
    assert_string_equal(with_type("quorum", "x-delivery-limit", -1), "");
    assert_string_equal(with_int("x-delivery-limit", 5), "");
    assert_string_equal(with_int("x-consumer-timeout", 5), "");
    assert_string_equal(with_string("x-max-age", "1h"), OF_TYPE("x-max-age", "rabbit_classic_queue"));
    assert_string_equal(with_type("stream", "x-message-ttl", 5),
                        OF_TYPE("x-message-ttl", "rabbit_stream_queue"));
    struct queue_properties transient = {0}, exclusive = {.is_durable = true, .is_exclusive = true};
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("x-queue-type"), "quorum");
    struct buf copy = BUF_INIT;
    buf_append_slice(&copy, buf_slice(&b));
    assert_string_equal(declare(&b, &transient),
                        "invalid property 'non-durable' for queue 'arg' in vhost 'wire'");
    assert_string_equal(declare(&copy, &exclusive),
                        "invalid property 'exclusive-owner' for queue 'arg' in vhost 'wire'");
}

// --- equivalence --------------------------------------------------------------------------------------------------------------

static const char *
redeclare(struct slice has, struct slice got, bool is_durable)
{
    static struct fault f;
    struct queue_def def = {
        .flags = QUEUE_DURABLE, .name = SLICE_LIT("ttl"), .vhost = SLICE_LIT("wire"), .arguments = has};
    struct queue_properties p = {.is_durable = is_durable};
    f.text[0] = '\0';
    return arguments_same_queue(&def, &p, got, &f) ? "" : f.text + strlen("PRECONDITION_FAILED - ");
}

static void
test_equivalence(void **state)
{
    struct buf l = BUF_INIT, i = BUF_INIT, t = BUF_INIT, d = BUF_INIT, five = BUF_INIT, classic = BUF_INIT,
               foo = BUF_INIT;
    struct table_writer w = table_writer_of(&l);
    struct slice key = SLICE_LIT("x-message-ttl");
    table_put_i64(&w, key, 1000);
    w = table_writer_of(&i);
    table_put_i32(&w, key, 1000);
    w = table_writer_of(&t);
    table_put_timestamp(&w, key, 1000);
    w = table_writer_of(&d);
    table_put_double(&w, key, 1000);
    w = table_writer_of(&five);
    table_put_i32(&w, key, 5);
    w = table_writer_of(&classic);
    table_put_str(&w, SLICE_LIT("x-queue-type"), "classic");
    w = table_writer_of(&foo);
    table_put_str(&w, SLICE_LIT("x-foo"), "bar");
#define TTL "inequivalent arg 'x-message-ttl' for queue 'ttl' in vhost 'wire': received "
    assert_string_equal(redeclare(buf_slice(&i), buf_slice(&l), true), "");
    assert_string_equal(redeclare(buf_slice(&i), buf_slice(&t), true), "");
    assert_string_equal(redeclare(buf_slice(&i), buf_slice(&d), true), TTL "'1.0e3' but current is '1000'");
    assert_string_equal(redeclare(buf_slice(&i), buf_slice(&five), true), TTL "'5' but current is '1000'");
    assert_string_equal(redeclare(SLICE_EMPTY, buf_slice(&five), true),
                        TTL "the value '5' of type 'signedint' but current is none");
    assert_string_equal(redeclare(buf_slice(&i), SLICE_EMPTY, true),
                        TTL "none but current is the value '1000' of type 'signedint'");
    assert_string_equal(redeclare(SLICE_EMPTY, buf_slice(&classic), true), "");
    assert_string_equal(redeclare(SLICE_EMPTY, buf_slice(&foo), true), "");
    assert_string_equal(
        redeclare(SLICE_EMPTY, SLICE_EMPTY, false),
        "inequivalent arg 'durable' for queue 'ttl' in vhost 'wire': received 'false' but current is 'true'");
    struct buf *all[] = {&l, &i, &t, &d, &five, &classic, &foo};
    for (size_t n = 0; n < LV_ARRAY_LEN(all); n++)
        buf_fini(all[n]);
}

// --- messages and bindings ----------------------------------------------------------------------------------------------------

static const char *
expiration(const char *text, uint32_t *ret_ms)
{
    static struct fault f;
    f.text[0] = '\0';
    return arguments_parse_expiration(slice_str(text), ret_ms, &f)
               ? ""
               : f.text + strlen("PRECONDITION_FAILED - ");
}

static void
test_expiration(void **state)
{
    uint32_t ms = 0;
    assert_string_equal(expiration("60000", &ms), "");
    assert_int_equal(ms, 60000);
    assert_string_equal(expiration("8589934592", &ms), "");
    assert_int_equal(ms, UINT32_MAX);
    assert_string_equal(expiration("99999999999999999999999999", &ms), "");
    assert_string_equal(expiration("abc", &ms), "invalid expiration 'abc': no_integer");
    assert_string_equal(expiration("", &ms), "invalid expiration '': no_integer");
    assert_string_equal(expiration("-1", &ms), "invalid expiration '-1': {value_negative,-1}");
    assert_string_equal(expiration("1.5", &ms), "invalid expiration '1.5': {leftover_string,\".5\"}");
    assert_string_equal(expiration("10ms", &ms), "invalid expiration '10ms': {leftover_string,\"ms\"}");
}

static void
test_sender_selected(void **state)
{
    struct slice keys[4];
    struct fault f;
    size_t count;
    bool has_bcc;
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_begin_array(&w, SLICE_LIT("CC"));
    array_put_longstr(&w, SLICE_LIT("a"));
    array_put_i64(&w, 7); // not a key
    table_writer_end(&w);
    table_begin_array(&w, SLICE_LIT("BCC"));
    array_put_longstr(&w, SLICE_LIT("b"));
    table_writer_end(&w);
    assert_true(arguments_sender_selected(buf_slice(&b), keys, 4, &count, &has_bcc, &f));
    assert_int_equal(count, 2);
    assert_true(has_bcc && slice_eq_str(keys[0], "a") && slice_eq_str(keys[1], "b"));
    assert_false(arguments_sender_selected(buf_slice(&b), keys, 1, &count, &has_bcc, &f)); // bounded
    buf_reset(&b);
    w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("CC"), "a");
    assert_false(arguments_sender_selected(buf_slice(&b), keys, 4, &count, &has_bcc, &f));
    assert_string_equal(
        f.text, "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}");
    buf_fini(&b);
}

static void
test_x_match(void **state)
{
    struct fault f;
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, SLICE_LIT("x-match"), "foo");
    assert_false(arguments_check_binding(EXCHANGE_HEADERS, SLICE_EMPTY, buf_slice(&b), &f));
    assert_string_equal(f.text, "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected "
                                "all, any, all-with-x, or any-with-x");
    buf_reset(&b);
    w = table_writer_of(&b);
    table_put_i32(&w, SLICE_LIT("x-match"), 5);
    assert_false(arguments_check_binding(EXCHANGE_HEADERS, SLICE_EMPTY, buf_slice(&b), &f));
    assert_string_equal(
        f.text, "PRECONDITION_FAILED - Invalid x-match field type signedint (value 5); expected longstr");
    buf_fini(&b);
    assert_true(arguments_check_binding(EXCHANGE_HEADERS, SLICE_EMPTY, SLICE_EMPTY, &f));
}

// A text longer than a short string is cut at 255 bytes, between characters.
static void
test_fault_text_is_bounded(void **state)
{
    struct fault f;
    char name[600];
    memset(name, 'x', 230);
    for (size_t i = 230; i < sizeof name - 1; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    name[sizeof name - 1] = '\0';
    fault_set(&f, FAULT_NOT_FOUND, "%s", name);
    size_t len = strlen(f.text);
    assert_in_range(len, 250, 255);
    assert_int_equal((uint8_t)f.text[len - 1], 0xa9);
    assert_false(f.is_connection);
    fault_set(&f, FAULT_NOT_ALLOWED, "x");
    assert_true(f.is_connection);
}

// What a declare says where the vhost has a default type; "" for none in the result.
static void
expect_default_type(const char *of_vhost, const char *given, struct queue_properties p, const char *expected)
{
    struct buf b = BUF_INIT, room = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    struct slice got, type = SLICE_EMPTY;
    if (given != NULL)
        table_put_str(&w, SLICE_LIT("x-queue-type"), given);
    table_put_i64(&w, SLICE_LIT("x-expires"), 5);
    assert_int_equal(arguments_with_default_type(slice_str(of_vhost), &p, buf_slice(&b), &room, &got), 0);
    assert_int_equal(table_validate(got, 1), 0);
    assert_true(table_find(got, SLICE_LIT("x-expires"), NULL));
    table_find_longstr(got, SLICE_LIT("x-queue-type"), &type);
    assert_true(slice_eq_str(type, expected));
    buf_fini(&b);
    buf_fini(&room);
}

static void
test_default_type(void **state)
{
    struct queue_properties transient = {0}, exclusive = {.is_durable = true, .is_exclusive = true},
                            auto_delete = {.is_durable = true, .is_auto_delete = true};
    expect_default_type("", NULL, durable, "");
    expect_default_type("quorum", NULL, durable, "quorum");
    expect_default_type("stream", NULL, durable, "stream");
    expect_default_type("classic", NULL, durable, "classic");
    expect_default_type("classic", NULL, exclusive, "classic");
    expect_default_type("quorum", NULL, transient, "");
    expect_default_type("quorum", NULL, exclusive, "");
    expect_default_type("stream", NULL, auto_delete, "");
    expect_default_type("quorum", "classic", durable, "classic");
    expect_default_type("quorum", "bad", durable, "bad");
    // A type that is no string is refused as the client's, not replaced.
    struct buf b = BUF_INIT, room = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    struct slice got;
    table_put_void(&w, SLICE_LIT("x-queue-type"));
    assert_int_equal(arguments_with_default_type(SLICE_LIT("quorum"), &durable, buf_slice(&b), &room, &got),
                     0);
    assert_ptr_equal(got.ptr, b.ptr);
    assert_ptr_equal(room.ptr, NULL);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),      cmocka_unit_test(test_queue_types),
        cmocka_unit_test(test_equivalence), cmocka_unit_test(test_default_type),
        cmocka_unit_test(test_expiration),  cmocka_unit_test(test_sender_selected),
        cmocka_unit_test(test_x_match),     cmocka_unit_test(test_fault_text_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
