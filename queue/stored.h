// stored.h: a message that is, or will be, on disk: what its queue knows of the copy there.
//
// Made when a persistent message enters a durable queue, or when a message comes back from a backlog file. The entry of `ready` or
// `unacked` points to it (READY_STORED) and owns it; jobs under way (a batch of the log, a move, a fetch) hold it by `busy`. When the entry is
// gone it is STORED_DEAD, and goes with the last job. One thread: the owner of the queue.
#pragma once

#include "queue/message.h"
#include "src/store/log_live.h"

enum stored_flags {
    STORED_DEAD = 1u << 0,    // no entry points to it any more
    STORED_WRITTEN = 1u << 1, // it has a place; before that it lives in memory alone
    STORED_BACKLOG = 1u << 2, // the place is in a backlog file of its queue, else in the commit log
    STORED_UNACKED = 1u << 3, // in the unacked table (its bytes count there), else in ready
    STORED_LARGE = 1u << 4,   // the body has a file of its own: durable.large knows which
    STORED_FETCHING = 1u << 5,
    STORED_MOVING = 1u << 6,
    STORED_STALLED = 1u << 7, // the log had no room: it is submitted again
    STORED_LOST = 1u << 8,    // it cannot be read: dropped when its turn comes
    STORED_LEFT = 1u << 14, // and that was an error of the device: without an ack, the next start may find it
    STORED_TRIES = 3u << 12, // a counter: reads of it that such an error ended, in a row
    // An open transaction acknowledges it. It stays where it is: written again behind that ack it would outlive it.
    STORED_TX_ACKED = 1u << 10,
    STORED_TX_DONE = 1u << 11, // and its COMMIT is durable: it is gone, though its settle is still on its way
    STORED_PURGED = 1u << 9,   // a purge took it, and its entry is being dropped: in no sum any more
};

struct stored {
    struct message *msg; // a reference; NULL: in the store alone
    uint32_t file; // generation of the log's segment, or number of the backlog file. LIMIT: 2^32 segments
    uint32_t offset, len;
    uint16_t busy; // jobs that name it
    uint16_t flags;
};
static_assert(sizeof(struct stored) == 24, "the ring costs this per message, beside its entry");

static inline bool
stored_is(const struct stored *s, enum stored_flags flag)
{
    return (s->flags & (uint32_t)flag) != 0;
}

static inline struct msglog_place
stored_place(const struct stored *s)
{
    return (struct msglog_place){.file = s->file, .offset = s->offset, .len = s->len};
}
