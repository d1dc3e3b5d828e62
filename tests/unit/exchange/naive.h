// naive.h: what the exchange types mean, written down as simply as possible, to compare the real thing with.
#pragma once

#include "amqp/wire/table.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

enum { NAIVE_WORDS_MAX = 300, NAIVE_HEADERS_MAX = 600 };

static inline size_t
naive_split(struct slice key, struct slice *words)
{
    size_t count = 0;
    if (key.len == 0)
        return 0;
    size_t start = 0;
    for (size_t i = 0; i <= key.len; i++) {
        if (i == key.len || key.ptr[i] == '.') {
            words[count++] = slice_of(key.ptr + start, i - start);
            start = i + 1;
        }
    }
    return count;
}

// can[i][j]: the first i words of the pattern match the first j words of the key.
static inline bool
naive_topic(struct slice pattern, struct slice key)
{
    static _Thread_local struct slice p[NAIVE_WORDS_MAX], k[NAIVE_WORDS_MAX];
    static _Thread_local bool can[NAIVE_WORDS_MAX + 1][NAIVE_WORDS_MAX + 1];
    size_t pn = naive_split(pattern, p), kn = naive_split(key, k);
    for (size_t i = 0; i <= pn; i++) {
        for (size_t j = 0; j <= kn; j++) {
            if (i == 0)
                can[i][j] = j == 0;
            else if (slice_eq_str(p[i - 1], "#"))
                can[i][j] = can[i - 1][j] || (j > 0 && can[i][j - 1]);
            else
                can[i][j] = j > 0 && can[i - 1][j - 1] &&
                            (slice_eq_str(p[i - 1], "*") || slice_eq(p[i - 1], k[j - 1]));
        }
    }
    return can[pn][kn];
}

static inline bool
naive_is_number(const struct field *f)
{
    return field_is_integer(f) || f->type == FIELD_TIMESTAMP || f->type == FIELD_FLOAT ||
           f->type == FIELD_DOUBLE;
}

// A long double holds all 64-bit numbers exactly.
static inline long double
naive_number(const struct field *f)
{
    if (f->type == FIELD_FLOAT || f->type == FIELD_DOUBLE)
        return f->f64;
    return f->type == FIELD_TIMESTAMP ? (long double)(uint64_t)f->i64 : (long double)f->i64;
}

static inline bool
naive_value_eq(const struct field *a, const struct field *b)
{
    bool a_bytes = a->type == FIELD_LONGSTR || a->type == FIELD_BINARY;
    bool b_bytes = b->type == FIELD_LONGSTR || b->type == FIELD_BINARY;
    if (a_bytes && b_bytes)
        return slice_eq(a->bytes, b->bytes);
    // Not a number is equal to itself, which Erlang cannot even read.
    if (naive_is_number(a) && naive_is_number(b) && !(naive_number(a) != naive_number(a)))
        return naive_number(a) == naive_number(b);
    return field_eq(a, b);
}

// The n-th entry (from 0) of that key, in the order of the table.
static inline bool
naive_find(struct slice table, struct slice key, size_t n, struct field *ret)
{
    struct slice k;
    struct field f;
    for (struct table_iter it = table_iter_of(table); table_iter_next(&it, &k, &f);) {
        if (slice_eq(k, key) && n-- == 0) {
            *ret = f;
            return true;
        }
    }
    return false;
}

static inline bool
naive_headers(struct slice arguments, struct slice headers)
{
    struct slice mode = SLICE_LIT("all");
    table_find_longstr(arguments, SLICE_LIT("x-match"), &mode);
    bool any = slice_eq_str(mode, "any") || slice_eq_str(mode, "any-with-x");
    bool with_x = slice_eq_str(mode, "all-with-x") || slice_eq_str(mode, "any-with-x");
    size_t counted = 0, matched = 0;
    struct slice key, earlier_key;
    struct field want, have, earlier;
    for (struct table_iter it = table_iter_of(arguments); table_iter_next(&it, &key, &want);) {
        if (slice_eq_str(key, "x-match") ||
            (!with_x && key.len >= 2 && key.ptr[0] == 'x' && key.ptr[1] == '-'))
            continue;
        size_t n = 0; // entries of this key before this one
        for (struct table_iter e = table_iter_of(arguments); table_iter_next(&e, &earlier_key, &earlier);) {
            if (earlier_key.ptr == key.ptr)
                break;
            n += slice_eq(earlier_key, key);
        }
        counted++;
        matched +=
            naive_find(headers, key, n, &have) && (want.type == FIELD_VOID || naive_value_eq(&want, &have));
    }
    return any ? matched > 0 : matched == counted;
}
