// test_powercut.c: the simulator keeps what was synced, whatever happens, and everything it may lose is lost under some seed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/base/err.h"
#include "tests/sim/powercut.h"

static int
put(const struct io *io, int fd, uint64_t offset, char c, size_t len)
{
    char bytes[4096];
    memset(bytes, c, len);
    struct iovec part = {bytes, len};
    return io_write_all(io, fd, &part, 1, offset);
}

static char
get(const struct io *io, const char *path, uint64_t offset)
{
    char c = '?';
    size_t n = 0;
    int fd;
    if (io->open(io->ctx, path, IO_READ, &fd) != 0)
        return '!'; // no file
    assert_int_equal(io_read_all(io, fd, &c, 1, offset, &n), 0);
    assert_int_equal(io->close(io->ctx, fd), 0);
    return n == 0 ? '.' : c; // '.': behind the end
}

static void
test_cut_loses_only_what_is_unsynced(void **state)
{
    unsigned kept[2] = {0}, torn = 0, short_file = 0, no_file = 0, unlinked = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct powercut *p = powercut_new(seed);
        const struct io *io = powercut_io(p);
        int fd, fd2;
        assert_int_equal(io->mkdir(io->ctx, "/d"), 0);
        assert_int_equal(io->sync_dir(io->ctx, "/"), 0);
        assert_int_equal(io->open(io->ctx, "/d/a", IO_WRITE | IO_CREATE, &fd), 0);
        assert_int_equal(put(io, fd, 0, 'A', 2048), 0);
        assert_int_equal(io->fdatasync(io->ctx, fd), 0);
        assert_int_equal(io->sync_dir(io->ctx, "/d"), 0);
        assert_int_equal(put(io, fd, 512, 'B', 512), 0);
        assert_int_equal(put(io, fd, 2048, 'C', 512), 0);
        assert_int_equal(io->open(io->ctx, "/d/b", IO_WRITE | IO_CREATE, &fd2), 0);
        assert_int_equal(put(io, fd2, 0, 'D', 10), 0);
        assert_int_equal(io->fsync(io->ctx, fd2), 0); // the bytes, not the name
        powercut_cut(p);
        assert_int_equal(powercut_open_count(p), 0);
        assert_int_equal(get(io, "/d/a", 0), 'A');
        assert_int_equal(get(io, "/d/a", 1535), 'A');
        char middle = get(io, "/d/a", 512), last = get(io, "/d/a", 1023);
        torn += middle == 'B' && last != 'B';
        kept[0] += middle == 'A';
        kept[1] += middle == 'B';
        short_file += get(io, "/d/a", 2048) == '.';
        no_file += get(io, "/d/b", 0) == '!';
        assert_true(get(io, "/d/b", 0) == '!' || get(io, "/d/b", 9) == 'D');
        assert_int_equal(io->unlink(io->ctx, "/d/a"), 0);
        powercut_cut(p);
        unlinked += get(io, "/d/a", 0) == '!';
        powercut_free(p);
    }
    assert_true(kept[0] > 50 && kept[1] > 50 && torn > 0 && short_file > 50 && no_file > 50);
    assert_true(unlinked > 50 && unlinked < 350);
}

static void
test_rename_is_one_change(void **state)
{
    unsigned old = 0, new = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct powercut *p = powercut_new(seed);
        const struct io *io = powercut_io(p);
        int fd;
        assert_int_equal(io->open(io->ctx, "a", IO_WRITE | IO_CREATE, &fd), 0);
        assert_int_equal(put(io, fd, 0, 'A', 1), 0);
        assert_int_equal(io->fsync(io->ctx, fd), 0);
        assert_int_equal(io->sync_dir(io->ctx, "/"), 0);
        assert_int_equal(io->rename(io->ctx, "a", "b"), 0);
        powercut_cut(p);
        bool is_old = get(io, "a", 0) == 'A', is_new = get(io, "b", 0) == 'A';
        assert_true(is_old != is_new);
        old += is_old;
        new += is_new;
        powercut_free(p);
    }
    assert_true(old > 10 && new > 10);
}

static void
test_kill_keeps_what_was_written(void **state)
{
    struct powercut *p = powercut_new(1);
    const struct io *io = powercut_io(p);
    int fd;
    assert_int_equal(io->open(io->ctx, "a", IO_WRITE | IO_CREATE, &fd), 0);
    assert_int_equal(put(io, fd, 0, 'A', 100), 0);
    powercut_kill(p);
    assert_int_equal(get(io, "a", 99), 'A');
    powercut_free(p);
}

static void
test_failed_sync_calls_pages_clean(void **state)
{
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct powercut *p = powercut_new(seed);
        const struct io *io = powercut_io(p);
        int fd;
        assert_int_equal(io->open(io->ctx, "a", IO_WRITE | IO_CREATE, &fd), 0);
        assert_int_equal(io->truncate(io->ctx, fd, 512), 0);
        assert_int_equal(io->fsync(io->ctx, fd), 0);
        assert_int_equal(io->sync_dir(io->ctx, "/"), 0);
        assert_int_equal(put(io, fd, 0, 'A', 512), 0);
        powercut_plan(p,
                      &(struct powercut_fault){.calls = CUT_FDATASYNC, .at = 1, .count = 1, .error = -LE_IO});
        assert_int_equal(io->fdatasync(io->ctx, fd), -LE_IO);
        assert_int_equal(io->fdatasync(io->ctx, fd), 0); // says so, and has done nothing
        assert_int_equal(get(io, "a", 0), 'A');
        powercut_cut(p);
        lost += get(io, "a", 0) == 0;
        powercut_free(p);
    }
    assert_true(lost > 10 && lost < 40);
}

static void
test_faults_come_as_planned(void **state)
{
    struct powercut *p = powercut_new(7);
    const struct io *io = powercut_io(p);
    int fd;
    size_t n = 0;
    char bytes[100] = {0};
    struct iovec part = {bytes, sizeof bytes};
    assert_int_equal(io->open(io->ctx, "a", IO_WRITE | IO_CREATE, &fd), 0);
    powercut_plan(p, &(struct powercut_fault){.calls = CUT_WRITE, .at = 2, .count = 2, .error = -LE_NOSPACE});
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), 0);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), -LE_NOSPACE);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), -LE_NOSPACE);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), 0);
    powercut_plan(p, &(struct powercut_fault){.calls = CUT_WRITE, .at = 1, .count = 0}); // short for ever
    bool is_short = false;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), 0);
        is_short |= n < sizeof bytes;
        assert_true(n > 0);
    }
    assert_true(is_short);
    powercut_clear_plan(p);
    powercut_set_capacity(p, 150);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 50, &n), 0);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 51, &n), -LE_NOSPACE);
    assert_int_equal(io->unlink(io->ctx, "a"), 0); // space comes back
    assert_int_equal(io->close(io->ctx, fd), 0);
    assert_int_equal(io->open(io->ctx, "b", IO_WRITE | IO_CREATE, &fd), 0);
    assert_int_equal(io->write(io->ctx, fd, &part, 1, 0, &n), 0);
    powercut_plan(p, &(struct powercut_fault){.calls = CUT_ANY, .at = 2, .is_off = true});
    assert_int_equal(io->fdatasync(io->ctx, fd), 0);
    assert_int_equal(io->fdatasync(io->ctx, fd), -LE_IO);
    assert_true(powercut_is_off(p));
    assert_int_equal(io->unlink(io->ctx, "b"), -LE_IO);
    powercut_cut(p);
    assert_false(powercut_is_off(p));
    powercut_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_loses_only_what_is_unsynced),
        cmocka_unit_test(test_rename_is_one_change),
        cmocka_unit_test(test_kill_keeps_what_was_written),
        cmocka_unit_test(test_failed_sync_calls_pages_clean),
        cmocka_unit_test(test_faults_come_as_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
