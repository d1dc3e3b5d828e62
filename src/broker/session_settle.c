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

struct unacked *
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
void
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

size_t
unacked_lower_bound(const struct session *s, uint64_t tag)
{
    size_t low = 0, high = s->unacked_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unacked_at(s, middle)->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Index of the unsettled entry with that tag; -LE_NOTFOUND.
static int64_t
unacked_find(const struct session *s, uint64_t tag)
{
    size_t low = unacked_lower_bound(s, tag);
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

// --- more than a turn may ------------------------------------------------------------------------------------------------

// What is at the front of `unacked`, up to a tag, is settled by and by: the session's method is outstanding meanwhile, and
// deliveries go on behind it. A session that closes first finishes what its client had asked for, then gives back the rest; its
// client is gone when all its sessions have done so.

size_t
session_settle_budget(const struct session *s)
{
    return s->client->broker->config.settle_turn;
}

void
session_settle_later(struct session *s)
{
    struct broker_worker *b = s->client->broker;
    if (!list_is_linked(&s->settling_node))
        list_push_back(&b->settling, &s->settling_node);
    worker_keep_awake(b->worker);
}

// Without memory for it a queue is not held, and may deliver later messages before those that are still to come back.
static void
bulk_hold(struct bulk *bulk, lv_handle queue)
{
    if (queue == bulk->last_held)
        return;
    bulk->last_held = queue;
    if (inttab_get(&bulk->held, queue) == NULL && inttab_put(&bulk->held, queue, bulk) == 0)
        queue_hold(queue, true);
}

static void
bulk_end(struct bulk *bulk)
{
    size_t cursor = 0;
    uint64_t queue;
    void *ignored;
    bulk->is_on = false;
    while (inttab_next(&bulk->held, &cursor, &queue, &ignored))
        queue_hold(queue, false);
    inttab_fini(&bulk->held);
}

static int
bulk_settle(struct session *s, size_t *budget)
{
    struct settle_batch b;
    int err = 0;
    batch_init(&b, s, s->bulk.kind);
    while (*budget > 0 && s->unacked_count > 0 && unacked_at(s, 0)->tag <= s->bulk.upto) {
        struct unacked entry = *unacked_at(s, 0);
        if (s->bulk.is_for_tx && !entry.is_settled && (err = tx_add_settle(s, &entry, s->bulk.kind)) != 0)
            break;
        s->unacked_head = (s->unacked_head + 1) & (s->unacked_cap - 1);
        s->unacked_count--;
        s->unacked_settled -= entry.is_settled;
        (*budget)--;
        if (s->bulk.is_for_tx || entry.is_settled)
            continue;
        session_count_settle(s, s->bulk.kind);
        if (s->bulk.is_in_parts)
            bulk_hold(&s->bulk, entry.queue);
        batch_add(&b, &entry);
    }
    batch_flush(&b);
    unacked_trim(s);
    return err;
}

static bool
bulk_has_more(const struct session *s)
{
    return s->unacked_count > 0 && unacked_at(s, 0)->tag <= s->bulk.upto;
}

// True: done, with the result in ret_err.
static bool
bulk_some(struct session *s, size_t *budget, int *ret_err)
{
    if (s->bulk.is_give_back && !tx_give_back_some(s, budget))
        return false;
    *ret_err = bulk_settle(s, budget);
    if (*ret_err == 0 && bulk_has_more(s))
        return false;
    bulk_end(&s->bulk);
    return true;
}

// Starts it; the first part is done at once. True: that was all.
static bool
bulk_start(struct session *s, const struct bulk *bulk, int *ret_err)
{
    size_t budget = session_settle_budget(s);
    s->bulk = *bulk;
    s->bulk.is_on = true;
    s->bulk.is_in_parts = (bulk->kind == SETTLE_REQUEUE || bulk->kind == SETTLE_RETURN) && !bulk->is_for_tx &&
                          s->unacked_count > budget;
    inttab_init(&s->bulk.held);
    if (bulk_some(s, &budget, ret_err))
        return true;
    session_settle_later(s);
    return false;
}

static struct bulk
give_back_all(const struct session *s)
{
    return (struct bulk){
        .is_give_back = true, .kind = s->is_looking ? SETTLE_RETURN : SETTLE_REQUEUE, .upto = UINT64_MAX};
}

void
session_only_looks(struct session *s)
{
    s->is_looking = true;
}

void
session_give_back_and_free(struct session *s)
{
    int err = 0;
    struct bulk all = give_back_all(s);
    LV_ASSERT(s->is_closed);
    bool is_at_work = s->bulk.is_on && !s->bulk.is_for_tx; // what its client asked for is done first
    if (!is_at_work && bulk_start(s, &all, &err)) {
        list_remove(&s->settling_node);
        list_push_back(&s->client->broker->reaping, &s->node);
        return;
    }
    s->client->jobs++;
}

bool
session_give_back(struct session *s)
{
    int err = 0;
    struct bulk all = give_back_all(s);
    LV_ASSERT(s->op == OP_NONE);
    s->is_failed = true;
    session_consumers_close(s);
    if (bulk_start(s, &all, &err))
        return true;
    s->op = OP_GIVE_BACK;
    return false;
}

static void
bulk_done(struct session *s, int err)
{
    struct fault f;
    if (s->is_closed) {
        struct client *c = s->client;
        if (s->bulk.is_give_back)
            list_push_back(&c->broker->reaping, &s->node);
        else
            session_give_back_and_free(s);
        client_job_done(c);
    } else if (err != 0) {
        tx_fault(&f, err);
        session_answer_fault(s, &f);
    } else {
        session_answer_ok(s);
    }
}

static void
settle_some(struct session *s, size_t *budget)
{
    int err = 0;
    bool is_done = bulk_some(s, budget, &err);
    if (!s->is_closed)
        session_limit_released(s);
    if (is_done)
        bulk_done(s, err);
    else
        session_settle_later(s);
}

bool
session_settle_some(struct broker_worker *b)
{
    enum { SESSION_SHARE = 1024 };
    size_t left = b->config.settle_turn;
    if (list_is_empty(&b->settling) || worker_is_congested(b->worker))
        return false;
    for (struct list *it; left > 0 && (it = list_pop_front(&b->settling)) != NULL;) {
        size_t share = LV_MIN(left, (size_t)SESSION_SHARE), budget = share;
        settle_some(LV_CONTAINER_OF(it, struct session, settling_node), &budget);
        left -= LV_MAX(share - budget, (size_t)1);
    }
    return !list_is_empty(&b->settling);
}

bool
session_is_busy(const struct session *s)
{
    return s->op != OP_NONE;
}

void
session_recover(struct session *s)
{
    struct bulk all = {.kind = SETTLE_REQUEUE, .upto = s->delivery_tag}; // not what comes back meanwhile
    int err = 0;
    LV_ASSERT(s->op == OP_NONE);
    s->op = OP_RECOVER;
    bool is_done = bulk_start(s, &all, &err);
    session_limit_released(s);
    if (is_done)
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
        session_count_settle(s, kind);
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
    LV_ASSERT(!s->bulk.is_on);
    if (is_multiple && tag == 0) {
        if (s->unacked_count == 0)
            return true;
        first = 0;
        last = s->unacked_count - 1;
    } else {
        int64_t found = unacked_find(s, tag);
        if (found < 0 && tag != 0 && tag <= s->timeouts.given_back_upto) {
            // It was given back because it was late, as the client could not know. With multiple it says that it has all below.
            size_t end = unacked_lower_bound(s, tag);
            if (!is_multiple || end == 0)
                return true;
            found = (int64_t)end - 1;
        }
        if (found < 0) {
            fault_set(ret_fault, FAULT_PRECONDITION_FAILED, "unknown delivery tag %" PRIu64, tag);
            return false;
        }
        last = (size_t)found;
        first = is_multiple ? 0 : last;
    }
    int err = 0;
    if (last - first < session_settle_budget(s)) {
        err = settle_range(s, first, last, kind);
    } else {
        struct bulk bulk = {.is_for_tx = s->tx.is_on, .kind = kind, .upto = unacked_at(s, last)->tag};
        if (!bulk_start(s, &bulk, &err))
            s->op = OP_SETTLE;
    }
    if (err != 0) {
        tx_fault(ret_fault, err);
        return false;
    }
    session_limit_released(s);
    return true;
}
