// session.h: "a channel without a wire": declare, bind, publish, consume, get, settle, transactions, confirms. Users are the AMQP
// channel, the HTTP API's publish and get, shovels and federation links; a later protocol is one more.
//
// A `struct client` is a connection without a wire: user, vhost, exclusive queues; it has sessions. Both belong to one worker;
// every function here is called on it (LV_ON_WORKER), every event comes on it.
//
// Methods are of two kinds. *Immediate* ones return false with a fault, or true. *Asynchronous* ones (marked ASYNC) are answered
// exactly once by session_events.done, perhaps before the call returns; only one may be outstanding, and no other method of that
// session may be called until then (a channel carries out its methods in order), except session_close. Publishing and settling
// are immediate and never wait.
//
// An event's handler may close the session or client it belongs to, except from `blocked`, which may come inside session_publish.
// It may publish too, but not from `returned` of a commit (the method is still outstanding).
//
// Texts and codes of faults are RabbitMQ's. Scope of a fault (channel or connection) is in the fault.
#pragma once

#include "amqp/wire/props.h"
#include "queue/message.h"
#include "queue/ops.h"
#include "src/base/histogram.h"
#include "src/broker/counters.h"
#include "src/broker/json_details.h"
#include "src/broker/rate.h"
#include "src/broker/topology.h"

struct client;
struct session;

struct client_events {
    // The broker wants the connection closed (vhost deleted, user deleted, operator's word, shutdown): code 320 with its text.
    void (*close)(void *ctx, const struct fault *fault);
    // Publishers are blocked by a resource alarm: reason in RabbitMQ's words ("low on memory"); NULL: unblocked.
    void (*blocked)(void *ctx, const char *reason);
    // A publish just taken went over a limit of a rate: client_must_wait is true from here on. Comes inside session_publish. May be
    // NULL.
    void (*hold)(void *ctx);
    // Bytes made for this client that its socket has not taken yet. NULL: nothing is kept back for it.
    size_t (*unsent)(void *ctx);
};

struct client_args {
    struct slice user, vhost;
    struct slice name;     // "127.0.0.1:4000 -> 127.0.0.1:5672", for listings and logs
    struct slice protocol; // "AMQP 0-9-1"
    const struct client_events *events;
    void *ctx;
    // For listings: bytes received and sent so far. May be NULL.
    void (*traffic)(void *ctx, uint64_t *ret_received, uint64_t *ret_sent);
    // For listings: appends this connection's details (peer, frame_max, client properties …) to `out` as the members of a JSON
    // object, without braces, each followed by a comma. On the client's worker. May be NULL.
    void (*describe)(void *ctx, struct buf *out);
};

// Opens the vhost for an authenticated user: checks existence (530 "vhost nosuch not found"), permission, limits. NULL with the
// fault otherwise.
LV_MUST_USE struct client *client_open(struct worker *w, const struct client_args *args,
                                       struct fault *ret_fault);
// Closes all sessions, then the client: its exclusive queues are deleted; `done` is called when they are gone from every
// worker (then connection.close-ok may be sent). The client must not be used after the call. `done` may be NULL.
void client_close(struct client *c, void (*done)(void *ctx), void *ctx);
uint64_t client_id(const struct client *c); // connection id, unique for the process's life
// The connection's socket took everything it had to send (or little is left): consumers may send more.
void client_output_drained(struct client *c);
// Whether a publish would have to wait now: a congested worker pair, an alarm, or a limit of a rate. The wire holds back publishing
// channels then; the worker wakes when it is over.
bool client_must_wait(struct client *c);
// Publishers of its virtual host are blocked: its queues hold more than they may; says which limit that is. False: they are not.
bool client_is_vhost_full(const struct client *c, struct buf *ret_reason);
// A publish is being held: counts the reason when it is a rate.
void client_note_held(struct client *c);

struct session_result {
    struct fault fault;      // FAULT_NONE: success
    struct slice name;       // queue name (declare), consumer tag (consume, cancel); valid during the call
    uint64_t message_count;  // declare, purge, delete, get
    uint64_t consumer_count; // declare
    struct message *msg;     // get: NULL: empty. Borrowed: message_ref to keep
    uint64_t delivery_tag;   // get
    bool is_redelivered;     // get
    bool
        is_counted; // get: shows delivery_count in the header x-delivery-count, 0 too (PROTOCOL: as RabbitMQ)
    uint32_t delivery_count;           // get
    const struct queue_browse *browse; // delayed: NULL: the exchange delays nothing. Valid during the call
};

struct session_delivery {
    struct slice consumer_tag;
    uint64_t delivery_tag;
    struct message *msg; // borrowed: message_ref to keep
    bool is_redelivered;
    uint32_t shown_count; // for the header x-delivery-count; 0: none
};

struct session_events {
    void (*done)(void *ctx, const struct session_result *r);
    void (*deliver)(void *ctx, const struct session_delivery *d);
    void (*returned)(void *ctx, struct message *msg, uint16_t code,
                     const char *text); // borrowed msg; before its confirm
    void (*confirmed)(void *ctx, uint64_t tag, bool is_multiple,
                      bool is_nack);                         // in PHASE_COMPLETE, coalesced
    void (*cancelled)(void *ctx, struct slice consumer_tag); // by the broker
    // Something went wrong that no method can be told of (no memory for a delivery). At most once; the session delivers nothing any
    // more and is to be closed.
    void (*failed)(void *ctx, const struct fault *fault);
};

// NULL: out of memory. `number` is the channel number, for listings.
LV_MUST_USE struct session *session_open(struct client *c, uint16_t number,
                                         const struct session_events *events, void *ctx);
// Cancels consumers, gives unacknowledged messages back in order, forgets what is outstanding; no event comes afterwards.
void session_close(struct session *s);
size_t session_consumer_count(const struct session *s);

// exchange.* (passive: is_passive; immediate answers come through done as well)
struct session_exchange_args {
    struct slice exchange, type, arguments;
    bool is_passive, is_durable, is_auto_delete, is_internal;
};
void session_exchange_declare(struct session *s, const struct session_exchange_args *args); // ASYNC
void session_exchange_delete(struct session *s, struct slice exchange, bool if_unused);     // ASYNC
struct session_bind_args {
    struct slice source, destination, key,
        arguments; // destination empty for queues: the last one declared on this session
    bool is_dest_queue;
};
void session_bind(struct session *s, const struct session_bind_args *args);   // ASYNC
void session_unbind(struct session *s, const struct session_bind_args *args); // ASYNC

struct session_queue_args {
    struct slice queue, arguments; // queue empty: the broker makes a name
    bool is_passive, is_durable, is_exclusive, is_auto_delete;
};
void session_queue_declare(struct session *s, const struct session_queue_args *args);            // ASYNC
void session_queue_delete(struct session *s, struct slice queue, bool if_unused, bool if_empty); // ASYNC
void session_queue_purge(struct session *s, struct slice queue);                                 // ASYNC

struct session_consume_args {
    struct slice queue, consumer_tag, arguments; // consumer_tag empty: the broker makes one
    bool is_no_ack, is_exclusive;
};
void session_consume(struct session *s, const struct session_consume_args *args); // ASYNC
void session_cancel(struct session *s, struct slice consumer_tag);                // ASYNC
void session_get(struct session *s, struct slice queue, bool is_no_ack);          // ASYNC
// Messages that wait at a delayed exchange (delay.h), `wanted` of them behind the first `skip`, in the order of their publishes: with read
// permission on the exchange. And taking one out by its number, with write permission: 404 when it is not there, 406 when it is on its way out. As durable
// as an acknowledgement.
void session_delayed(struct session *s, struct slice exchange, uint64_t skip, size_t wanted); // ASYNC
void session_delayed_cancel(struct session *s, struct slice exchange, uint64_t number);       // ASYNC
void session_recover(struct session *s); // ASYNC: requeue all unacked
// What session_close does, for who has to know when it is done: cancels the consumers, gives back what is not acknowledged and
// what a transaction holds; nothing is delivered any more. True: done; false: ASYNC, `done` tells. Close it then.
bool session_give_back(struct session *s);
// It only looks: what it has not settled when it closes comes back as if it had never been delivered, not marked as redelivered.
void session_only_looks(struct session *s);
void session_tx_commit(struct session *s); // ASYNC

bool session_qos(struct session *s, uint16_t prefetch, bool is_global, struct fault *ret_fault);
bool session_confirm_select(struct session *s, struct fault *ret_fault);
bool session_tx_select(struct session *s, struct fault *ret_fault);
bool session_tx_rollback(struct session *s, struct fault *ret_fault);

// Publishes. Takes over the caller's reference of msg, whose header has been decoded into props (slices into msg). With confirms
// on, each call takes the next number from 1, also when it is refused by a fault (but for want of memory for the number itself).
bool session_publish(struct session *s, struct message *msg, const struct amqp_basic_props *props,
                     bool is_mandatory, struct fault *ret_fault);
// Acknowledges, rejects or requeues by delivery tag; 406 "unknown delivery tag N". More deliveries than a turn may settle
// (broker_config.settle_turn) make it ASYNC: session_is_busy then, and `done` tells.
bool session_settle(struct session *s, uint64_t delivery_tag, bool is_multiple, enum settle_kind kind,
                    struct fault *ret_fault);
bool session_is_busy(const struct session *s); // an ASYNC method is outstanding

// --- per worker -------------------------------------------------------------------------------------------------------

// Start-up, after topology_worker_init and before crew_start: makes w->broker_state and queue_state, hooks the phases.
// LIMIT: a millisecond or two of work.
enum { SETTLE_TURN_DEFAULT = 4096 };
// What is done to each message on its way in (session_intercept.c).
enum intercept { INTERCEPTOR_OFF, INTERCEPTOR_KEEP, INTERCEPTOR_OVERWRITE };
struct broker_config {
    const struct durable_config *durable; // queue/durable.h; NULL: messages stay in memory
    uint32_t default_prefetch;            // default_consumer_prefetch; 0: none
    bool is_redeclare_relaxed;            // arguments.h, struct queue_properties
    uint32_t consumer_timeout_ms;         // a delivery may be unacknowledged so long; 0: for any time
    struct slice default_queue_type;      // of vhosts that have none; empty: classic. Outlives the workers
    uint32_t sample_ms;                   // interval of samples for rates; 0: none are taken
    uint32_t settle_turn;                 // deliveries settled in a turn of a worker; 0: SETTLE_TURN_DEFAULT
    // For vhosts and users without a limit of their own, and for every connection; taken over when rate_number is not 0.
    struct rate_limit rates[RATE_SCOPES];
    uint64_t rate_number; // of these rates: each change has a higher one
    enum intercept set_timestamp, set_routing_node;
    struct slice
        event_vhost; // where amq.rabbitmq.event is (event.h); empty: nowhere. Lives as long as the workers
    struct slice node_name; // for the latter, and the firehose; lives as long as the workers
};
void broker_worker_init(struct worker *w, const struct broker_config *config);
void broker_worker_fini(struct worker *w);

// New limits of rates while running.
void broker_set_rates(struct worker *w, const struct rate_limit rates[static RATE_SCOPES]);
// Sets or clears resource alarms on this worker. Clients hear of the first two; the third holds publishers without a word, for the moment.
enum broker_alarm { ALARM_MEMORY = 1, ALARM_DISK = 2, ALARM_LOG = 4 };
enum { ALARMS_TOLD = ALARM_MEMORY | ALARM_DISK };
void broker_set_alarms(struct worker *w, unsigned alarms);
// Closes every client of a vhost, user, or (both empty) all, with that fault; or one connection by id. On their worker.
void broker_close_clients(struct worker *w, struct slice vhost, struct slice user, uint64_t id,
                          const struct fault *fault);
// The one connection with that name ("127.0.0.1:4000 -> 127.0.0.1:5672"); true when it is on this worker.
bool broker_close_named(struct worker *w, struct slice name, const struct fault *fault);

// Listings on one worker: appends JSON objects, each followed by a comma, of this worker's connections, channels, consumers or
// reasons (reasons.h); LIST_COUNTERS: one object of all it has counted.
enum broker_listing { LIST_CONNECTIONS, LIST_CHANNELS, LIST_CONSUMERS, LIST_COUNTERS, LIST_REASONS };
void broker_list(struct worker *w, enum broker_listing what, struct buf *out);
// The same of some of them alone; members that are 0 are no condition.
struct broker_listed {
    uint64_t client_id;
    uint32_t channel;
    lv_handle queue; // consumers of it
    // Of one connection or channel: histories of what it published and took, of its bytes. Kept from the first such question on.
    struct json_range messages, data;
};
void broker_list_only(struct worker *w, enum broker_listing what, const struct broker_listed *only,
                      struct buf *out);
// What a listing is sorted and cut by, before the objects themselves are asked for: appends one key after the other to `out`.
struct broker_key {
    uint64_t client_id;
    uint32_t channel; // channels, consumers; else 0
    struct slice name, vhost, user;
};
void broker_list_keys(struct worker *w, enum broker_listing what, struct buf *out);
// Takes the next key from the front of `keys`; false at the end. Slices point into it. Any thread.
bool broker_key_next(struct slice *keys, struct broker_key *ret);

// --- for metrics (session_metrics.c), on the worker ---

// What one worker's sessions have counted, those that are closed too, and what they have now.
struct broker_counts {
    struct session_counts all;
    uint64_t routed;                                       // copies handed to queues
    uint64_t connections, channels, consumers, publishers; // now; publishers: channels that have published
    uint64_t unacked, unconfirmed, uncommitted, acks_uncommitted; // now
    uint64_t prefetch, global_prefetch;                           // of open channels, added up
    uint64_t received_bytes, sent_bytes;                          // of open connections
    uint64_t queues_declared;                                     // made, or found
    struct session_counts open;                                   // of `all`: of sessions that are open
    struct histogram_sum confirm_latency;                         // ns
};
void broker_count(struct worker *w, struct broker_counts *ret);
uint64_t broker_queues_declared(const struct worker *w);       // made, or found; any thread
uint64_t broker_reason_count(struct worker *w, unsigned kind); // enum reason_kind

// Open connections from place *from of a table on, at most `max` places; *from is then where to go on, 0 at the end. A connection may be missed,
// or visited twice, when others come and go between the parts. `session` is visited for each channel after its `client`. Good during the call.
struct broker_client_row {
    uint64_t id, received_bytes, sent_bytes, channels;
    struct slice name, vhost, user;
};
struct broker_session_row {
    uint64_t client_id;
    uint16_t number;
    struct slice vhost;
    const struct session_counts *counts;
    uint64_t consumers, unacked, unconfirmed, uncommitted, acks_uncommitted, prefetch, global_prefetch;
};
void broker_each_client(struct worker *w, uint32_t *from, uint32_t max,
                        void (*client)(void *ctx, const struct broker_client_row *row),
                        void (*session)(void *ctx, const struct broker_session_row *row), void *ctx);

// What was published to exchanges, and the copies that queues were handed, as one worker counted them: records to `out`, from place *from of a
// table on, some `max` places; *from is then where to go on, 0 at the end. Or of one alone. Exchanges that are gone may still be among them.
struct broker_exchange_count {
    uint64_t id, in, out;
};
void broker_exchange_counts(struct worker *w, uint32_t *from, uint32_t max, struct buf *out);
void broker_exchange_count_one(struct worker *w, uint64_t id, struct buf *out);
bool broker_exchange_count_next(struct slice *records,
                                struct broker_exchange_count *ret); // from the front; any thread

// What the vhosts' clients did and what their queues hold, as far as one worker knows. Counts are since the start, of sessions and
// connections that have closed too.
enum broker_total {
    TOTAL_PUBLISHED,
    TOTAL_CONFIRMED,
    TOTAL_RETURNED,
    TOTAL_DELIVERED,
    TOTAL_DELIVERED_NO_ACK,
    TOTAL_GOT,
    TOTAL_GOT_NO_ACK,
    TOTAL_REDELIVERED,
    TOTAL_ACKED,
    TOTAL_DROPPED,     // neither routed nor returned
    TOTAL_GOT_EMPTY,   // gets that found nothing
    TOTAL_READY,       // now
    TOTAL_UNACKED,     // now
    TOTAL_CONNECTIONS, // now
    TOTAL_CHANNELS,    // now
    TOTAL_CONSUMERS,   // now
    TOTAL_RECEIVED,    // bytes
    TOTAL_SENT,
    TOTAL_COUNT
};
// One part of it: queues from slot `from` on (0: the sessions as well). Appends one record a vhost to `out`, perhaps several of the
// same one: add them up. Returns where the next part begins; 0: that was the last.
LV_MUST_USE uint32_t broker_totals(struct worker *w, uint32_t from, struct buf *out);
// Takes the next record from the front; false at the end. The name points into it. Any thread.
bool broker_total_next(struct slice *records, struct slice *ret_vhost,
                       uint64_t ret_totals[static TOTAL_COUNT]);
