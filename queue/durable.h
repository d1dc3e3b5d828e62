// durable.h: the disk side of a worker's queues: what it submits to the commit log, what comes back, what moves to backlog files.
//
// One `struct durable` a worker that has queues (NULL where there is no store: every promise then holds at once, as for transient
// messages). Its parts: durable.c the batches of the log; durable_message.c a message's way in and out; durable_move.c making room in the
// ring and in memory; durable_load.c bringing messages back; durable_start.c what recovery found; tx.c transactions.
//
// A queue gets a `struct queue_disk` with its first message that is to be stored. Order of its messages: `ready`, then what waits in the chain of
// backlog files, then `behind`. While something waits in the chain or is being loaded the queue is split: publishes go to `behind`.
//
// Invariants: an ack is submitted after its message, by the same writer. A message's memory is held until the log has given it back.
// A generation is reported vacated only when nothing of this worker lives in it, no acks of backlog messages lie in it that no durable `state` holds,
// and no transaction is open that has entries there. One thread: the worker.
#pragma once

#include "queue/queue.h"
#include "queue/stored.h"
#include "src/base/inttab.h"
#include "src/store/log.h"
#include "src/store/mover.h"

struct queue_worker;

// --- planted bugs: tests link a build of this folder in which they can be switched on, to see that they are found ---
#ifdef LV_PLANTED_BUGS
enum {
    QUEUE_BUG_CONFIRM_EARLY = 1u << 0,
    QUEUE_BUG_DROP_ACKS = 1u << 1,
    QUEUE_BUG_ACK_FIRST = 1u << 2,
    QUEUE_BUG_FORGET_KEPT = 1u << 3,
    QUEUE_BUG_VACATE_EARLY = 1u << 4,
    QUEUE_BUG_COUNT_TWICE = 1u << 5,
    QUEUE_BUG_TX_EARLY = 1u << 6,
    QUEUE_BUG_STAY = 1u << 7,
    QUEUE_BUG_BURY_EARLY = 1u << 8,
    QUEUE_BUG_FORGET_COUNTS = 1u << 9,
    QUEUE_BUG_COUNT_IN_MEMORY = 1u << 10,
    QUEUE_BUG_LIMIT_LATE = 1u << 11,
    QUEUE_BUG_MOVE_FORGETS_TTL = 1u << 12,
    QUEUE_BUG_FRONT_UNSEEN = 1u << 13,
    QUEUE_BUG_EXPIRE_MOVING = 1u << 14,
    QUEUE_BUG_EXPIRE_EARLY = 1u << 15,
    QUEUE_BUG_DEAD_UNSEEN = 1u << 16,
    QUEUE_BUG_TABLE_UNREAD = 1u << 17,
};
extern unsigned queue_planted_bugs;
#define QUEUE_BUG(bug) ((queue_planted_bugs & (bug)) != 0)
#else
#define QUEUE_BUG(bug) false
#endif

// How long what could not be written, moved or read waits for its next try; durable.retry wakes the worker for it.
enum { RETRY_MS = 250 };
enum { EPOCH_ALONE = 1 }; // of queues that are not mirrored
// LIMIT: entries of one batch.
enum { LOG_BATCH_ENTRIES = 256 };

// A publish to several queues of this worker: answered when all have answered.
struct publish_wait {
    lv_handle session;
    uint64_t number;
    unsigned left, accepted, refused;
};

// What an entry of a batch is about.
struct log_item {
    lv_handle queue;
    struct stored *stored;   // MESSAGE, MOVE
    struct message *msg;     // MESSAGE: a reference
    struct queue_disk *disk; // DELETE
    union {
        struct publish_wait *wait;     // has_wait
        lv_handle session;             // 0: nobody asks
        struct queue_request *request; // DELETE
        struct queue_tx *tx;           // COMMIT, ABORT
    };
    uint64_t number;
    bool has_wait;
    bool is_skipped; // gone before it was submitted: not written
    struct msglog_content content;
};

struct log_batch {
    struct msglog_batch batch; // ctx: this
    uint32_t
        number; // of those begun; what is not written yet remembers it in stored.file, its index in stored.offset
    uint32_t skipped; // of its entries
    struct list node; // in durable.stalled
    struct msglog_entry entries[LOG_BATCH_ENTRIES];
    struct log_item items[LOG_BATCH_ENTRIES];
};

// Messages [first, last] of files that could not be read: alive, but not in the queue of this run.
struct left_span {
    uint64_t first, last;
};

struct queue_disk {
    struct list node;    // in durable.disks
    struct queue *queue; // NULL: gone
    uint64_t id;         // of the queue
    bool is_transient;   // nothing of it is to survive
    struct backlog backlog;
    struct ready behind;
    uint64_t oldest; // no message of it lies in an older generation of the log; UINT64_MAX: none known
    uint64_t
        acks_oldest; // acks and counts of backlog messages lie in this generation or younger ones; UINT64_MAX: none
    uint64_t moved_upto; // messages up to here may lie in younger generations than those behind them
    struct inttab
        flags; // start: sequence number → count_flags + 1, of messages that wait in the chain; `state` takes over the counts
    uint64_t old_blocks; // chain blocks below this number are of an earlier run
    uint64_t
        redelivered_upto; // what waits in the files below here (file << 32 | offset) was perhaps delivered before
    uint32_t jobs;        // of the mover, under way
    bool is_split;
    bool is_loading, is_appending;
    uint64_t moving_first, moving_last; // is_appending, to the chain: numbers from here to there
    bool is_read_held;                  // the device failed to read: tried again at durable.reread_ns
    uint8_t block_tries;                // of the block that comes next, that failed so
    struct left_span *left;             // in the files and left out until the next start
    size_t left_count, left_cap;
    bool has_folder; // there may be files
    bool is_gone;    // the queue is dead; the struct goes with its last job
};

// Where messages wait in memory, row after row; NULL: there are no more.
static inline struct ready *
queue_row(const struct queue *q, size_t n)
{
    if (LV_UNLIKELY(q->levels != NULL)) {
        struct level *at = levels_row(q->levels, n);
        return at != NULL ? &at->ready : NULL;
    }
    return n == 0 ? (struct ready *)&q->ready : n == 1 && q->disk != NULL ? &q->disk->behind : NULL;
}

// A reference to a large file that goes when the batch that says so is durable.
struct large_release {
    struct list node;
    uint64_t large_file, due; // due: number of that batch
};

struct durable_config {
    struct msglog *log;
    struct mover *mover;
    struct recovery *recovery; // what start-up found; outlives the start
    uint64_t written_max;      // bytes of messages in memory from which on a worker lets go of those on disk
    uint64_t body_max;         // bytes from which on it moves the longest queue to files
    uint64_t index_max;        // messages in the ring from which on it does so
    size_t tx_max;             // bytes that one transaction may write
    uint64_t rewrite_max; // bytes of one generation that are written again in the log; the rest goes to files
    uint64_t page_out_seed;    // tests: lets go of written bodies at random; 0: off
    uint32_t page_out_percent; // how many of them
};

struct durable {
    struct queue_worker *qw;
    struct durable_config config;
    struct msglog_writer *writer;
    struct mover_port *port;
    struct list disks;              // queue_disk.node
    struct log_batch *filling;      // of this turn; NULL: none
    struct log_batch *first, *last; // full ones of this turn, chained by batch.next
    struct list stalled;            // batches of messages that found no room
    struct inttab large;            // address of a struct stored → its large file, as a pointer
    struct list releases;           // large_release.node, oldest first
    struct pool stored_pool, wait_pool;
    struct log_batch *spare; // chained by batch.next
    unsigned spare_count;
    uint32_t begun;             // batches
    uint64_t open_batches;      // submitted and not back
    uint64_t closed, came_back; // batches ever; in this order, so batch n is back when came_back >= n
    ev_timer retry;
    uint64_t retry_ns;     // when the stalled ones are tried again
    bool is_probing;       // they were
    uint64_t probe_end;    // and are back when came_back >= this
    bool is_ending;        // nobody is there to be told any more
    bool has_ended;        // and nothing is under way
    uint64_t vacating;     // generation being vacated; 0: none
    uint64_t vacate_moves; // entries and jobs of it under way
    uint64_t rewritten;    // bytes of it, written again
    uint64_t vacate_round; // what a level knows of having been looked at is of this one
    bool vacate_failed;
    bool is_wave_wanted;    // something that a wave waits for has changed
    uint64_t move_retry_ns; // 0: not waiting
    uint64_t reread_ns;     // 0: no queue is_read_held
    uint64_t removing;      // folders being removed
    uint64_t stored_count;  // struct stored alive
    uint64_t look_ns;       // when memory was looked at
    struct rng rng;         // of page_out_seed
    _Atomic bool is_full;   // the log has no room; readers: any thread
};

void durable_init(struct queue_worker *qw, const struct durable_config *config);
// The end, in two steps: of all workers together, waits for the log and the mover; then, when the queues are gone, frees.
void durable_end(struct crew *crew);
void durable_fini(struct queue_worker *qw);

// --- durable.c: the log ---

// An entry of the batch of this turn; NULL when out of memory. ACKs that continue the last one grow it instead.
LV_MUST_USE struct msglog_entry *durable_entry(struct durable *d, struct log_item **ret_item);
void durable_submit(struct durable *d); // what has gathered
// Takes back a message that was added in this turn and is gone already: its publisher is answered, nothing is written. False: it is too late.
bool durable_take_back(struct durable *d, struct stored *s);
// left = 1, of the maker; NULL when out of memory.
struct publish_wait *durable_wait_new(struct durable *d, lv_handle session, uint64_t number);
// One less is waited for (accepted or refused has been counted).
void durable_wait_answer(struct durable *d, struct publish_wait *wait);
void durable_release_later(struct durable *d, uint64_t large_file);

// --- durable_message.c ---

// Who asks for a publish: a wait, or a session, or nobody.
struct publish_asker {
    struct publish_wait *wait;
    lv_handle session;
    uint64_t number;
};

// The disk side of a queue, made when it is not there; NULL when out of memory.
struct queue_disk *queue_disk_get(struct queue_worker *qw, struct queue *q);
void
queue_disk_leave(struct durable *d,
                 struct queue_disk *k); // a job is done; frees it when it was the last and the queue is gone
enum push_result { PUSH_DONE, PUSH_WAITS, PUSH_REFUSED };
// A persistent message for a durable queue. PUSH_WAITS: `asker` will be answered.
LV_MUST_USE enum push_result durable_push(struct queue_worker *qw, struct queue *q, struct message *msg,
                                          const struct publish_asker *asker);
// Puts a message into the batch; false when out of memory. asker NULL: nobody asks.
struct durable_record {
    uint64_t seq;
    struct stored *stored;
    uint64_t tx;        // 0: none
    int64_t expires_ms; // wall clock; 0: never
};
LV_MUST_USE bool durable_log_message(struct queue_worker *qw, struct queue *q, const struct durable_record *r,
                                     const struct publish_asker *asker);
// Writes that `count` messages from seq on are gone.
void durable_log_ack(struct queue_worker *qw, struct queue *q, uint64_t seq, uint64_t count, uint64_t tx);
// Writes how often message `seq` came back by now. Not waited for: the next sync of the log makes it durable.
void durable_log_count(struct queue_worker *qw, struct queue *q, uint64_t seq, uint32_t count);
// The queue does not need the message any more; an ack is written.
void durable_drop(struct queue_worker *qw, struct queue *q, uint64_t seq, struct stored *s);
void durable_fill_content(struct msglog_content *c, const struct message *msg);
void durable_answer(struct durable *d, struct log_item *item,
                    bool is_accepted); // whoever asked for a publish
void durable_message_returned(struct durable *d, struct msglog_entry *e, struct log_item *item);
void durable_set_place(struct queue_disk *k, struct stored *s, const struct msglog_place *place);
void durable_let_go(struct queue_worker *qw, struct queue *q,
                    struct stored *s);         // of its body, when it is written
bool durable_is_over(const struct durable *d); // bodies are over their limit

LV_MUST_USE struct stored *stored_new(struct durable *d, struct message *msg); // takes the reference
void stored_unbusy(struct durable *d, struct stored *s);                       // a job of it is done
// Its entry is gone; what is written about that (an ack, a purge, a delete) is in the batch already.
void stored_gone(struct queue_worker *qw, struct stored *s);
void stored_set_large(struct durable *d, struct stored *s, uint64_t large_file);
void stored_pass_large(struct durable *d, struct stored *s); // somebody else holds the file from here on
void stored_body_came(struct queue_worker *qw, struct queue *q, struct stored *s, struct message *msg);
// A message as it was before it was written; NULL when out of memory.
LV_MUST_USE struct message *message_of_content(const struct msglog_content *c);

// --- durable_vacate.c ---
void durable_vacate(struct durable *d, uint64_t generation);
void durable_move_step(struct durable *d); // PHASE_REAP
void durable_move_returned(struct durable *d, struct msglog_entry *e, struct log_item *item);
void durable_ack_returned(struct durable *d, const struct msglog_entry *e, const struct log_item *item);
// --- durable_end.c ---
void durable_purge(struct queue_worker *qw, struct queue *q);
void durable_unlink_unneeded(struct durable *d, struct queue_disk *k);
// Writes DELETE; `request` (may be NULL) is answered when it is durable. The disk side goes.
void durable_delete(struct queue_worker *qw, struct queue *q, struct queue_request *request);
void durable_forget(struct queue_worker *qw, struct queue *q); // the process ends
void durable_delete_returned(struct durable *d, const struct msglog_entry *e, struct log_item *item);

// --- durable_load.c ---
static inline uint64_t
file_position(uint32_t file, uint32_t offset)
{
    return (uint64_t)file << 32 | offset;
}

// In the FIFO of `behind` lie numbers from here on: blocks of the chain must not overlap.
static inline uint64_t
chain_end(const struct queue_disk *k)
{
    return LV_MAX(k->backlog.cursor, backlog_last_seq(&k->backlog) + 1);
}

// Sees to it that the next message comes into memory; says what is the case then (NEXT_ABSENT: no memory for it now).
enum next_message durable_load(struct queue_worker *qw, struct queue *q);
// Fetches bodies that are away: as many of these as one job takes; the first one is neither under way nor lost. False: no memory.
enum { DURABLE_FETCH_MAX = 256 };
LV_MUST_USE bool durable_fetch(struct queue_worker *qw, struct queue *q,
                               const struct ready_entry *const *entries, size_t count);
// An entry that is out of all tables and sums, and cannot be read (STORED_LOST).
void durable_drop_lost(struct queue_worker *qw, struct queue *q, const struct ready_entry *e);
// Such an entry goes without an ack: the next start finds the message again.
void durable_leave_out(struct queue_worker *qw, struct queue *q, const struct ready_entry *e);
// What a queue is over its limit.
struct durable_excess {
    uint64_t count, bytes; // messages; bytes of their bodies
};
// Drops the block of the chain that comes next, unread, when all of it has to go: returns how many messages that were. 0: it has to be read.
uint64_t durable_skip_block(struct queue_worker *qw, struct queue *q, const struct durable_excess *excess);
// Some of the chain have left it: what nobody needs any more goes.
void durable_chain_left(struct queue_worker *qw, struct queue *q);
void durable_read_ahead(struct queue_worker *qw, struct queue *q); // after some were taken
void durable_reread(struct durable *d); // what the device failed to read, when it is time
void
durable_settle_split(struct queue_disk *k); // ends the split when nothing is left between ready and behind

// --- durable_start.c ---
// At creation of a queue during start-up: what recovery found for it.
LV_MUST_USE int durable_adopt(struct queue_worker *qw, struct queue *q);
