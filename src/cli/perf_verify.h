// perf_verify.h: is every confirmed message still there? Numbered messages, a log of what was sent and confirmed, a log of what
// was received, and the checker that compares them.
//
// A run's log (text, one fact a line) is written while publishing; FILE.received while consuming, live or by --check, before
// anything is acknowledged, so that a check that was interrupted can be run again. Producers and queues count from 0, messages
// of a producer from 1. A confirmed message must be received; one that was sent and never confirmed may be or may not.
#pragma once

#include <pthread.h>

#include "src/base/buf.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_report.h"

enum {
    VERIFY_BODY_MIN = 40,      // bytes
    VERIFY_CLIENTS_MAX = 1024, // LIMIT: producers, and queues
};

// LIMIT: messages of a producer; the checker keeps a byte for each.
#define VERIFY_SEQUENCE_MAX ((uint64_t)1 << 32)

// --- perf_verify_message.c: a body that says who it is ---
//
//   0       8     16         20      24         32         40
//   | magic | run | producer | queue | sequence | checksum | filler |     big-endian; the checksum is over all the rest

struct verify_message {
    uint64_t run;
    uint32_t producer, queue;
    uint64_t sequence;
};

// body: at least VERIFY_BODY_MIN bytes, all of which are written.
void verify_message_encode(const struct verify_message *m, uint8_t *body, size_t size);
// -LE_NOTFOUND: not a message of this program; -LE_CORRUPT: the checksum is wrong. The magic counts as damaged, not as foreign,
// when only some of its bytes are right.
LV_MUST_USE int verify_message_decode(struct slice body, struct verify_message *ret);

// --- perf_verify_log.c ---

// What a run says of itself at the head of its log.
struct verify_head {
    uint64_t run;
    uint32_t producers, queues;
    char pattern[256]; // of the queues' names
};

struct verify_log {
    FILE *file;
    pthread_mutex_t lock; // rank: leaf; lines of several threads stay whole
};

// Facts of a log. Numbers are as they were in the file: the checker bounds them.
enum verify_fact_kind {
    FACT_SENT,       // producer, last: nothing above `last` has been sent
    FACT_CONFIRMED,  // producer, first, last
    FACT_NACKED,     // producer, first, last
    FACT_RECEIVED,   // queue, producer, first, last, is_redelivered
    FACT_CORRUPTED,  // queue
    FACT_UNEXPECTED, // queue
    FACT_DRAIN,      // what follows was received by --check: nobody published any more
};

struct verify_fact {
    enum verify_fact_kind kind;
    uint32_t queue, producer;
    uint64_t first, last;
    bool is_redelivered;
};

LV_MUST_USE int verify_log_create(struct verify_log *log, const char *path, const struct verify_head *head);
LV_MUST_USE int verify_log_append_to(struct verify_log *log, const char *path); // goes on where it ended
// Written through to the kernel before it returns.
void verify_log_write(struct verify_log *log, const struct verify_fact *facts, size_t count);
void verify_log_close(struct verify_log *log);

typedef int (*verify_fact_fn)(void *ctx, const struct verify_fact *fact);
// Reads head (unless NULL: then there is none) and facts. -LE_NOTFOUND: no such file; -LE_SYNTAX with the number of the line. A
// last line that was cut off is left out.
LV_MUST_USE int verify_log_read(const char *path, struct verify_head *head, verify_fact_fn fact, void *ctx,
                                uint64_t *ret_line);

// --- perf_verify_check.c ---

enum { VERIFY_EXAMPLES_MAX = 20 };

struct verify_found {
    uint64_t sent, confirmed, nacked, received; // different messages; received: of this run
    uint64_t in_doubt_received;                 // sent, never confirmed, and received: allowed
    uint64_t lost;                              // confirmed, never received
    uint64_t duplicated_redelivered;            // came again, and the broker said so
    uint64_t duplicated_unexplained;            // came again as if new
    uint64_t corrupted;
    uint64_t unexpected; // not of this run, never sent, or in another queue
    uint64_t out_of_order;
};

struct verify_checker;

struct verify_checker *verify_checker_new(const struct verify_head *head);
void verify_checker_free(struct verify_checker *c);
// 0, -LE_LIMIT (a number that cannot be), -LE_NOMEM. Facts of one log in their order; the run's log before what was received.
LV_MUST_USE int verify_checker_add(struct verify_checker *c, const struct verify_fact *fact);
// Counts, and describes the first of each kind that is wrong, a line each.
void verify_checker_finish(struct verify_checker *c, struct verify_found *ret, struct buf *examples);

// --- perf_verify_inbox.c: whole messages of frames ---

struct verify_inbox {
    struct buf body;
    uint64_t left; // bytes of the body that are still to come
    uint64_t tag;
    bool is_redelivered, is_header_due, is_body_due;
};

// 1: the message is whole; 0: go on; or an error, told in the connection.
LV_MUST_USE int verify_inbox_take(struct verify_inbox *in, struct perf_conn *c, const struct frame *f);

// --- commands ---

struct verify_config {
    struct perf_common common;
    const char *log;
    bool is_check, is_consume_live, is_reorder_allowed, is_keep;
    uint64_t producers, queues;
    const char *queue_pattern;
    bool is_quorum, is_transient;
    struct buf queue_args;
    uint64_t size;
    double rate;
    uint64_t confirm, messages;
    double duration_s;
    double wait_s; // for the broker to be there
};

int verify_publish(const struct verify_config *c); // exit status
int verify_check(const struct verify_config *c);

// A file's name with ".received" behind it.
void verify_received_path(const struct verify_config *c, char ret[static 4096]);
// Deliveries of one connection, several of a read in one fact: what is pending goes to the log and is then acknowledged.
struct verify_receiver {
    struct perf_conn *conn;
    struct verify_log *log;
    uint32_t queue;
    uint64_t run;
    struct verify_inbox inbox;
    struct verify_fact facts[256];
    size_t fact_count;
    uint64_t unacked_tag; // 0: none
    uint64_t received;
    verify_fact_fn fact; // each fact too, may be NULL
    void *ctx;
};
LV_MUST_USE int verify_receiver_take(struct verify_receiver *r, const struct frame *f);
LV_MUST_USE int verify_receiver_settle(struct verify_receiver *r); // after a read
