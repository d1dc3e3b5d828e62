// log_window.h: reads message records back one after the other, neighbours with one call: from the commit log or a backlog file.
//
// Whoever moves or fetches many messages knows all their places ahead. Those that follow each other in one file, with small gaps, are read
// together (1 MiB at most); a message whose neighbours are far away is read alone. Every record is checked before it is handed out.
// Owner: one thread; blocks.
#pragma once

#include "src/store/backlog.h"
#include "src/store/log_format.h"

struct window {
    const struct io *io;
    const char *data_dir;
    struct msglog *log; // NULL: nothing is read from it
    uint64_t queue;     // whose backlog files are meant
    bool is_transient;
    // Own:
    uint8_t *bytes; // of `file` from `start` on
    size_t cap, len;
    uint64_t file; // generation of a segment, or number of a backlog file; 0: nothing read
    uint32_t start;
    bool is_backlog;
    int fd; // of the backlog file fd_file
    uint32_t fd_file;
    uint64_t salt; // its
};

// Of the n-th item: false when it is not to be read.
typedef bool (*window_place_fn)(const void *items, size_t n, struct msglog_place *ret_place,
                                bool *ret_is_from_backlog);

struct window_record {
    struct message_fixed fixed;
    const uint8_t
        *refs; // fixed.ref_count of MESSAGE_REF_BYTES; these point into the window until the next read
    const uint8_t *content; // NULL: in the large file
};

void window_init(struct window *w, const struct io *io, const char *data_dir, struct msglog *log,
                 uint64_t queue, bool is_transient);
void window_fini(struct window *w);
// The record of item n, and the bytes of those after it that lie near. 0, -LE_NOTFOUND, -LE_CORRUPT, -LE_IO, -LE_NOMEM.
LV_MUST_USE int window_read(struct window *w, const void *items, size_t count, size_t n,
                            window_place_fn place_of, struct window_record *ret);
// The same as a record with its content in a buffer of its own, from the large file where there is one.
LV_MUST_USE int window_take(struct window *w, const void *items, size_t count, size_t n,
                            window_place_fn place_of, struct msglog_record *ret);
