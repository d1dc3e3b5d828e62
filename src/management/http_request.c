// http_request.c: a request from its first line to the end of its answer.
//
// The library calls in this order: `http_on_uri` with the request line; `http_on_request` with the headers: here it is decided whether
// the request is let in; then with parts of the body, at last without data: then the handler runs. A handler that has not answered
// leaves the connection suspended; api_reply resumes it and the library calls once more. A refused request's body is read and
// thrown away up to a bound, so that the client gets to read why. `http_on_completed` frees it.
//
// The console's files (console.h) are answered without any of this, to everybody.
//
// A suspended connection is not looked at by the library: whatever is under way for a request, the request is there when it comes back.
#include <stdio.h>
#include <xxhash.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/management/console.h"
#include "src/management/http_gzip.h"
#include "src/management/http_impl.h"
#include "src/management/metrics.h"

// LIMIT: time that the body of a request may take (one that is worked off as it comes: SINK_TIME_NS), bytes of a stream taken at once.
#define BODY_TIME_NS (UINT64_C(120) * 1000 * 1000 * 1000)
#define SINK_TIME_NS (UINT64_C(900) * 1000 * 1000 * 1000)
enum { STREAM_BLOCK = 32 * 1024 };

static void
request_free(struct api_request *r)
{
    api_channel_close(r);
    list_remove(&r->node);
    if (r->state_free != NULL)
        r->state_free(r->state);
    json_decref(r->json);
    json_decref(r->parsed);
    json_decref(r->kept);
    api_dry_run_free(r->dry_run);
    buf_fini(&r->body);
    buf_fini(&r->out);
    buf_fini(&r->gathering);
    buf_fini(&r->packed);
    http_gzip_free(r->gzip);
    mem_free(r->uri);
    mem_free(r->user);
    mem_free(r->location);
    mem_free(r->allow);
    mem_free(r->cookie);
    mem_free(r->disposition);
    mem_free(r);
}

const char *
http_header(const struct api_request *r, const char *name)
{
    return r->connection == NULL ? NULL : MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

// --- answers ------------------------------------------------------------------------------------------------------------------

static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
    // It fails for want of memory, and for bytes that no header may have: then it is left out.
    if (value != NULL && MHD_add_response_header(response, name, value) != MHD_YES)
        log_debug(LOG_HTTP, "HTTP answer: header %s left out", name);
}

// Pages of other origins may read the answer when the configuration says so; with the visitor's log-in only when it names them.
static void
add_cors(struct api_request *r, struct MHD_Response *response)
{
    const struct http_config *config = http_server_config(r->server);
    const char *origin = http_header(r, "Origin");
    bool is_named = false, is_any = false;
    char age[16];
    for (size_t i = 0; origin != NULL && i < config->cors_origin_count; i++) {
        is_any |= strcmp(config->cors_origins[i], "*") == 0;
        is_named |= strcmp(config->cors_origins[i], origin) == 0;
    }
    if (!is_named && !is_any)
        return;
    add_header(response, "Access-Control-Allow-Origin", is_named ? origin : "*");
    if (is_named)
        add_header(response, "Access-Control-Allow-Credentials", "true");
    if (r->method != API_OPTIONS_ASK)
        return;
    snprintf(age, sizeof age, "%u", config->cors_max_age_s);
    add_header(response, "Access-Control-Max-Age", age);
    add_header(response, "Access-Control-Allow-Methods", r->allow);
    add_header(response, "Access-Control-Allow-Headers", http_header(r, "Access-Control-Request-Headers"));
}

static void
add_count(struct MHD_Response *response, const char *name, int64_t count)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)count);
    if (count >= 0)
        add_header(response, name, text);
}

static void
add_headers(struct api_request *r, struct MHD_Response *response)
{
    if (r->is_stream || r->out.len > 0 || r->content_type != NULL)
        add_header(response, "Content-Type", r->content_type != NULL ? r->content_type : "application/json");
    if (r->gzip != NULL)
        add_header(response, "Content-Encoding", "gzip");
    add_header(response, "Cache-Control", "no-cache");
    add_header(response, "Vary", "accept, accept-encoding, origin");
    add_header(response, "X-Content-Type-Options", "nosniff");
    add_header(response, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    if (r->status < 400)
        add_header(response, "Location", r->location);
    add_header(response, "Allow", r->allow);
    add_header(response, "Set-Cookie", r->cookie);
    if (r->status == 200)
        add_header(response, "Content-Disposition", r->disposition);
    // Otherwise another log-in would be no use; and a page that logs in by itself wants no browser's question in between.
    if (r->status == 401 && r->user == NULL && !api_is_of_console(r))
        add_header(response, "WWW-Authenticate", "Basic realm=\"RabbitMQ Management\"");
    if (r->status == 429)
        add_header(response, "Retry-After", "10");
    add_count(response, "X-Message-Count", r->message_count);
    add_count(response, "X-Total-Count", r->total_count);
    add_cors(r, response);
}

// Packs what was made of a stream, or all of an answer; the last piece when nothing more comes.
static void
pack(struct api_request *r)
{
    buf_reset(&r->packed);
    http_gzip_add(r->gzip, buf_slice(&r->out), r->produce == NULL ? HTTP_GZIP_LAST : HTTP_GZIP_MORE,
                  &r->packed);
    r->has_failed |= r->packed.failed;
    r->packed_bytes += r->packed.len;
    buf_reset(&r->out);
    r->is_unpacked = false;
}

static ssize_t
read_stream(void *ctx, uint64_t position, char *to, size_t max)
{
    struct api_request *r = ctx;
    for (;;) {
        if (r->is_unpacked && !r->is_producing)
            pack(r);
        const struct buf *from = r->gzip != NULL ? &r->packed : &r->out;
        size_t left = from->len - r->out_at;
        if (r->has_failed || r->out.failed)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (left > 0) {
            size_t n = LV_MIN(left, max);
            memcpy(to, from->ptr + r->out_at, n);
            r->out_at += n;
            return (ssize_t)n;
        }
        if (r->produce == NULL)
            return MHD_CONTENT_READER_END_OF_STREAM;
        buf_reset(&r->out);
        buf_reset(&r->packed);
        r->out_at = 0;
        r->is_producing = true;
        r->is_unpacked = r->gzip != NULL;
        r->produce(r);
        if (r->is_producing) {
            r->is_suspended = true;
            MHD_suspend_connection(r->connection);
            return 0;
        }
    }
}

static struct MHD_Response *
make_response(struct api_request *r)
{
    static char no_memory[] = "{\"error\":\"internal_error\",\"reason\":\"out of memory\"}";
    if (r->is_stream)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, r, NULL);
    if (r->out.failed) {
        r->status = 500;
        return MHD_create_response_from_buffer(sizeof no_memory - 1, no_memory, MHD_RESPMEM_PERSISTENT);
    }
    if (r->gzip != NULL) {
        pack(r);
        if (!r->has_failed)
            return MHD_create_response_from_buffer(r->packed.len, r->packed.ptr, MHD_RESPMEM_PERSISTENT);
        return NULL;
    }
    // The request outlives its answer.
    return MHD_create_response_from_buffer(r->out.len, r->out.ptr, MHD_RESPMEM_PERSISTENT);
}

// A whole answer to a GET has a tag; who has that answer already is told so.
static void
add_tag(struct api_request *r, struct MHD_Response **response)
{
    char tag[24];
    const char *have = http_header(r, "If-None-Match");
    if (r->method != API_GET || r->is_stream || r->status != 200 || r->is_control || r->is_metrics)
        return;
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)r->digest);
    if (have != NULL && strcmp(have, tag) == 0) {
        MHD_destroy_response(*response);
        r->status = 304;
        *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        buf_reset(&r->out);
        http_gzip_free(r->gzip);
        r->gzip = NULL;
    }
    if (*response != NULL)
        add_header(*response, "ETag", tag);
}

// LIMIT: a whole answer below this goes as it is: there is nothing to win.
enum { PACK_LEAST_BYTES = 1024 };

// Who takes it gets long answers packed; not over the control socket, where it would only cost time. Without memory it goes as it is.
static void
choose_packing(struct api_request *r)
{
    if (!r->is_stream && r->out.len > 0)
        r->digest = XXH3_64bits(r->out.ptr, r->out.len);
    if (r->is_control || (!r->is_stream && (r->out.len < PACK_LEAST_BYTES || r->out.failed)) ||
        !http_gzip_is_accepted(http_header(r, "Accept-Encoding")))
        return;
    r->gzip = http_gzip_new();
    r->is_unpacked = r->gzip != NULL;
}

// --- the console ----------------------------------------------------------------------------------------------------------------

static void
add_file_headers(const struct api_request *r, struct MHD_Response *response, bool is_gzip)
{
    static const char *const headers[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Vary", "accept-encoding"},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(headers); i++)
        add_header(response, headers[i][0], headers[i][1]);
    add_header(response, "Content-Type", r->file->content_type);
    add_header(response, "Content-Security-Policy", console_csp);
    add_header(response, "ETag", r->file->tag);
    add_header(response, "Cache-Control",
               r->file->is_immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (is_gzip)
        add_header(response, "Content-Encoding", "gzip");
}

static enum MHD_Result
send_file(struct api_request *r)
{
    const struct console_file *f = r->file;
    const char *have = http_header(r, "If-None-Match");
    bool is_gzip = http_gzip_is_accepted(http_header(r, "Accept-Encoding")),
         is_there = have != NULL && strcmp(have, f->tag) == 0;
    size_t size = is_there ? 0 : is_gzip ? f->gzip_size : f->plain_size;
    // The library only reads them.
    void *bytes = (void *)(uintptr_t)(is_gzip ? f->gzip : f->plain);
    struct MHD_Response *response = MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    add_file_headers(r, response, is_gzip && !is_there);
    enum MHD_Result result = MHD_queue_response(r->connection, is_there ? 304 : 200, response);
    MHD_destroy_response(response);
    return result;
}

// Is it for a file of the console? Then that is the answer. The folder's name without its slash leads to the one with it.
static bool
take_console(struct api_request *r)
{
    const char *prefix = http_server_config(r->server)->path_prefix;
    size_t len = strcspn(r->uri, "?");
    if (r->is_control || r->method != API_GET)
        return false;
    if (len == 0 && prefix != NULL) {
        struct buf location = BUF_INIT;
        buf_printf(&location, "%s/", prefix);
        r->location = mem_xstrdup(buf_cstr(&location));
        buf_fini(&location);
        api_reply(r, 301);
        return true;
    }
    r->file = console_find(slice_of(r->uri, len));
    if (r->file != NULL)
        api_reply(r, 200);
    return r->file != NULL;
}

static enum MHD_Result
send_answer(struct api_request *r)
{
    if (r->file != NULL)
        return send_file(r);
    choose_packing(r);
    struct MHD_Response *response = make_response(r);
    if (response == NULL)
        return MHD_NO;
    add_tag(r, &response);
    if (response == NULL)
        return MHD_NO;
    add_headers(r, response);
    enum MHD_Result result = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    return result;
}

static void
resume(struct api_request *r)
{
    if (!r->is_suspended)
        return;
    r->is_suspended = false;
    MHD_resume_connection(r->connection);
    http_server_wake(r->server);
}

void
api_reply(struct api_request *r, unsigned status)
{
    LV_ASSERT(!r->is_answered);
    r->is_answered = true;
    r->status = status;
    resume(r);
}

void
api_stream_ready(struct api_request *r)
{
    LV_ASSERT(r->is_producing);
    r->is_producing = false;
    resume(r);
}

// --- letting in ---------------------------------------------------------------------------------------------------------------

void *
http_on_uri(void *ctx, const char *uri, struct MHD_Connection *connection)
{
    struct http_listener *l = ctx;
    struct api_request *r = mem_calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    list_init(&r->node);
    r->server = l->server;
    r->message_count = r->total_count = -1;
    r->connection = connection;
    r->is_control = l == &l->server->listeners[LISTENER_CONTROL];
    r->is_metrics = l == &l->server->listeners[LISTENER_METRICS];
    r->uri = mem_xstrdup(uri);
    list_push_back(&l->server->requests, &r->node);
    return r;
}

static void
set_method(struct api_request *r, const char *method)
{
    static const struct {
        const char *name;
        enum api_method method;
    } methods[] = {{"GET", API_GET},   {"HEAD", API_GET},      {"PUT", API_PUT},
                   {"POST", API_POST}, {"DELETE", API_DELETE}, {"OPTIONS", API_OPTIONS_ASK}};
    for (size_t i = 0; i < LV_ARRAY_LEN(methods); i++) {
        if (strcmp(method, methods[i].name) == 0)
            r->method = methods[i].method; // others have no bit: 405 on every path that is known
    }
    r->is_head = strcmp(method, "HEAD") == 0;
}

// A proxy in front may put something before "/api".
static bool
strip_prefix(struct api_request *r)
{
    const char *prefix = http_server_config(r->server)->path_prefix;
    size_t len = prefix != NULL && !r->is_control ? strlen(prefix) : 0;
    if (len == 0)
        return true;
    if (strncmp(r->uri, prefix, len) != 0 || (r->uri[len] != '/' && r->uri[len] != '\0'))
        return false;
    memmove(r->uri, r->uri + len, strlen(r->uri + len) + 1);
    return true;
}

static bool
accepts_json(const struct api_request *r)
{
    const char *accept = http_header(r, "Accept");
    return accept == NULL || accept[0] == '\0' || strstr(accept, "*/*") != NULL ||
           strstr(accept, "application/json") != NULL || strstr(accept, "application/*") != NULL;
}

// Decides by the headers alone whether the request comes to its handler; otherwise it is answered.
static void
let_in(struct api_request *r, const char *method)
{
    set_method(r, method);
    if (r->is_metrics) {
        metrics_let_in(r, method);
        r->is_handled = r->is_answered;
        return;
    }
    bool is_ours = strip_prefix(r);
    if (is_ours && take_console(r)) {
        r->is_handled = true;
        return;
    }
    int err = is_ours ? api_query_parse(r->uri, &r->query) : -LE_NOTFOUND;
    if (err == -LE_NOTFOUND)
        api_not_found(r);
    else if (err != 0)
        api_error(r, 400, "bad_request", "the path or the query is malformed or has too many parts");
    else if (api_find_route(r) && (r->is_control || r->route->access == API_FOR_ALL || api_log_in(r)) &&
             api_check_access(r) && r->route->access != API_FOR_ALL && !accepts_json(r))
        api_reply(r, 406);
    if (!r->is_answered && api_has_sink(r))
        api_sink_begin(r);
    r->is_handled = r->is_answered;
}

static size_t
body_max(const struct api_request *r)
{
    return r->is_control ? API_BODY_MAX : http_server_config(r->server)->body_bytes_max;
}

// False: the client goes on and on.
static bool
take_body(struct api_request *r, const char *data, size_t len)
{
    r->body_seen += len;
    if (clock_mono_ns() - r->begun_ns > (api_has_sink(r) ? SINK_TIME_NS : BODY_TIME_NS))
        return false;
    if (!r->is_answered && api_has_sink(r))
        return api_sink_take(r, slice_of(data, len));
    if (r->is_answered)
        return r->body_seen <= API_BODY_DISCARD_MAX + body_max(r);
    if (r->body.len + len > body_max(r)) {
        buf_fini(&r->body);
        r->is_handled = true;
        api_error(r, 413, "payload_too_large", "the body is larger than %zu bytes", body_max(r));
    } else {
        buf_append(&r->body, data, len);
    }
    return true;
}

enum MHD_Result
http_on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                const char *version, const char *data, size_t *data_len, void **request)
{
    struct api_request *r = *request;
    if (r == NULL)
        return MHD_NO; // there was no memory for it
    http_connection_touch(http_connection_of(connection), r);
    if (!r->is_begun) {
        r->is_begun = true;
        r->begun_ns = clock_mono_ns();
        let_in(r, method);
        return MHD_YES;
    }
    if (*data_len > 0) {
        bool goes_on = take_body(r, data, *data_len);
        *data_len = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    if (!r->is_handled && r->body.failed) {
        r->is_handled = true;
        api_no_memory(r);
    }
    if (!r->is_handled)
        api_dispatch(r);
    if (r->is_answered)
        return send_answer(r);
    if (!r->is_suspended) {
        r->is_suspended = true;
        MHD_suspend_connection(connection);
    }
    return MHD_YES;
}

// The library tells of the end of a request only once its headers were right.
void
http_connection_ended(struct api_server *s, struct MHD_Connection *connection)
{
    struct list *at = s->requests.next;
    while (at != &s->requests) {
        struct api_request *r = LV_CONTAINER_OF(at, struct api_request, node);
        at = at->next;
        if (r->connection == connection)
            request_free(r);
    }
}

void
http_on_completed(void *ctx, struct MHD_Connection *connection, void **request,
                  enum MHD_RequestTerminationCode code)
{
    http_connection_touch(http_connection_of(connection), NULL);
    if (*request != NULL)
        request_free(*request);
    *request = NULL;
}
