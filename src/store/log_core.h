// log_core.h: the commit log without threads: entries in, groups out, recovery. What the log thread of log.c does, one step at a time.
//
// core_add takes an entry into the group being built; core_flush writes the group and sets the results of everything added since the
// last flush. Order: for one writer as added. An entry stays in place until its result is set. Owner: one thread.
#pragma once

#include "src/base/inttab.h"
#include "src/store/log_group.h"

// Free segments that entries of a kind leave alone: acks go on when messages have to wait, the moves that make room too; the last one is
// for the CHECKPOINT that frees others, and for the start.
enum { KEEP_FOR_MOVES = 3, KEEP_FOR_ACKS = 2, KEEP_FOR_CHECKPOINT = 1 };
// LIMIT: writers of a log.
enum { MSGLOG_WRITERS_MAX = 64 };

struct core_tx {
    uint64_t first_generation;    // nothing of it lies in an older one
    uint64_t first_number;        // nor in a group before this
    uint64_t parts;               // seen
    struct msglog_entry *verdict; // COMMIT or ABORT that waits for its parts
    unsigned verdict_writer;
    int error; // one of its entries was refused
};

struct core {
    const struct io *io;
    const struct recover_watch *watch; // log_recover.h; NULL in a broker
    char large_dir[IO_PATH_MAX];
    struct ring ring;
    struct group group;
    uint32_t group_soft;   // a group that has so many bytes is written before more is added
    uint32_t content_max;  // larger ones get a file of their own
    uint32_t unsynced_max; // LIMIT: bytes of groups that wait for a sync: recovery copies them into one group
    bool needs_sync;       // something in the group is not relaxed, or has to be durable for another reason
    bool needs_presync;    // something in the group must not be on disk without the groups before it
    int presync_error;     // of a sync that failed since: the group must not be written
    unsigned writer_count;
    struct inttab txs;   // → struct core_tx
    struct inttab large; // id → number of references and one, as a pointer
    uint64_t next_large;
    struct msglog_entry **silent; // added, in no record: PART, ABORT, RELEASE, VACATED
    uint8_t *silent_writer;
    uint32_t silent_count, silent_cap;
    uint64_t vacated[MSGLOG_WRITERS_MAX];
    bool has_failed_move[MSGLOG_WRITERS_MAX];
    uint64_t asked;           // generation that the writers were last asked to vacate
    uint64_t fresh_bytes;     // of groups since then
    bool was_refused;         // since then, for want of room
    uint64_t checkpoint;      // first generation of the last durable CHECKPOINT
    int prepare_error;        // of the last core_prepare
    bool is_out;              // out of service: nothing is written any more
    bool is_damaged;          // recovery met damage: what nothing seems to need is kept
    _Atomic uint64_t next_tx; // any thread
};

// Recovers; see msglog_open.
LV_MUST_USE int core_open(struct core *c, const struct msglog_config *config, struct msglog_live *live,
                          struct msglog_report *ret);
// Once, before the first core_add, and after large_hold for what is named elsewhere: removes the large files that nothing names.
LV_MUST_USE int core_start(struct core *c);
void core_fini(struct core *c);

enum { CORE_HELD = 1 };
// 0: its result comes with the next flush. CORE_HELD: a COMMIT or ABORT that waits for parts; `result` is CORE_HELD so long. -LE_AGAIN: flush first, then again. Anything else: the
// entry was refused, and has its result.
LV_MUST_USE int core_add(struct core *c, unsigned writer, struct msglog_entry *e);
// 0 or the error that everything in the group got. After it core_is_out may be true.
int core_flush(struct core *c);
bool core_has_work(const struct core *c);    // a flush would write something
bool core_is_unsynced(const struct core *c); // there are relaxed entries that are not durable yet
// Makes them durable; 0 or the error, after which core_is_out may be true, and a group being built that relies on them is refused.
int core_sync(struct core *c);
// A generation the writers have to vacate; 0: none. Told once.
uint64_t core_vacate_wanted(struct core *c);
// At the end: verdicts that still wait for parts are refused.
void core_refuse_held(struct core *c);
// Makes files ahead of their use, a little at a time.
void core_prepare(struct core *c);
// The last group of an orderly stop: behind it a torn tail cannot be anything confirmed.
int core_mark_end(struct core *c);
int core_read(const struct core *c, const struct msglog_place *place,
              struct msglog_record *ret); // any thread

// --- between log_core.c, log_large.c and log_recover.c ---
LV_MUST_USE int large_write(struct core *c, const struct msglog_content *content, uint64_t *ret_id,
                            uint32_t *ret_crc);
LV_MUST_USE int large_read(const struct core *c, uint64_t id, uint32_t bytes, uint32_t crc, uint8_t *to);
LV_MUST_USE int large_hold(struct core *c,
                           uint64_t id); // -LE_NOMEM: only of one that was not written by this core
void large_release(struct core *c, uint64_t id);
void large_drop(struct core *c, uint64_t id); // removes the file
LV_MUST_USE int large_sweep(struct core *c);  // core_start
// The record of a message as it lies there, checked; *ret_raw by mem_free.
LV_MUST_USE int core_read_raw(const struct core *c, const struct msglog_place *place, uint8_t **ret_raw,
                              struct message_fixed *ret_fixed);
// log.c: of a log, for reading.
struct core *msglog_core(struct msglog *log);
