// perf_idle.c: the command `idle`: opens many connections that do nothing but heartbeats, and asks what they cost the broker.
//
// Several threads open, each its share (a broker answers many log-ins at once, and each waits for four round trips); then the
// main thread holds them all with one epoll, sends heartbeats twice in each interval, and counts those that end.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_common.h"
#include "src/cli/perf_proc.h"
#include "src/cli/perf_report.h"

struct idle_config {
    struct perf_common common;
    uint64_t connections, channels, heartbeat_s, openers;
    double hold_s, settle_s;
};

struct idle;

struct opener {
    struct idle *idle;
    pthread_t thread;
    bool is_started;
    struct perf_hist *hist; // of opening one connection with its channels
};

struct idle {
    const struct idle_config *config;
    struct perf_uris uris;
    struct perf_conn *conns; // config->connections
    struct opener *openers;
    _Atomic uint64_t next, opened, failed; // relaxed: counters
    pthread_mutex_t lock;                  // rank: leaf; guards error
    char error[PERF_CONN_ERROR_MAX];       // of the first that failed
    uint64_t lost;
    int epoll_fd;
};

static int
open_one(struct idle *k, uint64_t i)
{
    const struct idle_config *c = k->config;
    struct perf_conn *conn = &k->conns[i];
    char name[64];
    snprintf(name, sizeof name, "leveret-perf idle %llu", (unsigned long long)i + 1);
    // What the real clients ask for, though nothing as large will come.
    struct perf_conn_options o = {.name = name,
                                  .frame_max = 131072,
                                  .heartbeat_s = (uint16_t)c->heartbeat_s,
                                  .timeout_s = c->common.timeout_s};
    int rc = perf_conn_open(conn, &k->uris, i, &o);
    for (uint16_t channel = 1; rc == 0 && channel <= c->channels; channel++)
        rc = perf_conn_open_channel(conn, channel);
    if (rc == 0) {
        // From here on it only sends heartbeats: the buffers go.
        buf_fini(&conn->out);
        mem_free(conn->in);
        conn->in = NULL;
        conn->in_cap = 0;
        return 0;
    }
    pthread_mutex_lock(&k->lock);
    if (k->error[0] == '\0')
        memcpy(k->error, conn->error, sizeof k->error);
    pthread_mutex_unlock(&k->lock);
    perf_conn_abort(conn);
    return rc;
}

static void *
opener_main(void *ctx)
{
    struct opener *o = ctx;
    struct idle *k = o->idle;
    for (;;) {
        uint64_t i = atomic_fetch_add_explicit(&k->next, 1, memory_order_relaxed);
        // A broker that refuses a few refuses all: stop soon, say why.
        if (i >= k->config->connections || atomic_load_explicit(&k->failed, memory_order_relaxed) > 10)
            return NULL;
        uint64_t start = clock_mono_ns();
        bool is_open = open_one(k, i) == 0;
        if (is_open)
            perf_hist_record(o->hist, clock_mono_ns() - start);
        atomic_fetch_add_explicit(is_open ? &k->opened : &k->failed, 1, memory_order_relaxed);
    }
}

static int
open_all(struct idle *k, double *ret_seconds, struct perf_hist *hist)
{
    const struct idle_config *c = k->config;
    uint64_t start = clock_mono_ns();
    int rc = 0;
    k->openers = mem_xcalloc(c->openers, sizeof *k->openers);
    for (uint64_t i = 0; rc == 0 && i < c->openers; i++) {
        struct opener *o = &k->openers[i];
        *o = (struct opener){.idle = k, .hist = mem_xcalloc(1, sizeof *o->hist)};
        rc = perf_thread_start(&o->thread, opener_main, o);
        o->is_started = rc == 0;
    }
    uint64_t settled = 0, seconds = 0;
    while (rc == 0 && settled < c->connections && settled != UINT64_MAX) {
        if (perf_stop_wait(0.01))
            atomic_store(&k->failed, 1000);
        uint64_t opened = atomic_load(&k->opened), failed = atomic_load(&k->failed);
        settled = failed > 10 ? UINT64_MAX : opened + failed;
        if (clock_mono_ns() - start > (seconds + 1) * UINT64_C(1000000000)) {
            fprintf(perf_progress(&c->common), "%6llu s  %llu connections open\n",
                    (unsigned long long)++seconds, (unsigned long long)opened);
            fflush(perf_progress(&c->common));
        }
    }
    *ret_seconds = (double)(clock_mono_ns() - start) / 1e9;
    for (uint64_t i = 0; i < c->openers; i++) {
        struct opener *o = &k->openers[i];
        if (o->is_started)
            pthread_join(o->thread, NULL);
        if (o->hist != NULL)
            perf_hist_add(hist, o->hist);
        mem_free(o->hist);
    }
    mem_free(k->openers);
    if (rc < 0 || atomic_load(&k->failed) > 0) {
        perf_complain("%llu connections were opened, then: %s", (unsigned long long)atomic_load(&k->opened),
                      k->error[0] != '\0' ? k->error : "interrupted");
        return -LE_NETWORK;
    }
    return 0;
}

static void
lose(struct idle *k, struct perf_conn *c)
{
    close(c->fd);
    c->fd = -1;
    k->lost++;
}

// Reads and forgets: heartbeats of the broker, or its farewell.
static void
take_events(struct idle *k, double seconds)
{
    struct epoll_event events[256];
    uint8_t scratch[4096];
    int n = epoll_wait(k->epoll_fd, events, LV_ARRAY_LEN(events), (int)(seconds * 1000));
    for (int i = 0; i < n; i++) {
        struct perf_conn *c = events[i].data.ptr;
        ssize_t got = recv(c->fd, scratch, sizeof scratch, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN) || (got > 0 && scratch[0] == FRAME_METHOD))
            lose(k, c);
    }
}

// Of each connection twice an interval, spread evenly over it.
static void
send_heartbeats(struct idle *k, uint64_t *next, uint64_t until)
{
    static const uint8_t heartbeat[] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END};
    for (; *next < until; ++*next) {
        struct perf_conn *c = &k->conns[*next % k->config->connections];
        if (c->fd >= 0 && send(c->fd, heartbeat, sizeof heartbeat, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
            errno != EAGAIN)
            lose(k, c);
    }
}

static void
hold(struct idle *k, double seconds, uint64_t *next_heartbeat)
{
    const struct idle_config *c = k->config;
    uint64_t start = clock_mono_ns(), first = *next_heartbeat;
    double passed = 0;
    while (passed < seconds && !perf_stop_wait(0)) {
        take_events(k, LV_MIN(0.05, seconds - passed));
        passed = (double)(clock_mono_ns() - start) / 1e9;
        if (c->heartbeat_s != 0)
            send_heartbeats(k, next_heartbeat,
                            first + (uint64_t)(passed * 2 / (double)c->heartbeat_s * (double)c->connections));
    }
}

static int
watch_all(struct idle *k)
{
    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; k->epoll_fd >= 0 && i < k->config->connections; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &k->conns[i]};
        if (epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, k->conns[i].fd, &e) != 0)
            return -LE_LIMIT;
    }
    return k->epoll_fd < 0 ? -LE_LIMIT : 0;
}

static void
summarise(struct idle *k, double open_s, double held_s, const struct perf_hist *hist,
          const struct perf_usage *opening, const struct perf_usage *holding)
{
    const struct idle_config *c = k->config;
    double n = (double)c->connections;
    struct perf_report r;
    perf_report_begin(&r, "idle", c->common.is_json);
    perf_report_number(&r, "connections", "connections", n, 0, "");
    perf_report_number(&r, "channels of each", "channels", (double)c->channels, 0, "");
    perf_report_number(&r, "opened in", "open_seconds", open_s, 2, "s");
    perf_report_number(&r, "opened", "opened_per_s", n / LV_MAX(open_s, 1e-9), 0, "/s");
    perf_report_latency(&r, "opening one", "open_latency_us", hist);
    perf_report_number(&r, "held for", "held_seconds", held_s, 1, "s");
    perf_report_number(&r, "ended meanwhile", "lost", (double)k->lost, 0, "");
    if (c->common.pid != 0 && !holding->is_lost) {
        double grown = (double)holding->rss_after - (double)opening->rss_before;
        perf_report_number(&r, "broker memory, each", "broker_bytes_per_connection", grown / n, 0,
                           "bytes a connection");
        perf_report_number(&r, "broker CPU while idle", "broker_idle_cpu_percent",
                           (holding->cpu_after_s - holding->cpu_before_s) * 100 / LV_MAX(held_s, 1e-9), 2,
                           "% of a core");
    }
    perf_report_usage(&r, opening, n, "connection");
    perf_report_print(&r);
}

static int
run(const void *config)
{
    const struct idle_config *c = config;
    struct idle k = {.config = c, .lock = PTHREAD_MUTEX_INITIALIZER, .epoll_fd = -1};
    struct perf_usage opening, holding;
    double open_s = 0;
    uint64_t next_heartbeat = 0;
    if (perf_common_uris(&c->common, &k.uris) < 0)
        return PERF_USAGE;
    if (perf_raise_nofile() < c->connections + 64) {
        perf_complain("only %llu files may be open here (ulimit -Hn)",
                      (unsigned long long)perf_raise_nofile());
        return PERF_FAILED;
    }
    k.conns = mem_xcalloc(c->connections, sizeof *k.conns);
    for (uint64_t i = 0; i < c->connections; i++)
        k.conns[i] = PERF_CONN_INIT;
    struct perf_hist *hist = mem_xcalloc(1, sizeof *hist);
    perf_usage_begin(&opening, c->common.pid);
    int rc = open_all(&k, &open_s, hist);
    if (rc == 0)
        rc = watch_all(&k);
    if (rc == 0) {
        perf_usage_end(&opening);
        hold(&k, c->settle_s, &next_heartbeat);
        perf_usage_begin(&holding, c->common.pid);
        uint64_t start = clock_mono_ns();
        hold(&k, c->hold_s, &next_heartbeat);
        perf_usage_end(&holding);
        summarise(&k, open_s, (double)(clock_mono_ns() - start) / 1e9, hist, &opening, &holding);
    }
    // Politeness costs a round trip each; the sockets are simply closed, which a broker must live with too.
    for (uint64_t i = 0; i < c->connections; i++)
        perf_conn_abort(&k.conns[i]);
    if (k.epoll_fd >= 0)
        close(k.epoll_fd);
    mem_free(k.conns);
    mem_free(hist);
    return rc == 0 && k.lost == 0 ? PERF_OK : PERF_FAILED;
}

static const struct idle_config defaults = {
    .common = PERF_COMMON_DEFAULTS,
    .connections = 1000,
    .channels = 1,
    .heartbeat_s = 60,
    .openers = 4,
    .hold_s = 10,
    .settle_s = 1,
};

#define AT(member) offsetof(struct idle_config, member)

static const struct perf_option options[] = {
    PERF_COMMON_OPTIONS(struct idle_config),
    {OPTION_HEADING, 0, "Connections", 0, NULL, NULL, 0, 0},
    {OPTION_COUNT, 'n', "connections", AT(connections), "N",
     "How many. To one address there are some 28,000 ports; more need several addresses of the broker.", 1,
     10000000},
    {OPTION_COUNT, 0, "channels", AT(channels), "N", "Channels of each; 0 is none.", 0, 65535},
    {OPTION_COUNT, 0, "heartbeat", AT(heartbeat_s), "SECONDS",
     "Asked for, and sent twice in that time; 0 is none.", 0, 65535},
    {OPTION_COUNT, 0, "openers", AT(openers), "N", "Threads that open them.", 1, 256},
    {OPTION_SECONDS, 0, "hold", AT(hold_s), "TIME", "How long to hold them all.", 0, 31536000},
    {OPTION_SECONDS, 0, "settle", AT(settle_s), "TIME", "Before that, for the broker to come to rest.", 0,
     86400},
};

const struct perf_command perf_command_idle = {
    .name = "idle",
    .summary = "many connections that do nothing: what each costs",
    .about = "Opens connections with channels and heartbeats, holds them, and says how long each took to "
             "open, how much the\n"
             "broker's memory grew for each (with --pid), and what it computes while nobody asks anything of "
             "it. Status 1\n"
             "when a connection was refused or ended.",
    .examples = "  leveret-perf idle -n 10k -p $(pidof leveretd)\n"
                "  leveret-perf idle -n 10k --channels 10 --heartbeat 10 --hold 5m\n",
    .options = options,
    .option_count = LV_ARRAY_LEN(options),
    .config_size = sizeof(struct idle_config),
    .defaults = &defaults,
    .run = run,
};
