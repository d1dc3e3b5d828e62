// metrics_text.c: the text of a scrape, metric by metric, line by line (the exposition format of Prometheus, version 0.0.4).
//
// A metric has a TYPE and a HELP line, in this order as RabbitMQ writes them, then its lines: one for each object when single ones are
// wanted, else their sum. What is in the text at once is bounded; where it goes on is in struct metrics_scrape.
#include <string.h>

#include "src/management/metrics.h"

static const char *const type_names[] = {"counter", "gauge", "untyped", "histogram", "summary"};

static void
put_name(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    static const char *const prefixes[] = {"rabbitmq_", "rabbitmq_cluster_", "leveret_", ""};
    bool is_detailed = s->registry == METRICS_DETAILED && m->prefix == PREFIX_RABBITMQ && !m->is_always;
    buf_append_str(out, is_detailed ? "rabbitmq_detailed_" : prefixes[m->prefix]);
    buf_append_str(out, m->name);
}

static void
put_u64(struct buf *out, uint64_t v)
{
    uint8_t digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (uint8_t)('0' + v % 10);
    while ((v /= 10) > 0);
    buf_append(out, digits + at, sizeof digits - at);
}

// Times are told in seconds.
static void
put_value(const struct metric *m, struct buf *out, uint64_t value)
{
    uint64_t unit = m->unit == UNIT_NS ? 1000000000 : m->unit == UNIT_MS ? 1000 : 1;
    put_u64(out, value / unit);
    if (value % unit > 0)
        buf_printf(out, m->unit == UNIT_NS ? ".%09llu" : ".%03llu", (unsigned long long)(value % unit));
}

void
metrics_put_line(const struct metrics_scrape *s, const struct metric *m, struct buf *out, const char *suffix,
                 struct slice labels, uint64_t value)
{
    put_name(s, m, out);
    buf_append_str(out, suffix);
    if (labels.len > 0) {
        buf_append_u8(out, '{');
        buf_append_slice(out, labels);
        buf_append_u8(out, '}');
    }
    buf_append_u8(out, ' ');
    put_value(m, out, value);
    buf_append_u8(out, '\n');
}

static void
put_head(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    buf_append_str(out, "# TYPE ");
    put_name(s, m, out);
    buf_printf(out, " %s\n# HELP ", type_names[m->type]);
    put_name(s, m, out);
    buf_printf(out, " %s\n", m->help);
}

static bool
is_per_object(const struct metrics_scrape *s, const struct metric *m)
{
    return m->objects < METRICS_OBJECTS_COUNT && s->wish.is_per_object[m->objects];
}

bool
metrics_has_family(const struct metrics_scrape *s, const char *family)
{
    for (size_t i = 0; i < s->family_count; i++) {
        if (slice_eq_str(s->families[i], family))
            return true;
    }
    return false;
}

static bool
is_wanted(const struct metrics_scrape *s, const struct metric *m)
{
    if (m->is_always || s->registry != METRICS_DETAILED)
        return m->is_always || (m->prefix != PREFIX_CLUSTER && !m->is_alias);
    if (m->is_alias && metrics_has_family(s, "queue_metrics"))
        return false;
    return m->family != NULL && metrics_has_family(s, m->family);
}

// The lines of single objects, as many as fit; false: there are more.
static bool
put_objects(struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    for (; s->left > 0; s->left--) {
        uint64_t value;
        if (out->len >= METRICS_TEXT_AT_ONCE || out->failed)
            return false;
        struct slice labels = metrics_labels_next(&s->labels);
        if (metrics_column_next(&s->column, &value))
            metrics_put_line(s, m, out, "", labels, value);
    }
    return true;
}

static void
begin_objects(struct metrics_scrape *s, const struct metric *m)
{
    const struct metrics_table *t = &s->tables[m->objects];
    s->is_inside = true;
    s->labels = buf_slice(&t->labels);
    s->column = buf_slice(&t->columns[m->column]);
    s->left = t->count;
}

static void
put_sum(const struct metrics_scrape *s, const struct metric *m, struct buf *out)
{
    uint64_t value;
    if (m->put != NULL) {
        m->put(s, m, out);
    } else if (m->offset > 0) {
        memcpy(&value, (const uint8_t *)s + m->offset, sizeof value);
        if (value != UINT64_MAX) // was never set
            metrics_put_line(s, m, out, "", SLICE_EMPTY, value);
    }
}

bool
metrics_text_next(struct metrics_scrape *s, struct buf *out)
{
    for (; metrics_table[s->at].name != NULL; s->at++) {
        const struct metric *m = &metrics_table[s->at];
        if (out->len >= METRICS_TEXT_AT_ONCE || out->failed)
            return true;
        if (!s->is_inside) {
            if (!is_wanted(s, m))
                continue;
            put_head(s, m, out);
            if (!is_per_object(s, m)) {
                put_sum(s, m, out);
                continue;
            }
            begin_objects(s, m);
        }
        if (!put_objects(s, m, out))
            return true;
        s->is_inside = false;
    }
    return false;
}
