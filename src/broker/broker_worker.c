// broker_worker.c: the broker's state on one worker: session table, clients, alarms, phases.
//
// Sessions are found by handle {worker, generation, index}: an answer that comes back for a session that has been closed finds
// the generation changed and is dropped by its receiver, who then gives back what it carried.
#include <stdlib.h>

#include "src/base/bug.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/dead_letter.h"
#include "src/broker/event.h"
#include "src/broker/session_impl.h"

// LIMIT: sessions of one worker; beyond it channels are refused.
enum { SESSIONS_MAX = 4 * 1024 * 1024 };

struct broker_worker *
broker_of(struct worker *w)
{
    struct broker_worker *b = w->broker_state;
    LV_ASSERT(b != NULL);
    LV_ON_WORKER(w);
    return b;
}

static int
slots_grow(struct broker_worker *b)
{
    uint32_t cap = b->slot_cap == 0 ? 64 : b->slot_cap * 2;
    if (cap > SESSIONS_MAX)
        return -LE_LIMIT;
    struct session_slot *slots = mem_realloc(b->slots, cap * sizeof(*slots));
    if (slots == NULL)
        return -LE_NOMEM;
    for (uint32_t i = b->slot_cap; i < cap; i++)
        slots[i] = (struct session_slot){.generation = 1, .next_free = i + 1 < cap ? i + 2 : 0};
    b->slots = slots;
    b->slot_free = b->slot_cap + 1;
    b->slot_cap = cap;
    return 0;
}

struct session *
session_open(struct client *c, uint16_t number, const struct session_events *events, void *ctx)
{
    struct broker_worker *b = c->broker;
    LV_ON_WORKER(b->worker);
    if (b->slot_free == 0 && slots_grow(b) != 0)
        return NULL;
    struct session *s = mem_calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    uint32_t index = b->slot_free - 1;
    struct session_slot *slot = &b->slots[index];
    b->slot_free = slot->next_free;
    slot->session = s;
    s->client = c;
    s->handle = handle_make((unsigned)b->worker->index, slot->generation, index);
    s->number = number;
    s->events = events;
    s->ctx = ctx;
    session_timeouts_init(&s->timeouts);
    s->prefetch = (uint16_t)LV_MIN(b->config.default_prefetch, UINT16_MAX);
    list_init(&s->node);
    list_init(&s->owing_node);
    list_init(&s->confirm_node);
    list_init(&s->settling_node);
    list_init(&s->consumer_list);
    list_init(&s->owing_consumers);
    list_init(&s->waiting);
    list_init(&s->tx.again_node);
    inttab_init(&s->consumers);
    inttab_init(&s->tags);
    list_push_back(&c->sessions, &s->node);
    event_channel(s, true);
    return s;
}

struct session *
session_by_handle(struct broker_worker *b, lv_handle h)
{
    uint32_t index = handle_index(h);
    if (index >= b->slot_cap)
        return NULL;
    struct session_slot *slot = &b->slots[index];
    return slot->session != NULL && slot->generation == handle_generation(h) ? slot->session : NULL;
}

// What it has counted goes to its vhost.
static void
session_counts_close(struct session *s)
{
    const struct client *c = s->client;
    s->stats.published_confirm = s->confirm.last;
    session_counts_add(&counters_vhost(&c->broker->counters, c->vhost_id, c->vhost)->closed, &s->stats);
}

void
session_close(struct session *s)
{
    struct broker_worker *b = s->client->broker;
    LV_ON_WORKER(b->worker);
    LV_ASSERT(!s->is_closed);
#ifdef LV_TEST_HOOKS
    if (LV_BUG(TX_ON_CLOSE))
        tx_commit_unasked(s);
#endif
    s->is_closed = true;
    samples_free(s->samples);
    s->samples = NULL;
    session_consumers_close(s);
    event_channel(s, false);
    session_counts_close(s);

    struct session_slot *slot = &b->slots[handle_index(s->handle)];
    LV_ASSERT(slot->session == s);
    slot->session = NULL;
    slot->generation = slot->generation == 0xffffff ? 1 : slot->generation + 1;
    slot->next_free = b->slot_free;
    b->slot_free = handle_index(s->handle) + 1;

    list_remove(&s->owing_node);
    list_remove(&s->confirm_node);
    list_remove(&s->node);
    session_give_back_and_free(s);
    session_timeouts_forget(s);
}

static void
session_free(struct session *s)
{
    confirm_free(s);
    tx_free(s);
    unacked_free(s);
    session_timeouts_fini(&s->timeouts);
    inttab_fini(&s->consumers);
    inttab_fini(&s->tags);
    mem_free(s->memo.route);
    mem_free(s->last_queue.bytes);
    mem_free(s->op_name.bytes);
    mem_free(s);
}

static bool
phase_read(struct worker *w, void *ctx)
{
    return session_settle_some(ctx);
}

static bool
phase_complete(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    struct list due;
    list_init(&due);
    list_splice_back(&due, &b->confirming);
    // An event handler may close the session it is told of, or another one: always take the first. What it publishes is for the
    // next turn.
    for (struct list *it; (it = list_pop_front(&due)) != NULL;)
        confirm_send(LV_CONTAINER_OF(it, struct session, confirm_node));
    return !list_is_empty(&b->confirming);
}

static bool
phase_reap(struct worker *w, void *ctx)
{
    struct broker_worker *b = ctx;
    for (struct list *it; (it = list_pop_front(&b->reaping)) != NULL;)
        session_free(LV_CONTAINER_OF(it, struct session, node));
    return !session_orphans_cancel(b);
}

static void
client_is_unused(struct worker *owner, const struct queue_def *def)
{
    topology_queue_unused(owner, def);
}

// On the worker that owns the queue, which need not be the session's.
static void
client_refused(struct worker *owner, const struct queue_def *def, const struct message *msg,
               enum queue_refusal why)
{
    struct slice exchange = message_exchange(msg);
    struct reason reason = {
        .kind = why == QUEUE_REFUSAL_GONE   ? REASON_DROP_QUEUE_GONE
                : why == QUEUE_REFUSAL_FULL ? REASON_NACK_QUEUE_FULL
                                            : REASON_NACK_NO_MEMORY,
        .object_kind = def != NULL ? "queue" : "exchange",
        .object = def != NULL        ? def->name
                  : exchange.len > 0 ? exchange
                                     : SLICE_LIT("amq.default"),
        .vhost = def != NULL ? def->vhost : SLICE_EMPTY,
    };
    reason_note(owner, &reason);
}

// Of messages that left their queue other than by an ack.
static void
client_died(struct worker *owner, const struct queue_def *def, const struct queue_rules *rules,
            enum death_reason why, enum death_fate fate, uint64_t count)
{
    static const enum reason_kind kinds[FATE_COUNT][DEATH_REASON_COUNT] = {
        [FATE_DROPPED] = {REASON_DROP_REJECTED, REASON_DROP_EXPIRED, REASON_DROP_MAXLEN,
                          REASON_DROP_DELIVERY_LIMIT},
        [FATE_DEAD_LETTERED] = {REASON_DEAD_LETTER_REJECTED, REASON_DEAD_LETTER_EXPIRED,
                                REASON_DEAD_LETTER_MAXLEN, REASON_DEAD_LETTER_DELIVERY_LIMIT},
        [FATE_LOST] = {REASON_DROP_DEAD_LETTER, REASON_DROP_DEAD_LETTER, REASON_DROP_DEAD_LETTER,
                       REASON_DROP_DEAD_LETTER},
    };
    struct reason reason = {
        .kind = kinds[fate][why],
        .object_kind = "queue",
        .object = def->name,
        .vhost = def->vhost,
    };
    LV_CLEANUP(buf_fini) struct buf text = BUF_INIT;
    if (rules->policy.len > 0) {
        buf_printf(&text, "%s (policy '%.*s')", reason_rule(reason.kind), SLICE_FMT(rules->policy));
        reason.text = text.failed ? SLICE_EMPTY : buf_slice(&text);
    }
    reasons_add(broker_of(owner)->reasons, owner, &reason, count);
}

static const struct queue_client queue_client_table = {
    .published = client_published,
    .deliver = client_deliver,
    .ready = client_ready,
    .unused = client_unused,
    .cancelled = client_cancelled,
    .timeout = client_timeout,
    .is_unused = client_is_unused,
    .dead = dead_letter_offer,
    .refused = client_refused,
    .died = client_died,
};

void
broker_worker_init(struct worker *w, const struct broker_config *config)
{
    struct broker_worker *b = mem_xcalloc(1, sizeof(*b));
    b->worker = w;
    b->config = *config;
    if (b->config.settle_turn == 0)
        b->config.settle_turn = SETTLE_TURN_DEFAULT;
    b->route = route_ctx_new();
    b->auth_cache = auth_cache_new();
    b->has_interceptors =
        config->set_timestamp != INTERCEPTOR_OFF || config->set_routing_node != INTERCEPTOR_OFF;
    b->reasons = reasons_new();
    LV_ASSERT(b->route != NULL && b->auth_cache != NULL && b->reasons != NULL);
    counters_init(&b->counters);
    rates_init(b);
    commits_init(b);
    loads_init(b);
    for (int i = 0; i < RATE_SCOPES && config->rate_number == 0; i++)
        b->config.rates[i] = rate_unlimited;
    list_init(&b->clients);
    inttab_init(&b->clients_by_id);
    list_init(&b->confirming);
    list_init(&b->settling);
    list_init(&b->reaping);
    list_init(&b->orphans);
    list_init(&b->dead_letters);
    w->broker_state = b;
    struct queue_worker_config queue_config = {
        .client = &queue_client_table,
        .durable = config->durable,
        .sample_ms = config->sample_ms,
    };
    queue_worker_init(w, &queue_config);
    timeout_watch_init(b);
    broker_sampler_init(b);
    worker_add_hook(w, PHASE_READ, phase_read, b);
    worker_add_hook(w, PHASE_COMPLETE, phase_complete, b);
    worker_add_hook(w, PHASE_REAP, phase_reap, b);
}

void
broker_worker_fini(struct worker *w)
{
    struct broker_worker *b = w->broker_state;
    if (b == NULL)
        return;
    for (struct list *it; (it = list_pop_front(&b->reaping)) != NULL;)
        session_free(LV_CONTAINER_OF(it, struct session, node));
    for (struct list *it; (it = list_pop_front(&b->orphans)) != NULL;)
        mem_free(LV_CONTAINER_OF(it, struct session_consumer, node));
    LV_ASSERT(list_is_empty(&b->clients));
    for (struct list *it; (it = list_pop_front(&b->settling)) != NULL;) {
        struct session *s = LV_CONTAINER_OF(it, struct session, settling_node);
        struct client *c = s->client;
        inttab_fini(&s->bulk.held);
        session_free(s);
        if (--c->jobs == 0)
            client_forget(c);
    }
    broker_sampler_fini(b);
    queue_worker_fini(w);
    dead_letters_end(w);
    rates_fini(b);
    commits_fini(b);
    loads_fini(b);
    counters_fini(&b->counters);
    reasons_free(b->reasons);
    timeout_watch_fini(b);
    inttab_fini(&b->clients_by_id);
    route_ctx_free(b->route);
    auth_cache_free(b->auth_cache);
    mem_free(b->slots);
    mem_free(b);
    w->broker_state = NULL;
}
