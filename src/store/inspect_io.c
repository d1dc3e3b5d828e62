// inspect_io.c: see inspect_io.h. A file that is asked for to write to is opened to be read: recovery opens its segments once.
#include "src/store/inspect_io.h"

#include "src/base/err.h"

static const struct io *
under(void *ctx)
{
    return ((const struct inspect_io *)ctx)->under;
}

// `to` has IO_PATH_MAX bytes. NULL: too long.
static const char *
mapped(void *ctx, const char *path, char *to)
{
    const struct inspect_io *r = ctx;
    size_t len = strlen(r->from);
    if (len == 0 || strncmp(path, r->from, len) != 0 || (path[len] != '\0' && path[len] != '/'))
        return path;
    int n = snprintf(to, IO_PATH_MAX, "%s%s", r->to, path + len);
    return n > 0 && n < IO_PATH_MAX ? to : NULL;
}

static int
reader_open(void *ctx, const char *path, unsigned flags, int *ret_fd)
{
    char to[IO_PATH_MAX];
    if ((flags & IO_CREATE) != 0)
        return -LE_ACCESS;
    path = mapped(ctx, path, to);
    return path != NULL ? under(ctx)->open(under(ctx)->ctx, path, IO_READ, ret_fd) : -LE_LIMIT;
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
    char to[IO_PATH_MAX];
    path = mapped(ctx, path, to);
    return path != NULL ? under(ctx)->list(under(ctx)->ctx, path, fn, fn_ctx) : -LE_LIMIT;
}

static int
reader_space(void *ctx, const char *path, struct io_space *ret_space)
{
    return under(ctx)->space(under(ctx)->ctx, path, ret_space);
}

// Whoever opens a directory makes durable what it found; nothing is found here that has to be.
static int
no_sync(void *ctx, int fd)
{
    return 0;
}

static int
no_sync_dir(void *ctx, const char *path)
{
    return 0;
}

// --- refused ---

static int
refuse_write(void *ctx, int fd, const struct iovec *parts, int count, uint64_t offset, size_t *ret_len)
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
inspect_io_init(struct inspect_io *r, const struct io *io)
{
    r->under = io;
    r->from[0] = r->to[0] = '\0';
    r->io = (struct io){
        .ctx = r,
        .open = reader_open,
        .close = reader_close,
        .read = reader_read,
        .write = refuse_write,
        .fdatasync = no_sync,
        .fsync = no_sync,
        .sync_all = no_sync,
        .truncate = refuse_truncate,
        .allocate = refuse_allocate,
        .size = reader_size,
        .rename = refuse_rename,
        .unlink = refuse_path,
        .mkdir = refuse_path,
        .sync_dir = no_sync_dir,
        .list = reader_list,
        .space = reader_space,
    };
}
