// tally.h: tells the layer above which messages left which queue for which reason (queue_client.died), for counters and the log of reasons.
//
// Runs of one queue, reason and fate are told together, at the end of the turn at the latest, or when the queue ends. What a delayed
// exchange's own queue lets go of is no death. Owner's thread.
#pragma once

#include "queue/ops.h"

struct queue;
struct queue_worker;

// The run that was not told yet; member of queue_worker.
struct tally {
    const struct queue *queue; // NULL: nothing
    uint64_t count;
    uint8_t reason, fate; // enum death_reason, enum death_fate
};

void tally_note(struct queue_worker *qw, const struct queue *q, enum death_reason reason,
                enum death_fate fate);
// The queue ends, or (NULL) the turn.
void tally_flush(struct queue_worker *qw, const struct queue *q);
