// test_durable.c: queues on the commit log: what a confirm promises, and what is there after a stop and after a crash.
#include "fixture.h"

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

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(message_is_there),
                                       cmocka_unit_test(gone_before_it_is_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
