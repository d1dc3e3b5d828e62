// acceptor.h: the listening sockets, and the hand-over of each new connection to the least-loaded worker.
//
// All listeners are on the loop of one crew member (CREW_MAIN), which owns the acceptor. A socket leaves by
// mail; from then on the receiving worker owns it. Load is what the sink says of a worker plus what is still
// on the way to it, ties go round. When no file descriptor is left, clients that wait are shed with a spare
// one, listeners rest for a moment, and the log says so once, not once a connection.
//
// Sockets come non-blocking, close-on-exec, with tcp_listen_options applied (they are set on the listener and
// inherited). IPv4 peers of a dual-stack listener are given as AF_INET.
#pragma once

#include <sys/socket.h>

#include "src/base/buf.h"
#include "src/base/worker.h"
#include "src/config/config.h"

// What takes connections: the AMQP module. Tables of functions live as long as the acceptor.
struct acceptor_sink {
    // Runs on `to`, which owns fd from here on (and closes it when it does not want it).
    void (*deliver)(struct worker *to, int fd, const struct sockaddr_storage *peer,
                    const struct sockaddr_storage *local, int listener_index);
    // Connections `w` has; asked from the acceptor's thread, so an atomic counter that deliver counts up and
    // the end of the connection down.
    uint32_t (*load)(struct worker *w);
};

struct acceptor;

// Makes it; nothing is opened. `on` is the member whose loop is used; `config` is referenced. NULL: out of
// memory.
struct acceptor *acceptor_new(struct worker *on, struct config *config);
// Binds every address of the configuration. 0, or an error with one line in `problem` that names the address:
// -LE_INUSE, -LE_ACCESS, -LE_NOTFOUND (not an address of this machine), or another.
LV_MUST_USE int acceptor_bind(struct acceptor *a, struct buf *problem);
// Starts listening and accepting. Errors as acceptor_bind.
LV_MUST_USE int acceptor_listen(struct acceptor *a, const struct acceptor_sink *sink, struct buf *problem);
// Closes the listeners; connections on their way are still delivered.
void acceptor_close(struct acceptor *a);
void acceptor_free(struct acceptor *a); // accepts NULL; closes first

int acceptor_listener_count(const struct acceptor *a);
// "127.0.0.1:5672", "[::]:5672"; the actual port when the configured one is 0. The text lives as long as the
// acceptor.
const char *acceptor_address(const struct acceptor *a, int listener_index);
uint16_t acceptor_port(const struct acceptor *a, int listener_index);
// Connections handed over that their worker has not taken yet.
uint32_t acceptor_on_the_way(const struct acceptor *a);
// Handed over since the start; shed for want of file descriptors.
uint64_t acceptor_accepted(const struct acceptor *a);
uint64_t acceptor_shed(const struct acceptor *a);
