// The allocator's shell: injected failures, blocks of no bytes, aborting variants.
#include "src/base/mem.h"
#include "tests/unit/base/unit.h"

static void
test_nth_allocation_fails_once(void **state)
{
    mem_test_fail_after(3);
    void *a = mem_alloc(10);
    void *b = mem_calloc(2, 5);
    assert_non_null(a);
    assert_non_null(b);
    void *c = mem_realloc(a, 1000); // the third
    assert_null(c);
    c = mem_realloc(a, 1000);
    assert_non_null(c);
    mem_test_fail_after(1);
    assert_null(mem_aligned(64, 64));
    mem_test_fail_after(1);
    mem_free(mem_xalloc(1)); // aborting variants neither count nor fail
    assert_null(mem_calloc(1, 1));
    mem_test_fail_after(1);
    mem_test_fail_after(0);
    void *d = mem_alloc(1);
    assert_non_null(d);
    mem_free(b);
    mem_free(c);
    mem_free(d);
}

static void
test_no_bytes_is_a_block(void **state)
{
    void *a = mem_alloc(0);
    void *b = mem_calloc(0, 8);
    void *c = mem_realloc(a, 0);
    void *d = mem_xcalloc(8, 0);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
}

static void
test_calloc_overflow(void **state)
{
    volatile size_t half = SIZE_MAX / 2;
    assert_null(mem_calloc(half, 4));
}

static void
test_zeroed_and_aligned(void **state)
{
    uint8_t *z = mem_xcalloc(3, 100);
    for (int i = 0; i < 300; i++)
        assert_int_equal(z[i], 0);
    mem_free(z);
    for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
        void *p = mem_aligned(alignment, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignment, 0);
        mem_free(p);
    }
}

static void
test_copies(void **state)
{
    char *a = mem_xstrdup("hello");
    assert_string_equal(a, "hello");
    char *b = mem_xslice_dup(slice_of("a\0b", 3));
    assert_memory_equal(b, "a\0b\0", 4);
    char *c = mem_xslice_dup(SLICE_EMPTY);
    assert_string_equal(c, "");
    mem_free(a);
    mem_free(b);
    mem_free(c);
}

static void
test_cleanup_and_wipe(void **state)
{
    {
        LV_CLEANUP(mem_freep)
        char *text = mem_xstrdup("freed at the end of the block"); // the leak checker tells
        assert_non_null(text);
        LV_CLEANUP(mem_freep) void *nothing = NULL;
        assert_null(nothing);
    }
    char secret[] = "secret";
    mem_wipe(secret, sizeof secret);
    assert_memory_equal(secret, "\0\0\0\0\0\0\0", 7);
    mem_wipe(NULL, 0);
}

static void
ask_for_too_much(void)
{
    volatile size_t half = SIZE_MAX / 2;
    mem_free(mem_xcalloc(half, 4));
}

static void
test_aborting_variant_aborts(void **state)
{
    assert_true(does_abort(ask_for_too_much, -1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_allocation_fails_once),
        cmocka_unit_test(test_no_bytes_is_a_block),
        cmocka_unit_test(test_calloc_overflow),
        cmocka_unit_test(test_zeroed_and_aligned),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_cleanup_and_wipe),
        cmocka_unit_test(test_aborting_variant_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
