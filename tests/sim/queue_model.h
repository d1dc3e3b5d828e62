// queue_model.h: what the queues of sim_queue.c have to hold: every message ever published, where it is, and how sure that is.
//
// A message is named by (queue, number in its body). `is_maybe`: a crash may have kept it or not, and nobody has seen since. A message that is
// GONE may come back only while the word about it is not known to be durable: the confirm of a later publish by the same session to the same
// worker says that it is. One thread; the first failed check stays in `failure`.
#pragma once

#include "tests/unit/queue/fixture.h"

enum { SIM_WORKERS = 2, SIM_SESSIONS = 4, SIM_QUEUES = 64, SIM_ENTRIES = 40000, SIM_TXS = 512 };

enum entry_state { ENTRY_HELD, ENTRY_QUEUED, ENTRY_OUT, ENTRY_GONE };

struct entry {
    uint64_t id, order; // in its queue
    uint64_t seq;       // OUT: for settling
    uint64_t op;        // when its publish, or (GONE) what took it, was sent
    int64_t at_ms;      // when it expires; 0: never. From then on it may be gone, and must not be handed out
    uint32_t count, tx, ack_tx, arrivals;
    uint32_t count_sure; // in a queue with a limit: no crash makes it less
    uint64_t count_op;   // when it became what it is
    int8_t count_session;
    uint16_t queue;
    int8_t session;  // that published it, that has it, that took it
    int8_t consumer; // OUT: its slot; -1: by a get
    uint8_t state;
    bool is_persistent, is_confirmed, is_maybe, is_redelivered, is_count_known, is_flag_open, was_tx;
};

struct sim_queue {
    uint64_t id;
    lv_handle handle; // 0: not there
    uint32_t flags;
    int worker;
    uint32_t limit;                  // of deliveries that come back; 0: none
    bool is_deleted, is_delete_open; // answered; on its way
    struct queue_rules rules;        // priorities, a length limit: what waits there may be dropped
};

struct sim_tx {
    uint64_t id;
    int session;
    unsigned waiting;          // publishes not answered
    bool is_ended, is_decided; // asked for; answered
    bool is_refused, is_abort;
    uint64_t workers;
    bool is_logged;
};

struct suspicion {
    const struct entry *entry; // should have been delivered before `by`
    uint32_t arrivals;         // of it, then
    uint64_t by;
};

struct answered {
    const struct entry *entry;
    int8_t session;
    uint64_t op; // of the publish
};

struct model {
    struct entry entries[SIM_ENTRIES];
    uint32_t entry_count;
    struct sim_queue queues[SIM_QUEUES];
    uint32_t queue_count;
    struct sim_tx txs[SIM_TXS];
    uint32_t tx_count;
    struct suspicion suspicions[256];
    uint32_t suspicion_count;
    struct answered answers[256]; // confirms since all mail had arrived
    uint32_t answer_count;
    uint64_t next_id, next_order, next_op;
    int64_t now_ms;
    uint64_t durable_op[SIM_SESSIONS][SIM_WORKERS];
    bool has_faults; // of this life: acks may have been refused
    bool was_full;   // of this life: acks may have had to wait for room, behind what came later
    bool ended_full; // its orderly end found no room in the log: counts are in `orderly` alone
    const char *failure;
    uint64_t failed_id;
    uint64_t confirmed, delivered, recovered;
};

#define MODEL_CHECK(m, x, entry_id, text)                                                                    \
    ((x) || (m)->failure != NULL ? (void)0 : (void)((m)->failure = (text), (m)->failed_id = (entry_id)))

struct entry *model_find(struct model *m, uint32_t queue, uint64_t id); // NULL: never published
struct entry *model_publish(struct model *m, uint32_t queue, uint64_t id, int session, bool is_persistent);
void model_clock(struct model *m);                                // its time is the time of the process
void model_time(struct model *m, int64_t ms);                     // so much goes by
uint32_t model_queue_of(const struct model *m, lv_handle handle); // aborts when there is none
// A publish is answered; `number` is the message's.
void model_answered(struct model *m, int session, uint64_t id, bool is_accepted);
// A message reached somebody.
struct entry *model_arrived(struct model *m, uint32_t queue, const struct message *msg, uint64_t seq,
                            uint32_t count, bool is_redelivered, int session, int consumer);
// A delivery comes back, and counts. False: it was once too often, and is gone.
bool model_requeued(struct model *m, struct entry *e, int session);
void model_mail_arrived(struct model *m); // to be called when nothing is on its way between workers
void model_take(struct model *m, struct entry *e, int session); // settled for good, or delivered without acks
// count PURGE_UNKNOWN: the disk was gone by then.
static const uint64_t PURGE_UNKNOWN = UINT64_MAX;
void model_purged(struct model *m, uint32_t queue, uint64_t count, int session);
void model_tx_decided(struct model *m, uint32_t tx, bool is_committed);
// The process has ended; nothing is out any more.
enum model_end { MODEL_ORDERLY, MODEL_CRASH };
void model_ended(struct model *m, enum model_end end);
// A start came to nothing: whether the stop before it still counts as orderly is open.
void model_start_failed(struct model *m);
// Everything that is ready in the queue was just got: what is left must not have been sure; transactions are whole.
void model_drained(struct model *m, uint32_t queue);
void model_check_txs(struct model *m);
void model_print(const struct model *m, uint64_t id); // what is known of a message
void model_print(const struct model *m, uint64_t id); // what is known of a message
void model_bounds(const struct model *m, uint32_t queue, uint64_t *ret_least, uint64_t *ret_most);
