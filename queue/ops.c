// ops.c: the hot operations: plain calls on the owner's thread, flat mails elsewhere.
//
// Payloads hold two queue handles or four sequence numbers; more go into a heap array that the receiver
// frees. Without memory for the array a publish is refused as a whole, settles go out as several mails.
#include "queue/durable.h"
#include "queue/limit.h"
#include "queue/queue_worker.h"
#include "queue/refusal.h"
#include "queue/tx.h"
#include "src/base/bug.h"
#include "src/base/mem.h"

static struct worker *
owner_of(struct worker *w, lv_handle h)
{
    unsigned index = handle_worker(h);
    // A handle nobody made names nothing: looked up here and not found.
    return (int)index < w->crew->n_workers ? w->crew->members[index] : w;
}

// --- publish ---

enum { PUBLISH_INLINE = 2, SETTLE_INLINE = 4, TX_ACK_INLINE = 3 };

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

struct publish_call {
    struct message *msg;
    const lv_handle *queues;
    unsigned count;
    lv_handle session;
    uint64_t number;
};

// Answers at once, or when what is to be stored is durable. A queue that has gone counts as accepted: PROTOCOL:
// RabbitMQ confirms publishes to queues that vanished meanwhile.
static void
publish_here(struct queue_worker *qw, const struct publish_call *c)
{
    struct publish_asker asker = {.session = c->session, .number = c->number};
    bool is_asked = c->session != 0, is_persistent = (c->msg->flags & MESSAGE_PERSISTENT) != 0;
    unsigned accepted = 0, refused = 0, waiting = 0;
    for (unsigned i = 0; i < c->count; i++) {
        struct queue *q = queue_worker_find(qw, c->queues[i]);
        enum push_result result = PUSH_DONE;
        if (LV_UNLIKELY(q != NULL && q->rules != NULL) && limit_refuses(qw, q, c->msg)) {
            result = PUSH_REFUSED;
        } else if (LV_UNLIKELY(q != NULL &&
                               (is_persistent ? q->durability != DURABILITY_NONE : q->is_all_stored))) {
            if (is_asked && c->count > 1 && asker.wait == NULL)
                asker.wait = durable_wait_new(qw->durable, c->session, c->number);
            bool can_wait = c->count == 1 || asker.wait != NULL || !is_asked;
            result = can_wait ? durable_push(qw, q, c->msg, is_asked ? &asker : NULL) : PUSH_REFUSED;
        } else if (q != NULL) {
            result = queue_push(qw, q, c->msg) ? PUSH_DONE : PUSH_REFUSED;
        }
        if (LV_UNLIKELY(q == NULL || result == PUSH_REFUSED))
            queue_tell_refusal(qw, q, c->msg);
        if (LV_BUG(REFUSED_COUNTS) && result == PUSH_REFUSED)
            result = PUSH_DONE;
        accepted += result == PUSH_DONE;
        refused += result == PUSH_REFUSED;
        waiting += result == PUSH_WAITS;
    }
    if (asker.wait != NULL) {
        asker.wait->accepted += accepted;
        asker.wait->refused += refused;
        durable_wait_answer(qw->durable, asker.wait);
    } else if (is_asked && waiting == 0) {
        notify_published(qw, c->session, c->number, accepted, refused);
    }
}

static void
publish_arrived(struct worker *to, void *payload)
{
    const struct publish_mail *m = payload;
    bool is_inline = m->count <= PUBLISH_INLINE;
    struct publish_call call = {m->msg, is_inline ? m->inlined : m->array, m->count, m->session, m->number};
    publish_here(queue_worker_of(to), &call);
    message_unref(m->msg);
    if (!is_inline)
        mem_free(m->array);
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
        struct publish_call call = {msg, queues, count, session, number};
        publish_here(qw, &call);
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

// --- publish and acknowledge in a transaction ---

struct tx_publish_mail {
    uint64_t tx;
    struct message *msg; // a reference
    lv_handle session;
    uint64_t number;
    lv_handle *queues; // heap
    uint32_t count;
};
static_assert(sizeof(struct tx_publish_mail) <= MAIL_PAYLOAD_BYTES, "one mail");

static void
tx_publish_arrived(struct worker *to, void *payload)
{
    const struct tx_publish_mail *m = payload;
    struct queue_worker *qw = queue_worker_of(to);
    unsigned refused = tx_publish_here(qw, m->tx, m->msg, m->queues, m->count);
    notify_published(qw, m->session, m->number, m->count - refused, refused);
    message_unref(m->msg);
    mem_free(m->queues);
}

void
queue_tx_publish(uint64_t tx, struct message *msg, const lv_handle *queues, unsigned count, lv_handle session,
                 uint64_t number)
{
    struct worker *w = worker_self;
    struct queue_worker *qw = queue_worker_of(w);
    struct worker *owner = owner_of(w, queues[0]);
    LV_ASSERT(count > 0 && session != 0);
    if (owner == w) {
        unsigned refused = tx_publish_here(qw, tx, msg, queues, count);
        qw->client->published(w, session, number, count - refused, refused);
        return;
    }
    struct tx_publish_mail m = {.tx = tx, .session = session, .number = number, .count = count};
    m.queues = mem_alloc(count * sizeof(*queues));
    if (m.queues == NULL) {
        qw->client->published(w, session, number, 0, count);
        return;
    }
    memcpy(m.queues, queues, count * sizeof(*queues));
    m.msg = message_ref(msg);
    worker_post(owner, tx_publish_arrived, &m, sizeof(m), message_weight(msg));
}

struct tx_ack_mail {
    uint64_t tx;
    lv_handle queue;
    uint32_t kind; // enum settle_kind
    uint32_t count;
    uint64_t seqs[TX_ACK_INLINE];
};
static_assert(sizeof(struct tx_ack_mail) <= MAIL_PAYLOAD_BYTES, "one mail");

static void
tx_ack_arrived(struct worker *to, void *payload)
{
    const struct tx_ack_mail *m = payload;
    tx_ack_here(queue_worker_of(to), m->tx, m->queue, (enum settle_kind)m->kind, m->seqs, m->count);
}

void
queue_tx_ack(uint64_t tx, lv_handle queue, enum settle_kind kind, const uint64_t *seqs, size_t count)
{
    struct worker *w = worker_self;
    struct worker *owner = owner_of(w, queue);
    if (owner == w) {
        tx_ack_here(queue_worker_of(w), tx, queue, kind, seqs, count);
        return;
    }
    while (count > 0) {
        struct tx_ack_mail m = {.tx = tx, .queue = queue, .kind = (uint32_t)kind};
        m.count = (uint32_t)LV_MIN(count, LV_ARRAY_LEN(m.seqs));
        memcpy(m.seqs, seqs, m.count * sizeof(*seqs));
        worker_post(owner, tx_ack_arrived, &m, sizeof(m), 0);
        seqs += m.count;
        count -= m.count;
    }
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

// --- hold ---

struct hold_mail {
    lv_handle queue;
    bool is_held;
};

static void
hold_here(struct queue_worker *qw, const struct hold_mail *m)
{
    struct queue *q = queue_worker_find(qw, m->queue);
    if (q == NULL)
        return;
    LV_ASSERT(m->is_held || q->holds > 0);
    q->holds += m->is_held ? 1 : -1u;
    queue_touch(qw, q);
}

static void
hold_arrived(struct worker *to, void *payload)
{
    hold_here(queue_worker_of(to), payload);
}

void
queue_hold(lv_handle queue, bool is_held)
{
    struct worker *w = worker_self;
    struct worker *owner = owner_of(w, queue);
    struct hold_mail m = {.queue = queue, .is_held = is_held};
    if (owner == w)
        hold_here(queue_worker_of(w), &m);
    else
        worker_post(owner, hold_arrived, &m, sizeof(m), 0);
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
