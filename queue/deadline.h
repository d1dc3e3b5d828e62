// deadline.h: when a worker has to look at which of its queues again: messages or queues that expire, consumers that take too long.
//
// One deadline a queue, wall clock in milliseconds: the earliest of those that its behaviours asked for. When it has come queue_due looks at all
// of them, in PHASE_DISPATCH behind the deliveries (so that what may live no time at all has had its chance), with a budget a turn; what is left comes in the
// turns after. A deadline that comes too early does no harm. One timer a worker. A queue that never asks costs its members. Owner's thread.
#pragma once

#include <ev.h>

#include "src/base/lv.h"

struct queue;
struct queue_worker;
struct worker;

#define DEADLINE_NONE INT64_MAX

struct queue_deadline {
    int64_t at_ms;
    struct queue *queue;
};

// In struct queue_worker. In struct queue: deadline_place, from 1, 0: none; has_deadline: a place is kept for it.
struct queue_deadlines {
    struct queue_deadline *heap; // by at_ms; `room` of them can be used
    uint32_t count, room, cap;
    int64_t timer_ms; // what the timer waits for; DEADLINE_NONE: nothing
    ev_timer timer;
};

void queue_deadlines_init(struct queue_worker *qw);
void queue_deadlines_fini(struct queue_worker *qw);
// Before the first queue_deadline_set of a queue; again is no harm. False: no memory.
LV_MUST_USE bool queue_deadline_reserve(struct queue_worker *qw, struct queue *q);
// Looks at it at that time, or earlier if that was asked for already.
void queue_deadline_set(struct queue_worker *qw, struct queue *q, int64_t at_ms);
// The queue goes.
void queue_deadline_drop(struct queue_worker *qw, struct queue *q);
// PHASE_DISPATCH.
bool queue_deadline_hook(struct worker *w, void *ctx);
