// session.c: what all methods of a session share (answers, faults, finding a queue), and the exchange and binding methods.
//
// Happy path of a change: permission from the adopted topology → request to the topology writer → its answer comes on this
// worker when every worker has adopted the version that shows it → done. What can be answered from the adopted version alone
// (passive declare, redeclaring what exists) never travels. The writer checks everything again: it alone sees races.
#include <stdlib.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/broker/arguments.h"
#include "src/broker/session_impl.h"

void
session_answer(struct session *s, const struct session_result *r)
{
    s->op = OP_NONE;
    if (!s->is_closed)
        s->events->done(s->ctx, r);
}

void
session_answer_fault(struct session *s, const struct fault *f)
{
    LV_ASSERT(f->code != FAULT_NONE);
    struct session_result r = {.fault = *f};
    session_answer(s, &r);
}

void
session_make_name(const char *prefix, char out[static SESSION_MADE_NAME_SIZE])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[22];
    size_t len = strlen(prefix);
    LV_ASSERT(len + sizeof random < SESSION_MADE_NAME_SIZE);
    rng_secure(random, sizeof random);
    memcpy(out, prefix, len);
    for (size_t i = 0; i < sizeof random; i++)
        out[len + i] = alphabet[random[i] & 63];
    out[len + sizeof random] = '\0';
}

void
session_answer_ok(struct session *s)
{
    struct session_result r = {0};
    session_answer(s, &r);
}

void
session_answer_no_memory(struct session *s)
{
    struct fault f;
    fault_set(&f, FAULT_RESOURCE_ERROR, "out of memory");
    session_answer_fault(s, &f);
}

void
session_fail(struct session *s, const struct fault *f)
{
    if (s->is_failed || s->is_closed)
        return;
    s->is_failed = true;
    s->events->failed(s->ctx, f);
}

bool
kept_name_reserve(struct kept_name *n, size_t len)
{
    if (n->bytes != NULL && len <= n->cap)
        return true;
    uint8_t *bytes = mem_realloc(n->bytes, len + 1);
    if (bytes == NULL)
        return false;
    n->bytes = bytes;
    n->cap = len;
    return true;
}

bool
kept_name_set(struct kept_name *n, struct slice name)
{
    if (!kept_name_reserve(n, name.len))
        return false;
    if (name.len > 0)
        memcpy(n->bytes, name.ptr, name.len);
    n->len = name.len;
    return true;
}

bool
queue_is_locked(const struct queue_def *def, uint64_t client_id)
{
    return (def->flags & QUEUE_EXCLUSIVE) != 0 && def->owner_conn != client_id;
}

void
fault_locked(struct fault *f, struct slice queue, struct slice vhost)
{
    fault_set(f, FAULT_RESOURCE_LOCKED,
              "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could be originally "
              "declared on another "
              "connection or the exclusive property value does not match that of the original declaration.",
              SLICE_FMT(queue), SLICE_FMT(vhost));
}

void
fault_no_queue(struct fault *f, struct slice queue, struct slice vhost)
{
    fault_set(f, FAULT_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SLICE_FMT(queue), SLICE_FMT(vhost));
}

bool
session_queue_name(const struct session *s, struct slice name, struct slice *ret_name,
                   struct fault *ret_fault)
{
    if (name.len == 0 && s->last_queue.len == 0) {
        fault_set(ret_fault, FAULT_NOT_FOUND, "no previously declared queue");
        return false;
    }
    *ret_name = name.len == 0 ? kept_name_get(&s->last_queue) : name;
    return true;
}

const struct queue_def *
session_queue(struct session *s, struct slice name, struct fault *ret_fault)
{
    struct client *c = s->client;
    const struct vhost *v = client_vhost(c, ret_fault);
    if (v == NULL)
        return NULL;
    const struct queue_def *def = vhost_queue(v, name);
    if (def == NULL) {
        fault_no_queue(ret_fault, name, c->vhost);
        return NULL;
    }
    if (queue_is_locked(def, c->id)) {
        fault_locked(ret_fault, name, c->vhost);
        return NULL;
    }
    return def;
}

// The session of a topology answer, or NULL when it was closed meanwhile (the request is freed then).
static struct session *
answered_session(struct topology_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s == NULL)
        topology_request_free(r);
    return s;
}

static void
simple_change_done(struct topology_request *r)
{
    struct session *s = answered_session(r);
    if (s == NULL)
        return;
    struct session_result result = {.fault = r->fault, .message_count = r->message_count};
    topology_request_free(r);
    session_answer(s, &result);
}

// Sends a change whose answer needs no further work.
static void
submit_simple(struct session *s, struct topology_request *args)
{
    args->vhost = s->client->vhost;
    args->user = s->client->user;
    args->owner_conn = s->client->id;
    args->session = s->handle;
    args->done = simple_change_done;
    struct topology_request *r = topology_request_new(args);
    if (r == NULL) {
        session_answer_no_memory(s);
        return;
    }
    s->op = OP_SIMPLE;
    topology_submit(r);
}

static void
fault_default_exchange(struct fault *f)
{
    fault_set(f, FAULT_ACCESS_REFUSED, "operation not permitted on the default exchange");
}

static void
fault_no_exchange(struct fault *f, struct slice exchange, struct slice vhost)
{
    fault_set(f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(exchange),
              SLICE_FMT(vhost));
}

// False with 503.
static bool
exchange_type_check(struct slice type, struct fault *f)
{
    enum exchange_type ignored;
    if (exchange_type_parse(type, &ignored) == 0)
        return true;
    fault_set(f, FAULT_COMMAND_INVALID,
              type.len == 0 ? "invalid exchange type '%.*s'" : "unknown exchange type '%.*s'",
              SLICE_FMT(type));
    return false;
}

// A new exchange: its name, and with an alternate exchange the right to read this one and to write the other.
static bool
exchange_new_check(struct session *s, const struct session_exchange_args *a, struct fault *f)
{
    struct client *c = s->client;
    struct slice alternate;
    if (slice_has_prefix(a->exchange, SLICE_LIT("amq."))) {
        fault_set(f, FAULT_ACCESS_REFUSED, "exchange name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(a->exchange));
        return false;
    }
    if (!arguments_check_exchange(c->vhost, a->exchange, a->arguments, &alternate, f))
        return false;
    return alternate.ptr == NULL || (client_may(c, "exchange", a->exchange, ACCESS_READ, f) &&
                                     client_may(c, "exchange", alternate, ACCESS_WRITE, f));
}

// Checks what the adopted version can tell, in RabbitMQ's order. True: answered by `f` (FAULT_NONE: it exists and is the same);
// false: ask the writer.
static bool
exchange_declare_here(struct session *s, const struct session_exchange_args *a, struct fault *f)
{
    struct client *c = s->client;
    f->code = FAULT_NONE;
    if (!a->is_passive && !exchange_type_check(a->type, f))
        return true;
    if (a->exchange.len == 0) {
        fault_default_exchange(f);
        return true;
    }
    const struct vhost *v = client_vhost(c, f);
    if (v == NULL)
        return true;
    const struct exchange *existing = vhost_exchange(v, a->exchange);
    if (a->is_passive) {
        if (existing == NULL)
            fault_no_exchange(f, a->exchange, c->vhost);
        return true;
    }
    if (!client_may(c, "exchange", a->exchange, ACCESS_CONFIGURE, f))
        return true;
    if (existing == NULL)
        return !exchange_new_check(s, a, f);
    struct exchange_properties p = {.type = a->type,
                                    .is_durable = a->is_durable,
                                    .is_auto_delete = a->is_auto_delete,
                                    .is_internal = a->is_internal};
    arguments_same_exchange(existing, &p, a->arguments, f);
    return true;
}

void
session_exchange_declare(struct session *s, const struct session_exchange_args *a)
{
    struct fault f;
    LV_ASSERT(s->op == OP_NONE);
    if (exchange_declare_here(s, a, &f)) {
        if (f.code != FAULT_NONE)
            session_answer_fault(s, &f);
        else
            session_answer_ok(s);
        return;
    }
    struct topology_request args = {
        .change = CHANGE_EXCHANGE_DECLARE,
        .name = a->exchange,
        .type = a->type,
        .arguments = a->arguments,
        .flags = (a->is_durable ? (unsigned)CHANGE_DURABLE : 0) |
                 (a->is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0) |
                 (a->is_internal ? (unsigned)CHANGE_INTERNAL : 0),
    };
    submit_simple(s, &args);
}

void
session_exchange_delete(struct session *s, struct slice exchange, bool if_unused)
{
    struct fault f = {0};
    LV_ASSERT(s->op == OP_NONE);
    if (exchange.len == 0)
        fault_default_exchange(&f);
    else if (slice_has_prefix(exchange, SLICE_LIT("amq.")))
        fault_set(&f, FAULT_ACCESS_REFUSED, "deletion of system exchange '%.*s' in vhost '%.*s' not allowed",
                  SLICE_FMT(exchange), SLICE_FMT(s->client->vhost));
    else
        client_may(s->client, "exchange", exchange, ACCESS_CONFIGURE, &f);
    if (f.code != FAULT_NONE) {
        session_answer_fault(s, &f);
        return;
    }
    struct topology_request args = {
        .change = CHANGE_EXCHANGE_DELETE, .name = exchange, .flags = if_unused ? CHANGE_IF_UNUSED : 0};
    submit_simple(s, &args);
}

// Names and rights of a bind or unbind. False with the fault.
static bool
bind_prepare(struct session *s, const struct session_bind_args *a, struct topology_request *args,
             struct fault *f)
{
    struct client *c = s->client;
    struct slice destination = a->destination, key = a->key;
    if (a->is_dest_queue) {
        if (!session_queue_name(s, a->destination, &destination, f))
            return false;
        if (a->destination.len == 0 && key.len == 0)
            key = destination;
    }
    if (!client_may(c, a->is_dest_queue ? "queue" : "exchange", destination, ACCESS_WRITE, f))
        return false;
    if (a->source.len == 0 || (!a->is_dest_queue && destination.len == 0)) {
        fault_default_exchange(f);
        return false;
    }
    if (!client_may(c, "exchange", a->source, ACCESS_READ, f))
        return false;
    const struct vhost *v = client_vhost(c, f);
    if (v == NULL)
        return false;
    const struct exchange *source = vhost_exchange(v, a->source);
    if (source != NULL && source->type == EXCHANGE_TOPIC &&
        !auth_check_topic(c->broker->auth_cache, topology_of(c->broker->worker), c->user, c->vhost, a->source,
                          key, ACCESS_READ, f))
        return false;
    *args = (struct topology_request){
        .name = a->source,
        .dest_name = destination,
        .key = key,
        .arguments = a->arguments,
        .flags = a->is_dest_queue ? CHANGE_DEST_IS_QUEUE : 0,
    };
    return true;
}

static void
bind_or_unbind(struct session *s, const struct session_bind_args *a, enum topology_change change)
{
    struct topology_request args;
    struct fault f = {0};
    LV_ASSERT(s->op == OP_NONE);
    if (!bind_prepare(s, a, &args, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    args.change = change;
    submit_simple(s, &args);
}

void
session_bind(struct session *s, const struct session_bind_args *a)
{
    bind_or_unbind(s, a, CHANGE_BIND);
}

void
session_unbind(struct session *s, const struct session_bind_args *a)
{
    bind_or_unbind(s, a, CHANGE_UNBIND);
}
