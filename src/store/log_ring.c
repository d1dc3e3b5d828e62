// log_ring.c: segments and the writing of groups.
//
// A group: ring_reserve picks the place (the current segment, or a free one with a new header), the caller encodes for that place,
// ring_commit writes header and group with one call and syncs, or leaves that to a later one. Only then `end` moves, and `synced` with
// the sync: each group and each header says how far the log was durable when it was written.
// Failure: the segment is closed at `end`; the next header says so (prev_end), which makes void whatever did reach the disk behind it.
// Groups without a sync stay valid there, as far as they are still found (prev_synced).
// A segment that failed before its first group was durable is not part of the log: the next header names the one before it.
// Not enough space is no verdict on the pages of the file, but they are not tried again either.
#include "src/store/log_ring.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_filler.h"

#ifdef LV_PLANTED_BUGS
unsigned msglog_planted_bugs;
#endif

void
ring_init(struct ring *r, const struct io *io, const char *dir)
{
    memset(r, 0, sizeof(*r));
    r->io = io;
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    r->next_generation = r->next_number = r->first_generation = 1;
}

void
ring_fini(struct ring *r)
{
    filler_free(r->filler);
    r->filler = NULL;
    for (size_t i = 0; i < r->count; i++) {
        if (r->segments[i]->fd >= 0)
            (void)r->io->close(r->io->ctx, r->segments[i]->fd);
        mem_free(r->segments[i]);
    }
    r->count = 0;
}

void
ring_path(const struct ring *r, uint32_t slot, char to[IO_PATH_MAX])
{
    LV_ASSERT(strlen(r->dir) + 16 < IO_PATH_MAX); // checked when the log is opened
    int n = snprintf(to, IO_PATH_MAX, "%.*s/%05u.seg", IO_PATH_MAX - 16, r->dir, slot);
    LV_ASSERT(n > 0 && n < IO_PATH_MAX);
}

struct segment *
ring_add(struct ring *r, uint32_t slot, int fd, uint64_t bytes)
{
    if (r->count == RING_SLOTS_MAX)
        return NULL;
    struct segment *s = mem_calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->slot = slot;
    s->fd = fd;
    s->bytes = bytes;
    r->segments[r->count] = s;
    atomic_store_explicit(&r->count, r->count + 1, memory_order_release);
    return s;
}

// Removes the file. The struct stays, so that reading threads never see it go: its slot in the array is used again.
void
ring_drop(struct ring *r, struct segment *s)
{
    char path[IO_PATH_MAX];
    ring_path(r, s->slot, path);
    atomic_store_explicit(&s->generation, 0, memory_order_release);
    // A name that stays in spite of it comes back as a free file at the next start: nothing is lost but room.
    (void)r->io->unlink(r->io->ctx, path);
    s->is_condemned = true;
    s->state = SEGMENT_SEALED;
    s->bytes = 0;
}

static size_t
count_good(const struct ring *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += !r->segments[i]->is_condemned;
    return n;
}

static size_t
count_free(const struct ring *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += r->segments[i]->state == SEGMENT_FREE;
    return n;
}

size_t
ring_free_count(const struct ring *r)
{
    return count_free(r);
}

size_t
ring_growth(const struct ring *r)
{
    size_t good = count_good(r);
    return (good < r->segment_max ? r->segment_max - good : 0) + (r->preparing != NULL);
}

void
ring_allow_growth(struct ring *r, size_t more)
{
    r->segment_max =
        (uint32_t)LV_MIN(LV_MAX((size_t)r->segment_max, count_good(r)) + more, (size_t)RING_SLOTS_MAX - 4);
}

bool
ring_fits(struct ring *r, uint32_t bytes, size_t keep)
{
    if (r->current != NULL && r->current->end + bytes <= r->current->bytes)
        return true;
    while (count_free(r) <= keep)
        if (ring_growth(r) == 0 || ring_prepare(r, UINT64_MAX) != 0)
            return false;
    return true;
}

uint64_t
ring_oldest(const struct ring *r)
{
    uint64_t oldest = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct segment *s = r->segments[i];
        if (s->state == SEGMENT_SEALED && s->generation != 0 && (oldest == 0 || s->generation < oldest))
            oldest = s->generation;
    }
    return oldest;
}

uint32_t
ring_group_max(const struct ring *r)
{
    return r->segment_bytes - SEGMENT_HEADER_BYTES;
}

// A file that could not be made left its struct behind: reading threads may be looking at it, so it is not freed.
static struct segment *
reuse_struct(const struct ring *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->segments[i]->fd < 0)
            return r->segments[i];
    return NULL;
}

static int
prepare_begin(struct ring *r)
{
    char path[IO_PATH_MAX];
    uint32_t slot = 0;
    int fd = -1;
    for (size_t i = 0; i < r->count; i++)
        slot = LV_MAX(slot, r->segments[i]->slot + 1);
    int err = -LE_EXISTS;
    for (int tries = 0; tries < 8 && err == -LE_EXISTS; tries++) {
        ring_path(r, slot + (uint32_t)tries, path);
        err = r->io->open(r->io->ctx, path, IO_WRITE | IO_CREATE, &fd);
        if (err == 0)
            slot += (uint32_t)tries;
    }
    if (err != 0)
        return err;
    struct segment *s = reuse_struct(r);
    if (s == NULL)
        s = ring_add(r, slot, fd, r->segment_bytes);
    if (s == NULL) {
        (void)r->io->close(r->io->ctx, fd);
        (void)r->io->unlink(r->io->ctx, path);
        return -LE_NOMEM;
    }
    s->slot = slot;
    s->fd = fd;
    s->bytes = r->segment_bytes;
    s->prepared = 0;
    s->is_condemned = false;
    s->state = SEGMENT_PREPARING;
    r->preparing = s;
    return 0;
}

// As far as `budget` goes. -LE_AGAIN: there is more to do.
static int
fill_here(struct ring *r, struct segment *s, uint64_t budget)
{
    uint64_t n = LV_MIN(s->bytes - s->prepared, budget);
    int err = filler_zeros(r->io, s->fd, s->prepared, n);
    if (err != 0)
        return err;
    s->prepared += n;
    return s->prepared < s->bytes ? -LE_AGAIN : filler_secure(r->io, s->fd, r->dir);
}

int
ring_prepare(struct ring *r, uint64_t budget)
{
    bool is_begun = r->preparing != NULL;
    int err = is_begun ? 0 : prepare_begin(r);
    struct segment *s = r->preparing;
    if (err == 0 && r->filler != NULL && !is_begun)
        err = filler_start(r->filler, s->fd, s->bytes);
    if (err == 0)
        err = r->filler != NULL ? filler_result(r->filler, budget == UINT64_MAX) : fill_here(r, s, budget);
    if (err == -LE_AGAIN)
        return err;
    if (err == 0)
        s->state = SEGMENT_FREE;
    r->preparing = NULL;
    if (err != 0 && s != NULL) {
        ring_drop(r, s);
        (void)r->io->close(r->io->ctx, s->fd);
        s->fd = -1; // it never had a generation: no reader has this descriptor
    }
    return err;
}

// The longest unused free file, so that old generations stay readable for long; or one that was never written.
static struct segment *
find_free(const struct ring *r, bool is_fresh)
{
    struct segment *best = NULL;
    for (size_t i = 0; i < r->count; i++) {
        struct segment *s = r->segments[i];
        if (s->state == SEGMENT_FREE && (!is_fresh || s->generation == 0) &&
            (best == NULL || s->generation < best->generation))
            best = s;
    }
    return best;
}

// Also made now when there is none.
static int
take_free(struct ring *r, bool is_fresh, struct segment **ret)
{
    struct segment *s = find_free(r, is_fresh);
    if (s == NULL) {
        if (!is_fresh && ring_growth(r) == 0)
            return -LE_NOSPACE;
        int err = ring_prepare(r, UINT64_MAX);
        if (err != 0)
            return err;
        s = find_free(r, is_fresh);
        LV_ASSERT(s != NULL);
    }
    *ret = s;
    return 0;
}

int
ring_reserve(struct ring *r, uint32_t bytes, bool is_fresh, struct ring_target *ret)
{
    LV_ASSERT(bytes <= ring_group_max(r) && bytes % MSGLOG_SECTOR_BYTES == 0);
    struct segment *s = r->current;
    if (s != NULL && s->end + bytes > s->bytes) {
        int err = ring_sync(r);
        if (err != 0)
            return err;
        s->state = SEGMENT_SEALED;
        s = r->current = NULL;
    }
    if (s == NULL) {
        int err = take_free(r, is_fresh, &s);
        if (err != 0)
            return err;
        uint8_t scratch[SEGMENT_HEADER_BYTES];
        s->state = SEGMENT_CURRENT;
        s->end = s->synced = 0;
        s->header = (struct segment_header){
            .generation = r->next_generation,
            .salt = rng_next(&r->rng),
            .segment_bytes = s->bytes,
            .prev_generation = r->prev_generation,
            .prev_end = r->prev_end,
            .base_generation = r->has_base ? r->base_generation : r->prev_generation,
            .base_end = r->has_base ? r->base_end : r->prev_end,
            .prev_synced = r->prev_synced,
            .base_synced = r->has_base ? r->base_synced : r->prev_synced,
            .first_generation = r->first_generation,
            .first_number = r->next_number,
            .prev_crc = r->prev_crc,
        };
        segment_header_encode(&s->header, scratch);
        r->next_generation++;
        atomic_store_explicit(&s->generation, s->header.generation, memory_order_release);
        r->current = s;
    }
    *ret = (struct ring_target){
        .generation = s->header.generation,
        .salt = s->header.salt,
        .number = r->next_number,
        .offset = s->end == 0 ? SEGMENT_HEADER_BYTES : (uint32_t)s->end,
        .prev_crc = s->end == 0 ? s->header.crc : r->prev_crc,
        .synced = s->end == 0 ? SEGMENT_HEADER_BYTES : (uint32_t)s->synced,
    };
    if (LOG_BUG(BUG_CLAIM_SYNCED))
        ret->synced = ret->offset;
    return 0;
}

void
ring_abandon(struct ring *r)
{
    if (r->current == NULL || r->current->end != 0)
        return;
    r->current->state = SEGMENT_FREE;
    r->current = NULL;
}

// The current segment takes no more groups. What was written in it before stays; without anything it is not part of the log.
static void
close_failed(struct ring *r, int err)
{
    struct segment *s = r->current;
    r->current = NULL;
    if (err != -LE_NOSPACE) {
        r->failures++;
        s->is_condemned = true;
    }
    if (s->end != 0)
        s->state = SEGMENT_SEALED;
    else if (s->is_condemned)
        ring_drop(r, s);
    else
        s->state = SEGMENT_FREE;
}

uint64_t
ring_unsynced(const struct ring *r)
{
    return r->current != NULL ? r->current->end - r->current->synced : 0;
}

static int
sync_current(struct ring *r)
{
    int err = LOG_BUG(BUG_NO_FDATASYNC) ? 0 : r->io->fdatasync(r->io->ctx, r->current->fd);
    if (err != 0 && LOG_BUG(BUG_RETRY_SAME_PAGES))
        err = r->io->fdatasync(r->io->ctx, r->current->fd);
    return LOG_BUG(BUG_ERROR_IGNORED) ? 0 : err;
}

int
ring_sync(struct ring *r)
{
    if (ring_unsynced(r) == 0)
        return 0;
    int err = LOG_BUG(BUG_LEAVE_UNSYNCED) ? 0 : sync_current(r);
    if (err != 0) {
        close_failed(r, err);
        return err;
    }
    r->prev_synced = r->current->synced = r->current->end;
    return 0;
}

int
ring_commit(struct ring *r, const struct ring_target *t, const void *group, uint32_t bytes, uint32_t crc,
            enum ring_durability durability)
{
    struct segment *s = r->current;
    LV_ASSERT(s != NULL && s->header.generation == t->generation && r->next_number == t->number);
    uint8_t header[SEGMENT_HEADER_BYTES];
    struct iovec parts[2] = {{header, SEGMENT_HEADER_BYTES}, {(void *)(uintptr_t)group, bytes}};
    bool is_first = s->end == 0, is_synced = is_first || durability == RING_SYNC;
    if (is_first)
        segment_header_encode(&s->header, header);
    int err =
        io_write_all(r->io, s->fd, is_first ? parts : parts + 1, is_first ? 2 : 1, is_first ? 0 : t->offset);
    if (err != 0 && ring_unsynced(r) > 0 && r->io->fdatasync(r->io->ctx, s->fd) == 0)
        r->prev_synced = s->synced = s->end; // the groups before it are not at fault
    if (err == 0 && is_synced)
        err = sync_current(r);
    if (err != 0) {
        close_failed(r, err);
        return err;
    }
    s->end = (uint64_t)t->offset + bytes;
    s->synced = is_synced ? s->end : s->synced;
    r->prev_generation = t->generation;
    r->prev_end = s->end;
    r->prev_synced = s->synced;
    r->prev_crc = crc;
    r->has_base = false;
    r->next_number++;
    return 0;
}

void
ring_release(struct ring *r, uint64_t first_generation)
{
    r->first_generation = LV_MAX(r->first_generation, first_generation);
    for (size_t i = 0; i < r->count; i++) {
        struct segment *s = r->segments[i];
        if (s->state != SEGMENT_SEALED || s->generation == 0 || s->generation >= r->first_generation)
            continue;
        ring_void(r, s);
    }
}

void
ring_void(struct ring *r, struct segment *s)
{
    LV_ASSERT(s->state == SEGMENT_SEALED);
    if (s->is_condemned || s->bytes != r->segment_bytes)
        ring_drop(r, s);
    else
        s->state = SEGMENT_FREE;
}

struct segment *
ring_find(const struct ring *r, uint64_t generation)
{
    size_t count = atomic_load_explicit(&r->count, memory_order_acquire);
    for (size_t i = 0; i < count; i++)
        if (atomic_load_explicit(&r->segments[i]->generation, memory_order_acquire) == generation)
            return r->segments[i];
    return NULL;
}
