// methods_impl.h: what the generated methods_gen.c is made of; included there alone.
#pragma once

#include "amqp/wire/bytes.h"
#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/base/utf8.h"

#define SIZE_BAD SIZE_MAX // the arguments cannot be encoded

// LIMIT: of one long string or table to be encoded, so that sums of a method's sizes overflow nothing; frames
// are far smaller.
#define LONGSTR_MAX ((size_t)1 << 30)

static inline int
check_table(struct slice table)
{
    int rc = table_validate(table, TABLE_DEPTH_MAX);
    return rc == -LE_SYNTAX ? -LE_CORRUPT : rc;
}

// Room for `size` bytes at the end of buf, not yet counted in its length; NULL, with buf->failed set, when
// there is none.
static inline uint8_t *
args_begin(struct buf *buf, size_t size)
{
    if (LV_UNLIKELY(size == SIZE_BAD || buf->failed || !buf_reserve(buf, size))) {
        buf->failed = true;
        return NULL;
    }
    return buf->ptr + buf->len;
}

// p: the place after the last byte written.
static inline void
args_end(struct buf *buf, const uint8_t *p)
{
    buf->len = (size_t)(p - buf->ptr);
    LV_ASSERT_HOT(buf->len <= buf->cap);
}

static inline uint8_t *
method_begin(struct buf *buf, uint16_t channel, uint32_t id, size_t args_size)
{
    uint8_t *p = args_begin(buf, args_size == SIZE_BAD ? SIZE_BAD : args_size + FRAME_OVERHEAD + sizeof id);
    if (LV_UNLIKELY(p == NULL))
        return NULL;
    p = frame_put_header(p, FRAME_METHOD, channel, (uint32_t)(args_size + sizeof id));
    return wire_put_u32(p, id);
}

static inline void
method_end(struct buf *buf, uint8_t *p)
{
    args_end(buf, wire_put_u8(p, FRAME_END));
}
