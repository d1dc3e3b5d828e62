// session_reply_to.c: direct reply-to (RabbitMQ documentation, "Direct Reply-to"): answers of a call go straight to the session that
// asked, through no queue.
//
// A session consumes from the pseudo queue amq.rabbitmq.reply-to (no-ack). Its publishes with that reply-to get a token instead:
// amq.rabbitmq.reply-to.<session handle>.<random key>, both in hex. A publish to the default exchange with a token as key is a mail
// to that session's worker. A token of a session that has gone leads nowhere; declaring its name passively tells.
#include <inttypes.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/broker/session_impl.h"

// LIMIT: unsent bytes of a connection beyond which replies to it are dropped.
enum { REPLY_UNSENT_MAX = 128 * 1024 * 1024 };
enum { TOKEN_LEN = sizeof(REPLY_TO_PREFIX) - 1 + 16 + 1 + 16 };

bool
reply_to_is_token(struct slice key)
{
    return slice_has_prefix(key, SLICE_LIT(REPLY_TO_PREFIX));
}

bool
reply_to_is_name(struct slice queue)
{
    return slice_has_prefix(queue, SLICE_LIT(REPLY_TO_NAME));
}

static bool
hex_u64(struct slice text, uint64_t *ret)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 16; i++) {
        uint8_t c = text.ptr[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        value = value << 4 | digit;
    }
    *ret = value;
    return true;
}

static bool
token_parse(struct slice token, lv_handle *ret_session, uint64_t *ret_key)
{
    size_t at = sizeof(REPLY_TO_PREFIX) - 1;
    return token.len == TOKEN_LEN && reply_to_is_token(token) && token.ptr[at + 16] == '.' &&
           hex_u64(slice_from(token, at), ret_session) && hex_u64(slice_from(token, at + 17), ret_key);
}

struct reply_mail {
    lv_handle session;
    uint64_t key;
    struct message *msg;
};

static struct session *
reply_session(struct worker *w, lv_handle handle, uint64_t key)
{
    struct session *s = session_by_handle(broker_of(w), handle);
    return s != NULL && s->reply_key != 0 && s->reply_key == key ? s : NULL;
}

// Replies are sent unasked, past all queues and windows: for an asker that does not read they would pile up without end.
static bool
reply_has_room(struct session *s)
{
    const struct client *c = s->client;
    if (c->events->unsent == NULL || c->events->unsent(c->ctx) < REPLY_UNSENT_MAX)
        return true;
    if (!s->has_dropped_reply)
        log_warn(LOG_CHANNEL, "connection %.*s does not read its replies: they are dropped",
                 SLICE_FMT(c->name));
    s->has_dropped_reply = true; // said once a channel
    s->stats.replies_dropped++;
    reason_note(c->broker->worker, &(struct reason){.kind = REASON_DROP_REPLY,
                                                    .object_kind = "connection",
                                                    .object = c->name,
                                                    .vhost = c->vhost,
                                                    .text = SLICE_LIT("direct reply dropped: its connection "
                                                                      "does not read")});
    return false;
}

static void
reply_arrived(struct worker *w, void *payload)
{
    struct reply_mail *mail = payload;
    struct session *s = reply_session(w, mail->session, mail->key);
    if (s != NULL && reply_has_room(s)) {
        struct delivery d = {.session = s->handle, .msg = mail->msg, .consumer_id = s->reply_consumer_id};
        client_deliver(w, &d);
    } else {
        message_unref(mail->msg);
    }
}

// Whether a handle names a worker that has sessions at all: it came from a client.
static struct worker *
token_worker(struct worker *w, lv_handle session)
{
    unsigned index = handle_worker(session);
    return index < (unsigned)w->crew->n_workers ? w->crew->members[index] : NULL;
}

bool
reply_to_send(struct worker *w, struct slice token, struct message *msg)
{
    struct reply_mail mail;
    struct worker *to = token_parse(token, &mail.session, &mail.key) ? token_worker(w, mail.session) : NULL;
    if (to == NULL)
        return false;
    mail.msg = message_ref(msg);
    worker_post(to, reply_arrived, &mail, sizeof mail, message_weight(msg));
    return true;
}

bool
reply_to_rewrite(struct session *s, struct message **msg, struct amqp_basic_props *props,
                 struct fault *ret_fault)
{
    char token[TOKEN_LEN + 1];
    struct message *old = *msg;
    struct buf encoded = BUF_INIT;
    if (s->reply_key == 0) {
        fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "fast reply consumer does not exist");
        return false;
    }
    snprintf(token, sizeof token, REPLY_TO_PREFIX "%016" PRIx64 ".%016" PRIx64, s->handle, s->reply_key);
    props->reply_to = slice_of(token, TOKEN_LEN);
    amqp_props_encode(&encoded, props);
    struct message *fresh = NULL;
    if (!encoded.failed)
        fresh =
            message_new(message_exchange(old), message_routing_key(old), buf_slice(&encoded), old->body_len);
    buf_fini(&encoded);
    if (fresh == NULL || amqp_props_decode_trusted(message_properties(fresh), props) != 0) {
        message_unref(fresh);
        fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
        return false;
    }
    memcpy(message_body_mut(fresh), message_body(old).ptr, old->body_len);
    fresh->flags = old->flags;
    fresh->priority = old->priority;
    fresh->expiry_ms = old->expiry_ms;
    fresh->published_ms = old->published_ms;
    *msg = fresh;
    message_unref(old);
    return true;
}

void
reply_to_consume(struct session *s, const struct session_consume_args *a)
{
    struct fault f = {0};
    if (a->consumer_tag.len > 0 && session_consumer_by_tag(s, a->consumer_tag) != NULL)
        fault_set(&f, FAULT_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'", SLICE_FMT(a->consumer_tag));
    else if (!a->is_no_ack)
        fault_set(&f, FAULT_PRECONDITION_FAILED, "reply consumer cannot acknowledge");
    else if (s->reply_key != 0)
        fault_set(&f, FAULT_PRECONDITION_FAILED, "reply consumer already set");
    struct session_consumer *c = f.code == FAULT_NONE ? session_consumer_add_local(s, a) : NULL;
    if (f.code == FAULT_NONE && c == NULL)
        fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
    if (c == NULL) {
        session_answer_fault(s, &f);
        return;
    }
    do
        rng_secure(&s->reply_key, sizeof s->reply_key);
    while (s->reply_key == 0);
    s->reply_consumer_id = c->id;
    struct session_result result = {.name = c->tag};
    session_answer(s, &result);
}

// --- declaring a token: is its session there? -----------------------------------------------------------------------

struct check_mail {
    lv_handle asked;
    uint64_t key;
    lv_handle asker;
    bool is_there;
};

static void
answer_declared(struct session *s, bool is_there)
{
    struct session_result result = {.name = kept_name_get(&s->op_name), .consumer_count = 1};
    if (is_there) {
        bool is_kept = kept_name_set(&s->last_queue, result.name);
        LV_ASSERT(is_kept); // session_queue_declare made room
    } else {
        result = (struct session_result){0};
        fault_no_queue(&result.fault, kept_name_get(&s->op_name), s->client->vhost);
    }
    session_answer(s, &result);
}

static void
check_answered(struct worker *w, void *payload)
{
    struct check_mail *mail = payload;
    struct session *s = session_by_handle(broker_of(w), mail->asker);
    if (s != NULL && s->op == OP_REPLY_CHECK)
        answer_declared(s, mail->is_there);
}

static void
check_asked(struct worker *w, void *payload)
{
    struct check_mail mail = *(struct check_mail *)payload;
    mail.is_there = reply_session(w, mail.asked, mail.key) != NULL;
    worker_post(w->crew->members[handle_worker(mail.asker)], check_answered, &mail, sizeof mail, 0);
}

void
reply_to_declare(struct session *s)
{
    struct check_mail mail = {.asker = s->handle};
    struct slice name = kept_name_get(&s->op_name);
    struct worker *w = s->client->broker->worker;
    struct worker *to = token_parse(name, &mail.asked, &mail.key) ? token_worker(w, mail.asked) : NULL;
    if (to == NULL) {
        answer_declared(s, slice_eq_str(name, REPLY_TO_NAME));
        return;
    }
    s->op = OP_REPLY_CHECK;
    worker_post(to, check_asked, &mail, sizeof mail, 0);
}
