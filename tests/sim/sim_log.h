// sim_log.h: the model of sim_log.c, and its comparison with what a start has recovered (sim_log_check.c).
#pragma once

#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { WRITERS = 3, QUEUES = 6, SEQS = 600, TXS = 200, QUEUE_IDS = 40 };

enum state { NEVER, OPEN, SURE, GONE }; // OPEN: a crash may keep it or not

struct message {
    enum state state;
    uint64_t id;        // makes the content
    uint32_t tx;        // index of the transaction that published it and is not decided, or 0
    uint32_t ack_tx;    // that acks it
    bool is_dying;      // acked, purged or deleted, durably or not
    bool is_filed;      // it lies in a backlog file; the log knows its acks alone
    bool is_stated;     // that it is gone is known without the log
    uint64_t gone_file; // segment in which the log says that it is gone
    uint64_t large_file;
    bool is_relaxed;               // published so
    bool is_either;                // a power cut may have undone what was reported last
    bool is_weak;                  // a sync of it failed: any power cut may do so from then on
    uint32_t soft_tx, soft_ack_tx; // committed, and not durable yet
    uint32_t count, count_told,
        count_synced;     // of deliveries: what the owner knows, what was reported written, what is synced
    bool is_count_weak;   // a sync of the highest one failed: it may be read, and lost to a later power cut
    uint32_t count_filed; // known without the log
};

// A relaxed entry that was reported written: durable when its segment is synced up to `end`.
struct soft {
    uint64_t queue, seq, generation, end;
    bool is_move;
    uint32_t count; // of a COUNT; else 0
};

struct tx {
    uint64_t id;
    bool is_open; // not decided
    bool is_relaxed;
};

struct job { // an entry and what it means
    struct msglog_entry e;
    struct msglog_content content;
    uint8_t *bytes; // owned by the last job of a publish
    unsigned writer;
    uint32_t tx;
    struct job *next;
};

struct sim {
    struct powercut *disk;
    struct rng rng;
    struct core core;
    struct msglog_live live; // what the owners know
    struct message messages[QUEUE_IDS + 1][SEQS + 1];
    uint64_t next_seq[QUEUE_IDS + 1];
    unsigned queues[QUEUES], next_queue;
    struct tx txs[TXS];
    uint32_t tx_count;
    struct job *jobs, *last; // waiting to be added, in order
    struct job *flying;      // added, not settled
    uint64_t next_id, vacating, seed;
    struct soft *softs;
    size_t soft_count, soft_cap;
    uint64_t relaxed_percent;
    const char *failure;
    uint64_t durable, recovered, refused, cuts, outs, moved, filed, relaxed, promoted, counted;
};

#define CHECK(s, x, text) ((x) || ((s)->failure != NULL) ? (void)0 : (void)((s)->failure = (text)))

// Queues that put into a backlog file what they have to move. The files are beside the simulated disk: what is put there is safe.
bool sim_has_files(void *ctx, uint64_t queue);
// The content of a message follows from its number. Returns its length; *ret_bytes by mem_free.
size_t sim_make_content(uint64_t id, struct msglog_content *c, uint8_t **ret_bytes);
bool sim_is_content_right(struct sim *s, const struct msglog_live_entry *e, uint64_t id);
// After a start: is it what the model says? What was open is decided from here on.
void sim_compare(struct sim *s);
