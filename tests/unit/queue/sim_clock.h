// sim_clock.h: a clock for a test that sets the time itself: cmocka setup and teardown. One thread.
#pragma once

#include "src/base/clock.h"

static int64_t sim_ms;

static uint64_t
sim_mono_ns(void *ctx)
{
    return (uint64_t)sim_ms * 1000000;
}

static int64_t
sim_wall_ms(void *ctx)
{
    return sim_ms;
}

static const struct clock_source sim_clock = {.mono_ns = sim_mono_ns, .wall_ms = sim_wall_ms};

static int
start_clock(void **state)
{
    sim_ms = INT64_C(1700000000000);
    clock_set_source(&sim_clock);
    return 0;
}

static int
stop_clock(void **state)
{
    clock_set_source(NULL);
    return 0;
}
