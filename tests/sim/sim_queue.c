// sim_queue.c: queues, commit log and backlog files against a model, under power cuts, kills, failing and short writes and full disks.
//
//     sim_queue [first seed] [count] [planted bugs, as a number]
//
// A seed is a story of several lives of one data directory. In each life sessions on two workers publish to durable and transient queues, with
// confirms and in transactions (some of the queues with priorities or a length limit), consume, get, acknowledge, give back, purge and delete, while log and mover take their steps at random and
// faults come by plan; then there is an orderly stop, or the process dies, by itself or with the power. After each start the
// queues are made again and compared with the model (queue_model.h), by what they deliver: confirmed messages are there, in order, as they
// were published; what is gone durably is not; transactions are whole. Segments are tiny, so that the ring comes round all the time.
// The status is 1 at the first seed that fails, which is printed.
#include "tests/sim/queue_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/tx.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { SLOTS = 6 }; // living queues at a time
static const uint64_t TX_BIT = UINT64_C(1) << 63;

struct sim_commit {
    struct queue_tx t;
    uint32_t tx;
};

static struct sim {
    struct rng rng;
    struct model model;
    struct powercut *disk;
    struct fx_config config;
    uint32_t slots[SLOTS]; // index of a queue in the model
    lv_handle consumers[SIM_SESSIONS][SLOTS];
    uint32_t consumer_flags[SIM_SESSIONS][SLOTS];
    uint32_t open_txs[SIM_SESSIONS]; // index, 0: none
    bool is_trickle;                 // this life publishes much and consumes little
    bool is_over;                    // of this life: nobody listens any more
    uint64_t lives, cuts, stops, commits, chains;
} sim;

static uint64_t
dice(uint64_t limit)
{
    return rng_below(&sim.rng, limit);
}

static bool
is_dead(void)
{
    return powercut_is_off(sim.disk) || fx->is_out_of_service;
}

static void
as_session(int session)
{
    fx_as(fx_member(fx->sessions[session].worker));
}

static void
mail(void)
{
    fx_mail();
    if (is_dead()) // messages that cannot be read are dropped; the next life will have them
        sim.model.suspicion_count = 0;
    model_mail_arrived(&sim.model);
}

// Until all mail has arrived; the store works meanwhile or not, as the seed says.
static void
settle_mail(void)
{
    fx_turns(2 + (int)dice(2));
    mail();
}

// --- what sessions are told ---

static void
on_published(lv_handle session, uint64_t number, unsigned accepted, unsigned refused)
{
    struct model *m = &sim.model;
    int s = (int)handle_index(session);
    if (sim.is_over)
        return;
    if ((number & TX_BIT) == 0) {
        MODEL_CHECK(m, refused == 0 || m->has_faults || powercut_is_off(sim.disk), number,
                    "a publish was refused");
        model_answered(m, s, number, refused == 0);
        return;
    }
    struct sim_tx *tx = &m->txs[number & ~TX_BIT];
    tx->waiting--;
    tx->is_refused |= refused > 0;
}

static int
slot_of(uint32_t queue)
{
    for (int i = 0; i < SLOTS; i++)
        if (sim.slots[i] == queue)
            return i;
    return -1;
}

static void
on_deliver(struct worker *w, const struct delivery *d)
{
    if (!sim.is_over) {
        int s = (int)handle_index(d->session);
        uint32_t q = model_queue_of(&sim.model, d->queue);
        struct entry *e = model_arrived(&sim.model, q, d->msg, d->seq, d->delivery_count, d->is_redelivered,
                                        s, (int)d->consumer_id);
        if (e != NULL && (sim.consumer_flags[s][slot_of(q)] & CONSUMER_NO_ACK) != 0)
            model_take(&sim.model, e, s);
    }
    message_unref(d->msg);
}

// --- steps ---

static uint32_t
random_queue(void)
{
    return sim.slots[dice(SLOTS)];
}

static struct message *
new_message(uint64_t id, bool is_persistent, int64_t ttl_ms)
{
    uint64_t kind = dice(40);
    uint32_t len = kind == 0  ? 3000 + (uint32_t)dice(9000) // a file of its own
                   : kind < 6 ? 200 + (uint32_t)dice(1500)
                              : 8 + (uint32_t)dice(100);
    struct message *msg = fx_message(id, len);
    assert_non_null(msg);
    msg->flags = is_persistent ? MESSAGE_PERSISTENT : 0;
    if (ttl_ms >= 0) {
        msg->flags |= MESSAGE_HAS_EXPIRY;
        msg->expiry_ms = (uint32_t)ttl_ms;
    }
    return msg;
}

// How long the next message lives; -1: for ever.
static int64_t
random_ttl(void)
{
    return dice(3) != 0 ? -1 : (int64_t)dice(dice(4) == 0 ? 20 : 2000);
}

static void
expires(struct entry *e, int64_t ttl_ms)
{
    e->at_ms = ttl_ms < 0 ? 0 : sim.model.now_ms + ttl_ms;
    e->is_maybe |= ttl_ms == 0; // at once
}

static void
publish(int session)
{
    struct model *m = &sim.model;
    uint32_t first = random_queue();
    lv_handle handles[3] = {m->queues[first].handle};
    unsigned count = 1;
    bool is_persistent = dice(10) != 0;
    if (m->entry_count + 4 > SIM_ENTRIES || handles[0] == 0)
        return;
    uint64_t id = m->next_id++;
    int64_t ttl_ms = random_ttl();
    expires(model_publish(m, first, id, session, is_persistent), ttl_ms);
    for (int i = 0; i < SLOTS && count < 3 && dice(6) == 0; i++) {
        uint32_t q = sim.slots[i];
        if (q == first || m->queues[q].worker != m->queues[first].worker || m->queues[q].handle == 0)
            continue;
        handles[count++] = m->queues[q].handle;
        expires(model_publish(m, q, id, session, is_persistent), ttl_ms);
    }
    struct message *msg = new_message(id, is_persistent, ttl_ms);
    as_session(session);
    queue_publish(msg, handles, count, fx->sessions[session].handle, id);
    message_unref(msg);
    settle_mail();
}

// Settles some of what the session has from one queue.
static void
settle(int session)
{
    struct model *m = &sim.model;
    uint64_t seqs[64];
    size_t count = 0, most = 1 + dice(dice(3) == 0 ? 60 : 6);
    uint32_t queue = random_queue();
    uint64_t kind_dice = dice(10);
    enum settle_kind kind = kind_dice < 6   ? SETTLE_ACK
                            : kind_dice < 7 ? SETTLE_REJECT
                            : kind_dice < 9 ? SETTLE_REQUEUE
                                            : SETTLE_RETURN;
    for (uint32_t i = 0; i < m->entry_count && count < most; i++) {
        struct entry *e = &m->entries[i];
        if (e->queue != queue || e->state != ENTRY_OUT || e->session != session || e->ack_tx != 0 ||
            dice(4) == 0)
            continue;
        seqs[count++] = e->seq;
        if (kind == SETTLE_ACK || kind == SETTLE_REJECT) {
            model_take(m, e, session);
            continue;
        }
        if (kind == SETTLE_RETURN || model_requeued(m, e, session))
            e->state = ENTRY_QUEUED;
        e->is_maybe |= e->state == ENTRY_QUEUED && e->at_ms != 0 && e->at_ms <= m->now_ms;
    }
    as_session(session);
    if (count > 0)
        queue_settle(m->queues[queue].handle, kind, seqs, count);
    settle_mail();
}

static void
consume(int session)
{
    uint64_t slot = dice(SLOTS);
    lv_handle *c = &sim.consumers[session][slot];
    lv_handle queue = sim.model.queues[sim.slots[slot]].handle;
    if (queue == 0)
        return;
    if (*c != 0) {
        fx_cancel(session, queue, *c);
        *c = 0;
    } else if (!sim.is_trickle || dice(4) == 0) {
        sim.consumer_flags[session][slot] = dice(6) == 0 ? CONSUMER_NO_ACK : 0;
        *c = fx_consumer(&(struct fx_consume){.session = session,
                                              .queue = queue,
                                              .id = (uint32_t)slot,
                                              .flags = sim.consumer_flags[session][slot],
                                              .prefetch = 1 + (uint32_t)dice(20)});
    }
    settle_mail();
}

// The next message; false: there is none.
static bool
get(int session, uint32_t queue, bool is_no_ack)
{
    struct model *m = &sim.model;
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, m->queues[queue].handle);
    r->is_no_ack = is_no_ack;
    r = fx_request(session, r);
    bool is_there = r->outcome == QUEUE_OK;
    if (is_there) {
        struct entry *e =
            model_arrived(m, queue, r->msg, r->seq, r->delivery_count, r->is_redelivered, session, -1);
        if (e != NULL && is_no_ack)
            model_take(m, e, session);
    }
    queue_request_free(r);
    return is_there;
}

// A verdict is under way: what it lets in may be before or behind what is done now.
static bool
is_verdict_open(void)
{
    for (int s = 0; s < SIM_SESSIONS; s++)
        if (sim.open_txs[s] != 0 && sim.model.txs[sim.open_txs[s]].is_ended)
            return true;
    return false;
}

static void
purge(int session)
{
    uint32_t queue = random_queue();
    uint64_t count = 0;
    if (sim.model.queues[queue].handle == 0 || is_verdict_open())
        return;
    mail(); // what is on its way to sessions has been delivered
    assert_int_equal(fx_simple(session, QUEUE_REQUEST_PURGE, sim.model.queues[queue].handle, &count),
                     QUEUE_OK);
    mail();
    model_purged(&sim.model, queue, is_dead() ? PURGE_UNKNOWN : count, session);
}

static uint32_t
new_queue(void)
{
    struct model *m = &sim.model;
    assert_true(m->queue_count < SIM_QUEUES);
    uint32_t i = m->queue_count++;
    uint64_t kind = dice(10);
    struct sim_queue *q = &m->queues[i];
    *q = (struct sim_queue){.worker = (int)dice(SIM_WORKERS)};
    q->flags = kind == 0   ? 0
               : kind == 1 ? QUEUE_DURABLE | QUEUE_RELAXED_OS
               : kind == 2 ? QUEUE_DURABLE | QUEUE_RELAXED_MEMORY
                           : QUEUE_DURABLE;
    q->rules = queue_rules_none;
    if (dice(4) == 0)
        q->rules.max_priority = dice(2) == 0 ? 3 : 200;
    if (dice(8) == 0)
        q->rules.max_length = dice(60);
    q->limit = dice(2) == 0 ? 0 : dice(2) == 0 ? 1 + (uint32_t)dice(3) : 1000;
    if (q->limit != 0)
        q->rules.delivery_limit = q->limit;
    fx->rules = &q->rules;
    q->handle = fx_queue(q->worker, q->flags);
    q->id = fx_queue_id(q->handle);
    return i;
}

static void
forget_consumers(int slot)
{
    for (int s = 0; s < SIM_SESSIONS; s++)
        sim.consumers[s][slot] = 0;
}

// An open transaction keeps the ring from coming round: a delete may have to wait until it ends, and nobody ends it meanwhile.
static bool
is_ring_held(void)
{
    bool is_open = false, is_wanted = false;
    for (int s = 0; s < SIM_SESSIONS; s++)
        is_open |= sim.open_txs[s] != 0;
    for (int w = 0; w < SIM_WORKERS; w++)
        is_wanted |= queue_worker_is_full(fx_member(w)) || fx_durable(w)->vacating != 0;
    return is_open && is_wanted;
}

static void
delete_queue(void)
{
    struct model *m = &sim.model;
    int slot = (int)dice(SLOTS);
    struct sim_queue *q = &m->queues[sim.slots[slot]];
    if (q->handle == 0 || m->queue_count == SIM_QUEUES || is_verdict_open() || is_ring_held())
        return;
    mail();
    powercut_set_capacity(sim.disk,
                          UINT64_MAX / 2); // it is answered when there is room for the word about it
    q->is_delete_open = true;
    uint32_t index = sim.slots[slot];
    for (uint32_t i = 0; i < m->entry_count; i++) // what is out is settled by nobody any more
        if (m->entries[i].queue == index && m->entries[i].state != ENTRY_GONE)
            m->entries[i].is_maybe = true;
    assert_int_equal(fx_simple(-1, QUEUE_REQUEST_DELETE, q->handle, NULL), QUEUE_OK);
    mail();
    forget_consumers(slot);
    q->handle = 0;
    if (is_dead())
        return; // nobody knows
    q->is_deleted = true;
    for (uint32_t i = 0; i < m->entry_count; i++)
        if (m->entries[i].queue == index) {
            m->entries[i].state = ENTRY_GONE;
            m->entries[i].tx = m->entries[i].ack_tx = 0;
        }
    sim.slots[slot] = new_queue();
}

// --- transactions ---

static void
tx_publish(int session, uint32_t tx)
{
    struct model *m = &sim.model;
    uint32_t queue = random_queue();
    lv_handle handle = m->queues[queue].handle;
    if (handle == 0 || m->entry_count + 1 > SIM_ENTRIES)
        return;
    bool is_persistent = dice(8) != 0;
    uint64_t id = m->next_id++;
    struct entry *e = model_publish(m, queue, id, session, is_persistent);
    e->state = ENTRY_HELD;
    e->was_tx = true;
    e->tx = tx;
    int64_t ttl_ms = random_ttl();
    expires(e, ttl_ms);
    struct message *msg = new_message(id, is_persistent, ttl_ms);
    m->txs[tx].waiting++;
    m->txs[tx].is_logged |= is_persistent;
    m->txs[tx].workers |= UINT64_C(1) << m->queues[queue].worker;
    as_session(session);
    queue_tx_publish(m->txs[tx].id, msg, &handle, 1, fx->sessions[session].handle, tx | TX_BIT);
    message_unref(msg);
    settle_mail();
}

static void
tx_ack(int session, uint32_t tx)
{
    struct model *m = &sim.model;
    for (uint32_t i = 0, n = 0; i < m->entry_count && n < 5; i++) {
        struct entry *e = &m->entries[i];
        if (e->state != ENTRY_OUT || e->session != session || e->ack_tx != 0 || dice(3) != 0)
            continue;
        e->ack_tx = tx;
        m->txs[tx].workers |= UINT64_C(1) << m->queues[e->queue].worker;
        m->txs[tx].is_logged = true;
        as_session(session);
        queue_tx_ack(m->txs[tx].id, m->queues[e->queue].handle, SETTLE_ACK, &e->seq, 1);
        n++;
    }
    settle_mail();
}

static void
tx_done(struct queue_tx *t)
{
    struct sim_commit *c = LV_CONTAINER_OF(t, struct sim_commit, t);
    struct model *m = &sim.model;
    bool is_committed = t->result == 0 && !t->is_abort;
    bool is_unknown = t->result != 0 && t->result != -LE_NOSPACE && t->result != -LE_NOMEM;
    sim.open_txs[m->txs[c->tx].session] = 0;
    if (!sim.is_over && !is_unknown) {
        MODEL_CHECK(m, t->is_abort || !is_committed || !m->txs[c->tx].is_refused, c->tx,
                    "a refused transaction was committed");
        sim.commits += is_committed;
        model_tx_decided(m, c->tx, is_committed);
        for (uint32_t i = 0; is_committed && i < m->entry_count; i++) {
            struct entry *e = &m->entries[i];
            if (e->ack_tx != c->tx)
                continue;
            e->ack_tx = 0;
            if (e->state != ENTRY_OUT)
                continue;
            e->state = ENTRY_GONE;
            e->consumer = -2; // the COMMIT is durable
            queue_settle(m->queues[e->queue].handle, SETTLE_ACK, &e->seq, 1);
        }
    }
    mem_free(c);
}

static void
tx_lost(struct queue_tx *t)
{
    mem_free(LV_CONTAINER_OF(t, struct sim_commit, t));
}

static void
tx_end(int session, uint32_t tx)
{
    struct sim_tx *x = &sim.model.txs[tx];
    mail();
    if (x->waiting > 0 || x->is_ended)
        return; // it waits for its publishes, or for the verdict
    x->is_ended = true;
    struct sim_commit *c = mem_xcalloc(1, sizeof(*c));
    c->tx = tx;
    x->is_abort = x->is_refused || dice(6) == 0;
    c->t = (struct queue_tx){.tx = x->id,
                             .workers = x->workers,
                             .is_logged = x->is_logged,
                             .is_abort = x->is_abort,
                             .done = tx_done,
                             .abandon = tx_lost};
    as_session(session);
    queue_tx_end(&c->t);
    if (dice(2) == 0)
        settle_mail();
}

static void
transaction(int session)
{
    struct model *m = &sim.model;
    uint32_t tx = sim.open_txs[session];
    if (tx == 0) {
        if (m->tx_count + 1 == SIM_TXS)
            return;
        tx = sim.open_txs[session] = ++m->tx_count;
        as_session(session);
        m->txs[tx] = (struct sim_tx){.id = queue_tx_new(), .session = session};
    }
    if (m->txs[tx].is_ended)
        return;
    for (uint64_t n = dice(6); n > 0; n--)
        tx_publish(session, tx);
    if (dice(2) == 0)
        tx_ack(session, tx);
    if (dice(3) != 0)
        tx_end(session, tx);
}

// --- lives ---

static void
plan_faults(void)
{
    bool is_small = false;
    struct powercut_fault f = {.calls = CUT_CHANGES, .at = 1 + dice(600), .count = 1};
    switch (dice(12)) {
    case 0: f.calls = CUT_FDATASYNC; // fall through
    case 1: f.error = -LE_IO; break;
    case 2:
        f.error = -LE_NOSPACE;
        f.count = 1 + dice(60);
        break;
    case 3: // short for ever
        f.calls = CUT_WRITE;
        f.count = 0;
        break;
    case 4:
        powercut_set_capacity(sim.disk, 16384 * (6 + dice(12)) + dice(9000));
        is_small = true;
        break;
    case 5:
        f.error = -LE_IO;
        f.count = 2 + dice(3);
        break;
    default: break;
    }
    if (f.error != 0 || f.count == 0)
        powercut_plan(sim.disk, &f);
    // What is refused, and what is not written any more, is not followed in detail.
    sim.model.has_faults = f.error != 0 || is_small;
    if (dice(3) != 0)
        powercut_plan(sim.disk,
                      &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + dice(1500), .is_off = true});
}

static void
step(void)
{
    int session = (int)dice(SIM_SESSIONS);
    uint64_t what = dice(1000);
    model_time(&sim.model, (int64_t)dice(8));
    mail(); // and all have seen it
    if (what < (sim.is_trickle ? 600 : 350))
        publish(session);
    else if (what < 700)
        settle(session);
    else if (what < 780)
        consume(session);
    else if (what < 860 && sim.model.queues[sim.slots[0]].handle != 0)
        (void)get(session, sim.slots[0], dice(3) == 0);
    else if (what < 867)
        purge(session);
    else if (what < 872)
        delete_queue();
    else if (what < 930)
        transaction(session);
    else
        fx_turns(1 + (int)dice(10));
    mail();
}

// Everything that is there comes out, and goes back as it was.
static void
drain_all(void)
{
    struct model *m = &sim.model;
    for (int i = 0; i < SLOTS && m->failure == NULL; i++) {
        uint32_t q = sim.slots[i];
        bool is_synced = m->queues[q].handle != 0;
        if (!is_synced)
            continue;
        while (m->failure == NULL && !is_dead() && get(0, q, false))
            model_mail_arrived(m);
        if (!is_dead())
            model_drained(m, q);
    }
    if (!is_dead())
        model_check_txs(m);
    as_session(0);
    for (uint32_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (e->state != ENTRY_OUT)
            continue;
        e->state = ENTRY_QUEUED;
        e->is_maybe |= e->at_ms != 0 && e->at_ms <= m->now_ms;
        queue_settle(m->queues[e->queue].handle, SETTLE_RETURN, &e->seq, 1);
        m->recovered++;
    }
    mail();
}

static bool
start(bool is_first)
{
    struct model *m = &sim.model;
    sim.config.is_restart = !is_first;
    sim.config.store_seed = 1 + dice(UINT64_MAX / 2);
    if (fx_try_open(&sim.config) != 0) {
        MODEL_CHECK(m, powercut_is_off(sim.disk), 0, "the store does not open");
        powercut_cut(sim.disk);
        return false;
    }
    fx->on_published = on_published;
    fx->on_deliver = on_deliver;
    fx->queue_flags = 0;
    fx->priorities = 10;
    for (int s = 0; s < SIM_SESSIONS; s++)
        fx_session_on(s, s % SIM_WORKERS);
    bool is_good = true;
    for (uint32_t i = 0; !is_first && is_good && i < m->queue_count; i++) {
        struct sim_queue *q = &m->queues[i];
        if (q->is_deleted || (q->flags & QUEUE_DURABLE) == 0)
            continue;
        fx->rules = &q->rules;
        q->handle = fx_queue_back(q->worker, q->flags, q->id);
        is_good = q->handle != 0;
    }
    if (is_good && (is_first || fx_recovered() == 0))
        return true;
    MODEL_CHECK(m, powercut_is_off(sim.disk), 0, "recovery fails");
    fx_crash(FX_CUT);
    return false;
}

static void
fill_slots(void)
{
    struct model *m = &sim.model;
    memset(sim.consumers, 0, sizeof sim.consumers);
    memset(sim.open_txs, 0, sizeof sim.open_txs);
    int slot = 0;
    for (uint32_t i = 0; i < m->queue_count && slot < SLOTS; i++) {
        m->queues[i].is_delete_open = false;
        if (!m->queues[i].is_deleted && m->queues[i].handle != 0)
            sim.slots[slot++] = i;
    }
    while (slot < SLOTS)
        sim.slots[slot++] = new_queue();
}

// Transient queues go with the process; what the topology knows of a deleted one may have stayed.
static void
forget_queues(void)
{
    struct model *m = &sim.model;
    for (uint32_t i = 0; i < m->queue_count; i++) {
        struct sim_queue *q = &m->queues[i];
        q->handle = 0;
        if ((q->flags & QUEUE_DURABLE) == 0)
            q->is_deleted = true;
    }
}

static void
end_life(void)
{
    struct model *m = &sim.model;
    bool is_crash = is_dead() || dice(3) != 0;
    if (!is_crash) {
        bool is_quiet = false;
        for (int s = 0; s < SIM_SESSIONS; s++) // what they hold stays in the ring
            if (sim.open_txs[s] != 0)
                tx_end(s, sim.open_txs[s]);
        powercut_set_capacity(sim.disk, UINT64_MAX / 2);
        for (int n = 0; n < 20000 && !is_dead() && !is_quiet; n++, fx_turns(1))
            is_quiet =
                fx_is_quiet() && !queue_worker_is_full(fx_member(0)) && !queue_worker_is_full(fx_member(1));
        is_crash = is_dead();
        MODEL_CHECK(m, is_quiet || is_crash, 0, "it does not come to rest");
    }
    mail(); // what was delivered without acks is consumed, although nobody has seen it yet
    sim.is_over = true;
    if (is_crash) {
        fx_crash(dice(3) == 0 ? FX_KILL : FX_CUT);
        sim.cuts++;
    } else {
        powercut_clear_plan(sim.disk);
        powercut_set_capacity(sim.disk, UINT64_MAX / 2);
        fx_close();
        m->ended_full = fx_stopped_full;
        sim.stops++;
    }
    sim.is_over = false;
    model_ended(m, is_crash ? MODEL_CRASH : MODEL_ORDERLY);
    forget_queues();
}

static void
live_on(uint64_t steps)
{
    for (uint64_t n = 0; n < steps && sim.model.failure == NULL && !is_dead(); n++) {
        step();
        for (int w = 0; w < SIM_WORKERS; w++)
            sim.model.was_full |= queue_worker_is_full(fx_member(w));
        if (n == steps / 2)
            powercut_set_capacity(sim.disk, UINT64_MAX / 2); // space comes back
    }
}

static void
one_life(bool is_first, bool is_last)
{
    struct model *m = &sim.model;
    sim.lives++;
    sim.is_trickle = dice(2) == 0;
    powercut_clear_plan(sim.disk);
    powercut_set_capacity(sim.disk, UINT64_MAX / 2);
    if (!is_first && !is_last && dice(5) == 0) // dies while it starts
        powercut_plan(sim.disk,
                      &(struct powercut_fault){.calls = CUT_ANY, .at = 1 + dice(150), .is_off = true});
    if (!start(is_first)) {
        forget_queues();
        model_start_failed(m);
        return;
    }
    powercut_clear_plan(sim.disk);
    fill_slots();
    model_time(m, (int64_t)dice(500));
    mail();
    bool is_drained = is_last || dice(2) == 0 || getenv("LV_SIM_DRAIN") != NULL;
    if (!is_first && is_drained)
        drain_all();
    for (uint32_t i = 0; i < m->entry_count; i++)
        m->entries[i].tx = m->entries[i].ack_tx = 0;
    if (!is_last && m->failure == NULL) {
        plan_faults();
        live_on(50 + dice(400));
    }
    if (m->failure == NULL)
        end_life();
}

static const char *
run_seed(uint64_t seed)
{
    uint64_t confirmed = sim.model.confirmed, delivered = sim.model.delivered,
             recovered = sim.model.recovered;
    memset(&sim.model, 0, sizeof sim.model);
    sim.model.confirmed = confirmed;
    sim.model.delivered = delivered;
    sim.model.recovered = recovered;
    sim.model.next_id = seed * 1000000;
    sim.model.next_op = 1;
    sim.model.now_ms = INT64_C(1700000000000);
    rng_init(&sim.rng, seed);
    sim.disk = powercut_new(seed ^ 0x5eed);
    sim.config = (struct fx_config){
        .workers = SIM_WORKERS,
        .disk = sim.disk,
        .delay_max = 1 + (uint32_t)dice(6),
        .page_percent = dice(2) == 0 ? (uint32_t)dice(100) : 0,
        .segment_bytes = 16384u << dice(2),
        .segment_max = 7 + (uint32_t)dice(3),
        .rewrite_max = 512 + dice(4096),
        .written_max = dice(3) == 0 ? dice(20000) : 0,
        .body_max = dice(3) == 0 ? 5000 + dice(50000) : 0,
    };
    uint64_t lives = 2 + dice(5);
    for (uint64_t n = 0; n < lives && sim.model.failure == NULL; n++)
        one_life(n == 0, false);
    if (sim.model.failure == NULL)
        one_life(false, true);
    if (sim.model.failure == NULL)
        powercut_free(sim.disk);
    return sim.model.failure;
}

static uint64_t seed_at_work; // 0: none

// An assertion of the fixture ends the process.
static void
say_seed(void)
{
    if (seed_at_work != 0)
        printf("seed %llu: an assertion failed\n", (unsigned long long)seed_at_work);
}

int
main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
             count = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
#ifdef LV_PLANTED_BUGS
    queue_planted_bugs = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0;
#endif
    const struct log_config quiet = {.file_level = LOG_NONE, .console_level = LOG_NONE};
    if (getenv("LV_SIM_LOG") == NULL && log_configure(&quiet) != 0)
        return 2;
    int status = 0;
    model_clock(&sim.model);
    atexit(say_seed);
    for (uint64_t seed = first; seed < first + count && status == 0; seed++) {
        seed_at_work = seed;
        const char *failure = run_seed(seed);
        seed_at_work = 0;
        if (failure != NULL) {
            printf("seed %llu: %s (message %llu)\n", (unsigned long long)seed, failure,
                   (unsigned long long)sim.model.failed_id);
            model_print(&sim.model, sim.model.failed_id);
            status = 1;
        }
    }
    printf("%llu lives, %llu cuts, %llu orderly stops, %llu confirmed, %llu delivered, %llu recovered, %llu "
           "transactions\n",
           (unsigned long long)sim.lives, (unsigned long long)sim.cuts, (unsigned long long)sim.stops,
           (unsigned long long)sim.model.confirmed, (unsigned long long)sim.model.delivered,
           (unsigned long long)sim.model.recovered, (unsigned long long)sim.commits);
    return status;
}
