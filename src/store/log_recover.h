// log_recover.h: reads the log after a start: which segments belong to it, which groups are valid, what lives in the end.
#pragma once

#include "src/store/log_core.h"

// Somebody who looks at a stopped log and is told of each bad spot as it is found (inspect.h). With one in core.watch recovery changes
// nothing, in files or in names.
struct recover_watch {
    void *ctx;
    void (*damage)(void *ctx, const struct segment *s, uint64_t generation, uint64_t offset, uint64_t bytes,
                   const char *what);
};

// A valid group near the end of the log.
struct recovered_group {
    uint32_t offset, payload_bytes;
};

// The end of the log that may be in the page cache alone, and what the log would end with if that were not there.
struct recovered_tail {
    struct segment *segment; // NULL: no group at all
    uint64_t generation, start, end;
    uint64_t synced;                // up to here it is known to be durable
    struct recovered_group *groups; // valid ones between start and end; mem_free
    size_t count, cap;
    uint64_t prev_generation, prev_end, prev_synced;
    bool is_alone; // the segment has no other group
};

// Fills the ring (files, tail, numbers) and `live`. The log goes on in a new generation. core_open (log_open.c) calls it.
// tail->groups is the caller's also after an error.
LV_MUST_USE int recover_ring(struct core *c, const struct msglog_config *config, struct msglog_live *live,
                             struct msglog_report *report, struct recovered_tail *tail);

// --- log_replay.c: what records do to `live` ---
struct replay {
    struct msglog_live *live;
    struct inttab txs;            // id → struct replay_tx: parts without a COMMIT as yet
    uint64_t last_large, last_tx; // highest numbers seen
    uint64_t messages, commits;
};

void replay_init(struct replay *r, struct msglog_live *live);
uint64_t replay_fini(struct replay *r); // returns the number of void parts
// One record that has valid checksums. 0, -LE_CORRUPT (it says what it cannot), -LE_NOMEM.
LV_MUST_USE int replay_record(struct replay *r, const struct record_header *h, struct slice payload,
                              const struct msglog_place *place);
