// props.c: see props.h. Flags, then the values of those set, from the highest bit down:
//
//   flags u16 | content-type ss | content-encoding ss | headers table | delivery-mode u8 | priority u8 |
//   correlation-id ss | reply-to ss | expiration ss | message-id ss | timestamp u64 | type ss | user-id ss |
//   app-id ss | cluster-id ss
#include "amqp/wire/props.h"

#include "amqp/wire/bytes.h"
#include "amqp/wire/table.h"
#include "src/base/err.h"

static inline struct slice
read_string(struct wire_reader *r, unsigned flags, enum amqp_prop prop)
{
    return (flags & (unsigned)prop) != 0 ? wire_read_shortstr(r) : SLICE_EMPTY;
}

// Each member is written once, whether present or not: setting the whole to zero first costs more than the
// rest.
static inline int
parse(struct slice flags_and_list, struct amqp_basic_props *p)
{
    struct wire_reader r = wire_reader_of(flags_and_list);
    unsigned flags = wire_read_u16(&r);
    if ((flags & ~(unsigned)AMQP_PROP_ALL) != 0)
        return -LE_SYNTAX;
    p->flags = (uint16_t)flags;
    p->content_type = read_string(&r, flags, AMQP_PROP_CONTENT_TYPE);
    p->content_encoding = read_string(&r, flags, AMQP_PROP_CONTENT_ENCODING);
    p->headers = (flags & AMQP_PROP_HEADERS) ? wire_read_longstr(&r) : SLICE_EMPTY;
    p->delivery_mode = (flags & AMQP_PROP_DELIVERY_MODE) ? wire_read_u8(&r) : 0;
    p->priority = (flags & AMQP_PROP_PRIORITY) ? wire_read_u8(&r) : 0;
    p->correlation_id = read_string(&r, flags, AMQP_PROP_CORRELATION_ID);
    p->reply_to = read_string(&r, flags, AMQP_PROP_REPLY_TO);
    p->expiration = read_string(&r, flags, AMQP_PROP_EXPIRATION);
    p->message_id = read_string(&r, flags, AMQP_PROP_MESSAGE_ID);
    p->timestamp = (flags & AMQP_PROP_TIMESTAMP) ? wire_read_u64(&r) : 0;
    p->type = read_string(&r, flags, AMQP_PROP_TYPE);
    p->user_id = read_string(&r, flags, AMQP_PROP_USER_ID);
    p->app_id = read_string(&r, flags, AMQP_PROP_APP_ID);
    p->cluster_id = read_string(&r, flags, AMQP_PROP_CLUSTER_ID);
    return wire_reader_is_done(&r) ? 0 : -LE_SYNTAX;
}

int
amqp_props_decode_trusted(struct slice flags_and_list, struct amqp_basic_props *ret)
{
    struct amqp_basic_props props;
    int rc = parse(flags_and_list, &props);
    if (rc == 0)
        *ret = props;
    return rc;
}

int
amqp_props_decode(struct slice flags_and_list, struct amqp_basic_props *ret)
{
    struct amqp_basic_props props;
    int rc = parse(flags_and_list, &props);
    if (rc != 0)
        return rc;
    rc = table_validate(props.headers, TABLE_DEPTH_MAX);
    if (rc != 0)
        return rc == -LE_SYNTAX ? -LE_CORRUPT : rc;
    *ret = props;
    return 0;
}

// The strings in order of their flags; headers, numbers and gaps are NULL.
static void
strings_of(const struct amqp_basic_props *props, const struct slice *ret[16])
{
    const struct slice *strings[16] = {
        [15] = &props->content_type, [14] = &props->content_encoding, [10] = &props->correlation_id,
        [9] = &props->reply_to,      [8] = &props->expiration,        [7] = &props->message_id,
        [5] = &props->type,          [4] = &props->user_id,           [3] = &props->app_id,
        [2] = &props->cluster_id,
    };
    memcpy(ret, strings, sizeof strings);
}

// Bytes of the encoding; SIZE_MAX when a string does not fit its length.
static size_t
encoded_size(const struct amqp_basic_props *props, const struct slice *strings[16])
{
    if ((props->flags & ~AMQP_PROP_ALL) != 0)
        return SIZE_MAX;
    size_t size = sizeof props->flags;
    for (unsigned bit = 2; bit < 16; bit++) {
        if ((props->flags & 1u << bit) == 0 || strings[bit] == NULL)
            continue;
        if (strings[bit]->len > UINT8_MAX)
            return SIZE_MAX;
        size += 1 + strings[bit]->len;
    }
    if (props->flags & AMQP_PROP_HEADERS) {
        if (props->headers.len > UINT32_MAX)
            return SIZE_MAX;
        size += sizeof(uint32_t) + props->headers.len;
    }
    size += (props->flags & AMQP_PROP_DELIVERY_MODE) ? 1 : 0;
    size += (props->flags & AMQP_PROP_PRIORITY) ? 1 : 0;
    size += (props->flags & AMQP_PROP_TIMESTAMP) ? sizeof(uint64_t) : 0;
    return size;
}

void
amqp_props_encode(struct buf *buf, const struct amqp_basic_props *props)
{
    const struct slice *strings[16];
    strings_of(props, strings);
    size_t size = encoded_size(props, strings);
    if (size == SIZE_MAX || buf->failed || !buf_reserve(buf, size)) {
        buf->failed = true;
        return;
    }
    uint8_t *p = wire_put_u16(buf->ptr + buf->len, props->flags);
    for (unsigned bit = 15; bit >= 2; bit--) {
        unsigned flag = 1u << bit;
        if ((props->flags & flag) == 0)
            continue;
        if (strings[bit] != NULL)
            p = wire_put_shortstr(p, *strings[bit]);
        else if (flag == AMQP_PROP_HEADERS)
            p = wire_put_longstr(p, props->headers);
        else if (flag == AMQP_PROP_TIMESTAMP)
            p = wire_put_u64(p, props->timestamp);
        else
            p = wire_put_u8(p, flag == AMQP_PROP_PRIORITY ? props->priority : props->delivery_mode);
    }
    LV_ASSERT((size_t)(p - buf->ptr) == buf->len + size);
    buf->len += size;
}
