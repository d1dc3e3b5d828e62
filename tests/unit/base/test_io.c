// test_io.c: the system's table does what its names say and gives error numbers; short counts are gone on with; the checksum is
// CRC-32C; crash-at ends the process at the call it was told.
#include <fcntl.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/io.h"
#include "tests/unit/base/unit.h"

static char dir[64];

static const char *
path(const char *name)
{
    static char text[128];
    snprintf(text, sizeof text, "%s/%s", dir, name);
    return text;
}

static int
setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/leveret-io-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int
teardown(void **state)
{
    return rmdir(dir); // fails when a test left something behind
}

static int
count_name(void *ctx, const char *name)
{
    ++*(int *)ctx;
    return strcmp(name, "stop") == 0 ? -LE_STATE : 0;
}

static void
test_files(void **state)
{
    const struct io *io = io_system();
    int fd = -1;
    uint64_t size = 0;
    size_t n = 0;
    char a[] = "hello ", b[] = "world", got[32] = {0};
    assert_int_equal(io->open(NULL, path("f"), IO_READ, &fd), -LE_NOTFOUND);
    assert_int_equal(io->open(NULL, path("f"), IO_WRITE | IO_CREATE, &fd), 0);
    int again = -1;
    assert_int_equal(io->open(NULL, path("f"), IO_WRITE | IO_CREATE, &again), -LE_EXISTS);
    struct iovec parts[] = {{a, 6}, {NULL, 0}, {b, 5}};
    assert_int_equal(io_write_all(io, fd, parts, 3, 10), 0);
    assert_int_equal(io->fdatasync(NULL, fd), 0);
    assert_int_equal(io->size(NULL, fd, &size), 0);
    assert_int_equal(size, 21);
    assert_int_equal(io_read_all(io, fd, got, 32, 10, &n), 0);
    assert_int_equal(n, 11);
    assert_memory_equal(got, "hello world", 11);
    assert_int_equal(io->truncate(NULL, fd, 12), 0);
    int rc = io->allocate(NULL, fd, 0, 8192);
    assert_true(rc == 0 || rc == -LE_UNSUPPORTED);
    assert_int_equal(io->fsync(NULL, fd), 0);
    assert_int_equal(io->close(NULL, fd), 0);
    char from[128];
    snprintf(from, sizeof from, "%s", path("f"));
    assert_int_equal(io->rename(NULL, from, path("g")), 0);
    assert_int_equal(io->sync_dir(NULL, dir), 0);
    assert_int_equal(io->unlink(NULL, path("g")), 0);
    assert_int_equal(io->unlink(NULL, path("g")), -LE_NOTFOUND);
    assert_int_equal(io->sync_dir(NULL, path("g")), -LE_NOTFOUND);
}

static void
test_folders(void **state)
{
    const struct io *io = io_system();
    struct io_space space = {0};
    int count = 0, fd;
    assert_int_equal(io->mkdir(NULL, path("sub")), 0);
    assert_int_equal(io->mkdir(NULL, path("sub")), -LE_EXISTS);
    assert_int_equal(io->list(NULL, dir, count_name, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(rmdir(path("sub")), 0);
    assert_int_equal(io->open(NULL, path("stop"), IO_WRITE | IO_CREATE, &fd), 0);
    assert_int_equal(io->close(NULL, fd), 0);
    assert_int_equal(io->list(NULL, dir, count_name, &count), -LE_STATE);
    assert_int_equal(io->unlink(NULL, path("stop")), 0);
    assert_int_equal(io->space(NULL, dir, &space), 0);
    assert_true(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
}

// A table whose write takes three bytes at a time, and nothing at all once 9 are there.
static uint8_t slow_bytes[16];

static int
slow_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
{
    size_t n = offset >= *(uint64_t *)ctx ? 0 : LV_MIN(parts->iov_len, (size_t)3);
    if (n > 0)
        memcpy(slow_bytes + offset, parts->iov_base, n);
    *ret_len = n;
    return 0;
}

static void
test_short_writes(void **state)
{
    uint64_t end = 16;
    struct io io = {.ctx = &end, .write = slow_write};
    char a[] = "abcde", b[] = "fghij";
    struct iovec parts[] = {{a, 5}, {b, 5}};
    assert_int_equal(io_write_all(&io, 0, parts, 2, 1), 0);
    assert_memory_equal(slow_bytes + 1, "abcdefghij", 10);
    end = 9;
    struct iovec more[] = {{a, 5}, {b, 5}};
    assert_int_equal(io_write_all(&io, 0, more, 2, 1), -LE_IO);
}

static void
test_crc(void **state)
{
    static const uint8_t zeros[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u); // RFC 3720 B.4 and the usual check value
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    assert_int_equal(crc32c(0, "", 0), 0);
}

#ifdef LV_TEST_HOOKS
static void
test_crash_at(void **state)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct io *io = io_system();
        int fd = -1;
        io_test_crash_at(2);
        if (io->open(NULL, path("made"), IO_WRITE | IO_CREATE, &fd) == 0 && io->truncate(NULL, fd, 7) == 0)
            _exit(0);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct io_space space;
    uint64_t before = io_test_calls();
    assert_int_equal(io_system()->space(NULL, dir, &space), 0);
    assert_int_equal(io_test_calls(), before + 1);
    assert_int_equal(unlink(path("made")), 0); // the calls before the crash were made
}
#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders, setup, teardown),
        cmocka_unit_test(test_short_writes),
        cmocka_unit_test(test_crc),
#ifdef LV_TEST_HOOKS
        cmocka_unit_test_setup_teardown(test_crash_at, setup, teardown),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
