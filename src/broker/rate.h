// rate.h: limits of the rate at which messages are published: of a virtual host, of a user, of each connection; in messages and in
// bytes of bodies a second.
//
// A *meter* is what all publishers under one limit share, on all workers: for messages and for bytes the time up to which what has
// been taken is paid for (the generic cell rate algorithm: a token bucket that needs no timer). A publish is always taken and charged
// afterwards; who is more than RATE_BURST_MS ahead of the clock is held from the next one on: the channel's frames wait
// (client_must_wait), acknowledgements and everything else go on, nobody is disconnected. So the rate over any longer time is the
// limit, and a single message may be larger than what a second allows.
//
// Meters are counted, and found by name in one table under a mutex (rank: leaf), which is taken when a client opens, closes, or meets
// a changed limit; charging is one compare-and-swap, for clients that have a limit. Limits: -1 none, 0 nothing may be published.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

// LIMIT: how far ahead of the clock publishers may be; what the limit allows in this time goes through at once.
enum { RATE_BURST_MS = 100 };

enum rate_scope { RATE_VHOST, RATE_USER, RATE_CONNECTION, RATE_SCOPES };

struct rate_limit {
    int64_t messages, bytes; // a second; -1: no limit
};
static const struct rate_limit rate_unlimited = {-1, -1};
static inline bool
rate_is_limited(const struct rate_limit *l)
{
    return l->messages >= 0 || l->bytes >= 0;
}

struct rate_meter;
// The meter of that name, made when there is none. `version`: of the topology the limit is from: a meter takes over a limit when it
// is not from an older version than its own, and forgets what was owed when it differs. NULL: out of memory. Any thread.
LV_MUST_USE struct rate_meter *rate_meter_get(enum rate_scope scope, struct slice name,
                                              const struct rate_limit *limit, uint64_t version);
void rate_meter_put(struct rate_meter *m); // accepts NULL
// Charges one message. True: it is over the limit now. Any thread, as the next.
bool rate_meter_charge(struct rate_meter *m, uint64_t now_ns, size_t bytes);
// How long its publishers have to wait: 0: they may go on; UINT64_MAX: until the limit changes.
uint64_t rate_meter_wait_ns(const struct rate_meter *m, uint64_t now_ns);
// "100 messages/s" or "1000 bytes/s": the limit that is exceeded, for reasons.
void rate_meter_describe(const struct rate_meter *m, uint64_t now_ns, struct buf *out);

// The meters of one client (session_rate.c).
struct client_rate {
    struct rate_meter *meters[RATE_SCOPES]; // NULL: no limit there
};
