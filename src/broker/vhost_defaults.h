// vhost_defaults.h: limits that new virtual hosts get by their names (default_limits.vhosts.N.* of the configuration).
//
// Immutable once made; any thread. The first whose regular expression matches the name is used, as in RabbitMQ.
#pragma once

#include "src/base/err.h"
#include "src/base/lv.h"
#include "src/base/slice.h"
#include "src/broker/rate.h"

struct vhost_default {
    struct slice pattern;
    int64_t max_connections, max_queues; // -1: none
    struct rate_limit rate;
};

struct vhost_defaults;
// Copies. -LE_INVAL with a sentence (heap) when a pattern is bad: *ret_bad is its number. -LE_NOMEM.
LV_MUST_USE int vhost_defaults_new(const struct vhost_default *items, size_t count,
                                   struct vhost_defaults **ret, size_t *ret_bad, char **ret_error);
void vhost_defaults_free(struct vhost_defaults *d); // accepts NULL
// NULL: none matches. Accepts NULL.
const struct vhost_default *vhost_defaults_find(const struct vhost_defaults *d, struct slice name);
