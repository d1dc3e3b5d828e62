// perf_hist.h: a histogram of durations in nanoseconds, right to 0.8 % from 1 ns to an hour, in the manner of HdrHistogram.
//
// Each power of two is divided into 128 equal buckets. One thread records; any thread may take copies meanwhile
// (perf_hist_add), which then miss at most what is being recorded. Copies belong to whoever made them.
// Values above the range count as the largest; the maximum is exact.
#pragma once

#include <stdatomic.h>

#include "src/base/lv.h"

enum {
    PERF_HIST_SUB_BITS = 7,    // 128 buckets for each power of two
    PERF_HIST_VALUE_BITS = 42, // LIMIT: 2^42 ns are 73 minutes
    PERF_HIST_BUCKETS = (PERF_HIST_VALUE_BITS - PERF_HIST_SUB_BITS + 1) << PERF_HIST_SUB_BITS,
};

struct perf_hist {
    // Relaxed: the recorder's stores, read by perf_hist_add of another thread; each number stands for itself.
    _Atomic uint64_t counts[PERF_HIST_BUCKETS];
    _Atomic uint64_t max; // ns; exact
};

// Zero it (mem_xcalloc, = {0}) to begin.

static inline size_t
perf_hist_index(uint64_t value)
{
    if (LV_UNLIKELY(value >> PERF_HIST_VALUE_BITS != 0))
        return PERF_HIST_BUCKETS - 1;
    if (value < (1u << PERF_HIST_SUB_BITS))
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - PERF_HIST_SUB_BITS;
    return ((size_t)shift << PERF_HIST_SUB_BITS) + (size_t)(value >> shift);
}

static inline void
perf_hist_record_many(struct perf_hist *h, uint64_t value, uint64_t count)
{
    size_t i = perf_hist_index(value);
    uint64_t before = atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    atomic_store_explicit(&h->counts[i], before + count, memory_order_relaxed);
    if (LV_UNLIKELY(value > atomic_load_explicit(&h->max, memory_order_relaxed)))
        atomic_store_explicit(&h->max, value, memory_order_relaxed);
}

static inline void
perf_hist_record(struct perf_hist *h, uint64_t value)
{
    perf_hist_record_many(h, value, 1);
}

// to += from; the maximum is the larger one.
void perf_hist_add(struct perf_hist *to, const struct perf_hist *from);
// to -= earlier, an earlier copy of the same; the maximum becomes that of the highest bucket left (to 0.8 %),
// or stays when it lies there.
void perf_hist_subtract(struct perf_hist *to, const struct perf_hist *earlier);
uint64_t perf_hist_count(const struct perf_hist *h);
double perf_hist_mean(const struct perf_hist *h); // ns; 0 when empty
// The value that a part of all (0 … 1) does not exceed, in ns: the upper end of its bucket, at most the maximum; 0 when empty.
uint64_t perf_hist_percentile(const struct perf_hist *h, double part);
// The largest value of a bucket.
uint64_t perf_hist_upper(size_t index);
