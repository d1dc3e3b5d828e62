// session_timeout.h: deliveries that are not acknowledged in time go back, and their consumer is cancelled (consumer timeout).
//
// RabbitMQ closes the channel (406, "delivery acknowledgement … timed out"); here the channel lives: all that the late consumer has is
// requeued, the consumer is cancelled (basic.cancel for clients that know it), the log says so, and acks of what went back are ignored. A
// late basic.get goes back alone. How long is long: the consumer's argument x-consumer-timeout, else the queue's rule, else the node's.
//
// Nothing is done for a delivery but noting when it went out, in units of 2^24 ns. A session's deliveries are in the order of that; the
// session is looked at when the first of them may be late, at most once a timeout. Invariant: while deliveries with a timeout are out, the
// session is in the heap with `due_ns`, no later than the first of them is late (entries with another key are stale). One thread.
#pragma once

#include <ev.h>

#include "queue/queue_def.h"
#include "src/base/heap.h"
#include "src/base/inttab.h"
#include "src/base/list.h"

struct broker_worker;
struct session;
struct worker;

enum { TIMEOUT_TICK_BITS = 24, TIMEOUT_TICK_MASK = 0x7fffffff };
// LIMIT: a timeout of more than 100 days is none (ticks of 31 bits come round after 416).
#define TIMEOUT_MS_MAX UINT64_C(8640000000)
#define TIMEOUT_NEVER  (UINT64_MAX / 4)

struct session_timeouts {
    uint64_t due_ns;          // looked at then; TIMEOUT_NEVER: not
    uint64_t least_ns;        // no consumer or get of this session had a shorter timeout
    uint64_t look_from;       // a look that was too long goes on at this tag; 0: none
    uint64_t look_due_ns;     // what it had found till then
    uint64_t given_back_upto; // highest tag that was late
    struct inttab odd; // consumer (cancelled), queue (of a get) → its timeout, where that is not the node's
    struct list node;  // timeout_watch.late
    uint32_t late_consumer; // what it has is being given back; 0: none
    lv_handle late_queue;   // held meanwhile
    uint64_t late_from;     // tag
};

// Of a worker.
struct timeout_watch {
    struct heap due;  // due_ns → handle of a session
    struct list late; // session_timeouts.node
    ev_timer timer;
    uint64_t timer_ns; // what it is set to
};

void timeout_watch_init(struct broker_worker *b);
void timeout_watch_fini(struct broker_worker *b);
void session_timeouts_init(struct session_timeouts *t);
void session_timeouts_fini(struct session_timeouts *t);
void session_timeouts_forget(struct session *s); // it closes, and gives back everything anyway
uint64_t timeout_ns_of(const struct broker_worker *b,
                       uint64_t timeout_ms); // of a rule; RULE_NONE: the node's
void session_timeout_watch(struct session *s, uint64_t due_ns);
void session_timeout_least(struct session *s, uint64_t timeout_ns); // a consumer has that one
// The answer of a get is on its way.
void session_timeout_note_get(struct session *s, uint64_t now_ns, lv_handle queue, uint64_t timeout_ms);
// The consumer goes, and deliveries of it are out.
void session_timeout_keep(struct session *s, uint32_t consumer_id, uint64_t timeout_ns);
void client_timeout(struct worker *w, lv_handle session, uint32_t consumer_id, uint64_t timeout_ms);

// When a delivery goes out: the tick that begins next, so that nothing is late too early.
static inline uint32_t
timeout_tick(uint64_t now_ns)
{
    return (uint32_t)((now_ns >> TIMEOUT_TICK_BITS) + 1) & TIMEOUT_TICK_MASK;
}
