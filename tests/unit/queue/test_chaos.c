// test_chaos.c: three workers, rings delayed at random, bodies paged out: sessions on every worker publish
// to, consume from and settle with queues of every worker. What holds in every order of events is checked:
// nothing lost, nothing twice, flags and counts right, order kept, prefetch, windows and shared limits never
// exceeded, every operation answered once.
#include "fixture.h"

#include <limits.h>
#include <stdlib.h>

#include "src/base/mem.h"

enum { WORKERS = 3, QUEUES = 2, SESSIONS = 3, SLOTS = 3, MESSAGES = 64, STEPS = 80, SHARED_LIMIT = 2 };

enum place { NOWHERE, IN_QUEUE, HELD, OVER };

struct tracked {
    enum place place;
    int queue, session, slot; // session and slot while HELD; slot -1: by get
    uint64_t seq;
    uint32_t requeues;
    bool was_returned; // by SETTLE_RETURN: it may be delivered out of line with the first ones
};

struct slot {
    enum { SLOT_FREE, SLOT_OPENING, SLOT_OPEN, SLOT_CLOSING } state;
    int queue;
    lv_handle consumer;
    uint32_t flags, prefetch, held;
    uint64_t window;  // not used
    uint32_t granted; // of the shared limit, neither used nor back
    bool is_waiting;
};

struct session_model {
    struct slot slots[SLOTS];
    uint32_t shared_used;       // granted or held by slots with the shared limit
    uint64_t first_seq[QUEUES]; // of the last message delivered for the first time
    unsigned publishes, answers;
};

static struct chaos {
    struct rng rng;
    lv_handle queues[QUEUES];
    struct tracked messages[MESSAGES];
    uint64_t base; // id of messages[0]
    uint32_t published;
    struct session_model sessions[SESSIONS];
    unsigned requests; // not answered
    uint64_t purged, acked, rejected, no_ack, got_no_ack;
    uint64_t deliveries; // of all sequences
} chaos;

static uint64_t
dice(uint64_t limit)
{
    return rng_below(&chaos.rng, limit);
}

static void
as_session(int session)
{
    fx_as(fx_member(fx->sessions[session].worker));
}

static struct tracked *
tracked_of(const struct message *msg)
{
    uint64_t id = fx_message_id(msg);
    assert_in_range(id, chaos.base, chaos.base + chaos.published - 1);
    return &chaos.messages[id - chaos.base];
}

// What must be true of any message that reaches somebody.
static struct tracked *
arrived(const struct message *msg, int session, lv_handle queue, uint64_t seq, uint32_t count,
        bool is_redelivered)
{
    struct tracked *t = tracked_of(msg);
    assert_int_equal(t->place, IN_QUEUE);
    assert_true(chaos.queues[t->queue] == queue);
    assert_true(t->seq == 0 || t->seq == seq);
    t->seq = seq;
    assert_int_equal(count, t->requeues);
    assert_int_equal(is_redelivered, t->requeues > 0);
    t->place = HELD;
    t->session = session;
    return t;
}

static void
poke_waiting(struct session_model *s)
{
    for (int i = 0; i < SLOTS && s->shared_used < SHARED_LIMIT; i++) {
        struct slot *slot = &s->slots[i];
        if (!slot->is_waiting || slot->state != SLOT_OPEN)
            continue;
        slot->is_waiting = false;
        if (dice(2) == 0) {
            consumer_poke(slot->consumer);
        } else {
            slot->granted++;
            s->shared_used++;
            consumer_grant_shared(slot->consumer, 1);
        }
    }
}

static void
chaos_deliver(struct worker *w, const struct delivery *d)
{
    int session = (int)handle_index(d->session);
    struct session_model *s = &chaos.sessions[session];
    struct slot *slot = &s->slots[d->consumer_id];
    assert_ptr_equal(w, fx_member(fx->sessions[session].worker));
    assert_true(slot->state == SLOT_OPEN || slot->state == SLOT_CLOSING);
    struct tracked *t = arrived(d->msg, session, d->queue, d->seq, d->delivery_count, d->is_redelivered);
    assert_int_equal(t->queue, slot->queue);
    t->slot = (int)d->consumer_id;
    if (t->requeues == 0 && !t->was_returned) {
        assert_true(d->seq > s->first_seq[t->queue]);
        s->first_seq[t->queue] = d->seq;
    }
    assert_true(slot->window > 0);
    slot->window--;
    slot->held++;
    if ((slot->flags & CONSUMER_SHARED_LIMIT) != 0) {
        assert_true(slot->granted > 0);
        slot->granted--; // it counts as held now
        assert_true(s->shared_used <= SHARED_LIMIT);
    } else if (slot->prefetch > 0 && (slot->flags & CONSUMER_NO_ACK) == 0) {
        assert_true(slot->held <= slot->prefetch);
    }
    chaos.deliveries++;
    if ((slot->flags & CONSUMER_NO_ACK) != 0) {
        t->place = OVER;
        chaos.no_ack++;
        slot->held--;
        if ((slot->flags & CONSUMER_SHARED_LIMIT) != 0)
            s->shared_used--;
    }
    message_unref(d->msg);
}

static void
chaos_ready(struct worker *w, lv_handle session, uint32_t consumer_id, lv_handle consumer)
{
    struct session_model *s = &chaos.sessions[handle_index(session)];
    struct slot *slot = &s->slots[consumer_id];
    if (slot->state != SLOT_OPEN && slot->state != SLOT_CLOSING)
        fail_msg("asked for a consumer that is not there");
    bool has_room = s->shared_used < SHARED_LIMIT && slot->state == SLOT_OPEN;
    if (has_room) {
        slot->granted++;
        s->shared_used++;
    }
    slot->is_waiting = !has_room;
    consumer_grant_shared(consumer, has_room ? 1 : 0);
}

static void
chaos_unused(struct worker *w, lv_handle session, uint32_t consumer_id, uint32_t count)
{
    struct session_model *s = &chaos.sessions[handle_index(session)];
    assert_true(s->slots[consumer_id].granted >= count);
    s->slots[consumer_id].granted -= count;
    s->shared_used -= count;
    poke_waiting(s);
}

// --- steps ---

static void
step_publish(int session)
{
    as_session(session);
    for (uint64_t n = 1 + dice(3); n > 0 && chaos.published < MESSAGES; n--) {
        int queue = (int)dice(QUEUES);
        uint64_t id = chaos.base + chaos.published;
        chaos.messages[chaos.published++] = (struct tracked){.place = IN_QUEUE, .queue = queue};
        chaos.sessions[session].publishes++;
        struct message *m = fx_message(id, 16);
        queue_publish(m, &chaos.queues[queue], 1, fx->sessions[session].handle, id);
        message_unref(m);
    }
}

static void
settle_one(struct tracked *t, enum settle_kind kind)
{
    struct session_model *s = &chaos.sessions[t->session];
    if (t->slot >= 0) {
        struct slot *slot = &s->slots[t->slot];
        slot->held--;
        if ((slot->flags & CONSUMER_SHARED_LIMIT) != 0)
            s->shared_used--;
    }
    switch (kind) {
    case SETTLE_ACK: chaos.acked++; break;
    case SETTLE_REJECT: chaos.rejected++; break;
    case SETTLE_REQUEUE: t->requeues++; break;
    case SETTLE_RETURN: t->was_returned = true; break;
    }
    t->place = kind == SETTLE_ACK || kind == SETTLE_REJECT ? OVER : IN_QUEUE;
}

static void
settle_some(int session, int slot, uint64_t one_in)
{
    enum settle_kind kind = (enum settle_kind)dice(4);
    as_session(session);
    for (int queue = 0; queue < QUEUES; queue++) {
        uint64_t seqs[MESSAGES];
        size_t count = 0;
        for (uint32_t i = 0; i < chaos.published; i++) {
            struct tracked *t = &chaos.messages[i];
            if (t->place != HELD || t->session != session || t->queue != queue || dice(one_in) != 0)
                continue;
            if (slot != INT_MIN && t->slot != slot)
                continue;
            seqs[count++] = t->seq;
            settle_one(t, kind);
        }
        queue_settle(chaos.queues[queue], kind, seqs, count);
    }
    poke_waiting(&chaos.sessions[session]);
}

static struct slot *
slot_of(const struct queue_request *r)
{
    return &chaos.sessions[handle_index(r->session)].slots[r->consumer_id];
}

static void
consume_done(struct queue_request *r)
{
    struct slot *slot = slot_of(r);
    chaos.requests--;
    assert_int_equal(r->outcome, QUEUE_OK);
    assert_int_equal(slot->state, SLOT_OPENING);
    slot->state = SLOT_OPEN;
    slot->consumer = r->consumer;
    queue_request_free(r);
}

static void
cancel_done(struct queue_request *r)
{
    struct slot *slot = slot_of(r);
    struct session_model *s = &chaos.sessions[handle_index(r->session)];
    chaos.requests--;
    assert_int_equal(r->outcome, QUEUE_OK);
    assert_int_equal(slot->state, SLOT_CLOSING);
    s->shared_used -= slot->granted; // grants on their way to a consumer that is gone
    slot->granted = 0;
    slot->state = slot->held == 0 ? SLOT_FREE : SLOT_CLOSING;
    slot->consumer = 0;
    queue_request_free(r);
}

static void
send_request(int session, struct queue_request *r, void (*done)(struct queue_request *r))
{
    as_session(session);
    r->session = fx->sessions[session].handle;
    r->done = done;
    chaos.requests++;
    queue_request_send(r);
}

static void
step_consume(int session)
{
    uint32_t i = (uint32_t)dice(SLOTS);
    struct slot *slot = &chaos.sessions[session].slots[i];
    if (slot->state == SLOT_OPEN) {
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, chaos.queues[slot->queue]);
        r->consumer = slot->consumer;
        r->consumer_id = i;
        slot->state = SLOT_CLOSING;
        send_request(session, r, cancel_done);
        return;
    }
    if (slot->state == SLOT_CLOSING && slot->consumer == 0) {
        settle_some(session, (int)i, 1); // the rest of what it held
        slot->state = SLOT_FREE;
    }
    if (slot->state != SLOT_FREE)
        return;
    *slot = (struct slot){.state = SLOT_OPENING, .queue = (int)dice(QUEUES)};
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_CONSUME, chaos.queues[slot->queue]);
    const uint32_t flags[] = {0, 0, CONSUMER_NO_ACK, CONSUMER_SHARED_LIMIT, CONSUMER_SHARED_LIMIT};
    slot->flags = r->consumer_flags = flags[dice(LV_ARRAY_LEN(flags))];
    slot->prefetch = r->prefetch = (uint32_t)dice(4);
    slot->window = r->window_count = (uint32_t)dice(15);
    r->window_bytes = UINT32_MAX;
    r->priority = (int32_t)dice(2);
    r->consumer_id = i;
    send_request(session, r, consume_done);
}

static void
get_done(struct queue_request *r)
{
    chaos.requests--;
    if (r->outcome == QUEUE_OK) {
        struct tracked *t = arrived(r->msg, (int)handle_index(r->session), r->queue, r->seq,
                                    r->delivery_count, r->is_redelivered);
        t->slot = -1;
        t->was_returned = true; // gets are a line of their own
        if (r->is_no_ack) {
            t->place = OVER;
            chaos.got_no_ack++;
        }
    } else {
        assert_int_equal(r->outcome, QUEUE_EMPTY);
    }
    queue_request_free(r);
}

static void
purge_done(struct queue_request *r)
{
    chaos.requests--;
    chaos.purged += r->message_count;
    queue_request_free(r);
}

static void
step_request(int session)
{
    bool is_purge = dice(12) == 0;
    struct queue_request *r =
        queue_request_new(is_purge ? QUEUE_REQUEST_PURGE : QUEUE_REQUEST_GET, chaos.queues[dice(QUEUES)]);
    r->is_no_ack = dice(2) == 0;
    send_request(session, r, is_purge ? purge_done : get_done);
}

static void
step_window(int session)
{
    struct slot *slot = &chaos.sessions[session].slots[dice(SLOTS)];
    if (slot->state != SLOT_OPEN)
        return;
    uint32_t more = (uint32_t)dice(10);
    slot->window += more;
    as_session(session);
    consumer_grant_window(slot->consumer, more, more);
}

static void
step(void)
{
    int session = (int)dice(SESSIONS);
    uint64_t what = dice(100);
    if (what < 25)
        step_publish(session);
    else if (what < 45)
        settle_some(session, INT_MIN, 1 + dice(3));
    else if (what < 58)
        step_consume(session);
    else if (what < 65)
        step_request(session);
    else if (what < 72)
        step_window(session);
    else
        worker_turn(fx_member((int)dice(WORKERS)));
}

// Everything is given up: consumers cancelled, what is held settled; what is left comes out in order.
static void
wind_up(void)
{
    fx_quiet();
    assert_int_equal(chaos.requests, 0);
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(fx->sessions[i].published_calls, chaos.sessions[i].publishes);
        assert_int_equal(fx->sessions[i].accepted, chaos.sessions[i].publishes);
        for (uint32_t k = 0; k < SLOTS; k++) {
            struct slot *slot = &chaos.sessions[i].slots[k];
            assert_int_equal(slot->granted, 0); // everything is quiet: used or given back
            if (slot->state != SLOT_OPEN)
                continue;
            struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, chaos.queues[slot->queue]);
            r->consumer = slot->consumer;
            r->consumer_id = k;
            slot->state = SLOT_CLOSING;
            send_request(i, r, cancel_done);
        }
    }
    fx_quiet();
    for (int i = 0; i < SESSIONS; i++) {
        settle_some(i, INT_MIN, 1);
        fx_quiet();
        assert_int_equal(chaos.sessions[i].shared_used, 0); // no grant lost, none twice
        fx_forget(i);
    }
}

static void
count_the_rest(void)
{
    uint64_t left = 0;
    for (int queue = 0; queue < QUEUES; queue++) {
        uint64_t last = 0;
        struct queue_stats s = fx_stats(chaos.queues[queue]);
        assert_int_equal(s.unacked + s.unacked_bytes + s.consumers, 0);
        struct fx_delivery d;
        for (uint64_t n = 0; n < s.ready; n++) {
            uint64_t id = fx_get((int)dice(SESSIONS), chaos.queues[queue], true, &d);
            assert_true(id != 0);
            struct tracked *t = &chaos.messages[id - chaos.base];
            assert_int_equal(t->place, IN_QUEUE);
            assert_int_equal(d.delivery_count, t->requeues);
            assert_true(d.seq > last);
            last = d.seq;
            t->place = OVER;
            left++;
        }
        assert_int_equal(fx_get(0, chaos.queues[queue], true, NULL), 0);
        fx_delete(chaos.queues[queue]);
    }
    assert_int_equal(chaos.published,
                     left + chaos.purged + chaos.acked + chaos.rejected + chaos.no_ack + chaos.got_no_ack);
    fx_assert_nothing_left();
}

static void
sequence(uint64_t seed)
{
    uint64_t deliveries = chaos.deliveries;
    chaos = (struct chaos){.base = seed * MESSAGES, .deliveries = deliveries};
    rng_init(&chaos.rng, seed);
    for (int i = 0; i < QUEUES; i++)
        chaos.queues[i] = fx_queue((int)dice(WORKERS), 0);
    for (int i = 0; i < STEPS; i++)
        step();
    wind_up();
    count_the_rest();
}

static uint64_t current_seed;

static int
say_seed(void **state)
{
    if (fx != NULL)
        print_error("it was LV_CHAOS_SEED=%llu\n", (unsigned long long)current_seed);
    return 0;
}

// LV_CHAOS_SEED=n runs the sequences of that seed's crew, up to it.
static void
random_sequences(void **state)
{
    enum { A_CREW = 100, SEQUENCES = 4000 };
    const char *only = getenv("LV_CHAOS_SEED");
    uint64_t to = only != NULL ? strtoull(only, NULL, 10) : SEQUENCES;
    uint64_t from = only != NULL ? (to - 1) / A_CREW * A_CREW + 1 : 1;
    for (uint64_t seed = from; seed <= to; seed++) {
        if (fx == NULL) {
            uint64_t crew = seed / A_CREW;
            fx_open(&(struct fx_config){.workers = WORKERS,
                                        .chaos_seed = crew % 4 == 3 ? 0 : crew + 1,
                                        .store_seed = crew % 2 == 1 ? crew : 0,
                                        .page_percent = 50,
                                        .delay_max = 4,
                                        .mailbox_capacity = crew % 3 == 0 ? 4 : 0});
            fx->on_deliver = chaos_deliver;
            fx->on_ready = chaos_ready;
            fx->on_unused = chaos_unused;
            for (int i = 0; i < FX_SESSIONS; i++)
                fx_session_on(i, i % WORKERS);
        }
        current_seed = seed;
        sequence(seed);
        if (seed % A_CREW == 0 || seed == to)
            fx_close();
    }
    print_message("%llu sequences, %llu deliveries\n", (unsigned long long)(to - from + 1),
                  (unsigned long long)chaos.deliveries);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(random_sequences, say_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
