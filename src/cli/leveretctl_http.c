// leveretctl_http.c: requests to the broker's control socket or HTTP API with libcurl, and what is told when nobody answers.
//
// The socket's path: --socket, LEVERET_SOCKET, LEVERET_DATA_DIR/control.sock, /var/lib/leveret/control.sock if it is there, and
// ./build/data/control.sock (./dev run).
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_value.h"

// LIMIT: bytes of an answer, segments of a path, seconds without -t.
enum { ANSWER_BYTES_MAX = 1 << 30, SEGMENTS_MAX = 12, TIMEOUT_S = 60, FILE_TIMEOUT_S = 900 };

struct ctl_http {
    CURL *curl;
    struct buf body;
    int64_t messages;
    FILE *upload, *download; // of the request under way
    bool has_failed_writing;
    char error[CURL_ERROR_SIZE];
};

static size_t
on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct ctl_http *h = ctx;
    long status = 0;
    if (h->download != NULL && curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status == 200) {
        size_t written = fwrite(data, 1, size * count, h->download);
        h->has_failed_writing |= written < size * count;
        return written;
    }
    if (h->body.len + size * count > ANSWER_BYTES_MAX)
        return 0;
    buf_append(&h->body, data, size * count);
    return h->body.failed ? 0 : size * count;
}

static size_t
on_upload(char *to, size_t size, size_t count, void *ctx)
{
    struct ctl_http *h = ctx;
    size_t n = fread(to, 1, size * count, h->upload);
    return ferror(h->upload) ? CURL_READFUNC_ABORT : n;
}

static size_t
on_header(char *data, size_t size, size_t count, void *ctx)
{
    static const char name[] = "x-message-count:";
    struct ctl_http *h = ctx;
    size_t len = size * count;
    size_t i = 0;
    while (i < sizeof name - 1 && i < len && tolower((unsigned char)data[i]) == name[i])
        i++;
    if (i == sizeof name - 1) {
        int64_t value = 0;
        for (; i < len; i++) {
            if (data[i] >= '0' && data[i] <= '9' && value < INT64_MAX / 10 - 9)
                value = value * 10 + (data[i] - '0');
        }
        h->messages = value;
    }
    return len;
}

// Characters that stay as they are in a path: the unreserved ones. A segment of dots only would be taken for a step up or down.
static void
put_segment(struct buf *url, const char *segment)
{
    bool is_dots = segment[strspn(segment, ".")] == '\0';
    buf_append_u8(url, '/');
    for (const unsigned char *p = (const unsigned char *)segment; *p != '\0'; p++) {
        if (isalnum(*p) || *p == '-' || *p == '_' || *p == '~' || (*p == '.' && !is_dots))
            buf_append_u8(url, *p);
        else
            buf_printf(url, "%%%02X", *p);
    }
}

static struct ctl_http *
http_of(struct ctl *c)
{
    if (c->http == NULL) {
        c->http = mem_xcalloc(1, sizeof *c->http);
        c->http->curl = curl_easy_init();
        LV_ASSERT(c->http->curl != NULL);
    }
    return c->http;
}

static void
answer_clear(struct ctl_answer *a)
{
    json_decref(a->json);
    *a = (struct ctl_answer){.messages = -1};
}

static void
set_target(const struct ctl *c, CURL *curl)
{
    const struct ctl_options *o = &c->options;
    if (!c->target.is_http) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
        return;
    }
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, c->target.user);
    curl_easy_setopt(curl, CURLOPT_PASSWORD, c->target.password);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (o->ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, o->ca_file);
    if (o->certificate_file != NULL)
        curl_easy_setopt(curl, CURLOPT_SSLCERT, o->certificate_file);
    if (o->key_file != NULL)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, o->key_file);
    if (o->is_insecure) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

// Files may be large.
static int64_t
timeout_of(const struct ctl *c, bool is_file)
{
    return c->options.timeout_s >= 0 ? c->options.timeout_s : is_file ? FILE_TIMEOUT_S : TIMEOUT_S;
}

static CURLcode
perform(struct ctl *c, const char *method, const char *url, const char *body)
{
    struct ctl_http *h = http_of(c);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (h->upload != NULL)
        headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
    int64_t timeout_s = timeout_of(c, h->upload != NULL || h->download != NULL);
    buf_reset(&h->body);
    h->error[0] = '\0';
    h->messages = -1;
    curl_easy_reset(h->curl);
    set_target(c, h->curl);
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)LV_MIN(timeout_s, 1000000) * 1000L); // 0: no limit
    if (h->upload != NULL) {
        curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(h->curl, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(h->curl, CURLOPT_READDATA, h);
    } else if (body != NULL || strcmp(method, "POST") == 0) {
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body != NULL ? body : "");
    }
    CURLcode code = curl_easy_perform(h->curl);
    curl_slist_free_all(headers);
    return code;
}

// The path of segments as a URL, and the request.
static CURLcode
request(struct ctl *c, const char *method, json_t *body, const char *const *segments, const char *query)
{
    if (c->target.is_http && c->target.password == NULL &&
        (c->target.password = ctl_read_password(c, c->err)) == NULL) {
        snprintf(http_of(c)->error, CURL_ERROR_SIZE,
                 "no password: see --password-file and LEVERET_PASSWORD_FILE");
        json_decref(body);
        return CURLE_LOGIN_DENIED;
    }
    struct buf url = BUF_INIT;
    char *text = body != NULL ? ctl_json_text(body) : NULL;
    json_decref(body);
    answer_clear(&c->answer);
    buf_printf(&url, "%s/api", c->target.base);
    for (size_t i = 0; segments[i] != NULL; i++)
        put_segment(&url, segments[i]);
    if (query != NULL)
        buf_printf(&url, "?%s", query);
    CURLcode code = perform(c, method, buf_cstr(&url), text);
    if (code == CURLE_OK) {
        struct ctl_http *h = c->http;
        curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &c->answer.status);
        c->answer.messages = h->messages;
        if (h->body.len > 0)
            c->answer.json = json_loadb((const char *)h->body.ptr, h->body.len, JSON_DECODE_ANY, NULL);
    }
    if (text != NULL)
        mem_wipe(text, strlen(text)); // it may be a password
    mem_free(text);
    buf_fini(&url);
    return code;
}

int
ctl_call_path(struct ctl *c, const char *method, json_t *body, const char *const *segments)
{
    const char *query = c->query;
    FILE *upload = c->upload, *download = c->download;
    c->query = NULL;
    c->upload = c->download = NULL;
    // With -n the request must not reach another node: that is asked first.
    if (c->options.node != NULL && c->overview == NULL) {
        int status = ctl_overview(c);
        if (status != 0) {
            json_decref(body);
            return status;
        }
    }
    struct ctl_http *h = http_of(c);
    h->upload = upload;
    h->download = download;
    h->has_failed_writing = false;
    CURLcode code = request(c, method, body, segments, query);
    h->upload = h->download = NULL;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return ctl_timed_out(c, timeout_of(c, upload != NULL || download != NULL));
    if (code != CURLE_OK && h->has_failed_writing)
        return ctl_fail(c, CTL_UNAVAILABLE, "cannot write the file");
    return code == CURLE_OK ? 0 : ctl_unreachable(c);
}

int
ctl_call(struct ctl *c, const char *method, json_t *body, ...)
{
    const char *segments[SEGMENTS_MAX + 1];
    size_t count = 0;
    va_list ap;
    va_start(ap, body);
    while ((segments[count] = va_arg(ap, const char *)) != NULL) {
        LV_ASSERT(count < SEGMENTS_MAX);
        count++;
    }
    va_end(ap);
    return ctl_call_path(c, method, body, segments);
}

int
ctl_get(struct ctl *c, ...)
{
    const char *segments[SEGMENTS_MAX + 1];
    size_t count = 0;
    va_list ap;
    va_start(ap, c);
    while ((segments[count] = va_arg(ap, const char *)) != NULL) {
        LV_ASSERT(count < SEGMENTS_MAX);
        count++;
    }
    va_end(ap);
    int status = ctl_call_path(c, "GET", NULL, segments);
    if (status != 0)
        return status;
    if (c->answer.status != 200)
        return ctl_refused(c);
    if (c->answer.json == NULL)
        return ctl_fail(c, CTL_UNAVAILABLE, "the broker's answer is not JSON");
    return 0;
}

// What a PUT would take away because it does not say it.
static json_t *
merged(json_t *body, const json_t *existing)
{
    static const char *const kept[] = {"tags", "description", "default_queue_type", "tracing"};
    static const char *const hash[] = {"password_hash", "hashing_algorithm"};
    for (size_t i = 0; i < LV_ARRAY_LEN(kept); i++) {
        json_t *value = json_object_get(existing, kept[i]);
        if (value != NULL && json_object_get(body, kept[i]) == NULL)
            json_object_set(body, kept[i], value);
    }
    bool is_password =
        json_object_get(body, "password") != NULL || json_object_get(body, "password_hash") != NULL;
    for (size_t i = 0; i < LV_ARRAY_LEN(hash); i++) {
        json_t *value = json_object_get(existing, hash[i]);
        if (value != NULL && !is_password)
            json_object_set(body, hash[i], value);
    }
    return body;
}

// As the broker says it when it is asked to change only what is new, or what is there.
static void
set_answer(struct ctl *c, long status, const char *collection, const char *name, const char *what)
{
    answer_clear(&c->answer);
    c->answer.status = status;
    bool is_user = strcmp(collection, "users") == 0;
    c->answer.json = json_pack("{s:o}", "reason",
                               json_sprintf("%s \"%s\" %s", is_user ? "User" : "Virtual host", name, what));
}

int
ctl_put_only(struct ctl *c, const char *only, json_t *body, const char *collection, const char *name)
{
    bool is_new = strcmp(only, "new") == 0;
    if (!c->target.is_http) {
        json_object_set_new(body, "only", json_string(only));
        return ctl_call(c, "PUT", body, collection, name, NULL);
    }
    int status = ctl_call(c, "GET", NULL, collection, name, NULL);
    if (status != 0 || (c->answer.status != 200 && c->answer.status != 404)) {
        json_decref(body);
        return status;
    }
    bool is_there = c->answer.status == 200;
    if (is_there == is_new) {
        json_decref(body);
        set_answer(c, is_new ? 400 : 404, collection, name, is_new ? "already exists" : "does not exist");
        return 0;
    }
    return ctl_call(c, "PUT", is_there ? merged(body, c->answer.json) : body, collection, name, NULL);
}

int
ctl_authenticate(struct ctl *c, const char *user, const char *password)
{
    static const char *const whoami[] = {"whoami", NULL};
    if (!c->target.is_http)
        return ctl_call(c, "POST", json_pack("{s:s}", "password", password), "users", user, "authenticate",
                        NULL);
    struct ctl_target own = c->target;
    c->target.user = (char *)(uintptr_t)user;
    c->target.password = (char *)(uintptr_t)password;
    CURLcode code = request(c, "GET", NULL, whoami, NULL);
    c->target = own;
    if (code != CURLE_OK)
        return ctl_unreachable(c);
    // Without a management tag the API is closed, but the password was the right one.
    bool is_let_in = c->answer.status == 200 || strstr(ctl_reason(c), "management user") != NULL;
    if (is_let_in) {
        c->answer.status = 200;
    } else if (c->answer.status == 401) {
        answer_clear(&c->answer);
        c->answer.status = 401;
        c->answer.json = json_pack("{s:o}", "reason", json_sprintf("user '%s' - invalid credentials", user));
    }
    return 0;
}

// --- the node -----------------------------------------------------------------------------------------------------------------

static const char *const overview_path[] = {"overview", NULL};

static void
keep_overview(struct ctl *c)
{
    const char *node = json_string_value(json_object_get(c->answer.json, "node"));
    if (node == NULL)
        return;
    json_decref(c->overview);
    c->overview = json_incref(c->answer.json);
    mem_free(c->node);
    c->node = mem_xstrdup(node);
}

bool
ctl_is_reachable(struct ctl *c)
{
    json_decref(c->overview);
    c->overview = NULL;
    if (request(c, "GET", NULL, overview_path, NULL) == CURLE_OK && c->answer.status == 200)
        keep_overview(c);
    return c->overview != NULL;
}

// -n NAME without a host means NAME@ whatever host the broker is on.
static bool
is_node(const char *asked, const char *node)
{
    size_t len = strlen(asked);
    return strcmp(asked, node) == 0 ||
           (strchr(asked, '@') == NULL && strncmp(asked, node, len) == 0 && node[len] == '@');
}

bool
ctl_is_right_node(const struct ctl *c)
{
    const char *node = json_string_value(json_object_get(c->overview, "node"));
    return c->options.node == NULL || (node != NULL && is_node(c->options.node, node));
}

int
ctl_overview(struct ctl *c)
{
    if (c->overview == NULL) {
        if (!ctl_is_reachable(c))
            return ctl_unreachable(c);
    }
    return ctl_is_right_node(c) ? 0 : ctl_unreachable(c);
}

const json_t *
ctl_overview_member(struct ctl *c, const char *key)
{
    return json_object_get(c->overview, key);
}

const char *
ctl_node(struct ctl *c)
{
    char host[256] = "localhost";
    if (c->node == NULL && c->target.is_http && !ctl_is_reachable(c))
        c->node = mem_xstrdup(c->target.base);
    if (c->node != NULL && (c->options.node == NULL || is_node(c->options.node, c->node)))
        return c->node;
    if (c->options.node == NULL && ctl_is_reachable(c))
        return c->node;
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    const char *asked = c->options.node != NULL ? c->options.node : "rabbit";
    struct buf name = BUF_INIT;
    buf_printf(&name, strchr(asked, '@') != NULL ? "%s" : "%s@%s", asked, host);
    mem_free(c->node);
    c->node = mem_xstrdup(buf_cstr(&name));
    buf_fini(&name);
    return c->node;
}

// What is the matter with the socket, in a sentence.
static void
put_diagnosis(struct buf *out, struct ctl *c)
{
    struct stat st;
    const char *error = c->http != NULL ? c->http->error : "";
    if (c->overview != NULL)
        buf_printf(out, "the broker there is node '%s'",
                   json_string_value(json_object_get(c->overview, "node")));
    else if (c->target.is_http && c->answer.status > 0)
        buf_printf(out, "it answers, with HTTP status %ld: %s (user '%s')", c->answer.status, ctl_reason(c),
                   c->target.user);
    else if (c->target.is_http)
        buf_printf(out, "%s", error[0] != '\0' ? error : "nobody answers");
    else if (stat(c->socket, &st) != 0)
        buf_printf(out, "the socket cannot be found: %s", strerror(errno));
    else if (!S_ISSOCK(st.st_mode))
        buf_append_str(out, "this is not a socket");
    else if (access(c->socket, R_OK | W_OK) != 0)
        buf_append_str(out,
                       "permission denied: run leveretctl as the user that leveretd runs as, or as root");
    else
        buf_printf(out, "the socket is there, but nobody answers%s%s", error[0] != '\0' ? ": " : "", error);
}

static const char reasons_of_socket[] =
    " * Target node is not running\n"
    " * Its data directory is another one: see --socket, LEVERET_SOCKET and LEVERET_DATA_DIR\n"
    " * The socket may only be used by the user that leveretd runs as, and by root\n";

static const char reasons_of_http[] =
    " * Target node is unreachable (e.g. due to hostname resolution, TCP connection or firewall issues)\n"
    " * The HTTP API is on another port or address: see management.tcp.port and management.tcp.ip\n"
    " * User name or password are wrong, or the user has no management tag\n"
    " * The user is guest, and the call does not come from the broker's own machine: see loopback_users\n";

int
ctl_unreachable(struct ctl *c)
{
    struct buf diagnosis = BUF_INIT;
    put_diagnosis(&diagnosis, c);
    json_decref(c->overview);
    c->overview = NULL;
    const char *node = c->options.node != NULL ? c->options.node : ctl_node(c);
    fflush(c->out);
    fprintf(c->err,
            "Error: unable to perform an operation on node '%s'. Please see diagnostics information and "
            "suggestions below.\n"
            "\n"
            "Most common reasons for this are:\n"
            "\n%s"
            "\n"
            "DIAGNOSTICS\n"
            "===========\n"
            "\n"
            "attempted to contact: [%s]\n"
            "\n"
            "%s:\n"
            "  * %s: %s\n"
            "  * %s\n"
            "\n",
            node, c->target.is_http ? reasons_of_http : reasons_of_socket, node, node,
            c->target.is_http ? "HTTP API" : "control socket", c->target.is_http ? c->target.base : c->socket,
            buf_cstr(&diagnosis));
    buf_fini(&diagnosis);
    return CTL_UNAVAILABLE;
}

void
ctl_http_free(struct ctl *c)
{
    answer_clear(&c->answer);
    json_decref(c->overview);
    json_decref(c->consumers);
    mem_free(c->node);
    ctl_target_fini(&c->target);
    mem_free(c->socket);
    mem_free(c->data_dir);
    if (c->http == NULL)
        return;
    curl_easy_cleanup(c->http->curl);
    buf_fini(&c->http->body);
    mem_free(c->http);
}
