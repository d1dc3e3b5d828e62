// message.c: building and releasing messages.
//
// Layout of `bytes`: exchange shortstr | routing key shortstr | class 60 (u16) | weight 0 (u16) | body size
// (u64) | property flags and list | body. All integers big-endian (AMQP 0-9-1 §4.2.6, §2.3.5.2).
#include "queue/message.h"

#include "src/base/mem.h"

enum { HEADER_FIXED_BYTES = 12, CLASS_BASIC = 60 };

static uint8_t *
put_shortstr(uint8_t *at, struct slice s)
{
    *at++ = (uint8_t)s.len;
    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

struct message *
message_new(struct slice exchange, struct slice routing_key, struct slice properties, uint32_t body_len)
{
    LV_ASSERT(exchange.len <= UINT8_MAX && routing_key.len <= UINT8_MAX);
    LV_ASSERT(properties.len <= UINT32_MAX - HEADER_FIXED_BYTES);
    size_t route_len = 2 + exchange.len + routing_key.len;
    size_t header_len = HEADER_FIXED_BYTES + properties.len;
    struct message *m = mem_alloc(sizeof(*m) + route_len + header_len + body_len);
    if (m == NULL)
        return NULL;
    *m = (struct message){
        .route_len = (uint16_t)route_len, .header_len = (uint32_t)header_len, .body_len = body_len};
    atomic_init(&m->refs, 1);
    uint8_t *at = put_shortstr(put_shortstr(m->bytes, exchange), routing_key);
    memset(at, 0, HEADER_FIXED_BYTES);
    at[1] = CLASS_BASIC;
    for (int i = 0; i < 4; i++)
        at[8 + i] = (uint8_t)(body_len >> (24 - 8 * i));
    if (properties.len > 0)
        memcpy(at + HEADER_FIXED_BYTES, properties.ptr, properties.len);
    return m;
}

void
message_unref(struct message *m)
{
    if (m == NULL)
        return;
    // Whoever holds the only reference needs no atomic subtraction: nobody else can take another one
    // meanwhile. The acquire pairs with the release of those who dropped theirs before.
    if (atomic_load_explicit(&m->refs, memory_order_acquire) != 1) {
        uint32_t before = atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel);
        LV_ASSERT(before != 0);
        if (before != 1)
            return;
    }
    mem_free(m);
}
