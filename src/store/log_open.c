// log_open.c: opens the log: folders, recovery, the last group made safe, files kept for acks.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_recover.h"

// --- the end of the log ---

// Copies the records of a group, checked again, with headers for another place.
static int
readdress(const uint8_t *from, const struct group_header *old, uint8_t *to, const struct ring_target *t,
          uint32_t offset, struct group_header *g)
{
    uint32_t at = 0;
    while (at + RECORD_HEADER_BYTES <= old->payload_bytes) {
        struct record_header h;
        const uint8_t *record = from + GROUP_HEADER_BYTES + at;
        uint32_t place = record_place(old->generation, old->offset + GROUP_HEADER_BYTES + at);
        if (record_header_decode(record, place, &h) != 0 ||
            (uint64_t)at + RECORD_HEADER_BYTES + h.payload_bytes > old->payload_bytes)
            return -LE_CORRUPT;
        uint32_t bytes = align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
        memcpy(to + at, record, LV_MIN(bytes, old->payload_bytes - at));
        record_header_encode(&h, record_place(t->generation, offset + at), to + at);
        g->records_crc = crc32c(g->records_crc, to + at, RECORD_HEADER_BYTES);
        g->record_count++;
        at += bytes;
    }
    return at == old->payload_bytes ? 0 : -LE_CORRUPT;
}

struct relocation {
    const struct recovered_tail *tail;
    uint64_t generation;
    const uint32_t *to; // of each group of the tail: where its records begin now
};

static int
relocate(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    const struct relocation *r = ctx;
    if (e->place.file != r->tail->generation || e->place.offset < r->tail->start)
        return 0;
    size_t low = 0, high = r->tail->count; // the last group that begins before it
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->tail->groups[middle].offset < e->place.offset)
            low = middle;
        else
            high = middle;
    }
    const struct recovered_group *in = &r->tail->groups[low];
    if (e->place.offset < in->offset || e->place.offset - in->offset > GROUP_HEADER_BYTES + in->payload_bytes)
        return 0; // found in damage: it stays where it is
    e->place.file = r->generation;
    e->place.offset = e->place.offset - r->tail->groups[low].offset - GROUP_HEADER_BYTES + r->to[low];
    return 0;
}

// The groups of the tail as one, in `out`; `bytes` are what lies between its start and its end. `to` as in struct relocation.
static int
join_groups(const struct recovered_tail *tail, const uint8_t *bytes, const struct ring_target *t,
            uint8_t *out, uint32_t *to, uint32_t *ret_crc)
{
    struct group_header g = {.generation = t->generation,
                             .salt = t->salt,
                             .number = t->number,
                             .offset = t->offset,
                             .prev_crc = t->prev_crc,
                             .synced = t->synced};
    uint32_t at = GROUP_HEADER_BYTES;
    for (size_t i = 0; i < tail->count; i++) {
        struct group_header old;
        const struct recovered_group *from = &tail->groups[i];
        const uint8_t *header = bytes + (from->offset - tail->start);
        if (group_header_decode(header, &old) != 0 || old.offset != from->offset ||
            old.payload_bytes != from->payload_bytes)
            return -LE_CORRUPT;
        to[i] = t->offset + at;
        int err = readdress(header, &old, out + at, t, to[i], &g);
        if (err != 0)
            return err;
        at += old.payload_bytes;
    }
    g.payload_bytes = at - GROUP_HEADER_BYTES;
    group_header_encode(&g, out);
    *ret_crc = g.crc;
    return 0;
}

static uint32_t
joined_bytes(const struct recovered_tail *tail)
{
    uint32_t bytes = 0;
    for (size_t i = 0; i < tail->count; i++)
        bytes += tail->groups[i].payload_bytes;
    return group_padded(bytes);
}

// Copies what is in the tail into the new segment. `bytes` has room for the tail and for the group made of it.
static int
copy_tail(struct core *c, struct msglog_live *live, const struct recovered_tail *tail, uint8_t *bytes,
          uint32_t *to)
{
    size_t n = 0, len = (size_t)(tail->end - tail->start);
    uint8_t *out = bytes + len;
    uint32_t crc = 0, out_bytes = joined_bytes(tail);
    struct ring_target target;
    struct ring *ring = &c->ring;
    int err = io_read_all(c->io, tail->segment->fd, bytes, len, tail->start, &n);
    if (err != 0 || n != len)
        return err != 0 ? err : -LE_CORRUPT;
    ring->has_base = true;
    ring->base_generation = tail->prev_generation;
    ring->base_end = tail->prev_end;
    ring->base_synced = tail->prev_synced;
    err = ring_reserve(ring, out_bytes, false, &target);
    if (err == 0) {
        memset(out, 0, out_bytes);
        err = join_groups(tail, bytes, &target, out, to, &crc);
        if (err == 0)
            err = ring_commit(ring, &target, out, out_bytes, crc, RING_SYNC);
        else
            ring_abandon(ring); // its header leaves out what is not copied
    }
    ring->has_base = false;
    if (err != 0)
        return err;
    if (tail->is_alone)
        ring_void(ring, tail->segment);
    return msglog_live_each(live, UINT64_MAX, relocate, &(struct relocation){tail, target.generation, to});
}

// There is no room for a copy: the same bytes to the same place, so that the pages are dirty and the sync means them, whatever a failed
// one has left. What is known to be durable is not touched. Of the rest a sector that is torn now may be lost, if it was durable.
static int
rewrite_tail(struct core *c, const struct recovered_tail *tail, uint8_t *bytes)
{
    uint64_t start = LV_MAX(tail->start, tail->synced);
    if (start >= tail->end)
        return 0;
    size_t n = 0, len = (size_t)(tail->end - start);
    int err = io_read_all(c->io, tail->segment->fd, bytes, len, start, &n);
    if (err != 0 || n != len)
        return 0; // it cannot be read any more: nor can it be saved
    struct iovec part = {bytes, len};
    err = io_write_all(c->io, tail->segment->fd, &part, 1, start);
    if (err == 0)
        err = c->io->fdatasync(c->io->ctx, tail->segment->fd);
    // What may be said to be durable stays as it was: there may be gaps between the groups. No room here either: the first sync has to do.
    return err == -LE_NOSPACE ? 0 : err;
}

static int
secure_tail(struct core *c, struct msglog_live *live, const struct recovered_tail *tail)
{
    size_t len = (size_t)(tail->end - tail->start);
    if (tail->segment == NULL || LOG_BUG(BUG_NO_TAIL_SYNC))
        return 0;
    // A CHECKPOINT in it may have freed the very segment that the copy goes to.
    int err = c->io->fdatasync(c->io->ctx, tail->segment->fd);
    if (err != 0 || tail->count == 0)
        return err;
    uint8_t *bytes = mem_alloc(len + joined_bytes(tail));
    uint32_t *to = mem_alloc(tail->count * sizeof(*to));
    if (bytes == NULL || to == NULL)
        err = -LE_NOMEM;
    else if (joined_bytes(tail) > ring_group_max(&c->ring)) // segments were larger once
        err = -LE_NOSPACE;
    else
        err = copy_tail(c, live, tail, bytes, to);
    if (err == -LE_NOSPACE)
        err = rewrite_tail(c, tail, bytes);
    mem_free(bytes);
    mem_free(to);
    return err == -LE_CORRUPT ? 0 : err; // it cannot be read any more: then the sync has to do
}

// --- opening ---

static int
hold_large(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    if (e->large_file != 0)
        return large_hold(ctx, e->large_file);
    return 0;
}

static int
make_dir(const struct io *io, const char *path)
{
    int err = io->mkdir(io->ctx, path);
    return err == -LE_EXISTS ? 0 : err;
}

static int
prepare_dirs(struct core *c, const char *dir)
{
    int err = make_dir(c->io, c->ring.dir);
    if (err == 0)
        err = make_dir(c->io, c->large_dir);
    if (err == 0)
        err = c->io->sync_dir(c->io->ctx, dir);
    // A file whose name did not become durable before the crash is used again now: its name must be.
    if (err == 0 && !LOG_BUG(BUG_NO_DIR_SYNC))
        err = c->io->sync_dir(c->io->ctx, c->ring.dir);
    return err;
}

// A start goes on in a new segment. When all are needed, as after several crashes in a row, the ring gets some beyond its size: otherwise nothing
// could be written any more, not even what would make room.
static void
make_room_to_start(struct ring *r)
{
    size_t have = ring_free_count(r) + ring_growth(r);
    if (have <= KEEP_FOR_MOVES)
        ring_allow_growth(r, KEEP_FOR_MOVES + 1 - have);
}

int
core_open(struct core *c, const struct msglog_config *config, struct msglog_live *live,
          struct msglog_report *ret)
{
    char path[IO_PATH_MAX];
    uint32_t segment = config->segment_bytes == 0 ? 64u << 20 : config->segment_bytes;
    uint32_t segment_max = config->segment_max == 0 ? 16 : config->segment_max;
    if (segment < 16u << 10 || segment > 1u << 30 || segment % MSGLOG_SECTOR_BYTES != 0 || segment_max < 5 ||
        segment_max > 1024 || config->writer_count < 1 || config->writer_count > MSGLOG_WRITERS_MAX ||
        strlen(config->dir) > IO_PATH_MAX - 64)
        return -LE_INVAL;
    memset(c, 0, sizeof(*c));
    memset(ret, 0, sizeof(*ret));
    msglog_live_init(live);
    live->wants_gone = config->wants_gone;
    live->wants_ctx = config->ctx;
    c->io = config->io;
    c->writer_count = config->writer_count;
    c->group_soft = LV_MIN(segment / 4, 4u << 20);
    c->content_max = segment / 4;
    c->unsynced_max = segment / 4;
    c->next_large = 1;
    snprintf(path, sizeof path, "%s/log", config->dir);
    snprintf(c->large_dir, sizeof c->large_dir, "%s/large", config->dir);
    ring_init(&c->ring, c->io, path);
    c->ring.segment_bytes = segment;
    c->ring.segment_max = segment_max;
    rng_init(&c->ring.rng, config->seed);
    group_init(&c->group);
    inttab_init(&c->txs);
    inttab_init(&c->large);
    struct recovered_tail tail = {0};
    int err = prepare_dirs(c, config->dir);
    if (err == 0)
        err = recover_ring(c, config, live, ret, &tail);
    if (err == 0)
        err = msglog_live_each(live, UINT64_MAX, hold_large, c);
    for (unsigned w = 0; w < c->writer_count; w++)
        c->vacated[w] = c->checkpoint - 1;
    if (err == 0)
        make_room_to_start(&c->ring);
    // What is kept for acks is made now; without room for it the log runs, and refuses messages.
    while (err == 0 && ring_free_count(&c->ring) <= KEEP_FOR_MOVES && ring_growth(&c->ring) > 0)
        if (ring_prepare(&c->ring, UINT64_MAX) != 0)
            break;
    if (err == 0)
        err = secure_tail(c, live, &tail);
    mem_free(tail.groups);
    c->is_damaged = ret->bad_spots > 0 || ret->missing_segments > 0;
    if (err == 0 && LOG_BUG(BUG_SWEEP_EARLY))
        err = large_sweep(c);
    if (err != 0) {
        core_fini(c);
        msglog_live_fini(live);
    }
    return err;
}
