// transport.h: what a connection sends and receives bytes by: a table of functions, so that plain TCP, TLS
// and an in-process pipe look alike.
//
// A transport belongs to one worker. `ready` is called on that worker when an event asked for by `want` has
// come; it is level triggered (an event not served is told again) and must only mark. Errors are -LE_xxx;
// -LE_AGAIN means: wait for `ready`. Ownership: whoever holds the transport closes it, once; close frees it,
// and `ready` is not called any more.
#pragma once

#include <ev.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "src/base/lv.h"

enum transport_event {
    TRANSPORT_READ = 1u << 0,
    TRANSPORT_WRITE = 1u << 1,
};

struct transport;

struct transport_ops {
    // Bytes read (at least 1), 0 at the end of the input, or -LE_xxx.
    ssize_t (*read)(struct transport *t, const struct iovec *iov, int count);
    // Bytes taken (at least 1), or -LE_xxx.
    ssize_t (*write)(struct transport *t, const struct iovec *iov, int count);
    // From now on these events, enum transport_event, are told by `ready`; no others.
    void (*want)(struct transport *t, unsigned events);
    // Nothing more will be written: the peer reads the end after what was written.
    void (*shut)(struct transport *t);
    void (*close)(struct transport *t);
    // Whether the peer has ended its side, or the connection is broken, looked up without reading what lies in
    // between: for transports that are not read for long. NULL: cannot be told.
    bool (*is_peer_gone)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
    void (*ready)(void *ctx, unsigned events); // set by the user before the first `want`
    void *ctx;
};

// Over a connected, non-blocking stream socket, which the transport owns from then on. NULL: out of memory
// (the socket stays the caller's).
LV_MUST_USE struct transport *transport_tcp_new(struct ev_loop *loop, int fd);
