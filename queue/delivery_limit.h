// delivery_limit.h: messages that come back more often than their queue allows leave it (x-delivery-limit; on by default for quorum queues).
//
// A delivery counts when it comes back by basic.nack, reject or recover, or because its channel or connection ended, or its consumer did not
// acknowledge in time; not when it never reached the client (SETTLE_RETURN). A message with a count above the limit leaves with reason
// delivery_limit, so it is delivered limit + 1 times at most. Counts of stored messages are written to the log as they change: they never go
// down, also after a crash (of the power: as far as the log had been synced). Owner's thread.
// RabbitMQ documentation: "Quorum Queues", poison message handling.
#pragma once

#include "queue/queue.h"

// Whether deliveries of the queue are counted: it has a limit, or shows x-delivery-count as quorum queues do.
bool delivery_limit_is_on(const struct queue *q);
// A delivery of a counted queue came back and has been marked. True: the message has left, and its record is gone; else the count was noted.
LV_MUST_USE bool delivery_limit_returned(struct queue_worker *qw, struct queue *q,
                                         struct unacked_record *record);
