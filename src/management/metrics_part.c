// metrics_part.c: what one worker knows for a scrape, part by part (see metrics.h).
//
// Happy path: the sums of its sessions → its queues, METRICS_QUEUE_SLOTS of the table a part → its connections and channels likewise, when
// single ones are wanted. A part is heap memory that travels to the HTTP member. Without memory a part says so (buf.failed).
#include "queue/ops.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/management/metrics.h"

// --- tables -----------------------------------------------------------------------------------------------------------------------------

void
metrics_column_put(struct buf *column, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    uint64_t coded = value == UINT64_MAX ? 0 : value + 1;
    for (; coded >= 0x80; coded >>= 7)
        bytes[n++] = (uint8_t)(coded | 0x80);
    bytes[n++] = (uint8_t)coded;
    buf_append(column, bytes, n);
}

static void
put_row(struct metrics_table *t, const uint64_t *values, unsigned count)
{
    t->count++;
    for (unsigned i = 0; i < count; i++)
        metrics_column_put(&t->columns[i], values[i]);
}

bool
metrics_column_next(struct slice *column, uint64_t *ret)
{
    uint64_t coded = 0;
    size_t n = 0;
    for (unsigned shift = 0; n < column->len && shift < 64; shift += 7) {
        uint8_t byte = column->ptr[n++];
        coded |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    *column = slice_from(*column, n);
    *ret = coded - 1;
    return coded > 0;
}

struct slice
metrics_labels_next(struct slice *labels)
{
    LV_ASSERT(labels->len >= 2);
    size_t len = (size_t)(labels->ptr[0] << 8 | labels->ptr[1]);
    struct slice text = slice_of(labels->ptr + 2, len);
    *labels = slice_from(*labels, 2 + len);
    return text;
}

void
metrics_table_fini(struct metrics_table *t)
{
    buf_fini(&t->labels);
    for (size_t i = 0; i < METRICS_COLUMNS_MAX; i++)
        buf_fini(&t->columns[i]);
    t->count = 0;
}

size_t
metrics_table_bytes(const struct metrics_table *t)
{
    size_t bytes = t->labels.cap;
    for (size_t i = 0; i < METRICS_COLUMNS_MAX; i++)
        bytes += t->columns[i].cap;
    return bytes;
}

bool
metrics_table_failed(const struct metrics_table *t)
{
    bool has_failed = t->labels.failed;
    for (size_t i = 0; i < METRICS_COLUMNS_MAX; i++)
        has_failed |= t->columns[i].failed;
    return has_failed;
}

void
metrics_part_free(struct metrics_part *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < METRICS_OBJECTS_COUNT; i++)
        metrics_table_fini(&p->tables[i]);
    mem_free(p);
}

// --- labels -----------------------------------------------------------------------------------------------------------------------------

// A name that is no UTF-8 would spoil the whole scrape: what is not ASCII in it becomes '?'.
void
metrics_put_label(struct buf *out, bool is_first, const char *name, struct slice value)
{
    bool is_text = utf8_is_valid(value);
    if (!is_first)
        buf_append_u8(out, ',');
    buf_append_str(out, name);
    buf_append_str(out, "=\"");
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        if (c == '\n') {
            buf_append_str(out, "\\n");
        } else if (c == '"' || c == '\\') {
            buf_append_u8(out, '\\');
            buf_append_u8(out, c);
        } else {
            buf_append_u8(out, c < 0x80 || is_text ? c : '?');
        }
    }
    buf_append_u8(out, '"');
}

// Names are 255 bytes at most, so that a length of two bytes does.
static void
put_labels(struct metrics_table *t, struct slice text)
{
    LV_ASSERT(text.len <= UINT16_MAX);
    buf_append_u16be(&t->labels, (uint16_t)text.len);
    buf_append_slice(&t->labels, text);
}

// --- queues -----------------------------------------------------------------------------------------------------------------------------

struct filling {
    const struct metrics_wish *wish;
    struct metrics_part *part;
    struct buf scratch;
};

bool
metrics_is_vhost_wanted(const struct metrics_wish *wish, struct slice vhost)
{
    for (size_t i = 0; i < wish->vhost_count; i++) {
        if (slice_eq(wish->vhosts[i], vhost))
            return true;
    }
    return wish->vhost_count == 0;
}

static void
queue_values(const struct queue_stats *s, uint64_t v[static MQ_COUNT])
{
    uint64_t all = s->ready + s->unacked, bytes = s->ready_bytes + s->unacked_bytes, dead = 0;
    for (int i = 0; i < DEATH_REASON_COUNT; i++)
        dead += s->dead_lettered[i];
    v[MQ_READY] = s->ready;
    v[MQ_UNACKED] = s->unacked;
    v[MQ_MESSAGES] = all;
    v[MQ_CONSUMERS] = s->consumers;
    v[MQ_CAPACITY] =
        s->consumers > 0 && s->ready == 0; // as in the API: could a message be delivered at once?
    v[MQ_MEMORY] = s->memory_bytes;
    v[MQ_RAM] = all - LV_MIN(s->paged_out, all);
    v[MQ_RAM_BYTES] = bytes - LV_MIN(s->paged_out_bytes, bytes);
    v[MQ_READY_RAM] = s->ready - LV_MIN(s->paged_out, s->ready);
    v[MQ_PERSISTENT] = s->persistent;
    // The queue counts persistent messages, not their bytes: left out when only some are.
    v[MQ_PERSISTENT_BYTES] = s->persistent == 0 ? 0 : s->persistent == all ? bytes : UINT64_MAX;
    v[MQ_BYTES] = bytes;
    v[MQ_READY_BYTES] = s->ready_bytes;
    v[MQ_UNACKED_BYTES] = s->unacked_bytes;
    v[MQ_PAGED_OUT] = s->paged_out;
    v[MQ_PAGED_OUT_BYTES] = s->paged_out_bytes;
    v[MQ_PUBLISHED] = s->published;
    v[MQ_DELIVERED] = s->delivered + s->delivered_no_ack + s->got + s->got_no_ack;
    v[MQ_ACKED] = s->acked;
    v[MQ_REDELIVERED] = s->redelivered;
    v[MQ_EXPIRED] = s->expired;
    v[MQ_DROPPED] = s->maxlen_dropped;
    v[MQ_REFUSED] = s->refused_maxlen;
    v[MQ_DEAD_LETTERED] = dead;
    v[MQ_OLDEST_MS] = s->oldest_ms > 0 ? (uint64_t)s->oldest_ms : UINT64_MAX;
}

static void
add_queue_values(uint64_t to[static MQ_COUNT], const uint64_t from[static MQ_COUNT])
{
    for (int i = 0; i < MQ_OLDEST_MS; i++)
        to[i] += from[i] == UINT64_MAX ? 0 : from[i];
    if (from[MQ_OLDEST_MS] != UINT64_MAX && from[MQ_OLDEST_MS] != 0 &&
        (to[MQ_OLDEST_MS] == 0 || from[MQ_OLDEST_MS] < to[MQ_OLDEST_MS]))
        to[MQ_OLDEST_MS] = from[MQ_OLDEST_MS];
}

static void
visit_queue(void *ctx, const struct queue_def *def, const struct queue_stats *s)
{
    struct filling *f = ctx;
    struct queue_gone *quorum = &f->part->sums.quorum;
    uint64_t values[MQ_COUNT];
    if ((def->flags & QUEUE_DELAY) != 0)
        return; // of a delayed exchange: nobody knows it by name
    queue_values(s, values);
    add_queue_values(f->part->sums.queues, values);
    if (def->type == QUEUE_QUORUM) {
        quorum->delivered += s->delivered;
        quorum->delivered_no_ack += s->delivered_no_ack;
        quorum->got += s->got;
        quorum->got_no_ack += s->got_no_ack;
        quorum->redelivered += s->redelivered;
        quorum->acked += s->acked;
    }
    if (!f->wish->is_per_object[METRICS_QUEUES] || !metrics_is_vhost_wanted(f->wish, def->vhost))
        return;
    buf_reset(&f->scratch);
    metrics_put_label(&f->scratch, true, "vhost", def->vhost);
    metrics_put_label(&f->scratch, false, "queue", def->name);
    put_labels(&f->part->tables[METRICS_QUEUES], buf_slice(&f->scratch));
    put_row(&f->part->tables[METRICS_QUEUES], values, MQ_COUNT);
}

// --- connections, channels --------------------------------------------------------------------------------------------------------------

// What stands for the Erlang process of a connection (number 0) or channel: its connection's id, as /api/connections shows it, and its number.
static void
put_process(struct filling *f, uint64_t client_id, unsigned number)
{
    char text[48];
    snprintf(text, sizeof text, "<0.%llu.%u>", (unsigned long long)client_id, number);
    buf_reset(&f->scratch);
    metrics_put_label(&f->scratch, true, "channel", slice_str(text));
}

static void
visit_client(void *ctx, const struct broker_client_row *row)
{
    struct filling *f = ctx;
    const uint64_t values[MX_COUNT] = {
        [MX_RECEIVED] = row->received_bytes, [MX_SENT] = row->sent_bytes, [MX_CHANNELS] = row->channels};
    if (!f->wish->is_per_object[METRICS_CONNECTIONS])
        return;
    put_process(f, row->id, 0);
    put_labels(&f->part->tables[METRICS_CONNECTIONS], buf_slice(&f->scratch));
    put_row(&f->part->tables[METRICS_CONNECTIONS], values, MX_COUNT);
}

static void
visit_session(void *ctx, const struct broker_session_row *row)
{
    struct filling *f = ctx;
    const struct session_counts *n = row->counts;
    const uint64_t values[MC_COUNT] = {
        [MC_CONSUMERS] = row->consumers,
        [MC_UNACKED] = row->unacked,
        [MC_UNCONFIRMED] = row->unconfirmed,
        [MC_UNCOMMITTED] = row->uncommitted,
        [MC_ACKS_UNCOMMITTED] = row->acks_uncommitted,
        [MC_PREFETCH] = row->prefetch,
        [MC_GLOBAL_PREFETCH] = row->global_prefetch,
        [MC_PUBLISHED] = n->published,
        [MC_CONFIRMED] = n->confirmed,
        [MC_RETURNED] = n->returned,
        [MC_DROPPED] = n->dropped,
        [MC_GET_ACK] = n->got,
        [MC_GET] = n->got_no_ack,
        [MC_DELIVERED_ACK] = n->delivered,
        [MC_DELIVERED] = n->delivered_no_ack,
        [MC_REDELIVERED] = n->redelivered,
        [MC_ACKED] = n->acked,
        [MC_GET_EMPTY] = n->got_empty,
    };
    if (!f->wish->is_per_object[METRICS_CHANNELS] || !metrics_is_vhost_wanted(f->wish, row->vhost))
        return;
    put_process(f, row->client_id, row->number);
    put_labels(&f->part->tables[METRICS_CHANNELS], buf_slice(&f->scratch));
    put_row(&f->part->tables[METRICS_CHANNELS], values, MC_COUNT);
}

// --- the part ---------------------------------------------------------------------------------------------------------------------------

static void
fill_sums(struct worker *w, struct metrics_sums *sums)
{
    broker_count(w, &sums->broker);
    queue_worker_gone(w, &sums->quorum);
    for (unsigned i = 0; i < REASON_COUNT; i++)
        sums->reasons[i] = broker_reason_count(w, i);
}

void
metrics_part_fill(struct worker *w, const struct metrics_wish *wish, struct metrics_cursor *cursor,
                  struct metrics_part *part)
{
    struct filling f = {.wish = wish, .part = part};
    bool has_clients = wish->is_per_object[METRICS_CHANNELS] || wish->is_per_object[METRICS_CONNECTIONS];
    if (cursor->stage == METRICS_STAGE_SUMS) {
        fill_sums(w, &part->sums);
        cursor->stage = !wish->is_without_queues ? METRICS_STAGE_QUEUES
                        : has_clients            ? METRICS_STAGE_CLIENTS
                                                 : METRICS_STAGE_END;
    } else if (cursor->stage == METRICS_STAGE_QUEUES) {
        queue_worker_each_stats(w, &cursor->at, METRICS_QUEUE_SLOTS, visit_queue, &f);
        if (cursor->at == 0)
            cursor->stage = has_clients ? METRICS_STAGE_CLIENTS : METRICS_STAGE_END;
    } else {
        broker_each_client(w, &cursor->at, METRICS_CLIENT_SLOTS, visit_client, visit_session, &f);
        if (cursor->at == 0)
            cursor->stage = METRICS_STAGE_END;
    }
    part->tables[0].labels.failed |= f.scratch.failed;
    buf_fini(&f.scratch);
}

static void
add_all(uint64_t *to, const uint64_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *to; i++)
        to[i] += from[i];
}

void
metrics_sums_add(struct metrics_sums *to, const struct metrics_sums *from)
{
    static_assert(sizeof to->broker % sizeof(uint64_t) == 0 && sizeof to->quorum % sizeof(uint64_t) == 0,
                  "numbers alone");
    add_all((uint64_t *)&to->broker, (const uint64_t *)&from->broker, sizeof to->broker);
    add_all((uint64_t *)&to->quorum, (const uint64_t *)&from->quorum, sizeof to->quorum);
    add_all(to->reasons, from->reasons, sizeof to->reasons);
    add_queue_values(to->queues, from->queues);
}
