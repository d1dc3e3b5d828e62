// log_window.c: one read for neighbours; checks of single records.
//
// Happy path: the window holds the record already. Else it is filled from the record's place up to the end of the last follower that
// lies near enough. Failure modes: a read over several records fails or ends early: that record is read alone, so that a bad spot beside
// it does not matter. A segment that was used again meanwhile shows by its generation: -LE_NOTFOUND.
#include "src/store/log_window.h"
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/backlog_format.h"
#include "src/store/log_core.h"

// LIMIT: bytes read at once for several records; bytes between two of them that are read along with them.
enum { WINDOW_BYTES = 1 << 20, WINDOW_GAP_BYTES = 8 * 1024 };
// LIMIT: bytes of one record.
enum { WINDOW_RECORD_BYTES_MAX = 1 << 30 };

void
window_init(struct window *w, const struct io *io, const char *data_dir, struct msglog *log, uint64_t queue,
            bool is_transient)
{
    *w = (struct window){
        .io = io, .data_dir = data_dir, .log = log, .queue = queue, .is_transient = is_transient, .fd = -1};
}

void
window_fini(struct window *w)
{
    if (w->fd >= 0)
        (void)w->io->close(w->io->ctx, w->fd); // only read from
    mem_free(w->bytes);
    w->fd = -1;
    w->bytes = NULL;
}

static int
open_file(struct window *w, uint32_t file)
{
    char path[IO_PATH_MAX];
    if (w->fd >= 0 && w->fd_file == file)
        return 0;
    if (w->fd >= 0)
        (void)w->io->close(w->io->ctx, w->fd);
    w->fd = -1;
    int err = backlog_file_path(w->data_dir, w->queue, w->is_transient, file, path);
    if (err == 0)
        err = w->io->open(w->io->ctx, path, IO_READ, &w->fd);
    if (err != 0)
        return err;
    w->fd_file = file;
    err = backlog_read_salt(w->io, w->fd, w->queue, file, &w->salt);
    if (err != 0) {
        (void)w->io->close(w->io->ctx, w->fd);
        w->fd = -1;
    }
    return err == -LE_NOTFOUND ? -LE_CORRUPT : err;
}

// Reads [place, place + bytes) into the window.
static int
fill(struct window *w, const struct msglog_place *place, bool is_backlog, size_t bytes)
{
    int fd = -1, err = 0;
    w->file = 0;
    if (is_backlog) {
        err = place->file <= UINT32_MAX ? open_file(w, (uint32_t)place->file) : -LE_NOTFOUND;
        fd = w->fd;
    } else {
        const struct segment *s =
            w->log != NULL && place->file != 0 ? ring_find(&msglog_core(w->log)->ring, place->file) : NULL;
        err = s != NULL ? 0 : -LE_NOTFOUND;
        fd = s != NULL ? s->fd : -1;
    }
    if (err == 0 && bytes > w->cap) {
        mem_free(w->bytes);
        w->cap = 0;
        w->bytes = mem_alloc(bytes);
        if (w->bytes == NULL)
            return -LE_NOMEM;
        w->cap = bytes;
    }
    if (err == 0)
        err = io_read_all(w->io, fd, w->bytes, bytes, place->offset, &w->len);
    if (err != 0)
        return err;
    w->file = place->file;
    w->start = place->offset;
    w->is_backlog = is_backlog;
    return 0;
}

static bool
holds(const struct window *w, const struct msglog_place *p, bool is_backlog)
{
    return w->file == p->file && w->is_backlog == is_backlog && p->offset >= w->start &&
           (uint64_t)p->offset + p->len <= (uint64_t)w->start + w->len;
}

// How many bytes from the n-th place on are worth reading at once.
static size_t
span(const void *items, size_t count, size_t n, window_place_fn place_of, const struct msglog_place *from,
     bool is_backlog)
{
    uint64_t end = (uint64_t)from->offset + from->len;
    for (size_t i = n + 1; i < count; i++) {
        struct msglog_place p;
        bool is_other;
        if (!place_of(items, i, &p, &is_other) || is_other != is_backlog || p.file != from->file ||
            p.offset < from->offset || p.offset > end + WINDOW_GAP_BYTES ||
            (uint64_t)p.offset + p.len > (uint64_t)from->offset + WINDOW_BYTES)
            break;
        end = LV_MAX(end, (uint64_t)p.offset + p.len);
    }
    return (size_t)(end - from->offset);
}

static int
check(struct window *w, const struct msglog_place *p, struct window_record *ret)
{
    const uint8_t *raw = w->bytes + (p->offset - w->start);
    uint32_t place =
        w->is_backlog ? block_record_place(w->salt, p->offset) : record_place(p->file, p->offset);
    struct record_header h;
    if (record_header_decode(raw, place, &h) != 0 || h.type != RECORD_MESSAGE ||
        h.payload_bytes != p->len - RECORD_HEADER_BYTES)
        return -LE_CORRUPT;
    if (crc32c(0, raw + RECORD_HEADER_BYTES, h.payload_bytes) != h.payload_crc &&
        !BACKLOG_BUG(BLG_BUG_IGNORE_CRC) && !LOG_BUG(BUG_NO_CHECKSUM))
        return -LE_CORRUPT;
    struct message_fixed m;
    int err = message_fixed_decode(slice_of(raw + RECORD_HEADER_BYTES, h.payload_bytes), &m);
    if (err != 0)
        return err;
    ret->fixed = m;
    ret->refs = raw + RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES;
    ret->content = m.large_file == 0 ? ret->refs + (size_t)m.ref_count * MESSAGE_REF_BYTES : NULL;
    return 0;
}

int
window_read(struct window *w, const void *items, size_t count, size_t n, window_place_fn place_of,
            struct window_record *ret)
{
    struct msglog_place p;
    bool is_backlog;
    if (!place_of(items, n, &p, &is_backlog) || p.file == 0)
        return -LE_NOTFOUND;
    if (p.len < RECORD_HEADER_BYTES + MESSAGE_FIXED_BYTES || p.len > WINDOW_RECORD_BYTES_MAX)
        return -LE_CORRUPT;
    if (!holds(w, &p, is_backlog)) {
        size_t bytes = span(items, count, n, place_of, &p, is_backlog);
        int err = fill(w, &p, is_backlog, bytes);
        if (bytes > p.len && (err == -LE_IO || (err == 0 && w->len < bytes)))
            err = fill(w, &p, is_backlog, p.len);
        if (err != 0)
            return err;
    }
    int err = holds(w, &p, is_backlog) ? check(w, &p, ret) : -LE_CORRUPT;
    if (err != 0 && !is_backlog && ring_find(&msglog_core(w->log)->ring, p.file) == NULL)
        err = -LE_NOTFOUND; // used again while it was read
    return err;
}

int
window_take(struct window *w, const void *items, size_t count, size_t n, window_place_fn place_of,
            struct msglog_record *ret)
{
    struct window_record r;
    int err = window_read(w, items, count, n, place_of, &r);
    if (err != 0)
        return err;
    const struct message_fixed *m = &r.fixed;
    uint8_t *content = mem_alloc(LV_MAX(m->content_bytes, 1u));
    if (content == NULL)
        return -LE_NOMEM;
    if (r.content != NULL)
        memcpy(content, r.content, m->content_bytes);
    else
        err = w->log != NULL
                  ? large_read(msglog_core(w->log), m->large_file, m->content_bytes, m->large_crc, content)
                  : -LE_NOTFOUND;
    if (err != 0) {
        mem_free(content);
        return err;
    }
    *ret = (struct msglog_record){
        .content = {m->flags, m->priority, m->route_bytes, m->header_bytes, m->body_bytes, m->expiry_ms,
                    m->published_ms, content},
        .large_file = m->large_file,
        .buffer = content,
    };
    return 0;
}
