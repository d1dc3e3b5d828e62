// session_fixture.h: a whole broker without a wire, driven turn by turn from one thread: crew, topology, queues, sessions.
//
// Each test runs in several worlds (sf_run_worlds): one worker; three with every queue away from its session's worker and mailboxes
// delayed at random. sf_session opens a client with one session that writes down every event; sf_wait runs turns until its method is
// answered.
#pragma once

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/session.h"

struct sf_config {
    int workers;
    enum queue_placement placement;
    uint64_t chaos_seed;
    uint32_t settle_turn; // 0: the default
};

static struct sf {
    struct crew *crew;
} sf;

// The world of the test that runs.
static const struct sf_config *world;

enum { SF_EVENTS = 4096 };

// One delivery, confirm or return, in the order they came.
struct sf_event {
    char kind;    // d deliver, a ack, n nack, r return, c cancelled
    uint64_t tag; // delivery tag, confirm number
    bool is_multiple, is_redelivered;
    char text[64]; // body, consumer tag
    char consumer[64];
    char reply_to[80];
    char headers[64]; // names of the headers, each followed by a space
};

struct sf_session {
    struct worker *worker;
    struct client *client;
    struct session *session;
    bool is_done; // the ASYNC method was answered
    struct fault fault;
    char name[300];
    uint64_t message_count, consumer_count, delivery_tag;
    char body[64]; // of get
    char reply_to[80], headers[64];
    bool is_empty, is_redelivered;
    struct sf_event events[SF_EVENTS];
    size_t event_count;
    struct fault closed; // client_events.close
    char blocked[64];
    bool is_gone;        // client_close was answered
    size_t unsent;       // client_events.unsent
    struct fault failed; // session_events.failed
    bool is_failure_expected;
    void (*hook)(struct sf_session *s,
                 const struct sf_event *e); // called with each event; may call the session
};

static void
sf_round(void)
{
    for (int i = 0; i < sf.crew->n_members; i++)
        worker_turn(sf.crew->members[i]);
}

static void
sf_rounds(int n)
{
    for (int i = 0; i < n; i++)
        sf_round();
}

static void
sf_copy(char *to, size_t cap, struct slice from)
{
    snprintf(to, cap, "%.*s", SLICE_FMT(from));
}

// --- events -------------------------------------------------------------------------------------------------------------------

// What else the tests look at in a message.
static void
sf_copy_props(struct message *msg, char reply_to[80], char headers[64])
{
    struct amqp_basic_props props;
    struct slice key;
    struct field f;
    assert_int_equal(amqp_props_decode(message_properties(msg), &props), 0);
    sf_copy(reply_to, 80, props.reply_to);
    headers[0] = '\0';
    for (struct table_iter it = table_iter_of(props.headers); table_iter_next(&it, &key, &f);) {
        size_t len = strlen(headers);
        snprintf(headers + len, 64 - len, "%.*s ", SLICE_FMT(key));
    }
}

static void
sf_on_done(void *ctx, const struct session_result *r)
{
    struct sf_session *s = ctx;
    assert_false(s->is_done);
    assert_ptr_equal(worker_self, s->worker);
    s->is_done = true;
    s->fault = r->fault;
    sf_copy(s->name, sizeof s->name, r->name);
    s->message_count = r->message_count;
    s->consumer_count = r->consumer_count;
    s->delivery_tag = r->delivery_tag;
    s->is_redelivered = r->is_redelivered;
    s->is_empty = r->msg == NULL;
    if (r->msg == NULL)
        return;
    sf_copy(s->body, sizeof s->body, message_body(r->msg));
    sf_copy_props(r->msg, s->reply_to, s->headers);
}

static struct sf_event *
sf_event(struct sf_session *s, char kind, uint64_t tag)
{
    assert_true(s->event_count < SF_EVENTS);
    struct sf_event *e = &s->events[s->event_count++];
    *e = (struct sf_event){.kind = kind, .tag = tag};
    return e;
}

static void
sf_hook(struct sf_session *s, const struct sf_event *e)
{
    if (s->hook != NULL)
        s->hook(s, e);
}

static void
sf_on_deliver(void *ctx, const struct session_delivery *d)
{
    struct sf_session *s = ctx;
    struct sf_event *e = sf_event(s, 'd', d->delivery_tag);
    assert_ptr_equal(worker_self, s->worker);
    e->is_redelivered = d->is_redelivered;
    sf_copy(e->text, sizeof e->text, message_body(d->msg));
    sf_copy(e->consumer, sizeof e->consumer, d->consumer_tag);
    sf_copy_props(d->msg, e->reply_to, e->headers);
    sf_hook(s, e);
}

static void
sf_on_returned(void *ctx, struct message *msg, uint16_t code, const char *text)
{
    struct sf_event *e = sf_event(ctx, 'r', code);
    sf_copy(e->text, sizeof e->text, message_body(msg));
    sf_copy_props(msg, e->reply_to, e->headers);
    sf_hook(ctx, e);
}

static void
sf_on_confirmed(void *ctx, uint64_t tag, bool is_multiple, bool is_nack)
{
    struct sf_event *e = sf_event(ctx, is_nack ? 'n' : 'a', tag);
    e->is_multiple = is_multiple;
    sf_hook(ctx, e);
}

static void
sf_on_cancelled(void *ctx, struct slice consumer_tag)
{
    struct sf_event *e = sf_event(ctx, 'c', 0);
    sf_copy(e->text, sizeof e->text, consumer_tag);
}

static void
sf_on_failed(void *ctx, const struct fault *fault)
{
    struct sf_session *s = ctx;
    if (!s->is_failure_expected)
        fail_msg("failed: %s", fault->text);
    assert_int_equal(s->failed.code, FAULT_NONE); // once
    s->failed = *fault;
}

static const struct session_events sf_session_events = {sf_on_done,      sf_on_deliver,   sf_on_returned,
                                                        sf_on_confirmed, sf_on_cancelled, sf_on_failed};

static void
sf_on_close(void *ctx, const struct fault *fault)
{
    ((struct sf_session *)ctx)->closed = *fault;
}

static void
sf_on_blocked(void *ctx, const char *reason)
{
    struct sf_session *s = ctx;
    snprintf(s->blocked, sizeof s->blocked, "%s", reason != NULL ? reason : "");
}

static size_t
sf_unsent(void *ctx)
{
    return ((struct sf_session *)ctx)->unsent;
}

static const struct client_events sf_client_events = {
    .close = sf_on_close, .blocked = sf_on_blocked, .unsent = sf_unsent};

// --- open and close -----------------------------------------------------------------------------------------------------------

static LV_UNUSED int
sf_run_worlds(const char *name, const struct CMUnitTest *tests, size_t count)
{
    static const struct sf_config worlds[] = {
        {.workers = 1, .placement = PLACE_BALANCED},
        {.workers = 3, .placement = PLACE_REMOTE},
        {.workers = 3, .placement = PLACE_REMOTE, .chaos_seed = 7},
        {.workers = 1, .settle_turn = 2},
        {.workers = 3, .placement = PLACE_REMOTE, .chaos_seed = 13, .settle_turn = 2},
        {.workers = 2, .placement = PLACE_BALANCED, .chaos_seed = 11},
    };
    int failed = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(worlds); i++) {
        world = &worlds[i];
        print_message("world %zu: %d workers, seed %" PRIu64 "\n", i, world->workers, world->chaos_seed);
        failed += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    }
    return failed;
}

static void
sf_open(const struct sf_config *config)
{
    struct crew_config crew = {.n_workers = config->workers, .chaos_seed = config->chaos_seed};
    struct topology_config topology = {.default_vhost = SLICE_LIT("/"),
                                       .default_user = SLICE_LIT("guest"),
                                       .default_pass = SLICE_LIT("guest"),
                                       .placement = config->placement};
    struct broker_config broker = {.settle_turn = config->settle_turn};
    char *error = NULL;
    sf.crew = crew_new(&crew);
    for (int i = 0; i < sf.crew->n_workers; i++)
        broker_worker_init(sf.crew->members[i], &broker);
    assert_int_equal(topology_start(sf.crew, &topology, &error), 0);
    for (int i = 0; i < sf.crew->n_workers; i++)
        topology_worker_init(sf.crew->members[i]);
}

static void
sf_close(void)
{
    sf_rounds(100);
    for (int i = 0; i < sf.crew->n_workers; i++)
        broker_worker_fini(sf.crew->members[i]);
    topology_stop(sf.crew);
    crew_free(sf.crew);
    sf.crew = NULL;
}

// The functions of session.h are called as the session's worker.
#define SF_AS(s, call)                                                                                       \
    do {                                                                                                     \
        worker_self = (s)->worker;                                                                           \
        call;                                                                                                \
        worker_self = NULL;                                                                                  \
    } while (0)

static struct sf_session *
sf_session(int worker)
{
    struct sf_session *s = calloc(1, sizeof(*s));
    struct fault f;
    struct client_args args = {.user = SLICE_LIT("guest"),
                               .vhost = SLICE_LIT("/"),
                               .name = SLICE_LIT("test"),
                               .protocol = SLICE_LIT("none"),
                               .events = &sf_client_events,
                               .ctx = s};
    sf_rounds(2);
    s->worker = sf.crew->members[worker % sf.crew->n_workers];
    SF_AS(s, s->client = client_open(s->worker, &args, &f));
    assert_non_null(s->client);
    SF_AS(s, s->session = session_open(s->client, 1, &sf_session_events, s));
    assert_non_null(s->session);
    return s;
}

static void
sf_on_gone(void *ctx)
{
    ((struct sf_session *)ctx)->is_gone = true;
}

static void
sf_end(struct sf_session *s)
{
    SF_AS(s, client_close(s->client, sf_on_gone, s));
    for (int i = 0; !s->is_gone; i++) {
        assert_true(i < 100000);
        sf_round();
    }
    free(s);
}

// --- methods ------------------------------------------------------------------------------------------------------------------

// Runs the ASYNC call until it is answered; returns its reply code (0: success).
#define SF_DO(s, call) (((s)->is_done = false), sf_call_begin(s), (call), sf_wait(s))

static void
sf_call_begin(struct sf_session *s)
{
    worker_self = s->worker;
}

static uint16_t
sf_wait(struct sf_session *s)
{
    worker_self = NULL;
    for (int i = 0; !s->is_done; i++) {
        assert_true(i < 100000);
        sf_round();
    }
    return s->fault.code;
}

static LV_UNUSED uint16_t
sf_queue(struct sf_session *s, const char *name, bool is_exclusive)
{
    struct session_queue_args a = {.queue = slice_str(name), .is_exclusive = is_exclusive};
    return SF_DO(s, session_queue_declare(s->session, &a));
}

static LV_UNUSED uint16_t
sf_passive(struct sf_session *s, const char *name)
{
    struct session_queue_args a = {.queue = slice_str(name), .is_passive = true};
    return SF_DO(s, session_queue_declare(s->session, &a));
}

static LV_UNUSED uint16_t
sf_consume(struct sf_session *s, const char *queue, const char *tag, bool is_no_ack)
{
    struct session_consume_args a = {
        .queue = slice_str(queue), .consumer_tag = slice_str(tag), .is_no_ack = is_no_ack};
    return SF_DO(s, session_consume(s->session, &a));
}

static LV_UNUSED uint16_t
sf_get(struct sf_session *s, const char *queue, bool is_no_ack)
{
    return SF_DO(s, session_get(s->session, slice_str(queue), is_no_ack));
}

static LV_UNUSED uint16_t
sf_bind(struct sf_session *s, const char *source, const char *queue, const char *key)
{
    struct session_bind_args a = {.source = slice_str(source),
                                  .destination = slice_str(queue),
                                  .key = slice_str(key),
                                  .is_dest_queue = true};
    return SF_DO(s, session_bind(s->session, &a));
}

// A fault of the last publish or settle; empty when it went well.
static char sf_fault[256];

static LV_UNUSED bool
sf_publish_props(struct sf_session *s, const char *exchange, const char *key, const char *body,
                 bool is_mandatory, struct amqp_basic_props *props)
{
    struct fault f = {0};
    struct buf b = BUF_INIT;
    struct amqp_basic_props decoded;
    bool ok = false;
    amqp_props_encode(&b, props);
    struct message *msg =
        message_new(slice_str(exchange), slice_str(key), buf_slice(&b), (uint32_t)strlen(body));
    assert_non_null(msg);
    memcpy(message_body_mut(msg), body, strlen(body));
    assert_int_equal(amqp_props_decode(message_properties(msg), &decoded), 0);
    SF_AS(s, ok = session_publish(s->session, msg, &decoded, is_mandatory, &f));
    snprintf(sf_fault, sizeof sf_fault, "%s", ok ? "" : f.text);
    buf_fini(&b);
    return ok;
}

static LV_UNUSED bool
sf_publish(struct sf_session *s, const char *exchange, const char *key, const char *body, bool is_mandatory)
{
    struct amqp_basic_props none = {0};
    return sf_publish_props(s, exchange, key, body, is_mandatory, &none);
}

// To its end, also when that takes several turns.
static LV_UNUSED bool
sf_settle(struct sf_session *s, uint64_t tag, bool is_multiple, enum settle_kind kind)
{
    struct fault f = {0};
    bool ok = false;
    s->is_done = false;
    SF_AS(s, ok = session_settle(s->session, tag, is_multiple, kind, &f));
    if (ok && session_is_busy(s->session)) {
        ok = sf_wait(s) == 0;
        f = s->fault;
    }
    snprintf(sf_fault, sizeof sf_fault, "%s", ok ? "" : f.text);
    return ok;
}

static LV_UNUSED void
sf_give_back(struct sf_session *s)
{
    bool is_done = true;
    s->is_done = false;
    SF_AS(s, is_done = session_give_back(s->session));
    if (!is_done)
        assert_int_equal(sf_wait(s), 0);
}

static LV_UNUSED bool
sf_qos(struct sf_session *s, uint16_t prefetch, bool is_global)
{
    struct fault f;
    bool ok = false;
    SF_AS(s, ok = session_qos(s->session, prefetch, is_global, &f));
    return ok;
}

// Runs turns until there are so many events, or for a while to see that there are no more.
static LV_UNUSED void
sf_expect(struct sf_session *s, size_t count)
{
    for (int i = 0; s->event_count < count; i++) {
        if (i > 20000)
            fail_msg("%zu events, %zu expected", s->event_count, count);
        sf_round();
    }
    sf_rounds(30);
    assert_int_equal(s->event_count, count);
}

static LV_UNUSED void
sf_forget(struct sf_session *s)
{
    s->event_count = 0;
}
