// log_gone.c: the numbers of a queue that the log says are gone, as ranges: what acks of messages in backlog files leave behind.
//
// `gone` holds gone_count ranges that are merged and ascending, then gone_tail that are not sorted yet. Most ranges go on where
// the last one or another one ends, and cost no room. When the array is full the whole of it is sorted and merged; it grows only if that
// did not halve it, so a random order costs n log n altogether.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_live.h"

static int
by_first(const void *a, const void *b)
{
    const struct msglog_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

void
msglog_live_settle_gone(struct msglog_live_queue *q)
{
    struct msglog_range *r = q->gone;
    size_t count = q->gone_count + q->gone_tail, to = 0;
    if (q->gone_tail > 0)
        qsort(r, count, sizeof(*r), by_first);
    for (size_t i = 0; i < count; i++) {
        if (to > 0 && r[i].first <= r[to - 1].end)
            r[to - 1].end = LV_MAX(r[to - 1].end, r[i].end);
        else
            r[to++] = r[i];
    }
    q->gone_count = to;
    q->gone_tail = 0;
}

// The first of the sorted ranges that ends behind `number`.
static size_t
first_behind(const struct msglog_live_queue *q, uint64_t number)
{
    size_t low = 0, high = q->gone_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->gone[middle].end <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Whether a range that is there could take in the new one without touching its neighbours.
static bool
widen(struct msglog_live_queue *q, uint64_t first, uint64_t end)
{
    size_t count = q->gone_count + q->gone_tail;
    struct msglog_range *last = count > 0 ? &q->gone[count - 1] : NULL;
    if (last != NULL && first >= last->first && first <= last->end) {
        last->end = LV_MAX(last->end, end);
        return true;
    }
    size_t at = first_behind(q, first);
    struct msglog_range *before = at > 0 ? &q->gone[at - 1] : NULL;
    struct msglog_range *behind = at < q->gone_count ? &q->gone[at] : NULL;
    if (behind != NULL && behind->first <= first)
        return end <= behind->end;
    if (behind != NULL && behind->first <= end && end <= behind->end) {
        behind->first = first;
        return true;
    }
    if (before != NULL && before->end == first && (behind == NULL || end < behind->first)) {
        before->end = end;
        return true;
    }
    return false;
}

static int
reserve(struct msglog_live_queue *q)
{
    if (q->gone_count + q->gone_tail < q->gone_cap)
        return 0;
    msglog_live_settle_gone(q);
    if (q->gone_cap > 0 && q->gone_count <= q->gone_cap / 2)
        return 0;
    size_t cap = q->gone_cap == 0 ? 16 : q->gone_cap * 2;
    struct msglog_range *gone = mem_realloc(q->gone, cap * sizeof(*gone));
    if (gone == NULL)
        return -LE_NOMEM;
    q->gone = gone;
    q->gone_cap = cap;
    return 0;
}

int
msglog_live_add_gone(struct msglog_live_queue *q, uint64_t first, uint64_t end)
{
    if (first >= end || widen(q, first, end))
        return 0;
    if (reserve(q) != 0)
        return -LE_NOMEM;
    bool is_last = q->gone_tail == 0 && (q->gone_count == 0 || first > q->gone[q->gone_count - 1].end);
    q->gone[q->gone_count + q->gone_tail] = (struct msglog_range){first, end};
    *(is_last ? &q->gone_count : &q->gone_tail) += 1;
    return 0;
}

void
msglog_live_next_gone(const struct msglog_live *l, uint64_t queue, uint64_t from, uint64_t *ret_first,
                      uint64_t *ret_end)
{
    const struct msglog_live_queue *q = queue != 0 ? inttab_get(&l->queues, queue) : NULL;
    LV_ASSERT(q == NULL || q->gone_tail == 0); // recovery has settled it
    size_t at = q != NULL ? first_behind(q, from) : 0;
    bool is_found = q != NULL && at < q->gone_count;
    *ret_first = is_found ? q->gone[at].first : UINT64_MAX;
    *ret_end = is_found ? q->gone[at].end : UINT64_MAX;
}
