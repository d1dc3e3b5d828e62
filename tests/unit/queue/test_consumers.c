// test_consumers.c: who gets the next message: turns, priorities, prefetch, windows, limits shared between
// queues.
#include "fixture.h"

#include "src/base/mem.h"

static size_t
count_of(int session)
{
    return fx->sessions[session].count;
}

static void
publish_many(lv_handle q, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++)
        fx_publish(15, q, id);
}

static void
ack_all(int session, lv_handle q)
{
    for (size_t i = 0; i < count_of(session); i++) {
        if (fx->sessions[session].deliveries[i].queue == q)
            fx_settle(session, q, SETTLE_ACK, fx->sessions[session].deliveries[i].seq);
    }
}

static void
round_robin_case(void)
{
    lv_handle q = fx_queue(0, 0);
    for (int i = 0; i < 3; i++)
        fx_consumer(&(struct fx_consume){.session = i, .queue = q, .flags = CONSUMER_NO_ACK});
    publish_many(q, 1, 300);
    fx_quiet();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_of(i), 100);
        for (size_t k = 0; k < 100; k++)
            assert_int_equal(fx->sessions[i].deliveries[k].id, 3 * k + (size_t)i + 1);
    }
    // Also over turns: one message at a time still goes round.
    for (uint64_t id = 301; id <= 306; id++) {
        fx_publish(15, q, id);
        fx_quiet();
        assert_int_equal(count_of((int)((id - 301) % 3)), 101 + (id - 301) / 3);
    }
}
FX_PLACED(round_robin)

static void
priorities_case(void)
{
    lv_handle q = fx_queue(0, 0);
    const int32_t priorities[] = {0, 10, -5, 10, INT32_MAX};
    lv_handle c[5];
    for (int i = 0; i < 5; i++)
        c[i] = fx_consumer(
            &(struct fx_consume){.session = i, .queue = q, .priority = priorities[i], .prefetch = 2});
    publish_many(q, 1, 2);
    fx_quiet();
    assert_int_equal(count_of(4), 2);
    publish_many(q, 3, 6);
    fx_quiet();
    assert_int_equal(count_of(1), 2); // 4 is blocked; 1 and 3 in turn
    assert_int_equal(count_of(3), 2);
    assert_int_equal(fx->sessions[1].deliveries[0].id, 3);
    assert_int_equal(fx->sessions[3].deliveries[0].id, 4);
    publish_many(q, 7, 9);
    fx_quiet();
    assert_int_equal(count_of(0), 2);
    assert_int_equal(count_of(2), 1);
    // A higher one that has room again goes first.
    ack_all(4, q);
    publish_many(q, 10, 12);
    fx_quiet();
    assert_int_equal(count_of(4), 4);
    assert_int_equal(count_of(2), 2);
    assert_int_equal(fx_cancel(4, q, c[4]), QUEUE_OK);
    publish_many(q, 13, 20);
    fx_quiet();
    assert_int_equal(fx_stats(q).ready, 8);
    ack_all(3, q);
    fx_quiet();
    assert_int_equal(count_of(3), 4);
    for (int i = 0; i < 4; i++)
        fx_cancel(i, q, c[i]);
    assert_int_equal(fx_stats(q).consumers, 0);
    assert_int_equal(fx_stats(q).unacked, 10);
}
FX_PLACED(priorities)

static void
prefetch_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .prefetch = 3});
    publish_many(q, 1, 100);
    fx_quiet();
    assert_int_equal(count_of(0), 3);
    for (size_t i = 0; i < 10; i++) {
        const enum settle_kind kinds[] = {SETTLE_ACK, SETTLE_REJECT};
        fx_settle(0, q, kinds[i % 2], fx->sessions[0].deliveries[i].seq);
        fx_quiet();
        assert_int_equal(count_of(0), 4 + i);
        assert_int_equal(fx_stats(q).unacked, 3);
    }
    fx_settle(0, q, SETTLE_REQUEUE, fx->sessions[0].deliveries[11].seq);
    fx_quiet();
    assert_int_equal(count_of(0), 14);
    assert_int_equal(fx->sessions[0].deliveries[13].id, fx->sessions[0].deliveries[11].id);
    // Cancelled: what is out stays out until it is settled, and settles of it still count.
    assert_int_equal(fx_cancel(0, q, c), QUEUE_OK);
    assert_int_equal(fx_stats(q).unacked, 3);
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .prefetch = 1});
    fx_settle(0, q, SETTLE_ACK, fx->sessions[0].deliveries[10].seq);
    fx_quiet();
    assert_int_equal(fx_stats(q).unacked, 3);
    assert_int_equal(count_of(1), 1);
    // Without acknowledgements there is nothing to count.
    lv_handle q2 = fx_queue(0, 0);
    fx_consumer(&(struct fx_consume){.session = 2, .queue = q2, .prefetch = 1, .flags = CONSUMER_NO_ACK});
    publish_many(q2, 1, 50);
    fx_quiet();
    assert_int_equal(count_of(2), 50);
}
FX_PLACED(prefetch)

static void
windows_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle a = fx_consumer(
        &(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_NO_ACK, .window_count = 5});
    publish_many(q, 1, 100);
    fx_quiet();
    assert_int_equal(count_of(0), 5);
    fx_window(0, a, 10);
    fx_quiet();
    assert_int_equal(count_of(0), 15);
    struct message *m = fx_message(1, 16);
    uint32_t weight = (uint32_t)message_weight(m);
    message_unref(m);
    // Bytes: overdrawn by one message at most, then nothing before they are positive again.
    lv_handle b = fx_consumer(&(struct fx_consume){.session = 1,
                                                   .queue = q,
                                                   .flags = CONSUMER_NO_ACK,
                                                   .window_count = 1000,
                                                   .window_bytes = 2 * weight + 1});
    fx_quiet();
    assert_int_equal(count_of(1), 3);
    fx_as(fx_member(fx->sessions[1].worker));
    consumer_grant_window(b, 0, weight - 1);
    fx_quiet();
    assert_int_equal(count_of(1), 3); // exactly used up
    fx_as(fx_member(fx->sessions[1].worker));
    consumer_grant_window(b, 0, 1);
    fx_quiet();
    assert_int_equal(count_of(1), 4);
    // No overflow.
    for (int i = 0; i < 3; i++) {
        fx_as(fx_member(fx->sessions[1].worker));
        consumer_grant_window(b, UINT32_MAX, UINT32_MAX);
    }
    fx_quiet();
    assert_int_equal(count_of(0) + count_of(1), 100);
    assert_int_equal(count_of(0), 15);
}
FX_PLACED(windows)

// Many consumers that cannot take anything cost a delivery nothing; those that can get everything.
static void
blocked_case(void)
{
    lv_handle q = fx_queue(0, 0);
    for (int i = 0; i < 200; i++)
        fx_consumer(
            &(struct fx_consume){.session = 0, .queue = q, .prefetch = 1, .priority = i % 3, .id = 1});
    publish_many(q, 1, 200);
    fx_quiet();
    assert_int_equal(count_of(0), 200);
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .priority = -1});
    publish_many(q, 201, 5000);
    fx_quiet();
    assert_int_equal(count_of(1), 4800);
}
FX_PLACED(blocked)

// A busy queue does not keep others waiting: 200 of them advance together.
static void
fairness_case(void)
{
    lv_handle busy = fx_queue(0, 0);
    lv_handle greedy = fx_consumer(
        &(struct fx_consume){.session = 0, .queue = busy, .flags = CONSUMER_NO_ACK, .window_count = 1});
    lv_handle queues[50];
    for (int i = 0; i < 50; i++) {
        queues[i] = fx_queue(0, 0);
        fx_consumer(&(struct fx_consume){.session = 1, .queue = queues[i], .flags = CONSUMER_NO_ACK});
    }
    publish_many(busy, 1, 20000);
    fx_quiet();
    fx_window(0, greedy, UINT32_MAX);
    for (int i = 0; i < 50; i++)
        fx_publish(15, queues[i], 1);
    fx_turns(6);
    assert_int_equal(count_of(1), 50);
    assert_true(count_of(0) > 1);
    fx_quiet();
    assert_int_equal(count_of(0), 20000);
}
FX_PLACED(fairness)

// --- limits shared between queues ---

static void
grant(int session, lv_handle consumer, uint32_t count)
{
    fx_as(fx_member(fx->sessions[session].worker));
    consumer_grant_shared(consumer, count);
}

static void
shared_basics_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle c = fx_consumer(
        &(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_SHARED_LIMIT, .prefetch = 1});
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 0); // nothing there: nothing asked
    publish_many(q, 1, 10);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 1); // once
    assert_true(fx->sessions[0].ready_consumer == c);
    assert_int_equal(count_of(0), 0); // nothing without a grant
    publish_many(q, 11, 12);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 1);
    grant(0, c, 3);
    fx_quiet();
    assert_int_equal(count_of(0), 3);                 // the prefetch of its own is ignored
    assert_int_equal(fx->sessions[0].ready_calls, 2); // more is there
    grant(0, c, 0);
    fx_quiet();
    publish_many(q, 13, 13);
    ack_all(0, q);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 2); // refused: not asked again by itself
    fx_as(fx_member(fx->sessions[0].worker));
    consumer_poke(c);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 3);
    grant(0, c, 100);
    fx_quiet();
    assert_int_equal(count_of(0), 13);
    assert_int_equal(fx->sessions[0].unused, 90); // at once
    grant(0, c, 7);                               // unasked for, nothing there
    fx_quiet();
    assert_int_equal(fx->sessions[0].unused, 97);
    publish_many(q, 14, 14);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 4);
    fx_simple(1, QUEUE_REQUEST_PURGE, q, NULL);
    grant(0, c, 1); // it was purged meanwhile
    fx_quiet();
    assert_int_equal(fx->sessions[0].unused, 98);
    assert_int_equal(count_of(0), 13);
}
FX_PLACED(shared_basics)

// The limit goes away while a question is open: the grant that answers it comes back, or the session would count it for ever.
static void
shared_late_grant_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_SHARED_LIMIT});
    publish_many(q, 1, 3);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 1);
    fx_as(fx_member(fx->sessions[0].worker));
    consumer_set_shared(c, false);
    grant(0, c, 5);
    fx_quiet();
    assert_int_equal(count_of(0), 3); // no limit, no question
    assert_int_equal(fx->sessions[0].unused, 5);
    fx_as(fx_member(fx->sessions[0].worker));
    consumer_set_shared(c, true);
    grant(0, c, 2); // the answer to a question asked before both
    fx_quiet();
    assert_int_equal(fx->sessions[0].unused, 7);
    publish_many(q, 4, 4);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 2);
}
FX_PLACED(shared_late_grant)

// One message asks one consumer, not all; a refusal passes the question on; a cancel does too.
static void
shared_one_question_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle c[4];
    for (int i = 0; i < 4; i++)
        c[i] = fx_consumer(&(struct fx_consume){.session = i, .queue = q, .flags = CONSUMER_SHARED_LIMIT});
    lv_handle low = fx_consumer(&(struct fx_consume){.session = 5, .queue = q, .priority = -1});
    publish_many(q, 1, 1);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 1);
    assert_int_equal(fx->sessions[1].ready_calls, 0);
    assert_int_equal(count_of(5), 0); // waits for the higher one's answer
    grant(0, c[0], 0);
    fx_quiet();
    assert_int_equal(fx->sessions[1].ready_calls, 1);
    assert_int_equal(fx_cancel(1, q, c[1]), QUEUE_OK);
    fx_quiet();
    assert_int_equal(fx->sessions[2].ready_calls, 1);
    publish_many(q, 2, 2);
    fx_quiet();
    assert_int_equal(fx->sessions[3].ready_calls, 1);
    grant(3, c[3], 1);
    fx_quiet();
    assert_int_equal(count_of(3), 1);
    grant(2, c[2], 0);
    fx_quiet();
    // 3 may be asked for the next one; it refuses, and the lower one gets it.
    assert_int_equal(fx->sessions[3].ready_calls, 2);
    grant(3, c[3], 0);
    fx_quiet();
    assert_int_equal(count_of(5), 1);
    // A grant for one whose window is used up goes back.
    fx_cancel(5, q, low);
    lv_handle narrow = fx_consumer(&(struct fx_consume){
        .session = 6, .queue = q, .flags = CONSUMER_SHARED_LIMIT, .window_count = 1, .priority = 5});
    publish_many(q, 3, 5);
    fx_quiet();
    assert_int_equal(fx->sessions[6].ready_calls, 1);
    grant(6, narrow, 3);
    fx_quiet();
    assert_int_equal(count_of(6), 1);
    assert_int_equal(fx->sessions[6].unused, 2);
    // Cancelled with a grant out: the session gets it back.
    fx_window(6, narrow, 1);
    fx_quiet();
    assert_int_equal(fx->sessions[6].ready_calls, 2);
    assert_int_equal(fx_cancel(6, q, narrow), QUEUE_OK);
    grant(6, narrow, 1); // stale
    fx_quiet();
    assert_int_equal(count_of(6), 1);
}
FX_PLACED(shared_one_question)

// Grants do not wait behind a higher group that became able to take everything.
static void
shared_behind_higher_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle high =
        fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .prefetch = 1, .priority = 1});
    lv_handle low =
        fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .flags = CONSUMER_SHARED_LIMIT});
    publish_many(q, 1, 3);
    fx_quiet();
    assert_int_equal(count_of(0), 1);
    assert_int_equal(fx->sessions[1].ready_calls, 1);
    fx_as(fx_member(fx->sessions[0].worker));
    queue_settle(q, SETTLE_ACK, &fx->sessions[0].deliveries[0].seq, 1);
    fx_window(0, high, 1);
    grant(1, low, 5);
    fx_quiet();
    assert_int_equal(count_of(0) + count_of(1) + fx_stats(q).ready, 3);
    // Whichever came first, nothing is parked: what was not used is back, or asked for anew.
    assert_int_equal(count_of(1) + fx->sessions[1].unused, 5);
}
FX_PLACED(shared_behind_higher)

// A session with global prefetch 1 on two queues of two workers, as Celery has it: never two out, both
// served.
static struct celery {
    lv_handle queues[2], consumers[2];
    unsigned limit, out, granted; // granted: given, neither used nor returned
    unsigned max_out, served[2];
    bool is_waiting[2]; // answered 0
    struct fx_delivery held[8];
    unsigned held_count;
    unsigned next_poke;
    // Room goes as a grant to the one that waits: fairer than a poke, which the near queue wins.
    bool is_granting;
} celery;

static void
celery_poke(void)
{
    for (unsigned i = 0; i < 2 && celery.out + celery.granted < celery.limit; i++) {
        unsigned k = (celery.next_poke + i) % 2;
        if (!celery.is_waiting[k])
            continue;
        celery.is_waiting[k] = false;
        celery.next_poke = k + 1;
        if (celery.is_granting) {
            celery.granted++;
            consumer_grant_shared(celery.consumers[k], 1);
        } else {
            consumer_poke(celery.consumers[k]);
            return; // it asks, and the other gets its turn after that
        }
    }
}

static void
celery_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    bool has_room = celery.out + celery.granted < celery.limit;
    assert_true(consumer_id < 2);
    if (has_room)
        celery.granted++;
    else
        celery.is_waiting[consumer_id] = true;
    consumer_grant_shared(consumer, has_room ? 1 : 0);
}

static void
celery_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
    assert_true(celery.granted >= count);
    celery.granted -= count;
    celery_poke();
}

static void
celery_deliver(struct worker *w, const struct delivery *d)
{
    assert_true(celery.granted > 0); // never without a grant
    celery.granted--;
    celery.out++;
    celery.max_out = LV_MAX(celery.max_out, celery.out);
    celery.served[d->consumer_id]++;
    celery.held[celery.held_count++] = (struct fx_delivery){.queue = d->queue, .seq = d->seq};
    message_unref(d->msg);
}

static void
celery_work(unsigned limit, uint64_t chaos_seed, int worker_of_session, bool is_granting)
{
    fx_open(&(struct fx_config){.workers = 3, .chaos_seed = chaos_seed});
    celery = (struct celery){.limit = limit, .is_granting = is_granting};
    fx->on_ready = celery_ready;
    fx->on_unused = celery_unused;
    fx->on_deliver = celery_deliver;
    fx_session_on(0, worker_of_session);
    fx_session_on(15, 2);
    for (uint32_t i = 0; i < 2; i++) {
        celery.queues[i] = fx_queue((int)i, 0);
        celery.consumers[i] = fx_consumer(&(struct fx_consume){
            .session = 0, .queue = celery.queues[i], .id = i, .flags = CONSUMER_SHARED_LIMIT});
    }
    enum { EACH = 60 };
    publish_many(celery.queues[0], 1, EACH);
    publish_many(celery.queues[1], 1, EACH);
    bool had_both = false;
    for (int round = 0; celery.served[0] + celery.served[1] < 2 * EACH || celery.out > 0; round++) {
        assert_true(round < 100000);
        fx_turns(1);
        fx_as(fx_member(worker_of_session));
        while (celery.held_count > 0) {
            struct fx_delivery d = celery.held[--celery.held_count];
            queue_settle(d.queue, SETTLE_ACK, &d.seq, 1);
            celery.out--;
        }
        celery_poke();
        // Nobody starves: with one place they take turns (once the publishes have arrived); with more the
        // nearer one is only as much faster as its way.
        unsigned most = LV_MAX(celery.served[0], celery.served[1]);
        unsigned least = LV_MIN(celery.served[0], celery.served[1]);
        if (is_granting && most < EACH)
            assert_true(limit == 1 ? most - least <= 20 : least + 4 >= most / 8);
        had_both |= celery.served[0] > 0 && celery.served[1] > 0;
    }
    assert_true(had_both);
    assert_true(celery.max_out <= limit);
    fx_quiet();
    assert_int_equal(celery.granted, 0); // nothing parked
    fx_close();
}

static void
shared_prefetch_over_two_queues(void **state)
{
    for (unsigned limit = 1; limit <= 3; limit++) {
        for (int worker = 0; worker < 3; worker++) {
            for (uint64_t chaos = 0; chaos < 4; chaos++) {
                celery_work(limit, chaos, worker, false);
                celery_work(limit, chaos, worker, true);
            }
        }
    }
}

// A consumer cancelled by its own delivery's handler, a queue deleted by it: the dispatcher goes on safely.
static lv_handle reentrant_queue;
static lv_handle reentrant_consumer;
static unsigned reentrant_count;

static void
free_request(struct queue_request *r)
{
    queue_request_free(r);
}

static void
reentrant_deliver(struct worker *w, const struct delivery *d)
{
    reentrant_count++;
    if (reentrant_count < 5)
        queue_settle(d->queue, SETTLE_ACK, &d->seq, 1);
    else if (reentrant_count == 5)
        queue_settle(d->queue, SETTLE_RETURN, &d->seq, 1);
    message_unref(d->msg);
    if (reentrant_count != 5 && reentrant_count != 10)
        return;
    struct queue_request *r = queue_request_new(
        reentrant_count == 5 ? QUEUE_REQUEST_CANCEL : QUEUE_REQUEST_DELETE, reentrant_queue);
    r->consumer = reentrant_consumer;
    r->done = free_request;
    queue_request_send(r);
}

static void
reentrant_calls(void **state)
{
    fx_open_plain(1);
    fx->on_deliver = reentrant_deliver;
    reentrant_count = 0;
    reentrant_queue = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 20; id++)
        fx_publish(0, reentrant_queue, id);
    reentrant_consumer = fx_consumer(&(struct fx_consume){.session = 0, .queue = reentrant_queue});
    fx_quiet();
    assert_int_equal(reentrant_count, 5);
    assert_int_equal(fx_stats(reentrant_queue).ready, 16);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = reentrant_queue});
    fx_quiet();
    assert_int_equal(reentrant_count, 10);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_STATUS, reentrant_queue, NULL), QUEUE_GONE);
    fx_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin),
        cmocka_unit_test(priorities),
        cmocka_unit_test(prefetch),
        cmocka_unit_test(windows),
        cmocka_unit_test(blocked),
        cmocka_unit_test(fairness),
        cmocka_unit_test(shared_basics),
        cmocka_unit_test(shared_late_grant),
        cmocka_unit_test(shared_one_question),
        cmocka_unit_test(shared_behind_higher),
        cmocka_unit_test(shared_prefetch_over_two_queues),
        cmocka_unit_test(reentrant_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
