// test_backlog.c: backlog files on a simulated disk: what was appended can be read and opened again; the picture's sums; state, what the log
// says is gone, failed appends, files that are not needed, messages from the log. What damage does: test_backlog_damage.c.
#include "tests/unit/store/backlog_world.h"

static void
test_append_read_and_advance(void **state)
{
    struct world w;
    struct backlog_append a;
    uint64_t bad;
    world_init(&w);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1, 1000, 1, &a), 0);
    assert_true(a.block_count >= 2); // 1,000 of about 600 bytes
    for (size_t i = 0; i < a.block_count; i++) {
        assert_true(a.blocks[i].bytes <= BACKLOG_BLOCK_BYTES);
        assert_int_equal(a.blocks[i].offset % 512, 0);
    }
    struct backlog_item last = a.items[999];
    struct msglog_place place = {.file = a.file, .offset = last.offset, .len = last.len};
    struct msglog_record record;
    assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, false, &place, &record), 0);
    assert_int_equal(record.content.body_bytes, body_of(1000));
    mem_free(record.buffer);
    place.offset += 8;
    assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, false, &place, &record), -LE_CORRUPT);
    place.file = 9;
    assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, false, &place, &record), -LE_NOTFOUND);
    mem_free(a.blocks);
    mem_free(a.items);
    append(&w, BACKLOG_CHAIN, 1001, 1500);
    struct backlog_wait all;
    sum_up(1, 1500, &all);
    assert_int_equal(w.b.count, 1500);
    assert_int_equal(w.b.body_bytes, all.body_bytes);
    assert_int_equal(w.b.persistent, all.persistent);
    assert_int_equal(backlog_last_seq(&w.b), 1500);
    assert_int_equal(drain(&w, 1, &bad), 1500);
    assert_int_equal(bad, 0);
    assert_int_equal(w.b.cursor, 1501);
    world_fini(&w);
}

static void
test_what_was_taken_meanwhile_does_not_wait(void **state)
{
    struct world w;
    uint64_t bad;
    world_init(&w);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1, 1500, 1201, NULL), 0);
    assert_int_equal(w.b.cursor, 1201);
    assert_int_equal(w.b.count, 300);
    assert_true(backlog_peek(&w.b)->last_seq >= 1201);
    append(&w, BACKLOG_CHAIN, 1501, 1600);
    assert_int_equal(drain(&w, 1201, &bad), 400);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1601, 1610, 1611, NULL), 0);
    assert_null(backlog_peek(&w.b));
    assert_int_equal(w.b.count, 0);
    world_fini(&w);
}

static void
test_reopen_waits_and_keeps(void **state)
{
    struct world w;
    struct opened o;
    uint64_t bad;
    world_init(&w);
    append(&w, BACKLOG_CHAIN, 1, 1000);
    append(&w, BACKLOG_LOOSE, 2000, 2009);
    append(&w, BACKLOG_CHAIN, 2010, 2500);
    uint64_t next = w.b.next_block;
    reopen(&w, &o);
    assert_int_equal(o.kept_count, persistent_in(2000, 2009));
    for (size_t i = 0; i < o.kept_count; i++) {
        assert_null(o.kept[i].record.content.bytes);
        check_record(&o.kept[i].record, o.kept[i].record.seq);
    }
    assert_true(w.b.next_block > next);
    assert_int_equal(w.b.count, persistent_in(1, 1000) + persistent_in(2010, 2500));
    assert_int_equal(o.report.messages, w.b.count + o.kept_count);
    assert_int_equal(o.report.transient_dropped, 1501 - o.report.messages);
    assert_int_equal(o.report.bad_blocks + o.report.bad_records + o.report.torn_bytes, 0);
    append(&w, BACKLOG_CHAIN, 2501, 2600); // goes on in the same file
    assert_int_equal(w.b.file_count, 1);
    assert_true(drain(&w, 1, &bad) > 1400);
    opened_fini(&o);
    world_fini(&w);
}

static void
test_state_says_what_lives(void **state)
{
    struct world w;
    struct opened o;
    uint64_t bad;
    static const uint64_t kept[] = {5, 6, 7, 12, 2001, 2002};
    world_init(&w);
    append(&w, BACKLOG_CHAIN, 1, 1000);
    append(&w, BACKLOG_LOOSE, 2000, 2009);
    struct backlog_state s = state_of(&w, 600, kept, 6);
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    append(&w, BACKLOG_LOOSE, 2100, 2109);
    append(&w, BACKLOG_CHAIN, 3000, 3100);
    reopen(&w, &o);
    // 600 lies in the middle of a block: the rest of that block is kept, and the cursor stands behind it.
    uint64_t cursor = w.b.cursor, expected = 0;
    assert_true(cursor > 600 && cursor <= 1001);
    for (uint64_t seq = 600; seq < cursor; seq++)
        expected += seq % 7 != 3;
    for (size_t i = 0; i < 6; i++)
        expected += kept[i] % 7 != 3;
    assert_int_equal(o.kept_count, expected + persistent_in(2100, 2109));
    assert_int_equal(w.b.count,
                     (cursor <= 1000 ? persistent_in(cursor, 1000) : 0) + persistent_in(3000, 3100));
    opened_fini(&o);
    // Everything was taken and acked but one: only that one comes back.
    mem_free(s.ends);
    s = state_of(&w, 3101, kept + 1, 1);
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    mem_free(s.ends);
    reopen(&w, &o);
    assert_int_equal(o.kept_count, 1);
    check_record(&o.kept[0].record, 6);
    assert_int_equal(w.b.count, 0);
    assert_int_equal(w.b.files[0].kept, 1);
    assert_int_equal(drain(&w, 3101, &bad), 0);
    opened_fini(&o);
    world_fini(&w);
}

// --- gone, failed, unneeded ---

static void
test_gone_by_the_log(void **state)
{
    struct world w;
    struct opened o;
    uint32_t second;
    uint64_t bad;
    // At the front; a whole block; in the middle of the second; everything.
    static const struct {
        struct range range;
        uint64_t kept, waiting, cursor;
    } cases[] = {
        {{1, 6}, 4, 12, 10}, {{1, 10}, 0, 12, 10},         {{13, 14}, 6 + 5, 6, 17},
        {{1, 24}, 0, 0, 24}, {{12, 20}, 6 + 1 + 4, 0, 24}, {{24, 99}, 0, 18, 1},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        is_timeless = true;
        three_blocks(&w, &second);
        struct gone gone = {&cases[i].range, 1};
        assert_int_equal(reopen_gone(&w, &o, &gone), 0);
        assert_int_equal(o.kept_count, cases[i].kept);
        assert_int_equal(w.b.count, cases[i].waiting);
        assert_int_equal(w.b.cursor, cases[i].cursor);
        for (size_t k = 0; k < o.kept_count; k++) {
            uint64_t seq = o.kept[k].record.seq;
            assert_true(seq < cases[i].range.first || seq >= cases[i].range.end);
            assert_true(k == 0 || seq > o.kept[k - 1].record.seq);
        }
        assert_int_equal(w.b.files[0].kept, o.kept_count);
        assert_int_equal(drain(&w, 1, &bad), cases[i].waiting);
        opened_fini(&o);
        world_fini(&w);
    }
    is_timeless = false;
}

static void
test_failed_append_counts_nothing(void **state)
{
    static const unsigned calls[] = {CUT_OPEN, CUT_WRITE, CUT_FDATASYNC, CUT_SYNC_DIR, CUT_MKDIR, CUT_OTHER};
    for (size_t c = 0; c < LV_ARRAY_LEN(calls); c++)
        for (uint64_t at = 1; at <= 2; at++) {
            struct world w;
            struct opened o;
            uint64_t bad;
            world_init(&w);
            if (c % 2 == 0)
                append(&w, BACKLOG_CHAIN, 1, 9);
            uint64_t before = w.b.count;
            struct powercut_fault fault = {.calls = calls[c], .at = at, .count = 1, .error = -LE_IO};
            powercut_plan(w.disk, &fault);
            int err = append_from(&w, BACKLOG_CHAIN, 11, 16, 11, NULL);
            powercut_clear_plan(w.disk);
            if (err != 0) {
                assert_int_equal(w.b.count, before);
                assert_true(w.b.files[w.b.file_count - 1].is_closed);
                append(&w, BACKLOG_CHAIN, 11, 16);
                assert_true(w.b.chain[w.b.end - 1].file > w.b.files[0].file);
            }
            uint64_t count = w.b.count;
            reopen(&w, &o);
            assert_int_equal(o.kept_count, 0);
            assert_int_equal(w.b.count, count - (before > 0)); // 3 is not persistent
            (void)drain(&w, 1, &bad);
            opened_fini(&o);
            world_fini(&w);
        }
}

// Nothing is written where somebody else wrote.
static void
test_a_longer_file_is_not_touched(void **state)
{
    struct world w;
    uint32_t second;
    int fd;
    three_blocks(&w, &second);
    uint8_t byte = 1;
    struct iovec part = {&byte, 1};
    assert_int_equal(w.io->open(w.io->ctx, file_1, IO_WRITE, &fd), 0);
    assert_int_equal(io_write_all(w.io, fd, &part, 1, w.b.files[0].bytes), 0);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 30, 33, 30, NULL), -LE_STATE);
    uint64_t size;
    assert_int_equal(w.io->size(w.io->ctx, fd, &size), 0);
    assert_int_equal(size, w.b.files[0].bytes + 1);
    assert_int_equal(w.io->close(w.io->ctx, fd), 0);
    world_fini(&w);
}

static void
test_files_that_nothing_needs(void **state)
{
    struct world w;
    struct backlog_wait lost;
    uint64_t bad;
    world_init(&w);
    append(&w, BACKLOG_CHAIN, 1, 5);
    w.b.files[0].bytes = BACKLOG_FILE_BYTES; // full
    append(&w, BACKLOG_LOOSE, 10, 12);
    assert_int_equal(backlog_keep(&w.b, 2, 3), 0);
    assert_int_equal(backlog_keep(&w.b, 7, 1), -LE_NOTFOUND);
    assert_int_equal(backlog_take_unneeded(&w.b), 0);
    assert_int_equal(backlog_keep(&w.b, 1, 1), 0);
    backlog_advance(&w.b, &lost);
    assert_int_equal(backlog_take_unneeded(&w.b), 0);
    backlog_unkeep(&w.b, 1);
    assert_int_equal(backlog_take_unneeded(&w.b), 1);
    assert_int_equal(backlog_take_unneeded(&w.b), 0);
    // The last one stays as long as something is kept in it or being written to it.
    struct backlog_append a = {0};
    for (int i = 0; i < 3; i++)
        backlog_unkeep(&w.b, 2);
    assert_int_equal(backlog_begin_append(&w.b, &a), 0);
    assert_int_equal(a.file, 2);
    assert_false(a.is_new_file);
    assert_int_equal(backlog_take_unneeded(&w.b), 0);
    struct backlog_wait none = {0};
    assert_int_equal(backlog_appended(&w.b, NULL, 0, 1, &none), 0);
    assert_int_equal(backlog_take_unneeded(&w.b), 2);
    assert_int_equal(backlog_unlink(w.io, dir, QUEUE, false, 1), 0);
    assert_int_equal(backlog_unlink(w.io, dir, QUEUE, false, 1), 0); // gone already
    append(&w, BACKLOG_CHAIN, 20, 25);
    append(&w, BACKLOG_CHAIN, 26, 29);
    backlog_drop_chain(&w.b, 28);
    assert_int_equal(w.b.count, 0);
    assert_int_equal(w.b.cursor, 28);
    assert_int_equal(backlog_take_unneeded(&w.b), 3);
    assert_int_equal(drain(&w, 1, &bad), 0);
    world_fini(&w);
}

static int
count_queue(void *ctx, uint64_t queue)
{
    *(uint64_t *)ctx += queue;
    return 0;
}

static void
test_transient_and_removal(void **state)
{
    struct world w;
    struct msglog_content c = {.body_bytes = 3, .bytes = (const uint8_t *)"abc"};
    struct backlog_item item = {.seq = 1, .content = &c};
    struct backlog_append a = {
        .queue = QUEUE, .items = &item, .count = 1, .is_transient = true, .kind = BACKLOG_CHAIN};
    world_init(&w);
    struct powercut_fault no_sync = {
        .calls = CUT_FDATASYNC | CUT_FSYNC | CUT_SYNC_DIR, .at = 1, .error = -LE_IO};
    powercut_plan(w.disk, &no_sync); // never called
    assert_int_equal(backlog_begin_append(&w.b, &a), 0);
    assert_int_equal(backlog_append(w.io, dir, NULL, &a), 0);
    powercut_clear_plan(w.disk);
    struct msglog_place place = {.file = a.file, .offset = item.offset, .len = item.len};
    struct msglog_record record;
    assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, true, &place, &record), 0);
    assert_memory_equal(record.content.bytes, "abc", 3);
    mem_free(record.buffer);
    assert_int_equal(backlog_prepare_dirs(w.io, dir), 0); // the next start
    assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, true, &place, &record), -LE_NOTFOUND);
    mem_free(a.blocks);
    backlog_fini(&w.b);
    backlog_init(&w.b);
    append(&w, BACKLOG_CHAIN, 1, 5);
    struct backlog_state s = state_of(&w, 1, NULL, 0);
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    mem_free(s.ends);
    s.ends = NULL;
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), -LE_INVAL); // not a snapshot
    uint64_t sum = 0;
    assert_int_equal(backlog_each_queue(w.io, dir, count_queue, &sum), 0);
    assert_int_equal(sum, QUEUE);
    assert_int_equal(backlog_remove(w.io, dir, QUEUE, false), 0);
    powercut_cut(w.disk); // for good
    sum = 0;
    assert_int_equal(backlog_each_queue(w.io, dir, count_queue, &sum), 0);
    assert_int_equal(sum, 0);
    assert_int_equal(backlog_remove(w.io, dir, QUEUE, false), 0);
    world_fini(&w);
}

// Moved again: the copy that was written last counts, and a message that lies loose does not wait as well.
static void
test_a_number_that_is_there_twice(void **state)
{
    struct world w;
    struct opened o;
    is_timeless = true;
    world_init(&w);
    append(&w, BACKLOG_LOOSE, 1, 2);
    append(&w, BACKLOG_LOOSE, 2, 2);
    append(&w, BACKLOG_CHAIN, 4, 9);
    append(&w, BACKLOG_LOOSE, 5, 5);
    append(&w, BACKLOG_CHAIN, 11, 16);
    reopen(&w, &o);
    assert_int_equal(o.kept_count, 2 + 6);
    assert_int_equal(o.kept[1].record.seq, 2);
    assert_true(o.kept[1].record.offset > o.kept[0].record.offset + 512);
    assert_int_equal(w.b.count, 6);
    assert_int_equal(w.b.cursor, 10);
    opened_fini(&o);
    world_fini(&w);
    is_timeless = false;
}

// An append failed, and yet it is on disk, whole: what came later says that it does not count, and so does a state when that is gone.
static void
test_failed_but_there(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct world w;
        struct opened o;
        uint8_t bytes[1024];
        struct msglog_content c;
        struct backlog_item item = {.seq = 20, .content = &c};
        struct backlog_append a = {.queue = QUEUE, .items = &item, .count = 1, .kind = BACKLOG_CHAIN};
        content_of(20, body_of(20), bytes, &c);
        world_init(&w);
        append(&w, BACKLOG_CHAIN, 11, 16);
        assert_int_equal(backlog_begin_append(&w.b, &a), 0);
        assert_int_equal(backlog_append(w.io, dir, NULL, &a), 0);
        backlog_append_failed(&w.b, a.file); // as if
        mem_free(a.blocks);
        if (i == 1)
            append(&w, BACKLOG_LOOSE, 19, 19);
        if (i == 2) {
            struct backlog_state s = state_of(&w, 11, NULL, 0);
            assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
            mem_free(s.ends);
        }
        for (int life = 0; life < 2; life++) { // and it stays so
            reopen(&w, &o);
            assert_int_equal(w.b.count, i == 0 ? 7 : 6);
            assert_int_equal(o.kept_count, i == 1);
            opened_fini(&o);
        }
        world_fini(&w);
    }
}

// A message above the size of a block has one for itself, and goes through start and reading like any other.
static void
test_a_message_above_a_block(void **state)
{
    enum { BIG = 700 * 1024 };
    struct world w;
    struct opened o;
    world_init(&w);
    uint8_t *body = mem_xcalloc(1, BIG);
    for (size_t i = 0; i < BIG; i++)
        body[i] = (uint8_t)(i * 7 >> 3);
    struct msglog_content small = {.flags = 1, .body_bytes = 100, .bytes = body},
                          big = {.flags = 1, .body_bytes = BIG, .bytes = body};
    struct backlog_item items[3] = {
        {.seq = 1, .content = &small}, {.seq = 2, .content = &big}, {.seq = 3, .content = &small}};
    struct backlog_append a = {.queue = QUEUE, .items = items, .count = 3, .kind = BACKLOG_CHAIN};
    assert_int_equal(backlog_begin_append(&w.b, &a), 0);
    assert_int_equal(backlog_append(w.io, dir, NULL, &a), 0);
    assert_int_equal(a.block_count, 3);
    mem_free(a.blocks);
    reopen(&w, &o);
    assert_int_equal(w.b.count, 3);
    assert_int_equal(w.b.body_bytes, BIG + 200);
    uint64_t seen = 0;
    for (const struct backlog_block *block; (block = backlog_peek(&w.b)) != NULL; seen++) {
        struct backlog_record r;
        struct backlog_wait lost;
        uint8_t *bytes;
        uint32_t at = 0;
        assert_int_equal(backlog_read_block(w.io, dir, QUEUE, false, block, &bytes), 0);
        assert_int_equal(backlog_block_next(bytes, block, &at, &r), 1);
        assert_int_equal(r.seq, seen + 1);
        assert_memory_equal(r.content.bytes, body, r.content.body_bytes);
        assert_int_equal(backlog_block_next(bytes, block, &at, &r), 0);
        mem_free(bytes);
        backlog_advance(&w.b, &lost);
    }
    assert_int_equal(seen, 3);
    opened_fini(&o);
    mem_free(body);
    world_fini(&w);
}

// --- from the log ---

static void
add_and_flush(struct core *c, struct msglog_entry *e)
{
    int err = core_add(c, 0, e);
    if (err == -LE_AGAIN) {
        assert_int_equal(core_flush(c), 0);
        err = core_add(c, 0, e);
    }
    assert_int_equal(err, 0);
}

static void
test_moved_from_the_log(void **state)
{
    enum { COUNT = 300, LARGE = 77 };
    struct world w;
    struct opened o;
    struct msglog *log;
    struct msglog_live live;
    struct msglog_report report;
    world_init(&w);
    struct msglog_config config = {
        .io = w.io, .dir = dir, .segment_bytes = 64 * 1024, .segment_max = 8, .seed = 1, .writer_count = 1};
    assert_int_equal(msglog_open(&config, &live, &report, &log), 0);
    struct msglog_entry *e = mem_xcalloc(COUNT, sizeof(*e));
    struct msglog_content *c = mem_xcalloc(COUNT, sizeof(*c));
    uint8_t *bytes = mem_xcalloc(COUNT, 1024), *large = mem_xcalloc(1, 40 * 1024);
    for (uint64_t i = 0; i < COUNT; i++) {
        content_of(i + 1, body_of(i + 1), bytes + i * 1024, &c[i]);
        if (i == LARGE)
            c[i] = (struct msglog_content){.flags = 1, .body_bytes = 40 * 1024, .bytes = large};
        e[i] = (struct msglog_entry){.kind = MSGLOG_MESSAGE, .queue = QUEUE, .seq = i + 1, .content = &c[i]};
        add_and_flush(msglog_core(log), &e[i]);
    }
    assert_int_equal(core_flush(msglog_core(log)), 0);
    struct backlog_item *items = mem_xcalloc(COUNT, sizeof(*items));
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(e[i].result, 0);
        items[i] = (struct backlog_item){.seq = i + 1,
                                         .expires_ms = (int64_t)(i + 1) * 5,
                                         .epoch = 3,
                                         .flags = (uint32_t)(i + 1) % 5,
                                         .from = e[i].place};
    }
    items[9].from.offset += 8;  // damaged, for all one can see
    items[19].from.file = 1000; // gone
    items[29].from.len = 3;     // nonsense
    struct backlog_append a = {.queue = QUEUE, .items = items, .count = COUNT, .kind = BACKLOG_CHAIN};
    assert_int_equal(backlog_begin_append(&w.b, &a), 0);
    uint64_t calls = powercut_calls(w.disk);
    assert_int_equal(backlog_append(w.io, dir, log, &a), 0);
    assert_true(powercut_calls(w.disk) - calls < 40); // neighbours are read together
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(items[i].result, i == 9    ? -LE_CORRUPT
                                          : i == 19 ? -LE_NOTFOUND
                                          : i == 29 ? -LE_CORRUPT
                                                    : 0);
    mem_free(a.blocks);
    reopen(&w, &o);
    assert_int_equal(w.b.count, persistent_in(1, COUNT) - 2 + (LARGE % 7 == 2)); // 10 was not persistent
    assert_int_equal(o.report.large_count, 1);
    assert_int_equal(o.report.large[0], e[LARGE].large_file);
    struct msglog_place place = {.file = a.file, .offset = items[LARGE].offset, .len = items[LARGE].len};
    struct msglog_record record;
    assert_true(place.len < 200);
    assert_int_equal(backlog_read(w.io, dir, log, QUEUE, false, &place, &record), 0);
    assert_memory_equal(record.content.bytes, large, 40 * 1024);
    assert_int_equal(record.large_file, e[LARGE].large_file);
    mem_free(record.buffer);
    // From there to a loose block, as it is.
    struct backlog_item again = {.seq = LARGE + 1, .from = place, .is_from_backlog = true};
    struct backlog_append b = {.queue = QUEUE, .items = &again, .count = 1, .kind = BACKLOG_LOOSE};
    assert_int_equal(backlog_begin_append(&w.b, &b), 0);
    assert_int_equal(backlog_append(w.io, dir, log, &b), 0);
    assert_int_equal(again.result, 0);
    assert_int_equal(b.blocks[0].large, 1);
    mem_free(b.blocks);
    opened_fini(&o);
    mem_free(items);
    mem_free(e);
    mem_free(c);
    mem_free(bytes);
    mem_free(large);
    msglog_live_fini(&live);
    msglog_close(log);
    world_fini(&w);
}

// Every allocation fails once; nothing is lost for it, and nothing leaks.
static void
test_no_memory(void **state)
{
    struct world w;
    struct opened o;
    uint32_t second;
    three_blocks(&w, &second);
    for (uint64_t n = 1;; n++) {
        mem_test_fail_after(n);
        int err = reopen_gone(&w, &o, NULL);
        mem_test_fail_after(0);
        assert_true(err == 0 || err == -LE_NOMEM);
        if (err == 0)
            break;
    }
    assert_int_equal(w.b.count, 18);
    opened_fini(&o);
    world_fini(&w);
}

// --- on the real file system ---

static void
test_set_aside(void **state)
{
    char top[] = "/tmp/leveret-backlog-XXXXXX", path[256];
    struct msglog_content c = {.body_bytes = 3, .bytes = (const uint8_t *)"abc"};
    assert_non_null(mkdtemp(top));
    assert_int_equal(backlog_prepare_dirs(io_system(), top), 0);
    for (int i = 1; i <= 2; i++) {
        struct buf where = BUF_INIT;
        struct backlog_item item = {.seq = 1, .content = &c};
        struct backlog_append a = {.queue = QUEUE,
                                   .first_block = 1,
                                   .reported_end = 1,
                                   .items = &item,
                                   .count = 1,
                                   .file = 1,
                                   .offset = FILE_HEADER_BYTES,
                                   .is_new_file = true,
                                   .kind = BACKLOG_CHAIN};
        assert_int_equal(backlog_append(io_system(), top, NULL, &a), 0);
        mem_free(a.blocks);
        assert_int_equal(backlog_set_aside(io_system(), top, QUEUE, &where), 0);
        snprintf(path, sizeof path, "%s/lost+found/queue-000000000000002a-%d", top, i);
        assert_string_equal(buf_cstr(&where), path);
        buf_fini(&where);
        snprintf(path, sizeof path, "%s/lost+found/queue-000000000000002a-%d/00000001.blg", top, i);
        assert_int_equal(unlink(path), 0);
        *strrchr(path, '/') = '\0';
        if (i == 2) {
            assert_int_equal(rmdir(path), 0);
            path[strlen(path) - 1] = '1';
            assert_int_equal(rmdir(path), 0);
        }
    }
    struct backlog_item item = {.seq = 1, .content = &c};
    struct backlog_append a = {.queue = QUEUE,
                               .first_block = 1,
                               .reported_end = 1,
                               .items = &item,
                               .count = 1,
                               .file = 1,
                               .offset = FILE_HEADER_BYTES,
                               .is_new_file = true,
                               .kind = BACKLOG_CHAIN};
    assert_int_equal(backlog_append(io_system(), top, NULL, &a), 0);
    mem_free(a.blocks);
    assert_int_equal(backlog_remove(io_system(), top, QUEUE, false), 0);
    static const char *const names[] = {"queues", "transient", "lost+found"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", top, names[i]);
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(top), 0);
}

int
main(int argc, char **argv)
{
    plant_bugs(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_read_and_advance),
        cmocka_unit_test(test_what_was_taken_meanwhile_does_not_wait),
        cmocka_unit_test(test_reopen_waits_and_keeps),
        cmocka_unit_test(test_state_says_what_lives),
        cmocka_unit_test(test_gone_by_the_log),
        cmocka_unit_test(test_failed_append_counts_nothing),
        cmocka_unit_test(test_a_longer_file_is_not_touched),
        cmocka_unit_test(test_files_that_nothing_needs),
        cmocka_unit_test(test_transient_and_removal),
        cmocka_unit_test(test_a_number_that_is_there_twice),
        cmocka_unit_test(test_failed_but_there),
        cmocka_unit_test(test_a_message_above_a_block),
        cmocka_unit_test(test_moved_from_the_log),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
