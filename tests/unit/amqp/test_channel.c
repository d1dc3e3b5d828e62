// test_channel.c: channels and methods on them: errors and their texts, limits, closing states, methods that
// wait, and that it makes no difference how a conversation is cut into packets.
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

// After a connection error: the client answers, everything ends.
static void
end(struct af_conn *c)
{
    af_do0(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
}

#define CONTENT_TEXT "UNEXPECTED_FRAME - expected content header for class 60, got "

struct frame_case {
    struct slice bytes; // raw, on a connection with channel 1
    uint16_t code;
    uint32_t id;
    const char *text;
};

#define PUBLISH_FRAME      "\1\0\1\0\0\0\x09\0\x3c\0\x28\0\0\0\0\0\xce"
#define HEADER_FRAME(size) "\2\0\1\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0" size "\0\0\xce"

static const struct frame_case frame_cases[] = {
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x14\0\x0a\0\0"), 501, 0,
     "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,0}"},
    {SLICE_LIT("\x09\0\1\0\0\0\3abc\xce"), 501, 0,
     "FRAME_ERROR - type 9, all octets = <<\"abc\">>: unknown_frame"},
    {SLICE_LIT("\1\0\1\0\0\0\2\0\x32\xce"), 501, 0,
     "FRAME_ERROR - type 1, all octets = <<0,50>>: unknown_frame"},
    {SLICE_LIT("\1\0\1\0\0\0\0\xce"), 501, 0, "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame"},
    {SLICE_LIT("\1\0\1\0\0\0\x09\0\x32\0\x0a\0\0\x20\x61\x62\xce"), 501, AMQP_QUEUE_DECLARE,
     "FRAME_ERROR - cannot decode <<0,0,32,97,98>>"},
    {SLICE_LIT("\x08\0\1\0\0\0\0\xce"), 505, 0, "UNEXPECTED_FRAME - type 8, all octets = <<>>"},
    {SLICE_LIT("\x08\0\0\0\0\0\1x\xce"), 501, 0,
     "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame"},
    {SLICE_LIT("\3\0\1\0\3\x0d\x40"), 501, 0,
     "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}"},
    {SLICE_LIT("\3\0\1\0\0\0\3abc\xce"), 505, 0,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
    {SLICE_LIT("\3\0\0\0\0\0\3abc\xce"), 505, 0, "UNEXPECTED_FRAME - type 3, all octets = <<\"abc\">>"},
    {SLICE_LIT(HEADER_FRAME("\1")), 505, 0,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
    {SLICE_LIT(PUBLISH_FRAME "\1\0\1\0\0\0\5\0\x14\0\x14\1\xce"), 505, AMQP_BASIC_PUBLISH,
     CONTENT_TEXT "non content header frame instead"},
    {SLICE_LIT(PUBLISH_FRAME "\3\0\1\0\0\0\3abc\xce"), 505, AMQP_BASIC_PUBLISH,
     CONTENT_TEXT "non content header frame instead"},
    {SLICE_LIT(PUBLISH_FRAME HEADER_FRAME("\5") "\1\0\1\0\0\0\5\0\x14\0\x14\1\xce"), 505, AMQP_BASIC_PUBLISH,
     "UNEXPECTED_FRAME - expected content body, got non content body frame instead"},
    {SLICE_LIT(PUBLISH_FRAME HEADER_FRAME("\3") "\3\0\1\0\0\0\4four\xce"), 505, AMQP_BASIC_PUBLISH,
     "UNEXPECTED_FRAME - content body is larger than the 3 bytes announced"},
    {SLICE_LIT(PUBLISH_FRAME "\2\0\1\0\0\0\x0e\0\x0a\0\0\0\0\0\0\0\0\0\5\0\0\xce"), 505, AMQP_BASIC_PUBLISH,
     CONTENT_TEXT "one for class 10 instead"},
    {SLICE_LIT(PUBLISH_FRAME "\2\0\1\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\5\x80\0\xce"), 502, AMQP_BASIC_PUBLISH,
     "SYNTAX_ERROR - malformed message properties"},
    {SLICE_LIT("\2\0\1\0\0\0\2\0\x3c\xce"), 501, 0,
     "FRAME_ERROR - type 2, all octets = <<0,60>>: unknown_frame"},
    {SLICE_LIT("\1\0\1\0\0\0\x0e\0\x32\0\x0a\0\0\2\x71\xff\0\0\0\0\0\xce"), 501, 0,
     "FRAME_ERROR - Malformed UTF-8 in shortstr"},
    {SLICE_LIT("\1\0\1\0\0\0\4\0\x63\0\x0a\xce"), 503, 99u << 16 | 10,
     "COMMAND_INVALID - unknown method 99.10"},
    {SLICE_LIT("\1\0\1\0\0\0\4\0\x14\0\x29\xce"), 503, AMQP_CHANNEL_CLOSE_OK,
     "COMMAND_INVALID - unimplemented method"},
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x3c\0\x48\0\xce"), 503, AMQP_BASIC_GET_EMPTY,
     "COMMAND_INVALID - unimplemented method"},
    {SLICE_LIT("\1\0\1\0\0\0\4\0\x32\0\x0b\xce"), 503, AMQP_QUEUE_DECLARE_OK,
     "COMMAND_INVALID - unimplemented method"},
    {SLICE_LIT("\1\0\1\0\0\0\7\0\x0a\0\x28\0\0\0\xce"), 503, AMQP_CONNECTION_OPEN,
     "COMMAND_INVALID - unimplemented method"},
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x14\0\x0a\0\xce"), 504, AMQP_CHANNEL_OPEN,
     "CHANNEL_ERROR - second 'channel.open' seen"},
    {SLICE_LIT("\1\0\7\0\0\0\5\0\x14\0\x14\1\xce"), 504, AMQP_CHANNEL_FLOW,
     "CHANNEL_ERROR - expected 'channel.open'"},
    {SLICE_LIT("\3\0\7\0\0\0\3abc\xce"), 505, 0,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
    {SLICE_LIT("\1\0\0\0\0\0\5\0\x14\0\x0a\0\xce"), 504, AMQP_CHANNEL_OPEN,
     "CHANNEL_ERROR - unexpected method in connection state running"},
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x14\0\x14\0\xce"), 540, AMQP_CHANNEL_FLOW, "NOT_IMPLEMENTED - active=false"},
    {SLICE_LIT("\1\0\1\0\0\0\x0b\0\x3c\0\x0a\0\0\0\x0a\0\0\0\xce"), 540, AMQP_BASIC_QOS,
     "NOT_IMPLEMENTED - prefetch_size!=0 (10)"},
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x3c\0\x6e\0\xce"), 540, AMQP_BASIC_RECOVER,
     "NOT_IMPLEMENTED - requeue=false"},
    {SLICE_LIT("\1\0\1\0\0\0\5\0\x3c\0\x64\0\xce"), 540, AMQP_BASIC_RECOVER_ASYNC,
     "NOT_IMPLEMENTED - requeue=false"},
    {SLICE_LIT("\1\0\1\0\0\0\x09\0\x3c\0\x28\0\0\0\0\2\xce"), 540, AMQP_BASIC_PUBLISH,
     "NOT_IMPLEMENTED - immediate=true"},
};

// Each of them at once, and byte by byte.
static void
test_frame_errors(void **state)
{
    for (size_t i = 0; i < 2 * LV_ARRAY_LEN(frame_cases); i++) {
        const struct frame_case *t = &frame_cases[i / 2];
        struct af_conn *c = af_ready();
        for (size_t k = 0; i % 2 == 1 && k < t->bytes.len; k++) {
            af_send(c, slice_of(t->bytes.ptr + k, 1));
            af_round();
        }
        if (i % 2 == 0)
            af_send(c, t->bytes);
        af_expect_close(c, 0, t->code, t->id, t->text);
        end(c);
    }
}

static void
test_harmless_frames(void **state)
{
    struct af_conn *c = af_ready();
    af_channel(c, 2);
    af_send_frame(c, FRAME_HEARTBEAT, 0, SLICE_EMPTY);
    // A heartbeat and another channel's content between content frames; an empty body frame.
    af_send(c, SLICE_LIT(PUBLISH_FRAME HEADER_FRAME("\3")));
    af_send_frame(c, FRAME_HEARTBEAT, 0, SLICE_EMPTY);
    af_send_frame(c, FRAME_BODY, 1, SLICE_EMPTY);
    af_sync(c, 2);
    af_send_frame(c, FRAME_BODY, 1, SLICE_LIT("abc"));
    af_sync(c, 1);
    af_do(c, 1, CHANNEL_FLOW, channel_flow, .active = true);
    af_expect(c, 1, CHANNEL_FLOW_OK);
    af_do(c, 1, ACCESS_REQUEST, access_request, .realm = SLICE_LIT("/data"));
    af_expect(c, 1, ACCESS_REQUEST_OK);
    assert_int_equal(c->m.access_request_ok.ticket, 1);
    af_do(c, 1, BASIC_CANCEL_OK, basic_cancel_ok, .consumer_tag = SLICE_LIT("x"));
    af_do(c, 1, BASIC_RECOVER_ASYNC, basic_recover_async, .requeue = true);
    af_sync(c, 1);
    af_bye(c);
}

// --- limits ------------------------------------------------------------------------------------------------

static void
test_channel_max_counts_channels(void **state)
{
    struct af_conn *c = af_login_with(10, 4096, 0);
    for (uint16_t i = 0; i < 10; i++)
        af_channel(c, (uint16_t)(60000 + i));
    af_do(c, 60000, CHANNEL_CLOSE, channel_close, .reply_code = 200);
    af_expect(c, 60000, CHANNEL_CLOSE_OK);
    af_channel(c, 7);
    af_do0(c, 8, CHANNEL_OPEN);
    af_expect_close(
        c, 0, 530, 0,
        "NOT_ALLOWED - number of channels opened (10) has reached the negotiated channel_max (10)");
    end(c);
}

static void
test_channel_max_per_node(void **state)
{
    struct amqp_config config = af.config;
    config.channel_max_per_node = 2;
    config.consumer_max_per_channel = 1;
    worker_self = af.w;
    amqp_worker_set_config(af.w, &config);
    worker_self = NULL;
    struct af_conn *a = af_ready(), *b = af_ready();
    af_queue(a, 1, "q");
    af_do(a, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("q"));
    af_expect(a, 1, BASIC_CONSUME_OK);
    af_do(a, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("q"));
    af_expect_close(a, 0, 530, AMQP_BASIC_CONSUME,
                    "NOT_ALLOWED - reached maximum (1) of consumers per channel");
    end(a);
    af_channel(b, 2);
    af_do0(b, 3, CHANNEL_OPEN);
    af_expect_close(b, 0, 530, 0,
                    "NOT_ALLOWED - number of channels opened on node 'rabbit@test' has reached the maximum "
                    "allowed limit of (2)");
    end(b);
    config.connection_max = 0;
    struct af_conn *c = af_connect();
    af_send(c, protocol_header());
    af_expect(c, 0, CONNECTION_START);
    af_start_ok(c, "guest", "guest", "");
    af_expect(c, 0, CONNECTION_TUNE);
    af_do(c, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 1, .frame_max = 4096);
    af_do(c, 0, CONNECTION_OPEN, connection_open, .virtual_host = SLICE_LIT("/"));
    af_expect_close(c, 0, 530, AMQP_CONNECTION_OPEN,
                    "NOT_ALLOWED - connection refused: node connection limit (0) is reached");
    end(c);
    worker_self = af.w;
    amqp_worker_set_config(af.w, &af.config);
    worker_self = NULL;
}

static void
test_channels_of_a_user(void **state)
{
    af_change(&(struct topology_request){.change = CHANGE_USER_LIMITS,
                                         .user = SLICE_LIT("guest"),
                                         .name = SLICE_LIT("guest"),
                                         .number = INT64_MIN,
                                         .number2 = 3});
    struct af_conn *anchor = af_login(); // so that the user's count lives on
    for (int i = 0; i < 5; i++) {
        struct af_conn *a = af_ready(), *b = af_ready();
        af_channel(b, 2);
        af_do(b, 2, CHANNEL_CLOSE, channel_close, .reply_code = 200);
        af_expect(b, 2, CHANNEL_CLOSE_OK);
        af_channel(a, 2);
        af_do0(b, 3, CHANNEL_OPEN);
        af_expect_close(b, 0, 530, 0,
                        "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum "
                        "allowed user limit of (3)");
        end(b);
        if (i % 2 == 0) {
            af_bye(a);
            continue;
        }
        memory_peer_shut(a->peer);
        af_expect_closed(a);
        af_free(a);
    }
    af_bye(anchor);
}

static void
test_vhost_deleted_under_a_connection(void **state)
{
    struct af_conn *c = af_ready();
    struct fault f;
    fault_set(&f, FAULT_CONNECTION_FORCED, "vhost '/' is deleted");
    worker_self = af.w;
    broker_close_clients(af.w, SLICE_LIT("/"), SLICE_EMPTY, 0, &f);
    worker_self = NULL;
    af_expect_close(c, 0, 320, 0, "CONNECTION_FORCED - vhost '/' is deleted");
    end(c);
}

// --- closing -----------------------------------------------------------------------------------------------

static void
test_a_closing_channel_swallows(void **state)
{
    struct af_conn *c = af_ready();
    af_channel(c, 2);
    af_publish(c, 1, "nosuch", "k", "body");
    for (int i = 0; i < 5; i++) {
        af_publish(c, 1, "nosuch", "k", "body");
        af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("never"), .durable = true);
        af_send_frame(c, FRAME_BODY, 1, SLICE_LIT("stray"));
    }
    af_expect_close(c, 1, 404, AMQP_BASIC_PUBLISH, "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    af_sync(c, 2);
    af_do(c, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200); // both at once
    af_expect(c, 1, CHANNEL_CLOSE_OK);
    af_do0(c, 1, CHANNEL_CLOSE_OK);
    af_channel(c, 1);
    af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("never"), .passive = true);
    af_expect_close(c, 1, 404, AMQP_QUEUE_DECLARE, "NOT_FOUND - no queue 'never' in vhost '/'");
    af_do0(c, 1, CHANNEL_CLOSE_OK);
    af_do0(c, 1, CHANNEL_OPEN); // in one packet with it, nearly
    af_expect(c, 1, CHANNEL_OPEN_OK);
    af_bye(c);
}

static void
test_close_and_open_in_one_packet(void **state)
{
    struct af_conn *c = af_ready();
    struct buf b = BUF_INIT;
    for (int i = 0; i < 20; i++) {
        amqp_frame_queue_declare(
            &b, 1, &(struct amqp_queue_declare){.queue = SLICE_LIT("again"), .auto_delete = true});
        amqp_frame_channel_close(&b, 1, &(struct amqp_channel_close){.reply_code = 200});
        amqp_frame_channel_open(&b, 1);
    }
    amqp_frame_connection_close(&b, 0, &(struct amqp_connection_close){.reply_code = 200});
    af_send_buf(c, &b);
    for (int i = 0; i < 20; i++) {
        af_expect(c, 1, QUEUE_DECLARE_OK);
        af_expect(c, 1, CHANNEL_CLOSE_OK);
        af_expect(c, 1, CHANNEL_OPEN_OK);
    }
    af_expect(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
}

// A connection.close behind methods that take turns to carry out: they are carried out, and answered, first.
static void
test_close_comes_after_what_waits(void **state)
{
    struct af_conn *c = af_ready();
    struct buf b = BUF_INIT;
    char name[16];
    af_channel(c, 2);
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "q%d", i);
        amqp_frame_queue_declare(&b, 1, &(struct amqp_queue_declare){.queue = slice_str(name)});
    }
    af_content(&b, 1, "", "q9", SLICE_LIT("last words"), 0);
    amqp_frame_connection_close(&b, 0, &(struct amqp_connection_close){.reply_code = 200});
    af_send_buf(c, &b);
    for (int i = 0; i < 10; i++)
        af_expect(c, 1, QUEUE_DECLARE_OK);
    af_expect(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
    c = af_ready();
    af_do(c, 1, BASIC_GET, basic_get, .queue = SLICE_LIT("q9"));
    af_expect(c, 1, BASIC_GET_OK);
    af_expect_body(c, 1, SLICE_LIT("last words"));
    af_bye(c);
}

static bool
exists(const char *queue)
{
    worker_self = af.w;
    const struct vhost *v = topology_vhost(topology_of(af.w), SLICE_LIT("/"));
    bool is_there = vhost_queue(v, slice_str(queue)) != NULL;
    worker_self = NULL;
    return is_there;
}

// Whoever sees close-ok, or the end of the socket after our close, can declare them again.
static void
test_exclusive_queues_are_gone_with_the_connection(void **state)
{
    for (int i = 0; i < 10; i++) {
        struct af_conn *c = af_ready();
        af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("mine"), .exclusive = true);
        af_expect(c, 1, QUEUE_DECLARE_OK);
        assert_true(exists("mine"));
        if (i % 2 == 0) {
            af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
            af_expect(c, 0, CONNECTION_CLOSE_OK);
        } else {
            struct buf b = BUF_INIT; // the answer is there before it was asked
            size_t at = frame_begin(&b, 9, 0);
            frame_end(&b, at);
            amqp_frame_connection_close_ok(&b, 0);
            af_send_buf(c, &b);
            af_expect(c, 0, CONNECTION_CLOSE);
            af_expect_end(c);
        }
        assert_false(exists("mine"));
        memory_peer_shut(c->peer);
        af_expect_closed(c);
        af_free(c);
    }
}

// --- waiting -----------------------------------------------------------------------------------------------

static void
test_methods_of_a_channel_wait_and_others_go_on(void **state)
{
    struct af_conn *c = af_ready();
    struct buf b = BUF_INIT;
    af_channel(c, 2);
    amqp_frame_queue_declare(&b, 1, &(struct amqp_queue_declare){.queue = SLICE_LIT("slow"), .nowait = true});
    af_content(&b, 1, "", "slow", SLICE_LIT("first"), 1);
    amqp_frame_basic_get(&b, 1, &(struct amqp_basic_get){.queue = SLICE_LIT("slow"), .no_ack = true});
    amqp_frame_basic_get(&b, 1, &(struct amqp_basic_get){.queue = SLICE_LIT("slow")});
    amqp_frame_queue_delete(&b, 1, &(struct amqp_queue_delete){.queue = SLICE_LIT("slow")});
    amqp_frame_basic_qos(&b, 2, &(struct amqp_basic_qos){.prefetch_count = 3});
    af_send_buf(c, &b);
    af_expect(c, 2, BASIC_QOS_OK); // overtakes: the declare has to ask the topology writer
    af_expect(c, 1, BASIC_GET_OK);
    af_expect_body(c, 1, SLICE_LIT("first"));
    af_expect(c, 1, BASIC_GET_EMPTY);
    af_expect(c, 1, QUEUE_DELETE_OK);
    af_bye(c);
}

// Thousands of declares in one packet: bounded memory, in order.
static void
test_pending_is_bounded(void **state)
{
    enum { COUNT = 3000 };
    struct af_conn *c = af_ready();
    struct connection *conn = af_newest();
    char name[256];
    size_t peak = 0, answered = 0;
    memset(name, 'x', sizeof name);
    for (int i = 0; i < COUNT; i++) {
        struct buf b = BUF_INIT, arguments = BUF_INIT;
        struct table_writer w = table_writer_of(&arguments);
        table_put_longstr(&w, SLICE_LIT("padding"), slice_of(name, 200));
        table_put_longstr(&w, SLICE_LIT("more"), slice_of(name, 250));
        snprintf(name, sizeof name, "q%d", i % 10);
        amqp_frame_queue_declare(
            &b, 1,
            &(struct amqp_queue_declare){.queue = slice_str(name), .arguments = buf_slice(&arguments)});
        buf_fini(&arguments);
        af_send_buf(c, &b);
    }
    for (int rounds = 0; answered < COUNT; rounds++) {
        assert_true(rounds < 100000);
        af_round();
        peak = LV_MAX(peak, conn->pending_bytes);
        while (af_take(c)) {
            assert_int_equal(c->id, AMQP_QUEUE_DECLARE_OK);
            snprintf(name, sizeof name, "q%zu", answered % 10);
            assert_true(slice_eq_str(c->m.queue_declare_ok.queue, name));
            answered++;
        }
    }
    assert_in_range(peak, PENDING_BYTES_MAX / 2, PENDING_BYTES_MAX + 1024);
    assert_int_equal(conn->pending_bytes, 0);
    af_bye(c);
}

// --- cuts --------------------------------------------------------------------------------------------------

// A conversation that goes through most methods; answers depend on nothing but it.
static void
conversation(struct buf *b, const char *queue)
{
    struct slice q = slice_str(queue);
    static uint8_t big[9000];
    amqp_frame_queue_declare(b, 1, &(struct amqp_queue_declare){.queue = q, .auto_delete = true});
    amqp_frame_exchange_declare(
        b, 1,
        &(struct amqp_exchange_declare){.exchange = q, .type = SLICE_LIT("fanout"), .auto_delete = true});
    amqp_frame_queue_bind(b, 1, &(struct amqp_queue_bind){.queue = q, .exchange = q});
    amqp_frame_confirm_select(b, 2, &(struct amqp_confirm_select){0});
    amqp_frame_exchange_declare(
        b, 2, &(struct amqp_exchange_declare){.exchange = SLICE_LIT("amq.direct"), .passive = true});
    af_content(b, 2, "amq.direct", "nowhere", SLICE_LIT("comes back"), 1);
    af_content(b, 1, q.ptr == NULL ? "" : queue, "k", SLICE_LIT("hello"), 0);
    af_content(b, 1, queue, "k", SLICE_LIT(""), 0);
    amqp_frame_basic_publish(b, 1,
                             &(struct amqp_basic_publish){.exchange = q, .routing_key = SLICE_LIT("big")});
    frame_append_content_header(b, 1, sizeof big, SLICE_LIT("\x18\0\2\7"));
    frame_append_body(b, 1, slice_of(big, sizeof big), 4096);
    for (int i = 0; i < 4; i++)
        amqp_frame_basic_get(b, 1, &(struct amqp_basic_get){.queue = q, .no_ack = i != 1});
    amqp_frame_basic_reject(b, 1, &(struct amqp_basic_reject){.delivery_tag = 2, .requeue = false});
    amqp_frame_queue_purge(b, 1, &(struct amqp_queue_purge){.queue = q});
    frame_append_heartbeat(b);
    amqp_frame_queue_delete(b, 1, &(struct amqp_queue_delete){.queue = q});
    af_content(b, 1, "nosuch", "k", SLICE_LIT("refused"), 0);
    amqp_frame_channel_close_ok(b, 1);
    amqp_frame_connection_close(b, 0, &(struct amqp_connection_close){.reply_code = 200});
}

// What comes back, channel by channel: their order among each other is not fixed.
static void
converse(struct slice bytes, size_t cut, bool is_single, struct buf answers[3])
{
    struct af_conn *c = af_ready();
    af_channel(c, 2);
    for (size_t at = 0; at < bytes.len;) {
        size_t len = is_single ? LV_MIN(cut, bytes.len - at)
                     : at == 0 ? LV_MIN(cut, bytes.len)
                               : bytes.len - at;
        af_send(c, slice_of(bytes.ptr + at, LV_MAX(len, (size_t)1)));
        at += LV_MAX(len, (size_t)1);
        af_round();
    }
    for (int i = 0; !memory_peer_is_at_end(c->peer); i++) {
        assert_true(i < 10000);
        af_round();
        af_receive(c);
    }
    while (af_take(c)) {
        buf_append_u8(&answers[c->frame.channel], c->frame.type);
        buf_append_slice(&answers[c->frame.channel], c->frame.payload);
    }
    assert_int_equal(c->in.len, 0);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
}

static void
test_every_cut(void **state)
{
    struct buf bytes = BUF_INIT;
    struct buf expected[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    conversation(&bytes, "conv");
    converse(buf_slice(&bytes), bytes.len, false, expected);
    assert_true(expected[1].len > 9000 && expected[2].len > 20);
    bool is_long = ((const struct af_world *)*state)->workers > 1;
    for (size_t cut = 1; cut < bytes.len + 40;
         cut += is_long || (cut > 900 && cut < bytes.len - 400) ? 61 : 1) {
        struct buf got[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
        bool is_single = cut >= bytes.len; // beyond the cuts in two: packets of 1 … 39 bytes
        converse(buf_slice(&bytes), is_single ? cut - bytes.len + 1 : cut, is_single, got);
        for (int i = 0; i < 3; i++) {
            if (!slice_eq(buf_slice(&got[i]), buf_slice(&expected[i])))
                fail_msg("cut at %zu: other answers on channel %d", cut, i);
            buf_fini(&got[i]);
        }
    }
    for (int i = 0; i < 3; i++)
        buf_fini(&expected[i]);
    buf_fini(&bytes);
}

int
main(void)
{
    struct af_world one = af_worlds[0], three = af_worlds[1];
    const struct CMUnitTest tests[] = {
#define T(name) {#name, name, setup, teardown, &one}, {#name " (3 workers)", name, setup, teardown, &three}
        T(test_frame_errors),
        T(test_harmless_frames),
        T(test_channel_max_counts_channels),
        T(test_channel_max_per_node),
        T(test_channels_of_a_user),
        T(test_vhost_deleted_under_a_connection),
        T(test_a_closing_channel_swallows),
        T(test_close_and_open_in_one_packet),
        T(test_close_comes_after_what_waits),
        T(test_exclusive_queues_are_gone_with_the_connection),
        T(test_methods_of_a_channel_wait_and_others_go_on),
        T(test_pending_is_bounded),
        T(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
