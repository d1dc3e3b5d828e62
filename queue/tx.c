// tx.c: see tx.h. Messages of a queue that has gone meanwhile are dropped, as those of publishes are.
//
// Failure modes: an owner without memory, or a log without room, refuses: the verdict is then no, for all owners. A committed message that cannot be let in for
// want of memory stays in its tx_work and is tried again.
#include "queue/tx.h"

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/expiry.h"
#include "queue/limit.h"
#include "queue/queue_worker.h"
#include "queue/refusal.h"
#include "src/base/err.h"
#include "src/base/mem.h"

static struct tx_work *
work_find(const struct queue_worker *qw, uint64_t tx)
{
    LV_LIST_EACH (it, &qw->txs) {
        struct tx_work *work = LV_CONTAINER_OF(it, struct tx_work, node);
        if (work->tx == tx && !work->is_committed)
            return work;
    }
    return NULL;
}

static struct tx_work *
work_get(struct queue_worker *qw, uint64_t tx)
{
    struct tx_work *work = work_find(qw, tx);
    if (work != NULL)
        return work;
    work = mem_calloc(1, sizeof(*work));
    if (work == NULL)
        return NULL;
    work->tx = tx;
    work->acks_oldest = UINT64_MAX;
    list_init(&work->node);
    list_push_front(&qw->txs, &work->node);
    return work;
}

static void
item_drop(struct queue_worker *qw, struct tx_item *item)
{
    struct queue *q = handle_slots_find(&qw->queues, item->queue);
    if (q != NULL)
        limit_unhold(q, (item->stored != NULL ? item->stored->msg : item->msg)->body_len);
    if (item->stored != NULL) {
        stored_gone(qw, item->stored);
    } else {
        queue_worker_sub_bytes(qw, message_weight(item->msg));
        message_unref(item->msg);
    }
}

static void
work_free(struct queue_worker *qw, struct tx_work *work)
{
    for (size_t i = work->applied; i < work->count; i++)
        item_drop(qw, &work->items[i]);
    if (qw->durable != NULL)
        qw->durable->is_wave_wanted = true;
    list_remove(&work->node);
    mem_free(work->items);
    mem_free(work->acks);
    mem_free(work);
}

// --- publishing ---

static bool
hold(struct queue_worker *qw, struct tx_work *work, struct queue *q, struct message *msg)
{
    bool is_persistent = (msg->flags & MESSAGE_PERSISTENT) != 0;
    bool is_stored = is_persistent ? q->durability != DURABILITY_NONE : q->is_all_stored;
    if (work->count == work->cap) {
        size_t cap = work->cap == 0 ? 16 : work->cap * 2;
        struct tx_item *items = mem_realloc(work->items, cap * sizeof(*items));
        if (items == NULL)
            return false;
        work->items = items;
        work->cap = cap;
    }
    struct tx_item item = {.queue = q->handle, .seq = q->next_seq, .expires_ms = expiry_of(qw, q, msg)};
    if (is_stored) {
        item.stored = queue_disk_get(qw, q) != NULL ? stored_new(qw->durable, msg) : NULL;
        if (item.stored == NULL)
            return false;
        message_ref(msg);
    } else {
        item.msg = message_ref(msg);
    }
    queue_worker_add_bytes(qw, message_weight(msg));
    struct durable_record r = {item.seq, item.stored, work->tx, item.expires_ms};
    if (is_stored && !durable_log_message(qw, q, &r, NULL)) {
        stored_gone(qw, item.stored);
        return false;
    }
    q->next_seq++;
    limit_hold(q, msg->body_len);
    work->written += is_stored;
    work->items[work->count++] = item;
    return true;
}

unsigned
tx_publish_here(struct queue_worker *qw, uint64_t tx, struct message *msg, const lv_handle *queues,
                unsigned count)
{
    struct tx_work *work = work_get(qw, tx);
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        struct queue *q = queue_worker_find(qw, queues[i]);
        bool is_full = q != NULL && LV_UNLIKELY(q->rules != NULL) && limit_refuses_tx(qw, q, msg);
        bool is_refused = work == NULL || is_full || (q != NULL && !hold(qw, work, q, msg));
        if (LV_UNLIKELY(q == NULL || is_refused))
            queue_tell_refusal(qw, q, msg);
        refused += is_refused;
    }
    return refused;
}

static bool
note_ack(struct tx_work *work, lv_handle queue, uint64_t seq)
{
    if (work->ack_count == work->ack_cap) {
        size_t cap = work->ack_cap == 0 ? 16 : work->ack_cap * 2;
        struct tx_ack *acks = mem_realloc(work->acks, cap * sizeof(*acks));
        if (acks == NULL)
            return false;
        work->acks = acks;
        work->ack_cap = cap;
    }
    work->acks[work->ack_count++] = (struct tx_ack){queue, seq};
    return true;
}

// What the ack is of, while it is out; NULL: it is not, any more.
static struct stored *
acked_stored(const struct queue_worker *qw, const struct tx_ack *a, struct queue **ret_q)
{
    *ret_q = handle_slots_find(&qw->queues, a->queue);
    const struct unacked_record *record = *ret_q != NULL ? unacked_find(&(*ret_q)->unacked, a->seq) : NULL;
    return record != NULL && ready_entry_is(&record->entry, READY_STORED) ? record->entry.stored : NULL;
}

void
tx_ack_here(struct queue_worker *qw, uint64_t tx, lv_handle queue, enum settle_kind kind,
            const uint64_t *seqs, size_t count)
{
    struct queue *q = queue_worker_find(qw, queue);
    if (q != NULL && kind == SETTLE_REJECT && dying_is_wanted(qw, q))
        return;
    for (size_t i = 0; q != NULL && q->disk != NULL && i < count; i++) {
        const struct unacked_record *record = unacked_find(&q->unacked, seqs[i]);
        bool is_out = record != NULL && (record->entry.count_flags & UNACKED_DYING) == 0;
        struct tx_work *work =
            is_out && ready_entry_is(&record->entry, READY_STORED) ? work_get(qw, tx) : NULL;
        if (work == NULL || !note_ack(work, queue, seqs[i]))
            continue; // without memory it is acknowledged by the settle alone
        record->entry.stored->flags |= STORED_TX_ACKED;
        durable_log_ack(qw, q, seqs[i], 1, tx);
    }
}

void
tx_ack_returned(struct queue_worker *qw, uint64_t tx, uint64_t generation)
{
    struct tx_work *work = work_find(qw, tx);
    if (work != NULL)
        work->acks_oldest = LV_MIN(work->acks_oldest, generation);
}

void
tx_ack_void(struct queue *q, struct stored *s)
{
    s->flags &= (uint16_t) ~(unsigned)(STORED_TX_ACKED | STORED_TX_DONE);
    // A wave may have passed it over.
    if (stored_is(s, STORED_WRITTEN) && !stored_is(s, STORED_BACKLOG))
        q->disk->oldest = LV_MIN(q->disk->oldest, (uint64_t)s->file);
}

static void
release_acks(struct queue_worker *qw, const struct tx_work *work)
{
    for (size_t i = 0; i < work->ack_count; i++) {
        struct queue *q;
        struct stored *s = acked_stored(qw, &work->acks[i], &q);
        if (s != NULL)
            tx_ack_void(q, s);
    }
}

// From here on the acks count, wherever the messages lie: `state` speaks no more of those in files, and one that was written
// while the transaction was open did, so the acks stay in the log until the next one.
static void
acks_count(struct queue_worker *qw, const struct tx_work *work)
{
    for (size_t i = 0; i < work->ack_count; i++) {
        struct queue *q;
        struct stored *s = acked_stored(qw, &work->acks[i], &q);
        if (s == NULL || !stored_is(s, STORED_TX_ACKED))
            continue; // given back, or settled already
        s->flags |= STORED_TX_DONE;
        if (q->disk->has_folder)
            q->disk->acks_oldest = LV_MIN(q->disk->acks_oldest, work->acks_oldest);
    }
}

// --- the verdict ---

// Lets one in; false when out of memory.
static bool
let_in(struct queue_worker *qw, struct tx_item *item)
{
    struct queue *q = handle_slots_find(&qw->queues, item->queue);
    if (q == NULL) {
        item_drop(qw, item);
        return true;
    }
    struct message *msg = item->stored != NULL ? item->stored->msg : item->msg;
    struct ready_entry e = {
        .seq = item->seq, .body_len = msg->body_len, .count_flags = queue_level_flags(q, msg)};
    if ((msg->flags & MESSAGE_PERSISTENT) != 0 || item->stored != NULL)
        e.count_flags |= READY_PERSISTENT;
    if (item->stored != NULL) {
        e.count_flags |= READY_STORED;
        e.stored = item->stored;
        // A wave may have looked at the queue while it was held.
        if (stored_is(item->stored, STORED_WRITTEN))
            q->disk->oldest = LV_MIN(q->disk->oldest, (uint64_t)item->stored->file);
    } else {
        e.msg = msg;
    }
    if (!expiry_note(qw, q, &e, item->expires_ms))
        return false;
    if (!queue_enter_late(qw, q, &e, message_weight(msg))) {
        expiry_forget(q, &e);
        return false;
    }
    limit_unhold(q, e.body_len);
    return true;
}

static void
apply(struct queue_worker *qw, struct tx_work *work)
{
    while (work->applied < work->count) {
        if (!let_in(qw, &work->items[work->applied])) {
            worker_keep_awake(qw->w);
            return;
        }
        work->applied++;
    }
    work_free(qw, work);
}

void
tx_step(struct queue_worker *qw)
{
    LV_LIST_EACH_SAFE (it, &qw->txs) {
        struct tx_work *work = LV_CONTAINER_OF(it, struct tx_work, node);
        if (work->is_committed)
            apply(qw, work);
    }
}

static void
verdict_here(struct queue_worker *qw, uint64_t tx, bool is_committed)
{
    struct tx_work *work = work_find(qw, tx);
    if (work == NULL)
        return;
    work->is_committed = is_committed;
    if (is_committed) {
        acks_count(qw, work);
        apply(qw, work);
        return;
    }
    release_acks(qw, work);
    work_free(qw, work);
}

struct verdict_mail {
    struct queue_tx *t;
    uint64_t tx;
    bool is_committed;
    int asker; // member
};

static void
verdict_carried_out(struct queue_tx *t)
{
    LV_ASSERT(t->waiting > 0);
    if (--t->waiting == 0)
        t->done(t);
}

static void
verdict_answered(struct worker *to, void *payload)
{
    verdict_carried_out(((const struct verdict_mail *)payload)->t);
}

static void
verdict_arrived(struct worker *to, void *payload)
{
    const struct verdict_mail *m = payload;
    struct verdict_mail answer = *m;
    verdict_here(queue_worker_of(to), m->tx, m->is_committed);
    worker_post(to->crew->members[m->asker], verdict_answered, &answer, sizeof(answer), 0);
}

// To every owner; the session is told when all have carried it out: whoever hears of the commit finds the messages there.
static void
tell_verdict(struct queue_worker *qw, struct queue_tx *t, int result)
{
    struct verdict_mail m = {t, t->tx, result == 0 && !t->is_abort, qw->w->index};
    uint64_t workers = t->workers;
    t->result = result;
    t->waiting = 1;
    for (unsigned i = 0; i < CREW_WORKERS_MAX; i++) {
        if ((workers >> i & 1) == 0)
            continue;
        struct worker *to = qw->w->crew->members[i];
        if (to == qw->w) {
            verdict_here(qw, m.tx, m.is_committed);
        } else {
            t->waiting++;
            worker_post(to, verdict_arrived, &m, sizeof(m), 0);
        }
    }
    verdict_carried_out(t);
}

void
tx_returned(struct durable *d, const struct msglog_entry *e, struct log_item *item)
{
    if (e->kind == MSGLOG_PART || item->tx == NULL)
        return;
    if (d->is_ending)
        item->tx->abandon(item->tx);
    else
        tell_verdict(d->qw, item->tx, e->result);
}

static void
part_here(struct queue_worker *qw, uint64_t tx)
{
    struct log_item *item;
    // Without memory for it the verdict would wait for ever: it is one entry, of a batch that is nearly always there.
    struct msglog_entry *e = durable_entry(qw->durable, &item);
    LV_ASSERT(e != NULL);
    *e = (struct msglog_entry){.kind = MSGLOG_PART, .tx = tx};
}

static void
part_arrived(struct worker *to, void *payload)
{
    part_here(queue_worker_of(to), *(uint64_t *)payload);
}

void
queue_tx_end(struct queue_tx *t)
{
    struct worker *w = worker_self;
    struct queue_worker *qw = queue_worker_of(w);
    if (qw->durable == NULL || !t->is_logged || QUEUE_BUG(QUEUE_BUG_TX_EARLY)) {
        tell_verdict(qw, t, 0);
        return;
    }
    for (unsigned i = 0; i < CREW_WORKERS_MAX; i++) {
        if ((t->workers >> i & 1) == 0)
            continue;
        if ((int)i == w->index)
            part_here(qw, t->tx);
        else
            worker_post(w->crew->members[i], part_arrived, &t->tx, sizeof(t->tx), 0);
    }
    struct log_item *item;
    struct msglog_entry *e = durable_entry(qw->durable, &item);
    LV_ASSERT(e != NULL);
    *e = (struct msglog_entry){.kind = t->is_abort ? MSGLOG_ABORT : MSGLOG_COMMIT,
                               .tx = t->tx,
                               .count = (uint64_t)__builtin_popcountll(t->workers)};
    item->tx = t;
}

uint64_t
queue_tx_new(void)
{
    struct queue_worker *qw = queue_worker_of(worker_self);
    if (qw->durable != NULL)
        return msglog_tx_new(qw->durable->config.log);
    static _Atomic uint64_t next = 1; // any thread
    return atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
}

size_t
queue_tx_max_bytes(void)
{
    struct queue_worker *qw = queue_worker_of(worker_self);
    return qw->durable != NULL ? qw->durable->config.tx_max : SIZE_MAX;
}

uint64_t
tx_oldest(const struct durable *d)
{
    uint64_t oldest = UINT64_MAX;
    LV_LIST_EACH (it, &d->qw->txs) {
        const struct tx_work *work = LV_CONTAINER_OF(it, struct tx_work, node);
        for (size_t i = work->applied; i < work->count; i++) {
            const struct stored *s = work->items[i].stored;
            if (s != NULL && stored_is(s, STORED_WRITTEN))
                oldest = LV_MIN(oldest, (uint64_t)s->file);
        }
        oldest = LV_MIN(oldest, work->is_committed ? UINT64_MAX : work->acks_oldest);
        for (size_t i = 0; i < work->ack_count && !work->is_committed; i++) {
            struct queue *q;
            const struct stored *s = acked_stored(d->qw, &work->acks[i], &q);
            if (s != NULL && stored_is(s, STORED_WRITTEN) && !stored_is(s, STORED_BACKLOG))
                oldest = LV_MIN(oldest, (uint64_t)s->file);
        }
    }
    return oldest;
}

uint64_t
tx_next_held(const struct queue_worker *qw, lv_handle queue, uint64_t from)
{
    uint64_t next = UINT64_MAX;
    LV_LIST_EACH (it, &qw->txs) {
        const struct tx_work *work = LV_CONTAINER_OF(it, struct tx_work, node);
        for (size_t i = work->applied; i < work->count; i++)
            if (work->items[i].queue == queue && work->items[i].seq >= from)
                next = LV_MIN(next, work->items[i].seq);
    }
    return next;
}

void
tx_drop_all(struct queue_worker *qw)
{
    for (struct list *at; (at = list_first(&qw->txs)) != NULL;)
        work_free(qw, LV_CONTAINER_OF(at, struct tx_work, node));
}
