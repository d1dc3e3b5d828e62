// frame.c: see frame.h. Parsing looks at the header first, so that a frame above the limit is refused before
// any of its payload is waited for, and the end octet last.
#include "amqp/wire/frame.h"

#include "amqp/wire/bytes.h"
#include "src/base/err.h"

enum {
    CLASS_BASIC = 60,
    CONTENT_FIXED_SIZE = 12, // class, weight, body size
};

enum frame_result
frame_parse(const uint8_t *data, size_t avail, uint32_t payload_max, struct frame *ret)
{
    *ret = (struct frame){.end = FRAME_END};
    if (avail < FRAME_HEADER_SIZE)
        return FRAME_MORE;
    ret->type = wire_get_u8(data);
    ret->channel = wire_get_u16(data + 1);
    ret->payload_len = wire_get_u32(data + 3);
    ret->size = (size_t)ret->payload_len + FRAME_OVERHEAD;
    if (ret->payload_len > payload_max)
        return FRAME_TOO_LARGE;
    if (avail < ret->size)
        return FRAME_MORE;
    ret->payload = slice_of(data + FRAME_HEADER_SIZE, ret->payload_len);
    ret->end = data[ret->size - 1];
    return LV_LIKELY(ret->end == FRAME_END) ? FRAME_OK : FRAME_BAD_END;
}

size_t
frame_begin(struct buf *buf, uint8_t type, uint16_t channel)
{
    size_t offset = buf->len;
    buf_append_u8(buf, type);
    buf_append_u16be(buf, channel);
    buf_append_u32be(buf, 0); // patched by frame_end
    return offset;
}

void
frame_end(struct buf *buf, size_t offset)
{
    if (buf->failed)
        return;
    LV_ASSERT(offset + FRAME_HEADER_SIZE <= buf->len);
    size_t payload_len = buf->len - offset - FRAME_HEADER_SIZE;
    if (payload_len > UINT32_MAX) {
        buf->failed = true;
        return;
    }
    wire_put_u32(buf->ptr + offset + 3, (uint32_t)payload_len);
    buf_append_u8(buf, FRAME_END);
}

uint8_t *
frame_put_header(uint8_t *p, uint8_t type, uint16_t channel, uint32_t payload_len)
{
    return wire_put_u32(wire_put_u16(wire_put_u8(p, type), channel), payload_len);
}

void
frame_append_heartbeat(struct buf *buf)
{
    frame_end(buf, frame_begin(buf, FRAME_HEARTBEAT, 0));
}

void
frame_append_content_header(struct buf *buf, uint16_t channel, uint64_t body_size, struct slice props)
{
    if (props.len > UINT32_MAX - CONTENT_FIXED_SIZE || buf->failed ||
        !buf_reserve(buf, FRAME_OVERHEAD + CONTENT_FIXED_SIZE + props.len)) {
        buf->failed = true;
        return;
    }
    uint8_t *p = buf->ptr + buf->len;
    p = frame_put_header(p, FRAME_HEADER, channel, (uint32_t)(CONTENT_FIXED_SIZE + props.len));
    p = wire_put_u16(p, CLASS_BASIC);
    p = wire_put_u16(p, 0); // weight
    p = wire_put_u64(p, body_size);
    p = wire_put_bytes(p, props);
    p = wire_put_u8(p, FRAME_END);
    buf->len = (size_t)(p - buf->ptr);
    LV_ASSERT_HOT(buf->len <= buf->cap);
}

static size_t
body_payload_max(uint32_t frame_max)
{
    LV_ASSERT(frame_max == 0 || frame_max > FRAME_OVERHEAD);
    return frame_max == 0 ? UINT32_MAX : frame_max - FRAME_OVERHEAD;
}

size_t
frame_body_size(size_t body_len, uint32_t frame_max)
{
    size_t payload_max = body_payload_max(frame_max);
    size_t frames = body_len / payload_max + (body_len % payload_max != 0);
    return body_len + frames * FRAME_OVERHEAD;
}

void
frame_append_body(struct buf *buf, uint16_t channel, struct slice body, uint32_t frame_max)
{
    size_t payload_max = body_payload_max(frame_max);
    if (body.len == 0 || buf->failed || !buf_reserve(buf, frame_body_size(body.len, frame_max)))
        return;
    uint8_t *p = buf->ptr + buf->len;
    while (body.len != 0) {
        struct slice part = slice_head(body, LV_MIN(body.len, payload_max));
        p = frame_put_header(p, FRAME_BODY, channel, (uint32_t)part.len);
        p = wire_put_bytes(p, part);
        p = wire_put_u8(p, FRAME_END);
        body = slice_from(body, part.len);
    }
    buf->len = (size_t)(p - buf->ptr);
    LV_ASSERT_HOT(buf->len <= buf->cap);
}

int
content_header_decode(struct slice payload, struct content_header *ret)
{
    if (payload.len < CONTENT_FIXED_SIZE)
        return -LE_SYNTAX;
    ret->class_id = wire_get_u16(payload.ptr);
    ret->body_size = wire_get_u64(payload.ptr + 4); // after the weight
    ret->props = slice_from(payload, CONTENT_FIXED_SIZE);
    return 0;
}

struct slice
protocol_header(void)
{
    return SLICE_LIT("AMQP\x00\x00\x09\x01");
}

enum protocol_version
protocol_header_parse(const uint8_t *data, size_t avail)
{
    if (avail == 0)
        return PROTOCOL_MORE;
    if (memcmp(data, "AMQP", LV_MIN(avail, (size_t)4)) != 0)
        return PROTOCOL_NOT_AMQP;
    if (avail < PROTOCOL_HEADER_SIZE)
        return PROTOCOL_MORE;
    switch (wire_get_u32(data + 4)) {
    case 0x00000901: return PROTOCOL_0_9_1;
    case 0x01010009: return PROTOCOL_0_9;
    case 0x01010800:
    case 0x01010901: return PROTOCOL_0_8;
    case 0x00010000:
    case 0x02010000:
    case 0x03010000: return PROTOCOL_1_0;
    default: return PROTOCOL_UNKNOWN;
    }
}
