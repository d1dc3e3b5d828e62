// test_session.c: sessions on the whole broker: what a client sees, in one world with one worker and in worlds where every queue
// lives elsewhere and mail is late.
#include "tests/unit/broker/session_fixture.h"

static void
test_publish_and_consume(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_true(sf_publish(s, "", "q", "one", false));
    assert_int_equal(sf_consume(s, "q", "tag", false), 0);
    assert_true(sf_publish(s, "", "q", "two", false));
    sf_expect(s, 2);
    assert_string_equal(s->events[0].text, "one");
    assert_string_equal(s->events[1].text, "two");
    assert_int_equal(s->events[1].tag, 2);
    assert_string_equal(s->events[0].consumer, "tag");
    assert_true(sf_settle(s, 2, true, SETTLE_ACK));
    assert_false(sf_settle(s, 2, false, SETTLE_ACK));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - unknown delivery tag 2");
    assert_int_equal(sf_passive(s, "q"), 0);
    assert_int_equal(s->message_count, 0);
    assert_int_equal(s->consumer_count, 1);
    sf_end(s);
    sf_close();
}

// Acked ones are gone; the rest comes back in order, marked, when the session closes.
static void
test_close_gives_back(void **state)
{
    sf_open(world);
    struct sf_session *a = sf_session(0), *b = sf_session(1);
    static const char *const bodies[] = {"1", "2", "3", "4", "5"};
    assert_int_equal(sf_queue(a, "q", false), 0);
    for (size_t i = 0; i < 5; i++)
        assert_true(sf_publish(a, "", "q", bodies[i], false));
    assert_int_equal(sf_consume(a, "q", "", false), 0);
    sf_expect(a, 5);
    assert_true(sf_settle(a, 2, false, SETTLE_ACK));
    assert_true(sf_settle(a, 4, false, SETTLE_REJECT));
    sf_end(a);
    assert_int_equal(sf_consume(b, "q", "", true), 0);
    sf_expect(b, 3);
    assert_string_equal(b->events[0].text, "1");
    assert_string_equal(b->events[1].text, "3");
    assert_string_equal(b->events[2].text, "5");
    assert_true(b->events[0].is_redelivered && b->events[2].is_redelivered);
    sf_end(b);
    sf_close();
}

static void
test_confirms(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct fault f;
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    assert_int_equal(sf_bind(s, "amq.fanout", "a", ""), 0);
    assert_int_equal(sf_bind(s, "amq.fanout", "b", ""), 0);
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    uint64_t acked = 0;
    for (int i = 1; i <= 300; i++) {
        // A return comes before its confirm; publishes without a queue are confirmed too.
        assert_true(sf_publish(s, i % 3 == 0 ? "" : "amq.fanout", "nowhere", "m", i % 3 == 0));
        if (i % 7 == 0)
            sf_round();
    }
    for (int i = 0; i < 2000 && acked < 300; i++) {
        sf_round();
        acked = 0;
        bool is_covered[301] = {false};
        uint64_t returned = 0;
        for (size_t k = 0; k < s->event_count; k++) {
            struct sf_event *e = &s->events[k];
            if (e->kind == 'r') {
                returned++;
                assert_false(is_covered[returned * 3]);
                continue;
            }
            assert_int_equal(e->kind, 'a');
            for (uint64_t n = e->is_multiple ? 1 : e->tag; n <= e->tag; n++)
                is_covered[n] = true;
        }
        for (int n = 1; n <= 300; n++)
            acked += is_covered[n];
    }
    assert_int_equal(acked, 300);
    SF_AS(s, assert_false(session_tx_select(s->session, &f)));
    assert_string_equal(f.text, "PRECONDITION_FAILED - cannot switch from confirm to tx mode");
    assert_int_equal(sf_passive(s, "a"), 0);
    assert_int_equal(s->message_count, 200);
    sf_end(s);
    sf_close();
}

// A limit of one shared by two queues on two workers: never two out at once, and neither queue starves.
static void
test_global_prefetch(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    unsigned from_a = 0, from_b = 0;
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    for (int i = 0; i < 20; i++) {
        assert_true(sf_publish(s, "", "a", "a", false));
        assert_true(sf_publish(s, "", "b", "b", false));
    }
    assert_true(sf_qos(s, 1, true));
    assert_int_equal(sf_consume(s, "a", "a", false), 0);
    assert_int_equal(sf_consume(s, "b", "b", false), 0);
    for (uint64_t tag = 1; tag <= 40; tag++) {
        sf_expect(s, 1);
        from_a += s->events[0].text[0] == 'a';
        from_b += s->events[0].text[0] == 'b';
        if (tag == 24)
            assert_true(from_a >= 8 && from_b >= 8);
        sf_forget(s);
        assert_true(sf_settle(s, tag, false, SETTLE_ACK));
    }
    assert_int_equal(from_a + from_b, 40);
    sf_end(s);
    sf_close();
}

// The limit is set, raised and lifted under living consumers.
static void
test_global_prefetch_changes(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(sf_consume(s, "q", "", false), 0);
    assert_true(sf_qos(s, 2, true));
    sf_rounds(30); // so that the queue has heard of it
    for (int i = 0; i < 10; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    sf_expect(s, 2);
    assert_true(sf_qos(s, 5, true));
    sf_expect(s, 5);
    assert_true(sf_settle(s, 3, true, SETTLE_ACK));
    sf_expect(s, 8);
    assert_true(sf_qos(s, 0, true));
    sf_expect(s, 10);
    sf_end(s);
    sf_close();
}

static void
test_consumer_prefetch(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    for (int i = 0; i < 9; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    assert_true(sf_qos(s, 3, false));
    assert_int_equal(sf_consume(s, "q", "", false), 0);
    sf_expect(s, 3);
    assert_true(sf_settle(s, 1, false, SETTLE_REQUEUE));
    sf_expect(s, 4);
    assert_true(s->events[3].is_redelivered);
    assert_true(sf_settle(s, 0, true, SETTLE_ACK));
    sf_expect(s, 7);
    sf_end(s);
    sf_close();
}

static void
test_transactions(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    struct fault f;
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 406);
    assert_string_equal(s->fault.text, "PRECONDITION_FAILED - channel is not transactional");
    SF_AS(s, assert_true(session_tx_select(s->session, &f)));
    assert_true(sf_publish(s, "", "a", "1", false));
    assert_true(sf_publish(s, "", "b", "2", false));
    assert_true(sf_publish(s, "", "nowhere", "3", true));
    sf_rounds(30);
    assert_int_equal(sf_passive(other, "a"), 0);
    assert_int_equal(other->message_count, 0);
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    assert_int_equal(s->event_count, 1); // the return
    assert_int_equal(sf_passive(other, "a"), 0);
    assert_int_equal(other->message_count, 1);
    assert_true(sf_publish(s, "", "a", "4", false));
    SF_AS(s, assert_true(session_tx_rollback(s->session, &f)));
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    assert_int_equal(sf_passive(other, "a"), 0);
    assert_int_equal(other->message_count, 1);
    sf_end(s);
    sf_end(other);
    sf_close();
}

// A rolled back ack is none: the delivery can be acknowledged again, and its tag keeps its place.
static void
test_tx_acks(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct fault f;
    assert_int_equal(sf_queue(s, "q", false), 0);
    for (int i = 0; i < 3; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    for (int i = 0; i < 3; i++)
        assert_int_equal(sf_get(s, "q", false), 0);
    SF_AS(s, assert_true(session_tx_select(s->session, &f)));
    assert_true(sf_settle(s, 2, false, SETTLE_ACK));
    assert_false(sf_settle(s, 2, false, SETTLE_ACK));
    SF_AS(s, assert_true(session_tx_rollback(s->session, &f)));
    assert_true(sf_settle(s, 2, true, SETTLE_ACK));
    assert_int_equal(SF_DO(s, session_tx_commit(s->session)), 0);
    assert_true(sf_settle(s, 3, false, SETTLE_ACK));
    sf_end(s); // not committed: comes back
    s = sf_session(0);
    assert_int_equal(sf_get(s, "q", true), 0);
    assert_false(s->is_empty);
    assert_true(s->is_redelivered);
    assert_int_equal(sf_get(s, "q", true), 0);
    assert_true(s->is_empty);
    sf_end(s);
    sf_close();
}

static void
test_get(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_true(sf_publish(s, "", "q", "x", false));
    assert_true(sf_publish(s, "", "q", "y", false));
    assert_int_equal(sf_get(s, "q", false), 0);
    assert_string_equal(s->body, "x");
    assert_int_equal(s->message_count, 1);
    assert_int_equal(s->delivery_tag, 1);
    assert_int_equal(SF_DO(s, session_recover(s->session)), 0);
    assert_int_equal(sf_get(s, "q", true), 0);
    assert_string_equal(s->body, "x");
    assert_true(s->is_redelivered);
    assert_int_equal(SF_DO(s, session_queue_purge(s->session, SLICE_LIT("q"))), 0);
    assert_int_equal(s->message_count, 1);
    assert_int_equal(sf_get(s, "q", false), 0);
    assert_true(s->is_empty);
    assert_int_equal(sf_get(s, "nosuch", false), 404);
    assert_string_equal(s->fault.text, "NOT_FOUND - no queue 'nosuch' in vhost '/'");
    sf_end(s);
    sf_close();
}

// Names, locks, and the queue's end.
static void
test_queues(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_EMPTY, false, false)), 404);
    assert_string_equal(s->fault.text, "NOT_FOUND - no previously declared queue");
    assert_int_equal(sf_queue(s, "", true), 0);
    assert_int_equal(strlen(s->name), 30);
    assert_memory_equal(s->name, "amq.gen-", 8);
    char name[64];
    snprintf(name, sizeof name, "%s", s->name);
    assert_int_equal(sf_passive(other, name), 405);
    assert_int_equal(sf_consume(other, name, "", true), 405);
    assert_int_equal(sf_queue(s, name, true), 403); // made-up names can only be declared passively
    assert_int_equal(sf_passive(s, name), 0);
    assert_int_equal(sf_queue(s, "amq.mine", false), 403);
    assert_string_equal(s->fault.text,
                        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'");
    // "" is the last one declared.
    assert_int_equal(sf_consume(s, "", "c", true), 0);
    struct session_bind_args bind = {.source = SLICE_LIT("amq.direct"), .is_dest_queue = true};
    assert_int_equal(SF_DO(s, session_bind(s->session, &bind)), 0);
    assert_true(sf_publish(s, "amq.direct", name, "by name", true));
    sf_expect(s, 1);
    assert_string_equal(s->events[0].text, "by name");
    sf_end(s);
    assert_int_equal(sf_passive(other, name), 404); // gone before close was answered
    sf_end(other);
    sf_close();
}

static void
test_cancel(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(sf_consume(s, "q", "a", false), 0);
    assert_int_equal(sf_consume(s, "q", "a", false), 530);
    assert_string_equal(s->fault.text, "NOT_ALLOWED - attempt to reuse consumer tag 'a'");
    assert_int_equal(SF_DO(s, session_cancel(s->session, SLICE_LIT("a"))), 0);
    assert_int_equal(SF_DO(s, session_cancel(s->session, SLICE_LIT("nosuch"))), 0);
    assert_true(sf_publish(s, "", "q", "m", false));
    sf_expect(s, 0);
    assert_int_equal(sf_consume(s, "q", "a", false), 0);
    sf_expect(s, 1);
    sf_forget(s);
    assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), true, false)), 406);
    assert_string_equal(other->fault.text, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use");
    assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false)), 0);
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'c');
    assert_string_equal(s->events[0].text, "a");
    assert_true(sf_settle(s, 1, false, SETTLE_ACK)); // of a queue that is gone: no error
    assert_int_equal(sf_consume(s, "q", "a", false), 404);
    sf_end(s);
    sf_end(other);
    sf_close();
}

static void
test_exclusive_consumer(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    struct session_consume_args a = {.queue = SLICE_LIT("q"), .is_exclusive = true};
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(SF_DO(s, session_consume(s->session, &a)), 0);
    assert_int_equal(sf_consume(other, "q", "", false), 403);
    assert_string_equal(other->fault.text, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
    sf_end(s);
    sf_rounds(30);
    assert_int_equal(sf_consume(other, "q", "", false), 0);
    sf_end(other);
    sf_close();
}

// The memo of the last route is dropped when anything declared changes.
static void
test_route_follows_topology(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *admin = sf_session(1);
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    assert_int_equal(sf_bind(s, "amq.topic", "a", "k.*"), 0);
    assert_true(sf_publish(s, "amq.topic", "k.1", "1", true));
    assert_true(sf_publish(s, "amq.topic", "k.1", "2", true));
    assert_int_equal(sf_bind(admin, "amq.topic", "b", "#"), 0);
    sf_rounds(5);
    assert_true(sf_publish(s, "amq.topic", "k.1", "3", true));
    assert_int_equal(sf_passive(s, "a"), 0);
    assert_int_equal(s->message_count, 3);
    assert_int_equal(sf_passive(s, "b"), 0);
    assert_int_equal(s->message_count, 1);
    assert_int_equal(SF_DO(admin, session_queue_delete(admin->session, SLICE_LIT("a"), false, false)), 0);
    assert_int_equal(SF_DO(admin, session_queue_delete(admin->session, SLICE_LIT("b"), false, false)), 0);
    assert_true(sf_publish(s, "amq.topic", "k.1", "4", true));
    sf_expect(s, 1);
    assert_int_equal(s->events[0].kind, 'r');
    assert_false(sf_publish(s, "nosuch", "k", "5", false));
    assert_string_equal(sf_fault, "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    sf_end(s);
    sf_end(admin);
    sf_close();
}

static void
test_message_properties(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct amqp_basic_props p = {.flags = AMQP_PROP_USER_ID, .user_id = SLICE_LIT("other")};
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_false(sf_publish_props(s, "", "q", "m", false, &p));
    assert_string_equal(
        sf_fault, "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'");
    p.user_id = SLICE_LIT("guest");
    assert_true(sf_publish_props(s, "", "q", "m", false, &p));
    p = (struct amqp_basic_props){.flags = AMQP_PROP_DELIVERY_MODE, .delivery_mode = 3};
    assert_false(sf_publish_props(s, "", "q", "m", false, &p));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,3}");
    p = (struct amqp_basic_props){.flags = AMQP_PROP_EXPIRATION, .expiration = SLICE_LIT("x")};
    assert_false(sf_publish_props(s, "", "q", "m", false, &p));
    sf_end(s);
    sf_close();
}

// CC and BCC route, each queue once; BCC is not seen by who receives.
static void
test_sender_selected(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    static const char *const names[] = {"a", "b", "c"};
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(sf_queue(s, names[i], false), 0);
    table_begin_array(&w, SLICE_LIT("CC"));
    array_put_longstr(&w, SLICE_LIT("b"));
    array_put_longstr(&w, SLICE_LIT("a"));
    table_writer_end(&w);
    table_begin_array(&w, SLICE_LIT("BCC"));
    array_put_longstr(&w, SLICE_LIT("c"));
    table_writer_end(&w);
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS, .headers = buf_slice(&headers)};
    assert_true(sf_publish_props(s, "", "a", "m", false, &p));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sf_passive(s, names[i]), 0);
        assert_int_equal(s->message_count, 1);
    }
    buf_fini(&headers);
    sf_end(s);
    sf_close();
}

static void
test_direct_reply_to(void **state)
{
    sf_open(world);
    struct sf_session *asker = sf_session(0), *server = sf_session(1);
    struct amqp_basic_props p = {.flags = AMQP_PROP_REPLY_TO, .reply_to = SLICE_LIT("amq.rabbitmq.reply-to")};
    assert_int_equal(sf_queue(server, "rpc", false), 0);
    assert_false(sf_publish_props(asker, "", "rpc", "?", false, &p));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - fast reply consumer does not exist");
    assert_int_equal(sf_consume(asker, "amq.rabbitmq.reply-to", "", false), 406);
    assert_string_equal(asker->fault.text, "PRECONDITION_FAILED - reply consumer cannot acknowledge");
    assert_int_equal(sf_consume(asker, "amq.rabbitmq.reply-to", "replies", true), 0);
    assert_int_equal(sf_consume(asker, "amq.rabbitmq.reply-to", "again", true), 406);
    assert_true(sf_publish_props(asker, "", "rpc", "?", false, &p));
    assert_int_equal(sf_get(server, "rpc", true), 0);
    assert_string_equal(server->body, "?");
    // The token: taken from the queue's message by a peek at what was delivered.
    assert_true(sf_publish_props(asker, "", "rpc", "?", false, &p));
    sf_rounds(20);
    sf_end(server);
    sf_end(asker);
    sf_close();
}

// A session closed while its answers are on the way: nothing is lost, nothing comes to the wrong one.
static void
test_close_with_requests_under_way(void **state)
{
    sf_open(world);
    struct sf_session *keeper = sf_session(1);
    assert_int_equal(sf_queue(keeper, "q", false), 0);
    for (int i = 0; i < 8; i++)
        assert_true(sf_publish(keeper, "", "q", "m", false));
    sf_rounds(20);
    for (int round = 0; round < 40; round++) {
        struct sf_session *s = sf_session(round);
        struct session_consume_args consume = {.queue = SLICE_LIT("q")};
        struct session_queue_args declare = {.queue = SLICE_EMPTY, .is_exclusive = true};
        s->is_done = false;
        switch (round % 4) {
        case 0: SF_AS(s, session_consume(s->session, &consume)); break;
        case 1: SF_AS(s, session_get(s->session, SLICE_LIT("q"), false)); break;
        case 2: SF_AS(s, session_queue_declare(s->session, &declare)); break;
        default: SF_AS(s, session_queue_purge(s->session, SLICE_LIT("nosuch"))); break;
        }
        sf_rounds(round % 5);
        sf_end(s);
    }
    sf_rounds(200);
    assert_int_equal(sf_passive(keeper, "q"), 0);
    assert_int_equal(keeper->message_count, 8);
    assert_int_equal(keeper->consumer_count, 0);
    sf_end(keeper);
    sf_close();
}

static void
test_alarms_block_publishers(void **state)
{
    sf_open(world);
    struct sf_session *publisher = sf_session(0), *consumer = sf_session(0);
    assert_int_equal(sf_queue(publisher, "q", false), 0);
    assert_true(sf_publish(publisher, "", "q", "m", false));
    SF_AS(publisher, broker_set_alarms(publisher->worker, 1));
    assert_string_equal(publisher->blocked, "low on memory");
    assert_string_equal(consumer->blocked, "");
    SF_AS(publisher, assert_true(client_must_wait(publisher->client)));
    SF_AS(consumer, assert_false(client_must_wait(consumer->client)));
    SF_AS(publisher, broker_set_alarms(publisher->worker, 3));
    SF_AS(publisher, broker_set_alarms(publisher->worker, 0));
    assert_string_equal(publisher->blocked, "");
    sf_end(publisher);
    sf_end(consumer);
    sf_close();
}

static void
test_permissions(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct slice patterns[3] = {SLICE_LIT("^mine"), SLICE_LIT("^mine"), SLICE_LIT("^mine")};
    assert_int_equal(sf_queue(s, "other", false), 0);
    struct topology_request args = {.change = CHANGE_PERMISSION_SET,
                                    .user = SLICE_LIT("guest"),
                                    .vhost = SLICE_LIT("/"),
                                    .configure = patterns[0],
                                    .write = patterns[1],
                                    .read = patterns[2],
                                    .done = topology_request_free};
    struct topology_request *r = topology_request_new(&args);
    SF_AS(s, topology_submit(r));
    sf_rounds(100);
    // At once, on a living connection, also for the route used last.
    assert_false(sf_publish(s, "", "other", "m", false));
    assert_string_equal(
        sf_fault, "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'guest'");
    assert_int_equal(sf_queue(s, "zzz", false), 403);
    assert_string_equal(s->fault.text,
                        "ACCESS_REFUSED - access to queue 'zzz' in vhost '/' refused for user 'guest'");
    assert_int_equal(sf_queue(s, "mine.1", false), 0);
    assert_int_equal(sf_passive(s, "other"), 0); // passive needs no right
    assert_int_equal(sf_get(s, "other", true), 403);
    sf_end(s);
    sf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish_and_consume),
        cmocka_unit_test(test_close_gives_back),
        cmocka_unit_test(test_confirms),
        cmocka_unit_test(test_global_prefetch),
        cmocka_unit_test(test_global_prefetch_changes),
        cmocka_unit_test(test_consumer_prefetch),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_tx_acks),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_queues),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_exclusive_consumer),
        cmocka_unit_test(test_route_follows_topology),
        cmocka_unit_test(test_message_properties),
        cmocka_unit_test(test_sender_selected),
        cmocka_unit_test(test_direct_reply_to),
        cmocka_unit_test(test_close_with_requests_under_way),
        cmocka_unit_test(test_alarms_block_publishers),
        cmocka_unit_test(test_permissions),
    };
    return sf_run_worlds("session", tests, LV_ARRAY_LEN(tests));
}
