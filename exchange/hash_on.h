// hash_on.h: what of a message an x-consistent-hash exchange hashes: arguments hash-header, hash-property.
//
// Facts of RabbitMQ 3.10.8 (rabbit_exchange_type_consistent_hash): without either the first routing key; a
// message that has no such header or property hashes like all others without. Difference: integers count by
// value, whatever their width on the wire. Any thread.
#pragma once

#include "amqp/wire/props.h"
#include "src/base/err.h"
#include "src/base/slice.h"

enum hash_on_kind {
    HASH_ON_KEY,
    HASH_ON_HEADER,
    HASH_ON_MESSAGE_ID,
    HASH_ON_CORRELATION_ID,
    HASH_ON_TIMESTAMP,
};

struct hash_on {
    enum hash_on_kind kind;
    struct slice header; // its name; points into the arguments
};

enum hash_on_problem {
    HASH_ON_FINE,
    HASH_ON_BOTH,             // header and property
    HASH_ON_UNKNOWN_PROPERTY, // ret->header is its name
    HASH_ON_BAD_HEADER_TYPE,  // not a longstr
    HASH_ON_BAD_PROPERTY_TYPE,
};

// From the arguments of the exchange. Anything but HASH_ON_FINE: the key is to be hashed.
enum hash_on_problem hash_on_parse(struct slice arguments, struct hash_on *ret);

// The bytes to be hashed; `number` gives room for what is a number. `props` may be NULL.
struct slice hash_on_value(const struct hash_on *on, struct slice key, const struct amqp_basic_props *props,
                           uint8_t number[static 8]);
