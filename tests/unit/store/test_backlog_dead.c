// test_backlog_dead.c: messages that leave the middle of a chain: tables, sums, hollow blocks and their files, `state`, and starts that find what is left.
#include "tests/unit/store/backlog_world.h"

// The n-th message of the chain, as its table has it.
static void
due_of(const struct world *w, uint64_t seq, struct backlog_block **ret_block, struct backlog_due *ret)
{
    struct backlog_due *all;
    uint32_t count, i = 0;
    struct backlog_block *block = backlog_find(&w->b, seq);
    assert_non_null(block);
    assert_int_equal(backlog_read_table(w->io, dir, QUEUE, false, block, &all, &count), 0);
    while (i < count && all[i].seq != seq)
        i++;
    assert_true(i < count);
    *ret = all[i];
    *ret_block = block;
    mem_free(all);
}

static void
kill_one(struct world *w, uint64_t seq)
{
    struct backlog_block *block;
    struct backlog_due d;
    due_of(w, seq, &block, &d);
    struct backlog_wait one = {1, d.body_bytes, (d.where & BACKLOG_DUE_PERSISTENT) != 0};
    assert_false(backlog_is_dead(&w->b, block, d.offset));
    assert_int_equal(backlog_kill(&w->b, block, d.offset, &one), 0);
}

static bool
waits(const struct world *w, uint64_t seq)
{
    struct backlog_block *block = seq >= w->b.cursor ? backlog_find(&w->b, seq) : NULL;
    struct backlog_due d;
    if (block == NULL)
        return false;
    due_of(w, seq, &block, &d);
    return !backlog_is_dead(&w->b, block, d.offset);
}

static void
write_state(struct world *w, const uint64_t *kept, size_t count)
{
    struct backlog_state s = state_of(w, w->b.cursor, kept, count);
    assert_int_equal(backlog_write_state(w->io, dir, QUEUE, &s), 0);
    mem_free(s.ends);
    mem_free(s.dead);
}

static void
test_tables_say_what_is_there(void **state)
{
    struct world w;
    struct backlog_append a;
    world_init(&w);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1, 1000, 1, &a), 0);
    for (size_t b = 0, n = 0; b < a.block_count; b++) {
        struct backlog_due *all;
        uint32_t count;
        assert_true(a.blocks[b].bytes <= BACKLOG_BLOCK_BYTES);
        assert_int_equal(backlog_read_table(w.io, dir, QUEUE, false, &a.blocks[b], &all, &count), 0);
        assert_int_equal(count, a.blocks[b].count);
        for (uint32_t i = 0; i < count; i++, n++) {
            assert_int_equal(all[i].seq, a.items[n].seq);
            assert_int_equal(all[i].at_ms, a.items[n].expires_ms);
            assert_int_equal(all[i].offset, a.items[n].offset);
            assert_int_equal(backlog_due_len(&all[i]), a.items[n].len);
            assert_int_equal(all[i].body_bytes, body_of(all[i].seq));
            assert_int_equal((all[i].where & BACKLOG_DUE_PERSISTENT) != 0, all[i].seq % 7 != 3);
        }
        mem_free(all);
    }
    mem_free(a.items);
    mem_free(a.blocks);
    // Where nothing expires there is none; nor among what is loose.
    is_timeless = true;
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1001, 1100, 1001, &a), 0);
    assert_int_equal(a.blocks[0].table + a.blocks[0].due_s, 0);
    is_timeless = false;
    mem_free(a.items);
    mem_free(a.blocks);
    assert_int_equal(append_from(&w, BACKLOG_LOOSE, 2001, 2100, 2001, &a), 0);
    assert_int_equal(a.blocks[0].table, 0);
    mem_free(a.items);
    mem_free(a.blocks);
    world_fini(&w);
}

// Whatever is wrong with a table is seen, costs no message, and what is gone stays gone.
static void
test_every_byte_of_a_table(void **state)
{
    struct world w;
    struct backlog_append a;
    world_init(&w);
    assert_int_equal(append_from(&w, BACKLOG_CHAIN, 1, 6, 1, &a), 0);
    struct backlog_block block = a.blocks[0];
    mem_free(a.items);
    mem_free(a.blocks);
    static const struct range range = {4, 5};
    struct gone gone = {&range, 1};
    for (uint32_t at = 0; at < block.table; at++) {
        struct backlog_due *all;
        struct opened o;
        uint32_t count;
        uint64_t place = block.offset + block.bytes - block.table + at;
        assert_true(powercut_rot(w.disk, file_1, place, 0x10));
        assert_int_equal(backlog_read_table(w.io, dir, QUEUE, false, &block, &all, &count), -LE_CORRUPT);
        assert_int_equal(reopen_gone(&w, &o, &gone), 0);
        assert_int_equal(o.report.bad_records, 1);
        assert_int_equal(o.kept_count + w.b.count, 4); // 3 is not persistent
        opened_fini(&o);
        assert_true(powercut_rot(w.disk, file_1, place, 0x10));
    }
    world_fini(&w);
}

static void
test_the_middle_leaves(void **state)
{
    struct world w;
    uint64_t bad, left = 0;
    struct backlog_wait all;
    world_init(&w);
    append(&w, BACKLOG_CHAIN, 1, 3000);
    size_t blocks = w.b.end - w.b.first;
    assert_true(blocks >= 6);
    sum_up(1, 3000, &all);
    for (uint64_t seq = 2; seq <= 3000; seq += 3, left++) {
        kill_one(&w, seq);
        all.body_bytes -= body_of(seq);
        all.persistent -= seq % 7 != 3;
        assert_false(waits(&w, seq));
        assert_int_equal(w.b.count, 3000 - left - 1);
        assert_int_equal(w.b.body_bytes, all.body_bytes);
        assert_int_equal(w.b.persistent, all.persistent);
    }
    assert_true(w.b.dead_bytes > 0 && w.b.dead_bytes < blocks * 700);
    assert_int_equal(drain(&w, 1, &bad), 2000);
    assert_int_equal(bad, 0);
    assert_int_equal(w.b.dead_bytes + w.b.dead.count, 0);
    world_fini(&w);
}

// A block that is wholly dead goes from wherever it is; so does its file. The first one goes when it is skipped.
static void
test_hollow_blocks(void **state)
{
    struct world w;
    world_init(&w);
    for (uint64_t n = 0; n < 300; n++)
        append(&w, BACKLOG_CHAIN, 1 + n * 10, 6 + n * 10);
    for (uint64_t n = 1; n < 299; n++)
        for (uint64_t i = 0; i < 6; i++)
            kill_one(&w, 1 + n * 10 + i);
    assert_int_equal(w.b.count, 12);
    assert_int_equal(w.b.files[0].blocks, 2);
    assert_true(w.b.end - w.b.first < 200);
    assert_int_equal(backlog_last_seq(&w.b), 2996);
    assert_false(backlog_skip_dead(&w.b));
    for (uint64_t i = 0; i < 6; i++)
        kill_one(&w, 1 + i);
    assert_int_equal(w.b.count, 6);
    assert_true(backlog_skip_dead(&w.b));
    assert_int_equal(backlog_peek(&w.b)->first_seq, 2991);
    assert_int_equal(w.b.cursor, backlog_peek(&w.b)->first_seq - 10 + 6);
    for (uint64_t i = 0; i < 6; i++)
        kill_one(&w, 2991 + i);
    assert_true(backlog_skip_dead(&w.b));
    assert_null(backlog_peek(&w.b));
    assert_int_equal(w.b.count + w.b.body_bytes + w.b.persistent + w.b.hollow, 0);
    assert_int_equal(backlog_take_unneeded(&w.b), 1);
    assert_int_equal(w.b.dead.count + w.b.dead_bytes, 0);
    world_fini(&w);
}

// In the middle, a whole block, a block of which the log says so, one that state says is dying: as it was, and no survivor is kept for that.
static void
test_starts_find_what_is_left(void **state)
{
    struct world w;
    static const struct range ranges[] = {{22, 24}, {31, 37}};
    struct gone gone = {ranges, 2};
    static const uint64_t dying[] = {5};
    world_init(&w);
    for (uint64_t n = 0; n < 6; n++)
        append(&w, BACKLOG_CHAIN, 1 + n * 10, 6 + n * 10);
    kill_one(&w, 2);
    kill_one(&w, 5);
    for (uint64_t seq = 11; seq <= 16; seq++)
        kill_one(&w, seq);
    write_state(&w, dying, 1);
    for (int life = 0; life < 3; life++) {
        struct opened o;
        assert_int_equal(reopen_gone(&w, &o, life == 0 ? &gone : NULL), 0);
        assert_int_equal(o.kept_count, 0);
        static const uint64_t gone_now[] = {2, 11, 16, 22, 23, 31, 36},
                              there[] = {1, 4, 5, 6, 21, 25, 41, 56};
        for (size_t i = 0; i < LV_ARRAY_LEN(gone_now); i++)
            assert_false(waits(&w, gone_now[i]));
        for (size_t i = 0; i < LV_ARRAY_LEN(there); i++)
            assert_true(waits(&w, there[i]));
        // Persistent ones: 1 4 5 6, 21 25 26, 41 … 46 without 45, 51 … 56 without 52. 3, 10, 17, 24, … are not.
        assert_int_equal(w.b.count, 4 + 3 + 5 + 5);
        if (life == 0)
            write_state(&w, NULL, 0); // and the log's word is not needed any more
        opened_fini(&o);
    }
    world_fini(&w);
}

// A number that lies loose too counts where it was written last.
static void
test_loose_ones_in_between(void **state)
{
    struct world w;
    struct opened o;
    world_init(&w);
    append(&w, BACKLOG_LOOSE, 15, 15);
    append(&w, BACKLOG_CHAIN, 4, 9);
    append(&w, BACKLOG_LOOSE, 5, 5);
    append(&w, BACKLOG_CHAIN, 11, 20);
    reopen(&w, &o);
    assert_int_equal(o.kept_count, 1);
    assert_int_equal(o.kept[0].record.seq, 5);
    assert_false(waits(&w, 5));
    assert_true(waits(&w, 15));
    assert_int_equal(w.b.count, 5 + 9); // 17 is not persistent
    opened_fini(&o);
    world_fini(&w);
}

// --- random stories against a table of who is there ---

enum { STORY_SEQS = 3000 };

struct story {
    struct world w;
    struct rng rng;
    bool alive[STORY_SEQS];    // waits
    bool in_state[STORY_SEQS]; // dead, and the last state knows
    struct range gone[STORY_SEQS];
    uint64_t next, cursor;
};

static void
story_check(struct story *s)
{
    struct backlog_wait all = {0};
    for (uint64_t seq = 1; seq < s->next; seq++)
        if (s->alive[seq]) {
            all.count++;
            all.body_bytes += body_of(seq);
            all.persistent += seq % 7 != 3;
        }
    assert_int_equal(s->w.b.count, all.count);
    assert_int_equal(s->w.b.body_bytes, all.body_bytes);
    assert_int_equal(s->w.b.persistent, all.persistent);
    for (int i = 0; i < 20 && s->next > 1; i++) {
        uint64_t seq = 1 + rng_below(&s->rng, s->next - 1);
        if (seq % 7 != 3) // those of an earlier life have no bit: nobody counts them
            assert_int_equal(waits(&s->w, seq), s->alive[seq]);
    }
}

static void
story_kill(struct story *s)
{
    uint64_t from = 1 + rng_below(&s->rng, s->next), count = rng_below(&s->rng, 4) == 0 ? 400 : 1;
    for (uint64_t seq = from; seq < s->next && seq < from + count; seq++)
        if (s->alive[seq] && rng_below(&s->rng, 20) != 0) {
            kill_one(&s->w, seq);
            s->alive[seq] = false;
        }
    if (rng_below(&s->rng, 2) == 0)
        (void)backlog_skip_dead(&s->w.b);
    for (uint32_t file; (file = backlog_take_unneeded(&s->w.b)) != 0;)
        assert_int_equal(backlog_unlink(s->w.io, dir, QUEUE, false, file), 0);
}

// The first block is taken, and all of it acked.
static void
story_advance(struct story *s)
{
    struct backlog_wait lost;
    const struct backlog_block *block = backlog_peek(&s->w.b);
    if (block == NULL)
        return;
    uint64_t last = block->last_seq;
    backlog_advance(&s->w.b, &lost);
    for (uint64_t seq = 1; seq <= last; seq++)
        s->alive[seq] = false;
}

static void
story_state(struct story *s)
{
    write_state(&s->w, NULL, 0);
    for (uint64_t seq = 1; seq < s->next; seq++)
        s->in_state[seq] = !s->alive[seq];
}

// What the log says: everything that died since the last state; of the others, now and then, too.
static void
story_restart(struct story *s)
{
    struct opened o;
    struct gone gone = {s->gone, 0};
    for (uint64_t seq = 1; seq < s->next; seq++) {
        if (seq % 7 == 3) // gone with the process
            s->alive[seq] = false;
        if (s->alive[seq] || (s->in_state[seq] && rng_below(&s->rng, 2) == 0))
            continue;
        if (gone.count > 0 && s->gone[gone.count - 1].end == seq)
            s->gone[gone.count - 1].end++;
        else
            s->gone[gone.count++] = (struct range){seq, seq + 1};
    }
    assert_int_equal(reopen_gone(&s->w, &o, &gone), 0);
    // What stood in the block of the cursor is kept now.
    for (size_t i = 0; i < o.kept_count; i++) {
        uint64_t seq = o.kept[i].record.seq;
        assert_true(s->alive[seq]);
        s->alive[seq] = false;
        backlog_unkeep(&s->w.b, o.kept[i].file); // and is taken and acked at once
    }
    story_state(s);
    opened_fini(&o);
}

static void
test_stories(void **state)
{
    struct story *s = mem_xcalloc(1, sizeof(*s));
    const char *seeds = getenv("LEVERET_STORIES");
    uint64_t count = seeds != NULL ? strtoull(seeds, NULL, 10) : 40;
    for (uint64_t seed = 1; seed <= count; seed++) {
        memset(s, 0, sizeof(*s));
        rng_init(&s->rng, seed);
        world_init(&s->w);
        s->next = 1;
        for (int step = 0; step < 60; step++) {
            uint64_t kind = rng_below(&s->rng, 10);
            uint64_t many = rng_below(&s->rng, 2) == 0 ? 400 : 20, n = 1 + rng_below(&s->rng, many);
            if (kind < 3 && s->next + n + 10 < STORY_SEQS) {
                s->next +=
                    rng_below(&s->rng, 3) == 0 ? rng_below(&s->rng, 9) : 0; // numbers that went elsewhere
                append(&s->w, BACKLOG_CHAIN, s->next, s->next + n - 1);
                memset(s->alive + s->next, true, n);
                s->next += n;
            } else if (kind < 7) {
                story_kill(s);
            } else if (kind < 8) {
                story_advance(s);
            } else if (kind < 9) {
                story_state(s);
            } else {
                story_restart(s);
            }
            story_check(s);
        }
        world_fini(&s->w);
    }
    mem_free(s);
}

int
main(int argc, char **argv)
{
    plant_bugs(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_say_what_is_there),
        cmocka_unit_test(test_every_byte_of_a_table),
        cmocka_unit_test(test_the_middle_leaves),
        cmocka_unit_test(test_hollow_blocks),
        cmocka_unit_test(test_starts_find_what_is_left),
        cmocka_unit_test(test_loose_ones_in_between),
        cmocka_unit_test(test_stories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
