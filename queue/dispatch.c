// dispatch.c: which queue may work, and handing its messages to consumers (PHASE_DISPATCH).
//
// Happy path of a turn: take the runnable queues in order, round after round; each hands out messages, one to each active
// consumer of its highest group in turn, until it is empty, everybody is blocked, the body of the next
// message has to be fetched, or its share of the turn is used up; whoever has work left goes to the end of
// the list. Shared limits: no more grants are asked for than there are messages (queue->offers), so that one
// message does not wake a thousand consumers; while a question of a higher group is open, lower groups wait
// for the answer.
#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/expiry.h"
#include "queue/limit.h"
#include "queue/queue_worker.h"
#include "src/base/clock.h"

enum {
    QUEUE_SHARE = 256, // LIMIT: messages of one queue before the next one has its turn
    DISPATCH_NS_MAX =
        1000 *
        1000, // LIMIT: time of one PHASE_DISPATCH. A turn reads less than this can hand out, so that no
              // backlog grows in front of consumers that could take it
    CLOCK_EVERY = 256, // deliveries between two looks at the clock; a queue counts as QUEUE_COST
    QUEUE_COST = 8,
};

static bool
may_ask(const struct queue *q)
{
    return !list_is_empty(&q->top->askable) && q->offers < queue_ready_count(q);
}

static bool
is_runnable(const struct queue *q)
{
    if (q->returning > 0 || LV_UNLIKELY(dying_is_runnable(q)))
        return true;
    if (q->holds > 0 || q->top == NULL || (list_is_empty(&q->top->active) && !may_ask(q)))
        return false;
    enum next_message next = queue_next(q);
    return next == NEXT_HERE || next == NEXT_ABSENT;
}

// Grants wait for nothing: not for an empty queue, not behind a higher group.
static void
return_idle_grants(struct queue_worker *qw, struct queue *q)
{
    struct list *at = q->granted.next;
    while (at != &q->granted) {
        struct consumer *c = LV_CONTAINER_OF(at, struct consumer, granted);
        if (queue_ready_count(q) > 0 && c->group == q->top) {
            at = at->next;
            continue;
        }
        consumer_return_grant(qw, c);
        at = q->granted.next; // the client was called: nothing may be where it was
    }
}

void
queue_touch(struct queue_worker *qw, struct queue *q)
{
    if (q->is_dead)
        return;
    if (LV_UNLIKELY(!list_is_empty(&q->granted))) {
        queue_enter(q);
        return_idle_grants(qw, q);
        bool is_dead = q->is_dead;
        queue_leave(qw, q);
        if (is_dead)
            return;
    }
    if (list_is_linked(&q->run) || !is_runnable(q))
        return;
    list_push_back(&qw->runnable, &q->run);
    if (qw->dispatched_turn == qw->w->turn)
        worker_keep_awake(qw->w); // this turn's dispatch is over
}

// One step; false when nothing more can be done now.
static bool
run_step(struct queue_worker *qw, struct queue *q)
{
    enum expiry_front front = expiry_clear_front(qw, q, qw->w->now_ms);
    if (LV_UNLIKELY(front != FRONT_IS_CLEAR))
        return front == FRONT_HAS_MORE && q->top != NULL;
    struct consumer_group *top = q->top;
    enum next_message next = top != NULL ? queue_next(q) : NEXT_NONE;
    if (LV_UNLIKELY(next == NEXT_ABSENT)) {
        next = durable_load(qw, q); // without memory it is tried again in the next turn
        if (next == NEXT_HERE)
            return true; // another one is in front now, and may have expired
    }
    if (next != NEXT_HERE)
        return false;
    if (may_ask(q)) {
        consumer_ask(qw, LV_CONTAINER_OF(list_first(&top->askable), struct consumer, run));
        return true;
    }
    if (list_is_empty(&top->active))
        return false;
    struct consumer *c = LV_CONTAINER_OF(top->active.next, struct consumer, run);
    struct delivery d = {.session = c->session, .queue = q->handle, .consumer_id = c->consumer_id};
    unsigned flags = (c->flags & CONSUMER_NO_ACK) != 0 ? QUEUE_TAKE_NO_ACK : 0;
    if (!queue_take(qw, q, c->handle, flags, &d))
        return false;
    consumer_sent(qw, c, d.msg);
    notify_deliver(qw, &d);
    return true;
}

size_t
queue_run(struct queue_worker *qw, struct queue *q)
{
    queue_enter(q);
    if (q->returning > 0)
        queue_retry_returning(qw, q);
    size_t done = 0, buried = LV_UNLIKELY(dying_is_runnable(q)) ? dying_run(qw, q) : 0;
    while (done < QUEUE_SHARE && !q->is_dead && q->holds == 0 && q->top != NULL) {
        if (!run_step(qw, q))
            break;
        done++;
    }
    if (LV_UNLIKELY(q->disk != NULL) && !q->is_dead && done > 0)
        durable_read_ahead(qw, q);
    queue_touch(qw, q);
    queue_leave(qw, q);
    return done + buried;
}

// Round after round, until nobody can do anything or the time is over; who has more to do goes to the end of the list.
static void
run_all(struct queue_worker *qw)
{
    uint64_t end_ns = qw->is_untimed ? UINT64_MAX : clock_mono_ns() + DISPATCH_NS_MAX;
    size_t work = 0;
    for (struct list *at; (at = list_pop_front(&qw->runnable)) != NULL;) {
        work += QUEUE_COST + queue_run(qw, LV_CONTAINER_OF(at, struct queue, run));
        if (work >= CLOCK_EVERY) {
            work = 0;
            if (clock_mono_ns() >= end_ns)
                break;
        }
    }
}

bool
queue_dispatch_hook(struct worker *w, void *ctx)
{
    struct queue_worker *qw = ctx;
    if (!list_is_empty(&qw->runnable))
        run_all(qw);
    qw->dispatched_turn = w->turn; // what becomes runnable from here on waits for the next turn
    bool has_more = LV_UNLIKELY(!list_is_empty(&qw->limited)) && limit_step(qw);
    return has_more || !list_is_empty(&qw->runnable);
}
