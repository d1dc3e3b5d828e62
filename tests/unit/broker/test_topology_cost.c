// test_topology_cost.c: what a durable queue costs in memory, and that a change costs the same among few objects and among many.
//
// The bounds are wide, so that a busy machine does not fail them; the figures are printed.
#include <time.h>

#include "tests/unit/broker/topology_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

enum { MANY = IS_SANITIZED ? 4000 : 100000, BATCH = 2000 };

static double
seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t
resident_bytes(void)
{
    size_t total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &total, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static unsigned answered;

static void
count_answer(struct topology_request *r)
{
    LV_ASSERT(r->fault.code == FAULT_NONE);
    answered++;
    topology_request_free(r);
}

// Submits requests of one kind for names from first on, pipelined, and waits for all.
static void
pipeline(enum topology_change change, uint32_t flags, int first, int count)
{
    answered = 0;
    for (int i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "some.queue.%07d", first + i);
        struct topology_request args = {
            .change = change, ROOT, .name = slice_str(name), .flags = flags, .done = count_answer};
        if (change == CHANGE_BIND || change == CHANGE_UNBIND) {
            args.name = SLICE_LIT("amq.topic");
            args.dest_name = slice_str(name);
            args.key = slice_str(name);
            args.flags = CHANGE_DEST_IS_QUEUE;
        }
        worker_self = tf.crew->members[i % tf.crew->n_workers];
        topology_submit(topology_request_new(&args));
        worker_self = NULL;
        if (i % BATCH == BATCH - 1)
            tf_round();
    }
    for (int i = 0; answered < (unsigned)count; i++) {
        assert_true(i < 100000);
        tf_round();
    }
}

static void
test_memory_of_durable_queues(void **state)
{
    tf_open(&(struct tf_config){.workers = 2, .is_kept = true});
    pipeline(CHANGE_QUEUE_DECLARE, CHANGE_DURABLE, 0, 100);
    size_t before = resident_bytes();
    double start = wall_seconds();
    pipeline(CHANGE_QUEUE_DECLARE, CHANGE_DURABLE, 100, MANY);
    double took = wall_seconds() - start;
    tf_settle();
    size_t each = (resident_bytes() - before) / MANY;
    print_message("%d durable queues: %zu bytes each, %.0f declares a second\n", MANY, each, MANY / took);
    if (!IS_SANITIZED) {
        assert_true(each <= 1024);
        assert_true(MANY / took > 2000);
    }
    start = wall_seconds();
    tf_stop();
    tf_start(&(struct tf_config){.workers = 2, .is_kept = true});
    print_message("start with them: %.2f s\n", wall_seconds() - start);
    assert_int_equal(tf_vhost("/")->queues.count, MANY + 100);
    assert_int_equal(tf_tw()->queues_of[0], tf_tw()->queues_of[1]);
    tf_close();
}

static double
cost_of(enum topology_change change, int first)
{
    double start = seconds();
    pipeline(change, 0, first, BATCH);
    return (seconds() - start) / BATCH;
}

static void
test_cost_at_any_size(void **state)
{
    double few[4], many[4];
    static const enum topology_change changes[4] = {CHANGE_QUEUE_DECLARE, CHANGE_BIND, CHANGE_UNBIND,
                                                    CHANGE_QUEUE_DELETE};
    tf_open(&(struct tf_config){.workers = 2});
    pipeline(CHANGE_QUEUE_DECLARE, 0, 5000000, BATCH); // warm up
    pipeline(CHANGE_QUEUE_DELETE, 0, 5000000, BATCH);
    for (int i = 0; i < 4; i++)
        few[i] = cost_of(changes[i], 0);
    for (int at = 0; at < 2 * MANY; at += MANY) {
        pipeline(CHANGE_QUEUE_DECLARE, 0, 1000000 + at, MANY);
        pipeline(CHANGE_BIND, 0, 1000000 + at, MANY);
    }
    for (int i = 0; i < 4; i++) {
        many[i] = cost_of(changes[i], 0);
        print_message("change %d: %.2f µs among few, %.2f µs among %d\n", changes[i], few[i] * 1e6,
                      many[i] * 1e6, 2 * MANY);
        assert_true(many[i] < 10 * few[i] + 20e-6);
    }
    double start = seconds();
    tf_ok(tf_do(0, &(struct topology_request){.change = CHANGE_VHOST_DELETE, .name = SLICE_LIT("/")}));
    print_message("vhost of %d queues deleted: %.2f s\n", 2 * MANY, seconds() - start);
    tf_close();
}

// A single change among many is a version of its own: it copies paths, never all.
static void
test_single_changes(void **state)
{
    enum { N = 300 };
    tf_open(&(struct tf_config){.workers = 1});
    double start = seconds();
    for (int i = 0; i < N; i++)
        pipeline(CHANGE_QUEUE_DECLARE, 0, i, 1);
    double few = (seconds() - start) / N;
    pipeline(CHANGE_QUEUE_DECLARE, 0, 1000000, MANY);
    start = seconds();
    for (int i = 0; i < N; i++)
        pipeline(CHANGE_QUEUE_DECLARE, 0, 1000 + i, 1);
    double many = (seconds() - start) / N;
    print_message("a declare alone: %.1f µs among few, %.1f µs among %d\n", few * 1e6, many * 1e6, MANY);
    assert_true(many < 10 * few + 20e-6);
    tf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_of_durable_queues),
        cmocka_unit_test(test_cost_at_any_size),
        cmocka_unit_test(test_single_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
