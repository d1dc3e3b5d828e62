// perf_verify_publish.c: publishes numbered messages through crashes: each producer (and with --consume-live each queue's
// consumer) is a thread with a connection that it opens again whenever it breaks.
//
// What a producer was waiting for when its connection broke stays in doubt: it is not sent again, so that every duplicate is the
// broker's. Before anything is sent the log says so; what is confirmed is logged as soon as it is read.
#include <poll.h>

#include "amqp/wire/props.h"
#include "src/base/clock.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/cli/perf_verify.h"

enum {
    BATCH = 256,       // messages encoded between two looks at what came back
    RETRY_MS = 200,    // between attempts to connect
    SETTLE_MS = 10000, // for the last confirms
    LIVE_PREFETCH = 500,
};

struct session {
    const struct verify_config *config;
    struct perf_uris uris;
    struct verify_head head;
    struct verify_log log, received;
    _Atomic bool is_over; // relaxed: producers publish no more, consumers stop
    _Atomic uint64_t sent, confirmed, nacked, consumed, reconnects; // relaxed, for the live line
    _Atomic uint64_t producers_left;
};

struct client {
    struct session *session;
    pthread_t thread;
    uint32_t index;
    struct perf_conn conn;
    bool is_started;
};

struct publisher {
    struct client *client;
    uint8_t *body;
    struct buf props;
    uint64_t sequence; // last sent
    uint64_t base;     // of this connection: tag 1 is base + 1
    uint64_t oldest;   // lowest open tag
    uint8_t *open;     // [tag % window]: 1 while it waits
    uint64_t window;
    uint64_t start_ns, count; // for the rate
    struct verify_fact facts[BATCH];
    size_t fact_count;
};

static bool
is_over(const struct session *s)
{
    return atomic_load_explicit(&s->is_over, memory_order_relaxed);
}

static void
count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static void
rest(unsigned ms)
{
    poll(NULL, 0, (int)ms);
}

// Until it is connected with channel 1 open, or the run is over.
static bool
reconnect(struct client *c, const char *kind)
{
    struct session *s = c->session;
    char name[64];
    snprintf(name, sizeof name, "leveret-perf verify %s %u", kind, c->index);
    struct perf_conn_options o = {
        .name = name, .frame_max = 131072, .timeout_s = s->config->common.timeout_s, .in_cap = 2 * 131072};
    while (!is_over(s)) {
        int rc = perf_conn_open(&c->conn, &s->uris, c->index, &o);
        if (rc == 0)
            rc = perf_conn_open_channel(&c->conn, 1);
        if (rc == 0)
            return true;
        perf_conn_abort(&c->conn);
        rest(RETRY_MS);
    }
    return false;
}

// --- producers ---

static void
write_facts(struct publisher *p)
{
    verify_log_write(&p->client->session->log, p->facts, p->fact_count);
    p->fact_count = 0;
}

static void
settled(struct publisher *p, uint64_t tag, bool is_nack)
{
    struct session *s = p->client->session;
    uint64_t sequence = p->base + tag;
    uint8_t *open = &p->open[tag % p->window];
    if (*open == 0)
        return;
    *open = 0;
    count(is_nack ? &s->nacked : &s->confirmed, 1);
    enum verify_fact_kind kind = is_nack ? FACT_NACKED : FACT_CONFIRMED;
    struct verify_fact *last = p->fact_count > 0 ? &p->facts[p->fact_count - 1] : NULL;
    if (last != NULL && last->kind == kind && last->last + 1 == sequence) {
        last->last = sequence;
        return;
    }
    if (p->fact_count == BATCH)
        write_facts(p);
    p->facts[p->fact_count++] =
        (struct verify_fact){.kind = kind, .producer = p->client->index, .first = sequence, .last = sequence};
}

static int
take_answer(struct publisher *p, const struct frame *f)
{
    struct perf_conn *c = &p->client->conn;
    uint32_t id = perf_method_id(f);
    struct amqp_basic_nack m = {0};
    struct amqp_basic_ack a = {0};
    int rc = 0;
    if (id == AMQP_BASIC_ACK)
        rc = amqp_decode_basic_ack(slice_from(f->payload, 4), &a);
    else if (id == AMQP_BASIC_NACK)
        rc = amqp_decode_basic_nack(slice_from(f->payload, 4), &m);
    else
        return perf_conn_unasked(c, f);
    uint64_t tag = a.delivery_tag + m.delivery_tag;
    if (rc < 0 || tag == 0 || tag > p->sequence - p->base)
        return perf_conn_fail(c, -LE_SYNTAX, "the broker confirmed what was never published");
    for (uint64_t t = a.multiple || m.multiple ? p->oldest : LV_MAX(tag, p->oldest); t <= tag; t++)
        settled(p, t, id == AMQP_BASIC_NACK);
    while (p->oldest <= p->sequence - p->base && p->open[p->oldest % p->window] == 0)
        p->oldest++;
    return 0;
}

// What came, and at most so long of waiting for it.
static int
take_answers(struct publisher *p, double wait_s)
{
    struct perf_conn *c = &p->client->conn;
    struct frame f;
    if (wait_s > 0)
        perf_conn_poll(c, wait_s);
    int rc = perf_conn_read(c);
    while (rc >= 0 && (rc = perf_conn_frame(c, &f)) == 1)
        rc = take_answer(p, &f);
    if (p->fact_count > 0)
        write_facts(p);
    return rc;
}

static void
encode(struct publisher *p, uint64_t sequence)
{
    struct session *s = p->client->session;
    struct perf_conn *c = &p->client->conn;
    uint32_t queue = (uint32_t)((p->client->index + sequence) % s->head.queues);
    struct verify_message m = {
        .run = s->head.run, .producer = p->client->index, .queue = queue, .sequence = sequence};
    char name[256];
    perf_queue_name(s->head.pattern, queue + 1, s->head.queues, name);
    verify_message_encode(&m, p->body, s->config->size);
    amqp_frame_basic_publish(&c->out, 1, &(struct amqp_basic_publish){.routing_key = slice_str(name)});
    frame_append_content_header(&c->out, 1, s->config->size, buf_slice(&p->props));
    frame_append_body(&c->out, 1, slice_of(p->body, s->config->size), c->frame_max);
}

// How many may go out now; *ret_wait_s: when none may, how long to wait for answers or for the time.
static uint64_t
allowed(const struct publisher *p, double *ret_wait_s)
{
    const struct verify_config *c = p->client->session->config;
    uint64_t tags = p->sequence - p->base;
    uint64_t n = LV_MIN((uint64_t)BATCH, p->window - (tags + 1 - p->oldest));
    // Whole bodies, not only their number: a window of large ones would not fit the buffers.
    n = LV_MIN(n, LV_MAX(UINT64_C(1), (UINT64_C(4) << 20) / c->size));
    *ret_wait_s = 0.05;
    if (c->messages != 0)
        n = LV_MIN(n, c->messages - p->sequence);
    if (c->rate > 0) {
        double due = (double)(clock_mono_ns() - p->start_ns) / 1e9 * c->rate - (double)p->count;
        n = due < 1 ? 0 : LV_MIN(n, (uint64_t)due);
        *ret_wait_s = LV_MIN(*ret_wait_s, LV_MAX(0.001, (1 - due) / c->rate));
    }
    return n;
}

static int
publish_some(struct publisher *p)
{
    struct session *s = p->client->session;
    double wait_s;
    uint64_t n = allowed(p, &wait_s);
    if (n == 0)
        return take_answers(p, wait_s);
    struct verify_fact sent = {.kind = FACT_SENT, .producer = p->client->index, .last = p->sequence + n};
    verify_log_write(&s->log, &sent, 1);
    for (; n > 0; n--) {
        p->sequence++;
        p->count++;
        p->open[(p->sequence - p->base) % p->window] = 1;
        encode(p, p->sequence);
        count(&s->sent, 1);
    }
    int rc = perf_conn_flush(&p->client->conn);
    return rc < 0 ? rc : take_answers(p, 0);
}

static bool
is_all_sent(const struct publisher *p)
{
    const struct session *s = p->client->session;
    return is_over(s) || (s->config->messages != 0 && p->sequence >= s->config->messages) ||
           p->sequence >= VERIFY_SEQUENCE_MAX;
}

// One connection's worth. Ends when it breaks or when everything is sent and confirmed.
static void
publish_connected(struct publisher *p)
{
    struct client *c = p->client;
    union amqp_method m = {.confirm_select = {.nowait = false}};
    p->base = p->sequence;
    p->oldest = 1;
    memset(p->open, 0, p->window);
    int rc = perf_conn_call(&c->conn, 1, AMQP_CONFIRM_SELECT, &m, NULL);
    while (rc >= 0 && !is_all_sent(p))
        rc = publish_some(p);
    uint64_t deadline = clock_mono_ns() + SETTLE_MS * UINT64_C(1000000);
    while (rc >= 0 && p->oldest <= p->sequence - p->base && clock_mono_ns() < deadline)
        rc = take_answers(p, 0.05);
    if (rc >= 0) {
        perf_conn_close(&c->conn);
        return;
    }
    // A broker that goes away is what this is for; anything else is worth a line.
    if (!is_over(c->session) && rc != -LE_CLOSED && rc != -LE_NETWORK)
        perf_complain("producer %u: %s", c->index, c->conn.error);
    perf_conn_abort(&c->conn);
    count(&c->session->reconnects, 1);
}

static void *
producer_main(void *ctx)
{
    struct client *c = ctx;
    const struct verify_config *config = c->session->config;
    struct publisher p = {.client = c, .window = config->confirm, .start_ns = clock_mono_ns()};
    p.body = mem_xalloc(config->size);
    p.open = mem_xcalloc(1, p.window);
    struct amqp_basic_props props = {.flags = AMQP_PROP_DELIVERY_MODE,
                                     .delivery_mode = config->is_transient ? 1 : 2};
    amqp_props_encode(&p.props, &props);
    while (!is_all_sent(&p) && reconnect(c, "producer"))
        publish_connected(&p);
    count(&c->session->producers_left, UINT64_MAX); // one less
    perf_conn_abort(&c->conn);
    buf_fini(&p.props);
    mem_free(p.body);
    mem_free(p.open);
    return NULL;
}

// --- live consumers ---

static void
consume_connected(struct client *c, struct verify_receiver *r)
{
    struct session *s = c->session;
    char name[256];
    perf_queue_name(s->head.pattern, c->index + 1, s->head.queues, name);
    union amqp_method m = {.basic_qos = {.prefetch_count = LIVE_PREFETCH}};
    int rc = perf_conn_call(&c->conn, 1, AMQP_BASIC_QOS, &m, NULL);
    m.basic_consume = (struct amqp_basic_consume){.queue = slice_str(name)};
    if (rc == 0)
        rc = perf_conn_call(&c->conn, 1, AMQP_BASIC_CONSUME, &m, NULL);
    while (rc >= 0 && !is_over(s)) {
        struct frame f;
        uint64_t before = r->received;
        while ((rc = perf_conn_frame(&c->conn, &f)) == 1 && (rc = verify_receiver_take(r, &f)) >= 0)
            continue;
        count(&s->consumed, r->received - before);
        if (rc >= 0)
            rc = verify_receiver_settle(r);
        if (rc >= 0 && perf_conn_poll(&c->conn, 0.05))
            rc = perf_conn_read(&c->conn);
    }
    if (rc >= 0) {
        perf_conn_close(&c->conn);
    } else {
        perf_conn_abort(&c->conn);
        count(&s->reconnects, 1);
        rest(RETRY_MS);
    }
}

static void *
consumer_main(void *ctx)
{
    struct client *c = ctx;
    struct session *s = c->session;
    struct verify_receiver *r = mem_xcalloc(1, sizeof *r);
    while (reconnect(c, "consumer")) {
        buf_fini(&r->inbox.body);
        *r = (struct verify_receiver){
            .conn = &c->conn, .log = &s->received, .queue = c->index, .run = s->head.run};
        consume_connected(c, r);
    }
    buf_fini(&r->inbox.body);
    mem_free(r);
    return NULL;
}

// --- the run ---

// Fresh queues: what an earlier run left would be unexpected.
static int
declare_queues(struct session *s)
{
    const struct verify_config *c = s->config;
    struct perf_conn admin = PERF_CONN_INIT;
    struct perf_conn_options o = {
        .name = "leveret-perf verify", .frame_max = 131072, .timeout_s = c->common.timeout_s};
    int rc = perf_conn_open(&admin, &s->uris, 0, &o);
    if (rc == 0)
        rc = perf_conn_open_channel(&admin, 1);
    for (uint32_t i = 0; rc == 0 && i < s->head.queues; i++) {
        char name[256];
        perf_queue_name(s->head.pattern, i + 1, s->head.queues, name);
        struct perf_queue_options q = {.name = name,
                                       .is_durable = !c->is_transient,
                                       .is_quorum = c->is_quorum,
                                       .arguments = buf_slice(&c->queue_args)};
        rc = perf_delete_queue(&admin, 1, name);
        if (rc == 0) {
            perf_append_declare(&admin, 1, &q);
            rc = perf_conn_wait(&admin, 1, AMQP_QUEUE_DECLARE_OK, NULL);
        }
    }
    if (rc < 0)
        perf_complain("%s", admin.error);
    perf_conn_close(&admin);
    perf_conn_abort(&admin);
    return rc;
}

static void
watch(struct session *s)
{
    const struct verify_config *c = s->config;
    uint64_t start = clock_mono_ns();
    for (uint64_t second = 1;; second++) {
        bool is_stopped = false, is_done = false;
        while (!is_stopped && !is_done && clock_mono_ns() < start + second * UINT64_C(1000000000)) {
            is_stopped = perf_stop_wait(0.02);
            is_done = atomic_load_explicit(&s->producers_left, memory_order_relaxed) == 0;
        }
        char a[40], b[40], d[40];
        fprintf(perf_progress(&c->common),
                "%6llu s  sent %s  confirmed %s  consumed %s  refused %llu  lost connections %llu\n",
                (unsigned long long)second, perf_grouped((double)atomic_load(&s->sent), 0, a),
                perf_grouped((double)atomic_load(&s->confirmed), 0, b),
                perf_grouped((double)atomic_load(&s->consumed), 0, d),
                (unsigned long long)atomic_load(&s->nacked), (unsigned long long)atomic_load(&s->reconnects));
        fflush(perf_progress(&c->common));
        if (is_stopped || is_done || (c->messages == 0 && (double)second >= c->duration_s))
            break;
    }
}

static int
run_clients(struct session *s)
{
    const struct verify_config *c = s->config;
    size_t consumers = c->is_consume_live ? (size_t)c->queues : 0, total = (size_t)c->producers + consumers;
    struct client *clients = mem_xcalloc(total, sizeof *clients);
    atomic_store(&s->producers_left, c->producers);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < total; i++) {
        bool is_producer = i < c->producers;
        clients[i] = (struct client){
            .session = s, .index = (uint32_t)(is_producer ? i : i - c->producers), .conn = PERF_CONN_INIT};
        rc = perf_thread_start(&clients[i].thread, is_producer ? producer_main : consumer_main, &clients[i]);
        clients[i].is_started = rc == 0;
    }
    if (rc == 0)
        watch(s);
    else
        perf_complain("the system gives no more threads");
    atomic_store(&s->is_over, true);
    for (size_t i = 0; i < total; i++)
        if (clients[i].is_started)
            pthread_join(clients[i].thread, NULL);
    mem_free(clients);
    return rc;
}

static void
summarise(struct session *s)
{
    struct perf_report r;
    perf_report_begin(&r, "verify", s->config->common.is_json);
    perf_report_text(&r, "log", "log", s->config->log);
    perf_report_number(&r, "sent", "sent", (double)atomic_load(&s->sent), 0, "messages");
    perf_report_number(&r, "confirmed", "confirmed", (double)atomic_load(&s->confirmed), 0, "messages");
    perf_report_number(&r, "refused (nack)", "nacked", (double)atomic_load(&s->nacked), 0, "messages");
    perf_report_number(&r, "in doubt", "in_doubt",
                       (double)(atomic_load(&s->sent) - atomic_load(&s->confirmed) - atomic_load(&s->nacked)),
                       0, "messages");
    perf_report_number(&r, "consumed live", "consumed_live", (double)atomic_load(&s->consumed), 0,
                       "messages");
    perf_report_number(&r, "lost connections", "reconnects", (double)atomic_load(&s->reconnects), 0, "");
    perf_report_print(&r);
    if (!s->config->common.is_json)
        printf("\nNow: leveret-perf verify --check --log %s\n", s->config->log);
}

int
verify_publish(const struct verify_config *c)
{
    struct session s = {.config = c,
                        .head = {.producers = (uint32_t)c->producers, .queues = (uint32_t)c->queues}};
    char received[4096];
    if (perf_common_uris(&c->common, &s.uris) < 0)
        return PERF_USAGE;
    rng_secure(&s.head.run, sizeof s.head.run);
    snprintf(s.head.pattern, sizeof s.head.pattern, "%s", c->queue_pattern);
    verify_received_path(c, received);
    remove(received);
    if (declare_queues(&s) < 0 || verify_log_create(&s.log, c->log, &s.head) < 0)
        return PERF_FAILED;
    int rc = verify_log_append_to(&s.received, received);
    if (rc == 0)
        rc = run_clients(&s);
    verify_log_close(&s.received);
    verify_log_close(&s.log);
    if (rc < 0)
        return PERF_FAILED;
    summarise(&s);
    return PERF_OK;
}
