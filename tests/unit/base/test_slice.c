// Slices: order, equality, prefixes, hashes.
#include "src/base/slice.h"
#include "tests/unit/base/unit.h"

static void
test_order(void **state)
{
    assert_int_equal(slice_cmp(SLICE_LIT("a"), SLICE_LIT("b")), -1);
    assert_int_equal(slice_cmp(SLICE_LIT("b"), SLICE_LIT("a")), 1);
    assert_int_equal(slice_cmp(SLICE_LIT("a"), SLICE_LIT("ab")), -1);
    assert_int_equal(slice_cmp(SLICE_LIT("ab"), SLICE_LIT("a")), 1);
    assert_int_equal(slice_cmp(SLICE_LIT("b"), SLICE_LIT("ab")), 1);
    assert_int_equal(slice_cmp(SLICE_LIT("\xff"), SLICE_LIT("a")), 1); // bytes, not signed chars
    assert_int_equal(slice_cmp(SLICE_LIT("x"), SLICE_LIT("x")), 0);
    assert_int_equal(slice_cmp(SLICE_EMPTY, SLICE_LIT("")), 0);
    assert_int_equal(slice_cmp(SLICE_EMPTY, SLICE_LIT("a")), -1);
    assert_int_equal(slice_cmp(SLICE_LIT("a\0b"), SLICE_LIT("a\0c")), -1);
}

static void
test_equality_and_parts(void **state)
{
    struct slice s = slice_str("amq.direct");
    assert_true(slice_eq_str(s, "amq.direct"));
    assert_false(slice_eq_str(s, "amq.direct2"));
    assert_false(slice_eq_str(s, "amq.dire"));
    assert_true(slice_has_prefix(s, SLICE_LIT("amq.")));
    assert_true(slice_has_prefix(s, SLICE_EMPTY));
    assert_false(slice_has_prefix(SLICE_LIT("am"), SLICE_LIT("amq.")));
    assert_true(slice_eq_str(slice_from(s, 4), "direct"));
    assert_true(slice_eq_str(slice_head(s, 3), "amq"));
    assert_true(slice_eq(slice_from(s, s.len), SLICE_EMPTY));
    assert_true(slice_eq(SLICE_EMPTY, slice_of(NULL, 0)));
}

static void
test_hash(void **state)
{
    assert_true(slice_hash(SLICE_LIT("queue")) == slice_hash(slice_str("queue")));
    assert_true(slice_hash(SLICE_LIT("queue")) != slice_hash(SLICE_LIT("queuf")));
    assert_true(slice_hash(SLICE_EMPTY) == slice_hash(SLICE_LIT("")));
    uint64_t vhost = slice_hash(SLICE_LIT("/"));
    uint64_t other = slice_hash(SLICE_LIT("other"));
    assert_true(slice_hash_more(SLICE_LIT("q"), vhost) == slice_hash_more(SLICE_LIT("q"), vhost));
    assert_true(slice_hash_more(SLICE_LIT("q"), vhost) != slice_hash_more(SLICE_LIT("q"), other));
    assert_true(slice_hash_more(SLICE_LIT("q"), vhost) != slice_hash_more(SLICE_LIT("r"), vhost));
    // All lengths that the hash treats by code of their own, at odd addresses.
    uint8_t bytes[600];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t len = 1; len < 590; len++) {
        uint64_t before = slice_hash(slice_of(bytes + 1, len));
        bytes[len] ^= 1;
        assert_true(slice_hash(slice_of(bytes + 1, len)) != before);
        bytes[len] ^= 1;
    }
}

static uint64_t hash_in_child;

static void
abort_when_hash_differs(void)
{
    if (slice_hash(SLICE_LIT("name")) != hash_in_child)
        abort();
}

static void
test_hash_is_seeded_once(void **state)
{
    hash_in_child = slice_hash(SLICE_LIT("name"));
    assert_false(does_abort(abort_when_hash_differs, -1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_equality_and_parts),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_hash_is_seeded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
