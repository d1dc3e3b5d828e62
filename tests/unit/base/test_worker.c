// The turn, driven by hand from one thread: order of phases, mail to others and to oneself, budgets,
// congestion, chaos.
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/worker.h"
#include "tests/unit/base/unit.h"

static char trace[256];
static size_t trace_len;

static void
trace_add(char c)
{
    assert_true(trace_len + 1 < sizeof trace);
    trace[trace_len++] = c;
    trace[trace_len] = '\0';
}

static void
expect_trace(const char *want)
{
    assert_string_equal(trace, want);
    trace_len = 0;
    trace[0] = '\0';
}

static bool
trace_hook(struct worker *w, void *ctx)
{
    assert_ptr_equal(worker_self, w);
    trace_add(*(const char *)ctx);
    return false;
}

static void
trace_mail(struct worker *to, void *payload)
{
    assert_ptr_equal(worker_self, to);
    trace_add(*(const char *)payload);
}

static struct crew *
crew_of(int n_workers, size_t capacity, uint64_t chaos_seed)
{
    struct crew_config config = {
        .n_workers = n_workers, .mailbox_capacity = capacity, .chaos_seed = chaos_seed};
    return crew_new(&config);
}

// Posts as if `from` ran.
static void
post_as(struct worker *from, struct worker *to, char c)
{
    worker_self = from;
    worker_post(to, trace_mail, &c, 1, 0);
    worker_self = NULL;
}

static uint64_t fake_now = 1000;

static uint64_t
fake_mono(void *ctx)
{
    return fake_now;
}

static int64_t
fake_wall(void *ctx)
{
    return (int64_t)fake_now / 10;
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    const struct worker *w = timer->data;
    assert_true(w->now_ns == fake_now); // the turn has begun before its first callback
    assert_true(w->now_ms == (int64_t)fake_now / 10);
    assert_true(w->turn == 1);
    trace_add('t');
}

static void
test_order_of_a_turn(void **state)
{
    static const struct clock_source source = {fake_mono, fake_wall, NULL};
    clock_set_source(&source);
    struct crew *c = crew_of(2, 0, 0);
    struct worker *w = c->members[0];
    static const char names[] = "01234567";
    for (int phase = PHASE_COUNT - 1; phase >= 0; phase--)
        worker_add_hook(w, (enum worker_phase)phase, trace_hook, (void *)&names[phase]);
    worker_add_hook(w, PHASE_READ, trace_hook, (void *)"+"); // hooks of a phase in order of addition
    ev_timer timer;
    ev_timer_init(&timer, on_timer, 0., 0.);
    timer.data = w;
    ev_timer_start(w->loop, &timer);
    post_as(c->members[1], w, 'm');
    worker_turn(c->members[1]);
    fake_now = 2000;
    worker_turn(w);
    expect_trace("t01+m234567");
    assert_null(worker_self);
    clock_set_source(NULL);
    crew_free(c);
    crew_free(NULL);
}

static bool
post_in_read(struct worker *w, void *ctx)
{
    char c = 'y';
    if (w->turn == 1)
        worker_post(w, trace_mail, &c, 1, 0);
    return false;
}

static bool
post_in_reap(struct worker *w, void *ctx)
{
    char c = 'z';
    if (w->turn == 1)
        worker_post(ctx, trace_mail, &c, 1, 0);
    return false;
}

static void
post_again(struct worker *to, void *payload)
{
    uint8_t left = *(uint8_t *)payload;
    trace_add((char)('0' + left));
    left--;
    if (left > 0)
        worker_post(to, post_again, &left, 1, 0);
}

static void
test_mail_to_oneself(void **state)
{
    struct crew *c = crew_of(1, 8, 0);
    struct worker *w = c->members[0];
    worker_add_hook(w, PHASE_READ, post_in_read, NULL);
    worker_add_hook(w, PHASE_REAP, post_in_reap, w);
    worker_add_hook(w, PHASE_TIMERS, trace_hook, (void *)"|");
    worker_turn(w);
    expect_trace("y|"); // posted before the mailbox phase: due in this turn
    worker_turn(w);
    expect_trace("z|");
    worker_self = w;
    uint8_t left = 3;
    worker_post(w, post_again, &left, 1, 0);
    worker_self = NULL;
    for (int i = 0; i < 4; i++)
        worker_turn(w);
    expect_trace("3|2|1||"); // from a handler: the next turn, so that it cannot hold this one
    crew_free(c);
}

static void
test_mail_posted_after_publication_goes_next_turn(void **state)
{
    struct crew *c = crew_of(2, 8, 0);
    worker_add_hook(c->members[0], PHASE_REAP, post_in_reap, c->members[1]);
    worker_turn(c->members[0]);
    worker_turn(c->members[1]);
    expect_trace("");
    worker_turn(c->members[0]);
    worker_turn(c->members[1]);
    expect_trace("z");
    crew_free(c);
}

static void
count_mail(struct worker *to, void *payload)
{
    ++*(uint64_t *)to->extra_state;
}

static void
test_budget_of_a_ring(void **state)
{
    struct crew *c = crew_of(2, 8192, 0);
    uint64_t count = 0;
    c->members[0]->extra_state = &count;
    worker_self = c->members[1];
    for (int i = 0; i < 5000; i++)
        worker_post(c->members[0], count_mail, NULL, 0, 0);
    worker_turn(c->members[1]);
    worker_self = crew_extra_member(c, CREW_HTTP);
    worker_post(c->members[0], count_mail, NULL, 0, 0);
    worker_turn(crew_extra_member(c, CREW_HTTP));
    worker_turn(c->members[0]);
    assert_int_equal(count, 4097); // the other ring does not wait for the flood
    worker_turn(c->members[0]);
    assert_int_equal(count, 5001);
    worker_self = NULL;
    crew_free(c);
}

static void
drain_topology(struct worker *to, void *payload)
{
    worker_drain_from(to, crew_extra_member(to->crew, CREW_TOPOLOGY));
    trace_add('d');
}

static void
test_drain_from_another_ring(void **state)
{
    struct crew *c = crew_of(2, 8, 0);
    struct worker *topology = crew_extra_member(c, CREW_TOPOLOGY);
    post_as(topology, c->members[0], 'T');
    worker_turn(topology);
    worker_self = c->members[1];
    worker_post(c->members[0], drain_topology, NULL, 0, 0);
    worker_self = NULL;
    worker_turn(c->members[1]);
    worker_turn(c->members[0]);
    expect_trace("Td");
    crew_free(c);
}

static void
test_congestion_by_spill_and_weight(void **state)
{
    struct crew *c = crew_of(2, 8, 0);
    struct worker *a = c->members[0];
    struct worker *b = c->members[1];
    for (int i = 0; i < 8; i++)
        post_as(a, b, 'x');
    assert_false(worker_is_congested(a));
    post_as(a, b, 'y');
    assert_true(worker_is_congested(a));
    worker_turn(a);
    assert_true(worker_is_congested(a));
    worker_turn(b);
    expect_trace("xxxxxxxx");
    assert_true(worker_is_congested(a)); // the spill is a's to send
    worker_turn(a);
    assert_false(worker_is_congested(a));
    worker_turn(b);
    expect_trace("y");
    worker_self = a;
    worker_post(b, trace_mail, "w", 1, MAILBOX_WEIGHT_MAX + 1);
    worker_self = NULL;
    assert_true(worker_is_congested(a));
    worker_turn(a);
    worker_turn(b);
    assert_false(worker_is_congested(a));
    expect_trace("w");
    // Rings to members that are no workers hold back no publisher.
    for (int i = 0; i < 20; i++)
        post_as(a, crew_extra_member(c, CREW_HTTP), 'h');
    assert_false(worker_is_congested(a));
    crew_free(c);
}

static size_t
turns_until_all_came(uint64_t seed, uint64_t *ret_path)
{
    struct crew *c = crew_of(2, 0, seed);
    uint64_t count = 0;
    c->members[0]->extra_state = &count;
    worker_self = c->members[1];
    for (int i = 0; i < 1000; i++)
        worker_post(c->members[0], count_mail, NULL, 0, 0);
    worker_self = NULL;
    worker_turn(c->members[1]);
    size_t turns = 0;
    *ret_path = 0;
    for (; count < 1000 && turns < 1000; turns++) {
        worker_turn(c->members[0]);
        *ret_path = *ret_path * 31 + count;
    }
    crew_free(c);
    return turns;
}

static void
test_chaos_delays_and_repeats(void **state)
{
    uint64_t a;
    uint64_t b;
    uint64_t other;
    size_t turns = turns_until_all_came(7, &a);
    assert_true(turns > 4 && turns < 200);
    assert_int_equal(turns_until_all_came(7, &b), turns);
    assert_true(a == b);
    turns_until_all_came(8, &other);
    assert_true(a != other);
    assert_int_equal(turns_until_all_came(0, &a), 1);
}

static void
post_outside_the_crew(void)
{
    struct crew *c = crew_of(1, 8, 0);
    worker_self = NULL;
    worker_post(c->members[0], trace_mail, "x", 1, 0);
}

static void
post_too_much(void)
{
    static const char text[MAIL_PAYLOAD_BYTES + 1];
    struct crew *c = crew_of(1, 8, 0);
    worker_self = c->members[0];
    worker_post(c->members[0], trace_mail, text, sizeof text, 0);
}

static void
drain_as_another(void)
{
    struct crew *c = crew_of(1, 8, 0);
    worker_drain_from(c->members[0], c->members[1]);
}

static void
test_misuse_aborts(void **state)
{
    assert_true(does_abort(post_outside_the_crew, -1));
    assert_true(does_abort(post_too_much, -1));
    assert_true(does_abort(drain_as_another, -1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_a_turn),
        cmocka_unit_test(test_mail_to_oneself),
        cmocka_unit_test(test_mail_posted_after_publication_goes_next_turn),
        cmocka_unit_test(test_budget_of_a_ring),
        cmocka_unit_test(test_drain_from_another_ring),
        cmocka_unit_test(test_congestion_by_spill_and_weight),
        cmocka_unit_test(test_chaos_delays_and_repeats),
        cmocka_unit_test(test_misuse_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
