// topology_fixture.h: a crew with queues and a topology writer, driven turn by turn from one thread.
//
// tf_do submits a request as one member and runs turns until it is answered. After each test tf_check compares the writer's own
// notes with the version it made, and tf_close that nothing is left.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "queue/queue.h"
#include "queue/queue_worker.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/queue_settings.h"
#include "src/broker/topology_writer.h"
#include "src/store/meta_impl.h"

struct tf {
    struct crew *crew;
    struct worker *writer;
    char dir[64]; // empty: nothing is kept
    bool fails_commits;
    unsigned commits;
    unsigned vhosts_deleted, users_deleted;
    char last_deleted[64];
};

static struct tf tf;

struct tf_config {
    int workers;
    enum queue_placement placement;
    uint64_t chaos_seed;
    size_t mailbox_capacity;
    bool is_kept;
    bool has_no_defaults;
    const struct topology_default_policy *policies; // of the configuration
    size_t policy_count;
};

// --- what the queues tell ---------------------------------------------------------------------------------------------

static void
tf_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
}

static void
tf_deliver(struct worker *w, const struct delivery *d)
{
    message_unref(d->msg);
}

static void
tf_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
}

static void
tf_unused_grant(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
}

static void
tf_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason)
{
}

static const struct queue_client tf_client = {
    .published = tf_published,
    .deliver = tf_deliver,
    .ready = tf_ready,
    .unused = tf_unused_grant,
    .cancelled = tf_cancelled,
    .is_unused = topology_queue_unused,
};

static void
tf_vhost_deleted(void *ctx, struct slice name)
{
    tf.vhosts_deleted++;
    snprintf(tf.last_deleted, sizeof tf.last_deleted, "%.*s", SLICE_FMT(name));
}

static void
tf_user_deleted(void *ctx, struct slice name)
{
    tf.users_deleted++;
    snprintf(tf.last_deleted, sizeof tf.last_deleted, "%.*s", SLICE_FMT(name));
}

// --- open and close ---------------------------------------------------------------------------------------------------

static LV_UNUSED struct topology_writer *
tf_tw(void)
{
    return tf.writer->extra_state;
}

static int
tf_commit_hook(void *ctx)
{
    tf.commits++;
    return tf.fails_commits;
}

// A crew with a topology; tf.dir stays as it is, so that a store can be opened again.
static void
tf_start(const struct tf_config *config)
{
    struct crew_config crew = {.n_workers = config->workers,
                               .chaos_seed = config->chaos_seed,
                               .mailbox_capacity = config->mailbox_capacity};
    tf.crew = crew_new(&crew);
    tf.writer = crew_extra_member(tf.crew, CREW_TOPOLOGY);
    for (int i = 0; i < tf.crew->n_members; i++) {
        struct queue_worker_config queues = {.client = &tf_client};
        if (tf.crew->members[i] != tf.writer)
            queue_worker_init(tf.crew->members[i], &queues);
    }
    struct topology_config topology = {
        .data_dir = tf.dir[0] != '\0' ? tf.dir : NULL,
        .placement = config->placement,
        .vhost_deleted = tf_vhost_deleted,
        .user_deleted = tf_user_deleted,
        .default_policies = config->policies,
        .default_policy_count = config->policy_count,
    };
    if (!config->has_no_defaults) {
        topology.default_vhost = SLICE_LIT("/");
        topology.default_user = SLICE_LIT("guest");
        topology.default_pass = SLICE_LIT("secret");
    }
    char *error = NULL;
    int result = topology_start(tf.crew, &topology, &error);
    if (result < 0)
        fail_msg("topology_start: %s", error);
    assert_null(error);
    for (int i = 0; i < tf.crew->n_members; i++) {
        if (tf.crew->members[i] != tf.writer)
            topology_worker_init(tf.crew->members[i]);
    }
    tf.fails_commits = false;
    if (tf_tw()->meta != NULL)
        sqlite3_commit_hook(tf_tw()->meta->db, tf_commit_hook, NULL);
}

static LV_UNUSED void
tf_open(const struct tf_config *config)
{
    tf = (struct tf){0};
    if (config->is_kept) {
        snprintf(tf.dir, sizeof tf.dir, "/tmp/test_topology.XXXXXX");
        assert_non_null(mkdtemp(tf.dir));
    }
    tf_start(config);
}

static void tf_remove_dir(void);

static LV_UNUSED void
tf_stop(void)
{
    for (int i = 0; i < tf.crew->n_members; i++)
        queue_worker_fini(tf.crew->members[i]);
    topology_stop(tf.crew);
    topology_stop(tf.crew); // harmless
    crew_free(tf.crew);
    tf.crew = NULL;
}

// With things under way: answers that nobody took are freed with the rest.
static LV_UNUSED void
tf_stop_quietly(void)
{
    tf_stop();
    tf_remove_dir();
}

static LV_UNUSED void
tf_remove_dir(void)
{
    static const char *const names[] = {"meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm",
                                        "meta.sqlite-journal"};
    char path[128];
    for (size_t i = 0; i < LV_ARRAY_LEN(names) && tf.dir[0] != '\0'; i++) {
        snprintf(path, sizeof path, "%s/%s", tf.dir, names[i]);
        unlink(path);
    }
    if (tf.dir[0] != '\0')
        assert_int_equal(rmdir(tf.dir), 0);
    tf.dir[0] = '\0';
}

// --- running ----------------------------------------------------------------------------------------------------------

static LV_UNUSED void
tf_round(void)
{
    for (int i = 0; i < tf.crew->n_members; i++)
        worker_turn(tf.crew->members[i]);
}

static LV_UNUSED bool
tf_is_quiet(void)
{
    struct topology_writer *tw = tf_tw();
    return list_is_empty(&tw->inbox) && list_is_empty(&tw->settled) && list_is_empty(&tw->deletions) &&
           list_is_empty(&tw->creations) && list_is_empty(&tw->sweeps) && list_is_empty(&tw->history) &&
           tw->pending == NULL;
}

static LV_UNUSED void
tf_settle(void)
{
    for (int quiet = 0, i = 0; quiet < 40; i++) {
        assert_true(i < 100000);
        tf_round();
        quiet = tf_is_quiet() ? quiet + 1 : 0;
    }
}

// --- requests ---------------------------------------------------------------------------------------------------------

struct tf_answer {
    bool is_done;
    uint16_t code;
    char text[256];
    bool is_created;
    uint64_t message_count, version;
};

static void
tf_done(struct topology_request *r)
{
    struct tf_answer *a = r->ctx;
    assert_false(a->is_done);
    assert_ptr_equal(worker_self, r->requester);
    // Everybody sees what is answered.
    for (int i = 0; i < tf.crew->n_members; i++) {
        struct topology_reader *reader = &topology_writer_of(tf.crew)->readers[i];
        assert_true(!reader->is_reader || atomic_load(&reader->adopted) >= r->version);
    }
    a->is_done = true;
    a->code = r->fault.code;
    a->is_created = r->is_created;
    a->message_count = r->message_count;
    a->version = r->version;
    snprintf(a->text, sizeof a->text, "%s", r->fault.code == FAULT_NONE ? "" : r->fault.text);
    topology_request_free(r);
}

static LV_UNUSED void
tf_submit(int member, const struct topology_request *args, struct tf_answer *answer)
{
    struct topology_request copy = *args;
    *answer = (struct tf_answer){0};
    copy.done = tf_done;
    copy.ctx = answer;
    struct topology_request *r = topology_request_new(&copy);
    assert_non_null(r);
    worker_self = tf.crew->members[member];
    topology_submit(r);
    worker_self = NULL;
}

static LV_UNUSED struct tf_answer
tf_do(int member, const struct topology_request *args)
{
    struct tf_answer a;
    tf_submit(member, args, &a);
    for (int i = 0; !a.is_done; i++) {
        assert_true(i < 100000);
        tf_round();
    }
    return a;
}

#define ROOT .vhost = SLICE_LIT("/"), .user = SLICE_LIT("guest")

// What the tests provoke is told in the log, as it should be: nothing of it is written. 0, or the error of log_configure.
static LV_UNUSED int
tf_quiet(void)
{
    struct log_config quiet = {.console_level = LOG_NONE, .file_level = LOG_NONE};
    for (int i = 0; i < LOG_CATEGORY_COUNT; i++)
        quiet.category_level[i] = LOG_NONE;
    return log_configure(&quiet);
}

static LV_UNUSED void
tf_ok(struct tf_answer a)
{
    if (a.code != FAULT_NONE)
        fail_msg("%u %s", a.code, a.text);
}

#define assert_fault(answer, number, words)                                                                  \
    do {                                                                                                     \
        struct tf_answer fault_answer = (answer);                                                            \
        assert_string_equal(fault_answer.text, words);                                                       \
        assert_int_equal(fault_answer.code, number);                                                         \
    } while (0)

static LV_UNUSED struct tf_answer
tf_queue(int member, const char *name, uint32_t flags, uint64_t conn)
{
    return tf_do(member, &(struct topology_request){.change = CHANGE_QUEUE_DECLARE,
                                                    ROOT,
                                                    .name = slice_str(name),
                                                    .flags = flags,
                                                    .owner_conn = conn});
}

static LV_UNUSED struct tf_answer
tf_delete_queue(int member, const char *name, uint32_t flags, uint64_t conn)
{
    return tf_do(member, &(struct topology_request){.change = CHANGE_QUEUE_DELETE,
                                                    ROOT,
                                                    .name = slice_str(name),
                                                    .flags = flags,
                                                    .owner_conn = conn});
}

// {"x-delayed-type": "topic"}
static LV_UNUSED struct slice
tf_delayed_topic(void)
{
    static const uint8_t table[] = "\x0ex-delayed-typeS\0\0\0\5topic";
    return slice_of(table, sizeof table - 1);
}

static LV_UNUSED struct tf_answer
tf_exchange(const char *name, const char *type, uint32_t flags)
{
    return tf_do(0, &(struct topology_request){.change = CHANGE_EXCHANGE_DECLARE,
                                               ROOT,
                                               .name = slice_str(name),
                                               .type = slice_str(type),
                                               .arguments = slice_eq_str(slice_str(type), "x-delayed-message")
                                                                ? tf_delayed_topic()
                                                                : SLICE_EMPTY,
                                               .flags = flags});
}

static LV_UNUSED struct tf_answer
tf_delete_exchange(const char *name, uint32_t flags)
{
    return tf_do(0, &(struct topology_request){
                        .change = CHANGE_EXCHANGE_DELETE, ROOT, .name = slice_str(name), .flags = flags});
}

static LV_UNUSED struct tf_answer
tf_bind(enum topology_change change, const char *source, const char *dest, const char *key, uint32_t flags)
{
    return tf_do(0, &(struct topology_request){.change = change,
                                               ROOT,
                                               .name = slice_str(source),
                                               .dest_name = slice_str(dest),
                                               .key = slice_str(key),
                                               .flags = flags,
                                               .owner_conn = 1});
}

// --- looking ----------------------------------------------------------------------------------------------------------

static LV_UNUSED const struct vhost *
tf_vhost(const char *name)
{
    return topology_vhost(tf_tw()->newest, slice_str(name));
}

static LV_UNUSED const struct queue_def *
tf_def(const char *name)
{
    return vhost_queue(tf_vhost("/"), slice_str(name));
}

static LV_UNUSED const struct exchange *
tf_x(const char *name)
{
    return vhost_exchange(tf_vhost("/"), slice_str(name));
}

static LV_UNUSED uint64_t
tf_bindings(const char *exchange)
{
    return tf_x(exchange)->router.count;
}

static LV_UNUSED uint64_t
tf_owner_queues(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < tf.crew->n_workers; i++)
        sum += queue_worker_queue_count(tf.crew->members[i]);
    return sum;
}

static LV_UNUSED size_t
tf_list_len(struct list *l)
{
    size_t n = 0;
    LV_LIST_EACH (it, l)
        n++;
    return n;
}

struct tf_count {
    const struct vhost *v;
    size_t bindings;
};

static bool
tf_check_binding(const struct binding *b, void *ctx)
{
    struct tf_count *count = ctx;
    const struct exchange *source = vhost_exchange_by_id(count->v, b->source_id);
    assert_non_null(source);
    assert_true(slice_eq(source->name, b->source_name));
    if (b->dest == BINDING_TO_QUEUE) {
        assert_ptr_equal(vhost_queue(count->v, b->dest_name), b->queue);
        assert_int_equal(b->queue->id, b->dest_id);
    } else {
        const struct exchange *dest = vhost_exchange(count->v, b->dest_name);
        assert_non_null(dest);
        assert_int_equal(dest->id, b->dest_id);
    }
    assert_true(list_is_linked(&b->dest_node));
    count->bindings++;
    return true;
}

// What a running queue lives by is what its arguments and the policies say now.
static void
tf_check_rules(const struct vhost *v, const struct queue_def *def)
{
    struct policy_pair pair = vhost_queue_policies(v, tf_tw()->matcher, def);
    struct queue *q =
        queue_worker_find(queue_worker_of(tf.crew->members[handle_worker(def->handle)]), def->handle);
    struct queue_rules *want = queue_settings_rules(def, &pair);
    assert_non_null(q);
    assert_int_equal(q->rules != NULL, want != NULL);
    if (want != NULL) {
        assert_true(queue_rules_equal(q->rules, want));
        assert_true(slice_eq(q->rules->policy, want->policy));
        assert_true(slice_eq(q->rules->operator_policy, want->operator_policy));
    }
    for (int kind = 0; kind < POLICY_KINDS; kind++)
        assert_int_equal(queue_entry_of(def)->told[kind], pair.of[kind] != NULL ? pair.of[kind]->serial : 0);
    mem_free(want);
}

static void
tf_check_alternate(const struct vhost *v, const struct exchange *x)
{
    struct policy_pair pair = vhost_exchange_policies(v, tf_tw()->matcher, x);
    const struct policy_value *value = policy_effective(&pair, POLICY_ALTERNATE_EXCHANGE);
    struct slice want = value != NULL && !x->is_default ? value->text : SLICE_EMPTY;
    struct slice own;
    if (table_find_longstr(x->arguments, SLICE_LIT("alternate-exchange"), &own))
        want = own;
    assert_true(slice_eq(x->alternate, want));
}

// All queues and exchanges live by the policies of their vhost, each of which is one of its parameters.
static void
tf_check_policies(const struct vhost *v)
{
    const struct vhost_entry *e = LV_CONTAINER_OF(v, struct vhost_version, v)->entry;
    struct pmap_iter it;
    pmap_iter_init(&it, &v->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        tf_check_rules(v, def);
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        tf_check_alternate(v, x);
    assert_null(e->sweep);
    assert_int_equal(tf_list_len((struct list *)&e->queue_list), v->queues.count);
    assert_int_equal(tf_list_len((struct list *)&e->exchange_list), v->exchanges.count);
    for (int kind = 0; kind < POLICY_KINDS; kind++) {
        for (size_t i = 0; v->policies[kind] != NULL && i < v->policies[kind]->count; i++) {
            const struct policy *p = v->policies[kind]->items[i];
            struct slice component = policy_component((enum policy_kind)kind);
            struct buf value = BUF_INIT;
            policy_put_value(&value, p);
            const struct parameter *parameter =
                topology_parameter(tf_tw()->newest, component, v->name, p->name);
            assert_non_null(parameter);
            assert_true(slice_eq(parameter->value, buf_slice(&value)));
            buf_fini(&value);
        }
    }
}

// The writer's notes are those of the newest version: every binding in its destination's list, every queue counted.
static LV_UNUSED void
tf_check(void)
{
    struct topology_writer *tw = tf_tw();
    size_t queues = 0, exchanges = 0, exclusive = 0, noted = 0;
    struct pmap_iter vhosts, it;
    pmap_iter_init(&vhosts, &tw->newest->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&vhosts)) != NULL;) {
        struct tf_count count = {v, 0};
        size_t listed = 0, delays = 0;
        assert_int_equal(v->exchanges.count, v->exchanges_by_id.count);
        exchanges += v->exchanges.count;
        pmap_iter_init(&it, &v->exchanges);
        for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;) {
            size_t before = count.bindings;
            assert_ptr_equal(vhost_exchange_by_id(v, x->id), x);
            assert_ptr_equal(&exchange_entry_of(x)->now->x, x);
            struct queue_entry *delay = exchange_entry_of(x)->delay;
            assert_ptr_equal(x->delay_queue, delay != NULL ? &delay->def : NULL);
            assert_true(delay == NULL || delay->delays == exchange_entry_of(x));
            assert_true(x->is_delayed || x->type != EXCHANGE_DELAYED);
            delays += delay != NULL;
            router_each(&x->router, tf_check_binding, &count);
            assert_int_equal(count.bindings - before, x->router.count);
            listed += tf_list_len(&exchange_entry_of(x)->incoming);
        }
        pmap_iter_init(&it, &v->queues);
        for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;) {
            assert_false(queue_entry_of(def)->is_new);
            listed += tf_list_len(&queue_entry_of(def)->bindings);
            exclusive += def->owner_conn != 0;
            queues++;
        }
        assert_int_equal(listed, count.bindings);
        if (tf_is_quiet())
            assert_int_equal(v->delay_queues.count, delays);
        if (tf_is_quiet())
            tf_check_policies(v);
        queues += v->delay_queues.count;
    }
    uint64_t placed = 0;
    for (int i = 0; i < tf.crew->n_workers; i++)
        placed += tw->queues_of[i];
    assert_int_equal(placed, queues);
    assert_int_equal(tw->exchange_count, exchanges);
    size_t cursor = 0;
    uint64_t id;
    void *conn;
    while (inttab_next(&tw->conns, &cursor, &id, &conn))
        noted += tf_list_len(&((struct conn_entry *)conn)->queues);
    assert_int_equal(noted, exclusive);
    assert_int_equal(tw->slot_count - tw->free_slot_count, queues);
    if (tf_is_quiet())
        assert_int_equal(tf_owner_queues(), queues);
}

static LV_UNUSED void
tf_close(void)
{
    tf_settle();
    tf_check();
    tf_stop();
    tf_remove_dir();
}

// --- the same in several set-ups --------------------------------------------------------------------------------------

static const struct tf_config *tf_setup; // of the present run

static LV_UNUSED int
tf_run_all(int (*run)(const char *what))
{
    static const struct {
        const char *what;
        struct tf_config config;
    } runs[] = {
        {"one worker", {.workers = 1}},
        {"three workers", {.workers = 3}},
        {"three workers, queues elsewhere, slow mailboxes",
         {.workers = 3, .placement = PLACE_REMOTE, .chaos_seed = 42}},
        {"two workers, local queues, with a store",
         {.workers = 2, .placement = PLACE_LOCAL, .is_kept = true}},
    };
    int failed = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(runs); i++) {
        tf_setup = &runs[i].config;
        failed += run(runs[i].what);
    }
    return failed;
}
