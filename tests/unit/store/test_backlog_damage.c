// test_backlog_damage.c: backlog files that rotted or were cut short: each byte of each header, of a record, of state; tails of every
// length; headers that lie; versions to come; bodies that look like blocks.
#include "tests/unit/store/backlog_world.h"

// --- damage ---

static void
test_every_byte_of_a_header(void **state)
{
    for (uint32_t at = 0; at < BLOCK_HEADER_BYTES; at++) {
        struct world w;
        struct opened o;
        uint32_t second;
        uint64_t bad;
        three_blocks(&w, &second);
        const struct backlog_block block = w.b.chain[1];
        assert_true(powercut_rot(w.disk, file_1, second + at, (uint8_t)(1u << at % 8)));
        // Who knows the block already does not need the header.
        assert_int_equal(drain(&w, 1, &bad), 18);
        assert_int_equal(bad, 0);
        reopen(&w, &o);
        assert_int_equal(o.report.bad_blocks, 1);
        assert_int_equal(o.report.torn_bytes, 0);
        assert_int_equal(o.report.blocks, 2);
        assert_int_equal(drain(&w, 1, &bad), 12);
        assert_int_equal(block.offset, second);
        opened_fini(&o);
        world_fini(&w);
    }
}

// Wrong, but with a checksum that is right: no field is believed.
static void
test_every_field_of_a_header(void **state)
{
    struct world w;
    uint32_t second;
    uint8_t bytes[BLOCK_HEADER_BYTES], file_bytes[FILE_HEADER_BYTES];
    struct block_header h, got;
    size_t n;
    int fd;
    three_blocks(&w, &second);
    struct file_header file = {.queue = QUEUE, .file = 1};
    assert_int_equal(w.io->open(w.io->ctx, file_1, IO_READ, &fd), 0);
    assert_int_equal(io_read_all(w.io, fd, file_bytes, sizeof file_bytes, 0, &n), 0);
    assert_int_equal(file_header_decode(file_bytes, QUEUE, 1, &file.salt), 0);
    assert_int_equal(file_header_decode(file_bytes, QUEUE + 1, 1, &file.salt), -LE_NOTFOUND);
    assert_int_equal(file_header_decode(file_bytes, QUEUE, 2, &file.salt), -LE_NOTFOUND);
    assert_int_equal(io_read_all(w.io, fd, bytes, sizeof bytes, second, &n), 0);
    assert_int_equal(w.io->close(w.io->ctx, fd), 0);
    assert_int_equal(block_header_decode(bytes, &file, second, &h), 0);
#define WRONG(change)                                                                                        \
    do {                                                                                                     \
        struct block_header wrong = h;                                                                       \
        wrong.change;                                                                                        \
        block_header_encode(&wrong, bytes);                                                                  \
        assert_int_equal(block_header_decode(bytes, &file, second, &got), -LE_NOTFOUND);                     \
    } while (0)
    WRONG(queue++);
    WRONG(salt++);
    WRONG(file++);
    WRONG(offset += 512);
    WRONG(append = h.number + 1);
    WRONG(append = 0);
    WRONG(first_seq = h.last_seq + 1);
    WRONG(last_seq = h.first_seq);
    WRONG(count = 0);
    WRONG(count = UINT32_MAX);
    WRONG(persistent = h.count + 1);
    WRONG(large = h.count + 1);
    WRONG(persistent_bytes = h.body_bytes + 1);
    WRONG(payload_bytes = UINT32_MAX);
    WRONG(payload_bytes = 0);
    WRONG(payload_bytes = BACKLOG_BLOCK_BYTES + 512);
    WRONG(kind = 0);
    WRONG(kind = 3);
#undef WRONG
    world_fini(&w);
}

static void
test_file_header_is_there_twice(void **state)
{
    for (int both = 0; both < 2; both++)
        for (uint32_t at = 0; at < MSGLOG_SECTOR_BYTES; at += 3) {
            struct world w;
            struct opened o;
            uint32_t second;
            uint64_t bad;
            three_blocks(&w, &second);
            assert_true(powercut_rot(w.disk, file_1, at, 0x10));
            if (both == 1)
                assert_true(powercut_rot(w.disk, file_1, MSGLOG_SECTOR_BYTES + at, 0x10));
            reopen(&w, &o);
            assert_int_equal(drain(&w, 1, &bad), both == 1 ? 0 : 18);
            assert_true(both == 0 || o.report.torn_bytes > 0);
            opened_fini(&o);
            world_fini(&w);
        }
}

static void
test_every_byte_of_a_record(void **state)
{
    struct world w;
    struct backlog_append a;
    world_init(&w);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 4, 9, 4, &a), 0);
    struct backlog_item hurt = a.items[2];
    uint32_t padded = align_up(hurt.len, RECORD_ALIGN_BYTES);
    for (uint32_t at = 0; at < padded; at++) {
        struct backlog_record r;
        uint8_t *bytes;
        uint32_t cursor = 0, good = 0, bad = 0;
        assert_true(powercut_rot(w.disk, file_1, hurt.offset + at, 0x04));
        assert_int_equal(backlog_read_block(w.io, dir, QUEUE, false, &a.blocks[0], &bytes), 0);
        for (int got; (got = backlog_block_next(bytes, &a.blocks[0], &cursor, &r)) != 0;) {
            good += got > 0;
            bad += got < 0;
            if (got > 0)
                check_record(&r, r.seq);
            assert_true(got < 0 || at >= hurt.len || r.seq != hurt.seq);
        }
        assert_int_equal(good, at < hurt.len ? 5 : 6);
        assert_int_equal(bad, at < hurt.len ? 1 : 0);
        mem_free(bytes);
        struct msglog_place place = {.file = 1, .offset = hurt.offset, .len = hurt.len};
        struct msglog_record record = {0};
        assert_int_equal(backlog_read(w.io, dir, NULL, QUEUE, false, &place, &record),
                         at < hurt.len ? -LE_CORRUPT : 0);
        mem_free(record.buffer);
        assert_true(powercut_rot(w.disk, file_1, hurt.offset + at, 0x04));
    }
    // What was promised is counted until the block is done with; then it is told.
    assert_true(powercut_rot(w.disk, file_1, hurt.offset + 40, 0x04));
    struct backlog_wait lost;
    for (uint64_t seq = 4; seq <= 9; seq++)
        if (seq != hurt.seq)
            backlog_taken(&w.b, seq, body_of(seq), seq % 7 != 3);
    assert_int_equal(w.b.count, 1);
    backlog_advance(&w.b, &lost);
    assert_int_equal(lost.count, 1);
    assert_int_equal(lost.body_bytes, body_of(hurt.seq));
    assert_int_equal(w.b.count, 0);
    mem_free(a.blocks);
    mem_free(a.items);
    world_fini(&w);
}

// A last block that ends anywhere: it counts whole as far as its records are there (its header was the last to be written, so in truth all are);
// without its header it does not count, and its file gets no more blocks.
static void
test_tail_is_cut_anywhere(void **state)
{
    struct world w;
    uint32_t second;
    three_blocks(&w, &second);
    uint32_t third = w.b.chain[2].offset, end = w.b.files[0].bytes;
    int fd;
    for (uint32_t size = end; size > third; size -= size > third + 512 ? 7 : 1) {
        struct opened o;
        uint64_t bad;
        assert_int_equal(w.io->open(w.io->ctx, file_1, IO_WRITE, &fd), 0);
        assert_int_equal(w.io->truncate(w.io->ctx, fd, size), 0);
        assert_int_equal(w.io->close(w.io->ctx, fd), 0);
        reopen(&w, &o);
        bool has_third = size >= third + 512;
        assert_int_equal(o.report.blocks, has_third ? 3 : 2);
        assert_int_equal(o.report.torn_bytes, has_third ? 0 : size - third);
        assert_int_equal(o.report.bad_blocks, 0);
        assert_int_equal(w.b.files[0].is_closed, size != end);
        uint64_t count = drain(&w, 1, &bad);
        assert_true(has_third ? count >= 12 && count <= 18 : count == 12);
        opened_fini(&o);
        if (size % 5 == 0) { // new ones go elsewhere
            append(&w, BACKLOG_CHAIN, 30, 33);
            assert_int_equal(backlog_peek(&w.b)->file, 2);
            assert_int_equal(backlog_unlink(w.io, dir, QUEUE, false, 2), 0);
        }
    }
    world_fini(&w);
}

static void
test_newer_version_is_refused(void **state)
{
    struct world w;
    struct opened o;
    uint32_t second;
    uint8_t bytes[FILE_HEADER_BYTES];
    size_t n;
    int fd;
    three_blocks(&w, &second);
    assert_int_equal(w.io->open(w.io->ctx, file_1, IO_WRITE, &fd), 0);
    assert_int_equal(io_read_all(w.io, fd, bytes, sizeof bytes, 0, &n), 0);
    put_u32(bytes + 8, BACKLOG_FORMAT_VERSION + 1);
    put_u32(bytes + 508, crc32c(0, bytes, 508));
    struct iovec part = {bytes, 512};
    assert_int_equal(io_write_all(w.io, fd, &part, 1, 0), 0);
    uint64_t calls = powercut_calls(w.disk);
    assert_int_equal(reopen_gone(&w, &o, NULL), -LE_UNSUPPORTED);
    assert_true(powercut_calls(w.disk) > calls);
    put_u32(bytes + 8, BACKLOG_FORMAT_VERSION);
    put_u32(bytes + 508, crc32c(0, bytes, 508));
    part = (struct iovec){bytes, 512};
    assert_int_equal(io_write_all(w.io, fd, &part, 1, 0), 0);
    assert_int_equal(w.io->close(w.io->ctx, fd), 0);
    // And a newer state.
    uint8_t *encoded;
    size_t len;
    struct backlog_state s = state_of(&w, 1, NULL, 0);
    assert_int_equal(state_encode(QUEUE, &s, &encoded, &len), 0);
    mem_free(s.ends);
    put_u32(encoded + 8, BACKLOG_FORMAT_VERSION + 1);
    put_u32(encoded + len - 4, crc32c(0, encoded, len - 4));
    assert_int_equal(w.io->open(w.io->ctx, "/queues/000000000000002a/state", IO_WRITE | IO_CREATE, &fd), 0);
    part = (struct iovec){encoded, len};
    assert_int_equal(io_write_all(w.io, fd, &part, 1, 0), 0);
    assert_int_equal(w.io->close(w.io->ctx, fd), 0);
    assert_int_equal(reopen_gone(&w, &o, NULL), -LE_UNSUPPORTED);
    mem_free(encoded);
    world_fini(&w);
}

static void
test_every_byte_of_state(void **state)
{
    static const uint64_t kept[] = {4, 5, 9};
    struct world w;
    uint32_t second;
    three_blocks(&w, &second);
    struct backlog_state s = state_of(&w, 24, kept, 3);
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    mem_free(s.ends);
    for (uint32_t at = 0; at < STATE_HEADER_BYTES + 2 * STATE_RANGE_BYTES + STATE_END_BYTES + 4; at++) {
        struct opened o;
        assert_true(powercut_rot(w.disk, "/queues/000000000000002a/state", at, 0x20));
        reopen(&w, &o); // everything is alive again: what was acked comes twice, nothing is lost
        assert_int_equal(o.report.bad_states, 1);
        assert_int_equal(w.b.count + o.kept_count, 18);
        opened_fini(&o);
        assert_true(powercut_rot(w.disk, "/queues/000000000000002a/state", at, 0x20));
    }
    world_fini(&w);
}

// Counts come back one by one, whatever the ranges they were written as; what they say is checked.
static void
test_counts_of_state(void **state)
{
    static struct backlog_count counts[300];
    struct backlog_end end = {1, 7000};
    struct backlog_state s = {.block_end = 7, .cursor = 1, .ends = &end, .end_count = 1, .counts = counts},
                         got;
    uint8_t *bytes;
    size_t len;
    for (; s.count_count < 200; s.count_count++) // more than one range takes
        counts[s.count_count] = (struct backlog_count){s.count_count + 10, 3};
    for (; s.count_count < 300; s.count_count++)
        counts[s.count_count] =
            (struct backlog_count){s.count_count * 2 + 1000, (uint32_t)s.count_count % 3 + 0xfff0};
    assert_int_equal(state_encode(QUEUE, &s, &bytes, &len), 0);
    assert_int_equal(len, STATE_HEADER_BYTES + STATE_END_BYTES + (4 + 100) * COUNT_RANGE_BYTES + 4);
    assert_int_equal(state_decode(slice_of(bytes, len), QUEUE, &got), 0);
    assert_int_equal(got.count_count, 300);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(got.counts[i].seq, counts[i].seq);
        assert_int_equal(got.counts[i].count, counts[i].count);
    }
    state_fini(&got);
    static const struct {
        uint32_t at, value; // in the first range, and the number of ranges
    } lies[] = {{8, 0}, {8, COUNT_RANGE_MAX + 1}, {12, 0}, {12, COUNT_MAX + 1}, {0, 0}};
    uint8_t *first = bytes + STATE_HEADER_BYTES + STATE_END_BYTES;
    for (size_t i = 0; i < LV_ARRAY_LEN(lies); i++) {
        uint32_t was = get_u32(first + lies[i].at);
        put_u32(first + lies[i].at, lies[i].value);
        put_u32(bytes + len - 4, crc32c(0, bytes, len - 4));
        assert_int_equal(state_decode(slice_of(bytes, len), QUEUE, &got), -LE_CORRUPT);
        put_u32(first + lies[i].at, was);
    }
    for (uint64_t ranges = 0; ranges < 200; ranges++) {
        put_u64(bytes + 56, ranges);
        put_u32(bytes + len - 4, crc32c(0, bytes, len - 4));
        int err = state_decode(slice_of(bytes, len), QUEUE, &got);
        assert_int_equal(err, ranges == 104 ? 0 : -LE_CORRUPT);
        if (err == 0)
            state_fini(&got);
    }
    mem_free(bytes);
}

static void
test_states_that_lie(void **state)
{
    static const uint64_t kept[] = {4, 5, 9};
    struct backlog_end ends[2] = {{1, 7000}, {3, 9000}};
    struct backlog_state s = {.block_end = 7,
                              .cursor = 24,
                              .ends = ends,
                              .end_count = 2,
                              .kept = kept,
                              .kept_count = 3},
                         got;
    uint8_t *bytes;
    size_t len;
    assert_int_equal(state_encode(QUEUE, &s, &bytes, &len), 0);
    assert_int_equal(state_decode(slice_of(bytes, len), QUEUE, &got), 0);
    assert_int_equal(got.kept_count, 3);
    assert_memory_equal(got.kept, kept, sizeof kept);
    assert_int_equal(got.end_count, 2);
    assert_memory_equal(got.ends, ends, sizeof ends);
    state_fini(&got);
    assert_int_equal(state_decode(slice_of(bytes, len), QUEUE + 1, &got), -LE_CORRUPT);
    for (size_t n = 0; n < len; n++)
        assert_int_equal(state_decode(slice_of(bytes, n), QUEUE, &got), -LE_CORRUPT);
    static const struct {
        uint32_t at;
        uint64_t value;
    } lies[] = {{40, 1},
                {40, 3},
                {40, UINT64_MAX},
                {48, 1},
                {48, 3},
                {48, UINT64_MAX},
                {72, 8},
                {72, 4},
                {72, UINT64_MAX},
                {STATE_HEADER_BYTES, 9},
                {STATE_HEADER_BYTES + 16, 5},
                {STATE_HEADER_BYTES + 8, 0},
                {STATE_HEADER_BYTES + 8, UINT64_MAX},
                {STATE_HEADER_BYTES + 24, 1ull << 33},
                {STATE_HEADER_BYTES + 16, UINT64_MAX}};
    for (size_t i = 0; i < LV_ARRAY_LEN(lies); i++) {
        uint64_t before = get_u64(bytes + lies[i].at);
        put_u64(bytes + lies[i].at, lies[i].value);
        put_u32(bytes + len - 4, crc32c(0, bytes, len - 4));
        assert_int_equal(state_decode(slice_of(bytes, len), QUEUE, &got), -LE_CORRUPT);
        put_u64(bytes + lies[i].at, before);
    }
    mem_free(bytes);
}

// A body that holds what looks like blocks does not become one, whatever was lost before it.
static void
test_a_body_is_no_block(void **state)
{
    struct world w;
    struct opened o;
    world_init(&w);
    uint8_t *body = mem_xcalloc(1, 128 * 1024);
    for (uint32_t offset = 0; offset < 128 * 1024; offset += 8) {
        struct block_header h = {.queue = QUEUE,
                                 .salt = 1,
                                 .number = 9,
                                 .append = 9,
                                 .first_seq = 70,
                                 .last_seq = 70,
                                 .file = 1,
                                 .offset = align_up(offset, 512),
                                 .payload_bytes = 104,
                                 .count = 1,
                                 .kind = BACKLOG_CHAIN};
        if (offset % 512 == 0)
            block_header_encode(&h, body + offset);
    }
    for (uint32_t shift = 0; shift < 512; shift += 8) {
        struct msglog_content c = {.flags = 1, .body_bytes = 100 * 1024, .bytes = body + shift};
        struct backlog_item item = {.seq = shift + 1, .content = &c};
        struct backlog_append a = {.queue = QUEUE, .items = &item, .count = 1, .kind = BACKLOG_CHAIN};
        assert_int_equal(backlog_begin_append(&w.b, &a), 0);
        assert_int_equal(backlog_append(w.io, dir, NULL, &a), 0);
        struct backlog_wait wait = {1, c.body_bytes, 1};
        assert_int_equal(backlog_appended(&w.b, a.blocks, 1, shift + 1, &wait), 0);
        assert_true(powercut_rot(w.disk, file_1, a.offset + 50, 1));
        mem_free(a.blocks);
    }
    reopen(&w, &o);
    assert_int_equal(o.report.blocks, 0);
    opened_fini(&o);
    mem_free(body);
    world_fini(&w);
}

int
main(int argc, char **argv)
{
    plant_bugs(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_of_a_header),
        cmocka_unit_test(test_every_field_of_a_header),
        cmocka_unit_test(test_file_header_is_there_twice),
        cmocka_unit_test(test_every_byte_of_a_record),
        cmocka_unit_test(test_tail_is_cut_anywhere),
        cmocka_unit_test(test_newer_version_is_refused),
        cmocka_unit_test(test_every_byte_of_state),
        cmocka_unit_test(test_states_that_lie),
        cmocka_unit_test(test_counts_of_state),
        cmocka_unit_test(test_a_body_is_no_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
