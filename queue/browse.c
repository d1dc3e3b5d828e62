// browse.c: see browse.h.
//
// Happy path of a look: the numbers and instants of the page come from the index, what is in memory is referred to, what is away is read (durable_fetch),
// and when that is done the rest is referred to. What leaves meanwhile is left out.
#include "queue/browse.h"

#include "queue/durable.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/mem.h"

// Where a message waits in memory: in the FIFO of a row, or (`heap_at`) among those that came late.
struct waiting {
    struct ready *row;
    struct ready_cursor at; // chunk NULL: in the heap
    uint32_t heap_at;
};

// Its entry; NULL: there is none. *looks goes down with what is looked at in heaps, and ends the search.
static const struct ready_entry *
find_waiting(struct queue *q, uint64_t seq, size_t *looks, struct waiting *ret)
{
    for (size_t n = 0; (ret->row = queue_row(q, n)) != NULL; n++) {
        if (ready_find(ret->row, seq, &ret->at))
            return &ret->at.chunk->entries[ret->at.pos];
        ret->at.chunk = NULL;
        for (uint32_t i = 0; i<ret->row->heap_count && * looks> 0; i++, (*looks)--) {
            ret->heap_at = i;
            if (ret->row->heap[i].seq == seq)
                return &ret->row->heap[i];
        }
    }
    return NULL;
}

static const struct ready_entry *
find_entry(struct queue *q, uint64_t seq, size_t *looks)
{
    struct waiting w;
    const struct unacked_record *out = unacked_find(&q->unacked, seq);
    return out != NULL ? &out->entry : find_waiting(q, seq, looks, &w);
}

static void
fill_page(struct queue *q, struct queue_browse *b)
{
    struct expiry_due d;
    uint64_t from = 0;
    b->total = expiry_known(q);
    for (bool has_one = expiry_nth(q, b->skip, &d); has_one && b->count < b->wanted;
         has_one = expiry_each(q, from, &d)) {
        b->items[b->count++] = (struct browsed_message){
            .seq = d.seq, .at_ms = d.at_ms, .is_leaving = unacked_find(&q->unacked, d.seq) != NULL};
        from = d.seq + 1;
    }
}

// What is to be read: entries of the page that are away.
struct reading {
    const struct ready_entry *away[DURABLE_FETCH_MAX];
    size_t count;
    bool is_coming; // some are being read
};

// False: the message has left.
static bool
refer(struct queue *q, struct browsed_message *m, size_t *looks, struct reading *ret)
{
    if (m->msg != NULL)
        return true;
    const struct ready_entry *e = find_entry(q, m->seq, looks);
    if (e == NULL)
        return *looks == 0;
    struct message *msg = ready_entry_message(e);
    m->body_len = e->body_len;
    if (msg != NULL)
        m->msg = message_ref(msg);
    else if (stored_is(e->stored, STORED_FETCHING) || q->disk->is_read_held)
        ret->is_coming = true;
    else if (!stored_is(e->stored, STORED_LOST) && ret->count < LV_ARRAY_LEN(ret->away))
        ret->away[ret->count++] = e;
    return true;
}

void
queue_browse(struct queue_worker *qw, struct queue *q, struct queue_request *r)
{
    struct queue_browse *b = r->browse;
    struct reading reading = {.count = 0};
    size_t kept = 0, looks = BROWSE_LOOKS;
    if (b->rounds++ == 0)
        fill_page(q, b);
    for (size_t i = 0; i < b->count; i++)
        if (refer(q, &b->items[i], &looks, &reading))
            b->items[kept++] = b->items[i];
    b->count = kept;
    bool is_read =
        reading.count > 0 && b->rounds < BROWSE_ROUNDS && durable_fetch(qw, q, reading.away, reading.count);
    if (is_read || (reading.is_coming && b->rounds < BROWSE_ROUNDS))
        queue_wait_for_message(q, r);
    else
        request_answer(qw->w, r, QUEUE_OK);
}

enum queue_outcome
queue_remove_message(struct queue_worker *qw, struct queue *q, uint64_t seq)
{
    struct waiting w;
    size_t looks = SIZE_MAX;
    const struct ready_entry *there = find_waiting(q, seq, &looks, &w);
    if (there == NULL)
        return unacked_find(&q->unacked, seq) != NULL ? QUEUE_IN_USE : QUEUE_EMPTY;
    struct ready_entry e = *there;
    const struct message *msg = ready_entry_message(&e);
    if (w.at.chunk != NULL)
        ready_punch(w.row, &qw->ready_pools, &w.at);
    else
        ready_remove_heap(w.row, w.heap_at);
    if (q->levels != NULL)
        levels_removed(q->levels, levels_get(q->levels, ready_entry_priority(&e)));
    sum_sub(&q->ready_sum, &e, msg != NULL ? message_weight(msg) : 0);
    queue_drop_entry(qw, q, &e);
    q->counters.purged++;
    return QUEUE_OK;
}
