// test_topology_threads.c: real threads declare, bind, route, publish and delete at once; made for ThreadSanitizer.
//
// Every worker drives some lanes; each goes through the life of a queue of its own again and again, by way of exchanges that all
// share, and policies that change. All workers read what all lanes have been promised: what was answered is seen by everybody, what
// is seen is whole, and a queue that is seen is known to its owner.
#include <stdio.h>

#include "tests/unit/broker/topology_fixture.h"

enum { LANES = 6, SHARED = 4, WORKERS_MAX = 3 };

static int rounds_wanted;
static unsigned commit_number; // writer's thread
static unsigned fail_every;

struct lane {
    struct driver *driver;
    int number, round;
    uint64_t conn;
    char name[16];
    bool is_created, is_exclusive;
    uint32_t exchange;
    _Atomic unsigned
        life; // odd: declared and answered, and its deletion not yet asked for. Partner: check_promises
};

struct driver {
    struct worker *w;
    struct lane lanes[LANES];
    struct route_ctx *route;
    struct policy_matcher *matcher;
    int lanes_left;
    unsigned refused, seen;
};

static struct driver drivers[WORKERS_MAX];
static int driver_count, drivers_left; // the latter: main's thread

static void lane_next(struct lane *l);

static const struct vhost *
root_of(struct worker *w)
{
    return topology_vhost(topology_of(w), SLICE_LIT("/"));
}

static void
submit(struct lane *l, struct topology_request *args, void (*done)(struct topology_request *))
{
    args->vhost = SLICE_LIT("/");
    args->user = SLICE_LIT("guest");
    args->owner_conn = l->conn;
    args->done = done;
    args->ctx = l;
    struct topology_request *r = topology_request_new(args);
    LV_ASSERT(r != NULL);
    topology_submit(r);
}

// The answer's lane; counts and checks what is common to all.
static struct lane *
answered(struct topology_request *r)
{
    struct lane *l = r->ctx;
    LV_ON_WORKER(l->driver->w);
    LV_ASSERT(topology_of(l->driver->w)->version >= r->version);
    if (r->fault.code != FAULT_NONE) {
        LV_ASSERT(r->fault.code == FAULT_INTERNAL_ERROR && fail_every > 0);
        l->driver->refused++;
    }
    return l;
}

static void
deleted(struct topology_request *r)
{
    struct lane *l = answered(r);
    topology_request_free(r);
    LV_ASSERT(vhost_queue(root_of(l->driver->w), slice_str(l->name)) == NULL);
    lane_next(l);
}

static void
lane_delete(struct lane *l)
{
    struct topology_request r = {.change = l->is_exclusive ? CHANGE_CONNECTION_GONE : CHANGE_QUEUE_DELETE,
                                 .name = slice_str(l->name)};
    if (l->is_created)
        atomic_fetch_add(&l->life, 1);
    submit(l, &r, deleted);
}

// The queue lives by the policy, and everybody sees it. Its rules can be looked at only where it lives.
static void
policy_put(struct topology_request *r)
{
    struct lane *l = answered(r);
    bool is_put = r->fault.code == FAULT_NONE;
    topology_request_free(r);
    const struct vhost *v = root_of(l->driver->w);
    const struct queue_def *def = vhost_queue(v, slice_str(l->name));
    LV_ASSERT(def != NULL);
    struct policy_pair pair = vhost_queue_policies(v, l->driver->matcher, def);
    const struct policy_value *value = policy_effective(&pair, POLICY_MAX_LENGTH);
    LV_ASSERT(!is_put || (slice_eq_str(pair.of[POLICY_USER]->name, l->name) && value->number == l->round));
    if (is_put && (int)handle_worker(def->handle) == l->driver->w->index) {
        const struct queue *q = queue_worker_find(queue_worker_of(l->driver->w), def->handle);
        LV_ASSERT(q->rules->max_length == (uint64_t)l->round && slice_eq_str(q->rules->policy, l->name));
    }
    lane_delete(l);
}

static void
put_policy(struct lane *l)
{
    char json[128];
    snprintf(json, sizeof json, "{\"pattern\":\"^%s$\",\"definition\":{\"max-length\":%d}}", l->name,
             l->round);
    struct topology_request r = {.change = CHANGE_PARAMETER_PUT,
                                 .component = SLICE_LIT("policy"),
                                 .name = slice_str(l->name),
                                 .text = slice_str(json)};
    submit(l, &r, policy_put);
}

static void
status_done(struct queue_request *r)
{
    struct lane *l = r->ctx;
    LV_ASSERT(r->outcome == QUEUE_OK);
    LV_ASSERT(r->message_count == 1);
    queue_request_free(r);
    if (rng_below(&l->driver->w->rng, 3) == 0)
        put_policy(l);
    else
        lane_delete(l);
}

static void
publish_and_ask(struct lane *l)
{
    const struct queue_def *def = vhost_queue(root_of(l->driver->w), slice_str(l->name));
    LV_ASSERT(def != NULL);
    struct message *m = message_new(SLICE_EMPTY, SLICE_EMPTY, slice_of("\0", 2), 0);
    queue_publish(m, &def->handle, 1, 0, 0);
    message_unref(m);
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_STATUS, def->handle);
    r->done = status_done;
    r->ctx = l;
    queue_request_send(r);
}

static void
bound(struct topology_request *r)
{
    struct lane *l = answered(r);
    bool is_bound = r->fault.code == FAULT_NONE;
    topology_request_free(r);
    char exchange[8];
    snprintf(exchange, sizeof exchange, "s%u", l->exchange);
    const struct vhost *v = root_of(l->driver->w);
    struct route_graph graph = vhost_route_graph(v);
    struct slice key = slice_str(l->name);
    struct route_request request = {
        .exchange = vhost_exchange(v, slice_str(exchange)), .keys = &key, .key_count = 1};
    struct route_result result;
    LV_ASSERT(request.exchange != NULL);
    LV_ASSERT(route_resolve(l->driver->route, &graph, &request, &result) == 0);
    bool is_found = false;
    for (size_t i = 0; i < result.count; i++)
        is_found |= slice_eq_str(result.queues[i]->name, l->name);
    LV_ASSERT(is_found || !is_bound);
    publish_and_ask(l);
}

static void
declared(struct topology_request *r)
{
    struct lane *l = answered(r);
    l->is_created = r->fault.code == FAULT_NONE;
    LV_ASSERT(r->is_created == l->is_created);
    topology_request_free(r);
    if (!l->is_created) {
        lane_delete(l);
        return;
    }
    LV_ASSERT(vhost_queue(root_of(l->driver->w), slice_str(l->name)) != NULL);
    atomic_fetch_add(&l->life, 1);
    char exchange[8];
    l->exchange = (uint32_t)rng_below(&l->driver->w->rng, SHARED);
    snprintf(exchange, sizeof exchange, "s%u", l->exchange);
    struct topology_request bind = {.change = CHANGE_BIND,
                                    .name = slice_str(exchange),
                                    .dest_name = slice_str(l->name),
                                    .key = slice_str(l->name),
                                    .flags = CHANGE_DEST_IS_QUEUE};
    submit(l, &bind, bound);
}

static void
driver_finished(struct worker *to, void *payload)
{
    if (--drivers_left > 0)
        return;
    for (int i = 0; i < to->crew->n_members; i++)
        worker_stop(to->crew->members[i]);
}

static void
lane_next(struct lane *l)
{
    struct driver *d = l->driver;
    if (l->round++ == rounds_wanted) {
        if (--d->lanes_left == 0)
            worker_post(crew_extra_member(d->w->crew, CREW_MAIN), driver_finished, NULL, 0, 0);
        return;
    }
    l->is_created = false;
    l->is_exclusive = rng_below(&d->w->rng, 2) == 0;
    l->conn = ((uint64_t)(d->w->index * LANES + l->number + 1) << 32) | (uint64_t)l->round;
    struct topology_request r = {.change = CHANGE_QUEUE_DECLARE,
                                 .name = slice_str(l->name),
                                 .flags = (l->is_exclusive ? (uint32_t)CHANGE_EXCLUSIVE : 0) |
                                          (rng_below(&d->w->rng, 2) ? (uint32_t)CHANGE_DURABLE : 0)};
    submit(l, &r, declared);
}

// Whatever any lane was promised and has not given up must be in this worker's version.
static void
check_promises(struct driver *d)
{
    for (int i = 0; i < driver_count; i++) {
        for (int k = 0; k < LANES; k++) {
            struct lane *l = &drivers[i].lanes[k];
            if ((atomic_load(&l->life) & 1) == 0)
                continue;
            const struct queue_def *def = vhost_queue(root_of(d->w), slice_str(l->name));
            LV_ASSERT(def != NULL);
            struct policy_pair pair = vhost_queue_policies(root_of(d->w), d->matcher, def);
            LV_ASSERT(pair.of[POLICY_USER] == NULL || slice_eq(pair.of[POLICY_USER]->name, def->name));
            d->seen++;
        }
    }
}

static bool
check_binding(const struct binding *b, void *ctx)
{
    LV_ASSERT(vhost_queue(ctx, b->dest_name) == b->queue);
    return true;
}

static bool
read_hook(struct worker *w, void *ctx)
{
    struct driver *d = ctx;
    const struct vhost *v = root_of(w);
    if (v == NULL)
        return false;
    char exchange[8];
    snprintf(exchange, sizeof exchange, "s%u", (unsigned)rng_below(&w->rng, SHARED));
    const struct exchange *x = vhost_exchange(v, slice_str(exchange));
    LV_ASSERT(x != NULL);
    router_each(&x->router, check_binding, (void *)(uintptr_t)v);
    check_promises(d);
    return false;
}

static int
fail_some(void *ctx)
{
    return ++commit_number % fail_every == 0;
}

static void
kick(struct worker *to, void *payload)
{
    for (int k = 0; k < LANES; k++)
        lane_next(&drivers[to->index].lanes[k]);
}

static void
run(const struct tf_config *config, int rounds, unsigned fail)
{
    static const char *const types[SHARED] = {"direct", "fanout", "topic", "direct"};
    rounds_wanted = rounds;
    fail_every = fail;
    commit_number = 0;
    driver_count = drivers_left = config->workers;
    tf_open(config);
    for (unsigned i = 0; i < SHARED; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%u", i);
        tf_ok(tf_exchange(name, types[i], CHANGE_DURABLE));
    }
    tf_settle();
    if (fail > 0)
        sqlite3_commit_hook(tf_tw()->meta->db, fail_some, NULL);
    for (int i = 0; i < driver_count; i++) {
        struct driver *d = &drivers[i];
        d->w = tf.crew->members[i];
        d->route = route_ctx_new();
        d->matcher = policy_matcher_new();
        d->lanes_left = LANES;
        d->refused = d->seen = 0;
        for (int k = 0; k < LANES; k++) {
            struct lane *l = &d->lanes[k];
            l->driver = d;
            l->number = k;
            l->round = 0;
            atomic_store(&l->life, 0);
            snprintf(l->name, sizeof l->name, "w%d.%d", i, k);
        }
        worker_add_hook(d->w, PHASE_READ, read_hook, d);
    }
    worker_self = crew_extra_member(tf.crew, CREW_MAIN);
    for (int i = 0; i < driver_count; i++)
        worker_post(tf.crew->members[i], kick, NULL, 0, 0);
    worker_self = NULL;
    assert_int_equal(crew_start(tf.crew), 0);
    worker_run(crew_extra_member(tf.crew, CREW_MAIN));
    crew_join(tf.crew);
    unsigned refused = 0, seen = 0;
    for (int i = 0; i < driver_count; i++) {
        refused += drivers[i].refused;
        seen += drivers[i].seen;
        route_ctx_free(drivers[i].route);
        policy_matcher_free(drivers[i].matcher);
    }
    assert_int_equal(refused > 0, fail > 0);
    assert_true(seen > 0);
    tf_check();
    assert_int_equal(tf_vhost("/")->queues.count, 0);
    tf_stop_quietly();
}

static void
test_one_worker(void **state)
{
    run(&(struct tf_config){.workers = 1}, 300, 0);
}

static void
test_three_workers(void **state)
{
    run(&(struct tf_config){.workers = 3}, 250, 0);
}

static void
test_queues_elsewhere(void **state)
{
    run(&(struct tf_config){.workers = 3, .placement = PLACE_REMOTE, .chaos_seed = 77, .mailbox_capacity = 4},
        60, 0);
}

static void
test_store(void **state)
{
    run(&(struct tf_config){.workers = 3, .is_kept = true}, 40, 0);
}

static void
test_failing_store(void **state)
{
    run(&(struct tf_config){.workers = 2, .is_kept = true, .chaos_seed = 5}, 40, 3);
}

int
main(void)
{
    if (tf_quiet() != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_worker),       cmocka_unit_test(test_three_workers),
        cmocka_unit_test(test_queues_elsewhere), cmocka_unit_test(test_store),
        cmocka_unit_test(test_failing_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
