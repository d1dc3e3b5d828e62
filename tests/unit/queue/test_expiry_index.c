// test_expiry_index.c: the index of instants, and holes in the FIFO, each against a naive twin.
#include "fixture.h"

#include <stdlib.h>

#include "queue/expiry_index.h"
#include "queue/ready.h"
#include "src/base/mem.h"

enum { TWIN_MAX = 6000 };

struct twin_slot {
    int64_t at_ms; // 0: not there
    uint8_t level;
    bool is_popped;
};

struct twin {
    struct twin_slot slots[TWIN_MAX];
    uint64_t count;
};

static int64_t
twin_next(const struct twin *t)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < TWIN_MAX; i++)
        if (t->slots[i].at_ms != 0 && !t->slots[i].is_popped)
            next = LV_MIN(next, t->slots[i].at_ms);
    return next;
}

// The next number at or behind `from` that is there; TWIN_MAX: none.
static uint64_t
twin_from(const struct twin *t, uint64_t from)
{
    while (from < TWIN_MAX && t->slots[from].at_ms == 0)
        from++;
    return from;
}

static void
assert_same(struct expiry_index *x, const struct twin *t)
{
    struct expiry_due d;
    assert_int_equal(x->count, t->count);
    uint64_t at = 0, seq, nth = 0;
    for (; (seq = twin_from(t, at)) < TWIN_MAX; at = seq + 1) {
        assert_true(expiry_index_each(x, at, &d));
        assert_int_equal(d.seq, seq);
        assert_int_equal(d.at_ms, t->slots[seq].at_ms);
        assert_int_equal(d.level, t->slots[seq].level);
        assert_true(expiry_index_nth(x, nth++, &d));
        assert_int_equal(d.seq, seq);
    }
    assert_false(expiry_index_each(x, at, &d));
    assert_false(expiry_index_nth(x, nth, &d));
    assert_int_equal(expiry_index_next(x), twin_next(t));
    assert_true(x->heap_count <= 2 * x->count + 70);
    if (t->count == 0)
        assert_int_equal(expiry_index_memory(x), 0);
}

static void
put(struct expiry_index *x, struct twin *t, uint64_t seq, int64_t at_ms)
{
    uint8_t level = (uint8_t)(seq * 7);
    if (t->slots[seq].at_ms != 0)
        return;
    bool is_in = expiry_index_put(x, seq, level, at_ms);
    mem_test_fail_after(0);
    if (!is_in)
        return;
    t->slots[seq] = (struct twin_slot){.at_ms = at_ms, .level = level};
    t->count++;
}

static void
take(struct expiry_index *x, struct twin *t, uint64_t seq)
{
    bool was_there = t->slots[seq].at_ms != 0;
    assert_int_equal(expiry_index_get(x, seq), t->slots[seq].at_ms);
    assert_int_equal(expiry_index_remove(x, seq), was_there);
    t->slots[seq] = (struct twin_slot){0};
    t->count -= was_there;
}

static void
pop(struct expiry_index *x, struct twin *t, int64_t now_ms)
{
    struct expiry_due d;
    int64_t next = twin_next(t);
    assert_int_equal(expiry_index_pop(x, now_ms, &d), next <= now_ms);
    if (next > now_ms)
        return;
    assert_int_equal(d.at_ms, next);
    assert_int_equal(t->slots[d.seq].at_ms, next);
    assert_int_equal(d.level, t->slots[d.seq].level);
    assert_false(t->slots[d.seq].is_popped);
    t->slots[d.seq].is_popped = true;
}

enum pattern { UNIFORM, RANDOM, LONG_HEAD, PATTERNS };

static int64_t
instant(enum pattern pattern, struct rng *rng, uint64_t seq, int64_t now_ms)
{
    switch (pattern) {
    case UNIFORM: return now_ms + 500;
    case LONG_HEAD: return now_ms + (seq % 100 == 0 ? 1000000 : 500);
    default: return now_ms + 1 + (int64_t)rng_below(rng, 1000);
    }
}

static void
run_index(uint64_t seed, enum pattern pattern)
{
    struct twin *t = mem_xcalloc(1, sizeof(*t));
    struct expiry_index x = {0};
    struct rng rng;
    rng_init(&rng, seed);
    uint64_t next_seq = 1;
    int64_t now_ms = 1000;
    bool fails = rng_below(&rng, 4) == 0;
    unsigned grow = 1 + (unsigned)rng_below(&rng, 4);
    for (int step = 0; step < 12000; step++) {
        if (step % 3000 == 0)
            grow = 1 + (unsigned)rng_below(&rng, 4);
        unsigned what = (unsigned)rng_below(&rng, 12);
        uint64_t any = 1 + rng_below(&rng, TWIN_MAX - 1);
        if (fails && rng_below(&rng, 3) == 0)
            mem_test_fail_after(1 + rng_below(&rng, 2));
        if (what < grow + 1) {
            if (next_seq < TWIN_MAX)
                put(&x, t, next_seq, instant(pattern, &rng, next_seq, now_ms));
            next_seq += 1 + (rng_below(&rng, 8) == 0 ? rng_below(&rng, 3) : 0);
        } else if (what == 6) {
            // Late ones, and blocks of the chain: they come in between.
            for (uint64_t i = 0; i < 5 && any + i < LV_MIN(next_seq, (uint64_t)TWIN_MAX); i++)
                put(&x, t, any + i, instant(pattern, &rng, any + i, now_ms));
        } else if (what == 7) {
            uint64_t first = twin_from(t, 1);
            if (first < TWIN_MAX)
                take(&x, t, first);
        } else if (what == 8) {
            take(&x, t, any);
        } else if (what == 9) {
            now_ms += (int64_t)rng_below(&rng, 3);
            pop(&x, t, now_ms);
        } else if (what == 10) {
            expiry_index_rearm(&x, any);
            t->slots[any].is_popped = false;
        }
        mem_test_fail_after(0);
        if (step % 500 == 0 || step > 11900)
            assert_same(&x, t);
    }
    // To the end, in the order of time.
    while (twin_next(t) != INT64_MAX) {
        now_ms = twin_next(t);
        struct expiry_due d;
        assert_true(expiry_index_pop(&x, now_ms, &d));
        assert_int_equal(d.at_ms, now_ms);
        take(&x, t, d.seq);
    }
    assert_false(expiry_index_pop(&x, INT64_MAX, &(struct expiry_due){0}));
    for (uint64_t seq; (seq = twin_from(t, 1)) < TWIN_MAX;)
        take(&x, t, seq);
    assert_same(&x, t);
    expiry_index_fini(&x);
    mem_free(t);
}

static void
index_like_its_twin(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (int pattern = 0; pattern < PATTERNS; pattern++)
            run_index(seed * 16 + (uint64_t)pattern, (enum pattern)pattern);
}

// 16 bytes a message with one TTL, 32 with any, and a little.
static void
index_is_small(void **state)
{
    enum { MANY = 100000 };
    struct expiry_index x = {0};
    struct rng rng;
    rng_init(&rng, 3);
    for (uint64_t seq = 1; seq <= MANY; seq++)
        assert_true(expiry_index_put(&x, seq, 0, 5000 + (int64_t)seq / 10));
    assert_true(expiry_index_memory(&x) < MANY * 17);
    // A steady stream through it: no more, whatever went before it was due.
    for (uint64_t seq = MANY + 1; seq <= 5 * MANY; seq++) {
        assert_true(expiry_index_put(&x, seq, 0, 5000 + (int64_t)seq / 10));
        assert_true(expiry_index_remove(&x, seq - MANY));
    }
    assert_true(expiry_index_memory(&x) < MANY * 17);
    expiry_index_fini(&x);
    for (uint64_t seq = 1; seq <= MANY; seq++)
        assert_true(expiry_index_put(&x, seq, 0, 1 + (int64_t)rng_below(&rng, 60000)));
    assert_true(expiry_index_memory(&x) < MANY * 34);
    for (uint64_t seq = MANY + 1; seq <= 5 * MANY; seq++) {
        assert_true(expiry_index_put(&x, seq, 0, 1 + (int64_t)rng_below(&rng, 60000)));
        assert_true(expiry_index_remove(&x, seq - MANY));
    }
    assert_true(expiry_index_memory(&x) < MANY * 51);
    // One message costs little.
    expiry_index_fini(&x);
    assert_true(expiry_index_put(&x, 1, 0, 1));
    assert_true(expiry_index_memory(&x) < 256);
    expiry_index_fini(&x);
}

// --- holes ---

static struct ready_pools pools;

static struct ready_entry
entry(uint64_t seq)
{
    return (struct ready_entry){.seq = seq, .body_len = (uint32_t)seq};
}

struct fifo_twin {
    bool is_there[TWIN_MAX];
    uint64_t count, first, end; // numbers first … end - 1 may be there
};

static void
assert_same_fifo(struct ready *r, const struct fifo_twin *t)
{
    struct ready_cursor at = {0};
    assert_int_equal(r->count, t->count);
    for (uint64_t seq = t->first; seq < t->end; seq++) {
        if (!t->is_there[seq])
            continue;
        const struct ready_entry *e = ready_next(r, &at);
        assert_non_null(e);
        assert_int_equal(e->seq, seq);
    }
    assert_null(ready_next(r, &at));
    uint64_t first = UINT64_MAX;
    for (const struct ready_chunk *c = r->head; c != NULL; c = c->next) {
        uint32_t used = c == r->tail ? r->tail_pos : c->cap;
        if (c != r->head)
            assert_true(c->holes < used || used == 0);
        else
            first = c->entries[r->head_pos].seq;
    }
    if (t->count > 0)
        assert_true(t->is_there[first]); // never a hole
    else
        assert_null(r->head);
}

static void
punch(struct ready *r, struct fifo_twin *t, uint64_t seq)
{
    struct ready_cursor at;
    assert_int_equal(ready_find(r, seq, &at), t->is_there[seq]);
    if (!t->is_there[seq])
        return;
    assert_int_equal(at.chunk->entries[at.pos].seq, seq);
    ready_punch(r, &pools, &at);
    t->is_there[seq] = false;
    t->count--;
}

static void
fifo_pop(struct ready *r, struct fifo_twin *t)
{
    while (t->first < t->end && !t->is_there[t->first])
        t->first++;
    if (t->first == t->end) {
        assert_null(ready_peek(r));
        return;
    }
    assert_int_equal(ready_peek(r)->seq, t->first);
    ready_pop(r, &pools);
    t->is_there[t->first++] = false;
    t->count--;
}

// Cuts it in two and joins the parts again, as a split and its end do.
static void
cut_and_join(struct ready *r, struct rng *rng, const struct fifo_twin *t)
{
    struct ready rest = {0}, front = {0};
    struct ready_cursor at = {0};
    uint64_t steps = t->count == 0 ? 0 : 1 + rng_below(rng, t->count);
    for (uint64_t i = 0; i < steps; i++)
        assert_non_null(ready_next(r, &at));
    if (steps == 0 || !ready_cut_fifo(r, &at, &rest, &pools))
        return;
    assert_int_equal(r->count + rest.count, t->count);
    ready_move_fifo(&front, r);
    for (const struct ready_entry *e; (e = ready_peek(&front)) != NULL; ready_pop(&front, &pools))
        assert_true(ready_push(r, &pools, e));
    for (const struct ready_entry *e; (e = ready_peek(&rest)) != NULL; ready_pop(&rest, &pools))
        assert_true(ready_push(r, &pools, e));
    ready_fini(&front);
    ready_fini(&rest);
}

static void
run_fifo(uint64_t seed)
{
    struct fifo_twin *t = mem_xcalloc(1, sizeof(*t));
    struct ready r = {0};
    struct rng rng;
    rng_init(&rng, seed);
    t->first = t->end = 1;
    bool has_head = rng_below(&rng, 2) == 0; // a first one that stays
    for (int step = 0; step < 20000; step++) {
        unsigned what = (unsigned)rng_below(&rng, 16);
        uint64_t any = 1 + rng_below(&rng, LV_MAX(t->end, (uint64_t)2) - 1);
        if (seed % 3 == 0 && rng_below(&rng, 4) == 0)
            mem_test_fail_after(1);
        if (what < 7 && t->end < TWIN_MAX) {
            struct ready_entry e = entry(t->end);
            if (ready_push(&r, &pools, &e)) {
                t->is_there[t->end++] = true;
                t->count++;
            }
        } else if (what == 7 && ready_reserve_push(&r, &pools)) {
            ready_cancel_push(&r, &pools);
        } else if (what < 13) {
            if (!has_head || any > 1)
                punch(&r, t, any);
        } else if (what < 15) {
            if (!has_head)
                fifo_pop(&r, t);
        } else if (step % 64 == 0) {
            mem_test_fail_after(0);
            cut_and_join(&r, &rng, t);
        }
        mem_test_fail_after(0);
        if (step % 200 == 0)
            assert_same_fifo(&r, t);
    }
    while (t->count > 0)
        fifo_pop(&r, t);
    assert_same_fifo(&r, t);
    ready_fini(&r);
    mem_free(t);
}

static void
fifo_with_holes_like_its_twin(void **state)
{
    ready_pools_init(&pools);
    for (uint64_t seed = 1; seed <= 24; seed++)
        run_fifo(seed);
    ready_pools_fini(&pools);
}

// A million go from behind a first one that stays: their memory goes too.
static void
holes_hold_no_memory(void **state)
{
    enum { MANY = 1000000 };
    struct ready r = {0};
    struct ready_cursor at;
    ready_pools_init(&pools);
    for (uint64_t seq = 1; seq <= MANY; seq++) {
        struct ready_entry e = entry(seq);
        assert_true(ready_push(&r, &pools, &e));
    }
    uint64_t seq = 2;
    for (uint64_t n = 2; n <= MANY; n++) {
        seq = 2 + (seq + 7919 * 37) % (MANY - 1); // all of them, in another order
        if (!ready_find(&r, seq, &at))
            for (seq = 2; !ready_find(&r, seq, &at); seq++)
                continue;
        ready_punch(&r, &pools, &at);
    }
    assert_int_equal(r.count, 1);
    assert_ptr_equal(r.head, r.tail);
    assert_true(ready_memory(&r) < 128 * 1024);
    ready_pop(&r, &pools);
    assert_null(r.head);
    ready_fini(&r);
    ready_pools_fini(&pools);
}

static bool
is_odd(void *ctx, const struct ready_entry *e)
{
    *(uint64_t *)ctx += e->seq % 2;
    return e->seq % 2 != 0;
}

static void
heap_is_filtered(void **state)
{
    struct ready r = {0};
    uint64_t odd = 0;
    ready_pools_init(&pools);
    for (uint64_t i = 0; i < 100; i++) {
        struct ready_entry e = entry(1 + i * 37 % 100);
        assert_true(ready_push_returned(&r, &e));
    }
    ready_filter_heap(&r, is_odd, &odd);
    assert_int_equal(odd, 50);
    assert_int_equal(r.count, 50);
    for (uint64_t seq = 2; seq <= 100; seq += 2) {
        assert_int_equal(ready_peek(&r)->seq, seq);
        ready_pop(&r, &pools);
    }
    ready_fini(&r);
    ready_pools_fini(&pools);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_like_its_twin),
        cmocka_unit_test(index_is_small),
        cmocka_unit_test(fifo_with_holes_like_its_twin),
        cmocka_unit_test(holes_hold_no_memory),
        cmocka_unit_test(heap_is_filtered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
