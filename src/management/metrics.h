// metrics.h: Prometheus metrics: what is gathered from the workers, the table of all metrics, and the text made of both.
//
// A scrape asks every worker part by part (metrics_part.c, on the workers: some hundred objects a part), adds their sums up and keeps the
// numbers of single objects by column, as variable-length integers: some ten bytes a queue. Then the text is made metric by metric while
// the client takes it. Names, types and labels are RabbitMQ's (its plugin rabbitmq_prometheus); ours begin with leveret_.
//
// Everything but metrics_part_fill on the HTTP member. A scrape belongs to its request.
#pragma once

#include "amqp/listener.h"
#include "src/base/histogram.h"
#include "src/base/io.h"
#include "src/broker/reasons.h"
#include "src/management/api.h"
#include "src/store/log.h"

// LIMIT: bytes that the objects of all scrapes under way may hold; text made at once; slots of tables a part looks at.
enum { METRICS_BYTES_MAX = 256 * 1024 * 1024, METRICS_TEXT_AT_ONCE = 64 * 1024 };
enum { METRICS_QUEUE_SLOTS = 1024, METRICS_CLIENT_SLOTS = 512 };

// --- what there is of single objects ---

enum metrics_objects { METRICS_QUEUES, METRICS_CHANNELS, METRICS_CONNECTIONS, METRICS_OBJECTS_COUNT };

// clang-format off
enum metrics_queue_column {
    MQ_READY, MQ_UNACKED, MQ_MESSAGES, MQ_CONSUMERS, MQ_CAPACITY, MQ_MEMORY, MQ_RAM, MQ_RAM_BYTES, MQ_READY_RAM, MQ_PERSISTENT,
    MQ_PERSISTENT_BYTES, MQ_BYTES, MQ_READY_BYTES, MQ_UNACKED_BYTES, MQ_PAGED_OUT, MQ_PAGED_OUT_BYTES, MQ_PUBLISHED, MQ_DELIVERED,
    MQ_ACKED, MQ_REDELIVERED, MQ_EXPIRED, MQ_DROPPED, MQ_REFUSED, MQ_DEAD_LETTERED, MQ_OLDEST_MS, MQ_COUNT
};
enum metrics_channel_column {
    MC_CONSUMERS, MC_UNACKED, MC_UNCONFIRMED, MC_UNCOMMITTED, MC_ACKS_UNCOMMITTED, MC_PREFETCH, MC_GLOBAL_PREFETCH, MC_PUBLISHED,
    MC_CONFIRMED, MC_RETURNED, MC_DROPPED, MC_GET_ACK, MC_GET, MC_DELIVERED_ACK, MC_DELIVERED, MC_REDELIVERED, MC_ACKED,
    MC_GET_EMPTY, MC_COUNT
};
enum metrics_connection_column { MX_RECEIVED, MX_SENT, MX_CHANNELS, MX_COUNT };
// clang-format on
enum { METRICS_COLUMNS_MAX = 28 };
static_assert((int)MQ_COUNT <= (int)METRICS_COLUMNS_MAX && (int)MC_COUNT <= (int)METRICS_COLUMNS_MAX, "");

struct metrics_table {
    struct buf labels; // of each object: `vhost="/",queue="q"`, with its length u16 in front
    struct buf columns
        [METRICS_COLUMNS_MAX]; // a number of each: 0 for none, otherwise one more than it is, seven bits a byte
    uint64_t count;
};

// Sums over queues by type are what Leveret itself tells of them.
struct metrics_sums {
    struct broker_counts broker;
    struct queue_gone quorum;  // what quorum queues did, those that are gone too
    uint64_t queues[MQ_COUNT]; // added up; MQ_OLDEST_MS: the smallest time that is known, 0: none
    uint64_t reasons[REASON_COUNT];
};

// --- a part: made on a worker, taken on the HTTP member ---

struct metrics_wish {
    bool is_per_object[METRICS_OBJECTS_COUNT];
    bool is_without_queues;     // not even their sums
    const struct slice *vhosts; // of queues and channels: these alone. The request's, which waits
    size_t vhost_count;         // 0: all
};

struct metrics_part {
    struct metrics_sums sums;
    struct metrics_table tables[METRICS_OBJECTS_COUNT];
};

enum metrics_stage { METRICS_STAGE_SUMS, METRICS_STAGE_QUEUES, METRICS_STAGE_CLIENTS, METRICS_STAGE_END };
struct metrics_cursor {
    uint32_t stage, at; // enum metrics_stage
};
// On a worker: fills one part (zeroed, heap) and moves the cursor on.
void metrics_part_fill(struct worker *w, const struct metrics_wish *wish, struct metrics_cursor *cursor,
                       struct metrics_part *part);
bool metrics_is_vhost_wanted(const struct metrics_wish *wish, struct slice vhost);
void metrics_part_free(struct metrics_part *p); // accepts NULL
void metrics_table_fini(struct metrics_table *t);
size_t metrics_table_bytes(const struct metrics_table *t);
bool metrics_table_failed(const struct metrics_table *t);
void metrics_sums_add(struct metrics_sums *to, const struct metrics_sums *from);
void metrics_column_put(struct buf *column, uint64_t value); // UINT64_MAX: there is none
// Takes the next number of a column from the front, or the next object's labels. False: there is no number of that object.
bool metrics_column_next(struct slice *column, uint64_t *ret);
struct slice metrics_labels_next(struct slice *labels);
// `name="value"` with the value escaped; a comma in front unless it is the first.
void metrics_put_label(struct buf *out, bool is_first, const char *name, struct slice value);

// --- a scrape: the numbers, and where the text is --------------------------------------------------------------------------------

struct metrics_node { // as of the moment at which the text begins
    struct amqp_stats amqp;
    uint64_t sockets;
    struct dead_totals dead;
    struct io_stats io;
    struct msglog_stats log;
    struct histogram_sum turns;
    uint64_t mail_depth, message_bytes, resident_bytes, other_bytes, fd_used, fd_max, sockets_max, disk_free,
        threads, threads_max;
    uint64_t queues, exchanges, vhosts, queues_made, queues_gone, uptime_ms, started_ms, log_files,
        oldest_age_ms;
    uint64_t http_attempts, http_refused, http_succeeded, amqp_attempts;
    uint64_t memory_limit, disk_limit, memory_alarm, disk_alarm, fd_alarm;
};

enum metrics_registry { METRICS_DEFAULT, METRICS_PER_OBJECT, METRICS_DETAILED, METRICS_REGISTRIES };

// Kept from scrape to scrape: one a server.
struct metrics_memory {
    // What was told of each queue type: a queue that goes while it is counted must not let a counter go back.
    uint64_t told[6][2];
    struct {
        uint64_t count, duration_ns, bytes, encoded_bytes;
    } scrapes[METRICS_REGISTRIES];
};

struct metrics_scrape {
    struct api_request *request;
    enum metrics_registry registry;
    struct metrics_wish wish;
    struct slice vhosts[API_PARAMETERS_MAX], families[API_PARAMETERS_MAX]; // of METRICS_DETAILED
    size_t family_count;
    struct metrics_sums sums;
    struct metrics_table tables[METRICS_OBJECTS_COUNT];
    struct metrics_node node;
    struct metrics_memory *memory;
    size_t bytes;         // that the tables count for in *bytes_of_all
    size_t *bytes_of_all; // of the server
    unsigned parts;       // answers of workers that are missing
    bool has_failed;
    uint64_t begun_ns, text_bytes;
    size_t at;      // the metric that comes next, or is under way
    bool is_inside; // its lines of single objects are: the three behind this are where
    struct slice labels, column;
    uint64_t left;
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_UNTYPED, METRIC_HISTOGRAM, METRIC_SUMMARY };
enum metric_prefix { PREFIX_RABBITMQ, PREFIX_CLUSTER, PREFIX_LEVERET, PREFIX_NONE };
enum metric_unit { UNIT_ONE, UNIT_MS, UNIT_NS }; // how the number is kept; the text is in seconds

struct metric {
    const char *family; // of /metrics/detailed; NULL: not there
    const char *name, *help;
    uint8_t type, prefix, unit;
    bool is_always;  // in every answer
    bool is_alias;   // in /metrics/detailed alone, and not with queue_metrics, which has it too
    uint8_t objects; // enum metrics_objects; METRICS_OBJECTS_COUNT: it has none
    uint8_t column;
    size_t offset; // of the sum in struct metrics_scrape; 0: there is none
    void (*put)(const struct metrics_scrape *s, const struct metric *m, struct buf *out); // instead
};

extern const struct metric metrics_table[]; // ends with a NULL name
// Appends more of the text to `out`, up to METRICS_TEXT_AT_ONCE or a little more; false: that was all.
bool metrics_text_next(struct metrics_scrape *s, struct buf *out);
bool metrics_has_family(const struct metrics_scrape *s, const char *family);
// One line: `name{labels} value`. `labels` may be empty.
void metrics_put_line(const struct metrics_scrape *s, const struct metric *m, struct buf *out,
                      const char *suffix, struct slice labels, uint64_t value);

// Answers a request to the port of the metrics: all of it.
void metrics_let_in(struct api_request *r, const char *method);
