// Topic exchanges: RabbitMQ's examples, empty words, and random patterns against the naive matcher.
#include "exchange/topic_node.h"
#include "tests/unit/exchange/naive.h"
#include "tests/unit/exchange/support.h"

enum { PATTERNS_MAX = 120 };

static struct queue_def *queue;

static int
setup(void **state)
{
    queue = queue_make(1, 0, "q");
    return 0;
}

static int
teardown(void **state)
{
    mem_free(queue);
    return 0;
}

static bool
matches(const char *pattern, struct slice key)
{
    struct router r;
    router_init(&r, EXCHANGE_TOPIC);
    struct binding *b = binding_make(1, queue, slice_str(pattern), SLICE_EMPTY);
    assert_true(bind_now(&r, b));
    struct router_scratch *scratch = router_scratch_new();
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    assert_int_equal(router_match(&r, scratch, key, SLICE_EMPTY, &found), 0);
    assert_true(found.count <= 1); // also when there are several ways
    router_scratch_free(scratch);
    clear_now(&r);
    binding_free(b);
    assert_int_equal(found.count == 1, naive_topic(slice_str(pattern), key));
    return found.count == 1;
}

static const struct {
    const char *pattern, *key;
    bool is_match;
} word_cases[] = {
    {"a.b.c", "a.b.c", true},   {"a.b.c", "a.b", false},   {"a.b", "a.b.c", false},
    {"*.b.c", "a.b.c", true},   {"a.*.c", "a.b.c", true},  {"*", "a", true},
    {"*", "a.b", false},        {"*.*", "a", false},       {"#", "", true},
    {"#", "a", true},           {"#", "a.b.c", true},      {"", "", true},
    {"", "a", false},           {"a", "", false},          {"*", "", false}, // no word
    {"#.a", "a", true},         {"#.a", "b.a", true},      {"#.a", "a.b", false},
    {"a.#", "a", true},         {"a.#", "a.b.c", true},    {"a.#.b", "a.b", true},
    {"a.#.b", "a.x.y.b", true}, {"a.#.b", "a.x.y", false}, {"#.*", "a", true},
    {"#.*", "", false},         {"*.#", "", false},        {"*.#.*", "a", false},
    {"*.#.*", "a.b", true},     {"#.a.#", "x.a.y", true},  {"#.a.#", "x.y", false},
    {"a..b", "a..b", true},     {"a..b", "a.b", false},    {"a.*.b", "a..b", true}, // an empty word is a word
    {"*.*", ".", true},         {"*", ".", false},         {".", ".", true},
    {"a.", "a.", true},         {"a.", "a", false},        {"a.*", "a.", true},
    {"*", "*", true},           {"*", "#", true},          {"#", "#", true},
    {"a", "*", false},          {"a", "#", false},         {"a.b", "a.#", false},
    {"#.#", "", true},          {"#.#.#.a", "a", true},    {"#.#.a.#.#", "x.a.y", true},
    {"a.#.#", "a", true},       {"**", "a", false},        {"**", "**", true},
    {"a#", "a#", true},         {"a*", "ab", false},       {"A", "a", false},
};

static void
words_stars_and_hashes(void **state)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(word_cases); i++) {
        if (matches(word_cases[i].pattern, slice_str(word_cases[i].key)) != word_cases[i].is_match)
            fail_msg("'%s' and '%s': expected %d", word_cases[i].pattern, word_cases[i].key,
                     word_cases[i].is_match);
    }
}

// Longest keys: 255 dots are 256 words.
static void
longest_keys(void **state)
{
    uint8_t dots[255];
    memset(dots, '.', sizeof dots);
    char pattern[256];
    memset(pattern, '.', 255);
    pattern[255] = 0;
    assert_true(matches(pattern, slice_of(dots, 255)));
    assert_false(matches(pattern, slice_of(dots, 254)));
    assert_true(matches("#", slice_of(dots, 255)));
    for (size_t i = 0; i < 255; i++)
        pattern[i] = i % 2 == 0 ? '#' : '.'; // collapses to one
    assert_true(matches(pattern, slice_of(dots, 255)));
    for (size_t i = 0; i < 254; i++)
        pattern[i] = "#.a."[i % 4];
    pattern[253] = 0;
    for (size_t i = 0; i < 255; i++)
        dots[i] = i % 2 == 0 ? 'a' : '.';
    assert_true(matches(pattern, slice_of(dots, 255)));
    // Not from the wire, but nothing breaks.
    uint8_t long_key[2000];
    memset(long_key, 'a', sizeof long_key);
    assert_false(matches("a", slice_of(long_key, sizeof long_key)));
}

static struct slice
random_key(struct rng *rng, char *buf, uint64_t words_max, bool is_pattern)
{
    static const char *const words[] = {"a", "b", "c", "", "dd", "*", "#"};
    size_t len = 0;
    for (uint64_t n = rng_below(rng, words_max + 1); n > 0; n--) {
        const char *word = words[rng_below(rng, is_pattern ? 7 : rng_below(rng, 20) == 0 ? 7 : 5)];
        len += (size_t)snprintf(buf + len, 8, "%s%s", word, n > 1 ? "." : "");
    }
    return slice_of(buf, len);
}

static void
compare(const struct router *r, struct binding **bs, size_t count, struct slice key,
        struct router_scratch *scratch)
{
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    assert_int_equal(router_match(r, scratch, key, SLICE_EMPTY, &found), 0);
    size_t expected = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_match = bs[i] != NULL && naive_topic(bs[i]->key, key);
        expected += is_match;
        if (bs[i] != NULL && set_has(&found, bs[i]) != is_match)
            fail_msg("'%.*s' and '%.*s': expected %d", SLICE_FMT(bs[i]->key), SLICE_FMT(key), is_match);
    }
    assert_int_equal(found.count, expected); // each once
}

static void
random_patterns_against_naive(void **state)
{
    struct router_scratch *scratch = router_scratch_new();
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct router r;
        router_init(&r, EXCHANGE_TOPIC);
        struct binding *bs[PATTERNS_MAX] = {0};
        size_t count = 0;
        char buf[300];
        uint64_t wanted = 1 + rng_below(&rng, PATTERNS_MAX - 1), words = 1 + rng_below(&rng, 9);
        while (wanted-- > 0) {
            struct binding *b = binding_make(1, queue, random_key(&rng, buf, words, true), SLICE_EMPTY);
            if (bind_now(&r, b))
                bs[count++] = b;
            else
                binding_free(b);
        }
        for (int n = 0; n < 30; n++)
            compare(&r, bs, count, random_key(&rng, buf, words + 2, false), scratch);
        for (size_t i = 0; i < count; i++) {
            if (rng_below(&rng, 2) == 0)
                continue;
            assert_ptr_equal(unbind_now(&r, bs[i]), bs[i]);
            binding_free(bs[i]);
            bs[i] = NULL;
        }
        for (int n = 0; n < 30; n++)
            compare(&r, bs, count, random_key(&rng, buf, words + 2, false), scratch);
        clear_now(&r);
        for (size_t i = 0; i < count; i++)
            binding_free(bs[i]);
    }
    router_scratch_free(scratch);
}

static bool
has_no_dead_end(void *value, void *ctx)
{
    const struct topic_node *node = value;
    bool is_leaf = node->star == NULL && node->hash == NULL && pset_is_empty(node->children);
    return (!is_leaf || !pset_is_empty(node->bindings)) &&
           (node->star == NULL || has_no_dead_end(node->star, ctx)) &&
           (node->hash == NULL || has_no_dead_end(node->hash, ctx)) &&
           pset_each(node->children, has_no_dead_end, ctx);
}

// Bindings that come and go must not leave nodes behind for as long as others stay.
static void
unbinding_leaves_no_dead_ends(void **state)
{
    struct rng rng;
    rng_init(&rng, 3);
    struct router r;
    router_init(&r, EXCHANGE_TOPIC);
    struct binding *bs[PATTERNS_MAX];
    bool is_bound[PATTERNS_MAX] = {false};
    char buf[300];
    for (size_t i = 0; i < PATTERNS_MAX; i++) {
        // A queue of its own for each, so that one pattern may come twice.
        struct queue_def other = *queue;
        other.id = 100 + i;
        bs[i] = binding_make(1, &other, random_key(&rng, buf, 5, true), SLICE_EMPTY);
    }
    for (int n = 0; n < 3000; n++) {
        size_t idx = rng_below(&rng, PATTERNS_MAX);
        if (is_bound[idx])
            assert_ptr_equal(unbind_now(&r, bs[idx]), bs[idx]);
        else
            assert_true(bind_now(&r, bs[idx]));
        is_bound[idx] = !is_bound[idx];
        if (r.root != NULL)
            assert_true(has_no_dead_end((void *)r.root, NULL));
        assert_int_equal(r.root == NULL, r.count == 0);
    }
    clear_now(&r);
    for (size_t i = 0; i < PATTERNS_MAX; i++)
        binding_free(bs[i]);
}

// Patterns that make a matcher with backtracking try all ways: 2^k and worse. Done at once or never.
static void
nothing_explodes(void **state)
{
    struct router r;
    router_init(&r, EXCHANGE_TOPIC);
    static const char *const patterns[] = {
        "#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.a.#.b",
        "#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.*.#.b",
        "#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.a.b",
    };
    struct binding *bs[LV_ARRAY_LEN(patterns)];
    for (size_t i = 0; i < LV_ARRAY_LEN(patterns); i++) {
        bs[i] = binding_make(1, queue, slice_str(patterns[i]), SLICE_EMPTY);
        bind_now(&r, bs[i]);
    }
    uint8_t key[255];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = i % 2 == 0 ? 'a' : '.';
    struct router_scratch *scratch = router_scratch_new();
    for (int n = 0; n < 100; n++)
        compare(&r, bs, LV_ARRAY_LEN(bs), slice_of(key, sizeof key), scratch);
    router_scratch_free(scratch);
    clear_now(&r);
    for (size_t i = 0; i < LV_ARRAY_LEN(bs); i++)
        binding_free(bs[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_stars_and_hashes),
        cmocka_unit_test(longest_keys),
        cmocka_unit_test(random_patterns_against_naive),
        cmocka_unit_test(unbinding_leaves_no_dead_ends),
        cmocka_unit_test(nothing_explodes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
