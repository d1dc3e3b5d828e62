// queue_rules.h: what a queue's arguments and policies come to: the limits and habits its owner keeps.
//
// Made by the topology writer (src/broker/queue_settings.h), handed to the owner with QUEUE_REQUEST_CREATE and, whenever a policy changes
// them, with QUEUE_REQUEST_RULES. Immutable; one heap block, slices point into it. Ownership passes with the request; afterwards
// it is the queue's. A queue without any of this has none (queue->rules is NULL), and pays nothing for it.
#pragma once

#include "queue/queue_def.h"

enum queue_overflow {
    OVERFLOW_DROP_HEAD,          // the oldest go (reason maxlen)
    OVERFLOW_REJECT_PUBLISH,     // the newest is refused: basic.nack
    OVERFLOW_REJECT_PUBLISH_DLX, // and dead-lettered
};

enum queue_dead_strategy {
    DEAD_AT_MOST_ONCE,  // a target that refuses the message loses it
    DEAD_AT_LEAST_ONCE, // it stays in its queue until all targets have it
};

// What a policy says of confirms; the queue's own argument (QUEUE_RELAXED_…) goes before it.
enum rule_durability {
    RULE_DURABILITY_DECLARED,
    RULE_DURABILITY_FSYNC,
    RULE_DURABILITY_OS,
    RULE_DURABILITY_MEMORY
};

#define RULE_NONE UINT64_MAX // no such limit

struct queue_rules {
    uint64_t message_ttl_ms, expires_ms;
    uint64_t max_length, max_length_bytes; // ready messages; bytes of their bodies
    uint64_t delivery_limit;               // deliveries that came back before the message leaves
    uint64_t consumer_timeout_ms;          // 0: none; RULE_NONE: the node's
    uint8_t max_priority;                  // 0: no priorities
    uint8_t overflow;                      // enum queue_overflow
    uint8_t dead_strategy;                 // enum queue_dead_strategy
    uint8_t durability;                    // enum rule_durability
    bool has_dead_exchange, has_dead_key;
    bool
        is_delay; // of a delayed exchange: what expires is routed by that (dead_exchange), as it was published
    struct slice dead_exchange, dead_key; // bytes behind this struct
    struct slice policy, operator_policy; // names of those that have a part in it, for reasons; empty: none
};

// PROTOCOL: as RabbitMQ, not for a queue that makes room by dropping: what waits to be dead-lettered would keep it above its limit.
static inline bool
queue_rules_dead_at_least_once(const struct queue_rules *r)
{
    return r->has_dead_exchange && r->dead_strategy == DEAD_AT_LEAST_ONCE &&
           r->overflow == OVERFLOW_REJECT_PUBLISH;
}

// The rules of a queue that has none: every limit off.
extern const struct queue_rules queue_rules_none;

// A copy with its slices behind it; a part of the topology, so that it ends the process when out of memory. mem_free ends it.
LV_MUST_USE struct queue_rules *queue_rules_copy(const struct queue_rules *from);
bool queue_rules_equal(const struct queue_rules *a, const struct queue_rules *b); // names of policies apart

// What a queue without rules lives by, or its own.
#define QUEUE_RULES(q) ((q)->rules != NULL ? (q)->rules : &queue_rules_none)
