// json_details.h: "publish_details":{"rate":…} as RabbitMQ's HTTP API shows it, with the history when one is asked for.
#pragma once

#include "src/base/buf.h"
#include "src/base/samples.h"

// How far back, and in which steps; step 0: no history is wanted.
struct json_range {
    uint32_t age_s, step_s;
};

// Counters of one struct samples, added up.
struct json_details {
    const char *key; // "publish"
    double rate;
    const struct samples *samples; // NULL: none are kept
    const unsigned *series;
    unsigned series_count;
    struct json_range range;
};

// "publish_details":{"rate":0.2,"samples":[…],"avg":…,"avg_rate":…}, with a comma behind it; samples newest first.
void json_put_details(struct buf *out, const struct json_details *d, int64_t now_ms);
