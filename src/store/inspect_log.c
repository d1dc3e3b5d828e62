// inspect_log.c: the log, read by recovery with a watch on it, and then again for what lives.
//
// 1. recover_ring over the reading table: the chain of segments, groups, records, what lives; each bad spot becomes a finding.
// 2. inspect_measure: a bit for each record that a live message names (records begin at multiples of 8), segment by segment; each such
//    record is decoded once, and each of its references that still lives there adds to its queue.
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/inspect.h"
#include "src/store/log_recover.h"

enum { NAME_MAX_BYTES = 64 };

static void
segment_name(const struct segment *s, char to[NAME_MAX_BYTES])
{
    snprintf(to, NAME_MAX_BYTES, "log/%05u.seg", s->slot);
}

static void
tell_damage(void *ctx, const struct segment *s, uint64_t generation, uint64_t offset, uint64_t bytes,
            const char *what)
{
    char name[NAME_MAX_BYTES];
    segment_name(s, name);
    inspect_find(ctx, true, name, offset, bytes, "%s (generation %llu)", what,
                 (unsigned long long)generation);
}

// --- files with a content of their own ---

static int
note_large_file(void *ctx, const char *name)
{
    struct inspect *i = ctx;
    char path[IO_PATH_MAX], *end;
    uint64_t size = 0;
    int fd;
    unsigned long long id = strtoull(name, &end, 16);
    if (end != name + 16 || strcmp(end, ".body") != 0 || id == 0)
        return 0;
    snprintf(path, sizeof path, "%.*s/%.32s", IO_PATH_MAX - 40, i->core->large_dir, name);
    if (i->reader.io.open(i->reader.io.ctx, path, IO_READ, &fd) != 0)
        return 0; // who needs it will tell
    (void)i->reader.io.size(i->reader.io.ctx, fd, &size);
    (void)i->reader.io.close(i->reader.io.ctx, fd);
    i->large_files++;
    i->large_bytes += size;
    i->large_unused += inttab_get(&i->core->large, id) == NULL;
    return 0;
}

static int
hold_large(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct core *c = ctx;
    return e->large_file != 0 ? inttab_put(&c->large, e->large_file, c) : 0;
}

int
inspect_list_large(struct inspect *i)
{
    int err = msglog_live_each(&i->live, UINT64_MAX, hold_large, i->core);
    if (err == 0)
        err = i->reader.io.list(i->reader.io.ctx, i->core->large_dir, note_large_file, i);
    return err == -LE_NOTFOUND ? 0 : err;
}

// --- reading it ---

static int
compare_segments(const void *a, const void *b)
{
    const struct inspect_segment *x = a, *y = b;
    if (x->generation != y->generation)
        return x->generation < y->generation ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static int
list_segments(struct inspect *i)
{
    const struct ring *r = &i->core->ring;
    i->segments = mem_calloc(LV_MAX(r->count, (size_t)1), sizeof(*i->segments));
    if (i->segments == NULL)
        return -LE_NOMEM;
    for (size_t n = 0; n < r->count; n++) {
        const struct segment *s = r->segments[n];
        bool is_needed = s->state == SEGMENT_SEALED;
        i->segments[i->segment_count++] =
            (struct inspect_segment){.slot = s->slot,
                                     .use = is_needed ? INSPECT_NEEDED : INSPECT_SPARE,
                                     .generation = s->generation,
                                     .bytes = s->bytes,
                                     .end = !is_needed                            ? 0
                                            : s->generation == r->prev_generation ? r->prev_end
                                                                                  : s->end};
    }
    if (i->segment_count > 1)
        qsort(i->segments, i->segment_count, sizeof(*i->segments), compare_segments);
    return 0;
}

static void
note_the_end(struct inspect *i)
{
    const struct msglog_report *r = &i->log;
    if (r->missing_segments > 0)
        inspect_find(i, true, "log", 0, 0, "%llu segments that the log needs are missing",
                     (unsigned long long)r->missing_segments);
    if (r->torn_bytes > 0)
        inspect_find(
            i, false, "log", 0, 0,
            "%llu bytes at the end were being written when the broker stopped: a start leaves them out",
            (unsigned long long)r->torn_bytes);
    if (r->void_parts > 0)
        inspect_find(i, false, "log", 0, 0, "%llu entries of transactions without a commit do not count",
                     (unsigned long long)r->void_parts);
}

int
inspect_read_log(struct inspect *i, struct buf *problem)
{
    char path[IO_PATH_MAX];
    struct recovered_tail tail = {0};
    struct core *c = i->core = mem_calloc(1, sizeof(*c));
    if (c == NULL)
        return -LE_NOMEM;
    struct recover_watch watch = {.ctx = i, .damage = tell_damage};
    c->io = &i->reader.io;
    c->watch = &watch;
    snprintf(path, sizeof path, "%s/log", i->dir);
    snprintf(c->large_dir, sizeof c->large_dir, "%s/large", i->dir);
    ring_init(&c->ring, c->io, path);
    inttab_init(&c->large);
    int err = recover_ring(c, &(struct msglog_config){0}, &i->live, &i->log, &tail);
    c->watch = NULL;
    mem_free(tail.groups);
    if (err == -LE_NOTFOUND)
        return 0; // never had a log
    if (err == -LE_UNSUPPORTED)
        buf_printf(problem, "%s was written by a newer version", path);
    else if (err != 0)
        buf_printf(problem, "%s cannot be read: %s", path, err_text(err));
    if (err == 0)
        err = list_segments(i);
    if (err == 0)
        note_the_end(i);
    return err;
}

void
inspect_close_log(struct inspect *i)
{
    if (i->core == NULL)
        return;
    ring_fini(&i->core->ring);
    inttab_fini(&i->core->large);
    mem_free(i->core);
    i->core = NULL;
}

// --- what lives, by queue and by segment ---

struct measure {
    struct inspect *i;
    struct inspect_segment *at;
    uint64_t *bits; // of the segment: a record that lives begins at 8 × n
    size_t words;
    uint8_t *bytes; // of the segment
};

static int
mark_record(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct measure *m = ctx;
    uint64_t bit = e->place.offset / RECORD_ALIGN_BYTES;
    if (e->place.file == m->at->generation && bit / 64 < m->words)
        m->bits[bit / 64] |= 1ull << bit % 64;
    return 0;
}

static void
add_share(struct inspect_queue *q, const struct message_fixed *f)
{
    struct inspect_share *share = f->large_file != 0 ? &q->large : &q->ring;
    share->messages++;
    share->bytes += f->body_bytes;
    q->oldest_ms = q->oldest_ms == 0 ? f->published_ms : LV_MIN(q->oldest_ms, f->published_ms);
}

// A record that somebody names; its checksums were good when recovery read it.
static void
measure_record(struct measure *m, uint32_t offset)
{
    struct inspect_segment *at = m->at;
    struct record_header h;
    struct message_fixed f;
    const uint8_t *from = m->bytes + offset;
    if (offset + RECORD_HEADER_BYTES > at->end ||
        record_header_decode(from, record_place(at->generation, offset), &h) != 0 ||
        h.type != RECORD_MESSAGE || offset + RECORD_HEADER_BYTES + (uint64_t)h.payload_bytes > at->end ||
        message_fixed_decode(slice_of(from + RECORD_HEADER_BYTES, h.payload_bytes), &f) != 0)
        return;
    at->live_records++;
    at->live_bytes += align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
    for (uint32_t n = 0; n < f.ref_count; n++) {
        struct message_ref ref;
        message_ref_decode(from + RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES + (size_t)n * MESSAGE_REF_BYTES,
                           &ref);
        const struct msglog_live_entry *e = msglog_live_find(&m->i->live, ref.queue, ref.seq);
        if (e == NULL || e->place.file != at->generation || e->place.offset != offset)
            continue;
        struct inspect_queue *q = inspect_queue_at(m->i, ref.queue); // it has one: it was counted
        if (q != NULL)
            add_share(q, &f);
    }
}

// What cannot be read stays zeros, which are no record; recovery has told of it.
static void
read_around(struct measure *m, int fd)
{
    enum { STEP_BYTES = 64 * 1024 };
    for (uint64_t at = 0; at < m->at->end; at += STEP_BYTES) {
        size_t n = 0, len = (size_t)LV_MIN((uint64_t)STEP_BYTES, m->at->end - at);
        if (io_read_all(&m->i->reader.io, fd, m->bytes + at, len, at, &n) != 0)
            memset(m->bytes + at, 0, len);
    }
}

static int
measure_segment(struct measure *m)
{
    const struct segment *s = ring_find(&m->i->core->ring, m->at->generation);
    LV_ASSERT(s != NULL);
    m->words = (size_t)(m->at->end / RECORD_ALIGN_BYTES / 64 + 1);
    m->bits = mem_calloc(m->words, sizeof(*m->bits));
    m->bytes = mem_calloc((size_t)LV_MAX(m->at->end, (uint64_t)1), 1);
    int err = m->bits != NULL && m->bytes != NULL ? 0 : -LE_NOMEM;
    if (err == 0)
        read_around(m, s->fd);
    if (err == 0)
        err = msglog_live_each(&m->i->live, m->at->generation, mark_record, m);
    for (size_t w = 0; w < m->words && err == 0; w++)
        for (uint64_t left = m->bits[w]; left != 0; left &= left - 1)
            measure_record(m, (uint32_t)((w * 64 + (size_t)__builtin_ctzll(left)) * RECORD_ALIGN_BYTES));
    mem_free(m->bits);
    mem_free(m->bytes);
    return err;
}

int
inspect_measure(struct inspect *i)
{
    int err = 0;
    for (size_t n = 0; n < i->segment_count && err == 0; n++) {
        struct measure m = {.i = i, .at = &i->segments[n]};
        if (m.at->use == INSPECT_NEEDED && m.at->generation != 0)
            err = measure_segment(&m);
    }
    if (err == 0)
        err = inspect_measure_backlogs(i);
    for (size_t n = 0; n < i->queue_count; n++) {
        struct inspect_queue *q = &i->queues[n];
        q->unreadable = q->live - LV_MIN(q->live, q->ring.messages + q->backlog.messages + q->large.messages);
    }
    return err != 0 ? err : i->error;
}

// --- messages one by one ---

const struct msglog_live_entry *
inspect_next_live(const struct inspect *i, uint64_t queue, size_t *from)
{
    const struct msglog_live_queue *q = inttab_get(&i->live.queues, queue);
    size_t n = q != NULL ? LV_MAX(*from, q->first) : 0;
    while (q != NULL && n < q->end && q->entries[n].place.len == 0)
        n++;
    *from = n + 1;
    return q != NULL && n < q->end ? &q->entries[n] : NULL;
}

int
inspect_read_large(struct inspect *i, const struct backlog_record *r, uint8_t **ret_buffer)
{
    uint64_t bytes = (uint64_t)r->content.route_bytes + r->content.header_bytes + r->content.body_bytes;
    if (bytes > UINT32_MAX)
        return -LE_CORRUPT;
    uint8_t *buffer = mem_alloc(LV_MAX((size_t)bytes, (size_t)1));
    if (buffer == NULL)
        return -LE_NOMEM;
    int err = large_read(i->core, r->large_file, (uint32_t)bytes, r->large_crc, buffer);
    if (err != 0)
        mem_free(buffer);
    else
        *ret_buffer = buffer;
    return err;
}

int
inspect_visit_live(struct inspect *i, const struct inspect_queue *q, const struct msglog_live_entry *e,
                   inspect_message_fn fn, void *ctx)
{
    char name[NAME_MAX_BYTES] = "log";
    const struct segment *s = ring_find(&i->core->ring, e->place.file);
    struct msglog_record record = {0};
    struct inspect_message m = {.queue = q,
                                .seq = e->seq,
                                .expires_ms = e->expires_ms,
                                .epoch = e->epoch,
                                .flags = e->flags,
                                .file = name,
                                .offset = e->place.offset,
                                .large_file = e->large_file};
    if (s != NULL)
        segment_name(s, name);
    m.result = core_read(i->core, &e->place, &record);
    if (m.result == -LE_NOMEM)
        return m.result;
    m.fixed = record.content;
    if (m.result == 0)
        m.result = inspect_content_parse(&record.content, &m.content);
    int err = fn(ctx, &m);
    mem_free(record.buffer);
    return err;
}

static int
check_message(void *ctx, const struct inspect_message *m)
{
    char name[NAME_MAX_BYTES];
    if (m->result == 0)
        return 0;
    const char *what = m->result == -LE_NOTFOUND  ? "it is not there"
                       : m->result == -LE_CORRUPT ? "it is not what was written"
                                                  : err_text(m->result);
    snprintf(name, sizeof name, "large/%016llx.body", (unsigned long long)m->large_file);
    inspect_find(ctx, true, m->large_file != 0 ? name : m->file, m->large_file != 0 ? 0 : m->offset, 0,
                 "message %llu of queue %llu cannot be read: %s", (unsigned long long)m->seq,
                 (unsigned long long)m->queue->id, what);
    return 0;
}

int
inspect_check_contents(struct inspect *i)
{
    int err = 0;
    for (size_t n = 0; n < i->queue_count && err == 0; n++)
        err = inspect_each_message(i, &i->queues[n], 0, UINT64_MAX, check_message, i);
    for (size_t n = 0; n < i->backlog_count && err == 0; n++)
        if (i->backlogs[n].is_lost)
            err = inspect_each_message(i, &i->backlogs[n].lost, 0, UINT64_MAX, check_message, i);
    return err != 0 ? err : i->error;
}
