// backlog_alive.c: start, behind backlog_open.c: which messages of the blocks that count are alive, and which of them wait in the chain.
//
// Loose blocks first: what is kept of them. Then the chain, from its front: a block waits as it is if nothing in it is gone, and also if that is
// told by `state` or by its table, or if all of it is gone; up to the last one of which none is true the survivors are kept, by their addresses. So where
// messages expire few are kept, however many have left the middle. A number that was found twice counts where it was written last.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_opening.h"

// --- gone, alive ---

static void
ask_gone(struct opening *o, uint64_t seq)
{
    if (o->gone_end > seq && o->gone_from <= seq)
        return; // the last answer still holds
    o->gone_from = seq;
    o->gone_first = o->gone_end = UINT64_MAX;
    if (o->gone != NULL && !BACKLOG_BUG(BLG_BUG_IGNORE_GONE))
        o->gone(o->ctx, seq, &o->gone_first, &o->gone_end);
}

static bool
has_gone(struct opening *o, uint64_t first, uint64_t last)
{
    ask_gone(o, first);
    return o->gone_first <= last;
}

static bool
is_wholly_gone(struct opening *o, uint64_t first, uint64_t last)
{
    ask_gone(o, first);
    return o->gone_first <= first && o->gone_end > last;
}

// The first of the numbers in state that is >= seq.
static size_t
state_kept_from(const struct opening *o, uint64_t seq)
{
    size_t low = 0, high = BACKLOG_BUG(BLG_BUG_FORGET_KEPT) ? 0 : o->state.kept_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (o->state.kept[middle] < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
has_state_kept(const struct opening *o, uint64_t first, uint64_t last)
{
    size_t i = state_kept_from(o, first);
    return !BACKLOG_BUG(BLG_BUG_FORGET_KEPT) && i < o->state.kept_count && o->state.kept[i] <= last;
}

// What state says of a chain block.
static bool
state_says_dead(const struct opening *o, const struct block_header *h, uint32_t offset)
{
    struct backlog_block block;
    const struct backlog_dead *dead = o->dead.count > 0 ? inttab_get(&o->dead, h->number) : NULL;
    if (dead == NULL)
        return false;
    block_of_header(h, &block);
    return dead_has(dead, &block, offset);
}

static bool
is_alive(struct opening *o, const struct block_header *h, uint64_t seq, uint32_t offset)
{
    if (has_gone(o, seq, seq))
        return false;
    return h->number >= o->state.block_end ||
           (h->kind == BACKLOG_CHAIN && seq >= o->state.cursor && !state_says_dead(o, h, offset)) ||
           has_state_kept(o, seq, seq);
}

static bool
has_alive(struct opening *o, const struct block_header *h)
{
    if (is_wholly_gone(o, h->first_seq, h->last_seq))
        return false;
    return h->number >= o->state.block_end || (h->kind == BACKLOG_CHAIN && h->last_seq >= o->state.cursor) ||
           has_state_kept(o, h->first_seq, h->last_seq);
}

// --- what is kept ---

static int
read_records(struct opening *o, const struct block_header *h,
             int (*fn)(struct opening *o, const struct block_header *h, const struct backlog_record *r))
{
    struct backlog_block block;
    struct backlog_record r;
    uint8_t *bytes;
    uint32_t at = 0, from = BLOCK_HEADER_BYTES;
    block_of_header(h, &block);
    int err = backlog_read_block(o->io, o->data_dir, o->queue, false, &block, &bytes);
    if (err != 0)
        return err;
    for (int got; err == 0 && (got = backlog_block_next(bytes, &block, &at, &r)) != 0;) {
        if (got < 0) {
            o->report->bad_records++;
            opening_tell(o, h->file, h->offset + from, at - from, "a record is damaged");
        } else {
            err = fn(o, h, &r);
        }
        from = at;
    }
    mem_free(bytes);
    return err;
}

static int
keep_record(struct opening *o, const struct block_header *h, const struct backlog_record *r)
{
    if (!is_alive(o, h, r->seq, r->offset))
        return 0;
    if ((r->content.flags & CONTENT_PERSISTENT) == 0) {
        o->report->transient_dropped++;
        return 0;
    }
    if (opening_grow(&o->kept, &o->kept_cap, o->kept_count, sizeof(*o->kept)) != 0)
        return -LE_NOMEM;
    struct kept_entry *e = &o->kept[o->kept_count++];
    *e = (struct kept_entry){.kept = {.record = *r, .file = h->file}, .number = h->number};
    e->kept.record.content.bytes = NULL;
    return 0;
}

static int
note_large(struct opening *o, const struct block_header *h, const struct backlog_record *r)
{
    struct backlog_report *report = o->report;
    if (r->large_file == 0 || (r->content.flags & CONTENT_PERSISTENT) == 0 ||
        BACKLOG_BUG(BLG_BUG_FORGET_LARGE))
        return 0;
    if (opening_grow(&report->large, &report->large_cap, report->large_count, sizeof(*report->large)) != 0)
        return -LE_NOMEM;
    report->large[report->large_count++] = r->large_file;
    return 0;
}

static int
compare_kept(const void *a, const void *b)
{
    const struct kept_entry *x = a, *y = b;
    if (x->kept.record.seq != y->kept.record.seq)
        return x->kept.record.seq > y->kept.record.seq ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

// By sequence number; of several, the one that was written last.
static void
sort_kept(struct opening *o)
{
    size_t count = 0;
    if (o->kept_count > 0)
        qsort(o->kept, o->kept_count, sizeof(*o->kept), compare_kept);
    for (size_t i = 0; i < o->kept_count; i++) {
        bool is_last = i + 1 == o->kept_count || o->kept[i + 1].kept.record.seq != o->kept[i].kept.record.seq;
        if (is_last && !o->kept[i].is_superseded)
            o->kept[count++] = o->kept[i];
    }
    o->kept_count = count;
}

// The first one kept in a loose block with a number from `first` to `last`.
static struct kept_entry *
in_loose(const struct opening *o, uint64_t first, uint64_t last)
{
    size_t low = 0, high = o->loose_kept;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (o->kept[middle].kept.record.seq < first)
            low = middle + 1;
        else
            high = middle;
    }
    return low < o->loose_kept && o->kept[low].kept.record.seq <= last ? &o->kept[low] : NULL;
}

// --- chain blocks ---

// Whether what state says of its dead is all there is to know of a block.
static bool
is_plain(struct opening *o, const struct block_header *h)
{
    bool has_dead = h->number < o->state.block_end && inttab_get(&o->dead, h->number) != NULL;
    return h->first_seq >= o->state.cursor && !has_gone(o, h->first_seq, h->last_seq) &&
           in_loose(o, h->first_seq, h->last_seq) == NULL &&
           !(has_dead && has_state_kept(o, h->first_seq, h->last_seq));
}

// A message that was dying is kept, and dead in its block: it waits there again. One that is in a loose block too counts where it was written last.
static bool
is_entry_dead(struct opening *o, const struct block_header *h, const struct backlog_due *e)
{
    bool is_old = h->number < o->state.block_end;
    struct kept_entry *loose = in_loose(o, e->seq, e->seq);
    if (has_gone(o, e->seq, e->seq) || (loose != NULL && loose->number > h->number))
        return true;
    if (loose != NULL)
        loose->is_superseded = true;
    return is_old && (e->seq < o->state.cursor || state_says_dead(o, h, e->offset)) &&
           !has_state_kept(o, e->seq, e->seq);
}

static struct backlog_wait
wait_of_entry(const struct backlog_due *e)
{
    return (struct backlog_wait){1, e->body_bytes, 1};
}

// Finds out by its table what of a block is dead. 1: done; 0: it has none that can be read.
static int
look_in_table(struct opening *o, struct found *f)
{
    struct backlog_block block;
    struct backlog_due *all = NULL;
    uint32_t count = 0;
    block_of_header(&f->h, &block);
    int err = block.table > 0 ? backlog_read_table(o->io, o->data_dir, o->queue, false, &block, &all, &count)
                              : -LE_NOTFOUND;
    if (err == -LE_CORRUPT) {
        o->report->bad_records++;
        opening_tell(o, f->h.file, f->h.offset, block.bytes, "the table of a block is damaged");
    }
    if (err != 0)
        return err == -LE_CORRUPT || err == -LE_NOTFOUND ? 0 : err;
    f->dead = dead_new(&block);
    for (uint32_t i = 0; f->dead != NULL && i < count; i++) {
        struct backlog_wait one = wait_of_entry(&all[i]);
        if ((all[i].where & BACKLOG_DUE_PERSISTENT) != 0 && is_entry_dead(o, &f->h, &all[i]))
            dead_add(f->dead, &block, all[i].offset, &one);
    }
    mem_free(all);
    return f->dead != NULL ? 1 : -LE_NOMEM;
}

// 1: what of the block waits is known: all, or all but `dead`. 0: that takes a look at its messages.
static int
learn_block(struct opening *o, struct found *f)
{
    struct backlog_block block;
    if (is_wholly_gone(o, f->h.first_seq, f->h.last_seq)) {
        block_of_header(&f->h, &block);
        f->dead = dead_new(&block);
        if (f->dead == NULL)
            return -LE_NOMEM;
        f->dead->words = 0;
    } else if (!is_plain(o, &f->h)) {
        int got = look_in_table(o, f);
        if (got <= 0)
            return got;
    } else if (f->h.number < o->state.block_end && o->dead.count > 0) {
        f->dead = inttab_get(&o->dead, f->h.number);
        struct backlog_dead *copy = f->dead != NULL ? mem_alloc(dead_memory(f->dead)) : NULL;
        if (f->dead != NULL && copy == NULL) {
            f->dead = NULL;
            return -LE_NOMEM;
        }
        if (copy != NULL) {
            memcpy(copy, f->dead, dead_memory(f->dead));
            // The others have gone with the process that had them, dead or not.
            copy->sum =
                (struct backlog_wait){copy->sum.persistent, copy->persistent_bytes, copy->sum.persistent};
        }
        f->dead = copy;
    }
    f->is_hollow = f->dead != NULL && (f->dead->words == 0 || f->dead->sum.count >= f->h.persistent);
    return 1;
}

static void
forget_learnt(struct found *f)
{
    mem_free(f->dead);
    f->dead = NULL;
    f->is_hollow = false;
}

// *ret: the number behind the last chain block that has to be read. Of those behind it is known what waits.
static int
chain_start(struct opening *o, uint64_t *ret)
{
    uint64_t start = o->state.cursor;
    size_t first = 0;
    bool has_waiting = false;
    int got = 1;
    for (size_t i = 0; i < o->block_count && got >= 0; i++) {
        struct found *f = &o->blocks[i];
        if (f->h.kind != BACKLOG_CHAIN || f->is_void || f->h.last_seq < start || f->h.persistent == 0)
            continue;
        got = f->h.first_seq < start ? 0 : learn_block(o, f);
        bool is_in_front = got > 0 && f->is_hollow && !has_waiting; // the cursor tells as much
        has_waiting |= got > 0 && !is_in_front;
        if (got != 0 && !is_in_front)
            continue;
        has_waiting = false;
        start = f->h.last_seq + 1;
        for (; first < i; first++) // read after all
            forget_learnt(&o->blocks[first]);
    }
    *ret = start;
    return LV_MIN(got, 0);
}

// By its table, if it has one: without what is dead.
static int
note_large_of(struct opening *o, const struct found *f)
{
    struct backlog_block block;
    struct backlog_report *report = o->report;
    struct backlog_due *all = NULL;
    uint32_t count = 0;
    block_of_header(&f->h, &block);
    if (backlog_read_table(o->io, o->data_dir, o->queue, false, &block, &all, &count) != 0)
        return read_records(o, &f->h, note_large);
    int err = 0;
    for (uint32_t i = 0; i < count && err == 0; i++) {
        uint64_t large = backlog_due_large(&all[i]);
        if (large == 0 || (all[i].where & BACKLOG_DUE_PERSISTENT) == 0 ||
            dead_has(f->dead, &block, all[i].offset) || BACKLOG_BUG(BLG_BUG_FORGET_LARGE))
            continue;
        err = opening_grow(&report->large, &report->large_cap, report->large_count, sizeof(*report->large));
        if (err == 0)
            report->large[report->large_count++] = large;
    }
    mem_free(all);
    return err;
}

// The picture takes it over.
static int
add_dead(struct backlog *b, struct found *f)
{
    struct backlog_dead *d = f->dead;
    if (d == NULL || (d->words > 0 && d->sum.count == 0))
        return 0;
    if (f->is_hollow)
        d->words = 0;
    if (inttab_put(&b->dead, f->h.number, d) != 0)
        return -LE_NOMEM;
    b->dead_bytes += dead_memory(d);
    f->dead = NULL;
    return 0;
}

static int
add_waiting(struct opening *o, struct found *f)
{
    struct backlog *b = o->b;
    const struct block_header *h = &f->h;
    o->report->transient_dropped += h->count - h->persistent;
    if (h->persistent == 0)
        return 0;
    int err = h->large > 0 && !f->is_hollow ? note_large_of(o, f) : 0;
    if (err == 0)
        err = add_dead(b, f);
    if (err != 0 || f->is_hollow)
        return err;
    if (opening_grow(&b->chain, &b->cap, b->end, sizeof(*b->chain)) != 0)
        return -LE_NOMEM;
    struct backlog_block *block = &b->chain[b->end++];
    block_of_header(h, block);
    block->count = h->persistent;
    block->body_bytes = h->persistent_bytes;
    struct backlog_wait alive = backlog_alive(b, block);
    b->count += alive.count;
    b->body_bytes += alive.body_bytes;
    b->persistent += alive.persistent;
    if (b->end == 1)
        b->front = alive;
    opening_file(o, h->file)->blocks++;
    return 0;
}

int
opening_take_blocks(struct opening *o)
{
    int err = 0;
    for (size_t i = 0; i < o->block_count && err == 0; i++)
        if (o->blocks[i].h.kind == BACKLOG_LOOSE && !o->blocks[i].is_void && has_alive(o, &o->blocks[i].h))
            err = read_records(o, &o->blocks[i].h, keep_record);
    sort_kept(o);
    o->loose_kept = o->kept_count;
    uint64_t start = o->state.cursor;
    if (err == 0)
        err = chain_start(o, &start);
    for (size_t i = 0; i < o->block_count && err == 0; i++) {
        const struct block_header *h = &o->blocks[i].h;
        if (h->kind != BACKLOG_CHAIN || o->blocks[i].is_void)
            continue;
        if (h->first_seq >= start)
            err = add_waiting(o, &o->blocks[i]);
        else if (has_alive(o, h))
            err = read_records(o, h, keep_record);
    }
    sort_kept(o);
    o->b->cursor = start;
    return err;
}
