// log.c: a line is formatted and escaped on the caller's stack, then written to each sink with one write(2)
// under the mutex. A console that takes nothing (a pipe whose reader stands still) must not stop the broker: its
// lines are dropped, and counted in the first one it takes again.
//
// Text:  2026-11-21 10:00:00.123 [info] <queue> what happened
// JSON:  {"time":"2026-11-21T10:00:00.123+01:00","level":"info","category":"queue","msg":"…","pid":4711}
//
// Failure modes: a file that cannot be written (full disk) costs no line, standard error gets it instead; a
// standard error that cannot be written loses the line. Bytes that are no UTF-8 become \xNN in both formats,
// control characters \n, \t, \r or \xNN in text (JSON has its own escapes for them), so that one event is
// always one line.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/utf8.h"

// LIMIT: bytes of a line, the newline included; the text of a longer one is cut and ends in "...".
enum { LINE_BYTES_MAX = 8 * 1024 };
// What follows the text: the three dots, the rest of the JSON object, the newline.
enum { LINE_TAIL_BYTES = 64 };
// LIMIT: how long a line waits for a console that takes nothing, unless the one before it has waited in vain.
enum { CONSOLE_WAIT_MS = 20 };
// A pipe that polls as writable takes so much without blocking.
enum { CONSOLE_PART_BYTES = PIPE_BUF };

static const char *const level_texts[] = {"debug", "info", "notice", "warning", "error", "critical", "none"};
static const char *const category_texts[] = {"default",   "connection", "channel", "queue",  "store",
                                             "mirroring", "federation", "http",    "upgrade"};
static_assert(LV_ARRAY_LEN(level_texts) == LOG_NONE + 1, "a text for each level");
static_assert(LV_ARRAY_LEN(category_texts) == LOG_CATEGORY_COUNT, "a text for each category");

// Where lines go. Guarded by sink_mutex (rank: leaf).
struct sink {
    int file_fd; // -1: none
    int console_fd;
    enum log_level file_level;
    enum log_level console_level;
    log_tap_fn tap; // NULL: none
    enum log_level tap_level;
    int category_level[LOG_CATEGORY_COUNT]; // as configured
};

static pthread_mutex_t sink_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sink sink = {.file_fd = -1,
                           .console_fd = STDERR_FILENO,
                           .file_level = LOG_NONE,
                           .console_level = LOG_WARNING,
                           .tap_level = LOG_NONE};

static unsigned lost_lines;  // the console's, since it last took one. Guarded by sink_mutex
static bool is_console_torn; // it took the beginning of a line. Guarded by sink_mutex

// Least level that any sink takes, by category. Partner: log_configure writes, every logging thread reads;
// relaxed, since nothing else hangs on the value: a line may fall to either side of a change.
static _Atomic(int) thresholds[LOG_CATEGORY_COUNT] = {LOG_WARNING, LOG_WARNING, LOG_WARNING,
                                                      LOG_WARNING, LOG_WARNING, LOG_WARNING,
                                                      LOG_WARNING, LOG_WARNING, LOG_WARNING};
static atomic_bool is_json; // as thresholds

bool
log_is_on(enum log_category category, enum log_level level)
{
    LV_ASSERT_HOT((unsigned)category < LOG_CATEGORY_COUNT);
    return (int)level >= atomic_load_explicit(&thresholds[category], memory_order_relaxed);
}

int
log_level_parse(struct slice text, enum log_level *ret_level)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(level_texts); i++) {
        if (slice_eq_str(text, level_texts[i])) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -LE_INVAL;
}

const char *
log_level_text(enum log_level level)
{
    return (unsigned)level < LV_ARRAY_LEN(level_texts) ? level_texts[level] : "unknown";
}

// Under sink_mutex.
static void
set_thresholds(void)
{
    int least = (int)LV_MIN(sink.file_level, sink.console_level);
    least = LV_MIN(least, (int)sink.tap_level);
    for (size_t i = 0; i < LOG_CATEGORY_COUNT; i++)
        atomic_store_explicit(&thresholds[i], LV_MAX(sink.category_level[i], least), memory_order_relaxed);
}

void
log_set_tap(log_tap_fn tap, enum log_level level)
{
    pthread_mutex_lock(&sink_mutex);
    sink.tap = tap;
    sink.tap_level = tap != NULL ? level : LOG_NONE;
    set_thresholds();
    pthread_mutex_unlock(&sink_mutex);
}

int
log_configure(const struct log_config *config)
{
    int fd = -1;
    if (config->file != NULL) {
        fd = open(config->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0)
            return err_from_errno(errno);
    }
    enum log_level file_level = fd >= 0 ? config->file_level : LOG_NONE;
    enum log_level console_level = config->is_console ? config->console_level : LOG_NONE;
    pthread_mutex_lock(&sink_mutex);
    int old_fd = sink.file_fd;
    sink.file_fd = fd;
    sink.console_fd = config->is_console_stdout ? STDOUT_FILENO : STDERR_FILENO;
    sink.file_level = file_level;
    sink.console_level = console_level;
    atomic_store_explicit(&is_json, config->is_json, memory_order_relaxed);
    for (size_t i = 0; i < LOG_CATEGORY_COUNT; i++)
        sink.category_level[i] = (int)config->category_level[i];
    set_thresholds();
    pthread_mutex_unlock(&sink_mutex);
    if (old_fd >= 0)
        close(old_fd);
    return 0;
}

// A line in the making; what does not fit is left out as a whole.
struct line {
    char bytes[LINE_BYTES_MAX];
    size_t len;
    size_t limit; // ≤ sizeof bytes
};

static bool
line_add(struct line *l, const char *text, size_t len)
{
    if (len > l->limit - l->len)
        return false;
    memcpy(l->bytes + l->len, text, len);
    l->len += len;
    return true;
}

// \xNN; in JSON the backslash is itself escaped.
static bool
line_add_hex(struct line *l, uint8_t byte, bool json)
{
    static const char digits[] = "0123456789abcdef";
    char text[] = {'\\', '\\', 'x', digits[byte >> 4], digits[byte & 15]};
    return json ? line_add(l, text, 5) : line_add(l, text + 1, 4);
}

static bool
line_add_control(struct line *l, uint8_t byte, bool json)
{
    switch (byte) {
    case '\n': return line_add(l, "\\n", 2);
    case '\r': return line_add(l, "\\r", 2);
    case '\t': return line_add(l, "\\t", 2);
    default: break;
    }
    if (!json)
        return line_add_hex(l, byte, false);
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", byte);
    return line_add(l, text, 6);
}

// One character of the text, escaped. False when it does not fit.
static bool
line_add_char(struct line *l, const uint8_t *p, size_t len, bool json)
{
    if (len == 0)
        return line_add_hex(l, *p, json);
    if (*p < 0x20 || *p == 0x7f)
        return line_add_control(l, *p, json);
    if (len == 2 && p[0] == 0xc2 && p[1] < 0xa0) // U+0080 … U+009F: terminals obey them
        return json ? line_add_control(l, p[1], true)
                    : line_add_hex(l, p[0], false) && line_add_hex(l, p[1], false);
    if (json && (*p == '"' || *p == '\\')) {
        char text[] = {'\\', (char)*p};
        return line_add(l, text, 2);
    }
    return line_add(l, (const char *)p, len);
}

static void
line_add_escaped(struct line *l, struct slice text, bool is_cut, bool json)
{
    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_sequence_len(text.ptr + i, text.len - i);
        if (!line_add_char(l, text.ptr + i, len, json)) {
            is_cut = true;
            break;
        }
        i += LV_MAX(len, 1);
    }
    l->limit = sizeof l->bytes;
    if (is_cut)
        line_add(l, "...", 3);
}

// The time as the two formats have it: in local time, JSON's with the offset.
static void
line_add_time(struct line *l, bool json)
{
    int64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    char text[64];
    char offset[8];
    size_t len = strftime(text, sizeof text, json ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
    line_add(l, text, len);
    int tail = snprintf(text, sizeof text, ".%03d", (int)(now_ms % 1000));
    line_add(l, text, (size_t)tail);
    if (json && strftime(offset, sizeof offset, "%z", &tm) == 5) { // +hhmm
        line_add(l, offset, 3);
        line_add(l, ":", 1);
        line_add(l, offset + 3, 2);
    }
}

static void
line_format(struct line *l, enum log_category category, enum log_level level, struct slice text, bool is_cut)
{
    bool json = atomic_load_explicit(&is_json, memory_order_relaxed);
    char part[128];
    l->len = 0;
    l->limit = sizeof l->bytes - LINE_TAIL_BYTES;
    if (json)
        line_add(l, "{\"time\":\"", 9);
    line_add_time(l, json);
    const char *level_text = level_texts[level];
    const char *category_text = category_texts[category];
    int len = json ? snprintf(part, sizeof part, "\",\"level\":\"%s\",\"category\":\"%s\",\"msg\":\"",
                              level_text, category_text)
                   : snprintf(part, sizeof part, " [%s] <%s> ", level_text, category_text);
    line_add(l, part, (size_t)len);
    line_add_escaped(l, text, is_cut, json);
    len = json ? snprintf(part, sizeof part, "\",\"pid\":%d}\n", (int)getpid())
               : snprintf(part, sizeof part, "\n");
    line_add(l, part, (size_t)len);
}

static bool
write_all(int fd, const char *ptr, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, ptr, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ptr += n;
        len -= (size_t)n;
    }
    return true;
}

static bool
console_takes_more(void)
{
    struct pollfd p = {.fd = sink.console_fd, .events = POLLOUT};
    int n;
    do
        n = poll(&p, 1, lost_lines > 0 ? 0 : CONSOLE_WAIT_MS);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

static bool
console_write(const struct line *l)
{
    for (size_t done = 0; done < l->len;) {
        size_t part = LV_MIN(l->len - done, (size_t)CONSOLE_PART_BYTES);
        if (!console_takes_more() || !write_all(sink.console_fd, l->bytes + done, part)) {
            is_console_torn |= done > 0;
            return false;
        }
        done += part;
    }
    return true;
}

// Tells how many lines are missing. False: it takes no more yet.
static bool
console_resume(void)
{
    char text[80];
    struct line note;
    if (!console_takes_more() || (is_console_torn && !write_all(sink.console_fd, "\n", 1)))
        return false;
    is_console_torn = false;
    int len = snprintf(text, sizeof text, "log: %u lines are missing here, the console did not take them",
                       lost_lines);
    line_format(&note, LOG_DEFAULT, LOG_WARNING, slice_of(text, (size_t)len), false);
    if (!console_write(&note))
        return false;
    lost_lines = 0;
    return true;
}

static void
console_line(const struct line *l)
{
    if ((lost_lines > 0 && !console_resume()) || !console_write(l))
        lost_lines++; // nobody is left to tell
}

static void
line_write(const struct line *l, enum log_level level)
{
    pthread_mutex_lock(&sink_mutex);
    bool is_to_console = level >= sink.console_level;
    if (level >= sink.file_level && !write_all(sink.file_fd, l->bytes, l->len))
        is_to_console = true;
    if (is_to_console)
        console_line(l);
    if (LV_UNLIKELY(level >= sink.tap_level && sink.tap != NULL))
        sink.tap(level, slice_of(l->bytes, l->len));
    pthread_mutex_unlock(&sink_mutex);
}

void
log_at(enum log_category category, enum log_level level, const char *fmt, ...)
{
    LV_ASSERT((unsigned)category < LOG_CATEGORY_COUNT && (unsigned)level < LOG_NONE);
    if (!log_is_on(category, level))
        return;
    int saved_errno = errno; // logging must not disturb the caller's error handling
    char text[LINE_BYTES_MAX];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bool is_cut = len >= (int)sizeof text;
    struct line line;
    struct slice s = slice_of(text, len < 0 ? 0 : LV_MIN((size_t)len, sizeof text - 1));
    line_format(&line, category, level, s, is_cut);
    line_write(&line, level);
    errno = saved_errno;
}
