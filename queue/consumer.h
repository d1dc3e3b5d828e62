// consumer.h: the consumers of one queue: who is next, who is blocked, what each may still be sent.
//
// Consumers of equal priority form a group. Each group keeps those that can take a message now (`active`,
// served in turn) and those that have to be asked for a grant first (`askable`); who can do neither is in no
// list, so blocked consumers cost a delivery nothing. queue->top is the highest group that has either of
// them, or a question not answered yet: lower groups are served only when all higher ones are blocked.
//
// A consumer can take a message when its delivery window has room (messages and bytes; the bytes may be
// overdrawn by one message), its unacknowledged messages are below its prefetch, it is not standing by behind
// a single active consumer, and, with CONSUMER_SHARED_LIMIT, when it holds a grant. A grant that cannot be
// used at once goes back at once. One thread: the owner of the queue. Callbacks of the client may change any
// consumer: nothing is kept across one.
#pragma once

#include "queue/ops.h"
#include "src/base/list.h"

struct queue;
struct queue_worker;

struct consumer_group {
    struct consumer_group *next; // of the next lower priority
    struct list active;          // consumer.run: can take a message now; the first is next
    struct list askable;         // consumer.run: shared limit, no grant, not asked
    uint32_t asking;             // questions out
    uint32_t count;              // consumers; the group goes with the last
    int32_t priority;
};

struct consumer {
    struct list run;     // in group->active, group->askable or nowhere
    struct list all;     // in queue->consumers, by time of registration
    struct list granted; // in queue->granted while grant > 0
    struct consumer_group *group;
    struct queue *queue;
    lv_handle handle, session;
    uint32_t consumer_id;  // the session's number
    uint32_t flags;        // enum consumer_flags
    uint32_t prefetch;     // 0: no limit
    uint32_t unacked;      // messages out for it
    uint32_t window_count; // messages that may still be sent
    uint32_t grant;        // of the shared limit
    int64_t window_bytes;  // message_weight's that may still be sent; below 0 after a large one
    bool is_asked;         // client->ready was called, no answer yet
    bool is_refused;       // the answer was 0: not asked again before a poke
    bool is_standby;       // another one is the single active consumer
    bool is_active_listed; // run is in group->active (otherwise in askable, when linked)
};

// Takes the consumer of a request into the queue. 0 and *ret_consumer, or -LE_NOMEM.
LV_MUST_USE int consumer_add(struct queue_worker *qw, struct queue *q, const struct queue_request *r,
                             struct consumer **ret_consumer);
// Takes it out and frees it; returns its grants. The next one becomes active where one at a time is.
void consumer_remove(struct queue_worker *qw, struct consumer *c);
// After something about it changed: moves it to the list where it belongs, returns grants it cannot use.
void consumer_update(struct queue_worker *qw, struct consumer *c);
// The limit it shares with other queues came into being or went away; what it holds of it goes back.
void consumer_change_shared(struct queue_worker *qw, struct consumer *c, bool is_shared);
// Asks for a grant: takes it from `askable` and calls client->ready, which may answer before this returns.
void consumer_ask(struct queue_worker *qw, struct consumer *c);
// Takes the grants it has not used from the consumer and hands them back.
void consumer_return_grant(struct queue_worker *qw, struct consumer *c);
// Accounts for one message sent to it and puts it behind the others of its group.
void consumer_sent(struct queue_worker *qw, struct consumer *c, const struct message *msg);
