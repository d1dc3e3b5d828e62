// test_limit.c: length limits: who is dropped and who is refused, what consumers that wait have first, live changes, bodies and blocks on disk; and
// random operations against a naive model.
#include "fixture.h"

#include "queue/limit.h"
#include "src/base/mem.h"

static struct queue_rules
rules_of(uint64_t max_length, uint64_t max_bytes, enum queue_overflow overflow)
{
    struct queue_rules r = queue_rules_none;
    r.max_length = max_length;
    r.max_length_bytes = max_bytes;
    r.overflow = (uint8_t)overflow;
    return r;
}

static lv_handle
limited_queue(uint64_t max_length, uint64_t max_bytes, enum queue_overflow overflow)
{
    lv_handle q = fx_queue(0, 0);
    struct queue_rules r = rules_of(max_length, max_bytes, overflow);
    fx_rules(q, &r);
    return q;
}

static void
publish_upto(lv_handle q, uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id <= to; id++)
        fx_publish(0, q, id);
}

static void
assert_holds(lv_handle q, uint64_t from, uint64_t to)
{
    fx_mail();
    assert_int_equal(fx_stats(q).ready, to - from + 1);
    for (uint64_t id = from; id <= to; id++)
        assert_int_equal(fx_get(0, q, true, NULL), id);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
    assert_int_equal(fx_stats(q).ready_bytes, 0);
}

static void
the_oldest_go_case(void)
{
    lv_handle q = limited_queue(3, RULE_NONE, OVERFLOW_DROP_HEAD);
    publish_upto(q, 1, 10);
    fx_mail();
    assert_int_equal(fx->sessions[0].accepted, 10);
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.maxlen_dropped, 7);
    assert_int_equal(s.published, 10);
    assert_holds(q, 8, 10);
    // By bytes: bodies have 16.
    q = limited_queue(RULE_NONE, 40, OVERFLOW_DROP_HEAD);
    publish_upto(q, 1, 5);
    assert_holds(q, 4, 5);
    q = limited_queue(0, RULE_NONE, OVERFLOW_DROP_HEAD);
    publish_upto(q, 1, 5);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
}
FX_PLACED(the_oldest_go)

static void
the_newest_are_refused_case(void)
{
    lv_handle q = limited_queue(3, RULE_NONE, OVERFLOW_REJECT_PUBLISH);
    publish_upto(q, 1, 10);
    fx_mail();
    assert_int_equal(fx->sessions[0].accepted, 3);
    assert_int_equal(fx->sessions[0].refused, 7);
    assert_int_equal(fx_stats(q).refused_maxlen, 7);
    assert_holds(q, 1, 3);
    publish_upto(q, 11, 12);
    assert_holds(q, 11, 12);
    q = limited_queue(RULE_NONE, 40, OVERFLOW_REJECT_PUBLISH_DLX);
    publish_upto(q, 1, 5);
    assert_holds(q, 1, 2);
}
FX_PLACED(the_newest_are_refused)

// What is out does not count; what comes back does, and the oldest go then.
static void
what_comes_back_case(void)
{
    lv_handle q = limited_queue(2, RULE_NONE, OVERFLOW_DROP_HEAD);
    struct fx_delivery d[2];
    publish_upto(q, 1, 2);
    fx_get(0, q, false, &d[0]);
    fx_get(0, q, false, &d[1]);
    publish_upto(q, 3, 4);
    fx_mail();
    assert_int_equal(fx_stats(q).ready, 2);
    fx_settle(0, q, SETTLE_REQUEUE, d[1].seq);
    fx_mail();
    assert_int_equal(fx_stats(q).maxlen_dropped, 1);
    assert_int_equal(fx_get(0, q, true, NULL), 3);
    fx_settle(0, q, SETTLE_REQUEUE, d[0].seq);
    fx_mail();
    assert_int_equal(fx_get(0, q, true, NULL), 1);
    assert_holds(q, 4, 4);
}
FX_PLACED(what_comes_back)

// Consumers that can take it have a message before it counts, as in RabbitMQ.
static void
consumers_have_it_first_case(void)
{
    lv_handle q = limited_queue(0, RULE_NONE, OVERFLOW_DROP_HEAD);
    lv_handle c =
        fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .prefetch = 3, .window_count = 100});
    publish_upto(q, 1, 10);
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, 3);
    assert_int_equal(fx_stats(q).ready, 0);
    assert_int_equal(fx_stats(q).maxlen_dropped, 7);
    for (int i = 0; i < 3; i++)
        fx_settle(1, q, SETTLE_ACK, fx->sessions[1].deliveries[i].seq);
    struct queue_rules r = rules_of(2, RULE_NONE, OVERFLOW_REJECT_PUBLISH);
    fx_rules(q, &r);
    fx->sessions[0].accepted = fx->sessions[0].refused = 0;
    fx_quiet();
    publish_upto(q, 11, 20);
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, 5); // three to the consumer, two wait
    assert_int_equal(fx->sessions[0].refused, 5);
    assert_int_equal(fx->sessions[1].count, 6);
    r.max_length = 0; // RabbitMQ: refused although somebody waits
    fx_rules(q, &r);
    fx_forget(1);
    fx_cancel(1, q, c);
    assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, NULL), QUEUE_OK);
    fx_consumer(&(struct fx_consume){.session = 2, .queue = q});
    publish_upto(q, 21, 21);
    fx_quiet();
    assert_int_equal(fx->sessions[0].refused, 6);
    assert_int_equal(fx->sessions[2].count, 0);
}
FX_PLACED(consumers_have_it_first)

// Consumers that go before they were served leave nothing over the limit behind.
static void
consumers_go(void **state)
{
    fx_open_plain(1);
    lv_handle q = limited_queue(2, RULE_NONE, OVERFLOW_DROP_HEAD);
    lv_handle c = fx_consumer(&(struct fx_consume){.session = 1, .queue = q});
    publish_upto(q, 1, 10);
    fx_as(fx_member(0));
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, q);
    r->consumer = c;
    r->done = queue_request_free;
    queue_request_send(r);
    assert_int_equal(fx->sessions[1].count, 0);
    fx_quiet();
    assert_holds(q, 9, 10);
    // One with a shared limit is asked first.
    fx_consumer(&(struct fx_consume){.session = 2, .queue = q, .flags = CONSUMER_SHARED_LIMIT});
    publish_upto(q, 11, 13);
    fx_turns(1);
    assert_int_equal(fx->sessions[2].ready_calls, 1);
    fx_as(fx_member(0));
    consumer_grant_shared(fx->sessions[2].ready_consumer, 0);
    fx_quiet();
    assert_holds(q, 12, 13);
    fx_close();
}

// New rules for a queue that is long already: bit by bit.
static void
rules_change(void **state)
{
    fx_open_plain(1);
    lv_handle q = fx_queue(0, 0);
    publish_upto(q, 1, 20000);
    struct queue_rules r = rules_of(100, RULE_NONE, OVERFLOW_DROP_HEAD);
    fx_rules(q, &r);
    worker_turn(fx_member(0));
    uint64_t ready = fx_queue_of(q)->ready.count;
    assert_true(ready > 100 && ready < 20000);
    fx_publish(0, q, 20001); // takes more out than it brings in
    assert_true(fx_queue_of(q)->ready.count < ready);
    fx_quiet();
    assert_holds(q, 19902, 20001);
    fx_rules(q, NULL);
    publish_upto(q, 1, 200);
    assert_holds(q, 1, 200);
    // A queue that is deleted meanwhile.
    publish_upto(q, 1, 20000);
    fx_rules(q, &r);
    fx_delete(q);
    fx_quiet();
    fx_assert_nothing_left();
    fx_close();
}

// Given back in parts, under a hold: the oldest go when all are back.
static void
holds(void **state)
{
    fx_open_plain(1);
    lv_handle q = limited_queue(2, RULE_NONE, OVERFLOW_DROP_HEAD);
    struct fx_delivery d[4];
    for (uint64_t id = 1; id <= 4; id++) {
        fx_publish(0, q, id);
        fx_get(0, q, false, &d[id - 1]);
    }
    queue_hold(q, true);
    for (int i = 3; i >= 0; i--)
        fx_settle(0, q, SETTLE_RETURN, d[i].seq);
    fx_turns(2);
    assert_int_equal(fx_stats(q).ready, 4);
    queue_hold(q, false);
    fx_quiet();
    assert_holds(q, 3, 4);
    fx_close();
}

// Persistent: what was dropped is gone after a crash too, and a publish that drops its own message is confirmed.
static void
durable(void **state)
{
    struct powercut *disk = powercut_new(7);
    struct fx_config config = {.workers = 1, .store_seed = 7, .disk = disk};
    fx_open(&config);
    lv_handle q = limited_queue(3, RULE_NONE, OVERFLOW_DROP_HEAD);
    uint64_t id = fx_queue_id(q);
    publish_upto(q, 1, 10);
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, 10);
    struct queue_rules none = rules_of(0, RULE_NONE, OVERFLOW_DROP_HEAD);
    lv_handle nothing = fx_queue(0, 0);
    fx_rules(nothing, &none);
    publish_upto(nothing, 1, 5);
    assert_int_equal(fx->sessions[0].accepted, 15);
    fx_quiet();
    uint32_t flags = QUEUE_DURABLE;
    uint64_t nothing_id = fx_queue_id(nothing);
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    q = fx_queue_back(0, flags, id);
    nothing = fx_queue_back(0, flags, nothing_id);
    assert_int_equal(fx_recovered(), 0);
    assert_int_equal(fx_stats(nothing).ready, 0);
    assert_holds(q, 8, 10);
    fx_close();
    powercut_free(disk);
}

static void
tx_done(struct queue_tx *t)
{
}

// Messages in backlog files: whole blocks go unread, the rest is read; nothing is delivered twice or left.
static void
in_files(void **state)
{
    fx_open(&(struct fx_config){.workers = 1,
                                .store_seed = 3,
                                .segment_bytes = 16384,
                                .segment_max = 7,
                                .rewrite_max = 512,
                                .delay_max = 3});
    lv_handle q = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 20000; id++) {
        fx_publish(0, q, id);
        if (id % 100 == 0)
            fx_quiet();
    }
    assert_true(fx_queue_of(q)->disk->backlog.count > 10000);
    struct queue_rules r = rules_of(1000, RULE_NONE, OVERFLOW_DROP_HEAD);
    fx_rules(q, &r);
    fx_quiet();
    struct queue_stats s = fx_stats(q);
    assert_int_equal(s.ready, 1000);
    assert_int_equal(s.ready_bytes, 16000);
    assert_int_equal(s.persistent, 1000);
    assert_int_equal(s.maxlen_dropped, 19000);
    for (uint64_t id = 20001; id <= 20500; id++) {
        fx_publish(0, q, id);
        if (id % 10 == 0)
            fx_turns(1);
    }
    fx_quiet();
    assert_holds(q, 19501, 20500);
    fx_assert_nothing_left();
    fx_close();
}

// What was dropped unread is gone after a crash too.
static void
in_files_and_gone(void **state)
{
    struct powercut *disk = powercut_new(3);
    struct fx_config config = {.workers = 1,
                               .store_seed = 3,
                               .disk = disk,
                               .segment_bytes = 16384,
                               .segment_max = 7,
                               .rewrite_max = 512};
    fx_open(&config);
    lv_handle q = fx_queue(0, 0);
    uint64_t id = fx_queue_id(q);
    for (uint64_t n = 1; n <= 10000; n++) {
        fx_publish(0, q, n);
        if (n % 100 == 0)
            fx_quiet();
    }
    struct queue_rules r = rules_of(100, RULE_NONE, OVERFLOW_DROP_HEAD);
    fx_rules(q, &r);
    fx_quiet();
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    q = fx_queue_back(0, QUEUE_DURABLE, id); // without the limit: so all that is there shows
    assert_int_equal(fx_recovered(), 0);
    assert_holds(q, 9901, 10000);
    fx_close();
    powercut_free(disk);
}

// More messages of one queue with priorities in each segment than one move takes: all are there after a crash, in their order.
static void
deep_levels(void **state)
{
    enum { DEEP = 160000, LEVELS = 3 };
    struct powercut *disk = powercut_new(5);
    struct fx_config config = {.workers = 1,
                               .store_seed = 5,
                               .disk = disk,
                               .segment_bytes = 3 << 20,
                               .segment_max = 5,
                               .rewrite_max = 512};
    struct queue_rules r = queue_rules_none;
    r.max_priority = LEVELS - 1;
    fx_open(&config);
    fx->rules = &r;
    fx->priorities = LEVELS;
    lv_handle q = fx_queue(0, 0);
    uint64_t id = fx_queue_id(q);
    for (uint64_t n = 1; n <= DEEP; n++) {
        fx_publish(0, q, n);
        if (n % 1000 == 0)
            fx_quiet();
    }
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, DEEP);
    assert_true(fx_queue_of(q)->disk->backlog.file_count > 0);
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    fx->rules = &r;
    fx->priorities = LEVELS;
    q = fx_queue_back(0, QUEUE_DURABLE, id);
    assert_int_equal(fx_recovered(), 0);
    assert_int_equal(fx_stats(q).ready, DEEP);
    fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .flags = CONSUMER_NO_ACK});
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, DEEP);
    for (size_t i = 1; i < DEEP; i++) {
        uint64_t before = fx->sessions[1].deliveries[i - 1].id, now = fx->sessions[1].deliveries[i].id;
        assert_true(fx_priority_of(before) > fx_priority_of(now) ||
                    (fx_priority_of(before) == fx_priority_of(now) && before < now));
    }
    fx_close();
    powercut_free(disk);
}

// Transactions that have no verdict yet have their places.
static void
held(void **state)
{
    fx_open_plain(1);
    lv_handle q = limited_queue(2, RULE_NONE, OVERFLOW_REJECT_PUBLISH);
    fx_as(fx_member(0));
    uint64_t tx = queue_tx_new();
    for (uint64_t id = 1; id <= 3; id++) {
        struct message *msg = fx_message(id, 16);
        queue_tx_publish(tx, msg, &q, 1, fx->sessions[0].handle, 1);
        message_unref(msg);
    }
    assert_int_equal(fx->sessions[0].accepted, 2);
    fx_publish(0, q, 4);
    assert_int_equal(fx->sessions[0].refused, 2);
    static struct queue_tx t;
    t = (struct queue_tx){.tx = tx, .workers = 1, .is_abort = true, .done = tx_done};
    fx_as(fx_member(0));
    queue_tx_end(&t);
    fx_quiet();
    publish_upto(q, 5, 7);
    assert_int_equal(fx->sessions[0].refused, 3);
    assert_holds(q, 5, 6);
    fx_close();
}

// --- against a model ---

enum { MESSAGES = 64, STEPS = 60 };

static struct {
    struct rng rng;
    lv_handle q;
    uint64_t ready[MESSAGES], out[MESSAGES], out_seqs[MESSAGES]; // ids; ready: in the order they would go out
    size_t ready_count, out_count;
    uint64_t next_id, dropped, refused;
    struct queue_rules rules;
} model;

static uint64_t
dice(uint64_t limit)
{
    return rng_below(&model.rng, limit);
}

static bool
model_over(size_t count)
{
    return count > model.rules.max_length || count * 16 > model.rules.max_length_bytes;
}

static uint8_t
level_of(uint64_t id)
{
    return LV_MIN(fx_priority_of(id), model.rules.max_priority);
}

// The oldest of the lowest level.
static void
model_trim(void)
{
    while (model.rules.overflow == OVERFLOW_DROP_HEAD && model_over(model.ready_count)) {
        size_t at = model.ready_count - 1;
        while (at > 0 && level_of(model.ready[at - 1]) == level_of(model.ready[at]))
            at--;
        memmove(model.ready + at, model.ready + at + 1, (--model.ready_count - at) * sizeof(model.ready[0]));
        model.dropped++;
    }
}

static void
model_insert(uint64_t id)
{
    size_t at = model.ready_count++;
    assert_true(at < MESSAGES);
    for (; at > 0 && (level_of(model.ready[at - 1]) < level_of(id) ||
                      (level_of(model.ready[at - 1]) == level_of(id) && model.ready[at - 1] > id));
         at--)
        model.ready[at] = model.ready[at - 1];
    model.ready[at] = id;
}

static void
step_publish(void)
{
    for (uint64_t n = 1 + dice(6); n > 0 && model.ready_count + model.out_count + 1 < MESSAGES; n--) {
        uint64_t id = model.next_id++;
        fx_publish(0, model.q, id);
        if (model.rules.overflow != OVERFLOW_DROP_HEAD && model_over(model.ready_count + 1)) {
            model.refused++;
            continue;
        }
        model_insert(id);
        model_trim();
    }
}

static void
step_get(void)
{
    struct fx_delivery d;
    bool is_no_ack = dice(3) == 0;
    uint64_t id = fx_get(0, model.q, is_no_ack, &d);
    assert_int_equal(id, model.ready_count > 0 ? model.ready[0] : 0);
    if (id == 0)
        return;
    memmove(model.ready, model.ready + 1, --model.ready_count * sizeof(model.ready[0]));
    if (is_no_ack)
        return;
    model.out[model.out_count] = id;
    model.out_seqs[model.out_count++] = d.seq;
}

static void
step_settle(void)
{
    if (model.out_count == 0)
        return;
    size_t at = dice(model.out_count);
    enum settle_kind kind = (enum settle_kind)dice(4);
    fx_settle(0, model.q, kind, model.out_seqs[at]);
    if (kind == SETTLE_REQUEUE || kind == SETTLE_RETURN) {
        model_insert(model.out[at]);
        model_trim();
    }
    model.out_count--;
    memmove(model.out + at, model.out + at + 1, (model.out_count - at) * sizeof(model.out[0]));
    memmove(model.out_seqs + at, model.out_seqs + at + 1, (model.out_count - at) * sizeof(model.out_seqs[0]));
}

static void
step_rules(void)
{
    uint8_t max_priority = model.rules.max_priority; // does not change
    model.rules = rules_of(dice(3) == 0 ? RULE_NONE : dice(20), dice(2) == 0 ? RULE_NONE : dice(300),
                           (enum queue_overflow)dice(3));
    model.rules.max_priority = max_priority;
    fx_rules(model.q, &model.rules);
    fx_quiet();
    model_trim();
}

static void
sequence(uint64_t seed)
{
    memset(&model, 0, sizeof model);
    rng_init(&model.rng, seed);
    model.next_id = 1;
    model.rules.max_priority = seed % 2 == 0 ? 0 : 5;
    fx->priorities = seed % 2 == 0 ? 0 : 8;
    fx->rules = &model.rules;
    model.q = fx_queue(0, 0);
    step_rules();
    for (int i = 0; i < STEPS; i++) {
        uint64_t what = dice(20);
        if (what < 9)
            step_publish();
        else if (what < 13)
            step_get();
        else if (what < 17)
            step_settle();
        else if (what < 18)
            step_rules();
        else
            fx_quiet();
    }
    fx_quiet();
    struct queue_stats s = fx_stats(model.q);
    assert_int_equal(s.ready, model.ready_count);
    assert_int_equal(s.ready_bytes, model.ready_count * 16);
    assert_int_equal(s.unacked, model.out_count);
    assert_int_equal(s.maxlen_dropped, model.dropped);
    assert_int_equal(s.refused_maxlen, model.refused);
    fx_delete(model.q);
    fx_assert_nothing_left();
}

static void
random_sequences(void **state)
{
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        if (fx == NULL)
            fx_open(&(struct fx_config){
                .workers = 1, .store_seed = seed / 500 % 2 * seed, .page_percent = 40, .delay_max = 3});
        sequence(seed);
        if (seed % 500 == 499 || seed == 4000)
            fx_close();
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_go),
        cmocka_unit_test(the_newest_are_refused),
        cmocka_unit_test(what_comes_back),
        cmocka_unit_test(consumers_have_it_first),
        cmocka_unit_test(consumers_go),
        cmocka_unit_test(rules_change),
        cmocka_unit_test(holds),
        cmocka_unit_test(durable),
        cmocka_unit_test(in_files),
        cmocka_unit_test(in_files_and_gone),
        cmocka_unit_test(held),
        cmocka_unit_test(deep_levels),
        cmocka_unit_test(random_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
