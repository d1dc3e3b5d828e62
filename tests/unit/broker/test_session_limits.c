// test_session_limits.c: what sessions count and why; limits of rates; interceptors; the dry run of routing against real publishes.
#include "tests/unit/broker/session_fixture.h"

#include "src/broker/dry_run.h"
#include "src/broker/session_impl.h"

// --- what the workers have counted, added up ------------------------------------------------------------------------------------

static struct broker_worker *
state_of(int worker)
{
    return sf.crew->members[worker]->broker_state;
}

static uint64_t
reasons_of(enum reason_kind kind)
{
    uint64_t sum = 0;
    for (int i = 0; i < sf.crew->n_workers; i++)
        sum += reasons_count(state_of(i)->reasons, kind);
    return sum;
}

// Of an exchange, by its name; "none": of those that have gone.
static struct exchange_counts
counts_of(const char *exchange)
{
    struct exchange_counts sum = {0};
    for (int i = 0; i < sf.crew->n_workers; i++) {
        struct counters *c = &state_of(i)->counters;
        size_t cursor = 0;
        uint64_t key;
        void *value;
        while (inttab_next(&c->exchanges, &cursor, &key, &value)) {
            const struct exchange_counts *x = value;
            if (!slice_eq_str(x->name, exchange))
                continue;
            sum.in += x->in;
            sum.out += x->out;
        }
        if (strcmp(exchange, "none") == 0) {
            sum.in += c->none.in;
            sum.out += c->none.out;
        }
    }
    return sum;
}

// LIST_COUNTERS of every worker.
static void
list_counters(struct buf *out)
{
    for (int i = 0; i < sf.crew->n_workers; i++) {
        worker_self = sf.crew->members[i];
        broker_list(worker_self, LIST_COUNTERS, out);
        worker_self = NULL;
    }
}

// The sum of a number in such a listing.
static uint64_t
number_in(struct buf *listing, const char *key)
{
    uint64_t sum = 0;
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    for (const char *at = buf_cstr(listing); (at = strstr(at, quoted)) != NULL;) {
        at += strlen(quoted);
        sum += strtoull(at, NULL, 10);
    }
    return sum;
}

static void
declare_exchange(struct sf_session *s, const char *name, const char *type, const char *alternate)
{
    struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    if (alternate != NULL)
        table_put_str(&w, SLICE_LIT("alternate-exchange"), alternate);
    struct session_exchange_args a = {
        .exchange = slice_str(name), .type = slice_str(type), .arguments = buf_slice(&arguments)};
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &a)), 0);
    buf_fini(&arguments);
}

// --- counters -----------------------------------------------------------------------------------------------------------------

static void
test_exchange_counters(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *t = sf_session(1);
    assert_int_equal(sf_queue(s, "a", false), 0);
    assert_int_equal(sf_queue(s, "b", false), 0);
    declare_exchange(s, "x", "fanout", NULL);
    declare_exchange(s, "y", "direct", NULL);
    assert_int_equal(sf_bind(s, "x", "a", ""), 0);
    assert_int_equal(sf_bind(s, "x", "b", ""), 0);
    for (int i = 0; i < 10; i++) { // the first the slow way, the others by the memo
        assert_true(sf_publish(s, "x", "k", "m", false));
        assert_true(sf_publish(t, "x", "k", "m", false));
    }
    assert_true(sf_publish(s, "y", "k", "m", false));
    assert_true(sf_publish(s, "y", "k", "m", true));
    assert_true(sf_publish(s, "", "a", "m", false));
    assert_false(sf_publish(s, "nosuch", "a", "m", false)); // counts for no exchange
    struct exchange_counts x = counts_of("x"), y = counts_of("y"), none = counts_of("");
    assert_int_equal(x.in, 20);
    assert_int_equal(x.out, 40);
    assert_int_equal(y.in, 2);
    assert_int_equal(y.out, 0);
    assert_int_equal(none.in, 1);
    assert_int_equal(none.out, 1);
    assert_int_equal(reasons_of(REASON_DROP_UNROUTABLE), 1);
    assert_int_equal(reasons_of(REASON_RETURN_UNROUTABLE), 1);
    // An exchange that was deleted and made again begins with nothing; what was counted is kept in the sums.
    assert_int_equal(SF_DO(s, session_exchange_delete(s->session, SLICE_LIT("x"), false)), 0);
    declare_exchange(s, "x", "fanout", NULL);
    assert_true(sf_publish(t, "x", "k", "m", false));
    struct buf out = BUF_INIT;
    list_counters(&out);
    assert_int_equal(counts_of("x").in, 1);
    assert_int_equal(counts_of("none").in, 20);
    assert_int_equal(number_in(&out, "messages_routed_total"), 41);
    buf_fini(&out);
    sf_end(s);
    sf_end(t);
    sf_close();
}

// Sums do not change when sessions and connections go.
static void
test_sums_outlive_sessions(void **state)
{
    sf_open(world);
    uint64_t before[5] = {0};
    static const char *const keys[5] = {
        "messages_received_total", "messages_confirmed_total", "messages_received_confirm_total",
        "messages_delivered_get_manual_ack_total", "messages_get_empty_total"};
    struct sf_session *keeper = sf_session(0), *s = sf_session(1);
    struct fault f;
    assert_int_equal(sf_queue(keeper, "q", false), 0);
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    for (int i = 0; i < 5; i++)
        assert_true(sf_publish(s, "", "q", "m", false));
    sf_rounds(50);
    assert_int_equal(sf_get(s, "q", false), 0);
    assert_int_equal(sf_queue(keeper, "empty", false), 0);
    assert_int_equal(sf_get(s, "empty", false), 0);
    for (int round = 0; round < 2; round++) {
        struct buf out = BUF_INIT;
        list_counters(&out);
        for (int i = 0; i < 5; i++) {
            if (round == 0)
                before[i] = number_in(&out, keys[i]);
            assert_int_equal(number_in(&out, keys[i]), before[i]);
        }
        assert_int_equal(number_in(&out, "publishers"), round == 0 ? 1 : 0);
        buf_fini(&out);
        if (round == 0)
            sf_end(s);
    }
    assert_int_equal(before[0], 5);
    assert_int_equal(before[1], 5);
    assert_int_equal(before[2], 5);
    assert_int_equal(before[3], 1);
    assert_int_equal(before[4], 1);
    sf_end(keeper);
    sf_close();
}

// Many exchanges that come and go: the table does not grow with them.
static void
test_gone_exchanges_are_purged(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    char name[32];
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof name, "x%d", i);
        declare_exchange(s, name, "direct", NULL);
        assert_true(sf_publish(s, name, "k", "m", false));
        assert_int_equal(SF_DO(s, session_exchange_delete(s->session, slice_str(name), false)), 0);
    }
    uint64_t in = state_of(0)->counters.none.in;
    assert_true(state_of(0)->counters.exchanges.count <= 257);
    assert_int_equal(in + state_of(0)->counters.exchanges.count, 700);
    sf_end(s);
    sf_close();
}

// A queue that goes while messages for it are on the way.
static void
test_queue_gone(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *t = sf_session(1);
    struct fault f;
    SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    uint64_t refused = 0;
    for (int round = 0; round < 20 && refused == 0; round++) {
        assert_int_equal(sf_queue(t, "q", false), 0);
        assert_true(sf_publish(s, "", "q", "m", false));
        t->is_done = false;
        SF_AS(t, session_queue_delete(t->session, SLICE_LIT("q"), false, false));
        for (int i = 0; !t->is_done; i++) { // publishes by the memo until the deletion is seen everywhere
            assert_true(sf_publish(s, "", "q", "m", false));
            sf_round();
        }
        sf_rounds(20);
        refused = reasons_of(REASON_DROP_QUEUE_GONE);
    }
    assert_true(refused > 0);
    for (size_t i = 0; i < s->event_count; i++)
        assert_int_equal(s->events[i].kind, 'a'); // as in RabbitMQ: it is confirmed
    sf_end(s);
    sf_end(t);
    sf_close();
}

// --- limits of rates ------------------------------------------------------------------------------------------------------------

static void
set_rate(enum topology_change change, const char *name, int64_t messages, int64_t bytes)
{
    struct sf_session *s = sf_session(0);
    struct topology_request args = {.change = change,
                                    .flags = CHANGE_RATE_LIMITS,
                                    .name = slice_str(name),
                                    .number = messages,
                                    .number2 = bytes,
                                    .session = s->session->handle,
                                    .done = topology_request_free};
    SF_AS(s, topology_submit(topology_request_new(&args)));
    sf_rounds(50);
    sf_end(s);
}

static bool
must_wait(struct sf_session *s)
{
    bool result = false;
    SF_AS(s, result = client_must_wait(s->client));
    return result;
}

static void
test_rates(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0), *t = sf_session(1);
    assert_int_equal(sf_queue(s, "q", false), 0);
    assert_false(must_wait(s));
    set_rate(CHANGE_USER_LIMITS, "guest", 1, -1);
    assert_false(must_wait(s) || must_wait(t));
    assert_true(sf_publish(s, "", "q", "m", false));
    assert_true(must_wait(s) && must_wait(t)); // the user's, on every worker
    SF_AS(s, client_note_held(s->client));
    assert_int_equal(reasons_of(REASON_HELD_USER_RATE), 1);
    assert_true(sf_publish(s, "", "q", "m", false)); // what comes all the same is taken
    set_rate(CHANGE_USER_LIMITS, "guest", -5, INT64_MIN);
    assert_false(must_wait(s) || must_wait(t));
    set_rate(CHANGE_VHOST_LIMITS, "/", INT64_MIN, 0); // no byte may pass
    assert_true(must_wait(s) && must_wait(t));
    SF_AS(s, client_note_held(s->client));
    assert_int_equal(reasons_of(REASON_HELD_VHOST_RATE), 1);
    set_rate(CHANGE_VHOST_LIMITS, "/", INT64_MAX, INT64_MAX);
    assert_false(must_wait(s) || must_wait(t));
    set_rate(CHANGE_VHOST_LIMITS, "/", -1, -1);
    // By the configuration; a limit of its own wins.
    struct rate_limit rates[RATE_SCOPES] = {{-1, -1}, {0, -1}, {-1, -1}};
    for (int i = 0; i < sf.crew->n_workers; i++) {
        worker_self = sf.crew->members[i];
        broker_set_rates(worker_self, rates);
        worker_self = NULL;
    }
    assert_true(must_wait(s) && must_wait(t));
    set_rate(CHANGE_USER_LIMITS, "guest", 1000000, -1);
    assert_false(must_wait(s) || must_wait(t));
    sf_end(s);
    sf_end(t);
    sf_close();
}

// --- interceptors ---------------------------------------------------------------------------------------------------------------

static void
intercept(enum intercept timestamp, enum intercept node)
{
    for (int i = 0; i < sf.crew->n_workers; i++) {
        struct broker_worker *b = state_of(i);
        b->config.set_timestamp = timestamp;
        b->config.set_routing_node = node;
        b->config.node_name = SLICE_LIT("rabbit@here");
        b->has_interceptors = true;
    }
}

static void
test_interceptors(void **state)
{
    sf_open(world);
    intercept(INTERCEPTOR_OFF, INTERCEPTOR_OFF); // clients look at it when they open
    struct sf_session *s = sf_session(0);
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_str(&w, SLICE_LIT("x-routed-by"), "me");
    table_put_i64(&w, SLICE_LIT("other"), 1);
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS | AMQP_PROP_DELIVERY_MODE,
                                 .headers = buf_slice(&headers),
                                 .delivery_mode = 2};
    assert_int_equal(sf_queue(s, "q", false), 0);
    intercept(INTERCEPTOR_KEEP, INTERCEPTOR_KEEP);
    for (int i = 0; i < 2; i++) { // the memo's way too
        assert_true(sf_publish(s, "", "q", "body", false));
        assert_int_equal(sf_get(s, "q", true), 0);
        assert_string_equal(s->headers, "x-routed-by timestamp_in_ms ");
        assert_string_equal(s->body, "body");
    }
    assert_true(sf_publish_props(s, "", "q", "m", false, &p));
    assert_int_equal(sf_get(s, "q", true), 0);
    assert_string_equal(s->headers, "timestamp_in_ms x-routed-by other ");
    intercept(INTERCEPTOR_OFF, INTERCEPTOR_OVERWRITE);
    assert_true(sf_publish_props(s, "", "q", "", false, &p));
    assert_int_equal(sf_get(s, "q", true), 0);
    assert_string_equal(s->headers, "x-routed-by other ");
    buf_fini(&headers);
    sf_end(s);
    sf_close();
}

// --- the dry run ------------------------------------------------------------------------------------------------------------------

enum { QUEUES = 6, EXCHANGES = 6 };

static struct dry_run *
think(const char *exchange, const char *key, struct slice headers, const char *user)
{
    struct dry_run_args a = {.vhost = SLICE_LIT("/"),
                             .exchange = slice_str(exchange),
                             .key = slice_str(key),
                             .props = {.flags = AMQP_PROP_HEADERS, .headers = headers},
                             .user = slice_str(user)};
    struct dry_run *d = NULL;
    worker_self = sf.crew->members[0];
    assert_int_equal(dry_run(worker_self, &a, &d), 0);
    worker_self = NULL;
    return d;
}

static void
name_of(char name[static 16], char kind, uint64_t i)
{
    snprintf(name, 16, "%c%" PRIu64, kind, i);
}

// Some exchanges of all types, bound to queues and to each other, cycles and alternates among them.
static void
make_topology(struct sf_session *s, struct rng *r)
{
    static const char *const types[] = {"direct", "fanout",        "topic", "headers", "x-consistent-hash",
                                        "topic",  "x-modulus-hash"};
    static const char *const keys[] = {"a", "a.b", "*.b", "#", "a.#", "b", "1", "3"};
    char from[16], to[16];
    for (uint64_t i = 0; i < QUEUES; i++) {
        name_of(to, 'q', i);
        assert_int_equal(sf_queue(s, to, false), 0);
    }
    for (uint64_t i = 0; i < EXCHANGES; i++) {
        name_of(from, 'x', i);
        name_of(to, 'x', rng_below(r, EXCHANGES + 1)); // one that does not exist among them
        declare_exchange(s, from, types[rng_below(r, LV_ARRAY_LEN(types))], rng_below(r, 2) == 0 ? to : NULL);
    }
    for (int i = 0; i < 14; i++) {
        struct buf arguments = BUF_INIT;
        struct table_writer w = table_writer_of(&arguments);
        bool is_queue = rng_below(r, 3) > 0;
        name_of(from, 'x', rng_below(r, EXCHANGES));
        name_of(to, is_queue ? 'q' : 'x', rng_below(r, is_queue ? QUEUES : EXCHANGES));
        if (rng_below(r, 2) == 0)
            table_put_str(&w, SLICE_LIT("x-match"), "any");
        table_put_i64(&w, SLICE_LIT("h"), (int64_t)rng_below(r, 2));
        struct session_bind_args a = {.source = slice_str(from),
                                      .destination = slice_str(to),
                                      .key = slice_str(keys[rng_below(r, LV_ARRAY_LEN(keys))]),
                                      .arguments = buf_slice(&arguments),
                                      .is_dest_queue = is_queue};
        (void)SF_DO(s, session_bind(s->session, &a)); // hash exchanges take numbers for keys only
        assert_true(s->fault.code == FAULT_NONE || s->fault.code == FAULT_PRECONDITION_FAILED);
        buf_fini(&arguments);
    }
}

static void
check_route(struct sf_session *s, struct rng *r)
{
    static const char *const keys[] = {"a", "b", "a.b", "c", "q0", "a.b.c"};
    char exchange[16], queue[16];
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    const char *key = keys[rng_below(r, LV_ARRAY_LEN(keys))];
    const char *more = keys[rng_below(r, LV_ARRAY_LEN(keys))];
    name_of(exchange, 'x', rng_below(r, EXCHANGES));
    if (rng_below(r, 8) == 0)
        exchange[0] = '\0';
    table_put_i64(&w, SLICE_LIT("h"), (int64_t)rng_below(r, 3));
    if (rng_below(r, 2) == 0) {
        table_begin_array(&w, SLICE_LIT("CC"));
        array_put_longstr(&w, slice_str(more));
        table_writer_end(&w);
    }
    struct dry_run *d = think(exchange, key, buf_slice(&headers), "guest");
    struct amqp_basic_props p = {.flags = AMQP_PROP_HEADERS, .headers = buf_slice(&headers)};
    assert_true(sf_publish_props(s, exchange, key, "m", false, &p));
    sf_rounds(15);
    size_t got = 0;
    for (uint64_t i = 0; i < QUEUES; i++) {
        name_of(queue, 'q', i);
        bool is_named = false;
        for (size_t j = 0; j < d->queue_count; j++)
            is_named |= strcmp(d->queues[j].name, queue) == 0;
        assert_int_equal(sf_get(s, queue, true), 0);
        if (is_named == s->is_empty)
            fail_msg("exchange '%s', key '%s': queue '%s' got it: %d; dry run: %s\n%s", exchange, key, queue,
                     !s->is_empty, buf_cstr(&d->text), buf_cstr(&d->steps));
        got += !s->is_empty;
    }
    assert_int_equal(d->queue_count, got);
    assert_int_equal(d->outcome, got > 0 ? DRY_RUN_ROUTED : DRY_RUN_UNROUTABLE);
    assert_true(d->step_count > 0 && !d->is_truncated);
    dry_run_free(d);
    buf_fini(&headers);
}

// Whatever the topology: the dry run names the queues that get the message, and no other.
static void
test_dry_run_is_the_route(void **state)
{
    struct rng r;
    const char *seed = getenv("LEVERET_SEED");
    rng_init(&r, seed != NULL ? strtoull(seed, NULL, 10) : 7);
    for (int round = 0; round < 8; round++) {
        sf_open(world);
        struct sf_session *s = sf_session(0);
        make_topology(s, &r);
        for (int i = 0; i < 25; i++)
            check_route(s, &r);
        sf_end(s);
        sf_close();
    }
}

static void
expect_refused(const char *exchange, struct slice headers, const char *user, const char *kind,
               const char *text)
{
    struct dry_run *d = think(exchange, "k", headers, user);
    assert_int_equal(d->outcome, DRY_RUN_REFUSED);
    assert_int_equal(d->step_count, 1);
    assert_non_null(strstr(buf_cstr(&d->steps), kind));
    assert_string_equal(buf_cstr(&d->text), text);
    dry_run_free(d);
}

static void
test_dry_run_refused(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    struct session_exchange_args internal = {
        .exchange = SLICE_LIT("i"), .type = SLICE_LIT("topic"), .is_internal = true};
    struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    table_put_i64(&w, SLICE_LIT("CC"), 1);
    assert_int_equal(SF_DO(s, session_exchange_declare(s->session, &internal)), 0);
    expect_refused("nosuch", SLICE_EMPTY, "", "\"no_exchange\"",
                   "NOT_FOUND - no exchange 'nosuch' in vhost '/'");
    expect_refused("i", SLICE_EMPTY, "", "\"internal_exchange\"",
                   "ACCESS_REFUSED - cannot publish to internal exchange 'i' in vhost '/'");
    expect_refused(
        "", SLICE_EMPTY, "nobody", "\"no_permission\"",
        "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'nobody'");
    expect_refused("", buf_slice(&headers), "", "\"bad_property\"",
                   "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",long}");
    struct dry_run_args nowhere = {.vhost = SLICE_LIT("nosuch")};
    struct dry_run *d = NULL;
    worker_self = sf.crew->members[0];
    assert_int_equal(dry_run(worker_self, &nowhere, &d), -LE_NOTFOUND);
    worker_self = NULL;
    buf_fini(&headers);
    sf_end(s);
    sf_close();
}

// More steps and queues than are written down.
static void
test_dry_run_is_bounded(void **state)
{
    sf_open(world);
    struct sf_session *s = sf_session(0);
    char name[16];
    declare_exchange(s, "x", "fanout", NULL);
    for (uint64_t i = 0; i < DRY_RUN_STEPS_MAX + 20; i++) {
        name_of(name, 'q', i);
        assert_int_equal(sf_queue(s, name, false), 0);
        assert_int_equal(sf_bind(s, "x", name, ""), 0);
    }
    struct dry_run *d = think("x", "k", SLICE_EMPTY, "");
    assert_int_equal(d->found_count, DRY_RUN_STEPS_MAX + 20);
    assert_int_equal(d->queue_count, DRY_RUN_QUEUES_MAX);
    assert_int_equal(d->step_count, DRY_RUN_STEPS_MAX);
    assert_true(d->is_truncated);
    dry_run_free(d);
    sf_end(s);
    sf_close();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_counters), cmocka_unit_test(test_sums_outlive_sessions),
        cmocka_unit_test(test_queue_gone),        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_interceptors),      cmocka_unit_test(test_dry_run_is_the_route),
        cmocka_unit_test(test_dry_run_refused),
    };
    const struct CMUnitTest once[] = {
        cmocka_unit_test(test_gone_exchanges_are_purged),
        cmocka_unit_test(test_dry_run_is_bounded),
    };
    static const struct sf_config one = {.workers = 1, .placement = PLACE_BALANCED};
    int failed = sf_run_worlds("limits", tests, LV_ARRAY_LEN(tests));
    world = &one;
    return failed + cmocka_run_group_tests(once, NULL, NULL);
}
