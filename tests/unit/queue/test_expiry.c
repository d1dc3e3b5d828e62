// test_expiry.c: messages and queues that expire, by a clock that the test sets: to the millisecond, in memory, on disk, across restarts.
#include "fixture.h"

#include "queue/expiry.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/unit/queue/sim_clock.h"

static void
wait_ms(int64_t ms)
{
    sim_ms += ms;
    fx_turns(3);
    fx_quiet();
}

// --- what the tests do ---

static void
set_rules(lv_handle queue, uint64_t message_ttl_ms, uint64_t expires_ms)
{
    struct queue_rules rules = queue_rules_none;
    rules.message_ttl_ms = message_ttl_ms;
    rules.expires_ms = expires_ms;
    fx_rules(queue, &rules);
}

// ttl_ms < 0: none of its own.
static struct message *
timed_message(uint64_t id, int64_t ttl_ms, uint32_t body_len)
{
    struct message *m = fx_message(id, body_len);
    if (ttl_ms >= 0) {
        m->flags |= MESSAGE_HAS_EXPIRY;
        m->expiry_ms = (uint32_t)ttl_ms;
    }
    return m;
}

static void
publish(int session, lv_handle queue, uint64_t id, int64_t ttl_ms)
{
    fx_as(fx_member(fx->sessions[session].worker));
    struct message *m = timed_message(id, ttl_ms, 16);
    queue_publish(m, &queue, 1, fx->sessions[session].handle, id);
    message_unref(m);
}

static void
tx_done(struct queue_tx *t)
{
    *(bool *)(t + 1) = true;
}

// A transaction of one message. False: the log had no room for it.
static bool
tx_publish(int session, lv_handle queue, uint64_t id, int64_t ttl_ms, int64_t open_ms)
{
    fx_as(fx_member(fx->sessions[session].worker));
    struct queue_tx *t = mem_xcalloc(1, sizeof(*t) + sizeof(bool));
    struct message *m = timed_message(id, ttl_ms, 16);
    t->tx = queue_tx_new();
    queue_tx_publish(t->tx, m, &queue, 1, fx->sessions[session].handle, id);
    message_unref(m);
    fx_turns(3);
    sim_ms += open_ms;
    fx_turns(3);
    t->workers = UINT64_C(1) << handle_worker(queue);
    t->is_logged = fx->durable.log != NULL;
    t->done = tx_done;
    fx_as(fx_member(fx->sessions[session].worker));
    queue_tx_end(t);
    for (int i = 0; !*(bool *)(t + 1); i++) {
        assert_true(i < 10000);
        fx_turns(1);
    }
    bool is_in = t->result == 0;
    mem_free(t);
    return is_in;
}

static uint64_t
ready_count(lv_handle queue)
{
    return queue_ready_count(fx_queue_of(queue));
}

static uint64_t
expired_count(lv_handle queue)
{
    return fx_queue_of(queue)->counters.expired;
}

// --- rules ---

static void
long_head_holds_nobody_up_case(void)
{
    lv_handle q = fx_queue(0, 0);
    publish(0, q, 1, -1);
    publish(0, q, 2, 50);
    publish(0, q, 3, 20);
    publish(0, q, 4, 100000);
    wait_ms(0);
    assert_int_equal(ready_count(q), 4);
    wait_ms(19);
    assert_int_equal(ready_count(q), 4);
    wait_ms(1);
    assert_int_equal(ready_count(q), 3);
    wait_ms(29);
    assert_int_equal(ready_count(q), 3);
    wait_ms(1);
    assert_int_equal(ready_count(q), 2);
    assert_int_equal(fx_stats(q).expired, 2);
    assert_int_equal(fx_get(0, q, true, NULL), 1);
    assert_int_equal(fx_get(0, q, true, NULL), 4);
    fx_delete(q);
}
FX_PLACED(long_head_holds_nobody_up)

static void
lower_one_counts_case(void)
{
    lv_handle q = fx_queue(0, 0);
    set_rules(q, 100, RULE_NONE);
    publish(0, q, 1, 50);
    publish(0, q, 2, 5000);
    publish(0, q, 3, -1);
    wait_ms(0);
    wait_ms(50);
    assert_int_equal(ready_count(q), 2);
    wait_ms(50);
    assert_int_equal(ready_count(q), 0);
    // What is there keeps its instant; what comes has the new one.
    publish(0, q, 4, -1);
    wait_ms(0);
    set_rules(q, 1000, RULE_NONE);
    publish(0, q, 5, -1);
    wait_ms(0);
    wait_ms(100);
    assert_int_equal(fx_get(0, q, true, NULL), 5);
    set_rules(q, RULE_NONE, RULE_NONE);
    publish(0, q, 6, -1);
    wait_ms(0);
    wait_ms(1000000);
    assert_int_equal(fx_get(0, q, true, NULL), 6);
    fx_delete(q);
}
FX_PLACED(lower_one_counts)

// TTL 0: a consumer that can take it at once does; nobody else ever does.
static void
zero_is_now_or_never_case(void)
{
    lv_handle q = fx_queue(0, 0);
    publish(0, q, 1, 0);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
    wait_ms(0);
    assert_int_equal(ready_count(q), 0);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .prefetch = 1});
    publish(0, q, 2, 0);
    publish(0, q, 3, 0);
    wait_ms(0);
    assert_int_equal(fx->sessions[1].count, 1);
    assert_int_equal(fx->sessions[1].deliveries[0].id, 2);
    assert_int_equal(ready_count(q), 0);
    fx_settle(1, q, SETTLE_REQUEUE, fx->sessions[1].deliveries[0].seq); // it comes back too late
    wait_ms(1);
    assert_int_equal(fx->sessions[1].count, 1);
    assert_int_equal(fx_stats(q).expired, 3);
    set_rules(q, 0, RULE_NONE);
    publish(0, q, 4, -1);
    wait_ms(0);
    assert_int_equal(fx->sessions[1].count, 2);
    assert_int_equal(fx_cancel(1, q, c), QUEUE_OK);
    publish(0, q, 5, -1);
    wait_ms(0);
    assert_int_equal(ready_count(q), 0);
    assert_int_equal(fx_queue_of(q)->unacked.count, 1);
    fx_delete(q);
}
FX_PLACED(zero_is_now_or_never)

static void
out_is_out_case(void)
{
    lv_handle q = fx_queue(0, 0);
    struct fx_delivery d[3];
    for (uint64_t id = 1; id <= 3; id++)
        publish(0, q, id, 100);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fx_get(0, q, false, &d[i]), i + 1);
    wait_ms(50);
    fx_settle(0, q, SETTLE_REQUEUE, d[1].seq);
    wait_ms(0);
    assert_int_equal(ready_count(q), 1);
    wait_ms(50); // the one that came back keeps its instant, the others are out
    assert_int_equal(ready_count(q), 0);
    assert_int_equal(expired_count(q), 1);
    assert_int_equal(fx_queue_of(q)->unacked.count, 2);
    fx_settle(0, q, SETTLE_ACK, d[0].seq);
    fx_settle(0, q, SETTLE_REQUEUE, d[2].seq);
    wait_ms(1);
    assert_int_equal(ready_count(q), 0);
    assert_int_equal(expired_count(q), 2);
    assert_int_equal(fx_stats(q).acked, 1);
    fx_delete(q);
}
FX_PLACED(out_is_out)

static void
purge_forgets_case(void)
{
    lv_handle q = fx_queue(0, 0);
    struct fx_delivery d;
    for (uint64_t id = 1; id <= 1000; id++)
        publish(0, q, id, (int64_t)(id * 7919 % 500));
    wait_ms(0);
    assert_int_not_equal(fx_get(0, q, false, &d), 0);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, NULL), QUEUE_OK);
    publish(0, q, 2000, 100);
    fx_settle(0, q, SETTLE_REQUEUE, d.seq);
    wait_ms(99);
    assert_int_equal(fx_queue_of(q)->expiry != NULL && ready_count(q) > 0, true);
    wait_ms(1000);
    assert_int_equal(ready_count(q), 0);
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.published, 1001);
    assert_int_equal(s.expired + s.purged, 1001);
    fx_delete(q);
}
FX_PLACED(purge_forgets)

// What came back in great numbers lies in a heap: found too.
static void
many_that_came_back_case(void)
{
    enum { MANY = 20000 };
    lv_handle q = fx_queue(0, 0);
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q});
    for (uint64_t id = 1; id <= MANY; id++) {
        publish(0, q, id, 100 + (int64_t)(id * 7919 % 500));
        if (id % 500 == 0)
            fx_turns(2);
    }
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, MANY);
    fx_as(fx_member(fx->sessions[1].worker));
    queue_hold(q, true);
    for (size_t i = 0; i < MANY; i++)
        fx_settle(1, q, SETTLE_REQUEUE, fx->sessions[1].deliveries[i].seq);
    fx_quiet();
    assert_int_equal(ready_count(q), MANY);
    for (int64_t ms = 1; ms <= 700; ms++) {
        wait_ms(1);
        uint64_t left = 0;
        for (uint64_t id = 1; id <= MANY; id++)
            left += 100 + (int64_t)(id * 7919 % 500) > ms;
        assert_int_equal(ready_count(q), left);
    }
    assert_int_equal(expired_count(q), MANY);
    fx_delete(q);
}
FX_PLACED(many_that_came_back)

// --- a model: every message leaves in the millisecond of its instant ---

enum model_state { GONE, WAITS, OUT, MODEL_MAX = 20000 };

struct model_message {
    int64_t at_ms; // INT64_MAX: never
    uint64_t seq;  // while it is out
    enum model_state state;
    bool is_persistent;
};

struct model {
    lv_handle queue;
    struct model_message messages[MODEL_MAX];
    uint64_t next_id;
    uint64_t expired;
};

static struct model *model;

static int64_t
random_ttl(struct rng *rng)
{
    static const int64_t most[] = {1, 5, 50, 500, 2000};
    if (rng_below(rng, 6) == 0)
        return -1;
    return (int64_t)rng_below(rng, (uint64_t)most[rng_below(rng, LV_ARRAY_LEN(most))] + 1);
}

static uint64_t
model_expire(void)
{
    uint64_t waiting = 0;
    for (uint64_t id = 1; id < model->next_id; id++) {
        struct model_message *m = &model->messages[id];
        if (m->state == WAITS && m->at_ms <= sim_ms) {
            m->state = GONE;
            model->expired++;
        }
        waiting += m->state == WAITS;
    }
    return waiting;
}

static void
model_publish(struct rng *rng, int64_t queue_ttl_ms)
{
    if (model->next_id == MODEL_MAX)
        return;
    uint64_t id = model->next_id++;
    int64_t ttl_ms = random_ttl(rng), least = ttl_ms < 0 ? queue_ttl_ms : ttl_ms;
    if (queue_ttl_ms >= 0 && ttl_ms >= 0)
        least = LV_MIN(ttl_ms, queue_ttl_ms);
    model->messages[id] =
        (struct model_message){.at_ms = least < 0 ? INT64_MAX : sim_ms + least, .state = WAITS};
    if (rng_below(rng, 20) != 0)
        publish(0, model->queue, id, ttl_ms);
    else if (!tx_publish(0, model->queue, id, ttl_ms, 0))
        model->messages[id].state = GONE;
}

static void
model_get(void)
{
    struct fx_delivery d;
    uint64_t id = fx_get(0, model->queue, false, &d), first = 1;
    (void)model_expire();
    while (first < model->next_id && model->messages[first].state != WAITS)
        first++;
    assert_int_equal(id, first < model->next_id ? first : 0);
    if (id == 0)
        return;
    model->messages[id].state = OUT;
    model->messages[id].seq = d.seq;
}

static void
model_settle(struct rng *rng)
{
    uint64_t from = 1 + rng_below(rng, model->next_id);
    while (from < model->next_id && model->messages[from].state != OUT)
        from++;
    if (from >= model->next_id)
        return;
    struct model_message *m = &model->messages[from];
    bool is_back = rng_below(rng, 2) == 0;
    fx_settle(0, model->queue,
              is_back                  ? SETTLE_REQUEUE
              : rng_below(rng, 2) == 0 ? SETTLE_ACK
                                       : SETTLE_REJECT,
              m->seq);
    m->state = is_back ? WAITS : GONE;
}

static void
model_steps(struct rng *rng, int steps, int64_t queue_ttl_ms)
{
    for (int step = 0; step < steps; step++) {
        unsigned publishes = (unsigned)rng_below(rng, 8);
        while (publishes-- > 0)
            model_publish(rng, queue_ttl_ms);
        if (rng_below(rng, 3) == 0)
            model_get();
        if (rng_below(rng, 3) == 0)
            model_settle(rng);
        fx_turns(3);
        fx_quiet();
        if (rng_below(rng, 300) == 0) {
            assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, model->queue, NULL), QUEUE_OK);
            (void)model_expire();
            for (uint64_t id = 1; id < model->next_id; id++)
                if (model->messages[id].state == WAITS)
                    model->messages[id].state = GONE;
        }
        fx_quiet();
        assert_int_equal(ready_count(model->queue), model_expire());
        assert_int_equal(expired_count(model->queue), model->expired);
        sim_ms += (int64_t)rng_below(rng, 3);
        fx_turns(3);
        fx_quiet();
        assert_int_equal(ready_count(model->queue), model_expire());
        assert_int_equal(expired_count(model->queue), model->expired);
    }
}

static void
model_begin(lv_handle queue)
{
    model = mem_xcalloc(1, sizeof(*model));
    model->queue = queue;
    model->next_id = 1;
}

static void
exact_in_memory(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        fx_open_plain(seed % 2 == 0 ? 1 : 3);
        for (int i = 0; i < FX_SESSIONS; i++)
            fx_session_on(i, seed % 2 == 0 ? 0 : 1);
        model_begin(fx_queue(0, 0));
        int64_t ttl_ms = seed % 4 < 2 ? -1 : 300;
        if (ttl_ms >= 0)
            set_rules(model->queue, (uint64_t)ttl_ms, RULE_NONE);
        model_steps(&rng, 1500, ttl_ms);
        fx_delete(model->queue);
        fx_assert_nothing_left();
        fx_close();
        mem_free(model);
    }
}

// Bodies on disk, small segments that are vacated, some or all of it paged out.
static void
exact_on_disk(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        fx_open(&(struct fx_config){.workers = 2,
                                    .store_seed = seed,
                                    .delay_max = 1 + (uint32_t)seed % 3,
                                    .page_percent = (uint32_t)seed % 4 * 33,
                                    .segment_bytes = 16 * 1024,
                                    .segment_max = 8});
        for (int i = 0; i < FX_SESSIONS; i++)
            fx_session_on(i, (int)(seed / 2 % 2));
        model_begin(fx_queue(0, 0));
        model_steps(&rng, 400, -1);
        fx_delete(model->queue);
        fx_assert_nothing_left();
        fx_close();
        mem_free(model);
    }
}

// Each level on its own: nobody waits for a higher or lower one to leave.
static void
levels_expire_case(void)
{
    enum { MANY = 2000 };
    struct queue_rules rules = queue_rules_none;
    rules.max_priority = 10;
    fx->rules = &rules;
    fx->priorities = 10;
    lv_handle q = fx_queue(0, 0);
    fx->rules = NULL;
    for (uint64_t id = 1; id <= MANY; id++) {
        publish(0, q, id, id % 5 == 0 ? -1 : 1 + (int64_t)(id * 7919 % 300));
        if (id % 200 == 0)
            wait_ms(0);
    }
    struct fx_delivery out[100]; // some come back, into the heaps of their levels
    for (size_t i = 0; i < LV_ARRAY_LEN(out); i++)
        assert_int_not_equal(fx_get(0, q, false, &out[i]), 0);
    for (size_t i = 0; i < LV_ARRAY_LEN(out); i++)
        fx_settle(0, q, SETTLE_REQUEUE, out[i].seq);
    wait_ms(0);
    for (int64_t ms = 1; ms <= 301; ms++) {
        wait_ms(1);
        uint64_t left = 0;
        for (uint64_t id = 1; id <= MANY; id++)
            left += id % 5 == 0 || 1 + (int64_t)(id * 7919 % 300) > ms;
        assert_int_equal(ready_count(q), left);
    }
    for (uint64_t i = 0; i < MANY / 5; i++)
        assert_int_equal(fx_get(0, q, true, NULL) % 5, 0);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
    fx->priorities = 0;
    fx_delete(q);
}
FX_PLACED(levels_expire)

// --- the chain of backlog files ---

// One TTL for all: exact, however deep they lie.
static void
one_ttl_is_exact_at_depth(void **state)
{
    enum { MANY = 60000, TTL_MS = 10000, A_MS = 100 };
    for (uint64_t seed = 1; seed <= 2; seed++) {
        fx_open(&(struct fx_config){.workers = 1,
                                    .store_seed = seed,
                                    .index_max = 8000,
                                    .body_max = 4 * 1024 * 1024,
                                    .segment_max = 64});
        lv_handle q = fx_queue(0, 0);
        set_rules(q, TTL_MS, RULE_NONE);
        int64_t begin_ms = sim_ms;
        for (uint64_t id = 1; id <= MANY; id++) {
            publish(0, q, id, -1);
            if (id % A_MS == 0)
                wait_ms(1);
        }
        for (int i = 0; i < 50; i++)
            wait_ms(10);
        assert_int_equal(ready_count(q), MANY);
        assert_true(fx_queue_of(q)->disk->backlog.count > MANY / 2);
        if (seed == 2) { // while something is handed out at the front too
            for (uint64_t id = 1; id <= 100; id++)
                assert_int_equal(fx_get(0, q, true, NULL), id);
        }
        while (ready_count(q) > 0) {
            wait_ms(1);
            int64_t gone = LV_MAX(INT64_C(0), (sim_ms - begin_ms - TTL_MS + 1) * A_MS);
            gone = LV_MAX(LV_MIN(gone, (int64_t)MANY), seed == 2 ? 100 : 0);
            assert_int_equal(ready_count(q), MANY - gone);
        }
        assert_int_equal(expired_count(q), MANY - (seed == 2 ? 100 : 0));
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
    }
}

// Any TTLs: nothing that is due is handed out, wherever it lies.
static void
never_handed_out_at_depth(void **state)
{
    enum { MANY = 40000 };
    static int64_t at_ms[MANY + 1];
    struct rng rng;
    rng_init(&rng, 5);
    fx_open(&(struct fx_config){
        .workers = 1, .store_seed = 5, .index_max = 4000, .body_max = 4 * 1024 * 1024, .segment_max = 64});
    lv_handle q = fx_queue(0, 0);
    for (uint64_t id = 1; id <= MANY; id++) {
        int64_t ttl_ms = rng_below(&rng, 10) == 0 ? -1 : (int64_t)rng_below(&rng, 60000);
        at_ms[id] = ttl_ms < 0 ? INT64_MAX : sim_ms + ttl_ms;
        publish(0, q, id, ttl_ms);
        if (id % 100 == 0)
            wait_ms(1);
    }
    for (int i = 0; i < 20; i++)
        wait_ms(100);
    assert_true(fx_queue_of(q)->disk->backlog.count > MANY / 4);
    uint64_t last = 0, got = 0;
    for (uint64_t id; (id = fx_get(0, q, true, NULL)) != 0; last = id) {
        for (uint64_t skipped = last + 1; skipped < id; skipped++)
            assert_true(at_ms[skipped] <= sim_ms);
        assert_true(at_ms[id] > sim_ms);
        if (++got % 10 == 0)
            wait_ms(37);
    }
    for (uint64_t skipped = last + 1; skipped <= MANY; skipped++)
        assert_true(at_ms[skipped] <= sim_ms);
    assert_int_equal(got + expired_count(q), MANY);
    fx_delete(q);
    fx_assert_nothing_left();
    fx_close();
}

// --- restarts ---

// Messages keep their instants over a crash, in the ring, by their addresses in files, and in the chain.
static void
instants_survive(void **state)
{
    enum { MANY = 6000 };
    static int64_t at_ms[MANY + 1];
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct powercut *disk = powercut_new(seed);
        struct fx_config config = {.workers = 1,
                                   .store_seed = seed,
                                   .disk = disk,
                                   .segment_bytes = 64 * 1024,
                                   .segment_max = seed % 2 == 0 ? 64 : 8,
                                   .rewrite_max = seed % 3 == 0 ? 1 : 0,
                                   .index_max = seed % 4 < 2 ? 0 : 1000};
        fx_open(&config);
        lv_handle q = fx_queue(0, 0);
        uint64_t id_of_queue = fx_queue_id(q);
        for (uint64_t id = 1; id <= MANY; id++) {
            int64_t ttl_ms = rng_below(&rng, 4) == 0 ? -1 : 1000 + (int64_t)rng_below(&rng, 10000);
            at_ms[id] = ttl_ms < 0 ? INT64_MAX : sim_ms + ttl_ms;
            if (id % 50 == 0)
                assert_true(tx_publish(0, q, id, ttl_ms, 0));
            else
                publish(0, q, id, ttl_ms);
            if (id % 100 == 0)
                wait_ms(1);
        }
        struct fx_delivery d;
        for (int i = 0; i < 10; i++) // they come back with the crash
            assert_int_equal(fx_get(0, q, false, &d), i + 1);
        wait_ms(500);
        if (seed % 2 == 0) {
            fx_crash(seed % 4 == 0 ? FX_KILL : FX_CUT);
        } else {
            fx_close();
        }
        sim_ms += 3000;
        config.is_restart = true;
        fx_open(&config);
        q = fx_queue_back(0, 0, id_of_queue);
        assert_true(q != 0);
        assert_int_equal(fx_recovered(), 0);
        wait_ms(0);
        wait_ms(2000);
        uint64_t last = 0;
        for (uint64_t id; (id = fx_get(0, q, true, NULL)) != 0; last = id) {
            assert_true(at_ms[id] > sim_ms);
            for (uint64_t skipped = last + 1; skipped < id; skipped++)
                assert_true(at_ms[skipped] <= sim_ms);
            if (id % 100 == 0)
                wait_ms(13);
        }
        for (uint64_t skipped = last + 1; skipped <= MANY; skipped++)
            assert_true(at_ms[skipped] <= sim_ms);
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
        powercut_free(disk);
    }
}

static void
transaction_counts_from_its_publish(void **state)
{
    fx_open_plain(1);
    lv_handle q = fx_queue(0, 0);
    assert_true(tx_publish(0, q, 1, 100, 50));
    assert_true(tx_publish(0, q, 2, 100, 200)); // past when it is committed
    wait_ms(0);
    assert_int_equal(ready_count(q), 0);
    assert_int_equal(expired_count(q), 2);
    assert_true(tx_publish(0, q, 3, 100, 50));
    wait_ms(49);
    assert_int_equal(ready_count(q), 1);
    wait_ms(1);
    assert_int_equal(ready_count(q), 0);
    fx_delete(q);
    fx_close();
}

// --- memory ---

// n-th allocation fails: nothing is lost but what was refused, and nothing leaks.
static void
without_memory(void **state)
{
    for (uint64_t n = 1; n <= 40; n++) {
        bool has_store = n % 2 == 0;
        fx_open(&(struct fx_config){.workers = 1, .store_seed = has_store ? n : 0});
        lv_handle q = fx_queue(0, 0);
        struct fx_delivery d;
        uint64_t id = 1;
        fx_as(fx_member(0));
        for (; id <= 600; id++) {
            struct message *m = timed_message(id, id % 3 == 0 ? 1000 : (int64_t)(id * 31 % 700), 16);
            mem_test_fail_after(id % 10 < n / 2 ? 1 + id % 3 : 0);
            queue_publish(m, &q, 1, fx->sessions[0].handle, id);
            mem_test_fail_after(0);
            message_unref(m);
        }
        fx_quiet();
        for (int i = 0; i < 20; i++) {
            if (fx_get(0, q, false, &d) == 0)
                break;
            mem_test_fail_after(1 + n % 3);
            fx_settle(0, q, SETTLE_REQUEUE, d.seq);
            mem_test_fail_after(0);
        }
        wait_ms(2000);
        wait_ms(2000);
        assert_int_equal(ready_count(q), 0);
        assert_int_equal(fx_queue_of(q)->unacked.count, 0);
        fx_delete(q);
        fx_assert_nothing_left();
        fx_close();
    }
}

// --- x-expires ---

static enum queue_outcome
delete_if_over(lv_handle q)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_DELETE, q);
    r->delete_conditions = DELETE_IF_UNUSED | DELETE_IF_OVER;
    r = fx_request(-1, r);
    enum queue_outcome outcome = r->outcome;
    queue_request_free(r);
    return outcome;
}

static void
unused_queue_goes_case(void)
{
    lv_handle q = fx_queue(0, 0);
    set_rules(q, RULE_NONE, 1000);
    wait_ms(999);
    publish(0, q, 1, -1); // no use of it
    wait_ms(0);
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_STATUS, q, NULL), QUEUE_OK);
    wait_ms(999);
    assert_int_equal(fx_get(0, q, true, NULL), 1);
    wait_ms(999);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
    wait_ms(999);
    assert_int_equal(fx->unused_calls, 0);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 0, .queue = q});
    wait_ms(100000);
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(delete_if_over(q), QUEUE_IN_USE);
    assert_int_equal(fx_cancel(0, q, c), QUEUE_OK);
    wait_ms(999);
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(delete_if_over(q), QUEUE_IN_USE); // a use came before the writer
    set_rules(q, RULE_NONE, 500);                      // a change begins anew
    wait_ms(499);
    assert_int_equal(fx->unused_calls, 0);
    wait_ms(1);
    assert_int_equal(fx->unused_calls, 1);
    wait_ms(500);
    assert_int_equal(fx->unused_calls, 1);
    wait_ms(600); // not answered: it asks again
    assert_int_equal(fx->unused_calls, 2);
    assert_int_equal(delete_if_over(q), QUEUE_OK);
    fx->unused_calls = 0;
    fx_as(fx_writer());
    queue_handle_release(q);
    q = fx_queue(0, 0);
    set_rules(q, RULE_NONE, 500);
    set_rules(q, RULE_NONE, RULE_NONE);
    wait_ms(10000);
    assert_int_equal(fx->unused_calls, 0);
    assert_int_equal(delete_if_over(q), QUEUE_IN_USE);
    fx_delete(q);
}
FX_PLACED(unused_queue_goes)

// Ten thousand queues, each with its own time.
static void
each_queue_its_time(void **state)
{
    enum { QUEUES = 1000 };
    static lv_handle queues[QUEUES];
    fx_open_plain(1);
    for (int i = 0; i < QUEUES; i++) {
        queues[i] = fx_queue(0, 0);
        publish(0, queues[i], 1, 1 + i * 7919 % QUEUES);
    }
    for (int ms = 1; ms <= QUEUES; ms++) {
        sim_ms++;
        fx_turns(1);
        for (int i = 0; i < QUEUES; i++)
            assert_int_equal(ready_count(queues[i]), 1 + i * 7919 % QUEUES > ms);
    }
    for (int i = 0; i < QUEUES; i++)
        fx_delete(queues[i]);
    fx_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_head_holds_nobody_up),
        cmocka_unit_test(lower_one_counts),
        cmocka_unit_test(zero_is_now_or_never),
        cmocka_unit_test(out_is_out),
        cmocka_unit_test(purge_forgets),
        cmocka_unit_test(many_that_came_back),
        cmocka_unit_test(exact_in_memory),
        cmocka_unit_test(exact_on_disk),
        cmocka_unit_test(levels_expire),
        cmocka_unit_test(one_ttl_is_exact_at_depth),
        cmocka_unit_test(never_handed_out_at_depth),
        cmocka_unit_test(instants_survive),
        cmocka_unit_test(transaction_counts_from_its_publish),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(unused_queue_goes),
        cmocka_unit_test(each_queue_its_time),
    };
    return cmocka_run_group_tests(tests, start_clock, stop_clock);
}
