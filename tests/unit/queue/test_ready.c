// test_ready.c: messages, handle tables, the ready structure and the unacked table, each against a naive
// twin.
#include "fixture.h"

#include "queue/handles.h"
#include "queue/ready.h"
#include "queue/unacked.h"
#include "src/base/mem.h"

static void
message_layout(void **state)
{
    const uint8_t props[] = {0x10, 0x00, 2};
    struct message *m =
        message_new(SLICE_LIT("ex"), SLICE_LIT("key"), slice_of(props, sizeof(props)), 0x01020304 & 0xff);
    assert_non_null(m);
    memset(message_body_mut(m), 0xab, 4);
    assert_true(slice_eq_str(message_exchange(m), "ex"));
    assert_true(slice_eq_str(message_routing_key(m), "key"));
    assert_memory_equal(message_route(m).ptr,
                        "\x02"
                        "ex\x03key",
                        message_route(m).len);
    assert_int_equal(message_route(m).len, 7);
    const uint8_t header[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0x10, 0, 2};
    assert_int_equal(message_header(m).len, sizeof(header));
    assert_memory_equal(message_header(m).ptr, header, sizeof(header));
    assert_true(slice_eq(message_properties(m), slice_of(props, sizeof(props))));
    assert_int_equal(message_body(m).len, 4);
    assert_int_equal(message_weight(m), sizeof(*m) + 7 + 15 + 4);
    assert_int_equal(m->flags, 0);
    message_ref(m);
    message_unref(m);
    assert_int_equal(atomic_load(&m->refs), 1);
    message_unref(m);
    message_unref(NULL);
}

static void
message_extremes(void **state)
{
    static uint8_t name[255];
    memset(name, 'n', sizeof(name));
    struct message *m = message_new(slice_of(name, 255), slice_of(name, 255), SLICE_EMPTY, 0);
    assert_non_null(m);
    assert_int_equal(message_routing_key(m).len, 255);
    assert_int_equal(message_body(m).len, 0);
    message_unref(m);
    mem_test_fail_after(1);
    assert_null(message_new(SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY, 10));
    mem_test_fail_after(0);
}

static void
handles_grow_old(void **state)
{
    struct handle_numbers n = {0};
    struct handle_slots s = {0};
    lv_handle first;
    lv_handle h;
    int thing;
    assert_int_equal(handle_numbers_take(&n, 3, &first), 0);
    assert_int_equal(handle_worker(first), 3);
    assert_true(handle_generation(first) != 0);
    assert_true(handle_slots_is_newer(&s, first));
    assert_null(handle_slots_find(&s, first));
    assert_int_equal(handle_slots_reserve(&s, first), 0);
    handle_slots_put(&s, first, &thing);
    assert_ptr_equal(handle_slots_find(&s, first), &thing);
    assert_false(handle_slots_is_newer(&s, first));
    handle_slots_remove(&s, first);
    assert_null(handle_slots_find(&s, first));
    assert_false(handle_slots_is_newer(&s, first)); // gone, not "not yet there"
    handle_numbers_give(&n, first);
    // Oldest first: 99 others are made before the index comes round.
    lv_handle all[100];
    for (int i = 0; i < 100; i++)
        assert_int_equal(handle_numbers_take(&n, 3, &all[i]), 0);
    assert_int_equal(handle_index(all[0]), handle_index(first));
    assert_int_equal(handle_generation(all[0]), handle_generation(first) + 1);
    assert_true(handle_slots_is_newer(&s, all[0]));
    handle_numbers_give(&n, all[5]);
    handle_numbers_give(&n, all[2]);
    assert_int_equal(handle_numbers_take(&n, 3, &h), 0);
    assert_int_equal(handle_index(h), handle_index(all[5]));
    assert_int_equal(handle_numbers_take(&n, 3, &h), 0);
    assert_int_equal(handle_index(h), handle_index(all[2]));
    assert_null(handle_slots_find(&s, 0));
    assert_false(handle_slots_is_newer(&s, 0));
    handle_numbers_fini(&n);
    handle_slots_fini(&s);
}

static void
generations_wrap(void **state)
{
    struct handle_numbers n = {0};
    lv_handle h;
    assert_int_equal(handle_numbers_take(&n, 1, &h), 0);
    n.items[0].generation = 0xffffff;
    h = handle_make(1, 0xffffff, 0);
    handle_numbers_give(&n, h);
    lv_handle next;
    assert_int_equal(handle_numbers_take(&n, 1, &next), 0);
    assert_int_equal(handle_generation(next), 1); // never 0
    struct handle_slots s = {0};
    int thing;
    assert_int_equal(handle_slots_reserve(&s, h), 0);
    handle_slots_put(&s, h, &thing);
    assert_true(handle_slots_is_newer(&s, next)); // also over the edge
    handle_slots_remove(&s, h);
    handle_slots_fini(&s);
    handle_numbers_fini(&n);
}

// A naive ready: a sorted array of sequence numbers.
struct twin {
    uint64_t seqs[4096];
    size_t count;
};

static void
twin_insert(struct twin *t, uint64_t seq)
{
    size_t at = t->count++;
    for (; at > 0 && t->seqs[at - 1] > seq; at--)
        t->seqs[at] = t->seqs[at - 1];
    t->seqs[at] = seq;
}

static struct ready_entry
entry_of(uint64_t seq)
{
    return (struct ready_entry){
        .seq = seq, .body_len = (uint32_t)seq * 2 + 1, .count_flags = READY_PERSISTENT};
}

static void
ready_against_twin(void **state)
{
    struct ready_pools pools;
    ready_pools_init(&pools);
    struct rng rng;
    static struct twin t;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rng_init(&rng, seed);
        struct ready r = {0};
        uint64_t next = 1;
        uint64_t out[4096];
        size_t out_count = 0;
        t.count = 0;
        uint64_t push_percent = 20 + rng_below(&rng, 50);
        for (int step = 0; step < 2500; step++) {
            uint64_t dice = rng_below(&rng, 100);
            if (dice < push_percent && t.count < 4000) {
                struct ready_entry e = entry_of(next++);
                assert_true(ready_push(&r, &pools, &e));
                twin_insert(&t, e.seq);
            } else if (dice < push_percent + 15 && out_count > 0) {
                size_t pick = rng_below(&rng, out_count);
                struct ready_entry e = entry_of(out[pick]);
                out[pick] = out[--out_count];
                assert_true(ready_push_returned(&r, &e));
                twin_insert(&t, e.seq);
            } else if (t.count > 0) {
                const struct ready_entry *e = ready_peek(&r);
                assert_non_null(e);
                assert_int_equal(e->seq, t.seqs[0]);
                assert_int_equal(e->body_len, e->seq * 2 + 1);
                if (out_count < 4096)
                    out[out_count++] = e->seq;
                ready_pop(&r, &pools);
                memmove(t.seqs, t.seqs + 1, --t.count * sizeof(t.seqs[0]));
            } else {
                assert_null(ready_peek(&r));
            }
            assert_int_equal(r.count, t.count);
            if (t.count == 0)
                assert_int_equal(ready_memory(&r), 0);
        }
        size_t memory = ready_memory(&r);
        assert_true(memory >= t.count * sizeof(struct ready_entry));
        assert_true(memory <= (2 * t.count + 600) * sizeof(struct ready_entry) + 1000);
        while (t.count > 0) {
            assert_int_equal(ready_peek(&r)->seq, t.seqs[0]);
            ready_pop(&r, &pools);
            memmove(t.seqs, t.seqs + 1, --t.count * sizeof(t.seqs[0]));
        }
        assert_int_equal(ready_memory(&r), 0);
        ready_fini(&r);
    }
    assert_int_equal(pools.small.live_count + pools.large.live_count, 0);
    ready_pools_fini(&pools);
}

static void
ready_without_memory(void **state)
{
    struct ready_pools pools;
    ready_pools_init(&pools);
    struct ready r = {0};
    struct ready_entry e = entry_of(1);
    mem_test_fail_after(1);
    assert_false(ready_push(&r, &pools, &e));
    mem_test_fail_after(1);
    assert_false(ready_push_returned(&r, &e));
    mem_test_fail_after(1);
    assert_false(ready_reserve_return(&r));
    mem_test_fail_after(0);
    assert_int_equal(r.count, 0);
    // What was promised holds although others come between.
    assert_true(ready_reserve_return(&r));
    for (uint64_t seq = 10; seq < 40; seq++) {
        e = entry_of(seq);
        assert_true(ready_push_returned(&r, &e));
    }
    e = entry_of(5);
    mem_test_fail_after(1);
    ready_push_reserved(&r, &e);
    mem_test_fail_after(0);
    assert_int_equal(ready_peek(&r)->seq, 5);
    while (r.count > 0)
        ready_pop(&r, &pools);
    assert_null(r.heap);
    ready_fini(&r);
    ready_pools_fini(&pools);
}

static void
unacked_against_twin(void **state)
{
    struct pool pool;
    unacked_pool_init(&pool);
    struct rng rng;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        rng_init(&rng, seed);
        struct unacked u = {0};
        static bool present[20001];
        memset(present, 0, sizeof(present));
        uint64_t next = 1;
        uint32_t count = 0;
        uint32_t limit = 1 + (uint32_t)rng_below(&rng, seed % 2 == 0 ? 20 : 2000);
        for (int step = 0; step < 8000; step++) {
            if (count < limit && rng_below(&rng, 100) < 55) {
                uint64_t seq = next;
                next += 1 + (rng_below(&rng, 8) == 0 ? rng_below(&rng, 4) : 0);
                if (next >= LV_ARRAY_LEN(present))
                    break;
                struct ready_entry e = entry_of(seq);
                assert_true(unacked_reserve(&u, &pool));
                unacked_put(&u, &e, seq * 3);
                present[seq] = true;
                count++;
            } else {
                uint64_t seq = rng_below(&rng, next);
                struct unacked_record *record = unacked_find(&u, seq);
                assert_int_equal(record != NULL, present[seq]);
                if (record != NULL) {
                    assert_int_equal(record->owner, seq * 3);
                    unacked_remove(&u, &pool, record);
                    present[seq] = false;
                    count--;
                    assert_null(unacked_find(&u, seq));
                }
            }
            assert_int_equal(u.count, count);
            assert_true(u.cap <= UNACKED_FIRST_CAP || u.count >= u.cap / 16);
        }
        size_t cursor = 0;
        uint32_t seen = 0;
        for (struct unacked_record *record; (record = unacked_next(&u, &cursor)) != NULL; seen++)
            assert_true(present[record->entry.seq]);
        assert_int_equal(seen, count);
        unacked_fini(&u, &pool);
    }
    pool_fini(&pool);
}

static void
unacked_without_memory(void **state)
{
    struct pool pool;
    unacked_pool_init(&pool);
    struct unacked u = {0};
    mem_test_fail_after(1);
    assert_false(unacked_reserve(&u, &pool));
    mem_test_fail_after(0);
    for (uint64_t seq = 1; seq <= 8; seq++) {
        struct ready_entry e = entry_of(seq);
        assert_true(unacked_reserve(&u, &pool));
        unacked_put(&u, &e, 7);
    }
    mem_test_fail_after(1);
    assert_false(unacked_reserve(&u, &pool)); // half full
    mem_test_fail_after(0);
    for (uint64_t seq = 1; seq <= 8; seq++)
        assert_non_null(unacked_find(&u, seq));
    for (uint64_t seq = 8; seq >= 1; seq--)
        unacked_remove(&u, &pool, unacked_find(&u, seq));
    assert_null(u.slots); // empty and small: no memory
    pool_fini(&pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_layout),       cmocka_unit_test(message_extremes),
        cmocka_unit_test(handles_grow_old),     cmocka_unit_test(generations_wrap),
        cmocka_unit_test(ready_against_twin),   cmocka_unit_test(ready_without_memory),
        cmocka_unit_test(unacked_against_twin), cmocka_unit_test(unacked_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
