// buf.c: growth by doubling; after a failed allocation the buffer only remembers that it failed.
#include <stdio.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"

enum { BUF_CAP_MIN = 64 };

void
buf_fini(struct buf *b)
{
    mem_free(b->ptr);
    *b = BUF_INIT;
}

void
buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

// The slow half of buf_reserve.
static bool __attribute__((noinline)) buf_grow(struct buf *b, size_t extra)
{
    size_t need = 0;
    if (b->failed || __builtin_add_overflow(b->len, extra, &need) || need > SIZE_MAX / 4) {
        b->failed = true;
        return false;
    }
    size_t cap = LV_MAX(b->cap * 2, (size_t)BUF_CAP_MIN);
    cap = LV_MAX(cap, need);
    uint8_t *ptr = mem_realloc(b->ptr, cap);
    if (ptr == NULL) {
        b->failed = true;
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

bool
buf_reserve(struct buf *b, size_t extra)
{
    LV_ASSERT_HOT(b->len <= b->cap);
    if (LV_LIKELY(!b->failed && extra <= b->cap - b->len))
        return true;
    return buf_grow(b, extra);
}

void
buf_append(struct buf *b, const void *ptr, size_t len)
{
    if (len == 0 || !buf_reserve(b, len))
        return;
    memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
}

void
buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.ptr, s.len);
}

void
buf_append_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void
buf_append_u8(struct buf *b, uint8_t v)
{
    if (buf_reserve(b, 1))
        b->ptr[b->len++] = v;
}

void
buf_append_u16be(struct buf *b, uint16_t v)
{
    v = __builtin_bswap16(v);
    buf_append(b, &v, sizeof v);
}

void
buf_append_u32be(struct buf *b, uint32_t v)
{
    v = __builtin_bswap32(v);
    buf_append(b, &v, sizeof v);
}

void
buf_append_u64be(struct buf *b, uint64_t v)
{
    v = __builtin_bswap64(v);
    buf_append(b, &v, sizeof v);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    // Room first, so that most texts are formatted once only.
    if (!buf_reserve(b, BUF_CAP_MIN))
        return;
    va_list again;
    va_copy(again, ap);
    int len = vsnprintf((char *)b->ptr + b->len, b->cap - b->len, fmt, ap);
    if (len < 0) {
        b->failed = true;
    } else if ((size_t)len < b->cap - b->len) {
        b->len += (size_t)len;
    } else if (buf_reserve(b, (size_t)len + 1)) {
        vsnprintf((char *)b->ptr + b->len, b->cap - b->len, fmt, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void
buf_drop_front(struct buf *b, size_t len)
{
    LV_ASSERT(len <= b->len);
    if (len == 0)
        return;
    b->len -= len;
    memmove(b->ptr, b->ptr + len, b->len);
}

const char *
buf_cstr(struct buf *b)
{
    if (!buf_reserve(b, 1))
        return "";
    b->ptr[b->len] = '\0';
    return (const char *)b->ptr;
}
