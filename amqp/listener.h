// listener.h: AMQP 0-9-1 connections of one worker: what the daemon and the tests see of this folder.
//
// Start-up: broker_worker_init of every worker, then amqp_worker_init, then crew_start. The acceptor picks a
// worker by amqp_worker_load and sends it the socket by mail; amqp_accept is called there. A connection stays
// on its worker for life. All functions are called on the worker unless they say otherwise.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "amqp/transport.h"
#include "src/base/slice.h"
#include "src/base/worker.h"
#include "src/broker/fault.h"

#define AMQP_UNLIMITED UINT32_MAX

// What connections are told and held to. A connection keeps what it negotiated; everything else follows the
// newest pointer.
struct amqp_config {
    uint16_t heartbeat_s;              // proposed, seconds; 0: none
    uint16_t channel_max;              // open channels of a connection; 0: no limit
    uint32_t frame_max;                // bytes, 4096 and above
    uint32_t initial_frame_max;        // bytes, before tune-ok
    uint32_t max_message_size;         // bytes of a body
    uint32_t handshake_timeout_ms;     // from accept to connection.open; AMQP_UNLIMITED
    uint32_t max_unauthenticated;      // connections of the node that are not open yet; AMQP_UNLIMITED
    uint32_t connection_max;           // open connections of the node; AMQP_UNLIMITED
    uint32_t channel_max_per_node;     // AMQP_UNLIMITED
    uint32_t consumer_max_per_channel; // AMQP_UNLIMITED
    // connection.start, in RabbitMQ's order; an empty one is left out.
    struct slice cluster_name, copyright, information, platform, product, version;
    struct slice leveret_version;       // ours, beside RabbitMQ's
    struct slice server_properties;     // more: content of a field table, already validated
    struct slice mechanisms;            // "PLAIN AMQPLAIN", in the order to be offered
    struct slice node_name;             // for texts and listings
    const struct slice *loopback_users; // let in from loopback addresses only
    size_t loopback_user_count;
};

// Makes w->amqp_state. `config` must live until another has taken its place.
void amqp_worker_init(struct worker *w, const struct amqp_config *config);
// After the threads have ended, before broker_worker_fini: drops what connections are left.
void amqp_worker_fini(struct worker *w);
// When it returns, the earlier configuration is not used by this worker any more.
void amqp_worker_set_config(struct worker *w, const struct amqp_config *config);

// Takes over a connected socket (closed when there is no memory or the worker is draining).
void amqp_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
                 const struct sockaddr_storage *local, int listener_index);
// The same over any transport, which it takes over.
void amqp_attach(struct worker *w, struct transport *t, const struct sockaddr_storage *peer,
                 const struct sockaddr_storage *local, int listener_index);

// Connections of the worker, open or not. Any thread.
uint32_t amqp_worker_load(const struct worker *w);

// Counters of one worker since its start. Any thread; each is right, all together are not of one moment.
struct amqp_stats {
    uint64_t accepted, closed, refused; // sockets; refused: log-ins that failed
    uint64_t authenticated, opened,
        ended; // log-ins that did not; connections that came to open-ok, and those of them that ended
    uint64_t received_bytes, sent_bytes;
    uint64_t channels_opened, channels_closed;
    uint32_t connections, unauthenticated, channels; // now
};
void amqp_worker_stats(const struct worker *w, struct amqp_stats *ret);

// Shutdown: closes every connection with that fault (320), takes no new ones, and calls `done` once, when all
// are gone. Clients that do not answer are given up after a while (DRAIN in connection.c).
void amqp_worker_drain(struct worker *w, const struct fault *fault, void (*done)(void *ctx), void *ctx);
