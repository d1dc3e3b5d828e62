// daemon.c: the loop over the stages, signals, draining. The stages themselves: daemon_stages.c.
//
// Failure modes: a stage that does not start ends the process with its status after the earlier ones were
// stopped. A reload that fails leaves everything as it was. Draining that takes too long is cut off: what
// clients sent and was confirmed is safe by then, they only do not read why their connection ended.
#include "src/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/daemon_notify.h"

// How often draining is looked at. It ends when the last connection is gone, not on a tick of a longer clock.
#define DRAIN_POLL_S 0.01

void
daemon_log_lines(enum log_level level, const char *lines, const char *prefix)
{
    while (lines != NULL && *lines != '\0') {
        size_t len = strcspn(lines, "\n");
        log_at(LOG_DEFAULT, level, "%s%.*s", prefix, (int)len, lines);
        lines += len;
        if (*lines == '\n')
            lines++;
    }
}

// ---- Reload --------------------

int
daemon_reload(struct daemon *d, struct buf *problems)
{
    struct config *loaded;
    struct buf changes = BUF_INIT;
    int error = config_reload(d->config, &d->input, &loaded, problems, &changes);
    if (error == 0) {
        struct config *old = d->config;
        d->config = loaded;
        for (size_t i = 0; i < d->started; i++) {
            if (d->stages[i].reload != NULL)
                d->stages[i].reload(d, old);
        }
        daemon_log_lines(LOG_NOTICE, buf_cstr(&changes), "configuration: ");
        config_unref(old);
    }
    buf_fini(&changes);
    return error;
}

static void
on_reload(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct daemon *d = watcher->data;
    struct buf problems = BUF_INIT;
    if (d->is_draining)
        return;
    daemon_notify_reloading(clock_mono_ns() / 1000);
    log_notice(LOG_DEFAULT, "configuration: reloading");
    int error = daemon_reload(d, &problems);
    if (error != 0) {
        daemon_log_lines(LOG_ERROR, buf_cstr(&problems), "configuration: ");
        log_error(LOG_DEFAULT, "configuration: not reloaded (%s); the one in force stays", err_text(error));
    } else {
        log_notice(LOG_DEFAULT, "configuration: reloaded");
    }
    daemon_notify_ready();
    buf_fini(&problems);
}

// ---- Draining --------------------

static bool
is_drained(struct daemon *d)
{
    for (size_t i = 0; i < d->started; i++) {
        if (d->stages[i].is_drained != NULL && !d->stages[i].is_drained(d))
            return false;
    }
    return true;
}

static void
on_drain_poll(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct daemon *d = timer->data;
    bool is_late = clock_mono_ns() >= d->drain_until_ns;
    if (!is_late && !is_drained(d))
        return;
    ev_timer_stop(loop, timer);
    if (is_late && !is_drained(d))
        log_warn(LOG_DEFAULT, "shutdown: clients did not close within %" PRIu32 " ms, closing their sockets",
                 d->config->shutdown_timeout_ms);
    for (int i = 0; i < d->crew->n_members; i++)
        worker_stop(d->crew->members[i]);
}

void
daemon_request_stop(struct daemon *d, int exit_status)
{
    LV_ON_WORKER(d->main);
    if (d->is_draining)
        return;
    d->is_draining = true;
    d->exit_status = exit_status;
    d->drain_until_ns = clock_mono_ns() + (uint64_t)d->config->shutdown_timeout_ms * 1000000;
    daemon_notify_stopping();
    log_notice(LOG_DEFAULT, "shutdown: closing listeners and connections");
    for (size_t i = d->started; i > 0; i--) {
        if (d->stages[i - 1].drain != NULL)
            d->stages[i - 1].drain(d);
    }
    ev_timer_init(&d->drain_timer, on_drain_poll, 0., DRAIN_POLL_S);
    d->drain_timer.data = d;
    ev_timer_start(d->main->loop, &d->drain_timer);
}

static void
on_terminate(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct daemon *d = watcher->data;
    if (d->is_draining) {
        log_warn(LOG_DEFAULT, "shutdown: second signal, exiting at once");
        _exit(DAEMON_KILLED);
    }
    log_notice(LOG_DEFAULT, "shutdown: received SIG%s", sigabbrev_np(watcher->signum));
    daemon_request_stop(d, DAEMON_OK);
}

static void
start_signal(struct daemon *d, ev_signal *watcher, int number, void (*cb)(struct ev_loop *, ev_signal *, int))
{
    ev_signal_init(watcher, cb, number);
    watcher->data = d;
    ev_signal_start(d->main->loop, watcher);
}

// ---- The whole life --------------------

static int
start_stages(struct daemon *d, struct buf *problem)
{
    for (; d->started < d->stage_count; d->started++) {
        const struct daemon_stage *stage = &d->stages[d->started];
        int status = stage->start != NULL ? stage->start(d, problem) : 0;
        if (status != 0) {
            if (problem->len == 0)
                buf_printf(problem, "%s: cannot be started", stage->name);
            return status;
        }
    }
    return 0;
}

static int
run_stages(struct daemon *d, struct buf *problem)
{
    LV_ASSERT(d->crew != NULL && d->main != NULL);
    start_signal(d, &d->signal_term, SIGTERM, on_terminate);
    start_signal(d, &d->signal_int, SIGINT, on_terminate);
    start_signal(d, &d->signal_hup, SIGHUP, on_reload);
    if (crew_start(d->crew) != 0) {
        buf_append_str(problem, "threads cannot be started");
        return DAEMON_OSERR;
    }
    d->is_running = true;
    struct worker *before = worker_self;
    worker_self = d->main; // what stages post from here on leaves with the first turn
    int status = 0;
    for (size_t i = 0; i < d->started && status == 0; i++)
        status = d->stages[i].run != NULL ? d->stages[i].run(d, problem) : 0;
    worker_self = before;
    return status;
}

static void
end_threads(struct daemon *d)
{
    if (!d->is_running)
        return;
    for (int i = 0; i < d->crew->n_members; i++)
        worker_stop(d->crew->members[i]);
    crew_join(d->crew);
    d->is_running = false;
}

static void
stop_signals(struct daemon *d)
{
    if (d->main == NULL)
        return;
    ev_signal_stop(d->main->loop, &d->signal_term);
    ev_signal_stop(d->main->loop, &d->signal_int);
    ev_signal_stop(d->main->loop, &d->signal_hup);
}

int
daemon_main(const struct daemon_config *config)
{
    LV_ASSERT(config->stage_count <= DAEMON_STAGES_MAX);
    struct buf problem = BUF_INIT;
    struct daemon *d = mem_xcalloc(1, sizeof *d);
    d->config = config->config;
    d->input = config->input;
    d->warnings = config->warnings;
    d->stages = config->stages;
    d->stage_count = config->stage_count;
    d->lock_fd = -1;
    int status = start_stages(d, &problem);
    if (status == 0)
        status = run_stages(d, &problem);
    if (status == 0) {
        log_notice(LOG_DEFAULT, "node %s: started with %d workers, process %d", d->config->node_name,
                   d->config->workers, (int)getpid());
        daemon_notify_ready();
        worker_run(d->main);
        status = d->exit_status;
    } else {
        // Whatever the log settings are, this line is seen.
        fprintf(stderr, "leveretd: %s\n", buf_cstr(&problem));
    }
    // From here on a signal has its default effect again: it ends the process, whatever a thread may be
    // waiting for.
    stop_signals(d);
    end_threads(d);
    while (d->started > 0) {
        d->started--;
        if (d->stages[d->started].stop != NULL)
            d->stages[d->started].stop(d);
    }
    config_unref(d->config);
    mem_free(d);
    buf_fini(&problem);
    return status;
}
