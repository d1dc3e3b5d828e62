// rng.c: xoshiro256** seeded by splitmix64 (both public domain algorithms of Blackman and Vigna), and
// OpenSSL's generator.
#include <limits.h>
#include <openssl/rand.h>

#include "src/base/rng.h"

static inline uint64_t
rotate_left(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

void
rng_init(struct rng *r, uint64_t seed)
{
    // splitmix64 never gives four zeros in a row, the one state xoshiro cannot leave.
    for (size_t i = 0; i < LV_ARRAY_LEN(r->state); i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        r->state[i] = z ^ (z >> 31);
    }
}

uint64_t
rng_next(struct rng *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t
rng_below(struct rng *r, uint64_t limit)
{
    LV_ASSERT(limit > 0);
    // Values above the last whole multiple of limit would favour small results.
    uint64_t reject_below = -limit % limit;
    uint64_t v;
    do {
        v = rng_next(r);
    } while (v < reject_below);
    return v % limit;
}

void
rng_secure(void *ptr, size_t len)
{
    uint8_t *at = ptr;
    while (len > 0) {
        int part = (int)LV_MIN(len, (size_t)INT_MAX);
        LV_ASSERT(RAND_bytes(at, part) == 1);
        at += part;
        len -= (size_t)part;
    }
}
