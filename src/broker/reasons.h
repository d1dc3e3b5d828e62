// reasons.h: why something was refused, returned, dropped or held: a counter for each kind, and the last few hundred occasions with
// the object and the rule in words.
//
// Each worker keeps its own, so nobody contends; whoever wants them asks every worker (broker_list, LIST_COUNTERS and LIST_REASONS) and
// adds up. Occasions of one kind, code, vhost and object are one entry with a count. An entry is logged at most once a second, and less
// and less often while it goes on (up to once an hour), with the number of those left out; a worker logs at most REASON_LINES_MAX such
// lines a second. Names of kinds are part of the HTTP API and of metrics: they do not change.
//
// Thread: the worker's own. Memory comes with the first occasion; without memory only the counters go on.
#pragma once

#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/broker/fault.h"

struct worker;

// LIMIT: entries a worker remembers, bytes kept of a text, lines logged in one second.
enum { REASONS_KEPT = 256, REASON_TEXT_MAX = 512, REASON_LINES_MAX = 20 };

// name, level of the log (LOG_NONE: whoever finds it logs it himself), category, what it says when the caller says nothing.
// clang-format off
#define REASON_KINDS(X)                                                                                                              \
    X(RETURN_UNROUTABLE, return_unroutable, LOG_INFO, LOG_CHANNEL, "mandatory message returned: nothing it was routed by leads to a queue") \
    X(DROP_UNROUTABLE, drop_unroutable, LOG_INFO, LOG_CHANNEL, "message dropped: nothing it was routed by leads to a queue")         \
    X(DROP_QUEUE_GONE, drop_queue_gone, LOG_INFO, LOG_QUEUE, "message dropped: its queue was deleted while it was on the way")        \
    X(DROP_REPLY, drop_reply, LOG_NONE, LOG_CHANNEL, "direct reply dropped")                                 \
    X(DROP_REJECTED, drop_rejected, LOG_DEBUG, LOG_QUEUE, "rejected without requeue; no dead-letter exchange: the message is gone") \
    X(DROP_EXPIRED, drop_expired, LOG_DEBUG, LOG_QUEUE, "its time to live is over; no dead-letter exchange: the message is gone") \
    X(DROP_MAXLEN, drop_maxlen, LOG_NONE, LOG_QUEUE, "max-length or max-length-bytes is reached; no dead-letter exchange: the message is gone") \
    X(DROP_DELIVERY_LIMIT, drop_delivery_limit, LOG_NONE, LOG_QUEUE, "it came back more often than the delivery limit allows; no dead-letter exchange: the message is gone") \
    X(DEAD_LETTER_REJECTED, dead_letter_rejected, LOG_NONE, LOG_QUEUE, "rejected without requeue; it goes to the dead-letter exchange") \
    X(DEAD_LETTER_EXPIRED, dead_letter_expired, LOG_NONE, LOG_QUEUE, "its time to live is over; it goes to the dead-letter exchange") \
    X(DEAD_LETTER_MAXLEN, dead_letter_maxlen, LOG_NONE, LOG_QUEUE, "max-length or max-length-bytes is reached; it goes to the dead-letter exchange") \
    X(DEAD_LETTER_DELIVERY_LIMIT, dead_letter_delivery_limit, LOG_NONE, LOG_QUEUE, "it came back more often than the delivery limit allows; it goes to the dead-letter exchange") \
    X(DROP_DEAD_LETTER, drop_dead_letter, LOG_NONE, LOG_QUEUE, "a dead letter that not every target took, or nobody") \
    X(NACK_QUEUE_FULL, nack_queue_full, LOG_NONE, LOG_QUEUE, "publish refused: max-length or max-length-bytes is reached and overflow is reject-publish") \
    X(NACK_NO_MEMORY, nack_no_memory, LOG_ERROR, LOG_QUEUE, "publish refused: out of memory")                                        \
    X(HELD_CONNECTION_RATE, held_connection_rate, LOG_INFO, LOG_CONNECTION, "publisher held: over the publish rate of a connection") \
    X(HELD_USER_RATE, held_user_rate, LOG_INFO, LOG_CONNECTION, "publisher held: over the publish rate of the user")                 \
    X(HELD_VHOST_RATE, held_vhost_rate, LOG_INFO, LOG_CONNECTION, "publisher held: over the publish rate of the virtual host")       \
    X(BLOCKED_MEMORY, blocked_memory, LOG_WARNING, LOG_CONNECTION, "publisher blocked: low on memory")                               \
    X(BLOCKED_DISK, blocked_disk, LOG_WARNING, LOG_CONNECTION, "publisher blocked: low on disk")                                     \
    X(BLOCKED_VHOST_MESSAGES, blocked_vhost_messages, LOG_WARNING, LOG_CONNECTION, "publisher blocked: max-messages of the virtual host") \
    X(BLOCKED_VHOST_MEMORY, blocked_vhost_memory, LOG_WARNING, LOG_CONNECTION, "publisher blocked: max-memory-bytes of the virtual host") \
    X(REFUSED_NODE_CONNECTIONS, refused_node_connections, LOG_NONE, LOG_CONNECTION, "connection refused: connection_max")            \
    X(REFUSED_VHOST_CONNECTIONS, refused_vhost_connections, LOG_NONE, LOG_CONNECTION, "connection refused: max-connections of the virtual host") \
    X(REFUSED_USER_CONNECTIONS, refused_user_connections, LOG_NONE, LOG_CONNECTION, "connection refused: max-connections of the user") \
    X(REFUSED_LOGIN, refused_login, LOG_NONE, LOG_CONNECTION, "log-in refused")                                                      \
    X(REFUSED_VHOST_ACCESS, refused_vhost_access, LOG_NONE, LOG_CONNECTION, "connection refused: no permission in the virtual host") \
    X(REFUSED_NODE_CHANNELS, refused_node_channels, LOG_NONE, LOG_CHANNEL, "channel refused: channel_max_per_node")                  \
    X(REFUSED_USER_CHANNELS, refused_user_channels, LOG_NONE, LOG_CHANNEL, "channel refused: max-channels of the user")              \
    X(REFUSED_CONNECTION_CHANNELS, refused_connection_channels, LOG_NONE, LOG_CHANNEL, "channel refused: channel_max")               \
    X(REFUSED_CHANNEL_CONSUMERS, refused_channel_consumers, LOG_NONE, LOG_CHANNEL, "consumer refused: consumer_max_per_channel")     \
    X(REFUSED_VHOST_QUEUES, refused_vhost_queues, LOG_NONE, LOG_QUEUE, "queue refused: max-queues of the virtual host")              \
    X(REFUSED_CLUSTER_QUEUES, refused_cluster_queues, LOG_NONE, LOG_QUEUE, "queue refused: cluster_queue_limit")                     \
    X(REFUSED_CLUSTER_EXCHANGES, refused_cluster_exchanges, LOG_NONE, LOG_CHANNEL, "exchange refused: cluster_exchange_limit")       \
    X(CHANNEL_ERROR, channel_error, LOG_NONE, LOG_CHANNEL, "channel closed by an error")                                             \
    X(CONNECTION_ERROR, connection_error, LOG_NONE, LOG_CONNECTION, "connection closed by an error")
// clang-format on

enum reason_kind {
    REASON_NONE,
#define X(upper, lower, level, category, text) REASON_##upper,
    REASON_KINDS(X)
#undef X
        REASON_COUNT
};

// fault.reason of what its finder has noted itself.
enum { REASON_NOTED = UINT8_MAX };
static_assert((int)REASON_COUNT < (int)REASON_NOTED, "a byte of struct fault");

struct reason {
    enum reason_kind kind;
    uint16_t code;           // enum fault_code of errors; otherwise 0
    const char *object_kind; // "queue", "exchange", "user" …
    struct slice object, vhost;
    struct slice text; // which rule, in words; empty: the kind's own
};

struct reasons;
LV_MUST_USE struct reasons *reasons_new(void); // NULL: out of memory
void reasons_free(struct reasons *r);          // accepts NULL

const char *reason_name(enum reason_kind kind);
const char *reason_rule(enum reason_kind kind); // what it says when the caller says nothing
// Counts `count` occasions.
void reasons_add(struct reasons *r, const struct worker *w, const struct reason *reason, uint64_t count);
uint64_t reasons_count(const struct reasons *r, enum reason_kind kind);
// The same on the calling worker's own.
void reason_note(struct worker *w, const struct reason *reason);
// An error that closes a channel, or a connection: under the reason it was built with (fault.reason), else under its code;
// nothing for REASON_NOTED.
void reason_note_fault(struct worker *w, const struct fault *f, struct slice vhost, struct slice user);

// Members of a JSON object, each followed by a comma: "reasons":{kind: n}, "channel_errors":{code: n}, "connection_errors":{code: n}.
void reasons_put_counts(const struct reasons *r, struct buf *out);
// The entries as JSON objects, each followed by a comma, oldest first.
void reasons_put_recent(const struct reasons *r, struct buf *out);
