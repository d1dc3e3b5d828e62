// api_session.c: what a request does to the broker as its user: through a client and a session of its own, on the HTTP member.
//
// Happy path: api_channel_open checks the vhost and the user's permission as a log-in does → the caller starts one ASYNC method →
// `done` → maybe more methods → api_channel_close, which gives back what was not settled → the request is answered. So declare,
// bind, publish and get over HTTP meet the checks, limits and texts that AMQP clients meet.
#include <stdio.h>

#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

struct api_channel {
    struct api_request *request;
    struct client *client;
    struct session *session;
    void (*done)(struct api_request *r, const struct session_result *result);
    bool is_returned;
};

static void
on_done(void *ctx, const struct session_result *result)
{
    struct api_channel *c = ctx;
    c->done(c->request, result);
}

static void
on_deliver(void *ctx, const struct session_delivery *d)
{
    // It has no consumers.
}

static void
on_returned(void *ctx, struct message *msg, uint16_t code, const char *text)
{
    struct api_channel *c = ctx;
    c->is_returned = true;
}

// The publish's confirm is the answer of an ASYNC method to whoever waits for it.
static void
on_confirmed(void *ctx, uint64_t tag, bool is_multiple, bool is_nack)
{
    struct api_channel *c = ctx;
    struct session_result result = {.message_count = is_nack};
    c->done(c->request, &result);
}

static void
on_cancelled(void *ctx, struct slice consumer_tag)
{
    // It has no consumers.
}

static void
on_failed(void *ctx, const struct fault *fault)
{
    struct api_channel *c = ctx;
    struct session_result result = {.fault = *fault};
    c->done(c->request, &result);
}

static const struct session_events session_event_table = {
    .done = on_done,
    .deliver = on_deliver,
    .returned = on_returned,
    .confirmed = on_confirmed,
    .cancelled = on_cancelled,
    .failed = on_failed,
};

// Nobody closes these clients: they are on no worker, and a method whose vhost goes is answered with a fault.
static void
on_close(void *ctx, const struct fault *fault)
{
}

static void
on_blocked(void *ctx, const char *reason)
{
    // The publish asks before.
}

static const struct client_events client_event_table = {.close = on_close, .blocked = on_blocked};

bool
api_channel_open(struct api_request *r, struct slice vhost,
                 void (*done)(struct api_request *r, const struct session_result *result))
{
    char peer[64], name[96];
    uint16_t port;
    bool is_loopback;
    struct fault f = {0};
    LV_ASSERT(r->channel == NULL);
    if (topology_vhost(api_topology(r), vhost) == NULL) {
        api_error(r, 404, "not_found", "vhost_not_found");
        return false;
    }
    struct api_channel *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        api_no_memory(r);
        return false;
    }
    http_peer(r, peer, sizeof peer, &port, &is_loopback);
    snprintf(name, sizeof name, "%s:%u (HTTP)", peer, port);
    struct client_args args = {.user = api_user(r),
                               .vhost = vhost,
                               .name = slice_str(name),
                               .protocol = SLICE_LIT("HTTP"),
                               .events = &client_event_table,
                               .ctx = c};
    c->request = r;
    c->done = done;
    c->client = client_open(http_server_worker(r->server), &args, &f);
    if (c->client == NULL) {
        mem_free(c);
        api_fault(r, &f);
        return false;
    }
    c->session = session_open(c->client, 1, &session_event_table, c);
    if (c->session == NULL) {
        client_close(c->client, NULL, NULL);
        mem_free(c);
        api_no_memory(r);
        return false;
    }
    r->channel = c;
    return true;
}

struct session *
api_channel_session(const struct api_request *r)
{
    return r->channel->session;
}

struct client *
api_channel_client(const struct api_request *r)
{
    return r->channel->client;
}

bool
api_channel_was_returned(const struct api_request *r)
{
    return r->channel->is_returned;
}

bool
api_channel_take_returned(const struct api_request *r)
{
    bool is_returned = r->channel->is_returned;
    r->channel->is_returned = false;
    return is_returned;
}

void
api_channel_close(struct api_request *r)
{
    struct api_channel *c = r->channel;
    if (c == NULL)
        return;
    r->channel = NULL;
    client_close(c->client, NULL, NULL); // with its session
    mem_free(c);
}

static void
answer(struct api_request *r, const struct session_result *result, unsigned status)
{
    struct fault f = result->fault;
    api_channel_close(r);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, status);
}

void
api_channel_answer(struct api_request *r, const struct session_result *result)
{
    answer(r, result, 204);
}

void
api_channel_declared(struct api_request *r, const struct session_result *result)
{
    answer(r, result, r->detail != 0 ? 201 : 204);
}
