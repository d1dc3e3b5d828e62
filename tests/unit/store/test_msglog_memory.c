// test_msglog_memory.c: every allocation of the commit log fails once, and the k-th of every call fails always: nothing crashes, nothing
// is promised that the next start does not keep, and what failed for want of memory works when there is some.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"
#include "tests/sim/powercut.h"

enum { MESSAGES = 60, QUEUES = 3, EXTRAS = 40 };

struct story {
    struct powercut *p;
    struct core *c;
    struct msglog_live live;
    struct msglog_content contents[MESSAGES];
    struct msglog_entry messages[MESSAGES], moves[MESSAGES], extras[EXTRAS];
    bool was_added[MESSAGES];
    bool is_dying[MESSAGES]; // an ack or purge of it was submitted
    bool is_gone[MESSAGES];  // and promised
    unsigned extra_count;
    uint64_t fail_each; // the k-th allocation of each call fails; 0: as armed by the caller
};

static uint8_t bytes[6000];

static bool
wants_all(void *ctx, uint64_t queue)
{
    return true;
}

static struct msglog_config
configuration(struct powercut *p)
{
    return (struct msglog_config){.io = powercut_io(p),
                                  .dir = "/d",
                                  .segment_bytes = 16384,
                                  .segment_max = 6,
                                  .seed = 3,
                                  .writer_count = 1,
                                  .wants_gone = wants_all};
}

static void
arm(const struct story *s)
{
    if (s->fail_each != 0)
        mem_test_fail_after(s->fail_each);
}

static void
flush(struct story *s)
{
    arm(s);
    (void)core_flush(s->c);
}

static void
add(struct story *s, struct msglog_entry *e)
{
    for (int tries = 0; tries < 3; tries++) {
        arm(s);
        if (core_add(s->c, 0, e) != -LE_AGAIN)
            return;
        flush(s);
    }
    assert_true(false); // a flush makes room
}

static struct msglog_entry *
extra(struct story *s, enum msglog_kind kind)
{
    assert_true(s->extra_count < EXTRAS);
    struct msglog_entry *e = &s->extras[s->extra_count++];
    *e = (struct msglog_entry){.kind = (uint8_t)kind, .result = 1};
    return e;
}

// Publishes, some in transactions and one with a large body, acks, moves everything and lets the first segment go.
static void
live_through(struct story *s)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint64_t tx = i % 10 == 9 ? i : 0;
        s->contents[i] = (struct msglog_content){.body_bytes = i == 7 ? 5000 : 200 + i, .bytes = bytes + i};
        s->messages[i] = (struct msglog_entry){.kind = MSGLOG_MESSAGE,
                                               .is_relaxed = i % 4 == 1,
                                               .result = 1,
                                               .queue = 1 + i % QUEUES,
                                               .seq = 1 + i / QUEUES,
                                               .tx = tx,
                                               .content = &s->contents[i]};
        s->was_added[i] = true;
        add(s, &s->messages[i]);
        if (tx != 0) {
            struct msglog_entry *part = extra(s, MSGLOG_PART), *commit = extra(s, MSGLOG_COMMIT);
            part->tx = commit->tx = tx;
            commit->count = 1;
            add(s, part);
            add(s, commit);
            flush(s);
            if (commit->result != 0)
                s->messages[i].result = -LE_IO; // open
        }
        if (i % 6 == 5) {
            struct msglog_entry *e = extra(s, MSGLOG_ACK);
            e->queue = s->messages[i - 3].queue;
            e->seq = s->messages[i - 3].seq;
            e->count = 1;
            s->is_dying[i - 3] = true;
            add(s, e);
            flush(s);
            s->is_gone[i - 3] = e->result == 0;
        }
    }
    flush(s);
    uint64_t oldest = ring_oldest(&s->c->ring);
    for (unsigned i = 0; i < MESSAGES; i++) {
        s->moves[i] = s->messages[i];
        s->moves[i].kind = MSGLOG_MOVE;
        s->moves[i].tx = 0;
        s->moves[i].is_relaxed = false;
        if (s->messages[i].result == 0 && !s->is_dying[i] && s->messages[i].place.file <= oldest)
            add(s, &s->moves[i]);
    }
    struct msglog_entry *e = extra(s, MSGLOG_VACATED);
    e->place.file = oldest;
    add(s, e);
    flush(s);
    flush(s);
}

static void
check(struct story *s)
{
    struct msglog_config config = configuration(s->p);
    struct msglog_report report;
    assert_int_equal(core_open(s->c, &config, &s->live, &report), 0);
    assert_int_equal(report.bad_spots + report.missing_segments, 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        const struct msglog_entry *e = &s->messages[i];
        const struct msglog_live_entry *got = msglog_live_find(&s->live, e->queue, e->seq);
        assert_true(!s->was_added[i] || e->result != 0 || s->is_dying[i] || got != NULL);
        assert_true(got == NULL || !s->is_gone[i]);
        struct msglog_record record;
        if (got != NULL) {
            assert_int_equal(core_read(s->c, &got->place, &record), 0);
            assert_memory_equal(record.content.bytes, bytes + i, s->contents[i].body_bytes);
            mem_free(record.buffer);
        }
    }
    core_fini(s->c);
    msglog_live_fini(&s->live);
}

// Returns whether a life could be lived, that is, the log opened.
static bool
one_story(uint64_t fail_at, uint64_t fail_each, bool is_second_life)
{
    struct story *s = mem_xcalloc(1, sizeof(*s));
    s->p = powercut_new(1);
    s->c = mem_xcalloc(1, sizeof(*s->c));
    struct msglog_config config = configuration(s->p);
    struct msglog_report report;
    assert_int_equal(config.io->mkdir(config.io->ctx, "/d"), 0);
    assert_int_equal(config.io->sync_dir(config.io->ctx, "/"), 0);
    if (is_second_life) { // the failure meets recovery
        assert_int_equal(core_open(s->c, &config, &s->live, &report), 0);
        live_through(s);
        core_fini(s->c);
        msglog_live_fini(&s->live);
        powercut_kill(s->p);
    }
    s->fail_each = fail_each;
    mem_test_fail_after(fail_each != 0 ? fail_each : fail_at);
    bool is_open = core_open(s->c, &config, &s->live, &report) == 0;
    if (is_open) {
        arm(s);
        if (core_start(s->c) == 0 && !is_second_life)
            live_through(s);
        mem_test_fail_after(0);
        core_fini(s->c);
        msglog_live_fini(&s->live);
    }
    mem_test_fail_after(0);
    powercut_cut(s->p);
    check(s);
    powercut_free(s->p);
    mem_free(s->c);
    mem_free(s);
    return is_open;
}

static void
test_each_allocation_fails_once(void **state)
{
    unsigned opened = 0;
    for (uint64_t n = 1; n < 600; n++)
        opened += one_story(n, 0, false);
    assert_true(opened > 500);
}

static void
test_each_allocation_of_recovery_fails(void **state)
{
    unsigned failed = 0;
    for (uint64_t n = 1; n < 300; n++)
        failed += !one_story(n, 0, true);
    assert_true(failed > 20);
    assert_true(one_story(100000, 0, true));
}

static void
test_each_call_fails(void **state)
{
    for (uint64_t k = 1; k < 12; k++)
        (void)one_story(0, k, false);
}

int
main(void)
{
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 256);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails_once),
        cmocka_unit_test(test_each_allocation_of_recovery_fails),
        cmocka_unit_test(test_each_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
