// header_rule.c: see header_rule.h. What RabbitMQ 3.10.8 does (rabbit_exchange_type_headers):
//
//   - x-match: all, any, all-with-x, any-with-x; absent or anything else is all. It is never itself compared.
//   - Keys that start with "x-" are not looked at, except with the two -with-x modes.
//   - all without any entry matches every message; any without any entry matches none.
//   - A void value in the binding asks for the key only. All others are compared with Erlang's == without
//     regard to the field type: numbers by value (an integer with another width, a timestamp, a float),
//     longstr like binary. Tables and arrays are equal as in the arguments of a second declare (field_eq);
//     RabbitMQ also wants the integer types and the order of keys inside them to be the same, which no client
//     can rely on.
//   - Both sides are sorted by key and walked together, so that of several entries of one key the n-th is
//     compared with the n-th of the other side.
#include "exchange/header_rule.h"

struct header_rule
header_rule_of(const struct binding *b)
{
    struct header_rule rule = {HEADER_ALL, table_iter_of(b->canonical)};
    struct slice mode;
    if (!table_find_longstr(b->canonical, SLICE_LIT("x-match"), &mode))
        return rule;
    if (slice_eq_str(mode, "any"))
        rule.mode = HEADER_ANY;
    else if (slice_eq_str(mode, "all-with-x"))
        rule.mode = HEADER_ALL_X;
    else if (slice_eq_str(mode, "any-with-x"))
        rule.mode = HEADER_ANY_X;
    return rule;
}

bool
header_rule_next(struct header_rule *rule, struct header_item *ret_entry)
{
    bool with_x = rule->mode == HEADER_ALL_X || rule->mode == HEADER_ANY_X;
    struct header_item entry;
    while (table_iter_next(&rule->it, &entry.key, &entry.value)) {
        if (slice_has_prefix(entry.key, SLICE_LIT("x-")) && (!with_x || slice_eq_str(entry.key, "x-match")))
            continue;
        *ret_entry = entry;
        return true;
    }
    return false;
}

// --- values ---

enum value_class { VALUE_OTHER, VALUE_INTEGER, VALUE_FLOAT, VALUE_BYTES };

static enum value_class
value_class(const struct field *f)
{
    switch (f->type) {
    case FIELD_TIMESTAMP: return VALUE_INTEGER;
    case FIELD_FLOAT:
    case FIELD_DOUBLE: return VALUE_FLOAT;
    case FIELD_LONGSTR:
    case FIELD_BINARY: return VALUE_BYTES;
    default: return field_is_integer(f) ? VALUE_INTEGER : VALUE_OTHER;
    }
}

// A timestamp beyond the signed range: its bits are negative, its value is not.
static bool
is_huge(const struct field *f)
{
    return f->type == FIELD_TIMESTAMP && f->i64 < 0;
}

static double
integer_as_float(const struct field *f)
{
    return is_huge(f) ? (double)(uint64_t)f->i64 : (double)f->i64;
}

// Exact, as in Erlang: 2^53 + 1 is not equal to the float 2^53.
static bool
integer_eq_float(const struct field *integer, double f)
{
    if (integer_as_float(integer) != f)
        return false;
    if (is_huge(integer)) // f is at least 2^63 and at most 2^64 here
        return f < 0x1p64 && (uint64_t)f == (uint64_t)integer->i64;
    return f < 0x1p63 && (int64_t)f == integer->i64;
}

bool
header_value_eq(const struct field *a, const struct field *b)
{
    enum value_class class_a = value_class(a), class_b = value_class(b);
    if (class_a == VALUE_INTEGER && class_b == VALUE_INTEGER)
        return a->i64 == b->i64 && is_huge(a) == is_huge(b);
    if (class_a == VALUE_INTEGER && class_b == VALUE_FLOAT)
        return integer_eq_float(a, b->f64);
    if (class_a == VALUE_FLOAT && class_b == VALUE_INTEGER)
        return integer_eq_float(b, a->f64);
    if (class_a == VALUE_BYTES && class_b == VALUE_BYTES)
        return slice_eq(a->bytes, b->bytes);
    return field_eq(a, b);
}

uint64_t
header_value_hash(const struct field *value, uint64_t earlier)
{
    enum value_class class = value_class(value);
    if (class == VALUE_BYTES)
        return slice_hash_more(value->bytes, earlier);
    uint64_t parts[2] = {(uint64_t) class, 0};
    if (class == VALUE_INTEGER || class == VALUE_FLOAT) {
        double number = class == VALUE_INTEGER ? integer_as_float(value) : value->f64;
        number += 0.0; // minus zero becomes zero
        memcpy(&parts[1], &number, sizeof number);
        parts[0] = VALUE_FLOAT;
    } else {
        // Tables, arrays, decimals: only their type, which is enough for what hardly anybody uses.
        parts[1] = value->type == FIELD_BOOL ? UINT64_C(0x100) + (value->i64 != 0) : value->type;
    }
    return slice_hash_more(slice_of(parts, sizeof parts), earlier);
}

bool
header_rule_match(struct header_rule rule, const struct header_item *headers, size_t count,
                  struct header_item *ret_first)
{
    bool is_any = header_mode_is_any(rule.mode);
    size_t idx = 0;
    struct header_item entry;
    while (header_rule_next(&rule, &entry)) {
        int order = -1; // of the header at hand against the entry
        while (idx < count && (order = slice_cmp(headers[idx].key, entry.key)) < 0)
            idx++;
        if (idx == count)
            return false; // what is left of the rule is not there
        bool is_equal = false;
        if (order == 0) {
            const struct field *value = &headers[idx++].value;
            is_equal = entry.value.type == FIELD_VOID || header_value_eq(&entry.value, value);
        }
        if (is_equal && is_any) {
            *ret_first = entry;
            return true;
        }
        if (!is_equal && !is_any)
            return false;
    }
    return !is_any;
}
