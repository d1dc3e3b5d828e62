// limit.c: see limit.h.
//
// Happy path of drop-head: a message comes in, the queue is one over its limit, its first message is buried. While consumers can take as many as are
// over, nothing is done: the queue is put into queue_worker.limited, and the dispatch looks again when it has served them. So it is with what is more
// than LIMIT_AT_ONCE, and with what has to be read first.
// Failure: without memory for a struct queue_limit the same is done, but only when something comes in, and nothing is said in the log.
#include "queue/limit.h"

#include "queue/durable.h"
#include "queue/dying.h"
#include "queue/queue_worker.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    LIMIT_A_TURN = 4096,    // LIMIT: messages that one dispatch drops
    LIMIT_FRONT_LOOKS = 64, // LIMIT: messages in front whose bodies are looked at for a publish
};
// LIMIT: one line a queue and rule in this time.
#define LOG_EVERY_NS (UINT64_C(60) * 1000 * 1000 * 1000)

// --- how full it is ---

static bool
is_over(const struct queue *q)
{
    return queue_ready_count(q) > q->rules->max_length || q->ready_sum.bytes > q->rules->max_length_bytes;
}

// What one consumer can take now, of messages of `size` bytes.
static uint64_t
room_of(const struct consumer *c, uint64_t size)
{
    uint64_t room = LV_MIN((uint64_t)c->window_count, (uint64_t)c->window_bytes / size + 1);
    if ((c->flags & CONSUMER_SHARED_LIMIT) != 0)
        return LV_MIN(room, (uint64_t)LV_MAX(c->grant, 1u)); // one that is to be asked: perhaps one
    if (c->prefetch > 0 && (c->flags & CONSUMER_NO_ACK) == 0)
        room = LV_MIN(room, (uint64_t)(c->prefetch - c->unacked));
    return room;
}

// How many messages the consumers that wait can take; `enough` and more are as good.
static uint64_t
consumers_take(const struct queue *q, uint64_t enough)
{
    uint64_t count = queue_ready_count(q), room = 0;
    if (q->holds > 0 || count == 0)
        return 0;
    uint64_t size = q->ready_sum.bytes / count + sizeof(struct message);
    for (const struct consumer_group *g = q->top; g != NULL; g = g->next) {
        const struct list *lists[] = {&g->active, &g->askable};
        for (size_t i = 0; i < LV_ARRAY_LEN(lists); i++) {
            LV_LIST_EACH (it, lists[i]) {
                room += room_of(LV_CONTAINER_OF(it, struct consumer, run), size);
                if (room >= enough)
                    return room;
            }
        }
    }
    return room;
}

// --- the log ---

static void
say(const struct queue *q, const struct limit_count *c, uint64_t count)
{
    const struct queue_rules *r = q->rules;
    bool is_count = queue_ready_count(q) >= r->max_length, has_policy = r->policy.len > 0;
    log_info(LOG_QUEUE, "queue '%.*s' in vhost '%.*s': %s of %llu%s%.*s%s is reached: %llu %s",
             SLICE_FMT(q->def->name), SLICE_FMT(q->def->vhost), is_count ? "max-length" : "max-length-bytes",
             (unsigned long long)(is_count ? r->max_length : r->max_length_bytes),
             has_policy ? " (policy '" : "", SLICE_FMT(r->policy), has_policy ? "')" : "",
             (unsigned long long)count,
             c == &q->limit->refused ? "messages refused (reject-publish)"
                                     : "messages dropped from the head (drop-head)");
}

// Counts them; says so now and then.
static void
count_them(struct queue_worker *qw, const struct queue *q, struct limit_count *c, uint64_t count)
{
    uint64_t now = LV_MAX(qw->w->now_ns, UINT64_C(1));
    c->count += count;
    if (c->logged_ns != 0 && now - c->logged_ns < LOG_EVERY_NS)
        return;
    say(q, c, c->count - c->logged);
    c->logged = c->count;
    c->logged_ns = now;
}

// --- reject-publish ---

// Bytes of the bodies of the first messages that are in memory.
static uint64_t
front_bytes(const struct queue *q, uint64_t count)
{
    struct ready_cursor at = {0};
    uint64_t bytes = 0;
    const struct level *top = q->levels != NULL ? q->levels->top : NULL;
    const struct ready *r = top != NULL ? &top->ready : &q->ready;
    for (const struct ready_entry *e; count > 0 && (e = ready_next(r, &at)) != NULL; count--)
        bytes += e->body_len;
    return bytes;
}

bool
limit_is_refusing(const struct queue *q, uint32_t body_len)
{
    const struct queue_rules *r = q->rules;
    if (r == NULL || r->overflow == OVERFLOW_DROP_HEAD)
        return false;
    uint64_t count = queue_ready_count(q), bytes = q->ready_sum.bytes;
    uint64_t held = q->limit != NULL ? q->limit->held : 0, held_bytes = held > 0 ? q->limit->held_bytes : 0;
    if (count + held < r->max_length && bytes + held_bytes + body_len <= r->max_length_bytes)
        return false;
    uint64_t taken = LV_MIN(consumers_take(q, count), count);
    bytes -= taken == count ? bytes : front_bytes(q, LV_MIN(taken, (uint64_t)LIMIT_FRONT_LOOKS));
    return count - taken + held + 1 > r->max_length || bytes + held_bytes + body_len > r->max_length_bytes;
}

bool
limit_refuses_tx(struct queue_worker *qw, struct queue *q, const struct message *msg)
{
    bool is_full = limit_is_refusing(q, msg->body_len);
    if (is_full && q->limit != NULL)
        count_them(qw, q, &q->limit->refused, 1);
    return is_full;
}

bool
limit_refuses(struct queue_worker *qw, struct queue *q, struct message *msg)
{
    if (LV_LIKELY(!limit_refuses_tx(qw, q, msg)))
        return false;
    if (q->rules->overflow != OVERFLOW_REJECT_PUBLISH_DLX)
        return true;
    // It never was in the queue, so nothing of it is written: if the process dies on its way to the dead-letter exchange it is lost. Its publisher
    // knows that it was refused.
    struct ready_entry e = {
        .seq = q->next_seq++,
        .msg = message_ref(msg),
        .body_len = msg->body_len,
        .count_flags = (msg->flags & MESSAGE_PERSISTENT) != 0 ? READY_PERSISTENT : 0,
    };
    queue_worker_add_bytes(qw, message_weight(msg));
    queue_bury_entry(qw, q, &e, DEATH_MAXLEN);
    return true;
}

// --- drop-head ---

enum trim { TRIM_DONE, TRIM_MORE, TRIM_WAITS };

// The front is in the chain of backlog files. TRIM_DONE: that was done.
static enum trim
drop_from_chain(struct queue_worker *qw, struct queue *q, uint64_t *dropped)
{
    const struct queue_rules *r = q->rules;
    uint64_t count = queue_ready_count(q);
    struct durable_excess excess = {
        .count = count > r->max_length ? count - r->max_length : 0,
        .bytes = q->ready_sum.bytes > r->max_length_bytes ? q->ready_sum.bytes - r->max_length_bytes : 0,
    };
    uint64_t skipped = dying_is_wanted(qw, q) ? 0 : durable_skip_block(qw, q, &excess);
    *dropped += skipped;
    for (uint64_t i = 0; i < skipped; i++)
        dying_count_dropped(qw, q, DEATH_MAXLEN);
    return skipped > 0 || durable_load(qw, q) == NEXT_HERE ? TRIM_DONE : TRIM_WAITS;
}

// Of a queue with priorities the oldest of the lowest level: what matters most is lost last.
static struct ready_entry
take_head(struct queue_worker *qw, struct queue *q)
{
    struct level *lowest = q->levels != NULL ? levels_lowest(q->levels) : NULL;
    struct ready_entry e = lowest != NULL ? *ready_peek(&lowest->ready) : *queue_front(q);
    if (lowest == NULL) {
        queue_pop_front(qw, q);
        return e;
    }
    ready_pop(&lowest->ready, &qw->ready_pools);
    levels_removed(q->levels, lowest);
    return e;
}

static void
drop_head(struct queue_worker *qw, struct queue *q)
{
    struct ready_entry e = take_head(qw, q);
    const struct message *msg = ready_entry_message(&e);
    q->ready_sum.bytes -= e.body_len;
    q->ready_sum.weight -= msg != NULL ? message_weight(msg) : 0;
    q->ready_sum.persistent -= ready_entry_is(&e, READY_PERSISTENT);
    queue_bury_entry(qw, q, &e, DEATH_MAXLEN);
}

// Whether all that is over the limit can be taken by consumers.
static bool
is_for_consumers(const struct queue *q)
{
    uint64_t count = queue_ready_count(q), max = q->rules->max_length;
    bool is_bytes = q->ready_sum.bytes > q->rules->max_length_bytes;
    uint64_t over = is_bytes ? count : count - LV_MIN(count, max);
    return consumers_take(q, over) >= over;
}

// Drops until the queue is within its limit; *budget goes down. is_offered: consumers have what they can take first.
static enum trim
trim(struct queue_worker *qw, struct queue *q, bool is_offered, size_t *budget)
{
    uint64_t dropped = 0;
    enum trim result = TRIM_DONE;
    while (result == TRIM_DONE && !q->is_dead && is_over(q)) {
        if (*budget == 0) {
            result = TRIM_MORE;
        } else if ((is_offered && is_for_consumers(q)) || !dying_has_room(q)) {
            result = TRIM_WAITS;
        } else if (queue_front(q) == NULL) {
            (*budget)--;
            result = drop_from_chain(qw, q, &dropped);
        } else {
            (*budget)--;
            drop_head(qw, q);
            dropped++;
        }
    }
    if (dropped > 0 && !q->is_dead && q->limit != NULL)
        count_them(qw, q, &q->limit->dropped, dropped);
    return result;
}

static void
look_later(struct queue_worker *qw, struct queue *q)
{
    if (q->limit == NULL || list_is_linked(&q->limit->node))
        return;
    list_push_back(&qw->limited, &q->limit->node);
    if (qw->dispatched_turn == qw->w->turn)
        worker_keep_awake(qw->w); // this turn's dispatch is over
}

static bool
is_to_trim(const struct queue *q)
{
    return q->rules->overflow == OVERFLOW_DROP_HEAD && is_over(q);
}

void
limit_entered(struct queue_worker *qw, struct queue *q)
{
    if (LV_LIKELY(!is_to_trim(q)))
        return;
    size_t budget = LIMIT_AT_ONCE;
    queue_enter(q);
    if (trim(qw, q, true, &budget) != TRIM_DONE)
        look_later(qw, q);
    queue_leave(qw, q);
}

void
limit_returned(struct queue_worker *qw, struct queue *q)
{
    if (!is_to_trim(q))
        return;
    size_t budget = LIMIT_AT_ONCE;
    // In the midst of what comes back in parts nobody knows which is the oldest.
    if (q->holds > 0 || trim(qw, q, false, &budget) != TRIM_DONE)
        look_later(qw, q);
}

bool
limit_step(struct queue_worker *qw)
{
    struct list again;
    size_t budget = LIMIT_A_TURN;
    bool has_more = false;
    list_init(&again);
    if (qw->durable != NULL && qw->durable->is_ending)
        return false; // nothing is written any more, nor read
    for (struct list *at; budget > 0 && (at = list_pop_front(&qw->limited)) != NULL;) {
        struct queue_limit *limit = LV_CONTAINER_OF(at, struct queue_limit, node);
        struct queue *q = limit->queue;
        if (q->is_dead || !limit_is_set(q->rules) || !is_to_trim(q))
            continue;
        queue_enter(q);
        enum trim result = q->holds > 0 ? TRIM_WAITS : trim(qw, q, true, &budget);
        has_more |= result == TRIM_MORE;
        if (result != TRIM_DONE && !q->is_dead && !list_is_linked(&limit->node))
            list_push_back(&again, &limit->node);
        queue_touch(qw, q);
        queue_leave(qw, q);
    }
    has_more |= !list_is_empty(&qw->limited); // no turn for them
    list_splice_back(&qw->limited, &again);
    return has_more;
}

// --- its life ---

void
limit_rules_changed(struct queue_worker *qw, struct queue *q)
{
    if (!limit_is_set(q->rules))
        return;
    if (q->limit == NULL && (q->limit = mem_calloc(1, sizeof(*q->limit))) != NULL) {
        list_init(&q->limit->node);
        q->limit->queue = q;
    }
    look_later(qw, q);
}

void
limit_fini(struct queue *q)
{
    if (q->limit == NULL)
        return;
    list_remove(&q->limit->node);
    mem_free(q->limit);
    q->limit = NULL;
}
