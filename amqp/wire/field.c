// field.c: types and single values of fields; what each looks like on the wire is in table.h.
#include "amqp/wire/table_impl.h"

const uint8_t field_sizes[256] = {
    [FIELD_VOID] = SIZE_FIXED + 0,    [FIELD_BOOL] = SIZE_FIXED + 1,      [FIELD_I8] = SIZE_FIXED + 1,
    [FIELD_U8] = SIZE_FIXED + 1,      [FIELD_I16] = SIZE_FIXED + 2,       [FIELD_U16] = SIZE_FIXED + 2,
    [FIELD_I32] = SIZE_FIXED + 4,     [FIELD_U32] = SIZE_FIXED + 4,       [FIELD_FLOAT] = SIZE_FIXED + 4,
    [FIELD_DECIMAL] = SIZE_FIXED + 5, [FIELD_I64] = SIZE_FIXED + 8,       [FIELD_I64_ALT] = SIZE_FIXED + 8,
    [FIELD_DOUBLE] = SIZE_FIXED + 8,  [FIELD_TIMESTAMP] = SIZE_FIXED + 8, [FIELD_LONGSTR] = SIZE_PREFIXED,
    [FIELD_BINARY] = SIZE_PREFIXED,   [FIELD_TABLE] = SIZE_PREFIXED,      [FIELD_ARRAY] = SIZE_PREFIXED,
};

const char *
field_type_name(uint8_t type)
{
    switch (type) {
    case FIELD_BOOL: return "bool";
    case FIELD_I8: return "byte";
    case FIELD_U8: return "unsignedbyte";
    case FIELD_I16: return "short";
    case FIELD_U16: return "unsignedshort";
    case FIELD_I32: return "signedint";
    case FIELD_U32: return "unsignedint";
    case FIELD_I64:
    case FIELD_I64_ALT: return "long";
    case FIELD_FLOAT: return "float";
    case FIELD_DOUBLE: return "double";
    case FIELD_DECIMAL: return "decimal";
    case FIELD_TIMESTAMP: return "timestamp";
    case FIELD_LONGSTR: return "longstr";
    case FIELD_BINARY: return "binary";
    case FIELD_TABLE: return "table";
    case FIELD_ARRAY: return "array";
    case FIELD_VOID: return "void";
    default: return "unknown";
    }
}

bool
field_is_integer(const struct field *field)
{
    switch (field->type) {
    case FIELD_I8:
    case FIELD_U8:
    case FIELD_I16:
    case FIELD_U16:
    case FIELD_I32:
    case FIELD_U32:
    case FIELD_I64:
    case FIELD_I64_ALT: return true;
    default: return false;
    }
}

static double
double_of_bits(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static double
float_of_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

static void
read_value(struct wire_reader *r, struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL: f->i64 = wire_read_u8(r) != 0; break;
    // NOLINTNEXTLINE(bugprone-signed-char-misuse,cert-str34-c): a number, no text
    case FIELD_I8: f->i64 = (int8_t)wire_read_u8(r); break;
    case FIELD_U8: f->i64 = wire_read_u8(r); break;
    case FIELD_I16: f->i64 = (int16_t)wire_read_u16(r); break;
    case FIELD_U16: f->i64 = wire_read_u16(r); break;
    case FIELD_I32: f->i64 = (int32_t)wire_read_u32(r); break;
    case FIELD_U32: f->i64 = wire_read_u32(r); break;
    case FIELD_I64:
    case FIELD_I64_ALT:
    case FIELD_TIMESTAMP: f->i64 = (int64_t)wire_read_u64(r); break;
    case FIELD_FLOAT: f->f64 = float_of_bits(wire_read_u32(r)); break;
    case FIELD_DOUBLE: f->f64 = double_of_bits(wire_read_u64(r)); break;
    case FIELD_DECIMAL:
        f->decimal.scale = wire_read_u8(r);
        f->decimal.value = wire_read_u32(r);
        break;
    case FIELD_LONGSTR:
    case FIELD_BINARY: f->bytes = wire_read_longstr(r); break;
    case FIELD_TABLE: f->table = wire_read_longstr(r); break;
    case FIELD_ARRAY: f->array = wire_read_longstr(r); break;
    case FIELD_VOID: break;
    default: r->is_bad = true; break;
    }
}

bool
field_read(struct wire_reader *r, struct field *ret)
{
    struct field f = {.type = wire_read_u8(r)};
    if (!r->is_bad)
        read_value(r, &f);
    if (r->is_bad)
        return false;
    *ret = f;
    return true;
}

static void
append_prefixed(struct buf *buf, struct slice s)
{
    if (s.len > UINT32_MAX) {
        buf->failed = true;
        return;
    }
    buf_append_u32be(buf, (uint32_t)s.len);
    buf_append_slice(buf, s);
}

static void
append_double(struct buf *buf, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_append_u64be(buf, bits);
}

static void
append_float(struct buf *buf, double v)
{
    float narrow = (float)v;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    buf_append_u32be(buf, bits);
}

void
field_append(struct buf *buf, const struct field *f)
{
    buf_append_u8(buf, f->type);
    switch (f->type) {
    case FIELD_BOOL: buf_append_u8(buf, f->i64 != 0); break;
    case FIELD_I8:
    case FIELD_U8: buf_append_u8(buf, (uint8_t)f->i64); break;
    case FIELD_I16:
    case FIELD_U16: buf_append_u16be(buf, (uint16_t)f->i64); break;
    case FIELD_I32:
    case FIELD_U32: buf_append_u32be(buf, (uint32_t)f->i64); break;
    case FIELD_I64:
    case FIELD_I64_ALT:
    case FIELD_TIMESTAMP: buf_append_u64be(buf, (uint64_t)f->i64); break;
    case FIELD_FLOAT: append_float(buf, f->f64); break;
    case FIELD_DOUBLE: append_double(buf, f->f64); break;
    case FIELD_DECIMAL:
        buf_append_u8(buf, f->decimal.scale);
        buf_append_u32be(buf, f->decimal.value);
        break;
    case FIELD_LONGSTR:
    case FIELD_BINARY: append_prefixed(buf, f->bytes); break;
    case FIELD_TABLE: append_prefixed(buf, f->table); break;
    case FIELD_ARRAY: append_prefixed(buf, f->array); break;
    case FIELD_VOID: break;
    default: buf->failed = true; break;
    }
}
