// backlog_format.h: the bytes of backlog files: block header, state, names; nothing here does I/O. docs/formats.md is the norm.
//
// A file begins with its header, twice. A block is a header that fills a sector, then records as in the log (log_format.h) with one
// reference each, padded to the next sector. The salt of the file is in every header and in the place of every record: whoever looks for
// the next header behind damage is not taken in by bytes that a publisher put into a body.
// Everything read is from outside: decoders check lengths and checksums and never assert on them.
#pragma once

#include "src/base/inttab.h"
#include "src/base/io.h"
#include "src/store/backlog.h"
#include "src/store/log_format.h"

enum { BACKLOG_FORMAT_VERSION = 2 };
enum {
    FILE_HEADER_BYTES =
        2 * MSGLOG_SECTOR_BYTES, // two copies: without the salt everything in the file would be lost
    BLOCK_HEADER_BYTES =
        MSGLOG_SECTOR_BYTES, // a sector of its own: it is written after the records are durable
    BLOCK_RECORD_BYTES = RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES + MESSAGE_REF_BYTES, // without a content
    BLOCK_RECORD_MAX = 1 << 30, // LIMIT: bytes of one record
    STATE_HEADER_BYTES = 80,
    STATE_HEADER_1_BYTES = 64, // of version 1
    STATE_DEAD_BYTES = 48,     // without the bits
    TABLE_ENTRY_BYTES = 32,
    STATE_RANGE_BYTES = 16,
    STATE_END_BYTES = 8,
};
// Numbers that an append which failed may have used: the next one begins so much higher.
enum { BLOCK_NUMBERS_SKIPPED = 1 << 20 };
#define BLOCK_NUMBERS_SKIPPED_AT_START (1ull << 40) // above what a million failures in one life used
// What the store has to know of a message's flags (queue/message.h): the message outlives a restart.
enum { CONTENT_PERSISTENT = 1u << 0 };

struct file_header {
    uint64_t queue, salt;
    uint32_t file;
};

struct block_header {
    uint64_t queue, salt;
    uint64_t number, append; // append: number of the first block that was written with this one
    uint64_t reported_end;   // blocks from here up to `append` do not count: writing them had failed
    uint64_t first_seq, last_seq;
    uint64_t body_bytes, persistent_bytes;
    uint32_t file, offset;
    uint32_t payload_bytes; // records, the padding of the last one included, and the table
    uint32_t count, persistent, large;
    uint32_t due_s; // second of the earliest instant of expiry; 0: none
    uint32_t table; // bytes of the table, which is the last record; 0: none
    uint8_t kind;
};

void file_header_encode(const struct file_header *h, uint8_t to[FILE_HEADER_BYTES]);
// 0 and the salt; -LE_NOTFOUND: no copy can be read, or not of this queue and file; -LE_UNSUPPORTED: of a newer version.
LV_MUST_USE int file_header_decode(const uint8_t from[FILE_HEADER_BYTES], uint64_t queue, uint32_t file,
                                   uint64_t *ret_salt);
void block_header_encode(const struct block_header *h, uint8_t to[BLOCK_HEADER_BYTES]);
// 0; -LE_NOTFOUND: no header, or not of this file and offset.
LV_MUST_USE int block_header_decode(const uint8_t from[BLOCK_HEADER_BYTES], const struct file_header *file,
                                    uint32_t offset, struct block_header *ret);
void block_of_header(const struct block_header *h, struct backlog_block *ret);

// A table of so many messages, with the header of its record.
static inline uint32_t
table_bytes(uint32_t count)
{
    return RECORD_HEADER_BYTES + count * TABLE_ENTRY_BYTES;
}

void table_entry_encode(const struct backlog_due *d, uint8_t to[TABLE_ENTRY_BYTES]);
// Of a record's payload, which has been checked; `to` has room for its count. -LE_CORRUPT.
LV_MUST_USE int table_decode(const uint8_t *from, const struct backlog_block *block, uint32_t count,
                             struct backlog_due *to);
// What of a block is dead, with room for bits; sums 0. NULL: no memory.
struct backlog_dead *dead_new(const struct backlog_block *block);
size_t dead_memory(const struct backlog_dead *d);
// Not found: false. A place outside of the block counts as the block's first.
bool dead_has(const struct backlog_dead *d, const struct backlog_block *block, uint32_t offset);
void dead_add(struct backlog_dead *d, const struct backlog_block *block, uint32_t offset,
              const struct backlog_wait *one);
void dead_free_all(struct inttab *dead);
// As `state` has them. To: those whose last number is at or above `cursor`; false: no memory.
LV_MUST_USE bool dead_encode(const struct inttab *dead, uint64_t cursor, struct buf *to, size_t *ret_count);
LV_MUST_USE int dead_decode(struct slice from, uint64_t count, struct inttab *to); // -LE_CORRUPT, -LE_NOMEM

// Of the picture (backlog.c): a message of it waits no more; a block of the file waits no more.
void backlog_uncount(struct backlog *b, const struct backlog_wait *one, bool is_front);
void backlog_file_lost_block(struct backlog *b, uint32_t file);

// What ties a record to its place: record_place, with the file's salt for a generation.
static inline uint32_t
block_record_place(uint64_t salt, uint32_t offset)
{
    return record_place(salt, offset);
}

// Reads the header of an open file: as file_header_decode, or -LE_IO.
LV_MUST_USE int backlog_read_salt(const struct io *io, int fd, uint64_t queue, uint32_t file,
                                  uint64_t *ret_salt);

// The state, encoded; `kept` has to ascend. *ret by mem_free.
LV_MUST_USE int state_encode(uint64_t queue, const struct backlog_state *s, uint8_t **ret, size_t *ret_len);
// -LE_CORRUPT, -LE_UNSUPPORTED, -LE_NOMEM.
LV_MUST_USE int state_decode(struct slice bytes, uint64_t queue, struct backlog_state *ret);
void state_fini(struct backlog_state *s); // of one that was decoded

// Where a queue's files are opened from; `gone` as for backlog_open.
struct backlog_source {
    const struct io *io;
    const char *data_dir;
    backlog_gone_fn gone;
    void *ctx;
};
// backlog_open (into o->queue's own, adding to o->report), but what may be in the page cache alone is not synced: o->unsynced_file says where (0: nothing).
LV_MUST_USE int backlog_open_unsynced(const struct backlog_source *from, struct backlog_opened *o);

// Paths; `to` has IO_PATH_MAX bytes. -LE_LIMIT: too long.
LV_MUST_USE int backlog_dir_path(const char *data_dir, bool is_transient, char *to);
LV_MUST_USE int backlog_queue_path(const char *data_dir, uint64_t queue, bool is_transient, char *to);
LV_MUST_USE int backlog_file_path(const char *data_dir, uint64_t queue, bool is_transient, uint32_t file,
                                  char *to);
LV_MUST_USE int backlog_state_path(const char *data_dir, uint64_t queue, const char *name, char *to);
bool backlog_parse_file(const char *name, uint32_t *ret_file);   // NNNNNNNN.blg
bool backlog_parse_queue(const char *name, uint64_t *ret_queue); // 16 hex digits

// --- planted bugs; see log_ring.h ---
#ifdef LV_PLANTED_BUGS
enum {
    BLG_BUG_NO_FILE_SYNC = 1u << 0,
    BLG_BUG_NO_DIR_SYNC = 1u << 1,
    BLG_BUG_STATE_IN_PLACE = 1u << 2,
    BLG_BUG_IGNORE_CRC = 1u << 3,
    BLG_BUG_CURSOR_PLUS_ONE = 1u << 4,
    BLG_BUG_FORGET_KEPT = 1u << 5,
    BLG_BUG_HEADER_WITH_RECORDS = 1u << 6,

    BLG_BUG_NO_OPEN_SYNC = 1u << 7,
    BLG_BUG_IGNORE_GONE = 1u << 8,
    BLG_BUG_REUSE_NUMBERS = 1u << 9,
    BLG_BUG_IGNORE_ENDS = 1u << 10,
    BLG_BUG_IGNORE_FAILED = 1u << 11,
    BLG_BUG_FORGET_LARGE = 1u << 12,
    BLG_BUG_FORGET_COUNTS = 1u << 13,
    BLG_BUG_FORGET_DEAD = 1u << 14,
    BLG_BUG_FORGET_HOLLOW = 1u << 15,
    BLG_BUG_TABLE_SHORT = 1u << 16,
};
extern unsigned backlog_planted_bugs;
#define BACKLOG_BUG(bug) ((backlog_planted_bugs & (bug)) != 0)
#else
#define BACKLOG_BUG(bug) false
#endif
