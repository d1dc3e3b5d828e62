// consumer.c: groups by priority, and the moves of a consumer between being active, being askable and being
// blocked.
//
// All lists are changed before the client is called; after a call nothing of the consumer is touched any
// more, because the client may have cancelled it.
#include "queue/consumer.h"

#include "queue/expiry.h"
#include "queue/queue_worker.h"
#include "src/base/err.h"

static bool
group_has_turn(const struct consumer_group *g)
{
    return !list_is_empty(&g->active) || !list_is_empty(&g->askable) || g->asking > 0;
}

// Keeps queue->top the highest group that is not blocked.
static void
group_changed(struct queue *q, struct consumer_group *g)
{
    if (group_has_turn(g)) {
        if (q->top == NULL || g->priority > q->top->priority)
            q->top = g;
    } else if (q->top == g) {
        do
            g = g->next;
        while (g != NULL && !group_has_turn(g));
        q->top = g;
    }
}

// The group of a priority, made when it is not there; NULL when out of memory.
static struct consumer_group *
group_get(struct queue_worker *qw, struct queue *q, int32_t priority)
{
    struct consumer_group **at = &q->groups;
    while (*at != NULL && (*at)->priority > priority)
        at = &(*at)->next;
    if (*at != NULL && (*at)->priority == priority)
        return *at;
    struct consumer_group *g = pool_take(&qw->group_pool);
    if (g == NULL)
        return NULL;
    *g = (struct consumer_group){.next = *at, .priority = priority};
    list_init(&g->active);
    list_init(&g->askable);
    *at = g;
    return g;
}

static void
group_release(struct queue_worker *qw, struct queue *q, struct consumer_group *g)
{
    LV_ASSERT(g->count == 0 && g->asking == 0 && q->top != g);
    struct consumer_group **at = &q->groups;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    pool_give(&qw->group_pool, g);
}

static bool
has_prefetch_limit(const struct consumer *c)
{
    return c->prefetch > 0 && (c->flags & (CONSUMER_NO_ACK | CONSUMER_SHARED_LIMIT)) == 0;
}

static bool
has_room(const struct consumer *c)
{
    return !c->is_standby && c->window_count > 0 && c->window_bytes > 0 &&
           !(has_prefetch_limit(c) && c->unacked >= c->prefetch);
}

// Puts it into the list where it belongs.
static void
relist(struct queue *q, struct consumer *c)
{
    struct consumer_group *g = c->group;
    bool is_shared = (c->flags & CONSUMER_SHARED_LIMIT) != 0;
    bool room = has_room(c);
    bool is_active = room && (!is_shared || c->grant > 0);
    bool is_askable = room && is_shared && c->grant == 0 && !c->is_asked && !c->is_refused;
    if (list_is_linked(&c->run)) {
        if (c->is_active_listed ? is_active : is_askable)
            return;
        list_remove(&c->run);
    }
    if (is_active || is_askable) {
        list_push_back(is_active ? &g->active : &g->askable, &c->run);
        c->is_active_listed = is_active;
    }
    group_changed(q, g);
}

// Takes what it holds of the shared limit; the lists are to be set right afterwards.
static uint32_t
take_grant(struct queue *q, struct consumer *c)
{
    uint32_t count = c->grant;
    if (count == 0)
        return 0;
    LV_ASSERT(q->offers >= count);
    q->offers -= count;
    c->grant = 0;
    list_remove(&c->granted);
    return count;
}

void
consumer_update(struct queue_worker *qw, struct consumer *c)
{
    uint32_t unused = has_room(c) ? 0 : take_grant(c->queue, c);
    relist(c->queue, c);
    if (unused > 0)
        notify_unused(qw, c->session, c->consumer_id, unused);
}

void
consumer_return_grant(struct queue_worker *qw, struct consumer *c)
{
    uint32_t unused = take_grant(c->queue, c);
    relist(c->queue, c);
    if (unused > 0)
        notify_unused(qw, c->session, c->consumer_id, unused);
}

void
consumer_change_shared(struct queue_worker *qw, struct consumer *c, bool is_shared)
{
    struct queue *q = c->queue;
    uint32_t unused = is_shared ? 0 : take_grant(q, c);
    if (!is_shared && c->is_asked) { // the answer will find no limit and change nothing
        c->is_asked = false;
        c->group->asking--;
        q->offers--;
    }
    c->is_refused = false;
    c->flags =
        is_shared ? c->flags | (unsigned)CONSUMER_SHARED_LIMIT : c->flags & ~(unsigned)CONSUMER_SHARED_LIMIT;
    relist(q, c);
    if (unused > 0)
        notify_unused(qw, c->session, c->consumer_id, unused);
}

void
consumer_ask(struct queue_worker *qw, struct consumer *c)
{
    LV_ASSERT(!c->is_asked && c->grant == 0 && (c->flags & CONSUMER_SHARED_LIMIT) != 0);
    c->is_asked = true;
    c->group->asking++;
    c->queue->offers++;
    relist(c->queue, c);
    notify_ready(qw, c);
}

void
consumer_sent(struct queue_worker *qw, struct consumer *c, const struct message *msg)
{
    LV_ASSERT_HOT(has_room(c));
    c->window_count--;
    c->window_bytes -= (int64_t)message_weight(msg);
    if ((c->flags & CONSUMER_NO_ACK) == 0)
        c->unacked++;
    if ((c->flags & CONSUMER_SHARED_LIMIT) != 0) {
        LV_ASSERT(c->grant > 0 && c->queue->offers > 0);
        c->queue->offers--;
        if (--c->grant == 0)
            list_remove(&c->granted);
    }
    list_remove(&c->run); // to the end of its list, if it stays in it
    list_push_back(&c->group->active, &c->run);
    consumer_update(qw, c);
}

static void
init_consumer(struct consumer *c, struct queue *q, const struct queue_request *r)
{
    *c = (struct consumer){
        .queue = q,
        .session = r->session,
        .consumer_id = r->consumer_id,
        .flags = r->consumer_flags,
        .prefetch = r->prefetch,
        .window_count = r->window_count,
        .window_bytes = r->window_bytes,
    };
    list_init(&c->run);
    list_init(&c->all);
    list_init(&c->granted);
    // The first to come is the active one.
    c->is_standby = (q->def->flags & QUEUE_SINGLE_ACTIVE) != 0 && q->consumer_count > 0;
}

int
consumer_add(struct queue_worker *qw, struct queue *q, const struct queue_request *r,
             struct consumer **ret_consumer)
{
    struct consumer *c = pool_take(&qw->consumer_pool);
    if (c == NULL)
        return -LE_NOMEM;
    init_consumer(c, q, r);
    int rc = handle_numbers_take(&qw->consumer_numbers, (unsigned)qw->w->index, &c->handle);
    if (rc < 0)
        goto no_number;
    rc = handle_slots_reserve(&qw->consumers, c->handle);
    if (rc < 0)
        goto no_group;
    c->group = group_get(qw, q, r->priority);
    if (c->group == NULL) {
        rc = -LE_NOMEM;
        goto no_group;
    }
    handle_slots_put(&qw->consumers, c->handle, c);
    list_push_back(&q->consumers, &c->all);
    c->group->count++;
    q->consumer_count++;
    q->has_exclusive = (c->flags & CONSUMER_EXCLUSIVE) != 0;
    relist(q, c);
    *ret_consumer = c;
    return 0;
no_group:
    handle_numbers_give(&qw->consumer_numbers, c->handle);
no_number:
    pool_give(&qw->consumer_pool, c);
    return rc;
}

// One of those that stand by takes over. PROTOCOL: as in RabbitMQ 3.10: the first to come; in classic queues the first of the highest priority.
static void
promote_next(struct queue *q)
{
    struct consumer *next = NULL;
    LV_LIST_EACH (it, &q->consumers) {
        struct consumer *c = LV_CONTAINER_OF(it, struct consumer, all);
        bool is_better =
            q->def->type != QUEUE_QUORUM && next != NULL && c->group->priority > next->group->priority;
        if (next == NULL || is_better)
            next = c;
    }
    if (next == NULL)
        return;
    next->is_standby = false;
    relist(q, next);
}

void
consumer_remove(struct queue_worker *qw, struct consumer *c)
{
    struct queue *q = c->queue;
    struct consumer_group *g = c->group;
    lv_handle session = c->session;
    uint32_t consumer_id = c->consumer_id;
    uint32_t unused = take_grant(q, c);
    bool was_active = !c->is_standby;
    if (c->is_asked) {
        g->asking--;
        q->offers--;
    }
    list_remove(&c->run);
    list_remove(&c->all);
    g->count--;
    q->consumer_count--;
    q->has_exclusive = false;
    group_changed(q, g);
    if (g->count == 0)
        group_release(qw, q, g);
    handle_slots_remove(&qw->consumers, c->handle);
    handle_numbers_give(&qw->consumer_numbers, c->handle);
    pool_give(&qw->consumer_pool, c);
    if (was_active && (q->def->flags & QUEUE_SINGLE_ACTIVE) != 0)
        promote_next(q);
    if (q->consumer_count == 0)
        expiry_used(qw, q);
    if (unused > 0)
        notify_unused(qw, session, consumer_id, unused);
}
