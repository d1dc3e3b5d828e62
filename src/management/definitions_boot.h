// definitions_boot.h: definitions files that the configuration names, imported when the broker starts, before it listens.
//
// A path is a file, or a folder whose files named *.json are taken in the order of their names. All are carried out, one after the other; the
// first that is refused ends it. What was imported whole is remembered by its SHA-256 in DATADIR/definitions.sha256, so that
// `definitions.skip_if_unchanged` can tell.
#pragma once

#include "src/base/worker.h"

struct definitions_queue;
struct password_rule;

struct definitions_boot_args {
    const char *path, *data_dir;
    bool is_skipped_if_unchanged;
    const struct password_rule *rule;
    // On the HTTP member, once: `problem` is one line (heap, the callee's) or NULL.
    void (*done)(char *problem);
};

// Before the threads run: the HTTP member begins with its first turn. Everything in args lives until `done`.
void definitions_boot_start(struct worker *http, struct definitions_queue *q,
                            const struct definitions_boot_args *args);
