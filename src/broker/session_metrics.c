// session_metrics.c: what one worker's sessions have counted and have now, as metrics want it (see session.h).
//
// The sums are taken in one go: taken in parts, a session that closes meanwhile would count twice or not at all, and a counter that goes
// back looks like a restart. The rows of connections and channels are visited some at a time.
#include "src/broker/session_impl.h"

static struct broker_session_row
row_of(const struct session *s)
{
    const struct confirm_window *cw = &s->confirm;
    return (struct broker_session_row){
        .client_id = s->client->id,
        .number = s->number,
        .vhost = s->client->vhost,
        .counts = &s->stats,
        // RabbitMQ does not count the consumer of direct replies either.
        .consumers = s->consumers.count - (s->reply_consumer_id != 0),
        .unacked = s->unacked_count - s->unacked_settled,
        .unconfirmed = cw->is_on ? cw->last - cw->floor : 0,
        .uncommitted = s->tx.publish_count,
        .acks_uncommitted = s->tx.settle_count,
        .prefetch = s->prefetch,
        .global_prefetch = s->global_limit,
    };
}

static void
count_session(struct session *s, struct broker_counts *n)
{
    struct broker_session_row row = row_of(s);
    s->stats.published_confirm = s->confirm.last;
    session_counts_add(&n->open, &s->stats);
    n->channels++;
    n->publishers += s->stats.published > 0;
    n->consumers += row.consumers;
    n->unacked += row.unacked;
    n->unconfirmed += row.unconfirmed;
    n->uncommitted += row.uncommitted;
    n->acks_uncommitted += row.acks_uncommitted;
    n->prefetch += row.prefetch;
    n->global_prefetch += row.global_prefetch;
}

void
broker_count(struct worker *w, struct broker_counts *ret)
{
    struct broker_worker *b = broker_of(w);
    const struct counters *c = &b->counters;
    size_t cursor = 0;
    uint64_t key;
    void *value;
    LV_ON_WORKER(w);
    *ret = (struct broker_counts){.queues_declared = broker_queues_declared(w), .routed = c->none.out};
    histogram_read(&b->confirm_latency, &ret->confirm_latency);
    LV_LIST_EACH (it, &b->clients) {
        struct client *client = LV_CONTAINER_OF(it, struct client, node);
        uint64_t received = 0, sent = 0;
        if (client->traffic != NULL)
            client->traffic(client->ctx, &received, &sent);
        ret->connections++;
        ret->received_bytes += received;
        ret->sent_bytes += sent;
        LV_LIST_EACH (node, &client->sessions)
            count_session(LV_CONTAINER_OF(node, struct session, node), ret);
    }
    ret->all = c->gone.closed;
    session_counts_add(&ret->all, &ret->open);
    while (inttab_next(&c->vhosts, &cursor, &key, &value))
        session_counts_add(&ret->all, &((const struct vhost_counts *)value)->closed);
    for (cursor = 0; inttab_next(&c->exchanges, &cursor, &key, &value);)
        ret->routed += ((const struct exchange_counts *)value)->out;
}

uint64_t
broker_queues_declared(const struct worker *w)
{
    const struct broker_worker *b = w->broker_state;
    return atomic_load_explicit(&b->queues_declared, memory_order_relaxed);
}

uint64_t
broker_reason_count(struct worker *w, unsigned kind)
{
    return reasons_count(broker_of(w)->reasons, (enum reason_kind)kind);
}

static void
visit_client(struct client *c, void (*client)(void *ctx, const struct broker_client_row *row),
             void (*session)(void *ctx, const struct broker_session_row *row), void *ctx)
{
    struct broker_client_row row = {.id = c->id, .name = c->name, .vhost = c->vhost, .user = c->user};
    if (c->traffic != NULL)
        c->traffic(c->ctx, &row.received_bytes, &row.sent_bytes);
    LV_LIST_EACH (it, &c->sessions)
        row.channels++;
    client(ctx, &row);
    LV_LIST_EACH (it, &c->sessions) {
        struct broker_session_row s = row_of(LV_CONTAINER_OF(it, struct session, node));
        session(ctx, &s);
    }
}

void
broker_each_client(struct worker *w, uint32_t *from, uint32_t max,
                   void (*client)(void *ctx, const struct broker_client_row *row),
                   void (*session)(void *ctx, const struct broker_session_row *row), void *ctx)
{
    const struct inttab *clients = &broker_of(w)->clients_by_id;
    size_t cursor = *from, end = cursor + max;
    uint64_t key;
    void *value;
    LV_ON_WORKER(w);
    while (cursor < end) {
        if (!inttab_next(clients, &cursor, &key, &value)) {
            *from = 0;
            return;
        }
        visit_client(value, client, session, ctx);
    }
    *from = (uint32_t)cursor;
}

// --- exchanges ------------------------------------------------------------------------------------------------------------------

static void
put_exchange(struct buf *out, const struct exchange_counts *x)
{
    buf_append_u64be(out, x->id);
    buf_append_u64be(out, x->in);
    buf_append_u64be(out, x->out);
}

void
broker_exchange_counts(struct worker *w, uint32_t *from, uint32_t max, struct buf *out)
{
    const struct counters *c = &broker_of(w)->counters;
    uint64_t key;
    void *value;
    LV_ON_WORKER(w);
    size_t cursor = *from, end = cursor + max;
    while (cursor < end) {
        if (!inttab_next(&c->exchanges, &cursor, &key, &value)) {
            *from = 0;
            return;
        }
        put_exchange(out, value);
    }
    *from = (uint32_t)cursor;
}

void
broker_exchange_count_one(struct worker *w, uint64_t id, struct buf *out)
{
    const struct exchange_counts *x = inttab_get(&broker_of(w)->counters.exchanges, id);
    LV_ON_WORKER(w);
    if (x != NULL)
        put_exchange(out, x);
}

bool
broker_exchange_count_next(struct slice *records, struct broker_exchange_count *ret)
{
    uint64_t *const members[] = {&ret->id, &ret->in, &ret->out};
    if (records->len < sizeof *ret)
        return false;
    for (size_t i = 0; i < LV_ARRAY_LEN(members); i++) {
        *members[i] = 0;
        for (size_t k = 0; k < 8; k++)
            *members[i] = *members[i] << 8 | records->ptr[8 * i + k];
    }
    *records = slice_from(*records, sizeof *ret);
    return true;
}
