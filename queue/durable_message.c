// durable_message.c: a persistent message's way into the log and out of it, and what of it is kept in memory.
//
// In: an entry in the queue, at once to be delivered, and one in the batch of the turn; the publisher is answered when that comes back durable.
// Out: an ack in a later batch. A message that is gone before the log has given it back is STORED_DEAD until then.
// Bodies: while the worker's bytes are over their limit, what is written is let go of as soon as it is.
#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/store/log_format.h"

struct queue_disk *
queue_disk_get(struct queue_worker *qw, struct queue *q)
{
    if (q->disk != NULL)
        return q->disk;
    struct queue_disk *k = mem_calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    list_init(&k->node);
    backlog_init(&k->backlog);
    inttab_init(&k->flags);
    k->queue = q;
    k->id = q->def->id;
    k->is_transient = q->durability == DURABILITY_NONE;
    k->oldest = k->acks_oldest = UINT64_MAX;
    list_push_back(&qw->durable->disks, &k->node);
    q->disk = k;
    return k;
}

void
queue_disk_leave(struct durable *d, struct queue_disk *k)
{
    if (!k->is_gone || k->jobs > 0)
        return;
    LV_ASSERT(k->behind.count == 0);
    list_remove(&k->node);
    backlog_fini(&k->backlog);
    inttab_fini(&k->flags);
    mem_free(k->left);
    mem_free(k);
}

struct stored *
stored_new(struct durable *d, struct message *msg)
{
    struct stored *s = pool_take(&d->stored_pool);
    if (s == NULL)
        return NULL;
    *s = (struct stored){.msg = msg};
    d->stored_count++;
    return s;
}

static void
stored_free(struct durable *d, struct stored *s)
{
    LV_ASSERT(s->busy == 0 && s->msg == NULL);
    if (stored_is(s, STORED_LARGE))
        (void)inttab_take(&d->large, (uintptr_t)s);
    d->stored_count--;
    pool_give(&d->stored_pool, s);
}

void
stored_unbusy(struct durable *d, struct stored *s)
{
    LV_ASSERT(s->busy > 0);
    if (--s->busy == 0 && stored_is(s, STORED_DEAD))
        stored_free(d, s);
}

void
stored_gone(struct queue_worker *qw, struct stored *s)
{
    struct durable *d = qw->durable;
    if (s->msg != NULL) {
        queue_worker_sub_bytes(qw, message_weight(s->msg));
        message_unref(s->msg);
        s->msg = NULL;
    }
    if (stored_is(s, STORED_LARGE))
        durable_release_later(d, (uintptr_t)inttab_get(&d->large, (uintptr_t)s));
    s->flags |= STORED_DEAD;
    if (s->busy == 0)
        stored_free(d, s);
}

void
stored_set_large(struct durable *d, struct stored *s, uint64_t large_file)
{
    if (large_file == 0)
        return;
    if (inttab_put(&d->large, (uintptr_t)s, (void *)(uintptr_t)large_file) == 0)
        s->flags |= STORED_LARGE; // without memory for it the file goes at the next start
    if (stored_is(s, STORED_DEAD))
        durable_release_later(d, large_file);
}

void
stored_pass_large(struct durable *d, struct stored *s)
{
    if (stored_is(s, STORED_LARGE))
        (void)inttab_take(&d->large, (uintptr_t)s);
    s->flags &= (uint16_t)~STORED_LARGE;
}

// --- in ---

void
durable_fill_content(struct msglog_content *c, const struct message *msg)
{
    *c = (struct msglog_content){
        .flags = msg->flags,
        .priority = msg->priority,
        .route_bytes = msg->route_len,
        .header_bytes = msg->header_len,
        .body_bytes = msg->body_len,
        .expiry_ms = msg->expiry_ms,
        .published_ms = msg->published_ms,
        .bytes = msg->bytes,
    };
}

bool
durable_log_message(struct queue_worker *qw, struct queue *q, const struct durable_record *r,
                    const struct publish_asker *asker)
{
    struct log_item *item;
    struct stored *s = r->stored;
    struct msglog_entry *e = durable_entry(qw->durable, &item);
    if (e == NULL)
        return false;
    durable_fill_content(&item->content, s->msg);
    item->content.flags |= MESSAGE_PERSISTENT; // a quorum queue stores all
    *e = (struct msglog_entry){
        .kind = MSGLOG_MESSAGE,
        .epoch = EPOCH_ALONE,
        .queue = q->def->id,
        .seq = r->seq,
        .tx = r->tx,
        .expires_ms = r->expires_ms,
        .is_relaxed = q->durability != DURABILITY_FSYNC && r->tx == 0,
        .flags = queue_level_flags(q, s->msg),
        .content = &item->content,
    };
    item->queue = q->handle;
    item->stored = s;
    item->msg = message_ref(s->msg);
    s->file = qw->durable->filling->number;
    s->offset = qw->durable->filling->batch.count - 1;
    if (asker != NULL && q->durability != DURABILITY_MEMORY) {
        item->number = asker->number;
        item->has_wait = asker->wait != NULL;
        if (item->has_wait) {
            item->wait = asker->wait;
            item->wait->left++;
        } else {
            item->session = asker->session;
        }
    }
    s->busy++;
    return true;
}

enum push_result
durable_push(struct queue_worker *qw, struct queue *q, struct message *msg, const struct publish_asker *asker)
{
    struct durable *d = qw->durable;
    struct ready *r = queue_tail_of(q, msg);
    if (queue_disk_get(qw, q) == NULL || LV_UNLIKELY(r == NULL) || !ready_reserve_push(r, &qw->ready_pools))
        return PUSH_REFUSED;
    struct stored *s = stored_new(d, message_ref(msg));
    if (s == NULL) {
        message_unref(msg);
        ready_cancel_push(r, &qw->ready_pools);
        return PUSH_REFUSED;
    }
    queue_worker_add_bytes(qw, message_weight(msg));
    if (QUEUE_BUG(QUEUE_BUG_CONFIRM_EARLY))
        asker = NULL;
    struct ready_entry e = {
        .seq = q->next_seq,
        .stored = s,
        .body_len = msg->body_len,
        .count_flags = READY_STORED | READY_PERSISTENT | queue_level_flags(q, msg),
    };
    struct durable_record record = {.seq = e.seq, .stored = s, .expires_ms = expiry_of(qw, q, msg)};
    if (!expiry_note(qw, q, &e, record.expires_ms) || !durable_log_message(qw, q, &record, asker)) {
        expiry_forget(q, &e);
        stored_gone(qw, s);
        ready_cancel_push(r, &qw->ready_pools);
        return PUSH_REFUSED;
    }
    q->next_seq++;
    queue_enter_entry(qw, q, &e, message_weight(msg));
    return asker != NULL && q->durability != DURABILITY_MEMORY ? PUSH_WAITS : PUSH_DONE;
}

void
durable_answer(struct durable *d, struct log_item *item, bool is_accepted)
{
    if (d->is_ending) {
        if (item->has_wait && --item->wait->left == 0)
            pool_give(&d->wait_pool, item->wait);
        return;
    }
    if (item->has_wait) {
        item->wait->accepted += is_accepted;
        item->wait->refused += !is_accepted;
        durable_wait_answer(d, item->wait);
    } else if (item->session != 0) {
        notify_published(d->qw, item->session, item->number, is_accepted, !is_accepted);
    }
}

void
durable_set_place(struct queue_disk *k, struct stored *s, const struct msglog_place *place)
{
    LV_ASSERT(place->file <= UINT32_MAX && place->len > 0);
    s->file = (uint32_t)place->file;
    s->offset = place->offset;
    s->len = place->len;
    s->flags = (uint16_t)((s->flags | STORED_WRITTEN) & ~(unsigned)STORED_BACKLOG);
    if (k != NULL)
        k->oldest = LV_MIN(k->oldest, place->file);
}

void
durable_message_returned(struct durable *d, struct msglog_entry *e, struct log_item *item)
{
    struct queue_worker *qw = d->qw;
    struct stored *s = item->stored;
    struct queue *q = handle_slots_find(&qw->queues, item->queue);
    bool is_dead = stored_is(s, STORED_DEAD);
    // Consumed, purged or deleted before it was written: nothing is missing.
    bool is_settled = is_dead || stored_is(s, STORED_PURGED) || q == NULL;
    s->flags &= (uint16_t)~STORED_STALLED;
    if (e->result == 0) {
        durable_set_place(q != NULL ? q->disk : NULL, s, &e->place);
        stored_set_large(d, s, e->large_file);
    } else if (e->result != -LE_NOSPACE) {
        log_error(LOG_STORE, "message log: a message was not written: %s", err_text(e->result));
    }
    message_unref(item->msg);
    item->msg = NULL;
    if (!is_dead && q != NULL && e->result == 0 && e->tx == 0) {
        bool is_test = d->config.page_out_seed != 0 && rng_below(&d->rng, 100) < d->config.page_out_percent;
        if (is_test || durable_is_over(d))
            durable_let_go(qw, q, s);
    }
    stored_unbusy(d, s);
    if (e->tx == 0)
        durable_answer(d, item, e->result == 0 || (is_settled && e->result == -LE_NOSPACE));
}

// --- bodies ---

bool
durable_is_over(const struct durable *d)
{
    return atomic_load_explicit(&d->qw->message_bytes, memory_order_relaxed) > d->config.written_max;
}

void
durable_let_go(struct queue_worker *qw, struct queue *q, struct stored *s)
{
    bool is_unacked = stored_is(s, STORED_UNACKED);
    if (s->msg == NULL || !stored_is(s, STORED_WRITTEN) || stored_is(s, STORED_FETCHING))
        return;
    if (stored_is(s, STORED_PURGED))
        return; // its sums are gone already
    uint64_t weight = message_weight(s->msg);
    struct queue_sum *sum = is_unacked ? &q->unacked_sum : &q->ready_sum;
    LV_ASSERT_HOT(sum->weight >= weight);
    sum->weight -= weight;
    queue_worker_sub_bytes(qw, weight);
    message_unref(s->msg);
    s->msg = NULL;
}

void
stored_body_came(struct queue_worker *qw, struct queue *q, struct stored *s, struct message *msg)
{
    LV_ASSERT(s->msg == NULL && !stored_is(s, STORED_DEAD));
    uint64_t weight = message_weight(msg);
    s->msg = msg;
    (stored_is(s, STORED_UNACKED) ? &q->unacked_sum : &q->ready_sum)->weight += weight;
    queue_worker_add_bytes(qw, weight);
}

struct message *
message_of_content(const struct msglog_content *c)
{
    struct message *m = mem_alloc(sizeof(*m) + c->route_bytes + (size_t)c->header_bytes + c->body_bytes);
    if (m == NULL)
        return NULL;
    *m = (struct message){
        .flags = c->flags,
        .priority = c->priority,
        .route_len = c->route_bytes,
        .header_len = c->header_bytes,
        .body_len = c->body_bytes,
        .expiry_ms = c->expiry_ms,
        .published_ms = c->published_ms,
    };
    atomic_init(&m->refs, 1);
    memcpy(m->bytes, c->bytes, c->route_bytes + (size_t)c->header_bytes + c->body_bytes);
    return m;
}

// --- out ---

void
durable_log_ack(struct queue_worker *qw, struct queue *q, uint64_t seq, uint64_t count, uint64_t tx)
{
    struct durable *d = qw->durable;
    if (QUEUE_BUG(QUEUE_BUG_DROP_ACKS))
        return;
    struct log_batch *b = d->filling;
    struct msglog_entry *last = b != NULL && b->batch.count > 0 ? &b->entries[b->batch.count - 1] : NULL;
    if (last != NULL && last->kind == MSGLOG_ACK && last->queue == q->def->id && last->tx == tx &&
        last->seq + last->count == seq) {
        last->count += count;
        return;
    }
    struct log_item *item;
    struct msglog_entry *e = durable_entry(d, &item);
    if (e == NULL)
        return; // a crash then delivers it once more, as redelivered
    *e = (struct msglog_entry){.kind = MSGLOG_ACK, .queue = q->def->id, .seq = seq, .count = count, .tx = tx};
    item->queue = q->handle;
}

void
durable_log_count(struct queue_worker *qw, struct queue *q, uint64_t seq, uint32_t count)
{
    struct durable *d = qw->durable;
    struct log_batch *b = d->filling;
    struct msglog_entry *last = b != NULL && b->batch.count > 0 ? &b->entries[b->batch.count - 1] : NULL;
    if (QUEUE_BUG(QUEUE_BUG_COUNT_IN_MEMORY))
        return;
    bool goes_on = last != NULL && last->kind == MSGLOG_COUNT && last->queue == q->def->id &&
                   last->flags == count && last->seq + last->count == seq && last->count < COUNT_RANGE_MAX;
    if (goes_on) {
        last->count++;
        return;
    }
    struct log_item *item;
    struct msglog_entry *e = durable_entry(d, &item);
    if (e == NULL)
        return; // a crash then forgets that it came back this time
    *e = (struct msglog_entry){.kind = MSGLOG_COUNT,
                               .is_relaxed = true,
                               .queue = q->def->id,
                               .seq = seq,
                               .count = 1,
                               .flags = count};
    item->queue = q->handle;
}

void
durable_drop(struct queue_worker *qw, struct queue *q, uint64_t seq, struct stored *s)
{
    struct queue_disk *k = q->disk;
    // What was never written has nothing to be taken back: stalled, it is left out when it is tried again.
    if (!stored_is(s, STORED_STALLED) && !k->is_transient && !durable_take_back(qw->durable, s))
        durable_log_ack(qw, q, seq, 1, 0);
    if (stored_is(s, STORED_BACKLOG)) {
        backlog_unkeep(&k->backlog, s->file);
        durable_unlink_unneeded(qw->durable, k);
    }
    stored_gone(qw, s);
}
