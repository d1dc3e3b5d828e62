// erl_text.c: see erl_text.h. A printer appends until its limit and then remembers that something was cut.
#include "amqp/wire/erl_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SNIPPET_SIZE = 16,    // bytes of a payload that RabbitMQ shows
    FLOAT_TEXT_SIZE = 64, // sign, 17 digits, point, a few zeros or an exponent
};

struct printer {
    struct buf *buf;
    size_t left; // bytes of text that may still be written
    bool is_cut; // there was more
};

static void
put(struct printer *p, struct slice text)
{
    if (p->is_cut)
        return;
    p->is_cut = text.len > p->left;
    text.len = LV_MIN(text.len, p->left);
    buf_append_slice(p->buf, text);
    p->left -= text.len;
}

static void
put_str(struct printer *p, const char *text)
{
    put(p, slice_str(text));
}

static bool
is_printable(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.ptr[i];
        bool is_space = c >= '\b' && c <= '\r'; // \b \t \n \v \f \r
        if (!(c >= ' ' && c <= '~') && !is_space && c != '\x1b')
            return false;
    }
    return true;
}

static void
put_char(struct printer *p, uint8_t c)
{
    static const char control[] = "btnvfr"; // from \b on
    char escaped[2] = {'\\', (char)c};
    if (c >= '\b' && c <= '\r')
        escaped[1] = control[c - '\b'];
    else if (c == '\x1b')
        escaped[1] = 'e';
    else if (c != '"' && c != '\\') {
        put(p, slice_of(&c, 1));
        return;
    }
    put(p, slice_of(escaped, sizeof escaped));
}

static void
put_octets(struct printer *p, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len && !p->is_cut; i++) {
        char text[8];
        int len = snprintf(text, sizeof text, i == 0 ? "%u" : ",%u", bytes.ptr[i]);
        put(p, slice_of(text, (size_t)len));
    }
}

enum binary_style {
    BINARY_AUTO,   // as text when all that is shown is printable
    BINARY_OCTETS, // as numbers
};

// Shows the first `max` bytes; "..." stands within the brackets for the rest.
static void
put_binary(struct printer *p, struct slice bytes, size_t max, enum binary_style style)
{
    struct slice shown = slice_of(bytes.ptr, LV_MIN(bytes.len, max));
    bool is_text = style == BINARY_AUTO && shown.len != 0 && is_printable(shown);
    bool is_cut = shown.len < bytes.len;
    put_str(p, is_text ? "<<\"" : "<<");
    if (is_text) {
        for (size_t i = 0; i < shown.len && !p->is_cut; i++)
            put_char(p, shown.ptr[i]);
        put_str(p, is_cut ? "\"..." : "\"");
    } else {
        put_octets(p, shown);
        if (is_cut)
            put_str(p, shown.len == 0 ? "..." : ",...");
    }
    put_str(p, ">>");
}

void
wire_print_erlang_binary(struct buf *buf, struct slice bytes, size_t max)
{
    struct printer p = {.buf = buf, .left = SIZE_MAX};
    put_binary(&p, bytes, max, BINARY_AUTO);
}

void
wire_print_erlang_octets(struct buf *buf, struct slice bytes, size_t max)
{
    struct printer p = {.buf = buf, .left = SIZE_MAX};
    put_binary(&p, bytes, max, BINARY_OCTETS);
}

void
wire_print_payload_snippet(struct buf *buf, struct slice payload)
{
    bool is_whole = payload.len <= SNIPPET_SIZE;
    buf_append_str(buf, is_whole ? "all octets = " : "first 16 octets = ");
    wire_print_erlang_binary(buf, is_whole ? payload : slice_head(payload, SNIPPET_SIZE), SNIPPET_SIZE);
}

// The fewest digits that read back the same, without zeros at the end: value = 0.DIGITS * 10^place. Returns
// their number.
static int
shortest_digits(double value, char digits[32], int *ret_place)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int count = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p != '.')
            digits[count++] = *p;
    }
    LV_ASSERT(count > 0);
    *ret_place = (int)strtol(p + 1, NULL, 10) + 1;
    return count;
}

// Erlang's choice: decimal when that is not longer than the exponent would be.
static void
format_float(double value, char *text, size_t size)
{
    static const char zeros[] = "0000000000"; // more than the exponent's cost ever allows
    char digits[32];
    int place;
    const char *sign = signbit(value) ? "-" : "";
    int count = shortest_digits(fabs(value), digits, &place);
    char exponent[16];
    int exponent_len = snprintf(exponent, sizeof exponent, "%d", place - 1);
    int exponent_cost = exponent_len + 1 + (count == 1 ? 2 : 1);
    if (place > 0 && place < count)
        snprintf(text, size, "%s%.*s.%.*s", sign, place, digits, count - place, digits + place);
    else if (place <= 0 && (place == 0 || 2 - place <= exponent_cost))
        snprintf(text, size, "%s0.%.*s%.*s", sign, -place, zeros, count, digits);
    else if (place > 0 && place - count + 2 <= exponent_cost)
        snprintf(text, size, "%s%.*s%.*s.0", sign, count, digits, place - count, zeros);
    else
        snprintf(text, size, "%s%c.%.*se%s", sign, digits[0], count == 1 ? 1 : count - 1,
                 count == 1 ? "0" : digits + 1, exponent);
}

static void
put_float(struct printer *p, double value)
{
    char text[FLOAT_TEXT_SIZE];
    if (isnan(value))
        put_str(p, "nan"); // Erlang has neither; see table.h
    else if (isinf(value))
        put_str(p, value < 0 ? "-inf" : "inf");
    else if (value == 0)
        put_str(p, signbit(value) ? "-0.0" : "0.0");
    else {
        format_float(value, text, sizeof text);
        put_str(p, text);
    }
}

void
wire_print_erlang_float(struct buf *buf, double value)
{
    struct printer p = {.buf = buf, .left = SIZE_MAX};
    put_float(&p, value);
}

static void put_field(struct printer *p, const struct field *field, unsigned depth);

static void
put_array(struct printer *p, struct slice array, unsigned depth)
{
    struct array_iter it = array_iter_of(array);
    struct field field;
    put_str(p, "[");
    for (bool is_first = true; !p->is_cut && array_iter_next(&it, &field); is_first = false) {
        put_str(p, is_first ? "{" : ",{");
        put_str(p, field_type_name(field.type));
        put_str(p, ",");
        put_field(p, &field, depth);
        put_str(p, "}");
    }
    put_str(p, "]");
}

static void
put_table(struct printer *p, struct slice table, unsigned depth)
{
    struct table_iter it = table_iter_of(table);
    struct slice key;
    struct field field;
    put_str(p, "[");
    for (bool is_first = true; !p->is_cut && table_iter_next(&it, &key, &field); is_first = false) {
        put_str(p, is_first ? "{" : ",{");
        put_binary(p, key, SIZE_MAX, BINARY_AUTO);
        put_str(p, ",");
        put_str(p, field_type_name(field.type));
        put_str(p, ",");
        put_field(p, &field, depth);
        put_str(p, "}");
    }
    put_str(p, "]");
}

static void
put_field(struct printer *p, const struct field *field, unsigned depth)
{
    char text[48];
    if (depth > TABLE_DEPTH_MAX)
        return;
    switch (field->type) {
    case FIELD_BOOL: put_str(p, field->i64 != 0 ? "true" : "false"); return;
    case FIELD_VOID: put_str(p, "undefined"); return;
    case FIELD_FLOAT:
    case FIELD_DOUBLE: put_float(p, field->f64); return;
    case FIELD_DECIMAL:
        snprintf(text, sizeof text, "{%u,%" PRIu32 "}", field->decimal.scale, field->decimal.value);
        break;
    case FIELD_LONGSTR:
    case FIELD_BINARY: put_binary(p, field->bytes, SIZE_MAX, BINARY_AUTO); return;
    case FIELD_TABLE: put_table(p, field->table, depth + 1); return;
    case FIELD_ARRAY: put_array(p, field->array, depth + 1); return;
    case FIELD_TIMESTAMP: snprintf(text, sizeof text, "%" PRIu64, (uint64_t)field->i64); break;
    default: snprintf(text, sizeof text, "%" PRId64, field->i64); break;
    }
    put_str(p, text);
}

void
wire_print_erlang_field(struct buf *buf, const struct field *field, size_t text_max)
{
    struct printer p = {.buf = buf, .left = text_max};
    put_field(&p, field, 0);
    if (p.is_cut)
        buf_append_str(buf, "...");
}

void
wire_print_field_value(struct buf *buf, const struct field *field, size_t text_max)
{
    if (field->type != FIELD_LONGSTR && field->type != FIELD_BINARY) {
        wire_print_erlang_field(buf, field, text_max);
        return;
    }
    struct printer p = {.buf = buf, .left = text_max};
    put(&p, field->bytes);
    if (p.is_cut)
        buf_append_str(buf, "...");
}
