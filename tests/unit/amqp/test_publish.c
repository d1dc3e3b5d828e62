// test_publish.c: content in and out: sizes, frames, limits, the fast and the other path of publish, returns,
// confirms, deliveries, publishers that are held, clients that do not read.
#include "amqp_fixture.h"

static int
setup(void **state)
{
    af_open(*state);
    return 0;
}

static int
teardown(void **state)
{
    af_close();
    return 0;
}

static uint8_t *
pattern(size_t len)
{
    uint8_t *p = malloc(LV_MAX(len, (size_t)1));
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 7 + i / 251);
    return p;
}

static void
expect_get(struct af_conn *c, uint16_t channel, const char *queue, struct slice body)
{
    af_do(c, channel, BASIC_GET, basic_get, .queue = slice_str(queue), .no_ack = true);
    af_expect(c, channel, BASIC_GET_OK);
    af_expect_body(c, channel, body);
}

// Bodies around every boundary: copied or by reference, one frame or several, allocated at once or grown.
static void
test_body_sizes(void **state)
{
    static const size_t sizes[] = {0,    1,      1023,   1024,   1025,    4087,    4088,    4089,   8176,
                                   8177, 131063, 131064, 131065, 1048575, 1048576, 1048577, 3000000};
    for (int round = 0; round < 2; round++) {
        struct af_conn *c = af_login_with(10, round == 0 ? 131072 : 4096, 0);
        af_channel(c, 1);
        af_queue(c, 1, "sizes");
        for (size_t i = 0; i < LV_ARRAY_LEN(sizes); i++) {
            uint8_t *p = pattern(sizes[i]);
            struct buf b = BUF_INIT;
            struct slice body = slice_of(p, sizes[i]);
            amqp_frame_basic_publish(&b, 1, &(struct amqp_basic_publish){.routing_key = SLICE_LIT("sizes")});
            frame_append_content_header(&b, 1, body.len, SLICE_LIT("\0\0"));
            frame_append_body(&b, 1, body, round == 0 ? 131072 : 4096);
            af_send_buf(c, &b);
            expect_get(c, 1, "sizes", body);
            assert_true(c->frame.size <= (round == 0 ? 131072 : 4096));
            assert_int_equal(af_newest()->content_ahead_bytes, 0);
            free(p);
        }
        af_bye(c);
    }
}

static void
test_message_size_limit(void **state)
{
    struct amqp_config config = af.config;
    config.max_message_size = 10000;
    worker_self = af.w;
    amqp_worker_set_config(af.w, &config);
    worker_self = NULL;
    struct af_conn *c = af_ready();
    uint8_t *p = pattern(10001);
    struct buf b = BUF_INIT;
    af_queue(c, 1, "limit");
    af_content(&b, 1, "", "limit", slice_of(p, 10000), 0);
    af_content(&b, 1, "", "limit", slice_of(p, 10001), 0);
    af_content(&b, 1, "", "limit", slice_of(p, 1), 0);
    af_send_buf(c, &b);
    af_expect_close(c, 1, 406, AMQP_BASIC_PUBLISH,
                    "PRECONDITION_FAILED - message size 10001 is larger than configured max size 10000");
    af_do0(c, 1, CHANNEL_CLOSE_OK);
    af_channel(c, 1);
    expect_get(c, 1, "limit", slice_of(p, 10000));
    af_do(c, 1, BASIC_GET, basic_get, .queue = SLICE_LIT("limit"));
    af_expect(c, 1, BASIC_GET_EMPTY);
    // Announced: refused before anything is allocated or has come.
    static const uint64_t sizes[] = {10001, 1u << 29, 1ull << 32, (1ull << 63) - 1, UINT64_MAX};
    for (size_t i = 0; i < LV_ARRAY_LEN(sizes); i++) {
        char text[128];
        amqp_frame_basic_publish(&b, 1, &(struct amqp_basic_publish){.routing_key = SLICE_LIT("limit")});
        frame_append_content_header(&b, 1, sizes[i], SLICE_LIT("\0\0"));
        af_send_buf(c, &b);
        snprintf(text, sizeof text,
                 "PRECONDITION_FAILED - message size %llu is larger than configured max size 10000",
                 (unsigned long long)sizes[i]);
        af_expect_close(c, 1, 406, AMQP_BASIC_PUBLISH, text);
        af_do0(c, 1, CHANNEL_CLOSE_OK);
        af_channel(c, 1);
    }
    free(p);
    af_bye(c);
    worker_self = af.w;
    amqp_worker_set_config(af.w, &af.config);
    worker_self = NULL;
}

// A hundred channels announce 128 MiB each and send little: memory follows what arrives.
static void
test_announced_bodies_cost_little(void **state)
{
    struct af_conn *c = af_login();
    struct connection *conn = af_newest();
    struct buf b = BUF_INIT;
    for (uint16_t i = 1; i <= 100; i++) {
        amqp_frame_channel_open(&b, i);
        amqp_frame_basic_publish(&b, i, &(struct amqp_basic_publish){.routing_key = SLICE_LIT("x")});
        frame_append_content_header(&b, i, 134217728, SLICE_LIT("\0\0"));
        frame_append_body(&b, i, SLICE_LIT("abc"), 4096);
    }
    af_send_buf(c, &b);
    af_rounds(20);
    assert_in_range(conn->content_ahead_bytes, 1, 100 * 64 * 1024 + CONTENT_AHEAD_BYTES);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
}

static void
test_mandatory_and_confirms(void **state)
{
    struct af_conn *c = af_ready();
    af_do(c, 1, CONFIRM_SELECT, confirm_select, .nowait = false);
    af_expect(c, 1, CONFIRM_SELECT_OK);
    af_publish(c, 1, "amq.direct", "nowhere", "come back");
    af_expect(c, 1, BASIC_RETURN);
    assert_int_equal(c->m.basic_return.reply_code, 312);
    assert_true(slice_eq_str(c->m.basic_return.reply_text, "NO_ROUTE"));
    assert_true(slice_eq_str(c->m.basic_return.exchange, "amq.direct"));
    assert_true(slice_eq_str(c->m.basic_return.routing_key, "nowhere"));
    af_expect_body(c, 1, SLICE_LIT("come back"));
    af_expect(c, 1, BASIC_ACK);
    assert_int_equal(c->m.basic_ack.delivery_tag, 1);
    af_queue(c, 1, "conf");
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100; i++)
        af_content(&b, 1, "", "conf", SLICE_LIT("x"), 0);
    af_send_buf(c, &b);
    for (uint64_t last = 1; last < 101;) {
        af_expect(c, 1, BASIC_ACK);
        assert_true(c->m.basic_ack.delivery_tag > last);
        assert_true(c->m.basic_ack.multiple || c->m.basic_ack.delivery_tag == last + 1);
        last = c->m.basic_ack.delivery_tag;
    }
    af_bye(c);
}

static void
test_consume(void **state)
{
    struct af_conn *c = af_ready();
    af_queue(c, 1, "in");
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("in"), .consumer_tag = SLICE_LIT("tag"));
    af_expect(c, 1, BASIC_CONSUME_OK);
    assert_true(slice_eq_str(c->m.basic_consume_ok.consumer_tag, "tag"));
    af_publish(c, 1, "", "in", "one");
    af_expect(c, 1, BASIC_DELIVER);
    assert_true(slice_eq_str(c->m.basic_deliver.consumer_tag, "tag"));
    assert_int_equal(c->m.basic_deliver.delivery_tag, 1);
    assert_false(c->m.basic_deliver.redelivered);
    assert_true(slice_eq_str(c->m.basic_deliver.routing_key, "in"));
    af_expect_body(c, 1, SLICE_LIT("one"));
    af_do(c, 1, BASIC_NACK, basic_nack, .delivery_tag = 1, .requeue = true);
    af_expect(c, 1, BASIC_DELIVER);
    assert_true(c->m.basic_deliver.redelivered);
    af_expect_body(c, 1, SLICE_LIT("one"));
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 2);
    af_do(c, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = SLICE_LIT("tag"));
    af_expect(c, 1, BASIC_CANCEL_OK);
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("in"), .consumer_tag = SLICE_LIT("two"),
          .nowait = true);
    af_do(c, 1, QUEUE_DELETE, queue_delete, .queue = SLICE_LIT("in"), .nowait = true);
    af_expect(c, 1, BASIC_CANCEL); // consumer_cancel_notify
    assert_true(c->m.basic_cancel.nowait && slice_eq_str(c->m.basic_cancel.consumer_tag, "two"));
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 99);
    af_expect_close(c, 1, 406, AMQP_BASIC_ACK, "PRECONDITION_FAILED - unknown delivery tag 99");
    af_do0(c, 1, CHANNEL_CLOSE_OK);
    af_bye(c);
}

static void
test_names_lose_cr_and_lf(void **state)
{
    struct af_conn *c = af_ready();
    af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("a\r\nb\n"));
    af_expect(c, 1, QUEUE_DECLARE_OK);
    assert_true(slice_eq_str(c->m.queue_declare_ok.queue, "ab"));
    af_do(c, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = SLICE_LIT("x\ny"),
          .type = SLICE_LIT("direct"));
    af_expect(c, 1, EXCHANGE_DECLARE_OK);
    af_do(c, 1, QUEUE_BIND, queue_bind, .queue = SLICE_LIT("a\nb"), .exchange = SLICE_LIT("\rxy"),
          .routing_key = SLICE_LIT("k"));
    af_expect(c, 1, QUEUE_BIND_OK);
    af_publish(c, 1, "xy", "k", "there");
    expect_get(c, 1, "ab", SLICE_LIT("there"));
    af_bye(c);
}

// --- holding back ------------------------------------------------------------------------------------------

static void
set_alarms(unsigned alarms)
{
    worker_self = af.w;
    broker_set_alarms(af.w, alarms);
    worker_self = NULL;
}

static void
expect_and_ack(struct af_conn *c, uint64_t tag, struct slice body)
{
    af_expect(c, 1, BASIC_DELIVER);
    assert_int_equal(c->m.basic_deliver.delivery_tag, tag);
    af_expect_body(c, 1, body);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = tag);
}

static void
test_blocked_publishers(void **state)
{
    struct af_conn *c = af_ready();
    struct connection *conn = af_newest();
    af_channel(c, 2);
    af_queue(c, 1, "held");
    af_do(c, 1, BASIC_QOS, basic_qos, .prefetch_count = 1);
    af_expect(c, 1, BASIC_QOS_OK);
    af_publish(c, 1, "", "held", "first");
    af_publish(c, 1, "", "held", "second");
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("held"), .consumer_tag = SLICE_LIT("t"));
    af_expect(c, 1, BASIC_CONSUME_OK);
    set_alarms(1);
    af_next(c);
    bool is_delivery_first = c->id == AMQP_BASIC_DELIVER;
    if (is_delivery_first)
        af_expect_body(c, 1, SLICE_LIT("first"));
    else
        assert_int_equal(c->id, AMQP_CONNECTION_BLOCKED);
    if (is_delivery_first) {
        af_expect(c, 0, CONNECTION_BLOCKED);
    } else {
        assert_true(slice_eq_str(c->m.connection_blocked.reason, "low on memory"));
        af_expect(c, 1, BASIC_DELIVER);
        af_expect_body(c, 1, SLICE_LIT("first"));
    }
    for (int i = 0; i < 10; i++)
        af_publish(c, 1, "", "held", "later");
    af_expect_nothing(c);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 1); // overtakes what is held
    expect_and_ack(c, 2, SLICE_LIT("second"));
    af_expect_nothing(c);
    af_do(c, 2, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("held"), .passive = true);
    af_expect(c, 2, QUEUE_DECLARE_OK); // other channels go on
    assert_int_equal(c->m.queue_declare_ok.message_count, 0);
    assert_true(conn->pending_bytes > 0 && !conn->is_input_stopped);
    // Beyond the bound the socket is not read.
    uint8_t *p = pattern(60000);
    for (int i = 0; i < 40; i++) {
        struct buf b = BUF_INIT;
        af_content(&b, 1, "", "held", slice_of(p, 60000), 0);
        af_send_buf(c, &b);
        af_rounds(2);
    }
    assert_true(conn->is_input_stopped);
    assert_in_range(conn->pending_bytes, PENDING_BYTES_MAX, PENDING_BYTES_MAX + 140000);
    af_pass_ms(1000);
    set_alarms(0);
    af_expect(c, 0, CONNECTION_UNBLOCKED);
    for (uint64_t i = 0; i < 50; i++)
        expect_and_ack(c, 3 + i, i < 10 ? SLICE_LIT("later") : slice_of(p, 60000));
    assert_int_equal(conn->pending_bytes, 0);
    assert_false(conn->is_input_stopped);
    free(p);
    af_bye(c);
}

// Heartbeats go on while publishers are held and the socket is not read; a client that waits for us is not
// called silent.
static void
test_heartbeats_while_held(void **state)
{
    struct af_conn *c = af_login_with(10, 131072, 4);
    struct connection *conn = af_newest();
    uint8_t *p = pattern(100000);
    af_channel(c, 1);
    af_publish(c, 1, "", "x", "");
    af_expect(c, 1, BASIC_RETURN);
    af_expect_body(c, 1, SLICE_EMPTY);
    set_alarms(2);
    af_expect(c, 0, CONNECTION_BLOCKED);
    for (int i = 0; i < 30; i++) {
        struct buf b = BUF_INIT;
        af_content(&b, 1, "", "x", slice_of(p, 100000), 0);
        af_send_buf(c, &b);
    }
    af_rounds(20);
    assert_true(conn->is_input_stopped);
    af_pass_ms(20000);
    assert_false(memory_peer_is_closed(c->peer));
    int beats = 0;
    while (af_take(c))
        beats += c->frame.type == FRAME_HEARTBEAT;
    assert_in_range(beats, 8, 11);
    set_alarms(0);
    af_expect(c, 0, CONNECTION_UNBLOCKED);
    af_rounds(50);
    assert_false(conn->is_input_stopped);
    free(p);
    af_bye(c);
}

static struct af_conn *
held_until_unread(void)
{
    struct af_conn *c = af_login_with(10, 131072, 0);
    uint8_t *p = pattern(100000);
    af_channel(c, 1);
    set_alarms(2);
    for (int i = 0; i < 20; i++) {
        struct buf b = BUF_INIT;
        af_content(&b, 1, "", "unread", slice_of(p, 100000), 0);
        af_send_buf(c, &b);
    }
    af_rounds(20);
    assert_true(af_newest()->is_input_stopped);
    free(p);
    return c;
}

// A connection that is held, and not read, and has no heartbeats: when its peer goes, it goes, and not only when
// the alarm ends.
static void
test_peer_gone_while_held(void **state)
{
    struct af_conn *c = held_until_unread();
    af_pass_ms(60000);
    assert_false(memory_peer_is_closed(c->peer));
    memory_peer_shut(c->peer);
    af_pass_ms(6000);
    assert_true(memory_peer_is_closed(c->peer));
    assert_int_equal(af_stats().connections, 0);
    af_free(c);
    set_alarms(0);
}

// The same after its goodbye: what it sent is carried out when the alarm has ended.
static void
test_peer_gone_after_goodbye_while_held(void **state)
{
    struct af_conn *other = af_ready();
    af_queue(other, 1, "unread");
    struct af_conn *c = af_login_with(10, 131072, 0);
    af_channel(c, 1);
    af_publish(c, 1, "", "unread", "first");
    af_sync(c, 1);
    set_alarms(2);
    af_expect(c, 0, CONNECTION_BLOCKED);
    af_publish(c, 1, "", "unread", "last words");
    af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
    af_rounds(20);
    assert_true(af_newest()->is_close_wanted && af_newest()->is_input_stopped);
    memory_peer_shut(c->peer);
    af_pass_ms(20000);
    assert_false(memory_peer_is_closed(c->peer));
    set_alarms(0);
    af_expect_closed(c);
    af_free(c);
    expect_get(other, 1, "unread", SLICE_LIT("first"));
    expect_get(other, 1, "unread", SLICE_LIT("last words"));
    af_bye(other);
}

// A client that asks for much and reads nothing costs bounded memory.
static void
test_a_client_that_does_not_read(void **state)
{
    struct af_conn *feeder = af_ready();
    uint8_t *p = pattern(20000);
    af_queue(feeder, 1, "much");
    for (int i = 0; i < 400; i++) {
        struct buf b = BUF_INIT;
        af_content(&b, 1, "", "much", slice_of(p, 20000), 0);
        af_send_buf(feeder, &b);
        af_round();
    }
    af_sync(feeder, 1);
    struct af_conn *c = af_connect_with("127.0.0.1", 50000);
    af_send(c, protocol_header());
    af_expect(c, 0, CONNECTION_START);
    af_start_ok(c, "guest", "guest", AF_ALL_CAPABILITIES);
    af_tune_and_open(c, 10, 131072, 0);
    af_channel(c, 1);
    struct connection *conn = af_newest();
    struct buf b = BUF_INIT;
    for (int i = 0; i < 400; i++)
        amqp_frame_basic_get(&b, 1, &(struct amqp_basic_get){.queue = SLICE_LIT("much"), .no_ack = true});
    af_send_buf(c, &b);
    af_rounds(1500);
    assert_in_range(output_size(&conn->out), OUTPUT_HIGH_BYTES / 2, OUTPUT_HIGH_BYTES + 200000);
    for (int i = 0; i < 400; i++) {
        af_expect(c, 1, BASIC_GET_OK);
        af_expect_body(c, 1, slice_of(p, 20000));
    }
    free(p);
    af_bye(c);
    af_bye(feeder);
}

static void
test_a_consumer_that_does_not_read(void **state)
{
    struct af_conn *feeder = af_ready();
    uint8_t *p = pattern(5000);
    af_queue(feeder, 1, "stuck");
    struct af_conn *c = af_connect_with("127.0.0.1", 50000);
    af_send(c, protocol_header());
    af_expect(c, 0, CONNECTION_START);
    af_start_ok(c, "guest", "guest", AF_ALL_CAPABILITIES);
    af_tune_and_open(c, 10, 131072, 0);
    af_channel(c, 1);
    struct connection *conn = af_newest();
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("stuck"), .no_ack = true);
    af_expect(c, 1, BASIC_CONSUME_OK);
    size_t peak = 0;
    for (int i = 0; i < 2000; i++) {
        struct buf b = BUF_INIT;
        af_content(&b, 1, "", "stuck", slice_of(p, 5000), 0);
        af_send_buf(feeder, &b);
        af_round();
        peak = LV_MAX(peak, output_size(&conn->out));
    }
    assert_in_range(peak, 100000, 3 * 1024 * 1024);
    for (int i = 0; i < 2000; i++) {
        af_expect(c, 1, BASIC_DELIVER);
        af_expect_body(c, 1, slice_of(p, 5000));
    }
    free(p);
    af_bye(c);
    af_bye(feeder);
}

// --- the two paths of publish ------------------------------------------------------------------------------

// Random publishes, most of them sound, sent whole (fast) and in two pieces (the other path): the broker says
// the same.
static void
random_publish(struct rng *r, struct buf *b)
{
    static const char *const exchanges[] = {"", "amq.direct", "nosuch"};
    uint8_t props[32];
    size_t len = 2;
    size_t body_len = rng_below(r, 5) == 0 ? 0 : rng_below(r, 40);
    const char *exchange = exchanges[rng_below(r, 20) == 0 ? 2 : rng_below(r, 2)];
    props[0] = props[1] = 0;
    if (rng_below(r, 2) == 0) {
        props[0] = 0x10; // delivery-mode
        props[len++] = (uint8_t)rng_below(r, 4);
    }
    af_content(b, 1, exchange, rng_below(r, 2) == 0 ? "two" : "none",
               slice_of("0123456789012345678901234567890123456789", body_len), (unsigned)rng_below(r, 2));
    if (rng_below(r, 4) == 0) // something is wrong somewhere
        b->ptr[rng_below(r, b->len)] ^= (uint8_t)(1u << rng_below(r, 8));
}

static void
run_publishes(uint64_t seed, bool is_cut, struct buf *answers)
{
    struct rng r;
    struct af_conn *c = af_ready();
    rng_init(&r, seed);
    af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("two"), .exclusive = true);
    af_expect(c, 1, QUEUE_DECLARE_OK);
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("two"), .consumer_tag = SLICE_LIT("t"),
          .no_ack = true);
    af_expect(c, 1, BASIC_CONSUME_OK);
    for (int i = 0; i < 6; i++) {
        struct buf b = BUF_INIT;
        random_publish(&r, &b);
        size_t cut = is_cut ? 1 + rng_below(&r, b.len - 1) : b.len;
        if (!is_cut)
            (void)rng_below(&r, b.len - 1);
        af_send(c, slice_of(b.ptr, cut));
        af_round();
        af_send(c, slice_of(b.ptr + cut, b.len - cut));
        af_rounds(6);
        buf_fini(&b);
    }
    af_rounds(20);
    while (af_take(c)) {
        buf_append_u8(answers, c->frame.type);
        buf_append_u16be(answers, c->frame.channel);
        buf_append_slice(answers, c->frame.payload);
    }
    memory_peer_shut(c->peer);
    af_pass_ms(100);
    af_free(c);
    af_rounds(10);
}

static void
test_both_paths_say_the_same(void **state)
{
    size_t seen = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct buf whole = BUF_INIT, cut = BUF_INIT;
        run_publishes(seed, false, &whole);
        run_publishes(seed, true, &cut);
        if (!slice_eq(buf_slice(&whole), buf_slice(&cut)))
            fail_msg("seed %llu: the paths differ", (unsigned long long)seed);
        seen += whole.len;
        buf_fini(&whole);
        buf_fini(&cut);
    }
    assert_true(seen > 20000);
}

// No memory at the n-th allocation of a publish, a delivery, a method: a channel or connection ends, nothing
// else.
static void
test_no_memory(void **state)
{
    for (uint64_t n = 1; n < 60; n++) {
        struct af_conn *c = af_ready();
        struct buf b = BUF_INIT;
        af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("oom"), .exclusive = true);
        af_expect(c, 1, QUEUE_DECLARE_OK);
        amqp_frame_basic_consume(&b, 1,
                                 &(struct amqp_basic_consume){.queue = SLICE_LIT("oom"), .no_ack = true});
        af_content(&b, 1, "", "oom", SLICE_LIT("small"), 0);
        amqp_frame_channel_open(&b, 2);
        amqp_frame_basic_publish(&b, 2, &(struct amqp_basic_publish){.routing_key = SLICE_LIT("oom")});
        frame_append_content_header(&b, 2, 5000, SLICE_LIT("\0\0"));
        af_send(c, buf_slice(&b));
        mem_test_fail_after(n);
        worker_turn(af.w);
        mem_test_fail_after(0);
        buf_fini(&b);
        af_rounds(10);
        memory_peer_shut(c->peer);
        af_pass_ms(200);
        af_free(c);
        af_rounds(10);
    }
    af_pass_ms(15000);
    assert_int_equal(af_stats().connections, 0);
}

int
main(void)
{
    struct af_world one = af_worlds[0], three = af_worlds[1];
    const struct CMUnitTest tests[] = {
#define T1(name) {#name, name, setup, teardown, &one}
#define T(name)                                                                                              \
    T1(name),                                                                                                \
    {                                                                                                        \
#name " (3 workers)", name, setup, teardown, &three                                                  \
    }
        T(test_body_sizes),
        T(test_message_size_limit),
        T1(test_announced_bodies_cost_little),
        T(test_mandatory_and_confirms),
        T(test_consume),
        T(test_names_lose_cr_and_lf),
        T(test_blocked_publishers),
        T1(test_heartbeats_while_held),
        T1(test_peer_gone_while_held),
        T1(test_peer_gone_after_goodbye_while_held),
        T(test_a_client_that_does_not_read),
        T(test_a_consumer_that_does_not_read),
        T1(test_both_paths_say_the_same),
        T1(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
