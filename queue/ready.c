// ready.c: chunk chain and heap of struct ready.
//
// Chunks are linked singly; the FIFO is the range (head, head_pos) … (tail, tail_pos). A chunk that has
// been read through goes back to its pool at once, also the last one, so an empty queue holds none.
#include "queue/ready.h"

#include "src/base/mem.h"

// LIMIT: chunks kept for reuse by a worker: 1 MiB of small ones, 3 MiB of large ones.
enum { KEEP_SMALL = 4096, KEEP_LARGE = 512, HEAP_FIRST_CAP = 8 };

static size_t
chunk_bytes(uint32_t cap)
{
    return sizeof(struct ready_chunk) + (size_t)cap * sizeof(struct ready_entry);
}

void
ready_pools_init(struct ready_pools *p)
{
    pool_init(&p->small, chunk_bytes(READY_CHUNK_SMALL), KEEP_SMALL);
    pool_init(&p->large, chunk_bytes(READY_CHUNK_LARGE), KEEP_LARGE);
}

void
ready_pools_fini(struct ready_pools *p)
{
    pool_fini(&p->small);
    pool_fini(&p->large);
}

bool
ready_grow(struct ready *r, struct ready_pools *p)
{
    bool is_first = r->tail == NULL;
    struct ready_chunk *chunk = pool_take(is_first ? &p->small : &p->large);
    if (chunk == NULL)
        return false;
    chunk->next = NULL;
    chunk->cap = is_first ? READY_CHUNK_SMALL : READY_CHUNK_LARGE;
    if (is_first) {
        r->head = chunk;
        r->head_pos = 0;
    } else {
        r->tail->next = chunk;
    }
    r->tail = chunk;
    r->tail_pos = 0;
    return true;
}

static void
heap_up(struct ready_entry *heap, uint32_t at)
{
    struct ready_entry e = heap[at];
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (heap[parent].seq < e.seq)
            break;
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = e;
}

static void
heap_down(struct ready_entry *heap, uint32_t count, uint32_t at)
{
    struct ready_entry e = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1].seq < heap[child].seq)
            child++;
        if (e.seq < heap[child].seq)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = e;
}

static bool
heap_reserve(struct ready *r)
{
    uint64_t want = (uint64_t)r->heap_count + r->reserved + 1;
    if (want <= r->heap_cap)
        return true;
    uint64_t cap = r->heap_cap == 0 ? HEAP_FIRST_CAP : (uint64_t)r->heap_cap * 2;
    if (cap > UINT32_MAX / 2)
        return false;
    struct ready_entry *heap = mem_realloc(r->heap, cap * sizeof(*heap));
    if (heap == NULL)
        return false;
    r->heap = heap;
    r->heap_cap = (uint32_t)cap;
    return true;
}

// An empty heap holds no memory, unless a place in it is promised.
static void
heap_trim(struct ready *r)
{
    if (r->heap_count > 0 || r->reserved > 0)
        return;
    mem_free(r->heap);
    r->heap = NULL;
    r->heap_cap = 0;
}

void
ready_remove_heap(struct ready *r, uint32_t at)
{
    LV_ASSERT(at < r->heap_count);
    r->heap_count--;
    r->count--;
    if (at < r->heap_count) {
        r->heap[at] = r->heap[r->heap_count];
        heap_up(r->heap, at);
        heap_down(r->heap, r->heap_count, at);
    }
    heap_trim(r);
}

static void
heap_add(struct ready *r, const struct ready_entry *e)
{
    r->heap[r->heap_count] = *e;
    heap_up(r->heap, r->heap_count);
    r->heap_count++;
    r->count++;
}

bool
ready_push_returned(struct ready *r, const struct ready_entry *e)
{
    if (!heap_reserve(r))
        return false;
    heap_add(r, e);
    return true;
}

bool
ready_reserve_return(struct ready *r)
{
    if (!heap_reserve(r))
        return false;
    r->reserved++;
    return true;
}

void
ready_push_reserved(struct ready *r, const struct ready_entry *e)
{
    LV_ASSERT(r->reserved > 0 && r->heap_count < r->heap_cap);
    r->reserved--;
    heap_add(r, e);
}

void
ready_cancel_reserved(struct ready *r)
{
    LV_ASSERT(r->reserved > 0);
    r->reserved--;
    heap_trim(r);
}

void
ready_pop_fifo(struct ready *r, struct ready_pools *p)
{
    LV_ASSERT(r->head != NULL);
    r->count--;
    r->head_pos++;
    struct ready_chunk *chunk = r->head;
    uint32_t end = chunk == r->tail ? r->tail_pos : chunk->cap;
    if (r->head_pos < end)
        return;
    r->head = chunk->next;
    r->head_pos = 0;
    if (r->head == NULL) {
        r->tail = NULL;
        r->tail_pos = 0;
    }
    pool_give(chunk->cap == READY_CHUNK_SMALL ? &p->small : &p->large, chunk);
}

void
ready_pop_slow(struct ready *r, struct ready_pools *p)
{
    LV_ASSERT(r->count > 0);
    if (r->heap_count == 0 || ready_peek(r) != &r->heap[0]) {
        ready_pop_fifo(r, p);
        return;
    }
    r->count--;
    r->heap_count--;
    r->heap[0] = r->heap[r->heap_count];
    if (r->heap_count > 0)
        heap_down(r->heap, r->heap_count, 0);
    else
        heap_trim(r);
}

struct ready_entry *
ready_next(const struct ready *r, struct ready_cursor *at)
{
    if (at->chunk == NULL) {
        at->chunk = r->head;
        at->pos = r->head_pos;
    } else if (++at->pos == at->chunk->cap) {
        at->chunk = at->chunk->next;
        at->pos = 0;
    }
    bool is_end = at->chunk == NULL || (at->chunk == r->tail && at->pos == r->tail_pos);
    return is_end ? NULL : &at->chunk->entries[at->pos];
}

void
ready_seek(const struct ready *r, uint64_t from, struct ready_cursor *ret_at)
{
    struct ready_chunk *chunk = r->head, *before = NULL;
    *ret_at = (struct ready_cursor){0};
    for (; chunk != NULL && chunk != r->tail && chunk->entries[chunk->cap - 1].seq < from;
         chunk = chunk->next)
        before = chunk;
    if (chunk == NULL)
        return;
    uint32_t first = chunk == r->head ? r->head_pos : 0, end = chunk == r->tail ? r->tail_pos : chunk->cap;
    uint32_t pos = first;
    while (pos < end && chunk->entries[pos].seq < from)
        pos++;
    if (pos > first)
        *ret_at = (struct ready_cursor){chunk, pos - 1};
    else if (before != NULL)
        *ret_at = (struct ready_cursor){before, before->cap - 1};
}

void
ready_move_fifo(struct ready *to, struct ready *from)
{
    LV_ASSERT(to->head == NULL);
    uint64_t count = ready_fifo_count(from);
    to->head = from->head;
    to->tail = from->tail;
    to->head_pos = from->head_pos;
    to->tail_pos = from->tail_pos;
    to->count += count;
    from->count -= count;
    from->head = from->tail = NULL;
    from->head_pos = from->tail_pos = 0;
}

// Takes `chunk` and those behind it, from `pos` on: in a chunk of its own, or the chunk itself when all of it goes.
static struct ready_chunk *
cut_chunk(struct ready *from, struct ready_chunk *chunk, uint32_t pos, struct ready_pools *p)
{
    struct ready_chunk *fresh = chunk;
    if (pos > 0) {
        fresh = pool_take(chunk->cap == READY_CHUNK_SMALL ? &p->small : &p->large);
        if (fresh == NULL)
            return NULL;
        fresh->cap = chunk->cap;
        fresh->next = chunk->next;
        memcpy(fresh->entries + pos, chunk->entries + pos, (chunk->cap - pos) * sizeof(*chunk->entries));
    } else {
        struct ready_chunk *before = from->head;
        while (before->next != chunk)
            before = before->next;
        chunk = before;
        pos = before->cap;
    }
    chunk->next = NULL;
    from->tail = chunk;
    from->tail_pos = (uint16_t)pos;
    return fresh;
}

bool
ready_cut_fifo(struct ready *from, const struct ready_cursor *at, struct ready *to, struct ready_pools *p)
{
    LV_ASSERT(to->head == NULL && at->chunk != NULL);
    if (at->chunk == from->head && at->pos == from->head_pos) {
        ready_move_fifo(to, from);
        return true;
    }
    uint64_t staying = 0;
    struct ready_cursor walk = {0};
    while (ready_next(from, &walk) != NULL && (walk.chunk != at->chunk || walk.pos != at->pos))
        staying++;
    struct ready_chunk *tail = from->tail;
    uint16_t tail_pos = from->tail_pos;
    struct ready_chunk *fresh = cut_chunk(from, at->chunk, at->pos, p);
    if (fresh == NULL)
        return false;
    to->head = fresh;
    to->head_pos = (uint16_t)at->pos;
    to->tail = tail == at->chunk ? fresh : tail;
    to->tail_pos = tail_pos;
    uint64_t going = ready_fifo_count(from) - staying;
    to->count += going;
    from->count -= going;
    return true;
}

size_t
ready_memory(const struct ready *r)
{
    size_t bytes = (size_t)r->heap_cap * sizeof(struct ready_entry);
    if (r->head == NULL)
        return bytes;
    // All but the first chunk are large; counted, not walked: the chain may be long.
    uint64_t fifo = r->count - r->heap_count + r->head_pos;
    uint64_t chunks = 1;
    if (r->head != r->tail)
        chunks += (fifo - r->head->cap + READY_CHUNK_LARGE - 1) / READY_CHUNK_LARGE;
    return bytes + chunk_bytes(r->head->cap) + (chunks - 1) * chunk_bytes(READY_CHUNK_LARGE);
}

void
ready_fini(struct ready *r)
{
    LV_ASSERT(r->count == 0 && r->head == NULL);
    r->reserved = 0;
    heap_trim(r);
}
