// record.h: what the coordinator keeps of a mirrored queue: its epoch, its master, its replicas and which of them are in sync.
//
// A record changes only by compare-and-swap on its revision. Members stand in the order in which they came (the longest-serving first); the master is one
// of them and in sync. Invariants: record_is_valid. Plain data, any thread.
#pragma once

#include "src/base/lv.h"

enum { RECORD_MEMBERS_MAX = 32 }; // LIMIT: replicas of one queue

// Of one data directory, made with it: a host whose disk was replaced is another store.
struct store_id {
    uint64_t high, low;
};

static inline bool
store_id_eq(struct store_id a, struct store_id b)
{
    return a.high == b.high && a.low == b.low;
}

static inline bool
store_id_is_set(struct store_id s)
{
    return s.high != 0 || s.low != 0;
}

struct record_member {
    struct store_id store;
    bool is_in_sync;
};

struct record {
    uint64_t epoch; // 1 …
    uint64_t token; // of the proposal that made it: no two have the same
    struct store_id master;
    uint32_t count;
    struct record_member members[RECORD_MEMBERS_MAX];
};

bool record_is_valid(const struct record *r);
// NULL: it is none.
const struct record_member *record_find(const struct record *r, struct store_id store);
bool record_is_in_sync(const struct record *r, struct store_id store);
// False: there is no room. A member that is there already gets the flag.
bool record_put(struct record *r, struct store_id store, bool is_in_sync);
void record_drop(struct record *r, struct store_id store);
uint32_t record_in_sync_count(const struct record *r);
