// api.c: what all handlers use: errors, reading the body's members, topology changes, gathering from workers.
#include "src/management/api.h"

#include <stdarg.h>
#include <stdio.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/management/http_server.h"

// --- answers ------------------------------------------------------------------------------------------------------------------

void
api_error(struct api_request *r, unsigned status, const char *error, const char *fmt, ...)
{
    struct buf reason = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&reason, fmt, ap);
    va_end(ap);
    buf_reset(&r->out);
    buf_append_u8(&r->out, '{');
    json_put_member_string(&r->out, "error", slice_str(error));
    json_put_member_string(&r->out, "reason", buf_slice(&reason));
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    buf_fini(&reason);
    api_reply(r, status);
}

void
api_not_found(struct api_request *r)
{
    api_error(r, 404, "Object Not Found", "Not Found");
}

void
api_fault(struct api_request *r, const struct fault *f)
{
    const char *text = strstr(f->text, " - ");
    text = text != NULL ? text + 3 : f->text;
    switch (f->code) {
    case FAULT_NOT_FOUND: api_error(r, 404, "Object Not Found", "%s", text); break;
    case FAULT_ACCESS_REFUSED: api_error(r, 401, "not_authorised", "%s", text); break;
    case FAULT_RESOURCE_LOCKED:
    case FAULT_PRECONDITION_FAILED:
    case FAULT_COMMAND_INVALID:
    case FAULT_NOT_ALLOWED: api_error(r, 400, "bad_request", "%s", text); break;
    default: api_error(r, 500, "internal_error", "%s", text); break;
    }
}

// --- input --------------------------------------------------------------------------------------------------------------------

bool
api_string(const struct api_request *r, const char *key, struct slice *ret)
{
    const json_t *value = json_object_get(r->json, key);
    if (!json_is_string(value))
        return false;
    *ret = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

bool
api_bool(const struct api_request *r, const char *key, bool *ret)
{
    const json_t *value = json_object_get(r->json, key);
    if (!json_is_boolean(value))
        return false;
    *ret = json_is_true(value);
    return true;
}

bool
api_int(const struct api_request *r, const char *key, int64_t *ret)
{
    const json_t *value = json_object_get(r->json, key);
    if (!json_is_integer(value))
        return false;
    *ret = json_integer_value(value);
    return true;
}

bool
api_flag(const struct api_request *r, const char *key)
{
    bool is_set = false;
    const char *query = http_query(r, key);
    return api_bool(r, key, &is_set) ? is_set : query != NULL && strcmp(query, "true") == 0;
}

bool
api_only(struct api_request *r, uint32_t *ret_flags)
{
    struct slice only = SLICE_EMPTY;
    *ret_flags = 0;
    if (!api_string(r, "only", &only))
        return true;
    if (!r->is_control) {
        api_error(r, 400, "bad_request", "\"only\" is for the control socket");
        return false;
    }
    if (slice_eq_str(only, "new"))
        *ret_flags = CHANGE_ONLY_NEW;
    else if (slice_eq_str(only, "existing"))
        *ret_flags = CHANGE_ONLY_EXISTING;
    return true;
}

bool
api_tags(const struct api_request *r, struct buf *out)
{
    const json_t *tags = json_object_get(r->json, "tags");
    if (json_is_string(tags)) {
        buf_append(out, json_string_value(tags), json_string_length(tags));
        return true;
    }
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);
        if (!json_is_string(tag))
            continue;
        if (out->len > 0)
            buf_append_u8(out, ',');
        buf_append(out, json_string_value(tag), json_string_length(tag));
    }
    return json_is_array(tags);
}

static void table_from_object(struct table_writer *w, const json_t *object, unsigned depth);

static void
array_from_json(struct table_writer *w, const json_t *array, unsigned depth)
{
    for (size_t i = 0; i < json_array_size(array) && depth > 0; i++) {
        const json_t *v = json_array_get(array, i);
        struct field f = {.type = FIELD_VOID};
        if (json_is_object(v)) {
            array_begin_table(w);
            table_from_object(w, v, depth - 1);
            table_writer_end(w);
            continue;
        }
        if (json_is_array(v)) {
            array_begin_array(w);
            array_from_json(w, v, depth - 1);
            table_writer_end(w);
            continue;
        }
        if (json_is_string(v))
            f = field_longstr(slice_of(json_string_value(v), json_string_length(v)));
        else if (json_is_integer(v))
            f = field_i64(json_integer_value(v));
        else if (json_is_boolean(v))
            f = field_bool(json_is_true(v));
        else if (json_is_real(v))
            f = (struct field){.type = FIELD_DOUBLE, .f64 = json_real_value(v)};
        array_put(w, &f);
    }
}

static void
table_from_object(struct table_writer *w, const json_t *object, unsigned depth)
{
    const char *key;
    json_t *v;
    if (depth == 0)
        return;
    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        struct slice k = slice_str(key);
        if (json_is_object(v)) {
            table_begin_table(w, k);
            table_from_object(w, v, depth - 1);
            table_writer_end(w);
        } else if (json_is_array(v)) {
            table_begin_array(w, k);
            array_from_json(w, v, depth - 1);
            table_writer_end(w);
        } else if (json_is_string(v)) {
            table_put_longstr(w, k, slice_of(json_string_value(v), json_string_length(v)));
        } else if (json_is_integer(v)) {
            table_put_i64(w, k, json_integer_value(v));
        } else if (json_is_boolean(v)) {
            table_put_bool(w, k, json_is_true(v));
        } else if (json_is_real(v)) {
            table_put_double(w, k, json_real_value(v));
        } else {
            table_put_void(w, k);
        }
    }
}

int
api_table(const json_t *object, struct buf *out)
{
    if (object == NULL)
        return 0;
    if (!json_is_object(object))
        return -LE_INVAL;
    struct table_writer w = table_writer_of(out);
    table_from_object(&w, object, TABLE_DEPTH_MAX);
    return out->failed ? -LE_LIMIT : 0;
}

const struct vhost *
api_vhost(struct api_request *r, size_t segment)
{
    const struct topology *t = topology_of(http_server_worker(r->server));
    const struct vhost *v = topology_vhost(t, r->segments[segment]);
    if (v == NULL)
        api_not_found(r);
    return v;
}

// --- asynchronous work --------------------------------------------------------------------------------------------------------

static void
change_done(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    if (change->change == CHANGE_QUEUE_DELETE && change->fault.code == FAULT_NONE)
        r->message_count = (int64_t)change->message_count;
    if (change->fault.code != FAULT_NONE)
        api_fault(r, &change->fault);
    else
        api_reply(r, change->is_created ? 201 : 204);
    topology_request_free(change);
}

void
api_change(struct api_request *r, struct topology_request *args)
{
    struct topology_request *change = topology_request_new(args);
    if (change == NULL) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    change->ctx = r;
    change->done = change_done;
    topology_submit(change);
}

void
api_gather_add(struct api_request *r)
{
    r->pending++;
}

void
api_gather_done(struct api_request *r)
{
    LV_ASSERT(r->pending > 0);
    if (--r->pending == 0)
        r->gathered(r);
}

struct list_mail {
    struct api_request *request;
    struct worker *back;
    enum broker_listing what;
    struct buf *part; // heap
};

static void
list_answered(struct worker *w, void *payload)
{
    struct list_mail *mail = payload;
    struct api_request *r = mail->request;
    if (mail->part == NULL || mail->part->failed)
        r->has_failed = true;
    else
        buf_append_slice(&r->out, buf_slice(mail->part));
    if (mail->part != NULL)
        buf_fini(mail->part);
    mem_free(mail->part);
    api_gather_done(r);
}

static void
list_asked(struct worker *w, void *payload)
{
    struct list_mail mail = *(struct list_mail *)payload;
    mail.part = mem_calloc(1, sizeof(*mail.part));
    if (mail.part != NULL)
        broker_list(w, mail.what, mail.part);
    worker_post(mail.back, list_answered, &mail, sizeof mail, 0);
}

static void
list_complete(struct api_request *r)
{
    if (r->has_failed) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    api_reply(r, 200);
}

static void
ask_workers(struct api_request *r, enum broker_listing what, void (*gathered)(struct api_request *r))
{
    struct worker *w = http_server_worker(r->server);
    struct list_mail mail = {.request = r, .back = w, .what = what};
    buf_append_u8(&r->out, '[');
    r->gathered = gathered;
    for (int i = 0; i < w->crew->n_workers; i++) {
        api_gather_add(r);
        worker_post(w->crew->members[i], list_asked, &mail, sizeof mail, 0);
    }
}

void
api_list_workers(struct api_request *r, enum broker_listing what)
{
    ask_workers(r, what, list_complete);
}

static void
parse_complete(struct api_request *r)
{
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    if (!r->has_failed && !r->out.failed)
        r->parsed = json_loadb((const char *)r->out.ptr, r->out.len, JSON_ALLOW_NUL, NULL);
    buf_reset(&r->out);
    if (r->parsed == NULL)
        api_error(r, 500, "internal_error", "out of memory");
    else
        r->listed(r);
}

void
api_gather_workers(struct api_request *r, enum broker_listing what, void (*listed)(struct api_request *r))
{
    r->listed = listed;
    ask_workers(r, what, parse_complete);
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

void
api_reply_json(struct api_request *r, unsigned status, const json_t *value)
{
    buf_reset(&r->out);
    if (json_dump_callback(value, append_text, &r->out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        r->out.failed = true; // answered as 500
    api_reply(r, status);
}
