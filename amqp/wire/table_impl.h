// table_impl.h: one field value on the wire, shared by the table_*.c files and not for others.
#pragma once

#include "amqp/wire/bytes.h"
#include "amqp/wire/table.h"

// Reads type and value. False, with the reader bad, when they are not all there or the type is unknown; does
// not look into nested tables and arrays.
bool field_read(struct wire_reader *r, struct field *ret);
// Appends type and value. A value that cannot be encoded sets buf->failed.
void field_append(struct buf *buf, const struct field *field);

// How many bytes a value takes: SIZE_UNKNOWN for what is no type, SIZE_PREFIXED when a 4-byte length is in
// front (S x F A), else SIZE_FIXED plus the number of bytes. A table, because checking asks it for each field
// of each message.
enum {
    SIZE_UNKNOWN = 0,
    SIZE_PREFIXED = 1,
    SIZE_FIXED = 2,
};
extern const uint8_t field_sizes[256];
