// test_msglog.c: the log with its thread on a real file system: batches come back durable and in order, places can be read, a reopened log
// has what was live; every bit that rots in a segment is found and costs one record; any cut of the tail keeps what is before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { BATCHES = 300, PER_BATCH = 8, WRITERS = 2 };

struct side { // one writer's thread
    struct msglog_writer *writer;
    pthread_mutex_t lock;
    pthread_cond_t is_woken;
    bool wake;
    unsigned index, returned;
    struct msglog_live live;
    struct msglog_batch batches[BATCHES];
    struct msglog_entry entries[BATCHES][PER_BATCH];
    struct msglog_content content;
    uint8_t bytes[512];
};

static void
side_wake(void *ctx)
{
    struct side *s = ctx;
    pthread_mutex_lock(&s->lock);
    s->wake = true;
    pthread_cond_signal(&s->is_woken);
    pthread_mutex_unlock(&s->lock);
}

static void
side_returned(void *ctx, struct msglog_batch *b)
{
    struct side *s = ctx;
    if (b->ctx == NULL) { // of a vacate
        mem_free(b->entries);
        mem_free(b);
        return;
    }
    if (b != &s->batches[s->returned]) // in order
        abort();
    s->returned++;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct msglog_entry *e = &b->entries[i];
        if (e->result != 0 && e->result != -LE_NOSPACE)
            abort();
        struct msglog_live_entry known = {.seq = e->seq, .place = e->place};
        if (e->kind == MSGLOG_MESSAGE && e->result == 0 && msglog_live_put(&s->live, e->queue, &known) != 0)
            abort();
        if (e->kind == MSGLOG_ACK && e->result == 0)
            msglog_live_ack(&s->live, e->queue, e->seq, e->count);
    }
}

// Everything is acked soon here: nothing has to be moved, so the owner lets the segment go when its messages are gone.
static void
side_vacate(void *ctx, uint64_t generation)
{
    struct side *s = ctx;
    struct msglog_batch *b = mem_xcalloc(1, sizeof(*b));
    b->entries = mem_xcalloc(1, sizeof(*b->entries));
    b->count = 1;
    b->entries[0] = (struct msglog_entry){.kind = MSGLOG_VACATED, .place.file = generation};
    msglog_submit(s->writer, b);
}

static void *
side_run(void *arg)
{
    struct side *s = arg;
    for (unsigned i = 0; i < BATCHES; i++) {
        struct msglog_batch *b = &s->batches[i];
        *b = (struct msglog_batch){.entries = s->entries[i], .count = PER_BATCH, .ctx = s};
        for (unsigned n = 0; n < PER_BATCH; n++)
            s->entries[i][n] = (struct msglog_entry){.kind = MSGLOG_MESSAGE,
                                                     .queue = s->index + 1,
                                                     .seq = i * PER_BATCH + n + 1,
                                                     .content = &s->content};
        if (i % 2 == 1 && i > 4) // acks all but the last of each of the earlier ones
            s->entries[i][0] = (struct msglog_entry){.kind = MSGLOG_ACK,
                                                     .queue = s->index + 1,
                                                     .seq = (i - 4) * PER_BATCH,
                                                     .count = 2 * PER_BATCH};
        msglog_submit(s->writer, b);
        if (i % 7 == 0)
            (void)msglog_writer_poll(s->writer);
    }
    while (s->returned < BATCHES) {
        pthread_mutex_lock(&s->lock);
        while (!s->wake)
            pthread_cond_wait(&s->is_woken, &s->lock);
        s->wake = false;
        pthread_mutex_unlock(&s->lock);
        (void)msglog_writer_poll(s->writer);
    }
    return NULL;
}

static void
never_out(void *ctx, int error)
{
    abort();
}

static int
remove_name(void *ctx, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    return unlink(path);
}

static void
remove_dirs(const char *dir)
{
    char path[128];
    static const char *const names[] = {"log", "large"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(io_system()->list(NULL, path, remove_name, path), 0);
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void
test_two_writers_and_a_restart(void **state)
{
    char dir[] = "/tmp/leveret-log-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct msglog_config config = {.io = io_system(),
                                   .dir = dir,
                                   .segment_bytes = 2 << 20,
                                   .segment_max = 8,
                                   .seed = 1,
                                   .writer_count = WRITERS};
    struct msglog_live live;
    struct msglog_report report;
    struct msglog *log;
    struct side *sides = mem_xcalloc(WRITERS, sizeof(*sides));
    pthread_t threads[WRITERS];
    uint64_t count = 0;
    assert_int_equal(msglog_open(&config, &live, &report, &log), 0);
    assert_int_equal(live.count, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        struct side *s = &sides[i];
        s->index = i;
        s->content = (struct msglog_content){.route_bytes = 2, .body_bytes = 500, .bytes = s->bytes};
        memset(s->bytes, (int)i + 1, sizeof s->bytes);
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->is_woken, NULL);
        msglog_live_init(&s->live);
        s->writer =
            msglog_writer_new(log, &(struct msglog_writer_config){side_wake, side_vacate, side_returned, s});
    }
    assert_int_equal(msglog_start(log, never_out, NULL), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, side_run, &sides[i]), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        count += sides[i].live.count;
    }
    struct msglog_record record;
    const struct msglog_live_queue *q = inttab_get(&sides[1].live.queues, 2);
    assert_int_equal(msglog_read(log, &q->entries[q->end - 1].place, &record), 0);
    assert_memory_equal(record.content.bytes, sides[1].bytes, 502);
    mem_free(record.buffer);
    msglog_close(log);
    assert_int_equal(msglog_open(&config, &live, &report, &log), 0);
    assert_int_equal(live.count, count);
    assert_int_equal(report.bad_spots + report.missing_segments + report.torn_bytes, 0);
    msglog_close(log);
    msglog_live_fini(&live);
    for (unsigned i = 0; i < WRITERS; i++)
        msglog_live_fini(&sides[i].live);
    mem_free(sides);
    remove_dirs(dir);
}

// --- damage, in memory ---

enum { MESSAGES = 12, GROUPS = 4 };

static struct msglog_config
sim_config(struct powercut *p)
{
    return (struct msglog_config){.io = powercut_io(p),
                                  .dir = "/d",
                                  .segment_bytes = 16384,
                                  .segment_max = 5,
                                  .seed = 3,
                                  .writer_count = 1};
}

// GROUPS groups of three messages each, and the mark of an orderly stop when wanted.
static struct powercut *
make_store(bool is_orderly)
{
    struct powercut *p = powercut_new(1);
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    static uint8_t bytes[100];
    struct msglog_content content[MESSAGES];
    struct msglog_entry e[MESSAGES];
    memset(bytes, 0xa5, sizeof bytes);
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    assert_int_equal(core_open(c, &config, &live, &report), 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        content[i] = (struct msglog_content){.body_bytes = 80, .bytes = bytes + i};
        e[i] =
            (struct msglog_entry){.kind = MSGLOG_MESSAGE, .queue = 1, .seq = i + 1, .content = &content[i]};
        assert_int_equal(core_add(c, 0, &e[i]), 0);
        if (i % (MESSAGES / GROUPS) == MESSAGES / GROUPS - 1)
            assert_int_equal(core_flush(c), 0);
    }
    assert_int_equal(is_orderly ? core_mark_end(c) : 0, 0);
    core_fini(c);
    mem_free(c);
    msglog_live_fini(&live);
    powercut_kill(p);
    return p;
}

static uint64_t
count_recovered(struct powercut *p, struct msglog_report *ret)
{
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    assert_int_equal(core_open(c, &config, &live, ret), 0);
    uint64_t count = live.count;
    core_fini(c);
    mem_free(c);
    msglog_live_fini(&live);
    return count;
}

static void
test_rotten_bits_cost_one_record(void **state)
{
    struct msglog_report report;
    // From the first group to the mark of the stop: three messages take 64 + 3 * (16 + 56 + 32 + 80) = 616 bytes, two sectors.
    uint64_t end = 512 + GROUPS * 1024;
    for (uint64_t at = 0; at < end; at += at < 512 ? 37 : 3) {
        struct powercut *p = make_store(true);
        assert_true(powercut_rot(p, "/d/log/00000.seg", at, (uint8_t)(1u << (at % 8))));
        uint64_t count = count_recovered(p, &report);
        // Padding may rot unseen. A bad record costs itself; its header hides those behind it in the group; a bad group header its group.
        assert_true(count == MESSAGES || (report.bad_spots > 0 && count >= MESSAGES - 3) || at < 512);
        powercut_free(p);
    }
}

static void
test_tail_is_cut_anywhere(void **state)
{
    struct msglog_report report;
    for (uint64_t cut = 512; cut < 512 + GROUPS * 1024; cut += 5) {
        struct powercut *p = make_store(false);
        const struct io *io = powercut_io(p);
        int fd;
        assert_int_equal(io->open(io->ctx, "/d/log/00000.seg", IO_WRITE, &fd), 0);
        assert_int_equal(io->truncate(io->ctx, fd, cut), 0);
        assert_int_equal(io->truncate(io->ctx, fd, 16384), 0); // zeros, as in a file that was written ahead
        assert_int_equal(io->close(io->ctx, fd), 0);
        uint64_t whole = (cut - 512) / 1024 + ((cut - 512) % 1024 >= 616 ? 1 : 0);
        assert_int_equal(count_recovered(p, &report), whole * 3);
        assert_int_equal(report.bad_spots, 0);
        assert_int_equal(count_recovered(p, &report), whole * 3); // and again
        powercut_free(p);
    }
}

static void
test_newer_version_is_refused_untouched(void **state)
{
    struct powercut *p = make_store(true);
    const struct io *io = powercut_io(p);
    uint8_t header[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    size_t n;
    int fd;
    assert_int_equal(io->open(io->ctx, "/d/log/00000.seg", IO_WRITE, &fd), 0);
    assert_int_equal(io_read_all(io, fd, header, sizeof header, 0, &n), 0);
    assert_int_equal(segment_header_decode(header, &h), 0);
    put_u32(header + 8, MSGLOG_FORMAT_VERSION + 1);
    put_u32(header + SEGMENT_HEADER_BYTES - 4, crc32c(0, header, SEGMENT_HEADER_BYTES - 4));
    struct iovec part = {header, sizeof header};
    assert_int_equal(io_write_all(io, fd, &part, 1, 0), 0);
    assert_int_equal(core_open(c, &config, &live, &report), -LE_UNSUPPORTED);
    mem_free(c);
    powercut_free(p);
}

// A valid group that does not belong there: of another use of the file, or not the successor of the one before it.
static void
test_stale_group_is_not_taken(void **state)
{
    for (int what = 0; what < 2; what++) {
        struct powercut *p = make_store(true);
        const struct io *io = powercut_io(p);
        struct msglog_report report;
        struct group_header g;
        uint8_t header[GROUP_HEADER_BYTES];
        size_t n;
        int fd;
        assert_int_equal(io->open(io->ctx, "/d/log/00000.seg", IO_WRITE, &fd), 0);
        assert_int_equal(io_read_all(io, fd, header, sizeof header, 512 + 1024, &n), 0);
        assert_int_equal(group_header_decode(header, &g), 0);
        if (what == 0)
            g.salt++;
        else
            g.prev_crc++;
        group_header_encode(&g, header);
        struct iovec part = {header, sizeof header};
        assert_int_equal(io_write_all(io, fd, &part, 1, 512 + 1024), 0);
        assert_int_equal(io->close(io->ctx, fd), 0);
        assert_int_equal(count_recovered(p, &report), MESSAGES - 3);
        assert_int_equal(report.bad_spots, 1);
        assert_int_equal(report.first_bad_offset, 512 + 1024);
        powercut_free(p);
    }
}

// An owner has to know which segment holds its acks: before that one is recycled, what they say must be written elsewhere.
static void
test_every_entry_says_where_its_record_is(void **state)
{
    static const struct msglog_entry bad[] = {
        {.kind = MSGLOG_COUNT, .seq = 1, .count = 1, .flags = 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .count = 1, .flags = 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .seq = 1, .flags = 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .seq = 1, .count = COUNT_RANGE_MAX + 1, .flags = 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .seq = 1, .count = 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .seq = 1, .count = 1, .flags = COUNT_MAX + 1},
        {.kind = MSGLOG_COUNT, .queue = 1, .seq = 1, .count = 1, .flags = 1, .tx = 1},
    };
    struct powercut *p = powercut_new(1);
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    static const uint8_t bytes[2000];
    struct msglog_content content = {.body_bytes = 2000, .bytes = bytes};
    uint64_t last = 0;
    config.segment_max = 8;
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    assert_int_equal(core_open(c, &config, &live, &report), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        struct msglog_entry e[] = {
            {.kind = MSGLOG_MESSAGE, .queue = 1, .seq = i, .content = &content},
            {.kind = MSGLOG_ACK, .queue = 1, .seq = i, .count = 1},
            {.kind = MSGLOG_ACK, .queue = 1, .seq = i + 100, .count = 1}, // joins the record before it
            {.kind = MSGLOG_COUNT, .queue = 1, .seq = i + 300, .count = 1, .flags = 1},
            {.kind = MSGLOG_COUNT, .queue = 1, .seq = i + 400, .count = 64, .flags = 0xffff}, // joins it
            {.kind = MSGLOG_PURGE, .queue = 2, .seq = i},
            {.kind = MSGLOG_DELETE, .queue = i + 10},
            {.kind = MSGLOG_ACK, .queue = 1, .seq = i + 200, .count = 1, .tx = i},
            {.kind = MSGLOG_COMMIT, .tx = i},
        };
        for (size_t n = 0; n < LV_ARRAY_LEN(e); n++)
            assert_int_equal(core_add(c, 0, &e[n]), 0);
        assert_int_equal(core_flush(c), 0);
        for (size_t n = 0; n < LV_ARRAY_LEN(e); n++) {
            assert_int_equal(e[n].place.file, c->ring.current->generation);
            assert_true((e[n].place.len != 0) == (n == 0));
        }
        assert_true(e[0].place.file >= last);
        last = e[0].place.file;
    }
    assert_true(last > 2);                           // it went through several segments
    for (size_t i = 0; i < LV_ARRAY_LEN(bad); i++) { // counts that are none
        struct msglog_entry e = bad[i];
        assert_int_equal(core_add(c, 0, &e), -LE_INVAL);
    }
    assert_int_equal(c->group.item_count, 0);
    core_fini(c);
    mem_free(c);
    msglog_live_fini(&live);
    powercut_free(p);
}

static bool
file_exists(const struct io *io, const char *path)
{
    int fd;
    if (io->open(io->ctx, path, IO_READ, &fd) != 0)
        return false;
    assert_int_equal(io->close(io->ctx, fd), 0);
    return true;
}

static void
put_file(const struct io *io, const char *path)
{
    int fd;
    uint8_t bytes[] = "large";
    struct iovec part = {bytes, 5};
    assert_int_equal(io->open(io->ctx, path, IO_WRITE | IO_CREATE, &fd), 0);
    assert_int_equal(io_write_all(io, fd, &part, 1, 0), 0);
    assert_int_equal(io->close(io->ctx, fd), 0);
}

// Large files that only backlog files name: held between open and start they stay, and go with the last RELEASE. Others go at the start,
// unless something in the log was damaged.
static void
test_large_files_named_elsewhere(void **state)
{
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        struct powercut *p = make_store(true);
        const struct io *io = powercut_io(p);
        struct msglog_config config = sim_config(p);
        struct msglog_live live;
        struct msglog_report report;
        struct core *c = mem_xcalloc(1, sizeof(*c));
        uint8_t got[5];
        put_file(io, "/d/large/0000000000000007.body");
        put_file(io, "/d/large/0000000000000008.body");
        assert_true(is_damaged == 0 || powercut_rot(p, "/d/log/00000.seg", 512 + 100, 1));
        assert_int_equal(core_open(c, &config, &live, &report), 0);
        assert_int_equal(report.bad_spots > 0, is_damaged);
        assert_true(file_exists(io, "/d/large/0000000000000008.body"));
        assert_int_equal(large_hold(c, 7), 0);
        assert_int_equal(large_hold(c, 7), 0);
        assert_int_equal(large_hold(c, 20), 0); // is not there; its number is not used again
        assert_int_equal(core_start(c), 0);
        assert_int_equal(c->next_large, 21);
        assert_int_equal(file_exists(io, "/d/large/0000000000000008.body"), is_damaged);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(large_read(c, 7, 5, crc32c(0, "large", 5), got), 0);
            assert_int_equal(large_read(c, 7, 5, 1, got), -LE_CORRUPT);
            struct msglog_entry e = {.kind = MSGLOG_RELEASE, .large_file = 7};
            assert_int_equal(core_add(c, 0, &e), 0);
            assert_int_equal(core_flush(c), 0);
        }
        assert_false(file_exists(io, "/d/large/0000000000000007.body"));
        core_fini(c);
        mem_free(c);
        msglog_live_fini(&live);
        powercut_free(p);
    }
}

// --- relaxed entries ---

static _Atomic unsigned syncs;
static const struct io *counted;

static int
count_sync(void *ctx, int fd)
{
    syncs++;
    return counted->fdatasync(ctx, fd);
}

static struct io
counting(const struct io *io)
{
    struct io copy = *io;
    counted = io;
    syncs = 0;
    copy.fdatasync = count_sync;
    return copy;
}

// A group of one message each; returns the store killed, with nothing synced that need not be.
static struct powercut *
make_groups(const char *kinds, unsigned *ret_syncs)
{
    struct powercut *p = powercut_new(1);
    struct msglog_config config = sim_config(p);
    struct io io = counting(config.io);
    struct msglog_live live;
    struct msglog_report report;
    struct core *c = mem_xcalloc(1, sizeof(*c));
    static uint8_t bytes[400];
    struct msglog_content content = {.body_bytes = 300, .bytes = bytes};
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    assert_int_equal(config.io->sync_dir(config.io->ctx, "/"), 0);
    config.io = &io;
    assert_int_equal(core_open(c, &config, &live, &report), 0);
    c->unsynced_max = 8192;
    for (uint64_t i = 0; kinds[i] != 0; i++) {
        struct msglog_entry e = {.kind = MSGLOG_MESSAGE,
                                 .is_relaxed = kinds[i] == 'r',
                                 .queue = 1,
                                 .seq = i + 1,
                                 .content = &content};
        assert_int_equal(core_add(c, 0, &e), 0);
        assert_int_equal(core_flush(c), 0);
        assert_int_equal(e.result, 0);
        struct msglog_record record;
        assert_int_equal(core_read(c, &e.place, &record), 0); // synced or not
        mem_free(record.buffer);
    }
    *ret_syncs = syncs;
    core_fini(c);
    mem_free(c);
    msglog_live_fini(&live);
    powercut_kill(p);
    return p;
}

static void
test_relaxed_groups_are_not_synced(void **state)
{
    static const struct {
        const char *kinds;
        unsigned syncs;
    } cases[] = {
        {"h", 1}, {"r", 1}, {"hrrrr", 1}, {"rrrrr", 1}, {"hrrhrr", 2}, {"hhh", 3}, {"rrrrrrrrrrrrrrrrrr", 2},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        unsigned got;
        struct msglog_report report;
        struct powercut *p = make_groups(cases[i].kinds, &got);
        assert_int_equal(got, cases[i].syncs);
        assert_int_equal(count_recovered(p, &report),
                         strlen(cases[i].kinds)); // the process died, nothing else
        powercut_cut(p);
        assert_int_equal(count_recovered(p, &report), strlen(cases[i].kinds)); // recovery made it durable
        assert_int_equal(report.bad_spots + report.missing_segments, 0);
        powercut_free(p);
    }
}

// What nothing says was durable may be missing without a word, and what follows it counts; what a later group says was durable may not.
static void
test_a_hole_is_damage_only_where_a_sync_was(void **state)
{
    static const struct {
        const char *kinds;
        unsigned group; // that rots; each takes 512 bytes
        bool is_damage;
    } cases[] = {
        {"hrrr", 2, false}, {"hrrr", 0, true},   {"hhh", 1, true},   {"hrrh", 2, false},
        {"hrrhr", 2, true}, {"hrrhr", 4, false}, {"hrrhh", 3, true}, {"rrr", 0, true},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        unsigned ignored;
        struct msglog_report report;
        struct powercut *p = make_groups(cases[i].kinds, &ignored);
        assert_true(powercut_rot(p, "/d/log/00000.seg", 512 + cases[i].group * 512 + 20, 1)); // its header
        assert_int_equal(count_recovered(p, &report), strlen(cases[i].kinds) - 1);
        assert_int_equal(report.bad_spots, cases[i].is_damage);
        // The same again: what is left was copied, and the hole stays what it was.
        powercut_cut(p);
        assert_int_equal(count_recovered(p, &report), strlen(cases[i].kinds) - 1);
        assert_int_equal(report.bad_spots, cases[i].is_damage);
        powercut_free(p);
    }
}

static void
test_the_idle_log_syncs(void **state)
{
    char dir[] = "/tmp/leveret-log-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct io io = counting(io_system());
    struct msglog_config config = {
        .io = &io, .dir = dir, .segment_bytes = 1 << 20, .segment_max = 5, .seed = 1, .writer_count = 1};
    struct msglog_live live;
    struct msglog_report report;
    struct msglog *log;
    struct side *s = mem_xcalloc(1, sizeof(*s));
    assert_int_equal(msglog_open(&config, &live, &report, &log), 0);
    s->content = (struct msglog_content){.route_bytes = 2, .body_bytes = 500, .bytes = s->bytes};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->is_woken, NULL);
    msglog_live_init(&s->live);
    s->writer =
        msglog_writer_new(log, &(struct msglog_writer_config){side_wake, side_vacate, side_returned, s});
    assert_int_equal(msglog_start(log, never_out, NULL), 0);
    for (unsigned i = 0; i < 2; i++) { // the second one is not the first of its segment
        s->batches[i] = (struct msglog_batch){.entries = s->entries[i], .count = 1, .ctx = s};
        s->entries[i][0] = (struct msglog_entry){
            .kind = MSGLOG_MESSAGE, .is_relaxed = true, .queue = 1, .seq = i + 1, .content = &s->content};
        msglog_submit(s->writer, &s->batches[i]);
        while (s->returned <= i) {
            pthread_mutex_lock(&s->lock);
            while (!s->wake)
                pthread_cond_wait(&s->is_woken, &s->lock);
            s->wake = false;
            pthread_mutex_unlock(&s->lock);
            (void)msglog_writer_poll(s->writer);
        }
    }
    for (int i = 0; i < 10000 && syncs < 2; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(syncs >= 2); // nobody submitted anything any more
    msglog_close(log);
    msglog_live_fini(&live);
    msglog_live_fini(&s->live);
    mem_free(s);
    remove_dirs(dir);
}

// A ring full of what lives, and a node that dies again and again: each start takes a segment, and yet the log can be emptied.
static void
test_starts_in_a_full_ring(void **state)
{
    static uint8_t bytes[2000];
    struct powercut *p = powercut_new(1);
    struct msglog_config config = sim_config(p);
    struct msglog_content content = {.body_bytes = sizeof bytes, .bytes = bytes};
    struct core c;
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    for (int life = 0; life < 30; life++) {
        struct msglog_live live;
        struct msglog_report report;
        assert_int_equal(core_open(&c, &config, &live, &report), 0);
        assert_int_equal(core_start(&c), 0);
        for (uint64_t n = 0; n < 200; n++) {
            struct msglog_entry e = {
                .kind = MSGLOG_MESSAGE, .queue = 1, .seq = 1 + n + 200 * (uint64_t)life, .content = &content};
            if (core_add(&c, 0, &e) == -LE_AGAIN)
                assert_int_equal(core_add(&c, 0, &e), 0);
            (void)core_flush(&c);
            if (e.result == -LE_NOSPACE)
                break;
        }
        struct msglog_entry ack = {.kind = MSGLOG_ACK, .queue = 1, .seq = 1, .count = 1};
        assert_int_equal(core_add(&c, 0, &ack), 0);
        assert_int_equal(core_flush(&c), 0);
        assert_int_equal(ack.result, 0);
        core_fini(&c);
        msglog_live_fini(&live);
        powercut_kill(p);
    }
    powercut_free(p);
}

// A COMMIT that waits to be written when the sync of its parts fails is refused: after a power cut half of it would be there.
static void
test_a_commit_goes_with_the_sync_of_its_parts(void **state)
{
    struct powercut *p = powercut_new(1);
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct msglog_report report;
    struct core c;
    static const uint8_t bytes[100];
    struct msglog_content content = {.body_bytes = 100, .bytes = bytes};
    struct msglog_entry first = {.kind = MSGLOG_MESSAGE, .queue = 1, .seq = 1, .content = &content};
    struct msglog_entry part = {
        .kind = MSGLOG_MESSAGE, .queue = 1, .seq = 2, .content = &content, .tx = 1, .is_relaxed = true};
    struct msglog_entry commit = {.kind = MSGLOG_COMMIT, .tx = 1, .is_relaxed = true};
    struct powercut_fault fails = {.calls = CUT_FDATASYNC, .at = 1, .count = 1, .error = -LE_IO};
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    assert_int_equal(core_open(&c, &config, &live, &report), 0);
    assert_int_equal(core_add(&c, 0, &first), 0);
    assert_int_equal(core_flush(&c), 0);
    assert_int_equal(core_add(&c, 0, &part), 0);
    assert_int_equal(core_flush(&c), 0);
    assert_true(core_is_unsynced(&c));
    assert_int_equal(core_add(&c, 0, &commit), 0);
    powercut_plan(p, &fails);
    assert_int_equal(core_sync(&c), -LE_IO);
    assert_int_equal(core_flush(&c), -LE_IO);
    assert_int_equal(commit.result, -LE_IO);
    // Nothing else goes with it.
    struct msglog_entry later = {.kind = MSGLOG_MESSAGE, .queue = 1, .seq = 3, .content = &content};
    assert_int_equal(core_add(&c, 0, &later), 0);
    assert_int_equal(core_flush(&c), 0);
    core_fini(&c);
    msglog_live_fini(&live);
    powercut_cut(p);
    assert_int_equal(core_open(&c, &config, &live, &report), 0);
    assert_int_equal(live.count, 2);
    assert_null(msglog_live_find(&live, 1, 2));
    core_fini(&c);
    msglog_live_fini(&live);
    powercut_free(p);
}

// Returns how many messages live.
static uint64_t
open_and_count(struct powercut *p, struct core *c)
{
    struct msglog_config config = sim_config(p);
    struct msglog_live live;
    struct msglog_report report;
    assert_int_equal(core_open(c, &config, &live, &report), 0);
    assert_int_equal(report.bad_spots, 0);
    uint64_t count = live.count;
    msglog_live_fini(&live);
    return count;
}

// An ack that is written, and whose sync fails.
static void
ack_and_fail(struct powercut *p, struct core *c, uint64_t seq)
{
    struct msglog_entry ack = {.kind = MSGLOG_ACK, .queue = 1, .seq = seq, .count = 1, .is_relaxed = true};
    struct powercut_fault fails = {.calls = CUT_FDATASYNC, .at = 1, .count = 1, .error = -LE_IO};
    assert_int_equal(core_add(c, 0, &ack), 0);
    assert_int_equal(core_flush(c), 0);
    powercut_plan(p, &fails);
    assert_int_equal(core_sync(c), -LE_IO);
    powercut_clear_plan(p);
}

static void
publish_40(struct core *c)
{
    static const uint8_t byte[1];
    struct msglog_content content = {.body_bytes = 1, .bytes = byte};
    struct msglog_entry e[40];
    for (uint64_t i = 0; i < LV_ARRAY_LEN(e); i++) {
        e[i] = (struct msglog_entry){.kind = MSGLOG_MESSAGE, .queue = 1, .seq = i + 1, .content = &content};
        assert_int_equal(core_add(c, 0, &e[i]), 0);
    }
    assert_int_equal(core_flush(c), 0);
}

// No segment is free and the disk is full: what a start has seen of groups whose sync failed is there after the next power cut too.
static void
test_a_tail_without_room_is_written_again(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct powercut *p = powercut_new(seed);
        struct core c;
        uint64_t seen = 0, lives = 0;
        assert_int_equal(powercut_io(p)->mkdir(powercut_io(p)->ctx, "/d"), 0);
        assert_int_equal(powercut_io(p)->sync_dir(powercut_io(p)->ctx, "/"), 0);
        for (bool has_room = true; has_room; lives++) {
            seen = open_and_count(p, &c);
            powercut_set_capacity(p, 0);
            // The start has copied the tail of the life before, if it could.
            has_room = c.ring.current != NULL || lives == 0;
            if (lives == 0)
                publish_40(&c);
            if (has_room)
                ack_and_fail(p, &c, 1 + lives);
            core_fini(&c);
            if (has_room)
                powercut_kill(p);
        }
        assert_true(lives > 3);
        powercut_cut(p);
        powercut_set_capacity(p, UINT64_MAX / 2);
        assert_int_equal(open_and_count(p, &c), seen);
        core_fini(&c);
        powercut_free(p);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_in_a_full_ring),
        cmocka_unit_test(test_two_writers_and_a_restart),
        cmocka_unit_test(test_rotten_bits_cost_one_record),
        cmocka_unit_test(test_tail_is_cut_anywhere),
        cmocka_unit_test(test_stale_group_is_not_taken),
        cmocka_unit_test(test_newer_version_is_refused_untouched),
        cmocka_unit_test(test_every_entry_says_where_its_record_is),
        cmocka_unit_test(test_large_files_named_elsewhere),
        cmocka_unit_test(test_relaxed_groups_are_not_synced),
        cmocka_unit_test(test_a_hole_is_damage_only_where_a_sync_was),
        cmocka_unit_test(test_the_idle_log_syncs),
        cmocka_unit_test(test_a_commit_goes_with_the_sync_of_its_parts),
        cmocka_unit_test(test_a_tail_without_room_is_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
