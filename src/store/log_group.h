// log_group.h: builds one group: collects entries, joins references to one message, encodes. Pure: no I/O.
//
// Entries are collected in order, then encoded for a place (log_ring.h), again for another one when the first write failed. A reference
// joins the record of the same message (same `bytes`, or same origin of a move) and the same transaction, which may be earlier in the
// group; acks that follow each other in one queue share a record. Nothing else changes its order.
#pragma once

#include "src/base/buf.h"
#include "src/store/log.h"
#include "src/store/log_ring.h"

struct group_item {                // a record to be
    uint16_t type;                 // enum msglog_record_type
    uint32_t first, last, count;   // of its entries, in `links`
    uint32_t offset, bytes;        // in the group, filled by group_encode
    uint64_t tx, queue, number;    // number: PURGE up to, CHECKPOINT first generation
    struct msglog_content content; // bytes NULL: in a large file
    uint64_t large_file;
    uint32_t large_crc;
    struct msglog_place origin; // of a move; file 0: none
    const void *identity;       // of a message: its bytes
};

struct group_link {
    struct msglog_entry *entry;
    uint32_t next; // 0: last
};

struct group {
    struct group_item *items;
    uint32_t item_count, item_cap;
    struct group_link *links; // from 1
    uint32_t link_count, link_cap;
    uint32_t *table; // open addressing: index + 1 of message items by identity
    uint32_t table_cap;
    uint32_t bytes; // upper bound of what group_encode will make, without padding
    struct buf out;
    uint8_t **owned; // contents read for moves, freed with the group
    uint32_t owned_count, owned_cap;
};

// What is added; the parts that do not come from the entry.
struct group_add {
    uint16_t type;
    uint64_t number;
    const struct msglog_content *content; // MESSAGE
    uint64_t large_file;
    uint32_t large_crc;
    uint8_t *owned; // content's memory that the group shall free; NULL: none. Passes over only on success
};

void group_init(struct group *g);
void group_fini(struct group *g);
void group_reset(struct group *g); // empties, keeps the memory

// The record this entry would join; NULL: it needs one of its own.
struct group_item *group_find(struct group *g, const struct msglog_entry *e, const void *identity,
                              const struct msglog_place *origin);
// Bytes that adding would cost at most.
uint32_t group_cost(const struct group_add *a, const struct group_item *joined);
LV_MUST_USE int group_join(struct group *g, struct group_item *item,
                           struct msglog_entry *e); // 0 or -LE_NOMEM
// A record of its own. e NULL: a record of the log's own (CHECKPOINT).
LV_MUST_USE int group_append(struct group *g, struct msglog_entry *e, const struct group_add *a);
uint32_t group_padded(uint32_t bytes); // with header and padding
// Into g->out, padded to sectors; *ret_crc is the header's. 0 or -LE_NOMEM.
LV_MUST_USE int group_encode(struct group *g, const struct ring_target *t, uint32_t *ret_crc);
// After it is durable: fills result 0 and place.file of all entries; of messages offset, len and large_file too.
void group_settle(struct group *g, uint64_t generation, uint32_t offset);
