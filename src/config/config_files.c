// config_files.c: files and folders of the system.
#include "src/config/config_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/config/config_file.h"

// Pipes are fine (`-c <(generate)`), folders are not.
static int
read_fd(int fd, size_t max, struct buf *ret_text)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    if (S_ISDIR(st.st_mode))
        return -LE_IO;
    size_t start = ret_text->len;
    for (;;) {
        enum { STEP = 16384 };
        if (ret_text->len - start > max)
            return -LE_LIMIT;
        if (!buf_reserve(ret_text, STEP))
            return -LE_NOMEM;
        ssize_t n = read(fd, ret_text->ptr + ret_text->len, STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return 0;
        ret_text->len += (size_t)n;
    }
}

static int
system_read(void *ctx, const char *path, size_t max, struct buf *ret_text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? -LE_NOTFOUND : err_from_errno(errno);
    int error = read_fd(fd, max, ret_text);
    close(fd);
    return error;
}

static bool
is_file(int dir_fd, const char *name)
{
    struct stat st;
    return fstatat(dir_fd, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

// By bytes, not by locale: the order decides which file wins.
static int
by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int
system_list(void *ctx, const char *dir, const char *pattern, struct buf *ret_names)
{
    struct dirent **entries;
    int error = 0;
    int found = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? -LE_NOTFOUND : err_from_errno(errno);
    int count = scandirat(fd, ".", &entries, NULL, by_bytes);
    if (count < 0) {
        error = err_from_errno(errno);
        close(fd);
        return error;
    }
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (error == 0 && fnmatch(pattern, name, FNM_PERIOD) == 0 && is_file(fd, name)) {
            if (++found > CONFIG_FILES_MAX)
                error = -LE_LIMIT;
            else
                buf_append(ret_names, name, strlen(name) + 1);
        }
        free(entries[i]); // scandir's own memory
    }
    free(entries);
    close(fd);
    return ret_names->failed ? -LE_NOMEM : error;
}

const struct config_fs config_fs_system = {.read = system_read, .list = system_list};
