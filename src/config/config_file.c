// config_file.c: lines to settings. A line that is no good does not end the reading: people want to see all
// mistakes at once.
#include "src/config/config_file.h"

#include <stdio.h>

#include "src/base/utf8.h"
#include "src/config/config_keys.h"

static void report_line(struct buf *out, unsigned count, const char *fmt, va_list ap) LV_PRINTF(3, 0);

static void
report_line(struct buf *out, unsigned count, const char *fmt, va_list ap)
{
    if (count > CONFIG_PROBLEMS_MAX)
        return;
    if (count == CONFIG_PROBLEMS_MAX) {
        buf_append_str(out, "more of the same kind is not shown\n");
        return;
    }
    buf_vprintf(out, fmt, ap);
    buf_append_str(out, "\n");
}

void
config_problem(struct config_report *report, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report_line(report->problems, report->problem_count, fmt, ap);
    va_end(ap);
    if (report->problem_count <= CONFIG_PROBLEMS_MAX)
        report->problem_count++;
}

void
config_warning(struct config_report *report, const char *fmt, ...)
{
    // A real rabbitmq.conf has many keys without effect here: all are told, bounded by CONFIG_SETTINGS_MAX.
    va_list ap;
    va_start(ap, fmt);
    report_line(report->warnings, 0, fmt, ap);
    va_end(ap);
    report->warning_count++;
}

const char *
config_printable(struct slice text, char *out, size_t size)
{
    enum { SHOWN = 60 };
    size_t len = 0;
    size_t shown = LV_MIN(LV_MIN(text.len, (size_t)SHOWN), size - 4);
    // Not in the middle of a UTF-8 sequence.
    while (shown < text.len && shown > 0 && (text.ptr[shown] & 0xC0) == 0x80)
        shown--;
    for (size_t i = 0; i < shown; i++)
        out[len++] = (char)((text.ptr[i] < 0x20 || text.ptr[i] == 0x7F) ? '?' : text.ptr[i]);
    if (shown < text.len) {
        memcpy(out + len, "…", 3);
        len += 3;
    }
    out[len] = '\0';
    return out;
}

static bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct slice
config_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = slice_from(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s = slice_head(s, s.len - 1);
    return s;
}

struct reader {
    const char *name;
    unsigned line;
    struct config_report *report;
};

// A control byte other than tab; what an editor would not show.
static bool
has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7F)
            return true;
    }
    return false;
}

// Cuts the comment off and tells what may not be meant so. False: the line is refused.
static bool
cut_comment(struct reader *r, struct slice key, struct slice *value)
{
    char shown[80];
    const uint8_t *hash = value->len > 0 ? memchr(value->ptr, '#', value->len) : NULL;
    bool is_glued = hash != NULL && hash > value->ptr && !is_blank(hash[-1]);
    if (hash != NULL)
        *value = config_trim(slice_head(*value, (size_t)(hash - value->ptr)));
    config_printable(key, shown, sizeof shown);
    if (value->len == 0) {
        config_problem(r->report, "%s:%u: '%s' has no value", r->name, r->line, shown);
        return false;
    }
    bool is_open = value->ptr[0] == '\'';
    bool is_closed = is_open && value->len > 1 && value->ptr[value->len - 1] == '\'';
    if (is_open && !is_closed && hash != NULL) {
        // RabbitMQ 3.10 would take half of it silently; later ones all of it. Neither can be guessed.
        config_problem(
            r->report,
            "%s:%u: the value of '%s' is quoted and holds '#', where a comment starts; put it into the "
            "environment or a file and write $(NAME) or $(<FILE)",
            r->name, r->line, shown);
        return false;
    }
    if (is_closed)
        config_warning(r->report,
                       "%s:%u: the quotes are part of the value of '%s', as in RabbitMQ 3.10 (RabbitMQ 4 "
                       "takes them off)",
                       r->name, r->line, shown);
    if (is_glued)
        config_warning(r->report, "%s:%u: the value of '%s' ends at '#', where a comment starts", r->name,
                       r->line, shown);
    return true;
}

// `include PATTERN [# comment]`; false when the line is no include.
static bool
parse_include(struct slice line, struct slice *ret_pattern)
{
    struct slice word = SLICE_LIT("include");
    if (!slice_has_prefix(line, word) || line.len == word.len || !is_blank(line.ptr[word.len]))
        return false;
    struct slice rest = config_trim(slice_from(line, word.len));
    const uint8_t *hash = rest.len > 0 ? memchr(rest.ptr, '#', rest.len) : NULL;
    if (hash != NULL)
        rest = config_trim(slice_head(rest, (size_t)(hash - rest.ptr)));
    *ret_pattern = rest;
    return rest.len > 0;
}

static int
read_line(struct reader *r, struct slice text, config_line_fn fn, void *ctx)
{
    struct config_key_parts parts;
    struct config_line line = {.line = r->line};
    struct slice s = config_trim(text);
    char shown[80];
    if (s.len == 0 || s.ptr[0] == '#')
        return 0;
    if (text.len > CONFIG_LINE_BYTES_MAX) {
        config_problem(r->report, "%s:%u: the line is longer than %d bytes", r->name, r->line,
                       CONFIG_LINE_BYTES_MAX);
        return 0;
    }
    if (has_control(s) || !utf8_is_valid(s)) {
        config_problem(r->report, "%s:%u: the line holds a control character or is not UTF-8", r->name,
                       r->line);
        return 0;
    }
    const uint8_t *equals = memchr(s.ptr, '=', s.len);
    if (equals == NULL) {
        line.is_include = parse_include(s, &line.value);
        if (line.is_include)
            return fn(ctx, &line);
        config_problem(r->report, "%s:%u: expected 'key = value'", r->name, r->line);
        return 0;
    }
    line.key = config_trim(slice_head(s, (size_t)(equals - s.ptr)));
    line.value = config_trim(slice_from(s, (size_t)(equals - s.ptr) + 1));
    if (config_key_split(line.key, &parts) != 0) {
        config_problem(r->report, "%s:%u: '%s' is not a key", r->name, r->line,
                       config_printable(line.key, shown, sizeof shown));
        return 0;
    }
    if (!cut_comment(r, line.key, &line.value))
        return 0;
    return fn(ctx, &line);
}

int
config_text_read(struct slice text, const char *name, struct config_report *report, config_line_fn fn,
                 void *ctx)
{
    struct reader r = {.name = name, .report = report};
    // Editors of another system put a byte order mark in front.
    if (slice_has_prefix(text, SLICE_LIT("\xEF\xBB\xBF")))
        text = slice_from(text, 3);
    while (text.len > 0) {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
        struct slice line = slice_head(text, len);
        text = slice_from(text, end != NULL ? len + 1 : len);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line = slice_head(line, line.len - 1);
        r.line++;
        int error = read_line(&r, line, fn, ctx);
        if (error != 0)
            return error;
    }
    return 0;
}
