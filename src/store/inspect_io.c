// inspect_io.c: see inspect_io.h. A file that is asked for to write to is opened to be read: recovery opens its segments once.
#include "src/store/inspect_io.h"

#include "src/base/err.h"

static const struct io *
under(void *ctx)
{
    return ctx;
}

static int
reader_open(void *ctx, const char *path, unsigned flags, int *ret_fd)
{
    if ((flags & IO_CREATE) != 0)
        return -LE_ACCESS;
    return under(ctx)->open(under(ctx)->ctx, path, IO_READ, ret_fd);
}

static int
reader_close(void *ctx, int fd)
{
    return under(ctx)->close(under(ctx)->ctx, fd);
}

static int
reader_read(void *ctx, int fd, void *to, size_t len, uint64_t offset, size_t *ret_len)
{
    return under(ctx)->read(under(ctx)->ctx, fd, to, len, offset, ret_len);
}

static int
reader_size(void *ctx, int fd, uint64_t *ret_size)
{
    return under(ctx)->size(under(ctx)->ctx, fd, ret_size);
}

static int
reader_list(void *ctx, const char *path, io_name_fn fn, void *fn_ctx)
{
    return under(ctx)->list(under(ctx)->ctx, path, fn, fn_ctx);
}

static int
reader_space(void *ctx, const char *path, struct io_space *ret_space)
{
    return under(ctx)->space(under(ctx)->ctx, path, ret_space);
}

// --- refused ---

static int
refuse_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
{
    return -LE_ACCESS;
}

static int
refuse_sync(void *ctx, int fd)
{
    return -LE_ACCESS;
}

static int
refuse_truncate(void *ctx, int fd, uint64_t size)
{
    return -LE_ACCESS;
}

static int
refuse_allocate(void *ctx, int fd, uint64_t offset, uint64_t len)
{
    return -LE_ACCESS;
}

static int
refuse_rename(void *ctx, const char *from, const char *to)
{
    return -LE_ACCESS;
}

static int
refuse_path(void *ctx, const char *path)
{
    return -LE_ACCESS;
}

void
inspect_io_init(struct io *ret, const struct io *io)
{
    *ret = (struct io){
        .ctx = (void *)(uintptr_t)io,
        .open = reader_open,
        .close = reader_close,
        .read = reader_read,
        .write = refuse_write,
        .fdatasync = refuse_sync,
        .fsync = refuse_sync,
        .truncate = refuse_truncate,
        .allocate = refuse_allocate,
        .size = reader_size,
        .rename = refuse_rename,
        .unlink = refuse_path,
        .mkdir = refuse_path,
        .sync_dir = refuse_path,
        .list = reader_list,
        .space = reader_space,
    };
}
