// log_format.h: the bytes of the commit log: segment header, group, record; nothing here does I/O. docs/formats.md is the norm.
//
// All numbers are little-endian. Everything read is from outside: decoders check lengths and checksums and never assert on them.
#pragma once

#include "src/base/lv.h"
#include "src/base/slice.h"

// LIMIT: sector size that a torn write may spoil: headers and groups begin at a multiple of it, so no write touches a durable group.
enum { MSGLOG_SECTOR_BYTES = 512 };
enum { MSGLOG_FORMAT_VERSION = 1 };
// LIMIT: generations, numbers of groups, transactions and large files, which count upwards; what is above was not written by us.
#define MSGLOG_NUMBER_MAX (UINT64_C(1) << 62)
enum {
    SEGMENT_HEADER_BYTES = 512,
    GROUP_HEADER_BYTES = 64,
    RECORD_HEADER_BYTES = 16,
    RECORD_ALIGN_BYTES = 8,
    MESSAGE_FIXED_BYTES = 56,
    MESSAGE_REF_BYTES = 32,
    ACK_FIXED_BYTES = 24,
    ACK_RANGE_BYTES = 16,
    COUNT_FIXED_BYTES = 16,
    COUNT_RANGE_BYTES = 16,
};

// LIMIT: numbers of one range of counts, so that what is read from a file asks for little memory; and the highest count.
enum { COUNT_RANGE_MAX = 64, COUNT_MAX = 0xffff };

enum msglog_record_type {
    RECORD_MESSAGE = 1,
    RECORD_ACK = 2,
    RECORD_PURGE = 3,      // queue, up to sequence number
    RECORD_DELETE = 4,     // queue
    RECORD_COMMIT = 5,     // transaction
    RECORD_CHECKPOINT = 6, // first generation that recovery reads
    RECORD_COUNT = 7,      // queue, delivery counts of ranges of sequence numbers
    RECORD_TABLE = 8,      // of a block of a backlog file
};

struct segment_header {
    uint64_t generation;      // never used twice in a data directory
    uint64_t salt;            // random for each use of a file
    uint64_t segment_bytes;   // size of the file
    uint64_t prev_generation; // the segment before it in the log; 0: none
    uint64_t prev_end;        // bytes of that one that are valid: what lies behind is void
    // The same, once the first group here is valid: recovery repeats the last group of the log as the first of a new segment, and its
    // first copy, which may not be on disk, is left out from then on. Otherwise equal to prev_*.
    uint64_t base_generation, base_end;
    // Bytes of prev and base that a sync had covered: what is missing before them is damage, behind them it may be missing.
    uint64_t prev_synced, base_synced;
    uint64_t first_generation; // the oldest one still needed when this was written
    uint64_t first_number;     // number of the first group here
    uint32_t prev_crc;         // checksum of the last valid group there
    uint32_t crc;              // of this header; the first group's predecessor
};

struct group_header {
    uint64_t generation, salt;
    uint64_t number; // LSN: counts groups, never used twice
    uint32_t offset; // in the segment
    uint32_t payload_bytes;
    uint32_t record_count;
    uint32_t records_crc; // over all record headers, which hold the checksums of their payloads
    uint32_t prev_crc;    // header checksum of the group before it, or of the segment header
    uint32_t synced;      // everything before this offset of the segment was durable when this was written
    uint32_t crc;         // of this header
};

struct record_header {
    uint32_t payload_bytes;
    uint16_t type; // enum msglog_record_type
    uint16_t flags;
    uint32_t payload_crc;
};

// The fixed part of a message record.
struct message_fixed {
    uint64_t tx; // 0: none
    uint32_t ref_count;
    uint32_t content_bytes; // route, header and body together
    int64_t published_ms;
    uint32_t expiry_ms;
    uint8_t flags, priority;
    uint16_t route_bytes;
    uint32_t header_bytes, body_bytes;
    uint64_t large_file; // 0: the content follows the references; else it lies in this file
    uint32_t large_crc;  // CRC-32C of that file
};

struct message_ref {
    uint64_t queue, seq;
    int64_t expires_ms; // wall clock; 0: never
    uint32_t epoch;
    uint32_t flags; // the queue's own
};

static inline uint32_t
align_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

void segment_header_encode(struct segment_header *h, uint8_t to[SEGMENT_HEADER_BYTES]); // fills crc
// 0; -LE_NOTFOUND: not a header (never written, or torn); -LE_UNSUPPORTED: of a newer version, with a valid checksum.
LV_MUST_USE int segment_header_decode(const uint8_t from[SEGMENT_HEADER_BYTES], struct segment_header *ret);

void group_header_encode(struct group_header *h, uint8_t to[GROUP_HEADER_BYTES]); // fills crc
LV_MUST_USE int group_header_decode(const uint8_t from[GROUP_HEADER_BYTES],
                                    struct group_header *ret); // 0 or -LE_CORRUPT

// `place` ties a record to where it lies, so that a copy elsewhere is not valid: record_place(generation, offset in the segment).
static inline uint32_t
record_place(uint64_t generation, uint32_t offset)
{
    return (uint32_t)(generation * 0x9e3779b97f4a7c15ull >> 32) ^ offset;
}

// Of a header that was checked before.
static inline void
record_header_parse(const uint8_t from[RECORD_HEADER_BYTES], struct record_header *ret)
{
    memcpy(&ret->payload_bytes, from, 4);
    memcpy(&ret->type, from + 4, 2);
    memcpy(&ret->flags, from + 6, 2);
    memcpy(&ret->payload_crc, from + 8, 4);
}

// The payload is in place behind the 16 bytes already.
void record_header_encode(const struct record_header *h, uint32_t place, uint8_t to[RECORD_HEADER_BYTES]);
LV_MUST_USE int record_header_decode(const uint8_t from[RECORD_HEADER_BYTES], uint32_t place,
                                     struct record_header *ret);

void message_fixed_encode(const struct message_fixed *m, uint8_t to[MESSAGE_FIXED_BYTES]);
void message_ref_encode(const struct message_ref *r, uint8_t to[MESSAGE_REF_BYTES]);
// Checks that the lengths within fit the payload and each other: 0 or -LE_CORRUPT.
LV_MUST_USE int message_fixed_decode(struct slice payload, struct message_fixed *ret);
void message_ref_decode(const uint8_t from[MESSAGE_REF_BYTES], struct message_ref *ret);

// Delivery counts of a range of sequence numbers, in the log and in a backlog's state.
struct count_range {
    uint64_t first;
    uint32_t numbers; // 1 … COUNT_RANGE_MAX
    uint32_t count;   // 1 … COUNT_MAX
};

void count_range_encode(const struct count_range *r, uint8_t to[COUNT_RANGE_BYTES]);
LV_MUST_USE int count_range_decode(const uint8_t from[COUNT_RANGE_BYTES],
                                   struct count_range *ret); // 0 or -LE_CORRUPT

// Little-endian numbers; the host is little-endian too (asserted in log_format.c).
static inline void
put_u32(uint8_t *to, uint32_t v)
{
    memcpy(to, &v, sizeof v);
}

static inline void
put_u64(uint8_t *to, uint64_t v)
{
    memcpy(to, &v, sizeof v);
}

static inline uint32_t
get_u32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline uint64_t
get_u64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return v;
}
