// queue_settings.c: see queue_settings.h. First what the policies say, then the arguments over it; what is not known here is left
// alone.
#include "src/broker/queue_settings.h"

#include "amqp/wire/table.h"

// Where a number goes, from an argument and from a policy.
static const struct number {
    const char *argument;
    enum policy_key key;
    size_t at;
} numbers[] = {
    {"x-message-ttl", POLICY_MESSAGE_TTL, offsetof(struct queue_rules, message_ttl_ms)},
    {"x-expires", POLICY_EXPIRES, offsetof(struct queue_rules, expires_ms)},
    {"x-max-length", POLICY_MAX_LENGTH, offsetof(struct queue_rules, max_length)},
    {"x-max-length-bytes", POLICY_MAX_LENGTH_BYTES, offsetof(struct queue_rules, max_length_bytes)},
    {"x-delivery-limit", POLICY_DELIVERY_LIMIT, offsetof(struct queue_rules, delivery_limit)},
    {"x-consumer-timeout", POLICY_CONSUMER_TIMEOUT, offsetof(struct queue_rules, consumer_timeout_ms)},
};

static const struct text {
    const char *argument;
    enum policy_key key;
} texts[] = {
    {"x-dead-letter-exchange", POLICY_DEAD_LETTER_EXCHANGE},
    {"x-dead-letter-routing-key", POLICY_DEAD_LETTER_ROUTING_KEY},
    {"x-dead-letter-strategy", POLICY_DEAD_LETTER_STRATEGY},
    {"x-overflow", POLICY_OVERFLOW},
    {"x-durability", POLICY_DURABILITY}, // the argument is in the queue's definition: apply_argument
};

static const char *const overflows[] = {
    [OVERFLOW_DROP_HEAD] = "drop-head",
    [OVERFLOW_REJECT_PUBLISH] = "reject-publish",
    [OVERFLOW_REJECT_PUBLISH_DLX] = "reject-publish-dlx",
};

static const char *const durabilities[] = {
    [RULE_DURABILITY_FSYNC] = "fsync",
    [RULE_DURABILITY_OS] = "os",
    [RULE_DURABILITY_MEMORY] = "memory",
};

// The index of `text` among names; `otherwise` when it is none of them.
static uint8_t
choice(struct slice text, const char *const *names, size_t count, uint8_t otherwise)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i] != NULL && slice_eq_str(text, names[i]))
            return (uint8_t)i;
    }
    return otherwise;
}

static void
set_text(struct queue_rules *r, enum policy_key key, struct slice text)
{
    switch ((int)key) {
    case POLICY_DEAD_LETTER_EXCHANGE:
        r->has_dead_exchange = true;
        r->dead_exchange = text;
        break;
    case POLICY_DEAD_LETTER_ROUTING_KEY:
        r->has_dead_key = true;
        r->dead_key = text;
        break;
    case POLICY_DEAD_LETTER_STRATEGY:
        r->dead_strategy = slice_eq_str(text, "at-least-once") ? DEAD_AT_LEAST_ONCE : DEAD_AT_MOST_ONCE;
        break;
    case POLICY_OVERFLOW: r->overflow = choice(text, overflows, LV_ARRAY_LEN(overflows), r->overflow); break;
    case POLICY_DURABILITY:
        r->durability = choice(text, durabilities, LV_ARRAY_LEN(durabilities), r->durability);
        break;
    default: break;
    }
}

// A negative number is no limit; so is a consumer timeout of 0 beside another one.
static void
limit_to(struct queue_rules *r, const struct number *number, int64_t n)
{
    uint64_t *at = (uint64_t *)((char *)r + number->at);
    if (n < 0)
        return;
    bool is_off = number->key == POLICY_CONSUMER_TIMEOUT && (*at == 0 || n == 0) && *at != RULE_NONE;
    *at = is_off ? LV_MAX(*at, (uint64_t)n) : LV_MIN(*at, (uint64_t)n);
}

static void
apply_policies(struct queue_rules *r, const struct policy_pair *policies)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(numbers); i++) {
        const struct policy_value *v = policy_effective(policies, numbers[i].key);
        if (v != NULL)
            limit_to(r, &numbers[i], v->number);
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(texts); i++) {
        const struct policy_value *v = policy_effective(policies, texts[i].key);
        if (v != NULL)
            set_text(r, texts[i].key, v->text);
    }
    r->policy = policy_name(policies, POLICY_USER);
    r->operator_policy = policy_name(policies, POLICY_OPERATOR);
}

static void
apply_argument(struct queue_rules *r, struct slice key, const struct field *f)
{
    if (f->type == FIELD_LONGSTR) {
        for (size_t i = 0; i < LV_ARRAY_LEN(texts); i++) {
            if (!slice_eq_str(key, texts[i].argument))
                continue;
            if (texts[i].key == POLICY_DURABILITY)
                r->durability = RULE_DURABILITY_DECLARED;
            else
                set_text(r, texts[i].key, f->bytes);
        }
        return;
    }
    if (!field_is_integer(f))
        return;
    if (slice_eq_str(key, "x-max-priority"))
        r->max_priority = (uint8_t)LV_MIN(LV_MAX(f->i64, INT64_C(0)), INT64_C(255));
    for (size_t i = 0; i < LV_ARRAY_LEN(numbers); i++) {
        if (slice_eq_str(key, numbers[i].argument))
            limit_to(r, &numbers[i], f->i64);
    }
}

enum policy_object
queue_settings_object(const struct queue_def *def)
{
    static const enum policy_object objects[] = {
        [QUEUE_CLASSIC] = POLICY_CLASSIC, [QUEUE_QUORUM] = POLICY_QUORUM, [QUEUE_STREAM] = POLICY_STREAM};
    return objects[def->type];
}

// A message that its targets refuse when its time has come is offered to them again.
static void
set_delay(struct queue_rules *r)
{
    r->is_delay = true;
    r->overflow = OVERFLOW_REJECT_PUBLISH;
    r->dead_strategy = DEAD_AT_LEAST_ONCE;
}

struct queue_rules *
queue_settings_rules(const struct queue_def *def, const struct policy_pair *policies)
{
    struct queue_rules r = queue_rules_none;
    struct slice key;
    struct field f;
    bool has_delivery_limit = policies != NULL && policy_effective(policies, POLICY_DELIVERY_LIMIT) != NULL;
    if ((def->flags & QUEUE_DELAY) != 0) {
        policies = NULL; // no policy is about what no client sees
        set_delay(&r);
    }
    if (policies != NULL)
        apply_policies(&r, policies);
    for (struct table_iter it = table_iter_of(def->arguments); table_iter_next(&it, &key, &f);) {
        has_delivery_limit |= slice_eq_str(key, "x-delivery-limit") && field_is_integer(&f);
        apply_argument(&r, key, &f);
    }
    if (def->type == QUEUE_QUORUM && !has_delivery_limit)
        r.delivery_limit = QUORUM_DELIVERY_LIMIT;
    // PROTOCOL: quorum queues do not know it; RabbitMQ warns, and drops from the head.
    if (def->type == QUEUE_QUORUM && r.overflow == OVERFLOW_REJECT_PUBLISH_DLX)
        r.overflow = OVERFLOW_DROP_HEAD;
    return queue_rules_equal(&r, &queue_rules_none) ? NULL : queue_rules_copy(&r);
}
