// consumer_timeout.h: how long a delivery of a queue may stay unacknowledged: told to whoever has its deliveries.
//
// The time of a delivery is known where it went out, in the session (src/broker/session_timeout.h), which has them in that order anyway: so
// nothing is kept here per message. What the queue knows is its rule: it goes with the answers of consume and get, and to the sessions
// of its consumers when it changes. Owner's thread.
#pragma once

#include "queue/queue.h"

// Milliseconds; 0: for any time; RULE_NONE: the node's.
static inline uint64_t
consumer_timeout_of(const struct queue *q)
{
    return QUEUE_RULES(q)->consumer_timeout_ms;
}

// The rule was another one before: tells the consumers' sessions, which change nothing here while they are told.
void consumer_timeout_changed(struct queue_worker *qw, struct queue *q);
