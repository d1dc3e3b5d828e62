// expiry.c: see expiry.h.
//
// When a deadline has come (deadline.h) the index gives the numbers that are due, in the order of time. Each is looked for: in the FIFO of `ready` or of `behind`, where it leaves a
// hole; among those that are out, where it stays until it comes back; else it came back and is in a heap, which has no order to find it by: those are
// gathered in `late` and taken out in one pass, now and then when there are many. What is due in the chain of backlog files is expiry_chain.c's.
// Failure modes: without memory for `late` the pass comes at once. A message that is being moved to the chain stays until that is done
// (the block that is being written counts it). Where dead letters have no room, all wait a little; handed out it is not.
#include "queue/expiry.h"

#include <stdlib.h>

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/expiry_chain.h"
#include "queue/expiry_index.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    FRONT_A_TIME = 16,      // LIMIT: messages that one look at the front takes away
    LATE_MAX = 4096,        // LIMIT: of `late`
    LATE_EVERY = 32768,     // entries of a heap for each millisecond between two passes over it
    RETRY_WAIT_MS = 10,     // until dead letters have room, or a load has ended
    UNUSED_RETRY_MS = 1000, // until the topology writer is asked again
};

struct expiry {
    struct expiry_index index; // of all messages in memory and of those that are out
    uint64_t *late;            // due, and in a heap
    size_t late_count, late_cap;
    int64_t late_next_ms;      // when the next pass may be
    struct expiry_chain chain; // what is due soon in the chain of backlog files
    int64_t used_ms;           // with x-expires: of the last declare, get or consumer
};

static struct expiry *
expiry_get(struct queue_worker *qw, struct queue *q)
{
    if (q->expiry != NULL || !queue_deadline_reserve(qw, q))
        return q->expiry;
    q->expiry = mem_calloc(1, sizeof(*q->expiry));
    if (q->expiry != NULL)
        q->expiry->used_ms = qw->w->now_ms;
    return q->expiry;
}

// --- what the queue tells ---

int64_t
expiry_instant(const struct queue_worker *qw, const struct queue *q, const struct message *msg)
{
    uint64_t ttl_ms = q->rules != NULL ? q->rules->message_ttl_ms : RULE_NONE;
    if ((msg->flags & MESSAGE_HAS_EXPIRY) != 0)
        ttl_ms = LV_MIN(ttl_ms, (uint64_t)msg->expiry_ms);
    if (ttl_ms == RULE_NONE)
        return 0;
    return qw->w->now_ms + (int64_t)LV_MIN(ttl_ms, (uint64_t)EXPIRY_MAX_MS / 2);
}

bool
expiry_note(struct queue_worker *qw, struct queue *q, struct ready_entry *e, int64_t at_ms)
{
    if (at_ms == 0)
        return true;
    struct expiry *x = expiry_get(qw, q);
    if (x == NULL || !expiry_index_put(&x->index, e->seq, ready_entry_priority(e), at_ms))
        return false;
    e->count_flags |= READY_EXPIRES;
    queue_deadline_set(qw, q, at_ms);
    return true;
}

int64_t
expiry_at(const struct queue *q, const struct ready_entry *e)
{
    return ready_entry_is(e, READY_EXPIRES) ? expiry_index_get(&q->expiry->index, e->seq) : 0;
}

void
expiry_forget_slow(struct queue *q, uint64_t seq)
{
    bool was_there = expiry_index_remove(&q->expiry->index, seq);
    LV_ASSERT_HOT(was_there);
    (void)was_there;
}

void
expiry_came_back(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    if (LV_LIKELY(!ready_entry_is(e, READY_EXPIRES)))
        return;
    expiry_index_rearm(&q->expiry->index, e->seq);
    queue_deadline_set(qw, q, expiry_at(q, e));
}

void
expiry_purged(struct queue_worker *qw, struct queue *q)
{
    struct expiry *x = q->expiry;
    if (x == NULL)
        return;
    // What is out stays known. Few numbers are looked up, of many that go.
    struct expiry_index fresh = {0};
    size_t cursor = 0;
    bool is_good = true;
    for (const struct unacked_record *u; is_good && (u = unacked_next(&q->unacked, &cursor)) != NULL;)
        if (ready_entry_is(&u->entry, READY_EXPIRES))
            is_good = expiry_index_put(&fresh, u->entry.seq, ready_entry_priority(&u->entry),
                                       expiry_at(q, &u->entry));
    struct expiry_index old = is_good ? x->index : fresh;
    if (is_good)
        x->index = fresh;
    expiry_index_fini(&old);
    x->late_count = 0;
    expiry_chain_purged(&x->chain);
    struct expiry_due d = {0};
    // Without memory for another one: number by number.
    for (uint64_t from = 0; !is_good && expiry_index_each(&x->index, from, &d); from = d.seq + 1)
        if (unacked_find(&q->unacked, d.seq) == NULL)
            (void)expiry_index_remove(&x->index, d.seq);
    queue_deadline_set(qw, q, expiry_index_next(&x->index));
}

void
expiry_end(struct queue_worker *qw, struct queue *q)
{
    queue_deadline_drop(qw, q);
    if (q->expiry == NULL)
        return;
    expiry_index_fini(&q->expiry->index);
    expiry_chain_fini(&q->expiry->chain);
    mem_free(q->expiry->late);
    mem_free(q->expiry);
    q->expiry = NULL;
}

size_t
expiry_memory(const struct queue *q)
{
    const struct expiry *x = q->expiry;
    return x == NULL ? 0
                     : sizeof(*x) + expiry_index_memory(&x->index) + x->late_cap * sizeof(*x->late) +
                           x->chain.cap * sizeof(*x->chain.heap);
}

uint64_t
expiry_known(const struct queue *q)
{
    return q->expiry != NULL ? q->expiry->index.count : 0;
}

bool
expiry_nth(const struct queue *q, uint64_t n, struct expiry_due *ret)
{
    return q->expiry != NULL && expiry_index_nth(&q->expiry->index, n, ret);
}

bool
expiry_each(const struct queue *q, uint64_t from, struct expiry_due *ret)
{
    return q->expiry != NULL && expiry_index_each(&q->expiry->index, from, ret);
}

// --- messages that leave ---

// It was taken out of `ready` or `behind`.
static void
leave(struct queue_worker *qw, struct queue *q, const struct ready_entry *e)
{
    const struct message *msg = ready_entry_message(e);
    sum_sub(&q->ready_sum, e, msg != NULL ? message_weight(msg) : 0);
    q->counters.expired++;
    // Its instant stays known until the dead letter is away: moved meanwhile, it takes that along, and is not alive again after a crash.
    queue_bury_entry(qw, q, e, DEATH_EXPIRED);
}

static bool
is_past(const struct queue *q, const struct ready_entry *e, int64_t at_ms)
{
    return e != NULL && ready_entry_is(e, READY_EXPIRES) && expiry_at(q, e) < at_ms &&
           !QUEUE_BUG(QUEUE_BUG_FRONT_UNSEEN);
}

enum expiry_front
expiry_clear_front_slow(struct queue_worker *qw, struct queue *q, int64_t at_ms)
{
    const struct ready_entry *first = queue_front(q);
    if (!is_past(q, first, at_ms))
        return FRONT_IS_CLEAR;
    queue_enter(q);
    bool has_more = true;
    for (int i = 0; i < FRONT_A_TIME && has_more; i++) {
        struct ready_entry e = *first;
        queue_pop_front(qw, q);
        leave(qw, q, &e);
        has_more = !q->is_dead && is_past(q, first = queue_front(q), at_ms);
    }
    enum expiry_front front = q->is_dead ? FRONT_IS_DEAD : has_more ? FRONT_HAS_MORE : FRONT_IS_CLEAR;
    queue_leave(qw, q);
    return front;
}

// The append that is under way has it: its block will say that it waits.
static bool
is_moving(const struct queue *q, uint64_t seq)
{
    const struct queue_disk *k = q->disk;
    if (QUEUE_BUG(QUEUE_BUG_EXPIRE_MOVING))
        return false;
    return k != NULL && k->is_appending && seq >= k->moving_first && seq <= k->moving_last;
}

static void
note_late(struct expiry *x, uint64_t seq)
{
    if (x->late_count == x->late_cap) {
        size_t cap = x->late_cap == 0 ? 16 : x->late_cap * 2;
        uint64_t *late = mem_realloc(x->late, cap * sizeof(*late));
        if (late == NULL) {
            expiry_index_rearm(&x->index, seq); // it comes again
            return;
        }
        x->late = late;
        x->late_cap = cap;
    }
    x->late[x->late_count++] = seq;
}

struct late_pass {
    const struct expiry *x;
    struct ready_entry *found; // room for all of `late`
    size_t count;
};

static int
by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool
is_late(void *ctx, const struct ready_entry *e)
{
    struct late_pass *pass = ctx;
    const struct expiry *x = pass->x;
    if (!ready_entry_is(e, READY_EXPIRES) || e->seq < x->late[0] || e->seq > x->late[x->late_count - 1] ||
        bsearch(&e->seq, x->late, x->late_count, sizeof(*x->late), by_number) == NULL)
        return false;
    pass->found[pass->count++] = *e;
    return true;
}

// Of one heap; returns how long it was.
static uint64_t
filter(struct queue *q, struct ready *r, struct level *at, struct late_pass *pass)
{
    uint64_t looked = r->heap_count;
    size_t before = pass->count;
    ready_filter_heap(r, is_late, pass);
    for (; at != NULL && before < pass->count; before++)
        levels_removed(q->levels, at);
    return looked;
}

// Takes all of `late` out of the heaps. A number that is not there any more has gone another way.
static void
take_late(struct queue_worker *qw, struct queue *q, size_t *budget)
{
    struct expiry *x = q->expiry;
    if (x->late_count == 0 || (qw->w->now_ms < x->late_next_ms && x->late_count < LATE_MAX))
        return;
    struct late_pass pass = {.x = x, .found = mem_alloc(x->late_count * sizeof(*pass.found))};
    if (pass.found == NULL)
        return;
    qsort(x->late, x->late_count, sizeof(*x->late), by_number);
    uint64_t looked = filter(q, &q->ready, NULL, &pass);
    if (q->disk != NULL)
        looked += filter(q, &q->disk->behind, NULL, &pass);
    struct level *at;
    for (size_t n = 0; q->levels != NULL && (at = levels_row(q->levels, n)) != NULL; n++)
        looked += filter(q, &at->ready, at, &pass);
    x->late_count = 0;
    x->late_next_ms = qw->w->now_ms + (int64_t)(looked / LATE_EVERY);
    *budget -= LV_MIN(*budget, pass.count);
    for (size_t i = 0; i < pass.count; i++) {
        if (q->is_dead) // of a callback
            queue_worker_drop_entry(qw, &pass.found[i]);
        else
            leave(qw, q, &pass.found[i]);
    }
    mem_free(pass.found);
}

// Of the FIFO, if it is there. `at`: its level, in a queue with priorities.
static bool
punch(struct queue_worker *qw, struct queue *q, struct ready *r, struct level *at, uint64_t seq)
{
    struct ready_cursor place;
    if (!ready_find(r, seq, &place))
        return false;
    struct ready_entry e = place.chunk->entries[place.pos];
    ready_punch(r, &qw->ready_pools, &place);
    if (at != NULL)
        levels_removed(q->levels, at);
    leave(qw, q, &e);
    return true;
}

static void
expire(struct queue_worker *qw, struct queue *q, const struct expiry_due *due)
{
    if (is_moving(q, due->seq) || unacked_find(&q->unacked, due->seq) != NULL)
        return; // expiry_move_done, or expiry_came_back, brings it again
    struct level *at = q->levels != NULL ? levels_get(q->levels, due->level) : NULL;
    if (at != NULL ? punch(qw, q, &at->ready, at, due->seq) : punch(qw, q, &q->ready, NULL, due->seq))
        return;
    if (q->disk == NULL || !punch(qw, q, &q->disk->behind, NULL, due->seq))
        note_late(q->expiry, due->seq);
}

void
expiry_move_done(struct queue_worker *qw, struct queue *q, uint64_t first_seq, uint64_t last_seq)
{
    struct expiry_due d;
    if (q->expiry == NULL)
        return;
    for (uint64_t from = first_seq; expiry_index_each(&q->expiry->index, from, &d) && d.seq <= last_seq;
         from = d.seq + 1)
        if (unacked_find(&q->unacked, d.seq) == NULL)
            expiry_index_rearm(&q->expiry->index, d.seq);
    queue_deadline_set(qw, q, expiry_index_next(&q->expiry->index));
}

// --- the chain ---

struct expiry_chain *
expiry_chain_of(const struct queue *q)
{
    return &q->expiry->chain;
}

void
expiry_chain_look_soon(struct queue_worker *qw, struct queue *q, int64_t at_ms)
{
    struct expiry_chain *c = &q->expiry->chain;
    at_ms = LV_MAX(at_ms, INT64_C(1));
    if (c->look_ms == 0 || at_ms < c->look_ms)
        c->look_ms = at_ms;
    queue_deadline_set(qw, q, LV_MIN(c->look_ms, expiry_chain_next(c)));
}

void
expiry_chain_grew(struct queue_worker *qw, struct queue *q, const struct backlog_block *blocks, size_t count)
{
    int64_t at_ms = expiry_chain_look_of(blocks, count);
    // Without memory for it what is there leaves when the queue comes to it.
    if (LV_UNLIKELY(at_ms != DEADLINE_NONE) && expiry_get(qw, q) != NULL)
        expiry_chain_look_soon(qw, q, at_ms);
}

// --- the queue itself ---

static int64_t
unused_at(const struct queue *q)
{
    return q->expiry->used_ms + (int64_t)LV_MIN(q->rules->expires_ms, (uint64_t)EXPIRY_MAX_MS);
}

void
expiry_used_slow(struct queue_worker *qw, struct queue *q)
{
    // Without memory for it the next use makes it.
    if (q->rules->expires_ms == RULE_NONE || q->is_dead || expiry_get(qw, q) == NULL)
        return;
    q->expiry->used_ms = qw->w->now_ms;
    queue_deadline_set(qw, q, unused_at(q));
}

bool
expiry_is_unused(const struct queue_worker *qw, const struct queue *q)
{
    return q->expiry != NULL && q->rules != NULL && q->rules->expires_ms != RULE_NONE &&
           q->consumer_count == 0 && qw->w->now_ms >= unused_at(q);
}

static int64_t
unused_due(struct queue_worker *qw, struct queue *q)
{
    if (q->rules == NULL || q->rules->expires_ms == RULE_NONE || q->consumer_count > 0)
        return DEADLINE_NONE; // the last consumer that goes asks for it
    if (!expiry_is_unused(qw, q))
        return unused_at(q);
    log_info(LOG_QUEUE, "queue '%.*s' in vhost '%.*s': unused for %llu ms (x-expires): deleting it",
             SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), (unsigned long long)q->rules->expires_ms);
    qw->client->is_unused(qw->w, q->def);
    return qw->w->now_ms + UNUSED_RETRY_MS;
}

// The next one that is due, in memory or in the chain: in the order of their instants. False: none is.
static bool
expire_next(struct queue_worker *qw, struct queue *q, int64_t now_ms)
{
    struct expiry *x = q->expiry;
    struct expiry_due due;
    int64_t chain_ms = expiry_chain_next(&x->chain);
    if (chain_ms <= now_ms && chain_ms < expiry_index_next(&x->index))
        expiry_chain_expire(qw, q);
    else if (expiry_index_pop(&x->index, now_ms, &due))
        expire(qw, q, &due);
    else
        return false;
    return true;
}

int64_t
expiry_due(struct queue_worker *qw, struct queue *q, size_t *budget)
{
    struct expiry *x = q->expiry;
    if (x == NULL)
        return DEADLINE_NONE;
    int64_t now_ms = qw->w->now_ms, next = unused_due(qw, q);
    if (QUEUE_BUG(QUEUE_BUG_EXPIRE_EARLY))
        now_ms += 5;
    bool has_room = true;
    while (*budget > 0 && !q->is_dead && (has_room = dying_has_room(q)) && expire_next(qw, q, now_ms))
        (*budget)--;
    if (!q->is_dead)
        expiry_chain_settle(qw, q);
    if (!q->is_dead && has_room)
        take_late(qw, q, budget);
    if (q->is_dead)
        return DEADLINE_NONE;
    int64_t more = LV_MIN(expiry_index_next(&x->index), expiry_chain_next(&x->chain));
    if (x->late_count > 0)
        more = LV_MIN(more, LV_MAX(x->late_next_ms, now_ms + 1));
    next = LV_MIN(next, expiry_chain_look(qw, q));
    next = LV_MIN(next, has_room ? more : LV_MAX(more, now_ms + RETRY_WAIT_MS));
    queue_touch(qw, q);
    return next;
}
