// perf_verify_drain.c: `verify --check`: takes everything out of the queues, logs it, and gives the verdict.
#include <poll.h>

#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/cli/perf_verify.h"

enum {
    PREFETCH = 1000,
    QUIET_MS = 300,     // without a delivery, before the queue is asked whether it is empty
    STALLED_MS = 20000, // not empty, and nothing comes
    CONNECT_RETRY_MS = 250,
};

struct check {
    const struct verify_config *config;
    struct perf_uris uris;
    struct verify_head head;
    struct verify_checker *checker;
    struct verify_log received;
    uint64_t drained;
};

static int
add_fact(void *ctx, const struct verify_fact *fact)
{
    struct check *k = ctx;
    return verify_checker_add(k->checker, fact);
}

static int
note_head_only(void *ctx, const struct verify_fact *fact)
{
    return 0;
}

static int
complain_log(const char *path, uint64_t line, int rc)
{
    if (rc == -LE_NOTFOUND)
        perf_complain("%s: there is no such log; was `verify` run here, or with another --log?", path);
    else
        perf_complain("%s, line %llu: %s", path, (unsigned long long)line, err_text(rc));
    return rc;
}

// The run's log, then what was received before.
static int
read_logs(struct check *k)
{
    char received[4096];
    uint64_t line = 0;
    int rc = verify_log_read(k->config->log, &k->head, note_head_only, k, &line);
    if (rc < 0)
        return complain_log(k->config->log, line, rc);
    k->checker = verify_checker_new(&k->head);
    rc = verify_log_read(k->config->log, &k->head, add_fact, k, &line);
    if (rc < 0)
        return complain_log(k->config->log, line, rc);
    verify_received_path(k->config, received);
    rc = verify_log_read(received, NULL, add_fact, k, &line);
    if (rc < 0 && rc != -LE_NOTFOUND)
        return complain_log(received, line, rc);
    return verify_log_append_to(&k->received, received);
}

static int
connect_patiently(struct check *k, struct perf_conn *c)
{
    struct perf_conn_options o = {.name = "leveret-perf verify --check",
                                  .frame_max = 131072,
                                  .timeout_s = k->config->common.timeout_s,
                                  .in_cap = 2 * 131072};
    uint64_t deadline = clock_mono_ns() + (uint64_t)(k->config->wait_s * 1e9);
    for (;;) {
        int rc = perf_conn_open(c, &k->uris, 0, &o);
        if (rc == 0 || clock_mono_ns() >= deadline || perf_stop_wait(CONNECT_RETRY_MS / 1e3))
            return rc;
    }
}

// How many messages lie in the queue, on channel 2, without disturbing the consumer on 1.
static int
ask_depth(struct perf_conn *c, struct verify_receiver *r, const char *name, uint32_t *ret)
{
    amqp_frame_queue_declare(&c->out, 2,
                             &(struct amqp_queue_declare){.queue = slice_str(name), .passive = true});
    int rc = perf_conn_flush(c);
    uint64_t deadline = clock_mono_ns() + c->timeout_ns;
    while (rc >= 0) {
        struct frame f;
        rc = perf_conn_frame(c, &f);
        if (rc == 1 && f.channel == 2 && perf_method_id(&f) == AMQP_QUEUE_DECLARE_OK) {
            struct amqp_queue_declare_ok m;
            rc = amqp_decode_queue_declare_ok(slice_from(f.payload, 4), &m);
            if (rc == 0)
                *ret = m.message_count;
            return rc;
        }
        if (rc == 1) {
            rc = verify_receiver_take(r, &f);
        } else if (rc == 0) {
            if (clock_mono_ns() > deadline)
                return perf_conn_fail(c, -LE_TIMEOUT, "no answer to a queue.declare");
            perf_conn_poll(c, 0.05);
            rc = perf_conn_read(c);
        }
    }
    return rc;
}

static int
drain_connected(struct perf_conn *c, struct verify_receiver *r, const char *name)
{
    uint64_t last = clock_mono_ns(), received = r->received;
    int rc = 0;
    while (rc >= 0) {
        struct frame f;
        while ((rc = perf_conn_frame(c, &f)) == 1 && (rc = verify_receiver_take(r, &f)) >= 0)
            continue;
        if (rc >= 0)
            rc = verify_receiver_settle(r);
        if (rc < 0 || perf_stop_wait(0))
            break;
        uint64_t now = clock_mono_ns();
        if (r->received != received) {
            received = r->received;
            last = now;
        }
        uint32_t depth = 0;
        if (now - last > QUIET_MS * UINT64_C(1000000)) {
            rc = ask_depth(c, r, name, &depth);
            if (rc >= 0 && depth == 0 && r->received == received)
                return 0;
            if (rc >= 0 && now - last > STALLED_MS * UINT64_C(1000000))
                return perf_conn_fail(c, -LE_TIMEOUT, "it says that it has %u messages, and gives none",
                                      depth);
        }
        if (rc >= 0 && perf_conn_poll(c, 0.05))
            rc = perf_conn_read(c);
    }
    return rc < 0 ? rc : perf_conn_fail(c, -LE_STATE, "interrupted");
}

static int
drain_queue(struct check *k, uint32_t queue)
{
    struct perf_conn c = PERF_CONN_INIT;
    char name[256];
    perf_queue_name(k->head.pattern, queue + 1, k->head.queues, name);
    struct verify_receiver r = {
        .conn = &c, .log = &k->received, .queue = queue, .run = k->head.run, .fact = add_fact, .ctx = k};
    union amqp_method m = {.basic_qos = {.prefetch_count = PREFETCH}};
    int rc = connect_patiently(k, &c);
    for (uint16_t channel = 1; rc == 0 && channel <= 2; channel++)
        rc = perf_conn_open_channel(&c, channel);
    if (rc == 0)
        rc = perf_conn_call(&c, 1, AMQP_BASIC_QOS, &m, NULL);
    m.basic_consume =
        (struct amqp_basic_consume){.queue = slice_str(name), .consumer_tag = SLICE_LIT("check")};
    if (rc == 0)
        rc = perf_conn_call(&c, 1, AMQP_BASIC_CONSUME, &m, NULL);
    if (rc == 0)
        rc = drain_connected(&c, &r, name);
    // First the consumer, or the broker would tell it that its queue is gone.
    m.basic_cancel = (struct amqp_basic_cancel){.consumer_tag = SLICE_LIT("check")};
    if (rc == 0)
        rc = perf_conn_call(&c, 1, AMQP_BASIC_CANCEL, &m, NULL);
    if (rc == 0 && !k->config->is_keep)
        rc = perf_delete_queue(&c, 2, name);
    if (rc < 0)
        perf_complain("queue '%s': %s", name, c.error);
    k->drained += r.received;
    buf_fini(&r.inbox.body);
    perf_conn_close(&c);
    perf_conn_abort(&c);
    return rc;
}

static bool
print_verdict(struct check *k, bool is_complete)
{
    struct verify_found f;
    struct buf examples = BUF_INIT;
    struct perf_report r;
    verify_checker_finish(k->checker, &f, &examples);
    bool is_good = is_complete && f.lost == 0 && f.duplicated_unexplained == 0 && f.corrupted == 0 &&
                   f.unexpected == 0 && (f.out_of_order == 0 || k->config->is_reorder_allowed);
    perf_report_begin(&r, "verify --check", k->config->common.is_json);
    perf_report_number(&r, "sent", "sent", (double)f.sent, 0, "messages");
    perf_report_number(&r, "confirmed", "confirmed", (double)f.confirmed, 0, "messages");
    perf_report_number(&r, "refused (nack)", "nacked", (double)f.nacked, 0, "messages");
    perf_report_number(&r, "received", "received", (double)f.received, 0, "different messages");
    perf_report_number(&r, "of them unconfirmed", "received_unconfirmed", (double)f.in_doubt_received, 0,
                       "messages (allowed)");
    perf_report_number(&r, "drained now", "drained", (double)k->drained, 0, "messages");
    perf_report_number(&r, "LOST", "lost", (double)f.lost, 0, "confirmed messages");
    perf_report_number(&r, "duplicated, redelivered", "duplicated_redelivered",
                       (double)f.duplicated_redelivered, 0, "messages (allowed)");
    perf_report_number(&r, "duplicated, unexplained", "duplicated_unexplained",
                       (double)f.duplicated_unexplained, 0, "messages");
    perf_report_number(&r, "corrupted", "corrupted", (double)f.corrupted, 0, "messages");
    perf_report_number(&r, "unexpected", "unexpected", (double)f.unexpected, 0, "messages");
    perf_report_number(&r, "out of order", "out_of_order", (double)f.out_of_order, 0,
                       k->config->is_reorder_allowed ? "messages (allowed)" : "messages");
    perf_report_text(&r, "verdict", "verdict",
                     is_good       ? "GOOD"
                     : is_complete ? "BAD"
                                   : "BAD: a queue could not be drained");
    perf_report_print(&r);
    fputs(buf_cstr(&examples), stderr);
    buf_fini(&examples);
    return is_good;
}

int
verify_check(const struct verify_config *c)
{
    struct check k = {.config = c};
    if (perf_common_uris(&c->common, &k.uris) < 0)
        return PERF_USAGE;
    int status = PERF_FAILED;
    if (read_logs(&k) == 0) {
        struct verify_fact drain = {.kind = FACT_DRAIN};
        verify_log_write(&k.received, &drain, 1);
        int rc = verify_checker_add(k.checker, &drain);
        // One queue that is gone does not hide what the others have.
        for (uint32_t i = 0; i < k.head.queues && !perf_stop_wait(0); i++)
            if (drain_queue(&k, i) < 0)
                rc = -LE_STATE;
        if (print_verdict(&k, rc == 0 && !perf_stop_wait(0)))
            status = PERF_OK;
    }
    verify_log_close(&k.received);
    verify_checker_free(k.checker);
    return status;
}
