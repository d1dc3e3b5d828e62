// session_list.c: what the connections, channels and consumers of one worker look like to the HTTP API and leveretctl.
#include "src/broker/json.h"
#include "src/broker/session_impl.h"

static void
list_connection(struct client *c, struct buf *out)
{
    size_t channels = 0;
    LV_LIST_EACH (it, &c->sessions)
        channels++;
    buf_append_u8(out, '{');
    if (c->describe != NULL)
        c->describe(c->ctx, out);
    json_put_member_string(out, "name", c->name);
    json_put_member_string(out, "user", c->user);
    json_put_member_string(out, "user_who_performed_action", c->user);
    json_put_member_string(out, "vhost", c->vhost);
    json_put_member_string(out, "protocol", c->protocol);
    json_put_member_int(out, "channels", (int64_t)channels);
    json_put_member_int(out, "connected_at", c->connected_ms);
    json_put_member_int(out, "connection_id", (int64_t)c->id);
    json_put_member_string(out, "state", c->is_blocked ? SLICE_LIT("blocked") : SLICE_LIT("running"));
    json_drop_comma(out);
    buf_append_str(out, "},");
}

static void
put_channel_name(struct buf *out, const struct session *s)
{
    struct buf name = BUF_INIT;
    buf_printf(&name, "%.*s (%u)", SLICE_FMT(s->client->name), s->number);
    json_put_member_string(out, "name", buf_slice(&name));
    buf_fini(&name);
}

static void
list_channel(struct session *s, struct buf *out)
{
    const struct confirm_window *cw = &s->confirm;
    buf_append_u8(out, '{');
    put_channel_name(out, s);
    buf_append_str(out, "\"connection_details\":{");
    json_put_member_string(out, "name", s->client->name);
    json_drop_comma(out);
    buf_append_str(out, "},");
    json_put_member_int(out, "connection_id", (int64_t)s->client->id);
    json_put_member_int(out, "number", s->number);
    json_put_member_string(out, "user", s->client->user);
    json_put_member_string(out, "user_who_performed_action", s->client->user);
    json_put_member_string(out, "vhost", s->client->vhost);
    json_put_member_bool(out, "confirm", cw->is_on);
    json_put_member_bool(out, "transactional", s->tx.is_on);
    // RabbitMQ does not count the consumer of direct replies either.
    json_put_member_int(out, "consumer_count", (int64_t)s->consumers.count - (s->reply_consumer_id != 0));
    json_put_member_int(out, "messages_unacknowledged", (int64_t)(s->unacked_count - s->unacked_settled));
    json_put_member_int(out, "messages_unconfirmed", cw->is_on ? (int64_t)(cw->last - cw->floor) : 0);
    json_put_member_int(out, "messages_uncommitted", (int64_t)s->tx.publish_count);
    json_put_member_int(out, "acks_uncommitted", (int64_t)s->tx.settle_count);
    json_put_member_int(out, "prefetch_count", s->prefetch);
    json_put_member_int(out, "global_prefetch_count", s->global_limit);
    json_put_member_int(out, "replies_dropped", (int64_t)s->stats.replies_dropped);
    json_put_member_string(out, "state", s->client->is_blocked ? SLICE_LIT("flow") : SLICE_LIT("running"));
    buf_append_str(out, "\"message_stats\":{");
    json_put_member_int(out, "publish", (int64_t)s->stats.published);
    json_put_member_int(out, "confirm", (int64_t)s->stats.confirmed);
    json_put_member_int(out, "return_unroutable", (int64_t)s->stats.returned);
    json_put_member_int(out, "deliver", (int64_t)s->stats.delivered);
    json_put_member_int(out, "deliver_no_ack", (int64_t)s->stats.delivered_no_ack);
    json_put_member_int(out, "get", (int64_t)s->stats.got);
    json_put_member_int(out, "get_no_ack", (int64_t)s->stats.got_no_ack);
    json_put_member_int(out, "redeliver", (int64_t)s->stats.redelivered);
    json_put_member_int(out, "ack", (int64_t)s->stats.acked);
    json_drop_comma(out);
    buf_append_str(out, "}},");
}

static void
list_consumer(struct session *s, struct session_consumer *c, struct buf *out)
{
    buf_append_str(out, "{\"channel_details\":{");
    put_channel_name(out, s);
    json_put_member_string(out, "connection_name", s->client->name);
    json_put_member_int(out, "connection_id", (int64_t)s->client->id);
    json_put_member_int(out, "number", s->number);
    json_put_member_string(out, "user", s->client->user);
    json_drop_comma(out);
    buf_append_str(out, "},\"queue\":{");
    json_put_member_string(out, "name", c->queue_name);
    json_put_member_string(out, "vhost", s->client->vhost);
    json_drop_comma(out);
    buf_append_str(out, "},");
    json_put_member_string(out, "consumer_tag", c->tag);
    json_put_member_bool(out, "exclusive", c->is_exclusive);
    json_put_member_bool(out, "ack_required", !c->is_no_ack);
    json_put_member_int(out, "prefetch_count", c->prefetch);
    // For finding this consumer again among a queue's own (struct consumer_info), which know who is active.
    json_put_member_int(out, "session_handle", (int64_t)s->handle);
    json_put_member_int(out, "consumer_id", c->id);
    buf_append_str(out, "\"arguments\":");
    json_put_table(out, c->arguments);
    buf_append_str(out, "},");
}

static void
list_session(struct session *s, enum broker_listing what, struct buf *out)
{
    if (what == LIST_CHANNELS) {
        list_channel(s, out);
        return;
    }
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (c->id != s->reply_consumer_id)
            list_consumer(s, c, out);
    }
}

void
broker_list(struct worker *w, enum broker_listing what, struct buf *out)
{
    struct broker_worker *b = broker_of(w);
    LV_LIST_EACH (it, &b->clients) {
        struct client *c = LV_CONTAINER_OF(it, struct client, node);
        if (what == LIST_CONNECTIONS) {
            list_connection(c, out);
            continue;
        }
        LV_LIST_EACH (node, &c->sessions)
            list_session(LV_CONTAINER_OF(node, struct session, node), what, out);
    }
}
