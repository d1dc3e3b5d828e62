// slice.c: order and hashes of slices.
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "src/base/slice.h"

// Written once before main, read by all threads afterwards.
static uint64_t hash_seed;

__attribute__((constructor)) static void
make_hash_seed(void)
{
    // The system call, not OpenSSL: constructors run in no order that the libraries promise.
    uint8_t *at = (uint8_t *)&hash_seed;
    for (size_t done = 0; done < sizeof hash_seed;) {
        ssize_t n = getrandom(at + done, sizeof hash_seed - done, 0);
        if (n > 0)
            done += (size_t)n;
    }
}

int
slice_cmp(struct slice a, struct slice b)
{
    size_t len = LV_MIN(a.len, b.len);
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    if (order != 0)
        return order < 0 ? -1 : 1;
    return (a.len > b.len) - (a.len < b.len);
}

uint64_t
slice_hash(struct slice s)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, hash_seed);
}

uint64_t
slice_hash_more(struct slice s, uint64_t earlier)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, hash_seed ^ earlier);
}

uint64_t
slice_hash_fixed(struct slice s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.ptr, s.len, seed);
}
