// queue_model.c: see queue_model.h.
#include "tests/sim/queue_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"

struct entry *
model_find(struct model *m, uint32_t queue, uint64_t id)
{
    // Entries ascend by id; those of one message lie together.
    uint32_t low = 0, high = m->entry_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->entries[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < m->entry_count && m->entries[low].id == id; low++)
        if (m->entries[low].queue == queue)
            return &m->entries[low];
    return NULL;
}

static bool
may_drop(const struct model *m, uint32_t queue)
{
    return m->queues[queue].rules.max_length != RULE_NONE;
}

static uint8_t
level_of(const struct model *m, const struct entry *e)
{
    return LV_MIN(fx_priority_of(e->id), m->queues[e->queue].rules.max_priority);
}

struct entry *
model_publish(struct model *m, uint32_t queue, uint64_t id, int session, bool is_persistent)
{
    assert_true(m->entry_count < SIM_ENTRIES);
    struct entry *e = &m->entries[m->entry_count++];
    *e = (struct entry){.id = id,
                        .order = m->next_order++,
                        .op = m->next_op++,
                        .queue = (uint16_t)queue,
                        .session = (int8_t)session,
                        .state = ENTRY_QUEUED,
                        .is_maybe = may_drop(m, queue),
                        .is_persistent = is_persistent,
                        .is_count_known = true};
    return e;
}

static uint64_t
mono_ns(void *ctx)
{
    return (uint64_t)((const struct model *)ctx)->now_ms * 1000000;
}

static int64_t
wall_ms(void *ctx)
{
    return ((const struct model *)ctx)->now_ms;
}

void
model_clock(struct model *m)
{
    clock_set_source(&(struct clock_source){.mono_ns = mono_ns, .wall_ms = wall_ms, .ctx = m});
}

static bool
is_due(const struct model *m, const struct entry *e)
{
    return e->at_ms != 0 && e->at_ms <= m->now_ms;
}

void
model_time(struct model *m, int64_t ms)
{
    m->now_ms += ms;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        e->is_maybe |= e->state == ENTRY_QUEUED && is_due(m, e);
    }
}

uint32_t
model_queue_of(const struct model *m, lv_handle handle)
{
    for (uint32_t i = 0; i < m->queue_count; i++)
        if (m->queues[i].handle == handle && handle != 0)
            return i;
    fail_msg("a queue that nobody made");
    abort();
}

static bool
is_stored(const struct model *m, const struct entry *e)
{
    return e->is_persistent && (m->queues[e->queue].flags & QUEUE_DURABLE) != 0;
}

static bool
is_synced(const struct sim_queue *q)
{
    return (q->flags & QUEUE_DURABLE) != 0 && (q->flags & (QUEUE_RELAXED_OS | QUEUE_RELAXED_MEMORY)) == 0;
}

void
model_answered(struct model *m, int session, uint64_t id, bool is_accepted)
{
    for (uint32_t i = 0; i < m->queue_count; i++) {
        struct entry *e = model_find(m, i, id);
        if (e == NULL || !is_accepted)
            continue;
        const struct sim_queue *q = &m->queues[i];
        e->is_confirmed = true;
        m->confirmed++;
        bool says_more = is_stored(m, e) && is_synced(q) && m->answer_count < LV_ARRAY_LEN(m->answers);
        if (says_more)
            m->answers[m->answer_count++] = (struct answered){e, (int8_t)session, e->op};
    }
}

// What was consumed at once is confirmed without being written. If it was not, the confirm says that what the session did before is durable.
static void
take_answers(struct model *m)
{
    for (uint32_t i = 0; i < m->answer_count; i++) {
        const struct answered *a = &m->answers[i];
        uint64_t *durable = &m->durable_op[a->session][m->queues[a->entry->queue].worker];
        if ((a->entry->state == ENTRY_QUEUED || a->entry->state == ENTRY_OUT) && a->op > *durable)
            *durable = a->op;
    }
    m->answer_count = 0;
}

// Everything that waits in front of it must have gone first; late ones of transactions apart, and what is of a lower level. It may be on its way to a session on another
// worker: that is known when all mail has arrived.
static void
check_order(struct model *m, const struct entry *e)
{
    for (uint32_t i = 0; i < m->entry_count && m->suspicion_count < LV_ARRAY_LEN(m->suspicions); i++) {
        const struct entry *o = &m->entries[i];
        bool is_before = o->queue == e->queue && o->order < e->order && o->state == ENTRY_QUEUED &&
                         level_of(m, o) >= level_of(m, e);
        if (is_before && !o->is_maybe && !o->was_tx && !e->was_tx)
            m->suspicions[m->suspicion_count++] = (struct suspicion){o, o->arrivals, e->id};
    }
}

void
model_mail_arrived(struct model *m)
{
    for (uint32_t i = 0; i < m->suspicion_count && m->failure == NULL; i++) {
        const struct suspicion *s = &m->suspicions[i];
        MODEL_CHECK(m, s->entry->state != ENTRY_QUEUED || s->entry->arrivals != s->arrivals, s->by,
                    "a message overtook another one");
        if (m->failure != NULL)
            model_print(m, s->entry->id);
    }
    m->suspicion_count = 0;
    take_answers(m);
}

struct entry *
model_arrived(struct model *m, uint32_t queue, const struct message *msg, uint64_t seq, uint32_t count,
              bool is_redelivered, int session, int consumer)
{
    uint64_t id = fx_message_id(msg);
    struct entry *e = model_find(m, queue, id);
    MODEL_CHECK(m, e != NULL, id, "a message that nobody published there");
    if (e == NULL)
        return NULL;
    MODEL_CHECK(m, e->state != ENTRY_GONE, id, "a message came back");
    MODEL_CHECK(m, e->at_ms == 0 || e->at_ms >= m->now_ms, id, "a message was handed out that had expired");
    if (e->state == ENTRY_HELD) { // owners let messages in before the session hears of it
        MODEL_CHECK(m, m->txs[e->tx].is_ended && !m->txs[e->tx].is_abort, id,
                    "a message of an open transaction was delivered");
        model_tx_decided(m, e->tx, true);
    }
    MODEL_CHECK(m, e->state != ENTRY_OUT, id, "a message is delivered twice");
    MODEL_CHECK(m, is_redelivered == e->is_redelivered || (e->is_flag_open && is_redelivered), id,
                "the redelivered flag is wrong");
    e->is_redelivered = is_redelivered;
    e->is_flag_open = false;
    MODEL_CHECK(m, !e->is_count_known || count == e->count, id, "the delivery count is wrong");
    MODEL_CHECK(m, count >= e->count_sure, id, "the delivery count went down");
    MODEL_CHECK(m, count <= e->count, id, "a delivery is counted that never was");
    check_order(m, e);
    e->is_maybe = may_drop(m, queue);
    e->count = count;
    e->is_count_known = true;
    e->state = ENTRY_OUT;
    e->seq = seq;
    e->session = (int8_t)session;
    e->consumer = (int8_t)consumer;
    m->delivered++;
    e->arrivals++;
    return e;
}

// Nothing that comes later makes the count less: the word about it was written before a publish that has been confirmed.
static void
note_sure_count(const struct model *m, struct entry *e)
{
    const struct sim_queue *q = &m->queues[e->queue];
    bool is_sure = q->limit != 0 && is_stored(m, e) && e->count_op != 0 && !m->has_faults && !m->was_full &&
                   e->count_op < m->durable_op[e->count_session][q->worker];
    if (is_sure)
        e->count_sure = LV_MAX(e->count_sure, e->count);
}

bool
model_requeued(struct model *m, struct entry *e, int session)
{
    uint32_t limit = m->queues[e->queue].limit;
    note_sure_count(m, e);
    e->count++;
    e->count_op = m->next_op++;
    e->count_session = (int8_t)session;
    e->is_redelivered = true;
    if (limit == 0 || e->count <= limit)
        return true;
    model_take(m, e, session);
    return false;
}

void
model_take(struct model *m, struct entry *e, int session)
{
    e->state = ENTRY_GONE;
    e->session = (int8_t)session;
    e->op = m->next_op++;
}

void
model_bounds(const struct model *m, uint32_t queue, uint64_t *ret_least, uint64_t *ret_most)
{
    *ret_least = *ret_most = 0;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        if (e->queue != queue || e->state != ENTRY_QUEUED)
            continue;
        *ret_least += !e->is_maybe;
        (*ret_most)++;
    }
}

void
model_purged(struct model *m, uint32_t queue, uint64_t count, int session)
{
    uint64_t least, most;
    model_bounds(m, queue, &least, &most);
    if (count == PURGE_UNKNOWN)
        count = least;
    if (count < least || count > most)
        printf("%llu purged of queue %llu, %llu to %llu expected\n", (unsigned long long)count,
               (unsigned long long)m->queues[queue].id, (unsigned long long)least, (unsigned long long)most);
    MODEL_CHECK(m, count >= least && count <= most, 0, "a purge counted wrong");
    uint64_t op = m->next_op++;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (e->queue != queue || e->state != ENTRY_QUEUED)
            continue;
        e->state = ENTRY_GONE;
        e->session = (int8_t)session;
        e->op = op;
    }
}

void
model_tx_decided(struct model *m, uint32_t tx, bool is_committed)
{
    m->txs[tx].is_decided = true;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (e->tx == tx) {
            e->tx = 0;
            if (e->state == ENTRY_HELD)
                e->state = is_committed ? ENTRY_QUEUED : ENTRY_GONE;
            e->is_confirmed = is_committed;
            if (!is_committed)
                e->is_persistent = false; // it never was: no crash brings it
        }
        if (e->ack_tx == tx && !is_committed)
            e->ack_tx = 0;
    }
    model_time(m, 0);
}

// --- the end of a life ---

static bool
is_gone_for_good(const struct model *m, const struct entry *e, enum model_end end)
{
    if (!is_stored(m, e) || m->queues[e->queue].is_deleted)
        return true;
    if (m->has_faults)
        return false;
    return end == MODEL_ORDERLY ||
           (!m->was_full && e->op < m->durable_op[e->session][m->queues[e->queue].worker]);
}

void
model_ended(struct model *m, enum model_end end)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        bool was_out = e->state == ENTRY_OUT, was_gone = e->state == ENTRY_GONE;
        bool is_sure = e->is_confirmed && !e->is_maybe && e->ack_tx == 0 && is_synced(&m->queues[e->queue]);
        if (was_gone && e->consumer == -2)
            continue;                                         // long since
        if (e->ack_tx != 0 && m->txs[e->ack_tx].is_decided) { // it was seen to be committed
            e->ack_tx = 0;
            e->state = ENTRY_GONE;
            e->consumer = -2;
            continue;
        }
        if (!is_stored(m, e) || (was_gone && is_gone_for_good(m, e, end))) {
            e->state = ENTRY_GONE;
            e->consumer = -2;
            continue;
        }
        e->is_maybe = !is_sure || was_gone || m->queues[e->queue].is_delete_open;
        note_sure_count(m, e);
        e->count += was_out && end == MODEL_ORDERLY; // what its clients had has come back
        bool has_counts = end == MODEL_ORDERLY && !m->has_faults && !m->ended_full;
        if (has_counts && m->queues[e->queue].limit != 0 && e->is_count_known)
            e->count_sure = e->count;
        e->count_op = 0;
        e->state = ENTRY_QUEUED;
        e->is_flag_open &= end == MODEL_ORDERLY;
        e->is_redelivered |= end == MODEL_CRASH || was_out;
        e->is_count_known &= end == MODEL_ORDERLY && !was_gone;
    }
    memset(m->durable_op, 0, sizeof m->durable_op);
    m->answer_count = 0;
    m->has_faults = m->was_full = m->ended_full = false;
}

void
model_start_failed(struct model *m)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        m->entries[i].is_flag_open = true;
        m->entries[i].is_count_known = false;
    }
}

void
model_drained(struct model *m, uint32_t queue)
{
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (e->queue != queue || e->state != ENTRY_QUEUED)
            continue;
        MODEL_CHECK(m, e->is_maybe, e->id, "a durable message is lost");
        e->state = ENTRY_GONE;
        e->consumer = -2;
    }
}

void
model_check_txs(struct model *m)
{
    static uint32_t there[SIM_TXS], away[SIM_TXS];
    memset(there, 0, sizeof there);
    memset(away, 0, sizeof away);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        bool is_there = e->state != ENTRY_GONE,
             counts = is_stored(m, e) && !m->queues[e->queue].is_deleted && !may_drop(m, e->queue);
        counts &= !is_due(m, e);
        if (e->tx != 0 && counts && !m->queues[e->queue].is_delete_open)
            *(is_there ? &there[e->tx] : &away[e->tx]) += 1;
        // What was not synced yet may be missing without having been acknowledged.
        bool is_telling = is_there || is_synced(&m->queues[e->queue]);
        if (e->ack_tx != 0 && counts && is_telling && e->is_confirmed && !m->queues[e->queue].is_delete_open)
            *(is_there ? &away[e->ack_tx] : &there[e->ack_tx]) += 1;
        e->tx = e->ack_tx = 0;
    }
    for (uint32_t t = 1; t <= m->tx_count; t++)
        MODEL_CHECK(m, there[t] == 0 || away[t] == 0, t, "half a transaction came back");
}

void
model_print(const struct model *m, uint64_t id)
{
    static const char *const states[] = {"held", "queued", "out", "gone"};
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        if (e->id != id)
            continue;
        const struct sim_queue *q = &m->queues[e->queue];
        printf("message %llu, number %llu of queue %llu (flags %u, worker %d%s%s): %s%s%s%s%s%s, session %d, "
               "seq %llu, tx %u, acked by tx %u, count %u, expires in %lld ms\n",
               (unsigned long long)e->id, (unsigned long long)e->order, (unsigned long long)q->id, q->flags,
               q->worker, q->is_deleted ? ", deleted" : "", q->is_delete_open ? ", being deleted" : "",
               states[e->state], e->is_persistent ? ", persistent" : "", e->is_confirmed ? ", confirmed" : "",
               e->is_maybe ? ", not sure" : "", e->is_redelivered ? ", redelivered" : "",
               e->was_tx ? ", by a transaction" : "", e->session, (unsigned long long)e->seq, e->tx,
               e->ack_tx, e->count, e->at_ms == 0 ? -1 : (long long)(e->at_ms - m->now_ms));
    }
}
