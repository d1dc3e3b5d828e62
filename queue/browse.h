// browse.h: looking at messages that wait for their time, and taking single ones out: what is seen of the queue of a delayed exchange.
//
// Such a queue knows all its messages by number (expiry.h), keeps an entry in memory for each, and has no consumers. A look takes nothing, changes nothing
// but that bodies that were away are read. Owner's thread.
#pragma once

#include "queue/ops.h"

struct queue;
struct queue_worker;

// LIMIT: reads from disk for one look (half a MiB each), entries looked at among those that are not in order; messages beyond are shown without
// what they say.
enum { BROWSE_ROUNDS = 32, BROWSE_LOOKS = 1 << 20 };

// QUEUE_REQUEST_BROWSE; answers, perhaps later: it may wait in line with the gets for messages that are read.
void queue_browse(struct queue_worker *qw, struct queue *q, struct queue_request *r);
// QUEUE_REQUEST_REMOVE: QUEUE_OK, QUEUE_EMPTY (no such message), QUEUE_IN_USE (it is on its way out already).
enum queue_outcome queue_remove_message(struct queue_worker *qw, struct queue *q, uint64_t seq);
