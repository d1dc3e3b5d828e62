// test_paged.c: bodies that are not in memory: order, gets in line, purge and delete while one is on its way,
// losses.
#include "fixture.h"

#include "src/base/log.h"
#include "src/base/mem.h"

static void
open_paged(uint64_t seed, uint32_t page_percent)
{
    fx_open(
        &(struct fx_config){.workers = 2, .store_seed = seed, .page_percent = page_percent, .delay_max = 5});
    for (int i = 0; i < FX_SESSIONS; i++)
        fx_session_on(i, (int)(seed % 2));
}

static void
order_holds(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        open_paged(seed, 20 * (uint32_t)seed - 20);
        lv_handle q = fx_queue(0, 0);
        fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .prefetch = 10});
        for (uint64_t id = 1; id <= 200; id++) {
            fx_publish(1, q, id);
            if (id % 10 == 0)
                fx_turns(1);
        }
        size_t settled = 0;
        for (int round = 0; settled < 200; round++) {
            assert_true(round < 10000);
            fx_turns(1);
            while (settled < fx->sessions[0].count) {
                assert_int_equal(fx->sessions[0].deliveries[settled].id, settled + 1);
                fx_settle(0, q, SETTLE_ACK, fx->sessions[0].deliveries[settled++].seq);
            }
        }
        fx_assert_nothing_left();
        fx_close();
    }
}

// A message given back while a later one is being fetched goes first.
static void
returned_overtakes_fetch(void **state)
{
    open_paged(2, 100);
    lv_handle q = fx_queue(0, 0);
    struct fx_delivery d;
    fx_publish(0, q, 1);
    fx_publish(0, q, 2);
    assert_int_equal(fx_get(0, q, false, &d), 1);
    fx_quiet();
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .window_count = 10});
    fx_turns(1); // the fetch of 2 has begun
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    assert_int_equal(fx_stats(q).ready, 2);
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, 2);
    assert_int_equal(fx->sessions[1].deliveries[0].id, 1);
    assert_true(fx->sessions[1].deliveries[0].is_redelivered);
    assert_int_equal(fx->sessions[1].deliveries[1].id, 2);
    assert_false(fx->sessions[1].deliveries[1].is_redelivered);
    fx_close();
}

struct pending_get {
    unsigned order; // of the answer, from 1
    enum queue_outcome outcome;
    uint64_t id;
};
static unsigned answers;

static void
get_done(struct queue_request *r)
{
    struct pending_get *g = r->ctx;
    assert_int_equal(g->order, 0);
    g->order = ++answers;
    g->outcome = r->outcome;
    g->id = r->msg != NULL ? fx_message_id(r->msg) : 0;
    queue_request_free(r);
}

static void
send_gets(lv_handle q, struct pending_get *gets_out, int count)
{
    answers = 0;
    fx_as(fx_member(fx->sessions[0].worker));
    for (int i = 0; i < count; i++) {
        gets_out[i] = (struct pending_get){0};
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, q);
        r->done = get_done;
        r->ctx = &gets_out[i];
        r->is_no_ack = i % 2 == 0;
        r->session = fx->sessions[0].handle;
        queue_request_send(r);
    }
}

static void
gets_wait_in_line(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        open_paged(seed, seed < 3 ? 100 : 50);
        lv_handle q = fx_queue(0, 0);
        for (uint64_t id = 1; id <= 5; id++)
            fx_publish(0, q, id);
        fx_quiet();
        struct pending_get all[7];
        send_gets(q, all, 7);
        if (seed < 3)
            assert_int_equal(answers, 0);
        fx_quiet();
        for (unsigned i = 0; i < 7; i++) {
            assert_int_equal(all[i].order, i + 1);
            assert_int_equal(all[i].outcome, i < 5 ? QUEUE_OK : QUEUE_EMPTY);
            assert_int_equal(all[i].id, i < 5 ? i + 1 : 0);
        }
        assert_int_equal(fx_stats(q).unacked, 2);
        fx_close();
    }
}

static void
purge_while_fetching(void **state)
{
    open_paged(2, 100);
    lv_handle q = fx_queue(0, 0);
    uint64_t n;
    for (uint64_t id = 1; id <= 3; id++)
        fx_publish(0, q, id);
    fx_quiet();
    struct pending_get all[3];
    send_gets(q, all, 3);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, &n), QUEUE_OK);
    assert_int_equal(n + answers, 3); // the one under way counts, unless it arrived before
    fx_publish(0, q, 4);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, &n), QUEUE_OK);
    assert_int_equal(n, 1);
    fx_publish(0, q, 5);
    fx_quiet();
    assert_int_equal(answers, 3);
    assert_int_equal(all[answers == 3 && all[0].id == 1 ? 1 : 0].id, 5);
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready + s.ready_bytes, 0);
    fx_close();
}

static void
delete_while_fetching(void **state)
{
    open_paged(2, 100);
    lv_handle q = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 3; id++)
        fx_publish(0, q, id);
    fx_quiet();
    struct pending_get all[2];
    send_gets(q, all, 2);
    fx_as(fx_writer());
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_DELETE, q);
    struct pending_get deleted = {0};
    r->ctx = &deleted;
    r->done = get_done;
    queue_request_send(r);
    worker_turn(fx_writer());
    fx_quiet();
    assert_int_equal(all[1].outcome, QUEUE_GONE);
    fx_assert_nothing_left();
    // The slot is taken by a new queue while the old answer is still to come.
    fx_as(fx_writer());
    queue_handle_release(q);
    lv_handle fresh = fx_queue(0, 0);
    assert_int_equal(handle_index(fresh), handle_index(q));
    fx_publish(0, fresh, 9);
    assert_int_equal(fx_get(0, fresh, true, NULL), 9);
    fx_close();
}

static void
lost_bodies(void **state)
{
    // The complaint in the log is expected.
    assert_int_equal(log_configure(&(struct log_config){.file_level = LOG_NONE, .console_level = LOG_NONE}),
                     0);
    open_paged(4, 100);
    lv_handle q = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 100; id++)
        fx_publish(1, q, id);
    fx_quiet();
    struct ready_cursor at = {0};
    for (const struct ready_entry *e; (e = ready_next(&fx_queue_of(q)->ready, &at)) != NULL;)
        if (e->seq % 3 == 0)
            fx_rot(q, e);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_NO_ACK});
    fx_quiet();
    size_t got = fx->sessions[0].count;
    assert_int_equal(got, 67);
    for (size_t i = 1; i < got; i++)
        assert_true(fx->sessions[0].deliveries[i].id > fx->sessions[0].deliveries[i - 1].id);
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready + s.ready_bytes + s.persistent, 0);
    fx_assert_nothing_left();
    fx_close();
}

static void
no_memory_to_fetch(void **state)
{
    open_paged(2, 100);
    lv_handle q = fx_queue(0, 0);
    fx_publish(0, q, 1);
    fx_quiet();
    for (uint64_t n = 1; n <= 5; n++) {
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, q);
        mem_test_fail_after(n);
        r = fx_request(0, r);
        mem_test_fail_after(0);
        // Whatever it was wanted for, nothing is lost.
        assert_true(r->outcome == QUEUE_OK || r->outcome == QUEUE_NO_MEMORY);
        if (r->outcome == QUEUE_OK)
            fx_settle(0, q, SETTLE_RETURN, r->seq);
        queue_request_free(r);
        fx_let_go(q);
    }
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q});
    mem_test_fail_after(1);
    fx_turns(1);
    mem_test_fail_after(0);
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, 1);
    fx_close();
}

// A grant of a shared limit may wait for a body; it comes back when the body is gone.
static void
grants_and_fetches(void **state)
{
    open_paged(2, 100);
    lv_handle q = fx_queue(0, 0);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_SHARED_LIMIT});
    fx_publish(0, q, 1);
    fx_quiet();
    assert_int_equal(fx->sessions[0].ready_calls, 1);
    consumer_grant_shared(c, 1);
    fx_turns(1);
    assert_int_equal(fx_simple(1, QUEUE_REQUEST_PURGE, q, NULL), QUEUE_OK);
    fx_quiet();
    assert_int_equal(fx->sessions[0].count + fx->sessions[0].unused, 1);
    fx_publish(0, q, 2);
    fx_quiet();
    fx_as(fx_member(0));
    consumer_grant_shared(c, 5);
    fx_quiet();
    assert_int_equal(fx->sessions[0].count + fx->sessions[0].unused, 6);
    assert_true(fx->sessions[0].unused >= 4);
    fx_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_holds),           cmocka_unit_test(returned_overtakes_fetch),
        cmocka_unit_test(gets_wait_in_line),     cmocka_unit_test(purge_while_fetching),
        cmocka_unit_test(delete_while_fetching), cmocka_unit_test(lost_bodies),
        cmocka_unit_test(no_memory_to_fetch),    cmocka_unit_test(grants_and_fetches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
