// hash_on.c: see hash_on.h.
#include "exchange/hash_on.h"

#include "amqp/wire/bytes.h"
#include "amqp/wire/table.h"

static const struct {
    const char *name;
    enum hash_on_kind kind;
} properties[] = {
    {"correlation_id", HASH_ON_CORRELATION_ID},
    {"message_id", HASH_ON_MESSAGE_ID},
    {"timestamp", HASH_ON_TIMESTAMP},
};

enum hash_on_problem
hash_on_parse(struct slice arguments, struct hash_on *ret)
{
    struct field header, property;
    bool has_header = table_find(arguments, SLICE_LIT("hash-header"), &header);
    bool has_property = table_find(arguments, SLICE_LIT("hash-property"), &property);
    *ret = (struct hash_on){.kind = HASH_ON_KEY};
    if (has_header && header.type != FIELD_LONGSTR)
        return HASH_ON_BAD_HEADER_TYPE;
    if (has_property && property.type != FIELD_LONGSTR)
        return HASH_ON_BAD_PROPERTY_TYPE;
    if (has_header && has_property)
        return HASH_ON_BOTH;
    if (has_header) {
        *ret = (struct hash_on){HASH_ON_HEADER, header.bytes};
        return HASH_ON_FINE;
    }
    if (!has_property)
        return HASH_ON_FINE;
    for (size_t i = 0; i < LV_ARRAY_LEN(properties); i++) {
        if (slice_eq_str(property.bytes, properties[i].name)) {
            ret->kind = properties[i].kind;
            return HASH_ON_FINE;
        }
    }
    ret->header = property.bytes;
    return HASH_ON_UNKNOWN_PROPERTY;
}

static struct slice
number_bytes(uint8_t number[static 8], uint64_t value)
{
    wire_put_u64(number, value);
    return slice_of(number, 8);
}

static struct slice
header_bytes(struct slice headers, struct slice name, uint8_t number[static 8])
{
    struct slice key;
    struct field field;
    struct table_iter it = table_iter_of(headers);
    while (table_iter_next(&it, &key, &field)) {
        if (!slice_eq(key, name))
            continue;
        if (field.type == FIELD_LONGSTR || field.type == FIELD_BINARY)
            return field.bytes;
        if (field_is_integer(&field) || field.type == FIELD_TIMESTAMP || field.type == FIELD_BOOL)
            return number_bytes(number, (uint64_t)field.i64);
        return slice_from(it.item, 1 + key.len); // type and value as they came
    }
    return SLICE_EMPTY;
}

struct slice
hash_on_value(const struct hash_on *on, struct slice key, const struct amqp_basic_props *props,
              uint8_t number[static 8])
{
    if (on->kind != HASH_ON_KEY && props == NULL)
        return SLICE_EMPTY;
    switch (on->kind) {
    case HASH_ON_KEY: return key;
    case HASH_ON_HEADER:
        return amqp_props_has(props, AMQP_PROP_HEADERS) ? header_bytes(props->headers, on->header, number)
                                                        : SLICE_EMPTY;
    case HASH_ON_MESSAGE_ID: return props->message_id;
    case HASH_ON_CORRELATION_ID: return props->correlation_id;
    case HASH_ON_TIMESTAMP:
        return amqp_props_has(props, AMQP_PROP_TIMESTAMP) ? number_bytes(number, props->timestamp)
                                                          : SLICE_EMPTY;
    }
    return SLICE_EMPTY;
}
