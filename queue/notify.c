// notify.c: from the owner of a queue to the user: plain call on the same thread, a mail otherwise.
//
// All mails fit their payload, so nothing here can fail. A static table of texts is all `reason` may point
// into: it crosses threads as a pointer.
#include "queue/queue_worker.h"

static struct worker *
member_of(const struct queue_worker *qw, lv_handle session)
{
    unsigned index = handle_worker(session);
    LV_ASSERT((int)index < qw->w->crew->n_members);
    return qw->w->crew->members[index];
}

struct published_mail {
    lv_handle session;
    uint64_t number;
    unsigned accepted, refused;
};

static void
published_arrived(struct worker *to, void *payload)
{
    const struct published_mail *m = payload;
    queue_worker_of(to)->client->published(to, m->session, m->number, m->accepted, m->refused);
}

void
notify_published(struct queue_worker *qw, lv_handle session, uint64_t number, unsigned accepted,
                 unsigned refused)
{
    struct worker *to = member_of(qw, session);
    if (to == qw->w) {
        qw->client->published(to, session, number, accepted, refused);
        return;
    }
    struct published_mail m = {session, number, accepted, refused};
    worker_post(to, published_arrived, &m, sizeof(m), 0);
}

static_assert(sizeof(struct delivery) <= MAIL_PAYLOAD_BYTES, "a delivery is one mail");

static void
delivery_arrived(struct worker *to, void *payload)
{
    queue_worker_of(to)->client->deliver(to, payload);
}

void
notify_deliver(struct queue_worker *qw, const struct delivery *d)
{
    struct worker *to = member_of(qw, d->session);
    if (to == qw->w)
        qw->client->deliver(to, d);
    else
        worker_post(to, delivery_arrived, d, sizeof(*d), message_weight(d->msg));
}

struct ready_mail {
    lv_handle session, consumer;
    uint32_t consumer_id;
};

static void
ready_arrived(struct worker *to, void *payload)
{
    const struct ready_mail *m = payload;
    queue_worker_of(to)->client->ready(to, m->session, m->consumer_id, m->consumer);
}

void
notify_ready(struct queue_worker *qw, const struct consumer *c)
{
    struct worker *to = member_of(qw, c->session);
    struct ready_mail m = {c->session, c->handle, c->consumer_id};
    if (to == qw->w)
        qw->client->ready(to, m.session, m.consumer_id, m.consumer);
    else
        worker_post(to, ready_arrived, &m, sizeof(m), 0);
}

struct unused_mail {
    lv_handle session;
    uint32_t consumer_id, count;
};

static void
unused_arrived(struct worker *to, void *payload)
{
    const struct unused_mail *m = payload;
    queue_worker_of(to)->client->unused(to, m->session, m->consumer_id, m->count);
}

void
notify_unused(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, uint32_t count)
{
    struct worker *to = member_of(qw, session);
    struct unused_mail m = {session, consumer_id, count};
    if (to == qw->w)
        qw->client->unused(to, session, consumer_id, count);
    else
        worker_post(to, unused_arrived, &m, sizeof(m), 0);
}

struct timeout_mail {
    lv_handle session;
    uint64_t timeout_ms;
    uint32_t consumer_id;
};

static void
timeout_arrived(struct worker *to, void *payload)
{
    const struct timeout_mail *m = payload;
    queue_worker_of(to)->client->timeout(to, m->session, m->consumer_id, m->timeout_ms);
}

void
notify_timeout(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, uint64_t timeout_ms)
{
    struct worker *to = member_of(qw, session);
    struct timeout_mail m = {session, timeout_ms, consumer_id};
    if (qw->client->timeout == NULL)
        return;
    if (to == qw->w)
        qw->client->timeout(to, session, consumer_id, timeout_ms);
    else
        worker_post(to, timeout_arrived, &m, sizeof(m), 0);
}

struct cancelled_mail {
    lv_handle session;
    const char *reason;
    uint32_t consumer_id;
};

static void
cancelled_arrived(struct worker *to, void *payload)
{
    const struct cancelled_mail *m = payload;
    queue_worker_of(to)->client->cancelled(to, m->session, m->consumer_id, m->reason);
}

void
notify_cancelled(struct queue_worker *qw, lv_handle session, uint32_t consumer_id, const char *reason)
{
    struct worker *to = member_of(qw, session);
    struct cancelled_mail m = {session, reason, consumer_id};
    if (to == qw->w)
        qw->client->cancelled(to, session, consumer_id, reason);
    else
        worker_post(to, cancelled_arrived, &m, sizeof(m), 0);
}
