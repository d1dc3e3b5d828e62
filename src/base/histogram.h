// histogram.h: counts of values by size, for metrics: bucket i holds those up to unit << i, the last one all others.
//
// One writer, its own thread; any thread may read (relaxed: each number is right, all together are not of one moment). No memory but
// the struct.
#pragma once

#include <stdatomic.h>

#include "src/base/lv.h"

enum { HISTOGRAM_BUCKETS = 22 };
// Smallest bucket of times: 10 µs, so that the largest bound is 10.5 s. Of numbers of things: 1, up to a million.
enum { HISTOGRAM_TIME_NS = 10000, HISTOGRAM_COUNT = 1 };

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS], sum; // partner: histogram_read on any thread
};

struct histogram_sum {
    uint64_t counts[HISTOGRAM_BUCKETS], sum;
};

static inline void
histogram_add(struct histogram *h, uint64_t value, uint64_t unit)
{
    uint64_t units = (value + unit - 1) / unit;
    unsigned bucket = units <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(units - 1);
    _Atomic uint64_t *count = &h->counts[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1];
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed),
             sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    atomic_store_explicit(count, before + 1, memory_order_relaxed);
    atomic_store_explicit(&h->sum, sum + value, memory_order_relaxed);
}

// Adds what is there to *to.
static inline void
histogram_read(const struct histogram *h, struct histogram_sum *to)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->counts[i] += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    to->sum += atomic_load_explicit(&h->sum, memory_order_relaxed);
}
