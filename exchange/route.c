// route.c: see route.h.
//
// Most messages go to one queue by one key through a direct (or the default) exchange: that needs one lookup
// and none of the machinery. All others:
//   1. A list of exchanges to visit starts with the one published to; `seen` holds all that were ever put on
//      it.
//   2. Of each exchange the bindings that match any of the keys are collected. Queues go to the result unless
//      their slot carries this message's stamp; exchanges go on the list. When there is none at all, the
//      alternate exchange does. (RabbitMQ 3.10.8 does the same: rabbit_exchange:route1. A binding to an
//      exchange counts as a match, also when that exchange has been visited or leads nowhere.)
//   3. At the end the queues are sorted by owner.
// Fanout and headers exchanges do not look at keys and are asked once; those that pick one binding hash the
// first key, whatever there is in CC and BCC. The default exchange has no bindings: a key is the name of a
// queue.
#include "exchange/route.h"

#include "exchange/router_impl.h"
#include "src/base/mem.h"

// LIMIT: queues are numbered densely; a slot beyond this is a fault elsewhere and must not become an
// allocation.
#define SLOT_MAX (UINT32_C(1) << 27)

enum { STAMPS_CAP_FIRST = 1024, GROUP_INSERTION_MAX = 16, WORKERS_MAX = 256 };

struct route_ctx {
    struct router_scratch *scratch;
    struct binding_set found;     // of the exchange at hand
    struct stamps seen;           // exchange ids
    bool is_for_one;              // an exchange was visited that looks at more than keys
    const struct exchange **work; // exchanges to visit
    size_t work_count, work_cap;
    const struct queue_def **queues; // the result
    const struct queue_def **sorted; // room for as many: the result in order of owners
    size_t queue_count, queue_cap;
    uint32_t *slots; // message number by queue slot: those that have it are in the result
    size_t slots_cap;
    uint32_t number;                // of this message; 0 is never used
    const struct queue_def *single; // the result of the short way
};

struct route_ctx *
route_ctx_new(void)
{
    struct route_ctx *c = mem_calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    stamps_init(&c->seen);
    c->scratch = router_scratch_new();
    if (c->scratch == NULL) {
        mem_free(c);
        return NULL;
    }
    return c;
}

void
route_ctx_free(struct route_ctx *c)
{
    if (c == NULL)
        return;
    router_scratch_free(c->scratch);
    binding_set_fini(&c->found);
    stamps_fini(&c->seen);
    mem_free((void *)c->work);
    mem_free((void *)c->queues);
    mem_free((void *)c->sorted);
    mem_free(c->slots);
    mem_free(c);
}

// --- queues ---

static int
slots_grow(struct route_ctx *c, uint32_t slot)
{
    if (slot >= SLOT_MAX)
        return -LE_NOMEM;
    size_t cap = LV_MAX(c->slots_cap, (size_t)STAMPS_CAP_FIRST);
    while (cap <= slot)
        cap *= 2;
    uint32_t *slots = mem_realloc(c->slots, cap * sizeof *slots);
    if (slots == NULL)
        return -LE_NOMEM;
    memset(slots + c->slots_cap, 0, (cap - c->slots_cap) * sizeof *slots);
    c->slots = slots;
    c->slots_cap = cap;
    return 0;
}

static int
queues_grow(struct route_ctx *c)
{
    size_t cap = LV_MAX(c->queue_cap * 2, (size_t)16);
    const struct queue_def **queues = mem_realloc((void *)c->queues, cap * sizeof *queues);
    if (queues == NULL)
        return -LE_NOMEM;
    c->queues = queues;
    const struct queue_def **sorted = mem_realloc((void *)c->sorted, cap * sizeof *sorted);
    if (sorted == NULL)
        return -LE_NOMEM;
    c->sorted = sorted;
    c->queue_cap = cap;
    return 0;
}

static int
add_queue(struct route_ctx *c, const struct queue_def *queue)
{
    int r = LV_LIKELY(queue->slot < c->slots_cap) ? 0 : slots_grow(c, queue->slot);
    if (r == 0 && c->queue_count == c->queue_cap)
        r = queues_grow(c);
    if (r < 0 || c->slots[queue->slot] == c->number)
        return r;
    c->slots[queue->slot] = c->number;
    c->queues[c->queue_count++] = queue;
    return 0;
}

static void
number_next(struct route_ctx *c)
{
    if (++c->number != 0)
        return;
    if (c->slots_cap != 0)
        memset(c->slots, 0, c->slots_cap * sizeof *c->slots);
    c->number = 1;
}

static void
sort_by_insertion(const struct queue_def **queues, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct queue_def *queue = queues[i];
        size_t place = i;
        for (; place > 0 && handle_worker(queues[place - 1]->handle) > handle_worker(queue->handle); place--)
            queues[place] = queues[place - 1];
        queues[place] = queue;
    }
}

// The result with the queues of one worker side by side.
static const struct queue_def **
group_by_owner(struct route_ctx *c)
{
    if (c->queue_count <= GROUP_INSERTION_MAX) {
        sort_by_insertion(c->queues, c->queue_count);
        return c->queues;
    }
    size_t next[WORKERS_MAX + 1] = {0}; // where the next queue of each worker goes
    for (size_t i = 0; i < c->queue_count; i++)
        next[handle_worker(c->queues[i]->handle) + 1]++;
    for (size_t i = 0; i < WORKERS_MAX; i++)
        next[i + 1] += next[i];
    for (size_t i = 0; i < c->queue_count; i++)
        c->sorted[next[handle_worker(c->queues[i]->handle)]++] = c->queues[i];
    return c->sorted;
}

// --- exchanges ---

static int
add_exchange(struct route_ctx *c, const struct exchange *exchange)
{
    if (exchange == NULL) // deleted meanwhile, or an alternate that does not exist
        return 0;
    int r = stamps_add(&c->seen, exchange->id);
    if (r != 1)
        return r;
    if (c->work_count == c->work_cap) {
        size_t cap = LV_MAX(c->work_cap * 2, (size_t)8);
        const struct exchange **work = mem_realloc((void *)c->work, cap * sizeof *work);
        if (work == NULL)
            return -LE_NOMEM;
        c->work = work;
        c->work_cap = cap;
    }
    c->work[c->work_count++] = exchange;
    return 0;
}

static int
visit_default(struct route_ctx *c, const struct route_graph *g, const struct route_request *request)
{
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < request->key_count; i++) {
        const struct queue_def *queue = g->queue_by_name(g->graph, request->keys[i]);
        if (queue != NULL)
            ret = add_queue(c, queue);
    }
    return ret;
}

static int
match_keys(struct route_ctx *c, const struct exchange *x, const struct route_request *request)
{
    const struct router *r = &x->router;
    bool is_keyed = r->type == EXCHANGE_DIRECT || r->type == EXCHANGE_TOPIC;
    size_t count = is_keyed ? request->key_count : 1;
    uint8_t number[8];
    if (exchange_type_picks(r->type)) {
        struct slice hashed = hash_on_value(&x->hash_on, request->keys[0], request->props, number);
        return router_match(r, c->scratch, hashed, request->headers, &c->found);
    }
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < count; i++) {
        struct slice key = is_keyed ? request->keys[i] : SLICE_EMPTY;
        ret = router_match(r, c->scratch, key, request->headers, &c->found);
    }
    return ret;
}

// Whether the next message with the same keys may take another way.
static bool
looks_beyond_keys(const struct exchange *x)
{
    if (x->is_delayed)
        return true;
    switch (x->router.type) {
    case EXCHANGE_HEADERS:
    case EXCHANGE_RANDOM:
    case EXCHANGE_LOCAL_RANDOM: return true;
    case EXCHANGE_CONSISTENT_HASH: return x->hash_on.kind != HASH_ON_KEY;
    default: return false;
    }
}

static int
visit_exchange(struct route_ctx *c, const struct route_graph *g, const struct exchange *x,
               const struct route_request *request)
{
    if (x->is_default)
        return visit_default(c, g, request);
    c->found.count = 0;
    c->is_for_one |= looks_beyond_keys(x);
    if (request->is_delayed && x->is_delayed && x->delay_queue != NULL)
        return add_queue(c, x->delay_queue);
    int ret = match_keys(c, x, request);
    if (ret == 0 && c->found.count == 0 && x->alternate.len != 0)
        return add_exchange(c, g->exchange_by_name(g->graph, x->alternate));
    for (size_t i = 0; ret == 0 && i < c->found.count; i++) {
        const struct binding *b = c->found.items[i];
        if (b->dest == BINDING_TO_QUEUE)
            ret = add_queue(c, b->queue);
        else
            ret = add_exchange(c, g->exchange_by_id(g->graph, b->dest_id));
    }
    return ret;
}

static int
resolve_all(struct route_ctx *c, const struct route_graph *g, const struct route_request *request,
            struct route_result *ret)
{
    number_next(c);
    stamps_reset(&c->seen);
    c->queue_count = c->work_count = 0;
    c->is_for_one = false;
    int r = add_exchange(c, request->exchange);
    for (size_t i = 0; r == 0 && i < c->work_count; i++)
        r = visit_exchange(c, g, c->work[i], request);
    if (r < 0)
        return r;
    ret->queues = group_by_owner(c);
    ret->count = c->queue_count;
    ret->is_for_one = c->is_for_one;
    return 0;
}

// The short way: one key, at most one queue. False: it is not as simple as that.
static bool
resolve_single(struct route_ctx *c, const struct route_graph *g, const struct route_request *request)
{
    const struct exchange *x = request->exchange;
    if (request->key_count != 1 || x->router.type != EXCHANGE_DIRECT || x->is_delayed)
        return false;
    if (x->is_default) {
        c->single = g->queue_by_name(g->graph, request->keys[0]);
        return true;
    }
    struct pset bindings = direct_lookup(&x->router, request->keys[0]);
    if (pset_tag(bindings) != PSET_ONE)
        return false;
    const struct binding *b = pset_one(bindings);
    c->single = b == NULL ? NULL : b->queue;
    return b == NULL ? x->alternate.len == 0 : b->dest == BINDING_TO_QUEUE;
}

int
route_resolve(struct route_ctx *c, const struct route_graph *g, const struct route_request *request,
              struct route_result *ret)
{
    if (LV_LIKELY(resolve_single(c, g, request))) {
        ret->queues = &c->single;
        ret->count = c->single != NULL;
        ret->is_for_one = false;
        return 0;
    }
    return resolve_all(c, g, request, ret);
}
