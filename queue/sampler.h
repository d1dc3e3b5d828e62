// sampler.h: samples of the counters of a worker's queues, for rates and plots; taken while somebody looks.
//
// Whoever asks for a queue's counters (QUEUE_REQUEST_STATS) watches, for ten minutes from then on. Meanwhile every `interval_ms` all
// queues of the worker are walked, some thousand a turn: those that did something since the last walk are sampled from then on, until
// they did nothing for as long as a history is. Nobody looks: no walk, no memory. A queue that is not sampled costs a pointer.
// One thread: the owner.
#pragma once

#include "queue/ops.h"
#include "src/base/samples.h"

struct queue;
struct queue_worker;

struct sampler {
    ev_timer timer;       // runs while somebody looks
    uint32_t interval_ms; // 0: off
    uint32_t cursor;      // slot at which the walk goes on
    uint32_t count;       // queues with samples
    bool is_walking;
    int64_t watched_ms; // wall clock: the last look
    int64_t walk_ms;    // wall clock: start of this walk
    int64_t last_ms;    // and of the one before
};

void sampler_init(struct queue_worker *qw, uint32_t interval_ms);
void sampler_fini(struct queue_worker *qw); // before the queues go
void sampler_watch(struct queue_worker *qw);
void sampler_forget(struct queue_worker *qw, struct queue *q); // it goes
void sampler_fill_rates(const struct queue_worker *qw, const struct queue *q,
                        double ret[static QUEUE_SERIES_COUNT]);
