// test_topology_delay.c: delayed exchanges and their queues, which nobody sees: made together, gone together, also over restarts, failed
// commits, and a crash between the two.
#include "amqp/wire/table.h"
#include "tests/unit/broker/topology_fixture.h"

static const struct tf_config two = {.workers = 2, .is_kept = true};

static void
restart(void)
{
    tf.fails_commits = false;
    tf_settle();
    tf_stop();
    tf_start(&two);
    tf_check();
}

static const struct queue_def *
delay_of_exchange(const char *name)
{
    const struct exchange *x = tf_x(name);
    assert_non_null(x);
    return x->delay_queue;
}

static struct tf_answer
declare(const char *name, struct slice arguments, uint32_t flags)
{
    return tf_do(0, &(struct topology_request){.change = CHANGE_EXCHANGE_DECLARE,
                                               ROOT,
                                               .name = slice_str(name),
                                               .type = SLICE_LIT("x-delayed-message"),
                                               .arguments = arguments,
                                               .flags = flags});
}

static void
test_arguments(void **state)
{
    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    static const char missing[] =
        "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type";
    tf_open(&two);
    assert_fault(declare("x", SLICE_EMPTY, 0), 406, missing);
    table_put_i32(&w, SLICE_LIT("x-delayed-type"), 1);
    assert_fault(declare("x", buf_slice(&args), 0), 406, missing);
    buf_reset(&args);
    w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("x-delayed-type"), "x-delayed-message");
    assert_fault(declare("x", buf_slice(&args), 0), 406, missing);
    buf_reset(&args);
    w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("x-delayed-type"), "nosuch");
    assert_fault(declare("x", buf_slice(&args), 0), 503, "COMMAND_INVALID - unknown exchange type 'nosuch'");
    buf_reset(&args);
    w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("x-delayed-type"), "x-consistent-hash");
    table_put_str(&w, SLICE_LIT("hash-property"), "app_id");
    assert_fault(declare("x", buf_slice(&args), 0), 406,
                 "PRECONDITION_FAILED - Unsupported property: app_id");
    buf_reset(&args);
    w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("x-delayed-type"), "x-consistent-hash");
    tf_ok(declare("x", buf_slice(&args), 0));
    tf_ok(tf_queue(0, "q", 0, 1));
    assert_fault(tf_bind(CHANGE_BIND, "x", "q", "none", CHANGE_DEST_IS_QUEUE), 406,
                 "PRECONDITION_FAILED - The binding key must be an integer: <<\"none\">>");
    assert_int_equal(tf_x("x")->router.type, EXCHANGE_CONSISTENT_HASH);
    buf_fini(&args);
    tf_close();
}

static void
test_made_and_gone_together(void **state)
{
    tf_open(&two);
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE));
    tf_ok(tf_exchange("t", "x-delayed-message", 0));
    assert_true(delay_of_exchange("d")->flags == (QUEUE_DELAY | QUEUE_DURABLE));
    assert_true(delay_of_exchange("t")->flags == QUEUE_DELAY);
    assert_int_equal(tf_vhost("/")->queues.count, 0);
    assert_int_equal(tf_vhost("/")->delay_queues.count, 2);
    assert_int_equal(tf_owner_queues(), 2);
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE)); // again: the same
    assert_int_equal(tf_vhost("/")->delay_queues.count, 2);
    tf_check();
    // Nothing that a client says reaches it.
    char name[300];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(delay_of_exchange("d")->name));
    assert_null(tf_def(name));
    assert_int_equal(tf_bind(CHANGE_BIND, "amq.direct", name, "k", CHANGE_DEST_IS_QUEUE).code, 404);
    assert_int_equal(tf_queue(0, name, 0, 1).code, 403);
    tf_ok(tf_delete_queue(0, name, 0, 1)); // what is not there is deleted with success
    assert_int_equal(tf_vhost("/")->delay_queues.count, 2);
    tf_ok(tf_delete_exchange("d", 0));
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE)); // perhaps before the old queue is gone
    tf_ok(tf_delete_exchange("t", 0));
    tf_settle();
    assert_int_equal(tf_owner_queues(), 1);
    // With its last binding, and with its vhost.
    tf_ok(tf_exchange("a", "x-delayed-message", CHANGE_AUTO_DELETE));
    tf_ok(tf_queue(0, "q", 0, 1));
    tf_ok(tf_bind(CHANGE_BIND, "a", "q", "k", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_delete_queue(0, "q", 0, 1));
    assert_null(tf_x("a"));
    tf_settle();
    assert_int_equal(tf_owner_queues(), 1);
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("/")}));
    tf_settle();
    assert_int_equal(tf_owner_queues(), 0);
    tf_close();
}

static void
test_restart(void **state)
{
    tf_open(&two);
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE));
    tf_ok(tf_exchange("t", "x-delayed-message", 0));
    uint64_t id = delay_of_exchange("d")->id;
    restart();
    assert_null(tf_x("t"));
    assert_int_equal(delay_of_exchange("d")->id, id);
    assert_true(tf_x("d")->is_delayed && tf_x("d")->router.type == EXCHANGE_TOPIC);
    assert_true(delay_of_exchange("d")->flags == (QUEUE_DELAY | QUEUE_DURABLE));
    tf_ok(tf_delete_exchange("d", 0));
    restart();
    assert_int_equal(tf_owner_queues(), 0);
    tf_close();
}

// The commit that removed the exchange was the last thing the broker did.
static void
test_a_queue_left_behind(void **state)
{
    tf_open(&two);
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE));
    tf_ok(tf_exchange("keep", "x-delayed-message", CHANGE_DURABLE));
    uint64_t id = tf_x("d")->id, keep = delay_of_exchange("keep")->id;
    tf_stop();
    struct meta *meta;
    char *error = NULL;
    assert_int_equal(meta_open(tf.dir, &meta, &error), 0);
    assert_int_equal(meta_begin(meta), 0);
    assert_int_equal(meta_delete_exchange(meta, id), 0);
    assert_int_equal(meta_commit(meta), 0);
    meta_close(meta);
    tf_start(&two);
    assert_int_equal(tf_owner_queues(), 2);
    tf_settle();
    assert_int_equal(tf_owner_queues(), 1);
    assert_int_equal(delay_of_exchange("keep")->id, keep);
    restart();
    assert_int_equal(tf_vhost("/")->delay_queues.count, 1);
    tf_close();
}

// An exchange that stays after all keeps what waits.
static void
test_failed_commits(void **state)
{
    tf_open(&two);
    tf_ok(tf_exchange("d", "x-delayed-message", CHANGE_DURABLE));
    const struct queue_def *queue = delay_of_exchange("d");
    tf.fails_commits = true;
    assert_int_equal(tf_delete_exchange("d", 0).code, 541);
    assert_int_equal(tf_exchange("e", "x-delayed-message", CHANGE_DURABLE).code, 541);
    tf_settle();
    tf_check();
    assert_ptr_equal(delay_of_exchange("d"), queue);
    assert_null(tf_x("e"));
    assert_int_equal(tf_owner_queues(), 1);
    restart();
    assert_int_equal(tf_owner_queues(), 1);
    tf_close();
}

static void
set_policy(const char *pattern, const char *definition)
{
    LV_CLEANUP(buf_fini) struct buf text = BUF_INIT;
    buf_printf(&text, "{\"pattern\":\"%s\",\"apply-to\":\"exchanges\",\"priority\":0,\"definition\":%s}",
               pattern, definition);
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                              ROOT,
                                              .component = SLICE_LIT("policy"),
                                              .name = SLICE_LIT("delay"),
                                              .text = buf_slice(&text)}));
    tf_settle();
}

// Any exchange delays when a policy says so, as long as it says so; its queue stays for what waits.
static void
test_by_policy(void **state)
{
    tf_open(&two);
    tf_ok(tf_exchange("later", "topic", CHANGE_DURABLE));
    tf_ok(tf_exchange("now", "topic", CHANGE_DURABLE));
    set_policy("^later", "{\"delayed-message\":true}");
    assert_true(tf_x("later")->is_delayed && tf_x("later")->type == EXCHANGE_TOPIC);
    assert_non_null(delay_of_exchange("later"));
    assert_true(!tf_x("now")->is_delayed && delay_of_exchange("now") == NULL);
    tf_ok(tf_exchange("later-too", "fanout", 0)); // declared under the policy
    assert_true(tf_x("later-too")->is_delayed && delay_of_exchange("later-too") != NULL);
    uint64_t id = delay_of_exchange("later")->id;
    restart();
    assert_true(tf_x("later")->is_delayed);
    assert_int_equal(delay_of_exchange("later")->id, id);
    set_policy("^later", "{\"delayed-message\":false}");
    assert_false(tf_x("later")->is_delayed);
    assert_int_equal(delay_of_exchange("later")->id, id);
    restart();
    assert_false(tf_x("later")->is_delayed);
    assert_int_equal(delay_of_exchange("later")->id, id);
    tf_ok(tf_delete_exchange("later", 0));
    tf_settle();
    assert_int_equal(tf_owner_queues(), 0);
    tf.fails_commits = false;
    set_policy("^now", "{\"delayed-message\":true}");
    assert_true(tf_x("now")->is_delayed);
    tf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),      cmocka_unit_test(test_made_and_gone_together),
        cmocka_unit_test(test_restart),        cmocka_unit_test(test_a_queue_left_behind),
        cmocka_unit_test(test_failed_commits), cmocka_unit_test(test_by_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
