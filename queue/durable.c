// durable.c: batches of the commit log: gathered during a turn, submitted in PHASE_LOG, given back in a later one.
//
// What has come back is handled before the new batch is closed, so that a confirm leaves in the turn in which it became true.
// Messages that found no room in the log wait in `stalled`, and are submitted again every RETRY_MS; while there are some, is_full says so
// to whoever blocks publishers.
#include "queue/durable.h"

#include "queue/queue_worker.h"
#include "queue/tx.h"
#include "src/base/bug.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

#ifdef LV_PLANTED_BUGS
unsigned queue_planted_bugs;
#endif

// LIMIT: batches kept for reuse.
enum { KEEP_BATCHES = 16, KEEP_STORED = 65536, KEEP_WAITS = 4096 };

static void
wake_worker(void *ctx)
{
    struct durable *d = ctx;
    ev_async_send(d->qw->w->loop, &d->qw->w->wake);
}

// --- gathering ---

static struct log_batch *
batch_of(struct msglog_batch *b)
{
    return b == NULL ? NULL : LV_CONTAINER_OF(b, struct log_batch, batch);
}

static struct log_batch *
batch_take(struct durable *d)
{
    struct log_batch *b = d->spare;
    if (b != NULL) {
        d->spare = batch_of(b->batch.next);
        d->spare_count--;
    } else {
        b = mem_alloc(sizeof(*b));
        if (b == NULL)
            return NULL;
    }
    b->batch = (struct msglog_batch){.entries = b->entries, .ctx = b};
    b->number = ++d->begun;
    b->skipped = 0;
    list_init(&b->node);
    return b;
}

static void
batch_give(struct durable *d, struct log_batch *b)
{
    if (d->spare_count >= KEEP_BATCHES) {
        mem_free(b);
        return;
    }
    b->batch.next = d->spare != NULL ? &d->spare->batch : NULL;
    d->spare = b;
    d->spare_count++;
}

static void
close_batch(struct durable *d)
{
    struct log_batch *b = d->filling;
    if (b == NULL)
        return;
    d->filling = NULL;
    b->batch.next = NULL;
    if (d->last != NULL)
        d->last->batch.next = &b->batch;
    else
        d->first = b;
    d->last = b;
    d->closed++;
}

struct msglog_entry *
durable_entry(struct durable *d, struct log_item **ret_item)
{
    if (d->filling != NULL && d->filling->batch.count == LOG_BATCH_ENTRIES)
        close_batch(d);
    if (d->filling == NULL)
        d->filling = batch_take(d);
    struct log_batch *b = d->filling;
    if (b == NULL)
        return NULL;
    uint32_t at = b->batch.count++;
    b->entries[at] = (struct msglog_entry){0};
    b->items[at] = (struct log_item){0};
    *ret_item = &b->items[at];
    return &b->entries[at];
}

static struct log_batch *
unsubmitted_batch(const struct durable *d, uint32_t number)
{
    if (d->filling != NULL && d->filling->number == number)
        return d->filling;
    struct log_batch *b = d->first;
    if (b == NULL || (int32_t)(number - b->number) < 0)
        return NULL;
    while (b != NULL && b->number != number)
        b = batch_of(b->batch.next);
    return b;
}

bool
durable_take_back(struct durable *d, struct stored *s)
{
    struct log_batch *b = stored_is(s, STORED_WRITTEN) ? NULL : unsubmitted_batch(d, s->file);
    if (b == NULL || b->items[s->offset].stored != s || b->entries[s->offset].tx != 0)
        return false;
    struct log_item *item = &b->items[s->offset];
    b->skipped++;
    durable_answer(d, item, true);
    message_unref(item->msg);
    *item = (struct log_item){.is_skipped = true};
    stored_unbusy(d, s);
    return true;
}

static void
keep_entry(struct log_batch *b, uint32_t to, uint32_t from)
{
    b->entries[to] = b->entries[from];
    b->items[to] = b->items[from];
    b->entries[to].content = &b->items[to].content;
}

// Closes the gaps. Nothing looks for an entry of it by its index any more.
static void
leave_out_skipped(struct log_batch *b)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->batch.count; i++)
        if (!b->items[i].is_skipped)
            keep_entry(b, kept++, i);
    b->batch.count = kept;
}

// A batch of which nothing is left need not go round, unless somebody counts on it.
static bool
is_unneeded(const struct durable *d, const struct log_batch *b)
{
    if (b->batch.count > 0 || b->batch.next != NULL)
        return false;
    if (list_is_empty(&d->releases))
        return true;
    const struct large_release *last = LV_CONTAINER_OF(d->releases.prev, struct large_release, node);
    return last->due < d->closed;
}

// A planted bug's.
static void
confirm_early(struct durable *d, struct log_batch *b)
{
    for (uint32_t i = 0; i < b->batch.count; i++)
        if (b->entries[i].kind == MSGLOG_MESSAGE && b->entries[i].tx == 0) {
            durable_answer(d, &b->items[i], true);
            b->items[i].has_wait = false;
            b->items[i].session = 0;
        }
}

void
durable_submit(struct durable *d)
{
    close_batch(d);
    struct log_batch *b = d->first;
    d->first = d->last = NULL;
    while (b != NULL) {
        struct log_batch *next = batch_of(b->batch.next);
        if (b->skipped > 0)
            leave_out_skipped(b);
        if (is_unneeded(d, b)) {
            d->closed--;
            batch_give(d, b);
        } else {
            if (LV_BUG(CONFIRM_EARLY))
                confirm_early(d, b);
            d->open_batches++;
            msglog_submit(d->writer, &b->batch);
        }
        b = next;
    }
}

// --- large bodies ---

void
durable_release_later(struct durable *d, uint64_t large_file)
{
    struct large_release *r = mem_alloc(sizeof(*r));
    if (r == NULL)
        return; // the file goes at the next start
    // Whatever says that the message is gone is in a batch up to this one.
    *r = (struct large_release){.large_file = large_file, .due = d->closed + (d->filling != NULL ? 1 : 0)};
    list_init(&r->node);
    list_push_back(&d->releases, &r->node);
}

// Batches come back in the order of submission, so what was submitted earlier is durable.
static void
release_due(struct durable *d)
{
    if (!list_is_empty(&d->stalled) || d->is_probing)
        return; // acks may be among what is not written yet
    for (struct list *at; (at = list_first(&d->releases)) != NULL;) {
        struct large_release *r = LV_CONTAINER_OF(at, struct large_release, node);
        struct log_item *item;
        struct msglog_entry *e = r->due <= d->came_back ? durable_entry(d, &item) : NULL;
        if (e == NULL)
            return;
        e->kind = MSGLOG_RELEASE;
        e->large_file = r->large_file;
        list_remove(at);
        mem_free(r);
    }
}

// --- coming back ---

static void
dispatch(struct durable *d, struct msglog_entry *e, struct log_item *item)
{
    switch (e->kind) {
    case MSGLOG_MESSAGE: durable_message_returned(d, e, item); break;
    case MSGLOG_MOVE: durable_move_returned(d, e, item); break;
    case MSGLOG_ACK:
    case MSGLOG_COUNT:
    case MSGLOG_PURGE: durable_ack_returned(d, e, item); break;
    case MSGLOG_DELETE: durable_delete_returned(d, e, item); break;
    case MSGLOG_PART:
    case MSGLOG_COMMIT:
    case MSGLOG_ABORT: tx_returned(d, e, item); break;
    default: break;
    }
}

// Messages that found no room are kept, and so are acks, a message that is acked must not come back after an orderly stop, counts, and
// deletes, which are answered when they are durable.
static bool
is_to_stall(const struct msglog_entry *e, const struct log_item *item)
{
    if (e->tx != 0 || e->result != -LE_NOSPACE)
        return false;
    return e->kind == MSGLOG_ACK || e->kind == MSGLOG_COUNT || e->kind == MSGLOG_DELETE ||
           (e->kind == MSGLOG_MESSAGE && !stored_is(item->stored, STORED_DEAD));
}

// What found no room stays in its batch; everything else of it is done.
static void
returned(void *ctx, struct msglog_batch *batch)
{
    struct durable *d = ctx;
    struct log_batch *b = batch->ctx;
    uint32_t kept = 0;
    d->open_batches--;
    d->came_back++;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct msglog_entry *e = &b->entries[i];
        if (!is_to_stall(e, &b->items[i])) {
            dispatch(d, e, &b->items[i]);
            continue;
        }
        if (b->items[i].stored != NULL)
            b->items[i].stored->flags |= STORED_STALLED;
        keep_entry(b, kept++, i);
    }
    if (kept == 0) {
        batch_give(d, b);
        return;
    }
    b->batch.count = kept;
    bool is_first = list_is_empty(&d->stalled);
    list_push_back(&d->stalled, &b->node);
    if (!is_first)
        return;
    if (!atomic_load_explicit(&d->is_full, memory_order_relaxed))
        log_error(LOG_STORE, "message log: no room for more messages: publishers wait until there is");
    atomic_store_explicit(&d->is_full, true, memory_order_relaxed);
    d->retry_ns = d->qw->w->now_ns + RETRY_MS * UINT64_C(1000000);
    ev_timer_again(d->qw->w->loop, &d->retry);
}

// Consumed, purged or deleted while it waited: it need not be written any more.
static bool
is_obsolete(const struct durable *d, const struct msglog_entry *e, const struct log_item *item)
{
    if (e->kind == MSGLOG_DELETE)
        return false;
    const struct queue *q = handle_slots_find(&d->qw->queues, item->queue);
    const struct stored *s = item->stored;
    if (QUEUE_BUG(QUEUE_BUG_ACK_FIRST))
        return q == NULL;
    return q == NULL || (s != NULL && (stored_is(s, STORED_DEAD) || stored_is(s, STORED_PURGED)));
}

// It comes to lie in a younger segment than some behind it.
static void
note_late(struct durable *d, const struct msglog_entry *e, const struct log_item *item)
{
    struct queue_disk *k = ((struct queue *)handle_slots_find(&d->qw->queues, item->queue))->disk;
    k->moved_upto = LV_MAX(k->moved_upto, e->seq);
}

// Submits the stalled messages again.
static void
retry_stalled(struct durable *d)
{
    struct list stalled;
    if (list_is_empty(&d->stalled) || d->qw->w->now_ns < d->retry_ns)
        return;
    durable_submit(d); // batches are counted in the order in which they are submitted
    list_init(&stalled);
    list_splice_back(&stalled, &d->stalled);
    for (struct list *at; (at = list_pop_front(&stalled)) != NULL;) {
        struct log_batch *b = LV_CONTAINER_OF(at, struct log_batch, node);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < b->batch.count; i++) {
            bool is_message = b->items[i].stored != NULL;
            if (is_obsolete(d, &b->entries[i], &b->items[i])) {
                if (is_message)
                    durable_message_returned(d, &b->entries[i], &b->items[i]);
                continue;
            }
            if (is_message) {
                b->items[i].stored->flags &= (uint16_t)~STORED_STALLED;
                note_late(d, &b->entries[i], &b->items[i]);
            }
            keep_entry(b, kept++, i);
        }
        b->batch.count = kept;
        d->open_batches++;
        d->closed++; // it goes round once more
        msglog_submit(d->writer, &b->batch);
    }
    d->is_probing = true;
    d->probe_end = d->closed;
}

static void
on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    // It only wakes the loop; the turn does the work.
}

static void
end_of_full(struct durable *d)
{
    if (!d->is_probing || d->came_back < d->probe_end || !list_is_empty(&d->stalled))
        return;
    d->is_probing = false;
    atomic_store_explicit(&d->is_full, false, memory_order_relaxed);
    log_notice(LOG_STORE, "message log: there is room again");
}

static void
vacate(void *ctx, uint64_t generation)
{
    durable_vacate(ctx, generation);
}

static bool
log_hook(struct worker *w, void *ctx)
{
    struct durable *d = ctx;
    msglog_writer_poll(d->writer);
    retry_stalled(d);
    end_of_full(d);
    release_due(d);
    durable_submit(d);
    return false;
}

static bool
mover_hook(struct worker *w, void *ctx)
{
    struct durable *d = ctx;
    mover_port_poll(d->port);
    return false;
}

static bool
move_hook(struct worker *w, void *ctx)
{
    struct durable *d = ctx;
    durable_reread(d);
    durable_move_step(d);
    durable_submit(d); // what this phase has added leaves now, not when somebody else wakes the worker
    if (list_is_empty(&d->stalled) && !d->is_probing && d->move_retry_ns == 0 && d->reread_ns == 0)
        ev_timer_stop(w->loop, &d->retry);
    return false;
}

// --- answers to publishes of several queues ---

struct publish_wait *
durable_wait_new(struct durable *d, lv_handle session, uint64_t number)
{
    struct publish_wait *wait = pool_take(&d->wait_pool);
    if (wait != NULL)
        *wait = (struct publish_wait){.session = session, .number = number, .left = 1};
    return wait;
}

void
durable_wait_answer(struct durable *d, struct publish_wait *wait)
{
    LV_ASSERT(wait->left > 0);
    if (--wait->left > 0)
        return;
    lv_handle session = wait->session;
    uint64_t number = wait->number;
    unsigned accepted = wait->accepted, refused = wait->refused;
    pool_give(&d->wait_pool, wait);
    if (session != 0)
        notify_published(d->qw, session, number, accepted, refused);
}

// --- start and end ---

void
durable_init(struct queue_worker *qw, const struct durable_config *config)
{
    struct durable *d = mem_xcalloc(1, sizeof(*d));
    d->qw = qw;
    d->config = *config;
    list_init(&d->disks);
    list_init(&d->stalled);
    list_init(&d->releases);
    inttab_init(&d->large);
    pool_init(&d->stored_pool, sizeof(struct stored), KEEP_STORED);
    pool_init(&d->wait_pool, sizeof(struct publish_wait), KEEP_WAITS);
    rng_init(&d->rng, config->page_out_seed + (uint64_t)qw->w->index + 1);
    ev_timer_init(&d->retry, on_retry, 0., RETRY_MS / 1000.0);
    struct msglog_writer_config writer = {
        .wake = wake_worker, .vacate = vacate, .returned = returned, .ctx = d};
    d->writer = msglog_writer_new(config->log, &writer);
    d->port = mover_port_new(config->mover, wake_worker, d);
    qw->durable = d;
    worker_add_hook(qw->w, PHASE_TIMERS, mover_hook, d);
    worker_add_hook(qw->w, PHASE_LOG, log_hook, d);
    worker_add_hook(qw->w, PHASE_REAP, move_hook, d);
}

// Drops what a batch holds when nobody is there any more to be told.
static void
batch_drop(struct durable *d, struct log_batch *b)
{
    for (uint32_t i = 0; i < b->batch.count; i++) {
        struct log_item *item = &b->items[i];
        message_unref(item->msg);
        if (b->entries[i].kind == MSGLOG_DELETE)
            durable_delete_returned(d, &b->entries[i], item);
        if (item->stored != NULL)
            stored_unbusy(d, item->stored);
        durable_answer(d, item, false);
    }
    mem_free(b);
}

static struct durable *
durable_of(const struct crew *crew, int worker)
{
    const struct queue_worker *qw = queue_worker_of(crew->members[worker]);
    return qw != NULL && (qw->durable == NULL || !qw->durable->has_ended) ? qw->durable : NULL;
}

// What clients still have comes back to them at the next start: that counts, and the log has to know it before it ends.
static void
take_back_all(struct queue_worker *qw)
{
    for (uint32_t i = 0; i < qw->queues.cap; i++) {
        struct queue *q = qw->queues.items[i].object;
        size_t cursor = 0;
        for (struct unacked_record *u; q != NULL && (u = unacked_next(&q->unacked, &cursor)) != NULL;) {
            if ((u->entry.count_flags & (UNACKED_RETURNING | UNACKED_DYING)) != 0)
                continue;
            ready_entry_mark_redelivered(&u->entry);
            if (q->is_counted && ready_entry_is(&u->entry, READY_STORED))
                durable_log_count(qw, q, u->entry.seq, ready_entry_count(&u->entry));
        }
    }
}

void
durable_end(struct crew *crew)
{
    struct durable *d, *any = NULL;
    for (int i = 0; i < crew->n_workers; i++) {
        if ((d = durable_of(crew, i)) == NULL)
            continue;
        d->retry_ns = 0;
        retry_stalled(d); // perhaps there is room by now
        take_back_all(d->qw);
        d->is_ending = true; // nobody is answered, nothing new is begun
        durable_submit(d);
        any = d;
    }
    if (any == NULL)
        return;
    msglog_stop(any->config.log);
    mover_stop(any->config.mover);
    for (int i = 0; i < crew->n_workers; i++) {
        if ((d = durable_of(crew, i)) == NULL)
            continue;
        msglog_writer_poll(d->writer);
        mover_port_poll(d->port);
        LV_ASSERT(d->open_batches == 0 && mover_port_open(d->port) == 0);
        ev_timer_stop(d->qw->w->loop, &d->retry);
        for (struct list *at; (at = list_pop_front(&d->stalled)) != NULL;)
            batch_drop(d, LV_CONTAINER_OF(at, struct log_batch, node));
        d->has_ended = true;
    }
}

void
durable_fini(struct queue_worker *qw)
{
    struct durable *d = qw->durable;
    close_batch(d);
    for (struct log_batch *b = d->first, *next; b != NULL; b = next) {
        next = batch_of(b->batch.next);
        batch_drop(d, b);
    }
    for (struct log_batch *b = d->spare, *next; b != NULL; b = next) {
        next = batch_of(b->batch.next);
        mem_free(b);
    }
    for (struct list *at; (at = list_pop_front(&d->releases)) != NULL;)
        mem_free(LV_CONTAINER_OF(at, struct large_release, node));
    LV_ASSERT(list_is_empty(&d->disks) && d->stored_count == 0);
    inttab_fini(&d->large);
    pool_fini(&d->stored_pool);
    pool_fini(&d->wait_pool);
    mem_free(d);
    qw->durable = NULL;
}
