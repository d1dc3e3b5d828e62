// props.h: the properties of a message (class basic): flags and list, as they follow the body size in a
// content header.
//
// A message keeps the bytes as they came; this gives a view of them. Invariant: a member has meaning only
// when its flag is set; decoding sets the others to zero and empty. Slices point into the bytes decoded. Any
// thread. AMQP 0-9-1 §1.8, §4.2.6.1.
//
// Strictness is RabbitMQ's (no UTF-8 check on properties), except that the reserved flag and the continuation
// flag are refused.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

// As on the wire: the first property is the highest bit; the values follow in this order.
enum amqp_prop {
    AMQP_PROP_CONTENT_TYPE = 1 << 15,
    AMQP_PROP_CONTENT_ENCODING = 1 << 14,
    AMQP_PROP_HEADERS = 1 << 13,
    AMQP_PROP_DELIVERY_MODE = 1 << 12,
    AMQP_PROP_PRIORITY = 1 << 11,
    AMQP_PROP_CORRELATION_ID = 1 << 10,
    AMQP_PROP_REPLY_TO = 1 << 9,
    AMQP_PROP_EXPIRATION = 1 << 8,
    AMQP_PROP_MESSAGE_ID = 1 << 7,
    AMQP_PROP_TIMESTAMP = 1 << 6,
    AMQP_PROP_TYPE = 1 << 5,
    AMQP_PROP_USER_ID = 1 << 4,
    AMQP_PROP_APP_ID = 1 << 3,
    AMQP_PROP_CLUSTER_ID = 1 << 2,

    AMQP_PROP_ALL = 0xFFFC, // every flag that exists; bit 1 is reserved, bit 0 says that more flags follow
};

struct amqp_basic_props {
    uint16_t flags;        // AMQP_PROP_xxx of the members that are present
    uint8_t delivery_mode; // 1 transient, 2 persistent; others are as good as 1
    uint8_t priority;      // 0..255 as sent
    uint64_t timestamp;    // seconds
    struct slice content_type;
    struct slice content_encoding;
    struct slice headers; // a table's content, validated
    struct slice correlation_id;
    struct slice reply_to;
    struct slice expiration; // milliseconds in decimal; not checked here
    struct slice message_id;
    struct slice type;
    struct slice user_id;
    struct slice app_id;
    struct slice cluster_id;
};

// The whole must be used up. -LE_SYNTAX: truncated, trailing bytes, unknown flags; -LE_CORRUPT: malformed
// headers table; -LE_LIMIT: headers nested deeper than TABLE_DEPTH_MAX.
LV_MUST_USE int amqp_props_decode(struct slice flags_and_list, struct amqp_basic_props *ret);
// The same for bytes that were decoded without error before: skips walking through the headers.
LV_MUST_USE int amqp_props_decode_trusted(struct slice flags_and_list, struct amqp_basic_props *ret);
// Appends flags and list. A string above 255 bytes, headers above 2^32-1 or flags outside AMQP_PROP_ALL set
// buf->failed.
void amqp_props_encode(struct buf *buf, const struct amqp_basic_props *props);

static inline bool
amqp_props_has(const struct amqp_basic_props *props, enum amqp_prop prop)
{
    return (props->flags & (unsigned)prop) != 0;
}
