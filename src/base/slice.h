// slice.h: bytes that somebody else owns: a pointer and a length, passed by value. Never NUL-terminated.
#pragma once

#include <string.h>

#include "src/base/lv.h"

struct slice {
    const uint8_t *ptr; // may be NULL when len is 0
    size_t len;         // bytes
};

#define SLICE_EMPTY  ((struct slice){NULL, 0})
#define SLICE_LIT(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})
// For printf: "%.*s", SLICE_FMT(s)
#define SLICE_FMT(s) (int)(s).len, (const char *)(s).ptr

static inline struct slice
slice_of(const void *ptr, size_t len)
{
    return (struct slice){(const uint8_t *)ptr, len};
}

static inline struct slice
slice_str(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool
slice_eq_str(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

static inline bool
slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline struct slice
slice_from(struct slice s, size_t offset)
{
    LV_ASSERT_HOT(offset <= s.len);
    return (struct slice){s.ptr + offset, s.len - offset};
}

static inline struct slice
slice_head(struct slice s, size_t len)
{
    LV_ASSERT_HOT(len <= s.len);
    return (struct slice){s.ptr, len};
}

// Copies `s` to *at, where there is room, and moves *at behind it: for slices that lie behind the struct they belong to.
static inline struct slice
slice_place(uint8_t **at, struct slice s)
{
    struct slice copy = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

// Byte order, shorter first among equals: -1, 0 or 1.
int slice_cmp(struct slice a, struct slice b);

// Seeded 64-bit hash (XXH3 with the process's random seed, so that clients cannot choose collisions). Any
// thread.
uint64_t slice_hash(struct slice s);
// Continues a hash: the hash of s mixed with the value of an earlier one.
uint64_t slice_hash_more(struct slice s, uint64_t earlier);
// The same on every machine, in every run: for what has to be decided alike everywhere. Clients can choose
// collisions.
uint64_t slice_hash_fixed(struct slice s, uint64_t seed);
