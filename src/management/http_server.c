// http_server.c: libmicrohttpd in the loop of one crew member: reading requests, finding the handler, sending answers.
//
// The library's epoll descriptor is watched by libev; PHASE_READ runs the library, which calls `on_request` for each step of a
// request: first with the headers, then with parts of the body, at last without data: then the handler runs. A handler that has not
// answered leaves the connection suspended; api_reply resumes it and the library calls `on_request` once more.
#include "src/management/http_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/management/api.h"

// LIMIT: connections to the control socket, and seconds one may stay idle. One more ends the one that has been idle longest, so that
// nobody is kept out; when we are at work for all of them, so many more are let in.
enum { CONNECTIONS_MAX = 256, CONNECTIONS_MORE = 64, IDLE_SECONDS = 60 };

// A connection, from its start to its end.
struct api_connection {
    struct list node;            // api_server.connections: the longest without a sign of life first
    struct api_request *request; // NULL: between two
    int fd;                      // the library's
};

struct api_server {
    struct worker *worker;
    int64_t started_ms; // wall clock
    struct api_node node;
    struct MHD_Daemon *daemon;
    ev_io readable;       // the library's epoll descriptor
    ev_timer timeout;     // the library's own next time-out
    struct list requests; // struct api_request.node
    struct list connections;
    unsigned connection_count; // in that list, without those that are being ended
    bool is_due;               // the library has something to do
    char *socket_path;
    struct policy_matcher *matcher;
};

const struct api_node *
http_server_node(const struct api_server *s)
{
    return &s->node;
}

int64_t
http_server_started_ms(const struct api_server *s)
{
    return s->started_ms;
}

struct worker *
http_server_worker(const struct api_server *s)
{
    return s->worker;
}

struct policy_matcher *
http_server_matcher(const struct api_server *s)
{
    return s->matcher;
}

const char *
http_query(const struct api_request *r, const char *key)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *
http_header(const struct api_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

// --- connections ----------------------------------------------------------------------------------------------------------------

static struct api_connection *
connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void
connection_touch(struct api_server *s, struct api_connection *c, struct api_request *request)
{
    if (c == NULL)
        return; // there was no memory for it
    c->request = request;
    if (list_is_linked(&c->node)) {
        list_remove(&c->node);
        list_push_back(&s->connections, &c->node);
    }
}

// Ends the connection that has been idle longest: its client is silent, or does not read its answer.
static void
end_idlest(struct api_server *s)
{
    LV_LIST_EACH (it, &s->connections) {
        struct api_connection *c = LV_CONTAINER_OF(it, struct api_connection, node);
        if (c->request != NULL && c->request->is_handled && !c->request->is_answered)
            continue; // it waits for us
        list_remove(&c->node);
        s->connection_count--;
        (void)shutdown(c->fd, SHUT_RDWR); // the library sees the end, and closes it
        s->is_due = true;
        worker_keep_awake(s->worker);
        return;
    }
}

static void
on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    struct api_server *s = ctx;
    struct api_connection *c = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c != NULL && list_is_linked(&c->node)) {
            list_remove(&c->node);
            s->connection_count--;
        }
        mem_free(c);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    c = *socket_context = mem_calloc(1, sizeof *c);
    if (c == NULL || info == NULL)
        return;
    list_init(&c->node);
    c->fd = info->connect_fd;
    if (s->connection_count >= CONNECTIONS_MAX)
        end_idlest(s);
    list_push_back(&s->connections, &c->node);
    s->connection_count++;
}

// --- requests -----------------------------------------------------------------------------------------------------------------

static void
request_free(struct api_request *r)
{
    list_remove(&r->node);
    json_decref(r->json);
    json_decref(r->parsed);
    json_decref(r->kept);
    mem_free(r->exchange_counts);
    api_dry_run_free(r->dry_run);
    buf_fini(&r->body);
    buf_fini(&r->out);
    mem_free(r->path);
    mem_free(r);
}

static enum MHD_Result
send_answer(struct api_request *r)
{
    struct MHD_Response *response;
    if (r->out.failed) {
        static char text[] = "{\"error\":\"internal_error\",\"reason\":\"out of memory\"}";
        r->status = 500;
        response = MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_buffer(r->out.len, r->out.ptr, MHD_RESPMEM_MUST_COPY);
    }
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    if (r->message_count >= 0) {
        char count[24];
        snprintf(count, sizeof count, "%lld", (long long)r->message_count);
        MHD_add_response_header(response, "X-Message-Count", count);
    }
    enum MHD_Result result = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    return result;
}

// The control socket is the only Unix socket there is.
static bool
is_control_socket(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL && api_is_unix_socket(info->connect_fd);
}

static struct api_request *
request_begin(struct api_server *s, struct MHD_Connection *connection, const char *url, const char *method)
{
    struct api_request *r = mem_calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    list_init(&r->node);
    r->server = s;
    r->message_count = -1;
    r->connection = connection;
    r->is_control = is_control_socket(connection);
    static const struct {
        const char *name;
        enum api_method method;
    } methods[] = {
        {"GET", API_GET}, {"HEAD", API_GET}, {"PUT", API_PUT}, {"POST", API_POST}, {"DELETE", API_DELETE}};
    for (size_t i = 0; i < LV_ARRAY_LEN(methods); i++) {
        if (strcmp(method, methods[i].name) == 0)
            r->method = methods[i].method; // others have no bit: 405 on every path that is known
    }
    r->path = mem_xstrdup(url);
    list_push_back(&s->requests, &r->node);
    return r;
}

// Called by the library: once with the headers, then with each part of the body, then without data until an answer is queued.
static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
           const char *version, const char *data, size_t *data_len, void **request)
{
    struct api_server *s = ctx;
    struct api_request *r = *request;
    if (r == NULL && (r = *request = request_begin(s, connection, url, method)) == NULL)
        return MHD_NO;
    connection_touch(s, connection_of(connection), r);
    if (!r->is_begun) {
        r->is_begun = true;
        if (!api_split_path(r)) {
            r->is_handled = true;
            api_not_found(r);
        }
        return MHD_YES;
    }
    if (*data_len > 0) {
        if (r->body.len + *data_len > API_BODY_MAX) {
            buf_reset(&r->body);
            r->is_handled = true;
            if (!r->is_answered)
                api_error(r, 413, "payload_too_large", "the body is larger than %d bytes", API_BODY_MAX);
        } else {
            buf_append(&r->body, data, *data_len);
        }
        *data_len = 0;
        return MHD_YES;
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

static void
on_completed(void *ctx, struct MHD_Connection *connection, void **request,
             enum MHD_RequestTerminationCode code)
{
    connection_touch(ctx, connection_of(connection), NULL);
    if (*request != NULL)
        request_free(*request);
    *request = NULL;
}

// By default the library decodes %2F before paths are split.
static size_t
keep_escapes(void *ctx, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

void
api_reply(struct api_request *r, unsigned status)
{
    LV_ASSERT(!r->is_answered);
    r->is_answered = true;
    r->status = status;
    if (r->is_suspended) {
        MHD_resume_connection(r->connection);
        r->server->is_due = true;
        worker_keep_awake(r->server->worker);
    }
}

// --- the loop -----------------------------------------------------------------------------------------------------------------

static void
on_due(struct ev_loop *loop, struct ev_io *watcher, int events)
{
    ((struct api_server *)watcher->data)->is_due = true;
}

static void
on_timeout(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    ((struct api_server *)watcher->data)->is_due = true;
}

static bool
phase_read(struct worker *w, void *ctx)
{
    struct api_server *s = ctx;
    if (!s->is_due || s->daemon == NULL)
        return false;
    s->is_due = false;
    MHD_run(s->daemon);
    MHD_UNSIGNED_LONG_LONG ms;
    ev_timer_stop(w->loop, &s->timeout);
    if (MHD_get_timeout(s->daemon, &ms) == MHD_YES) {
        ev_timer_set(&s->timeout, (double)ms / 1000.0, 0);
        ev_timer_start(w->loop, &s->timeout);
    }
    return s->is_due;
}

static int
socket_open(const char *path, char **ret_error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[512];
    if (strlen(path) >= sizeof address.sun_path) {
        snprintf(text, sizeof text, "the control socket's path is longer than %zu bytes: %s",
                 sizeof address.sun_path - 1, path);
        *ret_error = mem_xstrdup(text);
        return -LE_INVAL;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // The data directory is locked by now: a socket file that is there was left by a broker that crashed.
    unlink(path);
    mode_t old = umask(0177);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);
    int saved = errno;
    umask(old);
    if (rc == 0 && (rc = listen(fd, 64)) != 0)
        saved = errno;
    if (rc != 0) {
        snprintf(text, sizeof text, "cannot open the control socket %s: %s", path, strerror(saved));
        *ret_error = mem_xstrdup(text);
        if (fd >= 0)
            close(fd);
        return err_from_errno(saved);
    }
    return fd;
}

int
http_server_start(struct crew *crew, const char *control_socket, const struct api_node *node,
                  struct api_server **ret, char **ret_error)
{
    *ret_error = NULL;
    int fd = socket_open(control_socket, ret_error);
    if (fd < 0)
        return fd;
    struct api_server *s = mem_xcalloc(1, sizeof(*s));
    s->worker = crew_extra_member(crew, CREW_HTTP);
    s->node = *node;
    s->started_ms = clock_wall_ms();
    s->socket_path = mem_xstrdup(control_socket);
    s->matcher = policy_matcher_new();
    list_init(&s->requests);
    list_init(&s->connections);
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                                 MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)(CONNECTIONS_MAX + CONNECTIONS_MORE),
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        s->daemon != NULL ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info == NULL || s->matcher == NULL) {
        *ret_error = mem_xstrdup("cannot start the HTTP server");
        if (s->daemon == NULL)
            close(fd);
        http_server_stop(s);
        return -LE_NOMEM;
    }
    ev_io_init(&s->readable, on_due, info->epoll_fd, EV_READ);
    ev_timer_init(&s->timeout, on_timeout, 0, 0);
    s->readable.data = s->timeout.data = s;
    ev_io_start(s->worker->loop, &s->readable);
    s->worker->extra_state = s;
    worker_add_hook(s->worker, PHASE_READ, phase_read, s);
    *ret = s;
    return 0;
}

void
http_server_stop(struct api_server *s)
{
    if (s == NULL)
        return;
    LV_LIST_EACH (it, &s->requests) {
        struct api_request *r = LV_CONTAINER_OF(it, struct api_request, node);
        if (r->is_suspended && !r->is_answered)
            MHD_resume_connection(r->connection); // the library wants none suspended when it stops
    }
    if (s->daemon != NULL)
        MHD_stop_daemon(s->daemon);
    if (s->socket_path != NULL)
        unlink(s->socket_path);
    mem_free(s->socket_path);
    policy_matcher_free(s->matcher);
    mem_free(s);
}
