// dead_letter.c: see dead_letter.h.
//
// Happy path: the exchange is looked up by name in the adopted topology, the dead letter is made (death.h), routed through bindings and alternate
// exchanges, queues where it died before are left out, and each worker gets one operation with all of its queues. When all have answered the source hears
// of it. At least once: one operation for each queue, so that it is known which of them have it; another try goes to the others alone.
//
// A queue that goes away meanwhile counts as having taken the message, as for every publish.
#include "src/broker/dead_letter.h"

#include "amqp/wire/props.h"
#include "src/base/mem.h"
#include "src/broker/death.h"
#include "src/broker/delay.h"
#include "src/broker/session_impl.h"

// One operation that was sent.
struct dead_call {
    struct dead_pending *pending;
    uint64_t target; // id of the one queue it went to; 0: to several
};

// A dead letter under way.
struct dead_pending {
    struct list node; // broker_worker.dead_letters
    lv_handle queue;  // its source
    uint64_t seq;
    unsigned left;            // calls that have not answered; and one while they are made
    bool is_refused;          // by any
    struct dead_targets *had; // at least once; with room for all that may be added
    struct dead_call calls[];
};

struct target {
    lv_handle handle;
    uint64_t id;
    bool is_delay; // of a delayed exchange: it gets the message with the delay
};

// Where it goes. All copied: who is called while it is sent may change what there is.
struct targets {
    struct target *items;
    size_t count;
    bool has_cycle;         // one was left out because the message died there
    size_t had;             // so many were left out because they have it
    struct message *parked; // the letter for those of delayed exchanges; NULL: it has no delay
};

// --- answers ---

static void
count_open(struct broker_worker *b, uint64_t added)
{
    uint64_t now = atomic_load_explicit(&b->dead_letter_count, memory_order_relaxed);
    atomic_store_explicit(&b->dead_letter_count, now + added, memory_order_relaxed);
}

uint64_t
dead_letters_open(const struct worker *w)
{
    const struct broker_worker *b = w->broker_state;
    return atomic_load_explicit(&b->dead_letter_count, memory_order_relaxed);
}

static void
pending_done(struct dead_pending *p)
{
    if (--p->left > 0)
        return;
    list_remove(&p->node);
    count_open(broker_of(worker_self), UINT64_MAX);
    queue_dead_done(p->queue, p->seq, p->is_refused ? DEAD_REFUSED : DEAD_TAKEN, p->had);
    mem_free(p);
}

void
dead_letter_published(struct worker *w, uint64_t number, unsigned refused)
{
    struct dead_call *call = (struct dead_call *)(uintptr_t)number;
    struct dead_pending *p = call->pending;
    if (refused > 0)
        p->is_refused = true;
    else if (p->had != NULL)
        p->had->ids[p->had->count++] = call->target;
    pending_done(p);
}

void
dead_letters_end(struct worker *w)
{
    struct broker_worker *b = w->broker_state;
    for (struct list *it; (it = list_pop_front(&b->dead_letters)) != NULL;) {
        struct dead_pending *p = LV_CONTAINER_OF(it, struct dead_pending, node);
        mem_free(p->had);
        mem_free(p);
    }
}

// --- sending ---

static struct dead_pending *
pending_new(struct broker_worker *b, const struct dead_letter *d, const struct targets *t)
{
    struct dead_pending *p = mem_alloc(sizeof(*p) + t->count * sizeof(p->calls[0]));
    if (p == NULL)
        return NULL;
    *p = (struct dead_pending){.queue = d->queue, .seq = d->seq, .left = 1};
    if (queue_rules_dead_at_least_once(d->rules)) {
        size_t had = d->had != NULL ? d->had->count : 0;
        p->had = mem_alloc(sizeof(*p->had) + (had + t->count) * sizeof(p->had->ids[0]));
        if (p->had == NULL) {
            mem_free(p);
            return NULL;
        }
        p->had->count = had;
        if (had > 0)
            memcpy(p->had->ids, d->had->ids, had * sizeof(p->had->ids[0]));
    }
    list_init(&p->node);
    list_push_back(&b->dead_letters, &p->node);
    count_open(b, 1);
    return p;
}

// One operation for the queues of one worker that follow each other; at least once: for one queue.
static size_t
send_some(struct dead_pending *p, struct dead_call *call, struct message *letter,
          const struct target *targets, size_t count)
{
    lv_handle few[64];
    size_t n = 1, most = p->had != NULL ? 1 : LV_ARRAY_LEN(few);
    few[0] = targets[0].handle;
    for (; n < count && n < most && handle_worker(targets[n].handle) == handle_worker(few[0]) &&
           targets[n].is_delay == targets[0].is_delay;
         n++)
        few[n] = targets[n].handle;
    *call = (struct dead_call){.pending = p, .target = p->had != NULL ? targets[0].id : 0};
    p->left++;
    queue_publish(letter, few, (unsigned)n, dead_letter_asker(worker_self), (uint64_t)(uintptr_t)call);
    return n;
}

static bool
send_all(struct broker_worker *b, const struct dead_letter *d, const struct targets *t,
         struct message *letter)
{
    struct dead_pending *p = pending_new(b, d, t);
    if (p == NULL)
        return false;
    size_t calls = 0;
    for (size_t i = 0; i < t->count;)
        i += send_some(p, &p->calls[calls++], t->items[i].is_delay ? t->parked : letter, t->items + i,
                       t->count - i);
    pending_done(p);
    return true;
}

// --- routing ---

static bool
has_had(const struct dead_targets *had, uint64_t id)
{
    for (size_t i = 0; had != NULL && i < had->count; i++)
        if (had->ids[i] == id)
            return true;
    return false;
}

// Of what the exchange leads to, those that are to get it. False: no memory.
static bool
choose(const struct dead_letter *d, struct slice headers, const struct route_result *route,
       struct targets *ret)
{
    struct death_trail trail = {0};
    // A rejection is somebody's decision: it never makes a circle.
    if (d->reason != DEATH_REJECTED && !d->rules->is_delay && !death_trail_init(&trail, headers))
        return false;
    ret->items = mem_alloc((route->count + 1) * sizeof(*ret->items));
    for (size_t i = 0; ret->items != NULL && i < route->count; i++) {
        const struct queue_def *def = route->queues[i];
        if (death_trail_has(&trail, def->name))
            ret->has_cycle = true;
        else if (has_had(d->had, def->id))
            ret->had++;
        else
            ret->items[ret->count++] = (struct target){def->handle, def->id, (def->flags & QUEUE_DELAY) != 0};
    }
    death_trail_fini(&trail);
    return ret->items != NULL;
}

static bool
find_targets(struct broker_worker *b, const struct vhost *v, const struct exchange *x,
             const struct dead_letter *d, struct message *letter, struct targets *ret)
{
    struct amqp_basic_props props;
    struct publish_keys keys;
    struct route_result route = {0};
    struct fault ignored;
    // What was delayed is routed by what it was published with: BCC is in that alone.
    const struct message *routed = d->rules->is_delay ? d->msg : letter;
    if (amqp_props_decode_trusted(message_properties(routed), &props) != 0)
        return false;
    // Its own key alone when one was set for it, and when its headers are none that a publish would have been let in with.
    if (d->rules->has_dead_key || !publish_keys_of(routed, props.headers, &keys, &ignored)) {
        keys.keys[0] = message_routing_key(routed);
        keys.count = 1;
    }
    struct route_graph graph = vhost_route_graph(v);
    uint32_t delay_ms = d->rules->is_delay || v->delay_queues.count == 0 ? 0 : delay_of(props.headers);
    struct route_request request = {.exchange = x,
                                    .keys = keys.keys,
                                    .key_count = keys.count,
                                    .headers = props.headers,
                                    .props = &props,
                                    .is_delayed = delay_ms > 0};
    if (route_resolve(b->route, &graph, &request, &route) != 0 || !choose(d, props.headers, &route, ret))
        return false;
    return delay_ms == 0 || (ret->parked = delay_parked(letter, delay_ms)) != NULL;
}

static unsigned
answer_at_once(const struct dead_letter *d, enum dead_outcome outcome)
{
    struct dead_targets *had = NULL;
    size_t bytes = d->had != NULL ? sizeof(*had) + d->had->count * sizeof(had->ids[0]) : 0;
    if (bytes > 0 && (had = mem_alloc(bytes)) != NULL)
        memcpy(had, d->had, bytes); // without memory it goes to them once more
    queue_dead_done(d->queue, d->seq, outcome, had);
    return 1;
}

unsigned
dead_letter_offer(struct worker *owner, const struct dead_letter *d)
{
    struct broker_worker *b = broker_of(owner);
    const struct vhost *v = topology_vhost(topology_of(owner), d->def->vhost);
    const struct exchange *x = v != NULL ? vhost_exchange(v, d->rules->dead_exchange) : NULL;
    if (x == NULL)
        return answer_at_once(d, d->rules->is_delay ? DEAD_TAKEN : DEAD_NO_EXCHANGE);
    struct death death = {.queue = d->def->name,
                          .reason = d->reason,
                          .time_s = d->died_ms / 1000,
                          .exchange = d->rules->dead_exchange,
                          .key = d->rules->has_dead_key ? &d->rules->dead_key : NULL};
    struct message *letter = d->rules->is_delay ? delay_released(d->msg) : death_message(d->msg, &death);
    struct targets t = {0};
    enum dead_outcome outcome = DEAD_NO_MEMORY;
    size_t cost = 1;
    if (letter != NULL && find_targets(b, v, x, d, letter, &t)) {
        cost += t.count;
        letter->published_ms = owner->now_ms;
        if (t.count == 0 && d->rules->is_delay)
            outcome = DEAD_TAKEN; // nobody wants it: as if it was published now
        else if (t.count == 0)
            outcome = t.had > 0 ? DEAD_TAKEN : t.has_cycle ? DEAD_CYCLE : DEAD_NO_ROUTE;
        else if (send_all(b, d, &t, letter))
            outcome = DEAD_OUTCOME_COUNT; // it is answered when they have answered
    }
    mem_free(t.items);
    message_unref(t.parked);
    message_unref(letter);
    if (outcome != DEAD_OUTCOME_COUNT)
        answer_at_once(d, outcome);
    return (unsigned)LV_MIN(cost, (size_t)UINT32_MAX);
}
