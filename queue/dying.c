// dying.c: see dying.h. The way of a message: `waiting`, in order of death; `out`, with the layer above; and away, or `retrying` and back to the front.
//
// Happy path of a turn (dispatch.c calls dying_run): the first of `waiting` is in memory, it is handed over, the next one follows until the window is
// full or the share of the turn is used up. Answers come at once or turns later, in any order. A body that is away is fetched first, with those
// behind it; what cannot be read goes the way durable_load.c says.
//
// Failure: without memory for an entry a rejected message goes back to its queue; one that comes from `ready` is let go of, without an ack where it
// has to be delivered at least once, so that the next start finds it.
#include "queue/dying.h"

#include "queue/expiry.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    DYING_SHARE = 128,         // LIMIT: of one queue in a turn, each counted with the queues it went to
    DYING_ENTRIES_KEPT = 1024, // LIMIT: kept for reuse
    DYING_LOG_MS = 1000,       // between two log lines of one queue
};

// --- counting ---

static void
bump(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static unsigned
type_of(const struct queue *q)
{
    return q->def->type == QUEUE_QUORUM ? 1 : 0;
}

static bool
is_at_least_once(const struct queue *q)
{
    return q->rules != NULL && queue_rules_dead_at_least_once(q->rules);
}

void
dying_count_dropped(struct queue_worker *qw, struct queue *q, enum death_reason reason)
{
    bump(&qw->dying.totals[type_of(q)][0][reason]);
    tally_note(qw, q, reason, FATE_DROPPED);
}

static void
count_dying(struct queue_worker *qw, struct queue *q, enum death_reason reason)
{
    q->dying->by_reason[reason]++;
    bump(&qw->dying.totals[type_of(q)][is_at_least_once(q) ? 2 : 1][reason]);
    tally_note(qw, q, reason, FATE_DEAD_LETTERED);
}

void
queue_worker_dead_totals(const struct worker *w, struct dead_totals *ret)
{
    const struct dying_worker *d = &queue_worker_of(w)->dying;
    for (size_t type = 0; type < DEAD_TYPES; type++) {
        for (size_t how = 0; how < DEAD_STRATEGIES; how++)
            for (size_t reason = 0; reason < DEATH_REASON_COUNT; reason++)
                ret->messages[type][how][reason] =
                    atomic_load_explicit(&d->totals[type][how][reason], memory_order_relaxed);
        ret->confirmed[type] = atomic_load_explicit(&d->confirmed[type], memory_order_relaxed);
    }
    ret->lost = atomic_load_explicit(&d->lost, memory_order_relaxed);
}

static const char *
text_of(enum dead_outcome outcome)
{
    static const char *const texts[DEAD_OUTCOME_COUNT] = {
        [DEAD_TAKEN] = "delivered",
        [DEAD_NO_EXCHANGE] = "there is no such exchange",
        [DEAD_NO_ROUTE] = "the exchange leads to no queue",
        [DEAD_CYCLE] = "it leads to queues where it died before: a circle",
        [DEAD_REFUSED] = "a queue refused it",
        [DEAD_NO_MEMORY] = "out of memory",
    };
    return texts[outcome];
}

// At most one line a second of one queue, and of those in between how many there were.
static void
log_trouble(struct queue_worker *qw, struct queue *q, enum dead_outcome outcome, bool is_lost)
{
    struct dying *d = q->dying;
    static const struct slice none = {0};
    if (d != NULL && qw->w->now_ms - d->logged_ms < DYING_LOG_MS) {
        d->unlogged++;
        return;
    }
    const struct queue_rules *rules = QUEUE_RULES(q);
    struct slice exchange = rules->has_dead_exchange ? rules->dead_exchange : none;
    log_warn(LOG_QUEUE,
             "queue '%.*s' in vhost '%.*s': a dead letter for exchange '%.*s' %s: %s (%llu more like it)",
             SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), SLICE_FMT(exchange),
             is_lost ? "is lost" : "waits", text_of(outcome),
             (unsigned long long)(d != NULL ? d->unlogged : 0));
    if (d != NULL) {
        d->logged_ms = qw->w->now_ms;
        d->unlogged = 0;
    }
}

static void
count_lost(struct queue_worker *qw, struct queue *q, enum dead_outcome outcome)
{
    if (q->dying != NULL)
        q->dying->lost++;
    bump(&qw->dying.lost);
    tally_note(qw, q, DEATH_REJECTED, FATE_LOST);
    log_trouble(qw, q, outcome, true);
}

// --- in ---

static struct dying *
dying_get(const struct queue_worker *qw, struct queue *q)
{
    if (q->dying != NULL)
        return q->dying;
    struct dying *d = mem_calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    list_init(&d->waiting);
    list_init(&d->out);
    list_init(&d->retrying);
    list_init(&d->node);
    d->queue = q;
    d->worker = &qw->dying;
    d->logged_ms = INT64_MIN / 2;
    q->dying = d;
    return d;
}

static struct dying_entry *
entry_new(struct queue_worker *qw, struct queue *q)
{
    return dying_get(qw, q) != NULL ? pool_take(&qw->dying.entries) : NULL;
}

// The record has become one of them.
static void
enter(struct queue_worker *qw, struct queue *q, struct unacked_record *record, struct dying_entry *e,
      enum death_reason reason)
{
    struct dying *d = q->dying;
    *e = (struct dying_entry){.seq = record->entry.seq,
                              .died_ms = qw->w->now_ms,
                              .body_len = record->entry.body_len,
                              .reason = (uint8_t)reason};
    record->entry.count_flags &= ~(uint32_t)UNACKED_IS_GET;
    record->entry.count_flags |= UNACKED_DYING;
    record->dying = e;
    list_init(&e->node);
    list_push_back(&d->waiting, &e->node);
    d->count++;
    d->bytes += e->body_len;
    count_dying(qw, q, reason);
}

bool
dying_add_record(struct queue_worker *qw, struct queue *q, struct unacked_record *record,
                 enum death_reason reason)
{
    struct dying_entry *e = entry_new(qw, q);
    if (e == NULL)
        return false;
    record->entry.count_flags |= READY_REDELIVERED; // where it stays on disk: a client had it
    enter(qw, q, record, e, reason);
    return true;
}

static bool
has_window(const struct dying *d)
{
    return d->out_count + d->retry_count < DYING_OUT_MAX && d->out_weight < DYING_OUT_BYTES;
}

bool
dying_can_run(const struct queue *q)
{
    const struct dying *d = q->dying;
    if (list_is_empty(&d->waiting) || !has_window(d) || d->worker->is_held)
        return false;
    const struct dying_entry *e = LV_CONTAINER_OF(d->waiting.next, struct dying_entry, node);
    const struct ready_entry *at = &unacked_find(&q->unacked, e->seq)->entry;
    bool is_coming = ready_entry_message(at) == NULL && !stored_is(at->stored, STORED_LOST) &&
                     (stored_is(at->stored, STORED_FETCHING) || q->disk->is_read_held);
    return !is_coming;
}

// Not by queue_touch: the caller is in the middle of something, and the client must not hear of it now.
static void
wake(struct queue_worker *qw, struct queue *q)
{
    if (list_is_linked(&q->run) || !dying_can_run(q))
        return;
    list_push_back(&qw->runnable, &q->run);
    if (qw->dispatched_turn == qw->w->turn)
        worker_keep_awake(qw->w);
}

void
queue_bury_entry(struct queue_worker *qw, struct queue *q, const struct ready_entry *from,
                 enum death_reason reason)
{
    if (!dying_is_wanted(qw, q)) {
        dying_count_dropped(qw, q, reason);
        queue_drop_entry(qw, q, from);
        return;
    }
    struct dying_entry *e = unacked_reserve(&q->unacked, &qw->unacked_tables) ? entry_new(qw, q) : NULL;
    if (e == NULL) {
        count_lost(qw, q, DEAD_NO_MEMORY);
        if (is_at_least_once(q) && ready_entry_is(from, READY_STORED)) {
            expiry_forget(q, from);
            durable_leave_out(qw, q, from);
        } else {
            queue_drop_entry(qw, q, from);
        }
        return;
    }
    const struct message *msg = ready_entry_message(from);
    sum_add(&q->unacked_sum, from, msg != NULL ? message_weight(msg) : 0);
    if (ready_entry_is(from, READY_STORED))
        from->stored->flags |= STORED_UNACKED;
    unacked_put(&q->unacked, from, 0);
    enter(qw, q, unacked_find(&q->unacked, from->seq), e, reason);
    wake(qw, q);
}

// --- out ---

static void
unlink_entry(struct dying *d, struct dying_entry *e)
{
    list_remove(&e->node);
    if (e->state == DYING_OUT) {
        d->out_count--;
        d->out_weight -= e->weight;
    } else if (e->state == DYING_RETRIES) {
        d->retry_count--;
        if (list_is_empty(&d->retrying))
            list_remove(&d->node);
    }
}

// Takes it out of everything; what is left to be dropped is in *ret.
static void
take_out(struct queue_worker *qw, struct queue *q, struct unacked_record *record, struct ready_entry *ret)
{
    struct dying *d = q->dying;
    struct dying_entry *e = record->dying;
    const struct message *msg = ready_entry_message(&record->entry);
    *ret = record->entry;
    sum_sub(&q->unacked_sum, ret, msg != NULL ? message_weight(msg) : 0);
    unacked_remove(&q->unacked, &qw->unacked_tables, record);
    unlink_entry(d, e);
    d->count--;
    d->bytes -= e->body_len;
    mem_free(e->had);
    pool_give(&qw->dying.entries, e);
}

// The first one's body is away: asks for it, and for those behind it.
static void
fetch(struct queue_worker *qw, struct queue *q)
{
    const struct ready_entry *entries[DURABLE_FETCH_MAX];
    size_t count = 0;
    LV_LIST_EACH (it, &q->dying->waiting) {
        if (count == LV_ARRAY_LEN(entries))
            break;
        const struct dying_entry *e = LV_CONTAINER_OF(it, struct dying_entry, node);
        entries[count++] = &unacked_find(&q->unacked, e->seq)->entry;
    }
    if (!durable_fetch(qw, q, entries, count))
        worker_keep_awake(qw->w); // the next turn tries again
}

static unsigned
hand_over(struct queue_worker *qw, struct queue *q, struct dying_entry *e, struct message *msg)
{
    struct dying *d = q->dying;
    list_remove(&e->node);
    list_push_back(&d->out, &e->node);
    e->state = DYING_OUT;
    e->weight = (uint32_t)LV_MIN(message_weight(msg), (size_t)UINT32_MAX);
    d->out_count++;
    d->out_weight += e->weight;
    struct dead_letter letter = {
        .queue = q->handle,
        .seq = e->seq,
        .def = q->def,
        .rules = q->rules,
        .msg = message_ref(msg),
        .reason = (enum death_reason)e->reason,
        .died_ms = e->died_ms,
        .had = e->had,
    };
    if (QUEUE_BUG(QUEUE_BUG_BURY_EARLY) && q->disk != NULL)
        durable_log_ack(qw, q, e->seq, 1, 0);
    unsigned cost = qw->client->dead(qw->w, &letter); // may answer at once, and even end the queue
    message_unref(msg);
    return cost;
}

// One step; 0 when nothing more can be done now.
static unsigned
step(struct queue_worker *qw, struct queue *q)
{
    struct dying *d = q->dying;
    struct dying_entry *e = LV_CONTAINER_OF(d->waiting.next, struct dying_entry, node);
    struct unacked_record *record = unacked_find(&q->unacked, e->seq);
    struct message *msg = ready_entry_message(&record->entry);
    struct ready_entry gone;
    if (!dying_is_wanted(qw, q)) { // any more
        take_out(qw, q, record, &gone);
        queue_drop_entry(qw, q, &gone);
    } else if (msg != NULL) {
        return hand_over(qw, q, e, msg);
    } else if (stored_is(record->entry.stored, STORED_LOST)) {
        take_out(qw, q, record, &gone);
        durable_drop_lost(qw, q, &gone);
    } else {
        fetch(qw, q);
        return 0;
    }
    return 1;
}

size_t
dying_run(struct queue_worker *qw, struct queue *q)
{
    size_t work = 0;
    while (work < DYING_SHARE && !q->is_dead && dying_can_run(q)) {
        unsigned cost = step(qw, q);
        if (cost == 0)
            break;
        work += cost;
    }
    return work;
}

// --- answers ---

static void
retry_later(struct queue_worker *qw, struct queue *q, struct dying_entry *e)
{
    struct dying *d = q->dying;
    struct dying_worker *dw = &qw->dying;
    uint64_t wait_ms =
        LV_MIN((uint64_t)dw->retry_ms << LV_MIN(e->tries, (uint8_t)16), (uint64_t)DYING_RETRY_MAX_MS);
    unlink_entry(d, e);
    e->state = DYING_RETRIES;
    e->tries = (uint8_t)LV_MIN(e->tries + 1, UINT8_MAX);
    struct unacked_record *record = unacked_find(&q->unacked, e->seq);
    if (ready_entry_is(&record->entry, READY_STORED) && durable_is_over(qw->durable))
        durable_let_go(qw, q, record->entry.stored);
    e->retry_ns = qw->w->now_ns + wait_ms * UINT64_C(1000000);
    list_push_back(&d->retrying, &e->node);
    d->retry_count++;
    if (!list_is_linked(&d->node))
        list_push_back(&dw->retrying, &d->node);
    if (!ev_is_active(&dw->timer))
        ev_timer_again(qw->w->loop, &dw->timer);
}

void
queue_dead_done(lv_handle queue, uint64_t seq, enum dead_outcome outcome, struct dead_targets *had)
{
    struct queue_worker *qw = queue_worker_of(worker_self);
    struct queue *q = handle_slots_find(&qw->queues, queue);
    struct unacked_record *record = q != NULL ? unacked_find(&q->unacked, seq) : NULL;
    if (record == NULL || (record->entry.count_flags & UNACKED_DYING) == 0 ||
        record->dying->state != DYING_OUT) {
        mem_free(had);
        return; // the queue has gone
    }
    struct dying_entry *e = record->dying;
    mem_free(e->had);
    e->had = had;
    bool is_kept = is_at_least_once(q);
    if (outcome != DEAD_TAKEN && (is_kept || outcome == DEAD_NO_MEMORY)) {
        log_trouble(qw, q, outcome, false);
        retry_later(qw, q, e);
        queue_touch(qw, q);
        return;
    }
    if (outcome != DEAD_TAKEN) {
        count_lost(qw, q, outcome);
    } else if (is_kept) {
        q->dying->confirmed++;
        bump(&qw->dying.confirmed[type_of(q)]);
    }
    struct ready_entry gone;
    take_out(qw, q, record, &gone);
    queue_drop_entry(qw, q, &gone); // DURABLE: its targets have it; now it may go here
    queue_touch(qw, q);
}

// --- tries ---

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    // The turn that follows looks.
}

// Brings back to the front what has waited long enough.
static void
retry_queue(struct queue_worker *qw, struct dying *d)
{
    list_push_back(&qw->dying.retrying, &d->node);
    LV_LIST_EACH_SAFE (it, &d->retrying) { // DYING_OUT_MAX of them at most
        struct dying_entry *e = LV_CONTAINER_OF(it, struct dying_entry, node);
        if (e->retry_ns > qw->w->now_ns)
            continue;
        unlink_entry(d, e);
        e->state = DYING_WAITS;
        list_push_front(&d->waiting, &e->node);
    }
    queue_touch(qw, d->queue);
}

static bool
retry_hook(struct worker *w, void *ctx)
{
    struct queue_worker *qw = ctx;
    struct dying_worker *dw = &qw->dying;
    if (LV_LIKELY(list_is_empty(&dw->retrying)))
        return false;
    // Whoever is called may end any queue: always the first is taken.
    struct list due;
    list_init(&due);
    list_splice_back(&due, &dw->retrying);
    for (struct list *it; (it = list_pop_front(&due)) != NULL;)
        retry_queue(qw, LV_CONTAINER_OF(it, struct dying, node));
    if (list_is_empty(&dw->retrying))
        ev_timer_stop(w->loop, &dw->timer);
    return false;
}

void
dying_fill_stats(const struct queue *q, struct queue_stats *stats)
{
    const struct dying *d = q->dying;
    if (d == NULL)
        return;
    stats->unacked -= d->count;
    stats->unacked_bytes -= d->bytes;
    stats->dying = d->count;
    stats->dying_bytes = d->bytes;
    memcpy(stats->dead_lettered, d->by_reason, sizeof(d->by_reason));
    stats->dead_confirmed = d->confirmed;
    stats->dead_lost = d->lost;
    stats->memory_bytes += sizeof(*d) + d->count * sizeof(struct dying_entry);
}

// --- the end ---

void
dying_stop(struct queue_worker *qw, struct queue *q)
{
    tally_flush(qw, q);
    if (q->dying != NULL)
        list_remove(&q->dying->node);
}

void
dying_forget(struct queue_worker *qw, struct unacked_record *record)
{
    if ((record->entry.count_flags & UNACKED_DYING) == 0)
        return;
    mem_free(record->dying->had);
    pool_give(&qw->dying.entries, record->dying);
}

void
queue_worker_hold_dead(struct worker *w)
{
    queue_worker_of(w)->dying.is_held = true;
}

void
dying_init(struct queue_worker *qw)
{
    struct dying_worker *dw = &qw->dying;
    pool_init(&dw->entries, sizeof(struct dying_entry), DYING_ENTRIES_KEPT);
    list_init(&dw->retrying);
    dw->retry_ms = DYING_RETRY_MS;
    ev_timer_init(&dw->timer, on_timer, 0., DYING_RETRY_MS / 1000.0);
    worker_add_hook(qw->w, PHASE_TIMERS, retry_hook, qw);
}

void
dying_fini(struct queue_worker *qw)
{
    ev_timer_stop(qw->w->loop, &qw->dying.timer);
    pool_fini(&qw->dying.entries);
}
