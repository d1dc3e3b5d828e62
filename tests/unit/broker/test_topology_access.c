// test_topology_access.c: vhosts, users, permissions and parameters through the topology writer, with the tools' texts.
#include "tests/unit/broker/topology_fixture.h"

static struct tf_answer
vhost_put(const char *name, const char *text, uint32_t flags)
{
    struct slice description = text != NULL ? slice_str(text) : SLICE_EMPTY;
    return tf_do(
        0, &(struct topology_request){
               .change = CHANGE_VHOST_PUT, .name = slice_str(name), .text = description, .flags = flags});
}

static struct tf_answer
named(enum topology_change change, const char *name)
{
    return tf_do(0, &(struct topology_request){.change = change, .name = slice_str(name)});
}

// A vhost with queues, bindings, a permission and a parameter.
static void
fill_vhost(void)
{
    for (int i = 0; i < 12; i++) {
        char q[8];
        snprintf(q, sizeof q, "q%d", i);
        tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                                  .vhost = SLICE_LIT("v"),
                                                  .name = slice_str(q),
                                                  .owner_conn = 3,
                                                  .flags = i % 3 == 0 ? CHANGE_EXCLUSIVE : CHANGE_DURABLE}));
        tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_BIND,
                                                  .vhost = SLICE_LIT("v"),
                                                  .name = SLICE_LIT("amq.topic"),
                                                  .dest_name = slice_str(q),
                                                  .key = SLICE_LIT("a.*"),
                                                  .flags = CHANGE_DEST_IS_QUEUE,
                                                  .owner_conn = 3}));
    }
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_BIND,
                                              .vhost = SLICE_LIT("v"),
                                              .name = SLICE_LIT("amq.topic"),
                                              .dest_name = SLICE_LIT("amq.direct"),
                                              .key = SLICE_LIT("#")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PERMISSION_SET,
                                              .vhost = SLICE_LIT("v"),
                                              .user = SLICE_LIT("guest")}));
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                              .vhost = SLICE_LIT("v"),
                                              .component = SLICE_LIT("shovel"),
                                              .name = SLICE_LIT("s"),
                                              .text = SLICE_LIT("{}")}));
}

static void
test_vhosts(void **state)
{
    tf_open(tf_setup);
    struct tf_answer a = vhost_put("v", "first", 0);
    tf_ok(a);
    assert_true(a.is_created);
    uint64_t id = tf_vhost("v")->id;
    assert_int_equal(tf_vhost("v")->exchanges.count, 7);
    uint64_t auth = tf_tw()->newest->auth_version;
    a = vhost_put("v", NULL, CHANGE_TRACING_ON);
    tf_ok(a);
    assert_false(a.is_created);
    assert_true(tf_tw()->newest->auth_version > auth);
    assert_true(tf_vhost("v")->is_tracing && slice_eq_str(tf_vhost("v")->description, "first"));
    tf_ok(vhost_put("v", "", 0));
    assert_true(tf_vhost("v")->is_tracing && tf_vhost("v")->description.len == 0);
    assert_fault(vhost_put("v", "x", CHANGE_ONLY_NEW), 406,
                 "PRECONDITION_FAILED - Virtual host 'v' already exists");
    assert_fault(vhost_put("w", "x", CHANGE_ONLY_EXISTING), 404,
                 "NOT_FOUND - Virtual host 'w' does not exist");
    assert_fault(named(CHANGE_VHOST_DELETE, "w"), 404, "NOT_FOUND - Virtual host 'w' does not exist");
    assert_int_equal(vhost_put("", "x", 0).code, 406);

    fill_vhost();
    // Deleted twice at once, its connection goes, and a declare comes in between.
    struct tf_answer answers[5];
    struct topology_request del = {.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("v")};
    struct topology_request gone = {.change = CHANGE_CONNECTION_GONE, .owner_conn = 3};
    struct topology_request declare = {
        .change = CHANGE_QUEUE_DECLARE, .vhost = SLICE_LIT("v"), .name = SLICE_LIT("late")};
    struct topology_request put = {.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v")};
    tf_submit(0, &del, &answers[0]);
    tf_submit(0, &gone, &answers[1]);
    tf_submit(0, &declare, &answers[2]);
    tf_submit(0, &del, &answers[3]);
    tf_submit(0, &put, &answers[4]);
    tf_settle();
    for (int i = 0; i < 5; i++)
        assert_true(answers[i].is_done);
    assert_int_equal(answers[0].code, 0);
    assert_int_equal(answers[1].code, 0);
    assert_string_equal(answers[2].text, "NOT_ALLOWED - vhost v not found");
    assert_int_equal(answers[3].code, 404);
    assert_true(answers[4].is_created);
    assert_int_equal(tf.vhosts_deleted, 1);
    assert_string_equal(tf.last_deleted, "v");
    assert_true(tf_vhost("v")->id != id);
    assert_int_equal(tf_vhost("v")->queues.count, 0);
    assert_int_equal(tf_owner_queues(), 0);
    assert_null(topology_permission(tf_tw()->newest, SLICE_LIT("guest"), SLICE_LIT("v")));
    assert_int_equal(tf_tw()->newest->parameters.count, 0);
    assert_int_equal(tf_tw()->newest->permissions.count, 1);
    tf_ok(named(CHANGE_VHOST_DELETE, "v"));
    assert_null(tf_vhost("v"));
    tf_close();
}

static void
test_users(void **state)
{
    tf_open(tf_setup);
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len;
    assert_int_equal(
        password_hash_make(SLICE_LIT("pw"), SLICE_LIT("rabbit_password_hashing_sha512"), hash, &len), 0);
    struct topology_request put = {.change = CHANGE_USER_PUT,
                                   .name = SLICE_LIT("alice"),
                                   .flags = CHANGE_HAS_PASSWORD | CHANGE_HAS_TAGS | CHANGE_ONLY_NEW,
                                   .password_hash = slice_of(hash, len),
                                   .hashing = SLICE_LIT("rabbit_password_hashing_sha512"),
                                   .tags = SLICE_LIT("management,custom")};
    struct tf_answer a = tf_do(0, &put);
    tf_ok(a);
    assert_true(a.is_created);
    assert_fault(tf_do(0, &put), 406, "PRECONDITION_FAILED - User \"alice\" already exists");
    const struct user *u = topology_user(tf_tw()->newest, SLICE_LIT("alice"));
    assert_true(password_matches(u, SLICE_LIT("pw")));
    assert_int_equal(u->tag_flags, USER_TAG_MANAGEMENT);
    put.flags = CHANGE_HAS_TAGS | CHANGE_ONLY_EXISTING;
    put.tags = SLICE_LIT("monitoring");
    tf_ok(tf_do(0, &put));
    u = topology_user(tf_tw()->newest, SLICE_LIT("alice"));
    assert_true(password_matches(u, SLICE_LIT("pw")));
    assert_int_equal(u->tag_flags, USER_TAG_MONITORING);
    tf_ok(tf_do(
        0, &(struct topology_request){
               .change = CHANGE_USER_LIMITS, .name = SLICE_LIT("alice"), .number = 3, .number2 = INT64_MIN}));
    u = topology_user(tf_tw()->newest, SLICE_LIT("alice"));
    assert_int_equal(u->max_connections, 3);
    assert_int_equal(u->max_channels, -1);
    put.name = SLICE_LIT("nosuch");
    assert_fault(tf_do(0, &put), 404, "NOT_FOUND - User \"nosuch\" does not exist");
    assert_fault(named(CHANGE_USER_DELETE, "nosuch"), 404, "NOT_FOUND - User \"nosuch\" does not exist");

    struct topology_request set = {.change = CHANGE_PERMISSION_SET,
                                   .vhost = SLICE_LIT("/"),
                                   .user = SLICE_LIT("alice"),
                                   .configure = SLICE_LIT("^a"),
                                   .write = SLICE_LIT(".*"),
                                   .read = SLICE_LIT(".*")};
    tf_ok(tf_do(0, &set));
    assert_non_null(topology_permission(tf_tw()->newest, SLICE_LIT("alice"), SLICE_LIT("/")));
    set.configure = SLICE_LIT("[");
    assert_int_equal(tf_do(0, &set).code, 406);
    set.vhost = SLICE_LIT("nosuch");
    assert_fault(tf_do(0, &set), 404, "NOT_FOUND - Virtual host nosuch does not exist");
    set.vhost = SLICE_LIT("/");
    set.user = SLICE_LIT("nosuch");
    assert_fault(tf_do(0, &set), 404, "NOT_FOUND - User nosuch does not exist");
    struct topology_request topic = {.change = CHANGE_TOPIC_PERMISSION_SET,
                                     .vhost = SLICE_LIT("/"),
                                     .user = SLICE_LIT("alice"),
                                     .name = SLICE_LIT("amq.topic"),
                                     .write = SLICE_LIT("^x"),
                                     .read = SLICE_LIT("^{username}\\.")};
    tf_ok(tf_do(0, &topic));
    topic.name = SLICE_LIT("other");
    tf_ok(tf_do(0, &topic));
    topic.change = CHANGE_TOPIC_PERMISSION_CLEAR;
    tf_ok(tf_do(0, &topic));
    assert_int_equal(tf_tw()->newest->topic_permissions.count, 1);
    topic.change = CHANGE_TOPIC_PERMISSION_SET;
    tf_ok(tf_do(0, &topic));
    topic.change = CHANGE_TOPIC_PERMISSION_CLEAR;
    topic.name = SLICE_EMPTY;
    tf_ok(tf_do(0, &topic));
    assert_int_equal(tf_tw()->newest->topic_permissions.count, 0);
    set = (struct topology_request){
        .change = CHANGE_PERMISSION_CLEAR, .vhost = SLICE_LIT("/"), .user = SLICE_LIT("alice")};
    tf_ok(tf_do(0, &set));
    tf_ok(tf_do(0, &set)); // nothing to clear is fine
    assert_null(topology_permission(tf_tw()->newest, SLICE_LIT("alice"), SLICE_LIT("/")));
    set.change = CHANGE_PERMISSION_SET;
    tf_ok(tf_do(0, &set));
    tf_ok(named(CHANGE_USER_DELETE, "alice"));
    assert_int_equal(tf.users_deleted, 1);
    assert_int_equal(tf_tw()->newest->permissions.count, 1);
    tf_close();
}

static void
test_parameters(void **state)
{
    tf_open(tf_setup);
    struct topology_request put = {.change = CHANGE_PARAMETER_PUT,
                                   .component = SLICE_LIT("shovel"),
                                   .vhost = SLICE_LIT("/"),
                                   .name = SLICE_LIT("p"),
                                   .text = SLICE_LIT("{\"a\":1}")};
    tf_ok(tf_do(0, &put));
    put.text = SLICE_LIT("{\"a\":2}");
    struct tf_answer a = tf_do(0, &put);
    tf_ok(a);
    assert_false(a.is_created);
    const struct parameter *p =
        topology_parameter(tf_tw()->newest, SLICE_LIT("shovel"), SLICE_LIT("/"), SLICE_LIT("p"));
    assert_true(slice_eq_str(p->value, "{\"a\":2}"));
    put.change = CHANGE_PARAMETER_DELETE;
    tf_ok(tf_do(0, &put));
    assert_fault(tf_do(0, &put), 404, "NOT_FOUND - Parameter does not exist");
    put = (struct topology_request){
        .change = CHANGE_PARAMETER_PUT, .component = SLICE_LIT("global"), .name = SLICE_LIT("cluster_name")};
    tf_ok(tf_do(0, &put));
    put.vhost = SLICE_LIT("nosuch");
    assert_int_equal(tf_do(0, &put).code, 404);
    tf_close();
}

static int
run_all(const char *what)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vhosts),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_parameters),
    };
    return cmocka_run_group_tests_name(what, tests, NULL, NULL);
}

int
main(void)
{
    return tf_run_all(run_all);
}
