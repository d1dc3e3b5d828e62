// table_writer.c: building tables and arrays at the end of a buffer; see table.h.
//
// A nested table or array begins with a length of zero, whose place is remembered and which is filled in when
// it ends. After a failure nothing is written any more, but begins and ends are still counted, so that the
// caller need not look in between.
#include "amqp/wire/table.h"

#include "amqp/wire/table_impl.h"

struct table_writer
table_writer_of(struct buf *buf)
{
    struct table_writer w;
    w.buf = buf;
    w.depth = 0;
    w.is_array[0] = false;
    return w;
}

struct table_writer
array_writer_of(struct buf *buf)
{
    struct table_writer w = table_writer_of(buf);
    w.is_array[0] = true;
    return w;
}

LV_UNUSED static bool // by hot assertions alone
innermost_is_array(const struct table_writer *w)
{
    return w->depth < TABLE_DEPTH_MAX && w->is_array[w->depth];
}

static bool
put_key(struct table_writer *w, struct slice key)
{
    LV_ASSERT_HOT(w->buf->failed || !innermost_is_array(w));
    if (key.len > UINT8_MAX)
        w->buf->failed = true;
    if (w->buf->failed)
        return false;
    buf_append_u8(w->buf, (uint8_t)key.len);
    buf_append_slice(w->buf, key);
    return !w->buf->failed;
}

static void
begin(struct table_writer *w, uint8_t type)
{
    w->depth++;
    // A level here is one of table_validate's, of which the outermost is the first.
    if (w->depth >= TABLE_DEPTH_MAX)
        w->buf->failed = true;
    if (w->buf->failed)
        return;
    buf_append_u8(w->buf, type);
    buf_append_u32be(w->buf, 0);
    w->starts[w->depth - 1] = w->buf->len;
    w->is_array[w->depth] = type == FIELD_ARRAY;
}

void
table_writer_end(struct table_writer *w)
{
    LV_ASSERT(w->depth > 0);
    w->depth--;
    if (w->buf->failed)
        return;
    size_t start = w->starts[w->depth];
    LV_ASSERT(start >= sizeof(uint32_t) && start <= w->buf->len);
    size_t len = w->buf->len - start;
    if (len > UINT32_MAX) {
        w->buf->failed = true;
        return;
    }
    wire_put_u32(w->buf->ptr + start - sizeof(uint32_t), (uint32_t)len);
}

void
table_put(struct table_writer *w, struct slice key, const struct field *value)
{
    if (put_key(w, key))
        field_append(w->buf, value);
}

void
table_put_bool(struct table_writer *w, struct slice key, bool value)
{
    table_put(w, key, &(struct field){.type = FIELD_BOOL, .i64 = value});
}

void
table_put_i32(struct table_writer *w, struct slice key, int32_t value)
{
    table_put(w, key, &(struct field){.type = FIELD_I32, .i64 = value});
}

void
table_put_i64(struct table_writer *w, struct slice key, int64_t value)
{
    table_put(w, key, &(struct field){.type = FIELD_I64, .i64 = value});
}

void
table_put_double(struct table_writer *w, struct slice key, double value)
{
    table_put(w, key, &(struct field){.type = FIELD_DOUBLE, .f64 = value});
}

void
table_put_timestamp(struct table_writer *w, struct slice key, uint64_t seconds)
{
    table_put(w, key, &(struct field){.type = FIELD_TIMESTAMP, .i64 = (int64_t)seconds});
}

void
table_put_longstr(struct table_writer *w, struct slice key, struct slice value)
{
    table_put(w, key, &(struct field){.type = FIELD_LONGSTR, .bytes = value});
}

void
table_put_str(struct table_writer *w, struct slice key, const char *value)
{
    table_put_longstr(w, key, slice_str(value));
}

void
table_put_void(struct table_writer *w, struct slice key)
{
    table_put(w, key, &(struct field){.type = FIELD_VOID});
}

void
table_put_table(struct table_writer *w, struct slice key, struct slice table)
{
    table_put(w, key, &(struct field){.type = FIELD_TABLE, .table = table});
}

void
table_put_array(struct table_writer *w, struct slice key, struct slice array)
{
    table_put(w, key, &(struct field){.type = FIELD_ARRAY, .array = array});
}

void
table_begin_table(struct table_writer *w, struct slice key)
{
    put_key(w, key);
    begin(w, FIELD_TABLE);
}

void
table_begin_array(struct table_writer *w, struct slice key)
{
    put_key(w, key);
    begin(w, FIELD_ARRAY);
}

void
array_put(struct table_writer *w, const struct field *value)
{
    LV_ASSERT_HOT(w->buf->failed || innermost_is_array(w));
    if (!w->buf->failed)
        field_append(w->buf, value);
}

void
array_put_i64(struct table_writer *w, int64_t value)
{
    array_put(w, &(struct field){.type = FIELD_I64, .i64 = value});
}

void
array_put_longstr(struct table_writer *w, struct slice value)
{
    array_put(w, &(struct field){.type = FIELD_LONGSTR, .bytes = value});
}

void
array_put_table(struct table_writer *w, struct slice table)
{
    array_put(w, &(struct field){.type = FIELD_TABLE, .table = table});
}

void
array_begin_table(struct table_writer *w)
{
    LV_ASSERT_HOT(w->buf->failed || innermost_is_array(w));
    begin(w, FIELD_TABLE);
}

void
array_begin_array(struct table_writer *w)
{
    LV_ASSERT_HOT(w->buf->failed || innermost_is_array(w));
    begin(w, FIELD_ARRAY);
}

void
table_put_raw(struct table_writer *w, struct slice items)
{
    buf_append_slice(w->buf, items);
}

void
table_copy_without(struct slice table, struct slice unwanted, struct buf *out)
{
    struct table_iter it = table_iter_of(table);
    struct slice key;
    struct field field;
    while (table_iter_next(&it, &key, &field)) {
        if (!slice_eq(key, unwanted))
            buf_append_slice(out, it.item);
    }
}

void
table_copy_with_first(struct slice table, struct slice key, const struct field *value, struct buf *out)
{
    struct table_writer w = table_writer_of(out);
    table_put(&w, key, value);
    table_copy_without(table, key, out);
}
