// vhost_load.h: how much the queues of a virtual host hold, and how much they may: who publishes there is blocked while it is more, and nobody else is.
//
// Limits: messages (ready, unacknowledged and delayed), and the memory of those messages that are in memory. Only virtual hosts with such a limit have a
// *load*: each worker counts what its queues hold every LOAD_LOOK_MS and puts it in; the sum over all workers is compared. So a publisher may
// be a tenth of a second over the limit, and a publish costs nothing more. Loads are counted references, found by name in one table under a
// mutex (rank: leaf), which is taken when the limits of a virtual host change. Any thread.
#pragma once

#include "src/base/buf.h"
#include "src/base/slice.h"

// LIMIT: time between two looks.
enum { LOAD_LOOK_MS = 100 };

struct content_limit {
    int64_t messages, memory_bytes; // -1: none
};
static const struct content_limit content_unlimited = {-1, -1};
static inline bool
content_is_limited(const struct content_limit *l)
{
    return l->messages >= 0 || l->memory_bytes >= 0;
}

enum load_state { LOAD_FINE, LOAD_MESSAGES, LOAD_MEMORY }; // which limit is exceeded

struct vhost_load;
// That of this name, made when there is none; it takes over the limit when that is not from an older version of the topology. NULL: out of memory.
LV_MUST_USE struct vhost_load *vhost_load_get(struct slice vhost, const struct content_limit *limit,
                                              uint64_t version);
void
vhost_load_put(struct vhost_load *l); // accepts NULL; what a member held there stays, if somebody else has it
// What the queues of this crew member hold.
void vhost_load_set(struct vhost_load *l, int member, uint64_t messages, uint64_t memory_bytes);
enum load_state vhost_load_state(const struct vhost_load *l);
// "limit of 1000 messages in vhost 'x' is reached".
void vhost_load_describe(const struct vhost_load *l, enum load_state state, struct buf *out);
