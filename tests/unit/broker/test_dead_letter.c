// test_dead_letter.c: from a queue through its dead-letter exchange, over workers: circles, refusals, many targets, the end in the middle.
#include "tests/unit/broker/session_fixture.h"

#include "amqp/wire/props.h"
#include "queue/dying.h"
#include "src/base/log.h"

// A queue whose dead letters go to queue `target` ("": by their own key through `exchange`).
static void
dying_queue(struct sf_session *s, const char *name, const char *exchange, const char *target,
            bool is_at_least_once)
{
    struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    table_put_str(&w, SLICE_LIT("x-dead-letter-exchange"), exchange);
    if (target[0] != '\0')
        table_put_str(&w, SLICE_LIT("x-dead-letter-routing-key"), target);
    if (is_at_least_once) {
        table_put_str(&w, SLICE_LIT("x-queue-type"), "quorum");
        table_put_str(&w, SLICE_LIT("x-dead-letter-strategy"), "at-least-once");
        table_put_str(&w, SLICE_LIT("x-overflow"), "reject-publish");
    }
    struct session_queue_args a = {
        .queue = slice_str(name), .arguments = buf_slice(&arguments), .is_durable = is_at_least_once};
    assert_int_equal(SF_DO(s, session_queue_declare(s->session, &a)), 0);
    buf_fini(&arguments);
}

static struct queue *
queue_named(struct sf_session *s, const char *name, struct queue_worker **ret_qw)
{
    worker_self = s->worker;
    const struct vhost *v = topology_vhost(topology_of(s->worker), SLICE_LIT("/"));
    const struct queue_def *def = vhost_queue(v, slice_str(name));
    assert_non_null(def);
    *ret_qw = queue_worker_of(sf.crew->members[handle_worker(def->handle)]);
    worker_self = (*ret_qw)->w;
    struct queue *q = queue_worker_find(*ret_qw, def->handle); // its CREATE may be on its way
    assert_non_null(q);
    return q;
}

static uint64_t
ready_of(struct sf_session *s, const char *name)
{
    struct queue_worker *qw;
    return queue_ready_count(queue_named(s, name, &qw));
}

static void
wait_ready(struct sf_session *s, const char *name, uint64_t count)
{
    for (int i = 0; ready_of(s, name) != count; i++) {
        if (i > 5000)
            fail_msg("%" PRIu64 " in %s, %" PRIu64 " expected", ready_of(s, name), name, count);
        sf_round();
    }
    sf_rounds(30);
    assert_int_equal(ready_of(s, name), count);
}

// The first ready message dies of `reason`, as expiry and length limits let it.
static void
bury(struct sf_session *s, const char *name, enum death_reason reason)
{
    struct queue_worker *qw;
    struct queue *q = queue_named(s, name, &qw);
    struct ready_entry e = *ready_peek(&q->ready);
    ready_pop(&q->ready, &qw->ready_pools);
    sum_sub(&q->ready_sum, &e, message_weight(ready_entry_message(&e)));
    queue_bury_entry(qw, q, &e, reason);
    sf_rounds(40);
}

static uint64_t
lost(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < sf.crew->n_workers; i++) {
        struct dead_totals t;
        queue_worker_dead_totals(sf.crew->members[i], &t);
        sum += t.lost;
    }
    return sum;
}

static void
test_circles_are_cut(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    dying_queue(s, "a", "", "b", false);
    dying_queue(s, "b", "", "a", false);
    dying_queue(s, "self", "", "self", false);
    assert_true(sf_publish(s, "", "a", "1", false));
    wait_ready(s, "a", 1);
    bury(s, "a", DEATH_EXPIRED);
    wait_ready(s, "b", 1);
    bury(s, "b", DEATH_MAXLEN); // back to a, where it died by itself
    assert_int_equal(ready_of(s, "a") + ready_of(s, "b"), 0);
    assert_int_equal(lost(), 1);
    assert_true(sf_publish(s, "", "self", "1", false));
    wait_ready(s, "self", 1);
    bury(s, "self", DEATH_EXPIRED);
    assert_int_equal(ready_of(s, "self"), 0);
    assert_int_equal(lost(), 2);
    // With a rejection in between it goes round as long as somebody rejects.
    assert_true(sf_publish(s, "", "a", "2", false));
    for (int i = 0; i < 10; i++) {
        wait_ready(s, "a", 1);
        bury(s, "a", DEATH_EXPIRED);
        wait_ready(s, "b", 1);
        assert_int_equal(sf_get(s, "b", false), 0);
        assert_true(sf_settle(s, s->delivery_tag, false, SETTLE_REJECT));
    }
    wait_ready(s, "a", 1);
    assert_int_equal(lost(), 2);
    sf_end(s);
    sf_close();
}

static void
test_nowhere_to_go(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    dying_queue(s, "missing", "no-such-exchange", "", false);
    dying_queue(s, "unbound", "amq.fanout", "", false);
    for (int i = 0; i < 10; i++) {
        assert_true(sf_publish(s, "", "missing", "m", false));
        assert_true(sf_publish(s, "", "unbound", "m", false));
    }
    wait_ready(s, "unbound", 10);
    wait_ready(s, "missing", 10);
    for (int i = 0; i < 10; i++) {
        bury(s, "missing", DEATH_EXPIRED);
        bury(s, "unbound", DEATH_DELIVERY_LIMIT);
    }
    assert_int_equal(lost(), 20);
    sf_end(s);
    sf_close();
}

static void
test_many_targets(void **state)
{
    enum { TARGETS = 300, MESSAGES = 20 };
    sf_open(world);
    struct sf_session *s = sf_session(0);
    char name[16];
    dying_queue(s, "source", "amq.fanout", "", false);
    for (int i = 0; i < TARGETS; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(sf_queue(s, name, false), 0);
        assert_int_equal(sf_bind(s, "amq.fanout", name, ""), 0);
    }
    for (int i = 0; i < MESSAGES; i++)
        assert_true(sf_publish(s, "", "source", "m", false));
    wait_ready(s, "source", MESSAGES);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(sf_get(s, "source", false), 0);
    assert_true(sf_settle(s, s->delivery_tag, true, SETTLE_REJECT));
    for (int i = 0; i < TARGETS; i++) {
        snprintf(name, sizeof name, "t%d", i);
        wait_ready(s, name, MESSAGES);
    }
    assert_int_equal(lost(), 0);
    sf_end(s);
    sf_close();
}

// Targets that have it are not asked again: one of two is there at first, and the message is in it once.
static void
test_at_least_once(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    dying_queue(s, "source", "amq.direct", "", true);
    assert_true(sf_publish(s, "", "source", "m", false));
    wait_ready(s, "source", 1);
    bury(s, "source", DEATH_EXPIRED);
    struct queue_worker *qw;
    struct queue *q = queue_named(s, "source", &qw);
    assert_int_equal(q->dying->count, 1);
    assert_int_equal(q->dying->retry_count, 1);
    assert_int_equal(lost(), 0);
    assert_int_equal(sf_queue(s, "target", false), 0);
    assert_int_equal(sf_bind(s, "amq.direct", "target", "source"), 0);
    for (int i = 0; q->dying->count > 0; i++) {
        assert_true(i < 1000);
        LV_LIST_EACH (it, &q->dying->retrying)
            LV_CONTAINER_OF(it, struct dying_entry, node)->retry_ns = 0;
        sf_round();
    }
    wait_ready(s, "target", 1);
    struct dead_totals t;
    queue_worker_dead_totals(qw->w, &t);
    assert_int_equal(t.confirmed[1], 1);
    assert_int_equal(t.messages[1][2][DEATH_EXPIRED], 1);
    sf_end(s);
    sf_close();
}

// Of what was refused for want of memory a target may have some; those alone that did not take it get it again.
static void
test_each_target_once(void **state)
{
    enum { TARGETS = 20 };
    sf_open(world);
    struct sf_session *s = sf_session(0);
    char name[16];
    dying_queue(s, "source", "amq.fanout", "", true);
    for (int i = 0; i < TARGETS; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(sf_queue(s, name, false), 0);
        assert_int_equal(sf_bind(s, "amq.fanout", name, ""), 0);
    }
    for (uint64_t n = 1; n <= 40; n++) {
        assert_true(sf_publish(s, "", "source", "m", false));
        wait_ready(s, "source", 1);
        struct queue_worker *qw;
        struct queue *q = queue_named(s, "source", &qw);
        struct ready_entry e = *ready_peek(&q->ready);
        ready_pop(&q->ready, &qw->ready_pools);
        sum_sub(&q->ready_sum, &e, message_weight(ready_entry_message(&e)));
        queue_bury_entry(qw, q, &e, DEATH_REJECTED);
        mem_test_fail_after(n); // the n-th allocation of what follows
        dying_run(qw, q);
        mem_test_fail_after(0);
        for (int i = 0; q->dying->count > 0; i++) {
            assert_true(i < 1000);
            LV_LIST_EACH (it, &q->dying->retrying)
                LV_CONTAINER_OF(it, struct dying_entry, node)->retry_ns = 0;
            sf_round();
        }
        for (int i = 0; i < TARGETS; i++) {
            snprintf(name, sizeof name, "t%d", i);
            wait_ready(s, name, 1);
            struct queue_worker *owner;
            struct queue *target = queue_named(s, name, &owner);
            assert_int_equal(queue_purge(owner, target), 1); // so that the next one needs memory again
        }
    }
    assert_int_equal(lost(), 0);
    sf_end(s);
    sf_close();
}

// The end of the process, with letters on their way in rings.
static void
test_end_in_the_middle(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    dying_queue(s, "source", "", "target", false);
    assert_int_equal(sf_queue(s, "target", false), 0);
    for (int i = 0; i < 600; i++)
        assert_true(sf_publish(s, "", "source", "m", false));
    wait_ready(s, "source", 600);
    for (int i = 0; i < 600; i++)
        assert_int_equal(sf_get(s, "source", false), 0);
    assert_true(sf_settle(s, s->delivery_tag, true, SETTLE_REJECT));
    sf_end(s);
    sf_close();
}

int
main(void)
{
    const struct log_config quiet = {.file_level = LOG_NONE, .console_level = LOG_NONE};
    if (log_configure(&quiet) != 0)
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circles_are_cut),  cmocka_unit_test(test_nowhere_to_go),
        cmocka_unit_test(test_many_targets),     cmocka_unit_test(test_at_least_once),
        cmocka_unit_test(test_each_target_once), cmocka_unit_test(test_end_in_the_middle),
    };
    return sf_run_worlds("dead_letter", tests, LV_ARRAY_LEN(tests));
}
