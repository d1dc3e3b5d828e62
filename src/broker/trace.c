// trace.c: see trace.h.
#include "src/broker/trace.h"

#include "amqp/wire/table.h"
#include "src/broker/announce.h"

#define TRACE_EXCHANGE "amq.rabbitmq.trace"

// LIMIT: bytes of the names in routed_queues, and of the traced message's own headers: more is left out, so that the header frame
// of a trace message has room in a frame of the usual 128 KiB.
enum { TRACE_QUEUES_BYTES = 32 * 1024, TRACE_HEADERS_BYTES = 64 * 1024 };

bool
trace_is_on_slow(struct broker_worker *b, const struct topology *t)
{
    struct pmap_iter it;
    b->is_tracing = false;
    b->trace_version = t->auth_version;
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;)
        b->is_tracing |= v->is_tracing;
    return b->is_tracing;
}

static void
put_string(struct table_writer *w, const char *name, struct slice value, bool is_there)
{
    if (is_there)
        table_put_longstr(w, slice_str(name), value);
}

static void
put_headers(struct table_writer *w, struct slice headers)
{
    struct slice key;
    struct field f;
    // Two levels are added to it; and it was valid on its own with as many as there may be.
    if (headers.len > TRACE_HEADERS_BYTES || table_validate(headers, TABLE_DEPTH_MAX - 2) != 0)
        return;
    table_begin_table(w, SLICE_LIT("headers"));
    struct table_iter it = table_iter_of(headers);
    while (table_iter_next(&it, &key, &f)) {
        if (!slice_eq_str(key, "BCC"))
            table_put_raw(w, it.item);
    }
    table_writer_end(w);
}

// RabbitMQ's order: the last property first.
static void
put_properties(struct table_writer *w, const struct amqp_basic_props *p)
{
    table_begin_table(w, SLICE_LIT("properties"));
    put_string(w, "cluster_id", p->cluster_id, amqp_props_has(p, AMQP_PROP_CLUSTER_ID));
    put_string(w, "app_id", p->app_id, amqp_props_has(p, AMQP_PROP_APP_ID));
    put_string(w, "user_id", p->user_id, amqp_props_has(p, AMQP_PROP_USER_ID));
    put_string(w, "type", p->type, amqp_props_has(p, AMQP_PROP_TYPE));
    if (amqp_props_has(p, AMQP_PROP_TIMESTAMP)) {
        if (p->timestamp <= INT32_MAX)
            table_put_i32(w, SLICE_LIT("timestamp"), (int32_t)p->timestamp);
        else
            table_put_i64(w, SLICE_LIT("timestamp"), (int64_t)p->timestamp);
    }
    put_string(w, "message_id", p->message_id, amqp_props_has(p, AMQP_PROP_MESSAGE_ID));
    put_string(w, "expiration", p->expiration, amqp_props_has(p, AMQP_PROP_EXPIRATION));
    put_string(w, "reply_to", p->reply_to, amqp_props_has(p, AMQP_PROP_REPLY_TO));
    put_string(w, "correlation_id", p->correlation_id, amqp_props_has(p, AMQP_PROP_CORRELATION_ID));
    if (amqp_props_has(p, AMQP_PROP_PRIORITY))
        table_put_i32(w, SLICE_LIT("priority"), p->priority);
    if (amqp_props_has(p, AMQP_PROP_DELIVERY_MODE))
        table_put_i32(w, SLICE_LIT("delivery_mode"), p->delivery_mode);
    if (amqp_props_has(p, AMQP_PROP_HEADERS))
        put_headers(w, p->headers);
    put_string(w, "content_encoding", p->content_encoding, amqp_props_has(p, AMQP_PROP_CONTENT_ENCODING));
    put_string(w, "content_type", p->content_type, amqp_props_has(p, AMQP_PROP_CONTENT_TYPE));
    table_writer_end(w);
}

static void
put_message(struct table_writer *w, const struct session *s, struct slice exchange,
            const struct publish_keys *keys, const struct amqp_basic_props *props)
{
    table_put_longstr(w, SLICE_LIT("exchange_name"), exchange);
    table_begin_array(w, SLICE_LIT("routing_keys"));
    for (size_t i = 0; i < keys->count; i++)
        array_put_longstr(w, keys->keys[i]);
    table_writer_end(w);
    put_properties(w, props);
    table_put_longstr(w, SLICE_LIT("node"), s->client->broker->config.node_name);
}

static void
put_session(struct table_writer *w, const struct session *s)
{
    table_put_longstr(w, SLICE_LIT("vhost"), s->client->vhost);
    table_put_longstr(w, SLICE_LIT("connection"), s->client->name);
    table_put_i32(w, SLICE_LIT("channel"), s->number);
    table_put_longstr(w, SLICE_LIT("user"), s->client->user);
}

static void
put_queues(struct table_writer *w, const struct queue_def *const *queues, size_t count)
{
    size_t bytes = 0;
    table_begin_array(w, SLICE_LIT("routed_queues"));
    for (size_t i = 0; i < count && bytes < TRACE_QUEUES_BYTES; i++) {
        if ((queues[i]->flags & QUEUE_DELAY) != 0)
            continue;
        bytes += queues[i]->name.len;
        array_put_longstr(w, queues[i]->name);
    }
    table_writer_end(w);
}

static struct message *
finish(const char *kind, struct slice name, const struct buf *headers, struct slice body)
{
    LV_CLEANUP(buf_fini) struct buf key = BUF_INIT;
    buf_append_str(&key, kind);
    buf_append_slice(&key, name);
    if (headers->failed || key.failed)
        return NULL;
    struct amqp_basic_props props = {.flags = AMQP_PROP_HEADERS, .headers = buf_slice(headers)};
    return announce_message(TRACE_EXCHANGE, buf_slice(&key), &props, body);
}

struct message *
trace_publish(struct session *s, const struct vhost *v, const struct publish *p,
              const struct queue_def *const *queues, size_t count)
{
    struct slice exchange = message_exchange(p->msg);
    if (!v->is_tracing || slice_eq_str(exchange, TRACE_EXCHANGE) ||
        !announce_is_heard(vhost_exchange(v, SLICE_LIT(TRACE_EXCHANGE))))
        return NULL;
    LV_CLEANUP(buf_fini) struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    put_message(&w, s, exchange, p->keys, p->props);
    put_session(&w, s);
    put_queues(&w, queues, count);
    return finish("publish.", exchange, &headers, message_body(p->msg));
}

void
trace_deliver(struct session *s, struct slice queue, struct message *msg, bool is_redelivered)
{
    struct fault ignored;
    struct amqp_basic_props props;
    struct publish_keys keys;
    const struct vhost *v = client_vhost(s->client, &ignored);
    struct slice exchange = message_exchange(msg);
    if (v == NULL || !v->is_tracing || slice_eq_str(exchange, TRACE_EXCHANGE) ||
        !announce_is_heard(vhost_exchange(v, SLICE_LIT(TRACE_EXCHANGE))) ||
        amqp_props_decode_trusted(message_properties(msg), &props) != 0)
        return;
    if (!publish_keys_of(msg, props.headers, &keys, &ignored))
        keys.count = 1; // headers that no client published (a dead letter's)
    LV_CLEANUP(buf_fini) struct buf headers = BUF_INIT;
    struct table_writer w = table_writer_of(&headers);
    put_message(&w, s, exchange, &keys, &props);
    table_put_i32(&w, SLICE_LIT("redelivered"), is_redelivered);
    put_session(&w, s);
    announce(s->client->broker, v, finish("deliver.", queue, &headers, message_body(msg)));
}
