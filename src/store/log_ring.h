// log_ring.h: the segments of the log: which file is written, which are free, which still needed; writing one group durably.
//
// A segment is a file <dir>/<slot>.seg, written full of zeros and synced once, then used again and again, each time with a new
// generation. Invariants: at most one is CURRENT; groups go only behind the last durable one; a header is written together with the
// first group; a segment becomes FREE only after a CHECKPOINT above its generation is durable. A file on which a write or sync
// failed is never written again (condemned), and unlinked when nothing in it is needed. A group may be written without a sync, but not
// the first one of a segment, and the segment is synced before it is left. Owner: the log thread (before that, recovery).
#pragma once

#include <stdatomic.h>

#include "src/base/io.h"
#include "src/base/rng.h"
#include "src/store/log_format.h"

enum segment_state { SEGMENT_FREE, SEGMENT_PREPARING, SEGMENT_CURRENT, SEGMENT_SEALED };

struct segment {
    enum segment_state state;
    uint32_t slot; // number of the file
    int fd;
    bool is_condemned;            // a write or sync failed: never written again
    _Atomic uint64_t generation;  // 0: none. Partner: ring_find on reading threads (acquire)
    uint64_t bytes;               // size of the file
    uint64_t end;                 // of the last group; 0: not even the header
    uint64_t synced;              // everything before it is durable
    uint64_t prepared;            // PREPARING: bytes of zeros written
    struct segment_header header; // CURRENT with end 0: to be written
};

// LIMIT: files of the ring, those condemned included; the largest segment_max and some.
enum { RING_SLOTS_MAX = 1024 + 16 };

struct filler;

struct ring {
    const struct io *io;
    struct filler
        *filler; // makes new segments meanwhile (log_filler.h); NULL: they are made here, when asked for
    char dir[IO_PATH_MAX];
    uint32_t segment_bytes;
    uint32_t segment_max; // files not condemned
    struct rng rng;
    struct segment *segments[RING_SLOTS_MAX];
    _Atomic size_t count; // partner: ring_find on reading threads
    struct segment *current;
    struct segment *preparing;
    uint64_t next_generation, next_number, first_generation;
    uint64_t prev_generation, prev_end, prev_synced; // where the log ends
    bool has_base;                                   // the next header gets these, which differ from prev_*
    uint64_t base_generation, base_end, base_synced;
    uint32_t prev_crc;
    unsigned failures; // failed writes and syncs of groups
};

// Where the next group goes; what its encoding depends on.
struct ring_target {
    uint64_t generation, salt, number;
    uint32_t offset, prev_crc, synced;
};

void ring_init(struct ring *r, const struct io *io, const char *dir);
void ring_fini(struct ring *r); // closes the files
// Start-up: registers a file of the folder. NULL: out of memory or too many.
struct segment *ring_add(struct ring *r, uint32_t slot, int fd, uint64_t bytes);
// Makes a file full of zeros, durable in name and bytes: up to `budget` bytes of it now, or with a filler what that has done; UINT64_MAX: to
// the end. -LE_AGAIN: not ready yet.
LV_MUST_USE int ring_prepare(struct ring *r, uint64_t budget);
size_t ring_free_count(const struct ring *r);
size_t ring_growth(const struct ring *r); // files that may still be made, the one being prepared included
void ring_allow_growth(struct ring *r, size_t more); // so many files more than there may be, or are
// A group of that size can be written and `keep` free files are left, which are made now when they may be.
bool ring_fits(struct ring *r, uint32_t bytes, size_t keep);
uint64_t ring_oldest(const struct ring *r); // generation of the oldest sealed segment; 0: none
// Largest group that fits a segment.
uint32_t ring_group_max(const struct ring *r);

// Finds room for `bytes`, going on to the next segment when needed. -LE_NOSPACE: none free, and none can be made.
// is_fresh: only a file that was never written counts (after a failure).
LV_MUST_USE int ring_reserve(struct ring *r, uint32_t bytes, bool is_fresh, struct ring_target *ret);
enum ring_durability {
    RING_SYNC,
    RING_RELAXED
}; // RELAXED: synced nevertheless when it is the first one of a segment
// Writes the encoded group where ring_reserve said, and makes it durable, with all groups before it, or not yet. `crc` is that of its
// header. On failure the segment takes no more groups, and the target is void.
LV_MUST_USE int ring_commit(struct ring *r, const struct ring_target *t, const void *group, uint32_t bytes,
                            uint32_t crc, enum ring_durability durability);
// The target will not be written after all: a segment that was begun for it is free again.
void ring_abandon(struct ring *r);
uint64_t ring_unsynced(const struct ring *r); // bytes of groups that are not durable yet
// Makes them durable. On failure the segment takes no more groups, and they may be lost when the power goes.
LV_MUST_USE int ring_sync(struct ring *r);

// A CHECKPOINT with this number is durable: older segments are free.
void ring_release(struct ring *r, uint64_t first_generation);
void ring_void(struct ring *r, struct segment *s); // nothing in it is part of the log: it is free
void ring_drop(struct ring *r, struct segment *s); // removes the file; it is used no more
// Any thread: the file that holds a generation now; NULL: none.
struct segment *ring_find(const struct ring *r, uint64_t generation);
void ring_path(const struct ring *r, uint32_t slot, char to[IO_PATH_MAX]);

// --- planted bugs: tests link a build of this folder in which they can be switched on, to see that they are found ---
#ifdef LV_PLANTED_BUGS
enum {
    BUG_NO_FDATASYNC = 1u << 0,
    BUG_NO_GENERATION = 1u << 1,
    BUG_NO_CHAIN = 1u << 2,
    BUG_ACK_BEFORE_DURABLE = 1u << 3,
    BUG_NO_DIR_SYNC = 1u << 4,
    BUG_RETRY_SAME_PAGES = 1u << 5,
    BUG_RECYCLE_EARLY = 1u << 6,
    BUG_NO_TAIL_SYNC = 1u << 7,
    BUG_TX_PARTS_COUNT = 1u << 8,
    BUG_LARGE_NOT_SYNCED = 1u << 9,
    BUG_IGNORE_PREV_END = 1u << 10,
    BUG_GONE_IF_FOUND = 1u << 11,
    BUG_ACK_PLACE_WRONG = 1u << 12,
    BUG_FORGET_DELETED = 1u << 13,
    BUG_SWEEP_EARLY = 1u << 14,
    BUG_LEAVE_UNSYNCED = 1u << 15,
    BUG_NO_PRESYNC = 1u << 16,
    BUG_CLAIM_SYNCED = 1u << 17,
    BUG_RELEASE_UNSYNCED = 1u << 18,
    BUG_MIXED_RELAXED = 1u << 19,
    BUG_SECURE_ONE_GROUP = 1u << 20,
    BUG_NO_CHECKSUM = 1u << 21,
    BUG_TORN_COUNTS = 1u << 22,
    BUG_ERROR_IGNORED = 1u << 23,
    BUG_FORGET_COUNTS = 1u << 24,
};
extern unsigned msglog_planted_bugs;
#define LOG_BUG(bug) ((msglog_planted_bugs & (bug)) != 0)
#else
#define LOG_BUG(bug) false
#endif
