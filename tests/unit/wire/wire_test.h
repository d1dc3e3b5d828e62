// wire_test.h: what the tests of amqp/wire share.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "amqp/wire/bytes.h"
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/slice.h"

// The bytes in a heap block of exactly their size, so that AddressSanitizer sees reads past the end. Freed by
// exact_free.
static inline struct slice
exact_new(struct slice s)
{
    if (s.len == 0)
        return SLICE_EMPTY;
    uint8_t *p = malloc(s.len);
    assert_non_null(p);
    memcpy(p, s.ptr, s.len);
    return slice_of(p, s.len);
}

static inline void
exact_free(struct slice s)
{
    free((void *)(uintptr_t)s.ptr);
}

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

#define assert_slice_eq(got, want)                                                                           \
    do {                                                                                                     \
        struct slice got_ = (got), want_ = (want);                                                           \
        assert_int_equal(got_.len, want_.len);                                                               \
        if (want_.len != 0)                                                                                  \
            assert_memory_equal(got_.ptr, want_.ptr, want_.len);                                             \
    } while (0)

#define assert_text(buf, text) assert_string_equal(buf_cstr(buf), text)
