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

static inline size_t
payload_max(const struct channel *ch)
{
    return ch->conn->frame_max - FRAME_OVERHEAD;
}

static void
send_large_body(struct channel *ch, struct message *msg)
{
    struct output *o = &ch->conn->out;
    struct slice left = message_body(msg);
    while (left.len > 0) {
        struct slice part = slice_head(left, LV_MIN(left.len, payload_max(ch)));
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

// --- headers that are not sent as they lie there ---

// What a header is to be: with x-delivery-count in place of one that it had, and its deaths.
struct header_wish {
    const uint32_t *count; // NULL: as it is
    size_t death_bytes;    // of x-death: entries that fit in here, the newest (they are first)
};

static void
put_deaths(struct table_writer *w, struct slice deaths, size_t limit)
{
    struct field item;
    table_begin_array(w, SLICE_LIT("x-death"));
    for (struct array_iter it = array_iter_of(deaths); array_iter_next(&it, &item);) {
        if (deaths.len - it.left.len > limit)
            break;
        array_put(w, &item);
    }
    table_writer_end(w);
}

// The header like that; empty: no memory.
static struct slice
make_header(const struct message *msg, const struct header_wish *wish, struct buf *room)
{
    enum { FIXED_BYTES = 12 }; // class, weight, body size
    static const struct slice count_name = SLICE_LIT("x-delivery-count");
    struct amqp_basic_props props;
    LV_CLEANUP(buf_fini) struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    struct slice key;
    struct field field;
    if (amqp_props_decode_trusted(message_properties(msg), &props) != 0)
        return message_header(msg);
    for (struct table_iter it = table_iter_of(props.headers); table_iter_next(&it, &key, &field);) {
        if (wish->count != NULL && slice_eq(key, count_name))
            continue;
        if (field.type == FIELD_ARRAY && slice_eq_str(key, "x-death"))
            put_deaths(&w, field.array, wish->death_bytes);
        else
            table_put(&w, key, &field);
    }
    if (wish->count != NULL)
        table_put_i64(&w, count_name, *wish->count);
    props.flags |= AMQP_PROP_HEADERS;
    props.headers = buf_slice(&headers);
    buf_reset(room);
    buf_append_slice(room, slice_head(message_header(msg), FIXED_BYTES));
    amqp_props_encode(room, &props);
    return headers.failed || room->failed ? SLICE_EMPTY : buf_slice(room);
}

static size_t
death_bytes_of(const struct message *msg)
{
    struct amqp_basic_props props;
    struct field deaths;
    bool has_some = amqp_props_decode_trusted(message_properties(msg), &props) == 0 &&
                    table_find(props.headers, SLICE_LIT("x-death"), &deaths) && deaths.type == FIELD_ARRAY;
    return has_some ? deaths.array.len : 0;
}

// A header that a frame of this connection holds: where each death made it longer the oldest ones are left out. Empty: there is none.
static struct slice
fit_header(struct channel *ch, const struct message *msg, const uint32_t *count, struct buf *room)
{
    struct header_wish wish = {.count = count, .death_bytes = SIZE_MAX};
    struct slice header = make_header(msg, &wish, room);
    if (header.len > 0 && header.len <= payload_max(ch))
        return header;
    size_t deaths = death_bytes_of(msg), over = header.len - LV_MIN(header.len, payload_max(ch));
    if (header.len > 0 && deaths >= over) {
        wish.death_bytes = deaths - over;
        return make_header(msg, &wish, room);
    }
    return message_header(msg).len <= payload_max(ch) ? message_header(msg) : SLICE_EMPTY;
}

// The message's header as this connection can take it. PROTOCOL: RabbitMQ sends a frame that is too large, upon which clients end the connection. Where nothing
// can be left out the channel is closed with 311, the message goes back to its queue; empty.
static inline struct slice
shown_header(struct channel *ch, const struct message *msg, const uint32_t *count, struct buf *room,
             uint32_t method_id)
{
    struct slice header = message_header(msg);
    if (LV_LIKELY(count == NULL && header.len <= payload_max(ch)))
        return header;
    header = fit_header(ch, msg, count, room);
    if (header.len == 0) {
        struct fault f;
        fault_set(&f, FAULT_CONTENT_TOO_LARGE,
                  "the properties of a message take %zu bytes, a frame of this connection holds %zu",
                  message_header(msg).len, payload_max(ch));
        channel_fault(ch, &f, method_id);
    }
    return header;
}

// --- contents ---

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
    return msg->body_len <= BODY_COPY_BYTES && msg->body_len <= payload_max(ch);
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
    struct slice header =
        shown_header(ch, msg, d->shown_count > 0 ? &d->shown_count : NULL, &room, AMQP_BASIC_DELIVER);
    uint8_t *p = header.len > 0 ? content_begin(ch, msg, header, AMQP_BASIC_DELIVER, args, is_copied) : NULL;
    if (LV_UNLIKELY(p == NULL))
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
        shown_header(ch, msg, r->is_counted ? &r->delivery_count : NULL, &room, AMQP_BASIC_GET);
    uint8_t *p = header.len > 0 ? content_begin(ch, msg, header, AMQP_BASIC_GET_OK, args, is_copied) : NULL;
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
    struct buf room = BUF_INIT;
    struct slice header = shown_header(ch, msg, NULL, &room, AMQP_BASIC_PUBLISH);
    uint8_t *p = header.len > 0 ? content_begin(ch, msg, header, AMQP_BASIC_RETURN, args, is_copied) : NULL;
    if (p == NULL)
        goto end;
    p = wire_put_u16(p, code);
    p = wire_put_shortstr(p, reply_text);
    p = wire_put_bytes(p, message_route(msg));
    content_end(ch, msg, header, p, is_copied);
end:
    buf_fini(&room);
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
