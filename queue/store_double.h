// store_double.h: a stand-in for the message store, for tests: keeps bodies in memory but behaves as if they
// were not.
//
// Messages are paged out at random by seed; fetches are answered in a later turn, after a random number of
// turns, through mails of the worker to itself; some can be made to fail. One per worker; its thread. Test
// builds only.
#pragma once

#include "queue/ops.h"

struct store_double;

struct store_double_config {
    uint64_t seed;         // not 0
    uint32_t page_percent; // messages paged out, 0 … 100
    uint32_t delay_max;    // turns a fetch takes at most, at least 1
    uint32_t lose_percent; // fetches answered with NULL
};

// Aborts when out of memory. Made before queue_worker_init of `w`, freed after queue_worker_fini.
struct store_double *store_double_new(struct worker *w, const struct store_double_config *config);
void store_double_free(struct store_double *d); // asserts that every location was forgotten
const struct queue_store *store_double_store(struct store_double *d);
size_t store_double_held(const struct store_double *d);      // locations not forgotten
uint64_t store_double_fetches(const struct store_double *d); // answered so far
