// channel_method.c: what each method of the classes channel, access, exchange, queue, basic, confirm and tx
// does to the session, and how its result is answered (AMQP 0-9-1 §1.5 to §1.9, and RabbitMQ's extensions).
//
// Asynchronous methods set `op` and call the session, whose answer, now or in a later turn, comes to
// channel_done. nowait leaves the answer out, not the waiting.
#include <inttypes.h>

#include "amqp/connection.h"
#include "src/base/err.h"

static struct buf *
scratch_of(struct channel *ch)
{
    return &ch->conn->aw->scratch;
}

static void
begin(struct channel *ch, uint32_t id, bool is_nowait)
{
    LV_ASSERT(ch->op == 0);
    ch->op = id;
    ch->is_nowait = is_nowait;
    ch->is_busy = true;
}

static void
fault_connection(struct channel *ch, uint16_t code, uint32_t id, const char *text)
{
    struct fault f;
    fault_set(&f, code, "%s", text);
    f.is_connection = true;
    channel_fault(ch, &f, id);
}

// A name as RabbitMQ keeps it: without CR and LF. `room` holds the copy when there is one.
static struct slice
strip_name(struct slice name, uint8_t room[static UINT8_MAX])
{
    if (name.len == 0 ||
        (memchr(name.ptr, '\r', name.len) == NULL && memchr(name.ptr, '\n', name.len) == NULL))
        return name;
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] != '\r' && name.ptr[i] != '\n')
            room[len++] = name.ptr[i];
    }
    return slice_of(room, len);
}

// --- class channel -----------------------------------------------------------------------------------------

static void
on_close(struct channel *ch)
{
    if (session_give_back(ch->session))
        channel_end(ch);
    else
        begin(ch, AMQP_CHANNEL_CLOSE, true); // close-ok says that everything is back in its queues
}

void
channel_end(struct channel *ch)
{
    struct connection *c = ch->conn;
    uint16_t number = ch->number;
    session_close(
        ch->session); // frames are carried out from the read and resume hooks: nobody is inside the session
    ch->session = NULL;
    ch->orphan_pos = ch->pending_pos;
    amqp_frame_channel_close_ok(&c->aw->scratch, number);
    connection_send_scratch(c);
    channel_remove(ch);
}

static void
on_flow(struct channel *ch, const struct amqp_channel_flow *m)
{
    if (!m->active) {
        fault_connection(ch, FAULT_NOT_IMPLEMENTED, AMQP_CHANNEL_FLOW, "active=false");
        return;
    }
    amqp_frame_channel_flow_ok(scratch_of(ch), ch->number, &(struct amqp_channel_flow_ok){.active = true});
    connection_send_scratch(ch->conn);
}

static void
on_access_request(struct channel *ch)
{
    // PROTOCOL: clients of 0-8 ask for tickets; there are none, and any number will do.
    amqp_frame_access_request_ok(scratch_of(ch), ch->number, &(struct amqp_access_request_ok){.ticket = 1});
    connection_send_scratch(ch->conn);
}

// --- exchanges, bindings -----------------------------------------------------------------------------------

static void
on_exchange_declare(struct channel *ch, const struct amqp_exchange_declare *m)
{
    uint8_t room[UINT8_MAX];
    struct session_exchange_args a = {
        .exchange = strip_name(m->exchange, room),
        .type = m->type,
        .arguments = m->arguments,
        .is_passive = m->passive,
        .is_durable = m->durable,
        .is_auto_delete = m->auto_delete,
        .is_internal = m->internal,
    };
    begin(ch, AMQP_EXCHANGE_DECLARE, m->nowait);
    session_exchange_declare(ch->session, &a);
}

static void
on_exchange_delete(struct channel *ch, const struct amqp_exchange_delete *m)
{
    uint8_t room[UINT8_MAX];
    begin(ch, AMQP_EXCHANGE_DELETE, m->nowait);
    session_exchange_delete(ch->session, strip_name(m->exchange, room), m->if_unused);
}

// The four methods that bind and unbind: `a` with the names as they came.
static void
bind_or_unbind(struct channel *ch, uint32_t id, bool is_nowait, const struct session_bind_args *a)
{
    uint8_t source[UINT8_MAX], destination[UINT8_MAX];
    struct session_bind_args stripped = *a;
    stripped.source = strip_name(a->source, source);
    stripped.destination = strip_name(a->destination, destination);
    begin(ch, id, is_nowait);
    if (id == AMQP_EXCHANGE_BIND || id == AMQP_QUEUE_BIND)
        session_bind(ch->session, &stripped);
    else
        session_unbind(ch->session, &stripped);
}

static void
on_exchange_bind(struct channel *ch, const struct amqp_exchange_bind *m)
{
    bind_or_unbind(ch, AMQP_EXCHANGE_BIND, m->nowait,
                   &(struct session_bind_args){.source = m->source,
                                               .destination = m->destination,
                                               .key = m->routing_key,
                                               .arguments = m->arguments});
}

static void
on_exchange_unbind(struct channel *ch, const struct amqp_exchange_unbind *m)
{
    bind_or_unbind(ch, AMQP_EXCHANGE_UNBIND, m->nowait,
                   &(struct session_bind_args){.source = m->source,
                                               .destination = m->destination,
                                               .key = m->routing_key,
                                               .arguments = m->arguments});
}

static void
on_queue_bind(struct channel *ch, const struct amqp_queue_bind *m)
{
    bind_or_unbind(ch, AMQP_QUEUE_BIND, m->nowait,
                   &(struct session_bind_args){.source = m->exchange,
                                               .destination = m->queue,
                                               .key = m->routing_key,
                                               .arguments = m->arguments,
                                               .is_dest_queue = true});
}

static void
on_queue_unbind(struct channel *ch, const struct amqp_queue_unbind *m)
{
    bind_or_unbind(ch, AMQP_QUEUE_UNBIND, false,
                   &(struct session_bind_args){.source = m->exchange,
                                               .destination = m->queue,
                                               .key = m->routing_key,
                                               .arguments = m->arguments,
                                               .is_dest_queue = true});
}

// --- queues ------------------------------------------------------------------------------------------------

static void
on_queue_declare(struct channel *ch, const struct amqp_queue_declare *m)
{
    uint8_t room[UINT8_MAX];
    struct session_queue_args a = {
        .queue = strip_name(m->queue, room),
        .arguments = m->arguments,
        .is_passive = m->passive,
        .is_durable = m->durable,
        .is_exclusive = m->exclusive,
        .is_auto_delete = m->auto_delete,
    };
    begin(ch, AMQP_QUEUE_DECLARE, m->nowait);
    session_queue_declare(ch->session, &a);
}

static void
on_queue_delete(struct channel *ch, const struct amqp_queue_delete *m)
{
    uint8_t room[UINT8_MAX];
    begin(ch, AMQP_QUEUE_DELETE, m->nowait);
    session_queue_delete(ch->session, strip_name(m->queue, room), m->if_unused, m->if_empty);
}

static void
on_queue_purge(struct channel *ch, const struct amqp_queue_purge *m)
{
    begin(ch, AMQP_QUEUE_PURGE, m->nowait);
    session_queue_purge(ch->session, m->queue);
}

// --- class basic -------------------------------------------------------------------------------------------

static void
on_qos(struct channel *ch, const struct amqp_basic_qos *m)
{
    struct fault f;
    if (m->prefetch_size != 0) {
        fault_set(&f, FAULT_NOT_IMPLEMENTED, "prefetch_size!=0 (%" PRIu32 ")", m->prefetch_size);
        channel_fault(ch, &f, AMQP_BASIC_QOS);
        return;
    }
    if (!session_qos(ch->session, m->prefetch_count, m->global, &f)) {
        channel_fault(ch, &f, AMQP_BASIC_QOS);
        return;
    }
    amqp_frame_basic_qos_ok(scratch_of(ch), ch->number);
    connection_send_scratch(ch->conn);
}

static void
on_consume(struct channel *ch, const struct amqp_basic_consume *m)
{
    uint32_t limit = ch->conn->aw->config->consumer_max_per_channel;
    if (limit != AMQP_UNLIMITED && session_consumer_count(ch->session) >= limit) {
        struct fault f;
        fault_set(&f, FAULT_NOT_ALLOWED, "reached maximum (%" PRIu32 ") of consumers per channel", limit);
        f.reason = REASON_REFUSED_CHANNEL_CONSUMERS;
        channel_fault(ch, &f, AMQP_BASIC_CONSUME);
        return;
    }
    struct session_consume_args a = {
        .queue = m->queue,
        .consumer_tag = m->consumer_tag,
        .arguments = m->arguments,
        .is_no_ack = m->no_ack,
        .is_exclusive = m->exclusive,
    };
    begin(ch, AMQP_BASIC_CONSUME, m->nowait);
    session_consume(ch->session, &a);
}

static void
on_cancel(struct channel *ch, const struct amqp_basic_cancel *m)
{
    begin(ch, AMQP_BASIC_CANCEL, m->nowait);
    session_cancel(ch->session, m->consumer_tag);
}

static void
on_get(struct channel *ch, const struct amqp_basic_get *m)
{
    begin(ch, AMQP_BASIC_GET, false);
    session_get(ch->session, m->queue, m->no_ack);
}

static void
on_settle(struct channel *ch, uint32_t id, uint64_t tag, bool is_multiple, enum settle_kind kind)
{
    struct fault f;
    if (!session_settle(ch->session, tag, is_multiple, kind, &f))
        channel_fault(ch, &f, id);
    else if (session_is_busy(ch->session))
        begin(ch, id, true);
}

static void
on_recover(struct channel *ch, uint32_t id, bool requeue)
{
    if (!requeue) {
        fault_connection(ch, FAULT_NOT_IMPLEMENTED, id, "requeue=false");
        return;
    }
    begin(ch, id, id == AMQP_BASIC_RECOVER_ASYNC);
    session_recover(ch->session);
}

// --- confirm, tx -------------------------------------------------------------------------------------------

static void
on_confirm_select(struct channel *ch, const struct amqp_confirm_select *m)
{
    struct fault f;
    if (!session_confirm_select(ch->session, &f)) {
        channel_fault(ch, &f, AMQP_CONFIRM_SELECT);
        return;
    }
    if (m->nowait)
        return;
    amqp_frame_confirm_select_ok(scratch_of(ch), ch->number);
    connection_send_scratch(ch->conn);
}

static void
on_tx_select(struct channel *ch)
{
    struct fault f;
    if (!session_tx_select(ch->session, &f)) {
        channel_fault(ch, &f, AMQP_TX_SELECT);
        return;
    }
    ch->is_tx = true;
    amqp_frame_tx_select_ok(scratch_of(ch), ch->number);
    connection_send_scratch(ch->conn);
}

static void
on_tx_rollback(struct channel *ch)
{
    struct fault f;
    if (!session_tx_rollback(ch->session, &f)) {
        channel_fault(ch, &f, AMQP_TX_ROLLBACK);
        return;
    }
    amqp_frame_tx_rollback_ok(scratch_of(ch), ch->number);
    connection_send_scratch(ch->conn);
}

static void
on_tx_commit(struct channel *ch)
{
    begin(ch, AMQP_TX_COMMIT, false);
    session_tx_commit(ch->session);
}

// --- dispatch ----------------------------------------------------------------------------------------------

static void
carry_out_other(struct channel *ch, uint32_t id, const union amqp_method *m)
{
    switch (id) {
    case AMQP_CHANNEL_OPEN:
        fault_connection(ch, FAULT_CHANNEL_ERROR, id, "second 'channel.open' seen");
        break;
    case AMQP_CHANNEL_FLOW: on_flow(ch, &m->channel_flow); break;
    case AMQP_CHANNEL_CLOSE: on_close(ch); break;
    case AMQP_ACCESS_REQUEST: on_access_request(ch); break;
    case AMQP_EXCHANGE_DECLARE: on_exchange_declare(ch, &m->exchange_declare); break;
    case AMQP_EXCHANGE_DELETE: on_exchange_delete(ch, &m->exchange_delete); break;
    case AMQP_EXCHANGE_BIND: on_exchange_bind(ch, &m->exchange_bind); break;
    case AMQP_EXCHANGE_UNBIND: on_exchange_unbind(ch, &m->exchange_unbind); break;
    case AMQP_QUEUE_DECLARE: on_queue_declare(ch, &m->queue_declare); break;
    case AMQP_QUEUE_BIND: on_queue_bind(ch, &m->queue_bind); break;
    case AMQP_QUEUE_UNBIND: on_queue_unbind(ch, &m->queue_unbind); break;
    case AMQP_QUEUE_PURGE: on_queue_purge(ch, &m->queue_purge); break;
    case AMQP_QUEUE_DELETE: on_queue_delete(ch, &m->queue_delete); break;
    case AMQP_CONFIRM_SELECT: on_confirm_select(ch, &m->confirm_select); break;
    case AMQP_TX_SELECT: on_tx_select(ch); break;
    case AMQP_TX_COMMIT: on_tx_commit(ch); break;
    case AMQP_TX_ROLLBACK: on_tx_rollback(ch); break;
    default: fault_connection(ch, FAULT_COMMAND_INVALID, id, "unimplemented method"); break;
    }
}

static void
carry_out(struct channel *ch, uint32_t id, const union amqp_method *m)
{
    switch (id) {
    case AMQP_BASIC_ACK:
        on_settle(ch, id, m->basic_ack.delivery_tag, m->basic_ack.multiple, SETTLE_ACK);
        break;
    case AMQP_BASIC_NACK:
        on_settle(ch, id, m->basic_nack.delivery_tag, m->basic_nack.multiple,
                  m->basic_nack.requeue ? SETTLE_REQUEUE : SETTLE_REJECT);
        break;
    case AMQP_BASIC_REJECT:
        on_settle(ch, id, m->basic_reject.delivery_tag, false,
                  m->basic_reject.requeue ? SETTLE_REQUEUE : SETTLE_REJECT);
        break;
    case AMQP_BASIC_PUBLISH: publish_method(ch, &m->basic_publish); break;
    case AMQP_BASIC_QOS: on_qos(ch, &m->basic_qos); break;
    case AMQP_BASIC_CONSUME: on_consume(ch, &m->basic_consume); break;
    case AMQP_BASIC_CANCEL: on_cancel(ch, &m->basic_cancel); break;
    case AMQP_BASIC_CANCEL_OK:
        break; // PROTOCOL: the answer of some clients to our cancel, which asked for none
    case AMQP_BASIC_GET: on_get(ch, &m->basic_get); break;
    case AMQP_BASIC_RECOVER: on_recover(ch, id, m->basic_recover.requeue); break;
    case AMQP_BASIC_RECOVER_ASYNC: on_recover(ch, id, m->basic_recover_async.requeue); break;
    default: carry_out_other(ch, id, m); break;
    }
}

void
channel_method(struct channel *ch, uint32_t id, struct slice args)
{
    union amqp_method m;
    int rc = amqp_method_decode(id, args, &m);
    if (LV_LIKELY(rc == 0)) {
        carry_out(ch, id, &m);
        return;
    }
    const struct amqp_method_info *info = amqp_method_info(id);
    if (info != NULL && (info->side & AMQP_FROM_CLIENT) == 0)
        fault_connection(ch, FAULT_COMMAND_INVALID, id, "unimplemented method");
    else
        connection_bad_arguments(ch->conn, id, args, rc);
}

// --- answers -----------------------------------------------------------------------------------------------

static uint32_t
count_of(uint64_t n)
{
    return (uint32_t)LV_MIN(n, (uint64_t)UINT32_MAX);
}

static void
answer_queue_declare(struct channel *ch, const struct session_result *r)
{
    amqp_frame_queue_declare_ok(
        scratch_of(ch), ch->number,
        &(struct amqp_queue_declare_ok){.queue = r->name,
                                        .message_count = count_of(r->message_count),
                                        .consumer_count = count_of(r->consumer_count)});
}

static void
answer(struct channel *ch, uint32_t id, const struct session_result *r)
{
    struct buf *out = scratch_of(ch);
    uint16_t number = ch->number;
    uint32_t messages = count_of(r->message_count);
    switch (id) {
    case AMQP_EXCHANGE_DECLARE: amqp_frame_exchange_declare_ok(out, number); break;
    case AMQP_EXCHANGE_DELETE: amqp_frame_exchange_delete_ok(out, number); break;
    case AMQP_EXCHANGE_BIND: amqp_frame_exchange_bind_ok(out, number); break;
    case AMQP_EXCHANGE_UNBIND: amqp_frame_exchange_unbind_ok(out, number); break;
    case AMQP_QUEUE_DECLARE: answer_queue_declare(ch, r); break;
    case AMQP_QUEUE_BIND: amqp_frame_queue_bind_ok(out, number); break;
    case AMQP_QUEUE_UNBIND: amqp_frame_queue_unbind_ok(out, number); break;
    case AMQP_QUEUE_PURGE:
        amqp_frame_queue_purge_ok(out, number, &(struct amqp_queue_purge_ok){.message_count = messages});
        break;
    case AMQP_QUEUE_DELETE:
        amqp_frame_queue_delete_ok(out, number, &(struct amqp_queue_delete_ok){.message_count = messages});
        break;
    case AMQP_BASIC_CONSUME:
        amqp_frame_basic_consume_ok(out, number, &(struct amqp_basic_consume_ok){.consumer_tag = r->name});
        break;
    case AMQP_BASIC_CANCEL:
        amqp_frame_basic_cancel_ok(out, number, &(struct amqp_basic_cancel_ok){.consumer_tag = r->name});
        break;
    case AMQP_BASIC_GET: amqp_frame_basic_get_empty(out, number); break;
    case AMQP_BASIC_RECOVER: amqp_frame_basic_recover_ok(out, number); break;
    case AMQP_TX_COMMIT: amqp_frame_tx_commit_ok(out, number); break;
    default: LV_ASSERT(false); // not asynchronous
    }
    connection_send_scratch(ch->conn);
}

void
channel_done(void *ctx, const struct session_result *r)
{
    struct channel *ch = ctx;
    uint32_t id = ch->op;
    LV_ASSERT(id != 0);
    ch->op = 0;
    if (!channel_is_live(ch))
        return;
    if (r->fault.code != FAULT_NONE) {
        channel_fault(ch, &r->fault, id);
        return;
    }
    ch->is_end_due = id == AMQP_CHANNEL_CLOSE;
    if (id == AMQP_BASIC_GET && r->msg != NULL)
        deliver_get_ok(ch, r);
    else if (!ch->is_nowait)
        answer(ch, id, r);
    channel_unblock(ch);
}

// --- events of the session ---------------------------------------------------------------------------------

static void
channel_cancelled(void *ctx, struct slice consumer_tag)
{
    struct channel *ch = ctx;
    if (!channel_is_live(ch) || (ch->conn->capabilities & CLIENT_CANCEL_NOTIFY) == 0)
        return;
    amqp_frame_basic_cancel(scratch_of(ch), ch->number,
                            &(struct amqp_basic_cancel){.consumer_tag = consumer_tag, .nowait = true});
    connection_send_scratch(ch->conn);
}

static void
channel_failed(void *ctx, const struct fault *f)
{
    channel_fault(ctx, f, 0);
}

const struct session_events channel_session_events = {
    .done = channel_done,
    .deliver = channel_deliver,
    .returned = channel_returned,
    .confirmed = channel_confirmed,
    .cancelled = channel_cancelled,
    .failed = channel_failed,
};
