// durable_move.c: the front of a queue's FIFO, or messages that are out, to backlog files.
//
// Of the front what waits is then a cursor (CHAIN blocks): it leaves memory when the files are durable. What is out or was given back goes to LOOSE blocks and
// lives on by its address. Failure: a move that cannot be written leaves everything as it was.
#include "queue/durable_move.h"

#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// --- gathering ---

static void
append_free(struct append_job *a)
{
    for (size_t i = 0; i < a->count; i++) {
        message_unref(a->msgs[i]);
        if (a->stored[i] != NULL) {
            a->stored[i]->flags &= (uint16_t)~STORED_MOVING;
            stored_unbusy(a->d, a->stored[i]);
        }
    }
    mem_free(a->items);
    mem_free(a->stored);
    mem_free(a->contents);
    mem_free(a->msgs);
    mem_free(a->job.append.blocks);
    mem_free(a);
}

struct append_job *
append_new(struct durable *d, struct queue_disk *k, bool is_chain, size_t cap)
{
    struct append_job *a = mem_calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->d = d;
    a->disk = k;
    a->is_chain = is_chain;
    a->cap = cap;
    a->items = mem_alloc(cap * sizeof(*a->items));
    a->stored = mem_alloc(cap * sizeof(*a->stored));
    a->contents = mem_alloc(cap * sizeof(*a->contents));
    a->msgs = mem_calloc(cap, sizeof(*a->msgs));
    if (a->items != NULL && a->stored != NULL && a->contents != NULL && a->msgs != NULL)
        return a;
    LV_ASSERT(a->count == 0); // it is not walked: its arrays may be missing
    append_free(a);
    return NULL;
}

// Adds an entry; false when it is full.
bool
append_add(struct append_job *a, const struct ready_entry *e)
{
    struct stored *s = ready_entry_is(e, READY_STORED) ? e->stored : NULL;
    struct message *msg = ready_entry_message(e);
    size_t bytes = s != NULL && stored_is(s, STORED_WRITTEN) ? s->len : message_weight(msg);
    if (a->count == a->cap || (a->count > 0 && a->bytes + bytes > APPEND_BYTES))
        return false;
    size_t at = a->count++;
    a->bytes += bytes;
    a->items[at] = (struct backlog_item){.seq = e->seq,
                                         .epoch = EPOCH_ALONE,
                                         .flags = e->count_flags,
                                         .expires_ms = expiry_at(a->disk->queue, e)};
    if (QUEUE_BUG(QUEUE_BUG_MOVE_FORGETS_TTL))
        a->items[at].expires_ms = 0;
    a->stored[at] = s;
    if (s != NULL) {
        s->busy++;
        s->flags |= STORED_MOVING;
        a->items[at].is_from_backlog = stored_is(s, STORED_BACKLOG);
        a->items[at].from = stored_place(s);
    }
    // A large body stays where it is: the record in the log names its file.
    bool is_by_place =
        s != NULL && stored_is(s, STORED_WRITTEN) && (msg == NULL || stored_is(s, STORED_LARGE));
    if (!is_by_place) {
        a->msgs[at] = message_ref(msg);
        durable_fill_content(&a->contents[at], msg);
        if (s != NULL)
            a->contents[at].flags |= MESSAGE_PERSISTENT;
        a->items[at].content = &a->contents[at];
    }
    return true;
}

// --- appending ---

// The front of the FIFO is on disk: lets go of it in memory.
static void
let_go_of_front(struct append_job *a, uint64_t last_seq, uint64_t *ret_from, struct backlog_wait *ret_wait)
{
    struct durable *d = a->d;
    struct queue_disk *k = a->disk;
    struct queue *q = k->queue;
    struct ready *r = fifo_of(k);
    *ret_from = last_seq + 1;
    *ret_wait = (struct backlog_wait){0};
    for (size_t i = 0; r->head != NULL; i++) {
        struct ready_entry e = r->head->entries[r->head_pos];
        if (e.seq > last_seq)
            break;
        while (i < a->count && a->items[i].seq < e.seq)
            i++;
        LV_ASSERT(i < a->count && a->items[i].seq == e.seq); // the FIFO's front was taken without a gap
        ready_pop_fifo(r, &d->qw->ready_pools);
        expiry_forget(q, &e);
        struct message *msg = ready_entry_message(&e);
        q->ready_sum.weight -= msg != NULL ? message_weight(msg) : 0;
        if (a->items[i].result == 0) {
            *ret_from = LV_MIN(*ret_from, e.seq);
            ret_wait->count++;
            ret_wait->body_bytes += e.body_len;
            ret_wait->persistent += ready_entry_is(&e, READY_PERSISTENT);
        } else {
            q->ready_sum.bytes -= e.body_len;
            q->ready_sum.persistent -= ready_entry_is(&e, READY_PERSISTENT);
            log_error(LOG_QUEUE,
                      "queue '%.*s' in vhost '%.*s': message %llu cannot be read from disk (%s), dropping it",
                      SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)e.seq,
                      err_text(a->items[i].result));
        }
        if (ready_entry_is(&e, READY_STORED)) {
            if (stored_is(e.stored, STORED_BACKLOG))
                backlog_unkeep(&k->backlog, e.stored->file);
            if (a->items[i].result == 0)
                stored_pass_large(d, e.stored); // the reference of the file is the record's now
            stored_gone(d->qw, e.stored);
        } else {
            queue_worker_drop_entry(d->qw, &e);
        }
    }
}

// Messages of the append that are not in the FIFO any more, and alive: they live on by their address in the file.
static void
switch_places(struct append_job *a)
{
    struct queue_disk *k = a->disk;
    for (size_t i = 0; i < a->count; i++) {
        struct stored *s = a->stored[i];
        bool is_alive = s != NULL && !stored_is(s, STORED_DEAD) && !stored_is(s, STORED_PURGED);
        if (!is_alive)
            continue;
        if (a->items[i].result != 0) {
            s->flags |= STORED_LOST;
            continue;
        }
        if (backlog_keep(&k->backlog, a->job.append.file, 1) != 0) { // without memory it stays where it was
            a->d->vacate_failed |= a->is_vacating;
            continue;
        }
        if (stored_is(s, STORED_BACKLOG))
            backlog_unkeep(&k->backlog, s->file);
        s->file = a->job.append.file;
        s->offset = a->items[i].offset;
        s->len = a->items[i].len;
        s->flags |= STORED_WRITTEN | STORED_BACKLOG;
    }
}

// What is left of the FIFO comes behind the chain from now on; so do late ones that are not in front of it.
static void
hand_to_behind(struct queue_disk *k)
{
    struct queue *q = k->queue;
    q->tail = &k->behind;
    k->is_split = true;
    for (uint32_t i = 0; i < q->ready.heap_count;) {
        struct ready_entry e = q->ready.heap[i];
        if (e.seq < k->backlog.cursor || !ready_push_returned(&k->behind, &e)) {
            i++;
            continue;
        }
        ready_remove_heap(&q->ready, i);
        i = 0;
    }
}

static void
split(struct queue_disk *k)
{
    if (k->is_split)
        return;
    ready_move_fifo(&k->behind, &k->queue->ready);
    hand_to_behind(k);
}

// Messages below the cursor of the chain stay where they are: they cannot be in it. False when out of memory, or when there are no others.
static bool
split_above_cursor(struct durable *d, struct queue_disk *k)
{
    struct ready_cursor at = {0};
    struct ready *r = fifo_of(k);
    if (r->head == NULL || r->head->entries[r->head_pos].seq >= k->backlog.cursor)
        return true;
    if (k->is_split || first_for_chain(k, r, &at) == NULL ||
        !ready_cut_fifo(r, &at, &k->behind, &d->qw->ready_pools))
        return false;
    hand_to_behind(k);
    return true;
}

static void
append_done(struct mover_job *job)
{
    struct append_job *a = job->ctx;
    struct durable *d = a->d;
    struct queue_disk *k = a->disk;
    k->jobs--;
    k->is_appending = false;
    d->vacate_moves -= a->is_vacating;
    d->is_wave_wanted = true;
    if (job->result != 0) {
        log_error(LOG_STORE, "backlog files: %zu messages could not be written: %s", a->count,
                  err_text(job->result));
        d->vacate_failed = true;
        if (k->queue != NULL)
            backlog_append_failed(&k->backlog, job->append.file);
    } else if (k->queue != NULL && !d->is_ending) {
        struct backlog_wait wait = {0};
        uint64_t last_seq = a->items[a->count - 1].seq, from = last_seq + 1;
        if (a->is_chain)
            let_go_of_front(a, last_seq, &from, &wait);
        switch_places(a);
        // Without memory for the picture what waits in these blocks would be forgotten: small, and at start-up it is found again.
        if (backlog_appended(&k->backlog, job->append.blocks, job->append.block_count, from, &wait) == 0 &&
            wait.count > 0)
            split(k);
        if (QUEUE_BUG(QUEUE_BUG_COUNT_TWICE))
            k->backlog.count += wait.count;
        durable_settle_split(k);
        if (a->is_chain)
            expiry_chain_grew(d->qw, k->queue, job->append.blocks, job->append.block_count);
        queue_touch(d->qw, k->queue);
        durable_unlink_unneeded(d, k);
    }
    if (k->queue != NULL)
        expiry_move_done(d->qw, k->queue, k->moving_first, k->moving_last);
    append_free(a);
    queue_disk_leave(d, k);
}

bool
append_submit(struct durable *d, struct queue_disk *k, struct append_job *a, bool is_vacating)
{
    struct backlog_append *to = &a->job.append;
    a->job.kind = MOVER_APPEND;
    a->job.is_transient = k->is_transient;
    a->job.queue = k->id;
    a->job.done = append_done;
    a->job.ctx = a;
    *to = (struct backlog_append){.queue = k->id,
                                  .items = a->items,
                                  .count = a->count,
                                  .is_transient = k->is_transient,
                                  .kind = a->is_chain ? BACKLOG_CHAIN : BACKLOG_LOOSE};
    if (a->count == 0 || backlog_begin_append(&k->backlog, to) != 0) {
        append_free(a);
        return false;
    }
    a->is_vacating = is_vacating;
    k->has_folder = true;
    k->is_appending = true;
    k->moving_first = a->is_chain ? a->items[0].seq : UINT64_MAX;
    k->moving_last = a->is_chain ? a->items[a->count - 1].seq : 0;
    k->jobs++;
    d->vacate_moves += is_vacating;
    mover_submit(d->port, &a->job);
    return true;
}

// Moves the first `count` of the FIFO, as far as one append takes.
bool
append_front(struct durable *d, struct queue_disk *k, size_t count, bool is_vacating)
{
    if (!split_above_cursor(d, k))
        return false;
    struct append_job *a = append_new(d, k, true, LV_MIN(count, (size_t)APPEND_MAX));
    struct ready_cursor at = {0};
    const struct ready *r = fifo_of(k);
    if (a == NULL)
        return false;
    for (const struct ready_entry *e; a->count < count && (e = ready_next(r, &at)) != NULL;) {
        bool is_unready = ready_entry_is(e, READY_STORED) &&
                          (!stored_is(e->stored, STORED_WRITTEN) || stored_is(e->stored, STORED_MOVING));
        if (is_unready || !append_add(a, e))
            break;
    }
    return append_submit(d, k, a, is_vacating);
}
