// output.h: what one connection has to send: bytes encoded into chunks of its worker's pool, and bodies by
// reference.
//
// Chunks are held only while there is something to send. Encoding reserves room, writes, and commits: a few
// stores and no call on the hot path. Order is kept between both kinds. A failed allocation sets `failed`,
// and nothing may be sent any more (the stream would have a hole): the owner drops the connection. One
// thread.
//
// Invariants: start <= pos <= end, all within `tail`, or all NULL; each piece holds a reference on its chunk
// or its message; bytes [start, pos) of the tail are not in a piece yet.
#pragma once

#include "amqp/transport.h"
#include "queue/message.h"
#include "src/base/lv.h"
#include "src/base/pool.h"
#include "src/base/slice.h"

enum { OUTPUT_CHUNK_BYTES = 16 * 1024 }; // of a pooled chunk, its head included

struct output_chunk {
    uint32_t refs;     // pieces in it, and 1 while it is somebody's tail
    uint32_t cap;      // of bytes
    struct pool *pool; // NULL: too large for the pool
    uint8_t bytes[];
};

struct output_piece {
    const uint8_t *ptr;
    size_t len;
    struct output_chunk *chunk; // one of the two is not NULL
    struct message *msg;
};

struct output {
    uint8_t *start, *pos, *end;
    struct output_chunk *tail;
    struct output_piece *pieces; // ring
    uint32_t head, count, cap;   // cap: power of two, or 0
    size_t piece_bytes;          // sum of pieces
    struct pool *pool;           // of chunks: OUTPUT_CHUNK_BYTES each
    bool failed;
};

void output_init(struct output *o, struct pool *pool);
void output_clear(struct output *o); // drops everything and gives the memory back

static inline size_t
output_size(const struct output *o)
{
    return o->piece_bytes + (size_t)(o->pos - o->start);
}

uint8_t *output_reserve_slow(struct output *o, size_t len);

// Room for `len` bytes in one piece; NULL, with o->failed, when out of memory. Valid until the next call but
// output_commit.
static inline uint8_t *
output_reserve(struct output *o, size_t len)
{
    if (LV_LIKELY((size_t)(o->end - o->pos) >= len))
        return o->pos;
    return output_reserve_slow(o, len);
}

// `end`: the place after the last byte written into what was reserved.
static inline void
output_commit(struct output *o, uint8_t *end)
{
    LV_ASSERT_HOT(end >= o->pos && end <= o->end);
    o->pos = end;
}

void output_append(struct output *o, struct slice bytes);
// Bytes within msg, of which a reference is taken.
void output_append_message(struct output *o, struct message *msg, struct slice bytes);

// Writes once, as much as the transport takes. Bytes written, 0 when there is nothing to write, or the
// transport's error.
ssize_t output_write(struct output *o, struct transport *t);
