// policy.h: policies and operator policies: what they say, which objects they are for, and what two of them come to together.
//
// A policy {pattern, apply-to, definition, priority} is a runtime parameter of component "policy" or "operator_policy" in a vhost
// (RabbitMQ's documentation: Policies, Operator policies). Here it is parsed, checked and compiled once, by the topology writer, and
// is an immutable part of the topology from then on. Of each kind at most one is for an object: of those whose apply-to fits, whose
// keys can all be used by that type of queue, and whose pattern is found in the name, the one with the highest priority; among equal
// priorities (RabbitMQ leaves that open) the first name in byte order.
//
// Everything here is pure. A matcher belongs to one thread; struct policy and struct policy_list may be read by any.
#pragma once

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

enum policy_kind { POLICY_USER, POLICY_OPERATOR, POLICY_KINDS };

// What a policy may be for.
enum policy_object { POLICY_EXCHANGE, POLICY_CLASSIC, POLICY_QUORUM, POLICY_STREAM };

// Keys of definitions, in the order of their names.
enum policy_key {
    POLICY_ALTERNATE_EXCHANGE,
    POLICY_CONSUMER_DISCONNECTED_TIMEOUT,
    POLICY_CONSUMER_TIMEOUT,
    POLICY_DEAD_LETTER_EXCHANGE,
    POLICY_DEAD_LETTER_ROUTING_KEY,
    POLICY_DEAD_LETTER_STRATEGY,
    POLICY_DELAYED_MESSAGE,
    POLICY_DELAYED_RETRY_MAX,
    POLICY_DELAYED_RETRY_MIN,
    POLICY_DELAYED_RETRY_TYPE,
    POLICY_DELIVERY_LIMIT,
    POLICY_DURABILITY, // ours: what a confirm means, as x-durability
    POLICY_EXPIRES,
    POLICY_FEDERATION_UPSTREAM,
    POLICY_FEDERATION_UPSTREAM_PATTERN,
    POLICY_FEDERATION_UPSTREAM_SET,
    POLICY_HA_MODE,
    POLICY_HA_PARAMS,
    POLICY_HA_PROMOTE_ON_FAILURE,
    POLICY_HA_PROMOTE_ON_SHUTDOWN,
    POLICY_HA_SYNC_BATCH_SIZE,
    POLICY_HA_SYNC_MODE,
    POLICY_INITIAL_CLUSTER_SIZE,
    POLICY_MAX_AGE,
    POLICY_MAX_IN_MEMORY_BYTES,
    POLICY_MAX_IN_MEMORY_LENGTH,
    POLICY_MAX_LENGTH,
    POLICY_MAX_LENGTH_BYTES,
    POLICY_MEMBER_PLACEMENT_TAG,
    POLICY_MESSAGE_TTL,
    POLICY_OVERFLOW,
    POLICY_QUEUE_LEADER_LOCATOR,
    POLICY_QUEUE_MASTER_LOCATOR,
    POLICY_QUEUE_MODE,
    POLICY_QUEUE_VERSION,
    POLICY_ROUTING_KEY,
    POLICY_SHARDS_PER_NODE,
    POLICY_STREAM_FILTER_SIZE_BYTES,
    POLICY_STREAM_MAX_SEGMENT_SIZE_BYTES,
    POLICY_TARGET_GROUP_SIZE,
    POLICY_KEY_COUNT,
};

enum policy_value_kind { POLICY_NUMBER, POLICY_TEXT, POLICY_BOOL, POLICY_LIST };

struct policy_value {
    enum policy_key key;
    enum policy_value_kind kind;
    int64_t number;    // number (cut to an integer), bool; list: its length
    struct slice text; // text: its bytes; all others: JSON
};

struct policy {
    enum policy_kind kind;
    uint32_t serial;  // the writer's: another one for each policy put; never 0
    unsigned targets; // bit enum policy_object: what it can be for
    long double priority;
    struct slice vhost, name, pattern, apply_to; // bytes behind this struct, as all slices here
    struct slice priority_json;                  // as it was given
    void *code;                                  // pcre2_code
    size_t value_count;
    struct policy_value values[]; // in the order of keys
};

// LIMIT: bytes of the JSON text of a policy, and of its pattern.
enum { POLICY_JSON_MAX = 64 * 1024, POLICY_PATTERN_MAX = 4096 };

// "policy" or "operator_policy". False: another component.
bool policy_kind_parse(struct slice component, enum policy_kind *ret_kind);
struct slice policy_component(enum policy_kind kind);

struct policy_args {
    enum policy_kind kind;
    struct slice vhost, name;
    struct slice json; // {"pattern":…,"definition":{…},"priority":…,"apply-to":…}
};
// Parses, checks and compiles. -LE_INVAL with RabbitMQ's text ("Validation failed\n\n…") in `reason`; -LE_NOMEM.
LV_MUST_USE int policy_new(const struct policy_args *args, struct policy **ret, struct buf *reason);
void policy_free(struct policy *p); // accepts NULL

// The parameter's value in one way of writing it, so that equal policies have equal texts.
void policy_put_value(struct buf *out, const struct policy *p);
void policy_put_definition(struct buf *out, const struct policy *p);
// As the HTTP API lists it, with vhost and name.
void policy_put_json(struct buf *out, const struct policy *p);

// --- matching -----------------------------------------------------------------------------------------------------------------

// All policies of one kind in one vhost, the strongest first. A list is one heap block (mem_free) and owns no policy; NULL: none.
struct policy_list {
    size_t count;
    const struct policy *items[];
};

// A copy of the list without `without` (NULL: nothing is left out), with `with` (NULL: nothing more); NULL when that is empty.
// Out of memory aborts (topology).
struct policy_list *policy_list_with(const struct policy_list *l, const struct policy *without,
                                     const struct policy *with);
const struct policy *policy_list_find(const struct policy_list *l, struct slice name);

struct policy_matcher;
LV_MUST_USE struct policy_matcher *policy_matcher_new(void); // NULL: out of memory
void policy_matcher_free(struct policy_matcher *m);          // accepts NULL
// Patterns tried since it was made: what its work has cost.
uint64_t policy_matcher_tries(const struct policy_matcher *m);

// A regular expression of a configuration, as those of policies: compiled, or NULL with Erlang's words for why not in `reason`.
// `column`: where these stand in their line, which is broken as Erlang would.
void *policy_regex_compile(struct slice pattern, unsigned column, struct buf *reason);
void policy_regex_free(void *code);                                                       // accepts NULL
bool policy_regex_matches(struct policy_matcher *m, const void *code, struct slice text); // given up: false

// The two that are for one object.
struct policy_pair {
    const struct policy *of[POLICY_KINDS]; // NULL: none
};
// A pattern whose match is given up (its limits are those of permissions) does not match.
struct policy_pair policy_match(const struct policy_list *const lists[POLICY_KINDS], struct policy_matcher *m,
                                enum policy_object object, struct slice name);

// --- effect -------------------------------------------------------------------------------------------------------------------

const struct policy_value *policy_value_of(const struct policy *p,
                                           enum policy_key key); // NULL: not there, or p is NULL
// What policy and operator policy come to for a key; NULL when neither says anything. Limits: the smaller; ha-*: the stronger; a
// negative delivery-limit is none at all; everything else: the operator's.
const struct policy_value *policy_effective(const struct policy_pair *pair, enum policy_key key);
// The same for all keys, as a JSON object.
void policy_effective_put(struct buf *out, const struct policy_pair *pair);
struct slice policy_name(const struct policy_pair *pair, enum policy_kind kind); // empty: none
