// api_definitions.c: definitions files over the HTTP API: GET makes one, POST takes one, of the whole broker or of a vhost.
//
// A GET is a stream (definitions_export.h). The body of a POST is taken apart as it comes (definitions_import.h), as JSON or as the part
// "file" of a form; when it has ended and is good, it is carried out, and the answer waits for that. Ours: ?dry_run=true says what would be done
// (&format=text: in lines), ?mode=exact deletes what the file does not have (definitions_plan.h), of queues those that are empty and not in
// use, or with &force=true all.
#include <microhttpd.h>

#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/definitions_export.h"
#include "src/management/definitions_import.h"
#include "src/management/http_server.h"

// LIMIT: bytes of a file; the limit of other bodies (management.http.max_body_size) is not for what is not kept in memory.
#define FILE_BYTES_MAX (UINT64_C(4) << 30)
enum { FORM_BUFFER_BYTES = 64 * 1024 };

static bool
has_vhost(const struct api_request *r)
{
    return api_segment_count(r) > 2;
}

// --- out --------------------------------------------------------------------------------------------------------------------------

struct export_request {
    struct list node; // http_server_exports
    struct api_request *request;
    struct definitions_export *export;
    struct definitions_import *import; // of a plan
    bool is_for_deletions;             // the plan comes before the import
};

static void
export_request_free(void *state)
{
    struct export_request *e = state;
    list_remove(&e->node);
    definitions_export_free(e->export); // its thread has let go of the import
    definitions_import_free(e->import);
    mem_free(e);
}

// From the export's thread.
static void
wake_member(void *ctx)
{
    struct worker *w = ctx;
    ev_async_send(w->loop, &w->wake);
}

// What is there goes on its way.
static void
take_export(struct export_request *e)
{
    struct api_request *r = e->request;
    enum export_state state = definitions_export_take(e->export, &r->out);
    if (state == EXPORT_WAIT)
        return;
    if (state == EXPORT_FAILED)
        r->has_failed = true;
    if (state != EXPORT_MORE)
        r->produce = NULL;
    api_stream_ready(r);
}

static void run_exactly(struct export_request *e);

void
api_definitions_run(struct api_server *s)
{
    struct list *all = http_server_exports(s);
    for (struct list *it = all->next, *behind; it != all; it = behind) {
        struct export_request *e = LV_CONTAINER_OF(it, struct export_request, node);
        behind = it->next;
        if (e->is_for_deletions)
            run_exactly(e);
        else if (e->request->is_producing)
            take_export(e);
    }
}

static void
produce_export(struct api_request *r)
{
    take_export(r->state);
}

// The name for the browser's file: nothing that could mean something in a header.
static void
set_download(struct api_request *r)
{
    struct slice name = api_query_find(&r->query, "download");
    struct buf text = BUF_INIT;
    if (name.ptr == NULL || name.len == 0)
        return;
    buf_append_str(&text, "attachment; filename=");
    for (size_t i = 0; i < LV_MIN(name.len, (size_t)200); i++) {
        uint8_t c = name.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                        c == '.' || c == '-' || c == '_' || c == '@';
        buf_append_u8(&text, is_plain ? c : '_');
    }
    r->disposition = mem_xstrdup(buf_cstr(&text));
    buf_fini(&text);
}

// The request's state from now on, instead of what it was; NULL after answering 503, with the state as it was.
static struct export_request *
begin_export(struct api_request *r, const struct definitions_export_args *args)
{
    struct export_request *e = mem_calloc(1, sizeof *e);
    if (e != NULL)
        e->export = definitions_export_new(http_server_worker(r->server), args);
    if (e == NULL || e->export == NULL) {
        mem_free(e);
        api_error(r, 503, "service_unavailable", "too many exports and plans at once");
        return NULL;
    }
    e->request = r;
    list_init(&e->node);
    list_push_back(http_server_exports(r->server), &e->node);
    r->state = e;
    r->state_free = export_request_free;
    return e;
}

static void
get_definitions(struct api_request *r)
{
    const struct api_node *node = http_server_node(r->server);
    struct worker *w = http_server_worker(r->server);
    struct definitions_export_args args = {.vhost = has_vhost(r) ? api_segment(r, 2) : SLICE_EMPTY,
                                           .product_name = node->product_name,
                                           .product_version = node->product_version,
                                           .ready = wake_member,
                                           .ctx = w};
    if (has_vhost(r) && topology_vhost(api_topology(r), args.vhost) == NULL) {
        api_error(r, 400, "bad_request", "vhost_not_found");
        return;
    }
    if (begin_export(r, &args) == NULL)
        return;
    set_download(r);
    api_stream(r, produce_export);
}

// --- in ---------------------------------------------------------------------------------------------------------------------------

struct import_request {
    struct definitions_import *import;
    struct MHD_PostProcessor *form; // NULL: the body is the file
    bool has_file;                  // the form has one
    int error;                      // of feeding
};

static void
import_request_free(void *state)
{
    struct import_request *q = state;
    if (q->form != NULL)
        MHD_destroy_post_processor(q->form);
    definitions_import_free(q->import);
    mem_free(q);
}

static void
feed(struct import_request *q, struct slice bytes)
{
    if (q->error == 0)
        q->error = definitions_import_feed(q->import, bytes);
}

static enum MHD_Result
take_part(void *ctx, enum MHD_ValueKind kind, const char *key, const char *filename, const char *content_type,
          const char *transfer_encoding, const char *data, uint64_t offset, size_t size)
{
    struct import_request *q = ctx;
    if (key != NULL && strcmp(key, "file") == 0) {
        q->has_file = true;
        feed(q, slice_of(data, size));
    }
    return MHD_YES;
}

static void post_definitions(struct api_request *r);

bool
api_has_sink(const struct api_request *r)
{
    return r->route != NULL && r->route->handler == post_definitions;
}

// The type of the body: JSON, or a form with a file. The control socket's peers send nothing else.
static bool
is_form(const struct api_request *r)
{
    const char *type = http_header(r, "Content-Type");
    return type != NULL && strncasecmp(type, "multipart/form-data", 19) == 0;
}

static bool
is_json(const struct api_request *r)
{
    const char *type = http_header(r, "Content-Type");
    return type != NULL ? strncasecmp(type, "application/json", 16) == 0 : r->is_control;
}

void
api_sink_begin(struct api_request *r)
{
    struct definitions_import_args args = {.vhost = has_vhost(r) ? api_segment(r, 2) : SLICE_EMPTY,
                                           .user = r->user != NULL ? slice_str(r->user) : SLICE_EMPTY,
                                           .source = r->is_control ? "the control socket" : "the HTTP API",
                                           .data_dir = http_server_node(r->server)->data_dir,
                                           .rule = http_server_node(r->server)->password_rule};
    if (has_vhost(r) && topology_vhost(api_topology(r), args.vhost) == NULL) {
        api_error(r, 404, "not_found", "vhost_not_found");
        return;
    }
    if (!is_json(r) && !is_form(r)) {
        api_reply(r, 415);
        return;
    }
    struct import_request *q = mem_calloc(1, sizeof *q);
    if (q != NULL)
        q->import = definitions_import_new(http_server_definitions(r->server), &args);
    if (q == NULL || q->import == NULL) {
        mem_free(q);
        api_error(r, 503, "service_unavailable", "%d imports are under way", DEFINITIONS_IMPORTS_MAX);
        return;
    }
    r->state = q;
    r->state_free = import_request_free;
    if (!is_form(r))
        return;
    q->form = MHD_create_post_processor(r->connection, FORM_BUFFER_BYTES, take_part, q);
    if (q->form == NULL)
        api_error(r, 400, "bad_request", "the form has no boundary");
}

bool
api_sink_take(struct api_request *r, struct slice bytes)
{
    struct import_request *q = r->state;
    if (r->body_seen > FILE_BYTES_MAX)
        return false;
    if (q->form == NULL)
        feed(q, bytes);
    else if (q->error == 0 && MHD_post_process(q->form, (const char *)bytes.ptr, bytes.len) != MHD_YES)
        q->error = -LE_SYNTAX; // the rest is read and thrown away, so that the client reads why
    return true;
}

static bool
is_exact(const struct api_request *r)
{
    return slice_eq_str(api_query_find(&r->query, "mode"), "exact");
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

static void
put_reason(struct api_request *r, const json_t *reason)
{
    const char *text = json_string_value(reason);
    struct buf escaped = BUF_INIT;
    if (text != NULL && strncmp(text, "Validation failed", 17) == 0) {
        api_escape_html(&escaped, slice_str(text));
        json_put_string(&r->out, buf_slice(&escaped));
    } else if (json_dump_callback(reason, append_text, &r->out, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        r->out.failed = true;
    }
    buf_fini(&escaped);
}

// 400 {"error":"bad_request","reason":…}; when something was carried out, "applied" says what, and "section" and "element" where it ended;
// "detail" where JSON is malformed.
static void
reply_refused(struct api_request *r, const struct definitions_import *i)
{
    buf_reset(&r->out);
    buf_append_str(&r->out, "{\"error\":\"bad_request\",\"reason\":");
    put_reason(r, i->reason);
    if (i->scan.problem[0] != '\0')
        buf_printf(&r->out, ",\"detail\":\"%s\"", i->scan.problem);
    if (i->failed_section >= 0) {
        buf_append_str(&r->out, ",\"applied\":");
        definitions_import_put_applied(i, &r->out);
        buf_printf(&r->out, ",\"section\":\"%s\",\"element\":%u",
                   definitions_section_names[i->failed_section], i->failed_element);
    }
    buf_append_u8(&r->out, '}');
    api_reply(r, 400);
}

static void
imported(struct definitions_import *i)
{
    struct api_request *r = i->ctx;
    if (i->reason != NULL) {
        reply_refused(r, i);
    } else if (i->is_refused) {
        api_no_memory(r);
    } else if (is_exact(r)) {
        definitions_import_put(i, "done", &r->out);
        api_reply(r, 200);
    } else {
        api_reply(r, 204);
    }
}

// --- plans (ours): ?dry_run=true, ?mode=exact -------------------------------------------------------------------------------------------

// The plan of deletions has come to its end: the import begins.
static void
run_exactly(struct export_request *e)
{
    struct api_request *r = e->request;
    enum export_state state = definitions_export_take(e->export, &r->out);
    if (state == EXPORT_WAIT || state == EXPORT_MORE)
        return;
    int err = state == EXPORT_FAILED ? definitions_export_error(e->export) : 0;
    e->is_for_deletions = false;
    definitions_export_free(e->export);
    e->export = NULL;
    list_remove(&e->node);
    if (err != 0)
        api_error(r, 500, "internal_error", "the file cannot be compared: %s", err_text(err));
    else
        definitions_import_run(e->import, imported, r);
}

// The import passes from the request's state to that of the plan.
static void
begin_plan(struct api_request *r, bool is_dry)
{
    struct import_request *q = r->state;
    struct definitions_export_args args = {.import = q->import,
                                           .is_exact = is_exact(r),
                                           .is_forced = api_flag(r, "force"),
                                           .is_text =
                                               slice_eq_str(api_query_find(&r->query, "format"), "text"),
                                           .is_for_deletions = !is_dry,
                                           .ready = wake_member,
                                           .ctx = http_server_worker(r->server)};
    struct export_request *e = begin_export(r, &args);
    if (e == NULL)
        return;
    e->import = q->import;
    e->is_for_deletions = !is_dry;
    q->import = NULL;
    import_request_free(q);
    if (is_dry && args.is_text)
        r->content_type = "text/plain; charset=utf-8";
    if (is_dry)
        api_stream(r, produce_export);
}

static void
reply_error(struct api_request *r, struct import_request *q, int err)
{
    if (q->import->reason != NULL)
        reply_refused(r, q->import);
    else if (err == -LE_SYNTAX)
        api_error(r, 400, "bad_request", "failed_to_parse_json");
    else
        api_error(r, 500, "internal_error", "the file cannot be put aside: %s", err_text(err));
}

static void
post_definitions(struct api_request *r)
{
    struct import_request *q = r->state;
    LV_ASSERT(q != NULL);
    if (q->form != NULL) {
        if (MHD_destroy_post_processor(q->form) != MHD_YES && q->error == 0)
            q->error = -LE_SYNTAX;
        q->form = NULL;
        if (!q->has_file && q->error == 0)
            q->error = -LE_SYNTAX;
    } else if (q->error == 0 && json_scan_is_empty(&q->import->scan)) {
        api_reply(r, 204); // nothing to do
        return;
    }
    if (q->error == 0)
        q->error = definitions_import_end(q->import);
    bool is_dry = api_flag(r, "dry_run");
    if (q->error != 0)
        reply_error(r, q, q->error);
    else if (is_dry || is_exact(r))
        begin_plan(r, is_dry);
    else
        definitions_import_run(q->import, imported, r);
}

// What is being imported, and what was last.
static void
get_imports(struct api_request *r)
{
    definitions_queue_put(http_server_definitions(r->server), &r->out);
    api_reply(r, 200);
}

const struct api_route api_routes_definitions[] = {
    {API_GET, "/api/definitions", get_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/definitions/*", get_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/all-configuration", get_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_POST, "/api/definitions", post_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_POST, "/api/definitions/*", post_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_POST, "/api/all-configuration", post_definitions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/imports", get_imports, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
