// log_live.c: sorted arrays with a dead prefix that is given up lazily; nearly all additions are at the end.
#include "src/store/log_live.h"
#include "src/base/err.h"
#include "src/base/mem.h"

void
msglog_live_init(struct msglog_live *l)
{
    memset(l, 0, sizeof(*l));
    inttab_init(&l->queues);
}

static void
queue_free(struct msglog_live_queue *q)
{
    mem_free(q->entries);
    mem_free(q->gone);
    inttab_fini(&q->counts);
    mem_free(q);
}

void
msglog_live_fini(struct msglog_live *l)
{
    size_t cursor = 0;
    uint64_t id;
    void *q;
    while (inttab_next(&l->queues, &cursor, &id, &q))
        queue_free(q);
    inttab_fini(&l->queues);
    msglog_live_init(l);
}

// The first entry whose number is not below `seq`.
static size_t
lower_bound(const struct msglog_live_queue *q, uint64_t seq)
{
    size_t low = q->first, high = q->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->entries[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Room for one more: gives up the dead, or grows.
static int
queue_reserve(struct msglog_live_queue *q)
{
    if (q->end < q->cap)
        return 0;
    if (q->live <= q->cap / 2 && q->cap > 0) {
        size_t to = 0;
        for (size_t i = q->first; i < q->end; i++)
            if (q->entries[i].place.len != 0)
                q->entries[to++] = q->entries[i];
        q->first = 0;
        q->end = to;
        return 0;
    }
    size_t cap = q->cap == 0 ? 8 : q->cap * 2;
    struct msglog_live_entry *entries = mem_realloc(q->entries, cap * sizeof(*entries));
    if (entries == NULL)
        return -LE_NOMEM;
    q->entries = entries;
    q->cap = cap;
    return 0;
}

static struct msglog_live_queue *
queue_get(struct msglog_live *l, uint64_t id)
{
    struct msglog_live_queue *q = inttab_get(&l->queues, id);
    if (q != NULL)
        return q;
    q = mem_calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    q->queue = id;
    q->oldest_file = UINT64_MAX;
    inttab_init(&q->counts);
    q->is_wanted = l->wants_gone != NULL && l->wants_gone(l->wants_ctx, id);
    if (inttab_put(&l->queues, id, q) != 0) {
        mem_free(q);
        return NULL;
    }
    return q;
}

static uint32_t
count_of(uint32_t flags)
{
    return flags >> 16;
}

static uint32_t
with_count(uint32_t flags, uint32_t count)
{
    return count > count_of(flags) ? (flags & 0xffffu) | count << 16 : flags;
}

int
msglog_live_put(struct msglog_live *l, uint64_t queue, const struct msglog_live_entry *entry)
{
    LV_ASSERT(entry->place.len != 0 && queue != 0);
    struct msglog_live_queue *q = queue_get(l, queue);
    if (q == NULL || queue_reserve(q) != 0)
        return -LE_NOMEM;
    q->is_deleted = false; // its deletion came only as far as the log; since then it was used again
    bool is_last = q->end == q->first || q->entries[q->end - 1].seq < entry->seq; // nearly always
    size_t at = is_last ? q->end : lower_bound(q, entry->seq);
    bool is_same = at < q->end && q->entries[at].seq == entry->seq;
    bool was_live = is_same && q->entries[at].place.len != 0;
    if (!is_same) {
        if (!is_last)
            memmove(q->entries + at + 1, q->entries + at, (q->end - at) * sizeof(*q->entries));
        q->end++;
    }
    uint32_t flags = was_live ? with_count(entry->flags, count_of(q->entries[at].flags)) : entry->flags;
    q->entries[at] = *entry;
    q->entries[at].flags = flags;
    q->last_seq = LV_MAX(q->last_seq, entry->seq);
    q->live += !was_live;
    l->count += !was_live;
    q->oldest_file = LV_MIN(q->oldest_file, entry->place.file);
    return 0;
}

struct msglog_live_entry *
msglog_live_find(const struct msglog_live *l, uint64_t queue, uint64_t seq)
{
    const struct msglog_live_queue *q = queue != 0 ? inttab_get(&l->queues, queue) : NULL;
    if (q == NULL)
        return NULL;
    size_t at = lower_bound(q, seq);
    return at < q->end && q->entries[at].seq == seq && q->entries[at].place.len != 0 ? &q->entries[at] : NULL;
}

static void
queue_ack(struct msglog_live *l, struct msglog_live_queue *q, uint64_t seq, uint64_t count)
{
    for (size_t i = lower_bound(q, seq); i < q->end && q->entries[i].seq - seq < count; i++) {
        bool was_live = q->entries[i].place.len != 0;
        q->entries[i].place.len = 0;
        q->live -= was_live;
        l->count -= was_live;
    }
    while (q->first < q->end && q->entries[q->first].place.len == 0)
        q->first++;
    if (q->live == 0) {
        q->first = q->end = 0;
        q->oldest_file = UINT64_MAX;
    }
}

static void
queue_purge(struct msglog_live *l, struct msglog_live_queue *q, uint64_t upto)
{
    if (q->first < q->end && q->entries[q->first].seq <= upto)
        queue_ack(l, q, q->entries[q->first].seq, upto - q->entries[q->first].seq + 1);
}

void
msglog_live_ack(struct msglog_live *l, uint64_t queue, uint64_t seq, uint64_t count)
{
    struct msglog_live_queue *q = queue != 0 ? inttab_get(&l->queues, queue) : NULL;
    if (q != NULL)
        queue_ack(l, q, seq, count);
}

void
msglog_live_purge(struct msglog_live *l, uint64_t queue, uint64_t upto)
{
    struct msglog_live_queue *q = queue != 0 ? inttab_get(&l->queues, queue) : NULL;
    if (q != NULL)
        queue_purge(l, q, upto);
}

void
msglog_live_delete(struct msglog_live *l, uint64_t queue)
{
    struct msglog_live_queue *q = queue != 0 ? inttab_take(&l->queues, queue) : NULL;
    if (q == NULL)
        return;
    l->count -= q->live;
    queue_free(q);
}

// --- while recovery replays ---

int
msglog_live_replay_seen(struct msglog_live *l, uint64_t queue, uint64_t seq)
{
    struct msglog_live_queue *q = queue != 0 ? queue_get(l, queue) : NULL;
    if (q == NULL)
        return queue != 0 ? -LE_NOMEM : 0;
    q->last_seq = LV_MAX(q->last_seq, seq);
    return 0;
}

int
msglog_live_replay_ack(struct msglog_live *l, uint64_t queue, uint64_t seq, uint64_t count)
{
    struct msglog_live_queue *q = queue != 0 ? queue_get(l, queue) : NULL;
    if (q == NULL)
        return queue != 0 ? -LE_NOMEM : 0;
    if (q->is_deleted || count == 0)
        return 0;
    uint64_t end = count <= UINT64_MAX - seq ? seq + count : UINT64_MAX;
    q->last_seq = LV_MAX(q->last_seq, end - 1);
    queue_ack(l, q, seq, count);
    return q->is_wanted ? msglog_live_add_gone(q, seq, end) : 0;
}

int
msglog_live_replay_count(struct msglog_live *l, uint64_t queue, uint64_t seq, uint32_t numbers,
                         uint32_t count)
{
    LV_ASSERT(count > 0 && count <= UINT16_MAX && seq != 0);
    struct msglog_live_queue *q = queue != 0 ? inttab_get(&l->queues, queue) : NULL;
    if (q == NULL && (queue == 0 || l->wants_gone == NULL || !l->wants_gone(l->wants_ctx, queue)))
        return 0;
    if (q == NULL && (q = queue_get(l, queue)) == NULL)
        return -LE_NOMEM;
    if (q->is_deleted)
        return 0;
    size_t at = lower_bound(q, seq);
    for (uint64_t end = seq + numbers; seq < end; seq++) {
        while (at < q->end && q->entries[at].seq < seq)
            at++;
        bool is_live = at < q->end && q->entries[at].seq == seq && q->entries[at].place.len != 0;
        if (is_live)
            q->entries[at].flags = with_count(q->entries[at].flags, count);
        // Remembered in any case: a message that was being moved to a file may be found there.
        uintptr_t known = q->is_wanted ? (uintptr_t)inttab_get(&q->counts, seq) : UINTPTR_MAX;
        if (known < count && inttab_put(&q->counts, seq, (void *)(uintptr_t)count) != 0)
            return -LE_NOMEM;
    }
    return 0;
}

int
msglog_live_replay_purge(struct msglog_live *l, uint64_t queue, uint64_t upto)
{
    struct msglog_live_queue *q = queue != 0 ? queue_get(l, queue) : NULL;
    if (q == NULL)
        return queue != 0 ? -LE_NOMEM : 0;
    if (q->is_deleted)
        return 0;
    q->last_seq = LV_MAX(q->last_seq, upto);
    queue_purge(l, q, upto);
    return q->is_wanted ? msglog_live_add_gone(q, 0, upto < UINT64_MAX ? upto + 1 : UINT64_MAX) : 0;
}

int
msglog_live_replay_delete(struct msglog_live *l, uint64_t queue)
{
    msglog_live_delete(l, queue);
    struct msglog_live_queue *q = queue != 0 ? queue_get(l, queue) : NULL;
    if (q == NULL)
        return queue != 0 ? -LE_NOMEM : 0;
    q->is_deleted = true;
    return 0;
}

void
msglog_live_settle(struct msglog_live *l)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (inttab_next(&l->queues, &cursor, &id, &value)) {
        struct msglog_live_queue *q = value;
        msglog_live_settle_gone(q);
        if (q->live > 0)
            continue;
        mem_free(q->entries);
        q->entries = NULL;
        q->first = q->end = q->cap = 0;
    }
}

int
msglog_live_each(struct msglog_live *l, uint64_t upto_file, msglog_live_fn fn, void *ctx)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (inttab_next(&l->queues, &cursor, &id, &value)) {
        struct msglog_live_queue *q = value;
        if (q->oldest_file > upto_file)
            continue;
        uint64_t oldest = UINT64_MAX;
        for (size_t i = q->first; i < q->end; i++) {
            struct msglog_live_entry *e = &q->entries[i];
            int err = e->place.len != 0 && e->place.file <= upto_file ? fn(ctx, id, e) : 0;
            if (err != 0)
                return err;
            if (e->place.len != 0)
                oldest = LV_MIN(oldest, e->place.file);
        }
        q->oldest_file = oldest;
    }
    return 0;
}
