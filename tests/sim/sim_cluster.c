// sim_cluster.c: see sim_cluster.h. Events lie in a heap by time and number.
#include "tests/sim/sim_cluster.h"

#include "src/base/mem.h"

enum event_kind {
    EVENT_TICK,
    EVENT_FLUSH,
    EVENT_MESSAGE,
    EVENT_REQUEST,
    EVENT_ANSWER,
    EVENT_TIMEOUT,
    EVENT_WATCH
};

struct event {
    int64_t at;
    uint64_t number;
    enum event_kind kind;
    int node, from;
    uint64_t life, session, op;
    struct replica_msg *msg; // owned
    uint64_t request;        // 0: a read
    uint64_t revision;
    struct record record;
    enum cas_outcome outcome;
};

struct sim_node sim_nodes[SIM_NODES_MAX];
int sim_node_count;
int64_t sim_now;
struct rng sim_rng;
struct record sim_record;
uint64_t sim_revision, sim_promotions, sim_messages, sim_broken;

static struct event **events;
static size_t event_count, event_cap;
static uint64_t event_number, request_number, token_number;
static struct sim_link links[SIM_NODES_MAX][SIM_NODES_MAX]; // [lower][higher]
static uint64_t open_request[SIM_NODES_MAX];
static struct replica_config config;
static struct sim_hooks hooks;
static bool is_coordinator_down, is_calm;

uint64_t
sim_dice(uint64_t limit)
{
    return rng_below(&sim_rng, limit);
}

static bool
is_before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void
push(struct event e)
{
    struct event *event = mem_xalloc(sizeof(e));
    *event = e;
    event->number = ++event_number;
    if (event_count == event_cap) {
        event_cap = event_cap == 0 ? 256 : event_cap * 2;
        events = mem_xrealloc(events, event_cap * sizeof(struct event *));
    }
    size_t at = event_count++;
    for (; at > 0 && is_before(event, events[(at - 1) / 2]); at = (at - 1) / 2)
        events[at] = events[(at - 1) / 2];
    events[at] = event;
}

static struct event *
pop(void)
{
    struct event *first = events[0], *last = events[--event_count];
    size_t at = 0;
    for (size_t child; (child = at * 2 + 1) < event_count; at = child) {
        if (child + 1 < event_count && is_before(events[child + 1], events[child]))
            child++;
        if (!is_before(events[child], last))
            break;
        events[at] = events[child];
    }
    events[at] = last;
    return first;
}

static void
event_free(struct event *e)
{
    if (e->msg != NULL)
        mem_free(e->msg->items);
    mem_free(e->msg);
    mem_free(e);
}

static int
node_of(struct store_id store)
{
    for (int i = 0; i < sim_node_count; i++)
        if (store_id_eq(sim_nodes[i].store, store))
            return i;
    return -1;
}

static int64_t
clock_of(const struct sim_node *n)
{
    return n->clock_base + (int64_t)((double)(sim_now - n->clock_since) * n->clock_rate);
}

// --- disks ---

static void
note_broken(const struct sim_node *n, const struct sim_item *item)
{
    sim_broken += item->is_live && record_is_in_sync(&sim_record, n->store) && hooks.is_confirmed(item->ref);
}

static void
forget(struct sim_node *n, uint64_t seq)
{
    if (n->is_up)
        note_broken(n, &n->items[seq]);
    n->items[seq] = (struct sim_item){0};
}

static void
set_aside(struct sim_node *n, uint64_t above)
{
    for (uint64_t seq = above + 1; seq <= n->top; seq++)
        forget(n, seq);
}

static void
take(struct sim_node *n, const struct replica_item *item)
{
    LV_ASSERT(item->seq > 0 && item->seq < SIM_SEQ_MAX);
    n->items[item->seq] = (struct sim_item){item->epoch, item->ref, true, true};
    n->top = LV_MAX(n->top, item->seq);
}

static void
carry_out(struct sim_node *n, const struct replica_op *op)
{
    switch (op->kind) {
    case REPLICA_OP_APPEND: take(n, &op->items[0]); break;
    case REPLICA_OP_SETTLE:
        if (op->lo < SIM_SEQ_MAX)
            n->items[op->lo].is_live = false;
        break;
    case REPLICA_OP_FOLLOW:
        set_aside(n, op->hi);
        for (uint64_t seq = op->lo + 1; seq <= op->hi; seq++)
            if (n->items[seq].is_known && n->items[seq].epoch != epochs_of(op->epochs, seq))
                forget(n, seq);
        break;
    case REPLICA_OP_RANGE:
        for (uint64_t seq = op->lo; seq <= op->hi; seq++)
            n->items[seq].is_live = false;
        for (uint32_t i = 0; i < op->item_count; i++)
            take(n, &op->items[i]);
        break;
    case REPLICA_OP_CUT: set_aside(n, op->lo); break;
    case REPLICA_OP_PROMISE:
    case REPLICA_OP_EPOCH:
    case REPLICA_OP_WHOLE:
    case REPLICA_OP_FORCE: break;
    }
}

static void
want_flush(struct sim_node *n)
{
    if (n->flush_at > sim_now)
        return;
    int64_t wait = 1 + (int64_t)sim_dice(is_calm ? 3 : 15);
    if (sim_now < n->slow_until)
        wait += (int64_t)sim_dice(1500);
    n->flush_at = sim_now + wait;
    push((struct event){
        .at = n->flush_at, .kind = EVENT_FLUSH, .node = n->index, .life = n->life, .op = n->op_count});
}

static uint64_t
env_store(void *ctx, const struct replica_op *op)
{
    struct sim_node *n = ctx;
    if (n->op_count == n->op_cap) {
        n->op_cap = n->op_cap == 0 ? 64 : n->op_cap * 2;
        n->ops = mem_xrealloc(n->ops, n->op_cap * sizeof(*n->ops));
    }
    struct sim_op *s = &n->ops[n->op_count++];
    *s = (struct sim_op){.op = *op};
    if (op->epochs != NULL)
        s->epochs = *op->epochs;
    if (op->item_count > 0) {
        s->items = mem_xalloc(op->item_count * sizeof(*s->items));
        memcpy(s->items, op->items, op->item_count * sizeof(*s->items));
    }
    carry_out(n, op);
    want_flush(n);
    return n->op_count - n->op_base;
}

static void
flush(struct sim_node *n, const struct event *e)
{
    n->flush_at = 0;
    n->durable_ops = LV_MAX(n->durable_ops, e->op);
    if (n->durable_ops < n->op_count)
        want_flush(n);
    if (e->op > n->op_base)
        replica_stored(&n->r, e->op - n->op_base);
}

static struct replica_saved
read_disk(struct sim_node *n)
{
    struct replica_saved saved = {0};
    static struct sim_item before[SIM_SEQ_MAX];
    uint64_t top = n->top;
    memcpy(before, n->items, sizeof(before));
    memset(n->items, 0, sizeof(n->items));
    n->top = 0;
    for (uint64_t i = 0; i < n->op_count; i++) {
        struct sim_op *s = &n->ops[i];
        s->op.epochs = s->op.epochs != NULL ? &s->epochs : NULL;
        s->op.items = s->items;
        carry_out(n, &s->op);
        replica_apply(&saved, &s->op);
    }
    for (uint64_t seq = 1; seq <= top; seq++)
        if (!n->items[seq].is_known || n->items[seq].epoch != before[seq].epoch)
            note_broken(n, &before[seq]);
    return saved;
}

// --- links ---

static struct sim_link *
link_of(int a, int b)
{
    return &links[LV_MIN(a, b)][LV_MAX(a, b)];
}

static void
env_send(void *ctx, struct store_id to, const struct replica_msg *msg)
{
    struct sim_node *n = ctx;
    int target = node_of(to);
    LV_ASSERT(target >= 0 && target != n->index);
    struct sim_link *l = link_of(n->index, target);
    int direction = n->index > target;
    if (!l->is_connected)
        return;
    struct replica_msg *copy = mem_xalloc(sizeof(*copy));
    *copy = *msg;
    copy->items = NULL;
    if (msg->item_count > 0) {
        copy->items = mem_xalloc(msg->item_count * sizeof(*copy->items));
        memcpy(copy->items, msg->items, msg->item_count * sizeof(*copy->items));
    }
    int64_t at = sim_now + 1 + (int64_t)sim_dice(is_calm ? 3 : 1 + sim_dice(40));
    at = l->last_ms[direction] = LV_MAX(at, l->last_ms[direction]);
    push((struct event){.at = at,
                        .kind = EVENT_MESSAGE,
                        .node = target,
                        .from = n->index,
                        .session = l->session,
                        .op = ++l->sent[direction],
                        .msg = copy});
}

static void
tell_link(int node, int peer, bool is_up)
{
    struct sim_link *l = link_of(node, peer);
    struct sim_node *n = &sim_nodes[node];
    bool *knows = &l->knows_up[node > peer];
    if (*knows == is_up)
        return;
    *knows = is_up;
    if (!n->is_up)
        return;
    if (is_up)
        replica_link_up(&n->r, sim_nodes[peer].store);
    else
        replica_link_down(&n->r, sim_nodes[peer].store);
}

static void
drop_link(struct sim_link *l)
{
    l->is_connected = false;
    l->session++;
    l->give_up_at = 0;
}

// Now and then: links that are blocked are given up, each end notices for itself; those that can be are made again.
static void
look_at_links(void)
{
    for (int a = 0; a < sim_node_count; a++)
        for (int b = a + 1; b < sim_node_count; b++) {
            struct sim_link *l = &links[a][b];
            bool is_good = sim_nodes[a].is_up && sim_nodes[b].is_up && !l->is_blocked[0] &&
                           !l->is_blocked[1] && sim_nodes[a].paused_until <= sim_now &&
                           sim_nodes[b].paused_until <= sim_now;
            if (l->is_connected && !is_good) {
                if (!sim_nodes[a].is_up || !sim_nodes[b].is_up)
                    drop_link(l);
                else if (l->give_up_at == 0)
                    l->give_up_at = sim_now + 100 + (int64_t)sim_dice(400);
                else if (sim_now >= l->give_up_at)
                    drop_link(l);
            } else if (l->is_connected) {
                l->give_up_at = 0;
            }
            if (!l->is_connected) {
                if (sim_dice(3) == 0)
                    tell_link(a, b, false);
                if (sim_dice(3) == 0)
                    tell_link(b, a, false);
                if (is_good && !l->knows_up[0] && !l->knows_up[1]) {
                    l->is_connected = true;
                    l->session++;
                    l->last_ms[0] = l->last_ms[1] = sim_now;
                    memset(l->sent, 0, sizeof(l->sent));
                    memset(l->received, 0, sizeof(l->received));
                    tell_link(a, b, true);
                    tell_link(b, a, true);
                }
            }
        }
}

static void
deliver(struct event *e)
{
    struct sim_link *l = link_of(e->node, e->from);
    struct sim_node *n = &sim_nodes[e->node];
    if (e->session != l->session || !n->is_up)
        return;
    int direction = e->from > e->node;
    // Held until the link is given up, or the block ends; and never before those that were sent earlier.
    if (l->is_blocked[direction] || e->op != l->received[direction] + 1) {
        struct event again = *e;
        again.at = sim_now + (l->is_blocked[direction] ? 20 : 1);
        e->msg = NULL;
        push(again);
        return;
    }
    l->received[direction]++;
    sim_messages++;
    replica_receive(&n->r, sim_nodes[e->from].store, e->msg);
}

// --- the coordinator ---

static void
request(int node, uint64_t number, uint64_t revision, const struct record *record)
{
    int64_t way = 1 + (int64_t)sim_dice(is_calm ? 3 : 20);
    // Stuck somewhere: it may arrive when nobody waits any more.
    if (!is_calm && sim_dice(12) == 0)
        way += (int64_t)sim_dice(6000);
    struct event e = {
        .at = sim_now + way, .kind = EVENT_REQUEST, .node = node, .request = number, .revision = revision};
    if (record != NULL)
        e.record = *record;
    bool is_lost = (sim_nodes[node].is_cut_off || is_coordinator_down) && sim_dice(4) != 0;
    if (!is_lost)
        push(e);
    if (number != 0)
        push((struct event){.at = sim_now + 1500 + (int64_t)sim_dice(500),
                            .kind = EVENT_TIMEOUT,
                            .node = node,
                            .life = sim_nodes[node].life,
                            .request = number});
}

static void
env_propose(void *ctx, uint64_t revision, const struct record *record)
{
    struct sim_node *n = ctx;
    open_request[n->index] = ++request_number;
    request(n->index, request_number, revision, record);
}

static void
env_read(void *ctx)
{
    struct sim_node *n = ctx;
    request(n->index, 0, 0, NULL);
}

static void
tell_watchers(void)
{
    for (int i = 0; i < sim_node_count; i++)
        if (!sim_nodes[i].is_cut_off && !is_coordinator_down)
            push((struct event){.at = sim_now + 1 + (int64_t)sim_dice(is_calm ? 3 : 200),
                                .kind = EVENT_WATCH,
                                .node = i,
                                .record = sim_record,
                                .revision = sim_revision});
}

static void
serve_request(const struct event *e)
{
    struct event answer = {.at = sim_now + 1 + (int64_t)sim_dice(is_calm ? 3 : 20),
                           .kind = EVENT_ANSWER,
                           .node = e->node,
                           .request = e->request,
                           .life = sim_nodes[e->node].life,
                           .outcome = CAS_REFUSED};
    if (is_coordinator_down)
        return;
    if (e->request != 0 && e->revision == sim_revision) {
        LV_ASSERT(record_is_valid(&e->record) && e->record.epoch >= sim_record.epoch);
        // An epoch has one master.
        LV_ASSERT(e->record.epoch > sim_record.epoch || store_id_eq(e->record.master, sim_record.master));
        sim_promotions += e->record.epoch > sim_record.epoch;
        sim_record = e->record;
        sim_revision++;
        answer.outcome = CAS_COMMITTED;
        tell_watchers();
    }
    answer.record = sim_record;
    answer.revision = sim_revision;
    if (sim_nodes[e->node].is_cut_off || (!is_calm && sim_dice(10) == 0))
        return; // nobody hears it
    push(answer);
}

static void
answered(const struct event *e)
{
    struct sim_node *n = &sim_nodes[e->node];
    if (!n->is_up || e->life != n->life)
        return;
    if (e->request == 0) {
        replica_record(&n->r, &e->record, e->revision);
        return;
    }
    if (open_request[e->node] != e->request)
        return; // it has been given up
    open_request[e->node] = 0;
    replica_cas_done(&n->r, e->outcome, &e->record, e->revision);
}

static void
timed_out(const struct event *e)
{
    struct sim_node *n = &sim_nodes[e->node];
    if (!n->is_up || e->life != n->life || open_request[e->node] != e->request)
        return;
    open_request[e->node] = 0;
    replica_cas_done(&n->r, CAS_UNKNOWN, NULL, 0);
}

// --- nodes ---

static void
env_confirmed(void *ctx, uint64_t epoch, uint64_t seq)
{
    struct sim_node *n = ctx;
    for (uint64_t i = 1; i <= LV_MIN(seq, n->asked_to); i++)
        if (n->pending[i] != 0) {
            hooks.confirmed(n->pending[i]);
            n->pending[i] = 0;
        }
}

static void
lose_contact(struct sim_node *n)
{
    memset(n->pending, 0, sizeof(n->pending));
    n->asked_to = 0;
    hooks.lost_contact(n->index);
}

static void
env_serves(void *ctx, bool is_serving, uint64_t epoch)
{
    struct sim_node *n = ctx;
    n->is_serving = is_serving;
    if (!is_serving)
        lose_contact(n);
}

static struct replica_sum
env_digest(void *ctx, uint64_t lo, uint64_t hi)
{
    const struct sim_node *n = ctx;
    struct replica_sum sum = {0};
    for (uint64_t seq = lo; seq <= hi && seq <= n->top; seq++)
        if (n->items[seq].is_live) {
            sum.hash = sum.hash * 0x9e3779b97f4a7c15u + seq * 31 + n->items[seq].epoch;
            sum.count++;
        }
    return sum;
}

static bool
env_next(void *ctx, uint64_t from, struct replica_item *ret)
{
    const struct sim_node *n = ctx;
    for (uint64_t seq = from; seq <= n->top; seq++)
        if (n->items[seq].is_live) {
            *ret = (struct replica_item){n->items[seq].epoch, seq, n->items[seq].ref};
            return true;
        }
    return false;
}

static uint64_t
env_token(void *ctx)
{
    return ++token_number;
}

static void
tick(struct sim_node *n)
{
    push((struct event){
        .at = sim_now + 20 + (int64_t)sim_dice(30), .kind = EVENT_TICK, .node = n->index, .life = n->life});
    look_at_links();
    // The watch is resumed, or somebody looks now and then.
    if (sim_dice(20) == 0)
        request(n->index, 0, 0, NULL);
    replica_tick(&n->r, LV_MAX(n->r.now_ms, clock_of(n)));
}

void
sim_start(int node)
{
    struct sim_node *n = &sim_nodes[node];
    if (n->is_up)
        return;
    struct replica_env env = {n,          env_store,  env_send, env_propose, env_read, env_confirmed,
                              env_serves, env_digest, env_next, env_token};
    struct replica_saved saved = read_disk(n);
    n->is_up = true;
    n->is_serving = false;
    n->life++;
    n->op_base = n->durable_ops = n->op_count;
    n->flush_at = 0;
    n->paused_until = 0;
    open_request[node] = 0;
    n->clock_base = (int64_t)sim_dice(1000000);
    n->clock_since = sim_now;
    n->clock_rate = 0.9 + 0.2 * (double)sim_dice(1000) / 1000;
    replica_init(&n->r, &env, &config, n->store, &saved, clock_of(n));
    push((struct event){.at = sim_now + 1, .kind = EVENT_TICK, .node = node, .life = n->life});
    request(node, 0, 0, NULL);
}

void
sim_crash(int node, bool is_power_cut)
{
    struct sim_node *n = &sim_nodes[node];
    if (!n->is_up)
        return;
    n->is_up = n->is_serving = false;
    if (is_power_cut) {
        uint64_t keep = n->durable_ops + sim_dice(n->op_count - n->durable_ops + 1);
        while (n->op_count > keep)
            mem_free(n->ops[--n->op_count].items);
    }
    replica_fini(&n->r);
    for (int peer = 0; peer < sim_node_count; peer++)
        if (peer != node) {
            link_of(node, peer)->knows_up[node > peer] = false;
            if (link_of(node, peer)->is_connected)
                drop_link(link_of(node, peer));
        }
    lose_contact(n);
}

void
sim_block(int from, int to, bool is_blocked)
{
    link_of(from, to)->is_blocked[from > to] = is_blocked;
}

void
sim_cut_off(int node, bool is_cut_off)
{
    sim_nodes[node].is_cut_off = is_cut_off;
}

void
sim_coordinator_down(bool is_down)
{
    is_coordinator_down = is_down;
}

void
sim_pause(int node, int64_t for_ms)
{
    sim_nodes[node].paused_until = sim_now + for_ms;
}

void
sim_slow_disk(int node, int64_t for_ms)
{
    sim_nodes[node].slow_until = sim_now + for_ms;
}

void
sim_clock(int node, double rate)
{
    struct sim_node *n = &sim_nodes[node];
    n->clock_base = clock_of(n);
    n->clock_since = sim_now;
    n->clock_rate = rate;
}

void
sim_place(int node, const int *nodes, int count)
{
    struct store_id stores[SIM_NODES_MAX];
    for (int i = 0; i < count; i++)
        stores[i] = sim_nodes[nodes[i]].store;
    if (sim_nodes[node].is_up)
        replica_place(&sim_nodes[node].r, stores, (uint32_t)count);
}

void
sim_heal(void)
{
    is_calm = true;
    is_coordinator_down = false;
    for (int a = 0; a < sim_node_count; a++) {
        sim_nodes[a].is_cut_off = false;
        sim_nodes[a].slow_until = 0;
        sim_nodes[a].paused_until = 0;
        for (int b = 0; b < sim_node_count; b++)
            if (a != b)
                sim_block(a, b, false);
        sim_start(a);
    }
}

void
sim_begin(uint64_t seed, int nodes, const struct replica_config *replica_config,
          const struct sim_hooks *sim_hooks)
{
    rng_init(&sim_rng, seed);
    config = *replica_config;
    hooks = *sim_hooks;
    sim_node_count = nodes;
    sim_now = 0;
    sim_promotions = sim_messages = sim_broken = 0;
    is_coordinator_down = is_calm = false;
    memset(links, 0, sizeof(links));
    sim_record = (struct record){.epoch = 1, .token = 1};
    token_number = 1;
    sim_revision = 1;
    for (int i = 0; i < nodes; i++) {
        sim_nodes[i] = (struct sim_node){.index = i, .store = {7, (uint64_t)i + 1}};
        (void)record_put(&sim_record, sim_nodes[i].store, i == 0);
    }
    sim_record.master = sim_nodes[0].store;
    for (int i = 0; i < nodes; i++)
        sim_start(i);
}

void
sim_end(void)
{
    for (int i = 0; i < sim_node_count; i++) {
        sim_crash(i, false);
        while (sim_nodes[i].op_count > 0)
            mem_free(sim_nodes[i].ops[--sim_nodes[i].op_count].items);
        mem_free(sim_nodes[i].ops);
    }
    while (event_count > 0)
        event_free(events[--event_count]);
    mem_free(events);
    events = NULL;
    event_cap = 0;
}

bool
sim_run_one(int64_t until)
{
    if (event_count == 0 || events[0]->at > until) {
        sim_now = until;
        return false;
    }
    struct event *e = pop();
    sim_now = LV_MAX(sim_now, e->at);
    struct sim_node *n = &sim_nodes[e->node];
    bool is_of_node = e->kind != EVENT_REQUEST;
    if (is_of_node && n->is_up && n->paused_until > sim_now) {
        struct event later = *e;
        later.at = n->paused_until;
        e->msg = NULL;
        push(later); // numbers keep the order
        event_free(e);
        return true;
    }
    switch (e->kind) {
    case EVENT_TICK:
        if (n->is_up && e->life == n->life)
            tick(n);
        break;
    case EVENT_FLUSH:
        if (n->is_up && e->life == n->life)
            flush(n, e);
        break;
    case EVENT_MESSAGE: deliver(e); break;
    case EVENT_REQUEST: serve_request(e); break;
    case EVENT_ANSWER: answered(e); break;
    case EVENT_TIMEOUT: timed_out(e); break;
    case EVENT_WATCH:
        if (n->is_up && !n->is_cut_off)
            replica_record(&n->r, &e->record, e->revision);
        break;
    }
    event_free(e);
    return true;
}
