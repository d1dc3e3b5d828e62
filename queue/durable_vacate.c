// durable_vacate.c: making room: in the ring of the log, when its oldest segment is to be used again, and in memory, when too much waits there.
//
// Vacating a generation goes in waves: each wave looks at the queues that have something there and submits moves for it (durable_move.c; little of a
// queue is written again at the head of the log instead, MOVE); when all of a wave has come back there is another look. When nothing is left, `state` is written
// for queues whose acks lie there, and then the log is told. Failure: the wave is repeated a little later.
#include <stdlib.h>

#include "queue/durable_move.h"
#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "queue/tx.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: less than this of a queue is rewritten in the log.
enum { REWRITE_BYTES = 128 * 1024, REWRITE_MAX = 1024 };
// LIMIT: what is moved of a queue at once although it is younger.
enum { MOVE_BYTES = 128 * 1024 };
// Under pressure of memory: queues with fewer messages than this in a row are left alone; how often is looked.
enum { PRESSURE_MIN = 4096, PRESSURE_LOOK_MS = 50 };

struct state_job {
    struct mover_job job;
    struct durable *d;
    struct queue_disk *disk;
    uint64_t acks_oldest; // before
    uint64_t *kept;
    size_t kept_count, kept_cap;
    struct backlog_count *counts;
    size_t count_count, count_cap;
};

static bool
lies_in(const struct ready_entry *e, uint64_t generation)
{
    return ready_entry_is(e, READY_STORED) && stored_is(e->stored, STORED_WRITTEN) &&
           !stored_is(e->stored, STORED_BACKLOG) && !stored_is(e->stored, STORED_MOVING) &&
           !stored_is(e->stored, STORED_LOST) && !stored_is(e->stored, STORED_TX_ACKED) &&
           e->stored->file <= generation;
}

// How far the front of what may go to the chain has to go for a generation: entries, and the bytes of those that lie there. A message that
// is not written yet ends it.
static size_t
prefix_of(const struct queue_disk *k, const struct ready *r, uint64_t generation, size_t *ret_bytes)
{
    struct ready_cursor at = {0};
    size_t looked = 0, count = 0, bytes = 0;
    for (const struct ready_entry *e = first_for_chain(k, r, &at); looked < APPEND_MAX && e != NULL;
         looked++, e = ready_next(r, &at)) {
        const struct stored *s = ready_entry_is(e, READY_STORED) ? e->stored : NULL;
        if (s == NULL)
            continue;
        if (!stored_is(s, STORED_WRITTEN) || stored_is(s, STORED_MOVING))
            break;
        if (lies_in(e, generation)) {
            count = looked + 1;
            bytes += s->len;
        } else if (!stored_is(s, STORED_BACKLOG) && e->seq > k->moved_upto) {
            break; // from here on they are younger
        }
    }
    *ret_bytes = bytes;
    return count;
}

// A move costs some syncs, however small it is: what is worth one takes more of the queue along, so that many queues with a little in each
// generation are moved once a lap of the ring and not once a generation. At least `count`, up to MOVE_BYTES.
static size_t
worth_moving(const struct queue_disk *k, const struct ready *r, size_t count, size_t *ret_bytes)
{
    struct ready_cursor at = {0};
    size_t taken = 0, bytes = 0;
    for (const struct ready_entry *e = first_for_chain(k, r, &at);
         e != NULL && taken < APPEND_MAX && (taken < count || bytes < MOVE_BYTES); e = ready_next(r, &at)) {
        const struct stored *s = ready_entry_is(e, READY_STORED) ? e->stored : NULL;
        if (s == NULL || !stored_is(s, STORED_WRITTEN) || stored_is(s, STORED_MOVING))
            break;
        bytes += s->len;
        taken++;
    }
    *ret_bytes = bytes;
    return LV_MAX(taken, count);
}

static bool
rewrite(struct durable *d, struct queue *q, const struct ready_entry *e)
{
    struct log_item *item;
    struct msglog_entry *entry = durable_entry(d, &item);
    struct stored *s = e->stored;
    if (entry == NULL)
        return false;
    *entry = (struct msglog_entry){.kind = MSGLOG_MOVE,
                                   .epoch = EPOCH_ALONE,
                                   .queue = q->def->id,
                                   .seq = e->seq,
                                   .flags = e->count_flags & (READY_HISTORY_MASK | READY_PRIORITY_MASK),
                                   .expires_ms = expiry_at(q, e),
                                   .place = stored_place(s)};
    item->queue = q->handle;
    item->stored = s;
    s->busy++;
    s->flags |= STORED_MOVING;
    d->vacate_moves++;
    d->rewritten += s->len;
    q->disk->moved_upto = LV_MAX(q->disk->moved_upto, e->seq);
    return true;
}

void
durable_move_returned(struct durable *d, struct msglog_entry *e, struct log_item *item)
{
    struct stored *s = item->stored;
    struct queue *q = handle_slots_find(&d->qw->queues, item->queue);
    bool is_in_memory = s->msg != NULL && !stored_is(s, STORED_LARGE);
    d->vacate_moves--;
    d->is_wave_wanted = true;
    s->flags &= (uint16_t)~STORED_MOVING;
    if (e->result == 0 && !QUEUE_BUG(QUEUE_BUG_STAY))
        durable_set_place(q != NULL ? q->disk : NULL, s, &e->place);
    else if ((e->result == -LE_NOTFOUND || e->result == -LE_CORRUPT) && !is_in_memory)
        s->flags |= STORED_LOST; // its reader reports it
    else
        d->vacate_failed = true;
    // There is no room for it in the ring, or it cannot be read but is in memory: the rest has to go to files.
    if (e->result == -LE_NOSPACE || (d->vacate_failed && is_in_memory))
        d->rewritten = d->config.rewrite_max;
    stored_unbusy(d, s);
}

static int
by_seq(const void *a, const void *b)
{
    const struct ready_entry *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

// --- vacating ---

// Messages that cannot go to the chain, of one wave.
struct loose {
    struct ready_entry *entries;
    size_t count, max, bytes;
};

// False: there is no room for it in this wave.
static bool
loose_add(struct loose *l, const struct ready_entry *e)
{
    if (l->count == l->max || (l->count > 0 && l->bytes + e->stored->len > APPEND_BYTES))
        return false;
    l->entries[l->count++] = *e;
    l->bytes += e->stored->len;
    return true;
}

// Of a FIFO, when its front need not go to the chain: those below the cursor, and those behind one that is not written.
static void
gather_fifo(const struct queue_disk *k, const struct ready *r, uint64_t generation, struct loose *l)
{
    struct ready_cursor at = {0};
    for (const struct ready_entry *e; (e = ready_next(r, &at)) != NULL;) {
        if (lies_in(e, generation) && !loose_add(l, e))
            return;
        const struct stored *s = ready_entry_is(e, READY_STORED) ? e->stored : NULL;
        bool is_known = s != NULL && stored_is(s, STORED_WRITTEN) && !stored_is(s, STORED_BACKLOG);
        if (is_known && s->file > generation && e->seq > k->moved_upto)
            return; // from here on they are younger
    }
}

// A level of a queue with priorities may be deep, and all of it has entries in memory: what earlier waves have seen to is passed over.
static void
gather_level(const struct durable *d, uint64_t moved_upto, struct level *level, uint64_t generation,
             struct loose *l)
{
    struct ready_cursor at;
    bool is_same_round = level->round == d->vacate_round;
    uint64_t from = is_same_round ? LV_MAX(level->kept_below, level->looked_below) : level->kept_below;
    bool is_kept = from == level->kept_below;
    level->round = d->vacate_round;
    level->looked_below = from;
    ready_seek(&level->ready, from, &at);
    for (const struct ready_entry *e; (e = ready_next(&level->ready, &at)) != NULL;) {
        const struct stored *s = ready_entry_is(e, READY_STORED) ? e->stored : NULL;
        if (lies_in(e, generation) && !loose_add(l, e))
            return;
        is_kept &= s == NULL || stored_is(s, STORED_BACKLOG);
        level->looked_below = e->seq + 1;
        if (is_kept)
            level->kept_below = e->seq + 1;
        bool is_in_log = s != NULL && stored_is(s, STORED_WRITTEN) && !stored_is(s, STORED_BACKLOG);
        if (is_in_log && s->file > generation && e->seq > moved_upto)
            return; // from here on they are younger
    }
}

static void
gather_heap(const struct ready *r, uint64_t generation, struct loose *l)
{
    for (uint32_t i = 0; i < r->heap_count; i++)
        if (lies_in(&r->heap[i], generation) && !loose_add(l, &r->heap[i]))
            return;
}

// Messages that lie there and cannot go to the chain: those that are out or were given back, and some of the FIFOs.
static void
gather_loose(const struct durable *d, const struct queue_disk *k, uint64_t generation, struct loose *l)
{
    const struct queue *q = k->queue;
    const struct ready *r;
    struct level *level;
    size_t cursor = 0;
    for (const struct unacked_record *u; (u = unacked_next(&q->unacked, &cursor)) != NULL;)
        if (lies_in(&u->entry, generation) && !loose_add(l, &u->entry))
            return;
    for (size_t n = 0; (r = queue_row(q, n)) != NULL; n++)
        gather_heap(r, generation, l);
    for (size_t n = 0; q->levels != NULL && (level = levels_row(q->levels, n)) != NULL; n++)
        gather_level(d, k->moved_upto, level, generation, l);
    for (size_t n = 0; q->levels == NULL && (r = queue_row(q, n)) != NULL; n++)
        gather_fifo(k, r, generation, l);
}

// What is rewritten makes no room in the ring: of many queues that have a little each, only as much as that is worth it.
static bool
is_little(const struct durable *d, size_t count, size_t bytes)
{
    return bytes <= REWRITE_BYTES && count <= REWRITE_MAX && d->rewritten < d->config.rewrite_max &&
           bytes <= d->config.rewrite_max - d->rewritten;
}

static bool
move_loose(struct durable *d, struct queue_disk *k, struct loose *l)
{
    if (is_little(d, l->count, l->bytes)) {
        for (size_t i = 0; i < l->count; i++)
            if (!rewrite(d, k->queue, &l->entries[i]))
                return false;
        return true;
    }
    struct append_job *a = append_new(d, k, false, l->count);
    if (a == NULL)
        return false;
    qsort(l->entries, l->count, sizeof(*l->entries), by_seq);
    for (size_t i = 0; i < l->count; i++)
        LV_ASSERT(append_add(a, &l->entries[i])); // they are no more than one append takes
    return append_submit(d, k, a, true);
}

// The front of a FIFO that is small: what lies there is written again.
static bool
rewrite_front(struct durable *d, struct queue_disk *k, size_t count, uint64_t generation)
{
    struct ready_cursor at = {0};
    const struct ready *r = fifo_of(k);
    for (const struct ready_entry *e = first_for_chain(k, r, &at); count > 0 && e != NULL;
         count--, e = ready_next(r, &at))
        if (lies_in(e, generation) && !rewrite(d, k->queue, e))
            return false;
    return true;
}

// One step for one queue. False: it could not be done now.
static bool
vacate_queue(struct durable *d, struct queue_disk *k, uint64_t generation)
{
    size_t bytes, row_bytes;
    size_t count = prefix_of(k, fifo_of(k), generation, &bytes);
    if (count > 0) {
        size_t row = worth_moving(k, fifo_of(k), count, &row_bytes);
        return is_little(d, row, LV_MAX(bytes, row_bytes)) ? rewrite_front(d, k, count, generation)
                                                           : append_front(d, k, row, true);
    }
    struct loose loose = {.entries = mem_alloc(APPEND_MAX * sizeof(*loose.entries)), .max = APPEND_MAX};
    if (loose.entries == NULL)
        return false;
    gather_loose(d, k, generation, &loose);
    bool is_good = loose.count == 0 || move_loose(d, k, &loose);
    mem_free(loose.entries);
    if (loose.count == 0) // what has been rewritten is younger
        k->oldest = generation + 1;
    return is_good;
}

static void
state_job_free(struct state_job *j)
{
    mem_free(j->job.state.ends);
    mem_free(j->job.state.dead);
    mem_free(j->kept);
    mem_free(j->counts);
    mem_free(j);
}

static void
state_done(struct mover_job *job)
{
    struct state_job *j = job->ctx;
    struct durable *d = j->d;
    struct queue_disk *k = j->disk;
    k->jobs--;
    d->vacate_moves--;
    d->is_wave_wanted = true;
    if (job->result != 0) {
        log_error(LOG_STORE, "backlog files: the state of a queue could not be written: %s",
                  err_text(job->result));
        k->acks_oldest = LV_MIN(k->acks_oldest, j->acks_oldest);
        d->vacate_failed = true;
    }
    state_job_free(j);
    queue_disk_leave(d, k);
}

static int
by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool
add_number(struct state_job *j, uint64_t seq)
{
    if (j->kept_count == j->kept_cap) {
        size_t cap = j->kept_cap == 0 ? 64 : j->kept_cap * 2;
        uint64_t *kept = mem_realloc(j->kept, cap * sizeof(*kept));
        if (kept == NULL)
            return false;
        j->kept = kept;
        j->kept_cap = cap;
    }
    j->kept[j->kept_count++] = seq;
    return true;
}

// Of queues that keep them. What lies in the log has its count in its record, or behind it.
static bool
add_count(struct state_job *j, uint64_t seq, uint32_t count)
{
    if (count == 0 || !j->disk->queue->is_counted)
        return true;
    if (j->count_count == j->count_cap) {
        size_t cap = j->count_cap == 0 ? 64 : j->count_cap * 2;
        struct backlog_count *counts = mem_realloc(j->counts, cap * sizeof(*counts));
        if (counts == NULL)
            return false;
        j->counts = counts;
        j->count_cap = cap;
    }
    j->counts[j->count_count++] = (struct backlog_count){seq, count};
    return true;
}

static bool
add_kept(struct state_job *j, const struct ready_entry *e)
{
    bool is_kept = ready_entry_is(e, READY_STORED) && stored_is(e->stored, STORED_BACKLOG) &&
                   !stored_is(e->stored, STORED_TX_DONE);
    return !is_kept || (add_number(j, e->seq) && add_count(j, e->seq, ready_entry_count(e)));
}

static int
by_counted(const void *a, const void *b)
{
    const struct backlog_count *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

// Of messages in the chain, what an earlier run left.
static bool
gather_chain_counts(const struct queue_disk *k, struct state_job *j)
{
    size_t cursor = 0;
    uint64_t seq;
    void *flags;
    bool is_good = true;
    while (is_good && inttab_next(&k->flags, &cursor, &seq, &flags))
        is_good = add_count(j, seq, (uint32_t)((uintptr_t)flags - 1) >> 16);
    if (is_good && j->count_count > 1)
        qsort(j->counts, j->count_count, sizeof(*j->counts), by_counted);
    return is_good;
}

// Everything of the queue that lives by an address in its files.
static bool
gather_kept(const struct queue_disk *k, struct state_job *j)
{
    const struct queue *q = k->queue;
    size_t cursor = 0;
    bool is_good = true;
    for (const struct unacked_record *u; is_good && (u = unacked_next(&q->unacked, &cursor)) != NULL;)
        is_good = add_kept(j, &u->entry);
    const struct ready *r;
    for (size_t n = 0; (r = queue_row(q, n)) != NULL; n++) {
        struct ready_walk at = {0};
        for (const struct ready_entry *e; is_good && (e = ready_walk_next(r, &at)) != NULL;)
            is_good = add_kept(j, e);
    }
    for (size_t i = 0; i < k->left_count; i++)
        for (uint64_t seq = k->left[i].first; is_good && seq <= k->left[i].last; seq++)
            is_good = add_number(j, seq);
    if (is_good && j->kept_count > 1)
        qsort(j->kept, j->kept_count, sizeof(*j->kept), by_number);
    return is_good;
}

static bool
state_submit(struct durable *d, struct queue_disk *k)
{
    struct state_job *j = mem_calloc(1, sizeof(*j));
    if (j == NULL)
        return false;
    j->job = (struct mover_job){.kind = MOVER_STATE, .queue = k->id, .done = state_done, .ctx = j};
    j->d = d;
    j->disk = k;
    j->acks_oldest = k->acks_oldest;
    if (backlog_snapshot(&k->backlog, &j->job.state) != 0 || !gather_kept(k, j) ||
        !gather_chain_counts(k, j)) {
        state_job_free(j);
        return false;
    }
    j->job.state.counts = j->counts;
    j->job.state.count_count = QUEUE_BUG(QUEUE_BUG_FORGET_COUNTS) ? 0 : j->count_count;
    j->job.state.kept = j->kept;
    j->job.state.kept_count = QUEUE_BUG(QUEUE_BUG_FORGET_KEPT) ? 0 : j->kept_count;
    k->acks_oldest = UINT64_MAX;
    k->jobs++;
    d->vacate_moves++;
    mover_submit(d->port, &j->job);
    return true;
}

void
durable_ack_returned(struct durable *d, const struct msglog_entry *e, const struct log_item *item)
{
    struct queue *q = handle_slots_find(&d->qw->queues, item->queue);
    if (e->tx != 0 && e->result == 0)
        tx_ack_returned(d->qw, e->tx, e->place.file);
    if (q != NULL && q->disk != NULL && q->disk->has_folder && e->result == 0)
        q->disk->acks_oldest = LV_MIN(q->disk->acks_oldest, e->place.file);
}

void
durable_vacate(struct durable *d, uint64_t generation)
{
    if (d->is_ending)
        return;
    if (generation > d->vacating)
        d->rewritten = 0;
    d->vacating = LV_MAX(d->vacating, generation);
    d->vacate_round++;
    d->vacate_failed = false;
    d->is_wave_wanted = true;
}

// One wave. True when nothing is left in the generation, and nothing is under way.
static bool
vacate_wave(struct durable *d)
{
    uint64_t generation = d->vacating;
    LV_LIST_EACH (it, &d->disks) {
        struct queue_disk *k = LV_CONTAINER_OF(it, struct queue_disk, node);
        if (k->is_gone || k->is_appending || k->oldest > generation)
            continue;
        if (!vacate_queue(d, k, generation))
            d->vacate_failed = true;
    }
    if (d->vacate_moves > 0 || d->vacate_failed)
        return QUEUE_BUG(QUEUE_BUG_VACATE_EARLY);
    bool is_clear = tx_oldest(d) > generation && d->removing == 0;
    LV_LIST_EACH (it, &d->disks) {
        struct queue_disk *k = LV_CONTAINER_OF(it, struct queue_disk, node);
        is_clear &=
            k->is_gone || (k->oldest > generation && (!k->is_appending || k->acks_oldest > generation));
        // Messages of an append under way are in later blocks than `state` speaks of: acks of them have to stay in the log so long.
        if (!k->is_gone && !k->is_appending && k->acks_oldest <= generation && !state_submit(d, k))
            d->vacate_failed = true;
    }
    return is_clear && d->vacate_moves == 0 && !d->vacate_failed;
}

static void
tell_vacated(struct durable *d)
{
    struct log_item *item;
    struct msglog_entry *e = durable_entry(d, &item);
    if (e == NULL)
        return;
    e->kind = MSGLOG_VACATED;
    e->place.file = d->vacating;
    d->vacating = 0;
}

// --- pressure of memory ---

// The queue with the longest row in memory.
static struct queue *
longest_queue(struct queue_worker *qw, size_t *ret_count)
{
    struct queue *longest = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < qw->queues.cap; i++) {
        struct queue *q = qw->queues.items[i].object;
        if (q == NULL || (q->disk != NULL && q->disk->is_appending))
            continue;
        size_t count = ready_fifo_count(q->tail);
        if (count > *ret_count) {
            longest = q;
            *ret_count = count;
        }
    }
    return longest;
}

static void
relieve(struct durable *d)
{
    struct queue_worker *qw = d->qw;
    uint64_t bytes = atomic_load_explicit(&qw->message_bytes, memory_order_relaxed);
    bool is_over = d->stored_count > d->config.index_max || bytes > d->config.body_max;
    if (!is_over || qw->w->now_ns < d->look_ns)
        return;
    d->look_ns = qw->w->now_ns + PRESSURE_LOOK_MS * UINT64_C(1000000);
    size_t count;
    struct queue *q = longest_queue(qw, &count);
    // Few but large messages are worth it too, when it is the bytes that are over.
    if (q == NULL || (count < PRESSURE_MIN &&
                      (bytes <= d->config.body_max || q->ready_sum.weight < d->config.body_max / 16)))
        return;
    struct queue_disk *k = queue_disk_get(qw, q);
    if (k != NULL && append_front(d, k, count, false))
        d->look_ns = 0; // when it is done there may be more to do at once
}

// Whoever ends something that a wave waits for sets is_wave_wanted: moves, states, removals, transactions.
void
durable_move_step(struct durable *d)
{
    if (d->is_ending)
        return;
    relieve(d);
    if (d->vacating == 0 || d->vacate_moves > 0)
        return;
    if (d->vacate_failed) {
        if (d->move_retry_ns == 0) {
            d->move_retry_ns = d->qw->w->now_ns + RETRY_MS * UINT64_C(1000000);
            ev_timer_again(d->qw->w->loop, &d->retry);
        }
        if (d->qw->w->now_ns < d->move_retry_ns)
            return;
        d->vacate_round++;
        d->vacate_failed = false;
        d->is_wave_wanted = true;
    }
    d->move_retry_ns = 0;
    if (!d->is_wave_wanted)
        return;
    d->is_wave_wanted = false;
    if (vacate_wave(d))
        tell_vacated(d);
}
