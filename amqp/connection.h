// connection.h: what the parts of this folder share: the structs of a worker's AMQP state, connections and
// channels.
//
// Inside amqp/ only. Everything here belongs to one worker. Callbacks (of the transport, of sessions and
// clients) may be deep inside other code: they encode, change states and put objects into work lists, and
// never close a session or a client. That is done at two places a turn, from the lists (amqp_settle_ends):
// then nobody is in the middle of anything. Objects are freed in PHASE_REAP.
//
// Life of a connection, enum connection_state:
//   HEADER → STARTING → TUNING → OPENING → RUNNING         the handshake (handshake.c)
//   any of these → CLOSING      we sent connection.close; only close-ok and close count
//   any of these → ENDING       the client sent close; close-ok goes out when its exclusive queues are gone
//   → FLUSHING                  the rest is written, then the write side is shut; input is dropped
//   → LINGERING                 input is dropped until its end, so that no RST destroys what was sent
//   STARTING → REFUSED          log-in failed, and the client would not understand a close: silence
//   any → DEAD                  transport closed; freed when its client's queues are gone
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>

#include "amqp/listener.h"
#include "amqp/output.h"
#include "amqp/sasl.h"
#include "amqp/wheel.h"
#include "amqp/wire/frame.h"
#include "amqp/wire/methods.h"
#include "src/base/buf.h"
#include "src/base/inttab.h"
#include "src/base/list.h"
#include "src/base/pool.h"
#include "src/broker/reasons.h"
#include "src/broker/session.h"

struct user_channels;

enum connection_state {
    CONNECTION_HEADER,
    CONNECTION_STARTING,
    CONNECTION_TUNING,
    CONNECTION_OPENING,
    CONNECTION_RUNNING,
    CONNECTION_CLOSING,
    CONNECTION_ENDING,
    CONNECTION_FLUSHING,
    CONNECTION_LINGERING,
    CONNECTION_REFUSED,
    CONNECTION_DEAD,
    CONNECTION_STATE_COUNT,
};

// LIMIT: bytes of one read; the buffer is the worker's. Everything that was read is parsed or kept before the
// next read.
enum { READ_BYTES = 64 * 1024 };
// LIMIT: an incomplete frame up to this size moves to the front of the worker's buffer for the next read; a
// larger one is completed in the connection's own buffer.
enum { SMALL_REST_BYTES = 4096 };
// LIMIT: bytes read from one connection in one turn.
enum { READ_TURN_BYTES = 64 * 1024 };
// LIMIT: frames of a connection that wait for their channels; beyond it the socket is not read.
enum { PENDING_BYTES_MAX = 1024 * 1024 };
// LIMIT: unsent output beyond which no more requests are read; and below which consumers get more.
enum { OUTPUT_HIGH_BYTES = 1024 * 1024, OUTPUT_LOW_BYTES = 64 * 1024 };
// LIMIT: bytes of announced bodies for which a connection gets memory before they arrive; beyond it memory
// follows the bytes.
enum { CONTENT_AHEAD_BYTES = 1024 * 1024 };

// Lets at most so many lines of one kind through a second; tells how many were left out.
struct log_limit {
    uint64_t second;
    uint32_t count, left_out;
};

struct amqp_worker {
    struct worker *worker;
    const struct amqp_config *config;
    struct list connections;     // struct connection.node, oldest first
    struct list unauthenticated; // struct connection.unauth_node, oldest first
    struct list readable;        // struct connection.read_node: has input, on the socket or kept
    struct list writable;        // struct connection.write_node: has output
    struct list held;            // struct connection.held_node: has channels that may not publish
    struct list ending;          // struct connection.ending_node: client to be closed
    struct list ending_channels; // struct channel.ending_node: session to be closed
    struct list resuming;        // struct channel.resume_node: pending frames may go on
    struct list dead_channels;   // struct channel.ending_node: to be freed
    struct list reaping;         // struct connection.ending_node: to be freed
    struct wheel wheel;
    ev_timer wheel_timer;
    uint64_t armed_tick;      // when wheel_timer was set last
    bool is_wheel_changed;    // an item was set since
    struct pool chunk_pool;   // struct output_chunk
    struct pool content_pool; // struct content
    struct buf scratch;       // for methods that are encoded outside the hot path
    uint8_t *read_buffer;     // SMALL_REST_BYTES + READ_BYTES
    struct log_limit limit_accept, limit_refuse, limit_close;
    bool is_draining;
    struct fault drain_fault;
    void (*drain_done)(void *ctx);
    void *drain_ctx;
    // Partner of all: amqp_worker_load, amqp_worker_stats and the node limits, on any thread; written by the
    // owner alone, so relaxed loads and stores are enough.
    _Atomic uint32_t connection_count, unauthenticated_count, open_count, channel_count;
    _Atomic uint64_t accepted, closed, refused, received_bytes, sent_bytes, channels_opened, channels_closed;
    _Atomic uint64_t authenticated, opened, ended;
};

struct endpoint {
    uint8_t address[16]; // IPv6, or IPv4 mapped into it
    uint16_t port;
    bool is_v4;
};

enum client_capability {
    CLIENT_CANCEL_NOTIFY = 1u << 0,
    CLIENT_BLOCKED = 1u << 1,
    CLIENT_AUTH_CLOSE = 1u << 2,
};

// Bytes read and not parsed yet; the front is the start of a frame (or of the protocol header).
struct input {
    uint8_t *ptr;
    uint32_t len, cap;
};

struct connection {
    struct amqp_worker *aw;
    struct transport *transport; // NULL: closed
    struct client *client;       // NULL: not opened, or closed
    struct list node, read_node, write_node, held_node, ending_node, unauth_node;
    struct wheel_item timer;
    struct output out;
    struct input in;
    struct inttab channels;       // number → struct channel
    struct channel *last_channel; // the last one found; NULL: none
    uint8_t state;                // enum connection_state
    uint8_t capabilities;         // enum client_capability
    uint8_t mechanism;            // enum sasl_mechanism
    bool is_must_wait;            // publishes are held: the last answer of client_must_wait
    bool is_input_stopped;        // not to be read now: too much pending or unsent
    bool is_write_blocked;        // the transport took no more; it will tell
    bool is_close_wanted;         // the client's close waits for pending frames
    bool is_resuming;             // inside channel_resume: not all that is pending is in its list
    bool is_client_closing;       // client_close has been called and not answered
    bool is_answered;             // close-ok came; our client is still closing
    bool has_sent_close_ok;       // the client's close met ours and was answered, once
    bool is_at_end;               // the input has ended
    bool is_deaf;                 // input is read and dropped
    bool has_kept_frames;         // `in` may hold whole frames
    bool is_unauth_counted, is_open_counted;
    uint16_t channel_max, heartbeat_s;
    uint32_t frame_max;       // negotiated; initial_frame_max before
    uint32_t payload_max;     // of a frame we accept
    uint32_t read_turn_bytes; // read in turn read_turn
    uint64_t read_turn;
    size_t pending_bytes;       // sum over its channels
    size_t content_ahead_bytes; // memory given out for bodies not yet there
    uint64_t deadline_ns;       // of the present state; WHEEL_NEVER
    uint64_t probe_ns;          // input stopped: when to ask whether the peer is still there; WHEEL_NEVER
    uint64_t last_recv_ns, last_send_ns;
    uint64_t recv_oct, send_oct, recv_cnt, send_cnt;
    struct endpoint peer, local;
    struct user_channels *user_channels;
    struct slice name;              // heap: "127.0.0.1:4000 -> 127.0.0.1:5672"
    struct slice user, vhost;       // heap, each; empty: not known yet
    struct slice client_properties; // heap: content of the client's table
};

enum channel_state {
    CHANNEL_OPEN,
    CHANNEL_CLOSING, // we sent channel.close; everything but close-ok and close is dropped
    CHANNEL_GONE,    // out of the table; to be freed
};

// A message being received. From the worker's pool.
struct content {
    struct message *msg;  // NULL before the header
    uint64_t body_size;   // announced
    uint32_t received;    // bytes of the body that are there
    uint32_t capacity;    // bytes of the body there is room for
    uint32_t ahead_bytes; // counted in conn->content_ahead_bytes
    bool is_mandatory;
    uint8_t exchange_len, key_len;
    uint8_t names[2 * UINT8_MAX]; // exchange, routing key
};

struct channel {
    struct connection *conn;
    struct session *session; // NULL: closed
    struct content *content; // NULL: a method comes next
    struct buf pending;      // whole frames that wait
    size_t pending_pos;      // bytes of it that are done
    size_t orphan_pos;       // of frames behind the client's channel.close: the next channel's
    struct list resume_node, ending_node;
    uint32_t op; // id of the method that waits for session_events.done; 0: none
    uint32_t consumer_count;
    uint16_t number;
    uint8_t state;  // enum channel_state
    bool is_nowait; // `op` is not to be answered
    bool is_held;   // a publish waits until the broker takes more
    bool is_tx;
    bool is_busy;          // frames have to wait: op, pending or held
    bool is_end_due;       // the client's close has given everything back: channel_end comes next
    bool has_pending_acks; // acknowledgements may be among the frames that wait
};

// --- listener.c --------------------------------------------------------------------------------------------

struct amqp_worker *amqp_of(struct worker *w);
// One more of these lines may be logged now; appends to the line's meaning nothing. Logs itself how many were
// left out.
bool log_limit_pass(struct log_limit *l, uint64_t now_ns, const char *what);
// Closes the sessions and clients in the lists. Never inside a callback of theirs.
void amqp_settle_ends(struct amqp_worker *aw);
uint64_t amqp_node_sum(const struct amqp_worker *aw,
                       size_t counter_offset); // of a _Atomic uint32_t of all workers

static inline void
count_u32(_Atomic uint32_t *counter, int delta)
{
    uint32_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + (uint32_t)delta, memory_order_relaxed);
}

static inline void
count_u64(_Atomic uint64_t *counter, uint64_t delta)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + delta, memory_order_relaxed);
}

// --- connection.c ------------------------------------------------------------------------------------------

void connection_set_state(struct connection *c, enum connection_state state);
// The text of a fault as a short string: names in it may be no UTF-8 (those of publishes are not checked),
// and clients stumble.
struct slice fault_reply_text(const struct fault *f, uint8_t room[static UINT8_MAX]);
// Sends connection.close and leaves the rest to the client. method_id: of the method that was carried out, or
// 0.
void connection_fault(struct connection *c, const struct fault *f, uint32_t method_id);
// The same when the stream of frames cannot be followed any more: input is dropped from here on.
void connection_fatal(struct connection *c, const struct fault *f);
// At once, without a word to the client. `why`: for the log, NULL: no line.
void connection_kill(struct connection *c, const char *why);
// The client asked to close: when everything it sent before has been carried out.
void connection_close_by_client(struct connection *c);
void connection_try_close(struct connection *c);
// Something was encoded: it is written at the end of the turn.
void connection_output_added(struct connection *c);
// Encodes with one of the generated amqp_frame_* into aw->scratch first, then:
void connection_send_scratch(struct connection *c);
void connection_flush(struct connection *c);
// Looks at the limits again: stops or resumes reading.
void connection_check_input(struct connection *c);
void connection_update_want(struct connection *c);
void connection_set_timer(struct connection *c);
void connection_on_timer(struct connection *c);
void connection_client_close(struct connection *c); // amqp_settle_ends only
void connection_free(struct connection *c);         // PHASE_REAP only
void connection_ready(void *ctx, unsigned events);  // transport.ready
bool connection_is_output_full(const struct connection *c);

// --- connection_read.c -------------------------------------------------------------------------------------

void connection_visit(struct connection *c);
// Protocol errors with RabbitMQ's texts. `what`: "unknown_frame" and the like.
void connection_frame_error(struct connection *c, uint8_t type, struct slice payload, const char *what);
void connection_unexpected_frame(struct connection *c, uint8_t type, struct slice payload);
// Of amqp_method_decode: rc is its result.
void connection_bad_arguments(struct connection *c, uint32_t id, struct slice args, int rc);

// --- handshake.c -------------------------------------------------------------------------------------------

// The protocol header. Bytes used, 0: more are needed. May change the state.
size_t handshake_header(struct connection *c, const uint8_t *data, size_t len);
void handshake_method(struct connection *c, uint32_t id, const union amqp_method *m);

// --- describe.c --------------------------------------------------------------------------------------------

int connection_make_name(struct connection *c, const struct sockaddr_storage *peer,
                         const struct sockaddr_storage *local);
bool endpoint_is_loopback(const struct endpoint *e);
void endpoint_host(const struct endpoint *e, char out[static INET6_ADDRSTRLEN]);
void connection_describe(void *ctx, struct buf *out);
void connection_traffic(void *ctx, uint64_t *ret_received,
                        uint64_t *ret_sent); // bytes // client_args.describe

// --- channel.c ---------------------------------------------------------------------------------------------

struct channel *channel_find(struct connection *c, uint16_t number);
// A frame on a channel other than 0. Its type and payload are sound.
void channel_frame(struct connection *c, uint16_t number, uint8_t type, struct slice payload);
// Closes the channel, or the connection when the fault says so.
void channel_fault(struct channel *ch, const struct fault *f, uint32_t method_id);
void channel_resume(struct channel *ch);
// Takes it out of the table; its session must be closed or be in the list for it.
void channel_remove(struct channel *ch);
void channel_free(struct channel *ch); // PHASE_REAP only
// The outstanding method is done, or the hold is over: is_busy again as it should be, and what waits goes on.
void channel_unblock(struct channel *ch);
void channel_hold(struct channel *ch);
// Answers the client's channel.close, whose session has nothing left. The channel is gone then. From the read and resume hooks.
void channel_end(struct channel *ch);
extern const struct session_events channel_session_events;
// Every event of a channel asks this first: a channel or connection on its way out says no more.
static inline bool
channel_is_live(const struct channel *ch)
{
    return ch->state == CHANNEL_OPEN && ch->conn->state == CONNECTION_RUNNING;
}

// --- channel_method.c --------------------------------------------------------------------------------------

void channel_method(struct channel *ch, uint32_t id, struct slice args);
void channel_done(void *ctx, const struct session_result *r); // session_events.done

// --- publish.c ---------------------------------------------------------------------------------------------

// A whole basic.publish (method, header, at most one body frame) at the front of the input, to a channel that
// is free: carries it out and returns its bytes. 0: not one of these, nothing was done.
size_t publish_fast(struct connection *c, const uint8_t *data, size_t len);
void publish_method(struct channel *ch, const struct amqp_basic_publish *m);
void publish_frame(struct channel *ch, uint8_t type, struct slice payload); // while ch->content
void publish_forget(struct channel *ch);                                    // drops a half received message
void publish_finish_half(struct channel *ch);                               // a planted bug's

// --- deliver.c ---------------------------------------------------------------------------------------------

void deliver_get_ok(struct channel *ch, const struct session_result *r);
void channel_deliver(void *ctx, const struct session_delivery *d);
void channel_returned(void *ctx, struct message *msg, uint16_t code, const char *text);
void channel_confirmed(void *ctx, uint64_t tag, bool is_multiple, bool is_nack);
