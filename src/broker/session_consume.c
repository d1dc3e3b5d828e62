// session_consume.c: consumers of a session: consume, cancel, deliveries, credit, and the shared (global) prefetch limit.
//
// A delivery goes: queue's owner → client_deliver → next delivery tag, an entry in `unacked` unless no-ack → the wire. Each
// delivery uses up window; the wire gives it back when its socket has taken the bytes (client_output_drained).
//
// Shared limit (basic.qos with global): the owner of a queue with messages says "ready"; the session grants in the order of
// asking, as far as the limit goes; what a queue cannot use comes back at once and goes to the next. So nothing is parked with
// an empty queue while a busy one starves, and two queues on different workers share even a limit of one.
#include "amqp/wire/table.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/broker/arguments.h"
#include "src/broker/session_impl.h"

struct session_consumer *
session_consumer_by_id(struct session *s, uint32_t id)
{
    return inttab_get(&s->consumers, id);
}

struct session_consumer *
session_consumer_by_tag(struct session *s, struct slice tag)
{
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        if (slice_eq(c->tag, tag))
            return c;
    }
    return NULL;
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
    c->id = ++s->consumer_last_id;
    list_init(&c->node);
    list_init(&c->owing_node);
    list_init(&c->waiting_node);
    return c;
}

void
session_consumer_drop(struct session *s, struct session_consumer *c)
{
    inttab_take(&s->consumers, c->id);
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
    mem_free(c);
}

// --- the shared limit ---------------------------------------------------------------------------------------------------

// How many more deliveries the limits allow for this consumer.
static uint32_t
shared_room(const struct session *s, const struct session_consumer *c)
{
    uint32_t room = s->global_limit == 0 ? SESSION_WINDOW_COUNT : s->global_limit - LV_MIN(s->global_used, s->global_limit);
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
        if (room == 0)
            continue; // its own prefetch is used up; others may go on
        list_remove(&c->waiting_node);
        c->granted += room;
        s->global_used += room;
        consumer_grant_shared(c->consumer, room);
    }
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
    if (c == NULL || list_is_linked(&c->waiting_node))
        return;
    list_push_back(&s->waiting, &c->waiting_node);
    session_limit_released(s);
    // No room: said at once, so that consumers of lower priority need not wait; it is granted unasked when there is room again.
    if (list_is_linked(&c->waiting_node))
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
    session_limit_released(s);
}

void
session_consumer_unacked(struct session *s, uint32_t id, uint32_t count)
{
    LV_ASSERT(s->global_used >= count);
    s->global_used -= count;
    struct session_consumer *c = session_consumer_by_id(s, id);
    if (c != NULL) {
        LV_ASSERT(c->unacked >= count);
        c->unacked -= count;
    }
}

bool
session_qos(struct session *s, uint16_t prefetch, bool is_global, struct fault *ret_fault)
{
    if (!is_global) {
        s->prefetch = prefetch;
        return true;
    }
    LV_LIST_EACH (it, &s->consumer_list) {
        struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        bool is_shared = prefetch > 0;
        if (c->is_no_ack || c->is_shared == is_shared || c->consumer == 0)
            continue;
        c->is_shared = is_shared;
        list_remove(&c->waiting_node);
        consumer_set_shared(c->consumer, is_shared);
    }
    s->global_limit = prefetch;
    session_limit_released(s);
    return true;
}

// --- deliveries -----------------------------------------------------------------------------------------------------------

void
client_deliver(struct worker *w, const struct delivery *d)
{
    struct session *s = session_by_handle(broker_of(w), d->session);
    struct session_consumer *c = s != NULL ? session_consumer_by_id(s, d->consumer_id) : NULL;
    if (LV_UNLIKELY(c == NULL)) {
        queue_settle(d->queue, SETTLE_RETURN, &d->seq, 1);
        message_unref(d->msg);
        return;
    }
    uint64_t tag = ++s->delivery_tag;
    if (!c->is_no_ack) {
        struct unacked entry = {.tag = tag, .queue = d->queue, .seq = d->seq, .consumer_id = c->id};
        if (LV_UNLIKELY(unacked_push(s, &entry) != 0)) {
            s->delivery_tag--;
            queue_settle(d->queue, SETTLE_RETURN, &d->seq, 1);
            message_unref(d->msg);
            return;
        }
        c->unacked++;
        if (c->granted > 0)
            c->granted--;
        else
            s->global_used++;
        s->stats.delivered++;
    } else {
        s->stats.delivered_no_ack++;
    }
    s->stats.redelivered += d->is_redelivered;
    c->owed_count++;
    c->owed_bytes += (uint32_t)message_weight(d->msg); // what the queue took off the window
    if (!list_is_linked(&c->owing_node)) {
        list_push_back(&s->owing_consumers, &c->owing_node);
        if (!list_is_linked(&s->owing_node))
            list_push_back(&s->client->owing, &s->owing_node);
    }
    struct session_delivery out = {.consumer_tag = c->tag, .delivery_tag = tag, .msg = d->msg, .is_redelivered = d->is_redelivered};
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
    log_debug(LOG_CHANNEL, "connection %.*s: consumer '%.*s' of queue '%.*s' cancelled: %s", SLICE_FMT(s->client->name),
              SLICE_FMT(c->tag), SLICE_FMT(c->queue_name), reason);
    bool is_expected = s->op == OP_CANCEL && s->op_consumer == c; // the client asked as well: cancel-ok is enough
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

// Cancels a consumer whose session has no use for the answer.
static void
cancel_forgotten(lv_handle queue, lv_handle consumer)
{
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, queue);
    if (r == NULL) {
        log_error(LOG_QUEUE, "out of memory while a consumer is cancelled; it stays until its queue is deleted");
        return;
    }
    r->consumer = consumer;
    r->done = cancel_forgotten_done;
    queue_request_send(r);
}

static void
consume_answer(struct session *s, struct session_consumer *c, struct queue_request *r)
{
    struct fault f = {0};
    if (r->outcome == QUEUE_OK) {
        c->consumer = r->consumer;
        if (inttab_put(&s->consumers, c->id, c) == 0) {
            list_push_back(&s->consumer_list, &c->node);
            struct session_result result = {.name = c->tag};
            session_answer(s, &result);
            return;
        }
        cancel_forgotten(r->queue, r->consumer);
        fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
    } else if (r->outcome == QUEUE_EXCLUSIVE_USE) {
        fault_set(&f, FAULT_ACCESS_REFUSED, "queue '%.*s' in vhost '%.*s' in exclusive use", SLICE_FMT(c->queue_name),
                  SLICE_FMT(s->client->vhost));
    } else if (r->outcome == QUEUE_GONE) {
        fault_no_queue(&f, c->queue_name, s->client->vhost);
    } else {
        fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
    }
    mem_free(c);
    session_answer_fault(s, &f);
}

static void
consume_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    struct session_consumer *c = r->ctx;
    if (s != NULL) {
        s->op_consumer = NULL;
        consume_answer(s, c, r);
    } else {
        if (r->outcome == QUEUE_OK)
            cancel_forgotten(r->queue, r->consumer);
        mem_free(c);
    }
    queue_request_free(r);
}

static void
make_consumer_tag(char out[static 32])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[22];
    rng_secure(random, sizeof random);
    memcpy(out, "amq.ctag-", 9);
    for (size_t i = 0; i < sizeof random; i++)
        out[9 + i] = alphabet[random[i] & 63];
    out[31] = '\0';
}

struct session_consumer *
session_consumer_add_local(struct session *s, const struct session_consume_args *a)
{
    char made[32];
    struct slice tag = a->consumer_tag;
    if (tag.len == 0) {
        make_consumer_tag(made);
        tag = slice_str(made);
    }
    struct session_consumer *c = consumer_new(s, tag, a->queue, a->arguments);
    if (c == NULL || inttab_put(&s->consumers, c->id, c) != 0) {
        mem_free(c);
        return NULL;
    }
    c->is_no_ack = true;
    list_push_back(&s->consumer_list, &c->node);
    return c;
}

static bool
consume_check(struct session *s, const struct session_consume_args *a, const struct queue_def **ret_def, int32_t *ret_priority,
              struct fault *f)
{
    if (a->consumer_tag.len > 0 && session_consumer_by_tag(s, a->consumer_tag) != NULL) {
        fault_set(f, FAULT_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'", SLICE_FMT(a->consumer_tag));
        return false;
    }
    struct slice name = a->queue.len == 0 && s->last_queue != NULL ? slice_of(s->last_queue, s->last_queue_len) : a->queue;
    if (name.len > 0 && !client_may(s->client, "queue", name, ACCESS_READ, f))
        return false;
    const struct queue_def *def = session_queue(s, a->queue, f);
    if (def == NULL || !arguments_check_consumer(s->client->vhost, def->name, a->arguments, ret_priority, f))
        return false;
    if (def->type == QUEUE_QUORUM && s->global_limit > 0) {
        fault_set(f, FAULT_NOT_IMPLEMENTED, "queue '%.*s' in vhost '%.*s' does not support global qos", SLICE_FMT(def->name),
                  SLICE_FMT(s->client->vhost));
        return false;
    }
    *ret_def = def;
    return true;
}

void
session_consume(struct session *s, const struct session_consume_args *a)
{
    LV_ASSERT(s->op == OP_NONE);
    if (slice_eq_str(a->queue, REPLY_TO_NAME)) {
        reply_to_consume(s, a);
        return;
    }
    struct fault f = {0};
    const struct queue_def *def = NULL;
    int32_t priority = 0;
    if (!consume_check(s, a, &def, &priority, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    char made[32];
    struct slice tag = a->consumer_tag;
    if (tag.len == 0) {
        make_consumer_tag(made);
        tag = slice_str(made);
    }
    struct session_consumer *c = consumer_new(s, tag, def->name, a->arguments);
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, def->handle);
    if (c == NULL || r == NULL) {
        mem_free(c);
        if (r != NULL)
            queue_request_free(r);
        fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
        session_answer_fault(s, &f);
        return;
    }
    c->queue = def->handle;
    c->prefetch = s->prefetch;
    c->priority = priority;
    c->is_no_ack = a->is_no_ack;
    c->is_exclusive = a->is_exclusive;
    c->is_shared = !a->is_no_ack && s->global_limit > 0;
    r->session = s->handle;
    r->ctx = c;
    r->done = consume_done;
    r->consumer_id = c->id;
    r->consumer_flags = (a->is_no_ack ? (unsigned)CONSUMER_NO_ACK : 0) | (a->is_exclusive ? (unsigned)CONSUMER_EXCLUSIVE : 0) |
                        (c->is_shared ? (unsigned)CONSUMER_SHARED_LIMIT : 0);
    r->prefetch = a->is_no_ack ? 0 : s->prefetch;
    r->priority = priority;
    r->window_count = SESSION_WINDOW_COUNT;
    r->window_bytes = SESSION_WINDOW_BYTES;
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
        struct session_result result = {.name = s->op_name};
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
    uint8_t *tag = mem_alloc(consumer_tag.len + 1);
    if (r == NULL || tag == NULL) {
        if (r != NULL)
            queue_request_free(r);
        mem_free(tag);
        fault_set(&result.fault, FAULT_RESOURCE_ERROR, "out of memory");
        session_answer(s, &result);
        return;
    }
    memcpy(tag, consumer_tag.ptr, consumer_tag.len);
    mem_free((void *)(uintptr_t)s->op_name.ptr);
    s->op_name = slice_of(tag, consumer_tag.len);
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
        if (c->consumer != 0 && !(s->op == OP_CANCEL && s->op_consumer == c))
            cancel_forgotten(c->queue, c->consumer);
        session_consumer_drop(s, c);
    }
}

// --- get ----------------------------------------------------------------------------------------------------------------------

static void
get_answer(struct session *s, struct queue_request *r)
{
    struct session_result result = {0};
    if (r->outcome == QUEUE_GONE) {
        fault_set(&result.fault, FAULT_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SLICE_FMT(s->op_name), SLICE_FMT(s->client->vhost));
    } else if (r->outcome == QUEUE_OK) {
        struct unacked entry = {.tag = s->delivery_tag + 1, .queue = r->queue, .seq = r->seq};
        if (!s->op_no_ack && unacked_push(s, &entry) != 0) {
            queue_settle(r->queue, SETTLE_RETURN, &r->seq, 1);
            fault_set(&result.fault, FAULT_RESOURCE_ERROR, "out of memory");
        } else {
            result.delivery_tag = ++s->delivery_tag;
            result.msg = r->msg;
            result.message_count = r->message_count;
            result.is_redelivered = r->is_redelivered;
            s->stats.got += !s->op_no_ack;
            s->stats.got_no_ack += s->op_no_ack;
            s->stats.redelivered += r->is_redelivered;
        }
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

void
session_get(struct session *s, struct slice queue, bool is_no_ack)
{
    LV_ASSERT(s->op == OP_NONE);
    struct fault f = {0};
    struct slice name = queue.len == 0 && s->last_queue != NULL ? slice_of(s->last_queue, s->last_queue_len) : queue;
    if (name.len > 0 && !client_may(s->client, "queue", name, ACCESS_READ, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    const struct queue_def *def = session_queue(s, queue, &f);
    struct queue_request *r = def != NULL ? queue_request_new(QUEUE_REQUEST_GET, def->handle) : NULL;
    if (r == NULL) {
        if (def != NULL)
            fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
        session_answer_fault(s, &f);
        return;
    }
    r->session = s->handle;
    r->done = get_done;
    r->is_no_ack = is_no_ack;
    s->op = OP_GET;
    s->op_no_ack = is_no_ack;
    queue_request_send(r);
}
