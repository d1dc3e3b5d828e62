// definitions_spool.c: see definitions_spool.h.
#include "src/management/definitions_spool.h"

#include <stdio.h>

void
definitions_spool_init(struct definitions_spool *s, const struct io *io, const char *dir)
{
    *s = (struct definitions_spool){.io = io, .dir = dir, .fd = -1};
}

void
definitions_spool_fini(struct definitions_spool *s)
{
    buf_fini(&s->memory);
    if (s->fd >= 0)
        (void)s->io->close(s->io->ctx, s->fd);
    s->fd = -1;
}

// A file left by a process that ended between making and unlinking it is in the way once.
static int
open_file(struct definitions_spool *s)
{
    char path[IO_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/definitions.tmp", s->dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return -LE_LIMIT;
    int err = s->io->open(s->io->ctx, path, IO_WRITE | IO_CREATE, &s->fd);
    if (err == -LE_EXISTS && s->io->unlink(s->io->ctx, path) == 0)
        err = s->io->open(s->io->ctx, path, IO_WRITE | IO_CREATE, &s->fd);
    if (err != 0) {
        s->fd = -1;
        return err;
    }
    return s->io->unlink(s->io->ctx, path);
}

static int
flush(struct definitions_spool *s)
{
    int err = s->fd < 0 ? open_file(s) : 0;
    struct iovec part = {.iov_base = s->memory.ptr, .iov_len = s->memory.len};
    if (err == 0)
        err = io_write_all(s->io, s->fd, &part, 1, s->file_bytes);
    if (err != 0)
        return err;
    s->file_bytes += s->memory.len;
    buf_reset(&s->memory);
    return 0;
}

int
definitions_spool_put(struct definitions_spool *s, struct slice records)
{
    buf_append_slice(&s->memory, records);
    if (s->memory.failed)
        return -LE_NOMEM;
    return s->memory.len > SPOOL_MEMORY_BYTES ? flush(s) : 0;
}

int
definitions_spool_fill(const struct definitions_spool *s, struct definitions_cursor *c, bool *ret_is_end)
{
    buf_drop_front(&c->chunk, c->at);
    c->at = 0;
    *ret_is_end = false;
    if (c->offset < s->file_bytes) {
        size_t wanted = (size_t)LV_MIN(s->file_bytes - c->offset, (uint64_t)SPOOL_MEMORY_BYTES);
        size_t got = 0;
        if (!buf_reserve(&c->chunk, wanted))
            return -LE_NOMEM;
        int err = io_read_all(s->io, s->fd, c->chunk.ptr + c->chunk.len, wanted, c->offset, &got);
        if (err == 0 && got < wanted)
            err = -LE_IO;
        if (err != 0)
            return err;
        c->chunk.len += got;
        c->offset += got;
    } else if (c->memory_at < s->memory.len) {
        buf_append_slice(&c->chunk, slice_from(buf_slice(&s->memory), c->memory_at));
        c->memory_at = s->memory.len;
    } else {
        *ret_is_end = true;
    }
    return c->chunk.failed ? -LE_NOMEM : 0;
}

void
definitions_cursor_fini(struct definitions_cursor *c)
{
    buf_fini(&c->chunk);
}
