// fixture.h: a crew driven from one thread, with a client that writes down what it is told.
//
// Members run turn by turn in a fixed order; operations are called "as" a member. Each message's body begins with its
// number. With a store (fixture_store.c) queues are durable and messages persistent; the commit log and the mover are stepped between the
// turns, at random by seed, and the disk is that of tests/sim/powercut.h: fx_crash and fx_open on the same disk are a restart.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/durable.h"
#include "queue/durable_start.h"
#include "queue/ops.h"
#include "queue/queue_worker.h"
#include "tests/sim/powercut.h"

enum { FX_SESSIONS = 16 };

struct fx_delivery {
    lv_handle queue;
    uint64_t seq, id;
    uint32_t consumer_id, delivery_count;
    bool is_redelivered;
};

struct fx_session {
    lv_handle handle;
    int worker;
    struct fx_delivery *deliveries;
    size_t count, cap;
    unsigned published_calls, accepted, refused;
    uint64_t last_number;
    unsigned ready_calls, unused, cancelled;
    lv_handle ready_consumer;
    uint32_t cancelled_consumer;
    const char *reason;
};

struct fx_config {
    int workers;
    uint64_t chaos_seed;
    size_t mailbox_capacity;
    uint64_t store_seed;   // 0: no store
    uint32_t page_percent; // written bodies that are let go of
    uint32_t delay_max;    // rounds until log and mover do something; 0, 1: each round
    // All 0: so much that it does not matter.
    uint32_t segment_bytes, segment_max;
    uint64_t written_max, body_max, index_max, tx_max, rewrite_max;
    struct powercut *disk; // NULL: one of its own
    bool is_restart;       // queues are made by fx_queue_back, then fx_recovered
    bool has_files;        // real files in a folder that goes at the end, threads of the store
};

struct fx {
    struct crew *crew;
    struct fx_session sessions[FX_SESSIONS];
    struct queue_def *defs[4096];
    size_t def_count;
    uint64_t next_id;     // of the next queue; 0: 1
    uint32_t queue_flags; // added to those of every queue
    uint8_t message_flags;
    uint8_t priorities;              // of messages: one of so many, by its number; 0: none has any
    const struct queue_rules *rules; // of queues to be made; NULL: none
    // The store, when there is one:
    struct powercut *disk;
    bool is_own_disk, is_started, has_crashed, is_out_of_service;
    char dir[64]; // of the data
    struct recovery recovery;
    struct durable_config durable;
    struct mover *mover;
    struct rng rng; // of the steps
    uint32_t delay_max;
    uint64_t retries;      // rounds that let timers of the disk side expire
    unsigned unused_calls; // is_unused
    uint64_t unused_id;
    void (*on_published)(lv_handle session, uint64_t number, unsigned accepted, unsigned refused); // besides
    void (*on_deliver)(struct worker *w, const struct delivery *d); // instead of writing down; owns d->msg
    void (*on_ready)(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer);
    unsigned (*on_dead)(struct worker *owner, const struct dead_letter *d); // instead of taking it
    unsigned dead_calls;
    void (*on_unused)(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count);
};

extern struct fx *fx;        // the one at hand
extern bool fx_stopped_full; // the log had no room for everything when the last one stopped

void fx_open(const struct fx_config *config);
int
fx_try_open(const struct fx_config *config); // 0, or the error of the recovery: then there is only the disk
void fx_open_plain(int workers);
void fx_close(void); // an orderly stop; asserts that nothing is left
// The process dies: what is on the disk is seen afterwards, or, with the power, what was durable. The disk has to be the test's own.
enum fx_death { FX_KILL, FX_CUT };
void fx_crash(enum fx_death death);
// Of is_restart: a queue that was there before, with what recovery found for it; then the end of the start.
lv_handle fx_queue_back(int worker, uint32_t flags, uint64_t id);
int fx_recovered(void);

struct worker *fx_member(int index);
struct worker *fx_writer(void);
void fx_as(struct worker *w);
void fx_turns(int rounds); // one round: a turn of each member
void fx_mail(void);        // until all mail has arrived, and what it brought about; the store stands still
bool fx_is_quiet(void);
void fx_quiet(void); // until nothing is under way and no queue can work

void fx_session_on(int session, int worker);
lv_handle fx_queue(int worker, uint32_t flags);
void fx_rules(lv_handle queue, const struct queue_rules *rules); // from here on; NULL: none
void fx_delete(lv_handle queue);                                 // unconditional, releases the handle

// Sends as the session (or the writer when session < 0) and waits; the caller frees it.
struct queue_request *fx_request(int session, struct queue_request *r);
enum queue_outcome fx_simple(int session, enum queue_request_kind kind, lv_handle queue,
                             uint64_t *ret_messages);
struct fx_consume {
    int session;
    lv_handle queue;
    uint32_t id, flags, prefetch;
    int32_t priority;
    uint32_t window_count, window_bytes; // 0: very much
};
enum queue_outcome fx_try_consume(const struct fx_consume *c, lv_handle *ret_consumer);
lv_handle fx_consumer(const struct fx_consume *c); // asserts QUEUE_OK
enum queue_outcome fx_cancel(int session, lv_handle queue, lv_handle consumer);
// The number of the message got, 0 when empty; seq and the request's other results in *ret (msg gone) when
// not NULL.
uint64_t fx_get(int session, lv_handle queue, bool is_no_ack, struct fx_delivery *ret);
struct queue_stats fx_stats(lv_handle queue);

uint64_t fx_queue_id(lv_handle queue);
struct queue *fx_queue_of(lv_handle queue);
struct durable *fx_durable(int worker); // NULL: no store
// Written bodies of waiting messages leave memory now.
void fx_let_go(lv_handle queue);
// Bit rot in the record of a waiting message, wherever it lies.
void fx_rot(lv_handle queue, const struct ready_entry *e);
// Nothing is left of any message on any worker.
void fx_assert_nothing_left(void);

struct message *fx_message(uint64_t id, uint32_t body_len);
uint8_t fx_priority_of(uint64_t id);
uint64_t fx_message_id(const struct message *m);
void fx_publish(int session, lv_handle queue, uint64_t id);
void fx_settle(int session, lv_handle queue, enum settle_kind kind, uint64_t seq);
void fx_window(int session, lv_handle consumer, uint32_t count);
void fx_forget(int session); // what it was told so far

// --- fixture_store.c, for fixture.c ---
struct fx_config;
int fx_store_open(const struct fx_config *config); // 0, or the error of the recovery
void fx_store_step(void);                          // after each round
bool fx_store_is_quiet(void);
void fx_store_stop(bool is_orderly); // of the queues' side, before they go
void fx_store_close(void);

// Runs a case with the sessions on the queues' worker (0), then with them on another one.
void fx_placed(void (*test_case)(void));
#define FX_PLACED(name)                                                                                      \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        fx_placed(name##_case);                                                                              \
    }
