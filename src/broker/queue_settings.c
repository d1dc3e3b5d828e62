// queue_settings.c: see queue_settings.h. One pass over the arguments; what is not known here is left alone.
#include "src/broker/queue_settings.h"

#include "amqp/wire/table.h"
#include "src/base/err.h"

static const char *const overflows[] = {
    [OVERFLOW_DROP_HEAD] = "drop-head",
    [OVERFLOW_REJECT_PUBLISH] = "reject-publish",
    [OVERFLOW_REJECT_PUBLISH_DLX] = "reject-publish-dlx",
};

static void
set_text(struct queue_rules *r, struct slice key, struct slice text)
{
    if (slice_eq_str(key, "x-dead-letter-exchange")) {
        r->has_dead_exchange = true;
        r->dead_exchange = text;
    } else if (slice_eq_str(key, "x-dead-letter-routing-key")) {
        r->has_dead_key = true;
        r->dead_key = text;
    } else if (slice_eq_str(key, "x-dead-letter-strategy")) {
        r->dead_strategy = slice_eq_str(text, "at-least-once") ? DEAD_AT_LEAST_ONCE : DEAD_AT_MOST_ONCE;
    } else if (slice_eq_str(key, "x-overflow")) {
        for (size_t i = 0; i < LV_ARRAY_LEN(overflows); i++) {
            if (slice_eq_str(text, overflows[i]))
                r->overflow = (uint8_t)i;
        }
    }
}

static void
set_number(struct queue_rules *r, struct slice key, int64_t n)
{
    static const struct {
        const char *name;
        size_t at;
    } numbers[] = {
        {"x-message-ttl", offsetof(struct queue_rules, message_ttl_ms)},
        {"x-expires", offsetof(struct queue_rules, expires_ms)},
        {"x-max-length", offsetof(struct queue_rules, max_length)},
        {"x-max-length-bytes", offsetof(struct queue_rules, max_length_bytes)},
        {"x-delivery-limit", offsetof(struct queue_rules, delivery_limit)},
        {"x-consumer-timeout", offsetof(struct queue_rules, consumer_timeout_ms)},
    };
    if (slice_eq_str(key, "x-max-priority"))
        r->max_priority = (uint8_t)LV_MIN(LV_MAX(n, INT64_C(0)), INT64_C(255));
    for (size_t i = 0; i < LV_ARRAY_LEN(numbers); i++) {
        if (slice_eq_str(key, numbers[i].name))
            *(uint64_t *)((char *)r + numbers[i].at) = n < 0 ? RULE_NONE : (uint64_t)n;
    }
}

int
queue_settings_rules(const struct queue_def *def, struct queue_rules **ret)
{
    struct queue_rules r = queue_rules_none;
    struct slice key;
    struct field f;
    *ret = NULL;
    if (def->type == QUEUE_QUORUM)
        r.delivery_limit = QUORUM_DELIVERY_LIMIT;
    for (struct table_iter it = table_iter_of(def->arguments); table_iter_next(&it, &key, &f);) {
        if (f.type == FIELD_LONGSTR)
            set_text(&r, key, f.bytes);
        else if (field_is_integer(&f))
            set_number(&r, key, f.i64);
    }
    if (queue_rules_equal(&r, &queue_rules_none))
        return 0;
    *ret = queue_rules_copy(&r);
    return *ret != NULL ? 0 : -LE_NOMEM;
}
