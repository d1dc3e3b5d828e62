// session_tx.c: transactions (AMQP 0-9-1 §1.9): publishes and settles kept until commit (session_commit.c).
//
// Rollback forgets the publishes and puts the settled deliveries back among the unacknowledged, as RabbitMQ does; it does not
// requeue them.
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// LIMIT: publishes or settles in one transaction; their bytes: queue_tx_max_bytes.
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

void
tx_fault(struct fault *f, int err)
{
    if (err == -LE_NOSPACE)
        fault_set(f, FAULT_PRECONDITION_FAILED, "a transaction holds at most %zu bytes of messages",
                  queue_tx_max_bytes());
    else if (err == -LE_LIMIT)
        fault_set(f, FAULT_PRECONDITION_FAILED,
                  "a transaction holds at most %d publishes and %d acknowledgements", TX_ENTRIES_MAX,
                  TX_ENTRIES_MAX);
    else
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
}

int
tx_add_publish(struct session *s, struct message *msg, bool is_mandatory)
{
    struct tx_state *tx = &s->tx;
    if (tx->publish_bytes + message_weight(msg) > queue_tx_max_bytes())
        return -LE_NOSPACE;
    int err =
        array_reserve((void **)&tx->publishes, &tx->publish_cap, tx->publish_count, sizeof(*tx->publishes));
    if (err == 0) {
        tx->publishes[tx->publish_count++] = (struct tx_publish){.msg = msg, .is_mandatory = is_mandatory};
        tx->publish_bytes += message_weight(msg);
    }
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

bool
tx_give_back_some(struct session *s, size_t *budget)
{
    struct tx_state *tx = &s->tx;
    list_remove(&tx->again_node);
    if (tx->commit != NULL)
        commit_abandon(s);
    for (; *budget > 0 && tx->publish_pos < tx->publish_count; (*budget)--)
        message_unref(tx->publishes[tx->publish_pos++].msg);
    for (; *budget > 0 && tx->settle_pos < tx->settle_count; (*budget)--)
        session_settle_entries(s, &tx->settles[tx->settle_pos++].entry, 1, SETTLE_REQUEUE);
    if (tx->publish_pos < tx->publish_count || tx->settle_pos < tx->settle_count)
        return false;
    tx->publish_pos = tx->publish_count = tx->settle_pos = tx->settle_count = 0;
    tx->publish_bytes = 0;
    return true;
}

void
tx_free(struct session *s)
{
    list_remove(&s->tx.again_node);
    for (size_t i = s->tx.publish_pos; i < s->tx.publish_count; i++)
        message_unref(s->tx.publishes[i].msg);
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

bool
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
    session_timeout_watch(s, s->client->broker->worker->now_ns); // some of them may be older than all others
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
    for (size_t i = 0; i < s->tx.publish_count; i++)
        message_unref(s->tx.publishes[i].msg);
    s->tx.publish_count = 0;
    s->tx.publish_bytes = 0;
    return true;
}

#ifdef LV_TEST_HOOKS
void
tx_commit_unasked(struct session *s)
{
    struct amqp_basic_props props;
    struct fault ignored;
    s->tx.is_on = false;
    for (size_t i = 0; i < s->tx.publish_count; i++) {
        struct message *msg = s->tx.publishes[i].msg;
        if (amqp_props_decode_trusted(message_properties(msg), &props) != 0 ||
            !session_publish(s, msg, &props, false, &ignored))
            message_unref(msg);
    }
    s->tx.publish_count = 0;
}
#endif
