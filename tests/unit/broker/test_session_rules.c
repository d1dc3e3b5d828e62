// test_session_rules.c: what a session may do and what it is told when it may not: the order of checks, redeclaring, limits, quorum
// queues' own rules, races with deletion.
#include "tests/unit/broker/session_fixture.h"

static uint16_t
declare_queue(struct sf_session *s, const struct session_queue_args *a)
{
    return SF_DO(s, session_queue_declare(s->session, a));
}

static struct buf
table_of(const char *name, const char *value)
{
    struct buf b = BUF_INIT;
    struct table_writer w = table_writer_of(&b);
    table_put_str(&w, slice_str(name), value);
    return b;
}

static void
set_permissions(struct sf_session *s, const char *configure, const char *write, const char *read)
{
    struct topology_request args = {.change = CHANGE_PERMISSION_SET,
                                    .user = SLICE_LIT("guest"),
                                    .vhost = SLICE_LIT("/"),
                                    .configure = slice_str(configure),
                                    .write = slice_str(write),
                                    .read = slice_str(read),
                                    .done = topology_request_free};
    struct topology_request *r = topology_request_new(&args);
    assert_non_null(r);
    SF_AS(s, topology_submit(r));
    sf_rounds(100);
}

// --- order of checks ----------------------------------------------------------------------------------------------------------

static void
test_order_of_checks(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct session_exchange_args x = {.exchange = SLICE_EMPTY, .type = SLICE_LIT("nosuch")};
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &x)), 503);
    assert_string_equal(s->fault.text, "COMMAND_INVALID - unknown exchange type 'nosuch'");
    x.type = SLICE_EMPTY;
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &x)), 503);
    assert_string_equal(s->fault.text, "COMMAND_INVALID - invalid exchange type ''");
    x.is_passive = true;
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &x)), 403);
    assert_string_equal(s->fault.text, "ACCESS_REFUSED - operation not permitted on the default exchange");
    assert_int_equal(sf_consume(s, "", "tag", true), 404);
    assert_string_equal(s->fault.text, "NOT_FOUND - no previously declared queue");
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(sf_consume(s, "q", "tag", true), 0);
    assert_int_equal(sf_consume(s, "nosuch", "tag", true), 530);
    assert_int_equal(sf_consume(s, "amq.rabbitmq.reply-to", "tag", false), 530);
    set_permissions(s, "^$", "^$", "^$");
    assert_int_equal(SF_DO(s, session_exchange_delete(s->session, SLICE_LIT("amq.direct"), false)), 403);
    assert_string_equal(s->fault.text,
                        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed");
    x = (struct session_exchange_args){.exchange = SLICE_LIT("amq.new"), .type = SLICE_LIT("fanout")};
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &x)), 403);
    assert_string_equal(
        s->fault.text, "ACCESS_REFUSED - access to exchange 'amq.new' in vhost '/' refused for user 'guest'");
    set_permissions(s, ".*", ".*", ".*");
    struct buf alternate = table_of("alternate-exchange", "x");
    x.arguments = buf_slice(&alternate);
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &x)), 403);
    assert_string_equal(s->fault.text,
                        "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'");
    buf_fini(&alternate);
    sf_end(s);
    sf_close();
}

// A message with everything wrong: each complaint in its turn.
static void
test_order_of_publish_checks(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf headers = table_of("CC", "not an array");
    struct amqp_basic_props p = {.flags = AMQP_PROP_REPLY_TO | AMQP_PROP_USER_ID | AMQP_PROP_EXPIRATION |
                                          AMQP_PROP_HEADERS | AMQP_PROP_DELIVERY_MODE,
                                 .reply_to = SLICE_LIT("amq.rabbitmq.reply-to"),
                                 .user_id = SLICE_LIT("other"),
                                 .expiration = SLICE_LIT("soon"),
                                 .headers = buf_slice(&headers),
                                 .delivery_mode = 9};
    assert_false(sf_publish_props(s, "nosuch", "k", "m", false, &p));
    assert_string_equal(sf_fault, "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    assert_false(sf_publish_props(s, "", "k", "m", false, &p));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - fast reply consumer does not exist");
    p.reply_to = SLICE_LIT("somewhere");
    assert_false(sf_publish_props(s, "", "k", "m", false, &p));
    assert_string_equal(
        sf_fault, "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'");
    p.user_id = SLICE_LIT("guest");
    assert_false(sf_publish_props(s, "", "k", "m", false, &p));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer");
    p.expiration = SLICE_LIT("1");
    assert_false(sf_publish_props(s, "", "k", "m", false, &p));
    assert_string_equal(
        sf_fault, "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}");
    p.headers = SLICE_EMPTY;
    assert_false(sf_publish_props(s, "", "k", "m", false, &p));
    assert_string_equal(sf_fault, "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,9}");
    p.delivery_mode = 1;
    assert_true(sf_publish_props(s, "", "k", "m", false, &p));
    buf_fini(&headers);
    sf_end(s);
    sf_close();
}

// The right to write to a dead-letter exchange is asked for when a queue is made, not when it is declared again.
static void
test_dead_letter_rights(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf dlx = table_of("x-dead-letter-exchange", "forbidden");
    struct session_queue_args a = {.queue = SLICE_LIT("q"), .arguments = buf_slice(&dlx)};
    assert_int_equal(declare_queue(s, &a), 0);
    set_permissions(s, ".*", "^q", ".*");
    assert_int_equal(declare_queue(s, &a), 0);
    a.queue = SLICE_LIT("q2");
    assert_int_equal(declare_queue(s, &a), 403);
    assert_string_equal(
        s->fault.text,
        "ACCESS_REFUSED - access to exchange 'forbidden' in vhost '/' refused for user 'guest'");
    buf_fini(&dlx);
    sf_end(s);
    sf_close();
}

// --- redeclaring and deleting -------------------------------------------------------------------------------------------------

static void
test_durable_exclusive_is_transient(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    struct session_queue_args a = {.queue = SLICE_LIT("mine"), .is_durable = true, .is_exclusive = true};
    assert_int_equal(declare_queue(s, &a), 0);
    assert_int_equal(declare_queue(s, &a), 0);
    a.is_durable = false;
    assert_int_equal(declare_queue(s, &a), 0);
    assert_int_equal(declare_queue(other, &a), 405);
    a.is_exclusive = false;
    assert_int_equal(declare_queue(s, &a), 405);
    assert_int_equal(SF_DO(other, session_queue_delete(other->session, SLICE_LIT("mine"), false, false)),
                     405);
    sf_end(s);
    sf_end(other);
    sf_close();
}

// Declared while somebody else deletes it: it is there, or it is made anew, but it is never "not found".
static void
test_redeclare_while_deleted(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    for (int round = 0; round < 40; round++) {
        struct session_queue_args a = {.queue = SLICE_LIT("q"), .is_exclusive = false};
        assert_int_equal(declare_queue(s, &a), 0);
        other->is_done = false;
        SF_AS(other, session_queue_delete(other->session, SLICE_LIT("q"), false, false));
        sf_rounds(round % 9);
        assert_int_equal(declare_queue(s, &a), 0);
        assert_int_equal(sf_wait(other), 0);
    }
    sf_end(s);
    sf_end(other);
    sf_close();
}

// What was published first counts, though the delete takes another way to the queue.
static void
test_delete_after_publish(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(sf_queue(s, "q", false), 0);
        assert_true(sf_publish(s, "", "q", "1", false));
        assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("q"), false, true)), 406);
        assert_string_equal(s->fault.text, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty");
        assert_true(sf_publish(s, "", "q", "2", false));
        assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("q"), false, false)), 0);
        assert_int_equal(s->message_count, 2);
    }
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("q"), false, false)), 0);
    assert_int_equal(s->message_count, 0);
    sf_end(s);
    sf_close();
}

static void
test_get_while_deleted(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *other = sf_session(1);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(sf_queue(other, "doomed", false), 0);
        assert_int_equal(sf_queue(s, "kept", false), 0); // the name used last
        other->is_done = false;
        SF_AS(other, session_queue_delete(other->session, SLICE_LIT("doomed"), false, false));
        sf_rounds(round % 9);
        if (sf_get(s, "doomed", false) != 0)
            assert_string_equal(s->fault.text, "NOT_FOUND - no queue 'doomed' in vhost '/'");
        assert_int_equal(sf_wait(other), 0);
    }
    sf_end(s);
    sf_end(other);
    sf_close();
}

// --- limits -------------------------------------------------------------------------------------------------------------------

// RabbitMQ: a limit per consumer, set later, ends the one of the channel.
static void
test_qos_per_consumer_ends_global(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "q", false), 0);
    for (int i = 0; i < 8; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    assert_true(sf_qos(s, 2, true));
    assert_int_equal(sf_consume(s, "q", "a", false), 0);
    sf_expect(s, 2);
    assert_true(sf_qos(s, 3, false));
    sf_expect(s, 8); // the first consumer has no limit of its own
    sf_end(s);
    sf_close();
}

// Both limits: the consumer's own holds while the channel's has room, and is given out again as soon as it has.
static void
test_both_limits(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    for (int i = 0; i < 10; i++) {
        assert_true(sf_publish(s, "", "a", "a", false));
        assert_true(sf_publish(s, "", "b", "b", false));
    }
    assert_true(sf_qos(s, 2, false));
    assert_true(sf_qos(s, 3, true));
    assert_int_equal(sf_consume(s, "a", "a", false), 0);
    sf_expect(s, 2);
    assert_int_equal(sf_consume(s, "b", "b", false), 0);
    sf_expect(s, 3);
    uint64_t acked = 0;
    while (acked < 20) {
        size_t before = s->event_count;
        assert_true(sf_settle(s, ++acked, false, SETTLE_ACK));
        sf_expect(s, LV_MIN(before + 1, (size_t)20));
    }
    sf_end(s);
    sf_close();
}

// The limit comes and goes while questions, grants and messages are on their way: it stays exact, and nothing is lost for good.
static void
test_limit_toggles(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    const char *const queues[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sf_queue(s, queues[i], false), 0);
        assert_int_equal(sf_consume(s, queues[i], queues[i], false), 0);
    }
    size_t published = 0;
    for (unsigned round = 0; round < 300; round++) {
        assert_true(sf_qos(s, (uint16_t)(round % 3 == 0 ? 0 : round % 4 + 1), true));
        sf_rounds((int)(round * 7 % 4));
        assert_true(sf_publish(s, "", queues[round % 3], "m", false));
        published++;
        if (round % 5 == 0 && s->event_count > 0)
            (void)sf_settle(s, 0, true, SETTLE_ACK);
    }
    assert_true(sf_qos(s, 2, true));
    for (int quiet = 0; quiet < 40;) {
        size_t before = s->event_count;
        assert_true(sf_settle(s, 0, true, SETTLE_ACK));
        sf_rounds(20);
        assert_true(s->event_count <= before + 2 || quiet == 0);
        quiet = s->event_count == before ? quiet + 1 : 1;
    }
    assert_int_equal(s->event_count, published);
    sf_end(s);
    sf_close();
}

static void
test_many_consumers(void **state)
{
    enum { CONSUMERS = 200 };
    sf_open(world);
    struct sf_session *s = sf_session(0);
    char tag[16];
    assert_int_equal(sf_queue(s, "q", false), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CONSUMERS; i++) {
            snprintf(tag, sizeof tag, "tag-%d", i);
            assert_int_equal(sf_consume(s, "q", tag, false), 0);
            if (i % 50 == 49)
                assert_int_equal(sf_consume(s, "q", "tag-1", false), 530);
        }
        assert_int_equal(session_consumer_count(s->session), CONSUMERS);
        for (int i = 0; i < CONSUMERS; i++) {
            snprintf(tag, sizeof tag, "tag-%d", (i * 7) % CONSUMERS);
            assert_int_equal(SF_DO(s, session_cancel(s->session, slice_str(tag))), 0);
            if (i == 100)
                assert_int_equal(sf_consume(s, "q", tag, false), 0); // free again
            if (i == 101)
                assert_int_equal(session_consumer_count(s->session), CONSUMERS - 101);
        }
        snprintf(tag, sizeof tag, "tag-%d", 700 % CONSUMERS);
        assert_int_equal(SF_DO(s, session_cancel(s->session, slice_str(tag))), 0);
        assert_int_equal(session_consumer_count(s->session), 0);
    }
    assert_int_equal(sf_passive(s, "q"), 0);
    assert_int_equal(s->consumer_count, 0);
    sf_end(s);
    sf_close();
}

// Recovered messages come again, marked, in their order, with new tags; the old ones are unknown.
static void
test_recover(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    const char *const bodies[] = {"1", "2", "3", "4"};
    assert_int_equal(sf_queue(s, "q", false), 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(sf_publish(s, "", "q", bodies[i], false));
    assert_true(sf_qos(s, 3, false));
    assert_int_equal(sf_consume(s, "q", "c", false), 0);
    sf_expect(s, 3);
    assert_true(sf_settle(s, 2, false, SETTLE_ACK));
    sf_expect(s, 4);
    sf_forget(s);
    assert_int_equal(SF_DO(s, session_recover(s->session)), 0);
    sf_expect(s, 3);
    const char *const again[] = {"1", "3", "4"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(s->events[i].text, again[i]);
        assert_int_equal(s->events[i].tag, 5 + i);
        assert_true(s->events[i].is_redelivered);
    }
    assert_false(sf_settle(s, 4, false, SETTLE_ACK));
    assert_true(sf_settle(s, 7, true, SETTLE_ACK));
    assert_int_equal(SF_DO(s, session_recover(s->session)), 0); // nothing to recover
    sf_expect(s, 3);
    sf_end(s);
    sf_close();
}

// --- queue types --------------------------------------------------------------------------------------------------------------

static void
test_quorum_rules(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf quorum = table_of("x-queue-type", "quorum");
    struct table_writer w = table_writer_of(&quorum);
    struct session_queue_args a = {.arguments = buf_slice(&quorum), .is_durable = true};
    assert_int_equal(declare_queue(s, &a), 406);
    assert_string_equal(
        s->fault.text,
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue");
    a.queue = SLICE_LIT("quo");
    a.is_exclusive = a.is_auto_delete = true;
    assert_int_equal(declare_queue(s, &a), 406);
    assert_string_equal(s->fault.text,
                        "PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'quo' in vhost '/'");
    a.is_auto_delete = false;
    assert_int_equal(declare_queue(s, &a), 406);
    assert_string_equal(
        s->fault.text,
        "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'quo' in vhost '/'");
    a.is_exclusive = false;
    table_put_bool(&w, SLICE_LIT("x-single-active-consumer"), true);
    a.arguments = buf_slice(&quorum);
    assert_int_equal(declare_queue(s, &a), 0);
    assert_int_equal(sf_get(s, "quo", true), 405);
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("quo"), true, false)), 540);
    assert_string_equal(
        s->fault.text,
        "NOT_IMPLEMENTED - cannot delete queue 'quo' in vhost '/'. queue.delete operations with "
        "if-unused flag set are not supported by quorum queues");
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("quo"), false, true)), 540);
    // A limit of the channel that is there refuses it, one that comes later does not concern it.
    assert_true(sf_qos(s, 1, true));
    assert_int_equal(sf_consume(s, "quo", "c", false), 540);
    assert_string_equal(s->fault.text,
                        "NOT_IMPLEMENTED - queue 'quo' in vhost '/' does not support global qos");
    assert_true(sf_qos(s, 0, true));
    assert_int_equal(sf_consume(s, "quo", "c", false), 0);
    assert_true(sf_qos(s, 1, true));
    sf_rounds(20);
    for (int i = 0; i < 3; i++)
        assert_true(sf_publish(s, "", "quo", "m", false));
    sf_expect(s, 3);
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("quo"), false, false)), 0);
    buf_fini(&quorum);
    sf_end(s);
    sf_close();
}

static void
put_vhost(struct sf_session *s, struct slice default_queue_type)
{
    struct topology_request args = {.change = CHANGE_VHOST_PUT,
                                    .name = SLICE_LIT("/"),
                                    .default_queue_type = default_queue_type,
                                    .done = topology_request_free};
    struct topology_request *r = topology_request_new(&args);
    assert_non_null(r);
    SF_AS(s, topology_submit(r));
    sf_rounds(100);
}

// The vhost's default type is as good as an argument: for names, for what the queue can do, for redeclaring.
static void
test_default_queue_type(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf quorum = table_of("x-queue-type", "quorum"), classic = table_of("x-queue-type", "classic");
    struct session_queue_args old = {.queue = SLICE_LIT("old"), .is_durable = true};
    struct session_queue_args a = {.is_durable = true};
    assert_int_equal(declare_queue(s, &old), 0);
    put_vhost(s, SLICE_LIT("quorum"));
    put_vhost(s, SLICE_LIT("nosuch")); // refused: stays what it was
    assert_int_equal(declare_queue(s, &a), 406);
    assert_string_equal(
        s->fault.text,
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue");
    a.queue = SLICE_LIT("new");
    assert_int_equal(declare_queue(s, &a), 0);
    assert_int_equal(declare_queue(s, &a), 0);
    a.arguments = buf_slice(&quorum);
    assert_int_equal(declare_queue(s, &a), 0);
    assert_int_equal(SF_DO(s, session_queue_delete(s->session, SLICE_LIT("new"), true, false)), 540);
    a.arguments = buf_slice(&classic);
    assert_int_equal(declare_queue(s, &a), 406);
    assert_string_equal(s->fault.text,
                        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'new' in "
                        "vhost '/': received 'classic' but current is 'quorum'");
    assert_int_equal(declare_queue(s, &old), 406);
    assert_string_equal(s->fault.text,
                        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'old' in vhost '/': "
                        "received the value 'quorum' of type 'longstr' but current is none");
    // What a quorum queue cannot be stays classic; so does what says so.
    struct session_queue_args transient = {.queue = SLICE_LIT("transient")};
    assert_int_equal(declare_queue(s, &transient), 0);
    struct session_queue_args exclusive = {
        .queue = SLICE_LIT("exclusive"), .is_durable = true, .is_exclusive = true};
    assert_int_equal(declare_queue(s, &exclusive), 0);
    old.arguments = buf_slice(&classic);
    assert_int_equal(declare_queue(s, &old), 0);
    put_vhost(s, SLICE_LIT(""));
    old.arguments = SLICE_EMPTY;
    assert_int_equal(declare_queue(s, &old), 0);
    buf_fini(&quorum);
    buf_fini(&classic);
    sf_end(s);
    sf_close();
}

static void
test_consumer_arguments(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct buf arguments = table_of("x-cancel-on-ha-failover", "yes");
    struct session_consume_args a = {.queue = SLICE_LIT("q"), .arguments = buf_slice(&arguments)};
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_int_equal(SF_DO(s, session_consume(s->session, &a)), 406);
    assert_string_equal(
        s->fault.text,
        "PRECONDITION_FAILED - invalid arg 'x-cancel-on-ha-failover' for queue 'q' in vhost '/': "
        "{unacceptable_type,longstr}");
    buf_fini(&arguments);
    sf_end(s);
    sf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_checks),
        cmocka_unit_test(test_order_of_publish_checks),
        cmocka_unit_test(test_dead_letter_rights),
        cmocka_unit_test(test_durable_exclusive_is_transient),
        cmocka_unit_test(test_redeclare_while_deleted),
        cmocka_unit_test(test_delete_after_publish),
        cmocka_unit_test(test_get_while_deleted),
        cmocka_unit_test(test_qos_per_consumer_ends_global),
        cmocka_unit_test(test_both_limits),
        cmocka_unit_test(test_limit_toggles),
        cmocka_unit_test(test_many_consumers),
        cmocka_unit_test(test_recover),
        cmocka_unit_test(test_quorum_rules),
        cmocka_unit_test(test_default_queue_type),
        cmocka_unit_test(test_consumer_arguments),
    };
    return sf_run_worlds("session rules", tests, LV_ARRAY_LEN(tests));
}
