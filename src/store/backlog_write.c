// backlog_write.c: an append: messages become blocks, and the blocks durable.
//
// Happy path: items are read in order (log_window.h), encoded into blocks with an empty header sector each, and written as they fill up; one
// fdatasync; then the header sectors; another fdatasync; new names are synced. Several queues go through these steps together. A header that can be read therefore vouches for its
// records, and start need not read them. The second sync costs a sector a block; the other way, checking the records of the last append
// at start, cannot tell a torn write from rot, and would either drop messages that were promised or bring up some that are not there.
// Failure modes: an item that cannot be read is left out, and says so. Any other error ends the append: the file is cut back to
// where it was (a new one removed), as far as that still works; what stays in spite of it holds messages that live elsewhere too.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/backlog_format.h"
#include "src/store/log_window.h"

// LIMIT: bytes gathered before they are written.
enum { OUT_BYTES = 1 << 20 };
// Appends from which on the whole file system is synced: somebody else may be writing to it, too.
enum { SYNC_ALL_MIN = 16 };

struct writer {
    const struct io *io;
    const char *data_dir;
    struct backlog_append *a;
    int fd;        // -1: not opened yet
    uint64_t salt; // of the file
    struct window window;
    struct buf out;      // what is not written yet
    uint32_t out_offset; // of its first byte in the file
    bool has_block;      // one is begun: `block`
    struct block_header block;
    struct block_header *headers; // of the blocks that are complete
    size_t count, cap;
};

// --- the file ---

static uint8_t *
extend(struct writer *w, size_t bytes)
{
    if (!buf_reserve(&w->out, bytes))
        return NULL;
    uint8_t *at = w->out.ptr + w->out.len;
    w->out.len += bytes;
    return at;
}

static int
open_new(struct writer *w, const char *path)
{
    char dir[IO_PATH_MAX];
    int err = backlog_queue_path(w->data_dir, w->a->queue, w->a->is_transient, dir);
    if (err == 0)
        err = w->io->mkdir(w->io->ctx, dir);
    if (err == 0 || err == -LE_EXISTS)
        err = w->io->open(w->io->ctx, path, IO_WRITE | IO_CREATE, &w->fd);
    return err;
}

static int
open_old(struct writer *w, const char *path)
{
    uint64_t size = 0;
    int err = w->io->open(w->io->ctx, path, IO_WRITE, &w->fd);
    if (err == 0)
        err = w->io->size(w->io->ctx, w->fd, &size);
    if (err == 0 && size != w->a->offset)
        err = -LE_STATE; // somebody else's bytes: nothing durable is ever overwritten
    if (err == 0)
        err = backlog_read_salt(w->io, w->fd, w->a->queue, w->a->file, &w->salt);
    if (err != 0 && w->fd >= 0) { // not to be cut back
        (void)w->io->close(w->io->ctx, w->fd);
        w->fd = -1;
    }
    return err;
}

// When the first record is there to be written. A new file begins with its header, which is on its way with the first block.
static int
open_file(struct writer *w)
{
    char path[IO_PATH_MAX];
    int err = backlog_file_path(w->data_dir, w->a->queue, w->a->is_transient, w->a->file, path);
    if (err != 0 || !w->a->is_new_file)
        return err != 0 ? err : open_old(w, path);
    err = open_new(w, path);
    uint8_t *at = err == 0 ? extend(w, FILE_HEADER_BYTES) : NULL;
    if (at == NULL)
        return err != 0 ? err : -LE_NOMEM;
    rng_secure(&w->salt, sizeof w->salt);
    file_header_encode(&(struct file_header){.queue = w->a->queue, .salt = w->salt, .file = w->a->file}, at);
    w->out_offset = 0;
    return 0;
}

static int
write_out(struct writer *w)
{
    struct iovec part = {w->out.ptr, w->out.len};
    int err = w->out.len > 0 ? io_write_all(w->io, w->fd, &part, 1, w->out_offset) : 0;
    if (err == 0) {
        w->out_offset += (uint32_t)w->out.len;
        buf_reset(&w->out);
    }
    return err;
}

static void
abandon(struct writer *w)
{
    char path[IO_PATH_MAX];
    if (w->fd < 0)
        return;
    if (!w->a->is_new_file)
        (void)w->io->truncate(w->io->ctx, w->fd, w->a->offset);
    (void)w->io->close(w->io->ctx, w->fd);
    w->fd = -1;
    if (w->a->is_new_file &&
        backlog_file_path(w->data_dir, w->a->queue, w->a->is_transient, w->a->file, path) == 0)
        (void)w->io->unlink(w->io->ctx, path);
}

// --- blocks ---

static int
begin_block(struct writer *w)
{
    int err = w->fd < 0 ? open_file(w) : 0;
    if (err != 0)
        return err;
    uint64_t offset = (uint64_t)w->out_offset + w->out.len;
    if (offset > UINT32_MAX / 2)
        return -LE_LIMIT;
    uint8_t *header = extend(w, BLOCK_HEADER_BYTES);
    if (header == NULL)
        return -LE_NOMEM;
    memset(header, 0, BLOCK_HEADER_BYTES);
    w->block = (struct block_header){
        .queue = w->a->queue,
        .number = w->a->first_block + w->count,
        .append = w->a->first_block,
        .reported_end = w->a->reported_end,
        .salt = w->salt,
        .file = w->a->file,
        .offset = (uint32_t)offset,
        .kind = w->a->kind,
    };
    w->has_block = true;
    return 0;
}

// Of a block in which something expires, from its records, which are in `out` still: where nothing does this costs nothing.
static int
put_table(struct writer *w)
{
    struct block_header *b = &w->block;
    uint32_t bytes = table_bytes(b->count), from = b->offset + BLOCK_HEADER_BYTES,
             record = from - w->out_offset;
    uint8_t *at = extend(w, bytes);
    if (at == NULL)
        return -LE_NOMEM;
    for (uint32_t i = 0; i < b->count; i++) {
        const uint8_t *payload = w->out.ptr + record + RECORD_HEADER_BYTES;
        struct record_header h;
        struct message_fixed m;
        struct message_ref ref;
        record_header_parse(payload - RECORD_HEADER_BYTES, &h);
        LV_ASSERT(message_fixed_decode(slice_of(payload, h.payload_bytes), &m) == 0);
        message_ref_decode(payload + MESSAGE_FIXED_BYTES, &ref);
        struct backlog_due d = {.seq = ref.seq,
                                .at_ms = LV_MAX(ref.expires_ms, INT64_C(0)),
                                .offset = w->out_offset + record,
                                .body_bytes = m.body_bytes};
        d.where =
            m.large_file != 0 ? BACKLOG_DUE_LARGE | m.large_file : RECORD_HEADER_BYTES + h.payload_bytes;
        if ((m.flags & CONTENT_PERSISTENT) != 0)
            d.where |= BACKLOG_DUE_PERSISTENT;
        table_entry_encode(&d, at + RECORD_HEADER_BYTES + i * TABLE_ENTRY_BYTES);
        record += align_up(RECORD_HEADER_BYTES + h.payload_bytes, RECORD_ALIGN_BYTES);
    }
    struct record_header h = {.payload_bytes = bytes - RECORD_HEADER_BYTES, .type = RECORD_TABLE};
    h.payload_crc = crc32c(0, at + RECORD_HEADER_BYTES, h.payload_bytes);
    record_header_encode(&h, block_record_place(w->salt, from + b->payload_bytes), at);
    b->payload_bytes += bytes;
    b->table = bytes;
    return 0;
}

static int
end_block(struct writer *w)
{
    if (!w->has_block)
        return 0;
    int err = w->block.due_s != 0 && w->block.kind == BACKLOG_CHAIN ? put_table(w) : 0;
    if (err != 0)
        return err;
    uint32_t bytes = w->block.payload_bytes, padding = align_up(bytes, MSGLOG_SECTOR_BYTES) - bytes;
    uint8_t *at = extend(w, padding);
    if (at == NULL)
        return -LE_NOMEM;
    memset(at, 0, padding);
    if (w->count == w->cap) {
        size_t cap = w->cap == 0 ? 16 : w->cap * 2;
        struct block_header *headers = mem_realloc(w->headers, cap * sizeof(*headers));
        if (headers == NULL)
            return -LE_NOMEM;
        w->headers = headers;
        w->cap = cap;
    }
    w->headers[w->count++] = w->block;
    w->has_block = false;
    return w->out.len >= OUT_BYTES ? write_out(w) : 0;
}

static void
count_in(struct block_header *b, const struct backlog_item *item, const struct message_fixed *m, uint32_t len)
{
    bool is_persistent = (m->flags & CONTENT_PERSISTENT) != 0;
    b->first_seq = b->count == 0 ? item->seq : b->first_seq;
    b->last_seq = item->seq;
    b->count++;
    b->body_bytes += m->body_bytes;
    b->persistent += is_persistent;
    b->persistent_bytes += is_persistent ? m->body_bytes : 0;
    b->large += m->large_file != 0;
    if (item->expires_ms > 0) {
        uint32_t due_s = (uint32_t)LV_MAX(INT64_C(1), LV_MIN(item->expires_ms / 1000, (int64_t)UINT32_MAX));
        b->due_s = b->due_s == 0 ? due_s : LV_MIN(b->due_s, due_s);
    }
    b->payload_bytes += align_up(len, RECORD_ALIGN_BYTES);
}

// `content` NULL: the record names the large file.
static int
put_record(struct writer *w, struct backlog_item *item, const struct message_fixed *m, const uint8_t *content)
{
    uint64_t here = content != NULL ? m->content_bytes : 0, len = BLOCK_RECORD_BYTES + here;
    if (len + table_bytes(1) > BLOCK_RECORD_MAX)
        return -LE_LIMIT;
    uint32_t padded = align_up((uint32_t)len, RECORD_ALIGN_BYTES);
    bool has_table = w->block.due_s != 0 || item->expires_ms > 0;
    uint64_t all = BLOCK_HEADER_BYTES + (uint64_t)w->block.payload_bytes + padded +
                   (has_table ? table_bytes(w->block.count + 1) : 0);
    int err = 0;
    if (w->has_block && all > BACKLOG_BLOCK_BYTES)
        err = end_block(w);
    if (err == 0 && !w->has_block)
        err = begin_block(w);
    uint8_t *at = err == 0 ? extend(w, padded) : NULL;
    if (at == NULL)
        return err != 0 ? err : -LE_NOMEM;
    uint32_t offset = w->block.offset + BLOCK_HEADER_BYTES + w->block.payload_bytes;
    struct message_ref ref = {w->a->queue, item->seq, item->expires_ms, item->epoch, item->flags};
    uint8_t *payload = at + RECORD_HEADER_BYTES;
    message_fixed_encode(m, payload);
    message_ref_encode(&ref, payload + MESSAGE_FIXED_BYTES);
    if (here > 0)
        memcpy(payload + MESSAGE_FIXED_BYTES + MESSAGE_REF_BYTES, content, here);
    memset(at + len, 0, padded - len);
    struct record_header h = {.payload_bytes = (uint32_t)len - RECORD_HEADER_BYTES, .type = RECORD_MESSAGE};
    h.payload_crc = crc32c(0, payload, h.payload_bytes);
    record_header_encode(&h, block_record_place(w->salt, offset), at);

    count_in(&w->block, item, m, (uint32_t)len);
    item->offset = offset;
    item->len = (uint32_t)len;
    return 0;
}

static bool
item_place(const void *items, size_t n, struct msglog_place *ret_place, bool *ret_is_from_backlog)
{
    const struct backlog_item *it = (const struct backlog_item *)items + n;
    *ret_place = it->from;
    *ret_is_from_backlog = it->is_from_backlog;
    return it->content == NULL;
}

static int
put_item(struct writer *w, size_t n)
{
    struct backlog_item *it = &w->a->items[n];
    struct window_record r;
    it->result = 0;
    if (it->content == NULL) {
        int err = window_read(&w->window, w->a->items, w->a->count, n, item_place, &r);
        if (err == -LE_NOMEM)
            return err; // that says nothing about the message
        it->result = err;
    } else {
        const struct msglog_content *c = it->content;
        uint64_t bytes = (uint64_t)c->route_bytes + c->header_bytes + c->body_bytes;
        if (bytes > UINT32_MAX)
            return -LE_LIMIT;
        r.fixed = (struct message_fixed){.content_bytes = (uint32_t)bytes,
                                         .published_ms = c->published_ms,
                                         .expiry_ms = c->expiry_ms,
                                         .flags = c->flags,
                                         .priority = c->priority,
                                         .route_bytes = c->route_bytes,
                                         .header_bytes = c->header_bytes,
                                         .body_bytes = c->body_bytes};
        r.content = c->bytes;
    }
    r.fixed.tx = 0; // what is moved has been decided
    r.fixed.ref_count = 1;
    return it->result == 0 ? put_record(w, it, &r.fixed, r.content) : 0;
}

// --- the whole ---

// All records of the append, in the file but not durable; their headers are still to come.
static int
write_records(struct writer *w, struct msglog *log)
{
    struct backlog_append *a = w->a;
    LV_ASSERT(a->queue != 0 && a->file != 0 && a->reported_end != 0 && a->reported_end <= a->first_block);
    LV_ASSERT(a->is_new_file == (a->offset == FILE_HEADER_BYTES));
    LV_ASSERT(a->offset % MSGLOG_SECTOR_BYTES == 0 && a->count <= BLOCK_NUMBERS_SKIPPED);
    a->blocks = NULL;
    a->block_count = 0;
    window_init(&w->window, w->io, w->data_dir, log, a->queue, a->is_transient);
    int err = 0;
    for (size_t i = 0; i < a->count && err == 0; i++) {
        LV_ASSERT(i == 0 || a->items[i].seq > a->items[i - 1].seq);
        err = put_item(w, i);
    }
    if (err == 0)
        err = end_block(w);
    if (err == 0)
        err = write_out(w);
    window_fini(&w->window);
    buf_fini(&w->out);
    return err;
}

static int
write_headers(struct writer *w)
{
    int err = 0;
    for (size_t i = 0; i < w->count && err == 0; i++) {
        uint8_t bytes[BLOCK_HEADER_BYTES];
        struct iovec part = {bytes, sizeof bytes};
        block_header_encode(&w->headers[i], bytes);
        err = io_write_all(w->io, w->fd, &part, 1, w->headers[i].offset);
    }
    return err;
}

// Also the folder above, always: an append that failed may have made the queue's folder without coming as far as this.
static int
sync_names(struct writer *w)
{
    char path[IO_PATH_MAX];
    if (!w->a->is_new_file || BACKLOG_BUG(BLG_BUG_NO_DIR_SYNC))
        return 0;
    int err = backlog_queue_path(w->data_dir, w->a->queue, false, path);
    if (err == 0)
        err = w->io->sync_dir(w->io->ctx, path);
    if (err == 0)
        err = backlog_dir_path(w->data_dir, false, path);
    return err == 0 ? w->io->sync_dir(w->io->ctx, path) : err;
}

static bool
needs_sync(const struct writer *w)
{
    return w->a->result == 0 && w->fd >= 0 && !w->a->is_transient;
}

// What they have written becomes durable, in the end their names too: one by one, or when they are many all at once.
static void
sync_group(struct writer *group, size_t count, size_t sync_all_min, bool is_end)
{
    struct writer *first = NULL;
    size_t open = 0;
    if (BACKLOG_BUG(BLG_BUG_NO_FILE_SYNC) || (!is_end && BACKLOG_BUG(BLG_BUG_HEADER_WITH_RECORDS)))
        return;
    for (size_t i = 0; i < count; i++) {
        open += needs_sync(&group[i]);
        if (first == NULL && needs_sync(&group[i]))
            first = &group[i]; // opened before the others were written
    }
    bool is_all = open > 0 && open >= sync_all_min;
    int err = is_all ? first->io->sync_all(first->io->ctx, first->fd) : 0;
    for (size_t i = 0; i < count; i++) {
        struct writer *w = &group[i];
        if (!needs_sync(w))
            continue;
        w->a->result = is_all ? err : w->io->fdatasync(w->io->ctx, w->fd);
        if (w->a->result == 0 && is_end && !is_all)
            w->a->result = sync_names(w);
    }
}

// DURABLE: from here on these messages need no other copy. (An error of close, on a file that is synced, changes nothing.)
static void
finish(struct writer *w)
{
    struct backlog_append *a = w->a;
    struct backlog_block *blocks = mem_alloc(LV_MAX(w->count, (size_t)1) * sizeof(*blocks));
    if (blocks == NULL) {
        a->result = -LE_NOMEM;
        return;
    }
    if (w->fd >= 0)
        (void)w->io->close(w->io->ctx, w->fd);
    w->fd = -1;
    for (size_t i = 0; i < w->count; i++)
        block_of_header(&w->headers[i], &blocks[i]);
    a->blocks = blocks;
    a->block_count = w->count;
}

static void
append_group(struct writer *group, size_t count, struct msglog *log, size_t sync_all_min)
{
    for (size_t i = 0; i < count; i++)
        group[i].a->result = write_records(&group[i], log);
    sync_group(group, count, sync_all_min, false);
    for (size_t i = 0; i < count; i++)
        if (group[i].a->result == 0 && group[i].fd >= 0)
            group[i].a->result = write_headers(&group[i]);
    sync_group(group, count, sync_all_min, true);
    for (size_t i = 0; i < count; i++) {
        if (group[i].a->result == 0)
            finish(&group[i]);
        if (group[i].a->result != 0)
            abandon(&group[i]);
        mem_free(group[i].headers);
    }
}

int
backlog_append(const struct io *io, const char *data_dir, struct msglog *log, struct backlog_append *a)
{
    struct writer w = {.io = io, .data_dir = data_dir, .a = a, .fd = -1, .out_offset = a->offset};
    append_group(&w, 1, log, SIZE_MAX);
    return a->result;
}

void
backlog_append_all(const struct io *io, const char *data_dir, struct msglog *log,
                   struct backlog_append *const *appends, size_t count, size_t sync_all_min)
{
    struct writer *group = count > 1 ? mem_calloc(count, sizeof(*group)) : NULL;
    LV_ASSERT(count <= BACKLOG_APPENDS_MAX);
    if (group == NULL) { // one alone, or no memory to have them together
        for (size_t i = 0; i < count; i++)
            appends[i]->result = backlog_append(io, data_dir, log, appends[i]);
        return;
    }
    for (size_t i = 0; i < count; i++)
        group[i] = (struct writer){
            .io = io, .data_dir = data_dir, .a = appends[i], .fd = -1, .out_offset = appends[i]->offset};
    append_group(group, count, log, sync_all_min > 0 ? sync_all_min : SYNC_ALL_MIN);
    mem_free(group);
}
