// clock.c: the system's clocks, or those of a test.
#include <stdatomic.h>
#include <time.h>

#include "src/base/clock.h"

static struct clock_source test_source;
// Partner: clock_set_source (release) with the readers of every thread (acquire). NULL: the real clocks.
static _Atomic(const struct clock_source *) source_now;

uint64_t
clock_mono_ns(void)
{
    const struct clock_source *source = atomic_load_explicit(&source_now, memory_order_acquire);
    if (LV_UNLIKELY(source != NULL))
        return source->mono_ns(source->ctx);
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t
clock_wall_ms(void)
{
    const struct clock_source *source = atomic_load_explicit(&source_now, memory_order_acquire);
    if (LV_UNLIKELY(source != NULL))
        return source->wall_ms(source->ctx);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
clock_set_source(const struct clock_source *source)
{
    if (source != NULL)
        test_source = *source;
    atomic_store_explicit(&source_now, source != NULL ? &test_source : NULL, memory_order_release);
}
