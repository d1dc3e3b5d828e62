// test_backlog.c: backlog files on a simulated disk: what was appended can be read and opened again; the picture's sums; each field of a
// header and each byte of a record damaged; tails torn at every length; state; the rules of files that are not needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/backlog_format.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { QUEUE = 0x2a, SEQS = 4096 };

static const char dir[] = "/";
static const char file_1[] = "/queues/000000000000002a/00000001.blg";

struct world {
    struct powercut *disk;
    const struct io *io;
    struct backlog b;
};

static void
world_init(struct world *w)
{
    w->disk = powercut_new(1);
    w->io = powercut_io(w->disk);
    backlog_init(&w->b);
    assert_int_equal(backlog_prepare_dirs(w->io, dir), 0);
}

static void
world_fini(struct world *w)
{
    assert_int_equal(powercut_open_count(w->disk), 0);
    backlog_fini(&w->b);
    powercut_free(w->disk);
}

// The content of a message follows from its number; the n-th has n % 7 == 3: not persistent.
static void
content_of(uint64_t seq, uint32_t body, uint8_t *bytes, struct msglog_content *ret)
{
    for (uint32_t i = 0; i < body + 14; i++)
        bytes[i] = (uint8_t)(seq * 31 + i);
    *ret = (struct msglog_content){.flags = seq % 7 != 3,
                                   .priority = (uint8_t)seq,
                                   .route_bytes = 4,
                                   .header_bytes = 10,
                                   .body_bytes = body,
                                   .expiry_ms = (uint32_t)seq,
                                   .published_ms = (int64_t)seq * 1000,
                                   .bytes = bytes};
}

static uint32_t
body_of(uint64_t seq)
{
    return (uint32_t)(seq * 37 % 900);
}

static void
sum_up(uint64_t first, uint64_t last, struct backlog_wait *ret)
{
    *ret = (struct backlog_wait){0};
    for (uint64_t seq = first; seq <= last; seq++) {
        ret->count++;
        ret->body_bytes += body_of(seq);
        ret->persistent += seq % 7 != 3;
    }
}

// Appends [first, last], all of which wait from `from` on.
static int
append_from(struct world *w, uint8_t kind, uint64_t first, uint64_t last, uint64_t from,
            struct backlog_append *ret)
{
    size_t count = (size_t)(last - first + 1);
    struct backlog_item *items = mem_xcalloc(count, sizeof(*items));
    struct msglog_content *contents = mem_xcalloc(count, sizeof(*contents));
    uint8_t *bytes = mem_xalloc(count * 1024);
    struct backlog_append a = {
        .queue = QUEUE, .first_block = w->b.next_block, .items = items, .count = count, .kind = kind};
    for (size_t i = 0; i < count; i++) {
        content_of(first + i, body_of(first + i), bytes + i * 1024, &contents[i]);
        items[i] = (struct backlog_item){.seq = first + i,
                                         .expires_ms = (int64_t)(first + i) * 5,
                                         .epoch = 3,
                                         .flags = (uint32_t)(first + i) % 5,
                                         .content = &contents[i]};
    }
    assert_int_equal(backlog_place_append(&w->b, &a.file, &a.offset, &a.is_new_file), 0);
    int err = backlog_append(w->io, dir, NULL, &a);
    struct backlog_wait wait;
    sum_up(LV_MAX(first, from), last, &wait);
    if (err == 0)
        assert_int_equal(backlog_appended(&w->b, a.blocks, a.block_count, from, &wait), 0);
    else
        backlog_append_failed(&w->b, a.file);
    mem_free(contents);
    mem_free(bytes);
    if (ret != NULL) {
        *ret = a;
    } else {
        mem_free(a.blocks);
        mem_free(items);
    }
    return err;
}

static void
append(struct world *w, uint8_t kind, uint64_t first, uint64_t last)
{
    assert_int_equal(append_from(w, kind, first, last, first, NULL), 0);
}

static void
check_record(const struct backlog_record *r, uint64_t seq)
{
    uint8_t bytes[1024];
    struct msglog_content c;
    content_of(seq, body_of(seq), bytes, &c);
    assert_int_equal(r->seq, seq);
    assert_int_equal(r->expires_ms, seq * 5);
    assert_int_equal(r->epoch, 3);
    assert_int_equal(r->flags, seq % 5);
    assert_int_equal(r->content.flags, c.flags);
    assert_int_equal(r->content.priority, c.priority);
    assert_int_equal(r->content.published_ms, c.published_ms);
    assert_int_equal(r->content.expiry_ms, c.expiry_ms);
    assert_int_equal(r->content.body_bytes, c.body_bytes);
    if (r->content.bytes != NULL)
        assert_memory_equal(r->content.bytes, bytes, body_of(seq) + 14);
}

// Takes what waits, block by block, from `first` on; the numbers in between that are not there are said by `is_there`.
static uint64_t
drain(struct world *w, uint64_t first, uint64_t *ret_bad)
{
    uint64_t count = 0;
    *ret_bad = 0;
    for (const struct backlog_block *block; (block = backlog_peek(&w->b)) != NULL;) {
        uint8_t *bytes;
        uint32_t at = 0;
        struct backlog_record r;
        assert_int_equal(backlog_read_block(w->io, dir, QUEUE, false, block, &bytes), 0);
        for (int got; (got = backlog_block_next(bytes, block, &at, &r)) != 0;) {
            *ret_bad += got < 0;
            if (got < 0 || r.seq < w->b.cursor)
                continue;
            assert_true(r.seq >= first);
            check_record(&r, r.seq);
            backlog_taken(&w->b, r.seq, r.content.body_bytes, r.content.flags & 1);
            count++;
        }
        struct backlog_wait lost;
        backlog_advance(&w->b, &lost);
        mem_free(bytes);
    }
    assert_int_equal(w->b.count + w->b.body_bytes + w->b.persistent, 0);
    return count;
}

struct range {
    uint64_t first, end;
};

struct gone {
    const struct range *ranges;
    size_t count;
};

static void
next_gone(void *ctx, uint64_t from, uint64_t *ret_first, uint64_t *ret_end)
{
    const struct gone *g = ctx;
    *ret_first = *ret_end = UINT64_MAX;
    for (size_t i = 0; i < g->count; i++)
        if (g->ranges[i].end > from) {
            *ret_first = g->ranges[i].first;
            *ret_end = g->ranges[i].end;
            return;
        }
}

struct opened {
    struct backlog_kept *kept;
    size_t kept_count;
    struct backlog_report report;
};

// A new life: the picture comes from the files.
static int
reopen_gone(struct world *w, struct opened *o, const struct gone *gone)
{
    backlog_fini(&w->b);
    memset(o, 0, sizeof(*o));
    return backlog_open(w->io, dir, QUEUE, gone != NULL ? next_gone : NULL, (void *)(uintptr_t)gone, &w->b,
                        &o->kept, &o->kept_count, &o->report);
}

static void
reopen(struct world *w, struct opened *o)
{
    assert_int_equal(reopen_gone(w, o, NULL), 0);
}

static void
opened_fini(struct opened *o)
{
    mem_free(o->kept);
    mem_free(o->report.large);
}

static uint64_t
persistent_in(uint64_t first, uint64_t last)
{
    struct backlog_wait wait;
    sum_up(first, last, &wait);
    return wait.persistent;
}

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
    assert_int_equal(w.b.next_block, next);
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
    struct backlog_state s = {.block_end = w.b.next_block, .cursor = 600, .kept = kept, .kept_count = 6};
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
    s = (struct backlog_state){
        .block_end = w.b.next_block, .cursor = 3101, .kept = kept + 1, .kept_count = 1};
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    reopen(&w, &o);
    assert_int_equal(o.kept_count, 1);
    check_record(&o.kept[0].record, 6);
    assert_int_equal(w.b.count, 0);
    assert_int_equal(w.b.files[0].kept, 1);
    assert_int_equal(drain(&w, 3101, &bad), 0);
    opened_fini(&o);
    world_fini(&w);
}

// --- damage ---

// Two blocks in two appends, and a third: 10 persistent ones each.
static void
three_blocks(struct world *w, uint32_t *ret_second)
{
    world_init(w);
    append(w, BACKLOG_CHAIN, 4, 9);
    *ret_second = w->b.files[0].bytes;
    append(w, BACKLOG_CHAIN, 11, 16);
    append(w, BACKLOG_CHAIN, 18, 23);
}

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
    struct backlog_state s = {.block_end = 1, .cursor = 1};
    assert_int_equal(state_encode(QUEUE, &s, &encoded, &len), 0);
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
    struct backlog_state s = {.block_end = w.b.next_block, .cursor = 24, .kept = kept, .kept_count = 3};
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
    for (uint32_t at = 0; at < STATE_HEADER_BYTES + 2 * STATE_RANGE_BYTES + 4; at++) {
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

static void
test_states_that_lie(void **state)
{
    static const uint64_t kept[] = {4, 5, 9};
    struct backlog_state s = {.block_end = 7, .cursor = 24, .kept = kept, .kept_count = 3}, got;
    uint8_t *bytes;
    size_t len;
    assert_int_equal(state_encode(QUEUE, &s, &bytes, &len), 0);
    assert_int_equal(state_decode(slice_of(bytes, len), QUEUE, &got), 0);
    assert_int_equal(got.kept_count, 3);
    assert_memory_equal(got.kept, kept, sizeof kept);
    mem_free((void *)(uintptr_t)got.kept);
    assert_int_equal(state_decode(slice_of(bytes, len), QUEUE + 1, &got), -LE_CORRUPT);
    for (size_t n = 0; n < len; n++)
        assert_int_equal(state_decode(slice_of(bytes, n), QUEUE, &got), -LE_CORRUPT);
    static const struct {
        uint32_t at;
        uint64_t value;
    } lies[] = {{40, 1},
                {40, 3},
                {40, UINT64_MAX},
                {64, 9},
                {64 + 16, 5},
                {64 + 8, 0},
                {64 + 8, UINT64_MAX},
                {64 + 24, 1ull << 33},
                {64 + 16, UINT64_MAX}};
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
        struct backlog_append a = {
            .queue = QUEUE, .first_block = w.b.next_block, .items = &item, .count = 1, .kind = BACKLOG_CHAIN};
        assert_int_equal(backlog_place_append(&w.b, &a.file, &a.offset, &a.is_new_file), 0);
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
    assert_int_equal(backlog_place_append(&w.b, &a.file, &a.offset, &a.is_new_file), 0);
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
    struct backlog_append a = {.queue = QUEUE,
                               .first_block = 1,
                               .items = &item,
                               .count = 1,
                               .is_transient = true,
                               .kind = BACKLOG_CHAIN};
    world_init(&w);
    struct powercut_fault no_sync = {
        .calls = CUT_FDATASYNC | CUT_FSYNC | CUT_SYNC_DIR, .at = 1, .error = -LE_IO};
    powercut_plan(w.disk, &no_sync); // never called
    assert_int_equal(backlog_place_append(&w.b, &a.file, &a.offset, &a.is_new_file), 0);
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
    struct backlog_state s = {.block_end = w.b.next_block, .cursor = 1};
    assert_int_equal(backlog_write_state(w.io, dir, QUEUE, &s), 0);
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
    // A chain block that a later one overlaps was never reported: only the later one counts.
    append(&w, BACKLOG_CHAIN, 18, 23);
    append(&w, BACKLOG_CHAIN, 20, 23);
    reopen(&w, &o);
    assert_int_equal(w.b.count, 6 + 4);
    opened_fini(&o);
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
    struct backlog_append a = {
        .queue = QUEUE, .first_block = 1, .items = items, .count = COUNT, .kind = BACKLOG_CHAIN};
    assert_int_equal(backlog_place_append(&w.b, &a.file, &a.offset, &a.is_new_file), 0);
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
    struct backlog_append b = {
        .queue = QUEUE, .first_block = w.b.next_block, .items = &again, .count = 1, .kind = BACKLOG_LOOSE};
    assert_int_equal(backlog_place_append(&w.b, &b.file, &b.offset, &b.is_new_file), 0);
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
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_read_and_advance),
        cmocka_unit_test(test_what_was_taken_meanwhile_does_not_wait),
        cmocka_unit_test(test_reopen_waits_and_keeps),
        cmocka_unit_test(test_state_says_what_lives),
        cmocka_unit_test(test_every_byte_of_a_header),
        cmocka_unit_test(test_every_field_of_a_header),
        cmocka_unit_test(test_file_header_is_there_twice),
        cmocka_unit_test(test_every_byte_of_a_record),
        cmocka_unit_test(test_tail_is_cut_anywhere),
        cmocka_unit_test(test_newer_version_is_refused),
        cmocka_unit_test(test_every_byte_of_state),
        cmocka_unit_test(test_states_that_lie),
        cmocka_unit_test(test_a_body_is_no_block),
        cmocka_unit_test(test_gone_by_the_log),
        cmocka_unit_test(test_failed_append_counts_nothing),
        cmocka_unit_test(test_a_longer_file_is_not_touched),
        cmocka_unit_test(test_files_that_nothing_needs),
        cmocka_unit_test(test_transient_and_removal),
        cmocka_unit_test(test_a_number_that_is_there_twice),
        cmocka_unit_test(test_moved_from_the_log),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
