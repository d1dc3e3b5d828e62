// frame.h: frames and the protocol header: parsing what came in, writing what goes out.
//
//   0      1         3             7                    7+size
//   | type | channel | size (u32)  | payload …          | 0xCE |     big-endian; AMQP 0-9-1 §4.2.2
//
// The parser does not judge types and channels: RabbitMQ answers wrong ones only once the frame is whole. Any
// thread; a frame's payload points into the bytes that were parsed.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

enum {
    FRAME_METHOD = 1,
    FRAME_HEADER = 2,
    FRAME_BODY = 3,
    FRAME_HEARTBEAT = 8,

    FRAME_END = 0xCE,      // last byte of each frame
    FRAME_HEADER_SIZE = 7, // bytes before the payload
    FRAME_OVERHEAD = 8,    // bytes that are not payload: frame_max - FRAME_OVERHEAD is the largest payload
    FRAME_MIN_SIZE = 4096, // the smallest frame_max that may be negotiated
};

struct frame {
    uint8_t type;         // FRAME_xxx, or what came instead
    uint16_t channel;     // 0: the connection
    uint32_t payload_len; // bytes, as the header says
    struct slice payload; // empty unless FRAME_OK or FRAME_BAD_END
    size_t size;          // bytes of the whole frame: drop so many from the input
    uint8_t end;          // the end octet that was found: FRAME_END unless FRAME_BAD_END
};

enum frame_result {
    FRAME_OK,        // ret is complete
    FRAME_MORE,      // not all there; when the header is, ret->size says how much is needed, else it is 0
    FRAME_TOO_LARGE, // payload_len is above the limit: {frame_too_large,payload_len,payload_max}
    FRAME_BAD_END,   // the end octet is wrong: {invalid_frame_end_marker,end}
};

// Looks at the front of `avail` bytes. payload_max: the negotiated frame_max less FRAME_OVERHEAD; UINT32_MAX
// for no limit.
enum frame_result frame_parse(const uint8_t *data, size_t avail, uint32_t payload_max, struct frame *ret);

// --- writing: errors stick in buf->failed ---

// Starts a frame at the end of buf and returns its offset there; the payload is whatever is appended before
// frame_end.
size_t frame_begin(struct buf *buf, uint8_t type, uint16_t channel);
void frame_end(struct buf *buf, size_t offset);

// Writes the 7 bytes in front of a payload, and returns the place after them: for body frames whose payload
// is sent by reference. The FRAME_END after the payload is the caller's.
uint8_t *frame_put_header(uint8_t *p, uint8_t type, uint16_t channel, uint32_t payload_len);

void frame_append_heartbeat(struct buf *buf);
// A content header frame of class 60. props: flags and list as amqp_props_encode writes them.
void frame_append_content_header(struct buf *buf, uint16_t channel, uint64_t body_size, struct slice props);
// The body as so many frames as frame_max (0: no limit) asks for; none for an empty body.
void frame_append_body(struct buf *buf, uint16_t channel, struct slice body, uint32_t frame_max);
// How many bytes frame_append_body writes.
size_t frame_body_size(size_t body_len, uint32_t frame_max);

// --- content header payload: class, weight (ignored), body size, properties; §4.2.6.1 ---

struct content_header {
    uint16_t class_id;  // 60 is the only class with content
    uint64_t body_size; // bytes of all body frames together
    struct slice props; // flags and list, for amqp_props_decode
};

// -LE_SYNTAX: shorter than its fixed part.
LV_MUST_USE int content_header_decode(struct slice payload, struct content_header *ret);

// --- protocol header: the first 8 bytes of a connection ---

#define PROTOCOL_HEADER_SIZE 8

enum protocol_version {
    PROTOCOL_MORE,    // fewer than 8 bytes, and so far they could become one
    PROTOCOL_0_9_1,   // AMQP 0 0 9 1
    PROTOCOL_0_9,     // AMQP 1 1 0 9: may be served as 0-9-1
    PROTOCOL_0_8,     // AMQP 1 1 8 0 or AMQP 1 1 9 1
    PROTOCOL_1_0,     // AMQP 0|2|3 1 0 0: plain, TLS, SASL
    PROTOCOL_UNKNOWN, // "AMQP" and another version
    PROTOCOL_NOT_AMQP // does not begin with "AMQP": a TLS hello, HTTP, noise
};

enum protocol_version protocol_header_parse(const uint8_t *data, size_t avail);
// AMQP 0 0 9 1: what a client begins with, and a server's answer to a version it does not speak.
struct slice protocol_header(void);
