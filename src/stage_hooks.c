// stage_hooks.c: test builds: arms what the keys test.* ask for, before anything is opened.
//
// test.crash_at counts calls of the I/O table from here on, recovery included; test.alloc_fail_at allocations from the moment that
// everything has started, or it is changed by a reload.
#include <stdlib.h>

#include "queue/durable.h"
#include "src/base/bug.h"
#include "src/base/io_test.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/stages.h"
#include "src/store/backlog_format.h"
#include "src/store/log_ring.h"

// A name, or `log:BITS`, `backlog:BITS`, `queue:BITS` for those of the store and of durable queues.
static bool
switch_on(const char *name)
{
    const char *bits = strchr(name, ':');
    if (bits == NULL)
        return lv_bug_set(name);
    if (strncmp(name, "log:", 4) == 0)
        msglog_planted_bugs = (unsigned)strtoul(bits + 1, NULL, 0);
    else if (strncmp(name, "backlog:", 8) == 0)
        backlog_planted_bugs = (unsigned)strtoul(bits + 1, NULL, 0);
    else if (strncmp(name, "queue:", 6) == 0)
        queue_planted_bugs = (unsigned)strtoul(bits + 1, NULL, 0);
    else
        return false;
    return true;
}

static bool
is_set(const char *value)
{
    return strcmp(value, "none") != 0;
}

static int
hooks_start(struct daemon *d, struct buf *problem)
{
    const struct config *c = d->config;
    if (is_set(c->test_bug) && !switch_on(c->test_bug)) {
        buf_printf(problem, "test.bug: there is no bug '%s'", c->test_bug);
        return DAEMON_CONFIG;
    }
    if (is_set(c->test_io_fault) && io_test_plan(c->test_io_fault) != 0) {
        buf_printf(problem, "test.io_fault: '%s' is not a list of CALL:N:COUNT:ERROR[@FILE]",
                   c->test_io_fault);
        return DAEMON_CONFIG;
    }
    io_test_crash_at(c->test_crash_at);
    return 0;
}

// False: it cannot be read.
static bool
fail_allocations(const char *plan)
{
    uint64_t first = 0, count = 1;
    if (is_set(plan)) {
        char *end;
        first = strtoull(plan, &end, 10);
        if (*end == ':')
            count = strtoull(end + 1, &end, 10);
        if (*end != '\0')
            return false;
    }
    mem_test_fail_at(first, count);
    return true;
}

static int
hooks_run(struct daemon *d, struct buf *problem)
{
    if (fail_allocations(d->config->test_alloc_fail_at))
        return 0;
    buf_printf(problem, "test.alloc_fail_at: '%s' is not N[:COUNT]", d->config->test_alloc_fail_at);
    return DAEMON_CONFIG;
}

// What the other stages allocate for the reload counts too.
static void
hooks_reload(struct daemon *d, const struct config *old)
{
    if (strcmp(d->config->test_alloc_fail_at, old->test_alloc_fail_at) != 0 &&
        !fail_allocations(d->config->test_alloc_fail_at))
        log_error(LOG_DEFAULT, "test.alloc_fail_at: '%s' is not N[:COUNT]", d->config->test_alloc_fail_at);
}

// The shutdown is not what is tested.
static void
hooks_drain(struct daemon *d)
{
    mem_test_fail_at(0, 0);
}

const struct daemon_stage stage_hooks = {.name = "test hooks",
                                         .start = hooks_start,
                                         .run = hooks_run,
                                         .reload = hooks_reload,
                                         .drain = hooks_drain};
