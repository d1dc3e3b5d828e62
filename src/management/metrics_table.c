// metrics_table.c: all metrics: names, types and texts of RabbitMQ's, and ours behind them.
//
// Left out, because there is nothing here that they could mean (docs/compatibility.md has the table): erlang_*, raft_*, schema_db_*,
// msg_store_*, queue_index_*, *_reductions_*, io_seek_* and io_reopen_*.
#include <stddef.h>
#include <stdio.h>
#include <xxhash.h>

#include "src/management/http_server.h"
#include "src/management/metrics.h"

static void
put_text_label(struct buf *out, bool is_first, const char *name, const char *value)
{
    metrics_put_label(out, is_first, name, slice_str(value != NULL ? value : ""));
}

// --- what the node is -------------------------------------------------------------------------------------------------------------------

static void
put_build(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct api_node *n = http_server_node(s->request->server);
    struct buf labels = BUF_INIT;
    put_text_label(&labels, true, "rabbitmq_version", n->product_version);
    put_text_label(&labels, false, "prometheus_plugin_version", n->product_version);
    put_text_label(&labels, false, "prometheus_client_version", "");
    put_text_label(&labels, false, "erlang_version", "");
    put_text_label(&labels, false, "leveret_version", LEVERET_VERSION);
    metrics_put_line(s, m, out, "", buf_slice(&labels), 1);
    buf_fini(&labels);
}

static void
put_identity(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct api_node *n = http_server_node(s->request->server);
    struct buf labels = BUF_INIT;
    const struct parameter *p = topology_parameter(api_topology(s->request), SLICE_LIT("global"), SLICE_EMPTY,
                                                   SLICE_LIT("cluster_name"));
    json_t *name =
        p != NULL ? json_loadb((const char *)p->value.ptr, p->value.len, JSON_DECODE_ANY, NULL) : NULL;
    char id[64];
    snprintf(id, sizeof id, "rabbitmq-cluster-id-%016llx",
             (unsigned long long)XXH3_64bits(n->node_name, strlen(n->node_name)));
    put_text_label(&labels, true, "rabbitmq_node", n->node_name);
    put_text_label(&labels, false, "rabbitmq_cluster",
                   json_is_string(name) ? json_string_value(name) : n->cluster_name);
    put_text_label(&labels, false, "rabbitmq_cluster_permanent_id", id);
    metrics_put_line(s, m, out, "", buf_slice(&labels), 1);
    buf_fini(&labels);
    json_decref(name);
}

// --- global counters --------------------------------------------------------------------------------------------------------------------

#define AMQP_LABEL "protocol=\"amqp091\""

static void
put_global(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    uint64_t value;
    memcpy(&value, (const uint8_t *)s + m->offset, sizeof value);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL), value);
}

// How much of a sum was done by quorum queues; the rest was by classic ones. Neither may go back.
static void
put_typed(const struct metrics_scrape *s, const struct metric *m, struct buf *out, uint64_t all,
          uint64_t quorum)
{
    uint64_t *told = s->memory->told[m->column];
    quorum = LV_MIN(quorum, all);
    told[0] = LV_MAX(told[0], all - quorum);
    told[1] = LV_MAX(told[1], quorum);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_classic_queue\""), told[0]);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_quorum_queue\""), told[1]);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_stream_queue\""), 0);
}

enum { TOLD_ACKED, TOLD_AUTO, TOLD_MANUAL, TOLD_GET_AUTO, TOLD_GET_MANUAL, TOLD_REDELIVERED };

static void
put_by_type(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct session_counts *n = &s->sums.broker.all;
    const struct queue_gone *q = &s->sums.quorum;
    const uint64_t pairs[][2] = {
        [TOLD_ACKED] = {n->acked, q->acked},
        [TOLD_AUTO] = {n->delivered_no_ack, q->delivered_no_ack},
        [TOLD_MANUAL] = {n->delivered, q->delivered},
        [TOLD_GET_AUTO] = {n->got_no_ack, q->got_no_ack},
        [TOLD_GET_MANUAL] = {n->got, q->got},
        [TOLD_REDELIVERED] = {n->redelivered, q->redelivered},
    };
    put_typed(s, m, out, pairs[m->column][0], pairs[m->column][1]);
}

// The four above added up, so that they never differ: this metric comes behind them.
static void
put_delivered(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    uint64_t sums[2] = {0};
    for (int i = TOLD_AUTO; i <= TOLD_GET_MANUAL; i++) {
        sums[0] += s->memory->told[i][0];
        sums[1] += s->memory->told[i][1];
    }
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_classic_queue\""), sums[0]);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_quorum_queue\""), sums[1]);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_stream_queue\""), 0);
}

// Sessions do not know what type of queue was empty.
static void
put_get_empty(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_classic_queue\""),
                     s->sums.broker.all.got_empty);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_quorum_queue\""), 0);
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL ",queue_type=\"rabbit_stream_queue\""), 0);
}

// By queue type and strategy; `column` is the reason.
static void
put_dead(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    static const char *const types[] = {"rabbit_classic_queue", "rabbit_quorum_queue"},
                             *const strategies[] = {"disabled", "at_most_once", "at_least_once"};
    for (int type = 0; type < DEAD_TYPES; type++) {
        for (int strategy = 0; strategy < DEAD_STRATEGIES; strategy++) {
            char labels[128];
            snprintf(labels, sizeof labels, "queue_type=\"%s\",dead_letter_strategy=\"%s\"", types[type],
                     strategies[strategy]);
            metrics_put_line(s, m, out, "", slice_str(labels),
                             s->node.dead.messages[type][strategy][m->column]);
        }
    }
}

static void
put_dead_confirmed(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    metrics_put_line(s, m, out, "",
                     SLICE_LIT("queue_type=\"rabbit_classic_queue\",dead_letter_strategy=\"at_least_once\""),
                     s->node.dead.confirmed[0]);
    metrics_put_line(s, m, out, "",
                     SLICE_LIT("queue_type=\"rabbit_quorum_queue\",dead_letter_strategy=\"at_least_once\""),
                     s->node.dead.confirmed[1]);
}

// --- the rest of RabbitMQ's -------------------------------------------------------------------------------------------------------------

static void
put_attempts(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct metrics_node *n = &s->node;
    const uint64_t amqp[] = {n->amqp_attempts, n->amqp.authenticated, n->amqp.refused},
                   http[] = {n->http_attempts, n->http_succeeded, n->http_refused};
    metrics_put_line(s, m, out, "", SLICE_LIT(AMQP_LABEL), amqp[m->column]);
    metrics_put_line(s, m, out, "", SLICE_LIT("protocol=\"http\""), http[m->column]);
}

// The exchanges of the vhosts asked for; those without name and bindings too. One after the other in one go: the topology is this turn's.
static void
put_exchanges(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct topology *t = api_topology(s->request);
    struct pmap_iter vhosts, exchanges;
    struct buf labels = BUF_INIT;
    pmap_iter_init(&vhosts, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&vhosts)) != NULL;) {
        if (!metrics_is_vhost_wanted(&s->wish, v->name))
            continue;
        pmap_iter_init(&exchanges, &v->exchanges);
        for (const struct exchange *x; (x = pmap_iter_next(&exchanges)) != NULL;) {
            buf_reset(&labels);
            metrics_put_label(&labels, true, "vhost", v->name);
            metrics_put_label(&labels, false, "exchange", x->name);
            put_text_label(&labels, false, "type", exchange_type_name(x->type));
            metrics_put_line(s, m, out, "", buf_slice(&labels), m->column == 0 ? x->router.count : 1);
        }
    }
    out->failed |= labels.failed;
    buf_fini(&labels);
}

static void
put_vhosts(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    struct pmap_iter vhosts;
    struct buf label = BUF_INIT;
    pmap_iter_init(&vhosts, &api_topology(s->request)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&vhosts)) != NULL;) {
        buf_reset(&label);
        metrics_put_label(&label, true, "vhost", v->name);
        metrics_put_line(s, m, out, "", buf_slice(&label), 1);
    }
    out->failed |= label.failed;
    buf_fini(&label);
}

// Of the scrapes before this one. `column`: 0 the time, 1 the bytes, 2 the bytes as they were sent.
static void
put_telemetry(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    static const char *const registries[] = {"default", "per-object", "detailed"};
    for (int i = 0; i < METRICS_REGISTRIES; i++) {
        char labels[128];
        snprintf(labels, sizeof labels, "registry=\"%s\",content_type=\"text/plain; version=0.0.4\"",
                 registries[i]);
        struct metric count = *m;
        count.unit = UNIT_ONE;
        uint64_t sums[] = {s->memory->scrapes[i].duration_ns, s->memory->scrapes[i].bytes,
                           s->memory->scrapes[i].encoded_bytes};
        if (s->memory->scrapes[i].count == 0)
            continue;
        metrics_put_line(s, &count, out, "_count", slice_str(labels), s->memory->scrapes[i].count);
        metrics_put_line(s, m, out, "_sum", slice_str(labels), sums[m->column]);
    }
}

// --- ours -------------------------------------------------------------------------------------------------------------------------------

// `column`: the smallest bucket, in units of 10 µs of a time, or in things.
static void
put_histogram(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    struct histogram_sum h;
    struct metric count = *m;
    uint64_t below = 0;
    count.unit = UNIT_ONE;
    memcpy(&h, (const uint8_t *)s + m->offset, sizeof h);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        char le[48];
        below += h.counts[i];
        if (i + 1 == HISTOGRAM_BUCKETS)
            snprintf(le, sizeof le, "le=\"+Inf\"");
        else if (m->unit == UNIT_NS)
            snprintf(le, sizeof le, "le=\"%.5f\"", (double)((uint64_t)HISTOGRAM_TIME_NS << i) / 1e9);
        else
            snprintf(le, sizeof le, "le=\"%llu\"", (unsigned long long)((uint64_t)HISTOGRAM_COUNT << i));
        metrics_put_line(s, &count, out, "_bucket", slice_str(le), below);
    }
    metrics_put_line(s, m, out, "_sum", SLICE_EMPTY, h.sum);
    metrics_put_line(s, &count, out, "_count", SLICE_EMPTY, below);
}

static void
put_reasons(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    for (unsigned i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        char label[80];
        snprintf(label, sizeof label, "reason=\"%s\"", reason_name((enum reason_kind)i));
        metrics_put_line(s, m, out, "", slice_str(label), s->sums.reasons[i]);
    }
}

static void
put_memory(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    const struct metrics_node *n = &s->node;
    uint64_t queues = s->sums.queues[MQ_MEMORY] - LV_MIN(n->message_bytes, s->sums.queues[MQ_MEMORY]);
    metrics_put_line(s, m, out, "", SLICE_LIT("part=\"messages\""), n->message_bytes);
    metrics_put_line(s, m, out, "", SLICE_LIT("part=\"queues\""), queues);
    metrics_put_line(s, m, out, "", SLICE_LIT("part=\"other\""),
                     n->resident_bytes - LV_MIN(n->message_bytes + queues, n->resident_bytes));
}

static void
put_files(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    metrics_put_line(s, m, out, "", SLICE_LIT("kind=\"log_segment\""), s->node.log.segments);
    metrics_put_line(s, m, out, "", SLICE_LIT("kind=\"open\""), s->node.fd_used);
}

// --- the table --------------------------------------------------------------------------------------------------------------------------

// clang-format off
#define NO    METRICS_OBJECTS_COUNT
#define OF(x) offsetof(struct metrics_scrape, x)
// family, name, type, offset of the number, unit, help
#define NODE(f, n, t, x, u, h) {.family = f, .name = n, .help = h, .type = METRIC_##t, .offset = OF(x), .unit = UNIT_##u, .objects = NO}
#define OURS(n, t, x, u, h)    {.name = n, .help = h, .type = METRIC_##t, .offset = OF(x), .unit = UNIT_##u, .objects = NO, .prefix = PREFIX_LEVERET}
// What has lines of its own: function, its parameter.
#define MADE(f, n, t, p, fn, c, h) {.family = f, .name = n, .help = h, .type = METRIC_##t, .objects = NO, .prefix = PREFIX_##p, .put = fn, .column = c}
#define GLOBAL(n, t, x, h)         {.name = "global_" n, .help = h, .type = METRIC_##t, .objects = NO, .offset = OF(x), .put = put_global}
#define HISTOGRAM(n, x, u, h)      {.name = n, .help = h, .type = METRIC_HISTOGRAM, .objects = NO, .offset = OF(x), .unit = UNIT_##u, .prefix = PREFIX_LEVERET, .put = put_histogram}
// Of queues: column, whose sum it is too. Of channels and connections: column, offset of the sum.
#define QUEUE(f, n, t, c, h)         {.family = f, .name = n, .help = h, .type = METRIC_##t, .objects = METRICS_QUEUES, .column = c, .offset = OF(sums.queues[c])}
#define OUR_QUEUE(n, t, c, h)        {.family = "queue_metrics", .name = n, .help = h, .type = METRIC_##t, .objects = METRICS_QUEUES, .column = c, .offset = OF(sums.queues[c]), .prefix = PREFIX_LEVERET}
#define CHANNEL(f, n, t, c, x, h)    {.family = f, .name = n, .help = h, .type = METRIC_##t, .objects = METRICS_CHANNELS, .column = c, .offset = OF(sums.broker.x)}
#define CONNECTION(f, n, t, c, x, h) {.family = f, .name = n, .help = h, .type = METRIC_##t, .objects = METRICS_CONNECTIONS, .column = c, .offset = OF(x)}

const struct metric metrics_table[] = {
    {.name = "telemetry_scrape_duration_seconds", .help = "Scrape duration", .type = METRIC_SUMMARY, .unit = UNIT_NS, .prefix = PREFIX_NONE, .is_always = true, .objects = NO, .put = put_telemetry, .column = 0},
    {.name = "telemetry_scrape_size_bytes", .help = "Scrape size, not encoded", .type = METRIC_SUMMARY, .prefix = PREFIX_NONE, .is_always = true, .objects = NO, .put = put_telemetry, .column = 1},
    {.name = "telemetry_scrape_encoded_size_bytes", .help = "Scrape size, encoded", .type = METRIC_SUMMARY, .prefix = PREFIX_NONE, .is_always = true, .objects = NO, .put = put_telemetry, .column = 2},
    {.name = "build_info", .help = "RabbitMQ & Erlang/OTP version info", .type = METRIC_UNTYPED, .is_always = true, .objects = NO, .put = put_build},
    {.name = "identity_info", .help = "RabbitMQ node & cluster identity info", .type = METRIC_UNTYPED, .is_always = true, .objects = NO, .put = put_identity},

    GLOBAL("consumers", GAUGE, sums.broker.consumers, "Current number of consumers"),
    MADE(NULL, "global_messages_acknowledged_total", COUNTER, RABBITMQ, put_by_type, TOLD_ACKED, "Total number of messages acknowledged by consumers"),
    GLOBAL("messages_confirmed_total", COUNTER, sums.broker.all.confirmed, "Total number of messages confirmed to publishers"),
    MADE(NULL, "global_messages_dead_lettered_confirmed_total", COUNTER, RABBITMQ, put_dead_confirmed, 0, "Total number of messages dead-lettered and confirmed by target queues"),
    MADE(NULL, "global_messages_dead_lettered_delivery_limit_total", COUNTER, RABBITMQ, put_dead, DEATH_DELIVERY_LIMIT, "Total number of messages dead-lettered due to delivery-limit exceeded"),
    MADE(NULL, "global_messages_dead_lettered_expired_total", COUNTER, RABBITMQ, put_dead, DEATH_EXPIRED, "Total number of messages dead-lettered due to message TTL exceeded"),
    MADE(NULL, "global_messages_dead_lettered_maxlen_total", COUNTER, RABBITMQ, put_dead, DEATH_MAXLEN, "Total number of messages dead-lettered due to overflow drop-head or reject-publish-dlx"),
    MADE(NULL, "global_messages_dead_lettered_rejected_total", COUNTER, RABBITMQ, put_dead, DEATH_REJECTED, "Total number of messages dead-lettered due to basic.reject or basic.nack"),
    MADE(NULL, "global_messages_delivered_consume_auto_ack_total", COUNTER, RABBITMQ, put_by_type, TOLD_AUTO, "Total number of messages delivered to consumers using basic.consume with automatic acknowledgment"),
    MADE(NULL, "global_messages_delivered_consume_manual_ack_total", COUNTER, RABBITMQ, put_by_type, TOLD_MANUAL, "Total number of messages delivered to consumers using basic.consume with manual acknowledgment"),
    MADE(NULL, "global_messages_delivered_get_auto_ack_total", COUNTER, RABBITMQ, put_by_type, TOLD_GET_AUTO, "Total number of messages delivered to consumers using basic.get with automatic acknowledgment"),
    MADE(NULL, "global_messages_delivered_get_manual_ack_total", COUNTER, RABBITMQ, put_by_type, TOLD_GET_MANUAL, "Total number of messages delivered to consumers using basic.get with manual acknowledgment"),
    MADE(NULL, "global_messages_delivered_total", COUNTER, RABBITMQ, put_delivered, 0, "Total number of messages delivered to consumers"),
    MADE(NULL, "global_messages_get_empty_total", COUNTER, RABBITMQ, put_get_empty, 0, "Total number of times basic.get operations fetched no message"),
    GLOBAL("messages_received_confirm_total", COUNTER, sums.broker.all.published_confirm, "Total number of messages received from publishers expecting confirmations"),
    GLOBAL("messages_received_total", COUNTER, sums.broker.all.published, "Total number of messages received from publishers"),
    MADE(NULL, "global_messages_redelivered_total", COUNTER, RABBITMQ, put_by_type, TOLD_REDELIVERED, "Total number of messages redelivered to consumers"),
    GLOBAL("messages_routed_total", COUNTER, sums.broker.routed, "Total number of messages routed to queues or streams"),
    GLOBAL("messages_unroutable_dropped_total", COUNTER, sums.broker.all.dropped, "Total number of messages published as non-mandatory into an exchange and dropped as unroutable"),
    GLOBAL("messages_unroutable_returned_total", COUNTER, sums.broker.all.returned, "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable"),
    GLOBAL("publishers", GAUGE, sums.broker.publishers, "Current number of publishers"),

    NODE(NULL, "alarms_file_descriptor_limit", UNTYPED, node.fd_alarm, ONE, "is 1 if file descriptor limit alarm is in effect"),
    NODE(NULL, "alarms_free_disk_space_watermark", UNTYPED, node.disk_alarm, ONE, "is 1 if free disk space watermark alarm is in effect"),
    NODE(NULL, "alarms_memory_used_watermark", UNTYPED, node.memory_alarm, ONE, "is 1 if VM memory watermark alarm is in effect"),
#define F "connection_churn_metrics"
    NODE(F, "connections_opened_total", COUNTER, node.amqp.opened, ONE, "Total number of connections opened"),
    NODE(F, "connections_closed_total", COUNTER, node.amqp.ended, ONE, "Total number of connections closed or terminated"),
    NODE(F, "channels_opened_total", COUNTER, node.amqp.channels_opened, ONE, "Total number of channels opened"),
    NODE(F, "channels_closed_total", COUNTER, node.amqp.channels_closed, ONE, "Total number of channels closed"),
    NODE(F, "queues_declared_total", COUNTER, sums.broker.queues_declared, ONE, "Total number of queues declared"),
    NODE(F, "queues_created_total", COUNTER, node.queues_made, ONE, "Total number of queues created"),
    NODE(F, "queues_deleted_total", COUNTER, node.queues_gone, ONE, "Total number of queues deleted"),
#undef F
#define F "node_coarse_metrics"
    NODE(F, "process_open_fds", GAUGE, node.fd_used, ONE, "Open file descriptors"),
    NODE(F, "process_open_tcp_sockets", GAUGE, node.sockets, ONE, "Open TCP sockets"),
    NODE(F, "process_resident_memory_bytes", GAUGE, node.resident_bytes, ONE, "Memory used in bytes"),
    NODE(F, "disk_space_available_bytes", GAUGE, node.disk_free, ONE, "Disk space available in bytes"),
    NODE(F, "erlang_processes_used", GAUGE, node.threads, ONE, "Erlang processes used"),
#undef F
#define F "node_metrics"
    NODE(F, "process_max_fds", GAUGE, node.fd_max, ONE, "Open file descriptors limit"),
    NODE(F, "process_max_tcp_sockets", GAUGE, node.sockets_max, ONE, "Open TCP sockets limit"),
    NODE(F, "resident_memory_limit_bytes", GAUGE, node.memory_limit, ONE, "Memory high watermark in bytes"),
    NODE(F, "disk_space_available_limit_bytes", GAUGE, node.disk_limit, ONE, "Free disk space low watermark in bytes"),
    NODE(F, "erlang_processes_limit", GAUGE, node.threads_max, ONE, "Erlang processes limit"),
    NODE(F, "erlang_uptime_seconds", GAUGE, node.uptime_ms, MS, "Node uptime"),
#undef F
#define F "node_persister_metrics"
    NODE(F, "io_read_ops_total", COUNTER, node.io.reads.calls, ONE, "Total number of I/O read operations"),
    NODE(F, "io_read_bytes_total", COUNTER, node.io.reads.bytes, ONE, "Total number of I/O bytes read"),
    NODE(F, "io_write_ops_total", COUNTER, node.io.writes.calls, ONE, "Total number of I/O write operations"),
    NODE(F, "io_write_bytes_total", COUNTER, node.io.writes.bytes, ONE, "Total number of I/O bytes written"),
    NODE(F, "io_sync_ops_total", COUNTER, node.io.syncs.calls, ONE, "Total number of I/O sync operations"),
    NODE(F, "io_read_time_seconds_total", COUNTER, node.io.reads.time_ns, NS, "Total I/O read time"),
    NODE(F, "io_write_time_seconds_total", COUNTER, node.io.writes.time_ns, NS, "Total I/O write time"),
    NODE(F, "io_sync_time_seconds_total", COUNTER, node.io.syncs.time_ns, NS, "Total I/O sync time"),
#undef F
#define F "auth_attempt_metrics"
    MADE(F, "auth_attempts_total", COUNTER, RABBITMQ, put_attempts, 0, "Total number of authorization attempts"),
    MADE(F, "auth_attempts_succeeded_total", COUNTER, RABBITMQ, put_attempts, 1, "Total number of successful authentication attempts"),
    MADE(F, "auth_attempts_failed_total", COUNTER, RABBITMQ, put_attempts, 2, "Total number of failed authentication attempts"),
#undef F
#define F "queue_coarse_metrics"
    QUEUE(F, "queue_messages_ready", GAUGE, MQ_READY, "Messages ready to be delivered to consumers"),
    QUEUE(F, "queue_messages_unacked", GAUGE, MQ_UNACKED, "Messages delivered to consumers but not yet acknowledged"),
    QUEUE(F, "queue_messages", GAUGE, MQ_MESSAGES, "Sum of ready and unacknowledged messages - total queue depth"),
#undef F
#define F "queue_metrics"
    QUEUE(F, "queue_consumers", GAUGE, MQ_CONSUMERS, "Consumers on a queue"),
    QUEUE(F, "queue_consumer_capacity", GAUGE, MQ_CAPACITY, "Consumer capacity"),
    QUEUE(F, "queue_consumer_utilisation", GAUGE, MQ_CAPACITY, "Same as consumer capacity"),
    QUEUE(F, "queue_process_memory_bytes", GAUGE, MQ_MEMORY, "Memory in bytes used by the Erlang queue process"),
    QUEUE(F, "queue_messages_ram", GAUGE, MQ_RAM, "Ready and unacknowledged messages stored in memory"),
    QUEUE(F, "queue_messages_ram_bytes", GAUGE, MQ_RAM_BYTES, "Size of ready and unacknowledged messages stored in memory"),
    QUEUE(F, "queue_messages_ready_ram", GAUGE, MQ_READY_RAM, "Ready messages stored in memory"),
    QUEUE(F, "queue_messages_unacked_ram", GAUGE, MQ_UNACKED, "Unacknowledged messages stored in memory"),
    QUEUE(F, "queue_messages_persistent", GAUGE, MQ_PERSISTENT, "Persistent messages"),
    QUEUE(F, "queue_messages_persistent_bytes", GAUGE, MQ_PERSISTENT_BYTES, "Size in bytes of persistent messages"),
    QUEUE(F, "queue_messages_bytes", GAUGE, MQ_BYTES, "Size in bytes of ready and unacknowledged messages"),
    QUEUE(F, "queue_messages_ready_bytes", GAUGE, MQ_READY_BYTES, "Size in bytes of ready messages"),
    QUEUE(F, "queue_messages_unacked_bytes", GAUGE, MQ_UNACKED_BYTES, "Size in bytes of all unacknowledged messages"),
    QUEUE(F, "queue_messages_paged_out", GAUGE, MQ_PAGED_OUT, "Messages paged out to disk"),
    QUEUE(F, "queue_messages_paged_out_bytes", GAUGE, MQ_PAGED_OUT_BYTES, "Size in bytes of messages paged out to disk"),
#undef F
    {.family = "queue_consumer_count", .name = "queue_consumers", .help = "Consumers on a queue", .type = METRIC_GAUGE, .objects = METRICS_QUEUES, .column = MQ_CONSUMERS, .is_alias = true},
    QUEUE("channel_queue_exchange_metrics", "queue_messages_published_total", COUNTER, MQ_PUBLISHED, "Total number of messages published to queues"),
#define F "channel_metrics"
    CHANNEL(F, "channel_consumers", GAUGE, MC_CONSUMERS, consumers, "Consumers on a channel"),
    CHANNEL(F, "channel_messages_unacked", GAUGE, MC_UNACKED, unacked, "Delivered but not yet acknowledged messages"),
    CHANNEL(F, "channel_messages_unconfirmed", GAUGE, MC_UNCONFIRMED, unconfirmed, "Published but not yet confirmed messages"),
    CHANNEL(F, "channel_messages_uncommitted", GAUGE, MC_UNCOMMITTED, uncommitted, "Messages received in a transaction but not yet committed"),
    CHANNEL(F, "channel_acks_uncommitted", GAUGE, MC_ACKS_UNCOMMITTED, acks_uncommitted, "Message acknowledgements in a transaction not yet committed"),
    CHANNEL(F, "consumer_prefetch", GAUGE, MC_PREFETCH, prefetch, "Limit of unacknowledged messages for each consumer"),
    CHANNEL(F, "channel_prefetch", GAUGE, MC_GLOBAL_PREFETCH, global_prefetch, "Total limit of unacknowledged messages for all consumers on a channel"),
#undef F
#define F "channel_exchange_metrics"
    CHANNEL(F, "channel_messages_published_total", COUNTER, MC_PUBLISHED, all.published, "Total number of messages published into an exchange on a channel"),
    CHANNEL(F, "channel_messages_confirmed_total", COUNTER, MC_CONFIRMED, all.confirmed, "Total number of messages published into an exchange and confirmed on the channel"),
    CHANNEL(F, "channel_messages_unroutable_returned_total", COUNTER, MC_RETURNED, all.returned, "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable"),
    CHANNEL(F, "channel_messages_unroutable_dropped_total", COUNTER, MC_DROPPED, all.dropped, "Total number of messages published as non-mandatory into an exchange and dropped as unroutable"),
#undef F
#define F "channel_queue_metrics"
    CHANNEL(F, "channel_get_ack_total", COUNTER, MC_GET_ACK, all.got, "Total number of messages fetched with basic.get in manual acknowledgement mode"),
    CHANNEL(F, "channel_get_total", COUNTER, MC_GET, all.got_no_ack, "Total number of messages fetched with basic.get in automatic acknowledgement mode"),
    CHANNEL(F, "channel_messages_delivered_ack_total", COUNTER, MC_DELIVERED_ACK, all.delivered, "Total number of messages delivered to consumers in manual acknowledgement mode"),
    CHANNEL(F, "channel_messages_delivered_total", COUNTER, MC_DELIVERED, all.delivered_no_ack, "Total number of messages delivered to consumers in automatic acknowledgement mode"),
    CHANNEL(F, "channel_messages_redelivered_total", COUNTER, MC_REDELIVERED, all.redelivered, "Total number of messages redelivered to consumers"),
    CHANNEL(F, "channel_messages_acked_total", COUNTER, MC_ACKED, all.acked, "Total number of messages acknowledged by consumers"),
    CHANNEL(F, "channel_get_empty_total", COUNTER, MC_GET_EMPTY, all.got_empty, "Total number of times basic.get operations fetched no message"),
#undef F
    CONNECTION("connection_coarse_metrics", "connection_incoming_bytes_total", COUNTER, MX_RECEIVED, node.amqp.received_bytes, "Total number of bytes received on a connection"),
    CONNECTION("connection_coarse_metrics", "connection_outgoing_bytes_total", COUNTER, MX_SENT, node.amqp.sent_bytes, "Total number of bytes sent on a connection"),
    CONNECTION("connection_metrics", "connection_channels", GAUGE, MX_CHANNELS, sums.broker.channels, "Channels on a connection"),
    NODE(NULL, "connections", GAUGE, sums.broker.connections, ONE, "Connections currently open"),
    NODE(NULL, "channels", GAUGE, sums.broker.channels, ONE, "Channels currently open"),
    NODE(NULL, "consumers", GAUGE, sums.broker.consumers, ONE, "Consumers currently connected"),
    NODE(NULL, "queues", GAUGE, node.queues, ONE, "Queues available"),
    MADE("exchange_bindings", "exchange_bindings", GAUGE, CLUSTER, put_exchanges, 0, "Number of bindings for an exchange. This value is cluster-wide."),
    MADE("exchange_names", "exchange_name", GAUGE, CLUSTER, put_exchanges, 1, "Enumerates exchanges without any additional info. This value is cluster-wide."),
    MADE("vhost_status", "vhost_status", GAUGE, CLUSTER, put_vhosts, 0, "Whether a given vhost is running"),
    {.name = "process_start_time_seconds", .help = "Start time of the process since unix epoch in seconds.", .type = METRIC_GAUGE, .objects = NO, .prefix = PREFIX_NONE, .unit = UNIT_MS, .offset = OF(node.started_ms)},

    HISTOGRAM("log_group_entries", node.log.group_entries, ONE, "Entries of the message log written and made durable together"),
    HISTOGRAM("log_group_seconds", node.log.group_ns, NS, "Time to write a group of entries of the message log and make it durable"),
    HISTOGRAM("worker_turn_seconds", node.turns, NS, "Time that a worker thread was at work from one wait to the next"),
    HISTOGRAM("confirm_seconds", sums.broker.confirm_latency, NS, "Time from a publish to its confirm, of one publish at a time of each channel"),
    OURS("worker_mailbox_depth", GAUGE, node.mail_depth, ONE, "Operations on their way between worker threads"),
    OURS("log_segments", GAUGE, node.log.segments, ONE, "Segments of the message log in use"),
    OURS("log_segments_limit", GAUGE, node.log.segments_max, ONE, "Segments that the message log may have"),
    OURS("log_used_bytes", GAUGE, node.log.used_bytes, ONE, "Bytes of the message log in use"),
    OURS("log_limit_bytes", GAUGE, node.log.room_bytes, ONE, "Bytes that the message log may use"),
    OUR_QUEUE("queue_backlog_messages", GAUGE, MQ_PAGED_OUT, "Messages that wait in backlog files alone"),
    OUR_QUEUE("queue_backlog_bytes", GAUGE, MQ_PAGED_OUT_BYTES, "Bytes of bodies that wait in backlog files alone"),
    OUR_QUEUE("queue_messages_delivered_total", COUNTER, MQ_DELIVERED, "Messages that consumers and basic.get took from queues that are there"),
    OUR_QUEUE("queue_messages_acknowledged_total", COUNTER, MQ_ACKED, "Messages of queues that are there, acknowledged"),
    OUR_QUEUE("queue_messages_redelivered_total", COUNTER, MQ_REDELIVERED, "Messages of queues that are there, delivered again"),
    OUR_QUEUE("queue_messages_expired_total", COUNTER, MQ_EXPIRED, "Messages of queues that are there that expired"),
    OUR_QUEUE("queue_messages_dropped_total", COUNTER, MQ_DROPPED, "Messages of queues that are there dropped by a length limit"),
    OUR_QUEUE("queue_messages_refused_total", COUNTER, MQ_REFUSED, "Publishes that queues that are there refused by a length limit"),
    OUR_QUEUE("queue_messages_dead_lettered_total", COUNTER, MQ_DEAD_LETTERED, "Messages of queues that are there that were dead-lettered"),
    {.family = "queue_metrics", .name = "queue_oldest_message_age_seconds", .help = "No ready message of the queue is older; without single queues: of all", .type = METRIC_GAUGE,
     .objects = METRICS_QUEUES, .column = MQ_OLDEST_MS, .offset = OF(node.oldest_age_ms), .unit = UNIT_MS, .prefix = PREFIX_LEVERET},
    OURS("dead_letters_lost_total", COUNTER, node.dead.lost, ONE, "Messages that were to be dead-lettered and that nobody, or not every target, took"),
    MADE(NULL, "reasons_total", COUNTER, LEVERET, put_reasons, 0, "Messages returned, dropped, refused or held, clients blocked or refused, and errors, by reason"),
    MADE(NULL, "memory_bytes", GAUGE, LEVERET, put_memory, 0, "Resident memory by what it is used for"),
    MADE(NULL, "files", GAUGE, LEVERET, put_files, 0, "Files by kind"),
    OURS("exchanges", GAUGE, node.exchanges, ONE, "Exchanges available"),
    OURS("vhosts", GAUGE, node.vhosts, ONE, "Virtual hosts available"),
    {.name = NULL},
};
// clang-format on
