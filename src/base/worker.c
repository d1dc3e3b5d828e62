// worker.c: the turn, sleep and wake-up.
//
// A turn is one ev_run that blocks or not, then the phases. It may block only when nothing is left to do: no
// hook asked to come round again, no ring holds mail for this member (a drain over budget, a ring left out by
// chaos, mail to itself), no outgoing ring could take more, and no congestion that kept publishers unread has
// ended since.
//
// The sleep flag: set (seq_cst) before those last questions are asked, cleared by the first watcher that runs
// after the poll. Others read it (seq_cst) after they have published mail or given back room, and send the
// ev_async only when it is set: either they see the flag, or the questions see their change (mailbox.c tells
// the whole pattern). ev_async_send between the flag and the poll is kept by libev.
//
// Failure modes: no memory or no loop at start-up aborts; a thread that cannot be started undoes the others
// and is reported.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/worker.h"

// LIMIT: mails handled a ring and turn; the rest waits for the next turn, so that no ring starves sockets and
// timers.
enum { MAIL_BUDGET = 4096 };
enum { MAILBOX_CAPACITY_DEFAULT = 1024 };
// LIMIT: what chaos lets a ring deliver in one turn.
enum { CHAOS_BUDGET_MAX = 256 };
// LIMIT: rounds of the empty loop that chaos puts before sleep (some microseconds).
enum { CHAOS_SPIN_MAX = 2000 };
enum { DIRTY_WORDS = (CREW_MAX + 63) / 64 };

// A worker and what nobody else needs to see of it.
struct member {
    struct worker w;              // first, so that the two convert
    ev_check after_poll;          // starts the turn
    struct mailbox *in[CREW_MAX]; // from each member; the same rings as their `out`
    uint64_t dirty[DIRTY_WORDS];  // bit i: out[i] has mail to publish, or is congested
    int first_ring;               // where the next round over `in` begins
    bool is_turn_wanted;          // a hook has work left, or worker_keep_awake
    bool has_refused_work;        // worker_is_congested said yes since the last decision to sleep
    struct rng chaos;             // own thread
    struct histogram turns;       // written by its own thread
    pthread_t thread;             // valid when has_thread; crew_start, crew_join
    bool has_thread;
    // Partner: can_sleep and after_poll write, publish and give_room of other members read (seq_cst).
    __attribute__((aligned(LV_CACHE_LINE))) atomic_bool is_asleep;
    atomic_bool is_stop_wanted; // partner: worker_stop of any thread with the end of the turn
};

_Thread_local struct worker *worker_self;

static struct member *
member_of(const struct worker *w)
{
    return LV_CONTAINER_OF(w->crew->members[w->index], struct member, w);
}

static void
wake_if_asleep(struct worker *w)
{
    if (atomic_load(&member_of(w)->is_asleep))
        ev_async_send(w->loop, &w->wake);
}

// --- the turn ---

static void
on_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    // Nothing: its mail is read in the mailbox phase.
}

// First callback after each poll: the turn starts here.
static void
on_after_poll(struct ev_loop *loop, ev_check *watcher, int events)
{
    struct member *m = LV_CONTAINER_OF(watcher, struct member, after_poll);
    if (atomic_load_explicit(&m->is_asleep, memory_order_relaxed))
        atomic_store_explicit(&m->is_asleep, false, memory_order_relaxed);
    m->w.turn++;
    m->w.now_ns = clock_mono_ns();
    m->w.now_ms = clock_wall_ms();
}

static void
run_hooks(struct member *m, enum worker_phase phase)
{
    struct worker *w = &m->w;
    for (unsigned i = 0; i < w->hook_count[phase]; i++) {
        const struct worker_hook *hook = &w->hooks[phase][i];
        if (hook->fn(w, hook->ctx))
            m->is_turn_wanted = true;
    }
}

static size_t
drain_ring(struct member *m, int from, size_t budget)
{
    struct mailbox *mb = m->in[from];
    size_t done = mailbox_drain(mb, &m->w, budget);
    if (done > 0 && from != m->w.index && mailbox_is_sender_waiting(mb))
        wake_if_asleep(m->w.crew->members[from]);
    return done;
}

static void
mail_in(struct member *m)
{
    struct crew *c = m->w.crew;
    (void)mailbox_publish(m->in[m->w.index]); // what this member posted to itself is due now
    int n = c->n_members;
    m->first_ring = m->first_ring + 1 < n ? m->first_ring + 1 : 0;
    for (int k = 0; k < n; k++) {
        int from = m->first_ring + k < n ? m->first_ring + k : m->first_ring + k - n;
        size_t budget = MAIL_BUDGET;
        if (c->chaos_seed != 0) {
            if (rng_below(&m->chaos, 2) == 0)
                continue;
            budget = 1 + rng_below(&m->chaos, CHAOS_BUDGET_MAX);
        }
        drain_ring(m, from, budget);
    }
}

static void
mail_out(struct member *m)
{
    struct worker *w = &m->w;
    for (int word = 0; word < DIRTY_WORDS; word++) {
        for (uint64_t bits = m->dirty[word]; bits != 0; bits &= bits - 1) {
            int to = word * 64 + __builtin_ctzll(bits);
            bool has_to_wake = mailbox_publish(w->out[to]);
            if (!mailbox_is_congested(w->out[to]))
                m->dirty[word] &= ~(bits & -bits);
            if (has_to_wake && to != w->index)
                wake_if_asleep(w->crew->members[to]);
        }
    }
}

static void
run_turn(struct member *m, int ev_flags)
{
    m->is_turn_wanted = false;
    m->has_refused_work = false;
    ev_run(m->w.loop, ev_flags);
    run_hooks(m, PHASE_ADOPT);
    run_hooks(m, PHASE_READ);
    mail_in(m);
    run_hooks(m, PHASE_TIMERS);
    run_hooks(m, PHASE_DISPATCH);
    run_hooks(m, PHASE_LOG);
    run_hooks(m, PHASE_COMPLETE);
    run_hooks(m, PHASE_WRITE);
    mail_out(m);
    run_hooks(m, PHASE_REAP);
    histogram_add(&m->turns, clock_mono_ns() - m->w.now_ns, HISTOGRAM_TIME_NS);
    if (atomic_load_explicit(&m->is_stop_wanted, memory_order_acquire))
        m->w.is_stopping = true;
}

static bool
has_mail_in(const struct member *m)
{
    for (int i = 0; i < m->w.crew->n_members; i++) {
        if (mailbox_has_mail(m->in[i]))
            return true;
    }
    return false;
}

static bool
can_mail_out(const struct member *m)
{
    for (int word = 0; word < DIRTY_WORDS; word++) {
        for (uint64_t bits = m->dirty[word]; bits != 0; bits &= bits - 1) {
            if (mailbox_can_progress(m->w.out[word * 64 + __builtin_ctzll(bits)]))
                return true;
        }
    }
    return false;
}

// Congested right now; only rings with a dirty bit can be.
static bool
is_congested_now(const struct member *m)
{
    int n_workers = m->w.crew->n_workers;
    for (int word = 0; word < DIRTY_WORDS; word++) {
        for (uint64_t bits = m->dirty[word]; bits != 0; bits &= bits - 1) {
            int to = word * 64 + __builtin_ctzll(bits);
            if (to < n_workers && mailbox_is_congested(m->w.out[to]))
                return true;
        }
    }
    return false;
}

// Chaos widens the moment between the last look around and sleep, in which a wake-up must not be lost.
static void
dawdle(struct member *m)
{
    for (volatile uint64_t spin = rng_below(&m->chaos, CHAOS_SPIN_MAX); spin > 0; spin--)
        continue;
}

static bool
can_sleep(struct member *m)
{
    if (m->is_turn_wanted)
        return false;
    atomic_store(&m->is_asleep, true);
    bool has_work = has_mail_in(m) || can_mail_out(m) || (m->has_refused_work && !is_congested_now(m));
    if (m->w.crew->chaos_seed != 0)
        dawdle(m);
    if (has_work)
        atomic_store_explicit(&m->is_asleep, false, memory_order_relaxed);
    return !has_work;
}

void
worker_run(struct worker *w)
{
    struct member *m = member_of(w);
    struct worker *before = worker_self;
    worker_self = w;
    m->is_turn_wanted = true; // the first turn looks at everything once before it may sleep
    while (!w->is_stopping)
        run_turn(m, can_sleep(m) ? EVRUN_ONCE : EVRUN_NOWAIT);
    worker_self = before;
}

void
worker_turn(struct worker *w)
{
    struct worker *before = worker_self;
    worker_self = w;
    run_turn(member_of(w), EVRUN_NOWAIT);
    worker_self = before;
}

// --- what members ask for ---

void
worker_post(struct worker *to, mail_fn fn, const void *payload, size_t len, uint64_t weight)
{
    struct worker *from = worker_self;
    LV_ASSERT(from != NULL && from->crew == to->crew);
    struct member *m = LV_CONTAINER_OF(from, struct member, w);
    m->dirty[to->index / 64] |= UINT64_C(1) << (to->index % 64);
    mailbox_push(from->out[to->index], fn, payload, len, weight);
}

void
worker_drain_from(struct worker *w, struct worker *from)
{
    LV_ON_WORKER(w);
    LV_ASSERT(w->crew == from->crew);
    drain_ring(member_of(w), from->index, SIZE_MAX);
}

bool
worker_is_congested(const struct worker *w)
{
    struct member *m = member_of(w);
    if (!is_congested_now(m))
        return false;
    m->has_refused_work = true;
    return true;
}

void
worker_turns(const struct worker *w, struct histogram_sum *to)
{
    histogram_read(&member_of(w)->turns, to);
}

uint64_t
worker_mail_depth(const struct worker *w)
{
    const struct member *m = member_of(w);
    uint64_t depth = 0;
    for (int i = 0; i < w->crew->n_members; i++)
        depth += mailbox_depth(m->in[i]);
    return depth;
}

void
worker_keep_awake(struct worker *w)
{
    LV_ON_WORKER(w);
    member_of(w)->is_turn_wanted = true;
}

void
worker_stop(struct worker *w)
{
    struct member *m = member_of(w);
    atomic_store_explicit(&m->is_stop_wanted, true, memory_order_release);
    if (worker_self != w)
        ev_async_send(w->loop, &w->wake);
}

void
worker_add_hook(struct worker *w, enum worker_phase phase, worker_hook_fn fn, void *ctx)
{
    LV_ASSERT(phase < PHASE_COUNT && w->hook_count[phase] < WORKER_HOOKS_MAX);
    w->hooks[phase][w->hook_count[phase]++] = (struct worker_hook){fn, ctx};
}

// --- the crew ---

static struct member *
member_new(struct crew *c, int index)
{
    struct member *m = mem_aligned(LV_CACHE_LINE, sizeof *m);
    LV_ASSERT(m != NULL);
    memset(m, 0, sizeof *m);
    struct worker *w = &m->w;
    w->crew = c;
    w->index = index;
    w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    LV_ASSERT(w->loop != NULL);
    ev_async_init(&w->wake, on_wake);
    ev_async_start(w->loop, &w->wake);
    ev_check_init(&m->after_poll, on_after_poll);
    ev_set_priority(&m->after_poll, EV_MAXPRI);
    ev_check_start(w->loop, &m->after_poll);
    w->now_ns = clock_mono_ns();
    w->now_ms = clock_wall_ms();
    uint64_t seed = c->chaos_seed + (uint64_t)index;
    if (c->chaos_seed == 0)
        rng_secure(&seed, sizeof seed);
    rng_init(&w->rng, seed);
    rng_init(&m->chaos, ~seed);
    return m;
}

struct crew *
crew_new(const struct crew_config *config)
{
    LV_ASSERT(config->n_workers >= 1 && config->n_workers <= CREW_WORKERS_MAX);
    // A peer that closes its socket must be an error of the write, not the end of the process.
    signal(SIGPIPE, SIG_IGN);
    struct crew *c = mem_xcalloc(1, sizeof *c);
    c->n_workers = config->n_workers;
    c->n_members = config->n_workers + CREW_EXTRA_COUNT;
    c->chaos_seed = config->chaos_seed;
    for (int i = 0; i < c->n_members; i++)
        c->members[i] = &member_new(c, i)->w;
    size_t capacity =
        config->mailbox_capacity != 0 ? config->mailbox_capacity : (size_t)MAILBOX_CAPACITY_DEFAULT;
    for (int i = 0; i < c->n_members; i++) {
        for (int j = 0; j < c->n_members; j++) {
            struct mailbox *mb = mailbox_new(capacity);
            c->members[i]->out[j] = mb;
            member_of(c->members[j])->in[i] = mb;
        }
    }
    return c;
}

void
crew_free(struct crew *c)
{
    if (c == NULL)
        return;
    for (int i = 0; i < c->n_members; i++) {
        struct member *m = member_of(c->members[i]);
        LV_ASSERT(!m->has_thread);
        for (int j = 0; j < c->n_members; j++)
            mailbox_free(m->w.out[j]);
        ev_loop_destroy(m->w.loop);
    }
    for (int i = 0; i < c->n_members; i++)
        mem_free(member_of(c->members[i]));
    mem_free(c);
}

static void *
thread_main(void *arg)
{
    struct worker *w = arg;
    char name[16] = "";
    if (w->index == w->crew->n_workers + CREW_TOPOLOGY)
        snprintf(name, sizeof name, "topology");
    else if (w->index == w->crew->n_workers + CREW_HTTP)
        snprintf(name, sizeof name, "http");
    else
        snprintf(name, sizeof name, "worker-%d", w->index);
    pthread_setname_np(pthread_self(), name);
    worker_run(w);
    return NULL;
}

int
crew_start(struct crew *c)
{
    // Signals are the main thread's; those that a thread raises by its own fault stay with it.
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);
    for (size_t i = 0; i < LV_ARRAY_LEN(own_faults); i++)
        sigdelset(&blocked, own_faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = 0;
    int main_index = c->n_workers + CREW_MAIN;
    for (int i = 0; i < c->n_members && error == 0; i++) {
        struct member *m = member_of(c->members[i]);
        if (i == main_index)
            continue;
        error = pthread_create(&m->thread, NULL, thread_main, &m->w);
        m->has_thread = error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        return 0;
    for (int i = 0; i < c->n_members; i++)
        worker_stop(c->members[i]);
    crew_join(c);
    return err_from_errno(error);
}

void
crew_join(struct crew *c)
{
    for (int i = 0; i < c->n_members; i++) {
        struct member *m = member_of(c->members[i]);
        if (!m->has_thread)
            continue;
        LV_ASSERT(pthread_join(m->thread, NULL) == 0);
        m->has_thread = false;
    }
}
