// channel.c: the table of channels of a connection; frames that come to them, and frames that have to wait.
//
// A channel carries out its methods in order. While one waits for its answer, or a publish may not go on (an
// alarm, congestion), later frames of that channel lie as they came in `pending`, while other channels go on;
// the bytes of all pending lists of a connection are bounded, and at the bound its socket is not read.
// Acknowledgements overtake publishes that are held: they make the room the publishes wait for. One that settles
// so much that it takes several turns holds up those behind it, and they go on from where they wait.
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/user_channels.h"
#include "amqp/wire/bytes.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: bytes of waiting frames a channel carries out in one turn.
enum { RESUME_TURN_BYTES = 256 * 1024 };
enum { PENDING_HEAD_BYTES = 5 }; // type, length
enum { FRAME_DONE = 0 };         // the type of a waiting frame that was carried out before its turn

struct channel *
channel_find(struct connection *c, uint16_t number)
{
    struct channel *ch = c->last_channel;
    if (ch != NULL && ch->number == number)
        return ch;
    ch = inttab_get(&c->channels, number);
    if (ch != NULL)
        c->last_channel = ch;
    return ch;
}

// --- ends --------------------------------------------------------------------------------------------------

static void
drop_pending(struct channel *ch)
{
    ch->conn->pending_bytes -= ch->pending.len - ch->pending_pos;
    ch->pending_pos = ch->pending.len; // the memory stays until nobody can be reading it
}

void
channel_remove(struct channel *ch)
{
    struct connection *c = ch->conn;
    if (ch->state == CHANNEL_GONE)
        return;
    LV_ASSERT(inttab_get(&c->channels, ch->number) == ch);
    (void)inttab_take(&c->channels, ch->number);
    if (c->last_channel == ch)
        c->last_channel = NULL;
    ch->state = CHANNEL_GONE;
    publish_forget(ch);
    drop_pending(ch);
    list_remove(&ch->resume_node);
    user_channels_remove(c->user_channels, 1);
    count_u32(&c->aw->channel_count, -1);
    count_u64(&c->aw->channels_closed, 1);
    if (ch->session == NULL)
        list_push_back(&c->aw->dead_channels, &ch->ending_node);
    else if (!list_is_linked(&ch->ending_node))
        list_push_back(&c->aw->ending_channels, &ch->ending_node);
    connection_try_close(c);
    connection_check_input(c);
}

void
channel_free(struct channel *ch)
{
    LV_ASSERT(ch->state == CHANNEL_GONE && ch->session == NULL && ch->content == NULL);
    list_remove(&ch->resume_node);
    list_remove(&ch->ending_node);
    buf_fini(&ch->pending);
    mem_free(ch);
}

// Whether the client's own channel.close is under way, or among the frames that wait: it crosses ours and wants its answer all the same.
static bool
has_pending_close(const struct channel *ch)
{
    if (ch->op == AMQP_CHANNEL_CLOSE || ch->is_end_due)
        return true;
    for (size_t pos = ch->pending_pos; pos < ch->pending.len;) {
        const uint8_t *p = ch->pending.ptr + pos;
        if (p[0] == FRAME_METHOD && wire_get_u32(p + PENDING_HEAD_BYTES) == AMQP_CHANNEL_CLOSE)
            return true;
        pos += PENDING_HEAD_BYTES + wire_get_u32(p + 1);
    }
    return false;
}

void
channel_fault(struct channel *ch, const struct fault *f, uint32_t method_id)
{
    struct connection *c = ch->conn;
    if (!channel_is_live(ch))
        return;
    if (f->is_connection) {
        connection_fault(c, f, method_id);
        return;
    }
    if (log_limit_pass(&c->aw->limit_close, c->aw->worker->now_ns, "channel errors"))
        log_error(LOG_CHANNEL,
                  "connection %.*s (vhost: '%.*s', user: '%.*s'), channel %u: operation %s caused a channel "
                  "exception: %s",
                  SLICE_FMT(c->name), SLICE_FMT(c->vhost), SLICE_FMT(c->user), ch->number,
                  method_id != 0 ? amqp_method_name(method_id) : "none", f->text);
    reason_note_fault(c->aw->worker, f, c->vhost, c->user);
    uint8_t room[UINT8_MAX];
    struct amqp_channel_close m = {
        .reply_code = f->code,
        .reply_text = fault_reply_text(f, room),
        .class_id = amqp_class_of(method_id),
        .method_id = amqp_method_of(method_id),
    };
    bool is_crossed = has_pending_close(ch);
    ch->state = CHANNEL_CLOSING;
    publish_forget(ch);
    drop_pending(ch);
    list_push_back(&c->aw->ending_channels, &ch->ending_node);
    worker_keep_awake(c->aw->worker);
    amqp_frame_channel_close(&c->aw->scratch, ch->number, &m);
    if (is_crossed)
        amqp_frame_channel_close_ok(&c->aw->scratch, ch->number);
    connection_send_scratch(c);
    connection_try_close(c);
    connection_check_input(c);
}

// --- open --------------------------------------------------------------------------------------------------

static void
fault_connection(struct connection *c, uint16_t code, uint32_t method_id, const char *text)
{
    struct fault f;
    fault_set(&f, code, "%s", text);
    f.is_connection = true;
    connection_fault(c, &f, method_id);
}

// May one more channel be opened? Counts it for the user. False: the connection has been closed.
static bool
count_channel(struct connection *c)
{
    const struct amqp_config *config = c->aw->config;
    const struct user *u = topology_user(topology_of(c->aw->worker), c->user);
    int64_t user_limit = u != NULL ? u->max_channels : -1;
    struct fault f;
    enum reason_kind reason;
    if (c->channel_max != 0 && c->channels.count >= c->channel_max) {
        reason = REASON_REFUSED_CONNECTION_CHANNELS;
        fault_set(&f, FAULT_NOT_ALLOWED,
                  "number of channels opened (%zu) has reached the negotiated channel_max (%u)",
                  c->channels.count, c->channel_max);
    } else if (config->channel_max_per_node != AMQP_UNLIMITED &&
               amqp_node_sum(c->aw, offsetof(struct amqp_worker, channel_count)) >=
                   config->channel_max_per_node) {
        reason = REASON_REFUSED_NODE_CHANNELS;
        fault_set(
            &f, FAULT_NOT_ALLOWED,
            "number of channels opened on node '%.*s' has reached the maximum allowed limit of (%" PRIu32 ")",
            SLICE_FMT(config->node_name), config->channel_max_per_node);
    } else if (!user_channels_add(c->user_channels, user_limit)) {
        reason = REASON_REFUSED_USER_CHANNELS;
        fault_set(&f, FAULT_NOT_ALLOWED,
                  "number of channels opened for user '%.*s' has reached the maximum allowed user limit of "
                  "(%" PRId64 ")",
                  SLICE_FMT(c->user), user_limit);
    } else {
        return true;
    }
    f.reason = (uint8_t)reason;
    f.is_connection = true;
    connection_fault(c, &f, 0);
    return false;
}

static struct channel *
channel_new(struct connection *c, uint16_t number)
{
    struct channel *ch = mem_calloc(1, sizeof *ch);
    if (ch == NULL)
        return NULL;
    ch->conn = c;
    ch->number = number;
    ch->orphan_pos = SIZE_MAX;
    list_init(&ch->resume_node);
    list_init(&ch->ending_node);
    ch->session = session_open(c->client, number, &channel_session_events, ch);
    if (ch->session == NULL) {
        mem_free(ch);
        return NULL;
    }
    if (inttab_put(&c->channels, number, ch) != 0) {
        session_close(ch->session); // nobody is inside it: it was opened just now
        mem_free(ch);
        return NULL;
    }
    return ch;
}

// The first frame on a number that is not in use. RabbitMQ looks at the limits before it looks at the frame.
static void
first_frame(struct connection *c, uint16_t number, uint8_t type, struct slice payload)
{
    if (!count_channel(c))
        return;
    uint32_t id = type == FRAME_METHOD ? wire_get_u32(payload.ptr) : 0;
    int rc = id == AMQP_CHANNEL_OPEN ? amqp_decode_channel_open(slice_from(payload, 4)) : 0;
    struct channel *ch = id == AMQP_CHANNEL_OPEN && rc == 0 ? channel_new(c, number) : NULL;
    if (ch != NULL) {
        count_u32(&c->aw->channel_count, 1);
        count_u64(&c->aw->channels_opened, 1);
        c->last_channel = ch;
        amqp_frame_channel_open_ok(&c->aw->scratch, number);
        connection_send_scratch(c);
        return;
    }
    user_channels_remove(c->user_channels, 1);
    if (type != FRAME_METHOD)
        fault_connection(c, FAULT_UNEXPECTED_FRAME, 0, "expected method frame, got non method frame instead");
    else if (id != AMQP_CHANNEL_OPEN)
        fault_connection(c, FAULT_CHANNEL_ERROR, id, "expected 'channel.open'");
    else if (rc != 0)
        connection_bad_arguments(c, id, slice_from(payload, 4), rc);
    else
        fault_connection(c, FAULT_RESOURCE_ERROR, id, "out of memory");
}

// --- frames ------------------------------------------------------------------------------------------------

static void
closing_frame(struct channel *ch, uint8_t type, struct slice payload)
{
    uint32_t id = type == FRAME_METHOD ? wire_get_u32(payload.ptr) : 0;
    if (id == AMQP_CHANNEL_CLOSE) { // both closed at once: ours is still to be answered
        amqp_frame_channel_close_ok(&ch->conn->aw->scratch, ch->number);
        connection_send_scratch(ch->conn);
    } else if (id == AMQP_CHANNEL_CLOSE_OK) {
        channel_remove(ch);
    }
}

// Carries out one frame. False: it is a publish that has to wait.
static bool
process(struct channel *ch, uint8_t type, struct slice payload)
{
    if (ch->content != NULL) {
        publish_frame(ch, type, payload);
        return true;
    }
    if (type != FRAME_METHOD) {
        fault_connection(ch->conn, FAULT_UNEXPECTED_FRAME, 0,
                         "expected method frame, got non method frame instead");
        return true;
    }
    uint32_t id = wire_get_u32(payload.ptr);
    if (id == AMQP_BASIC_PUBLISH && ch->conn->is_must_wait)
        return false;
    channel_method(ch, id, slice_from(payload, 4));
    return true;
}

static bool
is_settle(uint8_t type, struct slice payload)
{
    if (type != FRAME_METHOD)
        return false;
    uint32_t id = wire_get_u32(payload.ptr);
    return id == AMQP_BASIC_ACK || id == AMQP_BASIC_NACK || id == AMQP_BASIC_REJECT;
}

static void
pending_push(struct channel *ch, uint8_t type, struct slice payload)
{
    struct connection *c = ch->conn;
    size_t before = ch->pending.len;
    buf_append_u8(&ch->pending, type);
    buf_append_u32be(&ch->pending, (uint32_t)payload.len);
    buf_append_slice(&ch->pending, payload);
    if (ch->pending.failed) {
        connection_kill(c, "out of memory");
        return;
    }
    ch->is_busy = true;
    ch->has_pending_acks |= !ch->is_tx && is_settle(type, payload);
    c->pending_bytes += ch->pending.len - before;
    if (c->pending_bytes >= PENDING_BYTES_MAX)
        connection_check_input(c);
}

static bool
may_overtake(const struct channel *ch, uint8_t type, struct slice payload)
{
    return ch->is_held && ch->op == 0 && !ch->is_tx && is_settle(type, payload);
}

void
channel_frame(struct connection *c, uint16_t number, uint8_t type, struct slice payload)
{
    struct channel *ch = channel_find(c, number);
    if (ch == NULL) {
        first_frame(c, number, type, payload);
        return;
    }
    if (ch->state == CHANNEL_CLOSING) {
        closing_frame(ch, type, payload);
    } else if (ch->is_busy) {
        if (may_overtake(ch, type, payload))
            channel_method(ch, wire_get_u32(payload.ptr), slice_from(payload, 4));
        else
            pending_push(ch, type, payload);
    } else if (!process(ch, type, payload)) {
        channel_hold(ch);
        pending_push(ch, type, payload);
    }
}

// --- waiting -----------------------------------------------------------------------------------------------

void
channel_hold(struct channel *ch)
{
    struct connection *c = ch->conn;
    ch->is_held = ch->is_busy = true;
    client_note_held(c->client);
    if (!list_is_linked(&c->held_node))
        list_push_back(&c->aw->held, &c->held_node);
}

void
channel_unblock(struct channel *ch)
{
    struct connection *c = ch->conn;
    if (!channel_is_live(ch))
        return;
    bool has_pending = ch->pending_pos < ch->pending.len;
    bool may_go_on = ch->is_end_due || (has_pending && (!ch->is_held || ch->has_pending_acks));
    ch->is_busy = ch->op != 0 || ch->is_held || ch->is_end_due || has_pending;
    if (may_go_on && ch->op == 0 && !list_is_linked(&ch->resume_node)) {
        list_push_back(&c->aw->resuming, &ch->resume_node);
        worker_keep_awake(c->aw->worker);
    }
    if (!ch->is_busy)
        connection_try_close(c);
}

// Takes the next pending frame out and carries it out. False: it may not go on now.
static bool
resume_one(struct channel *ch)
{
    struct connection *c = ch->conn;
    const uint8_t *p = ch->pending.ptr + ch->pending_pos;
    uint8_t type = p[0];
    struct slice payload = slice_of(p + PENDING_HEAD_BYTES, wire_get_u32(p + 1));
    size_t size = PENDING_HEAD_BYTES + payload.len;
    LV_ASSERT(size <= ch->pending.len - ch->pending_pos);
    ch->pending_pos += size; // before it is carried out, which may drop all that is pending
    c->pending_bytes -= size;
    if (type == FRAME_DONE || process(ch, type, payload))
        return true;
    ch->pending_pos -= size;
    c->pending_bytes += size;
    channel_hold(ch);
    return false;
}

// Carries out the acknowledgements that wait behind held publishes.
static void
resume_acks(struct channel *ch)
{
    ch->has_pending_acks = false;
    for (size_t pos = ch->pending_pos; pos < ch->pending.len && channel_is_live(ch);) {
        uint8_t *p = ch->pending.ptr + pos;
        struct slice payload = slice_of(p + PENDING_HEAD_BYTES, wire_get_u32(p + 1));
        if (is_settle(p[0], payload) && !may_overtake(ch, p[0], payload)) {
            ch->has_pending_acks = true; // the last one takes its time: the others come after it
            return;
        }
        if (is_settle(p[0], payload)) {
            p[0] = FRAME_DONE;
            channel_method(ch, wire_get_u32(payload.ptr), slice_from(payload, 4));
        }
        pos += PENDING_HEAD_BYTES + payload.len;
    }
}

// The channel was closed by a frame that had to wait: what came behind it is for the next one.
static void
pass_on_orphans(struct channel *ch)
{
    struct connection *c = ch->conn;
    size_t pos = ch->orphan_pos;
    while (pos < ch->pending.len && c->state == CONNECTION_RUNNING) {
        const uint8_t *p = ch->pending.ptr + pos;
        struct slice payload = slice_of(p + PENDING_HEAD_BYTES, wire_get_u32(p + 1));
        channel_frame(c, ch->number, p[0], payload);
        pos += PENDING_HEAD_BYTES + payload.len;
    }
}

static void
resume_pending(struct channel *ch)
{
    struct connection *c = ch->conn;
    size_t end = ch->pending_pos + RESUME_TURN_BYTES;
    if (ch->is_end_due)
        channel_end(ch);
    while (channel_is_live(ch) && ch->op == 0 && !ch->is_held && ch->pending_pos < ch->pending.len &&
           ch->pending_pos < end && !connection_is_output_full(c) && resume_one(ch)) {
    }
    if (ch->state == CHANNEL_GONE) {
        pass_on_orphans(ch);
        return;
    }
    if (ch->is_held && ch->has_pending_acks)
        resume_acks(ch);
    if (ch->pending_pos == ch->pending.len) {
        buf_fini(&ch->pending);
        ch->pending_pos = 0;
        ch->has_pending_acks = false;
    } else if (ch->pending_pos > ch->pending.len / 2) {
        buf_drop_front(&ch->pending, ch->pending_pos);
        ch->pending_pos = 0;
    }
    channel_unblock(ch);
}

void
channel_resume(struct channel *ch)
{
    struct connection *c = ch->conn;
    if (!channel_is_live(ch) || ch->op != 0 || (ch->is_held && !ch->has_pending_acks))
        return;
    c->is_must_wait = client_must_wait(c->client);
    c->is_resuming = true;
    resume_pending(ch);
    c->is_resuming = false;
    connection_try_close(c);
    connection_check_input(c);
}
