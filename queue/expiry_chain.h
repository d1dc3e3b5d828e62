// expiry_chain.h: messages of the chain of backlog files that are due soon, 32 bytes each.
//
// Blocks in which something expires end with a table (src/store/backlog.h), and the picture knows in which second the first of it is due. Tables are read by
// the mover ahead of that time, for some seconds at once; what they say is kept here by instant. What is due leaves its block unread: it is dead there, and where somebody
// wants it as a dead letter it lives on by its address (stored.h) until that has been delivered.
//
// What the queue has come to meanwhile, by its number below the chain's cursor, is passed over: the queue's index knows it. Nothing is here that is not, or
// was not, in the chain. Failure: without memory, or where a table cannot be read, messages leave when the queue comes to them. Owner's thread.
#pragma once

#include "queue/queue_worker.h"
#include "src/store/backlog.h"

struct expiry_chain {
    struct backlog_due *heap; // by instant, then number
    size_t count, cap;
    int64_t look_ms;  // when the blocks are looked at; 0: not asked for
    int64_t seen_ms;  // of the look under way: when the next one has to be
    uint64_t look_at; // it goes on at the block with this number
    bool is_reading;  // a job is under way
    bool has_left;    // something left since expiry_chain_settle
};

// The earliest instant here; DEADLINE_NONE: none.
int64_t expiry_chain_next(const struct expiry_chain *c);
// Takes the first one away from the chain. It may call back.
void expiry_chain_expire(struct queue_worker *qw, struct queue *q);
// After some of them: blocks and files that are not needed any more go.
void expiry_chain_settle(struct queue_worker *qw, struct queue *q);
// Reads what will be due; returns when it has to be called again.
int64_t expiry_chain_look(struct queue_worker *qw, struct queue *q);
// Blocks that are new in the chain; returns when to look at them, DEADLINE_NONE: nothing expires there.
int64_t expiry_chain_look_of(const struct backlog_block *blocks, size_t count);
void expiry_chain_purged(struct expiry_chain *c);
void expiry_chain_fini(struct expiry_chain *c);
