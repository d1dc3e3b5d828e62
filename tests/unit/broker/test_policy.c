// test_policy.c: policies by themselves: what is refused and with which text, which one is for an object, what two of them and a
// queue's arguments come to. Matching and merging run against a model written from RabbitMQ's rules, on random policies.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/broker/json_erlang.h"
#include "src/broker/queue_settings.h"

static uint64_t
seed_of(void)
{
    const char *text = getenv("LEVERET_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20261;
}

static struct policy *
make(enum policy_kind kind, const char *name, const char *json)
{
    struct policy *p = NULL;
    struct buf reason = BUF_INIT;
    struct policy_args args = {
        .kind = kind, .vhost = SLICE_LIT("/"), .name = slice_str(name), .json = slice_str(json)};
    if (policy_new(&args, &p, &reason) < 0)
        fail_msg("%s: %s", json, buf_cstr(&reason));
    assert_int_equal(reason.len, 0);
    buf_fini(&reason);
    return p;
}

static void
assert_refused_whole(enum policy_kind kind, const char *json, const char *text)
{
    struct policy *p = NULL;
    struct buf reason = BUF_INIT;
    struct policy_args args = {
        .kind = kind, .vhost = SLICE_LIT("/"), .name = SLICE_LIT("bad"), .json = slice_str(json)};
    assert_int_equal(policy_new(&args, &p, &reason), -LE_INVAL);
    assert_null(p);
    assert_string_equal(buf_cstr(&reason), text);
    buf_fini(&reason);
}

// A definition that is refused, with the line that says so.
static void
assert_refused(enum policy_kind kind, const char *definition, const char *line)
{
    struct buf json = BUF_INIT, text = BUF_INIT;
    buf_printf(&json, "{\"pattern\":\"a\",\"definition\":%s}", definition);
    buf_printf(&text, "Validation failed\n\n%s\n", line);
    assert_refused_whole(kind, buf_cstr(&json), buf_cstr(&text));
    buf_fini(&json);
    buf_fini(&text);
}

static void
assert_taken(enum policy_kind kind, const char *definition)
{
    struct buf json = BUF_INIT, shown = BUF_INIT;
    buf_printf(&json, "{\"pattern\":\"a\",\"definition\":%s}", definition);
    struct policy *p = make(kind, "good", buf_cstr(&json));
    policy_put_definition(&shown, p);
    assert_string_equal(buf_cstr(&shown), definition);
    policy_free(p);
    buf_fini(&json);
    buf_fini(&shown);
}

// --- texts --------------------------------------------------------------------------------------------------------------------

static const struct {
    const char *definition, *line;
} refused[] = {
    {"{\"nosuch\":1}", "[{<<\"nosuch\">>,1}] are not recognised policy settings"},
    {"{\"b\":[1,\"x\"],\"a\":{\"k\":null}}",
     "[{<<\"a\">>,#{<<\"k\">> => null}},{<<\"b\">>,[1,<<\"x\">>]}] are not recognised policy settings"},
    {"{\"max-priority\":5}", "[{<<\"max-priority\">>,5}] are not recognised policy settings"},
    {"{}", "no policy provided"},
    {"[]", "no policy provided"},
    {"[1]", "definition must be a dictionary: [1]"},
    {"5", "parse error while reading policy bad: 5. Validator: policy_validator."},
    {"{\"ha-mode\":\"some\"}", "<<\"some\">> is not a valid ha-mode value"},
    {"{\"ha-mode\":5}", "5 is not a valid ha-mode value"},
    {"{\"ha-mode\":\"exactly\"}", "ha-mode=\"exactly\" takes an integer, none given"},
    {"{\"ha-mode\":\"all\",\"ha-params\":2}", "ha-mode=\"all\" does not take parameters"},
    {"{\"ha-mode\":\"exactly\",\"ha-params\":0}", "ha-mode=\"exactly\" takes an integer, 0 given"},
    {"{\"ha-mode\":\"exactly\",\"ha-params\":\"2\"}",
     "ha-mode=\"exactly\" takes an integer, <<\"2\">> given"},
    {"{\"ha-mode\":\"nodes\",\"ha-params\":[]}", "ha-mode=\"nodes\" list must be non-empty"},
    {"{\"ha-mode\":\"nodes\",\"ha-params\":[1]}",
     "ha-mode=\"nodes\" takes a list of strings, [1] was not a string"},
    {"{\"ha-mode\":\"nodes\",\"ha-params\":[\"a\",65,66]}",
     "ha-mode=\"nodes\" takes a list of strings, \"AB\" was not a string"},
    {"{\"ha-mode\":\"nodes\"}", "ha-mode=\"nodes\" takes a list, none given"},
    {"{\"ha-mode\":\"nodes\",\"ha-params\":2}", "ha-mode=\"nodes\" takes a list, 2 given"},
    {"{\"ha-mode\":\"all\",\"ha-sync-mode\":\"x\"}",
     "ha-sync-mode must be \"manual\" or \"automatic\", got <<\"x\">>"},
    {"{\"ha-sync-mode\":\"automatic\"}",
     "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"},
    {"{\"ha-mode\":\"all\",\"ha-promote-on-shutdown\":\"x\"}",
     "ha-promote-on-shutdown must be \"always\" or \"when-synced\", got <<\"x\">>"},
    {"{\"ha-mode\":\"all\",\"ha-promote-on-failure\":true}",
     "ha-promote-on-failure must be \"always\" or \"when-synced\", got true"},
    {"{\"ha-mode\":\"all\",\"ha-sync-batch-size\":0}",
     "ha-sync-batch-size takes an integer greater than 0, 0 given"},
    {"{\"message-ttl\":-1}", "-1 is not a valid message TTL"},
    {"{\"message-ttl\":\"x\"}", "<<\"x\">> is not a valid message TTL"},
    {"{\"message-ttl\":1.5}", "1.5 is not a valid message TTL"},
    {"{\"overflow\":\"x\"}", "<<\"x\">> is not a valid overflow value"},
    {"{\"max-length\":-1}", "-1 is not a valid maximum length"},
    {"{\"max-length-bytes\":null}", "null is not a valid maximum length in bytes"},
    {"{\"expires\":0}", "0 is not a valid queue expiry"},
    {"{\"queue-mode\":\"x\"}", "<<\"x\">> is not a valid queue-mode value"},
    {"{\"queue-version\":3}", "3 is not a valid queue-version value"},
    {"{\"dead-letter-exchange\":5}", "5 is not a valid dead letter exchange name"},
    {"{\"dead-letter-routing-key\":{}}", "#{} is not a valid dead letter routing key"},
    {"{\"dead-letter-strategy\":\"x\"}", "<<\"x\">> is not a valid dead letter strategy"},
    {"{\"alternate-exchange\":5}", "5 is not a valid alternate exchange name"},
    {"{\"delivery-limit\":\"5\"}", "<<\"5\">> is not a valid delivery limit"},
    {"{\"consumer-timeout\":-1}", "-1 is not a valid consumer timeout"},
    {"{\"max-in-memory-length\":-1}", "-1 is not a valid maximum memory in bytes"},
    {"{\"max-age\":\"5x\"}", "<<\"5x\">> is not a valid max age"},
    {"{\"max-age\":\"0D\"}", "<<\"0D\">> is not a valid max age"},
    {"{\"max-age\":\"D\"}", "<<\"D\">> is not a valid max age"},
    {"{\"max-age\":\"5\"}", "<<\"5\">> is not a valid max age"},
    {"{\"max-age\":\"5DD\"}", "<<\"5DD\">> is not a valid max age"},
    {"{\"stream-filter-size-bytes\":15}", "15 is not a valid filter size. Valid range is 16-255"},
    {"{\"stream-max-segment-size-bytes\":3000000001}", "3000000001 is not a valid segment size"},
    {"{\"initial-cluster-size\":-1}", "-1 is not a valid cluster size"},
    {"{\"queue-leader-locator\":\"x\"}", "<<\"x\">> is not a valid queue leader locator value"},
    {"{\"queue-master-locator\":\"x\"}", "<<\"x\">> invalid queue-master-locator value"},
    {"{\"target-group-size\":0}", "0 is not a valid qq target count value"},
    {"{\"member-placement-tag\":\"\"}",
     "<<>> is not a valid member-placement-tag value. Must be a non-empty string"},
    {"{\"delayed-retry-type\":\"all\"}", "delayed-retry-min is required when delayed-retry-type is all"},
    {"{\"delayed-retry-min\":5,\"delayed-retry-max\":4}",
     "delayed-retry-max (4) must not be smaller than delayed-retry-min (5)"},
    {"{\"federation-upstream\":\"a\",\"federation-upstream-set\":\"b\"}",
     "cannot specify federation-upstream, federation-upstream-set or federation-upstream-pattern "
     "together"},
    {"{\"federation-upstream-set\":1}", "1 is not a valid federation upstream set name"},
    {"{\"federation-upstream-pattern\":\"(\"}",
     "could not compile pattern ( to a regular expression. Error: {\"missing closing parenthesis\",1}"},
    {"{\"routing-key\":\"a\"}", "shards-per-node must be specified"},
    {"{\"shards-per-node\":\"a\"}", "shards-per-node should be a number, actually was <<\"a\">>"},
    {"{\"shards-per-node\":-2}", "shards-per-node should be greater than 0, actually was -2"},
    {"{\"routing-key\":1,\"shards-per-node\":2}", "routing-key should be binary, actually was 1"},
    {"{\"delayed-message\":\"yes\"}", "<<\"yes\">> is not a valid delayed-message value"},
    {"{\"durability\":\"disk\"}", "<<\"disk\">> is not a valid durability value"},
    {"{\"message-ttl\":-1,\"nosuch\":2}", "-1 is not a valid message TTL"},
};

static void
test_refused_definitions(void **state)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(refused); i++)
        assert_refused(POLICY_USER, refused[i].definition, refused[i].line);
    assert_refused(POLICY_OPERATOR, "{\"dead-letter-exchange\":\"x\"}",
                   "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings");
    assert_refused(POLICY_OPERATOR, "{\"dead-letter-exchange\":1}",
                   "[{<<\"dead-letter-exchange\">>,1}] are not recognised policy settings");
    assert_refused(POLICY_OPERATOR, "{\"ha-promote-on-failure\":\"always\"}",
                   "[{<<\"ha-promote-on-failure\">>,<<\"always\">>}] are not recognised policy settings");
    assert_refused(POLICY_OPERATOR, "{\"ha-sync-mode\":\"manual\"}",
                   "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown");
    assert_refused(POLICY_OPERATOR, "\"x\"",
                   "parse error while reading policy bad: <<\"x\">>. Validator: operator_policy_validator.");
}

static void
test_refused_members(void **state)
{
    static const char rest[] = "Validation failed\n\n";
    struct buf text = BUF_INIT;
    assert_refused_whole(
        POLICY_USER, "{\"pattern\":\"[\",\"definition\":{\"max-length\":5}}",
        "Validation failed\n\npattern should be regular expression but is invalid: {\"missing terminating ] "
        "for character class\",\n                                                      1}\n");
    assert_refused_whole(POLICY_USER, "{\"pattern\":5,\"definition\":{\"max-length\":5}}",
                         "Validation failed\n\npattern should be a binary but was 5\n");
    assert_refused_whole(
        POLICY_USER, "{\"pattern\":\"\",\"definition\":{\"max-length\":5},\"apply-to\":\"x\"}",
        "Validation failed\n\napply-to 'x' unrecognised; should be one of: 'queues', 'classic_queues',  "
        "'quorum_queues', 'streams', 'exchanges', or 'all'\n");
    assert_refused_whole(POLICY_USER,
                         "{\"pattern\":\"\",\"definition\":{\"max-length\":5},\"priority\":\"x\"}",
                         "Validation failed\n\npriority should be a number, actually was <<\"x\">>\n");
    buf_printf(&text,
               "%sno policy provided\npattern should be a binary but was null\npriority should be a number, "
               "actually was true\n",
               rest);
    assert_refused_whole(POLICY_USER, "{\"pattern\":null,\"definition\":{},\"priority\":true}",
                         buf_cstr(&text));
    buf_reset(&text);
    buf_printf(&text,
               "%sUnrecognised terms [{<<\"x\">>,1}] in bad\nKey \"definition\" not found in bad\nKey "
               "\"pattern\" not found in bad\n",
               rest);
    assert_refused_whole(POLICY_USER, "{\"x\":1}", buf_cstr(&text));
    buf_fini(&text);
    struct buf reason = BUF_INIT;
    struct policy *p;
    static const char *const broken[] = {
        "", "{", "[]", "5", "{\"a\":1,\"a\":2}", "{\"pattern\":\"\\u0000\"}"};
    for (size_t i = 0; i < LV_ARRAY_LEN(broken); i++) {
        struct policy_args args = {.json = slice_str(broken[i])};
        assert_int_equal(policy_new(&args, &p, &reason), -LE_INVAL);
    }
    buf_fini(&reason);
}

static void
test_sizes(void **state)
{
    struct buf json = BUF_INIT, reason = BUF_INIT;
    struct policy *p;
    buf_append_str(&json, "{\"definition\":{\"max-length\":1},\"pattern\":\"");
    for (int i = 0; i < POLICY_PATTERN_MAX + 1; i++)
        buf_append_u8(&json, 'a');
    buf_append_str(&json, "\"}");
    struct policy_args args = {.json = buf_slice(&json)};
    assert_int_equal(policy_new(&args, &p, &reason), -LE_INVAL);
    assert_non_null(strstr(buf_cstr(&reason), "longer than 4096 bytes"));
    while (json.len <= POLICY_JSON_MAX)
        buf_append_u8(&json, ' ');
    args.json = buf_slice(&json);
    buf_reset(&reason);
    assert_int_equal(policy_new(&args, &p, &reason), -LE_INVAL);
    assert_non_null(strstr(buf_cstr(&reason), "at most 65536 bytes"));
    buf_fini(&json);
    buf_fini(&reason);
}

static void
test_taken(void **state)
{
    static const char *const all[] = {
        "{\"alternate-exchange\":\"\"}",
        "{\"consumer-disconnected-timeout\":0,\"consumer-timeout\":0}",
        "{\"dead-letter-exchange\":\"x\",\"dead-letter-routing-key\":\"k\",\"dead-letter-strategy\":\"at-"
        "least-once\"}",
        "{\"delayed-message\":true}",
        "{\"delayed-retry-max\":5,\"delayed-retry-min\":5,\"delayed-retry-type\":\"failed\"}",
        "{\"delivery-limit\":-1}",
        "{\"durability\":\"os\"}",
        "{\"expires\":1,\"max-length\":0,\"max-length-bytes\":0,\"message-ttl\":0,\"overflow\":\"reject-"
        "publish-dlx\"}",
        "{\"federation-upstream-pattern\":\"^a\"}",
        "{\"ha-mode\":\"exactly\",\"ha-params\":2,\"ha-promote-on-failure\":\"when-synced\",\"ha-promote-on-"
        "shutdown\":"
        "\"always\",\"ha-sync-batch-size\":50,\"ha-sync-mode\":\"automatic\"}",
        "{\"ha-mode\":\"nodes\",\"ha-params\":[\"rabbit@a\",\"rabbit@b\"]}",
        "{\"initial-cluster-size\":0,\"max-age\":\"7D\",\"stream-filter-size-bytes\":16,\"stream-max-segment-"
        "size-bytes\":"
        "3000000000}",
        "{\"max-in-memory-bytes\":0,\"max-in-memory-length\":0,\"target-group-size\":3}",
        "{\"queue-leader-locator\":\"balanced\",\"queue-master-locator\":\"min-masters\",\"queue-mode\":"
        "\"lazy\","
        "\"queue-version\":2}",
        "{\"routing-key\":\"k\",\"shards-per-node\":1.5}",
        "{\"member-placement-tag\":\"ssd\"}",
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++)
        assert_taken(POLICY_USER, all[i]);
    assert_taken(POLICY_OPERATOR,
                 "{\"delivery-limit\":3,\"expires\":1,\"ha-mode\":\"all\",\"max-length\":1,\"overflow\":"
                 "\"drop-head\",\"queue-version\":1}");
}

// All texts that mean the same policy are kept as one.
static void
test_one_way_of_writing(void **state)
{
    struct buf shown = BUF_INIT;
    struct policy *p = make(POLICY_USER, "p\"1",
                            " {\"priority\" : 3, \"definition\": {\"message-ttl\":5, \"expires\":\t7}, "
                            "\"pattern\":\"^\\u0071\"}");
    policy_put_value(&shown, p);
    assert_string_equal(buf_cstr(&shown), "{\"pattern\":\"^q\",\"definition\":{\"expires\":7,\"message-ttl\":"
                                          "5},\"priority\":3,\"apply-to\":\"all\"}");
    struct policy *again = make(POLICY_USER, "p", buf_cstr(&shown));
    struct buf second = BUF_INIT;
    policy_put_value(&second, again);
    assert_string_equal(buf_cstr(&shown), buf_cstr(&second));
    buf_reset(&shown);
    policy_put_json(&shown, p);
    assert_string_equal(buf_cstr(&shown),
                        "{\"vhost\":\"/\",\"name\":\"p\\\"1\",\"pattern\":\"^q\",\"apply-to\":\"all\","
                        "\"definition\":{\"expires\":7,\"message-ttl\":5},\"priority\":3}");
    policy_free(p);
    policy_free(again);
    buf_fini(&shown);
    buf_fini(&second);
}

// --- the model ----------------------------------------------------------------------------------------------------------------

static bool
has_a(const char *n)
{
    return strchr(n, 'a') != NULL;
}
static bool
begins_b(const char *n)
{
    return n[0] == 'b';
}
static bool
ends_c(const char *n)
{
    return n[0] != '\0' && n[strlen(n) - 1] == 'c';
}
static bool
is_empty(const char *n)
{
    return n[0] == '\0';
}
static bool
always(const char *n)
{
    return true;
}
static bool
is_dot(const char *n)
{
    return strcmp(n, ".") == 0;
}

static const struct {
    const char *pattern;
    bool (*matches)(const char *name);
} patterns[] = {{"a", has_a},     {"^b", begins_b}, {"c$", ends_c},
                {"^$", is_empty}, {"", always},     {"^\\.$", is_dot}};

// RabbitMQ's lists of what a type of queue does not know, by name.
static const char *const foreign[][24] = {
    [POLICY_CLASSIC] = {"max-age", "stream-max-segment-size-bytes", "queue-leader-locator",
                        "initial-cluster-size", "delivery-limit", "dead-letter-strategy",
                        "max-in-memory-length", "max-in-memory-bytes", "target-group-size"},
    [POLICY_QUORUM] = {"queue-mode", "ha-mode", "ha-params", "ha-sync-mode", "ha-promote-on-shutdown",
                       "ha-promote-on-failure", "queue-master-locator", "max-age",
                       "stream-max-segment-size-bytes", "initial-cluster-size"},
    [POLICY_STREAM] = {"expires", "message-ttl", "dead-letter-exchange", "dead-letter-routing-key",
                       "max-length", "max-in-memory-length", "max-in-memory-bytes", "overflow", "queue-mode",
                       "delivery-limit", "ha-mode", "ha-params", "ha-sync-mode", "ha-promote-on-shutdown",
                       "ha-promote-on-failure", "queue-master-locator", "dead-letter-strategy",
                       "target-group-size", "durability"},
};

static const struct {
    const char *key, *merge;
    bool is_operator;
    const char *values[4];
} samples[] = {
    {"message-ttl", "min", true, {"0", "5", "7", "60000"}},
    {"expires", "min", true, {"1", "5", "7", "60000"}},
    {"max-length", "min", true, {"0", "5", "7", "60000"}},
    {"max-length-bytes", "min", true, {"0", "5", "7", "60000"}},
    {"max-in-memory-length", "min", true, {"0", "5", "7", "60000"}},
    {"delivery-limit", "delivery", true, {"-1", "5", "-7", "20"}},
    {"target-group-size", "max", true, {"1", "5", "7", "3"}},
    {"overflow",
     "op",
     true,
     {"\"drop-head\"", "\"reject-publish\"", "\"drop-head\"", "\"reject-publish-dlx\""}},
    {"queue-version", "op", true, {"1", "2", "1", "2"}},
    {"dead-letter-exchange", "op", false, {"\"\"", "\"d\"", "\"e\"", "\"f\""}},
    {"dead-letter-strategy",
     "op",
     false,
     {"\"at-least-once\"", "\"at-most-once\"", "\"at-least-once\"", "\"at-most-once\""}},
    {"queue-mode", "op", false, {"\"lazy\"", "\"default\"", "\"lazy\"", "\"default\""}},
    {"consumer-timeout", "op", false, {"0", "1000", "2000", "3000"}},
    {"alternate-exchange", "op", false, {"\"\"", "\"d\"", "\"e\"", "\"f\""}},
    {"max-age", "op", false, {"\"1D\"", "\"2D\"", "\"3h\"", "\"4m\""}},
    {"queue-master-locator", "op", true, {"\"random\"", "\"min-masters\"", "\"random\"", "\"client-local\""}},
    {"durability", "op", false, {"\"os\"", "\"fsync\"", "\"memory\"", "\"os\""}},
};

static const char *const ha_samples[] = {
    "\"ha-mode\":\"all\"",
    "\"ha-mode\":\"exactly\",\"ha-params\":2",
    "\"ha-mode\":\"exactly\",\"ha-params\":5,\"ha-sync-mode\":\"manual\"",
    "\"ha-mode\":\"nodes\",\"ha-params\":[\"a\",\"b\"]",
    "\"ha-mode\":\"nodes\",\"ha-params\":[\"c\"],\"ha-sync-mode\":\"automatic\"",
    "\"ha-mode\":\"nodes\",\"ha-params\":[\"d\",\"e\"]"};

static const char *const apply_tos[] = {"all",           "queues", "exchanges", "classic_queues",
                                        "quorum_queues", "streams"};

struct model_policy {
    struct policy *real;
    size_t pattern, apply_to;
    double priority;
    char name[8];
    json_t *definition;
};

static bool
model_applies(const struct model_policy *p, enum policy_object object, const char *name)
{
    static const char *const own[] = {"exchanges", "classic_queues", "quorum_queues", "streams"};
    const char *to = apply_tos[p->apply_to];
    if (strcmp(to, "all") != 0 && strcmp(to, own[object]) != 0 &&
        !(strcmp(to, "queues") == 0 && object != POLICY_EXCHANGE))
        return false;
    for (size_t i = 0; object != POLICY_EXCHANGE && i < 24 && foreign[object][i] != NULL; i++) {
        const char *key = foreign[object][i];
        bool is_ours = strcmp(to, "classic_queues") == 0 &&
                       (strcmp(key, "delivery-limit") == 0 || strcmp(key, "dead-letter-strategy") == 0);
        if (!is_ours && json_object_get(p->definition, key) != NULL)
            return false;
    }
    return patterns[p->pattern].matches(name);
}

static const struct model_policy *
model_match(const struct model_policy *all, size_t count, enum policy_object object, const char *name)
{
    const struct model_policy *best = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!model_applies(&all[i], object, name))
            continue;
        if (best == NULL || all[i].priority > best->priority ||
            (all[i].priority == best->priority && strcmp(all[i].name, best->name) < 0))
            best = &all[i];
    }
    return best;
}

static json_t *
model_merge(const char *key, json_t *user, json_t *op)
{
    json_int_t a = json_integer_value(user), b = json_integer_value(op);
    if (strcmp(key, "ha-mode") == 0) {
        static const char *const strong[] = {"all", "exactly", "nodes"};
        for (int i = 0; i < 3; i++) {
            if (strcmp(json_string_value(op), strong[i]) == 0)
                return op;
            if (strcmp(json_string_value(user), strong[i]) == 0)
                return user;
        }
    }
    if (strcmp(key, "ha-params") == 0) {
        if (json_is_integer(user) != json_is_integer(op))
            return json_is_integer(user) ? user : op;
        return json_is_integer(user)                         ? (a > b ? user : op)
               : json_array_size(user) > json_array_size(op) ? user
                                                             : op;
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(samples); i++) {
        if (strcmp(key, samples[i].key) != 0 || strcmp(samples[i].merge, "op") == 0)
            continue;
        bool takes_max = strcmp(samples[i].merge, "max") == 0 ||
                         (strcmp(samples[i].merge, "delivery") == 0 && (a < 0 || b < 0));
        return (a > b) == takes_max ? user : op;
    }
    return op;
}

static json_t *
model_effective(const struct model_policy *user, const struct model_policy *op)
{
    json_t *result = json_object(), *value;
    const char *key;
    if (user != NULL)
        json_object_update(result, user->definition);
    if (op == NULL)
        return result;
    json_object_foreach(op->definition, key, value)
    {
        json_t *mine = json_object_get(result, key);
        json_object_set(result, key, mine == NULL ? value : model_merge(key, mine, value));
    }
    return result;
}

static void
random_definition(struct rng *rng, enum policy_kind kind, struct buf *out)
{
    uint32_t wanted = 1 + (uint32_t)rng_below(rng, 3);
    bool has_any = false;
    buf_append_u8(out, '{');
    for (size_t i = 0; i < LV_ARRAY_LEN(samples) && wanted > 0; i++) {
        size_t at = (size_t)rng_below(rng, LV_ARRAY_LEN(samples));
        char key[64];
        snprintf(key, sizeof key, "\"%s\":", samples[at].key);
        buf_cstr(out);
        if ((kind == POLICY_OPERATOR && !samples[at].is_operator) || strstr(buf_cstr(out), key) != NULL)
            continue;
        buf_printf(out, "%s%s%s", has_any ? "," : "", key, samples[at].values[rng_below(rng, 4)]);
        has_any = true;
        wanted--;
    }
    if (!has_any || rng_below(rng, 4) == 0)
        buf_printf(out, "%s%s", has_any ? "," : "", ha_samples[rng_below(rng, LV_ARRAY_LEN(ha_samples))]);
    buf_append_u8(out, '}');
}

static struct model_policy
random_policy(struct rng *rng, enum policy_kind kind, size_t number)
{
    static const char *const priorities[] = {"-1", "0", "0", "1", "1.5"};
    struct buf json = BUF_INIT, definition = BUF_INIT;
    struct model_policy p = {.pattern = (size_t)rng_below(rng, LV_ARRAY_LEN(patterns)),
                             .apply_to = (size_t)rng_below(rng, 3 + 3 * rng_below(rng, 2))};
    const char *priority = priorities[rng_below(rng, LV_ARRAY_LEN(priorities))];
    random_definition(rng, kind, &definition);
    snprintf(p.name, sizeof p.name, "p%zu", number * 7 % 10);
    p.priority = strtod(priority, NULL);
    p.definition = json_loads(buf_cstr(&definition), 0, NULL);
    assert_non_null(p.definition);
    json_t *pattern = json_string(patterns[p.pattern].pattern);
    char *quoted = json_dumps(pattern, JSON_ENCODE_ANY);
    buf_printf(&json, "{\"pattern\":%s,\"apply-to\":\"%s\",\"priority\":%s,\"definition\":%s}", quoted,
               apply_tos[p.apply_to], priority, buf_cstr(&definition));
    p.real = make(kind, p.name, buf_cstr(&json));
    free(quoted);
    json_decref(pattern);
    buf_fini(&json);
    buf_fini(&definition);
    return p;
}

enum { MODEL_MAX = 8, MODEL_ROUNDS = 3000 };

struct model {
    struct model_policy all[POLICY_KINDS][MODEL_MAX];
    size_t count[POLICY_KINDS];
    struct policy_list *lists[POLICY_KINDS];
};

static void
model_init(struct model *m, struct rng *rng)
{
    *m = (struct model){0};
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        m->count[kind] = (size_t)rng_below(rng, MODEL_MAX);
        for (size_t i = 0; i < m->count[kind]; i++) {
            m->all[kind][i] = random_policy(rng, (enum policy_kind)kind, i);
            struct policy_list *old = m->lists[kind];
            m->lists[kind] = policy_list_with(old, NULL, m->all[kind][i].real);
            mem_free(old);
        }
        // One is taken out and put back: the list is as before.
        if (m->count[kind] > 0) {
            const struct policy *p = m->all[kind][rng_below(rng, m->count[kind])].real;
            struct policy_list *less = policy_list_with(m->lists[kind], p, NULL);
            assert_null(policy_list_find(less, p->name));
            struct policy_list *again = policy_list_with(less, NULL, p);
            assert_int_equal(again->count, m->lists[kind]->count);
            assert_memory_equal(again->items, m->lists[kind]->items, again->count * sizeof(void *));
            assert_ptr_equal(policy_list_find(again, p->name), p);
            mem_free(less);
            mem_free(again);
        }
    }
}

static void
model_fini(struct model *m)
{
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        mem_free(m->lists[kind]);
        for (size_t i = 0; i < m->count[kind]; i++) {
            policy_free(m->all[kind][i].real);
            json_decref(m->all[kind][i].definition);
        }
    }
}

static void
random_name(struct rng *rng, char name[8])
{
    size_t len = (size_t)rng_below(rng, 5);
    for (size_t i = 0; i < len; i++)
        name[i] = "abc."[rng_below(rng, 4)];
    name[len] = '\0';
}

static void
test_model(void **state)
{
    struct rng rng;
    struct policy_matcher *matcher = policy_matcher_new();
    size_t matched = 0, merged = 0;
    rng_init(&rng, seed_of());
    for (int round = 0; round < MODEL_ROUNDS; round++) {
        struct model m;
        model_init(&m, &rng);
        for (int i = 0; i < 8; i++) {
            char name[8];
            random_name(&rng, name);
            enum policy_object object = (enum policy_object)rng_below(&rng, 4);
            const struct model_policy *user = model_match(m.all[0], m.count[0], object, name),
                                      *op = model_match(m.all[1], m.count[1], object, name);
            const struct policy_list *const lists[] = {m.lists[0], m.lists[1]};
            struct policy_pair pair = policy_match(lists, matcher, object, slice_str(name));
            assert_ptr_equal(pair.of[POLICY_USER], user != NULL ? user->real : NULL);
            assert_ptr_equal(pair.of[POLICY_OPERATOR], op != NULL ? op->real : NULL);
            struct buf shown = BUF_INIT;
            policy_effective_put(&shown, &pair);
            json_t *want = model_effective(user, op), *got = json_loads(buf_cstr(&shown), 0, NULL);
            if (!json_equal(want, got))
                fail_msg("seed %llu, round %d, name '%s': %s is not %s", (unsigned long long)seed_of(), round,
                         name, buf_cstr(&shown), json_dumps(want, JSON_SORT_KEYS));
            matched += user != NULL || op != NULL;
            merged += user != NULL && op != NULL;
            json_decref(want);
            json_decref(got);
            buf_fini(&shown);
        }
        model_fini(&m);
    }
    print_message("%d lists, %zu objects with a policy, %zu with two\n", MODEL_ROUNDS, matched, merged);
    assert_true(matched > 5000 && merged > 1000);
    assert_true(policy_matcher_tries(matcher) > 0);
    policy_matcher_free(matcher);
}

// A pattern that takes too long does not match, and does not take long.
static void
test_match_limit(void **state)
{
    struct policy *p =
        make(POLICY_USER, "slow", "{\"pattern\":\"^(a+)+$\",\"definition\":{\"max-length\":1}}");
    struct policy_list *l = policy_list_with(NULL, NULL, p);
    struct policy_matcher *m = policy_matcher_new();
    char name[200];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '!';
    const struct policy_list *const lists[] = {l, NULL};
    struct policy_pair pair = policy_match(lists, m, POLICY_CLASSIC, slice_of(name, sizeof name));
    assert_null(pair.of[POLICY_USER]);
    pair = policy_match(lists, m, POLICY_CLASSIC, slice_of(name, sizeof name - 1));
    assert_ptr_equal(pair.of[POLICY_USER], p);
    policy_matcher_free(m);
    mem_free(l);
    policy_free(p);
}

// --- with arguments -----------------------------------------------------------------------------------------------------------

static struct queue_rules
rules_of(enum queue_type type, struct buf *arguments, const char *user, const char *op)
{
    struct queue_def def = {.type = type, .arguments = buf_slice(arguments), .name = SLICE_LIT("q")};
    struct policy *p[POLICY_KINDS] = {NULL, NULL};
    const char *const definitions[] = {user, op};
    struct queue_rules *rules;
    struct policy_pair pair;
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        struct buf json = BUF_INIT;
        buf_printf(&json, "{\"pattern\":\"\",\"definition\":%s}",
                   definitions[kind] != NULL ? definitions[kind] : "");
        if (definitions[kind] != NULL)
            p[kind] = make((enum policy_kind)kind, kind == 0 ? "user" : "op", buf_cstr(&json));
        pair.of[kind] = p[kind];
        buf_fini(&json);
    }
    rules = queue_settings_rules(&def, &pair);
    struct queue_rules copy = rules != NULL ? *rules : queue_rules_none;
    // Texts are compared by their first byte: the block they are in goes.
    static char texts[4][8];
    struct slice *const slices[] = {&copy.dead_exchange, &copy.dead_key, &copy.policy, &copy.operator_policy};
    for (size_t i = 0; i < LV_ARRAY_LEN(slices); i++) {
        assert_true(slices[i]->len < sizeof texts[i]);
        if (slices[i]->len > 0)
            memcpy(texts[i], slices[i]->ptr, slices[i]->len);
        *slices[i] = slice_of(texts[i], slices[i]->len);
    }
    mem_free(rules);
    for (int kind = 0; kind < POLICY_KINDS; kind++)
        policy_free(p[kind]);
    return copy;
}

static void
test_arguments(void **state)
{
    struct buf none = BUF_INIT, some = BUF_INIT;
    struct table_writer w = table_writer_of(&some);
    table_put_i64(&w, SLICE_LIT("x-max-length"), 10);
    table_put_i64(&w, SLICE_LIT("x-message-ttl"), 1000);
    table_put_longstr(&w, SLICE_LIT("x-overflow"), SLICE_LIT("reject-publish"));
    table_put_longstr(&w, SLICE_LIT("x-dead-letter-exchange"), SLICE_LIT("mine"));
    table_put_longstr(&w, SLICE_LIT("x-durability"), SLICE_LIT("os"));

    struct queue_rules r = rules_of(QUEUE_CLASSIC, &none, NULL, NULL);
    assert_true(queue_rules_equal(&r, &queue_rules_none));
    r = rules_of(QUEUE_CLASSIC, &none, "{\"ha-mode\":\"all\"}", NULL);
    assert_true(queue_rules_equal(&r, &queue_rules_none));

    r = rules_of(
        QUEUE_CLASSIC, &some,
        "{\"max-length\":5,\"message-ttl\":5000,\"overflow\":\"drop-head\",\"dead-letter-exchange\":\"his\","
        "\"dead-letter-routing-key\":\"k\",\"durability\":\"memory\",\"expires\":9}",
        "{\"message-ttl\":7000,\"max-length-bytes\":3}");
    assert_int_equal(r.max_length, 5);
    assert_int_equal(r.message_ttl_ms, 1000);
    assert_int_equal(r.max_length_bytes, 3);
    assert_int_equal(r.expires_ms, 9);
    assert_int_equal(r.overflow, OVERFLOW_REJECT_PUBLISH);
    assert_int_equal(r.durability, RULE_DURABILITY_DECLARED);
    assert_true(slice_eq_str(r.dead_exchange, "mine") && slice_eq_str(r.dead_key, "k"));
    assert_true(slice_eq_str(r.policy, "user") && slice_eq_str(r.operator_policy, "op"));

    // An operator cannot take away a smaller limit, and goes before the policy where there is no smaller.
    r = rules_of(QUEUE_CLASSIC, &none, "{\"message-ttl\":5,\"overflow\":\"drop-head\"}",
                 "{\"message-ttl\":7,\"overflow\":\"reject-publish\"}");
    assert_int_equal(r.message_ttl_ms, 5);
    assert_int_equal(r.overflow, OVERFLOW_REJECT_PUBLISH);
    r = rules_of(QUEUE_CLASSIC, &none, "{\"durability\":\"memory\",\"consumer-timeout\":0}", NULL);
    assert_int_equal(r.durability, RULE_DURABILITY_MEMORY);
    assert_int_equal(r.consumer_timeout_ms, 0);
    assert_int_equal(r.operator_policy.len, 0);
    buf_fini(&some);
}

// Quorum queues have a delivery limit of 20 unless somebody says another one; a negative one is none.
static void
test_delivery_limit(void **state)
{
    static const struct {
        int64_t argument; // INT64_MIN: none
        const char *user, *op;
        uint64_t limit;
    } cases[] = {
        {INT64_MIN, NULL, NULL, QUORUM_DELIVERY_LIMIT},
        {INT64_MIN, "{\"delivery-limit\":50}", NULL, 50},
        {INT64_MIN, "{\"delivery-limit\":-1}", NULL, RULE_NONE},
        {INT64_MIN, "{\"delivery-limit\":-1}", "{\"delivery-limit\":4}", 4},
        {INT64_MIN, "{\"delivery-limit\":3}", "{\"delivery-limit\":4}", 3},
        {-1, NULL, NULL, RULE_NONE},
        {-1, "{\"delivery-limit\":6}", NULL, 6},
        {30, "{\"delivery-limit\":-6}", NULL, 30},
        {30, "{\"delivery-limit\":40}", "{\"delivery-limit\":-4}", 30},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct buf arguments = BUF_INIT;
        struct table_writer w = table_writer_of(&arguments);
        if (cases[i].argument != INT64_MIN)
            table_put_i64(&w, SLICE_LIT("x-delivery-limit"), cases[i].argument);
        struct queue_rules r = rules_of(QUEUE_QUORUM, &arguments, cases[i].user, cases[i].op);
        assert_int_equal(r.delivery_limit, cases[i].limit);
        buf_fini(&arguments);
    }
}

static void
test_consumer_timeout(void **state)
{
    static const struct {
        int64_t argument;
        const char *user;
        uint64_t timeout;
    } cases[] = {{-5, "{\"expires\":1}", RULE_NONE}, {-5, "{\"consumer-timeout\":7}", 7},
                 {9, "{\"consumer-timeout\":7}", 7}, {9, "{\"consumer-timeout\":0}", 9},
                 {0, "{\"consumer-timeout\":7}", 7}, {0, "{\"expires\":1}", 0}};
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct buf arguments = BUF_INIT;
        struct table_writer w = table_writer_of(&arguments);
        table_put_i64(&w, SLICE_LIT("x-consumer-timeout"), cases[i].argument);
        struct queue_rules r = rules_of(QUEUE_CLASSIC, &arguments, cases[i].user, NULL);
        assert_int_equal(r.consumer_timeout_ms, cases[i].timeout);
        buf_fini(&arguments);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_definitions),
        cmocka_unit_test(test_refused_members),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_one_way_of_writing),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_match_limit),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_delivery_limit),
        cmocka_unit_test(test_consumer_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
