// Routers of all types: bind, unbind, each, clear; versions stay as they were; direct and fanout
// matching.
#include "tests/unit/exchange/naive.h"
#include "tests/unit/exchange/support.h"

enum { QUEUES = 12, BINDINGS = 220, EDITS = 10000, KEPT = 25, EDITS_PER_KEPT = EDITS / KEPT };

static struct queue_def *queues[QUEUES];
static struct binding *bindings[BINDINGS];
static size_t binding_count;

// Keys and arguments from small sets, so that all forms of nodes and groups come up.
static struct slice
some_key(struct rng *rng, char *buf)
{
    static const char *const words[] = {"a",  "b",  "c",  "*",  "#",  "",   "word",
                                        "w1", "w2", "w3", "w4", "w5", "w6", "w7"};
    size_t len = 0;
    for (uint64_t n = rng_below(rng, 4); n > 0; n--)
        len += (size_t)snprintf(buf + len, 60, "%s%s", words[rng_below(rng, LV_ARRAY_LEN(words))],
                                n > 1 ? "." : "");
    return slice_of(buf, len);
}

static struct slice
some_arguments(struct rng *rng, struct buf *buf)
{
    static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x"};
    static const char *const keys[] = {"a", "b", "c", "x-d", "e", "f", "g"};
    buf_reset(buf);
    struct table_writer w = table_writer_of(buf);
    if (rng_below(rng, 5) != 0)
        table_put_str(&w, SLICE_LIT("x-match"), modes[rng_below(rng, LV_ARRAY_LEN(modes))]);
    for (uint64_t n = rng_below(rng, 7); n > 0; n--)
        table_put_i32(&w, slice_str(keys[rng_below(rng, LV_ARRAY_LEN(keys))]), (int32_t)rng_below(rng, 3));
    return buf_slice(buf);
}

static int
setup(void **state)
{
    struct rng rng;
    rng_init(&rng, 11);
    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    char key[300], name[20];
    for (uint32_t i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%u", i);
        queues[i] = queue_make(i, i % 2, name);
    }
    while (binding_count < BINDINGS) {
        struct queue_def *q = queues[rng_below(&rng, QUEUES)];
        struct binding *b = binding_make(1, q, some_key(&rng, key), some_arguments(&rng, &buf));
        bool is_known = false;
        for (size_t i = 0; i < binding_count; i++)
            is_known |= binding_same(b, bindings[i]);
        if (is_known)
            binding_free(b);
        else
            bindings[binding_count++] = b;
    }
    return 0;
}

static int
teardown(void **state)
{
    for (size_t i = 0; i < binding_count; i++)
        binding_free(bindings[i]);
    for (size_t i = 0; i < QUEUES; i++)
        mem_free(queues[i]);
    return 0;
}

static size_t
index_of(const struct binding *b)
{
    for (size_t i = 0; i < binding_count; i++) {
        if (bindings[i] == b)
            return i;
    }
    fail_msg("a binding that nobody made");
    return 0;
}

static bool
mark(const struct binding *b, void *ctx)
{
    bool *met = ctx;
    size_t idx = index_of(b);
    assert_false(met[idx]); // once only
    met[idx] = true;
    return true;
}

static bool
naive_match(enum exchange_type type, const struct binding *b, struct slice key, struct slice headers)
{
    switch (type) {
    case EXCHANGE_DIRECT: return slice_eq(b->key, key);
    case EXCHANGE_FANOUT: return true;
    case EXCHANGE_TOPIC: return naive_topic(b->key, key);
    default: return naive_headers(b->arguments, headers);
    }
}

static void
check(const struct router *r, const bool *expected, struct router_scratch *scratch, struct rng *rng)
{
    bool met[BINDINGS] = {false};
    assert_true(router_each(r, mark, met));
    assert_memory_equal(met, expected, sizeof met);
    uint64_t count = 0;
    for (size_t i = 0; i < BINDINGS; i++)
        count += expected[i];
    assert_int_equal(r->count, count);

    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    char text[300];
    struct slice key = some_key(rng, text), headers = some_arguments(rng, &buf);
    assert_int_equal(router_match(r, scratch, key, headers, &found), 0);
    memset(met, 0, sizeof met);
    for (size_t i = 0; i < found.count; i++)
        mark(found.items[i], met);
    if (exchange_type_picks(r->type)) { // one of those bound; which one: test_pick.c
        assert_int_equal(found.count, count > 0);
        assert_true(count == 0 || expected[index_of(found.items[0])]);
        return;
    }
    for (size_t i = 0; i < BINDINGS; i++)
        assert_int_equal(met[i], expected[i] && naive_match(r->type, bindings[i], key, headers));
}

static void
change(struct router *r, struct pmap_edit *e, bool *expected, size_t idx, bool is_bind)
{
    if (is_bind) {
        assert_int_equal(router_bind(r, e, bindings[idx]), !expected[idx]);
    } else {
        const struct binding *removed = router_unbind(r, e, bindings[idx]);
        assert_ptr_equal(removed, expected[idx] ? bindings[idx] : NULL);
    }
    expected[idx] = is_bind;
}

struct version {
    struct router router;
    bool expected[BINDINGS];
    struct pmap_retired *retired[EDITS_PER_KEPT + 1]; // by the edits since
    size_t retired_count;
};

static void
version_retire(struct version *v, struct pmap_retired *retired)
{
    assert_true(v->retired_count < LV_ARRAY_LEN(v->retired));
    v->retired[v->retired_count++] = retired;
}

// 10,000 edits of a few changes; every 400th version is kept with what later edits retired, and must still be
// what it was.
static void
versions_stay(enum exchange_type type)
{
    struct version *versions = mem_xcalloc(KEPT, sizeof *versions);
    struct router_scratch *scratch = router_scratch_new();
    struct rng rng;
    rng_init(&rng, 100 + (uint64_t)type);
    struct router r;
    router_init(&r, type);
    bool expected[BINDINGS] = {false};
    for (size_t n = 0; n < EDITS; n++) {
        struct pmap_edit e;
        pmap_edit_begin(&e);
        uint64_t binds_percent = n / 700 % 2 == 0 ? 75 : 25; // grows and shrinks
        for (uint64_t c = 1 + rng_below(&rng, 4); c > 0; c--)
            change(&r, &e, expected, rng_below(&rng, BINDINGS), rng_below(&rng, 100) < binds_percent);
        // What this edit retired is shown by the versions before it, the last of which goes last.
        struct pmap_retired *retired = pmap_edit_end(&e);
        if (n == 0)
            pmap_retired_free(retired);
        else
            version_retire(&versions[(n - 1) / EDITS_PER_KEPT], retired);
        if (n % EDITS_PER_KEPT == 0) {
            versions[n / EDITS_PER_KEPT].router = r;
            memcpy(versions[n / EDITS_PER_KEPT].expected, expected, sizeof expected);
        }
        if (n % 97 == 0)
            check(&r, expected, scratch, &rng);
    }
    struct pmap_edit e;
    pmap_edit_begin(&e);
    router_clear(&r, &e);
    version_retire(&versions[KEPT - 1], pmap_edit_end(&e));
    for (size_t k = 0; k < KEPT; k++) {
        check(&versions[k].router, versions[k].expected, scratch, &rng);
        for (size_t i = 0; i < versions[k].retired_count; i++)
            pmap_retired_free(versions[k].retired[i]);
    }
    router_scratch_free(scratch);
    mem_free(versions);
}

// Each edit's list is freed at once: the newest version shows nothing that was retired.
static void
newest_needs_nothing_retired(enum exchange_type type)
{
    struct router_scratch *scratch = router_scratch_new();
    struct rng rng;
    rng_init(&rng, 200 + (uint64_t)type);
    struct router r;
    router_init(&r, type);
    bool expected[BINDINGS] = {false};
    for (size_t n = 0; n < 2000; n++) {
        struct pmap_edit e;
        pmap_edit_begin(&e);
        uint64_t binds_percent = n / 300 % 2 == 0 ? 75 : 25;
        for (uint64_t c = 1 + rng_below(&rng, 6); c > 0; c--)
            change(&r, &e, expected, rng_below(&rng, BINDINGS), rng_below(&rng, 100) < binds_percent);
        pmap_retired_free(pmap_edit_end(&e));
        if (n % 7 == 0)
            check(&r, expected, scratch, &rng);
    }
    clear_now(&r);
    assert_int_equal(r.count, 0);
    memset(expected, 0, sizeof expected);
    check(&r, expected, scratch, &rng);
    router_scratch_free(scratch);
}

// All bindings in one edit and out again in one edit; nothing of the trie or the maps is left.
static void
bind_and_unbind_all(enum exchange_type type)
{
    struct router r;
    router_init(&r, type);
    struct pmap_edit e;
    pmap_edit_begin(&e);
    for (size_t i = 0; i < BINDINGS; i++)
        assert_true(router_bind(&r, &e, bindings[i]));
    pmap_retired_free(pmap_edit_end(&e));
    for (size_t i = 0; i < BINDINGS; i++)
        assert_false(bind_now(&r, bindings[i]));
    pmap_edit_begin(&e);
    for (size_t i = 0; i < BINDINGS; i++)
        assert_ptr_equal(router_unbind(&r, &e, bindings[i]), bindings[i]);
    pmap_retired_free(pmap_edit_end(&e));
    assert_int_equal(r.count, 0);
    assert_null(r.by_key.root);
    assert_null(r.root);
    assert_null(r.ranked);
}

static void
of_all_types(void (*test)(enum exchange_type type))
{
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++)
        test((enum exchange_type)type);
}

static void
versions_stay_as_they_were(void **state)
{
    of_all_types(versions_stay);
}

static void
newest_version_needs_nothing_retired(void **state)
{
    of_all_types(newest_needs_nothing_retired);
}

static void
all_in_one_edit(void **state)
{
    of_all_types(bind_and_unbind_all);
}

// An unbind comes with a binding of the same identity that is another object.
static void
unbind_returns_the_object_bound(void **state)
{
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++) {
        struct router r;
        router_init(&r, (enum exchange_type)type);
        assert_true(bind_now(&r, bindings[3]));
        struct binding *twin = binding_make(1, bindings[3]->queue, bindings[3]->key, bindings[3]->arguments);
        assert_false(bind_now(&r, twin));
        assert_ptr_equal(unbind_now(&r, twin), bindings[3]);
        assert_null(unbind_now(&r, twin));
        binding_free(twin);
    }
}

static bool
count_to_two(const struct binding *b, void *ctx)
{
    return ++*(int *)ctx < 2;
}

static void
each_stops_when_told(void **state)
{
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++) {
        struct router r;
        router_init(&r, (enum exchange_type)type);
        for (size_t i = 0; i < 50; i++)
            bind_now(&r, bindings[i]);
        int met = 0;
        assert_false(router_each(&r, count_to_two, &met));
        assert_int_equal(met, 2);
        clear_now(&r);
    }
}

static void
matching_reports_no_memory(void **state)
{
    for (int type = 0; type < EXCHANGE_ROUTER_COUNT; type++) {
        struct router r;
        router_init(&r, (enum exchange_type)type);
        for (size_t i = 0; i < BINDINGS; i++)
            bind_now(&r, bindings[i]);
        unsigned failed = 0;
        int ret = -1;
        for (uint64_t n = 1; ret != 0 && n < 30; n++) {
            struct router_scratch *scratch = router_scratch_new();
            LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
            mem_test_fail_after(n);
            ret = router_match(&r, scratch, bindings[0]->key, bindings[0]->arguments, &found);
            mem_test_fail_after(0);
            assert_true(ret == 0 || ret == -LE_NOMEM);
            failed += ret != 0;
            router_scratch_free(scratch);
        }
        assert_int_equal(ret, 0);
        assert_true(failed > 0);
        clear_now(&r);
    }
}

static void
types_have_names(void **state)
{
    enum exchange_type type;
    for (int i = 0; i < EXCHANGE_TYPE_COUNT; i++) {
        assert_int_equal(exchange_type_parse(slice_str(exchange_type_name((enum exchange_type)i)), &type), 0);
        assert_int_equal(type, i);
    }
    assert_int_equal(exchange_type_parse(SLICE_LIT("Direct"), &type), -LE_NOTFOUND);
    assert_int_equal(exchange_type_parse(SLICE_EMPTY, &type), -LE_NOTFOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names),
        cmocka_unit_test(unbind_returns_the_object_bound),
        cmocka_unit_test(all_in_one_edit),
        cmocka_unit_test(each_stops_when_told),
        cmocka_unit_test(newest_version_needs_nothing_retired),
        cmocka_unit_test(versions_stay_as_they_were),
        cmocka_unit_test(matching_reports_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
