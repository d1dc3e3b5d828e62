// test_session_bulk.c: settling more than one turn may: it is done by and by, in order, and to its end.
//
// The worlds with a small settle_turn make every range a large one.
#include "session_fixture.h"
#include "src/broker/session_impl.h"

enum { MESSAGES = 40, MORE = 10 };

static int
setup(void **state)
{
    sf_open(world);
    return 0;
}

static int
teardown(void **state)
{
    sf_close();
    return 0;
}

static void
publish_numbers(struct sf_session *s, int from, int to)
{
    char body[16];
    for (int i = from; i < to; i++) {
        snprintf(body, sizeof body, "%d", i);
        assert_true(sf_publish(s, "", "q", body, true));
    }
}

// A queue with MESSAGES unacknowledged deliveries of the session, and MORE that are ready. Its consumer is gone.
static struct sf_session *
holder(void)
{
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    publish_numbers(s, 0, MESSAGES);
    assert_int_equal(sf_consume(s, "q", "t", false), 0);
    sf_expect(s, MESSAGES);
    assert_int_equal(SF_DO(s, session_cancel(s->session, SLICE_LIT("t"))), 0);
    publish_numbers(s, MESSAGES, MESSAGES + MORE);
    sf_rounds(60);
    sf_forget(s);
    return s;
}

// All messages come, from the first on, those that were out marked.
static void
expect_in_order(struct sf_session *s)
{
    char body[16];
    sf_expect(s, MESSAGES + MORE);
    for (int i = 0; i < MESSAGES + MORE; i++) {
        snprintf(body, sizeof body, "%d", i);
        assert_string_equal(s->events[i].text, body);
        assert_int_equal(s->events[i].is_redelivered, i < MESSAGES);
    }
}

enum way { NACK, RECOVER, CLOSE, END, WAYS };

// What is given back in parts comes to a consumer that waits for it in its old order.
static void
test_order(void **state)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct sf_session *s = holder(), *other = sf_session(1);
        struct fault f;
        assert_int_equal(sf_passive(other, "q"), 0);
        assert_int_equal(other->message_count, MORE);
        s->is_done = false;
        switch (way) {
        case NACK: SF_AS(s, assert_true(session_settle(s->session, 0, true, SETTLE_REQUEUE, &f))); break;
        case RECOVER: SF_AS(s, session_recover(s->session)); break;
        case CLOSE: SF_AS(s, session_close(s->session)); break;
        default: SF_AS(s, client_close(s->client, sf_on_gone, s)); break;
        }
        if (world->workers > 1) // which of the two comes first at the owner is open
            sf_rounds(60);
        assert_int_equal(sf_consume(other, "q", "o", true), 0);
        expect_in_order(other);
        sf_rounds(100);
        assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false)), 0);
        sf_end(other);
        if (way == END)
            free(s);
        else
            sf_end(s);
    }
}

// A consumer that is there already sees the same.
static void
test_order_with_a_consumer(void **state)
{
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    struct fault f;
    assert_int_equal(sf_queue(s, "q", false), 0);
    publish_numbers(s, 0, MESSAGES);
    assert_int_equal(sf_consume(s, "q", "t", false), 0);
    sf_expect(s, MESSAGES);
    assert_true(sf_qos(other, 1, false));
    assert_int_equal(sf_consume(other, "q", "o", false), 0);
    assert_int_equal(SF_DO(s, session_cancel(s->session, SLICE_LIT("t"))), 0);
    publish_numbers(s, MESSAGES, MESSAGES + MORE);
    sf_expect(other, 1); // the first that was ready
    assert_string_equal(other->events[0].text, "40");
    s->is_done = false;
    SF_AS(s, assert_true(session_settle(s->session, 0, true, SETTLE_REQUEUE, &f)));
    long next = 0;
    for (uint64_t tag = 1; tag < MESSAGES + MORE; tag++) {
        assert_true(sf_settle(other, tag, false, SETTLE_ACK));
        sf_expect(other, tag + 1);
        long number = strtol(other->events[tag].text, NULL, 10);
        if (number >= MESSAGES && next == 0)
            continue; // the nack is still on its way
        assert_int_equal(number, next < MESSAGES ? next : number);
        next++;
    }
    assert_true(next >= MESSAGES);
    sf_end(other);
    sf_end(s);
}

// The method is outstanding until the last one is settled, and no turn settles more than it may.
static void
test_share_of_a_turn(void **state)
{
    struct sf_session *s = holder();
    struct fault f;
    size_t before = s->session->unacked_count, share = session_settle_budget(s->session);
    s->is_done = false;
    SF_AS(s, assert_true(session_settle(s->session, MESSAGES - 1, true, SETTLE_ACK, &f)));
    if (share < MESSAGES) {
        assert_true(session_is_busy(s->session));
        for (int i = 0; !s->is_done; i++) {
            assert_in_range(before - s->session->unacked_count, 0, share);
            before = s->session->unacked_count;
            assert_true(i < 10000);
            sf_round();
        }
        assert_int_equal(s->fault.code, 0);
    }
    assert_false(session_is_busy(s->session));
    assert_int_equal(s->session->unacked_count, 1);
    assert_false(sf_settle(s, MESSAGES - 1, true, SETTLE_ACK));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - unknown delivery tag 39");
    assert_true(sf_settle(s, MESSAGES, false, SETTLE_ACK));
    sf_end(s);
}

// A session that is closed in the middle: what was acknowledged stays so, the rest comes back; and its client is gone when it is.
static void
test_close_in_the_middle(void **state)
{
    struct sf_session *s = holder(), *other = sf_session(1);
    struct fault f;
    s->is_done = false;
    SF_AS(s, assert_true(session_settle(s->session, MESSAGES / 2, true, SETTLE_ACK, &f)));
    SF_AS(s, client_close(s->client, sf_on_gone, s));
    for (int i = 0; !s->is_gone; i++) {
        assert_true(i < 10000);
        sf_round();
    }
    sf_rounds(20); // from the other worker
    assert_int_equal(sf_passive(other, "q"), 0);
    assert_int_equal(other->message_count, MESSAGES / 2 + MORE);
    assert_int_equal(sf_get(other, "q", true), 0);
    assert_string_equal(other->body, "20");
    free(s);
    sf_end(other);
}

// close: the session alone, or its client.
static void
test_give_back(void **state)
{
    struct sf_session *s = holder(), *other = sf_session(0);
    assert_int_equal(sf_consume(s, "q", "again", false), 0);
    sf_expect(s, MORE);
    sf_forget(s);
    sf_give_back(s);
    // The same connection of workers: what follows comes behind what was given back.
    assert_int_equal(sf_passive(other, "q"), 0);
    assert_int_equal(other->message_count, MESSAGES + MORE);
    assert_int_equal(other->consumer_count, 0);
    assert_int_equal(s->event_count, 0);
    SF_AS(s, session_close(s->session));
    sf_end(s);
    sf_end(other);
}

// --- transactions ----------------------------------------------------------------------------------------------------------------

static void
begin_tx(struct sf_session *s)
{
    struct fault f;
    SF_AS(s, assert_true(session_tx_select(s->session, &f)));
}

static void
test_commit(void **state)
{
    struct sf_session *s = holder(), *other = sf_session(0);
    begin_tx(s);
    assert_true(sf_settle(s, MESSAGES / 2, true, SETTLE_ACK));
    assert_true(sf_settle(s, 0, true, SETTLE_REQUEUE));
    publish_numbers(s, 100, 100 + MESSAGES);
    assert_true(sf_publish(s, "", "nowhere", "lost", true));
    assert_int_equal(sf_passive(other, "q"), 0);
    assert_int_equal(other->message_count, MORE);
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    assert_int_equal(s->event_count, 1);
    assert_int_equal(s->events[0].kind, 'r');
    assert_int_equal(sf_passive(other, "q"), 0);
    assert_int_equal(other->message_count, MORE + MESSAGES + MESSAGES / 2);
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0); // an empty one
    assert_int_equal(sf_passive(other, "q"), 0);
    assert_int_equal(other->message_count, MORE + MESSAGES + MESSAGES / 2);
    sf_end(s);
    sf_end(other);
}

// A session that closes while its commit is under way: all of it is carried out, or nothing; nobody is told any more.
static void
test_close_while_committing(void **state)
{
    for (int is_client = 0; is_client < 2; is_client++) {
        struct sf_session *s = holder(), *other = sf_session(1);
        begin_tx(s);
        assert_true(sf_settle(s, MESSAGES / 2, true, SETTLE_ACK));
        publish_numbers(s, 100, 100 + MESSAGES);
        assert_true(sf_publish(s, "", "nowhere", "lost", true));
        s->is_done = false;
        SF_AS(s, session_tx_commit(s->session));
        size_t told = s->event_count;
        if (is_client)
            SF_AS(s, client_close(s->client, sf_on_gone, s));
        else
            SF_AS(s, session_close(s->session));
        sf_rounds(200);
        assert_int_equal(s->event_count, told);
        assert_int_equal(sf_passive(other, "q"), 0);
        if (other->message_count != MORE + MESSAGES)
            assert_int_equal(other->message_count, MORE + MESSAGES + MESSAGES / 2);
        assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false)), 0);
        if (is_client)
            free(s);
        else
            sf_end(s);
        sf_end(other);
    }
}

// What an open transaction holds goes back, also when it is still being taken in.
static void
test_close_with_a_transaction(void **state)
{
    for (int is_early = 0; is_early < 2; is_early++) {
        struct sf_session *s = holder(), *other = sf_session(1);
        struct fault f;
        begin_tx(s);
        publish_numbers(s, 100, 100 + MESSAGES);
        s->is_done = false;
        if (is_early)
            SF_AS(s, assert_true(session_settle(s->session, MESSAGES / 2, true, SETTLE_ACK, &f)));
        else
            assert_true(sf_settle(s, MESSAGES / 2, true, SETTLE_ACK));
        SF_AS(s, session_close(s->session));
        sf_rounds(200);
        assert_int_equal(sf_passive(other, "q"), 0);
        assert_int_equal(other->message_count, MORE + MESSAGES);
        assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false)), 0);
        sf_end(s);
        sf_end(other);
    }
}

// The daemon ends while sessions give back: nothing is leaked. (What is in the mail then is.)
static void
test_end_in_the_middle(void **state)
{
    if (world->workers > 1 || world->settle_turn == 0)
        return;
    struct sf_session *s = holder();
    assert_int_equal(sf_queue(s, "mine", true), 0);
    begin_tx(s);
    publish_numbers(s, 100, 100 + MESSAGES);
    SF_AS(s, client_close(s->client, sf_on_gone, s));
    for (int i = 0; i < sf.crew->n_workers; i++)
        broker_worker_fini(sf.crew->members[i]);
    topology_stop(sf.crew);
    crew_free(sf.crew);
    sf.crew = NULL;
    free(s);
    sf_open(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_order),
        T(test_order_with_a_consumer),
        T(test_share_of_a_turn),
        T(test_close_in_the_middle),
        T(test_give_back),
        T(test_commit),
        T(test_close_while_committing),
        T(test_close_with_a_transaction),
        T(test_end_in_the_middle),
    };
    return sf_run_worlds("session bulk", tests, LV_ARRAY_LEN(tests));
}
