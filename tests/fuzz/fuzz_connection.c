// fuzz_connection.c: whole connections against a whole broker in this process: one worker, topology writer,
// queues, driven turn by turn, clients over memory.
//
// Input: the first byte chooses the world of this run: bit 0: begin with connections that are open and have
// channels 1 and 2 (else the protocol header comes from the input), bit 1: queues and an exchange exist, bit
// 2: a small output window, bit 3: publishes under an alarm are held. Then commands of one byte, some with a
// length and bytes:
//   0 … 191  send so many bytes (of those that follow) to the current connection
//   then     run turns, let time pass, switch to another connection (there are two), receive, end the input,
//            set or clear alarms, send a whole well-formed method made of the following bytes, send a whole
//            publish, close and reopen
// The broker lives for RUNS_OF_A_BROKER runs; between two the vhost is deleted and made again, so that each
// begins alike. Whatever comes, nothing may crash, leak, or go on for ever; frames that come back must be
// well-formed, and when a connection is over its transport must be closed after the time that is allowed for
// it.
#include <arpa/inet.h>
#include <stdlib.h>

#include "amqp/connection.h"
#include "amqp/transport_memory.h"
#include "amqp/wire/bytes.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 2, RUNS_OF_A_BROKER = 500 };

enum world {
    WORLD_OPEN = 1,
    WORLD_DECLARED = 2,
    WORLD_NARROW = 4,
    WORLD_ALARM = 8,
};

enum command {
    CMD_TURN = 192,
    CMD_TURNS,
    CMD_SECOND,
    CMD_MINUTE,
    CMD_OTHER,
    CMD_RECEIVE,
    CMD_SHUT,
    CMD_ALARM,
    CMD_NO_ALARM,
    CMD_REOPEN,
    CMD_METHOD = 210,
    CMD_PUBLISH = 230,
};

struct fuzz_client {
    struct memory_peer *peer;
    struct buf in;
};

static struct fuzz {
    struct crew *crew;
    struct worker *w;
    struct amqp_config config;
    struct fuzz_client clients[CLIENTS];
    int current;
    uint64_t now_ns;
    unsigned world;
    unsigned runs;         // of this broker
    unsigned writer_turns; // that the topology writer is still due
} z;

static uint64_t
mono_ns(void *ctx)
{
    return z.now_ns;
}

static int64_t
wall_ms(void *ctx)
{
    return (int64_t)(z.now_ns / 1000000);
}

// --- the broker --------------------------------------------------------------------------------------------

static void
make_broker(void)
{
    static const struct clock_source source = {.mono_ns = mono_ns, .wall_ms = wall_ms};
    struct crew_config crew = {.n_workers = 1};
    struct topology_config topology = {.default_vhost = SLICE_LIT("/"),
                                       .default_user = SLICE_LIT("guest"),
                                       .default_pass = SLICE_LIT("guest")};
    struct broker_config broker = {.settle_turn = 4}; // so that a few deliveries are many
    struct log_config quiet = {.is_console = false};
    char *error = NULL;
    LV_ASSERT(log_configure(&quiet) == 0);
    z.now_ns = UINT64_C(1000000000000);
    clock_set_source(&source);
    z.config = (struct amqp_config){
        .heartbeat_s = 60,
        .channel_max = 16,
        .frame_max = 8192,
        .initial_frame_max = 4096,
        .max_message_size = 100000,
        .handshake_timeout_ms = 10000,
        .max_unauthenticated = 4,
        .connection_max = AMQP_UNLIMITED,
        .channel_max_per_node = 20,
        .consumer_max_per_channel = 8,
        .product = SLICE_LIT("RabbitMQ"),
        .version = SLICE_LIT("3.10.8"),
        .mechanisms = SLICE_LIT("PLAIN AMQPLAIN"),
    };
    z.crew = crew_new(&crew);
    z.w = z.crew->members[0];
    broker_worker_init(z.w, &broker);
    LV_ASSERT(topology_start(z.crew, &topology, &error) == 0);
    topology_worker_init(z.w);
    amqp_worker_init(z.w, &z.config);
}

// The topology writer takes a turn when it has mail, and a few more for what it answers when the worker has
// adopted its version; the other members have nothing to do.
static void
turn(void)
{
    enum { TURNS_AFTER_MAIL = 4 };
    struct worker *writer = crew_extra_member(z.crew, CREW_TOPOLOGY);
    z.now_ns += 1000;
    worker_turn(z.w);
    if (mailbox_has_mail(z.w->out[writer->index]))
        z.writer_turns = TURNS_AFTER_MAIL;
    if (z.writer_turns > 0) {
        z.writer_turns--;
        worker_turn(writer);
    }
}

static void
turns(int n)
{
    for (int i = 0; i < n; i++)
        turn();
}

static void
pass_seconds(unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 2; i++) {
        z.now_ns += UINT64_C(500) * 1000 * 1000;
        turn();
    }
}

static void
on_changed(struct topology_request *r)
{
    LV_ASSERT(r->fault.code == FAULT_NONE);
    *(bool *)r->ctx = true;
    topology_request_free(r);
}

static void
change(const struct topology_request *args)
{
    bool is_done = false;
    struct topology_request copy = *args;
    copy.done = on_changed;
    copy.ctx = &is_done;
    worker_self = z.w;
    topology_submit(topology_request_new(&copy));
    worker_self = NULL;
    for (int i = 0; i < 1000 && !is_done; i++)
        turn();
    LV_ASSERT(is_done);
}

static void
empty_vhost(void)
{
    struct slice all = SLICE_LIT(".*");
    change(&(struct topology_request){.change = CHANGE_VHOST_DELETE,
                                      .vhost = SLICE_LIT("/"),
                                      .name = SLICE_LIT("/"),
                                      .user = SLICE_LIT("guest")});
    change(&(struct topology_request){.change = CHANGE_VHOST_PUT,
                                      .vhost = SLICE_LIT("/"),
                                      .name = SLICE_LIT("/"),
                                      .user = SLICE_LIT("guest")});
    change(&(struct topology_request){.change = CHANGE_PERMISSION_SET,
                                      .vhost = SLICE_LIT("/"),
                                      .user = SLICE_LIT("guest"),
                                      .configure = all,
                                      .write = all,
                                      .read = all});
}

static void
end_broker(void)
{
    amqp_worker_fini(z.w);
    broker_worker_fini(z.w);
    topology_stop(z.crew);
    crew_free(z.crew);
    z = (struct fuzz){0};
}

// --- clients -----------------------------------------------------------------------------------------------

static void
send_bytes(struct fuzz_client *c, const uint8_t *bytes, size_t len)
{
    // An exact block, so that a read past the end is seen.
    uint8_t *exact = malloc(LV_MAX(len, (size_t)1));
    LV_ASSERT(exact != NULL);
    if (len > 0)
        memcpy(exact, bytes, len);
    worker_self = z.w;
    (void)!memory_peer_send(c->peer, slice_of(exact, len));
    worker_self = NULL;
    free(exact);
}

static void
send_buf(struct fuzz_client *c, struct buf *b)
{
    if (!b->failed)
        send_bytes(c, b->ptr, b->len);
    buf_fini(b);
}

// Takes what has come; whole frames must be sound.
static void
receive(struct fuzz_client *c)
{
    uint8_t piece[4096];
    struct frame f;
    worker_self = z.w;
    for (size_t n; (n = memory_peer_receive(c->peer, piece, sizeof piece)) > 0;)
        buf_append(&c->in, piece, n);
    worker_self = NULL;
    if (c->in.len == 0)
        return;
    if (c->in.len >= 4 && memcmp(c->in.ptr, "AMQP", 4) == 0) {
        buf_reset(&c->in);
        return;
    }
    size_t at = 0;
    while (frame_parse(c->in.ptr + at, c->in.len - at, UINT32_MAX, &f) == FRAME_OK) {
        union amqp_method m;
        if (f.type == FRAME_METHOD) {
            uint32_t id = wire_get_u32(f.payload.ptr);
            int rc = amqp_method_decode(id, slice_from(f.payload, 4), &m);
            LV_ASSERT(rc == 0);
        }
        at += f.size;
    }
    LV_ASSERT(frame_parse(c->in.ptr + at, c->in.len - at, UINT32_MAX, &f) == FRAME_MORE);
    if (at > 0)
        buf_drop_front(&c->in, at);
}

static void
open_client(struct fuzz_client *c)
{
    struct transport *t;
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct buf b = BUF_INIT;
    LV_ASSERT(transport_memory_new((z.world & WORLD_NARROW) != 0 ? 700 : 1 << 20, &t, &c->peer) == 0);
    worker_self = z.w;
    amqp_attach(z.w, t, &address, &address, 0);
    worker_self = NULL;
    if ((z.world & WORLD_OPEN) == 0)
        return;
    static const uint8_t capabilities[] = "\x0c"
                                          "capabilitiesF\0\0\0\x2f\x16"
                                          "consumer_cancel_notifyt\1\x12"
                                          "connection.blockedt\1";
    buf_append_slice(&b, protocol_header());
    amqp_frame_connection_start_ok(&b, 0,
                                   &(struct amqp_connection_start_ok){
                                       .client_properties = slice_of(capabilities, sizeof capabilities - 1),
                                       .mechanism = SLICE_LIT("PLAIN"),
                                       .response = SLICE_LIT("\0guest\0guest")});
    amqp_frame_connection_tune_ok(
        &b, 0, &(struct amqp_connection_tune_ok){.channel_max = 16, .frame_max = 4096, .heartbeat = 10});
    amqp_frame_connection_open(&b, 0, &(struct amqp_connection_open){.virtual_host = SLICE_LIT("/")});
    amqp_frame_channel_open(&b, 1);
    amqp_frame_channel_open(&b, 2);
    send_buf(c, &b);
    turn();
}

static void
declare(struct fuzz_client *c)
{
    struct buf b = BUF_INIT;
    amqp_frame_queue_declare(&b, 1,
                             &(struct amqp_queue_declare){.queue = SLICE_LIT("q"), .auto_delete = true});
    amqp_frame_queue_declare(&b, 1, &(struct amqp_queue_declare){.queue = SLICE_LIT("r"), .exclusive = true});
    amqp_frame_exchange_declare(
        &b, 1, &(struct amqp_exchange_declare){.exchange = SLICE_LIT("x"), .type = SLICE_LIT("topic")});
    amqp_frame_queue_bind(&b, 1,
                          &(struct amqp_queue_bind){.queue = SLICE_LIT("q"),
                                                    .exchange = SLICE_LIT("x"),
                                                    .routing_key = SLICE_LIT("#")});
    amqp_frame_basic_consume(
        &b, 2, &(struct amqp_basic_consume){.queue = SLICE_LIT("q"), .consumer_tag = SLICE_LIT("t")});
    send_buf(c, &b);
    turns(8);
}

static void
close_client(struct fuzz_client *c)
{
    memory_peer_shut(c->peer);
    for (int i = 0; i < 150 && !memory_peer_is_closed(c->peer); i++) {
        receive(c);
        turn();
    }
    if (!memory_peer_is_closed(c->peer)) // a read that waits for the peer to read; or time has to pass
        pass_seconds(30);
    LV_ASSERT(memory_peer_is_closed(c->peer));
    receive(c);
    memory_peer_free(c->peer);
    buf_fini(&c->in);
    *c = (struct fuzz_client){0};
}

// --- input -------------------------------------------------------------------------------------------------

struct reader {
    const uint8_t *pos, *end;
};

static uint8_t
next(struct reader *r)
{
    return r->pos < r->end ? *r->pos++ : 0;
}

static struct slice
take(struct reader *r, size_t len)
{
    len = LV_MIN(len, (size_t)(r->end - r->pos));
    struct slice s = slice_of(r->pos, len);
    r->pos += len;
    return s;
}

// Short words, mostly those that mean something.
static struct slice
word(struct reader *r)
{
    static const char *const words[] = {
        "",      "q",      "r",       "x",       "t",   "amq.direct",           "amq.topic",
        "topic", "fanout", "headers", "amq.gen", "a.b", "amq.rabbitmq.reply-to"};
    uint8_t n = next(r);
    if (n < LV_ARRAY_LEN(words))
        return slice_str(words[n]);
    return take(r, n & 15);
}

// A method with arguments made of input bytes: the deep states are reached without guessing lengths.
static void
send_method(struct fuzz_client *c, struct reader *r, uint16_t channel)
{
    size_t count;
    const struct amqp_method_info *list = amqp_method_list(&count);
    const struct amqp_method_info *info = &list[next(r) % count];
    union amqp_method m = {0};
    uint8_t *base = (uint8_t *)&m;
    for (size_t i = 0; i < info->arg_count; i++) {
        void *at = base + info->args[i].offset;
        switch (info->args[i].kind) {
        case AMQP_ARG_BIT: *(bool *)at = (next(r) & 1) != 0; break;
        case AMQP_ARG_OCTET: *(uint8_t *)at = next(r); break;
        case AMQP_ARG_SHORT: *(uint16_t *)at = next(r); break;
        case AMQP_ARG_LONG: *(uint32_t *)at = next(r) == 1 ? next(r) : 0; break;
        case AMQP_ARG_LONGLONG: *(uint64_t *)at = next(r); break;
        case AMQP_ARG_SHORTSTR: *(struct slice *)at = word(r); break;
        case AMQP_ARG_LONGSTR: *(struct slice *)at = take(r, next(r) & 31); break;
        case AMQP_ARG_TABLE: *(struct slice *)at = take(r, next(r) & 63); break;
        }
    }
    struct buf b = BUF_INIT;
    amqp_method_frame(&b, channel, info->id, &m);
    send_buf(c, &b);
}

static void
send_publish(struct fuzz_client *c, struct reader *r, uint16_t channel)
{
    static uint8_t body[20000];
    struct buf b = BUF_INIT;
    uint8_t bits = next(r);
    size_t size = (bits & 8) != 0 ? next(r) * (size_t)70 : next(r) & 31;
    struct amqp_basic_publish m = {.exchange = word(r), .routing_key = word(r), .mandatory = (bits & 1) != 0};
    struct slice props = (bits & 2) != 0 ? take(r, next(r) & 31) : SLICE_LIT("\0\0");
    amqp_frame_basic_publish(&b, channel, &m);
    frame_append_content_header(&b, channel, size + ((bits & 4) != 0), props);
    frame_append_body(&b, channel, slice_of(body, size), (bits & 16) != 0 ? 100 : 4096);
    send_buf(c, &b);
}

static void
set_alarms(unsigned alarms)
{
    worker_self = z.w;
    broker_set_alarms(z.w, alarms);
    worker_self = NULL;
}

static void
command(struct reader *r, uint8_t cmd)
{
    struct fuzz_client *c = &z.clients[z.current];
    if (cmd < CMD_TURN) {
        struct slice bytes = take(r, cmd);
        send_bytes(c, bytes.ptr, bytes.len);
    } else if (cmd >= CMD_PUBLISH) {
        send_publish(c, r, (uint16_t)(1 + cmd % 3));
    } else if (cmd >= CMD_METHOD) {
        send_method(c, r, (uint16_t)(cmd % 4));
    } else {
        switch (cmd) {
        case CMD_TURNS: turns(10); break;
        case CMD_SECOND: pass_seconds(1); break;
        case CMD_MINUTE: pass_seconds(15); break;
        case CMD_OTHER: z.current = (z.current + 1) % CLIENTS; break;
        case CMD_RECEIVE: receive(c); break;
        case CMD_SHUT: memory_peer_shut(c->peer); break;
        case CMD_ALARM: set_alarms(1 + (next(r) & 1)); break;
        case CMD_NO_ALARM: set_alarms(0); break;
        case CMD_REOPEN:
            close_client(c);
            open_client(c);
            break;
        default: turn(); break;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536)
        return 0;
    if (z.crew == NULL)
        make_broker();
    z.world = data[0] & 15;
    z.current = 0;
    struct reader r = {data + 1, data + size};
    for (int i = 0; i < CLIENTS; i++)
        open_client(&z.clients[i]);
    if ((z.world & (WORLD_OPEN | WORLD_DECLARED)) == (WORLD_OPEN | WORLD_DECLARED))
        declare(&z.clients[0]);
    if ((z.world & WORLD_ALARM) != 0)
        set_alarms(1);
    while (r.pos < r.end)
        command(&r, next(&r));
    turns(5);
    set_alarms(0);
    turns(5);
    for (int i = 0; i < CLIENTS; i++)
        close_client(&z.clients[i]);
    struct amqp_stats stats;
    amqp_worker_stats(z.w, &stats);
    for (int i = 0; i < 20 && (stats.connections != 0 || stats.channels != 0); i++) {
        turn();
        amqp_worker_stats(z.w, &stats);
    }
    LV_ASSERT(stats.connections == 0 && stats.channels == 0 && stats.unauthenticated == 0);
    if (++z.runs >= RUNS_OF_A_BROKER)
        end_broker();
    else
        empty_vhost();
    return 0;
}
