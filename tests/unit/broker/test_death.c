// test_death.c: the headers of dead letters, byte for byte against tables written by hand in the order in which RabbitMQ writes them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "amqp/wire/props.h"
#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/death.h"

enum { TIME = 1795283787 };

// A message with these headers (NULL: none) and, perhaps, an expiration.
static struct message *
message_with(const struct buf *headers, const char *expiration)
{
    struct amqp_basic_props p = {.flags = AMQP_PROP_MESSAGE_ID | AMQP_PROP_USER_ID | AMQP_PROP_DELIVERY_MODE,
                                 .delivery_mode = 2,
                                 .message_id = SLICE_LIT("m"),
                                 .user_id = SLICE_LIT("guest")};
    struct buf encoded = BUF_INIT;
    if (headers != NULL) {
        p.flags |= AMQP_PROP_HEADERS;
        p.headers = buf_slice(headers);
    }
    if (expiration != NULL) {
        p.flags |= AMQP_PROP_EXPIRATION;
        p.expiration = slice_str(expiration);
    }
    amqp_props_encode(&encoded, &p);
    struct message *m = message_new(SLICE_LIT("from"), SLICE_LIT("key"), buf_slice(&encoded), 4);
    assert_non_null(m);
    memcpy(message_body_mut(m), "body", 4);
    m->flags = (uint8_t)(MESSAGE_PERSISTENT | (expiration != NULL ? MESSAGE_HAS_EXPIRY : 0));
    m->expiry_ms = expiration != NULL ? 60000 : 0;
    m->priority = 9;
    buf_fini(&encoded);
    return m;
}

static const struct death rejected = {
    .queue = SLICE_LIT("src"), .reason = DEATH_REJECTED, .time_s = TIME, .exchange = SLICE_LIT("dlx")};

static struct message *
die(struct message *m, const struct death *d)
{
    struct message *letter = death_message(m, d);
    message_unref(m);
    assert_non_null(letter);
    return letter;
}

static void
check_headers(struct message *letter, struct buf *expected)
{
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(message_properties(letter), &p), 0);
    assert_false(expected->failed);
    assert_int_equal(p.headers.len, expected->len);
    assert_memory_equal(p.headers.ptr, expected->ptr, expected->len);
    buf_fini(expected);
}

static void
put_first(struct table_writer *w, const char *queue, const char *reason)
{
    table_put_str(w, SLICE_LIT("x-first-death-exchange"), "from");
    table_put_str(w, SLICE_LIT("x-first-death-queue"), queue);
    table_put_str(w, SLICE_LIT("x-first-death-reason"), reason);
}

static void
put_last(struct table_writer *w, const char *queue, const char *reason)
{
    table_put_str(w, SLICE_LIT("x-last-death-exchange"), "from");
    table_put_str(w, SLICE_LIT("x-last-death-queue"), queue);
    table_put_str(w, SLICE_LIT("x-last-death-reason"), reason);
}

static void
put_sorted_death(struct table_writer *w, int64_t count)
{
    array_begin_table(w);
    table_put_i64(w, SLICE_LIT("count"), count);
    table_put_str(w, SLICE_LIT("exchange"), "from");
    table_put_str(w, SLICE_LIT("queue"), "src");
    table_put_str(w, SLICE_LIT("reason"), "rejected");
    table_begin_array(w, SLICE_LIT("routing-keys"));
    array_put_longstr(w, SLICE_LIT("key"));
    table_writer_end(w);
    table_put_timestamp(w, SLICE_LIT("time"), TIME);
    table_writer_end(w);
}

// Everything at once: headers in their order, a key of its own, CC, an expiration.
static void
the_first_death(void **state)
{
    struct buf headers = BUF_INIT, expected = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_i32(&w, SLICE_LIT("zz"), 1);
    table_put_str(&w, SLICE_LIT("Alpha"), "x");
    table_begin_array(&w, SLICE_LIT("CC"));
    array_put_longstr(&w, SLICE_LIT("one"));
    array_put_i64(&w, 2);
    array_put_longstr(&w, SLICE_LIT("three"));
    table_writer_end(&w);
    struct slice key = SLICE_LIT("dead");
    struct death d = rejected;
    d.key = &key;
    struct message *letter = die(message_with(&headers, "60000"), &d);
    assert_true(slice_eq_str(message_exchange(letter), "dlx"));
    assert_true(slice_eq_str(message_routing_key(letter), "dead"));
    assert_true(slice_eq_str(message_body(letter), "body"));
    assert_int_equal(letter->flags, MESSAGE_PERSISTENT);
    assert_int_equal(letter->expiry_ms, 0);
    assert_int_equal(letter->priority, 9);
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(message_properties(letter), &p), 0);
    assert_int_equal(p.flags,
                     AMQP_PROP_HEADERS | AMQP_PROP_MESSAGE_ID | AMQP_PROP_USER_ID | AMQP_PROP_DELIVERY_MODE);
    w = table_writer_of(&expected);
    table_put_str(&w, SLICE_LIT("Alpha"), "x");
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    table_put_i64(&w, SLICE_LIT("count"), 1);
    table_put_str(&w, SLICE_LIT("reason"), "rejected");
    table_put_str(&w, SLICE_LIT("queue"), "src");
    table_put_timestamp(&w, SLICE_LIT("time"), TIME);
    table_put_str(&w, SLICE_LIT("exchange"), "from");
    table_begin_array(&w, SLICE_LIT("routing-keys"));
    array_put_longstr(&w, SLICE_LIT("key"));
    array_put_longstr(&w, SLICE_LIT("one"));
    array_put_longstr(&w, SLICE_LIT("three"));
    table_writer_end(&w);
    table_put_str(&w, SLICE_LIT("original-expiration"), "60000");
    table_writer_end(&w);
    table_writer_end(&w);
    put_first(&w, "src", "rejected");
    put_last(&w, "src", "rejected");
    table_put_i32(&w, SLICE_LIT("zz"), 1);
    check_headers(letter, &expected);
    message_unref(letter);
    buf_fini(&headers);
}

static void
without_a_key_the_keys_stay(void **state)
{
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_begin_array(&w, SLICE_LIT("CC"));
    array_put_longstr(&w, SLICE_LIT("one"));
    table_writer_end(&w);
    struct message *letter = die(message_with(&headers, NULL), &rejected);
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(message_properties(letter), &p), 0);
    assert_true(slice_eq_str(message_routing_key(letter), "key"));
    assert_true(table_find(p.headers, SLICE_LIT("CC"), NULL));
    message_unref(letter);
    buf_fini(&headers);
}

// The same again moves to the front and counts; another comes in front; what a first death said stays.
static void
later_deaths(void **state)
{
    struct buf headers = BUF_INIT, expected = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    table_put_str(&w, SLICE_LIT("queue"), "other");
    table_put_str(&w, SLICE_LIT("reason"), "expired");
    table_writer_end(&w);
    put_sorted_death(&w, 41);
    table_writer_end(&w);
    table_put_str(&w, SLICE_LIT("x-first-death-queue"), "foo");
    struct message *letter = die(message_with(&headers, "60000"), &rejected);
    w = table_writer_of(&expected);
    table_begin_array(&w, SLICE_LIT("x-death"));
    put_sorted_death(&w, 42);
    array_begin_table(&w);
    table_put_str(&w, SLICE_LIT("queue"), "other");
    table_put_str(&w, SLICE_LIT("reason"), "expired");
    table_writer_end(&w);
    table_writer_end(&w);
    table_put_str(&w, SLICE_LIT("x-first-death-queue"), "foo");
    put_last(&w, "src", "rejected");
    check_headers(letter, &expected);
    message_unref(letter);
    buf_fini(&headers);
}

// Something else under the name is replaced; that is no first death.
static void
no_array(void **state)
{
    struct buf headers = BUF_INIT, expected = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_str(&w, SLICE_LIT("x-death"), "hello");
    struct message *letter = die(message_with(&headers, NULL), &rejected);
    w = table_writer_of(&expected);
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    table_put_i64(&w, SLICE_LIT("count"), 1);
    table_put_str(&w, SLICE_LIT("reason"), "rejected");
    table_put_str(&w, SLICE_LIT("queue"), "src");
    table_put_timestamp(&w, SLICE_LIT("time"), TIME);
    table_put_str(&w, SLICE_LIT("exchange"), "from");
    table_begin_array(&w, SLICE_LIT("routing-keys"));
    array_put_longstr(&w, SLICE_LIT("key"));
    table_writer_end(&w);
    table_writer_end(&w);
    table_writer_end(&w);
    put_last(&w, "src", "rejected");
    check_headers(letter, &expected);
    message_unref(letter);
    buf_fini(&headers);
}

static int64_t
count_after(const struct field *count)
{
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    if (count != NULL)
        table_put(&w, SLICE_LIT("count"), count);
    table_put_str(&w, SLICE_LIT("queue"), "src");
    table_put_str(&w, SLICE_LIT("reason"), "rejected");
    table_writer_end(&w);
    table_writer_end(&w);
    struct message *letter = die(message_with(&headers, NULL), &rejected);
    struct amqp_basic_props p;
    struct field deaths, death, after;
    assert_int_equal(amqp_props_decode(message_properties(letter), &p), 0);
    assert_true(table_find(p.headers, SLICE_LIT("x-death"), &deaths));
    assert_int_equal(array_count(deaths.array), 1);
    struct array_iter it = array_iter_of(deaths.array);
    assert_true(array_iter_next(&it, &death));
    assert_true(table_find(death.table, SLICE_LIT("count"), &after));
    assert_int_equal(after.type, FIELD_I64);
    int64_t value = after.i64;
    message_unref(letter);
    buf_fini(&headers);
    return value;
}

static void
counts_of_any_kind(void **state)
{
    struct field f = field_i32(5);
    assert_int_equal(count_after(&f), 6);
    f = field_i64(INT64_MAX);
    assert_true(count_after(&f) == INT64_MAX);
    f = field_i64(-3);
    assert_int_equal(count_after(&f), -2);
    f = field_longstr(SLICE_LIT("five"));
    assert_int_equal(count_after(&f), 1);
    f = field_bool(true);
    assert_int_equal(count_after(&f), 1);
    assert_int_equal(count_after(NULL), 1);
}

static struct amqp_basic_props
props_of(const struct message *m)
{
    struct amqp_basic_props p;
    assert_int_equal(amqp_props_decode(message_properties(m), &p), 0);
    return p;
}

// Deaths in more and more queues: the oldest are forgotten, the message stays one that can be sent.
static void
it_does_not_grow_without_end(void **state)
{
    struct message *m = message_with(NULL, NULL);
    char name[256];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "q%d", i);
        struct death d = rejected;
        d.queue = slice_str(name);
        d.reason = DEATH_EXPIRED;
        m = die(m, &d);
        struct death_trail trail;
        assert_true(death_trail_init(&trail, props_of(m).headers));
        assert_int_equal(trail.count, LV_MIN(i + 1, DEATH_EARLIER_MAX + 1));
        assert_true(death_trail_has(&trail, slice_str(name)));
        death_trail_fini(&trail);
    }
    assert_true(m->header_len > DEATH_EARLIER_BYTES && m->header_len < 3 * DEATH_EARLIER_BYTES);
    message_unref(m);
}

// A circle of queues is seen, however much a client put into the headers: each death says all keys.
static void
long_deaths_are_cut_short(void **state)
{
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    char name[256];
    memset(name, 'k', sizeof name);
    table_begin_array(&w, SLICE_LIT("CC"));
    for (int i = 0; i < 200; i++)
        array_put_longstr(&w, slice_of(name, 250));
    table_writer_end(&w);
    struct message *m = message_with(&headers, NULL);
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "q%d", i % 10);
        struct death d = rejected;
        d.queue = slice_str(name);
        d.reason = DEATH_MAXLEN;
        m = die(m, &d);
        struct death_trail trail;
        assert_true(death_trail_init(&trail, props_of(m).headers));
        assert_int_equal(trail.count, LV_MIN(i + 1, 10));
        death_trail_fini(&trail);
    }
    assert_true(m->header_len < 4 * 51000);
    message_unref(m);
    buf_fini(&headers);
}

static bool
is_cycle(struct message *m, const char *queue)
{
    struct death_trail trail;
    assert_true(death_trail_init(&trail, props_of(m).headers));
    bool is_there = death_trail_has(&trail, slice_str(queue));
    death_trail_fini(&trail);
    return is_there;
}

static void
cycles(void **state)
{
    struct message *m = message_with(NULL, NULL);
    assert_false(is_cycle(m, "a"));
    static const struct {
        const char *queue;
        enum death_reason reason;
        const char *cycles; // queues it may not go to, of "abcd"
    } lives[] = {
        {"a", DEATH_EXPIRED, "a"}, {"b", DEATH_MAXLEN, "ab"},        {"c", DEATH_EXPIRED, "abc"},
        {"b", DEATH_REJECTED, ""}, {"d", DEATH_DELIVERY_LIMIT, "d"}, {"a", DEATH_EXPIRED, "ad"},
        {"a", DEATH_REJECTED, ""}, {"a", DEATH_EXPIRED, "a"},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(lives); i++) {
        struct death d = rejected;
        d.queue = slice_str(lives[i].queue);
        d.reason = lives[i].reason;
        m = die(m, &d);
        for (const char *q = "abcd"; *q != '\0'; q++) {
            char name[2] = {*q, '\0'};
            assert_int_equal(is_cycle(m, name), strchr(lives[i].cycles, *q) != NULL);
        }
    }
    message_unref(m);
}

// Whoever put something else between the deaths is somebody who decides.
static void
no_cycle_where_a_client_had_its_hand(void **state)
{
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_begin_array(&w, SLICE_LIT("x-death"));
    array_begin_table(&w);
    table_put_str(&w, SLICE_LIT("queue"), "a");
    table_put_i32(&w, SLICE_LIT("reason"), 3);
    table_writer_end(&w);
    array_put_i64(&w, 1);
    array_begin_table(&w);
    table_put_str(&w, SLICE_LIT("queue"), "b");
    table_writer_end(&w);
    table_writer_end(&w);
    struct message *m = message_with(&headers, NULL);
    assert_true(is_cycle(m, "a"));
    assert_false(is_cycle(m, "b"));
    message_unref(m);
    buf_fini(&headers);
}

static void
without_memory(void **state)
{
    struct message *m = message_with(NULL, "60000");
    for (uint64_t n = 1; n <= 20; n++) {
        mem_test_fail_after(n);
        struct message *letter = death_message(m, &rejected);
        mem_test_fail_after(0);
        assert_true(letter != NULL || n < 20);
        message_unref(letter);
    }
    message_unref(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_death),
        cmocka_unit_test(without_a_key_the_keys_stay),
        cmocka_unit_test(later_deaths),
        cmocka_unit_test(no_array),
        cmocka_unit_test(counts_of_any_kind),
        cmocka_unit_test(it_does_not_grow_without_end),
        cmocka_unit_test(long_deaths_are_cut_short),
        cmocka_unit_test(cycles),
        cmocka_unit_test(no_cycle_where_a_client_had_its_hand),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
