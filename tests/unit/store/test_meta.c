// test_meta.c: the metadata store keeps what was committed, forgets what was rolled back, takes dependants along on deletion, and
// refuses a store of a newer version without touching it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "src/base/mem.h"
#include "src/store/meta.h"

struct world {
    char dir[64];
    struct meta *meta;
};

struct counts {
    int vhosts, users, permissions, topic_permissions, parameters, exchanges, queues, bindings;
    char last_queue[64];
};

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char *error = NULL;
    snprintf(w->dir, sizeof w->dir, "/tmp/leveret-meta-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(meta_open(w->dir, &w->meta, &error), 0);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    char path[128];
    static const char *const names[] = {"meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm"};
    meta_close(w->meta);
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static int
count_vhost(void *ctx, const struct meta_vhost *row)
{
    ((struct counts *)ctx)->vhosts++;
    assert_int_equal(row->max_connections, -1);
    return 0;
}

static int
count_user(void *ctx, const struct meta_user *row)
{
    ((struct counts *)ctx)->users++;
    return 0;
}

static int
count_permission(void *ctx, const struct meta_permission *row)
{
    ((struct counts *)ctx)->permissions++;
    return 0;
}

static int
count_topic_permission(void *ctx, const struct meta_topic_permission *row)
{
    ((struct counts *)ctx)->topic_permissions++;
    return 0;
}

static int
count_parameter(void *ctx, const struct meta_parameter *row)
{
    ((struct counts *)ctx)->parameters++;
    return 0;
}

static int
count_exchange(void *ctx, const struct meta_exchange *row)
{
    ((struct counts *)ctx)->exchanges++;
    return 0;
}

static int
count_queue(void *ctx, const struct meta_queue *row)
{
    struct counts *c = ctx;
    c->queues++;
    snprintf(c->last_queue, sizeof c->last_queue, "%.*s", SLICE_FMT(row->name));
    return 0;
}

static int
count_binding(void *ctx, const struct meta_binding *row)
{
    ((struct counts *)ctx)->bindings++;
    return 0;
}

static struct counts
load(struct world *w)
{
    static const struct meta_loader loader = {
        count_vhost,     count_user,     count_permission, count_topic_permission,
        count_parameter, count_exchange, count_queue,      count_binding};
    struct counts c = {0};
    assert_int_equal(meta_load(w->meta, &loader, &c), 0);
    return c;
}

static void
reopen(struct world *w)
{
    char *error = NULL;
    meta_close(w->meta);
    assert_int_equal(meta_open(w->dir, &w->meta, &error), 0);
}

static void
fill(struct meta *m)
{
    struct slice v = SLICE_LIT("v"), u = SLICE_LIT("u"), all = SLICE_LIT(".*");
    assert_int_equal(
        meta_put_vhost(m, &(struct meta_vhost){.name = v, .max_connections = -1, .max_queues = -1}), 0);
    assert_int_equal(meta_put_user(m, &(struct meta_user){.name = u, .tags = SLICE_LIT("administrator")}), 0);
    assert_int_equal(meta_put_permission(m, &(struct meta_permission){u, v, all, all, all}), 0);
    assert_int_equal(
        meta_put_topic_permission(m, &(struct meta_topic_permission){u, v, SLICE_LIT("x"), all, all}), 0);
    assert_int_equal(
        meta_put_parameter(m, &(struct meta_parameter){SLICE_LIT("c"), v, SLICE_LIT("n"), SLICE_LIT("{}")}),
        0);
    assert_int_equal(
        meta_put_exchange(
            m,
            &(struct meta_exchange){.id = 7, .vhost = v, .name = SLICE_LIT("x"), .type = SLICE_LIT("topic")}),
        0);
    assert_int_equal(meta_put_queue(m, &(struct meta_queue){.id = 8, .vhost = v, .name = SLICE_LIT("q")}), 0);
    assert_int_equal(meta_put_binding(m, &(struct meta_binding){.source_id = 7,
                                                                .dest_id = 8,
                                                                .is_dest_queue = true,
                                                                .key = SLICE_LIT("a")}),
                     0);
    assert_int_equal(
        meta_put_binding(m, &(struct meta_binding){.source_id = 7, .dest_id = 8, .is_dest_queue = true}), 0);
}

static void
test_committed_is_kept(void **state)
{
    struct world *w = *state;
    assert_int_equal(meta_begin(w->meta), 0);
    fill(w->meta);
    assert_int_equal(meta_put_id_ceiling(w->meta, 10000), 0);
    assert_int_equal(meta_commit(w->meta), 0);
    reopen(w);
    struct counts c = load(w);
    uint64_t ceiling = 0;
    assert_int_equal(
        c.vhosts + c.users + c.permissions + c.topic_permissions + c.parameters + c.exchanges + c.queues, 7);
    assert_int_equal(c.bindings, 2);
    assert_string_equal(c.last_queue, "q");
    assert_int_equal(meta_get_id_ceiling(w->meta, &ceiling), 0);
    assert_int_equal(ceiling, 10000);
}

static void
test_rolled_back_is_gone(void **state)
{
    struct world *w = *state;
    assert_int_equal(meta_begin(w->meta), 0);
    fill(w->meta);
    meta_rollback(w->meta);
    struct counts c = load(w);
    assert_int_equal(c.vhosts + c.queues + c.bindings, 0);
    assert_int_equal(meta_begin(w->meta), 0); // usable afterwards
    assert_int_equal(meta_commit(w->meta), 0);
}

static void
test_deletes_take_dependants(void **state)
{
    struct world *w = *state;
    fill(w->meta);
    assert_int_equal(meta_delete_queue(w->meta, 8), 0);
    assert_int_equal(load(w).bindings, 0);
    fill(w->meta);
    assert_int_equal(meta_delete_exchange(w->meta, 7), 0);
    assert_int_equal(load(w).bindings, 0);
    fill(w->meta);
    assert_int_equal(meta_delete_user(w->meta, SLICE_LIT("u")), 0);
    assert_int_equal(load(w).permissions + load(w).topic_permissions, 0);
    fill(w->meta);
    assert_int_equal(meta_delete_vhost(w->meta, SLICE_LIT("v")), 0);
    struct counts c = load(w);
    assert_int_equal(c.vhosts + c.permissions + c.topic_permissions + c.parameters + c.exchanges + c.queues +
                         c.bindings,
                     0);
    assert_int_equal(c.users, 1);
}

// Any bytes are a name, also a NUL and the empty one.
static void
test_names_are_bytes(void **state)
{
    struct world *w = *state;
    struct meta_queue row = {.id = 1, .vhost = SLICE_EMPTY, .name = slice_of("a\0b", 3)};
    assert_int_equal(meta_put_queue(w->meta, &row), 0);
    row.id = 2;
    row.name = SLICE_EMPTY;
    assert_int_equal(meta_put_queue(w->meta, &row), 0);
    reopen(w);
    assert_int_equal(load(w).queues, 2);
}

static void
test_newer_schema_is_refused(void **state)
{
    struct world *w = *state;
    char path[128];
    char *error = NULL;
    struct meta *m = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/meta.sqlite", w->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(meta_open(w->dir, &m, &error), -LE_UNSUPPORTED);
    assert_non_null(strstr(error, "newer version"));
    mem_free(error);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int
note_rates(void *ctx, const struct meta_vhost *row)
{
    int64_t *rates = ctx;
    rates[0] = row->max_publish_rate;
    rates[1] = row->max_publish_bytes_rate;
    rates[2] = row->max_queues;
    return 0;
}

static int
note_user_rates(void *ctx, const struct meta_user *row)
{
    int64_t *rates = ctx;
    rates[3] = row->max_publish_rate;
    rates[4] = row->max_publish_bytes_rate;
    return 0;
}

// A store of the first schema knew no limits of rates: after it was opened there are none, and they can be set.
static void
test_first_schema_is_taken_over(void **state)
{
    struct world *w = *state;
    const struct meta_loader loader = {.vhost = note_rates, .user = note_user_rates};
    const struct meta_vhost limited = {.name = SLICE_LIT("v"), .max_queues = 5, .max_publish_rate = 10};
    int64_t rates[5] = {0};
    char path[128], *error = NULL;
    struct meta *m = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/old", w->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/old/meta.sqlite", w->dir);
    assert_int_equal(meta_open(w->dir, &m, &error), 0); // for the tables that did not change
    meta_close(m);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char attach[256];
    snprintf(attach, sizeof attach, "ATTACH '%s/meta.sqlite' AS new", w->dir);
    const char *const steps[] = {
        attach,
        "CREATE TABLE vhosts(name BLOB PRIMARY KEY, description BLOB, tags BLOB, default_queue_type BLOB,"
        " is_tracing INTEGER, max_connections INTEGER, max_queues INTEGER) WITHOUT ROWID",
        "CREATE TABLE users(name BLOB PRIMARY KEY, password_hash BLOB, hashing BLOB, tags BLOB,"
        " max_connections INTEGER, max_channels INTEGER) WITHOUT ROWID",
        "CREATE TABLE permissions AS SELECT * FROM new.permissions",
        "CREATE TABLE topic_permissions AS SELECT * FROM new.topic_permissions",
        "CREATE TABLE parameters AS SELECT * FROM new.parameters",
        "CREATE TABLE exchanges AS SELECT * FROM new.exchanges",
        "CREATE TABLE queues AS SELECT * FROM new.queues",
        "CREATE TABLE bindings AS SELECT * FROM new.bindings",
        "CREATE TABLE numbers AS SELECT * FROM new.numbers",
        "INSERT INTO vhosts VALUES(X'76', X'', X'', X'', 0, -1, 7)",
        "INSERT INTO users VALUES(X'75', X'', X'', X'', -1, -1)",
        "PRAGMA user_version=1",
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (sqlite3_exec(db, steps[i], NULL, NULL, NULL) != SQLITE_OK)
            fail_msg("%s: %s", steps[i], sqlite3_errmsg(db));
    }
    sqlite3_close(db);
    snprintf(path, sizeof path, "%s/old", w->dir);
    for (int round = 0; round < 2; round++) { // and once more as what it is now
        assert_int_equal(meta_open(path, &m, &error), 0);
        assert_int_equal(meta_load(m, &loader, rates), 0);
        assert_int_equal(rates[0], round == 0 ? -1 : 10);
        assert_int_equal(rates[1], round == 0 ? -1 : 0);
        assert_int_equal(rates[2], round == 0 ? 7 : 5);
        assert_int_equal(rates[3], -1);
        assert_int_equal(rates[4], -1);
        assert_int_equal(meta_begin(m), 0);
        assert_int_equal(meta_put_vhost(m, &limited), 0);
        assert_int_equal(meta_commit(m), 0);
        meta_close(m);
    }
    const char *const files[] = {"meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/old/%s", w->dir, files[i]);
        (void)unlink(path);
    }
    snprintf(path, sizeof path, "%s/old", w->dir);
    assert_int_equal(rmdir(path), 0);
}

static void
test_unusable_directory_is_said(void **state)
{
    struct meta *m = NULL;
    char *error = NULL;
    assert_int_equal(meta_open("/nonexistent/leveret", &m, &error), -LE_ACCESS);
    assert_non_null(strstr(error, "/nonexistent/leveret/meta.sqlite"));
    mem_free(error);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_committed_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rolled_back_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletes_take_dependants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_schema_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_schema_is_taken_over, setup, teardown),
        cmocka_unit_test(test_unusable_directory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
