// http_server.c: libmicrohttpd in the loop of one crew member: listeners, connections, the loop.
//
// Each listener has a daemon of the library, whose epoll descriptor is watched by libev; PHASE_READ runs them. Requests are
// http_request.c's.
#include "src/management/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/policy.h"
#include "src/management/definitions_import.h"
#include "src/management/http_impl.h"

// LIMIT: connections to a listener, and seconds one may stay idle. One more ends the one that has been idle longest, so that
// nobody is kept out; when we are at work for all of them, so many more are let in. Bytes of memory of a connection: request line,
// headers and what is under way must fit.
enum { CONNECTIONS_MAX = 256, CONNECTIONS_MORE = 64, IDLE_SECONDS = 60, CONNECTION_BYTES = 64 * 1024 };

const struct api_node *
http_server_node(const struct api_server *s)
{
    return &s->node;
}

const struct http_config *
http_server_config(const struct api_server *s)
{
    return &s->config;
}

struct api_auth *
http_server_auth(const struct api_server *s)
{
    return s->auth;
}

struct api_tokens *
http_server_tokens(const struct api_server *s)
{
    return s->tokens;
}

struct policy_matcher *
http_server_matcher(const struct api_server *s)
{
    return s->matcher;
}

struct api_totals *
http_server_totals(const struct api_server *s)
{
    return s->totals;
}

struct definitions_queue *
http_server_definitions(const struct api_server *s)
{
    return s->definitions;
}

struct list *
http_server_exports(struct api_server *s)
{
    return &s->exports;
}

struct api_exchange_stats *
http_server_exchange_stats(const struct api_server *s)
{
    return s->exchange_stats;
}

struct metrics_memory *
http_server_metrics(struct api_server *s, size_t **ret_bytes)
{
    *ret_bytes = &s->metrics_bytes;
    return &s->metrics;
}

size_t *
http_server_list_bytes(struct api_server *s)
{
    return &s->list_bytes;
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

void
http_peer(const struct api_request *r, char *text, size_t size, uint16_t *ret_port, bool *ret_is_loopback)
{
    const union MHD_ConnectionInfo *info =
        r->connection == NULL ? NULL
                              : MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info != NULL ? info->client_addr : NULL;
    snprintf(text, size, "?");
    *ret_port = 0;
    *ret_is_loopback = r->is_control;
    if (sa != NULL && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        (void)inet_ntop(AF_INET, &in->sin_addr, text, (socklen_t)size);
        *ret_port = ntohs(in->sin_port);
        *ret_is_loopback = (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    } else if (sa != NULL && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, in6->sin6_addr.s6_addr + (is_v4 ? 12 : 0), text,
                        (socklen_t)size);
        *ret_port = ntohs(in6->sin6_port);
        *ret_is_loopback = is_v4 ? in6->sin6_addr.s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
}

void
http_server_wake(struct api_server *s)
{
    s->is_due = true;
    worker_keep_awake(s->worker);
}

// --- connections ----------------------------------------------------------------------------------------------------------------

struct http_connection *
http_connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

void
http_connection_touch(struct http_connection *c, struct api_request *request)
{
    if (c == NULL)
        return; // there was no memory for it
    c->request = request;
    if (list_is_linked(&c->node)) {
        list_remove(&c->node);
        list_push_back(&c->listener->connections, &c->node);
    }
}

// Ends the connection that has been idle longest: its client is silent, or does not read its answer.
static void
end_idlest(struct http_listener *l)
{
    LV_LIST_EACH (it, &l->connections) {
        struct http_connection *c = LV_CONTAINER_OF(it, struct http_connection, node);
        if (c->request != NULL && c->request->is_suspended)
            continue; // it waits for us
        list_remove(&c->node);
        l->connection_count--;
        (void)shutdown(c->fd, SHUT_RDWR); // the library sees the end, and closes it
        http_server_wake(l->server);
        return;
    }
}

static void
on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    struct http_listener *l = ctx;
    struct http_connection *c = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_connection_ended(l->server, connection);
        if (c != NULL && list_is_linked(&c->node)) {
            list_remove(&c->node);
            l->connection_count--;
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
    c->listener = l;
    c->fd = info->connect_fd;
    if (l->connection_count >= CONNECTIONS_MAX)
        end_idlest(l);
    list_push_back(&l->connections, &c->node);
    l->connection_count++;
}

// The library decodes paths before they are split, and queries without their '+'; api_query.c does both from the whole text.
static size_t
keep_escapes(void *ctx, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
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
    MHD_UNSIGNED_LONG_LONG least = UINT64_MAX, ms;
    (void)api_totals_run(s->totals);
    api_definitions_run(s);
    (void)api_exchange_stats_run(s->exchange_stats);
    if (!s->is_due)
        return false;
    s->is_due = false;
    ev_timer_stop(w->loop, &s->timeout);
    for (int i = 0; i < LISTENER_COUNT; i++) {
        struct MHD_Daemon *daemon = s->listeners[i].daemon;
        if (daemon == NULL)
            continue;
        MHD_run(daemon);
        if (MHD_get_timeout(daemon, &ms) == MHD_YES && ms < least)
            least = ms;
    }
    if (least != UINT64_MAX) {
        ev_timer_set(&s->timeout, (double)least / 1000.0, 0);
        ev_timer_start(w->loop, &s->timeout);
    }
    return s->is_due;
}

// --- listeners ------------------------------------------------------------------------------------------------------------------

static int
control_open(const char *path, char **ret_error)
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

// Every address, both families, when `ip` is empty; IPv4 alone where there is no IPv6.
static int
tcp_open(const char *key, const char *ip, uint16_t port, char **ret_error)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT}};
    bool is_any = ip == NULL || ip[0] == '\0';
    int on = 1, off = 0;
    char text[256];
    int fd = -1;
    if (is_any || inet_pton(AF_INET6, ip, &address.v6.sin6_addr) == 1)
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        memset(&address, 0, sizeof address);
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        if (!is_any && inet_pton(AF_INET, ip, &address.v4.sin_addr) != 1) {
            snprintf(text, sizeof text, "%s.ip is not an address", key);
            *ret_error = mem_xstrdup(text);
            return -LE_INVAL;
        }
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    socklen_t size = address.any.sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (address.any.sa_family == AF_INET ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any ? &off : &on, sizeof on) == 0) &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 && bind(fd, &address.any, size) == 0 &&
        listen(fd, 128) == 0)
        return fd;
    int saved = errno;
    if (saved == EADDRINUSE)
        snprintf(text, sizeof text, "%s.port: address %s:%u is in use by another process", key,
                 is_any ? "*" : ip, port);
    else
        snprintf(text, sizeof text, "%s.port: cannot listen on %s:%u: %s", key, is_any ? "*" : ip, port,
                 strerror(saved));
    *ret_error = mem_xstrdup(text);
    if (fd >= 0)
        close(fd);
    return err_from_errno(saved);
}

// Takes the listening socket over.
static int
listener_start(struct api_server *s, struct http_listener *l, int fd, char **ret_error)
{
    l->server = s;
    list_init(&l->connections);
    l->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_on_request, l, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, l, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
        NULL, MHD_OPTION_URI_LOG_CALLBACK, http_on_uri, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(CONNECTIONS_MAX + CONNECTIONS_MORE),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        l->daemon != NULL ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info == NULL) {
        *ret_error = mem_xstrdup("cannot start the HTTP server");
        if (l->daemon == NULL)
            close(fd);
        return -LE_NOMEM;
    }
    ev_io_init(&l->readable, on_due, info->epoll_fd, EV_READ);
    l->readable.data = s;
    ev_io_start(s->worker->loop, &l->readable);
    return 0;
}

int
http_server_start(struct crew *crew, const struct http_config *config, const struct api_node *node,
                  struct api_server **ret, char **ret_error)
{
    *ret_error = NULL;
    int fd = control_open(config->control_socket, ret_error);
    if (fd < 0)
        return fd;
    struct api_server *s = mem_xcalloc(1, sizeof(*s));
    s->worker = crew_extra_member(crew, CREW_HTTP);
    s->node = *node;
    s->config = *config;
    s->started_ms = clock_wall_ms();
    s->socket_path = mem_xstrdup(config->control_socket);
    s->auth = api_auth_new();
    s->tokens = api_tokens_new();
    s->totals = api_totals_new(s);
    s->exchange_stats = api_exchange_stats_new(s);
    s->matcher = policy_matcher_new();
    s->definitions = definitions_queue_new(s->worker);
    list_init(&s->exports);
    list_init(&s->requests);
    ev_timer_init(&s->timeout, on_timeout, 0, 0);
    s->timeout.data = s;
    int err = listener_start(s, &s->listeners[LISTENER_CONTROL], fd, ret_error);
    if (err == 0 && config->port > 0) {
        fd = tcp_open("management.tcp", config->ip, config->port, ret_error);
        err = fd < 0 ? fd : listener_start(s, &s->listeners[LISTENER_TCP], fd, ret_error);
    }
    if (err == 0 && config->metrics_port > 0) {
        fd = tcp_open("prometheus.tcp", config->metrics_ip, config->metrics_port, ret_error);
        err = fd < 0 ? fd : listener_start(s, &s->listeners[LISTENER_METRICS], fd, ret_error);
    }
    if (err == 0 && (s->auth == NULL || s->tokens == NULL || s->matcher == NULL))
        err = -LE_NOMEM;
    if (err != 0) {
        http_server_stop(s);
        return err;
    }
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
    struct worker *before = worker_self;
    definitions_queue_end(s->definitions);
    worker_self = s->worker; // sessions are closed on their member
    LV_LIST_EACH (it, &s->requests) {
        struct api_request *r = LV_CONTAINER_OF(it, struct api_request, node);
        if (r->is_suspended)
            MHD_resume_connection(r->connection); // the library wants none suspended when it stops
        r->is_suspended = false;
        r->has_failed = true; // a stream ends here
    }
    for (int i = 0; i < LISTENER_COUNT; i++) {
        struct http_listener *l = &s->listeners[i];
        if (l->daemon == NULL)
            continue;
        ev_io_stop(s->worker->loop, &l->readable);
        MHD_stop_daemon(l->daemon);
    }
    worker_self = before;
    ev_timer_stop(s->worker->loop, &s->timeout);
    if (s->socket_path != NULL)
        unlink(s->socket_path);
    mem_free(s->socket_path);
    api_auth_free(s->auth);
    api_tokens_free(s->tokens);
    api_totals_free(s->totals);
    api_exchange_stats_free(s->exchange_stats);
    policy_matcher_free(s->matcher);
    definitions_queue_free(s->definitions);
    mem_free(s);
}
