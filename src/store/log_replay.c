// log_replay.c: records in log order become what lives.
//
// Parts of a transaction wait aside until its COMMIT; a purge that comes meanwhile takes from them too, an ack cannot mean them: what is not
// committed is not delivered. (Parts of aborted transactions wait to the end; acks do not look through them.) Names that are not
// there (acked in a segment of which the message is gone) are ignored. A message met twice was moved: the later place counts. Delivery counts
// only grow: the highest that is met counts, wherever the message is.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_recover.h"

struct part {
    uint64_t queue;
    uint64_t ack_count;             // 0: a message
    struct msglog_live_entry entry; // ack: seq alone
};

struct replay_tx {
    struct part *parts;
    size_t count, cap;
};

void
replay_init(struct replay *r, struct msglog_live *live)
{
    memset(r, 0, sizeof(*r));
    r->live = live;
    inttab_init(&r->txs);
}

static uint64_t
tx_free(struct replay_tx *tx)
{
    uint64_t count = tx->count;
    mem_free(tx->parts);
    mem_free(tx);
    return count;
}

uint64_t
replay_fini(struct replay *r)
{
    size_t cursor = 0;
    uint64_t id, parts = 0;
    void *tx;
    while (inttab_next(&r->txs, &cursor, &id, &tx))
        parts += tx_free(tx);
    inttab_fini(&r->txs);
    return parts;
}

static int
tx_add(struct replay *r, uint64_t id, const struct part *part)
{
    r->last_tx = LV_MAX(r->last_tx, id);
    struct replay_tx *tx = inttab_get(&r->txs, id);
    if (tx == NULL) {
        tx = mem_calloc(1, sizeof(*tx));
        if (tx == NULL || inttab_put(&r->txs, id, tx) != 0) {
            mem_free(tx);
            return -LE_NOMEM;
        }
    }
    if (tx->count == tx->cap) {
        size_t cap = tx->cap == 0 ? 16 : tx->cap * 2;
        struct part *parts = mem_realloc(tx->parts, cap * sizeof(*parts));
        if (parts == NULL)
            return -LE_NOMEM;
        tx->parts = parts;
        tx->cap = cap;
    }
    tx->parts[tx->count++] = *part;
    return 0;
}

static int
ack(struct replay *r, uint64_t queue, uint64_t seq, uint64_t count)
{
    if (LOG_BUG(BUG_GONE_IF_FOUND) && msglog_live_find(r->live, queue, seq) == NULL)
        return 0;
    return msglog_live_replay_ack(r->live, queue, seq, count);
}

static int
commit(struct replay *r, uint64_t id)
{
    r->last_tx = LV_MAX(r->last_tx, id);
    struct replay_tx *tx = id != 0 ? inttab_take(&r->txs, id) : NULL;
    int err = 0;
    for (size_t i = 0; tx != NULL && i < tx->count && err == 0; i++) {
        const struct part *p = &tx->parts[i];
        if (p->ack_count > 0)
            err = ack(r, p->queue, p->entry.seq, p->ack_count);
        else if (p->queue != 0)
            err = msglog_live_put(r->live, p->queue, &p->entry);
    }
    r->commits++;
    if (tx != NULL)
        tx_free(tx);
    return err;
}

// Takes messages out of the transactions that wait.
static void
drop_parts(struct replay *r, uint64_t queue, uint64_t seq, uint64_t count)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (inttab_next(&r->txs, &cursor, &id, &value)) {
        struct replay_tx *tx = value;
        for (size_t i = 0; i < tx->count; i++) {
            struct part *p = &tx->parts[i];
            if (p->ack_count == 0 && p->queue == queue && p->entry.seq >= seq && p->entry.seq - seq < count)
                p->queue = 0;
        }
    }
}

static int
replay_message(struct replay *r, struct slice payload, const struct msglog_place *place)
{
    struct message_fixed m;
    if (message_fixed_decode(payload, &m) != 0)
        return -LE_CORRUPT;
    r->last_large = LV_MAX(r->last_large, m.large_file);
    const uint8_t *at = payload.ptr + MESSAGE_FIXED_BYTES;
    for (uint32_t i = 0; i < m.ref_count; i++, at += MESSAGE_REF_BYTES) {
        struct message_ref ref;
        message_ref_decode(at, &ref);
        if (ref.queue == 0)
            return -LE_CORRUPT;
        struct part p = {.queue = ref.queue,
                         .entry = {.seq = ref.seq,
                                   .expires_ms = ref.expires_ms,
                                   .place = *place,
                                   .large_file = m.large_file,
                                   .body_bytes = m.body_bytes,
                                   .epoch = ref.epoch,
                                   .flags = ref.flags}};
        int err = m.tx != 0 ? tx_add(r, m.tx, &p) : msglog_live_put(r->live, ref.queue, &p.entry);
        if (err == 0 && m.tx != 0)
            err = msglog_live_replay_seen(r->live, ref.queue, ref.seq);
        if (err != 0)
            return err;
        r->messages++;
    }
    return 0;
}

static int
replay_ack(struct replay *r, struct slice payload)
{
    if (payload.len < ACK_FIXED_BYTES)
        return -LE_CORRUPT;
    uint64_t tx = get_u64(payload.ptr), queue = get_u64(payload.ptr + 8);
    uint32_t ranges = get_u32(payload.ptr + 16);
    if (payload.len != ACK_FIXED_BYTES + (uint64_t)ranges * ACK_RANGE_BYTES || queue == 0 ||
        tx > MSGLOG_NUMBER_MAX)
        return -LE_CORRUPT;
    for (uint32_t i = 0; i < ranges; i++) {
        const uint8_t *at = payload.ptr + ACK_FIXED_BYTES + (size_t)i * ACK_RANGE_BYTES;
        struct part p = {.queue = queue, .ack_count = get_u64(at + 8), .entry = {.seq = get_u64(at)}};
        if (tx == 0) {
            if (ack(r, queue, p.entry.seq, p.ack_count) != 0)
                return -LE_NOMEM;
        } else if (p.ack_count > 0 && tx_add(r, tx, &p) != 0) {
            return -LE_NOMEM;
        }
    }
    return 0;
}

static int
replay_count(struct replay *r, struct slice payload)
{
    if (payload.len < COUNT_FIXED_BYTES)
        return -LE_CORRUPT;
    uint64_t queue = get_u64(payload.ptr);
    uint32_t ranges = get_u32(payload.ptr + 8);
    if (payload.len != COUNT_FIXED_BYTES + (uint64_t)ranges * COUNT_RANGE_BYTES || queue == 0)
        return -LE_CORRUPT;
    for (uint32_t i = 0; i < ranges; i++) {
        struct count_range range;
        if (count_range_decode(payload.ptr + COUNT_FIXED_BYTES + (size_t)i * COUNT_RANGE_BYTES, &range) != 0)
            return -LE_CORRUPT;
        if (!LOG_BUG(BUG_FORGET_COUNTS) &&
            msglog_live_replay_count(r->live, queue, range.first, range.numbers, range.count) != 0)
            return -LE_NOMEM;
    }
    return 0;
}

int
replay_record(struct replay *r, const struct record_header *h, struct slice payload,
              const struct msglog_place *place)
{
    if (h->type == RECORD_MESSAGE)
        return replay_message(r, payload, place);
    if (h->type == RECORD_ACK)
        return replay_ack(r, payload);
    if (h->type == RECORD_COUNT)
        return replay_count(r, payload);
    if (payload.len != 16)
        return h->type > RECORD_CHECKPOINT ? 0 : -LE_CORRUPT; // types of later minor versions may be skipped
    uint64_t a = get_u64(payload.ptr), b = get_u64(payload.ptr + 8);
    switch (h->type) {
    case RECORD_PURGE:
        drop_parts(r, a, 0, b < UINT64_MAX ? b + 1 : b);
        return msglog_live_replay_purge(r->live, a, b);
    case RECORD_DELETE:
        drop_parts(r, a, 0, UINT64_MAX);
        if (LOG_BUG(BUG_FORGET_DELETED)) {
            msglog_live_delete(r->live, a);
            return 0;
        }
        return msglog_live_replay_delete(r->live, a);
    case RECORD_COMMIT: return a <= MSGLOG_NUMBER_MAX ? commit(r, a) : -LE_CORRUPT;
    default: return 0;
    }
}
