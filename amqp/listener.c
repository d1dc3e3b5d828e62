// listener.c: the AMQP state of one worker: taking connections over, the phases of a turn, shutting down.
//
// In a turn: PHASE_READ visits connections with input in turn, until its time is up; PHASE_TIMERS, after the
// mail (in which the answers of methods come), lets waiting channels go on and looks at timers; PHASE_WRITE
// writes; PHASE_REAP frees. Clients and sessions are closed at the end of the first two and before freeing.
#include "amqp/listener.h"

#include <fcntl.h>
#include <unistd.h>

#include "amqp/connection.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: time of one PHASE_READ; who was not visited is first in the next turn.
enum { READ_PHASE_NS = 2 * 1000 * 1000 };
// LIMIT: chunks (16 KiB) and half received messages kept for later use.
enum { CHUNKS_KEPT = 256, CONTENTS_KEPT = 64 };
// LIMIT: log lines of one kind in a second, so that no client can fill the disk with them.
enum { LOG_LINES_A_SECOND = 50 };

struct amqp_worker *
amqp_of(struct worker *w)
{
    struct amqp_worker *aw = w->amqp_state;
    LV_ASSERT(aw != NULL);
    LV_ON_WORKER(w);
    return aw;
}

bool
log_limit_pass(struct log_limit *l, uint64_t now_ns, const char *what)
{
    uint64_t second = now_ns / 1000000000u;
    if (second != l->second) {
        if (l->left_out > 0)
            log_warn(LOG_CONNECTION, "%u more log lines about %s were left out", l->left_out, what);
        *l = (struct log_limit){.second = second};
    }
    if (l->count < LOG_LINES_A_SECOND) {
        l->count++;
        return true;
    }
    l->left_out++;
    return false;
}

uint64_t
amqp_node_sum(const struct amqp_worker *aw, size_t counter_offset)
{
    const struct crew *crew = aw->worker->crew;
    uint64_t sum = 0;
    for (int i = 0; i < crew->n_workers; i++) {
        const char *state = crew->members[i]->amqp_state;
        if (state != NULL)
            sum += atomic_load_explicit((const _Atomic uint32_t *)(const void *)(state + counter_offset),
                                        memory_order_relaxed);
    }
    return sum;
}

// --- phases ------------------------------------------------------------------------------------------------

void
amqp_settle_ends(struct amqp_worker *aw)
{
    for (struct list *it; (it = list_pop_front(&aw->ending_channels)) != NULL;) {
        struct channel *ch = LV_CONTAINER_OF(it, struct channel, ending_node);
        if (ch->session != NULL)
            session_close(ch->session);
        ch->session = NULL;
        if (ch->state == CHANNEL_GONE)
            list_push_back(&aw->dead_channels, &ch->ending_node);
    }
    for (struct list *it; (it = list_pop_front(&aw->ending)) != NULL;)
        connection_client_close(LV_CONTAINER_OF(it, struct connection, ending_node));
}

static bool
phase_read(struct worker *w, void *ctx)
{
    struct amqp_worker *aw = ctx;
    if (list_is_empty(&aw->readable))
        return false;
    struct list later; // had their share of this turn
    list_init(&later);
    uint64_t end_ns = clock_mono_ns() + READ_PHASE_NS;
    for (struct list *it; (it = list_pop_front(&aw->readable)) != NULL;) {
        struct connection *c = LV_CONTAINER_OF(it, struct connection, read_node);
        if (c->read_turn == w->turn && c->read_turn_bytes >= READ_TURN_BYTES) {
            list_push_back(&later, it);
            continue;
        }
        connection_visit(c);
        if (clock_mono_ns() >= end_ns)
            break;
    }
    list_splice_back(&aw->readable, &later);
    amqp_settle_ends(aw);
    return !list_is_empty(&aw->readable);
}

static void
release_held(struct connection *c)
{
    size_t cursor = 0;
    uint64_t number;
    void *value;
    c->is_must_wait = false;
    while (inttab_next(&c->channels, &cursor, &number, &value)) {
        struct channel *ch = value;
        if (!ch->is_held)
            continue;
        ch->is_held = false;
        channel_unblock(ch);
    }
}

static void
resume_channels(struct amqp_worker *aw)
{
    struct list held, resuming;
    list_init(&held);
    list_init(&resuming);
    list_splice_back(&held, &aw->held);
    for (struct list *it; (it = list_pop_front(&held)) != NULL;) {
        struct connection *c = LV_CONTAINER_OF(it, struct connection, held_node);
        if (c->state != CONNECTION_RUNNING)
            continue;
        if (client_must_wait(c->client))
            list_push_back(&aw->held, it);
        else
            release_held(c);
    }
    list_splice_back(&resuming, &aw->resuming);
    for (struct list *it; (it = list_pop_front(&resuming)) != NULL;)
        channel_resume(LV_CONTAINER_OF(it, struct channel, resume_node));
}

static bool
phase_timers(struct worker *w, void *ctx)
{
    struct amqp_worker *aw = ctx;
    struct list due;
    resume_channels(aw);
    list_init(&due);
    wheel_advance(&aw->wheel, w->now_ns, &due);
    for (struct list *it; (it = list_pop_front(&due)) != NULL;)
        connection_on_timer(LV_CONTAINER_OF(it, struct connection, timer.node));
    amqp_settle_ends(aw);
    return !list_is_empty(&aw->resuming);
}

static bool
phase_write(struct worker *w, void *ctx)
{
    struct amqp_worker *aw = ctx;
    struct list round; // each once; who has more goes to the end of aw->writable
    list_init(&round);
    list_splice_back(&round, &aw->writable);
    for (struct list *it; (it = list_pop_front(&round)) != NULL;)
        connection_flush(LV_CONTAINER_OF(it, struct connection, write_node));
    return !list_is_empty(&aw->writable);
}

static void
on_wheel_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    // Nothing: it wakes the worker, and PHASE_TIMERS looks at the wheel.
}

// Wakes the worker when the wheel wants to move on.
static void
arm_timer(struct amqp_worker *aw)
{
    uint64_t next = wheel_next_ns(&aw->wheel);
    struct ev_loop *loop = aw->worker->loop;
    if (next == WHEEL_NEVER) {
        ev_timer_stop(loop, &aw->wheel_timer);
        return;
    }
    uint64_t now = aw->worker->now_ns;
    aw->wheel_timer.repeat = next > now ? (double)(next - now) * 1e-9 : 1e-3;
    ev_timer_again(loop, &aw->wheel_timer);
}

static bool
phase_reap(struct worker *w, void *ctx)
{
    struct amqp_worker *aw = ctx;
    amqp_settle_ends(aw);
    for (struct list *it; (it = list_pop_front(&aw->dead_channels)) != NULL;)
        channel_free(LV_CONTAINER_OF(it, struct channel, ending_node));
    for (struct list *it; (it = list_pop_front(&aw->reaping)) != NULL;)
        connection_free(LV_CONTAINER_OF(it, struct connection, ending_node));
    if (aw->is_draining && aw->drain_done != NULL && list_is_empty(&aw->connections)) {
        void (*done)(void *) = aw->drain_done;
        aw->drain_done = NULL;
        done(aw->drain_ctx);
    }
    uint64_t tick = w->now_ns / WHEEL_TICK_NS;
    if (aw->is_wheel_changed || tick != aw->armed_tick) {
        aw->is_wheel_changed = false;
        aw->armed_tick = tick;
        arm_timer(aw);
    }
    return !list_is_empty(&aw->ending) || !list_is_empty(&aw->ending_channels);
}

// --- start and end of a worker -----------------------------------------------------------------------------

void
amqp_worker_init(struct worker *w, const struct amqp_config *config)
{
    struct amqp_worker *aw = mem_xcalloc(1, sizeof *aw);
    LV_ASSERT(w->amqp_state == NULL);
    aw->worker = w;
    aw->config = config;
    struct list *lists[] = {&aw->connections,   &aw->unauthenticated, &aw->readable,        &aw->writable,
                            &aw->held,          &aw->ending,          &aw->ending_channels, &aw->resuming,
                            &aw->dead_channels, &aw->reaping};
    for (size_t i = 0; i < LV_ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    wheel_init(&aw->wheel, w->now_ns);
    ev_init(&aw->wheel_timer, on_wheel_timer);
    pool_init(&aw->chunk_pool, OUTPUT_CHUNK_BYTES, CHUNKS_KEPT);
    pool_init(&aw->content_pool, sizeof(struct content), CONTENTS_KEPT);
    aw->read_buffer = mem_xalloc(SMALL_REST_BYTES + READ_BYTES);
    w->amqp_state = aw;
    worker_add_hook(w, PHASE_READ, phase_read, aw);
    worker_add_hook(w, PHASE_TIMERS, phase_timers, aw);
    worker_add_hook(w, PHASE_WRITE, phase_write, aw);
    worker_add_hook(w, PHASE_REAP, phase_reap, aw);
}

// The answers of client_close do not come any more: the loops stand still.
static void
force_free(struct connection *c)
{
    connection_kill(c, NULL);
    list_remove(&c->ending_node);
    connection_client_close(c);
    c->is_client_closing = false;
    list_remove(&c->ending_node);
    connection_free(c);
}

void
amqp_worker_fini(struct worker *w)
{
    struct amqp_worker *aw = w->amqp_state;
    if (aw == NULL)
        return;
    struct worker *before = worker_self;
    worker_self = w;
    amqp_settle_ends(aw);
    while (!list_is_empty(&aw->connections))
        force_free(LV_CONTAINER_OF(list_first(&aw->connections), struct connection, node));
    amqp_settle_ends(aw);
    for (struct list *it; (it = list_pop_front(&aw->dead_channels)) != NULL;)
        channel_free(LV_CONTAINER_OF(it, struct channel, ending_node));
    ev_timer_stop(w->loop, &aw->wheel_timer);
    pool_fini(&aw->chunk_pool);
    pool_fini(&aw->content_pool);
    buf_fini(&aw->scratch);
    mem_free(aw->read_buffer);
    mem_free(aw);
    w->amqp_state = NULL;
    worker_self = before;
}

void
amqp_worker_set_config(struct worker *w, const struct amqp_config *config)
{
    amqp_of(w)->config = config;
}

// --- new connections ---------------------------------------------------------------------------------------

static struct connection *
connection_new(struct amqp_worker *aw, struct transport *t, const struct sockaddr_storage *peer,
               const struct sockaddr_storage *local)
{
    struct connection *c = mem_calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->aw = aw;
    if (connection_make_name(c, peer, local) != 0) {
        mem_free(c);
        return NULL;
    }
    struct list *nodes[] = {&c->node,      &c->read_node,   &c->write_node,
                            &c->held_node, &c->ending_node, &c->unauth_node};
    for (size_t i = 0; i < LV_ARRAY_LEN(nodes); i++)
        list_init(nodes[i]);
    wheel_item_init(&c->timer);
    output_init(&c->out, &aw->chunk_pool);
    inttab_init(&c->channels);
    c->transport = t;
    t->ready = connection_ready;
    t->ctx = c;
    c->frame_max = c->payload_max = aw->config->initial_frame_max;
    uint32_t timeout_ms = aw->config->handshake_timeout_ms;
    c->deadline_ns =
        timeout_ms == AMQP_UNLIMITED ? WHEEL_NEVER : aw->worker->now_ns + timeout_ms * UINT64_C(1000000);
    return c;
}

// Whoever opens connections and does not log in loses the oldest of them.
static void
limit_unauthenticated(struct amqp_worker *aw)
{
    uint32_t limit = aw->config->max_unauthenticated;
    if (limit == AMQP_UNLIMITED)
        return;
    uint32_t share = LV_MAX(limit / (uint32_t)aw->worker->crew->n_workers, 1u);
    while (atomic_load_explicit(&aw->unauthenticated_count, memory_order_relaxed) > share) {
        struct connection *oldest =
            LV_CONTAINER_OF(list_first(&aw->unauthenticated), struct connection, unauth_node);
        connection_kill(oldest, "too many connections that have not logged in, this is the oldest");
    }
}

void
amqp_attach(struct worker *w, struct transport *t, const struct sockaddr_storage *peer,
            const struct sockaddr_storage *local, int listener_index)
{
    struct amqp_worker *aw = amqp_of(w);
    (void)listener_index; // all listeners are alike until there is TLS
    struct connection *c = aw->is_draining ? NULL : connection_new(aw, t, peer, local);
    if (c == NULL) {
        t->ops->close(t);
        return;
    }
    list_push_back(&aw->connections, &c->node);
    list_push_back(&aw->unauthenticated, &c->unauth_node);
    c->is_unauth_counted = true;
    count_u32(&aw->connection_count, 1);
    count_u32(&aw->unauthenticated_count, 1);
    count_u64(&aw->accepted, 1);
    if (log_limit_pass(&aw->limit_accept, w->now_ns, "accepted connections"))
        log_info(LOG_CONNECTION, "accepting AMQP connection %.*s", SLICE_FMT(c->name));
    connection_set_timer(c);
    connection_update_want(c);
    limit_unauthenticated(aw);
}

void
amqp_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
            const struct sockaddr_storage *local, int listener_index)
{
    int flags = fcntl(fd, F_GETFL);
    struct transport *t = NULL;
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
        t = transport_tcp_new(w->loop, fd);
    if (t == NULL) {
        close(fd);
        return;
    }
    amqp_attach(w, t, peer, local, listener_index);
}

uint32_t
amqp_worker_load(const struct worker *w)
{
    const struct amqp_worker *aw = w->amqp_state;
    return atomic_load_explicit(&aw->connection_count, memory_order_relaxed);
}

void
amqp_worker_stats(const struct worker *w, struct amqp_stats *ret)
{
    const struct amqp_worker *aw = w->amqp_state;
    *ret = (struct amqp_stats){
        .accepted = atomic_load_explicit(&aw->accepted, memory_order_relaxed),
        .closed = atomic_load_explicit(&aw->closed, memory_order_relaxed),
        .refused = atomic_load_explicit(&aw->refused, memory_order_relaxed),
        .authenticated = atomic_load_explicit(&aw->authenticated, memory_order_relaxed),
        .opened = atomic_load_explicit(&aw->opened, memory_order_relaxed),
        .ended = atomic_load_explicit(&aw->ended, memory_order_relaxed),
        .received_bytes = atomic_load_explicit(&aw->received_bytes, memory_order_relaxed),
        .sent_bytes = atomic_load_explicit(&aw->sent_bytes, memory_order_relaxed),
        .channels_opened = atomic_load_explicit(&aw->channels_opened, memory_order_relaxed),
        .channels_closed = atomic_load_explicit(&aw->channels_closed, memory_order_relaxed),
        .connections = atomic_load_explicit(&aw->connection_count, memory_order_relaxed),
        .unauthenticated = atomic_load_explicit(&aw->unauthenticated_count, memory_order_relaxed),
        .channels = atomic_load_explicit(&aw->channel_count, memory_order_relaxed),
    };
}

void
amqp_worker_drain(struct worker *w, const struct fault *fault, void (*done)(void *ctx), void *ctx)
{
    struct amqp_worker *aw = amqp_of(w);
    LV_ASSERT(!aw->is_draining);
    aw->is_draining = true;
    aw->drain_done = done;
    aw->drain_ctx = ctx;
    LV_LIST_EACH_SAFE (it, &aw->connections) {
        struct connection *c = LV_CONTAINER_OF(it, struct connection, node);
        if (c->state == CONNECTION_RUNNING)
            connection_fault(c, fault, 0);
        else if (c->state < CONNECTION_RUNNING)
            connection_kill(c, "the broker is shutting down");
    }
    worker_keep_awake(w);
}
