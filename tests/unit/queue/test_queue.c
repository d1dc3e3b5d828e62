// test_queue.c: one queue: order, going back, flags, get, purge, delete, handles, exclusive, single active,
// auto-delete. Every case runs with the users on the owner's thread and on another one.
#include "fixture.h"

#include "src/base/clock.h"
#include "src/base/mem.h"

static const struct fx_delivery *
delivery(int session, size_t index)
{
    assert_true(index < fx->sessions[session].count);
    return &fx->sessions[session].deliveries[index];
}

static void
fifo_case(void)
{
    lv_handle q = fx_queue(0, 0);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .id = 7, .flags = CONSUMER_NO_ACK});
    for (uint64_t id = 1; id <= 3000; id++) {
        fx_publish(1, q, id);
        if (id % 500 == 0)
            fx_turns(1);
    }
    fx_quiet();
    assert_int_equal(fx->sessions[0].count, 3000);
    for (size_t i = 0; i < 3000; i++) {
        const struct fx_delivery *d = delivery(0, i);
        assert_int_equal(d->id, i + 1);
        assert_int_equal(d->consumer_id, 7);
        assert_true(d->queue == q && !d->is_redelivered && d->delivery_count == 0);
    }
    assert_int_equal(fx->sessions[1].published_calls, 3000);
    assert_int_equal(fx->sessions[1].accepted, 3000);
    assert_int_equal(fx->sessions[1].last_number, 3000);
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.published, 3000);
    assert_int_equal(s.delivered_no_ack, 3000);
    assert_int_equal(s.ready + s.unacked + s.ready_bytes + s.unacked_bytes, 0);
    assert_int_equal(queue_worker_message_bytes(fx_member(0)), 0);
}
FX_PLACED(fifo)

// Given back in any order, each message returns to its own place.
static void
requeue_places_case(void)
{
    lv_handle q = fx_queue(0, 0);
    struct rng rng;
    rng_init(&rng, 5);
    for (uint64_t id = 1; id <= 100; id++)
        fx_publish(0, q, id);
    uint64_t out[60];
    for (size_t i = 0; i < 60; i++) {
        struct fx_delivery d;
        assert_int_equal(fx_get(0, q, false, &d), i + 1);
        out[i] = d.seq;
    }
    for (size_t n = 60; n > 0; n--) {
        size_t pick = rng_below(&rng, n);
        if (pick % 3 != 0) // some stay out
            fx_settle(0, q, SETTLE_REQUEUE, out[pick]);
        out[pick] = out[n - 1];
    }
    fx_quiet();
    uint64_t last = 0;
    uint64_t count = 0;
    struct fx_delivery d;
    for (uint64_t id; (id = fx_get(0, q, true, &d)) != 0; last = id, count++) {
        assert_true(id > last);
        assert_int_equal(d.is_redelivered, id <= 60);
        assert_int_equal(d.delivery_count, id <= 60 ? 1 : 0);
    }
    assert_int_equal(last, 100);
    assert_int_equal(count, fx_stats(q).got_no_ack);
    assert_int_equal(count + fx_stats(q).unacked, 100);
}
FX_PLACED(requeue_places)

static void
flags_case(void)
{
    lv_handle q = fx_queue(0, 0);
    struct fx_delivery d;
    fx_publish(0, q, 1);
    for (uint32_t round = 0; round < 3; round++) {
        assert_int_equal(fx_get(0, q, false, &d), 1);
        assert_int_equal(d.delivery_count, round);
        assert_int_equal(d.is_redelivered, round > 0);
        fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    }
    assert_int_equal(fx_get(0, q, false, &d), 1);
    fx_settle(0, q, SETTLE_RETURN, d.seq); // never reached the client: as it was
    assert_int_equal(fx_get(0, q, false, &d), 1);
    assert_int_equal(d.delivery_count, 3);
    fx_settle(0, q, SETTLE_REJECT, d.seq);
    fx_publish(0, q, 2);
    assert_int_equal(fx_get(0, q, false, &d), 2);
    fx_settle(0, q, SETTLE_RETURN, d.seq);
    assert_int_equal(fx_get(0, q, false, &d), 2);
    assert_true(!d.is_redelivered && d.delivery_count == 0);
    fx_settle(0, q, SETTLE_ACK, d.seq);
    fx_settle(0, q, SETTLE_ACK, d.seq); // twice: ignored
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    fx_settle(0, q, SETTLE_ACK, 99999);
    fx_quiet();
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready + s.unacked, 0);
    assert_int_equal(s.acked, 1);
    assert_int_equal(s.rejected, 1);
    assert_int_equal(s.requeued, 3);
    assert_int_equal(s.returned, 2);
    assert_int_equal(s.redelivered, 4);
    assert_int_equal(s.got, 7);
}
FX_PLACED(flags)

static void
multiple_settles_case(void)
{
    lv_handle q = fx_queue(0, 0);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q});
    for (uint64_t id = 1; id <= 1000; id++)
        fx_publish(0, q, id);
    fx_quiet();
    assert_int_equal(fx_stats(q).unacked, 1000);
    assert_int_equal(fx_stats(q).unacked_bytes, 16000);
    uint64_t seqs[1000];
    for (size_t i = 0; i < 1000; i++)
        seqs[i] = delivery(0, i)->seq;
    fx_as(fx_member(fx->sessions[0].worker));
    queue_settle(q, SETTLE_ACK, seqs, 600);
    mem_test_fail_after(1); // elsewhere no array: several mails
    queue_settle(q, SETTLE_REJECT, seqs + 600, 150);
    mem_test_fail_after(0);
    queue_settle(q, SETTLE_ACK, seqs + 750, 3);
    queue_settle(q, SETTLE_ACK, seqs, 0);
    fx_quiet();
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.acked, 603);
    assert_int_equal(s.rejected, 150);
    assert_int_equal(s.unacked, 247);
    assert_int_equal(s.unacked_bytes, 247 * 16);
}
FX_PLACED(multiple_settles)

static void
purge_and_delete_case(void)
{
    lv_handle q = fx_queue(0, 0);
    uint64_t n;
    struct fx_delivery d;
    for (uint64_t id = 1; id <= 500; id++)
        fx_publish(0, q, id);
    assert_int_equal(fx_get(0, q, false, &d), 1);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, &n), QUEUE_OK);
    assert_int_equal(n, 499); // ready only
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready + s.ready_bytes, 0);
    assert_int_equal(s.unacked, 1);
    assert_int_equal(s.purged, 499);
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    assert_int_equal(fx_get(0, q, false, &d), 1);
    fx_publish(0, q, 501);
    fx_publish(0, q, 502);

    struct queue_request *r = queue_request_new(QUEUE_REQUEST_DELETE, q);
    r->delete_conditions = DELETE_IF_EMPTY | DELETE_IF_UNUSED;
    r = fx_request(-1, r);
    assert_int_equal(r->outcome, QUEUE_NOT_EMPTY);
    assert_int_equal(r->message_count, 2);
    queue_request_free(r);
    fx_consumer(&(struct fx_consume){.session = 2, .queue = q, .id = 5, .prefetch = 1});
    fx_quiet();
    r = queue_request_new(QUEUE_REQUEST_DELETE, q);
    r->delete_conditions = DELETE_IF_UNUSED;
    r = fx_request(-1, r);
    assert_int_equal(r->outcome, QUEUE_IN_USE);
    queue_request_free(r);
    assert_int_equal(fx_simple(-1, QUEUE_REQUEST_DELETE, q, &n), QUEUE_OK);
    assert_int_equal(n, 1); // ready; two are out
    fx_quiet();
    assert_int_equal(fx->sessions[2].cancelled, 1);
    assert_int_equal(fx->sessions[2].cancelled_consumer, 5);
    assert_string_equal(fx->sessions[2].reason, "queue deleted");
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(queue_worker_queue_count(fx_member(0)), 0);
    assert_int_equal(queue_worker_message_bytes(fx_member(0)), 0);
}
FX_PLACED(purge_and_delete)

// A handle of something gone is harmless, also when its slot has been taken by something new.
static void
stale_handles_case(void)
{
    lv_handle old = fx_queue(0, 0);
    lv_handle consumer = fx_consumer(&(struct fx_consume){.session = 0, .queue = old, .id = 1});
    fx_publish(0, old, 1);
    fx_quiet();
    uint64_t seq = delivery(0, 0)->seq;
    fx_delete(old);
    lv_handle q = fx_queue(0, 0);
    assert_int_equal(handle_index(q), handle_index(old));
    assert_true(q != old);
    fx_forget(1);
    fx_publish(1, old, 2);
    fx_quiet();
    assert_int_equal(fx->sessions[1].accepted, 1); // confirmed, as in RabbitMQ
    assert_int_equal(fx->sessions[1].refused, 0);
    fx_publish(1, q, 3);
    fx_settle(0, old, SETTLE_REQUEUE, seq);
    fx_window(0, consumer, 10);
    fx_as(fx_member(fx->sessions[0].worker));
    consumer_grant_shared(consumer, 3);
    consumer_poke(consumer);
    const enum queue_request_kind kinds[] = {
        QUEUE_REQUEST_STATUS, QUEUE_REQUEST_CONSUME, QUEUE_REQUEST_CANCEL, QUEUE_REQUEST_GET,
        QUEUE_REQUEST_PURGE,  QUEUE_REQUEST_DELETE,  QUEUE_REQUEST_STATS};
    for (size_t i = 0; i < LV_ARRAY_LEN(kinds); i++) {
        assert_int_equal(fx_simple(0, kinds[i], old, NULL), QUEUE_GONE);
        assert_int_equal(fx_simple(0, kinds[i], 0, NULL), QUEUE_GONE);
        assert_int_equal(fx_simple(0, kinds[i], handle_make(0, 9, 123456), NULL), QUEUE_GONE);
        assert_int_equal(fx_simple(0, kinds[i], handle_make(77, 1, 0), NULL), QUEUE_GONE);
    }
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready, 1);
    assert_int_equal(s.unacked, 0);
    assert_int_equal(fx_get(0, q, true, NULL), 3);
    // A consumer of another queue cannot be cancelled through this one.
    lv_handle q2 = fx_queue(0, 0);
    consumer = fx_consumer(&(struct fx_consume){.session = 0, .queue = q2, .id = 2});
    assert_int_equal(fx_cancel(0, q, consumer), QUEUE_OK);
    assert_int_equal(fx_stats(q2).consumers, 1);
    assert_int_equal(fx_cancel(0, q2, consumer), QUEUE_OK);
    assert_int_equal(fx_cancel(0, q2, consumer), QUEUE_OK);
    assert_int_equal(fx_stats(q2).consumers, 0);
}
FX_PLACED(stale_handles)

static void
fan_out_case(void)
{
    lv_handle queues[5];
    for (size_t i = 0; i < 5; i++)
        queues[i] = fx_queue(0, 0);
    fx_delete(queues[3]);
    fx_as(fx_member(fx->sessions[0].worker));
    struct message *m = fx_message(9, 100);
    for (unsigned count = 1; count <= 5; count++)
        queue_publish(m, queues, count, count < 5 ? fx->sessions[0].handle : 0, count);
    message_unref(m);
    fx_quiet();
    assert_int_equal(fx->sessions[0].published_calls, 4);
    assert_int_equal(fx->sessions[0].accepted, 1 + 2 + 3 + 4);
    for (size_t i = 0; i < 5; i++) {
        if (i != 3)
            assert_int_equal(fx_stats(queues[i]).ready, 5 - i);
    }
    // Without memory: refused as a whole elsewhere, one by one here.
    fx_forget(0);
    lv_handle fresh[4];
    for (size_t i = 0; i < 4; i++)
        fresh[i] = fx_queue(0, 0);
    fx_as(fx_member(fx->sessions[0].worker));
    m = fx_message(10, 100);
    mem_test_fail_after(1);
    queue_publish(m, fresh, 4, fx->sessions[0].handle, 1);
    mem_test_fail_after(0);
    message_unref(m);
    fx_quiet();
    assert_int_equal(fx->sessions[0].published_calls, 1);
    assert_int_equal(fx->sessions[0].refused, fx->sessions[0].worker == 0 ? 1 : 4);
    assert_int_equal(fx->sessions[0].accepted, fx->sessions[0].worker == 0 ? 3 : 0);
}
FX_PLACED(fan_out)

static void
exclusive_case(void)
{
    lv_handle q = fx_queue(0, 0);
    lv_handle none;
    lv_handle first =
        fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_EXCLUSIVE});
    assert_int_equal(fx_try_consume(&(struct fx_consume){.session = 1, .queue = q}, &none),
                     QUEUE_EXCLUSIVE_USE);
    assert_int_equal(
        fx_try_consume(&(struct fx_consume){.session = 1, .queue = q, .flags = CONSUMER_EXCLUSIVE}, &none),
        QUEUE_EXCLUSIVE_USE);
    assert_int_equal(fx_get(1, q, true, NULL), 0); // get-empty, no refusal
    assert_int_equal(fx_cancel(0, q, first), QUEUE_OK);
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q});
    assert_int_equal(
        fx_try_consume(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_EXCLUSIVE}, &none),
        QUEUE_EXCLUSIVE_USE);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q});
    assert_int_equal(fx_stats(q).consumers, 2);
}
FX_PLACED(exclusive)

static void
single_active_case(void)
{
    lv_handle q = fx_queue(0, QUEUE_SINGLE_ACTIVE);
    lv_handle c[3];
    assert_int_equal(
        fx_try_consume(&(struct fx_consume){.session = 0, .queue = q, .flags = CONSUMER_EXCLUSIVE}, &c[0]),
        QUEUE_EXCLUSIVE_USE);
    for (int i = 0; i < 3; i++) // priority does not matter
        c[i] = fx_consumer(&(struct fx_consume){.session = i, .queue = q, .prefetch = 2, .priority = i});
    for (uint64_t id = 1; id <= 10; id++)
        fx_publish(3, q, id);
    fx_quiet();
    assert_int_equal(fx->sessions[0].count, 2); // blocked by its prefetch, but the others get nothing
    assert_int_equal(fx->sessions[1].count + fx->sessions[2].count, 0);
    struct queue_request *r = fx_request(-1, queue_request_new(QUEUE_REQUEST_STATS, q));
    assert_int_equal(r->stats.active_consumer, 0);
    assert_true(r->consumers[0].is_active && !r->consumers[1].is_active && !r->consumers[2].is_active);
    assert_int_equal(r->consumers[2].priority, 2);
    assert_int_equal(r->consumers[2].prefetch, 2);
    assert_true(r->consumers[2].session == fx->sessions[2].handle);
    queue_request_free(r);
    assert_int_equal(fx_cancel(1, q, c[1]), QUEUE_OK); // one that stands by
    fx_quiet();
    assert_int_equal(fx->sessions[2].count, 0);
    assert_int_equal(fx_cancel(0, q, c[0]), QUEUE_OK);
    fx_quiet();
    assert_int_equal(fx->sessions[2].count, 2);
    assert_int_equal(delivery(2, 0)->id, 3); // 1 and 2 are still with session 0
    fx_settle(0, q, SETTLE_REQUEUE, delivery(0, 1)->seq);
    fx_settle(2, q, SETTLE_ACK, delivery(2, 0)->seq);
    fx_quiet();
    assert_int_equal(delivery(2, 2)->id, 2);
    assert_true(delivery(2, 2)->is_redelivered);
}
FX_PLACED(single_active)

static void
auto_delete_case(void)
{
    lv_handle q = fx_queue(0, QUEUE_AUTO_DELETE);
    lv_handle plain = fx_queue(0, 0);
    lv_handle a = fx_consumer(&(struct fx_consume){.session = 0, .queue = q});
    lv_handle b = fx_consumer(&(struct fx_consume){.session = 1, .queue = q});
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 1, .queue = plain});
    assert_int_equal(fx_cancel(0, q, a), QUEUE_OK);
    assert_int_equal(fx_cancel(0, q, a), QUEUE_OK);
    assert_int_equal(fx_cancel(1, plain, c), QUEUE_OK);
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(fx_cancel(1, q, b), QUEUE_OK);
    assert_int_equal(fx->unused_calls, 1);
    assert_int_equal(fx->unused_id, 1);
    assert_int_equal(fx_cancel(1, q, b), QUEUE_OK); // it had none already
    assert_int_equal(fx->unused_calls, 1);
}
FX_PLACED(auto_delete)

static void
status_and_idle_case(void)
{
    lv_handle q = fx_queue(0, 0);
    uint64_t n;
    fx_publish(0, q, 1);
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q, .prefetch = 1});
    fx_publish(0, q, 2);
    fx_quiet();
    assert_int_equal(fx_simple(1, QUEUE_REQUEST_STATUS, q, &n), QUEUE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(fx_stats(q).idle_since_ms, 0);
    struct queue_stats s = fx_stats(q);
    assert_true(s.memory_bytes > sizeof(struct queue) + 2 * sizeof(struct message));
    assert_int_equal(queue_worker_message_bytes(fx_member(0)),
                     s.ready_bytes + s.unacked_bytes + 2 * (sizeof(struct message) + 20));
}
FX_PLACED(status_and_idle)

static int64_t wall_ms;

static uint64_t
fake_mono_ns(void *ctx)
{
    return (uint64_t)wall_ms * 1000000;
}

static int64_t
fake_wall_ms(void *ctx)
{
    return wall_ms;
}

static void
idle_clock_case(void)
{
    wall_ms = 5000000;
    clock_set_source(&(struct clock_source){.mono_ns = fake_mono_ns, .wall_ms = fake_wall_ms});
    fx_turns(1);
    lv_handle q = fx_queue(0, 0);
    wall_ms += 60000;
    fx_turns(1);
    assert_int_equal(fx_stats(q).idle_since_ms, 5000000); // looking does not count
    assert_int_equal(fx_simple(1, QUEUE_REQUEST_STATUS, q, NULL), QUEUE_OK);
    assert_int_equal(fx_stats(q).idle_since_ms, 0);
    wall_ms += 2000;
    fx_turns(1);
    assert_int_equal(fx_stats(q).idle_since_ms, 5060000);
    fx_publish(0, q, 1);
    fx_quiet();
    assert_int_equal(fx_stats(q).idle_since_ms, 0);
    clock_set_source(NULL);
    fx_turns(1);
}
FX_PLACED(idle_clock)

static void
persistent_count_case(void)
{
    lv_handle q = fx_queue(0, QUEUE_DURABLE);
    fx_as(fx_member(0));
    for (uint64_t id = 1; id <= 4; id++) {
        struct message *m = fx_message(id, 8);
        m->flags = id % 2 == 0 ? MESSAGE_PERSISTENT : 0;
        queue_publish(m, &q, 1, 0, 0);
        message_unref(m);
    }
    struct fx_delivery d;
    assert_int_equal(fx_stats(q).persistent, 2);
    fx_get(0, q, true, NULL);
    fx_get(0, q, false, &d);
    assert_int_equal(fx_stats(q).persistent, 2);
    fx_simple(0, QUEUE_REQUEST_PURGE, q, NULL);
    assert_int_equal(fx_stats(q).persistent, 1);
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    fx_quiet();
    assert_int_equal(fx_stats(q).persistent, 1);
    fx_get(0, q, true, NULL);
    assert_int_equal(fx_stats(q).persistent, 0);
}
FX_PLACED(persistent_count)

// What is given back without memory for it is not lost: it comes back in a later turn.
static void
no_memory_to_return(void **state)
{
    fx_open_plain(1);
    lv_handle q = fx_queue(0, 0);
    struct fx_delivery d[20];
    for (uint64_t id = 1; id <= 20; id++)
        fx_publish(0, q, id);
    for (int i = 0; i < 20; i++)
        fx_get(0, q, false, &d[i]);
    for (int i = 0; i < 20; i++) {
        mem_test_fail_after(1);
        fx_settle(0, q, SETTLE_REQUEUE, d[i].seq);
        mem_test_fail_after(0);
        fx_settle(0, q, SETTLE_ACK, d[i].seq); // settled already: not a second time
        if (i % 7 == 3)
            fx_quiet();
    }
    fx_quiet();
    assert_int_equal(fx_stats(q).unacked, 0);
    for (uint64_t id = 1; id <= 20; id++) {
        struct fx_delivery got;
        assert_int_equal(fx_get(0, q, true, &got), id);
        assert_true(got.is_redelivered && got.delivery_count == 1);
    }
    fx_close();
}

// Deliveries and consumers without memory: later, or refused; never lost.
static void
no_memory_elsewhere(void **state)
{
    fx_open_plain(1);
    lv_handle q = fx_queue(0, 0);
    for (uint64_t n = 1; n <= 4; n++) {
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, q);
        mem_test_fail_after(n);
        r->window_count = r->window_bytes = 1000;
        r = fx_request(0, r);
        mem_test_fail_after(0);
        if (r->outcome == QUEUE_OK)
            fx_cancel(0, q, r->consumer);
        else
            assert_int_equal(r->outcome, QUEUE_NO_MEMORY);
        queue_request_free(r);
    }
    fx_consumer(&(struct fx_consume){.session = 0, .queue = q});
    fx_publish(0, q, 1);
    mem_test_fail_after(1);
    fx_turns(1); // no table for what is unacknowledged
    mem_test_fail_after(0);
    fx_quiet();
    assert_int_equal(fx->sessions[0].count, 1);
    assert_int_equal(fx_stats(q).unacked, 1);
    mem_test_fail_after(2); // the request is there, the array of consumers is not
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_STATS, q);
    assert_non_null(r);
    fx_as(fx_member(0));
    r = fx_request(0, r);
    mem_test_fail_after(0);
    assert_int_equal(r->outcome, QUEUE_NO_MEMORY);
    assert_int_equal(r->stats.consumers, 0);
    queue_request_free(r);
    fx_close();
}

static void
create_done(struct queue_request *request)
{
    assert_int_equal(request->outcome, QUEUE_OK);
    *(bool *)request->ctx = true;
    queue_request_free(request);
}

// The writer's CREATE is on its way when somebody else names the queue already.
static void
create_on_the_way(void **state)
{
    fx_open_plain(2);
    fx_as(fx_writer());
    static struct queue_def def;
    def = (struct queue_def){.id = 1, .handle = queue_handle_alloc(fx_member(0)), .name = SLICE_LIT("q")};
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CREATE, def.handle);
    bool is_done = false;
    r->def = &def;
    r->ctx = &is_done;
    r->done = create_done;
    queue_request_send(r);
    worker_turn(fx_writer()); // in the ring to worker 0, not handled there
    fx_publish(0, def.handle, 5);
    assert_int_equal(fx->sessions[0].accepted, 1);
    assert_int_equal(fx_get(0, def.handle, true, NULL), 5);
    fx_quiet();
    assert_true(is_done);
    fx_close();
}

static void
idle_queue_is_small(void **state)
{
    assert_true(sizeof(struct queue) + sizeof(struct handle_slot) + sizeof(struct handle_number) <= 464);
    fx_open_plain(1);
    lv_handle q = fx_queue(0, 0);
    size_t empty = fx_stats(q).memory_bytes;
    fx_publish(0, q, 1);
    struct fx_delivery d;
    fx_get(0, q, false, &d);
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    fx_get(0, q, false, &d);
    fx_settle(0, q, SETTLE_ACK, d.seq);
    assert_int_equal(fx_stats(q).memory_bytes, empty); // what it used is given back
    fx_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo),
        cmocka_unit_test(requeue_places),
        cmocka_unit_test(flags),
        cmocka_unit_test(multiple_settles),
        cmocka_unit_test(purge_and_delete),
        cmocka_unit_test(stale_handles),
        cmocka_unit_test(fan_out),
        cmocka_unit_test(exclusive),
        cmocka_unit_test(single_active),
        cmocka_unit_test(auto_delete),
        cmocka_unit_test(status_and_idle),
        cmocka_unit_test(idle_clock),
        cmocka_unit_test(persistent_count),
        cmocka_unit_test(no_memory_to_return),
        cmocka_unit_test(no_memory_elsewhere),
        cmocka_unit_test(create_on_the_way),
        cmocka_unit_test(idle_queue_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
