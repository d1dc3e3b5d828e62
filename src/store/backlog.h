// backlog.h: the backlog files of a queue: where messages go that the ring of the commit log cannot keep, grouped by queue.
//
// <data>/queues/<id, 16 hex digits>/NNNNNNNN.blg hold blocks, appended and never changed; docs/formats.md has the bytes. A block is
// what one move wrote: messages of ascending sequence numbers.
//   CHAIN blocks hold what waits: a queue reads them in the order of writing. Whatever lies in them with a number >= the cursor
//         waits and is not in memory; what lies below the cursor is dead, or one of the kept (in memory, unacked or given back).
//   LOOSE blocks hold messages that were out (unacked, given back) when the ring came round: all alive ones are kept.
// The file `state` says {block_end, cursor, kept}: blocks with number < block_end are governed by cursor and kept; later blocks are
// wholly alive. Acks of what lies here are in the commit log; before a segment with such acks is recycled, `state` is written anew.
// Transient messages that left memory are in <data>/transient/<id>/, written without a sync and wiped at start.
// A chain block of which something expires ends with a *table*: of each message its number, instant, place and size, 32 bytes. So what is due can leave the middle of
// the chain, and start can tell what is left there, without a look at the messages. What has left is *dead*: a bit, by its place, in memory and in `state`.
//
// struct backlog is the owner's picture of one queue's files: pure, no I/O, one thread. The I/O functions below block; they
// are called by the mover (mover.h) and at start. Everything read is from outside: checked, never asserted on.
#pragma once

#include "src/base/buf.h"
#include "src/base/inttab.h"
#include "src/base/io.h"
#include "src/store/log.h"

enum backlog_kind { BACKLOG_CHAIN = 1, BACKLOG_LOOSE = 2 };
// LIMIT: bytes of a block that a reader takes into memory at once; an append splits what is larger (one message may exceed it).
enum { BACKLOG_BLOCK_BYTES = 256 * 1024 };
// LIMIT: a file that has so many bytes gets no more blocks.
enum { BACKLOG_FILE_BYTES = 64 * 1024 * 1024 };

struct backlog_block {
    uint64_t number; // in the queue, from 1, never used twice
    uint64_t first_seq, last_seq;
    uint64_t body_bytes; // sum of the messages' bodies
    uint32_t count;      // messages
    uint32_t persistent; // of them
    uint32_t table;      // bytes of the table at its end; 0: it has none
    uint32_t file, offset, bytes;
    uint16_t large; // of the messages, with a body in a file of its own; saturates
    uint8_t kind;   // enum backlog_kind; 0: in the picture, all of it is dead
    uint32_t due_s; // with a table: the first of them expires in this second of the wall clock; 0: none does
};
static_assert(sizeof(struct backlog_block) <= 64, "50 million waiting messages cost a few MiB");

// A message as the table of its block has it.
struct backlog_due {
    uint64_t seq;
    int64_t at_ms;   // when it expires; 0: never
    uint32_t offset; // of the record in its file
    uint32_t body_bytes;
    uint64_t where; // BACKLOG_DUE_… | length of the record, or the large file
};
static_assert(sizeof(struct backlog_due) == 32, "what is due soon costs this in memory, and all on disk");
#define BACKLOG_DUE_PERSISTENT (UINT64_C(1) << 63)
#define BACKLOG_DUE_LARGE      (UINT64_C(1) << 62)

// The large file; 0: none.
static inline uint64_t
backlog_due_large(const struct backlog_due *d)
{
    return (d->where & BACKLOG_DUE_LARGE) != 0 ? d->where & (BACKLOG_DUE_LARGE - 1) : 0;
}
uint32_t backlog_due_len(const struct backlog_due *d); // of the record

// A message as it lies in a block.
struct backlog_record {
    uint64_t seq;
    int64_t expires_ms;
    uint32_t epoch;
    uint32_t flags;                // the queue's own (delivery count, redelivered)
    struct msglog_content content; // bytes NULL: in the large file
    uint64_t large_file;           // 0: none
    uint32_t large_crc;
    uint32_t offset, len; // of the record in its file
};

// --- the owner's picture; pure ---

// What some messages add up to.
struct backlog_wait {
    uint64_t count, body_bytes, persistent;
};

// Of one block, what left the middle of the chain.
struct backlog_dead {
    struct backlog_wait sum;
    uint64_t persistent_bytes; // of sum.body_bytes, those of persistent ones
    uint64_t last_seq;         // of the block
    uint32_t file;
    uint32_t words;  // of `bits`; 0: all of it is dead
    uint64_t bits[]; // by place: no record is shorter than BACKLOG_DEAD_BYTES
};
enum { BACKLOG_DEAD_BYTES = 64 };

struct backlog_file {
    uint32_t file;
    uint32_t bytes;  // where the next block would begin
    uint64_t blocks; // chain blocks of it that still wait
    uint64_t kept;   // messages in it that live in memory as an address only
    bool is_closed;  // full, or a write to it failed: nothing more is appended
};

struct backlog {
    struct backlog_block *chain; // waiting blocks, oldest first: chain[first] … chain[end-1]
    size_t first, end, cap;
    size_t hollow;              // of them, wholly dead
    struct inttab dead;         // number of a block → struct backlog_dead
    size_t dead_bytes;          // of memory, of all of them
    struct backlog_file *files; // oldest first
    size_t file_count, file_cap;
    uint64_t next_block;
    uint64_t reported_end; // behind the last block that counts; up to next_block: of appends that failed
    uint64_t cursor;       // see above; 1 at the beginning
    uint32_t next_file;
    uint64_t count, body_bytes, persistent; // that wait in the chain, from the cursor on
    struct backlog_wait front;              // of them, in chain[first]
    uint32_t busy_file;                     // an append to it is on its way; 0: none
    struct inttab counts; // start: sequence number → delivery count, as `state` has it; for the owner to take
};

void backlog_init(struct backlog *b);
void backlog_fini(struct backlog *b);
size_t backlog_memory(const struct backlog *b); // bytes beside the struct
struct backlog_append;
// Says where an append goes: sets its file, offset, is_new_file, first_block and reported_end. One append of a queue at a time: the next
// one after backlog_appended or backlog_append_failed. -LE_NOMEM.
LV_MUST_USE int backlog_begin_append(struct backlog *b, struct backlog_append *a);
// It failed there: that file gets no more blocks, and the numbers that it may have used are not used again.
void backlog_append_failed(struct backlog *b, uint32_t file);
// It was done. Chain blocks join the end of the chain; of their messages those from number `from` on wait, which come to `wait` (lower ones were taken
// meanwhile; blocks wholly below `from` do not join). When nothing waited before, the cursor becomes `from`. Loose blocks are only counted
// (next_block, the file's size). Empty files go by backlog_take_unneeded. count 0: nothing of it could be read. -LE_NOMEM: nothing has changed;
// to be called again.
LV_MUST_USE int backlog_appended(struct backlog *b, const struct backlog_block *blocks, size_t count,
                                 uint64_t from, const struct backlog_wait *wait);
// The next waiting block; NULL: none. It waits until backlog_advance.
const struct backlog_block *backlog_peek(const struct backlog *b);
// A waiting message of the block that backlog_peek shows has come into memory: the cursor goes behind it, the sums go down.
void backlog_taken(struct backlog *b, uint64_t seq, uint64_t body_bytes, bool is_persistent);
// That block is done with: the cursor goes behind its last message. What of it was still counted as waiting (it could not be read) is told, and
// not counted any more. To know it, the picture keeps the waiting sums of each chain block (those of whole blocks are the block's own).
void backlog_advance(struct backlog *b, struct backlog_wait *ret_lost);
// The block that would hold the number, or has this number; NULL: there is none, or it is wholly dead. Valid until the chain changes.
struct backlog_block *backlog_find(const struct backlog *b, uint64_t seq);
struct backlog_block *backlog_find_number(const struct backlog *b, uint64_t number);
// The place in the chain of the first block whose number is not below this one; b->end: there is none.
size_t backlog_block_from(const struct backlog *b, uint64_t number);
// Whether a record of a chain block is dead, by its place.
bool backlog_is_dead(const struct backlog *b, const struct backlog_block *block, uint32_t offset);
// What of a chain block is not dead.
struct backlog_wait backlog_alive(const struct backlog *b, const struct backlog_block *block);
// A message from the cursor on that is not dead leaves: the sums go down by `one`. A block that is wholly dead, and not the next one, needs its file no more.
// -LE_NOMEM: it stays. The chain may have changed.
LV_MUST_USE int backlog_kill(struct backlog *b, struct backlog_block *block, uint32_t offset,
                             const struct backlog_wait *one);
// Advances as long as nothing waits in the next block. False: there was nothing to do.
bool backlog_skip_dead(struct backlog *b);
// The highest number in the chain; 0: nothing waits.
uint64_t backlog_last_seq(const struct backlog *b);
// Everything that waits is gone (purge): cursor = next_seq, unless it is behind that already.
void backlog_drop_chain(struct backlog *b, uint64_t next_seq);
// Messages in `file` came to live by their address, or one stopped to. -LE_NOTFOUND: there is no such file.
LV_MUST_USE int backlog_keep(struct backlog *b, uint32_t file, uint64_t count);
void backlog_unkeep(struct backlog *b, uint32_t file);
// A file that nothing needs any more, taken out of the picture; 0: none. The caller has it unlinked, once the acks of what lay in it are
// durable. The last file stays open for appends unless nothing waits or is kept at all; a file that is being appended to stays.
uint32_t backlog_take_unneeded(struct backlog *b);

// --- I/O; blocking ---

// The folders <data>/queues and <data>/transient; the latter emptied. At start, once.
LV_MUST_USE int backlog_prepare_dirs(const struct io *io, const char *data_dir);

struct backlog_item {
    uint64_t seq;
    int64_t expires_ms;
    uint32_t epoch, flags;
    const struct msglog_content
        *content; // NULL: read from `from`. Has to be NULL where there is a large file, which stays
    struct msglog_place from; // in the log, or with is_from_backlog in this queue's files
    bool is_from_backlog;
    int result; // out: 0, or -LE_NOTFOUND, -LE_CORRUPT, -LE_IO: it could not be read and is in no block
    uint32_t offset, len; // out: of its record in the file
};

struct backlog_append {
    uint64_t queue;
    uint64_t first_block, reported_end; // backlog_begin_append's, as is the place
    struct backlog_item *items;         // ascending seq
    size_t count;
    uint32_t file, offset;
    bool is_new_file, is_transient;
    uint8_t kind;                 // enum backlog_kind
    struct backlog_block *blocks; // out: heap array, mem_free; the caller's also after an error (NULL then)
    size_t block_count;
    int result; // out, of backlog_append_all: as that of backlog_append
};
// Writes the blocks and makes them durable, bytes and names: what is in them first, then their headers, so that a header that can be read
// vouches for the rest. 0 (without blocks when no item could be read; then there is no file either), or the error: then nothing of it
// counts, and the file gets no more blocks. -LE_STATE: the file does not end at `offset`. -LE_LIMIT: more than 4 GiB in a file.
LV_MUST_USE int backlog_append(const struct io *io, const char *data_dir, struct msglog *log,
                               struct backlog_append *a);
// LIMIT: appends of one backlog_append_all.
enum { BACKLOG_APPENDS_MAX = 128 };
// The same for several queues at once: from `sync_all_min` of them on (0: a good number) their syncs are two of the whole file system
// instead of two to four each. Each append has its own result.
void backlog_append_all(const struct io *io, const char *data_dir, struct msglog *log,
                        struct backlog_append *const *appends, size_t count, size_t sync_all_min);

// Reads a block whole; *ret by mem_free. 0, -LE_NOTFOUND, -LE_IO, -LE_NOMEM, -LE_CORRUPT (the file's header). The block's header is not looked at: `block` says what it said.
// A record that is damaged shows when it is taken out.
LV_MUST_USE int backlog_read_block(const struct io *io, const char *data_dir, uint64_t queue,
                                   bool is_transient, const struct backlog_block *block, uint8_t **ret);
// Takes the records of a block that was read one by one: 1, 0: the end, -LE_CORRUPT: this one is damaged, go on. *at starts at 0. Contents point into `bytes`.
int backlog_block_next(const uint8_t *bytes, const struct backlog_block *block, uint32_t *at,
                       struct backlog_record *ret);
// The table of a block: *ret, in the order of numbers, by mem_free. 0, -LE_NOTFOUND (also: it has none), -LE_CORRUPT, -LE_IO, -LE_NOMEM.
LV_MUST_USE int backlog_read_table(const struct io *io, const char *data_dir, uint64_t queue,
                                   bool is_transient, const struct backlog_block *block,
                                   struct backlog_due **ret, uint32_t *ret_count);
// One record by its address. The content is read from the large file where there is one (log NULL: -LE_NOTFOUND).
LV_MUST_USE int backlog_read(const struct io *io, const char *data_dir, struct msglog *log, uint64_t queue,
                             bool is_transient, const struct msglog_place *place, struct msglog_record *ret);

struct backlog_end { // how far a file counts
    uint32_t file, bytes;
};

// How often a message came back, where that is more than its record says.
struct backlog_count {
    uint64_t seq;
    uint32_t count; // 1 … 2^16 - 1
};

// What of the blocks with numbers < block_end counts: those that lie before the end of a file that is listed; of them, what waits
// from the cursor on, and the kept. backlog_snapshot makes it (but for kept and counts, which the owner adds).
struct backlog_state {
    uint64_t block_end, cursor;
    struct backlog_end *ends; // ascending by file; mem_free
    size_t end_count;
    const uint64_t *kept; // ascending sequence numbers
    size_t kept_count;
    const struct backlog_count *counts; // ascending; of kept ones, and of some that wait
    size_t count_count;
    uint8_t *dead; // as it is written: what is dead in blocks that end at or behind the cursor; mem_free
    size_t dead_bytes, dead_count;
};
// The picture as it is now. -LE_NOMEM.
LV_MUST_USE int backlog_snapshot(const struct backlog *b, struct backlog_state *ret);
// Written beside, synced, renamed, folder synced. -LE_INVAL: not from backlog_snapshot.
LV_MUST_USE int backlog_write_state(const struct io *io, const char *data_dir, uint64_t queue,
                                    const struct backlog_state *s);
struct backlog_state_write {
    uint64_t queue;
    const struct backlog_state *state;
    int result; // out: as that of backlog_write_state
};
// The same for several queues at once: from `sync_all_min` of them on (0: a good number) their syncs are two of the whole file system instead of
// three each. Each has its own result.
void backlog_write_states(const struct io *io, const char *data_dir, struct backlog_state_write *writes,
                          size_t count, size_t sync_all_min);
LV_MUST_USE int backlog_unlink(const struct io *io, const char *data_dir, uint64_t queue, bool is_transient,
                               uint32_t file);
LV_MUST_USE int backlog_remove(const struct io *io, const char *data_dir, uint64_t queue,
                               bool is_transient); // the whole folder

// --- start ---

// Alive by its address alone.
struct backlog_kept {
    struct backlog_record record; // without content bytes
    uint32_t file;
};

struct backlog_report {
    uint64_t files, blocks, messages, bad_blocks, bad_records, bad_states, torn_bytes, transient_dropped;
    // Large files that waiting messages name, once a message, for the owner to hold; mem_free. Those of the kept are in their records.
    uint64_t *large;
    size_t large_count, large_cap;
    // Told of each damaged place as it is found, file 0: of `state`; NULL: nobody asks.
    void (*damage)(void *ctx, uint32_t file, uint64_t offset, uint64_t bytes, const char *what);
    void *damage_ctx;
};

// What a queue has in its files: the picture, and the kept ones. `gone` tells the next range of numbers [*ret_first, *ret_end) with *ret_end > from
// that the log says are acked or purged (UINT64_MAX, UINT64_MAX: none); blocks that are wholly gone or below the cursor are not read. Of a chain
// block of which some are gone the survivors are returned as kept, and the cursor stands behind it; the blocks after it wait. Unless it has a table: then it
// waits, and what is gone is dead in it. (Without one, gone numbers in the middle make survivors kept as far as there; a queue is consumed from its front, so that
// is little.)
// Messages without MESSAGE_PERSISTENT are dropped at start: they are in no sum of the picture, and nobody loads them (the owner skips them in old blocks).
// Their blocks' count and body_bytes are those of the persistent ones.
// `files[].kept` counts the kept ones. Nothing is written: a torn tail stays, and its file gets no more blocks; a block whose header is
// damaged is skipped, a damaged record left out; all is added to the report. What may be in the page cache alone is synced. Without a
// `state` that can be read everything is alive that the log does not call gone: an ack may be lost, a message may not.
// -LE_UNSUPPORTED: written by a newer version. *ret_kept, by seq, with mem_free; `b` is initialised here, also on failure.
typedef void (*backlog_gone_fn)(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end);
LV_MUST_USE int backlog_open(const struct io *io, const char *data_dir, uint64_t queue, backlog_gone_fn gone,
                             void *ctx, struct backlog *b, struct backlog_kept **ret_kept,
                             size_t *ret_kept_count, struct backlog_report *report);
// The files of one queue, as they were found.
struct backlog_opened {
    uint64_t queue; // in
    int result;     // of backlog_open
    struct backlog backlog;
    struct backlog_kept *kept; // mem_free
    size_t kept_count;
    uint32_t unsynced_file; // the store's
    struct backlog_report report;
};
// backlog_open for many queues, by several threads: each queue has its own result and report.
struct backlog_open_all {
    const struct io *io;
    const char *data_dir;
    struct backlog_opened *queues;
    size_t count;
    // As backlog_gone_fn; called by any of the threads.
    void (*gone)(void *ctx, uint64_t queue, uint64_t from, uint64_t *ret_first, uint64_t *ret_end);
    // On the caller's thread, now and then; NULL: not wanted.
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    unsigned threads; // beside the caller's
    size_t
        sync_all_min; // from so many queues on that have something to sync it is the whole file system; 0: a good number
};
void backlog_open_all(const struct backlog_open_all *a);
void backlog_opened_fini(struct backlog_opened *o);
// Adds up; takes over `large`. -LE_NOMEM.
LV_MUST_USE int backlog_report_add(struct backlog_report *to, struct backlog_report *from);
// Ids of queues that have a folder; another result than 0 ends it.
LV_MUST_USE int backlog_each_queue(const struct io *io, const char *data_dir,
                                   int (*fn)(void *ctx, uint64_t queue), void *ctx);
// Start-up. Moves the folder of a queue to <data>/lost+found/queue-<id>-<n>, where it stays.
LV_MUST_USE int backlog_set_aside(const struct io *io, const char *data_dir, uint64_t queue,
                                  struct buf *ret_path);
