// session_queue.c: queue.declare, delete and purge of a session (AMQP 0-9-1 §1.7, RabbitMQ's rules of equivalence).
//
// Declare: an existing queue is compared with the adopted version and its owner is asked for the counts; a new one is made by
// the topology writer; when that finds that somebody else was faster and the two are equivalent, the owner is asked as well.
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/session_impl.h"

#include "amqp/wire/table.h"

static void
answer_declared(struct session *s, uint64_t messages, uint64_t consumers)
{
    struct session_result r = {
        .name = kept_name_get(&s->op_name), .message_count = messages, .consumer_count = consumers};
    bool is_kept = kept_name_set(&s->last_queue, r.name);
    LV_ASSERT(is_kept); // room was made before anything was asked
    (void)atomic_fetch_add_explicit(&s->client->broker->queues_declared, 1, memory_order_relaxed);
    session_answer(s, &r);
}

// The session a queue's answer is for; NULL when it has been closed.
static struct session *
request_session(struct queue_request *r)
{
    return session_by_handle(broker_of(worker_self), r->session);
}

static void
status_done(struct queue_request *r)
{
    struct session *s = request_session(r);
    if (s != NULL && r->outcome == QUEUE_OK) {
        answer_declared(s, r->message_count, r->consumer_count);
    } else if (s != NULL) {
        struct fault f;
        fault_no_queue(&f, kept_name_get(&s->op_name), s->client->vhost);
        session_answer_fault(s, &f);
    }
    queue_request_free(r);
}

// With a dead-letter exchange a new queue takes the right to read it and to write that exchange.
static bool
dead_letter_rights(struct session *s, struct slice arguments, struct fault *f)
{
    struct slice dlx;
    return !table_find_longstr(arguments, SLICE_LIT("x-dead-letter-exchange"), &dlx) ||
           (client_may(s->client, "queue", kept_name_get(&s->op_name), ACCESS_READ, f) &&
            client_may(s->client, "exchange", dlx, ACCESS_WRITE, f));
}

// The answer to a declare of a queue that was there. When it has gone meanwhile (auto-delete, expiry), `again`, the declare as the
// topology writer wants it, makes it anew; without one it is as if it had been deleted right after this declare.
static void
redeclare_done(struct queue_request *r)
{
    struct session *s = request_session(r);
    struct topology_request *again = r->ctx;
    struct fault f;
    if (s != NULL && r->outcome != QUEUE_OK && again != NULL) {
        if (dead_letter_rights(s, again->arguments, &f)) {
            topology_submit(again);
            again = NULL;
        } else {
            session_answer_fault(s, &f);
        }
    } else if (s != NULL) {
        answer_declared(s, r->outcome == QUEUE_OK ? r->message_count : 0,
                        r->outcome == QUEUE_OK ? r->consumer_count : 0);
    }
    topology_request_free(again);
    queue_request_free(r);
}

// False: out of memory; nothing was sent.
static bool
ask_queue(struct session *s, enum queue_request_kind kind, lv_handle queue,
          void (*done)(struct queue_request *), void *ctx)
{
    struct queue_request *r = queue_request_new(kind, queue);
    if (r == NULL)
        return false;
    r->session = s->handle;
    r->done = done;
    r->ctx = ctx;
    queue_request_send(r);
    return true;
}

static void
ask_status(struct session *s, const struct queue_def *def, void (*done)(struct queue_request *),
           struct topology_request *again)
{
    s->op = OP_QUEUE_DECLARE;
    if (ask_queue(s, QUEUE_REQUEST_STATUS, def->handle, done, again))
        return;
    topology_request_free(again);
    session_answer_no_memory(s);
}

static void
declare_done(struct topology_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s == NULL) {
        topology_request_free(r);
        return;
    }
    struct fault f = r->fault;
    bool is_created = r->is_created;
    topology_request_free(r);
    if (f.code != FAULT_NONE) {
        session_answer_fault(s, &f);
        return;
    }
    if (is_created) {
        answer_declared(s, 0, 0);
        return;
    }
    const struct vhost *v = client_vhost(s->client, &f);
    const struct queue_def *def = v != NULL ? vhost_queue(v, kept_name_get(&s->op_name)) : NULL;
    if (def != NULL) {
        ask_status(s, def, redeclare_done, NULL);
        return;
    }
    // It existed when the writer looked and is gone again: as if it had been deleted right after this declare.
    answer_declared(s, 0, 0);
}

// Checks an existing queue against a redeclaration.
static bool
redeclare_same(struct session *s, const struct queue_def *def, const struct session_queue_args *a,
               struct fault *f)
{
    bool is_exclusive = (def->flags & QUEUE_EXCLUSIVE) != 0;
    if (is_exclusive != a->is_exclusive || queue_is_locked(def, s->client->id)) {
        fault_locked(f, def->name, def->vhost);
        return false;
    }
    struct queue_properties p = {.is_durable = a->is_durable,
                                 .is_exclusive = a->is_exclusive,
                                 .is_auto_delete = a->is_auto_delete,
                                 .is_relaxed = s->client->broker->config.is_redeclare_relaxed};
    return arguments_same_queue(def, &p, a->arguments, f);
}

// The declare as the topology writer wants it; NULL: out of memory.
static struct topology_request *
declare_request(struct session *s, const struct session_queue_args *a)
{
    struct topology_request args = {
        .change = CHANGE_QUEUE_DECLARE,
        .vhost = s->client->vhost,
        .user = s->client->user,
        .name = kept_name_get(&s->op_name),
        .arguments = a->arguments,
        .flags = (a->is_durable ? (unsigned)CHANGE_DURABLE : 0) |
                 (a->is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0) |
                 (a->is_exclusive ? (unsigned)CHANGE_EXCLUSIVE : 0) |
                 (a->queue.len == 0 ? (unsigned)CHANGE_INTERNAL_CALLER : 0) |
                 (s->client->broker->config.is_redeclare_relaxed ? (unsigned)CHANGE_RELAXED : 0),
        .owner_conn = s->client->id,
        .session = s->handle,
        .done = declare_done,
    };
    return topology_request_new(&args);
}

static void
declare_new(struct session *s, const struct session_queue_args *a)
{
    struct client *c = s->client;
    struct fault f = {0};
    enum queue_type type;
    uint32_t flags;
    struct queue_properties p = {
        .is_durable = a->is_durable, .is_exclusive = a->is_exclusive, .is_auto_delete = a->is_auto_delete};
    if (!dead_letter_rights(s, a->arguments, &f) ||
        !arguments_check_queue(c->vhost, kept_name_get(&s->op_name), a->arguments, &p, &type, &flags, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    struct topology_request *r =
        !a->is_exclusive || client_prepare_exclusive(c) ? declare_request(s, a) : NULL;
    if (r == NULL) {
        session_answer_no_memory(s);
        return;
    }
    s->op = OP_QUEUE_DECLARE;
    topology_submit(r);
}

static void
declare_passive(struct session *s, const struct vhost *v)
{
    struct fault f;
    const struct queue_def *def = vhost_queue(v, kept_name_get(&s->op_name));
    if (def == NULL) {
        fault_no_queue(&f, kept_name_get(&s->op_name), s->client->vhost);
        session_answer_fault(s, &f);
    } else if (queue_is_locked(def, s->client->id)) {
        fault_locked(&f, def->name, def->vhost);
        session_answer_fault(s, &f);
    } else {
        ask_status(s, def, status_done, NULL);
    }
}

// What a name may not be. False with the fault.
static bool
declare_name_check(const struct session_queue_args *a, struct fault *f)
{
    struct slice type;
    // Also of a queue that exists: RabbitMQ lets nobody redeclare a name it made.
    if (slice_has_prefix(a->queue, SLICE_LIT("amq."))) {
        fault_set(f, FAULT_ACCESS_REFUSED, "queue name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(a->queue));
        return false;
    }
    if (a->queue.len == 0 && table_find_longstr(a->arguments, SLICE_LIT("x-queue-type"), &type) &&
        (slice_eq_str(type, "quorum") || slice_eq_str(type, "stream"))) {
        fault_set(f, FAULT_PRECONDITION_FAILED,
                  "Cannot declare a server-named queue for type rabbit_%.*s_queue", SLICE_FMT(type));
        return false;
    }
    return true;
}

// A queue that exists: is the declare the same?
static void
declare_existing(struct session *s, const struct queue_def *def, const struct session_queue_args *a)
{
    struct fault f = {0};
    struct topology_request *again = NULL;
    if (!redeclare_same(s, def, a, &f))
        session_answer_fault(s, &f);
    else if ((again = declare_request(s, a)) == NULL)
        session_answer_no_memory(s);
    else
        ask_status(s, def, redeclare_done, again);
}

static void
declare_active(struct session *s, const struct vhost *v, const struct session_queue_args *given)
{
    struct fault f = {0};
    struct slice name = kept_name_get(&s->op_name);
    struct session_queue_args with_type = *given;
    const struct session_queue_args *a = &with_type;
    struct queue_properties p = {.is_durable = given->is_durable,
                                 .is_exclusive = given->is_exclusive,
                                 .is_auto_delete = given->is_auto_delete};
    LV_CLEANUP(buf_fini) struct buf room = BUF_INIT;
    struct slice type =
        v->default_queue_type.len > 0 ? v->default_queue_type : s->client->broker->config.default_queue_type;
    if (arguments_with_default_type(type, &p, given->arguments, &room, &with_type.arguments) != 0) {
        session_answer_no_memory(s);
        return;
    }
    if (!declare_name_check(a, &f) || !client_may(s->client, "queue", name, ACCESS_CONFIGURE, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    const struct queue_def *def = vhost_queue(v, name);
    if (def != NULL)
        declare_existing(s, def, a);
    else
        declare_new(s, a);
}

void
session_queue_declare(struct session *s, const struct session_queue_args *given)
{
    struct fault f = {0};
    char made[SESSION_MADE_NAME_SIZE];
    struct session_queue_args a = *given;
    struct slice name = a.queue;
    LV_ASSERT(s->op == OP_NONE);
    if (name.len == 0 && !a.is_passive) {
        session_make_name("amq.gen-", made);
        name = slice_str(made);
    }
    if (!kept_name_set(&s->op_name, name) || !kept_name_reserve(&s->last_queue, name.len)) {
        session_answer_no_memory(s);
        return;
    }
    // PROTOCOL: to RabbitMQ a durable exclusive queue is a transient one, in equivalence too.
    a.is_durable = a.is_durable && !a.is_exclusive;
    const struct vhost *v = client_vhost(s->client, &f);
    if (reply_to_is_name(name))
        reply_to_declare(s);
    else if (v == NULL)
        session_answer_fault(s, &f);
    else if (a.is_passive)
        declare_passive(s, v);
    else
        declare_active(s, v, &a);
}

static void
delete_done(struct topology_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s != NULL) {
        struct session_result result = {.fault = r->fault, .message_count = r->message_count};
        session_answer(s, &result);
    }
    topology_request_free(r);
}

// Quorum queues are only deleted unconditionally. False with 540.
static bool
delete_check(struct session *s, struct slice queue, bool if_unused, bool if_empty, struct fault *f)
{
    const struct vhost *v = client_vhost(s->client, f);
    const struct queue_def *def = v != NULL ? vhost_queue(v, queue) : NULL;
    if (def == NULL || def->type != QUEUE_QUORUM || (!if_unused && !if_empty))
        return v != NULL;
    fault_set(f, FAULT_NOT_IMPLEMENTED,
              "cannot delete queue '%.*s' in vhost '%.*s'. queue.delete operations with %s flag set are not "
              "supported by quorum queues",
              SLICE_FMT(queue), SLICE_FMT(s->client->vhost), if_unused ? "if-unused" : "if-empty");
    return false;
}

static void
submit_delete(struct session *s)
{
    struct topology_request args = {
        .change = CHANGE_QUEUE_DELETE,
        .vhost = s->client->vhost,
        .user = s->client->user,
        .name = kept_name_get(&s->op_name),
        .flags = s->op_flags,
        .owner_conn = s->client->id,
        .session = s->handle,
        .done = delete_done,
    };
    struct topology_request *r = topology_request_new(&args);
    if (r == NULL) {
        session_answer_no_memory(s);
        return;
    }
    s->op = OP_QUEUE_DELETE;
    topology_submit(r);
}

static void
publishes_arrived(struct queue_request *r)
{
    struct session *s = request_session(r);
    queue_request_free(r);
    if (s != NULL)
        submit_delete(s);
}

void
session_queue_delete(struct session *s, struct slice queue, bool if_unused, bool if_empty)
{
    struct fault f = {0};
    LV_ASSERT(s->op == OP_NONE);
    if (!session_queue_name(s, queue, &queue, &f) ||
        !client_may(s->client, "queue", queue, ACCESS_CONFIGURE, &f) ||
        !delete_check(s, queue, if_unused, if_empty, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    if (!kept_name_set(&s->op_name, queue)) {
        session_answer_no_memory(s);
        return;
    }
    s->op_flags = (if_unused ? (unsigned)CHANGE_IF_UNUSED : 0) | (if_empty ? (unsigned)CHANGE_IF_EMPTY : 0);
    // The removal reaches the owner through the topology writer, past the ring that holds this channel's publishes: a
    // question through that ring comes back when all of them have been taken.
    const struct vhost *v = client_vhost(s->client, &f);
    const struct queue_def *def = v != NULL ? vhost_queue(v, queue) : NULL;
    if (def != NULL && handle_worker(def->handle) != (unsigned)s->client->broker->worker->index) {
        s->op = OP_QUEUE_DELETE;
        if (!ask_queue(s, QUEUE_REQUEST_STATUS, def->handle, publishes_arrived, NULL))
            session_answer_no_memory(s);
    } else {
        submit_delete(s);
    }
}

static void
purge_done(struct queue_request *r)
{
    struct session *s = request_session(r);
    if (s != NULL) {
        struct session_result result = {.message_count = r->outcome == QUEUE_OK ? r->message_count : 0};
        session_answer(s, &result);
    }
    queue_request_free(r);
}

void
session_queue_purge(struct session *s, struct slice queue)
{
    struct fault f = {0};
    LV_ASSERT(s->op == OP_NONE);
    const struct queue_def *def = NULL;
    if (session_queue_name(s, queue, &queue, &f) && client_may(s->client, "queue", queue, ACCESS_READ, &f))
        def = session_queue(s, queue, &f);
    if (def == NULL) {
        session_answer_fault(s, &f);
        return;
    }
    s->op = OP_QUEUE_PURGE;
    if (!ask_queue(s, QUEUE_REQUEST_PURGE, def->handle, purge_done, NULL))
        session_answer_no_memory(s);
}
