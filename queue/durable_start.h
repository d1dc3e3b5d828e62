// durable_start.h: from the directory to the queues: what recovery found, handed to each queue when it is made; and the word about redelivery
// that an orderly stop leaves.
//
// recovery_open replays the log and opens the backlog folders, by several threads; queues made at start (QUEUE_REQUEST_CREATE before the threads run) take what is theirs; what is left
// belongs to no queue that the metadata knows: recovery_close sets it aside in lost+found/. `orderly` is written when all queues are at rest (threads ended): which messages had been delivered before.
// Without it (a crash) every message that comes back counts as redelivered. Main thread.
#pragma once

#include "src/base/buf.h"
#include "src/base/inttab.h"
#include "src/store/backlog.h"
#include "src/store/log.h"

struct crew;
struct worker;

// What takes its time: reading the ring (bytes), opening backlog folders (queues), handing messages over (queues).
enum recovery_step { RECOVERY_LOG, RECOVERY_FOLDERS, RECOVERY_QUEUES };

struct recovery {
    const struct io *io;
    const char *data_dir;
    struct msglog *log;
    struct msglog_live live;
    struct msglog_report report;
    struct backlog_report backlog;
    struct inttab folders; // queue id → struct backlog_opened *, of those in `opened` that nobody took
    struct backlog_opened *opened;
    size_t opened_count, opened_cap;
    struct inttab flags; // queue id → struct queue_flags *, of an orderly stop
    bool is_orderly;
    uint64_t messages;       // handed to queues
    uint64_t queues, wanted; // to which something was handed; about how many there will be
    void (*progress)(void *ctx, enum recovery_step step, uint64_t done, uint64_t total);
    void *ctx; // of progress
    int error; // of an adoption
    bool is_closed;
};

struct recovery_config {
    struct msglog_config log; // wants_gone, progress and ctx are filled in here
    const char *data_dir;
    unsigned threads;    // that help to open folders; 0: the caller's does it
    size_t sync_all_min; // of backlog_open_all
    // Often; NULL: not wanted.
    void (*progress)(void *ctx, enum recovery_step step, uint64_t done, uint64_t total);
    void *ctx; // of progress
};

// 0, or an error (-LE_UNSUPPORTED: of a newer version; untouched).
LV_MUST_USE int recovery_open(struct recovery *r, const struct recovery_config *config);
// After the queues were made, before the threads run: sets aside what nobody took (the word about it goes to the log from worker
// `first`); frees. 0, or an error, also of an adoption.
LV_MUST_USE int recovery_close(struct recovery *r, struct worker *first);
// Frees, of a start that did not come to recovery_close, too; may be called again. Not before the queues are gone, when there are any.
void recovery_fini(struct recovery *r);
// The threads have ended, the log is stopped, nothing is unacked.
LV_MUST_USE int orderly_write(const struct io *io, const char *data_dir, struct crew *crew);
