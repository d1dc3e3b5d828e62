// Exchanges that give a message to one binding: shares by weight, who moves when one comes or goes, ranks, what
// is hashed; the ordered set below them against a sorted array.
#include <math.h>

#include "exchange/ranked.h"
#include "tests/unit/exchange/support.h"

enum { MANY = 2000, KEYS = 40000 };

static struct queue_def *queues[MANY];

static int
setup(void **state)
{
    char name[24];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "queue-%u", i);
        queues[i] = queue_make(i, 0, name);
    }
    return 0;
}

static int
teardown(void **state)
{
    for (uint32_t i = 0; i < MANY; i++)
        mem_free(queues[i]);
    return 0;
}

static struct binding *
weighted(size_t queue, const char *weight)
{
    return binding_make(1, queues[queue], slice_str(weight), SLICE_EMPTY);
}

static const struct binding *
picked(const struct router *r, struct router_scratch *scratch, struct slice key)
{
    LV_CLEANUP(binding_set_fini) struct binding_set found = {0};
    assert_int_equal(router_match(r, scratch, key, SLICE_EMPTY, &found), 0);
    assert_int_equal(found.count, r->count > 0);
    return found.count == 0 ? NULL : found.items[0];
}

static const struct binding *
picked_n(const struct router *r, struct router_scratch *scratch, unsigned n)
{
    char key[24];
    snprintf(key, sizeof key, "key.%u", n);
    return picked(r, scratch, slice_str(key));
}

// --- shares -----------------------------------------------------------------------------------------------

// How many of KEYS keys each of `count` bindings gets.
static void
count_shares(const struct router *r, struct binding *const *bindings, size_t count, unsigned *ret)
{
    struct router_scratch *scratch = router_scratch_new();
    memset(ret, 0, count * sizeof *ret);
    for (unsigned n = 0; n < KEYS; n++) {
        const struct binding *b = picked_n(r, scratch, n);
        size_t i = 0;
        while (i < count && bindings[i] != b)
            i++;
        assert_true(i < count);
        ret[i]++;
    }
    router_scratch_free(scratch);
}

// Within five standard deviations of its share.
static void
assert_share(unsigned got, double share)
{
    double expected = KEYS * share, deviation = sqrt(KEYS * share * (1 - share));
    if (fabs(got - expected) > 5 * deviation + 1)
        fail_msg("got %u of %d keys, expected %.1f +- %.1f", got, KEYS, expected, deviation);
}

static void
check_shares(enum exchange_type type, const char *const *weights, size_t count)
{
    struct binding *bindings[16];
    unsigned got[16];
    double sum = 0;
    struct router r;
    router_init(&r, type);
    for (size_t i = 0; i < count; i++) {
        bindings[i] = weighted(i, weights[i]);
        sum += type == EXCHANGE_CONSISTENT_HASH ? strtod(weights[i], NULL) : 1;
        assert_true(bind_now(&r, bindings[i]));
    }
    count_shares(&r, bindings, count, got);
    for (size_t i = 0; i < count; i++)
        assert_share(got[i], (type == EXCHANGE_CONSISTENT_HASH ? strtod(weights[i], NULL) : 1) / sum);
    clear_now(&r);
    for (size_t i = 0; i < count; i++)
        binding_free(bindings[i]);
}

static void
shares_are_the_weights(void **state)
{
    static const char *const equal[] = {"1", "1", "1", "1", "1", "1", "1"};
    static const char *const mixed[] = {"1", "2", "3", "+4", "010", "20"};
    static const char *const huge[] = {"1000000000000000000000", "2000000000000000000000", "1"};
    static const char *const alone[] = {"7"};
    for (enum exchange_type type = EXCHANGE_CONSISTENT_HASH; type < EXCHANGE_ROUTER_COUNT; type++) {
        check_shares(type, equal, LV_ARRAY_LEN(equal));
        check_shares(type, mixed, LV_ARRAY_LEN(mixed));
        check_shares(type, huge, LV_ARRAY_LEN(huge));
        check_shares(type, alone, LV_ARRAY_LEN(alone));
    }
}

// Two bindings of one queue are two: their weights add up.
static void
bindings_of_one_queue_add_up(void **state)
{
    struct router r;
    router_init(&r, EXCHANGE_CONSISTENT_HASH);
    struct binding *bindings[3] = {weighted(0, "1"), weighted(0, "3"), weighted(1, "1")};
    unsigned got[3];
    for (size_t i = 0; i < 3; i++)
        assert_true(bind_now(&r, bindings[i]));
    count_shares(&r, bindings, 3, got);
    assert_share(got[0] + got[1], 4.0 / 5);
    clear_now(&r);
    for (size_t i = 0; i < 3; i++)
        binding_free(bindings[i]);
}

// --- stability --------------------------------------------------------------------------------------------

// What leaves gives its keys to the others, what comes takes from all; nothing else moves.
static void
only_the_share_moves(void **state)
{
    enum { BINDINGS = 40, MOVED_KEYS = 2000 };
    struct binding *bindings[BINDINGS];
    const struct binding *before[MOVED_KEYS];
    char weight[16];
    struct rng rng;
    rng_init(&rng, 3);
    struct router r;
    router_init(&r, EXCHANGE_CONSISTENT_HASH);
    struct router_scratch *scratch = router_scratch_new();
    for (size_t i = 0; i < BINDINGS; i++) {
        snprintf(weight, sizeof weight, "%u", (unsigned)(1 + rng_below(&rng, 1000)));
        bindings[i] = weighted(i, weight);
        assert_true(bind_now(&r, bindings[i]));
    }
    for (int round = 0; round < 30; round++) {
        struct binding *b = bindings[rng_below(&rng, BINDINGS)];
        for (unsigned n = 0; n < MOVED_KEYS; n++)
            before[n] = picked_n(&r, scratch, n);
        assert_ptr_equal(unbind_now(&r, b), b);
        for (unsigned n = 0; n < MOVED_KEYS; n++) {
            const struct binding *now = picked_n(&r, scratch, n);
            assert_true(before[n] == b ? now != b : now == before[n]);
        }
        assert_true(bind_now(&r, b));
        for (unsigned n = 0; n < MOVED_KEYS; n++)
            assert_ptr_equal(picked_n(&r, scratch, n), before[n]);
    }
    clear_now(&r);
    router_scratch_free(scratch);
    for (size_t i = 0; i < BINDINGS; i++)
        binding_free(bindings[i]);
}

// Whatever the order of binding, and the ids: as after a restart.
static void
order_of_binding_does_not_matter(void **state)
{
    enum { BINDINGS = 100 };
    struct router_scratch *scratch = router_scratch_new();
    for (enum exchange_type type = EXCHANGE_CONSISTENT_HASH; type <= EXCHANGE_MODULUS_HASH; type++) {
        struct router a, b;
        struct binding *of_a[BINDINGS], *of_b[BINDINGS];
        router_init(&a, type);
        router_init(&b, type);
        for (size_t i = 0; i < BINDINGS; i++) {
            size_t other = i * 37 % BINDINGS;
            of_a[i] = binding_make(1, queues[i], SLICE_LIT("5"), SLICE_EMPTY);
            of_b[other] = binding_make(99, queues[other], SLICE_LIT("5"), SLICE_EMPTY);
            of_b[other]->dest_id += 7000;
            assert_true(bind_now(&a, of_a[i]));
            assert_true(bind_now(&b, of_b[other]));
        }
        for (unsigned n = 0; n < 3000; n++)
            assert_true(slice_eq(picked_n(&a, scratch, n)->dest_name, picked_n(&b, scratch, n)->dest_name));
        clear_now(&a);
        clear_now(&b);
        for (size_t i = 0; i < BINDINGS; i++) {
            binding_free(of_a[i]);
            binding_free(of_b[i]);
        }
    }
    router_scratch_free(scratch);
}

// The same on every machine and in every release: it decides where a key's messages are.
static void
the_choice_is_fixed(void **state)
{
    struct router r;
    struct binding *bindings[5];
    struct router_scratch *scratch = router_scratch_new();
    char text[40] = "";
    router_init(&r, EXCHANGE_CONSISTENT_HASH);
    for (size_t i = 0; i < LV_ARRAY_LEN(bindings); i++) {
        bindings[i] = weighted(i, i == 4 ? "3" : "1");
        assert_true(bind_now(&r, bindings[i]));
    }
    for (unsigned n = 0; n < 20; n++) {
        struct slice name = picked_n(&r, scratch, n)->dest_name;
        text[n] = (char)name.ptr[name.len - 1];
    }
    assert_string_equal(text, "41444100143123130043");
    clear_now(&r);
    router_scratch_free(scratch);
    for (size_t i = 0; i < LV_ARRAY_LEN(bindings); i++)
        binding_free(bindings[i]);
}

// --- the ordered set --------------------------------------------------------------------------------------

static uint64_t
assert_balanced(const struct ranked_node *n)
{
    if (n == NULL)
        return 0;
    uint64_t left = assert_balanced(n->left), right = assert_balanced(n->right);
    assert_int_equal(n->count, left + right + 1);
    assert_true(left + right <= 1 || ((left + 1) <= 3 * (right + 1) && (right + 1) <= 3 * (left + 1)));
    return n->count;
}

static void
ranks_are_those_of_a_sorted_array(void **state)
{
    struct binding *bindings[MANY];
    const struct binding *sorted[MANY];
    size_t count = 0;
    struct router r;
    router_init(&r, EXCHANGE_MODULUS_HASH);
    struct rng rng;
    rng_init(&rng, 17);
    for (size_t i = 0; i < MANY; i++)
        bindings[i] = weighted(i, "1");
    for (int step = 0; step < 30000; step++) {
        const struct binding *b = bindings[rng_below(&rng, step / 5000 % 2 == 0 ? MANY : 40)];
        size_t at = 0;
        while (at < count && ranked_hash(sorted[at]) < ranked_hash(b))
            at++;
        bool is_there = at < count && sorted[at] == b;
        if (is_there) {
            memmove(sorted + at, sorted + at + 1, (--count - at) * sizeof(sorted[0]));
            assert_ptr_equal(unbind_now(&r, b), b);
        } else {
            memmove(sorted + at + 1, sorted + at, (count++ - at) * sizeof(sorted[0]));
            sorted[at] = b;
            assert_true(bind_now(&r, b));
        }
        assert_int_equal(r.count, count);
        if (count > 0) {
            uint64_t rank = rng_below(&rng, count);
            assert_ptr_equal(ranked_at(r.ranked, rank), sorted[rank]);
        }
        if (step % 501 == 0)
            assert_balanced(r.ranked);
    }
    clear_now(&r);
    for (size_t i = 0; i < MANY; i++)
        binding_free(bindings[i]);
}

// --- weights, and what is hashed --------------------------------------------------------------------------

static void
weights_are_integers(void **state)
{
    static const struct {
        const char *key;
        bool is_good;
        double weight;
    } cases[] = {
        {"1", true, 1},
        {"+5", true, 5},
        {"-3", true, -3},
        {"007", true, 7},
        {"0", true, 0},
        {"", false, 0},
        {"+", false, 0},
        {"-", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.5", false, 0},
        {"1e3", false, 0},
        {"0x10", false, 0},
        {"--1", false, 0},
        {"1_000", false, 0},
        {"1\n", false, 0},
        {"100000000000000000000", true, 1e20},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        double weight = 0;
        assert_int_equal(binding_weight(slice_str(cases[i].key), &weight), cases[i].is_good);
        assert_true(weight == cases[i].weight);
    }
    char longest[256];
    memset(longest, '9', 255);
    longest[255] = 0;
    double weight;
    assert_true(binding_weight(slice_of(longest, 255), &weight));
    assert_true(isfinite(weight) && weight > 1e254);
}

static struct slice
hashed(const struct hash_on *on, const struct amqp_basic_props *props, uint8_t *number)
{
    return hash_on_value(on, SLICE_LIT("key"), props, number);
}

static void
hash_on_arguments(void **state)
{
    struct hash_on on;
    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    struct table_writer w = table_writer_of(&buf);
    assert_int_equal(hash_on_parse(SLICE_EMPTY, &on), HASH_ON_FINE);
    assert_int_equal(on.kind, HASH_ON_KEY);
    table_put_str(&w, SLICE_LIT("hash-property"), "timestamp");
    assert_int_equal(hash_on_parse(buf_slice(&buf), &on), HASH_ON_FINE);
    assert_int_equal(on.kind, HASH_ON_TIMESTAMP);
    table_put_str(&w, SLICE_LIT("hash-header"), "h");
    assert_int_equal(hash_on_parse(buf_slice(&buf), &on), HASH_ON_BOTH);
    buf_reset(&buf);
    w = table_writer_of(&buf);
    table_put_str(&w, SLICE_LIT("hash-property"), "app_id");
    assert_int_equal(hash_on_parse(buf_slice(&buf), &on), HASH_ON_UNKNOWN_PROPERTY);
    assert_true(slice_eq_str(on.header, "app_id"));
    buf_reset(&buf);
    w = table_writer_of(&buf);
    table_put_i32(&w, SLICE_LIT("hash-header"), 5);
    assert_int_equal(hash_on_parse(buf_slice(&buf), &on), HASH_ON_BAD_HEADER_TYPE);
    assert_int_equal(on.kind, HASH_ON_KEY);
}

static void
what_is_hashed(void **state)
{
    uint8_t number[8], number2[8];
    LV_CLEANUP(buf_fini) struct buf buf = BUF_INIT;
    struct table_writer w = table_writer_of(&buf);
    table_put_str(&w, SLICE_LIT("s"), "text");
    table_put_i32(&w, SLICE_LIT("i"), 77);
    table_put_i64(&w, SLICE_LIT("l"), 77);
    struct amqp_basic_props none = {0}, props = {
                                            .flags = AMQP_PROP_HEADERS | AMQP_PROP_MESSAGE_ID |
                                                     AMQP_PROP_CORRELATION_ID | AMQP_PROP_TIMESTAMP,
                                            .headers = buf_slice(&buf),
                                            .message_id = SLICE_LIT("m"),
                                            .correlation_id = SLICE_LIT("c"),
                                            .timestamp = 77,
                                        };
    struct hash_on on = {.kind = HASH_ON_KEY};
    assert_true(slice_eq_str(hashed(&on, NULL, number), "key"));
    on = (struct hash_on){HASH_ON_HEADER, SLICE_LIT("s")};
    assert_true(slice_eq_str(hashed(&on, &props, number), "text"));
    assert_int_equal(hashed(&on, &none, number).len, 0);
    assert_int_equal(hashed(&on, NULL, number).len, 0);
    on.header = SLICE_LIT("nosuch");
    assert_int_equal(hashed(&on, &props, number).len, 0);
    on.header = SLICE_LIT("i");
    struct slice narrow = hashed(&on, &props, number);
    on.header = SLICE_LIT("l");
    assert_true(slice_eq(narrow, hashed(&on, &props, number2))); // by value
    on.kind = HASH_ON_MESSAGE_ID;
    assert_true(slice_eq_str(hashed(&on, &props, number), "m"));
    on.kind = HASH_ON_CORRELATION_ID;
    assert_true(slice_eq_str(hashed(&on, &props, number), "c"));
    assert_int_equal(hashed(&on, &none, number).len, 0);
    on.kind = HASH_ON_TIMESTAMP;
    assert_true(slice_eq(hashed(&on, &props, number), narrow));
    assert_int_equal(hashed(&on, &none, number).len, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_the_weights), cmocka_unit_test(bindings_of_one_queue_add_up),
        cmocka_unit_test(only_the_share_moves),   cmocka_unit_test(order_of_binding_does_not_matter),
        cmocka_unit_test(the_choice_is_fixed),    cmocka_unit_test(ranks_are_those_of_a_sorted_array),
        cmocka_unit_test(weights_are_integers),   cmocka_unit_test(hash_on_arguments),
        cmocka_unit_test(what_is_hashed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
