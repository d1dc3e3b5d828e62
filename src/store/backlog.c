// backlog.c: the owner's picture of a queue's backlog files: which blocks wait, which files are needed, where the next append goes.
//
// A chain block is 64 bytes, whatever it holds. Sums of whole blocks are the blocks' own; only of the front block a part may have been
// taken, so `front` is kept for that one alone. Files are found by number, in an array that ascends.
// Failure mode: no memory; then nothing has changed.
#include "src/store/backlog.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"

void
backlog_init(struct backlog *b)
{
    memset(b, 0, sizeof(*b));
    b->next_block = b->reported_end = b->cursor = 1;
    b->next_file = 1;
    inttab_init(&b->counts);
    inttab_init(&b->dead);
}

void
backlog_fini(struct backlog *b)
{
    mem_free(b->chain);
    mem_free(b->files);
    inttab_fini(&b->counts);
    dead_free_all(&b->dead);
    memset(b, 0, sizeof(*b));
}

size_t
backlog_memory(const struct backlog *b)
{
    return b->cap * sizeof(*b->chain) + b->file_cap * sizeof(*b->files) + b->dead_bytes +
           b->dead.cap * sizeof(struct inttab_slot);
}

static struct backlog_file *
find_file(const struct backlog *b, uint32_t file)
{
    size_t low = 0, high = b->file_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->files[middle].file < file)
            low = middle + 1;
        else
            high = middle;
    }
    return low < b->file_count && b->files[low].file == file ? &b->files[low] : NULL;
}

int
backlog_begin_append(struct backlog *b, struct backlog_append *a)
{
    LV_ASSERT(b->busy_file == 0);
    struct backlog_file *f = b->file_count > 0 ? &b->files[b->file_count - 1] : NULL;
    if (f == NULL || f->is_closed || f->bytes >= BACKLOG_FILE_BYTES) {
        if (b->next_file == UINT32_MAX)
            return -LE_LIMIT; // 4 billion files of a queue: never
        if (b->file_count == b->file_cap) {
            size_t cap = b->file_cap == 0 ? 2 : b->file_cap * 2;
            struct backlog_file *files = mem_realloc(b->files, cap * sizeof(*files));
            if (files == NULL)
                return -LE_NOMEM;
            b->files = files;
            b->file_cap = cap;
        }
        LV_ASSERT(b->files != NULL);
        f = &b->files[b->file_count++];
        *f = (struct backlog_file){.file = b->next_file++, .bytes = FILE_HEADER_BYTES};
    }
    b->busy_file = f->file;
    a->file = f->file;
    a->offset = f->bytes;
    a->is_new_file = f->bytes == FILE_HEADER_BYTES; // found without blocks at start it is closed
    a->first_block = b->next_block;
    a->reported_end = b->reported_end;
    return 0;
}

void
backlog_append_failed(struct backlog *b, uint32_t file)
{
    struct backlog_file *f = find_file(b, file);
    LV_ASSERT(f != NULL && b->busy_file == file);
    f->is_closed = true;
    b->busy_file = 0;
    // Some of its blocks may be on disk and be found at the next start. The next append and the next state say that they do not count.
    b->next_block += BACKLOG_BUG(BLG_BUG_REUSE_NUMBERS) ? 0 : BLOCK_NUMBERS_SKIPPED;
}

// --- the chain ---

static int
reserve_chain(struct backlog *b, size_t extra)
{
    if (b->end + extra <= b->cap)
        return 0;
    size_t count = b->end - b->first;
    if (count + extra > b->cap - b->cap / 4) { // else a move to the front makes room enough
        size_t cap = LV_MAX(count + extra, LV_MAX((size_t)4, b->cap + b->cap / 2));
        struct backlog_block *chain = mem_alloc(cap * sizeof(*chain));
        if (chain == NULL)
            return -LE_NOMEM;
        if (count > 0)
            memcpy(chain, b->chain + b->first, count * sizeof(*chain));
        mem_free(b->chain);
        b->chain = chain;
        b->cap = cap;
    } else if (count > 0) {
        memmove(b->chain, b->chain + b->first, count * sizeof(*b->chain));
    }
    b->first = 0;
    b->end = count;
    return 0;
}

static struct backlog_wait
wait_of(const struct backlog_block *block)
{
    return (struct backlog_wait){block->count, block->body_bytes, block->persistent};
}

static void
wait_take(struct backlog_wait *from, const struct backlog_wait *w)
{
    from->count -= LV_MIN(from->count, w->count);
    from->body_bytes -= LV_MIN(from->body_bytes, w->body_bytes);
    from->persistent -= LV_MIN(from->persistent, w->persistent);
}

static void
count_wait(struct backlog *b, const struct backlog_wait *w)
{
    b->count += w->count;
    b->body_bytes += w->body_bytes;
    b->persistent += w->persistent;
}

static void
uncount_wait(struct backlog *b, const struct backlog_wait *w)
{
    struct backlog_wait all = {b->count, b->body_bytes, b->persistent};
    wait_take(&all, w);
    b->count = all.count;
    b->body_bytes = all.body_bytes;
    b->persistent = all.persistent;
}

int
backlog_appended(struct backlog *b, const struct backlog_block *blocks, size_t count, uint64_t from,
                 const struct backlog_wait *wait)
{
    if (reserve_chain(b, count) != 0)
        return -LE_NOMEM;
    bool was_empty = b->first == b->end, is_chain = count > 0 && blocks[0].kind == BACKLOG_CHAIN;
    struct backlog_wait rest = is_chain ? *wait : (struct backlog_wait){0};
    for (size_t i = 0; i < count; i++) {
        const struct backlog_block *block = &blocks[i];
        struct backlog_file *f = find_file(b, block->file);
        LV_ASSERT(f != NULL && block->number >= b->next_block && block->offset == f->bytes);
        f->bytes = align_up(block->offset + block->bytes, MSGLOG_SECTOR_BYTES);
        b->next_block = b->reported_end = block->number + 1;
        if (!is_chain || block->last_seq < from)
            continue;
        f->blocks++;
        b->chain[b->end++] = *block;
        struct backlog_wait whole = wait_of(block);
        if (b->end - b->first > 1) { // not the front one: all of it waits
            count_wait(b, &whole);
            wait_take(&rest, &whole);
        }
    }
    if (is_chain && was_empty) {
        b->cursor = LV_MAX(b->cursor, from);
        b->front = rest; // what the others leave
        count_wait(b, &rest);
    }
    b->busy_file = 0;
    return 0;
}

const struct backlog_block *
backlog_peek(const struct backlog *b)
{
    return b->first < b->end ? &b->chain[b->first] : NULL;
}

void
backlog_taken(struct backlog *b, uint64_t seq, uint64_t body_bytes, bool is_persistent)
{
    struct backlog_wait one = {1, body_bytes, is_persistent};
    wait_take(&b->front, &one);
    uncount_wait(b, &one);
    b->cursor = LV_MAX(b->cursor, seq + 1);
}

void
backlog_uncount(struct backlog *b, const struct backlog_wait *one, bool is_front)
{
    if (is_front)
        wait_take(&b->front, one);
    uncount_wait(b, one);
}

void
backlog_file_lost_block(struct backlog *b, uint32_t file)
{
    struct backlog_file *f = find_file(b, file);
    LV_ASSERT(f != NULL && f->blocks > 0);
    f->blocks--;
}

static void
forget_dead(struct backlog *b, uint64_t number)
{
    struct backlog_dead *d = b->dead.count > 0 ? inttab_take(&b->dead, number) : NULL;
    if (d == NULL)
        return;
    b->dead_bytes -= dead_memory(d);
    mem_free(d);
}

// The cursor is behind it.
static void
leave_block(struct backlog *b, const struct backlog_block *block)
{
    if (block->kind != 0)
        backlog_file_lost_block(b, block->file);
    b->hollow -= block->kind == 0;
    b->cursor = LV_MAX(b->cursor, block->last_seq + 1);
    forget_dead(b, block->number);
}

void
backlog_advance(struct backlog *b, struct backlog_wait *ret_lost)
{
    LV_ASSERT(b->first < b->end);
    leave_block(b, &b->chain[b->first++]);
    while (b->first < b->end && b->chain[b->first].kind == 0)
        leave_block(b, &b->chain[b->first++]);
    *ret_lost = b->front;
    uncount_wait(b, &b->front);
    b->front = b->first < b->end ? backlog_alive(b, &b->chain[b->first]) : (struct backlog_wait){0};
    if (b->first == b->end) {
        LV_ASSERT(b->count == 0);
        mem_free(b->chain); // a backlog that was long once costs nothing any more
        b->chain = NULL;
        b->first = b->end = b->cap = 0;
    }
}

uint64_t
backlog_last_seq(const struct backlog *b)
{
    return b->first < b->end ? b->chain[b->end - 1].last_seq : 0;
}

void
backlog_drop_chain(struct backlog *b, uint64_t next_seq)
{
    for (size_t i = 0; i < b->file_count; i++)
        b->files[i].blocks = 0;
    mem_free(b->chain);
    b->chain = NULL;
    b->first = b->end = b->cap = b->hollow = 0;
    dead_free_all(&b->dead);
    b->dead_bytes = 0;
    b->count = b->body_bytes = b->persistent = 0;
    b->front = (struct backlog_wait){0};
    b->cursor = LV_MAX(b->cursor, next_seq);
}

int
backlog_snapshot(const struct backlog *b, struct backlog_state *ret)
{
    struct backlog_end *ends = mem_alloc(LV_MAX(b->file_count, (size_t)1) * sizeof(*ends));
    struct buf dead = BUF_INIT;
    size_t dead_count = 0;
    if (ends == NULL || !dead_encode(&b->dead, b->cursor, &dead, &dead_count)) {
        mem_free(ends);
        buf_fini(&dead);
        return -LE_NOMEM;
    }
    for (size_t i = 0; i < b->file_count; i++)
        ends[i] = (struct backlog_end){b->files[i].file, b->files[i].bytes};
    *ret = (struct backlog_state){.block_end = b->next_block,
                                  .cursor = b->cursor,
                                  .ends = ends,
                                  .end_count = b->file_count,
                                  .dead = dead.ptr,
                                  .dead_bytes = dead.len,
                                  .dead_count = dead_count};
    return 0;
}

// --- files ---

int
backlog_keep(struct backlog *b, uint32_t file, uint64_t count)
{
    struct backlog_file *f = find_file(b, file);
    if (f == NULL)
        return -LE_NOTFOUND;
    f->kept += count;
    return 0;
}

void
backlog_unkeep(struct backlog *b, uint32_t file)
{
    struct backlog_file *f = find_file(b, file);
    LV_ASSERT(f != NULL && f->kept > 0);
    f->kept--;
}

// It is remembered as long as the file is there.
static void
forget_hollow(struct backlog *b, uint32_t file)
{
    uint64_t numbers[64], number;
    size_t count;
    do {
        size_t at = 0;
        void *value;
        count = 0;
        while (count < LV_ARRAY_LEN(numbers) && inttab_next(&b->dead, &at, &number, &value))
            if (((const struct backlog_dead *)value)->file == file)
                numbers[count++] = number;
        for (size_t i = 0; i < count; i++)
            forget_dead(b, numbers[i]);
    } while (count == LV_ARRAY_LEN(numbers));
}

uint32_t
backlog_take_unneeded(struct backlog *b)
{
    bool is_idle = true;
    for (size_t i = 0; i < b->file_count && is_idle; i++)
        is_idle = b->files[i].blocks == 0 && b->files[i].kept == 0;
    for (size_t i = 0; i < b->file_count; i++) {
        const struct backlog_file *f = &b->files[i];
        bool is_open = i + 1 == b->file_count && !f->is_closed && f->bytes < BACKLOG_FILE_BYTES;
        if (f->blocks > 0 || f->kept > 0 || f->file == b->busy_file || (is_open && !is_idle))
            continue;
        uint32_t file = f->file;
        memmove(&b->files[i], &b->files[i + 1], (b->file_count - i - 1) * sizeof(*b->files));
        b->file_count--;
        if (b->dead.count > 0)
            forget_hollow(b, file);
        return file;
    }
    return 0;
}
