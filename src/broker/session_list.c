// session_list.c: what the connections, channels and consumers of one worker look like to the HTTP API and leveretctl.
#include "src/broker/json.h"
#include "src/broker/session_impl.h"

// Ours: "held_by", the rule that holds its publishes.
static void
put_connection_state(const struct client *c, struct buf *out)
{
    struct buf by = BUF_INIT;
    enum reason_kind kind;
    bool is_held = !c->is_blocked && client_rate_describe(c, &by, &kind);
    if (!c->is_blocked && !is_held && c->has_published && (c->broker->alarms & ALARM_LOG) != 0) {
        buf_append_str(&by, "the message log makes room");
        is_held = true;
    }
    if (c->is_blocked)
        client_blocked_text(c, &by);
    if (c->is_blocked || is_held)
        json_put_member_string(out, "held_by", buf_slice(&by));
    buf_fini(&by);
    json_put_member_string(out, "state", slice_str(c->is_blocked ? "blocked" : is_held ? "flow" : "running"));
}

static void
put_traffic(const struct client *c, const struct broker_listed *only, struct buf *out, const char *key,
            unsigned series)
{
    const struct json_details d = {
        .key = key,
        .rate = broker_rate(c->broker, c->samples, series),
        .samples = c->samples,
        .series = &series,
        .series_count = 1,
        .range = only->data,
    };
    json_put_details(out, &d, c->broker->worker->now_ms);
}

static void
list_connection(struct client *c, const struct broker_listed *only, struct buf *out)
{
    size_t channels = 0;
    if (only->client_id != 0 && only->data.step_s > 0)
        client_watch(c);
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
    put_traffic(c, only, out, "recv_oct", CLIENT_RECEIVED);
    put_traffic(c, only, out, "send_oct", CLIENT_SENT);
    put_connection_state(c, out);
    json_drop_comma(out);
    buf_append_str(out, "},");
}

// A connection's name is "ADDRESS:PORT -> ADDRESS:PORT"; of others the whole stands for the address.
static void
put_peer(struct buf *out, struct slice name)
{
    size_t end = 0, colon = 0;
    while (end < name.len && name.ptr[end] != ' ') {
        if (name.ptr[end] == ':')
            colon = end;
        end++;
    }
    struct slice host = slice_head(name, colon > 0 ? colon : end);
    int64_t port = 0;
    for (size_t i = colon + 1;
         colon > 0 && i < end && name.ptr[i] >= '0' && name.ptr[i] <= '9' && port < 100000; i++)
        port = port * 10 + (name.ptr[i] - '0');
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = slice_of(host.ptr + 1, host.len - 2);
    json_put_member_string(out, "peer_host", host);
    json_put_member_int(out, "peer_port", port);
}

static void
put_channel_name(struct buf *out, const struct session *s)
{
    struct buf name = BUF_INIT;
    buf_printf(&name, "%.*s (%u)", SLICE_FMT(s->client->name), s->number);
    json_put_member_string(out, "name", buf_slice(&name));
    buf_fini(&name);
}

// One count, or the sum of several; a NULL name: not shown.
static void
put_count(struct buf *out, const struct session *s, const struct broker_listed *only, const char *name,
          const unsigned *series, unsigned count)
{
    const struct broker_worker *b = s->client->broker;
    struct json_details d = {
        .key = name, .samples = s->samples, .series = series, .series_count = count, .range = only->messages};
    uint64_t counts[SESSION_SERIES_COUNT], sum = 0;
    memcpy(counts, &s->stats, sizeof counts);
    for (unsigned i = 0; i < count; i++) {
        sum += counts[series[i]];
        d.rate += broker_rate(b, s->samples, series[i]);
    }
    if (name == NULL)
        return;
    json_put_member_int(out, name, (int64_t)sum);
    json_put_details(out, &d, b->worker->now_ms);
}

// The counts, each with its rate: of struct session_counts, in its order.
static void
put_message_stats(struct buf *out, const struct session *s, const struct broker_listed *only)
{
    static const char *const names[SESSION_SERIES_COUNT] = {"publish",
                                                            NULL,
                                                            "confirm",
                                                            "nack",
                                                            "return_unroutable",
                                                            "drop_unroutable",
                                                            "deliver",
                                                            "deliver_no_ack",
                                                            "get",
                                                            "get_no_ack",
                                                            "get_empty",
                                                            "redeliver",
                                                            "ack",
                                                            "reject",
                                                            "requeue",
                                                            NULL};
    static const unsigned taken[] = {6, 7, 8, 9}; // deliver_get is the sum of them
    buf_append_str(out, "\"message_stats\":{");
    for (unsigned i = 0; i < SESSION_SERIES_COUNT; i++)
        put_count(out, s, only, names[i], &i, 1);
    put_count(out, s, only, "deliver_get", taken, LV_ARRAY_LEN(taken));
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

static void
list_channel(struct session *s, const struct broker_listed *only, struct buf *out)
{
    const struct confirm_window *cw = &s->confirm;
    if (only->client_id != 0 && only->messages.step_s > 0)
        session_watch(s);
    buf_append_u8(out, '{');
    put_channel_name(out, s);
    buf_append_str(out, "\"connection_details\":{");
    json_put_member_string(out, "name", s->client->name);
    put_peer(out, s->client->name);
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
    put_message_stats(out, s, only);
    buf_append_str(out, "},");
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
    put_peer(out, s->client->name);
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
list_session(struct session *s, enum broker_listing what, const struct broker_listed *only, struct buf *out)
{
    if (what == LIST_CHANNELS) {
        list_channel(s, only, out);
        return;
    }
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (c->id != s->reply_consumer_id && (only->queue == 0 || only->queue == c->queue))
            list_consumer(s, c, out);
    }
}

// --- counters ---------------------------------------------------------------------------------------------------------------

static void
put_vhost_counts(struct counters *c, struct buf *out)
{
    size_t cursor = 0;
    uint64_t key;
    void *value;
    buf_append_str(out, "\"vhosts\":[");
    while (inttab_next(&c->vhosts, &cursor, &key, &value)) {
        const struct vhost_counts *v = value;
        buf_append_u8(out, '{');
        json_put_member_string(out, "name", v->name);
        json_put_member_int(out, "id", (int64_t)v->id);
        session_counts_put(&v->sum, out);
        json_drop_comma(out);
        buf_append_str(out, "},");
    }
    json_drop_comma(out);
    buf_append_str(out, "],");
}

static void
put_exchange_counts(struct counters *c, struct buf *out)
{
    size_t cursor = 0;
    uint64_t key;
    void *value;
    buf_append_str(out, "\"exchanges\":[");
    while (inttab_next(&c->exchanges, &cursor, &key, &value)) {
        const struct exchange_counts *x = value;
        buf_printf(out, "[%llu,%llu,%llu],", (unsigned long long)x->id, (unsigned long long)x->in,
                   (unsigned long long)x->out);
    }
    json_drop_comma(out);
    buf_append_str(out, "],");
}

// The figures of the Prometheus metrics of the same names.
static void
put_global_counts(const struct session_counts *all, uint64_t routed, uint64_t publishers, uint64_t consumers,
                  struct buf *out)
{
    buf_append_str(out, "\"global\":{");
    json_put_member_int(out, "messages_received_total", (int64_t)all->published);
    json_put_member_int(out, "messages_received_confirm_total", (int64_t)all->published_confirm);
    json_put_member_int(out, "messages_confirmed_total", (int64_t)all->confirmed);
    json_put_member_int(out, "messages_routed_total", (int64_t)routed);
    json_put_member_int(out, "messages_unroutable_dropped_total", (int64_t)all->dropped);
    json_put_member_int(out, "messages_unroutable_returned_total", (int64_t)all->returned);
    json_put_member_int(out, "messages_delivered_total", (int64_t)(all->delivered + all->delivered_no_ack));
    json_put_member_int(out, "messages_delivered_consume_manual_ack_total", (int64_t)all->delivered);
    json_put_member_int(out, "messages_delivered_consume_auto_ack_total", (int64_t)all->delivered_no_ack);
    json_put_member_int(out, "messages_delivered_get_manual_ack_total", (int64_t)all->got);
    json_put_member_int(out, "messages_delivered_get_auto_ack_total", (int64_t)all->got_no_ack);
    json_put_member_int(out, "messages_get_empty_total", (int64_t)all->got_empty);
    json_put_member_int(out, "messages_redelivered_total", (int64_t)all->redelivered);
    json_put_member_int(out, "messages_acknowledged_total", (int64_t)all->acked);
    json_put_member_int(out, "publishers", (int64_t)publishers);
    json_put_member_int(out, "consumers", (int64_t)consumers);
    json_drop_comma(out);
    buf_append_str(out, "},");
}

// Sums up the sessions that are open and those that were; `publishers`: sessions that have published.
static void
list_counters(struct broker_worker *b, struct buf *out)
{
    struct counters *c = &b->counters;
    uint64_t publishers = 0, consumers = 0, key;
    size_t cursor = 0;
    void *value;
    counters_purge(c, topology_of(b->worker));
    struct session_counts all = c->gone.closed;
    uint64_t routed = c->none.out;
    while (inttab_next(&c->vhosts, &cursor, &key, &value)) {
        struct vhost_counts *v = value;
        v->sum = v->closed;
    }
    LV_LIST_EACH (it, &b->clients) {
        struct client *client = LV_CONTAINER_OF(it, struct client, node);
        struct vhost_counts *v = counters_vhost(c, client->vhost_id, client->vhost);
        LV_LIST_EACH (node, &client->sessions) {
            struct session *s = LV_CONTAINER_OF(node, struct session, node);
            s->stats.published_confirm = s->confirm.last;
            session_counts_add(&v->sum, &s->stats);
            publishers += s->stats.published > 0;
        }
        consumers += client->consumer_count;
    }
    for (cursor = 0; inttab_next(&c->vhosts, &cursor, &key, &value);)
        session_counts_add(&all, &((struct vhost_counts *)value)->sum);
    for (cursor = 0; inttab_next(&c->exchanges, &cursor, &key, &value);)
        routed += ((struct exchange_counts *)value)->out;
    buf_append_u8(out, '{');
    reasons_put_counts(b->reasons, out);
    put_global_counts(&all, routed, publishers, consumers, out);
    put_vhost_counts(c, out);
    put_exchange_counts(c, out);
    json_drop_comma(out);
    buf_append_str(out, "},");
}

static void
list_client(struct client *c, enum broker_listing what, const struct broker_listed *only, struct buf *out)
{
    if (what == LIST_CONNECTIONS) {
        list_connection(c, only, out);
        return;
    }
    LV_LIST_EACH (it, &c->sessions) {
        struct session *s = LV_CONTAINER_OF(it, struct session, node);
        if (only->channel == 0 || only->channel == s->number)
            list_session(s, what, only, out);
    }
}

void
broker_list_only(struct worker *w, enum broker_listing what, const struct broker_listed *only,
                 struct buf *out)
{
    struct broker_worker *b = broker_of(w);
    if (what == LIST_COUNTERS) {
        list_counters(b, out);
        return;
    }
    if (what == LIST_REASONS) {
        reasons_put_recent(b->reasons, out);
        return;
    }
    if (what != LIST_CONSUMERS)
        broker_sampler_watch(b);
    if (only->client_id != 0) {
        struct client *c = inttab_get(&b->clients_by_id, only->client_id);
        if (c != NULL)
            list_client(c, what, only, out);
        return;
    }
    LV_LIST_EACH (it, &b->clients)
        list_client(LV_CONTAINER_OF(it, struct client, node), what, only, out);
}

void
broker_list(struct worker *w, enum broker_listing what, struct buf *out)
{
    broker_list_only(w, what, &(struct broker_listed){0}, out);
}

// --- keys -------------------------------------------------------------------------------------------------------------------------
//
// client id u64 · channel u32 · three names, each with its length u16 in front.

static void
put_name(struct buf *out, struct slice name)
{
    struct slice kept = slice_head(name, LV_MIN(name.len, (size_t)UINT16_MAX));
    buf_append_u16be(out, (uint16_t)kept.len);
    buf_append_slice(out, kept);
}

static void
put_key(struct buf *out, const struct client *c, uint32_t channel, struct slice name)
{
    buf_append_u64be(out, c->id);
    buf_append_u32be(out, channel);
    put_name(out, name);
    put_name(out, c->vhost);
    put_name(out, c->user);
}

void
broker_list_keys(struct worker *w, enum broker_listing what, struct buf *out)
{
    struct broker_worker *b = broker_of(w);
    struct buf name = BUF_INIT;
    LV_LIST_EACH (it, &b->clients) {
        const struct client *c = LV_CONTAINER_OF(it, struct client, node);
        if (what == LIST_CONNECTIONS) {
            put_key(out, c, 0, c->name);
            continue;
        }
        LV_LIST_EACH (node, &c->sessions) {
            const struct session *s = LV_CONTAINER_OF(node, struct session, node);
            if (what == LIST_CONSUMERS && list_is_empty(&s->consumer_list))
                continue;
            buf_reset(&name);
            buf_printf(&name, "%.*s (%u)", SLICE_FMT(c->name), s->number);
            put_key(out, c, s->number, buf_slice(&name));
        }
    }
    out->failed |= name.failed;
    buf_fini(&name);
}

static bool
take_name(struct slice *keys, struct slice *ret)
{
    if (keys->len < 2)
        return false;
    size_t len = (size_t)(keys->ptr[0] << 8 | keys->ptr[1]);
    if (keys->len - 2 < len)
        return false;
    *ret = slice_of(keys->ptr + 2, len);
    *keys = slice_from(*keys, 2 + len);
    return true;
}

bool
broker_key_next(struct slice *keys, struct broker_key *ret)
{
    uint64_t id = 0;
    uint32_t channel = 0;
    if (keys->len < 12)
        return false;
    for (int i = 0; i < 8; i++)
        id = id << 8 | keys->ptr[i];
    for (int i = 8; i < 12; i++)
        channel = channel << 8 | keys->ptr[i];
    *keys = slice_from(*keys, 12);
    ret->client_id = id;
    ret->channel = channel;
    return take_name(keys, &ret->name) && take_name(keys, &ret->vhost) && take_name(keys, &ret->user);
}
