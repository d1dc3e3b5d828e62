// backlog_dead.c: what left the middle of a chain: a bit for each record of a block, by its place, and what the dead ones add up to.
//
// Of a block there is nothing until the first one leaves it; then a bit for each 64 bytes, 0.2 % of what lies there. A block that is wholly dead
// needs no bits: it is *hollow*. Its file may go; as long as that is there, it is remembered, and `state` says it, for the acks that said it leave the log.
// Hollow blocks stay in the array, passed over, until they are most of it.
// Failure mode: no memory; then nothing has changed, and the message leaves when the queue comes to it.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"

// LIMIT: of one block.
enum { WORDS_MAX = BACKLOG_BLOCK_BYTES / BACKLOG_DEAD_BYTES / 64 };
// Hollow blocks from which on the array is made shorter.
enum { HOLLOW_MIN = 64 };

// --- one block ---

static uint32_t
words_of(const struct backlog_block *block)
{
    uint32_t bytes = block->bytes - block->table - BLOCK_HEADER_BYTES;
    uint32_t words = (bytes / BACKLOG_DEAD_BYTES + 63) / 64;
    // One record alone may be larger than a block.
    return words > WORDS_MAX || words == 0 ? 1 : words;
}

struct backlog_dead *
dead_new(const struct backlog_block *block)
{
    uint32_t words = words_of(block);
    struct backlog_dead *d = mem_calloc(1, sizeof(*d) + words * sizeof(d->bits[0]));
    if (d != NULL)
        *d = (struct backlog_dead){.last_seq = block->last_seq, .file = block->file, .words = words};
    return d;
}

size_t
dead_memory(const struct backlog_dead *d)
{
    return sizeof(*d) + d->words * sizeof(d->bits[0]);
}

static uint32_t
bit_of(const struct backlog_dead *d, const struct backlog_block *block, uint32_t offset)
{
    uint32_t at = (offset - block->offset - BLOCK_HEADER_BYTES) / BACKLOG_DEAD_BYTES;
    return at < d->words * 64 ? at : 0;
}

bool
dead_has(const struct backlog_dead *d, const struct backlog_block *block, uint32_t offset)
{
    if (d == NULL || d->words == 0)
        return d != NULL;
    uint32_t at = bit_of(d, block, offset);
    return (d->bits[at / 64] >> at % 64 & 1) != 0;
}

void
dead_add(struct backlog_dead *d, const struct backlog_block *block, uint32_t offset,
         const struct backlog_wait *one)
{
    uint32_t at = bit_of(d, block, offset);
    LV_ASSERT(d->words > 0);
    d->bits[at / 64] |= UINT64_C(1) << at % 64;
    d->sum.count += one->count;
    d->sum.body_bytes += one->body_bytes;
    d->sum.persistent += one->persistent;
    d->persistent_bytes += one->persistent > 0 ? one->body_bytes : 0;
}

void
dead_free_all(struct inttab *dead)
{
    size_t cursor = 0;
    uint64_t number;
    void *d;
    while (inttab_next(dead, &cursor, &number, &d))
        mem_free(d);
    inttab_fini(dead);
}

// --- in `state` ---

bool
dead_encode(const struct inttab *dead, uint64_t cursor, struct buf *to, size_t *ret_count)
{
    size_t at = 0;
    uint64_t number;
    void *value;
    *ret_count = 0;
    while (!BACKLOG_BUG(BLG_BUG_FORGET_DEAD) && inttab_next(dead, &at, &number, &value)) {
        const struct backlog_dead *d = value;
        uint8_t fixed[STATE_DEAD_BYTES];
        if (d->last_seq < cursor || (d->words == 0 && BACKLOG_BUG(BLG_BUG_FORGET_HOLLOW)))
            continue;
        put_u64(fixed, number);
        put_u64(fixed + 8, d->last_seq);
        put_u64(fixed + 16, d->sum.body_bytes);
        put_u32(fixed + 24, (uint32_t)d->sum.count);
        put_u32(fixed + 28, (uint32_t)d->sum.persistent);
        put_u32(fixed + 32, d->file);
        put_u32(fixed + 36, d->words);
        put_u64(fixed + 40, d->persistent_bytes);
        buf_append(to, fixed, sizeof fixed);
        for (uint32_t i = 0; i < d->words; i++) {
            uint8_t word[8];
            put_u64(word, d->bits[i]);
            buf_append(to, word, sizeof word);
        }
        ++*ret_count;
    }
    return !to->failed;
}

static int
decode_one(struct slice *from, struct inttab *to)
{
    const uint8_t *at = from->ptr;
    uint32_t words = from->len >= STATE_DEAD_BYTES ? get_u32(at + 36) : UINT32_MAX;
    if (words > WORDS_MAX || from->len < STATE_DEAD_BYTES + words * 8)
        return -LE_CORRUPT;
    uint64_t number = get_u64(at);
    struct backlog_dead *d = mem_alloc(sizeof(*d) + words * sizeof(d->bits[0]));
    if (d == NULL)
        return -LE_NOMEM;
    *d = (struct backlog_dead){.sum = {get_u32(at + 24), get_u64(at + 16), get_u32(at + 28)},
                               .persistent_bytes = get_u64(at + 40),
                               .last_seq = get_u64(at + 8),
                               .file = get_u32(at + 32),
                               .words = words};
    for (uint32_t i = 0; i < words; i++)
        d->bits[i] = get_u64(at + STATE_DEAD_BYTES + i * 8);
    int err = number == 0 || inttab_get(to, number) != NULL ? -LE_CORRUPT : inttab_put(to, number, d);
    if (err != 0)
        mem_free(d);
    from->ptr += STATE_DEAD_BYTES + words * 8;
    from->len -= STATE_DEAD_BYTES + words * 8;
    return err;
}

int
dead_decode(struct slice from, uint64_t count, struct inttab *to)
{
    int err = count <= from.len / STATE_DEAD_BYTES ? 0 : -LE_CORRUPT;
    for (uint64_t i = 0; err == 0 && i < count; i++)
        err = decode_one(&from, to);
    if (err == 0 && from.len != 0)
        err = -LE_CORRUPT;
    if (err != 0)
        dead_free_all(to);
    return err;
}

// --- the picture ---

// The first block that ends at or behind the number.
static size_t
block_at(const struct backlog *b, uint64_t seq)
{
    size_t low = b->first, high = b->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->chain[middle].last_seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct backlog_block *
backlog_find(const struct backlog *b, uint64_t seq)
{
    size_t at = block_at(b, seq);
    return at < b->end && b->chain[at].first_seq <= seq && b->chain[at].kind != 0 ? &b->chain[at] : NULL;
}

size_t
backlog_block_from(const struct backlog *b, uint64_t number)
{
    size_t low = b->first, high = b->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->chain[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct backlog_block *
backlog_find_number(const struct backlog *b, uint64_t number)
{
    size_t at = backlog_block_from(b, number);
    return at < b->end && b->chain[at].number == number && b->chain[at].kind != 0 ? &b->chain[at] : NULL;
}

bool
backlog_is_dead(const struct backlog *b, const struct backlog_block *block, uint32_t offset)
{
    return b->dead.count > 0 && dead_has(inttab_get(&b->dead, block->number), block, offset);
}

struct backlog_wait
backlog_alive(const struct backlog *b, const struct backlog_block *block)
{
    const struct backlog_dead *d = b->dead.count > 0 ? inttab_get(&b->dead, block->number) : NULL;
    struct backlog_wait alive = {block->count, block->body_bytes, block->persistent};
    if (d != NULL) {
        alive.count -= LV_MIN(alive.count, d->sum.count);
        alive.body_bytes -= LV_MIN(alive.body_bytes, d->sum.body_bytes);
        alive.persistent -= LV_MIN(alive.persistent, d->sum.persistent);
    }
    return alive;
}

// Without hollow blocks; the ends stay: the last one says where the chain ends.
static void
shorten(struct backlog *b)
{
    size_t to = b->first + 1;
    for (size_t i = to; i < b->end; i++)
        if (b->chain[i].kind != 0 || i + 1 == b->end)
            b->chain[to++] = b->chain[i];
    b->end = to;
    b->hollow = 0;
    for (size_t i = b->first; i < b->end; i++)
        b->hollow += b->chain[i].kind == 0;
}

// Nothing of it waits any more.
static void
become_hollow(struct backlog *b, struct backlog_block *block, struct backlog_dead *d)
{
    size_t before = dead_memory(d);
    struct backlog_dead *small = mem_realloc(d, sizeof(*d));
    d = small != NULL ? small : d;
    d->words = 0;
    b->dead_bytes -= before - dead_memory(d);
    if (inttab_put(&b->dead, block->number, d) != 0)
        LV_ASSERT(false); // its place is there
    block->kind = 0;
    b->hollow++;
    backlog_file_lost_block(b, block->file);
    if (b->hollow > HOLLOW_MIN && b->hollow > (b->end - b->first) / 2)
        shorten(b);
}

int
backlog_kill(struct backlog *b, struct backlog_block *block, uint32_t offset, const struct backlog_wait *one)
{
    struct backlog_dead *d = inttab_get(&b->dead, block->number);
    bool is_front = block == &b->chain[b->first];
    if (d == NULL) {
        d = dead_new(block);
        if (d == NULL || inttab_put(&b->dead, block->number, d) != 0) {
            mem_free(d);
            return -LE_NOMEM;
        }
        b->dead_bytes += dead_memory(d);
    }
    dead_add(d, block, offset, one);
    backlog_uncount(b, one, is_front);
    if (!is_front && d->sum.count >= block->count)
        become_hollow(b, block, d);
    return 0;
}

bool
backlog_skip_dead(struct backlog *b)
{
    struct backlog_wait lost;
    bool has_changed = false;
    for (; b->first < b->end && b->front.count == 0; has_changed = true)
        backlog_advance(b, &lost);
    return has_changed;
}
