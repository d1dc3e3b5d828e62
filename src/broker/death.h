// death.h: what becomes of a message when it is dead-lettered: its headers, properties and address; and where it must not go again.
//
// Pure: message in, message out. The headers are RabbitMQ's, byte for byte as its classic queues of 3.10 write them, and x-last-death-* of 3.13.
// `x-death` may come from a client (retry loops publish what they consumed, and rely on their counts going on): whatever is in it does no harm;
// what is no table of a death is passed on. Any thread. RabbitMQ: "Dead Letter Exchanges", "Dead-Lettered Effects on Messages".
#pragma once

#include "queue/ops.h"

// LIMIT: earlier deaths that a message carries on, and their bytes. Beyond the bytes only queue, reason and count of a death are kept, so that
// circles are seen also where clients made the headers long; beyond the number the oldest are forgotten.
enum { DEATH_EARLIER_MAX = 512, DEATH_EARLIER_BYTES = 32 * 1024 };

struct death {
    struct slice queue; // where it died
    enum death_reason reason;
    int64_t time_s;          // Unix
    struct slice exchange;   // that it goes to
    const struct slice *key; // it gets this one; NULL: it keeps its own, and those of CC
};

const char *death_reason_text(enum death_reason reason);

// The dead letter: a new message with a copy of the body; published_ms is the caller's to set. NULL: no memory.
LV_MUST_USE struct message *death_message(const struct message *msg, const struct death *d);

// The queues where a message died, with no death by rejection since: for other reasons than that it may not go there again.
struct death_trail {
    struct slice *names; // sorted; slices of the headers
    size_t count;
};

// `headers`: of the dead letter, so with its last death. False: no memory.
LV_MUST_USE bool death_trail_init(struct death_trail *t, struct slice headers);
bool death_trail_has(const struct death_trail *t, struct slice queue);
void death_trail_fini(struct death_trail *t);
