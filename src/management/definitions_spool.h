// definitions_spool.h: records put aside in order, and read again: in memory as long as they are few, then in a file.
//
// The file lies in the data directory and has no name any more: it goes with the process. One thread.
#pragma once

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/io.h"

// LIMIT: bytes kept in memory, bytes read at once.
enum { SPOOL_MEMORY_BYTES = 256 * 1024 };

struct definitions_spool {
    const struct io *io;
    const char *dir; // of the file; lives as long as the spool
    struct buf memory;
    uint64_t file_bytes;
    uint64_t count; // records
    int fd;         // -1: all is in memory
};

struct definitions_cursor {
    uint64_t offset;  // of what is read next from the file
    size_t memory_at; // the same of the memory
    struct buf chunk;
    size_t at; // in chunk
};

void definitions_spool_init(struct definitions_spool *s, const struct io *io, const char *dir);
void definitions_spool_fini(struct definitions_spool *s);
// 0 or -LE_xxx: the file cannot be made or written.
LV_MUST_USE int definitions_spool_put(struct definitions_spool *s, struct slice records);
// More bytes behind what is not used of cursor->chunk; 0 when there is nothing more: *ret_is_end.
LV_MUST_USE int definitions_spool_fill(const struct definitions_spool *s, struct definitions_cursor *c,
                                       bool *ret_is_end);
void definitions_cursor_fini(struct definitions_cursor *c);
