// table_order.c: tables compared and normalised whatever the order of their keys.
//
// Both work on an array of pointers to the entries, sorted by key and, among entries of one key, by place.
// Nested tables are sorted one level at a time, so the whole is n log n with the stack bounded by
// TABLE_DEPTH_MAX.
#include "amqp/wire/table.h"

#include <stdlib.h>

#include "amqp/wire/table_impl.h"
#include "src/base/err.h"
#include "src/base/mem.h"

enum { LOCAL_COUNT = 32 }; // entries that are sorted without the heap

struct sorted {
    const uint8_t **entries; // each at the length of its key; `local`, or on the heap
    size_t count;            // of entries
    const uint8_t *end;      // of the table
    const uint8_t *local[LOCAL_COUNT];
};

static bool equivalent(struct slice a, struct slice b, unsigned depth);
static bool arrays_eq(struct slice a, struct slice b, unsigned depth);
static int canonical(struct slice table, struct buf *out, unsigned depth);
static int canonical_array(struct slice array, struct buf *out, unsigned depth);

static int
entry_cmp(const void *a, const void *b)
{
    const uint8_t *x = *(const uint8_t *const *)a;
    const uint8_t *y = *(const uint8_t *const *)b;
    int order = slice_cmp(slice_of(x + 1, *x), slice_of(y + 1, *y));
    return order != 0 ? order : (x > y) - (x < y);
}

static void
sorted_fini(struct sorted *s)
{
    if (s->entries != s->local)
        mem_free(s->entries);
}

// s needs sorted_fini whatever comes back.
static int
sorted_init(struct sorted *s, struct slice table)
{
    struct table_iter it = table_iter_of(table);
    struct slice key;
    struct field field;
    s->entries = s->local;
    s->count = 0;
    s->end = table.len != 0 ? table.ptr + table.len : NULL;
    while (table_iter_next(&it, &key, &field))
        s->count++;
    if (it.left.len != 0)
        return -LE_SYNTAX;
    if (s->count > LOCAL_COUNT) {
        // Bounded by the table's length, as an entry has at least two bytes.
        const uint8_t **entries = mem_alloc(s->count * sizeof *entries);
        if (entries == NULL)
            return -LE_NOMEM;
        s->entries = entries;
    }
    size_t i = 0;
    for (it = table_iter_of(table); table_iter_next(&it, &key, &field); i++)
        s->entries[i] = it.item.ptr;
    LV_ASSERT(i == s->count);
    if (s->count > 1)
        qsort(s->entries, s->count, sizeof *s->entries, entry_cmp);
    return 0;
}

// The i-th entry in order of keys: a position from which table_iter_next reads it.
static struct table_iter
sorted_entry(const struct sorted *s, size_t i)
{
    return table_iter_of(slice_of(s->entries[i], (size_t)(s->end - s->entries[i])));
}

static bool
is_float(const struct field *f)
{
    return f->type == FIELD_FLOAT || f->type == FIELD_DOUBLE;
}

static bool
is_same_float(double a, double b)
{
    uint64_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    return a == b || x == y; // by bits too, so that not-a-number equals itself
}

static bool
eq_at(const struct field *a, const struct field *b, unsigned depth)
{
    if (field_is_integer(a))
        return field_is_integer(b) && a->i64 == b->i64;
    if (is_float(a))
        return is_float(b) && is_same_float(a->f64, b->f64);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case FIELD_VOID: return true;
    case FIELD_BOOL: return (a->i64 != 0) == (b->i64 != 0);
    case FIELD_TIMESTAMP: return a->i64 == b->i64;
    case FIELD_DECIMAL: return a->decimal.scale == b->decimal.scale && a->decimal.value == b->decimal.value;
    case FIELD_LONGSTR:
    case FIELD_BINARY: return slice_eq(a->bytes, b->bytes);
    case FIELD_TABLE: return equivalent(a->table, b->table, depth + 1);
    case FIELD_ARRAY: return arrays_eq(a->array, b->array, depth + 1);
    default: return false;
    }
}

static bool
arrays_eq(struct slice a, struct slice b, unsigned depth)
{
    if (depth > TABLE_DEPTH_MAX)
        return false;
    struct array_iter it_a = array_iter_of(a);
    struct array_iter it_b = array_iter_of(b);
    struct field field_a, field_b;
    while (array_iter_next(&it_a, &field_a)) {
        if (!array_iter_next(&it_b, &field_b) || !eq_at(&field_a, &field_b, depth))
            return false;
    }
    return it_a.left.len == 0 && it_b.left.len == 0;
}

static bool
sorted_eq(const struct sorted *a, const struct sorted *b, unsigned depth)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        struct table_iter it_a = sorted_entry(a, i);
        struct table_iter it_b = sorted_entry(b, i);
        struct slice key_a, key_b;
        struct field field_a, field_b;
        if (!table_iter_next(&it_a, &key_a, &field_a) || !table_iter_next(&it_b, &key_b, &field_b))
            return false;
        if (!slice_eq(key_a, key_b) || !eq_at(&field_a, &field_b, depth))
            return false;
    }
    return true;
}

static bool
equivalent(struct slice a, struct slice b, unsigned depth)
{
    if (depth > TABLE_DEPTH_MAX)
        return false;
    struct sorted sorted_a, sorted_b;
    int rc_a = sorted_init(&sorted_a, a);
    int rc_b = sorted_init(&sorted_b, b);
    bool result = rc_a == 0 && rc_b == 0 && sorted_eq(&sorted_a, &sorted_b, depth);
    sorted_fini(&sorted_a);
    sorted_fini(&sorted_b);
    return result;
}

bool
field_eq(const struct field *a, const struct field *b)
{
    return eq_at(a, b, 0);
}

bool
table_equivalent(struct slice a, struct slice b)
{
    return equivalent(a, b, 1);
}

// raw: type and value as they are on the wire.
static int
canonical_value(const struct field *field, struct slice raw, struct buf *out, unsigned depth)
{
    struct field plain = *field;
    switch (field->type) {
    case FIELD_I64_ALT:
        plain.type = FIELD_I64;
        field_append(out, &plain);
        return 0;
    case FIELD_BOOL: field_append(out, &plain); return 0;
    case FIELD_TABLE:
    case FIELD_ARRAY: break;
    default: buf_append_slice(out, raw); return 0;
    }
    buf_append_u8(out, field->type);
    buf_append_u32be(out, 0);
    size_t start = out->len;
    int rc = field->type == FIELD_TABLE ? canonical(field->table, out, depth + 1)
                                        : canonical_array(field->array, out, depth + 1);
    if (rc == 0 && !out->failed) // no longer than the value it was made of, so it fits its length
        wire_put_u32(out->ptr + start - sizeof(uint32_t), (uint32_t)(out->len - start));
    return rc;
}

static int
canonical_array(struct slice array, struct buf *out, unsigned depth)
{
    if (depth > TABLE_DEPTH_MAX)
        return -LE_LIMIT;
    struct array_iter it = array_iter_of(array);
    struct field field;
    while (array_iter_next(&it, &field)) {
        int rc = canonical_value(&field, it.item, out, depth);
        if (rc != 0)
            return rc;
    }
    return it.left.len == 0 ? 0 : -LE_SYNTAX;
}

static int
canonical(struct slice table, struct buf *out, unsigned depth)
{
    if (depth > TABLE_DEPTH_MAX)
        return -LE_LIMIT;
    struct sorted sorted;
    int rc = sorted_init(&sorted, table);
    for (size_t i = 0; rc == 0 && i < sorted.count; i++) {
        struct table_iter it = sorted_entry(&sorted, i);
        struct slice key;
        struct field field;
        bool is_there = table_iter_next(&it, &key, &field);
        LV_ASSERT(is_there); // it was, when the entries were counted
        struct slice raw_key = slice_head(it.item, 1 + key.len);
        buf_append_slice(out, raw_key);
        rc = canonical_value(&field, slice_from(it.item, raw_key.len), out, depth);
    }
    sorted_fini(&sorted);
    return rc;
}

int
table_canonical(struct slice table, struct buf *out)
{
    if (out->failed)
        return -LE_NOMEM;
    size_t len = out->len;
    int rc = canonical(table, out, 1);
    if (rc == 0 && out->failed)
        rc = -LE_NOMEM;
    if (rc != 0) {
        out->len = len;
        out->failed = false;
    }
    return rc;
}
