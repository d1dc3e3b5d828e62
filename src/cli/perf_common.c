// perf_common.c: see perf_common.h.
#include "src/cli/perf_common.h"

#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "amqp/wire/table.h"
#include "src/base/clock.h"
#include "src/base/err.h"

// Set by the signal handler alone, read by perf_stop_wait.
static volatile sig_atomic_t stop_count;

FILE *
perf_progress(const struct perf_common *c)
{
    return c->is_json ? stderr : stdout;
}

void
perf_complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("leveret-perf: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

int
perf_common_uris(const struct perf_common *c, struct perf_uris *ret)
{
    struct buf error = BUF_INIT;
    int rc = perf_uris_parse(c->uri, ret, &error);
    if (rc < 0)
        perf_complain("%s", buf_cstr(&error));
    buf_fini(&error);
    return rc;
}

static void
on_signal(int number)
{
    if (stop_count++ > 0)
        _exit(128 + number);
}

void
perf_stop_init(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool
perf_stop_wait(double seconds)
{
    uint64_t deadline = clock_mono_ns() + (uint64_t)(seconds * 1e9), now;
    while (stop_count == 0 && (now = clock_mono_ns()) < deadline) {
        // In slices, for the signal that comes between the question and the sleep.
        uint64_t slice = LV_MIN(deadline - now, UINT64_C(100000000));
        nanosleep(&(struct timespec){.tv_sec = 0, .tv_nsec = (long)slice}, NULL);
    }
    return stop_count > 0;
}

int
perf_thread_start(pthread_t *ret, void *(*fn)(void *), void *ctx)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(ret, NULL, fn, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : -LE_NOMEM;
}

void
perf_queue_name(const char *pattern, uint64_t number, uint64_t count, char ret[static 256])
{
    const char *place = strstr(pattern, "%d");
    if (place != NULL)
        snprintf(ret, 256, "%.*s%llu%s", (int)(place - pattern), pattern, (unsigned long long)number,
                 place + 2);
    else if (count > 1)
        snprintf(ret, 256, "%s-%llu", pattern, (unsigned long long)number);
    else
        snprintf(ret, 256, "%s", pattern);
}

void
perf_append_declare(struct perf_conn *c, uint16_t channel, const struct perf_queue_options *q)
{
    struct buf arguments = BUF_INIT;
    struct table_writer w = table_writer_of(&arguments);
    if (q->is_quorum)
        table_put_str(&w, SLICE_LIT("x-queue-type"), "quorum");
    table_put_raw(&w, q->arguments);
    amqp_frame_queue_declare(&c->out, channel,
                             &(struct amqp_queue_declare){.queue = slice_str(q->name),
                                                          .durable = q->is_durable || q->is_quorum,
                                                          .arguments = buf_slice(&arguments)});
    c->out.failed |= arguments.failed;
    buf_fini(&arguments);
}

int
perf_declare_queue(struct perf_conn *c, uint16_t channel, const struct perf_queue_options *q,
                   bool *ret_existed)
{
    union amqp_method m = {.queue_declare = {.queue = slice_str(q->name), .passive = true}};
    int rc = perf_conn_call(c, channel, AMQP_QUEUE_DECLARE, &m, NULL);
    *ret_existed = rc == 0;
    if (rc != -LE_CLOSED || c->closed_channel != channel || c->closed_code != 404)
        return rc;
    amqp_frame_channel_close_ok(&c->out, channel);
    rc = perf_conn_open_channel(c, channel);
    if (rc < 0)
        return rc;
    perf_append_declare(c, channel, q);
    return perf_conn_wait(c, channel, AMQP_QUEUE_DECLARE_OK, NULL);
}

int
perf_delete_queue(struct perf_conn *c, uint16_t channel, const char *name)
{
    union amqp_method m = {.queue_delete = {.queue = slice_str(name)}};
    return perf_conn_call(c, channel, AMQP_QUEUE_DELETE, &m, NULL);
}
