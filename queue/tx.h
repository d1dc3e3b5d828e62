// tx.h: a worker's part of transactions: publishes that wait for the verdict, apart from the queues they are for.
//
// A session sends its publishes and acks to the owners (ops.h, queue_tx_*), each of which keeps them in a tx_work and submits the records; then
// queue_tx_end: every owner submits PART, the session's worker COMMIT, and when that is durable its verdict goes to all owners, who let the messages into their queues, each at
// the place of its number. Nothing of a transaction can be seen before, and after a crash all of it is there or nothing.
#pragma once

#include "queue/ops.h"
#include "src/base/list.h"

struct durable;
struct log_item;
struct msglog_entry;
struct queue;
struct queue_worker;
struct stored;

// A message of a transaction, in a queue-to-be.
struct tx_item {
    lv_handle queue;
    uint64_t seq;
    struct stored *stored; // NULL: it is not written
    struct message *msg;   // a reference; NULL when there is `stored`
    int64_t expires_ms;    // fixed at the publish: the record says it; 0: never
};

struct tx_ack {
    lv_handle queue;
    uint64_t seq;
};

struct tx_work {
    struct list node; // in queue_worker.txs
    uint64_t tx;
    struct tx_item *items;
    size_t count, cap;
    size_t applied;      // committed: how many have been let in
    uint32_t written;    // records submitted
    struct tx_ack *acks; // of it, on this worker
    size_t ack_count, ack_cap;
    uint64_t acks_oldest; // they lie in this generation or younger ones; UINT64_MAX: none is back
    bool is_committed;    // the verdict was yes: to be let in
};

// The owner's part of queue_tx_publish (returns how many queues refused) and queue_tx_ack.
unsigned tx_publish_here(struct queue_worker *qw, uint64_t tx, struct message *msg, const lv_handle *queues,
                         unsigned count);
void tx_ack_here(struct queue_worker *qw, uint64_t tx, lv_handle queue, enum settle_kind kind,
                 const uint64_t *seqs, size_t count);
// A message that a transaction acknowledged stays after all: it can be moved again.
void tx_ack_void(struct queue *q, struct stored *s);
// An ack of a transaction lies in this generation.
void tx_ack_returned(struct queue_worker *qw, uint64_t tx, uint64_t generation);
// Records of a transaction came back, or its verdict.
void tx_returned(struct durable *d, const struct msglog_entry *e, struct log_item *item);
// The oldest generation in which something of an open transaction lies; UINT64_MAX: none.
uint64_t tx_oldest(const struct durable *d);
// The lowest number from `from` on that an open transaction holds in a queue; UINT64_MAX: none.
uint64_t tx_next_held(const struct queue_worker *qw, lv_handle queue, uint64_t from);
// Goes on letting in what could not be let in for want of memory.
void tx_step(struct queue_worker *qw);
void tx_drop_all(struct queue_worker *qw); // at the end
