// lv.c: the end of a failed assertion: a message and a stack trace by write(2) alone (the heap may be what is
// broken), then abort.
#include <execinfo.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/lv.h"

// LIMIT: frames of a stack trace.
enum { TRACE_FRAMES_MAX = 64 };

void
lv_assert_failed(const char *expression, const char *file, int line, const char *function)
{
    char text[512];
    int len =
        snprintf(text, sizeof text, "%s:%d: %s: assertion failed: %s\n", file, line, function, expression);
    if (len > 0) {
        size_t size = LV_MIN((size_t)len, sizeof text - 1);
        // Nothing can be done about a failing write on the way to abort.
        ssize_t written LV_UNUSED = write(STDERR_FILENO, text, size);
    }
    void *frames[TRACE_FRAMES_MAX];
    int count = backtrace(frames, TRACE_FRAMES_MAX);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    abort();
}
