// test_topology_policy.c: policies through the topology writer: put and cleared, how they reach queues and exchanges that exist, what
// is left of them after a failed commit and a restart, and what one of them costs among many queues.
//
// Each time nothing is under way tf_check compares the rules of every running queue with what its vhost's policies say.
#include <time.h>

#include "src/base/rng.h"
#include "tests/unit/broker/topology_fixture.h"

static const struct tf_config two = {.workers = 2, .placement = PLACE_REMOTE};
static const struct tf_config two_kept = {.workers = 2, .is_kept = true};

static struct topology_request
put_args(enum policy_kind kind, const char *vhost, const char *name, const char *json)
{
    return (struct topology_request){.change = json != NULL ? CHANGE_PARAMETER_PUT : CHANGE_PARAMETER_DELETE,
                                     .component = policy_component(kind),
                                     .vhost = slice_str(vhost),
                                     .name = slice_str(name),
                                     .text = json != NULL ? slice_str(json) : SLICE_EMPTY};
}

static struct tf_answer
put(enum policy_kind kind, const char *name, const char *json)
{
    struct topology_request args = put_args(kind, "/", name, json);
    return tf_do(0, &args);
}

static struct tf_answer
clear(enum policy_kind kind, const char *name)
{
    return put(kind, name, NULL);
}

static const struct queue_rules *
rules(const char *name)
{
    const struct queue_def *def = tf_def(name);
    assert_non_null(def);
    const struct queue *q =
        queue_worker_find(queue_worker_of(tf.crew->members[handle_worker(def->handle)]), def->handle);
    assert_non_null(q);
    return QUEUE_RULES(q);
}

static struct tf_answer
queue_with(const char *name, const char *key, int64_t number, uint32_t flags)
{
    struct buf args = BUF_INIT;
    struct table_writer w = table_writer_of(&args);
    table_put_i64(&w, slice_str(key), number);
    struct tf_answer a = tf_do(1, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                                             ROOT,
                                                             .name = slice_str(name),
                                                             .arguments = buf_slice(&args),
                                                             .flags = flags});
    buf_fini(&args);
    return a;
}

// When the put is answered, the queues live by it: before that moment nobody is told that it is set.
static void
test_live(void **state)
{
    tf_open(&two);
    tf_ok(tf_queue(0, "q1", CHANGE_DURABLE, 0));
    tf_ok(tf_queue(1, "q2", CHANGE_EXCLUSIVE, 7));
    tf_ok(queue_with("q3", "x-max-length", 3, 0));
    tf_ok(tf_queue(0, "other", 0, 0));
    struct tf_answer a =
        put(POLICY_USER, "p",
            "{\"pattern\":\"^q\",\"definition\":{\"max-length\":5,\"overflow\":\"reject-publish\"}}");
    tf_ok(a);
    assert_true(a.is_created);
    assert_int_equal(rules("q1")->max_length, 5);
    assert_int_equal(rules("q1")->overflow, OVERFLOW_REJECT_PUBLISH);
    assert_true(slice_eq_str(rules("q1")->policy, "p"));
    assert_int_equal(rules("q2")->max_length, 5); // exclusive queues too
    assert_int_equal(rules("q3")->max_length, 3);
    assert_ptr_equal(rules("other"), &queue_rules_none);
    tf_ok(tf_queue(0, "q4", 0, 0));
    assert_int_equal(rules("q4")->max_length, 5);
    assert_true(tf_is_quiet());
    tf_check();

    a = put(POLICY_OPERATOR, "op", "{\"pattern\":\"4$\",\"definition\":{\"max-length\":2,\"expires\":9000}}");
    tf_ok(a);
    assert_int_equal(rules("q4")->max_length, 2);
    assert_int_equal(rules("q4")->expires_ms, 9000);
    assert_true(slice_eq_str(rules("q4")->operator_policy, "op"));
    a = put(POLICY_USER, "stronger", "{\"pattern\":\"1\",\"priority\":1,\"definition\":{\"message-ttl\":1}}");
    tf_ok(a);
    assert_int_equal(rules("q1")->max_length, RULE_NONE); // one policy a queue: the other one has lost it
    assert_int_equal(rules("q1")->message_ttl_ms, 1);
    a = put(POLICY_USER, "p", "{\"pattern\":\"^o\",\"definition\":{\"max-length\":6}}");
    tf_ok(a);
    assert_false(a.is_created);
    assert_int_equal(rules("other")->max_length, 6);
    assert_int_equal(rules("q3")->max_length, 3);
    assert_ptr_equal(rules("q2"), &queue_rules_none);
    tf_ok(clear(POLICY_USER, "stronger"));
    assert_ptr_equal(rules("q1"), &queue_rules_none);
    tf_ok(clear(POLICY_OPERATOR, "op"));
    tf_ok(clear(POLICY_USER, "p"));
    assert_ptr_equal(rules("other"), &queue_rules_none);
    assert_null(tf_vhost("/")->policies[0]);
    assert_null(tf_vhost("/")->policies[1]);
    assert_int_equal(tf_tw()->newest->parameters.count, 0);
    tf_close();
}

static void
test_refusals(void **state)
{
    tf_open(&two);
    assert_fault(put(POLICY_USER, "p", "{\"pattern\":\"a\",\"definition\":{\"nosuch\":1}}"), 406,
                 "PRECONDITION_FAILED - Validation failed\n\n[{<<\"nosuch\">>,1}] are not recognised policy "
                 "settings\n");
    assert_fault(put(POLICY_OPERATOR, "p", "{\"pattern\":\"a\",\"definition\":{\"queue-mode\":\"lazy\"}}"),
                 406,
                 "PRECONDITION_FAILED - Validation failed\n\n[{<<\"queue-mode\">>,<<\"lazy\">>}] are not "
                 "recognised policy settings\n");
    assert_fault(clear(POLICY_USER, "p"), 404, "NOT_FOUND - Parameter does not exist");
    struct topology_request args = put_args(POLICY_USER, "v", "p", "{}");
    assert_fault(tf_do(0, &args), 404, "NOT_FOUND - Virtual host 'v' does not exist");
    args = put_args(POLICY_USER, "", "p", "{}");
    assert_int_equal(tf_do(0, &args).code, 406);
    assert_int_equal(put(POLICY_USER, "", "{\"pattern\":\"a\",\"definition\":{\"expires\":1}}").code, 406);
    assert_int_equal(tf_tw()->newest->parameters.count, 0);
    // The same again is no change: no version is made for it.
    tf_ok(put(POLICY_USER, "p", "{\"pattern\":\"a\",\"definition\":{\"expires\":1}}"));
    uint64_t version = tf_tw()->newest->version;
    struct tf_answer a =
        put(POLICY_USER, "p", "{ \"definition\":{\"expires\":1},\"pattern\":\"a\",\"priority\":0}");
    tf_ok(a);
    assert_false(a.is_created);
    assert_int_equal(tf_tw()->newest->version, version);
    tf_close();
}

static void
assert_alternate(const char *exchange, const char *alternate)
{
    if (!slice_eq_str(tf_x(exchange)->alternate, alternate))
        fail_msg("%s has '%.*s'", exchange, SLICE_FMT(tf_x(exchange)->alternate));
}

static void
test_alternate_exchanges(void **state)
{
    tf_open(&two);
    struct buf own = BUF_INIT;
    struct table_writer w = table_writer_of(&own);
    table_put_str(&w, SLICE_LIT("alternate-exchange"), "mine");
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_EXCHANGE_DECLARE,
                                              ROOT,
                                              .name = SLICE_LIT("x.own"),
                                              .type = SLICE_LIT("direct"),
                                              .arguments = buf_slice(&own)}));
    buf_fini(&own);
    tf_ok(tf_exchange("x.before", "direct", 0));
    tf_ok(put(POLICY_USER, "ae", "{\"pattern\":\"\",\"definition\":{\"alternate-exchange\":\"first\"}}"));
    assert_alternate("x.before", "first");
    assert_alternate("amq.topic", "first"); // predeclared ones too, as in RabbitMQ
    assert_alternate("", "");               // the default exchange has none
    assert_alternate("x.own", "mine");
    tf_ok(tf_exchange("x.after", "direct", 0));
    assert_alternate("x.after", "first");
    // Other changes of an exchange keep it.
    tf_ok(tf_bind(CHANGE_BIND, "x.after", "amq.fanout", "k", 0));
    assert_alternate("x.after", "first");
    tf_ok(put(POLICY_USER, "ae",
              "{\"pattern\":\"before\",\"apply-to\":\"exchanges\",\"definition\":{\"alternate-exchange\":"
              "\"second one\"}}"));
    assert_alternate("x.before", "second one");
    assert_alternate("x.after", "");
    tf_ok(tf_bind(CHANGE_UNBIND, "x.after", "amq.fanout", "k", 0));
    tf_ok(clear(POLICY_USER, "ae"));
    assert_alternate("x.before", "");
    assert_alternate("x.own", "mine");
    tf_close();
}

static void
test_restart(void **state)
{
    tf_open(&two_kept);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 0));
    tf_ok(tf_exchange("x", "direct", CHANGE_DURABLE));
    tf_ok(put(POLICY_USER, "a",
              "{\"pattern\":\"\",\"definition\":{\"max-length\":5,\"alternate-exchange\":\"alt\"},"
              "\"priority\":1}"));
    tf_ok(put(POLICY_USER, "b", "{\"pattern\":\"\",\"definition\":{\"max-length\":6}}"));
    tf_ok(put(POLICY_OPERATOR, "a", "{\"pattern\":\"\",\"definition\":{\"max-length-bytes\":7}}"));
    // Of a version that took more: kept, but without effect, and it can be cleared.
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_PARAMETER_PUT,
                                              ROOT,
                                              .component = SLICE_LIT("shovel"),
                                              .name = SLICE_LIT("s"),
                                              .text = SLICE_LIT("{}")}));
    tf_settle();
    assert_int_equal(sqlite3_exec(tf_tw()->meta->db,
                                  "UPDATE parameters SET component = CAST('policy' AS BLOB) WHERE component "
                                  "= CAST('shovel' AS BLOB)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_changes(tf_tw()->meta->db), 1);
    tf_stop();
    tf_start(&two_kept);
    assert_int_equal(rules("q")->max_length, 5);
    assert_int_equal(rules("q")->max_length_bytes, 7);
    assert_true(slice_eq_str(rules("q")->policy, "a") && slice_eq_str(rules("q")->operator_policy, "a"));
    assert_alternate("x", "alt");
    assert_int_equal(tf_vhost("/")->policies[POLICY_USER]->count, 2);
    tf_check();
    tf_ok(clear(POLICY_USER, "s"));
    assert_fault(clear(POLICY_USER, "s"), 404, "NOT_FOUND - Parameter does not exist");
    tf_ok(clear(POLICY_USER, "a"));
    tf_settle();
    tf_stop();
    tf_start(&two_kept);
    assert_int_equal(rules("q")->max_length, 6);
    assert_alternate("x", "");
    tf_close();
}

// What is not committed has no effect: neither the policy nor what queues would have become by it.
static void
test_failed_commit(void **state)
{
    tf_open(&two_kept);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 0));
    tf_ok(put(POLICY_USER, "p", "{\"pattern\":\"q\",\"definition\":{\"max-length\":5}}"));
    tf.fails_commits = true;
    struct tf_answer a = put(POLICY_USER, "p", "{\"pattern\":\"q\",\"definition\":{\"max-length\":6}}");
    assert_int_equal(a.code, 541);
    a = put(POLICY_USER, "more", "{\"pattern\":\"q\",\"definition\":{\"max-length\":6},\"priority\":9}");
    assert_int_equal(a.code, 541);
    assert_int_equal(clear(POLICY_USER, "p").code, 541);
    assert_int_equal(rules("q")->max_length, 5);
    assert_int_equal(tf_vhost("/")->policies[POLICY_USER]->count, 1);
    tf_check();
    tf.fails_commits = false;
    tf_ok(clear(POLICY_USER, "p"));
    assert_ptr_equal(rules("q"), &queue_rules_none);
    tf_close();
}

// Policies of the configuration: new vhosts get them, and keep them whatever the next configuration says.
static void
test_default_policies(void **state)
{
    static const struct topology_default_policy policies[] = {
        {SLICE_LIT("for v"), SLICE_LIT("^v"), SLICE_LIT("q"), SLICE_LIT("{\"max-length\":4}")},
        {SLICE_LIT("for all"), SLICE_LIT(".*"), SLICE_LIT(".*"), SLICE_LIT("{\"expires\":5000}")},
    };
    struct tf_config config = two_kept;
    config.policies = policies;
    config.policy_count = 2;
    tf_open(&config);
    assert_int_equal(tf_vhost("/")->policies[POLICY_OPERATOR]->count, 1);
    tf_ok(tf_queue(0, "q", CHANGE_DURABLE, 0));
    assert_int_equal(rules("q")->expires_ms, 5000);
    struct topology_request make = {.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v")};
    tf.fails_commits = true;
    assert_int_equal(tf_do(0, &make).code, 541);
    assert_null(tf_vhost("v"));
    assert_int_equal(tf_tw()->newest->parameters.count, 1);
    tf.fails_commits = false;
    tf_ok(tf_do(0, &make));
    assert_int_equal(tf_vhost("v")->policies[POLICY_OPERATOR]->count, 2);
    tf_ok(tf_do(0, &make)); // it is there already: nothing is put again
    tf_ok(clear(POLICY_OPERATOR, "for all"));
    tf_settle();
    tf_stop();
    tf_start(&two_kept);
    assert_null(tf_vhost("/")->policies[POLICY_OPERATOR]);
    const struct policy_list *l = tf_vhost("v")->policies[POLICY_OPERATOR];
    assert_int_equal(l->count, 2);
    assert_true(slice_eq_str(l->items[0]->name, "for all") && slice_eq_str(l->items[1]->pattern, "q"));
    tf_close();
}

static void
refuse_start(struct topology_default_policy policy, const char *text)
{
    struct crew_config crew = {.n_workers = 1};
    struct topology_config topology = {.default_policies = &policy, .default_policy_count = 1};
    struct queue_worker_config queues = {.client = &tf_client};
    char *error = NULL;
    struct crew *c = crew_new(&crew);
    queue_worker_init(c->members[0], &queues);
    assert_int_equal(topology_start(c, &topology, &error), -LE_INVAL);
    assert_string_equal(error, text);
    mem_free(error);
    queue_worker_fini(c->members[0]);
    topology_stop(c);
    crew_free(c);
}

static void
test_bad_default_policies(void **state)
{
    struct topology_default_policy p = {SLICE_LIT("d"), SLICE_LIT("["), SLICE_LIT(""),
                                        SLICE_LIT("{\"expires\":1}")};
    refuse_start(p, "default_policies.operator.d: {\"missing terminating ] for character class\",1}");
    p.vhost_pattern = SLICE_LIT("");
    p.definition = SLICE_LIT("{}");
    refuse_start(p, "default_policies.operator.d: Validation failed\n\nno policy provided\n");
    p.definition = SLICE_LIT("{\"ha-params\":2}");
    refuse_start(
        p,
        "default_policies.operator.d: Validation failed\n\nha-mode must be specified to specify ha-params, "
        "ha-sync-mode or ha-promote-on-shutdown\n");
}

// A vhost goes while its queues are being told.
static void
test_vhost_goes(void **state)
{
    enum { QUEUES = 300 };
    tf_open(&two);
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_PUT, .name = SLICE_LIT("v")}));
    for (int i = 0; i < QUEUES; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%d", i);
        tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                                  .vhost = SLICE_LIT("v"),
                                                  .name = slice_str(name)}));
    }
    for (int rounds = 0; rounds < 12; rounds++) {
        struct tf_answer puts[3], gone;
        for (int i = 0; i < 3; i++) {
            char json[100];
            snprintf(json, sizeof json, "{\"pattern\":\"%d\",\"definition\":{\"max-length\":%d}}", i,
                     rounds + i);
            struct topology_request args = put_args(POLICY_USER, "v", i == 0 ? "a" : "b", json);
            tf_submit(i % 2, &args, &puts[i]);
            for (int k = 0; k < rounds; k++)
                tf_round();
        }
        struct topology_request delete = {.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("v")};
        if (rounds == 11)
            tf_submit(1, &delete, &gone);
        tf_settle();
        assert_true(puts[0].is_done && puts[1].is_done && puts[2].is_done);
        assert_true(rounds < 11 || gone.is_done);
        tf_check();
    }
    assert_null(tf_vhost("v"));
    assert_int_equal(tf_tw()->newest->parameters.count, 0);
    tf_close();
}

// The process ends at any moment of it.
static void
test_end_in_between(void **state)
{
    for (int rounds = 0; rounds < 14; rounds++) {
        struct tf_answer a;
        tf_open(&two);
        for (int i = 0; i < 20; i++) {
            char name[16];
            snprintf(name, sizeof name, "q%d", i);
            tf_ok(tf_queue(0, name, 0, 0));
        }
        struct topology_request args =
            put_args(POLICY_USER, "/", "p", "{\"pattern\":\"\",\"definition\":{\"expires\":1}}");
        tf_submit(0, &args, &a);
        for (int i = 0; i < rounds; i++)
            tf_round();
        tf_stop_quietly();
    }
}

// --- random requests ----------------------------------------------------------------------------------------------------------

static void
random_policy(struct rng *rng, char json[200])
{
    // What is behind the number closes it.
    static const char *const definitions[][2] = {
        {"\"max-length\":", ""},
        {"\"dead-letter-exchange\":\"d\",\"message-ttl\":", ""},
        {"\"delivery-limit\":", ""},
        {"\"ha-mode\":\"exactly\",\"ha-params\":", ""},
        {"\"alternate-exchange\":\"a", "\""},
        {"\"queue-mode\":\"lazy\",\"expires\":", ""},
    };
    static const char *const apply_tos[] = {"all", "queues", "exchanges", "classic_queues", "quorum_queues"};
    const char *const *definition = definitions[rng_below(rng, LV_ARRAY_LEN(definitions))];
    snprintf(json, 200, "{\"pattern\":\"%c\",\"priority\":%d,\"apply-to\":\"%s\",\"definition\":{%s%d%s}}",
             "12345"[rng_below(rng, 5)], (int)rng_below(rng, 3),
             apply_tos[rng_below(rng, LV_ARRAY_LEN(apply_tos))], definition[0], 1 + (int)rng_below(rng, 4),
             definition[1]);
}

static struct topology_request
random_request(struct rng *rng, char json[200], char name[16])
{
    const char *vhost = rng_below(rng, 5) == 0 ? "v" : "/";
    struct topology_request r = {
        .vhost = slice_str(vhost), .user = SLICE_LIT("guest"), .name = slice_str(name)};
    snprintf(name, 16, "o%d", (int)rng_below(rng, 40));
    r.name = slice_str(name);
    switch (rng_below(rng, 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        snprintf(name, 16, "p%d", (int)rng_below(rng, 5));
        r.name = slice_str(name);
        r.component = policy_component((enum policy_kind)rng_below(rng, 2));
        r.change = rng_below(rng, 3) == 0 ? CHANGE_PARAMETER_DELETE : CHANGE_PARAMETER_PUT;
        random_policy(rng, json);
        r.text = slice_str(json);
        break;
    case 4:
    case 5:
        r.change = CHANGE_QUEUE_DECLARE;
        r.flags = rng_below(rng, 2) == 0 ? CHANGE_DURABLE : 0;
        break;
    case 6: r.change = CHANGE_QUEUE_DELETE; break;
    case 7:
        r.change = CHANGE_EXCHANGE_DECLARE;
        r.type = SLICE_LIT("direct");
        r.flags = rng_below(rng, 2) == 0 ? CHANGE_DURABLE : 0;
        break;
    case 8: r.change = CHANGE_EXCHANGE_DELETE; break;
    default:
        r.change = rng_below(rng, 6) == 0 ? CHANGE_VHOST_DELETE : CHANGE_VHOST_PUT;
        r.name = SLICE_LIT("v");
        break;
    }
    return r;
}

static void
run_random(uint64_t seed)
{
    enum { BATCHES = 60, BATCH = 12 };
    struct rng rng;
    struct tf_config config = {.workers = 3, .is_kept = true, .chaos_seed = seed, .mailbox_capacity = 16};
    rng_init(&rng, seed);
    tf_open(&config);
    for (int batch = 0; batch < BATCHES; batch++) {
        struct tf_answer answers[BATCH];
        size_t count = 1 + (size_t)rng_below(&rng, BATCH);
        for (size_t i = 0; i < count; i++) {
            char json[200], name[16];
            struct topology_request r = random_request(&rng, json, name);
            tf_submit((int)rng_below(&rng, 3), &r, &answers[i]);
            for (uint64_t k = rng_below(&rng, 4); k > 0; k--)
                tf_round();
            tf.fails_commits = rng_below(&rng, 8) == 0;
        }
        tf.fails_commits = false;
        tf_settle();
        for (size_t i = 0; i < count; i++)
            assert_true(answers[i].is_done);
        tf_check();
        if (rng_below(&rng, 12) == 0) {
            tf_stop();
            tf_start(&config);
            tf_settle();
            tf_check();
        }
    }
    tf_close();
}

static void
test_random(void **state)
{
    const char *text = getenv("LEVERET_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 1;
    uint64_t count = text != NULL ? 1 : 12;
    for (uint64_t i = 0; i < count; i++) {
        print_message("seed %llu\n", (unsigned long long)(seed + i));
        run_random(seed + i);
    }
}

// --- many queues --------------------------------------------------------------------------------------------------------------

static double
seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); // others use the machine too
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned answered;

static void
count_answer(struct topology_request *r)
{
    LV_ASSERT(r->fault.code == FAULT_NONE);
    answered++;
    topology_request_free(r);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 5000 };
#else
enum { MANY = 100000 };
#endif

static void
declare_many(void)
{
    answered = 0;
    for (int i = 0; i < MANY; i++) {
        char name[24];
        snprintf(name, sizeof name, "some.queue.%07d", i);
        struct topology_request args = {
            .change = CHANGE_QUEUE_DECLARE, ROOT, .name = slice_str(name), .done = count_answer};
        worker_self = tf.crew->members[i % tf.crew->n_workers];
        topology_submit(topology_request_new(&args));
        worker_self = NULL;
        if (i % 2000 == 1999)
            tf_round();
    }
    while (answered < MANY)
        tf_round();
}

// One put among them: its whole CPU time, and the longest turn of the writer meanwhile, in which nobody else is served.
static void
time_put(const char *what, const char *json)
{
    struct tf_answer a;
    struct topology_request args = put_args(POLICY_USER, "/", "p", json);
    double start = seconds(), longest = 0, writer = 0;
    unsigned turns = 0;
    tf_submit(0, &args, &a);
    for (; !a.is_done; turns++) {
        for (int i = 0; i < tf.crew->n_members; i++) {
            double before = seconds();
            worker_turn(tf.crew->members[i]);
            double took = seconds() - before;
            if (tf.crew->members[i] != tf.writer)
                continue;
            longest = took > longest ? took : longest;
            writer += took;
        }
        assert_true(turns < 100000);
    }
    tf_ok(a);
    print_message("%s, %d queues: %.3f s, %u turns, writer %.3f s, longest turn of it %.2f ms\n", what, MANY,
                  seconds() - start, turns, writer, longest * 1e3);
}

static void
test_many_queues(void **state)
{
    tf_open(&two);
    declare_many();
    time_put("put for all", "{\"pattern\":\"^some\",\"definition\":{\"max-length\":5}}");
    tf_check();
    time_put("put for one in ten", "{\"pattern\":\"7$\",\"definition\":{\"max-length\":6}}");
    time_put("put for none", "{\"pattern\":\"none\",\"definition\":{\"max-length\":6}}");
    // Others are served meanwhile.
    struct tf_answer a, b;
    struct topology_request args =
        put_args(POLICY_USER, "/", "p", "{\"pattern\":\"\",\"definition\":{\"max-length\":8}}");
    tf_submit(0, &args, &a);
    for (int i = 0; i < 8; i++)
        tf_round();
    assert_false(a.is_done);
    b = tf_queue(1, "meanwhile", 0, 0);
    tf_ok(b);
    assert_false(a.is_done);
    assert_int_equal(rules("meanwhile")->max_length, 8);
    while (!a.is_done)
        tf_round();
    tf_ok(a);
    tf_close();
}

int
main(void)
{
    // Failed commits and policies that are none are told in the log, as they should be.
    if (tf_quiet() != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_alternate_exchanges),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_failed_commit),
        cmocka_unit_test(test_default_policies),
        cmocka_unit_test(test_bad_default_policies),
        cmocka_unit_test(test_vhost_goes),
        cmocka_unit_test(test_end_in_between),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_many_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
