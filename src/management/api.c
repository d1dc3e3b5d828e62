// api.c: what all handlers use: errors, reading the body's members, topology changes, gathering from workers.
#include "src/management/api.h"

#include <stdarg.h>
#include <stdio.h>

#include "amqp/wire/table.h"
#include "src/base/mem.h"
#include "src/broker/auth.h"
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
api_bad_value(struct api_request *r, const char *word, json_t *value)
{
    json_t *answer = json_pack("{s:s, s:[s, o]}", "error", "bad_request", "reason", word, value);
    if (answer == NULL)
        api_no_memory(r);
    else
        api_reply_json(r, 400, answer);
    json_decref(answer);
}

void
api_key_missing(struct api_request *r, const char *key)
{
    api_error(r, 400, "bad_request", "[{key_missing,%s}]", key);
}

void
api_escape_html(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '<' || c == '>' || c == '&')
            buf_append_str(out, c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;");
        else
            buf_append_u8(out, c);
    }
}

void
api_not_found(struct api_request *r)
{
    api_error(r, 404, "Object Not Found", "Not Found");
}

void
api_no_memory(struct api_request *r)
{
    api_error(r, 500, "internal_error", "out of memory");
}

void
api_fault(struct api_request *r, const struct fault *f)
{
    const char *text = strstr(f->text, " - ");
    text = text != NULL ? text + 3 : f->text;
    switch (f->code) {
    case FAULT_NOT_FOUND:
        api_error(r, 404, r->is_control ? "Object Not Found" : "not_found", "%s", text);
        break;
    // What exactly was refused is nothing for who may not have it; the control socket's users are told.
    case FAULT_ACCESS_REFUSED:
        api_error(r, 401, "not_authorised", "%s", r->is_control ? text : "Access refused.");
        break;
    case FAULT_INTERNAL_ERROR:
    case FAULT_RESOURCE_ERROR: api_error(r, 500, "internal_error", "%s", text); break;
    default: api_error(r, 400, "bad_request", "%s", text); break;
    }
}

void
api_stream(struct api_request *r, void (*produce)(struct api_request *r))
{
    r->is_stream = true;
    r->produce = produce;
    api_reply(r, 200);
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
api_take_bool(struct api_request *r, const char *key, bool *ret)
{
    json_t *value = json_object_get(r->json, key);
    if (value == NULL || api_bool(r, key, ret))
        return true;
    const char *text = json_string_value(value);
    if (text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
        *ret = text[0] == 't';
        return true;
    }
    api_bad_value(r, "not_boolean", json_incref(value));
    return false;
}

bool
api_take_string(struct api_request *r, const char *key, struct slice *ret)
{
    if (api_string(r, key, ret))
        return true;
    if (json_object_get(r->json, key) == NULL)
        api_key_missing(r, key);
    else
        api_error(r, 400, "bad_request", "%s must be a string", key);
    return false;
}

bool
api_take_arguments(struct api_request *r, struct buf *out)
{
    const json_t *arguments = json_object_get(r->json, "arguments");
    if (json_is_array(arguments) && json_array_size(arguments) == 0)
        return true; // PROTOCOL: an empty table, as RabbitMQ's own tools write it
    if (api_table(arguments, out) == 0)
        return true;
    api_error(r, 400, "bad_request", "arguments is not a table");
    return false;
}

bool
api_flag(const struct api_request *r, const char *key)
{
    bool is_set = false;
    return api_bool(r, key, &is_set) ? is_set : slice_eq_str(api_query_find(&r->query, key), "true");
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

const struct topology *
api_topology(const struct api_request *r)
{
    return topology_of(http_server_worker(r->server));
}

const struct vhost *
api_vhost(struct api_request *r, size_t segment)
{
    const struct vhost *v = topology_vhost(api_topology(r), api_segment(r, segment));
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
api_change_then(struct api_request *r, struct topology_request *args,
                void (*done)(struct topology_request *change))
{
    if (args->user.ptr == NULL)
        args->user = api_user(r);
    struct topology_request *change = topology_request_new(args);
    if (change == NULL) {
        api_no_memory(r);
        return;
    }
    change->ctx = r;
    change->done = done;
    topology_submit(change);
}

void
api_change(struct api_request *r, struct topology_request *args)
{
    api_change_then(r, args, change_done);
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

struct ask_mail {
    struct api_request *request;
    struct worker *back;
    api_ask_fn ask;
    union {
        uint8_t order[MAIL_PAYLOAD_BYTES - 3 * sizeof(void *)];
        struct buf *part; // of the answer: heap
        uint64_t aligned;
    };
};

static void
ask_answered(struct worker *w, void *payload)
{
    struct ask_mail *mail = payload;
    struct api_request *r = mail->request;
    if (mail->part == NULL || mail->part->failed)
        r->has_failed = true;
    else
        buf_append_slice(&r->gathering, buf_slice(mail->part));
    if (mail->part != NULL)
        buf_fini(mail->part);
    mem_free(mail->part);
    api_gather_done(r);
}

static void
ask_asked(struct worker *w, void *payload)
{
    struct ask_mail mail = *(struct ask_mail *)payload;
    struct buf *part = mem_calloc(1, sizeof(*part));
    if (part != NULL)
        mail.ask(w, mail.order, part);
    mail.part = part;
    worker_post(mail.back, ask_answered, &mail, sizeof mail, 0);
}

void
api_ask_workers(struct api_request *r, api_ask_fn ask, const void *order, size_t size)
{
    struct worker *w = http_server_worker(r->server);
    struct ask_mail mail = {.request = r, .back = w, .ask = ask};
    LV_ASSERT(size <= sizeof mail.order);
    if (size > 0)
        memcpy(mail.order, order, size);
    api_gather_add(r); // so that it is not complete before all are asked
    for (int i = 0; i < w->crew->n_workers; i++) {
        api_gather_add(r);
        worker_post(w->crew->members[i], ask_asked, &mail, sizeof mail, 0);
    }
    api_gather_done(r);
}

struct list_order {
    enum broker_listing what;
    const struct broker_listed *only; // the request's: it waits
};

static void
list_on_worker(struct worker *w, const void *order, struct buf *part)
{
    const struct list_order *o = order;
    broker_list_only(w, o->what, o->only, part);
}

static void
parse_complete(struct api_request *r)
{
    json_drop_comma(&r->gathering);
    buf_append_u8(&r->gathering, ']');
    if (!r->has_failed && !r->gathering.failed)
        r->parsed = json_loadb((const char *)r->gathering.ptr, r->gathering.len, JSON_ALLOW_NUL, NULL);
    buf_reset(&r->gathering);
    if (r->parsed == NULL)
        api_no_memory(r);
    else
        r->listed(r);
}

void
api_gather_workers(struct api_request *r, enum broker_listing what, const struct broker_listed *only,
                   void (*listed)(struct api_request *r))
{
    r->listed = listed;
    r->gathered = parse_complete;
    r->listed_only = *only;
    struct list_order order = {.what = what, .only = &r->listed_only};
    buf_append_u8(&r->gathering, '[');
    api_ask_workers(r, list_on_worker, &order, sizeof order);
}

bool
api_answer_begin(struct api_request *r, struct api_answer *a)
{
    if (api_columns_parse(api_query_find(&r->query, "columns"), &a->columns) != 0) {
        api_error(r, 400, "bad_request", "more than %d columns, or one of more than %d names",
                  API_COLUMNS_MAX, API_COLUMN_DEPTH);
        return false;
    }
    api_out_init(&a->out, &r->out, &a->columns);
    return true;
}

void
api_reply_json(struct api_request *r, unsigned status, const json_t *value)
{
    struct api_answer a;
    buf_reset(&r->out);
    if (status >= 400)
        api_out_init(&a.out, &r->out, NULL);
    else if (!api_answer_begin(r, &a))
        return;
    api_out_json(&a.out, NULL, value);
    api_reply(r, status);
}
