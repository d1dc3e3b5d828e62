// ctl_store_stats.c: `store stats`: messages and bytes by queue, live shares of the segments, what a start would do with all of it.
#include "src/cli/ctl_store.h"

struct sum {
    uint64_t messages, back, unknown;
    uint64_t lost_folders, lost; // in lost+found: folders, messages
    struct inspect_share ring, backlog, large;
    uint64_t segments_needed, live_bytes, needed_bytes, file_bytes;
};

static struct sum
sum_up(const struct ctl_store *s)
{
    const struct inspect *i = &s->inspect;
    struct sum sum = {0};
    const struct inspect_queue *q;
    for (size_t n = 0; (q = ctl_store_next(s, &n)) != NULL;) {
        sum.messages += q->live;
        sum.back += q->is_known ? q->live : 0;
        sum.unknown += q->is_known || q->lost_folder != NULL ? 0 : q->live;
        sum.ring.messages += q->ring.messages;
        sum.ring.bytes += q->ring.bytes;
        sum.backlog.messages += q->backlog.messages;
        sum.backlog.bytes += q->backlog.bytes;
        sum.large.messages += q->large.messages;
        sum.large.bytes += q->large.bytes;
    }
    for (size_t n = 0; n < i->backlog_count; n++) {
        sum.lost_folders += i->backlogs[n].is_lost;
        sum.lost += i->backlogs[n].lost.live;
    }
    for (size_t n = 0; n < i->segment_count; n++) {
        const struct inspect_segment *g = &i->segments[n];
        sum.segments_needed += g->use == INSPECT_NEEDED;
        sum.live_bytes += g->live_bytes;
        sum.needed_bytes += g->end;
        sum.file_bytes += g->bytes;
    }
    return sum;
}

// Share in percent, rounded; nothing of nothing is 0.
static json_int_t
percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (json_int_t)((part * 100 + whole / 2) / whole);
}

// --- JSON -----------------------------------------------------------------------------------------------------------------------

static json_t *
share(const struct inspect_share *s)
{
    return json_pack("{s:I, s:I}", "messages", (json_int_t)s->messages, "message_bytes",
                     (json_int_t)s->bytes);
}

// What lies in any of the three places.
static json_int_t
bytes_of_all(const struct inspect_share *ring, const struct inspect_share *backlog,
             const struct inspect_share *large)
{
    uint64_t bytes = ring->bytes + backlog->bytes + large->bytes;
    return (json_int_t)bytes;
}

static json_t *
queue_object(const struct inspect_queue *q)
{
    return json_pack(
        "{s:I, s:o?, s:o?, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o?}", "id", (json_int_t)q->id, "vhost",
        q->is_known ? ctl_store_text(q->vhost) : NULL, "name", q->is_known ? ctl_store_text(q->name) : NULL,
        "messages", (json_int_t)q->live, "message_bytes", bytes_of_all(&q->ring, &q->backlog, &q->large),
        "ring", share(&q->ring), "backlog", share(&q->backlog), "large", share(&q->large), "unreadable",
        (json_int_t)q->unreadable, "first_seq", (json_int_t)q->first_seq, "last_seq", (json_int_t)q->last_seq,
        "oldest_ms", q->oldest_ms != 0 ? json_integer((json_int_t)q->oldest_ms) : NULL);
}

static json_t *
segment_object(const struct inspect_segment *g)
{
    char file[32];
    snprintf(file, sizeof file, "log/%05u.seg", g->slot);
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I}", "file", file, "generation",
                     (json_int_t)g->generation, "use", g->use == INSPECT_NEEDED ? "needed" : "spare", "bytes",
                     (json_int_t)g->bytes, "valid_bytes", (json_int_t)g->end, "live_records",
                     (json_int_t)g->live_records, "live_bytes", (json_int_t)g->live_bytes, "live_percent",
                     percent(g->live_bytes, g->end));
}

static int
print_json(struct ctl_store *s, const struct sum *sum)
{
    const struct inspect *i = &s->inspect;
    json_t *queues = json_array(), *segments = json_array();
    const struct inspect_queue *q;
    for (size_t n = 0; (q = ctl_store_next(s, &n)) != NULL;)
        json_array_append_new(queues, queue_object(q));
    for (size_t n = 0; n < i->segment_count; n++)
        json_array_append_new(segments, segment_object(&i->segments[n]));
    json_t *metadata =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "vhosts", (json_int_t)i->meta.vhosts, "users",
                  (json_int_t)i->meta.users, "exchanges", (json_int_t)i->meta.exchanges, "queues",
                  (json_int_t)i->meta.queues, "bindings", (json_int_t)i->meta.bindings);
    json_t *totals = json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I}", "messages", (json_int_t)sum->messages, "message_bytes",
        bytes_of_all(&sum->ring, &sum->backlog, &sum->large), "ring", share(&sum->ring), "backlog",
        share(&sum->backlog), "large", share(&sum->large), "log_file_bytes", (json_int_t)sum->file_bytes,
        "log_needed_bytes", (json_int_t)sum->needed_bytes, "log_live_bytes", (json_int_t)sum->live_bytes);
    json_t *start = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "segments_to_read", (json_int_t)sum->segments_needed, "messages_back",
        (json_int_t)sum->back, "messages_to_lost_found", (json_int_t)sum->unknown, "torn_bytes_to_cut",
        (json_int_t)i->log.torn_bytes, "large_files_to_remove", (json_int_t)i->large_unused);
    json_t *backlog = json_pack("{s:I, s:I, s:I}", "files", (json_int_t)i->backlog.files, "blocks",
                                (json_int_t)i->backlog.blocks, "bytes", (json_int_t)i->backlog_bytes);
    json_t *lost =
        json_pack("{s:I, s:I}", "folders", (json_int_t)sum->lost_folders, "messages", (json_int_t)sum->lost);
    return ctl_print_json(s->c, s->c->out,
                          json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "backlog_files",
                                    backlog, "lost_found", lost, "data_dir",
                                    ctl_store_text(slice_str(s->c->data_dir)), "metadata", metadata, "totals",
                                    totals, "start", start, "log", ctl_store_log(i), "queues", queues,
                                    "segments", segments, "findings", ctl_store_findings(i)));
}

// --- words ----------------------------------------------------------------------------------------------------------------------

static void
put_share(struct buf *out, const char *where, const struct inspect_share *s)
{
    if (s->messages == 0)
        return;
    buf_printf(out, ", %llu %s (%llu bytes)", (unsigned long long)s->messages, where,
               (unsigned long long)s->bytes);
}

static void
print_summary(struct ctl_store *s, const struct sum *sum)
{
    const struct inspect *i = &s->inspect;
    struct buf out = BUF_INIT;
    buf_printf(&out, "data directory %s\nmetadata: ", s->c->data_dir);
    ctl_store_put_count(&out, i->meta.vhosts, "virtual host");
    buf_append_str(&out, ", ");
    ctl_store_put_count(&out, i->meta.users, "user");
    buf_append_str(&out, ", ");
    ctl_store_put_count(&out, i->meta.exchanges, "exchange");
    buf_append_str(&out, ", ");
    ctl_store_put_count(&out, i->meta.queues, "durable queue");
    buf_append_str(&out, ", ");
    ctl_store_put_count(&out, i->meta.bindings, "binding");
    buf_append_str(&out, "\nmessages: ");
    ctl_store_put_count(&out, sum->messages, "message");
    put_share(&out, "in the log", &sum->ring);
    put_share(&out, "in backlog files", &sum->backlog);
    put_share(&out, "in files of their own", &sum->large);
    buf_append_str(&out, "\nlog: ");
    ctl_store_put_count(&out, i->segment_count, "segment");
    buf_printf(&out,
               " of %llu bytes together, %llu needed with %llu valid bytes, of which %llu (%lld %%) live\n",
               (unsigned long long)sum->file_bytes, (unsigned long long)sum->segments_needed,
               (unsigned long long)sum->needed_bytes, (unsigned long long)sum->live_bytes,
               (long long)percent(sum->live_bytes, sum->needed_bytes));
    if (i->backlog.files > 0) {
        buf_append_str(&out, "backlog files: ");
        ctl_store_put_count(&out, i->backlog.files, "file");
        buf_printf(&out, " of %llu bytes together with ", (unsigned long long)i->backlog_bytes);
        ctl_store_put_count(&out, i->backlog.blocks, "block");
        buf_append_str(&out, "\n");
    }
    if (sum->lost_folders > 0) {
        buf_append_str(&out, "lost+found: ");
        ctl_store_put_count(&out, sum->lost, "message");
        buf_append_str(&out, " in ");
        ctl_store_put_count(&out, sum->lost_folders, "folder");
        buf_append_str(&out, "\n");
    }
    buf_append_str(&out, "a start reads ");
    ctl_store_put_count(&out, sum->segments_needed, "segment");
    buf_append_str(&out, ", brings back ");
    ctl_store_put_count(&out, sum->back, "message");
    if (sum->unknown > 0)
        buf_printf(&out, ", moves %llu to lost+found", (unsigned long long)sum->unknown);
    if (i->log.torn_bytes > 0)
        buf_printf(&out, ", leaves out %llu torn bytes at the end", (unsigned long long)i->log.torn_bytes);
    if (i->large_unused > 0)
        buf_printf(&out, ", removes %llu unused large files", (unsigned long long)i->large_unused);
    buf_append_str(&out, "\n");
    fwrite(out.ptr, 1, out.len, s->c->out);
    buf_fini(&out);
}

static void
print_rows(struct ctl_store *s, const struct ctl_heading *headings, size_t count, json_t *rows)
{
    struct ctl_table table = {
        .headings = headings, .column_count = count, .rows = rows, .has_headings = true, .is_streamed = true};
    if (json_array_size(rows) > 0) {
        fputc('\n', s->c->out);
        ctl_print_table(s->c, &table);
    }
    json_decref(rows);
}

static void
print_queues(struct ctl_store *s)
{
    static const struct ctl_heading headings[] = {
        {"vhost", KIND_TEXT},           {"queue", KIND_TEXT},       {"messages", KIND_NUMBER},
        {"message_bytes", KIND_NUMBER}, {"in_log", KIND_NUMBER},    {"in_backlog", KIND_NUMBER},
        {"in_own_file", KIND_NUMBER},   {"unreadable", KIND_NUMBER}};
    const struct inspect_queue *q;
    json_t *rows = json_array();
    char id[40];
    for (size_t n = 0; (q = ctl_store_next(s, &n)) != NULL;) {
        snprintf(id, sizeof id, "(%llu)", (unsigned long long)q->id);
        json_array_append_new(rows,
                              json_pack("[o, o, I, I, I, I, I, I]", ctl_store_text(q->vhost),
                                        q->is_known ? ctl_store_text(q->name) : json_string(id),
                                        (json_int_t)q->live, bytes_of_all(&q->ring, &q->backlog, &q->large),
                                        (json_int_t)q->ring.messages, (json_int_t)q->backlog.messages,
                                        (json_int_t)q->large.messages, (json_int_t)q->unreadable));
    }
    print_rows(s, headings, LV_ARRAY_LEN(headings), rows);
}

static void
print_segments(struct ctl_store *s)
{
    static const struct ctl_heading headings[] = {
        {"segment", KIND_TEXT},       {"generation", KIND_NUMBER},   {"use", KIND_ATOM},
        {"valid_bytes", KIND_NUMBER}, {"live_records", KIND_NUMBER}, {"live_percent", KIND_NUMBER}};
    const struct inspect *i = &s->inspect;
    json_t *rows = json_array();
    char file[32];
    for (size_t n = 0; n < i->segment_count; n++) {
        const struct inspect_segment *g = &i->segments[n];
        snprintf(file, sizeof file, "log/%05u.seg", g->slot);
        json_array_append_new(rows,
                              json_pack("[s, I, s, I, I, I]", file, (json_int_t)g->generation,
                                        g->use == INSPECT_NEEDED ? "needed" : "spare", (json_int_t)g->end,
                                        (json_int_t)g->live_records, percent(g->live_bytes, g->end)));
    }
    print_rows(s, headings, LV_ARRAY_LEN(headings), rows);
}

int
ctl_store_stats(struct ctl_store *s)
{
    int err = inspect_measure(&s->inspect);
    if (err != 0)
        return ctl_store_failed(s, err);
    struct sum sum = sum_up(s);
    if (s->is_json)
        return print_json(s, &sum);
    print_summary(s, &sum);
    ctl_store_print_findings(s);
    print_queues(s);
    print_segments(s);
    return CTL_OK;
}
