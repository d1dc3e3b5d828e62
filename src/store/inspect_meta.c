// inspect_meta.c: the metadata, read without a trace.
//
// A store that was not closed has its last transactions in meta.sqlite-wal: that must be read too, so "immutable" (which ignores it) is
// right only when there is none. With one: no locks (nothing else has the directory), exclusive mode from the beginning (the index of
// the journal is then in memory, not in a file beside it), no checkpoint at the end. And whatever SQLite means to do, its
// files are opened by a VFS of our own that opens nothing but to read.
#include <sqlite3.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/store/inspect.h"
#include "src/store/meta_impl.h"

#define META_FILE "meta.sqlite"

// The size of a file of the directory; one that is not there has none.
static int
size_of(struct inspect *i, const char *name, uint64_t *ret)
{
    char path[IO_PATH_MAX];
    int fd;
    snprintf(path, sizeof path, "%s/%s", i->dir, name);
    *ret = 0;
    int err = i->reader.io.open(i->reader.io.ctx, path, IO_READ, &fd);
    if (err != 0)
        return err == -LE_NOTFOUND ? 0 : err;
    err = i->reader.io.size(i->reader.io.ctx, fd, ret);
    (void)i->reader.io.close(i->reader.io.ctx, fd);
    return err;
}

// --- a VFS that cannot write ---

#define VFS_UNDER "unix-none" // as "unix", without locks
#define VFS_NAME  "leveret-reader"

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    sqlite3_vfs *under = sqlite3_vfs_find(VFS_UNDER);
    flags &=
        ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_EXCLUSIVE);
    return under->xOpen(under, name, file, flags | SQLITE_OPEN_READONLY, ret_flags);
}

static int
vfs_delete(sqlite3_vfs *vfs, const char *name, int is_synced)
{
    return SQLITE_READONLY;
}

static int
register_reader(void)
{
    static sqlite3_vfs reader; // SQLite keeps it
    const sqlite3_vfs *under = sqlite3_vfs_find(VFS_UNDER);
    if (sqlite3_vfs_find(VFS_NAME) != NULL)
        return SQLITE_OK;
    if (under == NULL)
        return SQLITE_ERROR;
    reader = *under;
    reader.pNext = NULL;
    reader.zName = VFS_NAME;
    reader.xOpen = vfs_open;
    reader.xDelete = vfs_delete;
    return sqlite3_vfs_register(&reader, 0);
}

// The name of a file as part of a URI.
static void
put_uri_path(struct buf *uri, const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        if (*p == '?' || *p == '#' || *p == '%')
            buf_printf(uri, "%%%02x", (unsigned)(unsigned char)*p);
        else
            buf_append_u8(uri, (uint8_t)*p);
    }
}

static int
open_store(struct inspect *i, bool has_journal, sqlite3 **ret)
{
    struct buf uri = BUF_INIT;
    buf_append_str(&uri, "file:");
    put_uri_path(&uri, i->dir);
    buf_printf(&uri, "/" META_FILE "?mode=ro&vfs=" VFS_NAME "%s", has_journal ? "" : "&immutable=1");
    int rc = sqlite3_initialize();
    if (rc == SQLITE_OK)
        rc = uri.failed ? SQLITE_NOMEM : register_reader();
    if (rc == SQLITE_OK)
        rc = sqlite3_open_v2(buf_cstr(&uri), ret,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    buf_fini(&uri);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(*ret, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc =
            sqlite3_exec(*ret, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA query_only=1; PRAGMA temp_store=MEMORY",
                         NULL, NULL, NULL);
    return rc;
}

// --- checks ---

static void
damage(struct inspect *i, sqlite3 *db, const char *what)
{
    inspect_find(i, true, META_FILE, 0, 0, "%s: %s", what, sqlite3_errmsg(db));
}

// Runs a query that tells of one finding a row, by its text.
static void
check_rows(struct inspect *i, sqlite3 *db, const char *query, const char *all_is_well)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, query, -1, &st, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        if (text != NULL && strcmp(text, all_is_well) != 0)
            inspect_find(i, true, META_FILE, 0, 0, "%s", text);
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE)
        damage(i, db, "a check cannot be carried out");
    sqlite3_finalize(st);
}

static void
check_consistency(struct inspect *i, sqlite3 *db)
{
    static const char *const queries[] = {
        "SELECT 'queue ' || id || ' lies in a virtual host that is not there' FROM queues WHERE vhost NOT IN "
        "(SELECT name FROM vhosts)",
        "SELECT 'exchange ' || id || ' lies in a virtual host that is not there' FROM exchanges WHERE vhost "
        "NOT IN (SELECT name FROM vhosts)",
        "SELECT 'queues ' || min(id) || ' and ' || max(id) || ' have the same name' FROM queues GROUP BY "
        "vhost, name HAVING count(*) > 1",
        "SELECT 'a binding leads to queue ' || dest_id || ', which is not there' FROM bindings WHERE "
        "is_dest_queue=1 AND dest_id NOT IN"
        " (SELECT id FROM queues)",
        "SELECT 'a binding leads to exchange ' || dest_id || ', which is not there' FROM bindings WHERE "
        "is_dest_queue=0 AND dest_id NOT"
        " IN (SELECT id FROM exchanges)",
    };
    for (size_t n = 0; n < LV_ARRAY_LEN(queries); n++)
        check_rows(i, db, queries[n], "");
}

// --- rows ---

static int
copy_slice(struct slice from, struct slice *ret)
{
    uint8_t *copy = mem_alloc(from.len + 1);
    if (copy == NULL)
        return -LE_NOMEM;
    if (from.len > 0)
        memcpy(copy, from.ptr, from.len);
    copy[from.len] = '\0';
    *ret = slice_of(copy, from.len);
    return 0;
}

static int
load_queue(void *ctx, const struct meta_queue *row)
{
    struct inspect *i = ctx;
    i->meta.queues++;
    if (row->id == 0)
        return 0; // no queue has it: a check of its own says so
    struct inspect_queue *q = inspect_queue_at(i, row->id);
    if (q == NULL)
        return -LE_NOMEM;
    if (q->is_known)
        return 0;
    int err = copy_slice(row->vhost, &q->vhost);
    if (err == 0)
        err = copy_slice(row->name, &q->name);
    q->is_known = true;
    return err;
}

static int
load_vhost(void *ctx, const struct meta_vhost *row)
{
    ((struct inspect *)ctx)->meta.vhosts++;
    return 0;
}

static int
load_user(void *ctx, const struct meta_user *row)
{
    ((struct inspect *)ctx)->meta.users++;
    return 0;
}

static int
load_exchange(void *ctx, const struct meta_exchange *row)
{
    ((struct inspect *)ctx)->meta.exchanges++;
    return 0;
}

static int
load_binding(void *ctx, const struct meta_binding *row)
{
    ((struct inspect *)ctx)->meta.bindings++;
    return 0;
}

static int
read_number(sqlite3 *db, const char *query, int64_t *ret)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, query, -1, &st, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : rc;
}

static int
read_store(struct inspect *i, sqlite3 *db, struct buf *problem)
{
    static const struct meta_loader loader = {.vhost = load_vhost,
                                              .user = load_user,
                                              .exchange = load_exchange,
                                              .queue = load_queue,
                                              .binding = load_binding};
    struct meta m = {.db = db};
    int64_t version = 0, ceiling = 0;
    if (read_number(db, "PRAGMA user_version", &version) != 0) {
        damage(i, db, "it cannot be read");
        return 0;
    }
    if (version > META_SCHEMA_VERSION) {
        buf_printf(problem, "%s/" META_FILE " was written by a newer version (schema %lld)", i->dir,
                   (long long)version);
        return -LE_UNSUPPORTED;
    }
    check_rows(i, db, "PRAGMA integrity_check", "ok");
    if (version == 0)
        return 0; // made, and not filled before a crash
    if (read_number(db, "SELECT value FROM numbers WHERE name='id_ceiling'", &ceiling) != 0)
        damage(i, db, "it cannot be read");
    i->meta.id_ceiling = (uint64_t)ceiling;
    int err = meta_load(&m, &loader, i);
    if (err == -LE_NOMEM)
        return err;
    i->meta.is_there = err == 0;
    if (err != 0)
        damage(i, db, "it cannot be read whole");
    else
        check_consistency(i, db);
    return 0;
}

int
inspect_read_meta(struct inspect *i, struct buf *problem)
{
    sqlite3 *db = NULL;
    uint64_t bytes = 0, journal_bytes = 0;
    int err = size_of(i, META_FILE, &bytes);
    if (err == 0)
        err = size_of(i, META_FILE "-wal", &journal_bytes);
    if (err != 0) {
        buf_printf(problem, "%s/" META_FILE " cannot be read: %s", i->dir, err_text(err));
        return err;
    }
    if (bytes == 0 && journal_bytes == 0) {
        inspect_find(i, false, META_FILE, 0, 0, "there is no metadata: no broker has used this directory");
        return 0;
    }
    if (open_store(i, journal_bytes > 0, &db) != SQLITE_OK)
        damage(i, db, "it cannot be opened");
    else
        err = read_store(i, db, problem);
    sqlite3_close(db);
    return err;
}
