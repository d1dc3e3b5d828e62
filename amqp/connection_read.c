// connection_read.c: from bytes to frames, and frames to where they belong.
//
// The read buffer is the worker's: a connection keeps only what could not be used: the bytes of an incomplete
// frame, or whole frames when it has to wait (input stopped). The rest of a small incomplete frame is copied
// in front of the next read; a larger one is completed in place by readv, so that no large frame is copied
// more than once.
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/wire/bytes.h"
#include "amqp/wire/erl_text.h"
#include "src/base/err.h"
#include "src/base/mem.h"

// --- protocol errors ---------------------------------------------------------------------------------------

static void
fault_frame(struct fault *f, uint16_t code, uint8_t type, struct slice payload, const char *detail)
{
    struct buf snippet = BUF_INIT;
    wire_print_payload_snippet(&snippet, payload);
    fault_set(f, code, "type %u, %s%s%s", type, buf_cstr(&snippet), detail != NULL ? ": " : "",
              detail != NULL ? detail : "");
    f->is_connection = true;
    buf_fini(&snippet);
}

void
connection_frame_error(struct connection *c, uint8_t type, struct slice payload, const char *what)
{
    struct fault f;
    fault_frame(&f, FAULT_FRAME_ERROR, type, payload, what);
    connection_fault(c, &f, 0);
}

void
connection_unexpected_frame(struct connection *c, uint8_t type, struct slice payload)
{
    struct fault f;
    fault_frame(&f, FAULT_UNEXPECTED_FRAME, type, payload, NULL);
    connection_fault(c, &f, 0);
}

void
connection_bad_arguments(struct connection *c, uint32_t id, struct slice args, int rc)
{
    struct fault f;
    struct buf text = BUF_INIT;
    switch (rc) {
    case -LE_SYNTAX:
        wire_print_erlang_octets(&text, args, 64);
        fault_set(&f, FAULT_FRAME_ERROR, "cannot decode %s", buf_cstr(&text));
        break;
    case -LE_INVAL:
        fault_set(&f, FAULT_FRAME_ERROR, "Malformed UTF-8 in shortstr");
        id = 0;
        break;
    case -LE_LIMIT: fault_set(&f, FAULT_SYNTAX_ERROR, "field table is nested too deeply"); break;
    case -LE_NOTFOUND:
        fault_set(&f, FAULT_COMMAND_INVALID, "unknown method %u.%u", amqp_class_of(id), amqp_method_of(id));
        break;
    default: fault_set(&f, FAULT_SYNTAX_ERROR, "malformed field table"); break;
    }
    f.is_connection = true;
    buf_fini(&text);
    connection_fault(c, &f, id);
}

static void
fatal_too_large(struct connection *c, uint8_t type, uint32_t payload_len)
{
    struct fault f;
    char what[64];
    snprintf(what, sizeof what, "{frame_too_large,%" PRIu32 ",%" PRIu32 "}", payload_len,
             c->payload_max - FRAME_OVERHEAD);
    fault_frame(&f, FAULT_FRAME_ERROR, type, SLICE_EMPTY, what);
    connection_fatal(c, &f);
}

static void
fatal_bad_end(struct connection *c, uint8_t type, struct slice payload, uint8_t end)
{
    struct fault f;
    char what[48];
    snprintf(what, sizeof what, "{invalid_frame_end_marker,%u}", end);
    fault_frame(&f, FAULT_FRAME_ERROR, type, payload, what);
    connection_fatal(c, &f);
}

// --- frames ------------------------------------------------------------------------------------------------

// Whether type and length make sense together: what RabbitMQ calls a known frame.
static bool
is_known_frame(uint8_t type, struct slice payload)
{
    switch (type) {
    case FRAME_METHOD: return payload.len >= 4;
    case FRAME_HEADER: return payload.len >= 12;
    case FRAME_BODY: return true;
    case FRAME_HEARTBEAT: return payload.len == 0;
    default: return false;
    }
}

static void
frame_on_connection(struct connection *c, uint8_t type, struct slice payload)
{
    if (type == FRAME_HEARTBEAT)
        return;
    if (type != FRAME_METHOD) {
        connection_unexpected_frame(c, type, payload);
        return;
    }
    union amqp_method m;
    uint32_t id = wire_get_u32(payload.ptr);
    struct slice args = slice_from(payload, 4);
    int rc = amqp_method_decode(id, args, &m);
    if (rc != 0 && c->state != CONNECTION_CLOSING)
        connection_bad_arguments(c, id, args, rc);
    else if (rc == 0)
        handshake_method(c, id, &m);
}

static void
frame_in(struct connection *c, uint8_t type, uint16_t number, struct slice payload)
{
    if (c->state == CONNECTION_CLOSING) {
        if (number == 0 && type == FRAME_METHOD && payload.len >= 4)
            frame_on_connection(c, type, payload);
        return;
    }
    if (!is_known_frame(type, payload))
        connection_frame_error(c, type, payload, "unknown_frame");
    else if (number == 0)
        frame_on_connection(c, type, payload);
    else if (type == FRAME_HEARTBEAT || c->state != CONNECTION_RUNNING)
        connection_unexpected_frame(c, type, payload);
    else
        channel_frame(c, number, type, payload);
}

static inline bool
goes_on(const struct connection *c)
{
    return !c->is_deaf && !c->is_input_stopped;
}

// Uses up what can be used; returns how much. Stops at an incomplete frame, and when the connection has to
// wait or ends.
static size_t
parse(struct connection *c, const uint8_t *data, size_t len)
{
    size_t done = 0;
    while (goes_on(c)) {
        const uint8_t *p = data + done;
        size_t left = len - done;
        if (LV_UNLIKELY(c->state == CONNECTION_HEADER)) {
            size_t used = handshake_header(c, p, left);
            done += used;
            if (used == 0)
                break;
            continue;
        }
        if (left < FRAME_HEADER_SIZE)
            break;
        uint32_t payload_len = wire_get_u32(p + 3);
        if (LV_UNLIKELY(payload_len > c->payload_max)) {
            fatal_too_large(c, p[0], payload_len);
            break;
        }
        size_t size = (size_t)payload_len + FRAME_OVERHEAD;
        if (left < size)
            break;
        struct slice payload = slice_of(p + FRAME_HEADER_SIZE, payload_len);
        if (LV_UNLIKELY(p[size - 1] != FRAME_END)) {
            fatal_bad_end(c, p[0], payload, p[size - 1]);
            break;
        }
        if (LV_LIKELY(p[0] == FRAME_METHOD && payload_len > 4 &&
                      wire_get_u32(payload.ptr) == AMQP_BASIC_PUBLISH)) {
            size_t used = publish_fast(c, p, left);
            if (LV_LIKELY(used > 0)) {
                done += used;
                continue;
            }
        }
        frame_in(c, p[0], wire_get_u16(p + 1), payload);
        done += size;
        if (LV_UNLIKELY(connection_is_output_full(c)))
            connection_check_input(c);
    }
    return done;
}

// --- what is kept for later --------------------------------------------------------------------------------

// Bytes of the frame at the front; 0 when its header is not all there.
static size_t
front_size(const struct input *in)
{
    return in->len < FRAME_HEADER_SIZE ? 0 : (size_t)wire_get_u32(in->ptr + 3) + FRAME_OVERHEAD;
}

static void
input_clear(struct connection *c)
{
    mem_free(c->in.ptr);
    c->in = (struct input){0};
    c->has_kept_frames = false;
}

static bool
input_reserve(struct connection *c, size_t cap)
{
    struct input *in = &c->in;
    if (cap <= in->cap)
        return true;
    uint8_t *ptr = cap > UINT32_MAX ? NULL : mem_realloc(in->ptr, cap);
    if (ptr == NULL) {
        connection_kill(c, "out of memory");
        return false;
    }
    in->ptr = ptr;
    in->cap = (uint32_t)cap;
    return true;
}

// What is left in `in` is to be completed by the next read: room for the whole frame when it will be
// completed in place.
static void
input_fit(struct connection *c)
{
    struct input *in = &c->in;
    c->has_kept_frames = in->len > 0 && c->is_input_stopped;
    if (in->len == 0 || c->is_deaf)
        input_clear(c);
    else if (!c->is_input_stopped && in->len > SMALL_REST_BYTES)
        (void)input_reserve(c, front_size(in)); // bounded by payload_max: parse has looked at it
}

static void
input_keep(struct connection *c, const uint8_t *data, size_t len)
{
    if (len > 0 && !c->is_deaf) {
        if (!input_reserve(c, c->in.len + len))
            return;
        memcpy(c->in.ptr + c->in.len, data, len);
        c->in.len += (uint32_t)len;
    }
    input_fit(c);
}

static void
input_drop_front(struct connection *c, size_t len)
{
    struct input *in = &c->in;
    in->len -= (uint32_t)len;
    if (in->len > 0 && len > 0)
        memmove(in->ptr, in->ptr + len, in->len);
}

static void
parse_kept(struct connection *c)
{
    size_t used = parse(c, c->in.ptr, c->in.len);
    input_drop_front(c, used);
    input_fit(c);
}

// --- reading -----------------------------------------------------------------------------------------------

static void
on_end_of_input(struct connection *c, ssize_t rc)
{
    if (rc == -LE_AGAIN)
        return;
    c->is_at_end = true;
    bool never_spoke = c->state == CONNECTION_HEADER && c->recv_oct == 0; // health checks of load balancers
    connection_kill(c, never_spoke ? NULL : "client unexpectedly closed TCP connection");
}

static void
count_read(struct connection *c, size_t n)
{
    struct worker *w = c->aw->worker;
    c->recv_oct += n;
    c->recv_cnt++;
    c->last_recv_ns = w->now_ns;
    if (c->read_turn != w->turn) {
        c->read_turn = w->turn;
        c->read_turn_bytes = 0;
    }
    c->read_turn_bytes += (uint32_t)n;
    count_u64(&c->aw->received_bytes, n);
}

// Returns whether the socket may have more.
static bool
read_behind_small_rest(struct connection *c)
{
    uint8_t *buffer = c->aw->read_buffer;
    size_t rest = c->in.len;
    struct iovec iov = {.iov_base = buffer + rest, .iov_len = READ_BYTES};
    ssize_t n = c->transport->ops->read(c->transport, &iov, 1);
    if (n <= 0) {
        on_end_of_input(c, n);
        return false;
    }
    count_read(c, (size_t)n);
    if (rest > 0)
        memcpy(buffer, c->in.ptr, rest);
    c->in.len = 0;
    size_t len = rest + (size_t)n;
    size_t used = parse(c, buffer, len);
    input_keep(c, buffer + used, len - used);
    return n == READ_BYTES;
}

static bool
read_into_large_frame(struct connection *c)
{
    struct input *in = &c->in;
    size_t missing = front_size(in) - in->len;
    LV_ASSERT(in->cap >= in->len + missing && missing > 0);
    struct iovec iov[2] = {{.iov_base = in->ptr + in->len, .iov_len = missing},
                           {.iov_base = c->aw->read_buffer, .iov_len = READ_BYTES}};
    ssize_t n = c->transport->ops->read(c->transport, iov, 2);
    if (n <= 0) {
        on_end_of_input(c, n);
        return false;
    }
    count_read(c, (size_t)n);
    size_t first = LV_MIN((size_t)n, missing);
    size_t more = (size_t)n - first;
    in->len += (uint32_t)first;
    if (first < missing)
        return false;
    size_t used = parse(c, in->ptr, in->len);
    input_drop_front(c, used);
    if (in->len == 0) {
        used = parse(c, c->aw->read_buffer, more);
        input_keep(c, c->aw->read_buffer + used, more - used);
    } else {
        input_keep(c, c->aw->read_buffer, more);
    }
    return (size_t)n == missing + READ_BYTES;
}

// Reads and drops: what comes after the end is of no interest, but left unread it would make the kernel send
// a reset.
static void
discard(struct connection *c)
{
    struct iovec iov = {.iov_base = c->aw->read_buffer, .iov_len = READ_BYTES};
    ssize_t n = c->transport->ops->read(c->transport, &iov, 1);
    if (n > 0) {
        count_read(c, (size_t)n);
        return;
    }
    if (n == -LE_AGAIN)
        return;
    c->is_at_end = true;
    if (c->state == CONNECTION_LINGERING || n < 0)
        connection_kill(c, NULL);
    else
        connection_update_want(c); // it still gets what it is to get
}

void
connection_visit(struct connection *c)
{
    if (c->state == CONNECTION_DEAD || c->transport == NULL || c->is_at_end)
        return;
    if (c->is_deaf) {
        input_clear(c);
        discard(c);
        return;
    }
    if (c->client != NULL)
        c->is_must_wait = client_must_wait(c->client);
    if (c->has_kept_frames)
        parse_kept(c);
    if (!goes_on(c) || c->has_kept_frames)
        return;
    bool has_more = c->in.len <= SMALL_REST_BYTES ? read_behind_small_rest(c) : read_into_large_frame(c);
    if (has_more && goes_on(c) && !list_is_linked(&c->read_node))
        list_push_back(&c->aw->readable, &c->read_node);
}
