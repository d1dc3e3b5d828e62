// definitions_run.c: carries imports out, a part each turn (definitions_import.h).
//
// Happy path: records of a section go to the topology writer until DEFINITIONS_WINDOW are under way; an answer makes room for the next. A
// section begins when all of the one before are answered, so that users are there before their permissions, and queues before their
// bindings. Failure: the first record that is refused ends it; what is under way by then is still counted.
#include <stdarg.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/management/definitions_impl.h"

// How often a long import says how far it is.
#define TELL_NS (UINT64_C(2) * 1000 * 1000 * 1000)

static struct definitions_import *
first_import(struct definitions_queue *q)
{
    struct list *it = list_first(&q->imports);
    return it != NULL ? LV_CONTAINER_OF(it, struct definitions_import, node) : NULL;
}

// --- what is said ---------------------------------------------------------------------------------------------------------------

static void
put_counts(const struct definitions_import *i, struct buf *out)
{
    for (int s = 0; s < DEFINITIONS_ALL; s++) {
        const struct definitions_counts *n = &i->counts[s];
        if (n->elements == 0)
            continue;
        json_put_string(out, slice_str(definitions_section_names[s]));
        buf_append_str(out, ":{");
        json_put_member_int(out, "elements", (int64_t)n->elements);
        json_put_member_int(out, "changes", (int64_t)n->total);
        json_put_member_int(out, "done", (int64_t)n->done);
        json_put_member_int(out, "created", (int64_t)n->created);
        json_put_member_int(out, "skipped", (int64_t)n->skipped);
        json_drop_comma(out);
        buf_append_str(out, "},");
    }
    json_drop_comma(out);
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

static void
put_json(struct buf *out, const json_t *value)
{
    if (value == NULL || json_dump_callback(value, append_text, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        buf_append_str(out, "null");
}

void
definitions_import_put(struct definitions_import *i, const char *state, struct buf *out)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "state", slice_str(state));
    json_put_member_string(out, "source", slice_str(i->source));
    if (i->user != NULL)
        json_put_member_string(out, "user", slice_str(i->user));
    if (i->vhost != NULL)
        json_put_member_string(out, "vhost", slice_str(i->vhost));
    if (i->is_running && i->section < DEFINITIONS_ALL)
        json_put_member_string(out, "section", slice_str(definitions_section_names[i->section]));
    if (i->begun_ns != 0)
        json_put_member_int(out, "milliseconds", (int64_t)((clock_mono_ns() - i->begun_ns) / 1000000));
    buf_append_str(out, "\"sections\":{");
    put_counts(i, out);
    buf_append_str(out, "},\"notes\":");
    put_json(out, i->notes);
    buf_append_str(out, ",\"reason\":");
    put_json(out, i->reason);
    buf_append_u8(out, '}');
}

void
definitions_queue_put(struct definitions_queue *q, struct buf *out)
{
    buf_append_str(out, "{\"imports\":[");
    LV_LIST_EACH (it, &q->imports) {
        struct definitions_import *i = LV_CONTAINER_OF(it, struct definitions_import, node);
        definitions_import_put(i, it == list_first(&q->imports) ? "running" : "waiting", out);
        buf_append_u8(out, ',');
    }
    json_drop_comma(out);
    buf_append_str(out, "],\"last\":");
    if (q->last.len > 0)
        buf_append_slice(out, buf_slice(&q->last));
    else
        buf_append_str(out, "null");
    buf_append_u8(out, '}');
}

static void
log_progress(struct definitions_import *i, uint64_t now)
{
    const struct definitions_counts *n = &i->counts[LV_MIN(i->section, DEFINITIONS_ALL - 1)];
    if (now - i->told_ns < TELL_NS || i->section >= DEFINITIONS_ALL)
        return;
    i->told_ns = now;
    log_info(LOG_DEFAULT, "definitions from %s: %s: %llu of %llu", i->source,
             definitions_section_names[i->section], (unsigned long long)n->done,
             (unsigned long long)n->total);
}

// What is left out, and why; only the first few are kept.
static void LV_PRINTF(2, 3) note(struct definitions_import *i, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (i->note_count++ < DEFINITIONS_NOTES_MAX) {
        log_warn(LOG_DEFAULT, "definitions from %s: left out: %s", i->source, buf_cstr(&text));
        json_t *one = json_stringn((const char *)text.ptr, text.len);
        if (one != NULL)
            (void)json_array_append_new(i->notes, one);
    }
    i->counts[i->section].skipped++;
    buf_fini(&text);
}

// --- the end ----------------------------------------------------------------------------------------------------------------------

static void
log_end(const struct definitions_import *i, uint64_t now)
{
    uint64_t done = 0, created = 0, skipped = 0;
    double seconds = (double)(now - i->begun_ns) / 1e9;
    for (int s = 0; s < DEFINITIONS_ALL; s++) {
        done += i->counts[s].done;
        created += i->counts[s].created;
        skipped += i->counts[s].skipped;
    }
    struct buf reason = BUF_INIT;
    if (i->reason != NULL)
        put_json(&reason, i->reason);
    if (i->is_refused)
        log_error(LOG_DEFAULT, "definitions from %s: ended early after %llu changes in %.1f s: %s", i->source,
                  (unsigned long long)done, seconds, buf_cstr(&reason));
    else
        log_notice(LOG_DEFAULT,
                   "definitions from %s: imported: %llu changes, %llu of them created something, %llu left "
                   "out, in %.1f s",
                   i->source, (unsigned long long)done, (unsigned long long)created,
                   (unsigned long long)skipped, seconds);
    buf_fini(&reason);
}

static void
finish(struct definitions_import *i)
{
    struct definitions_queue *q = i->queue;
    log_end(i, clock_mono_ns());
    buf_reset(&q->last);
    definitions_import_put(i, i->is_refused ? "failed" : "done", &q->last);
    if (q->last.failed)
        buf_fini(&q->last);
    list_remove(&i->node);
    i->is_running = false;
    worker_keep_awake(q->worker); // the next may begin
    i->done(i);                   // may free it
}

static void
fail(struct definitions_import *i, uint32_t element, json_t *reason)
{
    if (i->is_refused || reason == NULL) {
        json_decref(reason);
    } else {
        i->reason = reason;
        i->failed_section = i->section;
        i->failed_element = element;
    }
    i->is_refused = true;
}

// --- answers ----------------------------------------------------------------------------------------------------------------------

static json_t *
reason_of(const struct definitions_import *i, const struct topology_request *r)
{
    const struct topology *t = topology_of(i->queue->worker);
    const char *text = strstr(r->fault.text, " - ");
    bool needs_user = r->change == CHANGE_PERMISSION_SET || r->change == CHANGE_TOPIC_PERMISSION_SET;
    struct slice vhost = r->change == CHANGE_VHOST_LIMITS ? r->name : r->vhost;
    if (vhost.len > 0 && topology_vhost(t, vhost) == NULL)
        return json_pack("[s, o]", "no_such_vhost", json_stringn((const char *)vhost.ptr, vhost.len));
    if (needs_user && topology_user(t, r->user) == NULL)
        return json_pack("[s, o]", "no_such_user", json_stringn((const char *)r->user.ptr, r->user.len));
    text = text != NULL ? text + 3 : r->fault.text;
    json_t *reason = json_string(text);
    return reason != NULL ? reason : json_string("refused");
}

// True: what was refused is left out, as RabbitMQ does.
static bool
is_left_out(struct definitions_import *i, const struct topology_request *r)
{
    const struct vhost *v = topology_vhost(topology_of(i->queue->worker), r->vhost);
    if (i->section == DEFINITIONS_DELETIONS) {
        if (r->fault.code != FAULT_NOT_FOUND) // it went with something else
            note(i, "not deleted: %.*s: %s", SLICE_FMT(r->name), r->fault.text);
        return true;
    }
    if (r->change == CHANGE_QUEUE_DECLARE && v != NULL && vhost_queue(v, r->name) != NULL) {
        note(i, "queue '%.*s' in vhost '%.*s' is there with other properties", SLICE_FMT(r->name),
             SLICE_FMT(r->vhost));
        return true;
    }
    if (r->change == CHANGE_EXCHANGE_DECLARE && v != NULL && vhost_exchange(v, r->name) != NULL) {
        note(i, "exchange '%.*s' in vhost '%.*s' is there with other properties", SLICE_FMT(r->name),
             SLICE_FMT(r->vhost));
        return true;
    }
    if (r->change == CHANGE_BIND && (v == NULL || r->fault.code == FAULT_NOT_FOUND)) {
        note(i, "binding from '%.*s' to '%.*s' in vhost '%.*s': one of them is not there", SLICE_FMT(r->name),
             SLICE_FMT(r->dest_name), SLICE_FMT(r->vhost));
        return true;
    }
    return false;
}

static void submit(struct definitions_import *i, const struct topology_request *args, uint32_t element);

// Who makes a vhost may use it, as with PUT /api/vhosts.
static void
grant(struct definitions_import *i, struct slice vhost)
{
    if (i->user != NULL)
        submit(i,
               &(struct topology_request){.change = CHANGE_PERMISSION_SET,
                                          .vhost = vhost,
                                          .user = slice_str(i->user),
                                          .configure = SLICE_LIT(".*"),
                                          .write = SLICE_LIT(".*"),
                                          .read = SLICE_LIT(".*")},
               0);
}

static void
answered(struct topology_request *r)
{
    struct definitions_import *i = r->ctx;
    uint32_t element = (uint32_t)r->session;
    struct definitions_counts *n = &i->counts[i->section];
    bool is_grant = r->change == CHANGE_PERMISSION_SET && i->section == DEFINITIONS_VHOSTS;
    LV_ASSERT(i->outstanding > 0);
    i->outstanding--;
    if (r->fault.code != FAULT_NONE) {
        if (!is_grant && !is_left_out(i, r)) // who asks may have been deleted meanwhile
            fail(i, element, reason_of(i, r));
    } else if (!is_grant) {
        n->done++;
        n->created += r->is_created;
        if (r->change == CHANGE_VHOST_PUT && r->is_created)
            grant(i, r->name);
    }
    topology_request_free(r);
}

// --- sending ----------------------------------------------------------------------------------------------------------------------

static void
submit(struct definitions_import *i, const struct topology_request *args, uint32_t element)
{
    struct topology_request *r = topology_request_new(args);
    if (r == NULL) {
        fail(i, element, json_string("out of memory"));
        return;
    }
    r->ctx = i;
    r->session = element;
    r->done = answered;
    i->outstanding++;
    topology_submit(r);
}

static void
send_record(struct definitions_import *i, struct topology_request *r, uint32_t element)
{
    if (r->change == CHANGE_USER_PUT && r->hashing.ptr == NULL)
        r->hashing = definitions_default_hashing(buf_slice(&i->version));
    if (r->change >= CHANGE_EXCHANGE_DECLARE)
        r->user = i->user != NULL ? slice_str(i->user) : SLICE_LIT("");
    if (r->change == CHANGE_QUEUE_DECLARE && definitions_is_stream(r->arguments))
        note(i, "queue '%.*s' in vhost '%.*s' is a stream, which this broker does not have",
             SLICE_FMT(r->name), SLICE_FMT(r->vhost));
    else if (r->change == CHANGE_EXCHANGE_DECLARE && definitions_is_federation(r->type))
        note(i, "exchange '%.*s' in vhost '%.*s' is a federation link's own", SLICE_FMT(r->name),
             SLICE_FMT(r->vhost));
    else
        submit(i, r, element);
}

static bool
is_over(const struct definitions_import *i)
{
    return i->is_refused || i->section >= DEFINITIONS_ALL;
}

// As much as the window takes; false: what is missing now are answers.
static bool
send_some(struct definitions_import *i)
{
    for (int n = 0; n < DEFINITIONS_TURN_MAX; n++) {
        struct topology_request r;
        uint32_t element;
        if (is_over(i) || i->outstanding >= DEFINITIONS_WINDOW)
            return false;
        int err = definitions_next(i, (enum definitions_section)i->section, &i->cursor, &r, &element);
        if (err == 0) {
            send_record(i, &r, element);
        } else if (err != -LE_NOTFOUND) {
            fail(i, 0, json_string(err_text(err)));
        } else if (i->outstanding > 0) {
            return false;
        } else {
            definitions_cursor_fini(&i->cursor);
            i->cursor = (struct definitions_cursor){0};
            i->section++;
        }
    }
    return true;
}

static bool
run_hook(struct worker *w, void *ctx)
{
    struct definitions_queue *q = ctx;
    struct definitions_import *i = first_import(q);
    if (i == NULL)
        return false;
    if (i->begun_ns == 0) {
        i->begun_ns = i->told_ns = w->now_ns;
        log_info(LOG_DEFAULT, "definitions from %s: importing", i->source);
    }
    bool has_more = send_some(i);
    log_progress(i, w->now_ns);
    if (is_over(i) && i->outstanding == 0) {
        finish(i);
        return first_import(q) != NULL;
    }
    return has_more;
}

void
definitions_import_run(struct definitions_import *i, void (*done)(struct definitions_import *i), void *ctx)
{
    LV_ASSERT(!i->is_running && !i->is_refused);
    i->done = done;
    i->ctx = ctx;
    i->is_running = true;
    list_push_back(&i->queue->imports, &i->node);
    worker_keep_awake(i->queue->worker);
}

struct definitions_queue *
definitions_queue_new(struct worker *w)
{
    struct definitions_queue *q = mem_xcalloc(1, sizeof *q);
    q->worker = w;
    list_init(&q->imports);
    worker_add_hook(w, PHASE_TIMERS, run_hook, q);
    return q;
}

void
definitions_queue_end(struct definitions_queue *q)
{
    q->has_ended = true;
}

void
definitions_queue_free(struct definitions_queue *q)
{
    if (q == NULL)
        return;
    buf_fini(&q->last);
    mem_free(q);
}
