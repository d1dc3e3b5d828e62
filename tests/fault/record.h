// record.h: what the recorder (record_io.c) writes down of a daemon's calls, and cut_image.c reads: one after the other, as they ended.
#pragma once

#include <stdint.h>

enum record_kind {
    RECORD_OPEN = 1, // text: path; the file is made when it is not there
    RECORD_CLOSE,
    RECORD_WRITE,    // text: the bytes
    RECORD_TRUNCATE, // offset: the new size
    RECORD_ALLOCATE, // offset, size
    RECORD_SYNC,
    RECORD_SYNC_ALL,
    RECORD_SYNC_DIR, // text: path
    RECORD_RENAME,   // text: two paths, a NUL between
    RECORD_UNLINK,   // text: path
    RECORD_MKDIR,    // text: path
};

// Followed by `len` bytes of text. Paths are relative to the data directory, "" that itself.
struct record {
    uint32_t kind;
    uint32_t fd; // as the daemon knows it
    uint64_t offset, size;
    uint64_t len;
};
