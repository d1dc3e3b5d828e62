// buf.h: a growable byte buffer for output, JSON and texts. Owned by one thread at a time.
//
// Invariant: len <= cap; ptr is NULL exactly when cap is 0. An append that finds no memory sets `failed` and
// changes nothing else; later appends do nothing; the owner checks `failed` once at the end.
#pragma once

#include <stdarg.h>

#include "src/base/lv.h"
#include "src/base/slice.h"

struct buf {
    uint8_t *ptr;
    size_t len;  // bytes in use
    size_t cap;  // bytes allocated
    bool failed; // an allocation failed; content is not complete
};

#define BUF_INIT ((struct buf){0})

void buf_fini(struct buf *b);  // frees; b is as after BUF_INIT
void buf_reset(struct buf *b); // empties, keeps the memory
bool buf_reserve(struct buf *b,
                 size_t extra); // room for `extra` more bytes; false and failed = true when there is none
void buf_append(struct buf *b, const void *ptr, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *text);
void buf_append_u8(struct buf *b, uint8_t v);
void buf_append_u16be(struct buf *b, uint16_t v);
void buf_append_u32be(struct buf *b, uint32_t v);
void buf_append_u64be(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) LV_PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) LV_PRINTF(2, 0);
// Removes the first `len` bytes, moving the rest to the front.
void buf_drop_front(struct buf *b, size_t len);
// NUL-terminates without counting the NUL, and returns the text; "" when out of memory.
const char *buf_cstr(struct buf *b);

static inline struct slice
buf_slice(const struct buf *b)
{
    return (struct slice){b->ptr, b->len};
}
