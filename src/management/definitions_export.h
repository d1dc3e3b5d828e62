// definitions_export.h: everything declared as a definitions file, made bit by bit from one version of the topology.
//
// A thread of its own walks the version, which is pinned (topology_pin), and puts JSON into a bounded buffer; the HTTP member takes it out as
// the client reads. So a file of any size costs 256 KiB, shows one moment, and holds up nobody. Fields and their order are RabbitMQ 3.10's;
// a vhost that has a description, tags or a default queue type says so in "metadata", as 3.11 does. Left out, as there: exclusive queues
// and their bindings, queues and exchanges named "amq.…", the default exchange.
//
// The same thread compares an import with the topology (definitions_plan.h): the plan is a stream too, or goes into the import's spool of
// deletions.
//
// All functions but the thread's on the HTTP member. Secrets (hashes, URIs) are in it: for administrators.
#pragma once

#include "src/base/buf.h"
#include "src/broker/topology.h"

// LIMIT: bytes made ahead of the client; how long a version is kept for one that reads slowly.
enum { EXPORT_AHEAD_BYTES = 256 * 1024, EXPORT_PART_BYTES = 32 * 1024, EXPORT_SECONDS_MAX = 900 };

struct definitions_export;
struct definitions_import;

struct definitions_export_args {
    struct slice vhost; // NULL ptr: the whole broker; otherwise it exists in the adopted version
    const char *product_name, *product_version;
    // Not NULL: a plan of that import, which nobody else uses meanwhile.
    struct definitions_import *import;
    bool is_exact, is_forced, is_text;
    bool is_for_deletions;    // nothing is written
    void (*ready)(void *ctx); // from the thread: there is something to take, or the end; wakes the member
    void *ctx;
};

// NULL: too many at once, no memory, no thread.
LV_MUST_USE struct definitions_export *definitions_export_new(struct worker *w,
                                                              const struct definitions_export_args *args);
void definitions_export_free(struct definitions_export *e); // accepts NULL; ends the thread
enum export_state { EXPORT_MORE, EXPORT_WAIT, EXPORT_END, EXPORT_FAILED };
int definitions_export_error(const struct definitions_export *e); // why it FAILED: -LE_xxx
// Appends what is there: MORE to come; WAIT: nothing now; END: that was all.
enum export_state definitions_export_take(struct definitions_export *e, struct buf *out);

// The walk itself, into one buffer (`flush` is called now and then; other than 0: it ends there). For tests, and the thread.
LV_MUST_USE int definitions_export_write(const struct topology *t, const struct definitions_export_args *args,
                                         struct buf *out, int (*flush)(void *ctx), void *ctx);
