// test_topology_store.c: what is in the metadata store is there after a restart, and what a failed commit means.
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

static void
make_everything(void)
{
    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len;
    table_put_str(&w, SLICE_LIT("alternate-exchange"), "amq.fanout");
    tf_ok(
        tf_do(0, &(struct topology_request){.change = CHANGE_EXCHANGE_DECLARE,
                                            ROOT,
                                            .name = SLICE_LIT("x"),
                                            .type = SLICE_LIT("topic"),
                                            .arguments = buf_slice(&args),
                                            .flags = CHANGE_DURABLE | CHANGE_INTERNAL | CHANGE_AUTO_DELETE}));
    buf_reset(&args);
    w = table_writer_of(&args);
    table_put_i32(&w, SLICE_LIT("x-max-length"), 5);
    table_put_bool(&w, SLICE_LIT("x-single-active-consumer"), true);
    tf_ok(tf_do(1, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                              ROOT,
                                              .name = SLICE_LIT("q"),
                                              .arguments = buf_slice(&args),
                                              .flags = CHANGE_DURABLE | CHANGE_AUTO_DELETE}));
    struct topology_request bind = {.change = CHANGE_BIND,
                                    ROOT,
                                    .name = SLICE_LIT("x"),
                                    .dest_name = SLICE_LIT("q"),
                                    .key = SLICE_LIT("a.#"),
                                    .arguments = buf_slice(&args),
                                    .flags = CHANGE_DEST_IS_QUEUE};
    tf_ok(tf_do(0, &bind));
    buf_fini(&args);
    tf_ok(tf_bind(CHANGE_BIND, "x", "amq.direct", "e2e", 0));
    tf_ok(tf_queue(0, "transient", 0, 1));
    tf_ok(tf_queue(0, "excl", CHANGE_DURABLE | CHANGE_EXCLUSIVE, 1));
    tf_ok(tf_bind(CHANGE_BIND, "x", "transient", "t", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_BIND, "x", "excl", "t", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_exchange("xt", "fanout", 0));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_PUT,
                                              .name = SLICE_LIT("v"),
                                              .text = SLICE_LIT("about"),
                                              .tags = SLICE_LIT("a,b"),
                                              .default_queue_type = SLICE_LIT("quorum"),
                                              .flags = CHANGE_TRACING_ON}));
    tf_ok(tf_do(0, &(struct topology_request){
                       .change = CHANGE_VHOST_LIMITS, .name = SLICE_LIT("v"), .number = 10, .number2 = 20}));
    assert_int_equal(
        password_hash_make(SLICE_LIT("pw"), SLICE_LIT("rabbit_password_hashing_sha512"), hash, &len), 0);
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_USER_PUT,
                                              .name = SLICE_LIT("alice"),
                                              .flags = CHANGE_HAS_PASSWORD | CHANGE_HAS_TAGS,
                                              .password_hash = slice_of(hash, len),
                                              .hashing = SLICE_LIT("rabbit_password_hashing_sha512"),
                                              .tags = SLICE_LIT("monitoring")}));
    tf_ok(tf_do(0, &(struct topology_request){
                       .change = CHANGE_USER_LIMITS, .name = SLICE_LIT("alice"), .number = 1, .number2 = 2}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PERMISSION_SET,
                                              .vhost = SLICE_LIT("v"),
                                              .user = SLICE_LIT("alice"),
                                              .configure = SLICE_LIT("^c"),
                                              .write = SLICE_LIT("^w"),
                                              .read = SLICE_LIT("")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_TOPIC_PERMISSION_SET,
                                              .vhost = SLICE_LIT("v"),
                                              .user = SLICE_LIT("alice"),
                                              .name = SLICE_LIT("amq.topic"),
                                              .write = SLICE_LIT("^{username}"),
                                              .read = SLICE_LIT("^r")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                              .vhost = SLICE_LIT("v"),
                                              .component = SLICE_LIT("shovel"),
                                              .name = SLICE_LIT("p"),
                                              .text = SLICE_LIT("{}")}));
    tf_ok(tf_do(0, &(struct topology_request){
                       .change = CHANGE_PARAMETER_PUT, .component = SLICE_LIT("g"), .name = SLICE_LIT("p")}));
}

static void
test_everything_comes_back(void **state)
{
    tf_open(&two);
    make_everything();
    uint64_t queue_id = tf_def("q")->id, exchange_id = tf_x("x")->id, last_id = tf_tw()->id_last;
    int64_t created_ms = tf_def("q")->created_ms;
    restart();
    const struct queue_def *q = tf_def("q");
    assert_int_equal(q->id, queue_id);
    assert_int_equal(q->created_ms, created_ms);
    assert_int_equal(q->flags, QUEUE_DURABLE | QUEUE_AUTO_DELETE | QUEUE_SINGLE_ACTIVE);
    assert_true(q->arguments.len > 0 && slice_eq_str(q->user, "guest"));
    assert_null(tf_def("transient"));
    assert_null(tf_def("excl"));
    assert_null(tf_x("xt"));
    const struct exchange *x = tf_x("x");
    assert_int_equal(x->id, exchange_id);
    assert_true(x->is_durable && x->is_internal && x->is_auto_delete && x->type == EXCHANGE_TOPIC);
    assert_true(slice_eq_str(x->alternate, "amq.fanout"));
    assert_int_equal(x->router.count, 2);
    assert_int_equal(tf_list_len(&queue_entry_of(q)->bindings), 1);
    assert_int_equal(tf_list_len(&exchange_entry_of(tf_x("amq.direct"))->incoming), 1);
    assert_int_equal(tf_owner_queues(), 1);
    const struct vhost *v = tf_vhost("v");
    assert_true(v->is_tracing && v->max_connections == 10 && v->max_queues == 20 && v->id != 0);
    assert_true(slice_eq_str(v->description, "about") && slice_eq_str(v->tags, "a,b") &&
                slice_eq_str(v->default_queue_type, "quorum"));
    assert_int_equal(v->exchanges.count, 7);
    const struct user *u = topology_user(tf_tw()->newest, SLICE_LIT("alice"));
    assert_true(password_matches(u, SLICE_LIT("pw")));
    assert_true(u->tag_flags == USER_TAG_MONITORING && u->max_connections == 1 && u->max_channels == 2);
    const struct permission *p = topology_permission(tf_tw()->newest, SLICE_LIT("alice"), SLICE_LIT("v"));
    assert_true(slice_eq_str(p->pattern[ACCESS_CONFIGURE], "^c") &&
                slice_eq_str(p->pattern[ACCESS_WRITE], "^w"));
    assert_int_equal(p->pattern[ACCESS_READ].len, 0);
    assert_non_null(topology_topic_permission(tf_tw()->newest, SLICE_LIT("alice"), SLICE_LIT("v"),
                                              SLICE_LIT("amq.topic")));
    assert_int_equal(tf_tw()->newest->parameters.count, 2);
    // Ids are never used twice.
    tf_ok(tf_queue(0, "new", 0, 1));
    assert_true(tf_def("new")->id > last_id);
    tf_close();
}

static void
test_everything_can_go(void **state)
{
    tf_open(&two);
    make_everything();
    restart();
    tf_ok(tf_bind(CHANGE_UNBIND, "x", "amq.direct", "e2e", 0));
    tf_ok(tf_delete_queue(1, "q", 0, 1)); // and with its last binding x
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("v")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_USER_DELETE, .name = SLICE_LIT("alice")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_USER_DELETE, .name = SLICE_LIT("guest")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PARAMETER_DELETE,
                                              .component = SLICE_LIT("g"),
                                              .name = SLICE_LIT("p")}));
    restart();
    const struct topology *t = tf_tw()->newest;
    assert_int_equal(t->vhosts.count, 1);
    assert_int_equal(t->users.count + t->permissions.count + t->topic_permissions.count + t->parameters.count,
                     0);
    assert_int_equal(tf_vhost("/")->queues.count, 0);
    assert_int_equal(tf_vhost("/")->exchanges.count, 7);
    // Not a new store: nobody makes the default vhost and user again.
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("/")}));
    restart();
    assert_int_equal(tf_tw()->newest->vhosts.count, 0);
    tf_close();
}

// The transient requests of the same batch are not touched by the failure, whatever they depend on.
static void
test_failed_commit(void **state)
{
    struct tf_answer a[10];
    tf_open(&two);
    tf_ok(tf_queue(0, "old", CHANGE_DURABLE, 1));
    tf_ok(tf_exchange("auto", "fanout", CHANGE_DURABLE | CHANGE_AUTO_DELETE));
    tf_ok(tf_bind(CHANGE_BIND, "auto", "old", "", CHANGE_DEST_IS_QUEUE));
    tf.fails_commits = true;
    struct topology_request durable = {
        .change = CHANGE_QUEUE_DECLARE, ROOT, .name = SLICE_LIT("d"), .flags = CHANGE_DURABLE};
    struct topology_request transient = {.change = CHANGE_QUEUE_DECLARE, ROOT, .name = SLICE_LIT("t")};
    struct topology_request bind_d = {.change = CHANGE_BIND,
                                      ROOT,
                                      .name = SLICE_LIT("amq.direct"),
                                      .dest_name = SLICE_LIT("d"),
                                      .key = SLICE_LIT("k"),
                                      .flags = CHANGE_DEST_IS_QUEUE};
    struct topology_request bind_t = bind_d;
    bind_t.dest_name = SLICE_LIT("t");
    struct topology_request user = {.change = CHANGE_USER_PUT, .name = SLICE_LIT("bob")};
    struct topology_request vhost = {.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("w")};
    struct topology_request delete_auto = {.change = CHANGE_EXCHANGE_DELETE, ROOT, .name = SLICE_LIT("auto")};
    struct topology_request delete_d = {.change = CHANGE_QUEUE_DELETE, ROOT, .name = SLICE_LIT("d")};
    tf_submit(0, &durable, &a[0]);
    tf_submit(0, &transient, &a[1]);
    tf_submit(0, &bind_d, &a[2]);
    tf_submit(0, &bind_t, &a[3]);
    tf_submit(0, &user, &a[4]);
    tf_submit(0, &vhost, &a[5]);
    tf_submit(0, &delete_auto, &a[6]);
    tf_submit(0, &durable, &a[7]);
    tf_submit(0, &delete_d, &a[8]);
    uint64_t queues_before = tf_owner_queues();
    tf_settle();
    static const char text[] =
        "INTERNAL_ERROR - the change could not be written to the metadata store: input/output error";
    assert_string_equal(a[0].text, text);
    assert_true(a[1].is_created);
    assert_string_equal(a[2].text, "NOT_FOUND - no queue 'd' in vhost '/'");
    assert_true(a[3].is_created);
    assert_string_equal(a[4].text, text);
    assert_string_equal(a[5].text, text);
    assert_string_equal(a[6].text, text);
    assert_string_equal(a[7].text, text);
    assert_int_equal(a[8].code, 0);
    assert_null(tf_def("d"));
    assert_null(tf_vhost("w"));
    assert_int_equal(tf_bindings("auto"), 1);
    assert_int_equal(tf_bindings("amq.direct"), 1);
    assert_int_equal(tf_owner_queues(), queues_before + 1);
    tf_check();
    tf.fails_commits = false;
    tf_ok(tf_do(0, &durable));
    tf_ok(tf_do(0, &user));
    restart();
    assert_non_null(tf_def("d"));
    assert_non_null(tf_def("old"));
    assert_int_equal(tf_bindings("auto"), 1);
    tf_close();
}

static void
test_failed_commit_of_access(void **state)
{
    static struct tf_answer a[12];
    tf_open(&two);
    make_everything();
    const struct topology_request requests[] = {
        {.change = CHANGE_USER_PUT, .name = SLICE_LIT("bob")},
        {.change = CHANGE_USER_PUT, .name = SLICE_LIT("guest"), .flags = CHANGE_HAS_TAGS},
        {.change = CHANGE_USER_LIMITS, .name = SLICE_LIT("alice"), .number = 99, .number2 = 99},
        {.change = CHANGE_USER_DELETE, .name = SLICE_LIT("alice")},
        {.change = CHANGE_PERMISSION_SET, .vhost = SLICE_LIT("v"), .user = SLICE_LIT("guest")},
        {.change = CHANGE_PERMISSION_CLEAR, .vhost = SLICE_LIT("/"), .user = SLICE_LIT("guest")},
        {.change = CHANGE_TOPIC_PERMISSION_CLEAR, .vhost = SLICE_LIT("v"), .user = SLICE_LIT("alice")},
        {.change = CHANGE_PARAMETER_PUT,
         .component = SLICE_LIT("g"),
         .name = SLICE_LIT("p"),
         .text = SLICE_LIT("new")},
        {.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v"), .text = SLICE_LIT("new")},
        {.change = CHANGE_VHOST_LIMITS, .name = SLICE_LIT("v"), .number = 1, .number2 = 1},
        {.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("v")},
        {.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("w")},
    };
    static_assert(LV_ARRAY_LEN(requests) == LV_ARRAY_LEN(a), "an answer each");
    // All in one batch (each undone on top of the others), then each alone.
    for (int run = 0; run < 2; run++) {
        tf.fails_commits = true;
        for (size_t i = 0; i < LV_ARRAY_LEN(requests); i++) {
            tf_submit(0, &requests[i], &a[i]);
            if (run == 1)
                tf_settle();
        }
        tf_settle();
        for (size_t i = 0; i < LV_ARRAY_LEN(a); i++)
            assert_int_equal(a[i].code, FAULT_INTERNAL_ERROR);
        const struct topology *t = tf_tw()->newest;
        assert_null(topology_user(t, SLICE_LIT("bob")));
        assert_true(slice_eq_str(topology_user(t, SLICE_LIT("guest"))->tags, "administrator"));
        assert_int_equal(topology_user(t, SLICE_LIT("alice"))->max_connections, 1);
        assert_int_equal(t->users.count, 2);
        assert_int_equal(t->permissions.count, 2);
        assert_int_equal(t->topic_permissions.count, 1);
        assert_int_equal(topology_parameter(t, SLICE_LIT("g"), SLICE_EMPTY, SLICE_LIT("p"))->value.len, 0);
        assert_true(slice_eq_str(tf_vhost("v")->description, "about"));
        assert_int_equal(tf_vhost("v")->max_queues, 20);
        assert_int_equal(t->vhosts.count, 2);
        tf_check();
    }
    assert_int_equal(tf.vhosts_deleted + tf.users_deleted, 0);
    tf.fails_commits = false;
    for (size_t i = 0; i < LV_ARRAY_LEN(requests); i++)
        tf_submit(0, &requests[i], &a[i]);
    tf_settle();
    assert_int_equal(tf.vhosts_deleted + tf.users_deleted, 2);
    assert_int_equal(tf_tw()->newest->users.count, 2);
    assert_int_equal(tf_tw()->newest->topic_permissions.count, 0);
    restart();
    assert_int_equal(tf_tw()->newest->users.count, 2);
    assert_int_equal(tf_tw()->newest->vhosts.count, 2);
    tf_close();
}

// Deleted at its owner, but not in the store: it is gone, the deletion is told as failed, and the row is paid later.
static void
test_owed_rows(void **state)
{
    tf_open(&two);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1));
    tf_ok(tf_exchange("auto", "fanout", CHANGE_DURABLE | CHANGE_AUTO_DELETE));
    tf_ok(tf_bind(CHANGE_BIND, "auto", "q", "", CHANGE_DEST_IS_QUEUE));
    tf.fails_commits = true;
    struct tf_answer a = tf_delete_queue(0, "q", 0, 1);
    assert_int_equal(a.code, FAULT_INTERNAL_ERROR);
    assert_null(tf_def("q"));
    assert_null(tf_x("auto"));
    assert_int_equal(tf_tw()->owed_count, 2);
    assert_int_equal(tf_queue(0, "q", CHANGE_DURABLE, 1).code, FAULT_INTERNAL_ERROR);
    assert_int_equal(tf_tw()->owed_count, 2);
    // The process ends before it could be paid: as before the deletion.
    tf_settle();
    tf_stop();
    tf_start(&two);
    assert_non_null(tf_def("q"));
    assert_int_equal(tf_bindings("auto"), 1);
    tf.fails_commits = true;
    assert_int_equal(tf_delete_queue(0, "q", 0, 1).code, FAULT_INTERNAL_ERROR);
    tf.fails_commits = false;
    uint64_t id = tf_tw()->id_last;
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1)); // pays
    assert_int_equal(tf_tw()->owed_count, 0);
    restart();
    assert_true(tf_def("q")->id > id);
    assert_null(tf_x("auto"));
    tf_close();
}

static void
test_bad_rows_are_skipped(void **state)
{
    static const char *const rows[] = {
        "INSERT INTO bindings VALUES(9999, 1, 8888, X'6b', X'', X'')",
        "INSERT INTO bindings SELECT min(id), 1, 8888, X'6b', X'', X'' FROM exchanges",
        "INSERT INTO queues VALUES(700, X'6e6f', X'7a', X'', X'', 0, 0)",
        "INSERT INTO queues SELECT 701, vhost, name, arguments, user, 0, 0 FROM queues WHERE name = X'71'",
        "INSERT INTO exchanges VALUES(702, X'2f', X'7878', X'6e6f74797065', X'', X'', 0, 0)",
        "INSERT INTO permissions VALUES(X'6e6f626f6479', X'2f', X'', X'', X'')",
        "INSERT INTO users VALUES(X'6361726c', X'2121', X'', X'', -1, -1, -1, -1)",
        "UPDATE permissions SET configure = X'5b'",
    };
    tf_open(&two);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 1));
    for (size_t i = 0; i < LV_ARRAY_LEN(rows); i++) {
        if (sqlite3_exec(tf_tw()->meta->db, rows[i], NULL, NULL, NULL) != SQLITE_OK)
            fail_msg("%s: %s", rows[i], sqlite3_errmsg(tf_tw()->meta->db));
    }
    restart();
    assert_int_equal(tf_vhost("/")->queues.count, 1);
    assert_int_equal(tf_vhost("/")->exchanges.count, 7);
    assert_int_equal(tf_bindings(""), 0);
    assert_int_equal(tf_tw()->newest->permissions.count, 0);
    assert_int_equal(topology_user(tf_tw()->newest, SLICE_LIT("carl"))->password_hash.len, 0);
    assert_true(tf_tw()->id_last >= 702);
    tf_close();
}

// The store gives no more ids: what needs one is refused, the rest goes on, and it recovers.
static void
test_no_ids(void **state)
{
    tf_open(&two);
    tf.fails_commits = true;
    tf_tw()->id_last = tf_tw()->id_ceiling - 3;
    tf_ok(tf_queue(0, "a", 0, 1));
    tf_ok(tf_queue(0, "b", 0, 1));
    tf_ok(tf_exchange("c", "fanout", 0));
    assert_fault(tf_queue(0, "d", 0, 1), 541, "INTERNAL_ERROR - the metadata store gave no object id");
    assert_int_equal(tf_exchange("e", "fanout", 0).code, 541);
    tf_ok(tf_bind(CHANGE_BIND, "c", "a", "", CHANGE_DEST_IS_QUEUE));
    tf.fails_commits = false;
    tf_ok(tf_queue(0, "d", CHANGE_DURABLE, 1));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v")}));
    // Short of ids within a batch: the rest of it waits a turn.
    static struct tf_answer answers[40];
    tf_tw()->id_last = tf_tw()->id_ceiling - TOPOLOGY_ID_STEP / 2 - 1;
    uint64_t ceiling = tf_tw()->id_ceiling;
    tf_tw()->id_last = ceiling - TOPOLOGY_ID_STEP / 2;
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        struct topology_request r = {.change = CHANGE_VHOST_PUT, .name = slice_str(name)};
        tf_submit(0, &r, &answers[i]);
    }
    tf_tw()->id_ceiling = tf_tw()->id_last + 100;
    tf_settle();
    for (int i = 0; i < 40; i++)
        assert_true(answers[i].is_created);
    tf_close();
}

static void
test_start_errors(void **state)
{
    struct crew_config config = {.n_workers = 1};
    struct crew *crew = crew_new(&config);
    struct queue_worker_config queues = {.client = &tf_client};
    queue_worker_init(crew->members[0], &queues);
    struct topology_config topology = {.data_dir = "/nonexistent/leveret"};
    char *error = NULL;
    assert_true(topology_start(crew, &topology, &error) < 0);
    assert_non_null(error);
    mem_free(error);
    tf = (struct tf){0};
    snprintf(tf.dir, sizeof tf.dir, "/tmp/test_topology.XXXXXX");
    assert_non_null(mkdtemp(tf.dir));
    char path[128];
    snprintf(path, sizeof path, "%s/meta.sqlite", tf.dir);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", f);
    fclose(f);
    topology.data_dir = tf.dir;
    assert_true(topology_start(crew, &topology, &error) < 0);
    assert_non_null(error);
    mem_free(error);
    tf_remove_dir();
    queue_worker_fini(crew->members[0]);
    topology_stop(crew);
    crew_free(crew);
}

int
main(void)
{
    if (tf_quiet() != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_everything_can_go),
        cmocka_unit_test(test_failed_commit),
        cmocka_unit_test(test_owed_rows),
        cmocka_unit_test(test_failed_commit_of_access),
        cmocka_unit_test(test_bad_rows_are_skipped),
        cmocka_unit_test(test_no_ids),
        cmocka_unit_test(test_start_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
