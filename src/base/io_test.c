// io_test.c: see io_test.h. Each function of the table asks the plan first, and goes on to the real one when it may.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "src/base/err.h"
#include "src/base/io_test.h"
#include "src/base/log.h"

enum { FAULTS_MAX = 8, SHORT = 1, SLOW = 2 };

enum call {
    CALL_OPEN,
    CALL_CLOSE,
    CALL_READ,
    CALL_WRITE,
    CALL_FDATASYNC,
    CALL_FSYNC,
    CALL_SYNC_ALL,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_SIZE,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_MKDIR,
    CALL_SYNC_DIR,
    CALL_LIST,
    CALL_SPACE,
};

struct fault {
    unsigned calls; // bits of enum call
    uint64_t first, count;
    int outcome; // -LE_xxx, SHORT or SLOW
    unsigned slow_ms;
    char flag[IO_PATH_MAX]; // "": always awake
    _Atomic uint64_t seen;  // calls so far; any thread
};

static struct fault faults[FAULTS_MAX];
static int fault_count;
static const struct io *real_io;

struct name {
    const char *name;
    unsigned value;
};

#define BIT(call) (1u << CALL_##call)
static const struct name call_names[] = {
    {"open", BIT(OPEN)},
    {"close", BIT(CLOSE)},
    {"read", BIT(READ)},
    {"write", BIT(WRITE)},
    {"fdatasync", BIT(FDATASYNC)},
    {"fsync", BIT(FSYNC)},
    {"sync_all", BIT(SYNC_ALL)},
    {"truncate", BIT(TRUNCATE)},
    {"allocate", BIT(ALLOCATE)},
    {"size", BIT(SIZE)},
    {"rename", BIT(RENAME)},
    {"unlink", BIT(UNLINK)},
    {"mkdir", BIT(MKDIR)},
    {"sync_dir", BIT(SYNC_DIR)},
    {"list", BIT(LIST)},
    {"space", BIT(SPACE)},
    {"changes", BIT(WRITE) | BIT(FDATASYNC) | BIT(FSYNC) | BIT(SYNC_ALL) | BIT(TRUNCATE) | BIT(ALLOCATE) |
                    BIT(RENAME) | BIT(MKDIR) | BIT(SYNC_DIR)},
    {"syncs", BIT(FDATASYNC) | BIT(FSYNC) | BIT(SYNC_ALL) | BIT(SYNC_DIR)},
    {"any", ~0u},
};

static const struct name error_names[] = {
    {"EIO", LE_IO},       {"ENOSPC", LE_NOSPACE}, {"EDQUOT", LE_NOSPACE},
    {"ENOMEM", LE_NOMEM}, {"EACCES", LE_ACCESS},
};

static bool
look_up(const struct name *names, size_t count, const char *text, unsigned *ret)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i].name, text) == 0) {
            *ret = names[i].value;
            return true;
        }
    return false;
}

static int
parse_fault(char *text, struct fault *f)
{
    char *save = NULL, *flag = strchr(text, '@');
    if (flag != NULL)
        *flag++ = '\0';
    char *call = strtok_r(text, ":", &save), *first = strtok_r(NULL, ":", &save),
         *count = strtok_r(NULL, ":", &save), *error = strtok_r(NULL, ":", &save);
    unsigned value = 0;
    if (call == NULL || error == NULL || strtok_r(NULL, ":", &save) != NULL ||
        !look_up(call_names, LV_ARRAY_LEN(call_names), call, &f->calls) ||
        (flag != NULL && strlen(flag) >= sizeof f->flag))
        return -LE_SYNTAX;
    char *end1, *end2;
    f->first = strtoull(first, &end1, 10);
    f->count = strtoull(count, &end2, 10);
    if (*end1 != '\0' || *end2 != '\0' || f->first == 0)
        return -LE_SYNTAX;
    if (strcmp(error, "short") == 0)
        f->outcome = SHORT;
    else if (strncmp(error, "slow", 4) == 0) {
        f->outcome = SLOW;
        f->slow_ms = (unsigned)strtoul(error + 4, &end1, 10);
        if (*end1 != '\0')
            return -LE_SYNTAX;
    } else if (look_up(error_names, LV_ARRAY_LEN(error_names), error, &value))
        f->outcome = -(int)value;
    else
        return -LE_SYNTAX;
    snprintf(f->flag, sizeof f->flag, "%s", flag != NULL ? flag : "");
    return 0;
}

int
io_test_plan(const char *plan)
{
    char text[4096], *save = NULL;
    if (strlen(plan) >= sizeof text)
        return -LE_SYNTAX;
    snprintf(text, sizeof text, "%s", plan);
    for (char *one = strtok_r(text, ",", &save); one != NULL; one = strtok_r(NULL, ",", &save)) {
        if (fault_count == FAULTS_MAX || parse_fault(one, &faults[fault_count]) != 0)
            return -LE_SYNTAX;
        fault_count++;
    }
    return 0;
}

// What becomes of this call: 0, an error, or SHORT.
static int
ask(enum call call)
{
    int outcome = 0;
    for (int i = 0; i < fault_count; i++) {
        struct fault *f = &faults[i];
        if ((f->calls & (1u << call)) == 0 || (f->flag[0] != '\0' && access(f->flag, F_OK) != 0))
            continue;
        uint64_t now = atomic_fetch_add(&f->seen, 1) + 1;
        if (now < f->first || (f->count != 0 && now - f->first >= f->count))
            continue;
        if (now == f->first) // tests look for it: a plan that never came true proves nothing
            log_notice(LOG_DEFAULT, "test.io_fault: the first call fails by plan");
        if (f->outcome == SLOW)
            nanosleep(&(struct timespec){.tv_sec = f->slow_ms / 1000,
                                         .tv_nsec = (long)(f->slow_ms % 1000) * 1000000},
                      NULL);
        else
            outcome = f->outcome;
    }
    return outcome;
}

#define ASK_OR_FAIL(call)                                                                                    \
    do {                                                                                                     \
        int outcome_ = ask(call);                                                                            \
        if (outcome_ < 0)                                                                                    \
            return outcome_;                                                                                 \
    } while (0)

static int
test_open(void *ctx, const char *path, unsigned flags, int *ret_fd)
{
    ASK_OR_FAIL(CALL_OPEN);
    return real_io->open(real_io->ctx, path, flags, ret_fd);
}

// The descriptor goes in any case, as it does with close(2).
static int
test_close(void *ctx, int fd)
{
    int outcome = ask(CALL_CLOSE), err = real_io->close(real_io->ctx, fd);
    return outcome < 0 ? outcome : err;
}

static int
test_read(void *ctx, int fd, void *to, size_t len, uint64_t offset, size_t *ret_len)
{
    int outcome = ask(CALL_READ);
    if (outcome < 0)
        return outcome;
    return real_io->read(real_io->ctx, fd, to, outcome == SHORT ? (len + 1) / 2 : len, offset, ret_len);
}

static int
test_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
{
    int outcome = ask(CALL_WRITE);
    if (outcome < 0)
        return outcome;
    if (outcome != SHORT || count < 1)
        return real_io->write(real_io->ctx, fd, parts, count, offset, ret_len);
    struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = (parts[0].iov_len + 1) / 2};
    return real_io->write(real_io->ctx, fd, &half, 1, offset, ret_len);
}

static int
test_fdatasync(void *ctx, int fd)
{
    ASK_OR_FAIL(CALL_FDATASYNC);
    return real_io->fdatasync(real_io->ctx, fd);
}

static int
test_fsync(void *ctx, int fd)
{
    ASK_OR_FAIL(CALL_FSYNC);
    return real_io->fsync(real_io->ctx, fd);
}

static int
test_sync_all(void *ctx, int fd)
{
    ASK_OR_FAIL(CALL_SYNC_ALL);
    return real_io->sync_all(real_io->ctx, fd);
}

static int
test_truncate(void *ctx, int fd, uint64_t size)
{
    ASK_OR_FAIL(CALL_TRUNCATE);
    return real_io->truncate(real_io->ctx, fd, size);
}

static int
test_allocate(void *ctx, int fd, uint64_t offset, uint64_t len)
{
    ASK_OR_FAIL(CALL_ALLOCATE);
    return real_io->allocate(real_io->ctx, fd, offset, len);
}

static int
test_size(void *ctx, int fd, uint64_t *ret_size)
{
    ASK_OR_FAIL(CALL_SIZE);
    return real_io->size(real_io->ctx, fd, ret_size);
}

static int
test_rename(void *ctx, const char *from, const char *to)
{
    ASK_OR_FAIL(CALL_RENAME);
    return real_io->rename(real_io->ctx, from, to);
}

static int
test_unlink(void *ctx, const char *path)
{
    ASK_OR_FAIL(CALL_UNLINK);
    return real_io->unlink(real_io->ctx, path);
}

static int
test_mkdir(void *ctx, const char *path)
{
    ASK_OR_FAIL(CALL_MKDIR);
    return real_io->mkdir(real_io->ctx, path);
}

static int
test_sync_dir(void *ctx, const char *path)
{
    ASK_OR_FAIL(CALL_SYNC_DIR);
    return real_io->sync_dir(real_io->ctx, path);
}

static int
test_list(void *ctx, const char *path, io_name_fn fn, void *fn_ctx)
{
    ASK_OR_FAIL(CALL_LIST);
    return real_io->list(real_io->ctx, path, fn, fn_ctx);
}

static int
test_space(void *ctx, const char *path, struct io_space *ret_space)
{
    ASK_OR_FAIL(CALL_SPACE);
    return real_io->space(real_io->ctx, path, ret_space);
}

const struct io *
io_test_table(const struct io *real)
{
    static const struct io table = {
        .open = test_open,
        .close = test_close,
        .read = test_read,
        .write = test_write,
        .fdatasync = test_fdatasync,
        .fsync = test_fsync,
        .sync_all = test_sync_all,
        .truncate = test_truncate,
        .allocate = test_allocate,
        .size = test_size,
        .rename = test_rename,
        .unlink = test_unlink,
        .mkdir = test_mkdir,
        .sync_dir = test_sync_dir,
        .list = test_list,
        .space = test_space,
    };
    if (fault_count == 0)
        return real;
    real_io = real;
    return &table;
}
