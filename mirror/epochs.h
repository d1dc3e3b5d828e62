// epochs.h: which epoch each part of a replica's log was written in, as a short list of first numbers; and from two such lists how far two logs agree.
//
// An epoch has one master, whose log alone gives the numbers of it. So where two logs both hold a part of an epoch they agree on all before it, and on it as far as the
// shorter part goes. Invariants: epochs and starts ascend (starts may be equal: an epoch without messages). Plain data, any thread.
#pragma once

#include "src/base/lv.h"

enum {
    EPOCHS_MAX = 64
}; // LIMIT: of a list; the oldest go first, which costs a comparison of more of the log, never a message

struct epoch_start {
    uint64_t epoch, start; // the first number that it may have given
};

struct epochs {
    uint32_t count;
    struct epoch_start at[EPOCHS_MAX];
};

void epochs_add(struct epochs *e, uint64_t epoch, uint64_t start);
// Forgets what begins behind end + 1.
void epochs_cut(struct epochs *e, uint64_t end);
// Of the number; 0: from before the list.
uint64_t epochs_of(const struct epochs *e, uint64_t seq);
uint64_t epochs_last(const struct epochs *e);
// Up to which number two logs are the same; 0: nothing is known to be.
uint64_t epochs_common(const struct epochs *a, uint64_t end_a, const struct epochs *b, uint64_t end_b);
bool epochs_are_valid(const struct epochs *e);
