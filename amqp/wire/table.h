// table.h: field tables and arrays, kept as the bytes they came in (struct slice), never as a tree.
//
// A table's slice is its content without the 4-byte length in front. A table that came from outside is
// checked once (table_validate; methods and properties do it while decoding); all other functions are
// memory-safe on any bytes and stop at the first that are malformed. Keys are byte strings of at most 255
// bytes, in any order, possibly more than once: lookups give the first. Field types are RabbitMQ's (AMQP
// 0-9-1 §4.2.5.5 and RabbitMQ's errata page): both 'l' and 'L' are signed 64-bit numbers, 's' is a signed
// 16-bit one, 'b' a signed 8-bit one. Not a number and infinity are accepted.
//
//   t bool   b i8   B u8   s i16   u u16   I i32   i u32   l L i64   f float   d double   V void
//   D decimal (u8 scale, u32 value)   T timestamp (u64 seconds)   S longstr   x bytes   F table   A array
//
// Any thread. Slices handed out point into the table they came from.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

// LIMIT: a table in a table … at most this deep, the outermost counted: every walk may use the stack.
// RabbitMQ has no bound, real clients nest two or three.
#define TABLE_DEPTH_MAX 64

enum field_type {
    FIELD_BOOL = 't',
    FIELD_I8 = 'b',
    FIELD_U8 = 'B',
    FIELD_I16 = 's',
    FIELD_U16 = 'u',
    FIELD_I32 = 'I',
    FIELD_U32 = 'i',
    FIELD_I64 = 'l',
    FIELD_I64_ALT = 'L',
    FIELD_FLOAT = 'f',
    FIELD_DOUBLE = 'd',
    FIELD_DECIMAL = 'D',
    FIELD_TIMESTAMP = 'T',
    FIELD_LONGSTR = 'S',
    FIELD_BINARY = 'x',
    FIELD_TABLE = 'F',
    FIELD_ARRAY = 'A',
    FIELD_VOID = 'V',
};

struct field {
    uint8_t type; // enum field_type
    union {
        int64_t i64;        // all integers; bool (0 or 1); timestamp (the u64's bits)
        double f64;         // float and double
        struct slice bytes; // longstr, binary
        struct slice table; // content without its length
        struct slice array; // content without its length
        struct {
            uint8_t scale;  // digits after the point
            uint32_t value; // all digits
        } decimal;
    };
};

static inline struct field
field_bool(bool v)
{
    return (struct field){.type = FIELD_BOOL, .i64 = v};
}

static inline struct field
field_i32(int32_t v)
{
    return (struct field){.type = FIELD_I32, .i64 = v};
}

static inline struct field
field_i64(int64_t v)
{
    return (struct field){.type = FIELD_I64, .i64 = v};
}

static inline struct field
field_timestamp(uint64_t seconds)
{
    return (struct field){.type = FIELD_TIMESTAMP, .i64 = (int64_t)seconds};
}

static inline struct field
field_longstr(struct slice v)
{
    return (struct field){.type = FIELD_LONGSTR, .bytes = v};
}

static inline struct field
field_table(struct slice v)
{
    return (struct field){.type = FIELD_TABLE, .table = v};
}

static inline struct field
field_array(struct slice v)
{
    return (struct field){.type = FIELD_ARRAY, .array = v};
}

// -LE_SYNTAX: a length or a type is wrong; -LE_LIMIT: nested deeper than depth_max (at most TABLE_DEPTH_MAX;
// 1 is a flat table). Linear in the length, no recursion.
LV_MUST_USE int table_validate(struct slice table, unsigned depth_max);
LV_MUST_USE int array_validate(struct slice array, unsigned depth_max);

// for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &field);)
struct table_iter {
    struct slice left; // what has not been looked at yet; not empty at the end when the rest is malformed
    struct slice item; // the bytes of the last entry as they are on the wire, with its key
};

static inline struct table_iter
table_iter_of(struct slice table)
{
    return (struct table_iter){.left = table};
}

// False at the end, or at the first malformed entry (left.len is then not 0).
bool table_iter_next(struct table_iter *it, struct slice *ret_key, struct field *ret_field);

struct array_iter {
    struct slice left; // as in struct table_iter
    struct slice item; // type and value of the last item
};

static inline struct array_iter
array_iter_of(struct slice array)
{
    return (struct array_iter){.left = array};
}

bool array_iter_next(struct array_iter *it, struct field *ret_field);

// The first entry of that key; false when there is none. ret_field is untouched then, and may be NULL.
bool table_find(struct slice table, struct slice key, struct field *ret_field);
// The same, only when its type is longstr / any integer / bool: false also when the type is another.
bool table_find_longstr(struct slice table, struct slice key, struct slice *ret_value);
bool table_find_integer(struct slice table, struct slice key, int64_t *ret_value);
bool table_find_bool(struct slice table, struct slice key, bool *ret_value);
// Entries of a table; items of an array. Linear.
size_t table_count(struct slice table);
size_t array_count(struct slice array);

// One of b B s u I i l L. Neither bool nor timestamp nor decimal.
bool field_is_integer(const struct field *field);
// RabbitMQ's name, as its error texts say it: longstr, signedint, bool, long, short, byte, unsignedbyte,
// unsignedshort, unsignedint, double, float, decimal, timestamp, table, array, binary, void. "unknown" for
// anything else.
const char *field_type_name(uint8_t type);

// Equal in type class and value: integers by value whatever their width, floats and doubles alike, tables
// whatever the order of their keys, everything else by type and bytes. (RabbitMQ's rule for the arguments of
// a second declare.)
bool field_eq(const struct field *a, const struct field *b);
// The same keys with values that are equal as above; order matters only among entries of one key. n log n.
// False also when there is no memory to sort more than a few dozen entries, or when either is malformed.
bool table_equivalent(struct slice a, struct slice b);
// Appends the table's normal form: keys sorted (entries of one key stay in order), nested tables too; 'L'
// becomes 'l'; a bool is 0 or 1. Types are kept: 5 as 'I' and 5 as 'l' are two. Equal bytes mean the same
// arguments, so bindings can be compared and hashed by it. -LE_NOMEM, -LE_SYNTAX, -LE_LIMIT; `out` is then as
// before.
LV_MUST_USE int table_canonical(struct slice table, struct buf *out);

// --- building ---
//
// Writes the content of one table at the end of a buf; nested tables and arrays get their lengths when they
// end. Errors stick in buf->failed (no memory; a key above 255 bytes; nested deeper than TABLE_DEPTH_MAX;
// longer than 2^32-1). The buffer may not be touched otherwise while a nested table or array is open.
//
//   struct table_writer w = table_writer_of(&buf);
//   table_put_longstr(&w, SLICE_LIT("queue"), name);
//   table_begin_array(&w, SLICE_LIT("routing-keys"));
//   array_put_longstr(&w, key);
//   table_writer_end(&w);
struct table_writer {
    struct buf *buf;                // the caller's
    unsigned depth;                 // open tables and arrays below the outermost
    size_t starts[TABLE_DEPTH_MAX]; // offset in buf of the content of each
    bool is_array[TABLE_DEPTH_MAX]; // kind of each level; [0] is the outermost
};

struct table_writer table_writer_of(struct buf *buf);
// For the content of a bare array instead of a table.
struct table_writer array_writer_of(struct buf *buf);

// Entries of the innermost open table.
void table_put(struct table_writer *w, struct slice key, const struct field *value);
void table_put_bool(struct table_writer *w, struct slice key, bool value);
void table_put_i32(struct table_writer *w, struct slice key, int32_t value);
void table_put_i64(struct table_writer *w, struct slice key, int64_t value);
void table_put_double(struct table_writer *w, struct slice key, double value);
void table_put_timestamp(struct table_writer *w, struct slice key, uint64_t seconds);
void table_put_longstr(struct table_writer *w, struct slice key, struct slice value);
void table_put_str(struct table_writer *w, struct slice key, const char *value); // a longstr
void table_put_void(struct table_writer *w, struct slice key);
void table_put_table(struct table_writer *w, struct slice key, struct slice table);
void table_put_array(struct table_writer *w, struct slice key, struct slice array);
void table_begin_table(struct table_writer *w, struct slice key);
void table_begin_array(struct table_writer *w, struct slice key);

// Items of the innermost open array.
void array_put(struct table_writer *w, const struct field *value);
void array_put_i64(struct table_writer *w, int64_t value);
void array_put_longstr(struct table_writer *w, struct slice value);
void array_put_table(struct table_writer *w, struct slice table);
void array_begin_table(struct table_writer *w);
void array_begin_array(struct table_writer *w);

// Ends the innermost table_begin_* or array_begin_*.
void table_writer_end(struct table_writer *w);
// Appends items as they are on the wire to whatever is open: an iterator's `item`, or the whole content of a
// table or array.
void table_put_raw(struct table_writer *w, struct slice items);

// Appends the table without the entries of that key.
void table_copy_without(struct slice table, struct slice key, struct buf *out);
// Appends the table with that entry in front, replacing all of that key.
void table_copy_with_first(struct slice table, struct slice key, const struct field *value, struct buf *out);
