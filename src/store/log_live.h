// log_live.h: which messages of which queues live, and where: what recovery finds, and an index for owners.
//
// Per queue an array in the order of sequence numbers. A name is (queue, sequence number); the epoch is carried along. Adding a name
// that is there replaces its place: recovery meets moved messages twice. One thread.
// Messages in backlog files are not in the log any more, but their acks are: for queues that want it recovery also collects which
// numbers are gone, found in the log or not (`gone`), and marks queues that were deleted. Their delivery counts likewise (`counts`).
#pragma once

#include "src/base/inttab.h"
#include "src/base/lv.h"

struct msglog_place {
    uint64_t file;   // generation of a segment
    uint32_t offset; // of the record in it
    uint32_t len;    // bytes of the record with its header
};

struct msglog_live_entry {
    uint64_t seq;
    int64_t expires_ms;
    struct msglog_place place; // len 0: dead
    uint64_t large_file;       // 0: none
    uint32_t epoch;
    uint32_t flags; // the owner's; bits 16 – 31 are the delivery count, which never goes down
    uint32_t body_bytes;
};

// Sequence numbers from `first` up to but not including `end`.
struct msglog_range {
    uint64_t first, end;
};

struct msglog_live_queue {
    uint64_t queue;
    struct msglog_live_entry *entries; // ascending seq; dead ones among them until the next sweep
    size_t first, end, cap;            // entries[first] … entries[end-1]
    size_t live;
    uint64_t oldest_file; // no live entry lies in an older one
    // Highest number of it anywhere in the log, in acks and purges too: new ones have to be higher, or an old ack would mean them.
    uint64_t last_seq;
    struct msglog_range *gone; // acked or purged, as the log says: ascending, merged, with holes between them
    size_t gone_count;
    size_t gone_tail, gone_cap; // while it is collected: ranges behind those, in no order
    struct inttab counts; // is_wanted: sequence number → delivery count, of messages that were not in the log
    bool is_wanted;       // `gone` and `counts` are collected
    bool is_deleted;      // there is a DELETE, and no message behind it: nothing of it lives
};

struct msglog_live {
    struct inttab queues; // id → struct msglog_live_queue
    uint64_t count;       // live entries of all queues
    // Whether `gone` is collected for a queue; NULL: for none. Recovery's.
    bool (*wants_gone)(void *ctx, uint64_t queue);
    void *wants_ctx;
};

void msglog_live_init(struct msglog_live *l);
void msglog_live_fini(struct msglog_live *l);
LV_MUST_USE int msglog_live_put(struct msglog_live *l, uint64_t queue,
                                const struct msglog_live_entry *entry); // or -LE_NOMEM
struct msglog_live_entry *msglog_live_find(const struct msglog_live *l, uint64_t queue,
                                           uint64_t seq); // NULL: not alive
// Removes `count` numbers from `seq` on.
void msglog_live_ack(struct msglog_live *l, uint64_t queue, uint64_t seq, uint64_t count);
void msglog_live_purge(struct msglog_live *l, uint64_t queue, uint64_t upto);
void msglog_live_delete(struct msglog_live *l, uint64_t queue);
// Calls fn for each live entry that lies in `file` or an older one; fn may change its place. Stops at, and returns, what is not 0.
typedef int (*msglog_live_fn)(void *ctx, uint64_t queue, struct msglog_live_entry *entry);
LV_MUST_USE int msglog_live_each(struct msglog_live *l, uint64_t upto_file, msglog_live_fn fn, void *ctx);

// The first range of `gone` that ends behind `from`, as it is (it may begin before `from`); UINT64_MAX, UINT64_MAX: none.
void msglog_live_next_gone(const struct msglog_live *l, uint64_t queue, uint64_t from, uint64_t *ret_first,
                           uint64_t *ret_end);

// --- while recovery replays ---
// As ack, purge and delete above, and remembers it. 0 or -LE_NOMEM.
LV_MUST_USE int msglog_live_replay_ack(struct msglog_live *l, uint64_t queue, uint64_t seq, uint64_t count);
LV_MUST_USE int msglog_live_replay_purge(struct msglog_live *l, uint64_t queue, uint64_t upto);
LV_MUST_USE int msglog_live_replay_delete(struct msglog_live *l, uint64_t queue);
// Messages `numbers` from seq on were delivered so often. Of those that live it becomes part of their flags, unless it is less than
// they say; of others it is remembered where it is wanted.
LV_MUST_USE int msglog_live_replay_count(struct msglog_live *l, uint64_t queue, uint64_t seq,
                                         uint32_t numbers, uint32_t count);
// A number that is in the log and does not live: part of a transaction.
LV_MUST_USE int msglog_live_replay_seen(struct msglog_live *l, uint64_t queue, uint64_t seq);
// In the end: sorts `gone`, and gives back the memory of queues in which nothing lives.
void msglog_live_settle(struct msglog_live *l);
// --- log_gone.c ---
LV_MUST_USE int msglog_live_add_gone(struct msglog_live_queue *q, uint64_t first, uint64_t end);
void msglog_live_settle_gone(struct msglog_live_queue *q);
