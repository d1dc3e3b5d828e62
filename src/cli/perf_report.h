// perf_report.h: numbers for people and for programs: the summary as aligned lines or as JSON, latencies, counts.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"
#include "src/cli/perf_hist.h"

// A summary is a list of members, each with a name, a value and a unit; written as lines for a person, or as one JSON object
// whose names end in the unit ("published_per_s"). Owned by one thread.
struct perf_report {
    struct buf out; // what perf_report_print writes
    bool is_json;
    bool has_member; // a comma is due
};

void perf_report_begin(struct perf_report *r, const char *title, bool is_json);
// label: for people ("published"), key: for programs, unit: for people, may be "".
void perf_report_number(struct perf_report *r, const char *label, const char *key, double value, int decimals,
                        const char *unit);
void perf_report_text(struct perf_report *r, const char *label, const char *key, const char *value);
void perf_report_flag(struct perf_report *r, const char *label, const char *key, const char *yes_or_no,
                      bool value);
// Percentiles in microseconds (JSON) or milliseconds; nothing for people when the histogram is empty.
void perf_report_latency(struct perf_report *r, const char *label, const char *key,
                         const struct perf_hist *h);
// Ends it, writes it to standard output and frees it.
void perf_report_print(struct perf_report *r);

// 1234567 becomes "1,234,567"; decimals behind a point.
const char *perf_grouped(double value, int decimals, char ret[static 40]);
// Appends a text with JSON's escapes, in quotes.
void perf_json_quote(struct buf *out, const char *text);

// Samples of a broker's process around what is measured; pid 0: none, and all of these do nothing.
struct perf_usage {
    int pid;
    bool is_lost; // the process went away
    double cpu_before_s, cpu_after_s;
    uint64_t rss_before, rss_after, rss_peak; // bytes
    uint64_t anon_after;                      // bytes
    double own_before_s, own_after_s;         // CPU of this program
};

void perf_usage_begin(struct perf_usage *u, uint64_t pid);
void perf_usage_sample(struct perf_usage *u); // between: only the peak
void perf_usage_end(struct perf_usage *u);
// CPU per `unit_name` ("message"), memory before, after, peak.
void perf_report_usage(struct perf_report *r, const struct perf_usage *u, double units,
                       const char *unit_name);
