// session_settle.c: deliveries waiting for their acknowledgement, and basic.ack, nack, reject, recover (AMQP 0-9-1 §1.8.3.13 ff.).
//
// `unacked` is a ring in the order of delivery tags, which only grow: a tag is found by binary search. One settled out of order
// leaves a hole, dropped when it reaches the front, or by compaction when more than half are holes; so one forgotten delivery at
// the front costs one entry, not all that followed.
#include <inttypes.h>

#include "src/base/mem.h"
#include "src/broker/session_impl.h"

// LIMIT: unsettled deliveries of one session; beyond it the channel is closed, and all go back to their queues.
enum { UNACKED_MAX = 1u << 24 };

static struct unacked *
unacked_at(const struct session *s, size_t i)
{
    return &s->unacked[(s->unacked_head + i) & (s->unacked_cap - 1)];
}

static void
unacked_compact(struct session *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->unacked_count; i++) {
        if (!unacked_at(s, i)->is_settled) {
            *unacked_at(s, kept) = *unacked_at(s, i);
            kept++;
        }
    }
    s->unacked_count = kept;
    s->unacked_settled = 0;
}

int
unacked_push(struct session *s, const struct unacked *entry)
{
    if (s->unacked_count == s->unacked_cap) {
        if (s->unacked_settled > s->unacked_count / 2)
            unacked_compact(s);
    }
    if (s->unacked_count == s->unacked_cap) {
        size_t cap = s->unacked_cap == 0 ? 16 : s->unacked_cap * 2;
        if (cap > UNACKED_MAX)
            return -LE_LIMIT;
        struct unacked *ring = mem_alloc(cap * sizeof(*ring));
        if (ring == NULL)
            return -LE_NOMEM;
        for (size_t i = 0; i < s->unacked_count; i++)
            ring[i] = *unacked_at(s, i);
        mem_free(s->unacked);
        s->unacked = ring;
        s->unacked_head = 0;
        s->unacked_cap = cap;
    }
    *unacked_at(s, s->unacked_count) = *entry;
    s->unacked_count++;
    return 0;
}

void
unacked_fault(struct fault *f, int err)
{
    if (err == -LE_LIMIT)
        fault_set(f, FAULT_PRECONDITION_FAILED, "more than %d unacknowledged deliveries on one channel",
                  UNACKED_MAX);
    else
        fault_set(f, FAULT_RESOURCE_ERROR, "out of memory");
}

// Drops holes at the front; gives the ring's memory back when it is large and empty.
static void
unacked_trim(struct session *s)
{
    while (s->unacked_count > 0 && unacked_at(s, 0)->is_settled) {
        s->unacked_head = (s->unacked_head + 1) & (s->unacked_cap - 1);
        s->unacked_count--;
        s->unacked_settled--;
    }
    if (s->unacked_count == 0 && s->unacked_cap > 4096) {
        mem_free(s->unacked);
        s->unacked = NULL;
        s->unacked_head = s->unacked_cap = 0;
    }
}

void
unacked_free(struct session *s)
{
    mem_free(s->unacked);
    s->unacked = NULL;
    s->unacked_count = s->unacked_cap = 0;
}

// Index of the unsettled entry with that tag; -LE_NOTFOUND.
static int64_t
unacked_find(const struct session *s, uint64_t tag)
{
    size_t low = 0, high = s->unacked_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unacked_at(s, middle)->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == s->unacked_count || unacked_at(s, low)->tag != tag || unacked_at(s, low)->is_settled)
        return -LE_NOTFOUND;
    return (int64_t)low;
}

// Settles in batches of neighbours of one queue and consumer; the order within a queue is kept.
enum { SETTLE_BATCH = 64 };

struct settle_batch {
    struct session *session;
    enum settle_kind kind;
    lv_handle queue;
    uint32_t consumer_id;
    uint32_t count;
    uint64_t seqs[SETTLE_BATCH];
};

// The numbers stay as they are: a batch is made for every single acknowledgement.
static inline void
batch_init(struct settle_batch *b, struct session *s, enum settle_kind kind)
{
    b->session = s;
    b->kind = kind;
    b->count = 0;
}

static void
batch_flush(struct settle_batch *b)
{
    if (b->count == 0)
        return;
    queue_settle(b->queue, b->kind, b->seqs, b->count);
    if (b->consumer_id != 0)
        session_consumer_unacked(b->session, b->consumer_id, b->count);
    b->count = 0;
}

static void
batch_add(struct settle_batch *b, const struct unacked *entry)
{
    if (b->count == SETTLE_BATCH ||
        (b->count > 0 && (b->queue != entry->queue || b->consumer_id != entry->consumer_id)))
        batch_flush(b);
    b->queue = entry->queue;
    b->consumer_id = entry->consumer_id;
    b->seqs[b->count++] = entry->seq;
}

void
session_settle_entries(struct session *s, const struct unacked *entries, size_t count, enum settle_kind kind)
{
    struct settle_batch b;
    batch_init(&b, s, kind);
    for (size_t i = 0; i < count; i++)
        batch_add(&b, &entries[i]);
    batch_flush(&b);
    if (!s->is_closed)
        session_limit_released(s);
}

void
unacked_requeue_all(struct session *s, enum settle_kind kind)
{
    struct settle_batch b;
    size_t count = s->unacked_count;
    batch_init(&b, s, kind);
    for (size_t i = 0; i < count; i++) {
        if (!unacked_at(s, i)->is_settled)
            batch_add(&b, unacked_at(s, i));
    }
    s->unacked_count = 0;
    s->unacked_settled = 0;
    batch_flush(&b);
    unacked_trim(s);
    if (!s->is_closed)
        session_limit_released(s);
}

void
session_recover(struct session *s)
{
    LV_ASSERT(s->op == OP_NONE);
    unacked_requeue_all(s, SETTLE_REQUEUE);
    session_answer_ok(s);
}

// With a transaction the settle is kept until commit; the delivery is no longer there to be settled again. 0, or why the
// transaction did not take it.
static int
settle_range(struct session *s, size_t first, size_t last, enum settle_kind kind)
{
    struct settle_batch b;
    int err = 0;
    batch_init(&b, s, kind);
    for (size_t i = first; i <= last; i++) {
        struct unacked *entry = unacked_at(s, i);
        if (entry->is_settled)
            continue;
        if (s->tx.is_on && (err = tx_add_settle(s, entry, kind)) != 0)
            break;
        entry->is_settled = true;
        s->unacked_settled++;
        if (s->tx.is_on)
            continue;
        s->stats.acked += kind == SETTLE_ACK;
        batch_add(&b, entry);
    }
    batch_flush(&b);
    unacked_trim(s);
    return err;
}

bool
session_settle(struct session *s, uint64_t tag, bool is_multiple, enum settle_kind kind,
               struct fault *ret_fault)
{
    size_t first, last;
    if (is_multiple && tag == 0) {
        if (s->unacked_count == 0)
            return true;
        first = 0;
        last = s->unacked_count - 1;
    } else {
        int64_t found = unacked_find(s, tag);
        if (found < 0) {
            fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "unknown delivery tag %" PRIu64, tag);
            return false;
        }
        last = (size_t)found;
        first = is_multiple ? 0 : last;
    }
    int err = settle_range(s, first, last, kind);
    if (err != 0) {
        tx_fault(ret_fault, err);
        return false;
    }
    session_limit_released(s);
    return true;
}
