// config_files.h: the outside world of configuration: reading a file and listing a folder, as a table of
// functions so that tests and fuzzing bring a world of their own.
#pragma once

#include "src/base/buf.h"

struct config_fs {
    // The whole content, at most `max` bytes, appended. 0, -LE_NOTFOUND, -LE_ACCESS, -LE_LIMIT (longer),
    // -LE_IO, -LE_NOMEM.
    int (*read)(void *ctx, const char *path, size_t max, struct buf *ret_text);
    // The names of the files in `dir` that match the shell pattern, sorted, each with its NUL, appended.
    // Errors as read.
    int (*list)(void *ctx, const char *dir, const char *pattern, struct buf *ret_names);
    void *ctx;
};

// The real one.
extern const struct config_fs config_fs_system;
