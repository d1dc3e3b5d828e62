// connection.c: states of a connection, how it ends, its timers, and writing.
//
// Ending, in order: the close frame is encoded at once; the client (sessions, exclusive queues) is closed at
// the next safe place (amqp_settle_ends); the socket follows when the other side has answered, or its time is
// up. A connection that died waits, out of all lists, until its client is gone, and is freed then.
#include <inttypes.h>

#include "amqp/connection.h"
#include "amqp/user_channels.h"
#include "src/base/bug.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

#define SECOND_NS UINT64_C(1000000000)
// LIMIT: seconds a client has for answering our close, for taking the last bytes, and for closing its side.
enum { CLOSING_SECONDS = 10, FLUSHING_SECONDS = 10, LINGERING_SECONDS = 2 };
// Silence after a log-in that failed, before the socket is closed: slows down guessing, as in RabbitMQ.
enum { REFUSED_SECONDS = 1 };
// A connection that is not read does not see the end of its input: seconds between two looks for it.
enum { PROBE_SECONDS = 5 };
// LIMIT: bytes written to one connection in one turn.
enum { WRITE_TURN_BYTES = 1024 * 1024 };

#define MOVE(state) (1u << (state))
enum {
    MOVES_OUT = MOVE(CONNECTION_CLOSING) | MOVE(CONNECTION_ENDING) | MOVE(CONNECTION_FLUSHING) |
                MOVE(CONNECTION_DEAD),
};

// To which states may a state be left?
static const uint32_t moves[CONNECTION_STATE_COUNT] = {
    [CONNECTION_HEADER] = MOVE(CONNECTION_STARTING) | MOVES_OUT,
    [CONNECTION_STARTING] = MOVE(CONNECTION_TUNING) | MOVE(CONNECTION_REFUSED) | MOVES_OUT,
    [CONNECTION_TUNING] = MOVE(CONNECTION_OPENING) | MOVES_OUT,
    [CONNECTION_OPENING] = MOVE(CONNECTION_RUNNING) | MOVES_OUT,
    [CONNECTION_RUNNING] = MOVES_OUT,
    [CONNECTION_CLOSING] = MOVE(CONNECTION_FLUSHING) | MOVE(CONNECTION_DEAD),
    [CONNECTION_ENDING] = MOVE(CONNECTION_FLUSHING) | MOVE(CONNECTION_DEAD),
    [CONNECTION_FLUSHING] = MOVE(CONNECTION_LINGERING) | MOVE(CONNECTION_DEAD),
    [CONNECTION_LINGERING] = MOVE(CONNECTION_DEAD),
    [CONNECTION_REFUSED] = MOVE(CONNECTION_DEAD),
    [CONNECTION_DEAD] = 0,
};

static void
leave_unauthenticated(struct connection *c)
{
    list_remove(&c->unauth_node);
    if (c->is_unauth_counted)
        count_u32(&c->aw->unauthenticated_count, -1);
    c->is_unauth_counted = false;
}

static uint64_t
state_seconds(enum connection_state state)
{
    switch (state) {
    case CONNECTION_CLOSING: return CLOSING_SECONDS;
    case CONNECTION_FLUSHING: return FLUSHING_SECONDS;
    case CONNECTION_LINGERING: return LINGERING_SECONDS;
    case CONNECTION_REFUSED: return REFUSED_SECONDS;
    default: return 0;
    }
}

void
connection_set_state(struct connection *c, enum connection_state state)
{
    LV_ASSERT((moves[c->state] & MOVE(state)) != 0);
    bool was_running = c->state == CONNECTION_RUNNING;
    c->state = (uint8_t)state;
    if (state == CONNECTION_RUNNING || state == CONNECTION_DEAD)
        leave_unauthenticated(c);
    if (state_seconds(state) > 0)
        c->deadline_ns = c->aw->worker->now_ns + state_seconds(state) * SECOND_NS;
    else if (was_running || state == CONNECTION_RUNNING)
        c->deadline_ns = WHEEL_NEVER;
    c->is_deaf = state >= CONNECTION_ENDING;
    if (state == CONNECTION_DEAD) {
        list_remove(&c->read_node);
        list_remove(&c->write_node);
        list_remove(&c->held_node);
        wheel_clear(&c->timer);
        return;
    }
    connection_check_input(c);
    connection_update_want(c);
    connection_set_timer(c);
}

// --- writing -----------------------------------------------------------------------------------------------

void
connection_output_added(struct connection *c)
{
    if (LV_LIKELY(list_is_linked(&c->write_node)) || c->is_write_blocked || c->state == CONNECTION_DEAD)
        return;
    list_push_back(&c->aw->writable, &c->write_node);
}

void
connection_send_scratch(struct connection *c)
{
    struct buf *scratch = &c->aw->scratch;
    if (!scratch->failed)
        output_append(&c->out, buf_slice(scratch));
    bool failed = scratch->failed || c->out.failed;
    scratch->failed = false;
    if (scratch->cap > READ_BYTES)
        buf_fini(scratch);
    else
        buf_reset(scratch);
    if (failed)
        connection_kill(c, "out of memory");
    else
        connection_output_added(c);
}

// Writes what the transport takes, within the budget of a turn. False: the connection is dead.
static bool
write_out(struct connection *c)
{
    size_t written = 0;
    while (output_size(&c->out) > 0) {
        if (written >= WRITE_TURN_BYTES) {
            connection_output_added(c);
            break;
        }
        ssize_t n = output_write(&c->out, c->transport);
        if (n == -LE_AGAIN) {
            c->is_write_blocked = true;
            break;
        }
        if (n < 0) {
            connection_kill(c,
                            n == -LE_NOMEM ? "out of memory" : "client unexpectedly closed TCP connection");
            return false;
        }
        written += (size_t)n;
        c->send_cnt++;
    }
    if (written > 0) {
        c->send_oct += written;
        c->last_send_ns = c->aw->worker->now_ns;
        count_u64(&c->aw->sent_bytes, written);
    }
    return true;
}

void
connection_flush(struct connection *c)
{
    if (c->state == CONNECTION_DEAD || c->transport == NULL)
        return;
    if (c->out.failed) {
        connection_kill(c, "out of memory");
        return;
    }
    if (!write_out(c))
        return;
    if (c->state == CONNECTION_FLUSHING && output_size(&c->out) == 0) {
        c->transport->ops->shut(c->transport);
        connection_set_state(c, CONNECTION_LINGERING);
        if (c->is_at_end)
            connection_kill(c, NULL);
        return;
    }
    if (c->state == CONNECTION_RUNNING && output_size(&c->out) < OUTPUT_LOW_BYTES && c->client != NULL)
        client_output_drained(c->client);
    connection_check_input(c);
    connection_update_want(c);
}

bool
connection_is_output_full(const struct connection *c)
{
    return output_size(&c->out) >= OUTPUT_HIGH_BYTES;
}

// --- what may be read --------------------------------------------------------------------------------------

void
connection_check_input(struct connection *c)
{
    bool is_stopped;
    if (c->state != CONNECTION_RUNNING)
        is_stopped = c->state == CONNECTION_REFUSED || c->state == CONNECTION_DEAD;
    else if (
        c->is_input_stopped) // starts again with some room, so that it does not go on and off with each frame
        is_stopped = c->is_close_wanted || c->pending_bytes > PENDING_BYTES_MAX / 2 ||
                     output_size(&c->out) > OUTPUT_LOW_BYTES;
    else
        is_stopped =
            c->is_close_wanted || c->pending_bytes >= PENDING_BYTES_MAX || connection_is_output_full(c);
    if (is_stopped == c->is_input_stopped)
        return;
    c->is_input_stopped = is_stopped;
    c->probe_ns = is_stopped ? c->aw->worker->now_ns + PROBE_SECONDS * SECOND_NS : WHEEL_NEVER;
    if (!is_stopped)
        c->last_recv_ns = c->aw->worker->now_ns; // its silence was ours
    if (c->state != CONNECTION_DEAD)
        connection_set_timer(c);
    if (!is_stopped) {
        if (!list_is_linked(&c->read_node))
            list_push_back(&c->aw->readable, &c->read_node);
        worker_keep_awake(c->aw->worker);
    }
    connection_update_want(c);
}

void
connection_update_want(struct connection *c)
{
    if (c->transport == NULL || c->state == CONNECTION_DEAD)
        return;
    unsigned events = 0;
    if (!c->is_input_stopped && !c->is_at_end)
        events |= TRANSPORT_READ;
    if (c->is_write_blocked)
        events |= TRANSPORT_WRITE;
    c->transport->ops->want(c->transport, events);
}

void
connection_ready(void *ctx, unsigned events)
{
    struct connection *c = ctx;
    if (c->state == CONNECTION_DEAD)
        return;
    if ((events & TRANSPORT_READ) != 0 && !c->is_input_stopped && !list_is_linked(&c->read_node))
        list_push_back(&c->aw->readable, &c->read_node);
    if ((events & TRANSPORT_WRITE) != 0 && c->is_write_blocked) {
        c->is_write_blocked = false;
        connection_output_added(c);
        connection_update_want(c);
    }
}

// --- ends --------------------------------------------------------------------------------------------------

static void
want_settling(struct connection *c)
{
    if (!list_is_linked(&c->ending_node))
        list_push_back(&c->aw->ending, &c->ending_node);
    worker_keep_awake(c->aw->worker);
}

static void
log_fault(struct connection *c, const struct fault *f, uint32_t method_id)
{
    if (!log_limit_pass(&c->aw->limit_close, c->aw->worker->now_ns, "closed connections"))
        return;
    if (f->code == FAULT_CONNECTION_FORCED)
        log_warn(LOG_CONNECTION, "closing AMQP connection %.*s (vhost: '%.*s', user: '%.*s'): %s",
                 SLICE_FMT(c->name), SLICE_FMT(c->vhost), SLICE_FMT(c->user), f->text);
    else
        log_error(LOG_CONNECTION, "connection %.*s (vhost: '%.*s', user: '%.*s'): %s%s%s", SLICE_FMT(c->name),
                  SLICE_FMT(c->vhost), SLICE_FMT(c->user), method_id != 0 ? amqp_method_name(method_id) : "",
                  method_id != 0 ? ": " : "", f->text);
}

struct slice
fault_reply_text(const struct fault *f, uint8_t room[static UINT8_MAX])
{
    struct slice text = amqp_shortstr_cut(slice_str(f->text));
    size_t len = 0;
    while (len < text.len) {
        size_t n = utf8_sequence_len(text.ptr + len, text.len - len);
        if (n == 0)
            room[len++] = '?';
        else
            memcpy(room + len, text.ptr + len, n);
        len += n;
    }
    return slice_of(room, len);
}

void
connection_fault(struct connection *c, const struct fault *f, uint32_t method_id)
{
    if (c->state >= CONNECTION_CLOSING)
        return;
    log_fault(c, f, method_id);
    if (f->code != FAULT_CONNECTION_FORCED || f->reason != 0)
        reason_note_fault(c->aw->worker, f, c->vhost, c->user);
    if (c->is_close_wanted) { // the client waits for its own close-ok already
        connection_set_state(c, CONNECTION_ENDING);
        want_settling(c);
        return;
    }
    uint8_t room[UINT8_MAX];
    struct amqp_connection_close m = {
        .reply_code = f->code,
        .reply_text = fault_reply_text(f, room),
        .class_id = amqp_class_of(method_id),
        .method_id = amqp_method_of(method_id),
    };
    connection_set_state(c, CONNECTION_CLOSING);
    want_settling(c);
    amqp_frame_connection_close(&c->aw->scratch, 0, &m);
    connection_send_scratch(c);
}

void
connection_fatal(struct connection *c, const struct fault *f)
{
    if (c->state < CONNECTION_CLOSING)
        connection_fault(c, f, 0);
    if (c->state == CONNECTION_CLOSING) {
        connection_set_state(c, CONNECTION_FLUSHING);
        connection_output_added(c);
    }
}

void
connection_kill(struct connection *c, const char *why)
{
    if (c->state == CONNECTION_DEAD)
        return;
    if (why != NULL && c->state <= CONNECTION_RUNNING &&
        log_limit_pass(&c->aw->limit_close, c->aw->worker->now_ns, "closed connections"))
        log_warn(LOG_CONNECTION, "closing AMQP connection %.*s (vhost: '%.*s', user: '%.*s'): %s",
                 SLICE_FMT(c->name), SLICE_FMT(c->vhost), SLICE_FMT(c->user), why);
    connection_set_state(c, CONNECTION_DEAD);
    want_settling(c);
}

void
connection_close_by_client(struct connection *c)
{
    if (c->state != CONNECTION_RUNNING) {
        connection_set_state(c, CONNECTION_ENDING);
        want_settling(c);
        return;
    }
    c->is_close_wanted = true;
    connection_check_input(c);
    connection_try_close(c);
}

void
connection_try_close(struct connection *c)
{
    size_t cursor = 0;
    uint64_t number;
    void *value;
    if (c->state != CONNECTION_RUNNING || !c->is_close_wanted || c->is_resuming)
        return;
    while (inttab_next(&c->channels, &cursor, &number, &value)) {
        const struct channel *ch = value;
        if (ch->state == CHANNEL_OPEN && ch->is_busy)
            return; // comes here again when it has carried out what it holds
    }
    log_info(LOG_CONNECTION, "closing AMQP connection %.*s (vhost: '%.*s', user: '%.*s')", SLICE_FMT(c->name),
             SLICE_FMT(c->vhost), SLICE_FMT(c->user));
    connection_set_state(c, CONNECTION_ENDING);
    want_settling(c);
}

// Everything the client had is gone: from now on it may connect and declare again.
static void
after_client(struct connection *c)
{
    if (c->state == CONNECTION_ENDING) {
        connection_set_state(c, CONNECTION_FLUSHING);
        amqp_frame_connection_close_ok(&c->aw->scratch, 0);
        connection_send_scratch(c);
    } else if (c->state == CONNECTION_CLOSING && c->is_answered) {
        connection_set_state(c, CONNECTION_FLUSHING);
        connection_output_added(c);
    } else if (c->state == CONNECTION_DEAD && !list_is_linked(&c->ending_node)) {
        list_push_back(&c->aw->reaping, &c->ending_node);
        worker_keep_awake(c->aw->worker);
    }
}

static void
on_client_closed(void *ctx)
{
    struct connection *c = ctx;
    LV_ASSERT(c->is_client_closing);
    c->is_client_closing = false;
    if (!list_is_linked(&c->ending_node)) // otherwise connection_client_close goes on by itself
        after_client(c);
}

static void
drop_channels(struct connection *c)
{
    size_t cursor = 0;
    uint64_t number;
    void *value;
    while (inttab_next(&c->channels, &cursor, &number, &value)) {
        struct channel *ch = value;
        ch->session = NULL; // client_close has closed it
        ch->state = CHANNEL_GONE;
        publish_forget(ch);
        list_remove(&ch->resume_node);
        list_remove(&ch->ending_node);
        list_push_back(&c->aw->dead_channels, &ch->ending_node);
    }
    if (c->user_channels != NULL && c->channels.count > 0)
        user_channels_remove(c->user_channels, (uint32_t)c->channels.count);
    count_u32(&c->aw->channel_count, -(int)c->channels.count);
    count_u64(&c->aw->channels_closed, c->channels.count);
    inttab_fini(&c->channels);
    inttab_init(&c->channels);
    c->last_channel = NULL;
    c->pending_bytes = 0;
    list_remove(&c->held_node);
}

#ifdef LV_TEST_HOOKS
static void
finish_halves(struct connection *c)
{
    size_t cursor = 0;
    uint64_t number;
    void *value;
    while (inttab_next(&c->channels, &cursor, &number, &value))
        publish_finish_half(value);
}
#endif

void
connection_client_close(struct connection *c)
{
    LV_ASSERT(c->state >= CONNECTION_CLOSING && !list_is_linked(&c->ending_node));
    struct client *client = c->client;
    if (client != NULL) {
        c->client = NULL;
        c->is_client_closing = true;
        list_push_back(&c->aw->reaping,
                       &c->ending_node); // marks that an answer at once is not acted on inside client_close
#ifdef LV_TEST_HOOKS
        if (LV_BUG(PARTIAL_PUBLISH))
            finish_halves(c);
#endif
        client_close(client, on_client_closed, c);
        list_remove(&c->ending_node);
        drop_channels(c);
        if (c->is_open_counted) {
            count_u32(&c->aw->open_count, -1);
            count_u64(&c->aw->ended, 1);
        }
        c->is_open_counted = false;
    }
    if (c->state == CONNECTION_DEAD && c->transport != NULL) {
        c->transport->ops->close(c->transport);
        c->transport = NULL;
        output_clear(&c->out);
    }
    if (!c->is_client_closing)
        after_client(c);
}

void
connection_free(struct connection *c)
{
    struct amqp_worker *aw = c->aw;
    LV_ASSERT(c->state == CONNECTION_DEAD && c->client == NULL && c->transport == NULL &&
              !c->is_client_closing);
    LV_ASSERT(c->channels.count == 0);
    list_remove(&c->node);
    list_remove(&c->ending_node);
    count_u32(&aw->connection_count, -1);
    count_u64(&aw->closed, 1);
    inttab_fini(&c->channels);
    output_clear(&c->out);
    user_channels_put(c->user_channels);
    mem_free(c->in.ptr);
    mem_free((void *)(uintptr_t)c->name.ptr);
    mem_free((void *)(uintptr_t)c->user.ptr);
    mem_free((void *)(uintptr_t)c->vhost.ptr);
    mem_free((void *)(uintptr_t)c->client_properties.ptr);
    mem_free(c);
}

// --- timers ------------------------------------------------------------------------------------------------

void
connection_set_timer(struct connection *c)
{
    uint64_t due = c->deadline_ns;
    if (c->state == CONNECTION_RUNNING && c->is_input_stopped)
        due = LV_MIN(due, c->probe_ns);
    if (c->state == CONNECTION_RUNNING && c->heartbeat_s > 0) {
        uint64_t interval = c->heartbeat_s * SECOND_NS;
        due = LV_MIN(due, c->last_send_ns + interval / 2);
        if (!c->is_input_stopped)
            due = LV_MIN(due, c->last_recv_ns + 2 * interval);
    }
    wheel_set(&c->aw->wheel, &c->timer, due);
    c->aw->is_wheel_changed = true;
}

static void
on_deadline(struct connection *c)
{
    if (c->state < CONNECTION_RUNNING)
        connection_kill(c, "handshake_timeout: it did not open in time");
    else
        connection_kill(c, NULL);
}

// AMQP 0-9-1 §4.2.7: what we sent counts as a heartbeat, what the client sent as one of its.
static void
check_heartbeats(struct connection *c)
{
    uint64_t now = c->aw->worker->now_ns;
    uint64_t interval = c->heartbeat_s * SECOND_NS;
    // Input that waits for us is no silence of the client.
    bool is_silent = !c->is_input_stopped && !list_is_linked(&c->read_node);
    if (is_silent && now >= c->last_recv_ns + 2 * interval) {
        char why[80];
        snprintf(why, sizeof why, "missed heartbeats from client, timeout: %us", c->heartbeat_s);
        connection_kill(c, why);
        return;
    }
    if (now < c->last_send_ns + interval / 2)
        return;
    c->last_send_ns = now;
    if (output_size(&c->out) > 0)
        return; // it does not take what is there already
    frame_append_heartbeat(&c->aw->scratch);
    connection_send_scratch(c);
}

// Held by an alarm, or for not reading: that can last, and without heartbeats nothing is written either. What the
// peer sent before it went is dropped, as it is when the end is read; but not when it said goodbye, which waits
// for the alarm to end: then all of it is to be carried out.
static void
probe(struct connection *c)
{
    struct transport *t = c->transport;
    if (!c->is_close_wanted && t->ops->is_peer_gone != NULL && t->ops->is_peer_gone(t))
        connection_kill(c, "client unexpectedly closed TCP connection");
    c->probe_ns = c->aw->worker->now_ns + PROBE_SECONDS * SECOND_NS;
}

void
connection_on_timer(struct connection *c)
{
    if (c->state == CONNECTION_DEAD)
        return;
    uint64_t now = c->aw->worker->now_ns;
    if (now >= c->deadline_ns)
        on_deadline(c);
    if (c->state == CONNECTION_RUNNING && c->is_input_stopped && now >= c->probe_ns)
        probe(c);
    if (c->state == CONNECTION_RUNNING && c->heartbeat_s > 0)
        check_heartbeats(c);
    if (c->state != CONNECTION_DEAD)
        connection_set_timer(c);
}
