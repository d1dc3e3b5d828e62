// ops.c: the hot operations: plain calls on the owner's thread, flat mails elsewhere.
//
// Payloads hold two queue handles or four sequence numbers; more go into a heap array that the receiver
// frees. Without memory for the array a publish is refused as a whole, settles go out as several mails.
#include "queue/queue_worker.h"
#include "src/base/mem.h"

static struct worker *
owner_of(struct worker *w, lv_handle h)
{
    unsigned index = handle_worker(h);
    // A handle nobody made names nothing: looked up here and not found.
    return (int)index < w->crew->n_workers ? w->crew->members[index] : w;
}

// --- publish ---

enum { PUBLISH_INLINE = 2, SETTLE_INLINE = 4 };

struct publish_mail {
    struct message *msg; // a reference
    lv_handle session;
    uint64_t number;
    union {
        lv_handle inlined[PUBLISH_INLINE];
        lv_handle *array; // count > PUBLISH_INLINE
    };
    uint32_t count;
};
static_assert(sizeof(struct publish_mail) <= MAIL_PAYLOAD_BYTES, "a publish is one mail");

// A queue that has gone counts as accepted: PROTOCOL: RabbitMQ confirms publishes to queues that vanished
// meanwhile.
static unsigned
publish_here(struct queue_worker *qw, struct message *msg, const lv_handle *queues, unsigned count)
{
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        struct queue *q = queue_worker_find(qw, queues[i]);
        if (q != NULL && !queue_push(qw, q, msg))
            refused++;
    }
    return refused;
}

static void
publish_arrived(struct worker *to, void *payload)
{
    const struct publish_mail *m = payload;
    struct queue_worker *qw = queue_worker_of(to);
    bool is_inline = m->count <= PUBLISH_INLINE;
    unsigned refused = publish_here(qw, m->msg, is_inline ? m->inlined : m->array, m->count);
    message_unref(m->msg);
    if (!is_inline)
        mem_free(m->array);
    if (m->session != 0)
        notify_published(qw, m->session, m->number, m->count - refused, refused);
}

void
queue_publish(struct message *msg, const lv_handle *queues, unsigned count, lv_handle session,
              uint64_t number)
{
    struct worker *w = worker_self;
    struct queue_worker *qw = queue_worker_of(w);
    LV_ASSERT(count > 0);
    struct worker *owner = owner_of(w, queues[0]);
    if (owner == w) {
        unsigned refused = publish_here(qw, msg, queues, count);
        if (session != 0)
            qw->client->published(w, session, number, count - refused, refused);
        return;
    }
    struct publish_mail m = {.session = session, .number = number, .count = count};
    if (count <= PUBLISH_INLINE) {
        memcpy(m.inlined, queues, count * sizeof(*queues));
    } else {
        m.array = mem_alloc(count * sizeof(*queues));
        if (m.array == NULL) {
            if (session != 0)
                qw->client->published(w, session, number, 0, count);
            return;
        }
        memcpy(m.array, queues, count * sizeof(*queues));
    }
    m.msg = message_ref(msg);
    worker_post(owner, publish_arrived, &m, sizeof(m), message_weight(msg));
}

// --- settle ---

struct settle_mail {
    lv_handle queue;
    uint32_t kind;
    uint32_t count;
    union {
        uint64_t inlined[SETTLE_INLINE];
        uint64_t *array; // count > SETTLE_INLINE
    };
};
static_assert(sizeof(struct settle_mail) <= MAIL_PAYLOAD_BYTES, "a settle is one mail");

static void
settle_here(struct queue_worker *qw, lv_handle queue, enum settle_kind kind, const uint64_t *seqs,
            size_t count)
{
    struct queue *q = queue_worker_find(qw, queue);
    if (q != NULL)
        queue_settle_here(qw, q, kind, seqs, count);
}

static void
settle_arrived(struct worker *to, void *payload)
{
    const struct settle_mail *m = payload;
    bool is_inline = m->count <= SETTLE_INLINE;
    settle_here(queue_worker_of(to), m->queue, (enum settle_kind)m->kind, is_inline ? m->inlined : m->array,
                m->count);
    if (!is_inline)
        mem_free(m->array);
}

static void
post_settles(struct worker *owner, lv_handle queue, enum settle_kind kind, const uint64_t *seqs, size_t count)
{
    while (count > 0) {
        struct settle_mail m = {.queue = queue, .kind = (uint32_t)kind};
        m.count = (uint32_t)LV_MIN(count, (size_t)SETTLE_INLINE);
        memcpy(m.inlined, seqs, m.count * sizeof(*seqs));
        worker_post(owner, settle_arrived, &m, sizeof(m), 0);
        seqs += m.count;
        count -= m.count;
    }
}

void
queue_settle(lv_handle queue, enum settle_kind kind, const uint64_t *seqs, size_t count)
{
    struct worker *w = worker_self;
    struct worker *owner = owner_of(w, queue);
    if (owner == w) {
        settle_here(queue_worker_of(w), queue, kind, seqs, count);
        return;
    }
    uint64_t *array = NULL;
    if (count > SETTLE_INLINE && count <= UINT32_MAX)
        array = mem_alloc(count * sizeof(*seqs));
    if (array == NULL) {
        post_settles(owner, queue, kind, seqs, count);
        return;
    }
    memcpy(array, seqs, count * sizeof(*seqs));
    struct settle_mail m = {.queue = queue, .kind = (uint32_t)kind, .count = (uint32_t)count, .array = array};
    worker_post(owner, settle_arrived, &m, sizeof(m), 0);
}

// --- credit ---

enum credit_kind { CREDIT_WINDOW, CREDIT_SHARED, CREDIT_POKE, CREDIT_LIMIT_ON, CREDIT_LIMIT_OFF };

struct credit_mail {
    lv_handle consumer;
    uint32_t kind;
    uint32_t count;
    uint32_t bytes;
};

static void
grant_window(struct consumer *c, uint32_t count, uint32_t bytes)
{
    if (__builtin_add_overflow(c->window_count, count, &c->window_count))
        c->window_count = UINT32_MAX;
    // LIMIT: a window of more than 2^62 bytes is none.
    c->window_bytes = LV_MIN(c->window_bytes + (int64_t)bytes, INT64_MAX / 2);
}

static void
grant_shared(struct queue *q, struct consumer *c, uint32_t count)
{
    if (c->is_asked) {
        c->is_asked = false;
        c->group->asking--;
        q->offers--;
    }
    c->is_refused = count == 0;
    // LIMIT: grants beyond 2^31 of a queue are cut; a session has 65,535 unacknowledged messages at most by
    // its qos.
    count = LV_MIN(count, UINT32_MAX / 2 - LV_MIN(q->offers, UINT32_MAX / 2));
    if (count == 0)
        return;
    if (c->grant == 0)
        list_push_back(&q->granted, &c->granted);
    c->grant += count;
    q->offers += count;
}

// Every grant comes back that is not used, also this one: the session counts it as out until then.
static void
return_late_grant(struct queue_worker *qw, const struct consumer *c, const struct credit_mail *m)
{
    if (m->kind == CREDIT_SHARED && m->count > 0)
        notify_unused(qw, c->session, c->consumer_id, m->count);
}

static void
credit_here(struct queue_worker *qw, const struct credit_mail *m)
{
    struct consumer *c = queue_worker_find_consumer(qw, m->consumer);
    if (c == NULL)
        return;
    struct queue *q = c->queue;
    queue_enter(q);
    if (m->kind == CREDIT_WINDOW)
        grant_window(c, m->count, m->bytes);
    else if (m->kind == CREDIT_LIMIT_ON || m->kind == CREDIT_LIMIT_OFF)
        consumer_change_shared(qw, c, m->kind == CREDIT_LIMIT_ON);
    else if ((c->flags & CONSUMER_SHARED_LIMIT) == 0)
        return_late_grant(qw, c, m); // it crossed the news that there is no such limit any more
    else if (m->kind == CREDIT_SHARED)
        grant_shared(q, c, m->count);
    else
        c->is_refused = false;
    c = queue_worker_find_consumer(qw, m->consumer); // the client may have been called
    if (c != NULL)
        consumer_update(qw, c);
    queue_touch(qw, q);
    queue_leave(qw, q);
}

static void
credit_arrived(struct worker *to, void *payload)
{
    credit_here(queue_worker_of(to), payload);
}

static void
send_credit(const struct credit_mail *m)
{
    struct worker *w = worker_self;
    struct worker *owner = owner_of(w, m->consumer);
    if (owner == w)
        credit_here(queue_worker_of(w), m);
    else
        worker_post(owner, credit_arrived, m, sizeof(*m), 0);
}

void
consumer_grant_window(lv_handle consumer, uint32_t count, uint32_t bytes)
{
    send_credit(&(struct credit_mail){consumer, CREDIT_WINDOW, count, bytes});
}

void
consumer_grant_shared(lv_handle consumer, uint32_t count)
{
    send_credit(&(struct credit_mail){consumer, CREDIT_SHARED, count, 0});
}

void
consumer_poke(lv_handle consumer)
{
    send_credit(&(struct credit_mail){consumer, CREDIT_POKE, 0, 0});
}

void
consumer_set_shared(lv_handle consumer, bool is_shared)
{
    send_credit(&(struct credit_mail){consumer, is_shared ? CREDIT_LIMIT_ON : CREDIT_LIMIT_OFF, 0, 0});
}
