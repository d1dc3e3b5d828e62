// session_intercept.c: what is added to a message on its way in, where the configuration asks for it (message_interceptors.incoming.*).
//
// set_header_timestamp: the property timestamp in seconds and the header timestamp_in_ms. set_header_routing_node: the header
// x-routed-by with the node's name. A message is immutable once it is made, so the changed one is a copy.
#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// Replaces `headers` (bytes of which are in *room) by a table that has that field.
static void
put_header(struct amqp_basic_props *props, const char *name, const struct field *value, enum intercept how,
           struct buf *room)
{
    struct field there;
    struct slice key = slice_str(name);
    if (how != INTERCEPTOR_OVERWRITE && table_find(props->headers, key, &there))
        return;
    struct buf with = BUF_INIT;
    table_copy_with_first(props->headers, key, value, &with);
    buf_fini(room);
    *room = with;
    props->headers = buf_slice(room);
    props->flags |= AMQP_PROP_HEADERS;
}

static void
put_timestamp(struct amqp_basic_props *props, enum intercept how, int64_t now_ms, struct buf *room)
{
    struct field ms = field_i64(now_ms);
    put_header(props, "timestamp_in_ms", &ms, how, room);
    if (how == INTERCEPTOR_KEEP && amqp_props_has(props, AMQP_PROP_TIMESTAMP))
        return;
    props->timestamp = (uint64_t)now_ms / 1000;
    props->flags |= AMQP_PROP_TIMESTAMP;
}

bool
session_intercept(struct session *s, struct message **msg, struct amqp_basic_props *props)
{
    const struct broker_worker *b = s->client->broker;
    const struct broker_config *config = &b->config;
    struct message *old = *msg, *fresh = NULL;
    struct buf room = BUF_INIT, encoded = BUF_INIT;
    if (config->set_timestamp != INTERCEPTOR_OFF)
        put_timestamp(props, config->set_timestamp, b->worker->now_ms, &room);
    if (config->set_routing_node != INTERCEPTOR_OFF) {
        struct field node = field_longstr(config->node_name);
        put_header(props, "x-routed-by", &node, config->set_routing_node, &room);
    }
    amqp_props_encode(&encoded, props);
    if (!room.failed && !encoded.failed)
        fresh =
            message_new(message_exchange(old), message_routing_key(old), buf_slice(&encoded), old->body_len);
    buf_fini(&room);
    buf_fini(&encoded);
    if (fresh == NULL || amqp_props_decode_trusted(message_properties(fresh), props) != 0) {
        message_unref(fresh);
        return false;
    }
    if (old->body_len > 0)
        memcpy(message_body_mut(fresh), message_body(old).ptr, old->body_len);
    *msg = fresh;
    message_unref(old);
    return true;
}
