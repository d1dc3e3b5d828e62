// queue_rules.c: making and comparing the rules of queues.
#include "queue/queue_rules.h"

#include "src/base/mem.h"

const struct queue_rules queue_rules_none = {
    .message_ttl_ms = RULE_NONE,
    .expires_ms = RULE_NONE,
    .max_length = RULE_NONE,
    .max_length_bytes = RULE_NONE,
    .delivery_limit = RULE_NONE,
    .consumer_timeout_ms = RULE_NONE,
};

struct queue_rules *
queue_rules_copy(const struct queue_rules *from)
{
    size_t names =
        from->dead_exchange.len + from->dead_key.len + from->policy.len + from->operator_policy.len;
    struct queue_rules *r = mem_xalloc(sizeof(*r) + names);
    uint8_t *at = (uint8_t *)(r + 1);
    *r = *from;
    r->dead_exchange = slice_place(&at, from->dead_exchange);
    r->dead_key = slice_place(&at, from->dead_key);
    r->policy = slice_place(&at, from->policy);
    r->operator_policy = slice_place(&at, from->operator_policy);
    return r;
}

bool
queue_rules_equal(const struct queue_rules *a, const struct queue_rules *b)
{
    return a->message_ttl_ms == b->message_ttl_ms && a->expires_ms == b->expires_ms &&
           a->max_length == b->max_length && a->max_length_bytes == b->max_length_bytes &&
           a->delivery_limit == b->delivery_limit && a->consumer_timeout_ms == b->consumer_timeout_ms &&
           a->max_priority == b->max_priority && a->overflow == b->overflow &&
           a->dead_strategy == b->dead_strategy && a->durability == b->durability &&
           a->has_dead_exchange == b->has_dead_exchange && a->has_dead_key == b->has_dead_key &&
           a->is_delay == b->is_delay && slice_eq(a->dead_exchange, b->dead_exchange) &&
           slice_eq(a->dead_key, b->dead_key);
}
