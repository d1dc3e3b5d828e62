// test_bulk.c: acknowledgements, closes and commits that take several turns: the channel's other frames wait for them, and what
// is answered is true.
#include "amqp_fixture.h"

enum { MESSAGES = 30 };

static int
setup(void **state)
{
    af_open(*state);
    return 0;
}

static int
teardown(void **state)
{
    af_close();
    return 0;
}

static void
set_alarms(unsigned alarms)
{
    worker_self = af.w;
    broker_set_alarms(af.w, alarms);
    worker_self = NULL;
}

// A connection that has been given MESSAGES messages on channel 1; they are "0" to "29", from the queue "bulk".
static struct af_conn *
holder(void)
{
    struct af_conn *c = af_ready();
    char body[16];
    af_queue(c, 1, "bulk");
    af_do(c, 1, BASIC_CONSUME, basic_consume, .queue = SLICE_LIT("bulk"), .consumer_tag = SLICE_LIT("t"));
    af_expect(c, 1, BASIC_CONSUME_OK);
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(body, sizeof body, "%d", i);
        af_publish(c, 1, "", "bulk", body);
    }
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(body, sizeof body, "%d", i);
        af_expect(c, 1, BASIC_DELIVER);
        af_expect_body(c, 1, slice_str(body));
    }
    af_do(c, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = SLICE_LIT("t"));
    af_expect(c, 1, BASIC_CANCEL_OK);
    return c;
}

static void
expect_ready(struct af_conn *c, uint16_t channel, uint32_t count)
{
    af_do(c, channel, QUEUE_DECLARE, queue_declare, .queue = SLICE_LIT("bulk"), .passive = true);
    af_expect(c, channel, QUEUE_DECLARE_OK);
    assert_int_equal(c->m.queue_declare_ok.message_count, count);
}

static void
delete_bulk(struct af_conn *c)
{
    af_channel(c, 9);
    af_do(c, 9, QUEUE_DELETE, queue_delete, .queue = SLICE_LIT("bulk"));
    af_expect(c, 9, QUEUE_DELETE_OK);
    af_bye(c);
}

// What follows on the channel finds everything settled.
static void
test_order_on_the_channel(void **state)
{
    struct af_conn *c = holder();
    struct buf b = BUF_INIT;
    amqp_frame_basic_ack(&b, 1, &(struct amqp_basic_ack){.delivery_tag = 10, .multiple = true});
    amqp_frame_basic_nack(&b, 1,
                          &(struct amqp_basic_nack){.delivery_tag = 20, .multiple = true, .requeue = true});
    amqp_frame_basic_get(&b, 1, &(struct amqp_basic_get){.queue = SLICE_LIT("bulk"), .no_ack = true});
    amqp_frame_basic_recover(&b, 1, &(struct amqp_basic_recover){.requeue = true});
    amqp_frame_queue_purge(&b, 1, &(struct amqp_queue_purge){.queue = SLICE_LIT("bulk")});
    af_send_buf(c, &b);
    af_expect(c, 1, BASIC_GET_OK);
    assert_int_equal(c->m.basic_get_ok.message_count, 9);
    assert_true(c->m.basic_get_ok.redelivered);
    af_expect_body(c, 1, SLICE_LIT("10"));
    af_expect(c, 1, BASIC_RECOVER_OK);
    af_expect(c, 1, QUEUE_PURGE_OK);
    assert_int_equal(c->m.queue_purge_ok.message_count, 19);
    delete_bulk(c);
}

// close-ok means that it is all back; frames behind the close are the next channel's.
static void
test_channel_close(void **state)
{
    struct af_conn *c = holder();
    struct buf b = BUF_INIT;
    amqp_frame_channel_close(&b, 1, &(struct amqp_channel_close){.reply_code = 200});
    amqp_frame_channel_open(&b, 1);
    amqp_frame_queue_declare(&b, 1,
                             &(struct amqp_queue_declare){.queue = SLICE_LIT("bulk"), .passive = true});
    af_send_buf(c, &b);
    af_expect(c, 1, CHANNEL_CLOSE_OK);
    af_expect(c, 1, CHANNEL_OPEN_OK);
    af_expect(c, 1, QUEUE_DECLARE_OK);
    assert_int_equal(c->m.queue_declare_ok.message_count, MESSAGES);
    assert_int_equal(af_newest()->pending_bytes, 0);
    delete_bulk(c);
}

// The connection is closed behind the channel's close, or in the middle of it, with a word or without.
static void
test_close_of_all(void **state)
{
    for (int way = 0; way < 3; way++) {
        struct af_conn *other = af_ready(), *c = holder();
        af_do(c, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
        af_rounds(way == 2 ? 2 : 0);
        if (way == 0) {
            af_do(c, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
            af_expect(c, 1, CHANNEL_CLOSE_OK);
            af_expect(c, 0, CONNECTION_CLOSE_OK);
        }
        memory_peer_shut(c->peer);
        af_expect_closed(c);
        af_free(c);
        for (int i = 0; af_stats().connections > 1; i++) {
            assert_true(i < 3000);
            af_round();
        }
        expect_ready(other, 1, MESSAGES);
        delete_bulk(other);
    }
}

static void
test_connection_close(void **state)
{
    struct af_conn *other = af_ready(), *c = holder();
    af_bye(c);
    expect_ready(other, 1, MESSAGES);
    delete_bulk(other);
}

// Acknowledgements overtake publishes that are held, also those that come while a long one is carried out; in their order.
static void
test_acks_while_held(void **state)
{
    struct af_conn *c = holder();
    struct connection *conn = af_newest();
    set_alarms(1);
    af_expect(c, 0, CONNECTION_BLOCKED);
    af_publish(c, 1, "", "bulk", "held");
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 10, .multiple = true);
    af_do(c, 1, BASIC_NACK, basic_nack, .delivery_tag = 25, .multiple = true);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 27);
    af_do(c, 1, BASIC_NACK, basic_nack, .delivery_tag = 26, .requeue = true);
    af_do(c, 1, BASIC_GET, basic_get, .queue = SLICE_LIT("bulk"), .no_ack = true); // overtakes nothing
    af_rounds(60);
    size_t pending = conn->pending_bytes;
    assert_true(pending > 0);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 28, .multiple = true);
    af_rounds(60);
    assert_false(af_take(c));
    af_channel(c, 2);
    expect_ready(c, 2, 1);
    set_alarms(0);
    af_expect(c, 0, CONNECTION_UNBLOCKED);
    af_expect(c, 1, BASIC_GET_OK);
    assert_int_equal(c->m.basic_get_ok.message_count, 1);
    af_expect_body(c, 1, SLICE_LIT("25"));
    assert_int_equal(conn->pending_bytes, 0);
    af_do(c, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
    af_expect(c, 1, CHANNEL_CLOSE_OK);
    expect_ready(c, 2, 3); // "held", "28", "29"
    delete_bulk(c);
}

// One that is wrong ends the channel, with all that waits.
static void
test_wrong_ack_while_held(void **state)
{
    struct af_conn *c = holder();
    set_alarms(1);
    af_expect(c, 0, CONNECTION_BLOCKED);
    af_publish(c, 1, "", "bulk", "held");
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 10, .multiple = true);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 5);
    af_do(c, 1, BASIC_ACK, basic_ack, .delivery_tag = 11);
    af_expect_close(c, 1, 406, AMQP_BASIC_ACK, "PRECONDITION_FAILED - unknown delivery tag 5");
    assert_int_equal(af_newest()->pending_bytes, 0);
    af_do0(c, 1, CHANNEL_CLOSE_OK);
    set_alarms(0);
    af_expect(c, 0, CONNECTION_UNBLOCKED);
    af_rounds(60);
    af_channel(c, 1);
    expect_ready(c, 1, MESSAGES - 10);
    delete_bulk(c);
}

static void
test_commit(void **state)
{
    struct af_conn *c = holder();
    struct buf b = BUF_INIT;
    af_do0(c, 1, TX_SELECT);
    af_expect(c, 1, TX_SELECT_OK);
    amqp_frame_basic_ack(&b, 1, &(struct amqp_basic_ack){.delivery_tag = 20, .multiple = true});
    for (int i = 0; i < MESSAGES; i++)
        af_content(&b, 1, "", i == 7 ? "nowhere" : "bulk", SLICE_LIT("new"), 1);
    amqp_frame_basic_nack(&b, 1, &(struct amqp_basic_nack){.multiple = true, .requeue = true});
    amqp_frame_tx_commit(&b, 1);
    amqp_frame_basic_get(&b, 1, &(struct amqp_basic_get){.queue = SLICE_LIT("bulk"), .no_ack = true});
    af_send_buf(c, &b);
    af_expect(c, 1, BASIC_RETURN);
    af_expect_body(c, 1, SLICE_LIT("new"));
    af_expect(c, 1, TX_COMMIT_OK);
    af_expect(c, 1, BASIC_GET_OK);
    assert_int_equal(c->m.basic_get_ok.message_count, MESSAGES + 8);
    af_expect_body(c, 1, SLICE_LIT("20"));
    delete_bulk(c);
}

int
main(void)
{
    struct af_world one = {.workers = 1, .placement = PLACE_BALANCED, .settle_turn = 3};
    struct af_world two = {.workers = 1, .placement = PLACE_BALANCED};
    struct af_world three = af_worlds[1];
    const struct CMUnitTest tests[] = {
#define T(name)                                                                                              \
    {#name, name, setup, teardown, &one}, {#name " (all at once)", name, setup, teardown, &two},             \
        {#name " (3 workers)", name, setup, teardown, &three}
        T(test_order_on_the_channel),
        T(test_channel_close),
        T(test_close_of_all),
        T(test_connection_close),
        T(test_acks_while_held),
        T(test_wrong_ack_while_held),
        T(test_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
