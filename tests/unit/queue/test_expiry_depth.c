// test_expiry_depth.c: messages with different times to live in the chain of backlog files: gone on time wherever they lie, to the millisecond of a clock
// that the test sets, in little memory, over crashes, and as dead letters in the order of their instants.
#include "fixture.h"

#include "queue/expiry.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/unit/queue/sim_clock.h"

enum { MANY = 20000, TTL_MAX_MS = 20000 };
static int64_t at_ms[MANY + 1]; // of message n; INT64_MAX: never
static bool is_gone[MANY + 1];  // consumed, or handed over as a dead letter

static void
wait_ms(int64_t ms)
{
    sim_ms += ms;
    fx_turns(3);
    fx_quiet();
}

static void
set_rules(lv_handle queue, bool is_dead_lettered)
{
    struct queue_rules rules = queue_rules_none;
    rules.has_dead_exchange = is_dead_lettered;
    rules.dead_exchange = SLICE_LIT("dlx");
    fx_rules(queue, &rules);
}

static void
publish(lv_handle queue, uint64_t id, int64_t ttl_ms, bool is_persistent)
{
    fx_as(fx_member(fx->sessions[0].worker));
    struct message *m = fx_message(id, 16 + (uint32_t)id % 200);
    m->flags = is_persistent ? MESSAGE_PERSISTENT : 0;
    if (ttl_ms >= 0) {
        m->flags |= MESSAGE_HAS_EXPIRY;
        m->expiry_ms = (uint32_t)ttl_ms;
    }
    at_ms[id] = ttl_ms < 0 ? INT64_MAX : sim_ms + ttl_ms;
    is_gone[id] = false;
    queue_publish(m, &queue, 1, fx->sessions[0].handle, id);
    message_unref(m);
}

// MANY messages, one in ten without a time to live.
static void
fill(lv_handle queue, struct rng *rng, bool is_persistent, int64_t least_ms)
{
    for (uint64_t id = 1; id <= MANY; id++) {
        bool is_timed = rng_below(rng, 10) != 0;
        publish(queue, id, is_timed ? least_ms + (int64_t)rng_below(rng, TTL_MAX_MS) : -1, is_persistent);
        if (id % 100 == 0)
            wait_ms(1);
    }
    for (int i = 0; i < 20; i++)
        wait_ms(10);
}

static uint64_t
ready_count(lv_handle queue)
{
    return queue_ready_count(fx_queue_of(queue));
}

static uint64_t
alive_now(void)
{
    uint64_t count = 0;
    for (uint64_t id = 1; id <= MANY; id++)
        count += at_ms[id] > sim_ms && !is_gone[id];
    return count;
}

// --- dead letters ---

static struct {
    int64_t last_ms;
    uint64_t count;
    bool is_in_order; // they have to be
} letters;

static unsigned
on_dead(struct worker *owner, const struct dead_letter *d)
{
    uint64_t id = fx_message_id(d->msg);
    assert_true(id >= 1 && id <= MANY && !is_gone[id]);
    assert_true(at_ms[id] <= sim_ms);
    assert_true(!letters.is_in_order || at_ms[id] >= letters.last_ms);
    letters.last_ms = at_ms[id];
    letters.count++;
    is_gone[id] = true;
    queue_dead_done(d->queue, d->seq, DEAD_TAKEN, NULL);
    return 1;
}

// --- tests ---

static const struct variant {
    bool is_durable, is_dead_lettered;
} variants[] = {{false, false}, {false, true}, {true, false}, {true, true}};

static void
open_deep(const struct variant *v, uint64_t seed)
{
    fx_open(&(struct fx_config){
        .workers = 1, .store_seed = seed, .index_max = 2000, .body_max = 1024 * 1024, .segment_max = 64});
    fx->on_dead = v->is_dead_lettered ? on_dead : NULL;
    memset(&letters, 0, sizeof letters);
}

// The count is true at each millisecond, while what is due soon alone is in memory.
static void
any_ttl_is_exact_at_depth(void **state)
{
    for (size_t n = 0; n < LV_ARRAY_LEN(variants); n++) {
        const struct variant *v = &variants[n];
        struct rng rng;
        rng_init(&rng, n + 1);
        open_deep(v, n + 1);
        lv_handle q = fx_queue(0, v->is_durable ? QUEUE_DURABLE : 0);
        set_rules(q, v->is_dead_lettered);
        fill(q, &rng, true, 500);
        letters.is_in_order = true;
        assert_true(fx_queue_of(q)->disk->backlog.count > MANY / 2);
        for (int64_t end_ms = sim_ms + TTL_MAX_MS + 600; sim_ms < end_ms;) {
            wait_ms(sim_ms % 20 == 0 ? 1 : 19);
            assert_int_equal(ready_count(q), alive_now());
            uint64_t in_memory = ready_count(q) - fx_queue_of(q)->disk->backlog.count;
            assert_true(expiry_memory(fx_queue_of(q)) < 16384 + in_memory * 64 + MANY / 2 * 48);
        }
        assert_int_equal(fx_stats(q).expired + ready_count(q), MANY);
        if (v->is_dead_lettered)
            assert_int_equal(letters.count, MANY - ready_count(q));
        for (uint64_t last = 0, id; (id = fx_get(0, q, true, NULL)) != 0; last = id)
            assert_true(id > last && at_ms[id] == INT64_MAX);
        assert_int_equal(ready_count(q), 0);
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
    }
}

// With gets, purges and deletes in between; nobody is handed out twice, or late.
static void
with_everything_else(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        const struct variant *v = &variants[seed % LV_ARRAY_LEN(variants)];
        struct rng rng;
        rng_init(&rng, seed);
        open_deep(v, seed);
        lv_handle q = fx_queue(0, v->is_durable ? QUEUE_DURABLE : 0);
        set_rules(q, v->is_dead_lettered);
        fill(q, &rng, seed % 3 != 0, 200);
        bool is_purged = false;
        for (int64_t end_ms = sim_ms + TTL_MAX_MS + 500; sim_ms < end_ms;) {
            wait_ms((int64_t)rng_below(&rng, 60));
            assert_int_equal(ready_count(q), is_purged ? 0 : alive_now());
            for (uint64_t i = rng_below(&rng, 60); i > 0 && !is_purged; i--) {
                uint64_t id = fx_get(0, q, true, NULL);
                if (id == 0)
                    break;
                assert_true(!is_gone[id] && at_ms[id] > sim_ms);
                is_gone[id] = true;
            }
            if (!is_purged && seed > 4 && rng_below(&rng, 100) == 0) {
                assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, NULL), QUEUE_OK);
                is_purged = true;
            }
            if (seed == 4 && rng_below(&rng, 200) == 0)
                break;
        }
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
    }
}

// A crash or an orderly stop in the middle: who is alive is there, each at its time, and what was gone stays gone.
static void
over_restarts(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        bool is_dead_lettered = seed % 2 == 0;
        struct rng rng;
        rng_init(&rng, seed);
        struct powercut *disk = powercut_new(seed);
        struct fx_config config = {.workers = 1,
                                   .store_seed = seed,
                                   .disk = disk,
                                   .segment_bytes = 64 * 1024,
                                   .segment_max = 8,
                                   .rewrite_max = 1,
                                   .index_max = 1000};
        memset(&letters, 0, sizeof letters);
        fx_open(&config);
        fx->on_dead = on_dead;
        lv_handle q = fx_queue(0, QUEUE_DURABLE);
        uint64_t id_of_queue = fx_queue_id(q);
        set_rules(q, is_dead_lettered);
        fill(q, &rng, true, 200);
        for (int life = 0; life < 4; life++) {
            for (int i = 0; i < 60; i++) {
                wait_ms((int64_t)rng_below(&rng, 80));
                assert_int_equal(ready_count(q), alive_now());
            }
            uint64_t before = ready_count(q);
            if (rng_below(&rng, 2) == 0) {
                fx_crash(seed % 4 < 2 ? FX_KILL : FX_CUT);
                for (uint64_t id = 1; id <= MANY; id++) // a word about them may be lost
                    is_gone[id] = false;
            } else {
                fx_close();
            }
            config.is_restart = true;
            fx_open(&config);
            fx->on_dead = on_dead;
            q = fx_queue_back(0, QUEUE_DURABLE, id_of_queue);
            assert_true(q != 0);
            set_rules(q, is_dead_lettered);
            assert_int_equal(fx_recovered(), 0);
            assert_true(ready_count(q) >= before);
            wait_ms(300);
            wait_ms(300);
            assert_int_equal(ready_count(q), alive_now());
        }
        uint64_t last = 0;
        for (uint64_t id; (id = fx_get(0, q, true, NULL)) != 0; last = id)
            assert_true(at_ms[id] > sim_ms && id > last);
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
        powercut_free(disk);
    }
}

int
main(int argc, char **argv)
{
#ifdef LV_PLANTED_BUGS
    queue_planted_bugs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_ttl_is_exact_at_depth, start_clock, stop_clock),
        cmocka_unit_test_setup_teardown(with_everything_else, start_clock, stop_clock),
        cmocka_unit_test_setup_teardown(over_restarts, start_clock, stop_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
