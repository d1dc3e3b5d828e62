// perf_run.c: the command `run`: its options, and the order of a run.
#include "src/cli/perf_run.h"

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/rng.h"

enum { RETRY_MS = 1 };

static const struct run_config defaults = {
    .common = PERF_COMMON_DEFAULTS,
    .producers = 1,
    .consumers = 1,
    .queues = 1,
    .queue_pattern = RUN_QUEUE_PATTERN,
    .exchange = "",
    .type = "direct",
    .size = 16,
    .prefetch = 1000,
    .multi_ack_every = 1,
    .duration_s = 10,
    .warmup_s = 1,
    .frame_max = 131072,
};

#define AT(member) offsetof(struct run_config, member)

static const struct perf_option options[] = {
    PERF_COMMON_OPTIONS(struct run_config),
    {OPTION_HEADING, 0, "Who and where", 0, NULL, NULL, 0, 0},
    {OPTION_COUNT, 'x', "producers", AT(producers), "N", "Connections that publish; 0 only consumes.", 0,
     65535},
    {OPTION_COUNT, 'y', "consumers", AT(consumers), "N", "Connections that consume; 0 only publishes.", 0,
     65535},
    {OPTION_TEXT, 'q', "queue", AT(queue), "NAME",
     "The queue's name. One that exists is used as it is, with what is in it, and stays.", 0, 0},
    {OPTION_COUNT, 0, "queues", AT(queues), "N",
     "So many queues, numbered from 1; producers and consumers are spread over them.", 1, 1000000},
    {OPTION_TEXT, 0, "queue-pattern", AT(queue_pattern), "NAME", "Their names; %d is the number.", 0, 0},
    {OPTION_FLAG, 'd', "durable", AT(is_durable), NULL, "Durable queues (and exchange).", 0, 0},
    {OPTION_FLAG, 0, "quorum", AT(is_quorum), NULL, "Quorum queues, which are durable.", 0, 0},
    {OPTION_ARGS, 0, "queue-args", AT(queue_args), "K=V,...",
     "Arguments of the declares: x-max-length=1000,x-queue-mode=lazy. Numbers and true/false are taken as "
     "such.",
     0, 0},
    {OPTION_TEXT, 'e', "exchange", AT(exchange), "NAME",
     "Publish to this exchange, declared when it is not there, instead of the default one; each queue is "
     "bound to it.",
     0, 0},
    {OPTION_TEXT, 't', "type", AT(type), "TYPE", "Of the exchange: direct, fanout, topic, headers.", 0, 0},
    {OPTION_TEXT, 'k', "routing-key", AT(routing_key), "KEY",
     "One key for all messages; without it each queue's name is the key.", 0, 0},
    {OPTION_TEXT, 0, "binding-key", AT(binding_key), "KEY",
     "Bind with this instead of the routing key: 'orders.#'.", 0, 0},
    {OPTION_FLAG, 0, "keep", AT(is_keep), NULL, "Leave behind what was declared.", 0, 0},
    {OPTION_HEADING, 0, "Messages", 0, NULL, NULL, 0, 0},
    {OPTION_SIZE, 's', "size", AT(size), "BYTES", "Of each body. Below 16 there is no room for a time stamp.",
     0, 64 << 20},
    {OPTION_FLAG, 0, "persistent", AT(is_persistent), NULL, "Delivery mode 2.", 0, 0},
    {OPTION_RATE, 'r', "rate", AT(rate), "PER_S",
     "Messages a second of each producer; without it as fast as it goes. Latencies then count from when a "
     "message was due, "
     "however late it could be sent.",
     0, 0},
    {OPTION_COUNT, 'c', "confirm", AT(confirm), "N",
     "Publisher confirms, with at most N messages unconfirmed; 0 is without.", 0, 10000000},
    {OPTION_HEADING, 0, "Consuming", 0, NULL, NULL, 0, 0},
    {OPTION_FLAG, 'a', "auto-ack", AT(is_auto_ack), NULL,
     "No acknowledgements: what is sent counts as delivered.", 0, 0},
    {OPTION_COUNT, 'Q', "prefetch", AT(prefetch), "N",
     "Unacknowledged messages of a consumer; 0 is no limit.", 0, 65535},
    {OPTION_FLAG, 0, "hold", AT(is_holding), NULL,
     "Acknowledges nothing: what the prefetch lets through stays with the consumers until the end.", 0, 0},
    {OPTION_COUNT, 'A', "multi-ack-every", AT(multi_ack_every), "N",
     "One acknowledgement (multiple) for N messages; at most half the prefetch.", 1, 1000000},
    {OPTION_HEADING, 0, "Time", 0, NULL, NULL, 0, 0},
    {OPTION_SECONDS, 'z', "duration", AT(duration_s), "TIME",
     "The window that is measured; 0 goes on until Ctrl-C.", 0, 0},
    {OPTION_SECONDS, 0, "warmup", AT(warmup_s), "TIME", "Before it, not measured.", 0, 0},
    {OPTION_COUNT, 'C', "messages", AT(messages), "N",
     "Instead: each producer publishes N messages, and the run ends when they have arrived; without "
     "producers it ends when all "
     "consumers together have N. No warm-up.",
     0, 0},
    {OPTION_SECONDS, 0, "connect-within", AT(connect_within_s), "TIME",
     "Goes on trying so long until the broker lets it in: the time of a start.", 0, 0},
    {OPTION_HEADING, 0, "This program", 0, NULL, NULL, 0, 0},
    {OPTION_FLAG, 0, "quiet", AT(is_quiet), NULL, "No line a second.", 0, 0},
    {OPTION_TEXT, 0, "disk", AT(disk), "DIR",
     "Reports what the disk under this folder was given to write, by whomever: the broker's data directory.",
     0, 0},
    {OPTION_COUNT, 0, "threads", AT(threads), "N", "At most so many; without it one a core, and at least 2.",
     1, 1024},
    {OPTION_SIZE, 0, "frame-max", AT(frame_max), "BYTES", "The largest frame to ask for.", 4096, 16 << 20},
};

static bool
is_sensible(const struct run_config *c)
{
    if (c->producers + c->consumers == 0)
        perf_complain("with no producers and no consumers there is nothing to do");
    else if (strlen(c->queue != NULL ? c->queue : c->queue_pattern) > 245)
        perf_complain("the queue's name is too long");
    else if (c->is_holding && c->is_auto_ack)
        perf_complain("--hold and --auto-ack exclude each other");
    else
        return true;
    return false;
}

// A broker that is starting refuses at first.
static int
connect_admin(struct run *r)
{
    const struct run_config *c = r->config;
    struct perf_conn_options o = {
        .name = "leveret-perf", .frame_max = c->frame_max, .timeout_s = c->common.timeout_s};
    uint64_t until_ns = r->start_ns + (uint64_t)(c->connect_within_s * 1e9);
    int rc;
    while ((rc = perf_conn_open(&r->admin, &r->uris, 0, &o)) < 0 && clock_mono_ns() < until_ns &&
           !perf_stop_wait(RETRY_MS / 1e3))
        perf_conn_abort(&r->admin);
    r->connected_ns = clock_mono_ns();
    return rc;
}

static int
open_admin(struct run *r)
{
    int rc = connect_admin(r);
    if (rc == 0)
        rc = perf_conn_open_channel(&r->admin, 1);
    if (rc == 0)
        rc = run_declare(r);
    if (rc < 0)
        perf_complain("%s", r->admin.error);
    return rc;
}

static int
run(const void *config)
{
    const struct run_config *c = config;
    struct run r = {
        .config = c, .admin = PERF_CONN_INIT, .lock = PTHREAD_MUTEX_INITIALIZER, .start_ns = clock_mono_ns()};
    if (perf_common_uris(&c->common, &r.uris) < 0 || !is_sensible(c))
        return PERF_USAGE;
    rng_secure(&r.id, sizeof r.id);
    int status = PERF_FAILED;
    if (open_admin(&r) == 0) {
        int rc = run_threads_open(&r);
        if (rc < 0)
            perf_complain("%s", r.error);
        else if (!perf_stop_wait(0))
            status = run_measure(&r);
    }
    run_threads_free(&r);
    if (r.admin.fd >= 0)
        run_delete(&r);
    perf_conn_close(&r.admin);
    perf_conn_abort(&r.admin);
    return status;
}

const struct perf_command perf_command_run = {
    .name = "run",
    .summary = "publish and consume, and measure both",
    .about = "Producers and consumers with a connection each, as fast as the broker allows or at a rate. A "
             "line a second\n"
             "says how it goes; at the end come the means over the measured window and the latencies: from "
             "publish to\n"
             "confirm, and from publish to the arrival at the consumer.",
    .examples =
        "  leveret-perf run --auto-ack                      16 bytes, one producer, one consumer, flat out\n"
        "  leveret-perf run -s 1KiB -c 1000 --persistent --durable\n"
        "                                                   durable publishing, 1000 unconfirmed at most\n"
        "  leveret-perf run -r 2000 -c 100 -z 60 -p $(pidof leveretd)\n"
        "                                                   latencies at a fixed load, the broker's CPU "
        "beside them\n"
        "  leveret-perf run -x 10 -y 10 --queues 10 -Q 500 -A 50\n"
        "  leveret-perf run -e events -t topic -k order.eu.new --binding-key 'order.#' --queues 3\n"
        "  leveret-perf run -x 0 -q jobs --auto-ack         empties a queue\n"
        "  leveret-perf run -y 0 -q jobs -d --persistent -c 10k -C 1M\n"
        "                                                   fills one, and leaves it if it was there\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct run_config),
    .defaults = &defaults,
    .run = run,
};
