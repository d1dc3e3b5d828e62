// session_impl.h: what the parts of session.h share: the structs of a worker's broker state, clients, sessions, consumers.
//
// Inside src/broker only. Everything here belongs to one worker. A session in use by an answer that is still on its way is
// named by handle, never by pointer; closed sessions are freed in PHASE_REAP.
#pragma once

#include <stdatomic.h>

#include "src/base/histogram.h"
#include "src/base/inttab.h"
#include "src/base/list.h"
#include "src/base/samples.h"
#include "src/broker/auth.h"
#include "src/broker/counters.h"
#include "src/broker/rate.h"
#include "src/broker/reasons.h"
#include "src/broker/session.h"
#include "src/broker/session_timeout.h"

// LIMIT: keys of one message: its routing key and CC, BCC entries.
enum { SESSION_KEYS_MAX = 256 };
// LIMIT: the delivery window of a consumer, beyond what its socket has taken: messages, and bytes of bodies.
enum { SESSION_WINDOW_COUNT = 4096, SESSION_WINDOW_BYTES = 1024 * 1024 };
// LIMIT: the more consumers a client has, the smaller the windows of those to come: one that reads nothing is owed some hundred
// megabytes at most. What each consumer gets at least:
enum { CLIENT_WINDOW_BYTES = 16 * 1024 * 1024, SESSION_WINDOW_LEAST_BYTES = 8 * 1024 };
// Names of the direct reply-to feature (RabbitMQ documentation, "Direct Reply-to").
#define REPLY_TO_NAME   "amq.rabbitmq.reply-to"
#define REPLY_TO_PREFIX "amq.rabbitmq.reply-to."

enum { SESSION_SERIES_COUNT = sizeof(struct session_counts) / sizeof(uint64_t) }; // all counts are sampled
// What is sampled of a client.
enum { CLIENT_RECEIVED, CLIENT_SENT, CLIENT_SERIES_COUNT };

struct broker_worker {
    struct worker *worker;
    struct broker_config config;
    struct route_ctx *route;
    struct auth_cache *auth_cache; // shared by the clients of this worker
    struct list clients;           // struct client.node
    struct inttab clients_by_id;   // client.id → struct client
    struct {
        ev_timer timer; // runs while somebody looks
        bool is_due;
        int64_t watched_ms; // wall clock: the last look
    } sampler;
    struct session_slot *slots; // sessions by handle index
    uint32_t slot_cap;
    uint32_t slot_free;     // first free slot + 1; 0: none
    struct list confirming; // sessions with confirms to send: struct session.confirm_node
    struct list
        orphans; // consumers of closed sessions, to be cancelled when there is memory: session_consumer.node
    struct list settling; // sessions with more to settle than one turn may: struct session.settling_node
    struct list reaping;  // closed sessions: struct session.node
    struct timeout_watch timeouts;
    struct list dead_letters;           // under way: struct dead_pending.node
    _Atomic uint64_t dead_letter_count; // of them; one writer, the worker; readers: any thread, relaxed
    unsigned alarms;                    // enum broker_alarm
    bool has_interceptors;              // config.set_timestamp or set_routing_node
    struct counters counters;
    struct reasons *reasons;
    struct load_watch *loads; // of vhosts with limits of what their queues hold; NULL: none
    uint64_t load_version;    // auth_version of the topology that they follow
    uint32_t load_at;         // how far the walk over the queues is
    bool has_load_turn;       // it is time for one, or it is under way
    ev_timer load_timer;
    struct list commits;    // session.tx.again_node: those that the log had no room for
    ev_timer commit_timer;  // runs while there are any
    bool has_commit_turn;   // it is time for them
    ev_timer rate_timer;    // wakes the worker when the first of the publishers held by a rate may go on
    uint64_t rate_due_ns;   // when it is due; 0: it does not run
    uint64_t trace_version; // topology.auth_version of `is_tracing` (trace.h)
    bool is_tracing;
    _Atomic uint64_t
        queues_declared; // by its sessions: made, or found; one writer, the worker; readers: any thread, relaxed
    struct histogram confirm_latency; // of the publishes that were timed (session_confirm.c)
};

struct session_slot {
    struct session *session; // NULL: free
    uint32_t generation;     // of the handle; never 0
    uint32_t next_free;      // slot + 1
};

struct client {
    struct broker_worker *broker;
    struct list node;     // broker_worker.clients
    struct list sessions; // struct session.node
    struct list owing;    // sessions whose consumers are owed window: struct session.owing_node
    const struct client_events *events;
    void *ctx;
    void (*describe)(void *ctx, struct buf *out);
    void (*traffic)(void *ctx, uint64_t *ret_received, uint64_t *ret_sent);
    struct samples *samples; // session_sampler.c; NULL: it is not sampled
    bool is_watched;         // with a history
    uint64_t id;
    uint64_t vhost_id;             // id of the vhost opened
    uint64_t vhost_version;        // topology version of `vhost_now`
    const struct vhost *vhost_now; // only when vhost_version is the adopted one
    struct topology_request
        *gone; // ready to be sent at the end: made before the first exclusive queue is declared, else NULL
    uint32_t consumer_count; // of all its sessions
    uint32_t jobs;           // closed sessions of it that still give back what they had
    bool has_published;
    bool has_publish_work;    // a rate to be charged, or interceptors: what session_publish does only then
    bool is_blocked;          // told so by events->blocked
    uint8_t vhost_load;       // enum load_state: its vhost's queues hold more than they may (session_load.c)
    struct client_rate *rate; // NULL: no limit of a rate concerns it
    uint64_t rate_version;    // auth_version of the topology that `rate` follows
    uint64_t rate_number;     // and broker_worker.config.rate_number
    bool is_closed; // client_close was called: it goes, and `done` is called, when there are no jobs
    void (*done)(void *ctx);
    void *done_ctx;
    int64_t connected_ms; // wall clock
    char *names;          // heap: user, vhost, name, protocol one after the other
    struct slice user, vhost, name, protocol;
};

// Bytes of a name, kept; the memory is used again.
struct kept_name {
    uint8_t *bytes;
    size_t len, cap;
};

// One consumer of a session.
struct session_consumer {
    uint32_t id;        // session's number, never reused within the session
    lv_handle consumer; // at the queue's owner; 0 until consume was answered
    lv_handle queue;
    struct list node;                // session.consumer_list
    struct list owing_node;          // session.owing_consumers
    uint32_t owed_count, owed_bytes; // delivered since the last grant
    uint32_t granted;                // shared limit: granted and neither delivered nor returned
    uint32_t unacked;                // delivered and not settled
    uint32_t prefetch;
    int32_t priority;
    bool is_no_ack, is_exclusive;
    bool is_quorum;           // RabbitMQ: a global limit set later does not concern it
    bool is_shared;           // asks before each delivery: the session had a global limit
    uint64_t timeout_ns;      // a delivery may be out so long; TIMEOUT_NEVER: for any time
    bool has_own_timeout;     // by its own argument: the queue's does not matter
    bool is_parked;           // would be in session.waiting, but its own prefetch is used up
    struct list waiting_node; // session.waiting: the queue said ready and has not been granted anything yet
    struct slice tag, queue_name, arguments; // bytes behind this struct
};

// A delivery that is to be settled. In session.unacked in the order of tags.
struct unacked {
    uint64_t tag;
    lv_handle queue;
    uint64_t seq;
    uint32_t consumer_id;     // 0: basic.get
    uint32_t is_settled : 1;  // hole, dropped when it comes to the front or by compaction
    uint32_t given_tick : 31; // when it went out (session_timeout.h)
};
static_assert(sizeof(struct unacked) == 32, "half a cache line for each delivery that is out");

// Publishes not yet confirmed: entry i of the ring belongs to number done + 1 + i.
struct confirm_entry {
    uint32_t outstanding; // answers missing
    bool is_refused;
    bool is_sent; // confirmed by a single ack already
};

// Room in both arrays is made before a publish is sent, so that its answer always finds it.
struct confirm_window {
    bool is_on;
    uint64_t last;                 // highest number given
    uint64_t done;                 // all up to this are complete
    uint64_t floor;                // all up to this were sent; floor <= done
    uint64_t timed, timed_ns;      // a publish whose confirm is timed, and when it came; 0: none
    struct confirm_entry *entries; // ring
    size_t head, count, cap;       // cap: power of two
    uint64_t *islands;             // numbers complete since the last sending; room for 2 * cap
    size_t island_count;
};

enum session_op {
    OP_NONE,
    OP_SIMPLE,
    OP_QUEUE_DECLARE,
    OP_QUEUE_PURGE,
    OP_QUEUE_DELETE,
    OP_CONSUME,
    OP_CANCEL,
    OP_GET,
    OP_DELAYED,
    OP_COMMIT,
    OP_SETTLE,
    OP_RECOVER,
    OP_GIVE_BACK,
    OP_REPLY_CHECK
};

// The last route of this session, valid for one topology version: depends on exchange and key alone.
enum { MEMO_QUEUES = 4 };
struct route_memo {
    uint64_t version; // topology version; 0: empty
    uint16_t route_len;
    uint8_t count; // queues, all on one worker
    lv_handle queues[MEMO_QUEUES];
    struct exchange_counts *counts; // of the exchange
    uint8_t *route;                 // wire form of exchange and key; heap, 512 bytes, made on first use
};

struct tx_publish {
    struct message *msg;
    bool is_mandatory;
};

struct tx_settle {
    struct unacked entry;
    enum settle_kind kind;
};

struct tx_state {
    bool is_on;
    struct tx_publish *publishes;
    size_t publish_count, publish_cap, publish_bytes;
    struct tx_settle *settles;
    size_t settle_count, settle_cap;
    size_t publish_pos, settle_pos; // how far the giving back is
    struct commit *commit;          // being made; NULL: none, or its verdict is awaited
    uint64_t outstanding;           // answers a commit waits for
    bool is_refused;
    struct list again_node; // broker_worker.commits: waits for room in the log
    unsigned tries;         // of this commit, for which there was none
};

// Unacknowledged deliveries that are settled bit by bit: those with tags up to `upto`, which are at the front.
struct bulk {
    bool is_on;
    bool is_for_tx;    // they go to the transaction
    bool is_give_back; // all the session has, transaction included
    bool
        is_in_parts; // given back in several turns: the queues are held meanwhile, so that they keep their order
    enum settle_kind kind;
    uint64_t upto;
    lv_handle last_held;
    struct inttab held; // queues
};

struct session {
    struct client *client;
    lv_handle handle;
    uint16_t number;
    bool is_closed;
    bool
        is_failed; // events.failed was called, or it gives back: it is to be closed, and nothing is delivered any more
    bool is_sending;                     // inside the queue_publish calls of a publish or a commit
    bool is_granting, is_granting_again; // inside session_limit_released
    bool is_looking;                     // session_only_looks
    enum session_op op;                  // the ASYNC method outstanding
    const struct session_events *events;
    void *ctx;
    struct list node;         // client.sessions, then broker_worker.reaping
    struct list owing_node;   // client.owing
    struct list confirm_node; // broker_worker.confirming

    struct list settling_node; // broker_worker.settling
    struct bulk bulk;

    struct confirm_window confirm;
    uint64_t sync_left; // answers missing for the publish, or the commit, being made
    uint64_t sync_refused;
    struct route_memo memo;
    struct tx_state tx;

    uint64_t delivery_tag;                           // last given
    struct unacked *unacked;                         // deque ring
    size_t unacked_head, unacked_count, unacked_cap; // cap: power of two
    size_t unacked_settled;                          // holes among unacked_count
    struct session_timeouts timeouts;

    struct inttab consumers; // id → struct session_consumer
    struct inttab tags;      // hash of the tag → struct session_consumer: empty, or all of consumer_list
    struct list consumer_list;
    struct list owing_consumers;
    uint32_t consumer_last_id;
    uint16_t prefetch;     // for consumers to come
    uint16_t global_limit; // 0: none
    uint32_t global_used;  // unacknowledged by consumers, plus granted
    struct list waiting;   // consumers to be granted next, first come first served

    struct kept_name last_queue; // the last one declared; empty: none
    uint64_t reply_key;          // direct reply-to: 0: no reply consumer
    uint32_t reply_consumer_id;  // its consumer
    bool has_dropped_reply;      // said so in the log

    struct session_consumer *op_consumer; // OP_CONSUME: not in `consumers` yet; OP_CANCEL: being cancelled
    struct kept_name
        op_name; // OP_QUEUE_DECLARE, OP_REPLY_CHECK, OP_GET: the queue; OP_DELAYED: the exchange; OP_CANCEL: the tag
    bool op_no_ack;    // OP_GET
    uint32_t op_flags; // OP_QUEUE_DELETE: enum change_flags

    struct session_counts stats; // since it was opened
    struct samples *samples;     // session_sampler.c; NULL: it is not sampled
    bool is_watched;             // with a history
};

// A delivery goes out.
static inline void
session_timeout_note(struct session *s, uint64_t now_ns, uint64_t timeout_ns)
{
    if (LV_UNLIKELY(now_ns + timeout_ns < s->timeouts.due_ns))
        session_timeout_watch(s, now_ns + timeout_ns);
}

// --- shared helpers -----------------------------------------------------------------------------------------------------

struct broker_worker *broker_of(struct worker *w);
// NULL when the handle is stale.
struct session *session_by_handle(struct broker_worker *b, lv_handle h);
// The client's vhost in the adopted topology; NULL (with 530) when it has been deleted.
const struct vhost *client_vhost(struct client *c, struct fault *ret_fault);
bool client_may(struct client *c, const char *kind, struct slice name, enum access access,
                struct fault *ret_fault);
// A closed session of it has given everything back.
void client_job_done(struct client *c);
void client_forget(
    struct client *c); // at the end of the worker: frees a closed client whose jobs were not finished
void client_blocked_text(const struct client *c, struct buf *out); // "low on memory", of one that is blocked
// Tells the client when it has become blocked by an alarm, or no longer is.
void client_tell_alarm(struct client *c);
// Before an exclusive queue is declared: what its removal at the end needs. False: out of memory.
LV_MUST_USE bool client_prepare_exclusive(struct client *c);
// Answers the outstanding ASYNC method.
void session_answer(struct session *s, const struct session_result *r);
void session_answer_fault(struct session *s, const struct fault *f);
void session_answer_ok(struct session *s);
// A name that nobody can guess: the prefix and 22 random characters of base-64.
enum { SESSION_MADE_NAME_SIZE = 32 };
void session_make_name(const char *prefix, char out[static SESSION_MADE_NAME_SIZE]);
void session_answer_no_memory(struct session *s);
// Something that cannot be answered to anybody went wrong: the session is to be closed. Told once.
void session_fail(struct session *s, const struct fault *f);

// False: out of memory, nothing has changed. `name` may not lie in n.
LV_MUST_USE bool kept_name_set(struct kept_name *n, struct slice name);
// Makes room, so that kept_name_set of so many bytes cannot fail.
LV_MUST_USE bool kept_name_reserve(struct kept_name *n, size_t len);
static inline struct slice
kept_name_get(const struct kept_name *n)
{
    return slice_of(n->bytes, n->len);
}

// A method's queue name: an empty one is the last declared. False with 404 when there is none.
bool session_queue_name(const struct session *s, struct slice name, struct slice *ret_name,
                        struct fault *ret_fault);
// Finds a queue by its full name for an operation: 404, 405. NULL with the fault.
const struct queue_def *session_queue(struct session *s, struct slice name, struct fault *ret_fault);
bool queue_is_locked(const struct queue_def *def, uint64_t client_id);
void fault_locked(struct fault *f, struct slice queue, struct slice vhost);
void fault_no_queue(struct fault *f, struct slice queue, struct slice vhost);

// session_intercept.c
// Applies the interceptors: replaces *msg, whose reference it takes over, and what `props` points into. False: out of memory, *msg
// is as it was.
LV_MUST_USE bool session_intercept(struct session *s, struct message **msg, struct amqp_basic_props *props);

// session_rate.c
// session_load.c
void loads_init(struct broker_worker *b);
void loads_fini(struct broker_worker *b);
void client_load_init(struct client *c);
// Which limit holds it; false: none.
bool client_load_describe(const struct client *c, struct buf *out);
void commits_init(struct broker_worker *b); // session_commit.c
void commits_fini(struct broker_worker *b);
void rates_init(struct broker_worker *b);
void rates_fini(struct broker_worker *b);
void client_rate_free(struct client *c);
bool client_rate_must_wait(struct client *c);
void client_rate_charge(struct client *c, size_t bytes); // only with c->rate
bool client_rate_describe(const struct client *c, struct buf *out, enum reason_kind *ret_kind);

// session_sampler.c
void broker_sampler_init(struct broker_worker *b);
void broker_sampler_fini(struct broker_worker *b);
void broker_sampler_watch(struct broker_worker *b); // somebody looks
// Somebody wants the history of this one: it has one from now on.
void client_watch(struct client *c);
void session_watch(struct session *s);
double broker_rate(const struct broker_worker *b, const struct samples *s, unsigned series);

// session_settle.c
static inline void
session_count_settle(struct session *s, enum settle_kind kind)
{
    s->stats.acked += kind == SETTLE_ACK;
    s->stats.rejected += kind == SETTLE_REJECT;
    s->stats.requeued += kind == SETTLE_REQUEUE;
}
LV_MUST_USE int unacked_push(struct session *s, const struct unacked *entry);
void unacked_fault(struct fault *f, int err); // why unacked_push failed
void unacked_free(struct session *s);
// Of a session that is closing: gives back all it has, now or in later turns, and frees it then.
void session_give_back_and_free(struct session *s);
// It has more to do than one turn may: goes on in the next one.
void session_settle_later(struct session *s);
bool
session_settle_some(struct broker_worker *b); // one turn's share of all sessions; true: there is more to do
// How many deliveries, or messages of a commit, may be settled in a turn.
size_t session_settle_budget(const struct session *s);
void session_settle_entries(struct session *s, const struct unacked *entries, size_t count,
                            enum settle_kind kind);

// Index of the first entry of the ring with that tag or a higher one.
size_t unacked_lower_bound(const struct session *s, uint64_t tag);
struct unacked *unacked_at(const struct session *s, size_t i);
void unacked_trim(struct session *s);
// Of a consumer that did not acknowledge in time: takes it out of the session and cancels it. False: out of memory.
LV_MUST_USE bool session_consumer_expire(struct session *s, struct session_consumer *c);

// session_consume.c
struct session_consumer *session_consumer_by_id(struct session *s, uint32_t id);
struct session_consumer *session_consumer_by_tag(struct session *s, struct slice tag);
// A consumer that no queue knows of (the reply consumer); NULL: out of memory.
struct session_consumer *session_consumer_add_local(struct session *s, const struct session_consume_args *a);
void session_limit_released(struct session *s); // the shared limit may have room again: grants to who waits
void session_consumers_close(struct session *s);
void session_consumer_unacked(struct session *s, uint32_t id,
                              uint32_t count); // `count` of its deliveries were settled
void session_consumer_drop(struct session *s, struct session_consumer *c); // unlinks and frees
bool session_orphans_cancel(struct broker_worker *b); // false: some are left for want of memory
void client_deliver(struct worker *w, const struct delivery *d);
void client_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer);
void client_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count);
void client_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason);

// session_publish.c
#define TX_NUMBER UINT64_MAX // `number` of publishes made by a commit
void client_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted,
                      unsigned refused);
// The keys a message is routed by: its own, then those of CC and BCC. Slices into the message.
struct publish_keys {
    struct slice keys[SESSION_KEYS_MAX];
    size_t count;
    bool has_bcc;
};
// False with 406.
bool publish_keys_of(const struct message *msg, struct slice headers, struct publish_keys *ret,
                     struct fault *ret_fault);
// A checked message on its way.
struct publish {
    struct message *msg;      // owned; another one when BCC has been taken out
    struct message *original; // owned: what props and keys point into when that is no longer msg
    const struct amqp_basic_props *props;
    const struct publish_keys *keys;
    uint64_t number; // for the answers of the queues; 0: none are wanted
    bool is_mandatory;
    bool is_unroutable; // out: mandatory, and nobody got it: publish_return is due
    bool is_nowhere;    // out: no queue gets it
};
// Routes it and hands it to its queues, one operation a worker, and to askers of direct replies. Inside publish_begin: answers are
// counted there. 0 or -LE_NOMEM (nothing was sent).
LV_MUST_USE int publish_distribute(struct session *s, const struct vhost *v, const struct exchange *x,
                                   struct publish *p);
void publish_return(struct session *s,
                    struct publish *p); // when it is due. The handler may close the session
void publish_fini(struct publish *p);
void publish_note_unroutable(struct session *s,
                             struct publish *p); // nobody got it: counts, and whether it is to be returned
// Hands it to the queues, one operation a worker.
void publish_send(struct session *s, struct message *msg, const lv_handle *queues, size_t count,
                  uint64_t number);
LV_MUST_USE int publish_strip_bcc(struct publish *p); // BCC is for routing alone: it goes on without it
void publish_begin(struct session *s);

// session_delay.c: publish_distribute for a message that has a delay, in a vhost with delayed exchanges. *ret_count:
// queues that got it or keep it.
LV_MUST_USE int publish_delayed(struct session *s, const struct vhost *v, struct route_request *request,
                                struct publish *p, uint32_t delay_ms, size_t *ret_count);

// session_confirm.c
// Makes room for the next number.
LV_MUST_USE int confirm_reserve(struct session *s);
void confirm_published(struct session *s, uint64_t number, unsigned refused);
void confirm_note(struct session *s, uint64_t number, uint64_t outstanding, bool is_refused);
void confirm_send(struct session *s);
void confirm_free(struct session *s);

// session_tx.c: -LE_NOMEM, -LE_LIMIT or -LE_NOSPACE: see tx_fault
LV_MUST_USE int tx_add_publish(struct session *s, struct message *msg, bool is_mandatory);
LV_MUST_USE int tx_add_settle(struct session *s, const struct unacked *entry, enum settle_kind kind);
void tx_fault(struct fault *f, int err);
bool tx_check(struct session *s, struct fault *f);
// session_commit.c
void tx_published(struct session *s, unsigned refused);
void commit_publish(struct session *s, struct message *msg, const lv_handle *queues, unsigned count);
void commit_set_logged(struct session *s); // something of it is stored
void commit_abandon(struct session *s);    // takes back the one that is being made
// Drops publishes and gives back what was to be settled. True: there is nothing left.
bool tx_give_back_some(struct session *s, size_t *budget);
void tx_commit_unasked(struct session *s); // a planted bug's
void tx_free(struct session *s);

// session_reply_to.c
bool
reply_to_is_name(struct slice queue); // the pseudo queue, a token of it, or a name that will never be one
void reply_to_consume(struct session *s, const struct session_consume_args *args);
void reply_to_declare(struct session *s); // the name is in op_name
bool reply_to_is_token(struct slice routing_key);
// False: that is no token of this broker: the message has no route. Whether the asker is still there is not known here.
bool reply_to_send(struct worker *w, struct slice token, struct message *msg);
// Replaces a reply-to of the pseudo queue by this session's token; takes over *msg. 406 without a reply consumer.
bool reply_to_rewrite(struct session *s, struct message **msg, struct amqp_basic_props *props,
                      struct fault *ret_fault);
