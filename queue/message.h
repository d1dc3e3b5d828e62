// message.h: one immutable published message: exchange, routing key, properties as they came, body;
// atomically counted.
//
// One heap block. The wire forms lie as they are sent, so that a delivery is two memcpy's:
//   route:   shortstr exchange, shortstr routing key                         (basic.deliver, get-ok, return)
//   header:  class-id 60, weight 0, body size (u64), property flags + list   (content header payload)
//   body:    body bytes
// Invariant: nothing changes once its maker has shared it but the reference count; readers on any thread need
// no lock. Whoever must change something (headers on dead-lettering, CC/BCC) makes a new message.
#pragma once

#include <stdatomic.h>

#include "src/base/lv.h"
#include "src/base/slice.h"

enum message_flags {
    MESSAGE_PERSISTENT = 1u << 0, // delivery-mode 2
    MESSAGE_HAS_EXPIRY = 1u << 1, // the expiration property was set and parsed
};

struct message {
    _Atomic uint32_t refs; // partner: message_unref on any thread (release/acquire)
    uint8_t flags;         // enum message_flags
    uint8_t priority;      // priority property, 0 when absent
    uint16_t route_len;    // bytes of the route part
    uint32_t header_len;   // bytes of the header part
    uint32_t body_len;     // bytes of the body
    uint32_t expiry_ms;    // expiration property in ms when MESSAGE_HAS_EXPIRY (capped at 2^32-1)
    int64_t published_ms;  // wall clock at the publish
    uint8_t bytes[];       // route, header, body
};

static inline struct slice
message_route(const struct message *m)
{
    return slice_of(m->bytes, m->route_len);
}

static inline struct slice
message_header(const struct message *m)
{
    return slice_of(m->bytes + m->route_len, m->header_len);
}

static inline struct slice
message_body(const struct message *m)
{
    return slice_of(m->bytes + m->route_len + m->header_len, m->body_len);
}

static inline struct slice
message_exchange(const struct message *m)
{
    return slice_of(m->bytes + 1, m->bytes[0]);
}

static inline struct slice
message_routing_key(const struct message *m)
{
    const uint8_t *key = m->bytes + 1 + m->bytes[0];
    return slice_of(key + 1, key[0]);
}

// Property flags and list: the header without class, weight and body size.
static inline struct slice
message_properties(const struct message *m)
{
    return slice_from(message_header(m), 12);
}

// A new message with one reference and room for the body, which the caller fills (message_body_mut) before
// anyone else sees it. `properties` = property flags and list as on the wire (already validated). exchange
// and key at most 255 bytes. NULL when out of memory. flags, priority, expiry and published_ms are zero: the
// caller sets them.
LV_MUST_USE struct message *message_new(struct slice exchange, struct slice routing_key,
                                        struct slice properties, uint32_t body_len);

static inline uint8_t *
message_body_mut(struct message *m)
{
    return m->bytes + m->route_len + m->header_len;
}

static inline struct message *
message_ref(struct message *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void message_unref(struct message *m); // accepts NULL; any thread

// Bytes of memory the message holds.
static inline size_t
message_weight(const struct message *m)
{
    return sizeof(*m) + m->route_len + m->header_len + m->body_len;
}
