// session_timeout.c: see session_timeout.h.
//
// 1. session_timeout_note puts the session into the heap when its first delivery goes out.
// 2. In PHASE_TIMERS sessions that are due are looked at: from the oldest delivery on, as far as one of them may be late. Who has none is put
//    into the heap again with the time of the next, if there are any.
// 3. Late: the queue is held, the consumer cancelled, and what it has given back with a budget, in turns; then the queue goes on. So nothing
//    overtakes what comes back.
// Failure: without memory the session is looked at with its next delivery, or a second later.
#include "src/broker/session_timeout.h"

#include "src/base/log.h"
#include "src/broker/session_impl.h"

// LIMIT: deliveries of one look, and looks of one turn.
enum { LOOK_MAX = 16384, LOOKS_MAX = 4096 };
// LIMIT: gets from queues and cancelled consumers with a timeout of their own; others are late by the node's.
enum { ODD_MAX = 4096 };
enum { BATCH = 64 };
#define SECOND_NS UINT64_C(1000000000)

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    // It only wakes the loop; the turn does the work.
}

void
session_timeouts_init(struct session_timeouts *t)
{
    *t = (struct session_timeouts){.due_ns = TIMEOUT_NEVER, .least_ns = TIMEOUT_NEVER};
    inttab_init(&t->odd);
    list_init(&t->node);
}

void
session_timeouts_fini(struct session_timeouts *t)
{
    inttab_fini(&t->odd);
}

static void
late_end(struct session_timeouts *t)
{
    if (t->late_consumer == 0)
        return;
    t->late_consumer = 0;
    list_remove(&t->node);
    queue_hold(t->late_queue, false);
}

void
session_timeouts_forget(struct session *s)
{
    late_end(&s->timeouts);
    s->timeouts.due_ns = TIMEOUT_NEVER;
}

uint64_t
timeout_ns_of(const struct broker_worker *b, uint64_t timeout_ms)
{
    uint64_t ms = timeout_ms == RULE_NONE ? b->config.consumer_timeout_ms : timeout_ms;
    return ms == 0 || ms > TIMEOUT_MS_MAX ? TIMEOUT_NEVER : ms * 1000000;
}

void
session_timeout_watch(struct session *s, uint64_t due_ns)
{
    struct broker_worker *b = s->client->broker;
    s->timeouts.due_ns = due_ns;
    if (due_ns < TIMEOUT_NEVER && heap_push(&b->timeouts.due, due_ns, (void *)(uintptr_t)s->handle) != 0)
        s->timeouts.due_ns = TIMEOUT_NEVER;
}

void
session_timeout_least(struct session *s, uint64_t timeout_ns)
{
    s->timeouts.least_ns = LV_MIN(s->timeouts.least_ns, timeout_ns);
}

static void
keep(struct session *s, uint64_t key, uint64_t timeout_ns)
{
    struct session_timeouts *t = &s->timeouts;
    if (timeout_ns == timeout_ns_of(s->client->broker, RULE_NONE)) {
        (void)inttab_take(&t->odd, key);
        return;
    }
    // Without memory for it the node's timeout counts.
    if (t->odd.count < ODD_MAX && inttab_put(&t->odd, key, (void *)(uintptr_t)timeout_ns) != 0)
        log_debug(LOG_CHANNEL, "no memory for the timeout of a delivery");
}

void
session_timeout_keep(struct session *s, uint32_t consumer_id, uint64_t timeout_ns)
{
    if (!s->is_closed)
        keep(s, consumer_id, timeout_ns);
}

void
session_timeout_note_get(struct session *s, uint64_t now_ns, lv_handle queue, uint64_t timeout_ms)
{
    uint64_t timeout_ns = timeout_ns_of(s->client->broker, timeout_ms);
    keep(s, queue, timeout_ns);
    session_timeout_least(s, timeout_ns);
    session_timeout_note(s, now_ns, timeout_ns);
}

void
client_timeout(struct worker *w, lv_handle session, uint32_t consumer_id, uint64_t timeout_ms)
{
    struct session *s = session_by_handle(broker_of(w), session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, consumer_id) : NULL;
    if (c == NULL || c->has_own_timeout)
        return;
    c->timeout_ns = timeout_ns_of(s->client->broker, timeout_ms);
    session_timeout_least(s, c->timeout_ns);
    if (c->unacked > 0 && s->timeouts.due_ns > w->now_ns)
        session_timeout_watch(s, w->now_ns);
}

// --- looking -----------------------------------------------------------------------------------------------------------------

static uint64_t
given_ns(const struct unacked *e, uint64_t now_ns)
{
    uint64_t now = now_ns >> TIMEOUT_TICK_BITS;
    uint32_t age = ((uint32_t)now - e->given_tick) & TIMEOUT_TICK_MASK;
    if (age > TIMEOUT_TICK_MASK - 2) // in the tick that has not begun yet
        return (now + 1) << TIMEOUT_TICK_BITS;
    return (now - LV_MIN(now, (uint64_t)age)) << TIMEOUT_TICK_BITS;
}

static uint64_t
timeout_of(struct session *s, const struct unacked *e)
{
    const struct session_consumer *c = e->consumer_id != 0 ? session_consumer_by_id(s, e->consumer_id) : NULL;
    if (c != NULL)
        return c->timeout_ns;
    uintptr_t odd = (uintptr_t)inttab_get(&s->timeouts.odd, e->consumer_id != 0 ? e->consumer_id : e->queue);
    return odd != 0 ? odd : timeout_ns_of(s->client->broker, RULE_NONE);
}

// The delivery is no longer the client's.
static void
take_back(struct session *s, struct unacked *e)
{
    e->is_settled = true;
    s->unacked_settled++;
    s->timeouts.given_back_upto = LV_MAX(s->timeouts.given_back_upto, e->tag);
}

static void
log_late(const struct session *s, const struct session_consumer *c, uint64_t timeout_ns)
{
    unsigned long long ms = timeout_ns / 1000000;
    if (c != NULL)
        log_warn(LOG_CHANNEL,
                 "connection %.*s, channel %u: consumer '%.*s' of queue '%.*s' in vhost '%.*s' has not "
                 "acknowledged a "
                 "delivery for %llu ms, its timeout: its %u messages are requeued and it is cancelled",
                 SLICE_FMT(s->client->name), (unsigned)s->number, SLICE_FMT(c->tag), SLICE_FMT(c->queue_name),
                 SLICE_FMT(s->client->vhost), ms, c->unacked);
    else
        log_warn(LOG_CHANNEL,
                 "connection %.*s, channel %u, vhost '%.*s': a delivery of basic.get or of a consumer that "
                 "was cancelled has "
                 "not been acknowledged for %llu ms, its timeout: requeueing it",
                 SLICE_FMT(s->client->name), (unsigned)s->number, SLICE_FMT(s->client->vhost), ms);
}

static void
late_begin(struct session *s, const struct unacked *e, uint64_t now_ns)
{
    struct session_timeouts *t = &s->timeouts;
    struct broker_worker *b = s->client->broker;
    struct session_consumer *c = session_consumer_by_id(s, e->consumer_id);
    bool is_to_cancel = c != NULL && !(s->op == OP_CANCEL && s->op_consumer == c);
    t->late_consumer = e->consumer_id;
    t->late_queue = e->queue;
    t->late_from = e->tag;
    list_push_back(&b->timeouts.late, &t->node);
    queue_hold(t->late_queue, true);
    log_late(s, c, timeout_of(s, e));
    if (is_to_cancel && !session_consumer_expire(s, c)) { // it may have closed the session
        late_end(t);
        session_timeout_watch(s, now_ns + SECOND_NS);
    }
}

// Goes through the deliveries in the order of time, as far as one may be late, or next.
static void
look(struct session *s, uint64_t now_ns)
{
    struct session_timeouts *t = &s->timeouts;
    size_t i = t->look_from != 0 ? unacked_lower_bound(s, t->look_from) : 0, looked = 0;
    uint64_t next = t->look_from != 0 ? t->look_due_ns : TIMEOUT_NEVER;
    bool is_said = false;
    t->due_ns = TIMEOUT_NEVER;
    t->look_from = 0;
    if (t->late_consumer != 0)
        return; // it is looked at when that is done
    for (; i < s->unacked_count; i++, looked++) {
        struct unacked *e = unacked_at(s, i);
        uint64_t given = given_ns(e, now_ns);
        if (given + t->least_ns >= next)
            break;
        if (looked == LOOK_MAX) {
            t->look_from = e->tag;
            t->look_due_ns = next;
            next = now_ns;
            break;
        }
        uint64_t timeout = e->is_settled ? TIMEOUT_NEVER : timeout_of(s, e);
        if (given + timeout > now_ns) {
            next = LV_MIN(next, given + timeout);
        } else if (e->consumer_id != 0) {
            late_begin(s, e, now_ns);
            return;
        } else {
            struct unacked late = *e;
            if (!is_said)
                log_late(s, NULL, timeout);
            is_said = true;
            take_back(s, e);
            session_settle_entries(s, &late, 1, SETTLE_REQUEUE);
            i = unacked_lower_bound(s, late.tag); // a delivery may have come meanwhile
        }
    }
    unacked_trim(s);
    session_timeout_watch(s, next);
}

// --- giving back ------------------------------------------------------------------------------------------------------------

static void
give_back_some(struct session *s, size_t *budget)
{
    struct session_timeouts *t = &s->timeouts;
    struct unacked batch[BATCH];
    size_t count;
    bool is_at_end;
    do {
        size_t i = unacked_lower_bound(s, t->late_from);
        for (count = 0; i < s->unacked_count && count<BATCH && * budget> 0; i++, (*budget)--) {
            struct unacked *e = unacked_at(s, i);
            t->late_from = e->tag + 1;
            if (e->is_settled || e->consumer_id != t->late_consumer)
                continue;
            batch[count++] = *e;
            take_back(s, e);
        }
        is_at_end = i == s->unacked_count;
        session_settle_entries(s, batch, count, SETTLE_REQUEUE);
    } while (count == BATCH && *budget > 0);
    if (!is_at_end)
        return;
    unacked_trim(s);
    late_end(t);
    session_timeout_watch(s, s->client->broker->worker->now_ns);
}

static void
set_timer(struct timeout_watch *t, struct worker *w)
{
    const struct heap_item *top = heap_peek(&t->due);
    if (top == NULL || (top->key == t->timer_ns && ev_is_active(&t->timer)))
        return;
    ev_timer_stop(w->loop, &t->timer);
    t->timer_ns = top->key;
    double delay = top->key > w->now_ns ? (double)(top->key - w->now_ns) / 1e9 : 0.;
    ev_timer_set(&t->timer, delay + 0.001, 0.);
    ev_timer_start(w->loop, &t->timer);
}

static bool
timeouts_hook(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    struct timeout_watch *t = &b->timeouts;
    const struct heap_item *top;
    size_t budget = b->config.settle_turn;
    for (int looks = 0; looks < LOOKS_MAX && (top = heap_peek(&t->due)) != NULL && top->key <= w->now_ns;
         looks++) {
        struct heap_item item;
        (void)heap_pop(&t->due, &item);
        struct session *s = session_by_handle(b, (lv_handle)(uintptr_t)item.value);
        if (s != NULL && s->timeouts.due_ns == item.key && !s->is_failed)
            look(s, w->now_ns);
    }
    struct list late;
    list_init(&late);
    list_splice_back(&late, &t->late);
    for (struct list *it; (it = list_pop_front(&late)) != NULL;) {
        struct session_timeouts *of = LV_CONTAINER_OF(it, struct session_timeouts, node);
        list_push_back(&t->late, &of->node);
        if (budget > 0)
            give_back_some(LV_CONTAINER_OF(of, struct session, timeouts), &budget);
    }
    set_timer(t, w);
    top = heap_peek(&t->due);
    return !list_is_empty(&t->late) || (top != NULL && top->key <= w->now_ns);
}

void
timeout_watch_init(struct broker_worker *b)
{
    heap_init(&b->timeouts.due);
    list_init(&b->timeouts.late);
    ev_timer_init(&b->timeouts.timer, on_timer, 0., 0.);
    worker_add_hook(b->worker, PHASE_TIMERS, timeouts_hook, b);
}

void
timeout_watch_fini(struct broker_worker *b)
{
    ev_timer_stop(b->worker->loop, &b->timeouts.timer);
    heap_fini(&b->timeouts.due);
}
