// api_messages.c: publish and get over the HTTP API, each as one user of the session layer (api_session.c).
//
// Publish: a message made of the JSON, published as mandatory with confirms on: the answer waits until its queues have taken it as
// durably as they promise; "routed" is false when it came back. Get: basic.get one after the other, then all are settled as the
// request says; what was shown to a client that has gone comes back to its place.
#include <openssl/evp.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

// LIMIT: messages of one get; bytes of the answer from which on no more are added.
enum { GET_COUNT_MAX = 10000, GET_BYTES_MAX = 32 * 1024 * 1024 };

// A fault as these two answer it: with its code in front.
static void
answer_fault(struct api_request *r, const struct fault *f)
{
    if (f->code == FAULT_NOT_FOUND && slice_eq_str(api_segment(r, 1), "queues"))
        api_error(r, 404, "not_found", "%s", f->text);
    else if (f->code == FAULT_ACCESS_REFUSED && slice_eq_str(api_segment(r, 1), "queues"))
        api_error(r, 401, "not_authorised", "Access refused.");
    else
        api_error(r, 400, "bad_request", "%u %s", f->code, f->text);
}

// --- properties in ------------------------------------------------------------------------------------------------------------------

struct text_property {
    const char *name;
    enum amqp_prop flag;
    size_t at; // in struct amqp_basic_props
};

static const struct text_property text_properties[] = {
    {"content_type", AMQP_PROP_CONTENT_TYPE, offsetof(struct amqp_basic_props, content_type)},
    {"content_encoding", AMQP_PROP_CONTENT_ENCODING, offsetof(struct amqp_basic_props, content_encoding)},
    {"correlation_id", AMQP_PROP_CORRELATION_ID, offsetof(struct amqp_basic_props, correlation_id)},
    {"reply_to", AMQP_PROP_REPLY_TO, offsetof(struct amqp_basic_props, reply_to)},
    {"expiration", AMQP_PROP_EXPIRATION, offsetof(struct amqp_basic_props, expiration)},
    {"message_id", AMQP_PROP_MESSAGE_ID, offsetof(struct amqp_basic_props, message_id)},
    {"type", AMQP_PROP_TYPE, offsetof(struct amqp_basic_props, type)},
    {"user_id", AMQP_PROP_USER_ID, offsetof(struct amqp_basic_props, user_id)},
    {"app_id", AMQP_PROP_APP_ID, offsetof(struct amqp_basic_props, app_id)},
    {"cluster_id", AMQP_PROP_CLUSTER_ID, offsetof(struct amqp_basic_props, cluster_id)},
};

// False after answering 400.
static bool
take_texts(struct api_request *r, const json_t *from, struct amqp_basic_props *p)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(text_properties); i++) {
        const struct text_property *t = &text_properties[i];
        const json_t *value = json_object_get(from, t->name);
        if (value == NULL)
            continue;
        if (!json_is_string(value)) {
            api_bad_value(r, "not_string", json_string(t->name));
            return false;
        }
        if (json_string_length(value) > 255) {
            api_error(r, 400, "bad_request", "%s is longer than 255 bytes", t->name);
            return false;
        }
        *(struct slice *)(void *)((char *)p + t->at) =
            slice_of(json_string_value(value), json_string_length(value));
        p->flags |= (uint16_t)t->flag;
    }
    return true;
}

// A whole number from 0 to `max`; *ret_has: it is there. False after answering 400.
static bool
take_number(struct api_request *r, const json_t *from, const char *name, int64_t max, int64_t *ret,
            bool *ret_has)
{
    const json_t *value = json_object_get(from, name);
    *ret_has = value != NULL;
    if (value == NULL)
        return true;
    *ret = json_integer_value(value);
    if (json_is_integer(value) && *ret >= 0 && *ret <= max)
        return true;
    api_bad_value(r, "not_int", json_string(name));
    return false;
}

// Slices of *p point into the JSON and into `headers`. False after answering 400.
static bool
take_properties(struct api_request *r, const json_t *from, struct amqp_basic_props *p, struct buf *headers)
{
    int64_t mode = 0, priority = 0, timestamp = 0;
    bool has_mode, has_priority, has_timestamp;
    const json_t *table = json_object_get(from, "headers");
    if (!take_texts(r, from, p) || !take_number(r, from, "delivery_mode", 255, &mode, &has_mode) ||
        !take_number(r, from, "priority", 255, &priority, &has_priority) ||
        !take_number(r, from, "timestamp", INT64_MAX, &timestamp, &has_timestamp))
        return false;
    p->delivery_mode = (uint8_t)mode;
    p->priority = (uint8_t)priority;
    p->timestamp = (uint64_t)timestamp;
    p->flags |=
        (uint16_t)((has_mode ? AMQP_PROP_DELIVERY_MODE : 0) | (has_priority ? AMQP_PROP_PRIORITY : 0) |
                   (has_timestamp ? AMQP_PROP_TIMESTAMP : 0));
    if (table == NULL || (json_is_array(table) && json_array_size(table) == 0))
        return true;
    if (api_table(table, headers) != 0) {
        api_error(r, 400, "bad_request", "headers is not a table");
        return false;
    }
    p->headers = buf_slice(headers);
    p->flags |= (uint16_t)AMQP_PROP_HEADERS;
    return true;
}

// --- publish ------------------------------------------------------------------------------------------------------------------------

// The payload's bytes, in `out`. False after answering 400.
static bool
take_payload(struct api_request *r, struct slice text, struct slice encoding, struct buf *out)
{
    size_t len = 0;
    if (slice_eq_str(encoding, "string")) {
        buf_append_slice(out, text);
    } else if (!slice_eq_str(encoding, "base64")) {
        api_bad_value(r, "unsupported_encoding", json_incref(json_object_get(r->json, "payload_encoding")));
        return false;
    } else if (!buf_reserve(out, text.len) || base64_decode(text, out->ptr, out->cap, &len) != 0) {
        api_bad_value(r, "not_base64", json_incref(json_object_get(r->json, "payload")));
        return false;
    } else {
        out->len = len;
    }
    return true;
}

static struct message *
make_message(struct slice exchange, struct slice key, const struct amqp_basic_props *props,
             struct slice payload)
{
    struct buf encoded = BUF_INIT;
    struct message *msg = NULL;
    amqp_props_encode(&encoded, props);
    if (!encoded.failed)
        msg = message_new(exchange, key, buf_slice(&encoded), (uint32_t)payload.len);
    if (msg != NULL) {
        if (payload.len > 0)
            memcpy(message_body_mut(msg), payload.ptr, payload.len);
        msg->published_ms = clock_wall_ms();
    }
    buf_fini(&encoded);
    return msg;
}

static void
published(struct api_request *r, const struct session_result *result)
{
    struct fault f = result->fault;
    bool is_routed = result->message_count == 0 && !api_channel_was_returned(r);
    api_channel_close(r);
    if (f.code != FAULT_NONE) {
        answer_fault(r, &f);
        return;
    }
    buf_printf(&r->out, "{\"routed\":%s}", is_routed ? "true" : "false");
    api_reply(r, 200);
}

static void
publish(struct api_request *r, struct message *msg)
{
    struct amqp_basic_props props;
    struct fault f = {0};
    if (!api_channel_open(r, api_segment(r, 2), published)) {
        message_unref(msg);
        return;
    }
    LV_CLEANUP(buf_fini) struct buf full = BUF_INIT;
    if (client_is_vhost_full(api_channel_client(r), &full)) {
        api_channel_close(r);
        message_unref(msg);
        api_error(r, 503, "resource_alarm", "publishers are blocked: %s", buf_cstr(&full));
        return;
    }
    struct session *s = api_channel_session(r);
    bool is_good = amqp_props_decode(message_properties(msg), &props) == 0 && session_confirm_select(s, &f);
    if (!is_good)
        message_unref(msg);
    if (is_good && session_publish(s, msg, &props, true, &f))
        return; // its confirm answers
    api_channel_close(r);
    if (f.code == FAULT_NONE)
        fault_set(&f, FAULT_SYNTAX_ERROR, "malformed properties");
    answer_fault(r, &f);
}

bool
api_is_alarmed(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = {0};
    if (n->resources != NULL)
        n->resources(n->ctx, &resources);
    if (!resources.has_memory_alarm && !resources.has_disk_alarm)
        return false;
    api_error(r, 503, "resource_alarm", "publishers are blocked: low on %s",
              resources.has_memory_alarm ? "memory" : "disk");
    return true;
}

// {"properties":{…}, "routing_key":…, "payload":…, "payload_encoding":"string"|"base64"}
static void
post_publish(struct api_request *r)
{
    struct slice key, payload, encoding, exchange = api_segment(r, 3);
    struct buf headers = BUF_INIT, body = BUF_INIT;
    struct amqp_basic_props props = {0};
    const json_t *properties = json_object_get(r->json, "properties");
    const json_t *given = json_object_get(r->json, "payload");
    if (slice_eq_str(exchange, "amq.default"))
        exchange = SLICE_EMPTY;
    if (api_is_alarmed(r) || !api_take_string(r, "routing_key", &key))
        return;
    if (properties == NULL)
        api_key_missing(r, "properties");
    else if (given == NULL)
        api_key_missing(r, "payload");
    else if (!api_take_string(r, "payload_encoding", &encoding))
        return;
    else if (!api_string(r, "payload", &payload))
        api_error(r, 400, "bad_request", "payload_not_string");
    else if (key.len > 255 || exchange.len > 255)
        api_error(r, 400, "bad_request", "routing_key and exchange have at most 255 bytes");
    else if (take_properties(r, properties, &props, &headers) && take_payload(r, payload, encoding, &body)) {
        struct message *msg = body.failed ? NULL : make_message(exchange, key, &props, buf_slice(&body));
        if (msg != NULL)
            publish(r, msg);
        else
            api_no_memory(r);
    }
    buf_fini(&headers);
    buf_fini(&body);
}

// --- properties and payload out -------------------------------------------------------------------------------------------------------

void
api_put_properties(struct api_out *o, const struct message *msg)
{
    struct amqp_basic_props p;
    bool has_any = amqp_props_decode_trusted(message_properties(msg), &p) == 0 && p.flags != 0;
    if (!has_any) { // PROTOCOL: clients know an empty list
        api_out_array(o, "properties");
        api_out_end(o);
        return;
    }
    api_out_object(o, "properties");
    for (size_t i = 0; i < LV_ARRAY_LEN(text_properties); i++) {
        const struct text_property *t = &text_properties[i];
        if (amqp_props_has(&p, t->flag))
            api_out_slice(o, t->name, *(struct slice *)(void *)((char *)&p + t->at));
    }
    if (amqp_props_has(&p, AMQP_PROP_DELIVERY_MODE))
        api_out_int(o, "delivery_mode", p.delivery_mode);
    if (amqp_props_has(&p, AMQP_PROP_PRIORITY))
        api_out_int(o, "priority", p.priority);
    if (amqp_props_has(&p, AMQP_PROP_TIMESTAMP))
        api_out_int(o, "timestamp", (int64_t)p.timestamp);
    if (amqp_props_has(&p, AMQP_PROP_HEADERS))
        api_out_table(o, "headers", p.headers);
    api_out_end(o);
}

static void
put_payload(struct api_out *o, struct slice body, bool is_base64)
{
    if (!is_base64 && utf8_is_valid(body)) {
        api_out_slice(o, "payload", body);
        api_out_str(o, "payload_encoding", "string");
        return;
    }
    struct buf text = BUF_INIT;
    size_t size = (body.len + 2) / 3 * 4 + 1;
    if (buf_reserve(&text, size))
        text.len = base64_encode(body, (char *)text.ptr, text.cap);
    o->out->failed |= text.failed;
    api_out_slice(o, "payload", buf_slice(&text));
    api_out_str(o, "payload_encoding", "base64");
    buf_fini(&text);
}

// --- get ------------------------------------------------------------------------------------------------------------------------------

struct getting {
    int64_t left; // messages wanted
    bool is_requeue, is_reject, is_base64, is_settling;
    int64_t truncate; // -1: whole
    uint64_t last_tag;
};

static void
get_end(struct api_request *r)
{
    api_channel_close(r); // gives back what was not settled
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    api_reply(r, 200);
}

static void
get_settle(struct api_request *r)
{
    struct getting *g = r->state;
    struct fault f = {0};
    g->is_settling = true;
    if (g->is_requeue || g->last_tag == 0) {
        get_end(r);
        return;
    }
    struct session *s = api_channel_session(r);
    bool is_done = session_settle(s, g->last_tag, true, g->is_reject ? SETTLE_REJECT : SETTLE_ACK, &f);
    if (!is_done) {
        api_channel_close(r);
        buf_reset(&r->out);
        answer_fault(r, &f);
    } else if (!session_is_busy(s)) {
        get_end(r);
    }
}

void
api_put_message(struct api_out *o, const struct message *msg, const struct api_shown *how)
{
    struct slice body = message_body(msg);
    api_out_int(o, "payload_bytes", (int64_t)body.len);
    api_out_bool(o, "redelivered", how->is_redelivered);
    api_out_slice(o, "exchange", message_exchange(msg));
    api_out_slice(o, "routing_key", message_routing_key(msg));
    api_put_properties(o, msg);
    if (how->truncate >= 0)
        body.len = LV_MIN(body.len, (size_t)how->truncate);
    put_payload(o, body, how->is_base64);
}

static void
put_message(struct api_request *r, const struct session_result *result)
{
    const struct getting *g = r->state;
    struct api_out o;
    api_out_init(&o, &r->out, NULL);
    api_out_object(&o, NULL);
    api_out_int(&o, "message_count", (int64_t)result->message_count);
    api_put_message(&o, result->msg,
                    &(struct api_shown){.is_redelivered = result->is_redelivered,
                                        .is_base64 = g->is_base64,
                                        .truncate = g->truncate});
    api_out_end(&o);
    buf_append_u8(&r->out, ',');
}

static void
got(struct api_request *r, const struct session_result *result)
{
    struct getting *g = r->state;
    if (result->fault.code != FAULT_NONE) {
        struct fault f = result->fault;
        api_channel_close(r);
        buf_reset(&r->out);
        answer_fault(r, &f);
        return;
    }
    if (g->is_settling) {
        get_end(r);
        return;
    }
    if (result->msg != NULL) {
        put_message(r, result);
        g->last_tag = result->delivery_tag;
        g->left--;
    }
    if (result->msg == NULL || g->left <= 0 || r->out.len > GET_BYTES_MAX || r->out.failed)
        get_settle(r);
    else
        session_get(api_channel_session(r), api_segment(r, 3), false);
}

// A number, or one as text.
static bool
take_count(struct api_request *r, int64_t *ret)
{
    struct slice text;
    char room[16] = "";
    char *end = room;
    if (api_int(r, "count", ret))
        return true;
    if (api_string(r, "count", &text) && text.len > 0 && text.len < sizeof room) {
        memcpy(room, text.ptr, text.len);
        *ret = strtoll(room, &end, 10);
        if (*end == '\0')
            return true;
    }
    if (json_object_get(r->json, "count") == NULL)
        api_key_missing(r, "count");
    else
        api_bad_value(r, "not_integer", json_incref(json_object_get(r->json, "count")));
    return false;
}

// What the body asks for. False after answering 400.
static bool
take_getting(struct api_request *r, struct getting *g)
{
    struct slice mode, encoding;
    g->truncate = -1;
    if (!take_count(r, &g->left) || !api_take_string(r, "ackmode", &mode) ||
        !api_take_string(r, "encoding", &encoding))
        return false;
    bool is_ack = slice_has_prefix(mode, SLICE_LIT("ack_requeue_"));
    g->is_reject = slice_has_prefix(mode, SLICE_LIT("reject_requeue_"));
    struct slice last = is_ack ? slice_from(mode, 12) : g->is_reject ? slice_from(mode, 15) : SLICE_EMPTY;
    g->is_requeue = slice_eq_str(last, "true");
    g->is_base64 = slice_eq_str(encoding, "base64");
    api_int(r, "truncate", &g->truncate);
    if (!g->is_requeue && !slice_eq_str(last, "false"))
        api_bad_value(r, "unknown_ackmode", json_incref(json_object_get(r->json, "ackmode")));
    else if (!g->is_base64 && !slice_eq_str(encoding, "auto"))
        api_error(r, 400, "bad_request", "Unsupported encoding. Please use auto or base64.");
    else
        return true;
    return false;
}

// {"count":…, "ackmode":…, "encoding":"auto"|"base64", "truncate":…}
static void
post_get(struct api_request *r)
{
    struct getting g = {0};
    if (!take_getting(r, &g))
        return;
    struct getting *kept = mem_alloc(sizeof *kept);
    if (kept == NULL) {
        api_no_memory(r);
        return;
    }
    g.left = LV_MIN(g.left, (int64_t)GET_COUNT_MAX);
    *kept = g;
    r->state = kept;
    r->state_free = mem_free;
    if (!api_channel_open(r, api_segment(r, 2), got))
        return;
    buf_append_u8(&r->out, '[');
    if (g.left > 0)
        session_get(api_channel_session(r), api_segment(r, 3), false);
    else
        get_end(r);
}

const struct api_route api_routes_messages[] = {
    {API_POST, "/api/exchanges/*/*/publish", post_publish, API_FOR_MANAGEMENT, 2},
    {API_POST, "/api/queues/*/*/get", post_get, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
