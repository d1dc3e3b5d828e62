// perf_declare.c: the command `declare`: many queues, how fast, and what each costs.
//
// Requests go round over --channels channels, up to --window of them on their way before the first answer is waited for: a
// channel carries out its methods one after the other, so only several let a broker commit in groups.
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_report.h"

struct declare_config {
    struct perf_common common;
    uint64_t queues, window, channels;
    const char *queue_pattern, *bind;
    bool is_durable, is_quorum, is_keep;
    struct buf queue_args;
    double settle_s;
};

// A request about one queue; the same shape for declares, binds and deletes.
typedef void (*append_fn)(const struct declare_config *c, struct perf_conn *conn, uint16_t channel,
                          const char *name);

static void
append_declare(const struct declare_config *c, struct perf_conn *conn, uint16_t channel, const char *name)
{
    struct perf_queue_options q = {.name = name,
                                   .is_durable = c->is_durable,
                                   .is_quorum = c->is_quorum,
                                   .arguments = buf_slice(&c->queue_args)};
    perf_append_declare(conn, channel, &q);
}

static void
append_bind(const struct declare_config *c, struct perf_conn *conn, uint16_t channel, const char *name)
{
    amqp_frame_queue_bind(&conn->out, channel,
                          &(struct amqp_queue_bind){.queue = slice_str(name),
                                                    .exchange = slice_str(c->bind),
                                                    .routing_key = slice_str(name)});
}

static void
append_delete(const struct declare_config *c, struct perf_conn *conn, uint16_t channel, const char *name)
{
    amqp_frame_queue_delete(&conn->out, channel, &(struct amqp_queue_delete){.queue = slice_str(name)});
}

struct pass {
    const char *name; // "declared"
    append_fn append;
    uint32_t answer;
    double seconds;
    uint64_t done;
};

// The next answer, whichever channel's.
static int
take_answer(struct perf_conn *conn, uint32_t id)
{
    uint64_t deadline = clock_mono_ns() + conn->timeout_ns;
    struct frame f;
    int rc = perf_conn_frame(conn, &f);
    if (rc == 0)
        rc = perf_conn_flush(conn);
    for (; rc >= 0 && clock_mono_ns() < deadline; rc = perf_conn_frame(conn, &f)) {
        if (rc == 1 && perf_method_id(&f) == id)
            return 0;
        if (rc == 1) {
            rc = perf_conn_unasked(conn, &f);
        } else if (perf_conn_poll(conn, 0.5)) {
            rc = perf_conn_read(conn);
        }
        if (rc < 0)
            return rc;
    }
    return rc < 0
               ? rc
               : perf_conn_fail(conn, -LE_TIMEOUT, "no answer within %.0f s", (double)conn->timeout_ns / 1e9);
}

// All queues, with a window of requests under way.
static int
do_all(const struct declare_config *c, struct perf_conn *conn, struct pass *pass)
{
    uint64_t start = clock_mono_ns(), sent = 0, shown = start;
    int rc = 0;
    LV_ASSERT(c->channels > 0);
    while (rc == 0 && pass->done < c->queues && !perf_stop_wait(0)) {
        for (; sent < c->queues && sent - pass->done < c->window; sent++) {
            char name[256];
            perf_queue_name(c->queue_pattern, sent + 1, c->queues, name);
            pass->append(c, conn, (uint16_t)(1 + sent % c->channels), name);
        }
        rc = take_answer(conn, pass->answer);
        pass->done += rc == 0;
        uint64_t now = clock_mono_ns();
        if (now - shown > UINT64_C(1000000000)) {
            fprintf(perf_progress(&c->common), "%6.1f s  %s %llu\n", (double)(now - start) / 1e9, pass->name,
                    (unsigned long long)pass->done);
            fflush(perf_progress(&c->common));
            shown = now;
        }
    }
    pass->seconds = (double)(clock_mono_ns() - start) / 1e9;
    return rc == 0 && pass->done < c->queues ? perf_conn_fail(conn, -LE_STATE, "interrupted") : rc;
}

static void
summarise(const struct declare_config *c, const struct pass *declared, const struct pass *bound,
          const struct pass *deleted, const struct perf_usage *u)
{
    double n = (double)c->queues;
    struct perf_report r;
    perf_report_begin(&r, "declare", c->common.is_json);
    perf_report_number(&r, "queues", "queues", n, 0, "");
    perf_report_number(&r, "declared in", "declare_seconds", declared->seconds, 2, "s");
    perf_report_number(&r, "declared", "declared_per_s", n / LV_MAX(declared->seconds, 1e-9), 0, "/s");
    if (bound->done > 0)
        perf_report_number(&r, "bound", "bound_per_s", n / LV_MAX(bound->seconds, 1e-9), 0, "/s");
    if (c->common.pid != 0 && !u->is_lost)
        perf_report_number(&r, "broker memory, each", "broker_bytes_per_queue",
                           ((double)u->rss_after - (double)u->rss_before) / n, 0, "bytes a queue");
    perf_report_usage(&r, u, n, "queue");
    if (deleted->done > 0)
        perf_report_number(&r, "deleted", "deleted_per_s",
                           (double)deleted->done / LV_MAX(deleted->seconds, 1e-9), 0, "/s");
    perf_report_print(&r);
}

static int
run(const void *config)
{
    const struct declare_config *c = config;
    struct pass declared = {.name = "declared", .append = append_declare, .answer = AMQP_QUEUE_DECLARE_OK};
    struct pass bound = {.name = "bound", .append = append_bind, .answer = AMQP_QUEUE_BIND_OK};
    struct pass deleted = {.name = "deleted", .append = append_delete, .answer = AMQP_QUEUE_DELETE_OK};
    struct perf_uris uris;
    struct perf_conn conn = PERF_CONN_INIT;
    struct perf_usage usage;
    struct perf_conn_options o = {.name = "leveret-perf declare",
                                  .frame_max = 131072,
                                  .timeout_s = c->common.timeout_s,
                                  .in_cap = 131072};
    if (perf_common_uris(&c->common, &uris) < 0)
        return PERF_USAGE;
    int rc = perf_conn_open(&conn, &uris, 0, &o);
    if (rc == 0)
        for (uint16_t channel = 1; rc == 0 && channel <= c->channels; channel++)
            rc = perf_conn_open_channel(&conn, channel);
    perf_usage_begin(&usage, c->common.pid);
    if (rc == 0)
        rc = do_all(c, &conn, &declared);
    if (rc == 0 && c->bind != NULL)
        rc = do_all(c, &conn, &bound);
    if (rc == 0) {
        perf_stop_wait(c->settle_s);
        perf_usage_end(&usage);
        if (!c->is_keep)
            rc = do_all(c, &conn, &deleted);
        summarise(c, &declared, &bound, &deleted, &usage);
    }
    if (rc < 0)
        perf_complain("%s", conn.error);
    perf_conn_close(&conn);
    perf_conn_abort(&conn);
    return rc == 0 ? PERF_OK : PERF_FAILED;
}

static const struct declare_config defaults = {
    .common = PERF_COMMON_DEFAULTS,
    .queues = 10000,
    .window = 1000,
    .channels = 100,
    .queue_pattern = "leveret-declare-%d",
    .settle_s = 1,
};

#define AT(member) offsetof(struct declare_config, member)

static const struct perf_option options[] = {
    PERF_COMMON_OPTIONS(struct declare_config),
    {OPTION_HEADING, 0, "Queues", 0, NULL, NULL, 0, 0},
    {OPTION_COUNT, 'n', "queues", AT(queues), "N", "How many.", 1, 100000000},
    {OPTION_TEXT, 0, "queue-pattern", AT(queue_pattern), "NAME", "Their names; %d is the number.", 0, 0},
    {OPTION_FLAG, 'd', "durable", AT(is_durable), NULL, "Durable ones.", 0, 0},
    {OPTION_FLAG, 0, "quorum", AT(is_quorum), NULL, "Quorum queues.", 0, 0},
    {OPTION_ARGS, 0, "queue-args", AT(queue_args), "K=V,...", "Arguments of the declares.", 0, 0},
    {OPTION_TEXT, 'e', "bind", AT(bind), "EXCHANGE",
     "Bind each to this exchange, which exists, by its own name.", 0, 0},
    {OPTION_COUNT, 0, "window", AT(window), "N", "Requests sent ahead of their answers; 1 waits for each.", 1,
     100000},
    {OPTION_COUNT, 0, "channels", AT(channels), "N",
     "They go round over so many channels, each of which does one thing at a time.", 1, 2047},
    {OPTION_SECONDS, 0, "settle", AT(settle_s), "TIME", "Before the memory is looked at.", 0, 86400},
    {OPTION_FLAG, 0, "keep", AT(is_keep), NULL, "Do not delete them at the end.", 0, 0},
};

const struct perf_command perf_command_declare = {
    .name = "declare",
    .summary = "many queues: how fast they are made, what each costs",
    .about = "Declares queues, says how many a second and how much the broker's memory grew for each (with\n"
             "--pid), and deletes them again.",
    .examples = "  leveret-perf declare -n 100k --durable -p $(pidof leveretd)\n"
                "  leveret-perf declare -n 1M -e amq.direct --keep\n"
                "  leveret-perf declare -n 500 --window 1                 the time of one declare\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct declare_config),
    .defaults = &defaults,
    .run = run,
};
