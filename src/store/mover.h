// mover.h: the threads that do what would block a worker: one writes backlog files and removes them, in order; one reads.
//
// Each worker has a port. It submits jobs, which come back through its `done` when it polls; each exactly once. Write jobs (APPEND, STATE, UNLINK,
// REMOVE) are carried out in the order in which they were submitted by a port; read jobs are carried out in order among themselves.
// A failed job is not repeated here. Who waits for a read is told before any number of moves is done: the threads do not share a queue.
// Threads: a port belongs to its worker; `wake` is called on the mover's threads. Owner of a job: the submitter until submitted, and again in `done`.
#pragma once

#include "src/store/backlog.h"

struct mover;
struct mover_port;

enum mover_kind {
    MOVER_APPEND, // append
    MOVER_STATE,  // queue, state
    MOVER_UNLINK, // queue, file
    MOVER_REMOVE, // queue: the whole folder
    MOVER_BLOCK,  // queue, block → bytes
    MOVER_READ,   // queue, reads → a record each
    MOVER_TABLES, // queue, tables → what is due soon in each block
};

struct mover_read {
    struct msglog_place place;
    bool is_from_backlog;        // else from the commit log
    int result;                  // out: 0, or the error of this one
    struct msglog_record record; // out: its buffer is the submitter's
    void *ctx;
};

struct mover_table {
    struct backlog_block block;
    int result;     // out
    bool is_left;   // out: not looked at
    uint32_t due_s; // out: what is due from this second on was not taken; 0: nothing
};
// LIMIT: messages that a job of MOVER_TABLES takes, and those of one more block: blocks behind that are left as they were.
enum { MOVER_DUE_MAX = 16384 };

struct mover_job {
    uint8_t kind; // enum mover_kind
    bool is_transient;
    int result;                          // out
    uint64_t queue;                      // id
    void (*done)(struct mover_job *job); // in mover_port_poll
    void *ctx;
    struct mover_job *next;  // the mover's
    struct mover_port *port; // the mover's
    union {
        struct backlog_append append;
        struct backlog_state state; // `kept` is the submitter's
        uint32_t file;
        struct {
            struct backlog_block block;
            uint8_t *bytes; // out: mem_free
        } block;
        struct {
            struct mover_read *items; // neighbours in one file are read with one call
            size_t count;
        } reads;
        struct { // from block.due_s on, up to until_ms: whole seconds
            struct mover_table *items;
            size_t count;
            int64_t until_ms;
            struct backlog_due *due; // out: mem_free
            size_t due_count, due_cap;
        } tables;
    };
};

struct mover_config {
    const struct io *io;
    const char *data_dir;
    struct msglog *log; // to read from; outlives the mover
    unsigned port_count;
    size_t sync_all_min; // of backlog_append_all; 0: its own
};

// Aborts when out of memory (start-up).
struct mover *mover_new(const struct mover_config *config);
struct mover_port *mover_port_new(struct mover *m, void (*wake)(void *ctx),
                                  void *ctx); // start-up, once a worker
LV_MUST_USE int mover_start(struct mover *m);
// Tests, instead of mover_start: carries out what was submitted, on the caller's thread; returns how many jobs.
size_t mover_step(struct mover *m);
void mover_stop(struct mover *m); // finishes what was submitted, ends the threads; ports can still be polled
void mover_free(struct mover *m); // accepts NULL

void mover_submit(struct mover_port *p, struct mover_job *job); // never blocks, never fails
size_t mover_port_poll(struct mover_port *p);                   // calls `done` of what came back; how many
uint64_t mover_port_open(const struct mover_port *p);           // jobs submitted and not yet back
