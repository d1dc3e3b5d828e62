// Very many bindings on one exchange of each kind. LV_SCALE=1000000 sets their number. Times are printed; the
// memory of the structures beside the bindings is asserted where it can be measured (not with sanitizers).
#include <malloc.h>
#include <time.h>

#include "tests/unit/exchange/support.h"

enum { SCALE_DEFAULT = 200000, SCALE_SANITIZED = 20000, BYTES_PER_BINDING_MAX = 300, BATCH = 1000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

static size_t scale;
static struct queue_def **queues;
static struct binding **bindings;

static double
seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

// In use by libc's malloc; does not move when another allocator is linked in.
static size_t
heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static int
setup(void **state)
{
    const char *text = getenv("LV_SCALE");
    scale = text != NULL ? strtoul(text, NULL, 10) : IS_SANITIZED ? SCALE_SANITIZED : SCALE_DEFAULT;
    queues = mem_xcalloc(scale, sizeof(struct queue_def *));
    bindings = mem_xcalloc(scale, sizeof(struct binding *));
    for (uint32_t i = 0; i < scale; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%u", i);
        queues[i] = queue_make(i, i % 4, name);
    }
    return 0;
}

static int
teardown(void **state)
{
    for (size_t i = 0; i < scale; i++)
        mem_free(queues[i]);
    mem_free(queues);
    mem_free(bindings);
    return 0;
}

static void
change_all(struct router *r, bool is_bind)
{
    for (size_t i = 0; i < scale;) {
        struct pmap_edit e;
        pmap_edit_begin(&e);
        for (size_t end = LV_MIN(i + BATCH, scale); i < end; i++) {
            if (is_bind)
                assert_true(router_bind(r, &e, bindings[i]));
            else
                assert_ptr_equal(router_unbind(r, &e, bindings[i]), bindings[i]);
        }
        pmap_retired_free(pmap_edit_end(&e));
    }
}

// One bind and unbind more, in an edit of its own, at full size.
static double
single_change(struct router *r, struct binding *extra)
{
    enum { ROUNDS = 2000 };
    double start = seconds();
    for (int i = 0; i < ROUNDS; i++) {
        assert_true(bind_now(r, extra));
        assert_ptr_equal(unbind_now(r, extra), extra);
    }
    return (seconds() - start) / (2 * ROUNDS);
}

static void
run(enum exchange_type type, const char *what, const char *key_format, size_t expected)
{
    char key[100];
    for (size_t i = 0; i < scale; i++) {
        int len = snprintf(key, sizeof key, "%s", key_format);
        char *number = strchr(key, '@');
        if (number != NULL)
            len = (int)(number - key) + snprintf(number, 40, "%zu%s", i, strchr(key_format, '@') + 1);
        bindings[i] = binding_make(1, queues[i], slice_of(key, (size_t)len), SLICE_EMPTY);
    }
    struct binding *extra = binding_make(1, queues[0], SLICE_LIT("extra.key"), SLICE_EMPTY);
    struct router r;
    router_init(&r, type);
    size_t before = heap_bytes();
    double start = seconds();
    change_all(&r, true);
    double bind_s = seconds() - start;
    double bytes = (double)(heap_bytes() - before) / (double)scale;
    double single_s = single_change(&r, extra);

    struct router_scratch *scratch = router_scratch_new();
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    start = seconds();
    assert_int_equal(router_match(&r, scratch, bindings[scale / 2]->key, SLICE_EMPTY, &found), 0);
    double match_s = seconds() - start;
    assert_int_equal(found.count, expected);
    router_scratch_free(scratch);
    start = seconds();
    change_all(&r, false);
    double unbind_s = seconds() - start;
    assert_int_equal(r.count, 0);
    clear_now(&r);
    printf(
        "%-28s %zu bindings: bind %.0f ns, unbind %.0f ns, alone %.0f ns, match %.0f us, %.0f bytes each\n",
        what, scale, bind_s * 1e9 / (double)scale, unbind_s * 1e9 / (double)scale, single_s * 1e9,
        match_s * 1e6, bytes);
    if (!IS_SANITIZED && scale >= SCALE_DEFAULT)
        assert_true(bytes <= BYTES_PER_BINDING_MAX);
    for (size_t i = 0; i < scale; i++)
        binding_free(bindings[i]);
    binding_free(extra);
}

static void
direct_many_keys(void **state)
{
    run(EXCHANGE_DIRECT, "direct, a key each", "key.@", 1);
}

static void
direct_one_key(void **state)
{
    run(EXCHANGE_DIRECT, "direct, one key", "key", scale);
}

static void
fanout(void **state)
{
    run(EXCHANGE_FANOUT, "fanout", "", scale);
}

static void
topic_many_keys(void **state)
{
    run(EXCHANGE_TOPIC, "topic, device.N.status", "device.@.status", 1);
}

static void
topic_chains(void **state)
{
    run(EXCHANGE_TOPIC, "topic, N.eu.prod.status", "@.eu.prod.status", 1);
}

static void
topic_wide_tails(void **state)
{
    run(EXCHANGE_TOPIC, "topic, N.#", "@.#", 1);
}

static void
topic_one_key(void **state)
{
    run(EXCHANGE_TOPIC, "topic, one pattern", "a.*.b", scale); // as a key it matches itself
}

static void
headers_no_rule(void **state)
{
    run(EXCHANGE_HEADERS, "headers, no arguments", "", scale);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_many_keys), cmocka_unit_test(direct_one_key),
        cmocka_unit_test(fanout),           cmocka_unit_test(topic_many_keys),
        cmocka_unit_test(topic_chains),     cmocka_unit_test(topic_wide_tails),
        cmocka_unit_test(topic_one_key),    cmocka_unit_test(headers_no_rule),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
