// log_large.c: bodies above a quarter of a segment have files of their own: <dir>/large/<16 hex digits>.body, the content and nothing else.
//
// File and folder are synced before the record that names the file is written. A file goes when its last reference is released; one that
// a crash left without a record goes at the next start, when nothing live in the log names it and no backlog file does
// (msglog_large_hold). Its length and CRC-32C are in the record.
// core.large counts references, plus one so that a file without any has an entry too: it is made before anything is promised, and
// counting needs no memory later.
#include "src/base/crc.h"
#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/log_core.h"

static void
large_path(const struct core *c, uint64_t id, char to[IO_PATH_MAX])
{
    int n = snprintf(to, IO_PATH_MAX, "%.*s/%016llx.body", IO_PATH_MAX - 32, c->large_dir,
                     (unsigned long long)id);
    LV_ASSERT(n > 0 && n < IO_PATH_MAX);
}

int
large_write(struct core *c, const struct msglog_content *content, uint64_t *ret_id, uint32_t *ret_crc)
{
    char path[IO_PATH_MAX];
    int fd;
    uint64_t id = c->next_large;
    size_t len = (size_t)content->route_bytes + content->header_bytes + content->body_bytes;
    if (inttab_put(&c->large, id, (void *)1) != 0)
        return -LE_NOMEM;
    c->next_large++;
    large_path(c, id, path);
    int err = c->io->open(c->io->ctx, path, IO_WRITE | IO_CREATE, &fd);
    if (err != 0) {
        (void)inttab_take(&c->large, id);
        return err;
    }
    struct iovec part = {(void *)(uintptr_t)content->bytes, len};
    err = io_write_all(c->io, fd, &part, 1, 0);
    if (err == 0 && !LOG_BUG(BUG_LARGE_NOT_SYNCED))
        err = c->io->fsync(c->io->ctx, fd);
    int close_err = c->io->close(c->io->ctx, fd);
    if (err == 0)
        err = close_err;
    if (err == 0 && !LOG_BUG(BUG_LARGE_NOT_SYNCED | BUG_NO_DIR_SYNC))
        err = c->io->sync_dir(c->io->ctx, c->large_dir);
    if (err != 0) {
        large_drop(c, id);
        return err;
    }
    *ret_id = id;
    *ret_crc = crc32c(0, content->bytes, len);
    return 0;
}

int
large_read(const struct core *c, uint64_t id, uint32_t bytes, uint32_t crc, uint8_t *to)
{
    char path[IO_PATH_MAX];
    int fd;
    size_t n = 0;
    large_path(c, id, path);
    int err = c->io->open(c->io->ctx, path, IO_READ, &fd);
    if (err != 0)
        return err;
    err = io_read_all(c->io, fd, to, bytes, 0, &n);
    (void)c->io->close(c->io->ctx, fd);
    if (err == 0 && (n != bytes || crc32c(0, to, n) != crc))
        err = -LE_CORRUPT;
    return err;
}

int
large_hold(struct core *c, uint64_t id)
{
    uintptr_t count = (uintptr_t)inttab_get(&c->large, id);
    c->next_large = LV_MAX(c->next_large, id + 1);
    return inttab_put(&c->large, id,
                      (void *)(LV_MAX(count, (uintptr_t)1) + 1)); // without memory only when it is new
}

// What stays in spite of it is swept at the next start.
void
large_drop(struct core *c, uint64_t id)
{
    char path[IO_PATH_MAX];
    (void)inttab_take(&c->large, id);
    large_path(c, id, path);
    (void)c->io->unlink(c->io->ctx, path);
}

void
large_release(struct core *c, uint64_t id)
{
    uintptr_t count = id != 0 ? (uintptr_t)inttab_get(&c->large, id) : 0;
    if (count <= 1)
        return;
    if (count == 2) {
        large_drop(c, id);
        return;
    }
    int err = inttab_put(&c->large, id, (void *)(count - 1));
    LV_ASSERT(err == 0); // it is there
}

struct sweep {
    struct core *c;
    uint64_t *ids;
    size_t count, cap;
};

static int
sweep_name(void *ctx, const char *name)
{
    struct sweep *s = ctx;
    char *end;
    unsigned long long id = strtoull(name, &end, 16);
    if (end != name + 16 || strcmp(end, ".body") != 0 || id == 0 || id > MSGLOG_NUMBER_MAX)
        return 0; // not ours: left alone
    s->c->next_large = LV_MAX(s->c->next_large, id + 1);
    if (inttab_get(&s->c->large, id) != NULL)
        return 0;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        uint64_t *ids = mem_realloc(s->ids, cap * sizeof(*ids));
        if (ids == NULL)
            return -LE_NOMEM;
        s->ids = ids;
        s->cap = cap;
    }
    s->ids[s->count++] = id;
    return 0;
}

int
large_sweep(struct core *c)
{
    struct sweep s = {.c = c};
    int err = c->io->list(c->io->ctx, c->large_dir, sweep_name, &s);
    for (size_t i = 0; i < s.count && err == 0 && !c->is_damaged; i++)
        large_drop(c, s.ids[i]);
    mem_free(s.ids);
    return err;
}
