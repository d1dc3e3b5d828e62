// perf_report.c: see perf_report.h.
#include "src/cli/perf_report.h"

#include <math.h>

#include "src/cli/perf_proc.h"

enum { LABEL_WIDTH = 26 };

const char *
perf_grouped(double value, int decimals, char ret[static 40])
{
    char plain[40];
    // LIMIT: 10^18 and above are not counts of anything here.
    if (!(fabs(value) < 1e18))
        value = 0;
    int len = snprintf(plain, sizeof plain, "%.*f", decimals, value);
    int point = decimals > 0 ? len - decimals - 1 : len;
    int used = 0;
    for (int i = 0; i < len && used < 38; i++) {
        bool is_digit_before = i > 0 && plain[i - 1] != '-';
        if (i < point && is_digit_before && (point - i) % 3 == 0)
            ret[used++] = ',';
        ret[used++] = plain[i];
    }
    ret[used] = '\0';
    return ret;
}

void
perf_json_quote(struct buf *out, const char *text)
{
    buf_append_u8(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            buf_printf(out, "\\u%04x", c);
        else
            buf_append_u8(out, c);
    }
    buf_append_u8(out, '"');
}

void
perf_report_begin(struct perf_report *r, const char *title, bool is_json)
{
    *r = (struct perf_report){.is_json = is_json};
    if (is_json) {
        buf_append_str(&r->out, "{");
        perf_report_text(r, "", "command", title);
        perf_report_text(r, "", "version", LEVERET_VERSION);
    } else {
        buf_printf(&r->out, "\n%s\n", title);
    }
}

// What comes before a value.
static void
member(struct perf_report *r, const char *label, const char *key)
{
    if (!r->is_json) {
        buf_printf(&r->out, "  %-*s ", LABEL_WIDTH, label);
        return;
    }
    buf_append_str(&r->out, r->has_member ? ",\n " : "\n ");
    r->has_member = true;
    perf_json_quote(&r->out, key);
    buf_append_str(&r->out, ": ");
}

void
perf_report_number(struct perf_report *r, const char *label, const char *key, double value, int decimals,
                   const char *unit)
{
    char text[40];
    member(r, label, key);
    if (!isfinite(value))
        value = 0;
    if (r->is_json)
        buf_printf(&r->out, "%.*f", decimals, value);
    else
        buf_printf(&r->out, "%s%s%s\n", perf_grouped(value, decimals, text), *unit != '\0' ? " " : "", unit);
}

void
perf_report_text(struct perf_report *r, const char *label, const char *key, const char *value)
{
    member(r, label, key);
    if (r->is_json)
        perf_json_quote(&r->out, value);
    else
        buf_printf(&r->out, "%s\n", value);
}

void
perf_report_flag(struct perf_report *r, const char *label, const char *key, const char *yes_or_no, bool value)
{
    member(r, label, key);
    if (r->is_json)
        buf_append_str(&r->out, value ? "true" : "false");
    else
        buf_printf(&r->out, "%s\n", yes_or_no);
}

static const struct {
    const char *name;
    double part;
} percentiles[] = {{"p50", 0.5},  {"p75", 0.75},   {"p90", 0.9},     {"p95", 0.95},
                   {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};

void
perf_report_latency(struct perf_report *r, const char *label, const char *key, const struct perf_hist *h)
{
    uint64_t count = perf_hist_count(h);
    if (count == 0 && !r->is_json)
        return;
    member(r, label, key);
    double unit = r->is_json ? 1e3 : 1e6;
    int decimals = r->is_json ? 1 : 3;
    if (r->is_json)
        buf_printf(&r->out, "{\"count\": %llu, \"mean\": %.1f", (unsigned long long)count,
                   perf_hist_mean(h) / unit);
    else
        buf_printf(&r->out, "mean %.3f", perf_hist_mean(h) / unit);
    for (size_t i = 0; i < LV_ARRAY_LEN(percentiles); i++) {
        double value = (double)perf_hist_percentile(h, percentiles[i].part) / unit;
        buf_printf(&r->out, r->is_json ? ", \"%s\": %.*f" : "  %s %.*f", percentiles[i].name, decimals,
                   value);
    }
    double max = (double)atomic_load_explicit(&h->max, memory_order_relaxed) / unit;
    buf_printf(&r->out, r->is_json ? ", \"max\": %.*f}" : "  max %.*f ms\n", decimals, max);
}

void
perf_report_print(struct perf_report *r)
{
    if (r->is_json)
        buf_append_str(&r->out, "\n}\n");
    fwrite(r->out.ptr, 1, r->out.len, stdout);
    fflush(stdout);
    buf_fini(&r->out);
}

void
perf_usage_begin(struct perf_usage *u, uint64_t pid)
{
    struct perf_proc p;
    *u = (struct perf_usage){.pid = (int)pid, .own_before_s = perf_own_cpu_s()};
    if (pid == 0)
        return;
    u->is_lost = perf_proc_sample(u->pid, &p) < 0;
    if (u->is_lost)
        return;
    u->cpu_before_s = p.cpu_s;
    u->rss_before = u->rss_after = u->rss_peak = p.rss_bytes;
}

void
perf_usage_sample(struct perf_usage *u)
{
    struct perf_proc p;
    if (u->pid != 0 && !u->is_lost && perf_proc_sample(u->pid, &p) == 0)
        u->rss_peak = LV_MAX(u->rss_peak, p.rss_bytes);
}

void
perf_usage_end(struct perf_usage *u)
{
    struct perf_proc p;
    u->own_after_s = perf_own_cpu_s();
    if (u->pid == 0 || u->is_lost)
        return;
    u->is_lost = perf_proc_sample(u->pid, &p) < 0;
    if (u->is_lost)
        return;
    u->cpu_after_s = p.cpu_s;
    u->rss_after = p.rss_bytes;
    u->rss_peak = LV_MAX(u->rss_peak, p.rss_bytes);
    u->anon_after = p.anon_bytes;
}

void
perf_report_usage(struct perf_report *r, const struct perf_usage *u, double units, const char *unit_name)
{
    char label[64], key[64], unit[64];
    double mib = 1048576.0;
    units = LV_MAX(units, 1.0);
    snprintf(unit, sizeof unit, "us of CPU a %s", unit_name);
    if (u->pid != 0 && !u->is_lost) {
        snprintf(key, sizeof key, "broker_cpu_us_per_%s", unit_name);
        perf_report_number(r, "broker", key, (u->cpu_after_s - u->cpu_before_s) * 1e6 / units, 3, unit);
        perf_report_number(r, "broker memory before", "broker_rss_before_mib", (double)u->rss_before / mib, 1,
                           "MiB");
        perf_report_number(r, "broker memory after", "broker_rss_after_mib", (double)u->rss_after / mib, 1,
                           "MiB");
        perf_report_number(r, "broker memory, peak", "broker_rss_peak_mib", (double)u->rss_peak / mib, 1,
                           "MiB");
        perf_report_number(r, "broker heap after", "broker_anon_after_mib", (double)u->anon_after / mib, 1,
                           "MiB");
    } else if (u->pid != 0) {
        snprintf(label, sizeof label, "process %d has ended", u->pid);
        perf_report_text(r, "broker", "broker_error", label);
    }
    snprintf(key, sizeof key, "client_cpu_us_per_%s", unit_name);
    perf_report_number(r, "this program", key, (u->own_after_s - u->own_before_s) * 1e6 / units, 3, unit);
}
