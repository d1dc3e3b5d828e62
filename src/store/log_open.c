// log_open.c: opens the log: folders, recovery, the last group made safe, files kept for acks.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_recover.h"

// --- the last group ---

// Gives a copy of a group the headers of another place. Offsets within it stay; the checksums of its records were good.
static void
readdress(uint8_t *bytes, const struct group_header *old, const struct ring_target *t, uint32_t *ret_crc)
{
    struct group_header g = *old;
    g.generation = t->generation;
    g.salt = t->salt;
    g.number = t->number;
    g.offset = t->offset;
    g.prev_crc = t->prev_crc;
    g.records_crc = 0;
    uint32_t at = GROUP_HEADER_BYTES, end = at + g.payload_bytes;
    while (at + RECORD_HEADER_BYTES <= end) {
        struct record_header h;
        int err = record_header_decode(bytes + at, record_place(old->generation, old->offset + at), &h);
        LV_ASSERT(err == 0); // checked by the caller
        record_header_encode(&h, record_place(t->generation, t->offset + at), bytes + at);
        g.records_crc = crc32c(g.records_crc, bytes + at, RECORD_HEADER_BYTES);
        at += align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
    }
    group_header_encode(&g, bytes);
    *ret_crc = g.crc;
}

struct relocation {
    const struct recovered_tail *tail;
    struct ring_target target;
};

static int
relocate(void *ctx, uint64_t queue, struct msglog_live_entry *e)
{
    const struct relocation *r = ctx;
    if (e->place.file == r->tail->generation && e->place.offset >= r->tail->start) {
        e->place.file = r->target.generation;
        e->place.offset = e->place.offset - (uint32_t)r->tail->start + r->target.offset;
    }
    return 0;
}

// Copies what lies between start and end, if it is one good group, into the new segment.
static int
copy_tail(struct core *c, struct msglog_live *live, const struct recovered_tail *tail, uint8_t *bytes,
          size_t len)
{
    struct group_header g;
    struct relocation r = {.tail = tail};
    size_t n = 0;
    uint32_t crc;
    struct ring *ring = &c->ring;
    int err = io_read_all(c->io, tail->segment->fd, bytes, len, tail->start, &n);
    if (err != 0 || n != len || group_header_decode(bytes, &g) != 0 || g.offset != tail->start ||
        group_padded(g.payload_bytes) != len)
        return err != 0 ? err : -LE_CORRUPT;
    ring->base_generation = tail->prev_generation;
    ring->base_end = tail->prev_end;
    err = ring_reserve(ring, (uint32_t)len, false, &r.target);
    if (err == 0) {
        readdress(bytes, &g, &r.target, &crc);
        err = ring_commit(ring, &r.target, bytes, (uint32_t)len, crc);
    }
    ring->base_generation = 0;
    if (err != 0)
        return err;
    if (tail->is_alone)
        ring_void(ring, tail->segment);
    return msglog_live_each(live, UINT64_MAX, relocate, &r);
}

static int
secure_tail(struct core *c, struct msglog_live *live, const struct recovered_tail *tail)
{
    size_t len = (size_t)(tail->end - tail->start);
    if (tail->segment == NULL || LOG_BUG(BUG_NO_TAIL_SYNC))
        return 0;
    // A CHECKPOINT in it may have freed the very segment that the copy goes to.
    int err = c->io->fdatasync(c->io->ctx, tail->segment->fd);
    if (err != 0 || len == 0 || len > ring_group_max(&c->ring))
        return err;
    uint8_t *bytes = mem_alloc(len);
    err = bytes != NULL ? copy_tail(c, live, tail, bytes, len) : -LE_NOMEM;
    mem_free(bytes);
    // No room, or its end is known to be damaged: then the sync has to do.
    return err == -LE_NOSPACE || err == -LE_CORRUPT ? 0 : err;
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
        err = recover_ring(c, live, ret, &tail);
    if (err == 0)
        err = msglog_live_each(live, UINT64_MAX, hold_large, c);
    for (unsigned w = 0; w < c->writer_count; w++)
        c->vacated[w] = c->checkpoint - 1;
    // What is kept for acks is made now; without room for it the log runs, and refuses messages.
    while (err == 0 && ring_free_count(&c->ring) <= KEEP_FOR_MOVES && ring_growth(&c->ring) > 0)
        if (ring_prepare(&c->ring, UINT64_MAX) != 0)
            break;
    if (err == 0)
        err = secure_tail(c, live, &tail);
    c->is_damaged = ret->bad_spots > 0 || ret->missing_segments > 0;
    if (err == 0 && LOG_BUG(BUG_SWEEP_EARLY))
        err = large_sweep(c);
    if (err != 0) {
        core_fini(c);
        msglog_live_fini(live);
    }
    return err;
}
