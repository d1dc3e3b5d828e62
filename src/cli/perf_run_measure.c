// perf_run_measure.c: the clock of a run: warm-up, window, live lines, the end, the summary.
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_proc.h"
#include "src/cli/perf_run.h"

enum { TICK_MS = 20, DRAIN_MS = 100, QUIET_END_MS = 2000 };

// All counters at one moment.
struct moment {
    uint64_t time_ns;
    uint64_t published, confirmed, nacked, consumed, redelivered, last_ns;
    uint64_t first_ns; // of the first message consumed; 0: none
    struct perf_hist confirm, delivery;
};

struct measure {
    struct run *run;
    struct perf_usage usage;
    uint64_t start_ns;                // of the threads
    struct moment *begin, *end;       // of the window
    struct moment *before, *now;      // of the live line
    double broker_cpu_s;              // at `before`
    uint64_t disk_before, disk_after; // bytes written, with --disk
    bool has_disk;
    uint64_t lines;
    bool is_interrupted;
};

static uint64_t
load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
take_moment(const struct run *r, struct moment *m)
{
    memset(m, 0, sizeof *m);
    m->time_ns = clock_mono_ns();
    for (size_t i = 0; i < r->thread_count; i++) {
        const struct run_thread *t = &r->threads[i];
        m->published += load(&t->counts.published);
        m->confirmed += load(&t->counts.confirmed);
        m->nacked += load(&t->counts.nacked);
        m->consumed += load(&t->counts.consumed);
        m->redelivered += load(&t->counts.redelivered);
        uint64_t first_ns = load(&t->counts.first_ns), last_ns = load(&t->counts.last_ns);
        m->last_ns = LV_MAX(m->last_ns, last_ns);
        if (first_ns != 0)
            m->first_ns = m->first_ns == 0 ? first_ns : LV_MIN(m->first_ns, first_ns);
        perf_hist_add(&m->confirm, t->confirm_hist);
        perf_hist_add(&m->delivery, t->delivery_hist);
    }
}

static void
append_rate(struct buf *b, const char *name, uint64_t before, uint64_t now, double seconds)
{
    char text[40];
    buf_printf(b, "  %s %s/s", name, perf_grouped((double)(now - before) / seconds, 0, text));
}

static void
append_live_latency(struct buf *b, const char *name, struct perf_hist *now, const struct perf_hist *before)
{
    perf_hist_subtract(now, before);
    if (perf_hist_count(now) > 0)
        buf_printf(b, "  %s ms p50 %.2f p99 %.2f max %.2f", name,
                   (double)perf_hist_percentile(now, 0.5) / 1e6,
                   (double)perf_hist_percentile(now, 0.99) / 1e6, (double)perf_hist_percentile(now, 1) / 1e6);
}

static bool
is_blocked(const struct run *r)
{
    for (size_t i = 0; i < r->thread_count; i++)
        for (size_t k = 0; k < r->threads[i].producer_count; k++)
            if (run_producer_is_blocked(r->threads[i].producers[k]))
                return true;
    return false;
}

static void
live_line(struct measure *m)
{
    const struct run_config *c = m->run->config;
    struct buf b = BUF_INIT;
    take_moment(m->run, m->now);
    struct moment *now = m->now, *before = m->before;
    double seconds = (double)(now->time_ns - before->time_ns) / 1e9;
    buf_printf(&b, "%6.1f s", (double)(now->time_ns - m->start_ns) / 1e9);
    if (c->producers > 0)
        append_rate(&b, "published", before->published, now->published, seconds);
    if (c->confirm > 0 && c->producers > 0)
        append_rate(&b, "confirmed", before->confirmed, now->confirmed, seconds);
    if (c->consumers > 0)
        append_rate(&b, "consumed", before->consumed, now->consumed, seconds);
    // The copies are for this line alone: the next one begins with fresh ones.
    struct moment *kept = mem_xalloc(sizeof *kept);
    *kept = *now;
    append_live_latency(&b, "delivery", &now->delivery, &before->delivery);
    append_live_latency(&b, "confirm", &now->confirm, &before->confirm);
    struct perf_proc p;
    if (c->common.pid != 0 && perf_proc_sample((pid_t)c->common.pid, &p) == 0) {
        uint64_t units = LV_MAX(now->published - before->published, now->consumed - before->consumed);
        buf_printf(&b, "  broker %.2f us/msg %.0f MiB",
                   (p.cpu_s - m->broker_cpu_s) * 1e6 / (double)LV_MAX(units, UINT64_C(1)),
                   (double)p.rss_bytes / 1048576.0);
        m->broker_cpu_s = p.cpu_s;
    }
    if (is_blocked(m->run))
        buf_append_str(&b, "  BLOCKED by the broker");
    if (!c->is_quiet)
        fprintf(perf_progress(&c->common), "%s\n", buf_cstr(&b));
    fflush(perf_progress(&c->common));
    *before = *kept;
    mem_free(kept);
    buf_fini(&b);
    perf_usage_sample(&m->usage);
}

// With --messages: everything was published, confirmed, and has arrived (or nothing arrives any more: a topic exchange may
// have sent it nowhere); without producers, so many have arrived.
static bool
is_finished(const struct run *r)
{
    const struct run_config *c = r->config;
    if (c->messages == 0 || load(&r->producers_done) < c->producers)
        return false;
    uint64_t consumed = 0, last = 0, expected = LV_MAX(c->producers, UINT64_C(1)) * c->messages;
    for (size_t i = 0; i < r->thread_count; i++) {
        consumed += load(&r->threads[i].counts.consumed);
        uint64_t last_ns = load(&r->threads[i].counts.last_ns);
        last = LV_MAX(last, last_ns);
    }
    if (c->producers == 0)
        return consumed >= expected;
    if (*c->exchange != '\0')
        expected = UINT64_MAX; // copies, or none: nobody knows
    return c->consumers == 0 || consumed >= expected ||
           clock_mono_ns() - last > QUIET_END_MS * UINT64_C(1000000);
}

// Until `until_ns`; false when the run is over before.
static bool
watch(struct measure *m, uint64_t until_ns)
{
    for (;;) {
        uint64_t now = clock_mono_ns(), next_line = m->start_ns + (m->lines + 1) * UINT64_C(1000000000);
        if (now >= next_line) {
            m->lines = (now - m->start_ns) / 1000000000;
            live_line(m);
        }
        if (atomic_load_explicit(&m->run->is_failed, memory_order_acquire) || is_finished(m->run))
            return false;
        if (now >= until_ns)
            return true;
        uint64_t left = LV_MIN(until_ns, LV_MAX(next_line, now + 1)) - now;
        m->is_interrupted = perf_stop_wait((double)LV_MIN(left, TICK_MS * UINT64_C(1000000)) / 1e9);
        if (m->is_interrupted)
            return false;
    }
}

static void
print_summary(struct measure *m)
{
    const struct run_config *c = m->run->config;
    struct moment *a = m->begin, *b = m->end;
    struct perf_report report;
    // With --messages the time ends with the last arrival, not when it was noticed.
    uint64_t end_ns =
        c->messages != 0 && b->last_ns > a->time_ns && is_finished(m->run) ? b->last_ns : b->time_ns;
    double seconds = LV_MAX((double)(end_ns - a->time_ns) / 1e9, 1e-9);
    uint64_t published = b->published - a->published, consumed = b->consumed - a->consumed;
    perf_report_begin(&report, "run", c->common.is_json);
    perf_report_number(&report, "measured", "seconds", seconds, 3, "s");
    perf_report_number(&report, "published", "published", (double)published, 0, "messages");
    perf_report_number(&report, "published, mean", "published_per_s", (double)published / seconds, 0, "/s");
    if (c->confirm > 0) {
        uint64_t confirmed = b->confirmed - a->confirmed;
        perf_report_number(&report, "confirmed", "confirmed", (double)confirmed, 0, "messages");
        perf_report_number(&report, "confirmed, mean", "confirmed_per_s", (double)confirmed / seconds, 0,
                           "/s");
        perf_report_number(&report, "refused (nack)", "nacked", (double)(b->nacked - a->nacked), 0,
                           "messages");
    }
    if (c->consumers > 0) {
        perf_report_number(&report, "consumed", "consumed", (double)consumed, 0, "messages");
        perf_report_number(&report, "consumed, mean", "consumed_per_s", (double)consumed / seconds, 0, "/s");
        perf_report_number(&report, "redelivered", "redelivered", (double)(b->redelivered - a->redelivered),
                           0, "messages");
    }
    if (c->connect_within_s > 0) {
        const struct run *r = m->run;
        perf_report_number(&report, "let in after", "connected_ms",
                           (double)(r->connected_ns - r->start_ns) / 1e6, 1, "ms");
        if (b->first_ns != 0)
            perf_report_number(&report, "first delivery after", "first_delivery_ms",
                               (double)(b->first_ns - r->start_ns) / 1e6, 1, "ms");
    }
    perf_hist_subtract(&b->confirm, &a->confirm);
    perf_hist_subtract(&b->delivery, &a->delivery);
    perf_report_latency(&report, "publish to confirm", "confirm_latency_us", &b->confirm);
    perf_report_latency(&report, "publish to delivery", "delivery_latency_us", &b->delivery);
    if (m->has_disk)
        perf_report_number(&report, "disk", "disk_written_bytes_per_message",
                           (double)(m->disk_after - m->disk_before) /
                               (double)LV_MAX(LV_MAX(published, consumed), UINT64_C(1)),
                           0, "bytes written a message");
    perf_report_usage(&report, &m->usage, (double)LV_MAX(published, consumed), "message");
    perf_report_print(&report);
}

static bool
measure_window(struct measure *m)
{
    const struct run_config *c = m->run->config;
    m->start_ns = clock_mono_ns();
    m->before->time_ns = m->start_ns;
    struct perf_proc p;
    if (c->common.pid != 0 && perf_proc_sample((pid_t)c->common.pid, &p) == 0)
        m->broker_cpu_s = p.cpu_s;
    bool is_timed = c->messages == 0;
    uint64_t begin_ns = m->start_ns + (is_timed ? (uint64_t)(c->warmup_s * 1e9) : 0);
    if (is_timed && !watch(m, begin_ns))
        return false;
    take_moment(m->run, m->begin);
    m->begin->time_ns = LV_MAX(m->begin->time_ns, begin_ns);
    if (!is_timed)
        memset(m->begin, 0, sizeof *m->begin), m->begin->time_ns = m->start_ns;
    perf_usage_begin(&m->usage, c->common.pid);
    m->has_disk = c->disk != NULL && perf_disk_written(c->disk, &m->disk_before) == 0;
    bool is_endless = !is_timed || c->duration_s <= 0;
    (void)watch(m, is_endless ? UINT64_MAX : begin_ns + (uint64_t)(c->duration_s * 1e9));
    take_moment(m->run, m->end);
    perf_usage_end(&m->usage);
    m->has_disk = m->has_disk && perf_disk_written(c->disk, &m->disk_after) == 0;
    return true;
}

int
run_measure(struct run *r)
{
    struct measure m = {.run = r};
    m.begin = mem_xcalloc(4, sizeof *m.begin);
    m.end = m.begin + 1;
    m.before = m.begin + 2;
    m.now = m.begin + 3;
    perf_usage_begin(&m.usage, r->config->common.pid);
    bool has_window = run_threads_start(r) == 0 && measure_window(&m);
    run_threads_phase(r, RUN_DRAINING);
    perf_stop_wait(DRAIN_MS / 1e3);
    run_threads_join(r);
    if (has_window)
        print_summary(&m);
    mem_free(m.begin);
    if (atomic_load_explicit(&r->is_failed, memory_order_acquire)) {
        perf_complain("%s", r->error);
        return PERF_FAILED;
    }
    return PERF_OK;
}
