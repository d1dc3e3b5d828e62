// session_impl.h: what the parts of session.h share: the structs of a worker's broker state, clients, sessions, consumers.
//
// Inside src/broker only. Everything here belongs to one worker. A session in use by an answer that is still on its way is
// named by handle, never by pointer; closed sessions are freed in PHASE_REAP.
#pragma once

#include "src/base/inttab.h"
#include "src/base/list.h"
#include "src/broker/auth.h"
#include "src/broker/session.h"

// LIMIT: keys of one message: its routing key and CC, BCC entries.
enum { SESSION_KEYS_MAX = 256 };
// LIMIT: the delivery window of a consumer, beyond what its socket has taken: messages, and bytes of bodies.
enum { SESSION_WINDOW_COUNT = 4096, SESSION_WINDOW_BYTES = 1024 * 1024 };
// Names of the direct reply-to feature (RabbitMQ documentation, "Direct Reply-to").
#define REPLY_TO_NAME "amq.rabbitmq.reply-to"
#define REPLY_TO_PREFIX "amq.rabbitmq.reply-to."

struct broker_worker {
    struct worker *worker;
    struct broker_config config;
    struct route_ctx *route;
    struct auth_cache *auth_cache;   // shared by the clients of this worker
    struct list clients;             // struct client.node
    struct session_slot *slots;      // sessions by handle index
    uint32_t slot_cap;
    uint32_t slot_free;              // first free slot + 1; 0: none
    struct list confirming;          // sessions with confirms to send: struct session.confirm_node
    struct list reaping;             // closed sessions: struct session.node
    unsigned alarms;                 // bits: 1 memory, 2 disk
};

struct session_slot {
    struct session *session;         // NULL: free
    uint32_t generation;             // of the handle; never 0
    uint32_t next_free;              // slot + 1
};

struct client {
    struct broker_worker *broker;
    struct list node;                // broker_worker.clients
    struct list sessions;            // struct session.node
    struct list owing;               // sessions whose consumers are owed window: struct session.owing_node
    const struct client_events *events;
    void *ctx;
    void (*describe)(void *ctx, struct buf *out);
    uint64_t id;
    uint64_t vhost_id;               // id of the vhost opened
    uint64_t vhost_version;          // topology version of `vhost_now`
    const struct vhost *vhost_now;   // only when vhost_version is the adopted one
    bool has_exclusive;              // declared an exclusive queue
    bool has_published;
    bool is_blocked;                 // told so by events->blocked
    int64_t connected_ms;            // wall clock
    char *names;                     // heap: user, vhost, name, protocol one after the other
    struct slice user, vhost, name, protocol;
};

// One consumer of a session.
struct session_consumer {
    uint32_t id;                     // session's number, never reused within the session
    lv_handle consumer;              // at the queue's owner; 0 until consume was answered
    lv_handle queue;
    struct list node;                // session.consumer_list
    struct list owing_node;          // session.owing_consumers
    uint32_t owed_count, owed_bytes; // delivered since the last grant
    uint32_t granted;                // shared limit: granted and neither delivered nor returned
    uint32_t unacked;                // delivered and not settled
    uint32_t prefetch;
    int32_t priority;
    bool is_no_ack, is_exclusive;
    bool is_shared;                  // asks before each delivery: the session had a global limit
    struct list waiting_node;        // session.waiting: the queue said ready and has not been granted anything yet
    struct slice tag, queue_name, arguments; // bytes behind this struct
};

// A delivery that is to be settled. In session.unacked in the order of tags.
struct unacked {
    uint64_t tag;
    lv_handle queue;
    uint64_t seq;
    uint32_t consumer_id;            // 0: basic.get
    bool is_settled;                 // hole, dropped when it comes to the front or by compaction
};

// Publishes not yet confirmed: entry i of the ring belongs to number done + 1 + i.
struct confirm_entry {
    uint32_t outstanding;            // answers missing
    bool is_refused;
    bool is_sent;                    // confirmed by a single ack already
};

struct confirm_window {
    bool is_on;
    uint64_t last;                   // highest number given
    uint64_t done;                   // all up to this are complete
    uint64_t floor;                  // all up to this were sent; floor <= done
    struct confirm_entry *entries;   // ring
    size_t head, count, cap;         // cap: power of two
    uint64_t *islands;               // numbers done above the floor since the last sending
    size_t island_count, island_cap;
};

enum session_op { OP_NONE, OP_SIMPLE, OP_QUEUE_DECLARE, OP_QUEUE_PURGE, OP_QUEUE_DELETE, OP_CONSUME, OP_CANCEL, OP_GET, OP_COMMIT, OP_REPLY_CHECK };

// The last route of this session, valid for one topology version.
enum { MEMO_QUEUES = 4 };
struct route_memo {
    uint64_t version;                // topology version; 0: empty
    uint16_t route_len;
    uint8_t count;                   // queues, all on one worker
    lv_handle queues[MEMO_QUEUES];
    uint8_t *route;                  // wire form of exchange and key; heap, 512 bytes, made on first use
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
    size_t publish_count, publish_cap;
    struct tx_settle *settles;
    size_t settle_count, settle_cap;
    uint64_t outstanding;            // answers a commit waits for
    bool is_refused;
};

struct session {
    struct client *client;
    lv_handle handle;
    uint16_t number;
    bool is_closed;
    bool is_sending;                 // inside the queue_publish calls of one publish
    bool is_granting, is_granting_again; // inside session_limit_released
    enum session_op op;              // the ASYNC method outstanding
    const struct session_events *events;
    void *ctx;
    struct list node;                // client.sessions, then broker_worker.reaping
    struct list owing_node;          // client.owing
    struct list confirm_node;        // broker_worker.confirming

    struct confirm_window confirm;
    uint32_t sync_left;              // answers missing for the publish being made
    uint32_t sync_refused;
    struct route_memo memo;
    struct tx_state tx;

    uint64_t delivery_tag;           // last given
    struct unacked *unacked;         // deque ring
    size_t unacked_head, unacked_count, unacked_cap; // cap: power of two
    size_t unacked_settled;          // holes among unacked_count

    struct inttab consumers;         // id → struct session_consumer
    struct list consumer_list;
    struct list owing_consumers;
    uint32_t consumer_last_id;
    uint16_t prefetch;               // for consumers to come
    uint16_t global_limit;           // 0: none
    uint32_t global_used;            // unacknowledged by consumers, plus granted
    struct list waiting;             // consumers to be granted next, first come first served

    char *last_queue;                // name of the last queue declared; heap
    size_t last_queue_len;
    uint64_t reply_key;              // direct reply-to: 0: no reply consumer
    uint32_t reply_consumer_id;      // its consumer
    bool has_dropped_reply;          // said so in the log

    struct session_consumer *op_consumer; // OP_CONSUME: not in `consumers` yet; OP_CANCEL: being cancelled
    struct slice op_name;            // OP_QUEUE_DECLARE, OP_REPLY_CHECK: heap copy of the name
    bool op_no_ack;                  // OP_GET

    struct { // counters since the session was opened
        uint64_t published, confirmed, returned, delivered, delivered_no_ack, got, got_no_ack, redelivered, acked;
    } stats;
};

// --- shared helpers -----------------------------------------------------------------------------------------------------

struct broker_worker *broker_of(struct worker *w);
// NULL when the handle is stale.
struct session *session_by_handle(struct broker_worker *b, lv_handle h);
// The client's vhost in the adopted topology; NULL (with 530) when it has been deleted.
const struct vhost *client_vhost(struct client *c, struct fault *ret_fault);
bool client_may(struct client *c, const char *kind, struct slice name, enum access access, struct fault *ret_fault);
// Answers the outstanding ASYNC method.
void session_answer(struct session *s, const struct session_result *r);
void session_answer_fault(struct session *s, const struct fault *f);
void session_answer_ok(struct session *s);
// Resolves a queue name ("" is the last one declared) for an operation: 404, 405. NULL with the fault.
const struct queue_def *session_queue(struct session *s, struct slice name, struct fault *ret_fault);
bool queue_is_locked(const struct queue_def *def, uint64_t client_id);
void fault_locked(struct fault *f, struct slice queue, struct slice vhost);
void fault_no_queue(struct fault *f, struct slice queue, struct slice vhost);

// session_settle.c
LV_MUST_USE int unacked_push(struct session *s, const struct unacked *entry);
void unacked_requeue_all(struct session *s, enum settle_kind kind);
void unacked_free(struct session *s);
void session_settle_entries(struct session *s, const struct unacked *entries, size_t count, enum settle_kind kind);

// session_consume.c
struct session_consumer *session_consumer_by_id(struct session *s, uint32_t id);
struct session_consumer *session_consumer_by_tag(struct session *s, struct slice tag);
// A consumer that no queue knows of (the reply consumer); NULL: out of memory.
struct session_consumer *session_consumer_add_local(struct session *s, const struct session_consume_args *a);
void session_limit_released(struct session *s); // the shared limit may have room again: grants to who waits
void session_consumers_close(struct session *s);
void session_consumer_unacked(struct session *s, uint32_t id, uint32_t count); // `count` of its deliveries were settled
void session_consumer_drop(struct session *s, struct session_consumer *c); // unlinks and frees
void client_deliver(struct worker *w, const struct delivery *d);
void client_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer);
void client_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count);
void client_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason);

// session_publish.c
#define TX_NUMBER UINT64_MAX // `number` of publishes made by a commit
void client_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused);
// Where a message goes: queues of one worker are neighbours. Valid until the end of the turn.
LV_MUST_USE int publish_route(struct session *s, const struct vhost *v, const struct exchange *x, struct message *msg,
                              struct slice headers, struct route_result *ret);
// BCC is for routing alone: the message goes on without it. Takes over *msg; 0 or -LE_NOMEM (*msg is as it was).
LV_MUST_USE int publish_strip_bcc(struct message **msg, const struct amqp_basic_props *props);
// Hands it to the queues, one operation a worker, with `number` for the answers (0: none). Returns how many answers come.
uint32_t publish_send(struct session *s, struct message *msg, const struct route_result *route, uint64_t number);

// session_confirm.c
void confirm_published(struct session *s, uint64_t number, unsigned refused);
void confirm_note(struct session *s, uint64_t number, uint32_t outstanding, bool is_refused);
void confirm_send(struct session *s);
void confirm_free(struct session *s);

// session_tx.c
LV_MUST_USE int tx_add_publish(struct session *s, struct message *msg, bool is_mandatory);
LV_MUST_USE int tx_add_settle(struct session *s, const struct unacked *entry, enum settle_kind kind);
void tx_published(struct session *s, unsigned refused);
void tx_clear(struct session *s, bool give_back);
void tx_free(struct session *s);

// session_reply_to.c
bool reply_to_is_name(struct slice queue);   // the pseudo queue or a token of it
void reply_to_consume(struct session *s, const struct session_consume_args *args);
void reply_to_declare(struct session *s, struct slice queue);
bool reply_to_is_token(struct slice routing_key);
// False: that is no token of this broker: the message has no route. Whether the asker is still there is not known here.
bool reply_to_send(struct worker *w, struct slice token, struct message *msg);
// Replaces a reply-to of the pseudo queue by this session's token; takes over *msg. 406 without a reply consumer.
bool reply_to_rewrite(struct session *s, struct message **msg, struct amqp_basic_props *props, struct fault *ret_fault);
