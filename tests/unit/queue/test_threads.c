// test_threads.c: the same with real threads, for ThreadSanitizer: every worker publishes to a queue on every
// worker, consumes from all of them, acknowledges, gives back, grants windows and shared limits, gets and
// purges meanwhile.
#include "fixture.h"

#include "src/base/mem.h"

enum { WORKERS = 3, EACH = 3000, WINDOW = 50, A_TURN = 40 };

static lv_handle queues[WORKERS];
static lv_handle consumers[WORKERS][WORKERS]; // by session and queue; written on the session's thread
static _Atomic uint64_t settled;              // partner: all workers and the main thread
static uint64_t total;

static struct publisher {
    uint64_t published; // to each queue
    uint64_t seen[WORKERS];
    uint64_t windows[WORKERS];
    unsigned answers;
} publishers[WORKERS]; // each its own thread's

static void
stop_all(struct worker *to, void *payload)
{
    for (int i = 0; i < to->crew->n_members; i++)
        worker_stop(to->crew->members[i]);
}

static void
count_one(struct worker *w)
{
    if (atomic_fetch_add_explicit(&settled, 1, memory_order_relaxed) + 1 == total)
        worker_post(crew_extra_member(w->crew, CREW_MAIN), stop_all, NULL, 0, 0);
}

static void
deliver(struct worker *w, const struct delivery *d)
{
    struct publisher *p = &publishers[w->index];
    uint32_t from = d->consumer_id;
    assert_true(queues[from] == d->queue);
    uint64_t n = ++p->seen[from];
    if (n % 7 == 3 && !d->is_redelivered) {
        queue_settle(d->queue, SETTLE_REQUEUE, &d->seq, 1);
    } else {
        queue_settle(d->queue, n % 5 == 0 ? SETTLE_REJECT : SETTLE_ACK, &d->seq, 1);
        count_one(w);
    }
    message_unref(d->msg);
    if (++p->windows[from] == WINDOW / 2) {
        p->windows[from] = 0;
        consumer_grant_window(consumers[w->index][from], WINDOW / 2, 0);
    }
}

static void
ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    consumer_grant_shared(consumer, 3);
}

static void
unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
}

static void
got(struct queue_request *r)
{
    if (r->outcome == QUEUE_OK)
        count_one(worker_self);
    queue_request_free(r);
}

static bool
publish_hook(struct worker *w, void *ctx)
{
    struct publisher *p = ctx;
    if (p->published == EACH || worker_is_congested(w))
        return false;
    for (int n = 0; n < A_TURN && p->published < EACH; n++, p->published++) {
        struct message *m = fx_message(p->published, 32);
        for (int i = 0; i < WORKERS; i++)
            queue_publish(m, &queues[i], 1, fx->sessions[w->index].handle, p->published);
        message_unref(m);
    }
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, queues[p->published % WORKERS]);
    r->session = fx->sessions[w->index].handle;
    r->is_no_ack = true;
    r->done = got;
    queue_request_send(r);
    return p->published < EACH;
}

static void
threads_work(void **state)
{
    fx_open(&(struct fx_config){.workers = WORKERS, .store_seed = 3, .page_percent = 2, .has_files = true});
    fx->on_deliver = deliver;
    fx->on_ready = ready;
    fx->on_unused = unused;
    total = (uint64_t)WORKERS * WORKERS * EACH;
    for (int i = 0; i < WORKERS; i++) {
        fx_session_on(i, i);
        queues[i] = fx_queue(i, 0);
    }
    for (int session = 0; session < WORKERS; session++) {
        for (int i = 0; i < WORKERS; i++)
            consumers[session][i] =
                fx_consumer(&(struct fx_consume){.session = session,
                                                 .queue = queues[i],
                                                 .id = (uint32_t)i,
                                                 .flags = i == 1 ? CONSUMER_SHARED_LIMIT : 0,
                                                 .prefetch = 20,
                                                 .window_count = WINDOW});
        worker_add_hook(fx_member(session), PHASE_READ, publish_hook, &publishers[session]);
    }
    assert_int_equal(crew_start(fx->crew), 0);
    worker_run(crew_extra_member(fx->crew, CREW_MAIN));
    crew_join(fx->crew);
    assert_int_equal(atomic_load(&settled), total);
    fx_quiet();
    for (int i = 0; i < WORKERS; i++) {
        struct queue_stats s = fx_stats(queues[i]);
        assert_int_equal(s.ready + s.unacked, 0);
        assert_int_equal(s.published, WORKERS * EACH);
        assert_int_equal(fx->sessions[i].accepted, WORKERS * EACH);
        assert_int_equal(queue_worker_message_bytes(fx_member(i)), 0);
    }
    fx_close();
}

// A message that comes after the dispatch phase of a turn does not wait for the next event.
static lv_handle late_queue;
static bool is_late_sent;

static bool
publish_late(struct worker *w, void *ctx)
{
    if (!is_late_sent) {
        is_late_sent = true;
        struct message *m = fx_message(1, 8);
        queue_publish(m, &late_queue, 1, 0, 0);
        message_unref(m);
    }
    return false;
}

static void
late_deliver(struct worker *w, const struct delivery *d)
{
    message_unref(d->msg);
    worker_stop(w);
}

static void
give_up(struct ev_loop *loop, ev_timer *timer, int events)
{
    fail_msg("the worker slept with a message to deliver");
}

static void
late_messages_are_not_left(void **state)
{
    fx_open_plain(1);
    is_late_sent = false;
    late_queue = fx_queue(0, 0);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = late_queue, .flags = CONSUMER_NO_ACK});
    fx->on_deliver = late_deliver;
    fx_quiet();
    worker_add_hook(fx_member(0), PHASE_WRITE, publish_late, NULL);
    ev_timer timer;
    ev_timer_init(&timer, give_up, 5.0, 0.0);
    ev_timer_start(fx_member(0)->loop, &timer);
    worker_run(fx_member(0));
    ev_timer_stop(fx_member(0)->loop, &timer);
    assert_true(is_late_sent);
    fx_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_work),
                                       cmocka_unit_test(late_messages_are_not_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
