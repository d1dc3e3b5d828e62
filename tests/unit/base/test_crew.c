// Running crews (also under ThreadSanitizer): order per pair among members at full speed, with and without
// chaos; and the cases in which somebody sleeps and only a wake-up by another helps. A wake-up that is lost
// makes the test hang: the alarm ends it then.
#include <pthread.h>

#include "src/base/mem.h"
#include "src/base/worker.h"
#include "tests/unit/base/unit.h"

enum { DEADLINE_S = 100, WORKERS = 3 };

// Everything of one worker; extra_state of the member.
struct player {
    struct worker *w;
    uint64_t sent_to[CREW_MAX];       // numbers of the mails to each member
    uint64_t received_from[CREW_MAX]; // next number expected from each
    uint64_t to_send;                 // requests still to be sent
    uint64_t open;                    // requests without answer
    uint64_t refused;                 // turns in which congestion stopped the sending
    uint64_t spilled;                 // turns that ended with a spill
    bool is_done;
};

static struct player players[CREW_MAX];
static int done_count;        // the main member's
static uint64_t failed_order; // any member; only ever written on failure, read after the join

static struct player *
player_of(const struct worker *w)
{
    return w->extra_state;
}

static void
on_done(struct worker *to, void *payload)
{
    if (++done_count == to->crew->n_workers) {
        for (int i = 0; i < to->crew->n_members; i++)
            worker_stop(to->crew->members[i]);
    }
}

static void
tell_done(struct worker *w)
{
    worker_post(crew_extra_member(w->crew, CREW_MAIN), on_done, NULL, 0, 0);
}

static struct crew *
crew_of(size_t capacity, uint64_t chaos_seed, int n_workers)
{
    struct crew_config config = {
        .n_workers = n_workers, .mailbox_capacity = capacity, .chaos_seed = chaos_seed};
    struct crew *c = crew_new(&config);
    memset(players, 0, sizeof players);
    done_count = 0;
    failed_order = 0;
    for (int i = 0; i < c->n_members; i++) {
        players[i].w = c->members[i];
        c->members[i]->extra_state = &players[i];
    }
    return c;
}

// Runs the crew, the caller as its main member, until all have said that they are done.
static void
run_crew(struct crew *c)
{
    alarm(DEADLINE_S);
    assert_int_equal(crew_start(c), 0);
    worker_run(crew_extra_member(c, CREW_MAIN));
    crew_join(c);
    alarm(0);
    assert_int_equal(done_count, c->n_workers);
    assert_int_equal(failed_order, 0);
    crew_free(c);
}

// --- many mails between all ---

struct numbered {
    uint64_t number; // per ordered pair
    uint64_t twin;   // ~number
    uint32_t from;
    uint32_t is_answer;
    uint64_t weight;
};

static void on_numbered(struct worker *to, void *payload);

static void
send_numbered(struct worker *from, struct worker *to, bool is_answer, uint64_t weight)
{
    struct player *p = player_of(from);
    uint64_t number = p->sent_to[to->index]++;
    struct numbered mail = {number, ~number, (uint32_t)from->index, is_answer, weight};
    worker_post(to, on_numbered, &mail, sizeof mail, weight);
}

static void
finish_if_done(struct player *p)
{
    if (p->to_send > 0 || p->open > 0 || p->is_done)
        return;
    p->is_done = true;
    tell_done(p->w);
}

static void
on_numbered(struct worker *to, void *payload)
{
    const struct numbered *mail = payload;
    struct player *p = player_of(to);
    if (mail->number != p->received_from[mail->from]++ || mail->twin != ~mail->number)
        failed_order++;
    if (!mail->is_answer) {
        send_numbered(to, to->crew->members[mail->from], true, 0);
        return;
    }
    p->open--;
    finish_if_done(p);
}

// The "publishers" of a worker: read in PHASE_READ unless the worker is congested. When it is, nothing but a
// wake-up by the receiver brings the worker here again.
static bool
send_some(struct worker *w, void *ctx)
{
    struct player *p = player_of(w);
    if (p->to_send == 0)
        return false;
    if (worker_is_congested(w)) {
        p->refused++;
        return false;
    }
    uint64_t batch = 1 + rng_below(&w->rng, 50);
    for (; batch > 0 && p->to_send > 0; batch--) {
        p->to_send--;
        p->open++;
        int to = (int)rng_below(&w->rng, (uint64_t)w->crew->n_workers);
        send_numbered(w, w->crew->members[to], false, *(const uint64_t *)ctx);
    }
    return p->to_send > 0;
}

static bool
note_spill(struct worker *w, void *ctx)
{
    for (int i = 0; i < w->crew->n_workers; i++) {
        if (mailbox_spill_count(w->out[i]) > 0)
            player_of(w)->spilled++;
    }
    return false;
}

static void
run_storm(size_t capacity, uint64_t chaos_seed, uint64_t requests, uint64_t weight, bool expect_refusals)
{
    struct crew *c = crew_of(capacity, chaos_seed, WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        players[i].to_send = requests / WORKERS;
        worker_add_hook(c->members[i], PHASE_READ, send_some, &weight);
        worker_add_hook(c->members[i], PHASE_REAP, note_spill, NULL);
    }
    run_crew(c);
    for (int i = 0; i < WORKERS; i++) {
        for (int j = 0; j < WORKERS; j++)
            assert_true(players[i].sent_to[j] == players[j].received_from[i]);
        if (expect_refusals)
            assert_true(players[i].refused > 0);
        if (capacity == 1 || capacity == 8)
            assert_true(players[i].spilled > 0);
    }
}

static void
test_million_mails(void **state)
{
    run_storm(0, 0, 500000, 0, false);
}

static void
test_million_mails_with_chaos(void **state)
{
    run_storm(0, 12345, 500000, 0, false);
}

static void
test_tiny_rings(void **state)
{
    run_storm(8, 0, 60000, 0, true);
    run_storm(1, 0, 6000, 0, true);
}

static void
test_tiny_rings_with_chaos(void **state)
{
    run_storm(8, 999, 30000, 0, true);
}

static void
test_heavy_mails(void **state)
{
    run_storm(0, 0, 30000, MAILBOX_WEIGHT_MAX / 3, true);
    run_storm(0, 55, 3000, MAILBOX_WEIGHT_MAX + 1, true);
}

// --- wake-ups ---

// A single token: all members sleep but the one that has it, so each hop needs its wake-up.
static void
on_token(struct worker *to, void *payload)
{
    uint64_t left = *(uint64_t *)payload;
    if (left == 0) {
        tell_done(to);
        return;
    }
    left--;
    int next = (to->index + 1) % to->crew->n_members;
    worker_post(to->crew->members[next], on_token, &left, sizeof left, 0);
}

static void
run_token(uint64_t chaos_seed, uint64_t hops)
{
    struct crew *c = crew_of(8, chaos_seed, 1);
    worker_self = crew_extra_member(c, CREW_MAIN);
    worker_post(c->members[0], on_token, &hops, sizeof hops, 0);
    worker_self = NULL;
    run_crew(c);
}

static void
test_token_wakes_each_member(void **state)
{
    run_token(0, 40000);
    run_token(4711, 20000);
}

// Two tokens between two members, with delays at random: again and again a mail is published just when its
// receiver is about to fall asleep. One lost wake-up stays lost: the next mail in that ring finds it not
// empty and wakes nobody.
static void
on_racing_token(struct worker *to, void *payload)
{
    uint64_t left = *(uint64_t *)payload;
    if (left == 0) {
        tell_done(to);
        return;
    }
    left--;
    for (volatile uint64_t spin = rng_below(&to->rng, 2000); spin > 0; spin--)
        continue;
    worker_post(to->crew->members[1 - to->index], on_racing_token, &left, sizeof left, 0);
}

static void
run_racing_tokens(uint64_t chaos_seed, uint64_t hops)
{
    struct crew *c = crew_of(64, chaos_seed, 2);
    worker_self = crew_extra_member(c, CREW_MAIN);
    worker_post(c->members[0], on_racing_token, &hops, sizeof hops, 0);
    worker_post(c->members[0], on_racing_token, &hops, sizeof hops, 0);
    worker_self = NULL;
    run_crew(c);
}

static void
test_mail_for_somebody_about_to_sleep(void **state)
{
    run_racing_tokens(0, 50000);
    run_racing_tokens(17, 30000);
}

// A burst far larger than the ring, sent in one turn by a member that has nothing else to do: only the
// receiver's "there is room again" brings the rest on its way.
static void
on_burst_mail(struct worker *to, void *payload)
{
    struct player *p = player_of(to);
    uint64_t number;
    memcpy(&number, payload, sizeof number);
    if (number != p->received_from[1]++)
        failed_order++;
    if (p->received_from[1] == 20000)
        tell_done(to);
}

static void
on_burst_order(struct worker *to, void *payload)
{
    for (uint64_t i = 0; i < 20000; i++)
        worker_post(to->crew->members[0], on_burst_mail, &i, sizeof i, 0);
}

static void
test_spill_of_a_sleeper_is_sent(void **state)
{
    struct crew *c = crew_of(8, 0, 1);
    worker_self = crew_extra_member(c, CREW_MAIN);
    worker_post(crew_extra_member(c, CREW_TOPOLOGY), on_burst_order, NULL, 0, 0);
    worker_self = NULL;
    run_crew(c);
}

// --- threads ---

static void
on_look_around(struct worker *to, void *payload)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    static const char *const names[] = {"worker-0", "worker-1", "topology", "http"};
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (strcmp(name, names[to->index]) != 0 || !sigismember(&blocked, SIGTERM) ||
        !sigismember(&blocked, SIGALRM) || sigismember(&blocked, SIGSEGV) || worker_self != to)
        __atomic_fetch_add(&failed_order, 1, __ATOMIC_RELAXED);
    if (to->index < to->crew->n_workers)
        tell_done(to);
}

static void
test_threads_have_names_and_no_signals(void **state)
{
    signal(SIGPIPE, SIG_DFL);
    struct crew *c = crew_of(8, 0, 2);
    worker_self = crew_extra_member(c, CREW_MAIN);
    for (int i = 3; i >= 0; i--)
        worker_post(c->members[i], on_look_around, NULL, 0, 0);
    worker_self = NULL;
    run_crew(c);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGTERM)); // ours is as before
    struct sigaction action;
    sigaction(SIGPIPE, NULL, &action);
    assert_ptr_equal(action.sa_handler, SIG_IGN);
}

static void
test_stop_before_start_and_from_outside(void **state)
{
    struct crew *c = crew_of(8, 0, 2);
    for (int i = 0; i < c->n_members; i++)
        worker_stop(c->members[i]);
    assert_int_equal(crew_start(c), 0);
    worker_run(crew_extra_member(c, CREW_MAIN));
    crew_join(c);
    crew_free(c);
    c = crew_of(8, 0, 2);
    assert_int_equal(crew_start(c), 0);
    for (int i = 0; i < c->n_members; i++)
        worker_stop(c->members[i]); // they sleep, or are about to
    crew_join(c);
    crew_free(c);
}

static bool
stop_at_turn(struct worker *w, void *ctx)
{
    if (w->turn >= 5)
        worker_stop(w);
    else
        worker_keep_awake(w);
    return false;
}

static void
test_keep_awake_goes_on_without_an_event(void **state)
{
    struct crew *c = crew_of(8, 0, 1);
    worker_add_hook(crew_extra_member(c, CREW_MAIN), PHASE_REAP, stop_at_turn, NULL);
    alarm(DEADLINE_S);
    worker_run(crew_extra_member(c, CREW_MAIN));
    alarm(0);
    assert_int_equal(crew_extra_member(c, CREW_MAIN)->turn, 5);
    crew_free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_million_mails),
        cmocka_unit_test(test_million_mails_with_chaos),
        cmocka_unit_test(test_tiny_rings),
        cmocka_unit_test(test_tiny_rings_with_chaos),
        cmocka_unit_test(test_heavy_mails),
        cmocka_unit_test(test_token_wakes_each_member),
        cmocka_unit_test(test_mail_for_somebody_about_to_sleep),
        cmocka_unit_test(test_spill_of_a_sleeper_is_sent),
        cmocka_unit_test(test_threads_have_names_and_no_signals),
        cmocka_unit_test(test_stop_before_start_and_from_outside),
        cmocka_unit_test(test_keep_awake_goes_on_without_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
