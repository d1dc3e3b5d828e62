// perf_run_producer.c: publishes as fast as the socket, the rate and the confirms allow.
//
// All frames of a message are encoded once, into each slot of a ring; later only the time in the body is written anew, and many
// slots go out with one send. The slots go round over the queues that this producer serves.
//
//   ring  | slot 0 | slot 1 | … |        slot: basic.publish, content header, body frames
//              ^ send_slot   ^ stamp_slot
//
// A message's time is that of its stamping; with a rate it is when the message was due, however late it went out, so that a
// broker that stalls shows the whole wait and not that of one message alone (no coordinated omission).
//
// Confirms: times[tag & mask] is the stamp of each open tag, 0 once it is settled; `oldest` is the lowest open tag, so that
// oldest … stamped never spans more than the window.
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "amqp/wire/props.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_run.h"

enum {
    RING_BYTES = 512 * 1024,
    CHUNK_BYTES = 128 * 1024, // stamped ahead of the socket, so that the times stay fresh
    PUMP_SENDS = 8,           // sends a call, before other sockets have their turn
    RING_BYTES_MAX = 256 << 20,
    CLOSE_WAIT_NS = 500000000,
};

struct run_producer {
    struct run_thread *thread;
    uint64_t index;
    struct perf_conn conn;
    ev_io read_io, write_io;
    uint8_t *ring;
    uint32_t *starts; // slot_count + 1 offsets in the ring
    uint32_t *stamps; // offset of each slot's stamp
    size_t slot_count;
    size_t chunk_slots; // stamped and unsent at most
    size_t stamp_slot, send_slot;
    size_t send_part;       // bytes of send_slot that are gone
    uint64_t stamped, sent; // messages
    bool has_stamp;         // bodies are large enough
    double interval_ns;     // 0: no rate
    uint64_t first_due_ns;
    uint64_t next_due_ns; // UINT64_MAX: something else wakes it
    uint64_t *times;
    uint64_t mask;
    uint64_t window; // 0: no confirms
    uint64_t oldest;
    bool is_stopping, is_done, is_failed;
};

static void
fail(struct run_producer *p, const char *why)
{
    p->is_failed = true;
    p->next_due_ns = UINT64_MAX;
    ev_io_stop(p->thread->loop, &p->read_io);
    ev_io_stop(p->thread->loop, &p->write_io);
    run_fail(p->thread->run, "producer", p->index, why);
}

// --- sending ---

static uint64_t
due_of(const struct run_producer *p, uint64_t message)
{
    return p->first_due_ns + (uint64_t)((double)message * p->interval_ns);
}

// How many messages may be stamped now.
static uint64_t
allowed(const struct run_producer *p)
{
    const struct run_config *c = p->thread->run->config;
    uint64_t n = p->chunk_slots - (p->stamped - p->sent);
    if (p->is_stopping)
        return 0;
    if (p->window != 0)
        n = LV_MIN(n, p->window - (p->stamped + 1 - p->oldest));
    if (c->messages != 0)
        n = LV_MIN(n, c->messages - p->stamped);
    return n;
}

static void
stamp(struct run_producer *p)
{
    uint64_t n = allowed(p), now = clock_mono_ns();
    p->next_due_ns = UINT64_MAX;
    for (; n > 0; n--) {
        uint64_t time = now;
        if (p->interval_ns > 0) {
            time = due_of(p, p->stamped);
            if (time > now) {
                p->next_due_ns = time;
                break;
            }
        }
        if (p->has_stamp)
            memcpy(p->ring + p->stamps[p->stamp_slot], &time, sizeof time);
        p->stamped++;
        if (p->window != 0)
            p->times[p->stamped & p->mask] = time;
        if (++p->stamp_slot == p->slot_count)
            p->stamp_slot = 0;
    }
}

// The socket took so many bytes.
static void
advance(struct run_producer *p, size_t bytes)
{
    uint64_t before = p->sent;
    p->send_part += bytes;
    size_t len;
    while (p->sent < p->stamped &&
           p->send_part >= (len = p->starts[p->send_slot + 1] - p->starts[p->send_slot])) {
        p->send_part -= len;
        p->sent++;
        if (++p->send_slot == p->slot_count)
            p->send_slot = 0;
    }
    run_count(&p->thread->counts.published, p->sent - before);
}

// One send of what is stamped, up to the end of the ring: 1 when it took some, 0 when there is no room.
static int
send_some(struct run_producer *p)
{
    size_t from = p->starts[p->send_slot] + p->send_part;
    size_t to = p->stamp_slot > p->send_slot ? p->starts[p->stamp_slot] : p->starts[p->slot_count];
    ssize_t n = send(p->conn.fd, p->ring + from, to - from, MSG_NOSIGNAL);
    if (n > 0) {
        advance(p, (size_t)n);
        return 1;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    // The reason is perhaps still to be read: connection.close comes before the reset.
    if (perf_conn_read(&p->conn) > 0) {
        struct frame f;
        while (perf_conn_frame(&p->conn, &f) == 1 && perf_conn_unasked(&p->conn, &f) == 0)
            continue;
    }
    fail(p, p->conn.error[0] != '\0' ? p->conn.error : "the broker closed the connection without a word");
    return -1;
}

static void
check_done(struct run_producer *p)
{
    const struct run_config *c = p->thread->run->config;
    bool is_all_sent = c->messages != 0 && p->sent == c->messages;
    if (p->is_done || !is_all_sent || (p->window != 0 && p->oldest <= p->stamped))
        return;
    p->is_done = true;
    atomic_store_explicit(&p->thread->counts.last_ns, clock_mono_ns(), memory_order_relaxed);
    atomic_fetch_add_explicit(&p->thread->run->producers_done, 1, memory_order_relaxed);
}

void
run_producer_pump(struct run_producer *p)
{
    bool is_waiting = false; // for the socket
    for (unsigned i = 0; !p->is_failed; i++) {
        stamp(p);
        if (p->sent == p->stamped)
            break;
        int rc = i < PUMP_SENDS ? send_some(p) : 0;
        if (rc < 0)
            return;
        is_waiting = rc == 0;
        if (is_waiting)
            break;
    }
    if (is_waiting != ev_is_active(&p->write_io)) {
        if (is_waiting)
            ev_io_start(p->thread->loop, &p->write_io);
        else
            ev_io_stop(p->thread->loop, &p->write_io);
    }
    check_done(p);
    if (p->next_due_ns != UINT64_MAX)
        run_thread_wake_at(p->thread, p->next_due_ns);
}

uint64_t
run_producer_due(const struct run_producer *p)
{
    return p->next_due_ns;
}

bool
run_producer_is_blocked(const struct run_producer *p)
{
    return p->conn.is_blocked;
}

static void
on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    run_producer_pump(io->data);
}

// --- confirms ---

// How many it settled: 1, or 0 when it was settled before.
static uint64_t
settle_one(struct run_producer *p, uint64_t tag, uint64_t now)
{
    uint64_t *time = &p->times[tag & p->mask];
    if (*time == 0)
        return 0;
    perf_hist_record(p->thread->confirm_hist, now > *time ? now - *time : 0);
    *time = 0;
    return 1;
}

// basic.ack or basic.nack. False when it is about what was never published.
static bool
settle(struct run_producer *p, uint64_t tag, bool is_multiple, bool is_nack, uint64_t now)
{
    if (p->window == 0 || tag == 0 || tag > p->stamped)
        return false;
    if (tag < p->oldest)
        return is_multiple; // a multiple may say again what is known
    uint64_t count = 0;
    for (uint64_t t = is_multiple ? p->oldest : tag; t <= tag; t++)
        count += settle_one(p, t, now);
    while (p->oldest <= p->stamped && p->times[p->oldest & p->mask] == 0)
        p->oldest++;
    run_count(is_nack ? &p->thread->counts.nacked : &p->thread->counts.confirmed, count);
    atomic_store_explicit(&p->thread->counts.last_ns, now, memory_order_relaxed);
    return true;
}

static int
take_frame(struct run_producer *p, const struct frame *f, uint64_t now)
{
    uint32_t id = perf_method_id(f);
    if (id != AMQP_BASIC_ACK && id != AMQP_BASIC_NACK)
        return perf_conn_unasked(&p->conn, f);
    if (f->payload.len != 13)
        return perf_conn_fail(&p->conn, -LE_SYNTAX, "the broker's %s cannot be read", amqp_method_name(id));
    uint64_t tag = wire_get_u64(f->payload.ptr + 4);
    if (!settle(p, tag, f->payload.ptr[12] & 1, id == AMQP_BASIC_NACK, now))
        return perf_conn_fail(
            &p->conn, -LE_STATE, "the broker confirmed number %llu, but open are %llu to %llu",
            (unsigned long long)tag, (unsigned long long)p->oldest, (unsigned long long)p->stamped);
    return 0;
}

static void
on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct run_producer *p = io->data;
    int rc = perf_conn_read(&p->conn);
    uint64_t now = clock_mono_ns();
    struct frame f;
    while (rc >= 0 && (rc = perf_conn_frame(&p->conn, &f)) == 1)
        rc = take_frame(p, &f, now);
    if (rc < 0)
        fail(p, p->conn.error);
    else
        run_producer_pump(p);
}

// --- setting up ---

static void
encode_message(struct buf *b, const struct run_config *c, uint64_t queue, struct slice body,
               uint32_t frame_max)
{
    char name[256];
    struct amqp_basic_publish m = {0};
    struct amqp_basic_props props = {0};
    struct buf encoded = BUF_INIT;
    run_route(c, queue, &m.exchange, &m.routing_key, name);
    if (c->is_persistent) {
        props.flags = AMQP_PROP_DELIVERY_MODE;
        props.delivery_mode = 2;
    }
    amqp_props_encode(&encoded, &props);
    amqp_frame_basic_publish(b, 1, &m);
    frame_append_content_header(b, 1, body.len, buf_slice(&encoded));
    frame_append_body(b, 1, body, frame_max);
    b->failed |= encoded.failed;
    buf_fini(&encoded);
}

// The queues of producer i are i, i + producers, …; more producers than queues share them.
static size_t
queue_count_of(const struct run_config *c, uint64_t index)
{
    if (c->routing_key != NULL || c->producers >= c->queues)
        return 1;
    return (size_t)((c->queues - index - 1) / c->producers + 1);
}

static int
fill_ring(struct run_producer *p)
{
    const struct run_config *c = p->thread->run->config;
    size_t queues = queue_count_of(c, p->index);
    struct buf b = BUF_INIT;
    uint8_t *body = mem_xcalloc(1, c->size + 1);
    memset(body, '.', c->size);
    if (c->size >= RUN_STAMP_SIZE)
        memcpy(body + 8, &p->thread->run->id, 8);
    encode_message(&b, c, p->index % c->queues, slice_of(body, c->size), p->conn.frame_max);
    size_t rounds = LV_MAX((size_t)2, RING_BYTES / LV_MAX(b.len, (size_t)1) / queues);
    size_t first_len = b.len;
    buf_reset(&b);
    p->slot_count = rounds * queues;
    if ((double)p->slot_count * (double)first_len > RING_BYTES_MAX) {
        mem_free(body);
        buf_fini(&b);
        return perf_conn_fail(
            &p->conn, -LE_LIMIT,
            "%zu queues with messages of %llu bytes are too much for one producer: use more "
            "--producers",
            queues, (unsigned long long)c->size);
    }
    p->starts = mem_xcalloc(p->slot_count + 1, sizeof *p->starts);
    p->stamps = mem_xcalloc(p->slot_count, sizeof *p->stamps);
    uint32_t body_at = (uint32_t)(frame_body_size(c->size, p->conn.frame_max) - FRAME_HEADER_SIZE);
    for (size_t i = 0; i < p->slot_count; i++) {
        p->starts[i] = (uint32_t)b.len;
        encode_message(&b, c, (p->index + i % queues * c->producers) % c->queues, slice_of(body, c->size),
                       p->conn.frame_max);
        p->stamps[i] = (uint32_t)b.len - body_at;
    }
    p->starts[p->slot_count] = (uint32_t)b.len;
    mem_free(body);
    if (b.failed) {
        buf_fini(&b);
        return perf_conn_fail(
            &p->conn, -LE_LIMIT,
            "the message cannot be encoded: a name is longer than 255 bytes, or memory is out");
    }
    p->ring = b.ptr; // owned by the producer from here on
    p->chunk_slots = LV_MIN(p->slot_count - 1, LV_MAX((size_t)1, CHUNK_BYTES / first_len));
    p->has_stamp = c->size >= RUN_STAMP_SIZE;
    return 0;
}

static int
select_confirms(struct run_producer *p)
{
    const struct run_config *c = p->thread->run->config;
    union amqp_method m = {.confirm_select = {.nowait = false}};
    p->oldest = 1;
    if (c->confirm == 0)
        return 0;
    size_t cap = 1;
    while (cap < c->confirm + 1)
        cap *= 2;
    p->window = c->confirm;
    p->mask = cap - 1;
    p->times = mem_xcalloc(cap, sizeof *p->times);
    return perf_conn_call(&p->conn, 1, AMQP_CONFIRM_SELECT, &m, NULL);
}

int
run_producer_new(struct run_thread *t, uint64_t index, struct run_producer **ret)
{
    const struct run_config *c = t->run->config;
    struct run_producer *p = mem_xcalloc(1, sizeof *p);
    char name[64];
    snprintf(name, sizeof name, "leveret-perf producer %llu", (unsigned long long)index + 1);
    struct perf_conn_options o = {
        .name = name, .frame_max = c->frame_max, .timeout_s = c->common.timeout_s, .in_cap = 64 * 1024};
    *p = (struct run_producer){.thread = t, .index = index, .next_due_ns = UINT64_MAX};
    int rc = perf_conn_open(&p->conn, &t->run->uris, index, &o);
    if (rc == 0)
        rc = perf_conn_open_channel(&p->conn, 1);
    if (rc == 0)
        rc = select_confirms(p);
    if (rc == 0)
        rc = fill_ring(p);
    if (rc < 0) {
        run_fail(t->run, "producer", index, p->conn.error);
        run_producer_free(p);
        return rc;
    }
    ev_io_init(&p->read_io, on_readable, p->conn.fd, EV_READ);
    ev_io_init(&p->write_io, on_writable, p->conn.fd, EV_WRITE);
    p->read_io.data = p->write_io.data = p;
    *ret = p;
    return 0;
}

void
run_producer_start(struct run_producer *p)
{
    const struct run_config *c = p->thread->run->config;
    if (c->rate > 0) {
        p->interval_ns = 1e9 / c->rate;
        // Not all at the same moment.
        p->first_due_ns =
            clock_mono_ns() + (uint64_t)(p->interval_ns * (double)p->index / (double)c->producers);
    }
    ev_io_start(p->thread->loop, &p->read_io);
    run_producer_pump(p);
}

void
run_producer_stop(struct run_producer *p)
{
    p->is_stopping = true;
    p->next_due_ns = UINT64_MAX;
}

// A message that is half sent has to be ended before connection.close can be said.
static void
close_politely(struct run_producer *p)
{
    uint64_t deadline = clock_mono_ns() + CLOSE_WAIT_NS;
    while (p->sent < p->stamped && !p->is_failed && clock_mono_ns() < deadline) {
        struct pollfd ready = {.fd = p->conn.fd, .events = POLLOUT};
        poll(&ready, 1, 100);
        if (send_some(p) < 0)
            return;
    }
    if (p->sent == p->stamped && !p->is_failed)
        perf_conn_close(&p->conn);
}

void
run_producer_free(struct run_producer *p)
{
    if (p == NULL)
        return;
    if (p->ring != NULL)
        close_politely(p);
    perf_conn_abort(&p->conn);
    mem_free(p->ring);
    mem_free(p->starts);
    mem_free(p->stamps);
    mem_free(p->times);
    mem_free(p);
}
