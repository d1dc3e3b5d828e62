// perf_options.h: the command line of leveret-perf as data: each option's name, kind, place and help in one table, from which
// both the parser and --help are made, so that they cannot differ. Defaults are what the configuration holds before parsing.
//
// Written `--name value`, `--name=value`, `-n value`; flags have no value and a `--no-name`. Text values point into argv.
#pragma once

#include "src/base/buf.h"
#include "src/base/lv.h"

enum perf_option_kind {
    OPTION_HEADING, // a line of the help, nothing else
    OPTION_FLAG,    // bool
    OPTION_TEXT,    // const char *
    OPTION_COUNT,   // uint64_t: 1000, 10k, 2M, 1G (thousands)
    OPTION_SIZE,    // uint64_t, bytes: 16, 4KiB, 1MiB; k, M, G are KiB, MiB, GiB
    OPTION_SECONDS, // double: 10, 10s, 500ms, 2m, 1h
    OPTION_RATE,    // double, per second: 2000, 10k, 0.5
    OPTION_ARGS,    // struct buf: the content of a field table, from key=value,key=value; several add up
};

struct perf_option {
    enum perf_option_kind kind;
    char letter;          // 0: none
    const char *name;     // without dashes; of a heading its text
    size_t offset;        // of the value in the command's configuration
    const char *argument; // what the help calls the value: "N", "URI"
    const char *help;     // one or more sentences, without the default
    double min, max;      // of numbers; both 0: any
};

struct perf_command {
    const char *name;
    const char *summary;  // one line
    const char *about;    // paragraphs for --help
    const char *examples; // lines for --help
    const struct perf_option *options;
    size_t option_count;
    size_t config_size;             // bytes
    const void *defaults;           // config_size bytes
    int (*run)(const void *config); // exit status
};

// Fills config, which holds the defaults. 0; 1 when help was asked for; -LE_INVAL with a line for a person in `error`.
LV_MUST_USE int perf_options_parse(const struct perf_command *command, int argc, char **argv, void *config,
                                   struct buf *error);
// Frees what parsing allocated.
void perf_options_fini(const struct perf_command *command, void *config);
// The whole --help, at most 100 columns wide.
void perf_options_help(const struct perf_command *command, struct buf *out);

// The values alone, for tests; false when the text is none.
bool perf_parse_count(const char *text, uint64_t *ret);
bool perf_parse_size(const char *text, uint64_t *ret);
bool perf_parse_seconds(const char *text, double *ret);
bool perf_parse_rate(const char *text, double *ret);
// key=value,key=value: numbers become signed 64-bit, true and false bools, the rest long strings; 'text' keeps a number a text.
bool perf_parse_args(const char *text, struct buf *table);
