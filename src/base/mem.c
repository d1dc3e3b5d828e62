// mem.c: thin shell around malloc: failure injection for tests, and abort for the mem_x* variants.
//
// Injected failures hit only the variants that can report one: an aborting call is neither counted nor
// failed. A request for 0 bytes gives a block of its own, so that NULL always means "out of memory".
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"

static _Thread_local uint64_t fail_after; // 1: the next call fails; 0: none does

// Off the hot path: counts down to the failing call.
static bool __attribute__((noinline)) count_down(void)
{
    return --fail_after == 0;
}

#ifdef LV_TEST_HOOKS
// Any thread; relaxed: only the sum counts.
static _Atomic uint64_t all_calls, fail_first, fail_end; // fail_first 0: off

void
mem_test_fail_at(uint64_t n, uint64_t count)
{
    uint64_t first = n == 0 ? 0 : atomic_load(&all_calls) + n;
    atomic_store(&fail_end, count == 0 || n == 0 ? UINT64_MAX : first + count);
    atomic_store(&fail_first, first);
}

static bool
is_planned(void)
{
    uint64_t now = atomic_fetch_add_explicit(&all_calls, 1, memory_order_relaxed) + 1;
    uint64_t first = atomic_load_explicit(&fail_first, memory_order_relaxed);
    return first != 0 && now >= first && now < atomic_load_explicit(&fail_end, memory_order_relaxed);
}
#else
static inline bool
is_planned(void)
{
    return false;
}
#endif

static inline bool
has_to_fail(void)
{
    return (LV_UNLIKELY(fail_after != 0) && count_down()) || is_planned();
}

static void *
check(void *ptr, size_t size)
{
    if (LV_UNLIKELY(ptr == NULL)) {
        fprintf(stderr, "out of memory: no %zu bytes\n", size);
        abort();
    }
    return ptr;
}

void *
mem_alloc(size_t size)
{
    return has_to_fail() ? NULL : malloc(LV_MAX(size, 1));
}

void *
mem_calloc(size_t count, size_t size)
{
    size_t total;
    if (has_to_fail() || __builtin_mul_overflow(count, size, &total))
        return NULL;
    return calloc(1, LV_MAX(total, 1));
}

void *
mem_realloc(void *ptr, size_t size)
{
    return has_to_fail() ? NULL : realloc(ptr, LV_MAX(size, 1));
}

void *
mem_aligned(size_t alignment, size_t size)
{
    LV_ASSERT(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    if (has_to_fail())
        return NULL;
    void *ptr = NULL;
    return posix_memalign(&ptr, alignment, LV_MAX(size, 1)) == 0 ? ptr : NULL;
}

void
mem_free(void *ptr)
{
    free(ptr);
}

void *
mem_xalloc(size_t size)
{
    return check(malloc(LV_MAX(size, 1)), size);
}

void *
mem_xcalloc(size_t count, size_t size)
{
    size_t total = 0;
    bool is_too_much = __builtin_mul_overflow(count, size, &total);
    if (is_too_much)
        total = SIZE_MAX;
    return check(is_too_much ? NULL : calloc(1, LV_MAX(total, 1)), total);
}

void *
mem_xrealloc(void *ptr, size_t size)
{
    return check(realloc(ptr, LV_MAX(size, 1)), size);
}

char *
mem_xstrdup(const char *text)
{
    return mem_xslice_dup(slice_str(text));
}

char *
mem_xslice_dup(struct slice s)
{
    LV_ASSERT(s.len < SIZE_MAX);
    char *copy = mem_xalloc(s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

void
mem_require(bool is_there)
{
    if (LV_UNLIKELY(!is_there)) {
        fprintf(stderr, "out of memory: for what cannot be done without\n");
        abort();
    }
}

void
mem_freep(void *pp)
{
    void *ptr;
    memcpy(&ptr, pp, sizeof ptr); // pp is the address of a pointer of any type
    free(ptr);
}

void
mem_wipe(void *ptr, size_t size)
{
    if (size > 0)
        explicit_bzero(ptr, size);
}

void
mem_test_fail_after(uint64_t n)
{
    fail_after = n;
}
