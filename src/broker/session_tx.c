// session_tx.c: transactions (AMQP 0-9-1 §1.9): publishes and settles kept until commit.
//
// Commit sends everything to the queues and waits until each has taken its part; then commit-ok. Routing happens at commit.
// Rollback forgets the publishes and puts the settled deliveries back among the unacknowledged, as RabbitMQ does; it does not
// requeue them.
#include <stdlib.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// LIMIT: publishes or settles in one transaction.
enum { TX_ENTRIES_MAX = 1 << 20 };

static int
array_reserve(void **array, size_t *cap, size_t count, size_t item_size)
{
    if (count < *cap)
        return 0;
    size_t wanted = *cap == 0 ? 16 : *cap * 2;
    if (wanted > TX_ENTRIES_MAX)
        return -LE_LIMIT;
    void *grown = mem_realloc(*array, wanted * item_size);
    if (grown == NULL)
        return -LE_NOMEM;
    *array = grown;
    *cap = wanted;
    return 0;
}

int
tx_add_publish(struct session *s, struct message *msg, bool is_mandatory)
{
    struct tx_state *tx = &s->tx;
    int err = array_reserve((void **)&tx->publishes, &tx->publish_cap, tx->publish_count, sizeof(*tx->publishes));
    if (err == 0)
        tx->publishes[tx->publish_count++] = (struct tx_publish){.msg = msg, .is_mandatory = is_mandatory};
    return err;
}

int
tx_add_settle(struct session *s, const struct unacked *entry, enum settle_kind kind)
{
    struct tx_state *tx = &s->tx;
    int err = array_reserve((void **)&tx->settles, &tx->settle_cap, tx->settle_count, sizeof(*tx->settles));
    if (err == 0)
        tx->settles[tx->settle_count++] = (struct tx_settle){.entry = *entry, .kind = kind};
    return err;
}

void
tx_clear(struct session *s, bool give_back)
{
    struct tx_state *tx = &s->tx;
    for (size_t i = 0; i < tx->publish_count; i++)
        message_unref(tx->publishes[i].msg);
    tx->publish_count = 0;
    for (size_t i = 0; i < tx->settle_count && give_back; i++)
        session_settle_entries(s, &tx->settles[i].entry, 1, SETTLE_REQUEUE);
    tx->settle_count = 0;
}

void
tx_free(struct session *s)
{
    mem_free(s->tx.publishes);
    mem_free(s->tx.settles);
}

bool
session_tx_select(struct session *s, struct fault *ret_fault)
{
    if (s->confirm.is_on) {
        fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "cannot switch from confirm to tx mode");
        return false;
    }
    s->tx.is_on = true;
    return true;
}

static bool
tx_check(struct session *s, struct fault *f)
{
    if (!s->tx.is_on)
        fault_set(f, FAULT_PRECONDITION_FAILED, "channel is not transactional");
    return s->tx.is_on;
}

static int
by_tag(const void *a, const void *b)
{
    const struct unacked *x = a, *y = b;
    return x->tag < y->tag ? -1 : x->tag > y->tag;
}

// Puts the settles of a rolled back transaction back where they were: the ring is rebuilt in the order of tags.
static bool
settles_restore(struct session *s)
{
    struct tx_state *tx = &s->tx;
    size_t live = 0, total = s->unacked_count + tx->settle_count;
    if (tx->settle_count == 0)
        return true;
    struct unacked *all = mem_alloc(total * sizeof(*all));
    if (all == NULL)
        return false;
    for (size_t i = 0; i < s->unacked_count; i++) {
        const struct unacked *e = &s->unacked[(s->unacked_head + i) & (s->unacked_cap - 1)];
        if (!e->is_settled)
            all[live++] = *e;
    }
    for (size_t i = 0; i < tx->settle_count; i++) {
        all[live] = tx->settles[i].entry;
        all[live++].is_settled = false;
    }
    qsort(all, live, sizeof(*all), by_tag);
    s->unacked_count = s->unacked_settled = 0;
    bool is_complete = true;
    for (size_t i = 0; i < live; i++) {
        if (unacked_push(s, &all[i]) == 0)
            continue;
        session_settle_entries(s, &all[i], live - i, SETTLE_REQUEUE);
        is_complete = false;
        break;
    }
    mem_free(all);
    tx->settle_count = 0;
    return is_complete;
}

bool
session_tx_rollback(struct session *s, struct fault *ret_fault)
{
    if (!tx_check(s, ret_fault))
        return false;
    if (!settles_restore(s)) {
        fault_set(ret_fault, FAULT_RESOURCE_ERROR, "out of memory");
        return false;
    }
    tx_clear(s, false);
    return true;
}

static void
commit_answer(struct session *s)
{
    struct fault f;
    if (!s->tx.is_refused) {
        session_answer_ok(s);
        return;
    }
    fault_set(&f, FAULT_PRECONDITION_FAILED, "partial tx completion");
    session_answer_fault(s, &f);
}

void
tx_published(struct session *s, unsigned refused)
{
    LV_ASSERT(s->tx.outstanding > 0);
    s->tx.outstanding--;
    s->tx.is_refused |= refused > 0;
    if (s->tx.outstanding == 0 && s->op == OP_COMMIT && !s->is_sending)
        commit_answer(s);
}

// Routes and sends one message of the transaction. Its reference is used up.
static void
commit_one(struct session *s, struct tx_publish *p)
{
    struct fault ignored;
    struct route_result route = {0};
    struct amqp_basic_props props = {0};
    struct message *msg = p->msg;
    const struct vhost *v = client_vhost(s->client, &ignored);
    const struct exchange *x = v != NULL ? vhost_exchange(v, message_exchange(msg)) : NULL;
    if (x != NULL && x->is_default && reply_to_is_token(message_routing_key(msg))) {
        if (!reply_to_send(s->client->broker->worker, message_routing_key(msg), msg) && p->is_mandatory) {
            s->stats.returned++;
            s->events->returned(s->ctx, msg, FAULT_NO_ROUTE, "NO_ROUTE");
        }
    } else if (x != NULL) {
        int err = amqp_props_decode_trusted(message_properties(msg), &props);
        if (err == 0)
            err = publish_route(s, v, x, msg, props.headers, &route);
        struct field bcc;
        if (err == 0 && amqp_props_has(&props, AMQP_PROP_HEADERS) && table_find(props.headers, SLICE_LIT("BCC"), &bcc))
            err = publish_strip_bcc(&msg, &props);
        if (err == 0 && route.count > 0) {
            s->tx.outstanding += route.count; // at least as many as answers come; corrected below
            uint32_t operations = publish_send(s, msg, &route, TX_NUMBER);
            s->tx.outstanding -= route.count - operations;
        }
        s->tx.is_refused |= err != 0;
        if (err == 0 && route.count == 0 && p->is_mandatory) {
            s->stats.returned++;
            s->events->returned(s->ctx, msg, FAULT_NO_ROUTE, "NO_ROUTE");
        }
    }
    message_unref(msg);
}

void
session_tx_commit(struct session *s)
{
    struct fault f;
    LV_ASSERT(s->op == OP_NONE);
    if (!tx_check(s, &f)) {
        session_answer_fault(s, &f);
        return;
    }
    struct tx_state *tx = &s->tx;
    s->op = OP_COMMIT;
    tx->is_refused = false;
    s->is_sending = true;
    for (size_t i = 0; i < tx->publish_count; i++)
        commit_one(s, &tx->publishes[i]);
    tx->publish_count = 0;
    for (size_t i = 0; i < tx->settle_count; i++)
        session_settle_entries(s, &tx->settles[i].entry, 1, tx->settles[i].kind);
    tx->settle_count = 0;
    s->is_sending = false;
    if (tx->outstanding == 0)
        commit_answer(s);
}
