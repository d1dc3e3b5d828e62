// arguments.h: optional arguments of queues, exchanges, consumers and messages: validation and equivalence with RabbitMQ's rules
// and texts (docs: https://www.rabbitmq.com/queues.html#optional-arguments). Pure functions; any thread.
#pragma once

#include "exchange/router.h"
#include "queue/queue_def.h"
#include "src/base/buf.h"
#include "src/broker/fault.h"

// Checks the arguments of a queue.declare. Returns true when they are fine (and gives type and flags they imply,
// QUEUE_SINGLE_ACTIVE); otherwise fills the fault (406 "invalid arg 'x-…' for queue …").
struct queue_properties {
    bool is_durable, is_exclusive, is_auto_delete;
    bool is_relaxed; // of a redeclaration: "x-queue-type: classic" is equivalent to a quorum queue
};
bool arguments_check_queue(struct slice vhost, struct slice queue, struct slice arguments,
                           const struct queue_properties *properties, enum queue_type *ret_type,
                           uint32_t *ret_flags, struct fault *ret_fault);
// What a queue.declare says in a vhost that has a default queue type (empty: none): one that names no type gets that, when its
// properties suit the type. *ret_arguments is `arguments`, or a copy with the type that `room` owns. Before everything else
// that looks at the arguments. -LE_NOMEM.
LV_MUST_USE int arguments_with_default_type(struct slice default_type,
                                            const struct queue_properties *properties, struct slice arguments,
                                            struct buf *room, struct slice *ret_arguments);
bool arguments_is_queue_type(struct slice name);
extern const char
    *const arguments_type_modules[]; // by enum queue_type: RabbitMQ's names, which its texts show
// Is a redeclaration equivalent to what exists (406 "inequivalent arg …")? `is_exclusive` and ownership are the caller's matter.
bool arguments_same_queue(const struct queue_def *existing, const struct queue_properties *properties,
                          struct slice arguments, struct fault *ret_fault);

// exchange.declare: alternate-exchange must be a long string. ret_alternate points into the arguments.
bool arguments_check_exchange(struct slice vhost, struct slice exchange, struct slice arguments,
                              struct slice *ret_alternate, struct fault *ret_fault);
struct exchange_properties {
    struct slice type;
    bool is_durable, is_auto_delete, is_internal;
};
struct exchange;
bool arguments_same_exchange(const struct exchange *existing, const struct exchange_properties *properties,
                             struct slice arguments, struct fault *ret_fault);
// How an exchange routes: its type, or the one that x-delayed-type names (direct when that was not checked, and is none).
enum exchange_type arguments_router_type(enum exchange_type type, struct slice arguments);
// The arguments that a type has: hash-header and hash-property of x-consistent-hash, x-delayed-type (406, 503).
bool arguments_check_exchange_type(enum exchange_type type, struct slice arguments, struct fault *ret_fault);
// queue.bind and exchange.bind, by the source's way of routing (406): headers: x-match must be one of the four;
// x-consistent-hash: the key is a weight, an integer above 0.
bool arguments_check_binding(enum exchange_type type, struct slice key, struct slice arguments,
                             struct fault *ret_fault);
// basic.consume: x-priority must be an integer (406), x-cancel-on-ha-failover a bool, x-consumer-timeout an integer that is not negative.
struct consumer_arguments {
    int32_t priority;    // 0 when absent
    uint64_t timeout_ms; // RULE_NONE when absent
};
bool arguments_check_consumer(const struct queue_def *queue, struct slice arguments,
                              struct consumer_arguments *ret, struct fault *ret_fault);
// basic properties: "expiration" is a decimal string of ms (406 "invalid expiration …"); capped at 2^32-1.
bool arguments_parse_expiration(struct slice text, uint32_t *ret_ms, struct fault *ret_fault);
// The strings of a CC or BCC header: appends to `keys` (at most `cap`), 406 when not an array of long strings.
bool arguments_sender_selected(struct slice headers, struct slice *keys, size_t cap, size_t *ret_count,
                               bool *ret_has_bcc, struct fault *ret_fault);
