// amqp_fixture.h: a whole broker with AMQP connections over memory instead of sockets, driven turn by turn
// from one thread, with a clock that the test moves.
//
// af_connect makes a connection of which the test is the client: it sends bytes, frames and methods, and
// looks at the frames that come back. Waiting means running turns until something has come.
#pragma once

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "amqp/connection.h"
#include "amqp/transport_memory.h"
#include "amqp/wire/bytes.h"
#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

struct af {
    struct crew *crew;
    struct worker *w; // of the connections
    struct amqp_config config;
    struct slice loopback_users[1];
    uint64_t now_ns;
};

static struct af af;

struct af_conn {
    struct memory_peer *peer;
    struct buf in;      // received, not looked at
    struct buf payload; // of the frame looked at last
    struct frame frame;
    uint32_t id;         // of the method looked at last
    union amqp_method m; // slices into payload
};

// --- world -------------------------------------------------------------------------------------------------

static uint64_t
af_mono_ns(void *ctx)
{
    return af.now_ns;
}

static int64_t
af_wall_ms(void *ctx)
{
    return (int64_t)(af.now_ns / 1000000);
}

static const struct clock_source af_clock = {.mono_ns = af_mono_ns, .wall_ms = af_wall_ms};

static LV_UNUSED struct amqp_config
af_config_default(void)
{
    return (struct amqp_config){
        .heartbeat_s = 60,
        .channel_max = 2047,
        .frame_max = 131072,
        .initial_frame_max = 4096,
        .max_message_size = 134217728,
        .handshake_timeout_ms = 10000,
        .max_unauthenticated = 100,
        .connection_max = AMQP_UNLIMITED,
        .channel_max_per_node = AMQP_UNLIMITED,
        .consumer_max_per_channel = AMQP_UNLIMITED,
        .cluster_name = SLICE_LIT("rabbit@test"),
        .copyright = SLICE_LIT("(c)"),
        .information = SLICE_LIT("about"),
        .platform = SLICE_LIT("test"),
        .product = SLICE_LIT("RabbitMQ"),
        .version = SLICE_LIT("3.10.8"),
        .leveret_version = SLICE_LIT("0.1"),
        .mechanisms = SLICE_LIT("PLAIN AMQPLAIN"),
        .node_name = SLICE_LIT("rabbit@test"),
        .loopback_users = af.loopback_users,
        .loopback_user_count = 1,
    };
}

struct af_world {
    int workers;
    enum queue_placement placement;
    uint64_t chaos_seed;
    uint32_t settle_turn;
};

static LV_UNUSED const struct af_world af_worlds[] = {{1, PLACE_BALANCED, 0, 0}, {3, PLACE_REMOTE, 7, 3}};

static LV_UNUSED void
af_open(const struct af_world *world)
{
    struct crew_config crew = {.n_workers = world->workers, .chaos_seed = world->chaos_seed};
    struct topology_config topology = {.default_vhost = SLICE_LIT("/"),
                                       .default_user = SLICE_LIT("guest"),
                                       .default_pass = SLICE_LIT("guest"),
                                       .placement = world->placement};
    struct broker_config broker = {.settle_turn = world->settle_turn};
    struct log_config quiet = {.is_console = false};
    assert_int_equal(log_configure(&quiet), 0);
    char *error = NULL;
    af.now_ns = UINT64_C(1000000000000);
    clock_set_source(&af_clock);
    af.loopback_users[0] = SLICE_LIT("guest");
    af.config = af_config_default();
    af.crew = crew_new(&crew);
    af.w = af.crew->members[0];
    for (int i = 0; i < af.crew->n_workers; i++)
        broker_worker_init(af.crew->members[i], &broker);
    assert_int_equal(topology_start(af.crew, &topology, &error), 0);
    for (int i = 0; i < af.crew->n_workers; i++) {
        topology_worker_init(af.crew->members[i]);
        amqp_worker_init(af.crew->members[i], &af.config);
    }
}

// One turn of everybody. Time moves a little, as it does: PHASE budgets and the wheel must not depend on it
// standing still.
static LV_UNUSED void
af_round(void)
{
    af.now_ns += 1000;
    for (int i = 0; i < af.crew->n_members; i++)
        worker_turn(af.crew->members[i]);
}

static LV_UNUSED void
af_rounds(int n)
{
    for (int i = 0; i < n; i++)
        af_round();
}

static LV_UNUSED void
af_pass_ms(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 50) {
        af.now_ns += UINT64_C(50) * 1000 * 1000;
        af_round();
    }
}

static LV_UNUSED struct amqp_stats
af_stats(void)
{
    struct amqp_stats s;
    amqp_worker_stats(af.w, &s);
    return s;
}

static LV_UNUSED void
af_close(void)
{
    af_rounds(50);
    for (int i = 0; i < af.crew->n_workers; i++)
        amqp_worker_fini(af.crew->members[i]);
    for (int i = 0; i < af.crew->n_workers; i++)
        broker_worker_fini(af.crew->members[i]);
    topology_stop(af.crew);
    crew_free(af.crew);
    clock_set_source(NULL);
}

// --- a client ----------------------------------------------------------------------------------------------

enum { AF_CAPACITY = 8 * 1024 * 1024 };

static LV_UNUSED struct sockaddr_storage
af_address(const char *ip, uint16_t port)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, ip, &in.sin_addr), 1);
    memcpy(&ss, &in, sizeof in);
    return ss;
}

static LV_UNUSED struct af_conn *
af_connect_with(const char *peer_ip, size_t capacity)
{
    struct af_conn *c = calloc(1, sizeof *c);
    struct transport *t;
    struct sockaddr_storage peer = af_address(peer_ip, 4000);
    struct sockaddr_storage local = af_address("127.0.0.1", 5672);
    assert_int_equal(transport_memory_new(capacity, &t, &c->peer), 0);
    worker_self = af.w;
    amqp_attach(af.w, t, &peer, &local, 0);
    worker_self = NULL;
    return c;
}

static LV_UNUSED struct af_conn *
af_connect(void)
{
    return af_connect_with("127.0.0.1", AF_CAPACITY);
}

static LV_UNUSED void
af_free(struct af_conn *c)
{
    memory_peer_free(c->peer);
    buf_fini(&c->in);
    buf_fini(&c->payload);
    free(c);
}

// The connection, as the broker has it: the newest of the worker.
static LV_UNUSED struct connection *
af_newest(void)
{
    struct amqp_worker *aw = af.w->amqp_state;
    assert_false(list_is_empty(&aw->connections));
    return LV_CONTAINER_OF(aw->connections.prev, struct connection, node);
}

static LV_UNUSED void
af_send(struct af_conn *c, struct slice bytes)
{
    worker_self = af.w;
    (void)!memory_peer_send(c->peer, bytes);
    worker_self = NULL;
}

static LV_UNUSED void
af_send_buf(struct af_conn *c, struct buf *b)
{
    assert_false(b->failed);
    af_send(c, buf_slice(b));
    buf_fini(b);
}

static LV_UNUSED void
af_send_frame(struct af_conn *c, uint8_t type, uint16_t channel, struct slice payload)
{
    struct buf b = BUF_INIT;
    size_t at = frame_begin(&b, type, channel);
    buf_append_slice(&b, payload);
    frame_end(&b, at);
    af_send_buf(c, &b);
}

static LV_UNUSED void
af_method(struct af_conn *c, uint16_t channel, uint32_t id, const union amqp_method *m)
{
    struct buf b = BUF_INIT;
    amqp_method_frame(&b, channel, id, m);
    af_send_buf(c, &b);
}

// af_do(c, 1, QUEUE_DECLARE, queue_declare, .queue = …)
#define af_do(c, channel, NAME, member, ...)                                                                 \
    af_method((c), (channel), AMQP_##NAME, &(union amqp_method){.member = {__VA_ARGS__}})
#define af_do0(c, channel, NAME) af_method((c), (channel), AMQP_##NAME, &(union amqp_method){0})

static LV_UNUSED void
af_content(struct buf *b, uint16_t channel, const char *exchange, const char *key, struct slice body,
           unsigned flags)
{
    struct amqp_basic_publish m = {
        .exchange = slice_str(exchange), .routing_key = slice_str(key), .mandatory = (flags & 1) != 0};
    static const uint8_t no_props[2] = {0, 0};
    amqp_frame_basic_publish(b, channel, &m);
    frame_append_content_header(b, channel, body.len, slice_of(no_props, 2));
    frame_append_body(b, channel, body, 131072);
}

static LV_UNUSED void
af_publish(struct af_conn *c, uint16_t channel, const char *exchange, const char *key, const char *body)
{
    struct buf b = BUF_INIT;
    af_content(&b, channel, exchange, key, slice_str(body), 1);
    af_send_buf(c, &b);
}

static LV_UNUSED void
af_receive(struct af_conn *c)
{
    uint8_t piece[65536];
    worker_self = af.w;
    for (size_t n; (n = memory_peer_receive(c->peer, piece, sizeof piece)) > 0;)
        buf_append(&c->in, piece, n);
    worker_self = NULL;
}

// The next frame that has come already; false: none.
static LV_UNUSED bool
af_take(struct af_conn *c)
{
    af_receive(c);
    if (frame_parse(c->in.ptr, c->in.len, UINT32_MAX, &c->frame) != FRAME_OK)
        return false;
    buf_reset(&c->payload);
    buf_append_slice(&c->payload, c->frame.payload);
    buf_drop_front(&c->in, c->frame.size);
    c->frame.payload = buf_slice(&c->payload);
    c->id = 0;
    if (c->frame.type == FRAME_METHOD) {
        c->id = wire_get_u32(c->payload.ptr);
        assert_int_equal(amqp_method_decode(c->id, slice_from(c->frame.payload, 4), &c->m), 0);
    }
    return true;
}

static LV_UNUSED void
af_next(struct af_conn *c)
{
    for (int i = 0; !af_take(c); i++) {
        if (i > 3000)
            fail_msg("nothing came");
        af_round();
    }
}

static LV_UNUSED void
af_expect_id(struct af_conn *c, uint16_t channel, uint32_t id)
{
    af_next(c);
    if (c->id != id || c->frame.channel != channel) {
        const char *text = "";
        if (c->id == AMQP_CHANNEL_CLOSE)
            text = (const char *)c->m.channel_close.reply_text.ptr;
        else if (c->id == AMQP_CONNECTION_CLOSE)
            text = (const char *)c->m.connection_close.reply_text.ptr;
        fail_msg("frame type %u channel %u %s, not channel %u %s: %.80s", c->frame.type, c->frame.channel,
                 amqp_method_name(c->id), channel, amqp_method_name(id), text);
    }
}

#define af_expect(c, channel, NAME) af_expect_id((c), (channel), AMQP_##NAME)

static LV_UNUSED void
af_expect_nothing(struct af_conn *c)
{
    af_rounds(60);
    if (af_take(c))
        fail_msg("unexpected frame type %u, %s", c->frame.type, amqp_method_name(c->id));
}

// Connection or channel (by number) closed with that code and text by method ids.
static LV_UNUSED void
af_expect_close(struct af_conn *c, uint16_t channel, uint16_t code, uint32_t id, const char *text)
{
    af_expect_id(c, channel, channel == 0 ? AMQP_CONNECTION_CLOSE : AMQP_CHANNEL_CLOSE);
    struct amqp_connection_close m = c->m.connection_close;
    if (channel != 0)
        m = (struct amqp_connection_close){c->m.channel_close.reply_code, c->m.channel_close.reply_text,
                                           c->m.channel_close.class_id, c->m.channel_close.method_id};
    char got[300];
    snprintf(got, sizeof got, "%.*s", SLICE_FMT(m.reply_text));
    assert_string_equal(got, text);
    assert_int_equal(m.reply_code, code);
    assert_int_equal(m.class_id, amqp_class_of(id));
    assert_int_equal(m.method_id, amqp_method_of(id));
}

static LV_UNUSED void
af_expect_end(struct af_conn *c)
{
    for (int i = 0; !memory_peer_is_at_end(c->peer); i++) {
        if (i > 3000)
            fail_msg("the connection goes on");
        af_round();
        af_receive(c);
    }
}

static LV_UNUSED void
af_expect_closed(struct af_conn *c)
{
    for (int i = 0; !memory_peer_is_closed(c->peer); i++) {
        if (i > 3000)
            fail_msg("the transport is not closed");
        af_round();
    }
}

// --- handshake ---------------------------------------------------------------------------------------------

static LV_UNUSED void
af_start_ok(struct af_conn *c, const char *user, const char *password, const char *capabilities)
{
    struct buf properties = BUF_INIT, response = BUF_INIT;
    struct table_writer w = table_writer_of(&properties);
    table_put_str(&w, SLICE_LIT("connection_name"), "af");
    table_begin_table(&w, SLICE_LIT("capabilities"));
    for (const char *at = capabilities; *at != '\0';) {
        size_t len = strcspn(at, " ");
        table_put_bool(&w, slice_of(at, len), true);
        at += len + (at[len] == ' ');
    }
    table_writer_end(&w);
    buf_append_u8(&response, 0);
    buf_append_str(&response, user);
    buf_append_u8(&response, 0);
    buf_append_str(&response, password);
    af_do(c, 0, CONNECTION_START_OK, connection_start_ok, .client_properties = buf_slice(&properties),
          .mechanism = SLICE_LIT("PLAIN"), .response = buf_slice(&response), .locale = SLICE_LIT("en_US"));
    buf_fini(&properties);
    buf_fini(&response);
}

#define AF_ALL_CAPABILITIES                                                                                  \
    "consumer_cancel_notify connection.blocked authentication_failure_close basic.nack publisher_confirms"

static LV_UNUSED void
af_tune_and_open(struct af_conn *c, uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat)
{
    af_expect(c, 0, CONNECTION_TUNE);
    af_do(c, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = channel_max, .frame_max = frame_max,
          .heartbeat = heartbeat);
    af_do(c, 0, CONNECTION_OPEN, connection_open, .virtual_host = SLICE_LIT("/"));
    af_expect(c, 0, CONNECTION_OPEN_OK);
}

static LV_UNUSED struct af_conn *
af_login_with(uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat)
{
    struct af_conn *c = af_connect();
    af_send(c, protocol_header());
    af_expect(c, 0, CONNECTION_START);
    af_start_ok(c, "guest", "guest", AF_ALL_CAPABILITIES);
    af_tune_and_open(c, channel_max, frame_max, heartbeat);
    return c;
}

static LV_UNUSED struct af_conn *
af_login(void)
{
    return af_login_with(2047, 131072, 0);
}

static LV_UNUSED void
af_channel(struct af_conn *c, uint16_t number)
{
    af_do0(c, number, CHANNEL_OPEN);
    af_expect(c, number, CHANNEL_OPEN_OK);
}

// A connection with channel 1.
static LV_UNUSED struct af_conn *
af_ready(void)
{
    struct af_conn *c = af_login();
    af_channel(c, 1);
    return c;
}

static LV_UNUSED void
af_queue(struct af_conn *c, uint16_t channel, const char *name)
{
    af_do(c, channel, QUEUE_DECLARE, queue_declare, .queue = slice_str(name));
    af_expect(c, channel, QUEUE_DECLARE_OK);
}

// Declares something passively that is always there: everything before it has been carried out.
static LV_UNUSED void
af_sync(struct af_conn *c, uint16_t channel)
{
    af_do(c, channel, BASIC_QOS, basic_qos, .prefetch_count = 0);
    af_expect(c, channel, BASIC_QOS_OK);
}

// The client closes, politely; everything ends.
static LV_UNUSED void
af_bye(struct af_conn *c)
{
    af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200, .reply_text = SLICE_LIT("bye"));
    af_expect(c, 0, CONNECTION_CLOSE_OK);
    af_expect_end(c);
    memory_peer_shut(c->peer);
    af_expect_closed(c);
    af_free(c);
}

// Content frames after a deliver, get-ok or return: the body must be that.
static LV_UNUSED void
af_expect_body(struct af_conn *c, uint16_t channel, struct slice body)
{
    struct content_header h;
    af_next(c);
    assert_int_equal(c->frame.type, FRAME_HEADER);
    assert_int_equal(c->frame.channel, channel);
    assert_int_equal(content_header_decode(c->frame.payload, &h), 0);
    assert_int_equal(h.body_size, body.len);
    while (body.len > 0) {
        af_next(c);
        assert_int_equal(c->frame.type, FRAME_BODY);
        assert_int_equal(c->frame.channel, channel);
        assert_true(c->frame.payload.len > 0 && c->frame.payload.len <= body.len);
        assert_memory_equal(c->frame.payload.ptr, body.ptr, c->frame.payload.len);
        body = slice_from(body, c->frame.payload.len);
    }
}

// --- administration ------------------------------------------------------------------------------------------

static LV_UNUSED void
af_on_changed(struct topology_request *r)
{
    assert_int_equal(r->fault.code, FAULT_NONE);
    *(bool *)r->ctx = true;
    topology_request_free(r);
}

static LV_UNUSED void
af_change(const struct topology_request *args)
{
    bool is_done = false;
    struct topology_request copy = *args;
    copy.done = af_on_changed;
    copy.ctx = &is_done;
    worker_self = af.w;
    topology_submit(topology_request_new(&copy));
    worker_self = NULL;
    for (int i = 0; i < 1000 && !is_done; i++)
        af_round();
    assert_true(is_done);
}
