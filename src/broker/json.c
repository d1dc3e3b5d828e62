// json.c: see json.h. Nesting is bounded by TABLE_DEPTH_MAX: the tables were validated on receipt.
#include "src/broker/json.h"

#include <inttypes.h>
#include <math.h>

#include "amqp/wire/table.h"
#include "src/base/utf8.h"

void
json_put_string(struct buf *out, struct slice text)
{
    buf_append_u8(out, '"');
    size_t plain = 0; // start of bytes not yet copied
    for (size_t i = 0; i < text.len;) {
        uint8_t c = text.ptr[i];
        size_t len = utf8_sequence_len(text.ptr + i, text.len - i);
        if (len > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += len;
            continue;
        }
        buf_append(out, text.ptr + plain, i - plain);
        if (len == 0)
            buf_append_str(out, "\\ufffd");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_append_str(out, "\\n");
        else
            buf_printf(out, "\\u%04x", c);
        plain = ++i;
    }
    if (text.len > plain)
        buf_append(out, text.ptr + plain, text.len - plain);
    buf_append_u8(out, '"');
}

void
json_put_member_string(struct buf *out, const char *key, struct slice v)
{
    buf_printf(out, "\"%s\":", key);
    json_put_string(out, v);
    buf_append_u8(out, ',');
}

void
json_put_member_int(struct buf *out, const char *key, int64_t v)
{
    buf_printf(out, "\"%s\":%" PRId64 ",", key, v);
}

void
json_put_member_bool(struct buf *out, const char *key, bool v)
{
    buf_printf(out, "\"%s\":%s,", key, v ? "true" : "false");
}

void
json_drop_comma(struct buf *out)
{
    if (out->len > 0 && out->ptr[out->len - 1] == ',')
        out->len--;
}

static void put_field(struct buf *out, const struct field *f, unsigned depth);

// PROTOCOL: a key may hold NUL, which no JSON reader we know of takes in a name: up to there is shown.
static void
put_key(struct buf *out, struct slice key)
{
    const void *nul = key.len > 0 ? memchr(key.ptr, 0, key.len) : NULL;
    json_put_string(out, nul != NULL ? slice_head(key, (size_t)((const uint8_t *)nul - key.ptr)) : key);
    buf_append_u8(out, ':');
}

static void
put_table(struct buf *out, struct slice table, unsigned depth)
{
    struct slice key;
    struct field f;
    buf_append_u8(out, '{');
    if (depth > 0) {
        for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &key, &f);) {
            put_key(out, key);
            put_field(out, &f, depth - 1);
            buf_append_u8(out, ',');
        }
    }
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

static void
put_array(struct buf *out, struct slice array, unsigned depth)
{
    struct field f;
    buf_append_u8(out, '[');
    if (depth > 0) {
        for (struct array_iter it = array_iter_of(array); array_iter_next(&it, &f);) {
            put_field(out, &f, depth - 1);
            buf_append_u8(out, ',');
        }
    }
    json_drop_comma(out);
    buf_append_u8(out, ']');
}

static void
put_double(struct buf *out, double v)
{
    if (isfinite(v))
        buf_printf(out, "%.17g", v);
    else
        buf_append_str(out, "null"); // JSON has no infinities
}

static void
put_field(struct buf *out, const struct field *f, unsigned depth)
{
    switch (f->type) {
    case FIELD_BOOL: buf_append_str(out, f->i64 != 0 ? "true" : "false"); break;
    case FIELD_FLOAT:
    case FIELD_DOUBLE: put_double(out, f->f64); break;
    case FIELD_DECIMAL: put_double(out, (double)f->decimal.value / pow(10, f->decimal.scale)); break;
    case FIELD_LONGSTR:
    case FIELD_BINARY: json_put_string(out, f->bytes); break;
    case FIELD_TABLE: put_table(out, f->table, depth); break;
    case FIELD_ARRAY: put_array(out, f->array, depth); break;
    case FIELD_VOID: buf_append_str(out, "null"); break;
    default: buf_printf(out, "%" PRId64, f->i64); break;
    }
}

void
json_put_table(struct buf *out, struct slice table)
{
    put_table(out, table, TABLE_DEPTH_MAX);
}
