// perf_verify_message.c: bodies that can be recognised and checked.
#include "amqp/wire/bytes.h"
#include "src/base/err.h"
#include "src/cli/perf_verify.h"

enum { MAGIC_SIZE = 8, CHECKSUM_AT = 32 };

static const uint8_t magic[MAGIC_SIZE] = {'L', 'V', 'v', 'e', 'r', 'i', 'f', 'y'};

// FNV-1a of everything but the checksum itself: each byte changes it, and it is for accidents, not for attackers.
static uint64_t
checksum(const uint8_t *body, size_t size)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++) {
        uint8_t b = i >= CHECKSUM_AT && i < VERIFY_BODY_MIN ? 0 : body[i];
        h = (h ^ b) * UINT64_C(1099511628211);
    }
    return h;
}

void
verify_message_encode(const struct verify_message *m, uint8_t *body, size_t size)
{
    LV_ASSERT(size >= VERIFY_BODY_MIN);
    uint8_t *p = wire_put_bytes(body, slice_of(magic, sizeof magic));
    p = wire_put_u64(p, m->run);
    p = wire_put_u32(p, m->producer);
    p = wire_put_u32(p, m->queue);
    p = wire_put_u64(p, m->sequence);
    // Filler that differs from message to message: a body that ends with another's tail is noticed.
    for (size_t i = VERIFY_BODY_MIN; i < size; i++)
        body[i] = (uint8_t)(m->sequence * 31 + i);
    wire_put_u64(p, checksum(body, size));
}

int
verify_message_decode(struct slice body, struct verify_message *ret)
{
    size_t right = 0;
    for (size_t i = 0; i < MAGIC_SIZE && i < body.len; i++)
        right += body.ptr[i] == magic[i];
    if (right < MAGIC_SIZE / 2)
        return -LE_NOTFOUND;
    if (body.len < VERIFY_BODY_MIN || right < MAGIC_SIZE ||
        wire_get_u64(body.ptr + CHECKSUM_AT) != checksum(body.ptr, body.len))
        return -LE_CORRUPT;
    *ret = (struct verify_message){.run = wire_get_u64(body.ptr + 8),
                                   .producer = wire_get_u32(body.ptr + 16),
                                   .queue = wire_get_u32(body.ptr + 20),
                                   .sequence = wire_get_u64(body.ptr + 24)};
    return 0;
}
