// leveretctl_process.c: the life of the broker's process: stopping it, waiting for it to start.
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/clock.h"
#include "src/cli/leveretctl.h"

enum { POLL_MS = 50, WAIT_S = 10, AWAIT_STARTUP_S = 300, STOP_S = 300 };

// The time a command may take: -t, or its own default; 0: no end.
static int64_t
allowed_s(const struct ctl *c, int64_t otherwise_s)
{
    return c->options.timeout_s >= 0 ? c->options.timeout_s : otherwise_s;
}

static uint64_t
deadline_after(int64_t seconds)
{
    return seconds == 0 ? UINT64_MAX : clock_mono_ns() + (uint64_t)LV_MIN(seconds, 1000000) * 1000000000;
}

// Sleeps one step; false: the deadline is over.
static bool
poll_again(uint64_t deadline_ns)
{
    struct timespec step = {.tv_nsec = POLL_MS * 1000000};
    if (clock_mono_ns() >= deadline_ns)
        return false;
    nanosleep(&step, NULL);
    return true;
}

static bool
is_process_running(int64_t pid)
{
    return pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

// The process id in a file (leveretd writes its own into DATADIR/lock); 0: none there.
static int64_t
read_pid_file(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    return strtoll(text, NULL, 10);
}

// A line of progress, seen at once.
#define step(c, ...) (ctl_banner((c), __VA_ARGS__), fflush((c)->out))

// --- stop -----------------------------------------------------------------------------------------------------------------------

static bool
wait_for_end(int64_t pid, uint64_t deadline_ns)
{
    while (is_process_running(pid)) {
        if (!poll_again(deadline_ns))
            return false;
    }
    return true;
}

static int
run_stop(struct ctl *c)
{
    const char *pid_file = ctl_arg(c, 0);
    if (pid_file != NULL)
        ctl_banner(c, "Stopping and halting node %s (will monitor pid file %s) ...", ctl_node(c), pid_file);
    else
        ctl_banner(c, "Stopping and halting node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int64_t pid = pid_file != NULL ? read_pid_file(pid_file) : 0;
    if (pid_file != NULL && pid <= 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "could not read a process id from file %s", pid_file);
    if (c->options.is_idempotent && !ctl_is_reachable(c))
        return ctl_done(c);
    int status = ctl_call(c, "POST", NULL, "control", "stop", NULL);
    if (status != 0 || c->answer.status >= 300 || pid_file == NULL)
        return ctl_finish(c, status);
    if (!wait_for_end(pid, deadline_after(allowed_s(c, STOP_S))))
        return ctl_timed_out(c, allowed_s(c, STOP_S));
    return ctl_say(c, NULL, "process %" PRId64 " (take from pid file %s) is no longer running", pid,
                   pid_file);
}

static int
run_shutdown(struct ctl *c)
{
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_overview(c);
    if (status != 0)
        return status;
    const char *node = ctl_node(c);
    int64_t pid = json_integer_value(ctl_overview_member(c, "os_pid"));
    step(c, "Shutting down RabbitMQ node %s running at PID %" PRId64, node, pid);
    status = ctl_call(c, "POST", NULL, "control", "stop", NULL);
    if (status != 0 || c->answer.status >= 300 || !c->options.is_waiting)
        return ctl_finish(c, status);
    step(c, "Waiting for PID %" PRId64 " to terminate", pid);
    if (!wait_for_end(pid, deadline_after(allowed_s(c, STOP_S))))
        return ctl_timed_out(c, allowed_s(c, STOP_S));
    return ctl_say(c, NULL, "RabbitMQ node %s running at PID %" PRId64 " successfully shut down", node, pid);
}

// --- start ----------------------------------------------------------------------------------------------------------------------

bool
ctl_is_running(struct ctl *c)
{
    return ctl_is_reachable(c) && json_is_true(ctl_overview_member(c, "running"));
}

static int
run_await_startup(struct ctl *c)
{
    int64_t timeout_s = allowed_s(c, AWAIT_STARTUP_S);
    uint64_t deadline_ns = deadline_after(timeout_s);
    if (c->options.is_dry_run)
        return CTL_OK;
    while (!ctl_is_running(c)) {
        if (!poll_again(deadline_ns))
            return ctl_timed_out(c, timeout_s);
    }
    return CTL_OK;
}

static int
check_wait(struct ctl *c)
{
    bool has_pid = c->options.pid >= 0, has_file = c->options.arg_count > 0;
    if (!has_pid && !has_file)
        buf_append_str(&c->problem, "\"No pid or pidfile specified\"");
    if (has_pid && has_file)
        buf_append_str(&c->problem, "\"Cannot specify both pid and pidfile\"");
    return has_pid == has_file ? (int)CTL_USAGE : 0;
}

static int
run_wait(struct ctl *c)
{
    int64_t timeout_s = allowed_s(c, WAIT_S), pid = c->options.pid;
    uint64_t deadline_ns = deadline_after(timeout_s);
    const char *pid_file = ctl_arg(c, 0);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (pid_file != NULL) {
        step(c, "Waiting for pid file '%s' to appear", pid_file);
        while ((pid = read_pid_file(pid_file)) <= 0) {
            if (!poll_again(deadline_ns))
                return ctl_timed_out(c, timeout_s);
        }
        step(c, "pid is %" PRId64, pid);
    }
    step(c, "Waiting for erlang distribution on node '%s' while OS process '%" PRId64 "' is running",
         ctl_node(c), pid);
    do {
        if (!is_process_running(pid))
            return ctl_fail(c, CTL_UNAVAILABLE, "process_not_running");
        if (ctl_is_reachable(c))
            break;
    } while (poll_again(deadline_ns));
    step(c, "Waiting for applications 'rabbit_and_plugins' to start on node '%s'", ctl_node(c));
    while (!ctl_is_running(c)) {
        if (!is_process_running(pid))
            return ctl_fail(c, CTL_UNAVAILABLE, "process_not_running");
        if (!poll_again(deadline_ns))
            return ctl_timed_out(c, timeout_s);
    }
    step(c, "Applications 'rabbit_and_plugins' are running on node '%s'", ctl_node(c));
    return CTL_OK;
}

const struct ctl_command ctl_commands_process[] = {
    {"await_startup", GROUP_NODES, "", "Waits until the node is running, at most 300 seconds", NULL, 0, 0, 0,
     NULL, run_await_startup, NULL},
    {"shutdown", GROUP_NODES, "[--wait]", "Stops the node and waits for its process to end",
     "--no-wait\n\tdo not wait\n\n", 0, 0, OPTION_WAIT | NEEDS_SOCKET, NULL, run_shutdown, NULL},
    {"stop", GROUP_NODES, "[--idempotent] [<pidfile>]", "Stops the node",
     "<pidfile>\n\tfile with its process id (DATADIR/lock): waits for the process to end\n\n"
     "--idempotent\n\tit is no error when the node is not running\n\n",
     0, 1, OPTION_IDEMPOTENT | NEEDS_SOCKET, NULL, run_stop, NULL},
    {"wait", GROUP_NODES, "[<pidfile>] [--pid|-P <pid>]",
     "Waits until the node with that process id is running, at most 10 seconds",
     "<pidfile>\n\tfile with its process id (DATADIR/lock)\n\n--pid <pid>\n\tthe process id\n\n", 0, 1,
     OPTION_PID | NEEDS_SOCKET, NULL, run_wait, check_wait},
    {.name = NULL},
};
