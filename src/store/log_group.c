// log_group.c: collect, join, encode. The table of identities is rebuilt as it grows and emptied with the group.
#include "src/store/log_group.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"

void
group_init(struct group *g)
{
    memset(g, 0, sizeof(*g));
    group_reset(g);
}

void
group_reset(struct group *g)
{
    for (uint32_t i = 0; i < g->owned_count; i++)
        mem_free(g->owned[i]);
    g->owned_count = g->item_count = 0;
    g->link_count = 1; // link 0 means none
    g->bytes = 0;
    if (g->table_cap > 0)
        memset(g->table, 0, g->table_cap * sizeof(*g->table));
}

void
group_fini(struct group *g)
{
    group_reset(g);
    mem_free(g->items);
    mem_free(g->links);
    mem_free(g->table);
    mem_free(g->owned);
    buf_fini(&g->out);
    memset(g, 0, sizeof(*g));
}

static int
grow(void *items, uint32_t *cap, uint32_t count, size_t size)
{
    if (count < *cap)
        return 0;
    void *old;
    memcpy(&old, items, sizeof old);
    uint32_t more = *cap == 0 ? 64 : *cap * 2;
    void *new = mem_realloc(old, more * size);
    if (new == NULL)
        return -LE_NOMEM;
    memcpy(items, &new, sizeof new);
    *cap = more;
    return 0;
}

// --- identities ---

static uint64_t
identity_hash(const void *identity, const struct msglog_place *origin, uint64_t tx)
{
    uint64_t key[4] = {(uint64_t)(uintptr_t)identity, origin->file, origin->offset, tx};
    uint64_t h = 0;
    for (int i = 0; i < 4; i++)
        h = (h ^ key[i]) * 0x9e3779b97f4a7c15ull, h ^= h >> 29;
    return h;
}

static bool
is_same(const struct group_item *it, const void *identity, const struct msglog_place *origin, uint64_t tx)
{
    return it->identity == identity && it->origin.file == origin->file &&
           it->origin.offset == origin->offset && it->tx == tx;
}

static void
table_insert(struct group *g, uint32_t index)
{
    const struct group_item *it = &g->items[index];
    uint64_t at = identity_hash(it->identity, &it->origin, it->tx);
    while (g->table[at & (g->table_cap - 1)] != 0)
        at++;
    g->table[at & (g->table_cap - 1)] = index + 1;
}

static int
table_reserve(struct group *g)
{
    if (g->item_count + 1 <= g->table_cap / 2)
        return 0;
    uint32_t cap = LV_MAX(g->table_cap * 2, 128u);
    uint32_t *table = mem_calloc(cap, sizeof(*table));
    if (table == NULL)
        return -LE_NOMEM;
    mem_free(g->table);
    g->table = table;
    g->table_cap = cap;
    for (uint32_t i = 0; i < g->item_count; i++)
        if (g->items[i].type == RECORD_MESSAGE)
            table_insert(g, i);
    return 0;
}

struct group_item *
group_find(struct group *g, const struct msglog_entry *e, const void *identity,
           const struct msglog_place *origin)
{
    if (e->kind == MSGLOG_ACK || e->kind == MSGLOG_COUNT) {
        struct group_item *last = g->item_count > 0 ? &g->items[g->item_count - 1] : NULL;
        uint16_t type = e->kind == MSGLOG_ACK ? RECORD_ACK : RECORD_COUNT;
        return last != NULL && last->type == type && last->queue == e->queue && last->tx == e->tx ? last
                                                                                                  : NULL;
    }
    if (e->kind != MSGLOG_MESSAGE && e->kind != MSGLOG_MOVE)
        return NULL;
    uint64_t at = g->table_cap > 0 ? identity_hash(identity, origin, e->tx) : 0;
    for (; g->table_cap > 0 && g->table[at & (g->table_cap - 1)] != 0; at++) {
        struct group_item *it = &g->items[g->table[at & (g->table_cap - 1)] - 1];
        if (is_same(it, identity, origin, e->tx))
            return it;
    }
    return NULL;
}

// --- collecting ---

static uint32_t
content_bytes(const struct msglog_content *c)
{
    return (uint32_t)c->route_bytes + c->header_bytes + c->body_bytes;
}

uint32_t
group_cost(const struct group_add *a, const struct group_item *joined)
{
    if (a->type == RECORD_MESSAGE) {
        uint32_t own = RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES + RECORD_ALIGN_BYTES;
        return MESSAGE_REF_BYTES +
               (joined != NULL ? 0 : own + (a->large_file == 0 ? content_bytes(a->content) : 0));
    }
    if (a->type == RECORD_ACK)
        return ACK_RANGE_BYTES + (joined != NULL ? 0 : RECORD_HEADER_BYTES + ACK_FIXED_BYTES);
    if (a->type == RECORD_COUNT)
        return COUNT_RANGE_BYTES + (joined != NULL ? 0 : RECORD_HEADER_BYTES + COUNT_FIXED_BYTES);
    return RECORD_HEADER_BYTES + 16;
}

uint32_t
group_padded(uint32_t bytes)
{
    return align_up(GROUP_HEADER_BYTES + bytes, MSGLOG_SECTOR_BYTES);
}

int
group_join(struct group *g, struct group_item *item, struct msglog_entry *e)
{
    int err = grow(&g->links, &g->link_cap, g->link_count + 1, sizeof(*g->links));
    if (err != 0)
        return err;
    uint32_t link = g->link_count++;
    g->links[link] = (struct group_link){.entry = e};
    if (item->count++ == 0)
        item->first = link;
    else
        g->links[item->last].next = link;
    item->last = link;
    g->bytes += item->type == RECORD_MESSAGE ? MESSAGE_REF_BYTES
                : item->type == RECORD_ACK   ? ACK_RANGE_BYTES
                : item->type == RECORD_COUNT ? COUNT_RANGE_BYTES
                                             : 0;
    return 0;
}

int
group_append(struct group *g, struct msglog_entry *e, const struct group_add *a)
{
    if (grow(&g->items, &g->item_cap, g->item_count + 1, sizeof(*g->items)) != 0 || table_reserve(g) != 0 ||
        grow(&g->owned, &g->owned_cap, g->owned_count + 1, sizeof(*g->owned)) != 0 ||
        grow(&g->links, &g->link_cap, g->link_count + 1, sizeof(*g->links)) != 0)
        return -LE_NOMEM;
    uint32_t cost = group_cost(a, NULL);
    struct group_item *it = &g->items[g->item_count++];
    *it = (struct group_item){
        .type = a->type, .number = a->number, .large_file = a->large_file, .large_crc = a->large_crc};
    if (e != NULL) {
        it->tx = e->tx;
        it->queue = e->queue;
    }
    if (a->type == RECORD_MESSAGE) {
        LV_ASSERT(e != NULL);
        it->content = *a->content;
        it->identity = e->kind == MSGLOG_MOVE ? NULL : a->content->bytes;
        if (e->kind == MSGLOG_MOVE)
            it->origin = e->place;
        table_insert(g, g->item_count - 1);
    }
    if (a->owned != NULL)
        g->owned[g->owned_count++] = a->owned;
    uint32_t before = g->bytes;
    int err = e != NULL ? group_join(g, it, e) : 0;
    LV_ASSERT(err == 0); // room was made above
    g->bytes = before + cost;
    return 0;
}

// --- encoding ---

static uint32_t
encode_message(const struct group *g, const struct group_item *it, uint8_t *to)
{
    struct message_fixed m = {
        .tx = it->tx,
        .ref_count = it->count,
        .content_bytes = content_bytes(&it->content),
        .published_ms = it->content.published_ms,
        .expiry_ms = it->content.expiry_ms,
        .flags = it->content.flags,
        .priority = it->content.priority,
        .route_bytes = it->content.route_bytes,
        .header_bytes = it->content.header_bytes,
        .body_bytes = it->content.body_bytes,
        .large_file = it->large_file,
        .large_crc = it->large_crc,
    };
    message_fixed_encode(&m, to);
    uint8_t *at = to + MESSAGE_FIXED_BYTES;
    for (uint32_t i = it->first; i != 0; i = g->links[i].next, at += MESSAGE_REF_BYTES) {
        const struct msglog_entry *e = g->links[i].entry;
        message_ref_encode(&(struct message_ref){e->queue, e->seq, e->expires_ms, e->epoch, e->flags}, at);
    }
    if (it->large_file == 0 && m.content_bytes > 0) {
        memcpy(at, it->content.bytes, m.content_bytes);
        at += m.content_bytes;
    }
    return (uint32_t)(at - to);
}

static uint32_t
encode_ack(const struct group *g, const struct group_item *it, uint8_t *to)
{
    uint8_t *at = to + ACK_FIXED_BYTES;
    uint64_t first = 0, count = 0;
    uint32_t ranges = 0;
    for (uint32_t i = it->first; i != 0; i = g->links[i].next) {
        const struct msglog_entry *e = g->links[i].entry;
        if (ranges > 0 && e->seq == first + count) { // goes on where the last one ends
            count += e->count;
        } else {
            first = e->seq;
            count = e->count;
            ranges++;
        }
        put_u64(at + (ranges - 1) * ACK_RANGE_BYTES, first);
        put_u64(at + (ranges - 1) * ACK_RANGE_BYTES + 8, count);
    }
    put_u64(to, it->tx);
    put_u64(to + 8, it->queue);
    put_u32(to + 16, ranges);
    put_u32(to + 20, 0);
    return ACK_FIXED_BYTES + ranges * ACK_RANGE_BYTES;
}

static uint32_t
encode_count(const struct group *g, const struct group_item *it, uint8_t *to)
{
    uint8_t *at = to + COUNT_FIXED_BYTES;
    put_u64(to, it->queue);
    put_u32(to + 8, it->count);
    put_u32(to + 12, 0);
    for (uint32_t i = it->first; i != 0; i = g->links[i].next, at += COUNT_RANGE_BYTES) {
        const struct msglog_entry *e = g->links[i].entry;
        count_range_encode(&(struct count_range){e->seq, (uint32_t)e->count, e->flags}, at);
    }
    return (uint32_t)(at - to);
}

static uint32_t
encode_payload(const struct group *g, const struct group_item *it, uint8_t *to)
{
    switch (it->type) {
    case RECORD_MESSAGE: return encode_message(g, it, to);
    case RECORD_ACK: return encode_ack(g, it, to);
    case RECORD_COUNT: return encode_count(g, it, to);
    case RECORD_PURGE:
        put_u64(to, it->queue);
        put_u64(to + 8, it->number);
        return 16;
    case RECORD_DELETE:
        put_u64(to, it->queue);
        put_u64(to + 8, 0);
        return 16;
    case RECORD_COMMIT:
        put_u64(to, it->tx);
        put_u64(to + 8, 0);
        return 16;
    default:
        put_u64(to, it->number);
        put_u64(to + 8, 0);
        return 16;
    }
}

int
group_encode(struct group *g, const struct ring_target *t, uint32_t *ret_crc)
{
    uint32_t limit = group_padded(g->bytes);
    buf_reset(&g->out);
    if (!buf_reserve(&g->out, limit)) {
        buf_fini(&g->out);
        return -LE_NOMEM;
    }
    struct group_header h = {.generation = t->generation,
                             .salt = t->salt,
                             .number = t->number,
                             .offset = t->offset,
                             .record_count = g->item_count,
                             .prev_crc = t->prev_crc,
                             .synced = t->synced};
    uint32_t at = GROUP_HEADER_BYTES;
    for (uint32_t i = 0; i < g->item_count; i++) {
        struct group_item *it = &g->items[i];
        uint8_t *record = g->out.ptr + at;
        struct record_header rh = {.type = it->type};
        rh.payload_bytes = encode_payload(g, it, record + RECORD_HEADER_BYTES);
        rh.payload_crc = crc32c(0, record + RECORD_HEADER_BYTES, rh.payload_bytes);
        record_header_encode(&rh, record_place(t->generation, t->offset + at), record);
        h.records_crc = crc32c(h.records_crc, record, RECORD_HEADER_BYTES);
        it->offset = at;
        it->bytes = RECORD_HEADER_BYTES + rh.payload_bytes;
        uint32_t end = at + it->bytes, next = align_up(end, RECORD_ALIGN_BYTES);
        LV_ASSERT(next <= limit);
        memset(g->out.ptr + end, 0, next - end);
        at = next;
    }
    h.payload_bytes = at - GROUP_HEADER_BYTES;
    group_header_encode(&h, g->out.ptr);
    g->out.len = group_padded(h.payload_bytes);
    memset(g->out.ptr + at, 0, g->out.len - at);
    *ret_crc = h.crc;
    return 0;
}

void
group_settle(struct group *g, uint64_t generation, uint32_t offset)
{
    for (uint32_t i = 0; i < g->item_count; i++) {
        const struct group_item *it = &g->items[i];
        for (uint32_t l = it->first; l != 0; l = g->links[l].next) {
            struct msglog_entry *e = g->links[l].entry;
            e->result = 0;
            e->place = (struct msglog_place){.file = generation + (LOG_BUG(BUG_ACK_PLACE_WRONG) ? 1 : 0)};
            if (it->type != RECORD_MESSAGE)
                continue;
            e->place.file = generation;
            e->place.offset = offset + it->offset;
            e->place.len = it->bytes;
            e->large_file = it->large_file;
        }
    }
}
