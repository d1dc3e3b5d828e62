// deliver.c: messages and confirms on their way out.
//
// A message's bytes lie as they are sent: route (two short strings) and header payload are copied as they
// are; a small body too, a larger one is sent by reference, cut into frames of the connection's frame_max.
#include "amqp/connection.h"
#include "amqp/wire/bytes.h"
#include "amqp/wire/props.h"
#include "amqp/wire/table.h"

// LIMIT: bodies up to this size are copied into the output: that is cheaper than a piece of their own.
enum { BODY_COPY_BYTES = 1024 };
enum { CONTENT_OVERHEAD = 3 * FRAME_OVERHEAD };

static void
no_memory(struct channel *ch)
{
    connection_kill(ch->conn, "out of memory");
}

// frame_put_header, inlined.
static inline uint8_t *
put_head(uint8_t *p, uint8_t type, uint16_t number, size_t payload_len)
{
    return wire_put_u32(wire_put_u16(wire_put_u8(p, type), number), (uint32_t)payload_len);
}

static inline uint8_t *
put_frame(uint8_t *p, uint8_t type, uint16_t number, struct slice payload)
{
    p = put_head(p, type, number, payload.len);
    p = wire_put_bytes(p, payload);
    return wire_put_u8(p, FRAME_END);
}

static void
send_large_body(struct channel *ch, struct message *msg)
{
    struct output *o = &ch->conn->out;
    struct slice left = message_body(msg);
    size_t payload_max = ch->conn->frame_max - FRAME_OVERHEAD;
    while (left.len > 0) {
        struct slice part = slice_head(left, LV_MIN(left.len, payload_max));
        uint8_t *p = output_reserve(o, FRAME_HEADER_SIZE);
        if (p == NULL)
            return;
        output_commit(o, put_head(p, FRAME_BODY, ch->number, part.len));
        output_append_message(o, msg, part);
        p = output_reserve(o, 1);
        if (p == NULL)
            return;
        output_commit(o, wire_put_u8(p, FRAME_END));
        left = slice_from(left, part.len);
    }
}

// The header of a message of a queue that counts deliveries: with x-delivery-count in place of one that it had. When it does not fit a frame
// or memory it is sent as it is.
static struct slice
counted_header(const struct channel *ch, const struct message *msg, uint32_t count, struct buf *room)
{
    enum { FIXED_BYTES = 12 }; // class, weight, body size
    static const char name[] = "x-delivery-count";
    struct amqp_basic_props props;
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    struct slice key;
    struct field field;
    if (amqp_props_decode_trusted(message_properties(msg), &props) != 0)
        return message_header(msg);
    for (struct table_iter it = table_iter_of(props.headers); table_iter_next(&it, &key, &field);)
        if (!slice_eq_str(key, name))
            table_put(&w, key, &field);
    table_put_i64(&w, slice_str(name), count);
    props.flags |= AMQP_PROP_HEADERS;
    props.headers = buf_slice(&headers);
    buf_append_slice(room, slice_head(message_header(msg), FIXED_BYTES));
    amqp_props_encode(room, &props);
    bool is_good = !headers.failed && !room->failed && room->len <= ch->conn->frame_max - FRAME_OVERHEAD;
    buf_fini(&headers);
    return is_good ? buf_slice(room) : message_header(msg);
}

// Begins a method frame with content: room for everything but a body sent by reference. `args`: bytes after
// the id.
static inline uint8_t *
content_begin(struct channel *ch, const struct message *msg, struct slice header, uint32_t id, size_t args,
              bool is_copied)
{
    size_t room = sizeof id + args + header.len + CONTENT_OVERHEAD + (is_copied ? msg->body_len : 0);
    uint8_t *p = output_reserve(&ch->conn->out, room);
    if (LV_UNLIKELY(p == NULL)) {
        no_memory(ch);
        return NULL;
    }
    p = put_head(p, FRAME_METHOD, ch->number, sizeof id + args);
    return wire_put_u32(p, id);
}

static inline bool
is_body_copied(const struct channel *ch, const struct message *msg)
{
    return msg->body_len <= BODY_COPY_BYTES && msg->body_len <= ch->conn->frame_max - FRAME_OVERHEAD;
}

// After the method's arguments: its end, the header, the body.
static inline void
content_end(struct channel *ch, struct message *msg, struct slice header, uint8_t *p, bool is_copied)
{
    struct connection *c = ch->conn;
    p = wire_put_u8(p, FRAME_END);
    p = put_frame(p, FRAME_HEADER, ch->number, header);
    if (LV_LIKELY(is_copied && msg->body_len > 0))
        p = put_frame(p, FRAME_BODY, ch->number, message_body(msg));
    output_commit(&c->out, p);
    if (!is_copied) {
        send_large_body(ch, msg);
        if (c->out.failed) {
            no_memory(ch);
            return;
        }
    }
    connection_output_added(c);
}

void
channel_deliver(void *ctx, const struct session_delivery *d)
{
    struct channel *ch = ctx;
    struct message *msg = d->msg;
    if (LV_UNLIKELY(!channel_is_live(ch)))
        return;
    LV_ASSERT(d->consumer_tag.len <= UINT8_MAX);
    bool is_copied = is_body_copied(ch, msg);
    size_t args = 1 + d->consumer_tag.len + sizeof(uint64_t) + 1 + msg->route_len;
    struct buf room = BUF_INIT;
    struct slice header = LV_UNLIKELY(d->shown_count > 0) ? counted_header(ch, msg, d->shown_count, &room)
                                                          : message_header(msg);
    uint8_t *p = content_begin(ch, msg, header, AMQP_BASIC_DELIVER, args, is_copied);
    if (p == NULL)
        goto end;
    p = wire_put_shortstr(p, d->consumer_tag);
    p = wire_put_u64(p, d->delivery_tag);
    p = wire_put_u8(p, d->is_redelivered);
    p = wire_put_bytes(p, message_route(msg));
    content_end(ch, msg, header, p, is_copied);
end:
    if (LV_UNLIKELY(room.ptr != NULL))
        buf_fini(&room);
}

void
deliver_get_ok(struct channel *ch, const struct session_result *r)
{
    struct message *msg = r->msg;
    bool is_copied = is_body_copied(ch, msg);
    size_t args = sizeof(uint64_t) + 1 + msg->route_len + sizeof(uint32_t);
    struct buf room = BUF_INIT;
    struct slice header =
        r->is_counted ? counted_header(ch, msg, r->delivery_count, &room) : message_header(msg);
    uint8_t *p = content_begin(ch, msg, header, AMQP_BASIC_GET_OK, args, is_copied);
    if (p == NULL)
        goto end;
    p = wire_put_u64(p, r->delivery_tag);
    p = wire_put_u8(p, r->is_redelivered);
    p = wire_put_bytes(p, message_route(msg));
    p = wire_put_u32(p, (uint32_t)LV_MIN(r->message_count, (uint64_t)UINT32_MAX));
    content_end(ch, msg, header, p, is_copied);
end:
    buf_fini(&room);
}

void
channel_returned(void *ctx, struct message *msg, uint16_t code, const char *text)
{
    struct channel *ch = ctx;
    if (!channel_is_live(ch))
        return;
    bool is_copied = is_body_copied(ch, msg);
    struct slice reply_text = amqp_shortstr_cut(slice_str(text));
    size_t args = sizeof code + 1 + reply_text.len + msg->route_len;
    struct slice header = message_header(msg);
    uint8_t *p = content_begin(ch, msg, header, AMQP_BASIC_RETURN, args, is_copied);
    if (p == NULL)
        return;
    p = wire_put_u16(p, code);
    p = wire_put_shortstr(p, reply_text);
    p = wire_put_bytes(p, message_route(msg));
    content_end(ch, msg, header, p, is_copied);
}

void
channel_confirmed(void *ctx, uint64_t tag, bool is_multiple, bool is_nack)
{
    enum { ARGS = sizeof(uint64_t) + 1 };
    struct channel *ch = ctx;
    if (!channel_is_live(ch))
        return;
    uint8_t *p = output_reserve(&ch->conn->out, FRAME_OVERHEAD + sizeof(uint32_t) + ARGS);
    if (p == NULL) {
        no_memory(ch);
        return;
    }
    p = put_head(p, FRAME_METHOD, ch->number, sizeof(uint32_t) + ARGS);
    p = wire_put_u32(p, is_nack ? AMQP_BASIC_NACK : AMQP_BASIC_ACK);
    p = wire_put_u64(p, tag);
    p = wire_put_u8(p, is_multiple); // of a nack, requeue is the second bit, and means nothing from a server
    output_commit(&ch->conn->out, wire_put_u8(p, FRAME_END));
    connection_output_added(ch->conn);
}
