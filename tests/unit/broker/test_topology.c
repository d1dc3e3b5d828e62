// test_topology.c: exchanges, queues and bindings through the topology writer, with the texts of RabbitMQ; placement, batches, the end.
#include "amqp/wire/table.h"
#include "queue/queue_worker.h"
#include "tests/unit/broker/topology_fixture.h"

static void
test_first_start(void **state)
{
    tf_open(tf_setup);
    const struct topology *t = tf_tw()->newest;
    const struct vhost *v = topology_vhost(t, SLICE_LIT("/"));
    assert_non_null(v);
    assert_int_equal(v->exchanges.count, 7);
    assert_int_equal(v->max_queues, -1);
    const struct exchange *trace = vhost_exchange(v, SLICE_LIT("amq.rabbitmq.trace"));
    assert_true(trace->is_internal && trace->is_durable && trace->type == EXCHANGE_TOPIC);
    assert_true(vhost_exchange(v, SLICE_EMPTY)->is_default);
    assert_false(vhost_exchange(v, SLICE_LIT("amq.direct"))->is_default);
    assert_int_equal(vhost_exchange(v, SLICE_LIT("amq.match"))->type, EXCHANGE_HEADERS);
    const struct user *u = topology_user(t, SLICE_LIT("guest"));
    assert_int_equal(u->tag_flags, USER_TAG_ADMINISTRATOR);
    assert_true(password_matches(u, SLICE_LIT("secret")));
    assert_false(password_matches(u, SLICE_LIT("guess")));
    assert_non_null(topology_permission(t, SLICE_LIT("guest"), SLICE_LIT("/")));
    for (int i = 0; i < tf.crew->n_members; i++) {
        worker_self = tf.crew->members[i];
        if (tf.crew->members[i] != tf.writer)
            assert_ptr_equal(topology_of(tf.crew->members[i]), t);
    }
    worker_self = NULL;
    tf_close();
}

static void
test_queue_declare(void **state)
{
    tf_open(tf_setup);
    struct tf_answer a = tf_queue(0, "dur", CHANGE_DURABLE, 1);
    tf_ok(a);
    assert_true(a.is_created);
    assert_int_equal(tf_owner_queues(), 1);
    const struct queue_def *def = tf_def("dur");
    assert_true(slice_eq_str(def->vhost, "/") && slice_eq_str(def->user, "guest"));
    assert_int_equal(def->flags, QUEUE_DURABLE);
    a = tf_queue(0, "dur", CHANGE_DURABLE, 1);
    tf_ok(a);
    assert_false(a.is_created);
    assert_fault(tf_queue(0, "dur", 0, 1), 406,
                 "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'dur' in vhost '/': received "
                 "'false' but current is 'true'");
    assert_fault(tf_queue(0, "dur", CHANGE_DURABLE | CHANGE_AUTO_DELETE, 1), 406,
                 "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'dur' in vhost '/': "
                 "received 'true' but current is "
                 "'false'");
    assert_fault(tf_queue(0, "dur", CHANGE_DURABLE | CHANGE_EXCLUSIVE, 1), 405,
                 "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'dur' in vhost '/'. It "
                 "could be originally declared "
                 "on another connection or the exclusive property value does not match that of the original "
                 "declaration.");
    assert_fault(tf_queue(0, "amq.mine", 0, 1), 403,
                 "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'");
    tf_ok(tf_queue(0, "amq.gen-1", CHANGE_INTERNAL_CALLER, 1));
    assert_int_equal(tf_queue(0, "", 0, 1).code, 406);
    assert_fault(tf_do(0, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                                     .vhost = SLICE_LIT("no"),
                                                     .name = SLICE_LIT("q")}),
                 530, "NOT_ALLOWED - vhost no not found");
    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    table_put_i32(&w, SLICE_LIT("x-message-ttl"), -1);
    struct topology_request bad = {
        .change = CHANGE_QUEUE_DECLARE, ROOT, .name = SLICE_LIT("arg"), .arguments = buf_slice(&args)};
    assert_fault(tf_do(0, &bad), 406,
                 "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'arg' in vhost '/': "
                 "{value_negative,-1}");
    buf_fini(&args);
    tf_close();
}

static void
test_exclusive(void **state)
{
    int last = tf_setup->workers - 1;
    tf_open(tf_setup);
    tf_ok(tf_queue(last, "mine", CHANGE_EXCLUSIVE, 7));
    if (tf_setup->placement == PLACE_BALANCED)
        assert_int_equal(handle_worker(tf_def("mine")->handle), last);
    tf_ok(tf_queue(last, "mine", CHANGE_EXCLUSIVE, 7));
    static const char locked[] =
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of "
        "the original declaration.";
    assert_fault(tf_queue(0, "mine", CHANGE_EXCLUSIVE, 8), 405, locked);
    assert_fault(tf_queue(0, "mine", 0, 7), 405, locked);
    assert_fault(tf_delete_queue(0, "mine", 0, 8), 405, locked);
    assert_fault(tf_bind(CHANGE_BIND, "amq.direct", "mine", "k", CHANGE_DEST_IS_QUEUE), 405, locked);
    tf_ok(tf_bind(CHANGE_UNBIND, "amq.direct", "mine", "k", CHANGE_DEST_IS_QUEUE));
    struct topology_request bind = {.change = CHANGE_BIND,
                                    ROOT,
                                    .name = SLICE_LIT("amq.direct"),
                                    .dest_name = SLICE_LIT("mine"),
                                    .key = SLICE_LIT("k"),
                                    .flags = CHANGE_DEST_IS_QUEUE,
                                    .owner_conn = 7};
    tf_ok(tf_do(0, &bind));
    assert_fault(tf_bind(CHANGE_UNBIND, "amq.direct", "mine", "k", CHANGE_DEST_IS_QUEUE), 405, locked);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "e%d", i);
        tf_ok(tf_queue(last, name, CHANGE_EXCLUSIVE | CHANGE_DURABLE, i % 2 == 0 ? 7 : 8));
    }
    tf_ok(tf_do(last, &(struct topology_request){.change = CHANGE_CONNECTION_GONE, .owner_conn = 7}));
    assert_null(tf_def("mine"));
    assert_int_equal(tf_bindings("amq.direct"), 0);
    assert_int_equal(tf_vhost("/")->queues.count, 10);
    assert_int_equal(tf_owner_queues(), 10);
    tf_ok(tf_do(last, &(struct topology_request){.change = CHANGE_CONNECTION_GONE, .owner_conn = 7}));
    tf_ok(tf_queue(0, "mine", CHANGE_EXCLUSIVE, 9));
    tf_close();
}

// A connection declares, deletes and goes without waiting for answers; and says twice that it goes.
static void
test_gone_in_one_batch(void **state)
{
    struct tf_answer a[8];
    int last = tf_setup->workers - 1;
    tf_open(tf_setup);
    struct topology_request declare = {.change = CHANGE_QUEUE_DECLARE,
                                       ROOT,
                                       .name = SLICE_LIT("x"),
                                       .flags = CHANGE_EXCLUSIVE,
                                       .owner_conn = 5};
    struct topology_request del = {
        .change = CHANGE_QUEUE_DELETE, ROOT, .name = SLICE_LIT("x"), .owner_conn = 5};
    struct topology_request gone = {.change = CHANGE_CONNECTION_GONE, .owner_conn = 5};
    tf_submit(last, &declare, &a[0]);
    tf_submit(last, &del, &a[1]);
    tf_submit(last, &declare, &a[2]);
    tf_submit(last, &del, &a[3]);
    tf_submit(last, &declare, &a[4]);
    tf_submit(last, &gone, &a[5]);
    tf_submit(last, &gone, &a[6]);
    tf_settle();
    for (int i = 0; i < 7; i++)
        assert_true(a[i].is_done);
    assert_true(a[0].is_created);
    assert_int_equal(a[1].code, 0);
    // Declares that still waited when the connection went are not carried out.
    assert_true(a[2].is_created || a[2].code == FAULT_CHANNEL_ERROR);
    assert_int_equal(a[3].code, 0);
    assert_null(tf_def("x"));
    assert_int_equal(tf_owner_queues(), 0);
    assert_int_equal(tf_tw()->conns.count, 0);
    tf_close();
}

// The declare of a connection waits for another's queue of that name to go; meanwhile its connection goes.
static void
test_gone_while_declare_waits(void **state)
{
    struct tf_answer a[4];
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "x", CHANGE_EXCLUSIVE, 1));
    struct topology_request gone1 = {.change = CHANGE_CONNECTION_GONE, .owner_conn = 1};
    struct topology_request declare2 = {.change = CHANGE_QUEUE_DECLARE,
                                        ROOT,
                                        .name = SLICE_LIT("x"),
                                        .flags = CHANGE_EXCLUSIVE,
                                        .owner_conn = 2};
    struct topology_request gone2 = {.change = CHANGE_CONNECTION_GONE, .owner_conn = 2};
    tf_submit(0, &gone1, &a[0]);
    tf_submit(0, &declare2, &a[1]);
    tf_submit(0, &gone2, &a[2]);
    tf_settle();
    assert_true(a[0].is_done && a[1].is_done && a[2].is_done);
    assert_int_equal(a[1].code, FAULT_CHANNEL_ERROR);
    assert_null(tf_def("x"));
    // The same with a connection that stays: it gets its queue.
    tf_ok(tf_queue(0, "x", CHANGE_EXCLUSIVE, 1));
    tf_submit(0, &gone1, &a[0]);
    tf_submit(0, &declare2, &a[1]);
    tf_settle();
    assert_true(a[1].is_created);
    assert_int_equal(tf_def("x")->owner_conn, 2);
    tf_close();
}

static lv_handle tf_consumer_handle;

static void
consume_done(struct queue_request *r)
{
    assert_int_equal(r->outcome, QUEUE_OK);
    tf_consumer_handle = r->consumer;
    queue_request_free(r);
}

// Consumes and cancels as the last worker.
static void
consume(lv_handle queue, bool is_cancel)
{
    struct worker *w = tf.crew->members[tf.crew->n_workers - 1];
    struct queue_request *r =
        queue_request_new(is_cancel ? QUEUE_REQUEST_CANCEL : QUEUE_REQUEST_CONSUME, queue);
    r->session = handle_make((unsigned)w->index, 1, 1);
    r->consumer = tf_consumer_handle;
    r->done = consume_done;
    worker_self = w;
    queue_request_send(r);
    worker_self = NULL;
    tf_settle();
}

static void
publish(lv_handle queue)
{
    struct message *m = message_new(SLICE_EMPTY, SLICE_EMPTY, slice_of("\0", 2), 0);
    worker_self = tf.crew->members[tf.crew->n_workers - 1];
    queue_publish(m, &queue, 1, 0, 0);
    worker_self = NULL;
    message_unref(m);
    tf_settle();
}

static void
test_queue_delete(void **state)
{
    tf_open(tf_setup);
    tf_ok(tf_delete_queue(0, "nosuch", 0, 1));
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1));
    tf_ok(tf_bind(CHANGE_BIND, "amq.direct", "q", "a", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_BIND, "amq.topic", "q", "a.#", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_BIND, "amq.headers", "q", "", CHANGE_DEST_IS_QUEUE));
    consume(tf_def("q")->handle, false);
    assert_fault(tf_delete_queue(0, "q", CHANGE_IF_UNUSED, 1), 406,
                 "PRECONDITION_FAILED - queue 'q' in vhost '/' in use");
    consume(tf_def("q")->handle, true);
    publish(tf_def("q")->handle);
    publish(tf_def("q")->handle);
    assert_fault(tf_delete_queue(0, "q", CHANGE_IF_EMPTY, 1), 406,
                 "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty");
    assert_int_equal(tf_bindings("amq.direct"), 1);
    struct tf_answer a = tf_delete_queue(0, "q", CHANGE_IF_UNUSED, 1);
    tf_ok(a);
    assert_int_equal(a.message_count, 2);
    assert_null(tf_def("q"));
    assert_int_equal(tf_bindings("amq.direct") + tf_bindings("amq.topic") + tf_bindings("amq.headers"), 0);
    assert_int_equal(tf_owner_queues(), 0);
    tf_close();
}

static void
test_auto_delete_queue(void **state)
{
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "auto", CHANGE_AUTO_DELETE, 1));
    consume(tf_def("auto")->handle, false);
    assert_non_null(tf_def("auto"));
    consume(tf_def("auto")->handle, true);
    assert_null(tf_def("auto"));
    assert_int_equal(tf_owner_queues(), 0);
    tf_close();
}

static void
cancel_done(struct queue_request *r)
{
    queue_request_free(r);
}

// The last consumer goes while a deletion that will fail is on its way: the queue is asked once more.
static void
test_unused_during_deletion(void **state)
{
    struct tf_answer a;
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "auto", CHANGE_AUTO_DELETE, 1));
    lv_handle queue = tf_def("auto")->handle;
    struct worker *owner = tf.crew->members[handle_worker(queue)];
    publish(queue);
    publish(queue);
    consume(queue, false); // its window is empty: nothing is delivered
    struct topology_request del = {
        .change = CHANGE_QUEUE_DELETE, ROOT, .name = SLICE_LIT("auto"), .flags = CHANGE_IF_EMPTY};
    tf_submit(0, &del, &a);
    while (list_is_empty(&tf_tw()->deletions)) {
        worker_turn(tf.crew->members[0]);
        worker_turn(tf.writer);
    }
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, queue);
    r->consumer = tf_consumer_handle;
    r->done = cancel_done;
    worker_self = owner;
    queue_request_send(r);
    worker_self = NULL;
    tf_settle();
    assert_string_equal(a.text, "PRECONDITION_FAILED - queue 'auto' in vhost '/' not empty");
    assert_null(tf_def("auto"));
    tf_close();
}

// Several requests for one name while its deletion is at the owner are carried out in order afterwards.
static void
test_requests_wait_for_deletion(void **state)
{
    struct tf_answer a[6];
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "q", 0, 1));
    uint64_t old_id = tf_def("q")->id;
    struct topology_request del = {.change = CHANGE_QUEUE_DELETE, ROOT, .name = SLICE_LIT("q")};
    struct topology_request declare = {
        .change = CHANGE_QUEUE_DECLARE, ROOT, .name = SLICE_LIT("q"), .flags = CHANGE_DURABLE};
    struct topology_request bind = {.change = CHANGE_BIND,
                                    ROOT,
                                    .name = SLICE_LIT("amq.fanout"),
                                    .dest_name = SLICE_LIT("q"),
                                    .flags = CHANGE_DEST_IS_QUEUE};
    tf_submit(0, &del, &a[0]);
    tf_submit(0, &bind, &a[1]);
    tf_submit(0, &declare, &a[2]);
    tf_submit(0, &bind, &a[3]);
    tf_submit(0, &del, &a[4]);
    tf_submit(0, &declare, &a[5]);
    tf_settle();
    for (int i = 0; i < 6; i++)
        assert_true(a[i].is_done);
    assert_string_equal(a[1].text, "NOT_FOUND - no queue 'q' in vhost '/'");
    assert_true(a[2].is_created && a[3].is_created && a[5].is_created);
    assert_true(tf_def("q")->id > old_id);
    assert_int_equal(tf_bindings("amq.fanout"), 0);
    tf_close();
}

static void
test_max_queues(void **state)
{
    tf_open(tf_setup);
    tf_ok(tf_do(
        0, &(struct topology_request){
               .change = CHANGE_VHOST_LIMITS, .name = SLICE_LIT("/"), .number = INT64_MIN, .number2 = 2}));
    assert_int_equal(tf_vhost("/")->max_connections, -1);
    tf_ok(tf_queue(0, "a", 0, 1));
    tf_ok(tf_queue(0, "b", 0, 1));
    assert_fault(
        tf_queue(0, "over", 0, 1), 406,
        "PRECONDITION_FAILED - cannot declare queue 'over': queue limit in vhost '/' (2) is reached");
    tf_ok(tf_queue(0, "a", 0, 1));
    tf_ok(tf_delete_queue(0, "a", 0, 1));
    tf_ok(tf_queue(0, "over", 0, 1));
    tf_ok(tf_do(0, &(struct topology_request){
                       .change = CHANGE_VHOST_LIMITS, .name = SLICE_LIT("/"), .number = 5, .number2 = -1}));
    tf_ok(tf_queue(0, "a", 0, 1));
    assert_int_equal(tf_vhost("/")->max_connections, 5);
    tf_close();
}

static void
test_exchanges(void **state)
{
    tf_open(tf_setup);
    struct tf_answer a = tf_exchange("xd", "direct", CHANGE_DURABLE);
    tf_ok(a);
    assert_true(a.is_created);
    tf_ok(tf_exchange("xd", "direct", CHANGE_DURABLE));
    tf_ok(tf_exchange("amq.direct", "direct", CHANGE_DURABLE));
    assert_fault(tf_exchange("xd", "fanout", CHANGE_DURABLE), 406,
                 "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'xd' in vhost '/': received "
                 "'fanout' but current is 'direct'");
    assert_fault(tf_exchange("amq.foo", "direct", 0), 403,
                 "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'");
    assert_fault(tf_exchange("", "direct", 0), 403,
                 "ACCESS_REFUSED - operation not permitted on the default exchange");
    assert_fault(tf_exchange("y", "x-nosuch", 0), 503, "COMMAND_INVALID - unknown exchange type 'x-nosuch'");
    tf_ok(tf_delete_exchange("nosuch", 0));
    assert_fault(tf_delete_exchange("amq.direct", 0), 403,
                 "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed");
    assert_fault(tf_delete_exchange("", 0), 403,
                 "ACCESS_REFUSED - operation not permitted on the default exchange");
    tf_ok(tf_queue(0, "q", 0, 1));
    tf_ok(tf_bind(CHANGE_BIND, "xd", "q", "k", CHANGE_DEST_IS_QUEUE));
    assert_fault(tf_delete_exchange("xd", CHANGE_IF_UNUSED), 406,
                 "PRECONDITION_FAILED - exchange 'xd' in vhost '/' in use");
    tf_ok(tf_exchange("up", "fanout", 0));
    tf_ok(tf_bind(CHANGE_BIND, "up", "xd", "", 0));
    tf_ok(tf_bind(CHANGE_BIND, "xd", "xd", "self", 0));
    tf_ok(tf_delete_exchange("xd", 0));
    assert_null(tf_x("xd"));
    assert_int_equal(tf_bindings("up"), 0);
    assert_true(list_is_empty(&queue_entry_of(tf_def("q"))->bindings));
    tf_close();
}

static void
test_alternate(void **state)
{
    tf_open(tf_setup);
    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("alternate-exchange"), "other");
    struct topology_request r = {.change = CHANGE_EXCHANGE_DECLARE,
                                 ROOT,
                                 .name = SLICE_LIT("x"),
                                 .type = SLICE_LIT("topic"),
                                 .arguments = buf_slice(&args)};
    tf_ok(tf_do(0, &r));
    buf_fini(&args);
    assert_true(slice_eq_str(tf_x("x")->alternate, "other"));
    tf_ok(tf_queue(0, "q", 0, 1));
    tf_ok(
        tf_bind(CHANGE_BIND, "x", "q", "#", CHANGE_DEST_IS_QUEUE)); // a new version of the exchange keeps it
    assert_true(slice_eq_str(tf_x("x")->alternate, "other"));
    tf_close();
}

static void
test_bindings(void **state)
{
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1));
    static const char no_queue[] = "NOT_FOUND - no queue 'nosuch' in vhost '/'";
    assert_fault(tf_bind(CHANGE_BIND, "amq.direct", "nosuch", "k", CHANGE_DEST_IS_QUEUE), 404, no_queue);
    assert_fault(tf_bind(CHANGE_BIND, "nosuch", "q", "k", CHANGE_DEST_IS_QUEUE), 404,
                 "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    assert_fault(tf_bind(CHANGE_BIND, "nosuch2", "nosuch", "k", CHANGE_DEST_IS_QUEUE), 404,
                 "NOT_FOUND - no exchange 'nosuch2' in vhost '/'");
    assert_fault(tf_bind(CHANGE_BIND, "amq.direct", "nosuch", "k", 0), 404,
                 "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    static const char on_default[] = "ACCESS_REFUSED - operation not permitted on the default exchange";
    assert_fault(tf_bind(CHANGE_BIND, "", "q", "k", CHANGE_DEST_IS_QUEUE), 403, on_default);
    assert_fault(tf_bind(CHANGE_UNBIND, "", "q", "k", CHANGE_DEST_IS_QUEUE), 403, on_default);
    assert_fault(tf_bind(CHANGE_BIND, "amq.direct", "", "k", 0), 403, on_default);
    tf_ok(tf_bind(CHANGE_UNBIND, "amq.direct", "q", "nosuch", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_UNBIND, "amq.direct", "nosuch", "k", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_UNBIND, "nosuch", "q", "k", CHANGE_DEST_IS_QUEUE));

    struct tf_answer a = tf_bind(CHANGE_BIND, "amq.direct", "q", "k", CHANGE_DEST_IS_QUEUE);
    tf_ok(a);
    assert_true(a.is_created);
    a = tf_bind(CHANGE_BIND, "amq.direct", "q", "k", CHANGE_DEST_IS_QUEUE);
    tf_ok(a);
    assert_false(a.is_created);
    assert_int_equal(tf_bindings("amq.direct"), 1);
    const struct binding *b =
        LV_CONTAINER_OF(queue_entry_of(tf_def("q"))->bindings.next, struct binding, dest_node);
    assert_true(b->is_durable && slice_eq_str(b->source_name, "amq.direct") &&
                slice_eq_str(b->dest_name, "q"));
    tf_ok(tf_bind(CHANGE_UNBIND, "amq.direct", "q", "k", CHANGE_DEST_IS_QUEUE));
    assert_int_equal(tf_bindings("amq.direct"), 0);

    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    table_put_str(&w, SLICE_LIT("x-match"), "foo");
    struct topology_request bad = {.change = CHANGE_BIND,
                                   ROOT,
                                   .name = SLICE_LIT("amq.headers"),
                                   .dest_name = SLICE_LIT("q"),
                                   .flags = CHANGE_DEST_IS_QUEUE,
                                   .arguments = buf_slice(&args)};
    assert_fault(tf_do(0, &bad), 406,
                 "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected all, any, "
                 "all-with-x, or any-with-x");
    buf_fini(&args);
    char key[300];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    assert_int_equal(tf_bind(CHANGE_BIND, "amq.direct", "q", key, CHANGE_DEST_IS_QUEUE).code, 406);
    tf_close();
}

// Auto-delete exchanges go when their last binding as a source goes, and take those before them along.
static void
test_auto_delete_exchange(void **state)
{
    enum { CHAIN = 300 };
    char name[16], next[16];
    tf_open(tf_setup);
    tf_ok(tf_queue(0, "q", 0, 1));
    tf_ok(tf_exchange("auto", "direct", CHANGE_AUTO_DELETE | CHANGE_DURABLE));
    tf_ok(tf_bind(CHANGE_BIND, "auto", "q", "1", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_BIND, "auto", "q", "2", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_UNBIND, "auto", "q", "1", CHANGE_DEST_IS_QUEUE));
    assert_non_null(tf_x("auto"));
    tf_ok(tf_bind(CHANGE_UNBIND, "auto", "q", "2", CHANGE_DEST_IS_QUEUE));
    assert_null(tf_x("auto"));

    for (int i = 0; i < CHAIN; i++) {
        snprintf(name, sizeof name, "c%d", i);
        tf_ok(tf_exchange(name, "fanout", CHANGE_AUTO_DELETE));
    }
    for (int i = 0; i + 1 < CHAIN; i++) {
        snprintf(name, sizeof name, "c%d", i);
        snprintf(next, sizeof next, "c%d", i + 1);
        tf_ok(tf_bind(CHANGE_BIND, name, next, "", 0));
    }
    tf_ok(tf_bind(CHANGE_BIND, name, "q", "", CHANGE_DEST_IS_QUEUE)); // the last but one has another
    tf_ok(tf_bind(CHANGE_BIND, next, "q", "", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_delete_queue(0, "q", 0, 1));
    assert_int_equal(tf_vhost("/")->exchanges.count, 7);

    tf_ok(tf_exchange("a", "fanout", CHANGE_AUTO_DELETE)); // a ring
    tf_ok(tf_exchange("b", "fanout", CHANGE_AUTO_DELETE));
    tf_ok(tf_bind(CHANGE_BIND, "a", "b", "", 0));
    tf_ok(tf_bind(CHANGE_BIND, "b", "a", "", 0));
    tf_ok(tf_delete_exchange("a", 0));
    assert_int_equal(tf_vhost("/")->exchanges.count, 7);
    tf_close();
}

static void
test_placement(void **state)
{
    int n = tf_setup->workers;
    char name[16];
    tf_open(tf_setup);
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "q%d", i);
        tf_ok(tf_queue(0, name, 0, 1));
        unsigned owner = handle_worker(tf_def(name)->handle);
        if (tf_setup->placement == PLACE_LOCAL)
            assert_int_equal(owner, 0);
        if (tf_setup->placement == PLACE_REMOTE && n > 1)
            assert_int_not_equal(owner, 0);
        for (int w = 0; tf_setup->placement == PLACE_BALANCED && w < n; w++)
            assert_in_range(tf_tw()->queues_of[w], (uint64_t)((i + 1) / n), (uint64_t)(i / n + 1));
    }
    // A requester that is no worker.
    tf_ok(tf_queue(tf.crew->n_workers + CREW_HTTP, "http", CHANGE_EXCLUSIVE, 4));
    assert_true(handle_worker(tf_def("http")->handle) < (unsigned)n);
    tf_close();
}

// Many creations at once on small rings: a version is out only when every ring has taken them all.
static void
test_small_rings(void **state)
{
    enum { N = 200 };
    static struct tf_answer answers[N];
    struct tf_config config = *tf_setup;
    config.mailbox_capacity = 2;
    tf_open(&config);
    char name[16];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "q%d", i);
        struct topology_request r = {.change = CHANGE_QUEUE_DECLARE,
                                     ROOT,
                                     .name = slice_str(name),
                                     .flags = i % 2 ? CHANGE_DURABLE : 0};
        tf_submit(i % tf.crew->n_workers, &r, &answers[i]);
    }
    for (int round = 0; round < 4000; round++) {
        tf_round();
        // What a worker sees, its owner knows or has in its ring.
        worker_self = tf.crew->members[0];
        const struct vhost *v = topology_vhost(topology_of(worker_self), SLICE_LIT("/"));
        struct pmap_iter it;
        pmap_iter_init(&it, &v->queues);
        for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;) {
            struct worker *owner = tf.crew->members[handle_worker(def->handle)];
            worker_self = owner;
            assert_non_null(queue_worker_find(queue_worker_of(owner), def->handle));
            worker_self = tf.crew->members[0];
        }
        worker_self = NULL;
    }
    for (int i = 0; i < N; i++)
        assert_true(answers[i].is_created);
    tf_close();
}

// The crew ends with everything under way: nothing is lost track of.
static void
test_stop_in_the_middle(void **state)
{
    enum { N = 40 };
    char name[16];
    int open_count = 0;
    for (int rounds = 0; rounds < 12; rounds++) {
        tf_open(tf_setup);
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "q%d", i);
            tf_ok(tf_queue(0, name, i % 2 ? CHANGE_EXCLUSIVE : 0, 1));
        }
        struct tf_answer ignored[4 * N];
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "q%d", i);
            struct topology_request r = {
                .change = CHANGE_QUEUE_DELETE, ROOT, .name = slice_str(name), .owner_conn = 1};
            tf_submit(0, &r, &ignored[4 * i]);
            r.change = CHANGE_QUEUE_DECLARE;
            r.flags = CHANGE_EXCLUSIVE;
            tf_submit(0, &r, &ignored[4 * i + 1]);
            r.name = slice_str("more");
            tf_submit(0, &r, &ignored[4 * i + 2]);
        }
        struct topology_request gone = {.change = CHANGE_CONNECTION_GONE, .owner_conn = 1};
        struct topology_request drop = {.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("/")};
        tf_submit(0, &gone, &ignored[3]);
        tf_submit(0, &drop, &ignored[7]);
        // Answers on their way back in a ring are the requester's; the writer is stopped before it sends any.
        for (int i = 0; i < rounds; i++) {
            worker_turn(tf.writer);
            for (int k = 0; k < tf.crew->n_workers; k++)
                worker_turn(tf.crew->members[k]);
        }
        open_count += !tf_is_quiet();
        tf_stop_quietly();
    }
    assert_true(open_count > 2);
}

// Everything that a version shows: reading freed memory is the sanitizer's to find.
static size_t
read_all(const struct topology *t)
{
    struct buf text = BUF_INIT;
    struct pmap_iter it;
    const struct vhost *v = topology_vhost(t, SLICE_LIT("/"));
    pmap_iter_init(&it, &v->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        buf_append_slice(&text, def->name);
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        buf_printf(&text, "%.*s%llu", SLICE_FMT(x->name), (unsigned long long)x->router.count);
    size_t len = text.len;
    buf_fini(&text);
    return len;
}

static const struct topology *
pin(int member)
{
    worker_self = tf.crew->members[member];
    const struct topology *t = topology_pin(worker_self);
    worker_self = NULL;
    return t;
}

static void
unpin(int member, const struct topology *t)
{
    worker_self = tf.crew->members[member];
    topology_unpin(worker_self, t);
    worker_self = NULL;
    tf_settle();
}

// A version that a member has pinned stays readable, whatever changes; nobody waits for it, and its memory goes with the last pin.
static void
test_pins(void **state)
{
    tf_open(tf_setup);
    const struct topology *pins[TOPOLOGY_PINS_MAX];
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1));
    tf_ok(tf_exchange("x", "topic", CHANGE_DURABLE));
    tf_ok(tf_bind(CHANGE_BIND, "x", "q", "k", CHANGE_DEST_IS_QUEUE));
    const struct topology *t = pin(0);
    size_t len = read_all(t);
    tf_ok(tf_delete_queue(0, "q", 0, 1));
    tf_ok(tf_delete_exchange("x", 0));
    for (int i = 0; i < 20; i++)
        tf_ok(tf_queue(0, i % 2 == 0 ? "other" : "more", 0, 1));
    assert_int_equal(read_all(t), len);
    assert_true(tf_list_len(&tf_tw()->kept) > 0);
    for (size_t i = 0; i + 1 < LV_ARRAY_LEN(pins); i++)
        pins[i] = pin(0);
    assert_null(pin(0));
    unpin(0, pins[0]);
    assert_int_equal(read_all(t), len);
    unpin(0, t);
    for (size_t i = 1; i + 1 < LV_ARRAY_LEN(pins); i++) {
        read_all(pins[i]);
        unpin(0, pins[i]);
    }
    assert_int_equal(tf_list_len(&tf_tw()->kept), 0);
    t = pin(0); // one that is pinned to the end
    tf_ok(tf_queue(0, "last", 0, 1));
    unpin(0, t);
    tf_close();
}

static int
run_all(const char *what)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_start),
        cmocka_unit_test(test_queue_declare),
        cmocka_unit_test(test_exclusive),
        cmocka_unit_test(test_gone_in_one_batch),
        cmocka_unit_test(test_gone_while_declare_waits),
        cmocka_unit_test(test_queue_delete),
        cmocka_unit_test(test_auto_delete_queue),
        cmocka_unit_test(test_unused_during_deletion),
        cmocka_unit_test(test_requests_wait_for_deletion),
        cmocka_unit_test(test_max_queues),
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_alternate),
        cmocka_unit_test(test_bindings),
        cmocka_unit_test(test_auto_delete_exchange),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_small_rings),
        cmocka_unit_test(test_stop_in_the_middle),
        cmocka_unit_test(test_pins),
    };
    return cmocka_run_group_tests_name(what, tests, NULL, NULL);
}

int
main(void)
{
    return tf_run_all(run_all);
}
