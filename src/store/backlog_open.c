// backlog_open.c: start: what a queue has in its files, reading little more than a header a block. Any number of queues at once, each on one thread.
//
// 1. `state`, and the headers of all blocks of all files, in order. A newer version anywhere ends it before anything was touched.
// 2. Blocks by number. Void are those the append of which failed, as a later block or state says: their messages live elsewhere.
// 3. Which of their messages are alive: backlog_alive.c.
// Failure modes: a header that cannot be read: the next one is looked for, sector by sector, and the gap reported; without a next
// one it is a torn tail. Records are checked one by one. `state` unreadable: everything counts that is not gone by the log.
// A header that can be read vouches for its records (backlog_write.c), but after a kill it may be in the page cache alone: the caller is told, and
// syncs it (backlog_start.c).
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_opening.h"

// LIMIT: bytes read at once in the search for a header; at the beginning of a file, where its header and that of its first block are.
enum { SEARCH_BYTES = 64 * 1024, FRONT_BYTES = 4096 };
// LIMIT: bytes of a state.
#define STATE_BYTES_MAX (UINT64_C(1) << 31)

int
opening_grow(void *items, size_t *cap, size_t count, size_t size)
{
    void *old;
    if (count < *cap)
        return 0;
    memcpy(&old, items, sizeof old);
    size_t wanted = *cap == 0 ? 16 : *cap * 2;
    void *bigger = mem_realloc(old, wanted * size);
    if (bigger == NULL)
        return -LE_NOMEM;
    memcpy(items, &bigger, sizeof bigger);
    *cap = wanted;
    return 0;
}

void
opening_tell(const struct opening *o, uint32_t file, uint64_t offset, uint64_t bytes, const char *what)
{
    if (o->report->damage != NULL)
        o->report->damage(o->report->damage_ctx, file, offset, bytes, what);
}

// --- 1: state and headers ---

static int
read_state(struct opening *o)
{
    char path[IO_PATH_MAX];
    uint64_t size = 0;
    size_t n = 0;
    int fd, err = backlog_state_path(o->data_dir, o->queue, "state", path);
    o->state = (struct backlog_state){.block_end = 1, .cursor = 1};
    if (err == 0 && !o->has_state)
        return 0;
    if (err == 0)
        err = o->io->open(o->io->ctx, path, IO_READ, &fd);
    if (err != 0)
        return err == -LE_NOTFOUND ? 0 : err;
    err = o->io->size(o->io->ctx, fd, &size);
    uint8_t *bytes = NULL;
    if (err == 0 && size <= STATE_BYTES_MAX)
        bytes = mem_alloc(LV_MAX(size, 1u));
    if (err == 0 && bytes == NULL)
        err = size > STATE_BYTES_MAX ? -LE_CORRUPT : -LE_NOMEM;
    if (err == 0)
        err = io_read_all(o->io, fd, bytes, size, 0, &n);
    (void)o->io->close(o->io->ctx, fd); // only read from
    if (err == 0)
        err = state_decode(slice_of(bytes, n), o->queue, &o->state);
    mem_free(bytes);
    if (err == 0)
        err = dead_decode(slice_of(o->state.dead, o->state.dead_bytes), o->state.dead_count, &o->dead);
    if (err == -LE_CORRUPT) {
        state_fini(&o->state);
        o->state = (struct backlog_state){.block_end = 1, .cursor = 1};
    }
    if (err == -LE_CORRUPT) {
        o->report->bad_states++;
        opening_tell(o, 0, 0, 0,
                     "it cannot be trusted: everything in the files counts that the log does not call gone");
        err = 0;
    }
    if (BACKLOG_BUG(BLG_BUG_CURSOR_PLUS_ONE))
        o->state.cursor++;
    return err;
}

static int
add_file(void *ctx, const char *name)
{
    struct opening *o = ctx;
    uint32_t file;
    o->has_state |= strcmp(name, "state") == 0;
    if (!backlog_parse_file(name, &file))
        return 0; // not ours: left alone
    if (opening_grow(&o->files, &o->file_cap, o->file_count, sizeof(*o->files)) != 0)
        return -LE_NOMEM;
    o->files[o->file_count++] = file;
    return 0;
}

// The next sector from *offset on that holds a header; *offset = size: none.
static int
search(struct opening *o, int fd, const struct file_header *file, uint64_t size, uint64_t *offset)
{
    uint8_t *bytes = mem_alloc(SEARCH_BYTES);
    struct block_header h;
    int err = bytes != NULL ? 0 : -LE_NOMEM;
    for (bool is_found = false; err == 0 && !is_found && *offset < size;) {
        size_t n = 0;
        err = io_read_all(o->io, fd, bytes, SEARCH_BYTES, *offset, &n);
        for (size_t at = 0; err == 0 && at + BLOCK_HEADER_BYTES <= n && !is_found;
             at += is_found ? 0 : MSGLOG_SECTOR_BYTES, *offset += is_found ? 0 : MSGLOG_SECTOR_BYTES)
            is_found = block_header_decode(bytes + at, file, (uint32_t)*offset, &h) == 0;
        if (err == 0 && !is_found && n < SEARCH_BYTES)
            *offset = size; // the file ends here
    }
    mem_free(bytes);
    return err;
}

// A stretch without a header before `h`. It is damage, unless it may be of an append that was never reported: then it has the same one.
static void
report_gap(struct opening *o, const struct block_header *h, uint64_t bytes, uint64_t *torn)
{
    uint64_t from = h->offset - bytes;
    if (h->append == h->number || h->number < o->state.block_end) {
        o->report->bad_blocks++;
        opening_tell(o, h->file, from, bytes, "no valid block where one was written");
    } else {
        *torn += bytes;
    }
}

// The front of a file: most of small ones are read with it.
struct front {
    uint8_t bytes[FRONT_BYTES];
    size_t len;
};

static int
read_front(struct opening *o, int fd, struct front *front, struct file_header *file)
{
    memset(front->bytes, 0, FILE_HEADER_BYTES);
    int err = io_read_all(o->io, fd, front->bytes, sizeof front->bytes, 0, &front->len);
    return err == 0 ? file_header_decode(front->bytes, file->queue, file->file, &file->salt) : err;
}

// The block header at `offset`: 0, -LE_NOTFOUND: there is none, or the error.
static int
read_header(struct opening *o, int fd, const struct front *front, const struct file_header *file,
            uint64_t offset, struct block_header *ret)
{
    uint8_t bytes[BLOCK_HEADER_BYTES];
    const uint8_t *at = bytes;
    size_t n = sizeof bytes;
    int err = 0;
    if (offset + BLOCK_HEADER_BYTES <= front->len)
        at = front->bytes + offset;
    else
        err = io_read_all(o->io, fd, bytes, sizeof bytes, offset, &n);
    if (err == 0)
        err = n == sizeof bytes ? block_header_decode(at, file, (uint32_t)offset, ret) : -LE_NOTFOUND;
    return err;
}

static int
scan_file(struct opening *o, int fd, struct backlog_file *f)
{
    uint64_t size = 0, offset = FILE_HEADER_BYTES, gap = 0, torn = 0;
    size_t count = o->block_count;
    struct front front;
    f->bytes = FILE_HEADER_BYTES;
    struct file_header file = {.queue = o->queue, .file = f->file};
    int err = o->io->size(o->io->ctx, fd, &size);
    size = LV_MIN(size, (uint64_t)UINT32_MAX);
    if (err == 0)
        err = read_front(o, fd, &front, &file);
    if (err ==
        -LE_NOTFOUND) { // a file the making of which was not finished; both copies rotten look the same
        f->is_closed = true;
        o->report->torn_bytes += size;
        return 0;
    }
    while (err == 0 && offset < size) {
        struct found found = {.is_void = false};
        err = read_header(o, fd, &front, &file, offset, &found.h);
        if (err == -LE_NOTFOUND) {
            uint64_t from = offset;
            offset += MSGLOG_SECTOR_BYTES;
            err = search(o, fd, &file, size, &offset);
            gap = LV_MIN(offset, size) - from;
            continue;
        }
        if (err == 0)
            err = opening_grow(&o->blocks, &o->block_cap, o->block_count, sizeof(*o->blocks));
        if (err != 0)
            break;
        if (gap > 0)
            report_gap(o, &found.h, gap, &torn);
        gap = 0;
        o->blocks[o->block_count++] = found;
        offset += BLOCK_HEADER_BYTES + align_up(found.h.payload_bytes, MSGLOG_SECTOR_BYTES);
        f->bytes = (uint32_t)LV_MIN(offset, (uint64_t)UINT32_MAX);
    }
    o->report->torn_bytes += torn + gap;
    f->is_closed = torn + gap > 0 || offset != size || o->block_count == count;
    return err;
}

static int
compare_files(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int
list_files(struct opening *o)
{
    char path[IO_PATH_MAX];
    int err = backlog_queue_path(o->data_dir, o->queue, false, path);
    if (err == 0)
        err = o->io->list(o->io->ctx, path, add_file, o);
    if (o->file_count > 1)
        qsort(o->files, o->file_count, sizeof(*o->files), compare_files);
    return err == -LE_NOTFOUND ? 0 : err; // never had any
}

static int
scan_files(struct opening *o)
{
    char path[IO_PATH_MAX];
    int err = 0;
    o->b->files = mem_calloc(LV_MAX(o->file_count, (size_t)1), sizeof(*o->b->files));
    if (o->b->files == NULL)
        return -LE_NOMEM;
    o->b->file_cap = LV_MAX(o->file_count, (size_t)1);
    for (size_t i = 0; i < o->file_count && err == 0; i++) {
        struct backlog_file *f = &o->b->files[o->b->file_count++];
        int fd;
        f->file = o->files[i];
        err = backlog_file_path(o->data_dir, o->queue, false, f->file, path);
        if (err == 0)
            err = o->io->open(o->io->ctx, path, IO_READ, &fd);
        if (err != 0)
            break;
        err = scan_file(o, fd, f);
        (void)o->io->close(o->io->ctx, fd); // only read from
    }
    o->report->files += o->file_count;
    o->report->blocks += o->block_count;
    return err;
}

// --- 2: which blocks count ---

static int
compare_blocks(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->h.number != y->h.number)
        return x->h.number > y->h.number ? 1 : -1;
    return (x->h.file > y->h.file) - (x->h.file < y->h.file);
}

struct backlog_file *
opening_file(const struct opening *o, uint32_t file)
{
    size_t low = 0, high = o->b->file_count;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (o->b->files[middle].file <= file)
            low = middle;
        else
            high = middle;
    }
    LV_ASSERT(o->b->files[low].file == file); // it was listed
    return &o->b->files[low];
}

static bool
is_behind_end(const struct opening *o, const struct block_header *h)
{
    size_t low = 0, high = o->state.end_count;
    if (h->number >= o->state.block_end || o->state.ends == NULL || BACKLOG_BUG(BLG_BUG_IGNORE_ENDS))
        return false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (o->state.ends[middle].file < h->file)
            low = middle + 1;
        else
            high = middle;
    }
    return low == o->state.end_count || o->state.ends[low].file != h->file ||
           h->offset >= o->state.ends[low].bytes;
}

// A later append says that blocks with such numbers do not count.
static bool
has_failed(const struct opening *o, uint64_t number)
{
    for (size_t i = 0; i < o->failed_count && !BACKLOG_BUG(BLG_BUG_IGNORE_FAILED); i++)
        if (number >= o->failed[i].first && number < o->failed[i].end)
            return true;
    return false;
}

// Latest first: a block speaks of older ones, and is heard if it counts itself.
static int
sort_out(struct opening *o)
{
    if (o->block_count > 0)
        qsort(o->blocks, o->block_count, sizeof(*o->blocks), compare_blocks);
    for (size_t i = o->block_count; i-- > 0;) {
        struct found *f = &o->blocks[i];
        size_t n = o->failed_count;
        f->is_void = is_behind_end(o, &f->h) || has_failed(o, f->h.number);
        if (f->is_void) { // a file got nothing after it; the next state has to say so too
            struct backlog_file *file = opening_file(o, f->h.file);
            file->bytes = LV_MIN(file->bytes, f->h.offset);
            file->is_closed = true;
        } else if (f->h.reported_end < f->h.append &&
                   (n == 0 || o->failed[n - 1].first != f->h.reported_end)) {
            if (opening_grow(&o->failed, &o->failed_cap, n, sizeof(*o->failed)) != 0)
                return -LE_NOMEM;
            o->failed[o->failed_count++] = (struct backlog_range){f->h.reported_end, f->h.append};
        }
    }
    return 0;
}

// --- the whole ---

static void
set_numbers(struct opening *o)
{
    struct backlog *b = o->b;
    b->next_block = o->state.block_end;
    if (o->block_count > 0)
        b->next_block = LV_MAX(b->next_block, o->blocks[o->block_count - 1].h.number + 1);
    b->reported_end = b->next_block;
    // An append that failed may have left blocks that are not seen now but may come back with the next power cut (a truncate or an unlink
    // was not synced): their numbers are among those skipped here, which the next append and the next state declare void.
    if (b->next_block > 1 && !BACKLOG_BUG(BLG_BUG_REUSE_NUMBERS))
        b->next_block += BLOCK_NUMBERS_SKIPPED_AT_START;
    if (o->file_count > 0)
        b->next_file = o->files[o->file_count - 1] + 1;
}

// Blocks later than state may never have been reported durable. Only the last append can be concerned (those that failed were cut off, and their
// messages live elsewhere too).
static uint32_t
unsynced_file(const struct opening *o)
{
    const struct block_header *last = o->block_count > 0 ? &o->blocks[o->block_count - 1].h : NULL;
    bool is_unsynced = last != NULL && last->number >= o->state.block_end;
    return is_unsynced && !BACKLOG_BUG(BLG_BUG_NO_OPEN_SYNC) ? last->file : 0;
}

static int
hand_over(struct opening *o, struct backlog_opened *ret)
{
    struct backlog_kept *kept = o->kept_count > 0 ? mem_alloc(o->kept_count * sizeof(*kept)) : NULL;
    if (o->kept_count > 0 && kept == NULL)
        return -LE_NOMEM;
    // Places ascend with time: when the last file goes, nothing is appended to one before it.
    for (size_t i = 0; i + 1 < o->b->file_count; i++)
        o->b->files[i].is_closed = true;
    for (size_t i = 0; i < o->kept_count; i++) {
        kept[i] = o->kept[i].kept;
        opening_file(o, kept[i].file)->kept++;
    }
    o->report->messages += o->kept_count + o->b->count;
    ret->kept = kept;
    ret->kept_count = o->kept_count;
    ret->unsynced_file = unsynced_file(o);
    return 0;
}

static int
take_counts(struct opening *o)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < o->state.count_count && !BACKLOG_BUG(BLG_BUG_FORGET_COUNTS); i++)
        err = inttab_put(&o->b->counts, o->state.counts[i].seq, (void *)(uintptr_t)o->state.counts[i].count);
    return err;
}

int
backlog_open_unsynced(const struct backlog_source *from, struct backlog_opened *ret)
{
    struct opening o = {
        .io = from->io,
        .data_dir = from->data_dir,
        .queue = ret->queue,
        .gone = from->gone,
        .ctx = from->ctx,
        .b = &ret->backlog,
        .report = &ret->report,
    };
    backlog_init(&ret->backlog);
    int err = list_files(&o);
    if (err == 0)
        err = read_state(&o);
    if (err == 0)
        err = scan_files(&o);
    if (err == 0)
        err = sort_out(&o);
    if (err == 0) {
        set_numbers(&o);
        err = opening_take_blocks(&o);
    }
    if (err == 0)
        err = take_counts(&o);
    if (err == 0)
        err = hand_over(&o, ret);
    if (err != 0) {
        backlog_fini(&ret->backlog);
        backlog_init(&ret->backlog);
    }
    for (size_t i = 0; i < o.block_count; i++)
        mem_free(o.blocks[i].dead);
    state_fini(&o.state);
    dead_free_all(&o.dead);
    mem_free(o.files);
    mem_free(o.blocks);
    mem_free(o.failed);
    mem_free(o.kept);
    return err;
}
