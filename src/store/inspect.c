// inspect.c: findings and queues, and what the parts have in common. Happy path: metadata → which backlogs there are → log → backlogs → names of large
// files → queues in order.
#include "src/store/inspect.h"

#include <stdarg.h>

#include "amqp/wire/props.h"
#include "src/base/err.h"
#include "src/base/mem.h"

static char *
copy_text(struct slice s)
{
    char *copy = mem_alloc(s.len + 1);
    if (copy != NULL) {
        if (s.len > 0)
            memcpy(copy, s.ptr, s.len);
        copy[s.len] = '\0';
    }
    return copy;
}

// A place that is read twice is found once.
static bool
is_known_already(const struct inspect *i, const struct inspect_finding *f)
{
    for (size_t n = 0; n < i->finding_count; n++) {
        const struct inspect_finding *g = &i->findings[n];
        if (g->offset == f->offset && g->bytes == f->bytes && strcmp(g->file, f->file) == 0 &&
            strcmp(g->text, f->text) == 0)
            return true;
    }
    return false;
}

static void
add_finding(struct inspect *i, const struct inspect_finding *f)
{
    if (is_known_already(i, f))
        return;
    if (f->is_damage)
        i->damage++;
    else
        i->notes++;
    if (i->finding_count == INSPECT_FINDINGS_MAX)
        return;
    if (i->finding_count == i->finding_cap) {
        size_t cap = i->finding_cap == 0 ? 16 : i->finding_cap * 2;
        struct inspect_finding *all = mem_realloc(i->findings, cap * sizeof(*all));
        if (all == NULL) {
            i->error = -LE_NOMEM;
            return;
        }
        i->findings = all;
        i->finding_cap = cap;
    }
    struct inspect_finding copy = *f;
    copy.file = copy_text(slice_str(f->file));
    copy.text = copy_text(slice_str(f->text));
    if (copy.file == NULL || copy.text == NULL) {
        mem_free(copy.file);
        mem_free(copy.text);
        i->error = -LE_NOMEM;
        return;
    }
    i->findings[i->finding_count++] = copy;
}

void
inspect_find(struct inspect *i, bool is_damage, const char *file, uint64_t offset, uint64_t bytes,
             const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    add_finding(i, &(struct inspect_finding){.is_damage = is_damage,
                                             .file = (char *)(uintptr_t)file,
                                             .offset = offset,
                                             .bytes = bytes,
                                             .text = (char *)(uintptr_t)buf_cstr(&text)});
    buf_fini(&text);
}

// --- queues ---

struct inspect_queue *
inspect_queue_at(struct inspect *i, uint64_t id)
{
    uintptr_t index = (uintptr_t)inttab_get(&i->queue_by_id, id);
    if (index != 0)
        return &i->queues[index - 1];
    if (i->queue_count == i->queue_cap) {
        size_t cap = i->queue_cap == 0 ? 64 : i->queue_cap * 2;
        struct inspect_queue *all = mem_realloc(i->queues, cap * sizeof(*all));
        if (all == NULL) {
            i->error = -LE_NOMEM;
            return NULL;
        }
        i->queues = all;
        i->queue_cap = cap;
    }
    if (inttab_put(&i->queue_by_id, id, (void *)(uintptr_t)(i->queue_count + 1)) != 0) {
        i->error = -LE_NOMEM;
        return NULL;
    }
    struct inspect_queue *q = &i->queues[i->queue_count++];
    *q = (struct inspect_queue){.id = id};
    return q;
}

static int
compare_queues(const void *a, const void *b)
{
    const struct inspect_queue *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int
sort_queues(struct inspect *i)
{
    if (i->queue_count > 1)
        qsort(i->queues, i->queue_count, sizeof(*i->queues), compare_queues);
    for (size_t n = 0; n < i->queue_count; n++)
        if (inttab_put(&i->queue_by_id, i->queues[n].id, (void *)(uintptr_t)(n + 1)) != 0)
            return -LE_NOMEM;
    return 0;
}

static int
count_live(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    struct inspect *i = ctx;
    struct inspect_queue *q = inspect_queue_at(i, queue);
    if (q == NULL)
        return -LE_NOMEM;
    q->first_seq = q->live == 0 ? e->seq : LV_MIN(q->first_seq, e->seq);
    q->last_seq = LV_MAX(q->last_seq, e->seq);
    q->live++;
    return 0;
}

// Queues that only one side knows, and ids that could come up a second time.
static void
compare_with_meta(struct inspect *i)
{
    for (size_t n = 0; n < i->queue_count && i->meta.is_there; n++) {
        const struct inspect_queue *q = &i->queues[n];
        if (!q->is_known)
            inspect_find(
                i, false, "meta.sqlite", 0, 0,
                "queue %llu is not in the metadata, and has %llu messages: a start moves them to lost+found",
                (unsigned long long)q->id, (unsigned long long)q->live);
        if (q->id > i->meta.id_ceiling)
            inspect_find(
                i, true, "meta.sqlite", 0, 0,
                "queue %llu lies above the highest id that was given out (%llu): its id may be used twice",
                (unsigned long long)q->id, (unsigned long long)i->meta.id_ceiling);
    }
}

// --- contents ---

static bool
take_shortstr(struct slice *from, struct slice *ret)
{
    if (from->len < 1 || from->len < 1u + from->ptr[0])
        return false;
    *ret = slice_of(from->ptr + 1, from->ptr[0]);
    *from = slice_from(*from, 1u + from->ptr[0]);
    return true;
}

int
inspect_content_parse(const struct msglog_content *content, struct inspect_content *ret)
{
    enum { HEADER_FIXED_BYTES = 12 }; // class, weight, body size
    struct slice route = slice_of(content->bytes, content->route_bytes);
    const uint8_t *header = content->bytes + content->route_bytes;
    struct amqp_basic_props props;
    struct inspect_content c;
    uint64_t body_size = 0;
    if (!take_shortstr(&route, &c.exchange) || !take_shortstr(&route, &c.routing_key) || route.len != 0 ||
        content->header_bytes < HEADER_FIXED_BYTES)
        return -LE_CORRUPT;
    for (int n = 4; n < HEADER_FIXED_BYTES; n++)
        body_size = body_size << 8 | header[n];
    if (header[0] != 0 || header[1] != 60 || body_size != content->body_bytes)
        return -LE_CORRUPT;
    c.properties = slice_of(header + HEADER_FIXED_BYTES, content->header_bytes - HEADER_FIXED_BYTES);
    c.body = slice_of(header + content->header_bytes, content->body_bytes);
    if (amqp_props_decode(c.properties, &props) != 0)
        return -LE_CORRUPT;
    *ret = c;
    return 0;
}

// --- open and close ---

int
inspect_open(struct inspect *i, const struct io *system, const char *dir, struct buf *problem)
{
    memset(i, 0, sizeof(*i));
    i->dir = dir;
    inspect_io_init(&i->reader, system);
    inttab_init(&i->queue_by_id);
    msglog_live_init(&i->live);
    if (strlen(dir) > IO_PATH_MAX - 64) {
        buf_printf(problem, "the path %s is too long", dir);
        return -LE_LIMIT;
    }
    int err = inspect_read_meta(i, problem);
    if (err == 0)
        err = inspect_list_backlogs(i);
    if (err == 0)
        err = inspect_read_log(i, problem);
    if (err == 0)
        err = msglog_live_each(&i->live, UINT64_MAX, count_live, i);
    if (err == 0)
        err = inspect_read_backlogs(i, problem);
    if (err == 0)
        err = inspect_list_large(i);
    if (err == 0)
        err = sort_queues(i);
    if (err == 0)
        compare_with_meta(i);
    if (err == 0)
        err = i->error;
    if (err != 0 && problem->len == 0)
        buf_append_str(problem, err_text(err));
    return err;
}

void
inspect_close(struct inspect *i)
{
    for (size_t n = 0; n < i->finding_count; n++) {
        mem_free(i->findings[n].file);
        mem_free(i->findings[n].text);
    }
    for (size_t n = 0; n < i->queue_count; n++) {
        mem_free((void *)(uintptr_t)i->queues[n].vhost.ptr);
        mem_free((void *)(uintptr_t)i->queues[n].name.ptr);
    }
    mem_free(i->findings);
    mem_free(i->queues);
    mem_free(i->segments);
    inttab_fini(&i->queue_by_id);
    msglog_live_fini(&i->live);
    inspect_close_backlogs(i);
    inspect_close_log(i);
}
