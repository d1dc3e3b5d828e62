// event.c: events of connections, channels, consumers, log-ins and alarms. See event.h.
#include "src/broker/event.h"

#include "src/base/clock.h"
#include "src/broker/announce.h"
#include "src/broker/session_impl.h"

struct event *
event_begin(struct event *e)
{
    e->headers = (struct buf)BUF_INIT;
    e->w = table_writer_of(&e->headers);
    return e;
}

struct message *
event_end(struct event *e, const char *key, struct slice user)
{
    int64_t now_ms = clock_wall_ms();
    struct message *m = NULL;
    table_put_longstr(&e->w, SLICE_LIT("user_who_performed_action"),
                      user.len > 0 ? user : SLICE_LIT("rmq-internal"));
    table_put_i64(&e->w, SLICE_LIT("timestamp_in_ms"), now_ms);
    struct amqp_basic_props props = {
        .flags = AMQP_PROP_HEADERS | AMQP_PROP_DELIVERY_MODE | AMQP_PROP_TIMESTAMP,
        .headers = buf_slice(&e->headers),
        .delivery_mode = 2,
        .timestamp = (uint64_t)now_ms / 1000,
    };
    if (!e->headers.failed)
        m = announce_message(EVENT_EXCHANGE, slice_str(key), &props, SLICE_EMPTY);
    buf_fini(&e->headers);
    return m;
}

// The vhost with the exchange, when somebody listens.
static const struct vhost *
heard_in(struct broker_worker *b)
{
    if (LV_LIKELY(b->config.event_vhost.len == 0))
        return NULL;
    const struct vhost *v = topology_vhost(topology_of(b->worker), b->config.event_vhost);
    return v != NULL && announce_is_heard(vhost_exchange(v, SLICE_LIT(EVENT_EXCHANGE))) ? v : NULL;
}

static void
put_connection(struct event *e, const struct client *c)
{
    table_put_longstr(&e->w, SLICE_LIT("name"), c->name);
    table_put_longstr(&e->w, SLICE_LIT("pid"), c->name);
    table_put_longstr(&e->w, SLICE_LIT("node"), c->broker->config.node_name);
}

void
event_connection(const struct client *c, bool is_created)
{
    struct broker_worker *b = c->broker;
    const struct vhost *v = heard_in(b);
    struct event e;
    if (v == NULL)
        return;
    put_connection(event_begin(&e), c);
    if (is_created) {
        table_put_longstr(&e.w, SLICE_LIT("user"), c->user);
        table_put_longstr(&e.w, SLICE_LIT("vhost"), c->vhost);
        table_put_longstr(&e.w, SLICE_LIT("protocol"), c->protocol);
        table_put_i64(&e.w, SLICE_LIT("connected_at"), c->connected_ms);
    }
    announce(b, v, event_end(&e, is_created ? "connection.created" : "connection.closed", c->user));
}

static void
channel_name(const struct session *s, struct buf *out)
{
    buf_append_slice(out, s->client->name);
    buf_printf(out, " (%u)", s->number);
}

void
event_channel(const struct session *s, bool is_created)
{
    struct broker_worker *b = s->client->broker;
    const struct vhost *v = heard_in(b);
    LV_CLEANUP(buf_fini) struct buf name = BUF_INIT;
    struct event e;
    if (v == NULL)
        return;
    channel_name(s, &name);
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("pid"), buf_slice(&name));
    table_put_longstr(&e.w, SLICE_LIT("name"), buf_slice(&name));
    if (is_created) {
        table_put_longstr(&e.w, SLICE_LIT("connection"), s->client->name);
        table_put_i64(&e.w, SLICE_LIT("number"), s->number);
        table_put_longstr(&e.w, SLICE_LIT("user"), s->client->user);
        table_put_longstr(&e.w, SLICE_LIT("vhost"), s->client->vhost);
    }
    announce(b, v, event_end(&e, is_created ? "channel.created" : "channel.closed", s->client->user));
}

void
event_consumer(const struct session *s, const struct session_consumer *c, bool is_created)
{
    struct broker_worker *b = s->client->broker;
    const struct vhost *v = heard_in(b);
    LV_CLEANUP(buf_fini) struct buf name = BUF_INIT;
    struct event e;
    if (v == NULL)
        return;
    channel_name(s, &name);
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("consumer_tag"), c->tag);
    table_put_longstr(&e.w, SLICE_LIT("channel"), buf_slice(&name));
    table_put_longstr(&e.w, SLICE_LIT("queue"), c->queue_name);
    table_put_longstr(&e.w, SLICE_LIT("vhost"), s->client->vhost);
    if (is_created) {
        table_put_bool(&e.w, SLICE_LIT("exclusive"), c->is_exclusive);
        table_put_bool(&e.w, SLICE_LIT("ack_required"), !c->is_no_ack);
        table_put_i64(&e.w, SLICE_LIT("prefetch_count"), c->prefetch);
        table_put_table(&e.w, SLICE_LIT("arguments"), c->arguments);
    }
    announce(b, v, event_end(&e, is_created ? "consumer.created" : "consumer.deleted", s->client->user));
}

void
event_alarm(struct broker_worker *b, const char *alarm, bool is_set)
{
    const struct vhost *v = heard_in(b);
    struct event e;
    if (v == NULL)
        return;
    event_begin(&e);
    table_put_str(&e.w, SLICE_LIT("alarm"), alarm);
    table_put_longstr(&e.w, SLICE_LIT("node"), b->config.node_name);
    announce(b, v, event_end(&e, is_set ? "alarm.set" : "alarm.cleared", SLICE_EMPTY));
}

void
event_login(struct worker *w, const struct event_login *login)
{
    struct broker_worker *b = broker_of(w);
    const struct vhost *v = heard_in(b);
    struct event e;
    if (v == NULL)
        return;
    event_begin(&e);
    table_put_longstr(&e.w, SLICE_LIT("name"), login->user);
    table_put_longstr(&e.w, SLICE_LIT("connection_name"), login->connection);
    table_put_str(&e.w, SLICE_LIT("connection_type"), "network");
    table_put_longstr(&e.w, SLICE_LIT("auth_mechanism"), login->mechanism);
    table_put_longstr(&e.w, SLICE_LIT("peer_host"), login->peer_host);
    table_put_i64(&e.w, SLICE_LIT("peer_port"), login->peer_port);
    table_put_bool(&e.w, SLICE_LIT("ssl"), false);
    if (login->error != NULL)
        table_put_str(&e.w, SLICE_LIT("error"), login->error);
    announce(b, v,
             event_end(&e,
                       login->error == NULL ? "user.authentication.success" : "user.authentication.failure",
                       login->user));
}
