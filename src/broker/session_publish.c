// session_publish.c: publishing: from a message to the queues it goes to.
//
// Happy path (AMQP 0-9-1 §1.8.3.7): exchange, key and the user's rights are those of the last publish of this session and the
// topology has not changed: the queues are in the memo, one operation goes to their worker. Otherwise: exchange, write
// permission, topic permission, checks of the properties, routing through bindings and alternate exchanges.
//
// A message that no queue wants is dropped, returned (mandatory), and confirmed in either case. A queue that has gone meanwhile
// counts as having taken it. Without memory a publish is refused before anything is sent.
#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/announce.h"
#include "src/broker/arguments.h"
#include "src/broker/dead_letter.h"
#include "src/broker/delay.h"
#include "src/broker/session_impl.h"
#include "src/broker/trace.h"

void
client_published(struct worker *w, lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
    struct session *s = session_by_handle(broker_of(w), session);
    if (s == NULL) {
        if (session == dead_letter_asker(w))
            dead_letter_published(w, number, refused);
        return;
    }
    // While something is sent, answers come from queues of this worker alone, and they are of what is being sent.
    if (s->is_sending && (number == s->confirm.last || number == TX_NUMBER)) {
        s->sync_left--;
        s->sync_refused += refused;
    } else if (number == TX_NUMBER) {
        tx_published(s, refused);
    } else {
        confirm_published(s, number, refused);
    }
}

void
publish_send(struct session *s, struct message *msg, const lv_handle *queues, size_t count, uint64_t number)
{
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && handle_worker(queues[next]) == handle_worker(queues[i]);)
            next++;
        s->sync_left++;
        if (number == TX_NUMBER)
            commit_publish(s, msg, queues + i, (unsigned)(next - i));
        else
            queue_publish(msg, queues + i, (unsigned)(next - i), number == 0 ? 0 : s->handle, number);
    }
}

// Hands the message to the queues. 0 or -LE_NOMEM: nothing was sent.
static int
send_to_queues(struct session *s, struct message *msg, const struct route_result *route, uint64_t number)
{
    // A copy: a queue that is new here makes its worker read the topology writer's mail, whose receivers may publish and route.
    lv_handle few[64], *handles = few;
    if (route->count > LV_ARRAY_LEN(few) && (handles = mem_alloc(route->count * sizeof(*handles))) == NULL)
        return -LE_NOMEM;
    for (size_t i = 0; i < route->count; i++)
        handles[i] = route->queues[i]->handle;
    for (size_t i = 0; number == TX_NUMBER && i < route->count; i++)
        if (route->queues[i]->type == QUEUE_QUORUM)
            commit_set_logged(s); // it stores transient ones too
    publish_send(s, msg, handles, route->count, number);
    if (handles != few)
        mem_free(handles);
    return 0;
}

bool
publish_keys_of(const struct message *msg, struct slice headers, struct publish_keys *ret,
                struct fault *ret_fault)
{
    size_t more = 0;
    ret->keys[0] = message_routing_key(msg);
    ret->has_bcc = false;
    if (headers.len > 0 && !arguments_sender_selected(headers, ret->keys + 1, SESSION_KEYS_MAX - 1, &more,
                                                      &ret->has_bcc, ret_fault))
        return false;
    ret->count = 1 + more;
    return true;
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
memo_keep(struct session *s, const struct message *msg, const struct route_result *route,
          struct exchange_counts *counts)
{
    struct route_memo *m = &s->memo;
    m->version = 0;
    if (route->count == 0 || route->count > MEMO_QUEUES || route->is_for_one)
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
    m->counts = counts;
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
    fault_set(f, FAULT_PRECONDITION_FAILED,
              "user_id property set to '%.*s' but authenticated user was '%.*s'", SLICE_FMT(user_id),
              SLICE_FMT(c->user));
    return false;
}

static bool
check_expiration(struct message *msg, const struct amqp_basic_props *p, struct fault *f)
{
    uint32_t ms;
    if (!amqp_props_has(p, AMQP_PROP_EXPIRATION))
        return true;
    if (!arguments_parse_expiration(p->expiration, &ms, f))
        return false;
    msg->expiry_ms = ms;
    msg->flags |= MESSAGE_HAS_EXPIRY;
    return true;
}

static bool
check_delivery_mode(struct message *msg, const struct amqp_basic_props *p, struct fault *f)
{
    if (!amqp_props_has(p, AMQP_PROP_DELIVERY_MODE))
        return true;
    if (p->delivery_mode != 1 && p->delivery_mode != 2) {
        fault_set(f, FAULT_PRECONDITION_FAILED, "invalid message: {delivery_mode_unknown,%u}",
                  p->delivery_mode);
        return false;
    }
    if (p->delivery_mode == 2)
        msg->flags |= MESSAGE_PERSISTENT;
    return true;
}

// In RabbitMQ's order: direct reply-to, user-id, expiration, CC and BCC, delivery mode. May replace *msg, and with it what the
// slices of `p` point into.
static bool
check_properties(struct session *s, struct message **msg, struct amqp_basic_props *p,
                 struct publish_keys *keys, struct fault *f)
{
    if (amqp_props_has(p, AMQP_PROP_REPLY_TO) && slice_eq_str(p->reply_to, REPLY_TO_NAME) &&
        !reply_to_rewrite(s, msg, p, f))
        return false;
    if (amqp_props_has(p, AMQP_PROP_USER_ID) && !check_user_id(s, p->user_id, f))
        return false;
    if (!check_expiration(*msg, p, f) || !publish_keys_of(*msg, p->headers, keys, f) ||
        !check_delivery_mode(*msg, p, f))
        return false;
    (*msg)->priority = p->priority;
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
        fault_set(f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(name),
                  SLICE_FMT(c->vhost));
        return NULL;
    }
    if (x->is_internal) {
        fault_set(f, FAULT_ACCESS_REFUSED, "cannot publish to internal exchange '%.*s' in vhost '%.*s'",
                  SLICE_FMT(name), SLICE_FMT(c->vhost));
        return NULL;
    }
    if (x->type == EXCHANGE_TOPIC &&
        !auth_check_topic(c->broker->auth_cache, topology_of(c->broker->worker), c->user, c->vhost, name,
                          message_routing_key(msg), ACCESS_WRITE, f))
        return NULL;
    return x;
}

int
publish_strip_bcc(struct publish *p)
{
    struct message *old = p->msg;
    struct buf headers = BUF_INIT, encoded = BUF_INIT;
    struct amqp_basic_props changed = *p->props;
    table_copy_without(changed.headers, SLICE_LIT("BCC"), &headers);
    changed.headers = buf_slice(&headers);
    amqp_props_encode(&encoded, &changed);
    struct message *fresh = NULL;
    if (!headers.failed && !encoded.failed)
        fresh =
            message_new(message_exchange(old), message_routing_key(old), buf_slice(&encoded), old->body_len);
    if (fresh != NULL) {
        memcpy(message_body_mut(fresh), message_body(old).ptr, old->body_len);
        fresh->flags = old->flags;
        fresh->priority = old->priority;
        fresh->expiry_ms = old->expiry_ms;
        fresh->published_ms = old->published_ms;
        p->original = old;
        p->msg = fresh;
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
    client_tell_alarm(c); // it may be blocked from its first publish on
}

void
publish_begin(struct session *s)
{
    s->sync_left = 0;
    s->sync_refused = 0;
    s->is_sending = true;
}

// Counts the answers of one publish that has been sent and tells the confirm window.
static void
publish_end(struct session *s, uint64_t number)
{
    s->is_sending = false;
    if (number != 0)
        confirm_note(s, number, s->sync_left, s->sync_refused > 0);
}

void
publish_fini(struct publish *p)
{
    message_unref(p->msg);
    message_unref(p->original);
}

void
publish_return(struct session *s, struct publish *p)
{
    if (!p->is_unroutable)
        return;
    s->stats.returned++;
    s->events->returned(s->ctx, p->msg, FAULT_NO_ROUTE, "NO_ROUTE");
}

// The default exchange takes addresses of direct replies for keys, each once. Returns how many there were.
static size_t
send_replies(struct session *s, const struct publish *p)
{
    const struct publish_keys *k = p->keys;
    size_t sent = 0;
    for (size_t i = 0; i < k->count; i++) {
        size_t earlier = 0;
        if (!reply_to_is_token(k->keys[i]))
            continue;
        while (!slice_eq(k->keys[earlier], k->keys[i]))
            earlier++;
        if (earlier == i && reply_to_send(s->client->broker->worker, k->keys[i], p->msg))
            sent++;
    }
    return sent;
}

void
publish_note_unroutable(struct session *s, struct publish *p)
{
    struct slice exchange = message_exchange(p->msg);
    struct reason reason = {
        .kind = p->is_mandatory ? REASON_RETURN_UNROUTABLE : REASON_DROP_UNROUTABLE,
        .object_kind = "exchange",
        .object = exchange.len > 0 ? exchange : SLICE_LIT("amq.default"),
        .vhost = s->client->vhost,
    };
    p->is_unroutable = p->is_mandatory;
    s->stats.dropped += !p->is_mandatory;
    reason_note(s->client->broker->worker, &reason);
}

static int
publish_now(struct session *s, const struct vhost *v, const struct route_request *request, struct publish *p,
            struct exchange_counts *counts, size_t *ret_count)
{
    struct route_result route = {0};
    struct route_graph graph = vhost_route_graph(v);
    int err = route_resolve(s->client->broker->route, &graph, request, &route);
    if (err == 0 && p->keys->has_bcc)
        err = publish_strip_bcc(p);
    if (err != 0)
        return err;
    if (p->keys->count == 1 && !v->is_tracing)
        memo_keep(s, p->msg, &route, counts);
    struct message *traced =
        LV_UNLIKELY(v->is_tracing) ? trace_publish(s, v, p, route.queues, route.count) : NULL;
    *ret_count = route.count; // sending may route other messages
    err = send_to_queues(s, p->msg, &route, p->number);
    announce(s->client->broker, v, traced);
    return err;
}

int
publish_distribute(struct session *s, const struct vhost *v, const struct exchange *x, struct publish *p)
{
    struct route_request request = {.exchange = x,
                                    .keys = p->keys->keys,
                                    .key_count = p->keys->count,
                                    .headers = p->props->headers,
                                    .props = p->props};
    struct broker_worker *b = s->client->broker;
    struct exchange_counts *counts = counters_exchange(&b->counters, topology_of(b->worker), x);
    uint32_t delay_ms = LV_UNLIKELY(v->delay_queues.count > 0) ? delay_of(p->props->headers) : 0;
    size_t count = 0;
    int err = LV_UNLIKELY(delay_ms > 0) ? publish_delayed(s, v, &request, p, delay_ms, &count)
                                        : publish_now(s, v, &request, p, counts, &count);
    if (err != 0)
        return err;
    counts->in++;
    counts->out += count;
    p->is_nowhere = count == 0;
    size_t replies = x->is_default ? send_replies(s, p) : 0;
    if (LV_UNLIKELY(count == 0 && replies == 0))
        publish_note_unroutable(s, p);
    return 0;
}

// The slow path: everything looked up. Consumes msg. False with a fault.
static bool
publish_slow(struct session *s, struct message *msg, const struct amqp_basic_props *given, bool is_mandatory,
             uint64_t number, struct fault *f)
{
    struct amqp_basic_props props = *given;
    struct publish_keys keys;
    const struct vhost *v = client_vhost(s->client, f);
    const struct exchange *x = v != NULL ? check_exchange(s, v, msg, f) : NULL;
    if (x == NULL || !check_properties(s, &msg, &props, &keys, f)) {
        message_unref(msg);
        return false;
    }
    int err = s->tx.is_on ? tx_add_publish(s, msg, is_mandatory) : 0;
    if (err != 0) {
        tx_fault(f, err);
        message_unref(msg);
        return false;
    }
    if (s->tx.is_on)
        return true;
    struct publish p = {
        .msg = msg, .props = &props, .keys = &keys, .is_mandatory = is_mandatory, .number = number};
    publish_begin(s);
    err = publish_distribute(s, v, x, &p);
    if (err != 0) {
        s->is_sending = false;
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
    } else {
        publish_end(s, number);
        publish_return(s, &p); // confirms are sent later, at the end of the turn
    }
    publish_fini(&p);
    return err == 0;
}

// CC or BCC among the headers: the routing key does not say it all.
static bool
has_more_keys(struct slice headers)
{
    struct slice key;
    struct field field;
    for (struct table_iter it = table_iter_of(headers); table_iter_next(&it, &key, &field);) {
        if (slice_eq_str(key, "CC") || slice_eq_str(key, "BCC"))
            return true;
    }
    return false;
}

// Properties that need no look: everything but user-id, expiration, CC and BCC, the pseudo reply-to, odd delivery modes.
static inline bool
is_plain(const struct amqp_basic_props *p)
{
    if ((p->flags & (AMQP_PROP_USER_ID | AMQP_PROP_EXPIRATION)) != 0)
        return false;
    if (amqp_props_has(p, AMQP_PROP_DELIVERY_MODE) && p->delivery_mode != 1 && p->delivery_mode != 2)
        return false;
    if (amqp_props_has(p, AMQP_PROP_REPLY_TO) && slice_eq_str(p->reply_to, REPLY_TO_NAME))
        return false;
    return !amqp_props_has(p, AMQP_PROP_HEADERS) || !has_more_keys(p->headers);
}

// The rest of session_publish once the message is as it will be.
static inline bool
publish_message(struct session *s, struct message *msg, const struct amqp_basic_props *props,
                bool is_mandatory, struct fault *ret_fault)
{
    uint64_t number = s->confirm.is_on ? ++s->confirm.last : 0;
    note_published(s);
    msg->published_ms = s->client->broker->worker->now_ms;
    if (LV_LIKELY(!s->tx.is_on && memo_hit(s, msg) && is_plain(props))) {
        if (props->delivery_mode == 2)
            msg->flags |= MESSAGE_PERSISTENT;
        msg->priority = props->priority;
        s->memo.counts->in++;
        s->memo.counts->out += s->memo.count;
        publish_begin(s);
        s->sync_left = 1;
        queue_publish(msg, s->memo.queues, s->memo.count, number == 0 ? 0 : s->handle, number);
        message_unref(msg);
        publish_end(s, number);
        return true;
    }
    if (publish_slow(s, msg, props, is_mandatory, number, ret_fault))
        return true;
    if (number !=
        0) { // refused: the channel is about to close, but its numbers stay in step, and this one is not confirmed
        publish_begin(s);
        s->sync_refused = 1;
        publish_end(s, number);
    }
    return false;
}

bool
session_publish(struct session *s, struct message *msg, const struct amqp_basic_props *props,
                bool is_mandatory, struct fault *ret_fault)
{
    struct amqp_basic_props changed;
    LV_ASSERT_HOT(s->op == OP_NONE);
    if (s->confirm.is_on && LV_UNLIKELY(confirm_reserve(s) != 0))
        goto no_memory;
    if (LV_UNLIKELY(s->client->has_publish_work)) {
        if (s->client->rate != NULL)
            client_rate_charge(s->client, msg->body_len);
        if (s->client->broker->has_interceptors) {
            changed = *props;
            if (!session_intercept(s, &msg, &changed))
                goto no_memory;
            props = &changed;
        }
    }
    return publish_message(s, msg, props, is_mandatory, ret_fault);
no_memory:
    fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
    message_unref(msg);
    return false;
}
