// rng.h: random numbers. `rng_secure` for names, tokens and salts (OpenSSL); struct rng for everything that
// must be repeatable by seed (tests, jitter).
#pragma once

#include "src/base/lv.h"

struct rng {
    uint64_t state[4]; // xoshiro256**
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t limit); // 0 … limit-1; limit > 0

// Fills with unpredictable bytes; aborts when the system cannot give any. Any thread.
void rng_secure(void *ptr, size_t len);
