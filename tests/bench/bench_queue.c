// bench_queue.c: what a message costs in a queue: nanoseconds from queue_publish to the end of its delivery,
// in one process without sockets. Workers are driven turn by turn from one thread, so figures are CPU time of
// all workers together.
//
// Usage: bench_queue [messages]. Build with -Dbuildtype=release.
#include <stdio.h>
#include <stdlib.h>

#include "queue/ops.h"
#include "queue/queue_worker.h"
#include "src/base/clock.h"
#include "src/base/mem.h"

enum { WORKERS = 2, SEQS_MAX = 4096 };

static struct crew *crew;
static uint64_t seqs[SEQS_MAX];
static size_t seq_count;
static uint64_t delivered;

static void
on_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
}

static void
on_deliver(struct worker *w, const struct delivery *d)
{
    if (seq_count < SEQS_MAX)
        seqs[seq_count++] = d->seq;
    delivered++;
    message_unref(d->msg);
}

static void
on_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    consumer_grant_shared(consumer, 64);
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

static const struct queue_client client = {
    .published = on_published,
    .deliver = on_deliver,
    .ready = on_ready,
    .unused = on_unused,
    .cancelled = on_cancelled,
    .is_unused = on_is_unused,
};

static void
turns(int n)
{
    int last = crew_extra_member(crew, CREW_TOPOLOGY)->index;
    while (n-- > 0) {
        for (int i = 0; i <= last; i++)
            worker_turn(crew->members[i]);
    }
}

static lv_handle last_consumer;

static void
done(struct queue_request *r)
{
    last_consumer = r->consumer;
    queue_request_free(r);
}

static void
send_now(struct worker *as, struct queue_request *r)
{
    worker_self = as;
    r->done = done;
    queue_request_send(r);
    turns(3);
}

static lv_handle
make_queue(int owner, uint8_t max_priority)
{
    struct worker *writer = crew_extra_member(crew, CREW_TOPOLOGY);
    struct queue_def *def = mem_xcalloc(1, sizeof(*def)); // lives as long as the process
    worker_self = writer;
    def->handle = queue_handle_alloc(crew->members[owner]);
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CREATE, def->handle);
    r->def = def;
    if (max_priority > 0) {
        struct queue_rules rules = queue_rules_none;
        rules.max_priority = max_priority;
        r->rules = queue_rules_copy(&rules);
    }
    send_now(writer, r);
    return def->handle;
}

static lv_handle
consume(lv_handle queue, int session_worker, uint32_t flags)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, queue);
    r->session = handle_make((unsigned)session_worker, 1, 0);
    r->consumer_flags = flags;
    r->window_count = r->window_bytes = UINT32_MAX;
    send_now(crew->members[session_worker], r);
    return last_consumer;
}

static struct message *
make_message(void)
{
    return message_new(SLICE_LIT(""), SLICE_LIT("test"), slice_of((const uint8_t[2]){0, 0}, 2), 16);
}

struct run {
    const char *name;
    int owner; // the session is on worker 0
    unsigned batch;
    uint32_t consumer_flags;
    bool is_fresh; // each message is made and freed, otherwise one is shared
    bool is_acked;
    bool is_confirmed;
};

static void
publish_batch(const struct run *run, lv_handle q, struct message *shared, lv_handle session)
{
    for (unsigned i = 0; i < run->batch; i++) {
        struct message *m = run->is_fresh ? make_message() : shared;
        queue_publish(m, &q, 1, session, i);
        if (run->is_fresh)
            message_unref(m);
    }
}

static void
measure(const struct run *run, uint64_t messages)
{
    lv_handle q = make_queue(run->owner, 0);
    lv_handle consumer = consume(q, 0, run->consumer_flags);
    lv_handle session = run->is_confirmed ? handle_make(0, 1, 0) : 0;
    struct message *shared = make_message();
    delivered = 0;
    uint64_t start = clock_mono_ns();
    for (uint64_t sent = 0; sent < messages; sent += run->batch) {
        worker_self = crew->members[0];
        seq_count = 0;
        publish_batch(run, q, shared, session);
        worker_turn(crew->members[0]);
        if (run->owner != 0) {
            worker_turn(crew->members[run->owner]);
            worker_turn(crew->members[0]);
        }
        worker_self = crew->members[0];
        consumer_grant_window(consumer, (uint32_t)seq_count, 1u << 20);
        if (run->is_acked)
            queue_settle(q, SETTLE_ACK, seqs, seq_count);
    }
    uint64_t ns = clock_mono_ns() - start;
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, q);
    r->consumer = consumer;
    send_now(crew->members[0], r);
    message_unref(shared);
    printf("%-52s %7.1f ns a message  (%llu delivered)\n", run->name, (double)ns / (double)messages,
           (unsigned long long)delivered);
}

static void
measure_backlog(uint64_t messages, uint8_t levels)
{
    lv_handle q = make_queue(0, levels);
    worker_self = crew->members[0];
    uint64_t start = clock_mono_ns();
    for (uint64_t i = 0; i < messages; i++) {
        struct message *m = make_message();
        m->priority = (uint8_t)(levels > 0 ? i % levels : 0);
        queue_publish(m, &q, 1, 0, 0);
        message_unref(m);
    }
    uint64_t filled = clock_mono_ns();
    delivered = 0;
    consume(q, 0, CONSUMER_NO_ACK);
    while (delivered < messages)
        worker_turn(crew->members[0]);
    uint64_t ns = clock_mono_ns() - filled;
    printf("%-52s %7.1f ns a message\n",
           levels > 0 ? "backlog in levels: fill" : "backlog: fill (fresh messages)",
           (double)(filled - start) / (double)messages);
    printf("%-52s %7.1f ns a message\n",
           levels > 0 ? "backlog in levels: drain, no-ack" : "backlog: drain, no-ack",
           (double)ns / (double)messages);
}

static void
measure_many_queues(void)
{
    enum { QUEUES = 1000, ROUNDS = 200 };
    static lv_handle queues[QUEUES];
    for (int i = 0; i < QUEUES; i++) {
        queues[i] = make_queue(0, 0);
        consume(queues[i], 0, CONSUMER_NO_ACK);
    }
    uint64_t start = clock_mono_ns();
    for (int round = 0; round < ROUNDS; round++) {
        worker_self = crew->members[0];
        for (int i = 0; i < QUEUES; i++) {
            struct message *m = make_message();
            queue_publish(m, &queues[i], 1, 0, 0);
            message_unref(m);
        }
        worker_turn(crew->members[0]);
    }
    uint64_t ns = clock_mono_ns() - start;
    printf("%-52s %7.1f ns a message\n", "1,000 queues, one message each a turn, no-ack",
           (double)ns / (QUEUES * ROUNDS));
}

static size_t
resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    return pages * 4096;
}

static void
measure_idle_queues(void)
{
    enum { QUEUES = 100000 };
    size_t before = resident_bytes();
    for (int i = 0; i < QUEUES; i++)
        make_queue(0, 0);
    printf("%-52s %7.1f bytes each (%zu of them the bare queue_def)\n", "100,000 idle queues",
           (double)(resident_bytes() - before) / QUEUES, sizeof(struct queue_def));
}

int
main(int argc, char **argv)
{
    uint64_t messages = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
    crew = crew_new(&(struct crew_config){.n_workers = WORKERS});
    for (int i = 0; i < crew->n_members; i++)
        queue_worker_init(crew->members[i], &(struct queue_worker_config){.client = &client});
    measure_idle_queues(); // first: nothing is given back meanwhile
    const struct run runs[] = {
        {"local, no-ack, shared message, 64 a turn", 0, 64, CONSUMER_NO_ACK, false, false, false},
        {"local, no-ack, shared message, 256 a turn", 0, 256, CONSUMER_NO_ACK, false, false, false},
        {"local, no-ack, fresh message, 64 a turn", 0, 64, CONSUMER_NO_ACK, true, false, false},
        {"local, no-ack, fresh message, 256 a turn", 0, 256, CONSUMER_NO_ACK, true, false, false},
        {"local, no-ack, fresh, confirmed, 256 a turn", 0, 256, CONSUMER_NO_ACK, true, false, true},
        {"local, acked, shared message, 256 a turn", 0, 256, 0, false, true, false},
        {"local, acked, fresh message, 256 a turn", 0, 256, 0, true, true, false},
        {"local, shared limit, acked, fresh, 256 a turn", 0, 256, CONSUMER_SHARED_LIMIT, true, true, false},
        {"remote, no-ack, shared message, 256 a turn", 1, 256, CONSUMER_NO_ACK, false, false, false},
        {"remote, no-ack, fresh, confirmed, 256 a turn", 1, 256, CONSUMER_NO_ACK, true, false, true},
        {"remote, acked, fresh, confirmed, 256 a turn", 1, 256, 0, true, true, true},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(runs); i++)
        measure(&runs[i], messages);
    measure_backlog(messages, 0);
    measure_backlog(messages, 10);
    measure_many_queues();
    printf("struct queue %zu bytes, slot %zu, number %zu\n", sizeof(struct queue), sizeof(struct handle_slot),
           sizeof(struct handle_number));
    return 0;
}
