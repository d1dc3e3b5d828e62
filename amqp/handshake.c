// handshake.c: from the protocol header to connection.open-ok, and the few methods of class connection after
// it (AMQP 0-9-1 §1.4, §2.2.4, §4.2.2).
//
// Nothing waits for anything: a client may send everything up to open in one packet. Whatever is wrong before
// the connection is open is told in a connection.close with its reason, where RabbitMQ mostly resets the
// socket; the one exception is a failed log-in of a client that does not know the capability
// authentication_failure_close.
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/user_channels.h"
#include "amqp/wire/table.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/broker/event.h"

static const char *const state_names[CONNECTION_STATE_COUNT] = {
    [CONNECTION_HEADER] = "handshake", [CONNECTION_STARTING] = "starting", [CONNECTION_TUNING] = "tuning",
    [CONNECTION_OPENING] = "opening",  [CONNECTION_RUNNING] = "running",   [CONNECTION_CLOSING] = "closing",
    [CONNECTION_ENDING] = "closing",   [CONNECTION_FLUSHING] = "closed",   [CONNECTION_LINGERING] = "closed",
    [CONNECTION_REFUSED] = "closed",   [CONNECTION_DEAD] = "closed",
};

// --- start -------------------------------------------------------------------------------------------------

// Versions told in connection.start.
struct version {
    uint8_t major, minor;
};

static const struct version version_0_9 = {0, 9};
static const struct version version_0_8 = {8, 0}; // as it was written then

static void
put_capabilities(struct table_writer *w, struct version version)
{
    static const char *const names[] = {
        "publisher_confirms",           "exchange_exchange_bindings", "basic.nack",
        "consumer_cancel_notify",       "connection.blocked",         "consumer_priorities",
        "authentication_failure_close", "per_consumer_qos",           "direct_reply_to",
    };
    table_begin_table(w, SLICE_LIT("capabilities"));
    for (size_t i = 0; i < LV_ARRAY_LEN(names) && version.minor == version_0_9.minor; i++)
        table_put_bool(w, slice_str(names[i]), true);
    table_writer_end(w);
}

static void
put_text(struct table_writer *w, const char *key, struct slice value)
{
    if (value.len > 0)
        table_put_longstr(w, slice_str(key), value);
}

static void
send_start(struct connection *c, struct version version)
{
    const struct amqp_config *config = c->aw->config;
    struct buf properties = BUF_INIT;
    struct table_writer w = table_writer_of(&properties);
    put_capabilities(&w, version);
    put_text(&w, "cluster_name", config->cluster_name);
    put_text(&w, "copyright", config->copyright);
    put_text(&w, "information", config->information);
    put_text(&w, "platform", config->platform);
    put_text(&w, "product", config->product);
    put_text(&w, "version", config->version);
    put_text(&w, "leveret", config->leveret_version);
    table_put_raw(&w, config->server_properties);
    struct amqp_connection_start m = {
        .version_major = version.major,
        .version_minor = version.minor,
        .server_properties = buf_slice(&properties),
        .mechanisms = config->mechanisms,
        .locales = SLICE_LIT("en_US"),
    };
    amqp_frame_connection_start(&c->aw->scratch, 0, &m);
    c->aw->scratch.failed |= properties.failed;
    buf_fini(&properties);
    connection_set_state(c, CONNECTION_STARTING);
    connection_send_scratch(c);
}

static const char *
guess_protocol(const uint8_t *data, size_t len)
{
    if (len >= 1 && data[0] == 0x16)
        return "a TLS hello on a port without TLS";
    if (len >= 3 &&
        (memcmp(data, "GET", 3) == 0 || memcmp(data, "POS", 3) == 0 || memcmp(data, "HEA", 3) == 0))
        return "an HTTP request on the AMQP port";
    if (len >= 4 && memcmp(data, "AMQP", 4) == 0)
        return "another version of AMQP";
    return "not AMQP";
}

size_t
handshake_header(struct connection *c, const uint8_t *data, size_t len)
{
    switch (protocol_header_parse(data, len)) {
    case PROTOCOL_MORE: return 0;
    case PROTOCOL_0_9_1:
    case PROTOCOL_0_9: send_start(c, version_0_9); return PROTOCOL_HEADER_SIZE;
    case PROTOCOL_0_8: // PROTOCOL: old py-amqplib; it is told what it asked for, and gets on with 0-9-1
        send_start(c, version_0_8);
        return PROTOCOL_HEADER_SIZE;
    case PROTOCOL_1_0:
    case PROTOCOL_UNKNOWN:
    case PROTOCOL_NOT_AMQP: break;
    }
    if (log_limit_pass(&c->aw->limit_close, c->aw->worker->now_ns, "closed connections"))
        log_error(LOG_CONNECTION, "connection %.*s: bad protocol header (%s), closing", SLICE_FMT(c->name),
                  guess_protocol(data, len));
    output_append(&c->out, protocol_header());
    connection_set_state(c, CONNECTION_FLUSHING);
    connection_output_added(c);
    return 0;
}

// --- start-ok ----------------------------------------------------------------------------------------------

static int
keep_slice(struct slice *ret, struct slice from)
{
    uint8_t *copy = mem_alloc(LV_MAX(from.len, (size_t)1));
    if (copy == NULL)
        return -LE_NOMEM;
    if (from.len > 0)
        memcpy(copy, from.ptr, from.len);
    mem_free((void *)(uintptr_t)ret->ptr);
    *ret = slice_of(copy, from.len);
    return 0;
}

static unsigned
read_capabilities(struct slice client_properties)
{
    static const struct {
        const char *name;
        unsigned flag;
    } known[] = {
        {"consumer_cancel_notify", CLIENT_CANCEL_NOTIFY},
        {"connection.blocked", CLIENT_BLOCKED},
        {"authentication_failure_close", CLIENT_AUTH_CLOSE},
    };
    struct field f;
    unsigned flags = 0;
    if (!table_find(client_properties, SLICE_LIT("capabilities"), &f) || f.type != FIELD_TABLE)
        return 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(known); i++) {
        bool value;
        if (table_find_bool(f.table, slice_str(known[i].name), &value) && value)
            flags |= known[i].flag;
    }
    return flags;
}

// For who listens to events.
static void
tell_login(struct connection *c, struct slice user, const char *error)
{
    char host[INET6_ADDRSTRLEN];
    endpoint_host(&c->peer, host);
    struct event_login login = {
        .user = user,
        .connection = c->name,
        .peer_host = slice_str(host),
        .peer_port = c->peer.port,
        .mechanism = slice_str(sasl_mechanism_name((enum sasl_mechanism)c->mechanism)),
        .error = error,
    };
    event_login(c->aw->worker, &login);
}

static void
refuse_login(struct connection *c, struct slice user, const char *why)
{
    tell_login(c, user, why);
    struct amqp_worker *aw = c->aw;
    const char *mechanism = sasl_mechanism_name((enum sasl_mechanism)c->mechanism);
    count_u64(&aw->refused, 1);
    if (log_limit_pass(&aw->limit_refuse, aw->worker->now_ns, "refused log-ins"))
        log_error(LOG_CONNECTION, "connection %.*s: %s login refused: user '%.*s' - %s", SLICE_FMT(c->name),
                  mechanism, SLICE_FMT(user), why);
    reason_note(aw->worker, &(struct reason){.kind = REASON_REFUSED_LOGIN,
                                             .object_kind = "user",
                                             .object = user,
                                             .text = slice_str(why)});
    if ((c->capabilities & CLIENT_AUTH_CLOSE) == 0) {
        connection_set_state(c, CONNECTION_REFUSED);
        return;
    }
    struct fault f;
    fault_set(&f, FAULT_ACCESS_REFUSED,
              "Login was refused using authentication mechanism %s. For details see the broker logfile.",
              mechanism);
    f.reason = REASON_NOTED;
    f.is_connection = true;
    connection_fault(c, &f, 0);
}

static bool
is_loopback_user(const struct amqp_config *config, struct slice user)
{
    for (size_t i = 0; i < config->loopback_user_count; i++) {
        if (slice_eq(config->loopback_users[i], user))
            return true;
    }
    return false;
}

static void
send_tune(struct connection *c)
{
    const struct amqp_config *config = c->aw->config;
    c->channel_max = config->channel_max;
    c->frame_max = config->frame_max; // payload_max stays small until tune-ok
    c->heartbeat_s = config->heartbeat_s;
    struct amqp_connection_tune m = {
        .channel_max = c->channel_max, .frame_max = c->frame_max, .heartbeat = c->heartbeat_s};
    connection_set_state(c, CONNECTION_TUNING);
    amqp_frame_connection_tune(&c->aw->scratch, 0, &m);
    connection_send_scratch(c);
}

static void
log_in(struct connection *c, struct slice name, struct slice password)
{
    const struct user *u = topology_user(topology_of(c->aw->worker), name);
    if (u == NULL || u->password_hash.len == 0 || !password_matches(u, password)) {
        refuse_login(c, name, "invalid credentials");
        return;
    }
    if (is_loopback_user(c->aw->config, name) && !endpoint_is_loopback(&c->peer)) {
        refuse_login(c, name, "user can only connect via localhost");
        return;
    }
    tell_login(c, name, NULL);
    count_u64(&c->aw->authenticated, 1);
    if (keep_slice(&c->user, name) != 0)
        connection_kill(c, "out of memory");
    else
        send_tune(c);
}

static void
fault_simple(struct connection *c, uint16_t code, uint32_t method_id, const char *text)
{
    struct fault f;
    fault_set(&f, code, "%s", text);
    f.is_connection = true;
    connection_fault(c, &f, method_id);
}

static void
start_ok(struct connection *c, const struct amqp_connection_start_ok *m)
{
    struct slice name = SLICE_EMPTY, password = SLICE_EMPTY;
    c->capabilities = (uint8_t)read_capabilities(m->client_properties);
    if (keep_slice(&c->client_properties, m->client_properties) != 0) {
        connection_kill(c, "out of memory");
        return;
    }
    c->mechanism = (uint8_t)sasl_mechanism_of(m->mechanism);
    if (c->mechanism == SASL_NONE || !sasl_is_offered(c->aw->config->mechanisms, m->mechanism)) {
        struct fault f;
        fault_set(&f, FAULT_COMMAND_INVALID, "unknown authentication mechanism '%.*s'",
                  SLICE_FMT(m->mechanism));
        f.is_connection = true;
        connection_fault(c, &f, AMQP_CONNECTION_START_OK);
        return;
    }
    if (sasl_parse((enum sasl_mechanism)c->mechanism, m->response, &name, &password) != 0) {
        fault_simple(c, FAULT_SYNTAX_ERROR, AMQP_CONNECTION_START_OK,
                     "malformed response to the authentication mechanism");
        return;
    }
    log_in(c, name, password);
}

// --- tune-ok, open -----------------------------------------------------------------------------------------

static bool
negotiated(struct connection *c, const char *what, uint32_t value, uint32_t least, uint32_t most)
{
    struct fault f;
    const char *detail = value == 0 && least == 0 ? " (no limit)" : "";
    if (value != 0 && value < least)
        fault_set(&f, FAULT_NOT_ALLOWED,
                  "negotiated %s = %" PRIu32 " is lower than the minimum allowed value (%" PRIu32 ")", what,
                  value, least);
    else if (most != 0 && (value == 0 || value > most))
        fault_set(&f, FAULT_NOT_ALLOWED,
                  "negotiated %s = %" PRIu32 "%s is higher than the maximum allowed value (%" PRIu32 ")",
                  what, value, detail, most);
    else
        return true;
    f.is_connection = true;
    connection_fault(c, &f, AMQP_CONNECTION_TUNE_OK);
    return false;
}

static void
tune_ok(struct connection *c, const struct amqp_connection_tune_ok *m)
{
    if (!negotiated(c, "frame_max", m->frame_max, FRAME_MIN_SIZE, c->frame_max) ||
        !negotiated(c, "channel_max", m->channel_max, 0, c->channel_max))
        return;
    c->frame_max = m->frame_max;
    // PROTOCOL: clients that count the payload alone get eight bytes of tolerance, as in RabbitMQ.
    c->payload_max = m->frame_max;
    c->channel_max = m->channel_max;
    c->heartbeat_s = m->heartbeat;
    connection_set_state(c, CONNECTION_OPENING);
}

static void
on_blocked(void *ctx, const char *reason)
{
    struct connection *c = ctx;
    if (c->state != CONNECTION_RUNNING || (c->capabilities & CLIENT_BLOCKED) == 0)
        return;
    struct buf *scratch = &c->aw->scratch;
    if (reason != NULL)
        amqp_frame_connection_blocked(
            scratch, 0, &(struct amqp_connection_blocked){.reason = amqp_shortstr_cut(slice_str(reason))});
    else
        amqp_frame_connection_unblocked(scratch, 0);
    connection_send_scratch(c);
}

static void
on_close(void *ctx, const struct fault *f)
{
    connection_fault(ctx, f, 0);
}

static void
on_hold(void *ctx)
{
    struct connection *c = ctx;
    c->is_must_wait = true;
}

static size_t
unsent(void *ctx)
{
    const struct connection *c = ctx;
    return output_size(&c->out);
}

static const struct client_events client_event_table = {
    .close = on_close, .blocked = on_blocked, .hold = on_hold, .unsent = unsent};

static bool
is_node_full(struct connection *c, struct fault *f)
{
    uint32_t limit = c->aw->config->connection_max;
    if (limit == AMQP_UNLIMITED || amqp_node_sum(c->aw, offsetof(struct amqp_worker, open_count)) < limit)
        return false;
    fault_set(f, FAULT_NOT_ALLOWED, "connection refused: node connection limit (%" PRIu32 ") is reached",
              limit);
    f->reason = REASON_REFUSED_NODE_CONNECTIONS;
    return true;
}

static void
open_vhost(struct connection *c, const struct amqp_connection_open *m)
{
    struct fault f = {0};
    struct client_args args = {
        .user = c->user,
        .vhost = m->virtual_host,
        .name = c->name,
        .protocol = SLICE_LIT("AMQP 0-9-1"),
        .events = &client_event_table,
        .ctx = c,
        .describe = connection_describe,
        .traffic = connection_traffic,
    };
    if (is_node_full(c, &f) || (c->client = client_open(c->aw->worker, &args, &f)) == NULL) {
        f.is_connection = true;
        (void)keep_slice(&c->vhost, m->virtual_host); // for the log and the reason
        connection_fault(c, &f, AMQP_CONNECTION_OPEN);
        return;
    }
    count_u32(&c->aw->open_count, 1);
    count_u64(&c->aw->opened, 1);
    c->is_open_counted = true;
    c->user_channels = user_channels_get(c->user);
    if (c->user_channels == NULL || keep_slice(&c->vhost, m->virtual_host) != 0) {
        connection_kill(c, "out of memory");
        return;
    }
    c->last_recv_ns = c->last_send_ns = c->aw->worker->now_ns;
    connection_set_state(c, CONNECTION_RUNNING);
    if (log_limit_pass(&c->aw->limit_accept, c->aw->worker->now_ns, "opened connections"))
        log_info(LOG_CONNECTION,
                 "connection %.*s: user '%.*s' authenticated and granted access to vhost '%.*s'",
                 SLICE_FMT(c->name), SLICE_FMT(c->user), SLICE_FMT(c->vhost));
    amqp_frame_connection_open_ok(&c->aw->scratch, 0);
    connection_send_scratch(c);
}

// --- methods on channel 0 ----------------------------------------------------------------------------------

static void
closing_method(struct connection *c, uint32_t id)
{
    if (id == AMQP_CONNECTION_CLOSE &&
        !c->has_sent_close_ok) {     // both closed at once: ours is still to be answered
        c->has_sent_close_ok = true; // one is enough: who sends more and reads nothing would fill our memory
        amqp_frame_connection_close_ok(&c->aw->scratch, 0);
        connection_send_scratch(c);
    } else if (id == AMQP_CONNECTION_CLOSE_OK && (c->client != NULL || c->is_client_closing)) {
        c->is_answered =
            true; // the socket ends when its exclusive queues are gone, so that it can declare them again
    } else if (id == AMQP_CONNECTION_CLOSE_OK) {
        connection_set_state(c, CONNECTION_FLUSHING);
        connection_output_added(c);
    }
}

void
handshake_method(struct connection *c, uint32_t id, const union amqp_method *m)
{
    if (c->state == CONNECTION_CLOSING) {
        closing_method(c, id);
    } else if (id == AMQP_CONNECTION_START_OK && c->state == CONNECTION_STARTING) {
        start_ok(c, &m->connection_start_ok);
    } else if (id == AMQP_CONNECTION_TUNE_OK && c->state == CONNECTION_TUNING) {
        tune_ok(c, &m->connection_tune_ok);
    } else if (id == AMQP_CONNECTION_OPEN && c->state == CONNECTION_OPENING) {
        open_vhost(c, &m->connection_open);
    } else if (id == AMQP_CONNECTION_CLOSE) {
        connection_close_by_client(c);
    } else if (id == AMQP_CONNECTION_UPDATE_SECRET && c->state == CONNECTION_RUNNING) {
        amqp_frame_connection_update_secret_ok(&c->aw->scratch,
                                               0); // passwords do not run out: there is nothing to renew
        connection_send_scratch(c);
    } else {
        struct fault f;
        fault_set(&f, FAULT_CHANNEL_ERROR, "unexpected method in connection state %s", state_names[c->state]);
        f.is_connection = true;
        connection_fault(c, &f, id);
    }
}
