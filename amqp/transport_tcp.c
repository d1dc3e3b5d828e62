// transport_tcp.c: plain sockets. One libev watcher a socket; it runs only while an event is wanted.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "amqp/transport.h"
#include "src/base/err.h"
#include "src/base/mem.h"

struct transport_tcp {
    struct transport base; // first, so that the two convert
    struct ev_loop *loop;
    ev_io io;
};

static struct transport_tcp *
tcp_of(struct transport *t)
{
    return LV_CONTAINER_OF(t, struct transport_tcp, base);
}

static void
on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct transport_tcp *tcp = LV_CONTAINER_OF(io, struct transport_tcp, io);
    unsigned mask = 0;
    if ((events & EV_READ) != 0)
        mask |= TRANSPORT_READ;
    if ((events & EV_WRITE) != 0)
        mask |= TRANSPORT_WRITE;
    tcp->base.ready(tcp->base.ctx, mask);
}

static ssize_t
tcp_read(struct transport *t, const struct iovec *iov, int count)
{
    ssize_t n;
    do
        n = readv(tcp_of(t)->io.fd, iov, count);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? n : err_from_errno(errno);
}

static ssize_t
tcp_write(struct transport *t, const struct iovec *iov, int count)
{
    ssize_t n;
    do
        n = writev(tcp_of(t)->io.fd, iov, count);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    return n == 0 ? -LE_AGAIN : err_from_errno(errno);
}

static void
tcp_want(struct transport *t, unsigned events)
{
    struct transport_tcp *tcp = tcp_of(t);
    int mask = 0;
    if ((events & TRANSPORT_READ) != 0)
        mask |= EV_READ;
    if ((events & TRANSPORT_WRITE) != 0)
        mask |= EV_WRITE;
    if (mask == (tcp->io.events & (EV_READ | EV_WRITE)) && (mask == 0) == !ev_is_active(&tcp->io))
        return;
    ev_io_stop(tcp->loop, &tcp->io);
    ev_io_set(&tcp->io, tcp->io.fd, mask);
    if (mask != 0)
        ev_io_start(tcp->loop, &tcp->io);
}

static void
tcp_shut(struct transport *t)
{
    (void)shutdown(tcp_of(t)->io.fd, SHUT_WR); // a peer that has gone already is found out by the next read
}

static void
tcp_close(struct transport *t)
{
    struct transport_tcp *tcp = tcp_of(t);
    ev_io_stop(tcp->loop, &tcp->io);
    close(tcp->io.fd);
    mem_free(tcp);
}

// The kernel knows of the peer's FIN or RST also while bytes before it lie unread.
static bool
tcp_is_peer_gone(struct transport *t)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(tcp_of(t)->io.fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return false;
    return info.tcpi_state != TCP_ESTABLISHED;
}

static const struct transport_ops tcp_ops = {
    .read = tcp_read,
    .write = tcp_write,
    .want = tcp_want,
    .shut = tcp_shut,
    .close = tcp_close,
    .is_peer_gone = tcp_is_peer_gone,
};

struct transport *
transport_tcp_new(struct ev_loop *loop, int fd)
{
    struct transport_tcp *tcp = mem_calloc(1, sizeof *tcp);
    if (tcp == NULL)
        return NULL;
    tcp->base.ops = &tcp_ops;
    tcp->loop = loop;
    ev_io_init(&tcp->io, on_io, fd, EV_NONE);
    return &tcp->base;
}
