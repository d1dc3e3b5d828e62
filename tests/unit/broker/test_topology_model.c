// test_topology_model.c: random requests against a model a child could read, with commits that fail, restarts, slow mailboxes.
#include "tests/unit/broker/topology_fixture.h"

enum { QUEUES = 8, EXCHANGES = 6, KEYS = 3, CONNS = 3, DESTS = QUEUES + EXCHANGES };

struct model_queue {
    bool exists, is_durable, is_auto_delete;
    uint64_t conn; // 0: shared
};

struct model_exchange {
    bool exists, is_durable, is_auto_delete;
    enum exchange_type type;
};

static struct model {
    struct model_queue queues[QUEUES];
    struct model_exchange exchanges[EXCHANGES];
    bool bound[EXCHANGES][DESTS][KEYS]; // destinations: queues, then exchanges
} model;

static struct rng rng;
static bool is_kept; // a store is there
static unsigned refused_count, owed_count, cascade_count;

static const char *const keys[KEYS] = {"a", "a.b", "a.*"};

static uint32_t
random_below(uint32_t n)
{
    return (uint32_t)rng_below(&rng, n);
}

static void
queue_name(char out[8], uint32_t i)
{
    memcpy(out, (char[]){'q', (char)('0' + i), '\0'}, 3);
}

static void
exchange_name(char out[8], uint32_t i)
{
    memcpy(out, (char[]){'x', (char)('0' + i), '\0'}, 3);
}

// --- the model --------------------------------------------------------------------------------------------------------

static bool
is_kept_dest(uint32_t d)
{
    if (d >= QUEUES)
        return model.exchanges[d - QUEUES].is_durable;
    return model.queues[d].is_durable && model.queues[d].conn == 0;
}

static bool
has_bindings(uint32_t x)
{
    for (uint32_t d = 0; d < DESTS; d++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            if (model.bound[x][d][k])
                return true;
        }
    }
    return false;
}

static void model_drop_exchange(uint32_t x);

static void
model_unbind(uint32_t x, uint32_t d, uint32_t k)
{
    if (!model.bound[x][d][k])
        return;
    model.bound[x][d][k] = false;
    if (model.exchanges[x].exists && model.exchanges[x].is_auto_delete && !has_bindings(x)) {
        cascade_count++;
        model_drop_exchange(x);
    }
}

static void
model_drop_dest(uint32_t d)
{
    for (uint32_t x = 0; x < EXCHANGES; x++) {
        for (uint32_t k = 0; k < KEYS; k++)
            model_unbind(x, d, k);
    }
}

static void
model_drop_exchange(uint32_t x)
{
    model.exchanges[x].exists = false;
    memset(model.bound[x], 0, sizeof model.bound[x]);
    model_drop_dest(QUEUES + x);
}

// What is left after a restart.
static void
model_restart(void)
{
    for (uint32_t x = 0; x < EXCHANGES; x++) {
        bool is_source_kept = model.exchanges[x].exists && model.exchanges[x].is_durable;
        for (uint32_t d = 0; d < DESTS; d++) {
            for (uint32_t k = 0; k < KEYS; k++)
                model.bound[x][d][k] &= is_source_kept && is_kept_dest(d);
        }
    }
    for (uint32_t x = 0; x < EXCHANGES; x++)
        model.exchanges[x].exists &= model.exchanges[x].is_durable;
    for (uint32_t q = 0; q < QUEUES; q++)
        model.queues[q].exists &= model.queues[q].is_durable && model.queues[q].conn == 0;
}

// --- comparing --------------------------------------------------------------------------------------------------------

struct compare {
    uint32_t x;
    unsigned found;
};

static bool
compare_binding(const struct binding *b, void *ctx)
{
    struct compare *c = ctx;
    unsigned number = (unsigned)(b->dest_name.ptr[1] - '0');
    uint32_t d = b->dest == BINDING_TO_QUEUE ? number : QUEUES + number;
    uint32_t k = 0;
    while (!slice_eq_str(b->key, keys[k]))
        k++;
    assert_true(model.bound[c->x][d][k]);
    assert_int_equal(b->is_durable, model.exchanges[c->x].is_durable && is_kept_dest(d));
    c->found++;
    return true;
}

static void
compare_all(void)
{
    char name[8];
    for (uint32_t q = 0; q < QUEUES; q++) {
        queue_name(name, q);
        const struct queue_def *def = tf_def(name);
        assert_int_equal(def != NULL, model.queues[q].exists);
        assert_int_equal(def != NULL ? def->owner_conn : 0, def != NULL ? model.queues[q].conn : 0);
    }
    for (uint32_t x = 0; x < EXCHANGES; x++) {
        exchange_name(name, x);
        assert_int_equal(tf_x(name) != NULL, model.exchanges[x].exists);
        if (tf_x(name) == NULL)
            continue;
        struct compare c = {x, 0};
        unsigned expected = 0;
        for (uint32_t d = 0; d < DESTS; d++) {
            for (uint32_t k = 0; k < KEYS; k++)
                expected += model.bound[x][d][k];
        }
        router_each(&tf_x(name)->router, compare_binding, &c);
        assert_int_equal(c.found, expected);
    }
}

// --- steps ------------------------------------------------------------------------------------------------------------

// A durable change is refused when the commit fails, and changes nothing.
static bool
is_refused(const struct tf_answer *a, bool is_durable)
{
    bool expected = is_durable && is_kept && tf.fails_commits;
    assert_int_equal(a->code == FAULT_INTERNAL_ERROR, expected);
    refused_count += expected;
    return expected;
}

static void
step_queue_declare(int member)
{
    char name[8];
    uint32_t q = random_below(QUEUES);
    bool is_durable = random_below(2), is_exclusive = random_below(3) == 0,
         is_auto_delete = random_below(3) == 0;
    uint64_t conn = 1 + random_below(CONNS);
    struct model_queue *m = &model.queues[q];
    queue_name(name, q);
    struct tf_answer a = tf_queue(member, name,
                                  (is_durable ? (uint32_t)CHANGE_DURABLE : 0) |
                                      (is_exclusive ? (uint32_t)CHANGE_EXCLUSIVE : 0) |
                                      (is_auto_delete ? (uint32_t)CHANGE_AUTO_DELETE : 0),
                                  conn);
    uint64_t owner = is_exclusive ? conn : 0;
    if (!m->exists) {
        if (is_refused(&a, is_durable && !is_exclusive))
            return;
        assert_true(a.is_created);
        *m = (struct model_queue){true, is_durable, is_auto_delete, owner};
    } else if (m->conn != owner) {
        assert_int_equal(a.code, 405);
    } else {
        assert_int_equal(a.code,
                         m->is_durable == is_durable && m->is_auto_delete == is_auto_delete ? 0 : 406);
    }
}

static void
step_queue_delete(int member)
{
    char name[8];
    uint32_t q = random_below(QUEUES);
    uint64_t conn = 1 + random_below(CONNS);
    struct model_queue *m = &model.queues[q];
    queue_name(name, q);
    struct tf_answer a = tf_delete_queue(member, name, random_below(2) ? CHANGE_IF_UNUSED : 0, conn);
    if (m->exists && m->conn != 0 && m->conn != conn) {
        assert_int_equal(a.code, 405);
        return;
    }
    bool is_durable = m->exists && m->is_durable && m->conn == 0;
    owed_count += is_refused(&a, is_durable); // gone all the same
    if (!m->exists)
        return;
    m->exists = false;
    model_drop_dest(q);
}

// But x-consistent-hash, which takes no key that is no number.
static enum exchange_type
random_type(void)
{
    enum exchange_type type = (enum exchange_type)random_below(EXCHANGE_TYPE_COUNT - 1);
    return type < EXCHANGE_CONSISTENT_HASH ? type : (enum exchange_type)(type + 1);
}

static void
step_exchange_declare(void)
{
    char name[8];
    uint32_t x = random_below(EXCHANGES);
    bool is_durable = random_below(2), is_auto_delete = random_below(2);
    enum exchange_type type = random_type();
    struct model_exchange *m = &model.exchanges[x];
    exchange_name(name, x);
    struct tf_answer a = tf_exchange(name, exchange_type_name(type),
                                     (is_durable ? (uint32_t)CHANGE_DURABLE : 0) |
                                         (is_auto_delete ? (uint32_t)CHANGE_AUTO_DELETE : 0));
    if (!m->exists) {
        if (is_refused(&a, is_durable))
            return;
        assert_true(a.is_created);
        *m = (struct model_exchange){true, is_durable, is_auto_delete, type};
    } else {
        bool is_same = m->type == type && m->is_durable == is_durable && m->is_auto_delete == is_auto_delete;
        assert_int_equal(a.code, is_same ? 0 : 406);
    }
}

static void
step_exchange_delete(void)
{
    char name[8];
    uint32_t x = random_below(EXCHANGES);
    bool if_unused = random_below(3) == 0;
    exchange_name(name, x);
    struct tf_answer a = tf_delete_exchange(name, if_unused ? CHANGE_IF_UNUSED : 0);
    if (if_unused && model.exchanges[x].exists && has_bindings(x)) {
        assert_int_equal(a.code, 406);
        return;
    }
    if (model.exchanges[x].exists && !is_refused(&a, model.exchanges[x].is_durable))
        model_drop_exchange(x);
}

static void
step_bind(bool is_bind)
{
    char source[8], dest[8];
    uint32_t x = random_below(EXCHANGES), d = random_below(DESTS), k = random_below(KEYS);
    bool is_queue = d < QUEUES;
    exchange_name(source, x);
    if (is_queue)
        queue_name(dest, d);
    else
        exchange_name(dest, d - QUEUES);
    struct tf_answer a = tf_bind(is_bind ? CHANGE_BIND : CHANGE_UNBIND, source, dest, keys[k],
                                 is_queue ? CHANGE_DEST_IS_QUEUE : 0);
    bool has_dest = is_queue ? model.queues[d].exists : model.exchanges[d - QUEUES].exists;
    if (!model.exchanges[x].exists || !has_dest) {
        assert_int_equal(a.code, is_bind ? 404 : 0);
        return;
    }
    bool is_locked = is_queue && model.queues[d].conn > 1; // tf_bind asks for connection 1
    if (is_locked && (is_bind || model.bound[x][d][k])) {
        assert_int_equal(a.code, 405);
        return;
    }
    bool is_change = model.bound[x][d][k] != is_bind;
    if (is_refused(&a, is_change && model.exchanges[x].is_durable && is_kept_dest(d)))
        return;
    assert_int_equal(a.code, 0);
    if (is_bind)
        model.bound[x][d][k] = true;
    else
        model_unbind(x, d, k);
}

static void
step_gone(int member)
{
    uint64_t conn = 1 + random_below(CONNS);
    tf_ok(tf_do(member, &(struct topology_request){.change = CHANGE_CONNECTION_GONE, .owner_conn = conn}));
    for (uint32_t q = 0; q < QUEUES; q++) {
        if (!model.queues[q].exists || model.queues[q].conn != conn)
            continue;
        model.queues[q].exists = false;
        model_drop_dest(q);
    }
}

static void
step(int member)
{
    switch (random_below(12)) {
    case 0:
    case 1: step_queue_declare(member); break;
    case 2: step_queue_delete(member); break;
    case 3:
    case 4: step_exchange_declare(); break;
    case 5: step_exchange_delete(); break;
    case 6:
    case 7:
    case 8:
    case 9: step_bind(true); break;
    case 10: step_bind(false); break;
    default: step_gone(member); break;
    }
}

static void
restart_plain(const struct tf_config *config)
{
    tf.fails_commits = false;
    tf_settle();
    tf_stop();
    tf_start(config);
}

static void
restart(const struct tf_config *config)
{
    restart_plain(config);
    model_restart();
    compare_all();
    tf_check();
}

static void
run_one_by_one(const struct tf_config *config, uint64_t seed, int steps, uint32_t fail_percent)
{
    model = (struct model){0};
    is_kept = config->is_kept;
    rng_init(&rng, seed);
    tf_open(config);
    for (int i = 0; i < steps; i++) {
        tf.fails_commits = random_below(100) < fail_percent;
        step((int)random_below((uint32_t)config->workers));
        compare_all();
        if (i % 16 == 0)
            tf_check();
        if (is_kept && random_below(150) == 0)
            restart(config);
    }
    tf.fails_commits = false;
    tf_close();
}

static void
test_in_memory(void **state)
{
    run_one_by_one(&(struct tf_config){.workers = 1}, 1, 3000, 0);
    run_one_by_one(&(struct tf_config){.workers = 3, .placement = PLACE_REMOTE, .chaos_seed = 5}, 2, 1500, 0);
}

static void
test_with_store(void **state)
{
    run_one_by_one(&(struct tf_config){.workers = 2, .is_kept = true}, 3, 1200, 0);
}

static void
test_failing_commits(void **state)
{
    refused_count = owed_count = cascade_count = 0;
    run_one_by_one(&(struct tf_config){.workers = 2, .is_kept = true}, 4, 6000, 30);
    run_one_by_one(&(struct tf_config){.workers = 3, .is_kept = true, .chaos_seed = 9}, 5, 800, 50);
    print_message("refused %u, owed %u, cascades %u\n", refused_count, owed_count, cascade_count);
    assert_true(refused_count > 100 && owed_count > 20 && cascade_count > 20);
}

// Many at once: what each is answered depends on the order, but the notes must fit the version, each must be answered, and what is
// durable must be there after a restart.
enum { FLOOD = 60 };

static void
flood_request(struct topology_request *r, char names[2][8])
{
    static const enum topology_change changes[] = {CHANGE_QUEUE_DECLARE,
                                                   CHANGE_QUEUE_DELETE,
                                                   CHANGE_EXCHANGE_DECLARE,
                                                   CHANGE_EXCHANGE_DELETE,
                                                   CHANGE_BIND,
                                                   CHANGE_BIND,
                                                   CHANGE_BIND,
                                                   CHANGE_UNBIND,
                                                   CHANGE_CONNECTION_GONE};
    *r = (struct topology_request){ROOT, .owner_conn = 1 + random_below(CONNS),
                                   .change = changes[random_below(LV_ARRAY_LEN(changes))]};
    bool is_queue = r->change == CHANGE_QUEUE_DECLARE || r->change == CHANGE_QUEUE_DELETE;
    uint32_t d = random_below(DESTS);
    if (is_queue)
        queue_name(names[0], random_below(QUEUES));
    else
        exchange_name(names[0], random_below(EXCHANGES));
    if (d < QUEUES)
        queue_name(names[1], d);
    else
        exchange_name(names[1], d - QUEUES);
    r->name = slice_str(names[0]);
    r->dest_name = slice_str(names[1]);
    r->key = slice_str(keys[random_below(KEYS)]);
    r->type = slice_str(exchange_type_name(random_type()));
    r->arguments = tf_delayed_topic();
    r->flags = (random_below(2) ? (uint32_t)CHANGE_DURABLE : 0) |
               (random_below(3) == 0 ? (uint32_t)CHANGE_AUTO_DELETE : 0);
    if (r->change == CHANGE_BIND || r->change == CHANGE_UNBIND)
        r->flags = d < QUEUES ? CHANGE_DEST_IS_QUEUE : 0;
    else if (r->change == CHANGE_QUEUE_DECLARE && random_below(3) == 0)
        r->flags |= CHANGE_EXCLUSIVE;
}

// What is durable, as one number that does not depend on ids.
static bool
sum_binding(const struct binding *b, void *ctx)
{
    if (b->is_durable)
        *(uint64_t *)ctx += slice_hash_more(
            b->canonical, slice_hash_more(b->key, slice_hash_more(b->dest_name, slice_hash(b->source_name))));
    return true;
}

static uint64_t
durable_sum(void)
{
    uint64_t sum = 0;
    struct pmap_iter it;
    pmap_iter_init(&it, &tf_vhost("/")->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        sum += queue_is_kept(def) ? slice_hash_more(def->name, def->id) : 0;
    pmap_iter_init(&it, &tf_vhost("/")->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;) {
        sum += x->is_durable ? slice_hash_more(x->name, x->id + x->is_auto_delete) : 0;
        router_each(&x->router, sum_binding, &sum);
    }
    return sum;
}

static void
run_floods(const struct tf_config *config, uint64_t seed, int floods, uint32_t fail_percent)
{
    static struct tf_answer answers[FLOOD];
    rng_init(&rng, seed);
    tf_open(config);
    unsigned refused = 0, batched = 0;
    for (int i = 0; i < floods; i++) {
        tf.fails_commits = random_below(100) < fail_percent;
        uint64_t version = tf_tw()->newest->version;
        for (int k = 0; k < FLOOD; k++) {
            struct topology_request r;
            char names[2][8];
            flood_request(&r, names);
            tf_submit((int)random_below((uint32_t)config->workers), &r, &answers[k]);
        }
        for (int k = 0; k < FLOOD; k++) {
            for (int rounds = 0; !answers[k].is_done; rounds++) {
                assert_true(rounds < 100000);
                tf_round();
            }
            refused += answers[k].code == FAULT_INTERNAL_ERROR;
        }
        batched += tf_tw()->newest->version - version < FLOOD / 2;
        tf.fails_commits = false;
        tf_settle();
        tf_check();
        if (config->is_kept && i % 8 == 7) {
            uint64_t before = durable_sum();
            restart_plain(config);
            assert_true(before == durable_sum());
        }
    }
    assert_true(fail_percent == 0 || refused > 0);
    assert_true(batched > 0);
    tf_close();
}

static void
test_floods(void **state)
{
    run_floods(&(struct tf_config){.workers = 3}, 11, 150, 0);
    run_floods(
        &(struct tf_config){.workers = 3, .chaos_seed = 3, .placement = PLACE_REMOTE, .mailbox_capacity = 4},
        12, 60, 0);
}

static void
test_floods_with_failing_commits(void **state)
{
    run_floods(&(struct tf_config){.workers = 2, .is_kept = true}, 13, 200, 40);
    run_floods(&(struct tf_config){.workers = 3, .is_kept = true, .chaos_seed = 8}, 14, 60, 60);
}

int
main(void)
{
    if (tf_quiet() != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_with_store),
        cmocka_unit_test(test_failing_commits),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_floods_with_failing_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
