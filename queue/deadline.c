// deadline.c: see deadline.h. A binary heap of queues, each of which knows its place.
//
// Failure: when the clock of the wall is set back the timer comes too early: it is set again. It never waits long, so that one set forward is seen.
#include "queue/deadline.h"

#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/clock.h"
#include "src/base/mem.h"

enum {
    QUEUE_SHARE =
        256, // LIMIT: units of work (messages looked at) of one queue before the next one has its turn
    DUE_NS_MAX = 1000 * 1000, // LIMIT: time of one turn
    TURN_SHARE = 65536,       // LIMIT: the same in units, where nobody looks at the clock (tests)
    TIMER_MAX_MS = 10000,
};

static int64_t
at(const struct queue_deadlines *d, uint32_t place)
{
    return d->heap[place - 1].at_ms;
}

static void
put(struct queue_deadlines *d, uint32_t place, const struct queue_deadline *item)
{
    d->heap[place - 1] = *item;
    item->queue->deadline_place = place;
}

// Puts it where it belongs, from `place` on, which is free.
static void
settle(struct queue_deadlines *d, uint32_t place, struct queue_deadline item)
{
    while (place > 1 && at(d, place / 2) > item.at_ms) {
        put(d, place, &d->heap[place / 2 - 1]);
        place /= 2;
    }
    for (uint32_t child; (child = place * 2) <= d->count; place = child) {
        if (child < d->count && at(d, child + 1) < at(d, child))
            child++;
        if (at(d, child) >= item.at_ms)
            break;
        put(d, place, &d->heap[child - 1]);
    }
    put(d, place, &item);
}

static void
take_out(struct queue_deadlines *d, struct queue *q)
{
    uint32_t place = q->deadline_place;
    if (place == 0)
        return;
    q->deadline_place = 0;
    struct queue_deadline last = d->heap[--d->count];
    if (last.queue != q)
        settle(d, place, last);
}

// --- the timer ---

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct queue_deadlines *d = LV_CONTAINER_OF(timer, struct queue_deadlines, timer);
    d->timer_ms = DEADLINE_NONE; // the turn looks what is due
}

static void
set_timer(struct queue_worker *qw)
{
    struct queue_deadlines *d = &qw->deadlines;
    int64_t at_ms = d->count > 0 ? at(d, 1) : DEADLINE_NONE;
    if (at_ms == d->timer_ms)
        return;
    ev_timer_stop(qw->w->loop, &d->timer);
    d->timer_ms = at_ms;
    if (at_ms == DEADLINE_NONE)
        return;
    int64_t wait_ms = LV_MAX(INT64_C(0), LV_MIN(at_ms - qw->w->now_ms, (int64_t)TIMER_MAX_MS));
    ev_timer_set(&d->timer, (double)wait_ms / 1000.0, 0.);
    ev_timer_start(qw->w->loop, &d->timer);
}

// --- the whole ---

void
queue_deadlines_init(struct queue_worker *qw)
{
    qw->deadlines = (struct queue_deadlines){.timer_ms = DEADLINE_NONE};
    ev_timer_init(&qw->deadlines.timer, on_timer, 0., 0.);
}

void
queue_deadlines_fini(struct queue_worker *qw)
{
    LV_ASSERT(qw->deadlines.count == 0 && qw->deadlines.room == 0);
    ev_timer_stop(qw->w->loop, &qw->deadlines.timer);
    mem_free(qw->deadlines.heap);
    qw->deadlines.heap = NULL;
}

bool
queue_deadline_reserve(struct queue_worker *qw, struct queue *q)
{
    struct queue_deadlines *d = &qw->deadlines;
    if (q->has_deadline)
        return true;
    if (d->room == d->cap) {
        uint32_t cap = d->cap == 0 ? 16 : d->cap * 2;
        struct queue_deadline *heap = mem_realloc(d->heap, cap * sizeof(*heap));
        if (heap == NULL)
            return false;
        d->heap = heap;
        d->cap = cap;
    }
    d->room++;
    q->has_deadline = true;
    return true;
}

void
queue_deadline_set(struct queue_worker *qw, struct queue *q, int64_t at_ms)
{
    struct queue_deadlines *d = &qw->deadlines;
    LV_ASSERT(q->has_deadline);
    uint32_t place = q->deadline_place;
    if (at_ms == DEADLINE_NONE || q->is_dead || (place != 0 && at(d, place) <= at_ms))
        return;
    settle(d, place != 0 ? place : ++d->count, (struct queue_deadline){at_ms, q});
    if (q->deadline_place == 1)
        set_timer(qw);
}

void
queue_deadline_drop(struct queue_worker *qw, struct queue *q)
{
    take_out(&qw->deadlines, q);
    qw->deadlines.room -= q->has_deadline;
    q->has_deadline = false;
}

// Everything that depends on time; says when there is something again. `budget`: units of work.
static int64_t
queue_due(struct queue_worker *qw, struct queue *q, size_t *budget)
{
    return expiry_due(qw, q, budget);
}

bool
queue_deadline_hook(struct worker *w, void *ctx)
{
    struct queue_worker *qw = ctx;
    struct queue_deadlines *d = &qw->deadlines;
    if (LV_LIKELY(d->count == 0))
        return false;
    uint64_t end_ns = 0;
    size_t done = 0;
    bool is_over = false;
    while (d->count > 0 && at(d, 1) <= w->now_ms && !is_over) {
        struct queue *q = d->heap[0].queue;
        size_t budget = QUEUE_SHARE;
        take_out(d, q);
        if (q->is_dead)
            continue;
        queue_enter(q);
        int64_t next = queue_due(qw, q, &budget);
        if (!q->is_dead)
            queue_deadline_set(qw, q, next);
        queue_leave(qw, q);
        done += QUEUE_SHARE - budget + 1;
        uint64_t now_ns = qw->is_untimed ? 0 : clock_mono_ns();
        end_ns = end_ns == 0 && now_ns > 0 ? now_ns + DUE_NS_MAX : end_ns;
        is_over = qw->is_untimed ? done >= TURN_SHARE : now_ns >= end_ns;
    }
    set_timer(qw);
    return d->count > 0 && at(d, 1) <= w->now_ms;
}
