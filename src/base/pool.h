// pool.h: free lists of fixed-size objects for one thread. With -DLV_POOL_DEBUG every object is its own
// allocation, so that AddressSanitizer sees use after free.
#pragma once

#include "src/base/lv.h"

struct pool {
    void *free_list;    // singly linked through the first word
    size_t object_size; // bytes
    size_t free_count;
    size_t live_count; // given out and not returned
    size_t free_max;   // keep at most this many
};

void pool_init(struct pool *p, size_t object_size, size_t free_max);
void pool_fini(struct pool *p);              // asserts that nothing is live
LV_MUST_USE void *pool_take(struct pool *p); // not zeroed; NULL when out of memory
void pool_give(struct pool *p, void *object);
