// header_rule.h: the arguments of a binding read as a rule about a message's headers. Private to
// exchange/header*.c.
//
// The rule is read from the binding's canonical arguments, where keys are in order; see header_rule.c for
// RabbitMQ's semantics.
#pragma once

#include "exchange/router_impl.h"

// x-match. With _X, keys that start with "x-" are part of the rule.
enum header_mode { HEADER_ALL, HEADER_ANY, HEADER_ALL_X, HEADER_ANY_X };

struct header_rule {
    enum header_mode mode;
    struct table_iter it; // over what is left of the arguments
};

static inline bool
header_mode_is_any(enum header_mode mode)
{
    return mode == HEADER_ANY || mode == HEADER_ANY_X;
}

struct header_rule header_rule_of(const struct binding *b);
// The next entry that counts.
bool header_rule_next(struct header_rule *rule, struct header_item *ret_entry);

// Whether a value in a message is the one that a rule asks for (which is not void).
bool header_value_eq(const struct field *a, const struct field *b);
// The same for values that are equal.
uint64_t header_value_hash(const struct field *value, uint64_t earlier);

// Whether a message's headers, sorted by key, fulfil the rule. When it is an "any" and they do, *ret_first is
// the entry that decided it.
bool header_rule_match(struct header_rule rule, const struct header_item *headers, size_t count,
                       struct header_item *ret_first);
