// perf_run.h: one load: topology, producers and consumers on threads with a loop each, and what they count.
//
// Each producer and each consumer has a connection of its own, and belongs to one thread for the whole run; the main thread
// only reads their counters. The order: open all, declare, consume, start the threads, measure, stop, join, delete.
#pragma once

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "src/cli/perf_common.h"
#include "src/cli/perf_hist.h"
#include "src/cli/perf_report.h"

enum {
    RUN_STAMP_SIZE = 16, // bytes of a body that carry the time (8) and the run's number (8)
};

#define RUN_QUEUE_PATTERN "leveret-perf-%d"

struct run_config {
    struct perf_common common;
    uint64_t producers, consumers, threads;
    uint64_t queues;
    const char *queue, *queue_pattern; // one name, or a pattern with %d
    bool is_durable, is_quorum, is_keep;
    struct buf queue_args;
    const char *exchange, *type, *routing_key, *binding_key;
    uint64_t size; // bytes of a body
    bool is_persistent;
    double rate;       // messages a second of each producer; 0: as fast as it goes
    uint64_t confirm;  // unconfirmed messages of a producer; 0: no confirms
    uint64_t messages; // of each producer, or without any of all consumers; 0: until the time is over
    bool is_auto_ack, is_holding;
    uint64_t prefetch, multi_ack_every;
    double duration_s, warmup_s, connect_within_s;
    bool is_quiet;
    uint64_t frame_max; // bytes
    const char *disk;   // a folder on it; NULL
};

enum run_phase { RUN_GOING, RUN_DRAINING /* no more publishing */, RUN_OVER };

// Relaxed: written by one thread, read by the main thread; each number stands for itself.
struct run_counts {
    _Atomic uint64_t published, confirmed, nacked, consumed, redelivered;
    _Atomic uint64_t last_ns;  // when something was last confirmed or consumed, or a producer was done
    _Atomic uint64_t first_ns; // when something was first consumed; 0: nothing yet
};

struct run_thread;

struct run {
    const struct run_config *config;
    struct perf_uris uris;
    struct perf_conn admin; // declares and deletes, main thread
    bool *is_created;       // for each queue: this run declared it
    bool is_exchange_created;
    uint64_t start_ns, connected_ns; // of the program; when the broker had let it in
    uint64_t id;                     // random; tells this run's messages from others
    struct run_thread *threads;
    size_t thread_count;
    _Atomic int phase;               // enum run_phase; set by the main thread, seen by all
    pthread_mutex_t lock;            // rank: leaf; guards error
    char error[PERF_CONN_ERROR_MAX]; // of the first that failed
    _Atomic bool is_failed;          // release after error is written, acquire by the main thread
    _Atomic uint64_t producers_done; // producers that have published and confirmed all
};

struct run_thread {
    struct run *run;
    pthread_t thread;
    struct ev_loop *loop;
    ev_async wake;         // the phase has changed
    int timer_fd;          // nanoseconds, which libev's timers do not have
    uint64_t timer_due_ns; // when it fires; UINT64_MAX: not armed
    ev_io timer_io;
    struct run_producer **producers;
    size_t producer_count;
    struct run_consumer **consumers;
    size_t consumer_count;
    struct run_counts counts; // of all its producers and consumers
    struct perf_hist *confirm_hist, *delivery_hist;
};

// --- perf_run_topology.c ---
LV_MUST_USE int run_declare(struct run *r);
void run_delete(struct run *r);
void run_queue_name(const struct run_config *c, uint64_t index, char ret[static 256]);
// The exchange and routing key with which messages for queue `index` are published.
void run_route(const struct run_config *c, uint64_t index, struct slice *ret_exchange, struct slice *ret_key,
               char buf[static 256]);

// --- perf_run_producer.c ---
LV_MUST_USE int run_producer_new(struct run_thread *t, uint64_t index, struct run_producer **ret);
void run_producer_start(struct run_producer *p); // on its thread
void run_producer_stop(struct run_producer *p);  // on its thread: publishes no more
void run_producer_pump(struct run_producer *p);  // publishes what is due
uint64_t run_producer_due(
    const struct run_producer *p); // when the next message is; UINT64_MAX: something else wakes it
bool run_producer_is_blocked(const struct run_producer *p);
void run_producer_free(struct run_producer *p); // after the thread has ended

// --- perf_run_consumer.c ---
LV_MUST_USE int run_consumer_new(struct run_thread *t, uint64_t index, struct run_consumer **ret);
void run_consumer_start(struct run_consumer *c);
void run_consumer_free(struct run_consumer *c);

// --- perf_run_threads.c ---
LV_MUST_USE int run_threads_open(struct run *r);
LV_MUST_USE int run_threads_start(struct run *r);
void run_threads_phase(struct run *r, enum run_phase phase); // tells all
void run_threads_join(struct run *r);
void run_threads_free(struct run *r);
// Sees to it that the thread's producers are pumped at that time at the latest.
void run_thread_wake_at(struct run_thread *t, uint64_t due_ns);
// The first failure of all is kept; everything ends.
void run_fail(struct run *r, const char *who, uint64_t index, const char *why);

// --- perf_run_measure.c ---
int run_measure(struct run *r); // the exit status

static inline void
run_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}
