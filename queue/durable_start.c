// durable_start.c: see durable_start.h. A queue's messages come from three places: the log (the ring), files by address (kept), and the
// chain of files, which stays there. A message that is in the log and in files was being moved: the files win.
#include "queue/durable_start.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/bug.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// --- what an orderly stop leaves ---
// An entry with ALL_BELOW for its number: in place of flags a position in the files; what waits below it counts as redelivered.
// `orderly`: magic, CRC-32C of the rest, number of entries; each: queue, sequence number, count_flags (docs/formats.md).

static const char orderly_magic[8] = "LVORDER1";
static const uint64_t ALL_BELOW = UINT64_MAX;
enum { ORDERLY_HEADER_BYTES = 24, ORDERLY_ENTRY_BYTES = 24 };

static void
orderly_path(char path[IO_PATH_MAX], const char *data_dir, const char *suffix)
{
    snprintf(path, IO_PATH_MAX, "%s/orderly%s", data_dir, suffix);
}

static uint64_t
get64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static void
put_entry(struct buf *out, uint64_t queue, uint64_t seq, uint64_t flags)
{
    uint64_t words[3] = {queue, seq, flags};
    buf_append(out, words, sizeof words);
}

static void
put_ready(struct buf *out, uint64_t queue, const struct ready_entry *e)
{
    uint32_t flags = e->count_flags & READY_HISTORY_MASK;
    if (ready_entry_is(e, READY_STORED) && flags != 0)
        put_entry(out, queue, e->seq, flags);
}

static void
put_queue(struct buf *out, const struct queue *q)
{
    const struct queue_disk *k = q->disk;
    const struct ready *r;
    size_t cursor = 0;
    for (size_t n = 0; (r = queue_row(q, n)) != NULL; n++) {
        struct ready_walk at = {0};
        for (const struct ready_entry *e; (e = ready_walk_next(r, &at)) != NULL;)
            put_ready(out, k->id, e);
    }
    // A client that was not waited for: what it had is delivered again, and has been marked. What was on its way out tells of itself
    // whether a client had it.
    for (const struct unacked_record *u; (u = unacked_next(&q->unacked, &cursor)) != NULL;)
        put_ready(out, k->id, &u->entry);
    const struct backlog_block *block = backlog_peek(&k->backlog);
    if (block != NULL && file_position(block->file, block->offset) < k->redelivered_upto)
        put_entry(out, k->id, ALL_BELOW, k->redelivered_upto);
    uint64_t seq;
    void *flags;
    cursor = 0;
    while (inttab_next(&k->flags, &cursor, &seq, &flags))
        put_entry(out, k->id, seq, (uint32_t)((uintptr_t)flags - 1));
}

static int
write_file(const struct io *io, const char *data_dir, struct buf *out)
{
    char path[IO_PATH_MAX], fresh[IO_PATH_MAX];
    int fd = -1;
    orderly_path(path, data_dir, "");
    orderly_path(fresh, data_dir, ".new");
    (void)io->unlink(io->ctx, fresh);
    int err = io->open(io->ctx, fresh, IO_WRITE | IO_CREATE, &fd);
    if (err != 0)
        return err;
    err = io_write_all(io, fd, &(struct iovec){out->ptr, out->len}, 1, 0);
    if (err == 0)
        err = io->fsync(io->ctx, fd);
    (void)io->close(io->ctx, fd);
    if (err == 0)
        err = io->rename(io->ctx, fresh, path);
    return err == 0 ? io->sync_dir(io->ctx, data_dir) : err;
}

int
orderly_write(const struct io *io, const char *data_dir, struct crew *crew)
{
    struct buf out = BUF_INIT;
    uint8_t header[ORDERLY_HEADER_BYTES] = {0};
    buf_append(&out, header, sizeof header);
    for (int i = 0; i < crew->n_workers; i++) {
        const struct queue_worker *qw = queue_worker_of(crew->members[i]);
        for (uint32_t n = 0; n < qw->queues.cap; n++) {
            const struct queue *q = qw->queues.items[n].object;
            if (q != NULL && q->disk != NULL && q->durability != DURABILITY_NONE)
                put_queue(&out, q);
        }
    }
    int err = out.failed ? -LE_NOMEM : 0;
    if (err == 0) {
        uint64_t count = (out.len - ORDERLY_HEADER_BYTES) / ORDERLY_ENTRY_BYTES;
        memcpy(out.ptr, orderly_magic, sizeof orderly_magic);
        memcpy(out.ptr + 16, &count, sizeof count);
        uint32_t crc = crc32c(0, out.ptr + 16, out.len - 16);
        memcpy(out.ptr + 8, &crc, sizeof crc);
        err = write_file(io, data_dir, &out);
    }
    buf_fini(&out);
    return err;
}

static int
take_flags(struct recovery *r, const uint8_t *entry)
{
    uint64_t queue = get64(entry), seq = get64(entry + 8);
    if (queue == 0 || seq == 0)
        return 0;
    struct inttab *of_queue = inttab_get(&r->flags, queue);
    if (of_queue == NULL) {
        of_queue = mem_alloc(sizeof(*of_queue));
        if (of_queue == NULL)
            return -LE_NOMEM;
        inttab_init(of_queue);
        if (inttab_put(&r->flags, queue, of_queue) < 0) {
            mem_free(of_queue);
            return -LE_NOMEM;
        }
    }
    uint64_t flags = get64(entry + 16);
    if (seq != ALL_BELOW)
        flags &= READY_HISTORY_MASK;
    return inttab_put(of_queue, seq, (void *)((uintptr_t)flags + 1));
}

// A file that is missing or damaged means that the stop was not orderly: everything counts as delivered before.
static int
orderly_read(struct recovery *r)
{
    const struct io *io = r->io;
    char path[IO_PATH_MAX];
    uint64_t size = 0;
    size_t n = 0;
    int fd = -1;
    orderly_path(path, r->data_dir, "");
    if (io->open(io->ctx, path, IO_READ, &fd) != 0)
        return 0;
    int err = io->size(io->ctx, fd, &size);
    // LIMIT: 2 GiB, 80 million entries.
    bool is_sane = err == 0 && size >= ORDERLY_HEADER_BYTES && size <= (2u << 30);
    uint8_t *bytes = is_sane ? mem_alloc((size_t)size) : NULL;
    if (bytes != NULL)
        err = io_read_all(io, fd, bytes, (size_t)size, 0, &n);
    (void)io->close(io->ctx, fd);
    uint32_t crc = 0;
    bool is_good = bytes != NULL && err == 0 && n == size && memcmp(bytes, orderly_magic, 8) == 0;
    if (is_good)
        memcpy(&crc, bytes + 8, sizeof crc);
    is_good = is_good && crc == crc32c(0, bytes + 16, (size_t)size - 16) &&
              get64(bytes + 16) == (size - ORDERLY_HEADER_BYTES) / ORDERLY_ENTRY_BYTES;
    err = 0;
    for (uint64_t at = ORDERLY_HEADER_BYTES; is_good && err == 0 && at + ORDERLY_ENTRY_BYTES <= size;
         at += ORDERLY_ENTRY_BYTES)
        err = take_flags(r, bytes + at);
    mem_free(bytes);
    r->is_orderly = is_good && err == 0;
    // It speaks of this start alone.
    if (err == 0)
        err = io->unlink(io->ctx, path);
    return err == 0 ? io->sync_dir(io->ctx, r->data_dir) : err;
}

// --- opening ---

static int
remember_folder(void *ctx, uint64_t queue)
{
    struct recovery *r = ctx;
    if (r->opened_count == r->opened_cap) {
        size_t cap = r->opened_cap == 0 ? 64 : r->opened_cap * 2;
        struct backlog_opened *opened = mem_realloc(r->opened, cap * sizeof(*opened));
        if (opened == NULL)
            return -LE_NOMEM;
        r->opened = opened;
        r->opened_cap = cap;
    }
    r->opened[r->opened_count++] = (struct backlog_opened){.queue = queue};
    return 0;
}

static int
list_folders(struct recovery *r)
{
    int err = backlog_prepare_dirs(r->io, r->data_dir);
    if (err == 0)
        err = backlog_each_queue(r->io, r->data_dir, remember_folder, r);
    for (size_t i = 0; err == 0 && i < r->opened_count; i++)
        err = inttab_put(&r->folders, r->opened[i].queue, &r->opened[i]);
    return err;
}

static bool
wants_gone(void *ctx, uint64_t queue)
{
    return inttab_get(&((struct recovery *)ctx)->folders, queue) != NULL;
}

static void
next_gone(void *ctx, uint64_t queue, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    msglog_live_next_gone(&((struct recovery *)ctx)->live, queue, from, ret_first, ret_end);
}

static void
log_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct recovery *r = ctx;
    r->progress(r->ctx, RECOVERY_LOG, done, total);
}

static void
folder_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct recovery *r = ctx;
    r->progress(r->ctx, RECOVERY_FOLDERS, done, total);
}

// What each folder holds, as its queue will find it when it is made. An error is the queue's.
static void
open_folders(struct recovery *r, const struct recovery_config *config)
{
    backlog_open_all(&(struct backlog_open_all){.io = r->io,
                                                .data_dir = r->data_dir,
                                                .queues = r->opened,
                                                .count = r->opened_count,
                                                .gone = next_gone,
                                                .progress = r->progress != NULL ? folder_progress : NULL,
                                                .ctx = r,
                                                .threads = config->threads,
                                                .sync_all_min = config->sync_all_min});
    size_t cursor = 0;
    uint64_t id;
    void *value;
    r->wanted = r->opened_count;
    while (inttab_next(&r->live.queues, &cursor, &id, &value))
        r->wanted += inttab_get(&r->folders, id) == NULL;
}

void
recovery_fini(struct recovery *r)
{
    if (r->is_closed)
        return;
    size_t cursor = 0;
    uint64_t id;
    void *flags;
    while (inttab_next(&r->flags, &cursor, &id, &flags)) {
        inttab_fini(flags);
        mem_free(flags);
    }
    inttab_fini(&r->flags);
    inttab_fini(&r->folders);
    for (size_t i = 0; i < r->opened_count; i++)
        backlog_opened_fini(&r->opened[i]);
    mem_free(r->opened);
    mem_free(r->backlog.large);
    r->backlog.large = NULL;
    msglog_live_fini(&r->live);
    r->is_closed = true;
}

int
recovery_open(struct recovery *r, const struct recovery_config *config)
{
    struct msglog_config log = config->log;
    *r = (struct recovery){
        .io = log.io, .data_dir = config->data_dir, .progress = config->progress, .ctx = config->ctx};
    inttab_init(&r->folders);
    inttab_init(&r->flags);
    log.wants_gone = wants_gone;
    log.progress = r->progress != NULL ? log_progress : NULL;
    log.ctx = r;
    int err = list_folders(r);
    if (err == 0)
        err = msglog_open(&log, &r->live, &r->report, &r->log);
    if (err == 0)
        err = orderly_read(r);
    if (err == 0)
        open_folders(r, config);
    if (err != 0) {
        recovery_fini(r);
        msglog_close(r->log);
        r->log = NULL;
    }
    return err;
}

// --- one queue ---

struct adoption {
    struct queue_worker *qw;
    struct queue *q;
    struct queue_disk *k;
    struct recovery *r;
    struct inttab *flags;                // of an orderly stop; NULL: none
    const struct msglog_live_queue *log; // what the log has of it; NULL: nothing
    uint8_t *block_bytes;                // of the sparse chain block looked at last
    const struct backlog_block *block;
};

// Whether a number is among those of a chain block: by its span when that is dense, else by looking.
static bool
block_has(struct adoption *a, const struct backlog_block *block, uint64_t seq)
{
    if (block->count == block->last_seq - block->first_seq + 1)
        return true;
    if (a->block != block) {
        mem_free(a->block_bytes);
        a->block_bytes = NULL;
        a->block = block;
        if (backlog_read_block(a->r->io, a->r->data_dir, a->k->id, false, block, &a->block_bytes) != 0)
            a->block_bytes = NULL;
    }
    struct backlog_record record;
    uint32_t at = 0;
    int rc;
    while (a->block_bytes != NULL && (rc = backlog_block_next(a->block_bytes, block, &at, &record)) != 0)
        if (rc > 0 && record.seq == seq)
            return true;
    return false;
}

static bool
chain_has(struct adoption *a, uint64_t seq)
{
    const struct backlog *b = &a->k->backlog;
    if (b->count == 0 || seq < b->cursor)
        return false;
    for (size_t low = b->first, high = b->end; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct backlog_block *block = &b->chain[middle];
        if (block->last_seq < seq)
            low = middle + 1;
        else if (block->first_seq > seq)
            high = middle;
        else
            return block_has(a, block, seq);
    }
    return false;
}

// Counts that were written down later than the message, where it lies now.
static uint32_t
counted(const struct adoption *a, uint64_t seq)
{
    uintptr_t in_log = a->log != NULL ? (uintptr_t)inttab_get(&a->log->counts, seq) : 0;
    uintptr_t in_state = (uintptr_t)inttab_get(&a->k->backlog.counts, seq);
    uint32_t count = (uint32_t)LV_MAX(in_log, in_state);
    return count > 0 ? count << 16 | READY_REDELIVERED : 0;
}

// What the record says counts unless the stop noted something else: who was in the chain then is not noted.
static uint32_t
flags_of(struct adoption *a, const struct msglog_live_entry *e, bool is_in_files)
{
    uintptr_t noted = a->flags != NULL ? (uintptr_t)inttab_take(a->flags, e->seq) : 0;
    uint64_t position = file_position((uint32_t)e->place.file, e->place.offset);
    uint32_t flags = (noted != 0 ? (uint32_t)noted - 1 : e->flags) & READY_HISTORY_MASK;
    flags = ready_history_merge(flags, counted(a, e->seq));
    bool was_out = noted == 0 && is_in_files && position < a->k->redelivered_upto;
    return LV_BUG(UNMARKED) || (a->r->is_orderly && !was_out) ? flags : flags | READY_REDELIVERED;
}

// Puts a message into the queue by its address.
static int
adopt_entry(struct adoption *a, const struct msglog_live_entry *from, bool is_in_files)
{
    struct queue *q = a->q;
    struct queue_disk *k = a->k;
    struct ready_entry e = {.seq = from->seq, .body_len = from->body_bytes};
    e.count_flags = READY_STORED | READY_PERSISTENT | flags_of(a, from, is_in_files) |
                    (from->flags & READY_PRIORITY_MASK);
    bool is_behind = q->levels == NULL && k->backlog.count > 0 && from->seq >= k->backlog.cursor;
    struct ready *r = is_behind ? &k->behind : queue_ready_of(q, &e);
    bool is_late = is_behind && from->seq < chain_end(k);
    bool has_room =
        r != NULL && (is_late ? ready_reserve_return(r) : ready_reserve_push(r, &a->qw->ready_pools));
    struct stored *s = has_room ? stored_new(a->qw->durable, NULL) : NULL;
    if (s == NULL)
        return -LE_NOMEM;
    durable_set_place(is_in_files ? NULL : k, s, &from->place);
    if (is_in_files)
        s->flags |= STORED_BACKLOG;
    stored_set_large(a->qw->durable, s, from->large_file);
    e.stored = s;
    if (!expiry_note(a->qw, q, &e, from->expires_ms)) {
        stored_gone(a->qw, s);
        return -LE_NOMEM;
    }
    if (is_late)
        ready_push_reserved(r, &e);
    else
        LV_ASSERT(ready_push(r, &a->qw->ready_pools, &e));
    queue_ready_added(q, r);
    q->ready_sum.bytes += from->body_bytes;
    q->ready_sum.persistent++;
    a->r->messages++;
    q->next_seq = LV_MAX(q->next_seq, from->seq + 1);
    return 0;
}

static int
adopt_kept(struct adoption *a, const struct backlog_kept *kept)
{
    const struct backlog_record *r = &kept->record;
    struct msglog_live_entry e = {.seq = r->seq,
                                  .place = {.file = kept->file, .offset = r->offset, .len = r->len},
                                  .large_file = r->large_file,
                                  .expires_ms = r->expires_ms,
                                  .flags = r->flags,
                                  .body_bytes = r->content.body_bytes};
    int err = adopt_entry(a, &e, true);
    return err == 0 && e.large_file != 0 ? msglog_large_hold(a->r->log, e.large_file) : err;
}

// From both in the order of their numbers. What lies in files too is taken from there.
static int
merge(struct adoption *a, const struct msglog_live_queue *lq, const struct backlog_kept *kept,
      size_t kept_count)
{
    size_t i = lq != NULL ? lq->first : 0, end = lq != NULL ? lq->end : 0, n = 0;
    int err = 0;
    while (err == 0 && (i < end || n < kept_count)) {
        const struct msglog_live_entry *e = i < end ? &lq->entries[i] : NULL;
        if (e != NULL && e->place.len == 0) {
            i++;
        } else if (e == NULL || (n < kept_count && kept[n].record.seq <= e->seq)) {
            LV_ASSERT(kept != NULL && n < kept_count);
            bool is_in_both = e != NULL && kept[n].record.seq == e->seq;
            if (is_in_both && e->large_file != 0)
                durable_release_later(a->qw->durable, e->large_file);
            i += is_in_both;
            err = adopt_kept(a, &kept[n++]);
        } else {
            if (!chain_has(a, e->seq))
                err = adopt_entry(a, e, false);
            else if (e->large_file != 0)
                durable_release_later(a->qw->durable, e->large_file);
            i++;
        }
    }
    return err;
}

// Messages up to here lie in younger segments than some behind them: they were moved.
static uint64_t
moved_upto(const struct msglog_live_queue *lq)
{
    uint64_t youngest_allowed = UINT64_MAX;
    for (size_t i = lq->end; i > lq->first; i--) {
        const struct msglog_live_entry *e = &lq->entries[i - 1];
        if (e->place.len == 0)
            continue;
        if (e->place.file > youngest_allowed)
            return e->seq;
        youngest_allowed = LV_MIN(youngest_allowed, e->place.file);
    }
    return 0;
}

// Where what is written from here on comes to lie, at least.
static uint64_t
files_end(const struct backlog *b)
{
    const struct backlog_file *last = b->file_count > 0 ? &b->files[b->file_count - 1] : NULL;
    return last != NULL ? file_position(last->file, last->bytes) : file_position(b->next_file, 0);
}

static int
adopt_files(struct adoption *a, struct backlog_opened *o)
{
    struct queue_disk *k = a->k;
    struct recovery *r = a->r;
    int err = o->result == 0 ? backlog_report_add(&r->backlog, &o->report) : o->result;
    if (err != 0)
        return err;
    backlog_fini(&k->backlog);
    k->backlog = o->backlog;
    backlog_init(&o->backlog);
    k->has_folder = true;
    k->acks_oldest = 0; // whichever acks of it the log holds
    k->old_blocks = k->backlog.next_block;
    uintptr_t upto = a->flags != NULL ? (uintptr_t)inttab_take(a->flags, ALL_BELOW) : 0;
    // What was noted may lie in files that have gone, and whose numbers are given again.
    uint64_t end = files_end(&k->backlog);
    k->redelivered_upto = !r->is_orderly ? end : upto != 0 ? LV_MIN((uint64_t)upto - 1, end) : 0;
    a->q->ready_sum.bytes += k->backlog.body_bytes;
    a->q->ready_sum.persistent += (uint32_t)k->backlog.persistent;
    a->q->next_seq = LV_MAX(a->q->next_seq, LV_MAX(k->backlog.cursor, backlog_last_seq(&k->backlog) + 1));
    if (k->backlog.count > 0) {
        // What is in front of the chain comes before it; everything alive in blocks below is kept.
        k->backlog.cursor = LV_MAX(k->backlog.cursor, backlog_peek(&k->backlog)->first_seq);
        k->is_split = true;
        a->q->tail = &k->behind;
    }
    r->messages += k->backlog.count;
    return 0;
}

// Of messages that wait in the chain: they are looked at when those come into memory.
static int
keep_chain_counts(struct adoption *a, const struct inttab *counts)
{
    const struct backlog *b = &a->k->backlog;
    size_t cursor = 0;
    uint64_t seq;
    void *count;
    int err = 0;
    while (err == 0 && b->count > 0 && inttab_next(counts, &cursor, &seq, &count)) {
        if (seq < b->cursor || seq > backlog_last_seq(b))
            continue;
        uintptr_t noted = (uintptr_t)inttab_get(&a->k->flags, seq);
        uint32_t flags = ready_history_merge(noted != 0 ? (uint32_t)noted - 1 : 0,
                                             (uint32_t)(uintptr_t)count << 16 | READY_REDELIVERED);
        err = inttab_put(&a->k->flags, seq, (void *)((uintptr_t)flags + 1));
    }
    return err;
}

static int
adopt(struct adoption *a, const struct msglog_live_queue *lq, struct backlog_opened *o)
{
    int err = o != NULL ? adopt_files(a, o) : 0;
    if (err == 0)
        err = merge(a, lq, o != NULL ? o->kept : NULL, o != NULL ? o->kept_count : 0);
    mem_free(a->block_bytes);
    if (err != 0)
        return err;
    const struct backlog *b = &a->k->backlog;
    if (b->first < b->end)
        expiry_chain_grew(a->qw, a->q, b->chain + b->first, b->end - b->first);
    if (lq != NULL) {
        a->k->moved_upto = moved_upto(lq);
        a->q->next_seq = LV_MAX(a->q->next_seq, lq->last_seq + 1);
    }
    if (a->flags != NULL) { // what is left is of messages in the chain
        a->k->flags = *a->flags;
        inttab_init(a->flags);
    }
    err = lq != NULL ? keep_chain_counts(a, &lq->counts) : 0;
    if (err == 0)
        err = keep_chain_counts(a, &a->k->backlog.counts);
    inttab_fini(&a->k->backlog.counts);
    inttab_init(&a->k->backlog.counts);
    return err;
}

int
durable_adopt(struct queue_worker *qw, struct queue *q)
{
    struct recovery *r = qw->durable->config.recovery;
    if (r == NULL || r->is_closed)
        return 0;
    uint64_t id = q->def->id;
    struct msglog_live_queue *lq = inttab_get(&r->live.queues, id);
    struct backlog_opened *o = inttab_take(&r->folders, id);
    if (lq == NULL && o == NULL)
        return 0;
    struct adoption a = {.qw = qw, .q = q, .r = r, .flags = inttab_get(&r->flags, id), .log = lq};
    int err = 0;
    a.k = queue_disk_get(qw, q);
    if (a.k == NULL) {
        err = -LE_NOMEM;
    } else if (lq != NULL && lq->is_deleted) {
        // It was being deleted: what it held had gone when the process ended, its declaration had not.
        err = o != NULL ? backlog_remove(r->io, r->data_dir, id, false) : 0;
    } else {
        err = adopt(&a, lq, o);
    }
    if (o != NULL)
        backlog_opened_fini(o); // what the queue did not take over
    if (lq != NULL)
        msglog_live_delete(&r->live, id);
    r->error = err != 0 && r->error == 0 ? err : r->error;
    if (r->progress != NULL)
        r->progress(r->ctx, RECOVERY_QUEUES, ++r->queues, r->wanted);
    return err;
}

// --- what is left ---

// LIMIT: messages of one append to lost+found.
enum { ORPHANS_A_TIME = 65536 };

// Messages in the log of a queue that nobody knows: written to files, which then go to lost+found as they are.
static int
write_orphans(struct recovery *r, const struct msglog_live_queue *lq)
{
    struct backlog b;
    int err = 0;
    struct backlog_item *items = mem_alloc(ORPHANS_A_TIME * sizeof(*items));
    if (items == NULL)
        return -LE_NOMEM;
    backlog_init(&b);
    b.next_file = 1u << 30; // beside what is there already
    b.next_block = UINT64_C(1) << 40;
    for (size_t i = lq->first; err == 0 && i < lq->end;) {
        struct backlog_append to = {.queue = lq->queue, .kind = BACKLOG_LOOSE, .items = items};
        for (; i < lq->end && to.count < ORPHANS_A_TIME; i++) {
            const struct msglog_live_entry *e = &lq->entries[i];
            if (e->place.len != 0)
                items[to.count++] = (struct backlog_item){.seq = e->seq, .epoch = e->epoch, .from = e->place};
        }
        if (to.count == 0)
            break;
        err = backlog_begin_append(&b, &to);
        if (err == 0 && to.is_new_file) // of a start that did not come to its end; the log has what is in it
            err = backlog_unlink(r->io, r->data_dir, lq->queue, false, to.file);
        if (err == 0)
            err = backlog_append(r->io, r->data_dir, r->log, &to);
        if (err == 0)
            err = backlog_appended(&b, to.blocks, to.block_count, UINT64_MAX, &(struct backlog_wait){0});
        mem_free(to.blocks);
    }
    mem_free(items);
    backlog_fini(&b);
    return err;
}

static int
set_aside(struct recovery *r, uint64_t queue, uint64_t messages)
{
    struct buf path = BUF_INIT;
    int err = backlog_set_aside(r->io, r->data_dir, queue, &path);
    if (err == 0)
        log_warn(
            LOG_STORE,
            "messages of queue %llu, which the metadata does not know, were moved to %s (%llu from the log)",
            (unsigned long long)queue, buf_cstr(&path), (unsigned long long)messages);
    buf_fini(&path);
    return err;
}

// The log need not keep them any more.
static int
forget_orphans(struct durable *d, uint64_t queue)
{
    struct log_item *item;
    struct msglog_entry *e = durable_entry(d, &item);
    if (e == NULL)
        return -LE_NOMEM;
    *e = (struct msglog_entry){.kind = MSGLOG_DELETE, .queue = queue};
    return 0;
}

static int
orphans_of_log(struct recovery *r, struct durable *d)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    int err = 0;
    while (err == 0 && inttab_next(&r->live.queues, &cursor, &id, &value)) {
        const struct msglog_live_queue *lq = value;
        bool has_folder = inttab_take(&r->folders, id) != NULL;
        if (lq->is_deleted && has_folder)
            err = backlog_remove(r->io, r->data_dir, id, false);
        if (lq->is_deleted || (lq->live == 0 && !has_folder))
            continue;
        if (lq->live > 0)
            err = write_orphans(r, lq);
        if (err == 0)
            err = set_aside(r, id, lq->live);
        if (err == 0)
            err = forget_orphans(d, id);
    }
    return err;
}

int
recovery_close(struct recovery *r, struct worker *first)
{
    struct durable *d = queue_worker_of(first)->durable;
    int err = r->error;
    for (size_t i = 0; err == 0 && i < r->backlog.large_count; i++)
        err = msglog_large_hold(r->log, r->backlog.large[i]);
    if (err == 0)
        err = orphans_of_log(r, d);
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (err == 0 && inttab_next(&r->folders, &cursor, &id, &value))
        err = set_aside(r, id, 0);
    recovery_fini(r);
    return err;
}
