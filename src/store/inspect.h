// inspect.h: looks into a data directory that no broker uses: what is in it, what is damaged, what a start would make of it.
//
// It reads with the very code of recovery (log_recover.c, watched) and never changes a byte: files are opened through a table that has
// no writing functions, SQLite without a write lock, a shared-memory file or a checkpoint. The caller holds the lock of the directory.
//
// Damage is what a power cut cannot explain: a torn end of the log is none, nor are messages of a queue that the metadata does
// not know (its deletion was cut short). Such things are notes.
//
// Order: inspect_open, then any of inspect_measure, inspect_check_contents, inspect_each_message; inspect_close. One thread. Memory: the
// index of what lives, as in a start. Everything read is from outside.
#pragma once

#include "src/base/buf.h"
#include "src/base/inttab.h"
#include "src/base/io.h"
#include "src/store/backlog.h"
#include "src/store/inspect_io.h"

// LIMIT: findings kept with their text; the others are counted.
enum { INSPECT_FINDINGS_MAX = 1000 };

struct inspect_finding {
    bool is_damage;         // else a note
    char *file;             // relative to the data directory; heap
    uint64_t offset, bytes; // bytes 0: the file as a whole
    char *text;             // heap
};

struct inspect_share {
    uint64_t messages;
    uint64_t bytes; // of their bodies
};

struct inspect_queue {
    uint64_t id;
    struct slice vhost, name; // heap; empty when !is_known
    bool is_known;            // the metadata has it
    const char *lost_folder;  // what lies in lost+found, under the data directory; NULL: a queue proper
    uint64_t live;            // messages
    uint64_t first_seq, last_seq;
    // By inspect_measure, each message in one of them: in the log, in the queue's backlog files, in a file of its own.
    struct inspect_share ring, backlog, large;
    uint64_t unreadable; // messages whose record could not be read again
    int64_t oldest_ms;   // earliest time of publishing; 0: none
};

enum inspect_use {
    INSPECT_SPARE,  // nothing in it is needed
    INSPECT_NEEDED, // a start reads it
};

struct inspect_segment {
    uint32_t slot; // log/NNNNN.seg
    enum inspect_use use;
    uint64_t generation; // 0: none
    uint64_t bytes;      // size of the file
    uint64_t end;        // of its valid part; 0 when it is spare
    uint64_t live_records,
        live_bytes; // by inspect_measure: records that some queue needs, with their headers
};

// The files of a queue beside the log: in queues/, or in lost+found/ where a start put those of a queue that nobody knew.
struct inspect_backlog {
    uint64_t queue;
    char folder[64]; // under the data directory
    bool is_lost;
    struct inspect_queue lost; // the queue as it is there, is_lost alone
    struct backlog picture;    // what waits
    struct backlog_kept *kept; // and what does not, by seq
    size_t kept_count;
};

struct inspect_meta {
    bool is_there;
    uint64_t vhosts, users, exchanges, queues, bindings;
    uint64_t id_ceiling;
};

struct inspect {
    struct inspect_io reader;         // reads only
    const char *dir;                  // the caller's
    struct inspect_finding *findings; // in the order of finding
    size_t finding_count, finding_cap;
    uint64_t damage, notes;       // all of them
    struct inspect_queue *queues; // by id
    size_t queue_count, queue_cap;
    struct inttab queue_by_id;        // → index + 1
    struct inspect_segment *segments; // by generation
    size_t segment_count;
    struct inspect_meta meta;
    struct msglog_report log; // as a start would report it
    uint64_t large_files, large_bytes,
        large_unused;                 // files in large/; those that nothing refers to go at the next start
    struct inspect_backlog *backlogs; // by queue; those in lost+found last
    size_t backlog_count, backlog_cap;
    struct backlog_report backlog; // as a start would report it
    uint64_t backlog_bytes;        // of their files
    struct msglog_live live;
    struct core *core; // the log as recovery left it
    int error;         // out of memory somewhere: sticks
};

// Reads metadata, the log and the names of the other files. 0: `i` is filled, whatever was damaged; inspect_close in any case. -LE_UNSUPPORTED: written
// by a newer version. Other errors: something could not be read at all; `problem` says what. `system` is the table to read with.
LV_MUST_USE int inspect_open(struct inspect *i, const struct io *system, const char *dir,
                             struct buf *problem);
void inspect_close(struct inspect *i);

// Reads the segments again: sizes of messages by queue, live shares of segments.
LV_MUST_USE int inspect_measure(struct inspect *i);
// Reads every message, its own file too: does it have what its record promises, and does it parse?
LV_MUST_USE int inspect_check_contents(struct inspect *i);

// A message as it was published.
struct inspect_content {
    struct slice exchange, routing_key;
    struct slice properties; // flags and list, checked
    struct slice body;
};
// -LE_CORRUPT: it does not parse.
LV_MUST_USE int inspect_content_parse(const struct msglog_content *content, struct inspect_content *ret);

struct inspect_message {
    const struct inspect_queue *queue;
    uint64_t seq;
    int64_t expires_ms;
    uint32_t epoch, flags; // of the queue
    const char *file;      // where its record is
    uint32_t offset;
    uint64_t large_file;         // 0: none
    int result;                  // 0, or why it cannot be read: the rest is empty then
    struct msglog_content fixed; // flags, priority, times
    struct inspect_content content;
};

typedef int (*inspect_message_fn)(void *ctx,
                                  const struct inspect_message *m); // another result than 0 ends it
// Live messages of a queue (of i->queues, or `lost` of a backlog), by sequence number, from first_seq to last_seq. Damage met on the way
// becomes a finding.
LV_MUST_USE int inspect_each_message(struct inspect *i, const struct inspect_queue *queue, uint64_t first_seq,
                                     uint64_t last_seq, inspect_message_fn fn, void *ctx);

// --- between the files of inspect ---
void inspect_find(struct inspect *i, bool is_damage, const char *file, uint64_t offset, uint64_t bytes,
                  const char *fmt, ...) LV_PRINTF(6, 7);
struct inspect_queue *inspect_queue_at(struct inspect *i, uint64_t id); // makes it; NULL: out of memory
LV_MUST_USE int inspect_read_meta(struct inspect *i, struct buf *problem);
LV_MUST_USE int inspect_read_log(struct inspect *i, struct buf *problem);
// Before the log: which queues have backlog files. After it: what lives in them.
LV_MUST_USE int inspect_list_backlogs(struct inspect *i);
LV_MUST_USE int inspect_read_backlogs(struct inspect *i, struct buf *problem);
LV_MUST_USE int inspect_measure_backlogs(struct inspect *i);
void inspect_close_backlogs(struct inspect *i);
struct inspect_backlog *inspect_backlog_of(struct inspect *i, uint64_t queue); // NULL: none
LV_MUST_USE int inspect_list_large(struct inspect *i);
// The content of a large file; *ret_buffer by mem_free.
LV_MUST_USE int inspect_read_large(struct inspect *i, const struct backlog_record *r, uint8_t **ret_buffer);
// Live messages of a queue that are in the log; `from` is where the search goes on, 0 at first.
const struct msglog_live_entry *inspect_next_live(const struct inspect *i, uint64_t queue, size_t *from);
// A message of the log is handed to fn.
LV_MUST_USE int inspect_visit_live(struct inspect *i, const struct inspect_queue *q,
                                   const struct msglog_live_entry *e, inspect_message_fn fn, void *ctx);
void inspect_close_log(struct inspect *i);
