// Buffers: growth, big-endian integers, formatting across the edge of the memory, failure that sticks.
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "tests/unit/base/unit.h"

static void
test_append_and_grow(void **state)
{
    struct buf b = BUF_INIT;
    assert_int_equal(buf_slice(&b).len, 0);
    for (int i = 0; i < 10000; i++) {
        buf_append_u8(&b, (uint8_t)i);
        assert_true(b.len <= b.cap);
    }
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.ptr[i], (uint8_t)i);
    size_t cap = b.cap;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    buf_append(&b, NULL, 0);
    buf_append_str(&b, "ab");
    buf_append_slice(&b, SLICE_LIT("cd"));
    buf_append_slice(&b, SLICE_EMPTY);
    assert_true(slice_eq_str(buf_slice(&b), "abcd"));
    buf_fini(&b);
    assert_null(b.ptr);
    assert_int_equal(b.cap, 0);
}

static void
test_integers_are_big_endian(void **state)
{
    struct buf b = BUF_INIT;
    buf_append_u8(&b, 0x01);
    buf_append_u16be(&b, 0x0203);
    buf_append_u32be(&b, 0x04050607);
    buf_append_u64be(&b, UINT64_C(0x08090a0b0c0d0e0f));
    assert_int_equal(b.len, 15);
    for (uint8_t i = 0; i < 15; i++)
        assert_int_equal(b.ptr[i], i + 1);
    buf_fini(&b);
}

static void
test_printf_across_the_edge(void **state)
{
    for (int len = 0; len < 300; len++) {
        struct buf b = BUF_INIT;
        buf_append_str(&b, "x");
        buf_printf(&b, "%*d", len, 7);
        int want = 1 + LV_MAX(len, 1);
        assert_int_equal(b.len, want);
        assert_int_equal(b.ptr[0], 'x');
        assert_int_equal(b.ptr[b.len - 1], '7');
        assert_int_equal(strlen(buf_cstr(&b)), want);
        assert_int_equal(b.len, want); // the NUL is not counted
        buf_fini(&b);
    }
}

static void
test_drop_front(void **state)
{
    struct buf b = BUF_INIT;
    buf_drop_front(&b, 0);
    buf_append_str(&b, "hello world");
    buf_drop_front(&b, 6);
    assert_string_equal(buf_cstr(&b), "world");
    buf_drop_front(&b, 0);
    assert_string_equal(buf_cstr(&b), "world");
    buf_drop_front(&b, 5);
    assert_string_equal(buf_cstr(&b), "");
    buf_fini(&b);
}

static void
test_failure_sticks_and_changes_nothing(void **state)
{
    struct buf b = BUF_INIT;
    mem_test_fail_after(1);
    buf_append_str(&b, "x");
    assert_true(b.failed);
    assert_null(b.ptr);
    assert_int_equal(b.cap, 0);
    buf_append_str(&b, "y"); // memory is back, the buffer stays failed
    buf_append_u8(&b, 1);
    buf_append_u32be(&b, 1);
    buf_printf(&b, "%d", 1);
    assert_false(buf_reserve(&b, 1));
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_cstr(&b), "");
    buf_fini(&b);
    assert_false(b.failed);
    buf_append_str(&b, "keeps");
    assert_false(buf_reserve(&b, SIZE_MAX)); // the sum overflows
    assert_true(b.failed);
    assert_true(slice_eq_str(buf_slice(&b), "keeps"));
    buf_append_str(&b, "no"); // although there is room
    assert_int_equal(b.len, 5);
    buf_reset(&b);
    buf_append_str(&b, "again");
    assert_string_equal(buf_cstr(&b), "again");
    buf_reset(&b);
    for (int i = 0; i < 64; i++)
        buf_append_u8(&b, 'a');
    mem_test_fail_after(1);
    buf_printf(&b, "%s", "no room for this");
    assert_true(b.failed);
    assert_int_equal(b.len, 64);
    buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_grow),
        cmocka_unit_test(test_integers_are_big_endian),
        cmocka_unit_test(test_printf_across_the_edge),
        cmocka_unit_test(test_drop_front),
        cmocka_unit_test(test_failure_sticks_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
