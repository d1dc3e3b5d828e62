// transport_memory.h: a transport without a socket: the other end is driven by a test or a fuzzer on the same
// thread.
//
// Bytes the peer sends are there for the next read; bytes written wait, up to the pair's capacity, until the
// peer receives them. Both ends must be released: the transport by its `close`, the peer by memory_peer_free.
#pragma once

#include "amqp/transport.h"
#include "src/base/slice.h"

struct memory_peer;

// `capacity`: bytes that may wait in the direction to the peer before a write says -LE_AGAIN. 0 or -LE_NOMEM.
LV_MUST_USE int transport_memory_new(size_t capacity, struct transport **ret_transport,
                                     struct memory_peer **ret_peer);

LV_MUST_USE int memory_peer_send(struct memory_peer *p, struct slice bytes); // 0, -LE_CLOSED or -LE_NOMEM
// What has come, at most `cap` bytes.
size_t memory_peer_receive(struct memory_peer *p, void *to, size_t cap);
// The end of the peer's bytes.
void memory_peer_shut(struct memory_peer *p);
// The transport has been shut or closed and everything was received.
bool memory_peer_is_at_end(const struct memory_peer *p);
// The transport has been closed.
bool memory_peer_is_closed(const struct memory_peer *p);
void memory_peer_free(struct memory_peer *p);
