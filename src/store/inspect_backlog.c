// inspect_backlog.c: the backlog files of all queues, opened as a start opens them (backlog_open), then read whole where that is asked for.
//
// A queue's messages lie in three places, each in the order of numbers: the log, kept ones (by their address), waiting blocks. A number
// may be in the log and in a file (it was moved, and its segment not used again yet): it is one message, and is counted where the log has it.
// Walking a queue merges the three; a waiting block is read when its turn comes, one at a time.
#include <inttypes.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/inspect.h"
#include "src/store/log_core.h"

enum { MESSAGE_PERSISTENT = 1u << 0 }; // queue/message.h; others do not outlive a start

// --- which there are ---

static struct inspect_backlog *
add_backlog(struct inspect *i, uint64_t queue)
{
    if (i->backlog_count == i->backlog_cap) {
        size_t cap = i->backlog_cap == 0 ? 16 : i->backlog_cap * 2;
        struct inspect_backlog *all = mem_realloc(i->backlogs, cap * sizeof(*all));
        if (all == NULL)
            return NULL;
        i->backlogs = all;
        i->backlog_cap = cap;
    }
    struct inspect_backlog *b = &i->backlogs[i->backlog_count++];
    memset(b, 0, sizeof(*b));
    b->queue = queue;
    backlog_init(&b->picture);
    return b;
}

static int
add_queue(void *ctx, uint64_t queue)
{
    struct inspect_backlog *b = add_backlog(ctx, queue);
    if (b == NULL)
        return -LE_NOMEM;
    snprintf(b->folder, sizeof b->folder, "queues/%016" PRIx64, queue);
    return 0;
}

// queue-<16 hex digits>-<n>
static int
add_lost(void *ctx, const char *name)
{
    char *end;
    size_t len = strlen(name);
    if (strncmp(name, "queue-", 6) != 0 || len < 24 || len > 40 || name[22] != '-')
        return 0; // not ours
    unsigned long long queue = strtoull(name + 6, &end, 16);
    if (end != name + 22 || queue == 0)
        return 0;
    struct inspect_backlog *b = add_backlog(ctx, queue);
    if (b == NULL)
        return -LE_NOMEM;
    snprintf(b->folder, sizeof b->folder, "lost+found/%s", name);
    b->is_lost = true;
    b->lost.id = queue;
    return 0;
}

static int
compare_backlogs(const void *a, const void *b)
{
    const struct inspect_backlog *x = a, *y = b;
    if (x->is_lost != y->is_lost)
        return x->is_lost ? 1 : -1;
    if (x->queue != y->queue)
        return x->queue < y->queue ? -1 : 1;
    return strcmp(x->folder, y->folder);
}

struct inspect_backlog *
inspect_backlog_of(struct inspect *i, uint64_t queue)
{
    size_t low = 0, high = i->backlog_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (!i->backlogs[middle].is_lost && i->backlogs[middle].queue < queue)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_found = low < i->backlog_count && !i->backlogs[low].is_lost && i->backlogs[low].queue == queue;
    return is_found ? &i->backlogs[low] : NULL;
}

static bool
wants_gone(void *ctx, uint64_t queue)
{
    struct inspect *i = ctx;
    for (size_t n = i->backlog_count; n-- > 0 && i->backlogs[n].is_lost;)
        if (i->backlogs[n].queue == queue)
            return true;
    return inspect_backlog_of(i, queue) != NULL;
}

int
inspect_list_backlogs(struct inspect *i)
{
    char path[IO_PATH_MAX];
    int err = backlog_each_queue(&i->reader.io, i->dir, add_queue, i);
    if (err == -LE_NOTFOUND)
        err = 0;
    snprintf(path, sizeof path, "%s/lost+found", i->dir);
    int lost_err = err == 0 ? i->reader.io.list(i->reader.io.ctx, path, add_lost, i) : err;
    if (lost_err != -LE_NOTFOUND)
        err = lost_err;
    if (i->backlog_count > 1)
        qsort(i->backlogs, i->backlog_count, sizeof(*i->backlogs), compare_backlogs);
    for (size_t n = 0; n < i->backlog_count; n++) // they stay where they are from here on
        if (i->backlogs[n].is_lost)
            i->backlogs[n].lost.lost_folder = i->backlogs[n].folder;
    i->live.wants_gone = wants_gone;
    i->live.wants_ctx = i;
    return err;
}

// --- opening them ---

struct opening {
    struct inspect *i;
    struct inspect_backlog *b;
};

static void
file_name(const struct inspect_backlog *b, uint32_t file, char to[static 96])
{
    snprintf(to, 96, "%s/%08" PRIu32 ".blg", b->folder, file);
}

static void
tell_damage(void *ctx, uint32_t file, uint64_t offset, uint64_t bytes, const char *what)
{
    struct opening *o = ctx;
    char name[96];
    if (file == 0)
        snprintf(name, sizeof name, "%s/state", o->b->folder);
    else
        file_name(o->b, file, name);
    inspect_find(o->i, true, name, offset, bytes, "%s", what);
}

static void
next_gone(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    const struct opening *o = ctx;
    msglog_live_next_gone(&o->i->live, o->b->queue, from, ret_first, ret_end);
}

// The code that knows the files expects them in queues/.
static void
look_at(struct inspect *i, const struct inspect_backlog *b)
{
    i->reader.from[0] = '\0';
    if (!b->is_lost)
        return;
    snprintf(i->reader.from, sizeof i->reader.from, "%s/queues/%016" PRIx64, i->dir, b->queue);
    snprintf(i->reader.to, sizeof i->reader.to, "%s/%s", i->dir, b->folder);
}

static void
add_bytes(struct inspect *i, const struct inspect_backlog *b)
{
    for (size_t n = 0; n < b->picture.file_count; n++)
        i->backlog_bytes += b->picture.files[n].bytes;
}

static int
open_one(struct inspect *i, struct inspect_backlog *b)
{
    struct opening o = {i, b};
    i->backlog.damage = tell_damage;
    i->backlog.damage_ctx = &o;
    look_at(i, b);
    int err = backlog_open(&i->reader.io, i->dir, b->queue, next_gone, &o, &b->picture, &b->kept,
                           &b->kept_count, &i->backlog);
    i->reader.from[0] = '\0';
    i->backlog.damage = NULL;
    add_bytes(i, b);
    return err;
}

static bool
is_deleted(const struct inspect *i, uint64_t queue)
{
    const struct msglog_live_queue *q = inttab_get(&i->live.queues, queue);
    return q != NULL && q->is_deleted;
}

// Nothing of a deleted queue counts; its folder goes at the next start.
static void
forget(struct inspect *i, struct inspect_backlog *b)
{
    inspect_find(i, false, b->folder, 0, 0,
                 "left over from queue %" PRIu64 ", which was deleted: a start removes it", b->queue);
    backlog_fini(&b->picture);
    backlog_init(&b->picture);
    b->kept_count = 0;
}

// Of a large body the name alone matters here.
static int
hold_large(struct inspect *i)
{
    int err = 0;
    for (size_t n = 0; n < i->backlog.large_count && err == 0; n++)
        err = inttab_put(&i->core->large, i->backlog.large[n], i);
    for (size_t n = 0; n < i->backlog_count; n++)
        for (size_t k = 0; k < i->backlogs[n].kept_count && err == 0; k++)
            if (i->backlogs[n].kept[k].record.large_file != 0)
                err = inttab_put(&i->core->large, i->backlogs[n].kept[k].record.large_file, i);
    return err;
}

// --- counting ---

static bool
is_in_log(const struct inspect *i, const struct inspect_backlog *b, uint64_t seq)
{
    return !b->is_lost && msglog_live_find(&i->live, b->queue, seq) != NULL;
}

static bool
overlaps_log(const struct inspect *i, const struct inspect_backlog *b, const struct backlog_block *block)
{
    const struct msglog_live_queue *q = b->is_lost ? NULL : inttab_get(&i->live.queues, b->queue);
    size_t low = q != NULL ? q->first : 0, high = q != NULL ? q->end : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->entries[middle].seq < block->first_seq)
            low = middle + 1;
        else
            high = middle;
    }
    return q != NULL && low < q->end && q->entries[low].seq <= block->last_seq;
}

static void
count_seqs(struct inspect_queue *q, uint64_t first, uint64_t last, uint64_t count)
{
    q->first_seq = q->live == 0 ? first : LV_MIN(q->first_seq, first);
    q->last_seq = LV_MAX(q->last_seq, last);
    q->live += count;
}

typedef int (*record_fn)(void *ctx, const struct inspect_backlog *b, const struct backlog_record *r);

// The persistent messages of a waiting block that the log does not have; a damaged record becomes a finding.
static int
read_block(struct inspect *i, const struct inspect_backlog *b, const struct backlog_block *block,
           record_fn fn, void *ctx)
{
    struct opening o = {i, (struct inspect_backlog *)(uintptr_t)b};
    struct backlog_record r;
    uint8_t *bytes = NULL;
    uint32_t at = 0;
    look_at(i, b);
    int err = backlog_read_block(&i->reader.io, i->dir, b->queue, false, block, &bytes);
    i->reader.from[0] = '\0';
    if (err != 0 && err != -LE_NOMEM) {
        tell_damage(&o, block->file, block->offset, block->bytes, err_text(err));
        return 0;
    }
    while (err == 0) {
        uint32_t start = LV_MAX(at, (uint32_t)MSGLOG_SECTOR_BYTES); // behind the block's header
        int got = backlog_block_next(bytes, block, &at, &r);
        if (got == 0)
            break;
        if (got < 0)
            tell_damage(&o, block->file, block->offset + start, at - start, "a record is damaged");
        else if ((r.content.flags & MESSAGE_PERSISTENT) != 0 && !is_in_log(i, b, r.seq) &&
                 !backlog_is_dead(&b->picture, block, r.offset))
            err = fn(ctx, b, &r);
    }
    mem_free(bytes);
    return err;
}

static int
count_record(void *ctx, const struct inspect_backlog *b, const struct backlog_record *r)
{
    count_seqs(ctx, r->seq, r->seq, 1);
    return 0;
}

static bool
is_empty(const struct inspect_backlog *b)
{
    return b->kept_count == 0 && b->picture.first == b->picture.end;
}

static int
count_backlog(struct inspect *i, struct inspect_backlog *b)
{
    if (is_empty(b))
        return 0;
    struct inspect_queue *q = b->is_lost ? &b->lost : inspect_queue_at(i, b->queue);
    int err = q != NULL ? 0 : -LE_NOMEM;
    size_t kept = 0;
    for (size_t n = 0; n < b->kept_count && err == 0; n++) {
        uint64_t seq = b->kept[n].record.seq;
        if (is_in_log(i, b, seq))
            continue;
        b->kept[kept++] = b->kept[n];
        count_seqs(q, seq, seq, 1);
    }
    b->kept_count = kept;
    for (size_t n = b->picture.first; n < b->picture.end && err == 0; n++) {
        const struct backlog_block *block = &b->picture.chain[n];
        if (overlaps_log(i, b, block))
            err = read_block(i, b, block, count_record, q);
        else
            count_seqs(q, block->first_seq, block->last_seq, backlog_alive(&b->picture, block).count);
    }
    return err;
}

static void
note_the_end(struct inspect *i)
{
    if (i->backlog.torn_bytes > 0)
        inspect_find(
            i, false, "queues", 0, 0,
            "%" PRIu64
            " bytes were being written to backlog files when the broker stopped: a start leaves them out",
            i->backlog.torn_bytes);
}

int
inspect_read_backlogs(struct inspect *i, struct buf *problem)
{
    int err = 0;
    for (size_t n = 0; n < i->backlog_count && err == 0; n++) {
        struct inspect_backlog *b = &i->backlogs[n];
        err = open_one(i, b);
        if (err == -LE_UNSUPPORTED)
            buf_printf(problem, "%s/%s was written by a newer version", i->dir, b->folder);
        else if (err != 0)
            buf_printf(problem, "%s/%s cannot be read: %s", i->dir, b->folder, err_text(err));
        else if (!b->is_lost && is_deleted(i, b->queue))
            forget(i, b);
    }
    if (err == 0)
        err = hold_large(i);
    for (size_t n = 0; n < i->backlog_count && err == 0; n++)
        err = count_backlog(i, &i->backlogs[n]);
    if (err == 0)
        note_the_end(i);
    return err;
}

void
inspect_close_backlogs(struct inspect *i)
{
    for (size_t n = 0; n < i->backlog_count; n++) {
        backlog_fini(&i->backlogs[n].picture);
        mem_free(i->backlogs[n].kept);
    }
    mem_free(i->backlogs);
    mem_free(i->backlog.large);
}

// --- sizes ---

static int
measure_record(void *ctx, const struct inspect_backlog *b, const struct backlog_record *r)
{
    struct inspect_queue *q = ctx;
    struct inspect_share *share = r->large_file != 0 ? &q->large : &q->backlog;
    share->messages++;
    share->bytes += r->content.body_bytes;
    q->oldest_ms =
        q->oldest_ms == 0 ? r->content.published_ms : LV_MIN(q->oldest_ms, r->content.published_ms);
    return 0;
}

int
inspect_measure_backlogs(struct inspect *i)
{
    int err = 0;
    for (size_t n = 0; n < i->backlog_count && err == 0; n++) {
        struct inspect_backlog *b = &i->backlogs[n];
        if (is_empty(b))
            continue;
        struct inspect_queue *q = b->is_lost ? &b->lost : inspect_queue_at(i, b->queue);
        if (q == NULL)
            return -LE_NOMEM;
        for (size_t k = 0; k < b->kept_count; k++)
            (void)measure_record(q, b, &b->kept[k].record);
        for (size_t k = b->picture.first; k < b->picture.end && err == 0; k++) {
            const struct backlog_block *block = &b->picture.chain[k];
            // The first one tells how old they are; of the others the header tells enough.
            if (k == b->picture.first || block->large > 0 || overlaps_log(i, b, block)) {
                err = read_block(i, b, block, measure_record, q);
            } else {
                struct backlog_wait alive = backlog_alive(&b->picture, block);
                q->backlog.messages += alive.count;
                q->backlog.bytes += alive.body_bytes;
            }
        }
    }
    return err;
}

// --- one by one ---

struct walk {
    struct inspect *i;
    const struct inspect_backlog *b; // NULL: the log alone
    const struct inspect_queue *queue;
    uint64_t first_seq, last_seq;
    size_t live_at, kept_at;
    const struct msglog_live_entry *live; // the next one
    inspect_message_fn fn;
    void *ctx;
};

static bool
is_asked_for(const struct walk *w, uint64_t seq)
{
    return seq >= w->first_seq && seq <= w->last_seq;
}

// With the delivery count that the log or the state of the queue has.
static uint32_t
flags_of(const struct walk *w, const struct backlog_record *r)
{
    const struct msglog_live_queue *log = inttab_get(&w->i->live.queues, w->b->queue);
    uintptr_t count = (uintptr_t)inttab_get(&w->b->picture.counts, r->seq);
    if (log != NULL)
        count = LV_MAX(count, (uintptr_t)inttab_get(&log->counts, r->seq));
    return count > r->flags >> 16 ? (r->flags & 0xffffu) | (uint32_t)count << 16 : r->flags;
}

static int
hand_out(struct walk *w, uint32_t file, const struct backlog_record *r, const struct msglog_content *content,
         int result)
{
    char name[96];
    struct inspect_message m = {.queue = w->queue,
                                .seq = r->seq,
                                .expires_ms = r->expires_ms,
                                .epoch = r->epoch,
                                .flags = flags_of(w, r),
                                .file = name,
                                .offset = r->offset,
                                .large_file = r->large_file,
                                .result = result,
                                .fixed = *content};
    file_name(w->b, file, name);
    if (result == 0)
        m.result = inspect_content_parse(content, &m.content);
    return w->fn(w->ctx, &m);
}

// With its content in memory, or in a file of its own.
static int
hand_out_read(struct walk *w, uint32_t file, const struct backlog_record *r)
{
    struct msglog_content content = r->content;
    uint8_t *buffer = NULL;
    int err = r->large_file != 0 ? inspect_read_large(w->i, r, &buffer) : 0;
    if (err == -LE_NOMEM)
        return err;
    if (r->large_file != 0)
        content.bytes = buffer;
    err = hand_out(w, file, r, &content, err);
    mem_free(buffer);
    return err;
}

static int
hand_out_kept(struct walk *w, const struct backlog_kept *k)
{
    struct msglog_place place = {.file = k->file, .offset = k->record.offset, .len = k->record.len};
    struct msglog_record read = {0};
    if (!is_asked_for(w, k->record.seq))
        return 0;
    if (k->record.large_file != 0)
        return hand_out_read(w, k->file, &k->record);
    look_at(w->i, w->b);
    int err = backlog_read(&w->i->reader.io, w->i->dir, NULL, w->b->queue, false, &place, &read);
    w->i->reader.from[0] = '\0';
    if (err == -LE_NOMEM)
        return err;
    err = hand_out(w, k->file, &k->record, err == 0 ? &read.content : &k->record.content, err);
    mem_free(read.buffer);
    return err;
}

// What the log has and what is kept, below `seq`.
static int
hand_out_below(struct walk *w, uint64_t seq)
{
    int err = 0;
    while (err == 0) {
        const struct backlog_kept *kept =
            w->b != NULL && w->kept_at < w->b->kept_count ? &w->b->kept[w->kept_at] : NULL;
        uint64_t live_seq = w->live != NULL ? w->live->seq : UINT64_MAX;
        uint64_t kept_seq = kept != NULL ? kept->record.seq : UINT64_MAX;
        if (LV_MIN(live_seq, kept_seq) >= seq)
            break;
        if (live_seq < kept_seq) {
            err = is_asked_for(w, live_seq) ? inspect_visit_live(w->i, w->queue, w->live, w->fn, w->ctx) : 0;
            w->live = inspect_next_live(w->i, w->queue->id, &w->live_at);
        } else {
            err = hand_out_kept(w, kept);
            w->kept_at++;
        }
    }
    return err;
}

struct walk_block {
    struct walk *w;
    uint32_t file;
};

static int
walk_record(void *ctx, const struct inspect_backlog *b, const struct backlog_record *r)
{
    struct walk_block *in = ctx;
    int err = hand_out_below(in->w, r->seq);
    return err == 0 && is_asked_for(in->w, r->seq) ? hand_out_read(in->w, in->file, r) : err;
}

static const struct inspect_backlog *
backlog_of_queue(struct inspect *i, const struct inspect_queue *queue)
{
    for (size_t n = i->backlog_count; n-- > 0 && i->backlogs[n].is_lost;)
        if (&i->backlogs[n].lost == queue)
            return &i->backlogs[n];
    return inspect_backlog_of(i, queue->id);
}

int
inspect_each_message(struct inspect *i, const struct inspect_queue *queue, uint64_t first_seq,
                     uint64_t last_seq, inspect_message_fn fn, void *ctx)
{
    struct walk w = {.i = i,
                     .b = backlog_of_queue(i, queue),
                     .queue = queue,
                     .first_seq = first_seq,
                     .last_seq = last_seq,
                     .fn = fn,
                     .ctx = ctx};
    bool is_lost = w.b != NULL && w.b->is_lost;
    int err = 0;
    if (!is_lost)
        w.live = inspect_next_live(i, queue->id, &w.live_at);
    for (size_t n = w.b != NULL ? w.b->picture.first : 0; w.b != NULL && n < w.b->picture.end && err == 0;
         n++) {
        const struct backlog_block *block = &w.b->picture.chain[n];
        struct walk_block in = {&w, block->file};
        if (block->last_seq >= first_seq && block->first_seq <= last_seq)
            err = read_block(i, w.b, block, walk_record, &in);
    }
    return err == 0 ? hand_out_below(&w, UINT64_MAX) : err;
}
