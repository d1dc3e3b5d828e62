// durable_load.c: bringing messages back into memory: bodies that were let go of, and the chain of backlog files, a block at a time.
//
// Both are jobs of the mover's reader. A fetch names the next messages of `ready` whose bodies are away; they stay where they are, marked, and the
// queue waits when it gets to one. A block's messages are put behind what is in `ready`. What is damaged or not there is reported, counted and
// dropped: the queue goes on with the next one. What the device failed to read is tried again a few times, while the queue waits; then the
// queue goes on without it, but no ack says that it is gone: the next start finds it, if it can be read then (and the ring has not come round).
#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/bug.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: messages and bytes of one fetch.
enum { FETCH_MAX = DURABLE_FETCH_MAX, FETCH_BYTES = 512 * 1024 };
// With fewer messages in front of it the next block is asked for.
enum { READ_AHEAD_MIN = 512 };
// LIMIT: reads of a message or block that an error of the device ends; numbers of a block that is left out.
enum { READ_TRIES = 3, LEFT_MAX = 65536 };

struct fetch {
    struct mover_job job;
    struct durable *d;
    lv_handle queue;
    uint64_t seqs[FETCH_MAX];
    struct mover_read reads[FETCH_MAX];
};

struct block_load {
    struct mover_job job;
    struct durable *d;
    struct queue_disk *disk;
};

static const char *
what_now(int error)
{
    return error == -LE_IO ? "left out until the next start" : "dropped";
}

static void
log_unreadable(const struct queue *q, uint64_t seq, int error)
{
    log_error(LOG_QUEUE, "queue '%.*s' in vhost '%.*s': message %llu cannot be read from disk (%s), %s",
              SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)seq, err_text(error),
              what_now(error));
}

// The message is not what was written, or not there. Other errors say nothing about it (no memory): it is read again.
static bool
is_unreadable(int error)
{
    return error == -LE_NOTFOUND || error == -LE_CORRUPT || error == -LE_IO;
}

// --- errors of the device ---

static void
hold_reads(struct durable *d, struct queue_disk *k)
{
    k->is_read_held = true;
    if (d->reread_ns != 0)
        return;
    d->reread_ns = d->qw->w->now_ns + RETRY_MS * UINT64_C(1000000);
    ev_timer_again(d->qw->w->loop, &d->retry);
}

void
durable_reread(struct durable *d)
{
    if (d->reread_ns == 0 || d->qw->w->now_ns < d->reread_ns || d->is_ending)
        return;
    d->reread_ns = 0;
    LV_LIST_EACH_SAFE (it, &d->disks) {
        struct queue_disk *k = LV_CONTAINER_OF(it, struct queue_disk, node);
        bool was_held = k->is_read_held;
        k->is_read_held = false;
        if (was_held && k->queue != NULL)
            queue_gets_continue(d->qw, k->queue);
    }
}

static bool
is_to_try_again(struct stored *s)
{
    unsigned one = STORED_TRIES & (0u - STORED_TRIES); // the counter's lowest bit
    if ((s->flags & STORED_TRIES) / one >= READ_TRIES - 1)
        return false;
    s->flags = (uint16_t)(s->flags + one);
    return true;
}

// From here on `state` calls them alive. Without memory for that they are there as long as the state that is there now.
static void
leave_out(struct queue_disk *k, uint64_t first, uint64_t last)
{
    if (last - first >= LEFT_MAX)
        return;
    if (k->left_count == k->left_cap) {
        size_t cap = k->left_cap == 0 ? 4 : k->left_cap * 2;
        struct left_span *left = mem_realloc(k->left, cap * sizeof(*left));
        if (left == NULL)
            return;
        k->left = left;
        k->left_cap = cap;
    }
    k->left[k->left_count++] = (struct left_span){first, last};
}

// --- bodies ---

static void
take_body(struct queue_worker *qw, struct queue *q, uint64_t seq, struct stored *s, struct mover_read *r)
{
    struct msglog_place now = stored_place(s);
    bool has_moved = now.file != r->place.file || now.offset != r->place.offset ||
                     stored_is(s, STORED_BACKLOG) != r->is_from_backlog;
    struct message *msg = r->result == 0 ? message_of_content(&r->record.content) : NULL;
    if (msg != NULL) {
        stored_body_came(qw, q, s, msg);
        s->flags &= (uint16_t) ~(unsigned)STORED_TRIES;
    } else if (r->result == -LE_IO && !has_moved && is_to_try_again(s)) {
        hold_reads(qw->durable, q->disk);
    } else if (is_unreadable(r->result) && !has_moved) {
        s->flags |= (uint16_t)(STORED_LOST | (r->result == -LE_IO ? STORED_LEFT : 0));
        log_unreadable(q, seq, r->result);
    } // else it is asked for again: it was moved meanwhile, or there was no memory
}

static void
fetch_done(struct mover_job *job)
{
    struct fetch *f = job->ctx;
    struct durable *d = f->d;
    struct queue *q = handle_slots_find(&d->qw->queues, f->queue);
    for (size_t i = 0; i < job->reads.count; i++) {
        struct mover_read *r = &f->reads[i];
        struct stored *s = r->ctx;
        s->flags &= (uint16_t)~STORED_FETCHING;
        bool is_wanted = q != NULL && !stored_is(s, STORED_DEAD) && !stored_is(s, STORED_PURGED);
        if (is_wanted)
            take_body(d->qw, q, f->seqs[i], s, r);
        mem_free(r->record.buffer);
        stored_unbusy(d, s);
    }
    mem_free(f);
    if (q != NULL && !d->is_ending)
        queue_gets_continue(d->qw, q);
}

static bool
add_read(struct fetch *f, const struct ready_entry *e, size_t *bytes)
{
    struct stored *s = e->stored;
    if (!ready_entry_is(e, READY_STORED) || s->msg != NULL || stored_is(s, STORED_LOST))
        return true; // passed over
    if (stored_is(s, STORED_FETCHING) || f->job.reads.count == FETCH_MAX ||
        (*bytes > 0 && *bytes + s->len > FETCH_BYTES))
        return false;
    *bytes += s->len;
    f->seqs[f->job.reads.count] = e->seq;
    f->reads[f->job.reads.count++] = (struct mover_read){
        .place = stored_place(s), .is_from_backlog = stored_is(s, STORED_BACKLOG), .ctx = s};
    s->flags |= STORED_FETCHING;
    s->busy++;
    return true;
}

static struct fetch *
fetch_new(struct queue_worker *qw, const struct queue *q)
{
    struct fetch *f = mem_alloc(sizeof(*f));
    if (f == NULL)
        return NULL;
    f->job = (struct mover_job){.kind = MOVER_READ, .queue = q->def->id, .done = fetch_done, .ctx = f};
    f->job.is_transient = q->durability == DURABILITY_NONE;
    f->job.reads.items = f->reads;
    f->d = qw->durable;
    f->queue = q->handle;
    return f;
}

bool
durable_fetch(struct queue_worker *qw, struct queue *q, const struct ready_entry *const *entries,
              size_t count)
{
    struct fetch *f = fetch_new(qw, q);
    size_t bytes = 0;
    if (f == NULL)
        return false;
    for (size_t i = 0; i < count && add_read(f, entries[i], &bytes); i++)
        ;
    LV_ASSERT(f->job.reads.count > 0);
    mover_submit(qw->durable->port, &f->job);
    return true;
}

// Asks for the body of the next message, and of those behind it.
static enum next_message
fetch_start(struct queue_worker *qw, struct queue *q)
{
    struct durable *d = qw->durable;
    struct fetch *f = fetch_new(qw, q);
    if (f == NULL)
        return NEXT_ABSENT;
    size_t bytes = 0;
    const struct ready_entry *front = queue_front(q), *e;
    const struct ready *r;
    bool has_room = add_read(f, front, &bytes);
    // In a deep backlog all of them are away: as many looks as reads. What lies behind the chain is not next.
    unsigned looks = 0;
    for (size_t n = 0; (n == 0 || q->levels != NULL) && (r = queue_row(q, n)) != NULL; n++) {
        struct ready_cursor at = {0};
        while (has_room && looks++ < 2 * FETCH_MAX && (e = ready_next(r, &at)) != NULL)
            if (e != front)
                has_room = add_read(f, e, &bytes);
    }
    LV_ASSERT(f->job.reads.count > 0);
    mover_submit(d->port, &f->job);
    return NEXT_COMING;
}

void
durable_leave_out(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    if (stored_is(e->stored, STORED_BACKLOG))
        leave_out(q->disk, e->seq, e->seq); // and the file goes on being kept for it
    stored_pass_large(qw->durable, e->stored);
    stored_gone(qw, e->stored);
}

void
durable_drop_lost(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    expiry_forget(q, e);
    if (stored_is(e->stored, STORED_LEFT))
        durable_leave_out(qw, q, e);
    else
        durable_drop(qw, q, e->seq, e->stored);
}

// The next message is known to be unreadable.
static void
drop_lost(struct queue_worker *qw, struct queue *q)
{
    struct ready_entry e = *queue_front(q);
    queue_pop_front(qw, q);
    q->ready_sum.bytes -= e.body_len;
    q->ready_sum.persistent -= ready_entry_is(&e, READY_PERSISTENT);
    durable_drop_lost(qw, q, &e);
}

// --- the chain ---

// What the queue knew of a message of an earlier run.
static uint32_t
old_flags(struct queue_disk *k, const struct backlog_block *block, const struct backlog_record *r)
{
    uint32_t flags = r->flags & READY_HISTORY_MASK;
    if (block->number >= k->old_blocks)
        return flags;
    uintptr_t kept = k->flags.count > 0 ? (uintptr_t)inttab_take(&k->flags, r->seq) : 0;
    if (kept != 0)
        flags = ready_history_merge(flags, (uint32_t)kept - 1);
    return file_position(block->file, block->offset) < k->redelivered_upto && !LV_BUG(UNMARKED)
               ? flags | READY_REDELIVERED
               : flags;
}

// Puts a message of the chain into `ready`. False when out of memory.
static bool
enter_record(struct queue_worker *qw, struct queue *q, const struct backlog_block *block,
             const struct backlog_record *r)
{
    struct queue_disk *k = q->disk;
    bool is_persistent = (r->content.flags & MESSAGE_PERSISTENT) != 0;
    bool is_stored = is_persistent && q->durability != DURABILITY_NONE;
    struct message *msg = r->content.bytes != NULL ? message_of_content(&r->content) : NULL;
    struct stored *s = is_stored && (msg != NULL || r->large_file != 0) ? stored_new(qw->durable, msg) : NULL;
    struct ready_entry e = {.seq = r->seq, .body_len = r->content.body_bytes};
    e.count_flags = r->flags & READY_PRIORITY_MASK;
    struct ready *to = queue_ready_of(q, &e);
    // Due already? Then it leaves from here, as the others do.
    bool is_known = (is_stored ? s != NULL : msg != NULL) && expiry_note(qw, q, &e, r->expires_ms);
    bool is_kept = is_known && (s == NULL || backlog_keep(&k->backlog, block->file, 1) == 0);
    if (!is_kept || to == NULL || !ready_reserve_push(to, &qw->ready_pools)) {
        if (is_known)
            expiry_forget(q, &e);
        if (is_kept && s != NULL)
            backlog_unkeep(&k->backlog, block->file);
        message_unref(msg);
        if (s != NULL) {
            s->msg = NULL;
            stored_gone(qw, s);
        }
        return false;
    }
    e.count_flags |=
        old_flags(k, block, r) | (is_persistent ? READY_PERSISTENT : 0u) | (is_stored ? READY_STORED : 0u);
    if (is_stored) {
        s->file = block->file;
        s->offset = r->offset;
        s->len = r->len;
        s->flags |= STORED_WRITTEN | STORED_BACKLOG;
        stored_set_large(qw->durable, s, r->large_file);
        e.stored = s;
    } else {
        e.msg = msg;
    }
    if (msg != NULL) {
        queue_worker_add_bytes(qw, message_weight(msg));
        q->ready_sum.weight += message_weight(msg);
    }
    LV_ASSERT(ready_push(to, &qw->ready_pools, &e));
    queue_ready_added(q, to);
    return true;
}

// Enters what waits in the block; false when out of memory: what came before stays, the cursor stands behind it.
static bool
enter_block(struct queue_worker *qw, struct queue *q, const struct backlog_block *block, const uint8_t *bytes)
{
    struct queue_disk *k = q->disk;
    struct backlog_record r;
    uint32_t at = 0;
    int rc;
    while ((rc = backlog_block_next(bytes, block, &at, &r)) != 0) {
        bool is_persistent = rc > 0 && (r.content.flags & MESSAGE_PERSISTENT) != 0;
        if (rc < 0 || r.seq < k->backlog.cursor)
            continue;
        // Transient ones of an earlier run have gone with it; they were not counted.
        if (!is_persistent && block->number < k->old_blocks)
            continue;
        if (backlog_is_dead(&k->backlog, block, r.offset) && !QUEUE_BUG(QUEUE_BUG_DEAD_UNSEEN))
            continue;
        if (!enter_record(qw, q, block, &r))
            return false;
        backlog_taken(&k->backlog, r.seq, r.content.body_bytes, is_persistent);
    }
    return true;
}

// The chain has come past late messages of transactions that waited behind it: they are next in their place. Without memory they stay.
static void
take_late(struct queue_disk *k)
{
    struct queue *q = k->queue;
    for (uint32_t i = 0; i < k->behind.heap_count;) {
        struct ready_entry e = k->behind.heap[i];
        if (e.seq >= k->backlog.cursor || !ready_push_returned(&q->ready, &e)) {
            i++;
            continue;
        }
        ready_remove_heap(&k->behind, i);
        i = 0;
    }
}

static void
block_done(struct mover_job *job)
{
    struct block_load *load = job->ctx;
    struct durable *d = load->d;
    struct queue_disk *k = load->disk;
    struct queue *q = k->queue;
    const struct backlog_block *block = &job->block.block;
    k->jobs--;
    k->is_loading = false;
    bool is_device = job->result == -LE_IO;
    const struct backlog_block *next = q != NULL ? backlog_peek(&k->backlog) : NULL;
    bool is_next = next != NULL && next->number == block->number; // not purged meanwhile
    if (is_next && !d->is_ending) {
        bool is_done =
            job->result == 0 ? enter_block(d->qw, q, block, job->block.bytes) : is_unreadable(job->result);
        if (is_device && ++k->block_tries < READ_TRIES) {
            hold_reads(d, k);
            is_done = false;
        }
        if (is_done) {
            struct backlog_wait lost = {0};
            if (is_device && backlog_keep(&k->backlog, block->file, 1) == 0)
                leave_out(k, LV_MAX(block->first_seq, k->backlog.cursor), block->last_seq);
            k->block_tries = 0;
            backlog_advance(&k->backlog, &lost);
            if (lost.count > 0) {
                log_error(
                    LOG_QUEUE,
                    "queue '%.*s' in vhost '%.*s': %llu messages from number %llu on cannot be read from "
                    "disk (%s), %s",
                    SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)lost.count,
                    (unsigned long long)block->first_seq,
                    err_text(job->result != 0 ? job->result : -LE_CORRUPT), what_now(job->result));
                q->ready_sum.bytes -= lost.body_bytes;
                q->ready_sum.persistent -= (uint32_t)lost.persistent;
            }
            durable_unlink_unneeded(d, k);
        }
    }
    mem_free(job->block.bytes);
    mem_free(load);
    if (q != NULL && !d->is_ending) {
        if (k->is_split)
            take_late(k);
        durable_settle_split(k);
        queue_gets_continue(d->qw, q);
    }
    queue_disk_leave(d, k);
}

uint64_t
durable_skip_block(struct queue_worker *qw, struct queue *q, const struct durable_excess *excess)
{
    struct queue_disk *k = q->disk;
    const struct backlog_block *block = k != NULL && !k->is_loading ? backlog_peek(&k->backlog) : NULL;
    if (block == NULL || block->large > 0)
        return 0;
    struct backlog_wait all = k->backlog.front;
    uint64_t from = LV_MAX(k->backlog.cursor, block->first_seq), end = block->last_seq + 1;
    // With gaps a number in between may be alive elsewhere.
    bool is_dense = all.count > 0 && end - from == all.count;
    if (!is_dense || (all.count > excess->count && all.body_bytes >= excess->bytes))
        return 0;
    if (!k->is_transient)
        durable_log_ack(qw, q, from, all.count, 0);
    k->block_tries = 0;
    backlog_advance(&k->backlog, &all);
    q->ready_sum.bytes -= all.body_bytes;
    q->ready_sum.persistent -= (uint32_t)all.persistent;
    take_late(k);
    durable_settle_split(k);
    durable_unlink_unneeded(qw->durable, k);
    return all.count;
}

static enum next_message
block_start(struct durable *d, struct queue_disk *k)
{
    struct block_load *load = mem_alloc(sizeof(*load));
    if (load == NULL)
        return NEXT_ABSENT;
    load->job = (struct mover_job){.kind = MOVER_BLOCK,
                                   .queue = k->id,
                                   .is_transient = k->is_transient,
                                   .done = block_done,
                                   .ctx = load};
    load->job.block.block = *backlog_peek(&k->backlog);
    load->job.block.bytes = NULL;
    load->d = d;
    load->disk = k;
    k->is_loading = true;
    k->jobs++;
    mover_submit(d->port, &load->job);
    return NEXT_COMING;
}

void
durable_settle_split(struct queue_disk *k)
{
    struct queue *q = k->queue;
    if (!k->is_split || k->is_loading || backlog_peek(&k->backlog) != NULL || q->ready.head != NULL)
        return;
    // Late messages of transactions are few.
    while (k->behind.heap_count > 0) {
        struct ready_entry e = k->behind.heap[k->behind.heap_count - 1];
        if (!ready_push_returned(&q->ready, &e))
            return;
        k->behind.heap_count--;
        k->behind.count--;
    }
    ready_move_fifo(&q->ready, &k->behind);
    ready_fini(&k->behind);
    q->tail = &q->ready;
    k->is_split = false;
}

enum next_message
durable_load(struct queue_worker *qw, struct queue *q)
{
    enum next_message next;
    while ((next = queue_next(q)) == NEXT_ABSENT) {
        const struct ready_entry *e = queue_front(q);
        if (e != NULL && stored_is(e->stored, STORED_LOST)) {
            drop_lost(qw, q);
            continue;
        }
        if (e != NULL)
            return fetch_start(qw, q);
        if (backlog_peek(&q->disk->backlog) != NULL)
            return block_start(qw->durable, q->disk);
        durable_settle_split(q->disk);
        if (q->disk->is_split)
            return NEXT_ABSENT; // no memory for it now
    }
    return next;
}

void
durable_chain_left(struct queue_worker *qw, struct queue *q)
{
    struct queue_disk *k = q->disk;
    // What is being loaded is looked at when that is done.
    bool has_changed = !k->is_loading && backlog_skip_dead(&k->backlog);
    if (has_changed) {
        k->block_tries = 0;
        take_late(k);
        durable_settle_split(k);
    }
    durable_unlink_unneeded(qw->durable, k);
    if (has_changed)
        queue_gets_continue(qw, q);
}

void
durable_read_ahead(struct queue_worker *qw, struct queue *q)
{
    struct queue_disk *k = q->disk;
    if (k->is_split && !k->is_loading && !k->is_read_held && q->ready.count < READ_AHEAD_MIN &&
        backlog_peek(&k->backlog) != NULL)
        (void)block_start(qw->durable, k);
    else if (k->is_split)
        durable_settle_split(k);
}

uint64_t
queue_disk_waiting(const struct queue_disk *k)
{
    return k->backlog.count + k->behind.count;
}

size_t
durable_memory(const struct queue *q)
{
    const struct queue_disk *k = q->disk;
    if (k == NULL)
        return 0;
    size_t bytes = sizeof(*k) + ready_memory(&k->behind) + backlog_memory(&k->backlog);
    if (q->durability != DURABILITY_NONE) // as good as all of them are stored
        bytes += (queue_ready_count(q) - k->backlog.count + q->unacked.count) * sizeof(struct stored);
    return bytes;
}
