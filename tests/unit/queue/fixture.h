// fixture.h: a crew driven from one thread, with a client that writes down what it is told.
//
// Members run turn by turn in a fixed order; operations are called "as" a member. Each message's body is its
// number.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/ops.h"
#include "queue/queue_worker.h"
#include "queue/store_double.h"

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
    uint64_t store_seed; // 0: no store
    uint32_t page_percent, lose_percent, delay_max;
    size_t mailbox_capacity;
};

struct fx {
    struct crew *crew;
    struct fx_session sessions[FX_SESSIONS];
    struct store_double *doubles[CREW_MAX];
    struct queue_def *defs[4096];
    size_t def_count;
    unsigned unused_calls; // is_unused
    uint64_t unused_id;
    void (*on_deliver)(struct worker *w, const struct delivery *d); // instead of writing down; owns d->msg
    void (*on_ready)(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer);
    void (*on_unused)(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count);
};

extern struct fx *fx; // the one at hand

void fx_open(const struct fx_config *config);
void fx_open_plain(int workers);
void fx_close(void); // asserts that nothing is left

struct worker *fx_member(int index);
struct worker *fx_writer(void);
void fx_as(struct worker *w);
void fx_turns(int rounds); // one round: a turn of each member
void fx_quiet(void);       // until nothing is under way and no queue can work

void fx_session_on(int session, int worker);
lv_handle fx_queue(int worker, uint32_t flags);
void fx_delete(lv_handle queue); // unconditional, releases the handle

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

struct message *fx_message(uint64_t id, uint32_t body_len);
uint64_t fx_message_id(const struct message *m);
void fx_publish(int session, lv_handle queue, uint64_t id);
void fx_settle(int session, lv_handle queue, enum settle_kind kind, uint64_t seq);
void fx_window(int session, lv_handle consumer, uint32_t count);
void fx_forget(int session); // what it was told so far

// Runs a case with the sessions on the queues' worker (0), then with them on another one.
void fx_placed(void (*test_case)(void));
#define FX_PLACED(name)                                                                                      \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        fx_placed(name##_case);                                                                              \
    }
