// backlog_opening.h: a start opens the files of one queue: what is known of them on the way. Of backlog_open.c and backlog_alive.c alone.
#pragma once

#include "src/store/backlog_format.h"

struct found {
    struct block_header h;
    bool is_void;
    bool is_hollow;            // a chain block of which nothing is alive
    struct backlog_dead *dead; // of a chain block that waits; NULL: all of it waits
};

struct kept_entry {
    struct backlog_kept kept;
    uint64_t number;    // of its block
    bool is_superseded; // a chain block that was written later has it, and waits
};

struct backlog_range {
    uint64_t first, end;
};

struct opening {
    const struct io *io;
    const char *data_dir;
    uint64_t queue;
    backlog_gone_fn gone;
    void *ctx;
    struct backlog *b;
    struct backlog_report *report;
    struct backlog_state state;
    struct inttab dead; // of state: number of a block → struct backlog_dead
    uint32_t *files;
    size_t file_count, file_cap;
    bool has_state;
    struct found *blocks;
    size_t block_count, block_cap;
    struct backlog_range *failed; // numbers of blocks that do not count
    size_t failed_count, failed_cap;
    struct kept_entry *kept;
    size_t kept_count, kept_cap;
    size_t loose_kept;                        // of them, from loose blocks; sorted
    uint64_t gone_from, gone_first, gone_end; // the last answer of `gone`
};

// Room for one more; the array stays as it is without memory. -LE_NOMEM.
LV_MUST_USE int opening_grow(void *items, size_t *cap, size_t count, size_t size);
void opening_tell(const struct opening *o, uint32_t file, uint64_t offset, uint64_t bytes, const char *what);
struct backlog_file *opening_file(const struct opening *o, uint32_t file); // which was listed
// Of the blocks that count: what is kept, and what waits. o->b's cursor and chain, o->kept.
LV_MUST_USE int opening_take_blocks(struct opening *o);
