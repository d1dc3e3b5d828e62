// log.h: the commit log of a data directory: what is reported durable here survives a power cut.
//
// Each worker has a `writer`. Once a turn it submits a batch of entries: messages with the place they have in a queue, acks, purges,
// deletes, transaction parts. The log thread joins what it finds from all writers into one group, writes it with one call, makes it
// durable with one fdatasync, and gives the batches back: every entry then holds its result and, for a message, its place
// {file, offset}. There is no timer: while one group is being written the next one gathers.
//
// Promises. An entry with result 0 is durable: `// DURABLE:` confirms start here. A relaxed one with result 0 is with the operating
// system: it survives the process, but maybe not the power; it becomes durable with the next entry that is not relaxed, or a moment
// later. Entries of one writer are written in the order of submission, and batches come back in that order, each exactly once. An entry
// with another result was not promised; after a crash it may be there or not. A message is written once a group, whatever the number of its references and writers. No record refers to
// a body in a later group. The ring is bounded: when room runs low the log asks the writers to vacate its oldest segment
// (msglog_writer_config.vacate): each moves (MSGLOG_MOVE) or lets go what it has there, then submits MSGLOG_VACATED.
//
// Errors: a failed write or fdatasync is never repeated on the same pages. The group goes to a fresh file, once; then the log is out
// of service, every entry comes back with -LE_IO, and `out_of_service` is called. No room: messages, then moves and acks, come back with
// -LE_NOSPACE, and all goes on when there is room again.
//
// Threads: a writer and its batches belong to one thread. msglog_read may be called by any.
#pragma once

#include "src/base/histogram.h"
#include "src/base/io.h"
#include "src/base/lv.h"
#include "src/store/log_live.h"

struct msglog;
struct msglog_writer;

// A message as the queues keep it; `bytes` = route, header, body in a row. Immutable while a batch that names it is on its way.
// Two entries with the same `bytes` are the same message.
struct msglog_content {
    uint8_t flags, priority;
    uint16_t route_bytes;
    uint32_t header_bytes, body_bytes;
    uint32_t expiry_ms;
    int64_t published_ms;
    const uint8_t *bytes;
};

enum msglog_kind {
    MSGLOG_MESSAGE, // queue, seq, epoch, expires_ms, flags, content
    MSGLOG_MOVE,    // the same, from `place`: written again at the head of the log
    MSGLOG_ACK,     // queue, `count` numbers from seq
    MSGLOG_COUNT, // queue, `count` numbers from seq: each was delivered `flags` times and came back (1 … 2^16 - 1)
    MSGLOG_PURGE,  // queue, everything up to seq
    MSGLOG_DELETE, // queue: it and all its messages are gone; its id never comes back
    MSGLOG_PART,   // tx: the entries of this transaction by this writer are complete
    MSGLOG_COMMIT, // tx, after `count` PARTs: from here on it counts. Waits for them
    MSGLOG_ABORT,  // tx, after `count` PARTs: it never will. Each PART has to come, whatever the verdict
    MSGLOG_RELEASE, // large_file: one reference less. Submitted when the ack, purge or delete has come back durable, never before
    MSGLOG_VACATED, // place.file: nothing of this writer lives in that generation or an older one, and none of its open
                    // transactions has entries there (a part cannot be moved before its COMMIT is durable)
};

struct msglog_entry {
    uint8_t kind; // enum msglog_kind
    // Written without waiting for the disk. Not for a MOVE of a message that was not, nor for what is a condition for removing something
    // outside the log (PURGE and DELETE of a queue with files); RELEASE waits by itself.
    bool is_relaxed;
    int32_t
        result; // out: 0 durable (or see is_relaxed), -LE_NOSPACE, -LE_IO, -LE_NOTFOUND (move: cannot be read), -LE_LIMIT
    uint32_t epoch;
    uint32_t flags; // the queue's own; kept with the reference
    uint64_t queue, seq, count;
    uint64_t tx; // 0: none. From msglog_tx_new
    int64_t expires_ms;
    uint64_t large_file; // out: the body has a file of its own (to be RELEASEd once a reference)
    struct msglog_place
        place; // out, and in for MOVE and VACATED. ACK, COUNT, PURGE, DELETE, COMMIT: `file` alone, where the record is
    const struct msglog_content *content; // MESSAGE
};

// Owned by the submitter until submitted, and again when it has come back.
struct msglog_batch {
    struct msglog_entry *entries;
    uint32_t count;
    uint32_t open;             // the log's: entries not done
    uint64_t lsn;              // out: number of the last group it is in
    void *ctx;                 // the submitter's
    struct msglog_batch *next; // the log's
};

struct msglog_config {
    const struct io *io;
    const char *dir;        // of the data directory; the log lives in <dir>/log, large bodies in <dir>/large
    uint32_t segment_bytes; // 16 KiB … 1 GiB, a multiple of 512; 0: 64 MiB
    uint32_t segment_max;   // 5 … 1,024; 0: 16
    uint64_t seed;          // of the salts
    unsigned writer_count;  // 1 … 64
    // Whether recovery shall collect which numbers of a queue are gone (struct msglog_live_queue); NULL: of none.
    bool (*wants_gone)(void *ctx, uint64_t queue);
    // Called by msglog_open after each segment that was read; NULL: not wanted.
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void *ctx; // of the functions above
};

// What recovery found; for the owner to log.
struct msglog_report {
    uint64_t segments, groups, messages, bad_spots, bad_bytes, void_parts, missing_segments;
    uint64_t
        torn_bytes; // groups that no sync had covered, lost or torn: nothing that was promised to be durable
    uint64_t first_bad_generation, first_bad_offset; // of the first bad spot
};

// Parsed from a record by msglog_read.
struct msglog_record {
    struct msglog_content content; // bytes point into `buffer`
    uint64_t large_file;           // 0: none
    uint32_t large_crc;            // of that file
    uint8_t *buffer;               // mem_free
};

struct msglog_writer_config {
    void (*wake)(void *ctx); // log thread: batches wait to be taken, or a vacate is wanted
    void (*vacate)(void *ctx,
                   uint64_t generation); // in msglog_writer_poll: everything in it or older must go
    void (*returned)(void *ctx, struct msglog_batch *batch); // in msglog_writer_poll
    void *ctx;
};

// Recovers what is there into `live` (initialised here, empty on failure), which then belongs to the caller, and makes the log ready for writing in a new
// generation. The error text, when there is one, is for people. -LE_UNSUPPORTED: written by a newer version; untouched.
LV_MUST_USE int msglog_open(const struct msglog_config *config, struct msglog_live *live,
                            struct msglog_report *ret_report, struct msglog **ret_log);
// Between msglog_open and msglog_start, once for each reference from outside the log (a backlog file): as if a live message named that large
// file. -LE_NOMEM, -LE_INVAL: not the number of a file.
LV_MUST_USE int msglog_large_hold(struct msglog *log, uint64_t large_file);
// Start-up, once a writer.
struct msglog_writer *msglog_writer_new(struct msglog *log, const struct msglog_writer_config *config);
// Removes the large files that nothing names (they are kept when recovery met damage), and starts the log thread. `out_of_service` is
// called on it, once.
LV_MUST_USE int msglog_start(struct msglog *log, void (*out_of_service)(void *ctx, int error), void *ctx);
// Tests, instead of msglog_start: the same without a thread; then msglog_step is what that would do, once, on the caller's thread.
LV_MUST_USE int msglog_start_stepped(struct msglog *log, void (*out_of_service)(void *ctx, int error),
                                     void *ctx);
void msglog_step(struct msglog *log);
// Waits until all that was submitted is done, ends the thread, marks the log as orderly closed. A verdict that still waits for parts gets
// -LE_IO: its transaction never was.
void msglog_stop(struct msglog *log);
void msglog_close(struct msglog *log); // frees; accepts NULL

// Writer's thread: hands a batch over. Never blocks, never fails.
void msglog_submit(struct msglog_writer *w, struct msglog_batch *batch);
// Writer's thread, after `wake`: calls `vacate` and `returned` for what has come; returns how many batches that was.
size_t msglog_writer_poll(struct msglog_writer *w);
// What the log thread has done since the start, and how full the ring is as of its last group. Any thread.
struct msglog_stats {
    struct histogram_sum group_entries; // by entries of a group (HISTOGRAM_COUNT)
    struct histogram_sum group_ns;      // by the time that writing and syncing one took (HISTOGRAM_TIME_NS)
    uint64_t segments, segments_max, used_bytes,
        room_bytes; // of the ring: files in use, that there may be; bytes
};
void msglog_stats(const struct msglog *log, struct msglog_stats *ret);
uint64_t msglog_tx_new(struct msglog *log); // any thread; unique in the data directory

// Reads a record back: 0, -LE_NOTFOUND (that file is gone), -LE_CORRUPT (it is not what was written), -LE_IO. Blocks. Any thread.
LV_MUST_USE int msglog_read(struct msglog *log, const struct msglog_place *place, struct msglog_record *ret);
// The content in a large file, `bytes` of it, checked against its CRC-32C as the record has it: as msglog_read. Any thread.
LV_MUST_USE int msglog_read_large(struct msglog *log, uint64_t large_file, uint32_t bytes, uint32_t crc,
                                  uint8_t *to);
