// clock.h: time, passed in so that tests and simulators can replace it.
#pragma once

#include "src/base/lv.h"

// Monotonic nanoseconds; for intervals. Wall-clock milliseconds since 1970; for what people and messages see.
uint64_t clock_mono_ns(void);
int64_t clock_wall_ms(void);

// Tests and simulators: replaces both clocks for the whole process (NULL: the real ones again).
struct clock_source {
    uint64_t (*mono_ns)(void *ctx);
    int64_t (*wall_ms)(void *ctx);
    void *ctx;
};
void clock_set_source(const struct clock_source *source);
