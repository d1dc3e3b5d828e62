// Routing through exchanges: e2e bindings and cycles, alternates, several keys, each queue once, grouped by
// owner.
#include "tests/unit/exchange/naive.h"
#include "tests/unit/exchange/support.h"

enum { EXCHANGES = 12, QUEUES = 64, BINDINGS_MAX = 400 };

// A vhost with all exchanges and queues in arrays: exchange n has id n + 1 and the name of its number; [0] is
// the default one.
struct world {
    struct exchange exchanges[EXCHANGES];
    char names[EXCHANGES][24];
    bool is_there[EXCHANGES];
    struct queue_def *queues[QUEUES];
    struct binding *bindings[BINDINGS_MAX];
    size_t binding_count;
    struct route_graph graph;
    struct route_ctx *ctx;
};

static const struct exchange *
exchange_by_id(const void *graph, uint64_t id)
{
    const struct world *w = graph;
    return id >= 1 && id <= EXCHANGES && w->is_there[id - 1] ? &w->exchanges[id - 1] : NULL;
}

static const struct exchange *
exchange_by_name(const void *graph, struct slice name)
{
    const struct world *w = graph;
    for (size_t i = 0; i < EXCHANGES; i++) {
        if (w->is_there[i] && slice_eq(w->exchanges[i].name, name))
            return &w->exchanges[i];
    }
    return NULL;
}

static const struct queue_def *
queue_by_name(const void *graph, struct slice name)
{
    const struct world *w = graph;
    for (size_t i = 0; i < QUEUES; i++) {
        if (slice_eq(w->queues[i]->name, name))
            return w->queues[i];
    }
    return NULL;
}

static void
set_exchange(struct world *w, size_t n, enum exchange_type type, const char *alternate)
{
    struct exchange *x = &w->exchanges[n];
    *x = (struct exchange){.id = n + 1, .type = type, .is_default = n == 0};
    if (n != 0)
        snprintf(w->names[n], sizeof w->names[n], "x%zu", n);
    x->name = slice_str(w->names[n]);
    x->alternate = alternate == NULL ? SLICE_EMPTY : slice_str(alternate);
    router_init(&x->router, type);
    w->is_there[n] = true;
}

static int
setup(void **state)
{
    struct world *w = mem_xcalloc(1, sizeof *w);
    char name[16];
    for (uint32_t i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%u", i);
        w->queues[i] = queue_make(i * 977, i * 7 % 5, name); // slots far apart
    }
    set_exchange(w, 0, EXCHANGE_DIRECT, NULL);
    w->graph = (struct route_graph){w, exchange_by_id, exchange_by_name, queue_by_name};
    w->ctx = route_ctx_new();
    assert_non_null(w->ctx);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < EXCHANGES; i++) {
        if (w->exchanges[i].id != 0)
            clear_now(&w->exchanges[i].router);
    }
    for (size_t i = 0; i < w->binding_count; i++)
        binding_free(w->bindings[i]);
    for (size_t i = 0; i < QUEUES; i++)
        mem_free(w->queues[i]);
    route_ctx_free(w->ctx);
    mem_free(w);
    return 0;
}

static void
add_binding(struct world *w, size_t source, struct binding *b)
{
    assert_true(w->binding_count < BINDINGS_MAX);
    if (bind_now(&w->exchanges[source].router, b))
        w->bindings[w->binding_count++] = b;
    else
        binding_free(b);
}

static void
to_queue(struct world *w, size_t source, const char *key, size_t queue)
{
    add_binding(w, source, binding_make(source + 1, w->queues[queue], slice_str(key), SLICE_EMPTY));
}

static void
to_exchange(struct world *w, size_t source, const char *key, size_t dest)
{
    add_binding(w, source, binding_make_to_exchange(source + 1, dest + 1, slice_str(key)));
}

static struct route_result
resolve(struct world *w, size_t exchange, const struct slice *keys, size_t key_count, struct slice headers)
{
    struct route_result ret;
    struct route_request request = {
        .exchange = &w->exchanges[exchange], .keys = keys, .key_count = key_count, .headers = headers};
    assert_int_equal(route_resolve(w->ctx, &w->graph, &request, &ret), 0);
    bool is_done[256] = {false};
    for (size_t i = 0; i < ret.count; i++) {
        unsigned worker = handle_worker(ret.queues[i]->handle);
        assert_false(is_done[worker]); // all of one worker are neighbours
        if (i + 1 < ret.count && handle_worker(ret.queues[i + 1]->handle) != worker)
            is_done[worker] = true;
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(ret.queues[i], ret.queues[j]); // once
    }
    return ret;
}

// Expects exactly these queues, given as "3 5 7".
static void
expect(struct world *w, size_t exchange, const char *key, const char *queues)
{
    struct slice keys[1] = {slice_str(key)};
    struct route_result ret = resolve(w, exchange, keys, 1, SLICE_EMPTY);
    size_t count = 0;
    for (char *end; *queues != 0; queues = end) {
        size_t n = strtoul(queues, &end, 10);
        bool is_found = false;
        for (size_t i = 0; i < ret.count; i++)
            is_found |= ret.queues[i] == w->queues[n];
        if (!is_found)
            fail_msg("exchange %zu, key '%s': no queue %zu", exchange, key, n);
        count++;
    }
    assert_int_equal(ret.count, count);
}

static void
default_exchange_is_queue_names(void **state)
{
    struct world *w = *state;
    expect(w, 0, "q7", "7");
    expect(w, 0, "nosuch", "");
    expect(w, 0, "", "");
    struct slice keys[] = {SLICE_LIT("q1"), SLICE_LIT("q9"), SLICE_LIT("nosuch"), SLICE_LIT("q1"),
                           SLICE_LIT("q2")};
    assert_int_equal(resolve(w, 0, keys, 5, SLICE_EMPTY).count, 3);
    assert_int_equal(resolve(w, 0, keys, 0, SLICE_EMPTY).count, 0);
}

static void
several_keys_reach_each_queue_once(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_DIRECT, NULL);
    set_exchange(w, 2, EXCHANGE_FANOUT, NULL);
    set_exchange(w, 3, EXCHANGE_TOPIC, NULL);
    to_queue(w, 1, "a", 1);
    to_queue(w, 1, "b", 1);
    to_queue(w, 1, "b", 2);
    to_queue(w, 2, "", 5);
    to_queue(w, 2, "z", 5); // two bindings of one queue
    to_queue(w, 3, "a.*", 6);
    to_queue(w, 3, "a.#", 6);
    to_queue(w, 3, "#.b", 7);
    struct slice keys[] = {SLICE_LIT("a"), SLICE_LIT("b"), SLICE_LIT("a.b"), SLICE_LIT("c")};
    assert_int_equal(resolve(w, 1, keys, 4, SLICE_EMPTY).count, 2);
    assert_int_equal(resolve(w, 2, keys, 4, SLICE_EMPTY).count, 1);
    assert_int_equal(resolve(w, 3, keys, 4, SLICE_EMPTY).count, 2);
    expect(w, 1, "a", "1");
    expect(w, 1, "b", "1 2");
    expect(w, 2, "whatever", "5");
    expect(w, 3, "a.b", "6 7");
}

static void
exchange_bindings_and_cycles(void **state)
{
    struct world *w = *state;
    for (size_t i = 1; i <= 4; i++)
        set_exchange(w, i, EXCHANGE_TOPIC, NULL);
    to_exchange(w, 1, "a.#", 2);
    to_exchange(w, 2, "#", 3);
    to_exchange(w, 3, "#", 1); // round
    to_exchange(w, 3, "#", 3); // and to itself
    to_exchange(w, 3, "a.b", 4);
    to_queue(w, 1, "b", 1);
    to_queue(w, 2, "a.*", 2);
    to_queue(w, 3, "#", 3);
    to_queue(w, 4, "*.b", 4);
    to_queue(w, 4, "*.b", 2); // also reached by exchange 2
    expect(w, 1, "a.b", "2 3 4");
    expect(w, 1, "b", "1");
    expect(w, 3, "b", "1 3");
    w->is_there[4] = false; // deleted: its id leads nowhere
    expect(w, 1, "a.b", "2 3");
    w->is_there[3] = false;
    expect(w, 1, "a.b", "2");
}

static void
alternates(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_DIRECT, "x2");
    set_exchange(w, 2, EXCHANGE_TOPIC, "x3");
    set_exchange(w, 3, EXCHANGE_FANOUT, "x1");
    set_exchange(w, 4, EXCHANGE_DIRECT, "nosuch");
    set_exchange(w, 5, EXCHANGE_DIRECT, "x5");
    set_exchange(w, 6, EXCHANGE_FANOUT, NULL);
    to_queue(w, 1, "a", 1);
    to_queue(w, 2, "b.#", 2);
    expect(w, 1, "a", "1");
    expect(w, 1, "b.c", "2");
    expect(w, 1, "c", "");
    expect(w, 3, "a", "1"); // an empty fanout has an alternate too
    to_queue(w, 3, "", 3);
    expect(w, 1, "c", "3"); // the second link of the chain
    expect(w, 4, "x", "");
    expect(w, 5, "x", ""); // itself
    // Any key that matches keeps the message from the alternate.
    struct slice keys[] = {SLICE_LIT("zzz"), SLICE_LIT("a")};
    struct route_result ret = resolve(w, 1, keys, 2, SLICE_EMPTY);
    assert_int_equal(ret.count, 1);
    assert_ptr_equal(ret.queues[0], w->queues[1]);
    // No key at all matches nothing.
    assert_int_equal(resolve(w, 1, keys, 0, SLICE_EMPTY).count, 1);
    // A match that leads to an exchange without queues, or to one that is gone, is a match.
    to_exchange(w, 1, "e", 6);
    expect(w, 1, "e", "");
    w->is_there[6] = false;
    expect(w, 1, "e", "");
}

// An exchange reached through another one hands on to its own alternate.
static void
alternate_of_a_bound_exchange(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_FANOUT, NULL);
    set_exchange(w, 2, EXCHANGE_DIRECT, "x3");
    set_exchange(w, 3, EXCHANGE_FANOUT, NULL);
    to_exchange(w, 1, "", 2);
    to_queue(w, 1, "", 1);
    to_queue(w, 2, "known", 2);
    to_queue(w, 3, "", 3);
    expect(w, 1, "known", "1 2");
    expect(w, 1, "unknown", "1 3");
}

static void
single_results_take_the_short_way_right(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_DIRECT, NULL);
    set_exchange(w, 2, EXCHANGE_FANOUT, NULL);
    expect(w, 1, "a", "");
    to_queue(w, 1, "a", 1);
    expect(w, 1, "a", "1");
    to_queue(w, 2, "", 2);
    to_exchange(w, 1, "e", 2); // a single binding, but to an exchange
    expect(w, 1, "e", "2");
    to_queue(w, 1, "a", 3);
    expect(w, 1, "a", "1 3");
}

static void
headers_reach_every_exchange(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_FANOUT, NULL);
    set_exchange(w, 2, EXCHANGE_HEADERS, NULL);
    to_exchange(w, 1, "", 2);
    LV_CLEANUP(buf_fini) struct buf args = BUF_INIT;
    struct table_writer t = table_writer_of(&args);
    table_put_str(&t, SLICE_LIT("kind"), "red");
    add_binding(w, 2, binding_make(3, w->queues[4], SLICE_EMPTY, buf_slice(&args)));
    struct slice keys[] = {SLICE_LIT("k"), SLICE_LIT("l")};
    assert_int_equal(resolve(w, 1, keys, 2, buf_slice(&args)).count, 1);
    assert_int_equal(resolve(w, 1, keys, 2, SLICE_EMPTY).count, 0);
}

// --- random worlds against a naive walk ---

static void
naive_visit(struct world *w, size_t n, const struct slice *keys, size_t key_count, bool *seen, bool *reached)
{
    if (!w->is_there[n] || seen[n])
        return;
    seen[n] = true;
    if (n == 0) {
        for (size_t k = 0; k < key_count; k++) {
            for (size_t q = 0; q < QUEUES; q++)
                reached[q] |= slice_eq(w->queues[q]->name, keys[k]);
        }
        return;
    }
    bool any = false;
    for (size_t i = 0; i < w->binding_count; i++) {
        const struct binding *b = w->bindings[i];
        bool is_match = w->exchanges[n].type == EXCHANGE_FANOUT || w->exchanges[n].type == EXCHANGE_HEADERS;
        for (size_t k = 0; k < key_count && !is_match; k++) {
            is_match = w->exchanges[n].type == EXCHANGE_TOPIC ? naive_topic(b->key, keys[k])
                                                              : slice_eq(b->key, keys[k]);
        }
        if (b->source_id != n + 1 || !is_match)
            continue;
        any = true;
        if (b->dest == BINDING_TO_EXCHANGE) {
            naive_visit(w, b->dest_id - 1, keys, key_count, seen, reached);
            continue;
        }
        for (size_t q = 0; q < QUEUES; q++)
            reached[q] |= w->queues[q] == b->queue;
    }
    const struct exchange *alternate = any ? NULL : exchange_by_name(w, w->exchanges[n].alternate);
    if (alternate != NULL && w->exchanges[n].alternate.len != 0)
        naive_visit(w, alternate->id - 1, keys, key_count, seen, reached);
}

static void
random_world(struct world *w, struct rng *rng)
{
    static const char *const alternates_of[] = {NULL, "x1", "x2", "x3", "x4", "nosuch", NULL};
    static const char *const keys[] = {"a", "b", "a.b", "a.*", "#", "#.b", "c"};
    for (size_t i = 1; i < EXCHANGES; i++) {
        set_exchange(w, i, (enum exchange_type)rng_below(rng, EXCHANGE_HEADERS + 1),
                     alternates_of[rng_below(rng, LV_ARRAY_LEN(alternates_of))]);
        w->is_there[i] = rng_below(rng, 8) != 0;
    }
    for (uint64_t n = rng_below(rng, 150); n > 0; n--) {
        size_t source = 1 + rng_below(rng, EXCHANGES - 1);
        const char *key = keys[rng_below(rng, LV_ARRAY_LEN(keys))];
        if (rng_below(rng, 4) == 0)
            to_exchange(w, source, key, 1 + rng_below(rng, EXCHANGES - 1));
        else
            to_queue(w, source, key, rng_below(rng, QUEUES));
    }
}

static void
random_worlds_against_naive(void **unused)
{
    static const char *const keys_of[] = {"a", "b", "a.b", "c", "q3", "q4", "a.b.c", ""};
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        void *state = NULL;
        setup(&state);
        struct world *w = state;
        random_world(w, &rng);
        for (int n = 0; n < 30; n++) {
            struct slice keys[3];
            size_t key_count = 1 + rng_below(&rng, 3), start = rng_below(&rng, EXCHANGES);
            for (size_t k = 0; k < key_count; k++)
                keys[k] = slice_str(keys_of[rng_below(&rng, LV_ARRAY_LEN(keys_of))]);
            if (!w->is_there[start])
                continue;
            bool seen[EXCHANGES] = {false}, reached[QUEUES] = {false};
            naive_visit(w, start, keys, key_count, seen, reached);
            struct route_result ret = resolve(w, start, keys, key_count, SLICE_EMPTY);
            size_t expected = 0;
            for (size_t q = 0; q < QUEUES; q++)
                expected += reached[q];
            assert_int_equal(ret.count, expected);
            for (size_t i = 0; i < ret.count; i++) {
                const struct queue_def *q = ret.queues[i];
                assert_true(reached[q->slot / 977]);
            }
        }
        teardown(&state);
    }
}

static void
no_memory_is_reported_and_survived(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_FANOUT, NULL);
    set_exchange(w, 2, EXCHANGE_TOPIC, NULL);
    for (size_t i = 0; i < 40; i++)
        to_queue(w, 1, "", i);
    to_exchange(w, 1, "", 2);
    to_queue(w, 2, "#", 50);
    struct slice key = SLICE_LIT("k");
    struct route_request request = {.exchange = &w->exchanges[1], .keys = &key, .key_count = 1};
    unsigned failed = 0;
    int ret = -1;
    struct route_result result;
    for (uint64_t n = 1; ret != 0 && n < 60; n++) {
        struct route_ctx *ctx = route_ctx_new();
        mem_test_fail_after(n);
        ret = route_resolve(ctx, &w->graph, &request, &result);
        mem_test_fail_after(0);
        assert_true(ret == 0 || ret == -LE_NOMEM);
        failed += ret != 0;
        if (ret != 0) // the same context works again
            assert_int_equal(route_resolve(ctx, &w->graph, &request, &result), 0);
        assert_int_equal(result.count, 41);
        route_ctx_free(ctx);
    }
    assert_int_equal(ret, 0);
    assert_true(failed >= 5);
    for (uint64_t n = 1; n < 3; n++) {
        mem_test_fail_after(n);
        assert_null(route_ctx_new());
    }
    mem_test_fail_after(0);
}

static void
absurd_slots_are_refused(void **state)
{
    struct world *w = *state;
    set_exchange(w, 1, EXCHANGE_FANOUT, NULL);
    w->queues[0]->slot = UINT32_MAX;
    to_queue(w, 1, "", 0);
    struct slice key = SLICE_EMPTY;
    struct route_request request = {.exchange = &w->exchanges[1], .keys = &key, .key_count = 1};
    struct route_result result;
    assert_int_equal(route_resolve(w->ctx, &w->graph, &request, &result), -LE_NOMEM);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(default_exchange_is_queue_names, setup, teardown),
        cmocka_unit_test_setup_teardown(several_keys_reach_each_queue_once, setup, teardown),
        cmocka_unit_test_setup_teardown(exchange_bindings_and_cycles, setup, teardown),
        cmocka_unit_test_setup_teardown(alternates, setup, teardown),
        cmocka_unit_test_setup_teardown(alternate_of_a_bound_exchange, setup, teardown),
        cmocka_unit_test_setup_teardown(single_results_take_the_short_way_right, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_reach_every_exchange, setup, teardown),
        cmocka_unit_test(random_worlds_against_naive),
        cmocka_unit_test_setup_teardown(no_memory_is_reported_and_survived, setup, teardown),
        cmocka_unit_test_setup_teardown(absurd_slots_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
