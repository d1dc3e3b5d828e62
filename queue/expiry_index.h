// expiry_index.h: when which messages of one queue are due: by number, and in the order of time. Pure; one thread.
//
// By number: sorted leaves of up to 256 slots of 16 bytes under one array, so that a message can be looked up, put in anywhere and
// removed without a trace. By time: messages whose instants ascend with their numbers (one TTL for all of them) need nothing more, their *run* is
// walked by a cursor; for the others there is a heap, 16 bytes each. What is taken by expiry_index_pop stays known until it is removed; put back
// by expiry_index_rearm it comes again. Entries of the heap whose message is gone are at most as many as the others, and some: each removal looks
// at two of them.
//
// Instants are wall clock, in milliseconds, 0 < t < 2^54. A `level` (a byte) is kept with each. Out of memory: a put fails, nothing else does.
#pragma once

#include "src/base/lv.h"

struct expiry_leaf;

struct expiry_leaf_ref {
    uint64_t first_seq; // no number in it is lower
    struct expiry_leaf *leaf;
};

struct expiry_timed {
    int64_t at_ms;
    uint64_t seq;
};

struct expiry_index {
    struct expiry_leaf_ref *leaves; // leaves[first] … leaves[end - 1], none of them empty
    size_t first, end, cap;
    uint64_t count;              // messages known
    struct expiry_timed **pages; // of the heap
    size_t page_cap;
    uint32_t heap_room;  // entries that the pages have room for
    uint32_t heap_count; // in use
    uint32_t heap_live;  // of them: of messages that are known
    uint32_t sweep;      // where removals look for others
    uint64_t run_count, run_seq,
        run_last;        // messages of the run; it goes on at or behind this number; instant of its last one
    uint64_t leaf_bytes; // of all leaves
};

// Instants are cut off there: 500,000 years.
#define EXPIRY_MAX_MS ((INT64_C(1) << 53) - 1)

// All zero is an empty one.
void expiry_index_fini(struct expiry_index *x);
// A number that is not known. False: no memory.
LV_MUST_USE bool expiry_index_put(struct expiry_index *x, uint64_t seq, uint8_t level, int64_t at_ms);
// When it is due; 0: not known.
int64_t expiry_index_get(const struct expiry_index *x, uint64_t seq);
// False: not known.
bool expiry_index_remove(struct expiry_index *x, uint64_t seq);
// The earliest instant that has not been popped; INT64_MAX: none.
int64_t expiry_index_next(struct expiry_index *x);
// Takes the next one that is due at `now_ms` off the order of time; it stays known. False: there is none.
struct expiry_due {
    uint64_t seq;
    int64_t at_ms;
    uint8_t level;
};
LV_MUST_USE bool expiry_index_pop(struct expiry_index *x, int64_t now_ms, struct expiry_due *ret);
// One that was popped comes again; any other number: nothing happens.
void expiry_index_rearm(struct expiry_index *x, uint64_t seq);
// Visits all in the order of numbers, from `from` on; false at the end.
LV_MUST_USE bool expiry_index_each(const struct expiry_index *x, uint64_t from, struct expiry_due *ret);
// The one with so many before it; false: there are not so many. Passes over leaves.
LV_MUST_USE bool expiry_index_nth(const struct expiry_index *x, uint64_t n, struct expiry_due *ret);
size_t expiry_index_memory(const struct expiry_index *x); // bytes beside the struct
