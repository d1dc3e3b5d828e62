// bytes.h: big-endian integers on raw pointers, and a reader that cannot run past its end.
//
// wire_get_* and wire_put_* check nothing: the caller knows that the bytes are there. `struct wire_reader` is
// for bytes from outside: a read that does not fit sets `is_bad`, moves to the end and gives zero or an empty
// slice, and so do all later ones; the caller asks once, at the end (wire_reader_is_done). Any thread; slices
// point into the bytes that were read. AMQP 0-9-1 §4.2.5.
#pragma once

#include <string.h>

#include "src/base/lv.h"
#include "src/base/slice.h"

static inline uint8_t
wire_get_u8(const uint8_t *p)
{
    return p[0];
}

static inline uint16_t
wire_get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t
wire_get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t
wire_get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

// Each wire_put_* returns the place after what it wrote.
static inline uint8_t *
wire_put_u8(uint8_t *p, uint8_t v)
{
    p[0] = v;
    return p + 1;
}

static inline uint8_t *
wire_put_u16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *
wire_put_u32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *
wire_put_u64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static inline uint8_t *
wire_put_bytes(uint8_t *p, struct slice s)
{
    if (s.len != 0)
        memcpy(p, s.ptr, s.len);
    return p + s.len;
}

// The caller has checked that s.len <= UINT8_MAX.
static inline uint8_t *
wire_put_shortstr(uint8_t *p, struct slice s)
{
    LV_ASSERT_HOT(s.len <= UINT8_MAX);
    return wire_put_bytes(wire_put_u8(p, (uint8_t)s.len), s);
}

// Also for tables. The caller has checked that s.len <= UINT32_MAX.
static inline uint8_t *
wire_put_longstr(uint8_t *p, struct slice s)
{
    LV_ASSERT_HOT(s.len <= UINT32_MAX);
    return wire_put_bytes(wire_put_u32(p, (uint32_t)s.len), s);
}

struct wire_reader {
    const uint8_t *pos; // next byte to read
    const uint8_t *end; // first byte that is not ours
    bool is_bad;        // something did not fit; pos == end from then on
};

static inline struct wire_reader
wire_reader_of(struct slice s)
{
    if (s.len == 0)
        s.ptr = (const uint8_t *)""; // so that pointer arithmetic is defined
    return (struct wire_reader){s.ptr, s.ptr + s.len, false};
}

static inline size_t
wire_reader_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->pos);
}

// Everything was read and everything was there.
static inline bool
wire_reader_is_done(const struct wire_reader *r)
{
    return !r->is_bad && r->pos == r->end;
}

// The place of the next `len` bytes, which are then behind the reader; NULL when they are not all there.
static inline const uint8_t *
wire_read_raw(struct wire_reader *r, size_t len)
{
    if (LV_UNLIKELY(wire_reader_left(r) < len)) {
        r->is_bad = true;
        r->pos = r->end;
        return NULL;
    }
    const uint8_t *p = r->pos;
    r->pos += len;
    return p;
}

static inline uint8_t
wire_read_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_read_raw(r, 1);
    return LV_LIKELY(p != NULL) ? wire_get_u8(p) : 0;
}

static inline uint16_t
wire_read_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_read_raw(r, 2);
    return LV_LIKELY(p != NULL) ? wire_get_u16(p) : 0;
}

static inline uint32_t
wire_read_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_read_raw(r, 4);
    return LV_LIKELY(p != NULL) ? wire_get_u32(p) : 0;
}

static inline uint64_t
wire_read_u64(struct wire_reader *r)
{
    const uint8_t *p = wire_read_raw(r, 8);
    return LV_LIKELY(p != NULL) ? wire_get_u64(p) : 0;
}

static inline struct slice
wire_read_bytes(struct wire_reader *r, size_t len)
{
    const uint8_t *p = wire_read_raw(r, len);
    return LV_LIKELY(p != NULL) ? slice_of(p, len) : SLICE_EMPTY;
}

static inline struct slice
wire_read_shortstr(struct wire_reader *r)
{
    return wire_read_bytes(r, wire_read_u8(r));
}

// Also for tables and arrays: the content without its length.
static inline struct slice
wire_read_longstr(struct wire_reader *r)
{
    return wire_read_bytes(r, wire_read_u32(r));
}
