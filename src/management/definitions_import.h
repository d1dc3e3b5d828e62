// definitions_import.h: a definitions file on its way in: taken apart as it comes, checked whole, then carried out.
//
// Two steps. *Feeding*: each element becomes records in the spool of its section, so that the order of sections in the file does not matter
// and memory stays bounded. A file that is cut off, malformed or wrong anywhere is refused here, before anything has changed, and so is one
// that names users or vhosts that neither it nor the broker has. *Carrying out*: the records go to the topology writer section by section,
// some thousand at once; whatever the writer still refuses (a limit, a disk that is full) ends it, and the answer says what was done by then.
// What exists with other properties (queues, exchanges) stays as it is, and bindings of what is not there are left out, as in RabbitMQ. To
// carry out the same file again changes nothing.
//
// One is carried out at a time, the others wait. Everything on the HTTP member. A crash in between leaves what was committed: a prefix of
// each section.
#pragma once

#include "src/management/definitions.h"
#include "src/management/definitions_spool.h"
#include "src/management/json_scan.h"

// LIMIT: imports in memory at once; requests at the topology writer; records submitted in one turn; notes kept of what was left out.
enum {
    DEFINITIONS_IMPORTS_MAX = 8,
    DEFINITIONS_WINDOW = 8192,
    DEFINITIONS_TURN_MAX = 512,
    DEFINITIONS_NOTES_MAX = 20,
};

struct definitions_queue; // the member's: imports waiting and under way

struct definitions_counts {
    uint64_t elements; // in the file
    uint64_t total;    // records
    uint64_t done, created, skipped;
};

struct definitions_import {
    struct list node; // in the queue
    struct definitions_queue *queue;
    char *vhost, *user,
        *source; // heap; vhost NULL: the whole broker; user NULL: nobody in particular; source: for the log
    const struct password_rule *rule;
    struct json_scan scan;
    struct definitions_spool spools[DEFINITIONS_ALL];
    uint32_t present; // bit for each section that the file has
    struct buf record;
    struct buf version;     // of the broker that wrote it
    json_t *users, *vhosts; // named in the file, as members of an object; true: it brings them
    struct buf last_vhost;  // noted last
    json_t *reason;         // why it was refused; NULL: it was not
    struct definitions_counts counts[DEFINITIONS_ALL];
    bool is_refused; // `reason`, or out of memory
    // carrying out
    bool is_running, is_ending;
    int section;
    struct definitions_cursor cursor;
    unsigned outstanding;
    uint32_t failed_element;
    int failed_section; // -1: none
    uint64_t begun_ns, told_ns;
    json_t *notes; // array: what was left out, and why
    uint64_t note_count;
    void (*done)(struct definitions_import *i);
    void *ctx;
};

struct definitions_import_args {
    struct slice vhost; // NULL ptr: a file of the whole broker
    struct slice user;  // NULL ptr: nobody
    const char *source; // "the HTTP API", a path
    const char *data_dir;
    const struct password_rule *rule;
};

// The member's, made once before its thread runs.
struct definitions_queue *definitions_queue_new(struct worker *w);
// The threads have ended: what is under way is not answered any more.
void definitions_queue_end(struct definitions_queue *q);
void definitions_queue_free(struct definitions_queue *q); // accepts NULL
// What is under way, waits, and was last: a JSON object.
void definitions_queue_put(struct definitions_queue *q, struct buf *out);

// NULL: too many at once, or no memory.
LV_MUST_USE struct definitions_import *definitions_import_new(struct definitions_queue *q,
                                                              const struct definitions_import_args *args);
void definitions_import_free(struct definitions_import *i); // accepts NULL; not while it is carried out
// 0; -LE_INVAL: refused (i->reason), -LE_xxx: memory, disk. Once refused, what comes more is passed over.
LV_MUST_USE int definitions_import_feed(struct definitions_import *i, struct slice bytes);
// The file has ended: all that can be checked is.
LV_MUST_USE int definitions_import_end(struct definitions_import *i);
// Carries it out; `done` is called when it is over: i->reason says why it ended early, or is NULL.
void definitions_import_run(struct definitions_import *i, void (*done)(struct definitions_import *i),
                            void *ctx);
// One thing more to delete at the end: what definitions_plan found. Any thread that has the import for itself.
LV_MUST_USE int definitions_import_add_deletion(struct definitions_import *i,
                                                const struct topology_request *r);
// What came of it, as a JSON object; `state` is a word.
void definitions_import_put(struct definitions_import *i, const char *state, struct buf *out);
// {"users":3,…}: what was carried out.
void definitions_import_put_applied(const struct definitions_import *i, struct buf *out);
// Calls `visit` for each record of a section; 0, or -LE_xxx.
LV_MUST_USE int definitions_import_each(struct definitions_import *i, enum definitions_section section,
                                        int (*visit)(void *ctx, const struct topology_request *record,
                                                     uint32_t index),
                                        void *ctx);
