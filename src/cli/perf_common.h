// perf_common.h: what the commands of leveret-perf share: the options each has, exit statuses, stopping by Ctrl-C, and small
// steps on a connection.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "src/cli/perf_conn.h"
#include "src/cli/perf_options.h"

enum {
    PERF_OK = 0,
    PERF_FAILED = 1, // something went wrong, or verify found something
    PERF_USAGE = 2,  // the command line
};

// First member of each command's configuration.
struct perf_common {
    const char *uri; // one or more, separated by commas
    uint64_t pid;    // the broker's process, 0: not given
    bool is_json;
    double timeout_s; // for each answer of the broker
};

#define PERF_COMMON_DEFAULTS                                                                                 \
    {                                                                                                        \
        .uri = "amqp://guest:guest@127.0.0.1:5672/", .timeout_s = 30                                         \
    }

// The options of struct perf_common, for a configuration type whose member `common` it is.
#define PERF_COMMON_OPTIONS(type)                                                                            \
    {OPTION_HEADING, 0, "Broker", 0, NULL, NULL, 0, 0},                                                      \
        {OPTION_TEXT, 'u',                                                                                   \
         "uri",       offsetof(type, common.uri),                                                            \
         "URI",       "The broker, or several nodes separated by commas, tried in turn.",                    \
         0,           0},                                                                                    \
        {OPTION_COUNT,                                                                                       \
         'p',                                                                                                \
         "pid",                                                                                              \
         offsetof(type, common.pid),                                                                         \
         "PID",                                                                                              \
         "The broker's process on this machine: its CPU time and memory are reported.",                      \
         1,                                                                                                  \
         4194304},                                                                                           \
        {OPTION_SECONDS,                                                                                     \
         0,                                                                                                  \
         "timeout",                                                                                          \
         offsetof(type, common.timeout_s),                                                                   \
         "TIME",                                                                                             \
         "How long to wait for an answer.",                                                                  \
         0.1,                                                                                                \
         86400},                                                                                             \
    {                                                                                                        \
        OPTION_FLAG, 0, "json", offsetof(type, common.is_json), NULL,                                        \
            "The summary as JSON on standard output; all else goes to standard error.", 0, 0                 \
    }

extern const struct perf_command perf_command_run;
extern const struct perf_command perf_command_verify;
extern const struct perf_command perf_command_idle;
extern const struct perf_command perf_command_declare;
extern const struct perf_command perf_command_churn;

// Where progress goes: standard output, or standard error when that is for JSON.
FILE *perf_progress(const struct perf_common *c);
// Parses the URIs; says why on standard error when it cannot.
LV_MUST_USE int perf_common_uris(const struct perf_common *c, struct perf_uris *ret);
// "leveret-perf: message" on standard error.
void perf_complain(const char *fmt, ...) LV_PRINTF(1, 2);

// From here on SIGINT and SIGTERM are remembered, and a second one ends the process; SIGPIPE is ignored.
void perf_stop_init(void);
// Sleeps, at most so long; 0 only asks. True when a signal has come.
bool perf_stop_wait(double seconds);
// A thread that takes no signals. 0 or -LE_NOMEM.
LV_MUST_USE int perf_thread_start(pthread_t *ret, void *(*fn)(void *), void *ctx);

// A queue's name of a pattern with one %d (or none: then the number is appended when there are several).
void perf_queue_name(const char *pattern, uint64_t number, uint64_t count, char ret[static 256]);

struct perf_queue_options {
    const char *name;
    bool is_durable;
    bool is_quorum;
    struct slice arguments; // of --queue-args
};

// Declares a queue; *ret_existed: it was there before, and was taken as it is. May use channel `channel` for the asking, which
// is open before and after.
LV_MUST_USE int perf_declare_queue(struct perf_conn *c, uint16_t channel, const struct perf_queue_options *q,
                                   bool *ret_existed);
// The frame of a declare alone, appended to c->out.
void perf_append_declare(struct perf_conn *c, uint16_t channel, const struct perf_queue_options *q);
LV_MUST_USE int perf_delete_queue(struct perf_conn *c, uint16_t channel, const char *name);
