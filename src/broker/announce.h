// announce.h: messages that the broker itself publishes: the firehose (trace.h), events (event.h).
//
// They are routed like any other, from an internal exchange, and handed to their queues without asking for an answer: nobody waits for them,
// nobody is told when a queue refuses one or there is no memory. Publishing one publishes nothing else, so there is no recursion. On a worker.
#pragma once

#include "amqp/wire/props.h"
#include "queue/message.h"
#include "src/broker/topology.h"

struct broker_worker;

// Whether something would become of a message published there.
static inline bool
announce_is_heard(const struct exchange *x)
{
    return x != NULL && x->router.count > 0;
}

// Takes over the reference of msg (NULL: nothing to do). Queues are found by exchange, key and headers of it.
void announce(struct broker_worker *b, const struct vhost *v, struct message *msg);
// A message; persistent when its delivery mode says so. NULL: no memory. The key is cut at 255 bytes.
LV_MUST_USE struct message *announce_message(const char *exchange, struct slice key,
                                             const struct amqp_basic_props *props, struct slice body);
