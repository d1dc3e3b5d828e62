// perf_run_consumer.c: takes deliveries, where they lie in the input buffer, and acknowledges them.
//
// One read brings many messages; their frames are looked at in place, their latency is from the stamp to that read, and all
// acknowledgements of a read go out with one send.
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_run.h"

enum {
    IN_BYTES = 256 * 1024,
    READS = 4, // a call, before other sockets have their turn
};

enum expect { EXPECT_METHOD, EXPECT_HEADER, EXPECT_BODY };

struct run_consumer {
    struct run_thread *thread;
    uint64_t index;
    struct perf_conn conn;
    ev_io read_io, write_io;
    enum expect expect;
    bool is_first_body; // the next body frame begins with the stamp
    uint64_t body_left; // bytes
    uint64_t tag;       // of the message that is coming
    uint64_t unacked;   // since the last acknowledgement
    uint64_t ack_every; // 0: none
    // What a pass over the input found, before it is added to the thread's counts.
    uint64_t messages, redelivered;
    uint64_t stamp, stamp_count; // messages in a row with the same stamp
};

static void
fail(struct run_consumer *c, const char *why)
{
    ev_io_stop(c->thread->loop, &c->read_io);
    ev_io_stop(c->thread->loop, &c->write_io);
    run_fail(c->thread->run, "consumer", c->index, why);
}

static void
record_stamps(struct run_consumer *c, uint64_t now)
{
    if (c->stamp_count != 0)
        perf_hist_record_many(c->thread->delivery_hist, now > c->stamp ? now - c->stamp : 0, c->stamp_count);
    c->stamp_count = 0;
}

static void
ack(struct run_consumer *c)
{
    amqp_frame_basic_ack(&c->conn.out, 1,
                         &(struct amqp_basic_ack){.delivery_tag = c->tag, .multiple = c->unacked > 1});
    c->unacked = 0;
}

static void
message_done(struct run_consumer *c)
{
    c->expect = EXPECT_METHOD;
    c->messages++;
    if (c->ack_every != 0 && ++c->unacked >= c->ack_every)
        ack(c);
}

// A method frame at p, whole; size: of its payload.
static int
take_method(struct run_consumer *c, const uint8_t *p, uint32_t size)
{
    if (LV_LIKELY(size >= 5 && wire_get_u32(p + 7) == AMQP_BASIC_DELIVER)) {
        size_t tag_at = 12u + p[11]; // behind the consumer tag
        if (tag_at + 9 > 7u + size)
            return perf_conn_fail(&c->conn, -LE_SYNTAX, "the broker's basic.deliver cannot be read");
        c->tag = wire_get_u64(p + tag_at);
        c->redelivered += p[tag_at + 8] & 1;
        c->expect = EXPECT_HEADER;
        return 0;
    }
    struct frame f = {
        .type = p[0], .channel = wire_get_u16(p + 1), .payload_len = size, .payload = slice_of(p + 7, size)};
    return perf_conn_unasked(&c->conn, &f);
}

static int
take_header(struct run_consumer *c, const uint8_t *p, uint32_t size)
{
    if (size < 14)
        return perf_conn_fail(&c->conn, -LE_SYNTAX, "the broker's content header cannot be read");
    c->body_left = wire_get_u64(p + 11);
    c->is_first_body = true;
    c->expect = EXPECT_BODY;
    if (c->body_left == 0)
        message_done(c);
    return 0;
}

static int
take_body(struct run_consumer *c, const uint8_t *p, uint32_t size, uint64_t now)
{
    if (size > c->body_left)
        return perf_conn_fail(&c->conn, -LE_SYNTAX, "the broker sent more body than it announced");
    if (c->is_first_body && size >= RUN_STAMP_SIZE && memcmp(p + 15, &c->thread->run->id, 8) == 0) {
        uint64_t time;
        memcpy(&time, p + 7, sizeof time);
        if (time != c->stamp) {
            record_stamps(c, now);
            c->stamp = time;
        }
        c->stamp_count++;
    }
    c->is_first_body = false;
    c->body_left -= size;
    if (c->body_left == 0)
        message_done(c);
    return 0;
}

// All whole frames of the input. The length of the loop is bounded by the buffer.
static int
take_input(struct run_consumer *c, uint64_t now)
{
    struct perf_conn *conn = &c->conn;
    const uint8_t *p = conn->in + conn->in_start, *end = conn->in + conn->in_end;
    static const uint8_t types[] = {
        [EXPECT_METHOD] = FRAME_METHOD, [EXPECT_HEADER] = FRAME_HEADER, [EXPECT_BODY] = FRAME_BODY};
    int rc = 0;
    while (rc == 0 && (size_t)(end - p) >= FRAME_OVERHEAD) {
        uint32_t size = wire_get_u32(p + 3);
        if (LV_UNLIKELY(size > conn->frame_max - FRAME_OVERHEAD))
            return perf_conn_fail(conn, -LE_SYNTAX,
                                  "the broker sent a frame of %u bytes, above the negotiated size", size);
        size_t total = (size_t)size + FRAME_OVERHEAD;
        if ((size_t)(end - p) < total)
            break;
        if (LV_UNLIKELY(p[total - 1] != FRAME_END))
            return perf_conn_fail(conn, -LE_SYNTAX, "the broker sent a frame that does not end with 206");
        if (LV_UNLIKELY(p[0] != types[c->expect])) {
            struct frame f = {.type = p[0], .channel = wire_get_u16(p + 1), .payload = slice_of(p + 7, size)};
            rc = perf_conn_unasked(conn, &f);
        } else if (c->expect == EXPECT_BODY) {
            rc = take_body(c, p, size, now);
        } else if (c->expect == EXPECT_HEADER) {
            rc = take_header(c, p, size);
        } else {
            rc = take_method(c, p, size);
        }
        p += total;
    }
    conn->in_start = (size_t)(p - conn->in);
    return rc;
}

static void
count_input(struct run_consumer *c, uint64_t now)
{
    struct run_counts *counts = &c->thread->counts;
    record_stamps(c, now);
    if (c->messages == 0)
        return;
    if (atomic_load_explicit(&counts->first_ns, memory_order_relaxed) == 0)
        atomic_store_explicit(&counts->first_ns, now, memory_order_relaxed);
    run_count(&counts->consumed, c->messages);
    run_count(&counts->redelivered, c->redelivered);
    atomic_store_explicit(&counts->last_ns, now, memory_order_relaxed);
    c->messages = c->redelivered = 0;
}

static void
send_acks(struct run_consumer *c)
{
    int rc = perf_conn_send(&c->conn);
    if (rc < 0) {
        fail(c, c->conn.error);
        return;
    }
    if (rc == 1)
        ev_io_start(c->thread->loop, &c->write_io);
    else
        ev_io_stop(c->thread->loop, &c->write_io);
}

static void
on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct run_consumer *c = io->data;
    int rc = 0;
    for (unsigned i = 0; i < READS && rc >= 0; i++) {
        size_t room = c->conn.in_cap - (c->conn.in_end - c->conn.in_start);
        rc = perf_conn_read(&c->conn);
        if (rc <= 0)
            break;
        bool is_last = (size_t)rc < room; // the socket is empty
        uint64_t now = clock_mono_ns();
        rc = take_input(c, now);
        count_input(c, now);
        if (is_last)
            break;
    }
    if (rc < 0)
        fail(c, c->conn.error);
    else if (c->conn.out.len > 0)
        send_acks(c);
}

static void
on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    send_acks(io->data);
}

// The queues of consumer i are i, i + consumers, …; more consumers than queues share them.
static int
subscribe(struct run_consumer *c)
{
    const struct run_config *config = c->thread->run->config;
    union amqp_method m = {.basic_qos = {.prefetch_count = (uint16_t)config->prefetch}};
    int rc = 0;
    if (!config->is_auto_ack && config->prefetch != 0)
        rc = perf_conn_call(&c->conn, 1, AMQP_BASIC_QOS, &m, NULL);
    for (uint64_t q = c->index % config->queues; rc == 0 && q < config->queues; q += config->consumers) {
        char name[256];
        run_queue_name(config, q, name);
        m.basic_consume =
            (struct amqp_basic_consume){.queue = slice_str(name), .no_ack = config->is_auto_ack};
        // Deliveries of the first queue may come before the answer for the second: nobody waits for it.
        bool is_only = q + config->consumers >= config->queues && q < config->consumers;
        m.basic_consume.nowait = !is_only;
        if (is_only) {
            rc = perf_conn_call(&c->conn, 1, AMQP_BASIC_CONSUME, &m, NULL);
        } else {
            amqp_frame_basic_consume(&c->conn.out, 1, &m.basic_consume);
            rc = perf_conn_flush(&c->conn);
        }
    }
    return rc;
}

int
run_consumer_new(struct run_thread *t, uint64_t index, struct run_consumer **ret)
{
    const struct run_config *config = t->run->config;
    struct run_consumer *c = mem_xcalloc(1, sizeof *c);
    char name[64];
    snprintf(name, sizeof name, "leveret-perf consumer %llu", (unsigned long long)index + 1);
    struct perf_conn_options o = {.name = name,
                                  .frame_max = config->frame_max,
                                  .timeout_s = config->common.timeout_s,
                                  .in_cap = LV_MAX((size_t)IN_BYTES, 2 * (size_t)config->frame_max)};
    *c = (struct run_consumer){.thread = t, .index = index};
    if (!config->is_auto_ack && !config->is_holding) {
        c->ack_every = config->multi_ack_every;
        // Half the prefetch at most, or both sides would wait for each other.
        if (config->prefetch != 0)
            c->ack_every = LV_MAX(UINT64_C(1), LV_MIN(c->ack_every, config->prefetch / 2));
    }
    int rc = perf_conn_open(&c->conn, &t->run->uris, index, &o);
    if (rc == 0)
        rc = perf_conn_open_channel(&c->conn, 1);
    if (rc == 0)
        rc = subscribe(c);
    if (rc < 0) {
        run_fail(t->run, "consumer", index, c->conn.error);
        run_consumer_free(c);
        return rc;
    }
    ev_io_init(&c->read_io, on_readable, c->conn.fd, EV_READ);
    ev_io_init(&c->write_io, on_writable, c->conn.fd, EV_WRITE);
    c->read_io.data = c->write_io.data = c;
    *ret = c;
    return 0;
}

void
run_consumer_start(struct run_consumer *c)
{
    ev_io_start(c->thread->loop, &c->read_io);
    // What came with the answer to basic.consume is here already, and the socket says nothing of it.
    uint64_t now = clock_mono_ns();
    if (take_input(c, now) < 0)
        fail(c, c->conn.error);
    count_input(c, now);
}

void
run_consumer_free(struct run_consumer *c)
{
    if (c == NULL)
        return;
    if (c->unacked > 0)
        ack(c);
    perf_conn_close(&c->conn);
    perf_conn_abort(&c->conn);
    mem_free(c);
}
