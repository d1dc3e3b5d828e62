// test_ctl_store.c: `leveretctl store` on a directory that was really written: words, JSON, exit statuses, the lock, filters.
#include "tests/unit/store/inspect_dir.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/file.h>

#include "src/cli/leveretctl.h"

struct run {
    int status;
    char *out, *err; // heap
    json_t *json;    // of what was printed, when it is JSON
};

static struct run
run(const struct dir *d, const char *line)
{
    static char program[] = "leveretctl";
    char *argv[32] = {program}, *save = NULL, words[512], environment_dir[256];
    const char *environment[] = {environment_dir, NULL};
    int argc = 1;
    size_t out_size, err_size;
    struct run r = {0};
    snprintf(environment_dir, sizeof environment_dir, "LEVERET_DATA_DIR=%s", d->path);
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    FILE *in = fopen("/dev/null", "re"), *out = open_memstream(&r.out, &out_size),
         *err = open_memstream(&r.err, &err_size);
    r.status = ctl_main(argc, argv, environment, in, out, err);
    fclose(in);
    fclose(out);
    fclose(err);
    r.json = json_loads(r.out, 0, NULL);
    return r;
}

static void
run_free(struct run *r)
{
    free(r->out);
    free(r->err);
    json_decref(r->json);
}

static json_int_t
number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void
a_clean_directory_is_status_0(void **state)
{
    struct dir d;
    dir_make(&d);
    uint32_t before = trace_dir(&d);
    struct run r = run(&d, "store verify");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "note: meta.sqlite: queue 103 is not in the metadata"));
    assert_non_null(strstr(r.out, "no damage in 67 groups of 3 segments, 46 live messages of 3 queues\n"));
    run_free(&r);
    r = run(&d, "store verify --json");
    assert_int_equal(r.status, 0);
    assert_string_equal(json_string_value(json_object_get(r.json, "result")), "clean");
    assert_int_equal(number(r.json, "messages"), 46);
    run_free(&r);
    assert_int_equal(trace_dir(&d), before);
    dir_remove(&d);
}

static void
damage_is_status_1_and_says_where(void **state)
{
    struct dir d;
    dir_make(&d);
    flip(&d, "large/0000000000000001.body", 77);
    flip(&d, "log/00001.seg", 4096 + 100);
    struct run r = run(&d, "store verify");
    assert_int_equal(r.status, CTL_DAMAGED);
    assert_non_null(strstr(r.out, "damage: log/00001.seg at 4096, 512 bytes: "));
    assert_non_null(
        strstr(r.out, "damage: large/0000000000000001.body: message 1 of queue 102 cannot be read"));
    run_free(&r);
    r = run(&d, "store verify --formatter json");
    assert_int_equal(r.status, CTL_DAMAGED);
    assert_string_equal(json_string_value(json_object_get(r.json, "result")), "damaged");
    const json_t *first = json_array_get(json_object_get(r.json, "findings"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "severity")), "damage");
    assert_string_equal(json_string_value(json_object_get(first, "file")), "log/00001.seg");
    assert_true(number(first, "offset") >= 4096 && number(first, "offset") < 4096 + 512);
    run_free(&r);
    dir_remove(&d);
}

static void
stats_count_by_queue_and_place(void **state)
{
    struct dir d;
    dir_make(&d);
    struct run r = run(&d, "store stats --json");
    assert_int_equal(r.status, 0);
    const json_t *totals = json_object_get(r.json, "totals"), *start = json_object_get(r.json, "start");
    assert_int_equal(number(totals, "messages"), 46);
    assert_int_equal(number(totals, "message_bytes"), 45 * BODY + LARGE_BYTES);
    assert_int_equal(number(json_object_get(totals, "large"), "messages"), 1);
    assert_int_equal(number(start, "messages_back"), 45);
    assert_int_equal(number(start, "messages_to_lost_found"), 1);
    assert_int_equal(json_array_size(json_object_get(r.json, "queues")), 3);
    run_free(&r);
    r = run(&d, "store stats --queue orders --vhost / --json");
    assert_int_equal(json_array_size(json_object_get(r.json, "queues")), 1);
    assert_int_equal(number(json_object_get(r.json, "totals"), "messages"), 44);
    run_free(&r);
    r = run(&d, "store stats");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\n/\torders\t44\t1760\t44\t0\t0\t0\n"));
    assert_non_null(
        strstr(r.out, "a start reads 3 segments, brings back 45 messages, moves 1 to lost+found\n"));
    assert_non_null(strstr(r.out, "log/00001.seg\t2\tneeded\t"));
    run_free(&r);
    dir_remove(&d);
}

static void
dump_shows_messages_as_they_were_published(void **state)
{
    struct dir d;
    dir_make(&d);
    struct run r = run(&d, "store dump --queue orders --seq 30-31 --truncate 5 --json");
    assert_int_equal(r.status, 0);
    assert_int_equal(json_array_size(r.json), 2);
    const json_t *m = json_array_get(r.json, 0);
    assert_int_equal(number(m, "seq"), 30);
    assert_int_equal(number(m, "payload_bytes"), BODY);
    assert_string_equal(json_string_value(json_object_get(m, "payload")), "abcde");
    assert_true(json_is_true(json_object_get(m, "truncated")));
    assert_string_equal(json_string_value(json_object_get(m, "exchange")), "amq.topic");
    assert_string_equal(json_string_value(json_object_get(m, "routing_key")), "order.new");
    assert_int_equal(number(json_object_get(m, "properties"), "delivery_mode"), 2);
    run_free(&r);
    r = run(&d, "store dump --limit 3");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "queue 'orders' in vhost '/', message 21: log/00000.seg at "));
    assert_non_null(
        strstr(r.out, "exchange 'amq.topic', routing key 'order.new', published 2023-11-14T22:13:20.000Z\n"));
    assert_non_null(strstr(r.out, "  properties {\"delivery_mode\":2}\n  body of 40 bytes\nabcdef"));
    assert_non_null(strstr(r.out, "message 23: "));
    assert_null(strstr(r.out, "message 24: "));
    assert_non_null(strstr(r.out, "(there are more: "));
    run_free(&r);
    r = run(&d, "store dump --queue 103 --json");
    assert_int_equal(json_array_size(r.json), 1);
    assert_true(json_is_null(json_object_get(json_array_get(r.json, 0), "queue")));
    run_free(&r);
    dir_remove(&d);
}

static void
binary_bodies_are_base64(void **state)
{
    struct dir d;
    struct buf bytes = BUF_INIT;
    struct msglog_content c = {0};
    dir_make(&d);
    open_log(&d);
    make_content(&bytes, &c, "bin", "\x00\x00", 2, 3);
    bytes.ptr[bytes.len - 2] = 0xff;
    struct msglog_entry e = {.kind = MSGLOG_MESSAGE, .queue = QUEUE_MAIL, .seq = 2, .content = &c};
    add(&d, &e);
    assert_int_equal(core_flush(&d.core), 0);
    close_log(&d);
    struct run r = run(&d, "store dump --queue mail --seq 2- --json");
    const json_t *m = json_array_get(r.json, 0);
    assert_string_equal(json_string_value(json_object_get(m, "payload_encoding")), "base64");
    assert_string_equal(json_string_value(json_object_get(m, "payload")), "Yf9j");
    run_free(&r);
    buf_fini(&bytes);
    dir_remove(&d);
}

static void
backlog_files_are_counted_and_shown(void **state)
{
    struct dir d;
    struct backlog b;
    struct buf path = BUF_INIT;
    dir_make(&d);
    assert_int_equal(backlog_prepare_dirs(io_system(), d.path), 0);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_GONE, BACKLOG_CHAIN, 7, 9);
    assert_int_equal(backlog_set_aside(io_system(), d.path, QUEUE_GONE, &path), 0);
    backlog_fini(&b);
    backlog_init(&b);
    add_block(&d, &b, QUEUE_ORDERS, BACKLOG_CHAIN, MESSAGES + 1, MESSAGES + 10);
    struct run r = run(&d, "store stats --json");
    const json_t *totals = json_object_get(r.json, "totals"), *lost = json_object_get(r.json, "lost_found");
    assert_int_equal(number(totals, "messages"), 56);
    assert_int_equal(number(json_object_get(totals, "backlog"), "messages"), 10);
    assert_int_equal(number(lost, "folders"), 1);
    assert_int_equal(number(lost, "messages"), 3);
    assert_int_equal(number(json_object_get(r.json, "backlog_files"), "blocks"), 2);
    run_free(&r);
    r = run(&d, "store stats");
    assert_non_null(strstr(r.out, "\n/\torders\t54\t2160\t44\t10\t0\t0\n"));
    assert_non_null(strstr(r.out, "lost+found: 3 messages in 1 folder\n"));
    run_free(&r);
    r = run(&d, "store dump --lost-and-found --queue 103");
    assert_non_null(
        strstr(r.out, "queue 103 (in lost+found/queue-0000000000000067-1), message 7: lost+found/"));
    assert_null(strstr(r.out, "orders"));
    run_free(&r);
    r = run(&d, "store dump --queue orders --seq 70-71 --json");
    assert_int_equal(json_array_size(r.json), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(r.json, 0), "file")),
                        "queues/0000000000000065/00000001.blg");
    run_free(&r);
    r = run(&d, "store verify");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "2 backlog blocks, 56 live messages of 3 queues\n"));
    run_free(&r);
    buf_fini(&path);
    backlog_fini(&b);
    dir_remove(&d);
}

static void
it_is_refused_while_a_broker_runs(void **state)
{
    struct dir d;
    char path[256];
    dir_make(&d);
    entry_path(&d, "lock", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && write(fd, "4711\n", 5) == 5);
    struct run r = run(&d, "store verify");
    assert_int_equal(r.status, CTL_UNAVAILABLE);
    assert_string_equal(r.out, "");
    assert_non_null(strstr(r.err, " is in use by process 4711: stop the broker first\n"));
    run_free(&r);
    close(fd);
    r = run(&d, "store verify");
    assert_int_equal(r.status, 0);
    run_free(&r);
    dir_remove(&d);
}

static void
wrong_use_is_refused(void **state)
{
    static const struct {
        const char *line;
        int status;
        const char *err;
    } cases[] = {
        {"store", CTL_USAGE, "not enough arguments"},
        {"store repair", CTL_USAGE, "repair is none of verify, stats, dump"},
        {"store verify -d /nonexistent", CTL_UNAVAILABLE,
         "data directory /nonexistent cannot be read: not found"},
        {"store verify -d /", CTL_DATA, "/ is not a data directory of Leveret"},
        {"store dump --seq 5-2", CTL_DATA, "--seq takes"},
        {"store dump --seq x", CTL_DATA, "--seq takes"},
        {"store dump --queue none", CTL_DATA, "there is no queue 'none'"},
        {"list_queues --json", CTL_USAGE, "--json"},
    };
    struct dir d;
    dir_make(&d);
    for (size_t i = 0; i < LV_ARRAY_LEN(cases); i++) {
        struct run r = run(&d, cases[i].line);
        assert_int_equal(r.status, cases[i].status);
        assert_non_null(strstr(r.err, cases[i].err));
        run_free(&r);
    }
    dir_remove(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_directory_is_status_0),
        cmocka_unit_test(damage_is_status_1_and_says_where),
        cmocka_unit_test(stats_count_by_queue_and_place),
        cmocka_unit_test(dump_shows_messages_as_they_were_published),
        cmocka_unit_test(binary_bodies_are_base64),
        cmocka_unit_test(backlog_files_are_counted_and_shown),
        cmocka_unit_test(it_is_refused_while_a_broker_runs),
        cmocka_unit_test(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
