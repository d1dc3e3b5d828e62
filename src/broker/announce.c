// announce.c: see announce.h.
#include "src/broker/announce.h"

#include "amqp/wire/props.h"
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

struct message *
announce_message(const char *exchange, struct slice key, const struct amqp_basic_props *props,
                 struct slice body)
{
    LV_CLEANUP(buf_fini) struct buf encoded = BUF_INIT;
    if (body.len > UINT32_MAX)
        return NULL;
    amqp_props_encode(&encoded, props);
    if (encoded.failed)
        return NULL;
    struct message *m = message_new(slice_str(exchange), slice_head(key, LV_MIN(key.len, (size_t)255)),
                                    buf_slice(&encoded), (uint32_t)body.len);
    if (m == NULL)
        return NULL;
    if (body.len > 0)
        memcpy(message_body_mut(m), body.ptr, body.len);
    if (amqp_props_has(props, AMQP_PROP_DELIVERY_MODE) && props->delivery_mode == 2)
        m->flags = MESSAGE_PERSISTENT;
    return m;
}

static void
send(struct message *msg, const struct route_result *route)
{
    lv_handle few[64], *handles = few;
    if (route->count > LV_ARRAY_LEN(few) && (handles = mem_alloc(route->count * sizeof(*handles))) == NULL)
        return;
    // A copy: who takes one may change what there is.
    size_t count = route->count;
    for (size_t i = 0; i < count; i++)
        handles[i] = route->queues[i]->handle;
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && handle_worker(handles[next]) == handle_worker(handles[i]);)
            next++;
        queue_publish(msg, handles + i, (unsigned)(next - i), 0, 0);
    }
    if (handles != few)
        mem_free(handles);
}

void
announce(struct broker_worker *b, const struct vhost *v, struct message *msg)
{
    struct amqp_basic_props props;
    struct route_result route = {0};
    if (msg == NULL)
        return;
    const struct exchange *x = vhost_exchange(v, message_exchange(msg));
    struct slice key = message_routing_key(msg);
    if (announce_is_heard(x) && amqp_props_decode_trusted(message_properties(msg), &props) == 0) {
        struct route_graph graph = vhost_route_graph(v);
        struct route_request request = {
            .exchange = x, .keys = &key, .key_count = 1, .headers = props.headers, .props = &props};
        msg->published_ms = b->worker->now_ms;
        if (route_resolve(b->route, &graph, &request, &route) == 0)
            send(msg, &route);
    }
    message_unref(msg);
}
