// perf_conn.h: one client connection: connect and log in, send, receive frames. The socket never blocks; calls that wait
// (open, call, wait, flush, close) poll it with a deadline. One thread at a time.
//
// Failures are told in `error`, a line for a person ("ACCESS_REFUSED - …" as the broker said it), and the number returned.
// Invariant: 0 <= in_start <= in_end <= in_cap; frames handed out point into `in` and hold until the next read.
#pragma once

#include "amqp/wire/bytes.h"
#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "src/base/buf.h"
#include "src/cli/perf_uri.h"

enum {
    PERF_CONN_ERROR_MAX = 512,
    PERF_CONN_IN_MIN = 16384, // bytes; the input of a connection that receives little
};

struct perf_conn_options {
    const char *name;     // connection_name among the client properties
    uint64_t frame_max;   // largest frame that we accept, bytes
    uint16_t heartbeat_s; // 0: none
    double timeout_s;     // for each answer
    size_t in_cap;        // bytes of the input buffer: a larger frame is refused
};

struct perf_conn {
    int fd;          // -1: closed
    struct buf out;  // encoded, not yet sent
    size_t out_sent; // of it, bytes that the socket took
    uint8_t *in;     // what came and was not looked at lies from in_start to in_end
    size_t in_cap, in_start, in_end;
    uint32_t frame_max;      // negotiated, bytes
    uint16_t channel_max;    // negotiated
    uint16_t heartbeat_s;    // negotiated
    uint64_t timeout_ns;     // for each answer
    bool is_blocked;         // the broker said connection.blocked
    uint16_t closed_channel; // after -LE_CLOSED: the channel it was, 0: the connection
    uint16_t closed_code;    // its reply code; 0: the socket just ended
    char error[PERF_CONN_ERROR_MAX];
};

#define PERF_CONN_INIT ((struct perf_conn){.fd = -1})

// Connects to one of the URIs, beginning with `first` and going on to the next when a node does not answer; opens no channel.
LV_MUST_USE int perf_conn_open(struct perf_conn *c, const struct perf_uris *uris, size_t first,
                               const struct perf_conn_options *options);
// Says connection.close and waits for the answer, at most a second or two; then as perf_conn_abort.
void perf_conn_close(struct perf_conn *c);
// Closes the socket and frees the buffers; harmless on a closed one. The error stays.
void perf_conn_abort(struct perf_conn *c);

// Sends all of `out`, waiting for room.
LV_MUST_USE int perf_conn_flush(struct perf_conn *c);
// Sends what the socket takes now: 0 when all is gone, 1 when something is left.
LV_MUST_USE int perf_conn_send(struct perf_conn *c);
// One read: bytes, 0 when there is nothing now, or no room until a frame is taken. Makes room first: frames handed out
// earlier are void.
LV_MUST_USE int perf_conn_read(struct perf_conn *c);
// Waits until there is something to read: 1, or 0 after timeout_s.
int perf_conn_poll(struct perf_conn *c, double timeout_s);
// The next whole frame of what was read: 1, or 0 when there is none.
LV_MUST_USE int perf_conn_frame(struct perf_conn *c, struct frame *ret);

// Flushes, then takes frames until that method comes on that channel. ret may be NULL.
LV_MUST_USE int perf_conn_wait(struct perf_conn *c, uint16_t channel, uint32_t id, union amqp_method *ret);
// Sends a method and waits for its first possible answer.
LV_MUST_USE int perf_conn_call(struct perf_conn *c, uint16_t channel, uint32_t id, const union amqp_method *m,
                               union amqp_method *ret);
LV_MUST_USE int perf_conn_open_channel(struct perf_conn *c, uint16_t channel);

// For whoever reads frames itself: takes what comes unasked (heartbeats, blocked, close, cancel, channel.flow). 0: taken;
// an error: the connection or the channel is gone, or nobody knows the frame.
LV_MUST_USE int perf_conn_unasked(struct perf_conn *c, const struct frame *f);
// Sets the error: format, then returns `code`.
int perf_conn_fail(struct perf_conn *c, int code, const char *fmt, ...) LV_PRINTF(3, 4);

// The method's id of a method frame; 0 of any other.
static inline uint32_t
perf_method_id(const struct frame *f)
{
    return f->type == FRAME_METHOD && f->payload.len >= 4 ? wire_get_u32(f->payload.ptr) : 0;
}
