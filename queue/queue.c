// queue.c: taking messages in, settling them, purging, ending a queue. What is on disk of them: durable.h.
//
// A message enters by queue_push (ready), goes out by dispatch.c or a get (unacked, or gone with no-ack), and
// is settled here: acked and rejected ones are dropped, the others go back to ready at their sequence number.
// Sums per state (bytes, memory, persistent) move with it, so that listings and purges need no walk.
//
// Failure: without memory a publish is refused; a message that is given back stays in the unacked table,
// marked, and is put back in a later turn.
#include "queue/queue.h"

#include "queue/consumer_timeout.h"
#include "queue/delivery_limit.h"
#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/expiry.h"
#include "queue/limit.h"
#include "queue/queue_worker.h"
#include "queue/tx.h"
#include "src/base/mem.h"

static uint64_t
entry_weight(const struct ready_entry *e)
{
    const struct message *msg = ready_entry_message(e);
    return msg != NULL ? message_weight(msg) : 0;
}

// A durable queue of a worker with a log has one, and keeps having one: it may become another while messages are on their way.
static enum queue_durability
durability_of(const struct queue_worker *qw, const struct queue_def *def, const struct queue_rules *rules)
{
    if (qw->durable == NULL || (def->flags & QUEUE_DURABLE) == 0)
        return DURABILITY_NONE;
    switch ((enum rule_durability)(rules != NULL ? rules->durability : RULE_DURABILITY_DECLARED)) {
    case RULE_DURABILITY_FSYNC: return DURABILITY_FSYNC;
    case RULE_DURABILITY_OS: return DURABILITY_OS;
    case RULE_DURABILITY_MEMORY: return DURABILITY_MEMORY;
    case RULE_DURABILITY_DECLARED: break;
    }
    return (def->flags & QUEUE_RELAXED_MEMORY) != 0 ? DURABILITY_MEMORY
           : (def->flags & QUEUE_RELAXED_OS) != 0   ? DURABILITY_OS
                                                    : DURABILITY_FSYNC;
}

struct queue *
queue_new(struct queue_worker *qw, const struct queue_def *def)
{
    struct queue *q = mem_calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    list_init(&q->run);
    list_init(&q->consumers);
    list_init(&q->granted);
    q->def = def;
    q->handle = def->handle;
    q->next_seq = 1;
    q->tail = &q->ready;
    q->active_ms = qw->w->now_ms;
    q->durability = (uint8_t)durability_of(qw, def, NULL);
    q->is_all_stored = def->type == QUEUE_QUORUM && q->durability != DURABILITY_NONE;
    return q;
}

void
queue_set_rules(struct queue_worker *qw, struct queue *q, struct queue_rules *rules)
{
    uint64_t timeout_ms = consumer_timeout_of(q);
    mem_free((void *)q->rules);
    q->rules = rules;
    limit_rules_changed(qw, q);
    q->durability = (uint8_t)durability_of(qw, q->def, rules);
    if (consumer_timeout_of(q) != timeout_ms)
        consumer_timeout_changed(qw, q);
    q->is_counted = delivery_limit_is_on(q);
    expiry_used(qw, q);
    queue_touch(qw, q);
}

void
queue_enter_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e, uint64_t weight)
{
    if (LV_LIKELY(q->levels == NULL)) {
        LV_ASSERT(ready_push(q->tail, &qw->ready_pools, e));
    } else {
        struct ready *r = queue_ready_of(q, e);
        LV_ASSERT(r != NULL && ready_push(r, &qw->ready_pools, e));
        queue_ready_added(q, r);
    }
    sum_add(&q->ready_sum, e, weight);
    q->counters.published++;
    q->active_ms = qw->w->now_ms;
    if (LV_UNLIKELY(q->rules != NULL))
        limit_entered(qw, q);
    if (!list_is_linked(&q->run))
        queue_touch(qw, q);
}

// Where a message goes whose number was taken earlier. NULL: there was no memory, nothing has changed.
static struct ready *
push_late(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    // While some wait in files: what is not in front of those comes behind them, so that it overtakes nothing of its publisher's.
    struct ready *r = q->tail != &q->ready && e->seq < q->disk->backlog.cursor ? &q->ready : q->tail;
    bool is_last = r == q->tail && (r == &q->ready || e->seq >= chain_end(q->disk));
    if (LV_UNLIKELY(q->levels != NULL)) {
        r = queue_ready_of(q, e);
        if (r == NULL)
            return NULL;
        level_came_late(LV_CONTAINER_OF(r, struct level, ready), e->seq);
        is_last = true;
    }
    is_last &= r->tail == NULL || r->tail->entries[r->tail_pos - 1].seq < e->seq;
    return (is_last ? ready_push(r, &qw->ready_pools, e) : ready_push_returned(r, e)) ? r : NULL;
}

bool
queue_enter_late(struct queue_worker *qw, struct queue *q, const struct ready_entry *e, uint64_t weight)
{
    struct ready *r = push_late(qw, q, e);
    if (r == NULL)
        return false;
    queue_ready_added(q, r);
    sum_add(&q->ready_sum, e, weight);
    q->counters.published++;
    q->active_ms = qw->w->now_ms;
    if (LV_UNLIKELY(q->rules != NULL))
        limit_entered(qw, q);
    queue_touch(qw, q);
    return true;
}

bool
queue_push(struct queue_worker *qw, struct queue *q, struct message *msg)
{
    struct ready *r = queue_tail_of(q, msg);
    if (LV_UNLIKELY(r == NULL) || !ready_reserve_push(r, &qw->ready_pools))
        return false;
    struct ready_entry e = {
        .seq = q->next_seq,
        .msg = msg,
        .body_len = msg->body_len,
        .count_flags =
            ((msg->flags & MESSAGE_PERSISTENT) != 0 ? READY_PERSISTENT : 0u) | queue_level_flags(q, msg),
    };
    if (!expiry_note(qw, q, &e, expiry_of(qw, q, msg))) {
        ready_cancel_push(r, &qw->ready_pools);
        return false;
    }
    q->next_seq++;
    message_ref(msg);
    uint64_t weight = message_weight(msg);
    queue_worker_add_bytes(qw, weight);
    queue_enter_entry(qw, q, &e, weight);
    return true;
}

bool
queue_take(struct queue_worker *qw, struct queue *q, lv_handle owner, unsigned flags, struct delivery *ret)
{
    bool is_get = (flags & QUEUE_TAKE_GET) != 0;
    bool is_no_ack = (flags & QUEUE_TAKE_NO_ACK) != 0;
    if (!is_no_ack && !unacked_reserve(&q->unacked, &qw->unacked_tables))
        return false;
    struct ready_entry e = *queue_front(q);
    struct message *msg = ready_entry_message(&e);
    LV_ASSERT_HOT(msg != NULL);
    queue_pop_front(qw, q);
    uint64_t weight = message_weight(msg);
    sum_sub(&q->ready_sum, &e, weight);
    ret->seq = e.seq;
    ret->msg = msg;
    ret->delivery_count = ready_entry_count(&e);
    ret->is_redelivered = ready_entry_is(&e, READY_REDELIVERED);
    ret->is_counted = q->is_counted;
    q->counters.redelivered += ret->is_redelivered;
    q->active_ms = qw->w->now_ms;
    q->taken_ms = msg->published_ms;
    if (is_no_ack) {
        *(is_get ? &q->counters.got_no_ack : &q->counters.delivered_no_ack) += 1;
        expiry_forget(q, &e);
        if (LV_UNLIKELY(ready_entry_is(&e, READY_STORED))) {
            message_ref(msg);
            durable_drop(qw, q, e.seq, e.stored);
        } else {
            queue_worker_sub_bytes(qw, weight); // the queue's reference is the receiver's now
        }
        return true;
    }
    *(is_get ? &q->counters.got : &q->counters.delivered) += 1;
    message_ref(msg);
    sum_add(&q->unacked_sum, &e, weight);
    if (LV_UNLIKELY(ready_entry_is(&e, READY_STORED))) {
        e.stored->flags |= STORED_UNACKED;
        if (durable_is_over(qw->durable))
            durable_let_go(qw, q, e.stored);
    }
    if (is_get)
        e.count_flags |= UNACKED_IS_GET;
    unacked_put(&q->unacked, &e, owner);
    return true;
}

// Puts an entry that was out back to its place. False when out of memory (nothing changed).
static bool
put_back(struct queue_worker *qw, struct queue *q, const struct ready_entry *from)
{
    struct ready_entry e = *from;
    e.count_flags &= ~(uint32_t)(UNACKED_IS_GET | UNACKED_RETURNING);
    struct ready *r = queue_ready_of(q, &e);
    if (r == NULL || !ready_reserve_return(r))
        return false;
    uint64_t weight = entry_weight(&e);
    sum_sub(&q->unacked_sum, &e, weight);
    if (ready_entry_is(&e, READY_STORED)) {
        if (stored_is(e.stored, STORED_TX_ACKED))
            tx_ack_void(q, e.stored);
        e.stored->flags &= (uint16_t)~STORED_UNACKED;
    }
    ready_push_reserved(r, &e);
    queue_ready_added(q, r);
    sum_add(&q->ready_sum, &e, weight);
    expiry_came_back(qw, q, &e);
    return true;
}

void
queue_retry_returning(struct queue_worker *qw, struct queue *q)
{
    while (q->returning > 0) {
        size_t cursor = 0;
        struct unacked_record *record;
        do {
            record = unacked_next(&q->unacked, &cursor);
            LV_ASSERT(record != NULL);
        } while ((record->entry.count_flags & UNACKED_RETURNING) == 0);
        if (!put_back(qw, q, &record->entry))
            return;
        unacked_remove(&q->unacked, &qw->unacked_tables, record);
        q->returning--;
    }
}

// Gives one delivery back. The record stays where it is when there is no memory.
static void
give_back(struct queue_worker *qw, struct queue *q, enum settle_kind kind, struct unacked_record *record)
{
    if (kind == SETTLE_REQUEUE) {
        ready_entry_mark_redelivered(&record->entry);
        q->counters.requeued++;
        if (LV_UNLIKELY(q->is_counted) && delivery_limit_returned(qw, q, record))
            return;
    } else {
        q->counters.returned++;
    }
    if (put_back(qw, q, &record->entry)) {
        unacked_remove(&q->unacked, &qw->unacked_tables, record);
        return;
    }
    record->entry.count_flags |= UNACKED_RETURNING;
    q->returning++;
}

void
queue_drop_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    expiry_forget(q, e);
    if (ready_entry_is(e, READY_STORED))
        durable_drop(qw, q, e->seq, e->stored);
    else
        queue_worker_drop_entry(qw, e);
}

static void
discard(struct queue_worker *qw, struct queue *q, enum settle_kind kind, struct unacked_record *record)
{
    struct ready_entry e = record->entry;
    unacked_remove(&q->unacked, &qw->unacked_tables, record);
    sum_sub(&q->unacked_sum, &e, entry_weight(&e));
    queue_drop_entry(qw, q, &e);
    if (kind == SETTLE_ACK)
        q->counters.acked++;
    else
        dying_count_dropped(qw, q, DEATH_REJECTED);
}

static void
reject(struct queue_worker *qw, struct queue *q, struct unacked_record *record)
{
    q->counters.rejected++;
    if (LV_LIKELY(!dying_is_wanted(qw, q)))
        discard(qw, q, SETTLE_REJECT, record);
    else if (!dying_add_record(qw, q, record, DEATH_REJECTED))
        give_back(qw, q, SETTLE_REQUEUE, record); // no memory: it is not lost for that
}

void
queue_settle_here(struct queue_worker *qw, struct queue *q, enum settle_kind kind, const uint64_t *seqs,
                  size_t count)
{
    struct consumer *c = NULL; // of the record before: runs of the same one are the rule
    for (size_t i = 0; i < count; i++) {
        struct unacked_record *record = unacked_find(&q->unacked, seqs[i]);
        if (record == NULL || (record->entry.count_flags & (UNACKED_RETURNING | UNACKED_DYING)) != 0)
            continue;
        bool is_get = (record->entry.count_flags & UNACKED_IS_GET) != 0;
        if (!is_get && (c == NULL || c->handle != record->owner)) {
            if (c != NULL)
                consumer_update(qw, c);
            c = queue_worker_find_consumer(qw, record->owner);
        }
        if (!is_get && c != NULL) {
            LV_ASSERT_HOT(c->queue == q && c->unacked > 0);
            c->unacked--;
        }
        if (kind == SETTLE_ACK)
            discard(qw, q, kind, record);
        else if (kind == SETTLE_REJECT)
            reject(qw, q, record);
        else
            give_back(qw, q, kind, record);
    }
    if (c != NULL)
        consumer_update(qw, c);
    q->active_ms = qw->w->now_ms;
    if (LV_UNLIKELY(q->rules != NULL))
        limit_returned(qw, q);
    queue_touch(qw, q);
}

// Empties `r`; the dropping itself is spread over later turns.
void
queue_drop_later(struct queue_worker *qw, struct ready *r)
{
    struct purged_part *part = mem_alloc(sizeof(*part));
    if (part == NULL) {
        size_t budget = SIZE_MAX;
        queue_worker_drop_ready(qw, r, &budget);
        return;
    }
    list_init(&part->node);
    part->ready = *r;
    *r = (struct ready){0};
    list_push_back(&qw->purged, &part->node);
    worker_keep_awake(qw->w);
}

uint64_t
queue_purge(struct queue_worker *qw, struct queue *q)
{
    uint64_t count = queue_ready_count(q);
    if (q->disk != NULL)
        durable_purge(qw, q);
    q->ready_sum = (struct queue_sum){0};
    q->counters.purged += count;
    q->active_ms = qw->w->now_ms;
    struct level *at;
    for (size_t n = 0; q->levels != NULL && (at = levels_row(q->levels, n)) != NULL; n++)
        if (at->ready.count > 0)
            queue_drop_later(qw, &at->ready);
    if (q->levels != NULL)
        levels_emptied(q->levels);
    if (q->ready.count > 0)
        queue_drop_later(qw, &q->ready);
    expiry_purged(qw, q);
    queue_touch(qw, q);
    return count;
}

// Metrics tell what quorum queues did from what the others did: those that are gone count too.
static void
count_gone(struct queue_worker *qw, const struct queue *q)
{
    const struct queue_counters *n = &q->counters;
    if (q->def->type != QUEUE_QUORUM)
        return;
    qw->gone.delivered += n->delivered;
    qw->gone.delivered_no_ack += n->delivered_no_ack;
    qw->gone.got += n->got;
    qw->gone.got_no_ack += n->got_no_ack;
    qw->gone.redelivered += n->redelivered;
    qw->gone.acked += n->acked;
}

void
queue_kill(struct queue_worker *qw, struct queue *q, const char *reason, struct queue_request *request)
{
    queue_enter(q);
    count_gone(qw, q);
    q->is_dead = true;
    handle_slots_remove(&qw->queues, q->handle);
    atomic_fetch_sub_explicit(&qw->queue_count, 1, memory_order_relaxed);
    queue_gets_end(qw, q);
    for (struct list *first; (first = list_first(&q->consumers)) != NULL;) {
        struct consumer *c = LV_CONTAINER_OF(first, struct consumer, all);
        lv_handle session = c->session;
        uint32_t consumer_id = c->consumer_id;
        consumer_remove(qw, c);
        notify_cancelled(qw, session, consumer_id, reason);
    }
    LV_ASSERT(q->groups == NULL && q->top == NULL && q->offers == 0);
    dying_stop(qw, q);
    if (q->disk != NULL)
        durable_delete(qw, q, request);
    else
        request_answer(qw->w, request, QUEUE_OK);
    q->def = NULL; // the writer may free it once the delete was answered
    q->bury_cursor = 0;
    queue_leave(qw, q);
}

void
queue_leave(struct queue_worker *qw, struct queue *q)
{
    LV_ASSERT(q->busy > 0);
    if (--q->busy > 0 || !q->is_dead)
        return;
    list_remove(&q->run);
    list_push_back(&qw->dead, &q->run);
    worker_keep_awake(qw->w);
}

bool
queue_bury(struct queue_worker *qw, struct queue *q, size_t *budget)
{
    LV_ASSERT(q->is_dead && q->busy == 0 && q->get_first == NULL && q->disk == NULL);
    if (!queue_worker_drop_ready(qw, &q->ready, budget))
        return false;
    struct level *at;
    for (size_t n = 0; q->levels != NULL && (at = levels_row(q->levels, n)) != NULL; n++)
        if (!queue_worker_drop_ready(qw, &at->ready, budget))
            return false;
    // Emptied by a cursor, not by taking: nothing looks anything up in it any more.
    size_t cursor = q->bury_cursor;
    for (struct unacked_record *record; *budget > 0; (*budget)--) {
        record = unacked_next(&q->unacked, &cursor);
        if (record == NULL)
            break;
        queue_worker_drop_entry(qw, &record->entry);
        dying_forget(qw, record);
        record->entry.seq = 0;
        q->unacked.count--;
    }
    q->bury_cursor = cursor;
    if (q->unacked.count > 0)
        return false;
    unacked_fini(&q->unacked, &qw->unacked_tables);
    expiry_end(qw, q);
    list_remove(&q->run);
    limit_fini(q);
    levels_free(q->levels);
    mem_free((void *)q->rules);
    mem_free(q->dying);
    sampler_forget(qw, q);
    mem_free(q);
    return true;
}

// Of the message that is next, or when that is not in memory, of the last one that was taken. With priorities an older one may wait
// behind it: then nothing is known.
static int64_t
oldest_ms(const struct queue *q)
{
    const struct ready_entry *e = q->levels == NULL ? queue_front(q) : NULL;
    const struct message *msg = e != NULL ? ready_entry_message(e) : NULL;
    return queue_ready_count(q) == 0 || q->levels != NULL ? 0 : msg != NULL ? msg->published_ms : q->taken_ms;
}

void
queue_fill_counts(const struct queue_worker *qw, const struct queue *q, struct queue_stats *ret_stats)
{
    enum { IDLE_AFTER_MS = 1000 };
    const struct queue_counters *n = &q->counters;
    int64_t idle_ms = qw->w->now_ms - q->active_ms;
    *ret_stats = (struct queue_stats){
        .published = n->published,
        .delivered = n->delivered,
        .delivered_no_ack = n->delivered_no_ack,
        .got = n->got,
        .got_no_ack = n->got_no_ack,
        .redelivered = n->redelivered,
        .acked = n->acked,
        .requeued = n->requeued,
        .rejected = n->rejected,
        .returned = n->returned,
        .purged = n->purged,
        .maxlen_dropped = q->limit != NULL ? q->limit->dropped.count : 0,
        .refused_maxlen = q->limit != NULL ? q->limit->refused.count : 0,
        .delivery_limited = n->delivery_limited,
        .consumer_timeouts = n->consumer_timeouts,
        .expired = n->expired,
        .ready = queue_ready_count(q),
        .ready_bytes = q->ready_sum.bytes,
        .unacked = q->unacked.count,
        .unacked_bytes = q->unacked_sum.bytes,
        .persistent = (uint64_t)q->ready_sum.persistent + q->unacked_sum.persistent,
        .consumers = q->consumer_count,
        .memory_bytes = sizeof(*q) + ready_memory(&q->ready) + unacked_memory(&q->unacked) +
                        q->ready_sum.weight + q->unacked_sum.weight + durable_memory(q) + expiry_memory(q) +
                        (q->levels != NULL ? levels_memory(q->levels) : 0),
        .idle_since_ms = idle_ms >= IDLE_AFTER_MS ? q->active_ms : 0,
        .oldest_ms = oldest_ms(q),
        .is_refusing = limit_is_refusing(q, 0),
    };
    if (q->disk != NULL) {
        ret_stats->paged_out = q->disk->backlog.count;
        ret_stats->paged_out_bytes = q->disk->backlog.body_bytes;
    }
    dying_fill_stats(q, ret_stats);
}

void
queue_fill_stats(const struct queue_worker *qw, const struct queue *q, struct queue_stats *ret_stats)
{
    queue_fill_counts(qw, q, ret_stats);
    sampler_fill_rates(qw, q, ret_stats->rates);
}
