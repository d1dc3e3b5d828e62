// policy_keys.h: inside of policy*.c: the table of keys, and the checks of definitions.
#pragma once

#include <jansson.h>

#include "src/broker/policy.h"

enum policy_check {
    CHECK_INTEGER, // min … max
    CHECK_TEXT,
    CHECK_SOME_TEXT, // not empty
    CHECK_CHOICE,    // one of `choices`
    CHECK_BOOL,
    CHECK_AGE, // "7D"
    CHECK_HA,  // these three look at several keys together
    CHECK_FEDERATION,
    CHECK_SHARDS,
};

enum policy_merge {
    MERGE_OPERATOR,
    MERGE_MIN,
    MERGE_MAX,
    MERGE_DELIVERY_LIMIT,
    MERGE_HA_MODE,
    MERGE_HA_PARAMS
};

struct policy_key_info {
    const char *name;
    enum policy_check check;
    int64_t min, max;
    const char *choices;   // "a|b"
    const char *complaint; // stands behind a value that is not good
    unsigned not_for;      // bits of enum policy_object: types of queues that have no such thing
    bool is_operator;      // an operator policy may have it
    enum policy_merge merge;
};

extern const struct policy_key_info policy_keys[POLICY_KEY_COUNT];

// By binary search. False: no such key.
bool policy_key_parse(const char *name, enum policy_key *ret_key);
// A definition (any JSON value) as RabbitMQ checks it; false with its text, without a line's end, at the end of `reason`.
bool policy_check_definition(enum policy_kind kind, struct slice name, const json_t *definition,
                             struct buf *reason);
