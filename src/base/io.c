// io.c: the system's table: thin wrappers that turn errno into error numbers and repeat interrupted calls.
//
// close is the exception: the descriptor is gone whatever it returns, so it is not repeated, and its error is reported once.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/io.h"
#include "src/base/io_test.h"

#ifdef LV_TEST_HOOKS
static _Atomic uint64_t calls;    // any thread, relaxed: only the sum counts
static _Atomic uint64_t crash_at; // value of `calls` at which to stop; 0: never

void
io_test_crash_at(uint64_t n)
{
    atomic_store(&crash_at, n == 0 ? 0 : atomic_load(&calls) + n);
}

uint64_t
io_test_calls(void)
{
    return atomic_load(&calls);
}

static void
count_call(void)
{
    uint64_t now = atomic_fetch_add(&calls, 1) + 1;
    if (LV_UNLIKELY(now == atomic_load(&crash_at)))
        raise(SIGKILL);
}
#else
static inline void
count_call(void)
{
}
#endif

// Any thread, relaxed: each number is right, all together are not of one moment.
struct work {
    _Atomic uint64_t calls, bytes, time_ns;
};
static struct work reads, writes, syncs;

static void
note(struct work *w, uint64_t begun_ns, ssize_t bytes)
{
    (void)atomic_fetch_add_explicit(&w->calls, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&w->bytes, bytes > 0 ? (uint64_t)bytes : 0, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&w->time_ns, clock_mono_ns() - begun_ns, memory_order_relaxed);
}

static struct io_work
work_of(const struct work *w)
{
    return (struct io_work){
        .calls = atomic_load_explicit(&w->calls, memory_order_relaxed),
        .bytes = atomic_load_explicit(&w->bytes, memory_order_relaxed),
        .time_ns = atomic_load_explicit(&w->time_ns, memory_order_relaxed),
    };
}

void
io_system_stats(struct io_stats *ret)
{
    *ret = (struct io_stats){.reads = work_of(&reads), .writes = work_of(&writes), .syncs = work_of(&syncs)};
}

// The end of each wrapper: counts the call and gives its result.
static int
result(long rc)
{
    int err = rc < 0 ? err_from_errno(errno) : 0;
    count_call();
    return err;
}

static int
system_open(void *ctx, const char *path, unsigned flags, int *ret_fd)
{
    int mode = (flags & IO_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if ((flags & IO_CREATE) != 0)
        mode |= O_CREAT | O_EXCL;
    int fd;
    do
        fd = open(path, mode | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd >= 0)
        *ret_fd = fd;
    return result(fd);
}

static int
system_close(void *ctx, int fd)
{
    int rc = close(fd);
    return rc < 0 && errno == EINTR ? result(0) : result(rc);
}

static int
system_read(void *ctx, int fd, void *to, size_t len, uint64_t offset, size_t *ret_len)
{
    uint64_t begun_ns = clock_mono_ns();
    ssize_t n;
    do
        n = pread(fd, to, len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    int saved = errno;
    note(&reads, begun_ns, n);
    errno = saved;
    if (n >= 0)
        *ret_len = (size_t)n;
    return result(n);
}

static int
system_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
{
    uint64_t begun_ns = clock_mono_ns();
    ssize_t n;
    do
        n = pwritev(fd, parts, count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    int saved = errno;
    note(&writes, begun_ns, n);
    errno = saved;
    if (n >= 0)
        *ret_len = (size_t)n;
    return result(n);
}

// A sync that was interrupted has not reported a lost page yet: it may be repeated.
static int
system_fdatasync(void *ctx, int fd)
{
    uint64_t begun_ns = clock_mono_ns();
    int rc;
    do
        rc = fdatasync(fd);
    while (rc < 0 && errno == EINTR);
    int saved = errno;
    note(&syncs, begun_ns, 0);
    errno = saved;
    return result(rc);
}

static int
system_fsync(void *ctx, int fd)
{
    uint64_t begun_ns = clock_mono_ns();
    int rc;
    do
        rc = fsync(fd);
    while (rc < 0 && errno == EINTR);
    int saved = errno;
    note(&syncs, begun_ns, 0);
    errno = saved;
    return result(rc);
}

static int
system_sync_all(void *ctx, int fd)
{
    uint64_t begun_ns = clock_mono_ns();
    int rc;
    do
        rc = syncfs(fd);
    while (rc < 0 && errno == EINTR);
    int saved = errno;
    note(&syncs, begun_ns, 0);
    errno = saved;
    return result(rc);
}

static int
system_truncate(void *ctx, int fd, uint64_t size)
{
    int rc;
    do
        rc = ftruncate(fd, (off_t)size);
    while (rc < 0 && errno == EINTR);
    return result(rc);
}

static int
system_allocate(void *ctx, int fd, uint64_t offset, uint64_t len)
{
    int rc;
    do
        rc = fallocate(fd, 0, (off_t)offset, (off_t)len);
    while (rc < 0 && errno == EINTR);
    return result(rc);
}

static int
system_size(void *ctx, int fd, uint64_t *ret_size)
{
    struct stat st;
    int rc = fstat(fd, &st);
    if (rc == 0)
        *ret_size = (uint64_t)st.st_size;
    return result(rc);
}

static int
system_rename(void *ctx, const char *from, const char *to)
{
    return result(rename(from, to));
}

static int
system_unlink(void *ctx, const char *path)
{
    return result(remove(path)); // unlink or, for a folder, rmdir
}

static int
system_mkdir(void *ctx, const char *path)
{
    return result(mkdir(path, 0700));
}

static int
system_sync_dir(void *ctx, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return result(fd);
    int err = system_fsync(ctx, fd);
    close(fd);
    return err;
}

static int
system_list(void *ctx, const char *path, io_name_fn fn, void *fn_ctx)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return result(-1);
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            err = errno != 0 ? err_from_errno(errno) : 0;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        err = fn(fn_ctx, entry->d_name);
        if (err != 0)
            break;
    }
    closedir(dir);
    count_call();
    return err;
}

static int
system_space(void *ctx, const char *path, struct io_space *ret_space)
{
    struct statvfs st;
    int rc = statvfs(path, &st);
    if (rc == 0) {
        ret_space->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
        ret_space->total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    }
    return result(rc);
}

const struct io *
io_system(void)
{
    static const struct io table = {
        .open = system_open,
        .close = system_close,
        .read = system_read,
        .write = system_write,
        .fdatasync = system_fdatasync,
        .fsync = system_fsync,
        .sync_all = system_sync_all,
        .truncate = system_truncate,
        .allocate = system_allocate,
        .size = system_size,
        .rename = system_rename,
        .unlink = system_unlink,
        .mkdir = system_mkdir,
        .sync_dir = system_sync_dir,
        .list = system_list,
        .space = system_space,
    };
#ifdef LV_TEST_HOOKS
    return io_test_table(&table);
#else
    return &table;
#endif
}

int
io_write_all(const struct io *io, int fd, struct iovec *parts, int count, uint64_t offset)
{
    while (count > 0) {
        size_t n = 0;
        int err = io->write(io->ctx, fd, parts, LV_MIN(count, (int)IO_PARTS_MAX), offset, &n);
        if (err != 0)
            return err;
        if (n == 0 && parts->iov_len != 0)
            return -LE_IO; // no progress, and no reason: never loop on it
        offset += n;
        while (count > 0 && n >= parts->iov_len) {
            n -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + n;
            parts->iov_len -= n;
        }
    }
    return 0;
}

int
io_read_all(const struct io *io, int fd, void *to, size_t len, uint64_t offset, size_t *ret_len)
{
    size_t done = 0;
    while (done < len) {
        size_t n = 0;
        int err = io->read(io->ctx, fd, (uint8_t *)to + done, len - done, offset + done, &n);
        if (err != 0)
            return err;
        if (n == 0)
            break;
        done += n;
    }
    *ret_len = done;
    return 0;
}
