// mem.h: the only way to the allocator, so that tests can fail the n-th call and count what is live.
//
// The allocator itself (jemalloc, mimalloc or libc) is chosen by the Meson option `allocator`. All functions
// may be called from any thread. Every result is checked: out of memory while serving a client closes that
// channel or connection. mem_x* variants abort: for process start-up and objects whose loss cannot be
// contained (topology versions, worker tables).
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

LV_MUST_USE void *mem_alloc(size_t size);
LV_MUST_USE void *mem_calloc(size_t count, size_t size);
LV_MUST_USE void *mem_realloc(void *ptr, size_t size);
LV_MUST_USE void *mem_aligned(size_t alignment, size_t size); // freed with mem_free
void mem_free(void *ptr);                                     // accepts NULL

LV_MUST_USE void *mem_xalloc(size_t size);
LV_MUST_USE void *mem_xcalloc(size_t count, size_t size);
LV_MUST_USE void *mem_xrealloc(void *ptr, size_t size);
LV_MUST_USE char *mem_xstrdup(const char *text);
// A NUL-terminated heap copy of the bytes (which may hold NULs themselves).
LV_MUST_USE char *mem_xslice_dup(struct slice s);

// Ends the process as mem_x* do when something else found no memory for what cannot be done without.
void mem_require(bool is_there);

// For LV_CLEANUP: frees *(void **)pp.
void mem_freep(void *pp);

// Overwrites with zeros in a way the compiler keeps: for secrets.
void mem_wipe(void *ptr, size_t size);

// Tests only: the n-th next allocation of this thread (1 = the next) returns NULL; 0 switches it off.
void mem_test_fail_after(uint64_t n);
#ifdef LV_TEST_HOOKS
// The same for all threads together: from the n-th on, `count` of them (0: for ever). n = 0 switches it off.
void mem_test_fail_at(uint64_t n, uint64_t count);
#endif
