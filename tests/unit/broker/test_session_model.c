// test_session_model.c: random sessions against a model: every message is in its queue, with one holder, or gone; never in two
// places, never lost. The counters of each session are looked at after each step (session_impl.h), and at the end whoever can take
// messages has been given all there are.
#include "src/base/rng.h"
#include "src/broker/session_impl.h"
#include "tests/unit/broker/session_fixture.h"

enum { SESSIONS = 3, QUEUES = 3, CONSUMERS = 4, MESSAGES = 1000, STEPS = 500, SEEDS = 4, BIG = 100 * 1024 };

enum place { NOWHERE, READY, OUT, GONE };

struct model_message {
    enum place place;
    int holder;     // OUT: session
    uint64_t tag;   // OUT
    int consumer;   // OUT: of that session; -1: got
    bool is_marked; // somebody gave it back: must come marked as redelivered
    bool is_confirmed;
};

struct model_consumer {
    bool is_there, is_no_ack;
    int queue;
};

struct model_session {
    struct sf_session *s;
    struct model_consumer consumers[CONSUMERS];
    uint64_t tag_last, tag_count;
    unsigned limit;             // global
    unsigned limit_round;       // when it was set
    uint32_t numbers[MESSAGES]; // message of each confirm number
    uint64_t number_count;
};

static struct model {
    struct model_session sessions[SESSIONS];
    struct model_message messages[MESSAGES];
    uint32_t count;
    unsigned round;
} model;

static struct rng rng;

static uint32_t
below(uint32_t n)
{
    return (uint32_t)rng_below(&rng, n);
}

static struct model_session *
model_of(const struct sf_session *s)
{
    for (int i = 0; i < SESSIONS; i++) {
        if (model.sessions[i].s == s)
            return &model.sessions[i];
    }
    fail_msg("an event for nobody");
    return NULL;
}

static unsigned
held_by_consumers(int holder)
{
    unsigned held = 0;
    for (uint32_t i = 0; i < model.count; i++) {
        const struct model_message *m = &model.messages[i];
        held += m->place == OUT && m->holder == holder && m->consumer >= 0;
    }
    return held;
}

// A message has reached a client.
static void
received(struct model_session *ms, const char *body, uint64_t tag, bool is_redelivered, int consumer,
         bool is_no_ack)
{
    struct model_message *m = &model.messages[strtoul(body, NULL, 10)];
    assert_int_equal(m->place, READY);
    assert_int_equal(is_redelivered, m->is_marked);
    ms->tag_count++;
    ms->tag_last = LV_MAX(ms->tag_last, tag); // a get is looked at later than deliveries that came behind it
    if (is_no_ack) {
        m->place = GONE;
        return;
    }
    *m = (struct model_message){.place = OUT,
                                .holder = (int)(ms - model.sessions),
                                .tag = tag,
                                .consumer = consumer,
                                .is_marked = m->is_marked,
                                .is_confirmed = m->is_confirmed};
    if (consumer >= 0 && ms->limit > 0 && model.round > ms->limit_round + 100)
        assert_true(held_by_consumers(m->holder) <= ms->limit);
}

static void
on_event(struct sf_session *s, const struct sf_event *e)
{
    struct model_session *ms = model_of(s);
    if (e->kind == 'd') {
        int consumer = e->consumer[1] - '0';
        assert_true(ms->consumers[consumer].is_there);
        received(ms, e->text, e->tag, e->is_redelivered, consumer, ms->consumers[consumer].is_no_ack);
    } else {
        assert_int_equal(e->kind, 'a');
        assert_true(e->tag >= 1 && e->tag <= ms->number_count);
        for (uint64_t n = e->tag; n >= 1; n--) {
            struct model_message *m = &model.messages[ms->numbers[n - 1]];
            if (n == e->tag)
                assert_false(m->is_confirmed); // each only once
            m->is_confirmed = true;
            if (!e->is_multiple)
                break;
        }
    }
    s->event_count = 0;
}

// What session.c counts is what there is.
static void
check_session(const struct model_session *ms)
{
    const struct session *s = ms->s->session;
    uint64_t granted = 0, unacked = 0, live = 0;
    LV_LIST_EACH (it, &s->consumer_list) {
        const struct session_consumer *c = LV_CONTAINER_OF(it, struct session_consumer, node);
        uint32_t held = 0;
        for (size_t i = 0; i < s->unacked_count; i++) {
            const struct unacked *u = &s->unacked[(s->unacked_head + i) & (s->unacked_cap - 1)];
            held += !u->is_settled && u->consumer_id == c->id;
        }
        assert_int_equal(c->unacked, held);
        assert_false(c->is_parked && list_is_linked(&c->waiting_node));
        granted += c->granted;
    }
    for (size_t i = 0; i < s->unacked_count; i++) {
        const struct unacked *u = &s->unacked[(s->unacked_head + i) & (s->unacked_cap - 1)];
        live += !u->is_settled;
        unacked += !u->is_settled && u->consumer_id != 0;
    }
    assert_int_equal(s->global_used, granted + unacked);
    assert_int_equal(s->unacked_count - s->unacked_settled, live);
    assert_int_equal(unacked, held_by_consumers((int)(ms - model.sessions)));
    assert_true(s->tags.count == 0 || s->tags.count == s->consumers.count);
    assert_int_equal(s->delivery_tag, ms->tag_last);
    assert_int_equal(ms->tag_count, ms->tag_last); // without gaps
}

static void
turns(unsigned n)
{
    for (; n > 0; n--) {
        sf_round();
        model.round++;
    }
}

// --- steps --------------------------------------------------------------------------------------------------------------------

static const char *const queue_names[QUEUES] = {"q0", "q1", "q2"};
static const char *const tags[CONSUMERS] = {"c0", "c1", "c2", "c3"};

static void
publish(struct model_session *ms, const char *queue, bool is_big)
{
    static char body[BIG + 1];
    assert_true(model.count < MESSAGES);
    int len = snprintf(body, sizeof body, "%u ", model.count);
    size_t size = is_big ? BIG : (size_t)len;
    memset(body + len, 'x', size - (size_t)len);
    body[size] = '\0';
    model.messages[model.count] = (struct model_message){.place = READY};
    if (ms->s->session->confirm.is_on)
        ms->numbers[ms->number_count++] = model.count;
    else
        model.messages[model.count].is_confirmed = true;
    model.count++;
    assert_true(sf_publish(ms->s, "", queue, body, false));
}

static void
step_consume(struct model_session *ms)
{
    uint32_t i = below(CONSUMERS);
    if (ms->consumers[i].is_there)
        return;
    ms->consumers[i] =
        (struct model_consumer){.is_there = true, .is_no_ack = below(4) == 0, .queue = (int)below(QUEUES)};
    assert_int_equal(
        sf_consume(ms->s, queue_names[ms->consumers[i].queue], tags[i], ms->consumers[i].is_no_ack), 0);
}

static void
cancel(struct model_session *ms, uint32_t i)
{
    if (!ms->consumers[i].is_there)
        return;
    assert_int_equal(SF_DO(ms->s, session_cancel(ms->s->session, slice_str(tags[i]))), 0);
    ms->consumers[i].is_there = false;
}

static void
step_get(struct model_session *ms)
{
    bool is_no_ack = below(2) == 0;
    assert_int_equal(sf_get(ms->s, queue_names[below(QUEUES)], is_no_ack), 0);
    if (!ms->s->is_empty)
        received(ms, ms->s->body, ms->s->delivery_tag, ms->s->is_redelivered, -1, is_no_ack);
}

// Settled: `tag` alone or all up to it; 0: all.
static void
settled(struct model_session *ms, uint64_t tag, bool is_multiple, enum settle_kind kind)
{
    for (uint32_t i = 0; i < model.count; i++) {
        struct model_message *m = &model.messages[i];
        if (m->place != OUT || m->holder != ms - model.sessions ||
            (tag != 0 && (is_multiple ? m->tag > tag : m->tag != tag)))
            continue;
        m->place = kind == SETTLE_REQUEUE ? READY : GONE;
        m->is_marked |= kind == SETTLE_REQUEUE;
    }
}

static void
step_settle(struct model_session *ms)
{
    static const enum settle_kind kinds[] = {SETTLE_ACK, SETTLE_ACK, SETTLE_ACK, SETTLE_REQUEUE,
                                             SETTLE_REJECT};
    uint64_t held[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < model.count && count < 64; i++) {
        if (model.messages[i].place == OUT && model.messages[i].holder == ms - model.sessions)
            held[count++] = model.messages[i].tag;
    }
    if (count == 0)
        return;
    uint64_t tag = held[below(count)];
    bool is_multiple = below(3) == 0;
    enum settle_kind kind = kinds[below(LV_ARRAY_LEN(kinds))];
    settled(ms, tag, is_multiple, kind); // first: what is given back may come again before the call returns
    assert_true(sf_settle(ms->s, tag, is_multiple, kind));
    assert_false(sf_settle(ms->s, tag, is_multiple, kind));
}

static void
set_limit(struct model_session *ms, unsigned limit)
{
    ms->limit = limit;
    ms->limit_round = model.round;
    assert_true(sf_qos(ms->s, (uint16_t)limit, true));
}

static void
step_qos(struct model_session *ms)
{
    if (below(2) == 0) {
        set_limit(ms, below(2) * below(6));
    } else {
        ms->limit = 0;
        assert_true(sf_qos(ms->s, (uint16_t)below(5), false));
    }
}

// Without acknowledgement what is under way is lost with the session: those consumers go first.
static void
step_close(struct model_session *ms)
{
    for (uint32_t i = 0; i < CONSUMERS; i++) {
        if (ms->consumers[i].is_no_ack)
            cancel(ms, i);
    }
    memset(ms->consumers, 0, sizeof ms->consumers);
    for (uint64_t i = 0; i < ms->number_count; i++)
        model.messages[ms->numbers[i]].is_confirmed = true; // nobody is told any more
    ms->number_count = 0;
    settled(ms, 0, true, SETTLE_REQUEUE);
    struct sf_session *s = ms->s;
    struct fault f;
    if (below(2) == 0)
        sf_give_back(s);
    SF_AS(s, session_close(s->session));
    SF_AS(s, s->session = session_open(s->client, 1, &sf_session_events, s));
    assert_non_null(s->session);
    if (ms == &model.sessions[0])
        SF_AS(s, assert_true(session_confirm_select(s->session, &f)));
    ms->tag_last = ms->tag_count = 0;
    ms->limit = 0;
}

static void
step(struct model_session *ms)
{
    switch (below(16)) {
    case 0:
    case 1:
    case 2:
    case 3: publish(ms, queue_names[below(QUEUES)], below(8) == 0); break;
    case 4: step_consume(ms); break;
    case 5: cancel(ms, below(CONSUMERS)); break;
    case 6: step_get(ms); break;
    case 7:
    case 8:
    case 9:
    case 10: step_settle(ms); break;
    case 11: step_qos(ms); break;
    case 12:
        if (below(4) == 0)
            step_close(ms);
        break;
    case 13:
        if (below(4) == 0) {
            settled(ms, 0, true, SETTLE_REQUEUE);
            assert_int_equal(SF_DO(ms->s, session_recover(ms->s->session)), 0);
        }
        break;
    default: SF_AS(ms->s, client_output_drained(ms->s->client)); break;
    }
    check_session(ms);
    turns(below(4));
}

// --- the end ------------------------------------------------------------------------------------------------------------------

// Acknowledging all that comes, with a small limit, until nothing comes: no queue with a consumer has anything left. What is published
// before is several times a consumer's window.
static void
check_liveness(void)
{
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < QUEUES; k++)
            publish(&model.sessions[2], queue_names[k], true);
    }
    for (int i = 0; i < SESSIONS; i++)
        set_limit(&model.sessions[i], 2);
    for (int quiet = 0; quiet < 8; quiet++) {
        for (int i = 0; i < SESSIONS; i++) {
            struct model_session *ms = &model.sessions[i];
            uint64_t before = ms->tag_count;
            SF_AS(ms->s, client_output_drained(ms->s->client));
            settled(ms, 0, true, SETTLE_ACK);
            assert_true(sf_settle(ms->s, 0, true, SETTLE_ACK));
            turns(8);
            check_session(ms);
            if (ms->tag_count != before)
                quiet = 0;
        }
    }
    for (int i = 0; i < SESSIONS; i++) {
        for (int k = 0; k < CONSUMERS; k++) {
            const struct model_consumer *c = &model.sessions[i].consumers[k];
            if (!c->is_there)
                continue;
            assert_int_equal(sf_passive(model.sessions[i].s, queue_names[c->queue]), 0);
            assert_int_equal(model.sessions[i].s->message_count, 0);
        }
    }
}

static void
run_seed(uint64_t seed)
{
    struct fault f;
    struct sf_config config = *world;
    if (config.chaos_seed != 0)
        config.chaos_seed += seed;
    sf_open(&config);
    rng_init(&rng, seed);
    memset(&model, 0, sizeof model);
    for (int i = 0; i < SESSIONS; i++) {
        model.sessions[i].s = sf_session(i);
        model.sessions[i].s->hook = on_event;
    }
    for (int i = 0; i < QUEUES; i++)
        assert_int_equal(sf_queue(model.sessions[0].s, queue_names[i], false), 0);
    SF_AS(model.sessions[0].s, assert_true(session_confirm_select(model.sessions[0].s->session, &f)));
    for (int i = 0; i < STEPS; i++)
        step(&model.sessions[below(SESSIONS)]);
    check_liveness();
    for (int i = 0; i < SESSIONS; i++) {
        for (uint32_t k = 0; k < CONSUMERS; k++)
            cancel(&model.sessions[i], k);
    }
    struct model_session *ms = &model.sessions[1];
    settled(ms, 0, true, SETTLE_ACK);
    assert_true(sf_settle(ms->s, 0, true, SETTLE_ACK));
    for (int i = 0; i < SESSIONS; i++) {
        settled(&model.sessions[i], 0, true, SETTLE_REQUEUE);
        assert_int_equal(SF_DO(model.sessions[i].s, session_recover(model.sessions[i].s->session)), 0);
        assert_int_equal(model.sessions[i].s->session->global_used, 0);
    }
    turns(50);
    for (int i = 0; i < QUEUES; i++) {
        do {
            assert_int_equal(sf_get(ms->s, queue_names[i], true), 0);
            if (!ms->s->is_empty)
                received(ms, ms->s->body, ms->s->delivery_tag, ms->s->is_redelivered, -1, true);
        } while (!ms->s->is_empty);
    }
    for (uint32_t i = 0; i < model.count; i++) {
        assert_int_equal(model.messages[i].place, GONE);
        assert_true(model.messages[i].is_confirmed);
    }
    for (int i = 0; i < SESSIONS; i++)
        sf_end(model.sessions[i].s);
    sf_close();
}

static void
test_model(void **state)
{
    uint64_t first = 1;
    unsigned count = SEEDS;
    const char *given = getenv("LEVERET_SEED"); // one seed, to look at it
    if (given != NULL) {
        first = strtoull(given, NULL, 10);
        count = 1;
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("seed %" PRIu64 "\n", seed);
        run_seed(seed);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return sf_run_worlds("session model", tests, LV_ARRAY_LEN(tests));
}
