// bench_msglog.c: the commit log by itself: how fast it opens when its ring is full, and how fast two writers get messages into it.
//
//     bench_msglog open <folder> [body bytes] [queues]      fills a ring of 16 x 64 MiB, then opens it five times
//     bench_msglog write <folder> [body bytes] [batch] [seconds]    two writers, batches in flight; beside a bare pwrite + fdatasync
//
// The folder is made, and what this program puts there is left behind for another run of `open` (which then does not fill it again).
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"

enum { ROUTE = 20, HEADER = 22, OVERHEAD = ROUTE + HEADER, BATCH_MAX = 4096, BATCHES = 8 };

static void
fail(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, err_text(err));
    exit(1);
}

static struct msglog_config
configuration(const char *dir)
{
    return (struct msglog_config){.io = io_system(), .dir = dir, .seed = 1, .writer_count = 1};
}

static double
cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

// --- open ---

static void
fill(const char *dir, uint32_t body, uint64_t queues)
{
    struct msglog_config config = configuration(dir);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    int err = core_open(c, &config, &live, &report);
    if (err != 0)
        fail("open", err);
    if (live.count > 0) {
        core_fini(c);
        mem_free(c);
        msglog_live_fini(&live);
        return;
    }
    enum { GROUP = 1000 };
    uint8_t *bytes = mem_xcalloc(1, GROUP + OVERHEAD + body);
    struct msglog_content *contents = mem_xcalloc(GROUP, sizeof(*contents));
    struct msglog_entry *entries = mem_xcalloc(GROUP, sizeof(*entries));
    uint64_t count = 0;
    for (err = 0; err == 0;) {
        for (uint64_t i = 0; i < GROUP && err == 0; i++) {
            contents[i] = (struct msglog_content){
                .route_bytes = ROUTE, .header_bytes = HEADER, .body_bytes = body, .bytes = bytes + i};
            entries[i] = (struct msglog_entry){.kind = MSGLOG_MESSAGE,
                                               .is_relaxed = true,
                                               .queue = 1 + count % queues,
                                               .seq = 1 + count / queues,
                                               .content = &contents[i]};
            err = core_add(c, 0, &entries[i]);
            count += err == 0;
            if (err == -LE_AGAIN)
                break;
        }
        (void)core_flush(c);
        err = err == -LE_AGAIN ? 0 : err;
        // As an owner of nothing but this: what is there may stay, so the ring fills.
    }
    (void)core_mark_end(c);
    printf("filled with %llu messages\n", (unsigned long long)count);
    core_fini(c);
    mem_free(c);
    msglog_live_fini(&live);
    mem_free(bytes);
    mem_free(contents);
    mem_free(entries);
}

static void
bench_open(const char *dir, uint32_t body, uint64_t queues)
{
    fill(dir, body, queues);
    for (int run = 0; run < 5; run++) {
        struct msglog_config config = configuration(dir);
        struct msglog_live live;
        struct msglog_report report;
        struct core *c = mem_xcalloc(1, sizeof(*c));
        double cpu = cpu_seconds();
        uint64_t begin = clock_mono_ns();
        int err = core_open(c, &config, &live, &report);
        if (err != 0)
            fail("open", err);
        uint64_t took = clock_mono_ns() - begin;
        struct rusage r;
        getrusage(RUSAGE_SELF, &r);
        printf("open: %.3f s (%.3f s of CPU), %llu segments, %llu groups, %llu messages, %.1f ns each, %llu "
               "live, at most %ld MiB\n",
               (double)took / 1e9, cpu_seconds() - cpu, (unsigned long long)report.segments,
               (unsigned long long)report.groups, (unsigned long long)report.messages,
               (double)took / (double)LV_MAX(report.messages, 1), (unsigned long long)live.count,
               r.ru_maxrss / 1024);
        core_fini(c);
        mem_free(c);
        msglog_live_fini(&live);
    }
}

// --- write ---

struct flight {
    struct msglog_batch batch;
    struct msglog_entry entries[BATCH_MAX];
    struct msglog_content contents[BATCH_MAX];
};

struct writer {
    struct msglog_writer *writer;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool is_woken;
    uint64_t index, next_seq, done, until_ns, vacate;
    uint32_t body, batch;
    unsigned open;
    uint8_t *bytes;
    struct flight *flights;
    struct flight *idle[BATCHES];
    unsigned idle_count;
    struct msglog_batch vacated;
    struct msglog_entry vacated_entry;
    bool is_vacating;
};

static void
wake(void *ctx)
{
    struct writer *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->is_woken = true;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

static void
returned(void *ctx, struct msglog_batch *b)
{
    struct writer *w = ctx;
    if (b == &w->vacated) {
        w->is_vacating = false;
        return;
    }
    for (uint32_t i = 0; i < b->count; i++)
        w->done += b->entries[i].kind == MSGLOG_MESSAGE && b->entries[i].result == 0;
    w->idle[w->idle_count++] = b->ctx;
}

// Everything is acked as soon as it was written.
static void
vacate(void *ctx, uint64_t generation)
{
    struct writer *w = ctx;
    if (w->is_vacating)
        return;
    w->is_vacating = true;
    w->vacated_entry = (struct msglog_entry){.kind = MSGLOG_VACATED, .place.file = generation};
    w->vacated = (struct msglog_batch){.entries = &w->vacated_entry, .count = 1};
    msglog_submit(w->writer, &w->vacated);
}

static void *
run_writer(void *arg)
{
    struct writer *w = arg;
    while (clock_mono_ns() < w->until_ns || w->idle_count < BATCHES || w->is_vacating) {
        while (w->idle_count > 0 && clock_mono_ns() < w->until_ns) {
            struct flight *f = w->idle[--w->idle_count];
            for (uint32_t i = 0; i < w->batch; i++)
                f->entries[i] = (struct msglog_entry){.kind = MSGLOG_MESSAGE,
                                                      .queue = 1 + w->index,
                                                      .seq = ++w->next_seq,
                                                      .content = &f->contents[i]};
            f->entries[w->batch] = (struct msglog_entry){.kind = MSGLOG_ACK,
                                                         .queue = 1 + w->index,
                                                         .seq = w->next_seq - w->batch + 1,
                                                         .count = w->batch};
            f->batch = (struct msglog_batch){.entries = f->entries, .count = w->batch + 1, .ctx = f};
            msglog_submit(w->writer, &f->batch);
        }
        pthread_mutex_lock(&w->lock);
        while (!w->is_woken)
            pthread_cond_wait(&w->woken, &w->lock);
        w->is_woken = false;
        pthread_mutex_unlock(&w->lock);
        (void)msglog_writer_poll(w->writer);
    }
    return NULL;
}

static void
out(void *ctx, int error)
{
    fail("the log", error);
}

static void
prepare_writer(struct writer *w, struct msglog *log, uint64_t index, uint32_t body, uint32_t batch)
{
    w->index = index;
    w->body = body;
    w->batch = batch;
    w->bytes = mem_xcalloc(BATCHES * (size_t)batch, OVERHEAD + body);
    w->flights = mem_xcalloc(BATCHES, sizeof(*w->flights));
    for (unsigned n = 0; n < BATCHES; n++) {
        for (uint32_t i = 0; i < batch; i++)
            w->flights[n].contents[i] =
                (struct msglog_content){.route_bytes = ROUTE,
                                        .header_bytes = HEADER,
                                        .body_bytes = body,
                                        .bytes = w->bytes + (n * (size_t)batch + i) * (OVERHEAD + body)};
        w->idle[w->idle_count++] = &w->flights[n];
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->woken, NULL);
    w->writer = msglog_writer_new(log, &(struct msglog_writer_config){wake, vacate, returned, w});
}

// Nanoseconds of CPU that the thread of that name has used, or 0.
static uint64_t
thread_ns(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    uint64_t ns = 0;
    for (struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
        char path[512], text[64] = "";
        static const char *const files[] = {"comm", "schedstat"};
        for (int i = 0; i < 2 && (i == 0 || strncmp(text, name, strlen(name)) == 0); i++) {
            snprintf(path, sizeof path, "/proc/self/task/%.200s/%s", d->d_name, files[i]);
            FILE *f = fopen(path, "r");
            if (f != NULL && fgets(text, sizeof text, f) != NULL && i == 1)
                ns = strtoull(text, NULL, 10);
            if (f != NULL)
                (void)fclose(f);
        }
    }
    if (dir != NULL)
        (void)closedir(dir);
    return ns;
}

// The same bytes with nothing around: what the device allows.
static void
bench_bare(const char *dir, uint32_t bytes, double seconds)
{
    char path[512];
    enum { SIZE = 64 << 20 };
    snprintf(path, sizeof path, "%s/bare", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    uint8_t *block = mem_xcalloc(1, SIZE);
    if (fd < 0 || pwrite(fd, block, SIZE, 0) != SIZE || fsync(fd) != 0)
        fail(path, -LE_IO);
    uint64_t begin = clock_mono_ns(), written = 0, syncs = 0, at = 0;
    while (clock_mono_ns() - begin < (uint64_t)(seconds * 1e9)) {
        if (pwrite(fd, block, bytes, (off_t)at) != (ssize_t)bytes || fdatasync(fd) != 0)
            fail(path, -LE_IO);
        at = at + 2 * (uint64_t)bytes <= SIZE ? at + bytes : 0;
        written += bytes;
        syncs++;
    }
    double took = (double)(clock_mono_ns() - begin) / 1e9;
    printf("bare: %.1f MB/s, %.0f syncs/s of %u bytes\n", (double)written / took / 1e6, (double)syncs / took,
           bytes);
    (void)close(fd);
    (void)unlink(path);
    mem_free(block);
}

static void
bench_write(const char *dir, uint32_t body, uint32_t batch, double seconds)
{
    struct msglog_config config = configuration(dir);
    struct msglog_live live;
    struct msglog_report report;
    struct msglog *log;
    pthread_t threads[2];
    struct writer *writers = mem_xcalloc(2, sizeof(*writers));
    config.writer_count = 2;
    int err = msglog_open(&config, &live, &report, &log);
    if (err != 0)
        fail("open", err);
    msglog_live_fini(&live);
    for (uint64_t i = 0; i < 2; i++)
        prepare_writer(&writers[i], log, i, body, batch);
    err = msglog_start(log, out, NULL);
    if (err != 0)
        fail("start", err);
    uint64_t begin = clock_mono_ns(), done = 0;
    double cpu = cpu_seconds();
    for (int i = 0; i < 2; i++) {
        writers[i].until_ns = begin + (uint64_t)(seconds * 1e9);
        if (pthread_create(&threads[i], NULL, run_writer, &writers[i]) != 0)
            fail("thread", -LE_NOMEM);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        done += writers[i].done;
    }
    double took = (double)(clock_mono_ns() - begin) / 1e9;
    cpu = cpu_seconds() - cpu;
    double log_ns = (double)thread_ns("msglog") / (double)LV_MAX(done, 1);
    printf("log: %.0f messages/s, %.1f MB/s of contents; CPU a message: %.0f ns, %.0f of them in the log "
           "thread\n",
           (double)done / took, (double)done * (OVERHEAD + body) / took / 1e6,
           cpu * 1e9 / (double)LV_MAX(done, 1), log_ns);
    msglog_close(log);
    for (int i = 0; i < 2; i++) {
        mem_free(writers[i].bytes);
        mem_free(writers[i].flights);
    }
    mem_free(writers);
    bench_bare(dir, LV_MIN(4u << 20, 8 * batch * (OVERHEAD + body + 112)), seconds / 2);
}

int
main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_msglog open|write <folder> [body bytes] [queues | batch] [seconds]\n");
        return 2;
    }
    const struct io *io = io_system();
    uint32_t body = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 100;
    int err = io->mkdir(io->ctx, argv[2]);
    if (err != 0 && err != -LE_EXISTS)
        fail(argv[2], err);
    if (strcmp(argv[1], "open") == 0) {
        bench_open(argv[2], body, argc > 4 ? strtoull(argv[4], NULL, 10) : 100);
    } else {
        uint32_t batch = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 300;
        bench_write(argv[2], body, LV_MIN(batch, BATCH_MAX - 1u), argc > 5 ? strtod(argv[5], NULL) : 4);
    }
    return 0;
}
