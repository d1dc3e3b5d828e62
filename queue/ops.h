// ops.h: the operations on a queue, the same whether it lives on this worker or another one (later: another
// node).
//
// Whoever uses queues (sessions, the topology writer, links) calls these functions on its own crew thread
// with a queue's handle. On the owner's thread an operation is a plain call; elsewhere it is a mail in the
// ring to the owner: FIFO per (caller, owner), so a publish followed by a consume of the same caller arrives
// in that order. Every operation is answered exactly once, also when the queue has gone meanwhile.
//
// Two shapes: hot operations (publish, settle, credit) are flat mails; all others are a `struct
// queue_request` on the heap that travels to the owner and back to `done` on the requester's thread. Results
// and deliveries go to the user through `struct queue_client`, a table registered by the layer above.
#pragma once

#include "queue/message.h"
#include "queue/queue_rules.h"
#include "src/base/worker.h"

// --- publishing ---

// Offers the message to `count` queues that all live on one worker. Takes its own references: the caller
// keeps its one. `session` 0: no answer is wanted. Otherwise queue_client.published(session, number, …) is
// called once for this call, on the caller's thread, after every one of the queues has taken the message as
// durably as it promises, or refused it. For local queues, when nothing has to be written, that is before this
// function returns.
void queue_publish(struct message *msg, const lv_handle *queues, unsigned count, lv_handle session,
                   uint64_t number);

// --- how deliveries end ---

enum settle_kind {
    SETTLE_ACK,     // consumed
    SETTLE_REQUEUE, // back to its original place, marked redelivered
    SETTLE_REJECT,  // not wanted: dropped, or dead-lettered where the queue says so
    SETTLE_RETURN,  // back, but it never reached the client: not marked redelivered beyond what it was
};

// --- transactions (tx.h) ---

uint64_t queue_tx_new(void); // a number for one; any worker
// LIMIT: bytes of messages that one transaction may write.
size_t queue_tx_max_bytes(void);
// As queue_publish, but the messages are held by their owners until the verdict. `published` comes when they have them, not
// when they are durable.
void queue_tx_publish(uint64_t tx, struct message *msg, const lv_handle *queues, unsigned count,
                      lv_handle session, uint64_t number);
// Writes acks as part of it. The deliveries stay out: they are settled by queue_settle after the verdict. SETTLE_REJECT: only where nobody wants dead letters;
// elsewhere the ack is written when the target has the message.
void queue_tx_ack(uint64_t tx, lv_handle queue, enum settle_kind kind, const uint64_t *seqs, size_t count);

struct queue_tx {
    uint64_t tx;
    uint64_t workers; // bit i: worker i has a part
    bool is_logged;   // something of it may be durable; else the verdict comes at once
    bool is_abort;
    unsigned waiting; // tx.c: owners that have not carried out the verdict
    int result;       // out: 0, or why it was refused: then nothing of it happened
    void (*done)(struct queue_tx
                     *t); // on the caller's thread, when all owners have carried it out; owns t from then on
    void (*abandon)(struct queue_tx *t); // the process ends: frees t
};
// After all of its publishes were answered.
void queue_tx_end(struct queue_tx *t);

// --- settling ---

// Settles deliveries of one queue by their sequence numbers. Unknown ones are ignored (settled twice by a
// crash, or gone).
void queue_settle(lv_handle queue, enum settle_kind kind, const uint64_t *seqs, size_t count);

// Holds up the deliveries of a queue to consumers (nothing else) until it has been called with false as often as with
// true: messages given back in parts, over several turns, are all back before the next one goes out.
void queue_hold(lv_handle queue, bool is_held);

// --- consumer credit ---

// Adds to the delivery window of a consumer: `count` messages and `bytes` more may be on their way to its
// socket. A delivery takes one message and message_weight(msg) bytes; the bytes may be overdrawn by one
// message.
void consumer_grant_window(lv_handle consumer, uint32_t count, uint32_t bytes);
// For consumers with CONSUMER_SHARED_LIMIT: the answer to queue_client.ready: up to `count` deliveries may be
// made now; what is not used comes back by queue_client.unused at once. count 0: no room now (the queue asks
// again after consumer_poke).
void consumer_grant_shared(lv_handle consumer, uint32_t count);
// The shared limit has room again: the queue may ask anew.
void consumer_poke(lv_handle consumer);
// The session's shared limit came into being or went away (basic.qos with global): sets or clears
// CONSUMER_SHARED_LIMIT of a living consumer. Deliveries already on their way are not called back.
void consumer_set_shared(lv_handle consumer, bool is_shared);

// --- requests ---

enum queue_request_kind {
    QUEUE_REQUEST_STATUS, // counts; resets the idle clock (declare of an existing queue)
    QUEUE_REQUEST_CONSUME,
    QUEUE_REQUEST_CANCEL,
    QUEUE_REQUEST_GET,
    QUEUE_REQUEST_PURGE,  // ready messages only
    QUEUE_REQUEST_CREATE, // topology writer only
    QUEUE_REQUEST_DELETE, // topology writer only: conditional removal
    QUEUE_REQUEST_STATS,  // fills stats
    QUEUE_REQUEST_RULES,  // topology writer only: `rules` from here on
    // Of the queue of a delayed exchange (browse.h):
    QUEUE_REQUEST_BROWSE, // `browse`: messages in the order of their numbers
    QUEUE_REQUEST_REMOVE, // takes out the one with the number `seq`
};

enum consumer_flags {
    CONSUMER_NO_ACK = 1u << 0,
    CONSUMER_EXCLUSIVE = 1u << 1,
    CONSUMER_SHARED_LIMIT =
        1u << 2, // a limit is shared with other queues: ask by queue_client.ready before delivering
};

enum queue_delete_condition {
    DELETE_IF_UNUSED = 1u << 0, // no consumers
    DELETE_IF_EMPTY = 1u << 1,  // no ready messages
    DELETE_IF_OVER =
        1u
        << 2, // what its owner asked the writer for is still true: auto-delete without consumers, or x-expires
};

enum queue_outcome {
    QUEUE_OK,
    QUEUE_GONE,          // no such queue (any more)
    QUEUE_EMPTY,         // get: nothing there; remove: no such message
    QUEUE_EXCLUSIVE_USE, // consume: an exclusive consumer is there, or one was wanted and others are there
    QUEUE_IN_USE,        // delete if unused; remove: the message is on its way out
    QUEUE_NOT_EMPTY,     // delete if empty
    QUEUE_NO_MEMORY,
};

// Why a message leaves its queue other than by an ack.
enum death_reason { DEATH_REJECTED, DEATH_EXPIRED, DEATH_MAXLEN, DEATH_DELIVERY_LIMIT, DEATH_REASON_COUNT };

// What is sampled of a queue (sampler.h), in this order.
enum queue_series {
    QUEUE_SERIES_PUBLISHED,
    QUEUE_SERIES_DELIVERED,
    QUEUE_SERIES_DELIVERED_NO_ACK,
    QUEUE_SERIES_GOT,
    QUEUE_SERIES_GOT_NO_ACK,
    QUEUE_SERIES_REDELIVERED,
    QUEUE_SERIES_ACKED,
    QUEUE_SERIES_READY,
    QUEUE_SERIES_UNACKED,
    QUEUE_SERIES_COUNT
};

struct samples;

// Counters of one queue since it was made; read by copy (QUEUE_REQUEST_STATS).
struct queue_stats {
    uint64_t published, delivered, delivered_no_ack, got, got_no_ack, redelivered, acked, requeued, rejected,
        returned, purged, expired, delivery_limited, consumer_timeouts;
    uint64_t maxlen_dropped, refused_maxlen; // by length limits: from the head; published and refused
    uint64_t ready, ready_bytes, unacked, unacked_bytes, persistent, consumers, memory_bytes;
    uint64_t dying, dying_bytes; // on their way to the dead-letter exchange: neither ready nor unacked
    uint64_t dead_lettered[DEATH_REASON_COUNT], dead_confirmed, dead_lost;
    uint64_t paged_out, paged_out_bytes; // of those that are ready: in backlog files alone
    int64_t idle_since_ms;               // wall clock; 0: not idle
    int64_t oldest_ms; // wall clock: no ready message was published before; 0: not known, or there is none
    double rates[QUEUE_SERIES_COUNT]; // change per second, of the last sample; 0 when it is not sampled
    uint32_t active_consumer;         // index among the consumers with single-active, for listings
    bool is_refusing;                 // full, with overflow reject-publish
};

// One consumer as listings show it.
struct consumer_info {
    lv_handle session;
    uint32_t consumer_id;
    uint32_t flags; // enum consumer_flags
    uint32_t prefetch;
    int32_t priority;
    bool is_active;
};

struct browsed_message {
    uint64_t seq;
    int64_t at_ms; // when it is due; wall clock
    uint32_t body_len;
    bool is_leaving;     // it is due, and on its way
    struct message *msg; // a reference; NULL: it could not be read now
};

struct queue_browse {
    uint64_t skip;   // in: so many first
    size_t wanted;   // in: room in `items`
    uint64_t total;  // out: messages there are
    size_t count;    // out
    uint32_t rounds; // browse.c
    struct browsed_message items[];
};

struct queue_request {
    enum queue_request_kind kind;
    lv_handle queue;
    struct worker *requester; // filled by queue_request_send
    void (*done)(
        struct queue_request *r); // on the requester's thread; owns r from then on (queue_request_free)
    void *ctx;                    // the requester's own
    lv_handle session; // consume, get: who it is for. The requester's handle for finding itself again
    // consume: in
    uint32_t consumer_id;    // the session's number of this consumer, given back with each delivery
    uint32_t consumer_flags; // enum consumer_flags
    uint32_t prefetch; // unacknowledged messages allowed; 0: no limit. Ignored with NO_ACK or SHARED_LIMIT
    int32_t priority;  // x-priority
    uint32_t window_count, window_bytes; // the first delivery window
    // cancel: in; consume: out
    lv_handle consumer;
    bool is_late;                 // cancel: it did not acknowledge in time
    uint64_t consumer_timeout_ms; // consume, get: out: as in struct queue_rules
    // get: in
    bool is_no_ack;
    // stats: in
    bool wants_samples;
    // browse: in and out
    struct queue_browse *browse; // heap, freed with the request
    // delete: in
    uint32_t delete_conditions; // enum queue_delete_condition
    // create: in
    const struct queue_def *def;
    struct queue_rules *rules; // create, rules: in; NULL: none. The queue's once it was carried out
    // out
    enum queue_outcome outcome;
    uint64_t message_count; // ready messages (status, get: left behind; purge, delete: removed)
    uint64_t consumer_count;
    struct message *msg;             // get: reference passes to the requester
    uint64_t seq;                    // get; remove: in
    bool is_redelivered;             // get
    uint32_t delivery_count;         // get: how often it was delivered before
    bool is_counted;                 // get: as in struct delivery
    struct queue_stats stats;        // stats
    struct consumer_info *consumers; // stats: heap array of stats.consumers entries, freed with the request
    struct samples *samples;         // stats, if wanted: heap, freed with the request; NULL: there are none
    struct queue_request *next;      // the owner's: gets that wait for a message to come into memory
};

// Zeroed; NULL when out of memory. Owner: the caller until it is sent, then `done`.
LV_MUST_USE struct queue_request *queue_request_new(enum queue_request_kind kind, lv_handle queue);
void queue_request_free(struct queue_request *r); // drops msg if it is still there
// Carries it out. On the owner's thread `done` may be called before this returns.
void queue_request_send(struct queue_request *r);

// --- what the layer above provides ---

struct delivery {
    lv_handle session;
    lv_handle queue;
    uint64_t seq;            // sequence number within the queue, for settling
    struct message *msg;     // the reference passes to the receiver
    uint32_t consumer_id;    // as given at consume
    uint32_t delivery_count; // times delivered before and not acked
    bool is_redelivered;
    bool is_counted; // the queue limits them: shown to the consumer as x-delivery-count
};

// Queues that have a message already, by their ids: so that another try goes to the others alone.
struct dead_targets {
    size_t count;
    uint64_t ids[];
};

// A message for the dead-letter exchange of its queue. All of it is only good during the call.
struct dead_letter {
    lv_handle queue;
    uint64_t seq;
    const struct queue_def *def;
    const struct queue_rules *rules; // has_dead_exchange
    struct message *msg;
    enum death_reason reason;
    int64_t died_ms;                // wall clock
    const struct dead_targets *had; // of an earlier try; NULL: none
};

enum dead_outcome {
    DEAD_TAKEN,       // every target has it, as durably as it promises
    DEAD_NO_EXCHANGE, // there is no such exchange
    DEAD_NO_ROUTE,    // which leads to no queue
    DEAD_CYCLE,       // but to queues where it died before
    DEAD_REFUSED,     // a target did
    DEAD_NO_MEMORY,   // nothing was sent
    DEAD_OUTCOME_COUNT,
};

// The answer to queue_client.dead, once for each call, on the owner's thread, also from within it. A queue whose dead letters are to be
// delivered at least once tries again later, whatever is not DEAD_TAKEN; others let go of the message, but for DEAD_NO_MEMORY. `had`: who has it
// by now, a heap block that is the queue's from here on; NULL: nobody.
void queue_dead_done(lv_handle queue, uint64_t seq, enum dead_outcome outcome, struct dead_targets *had);

// What became of a message that left for a reason.
enum death_fate {
    FATE_DROPPED,       // there is no dead-letter exchange
    FATE_DEAD_LETTERED, // on its way to it
    FATE_LOST,          // was to be dead-lettered, and nobody, or not every target, took it
    FATE_COUNT
};

enum queue_refusal {
    QUEUE_REFUSAL_GONE, // it was deleted while the message was on the way; the publisher is told that it was taken
    QUEUE_REFUSAL_FULL,      // its length limit, with overflow reject-publish
    QUEUE_REFUSAL_NO_MEMORY, // or no place in the log
};

// Called on the thread of the session (the queue posts a mail when it lives elsewhere). A session that has
// gone: the callee finds its handle stale and, for `deliver` of a consumer with acknowledgements, returns the
// message by SETTLE_RETURN.
struct queue_client {
    void (*published)(struct worker *w, lv_handle session, uint64_t number, unsigned accepted,
                      unsigned refused);
    void (*deliver)(struct worker *w, const struct delivery *d);
    // A consumer with a shared limit has messages waiting: answer with consumer_grant_shared (also 0).
    void (*ready)(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer);
    void (*unused)(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count);
    // The queue cancelled the consumer (queue deleted, or another reason given in words).
    void (*cancelled)(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason);
    // On the owner's thread: the last consumer of an auto-delete queue is gone; ask the topology writer to
    // remove it.
    void (*is_unused)(struct worker *owner, const struct queue_def *def);
    // On the owner's thread: publishes the message to the dead-letter exchange. Returns what it cost: 1 and the number of queues. NULL: there are
    // no dead letters.
    unsigned (*dead)(struct worker *owner, const struct dead_letter *d);
    // On the owner's thread: a queue did not take a message. def: NULL when it has gone. May be NULL.
    void (*refused)(struct worker *owner, const struct queue_def *def, const struct message *msg,
                    enum queue_refusal why);
    // On the owner's thread: so many messages left the queue for that reason (tally.h). To change nothing of it. NULL: of no interest.
    void (*died)(struct worker *owner, const struct queue_def *def, const struct queue_rules *rules,
                 enum death_reason reason, enum death_fate fate, uint64_t count);
    // The queue's rule about unacknowledged deliveries has changed (consumer_timeout.h). To change nothing of the queue. NULL: of no interest.
    void (*timeout)(struct worker *w, lv_handle session, uint32_t consumer_id, uint64_t timeout_ms);
};

// --- per worker ---

struct queue_worker_config {
    const struct queue_client *client;    // must outlive the crew
    const struct durable_config *durable; // durable.h; NULL: everything stays in memory
    uint32_t sample_ms;                   // interval of samples (sampler.h); 0: none are taken
};

// Start-up: makes w->queue_state and hooks PHASE_DISPATCH. Every crew member that uses queues needs it
// (owners and users).
void queue_worker_init(struct worker *w, const struct queue_worker_config *config);
// The threads have ended: waits until what all workers submitted to the log is written. Queues and messages are still there.
void queue_workers_stop(struct crew *crew);
void queue_worker_fini(struct worker *w);          // drops all queues and messages
bool queue_worker_is_full(const struct worker *w); // the log has no room for its messages; any thread
// Numbers of this worker, for placement and metrics (any thread, relaxed).
uint64_t queue_worker_queue_count(const struct worker *w);
uint64_t queue_worker_message_bytes(const struct worker *w);
// The process is to end: from here on no dead letter is handed over; what waits stays in its queue. On the worker's thread.
void queue_worker_hold_dead(struct worker *w);

// Of all queues this worker ever had. By queue type (classic, quorum), how they are dead-lettered (not at all, at most once, at least once), reason.
enum { DEAD_TYPES = 2, DEAD_STRATEGIES = 3 };
struct dead_totals {
    uint64_t messages[DEAD_TYPES][DEAD_STRATEGIES][DEATH_REASON_COUNT];
    uint64_t confirmed[DEAD_TYPES]; // at least once: all targets had it
    uint64_t lost;                  // were to be dead-lettered, and nobody, or not every target, took them
};
void queue_worker_dead_totals(const struct worker *w, struct dead_totals *ret); // any thread
// The next free handle on worker `w`: called by the topology writer alone, before QUEUE_REQUEST_CREATE.
lv_handle queue_handle_alloc(struct worker *w);
void queue_handle_release(lv_handle h); // writer alone, after the delete was answered
// Deliveries and acks of queues of type quorum that are gone: what the others of that type have counted is in their queue_stats.
struct queue_gone {
    uint64_t delivered, delivered_no_ack, got, got_no_ack, redelivered, acked;
};
void queue_worker_gone(const struct worker *w, struct queue_gone *ret); // on the worker's thread
// The queues of this worker from slot *from on, at most `max` slots of the table; *from is then where to go on, 0 at the end.
struct queue_totals {
    uint64_t ready, unacked, consumers;
    uint64_t memory_bytes; // of messages that are in memory
};
// The same with all that is known of a queue but its rates: *stats is good during the call.
void queue_worker_each_stats(const struct worker *w, uint32_t *from, uint32_t max,
                             void (*visit)(void *ctx, const struct queue_def *def,
                                           const struct queue_stats *stats),
                             void *ctx);
void queue_worker_each(const struct worker *w, uint32_t *from, uint32_t max,
                       void (*visit)(void *ctx, const struct queue_def *def, const struct queue_totals *t),
                       void *ctx);
