// durable_end.c: what is needed no more: files without messages, what a purge takes, a queue that is deleted.
//
// Nothing is unlinked before the word about it is durable: a message that is gone by an ack may come back once after a crash; files of a deleted queue would come back
// for ever.
#include "queue/durable.h"
#include "queue/queue_worker.h"
#include "queue/tx.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

struct unlink_job {
    struct mover_job job;
    struct durable *d;
    struct queue_disk *disk;
};

static void
unlink_done(struct mover_job *job)
{
    struct unlink_job *u = job->ctx;
    if (job->result != 0 && job->result != -LE_NOTFOUND)
        log_warn(LOG_STORE, "backlog files: one could not be removed: %s", err_text(job->result));
    u->d->removing -= job->kind == MOVER_REMOVE;
    u->d->is_wave_wanted = true;
    u->disk->jobs--;
    queue_disk_leave(u->d, u->disk);
    mem_free(u);
}

static void
unlink_submit(struct durable *d, struct queue_disk *k, enum mover_kind kind, uint32_t file)
{
    struct unlink_job *u = mem_calloc(1, sizeof(*u));
    if (u == NULL)
        return; // found and removed at the next start
    u->job = (struct mover_job){.kind = (uint8_t)kind,
                                .queue = k->id,
                                .is_transient = k->is_transient,
                                .done = unlink_done,
                                .ctx = u};
    u->job.file = file;
    u->d = d;
    u->disk = k;
    k->jobs++;
    d->removing += kind == MOVER_REMOVE;
    mover_submit(d->port, &u->job);
}

void
durable_unlink_unneeded(struct durable *d, struct queue_disk *k)
{
    if (k->is_appending || k->is_loading || d->is_ending)
        return;
    for (uint32_t file; (file = backlog_take_unneeded(&k->backlog)) != 0;)
        unlink_submit(d, k, MOVER_UNLINK, file);
}

static void
purge_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    if (!ready_entry_is(e, READY_STORED))
        return;
    if (!stored_is(e->stored, STORED_STALLED)) // else it is left out when it would be tried again
        durable_log_ack(qw, q, e->seq, 1, 0);
    if (stored_is(e->stored, STORED_BACKLOG))
        backlog_unkeep(&q->disk->backlog, e->stored->file);
    e->stored->flags |= STORED_PURGED;
}

static void
purge_entries(struct queue_worker *qw, struct queue *q, const struct ready *r)
{
    struct ready_walk at = {0};
    for (const struct ready_entry *e; (e = ready_walk_next(r, &at)) != NULL;)
        purge_entry(qw, q, e);
}

// The lowest number from `from` on that is out; UINT64_MAX: none.
static uint64_t
next_out(const struct queue *q, uint64_t from)
{
    uint64_t next = UINT64_MAX;
    size_t cursor = 0;
    for (const struct unacked_record *u; (u = unacked_next(&q->unacked, &cursor)) != NULL;)
        if (u->entry.seq >= from)
            next = LV_MIN(next, u->entry.seq);
    return next;
}

// All numbers from `from` up to `end`, but those that a transaction holds, and those that are out.
static void
log_acks_between(struct queue_worker *qw, struct queue *q, uint64_t from, uint64_t end)
{
    while (from < end) {
        uint64_t held = LV_MIN(tx_next_held(qw, q->handle, from), next_out(q, from));
        uint64_t to = LV_MIN(held, end);
        if (to > from)
            durable_log_ack(qw, q, from, to - from, 0);
        from = to + 1;
    }
}

void
durable_purge(struct queue_worker *qw, struct queue *q)
{
    struct durable *d = qw->durable;
    struct queue_disk *k = q->disk;
    // What is out, or held by a transaction, stays: so acks of each, not one word for all.
    const struct ready *r;
    for (size_t n = 0; (r = queue_row(q, n)) != NULL; n++)
        purge_entries(qw, q, r);
    if (k->backlog.count > 0 && !k->is_transient)
        log_acks_between(qw, q, k->backlog.cursor, backlog_last_seq(&k->backlog) + 1);
    for (size_t i = 0; i < k->left_count; i++)
        log_acks_between(qw, q, k->left[i].first, k->left[i].last + 1);
    k->left_count = 0; // their files go at the next start
    backlog_drop_chain(&k->backlog, q->next_seq);
    inttab_fini(&k->flags);
    inttab_init(&k->flags);
    if (k->behind.count > 0)
        queue_drop_later(qw, &k->behind);
    if (k->is_split) {
        k->is_split = false;
        q->tail = &q->ready;
    }
    durable_unlink_unneeded(d, k);
}

// --- the end of a queue ---

static void
detach(struct queue_worker *qw, struct queue *q)
{
    struct queue_disk *k = q->disk;
    if (k->behind.count > 0)
        queue_drop_later(qw, &k->behind);
    q->tail = &q->ready;
    q->disk = NULL;
    k->queue = NULL;
    k->is_split = false;
    k->is_gone = true;
}

void
durable_delete(struct queue_worker *qw, struct queue *q, struct queue_request *request)
{
    struct durable *d = qw->durable;
    struct queue_disk *k = q->disk;
    struct log_item *item = NULL;
    struct msglog_entry *e = k->is_transient ? NULL : durable_entry(d, &item);
    detach(qw, q);
    if (e ==
        NULL) { // transient; or no memory for the word, then its messages are found at the next start, without their queue
        if (k->has_folder)
            unlink_submit(d, k, MOVER_REMOVE, 0);
        request_answer(qw->w, request, QUEUE_OK);
        queue_disk_leave(d, k);
        return;
    }
    *e = (struct msglog_entry){.kind = MSGLOG_DELETE, .queue = k->id};
    item->disk = k;
    item->request = request;
    k->jobs++;
}

void
durable_delete_returned(struct durable *d, const struct msglog_entry *e, struct log_item *item)
{
    struct queue_disk *k = item->disk;
    if (k == NULL)
        return; // of a queue that nobody knew at start
    k->jobs--;
    if (d->is_ending)
        queue_request_free(item->request);
    else
        request_answer(d->qw->w, item->request, QUEUE_OK);
    if (k->has_folder && e->result == 0 && !d->is_ending)
        unlink_submit(d, k, MOVER_REMOVE, 0);
    queue_disk_leave(d, k);
}

void
durable_forget(struct queue_worker *qw, struct queue *q)
{
    struct queue_disk *k = q->disk;
    size_t budget = SIZE_MAX;
    queue_worker_drop_ready(qw, &k->behind, &budget);
    detach(qw, q);
    LV_ASSERT(k->jobs == 0);
    queue_disk_leave(qw->durable, k);
}
