// perf_hist.c: what is asked of a histogram; see perf_hist.h for recording.
#include "src/cli/perf_hist.h"

static uint64_t
count_at(const struct perf_hist *h, size_t index)
{
    return atomic_load_explicit(&h->counts[index], memory_order_relaxed);
}

static uint64_t
max_of(const struct perf_hist *h)
{
    return atomic_load_explicit(&h->max, memory_order_relaxed);
}

uint64_t
perf_hist_upper(size_t index)
{
    LV_ASSERT(index < PERF_HIST_BUCKETS);
    if (index < (2u << PERF_HIST_SUB_BITS))
        return index;
    size_t shift = (index >> PERF_HIST_SUB_BITS) - 1;
    uint64_t sub = (index & ((1u << PERF_HIST_SUB_BITS) - 1)) + (1u << PERF_HIST_SUB_BITS);
    return ((sub + 1) << shift) - 1;
}

void
perf_hist_add(struct perf_hist *to, const struct perf_hist *from)
{
    for (size_t i = 0; i < PERF_HIST_BUCKETS; i++)
        atomic_store_explicit(&to->counts[i], count_at(to, i) + count_at(from, i), memory_order_relaxed);
    atomic_store_explicit(&to->max, LV_MAX(max_of(to), max_of(from)), memory_order_relaxed);
}

void
perf_hist_subtract(struct perf_hist *to, const struct perf_hist *earlier)
{
    size_t highest = 0;
    for (size_t i = 0; i < PERF_HIST_BUCKETS; i++) {
        uint64_t was = count_at(earlier, i), is = count_at(to, i);
        LV_ASSERT(was <= is);
        atomic_store_explicit(&to->counts[i], is - was, memory_order_relaxed);
        if (is > was)
            highest = i;
    }
    if (perf_hist_index(max_of(to)) != highest)
        atomic_store_explicit(&to->max, perf_hist_upper(highest), memory_order_relaxed);
}

uint64_t
perf_hist_count(const struct perf_hist *h)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PERF_HIST_BUCKETS; i++)
        sum += count_at(h, i);
    return sum;
}

double
perf_hist_mean(const struct perf_hist *h)
{
    double sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < PERF_HIST_BUCKETS; i++) {
        uint64_t n = count_at(h, i);
        if (n == 0)
            continue;
        uint64_t lower = i == 0 ? 0 : perf_hist_upper(i - 1) + 1;
        sum += (double)n * ((double)lower + (double)perf_hist_upper(i)) / 2;
        count += n;
    }
    return count == 0 ? 0 : sum / (double)count;
}

uint64_t
perf_hist_percentile(const struct perf_hist *h, double part)
{
    uint64_t count = perf_hist_count(h), max = max_of(h);
    if (count == 0)
        return 0;
    // The rank is rounded up: of 10 values, 0.99 means the tenth.
    double exact = part * (double)count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < PERF_HIST_BUCKETS - 1; i++) {
        seen += count_at(h, i);
        if (seen >= rank)
            return LV_MIN(perf_hist_upper(i), max);
    }
    return max;
}
