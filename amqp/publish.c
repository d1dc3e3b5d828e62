// publish.c: basic.publish: from a method frame, a header frame and body frames to one message (AMQP 0-9-1
// §4.2.6).
//
// Happy path, taken by nearly everything: all frames are in the buffer and the body is one frame:
// publish_fast looks at the bytes where they lie, makes the message with one allocation and hands it on.
// Anything unusual or wrong is left to the other path, which goes frame by frame and knows the errors; the
// two mean the same.
//
// Memory: a body is announced in the header. It gets its memory at once up to CONTENT_AHEAD_BYTES a
// connection; what is announced beyond that grows by doubling as it arrives, so that announcing costs a
// client more than it costs us.
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/wire/bytes.h"
#include "src/base/bug.h"
#include "src/base/mem.h"

enum { ARGS_FIXED = 2 + 1 + 1 + 1 }; // ticket, two lengths, bits
enum { CONTENT_FIXED = 12, CONTENT_FIXED_AND_FLAGS = 14 };
enum { PUBLISH_MANDATORY = 1, PUBLISH_IMMEDIATE = 2 };
// LIMIT: what a body starts with when it does not get all its memory at once.
enum { CONTENT_FIRST_BYTES = 64 * 1024 };

static void
publish_now(struct channel *ch, struct message *msg, const struct amqp_basic_props *props, bool is_mandatory)
{
    struct fault f;
    if (LV_UNLIKELY(!session_publish(ch->session, msg, props, is_mandatory, &f)))
        channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
}

// --- the fast path -----------------------------------------------------------------------------------------

struct publish_view {
    struct slice exchange, key, props, body;
    size_t size; // bytes of all its frames
    bool is_mandatory;
};

// Method frame: its type, end and id have been looked at. False: leave it to the other path.
static inline bool
view_method(const uint8_t *p, uint32_t payload_len, struct publish_view *v)
{
    uint32_t args_len = payload_len - 4;
    const uint8_t *args = p + FRAME_HEADER_SIZE + 4;
    if (args_len < ARGS_FIXED)
        return false;
    uint32_t exchange_len = args[2];
    if (args_len < ARGS_FIXED + exchange_len)
        return false;
    uint32_t key_len = args[3 + exchange_len];
    if (args_len != ARGS_FIXED + exchange_len + key_len)
        return false;
    v->exchange = slice_of(args + 3, exchange_len);
    v->key = slice_of(args + 4 + exchange_len, key_len);
    uint8_t bits = args[args_len - 1];
    v->is_mandatory = (bits & PUBLISH_MANDATORY) != 0;
    return (bits & PUBLISH_IMMEDIATE) == 0;
}

// Header frame at p, and the body frame behind it.
static inline bool
view_content(const struct connection *c, const uint8_t *p, const uint8_t *end, uint16_t number,
             struct publish_view *v)
{
    if ((size_t)(end - p) < FRAME_OVERHEAD + CONTENT_FIXED_AND_FLAGS || p[0] != FRAME_HEADER ||
        wire_get_u16(p + 1) != number)
        return false;
    uint32_t header_len = wire_get_u32(p + 3);
    if (header_len < CONTENT_FIXED_AND_FLAGS || header_len > c->payload_max ||
        (size_t)(end - p) < header_len + FRAME_OVERHEAD)
        return false;
    const uint8_t *h = p + FRAME_HEADER_SIZE;
    uint64_t body_size = wire_get_u64(h + 4);
    if (h[header_len] != FRAME_END || wire_get_u16(h) != amqp_class_of(AMQP_BASIC_PUBLISH) ||
        body_size > c->aw->config->max_message_size)
        return false;
    v->props = slice_of(h + CONTENT_FIXED, header_len - CONTENT_FIXED);
    p = h + header_len + 1;
    v->body = SLICE_EMPTY;
    v->size += header_len + FRAME_OVERHEAD;
    if (body_size == 0)
        return true;
    if ((size_t)(end - p) < body_size + FRAME_OVERHEAD || p[0] != FRAME_BODY ||
        wire_get_u16(p + 1) != number || wire_get_u32(p + 3) != body_size || body_size > c->payload_max ||
        p[FRAME_HEADER_SIZE + body_size] != FRAME_END)
        return false;
    v->body = slice_of(p + FRAME_HEADER_SIZE, body_size);
    v->size += body_size + FRAME_OVERHEAD;
    return true;
}

size_t
publish_fast(struct connection *c, const uint8_t *data, size_t len)
{
    uint16_t number = wire_get_u16(data + 1);
    struct channel *ch = c->last_channel;
    if (LV_UNLIKELY(ch == NULL || ch->number != number)) {
        ch = channel_find(c, number);
        if (ch == NULL)
            return 0;
    }
    if (LV_UNLIKELY(ch->is_busy || ch->state != CHANNEL_OPEN || ch->content != NULL || c->is_must_wait ||
                    c->state != CONNECTION_RUNNING))
        return 0;
    uint32_t payload_len = wire_get_u32(data + 3);
    struct publish_view v = {.size = payload_len + FRAME_OVERHEAD};
    if (!view_method(data, payload_len, &v) || !view_content(c, data + v.size, data + len, number, &v))
        return 0;
    static const struct amqp_basic_props none;
    struct amqp_basic_props decoded;
    const struct amqp_basic_props *props = &none;
    if (v.props.len != sizeof(uint16_t) || wire_get_u16(v.props.ptr) != 0) {
        if (amqp_props_decode(v.props, &decoded) != 0)
            return 0;
        props = &decoded;
    }
    struct message *msg = message_new(v.exchange, v.key, v.props, (uint32_t)v.body.len);
    if (msg == NULL)
        return 0;
    if (v.body.len > 0)
        memcpy(message_body_mut(msg), v.body.ptr, v.body.len);
    publish_now(ch, msg, props, v.is_mandatory);
    return v.size;
}

// --- frame by frame ----------------------------------------------------------------------------------------

static void
fault_no_memory(struct channel *ch)
{
    struct fault f;
    fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
    f.is_connection = true;
    channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
}

void
publish_forget(struct channel *ch)
{
    struct content *content = ch->content;
    if (content == NULL)
        return;
    ch->conn->content_ahead_bytes -= content->ahead_bytes;
    if (!LV_BUG(LEAK_CONTENT))
        message_unref(content->msg);
    pool_give(&ch->conn->aw->content_pool, content);
    ch->content = NULL;
}

#ifdef LV_TEST_HOOKS
void
publish_finish_half(struct channel *ch)
{
    struct content *content = ch->content;
    if (content == NULL || content->msg == NULL || content->capacity < content->body_size)
        return;
    struct message *msg = content->msg;
    memset(message_body_mut(msg) + content->received, 0, content->body_size - content->received);
    content->msg = NULL;
    struct amqp_basic_props props;
    if (amqp_props_decode_trusted(message_properties(msg), &props) == 0)
        publish_now(ch, msg, &props, false);
}
#endif

void
publish_method(struct channel *ch, const struct amqp_basic_publish *m)
{
    if (m->immediate) {
        struct fault f;
        fault_set(&f, FAULT_NOT_IMPLEMENTED, "immediate=true");
        channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
        return;
    }
    struct content *content = pool_take(&ch->conn->aw->content_pool);
    if (content == NULL) {
        fault_no_memory(ch);
        return;
    }
    content->msg = NULL;
    content->body_size = 0;
    content->received = content->capacity = content->ahead_bytes = 0;
    content->is_mandatory = m->mandatory;
    content->exchange_len = (uint8_t)m->exchange.len;
    content->key_len = (uint8_t)m->routing_key.len;
    wire_put_bytes(wire_put_bytes(content->names, m->exchange), m->routing_key);
    ch->content = content;
}

static void
content_complete(struct channel *ch)
{
    struct content *content = ch->content;
    struct message *msg = content->msg;
    bool is_mandatory = content->is_mandatory;
    LV_ASSERT(msg->body_len == content->body_size && content->received == content->body_size);
    content->msg = NULL;
    publish_forget(ch);
    struct amqp_basic_props props;
    int rc = amqp_props_decode_trusted(message_properties(msg), &props);
    LV_ASSERT(rc == 0); // decoded before, when the header came
    publish_now(ch, msg, &props, is_mandatory);
}

static void
fault_too_large(struct channel *ch, uint64_t size)
{
    struct fault f;
    fault_set(&f, FAULT_PRECONDITION_FAILED,
              "message size %" PRIu64 " is larger than configured max size %" PRIu32, size,
              ch->conn->aw->config->max_message_size);
    channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
}

// Sets how much room the body has: writes the length into the message and its header, where message_new has
// put the first one.
static void
set_body_len(struct message *msg, uint32_t len)
{
    msg->body_len = len;
    wire_put_u64(msg->bytes + msg->route_len + 4, len);
}

static void
content_header(struct channel *ch, const struct content_header *h)
{
    struct connection *c = ch->conn;
    struct content *content = ch->content;
    struct amqp_basic_props props;
    if (h->body_size > c->aw->config->max_message_size) {
        fault_too_large(ch, h->body_size);
        return;
    }
    if (amqp_props_decode(h->props, &props) != 0) {
        struct fault f;
        fault_set(&f, FAULT_SYNTAX_ERROR, "malformed message properties");
        f.is_connection = true;
        channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
        return;
    }
    uint32_t size = (uint32_t)h->body_size;
    uint32_t room = size;
    if (size > CONTENT_FIRST_BYTES && size + c->content_ahead_bytes > CONTENT_AHEAD_BYTES)
        room = CONTENT_FIRST_BYTES;
    content->msg =
        message_new(slice_of(content->names, content->exchange_len),
                    slice_of(content->names + content->exchange_len, content->key_len), h->props, room);
    if (content->msg == NULL) {
        fault_no_memory(ch);
        return;
    }
    content->body_size = size;
    content->capacity = room;
    content->ahead_bytes = room;
    c->content_ahead_bytes += room;
    if (size == 0)
        content_complete(ch);
}

// Room for `needed` bytes of body: doubles, up to what was announced.
static bool
content_grow(struct content *content, uint32_t needed)
{
    if (needed <= content->capacity)
        return true;
    uint64_t doubled = LV_MAX((uint64_t)content->capacity * 2, (uint64_t)needed);
    uint64_t room = LV_MIN(doubled, content->body_size);
    struct message *msg = content->msg;
    size_t head = sizeof *msg + msg->route_len + msg->header_len;
    msg = mem_realloc(msg, head + room);
    if (msg == NULL)
        return false;
    content->msg = msg;
    content->capacity = (uint32_t)room;
    set_body_len(msg, (uint32_t)room);
    return true;
}

static void
content_body(struct channel *ch, struct slice payload)
{
    struct content *content = ch->content;
    if (payload.len > content->body_size - content->received) {
        struct fault f;
        fault_set(&f, FAULT_UNEXPECTED_FRAME, "content body is larger than the %" PRIu64 " bytes announced",
                  content->body_size);
        channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
        return;
    }
    if (!content_grow(content, content->received + (uint32_t)payload.len)) {
        fault_no_memory(ch);
        return;
    }
    if (payload.len > 0)
        memcpy(message_body_mut(content->msg) + content->received, payload.ptr, payload.len);
    content->received += (uint32_t)payload.len;
    if (content->received == content->body_size)
        content_complete(ch);
}

static void
fault_expected(struct channel *ch, const char *expected, const char *got)
{
    struct fault f;
    fault_set(&f, FAULT_UNEXPECTED_FRAME, "expected %s, got %s instead", expected, got);
    channel_fault(ch, &f, AMQP_BASIC_PUBLISH);
}

void
publish_frame(struct channel *ch, uint8_t type, struct slice payload)
{
    if (ch->content->msg != NULL) {
        if (type == FRAME_BODY)
            content_body(ch, payload);
        else
            fault_expected(ch, "content body", "non content body frame");
        return;
    }
    struct content_header h;
    if (type != FRAME_HEADER || content_header_decode(payload, &h) != 0) {
        fault_expected(ch, "content header for class 60", "non content header frame");
        return;
    }
    if (h.class_id != amqp_class_of(AMQP_BASIC_PUBLISH)) {
        char got[40];
        snprintf(got, sizeof got, "one for class %u", h.class_id);
        fault_expected(ch, "content header for class 60", got);
        return;
    }
    content_header(ch, &h);
}
