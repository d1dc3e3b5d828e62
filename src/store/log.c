// log.c: the log thread, and the rings between it and the writers.
//
// A batch travels as a pointer: writer → log thread through a list that takes any number (so submitting never blocks), and back the same
// way. Each list is a stack with an atomic head, emptied as a whole and turned round: one exchange for any number of batches.
// The log thread: take what all writers have submitted, add it entry by entry (flushing when a group is full), flush, give back the
// batches that are complete, in the order of their writer. Nothing to do: sleep on a condition until somebody submits; the flag
// `is_asleep` spares the lock while it is awake. Relaxed groups are synced when the log has been idle for a moment, when they have waited
// for long, or when they are many (log_core.c).
// Failure modes: those of log_core.c; a batch comes back in every case.
#include <pthread.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"
#include "src/store/log_filler.h"

// LIMIT: how long a relaxed group waits for its sync, in ms: while nothing comes, and while there is always something.
enum { RELAXED_IDLE_MS = 10, RELAXED_MAX_MS = 200 };

struct msglog_writer {
    struct msglog *log;
    struct msglog_writer_config config;
    unsigned index;
    _Atomic(struct msglog_batch *) submitted; // partner: take_all on the log thread
    _Atomic(struct msglog_batch *) returned;  // partner: take_all on the writer's thread
    _Atomic uint64_t vacate;                  // generation to vacate, 0: none; log thread sets, writer takes
    // Log thread:
    struct msglog_batch *first, *last; // submitted and not returned, oldest first
    struct msglog_batch *adding;       // the one of which entries are being added; NULL: all are
    uint32_t next_entry;
};

struct msglog {
    struct core core;
    struct msglog_writer *writers[MSGLOG_WRITERS_MAX];
    unsigned count, writer_max;
    pthread_t thread;
    bool has_thread, is_stepped;
    pthread_mutex_t lock; // rank: leaf; only around the sleep
    pthread_cond_t work;
    atomic_bool is_asleep; // partner: wake_log, after its push (seq_cst both)
    atomic_bool is_stopping;
    uint64_t unsynced_since_ms; // 0: everything is durable
    struct {                    // the log thread writes, any thread reads
        struct histogram entries, ns;
        _Atomic uint64_t segments, used_bytes; // partner: msglog_stats, relaxed
    } seen;
    void (*out_of_service)(void *ctx, int error);
    void *out_ctx;
    bool was_out;
};

// --- lists of batches ---

// True when the list was empty.
static bool
push_batch(_Atomic(struct msglog_batch *) *list, struct msglog_batch *b)
{
    struct msglog_batch *head = atomic_load_explicit(list, memory_order_relaxed);
    do
        b->next = head;
    while (!atomic_compare_exchange_weak(list, &head, b));
    return head == NULL;
}

// All of them, oldest first.
static struct msglog_batch *
take_all(_Atomic(struct msglog_batch *) *list)
{
    struct msglog_batch *in_order = NULL, *b = atomic_exchange(list, NULL);
    while (b != NULL) {
        struct msglog_batch *next = b->next;
        b->next = in_order;
        in_order = b;
        b = next;
    }
    return in_order;
}

// --- log thread ---

static void
collect(struct msglog_writer *w)
{
    struct msglog_batch *b = take_all(&w->submitted);
    if (b == NULL)
        return;
    if (w->last != NULL)
        w->last->next = b;
    else
        w->first = b;
    if (w->adding == NULL) {
        w->adding = b;
        w->next_entry = 0;
    }
    while (b->next != NULL)
        b = b->next;
    w->last = b;
}

static bool
is_complete(const struct msglog_batch *b)
{
    for (uint32_t i = 0; b->open > 0 && i < b->count; i++)
        if (b->entries[i].result == CORE_HELD)
            return false;
    return true;
}

// After a flush: everything added has its result, but what is held.
static void
give_back(struct msglog *log)
{
    for (unsigned i = 0; i < log->count; i++) {
        struct msglog_writer *w = log->writers[i];
        bool is_first = false;
        while (w->first != NULL && w->first != w->adding && is_complete(w->first)) {
            struct msglog_batch *b = w->first;
            w->first = b->next;
            if (w->first == NULL)
                w->last = NULL;
            b->lsn = log->core.ring.next_number - 1;
            is_first |= push_batch(&w->returned, b);
        }
        if (is_first)
            w->config.wake(w->config.ctx);
    }
    if (log->core.is_out && !log->was_out) {
        log->was_out = true;
        log->out_of_service(log->out_ctx, -LE_IO);
    }
}

// Relaxed groups have been waiting for long, or there is time for them.
static void
sync_relaxed(struct msglog *log)
{
    (void)core_sync(&log->core); // nobody waits for it; a failure counts like that of any other sync
    log->unsynced_since_ms = 0;
    give_back(log);
}

static void
note_ring(struct msglog *log)
{
    const struct ring *r = &log->core.ring;
    uint64_t segments = 0, bytes = 0;
    for (size_t i = 0; i < atomic_load_explicit(&r->count, memory_order_relaxed); i++) {
        const struct segment *s = r->segments[i];
        if (s->state != SEGMENT_CURRENT && s->state != SEGMENT_SEALED)
            continue;
        segments++;
        bytes += s->state == SEGMENT_SEALED ? s->bytes : s->end;
    }
    atomic_store_explicit(&log->seen.segments, segments, memory_order_relaxed);
    atomic_store_explicit(&log->seen.used_bytes, bytes, memory_order_relaxed);
}

static void
flush(struct msglog *log)
{
    uint32_t entries = log->core.group.item_count;
    uint64_t begun_ns = clock_mono_ns();
    (void)core_flush(&log->core); // every entry has got the error
    if (entries > 0) {
        histogram_add(&log->seen.entries, entries, HISTOGRAM_COUNT);
        histogram_add(&log->seen.ns, clock_mono_ns() - begun_ns, HISTOGRAM_TIME_NS);
        note_ring(log);
    }
    give_back(log);
    if (!core_is_unsynced(&log->core)) {
        log->unsynced_since_ms = 0;
        return;
    }
    uint64_t now = clock_mono_ns() / 1000000;
    if (log->unsynced_since_ms == 0)
        log->unsynced_since_ms = now;
    else if (now - log->unsynced_since_ms >= RELAXED_MAX_MS)
        sync_relaxed(log);
}

// Adds what a writer has; returns whether it had something.
static bool
add_all(struct msglog *log, struct msglog_writer *w)
{
    bool has_any = w->adding != NULL;
    while (w->adding != NULL) {
        struct msglog_batch *b = w->adding;
        while (w->next_entry < b->count) {
            int err = core_add(&log->core, w->index, &b->entries[w->next_entry]);
            if (err == -LE_AGAIN) {
                flush(log);
                continue;
            }
            b->open += err == CORE_HELD;
            w->next_entry++;
        }
        w->adding = b->next;
        w->next_entry = 0;
    }
    return has_any;
}

static void
ask_to_vacate(struct msglog *log)
{
    uint64_t generation = core_vacate_wanted(&log->core);
    for (unsigned i = 0; generation != 0 && i < log->count; i++) {
        atomic_store(&log->writers[i]->vacate, generation);
        log->writers[i]->config.wake(log->writers[i]->config.ctx);
    }
}

static bool
has_submissions(const struct msglog *log)
{
    for (unsigned i = 0; i < log->count; i++)
        if (atomic_load(&log->writers[i]->submitted) != NULL)
            return true;
    return false;
}

static void
sleep_until_work(struct msglog *log)
{
    bool is_unsynced = core_is_unsynced(&log->core), is_late = false;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += RELAXED_IDLE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&log->lock);
    atomic_store(&log->is_asleep, true);
    while (!has_submissions(log) && !atomic_load(&log->is_stopping) && !is_late) {
        if (is_unsynced)
            is_late = pthread_cond_timedwait(&log->work, &log->lock, &until) != 0;
        else
            pthread_cond_wait(&log->work, &log->lock);
    }
    atomic_store(&log->is_asleep, false);
    pthread_mutex_unlock(&log->lock);
    if (is_late)
        sync_relaxed(log);
}

// One round: takes what there is, writes it. False: there was nothing to do.
static bool
log_round(struct msglog *log)
{
    bool has_any = false;
    for (unsigned i = 0; i < log->count; i++) {
        collect(log->writers[i]);
        has_any |= add_all(log, log->writers[i]);
    }
    if (!has_any && !core_has_work(&log->core))
        return false;
    flush(log);
    ask_to_vacate(log);
    core_prepare(&log->core);
    // A CHECKPOINT that cannot be written: not again before there is something new.
    return has_any || !core_has_work(&log->core);
}

static void *
log_thread(void *arg)
{
    struct msglog *log = arg;
    (void)pthread_setname_np(pthread_self(), "msglog"); // what top and perf show
    for (;;) {
        // Before collecting: what was submitted earlier is then seen.
        bool is_stopping = atomic_load(&log->is_stopping);
        if (log_round(log))
            continue;
        if (is_stopping)
            break;
        sleep_until_work(log);
    }
    return NULL;
}

// --- the outside ---

int
msglog_open(const struct msglog_config *config, struct msglog_live *live, struct msglog_report *ret_report,
            struct msglog **ret_log)
{
    struct msglog *log = mem_calloc(1, sizeof(*log));
    if (log == NULL)
        return -LE_NOMEM;
    int err = core_open(&log->core, config, live, ret_report);
    if (err != 0) {
        mem_free(log);
        return err;
    }
    log->writer_max = config->writer_count;
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&log->work, &attr);
    pthread_condattr_destroy(&attr);
    *ret_log = log;
    return 0;
}

int
msglog_large_hold(struct msglog *log, uint64_t large_file)
{
    LV_ASSERT(!log->has_thread);
    return large_file != 0 && large_file <= MSGLOG_NUMBER_MAX ? large_hold(&log->core, large_file)
                                                              : -LE_INVAL;
}

struct msglog_writer *
msglog_writer_new(struct msglog *log, const struct msglog_writer_config *config)
{
    LV_ASSERT(!log->has_thread && log->count < log->writer_max);
    struct msglog_writer *w = mem_xcalloc(1, sizeof(*w));
    w->log = log;
    w->config = *config;
    w->index = log->count;
    log->writers[log->count++] = w;
    return w;
}

int
msglog_start_stepped(struct msglog *log, void (*out_of_service)(void *ctx, int error), void *ctx)
{
    LV_ASSERT(log->count == log->writer_max);
    log->out_of_service = out_of_service;
    log->out_ctx = ctx;
    log->is_stepped = true;
    return core_start(&log->core);
}

int
msglog_start(struct msglog *log, void (*out_of_service)(void *ctx, int error), void *ctx)
{
    int err = msglog_start_stepped(log, out_of_service, ctx);
    log->is_stepped = false;
    if (err == 0 && (log->core.ring.filler = filler_new(log->core.io, log->core.ring.dir)) == NULL)
        err = -LE_NOMEM;
    if (err != 0)
        return err;
    int rc = pthread_create(&log->thread, NULL, log_thread, log);
    log->has_thread = rc == 0;
    return rc == 0 ? 0 : err_from_errno(rc);
}

static void
wake_log(struct msglog *log)
{
    if (!atomic_load(&log->is_asleep))
        return;
    pthread_mutex_lock(&log->lock);
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
}

void
msglog_submit(struct msglog_writer *w, struct msglog_batch *batch)
{
    batch->open = 0;
    if (push_batch(&w->submitted, batch))
        wake_log(w->log);
}

size_t
msglog_writer_poll(struct msglog_writer *w)
{
    size_t count = 0;
    // Taken before the batches, told after them: what lies in that generation has then come back, and its places are known.
    uint64_t generation = atomic_exchange(&w->vacate, 0);
    for (struct msglog_batch *b = take_all(&w->returned), *next; b != NULL; b = next, count++) {
        next = b->next;
        w->config.returned(w->config.ctx, b);
    }
    if (generation != 0)
        w->config.vacate(w->config.ctx, generation);
    return count;
}

void
msglog_stats(const struct msglog *log, struct msglog_stats *ret)
{
    const struct ring *r = &log->core.ring; // sizes alone, which never change
    *ret = (struct msglog_stats){
        .segments = atomic_load_explicit(&log->seen.segments, memory_order_relaxed),
        .segments_max = r->segment_max,
        .used_bytes = atomic_load_explicit(&log->seen.used_bytes, memory_order_relaxed),
        .room_bytes = (uint64_t)r->segment_max * r->segment_bytes,
    };
    histogram_read(&log->seen.entries, &ret->group_entries);
    histogram_read(&log->seen.ns, &ret->group_ns);
}

uint64_t
msglog_tx_new(struct msglog *log)
{
    return atomic_fetch_add_explicit(&log->core.next_tx, 1, memory_order_relaxed);
}

struct core *
msglog_core(struct msglog *log)
{
    return &log->core;
}

int
msglog_read(struct msglog *log, const struct msglog_place *place, struct msglog_record *ret)
{
    return core_read(&log->core, place, ret);
}

int
msglog_read_large(struct msglog *log, uint64_t large_file, uint32_t bytes, uint32_t crc, uint8_t *to)
{
    return large_read(&log->core, large_file, bytes, crc, to);
}

void
msglog_step(struct msglog *log)
{
    LV_ASSERT(log->is_stepped);
    (void)log_round(log);
}

void
msglog_stop(struct msglog *log)
{
    // Never started: all that was submitted is refused. Stopped before: there is nothing.
    if (!log->has_thread && !log->is_stepped)
        log->core.is_out = log->was_out = true;
    while (!log->has_thread && log_round(log))
        continue;
    if (log->has_thread) {
        atomic_store(&log->is_stopping, true);
        pthread_mutex_lock(&log->lock);
        pthread_cond_signal(&log->work);
        pthread_mutex_unlock(&log->lock);
        pthread_join(log->thread, NULL);
    }
    log->has_thread = log->is_stepped = false;
    core_refuse_held(&log->core);
    give_back(log);
    (void)core_mark_end(
        &log->core); // without it the next start reads the last group as it does after a crash
}

void
msglog_close(struct msglog *log)
{
    if (log == NULL)
        return;
    msglog_stop(log);
    for (unsigned i = 0; i < log->count; i++)
        mem_free(log->writers[i]);
    core_fini(&log->core);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->work);
    mem_free(log);
}
