// perf_churn.c: the command `churn`: connections, channels or queues that come and go, as fast as the broker lets them.
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_report.h"

enum churn_what { CHURN_CONNECTIONS, CHURN_CHANNELS, CHURN_QUEUES, CHURN_BINDINGS, CHURN_CONSUMERS };

struct churn_config {
    struct perf_common common;
    const char *what;
    uint64_t clients, cycles;
    bool is_durable;
    double duration_s;
};

struct churn;

struct client {
    struct churn *churn;
    pthread_t thread;
    bool is_started;
    uint64_t index;
    struct perf_conn conn;
    char queue[64];
    struct perf_hist *hist; // of one cycle
};

// One thing opened and closed again, with every answer waited for.
typedef int (*cycle_fn)(struct client *c);

struct churn {
    const struct churn_config *config;
    struct perf_uris uris;
    enum churn_what what;
    cycle_fn cycle;
    _Atomic bool is_over;
    _Atomic uint64_t cycles, clients_left; // relaxed: counters
    pthread_mutex_t lock;                  // rank: leaf; guards error
    char error[PERF_CONN_ERROR_MAX];
};

static int
open_conn(struct client *c)
{
    struct perf_conn_options o = {
        .name = "leveret-perf churn", .frame_max = 131072, .timeout_s = c->churn->config->common.timeout_s};
    return perf_conn_open(&c->conn, &c->churn->uris, c->index, &o);
}

static int
cycle_connection(struct client *c)
{
    int rc = open_conn(c);
    if (rc == 0)
        rc = perf_conn_open_channel(&c->conn, 1);
    if (rc == 0)
        perf_conn_close(&c->conn);
    return rc;
}

static int
cycle_channel(struct client *c)
{
    union amqp_method m = {.channel_close = {.reply_code = 200, .reply_text = SLICE_LIT("goodbye")}};
    int rc = perf_conn_open_channel(&c->conn, 2);
    return rc == 0 ? perf_conn_call(&c->conn, 2, AMQP_CHANNEL_CLOSE, &m, NULL) : rc;
}

static int
cycle_queue(struct client *c)
{
    struct perf_queue_options q = {.name = c->queue, .is_durable = c->churn->config->is_durable};
    perf_append_declare(&c->conn, 1, &q);
    int rc = perf_conn_wait(&c->conn, 1, AMQP_QUEUE_DECLARE_OK, NULL);
    return rc == 0 ? perf_delete_queue(&c->conn, 1, c->queue) : rc;
}

static int
cycle_binding(struct client *c)
{
    union amqp_method m = {.queue_bind = {.queue = slice_str(c->queue),
                                          .exchange = SLICE_LIT("amq.direct"),
                                          .routing_key = slice_str(c->queue)}};
    int rc = perf_conn_call(&c->conn, 1, AMQP_QUEUE_BIND, &m, NULL);
    m.queue_unbind = (struct amqp_queue_unbind){.queue = slice_str(c->queue),
                                                .exchange = SLICE_LIT("amq.direct"),
                                                .routing_key = slice_str(c->queue)};
    return rc == 0 ? perf_conn_call(&c->conn, 1, AMQP_QUEUE_UNBIND, &m, NULL) : rc;
}

static int
cycle_consumer(struct client *c)
{
    union amqp_method m = {
        .basic_consume = {.queue = slice_str(c->queue), .consumer_tag = SLICE_LIT("churn")}};
    int rc = perf_conn_call(&c->conn, 1, AMQP_BASIC_CONSUME, &m, NULL);
    m.basic_cancel = (struct amqp_basic_cancel){.consumer_tag = SLICE_LIT("churn")};
    return rc == 0 ? perf_conn_call(&c->conn, 1, AMQP_BASIC_CANCEL, &m, NULL) : rc;
}

static const struct {
    const char *name, *unit;
    cycle_fn cycle;
} kinds[] = {
    [CHURN_CONNECTIONS] = {"connections", "connection", cycle_connection},
    [CHURN_CHANNELS] = {"channels", "channel", cycle_channel},
    [CHURN_QUEUES] = {"queues", "queue", cycle_queue},
    [CHURN_BINDINGS] = {"bindings", "binding", cycle_binding},
    [CHURN_CONSUMERS] = {"consumers", "consumer", cycle_consumer},
};

// What the cycles need around them.
static int
prepare(struct client *c)
{
    enum churn_what what = c->churn->what;
    if (what == CHURN_CONNECTIONS)
        return 0;
    int rc = open_conn(c);
    if (rc == 0)
        rc = perf_conn_open_channel(&c->conn, 1);
    if (rc == 0 && (what == CHURN_BINDINGS || what == CHURN_CONSUMERS)) {
        struct perf_queue_options q = {.name = c->queue, .is_durable = c->churn->config->is_durable};
        perf_append_declare(&c->conn, 1, &q);
        rc = perf_conn_wait(&c->conn, 1, AMQP_QUEUE_DECLARE_OK, NULL);
    }
    return rc;
}

static void *
client_main(void *ctx)
{
    struct client *c = ctx;
    struct churn *k = c->churn;
    int rc = prepare(c);
    uint64_t done = 0;
    while (rc == 0 && !atomic_load_explicit(&k->is_over, memory_order_relaxed) &&
           (k->config->cycles == 0 || done < k->config->cycles)) {
        uint64_t start = clock_mono_ns();
        rc = k->cycle(c);
        if (rc == 0) {
            perf_hist_record(c->hist, clock_mono_ns() - start);
            atomic_fetch_add_explicit(&k->cycles, 1, memory_order_relaxed);
            done++;
        }
    }
    if (rc == 0 && (k->what == CHURN_BINDINGS || k->what == CHURN_CONSUMERS))
        rc = perf_delete_queue(&c->conn, 1, c->queue);
    if (rc < 0) {
        pthread_mutex_lock(&k->lock);
        if (k->error[0] == '\0')
            memcpy(k->error, c->conn.error, sizeof k->error);
        pthread_mutex_unlock(&k->lock);
        atomic_store(&k->is_over, true);
    }
    perf_conn_close(&c->conn);
    perf_conn_abort(&c->conn);
    atomic_fetch_sub(&k->clients_left, 1);
    return NULL;
}

static void
watch(struct churn *k, struct perf_usage *u)
{
    const struct churn_config *c = k->config;
    uint64_t start = clock_mono_ns(), before = 0;
    for (uint64_t second = 1; atomic_load(&k->clients_left) > 0; second++) {
        while (atomic_load(&k->clients_left) > 0 && clock_mono_ns() < start + second * UINT64_C(1000000000))
            if (perf_stop_wait(0.01))
                atomic_store(&k->is_over, true);
        uint64_t now = atomic_load(&k->cycles);
        if (clock_mono_ns() < start + second * UINT64_C(1000000000))
            break; // not a whole second: the summary has it
        fprintf(perf_progress(&c->common), "%6llu s  %llu %s opened and closed a second\n",
                (unsigned long long)second, (unsigned long long)(now - before), kinds[k->what].name);
        fflush(perf_progress(&c->common));
        before = now;
        perf_usage_sample(u);
        if (c->cycles == 0 && (double)second >= c->duration_s)
            atomic_store(&k->is_over, true);
    }
}

static void
run_clients(struct churn *k, struct perf_usage *u, struct perf_hist *hist)
{
    const struct churn_config *c = k->config;
    struct client *clients = mem_xcalloc(c->clients, sizeof *clients);
    atomic_store(&k->clients_left, c->clients);
    for (uint64_t i = 0; i < c->clients; i++) {
        struct client *client = &clients[i];
        *client = (struct client){
            .churn = k, .index = i, .conn = PERF_CONN_INIT, .hist = mem_xcalloc(1, sizeof *hist)};
        snprintf(client->queue, sizeof client->queue, "leveret-churn-%llu", (unsigned long long)i + 1);
        client->is_started = perf_thread_start(&client->thread, client_main, client) == 0;
        if (!client->is_started)
            atomic_fetch_sub(&k->clients_left, 1);
    }
    watch(k, u);
    for (uint64_t i = 0; i < c->clients; i++) {
        if (clients[i].is_started)
            pthread_join(clients[i].thread, NULL);
        perf_hist_add(hist, clients[i].hist);
        mem_free(clients[i].hist);
    }
    mem_free(clients);
}

static int
run(const void *config)
{
    const struct churn_config *c = config;
    struct churn k = {.config = c, .lock = PTHREAD_MUTEX_INITIALIZER};
    size_t what = 0;
    while (what < LV_ARRAY_LEN(kinds) && strcmp(kinds[what].name, c->what) != 0)
        what++;
    if (what == LV_ARRAY_LEN(kinds)) {
        perf_complain("--what: '%s' is none of connections, channels, queues, bindings, consumers", c->what);
        return PERF_USAGE;
    }
    if (perf_common_uris(&c->common, &k.uris) < 0)
        return PERF_USAGE;
    k.what = (enum churn_what)what;
    k.cycle = kinds[what].cycle;
    struct perf_hist *hist = mem_xcalloc(1, sizeof *hist);
    struct perf_usage usage;
    perf_usage_begin(&usage, c->common.pid);
    uint64_t start = clock_mono_ns();
    run_clients(&k, &usage, hist);
    double seconds = (double)(clock_mono_ns() - start) / 1e9, cycles = (double)atomic_load(&k.cycles);
    perf_usage_end(&usage);
    struct perf_report r;
    perf_report_begin(&r, "churn", c->common.is_json);
    perf_report_text(&r, "what", "what", kinds[what].name);
    perf_report_number(&r, "measured", "seconds", seconds, 3, "s");
    perf_report_number(&r, "opened and closed", "cycles", cycles, 0, kinds[what].name);
    perf_report_number(&r, "mean", "cycles_per_s", cycles / LV_MAX(seconds, 1e-9), 0, "/s");
    perf_report_latency(&r, "one", "cycle_latency_us", hist);
    perf_report_usage(&r, &usage, cycles, kinds[what].unit);
    perf_report_print(&r);
    mem_free(hist);
    if (k.error[0] != '\0')
        perf_complain("%s", k.error);
    return k.error[0] == '\0' ? PERF_OK : PERF_FAILED;
}

static const struct churn_config defaults = {
    .common = PERF_COMMON_DEFAULTS,
    .what = "connections",
    .clients = 4,
    .duration_s = 10,
};

#define AT(member) offsetof(struct churn_config, member)

static const struct perf_option options[] = {
    PERF_COMMON_OPTIONS(struct churn_config),
    {OPTION_HEADING, 0, "Churn", 0, NULL, NULL, 0, 0},
    {OPTION_TEXT, 'w', "what", AT(what), "WHAT",
     "connections (with a channel each), channels, queues, bindings (to amq.direct), consumers.", 0, 0},
    {OPTION_COUNT, 'n', "clients", AT(clients), "N",
     "Threads that do it at the same time, each waiting for every answer.", 1, 1024},
    {OPTION_FLAG, 'd', "durable", AT(is_durable), NULL, "Durable queues (and so bindings).", 0, 0},
    {OPTION_SECONDS, 'z', "duration", AT(duration_s), "TIME", "How long.", 0.1, 31536000},
    {OPTION_COUNT, 'C', "cycles", AT(cycles), "N", "Instead: so many of each client.", 0, 0},
};

const struct perf_command perf_command_churn = {
    .name = "churn",
    .summary = "connections, channels, queues that come and go",
    .about = "Opens and closes one kind of thing again and again, and says how many a second, how long each "
             "took, and with\n"
             "--pid what it cost and whether the broker's memory grew.",
    .examples = "  leveret-perf churn -p $(pidof leveretd)\n"
                "  leveret-perf churn -w queues --durable -n 16\n"
                "  leveret-perf churn -w channels -C 100k\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct churn_config),
    .defaults = &defaults,
    .run = run,
};
