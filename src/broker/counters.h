// counters.h: what one worker counts of messages: by session, by vhost, by exchange. Names in listings are RabbitMQ's message_stats.
//
// A session counts in its own struct; when it closes its sums go to its vhost's. An exchange is counted by its id: the session's route
// memo holds the pointer, so that the hot path adds to one cache line that no other thread touches. Entries of what was deleted go into
// `gone`, when the tables have doubled or somebody lists them.
//
// Thread: the worker's own; sums over the node are made by asking every worker (broker_list, LIST_COUNTERS).
#pragma once

#include "src/base/buf.h"
#include "src/base/inttab.h"
#include "src/broker/topology.h"

// Everything is a uint64_t: session_counts_add treats it as an array.
struct session_counts {
    uint64_t published, published_confirm, confirmed, nacked, returned, dropped;
    uint64_t delivered, delivered_no_ack, got, got_no_ack, got_empty, redelivered, acked, rejected, requeued;
    uint64_t replies_dropped;
};

struct vhost_counts {
    uint64_t id;
    struct session_counts closed; // of its sessions that are closed
    struct session_counts sum;    // closed and open: while a listing is made
    uint64_t received, sent;      // bytes, of its connections that are closed
    struct vhost_counts *next;    // while they are purged
    struct slice name;            // bytes behind this struct
};

struct exchange_counts {
    uint64_t in, out; // messages published to it, and copies of them that queues were handed
    uint64_t id;
    struct exchange_counts *next; // while they are purged
    struct slice vhost, name;     // bytes behind this struct
};

struct counters {
    struct inttab vhosts;        // vhost id → struct vhost_counts
    struct inttab exchanges;     // exchange id → struct exchange_counts
    struct vhost_counts gone;    // of deleted vhosts, and of those there was no memory for
    struct exchange_counts none; // the same of exchanges
    size_t purge_at;             // exchanges in the table when those deleted are looked for
};

void counters_init(struct counters *c);
void counters_fini(struct counters *c);
// Never NULL: without memory it counts for `none`. Valid as long as the exchange is in the adopted topology.
struct exchange_counts *counters_exchange(struct counters *c, const struct topology *t,
                                          const struct exchange *x);
// The same for a vhost; valid until the next purge.
struct vhost_counts *counters_vhost(struct counters *c, uint64_t id, struct slice name);
void counters_purge(struct counters *c, const struct topology *t);

void session_counts_add(struct session_counts *to, const struct session_counts *from);
// "publish":1,"confirm":… each followed by a comma.
void session_counts_put(const struct session_counts *s, struct buf *out);
