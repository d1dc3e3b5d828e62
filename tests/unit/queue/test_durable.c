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

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(message_is_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
