// test_topology_limits.c: limits of the whole node (vhosts, queues, exchanges), and what a new store gets by the configuration.
#include "tests/unit/broker/topology_fixture.h"

static void
limit(int64_t vhosts, int64_t queues, int64_t exchanges)
{
    const struct topology_limits limits = {.vhosts = vhosts, .queues = queues, .exchanges = exchanges};
    worker_self = tf.crew->members[0];
    topology_set_limits(tf.crew, &limits);
    worker_self = NULL;
    tf_settle();
}

static struct tf_answer
vhost(enum topology_change change, const char *name)
{
    return tf_do(0, &(struct topology_request){.change = change, .name = slice_str(name)});
}

static void
test_queues(void **state)
{
    tf_open(tf_setup);
    limit(-1, 2, -1);
    tf_ok(tf_queue(0, "a", CHANGE_DURABLE, 1));
    tf_ok(vhost(CHANGE_VHOST_PUT, "v"));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                              .vhost = SLICE_LIT("v"),
                                              .name = SLICE_LIT("b"),
                                              .flags = CHANGE_EXCLUSIVE,
                                              .owner_conn = 7}));
    assert_fault(tf_queue(0, "c", 0, 1), 406,
                 "PRECONDITION_FAILED - cannot declare queue 'c': queue limit in cluster (2) is reached");
    tf_ok(tf_queue(0, "a", CHANGE_DURABLE, 1)); // it is there
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_CONNECTION_GONE, .owner_conn = 7}));
    tf_ok(tf_queue(0, "c", 0, 1));
    limit(-1, 0, -1);
    assert_int_equal(tf_queue(0, "d", 0, 1).code, 406);
    limit(-1, -1, -1);
    tf_ok(tf_queue(0, "d", 0, 1));
    tf_close();
}

static void
test_exchanges(void **state)
{
    tf_open(tf_setup);
    limit(-1, -1, 8);
    tf_ok(tf_exchange("x", "direct", CHANGE_AUTO_DELETE));
    assert_fault(
        tf_exchange("y", "fanout", 0), 406,
        "PRECONDITION_FAILED - cannot declare exchange 'y' in vhost '/': exchange limit of 8 is reached");
    tf_ok(tf_exchange("x", "direct", CHANGE_AUTO_DELETE));
    // A new vhost has its predeclared exchanges all the same, and they count.
    tf_ok(vhost(CHANGE_VHOST_PUT, "v"));
    assert_int_equal(tf_tw()->exchange_count, 15);
    tf_ok(tf_queue(0, "q", 0, 1));
    tf_ok(tf_bind(CHANGE_BIND, "x", "q", "k", CHANGE_DEST_IS_QUEUE));
    tf_ok(tf_bind(CHANGE_UNBIND, "x", "q", "k", CHANGE_DEST_IS_QUEUE)); // x goes with it
    tf_ok(vhost(CHANGE_VHOST_DELETE, "v"));
    assert_int_equal(tf_tw()->exchange_count, 7);
    tf_ok(tf_exchange("y", "fanout", CHANGE_DURABLE));
    assert_int_equal(tf_exchange("z", "fanout", CHANGE_DURABLE).code, 406);
    tf_close();
}

// What a commit that failed has undone does not count.
static void
test_undone(void **state)
{
    struct tf_answer a[4];
    tf_open(&(struct tf_config){.workers = 2, .is_kept = true});
    limit(2, 10, 9);
    tf_ok(tf_exchange("old", "fanout", CHANGE_DURABLE));
    tf.fails_commits = true;
    tf_submit(0, &(struct topology_request){.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v")}, &a[0]);
    tf_submit(0,
              &(struct topology_request){.change = CHANGE_EXCHANGE_DECLARE,
                                         ROOT,
                                         .name = SLICE_LIT("x"),
                                         .type = SLICE_LIT("fanout"),
                                         .flags = CHANGE_DURABLE},
              &a[1]);
    tf_submit(0, &(struct topology_request){.change = CHANGE_EXCHANGE_DELETE, ROOT, .name = SLICE_LIT("old")},
              &a[2]);
    tf_submit(0, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("/")}, &a[3]);
    tf_settle();
    for (int i = 0; i < 4; i++)
        assert_int_equal(a[i].code, i == 0 || a[i].code != 541 ? a[i].code : 541);
    tf_check();
    assert_int_equal(tf_tw()->exchange_count, 8);
    tf.fails_commits = false;
    tf_ok(tf_exchange("x", "fanout", CHANGE_DURABLE));
    assert_int_equal(tf_exchange("y", "fanout", CHANGE_DURABLE).code, 406);
    tf_ok(vhost(CHANGE_VHOST_PUT, "v"));
    assert_int_equal(vhost(CHANGE_VHOST_PUT, "w").code, 406);
    tf_close();
}

static void
test_vhosts(void **state)
{
    tf_open(tf_setup);
    limit(2, -1, -1);
    tf_ok(vhost(CHANGE_VHOST_PUT, "v"));
    assert_fault(vhost(CHANGE_VHOST_PUT, "w"), 406,
                 "PRECONDITION_FAILED - cannot create vhost 'w': vhost limit of 2 is reached");
    tf_ok(vhost(CHANGE_VHOST_PUT, "v"));
    tf_ok(vhost(CHANGE_VHOST_DELETE, "v"));
    tf_ok(vhost(CHANGE_VHOST_PUT, "w"));
    tf_close();
}

// --- what a new store gets ----------------------------------------------------------------------------------------------------

static int
start(const struct topology_config *config, char **ret_error)
{
    tf.crew = crew_new(&(struct crew_config){.n_workers = 1});
    tf.writer = crew_extra_member(tf.crew, CREW_TOPOLOGY);
    for (int i = 0; i < tf.crew->n_members; i++) {
        if (tf.crew->members[i] != tf.writer)
            queue_worker_init(tf.crew->members[i], &(struct queue_worker_config){.client = &tf_client});
    }
    return topology_start(tf.crew, config, ret_error);
}

static const struct topology_config first = {
    .default_vhost = SLICE_LIT("shop"),
    .default_user = SLICE_LIT("alice"),
    .default_pass = SLICE_LIT("secret"),
};

static void
test_default_user(void **state)
{
    struct topology_config config = first;
    char *error = NULL;
    config.default_user_tags = SLICE_LIT("monitoring,ours");
    config.default_user_permission[ACCESS_CONFIGURE] = SLICE_LIT("^c");
    config.default_user_permission[ACCESS_READ] = SLICE_LIT("");
    assert_int_equal(start(&config, &error), 0);
    const struct topology *t = tf_tw()->newest;
    const struct user *u = topology_user(t, SLICE_LIT("alice"));
    const struct permission *p = topology_permission(t, SLICE_LIT("alice"), SLICE_LIT("shop"));
    assert_true(slice_eq_str(u->tags, "monitoring,ours") && u->tag_flags == USER_TAG_MONITORING);
    assert_true(slice_eq_str(p->pattern[ACCESS_CONFIGURE], "^c"));
    assert_true(slice_eq_str(p->pattern[ACCESS_WRITE], ".*"));
    assert_true(slice_eq_str(p->pattern[ACCESS_READ], ""));
    tf_stop();
}

static void
test_bad_default_permission(void **state)
{
    struct topology_config config = first;
    char *error = NULL;
    config.default_user_permission[ACCESS_WRITE] = SLICE_LIT("(");
    assert_int_equal(start(&config, &error), -LE_INVAL);
    assert_non_null(strstr(error, "default_permissions: invalid regular expression '('"));
    mem_free(error);
    tf_stop();
}

static void
test_password_rules(void **state)
{
    struct topology_config config = first;
    struct password_rule *rule = NULL;
    struct buf reason = BUF_INIT;
    char *error = NULL;
    assert_true(password_rule_allows(NULL, SLICE_EMPTY, &reason));
    assert_int_equal(password_rule_new(0, SLICE_LIT("("), &rule, &error), -LE_INVAL);
    assert_non_null(strstr(error, "invalid regular expression: "));
    mem_free(error);
    error = NULL;
    assert_int_equal(password_rule_new(0, SLICE_LIT("[0-9]$"), &rule, &error), 0);
    assert_true(password_rule_allows(rule,
                                     slice_of("\0x\xff"
                                              "7",
                                              4),
                                     &reason));
    assert_int_equal(reason.len, 0);
    assert_false(password_rule_allows(rule, SLICE_EMPTY, &reason));
    assert_string_equal(buf_cstr(&reason),
                        "provided password does not match the validator regular expression");
    password_rule_free(rule);
    buf_reset(&reason);
    // An expression that explodes is a refusal, soon.
    assert_int_equal(password_rule_new(0, SLICE_LIT("^(a+)+$"), &rule, &error), 0);
    assert_false(password_rule_allows(
        rule, SLICE_LIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), &reason));
    password_rule_free(rule);
    buf_reset(&reason);
    assert_int_equal(password_rule_new(7, SLICE_EMPTY, &rule, &error), 0);
    assert_true(password_rule_allows(rule, SLICE_LIT("1234567"), &reason));
    assert_false(password_rule_allows(rule, SLICE_LIT("123456"), &reason));
    assert_string_equal(buf_cstr(&reason), "minimum required password length is 7");
    config.password_rule = rule;
    assert_int_equal(start(&config, &error), -LE_INVAL);
    assert_string_equal(error, "default_pass: minimum required password length is 7");
    mem_free(error);
    tf_stop();
    password_rule_free(rule);
    buf_fini(&reason);
}

static int
run(const char *what)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queues),
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_vhosts),
    };
    return cmocka_run_group_tests_name(what, tests, NULL, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undone),
        cmocka_unit_test(test_default_user),
        cmocka_unit_test(test_bad_default_permission),
        cmocka_unit_test(test_password_rules),
    };
    return tf_run_all(run) + cmocka_run_group_tests(tests, NULL, NULL);
}
