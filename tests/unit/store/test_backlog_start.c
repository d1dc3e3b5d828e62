// test_backlog_start.c: the files of many queues opened together: by any number of threads the same is found, each queue has its own result, and
// what may be in the page cache alone is synced, for few queues one by one, for many at once. States of many queues likewise.
#include "tests/unit/store/backlog_world.h"

enum { COUNT = 60, NEWER = 17 };

static void
fill_queue(const struct io *io, const char *top, uint64_t queue, uint64_t messages)
{
    struct msglog_content content = {.flags = 1, .body_bytes = 5, .bytes = (const uint8_t *)"hello"};
    struct backlog b;
    struct backlog_item *items = mem_xcalloc(messages, sizeof(*items));
    for (uint64_t i = 0; i < messages; i++)
        items[i] = (struct backlog_item){.seq = i + 1, .content = &content};
    struct backlog_append a = {.queue = queue, .items = items, .count = messages, .kind = BACKLOG_CHAIN};
    backlog_init(&b);
    assert_int_equal(backlog_begin_append(&b, &a), 0);
    assert_int_equal(backlog_append(io, top, NULL, &a), 0);
    mem_free(a.blocks);
    mem_free(items);
    backlog_fini(&b);
}

static void
write_state(const struct io *io, const char *top, uint64_t queue)
{
    struct backlog_end end = {.file = 1, .bytes = 1u << 30};
    struct backlog_state s = {.block_end = 2, .cursor = 1, .ends = &end, .end_count = 1};
    assert_int_equal(backlog_write_state(io, top, queue, &s), 0);
}

struct heard {
    uint64_t last, total, calls;
};

static void
hear(void *ctx, uint64_t done, uint64_t total)
{
    struct heard *h = ctx;
    h->calls++;
    h->last = LV_MAX(h->last, done);
    h->total = total;
}

// Of every third queue the first two messages are gone.
static void
gone(void *ctx, uint64_t queue, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    bool is_some = queue % 3 == 0 && from < 3;
    *ret_first = is_some ? 1 : UINT64_MAX;
    *ret_end = is_some ? 3 : UINT64_MAX;
}

static void
check_opened(const struct backlog_opened *o)
{
    uint64_t messages = o->queue * 7;
    if (o->queue == NEWER) {
        assert_int_equal(o->result, -LE_UNSUPPORTED);
        return;
    }
    assert_int_equal(o->result, 0);
    assert_int_equal(o->report.files, 1);
    if (o->queue % 3 == 0) { // the survivors of the block of which some are gone
        assert_int_equal(o->kept_count, messages - 2);
        assert_int_equal(o->kept[0].record.seq, 3);
        assert_int_equal(o->backlog.count, 0);
    } else {
        assert_int_equal(o->kept_count, 0);
        assert_int_equal(o->backlog.count, messages);
        assert_int_equal(o->backlog.body_bytes, messages * 5);
    }
}

static void
make_newer(const char *top)
{
    char path[256];
    snprintf(path, sizeof path, "%s/queues/%016x/state", top, NEWER);
    uint8_t bytes[STATE_HEADER_BYTES + 4] = "LBGSTATE";
    int fd;
    bytes[8] = BACKLOG_FORMAT_VERSION + 1;
    uint32_t crc = crc32c(0, bytes, sizeof bytes - 4);
    memcpy(bytes + STATE_HEADER_BYTES, &crc, sizeof crc);
    struct iovec part = {bytes, sizeof bytes};
    assert_int_equal(io_system()->open(io_system()->ctx, path, IO_WRITE | IO_CREATE, &fd), 0);
    assert_int_equal(io_write_all(io_system(), fd, &part, 1, 0), 0);
    assert_int_equal(io_system()->close(io_system()->ctx, fd), 0);
}

static void
test_by_any_number_of_threads(void **state)
{
    char top[] = "/tmp/leveret-backlog-XXXXXX", path[256];
    const struct io *io = io_system();
    assert_non_null(mkdtemp(top));
    assert_int_equal(backlog_prepare_dirs(io, top), 0);
    for (uint64_t i = 1; i <= COUNT; i++)
        fill_queue(io, top, i, i * 7);
    make_newer(top);
    for (unsigned threads = 0; threads <= 40; threads += 1 + threads * 3) {
        struct backlog_opened *opened = mem_xcalloc(COUNT, sizeof(*opened));
        struct heard heard = {0};
        for (uint64_t i = 0; i < COUNT; i++)
            opened[i].queue = COUNT - i;
        backlog_open_all(&(struct backlog_open_all){.io = io,
                                                    .data_dir = top,
                                                    .queues = opened,
                                                    .count = COUNT,
                                                    .gone = gone,
                                                    .progress = hear,
                                                    .ctx = &heard,
                                                    .threads = threads});
        for (uint64_t i = 0; i < COUNT; i++) {
            check_opened(&opened[i]);
            backlog_opened_fini(&opened[i]);
        }
        assert_true(threads > 0 || (heard.calls == COUNT && heard.last == COUNT));
        assert_true(heard.calls == 0 || heard.total == COUNT);
        mem_free(opened);
    }
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_int_equal(backlog_remove(io, top, i, false), 0);
    snprintf(path, sizeof path, "%s/queues", top);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof path, "%s/transient", top);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(top), 0);
}

// Queues 1, 2 and 3 have something to sync, 4 does not. Opens them with a fault at the `at`-th call of such a kind.
static void
open_with_fault(size_t sync_all_min, unsigned calls, uint64_t at, const int results[4])
{
    struct world w;
    world_init(&w);
    struct backlog_opened opened[4] = {{.queue = 1}, {.queue = 2}, {.queue = 3}, {.queue = 4}};
    for (uint64_t i = 1; i <= 4; i++)
        fill_queue(w.io, dir, i, 3);
    write_state(w.io, dir, 4);
    powercut_plan(w.disk, &(struct powercut_fault){.calls = calls, .at = at, .count = 1, .error = -LE_IO});
    backlog_open_all(&(struct backlog_open_all){.io = w.io,
                                                .data_dir = dir,
                                                .queues = opened,
                                                .count = 4,
                                                .gone = gone,
                                                .sync_all_min = sync_all_min});
    for (int i = 0; i < 4; i++) {
        assert_int_equal(opened[i].result, results[i]);
        backlog_opened_fini(&opened[i]);
    }
    world_fini(&w);
}

static void
test_a_failed_sync_is_the_result_of_those_it_was_for(void **state)
{
    open_with_fault(3, CUT_SYNC_ALL, 1, (const int[]){-LE_IO, -LE_IO, -LE_IO, 0});
    open_with_fault(3, CUT_SYNC_ALL, 2, (const int[4]){0}); // there is one
    open_with_fault(3, CUT_FDATASYNC | CUT_SYNC_DIR, 1, (const int[4]){0});
    open_with_fault(4, CUT_SYNC_ALL, 1, (const int[4]){0});
    open_with_fault(4, CUT_FDATASYNC, 2, (const int[]){0, -LE_IO, 0, 0});
    open_with_fault(4, CUT_FDATASYNC, 4, (const int[4]){0});
    open_with_fault(4, CUT_SYNC_DIR, 3, (const int[]){0, 0, -LE_IO, 0});
    open_with_fault(4, CUT_SYNC_DIR, 4, (const int[]){-LE_IO, -LE_IO, -LE_IO, 0}); // the folder of them all
}

// The cursor that the state of a queue has; 0: there is none.
static uint64_t
cursor_of(struct world *w, uint64_t queue)
{
    char path[IO_PATH_MAX];
    uint8_t bytes[256];
    struct backlog_state s = {0};
    size_t n = 0;
    int fd;
    assert_int_equal(backlog_state_path(dir, queue, "state", path), 0);
    if (w->io->open(w->io->ctx, path, IO_READ, &fd) != 0)
        return 0;
    assert_int_equal(io_read_all(w->io, fd, bytes, sizeof bytes, 0, &n), 0);
    assert_int_equal(w->io->close(w->io->ctx, fd), 0);
    assert_int_equal(state_decode(slice_of(bytes, n), queue, &s), 0);
    uint64_t cursor = s.cursor;
    state_fini(&s);
    return cursor;
}

// Three states over older ones, the second time with a fault; then the power goes off. What was promised is there, the rest is old or new.
static void
write_with_fault(size_t sync_all_min, unsigned calls, uint64_t at, const int results[3])
{
    struct world w;
    struct backlog_end end = {.file = 1, .bytes = FILE_HEADER_BYTES};
    struct backlog_state states[3];
    struct backlog_state_write writes[3];
    world_init(&w);
    for (int i = 0; i < 3; i++) {
        states[i] = (struct backlog_state){.block_end = 1, .cursor = 5, .ends = &end, .end_count = 1};
        writes[i] = (struct backlog_state_write){.queue = (uint64_t)i + 1, .state = &states[i]};
    }
    backlog_write_states(w.io, dir, writes, 3, sync_all_min);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(writes[i].result, 0);
        states[i].cursor = 9;
    }
    powercut_plan(w.disk, &(struct powercut_fault){.calls = calls, .at = at, .count = 1, .error = -LE_IO});
    backlog_write_states(w.io, dir, writes, 3, sync_all_min);
    assert_int_equal(powercut_open_count(w.disk), 0);
    powercut_cut(w.disk);
    for (int i = 0; i < 3; i++) {
        uint64_t cursor = cursor_of(&w, (uint64_t)i + 1);
        assert_int_equal(writes[i].result, results[i]);
        assert_true(cursor == 9 || (cursor == 5 && results[i] != 0));
    }
    world_fini(&w);
}

static void
test_states_of_several_queues(void **state)
{
    static const int good[3], none[] = {-LE_IO, -LE_IO, -LE_IO}, second[] = {0, -LE_IO, 0};
    write_with_fault(3, CUT_FSYNC | CUT_FDATASYNC | CUT_SYNC_DIR, 1, good); // it does without
    write_with_fault(3, CUT_SYNC_ALL, 1, none);
    write_with_fault(3, CUT_SYNC_ALL, 2, none);
    write_with_fault(3, CUT_SYNC_ALL, 3, good);
    write_with_fault(3, CUT_RENAME, 2, second);
    write_with_fault(3, CUT_WRITE, 2, second);
    write_with_fault(3, CUT_OPEN, 1, (const int[]){-LE_IO, 0, 0});
    write_with_fault(4, CUT_SYNC_ALL, 1, good);
    write_with_fault(4, CUT_FSYNC, 2, second);
    write_with_fault(4, CUT_RENAME, 2, second);
}

static void
test_reports_add_up(void **state)
{
    struct backlog_report sum = {0}, one = {.files = 2, .bad_blocks = 1, .large_count = 3, .large_cap = 4};
    for (uint64_t n = 1; n <= 5; n++) {
        one.large = mem_xcalloc(4, sizeof(*one.large));
        for (uint64_t i = 0; i < 3; i++)
            one.large[i] = n * 10 + i;
        one.large_count = 3;
        assert_int_equal(backlog_report_add(&sum, &one), 0);
        assert_null(one.large);
        assert_int_equal(one.large_count, 0);
    }
    assert_int_equal(sum.files, 10);
    assert_int_equal(sum.bad_blocks, 5);
    assert_int_equal(sum.large_count, 15);
    for (uint64_t i = 0; i < 15; i++)
        assert_int_equal(sum.large[i], (i / 3 + 1) * 10 + i % 3);
    mem_free(sum.large);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_any_number_of_threads),
        cmocka_unit_test(test_a_failed_sync_is_the_result_of_those_it_was_for),
        cmocka_unit_test(test_states_of_several_queues),
        cmocka_unit_test(test_reports_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
