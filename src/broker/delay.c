// delay.c: see delay.h.
#include "src/broker/delay.h"

#include "amqp/wire/table.h"
#include "src/broker/arguments.h"

static const struct slice delay_header = SLICE_LIT("x-delay");

// LIMIT: what RabbitMQ's timers take; longer ones are no delay at all there, and so here.
#define DELAY_MAX_MS UINT32_MAX

static bool
digits_value(struct slice text, int64_t *ret)
{
    size_t at = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    int64_t value = 0;
    if (at == text.len)
        return false;
    for (size_t i = at; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = LV_MIN(value * 10 + (text.ptr[i] - '0'), INT64_C(1) << 40);
    }
    *ret = at == 1 && text.ptr[0] == '-' ? -value : value;
    return true;
}

// False when the header is no number. Far above the limit is cut.
static bool
header_value(struct slice headers, int64_t *ret)
{
    struct field f;
    if (!table_find(headers, delay_header, &f))
        return false;
    if (field_is_integer(&f)) {
        *ret = f.i64;
        return true;
    }
    if (f.type == FIELD_LONGSTR)
        return digits_value(f.bytes, ret);
    double value;
    if (f.type == FIELD_FLOAT || f.type == FIELD_DOUBLE) {
        value = f.f64;
    } else if (f.type == FIELD_DECIMAL) {
        value = f.decimal.value;
        for (unsigned i = 0; i < f.decimal.scale; i++)
            value /= 10;
    } else {
        return false;
    }
    if (!(value > -1099511627776.0 && value < 1099511627776.0)) // 2 to the 40th; not a number too
        return false;
    *ret = (int64_t)value;
    return true;
}

uint32_t
delay_of(struct slice headers)
{
    int64_t value;
    if (headers.len == 0 || !header_value(headers, &value) || value <= 0 || value > DELAY_MAX_MS)
        return 0;
    return (uint32_t)value;
}

// The same message with other properties.
static struct message *
copy_with(const struct message *msg, struct slice properties)
{
    struct message *m =
        message_new(message_exchange(msg), message_routing_key(msg), properties, msg->body_len);
    if (m == NULL)
        return NULL;
    if (msg->body_len > 0)
        memcpy(message_body_mut(m), message_body(msg).ptr, msg->body_len);
    m->flags = msg->flags;
    m->priority = msg->priority;
    m->expiry_ms = msg->expiry_ms;
    m->published_ms = msg->published_ms;
    return m;
}

struct message *
delay_parked(const struct message *msg, uint32_t delay_ms)
{
    struct message *m = copy_with(msg, message_properties(msg));
    if (m != NULL) {
        m->expiry_ms = delay_ms;
        m->flags |= MESSAGE_HAS_EXPIRY;
    }
    return m;
}

// The headers with the first x-delay replaced, in its place, and without BCC.
static void
negate(struct slice headers, struct buf *out)
{
    struct slice key;
    struct field f;
    bool is_done = false;
    int64_t value;
    if (!header_value(headers, &value))
        value = 0;
    struct table_writer w = table_writer_of(out);
    struct table_iter it = table_iter_of(headers);
    while (table_iter_next(&it, &key, &f)) {
        if (slice_eq_str(key, "BCC"))
            continue;
        if (is_done || !slice_eq(key, delay_header)) {
            buf_append_slice(out, it.item);
            continue;
        }
        is_done = true;
        if (value <= INT32_MAX)
            table_put_i32(&w, delay_header, (int32_t)-value);
        else
            table_put_i64(&w, delay_header, -value);
    }
}

struct message *
delay_released(const struct message *parked)
{
    struct amqp_basic_props props;
    struct fault ignored;
    struct message *ret = NULL;
    if (amqp_props_decode_trusted(message_properties(parked), &props) != 0)
        return NULL;
    LV_CLEANUP(buf_fini) struct buf headers = BUF_INIT;
    LV_CLEANUP(buf_fini) struct buf encoded = BUF_INIT;
    negate(props.headers, &headers);
    props.headers = buf_slice(&headers);
    amqp_props_encode(&encoded, &props);
    if (!headers.failed && !encoded.failed)
        ret = copy_with(parked, buf_slice(&encoded));
    if (ret == NULL)
        return NULL;
    ret->flags &= (uint8_t)~MESSAGE_HAS_EXPIRY;
    ret->expiry_ms = 0;
    if (amqp_props_has(&props, AMQP_PROP_EXPIRATION) &&
        arguments_parse_expiration(props.expiration, &ret->expiry_ms, &ignored))
        ret->flags |= MESSAGE_HAS_EXPIRY;
    return ret;
}
