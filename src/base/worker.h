// worker.h: a thread with one libev loop and a turn of fixed order; and the crew, all such threads of the
// process.
//
// Crew members 0 … n_workers-1 are the workers: they own connections, channels and queues. Behind them come
// the members that own one thing each: the topology writer (SQLite too), the HTTP thread, and the main thread
// (acceptor, signals). All speak by mail alone (worker_post): FIFO per ordered pair, visible at the end of
// the sender's turn, one wake-up a batch. What a member owns no other thread touches; functions assert it
// with LV_ON_WORKER.
//
// The turn, in this order (the order is the correctness argument, docs/architecture.md):
//   1. libev callbacks: they only mark (a connection readable, a timer due), no protocol work in them
//   2. hooks of PHASE_ADOPT      take the newest topology version
//   3. hooks of PHASE_READ       read sockets with a budget, parse, route, enqueue
//   4. mailboxes in              with a budget; test builds skip rings at random by seed
//   5. hooks of PHASE_TIMERS     due timers: heartbeats, expiry
//   6. hooks of PHASE_DISPATCH   queues hand messages to consumers
//   7. hooks of PHASE_LOG        batch to the message log
//   8. hooks of PHASE_COMPLETE   confirms that became due
//   9. hooks of PHASE_WRITE      encode what is left, write sockets
//  10. mailboxes out             publish all rings, wake receivers
//  11. hooks of PHASE_REAP       free what was retired during the turn
// A hook that has work left returns true: the loop then does not sleep, and the turn comes round again at
// once.
#pragma once

#include <ev.h>
#include <stdatomic.h>

#include "src/base/histogram.h"
#include "src/base/list.h"
#include "src/base/lv.h"
#include "src/base/mailbox.h"
#include "src/base/rng.h"

enum worker_phase {
    PHASE_ADOPT,
    PHASE_READ,
    PHASE_TIMERS,
    PHASE_DISPATCH,
    PHASE_LOG,
    PHASE_COMPLETE,
    PHASE_WRITE,
    PHASE_REAP,
    PHASE_COUNT
};

enum {
    CREW_WORKERS_MAX = 64,
    CREW_EXTRA_MAX = 4,
    CREW_MAX = CREW_WORKERS_MAX + CREW_EXTRA_MAX,
    WORKER_HOOKS_MAX = 8
};

// Members behind the workers: crew->n_workers + one of these.
enum crew_extra { CREW_TOPOLOGY, CREW_HTTP, CREW_MAIN, CREW_EXTRA_COUNT };

typedef bool (*worker_hook_fn)(struct worker *w, void *ctx);

struct worker_hook {
    worker_hook_fn fn;
    void *ctx;
};

struct crew;

struct worker {
    struct crew *crew;
    int index;            // 0 … crew->n_members-1
    struct ev_loop *loop; // own thread only, but ev_async_send
    ev_async wake;        // sent by other members after publishing mail
    // Above: fixed, read by all members. From here on the owner writes every turn: a cache line of its own.
    __attribute__((aligned(LV_CACHE_LINE))) uint64_t turn; // counts turns; own thread
    uint64_t now_ns;                                       // monotonic time at the start of the turn, cached
    int64_t now_ms;                                        // wall-clock time at the start of the turn, cached
    bool is_stopping;                                      // leave the loop at the end of this turn
    struct worker_hook hooks[PHASE_COUNT][WORKER_HOOKS_MAX];
    uint8_t hook_count[PHASE_COUNT];
    struct mailbox *out[CREW_MAX]; // to each member (self too); [i] is the ring this → i
    struct rng rng;                // seeded per worker; not for secrets
    // Slots for the modules above: their per-thread state (set at start-up, before the thread runs).
    void *queue_state;  // queue/: struct queue_worker
    void *broker_state; // src/broker/: struct broker_worker
    void *amqp_state;   // amqp/: struct amqp_worker
    void *extra_state;  // whatever else the member is (topology writer, http, main)
};

struct crew_config {
    int n_workers;           // 1 … CREW_WORKERS_MAX
    size_t mailbox_capacity; // mails a ring; power of two; 0: 1024
    uint64_t chaos_seed;     // 0: off; otherwise mailboxes are delayed at random (tests)
};

struct crew {
    int n_workers;
    int n_members; // n_workers + CREW_EXTRA_COUNT
    uint64_t chaos_seed;
    struct worker *members[CREW_MAX];
};

// The worker of the calling thread; NULL outside the crew.
extern _Thread_local struct worker *worker_self;
#define LV_ON_WORKER(w) LV_ASSERT(worker_self == (w))

// Makes all members with their loops and rings; no thread runs yet. Aborts when out of memory.
struct crew *crew_new(const struct crew_config *config);
// Frees all; every thread must have ended.
void crew_free(struct crew *c);
// Starts threads for the workers, CREW_TOPOLOGY and CREW_HTTP (the main thread calls worker_run on CREW_MAIN
// itself).
LV_MUST_USE int crew_start(struct crew *c);
// Asks one member to leave its loop after the present turn (any thread, also before start). crew_join waits
// for all threads. Mail that is still on its way then is never handled: who stops a crew has made sure that
// none matters.
void worker_stop(struct worker *w);
void crew_join(struct crew *c);

static inline struct worker *
crew_extra_member(struct crew *c, enum crew_extra extra)
{
    return c->members[c->n_workers + (int)extra];
}

// Start-up only, before the thread runs (or on its thread).
void worker_add_hook(struct worker *w, enum worker_phase phase, worker_hook_fn fn, void *ctx);

// Runs turns until worker_stop. Called by the thread that is to be the member.
void worker_run(struct worker *w);
// One turn without sleeping; for tests that drive several members from one thread (sets worker_self
// meanwhile).
void worker_turn(struct worker *w);

// Sends a mail from the calling member to `to` (itself included: handled in its next mailbox phase). `len` ≤
// MAIL_PAYLOAD_BYTES. `weight`: bytes kept alive by it. Never fails. The only way into `out`: it also notes
// what to publish. At start-up the thread that is to be a member may set worker_self and post: its first turn
// publishes.
void worker_post(struct worker *to, mail_fn fn, const void *payload, size_t len, uint64_t weight);
// Handles now all visible mail from one other member (used when an operation names a handle that is not known
// yet: its creation may wait in the ring from the topology writer).
void worker_drain_from(struct worker *w, struct worker *from);
// Any outgoing ring to a worker is congested: publishers are not to be read in this turn. Who is told so may
// sleep: the loop comes round again when the congestion has ended.
bool worker_is_congested(const struct worker *w);
// How long its turns took so far, from the end of the poll (HISTOGRAM_TIME_NS); mails on their way to it now. Any thread.
void worker_turns(const struct worker *w, struct histogram_sum *to);
uint64_t worker_mail_depth(const struct worker *w);
// Makes the loop come round again without sleeping (own thread).
void worker_keep_awake(struct worker *w);
