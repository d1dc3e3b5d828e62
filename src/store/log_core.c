// log_core.c: admission, transactions, checkpoints, the error rule.
//
// Happy path: core_add puts entries into the group; core_flush reserves a place, encodes, writes and syncs once, then settles: results,
// places, references of large files, what was vacated. When all writers have vacated a generation the next group holds a CHECKPOINT, and
// when that is durable the older segments are free.
// Relaxed: a group of relaxed entries alone is written without a sync, and becomes durable with the next one that has one, or by
// core_sync. After a power cut any of such groups may be missing while later ones are there. So what must not be found without them is
// written after a sync of its own: a COMMIT with parts in them, a CHECKPOINT (moved messages may be in them). A large file is unlinked
// (RELEASE) after a sync too. The first group of a segment is always synced, and a segment before it is left (log_ring.c).
// Failure modes: no room: refused by kind of entry (KEEP_FOR_*). Write or sync failed: the group is written again to a fresh file;
// failed again, there or later: out of service. No memory: the entry is refused with -LE_NOMEM, like any other refusal.
// A transaction one entry of which was refused is never committed: its COMMIT gets the same result.
#include "src/store/log_core.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"

// LIMIT: failed writes and syncs that the log survives.
enum { FAILURES_MAX = 1 };
enum { PREPARE_STEP_BYTES = 1 << 20 };

void
core_fini(struct core *c)
{
    size_t cursor = 0;
    uint64_t id;
    void *tx;
    while (inttab_next(&c->txs, &cursor, &id, &tx))
        mem_free(tx);
    inttab_fini(&c->txs);
    inttab_fini(&c->large);
    group_fini(&c->group);
    mem_free(c->silent);
    mem_free(c->silent_writer);
    ring_fini(&c->ring);
}

// --- transactions ---

static struct core_tx *
tx_get(struct core *c, uint64_t id)
{
    struct core_tx *tx = inttab_get(&c->txs, id);
    if (tx != NULL)
        return tx;
    tx = mem_calloc(1, sizeof(*tx));
    if (tx == NULL)
        return NULL;
    tx->first_generation =
        c->ring.current != NULL ? c->ring.current->header.generation : c->ring.next_generation;
    tx->first_number = c->ring.next_number;
    if (inttab_put(&c->txs, id, tx) != 0) {
        mem_free(tx);
        return NULL;
    }
    return tx;
}

static void
tx_end(struct core *c, uint64_t id)
{
    mem_free(inttab_take(&c->txs, id));
}

static uint64_t
tx_oldest(const struct core *c)
{
    uint64_t oldest = UINT64_MAX, id;
    size_t cursor = 0;
    void *value;
    while (inttab_next(&c->txs, &cursor, &id, &value))
        oldest = LV_MIN(oldest, ((struct core_tx *)value)->first_generation);
    return oldest;
}

// --- adding ---

static int
refuse(struct core *c, unsigned writer, struct msglog_entry *e, int err)
{
    e->result = err;
    c->was_refused |= err == -LE_NOSPACE;
    if (e->kind == MSGLOG_MOVE &&
        (err == -LE_NOSPACE || err == -LE_NOMEM)) // not: cannot be read, which does not change
        c->has_failed_move[writer] = true;
    if (e->tx != 0) {
        // Looked up, not made: of a group that cannot be written the parts come behind their COMMIT, which has ended it.
        struct core_tx *tx = inttab_get(&c->txs, e->tx);
        if (tx != NULL)
            tx->error = err;
        if (e->kind == MSGLOG_COMMIT || e->kind == MSGLOG_ABORT)
            tx_end(c, e->tx);
    }
    return err;
}

static int
add_silent(struct core *c, unsigned writer, struct msglog_entry *e)
{
    if (c->silent_count == c->silent_cap) {
        uint32_t cap = c->silent_cap == 0 ? 64 : c->silent_cap * 2;
        struct msglog_entry **silent = mem_realloc(c->silent, cap * sizeof(struct msglog_entry *));
        if (silent != NULL)
            c->silent = silent;
        uint8_t *writers = silent != NULL ? mem_realloc(c->silent_writer, cap) : NULL;
        if (writers == NULL)
            return refuse(c, writer, e, -LE_NOMEM);
        c->silent_writer = writers;
        c->silent_cap = cap;
    }
    c->silent[c->silent_count] = e;
    c->silent_writer[c->silent_count++] = (uint8_t)writer;
    return 0;
}

static size_t
keep_of(const struct msglog_entry *e)
{
    return e->kind == MSGLOG_MESSAGE || e->kind == MSGLOG_COUNT ? KEEP_FOR_MOVES
           : e->kind == MSGLOG_MOVE                             ? KEEP_FOR_ACKS
                                                                : KEEP_FOR_CHECKPOINT;
}

// Puts an entry that has a record into the group.
static int
add_record(struct core *c, unsigned writer, struct msglog_entry *e, struct group_add *a)
{
    const void *identity = e->kind == MSGLOG_MESSAGE ? e->content->bytes : NULL;
    struct msglog_place none = {0};
    struct group_item *joined =
        group_find(&c->group, e, identity, e->kind == MSGLOG_MOVE ? &e->place : &none);
    bool is_large = e->kind == MSGLOG_MESSAGE && joined == NULL &&
                    (uint64_t)e->content->route_bytes + e->content->header_bytes + e->content->body_bytes >
                        c->content_max;
    a->large_file = is_large ? UINT64_MAX : a->large_file;
    uint32_t cost = group_cost(a, joined);
    if (c->group.item_count > 0 && c->group.bytes + cost > c->group_soft)
        return -LE_AGAIN;
    if (group_padded(c->group.bytes + cost) > ring_group_max(&c->ring))
        return refuse(c, writer, e, -LE_LIMIT);
    if (!ring_fits(&c->ring, group_padded(c->group.bytes + cost), keep_of(e))) {
        if (c->group.item_count > 0)
            return -LE_AGAIN; // alone it may fit
        return refuse(c, writer, e, -LE_NOSPACE);
    }
    int err = is_large ? large_write(c, e->content, &a->large_file, &a->large_crc) : 0;
    if (err == 0)
        err = joined != NULL ? group_join(&c->group, joined, e) : group_append(&c->group, e, a);
    if (err != 0) {
        if (is_large && a->large_file != UINT64_MAX)
            large_drop(c, a->large_file);
        return refuse(c, writer, e, err);
    }
    c->needs_sync |= !e->is_relaxed;
    return 0;
}

static int
add_move(struct core *c, unsigned writer, struct msglog_entry *e)
{
    struct msglog_record record = {0};
    struct group_add a = {.type = RECORD_MESSAGE};
    if (group_find(&c->group, e, NULL, &e->place) != NULL) {
        a.content = &record.content; // not looked at
        return add_record(c, writer, e, &a);
    }
    uint8_t *raw = NULL;
    struct message_fixed m;
    int err = core_read_raw(c, &e->place, &raw, &m);
    if (err != 0) // not -LE_IO, which says that the log cannot be written
        return refuse(c, writer, e, err == -LE_IO ? -LE_NOTFOUND : err);
    record.content = (struct msglog_content){
        .flags = m.flags,
        .priority = m.priority,
        .route_bytes = m.route_bytes,
        .header_bytes = m.header_bytes,
        .body_bytes = m.body_bytes,
        .expiry_ms = m.expiry_ms,
        .published_ms = m.published_ms,
        .bytes = raw + RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES + (size_t)m.ref_count * MESSAGE_REF_BYTES,
    };
    a.content = &record.content;
    a.large_file = m.large_file;
    a.large_crc = m.large_crc;
    a.owned = raw;
    err = add_record(c, writer, e, &a);
    if (err != 0)
        mem_free(raw);
    return err;
}

static int
add_count(struct core *c, unsigned writer, struct msglog_entry *e)
{
    bool is_sane = e->queue != 0 && e->seq != 0 && e->tx == 0 && e->count > 0 &&
                   e->count <= COUNT_RANGE_MAX && e->flags > 0 && e->flags <= COUNT_MAX;
    return is_sane ? add_record(c, writer, e, &(struct group_add){.type = RECORD_COUNT})
                   : refuse(c, writer, e, -LE_INVAL);
}

// COMMIT or ABORT: the last word on a transaction, once all its parts are there. A late part would open it again.
static int
add_verdict(struct core *c, unsigned writer, struct msglog_entry *e)
{
    struct core_tx *tx = tx_get(c, e->tx);
    if (tx == NULL)
        return refuse(c, writer, e, -LE_NOMEM);
    if (tx->parts < e->count && !LOG_BUG(BUG_TX_PARTS_COUNT)) {
        tx->verdict = e;
        tx->verdict_writer = writer;
        e->result = CORE_HELD;
        return CORE_HELD;
    }
    if (e->kind == MSGLOG_ABORT)
        return add_silent(c, writer, e);
    if (tx->error != 0)
        return refuse(c, writer, e, tx->error);
    int err = add_record(c, writer, e, &(struct group_add){.type = RECORD_COMMIT});
    if (err == 0) {
        c->needs_presync |= tx->first_number < c->ring.next_number;
        c->needs_sync |=
            tx->first_generation <= c->asked; // parts of it are moved to files as soon as it is reported
        tx_end(c, e->tx);
    }
    return err;
}

static int
add_part(struct core *c, unsigned writer, struct msglog_entry *e)
{
    struct core_tx *tx = tx_get(c, e->tx);
    if (tx == NULL)
        return refuse(c, writer, e, -LE_NOMEM);
    struct msglog_entry *verdict = tx->verdict;
    bool is_last = verdict != NULL && tx->parts + 1 >= verdict->count;
    if (is_last && c->group.bytes + RECORD_HEADER_BYTES + 16 > c->group_soft && c->group.item_count > 0)
        return -LE_AGAIN;
    int err = add_silent(c, writer, e);
    if (err == -LE_NOMEM)
        tx->error = err;
    tx->parts++;
    if (is_last) {
        verdict->result = -LE_IO;
        if (add_verdict(c, tx->verdict_writer, verdict) ==
            -LE_AGAIN) // the room that was there is not enough for this one
            (void)refuse(c, 0, verdict, -LE_NOSPACE);
    }
    return err;
}

int
core_add(struct core *c, unsigned writer, struct msglog_entry *e)
{
    LV_ASSERT(writer < c->writer_count);
    if (c->is_out)
        return refuse(c, writer, e, -LE_IO);
    if (e->tx != 0 && (e->kind == MSGLOG_MESSAGE || e->kind == MSGLOG_ACK) && tx_get(c, e->tx) == NULL)
        return refuse(c, writer, e, -LE_NOMEM);
    e->result = -LE_IO; // until it is durable
    switch ((enum msglog_kind)e->kind) {
    case MSGLOG_MESSAGE:
        LV_ASSERT(e->content != NULL && e->content->bytes != NULL && e->queue != 0);
        return add_record(c, writer, e, &(struct group_add){.type = RECORD_MESSAGE, .content = e->content});
    case MSGLOG_MOVE: return add_move(c, writer, e);
    case MSGLOG_ACK: return add_record(c, writer, e, &(struct group_add){.type = RECORD_ACK});
    case MSGLOG_COUNT: return add_count(c, writer, e);
    case MSGLOG_PURGE:
        return add_record(c, writer, e, &(struct group_add){.type = RECORD_PURGE, .number = e->seq});
    case MSGLOG_DELETE: return add_record(c, writer, e, &(struct group_add){.type = RECORD_DELETE});
    case MSGLOG_COMMIT:
    case MSGLOG_ABORT: return add_verdict(c, writer, e);
    case MSGLOG_PART: return add_part(c, writer, e);
    case MSGLOG_VACATED:
        if (c->has_failed_move[writer])
            return refuse(c, writer, e, -LE_NOSPACE);
        if (LOG_BUG(BUG_RECYCLE_EARLY))
            ring_release(&c->ring, e->place.file + 1);
        return add_silent(c, writer, e);
    case MSGLOG_RELEASE:
        c->needs_sync |= !LOG_BUG(BUG_RELEASE_UNSYNCED); // the ack that allows it may be relaxed
        return add_silent(c, writer, e);
    default: return refuse(c, writer, e, -LE_INVAL);
    }
}

// --- writing ---

// The first generation that is still needed, as far as the writers and open transactions say.
static uint64_t
checkpoint_due(const struct core *c)
{
    uint64_t first = UINT64_MAX;
    for (unsigned w = 0; w < c->writer_count; w++)
        first = LV_MIN(first, c->vacated[w] + 1);
    uint64_t end = c->ring.current != NULL ? c->ring.current->header.generation : c->ring.next_generation;
    first = LV_MIN(first, end);
    uint64_t oldest = tx_oldest(c);
    return LV_MIN(first, oldest);
}

bool
core_has_work(const struct core *c)
{
    return c->group.item_count > 0 || c->silent_count > 0 ||
           (!c->is_out && checkpoint_due(c) > c->checkpoint);
}

static void
settle_silent(struct core *c, unsigned writer, struct msglog_entry *e)
{
    e->result = 0;
    if (e->kind == MSGLOG_VACATED)
        c->vacated[writer] = LV_MAX(c->vacated[writer], e->place.file);
    else if (e->kind == MSGLOG_RELEASE)
        large_release(c, e->large_file);
    else if (e->kind == MSGLOG_ABORT)
        tx_end(c, e->tx);
}

static void
settle(struct core *c, const struct ring_target *t)
{
    group_settle(&c->group, t->generation, t->offset);
    for (uint32_t i = 0; i < c->group.item_count; i++) {
        const struct group_item *it = &c->group.items[i];
        for (uint32_t n = 0; it->large_file != 0 && it->origin.file == 0 && n < it->count; n++) {
            int err = large_hold(c, it->large_file);
            LV_ASSERT(err == 0); // large_write has made the entry
        }
        if (it->type == RECORD_CHECKPOINT) {
            c->checkpoint = it->number;
            ring_release(&c->ring, it->number);
        }
    }
}

static void
refuse_group(struct core *c, int err)
{
    for (uint32_t i = 0; i < c->group.item_count; i++) {
        const struct group_item *it = &c->group.items[i];
        for (uint32_t l = it->first; l != 0; l = c->group.links[l].next)
            (void)refuse(c, 0, c->group.links[l].entry, err);
        // A large file stays until the next start: some of the group may be on disk, and may then be found valid.
    }
    for (uint32_t i = 0; i < c->silent_count; i++)
        (void)refuse(c, c->silent_writer[i], c->silent[i], err);
    c->silent_count = 0;
    for (unsigned w = 0; w < c->writer_count; w++)
        c->has_failed_move[w] = true; // a move may have been among them: VACATED has to be asked for again
}

void
core_refuse_held(struct core *c)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (inttab_next(&c->txs, &cursor, &id, &value)) {
        struct core_tx *tx = value;
        if (tx->verdict != NULL)
            tx->verdict->result = -LE_IO;
        tx->verdict = NULL;
    }
}

bool
core_is_unsynced(const struct core *c)
{
    return ring_unsynced(&c->ring) > 0;
}

// A sync failed, and relaxed groups may be lost: what has parts in them cannot be committed any more.
static void
spoil_txs(struct core *c)
{
    size_t cursor = 0;
    uint64_t id;
    void *value;
    while (inttab_next(&c->txs, &cursor, &id, &value))
        ((struct core_tx *)value)->error = -LE_IO;
}

int
core_sync(struct core *c)
{
    int err = c->is_out ? 0 : ring_sync(&c->ring);
    if (err != 0) {
        spoil_txs(c);
        // A COMMIT in the group has left its transaction: the group is refused with it.
        c->presync_error = c->needs_presync ? err : 0;
        c->is_out = c->ring.failures > FAILURES_MAX;
    }
    return err;
}

static int
write_group(struct core *c, bool is_fresh, struct ring_target *t)
{
    uint32_t crc, bytes = group_padded(c->group.bytes);
    bool is_relaxed = !c->needs_sync && ring_unsynced(&c->ring) + bytes <= c->unsynced_max;
    if (LOG_BUG(BUG_MIXED_RELAXED) && ring_unsynced(&c->ring) > 0)
        is_relaxed = true;
    int err = ring_reserve(&c->ring, group_padded(c->group.bytes), is_fresh, t);
    if (err == 0)
        err = group_encode(&c->group, t, &crc);
    if (err == 0)
        err = ring_commit(&c->ring, t, c->group.out.ptr, (uint32_t)c->group.out.len, crc,
                          is_relaxed ? RING_RELAXED : RING_SYNC);
    return err;
}

// The group to its place, or after a failure to another one.
static int
write_somewhere(struct core *c, struct ring_target *t)
{
    unsigned failures = c->ring.failures;
    int err = write_group(c, false, t);
    if (err != 0 && c->ring.current == NULL && c->ring.prev_synced < c->ring.prev_end)
        spoil_txs(c);
    if (err == 0 || c->ring.failures == failures)
        return err; // for want of room: what is in the old file counts up to here
    err = c->ring.failures <= FAILURES_MAX ? write_group(c, true, t) : err;
    c->is_out = err != 0;
    return err;
}

int
core_flush(struct core *c)
{
    uint64_t first = c->is_out ? 0 : checkpoint_due(c);
    int err = c->is_out ? -LE_IO : LOG_BUG(BUG_NO_PRESYNC) ? 0 : c->presync_error;
    if (first > c->checkpoint && c->group.bytes < c->group_soft &&
        ring_fits(&c->ring, group_padded(c->group.bytes + RECORD_HEADER_BYTES + 16), 0) &&
        group_append(&c->group, NULL, &(struct group_add){.type = RECORD_CHECKPOINT, .number = first}) == 0)
        c->needs_sync = c->needs_presync =
            true; // without memory for it the CHECKPOINT waits for the next group
    bool is_written = c->group.item_count > 0;
    if (err == 0 && (is_written ? c->needs_presync && !LOG_BUG(BUG_NO_PRESYNC) : c->needs_sync))
        err = core_sync(c);
    if (err == 0 && is_written) {
        struct ring_target t = {0};
        err = write_somewhere(c, &t);
        if (LOG_BUG(BUG_ACK_BEFORE_DURABLE) && t.generation != 0)
            err = 0;
        if (err == 0) {
            settle(c, &t);
            c->fresh_bytes += group_padded(c->group.bytes);
        }
    }
    if (err != 0)
        refuse_group(c, err);
    for (uint32_t i = 0; i < c->silent_count; i++)
        settle_silent(c, c->silent_writer[i], c->silent[i]);
    c->silent_count = 0;
    c->needs_sync = c->needs_presync = false;
    c->presync_error = 0;
    group_reset(&c->group);
    if (c->is_out) // parts are refused from now on, so nothing waits for them
        core_refuse_held(c);
    return err;
}

// --- the ring comes round ---

uint64_t
core_vacate_wanted(struct core *c)
{
    bool is_stuck = c->prepare_error != 0 && c->prepare_error != -LE_AGAIN;
    size_t good = ring_free_count(&c->ring) + (is_stuck || c->was_refused ? 0 : ring_growth(&c->ring));
    uint64_t oldest = ring_oldest(&c->ring);
    bool is_again = c->asked >= oldest;
    if (c->is_out || oldest == 0 || good > LV_MAX((size_t)KEEP_FOR_MOVES + 1, c->ring.segment_max / 3u) ||
        oldest < c->checkpoint)
        return 0;
    // The same one again only when something has changed: it was refused for want of room, or much was written.
    if (is_again && !c->was_refused && c->fresh_bytes < c->ring.segment_bytes / 4)
        return 0;
    // What goes to a file is safe at once: the rest of its transaction must not be less so.
    if (core_sync(c) != 0)
        return 0;
    c->asked = oldest;
    c->fresh_bytes = 0;
    c->was_refused = false;
    memset(c->has_failed_move, 0, sizeof c->has_failed_move);
    return oldest;
}

void
core_prepare(struct core *c)
{
    size_t ahead = KEEP_FOR_MOVES + (c->ring.filler != NULL); // one more while groups do not wait for it
    if (!c->is_out && ring_free_count(&c->ring) <= ahead && ring_growth(&c->ring) > 0)
        // -LE_AGAIN: the next step goes on; no room: tried again when a group needs it
        c->prepare_error = ring_prepare(&c->ring, PREPARE_STEP_BYTES);
}

int
core_start(struct core *c)
{
    return large_sweep(c);
}

int
core_mark_end(struct core *c)
{
    if (c->is_out || c->ring.current == NULL)
        return 0; // nothing was written since the last recovery
    LV_ASSERT(c->group.item_count == 0);
    int err = core_sync(c);
    if (err == 0)
        err =
            group_append(&c->group, NULL,
                         &(struct group_add){.type = RECORD_CHECKPOINT, .number = c->ring.first_generation});
    c->needs_sync = true;
    return err != 0 ? err : core_flush(c);
}

// --- reading ---

int
core_read_raw(const struct core *c, const struct msglog_place *place, uint8_t **ret_raw,
              struct message_fixed *ret_fixed)
{
    const struct segment *s = place->file != 0 ? ring_find(&c->ring, place->file) : NULL;
    if (s == NULL)
        return -LE_NOTFOUND;
    if (place->len < RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES || place->len > (1u << 30))
        return -LE_CORRUPT;
    uint8_t *raw = mem_alloc(place->len);
    if (raw == NULL)
        return -LE_NOMEM;
    size_t n = 0;
    struct record_header h;
    int err = io_read_all(c->io, s->fd, raw, place->len, place->offset, &n);
    if (err == 0 &&
        (n != place->len || record_header_decode(raw, record_place(place->file, place->offset), &h) != 0 ||
         h.type != RECORD_MESSAGE || h.payload_bytes != place->len - RECORD_HEADER_BYTES ||
         (crc32c(0, raw + RECORD_HEADER_BYTES, h.payload_bytes) != h.payload_crc &&
          !LOG_BUG(BUG_NO_CHECKSUM))))
        err = s->generation == place->file ? -LE_CORRUPT : -LE_NOTFOUND; // used again while it was read
    if (err == 0)
        err = message_fixed_decode(slice_of(raw + RECORD_HEADER_BYTES, h.payload_bytes), ret_fixed);
    if (err != 0) {
        mem_free(raw);
        return err;
    }
    *ret_raw = raw;
    return 0;
}

int
core_read(const struct core *c, const struct msglog_place *place, struct msglog_record *ret)
{
    struct message_fixed m;
    uint8_t *raw = NULL;
    int err = core_read_raw(c, place, &raw, &m);
    if (err != 0)
        return err;
    const uint8_t *bytes =
        raw + RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES + (size_t)m.ref_count * MESSAGE_REF_BYTES;
    if (m.large_file != 0) {
        uint8_t *content = mem_alloc(m.content_bytes);
        err =
            content != NULL ? large_read(c, m.large_file, m.content_bytes, m.large_crc, content) : -LE_NOMEM;
        mem_free(raw);
        if (err != 0) {
            mem_free(content);
            return err;
        }
        bytes = raw = content;
    }
    *ret = (struct msglog_record){
        .content = {m.flags, m.priority, m.route_bytes, m.header_bytes, m.body_bytes, m.expiry_ms,
                    m.published_ms, bytes},
        .large_file = m.large_file,
        .large_crc = m.large_crc,
        .buffer = raw,
    };
    return 0;
}
