// api_other.c: what is left of the HTTP API: who am I, logging in, aliveness, extensions, feature flags, log-in counters.
#include "amqp/listener.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/api_auth.h"
#include "src/management/api_tokens.h"
#include "src/management/http_server.h"

static void
reply_empty_array(struct api_request *r)
{
    buf_append_str(&r->out, "[]");
    api_reply(r, 200);
}

static void
reply_ok(struct api_request *r)
{
    buf_append_str(&r->out, "{\"status\":\"ok\"}");
    api_reply(r, 200);
}

// --- who --------------------------------------------------------------------------------------------------------------------------

static void
get_whoami(struct api_request *r)
{
    struct api_answer a;
    const struct user *u = topology_user(api_topology(r), api_user(r));
    if (!api_answer_begin(r, &a))
        return;
    api_out_object(&a.out, NULL);
    api_out_slice(&a.out, "name", api_user(r));
    api_put_tags(&a.out, "tags", u != NULL ? u->tags : SLICE_EMPTY);
    api_out_end(&a.out);
    api_reply(r, 200);
}

// GET /api/auth: log-ins of other services are not available.
static void
get_auth(struct api_request *r)
{
    buf_append_str(
        &r->out,
        "{\"oauth_enabled\":false,\"enable_uaa\":false,\"uaa_client_id\":\"\",\"uaa_location\":\"\"}");
    api_reply(r, 200);
}

// POST /api/login with a form: username=…&password=…. RabbitMQ answers with the password in a cookie; ours is checked, and nothing
// is kept: clients send it with every request.
void
api_login(struct api_request *r)
{
    char address[64];
    uint16_t port;
    bool is_loopback;
    struct api_query form = {0};
    const struct api_node *n = http_server_node(r->server);
    char *text = mem_xalloc(r->body.len + 2);
    text[0] = '?';
    if (r->body.len > 0)
        memcpy(text + 1, r->body.ptr, r->body.len);
    text[r->body.len + 1] = '\0';
    http_peer(r, address, sizeof address, &port, &is_loopback);
    if (api_query_parse(text, &form) != 0) {
        api_error(r, 400, "bad_request", "not a form");
    } else {
        struct api_credentials c = {.user = api_query_find(&form, "username"),
                                    .password = api_query_find(&form, "password"),
                                    .address = address};
        char *name = mem_xslice_dup(c.user);
        c.is_from_elsewhere_refused =
            !is_loopback && n->is_loopback_user != NULL && n->is_loopback_user(n->ctx, name);
        enum api_login result =
            api_auth_check(http_server_auth(r->server), api_topology(r), &c, clock_wall_ms());
        if (result == API_LOGIN_OK) {
            buf_append_str(&r->out, "\"ok\"");
            api_reply(r, 200);
        } else if (result == API_LOGIN_WAIT) {
            api_error(r, 429, "too_many_requests", "too many refused log-ins from this address");
        } else {
            api_error(r, 401, "not_authorized", "Login failed");
        }
        mem_free(name);
    }
    mem_wipe(text, r->body.len + 2);
    mem_free(text);
}

// --- sessions of the console ------------------------------------------------------------------------------------------------------
//
// POST /api/session (ours) logs in with a password and gets a token, DELETE logs the token's holder out, GET says how long it lasts.

static void
reply_session(struct api_request *r, const char *token)
{
    struct api_answer a;
    const struct user *u = topology_user(api_topology(r), api_user(r));
    if (!api_answer_begin(r, &a))
        return;
    api_out_object(&a.out, NULL);
    if (token != NULL)
        api_out_str(&a.out, "token", token);
    api_out_slice(&a.out, "name", api_user(r));
    api_put_tags(&a.out, "tags", u != NULL ? u->tags : SLICE_EMPTY);
    api_out_int(&a.out, "idle_seconds", (int64_t)http_server_config(r->server)->session_minutes * 60);
    api_out_end(&a.out);
    api_reply(r, 200);
}

static void
get_session(struct api_request *r)
{
    reply_session(r, NULL);
}

static void
post_session(struct api_request *r)
{
    char token[API_TOKEN_LEN + 1];
    const struct user *u = topology_user(api_topology(r), api_user(r));
    if (r->is_control || r->has_token) // a token makes no other, so that it cannot outlive its end
        api_error(r, 400, "bad_request", "a session begins with a name and a password");
    else if (u == NULL || api_token_make(http_server_tokens(r->server), u,
                                         (int64_t)(clock_mono_ns() / 1000000), token) != 0)
        api_no_memory(r);
    else
        reply_session(r, token);
    mem_wipe(token, sizeof token);
}

static void
delete_session(struct api_request *r)
{
    const char *header = http_header(r, "Authorization");
    if (r->has_token)
        api_token_drop(http_server_tokens(r->server), slice_str(header + strlen("Bearer ")));
    api_reply(r, 204);
}

// --- aliveness ----------------------------------------------------------------------------------------------------------------------
//
// Declares a queue, publishes to it and takes the message back: each step is the `done` of the one before.

enum { ALIVE_DECLARED, ALIVE_PUBLISHED, ALIVE_GOT };
#define ALIVE_QUEUE SLICE_LIT("aliveness-test")

static bool
alive_publish(struct api_request *r, struct fault *f)
{
    struct amqp_basic_props props = {0};
    struct buf encoded = BUF_INIT;
    struct session *s = api_channel_session(r);
    amqp_props_encode(&encoded, &props);
    struct message *msg = message_new(SLICE_EMPTY, ALIVE_QUEUE, buf_slice(&encoded), 12);
    buf_fini(&encoded);
    if (msg == NULL) {
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
        return false;
    }
    memcpy(message_body_mut(msg), "test_message", 12);
    msg->published_ms = clock_wall_ms();
    if (!session_confirm_select(s, f)) {
        message_unref(msg);
        return false;
    }
    return session_publish(s, msg, &props, true, f);
}

static void
alive_step(struct api_request *r, const struct session_result *result)
{
    struct fault f = result->fault;
    bool goes_on = false;
    if (f.code == FAULT_NONE && r->detail == ALIVE_DECLARED) {
        r->detail = ALIVE_PUBLISHED;
        goes_on = alive_publish(r, &f);
    } else if (f.code == FAULT_NONE && r->detail == ALIVE_PUBLISHED) {
        r->detail = ALIVE_GOT;
        goes_on = true;
        session_get(api_channel_session(r), ALIVE_QUEUE, true);
    }
    if (goes_on)
        return;
    api_channel_close(r);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        reply_ok(r);
}

static void
get_aliveness(struct api_request *r)
{
    if (api_vhost(r, 2) == NULL)
        return;
    if (r->is_control) {
        reply_ok(r); // it has no user to do it as
        return;
    }
    struct session_queue_args a = {.queue = ALIVE_QUEUE};
    if (api_channel_open(r, api_segment(r, 2), alive_step))
        session_queue_declare(api_channel_session(r), &a);
}

// --- counters of log-ins --------------------------------------------------------------------------------------------------------------

static bool
is_this_node(struct api_request *r)
{
    bool is_this = slice_eq_str(api_segment(r, 3), http_server_node(r->server)->node_name);
    if (!is_this)
        api_not_found(r);
    return is_this;
}

static void
put_attempts(struct api_out *o, const char *protocol, uint64_t attempts, uint64_t refused)
{
    api_out_object(o, NULL);
    api_out_str(o, "protocol", protocol);
    api_out_int(o, "auth_attempts", (int64_t)attempts);
    api_out_int(o, "auth_attempts_failed", (int64_t)refused);
    api_out_int(o, "auth_attempts_succeeded", (int64_t)(attempts - LV_MIN(refused, attempts)));
    api_out_end(o);
}

static void
get_attempts(struct api_request *r)
{
    const struct crew *crew = http_server_worker(r->server)->crew;
    struct api_auth_attempts http;
    struct amqp_stats s;
    struct api_answer a;
    uint64_t accepted = 0, refused = 0;
    if (!is_this_node(r))
        return;
    if (api_segment_count(r) == 5) { // by address: not kept
        reply_empty_array(r);
        return;
    }
    if (!api_answer_begin(r, &a))
        return;
    for (int i = 0; i < crew->n_workers; i++) {
        amqp_worker_stats(crew->members[i], &s);
        accepted += s.authenticated + s.refused;
        refused += s.refused;
    }
    api_auth_attempts(http_server_auth(r->server), &http);
    api_out_array(&a.out, NULL);
    put_attempts(&a.out, "http", http.attempts, http.refused);
    put_attempts(&a.out, "amqp091", accepted, refused);
    api_out_end(&a.out);
    api_reply(r, 200);
}

static void
delete_attempts(struct api_request *r)
{
    if (!is_this_node(r))
        return;
    api_auth_forget_attempts(http_server_auth(r->server));
    api_reply(r, 204);
}

// --- flags --------------------------------------------------------------------------------------------------------------------------

static const char *const flags[][2] = {
    {"classic_mirrored_queue_version", "Support setting version for classic mirrored queues"},
    {"drop_unroutable_metric", "Count unroutable publishes to be dropped in stats"},
    {"empty_basic_get_metric", "Count AMQP `basic.get` on empty queues in stats"},
    {"implicit_default_bindings",
     "Default bindings are now implicit, instead of being stored in the database"},
    {"maintenance_mode_status", "Maintenance mode status"},
    {"user_limits", "Configure connection and channel limits for a user"},
    {"virtual_host_metadata", "Virtual host metadata (description, tags, etc)"},
};

static void
get_flags(struct api_request *r)
{
    struct api_answer a;
    if (!api_answer_begin(r, &a))
        return;
    api_out_array(&a.out, NULL);
    for (size_t i = 0; i < LV_ARRAY_LEN(flags); i++) {
        api_out_object(&a.out, NULL);
        api_out_str(&a.out, "name", flags[i][0]);
        api_out_str(&a.out, "desc", flags[i][1]);
        api_out_str(&a.out, "doc_url", "");
        api_out_str(&a.out, "state", "enabled");
        api_out_str(&a.out, "stability", "stable");
        api_out_str(&a.out, "provided_by", "leveret");
        api_out_end(&a.out);
    }
    api_out_end(&a.out);
    api_reply(r, 200);
}

// All that are known are on.
static void
put_flag(struct api_request *r)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(flags); i++) {
        if (slice_eq_str(api_segment(r, 2), flags[i][0])) {
            api_reply(r, 204);
            return;
        }
    }
    api_error(r, 400, "bad_request", "unsupported");
}

// Nothing there is to do on a single node.
static void
reply_done(struct api_request *r)
{
    api_reply(r, 204);
}

const struct api_route api_routes_other[] = {
    {API_GET, "/api/whoami", get_whoami, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/auth", get_auth, API_FOR_ALL, 0},
    {API_POST, "/api/login", api_login, API_FOR_ALL, 0},
    {API_GET, "/api/session", get_session, API_FOR_MANAGEMENT, 0},
    {API_POST, "/api/session", post_session, API_FOR_MANAGEMENT, 0},
    {API_DELETE, "/api/session", delete_session, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/aliveness-test/*", get_aliveness, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/extensions", reply_empty_array, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/auth/attempts/*", get_attempts, API_FOR_MONITORING, 0},
    {API_GET, "/api/auth/attempts/*/source", get_attempts, API_FOR_MONITORING, 0},
    {API_DELETE, "/api/auth/attempts/*", delete_attempts, API_FOR_MONITORING, 0},
    {API_DELETE, "/api/auth/attempts/*/source", delete_attempts, API_FOR_MONITORING, 0},
    {API_POST, "/api/rebalance/queues", reply_done, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/feature-flags", get_flags, API_FOR_ADMINISTRATOR, 0},
    {API_PUT, "/api/feature-flags/*/enable", put_flag, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/deprecated-features", reply_empty_array, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/deprecated-features/used", reply_empty_array, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/federation-links", reply_empty_array, API_FOR_MONITORING, 0},
    {API_GET, "/api/federation-links/*", reply_empty_array, API_FOR_MONITORING, 2},
    {API_DELETE, "/api/reset", reply_done, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/reset/*", reply_done, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
