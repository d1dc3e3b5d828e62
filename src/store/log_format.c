// log_format.c: encoding and decoding of the fixed parts. Offsets and the rules of validity are in docs/formats.md.
#include "src/store/log_format.h"
#include "src/base/crc.h"
#include "src/base/err.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is written as the host stores it");

#define SEGMENT_MAGIC 0x474553474f4c564cull // "LVLOGSEG"
#define GROUP_MAGIC   0x5052474cu           // "LGRP"

void
segment_header_encode(struct segment_header *h, uint8_t to[SEGMENT_HEADER_BYTES])
{
    memset(to, 0, SEGMENT_HEADER_BYTES);
    put_u64(to, SEGMENT_MAGIC);
    put_u32(to + 8, MSGLOG_FORMAT_VERSION);
    put_u32(to + 12, SEGMENT_HEADER_BYTES);
    put_u64(to + 16, h->generation);
    put_u64(to + 24, h->salt);
    put_u64(to + 32, h->segment_bytes);
    put_u64(to + 40, h->prev_generation);
    put_u64(to + 48, h->prev_end);
    put_u64(to + 56, h->first_generation);
    put_u64(to + 64, h->first_number);
    put_u32(to + 72, h->prev_crc);
    put_u64(to + 80, h->base_generation);
    put_u64(to + 88, h->base_end);
    put_u64(to + 96, h->prev_synced);
    put_u64(to + 104, h->base_synced);
    h->crc = crc32c(0, to, SEGMENT_HEADER_BYTES - 4);
    put_u32(to + SEGMENT_HEADER_BYTES - 4, h->crc);
}

int
segment_header_decode(const uint8_t from[SEGMENT_HEADER_BYTES], struct segment_header *ret)
{
    uint32_t crc = get_u32(from + SEGMENT_HEADER_BYTES - 4);
    if (get_u64(from) != SEGMENT_MAGIC || crc != crc32c(0, from, SEGMENT_HEADER_BYTES - 4))
        return -LE_NOTFOUND;
    if (get_u32(from + 8) > MSGLOG_FORMAT_VERSION)
        return -LE_UNSUPPORTED;
    *ret = (struct segment_header){
        .generation = get_u64(from + 16),
        .salt = get_u64(from + 24),
        .segment_bytes = get_u64(from + 32),
        .prev_generation = get_u64(from + 40),
        .prev_end = get_u64(from + 48),
        .first_generation = get_u64(from + 56),
        .first_number = get_u64(from + 64),
        .prev_crc = get_u32(from + 72),
        .base_generation = get_u64(from + 80),
        .base_end = get_u64(from + 88),
        .prev_synced = get_u64(from + 96),
        .base_synced = get_u64(from + 104),
        .crc = crc,
    };
    return ret->generation == 0 || ret->generation > MSGLOG_NUMBER_MAX ||
                   ret->first_number > MSGLOG_NUMBER_MAX || ret->generation <= ret->prev_generation ||
                   ret->generation <= ret->base_generation || ret->generation < ret->first_generation
               ? -LE_NOTFOUND
               : 0;
}

void
group_header_encode(struct group_header *h, uint8_t to[GROUP_HEADER_BYTES])
{
    memset(to, 0, GROUP_HEADER_BYTES);
    put_u32(to, GROUP_MAGIC);
    put_u64(to + 8, h->generation);
    put_u64(to + 16, h->salt);
    put_u64(to + 24, h->number);
    put_u32(to + 32, h->offset);
    put_u32(to + 36, h->payload_bytes);
    put_u32(to + 40, h->record_count);
    put_u32(to + 44, h->records_crc);
    put_u32(to + 48, h->prev_crc);
    put_u32(to + 52, h->synced);
    h->crc = crc32c(0, to + 8, GROUP_HEADER_BYTES - 8);
    put_u32(to + 4, h->crc);
}

int
group_header_decode(const uint8_t from[GROUP_HEADER_BYTES], struct group_header *ret)
{
    if (get_u32(from) != GROUP_MAGIC || get_u32(from + 4) != crc32c(0, from + 8, GROUP_HEADER_BYTES - 8))
        return -LE_CORRUPT;
    *ret = (struct group_header){
        .generation = get_u64(from + 8),
        .salt = get_u64(from + 16),
        .number = get_u64(from + 24),
        .offset = get_u32(from + 32),
        .payload_bytes = get_u32(from + 36),
        .record_count = get_u32(from + 40),
        .records_crc = get_u32(from + 44),
        .prev_crc = get_u32(from + 48),
        .synced = get_u32(from + 52),
        .crc = get_u32(from + 4),
    };
    return ret->generation <= MSGLOG_NUMBER_MAX && ret->number <= MSGLOG_NUMBER_MAX ? 0 : -LE_CORRUPT;
}

void
record_header_encode(const struct record_header *h, uint32_t place, uint8_t to[RECORD_HEADER_BYTES])
{
    put_u32(to, h->payload_bytes);
    put_u32(to + 4, (uint32_t)h->type | (uint32_t)h->flags << 16);
    put_u32(to + 8, h->payload_crc);
    put_u32(to + 12, crc32c(place, to, 12));
}

int
record_header_decode(const uint8_t from[RECORD_HEADER_BYTES], uint32_t place, struct record_header *ret)
{
    if (get_u32(from + 12) != crc32c(place, from, 12))
        return -LE_CORRUPT;
    record_header_parse(from, ret);
    return 0;
}

void
message_fixed_encode(const struct message_fixed *m, uint8_t to[MESSAGE_FIXED_BYTES])
{
    put_u64(to, m->tx);
    put_u32(to + 8, m->ref_count);
    put_u32(to + 12, m->content_bytes);
    put_u64(to + 16, (uint64_t)m->published_ms);
    put_u32(to + 24, m->expiry_ms);
    put_u32(to + 28, (uint32_t)m->flags | (uint32_t)m->priority << 8 | (uint32_t)m->route_bytes << 16);
    put_u32(to + 32, m->header_bytes);
    put_u32(to + 36, m->body_bytes);
    put_u64(to + 40, m->large_file);
    put_u32(to + 48, m->large_crc);
    put_u32(to + 52, 0);
}

void
message_ref_encode(const struct message_ref *r, uint8_t to[MESSAGE_REF_BYTES])
{
    put_u64(to, r->queue);
    put_u64(to + 8, r->seq);
    put_u64(to + 16, (uint64_t)r->expires_ms);
    put_u32(to + 24, r->epoch);
    put_u32(to + 28, r->flags);
}

void
message_ref_decode(const uint8_t from[MESSAGE_REF_BYTES], struct message_ref *ret)
{
    ret->queue = get_u64(from);
    ret->seq = get_u64(from + 8);
    ret->expires_ms = (int64_t)get_u64(from + 16);
    ret->epoch = get_u32(from + 24);
    ret->flags = get_u32(from + 28);
}

int
message_fixed_decode(struct slice payload, struct message_fixed *ret)
{
    if (payload.len < MESSAGE_FIXED_BYTES)
        return -LE_CORRUPT;
    const uint8_t *from = payload.ptr;
    uint32_t mixed = get_u32(from + 28);
    struct message_fixed m = {
        .tx = get_u64(from),
        .ref_count = get_u32(from + 8),
        .content_bytes = get_u32(from + 12),
        .published_ms = (int64_t)get_u64(from + 16),
        .expiry_ms = get_u32(from + 24),
        .flags = (uint8_t)mixed,
        .priority = (uint8_t)(mixed >> 8),
        .route_bytes = (uint16_t)(mixed >> 16),
        .header_bytes = get_u32(from + 32),
        .body_bytes = get_u32(from + 36),
        .large_file = get_u64(from + 40),
        .large_crc = get_u32(from + 48),
    };
    uint64_t content = (uint64_t)m.route_bytes + m.header_bytes + m.body_bytes;
    uint64_t here = m.large_file == 0 ? content : 0;
    if (m.content_bytes != content || m.tx > MSGLOG_NUMBER_MAX || m.large_file > MSGLOG_NUMBER_MAX ||
        payload.len != MESSAGE_FIXED_BYTES + (uint64_t)m.ref_count * MESSAGE_REF_BYTES + here)
        return -LE_CORRUPT;
    *ret = m;
    return 0;
}

void
count_range_encode(const struct count_range *r, uint8_t to[COUNT_RANGE_BYTES])
{
    LV_ASSERT(r->numbers > 0 && r->numbers <= COUNT_RANGE_MAX && r->count > 0 && r->count <= COUNT_MAX);
    put_u64(to, r->first);
    put_u32(to + 8, r->numbers);
    put_u32(to + 12, r->count);
}

int
count_range_decode(const uint8_t from[COUNT_RANGE_BYTES], struct count_range *ret)
{
    *ret = (struct count_range){get_u64(from), get_u32(from + 8), get_u32(from + 12)};
    bool is_good = ret->first != 0 && ret->numbers > 0 && ret->numbers <= COUNT_RANGE_MAX &&
                   ret->first <= UINT64_MAX - ret->numbers && ret->count > 0 && ret->count <= COUNT_MAX;
    return is_good ? 0 : -LE_CORRUPT;
}
