// session_delay.c: publishing a message that has a delay, where exchanges may delay it.
//
// Happy path: routing leads to the queues of delayed exchanges (QUEUE_DELAY) instead of through these; into them goes the message with the delay
// as its time to live, BCC and all, as it is routed again when it comes out; other queues on its way, before a delayed exchange or beside it, get it now.
//
// A mandatory message is decided about now, by a dry run: as if there was no delay. One that nobody would get is returned and not kept;
// otherwise it is kept, and is not returned whatever becomes of the bindings.
#include "src/base/mem.h"
#include "src/broker/announce.h"
#include "src/broker/delay.h"
#include "src/broker/session_impl.h"
#include "src/broker/trace.h"

// Where it goes; copied, as sending may change what there is.
struct delayed_route {
    lv_handle *now, *later; // one block
    size_t now_count, later_count;
};

static int
split(const struct route_result *route, struct delayed_route *ret)
{
    *ret = (struct delayed_route){.now = mem_alloc((route->count * 2 + 1) * sizeof(ret->now[0]))};
    if (ret->now == NULL)
        return -LE_NOMEM;
    ret->later = ret->now + route->count;
    for (size_t i = 0; i < route->count; i++) {
        const struct queue_def *q = route->queues[i];
        if ((q->flags & QUEUE_DELAY) != 0)
            ret->later[ret->later_count++] = q->handle;
        else
            ret->now[ret->now_count++] = q->handle;
    }
    return 0;
}

// The message that waits; a reference of the caller's.
static struct message *
parked_message(struct publish *p, const struct delayed_route *route, uint32_t delay_ms)
{
    if (route->now_count > 0)
        return delay_parked(p->msg, delay_ms);
    p->msg->expiry_ms = delay_ms; // nobody has seen it
    p->msg->flags |= MESSAGE_HAS_EXPIRY;
    return message_ref(p->msg);
}

static int
send_delayed(struct session *s, struct publish *p, const struct delayed_route *route, uint32_t delay_ms)
{
    struct message *parked = NULL;
    if (route->later_count > 0 && (parked = parked_message(p, route, delay_ms)) == NULL)
        return -LE_NOMEM;
    int err = route->now_count > 0 && p->keys->has_bcc ? publish_strip_bcc(p) : 0;
    if (err == 0) {
        publish_send(s, p->msg, route->now, route->now_count, p->number);
        publish_send(s, parked, route->later, route->later_count, p->number);
    }
    message_unref(parked);
    return err;
}

int
publish_delayed(struct session *s, const struct vhost *v, struct route_request *request, struct publish *p,
                uint32_t delay_ms, size_t *ret_count)
{
    struct route_graph graph = vhost_route_graph(v);
    struct route_ctx *ctx = s->client->broker->route;
    struct route_result result = {0};
    struct delayed_route route;
    *ret_count = 0;
    if (p->is_mandatory) {
        int err = route_resolve(ctx, &graph, request, &result);
        if (err != 0 || result.count == 0)
            return err;
    }
    request->is_delayed = true;
    int err = route_resolve(ctx, &graph, request, &result);
    if (err == 0)
        err = split(&result, &route);
    if (err != 0)
        return err;
    *ret_count = result.count;
    struct message *traced = v->is_tracing ? trace_publish(s, v, p, result.queues, result.count) : NULL;
    err = send_delayed(s, p, &route, delay_ms);
    announce(s->client->broker, v, traced);
    mem_free(route.now);
    return err;
}
