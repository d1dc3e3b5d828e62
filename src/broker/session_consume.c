// session_consume.c: consumers of a session: consume, cancel, deliveries, credit, and the shared (global) prefetch limit.
//
// A delivery goes: queue's owner → client_deliver → next delivery tag, an entry in `unacked` unless no-ack → the wire. Each
// delivery uses up window; the wire gives it back when its socket has taken the bytes (client_output_drained). A delivery that
// cannot be written down goes back, and the session fails: its window and grants would no longer be right.
//
// Shared limit (basic.qos with global): the owner of a queue with messages says "ready"; the session grants in the order of
// asking, as far as the limit goes; what a queue cannot use comes back at once and goes to the next. So nothing is parked with
// an empty queue while a busy one starves, and two queues on different workers share even a limit of one.
#include "amqp/wire/table.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/event.h"
#include "src/broker/session_impl.h"
#include "src/broker/trace.h"

struct session_consumer *
session_consumer_by_id(struct session *s, uint32_t id)
{
    return inttab_get(&s->consumers, id);
}

// Up to so many consumers a tag is looked for one by one; then a table by hash is made, so that a client with 100,000 consumers on a
// channel does not make each further one a walk. The hash is seeded: two tags of one hash do not occur.
enum { TAGS_LINEAR_MAX = 32 };

static uint64_t
tag_key(struct slice tag)
{
    uint64_t hash = slice_hash(tag);
    return hash == 0 ? 1 : hash;
}

struct session_consumer *
session_consumer_by_tag(struct session *s, struct slice tag)
{
    if (s->tags.count > 0) {
        struct session_consumer *c = inttab_get(&s->tags, tag_key(tag));
        return c != NULL && slice_eq(c->tag, tag) ? c : NULL;
    }
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (slice_eq(c->tag, tag))
            return c;
    }
    return NULL;
}

// Enters the newest of consumer_list into the table of tags, or makes the table. Without memory there is none, for the time being.
static void
tags_add(struct session *s, struct session_consumer *newest)
{
    int err = 0;
    if (s->tags.count > 0) {
        err = inttab_put(&s->tags, tag_key(newest->tag), newest);
    } else if (s->consumers.count > TAGS_LINEAR_MAX) {
        LV_LIST_EACH (it, &s->consumer_list) {
            struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
            if ((err = inttab_put(&s->tags, tag_key(c->tag), c)) != 0)
                break;
        }
    }
    if (err != 0) {
        inttab_fini(&s->tags);
        inttab_init(&s->tags);
    }
}

// False: out of memory.
static bool
consumer_enter(struct session *s, struct session_consumer *c)
{
    if (inttab_put(&s->consumers, c->id, c) != 0)
        return false;
    s->client->consumer_count++;
    list_push_back(&s->consumer_list, &c->node);
    tags_add(s, c);
    return true;
}

size_t
session_consumer_count(const struct session *s)
{
    return s->consumers.count;
}

static struct session_consumer *
consumer_new(struct session *s, struct slice tag, struct slice queue_name, struct slice arguments)
{
    struct session_consumer *c = mem_calloc(1, sizeof(*c) + tag.len + queue_name.len + arguments.len);
    if (c == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)(c + 1);
    struct slice from[3] = {tag, queue_name, arguments};
    struct slice *to[3] = {&c->tag, &c->queue_name, &c->arguments};
    for (int i = 0; i < 3; i++) {
        if (from[i].len > 0)
            memcpy(at, from[i].ptr, from[i].len);
        *to[i] = slice_of(at, from[i].len);
        at += from[i].len;
    }
    do
        c->id = ++s->consumer_last_id; // after 2^32 consumers it begins again
    while (c->id == 0 || session_consumer_by_id(s, c->id) != NULL);
    list_init(&c->node);
    list_init(&c->owing_node);
    list_init(&c->waiting_node);
    return c;
}

// Takes it out of everything.
static void
consumer_unlink(struct session *s, struct session_consumer *c)
{
    if (c->consumer != 0)
        event_consumer(s, c, false);
    inttab_take(&s->consumers, c->id);
    s->client->consumer_count--;
    if (s->tags.count > 0)
        inttab_take(&s->tags, tag_key(c->tag));
    if (c->unacked > 0)
        session_timeout_keep(s, c->id, c->timeout_ns);
    list_remove(&c->node);
    list_remove(&c->owing_node);
    list_remove(&c->waiting_node);
    LV_ASSERT(s->global_used >= c->granted);
    s->global_used -= c->granted;
    if (s->op_consumer == c)
        s->op_consumer = NULL;
    if (s->reply_consumer_id == c->id) {
        s->reply_consumer_id = 0;
        s->reply_key = 0;
    }
}

void
session_consumer_drop(struct session *s, struct session_consumer *c)
{
    consumer_unlink(s, c);
    mem_free(c);
}

// --- the shared limit ---------------------------------------------------------------------------------------------------

// How many more deliveries the limits allow for this consumer.
static uint32_t
shared_room(const struct session *s, const struct session_consumer *c)
{
    uint32_t room = s->global_limit == 0 ? SESSION_WINDOW_COUNT
                                         : s->global_limit - LV_MIN(s->global_used, s->global_limit);
    if (c->prefetch > 0)
        room = LV_MIN(room, c->prefetch - LV_MIN(c->unacked + c->granted, c->prefetch));
    return room;
}

static void
grant_waiting(struct session *s)
{
    LV_LIST_EACH_SAFE (it, &s->waiting) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, waiting_node);
        if (s->global_limit != 0 && s->global_used >= s->global_limit)
            return;
        uint32_t room = shared_room(s, c);
        list_remove(&c->waiting_node);
        if (room ==
            0) { // its own prefetch is used up; others go on, and do not have to be told from it again and again
            c->is_parked = true;
            continue;
        }
        c->granted += room;
        s->global_used += room;
        consumer_grant_shared(c->consumer, room);
    }
}

// Some of its own prefetch is free again.
static void
consumer_unpark(struct session *s, struct session_consumer *c)
{
    if (!c->is_parked)
        return;
    c->is_parked = false;
    list_push_back(&s->waiting, &c->waiting_node);
}

void
session_limit_released(struct session *s)
{
    // A queue on this worker may answer a grant before it returns (unused, ready): that must not change the list being walked
    // beyond appending, so an inner call only asks for another round.
    if (s->is_granting) {
        s->is_granting_again = true;
        return;
    }
    s->is_granting = true;
    do {
        s->is_granting_again = false;
        grant_waiting(s);
    } while (s->is_granting_again);
    s->is_granting = false;
}

void
client_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    struct session *s = session_by_handle(broker_of(w), session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, consumer_id) : NULL;
    // A question asked before the limit was lifted needs no answer: the queue has heard of that by now, or will, and forgets it.
    if (c == NULL || !c->is_shared || c->is_parked || list_is_linked(&c->waiting_node))
        return;
    list_push_back(&s->waiting, &c->waiting_node);
    session_limit_released(s);
    // No room: said at once, so that consumers of lower priority need not wait; it is granted unasked when there is room again.
    if (c->is_parked || list_is_linked(&c->waiting_node))
        consumer_grant_shared(consumer, 0);
}

void
client_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
    struct session *s = session_by_handle(broker_of(w), session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, consumer_id) : NULL;
    if (c == NULL)
        return;
    count = LV_MIN(count, c->granted);
    c->granted -= count;
    s->global_used -= count;
    consumer_unpark(s, c);
    session_limit_released(s);
}

void
session_consumer_unacked(struct session *s, uint32_t id, uint32_t count)
{
    LV_ASSERT(s->global_used >= count);
    s->global_used -= count;
    struct session_consumer *c = session_consumer_by_id(s, id);
    if (c == NULL)
        return;
    c->unacked -=
        LV_MIN(c->unacked, count); // more: deliveries of one that had this number 2^32 consumers ago
    consumer_unpark(s, c);
}

// The limit has come into being or gone: tells the queues.
static void
consumers_set_shared(struct session *s, bool is_shared)
{
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (c->is_no_ack || c->is_quorum || c->is_shared == is_shared)
            continue;
        c->is_shared = is_shared;
        c->is_parked = false;
        list_remove(&c->waiting_node);
        consumer_set_shared(c->consumer, is_shared);
    }
}

bool
session_qos(struct session *s, uint16_t prefetch, bool is_global, struct fault *ret_fault)
{
    uint16_t limit =
        is_global ? prefetch : 0; // PROTOCOL: RabbitMQ: a limit per consumer ends the one of the channel
    if (!is_global)
        s->prefetch = prefetch;
    if ((limit > 0) != (s->global_limit > 0))
        consumers_set_shared(s, limit > 0);
    s->global_limit = limit;
    session_limit_released(s);
    return true;
}

// --- deliveries -----------------------------------------------------------------------------------------------------------

void
client_deliver(struct worker *w, const struct delivery *d)
{
    struct session *s = session_by_handle(broker_of(w), d->session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, d->consumer_id) : NULL;
    if (LV_UNLIKELY(c == NULL || s->is_failed)) {
        queue_settle(d->queue, SETTLE_RETURN, &d->seq, 1);
        message_unref(d->msg);
        return;
    }
    uint64_t tag = s->delivery_tag + 1;
    if (!c->is_no_ack) {
        struct unacked entry = {.tag = tag,
                                .queue = d->queue,
                                .seq = d->seq,
                                .consumer_id = c->id,
                                .given_tick = timeout_tick(w->now_ns) & TIMEOUT_TICK_MASK};
        int err = unacked_push(s, &entry);
        if (LV_UNLIKELY(err != 0)) {
            struct fault f;
            unacked_fault(&f, err);
            queue_settle(d->queue, SETTLE_RETURN, &d->seq, 1);
            message_unref(d->msg);
            session_fail(s, &f);
            return;
        }
        c->unacked++;
        session_timeout_note(s, w->now_ns, c->timeout_ns);
        if (c->granted > 0)
            c->granted--;
        else
            s->global_used++;
        s->stats.delivered++;
    } else {
        s->stats.delivered_no_ack++;
    }
    s->delivery_tag = tag;
    s->stats.redelivered += d->is_redelivered;
    c->owed_count++;
    c->owed_bytes += (uint32_t)message_weight(d->msg); // what the queue took off the window
    if (!list_is_linked(&c->owing_node)) {
        list_push_back(&s->owing_consumers, &c->owing_node);
        if (!list_is_linked(&s->owing_node))
            list_push_back(&s->client->owing, &s->owing_node);
    }
    struct session_delivery out = {.consumer_tag = c->tag,
                                   .delivery_tag = tag,
                                   .msg = d->msg,
                                   .is_redelivered = d->is_redelivered,
                                   .shown_count = d->is_counted ? d->delivery_count : 0};
    if (LV_UNLIKELY(trace_is_on(s->client->broker)))
        trace_deliver(s, c->queue_name, d->msg, d->is_redelivered);
    s->events->deliver(s->ctx, &out);
    message_unref(d->msg);
}

void
client_cancelled(struct worker *w, lv_handle session, uint32_t consumer_id, const char *reason)
{
    struct session *s = session_by_handle(broker_of(w), session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, consumer_id) : NULL;
    if (c == NULL)
        return;
    uint8_t tag[256];
    size_t len = LV_MIN(c->tag.len, sizeof tag);
    memcpy(tag, c->tag.ptr, len);
    log_debug(LOG_CHANNEL, "connection %.*s: consumer '%.*s' of queue '%.*s' cancelled: %s",
              SLICE_FMT(s->client->name), SLICE_FMT(c->tag), SLICE_FMT(c->queue_name), reason);
    bool is_expected =
        s->op == OP_CANCEL && s->op_consumer == c; // the client asked as well: cancel-ok is enough
    session_consumer_drop(s, c);
    session_limit_released(s);
    if (!is_expected)
        s->events->cancelled(s->ctx, slice_of(tag, len));
}

// --- consume ----------------------------------------------------------------------------------------------------------------

static void
cancel_forgotten_done(struct queue_request *r)
{
    queue_request_free(r);
}

static void
cancel_send(struct queue_request *r, lv_handle queue, lv_handle consumer)
{
    r->kind = QUEUE_REQUEST_CANCEL;
    r->queue = queue;
    r->consumer = consumer;
    r->done = cancel_forgotten_done;
    queue_request_send(r);
}

// Cancels a consumer whose session has no use for the answer. False: out of memory.
static bool
cancel_forgotten(lv_handle queue, lv_handle consumer)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, queue);
    if (r == NULL)
        return false;
    cancel_send(r, queue, consumer);
    return true;
}

bool
session_orphans_cancel(struct broker_worker *b)
{
    LV_LIST_EACH_SAFE (it, &b->orphans) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (!cancel_forgotten(c->queue, c->consumer))
            return false;
        list_remove(&c->node);
        mem_free(c);
    }
    return true;
}

static void
consume_fault(const struct session *s, const struct session_consumer *c, enum queue_outcome outcome,
              struct fault *f)
{
    if (outcome == QUEUE_EXCLUSIVE_USE)
        fault_set(f, FAULT_ACCESS_REFUSED, "queue '%.*s' in vhost '%.*s' in exclusive use",
                  SLICE_FMT(c->queue_name), SLICE_FMT(s->client->vhost));
    else if (outcome == QUEUE_GONE)
        fault_no_queue(f, c->queue_name, s->client->vhost);
    else
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
}

static void
consume_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    struct session_consumer *c = r->ctx;
    bool is_consuming = r->outcome == QUEUE_OK;
    if (s != NULL && is_consuming && !c->has_own_timeout)
        c->timeout_ns = timeout_ns_of(s->client->broker, r->consumer_timeout_ms);
    lv_handle consumer = r->consumer;
    if (s != NULL)
        s->op_consumer = NULL;
    c->consumer = consumer;
    if (s != NULL && is_consuming && consumer_enter(s, c)) {
        queue_request_free(r);
        session_timeout_least(s, c->timeout_ns);
        event_consumer(s, c, true);
        struct session_result result = {.name = c->tag};
        session_answer(s, &result);
        return;
    }
    struct fault f;
    if (s != NULL)
        consume_fault(s, c, is_consuming ? QUEUE_NO_MEMORY : r->outcome, &f);
    if (is_consuming)
        cancel_send(r, c->queue, consumer); // nobody is there any more, or has room for it
    else
        queue_request_free(r);
    mem_free(c);
    if (s != NULL)
        session_answer_fault(s, &f);
}

struct session_consumer *
session_consumer_add_local(struct session *s, const struct session_consume_args *a)
{
    char made[SESSION_MADE_NAME_SIZE];
    struct slice tag = a->consumer_tag;
    if (tag.len == 0) {
        session_make_name("amq.ctag-", made);
        tag = slice_str(made);
    }
    struct session_consumer *c = consumer_new(s, tag, a->queue, a->arguments);
    if (c == NULL)
        return NULL;
    c->is_no_ack = true;
    if (!consumer_enter(s, c)) {
        mem_free(c);
        return NULL;
    }
    return c;
}

// `name`: the queue's, never empty.
static bool
consume_check(struct session *s, const struct session_consume_args *a, struct slice name,
              const struct queue_def **ret_def, struct consumer_arguments *ret_args, struct fault *f)
{
    if (a->consumer_tag.len > 0 && session_consumer_by_tag(s, a->consumer_tag) != NULL) {
        fault_set(f, FAULT_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'", SLICE_FMT(a->consumer_tag));
        return false;
    }
    if (!client_may(s->client, "queue", name, ACCESS_READ, f))
        return false;
    const struct queue_def *def = session_queue(s, name, f);
    if (def == NULL || !arguments_check_consumer(def, a->arguments, ret_args, f))
        return false;
    if (def->type == QUEUE_QUORUM && s->global_limit > 0) {
        fault_set(f, FAULT_NOT_IMPLEMENTED, "queue '%.*s' in vhost '%.*s' does not support global qos",
                  SLICE_FMT(def->name), SLICE_FMT(s->client->vhost));
        return false;
    }
    *ret_def = def;
    return true;
}

static uint32_t
window_bytes(const struct client *c)
{
    uint32_t share = CLIENT_WINDOW_BYTES / (c->consumer_count + 1);
    return LV_MIN(LV_MAX(share, (uint32_t)SESSION_WINDOW_LEAST_BYTES), (uint32_t)SESSION_WINDOW_BYTES);
}

void
session_consume(struct session *s, const struct session_consume_args *a)
{
    LV_ASSERT(s->op == OP_NONE);
    struct fault f = {0};
    struct slice name;
    const struct queue_def *def = NULL;
    struct consumer_arguments args = {0};
    bool is_named = session_queue_name(s, a->queue, &name, &f);
    if (is_named && slice_eq_str(name, REPLY_TO_NAME)) {
        reply_to_consume(s, a);
        return;
    }
    if (!is_named || !consume_check(s, a, name, &def, &args, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    char made[SESSION_MADE_NAME_SIZE];
    struct slice tag = a->consumer_tag;
    if (tag.len == 0) {
        session_make_name("amq.ctag-", made);
        tag = slice_str(made);
    }
    struct session_consumer *c = consumer_new(s, tag, def->name, a->arguments);
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, def->handle);
    if (c == NULL || r == NULL) {
        mem_free(c);
        queue_request_free(r);
        session_answer_no_memory(s);
        return;
    }
    c->queue = def->handle;
    c->prefetch = s->prefetch;
    c->priority = args.priority;
    c->has_own_timeout = args.timeout_ms != RULE_NONE;
    c->timeout_ns = timeout_ns_of(s->client->broker, args.timeout_ms);
    c->is_no_ack = a->is_no_ack;
    c->is_quorum = def->type == QUEUE_QUORUM;
    c->is_exclusive =
        a->is_exclusive && !c->is_quorum; // PROTOCOL: RabbitMQ's quorum queues take it without effect
    c->is_shared = !a->is_no_ack && s->global_limit > 0;
    r->session = s->handle;
    r->ctx = c;
    r->done = consume_done;
    r->consumer_id = c->id;
    r->consumer_flags = (a->is_no_ack ? (unsigned)CONSUMER_NO_ACK : 0) |
                        (c->is_exclusive ? (unsigned)CONSUMER_EXCLUSIVE : 0) |
                        (c->is_shared ? (unsigned)CONSUMER_SHARED_LIMIT : 0);
    r->prefetch = a->is_no_ack ? 0 : s->prefetch;
    r->priority = args.priority;
    r->window_count = SESSION_WINDOW_COUNT;
    r->window_bytes = window_bytes(s->client);
    s->op = OP_CONSUME;
    s->op_consumer = c;
    queue_request_send(r);
}

// --- cancel -----------------------------------------------------------------------------------------------------------------

static void
cancel_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s != NULL) {
        if (s->op_consumer != NULL)
            session_consumer_drop(s, s->op_consumer);
        struct session_result result = {.name = kept_name_get(&s->op_name)};
        session_limit_released(s);
        session_answer(s, &result);
    }
    queue_request_free(r);
}

void
session_cancel(struct session *s, struct slice consumer_tag)
{
    LV_ASSERT(s->op == OP_NONE);
    struct session_consumer *c = session_consumer_by_tag(s, consumer_tag);
    struct session_result result = {.name = consumer_tag};
    if (c == NULL || c->consumer == 0) { // unknown, or the reply consumer, which no queue knows of
        if (c != NULL)
            session_consumer_drop(s, c);
        session_answer(s, &result);
        return;
    }
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, c->queue);
    if (r == NULL || !kept_name_set(&s->op_name, consumer_tag)) {
        queue_request_free(r);
        session_answer_no_memory(s);
        return;
    }
    r->session = s->handle;
    r->consumer = c->consumer;
    r->done = cancel_done;
    s->op = OP_CANCEL;
    s->op_consumer = c;
    queue_request_send(r);
}

void
session_consumers_close(struct session *s)
{
    // A consume or cancel under way finds the session gone when its answer comes; a consumer being made is not in the list yet.
    LV_LIST_EACH_SAFE (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        bool is_known = c->consumer != 0 && !(s->op == OP_CANCEL && s->op_consumer == c);
        consumer_unlink(s, c);
        if (is_known && !cancel_forgotten(c->queue, c->consumer))
            list_push_back(&s->client->broker->orphans, &c->node); // tried again at the end of each turn
        else
            mem_free(c);
    }
}

bool
session_consumer_expire(struct session *s, struct session_consumer *c)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, c->queue);
    if (r == NULL)
        return false;
    uint8_t tag[256];
    size_t len = LV_MIN(c->tag.len, sizeof tag);
    lv_handle queue = c->queue, consumer = c->consumer;
    memcpy(tag, c->tag.ptr, len);
    session_consumer_drop(s, c);
    r->is_late = true;
    cancel_send(r, queue, consumer);
    s->events->cancelled(s->ctx, slice_of(tag, len));
    return true;
}

// --- get ----------------------------------------------------------------------------------------------------------------------

static void
get_answer(struct session *s, struct queue_request *r)
{
    struct session_result result = {0};
    uint64_t now_ns = worker_self->now_ns;
    struct unacked entry = {.tag = s->delivery_tag + 1,
                            .queue = r->queue,
                            .seq = r->seq,
                            .given_tick = timeout_tick(now_ns) & TIMEOUT_TICK_MASK};
    int err;
    if (r->outcome == QUEUE_GONE) {
        fault_no_queue(&result.fault, kept_name_get(&s->op_name), s->client->vhost);
    } else if (r->outcome == QUEUE_NO_MEMORY) {
        fault_set(&result.fault, FAULT_RESOURCE_ERROR, "out of memory");
    } else if (r->outcome == QUEUE_EMPTY) {
        s->stats.got_empty++;
    } else if (r->outcome == QUEUE_OK && !s->op_no_ack && (err = unacked_push(s, &entry)) != 0) {
        queue_settle(r->queue, SETTLE_RETURN, &r->seq, 1);
        unacked_fault(&result.fault, err);
    } else if (r->outcome == QUEUE_OK) {
        result.delivery_tag = s->delivery_tag = entry.tag;
        result.msg = r->msg;
        result.message_count = r->message_count;
        result.is_redelivered = r->is_redelivered;
        result.is_counted = r->is_counted;
        result.delivery_count = r->delivery_count;
        if (!s->op_no_ack)
            session_timeout_note_get(s, now_ns, r->queue, r->consumer_timeout_ms);
        s->stats.got += !s->op_no_ack;
        s->stats.got_no_ack += s->op_no_ack;
        s->stats.redelivered += r->is_redelivered;
        if (trace_is_on(s->client->broker))
            trace_deliver(s, kept_name_get(&s->op_name), r->msg, r->is_redelivered);
    }
    session_answer(s, &result);
}

static void
get_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s != NULL)
        get_answer(s, r);
    else if (r->outcome == QUEUE_OK && !r->is_no_ack)
        queue_settle(r->queue, SETTLE_RETURN, &r->seq, 1);
    queue_request_free(r);
}

static const struct queue_def *
get_check(struct session *s, struct slice queue, struct fault *f)
{
    struct slice name;
    if (!session_queue_name(s, queue, &name, f) || !client_may(s->client, "queue", name, ACCESS_READ, f))
        return NULL;
    const struct queue_def *def = session_queue(s, name, f);
    if (def == NULL || def->type != QUEUE_QUORUM || (def->flags & QUEUE_SINGLE_ACTIVE) == 0)
        return def;
    fault_set(f, FAULT_RESOURCE_LOCKED,
              "cannot obtain access to locked queue '%.*s' in vhost '%.*s'. basic.get operations are not "
              "supported by quorum queues "
              "with single active consumer",
              SLICE_FMT(def->name), SLICE_FMT(def->vhost));
    return NULL;
}

void
session_get(struct session *s, struct slice queue, bool is_no_ack)
{
    LV_ASSERT(s->op == OP_NONE);
    struct fault f = {0};
    const struct queue_def *def = get_check(s, queue, &f);
    if (def == NULL) {
        session_answer_fault(s, &f);
        return;
    }
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, def->handle);
    if (r == NULL || !kept_name_set(&s->op_name, def->name)) {
        queue_request_free(r);
        session_answer_no_memory(s);
        return;
    }
    r->session = s->handle;
    r->done = get_done;
    r->is_no_ack = is_no_ack;
    s->op = OP_GET;
    s->op_no_ack = is_no_ack;
    queue_request_send(r);
}
