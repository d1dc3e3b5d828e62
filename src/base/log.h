// log.h: the structured log: one line an event, "subject: what happened", plain text or JSON, by category and
// level.
//
// Any thread may log; a line is written with one write(2) or handed to the sinks under the log's own mutex
// (rank: leaf). Control bytes in the text are escaped. Secrets are never formatted: types that hold them have
// no printer. Library code returns errors; the owner of the consequence logs, never both.
#pragma once

#include "src/base/err.h"
#include "src/base/lv.h"
#include "src/base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_NONE };

// RabbitMQ's categories (log.<category>.level), and ours.
enum log_category {
    LOG_DEFAULT,
    LOG_CONNECTION,
    LOG_CHANNEL,
    LOG_QUEUE,
    LOG_STORE,
    LOG_MIRRORING,
    LOG_FEDERATION,
    LOG_HTTP,
    LOG_UPGRADE,
    LOG_CATEGORY_COUNT
};

struct log_config {
    const char *file;          // path, or NULL for none
    enum log_level file_level; // least level written to the file
    bool is_console;           // write to standard error (stdout when console_stdout)
    bool is_console_stdout;
    enum log_level console_level;
    bool is_json; // JSON lines instead of text, for console and file
    enum log_level category_level[LOG_CATEGORY_COUNT];
};

// Applies a configuration; callable again (SIGHUP), also to reopen the file. 0 or -LE_xxx (the file cannot be
// opened: the earlier configuration stays in force). Before the first call warnings and above go to standard
// error.
LV_MUST_USE int log_configure(const struct log_config *config);

// One more reader of lines, beside console and file: gets every line at or above its level, newline included, on the
// thread that logs and under the log's mutex: it must not log nor wait. One at a time; NULL: none any more.
typedef void (*log_tap_fn)(enum log_level level, struct slice line);
void log_set_tap(log_tap_fn tap, enum log_level level);

bool log_is_on(enum log_category category, enum log_level level);
void log_at(enum log_category category, enum log_level level, const char *fmt, ...) LV_PRINTF(3, 4);

#define log_debug(cat, ...)    (log_is_on((cat), LOG_DEBUG) ? log_at((cat), LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(cat, ...)     log_at((cat), LOG_INFO, __VA_ARGS__)
#define log_notice(cat, ...)   log_at((cat), LOG_NOTICE, __VA_ARGS__)
#define log_warn(cat, ...)     log_at((cat), LOG_WARNING, __VA_ARGS__)
#define log_error(cat, ...)    log_at((cat), LOG_ERROR, __VA_ARGS__)
#define log_critical(cat, ...) log_at((cat), LOG_CRITICAL, __VA_ARGS__)

// "debug", "info", … to a level; -LE_INVAL for anything else.
LV_MUST_USE int log_level_parse(struct slice text, enum log_level *ret_level);
const char *log_level_text(enum log_level level);
