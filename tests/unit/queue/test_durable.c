// test_durable.c: queues on the commit log: what a confirm promises, and what is there after a stop and after a crash.
#include "fixture.h"

#include "src/base/log.h"
#include "src/store/log_core.h"

static void
message_is_there(void **state)
{
    struct powercut *disk = powercut_new(1);
    struct fx_config config = {.workers = 1, .store_seed = 1, .disk = disk};
    fx_open(&config);
    lv_handle q = fx_queue(0, 0);
    uint64_t id = fx_queue_id(q);
    fx_publish(0, q, 7);
    assert_int_equal(fx->sessions[0].published_calls, 0);
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, 1);
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    q = fx_queue_back(0, 0, id);
    assert_int_equal(fx_recovered(), 0);
    struct fx_delivery d;
    assert_int_equal(fx_get(0, q, false, &d), 7);
    assert_true(d.is_redelivered);
    fx_close();
    powercut_free(disk);
}

static void
set_durability(lv_handle q, enum rule_durability durability)
{
    struct queue_rules rules = queue_rules_none;
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_RULES, q);
    assert_non_null(r);
    rules.durability = (uint8_t)durability;
    r->rules = queue_rules_copy(&rules);
    assert_non_null(r->rules);
    queue_request_free(fx_request(0, r));
}

// A policy says what a confirm means while the queue lives; what was taken before keeps its promise, and all of it is written.
static void
confirms_by_policy(void **state)
{
    struct powercut *disk = powercut_new(1);
    struct fx_config config = {.workers = 1, .store_seed = 1, .disk = disk};
    fx_open(&config);
    lv_handle q = fx_queue(0, 0);
    uint64_t id = fx_queue_id(q);
    fx_publish(0, q, 1);
    set_durability(q, RULE_DURABILITY_MEMORY);
    assert_int_equal(fx->sessions[0].published_calls, 0); // the first one still waits for the disk
    fx_publish(0, q, 2);
    assert_int_equal(fx->sessions[0].published_calls, 1);
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, 2);
    set_durability(q, RULE_DURABILITY_OS);
    fx_publish(0, q, 3);
    assert_int_equal(fx->sessions[0].published_calls, 2);
    set_durability(q, RULE_DURABILITY_DECLARED);
    fx_publish(0, q, 4);
    assert_int_equal(fx->sessions[0].published_calls, 2);
    fx_quiet();
    assert_int_equal(fx->sessions[0].accepted, 4);
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    q = fx_queue_back(0, 0, id);
    assert_int_equal(fx_recovered(), 0);
    for (uint64_t want = 1; want <= 4; want++)
        assert_int_equal(fx_get(0, q, true, NULL), want);
    fx_close();
    powercut_free(disk);
}

// With a consumer that acknowledges nothing the message is gone in the turn in which it came: nothing is written, and the publisher is answered.
static void
gone_before_it_is_written(void **state)
{
    struct powercut *disk = powercut_new(1);
    fx_open(&(struct fx_config){.workers = 1, .store_seed = 1, .disk = disk});
    lv_handle q = fx_queue(0, 0);
    lv_handle consumer =
        fx_consumer(&(struct fx_consume){.session = 1, .queue = q, .flags = CONSUMER_NO_ACK});
    fx_quiet();
    uint64_t calls = powercut_calls(disk);
    for (uint64_t id = 1; id <= 600; id++) // several batches
        fx_publish(0, q, id);
    fx_turns(3);
    fx_quiet();
    assert_int_equal(fx->sessions[1].count, 600);
    assert_int_equal(fx->sessions[0].accepted, 600);
    assert_int_equal(powercut_calls(disk), calls);
    // One that stays is written.
    assert_int_equal(fx_cancel(1, q, consumer), QUEUE_OK);
    fx_publish(0, q, 601);
    fx_quiet();
    assert_true(powercut_calls(disk) > calls);
    fx_close();
    powercut_free(disk);
}

// Ten messages, in the log or in files, none in memory; then the device fails to read `errors` times (0: for ever).
static lv_handle
open_unreadable(struct fx_config *config, bool is_in_files, uint64_t errors)
{
    *config = (struct fx_config){.workers = 1, .store_seed = 1, .disk = powercut_new(1)};
    config->page_percent = is_in_files ? 0 : 100;
    config->body_max = is_in_files ? 1 : 0;
    config->segment_bytes = 16384;
    config->segment_max = 5;
    fx_open(config);
    lv_handle q = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 10; id++)
        fx_publish(0, q, id);
    fx_quiet();
    fx_turns(50); // pressure is looked at now and then
    fx_quiet();
    assert_int_equal(fx_queue_of(q)->disk->backlog.count, is_in_files ? 10 : 0);
    powercut_plan(config->disk,
                  &(struct powercut_fault){.calls = CUT_READ, .at = 1, .count = errors, .error = -LE_IO});
    return q;
}

static void
error_of_device_passes(void **state)
{
    for (int is_in_files = 0; is_in_files < 2; is_in_files++) {
        struct fx_config config;
        lv_handle q = open_unreadable(&config, is_in_files != 0, 2);
        for (uint64_t id = 1; id <= 10; id++)
            assert_int_equal(fx_get(0, q, true, NULL), id);
        fx_assert_nothing_left();
        fx_close();
        powercut_free(config.disk);
    }
}

// So much goes through the log that every segment of before is used again.
static void
turn_ring(void)
{
    lv_handle other = fx_queue(0, 0);
    for (uint64_t id = 1; id <= 400; id++) {
        fx_publish(0, other, id);
        fx_quiet();
        assert_int_equal(fx_get(0, other, true, NULL), id);
    }
    assert_true(msglog_core(fx->durable.log)->checkpoint > 1);
}

// The queue goes on without them; the next start finds them, also when `state` was written meanwhile; a purge takes them.
static void
error_of_device_stays(void **state)
{
    assert_int_equal(log_configure(&(struct log_config){.file_level = LOG_NONE, .console_level = LOG_NONE}),
                     0);
    for (int kind = 0; kind < 4; kind++) {
        struct fx_config config;
        bool is_in_files = kind % 2 != 0, is_purged = kind >= 2;
        lv_handle q = open_unreadable(&config, is_in_files, 0);
        uint64_t id = fx_queue_id(q);
        assert_int_equal(fx_get(0, q, true, NULL), 0);
        struct queue_stats s = fx_stats(q);
        assert_int_equal(s.ready + s.ready_bytes + s.persistent, 0);
        powercut_clear_plan(config.disk);
        fx_queue_of(q)->disk->acks_oldest = 1; // so a `state` is written
        if (is_in_files)
            turn_ring();
        if (is_in_files && is_purged)
            assert_int_equal(fx_simple(0, QUEUE_REQUEST_PURGE, q, NULL), QUEUE_OK);
        fx_quiet();
        fx_publish(0, q, 11);
        fx_close();
        config.is_restart = true;
        fx_open(&config);
        q = fx_queue_back(0, 0, id);
        assert_int_equal(fx_recovered(), 0);
        for (uint64_t n = is_in_files && is_purged ? 11 : 1; n <= 11; n++)
            assert_int_equal(fx_get(0, q, true, NULL), n);
        assert_int_equal(fx_get(0, q, true, NULL), 0);
        fx_close();
        powercut_free(config.disk);
    }
}

// A delete is answered when the word about it is durable, however long there is no room for that.
static void
delete_waits_for_room(void **state)
{
    assert_int_equal(log_configure(&(struct log_config){.file_level = LOG_NONE, .console_level = LOG_NONE}),
                     0);
    struct powercut *disk = powercut_new(1);
    struct fx_config config = {.workers = 1, .store_seed = 1, .disk = disk};
    fx_open(&config);
    lv_handle q = fx_queue(0, 0);
    uint64_t id = fx_queue_id(q);
    fx_publish(0, q, 7);
    fx_quiet();
    powercut_plan(disk, &(struct powercut_fault){
                            .calls = CUT_WRITE | CUT_ALLOCATE, .at = 1, .count = 3, .error = -LE_NOSPACE});
    assert_int_equal(fx_simple(-1, QUEUE_REQUEST_DELETE, q, NULL), QUEUE_OK);
    fx_crash(FX_CUT);
    config.is_restart = true;
    fx_open(&config);
    q = fx_queue_back(0, 0, id);
    assert_int_equal(fx_recovered(), 0);
    assert_int_equal(fx_get(0, q, true, NULL), 0);
    fx_close();
    powercut_free(disk);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_there),          cmocka_unit_test(confirms_by_policy),
        cmocka_unit_test(gone_before_it_is_written), cmocka_unit_test(error_of_device_passes),
        cmocka_unit_test(error_of_device_stays),     cmocka_unit_test(delete_waits_for_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
