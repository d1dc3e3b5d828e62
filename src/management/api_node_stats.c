// api_node_stats.c: the node's own numbers with rates and histories: what comes and goes, what it uses, what it reads and writes.
//
// Sampled in the rounds of api_totals.c, while somebody looks and ten minutes more: a few short reads of /proc.
#include "amqp/listener.h"
#include "src/base/clock.h"
#include "src/base/io.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"
#include "src/management/node_use.h"

enum node_series {
    CHANNEL_CLOSED,
    CHANNEL_CREATED,
    CONNECTION_CLOSED,
    CONNECTION_CREATED,
    QUEUE_CREATED,
    QUEUE_DECLARED,
    QUEUE_DELETED,
    CHURN_COUNT,
    IO_READ_COUNT = CHURN_COUNT,
    IO_READ_BYTES,
    IO_WRITE_COUNT,
    IO_WRITE_BYTES,
    IO_SYNC_COUNT,
    MEM_USED,
    FD_USED,
    SOCKETS_USED,
    PROC_USED,
    DISK_FREE,
    NODE_SERIES_COUNT
};
static_assert((int)NODE_SERIES_COUNT <= (int)SAMPLES_SERIES_MAX, "samples have a series for each number");

static const char *const names[NODE_SERIES_COUNT] = {
    [CHANNEL_CLOSED] = "channel_closed",
    [CHANNEL_CREATED] = "channel_created",
    [CONNECTION_CLOSED] = "connection_closed",
    [CONNECTION_CREATED] = "connection_created",
    [QUEUE_CREATED] = "queue_created",
    [QUEUE_DECLARED] = "queue_declared",
    [QUEUE_DELETED] = "queue_deleted",
    [IO_READ_COUNT] = "io_read_count",
    [IO_READ_BYTES] = "io_read_bytes",
    [IO_WRITE_COUNT] = "io_write_count",
    [IO_WRITE_BYTES] = "io_write_bytes",
    [IO_SYNC_COUNT] = "io_sync_count",
    [MEM_USED] = "mem_used",
    [FD_USED] = "fd_used",
    [SOCKETS_USED] = "sockets_used",
    [PROC_USED] = "proc_used",
    [DISK_FREE] = "disk_free",
};

static void
look_at_workers(const struct api_server *server, uint64_t now[static NODE_SERIES_COUNT])
{
    const struct crew *crew = http_server_worker(server)->crew;
    for (int i = 0; i < crew->n_workers; i++) {
        struct amqp_stats s;
        amqp_worker_stats(crew->members[i], &s);
        now[CHANNEL_CLOSED] += s.channels_closed;
        now[CHANNEL_CREATED] += s.channels_opened;
        now[CONNECTION_CLOSED] += s.ended;
        now[CONNECTION_CREATED] += s.opened;
        now[QUEUE_DECLARED] += broker_queues_declared(crew->members[i]);
        now[SOCKETS_USED] += s.connections;
    }
    topology_queue_churn(crew, &now[QUEUE_CREATED], &now[QUEUE_DELETED]);
}

static void
look(const struct api_server *server, uint64_t now[static NODE_SERIES_COUNT])
{
    struct node_use use;
    struct io_stats io;
    memset(now, 0, NODE_SERIES_COUNT * sizeof *now);
    look_at_workers(server, now);
    node_use_look(http_server_node(server)->data_dir, &use);
    io_system_stats(&io);
    now[IO_READ_COUNT] = io.reads.calls;
    now[IO_READ_BYTES] = io.reads.bytes;
    now[IO_WRITE_COUNT] = io.writes.calls;
    now[IO_WRITE_BYTES] = io.writes.bytes;
    now[IO_SYNC_COUNT] = io.syncs.calls;
    now[MEM_USED] = use.resident_bytes;
    now[FD_USED] = use.fd_used;
    now[PROC_USED] = use.threads;
    now[DISK_FREE] = use.disk_free_bytes;
}

void
api_node_sample(const struct api_server *s, struct samples **samples, int64_t now_ms)
{
    uint64_t now[NODE_SERIES_COUNT];
    look(s, now);
    if (*samples == NULL)
        *samples = samples_new(NODE_SERIES_COUNT, SAMPLES_GLOBAL);
    if (*samples != NULL)
        samples_add(*samples, now_ms, now);
}

static void
put_number(struct api_request *r, struct api_out *o, unsigned series, uint64_t value,
           enum api_range_kind kind)
{
    const struct samples *samples = api_look_at_node(r);
    int64_t stale_ms = 3 * (int64_t)http_server_config(r->server)->statistics_interval_ms;
    struct api_sampled s = {.samples = samples, .series = {series}, .series_count = 1, .kind = kind};
    s.rate = samples != NULL ? samples_rate(samples, series, clock_wall_ms(), stale_ms) : 0.0;
    api_put_sampled(r, o, names[series], (int64_t)value, &s);
}

void
api_put_churn(struct api_request *r, struct api_out *o)
{
    uint64_t now[NODE_SERIES_COUNT] = {0};
    look_at_workers(r->server, now);
    for (unsigned i = 0; i < CHURN_COUNT; i++)
        put_number(r, o, i, now[i], API_RANGE_MESSAGES);
}

// Milliseconds a call, since the start.
static double
average_ms(const struct io_work *w)
{
    return w->calls > 0 ? (double)w->time_ns / 1e6 / (double)w->calls : 0.0;
}

void
api_put_node_use(struct api_request *r, struct api_out *o)
{
    uint64_t now[NODE_SERIES_COUNT];
    struct io_stats io;
    look(r->server, now);
    for (unsigned i = CHURN_COUNT; i < NODE_SERIES_COUNT; i++)
        put_number(r, o, i, now[i], API_RANGE_NODE);
    io_system_stats(&io);
    api_out_double(o, "io_read_avg_time", average_ms(&io.reads));
    api_out_double(o, "io_write_avg_time", average_ms(&io.writes));
    api_out_double(o, "io_sync_avg_time", average_ms(&io.syncs));
}
