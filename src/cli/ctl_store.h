// ctl_store.h: `leveretctl store verify|stats|dump`: what is in the data directory of a broker that is stopped.
//
// The only part of leveretctl that asks no broker: it reads the files (src/store/inspect.h), under the lock that a broker would
// take, and never changes a byte. Other files of this folder know nothing of it.
#pragma once

#include "src/cli/leveretctl.h"
#include "src/store/inspect.h"

// One look at a directory. Owner: run_store.
struct ctl_store {
    struct ctl *c;
    struct inspect inspect;
    int lock_fd; // -1: the directory has no lock file
    bool is_json;
};

// Each prints and returns the exit status.
int ctl_store_verify(struct ctl_store *s);
int ctl_store_stats(struct ctl_store *s);
int ctl_store_dump(struct ctl_store *s);

// --- between them (ctl_store.c) ---
// The n-th queue that is asked for, or with --lost-and-found what lies there; NULL: no more. *n starts at 0 and goes on.
const struct inspect_queue *ctl_store_next(const struct ctl_store *s, size_t *n);
// "queue 'q' in vhost '/'", or "queue 17 (not in the metadata)".
void ctl_store_put_queue(struct buf *out, const struct inspect_queue *q);
// A JSON string of any bytes: what is not UTF-8 becomes U+FFFD.
json_t *ctl_store_text(struct slice bytes);
json_t *ctl_store_number(uint64_t n);
json_t *ctl_store_log(const struct inspect *i);      // what recovery reported
json_t *ctl_store_findings(const struct inspect *i); // an array
void ctl_store_print_findings(struct ctl_store *s);
// "1 message", "2 messages".
void ctl_store_put_count(struct buf *out, uint64_t n, const char *noun);
// -LE_NOMEM and the like on standard error; the exit status.
int ctl_store_failed(struct ctl_store *s, int err);
