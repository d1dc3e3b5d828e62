// ready.c: chunk chain and heap of struct ready.
//
// Chunks are linked singly; the FIFO is the range (head, head_pos) … (tail, tail_pos). A chunk that has
// been read through goes back to its pool at once, also the last one, so an empty queue holds none.
//
// The directory (struct ready_dir) has the chunks of the FIFO in order, each with a number that is not above its first: a binary search there, and one
// in the chunk. It follows what happens at both ends; a cut throws it away. Without memory for it ready_find walks the chunks.
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

static void
chunk_give(struct ready_pools *p, struct ready_chunk *chunk)
{
    pool_give(chunk->cap == READY_CHUNK_SMALL ? &p->small : &p->large, chunk);
}

// Behind the last entry of a chunk that is in use.
static uint32_t
chunk_end(const struct ready *r, const struct ready_chunk *chunk)
{
    return chunk == r->tail ? r->tail_pos : chunk->cap;
}

// --- the directory ---

struct dir_item {
    uint64_t first_seq; // no number of the chunk is lower; UINT64_MAX: nothing is in it yet
    struct ready_chunk *chunk;
};

struct ready_dir {
    size_t first, end, cap; // items[first] … items[end - 1]
    uint64_t holes;         // in the FIFO: what ready_memory has to know
    struct dir_item items[];
};

static void
dir_drop(struct ready *r)
{
    mem_free(r->dir);
    r->dir = NULL;
}

// Room for one more at the end; false when out of memory: then there is none any more.
static bool
dir_reserve(struct ready *r)
{
    struct ready_dir *dir = r->dir;
    if (dir->end < dir->cap)
        return true;
    size_t count = dir->end - dir->first;
    if (count < dir->cap / 2) {
        memmove(dir->items, dir->items + dir->first, count * sizeof(*dir->items));
    } else {
        dir = mem_realloc(dir, sizeof(*dir) + dir->cap * 2 * sizeof(*dir->items));
        if (dir == NULL) {
            dir_drop(r);
            return false;
        }
        r->dir = dir;
        dir->cap *= 2;
        memmove(dir->items, dir->items + dir->first, count * sizeof(*dir->items));
    }
    dir->first = 0;
    dir->end = count;
    return true;
}

static void
dir_append(struct ready *r, struct ready_chunk *chunk, uint64_t first_seq)
{
    if (dir_reserve(r))
        r->dir->items[r->dir->end++] = (struct dir_item){first_seq, chunk};
}

static void
dir_make(struct ready *r)
{
    enum { DIR_FIRST_CAP = 16 };
    struct ready_dir *dir = mem_alloc(sizeof(*dir) + DIR_FIRST_CAP * sizeof(*dir->items));
    if (dir == NULL)
        return;
    *dir = (struct ready_dir){.cap = DIR_FIRST_CAP};
    r->dir = dir;
    for (struct ready_chunk *chunk = r->head; chunk != NULL && r->dir != NULL; chunk = chunk->next) {
        uint32_t at = chunk == r->head ? r->head_pos : 0;
        r->dir->holes += chunk->holes;
        dir_append(r, chunk, at < chunk_end(r, chunk) ? chunk->entries[at].seq : UINT64_MAX);
    }
}

// The first item behind those that begin at `seq` or lower. The last chunk may have been empty when it came in.
static size_t
dir_search(struct ready *r, uint64_t seq)
{
    struct ready_dir *dir = r->dir;
    struct dir_item *last = &dir->items[dir->end - 1];
    if (last->first_seq == UINT64_MAX && r->tail_pos > 0)
        last->first_seq = last->chunk->entries[0].seq;
    size_t low = dir->first, high = dir->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (dir->items[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
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
    chunk->holes = 0;
    if (r->dir != NULL) {
        struct dir_item *last = &r->dir->items[r->dir->end - 1];
        if (last->first_seq == UINT64_MAX)
            last->first_seq = last->chunk->entries[0].seq;
        dir_append(r, chunk, UINT64_MAX);
    }
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

void
ready_cancel_push(struct ready *r, struct ready_pools *p)
{
    struct ready_chunk *chunk = r->tail, *before = r->head;
    if (chunk == NULL || r->tail_pos > 0)
        return;
    if (before == chunk) {
        r->head = r->tail = NULL;
    } else {
        while (before->next != chunk)
            before = before->next;
        before->next = NULL;
        r->tail = before;
        r->tail_pos = before->cap;
    }
    if (r->dir != NULL && --r->dir->end == r->dir->first)
        dir_drop(r);
    chunk_give(p, chunk);
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

// The first chunk has been read through.
static void
pop_chunk(struct ready *r, struct ready_pools *p)
{
    struct ready_chunk *chunk = r->head;
    r->head = chunk->next;
    r->head_pos = 0;
    if (r->dir != NULL)
        r->dir->first++;
    if (r->head == NULL) {
        r->tail = NULL;
        r->tail_pos = 0;
        dir_drop(r);
    }
    chunk_give(p, chunk);
}

void
ready_pop_fifo(struct ready *r, struct ready_pools *p)
{
    LV_ASSERT(r->head != NULL);
    r->count--;
    r->head_pos++;
    while (r->head != NULL) {
        if (r->head_pos == chunk_end(r, r->head)) {
            pop_chunk(r, p);
        } else if (ready_entry_is(&r->head->entries[r->head_pos], READY_HOLE)) {
            r->head->holes--;
            if (r->dir != NULL)
                r->dir->holes--;
            r->head_pos++;
        } else {
            return;
        }
    }
}

// --- out of the middle ---

// Its place in a chunk, by its number: where it would be without gaps, or below.
static bool
find_in_chunk(const struct ready_chunk *chunk, uint32_t low, uint32_t end, uint64_t seq, uint32_t *ret)
{
    if (low == end || seq < chunk->entries[low].seq)
        return false;
    uint64_t guess = low + (seq - chunk->entries[low].seq);
    uint32_t high = guess < end ? (uint32_t)guess : end - 1;
    while (chunk->entries[high].seq != seq) {
        if (low >= high)
            return false;
        uint32_t middle = low + (high - low) / 2;
        if (chunk->entries[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    *ret = high;
    return !ready_entry_is(&chunk->entries[high], READY_HOLE);
}

bool
ready_find(struct ready *r, uint64_t seq, struct ready_cursor *ret)
{
    if (r->head == NULL || seq < r->head->entries[r->head_pos].seq)
        return false;
    struct ready_chunk *chunk = r->head;
    if (r->dir == NULL)
        dir_make(r);
    if (r->dir != NULL)
        chunk = r->dir->items[dir_search(r, seq) - 1].chunk; // the first one begins at `seq` or lower
    else
        while (chunk->next != NULL && chunk_end(r, chunk->next) > 0 && chunk->next->entries[0].seq <= seq)
            chunk = chunk->next;
    ret->chunk = chunk;
    return find_in_chunk(chunk, chunk == r->head ? r->head_pos : 0, chunk_end(r, chunk), seq, &ret->pos);
}

// A chunk behind the first one, of nothing but holes, goes.
static void
unlink_chunk(struct ready *r, struct ready_pools *p, struct ready_chunk *chunk)
{
    struct ready_chunk *before = r->head;
    if (r->dir != NULL) {
        size_t at = dir_search(r, chunk->entries[0].seq) - 1;
        LV_ASSERT(r->dir->items[at].chunk == chunk && at > r->dir->first);
        before = r->dir->items[at - 1].chunk;
        r->dir->end--;
        r->dir->holes -= chunk->holes;
        memmove(&r->dir->items[at], &r->dir->items[at + 1], (r->dir->end - at) * sizeof(*r->dir->items));
    } else {
        while (before->next != chunk)
            before = before->next;
    }
    LV_ASSERT(before->next == chunk);
    before->next = chunk->next;
    if (chunk == r->tail) {
        r->tail = before;
        r->tail_pos = before->cap; // the next push takes a new one
    }
    chunk_give(p, chunk);
}

void
ready_punch(struct ready *r, struct ready_pools *p, const struct ready_cursor *at)
{
    struct ready_chunk *chunk = at->chunk;
    if (chunk == r->head && at->pos == r->head_pos) {
        ready_pop_fifo(r, p);
        return;
    }
    LV_ASSERT(!ready_entry_is(&chunk->entries[at->pos], READY_HOLE));
    chunk->entries[at->pos].count_flags = READY_HOLE;
    chunk->entries[at->pos].msg = NULL;
    chunk->holes++;
    if (r->dir != NULL)
        r->dir->holes++;
    r->count--;
    if (chunk != r->head && chunk->holes == chunk_end(r, chunk))
        unlink_chunk(r, p, chunk);
}

void
ready_filter_heap(struct ready *r, bool (*takes)(void *ctx, const struct ready_entry *e), void *ctx)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->heap_count; i++) {
        struct ready_entry e = r->heap[i];
        if (!takes(ctx, &e))
            r->heap[kept++] = e;
    }
    r->count -= r->heap_count - kept;
    bool is_changed = kept != r->heap_count;
    r->heap_count = kept;
    for (uint32_t i = kept / 2; is_changed && i-- > 0;)
        heap_down(r->heap, kept, i);
    heap_trim(r);
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
    do {
        if (at->chunk == NULL) {
            at->chunk = r->head;
            at->pos = r->head_pos;
        } else if (++at->pos == at->chunk->cap) {
            at->chunk = at->chunk->next;
            at->pos = 0;
        }
        if (at->chunk == NULL || (at->chunk == r->tail && at->pos == r->tail_pos))
            return NULL;
    } while (LV_UNLIKELY(ready_entry_is(&at->chunk->entries[at->pos], READY_HOLE)));
    return &at->chunk->entries[at->pos];
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
    to->dir = from->dir;
    from->count -= count;
    from->head = from->tail = NULL;
    from->head_pos = from->tail_pos = 0;
    from->dir = NULL;
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
        fresh->holes = 0;
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
    uint64_t staying = 0, holes_going = 0;
    struct ready_cursor walk = {0};
    while (ready_next(from, &walk) != NULL && (walk.chunk != at->chunk || walk.pos != at->pos))
        staying++;
    for (uint32_t i = at->pos, end = chunk_end(from, at->chunk); i < end; i++)
        holes_going += ready_entry_is(&at->chunk->entries[i], READY_HOLE);
    struct ready_chunk *tail = from->tail;
    uint16_t tail_pos = from->tail_pos;
    struct ready_chunk *fresh = cut_chunk(from, at->chunk, at->pos, p);
    if (fresh == NULL)
        return false;
    dir_drop(from);
    if (fresh != at->chunk) {
        fresh->holes = (uint16_t)holes_going;
        at->chunk->holes = (uint16_t)(at->chunk->holes - holes_going);
    }
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
    if (r->dir != NULL)
        bytes += sizeof(*r->dir) + r->dir->cap * sizeof(*r->dir->items);
    if (r->head == NULL)
        return bytes;
    // All but the first chunk are large; counted, not walked: the chain may be long.
    uint64_t fifo = r->count - r->heap_count + r->head_pos + (r->dir != NULL ? r->dir->holes : 0);
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
