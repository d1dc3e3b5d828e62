// session_delayed.c: what waits at delayed exchanges: looked at, and cancelled. See session.h, delayed.h.
#include "src/base/mem.h"
#include "src/broker/delayed.h"
#include "src/broker/session_impl.h"

// --- requests -------------------------------------------------------------------------------------------------------------

static void
fault_no_message(struct fault *f, uint64_t number, struct slice exchange, struct slice vhost)
{
    fault_set(f, FAULT_NOT_FOUND, "no delayed message %llu at exchange '%.*s' in vhost '%.*s'",
              (unsigned long long)number, SLICE_FMT(exchange), SLICE_FMT(vhost));
}

// The queue that has them; NULL: 404, or (FAULT_NONE) it delays nothing.
static const struct queue_def *
find_queue(const struct vhost *v, struct slice exchange, struct fault *f)
{
    const struct exchange *x = vhost_exchange(v, exchange);
    f->code = FAULT_NONE;
    if (x == NULL)
        fault_set(f, FAULT_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_FMT(exchange),
                  SLICE_FMT(v->name));
    return x != NULL ? x->delay_queue : NULL;
}

struct queue_request *
delayed_look(const struct vhost *v, struct slice exchange, uint64_t skip, size_t wanted,
             struct fault *ret_fault)
{
    const struct queue_def *q = find_queue(v, exchange, ret_fault);
    if (q == NULL)
        return NULL;
    wanted = LV_MIN(wanted, (size_t)DELAYED_LOOK_MAX);
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_BROWSE, q->handle);
    if (r != NULL)
        r->browse = mem_calloc(1, sizeof(*r->browse) + wanted * sizeof(r->browse->items[0]));
    if (r == NULL || r->browse == NULL) {
        queue_request_free(r);
        fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
        return NULL;
    }
    r->browse->skip = skip;
    r->browse->wanted = wanted;
    return r;
}

struct queue_request *
delayed_cancel(const struct vhost *v, struct slice exchange, uint64_t number, struct fault *ret_fault)
{
    const struct queue_def *q = find_queue(v, exchange, ret_fault);
    if (q == NULL && ret_fault->code == FAULT_NONE)
        fault_no_message(ret_fault, number, exchange, v->name);
    if (q == NULL)
        return NULL;
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_REMOVE, q->handle);
    if (r == NULL)
        fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
    else
        r->seq = number;
    return r;
}

void
delayed_cancel_fault(const struct queue_request *r, struct slice exchange, struct slice vhost,
                     struct fault *ret_fault)
{
    ret_fault->code = FAULT_NONE;
    if (r->outcome == QUEUE_IN_USE)
        fault_set(ret_fault, FAULT_PRECONDITION_FAILED,
                  "delayed message %llu at exchange '%.*s' in vhost '%.*s' is due and on its way",
                  (unsigned long long)r->seq, SLICE_FMT(exchange), SLICE_FMT(vhost));
    else if (r->outcome != QUEUE_OK)
        fault_no_message(ret_fault, r->seq, exchange, vhost);
}

// --- of a session -----------------------------------------------------------------------------------------------------------

static void
look_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s != NULL) {
        struct session_result result = {.browse = r->outcome == QUEUE_OK ? r->browse : NULL};
        session_answer(s, &result);
    }
    queue_request_free(r);
}

static void
cancel_done(struct queue_request *r)
{
    struct session *s = session_by_handle(broker_of(worker_self), r->session);
    if (s != NULL) {
        struct session_result result = {0};
        delayed_cancel_fault(r, kept_name_get(&s->op_name), s->client->vhost, &result.fault);
        session_answer(s, &result);
    }
    queue_request_free(r);
}

// Sends it, or answers that there is nothing, or why not.
static void
ask(struct session *s, struct queue_request *r, struct slice exchange, struct fault *f,
    void (*done)(struct queue_request *))
{
    if (r == NULL && f->code == FAULT_NONE) {
        session_answer_ok(s);
    } else if (r == NULL) {
        session_answer_fault(s, f);
    } else if (!kept_name_set(&s->op_name, exchange)) {
        queue_request_free(r);
        session_answer_no_memory(s);
    } else {
        s->op = OP_DELAYED;
        r->session = s->handle;
        r->done = done;
        queue_request_send(r);
    }
}

// The vhost, when the client may do that to the exchange.
static const struct vhost *
vhost_if_allowed(struct session *s, struct slice exchange, enum access access, struct fault *f)
{
    LV_ASSERT(s->op == OP_NONE);
    const struct vhost *v = client_vhost(s->client, f);
    return v != NULL && client_may(s->client, "exchange", exchange, access, f) ? v : NULL;
}

void
session_delayed(struct session *s, struct slice exchange, uint64_t skip, size_t wanted)
{
    struct fault f = {0};
    const struct vhost *v = vhost_if_allowed(s, exchange, ACCESS_READ, &f);
    struct queue_request *r = v != NULL ? delayed_look(v, exchange, skip, wanted, &f) : NULL;
    ask(s, r, exchange, &f, look_done);
}

void
session_delayed_cancel(struct session *s, struct slice exchange, uint64_t number)
{
    struct fault f = {0};
    const struct vhost *v = vhost_if_allowed(s, exchange, ACCESS_WRITE, &f);
    struct queue_request *r = v != NULL ? delayed_cancel(v, exchange, number, &f) : NULL;
    ask(s, r, exchange, &f, cancel_done);
}
