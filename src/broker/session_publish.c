// session_publish.c: publishing: from a message to the queues it goes to.
//
// Happy path (AMQP 0-9-1 §1.8.3.7): exchange, key and the user's rights are those of the last publish of this session and the
// topology has not changed: the queues are in the memo, one operation goes to their worker. Otherwise: exchange, write
// permission, topic permission, checks of the properties, routing through bindings and alternate exchanges.
//
// A message that no queue wants is dropped, returned (mandatory), and confirmed in either case. A queue that has gone meanwhile
// counts as having taken it.
#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/session_impl.h"

void
client_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
    struct session *s = session_by_handle(broker_of(w), session);
    if (s == NULL)
        return;
    if (number == TX_NUMBER) {
        tx_published(s, refused);
    } else if (s->is_sending && number == s->confirm.last) {
        s->sync_left--;
        s->sync_refused += refused;
    } else {
        confirm_published(s, number, refused);
    }
}

uint32_t
publish_send(struct session *s, struct message *msg, const struct route_result *route, uint64_t number)
{
    lv_handle handles[256];
    uint32_t operations = 0;
    size_t i = 0;
    while (i < route->count) {
        unsigned worker = handle_worker(route->queues[i]->handle);
        unsigned count = 0;
        for (; i < route->count && count < LV_ARRAY_LEN(handles) && handle_worker(route->queues[i]->handle) == worker; i++)
            handles[count++] = route->queues[i]->handle;
        operations++;
        s->sync_left++;
        queue_publish(msg, handles, count, number == 0 ? 0 : s->handle, number);
    }
    return operations;
}

int
publish_route(struct session *s, const struct vhost *v, const struct exchange *x, struct message *msg, struct slice headers,
              struct route_result *ret)
{
    struct slice keys[SESSION_KEYS_MAX];
    struct fault ignored;
    size_t count = 1;
    bool has_bcc = false;
    keys[0] = message_routing_key(msg);
    if (headers.len > 0) {
        size_t more = 0;
        if (arguments_sender_selected(headers, keys + 1, SESSION_KEYS_MAX - 1, &more, &has_bcc, &ignored))
            count += more;
    }
    struct route_graph graph = vhost_route_graph(v);
    struct route_request request = {.exchange = x, .keys = keys, .key_count = count, .headers = headers};
    return route_resolve(s->client->broker->route, &graph, &request, ret);
}

// --- the memo of the last route ---------------------------------------------------------------------------------------

static bool
memo_hit(const struct session *s, const struct message *msg)
{
    const struct route_memo *m = &s->memo;
    return m->version == topology_of(s->client->broker->worker)->version && m->route_len == msg->route_len &&
           memcmp(m->route, msg->bytes, msg->route_len) == 0;
}

// Only routes that depend on exchange and key alone, to a few queues of one worker.
static void
memo_keep(struct session *s, const struct message *msg, const struct exchange *x, const struct route_result *route)
{
    struct route_memo *m = &s->memo;
    m->version = 0;
    if (route->count == 0 || route->count > MEMO_QUEUES || x->type == EXCHANGE_HEADERS || x->alternate.len > 0)
        return;
    for (size_t i = 0; i < route->count; i++) {
        if (handle_worker(route->queues[i]->handle) != handle_worker(route->queues[0]->handle))
            return;
        m->queues[i] = route->queues[i]->handle;
    }
    if (m->route == NULL && (m->route = mem_alloc(512)) == NULL)
        return;
    LV_ASSERT(msg->route_len <= 512);
    memcpy(m->route, msg->bytes, msg->route_len);
    m->route_len = msg->route_len;
    m->count = (uint8_t)route->count;
    m->version = topology_of(s->client->broker->worker)->version;
}

// --- checks -------------------------------------------------------------------------------------------------------------

static bool
check_user_id(struct session *s, struct slice user_id, struct fault *f)
{
    struct client *c = s->client;
    if (slice_eq(user_id, c->user))
        return true;
    const struct user *u = topology_user(topology_of(c->broker->worker), c->user);
    if (u != NULL && (u->tag_flags & USER_TAG_IMPERSONATOR) != 0)
        return true;
    fault_set(f, FAULT_PRECONDITION_FAILED, "user_id property set to '%.*s' but authenticated user was '%.*s'", SLICE_FMT(user_id),
              SLICE_FMT(c->user));
    return false;
}

// Sets the message's flags from its properties, in RabbitMQ's order of checks.
static bool
check_properties(struct session *s, struct message *msg, const struct amqp_basic_props *p, struct fault *f)
{
    if (amqp_props_has(p, AMQP_PROP_USER_ID) && !check_user_id(s, p->user_id, f))
        return false;
    if (amqp_props_has(p, AMQP_PROP_EXPIRATION)) {
        uint32_t ms;
        if (!arguments_parse_expiration(p->expiration, &ms, f))
            return false;
        msg->expiry_ms = ms;
        msg->flags |= MESSAGE_HAS_EXPIRY;
    }
    if (amqp_props_has(p, AMQP_PROP_DELIVERY_MODE)) {
        if (p->delivery_mode != 1 && p->delivery_mode != 2) {
            fault_set(f, FAULT_PRECONDITION_FAILED, "invalid message: {delivery_mode_unknown,%u}", p->delivery_mode);
            return false;
        }
        if (p->delivery_mode == 2)
            msg->flags |= MESSAGE_PERSISTENT;
    }
    msg->priority = amqp_props_has(p, AMQP_PROP_PRIORITY) ? p->priority : 0;
    return true;
}

static const struct exchange *
check_exchange(struct session *s, const struct vhost *v, const struct message *msg, struct fault *f)
{
    struct client *c = s->client;
    struct slice name = message_exchange(msg);
    if (!client_may(c, "exchange", name, ACCESS_WRITE, f))
        return NULL;
    const struct exchange *x = vhost_exchange(v, name);
    if (x == NULL) {
        fault_set(f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(name), SLICE_FMT(c->vhost));
        return NULL;
    }
    if (x->is_internal) {
        fault_set(f, FAULT_ACCESS_REFUSED, "cannot publish to internal exchange '%.*s' in vhost '%.*s'", SLICE_FMT(name),
                  SLICE_FMT(c->vhost));
        return NULL;
    }
    if (x->type == EXCHANGE_TOPIC && !auth_check_topic(c->broker->auth_cache, topology_of(c->broker->worker), c->user, c->vhost, name,
                                                       message_routing_key(msg), ACCESS_WRITE, f))
        return NULL;
    return x;
}

int
publish_strip_bcc(struct message **msg, const struct amqp_basic_props *props)
{
    struct message *old = *msg;
    struct buf headers = BUF_INIT, encoded = BUF_INIT;
    struct amqp_basic_props changed = *props;
    table_copy_without(props->headers, SLICE_LIT("BCC"), &headers);
    changed.headers = buf_slice(&headers);
    amqp_props_encode(&encoded, &changed);
    struct message *fresh = NULL;
    if (!headers.failed && !encoded.failed)
        fresh = message_new(message_exchange(old), message_routing_key(old), buf_slice(&encoded), old->body_len);
    if (fresh != NULL) {
        memcpy(message_body_mut(fresh), message_body(old).ptr, old->body_len);
        fresh->flags = old->flags;
        fresh->priority = old->priority;
        fresh->expiry_ms = old->expiry_ms;
        fresh->published_ms = old->published_ms;
        *msg = fresh;
        message_unref(old);
    }
    buf_fini(&headers);
    buf_fini(&encoded);
    return fresh == NULL ? -LE_NOMEM : 0;
}

// --- publishing -----------------------------------------------------------------------------------------------------------

static void
note_published(struct session *s)
{
    struct client *c = s->client;
    s->stats.published++;
    if (LV_LIKELY(c->has_published))
        return;
    c->has_published = true;
    if (c->broker->alarms != 0)
        broker_set_alarms(c->broker->worker, c->broker->alarms); // tells this connection that it is blocked
}

// Counts the answers of one publish that has been sent and tells the confirm window.
static void
finish_publish(struct session *s, uint64_t number)
{
    s->is_sending = false;
    if (number != 0)
        confirm_note(s, number, s->sync_left, s->sync_refused > 0);
}

static void
begin_publish(struct session *s)
{
    s->sync_left = 0;
    s->sync_refused = 0;
    s->is_sending = true;
}

// Replies go past all queues, to the session that asked.
static void
publish_reply(struct session *s, struct message *msg, bool is_mandatory, uint64_t number)
{
    if (!reply_to_send(s->client->broker->worker, message_routing_key(msg), msg) && is_mandatory) {
        s->stats.returned++;
        s->events->returned(s->ctx, msg, FAULT_NO_ROUTE, "NO_ROUTE");
    }
    message_unref(msg);
    begin_publish(s);
    finish_publish(s, number);
}

// The slow path: everything looked up. Consumes msg. False with a fault.
static bool
publish_slow(struct session *s, struct message *msg, struct amqp_basic_props *props, bool is_mandatory, uint64_t number,
             struct fault *f)
{
    struct route_result route = {0};
    size_t more = 0;
    bool has_bcc = false;
    struct slice keys[SESSION_KEYS_MAX];
    struct slice headers = amqp_props_has(props, AMQP_PROP_HEADERS) ? props->headers : SLICE_EMPTY;
    const struct vhost *v = client_vhost(s->client, f);
    const struct exchange *x = v != NULL ? check_exchange(s, v, msg, f) : NULL;
    if (x == NULL || !check_properties(s, msg, props, f))
        goto refused;
    if (headers.len > 0 && !arguments_sender_selected(headers, keys, SESSION_KEYS_MAX - 1, &more, &has_bcc, f))
        goto refused;
    if (amqp_props_has(props, AMQP_PROP_REPLY_TO) && slice_eq_str(props->reply_to, REPLY_TO_NAME) &&
        !reply_to_rewrite(s, &msg, props, f))
        goto refused;
    if (s->tx.is_on) {
        if (tx_add_publish(s, msg, is_mandatory) == 0)
            return true;
        goto no_memory;
    }
    if (x->is_default && reply_to_is_token(message_routing_key(msg))) {
        publish_reply(s, msg, is_mandatory, number);
        return true;
    }
    if (publish_route(s, v, x, msg, headers, &route) != 0 || (has_bcc && publish_strip_bcc(&msg, props) != 0))
        goto no_memory;
    if (more == 0)
        memo_keep(s, msg, x, &route);
    if (route.count == 0 && is_mandatory) {
        s->stats.returned++;
        s->events->returned(s->ctx, msg, FAULT_NO_ROUTE, "NO_ROUTE");
    }
    begin_publish(s);
    publish_send(s, msg, &route, number);
    message_unref(msg);
    finish_publish(s, number);
    return true;
no_memory:
    fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
refused:
    message_unref(msg);
    return false;
}

bool
session_publish(struct session *s, struct message *msg, const struct amqp_basic_props *props, bool is_mandatory,
                struct fault *ret_fault)
{
    // Properties that need no look: everything but user-id, expiration, CC and BCC, the pseudo reply-to, odd delivery modes.
    enum { SLOW_PROPS = AMQP_PROP_USER_ID | AMQP_PROP_EXPIRATION | AMQP_PROP_HEADERS | AMQP_PROP_REPLY_TO };
    uint64_t number = s->confirm.is_on ? ++s->confirm.last : 0;
    LV_ASSERT_HOT(s->op == OP_NONE);
    note_published(s);
    msg->published_ms = s->client->broker->worker->now_ms;
    if (LV_LIKELY((props->flags & SLOW_PROPS) == 0 && !s->tx.is_on && memo_hit(s, msg)) &&
        (!amqp_props_has(props, AMQP_PROP_DELIVERY_MODE) || props->delivery_mode == 1 || props->delivery_mode == 2)) {
        if (props->delivery_mode == 2)
            msg->flags |= MESSAGE_PERSISTENT;
        msg->priority = props->priority;
        begin_publish(s);
        s->sync_left = 1;
        queue_publish(msg, s->memo.queues, s->memo.count, number == 0 ? 0 : s->handle, number);
        message_unref(msg);
        finish_publish(s, number);
        return true;
    }
    struct amqp_basic_props changeable = *props;
    if (publish_slow(s, msg, &changeable, is_mandatory, number, ret_fault))
        return true;
    if (number != 0) { // refused: the channel is about to close, but its numbers stay in step, and this one is not confirmed
        begin_publish(s);
        s->sync_refused = 1;
        finish_publish(s, number);
    }
    return false;
}
