// api_move.c: POST /api/queues/VHOST/NAME/move (ours): takes messages from the front of a queue and publishes them anew, as their mover.
//
// Happy path: WINDOW messages are got → each is published, mandatory and with confirms, with the exchange and key that were asked
// for, its properties as they are → when all are confirmed they are acknowledged → the next. So a message leaves its queue when another
// has taken it, as durably as that one promises; a crash in between leaves it in both.
// Failure: a message that nobody takes, is returned or refused stays, and those behind it; the answer says how many were moved, and why
// no more were.
#include "amqp/wire/props.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/management/api.h"

// LIMIT: messages of one request; messages and bytes that are under way at once.
enum { MOVE_MAX = 10000, WINDOW = 100, WINDOW_BYTES = 16 * 1024 * 1024 };

enum moved { MOVED_NOT_SENT, MOVED_SENT, MOVED_RETURNED, MOVED_REFUSED, MOVED_TAKEN };

struct moving {
    struct slice exchange, key; // into the body
    int64_t left;               // messages that may still be got
    int64_t moved;
    uint64_t first; // number of the first publish of the batch, as confirms count
    size_t count, bytes, unconfirmed;
    size_t sending; // of the batch: what is just being published; WINDOW: nothing
    bool is_publishing, is_at_end;
    struct {
        struct message *msg; // a reference
        uint64_t tag;
        enum moved state;
        bool is_confirmed;
    } batch[WINDOW];
    char reason[256];
};

static void
drop_batch(struct moving *m)
{
    for (size_t i = 0; i < m->count; i++)
        message_unref(m->batch[i].msg);
    m->count = m->bytes = m->unconfirmed = 0;
}

static void
moving_free(void *state)
{
    drop_batch(state);
    mem_free(state);
}

static void
finish(struct api_request *r)
{
    const struct moving *m = r->state;
    api_channel_close(r); // gives back what was not acknowledged
    buf_append_u8(&r->out, '{');
    json_put_member_int(&r->out, "moved", m->moved);
    if (m->reason[0] != '\0')
        json_put_member_string(&r->out, "reason", slice_str(m->reason));
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    api_reply(r, 200);
}

// It goes on no longer: an error when nothing was moved.
static void
fail(struct api_request *r, const struct fault *f)
{
    struct moving *m = r->state;
    if (m->moved == 0) {
        struct fault copy = *f;
        api_channel_close(r);
        api_fault(r, &copy);
        return;
    }
    snprintf(m->reason, sizeof m->reason, "%s", f->text);
    finish(r);
}

static void get_next(struct api_request *r);

// All are confirmed: those that were taken leave.
static void
settle(struct api_request *r)
{
    struct moving *m = r->state;
    struct fault f = {0};
    bool is_whole = true;
    for (size_t i = 0; i < m->count && f.code == FAULT_NONE; i++) {
        if (m->batch[i].state != MOVED_TAKEN) {
            is_whole = false;
            if (m->batch[i].state == MOVED_RETURNED)
                snprintf(m->reason, sizeof m->reason, "no queue is bound for it there");
            else if (m->batch[i].state == MOVED_REFUSED)
                snprintf(m->reason, sizeof m->reason, "the queue that it is for refuses it");
        } else if (session_settle(api_channel_session(r), m->batch[i].tag, false, SETTLE_ACK, &f)) {
            m->moved++;
        }
    }
    m->first += m->count;
    drop_batch(m);
    m->is_publishing = false;
    if (f.code != FAULT_NONE)
        fail(r, &f);
    else if (!is_whole || m->is_at_end || m->left == 0)
        finish(r);
    else
        get_next(r);
}

// It comes inside session_publish.
static void
returned(struct api_request *r)
{
    struct moving *m = r->state;
    LV_ASSERT(m->sending < m->count);
    m->batch[m->sending].state = MOVED_RETURNED;
}

static void
confirmed(struct api_request *r, uint64_t tag, bool is_multiple, bool is_nack)
{
    struct moving *m = r->state;
    for (size_t i = 0; i < m->count && m->first + i <= tag; i++) {
        enum moved *state = &m->batch[i].state;
        if (*state == MOVED_NOT_SENT || m->batch[i].is_confirmed || (!is_multiple && m->first + i != tag))
            continue;
        if (*state == MOVED_SENT)
            *state = is_nack ? MOVED_REFUSED : MOVED_TAKEN;
        m->batch[i].is_confirmed = true;
        m->unconfirmed--;
    }
    if (m->unconfirmed == 0)
        settle(r);
}

// The same message on its new way.
static struct message *
copy_of(const struct moving *m, const struct message *msg)
{
    struct slice body = message_body(msg);
    struct message *copy = message_new(m->exchange, m->key, message_properties(msg), (uint32_t)body.len);
    if (copy == NULL)
        return NULL;
    if (body.len > 0)
        memcpy(message_body_mut(copy), body.ptr, body.len);
    copy->published_ms = clock_wall_ms();
    return copy;
}

static bool
publish_one(struct api_request *r, size_t i, struct fault *f)
{
    struct moving *m = r->state;
    struct amqp_basic_props props;
    struct message *copy = copy_of(m, m->batch[i].msg);
    if (copy == NULL) {
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
        return false;
    }
    if (amqp_props_decode(message_properties(copy), &props) != 0) {
        message_unref(copy);
        fault_set(f, FAULT_SYNTAX_ERROR, "malformed properties");
        return false;
    }
    m->batch[i].state = MOVED_SENT;
    m->sending = i;
    bool is_sent = session_publish(api_channel_session(r), copy, &props, true, f);
    m->sending = WINDOW;
    if (!is_sent)
        m->batch[i].state = MOVED_NOT_SENT;
    return is_sent;
}

static void
publish_batch(struct api_request *r)
{
    struct moving *m = r->state;
    struct fault f = {0};
    m->is_publishing = true;
    for (size_t i = 0; i < m->count && publish_one(r, i, &f); i++)
        m->unconfirmed++;
    if (f.code != FAULT_NONE && m->unconfirmed == 0) {
        fail(r, &f);
        return;
    }
    if (f.code != FAULT_NONE) {
        snprintf(m->reason, sizeof m->reason, "%s", f.text); // once those before it are confirmed
        return;
    }
    if (m->count == 0)
        finish(r);
}

static void
get_next(struct api_request *r)
{
    struct moving *m = r->state;
    if (m->left == 0 || m->count == WINDOW || m->bytes > WINDOW_BYTES) {
        publish_batch(r);
        return;
    }
    session_get(api_channel_session(r), api_segment(r, 3), false);
}

static void
stepped(struct api_request *r, const struct session_result *result)
{
    struct moving *m = r->state;
    if (result->fault.code != FAULT_NONE) {
        fail(r, &result->fault);
    } else if (m->is_publishing) {
        confirmed(r, result->delivery_tag, result->is_redelivered, result->message_count > 0);
    } else if (result->msg == NULL) {
        m->is_at_end = true;
        publish_batch(r);
    } else {
        m->batch[m->count].msg = message_ref(result->msg);
        m->batch[m->count].tag = result->delivery_tag;
        m->batch[m->count].state = MOVED_NOT_SENT;
        m->batch[m->count].is_confirmed = false;
        m->count++;
        m->bytes += message_body(result->msg).len;
        m->left--;
        get_next(r);
    }
}

// {"exchange":…, "routing_key":…, "count":…}; without an exchange the key is a queue's name.
static void
post_move(struct api_request *r)
{
    struct fault f = {0};
    struct slice key, exchange = SLICE_EMPTY;
    int64_t count = MOVE_MAX;
    if (!api_take_string(r, "routing_key", &key) || api_is_alarmed(r))
        return;
    (void)api_string(r, "exchange", &exchange);
    if ((json_object_get(r->json, "count") != NULL && !api_int(r, "count", &count)) || count < 0) {
        api_bad_value(r, "not_integer", json_incref(json_object_get(r->json, "count")));
        return;
    }
    if (key.len > 255 || exchange.len > 255) {
        api_error(r, 400, "bad_request", "routing_key and exchange have at most 255 bytes");
        return;
    }
    struct moving *m = mem_calloc(1, sizeof *m);
    if (m == NULL) {
        api_no_memory(r);
        return;
    }
    m->exchange = slice_eq_str(exchange, "amq.default") ? SLICE_EMPTY : exchange;
    m->key = key;
    m->left = LV_MIN(count, (int64_t)MOVE_MAX);
    m->first = 1;
    m->sending = WINDOW;
    r->state = m;
    r->state_free = moving_free;
    if (!api_channel_open(r, api_segment(r, 2), stepped))
        return;
    api_channel_on_returned(r, returned);
    if (!session_confirm_select(api_channel_session(r), &f))
        fail(r, &f);
    else
        get_next(r);
}

const struct api_route api_routes_move[] = {
    {API_POST, "/api/queues/*/*/move", post_move, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
