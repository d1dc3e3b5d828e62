// parameter_rules.c: see parameter_rules.h. Rules are tables of keys: RabbitMQ's of federation and of shovels.
#include "src/management/parameter_rules.h"

#include <stdio.h>

#include "src/broker/json_erlang.h"

enum rule_kind {
    RULE_TEXT,
    RULE_NUMBER,
    RULE_BOOL,
    RULE_ACK_MODE,
    RULE_CLEANUP_MODE,
    RULE_CHANNEL_MODE,
    RULE_URIS,
    RULE_DELETE_AFTER,
    RULE_OBJECT,
    RULE_ANY,
};

struct rule {
    const char *key;
    enum rule_kind kind;
    bool is_needed;
};

// What an upstream may say, and a member of an upstream set.
#define LINK_RULES                                                                                           \
    {"exchange", RULE_TEXT, false}, {"queue", RULE_TEXT, false}, {"consumer-tag", RULE_TEXT, false},         \
        {"prefetch-count", RULE_NUMBER, false}, {"reconnect-delay", RULE_NUMBER, false},                     \
        {"max-hops", RULE_NUMBER, false}, {"expires", RULE_NUMBER, false},                                   \
        {"message-ttl", RULE_NUMBER, false}, {"trust-user-id", RULE_BOOL, false},                            \
        {"ack-mode", RULE_ACK_MODE, false}, {"resource-cleanup-mode", RULE_CLEANUP_MODE, false},             \
        {"channel-use-mode", RULE_CHANNEL_MODE, false}, {"queue-type", RULE_TEXT, false},                    \
        {"ha-policy", RULE_TEXT, false},                                                                     \
    {                                                                                                        \
        "bind-nowait", RULE_BOOL, false                                                                      \
    }

static const struct rule upstream_rules[] = {{"uri", RULE_URIS, true}, LINK_RULES, {NULL, RULE_ANY, false}};
static const struct rule set_rules[] = {{"upstream", RULE_TEXT, true}, LINK_RULES, {NULL, RULE_ANY, false}};

static const struct rule shovel_rules[] = {
    {"ack-mode", RULE_ACK_MODE, false},
    {"add-forward-headers", RULE_BOOL, false},
    {"add-timestamp-header", RULE_BOOL, false},
    {"delete-after", RULE_DELETE_AFTER, false},
    {"internal", RULE_BOOL, false},
    {"internal_owner", RULE_ANY, false},
    {"prefetch-count", RULE_NUMBER, false},
    {"publish-properties", RULE_OBJECT, false},
    {"reconnect-delay", RULE_NUMBER, false},
    {"dest-protocol", RULE_TEXT, false},
    {"src-protocol", RULE_TEXT, false},
    {NULL, RULE_ANY, false},
};

static const struct rule source_091_rules[] = {
    {"src-consumer-args", RULE_OBJECT, false},
    {"src-delete-after", RULE_DELETE_AFTER, false},
    {"src-exchange", RULE_TEXT, false},
    {"src-exchange-key", RULE_TEXT, false},
    {"src-prefetch-count", RULE_NUMBER, false},
    {"src-predeclared", RULE_BOOL, false},
    {"src-queue", RULE_TEXT, false},
    {"src-queue-args", RULE_OBJECT, false},
    {"src-uri", RULE_URIS, true},
    {NULL, RULE_ANY, false},
};

static const struct rule source_10_rules[] = {
    {"src-address", RULE_TEXT, true},
    {"src-delete-after", RULE_DELETE_AFTER, false},
    {"src-prefetch-count", RULE_NUMBER, false},
    {"src-uri", RULE_URIS, true},
    {NULL, RULE_ANY, false},
};

static const struct rule destination_091_rules[] = {
    {"dest-add-forward-headers", RULE_BOOL, false},
    {"dest-add-timestamp-header", RULE_BOOL, false},
    {"dest-exchange", RULE_TEXT, false},
    {"dest-exchange-key", RULE_TEXT, false},
    {"dest-predeclared", RULE_BOOL, false},
    {"dest-publish-properties", RULE_OBJECT, false},
    {"dest-queue", RULE_TEXT, false},
    {"dest-queue-args", RULE_OBJECT, false},
    {"dest-uri", RULE_URIS, true},
    {NULL, RULE_ANY, false},
};

static const struct rule destination_10_rules[] = {
    {"dest-add-forward-headers", RULE_BOOL, false},
    {"dest-add-timestamp-header", RULE_BOOL, false},
    {"dest-address", RULE_TEXT, true},
    {"dest-application-properties", RULE_OBJECT, false},
    {"dest-message-annotations", RULE_OBJECT, false},
    {"dest-properties", RULE_OBJECT, false},
    {"dest-uri", RULE_URIS, true},
    {NULL, RULE_ANY, false},
};

enum parameter_component
parameter_component_of(struct slice component)
{
    static const struct {
        const char *name;
        enum parameter_component component;
    } all[] = {{"federation-upstream", PARAMETER_KEPT},
               {"federation-upstream-set", PARAMETER_KEPT},
               {"shovel", PARAMETER_KEPT},
               {"vhost-limits", PARAMETER_VHOST_LIMITS},
               {"operator_policy", PARAMETER_OPERATOR_POLICY},
               {"policy", PARAMETER_POLICY}};
    for (size_t i = 0; i < LV_ARRAY_LEN(all); i++) {
        if (slice_eq_str(component, all[i].name))
            return all[i].component;
    }
    return PARAMETER_UNKNOWN;
}

// --- single values --------------------------------------------------------------------------------------------------------------

static void
say_should(struct buf *reason, const char *key, const char *what, const json_t *value)
{
    buf_printf(reason, "%s should be %s, actually was ", key, what);
    json_put_erlang(reason, value);
    buf_append_u8(reason, '\n');
}

static void
check_choice(struct buf *reason, const char *key, const json_t *value, const char *const *choices)
{
    if (!json_is_string(value)) {
        say_should(reason, key, "binary", value);
        return;
    }
    for (size_t i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], json_string_value(value)) == 0)
            return;
    }
    buf_printf(reason, "%s should be one of [", key);
    for (size_t i = 0; choices[i] != NULL; i++)
        buf_printf(reason, "%s<<\"%s\">>", i > 0 ? "," : "", choices[i]);
    buf_append_str(reason, "], actually was ");
    json_put_erlang(reason, value);
    buf_append_u8(reason, '\n');
}

// The URI itself is not shown: it may hold a password.
static void
check_uri(struct buf *reason, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        buf_printf(reason, "%s should be a URI or a list of URIs\n", key);
    else if (strncmp(text, "amqp://", 7) != 0 && strncmp(text, "amqps://", 8) != 0 &&
             strcmp(text, "amqp:") != 0 && strcmp(text, "amqps:") != 0)
        buf_printf(reason, "%s is not a valid URI: its scheme must be amqp or amqps\n", key);
}

static void
check_uris(struct buf *reason, const char *key, const json_t *value)
{
    if (!json_is_array(value)) {
        check_uri(reason, key, value);
        return;
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        check_uri(reason, key, json_array_get(value, i));
}

static void
check_delete_after(struct buf *reason, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if ((json_is_integer(value) && json_integer_value(value) >= 0) ||
        (text != NULL && (strcmp(text, "never") == 0 || strcmp(text, "queue-length") == 0)))
        return;
    say_should(reason, key, "a number greater than or equal to 0, \"never\" or \"queue-length\"", value);
}

static void
check_value(struct buf *reason, const struct rule *rule, const json_t *value)
{
    static const char *const ack_modes[] = {"no-ack", "on-publish", "on-confirm", NULL};
    static const char *const cleanup_modes[] = {"default", "never", NULL};
    static const char *const channel_modes[] = {"multiple", "single", NULL};
    switch (rule->kind) {
    case RULE_TEXT:
        if (!json_is_string(value))
            say_should(reason, rule->key, "binary", value);
        break;
    case RULE_NUMBER:
        if (!json_is_number(value))
            say_should(reason, rule->key, "a number", value);
        break;
    case RULE_BOOL:
        if (!json_is_boolean(value))
            say_should(reason, rule->key, "boolean", value);
        break;
    case RULE_ACK_MODE: check_choice(reason, rule->key, value, ack_modes); break;
    case RULE_CLEANUP_MODE: check_choice(reason, rule->key, value, cleanup_modes); break;
    case RULE_CHANNEL_MODE: check_choice(reason, rule->key, value, channel_modes); break;
    case RULE_URIS: check_uris(reason, rule->key, value); break;
    case RULE_DELETE_AFTER: check_delete_after(reason, rule->key, value); break;
    case RULE_OBJECT:
        if (!json_is_object(value) && (!json_is_array(value) || json_array_size(value) > 0))
            buf_printf(reason, "%s not a list\n", rule->key);
        break;
    case RULE_ANY: break;
    }
}

// --- objects --------------------------------------------------------------------------------------------------------------------

static const struct rule *
rule_of(const struct rule *const *tables, const char *key)
{
    for (size_t t = 0; tables[t] != NULL; t++) {
        for (const struct rule *r = tables[t]; r->key != NULL; r++) {
            if (strcmp(r->key, key) == 0)
                return r;
        }
    }
    return NULL;
}

static bool
is_unknown(const char *key, void *ctx)
{
    return rule_of(ctx, key) == NULL;
}

static void
check_object(struct buf *reason, struct slice name, const json_t *value, const struct rule *const *tables)
{
    const char *key;
    json_t *v;
    struct buf unknown = BUF_INIT;
    bool is_empty_list = json_is_array(value) && json_array_size(value) == 0;
    if (!json_is_object(value) && !is_empty_list) {
        buf_printf(reason, "%.*s not a list ", SLICE_FMT(name));
        json_put_erlang(reason, value);
        buf_append_u8(reason, '\n');
        return;
    }
    if (json_put_erlang_pairs(&unknown, value, is_unknown, (void *)(uintptr_t)tables) > 0)
        buf_printf(reason, "Unrecognised terms %s in %.*s\n", buf_cstr(&unknown), SLICE_FMT(name));
    buf_fini(&unknown);
    for (size_t t = 0; tables[t] != NULL; t++) {
        for (const struct rule *r = tables[t]; r->key != NULL; r++) {
            if (r->is_needed && json_object_get(value, r->key) == NULL)
                buf_printf(reason, "Key \"%s\" not found in %.*s\n", r->key, SLICE_FMT(name));
        }
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, v)
    {
        const struct rule *r = rule_of(tables, key);
        if (r != NULL)
            check_value(reason, r, v);
    }
}

static void
check_upstream_set(struct buf *reason, struct slice name, const json_t *value)
{
    const struct rule *const tables[] = {set_rules, NULL};
    if (!json_is_array(value) && (!json_is_object(value) || json_object_size(value) > 0)) {
        buf_printf(reason, "%.*s not a list of upstreams\n", SLICE_FMT(name));
        return;
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        check_object(reason, name, json_array_get(value, i), tables);
}

// 0-9-1: exactly one of exchange and queue at the source, at most one at the destination.
static void
check_ends(struct buf *reason, const json_t *value, const char *end, bool is_needed)
{
    char exchange[32], queue[32];
    snprintf(exchange, sizeof exchange, "%s-exchange", end);
    snprintf(queue, sizeof queue, "%s-queue", end);
    bool has_exchange = json_object_get(value, exchange) != NULL;
    bool has_queue = json_object_get(value, queue) != NULL;
    if (has_exchange && has_queue)
        buf_printf(reason, "Cannot specify '%s' and '%s'\n", exchange, queue);
    else if (is_needed && !has_exchange && !has_queue)
        buf_printf(reason, "Must specify '%s' or '%s'\n", exchange, queue);
}

// "amqp10" or "amqp091" (the default); anything else is said.
static bool
is_amqp10(struct buf *reason, const json_t *value, const char *key)
{
    const json_t *protocol = json_object_get(value, key);
    const char *text = json_string_value(protocol);
    if (protocol != NULL && (text == NULL || (strcmp(text, "amqp10") != 0 && strcmp(text, "amqp091") != 0)))
        buf_printf(reason, "%s should be amqp091 or amqp10\n", key);
    return text != NULL && strcmp(text, "amqp10") == 0;
}

static void
check_shovel(struct buf *reason, struct slice name, const json_t *value)
{
    bool is_source_10 = is_amqp10(reason, value, "src-protocol");
    bool is_destination_10 = is_amqp10(reason, value, "dest-protocol");
    const struct rule *const tables[] = {is_destination_10 ? destination_10_rules : destination_091_rules,
                                         is_source_10 ? source_10_rules : source_091_rules, shovel_rules,
                                         NULL};
    if (!is_source_10)
        check_ends(reason, value, "src", true);
    if (!is_destination_10)
        check_ends(reason, value, "dest", false);
    check_object(reason, name, value, tables);
}

// --- limits -------------------------------------------------------------------------------------------------------------------------

static bool
is_no_limit(const char *key, void *ctx)
{
    const char *const *names = ctx;
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(key, names[i]) == 0)
            return false;
    }
    return true;
}

bool
parameter_limits_read(const json_t *value, bool is_user, struct parameter_limits *ret, struct buf *reason)
{
    const char *const names[] = {"max-connections",
                                 is_user ? "max-channels" : "max-queues",
                                 "max-publish-rate",
                                 "max-publish-bytes-rate",
                                 is_user ? NULL : "max-messages",
                                 "max-memory-bytes",
                                 NULL};
    int64_t *const values[] = {&ret->max_connections, &ret->max_others, &ret->rate,
                               &ret->bytes_rate,      &ret->messages,   &ret->memory_bytes};
    const char *where = is_user ? "user-limits" : "limits";
    struct buf unknown = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(values); i++)
        *values[i] = INT64_MIN;
    if (!json_is_object(value) && (!json_is_array(value) || json_array_size(value) > 0)) {
        buf_printf(reason, "%s not a list ", where);
        json_put_erlang(reason, value);
        return false;
    }
    size_t unknown_count = json_put_erlang_pairs(&unknown, value, is_no_limit, (void *)(uintptr_t)names);
    if (unknown_count > 0)
        buf_printf(reason, "Unrecognised terms %s in %s", buf_cstr(&unknown), where);
    buf_fini(&unknown);
    for (size_t i = 0; names[i] != NULL && reason->len == 0; i++) {
        const json_t *v = json_object_get(value, names[i]);
        if (json_is_integer(v)) {
            *values[i] = LV_MAX((int64_t)json_integer_value(v), INT64_C(-1));
        } else if (v != NULL) {
            buf_printf(reason, "%s should be a number, actually was ", names[i]);
            json_put_erlang(reason, v);
        }
    }
    return reason->len == 0;
}

bool
parameter_is_valid(struct slice component, struct slice name, const json_t *value, struct buf *reason)
{
    const struct rule *const upstream[] = {upstream_rules, NULL};
    struct parameter_limits limits;
    struct buf text = BUF_INIT;
    switch (parameter_component_of(component)) {
    case PARAMETER_KEPT:
        if (slice_eq_str(component, "shovel"))
            check_shovel(&text, name, value);
        else if (slice_eq_str(component, "federation-upstream-set"))
            check_upstream_set(&text, name, value);
        else
            check_object(&text, name, value, upstream);
        break;
    case PARAMETER_VHOST_LIMITS:
        if (!slice_eq_str(name, "limits"))
            buf_append_str(&text, "vhost-limits are named \"limits\"\n");
        else if (!parameter_limits_read(value, false, &limits, &text))
            buf_append_u8(&text, '\n');
        break;
    case PARAMETER_OPERATOR_POLICY: break;
    case PARAMETER_POLICY: buf_append_str(reason, "policies may not be set using this method"); return false;
    case PARAMETER_UNKNOWN: buf_printf(&text, "component %.*s not found\n", SLICE_FMT(component)); break;
    }
    bool is_valid = text.len == 0 && !text.failed;
    if (!is_valid)
        buf_printf(reason, "Validation failed\n\n%s", buf_cstr(&text));
    buf_fini(&text);
    return is_valid;
}
