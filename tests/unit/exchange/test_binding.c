// Bindings: identity by source, destination, key and canonical arguments; memory in one block.
#include "tests/unit/exchange/support.h"

static struct slice
table_of_two(struct buf *buf, const char *first, const char *second)
{
    struct table_writer w = table_writer_of(buf);
    table_put_i32(&w, slice_str(first), 1);
    table_put_i32(&w, slice_str(second), 1);
    return buf_slice(buf);
}

static void
identity_is_source_destination_key_and_arguments(void **state)
{
    struct queue_def *q1 = queue_make(1, 0, "q1"), *q2 = queue_make(2, 0, "q2");
    LV_CLEANUP(buf_fini) struct buf ab = BUF_INIT;
    LV_CLEANUP(buf_fini) struct buf ba = BUF_INIT;
    table_of_two(&ab, "a", "b");
    table_of_two(&ba, "b", "a");
    struct binding *base = binding_make(1, q1, SLICE_LIT("k"), buf_slice(&ab));
    struct binding *others[] = {
        binding_make(2, q1, SLICE_LIT("k"), buf_slice(&ab)),
        binding_make(1, q2, SLICE_LIT("k"), buf_slice(&ab)),
        binding_make(1, q1, SLICE_LIT("l"), buf_slice(&ab)),
        binding_make(1, q1, SLICE_LIT("k"), SLICE_EMPTY),
        binding_make(1, q1, SLICE_EMPTY, buf_slice(&ab)),
        binding_make_to_exchange(1, q1->id, SLICE_LIT("k")),
    };
    struct binding *same = binding_make(1, q1, SLICE_LIT("k"), buf_slice(&ba));
    assert_true(binding_same(base, same));
    assert_int_equal(base->hash, same->hash);
    assert_false(slice_eq(base->arguments, same->arguments)); // shown as the client gave them
    assert_true(slice_eq(base->canonical, same->canonical));
    for (size_t i = 0; i < LV_ARRAY_LEN(others); i++) {
        assert_false(binding_same(base, others[i]));
        binding_free(others[i]);
    }
    binding_free(base);
    binding_free(same);
    mem_free(q1);
    mem_free(q2);
}

static void
everything_is_copied(void **state)
{
    struct queue_def *q = queue_make(1, 0, "queue");
    char key[] = "key";
    LV_CLEANUP(buf_fini) struct buf args = BUF_INIT;
    table_of_two(&args, "b", "a");
    struct binding *b = binding_make(1, q, slice_str(key), buf_slice(&args));
    memset(key, 'z', sizeof key - 1);
    memset(args.ptr, 0, args.len);
    assert_true(slice_eq_str(b->key, "key"));
    assert_true(slice_eq_str(b->source_name, "x"));
    assert_true(slice_eq_str(b->dest_name, "queue"));
    assert_true(table_find(b->arguments, SLICE_LIT("a"), NULL));
    assert_true(table_find(b->canonical, SLICE_LIT("b"), NULL));
    binding_free(b);
    binding_free(NULL);
    mem_free(q);
}

static void
no_memory_and_long_keys_give_null(void **state)
{
    struct queue_def *q = queue_make(1, 0, "queue");
    LV_CLEANUP(buf_fini) struct buf args = BUF_INIT;
    table_of_two(&args, "b", "a");
    struct binding_args a = {
        .source_id = 1, .dest_id = 1, .queue = q, .key = SLICE_LIT("k"), .arguments = buf_slice(&args)};
    struct binding *b = NULL;
    unsigned failed = 0;
    for (uint64_t n = 1; b == NULL && n < 20; n++) {
        mem_test_fail_after(n);
        b = binding_new(&a);
        failed += b == NULL;
    }
    mem_test_fail_after(0);
    assert_non_null(b);
    assert_true(failed >= 2);
    binding_free(b);
    uint8_t long_key[BINDING_KEY_MAX + 1] = {0};
    a.key = slice_of(long_key, sizeof long_key);
    assert_null(binding_new(&a));
    a.key = slice_of(long_key, BINDING_KEY_MAX);
    b = binding_new(&a);
    assert_non_null(b);
    binding_free(b);
    mem_free(q);
}

static void
malformed_arguments_are_compared_as_bytes(void **state)
{
    struct queue_def *q = queue_make(1, 0, "queue");
    struct binding *a = binding_make(1, q, SLICE_EMPTY, SLICE_LIT("\xff\x01"));
    struct binding *b = binding_make(1, q, SLICE_EMPTY, SLICE_LIT("\xff\x02"));
    assert_false(binding_same(a, b));
    binding_free(a);
    binding_free(b);
    mem_free(q);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_is_source_destination_key_and_arguments),
        cmocka_unit_test(everything_is_copied),
        cmocka_unit_test(no_memory_and_long_keys_give_null),
        cmocka_unit_test(malformed_arguments_are_compared_as_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
