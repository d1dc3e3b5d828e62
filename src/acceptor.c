// acceptor.c: listeners on one loop.
//
// Happy path: the listener is readable; accept4 up to the budget; for each socket choose a worker, count it
// as on the way, mail it; the worker's mail calls the sink and counts it off.
//
// Failure modes: ECONNABORTED and the like concern one client: go on. EMFILE, ENFILE, ENOBUFS, ENOMEM concern
// everybody: the listener stays readable, so a level-triggered loop would spin. The spare descriptor is given
// up for a moment to accept and close one client after the other (they see an end, not a silence), then all
// listeners rest for REST_S.
#include "src/acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

// LIMIT: connections accepted of one listener in one turn; more wait in the kernel's backlog for the next.
enum { ACCEPT_BUDGET = 64 };
#define REST_S 0.2

struct listener {
    struct acceptor *acceptor;
    const char *name; // of the configuration, which is referenced
    int index;
    int fd; // -1: closed
    ev_io io;
    struct sockaddr_storage address; // as bound
    char text[80];
};

// Handed-over sockets of one worker. Cache lines apart, because each worker writes its own.
struct lane {
    uint64_t sent; // acceptor's thread
    __attribute__((aligned(LV_CACHE_LINE)))
    atomic_ulong taken; // partner: the worker counts up, the acceptor reads
};

struct acceptor {
    struct worker *on;
    struct config *config;
    const struct acceptor_sink *sink; // NULL before acceptor_listen
    int spare_fd;                     // -1: given up for the moment
    bool is_resting;                  // listeners are stopped until the timer
    bool is_exhausted;                // told in the log; until an accept succeeds again
    ev_timer rest;
    int next_worker; // where the search for the least load starts, so that ties go round
    uint64_t accepted;
    uint64_t shed;
    int listener_count;
    struct listener listeners[CONFIG_LISTENERS_MAX];
    struct lane lanes[CREW_WORKERS_MAX];
};

struct handover {
    struct acceptor *acceptor;
    int fd;
    int listener_index;
    struct sockaddr_storage peer;
    struct sockaddr_storage local;
};

static int
open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static socklen_t
address_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static uint16_t
port_of(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static void
format_address(const struct sockaddr_storage *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, host,
                  sizeof host);
        snprintf(text, size, "[%s]:%u", host, port_of(address));
    } else {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%u", host, port_of(address));
    }
}

// ::ffff:1.2.3.4 is 1.2.3.4: logs, and the judgement who is local, see one kind of address.
static void
unmap(struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        return;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six->sin6_port};
    memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, 4);
    memset(address, 0, sizeof *address);
    memcpy(address, &four, sizeof four);
}

struct acceptor *
acceptor_new(struct worker *on, struct config *config)
{
    struct acceptor *a = mem_aligned(LV_CACHE_LINE, sizeof *a);
    if (a == NULL)
        return NULL;
    memset(a, 0, sizeof *a);
    a->on = on;
    a->config = config_ref(config);
    a->spare_fd = -1;
    return a;
}

// ---- Opening --------------------

static void
set_address(const struct config_listener *from, int family, struct sockaddr_storage *ret_address)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)ret_address;
        *six = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(from->port), .sin6_addr = in6addr_any};
        if (from->host[0] != '\0')
            inet_pton(AF_INET6, from->host, &six->sin6_addr); // the configuration has checked it
    } else {
        struct sockaddr_in *four = (struct sockaddr_in *)(void *)ret_address;
        *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(from->port)};
        if (from->host[0] != '\0')
            inet_pton(AF_INET, from->host, &four->sin_addr);
    }
}

// `::` takes IPv4 too, unless another listener has the same port for IPv4: then it would be "in use".
static bool
is_v6_only(const struct config *c, const struct config_listener *listener)
{
    if (listener->host[0] != '\0' && strcmp(listener->host, "::") != 0)
        return true;
    for (size_t i = 0; i < c->tcp_listener_count; i++) {
        const struct config_listener *other = &c->tcp_listeners[i];
        if (other->port == listener->port && other->port != 0 && strchr(other->host, '.') != NULL)
            return true;
    }
    return false;
}

static int
set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : err_from_errno(errno);
}

// Everything accepted sockets inherit; buffer sizes must be there before listen for the window scale to fit
// them.
static int
set_options(int fd, const struct config_tcp *tcp)
{
    int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0)
        error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, tcp->is_nodelay);
    if (error == 0)
        error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, tcp->is_keepalive);
    if (error == 0 && tcp->sndbuf_bytes > 0)
        error = set_option(fd, SOL_SOCKET, SO_SNDBUF, tcp->sndbuf_bytes);
    if (error == 0 && tcp->recbuf_bytes > 0)
        error = set_option(fd, SOL_SOCKET, SO_RCVBUF, tcp->recbuf_bytes);
    return error;
}

static int
open_socket(const struct config *c, const struct config_listener *from, int family, int *ret_fd)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EAFNOSUPPORT ? -LE_UNSUPPORTED : err_from_errno(errno);
    int error = set_options(fd, &c->tcp);
    if (error == 0 && family == AF_INET6)
        error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_v6_only(c, from));
    if (error != 0) {
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

// One line a person can act on; `action` is "bind" or "listen".
static int
tell_problem(const struct listener *l, int errno_value, struct buf *problem)
{
    switch (errno_value) {
    case EADDRINUSE:
        buf_printf(problem, "listeners.tcp.%s: address %s is in use by another process", l->name, l->text);
        return -LE_INUSE;
    case EACCES:
        buf_printf(
            problem,
            "listeners.tcp.%s: no permission to listen on %s (ports below 1024 need CAP_NET_BIND_SERVICE)",
            l->name, l->text);
        return -LE_ACCESS;
    case EADDRNOTAVAIL:
        buf_printf(problem, "listeners.tcp.%s: %s is not an address of this machine", l->name, l->text);
        return -LE_NOTFOUND;
    default: {
        char reason[128];
        buf_printf(problem, "listeners.tcp.%s: cannot listen on %s: %s", l->name, l->text,
                   strerror_r(errno_value, reason, sizeof reason));
        return err_from_errno(errno_value);
    }
    }
}

static int
bind_listener(struct acceptor *a, const struct config_listener *from, struct listener *l, struct buf *problem)
{
    bool is_any = from->host[0] == '\0';
    int family = is_any || strchr(from->host, ':') != NULL ? AF_INET6 : AF_INET;
    int error = open_socket(a->config, from, family, &l->fd);
    set_address(from, family, &l->address);
    format_address(&l->address, l->text, sizeof l->text);
    int bound = error == 0 ? bind(l->fd, (const struct sockaddr *)&l->address, address_len(&l->address)) : -1;
    // A machine without IPv6 (or with it switched off) still has IPv4.
    if (is_any && (error == -LE_UNSUPPORTED || (error == 0 && bound != 0 && errno == EADDRNOTAVAIL))) {
        if (l->fd >= 0)
            close(l->fd);
        l->fd = -1;
        error = open_socket(a->config, from, AF_INET, &l->fd);
        set_address(from, AF_INET, &l->address);
        format_address(&l->address, l->text, sizeof l->text);
        bound = error == 0 ? bind(l->fd, (const struct sockaddr *)&l->address, address_len(&l->address)) : -1;
    }
    if (error != 0) {
        buf_printf(problem, "listeners.tcp.%s: cannot make a socket for %s: %s", l->name, l->text,
                   err_text(error));
        return error;
    }
    if (bound != 0)
        return tell_problem(l, errno, problem);
    socklen_t len = sizeof l->address;
    if (getsockname(l->fd, (struct sockaddr *)&l->address, &len) != 0)
        return tell_problem(l, errno, problem);
    format_address(&l->address, l->text, sizeof l->text);
    return 0;
}

int
acceptor_bind(struct acceptor *a, struct buf *problem)
{
    LV_ASSERT(a->listener_count == 0);
    for (size_t i = 0; i < a->config->tcp_listener_count; i++) {
        struct listener *l = &a->listeners[i];
        *l = (struct listener){
            .acceptor = a, .name = a->config->tcp_listeners[i].name, .index = (int)i, .fd = -1};
        a->listener_count++;
        int error = bind_listener(a, &a->config->tcp_listeners[i], l, problem);
        if (error != 0) {
            acceptor_close(a);
            return error;
        }
    }
    return 0;
}

// ---- Accepting --------------------

static uint32_t
lane_on_the_way(const struct lane *lane)
{
    return (uint32_t)(lane->sent - atomic_load_explicit(&lane->taken, memory_order_acquire));
}

static int
least_loaded(struct acceptor *a)
{
    struct crew *crew = a->on->crew;
    int best = -1;
    uint64_t best_load = UINT64_MAX;
    for (int i = 0; i < crew->n_workers; i++) {
        int index = (a->next_worker + i) % crew->n_workers;
        uint64_t load = (uint64_t)a->sink->load(crew->members[index]) + lane_on_the_way(&a->lanes[index]);
        if (load < best_load) {
            best_load = load;
            best = index;
        }
    }
    a->next_worker = (best + 1) % crew->n_workers;
    return best;
}

static void
on_handover(struct worker *to, void *payload)
{
    struct handover *h = *(struct handover **)payload;
    struct acceptor *a = h->acceptor;
    a->sink->deliver(to, h->fd, &h->peer, &h->local, h->listener_index);
    // After deliver has counted it: for a moment it counts twice, never not at all.
    atomic_fetch_add_explicit(&a->lanes[to->index].taken, 1, memory_order_release);
    mem_free(h);
}

static void
hand_over(struct acceptor *a, const struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct handover *h = mem_calloc(1, sizeof *h);
    socklen_t len = sizeof h->local;
    // The client may be gone already; without a local address there is nothing to serve.
    if (h == NULL || getsockname(fd, (struct sockaddr *)&h->local, &len) != 0) {
        mem_free(h);
        close(fd);
        return;
    }
    h->acceptor = a;
    h->fd = fd;
    h->listener_index = l->index;
    h->peer = *peer;
    unmap(&h->peer);
    unmap(&h->local);
    int index = least_loaded(a);
    a->lanes[index].sent++;
    a->accepted++;
    worker_post(a->on->crew->members[index], on_handover, &h, sizeof h, 0);
}

static void
start_listeners(struct acceptor *a)
{
    for (int i = 0; i < a->listener_count; i++) {
        if (a->listeners[i].fd >= 0)
            ev_io_start(a->on->loop, &a->listeners[i].io);
    }
}

static void
stop_listeners(struct acceptor *a)
{
    for (int i = 0; i < a->listener_count; i++) {
        if (a->listeners[i].fd >= 0)
            ev_io_stop(a->on->loop, &a->listeners[i].io);
    }
}

static void
on_rest_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct acceptor *a = LV_CONTAINER_OF(timer, struct acceptor, rest);
    a->is_resting = false;
    if (a->spare_fd < 0)
        a->spare_fd = open_spare();
    start_listeners(a);
}

static void
rest(struct acceptor *a)
{
    if (a->is_resting)
        return;
    a->is_resting = true;
    stop_listeners(a);
    ev_timer_set(&a->rest, REST_S, 0.);
    ev_timer_start(a->on->loop, &a->rest);
}

// Accepts with the spare descriptor's place and closes at once.
static void
shed(struct acceptor *a, const struct listener *l)
{
    for (int i = 0; i < ACCEPT_BUDGET && a->spare_fd >= 0; i++) {
        close(a->spare_fd);
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            a->shed++;
        }
        a->spare_fd = open_spare();
        if (fd < 0)
            return;
    }
}

static void
on_exhausted(struct acceptor *a, const struct listener *l, int errno_value)
{
    char reason[128];
    if (!a->is_exhausted)
        log_error(LOG_CONNECTION,
                  "listener %s: no connection can be accepted: %s; clients are turned away until it is over",
                  l->text, strerror_r(errno_value, reason, sizeof reason));
    a->is_exhausted = true;
    shed(a, l);
    rest(a);
}

static void
on_recovered(struct acceptor *a)
{
    a->is_exhausted = false;
    log_notice(LOG_CONNECTION, "listeners: connections are accepted again; %llu were turned away so far",
               (unsigned long long)a->shed);
}

static void
on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct listener *l = LV_CONTAINER_OF(io, struct listener, io);
    struct acceptor *a = l->acceptor;
    for (int i = 0; i < ACCEPT_BUDGET; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        memset(&peer, 0, sizeof peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (a->is_exhausted)
                on_recovered(a);
            hand_over(a, l, fd, &peer);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            on_exhausted(a, l, errno);
            return;
        }
        // ECONNABORTED, EINTR and the network errors that Linux passes on: this client's only.
    }
}

int
acceptor_listen(struct acceptor *a, const struct acceptor_sink *sink, struct buf *problem)
{
    LV_ASSERT(a->sink == NULL);
    a->sink = sink;
    a->spare_fd = open_spare();
    ev_timer_init(&a->rest, on_rest_over, REST_S, 0.);
    for (int i = 0; i < a->listener_count; i++) {
        struct listener *l = &a->listeners[i];
        ev_io_init(&l->io, on_readable, l->fd, EV_READ);
        if (listen(l->fd, a->config->tcp.backlog) != 0) {
            int error = tell_problem(l, errno, problem);
            acceptor_close(a);
            return error;
        }
    }
    start_listeners(a);
    return 0;
}

// ---- Closing, and what others may see --------------------

void
acceptor_close(struct acceptor *a)
{
    if (a->sink != NULL) {
        stop_listeners(a);
        ev_timer_stop(a->on->loop, &a->rest);
    }
    for (int i = 0; i < a->listener_count; i++) {
        if (a->listeners[i].fd >= 0)
            close(a->listeners[i].fd);
        a->listeners[i].fd = -1;
    }
    if (a->spare_fd >= 0)
        close(a->spare_fd);
    a->spare_fd = -1;
}

void
acceptor_free(struct acceptor *a)
{
    if (a == NULL)
        return;
    acceptor_close(a);
    config_unref(a->config);
    mem_free(a);
}

int
acceptor_listener_count(const struct acceptor *a)
{
    return a->listener_count;
}

const char *
acceptor_address(const struct acceptor *a, int listener_index)
{
    LV_ASSERT(listener_index >= 0 && listener_index < a->listener_count);
    return a->listeners[listener_index].text;
}

uint16_t
acceptor_port(const struct acceptor *a, int listener_index)
{
    LV_ASSERT(listener_index >= 0 && listener_index < a->listener_count);
    return port_of(&a->listeners[listener_index].address);
}

uint32_t
acceptor_on_the_way(const struct acceptor *a)
{
    uint32_t count = 0;
    for (int i = 0; i < a->on->crew->n_workers; i++)
        count += lane_on_the_way(&a->lanes[i]);
    return count;
}

uint64_t
acceptor_accepted(const struct acceptor *a)
{
    return a->accepted;
}

uint64_t
acceptor_shed(const struct acceptor *a)
{
    return a->shed;
}
