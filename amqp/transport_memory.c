// transport_memory.c: two byte buffers between two ends on one thread; freed with the second end.
#include "amqp/transport_memory.h"

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/mem.h"

struct memory_peer {
    struct transport base;
    struct buf to_transport, to_peer;
    size_t capacity;  // of to_peer
    unsigned wanted;  // enum transport_event
    bool peer_shut;   // no more to_transport
    bool is_shut;     // no more to_peer
    bool is_closed;   // the transport's end is released
    bool is_peerless; // the peer's end is released
};

static struct memory_peer *
peer_of(struct transport *t)
{
    return LV_CONTAINER_OF(t, struct memory_peer, base);
}

static void
tell(struct memory_peer *p)
{
    unsigned events = 0;
    if (p->to_transport.len > 0 || p->peer_shut)
        events |= TRANSPORT_READ;
    if (p->to_peer.len < p->capacity || p->is_peerless)
        events |= TRANSPORT_WRITE;
    events &= p->wanted;
    if (events != 0 && !p->is_closed)
        p->base.ready(p->base.ctx, events);
}

static ssize_t
memory_read(struct transport *t, const struct iovec *iov, int count)
{
    struct memory_peer *p = peer_of(t);
    size_t done = 0;
    for (int i = 0; i < count && done < p->to_transport.len; i++) {
        size_t n = LV_MIN(iov[i].iov_len, p->to_transport.len - done);
        memcpy(iov[i].iov_base, p->to_transport.ptr + done, n);
        done += n;
    }
    if (done == 0)
        return p->peer_shut ? 0 : -LE_AGAIN;
    buf_drop_front(&p->to_transport, done);
    tell(p);
    return (ssize_t)done;
}

static ssize_t
memory_write(struct transport *t, const struct iovec *iov, int count)
{
    struct memory_peer *p = peer_of(t);
    LV_ASSERT(!p->is_shut);
    if (p->is_peerless)
        return -LE_NETWORK;
    size_t done = 0;
    for (int i = 0; i < count && p->to_peer.len < p->capacity; i++) {
        size_t n = LV_MIN(iov[i].iov_len, p->capacity - p->to_peer.len);
        buf_append(&p->to_peer, iov[i].iov_base, n);
        if (p->to_peer.failed)
            return -LE_NOMEM;
        done += n;
    }
    return done > 0 ? (ssize_t)done : -LE_AGAIN;
}

static void
memory_want(struct transport *t, unsigned events)
{
    struct memory_peer *p = peer_of(t);
    p->wanted = events;
    tell(p);
}

static void
memory_shut(struct transport *t)
{
    peer_of(t)->is_shut = true;
}

static void
release(struct memory_peer *p)
{
    if (!p->is_closed || !p->is_peerless)
        return;
    buf_fini(&p->to_transport);
    buf_fini(&p->to_peer);
    mem_free(p);
}

static void
memory_close(struct transport *t)
{
    struct memory_peer *p = peer_of(t);
    LV_ASSERT(!p->is_closed);
    p->is_shut = p->is_closed = true;
    release(p);
}

static bool
memory_is_peer_gone(struct transport *t)
{
    return peer_of(t)->peer_shut;
}

static const struct transport_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .want = memory_want,
    .shut = memory_shut,
    .close = memory_close,
    .is_peer_gone = memory_is_peer_gone,
};

int
transport_memory_new(size_t capacity, struct transport **ret_transport, struct memory_peer **ret_peer)
{
    struct memory_peer *p = mem_calloc(1, sizeof *p);
    if (p == NULL)
        return -LE_NOMEM;
    p->base.ops = &memory_ops;
    p->capacity = capacity;
    *ret_transport = &p->base;
    *ret_peer = p;
    return 0;
}

int
memory_peer_send(struct memory_peer *p, struct slice bytes)
{
    if (p->is_closed || p->peer_shut)
        return -LE_CLOSED;
    buf_append_slice(&p->to_transport, bytes);
    if (p->to_transport.failed)
        return -LE_NOMEM;
    tell(p);
    return 0;
}

size_t
memory_peer_receive(struct memory_peer *p, void *to, size_t cap)
{
    size_t n = LV_MIN(cap, p->to_peer.len);
    if (n == 0)
        return 0;
    memcpy(to, p->to_peer.ptr, n);
    buf_drop_front(&p->to_peer, n);
    tell(p);
    return n;
}

void
memory_peer_shut(struct memory_peer *p)
{
    p->peer_shut = true;
    tell(p);
}

bool
memory_peer_is_at_end(const struct memory_peer *p)
{
    return p->is_shut && p->to_peer.len == 0;
}

bool
memory_peer_is_closed(const struct memory_peer *p)
{
    return p->is_closed;
}

void
memory_peer_free(struct memory_peer *p)
{
    if (p == NULL)
        return;
    p->peer_shut = p->is_peerless = true;
    tell(p);
    release(p);
}
