// output.c: a ring of pieces (chunk ranges and message ranges) written with one writev.
#include "amqp/output.h"

#include "src/base/err.h"
#include "src/base/mem.h"

enum { PIECES_MIN = 16, WRITE_PIECES_MAX = 128 };

void
output_init(struct output *o, struct pool *pool)
{
    LV_ASSERT(pool->object_size == OUTPUT_CHUNK_BYTES);
    *o = (struct output){.pool = pool};
}

static void
chunk_unref(struct output_chunk *c)
{
    LV_ASSERT_HOT(c->refs > 0);
    if (--c->refs > 0)
        return;
    if (c->pool != NULL)
        pool_give(c->pool, c);
    else
        mem_free(c);
}

static struct output_chunk *
chunk_new(struct output *o, size_t len)
{
    bool is_pooled = len <= OUTPUT_CHUNK_BYTES - sizeof(struct output_chunk);
    if (len > UINT32_MAX)
        return NULL;
    struct output_chunk *c = is_pooled ? pool_take(o->pool) : mem_alloc(sizeof *c + len);
    if (c == NULL)
        return NULL;
    c->refs = 1;
    c->cap = is_pooled ? (uint32_t)(OUTPUT_CHUNK_BYTES - sizeof *c) : (uint32_t)len;
    c->pool = is_pooled ? o->pool : NULL;
    return c;
}

static bool
ring_grow(struct output *o)
{
    uint32_t cap = o->cap == 0 ? PIECES_MIN : o->cap * 2;
    struct output_piece *pieces = cap == 0 ? NULL : mem_alloc(cap * sizeof *pieces);
    if (pieces == NULL) {
        o->failed = true;
        return false;
    }
    for (uint32_t i = 0; i < o->count; i++)
        pieces[i] = o->pieces[(o->head + i) & (o->cap - 1)];
    mem_free(o->pieces);
    o->pieces = pieces;
    o->cap = cap;
    o->head = 0;
    return true;
}

static bool
push(struct output *o, const struct output_piece *piece)
{
    if (o->count == o->cap && !ring_grow(o))
        return false;
    o->pieces[(o->head + o->count) & (o->cap - 1)] = *piece;
    o->count++;
    o->piece_bytes += piece->len;
    return true;
}

// Makes a piece of what was committed since the last one.
static bool
seal(struct output *o)
{
    if (o->pos == o->start)
        return true;
    size_t len = (size_t)(o->pos - o->start);
    if (o->count > 0) {
        struct output_piece *last = &o->pieces[(o->head + o->count - 1) & (o->cap - 1)];
        if (last->chunk == o->tail && last->ptr + last->len == o->start) {
            last->len += len;
            o->piece_bytes += len;
            o->start = o->pos;
            return true;
        }
    }
    if (!push(o, &(struct output_piece){.ptr = o->start, .len = len, .chunk = o->tail}))
        return false;
    o->tail->refs++;
    o->start = o->pos;
    return true;
}

static void
drop_tail(struct output *o)
{
    if (o->tail != NULL)
        chunk_unref(o->tail);
    o->tail = NULL;
    o->start = o->pos = o->end = NULL;
}

uint8_t *
output_reserve_slow(struct output *o, size_t len)
{
    if (o->failed || !seal(o))
        return NULL;
    struct output_chunk *c = chunk_new(o, len);
    if (c == NULL) {
        o->failed = true;
        return NULL;
    }
    drop_tail(o);
    o->tail = c;
    o->start = o->pos = c->bytes;
    o->end = c->bytes + c->cap;
    return o->pos;
}

void
output_append(struct output *o, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    uint8_t *p = output_reserve(o, bytes.len);
    if (p == NULL)
        return;
    memcpy(p, bytes.ptr, bytes.len);
    output_commit(o, p + bytes.len);
}

void
output_append_message(struct output *o, struct message *msg, struct slice bytes)
{
    if (bytes.len == 0 || o->failed || !seal(o))
        return;
    if (push(o, &(struct output_piece){.ptr = bytes.ptr, .len = bytes.len, .msg = msg}))
        message_ref(msg);
}

static void
piece_release(struct output_piece *piece)
{
    if (piece->chunk != NULL)
        chunk_unref(piece->chunk);
    else
        message_unref(piece->msg);
}

static void
drop_written(struct output *o, size_t written)
{
    LV_ASSERT(written <= o->piece_bytes);
    o->piece_bytes -= written;
    while (written > 0) {
        struct output_piece *first = &o->pieces[o->head];
        if (written < first->len) {
            first->ptr += written;
            first->len -= written;
            return;
        }
        written -= first->len;
        piece_release(first);
        o->head = (o->head + 1) & (o->cap - 1);
        o->count--;
    }
}

// Nothing left: an idle connection holds no chunk, and no ring beyond the least one.
static void
release_memory(struct output *o)
{
    drop_tail(o);
    if (o->cap > PIECES_MIN) {
        mem_free(o->pieces);
        o->pieces = NULL;
        o->cap = 0;
    }
    o->head = 0;
}

ssize_t
output_write(struct output *o, struct transport *t)
{
    struct iovec iov[WRITE_PIECES_MAX];
    if (!seal(o))
        return -LE_NOMEM;
    int count = (int)LV_MIN(o->count, (uint32_t)WRITE_PIECES_MAX);
    if (count == 0)
        return 0;
    for (int i = 0; i < count; i++) {
        const struct output_piece *piece = &o->pieces[(o->head + (uint32_t)i) & (o->cap - 1)];
        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)piece->ptr, .iov_len = piece->len};
    }
    ssize_t n = t->ops->write(t, iov, count);
    if (n <= 0)
        return n;
    drop_written(o, (size_t)n);
    if (o->count == 0)
        release_memory(o);
    return n;
}

void
output_clear(struct output *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        piece_release(&o->pieces[(o->head + i) & (o->cap - 1)]);
    drop_tail(o);
    mem_free(o->pieces);
    bool failed = o->failed;
    *o = (struct output){.pool = o->pool, .failed = failed};
}
