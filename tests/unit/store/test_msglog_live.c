// test_msglog_live.c: the index of live messages, and the ranges of numbers that are gone, against plain arrays.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/log_live.h"

enum { NUMBERS = 3000 };

static bool
wants_odd(void *ctx, uint64_t queue)
{
    return queue % 2 == 1;
}

static void
init(struct msglog_live *l)
{
    msglog_live_init(l);
    l->wants_gone = wants_odd;
}

// `gone` says what `is_gone` says, in as few ranges as can be.
static void
check_gone(const struct msglog_live *l, uint64_t queue, const bool *is_gone, uint64_t count)
{
    const struct msglog_live_queue *q = inttab_get(&l->queues, queue);
    size_t ranges = 0;
    for (uint64_t n = 0; n < count; n++) {
        uint64_t first, end;
        msglog_live_next_gone(l, queue, n, &first, &end);
        assert_true(end > n);
        assert_int_equal(first <= n, is_gone[n]);
        ranges += is_gone[n] && (n == 0 || !is_gone[n - 1]);
    }
    assert_int_equal(q != NULL ? q->gone_count : 0, ranges);
}

static void
test_gone_in_any_order(void **state)
{
    struct rng r;
    rng_init(&r, 5);
    for (int round = 0; round < 400; round++) {
        static bool is_gone[NUMBERS];
        struct msglog_live l;
        uint64_t span = 1 + rng_below(&r, 40), style = rng_below(&r, 4), next = rng_below(&r, 50);
        memset(is_gone, 0, sizeof is_gone);
        init(&l);
        for (uint64_t n = rng_below(&r, 600); n > 0; n--) {
            uint64_t count = 1 + rng_below(&r, span);
            uint64_t first = style == 0 ? rng_below(&r, NUMBERS - span) : next;
            next += style == 1 ? count : style == 2 ? count + rng_below(&r, 3) : 1;
            if (style == 3) // backwards, touching
                first = NUMBERS - 50 > next * span ? NUMBERS - 50 - next * span : 0, count = span;
            if (first + count > NUMBERS)
                break;
            assert_int_equal(msglog_live_replay_ack(&l, 1, first, count), 0);
            assert_int_equal(msglog_live_replay_ack(&l, 2, first, count), 0); // not wanted
            memset(is_gone + first, 1, count);
        }
        if (rng_below(&r, 3) == 0) {
            uint64_t upto = rng_below(&r, NUMBERS);
            assert_int_equal(msglog_live_replay_purge(&l, 1, upto), 0);
            memset(is_gone, 1, upto + 1);
        }
        msglog_live_settle(&l);
        check_gone(&l, 1, is_gone, NUMBERS);
        const struct msglog_live_queue *other = inttab_get(&l.queues, 2);
        assert_true(other == NULL || other->gone_count == 0);
        msglog_live_fini(&l);
    }
}

// Every second number, from a shuffled order: nothing merges until the holes are filled; then one range is left, and little memory was used.
static void
test_gone_at_random_is_not_quadratic(void **state)
{
    enum { MANY = 300000 };
    struct msglog_live l;
    struct rng r;
    uint64_t *order = mem_xcalloc(MANY, sizeof(*order));
    init(&l);
    rng_init(&r, 9);
    for (uint64_t i = 0; i < MANY; i++)
        order[i] = i;
    for (uint64_t i = MANY - 1; i > 0; i--) {
        uint64_t other = rng_below(&r, i + 1), mine = order[i];
        order[i] = order[other];
        order[other] = mine;
    }
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(msglog_live_replay_ack(&l, 1, 1 + order[i] * 2, 1), 0);
    const struct msglog_live_queue *q = inttab_get(&l.queues, 1);
    assert_true(q->gone_cap <= MANY * 4);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(msglog_live_replay_ack(&l, 1, 2 + order[i] * 2, 1), 0);
    assert_true(q->gone_cap <= MANY * 4);
    msglog_live_settle(&l);
    assert_int_equal(q->gone_count, 1);
    uint64_t first, end;
    msglog_live_next_gone(&l, 1, 0, &first, &end);
    assert_int_equal(first, 1);
    assert_int_equal(end, 1 + 2 * MANY);
    msglog_live_next_gone(&l, 1, end, &first, &end);
    assert_int_equal(first, UINT64_MAX);
    assert_int_equal(end, UINT64_MAX);
    mem_free(order);
    msglog_live_fini(&l);
}

static void
test_numbers_at_the_end_of_the_scale(void **state)
{
    struct msglog_live l;
    uint64_t first, end;
    init(&l);
    assert_int_equal(msglog_live_replay_ack(&l, 1, UINT64_MAX - 5, 100), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 1, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 1, 7, 0), 0);
    assert_int_equal(msglog_live_replay_purge(&l, 3, UINT64_MAX), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 0, 1, 1), 0);
    msglog_live_settle(&l);
    msglog_live_next_gone(&l, 1, 0, &first, &end);
    assert_true(first == UINT64_MAX - 5 && end == UINT64_MAX);
    msglog_live_next_gone(&l, 3, 0, &first, &end);
    assert_true(first == 0 && end == UINT64_MAX);
    msglog_live_fini(&l);
}

// A deletion that came only as far as the log: the queue is still declared at the next start, and used again under its id.
static void
test_deleted_until_used_again(void **state)
{
    struct msglog_live l;
    struct msglog_live_entry e = {.seq = 1, .place = {1, 512, 100}};
    init(&l);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(msglog_live_put(&l, id, &e), 0);
        assert_int_equal(msglog_live_replay_ack(&l, id, 7, 2), 0);
        assert_int_equal(msglog_live_replay_delete(&l, id), 0);
        assert_int_equal(msglog_live_replay_ack(&l, id, 9, 2), 0);
    }
    assert_int_equal(msglog_live_replay_delete(&l, 4), 0); // never seen
    assert_int_equal(msglog_live_put(&l, 2, &e), 0);
    assert_int_equal(msglog_live_put(&l, 3, &e), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 3, 1, 1), 0);
    msglog_live_settle(&l);
    assert_int_equal(l.count, 1);
    for (uint64_t id = 1; id <= 4; id++) {
        const struct msglog_live_queue *q = inttab_get(&l.queues, id);
        bool is_used = id == 2 || id == 3;
        assert_true(q != NULL && q->is_deleted == !is_used && q->live == (id == 2));
        assert_int_equal(q->gone_count, id == 3);
    }
    msglog_live_fini(&l);
}

static void
test_index_against_a_model(void **state)
{
    struct rng r;
    rng_init(&r, 77);
    for (int round = 0; round < 200; round++) {
        static uint32_t place[NUMBERS]; // 0: not alive
        struct msglog_live l;
        uint64_t count = 0, next = 1;
        memset(place, 0, sizeof place);
        init(&l);
        for (uint64_t n = rng_below(&r, 1500); n > 0 && next < NUMBERS - 20; n--) {
            uint64_t seq = rng_below(&r, 4) == 0 ? 1 + rng_below(&r, next) : next, many = rng_below(&r, 30);
            if (rng_below(&r, 4) != 0) {
                struct msglog_live_entry e = {.seq = seq, .place = {n, 1, (uint32_t)n + 1}};
                assert_int_equal(msglog_live_put(&l, 4, &e), 0);
                count += place[seq] == 0;
                place[seq] = (uint32_t)n + 1;
                next = LV_MAX(next, seq + 1);
                continue;
            }
            if (rng_below(&r, 20) == 0) {
                assert_int_equal(msglog_live_replay_purge(&l, 4, seq), 0);
                many = seq + 1;
                seq = 0;
            } else {
                assert_int_equal(msglog_live_replay_ack(&l, 4, seq, many), 0);
            }
            for (uint64_t i = seq; i < seq + many && i < NUMBERS; i++) {
                count -= place[i] != 0;
                place[i] = 0;
            }
        }
        assert_int_equal(l.count, count);
        for (uint64_t seq = 0; seq < NUMBERS; seq++) {
            const struct msglog_live_entry *e = msglog_live_find(&l, 4, seq);
            assert_int_equal(e != NULL ? e->place.len : 0, place[seq]);
        }
        msglog_live_fini(&l);
    }
}

// No memory: an error, and what was known stays as it was.
static void
test_out_of_memory(void **state)
{
    struct msglog_live l;
    init(&l);
    for (uint64_t i = 1; i < 2000; i++) {
        mem_test_fail_after(1);
        int err = msglog_live_replay_ack(&l, 1, i * 2, 1);
        mem_test_fail_after(0);
        if (err != 0)
            assert_int_equal(msglog_live_replay_ack(&l, 1, i * 2, 1), 0);
    }
    mem_test_fail_after(1);
    assert_int_not_equal(msglog_live_replay_delete(&l, 9), 0);
    mem_test_fail_after(0);
    msglog_live_settle(&l);
    const struct msglog_live_queue *q = inttab_get(&l.queues, 1);
    assert_int_equal(q->gone_count, 1999);
    msglog_live_fini(&l);
}

// New messages must not get numbers that an ack in the log already names.
static void
test_the_last_number_counts_the_dead(void **state)
{
    struct msglog_live l;
    struct msglog_live_entry e = {.seq = 5, .place = {1, 512, 100}};
    init(&l);
    assert_int_equal(msglog_live_put(&l, 2, &e), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 2, 5, 1), 0);
    assert_int_equal(msglog_live_replay_ack(&l, 4, 10, 3), 0);
    assert_int_equal(msglog_live_replay_purge(&l, 6, 9), 0);
    assert_int_equal(msglog_live_replay_seen(&l, 8, 3), 0);
    msglog_live_settle(&l);
    static const uint64_t last[] = {5, 12, 9, 3};
    for (uint64_t i = 0; i < 4; i++) {
        const struct msglog_live_queue *q = inttab_get(&l.queues, 2 * i + 2);
        assert_true(q != NULL && q->live == 0 && q->entries == NULL);
        assert_int_equal(q->last_seq, last[i]);
    }
    msglog_live_fini(&l);
}

// Of messages in the log and of others, in any order against an array: the highest count that was met.
static void
test_counts_never_go_down(void **state)
{
    struct rng r;
    rng_init(&r, 3);
    for (int round = 0; round < 200; round++) {
        static uint32_t expected[300];
        static bool is_live[300], was_gone[300];
        struct msglog_live l;
        memset(expected, 0, sizeof expected);
        memset(is_live, 0, sizeof is_live);
        memset(was_gone, 0, sizeof was_gone);
        init(&l);
        for (int step = 0; step < 300; step++) {
            uint64_t seq = 1 + rng_below(&r, 200), what = rng_below(&r, 10);
            uint32_t count = 1 + (uint32_t)rng_below(&r, 9), numbers = 1 + (uint32_t)rng_below(&r, 64);
            struct msglog_live_entry e = {
                .seq = seq, .place = {.file = 1, .len = 1}, .flags = count << 16 | 2};
            if (what == 0) {
                assert_int_equal(msglog_live_replay_ack(&l, 1, seq, 1), 0);
                is_live[seq] = false;
                was_gone[seq] = true; // what its record said has gone with it
            } else if (what < 4) {    // moved, with what its owner knew then
                assert_int_equal(msglog_live_put(&l, 1, &e), 0);
                expected[seq] = LV_MAX(expected[seq], count);
                is_live[seq] = true;
            } else {
                assert_int_equal(msglog_live_replay_count(&l, 1, seq, numbers, count), 0);
                for (uint32_t n = 0; n < numbers; n++)
                    expected[seq + n] = LV_MAX(expected[seq + n], count);
            }
            // Nobody wants them of this one, and nothing of it lives.
            assert_int_equal(msglog_live_replay_count(&l, 2, seq, numbers, count), 0);
        }
        const struct msglog_live_queue *q = inttab_get(&l.queues, 1);
        assert_null(inttab_get(&l.queues, 2));
        for (uint64_t seq = 1; q != NULL && seq < 265; seq++) {
            const struct msglog_live_entry *e = msglog_live_find(&l, 1, seq);
            uint32_t found = (uint32_t)(uintptr_t)inttab_get(&q->counts, seq);
            assert_int_equal(e != NULL, is_live[seq]);
            if (e != NULL)
                found = LV_MAX(found, e->flags >> 16);
            assert_true(e == NULL || (e->flags & 0xffff) == 2);
            if (e != NULL && !was_gone[seq])
                assert_int_equal(found, expected[seq]);
            assert_true(found <= expected[seq]);
        }
        msglog_live_fini(&l);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_never_go_down),
        cmocka_unit_test(test_gone_in_any_order),
        cmocka_unit_test(test_gone_at_random_is_not_quadratic),
        cmocka_unit_test(test_numbers_at_the_end_of_the_scale),
        cmocka_unit_test(test_deleted_until_used_again),
        cmocka_unit_test(test_index_against_a_model),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_the_last_number_counts_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
