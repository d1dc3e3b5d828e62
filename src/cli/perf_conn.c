// perf_conn.c: socket and frames. The log-in is in perf_conn_login.c.
#include "src/cli/perf_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"

enum { CLOSE_WAIT_MS = 2000 };

int
perf_conn_fail(struct perf_conn *c, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    return code;
}

static int
fail_errno(struct perf_conn *c, const char *doing)
{
    if (errno == ECONNRESET || errno == EPIPE)
        return perf_conn_fail(c, -LE_CLOSED, "the broker closed the connection without a word");
    return perf_conn_fail(c, -LE_NETWORK, "%s: %s", doing, strerror(errno));
}

void
perf_conn_abort(struct perf_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_fini(&c->out);
    mem_free(c->in);
    c->in = NULL;
    c->in_cap = c->in_start = c->in_end = c->out_sent = 0;
}

int
perf_conn_poll(struct perf_conn *c, double timeout_s)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    return poll(&p, 1, (int)(timeout_s * 1000)) > 0;
}

int
perf_conn_send(struct perf_conn *c)
{
    if (c->out.failed)
        return perf_conn_fail(c, -LE_NOMEM, "out of memory, or a name is too long");
    while (c->out_sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return 1;
        if (n < 0 && errno != EINTR)
            return fail_errno(c, "sending");
        c->out_sent += n > 0 ? (size_t)n : 0;
    }
    buf_reset(&c->out);
    c->out_sent = 0;
    return 0;
}

// Waits until the socket is ready for one of the events, or the deadline has passed.
static int
wait_ready(struct perf_conn *c, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = clock_mono_ns();
        struct pollfd p = {.fd = c->fd, .events = events};
        int rc = now < deadline_ns ? poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1) : 0;
        if (rc > 0)
            return 0;
        if (rc == 0 && clock_mono_ns() >= deadline_ns)
            return perf_conn_fail(c, -LE_TIMEOUT, "no answer within %.0f s", (double)c->timeout_ns / 1e9);
        if (rc < 0 && errno != EINTR)
            return fail_errno(c, "waiting");
    }
}

int
perf_conn_flush(struct perf_conn *c)
{
    int rc;
    uint64_t deadline = clock_mono_ns() + c->timeout_ns;
    while ((rc = perf_conn_send(c)) == 1) {
        rc = wait_ready(c, POLLOUT, deadline);
        if (rc < 0)
            return rc;
    }
    return rc;
}

int
perf_conn_read(struct perf_conn *c)
{
    if (c->in_start == c->in_end) {
        c->in_start = c->in_end = 0;
    } else if (c->in_start > 0) {
        memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    if (c->in_end == c->in_cap)
        return 0; // full: it holds a whole frame, to be taken first
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->in_end, c->in_cap - c->in_end, 0);
        if (n > 0) {
            c->in_end += (size_t)n;
            return (int)n;
        }
        if (n == 0)
            return perf_conn_fail(c, -LE_CLOSED, "the broker closed the connection without a word");
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return fail_errno(c, "receiving");
    }
}

int
perf_conn_frame(struct perf_conn *c, struct frame *ret)
{
    uint32_t payload_max = (uint32_t)LV_MIN((size_t)c->frame_max, c->in_cap) - FRAME_OVERHEAD;
    switch (frame_parse(c->in + c->in_start, c->in_end - c->in_start, payload_max, ret)) {
    case FRAME_OK: c->in_start += ret->size; return 1;
    case FRAME_MORE: return 0;
    case FRAME_TOO_LARGE:
        return perf_conn_fail(c, -LE_SYNTAX, "the broker sent a frame of %u bytes, above the negotiated size",
                              ret->payload_len);
    default: return perf_conn_fail(c, -LE_SYNTAX, "the broker sent a frame that does not end with 206");
    }
}

// connection.close and channel.close hold the same arguments.
static int
fail_closed(struct perf_conn *c, uint16_t channel, struct slice args)
{
    const char *what = channel == 0 ? "connection" : "channel";
    struct amqp_connection_close m;
    if (amqp_decode_connection_close(args, &m) < 0)
        return perf_conn_fail(c, -LE_SYNTAX, "the broker closed the %s in a way nobody can read", what);
    c->closed_channel = channel;
    c->closed_code = m.reply_code;
    return perf_conn_fail(c, -LE_CLOSED, "the broker closed the %s: %u %.*s", what, m.reply_code,
                          SLICE_FMT(m.reply_text));
}

int
perf_conn_unasked(struct perf_conn *c, const struct frame *f)
{
    struct slice args = f->payload.len >= 4 ? slice_from(f->payload, 4) : SLICE_EMPTY;
    if (f->type == FRAME_HEARTBEAT)
        return 0;
    switch (perf_method_id(f)) {
    case AMQP_CONNECTION_BLOCKED: c->is_blocked = true; return 0;
    case AMQP_CONNECTION_UNBLOCKED: c->is_blocked = false; return 0;
    case AMQP_CONNECTION_CLOSE:
        amqp_frame_connection_close_ok(&c->out, 0);
        if (perf_conn_send(c) < 0)
            buf_reset(&c->out); // it closes either way
        return fail_closed(c, 0, args);
    case AMQP_CHANNEL_CLOSE: return fail_closed(c, f->channel, args);
    case AMQP_BASIC_CANCEL:
        return perf_conn_fail(c, -LE_CLOSED, "the broker cancelled a consumer: its queue is gone");
    case AMQP_CHANNEL_FLOW: {
        struct amqp_channel_flow m;
        if (amqp_decode_channel_flow(args, &m) < 0)
            break;
        amqp_frame_channel_flow_ok(&c->out, f->channel, &(struct amqp_channel_flow_ok){.active = m.active});
        return 0;
    }
    default: break;
    }
    if (f->type == FRAME_METHOD)
        return perf_conn_fail(c, -LE_SYNTAX, "the broker sent %s, which nobody expected",
                              amqp_method_name(perf_method_id(f)));
    return perf_conn_fail(c, -LE_SYNTAX, "the broker sent a frame of type %u, which nobody expected",
                          f->type);
}

int
perf_conn_wait(struct perf_conn *c, uint16_t channel, uint32_t id, union amqp_method *ret)
{
    uint64_t deadline = clock_mono_ns() + c->timeout_ns;
    int rc = perf_conn_flush(c);
    struct frame f;
    while (rc >= 0) {
        rc = perf_conn_frame(c, &f);
        if (rc == 0) {
            rc = perf_conn_read(c);
            if (rc == 0)
                rc = wait_ready(c, POLLIN, deadline);
            continue;
        }
        if (rc < 0)
            break;
        if (f.channel != channel || perf_method_id(&f) != id) {
            rc = perf_conn_unasked(c, &f);
            continue;
        }
        union amqp_method m;
        rc = amqp_method_decode(id, slice_from(f.payload, 4), ret != NULL ? ret : &m);
        if (rc < 0)
            return perf_conn_fail(c, rc, "the broker's %s cannot be read: %s", amqp_method_name(id),
                                  err_text(rc));
        return 0;
    }
    return rc;
}

int
perf_conn_call(struct perf_conn *c, uint16_t channel, uint32_t id, const union amqp_method *m,
               union amqp_method *ret)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    LV_ASSERT(info != NULL && info->answers[0] != 0);
    amqp_method_frame(&c->out, channel, id, m);
    return perf_conn_wait(c, channel, info->answers[0], ret);
}

int
perf_conn_open_channel(struct perf_conn *c, uint16_t channel)
{
    if (channel > c->channel_max)
        return perf_conn_fail(c, -LE_LIMIT, "the broker allows %u channels a connection", c->channel_max);
    return perf_conn_call(c, channel, AMQP_CHANNEL_OPEN, &(union amqp_method){0}, NULL);
}

void
perf_conn_close(struct perf_conn *c)
{
    if (c->fd < 0)
        return;
    uint64_t deadline = clock_mono_ns() + CLOSE_WAIT_MS * UINT64_C(1000000);
    amqp_frame_connection_close(
        &c->out, 0, &(struct amqp_connection_close){.reply_code = 200, .reply_text = SLICE_LIT("goodbye")});
    int rc = 0;
    // Deliveries on their way have to be read before the answer: take whatever comes.
    while (rc >= 0 && clock_mono_ns() < deadline) {
        struct frame f;
        rc = perf_conn_send(c);
        if (rc < 0)
            break;
        struct pollfd p = {.fd = c->fd, .events = (short)(POLLIN | (rc == 1 ? POLLOUT : 0))};
        poll(&p, 1, 100);
        rc = perf_conn_read(c);
        while (rc >= 0 && (rc = perf_conn_frame(c, &f)) == 1)
            if (perf_method_id(&f) == AMQP_CONNECTION_CLOSE_OK)
                rc = -LE_CLOSED;
    }
    perf_conn_abort(c);
}
