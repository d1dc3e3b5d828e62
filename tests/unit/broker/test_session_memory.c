// test_session_memory.c: the n-th allocation fails, for every n: nothing crashes, each method is answered once, by success or by 506,
// and what was begun and not finished leaves nothing behind (the sanitizer's leak check, and the queue's own counts).
//
// Failures are injected on the workers only: the topology writer aborts by design when it has no memory.
#include "src/broker/session_impl.h"
#include "tests/unit/broker/session_fixture.h"

enum { FAILURES = 24 }; // more than any one turn of these scenarios allocates on one worker

static unsigned failures_seen;
static uint64_t fail_at; // the fail_at-th allocation of every call and every turn of a worker; 0: none

static void
rounds(int n)
{
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < sf.crew->n_members; i++) {
            mem_test_fail_after(i < sf.crew->n_workers ? fail_at : 0);
            worker_turn(sf.crew->members[i]);
            mem_test_fail_after(0);
        }
    }
}

// Calls with the failure on.
#define FAILING(s, call)                                                                                     \
    do {                                                                                                     \
        worker_self = (s)->worker;                                                                           \
        mem_test_fail_after(fail_at);                                                                        \
        call;                                                                                                \
        mem_test_fail_after(0);                                                                              \
        worker_self = NULL;                                                                                  \
    } while (0)

// Until the method is answered; then nothing fails any more.
static void
finish(struct sf_session *s)
{
    for (int i = 0; !s->is_done; i++) {
        assert_true(i < 5000);
        rounds(1);
    }
    fail_at = 0;
    assert_true(s->fault.code == FAULT_NONE || s->fault.code == FAULT_RESOURCE_ERROR);
    sf_rounds(50);
}

static void
begin(struct sf_session *s, uint64_t n)
{
    s->is_done = false;
    fail_at = n;
}

static void
declare_case(uint64_t n)
{
    struct sf_session *s = sf_session(0);
    struct session_queue_args a = {.queue = SLICE_LIT("q"), .is_exclusive = true};
    for (int again = 0; again < 2; again++) { // made, then declared once more
        begin(s, n);
        FAILING(s, session_queue_declare(s->session, &a));
        finish(s);
    }
    assert_int_equal(sf_queue(s, "q", true), 0);
    begin(s, n);
    FAILING(s, session_queue_delete(s->session, SLICE_LIT("q"), false, false));
    finish(s);
    struct session_exchange_args x = {.exchange = SLICE_LIT("x"), .type = SLICE_LIT("topic")};
    begin(s, n);
    FAILING(s, session_exchange_declare(s->session, &x));
    finish(s);
    sf_end(s);
    // Its exclusive queue is gone in every case.
    s = sf_session(1);
    assert_int_equal(sf_passive(s, "q"), 404);
    assert_int_equal(SF_DO(s, session_exchange_delete(s->session, SLICE_LIT("x"), false)), 0);
    sf_end(s);
}

static bool
publish_failing(struct sf_session *s, const char *exchange, const char *key,
                const struct amqp_basic_props *props)
{
    struct fault f = {0};
    struct buf b = BUF_INIT;
    struct amqp_basic_props decoded;
    bool ok = false;
    amqp_props_encode(&b, props);
    struct message *msg = message_new(slice_str(exchange), slice_str(key), buf_slice(&b), 0);
    assert_non_null(msg);
    assert_int_equal(amqp_props_decode(message_properties(msg), &decoded), 0);
    FAILING(s, ok = session_publish(s->session, msg, &decoded, true, &f));
    assert_true(ok || f.code == FAULT_RESOURCE_ERROR);
    buf_fini(&b);
    return ok;
}

// Confirms: every publish that was taken is answered, by ack or nack; the message is in all its queues or was refused.
static void
publish_case(uint64_t n)
{
    struct sf_session *s = sf_session(0);
    struct fault f;
    char name[16];
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_begin_array(&w, SLICE_LIT("BCC"));
    array_put_longstr(&w, SLICE_LIT("q1"));
    table_writer_end(&w);
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS | AMQP_PROP_REPLY_TO,
                                 .headers = buf_slice(&headers),
                                 .reply_to = SLICE_LIT("amq.rabbitmq.reply-to")};
    struct amqp_basic_props none = {0};
    for (int i = 0; i < 70; i++) {
        snprintf(name, sizeof name, "q%d", i);
        assert_int_equal(sf_queue(s, name, true), 0);
        assert_int_equal(sf_bind(s, "amq.fanout", name, ""), 0);
    }
    assert_int_equal(sf_consume(s, "amq.rabbitmq.reply-to", "r", true), 0);
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    uint64_t taken = 0, answered = 0;
    for (int i = 0; i < 4; i++) {
        fail_at = n;
        bool ok = publish_failing(s, i < 2 ? "amq.fanout" : "", "q0", i % 2 == 0 ? &p : &none);
        rounds(3);
        fail_at = 0;
        if (!ok)
            break; // the channel would be closed now
        taken++;
    }
    for (int i = 0; i < 200 && answered < taken; i++) {
        sf_round();
        answered = 0;
        for (size_t k = 0; k < s->event_count; k++) {
            if (s->events[k].kind == 'a')
                answered = s->events[k].is_multiple ? s->events[k].tag : answered + 1;
            else if (s->events[k].kind == 'n')
                answered++;
        }
    }
    assert_true(answered >= taken);
    buf_fini(&headers);
    sf_end(s);
}

// Consume, deliveries, cancel: at the end no consumer is left at the queue and no message is lost.
static void
consume_with(uint64_t n, uint16_t limit)
{
    struct sf_session *keeper = sf_session(1), *s = sf_session(0);
    struct session_consume_args a = {.queue = SLICE_LIT("q"), .consumer_tag = SLICE_LIT("c")};
    s->is_failure_expected = true;
    assert_int_equal(sf_queue(keeper, "q", true), 0);
    sf_end(keeper);
    keeper = sf_session(1);
    assert_int_equal(sf_queue(keeper, "q", false), 0);
    for (int i = 0; i < 40; i++)
        assert_true(sf_publish(keeper, "", "q", "m", false));
    sf_rounds(20);
    assert_true(sf_qos(s, limit, true));
    begin(s, n);
    FAILING(s, session_consume(s->session, &a));
    for (int i = 0; !s->is_done; i++) {
        assert_true(i < 5000);
        rounds(1);
    }
    rounds(10); // deliveries
    fail_at = 0;
    // Either it said that it is of no use any more, or it goes on as if nothing had been.
    if (s->fault.code == FAULT_NONE && s->failed.code == FAULT_NONE)
        sf_expect(s, 40);
    if (s->fault.code == FAULT_NONE && s->failed.code == FAULT_NONE && n % 2 == 0) {
        begin(s, n);
        FAILING(s, session_cancel(s->session, SLICE_LIT("c")));
        finish(s);
    }
    fail_at = n;
    FAILING(s, session_close(s->session));
    rounds(3);
    fail_at = 0;
    sf_rounds(50);
    assert_int_equal(sf_passive(keeper, "q"), 0);
    assert_int_equal(keeper->consumer_count, 0);
    assert_int_equal(keeper->message_count, 40);
    assert_int_equal(SF_DO(keeper, session_queue_delete(keeper->session, SLICE_LIT("q"), true, false)), 0);
    sf_end(s);
    sf_end(keeper);
}

static void
consume_case(uint64_t n)
{
    consume_with(n, 0);
}

static void
consume_limited_case(uint64_t n)
{
    consume_with(n, 60);
}

// Deliveries that cannot be written down: the session says so, and all messages are still there.
static void
deliver_case(uint64_t n)
{
    struct sf_session *keeper = sf_session(1), *s = sf_session(0);
    struct fault f;
    s->is_failure_expected = true;
    assert_int_equal(sf_queue(keeper, "q", false), 0);
    assert_true(sf_qos(s, 1, true));
    assert_int_equal(sf_consume(s, "q", "c", false), 0);
    for (int i = 0; i < 40; i++)
        assert_true(sf_publish(keeper, "", "q", "m", false));
    sf_expect(s, 1);
    fail_at = n;
    FAILING(s, assert_true(session_qos(s->session, 60, true, &f)));
    rounds(10);
    fail_at = 0;
    if (s->failed.code == FAULT_NONE) {
        sf_expect(s, 40);
        assert_int_equal(s->session->global_used, 40); // no grant is out
    } else {
        assert_int_equal(s->failed.code, FAULT_RESOURCE_ERROR);
        failures_seen++;
    }
    sf_end(s);
    sf_rounds(50);
    assert_int_equal(sf_passive(keeper, "q"), 0);
    assert_int_equal(keeper->message_count, 40);
    sf_end(keeper);
}

// A close is carried out whatever memory there is.
static void
close_case(uint64_t n)
{
    struct sf_session *keeper = sf_session(1), *s = sf_session(0);
    assert_int_equal(sf_queue(keeper, "q", false), 0);
    assert_int_equal(sf_queue(s, "mine", true), 0);
    assert_int_equal(sf_consume(s, "q", "a", false), 0);
    assert_int_equal(sf_consume(s, "q", "b", true), 0);
    assert_int_equal(sf_consume(s, "mine", "c", true), 0);
    fail_at = n;
    FAILING(s, client_close(s->client, sf_on_gone, s));
    rounds(2);
    fail_at = 0;
    for (int i = 0; !s->is_gone; i++) {
        assert_true(i < 1000);
        sf_round();
    }
    free(s);
    sf_rounds(50);
    assert_int_equal(sf_passive(keeper, "q"), 0);
    assert_int_equal(keeper->consumer_count, 0);
    assert_int_equal(sf_passive(keeper, "mine"), 404);
    sf_end(keeper);
}

static void
get_and_tx_case(uint64_t n)
{
    struct sf_session *s = sf_session(0);
    struct fault f;
    assert_int_equal(sf_queue(s, "q", true), 0);
    for (int i = 0; i < 3; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    sf_rounds(20);
    begin(s, n);
    FAILING(s, session_get(s->session, SLICE_LIT("q"), false));
    finish(s);
    bool has_got = s->fault.code == FAULT_NONE && !s->is_empty;
    assert_true(has_got || s->fault.code == FAULT_RESOURCE_ERROR); // the queue is not empty
    assert_int_equal(sf_passive(s, "q"), 0);
    assert_int_equal(s->message_count, has_got ? 2 : 3);
    SF_AS(s, assert_true(session_tx_select(s->session, &f)));
    struct amqp_basic_props none = {0};
    fail_at = n;
    bool ok = publish_failing(s, "", "q", &none);
    if (has_got)
        FAILING(s, ok = session_settle(s->session, 1, false, SETTLE_ACK, &f) && ok);
    if (ok) {
        FAILING(s, ok = session_tx_rollback(s->session, &f));
    }
    fail_at = 0;
    sf_end(s);
}

static void
open_case(uint64_t n)
{
    struct sf_session *s = sf_session(0);
    struct fault f = {0};
    struct client_args args = {.user = SLICE_LIT("guest"),
                               .vhost = SLICE_LIT("/"),
                               .name = SLICE_LIT("second"),
                               .protocol = SLICE_LIT("none"),
                               .events = &sf_client_events,
                               .ctx = s};
    struct client *c = NULL;
    struct session *session = NULL;
    fail_at = n;
    FAILING(s, c = client_open(s->worker, &args, &f));
    assert_true(c != NULL || f.code == FAULT_RESOURCE_ERROR);
    if (c != NULL) {
        FAILING(s, session = session_open(c, 2, &sf_session_events, s));
        (void)session;
        SF_AS(s, client_close(c, NULL, NULL));
    }
    fail_at = 0;
    sf_end(s);
}

static void
run_case(void (*run)(uint64_t n))
{
    for (uint64_t n = 1; n <= FAILURES; n++) {
        sf_open(world);
        run(n);
        sf_close();
    }
}

static void
test_declare(void **state)
{
    run_case(declare_case);
}

static void
test_publish(void **state)
{
    run_case(publish_case);
}

static void
test_consume(void **state)
{
    run_case(consume_case);
    run_case(consume_limited_case);
}

static void
test_deliver(void **state)
{
    failures_seen = 0;
    run_case(deliver_case);
    assert_true(failures_seen > 0);
}

static void
test_close(void **state)
{
    run_case(close_case);
}

static void
test_get_and_tx(void **state)
{
    run_case(get_and_tx_case);
}

static void
test_open(void **state)
{
    run_case(open_case);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declare), cmocka_unit_test(test_publish), cmocka_unit_test(test_consume),
        cmocka_unit_test(test_deliver), cmocka_unit_test(test_close),   cmocka_unit_test(test_get_and_tx),
        cmocka_unit_test(test_open),
    };
    return sf_run_worlds("session memory", tests, LV_ARRAY_LEN(tests));
}
