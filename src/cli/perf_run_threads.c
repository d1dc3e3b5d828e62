// perf_run_threads.c: the threads of a run: who is on which, waking them, ending them.
#include <errno.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/cli/perf_run.h"

void
run_fail(struct run *r, const char *who, uint64_t index, const char *why)
{
    pthread_mutex_lock(&r->lock);
    if (!atomic_load_explicit(&r->is_failed, memory_order_relaxed)) {
        snprintf(r->error, sizeof r->error, "%s %llu: %.400s", who, (unsigned long long)index + 1, why);
        atomic_store_explicit(&r->is_failed, true, memory_order_release);
    }
    pthread_mutex_unlock(&r->lock);
}

void
run_thread_wake_at(struct run_thread *t, uint64_t due_ns)
{
    if (due_ns >= t->timer_due_ns)
        return;
    t->timer_due_ns = due_ns;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / 1000000000), .tv_nsec = (long)(due_ns % 1000000000)}};
    timerfd_settime(t->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void
on_timer(struct ev_loop *loop, ev_io *io, int events)
{
    struct run_thread *t = io->data;
    uint64_t fired, now = clock_mono_ns();
    if (read(t->timer_fd, &fired, sizeof fired) < 0)
        return;
    t->timer_due_ns = UINT64_MAX;
    for (size_t i = 0; i < t->producer_count; i++) {
        uint64_t due = run_producer_due(t->producers[i]);
        if (due <= now)
            run_producer_pump(t->producers[i]);
        else
            run_thread_wake_at(t, due);
    }
}

static void
on_wake(struct ev_loop *loop, ev_async *wake, int events)
{
    struct run_thread *t = wake->data;
    int phase = atomic_load_explicit(&t->run->phase, memory_order_relaxed);
    for (size_t i = 0; phase >= RUN_DRAINING && i < t->producer_count; i++)
        run_producer_stop(t->producers[i]);
    if (phase == RUN_OVER)
        ev_break(loop, EVBREAK_ALL);
}

static void *
thread_main(void *ctx)
{
    struct run_thread *t = ctx;
    // Fifty microseconds of slack would be seen in the latencies.
    prctl(PR_SET_TIMERSLACK, 1);
    for (size_t i = 0; i < t->consumer_count; i++)
        run_consumer_start(t->consumers[i]);
    for (size_t i = 0; i < t->producer_count; i++)
        run_producer_start(t->producers[i]);
    ev_run(t->loop, 0);
    return NULL;
}

static int
thread_init(struct run_thread *t, struct run *r)
{
    const struct run_config *c = r->config;
    *t = (struct run_thread){.run = r, .timer_due_ns = UINT64_MAX};
    t->confirm_hist = mem_xcalloc(1, sizeof *t->confirm_hist);
    t->delivery_hist = mem_xcalloc(1, sizeof *t->delivery_hist);
    t->producers = mem_xcalloc(c->producers / r->thread_count + 1, sizeof(struct run_producer *));
    t->consumers = mem_xcalloc(c->consumers / r->thread_count + 1, sizeof(struct run_consumer *));
    t->loop = ev_loop_new(EVFLAG_AUTO);
    t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->loop == NULL || t->timer_fd < 0) {
        run_fail(r, "thread", 0, "the system gives no more files");
        return -LE_LIMIT;
    }
    ev_async_init(&t->wake, on_wake);
    ev_io_init(&t->timer_io, on_timer, t->timer_fd, EV_READ);
    t->wake.data = t->timer_io.data = t;
    ev_async_start(t->loop, &t->wake);
    ev_io_start(t->loop, &t->timer_io);
    return 0;
}

// Producers from the first thread on, consumers from the last: one of each are never on the same.
int
run_threads_open(struct run *r)
{
    const struct run_config *c = r->config;
    uint64_t cores = (uint64_t)LV_MAX(sysconf(_SC_NPROCESSORS_ONLN), 2L);
    uint64_t clients = c->producers + c->consumers;
    r->thread_count = (size_t)(c->threads != 0 ? LV_MIN(c->threads, clients) : LV_MIN(clients, cores));
    LV_ASSERT(r->thread_count > 0);
    r->threads = mem_xcalloc(r->thread_count, sizeof *r->threads);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->thread_count; i++)
        rc = thread_init(&r->threads[i], r);
    for (uint64_t i = 0; rc == 0 && i < c->consumers && !perf_stop_wait(0); i++) {
        struct run_thread *t = &r->threads[r->thread_count - 1 - i % r->thread_count];
        rc = run_consumer_new(t, i, &t->consumers[t->consumer_count]);
        t->consumer_count += rc == 0;
    }
    for (uint64_t i = 0; rc == 0 && i < c->producers && !perf_stop_wait(0); i++) {
        struct run_thread *t = &r->threads[i % r->thread_count];
        rc = run_producer_new(t, i, &t->producers[t->producer_count]);
        t->producer_count += rc == 0;
    }
    return rc;
}

int
run_threads_start(struct run *r)
{
    for (size_t i = 0; i < r->thread_count; i++) {
        int rc = perf_thread_start(&r->threads[i].thread, thread_main, &r->threads[i]);
        if (rc < 0) {
            run_fail(r, "thread", i, "the system gives no more threads");
            r->threads[i].thread = 0;
            return rc;
        }
    }
    return 0;
}

void
run_threads_phase(struct run *r, enum run_phase phase)
{
    atomic_store_explicit(&r->phase, phase, memory_order_relaxed);
    for (size_t i = 0; i < r->thread_count; i++)
        if (r->threads[i].loop != NULL)
            ev_async_send(r->threads[i].loop, &r->threads[i].wake);
}

void
run_threads_join(struct run *r)
{
    run_threads_phase(r, RUN_OVER);
    for (size_t i = 0; i < r->thread_count; i++)
        if (r->threads[i].thread != 0)
            pthread_join(r->threads[i].thread, NULL);
}

void
run_threads_free(struct run *r)
{
    for (size_t i = 0; i < r->thread_count; i++) {
        struct run_thread *t = &r->threads[i];
        for (size_t k = 0; k < t->producer_count; k++)
            run_producer_free(t->producers[k]);
        for (size_t k = 0; k < t->consumer_count; k++)
            run_consumer_free(t->consumers[k]);
        if (t->loop != NULL) {
            ev_loop_destroy(t->loop);
            close(t->timer_fd);
        }
        mem_free(t->producers);
        mem_free(t->consumers);
        mem_free(t->confirm_hist);
        mem_free(t->delivery_hist);
    }
    mem_free(r->threads);
    r->threads = NULL;
    r->thread_count = 0;
}
