// policy_keys.c: the keys of definitions: which there are, what values they take, for which types of queues, how two values merge.
//
// One table. Values are checked in the order of the keys' names, then the groups whose keys depend on each other, unknown keys last;
// the first that is wrong makes the text. RabbitMQ's order between its modules is not fixed.
#include "src/broker/policy_keys.h"

#include <stdlib.h>

#include "src/broker/json_erlang.h"

#define CLASSIC (1u << POLICY_CLASSIC)
#define QUORUM  (1u << POLICY_QUORUM)
#define STREAM  (1u << POLICY_STREAM)
#define FROM(n) .check = CHECK_INTEGER, .min = (n), .max = INT64_MAX

// clang-format off
const struct policy_key_info policy_keys[POLICY_KEY_COUNT] = {
    [POLICY_ALTERNATE_EXCHANGE] = {"alternate-exchange", CHECK_TEXT, .complaint = "is not a valid alternate exchange name"},
    [POLICY_CONSUMER_DISCONNECTED_TIMEOUT] = {"consumer-disconnected-timeout", FROM(0), .complaint = "is not a valid consumer disconnected timeout"},
    [POLICY_CONSUMER_TIMEOUT] = {"consumer-timeout", FROM(0), .complaint = "is not a valid consumer timeout"},
    [POLICY_DEAD_LETTER_EXCHANGE] = {"dead-letter-exchange", CHECK_TEXT, .complaint = "is not a valid dead letter exchange name", .not_for = STREAM},
    [POLICY_DEAD_LETTER_ROUTING_KEY] = {"dead-letter-routing-key", CHECK_TEXT, .complaint = "is not a valid dead letter routing key", .not_for = STREAM},
    [POLICY_DEAD_LETTER_STRATEGY] = {"dead-letter-strategy", CHECK_CHOICE, .choices = "at-most-once|at-least-once", .complaint = "is not a valid dead letter strategy", .not_for = CLASSIC | STREAM},
    [POLICY_DELAYED_MESSAGE] = {"delayed-message", CHECK_BOOL, .complaint = "is not a valid delayed-message value"},
    [POLICY_DELAYED_RETRY_MAX] = {"delayed-retry-max", FROM(1), .complaint = "is not a valid delayed retry maximum delay. Must be a positive integer", .is_operator = true, .merge = MERGE_MIN},
    [POLICY_DELAYED_RETRY_MIN] = {"delayed-retry-min", FROM(1), .complaint = "is not a valid delayed retry minimum delay. Must be a positive integer", .is_operator = true, .merge = MERGE_MAX},
    [POLICY_DELAYED_RETRY_TYPE] = {"delayed-retry-type", CHECK_CHOICE, .choices = "all|failed|returned|disabled",
     .complaint = "is not a valid delayed retry type. Must be one of: all, failed, returned, disabled",
     .is_operator = true},
    [POLICY_DELIVERY_LIMIT] = {"delivery-limit", FROM(INT64_MIN), .complaint = "is not a valid delivery limit", .not_for = CLASSIC | STREAM, .is_operator = true, .merge = MERGE_DELIVERY_LIMIT},
    [POLICY_DURABILITY] = {"durability", CHECK_CHOICE, .choices = "fsync|os|memory", .complaint = "is not a valid durability value", .not_for = STREAM},
    [POLICY_EXPIRES] = {"expires", FROM(1), .complaint = "is not a valid queue expiry", .not_for = STREAM, .is_operator = true, .merge = MERGE_MIN},
    [POLICY_FEDERATION_UPSTREAM] = {"federation-upstream", CHECK_FEDERATION, .complaint = "is not a valid federation upstream name"},
    [POLICY_FEDERATION_UPSTREAM_PATTERN] = {"federation-upstream-pattern", CHECK_FEDERATION, .complaint = "is not a valid federation upstream pattern name"},
    [POLICY_FEDERATION_UPSTREAM_SET] = {"federation-upstream-set", CHECK_FEDERATION, .complaint = "is not a valid federation upstream set name"},
    [POLICY_HA_MODE] = {"ha-mode", CHECK_HA, .choices = "all|exactly|nodes", .complaint = "is not a valid ha-mode value", .not_for = QUORUM | STREAM, .is_operator = true, .merge = MERGE_HA_MODE},
    [POLICY_HA_PARAMS] = {"ha-params", CHECK_HA, .not_for = QUORUM | STREAM, .is_operator = true, .merge = MERGE_HA_PARAMS},
    [POLICY_HA_PROMOTE_ON_FAILURE] = {"ha-promote-on-failure", CHECK_HA, .choices = "always|when-synced", .not_for = QUORUM | STREAM},
    [POLICY_HA_PROMOTE_ON_SHUTDOWN] = {"ha-promote-on-shutdown", CHECK_HA, .choices = "always|when-synced", .not_for = QUORUM | STREAM},
    [POLICY_HA_SYNC_BATCH_SIZE] = {"ha-sync-batch-size", CHECK_HA, .not_for = 0},
    [POLICY_HA_SYNC_MODE] = {"ha-sync-mode", CHECK_HA, .choices = "manual|automatic", .not_for = QUORUM | STREAM, .is_operator = true},
    [POLICY_INITIAL_CLUSTER_SIZE] = {"initial-cluster-size", FROM(0), .complaint = "is not a valid cluster size", .not_for = CLASSIC | QUORUM},
    [POLICY_MAX_AGE] = {"max-age", CHECK_AGE, .complaint = "is not a valid max age", .not_for = CLASSIC | QUORUM},
    [POLICY_MAX_IN_MEMORY_BYTES] = {"max-in-memory-bytes", FROM(0), .complaint = "is not a valid maximum memory in bytes", .not_for = CLASSIC | STREAM, .is_operator = true, .merge = MERGE_MIN},
    [POLICY_MAX_IN_MEMORY_LENGTH] = {"max-in-memory-length", FROM(0), .complaint = "is not a valid maximum memory in bytes", .not_for = CLASSIC | STREAM, .is_operator = true, .merge = MERGE_MIN},
    [POLICY_MAX_LENGTH] = {"max-length", FROM(0), .complaint = "is not a valid maximum length", .not_for = STREAM, .is_operator = true, .merge = MERGE_MIN},
    [POLICY_MAX_LENGTH_BYTES] = {"max-length-bytes", FROM(0), .complaint = "is not a valid maximum length in bytes", .is_operator = true, .merge = MERGE_MIN},
    [POLICY_MEMBER_PLACEMENT_TAG] = {"member-placement-tag", CHECK_SOME_TEXT, .complaint = "is not a valid member-placement-tag value. Must be a non-empty string", .is_operator = true},
    [POLICY_MESSAGE_TTL] = {"message-ttl", FROM(0), .complaint = "is not a valid message TTL", .not_for = STREAM, .is_operator = true, .merge = MERGE_MIN},
    [POLICY_OVERFLOW] = {"overflow", CHECK_CHOICE, .choices = "drop-head|reject-publish|reject-publish-dlx", .complaint = "is not a valid overflow value", .not_for = STREAM, .is_operator = true},
    [POLICY_QUEUE_LEADER_LOCATOR] = {"queue-leader-locator", CHECK_CHOICE, .choices = "client-local|balanced|random|least-leaders",
     .complaint = "is not a valid queue leader locator value", .not_for = CLASSIC},
    [POLICY_QUEUE_MASTER_LOCATOR] = {"queue-master-locator", CHECK_CHOICE, .choices = "min-masters|client-local|random",
     .complaint = "invalid queue-master-locator value", .not_for = QUORUM | STREAM, .is_operator = true},
    [POLICY_QUEUE_MODE] = {"queue-mode", CHECK_CHOICE, .choices = "default|lazy", .complaint = "is not a valid queue-mode value", .not_for = QUORUM | STREAM},
    [POLICY_QUEUE_VERSION] = {"queue-version", CHECK_INTEGER, .min = 1, .max = 2, .complaint = "is not a valid queue-version value", .is_operator = true},
    [POLICY_ROUTING_KEY] = {"routing-key", CHECK_SHARDS, .not_for = 0},
    [POLICY_SHARDS_PER_NODE] = {"shards-per-node", CHECK_SHARDS, .not_for = 0},
    [POLICY_STREAM_FILTER_SIZE_BYTES] = {"stream-filter-size-bytes", CHECK_INTEGER, .min = 16, .max = 255, .complaint = "is not a valid filter size. Valid range is 16-255"},
    [POLICY_STREAM_MAX_SEGMENT_SIZE_BYTES] = {"stream-max-segment-size-bytes", CHECK_INTEGER, .min = 0, .max = 3000000000, .complaint = "is not a valid segment size", .not_for = CLASSIC | QUORUM},
    [POLICY_TARGET_GROUP_SIZE] = {"target-group-size", FROM(1), .complaint = "is not a valid qq target count value", .not_for = CLASSIC | STREAM, .is_operator = true, .merge = MERGE_MAX},
};
// clang-format on

static int
compare_name(const void *name, const void *info)
{
    return strcmp(name, ((const struct policy_key_info *)info)->name);
}

bool
policy_key_parse(const char *name, enum policy_key *ret_key)
{
    const struct policy_key_info *info =
        bsearch(name, policy_keys, POLICY_KEY_COUNT, sizeof *policy_keys, compare_name);
    if (info == NULL)
        return false;
    *ret_key = (enum policy_key)(info - policy_keys);
    return true;
}

// --- single values ------------------------------------------------------------------------------------------------------------

static bool
is_choice(const json_t *value, const char *choices)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text == NULL)
        return false;
    for (const char *at = choices;; at++) {
        const char *end = strchrnul(at, '|');
        if ((size_t)(end - at) == len && memcmp(at, text, len) == 0)
            return true;
        if (*end == '\0')
            return false;
        at = end;
    }
}

// "20m": a number that is not 0, and a unit.
static bool
is_age(const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        return false;
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && strspn(text, "0") < digits && text[digits] != '\0' &&
           strchr("YMDhms", text[digits]) != NULL && text[digits + 1] == '\0';
}

static bool
is_good(const struct policy_key_info *info, const json_t *value)
{
    switch (info->check) {
    case CHECK_INTEGER:
        return json_is_integer(value) && json_integer_value(value) >= info->min &&
               json_integer_value(value) <= info->max;
    case CHECK_TEXT: return json_is_string(value);
    case CHECK_SOME_TEXT: return json_string_length(value) > 0;
    case CHECK_CHOICE: return is_choice(value, info->choices);
    case CHECK_BOOL: return json_is_boolean(value);
    case CHECK_AGE: return is_age(value);
    case CHECK_HA:
    case CHECK_FEDERATION:
    case CHECK_SHARDS: break; // below
    }
    return true;
}

static bool
complain(struct buf *reason, const char *head, const json_t *value, const char *tail)
{
    buf_append_str(reason, head);
    if (value != NULL)
        json_put_erlang(reason, value);
    buf_append_str(reason, tail);
    return false;
}

static bool
complain_value(struct buf *reason, enum policy_key key, const json_t *value)
{
    json_put_erlang(reason, value);
    buf_append_u8(reason, ' ');
    buf_append_str(reason, policy_keys[key].complaint);
    return false;
}

// --- groups -------------------------------------------------------------------------------------------------------------------

static const json_t *
member(const json_t *definition, enum policy_key key)
{
    return json_object_get(definition, policy_keys[key].name);
}

static bool
check_delayed_retry(const json_t *definition, struct buf *reason)
{
    const json_t *type = member(definition, POLICY_DELAYED_RETRY_TYPE),
                 *min = member(definition, POLICY_DELAYED_RETRY_MIN),
                 *max = member(definition, POLICY_DELAYED_RETRY_MAX);
    if (type != NULL && min == NULL && strcmp(json_string_value(type), "disabled") != 0) {
        buf_printf(reason, "delayed-retry-min is required when delayed-retry-type is %s",
                   json_string_value(type));
        return false;
    }
    if (min != NULL && max != NULL && json_integer_value(max) < json_integer_value(min)) {
        buf_printf(reason,
                   "delayed-retry-max (%" JSON_INTEGER_FORMAT ") must not be smaller than delayed-retry-min "
                   "(%" JSON_INTEGER_FORMAT ")",
                   json_integer_value(max), json_integer_value(min));
        return false;
    }
    return true;
}

static bool
check_ha_nodes(const json_t *params, struct buf *reason)
{
    if (!json_is_array(params))
        return complain(reason,
                        params == NULL ? "ha-mode=\"nodes\" takes a list, none"
                                       : "ha-mode=\"nodes\" takes a list, ",
                        params, " given");
    if (json_array_size(params) == 0)
        return complain(reason, "ha-mode=\"nodes\" list must be non-empty", NULL, "");
    json_t *wrong = json_array();
    for (size_t i = 0; i < json_array_size(params); i++) {
        if (!json_is_string(json_array_get(params, i)))
            json_array_append(wrong, json_array_get(params, i));
    }
    bool has_wrong = json_array_size(wrong) > 0;
    if (has_wrong)
        complain(reason, "ha-mode=\"nodes\" takes a list of strings, ", wrong, " was not a string");
    json_decref(wrong);
    return !has_wrong;
}

static bool
check_ha_params(const char *mode, const json_t *params, struct buf *reason)
{
    if (strcmp(mode, "nodes") == 0)
        return check_ha_nodes(params, reason);
    if (strcmp(mode, "all") == 0)
        return params == NULL || complain(reason, "ha-mode=\"all\" does not take parameters", NULL, "");
    if (json_is_integer(params) && json_integer_value(params) > 0)
        return true;
    return complain(reason,
                    params == NULL ? "ha-mode=\"exactly\" takes an integer, none"
                                   : "ha-mode=\"exactly\" takes an integer, ",
                    params, " given");
}

static bool
check_ha_choice(enum policy_key key, const char *words, const json_t *definition, struct buf *reason)
{
    const json_t *value = member(definition, key);
    if (value == NULL || is_choice(value, policy_keys[key].choices))
        return true;
    buf_append_str(reason, policy_keys[key].name);
    return complain(reason, words, value, "");
}

static bool
check_ha(enum policy_kind kind, const json_t *definition, struct buf *reason)
{
    const json_t *mode = member(definition, POLICY_HA_MODE),
                 *batch = member(definition, POLICY_HA_SYNC_BATCH_SIZE);
    if (mode == NULL) {
        for (enum policy_key key = POLICY_HA_MODE; key <= POLICY_HA_SYNC_MODE; key++) {
            bool is_allowed = kind == POLICY_USER || policy_keys[key].is_operator;
            if (is_allowed && member(definition, key) != NULL)
                return complain(reason,
                                "ha-mode must be specified to specify ha-params, ha-sync-mode or "
                                "ha-promote-on-shutdown",
                                NULL, "");
        }
        return true;
    }
    if (!is_choice(mode, policy_keys[POLICY_HA_MODE].choices))
        return complain_value(reason, POLICY_HA_MODE, mode);
    if (!check_ha_params(json_string_value(mode), member(definition, POLICY_HA_PARAMS), reason) ||
        !check_ha_choice(POLICY_HA_SYNC_MODE, " must be \"manual\" or \"automatic\", got ", definition,
                         reason))
        return false;
    if (batch != NULL && !(json_is_integer(batch) && json_integer_value(batch) > 0))
        return complain(reason, "ha-sync-batch-size takes an integer greater than 0, ", batch, " given");
    static const char promote[] = " must be \"always\" or \"when-synced\", got ";
    return check_ha_choice(POLICY_HA_PROMOTE_ON_SHUTDOWN, promote, definition, reason) &&
           check_ha_choice(POLICY_HA_PROMOTE_ON_FAILURE, promote, definition, reason);
}

static bool
check_federation(const json_t *definition, struct buf *reason)
{
    const json_t *only = NULL;
    enum policy_key which = POLICY_FEDERATION_UPSTREAM;
    for (enum policy_key key = POLICY_FEDERATION_UPSTREAM; key <= POLICY_FEDERATION_UPSTREAM_SET; key++) {
        const json_t *value = member(definition, key);
        if (value != NULL && only != NULL)
            return complain(reason,
                            "cannot specify federation-upstream, federation-upstream-set or "
                            "federation-upstream-pattern together",
                            NULL, "");
        if (value != NULL) {
            only = value;
            which = key;
        }
    }
    if (only != NULL && !json_is_string(only))
        return complain_value(reason, which, only);
    if (only == NULL || which != POLICY_FEDERATION_UPSTREAM_PATTERN)
        return true;
    struct buf why = BUF_INIT;
    struct slice pattern = slice_of(json_string_value(only), json_string_length(only));
    void *code = policy_regex_compile(pattern, 0, &why);
    if (code == NULL)
        buf_printf(reason, "could not compile pattern %s to a regular expression. Error: %s",
                   json_string_value(only), buf_cstr(&why));
    policy_regex_free(code);
    buf_fini(&why);
    return code != NULL;
}

static bool
check_shards(const json_t *definition, struct buf *reason)
{
    const json_t *shards = member(definition, POLICY_SHARDS_PER_NODE),
                 *key = member(definition, POLICY_ROUTING_KEY);
    if (shards == NULL)
        return key == NULL || complain(reason, "shards-per-node must be specified", NULL, "");
    if (!json_is_number(shards))
        return complain(reason, "shards-per-node should be a number, actually was ", shards, "");
    if (json_number_value(shards) < 0)
        return complain(reason, "shards-per-node should be greater than 0, actually was ", shards, "");
    return key == NULL || json_is_string(key) ||
           complain(reason, "routing-key should be binary, actually was ", key, "");
}

// --- the whole ----------------------------------------------------------------------------------------------------------------

static bool
is_known(const char *name, enum policy_kind kind, enum policy_key *ret_key)
{
    return policy_key_parse(name, ret_key) && (kind == POLICY_USER || policy_keys[*ret_key].is_operator);
}

static bool
is_unknown(const char *name, void *ctx)
{
    enum policy_key key;
    return !is_known(name, *(const enum policy_kind *)ctx, &key);
}

static bool
check_known(enum policy_kind kind, const json_t *definition, struct buf *reason)
{
    struct buf unknown = BUF_INIT;
    size_t count = json_put_erlang_pairs(&unknown, definition, is_unknown, &kind);
    if (count > 0)
        buf_printf(reason, "%s are not recognised policy settings", buf_cstr(&unknown));
    buf_fini(&unknown);
    return count == 0;
}

static bool
check_values(enum policy_kind kind, const json_t *definition, struct buf *reason)
{
    for (enum policy_key key = 0; key < POLICY_KEY_COUNT; key++) {
        const json_t *value = member(definition, key);
        bool is_allowed = kind == POLICY_USER || policy_keys[key].is_operator;
        if (value != NULL && is_allowed && !is_good(&policy_keys[key], value))
            return complain_value(reason, key, value);
    }
    return true;
}

bool
policy_check_definition(enum policy_kind kind, struct slice name, const json_t *definition,
                        struct buf *reason)
{
    if (json_is_array(definition) && json_array_size(definition) > 0)
        return complain(reason, "definition must be a dictionary: ", definition, "");
    if (!json_is_object(definition) && !json_is_array(definition)) {
        buf_printf(reason, "parse error while reading policy %.*s: ", SLICE_FMT(name));
        return complain(reason, "", definition,
                        kind == POLICY_USER ? ". Validator: policy_validator."
                                            : ". Validator: operator_policy_validator.");
    }
    if (json_object_size(definition) == 0)
        return complain(reason, "no policy provided", NULL, "");
    if (!check_values(kind, definition, reason) || !check_delayed_retry(definition, reason))
        return false;
    // An operator policy knows a part of these groups; what it does not know is refused as unknown.
    if (!check_ha(kind, definition, reason))
        return false;
    if (kind == POLICY_USER && (!check_federation(definition, reason) || !check_shards(definition, reason)))
        return false;
    return check_known(kind, definition, reason);
}
