// test_model.c: random operations on one queue against a naive model, exact to the message and the consumer:
// what is delivered must be the lowest waiting message (of the highest level, where the queue has priorities), and go to the consumer that
// is next by priority and turn, or to the single active one; what comes back more often than the limit must be gone.
//
// One worker, so that everything happens in an order the model sees, or a user on another worker that waits
// after each step: near and far must come to the same. Half of the sequences page bodies out.
#include "fixture.h"

#include <stdlib.h>

#include "src/base/mem.h"

enum { CONSUMERS = 5, MESSAGES = 96, STEPS = 45 };

struct model_message {
    uint64_t seq, id;
    uint8_t level;
    uint32_t count;
    bool is_redelivered;
    int consumer; // out: index, -1: of a get
};

struct model_consumer {
    bool is_there, no_ack, is_listed;
    lv_handle handle;
    uint32_t prefetch, unacked, window;
    int32_t priority;
    uint64_t stamp; // when it joined the end of its line
    uint64_t registered;
};

static struct model {
    struct rng rng;
    lv_handle q;
    bool is_single_active;
    const struct model_consumer *active;
    uint64_t limit; // of deliveries that come back
    uint64_t limited;
    struct queue_rules rules;
    struct model_message ready[MESSAGES], out[MESSAGES]; // ready: by level and seq
    size_t ready_count, out_count;
    struct model_consumer consumers[CONSUMERS];
    uint64_t clock, next_seq, next_id;
    unsigned gets_open;
    uint64_t delivered; // altogether, of all sequences
} model;

// The single active consumer stays until it is cancelled; then the first of the highest priority takes over.
static void
activate(void)
{
    const struct model_consumer *found = model.active;
    for (int i = 0; i < CONSUMERS; i++) {
        const struct model_consumer *c = &model.consumers[i];
        bool is_better = found == NULL || c->priority > found->priority ||
                         (c->priority == found->priority && c->registered < found->registered);
        if (model.active == NULL && c->is_there && is_better)
            found = c;
    }
    model.active = found;
}

static bool
can_take(const struct model_consumer *c)
{
    return c->is_there && c->window > 0 && (c->no_ack || c->prefetch == 0 || c->unacked < c->prefetch) &&
           (!model.is_single_active || model.active == c);
}

static void
model_relist(void)
{
    for (int i = 0; i < CONSUMERS; i++) {
        struct model_consumer *c = &model.consumers[i];
        bool listed = can_take(c);
        if (listed && !c->is_listed)
            c->stamp = ++model.clock;
        c->is_listed = listed;
    }
}

static int
model_next_consumer(void)
{
    int best = -1;
    for (int i = 0; i < CONSUMERS; i++) {
        const struct model_consumer *c = &model.consumers[i];
        if (!can_take(c))
            continue;
        const struct model_consumer *b = best < 0 ? NULL : &model.consumers[best];
        if (b == NULL || c->priority > b->priority || (c->priority == b->priority && c->stamp < b->stamp))
            best = i;
    }
    return best;
}

static void
model_insert(struct model_message m)
{
    assert_true(model.ready_count < MESSAGES);
    size_t at = model.ready_count++;
    m.level = LV_MIN(fx_priority_of(m.id), model.rules.max_priority);
    for (; at > 0 && (model.ready[at - 1].level < m.level ||
                      (model.ready[at - 1].level == m.level && model.ready[at - 1].seq > m.seq));
         at--)
        model.ready[at] = model.ready[at - 1];
    model.ready[at] = m;
}

// Takes the first one and compares it with what came.
static struct model_message
model_take(uint64_t seq, uint64_t id, uint32_t count, bool is_redelivered)
{
    assert_true(model.ready_count > 0);
    struct model_message m = model.ready[0];
    assert_int_equal(seq, m.seq);
    assert_int_equal(id, m.id);
    assert_int_equal(count, m.count);
    assert_int_equal(is_redelivered, m.is_redelivered);
    memmove(model.ready, model.ready + 1, --model.ready_count * sizeof(m));
    return m;
}

static void
check_delivery(struct worker *w, const struct delivery *d)
{
    struct model_message m = model_take(d->seq, fx_message_id(d->msg), d->delivery_count, d->is_redelivered);
    int expected = model_next_consumer();
    assert_int_equal(d->consumer_id, expected);
    struct model_consumer *c = &model.consumers[expected];
    c->window--;
    c->stamp = ++model.clock;
    if (!c->no_ack) {
        c->unacked++;
        m.consumer = expected;
        model.out[model.out_count++] = m;
    }
    model_relist();
    model.delivered++;
    message_unref(d->msg);
}

static void
check_get(struct queue_request *r)
{
    model.gets_open--;
    if (r->outcome == QUEUE_OK) {
        struct model_message m =
            model_take(r->seq, fx_message_id(r->msg), r->delivery_count, r->is_redelivered);
        m.consumer = -1;
        if (!r->is_no_ack)
            model.out[model.out_count++] = m;
    } else {
        assert_int_equal(r->outcome, QUEUE_EMPTY);
        assert_int_equal(model.ready_count, 0);
    }
    assert_int_equal(r->message_count, model.ready_count);
    queue_request_free(r);
}

static int user; // the worker of the sessions: the queue's, 0, or another one

static uint64_t
dice(uint64_t limit)
{
    return rng_below(&model.rng, limit);
}

static void
step_publish(void)
{
    for (uint64_t n = 1 + dice(4); n > 0 && model.ready_count + model.out_count < MESSAGES; n--) {
        uint64_t id = model.next_id++;
        model_insert((struct model_message){.seq = model.next_seq++, .id = id});
        fx_publish(15, model.q, id);
    }
}

static void
step_settle(void)
{
    uint64_t seqs[MESSAGES];
    size_t count = 0;
    enum settle_kind kind = (enum settle_kind)dice(4);
    size_t most = dice(4) == 0 ? MESSAGES : 2;
    for (size_t i = 0; i < model.out_count && count < most;) {
        if (dice(3) == 0) {
            i++;
            continue;
        }
        struct model_message m = model.out[i];
        memmove(model.out + i, model.out + i + 1, (--model.out_count - i) * sizeof(m));
        seqs[count++] = m.seq;
        if (m.consumer >= 0) {
            model.consumers[m.consumer].unacked--;
            model_relist();
        }
        if (kind == SETTLE_REQUEUE) {
            m.count++;
            m.is_redelivered = true;
        }
        bool is_over = kind == SETTLE_REQUEUE && m.count > model.limit;
        model.limited += is_over;
        if (!is_over && (kind == SETTLE_REQUEUE || kind == SETTLE_RETURN))
            model_insert(m);
    }
    if (dice(5) == 0 && model.ready_count > 0 && count < MESSAGES)
        seqs[count++] = model.ready[0].seq + (kind < SETTLE_REQUEUE ? 0 : 1000); // not out: ignored
    fx_as(fx_member(user));
    queue_settle(model.q, kind, seqs, count);
}

static void
step_consume(void)
{
    int i = (int)dice(CONSUMERS);
    struct model_consumer *c = &model.consumers[i];
    if (c->is_there) {
        fx_as(fx_member(user));
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_CANCEL, model.q);
        r->consumer = c->handle;
        r->done = queue_request_free;
        for (size_t k = 0; k < model.out_count; k++) {
            if (model.out[k].consumer == i)
                model.out[k].consumer = -1;
        }
        *c = (struct model_consumer){0};
        if (model.active == c)
            model.active = NULL;
        activate();
        queue_request_send(r);
        model_relist();
        return;
    }
    *c = (struct model_consumer){.no_ack = dice(4) == 0,
                                 .prefetch = (uint32_t)dice(4),
                                 .window = (uint32_t)dice(20),
                                 .priority = (int32_t)dice(3) - 1,
                                 .registered = ++model.clock};
    struct fx_consume consume = {.queue = model.q,
                                 .id = (uint32_t)i,
                                 .flags = c->no_ack ? CONSUMER_NO_ACK : 0,
                                 .prefetch = c->prefetch,
                                 .priority = c->priority,
                                 .window_count = c->window};
    if (c->window == 0)
        consume.window_count = c->window = 1;
    c->is_there = true;
    activate();
    model_relist();
    // Answered within the call, before any delivery.
    c->handle = fx_consumer(&consume);
}

static void
step_get(void)
{
    fx_as(fx_member(user));
    struct queue_request *r = queue_request_new(QUEUE_REQUEST_GET, model.q);
    r->done = check_get;
    r->is_no_ack = dice(2) == 0;
    model.gets_open++;
    queue_request_send(r);
}

static void
check_purge(struct queue_request *r)
{
    assert_int_equal(r->message_count, model.ready_count);
    model.ready_count = 0;
    queue_request_free(r);
}

static void
step(void)
{
    uint64_t what = dice(100);
    if (what < 35) {
        step_publish();
    } else if (what < 60) {
        step_settle();
    } else if (what < 72) {
        step_consume();
    } else if (what < 80) {
        step_get();
    } else if (what < 81) {
        fx_as(fx_member(user));
        struct queue_request *r = queue_request_new(QUEUE_REQUEST_PURGE, model.q);
        r->done = check_purge;
        queue_request_send(r);
    } else if (what < 88) {
        struct model_consumer *c = &model.consumers[dice(CONSUMERS)];
        uint32_t more = (uint32_t)dice(10);
        c->window += c->is_there ? more : 0;
        model_relist();
        fx_as(fx_member(user));
        consumer_grant_window(c->handle, more, 0);
    } else {
        worker_turn(fx_member(0));
    }
}

static void
check_end(void)
{
    fx_quiet();
    assert_int_equal(model.gets_open, 0);
    assert_true(model.ready_count == 0 ||
                model_next_consumer() < 0); // nothing lies about that somebody could have
    struct queue_stats s = fx_stats(model.q);
    assert_int_equal(s.ready, model.ready_count);
    assert_int_equal(s.ready_bytes, model.ready_count * 16);
    assert_int_equal(s.unacked, model.out_count);
    assert_int_equal(s.unacked_bytes, model.out_count * 16);
    assert_int_equal(s.published, model.next_seq - 1);
    assert_int_equal(s.delivery_limited, model.limited);
    fx_delete(model.q);
    fx_assert_nothing_left();
}

static void
sequence(uint64_t seed)
{
    uint64_t delivered = model.delivered;
    model = (struct model){.next_seq = 1, .next_id = seed * 1000, .delivered = delivered};
    rng_init(&model.rng, seed);
    model.is_single_active = seed % 5 == 0;
    model.rules = queue_rules_none;
    // Levels that messages do not use, and messages above the highest level.
    model.rules.max_priority = seed % 3 != 0 ? 0 : seed % 2 == 0 ? 4 : 255;
    fx->priorities = model.rules.max_priority == 0 ? 0 : model.rules.max_priority == 4 ? 10 : 255;
    fx->rules = model.rules.max_priority > 0 ? &model.rules : NULL;
    model.q = fx_queue(0, model.is_single_active ? QUEUE_SINGLE_ACTIVE : 0);
    model.limit = RULE_NONE;
    if (seed % 3 == 0) {
        struct queue_rules rules = queue_rules_none;
        rules.delivery_limit = model.limit = dice(4);
        fx_rules(model.q, &rules);
    }
    for (int i = 0; i < STEPS; i++) {
        step();
        if (user != 0)
            fx_quiet(); // each operation has arrived before the next, so the model is exact here too
    }
    check_end();
}

static uint64_t current_seed;

static int
say_seed(void **state)
{
    if (fx != NULL)
        print_error("it was LV_MODEL_SEED=%llu\n", (unsigned long long)current_seed);
    return 0;
}

// LV_MODEL_SEED=n runs that sequence alone.
static void
random_sequences(void **state)
{
    const char *only = getenv("LV_MODEL_SEED");
    uint64_t from = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t to = only != NULL ? from : 20000;
    for (uint64_t seed = from; seed <= to; seed++) {
        if (fx == NULL) {
            bool is_paged = (seed / 1000) % 2 == 1;
            user = (seed / 1000) % 10 >= 8 ? 1 : 0;
            fx_open(&(struct fx_config){
                .workers = 1 + user, .store_seed = is_paged ? seed : 0, .page_percent = 40, .delay_max = 3});
            fx->on_deliver = check_delivery;
            for (int i = 0; i < FX_SESSIONS; i++)
                fx_session_on(i, user);
        }
        current_seed = seed;
        sequence(seed);
        if (seed % 1000 == 999 || seed == to)
            fx_close();
    }
    print_message("%llu sequences, %llu deliveries\n", (unsigned long long)(to - from + 1),
                  (unsigned long long)model.delivered);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(random_sequences, say_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
