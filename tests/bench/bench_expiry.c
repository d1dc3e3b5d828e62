// bench_expiry.c: how late messages leave that have a time to live, and what each costs while it waits: one worker on its own loop and timers,
// without sockets, idle and with as much other traffic as it can carry; in memory, in backlog files, and as dead letters out of those.
//
// Usage: bench_expiry [messages [seconds [a folder for files, which is made]]]; without a folder nothing goes to files. Build with
// -Dbuildtype=release. Messages leave in the order of their instants, so the n-th that has gone is the n-th that was due; what has gone by the end
// of a turn is taken as gone at that moment.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "queue/durable.h"
#include "queue/durable_start.h"
#include "queue/expiry.h"
#include "queue/ops.h"
#include "queue/queue_worker.h"
#include "src/base/clock.h"
#include "src/base/io.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { LOAD_A_TURN = 256, LATE_BUCKETS = 1000 };

struct bench {
    struct worker *w;
    lv_handle timed, load, consumer;
    uint64_t queues; // made so far
    bool is_busy, is_in_files, is_dead_lettered;
    uint64_t dead;      // letters
    size_t most_memory; // of the queue beside bodies, while it waited
    int64_t *due_ms;    // ascending
    uint64_t count, gone;
    uint64_t late[LATE_BUCKETS];     // by milliseconds
    uint64_t moved;                  // other traffic
    uint64_t longest_ns;             // turn
    uint64_t cpu_ns, longest_cpu_ns; // of this thread: so far; of a turn
};

static struct bench bench;
static struct crew *crew;

static void
on_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
}

static void
on_deliver(struct worker *w, const struct delivery *d)
{
    bench.moved++;
    message_unref(d->msg);
}

static void
on_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
}

static void
on_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
}

static void
on_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason)
{
}

static void
on_is_unused(struct worker *owner, const struct queue_def *def)
{
}

static unsigned
on_dead(struct worker *owner, const struct dead_letter *d)
{
    bench.dead++;
    queue_dead_done(d->queue, d->seq, DEAD_TAKEN, NULL);
    return 1;
}

static const struct queue_client client = {.dead = on_dead,
                                           .published = on_published,
                                           .deliver = on_deliver,
                                           .ready = on_ready,
                                           .unused = on_unused,
                                           .cancelled = on_cancelled,
                                           .is_unused = on_is_unused};

static void
turns(int n)
{
    int last = crew_extra_member(crew, CREW_TOPOLOGY)->index;
    while (n-- > 0)
        for (int i = 0; i <= last; i++)
            worker_turn(crew->members[i]);
}

static void
done(struct queue_request *r)
{
    bench.consumer = r->kind == QUEUE_REQUEST_CONSUME ? r->consumer : bench.consumer;
    queue_request_free(r);
}

static lv_handle
make_queue(void)
{
    struct worker *writer = crew_extra_member(crew, CREW_TOPOLOGY);
    struct queue_def *def = mem_xcalloc(1, sizeof(*def)); // lives as long as the process
    worker_self = writer;
    def->handle = queue_handle_alloc(bench.w);
    def->id = ++bench.queues;
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CREATE, def->handle);
    LV_ASSERT(r != NULL);
    r->def = def;
    if (bench.is_dead_lettered) {
        struct queue_rules rules = queue_rules_none;
        rules.has_dead_exchange = true;
        rules.dead_exchange = SLICE_LIT("dlx");
        r->rules = queue_rules_copy(&rules);
        LV_ASSERT(r->rules != NULL);
    }
    r->done = done;
    queue_request_send(r);
    turns(3);
    return def->handle;
}

static void
publish(lv_handle queue, int64_t ttl_ms)
{
    struct message *m =
        message_new(SLICE_LIT(""), SLICE_LIT("test"), slice_of((const uint8_t[2]){0, 0}, 2), 16);
    LV_ASSERT(m != NULL);
    if (ttl_ms >= 0) {
        m->flags |= MESSAGE_HAS_EXPIRY;
        m->expiry_ms = (uint32_t)ttl_ms;
    }
    queue_publish(m, &queue, 1, 0, 0);
    message_unref(m);
}

// PHASE_READ: as much as a turn would take from sockets.
static bool
load_hook(struct worker *w, void *ctx)
{
    if (!bench.is_busy)
        return false;
    for (int i = 0; i < LOAD_A_TURN; i++)
        publish(bench.load, -1);
    consumer_grant_window(bench.consumer, LOAD_A_TURN, LOAD_A_TURN * 256);
    return true;
}

static uint64_t
thread_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

// PHASE_REAP: what has gone in this turn.
static bool
look_hook(struct worker *w, void *ctx)
{
    if (bench.due_ms == NULL)
        return false;
    uint64_t now_ns = clock_mono_ns();
    bench.longest_ns = LV_MAX(bench.longest_ns, now_ns - w->now_ns);
    uint64_t cpu_ns = thread_cpu_ns();
    bench.longest_cpu_ns = bench.cpu_ns == 0 ? 0 : LV_MAX(bench.longest_cpu_ns, cpu_ns - bench.cpu_ns);
    bench.cpu_ns = cpu_ns;
    struct queue *q = queue_worker_find(queue_worker_of(w), bench.timed);
    int64_t now_ms = clock_wall_ms();
    bench.most_memory = LV_MAX(bench.most_memory, expiry_memory(q) + durable_memory(q));
    for (; bench.gone < (bench.is_dead_lettered ? bench.dead : q->counters.expired); bench.gone++) {
        int64_t late_ms = LV_MAX(INT64_C(0), now_ms - bench.due_ms[bench.gone]);
        bench.late[LV_MIN(late_ms, (int64_t)LATE_BUCKETS - 1)]++;
    }
    if (bench.gone == bench.count)
        w->is_stopping = true;
    return false;
}

static int
by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t
late_of(double share)
{
    uint64_t wanted = (uint64_t)((double)bench.count * share), sum = 0;
    for (int64_t ms = 0; ms < LATE_BUCKETS; ms++)
        if ((sum += bench.late[ms]) >= wanted)
            return ms;
    return LATE_BUCKETS;
}

// Until nearly all of them are there, or that takes too long.
static void
wait_for_files(struct queue *q, uint64_t messages)
{
    uint64_t end_ns = clock_mono_ns() + UINT64_C(8000000000);
    while ((q->disk == NULL || q->disk->backlog.count < messages - messages / 20) &&
           clock_mono_ns() < end_ns) {
        (void)poll(NULL, 0, 1);
        turns(1);
    }
}

// span_ms 0: one TTL for all, a second.
static void
fill(uint64_t messages, int64_t span_ms)
{
    struct rng rng;
    rng_init(&rng, 1);
    int64_t least_ms = bench.is_in_files ? 12000 : 2000;
    int64_t *due_ms = mem_xalloc(messages * sizeof(*due_ms));
    worker_self = bench.w;
    uint64_t start_ns = clock_mono_ns();
    for (uint64_t i = 0; i < messages; i++) {
        int64_t ttl_ms = span_ms > 0 ? least_ms + (int64_t)rng_below(&rng, (uint64_t)span_ms) : 3000;
        due_ms[i] = bench.w->now_ms + ttl_ms;
        publish(bench.timed, ttl_ms);
        if (i % 1024 == 0)
            turns(1);
    }
    uint64_t ns = clock_mono_ns() - start_ns;
    struct queue *q = queue_worker_find(queue_worker_of(bench.w), bench.timed);
    struct queue_stats stats;
    if (bench.is_in_files)
        wait_for_files(q, messages);
    queue_fill_stats(queue_worker_of(bench.w), q, &stats);
    printf(
        "  %.0f bytes a waiting message: itself %.0f, its place %.0f, its instant %.0f; %.0f ns to publish\n",
        (double)stats.memory_bytes / (double)messages, (double)q->ready_sum.weight / (double)messages,
        (double)ready_memory(&q->ready) / (double)messages, (double)expiry_memory(q) / (double)messages,
        (double)ns / (double)messages);
    if (q->disk != NULL)
        printf("  %llu of them in files\n", (unsigned long long)q->disk->backlog.count);
    qsort(due_ms, messages, sizeof(*due_ms), by_time);
    bench.due_ms = due_ms;
    bench.count = messages;
}

static void
measure(const char *name, uint64_t messages, int64_t span_ms, bool is_busy)
{
    printf("%s\n", name);
    bench.timed = make_queue();
    bench.is_busy = false;
    memset(bench.late, 0, sizeof bench.late);
    bench.gone = bench.dead = bench.most_memory = bench.moved = bench.longest_ns = bench.longest_cpu_ns =
        bench.cpu_ns = 0;
    fill(messages, span_ms);
    bench.is_busy = is_busy;
    uint64_t start_ns = clock_mono_ns();
    worker_run(bench.w);
    double seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
    bench.w->is_stopping = false;
    printf("  late by: median %lld ms, 99 %% %lld, 99.9 %% %lld, all %lld; longest turn %.1f ms, %.1f ms of "
           "it CPU",
           (long long)late_of(0.5), (long long)late_of(0.99), (long long)late_of(0.999),
           (long long)late_of(1.0), (double)bench.longest_ns / 1e6, (double)bench.longest_cpu_ns / 1e6);
    if (is_busy)
        printf("; beside %.2f million other messages a second", (double)bench.moved / seconds / 1e6);
    printf("\n  instants and files: at most %.1f MiB of memory\n", (double)bench.most_memory / 1048576);
    mem_free(bench.due_ms);
    bench.due_ms = NULL;
}

// Real files, with the threads that write and read them. Nothing goes there before a limit of memory says so.
static void
open_store(const char *dir, struct recovery *recovery, struct durable_config *ret)
{
    struct recovery_config rc = {.log = {.io = io_system(),
                                         .dir = dir,
                                         .segment_bytes = 1024 * 1024,
                                         .segment_max = 8,
                                         .seed = 1,
                                         .writer_count = 1},
                                 .data_dir = dir};
    LV_ASSERT(io_system()->mkdir(io_system()->ctx, dir) == 0);
    LV_ASSERT(recovery_open(recovery, &rc) == 0);
    struct mover_config mc = {.io = io_system(), .data_dir = dir, .log = recovery->log, .port_count = 1};
    *ret = (struct durable_config){.log = recovery->log,
                                   .mover = mover_new(&mc),
                                   .recovery = recovery,
                                   .written_max = UINT64_MAX / 4,
                                   .body_max = UINT64_MAX / 4,
                                   .index_max = UINT64_MAX / 4,
                                   .tx_max = SIZE_MAX / 4,
                                   .rewrite_max = UINT64_MAX / 4};
}

static void
on_out_of_service(void *ctx, int error)
{
    LV_ASSERT(false); // the log
}

static void
measure_files(uint64_t messages, int64_t span_ms)
{
    queue_worker_of(bench.w)->durable->config.body_max = 1024 * 1024;
    bench.is_in_files = true;
    measure("in files, idle worker", messages, span_ms, false);
    measure("in files, worker with other traffic", messages, span_ms, true);
    bench.is_dead_lettered = true;
    measure("in files, as dead letters, idle worker", messages, span_ms, false);
}

int
main(int argc, char **argv)
{
    uint64_t messages = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    int64_t span_ms = argc > 2 ? (int64_t)strtoll(argv[2], NULL, 10) * 1000 : 60000;
    crew = crew_new(&(struct crew_config){.n_workers = 1});
    bench.w = crew->members[0];
    worker_add_hook(bench.w, PHASE_READ, load_hook, NULL);
    struct recovery recovery;
    struct durable_config durable;
    bool has_files = argc > 3;
    if (has_files)
        open_store(argv[3], &recovery, &durable);
    for (int i = 0; i < crew->n_members; i++) {
        bool is_worker = i < crew->n_workers;
        struct queue_worker_config config = {.client = &client,
                                             .durable = has_files && is_worker ? &durable : NULL};
        queue_worker_init(crew->members[i], &config);
    }
    if (has_files)
        LV_ASSERT(recovery_close(&recovery, bench.w) == 0 &&
                  msglog_start(durable.log, on_out_of_service, NULL) == 0 && mover_start(durable.mover) == 0);
    worker_add_hook(bench.w, PHASE_REAP, look_hook, NULL);
    bench.load = make_queue();
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, bench.load);
    LV_ASSERT(r != NULL);
    r->session = handle_make(0, 1, 0);
    r->consumer_flags = CONSUMER_NO_ACK;
    r->window_count = r->window_bytes = UINT32_MAX / 2;
    r->done = done;
    worker_self = bench.w;
    queue_request_send(r);
    turns(3);
    printf("%llu messages, random times to live over %lld s\n", (unsigned long long)messages,
           (long long)(span_ms / 1000));
    measure("one TTL for all", messages, 0, true);
    measure("idle worker", messages, span_ms, false);
    measure("worker with other traffic", messages, span_ms, true);
    if (has_files)
        measure_files(messages, span_ms);
    return 0;
}
