// parameter_rules.h: run-time parameters of vhosts: which components there are and what their values look like, with RabbitMQ 3.10's texts.
//
// Components: "federation-upstream", "federation-upstream-set" and "shovel" are kept as they come; "vhost-limits" are limits of the vhost;
// "operator_policy" is a policy. "policy" is one too, but not by this way. Everything here is pure. Values may hold passwords (URIs): a
// text names keys and the values that broke a rule, never a URI.
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/slice.h"

enum parameter_component {
    PARAMETER_UNKNOWN,
    PARAMETER_KEPT, // checked here, and kept
    PARAMETER_VHOST_LIMITS,
    PARAMETER_OPERATOR_POLICY,
    PARAMETER_POLICY,
};

enum parameter_component parameter_component_of(struct slice component);
// Whether the value fits; false with the reason ("Validation failed\n\n…\n"). For all but operator policies (policy_new checks these).
bool parameter_is_valid(struct slice component, struct slice name, const json_t *value, struct buf *reason);

// Limits of a vhost or user: INT64_MIN where nothing is said.
struct parameter_limits {
    int64_t max_connections, max_others; // queues or channels
    int64_t rate, bytes_rate;            // max-publish-rate, max-publish-bytes-rate
    int64_t messages, memory_bytes;      // max-messages, max-memory-bytes; of a vhost alone
};
// False with RabbitMQ's sentence. An empty list stands for an object without members, as in JSON that Erlang wrote.
bool parameter_limits_read(const json_t *value, bool is_user, struct parameter_limits *ret,
                           struct buf *reason);
