// expiry_chain.c: see expiry_chain.h.
//
// A look goes over the blocks of the chain from its front, and reads the tables of those in which something is due within LEAD_MS: what is due within AHEAD_MS comes
// here, so each block is read every few seconds at the most, while something is due in it. One job at a time, of a few blocks; the look goes on
// behind them when it is back. When much is here already less is read ahead, and beyond DUE_MAX nothing before some has left.
#include "queue/expiry_chain.h"

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/expiry.h"
#include "src/base/bug.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    AHEAD_MS = 8000,
    LEAD_MS = 2000,
    LOOK_MIN_MS = 250,   // between two looks
    RETRY_LOOK_MS = 250, // without memory
    TABLES_A_JOB = 32,
    DUE_MUCH = 65536, // LIMIT: messages here from which on as little as possible is read ahead
    DUE_MAX = 262144, // LIMIT: and from which on nothing is read: 8 MiB
};

// --- the heap ---

static bool
is_before(const struct backlog_due *a, const struct backlog_due *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static bool
reserve(struct expiry_chain *c, size_t more)
{
    if (c->count + more <= c->cap)
        return true;
    size_t cap = LV_MAX(c->count + more, LV_MAX(c->cap + c->cap / 2, (size_t)64));
    struct backlog_due *heap = mem_realloc(c->heap, cap * sizeof(*heap));
    if (heap == NULL)
        return false;
    c->heap = heap;
    c->cap = cap;
    return true;
}

static void
push(struct expiry_chain *c, const struct backlog_due *d)
{
    size_t at = c->count++;
    for (size_t up; at > 0 && is_before(d, &c->heap[up = (at - 1) / 2]); at = up)
        c->heap[at] = c->heap[up];
    c->heap[at] = *d;
}

static void
pop(struct expiry_chain *c)
{
    struct backlog_due last = c->heap[--c->count];
    size_t at = 0;
    for (size_t down; (down = at * 2 + 1) < c->count; at = down) {
        if (down + 1 < c->count && is_before(&c->heap[down + 1], &c->heap[down]))
            down++;
        if (!is_before(&c->heap[down], &last))
            break;
        c->heap[at] = c->heap[down];
    }
    if (c->count > 0)
        c->heap[at] = last;
    else
        expiry_chain_purged(c);
}

int64_t
expiry_chain_next(const struct expiry_chain *c)
{
    return c->count > 0 ? c->heap[0].at_ms : DEADLINE_NONE;
}

void
expiry_chain_purged(struct expiry_chain *c)
{
    mem_free(c->heap);
    c->heap = NULL;
    c->count = c->cap = 0;
}

void
expiry_chain_fini(struct expiry_chain *c)
{
    expiry_chain_purged(c);
}

// --- leaving ---

// The block, if the message waits there: the queue has not come to it, and it has not left.
static struct backlog_block *
block_of(const struct queue_disk *k, const struct backlog_due *d)
{
    struct backlog_block *block = d->seq >= k->backlog.cursor ? backlog_find(&k->backlog, d->seq) : NULL;
    bool is_there = block != NULL && d->offset > block->offset && d->offset - block->offset < block->bytes &&
                    !backlog_is_dead(&k->backlog, block, d->offset);
    return is_there ? block : NULL;
}

static bool
leave_chain(struct queue_disk *k, const struct backlog_due *d)
{
    struct backlog_block *block = block_of(k, d);
    struct backlog_wait one = {1, d->body_bytes, (d->where & BACKLOG_DUE_PERSISTENT) != 0};
    return backlog_kill(&k->backlog, block, d->offset, &one) == 0;
}

// What nobody wants is not read.
static bool
drop(struct queue_worker *qw, struct queue *q, const struct backlog_due *d)
{
    struct queue_disk *k = q->disk;
    if (!leave_chain(k, d))
        return false;
    if (!k->is_transient)
        durable_log_ack(qw, q, d->seq, 1, 0);
    if (backlog_due_large(d) != 0)
        durable_release_later(qw->durable, backlog_due_large(d));
    return true;
}

// From here on it lives by its address, as what the queue had come to does.
static struct stored *
keep(struct queue_worker *qw, struct queue *q, const struct backlog_due *d)
{
    struct queue_disk *k = q->disk;
    uint32_t file = block_of(k, d)->file;
    struct stored *s = stored_new(qw->durable, NULL);
    if (s == NULL)
        return NULL;
    bool is_kept = backlog_keep(&k->backlog, file, 1) == 0;
    if (!is_kept || !leave_chain(k, d)) {
        if (is_kept)
            backlog_unkeep(&k->backlog, file);
        stored_gone(qw, s);
        return NULL;
    }
    s->file = file;
    s->offset = d->offset;
    s->len = backlog_due_len(d);
    s->flags |= STORED_WRITTEN | STORED_BACKLOG;
    stored_set_large(qw->durable, s, backlog_due_large(d));
    return s;
}

void
expiry_chain_expire(struct queue_worker *qw, struct queue *q)
{
    struct expiry_chain *c = expiry_chain_of(q);
    struct backlog_due d = c->heap[0];
    pop(c);
    if (block_of(q->disk, &d) == NULL)
        return;
    struct ready_entry e = {.seq = d.seq, .body_len = d.body_bytes};
    e.count_flags = (d.where & BACKLOG_DUE_PERSISTENT) != 0 ? READY_PERSISTENT : 0;
    bool is_wanted = dying_is_wanted(qw, q);
    if (is_wanted) {
        e.stored = keep(qw, q, &d);
        e.count_flags |= READY_STORED;
    }
    if (is_wanted ? e.stored == NULL : !drop(qw, q, &d))
        return; // no memory: it leaves when the queue comes to it
    c->has_left = true;
    sum_sub(&q->ready_sum, &e, 0);
    q->counters.expired++;
    if (is_wanted)
        queue_bury_entry(qw, q, &e, DEATH_EXPIRED);
    else
        dying_count_dropped(qw, q, DEATH_EXPIRED);
}

void
expiry_chain_settle(struct queue_worker *qw, struct queue *q)
{
    struct expiry_chain *c = expiry_chain_of(q);
    if (!c->has_left)
        return;
    c->has_left = false;
    durable_chain_left(qw, q);
}

// --- reading ahead ---

struct tables_job {
    struct mover_job job;
    struct durable *d;
    struct queue_disk *disk;
    struct mover_table items[TABLES_A_JOB];
};

static int64_t
due_ms(const struct backlog_block *block)
{
    return (int64_t)block->due_s * 1000;
}

int64_t
expiry_chain_look_of(const struct backlog_block *blocks, size_t count)
{
    int64_t first_ms = DEADLINE_NONE;
    for (size_t i = 0; i < count; i++)
        if (blocks[i].due_s != 0 && blocks[i].kind != 0)
            first_ms = LV_MIN(first_ms, due_ms(&blocks[i]) - LEAD_MS);
    return first_ms;
}

// What waits still, and is not of an earlier run and transient: that has gone with it.
static void
take_due(struct queue_disk *k, struct expiry_chain *c, const struct mover_job *job)
{
    for (size_t i = 0; i < job->tables.due_count; i++) {
        const struct backlog_due *d = &job->tables.due[i];
        const struct backlog_block *block = block_of(k, d);
        bool is_gone =
            block == NULL || ((d->where & BACKLOG_DUE_PERSISTENT) == 0 && block->number < k->old_blocks);
        if (!is_gone && !QUEUE_BUG(QUEUE_BUG_TABLE_UNREAD))
            push(c, d);
    }
}

// Of one block: how far it is known now. False: no memory.
static bool
take_table(struct queue_disk *k, struct expiry_chain *c, const struct mover_table *t)
{
    struct backlog_block *block = backlog_find_number(&k->backlog, t->block.number);
    if (t->result == -LE_NOMEM || block == NULL)
        return t->result != -LE_NOMEM;
    if (t->is_left) { // its turn comes again
        c->look_at = LV_MIN(c->look_at, block->number);
        return true;
    }
    if (t->result != 0)
        log_warn(
            LOG_QUEUE,
            "queue '%.*s' in vhost '%.*s': the times of %u messages from number %llu on cannot be read (%s): "
            "they expire when the queue comes to them",
            SLICE_FMT(k->queue->def->name), SLICE_FMT(k->queue->def->vhost), block->count,
            (unsigned long long)block->first_seq, err_text(t->result));
    block->due_s = t->result == 0 ? t->due_s : 0;
    if (block->due_s != 0)
        c->seen_ms = LV_MIN(c->seen_ms, due_ms(block));
    return true;
}

static void
tables_done(struct mover_job *job)
{
    struct tables_job *j = job->ctx;
    struct durable *d = j->d;
    struct queue_disk *k = j->disk;
    struct queue *q = k->queue;
    k->jobs--;
    struct expiry_chain *c = q != NULL && q->expiry != NULL ? expiry_chain_of(q) : NULL;
    if (c != NULL)
        c->is_reading = false;
    if (c != NULL && !d->is_ending) {
        int64_t now_ms = d->qw->w->now_ms;
        bool is_good = reserve(c, job->tables.due_count);
        if (is_good)
            take_due(k, c, job);
        for (size_t i = 0; is_good && i < job->tables.count; i++)
            is_good = take_table(k, c, &j->items[i]);
        if (!is_good)
            c->look_at = 0; // a new look, a little later
        c->look_ms = LV_MAX(is_good ? now_ms : now_ms + RETRY_LOOK_MS, INT64_C(1));
        expiry_chain_look_soon(d->qw, q, c->look_ms);
    }
    mem_free(job->tables.due);
    mem_free(j);
    queue_disk_leave(d, k);
}

static bool
submit(struct queue_worker *qw, struct queue *q, struct tables_job *j, int64_t ahead_ms)
{
    struct queue_disk *k = q->disk;
    struct tables_job *own = mem_alloc(sizeof(*own));
    if (own == NULL)
        return false;
    *own = *j;
    own->d = qw->durable;
    own->disk = k;
    own->job.kind = MOVER_TABLES;
    own->job.queue = k->id;
    own->job.is_transient = k->is_transient;
    own->job.done = tables_done;
    own->job.ctx = own;
    own->job.tables.items = own->items;
    own->job.tables.until_ms = (qw->w->now_ms + ahead_ms) / 1000 * 1000;
    expiry_chain_of(q)->is_reading = true;
    k->jobs++;
    mover_submit(qw->durable->port, &own->job);
    return true;
}

// The blocks of the next job; what is not due yet says when there has to be another look.
static void
gather(const struct backlog *b, struct expiry_chain *c, int64_t before_ms, struct tables_job *j)
{
    size_t i = backlog_block_from(b, c->look_at);
    for (; i < b->end && j->job.tables.count < TABLES_A_JOB; i++) {
        const struct backlog_block *block = &b->chain[i];
        if (block->due_s == 0 || block->kind == 0)
            continue;
        if (due_ms(block) < before_ms)
            j->items[j->job.tables.count++].block = *block;
        else
            c->seen_ms = LV_MIN(c->seen_ms, due_ms(block));
    }
    c->look_at = i < b->end ? b->chain[i].number : b->next_block; // what comes meanwhile is looked at too
}

int64_t
expiry_chain_look(struct queue_worker *qw, struct queue *q)
{
    struct expiry_chain *c = expiry_chain_of(q);
    struct queue_disk *k = q->disk;
    int64_t now_ms = qw->w->now_ms;
    if (k == NULL || c->look_ms == 0 || c->is_reading || qw->durable->is_ending)
        return DEADLINE_NONE; // the end of the job asks for it
    if (now_ms < c->look_ms)
        return c->look_ms;
    if (c->count >= DUE_MAX)
        return now_ms + LOOK_MIN_MS;
    bool is_much = c->count >= DUE_MUCH;
    int64_t lead_ms = is_much ? LEAD_MS / 2 : LEAD_MS;
    struct tables_job j = {0};
    if (c->look_at == 0)
        c->seen_ms = DEADLINE_NONE;
    gather(&k->backlog, c, now_ms + lead_ms, &j);
    if (j.job.tables.count > 0) {
        if (submit(qw, q, &j, is_much ? LEAD_MS : AHEAD_MS))
            return DEADLINE_NONE;
        c->look_at = 0;
        return c->look_ms = now_ms + RETRY_LOOK_MS;
    }
    c->look_at = 0; // all were seen
    c->look_ms = c->seen_ms == DEADLINE_NONE ? 0 : LV_MAX(c->seen_ms - lead_ms, now_ms + LOOK_MIN_MS);
    return c->look_ms == 0 ? DEADLINE_NONE : c->look_ms;
}
