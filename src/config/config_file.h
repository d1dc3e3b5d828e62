// config_file.h: the reader of RabbitMQ's configuration files, as cuttlefish 3.0 (RabbitMQ 3.10) reads them.
//
// A line is a setting `key = value`, `include PATTERN`, a comment or blank. Spaces around key and value are
// taken off. `#` starts a comment wherever it stands, also right behind a value; `;` is an ordinary
// character. Quotes are part of the value: later versions of RabbitMQ take single quotes off, so their use is
// told. A value cannot be empty. Text is UTF-8. Pure; any thread.
#pragma once

#include "src/base/buf.h"
#include "src/base/slice.h"

// LIMIT: what a configuration may consist of.
enum {
    CONFIG_FILE_BYTES_MAX = 1024 * 1024, // of one file
    CONFIG_LINE_BYTES_MAX = 8192,
    CONFIG_VALUE_BYTES_MAX = 4096, // after substitution
    CONFIG_FILES_MAX = 256,        // main files, conf.d and includes together
    CONFIG_INCLUDE_DEPTH_MAX = 8,
    CONFIG_SETTINGS_MAX = 2048, // different keys
    CONFIG_SUBSTITUTIONS_MAX = 10000,
    CONFIG_PROBLEMS_MAX = 20, // told; further ones are only counted
};

// Where problems and warnings go, a line each.
struct config_report {
    struct buf *problems;
    struct buf *warnings;
    unsigned problem_count;
    unsigned warning_count;
};

void config_problem(struct config_report *report, const char *fmt, ...) LV_PRINTF(2, 3);
void config_warning(struct config_report *report, const char *fmt, ...) LV_PRINTF(2, 3);

struct config_line {
    struct slice key; // as written, dots escaped; empty for an include
    struct slice value;
    unsigned line; // from 1
    bool is_include;
};

// Called for each setting and include, in order. Slices are valid during the call. Not 0: stop, with this
// result.
typedef int (*config_line_fn)(void *ctx, const struct config_line *line);

// Reads a whole text. Malformed lines are reported, with `name` and line, and skipped. 0, or what the
// function returned.
LV_MUST_USE int config_text_read(struct slice text, const char *name, struct config_report *report,
                                 config_line_fn fn, void *ctx);

// Copies the text of a value or key for messages: control bytes as '?', cut with "…" at about 60 bytes.
const char *config_printable(struct slice text, char *out, size_t size);

// Without spaces and tabs at both ends.
struct slice config_trim(struct slice s);
