// meta.c: the metadata store on SQLite: opening, schema, transactions, and the rows (reading them is meta_load.c).
//
// File DATADIR/meta.sqlite, WAL journal, synchronous=FULL: a commit that returned is on disk. PRAGMA user_version is the schema's
// number. Names are BLOBs: any bytes are a name. Statements are prepared once. What belongs to a vhost carries its name and goes
// with it; a queue or exchange takes its bindings along.
#include "src/store/meta_impl.h"

#include <stdio.h>
#include <sys/stat.h>

#include "src/base/bug.h"
#include "src/base/log.h"
#include "src/base/mem.h"

static const char schema[] =
    "CREATE TABLE vhosts(name BLOB PRIMARY KEY, description BLOB, tags BLOB, default_queue_type BLOB, "
    "is_tracing INTEGER,"
    " max_connections INTEGER, max_queues INTEGER, max_publish_rate INTEGER DEFAULT -1,"
    " max_publish_bytes_rate INTEGER DEFAULT -1, max_messages INTEGER DEFAULT -1,"
    " max_memory_bytes INTEGER DEFAULT -1) WITHOUT ROWID;"
    "CREATE TABLE users(name BLOB PRIMARY KEY, password_hash BLOB, hashing BLOB, tags BLOB, max_connections "
    "INTEGER,"
    " max_channels INTEGER, max_publish_rate INTEGER DEFAULT -1,"
    " max_publish_bytes_rate INTEGER DEFAULT -1) WITHOUT ROWID;"
    "CREATE TABLE permissions(user BLOB, vhost BLOB, configure BLOB, write BLOB, read BLOB, PRIMARY "
    "KEY(user, vhost)) WITHOUT ROWID;"
    "CREATE TABLE topic_permissions(user BLOB, vhost BLOB, exchange BLOB, write BLOB, read BLOB,"
    " PRIMARY KEY(user, vhost, exchange)) WITHOUT ROWID;"
    "CREATE TABLE parameters(component BLOB, vhost BLOB, name BLOB, value BLOB, PRIMARY KEY(component, "
    "vhost, name)) WITHOUT ROWID;"
    "CREATE TABLE exchanges(id INTEGER PRIMARY KEY, vhost BLOB, name BLOB, type BLOB, arguments BLOB, user "
    "BLOB,"
    " is_auto_delete INTEGER, is_internal INTEGER);"
    "CREATE TABLE queues(id INTEGER PRIMARY KEY, vhost BLOB, name BLOB, arguments BLOB, user BLOB, "
    "is_auto_delete INTEGER,"
    " created_ms INTEGER);"
    "CREATE TABLE bindings(source_id INTEGER, is_dest_queue INTEGER, dest_id INTEGER, key BLOB, canonical "
    "BLOB, arguments BLOB,"
    " PRIMARY KEY(source_id, is_dest_queue, dest_id, key, canonical)) WITHOUT ROWID;"
    "CREATE INDEX bindings_dest ON bindings(is_dest_queue, dest_id);"
    "CREATE TABLE numbers(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;";

// From schema 1 to 2: limits of rates.
static const char from_1_to_2[] = "BEGIN;"
                                  "ALTER TABLE vhosts ADD COLUMN max_publish_rate INTEGER DEFAULT -1;"
                                  "ALTER TABLE vhosts ADD COLUMN max_publish_bytes_rate INTEGER DEFAULT -1;"
                                  "ALTER TABLE users ADD COLUMN max_publish_rate INTEGER DEFAULT -1;"
                                  "ALTER TABLE users ADD COLUMN max_publish_bytes_rate INTEGER DEFAULT -1;"
                                  "PRAGMA user_version=2; COMMIT";

// From schema 2 to 3: limits of what the queues of a vhost hold.
static const char from_2_to_3[] = "BEGIN;"
                                  "ALTER TABLE vhosts ADD COLUMN max_messages INTEGER DEFAULT -1;"
                                  "ALTER TABLE vhosts ADD COLUMN max_memory_bytes INTEGER DEFAULT -1;"
                                  "PRAGMA user_version=3; COMMIT";

// By enum meta_statement.
static const char *const statement_texts[META_STATEMENT_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_PUT_VHOST] = "REPLACE INTO vhosts VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    [ST_DELETE_VHOST] = "DELETE FROM vhosts WHERE name=?",
    [ST_VHOST_PERMISSIONS] = "DELETE FROM permissions WHERE vhost=?",
    [ST_VHOST_TOPIC_PERMISSIONS] = "DELETE FROM topic_permissions WHERE vhost=?",
    [ST_VHOST_PARAMETERS] = "DELETE FROM parameters WHERE vhost=?",
    [ST_VHOST_BINDINGS] = "DELETE FROM bindings WHERE source_id IN (SELECT id FROM exchanges WHERE vhost=?)",
    [ST_VHOST_EXCHANGES] = "DELETE FROM exchanges WHERE vhost=?",
    [ST_VHOST_QUEUES] = "DELETE FROM queues WHERE vhost=?",
    [ST_PUT_USER] = "REPLACE INTO users VALUES(?,?,?,?,?,?,?,?)",
    [ST_DELETE_USER] = "DELETE FROM users WHERE name=?",
    [ST_USER_PERMISSIONS] = "DELETE FROM permissions WHERE user=?",
    [ST_USER_TOPIC_PERMISSIONS] = "DELETE FROM topic_permissions WHERE user=?",
    [ST_PUT_PERMISSION] = "REPLACE INTO permissions VALUES(?,?,?,?,?)",
    [ST_DELETE_PERMISSION] = "DELETE FROM permissions WHERE user=? AND vhost=?",
    [ST_PUT_TOPIC_PERMISSION] = "REPLACE INTO topic_permissions VALUES(?,?,?,?,?)",
    [ST_DELETE_TOPIC_PERMISSION] = "DELETE FROM topic_permissions WHERE user=? AND vhost=? AND exchange=?",
    [ST_PUT_EXCHANGE] = "REPLACE INTO exchanges VALUES(?,?,?,?,?,?,?,?)",
    [ST_DELETE_EXCHANGE] = "DELETE FROM exchanges WHERE id=?",
    [ST_EXCHANGE_SOURCE] = "DELETE FROM bindings WHERE source_id=?",
    [ST_DEST_BINDINGS] = "DELETE FROM bindings WHERE is_dest_queue=? AND dest_id=?",
    [ST_PUT_QUEUE] = "REPLACE INTO queues VALUES(?,?,?,?,?,?,?)",
    [ST_DELETE_QUEUE] = "DELETE FROM queues WHERE id=?",
    [ST_PUT_BINDING] = "REPLACE INTO bindings VALUES(?,?,?,?,?,?)",
    [ST_DELETE_BINDING] =
        "DELETE FROM bindings WHERE source_id=? AND is_dest_queue=? AND dest_id=? AND key=? AND canonical=?",
    [ST_PUT_PARAMETER] = "REPLACE INTO parameters VALUES(?,?,?,?)",
    [ST_DELETE_PARAMETER] = "DELETE FROM parameters WHERE component=? AND vhost=? AND name=?",
    [ST_GET_NUMBER] = "SELECT value FROM numbers WHERE name='id_ceiling'",
    [ST_PUT_NUMBER] = "REPLACE INTO numbers VALUES('id_ceiling',?)",
};

static int
err_from_sqlite(struct meta *m, int rc, const char *what)
{
    log_error(LOG_STORE, "metadata store: %s failed: %s", what, sqlite3_errmsg(m->db));
    switch (rc & 0xff) {
    case SQLITE_FULL: return -LE_NOSPACE;
    case SQLITE_NOMEM: return -LE_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return -LE_CORRUPT;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN: return -LE_ACCESS;
    default: return -LE_IO;
    }
}

// Binds by letters: s a slice, i an int64_t, b a bool (int); then runs the statement to its end.
int
meta_run(struct meta *m, enum meta_statement which, const char *types, ...)
{
    sqlite3_stmt *st = m->statements[which];
    va_list ap;
    int rc = SQLITE_OK;
    va_start(ap, types);
    // NOLINTBEGIN(clang-analyzer-valist.Uninitialized): it is, above
    for (int i = 0; types[i] != '\0' && rc == SQLITE_OK; i++) {
        if (types[i] == 's') {
            struct slice s = va_arg(ap, struct slice);
            // SQLite takes a NULL pointer for the SQL NULL: an empty name is an empty BLOB.
            rc = sqlite3_bind_blob64(st, i + 1, s.len > 0 ? (const void *)s.ptr : "", s.len, SQLITE_STATIC);
        } else if (types[i] == 'i') {
            rc = sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t));
        } else {
            rc = sqlite3_bind_int(st, i + 1, va_arg(ap, int));
        }
    }
    // NOLINTEND(clang-analyzer-valist.Uninitialized)
    va_end(ap);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int err = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : err_from_sqlite(m, rc, statement_texts[which]);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return err;
}

// --- opening ------------------------------------------------------------------------------------------------------------------

static char *
sentence(const char *fmt, const char *path, const char *why)
{
    size_t len = strlen(fmt) + strlen(path) + strlen(why) + 1;
    char *text = mem_xalloc(len);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, len, fmt, path, why);
#pragma GCC diagnostic pop
    return text;
}

static int
user_version(sqlite3 *db, int *ret_version)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL);
    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        *ret_version = sqlite3_column_int(st, 0);
    else
        rc = SQLITE_ERROR;
    sqlite3_finalize(st);
    return rc;
}

static int
prepare_schema(struct meta *m, const char *path, char **ret_error)
{
    int version = 0;
    char number[32];
    char create[sizeof schema + 128];
    if (user_version(m->db, &version) != SQLITE_OK) {
        *ret_error = sentence("cannot read the metadata store %s: %s", path, sqlite3_errmsg(m->db));
        return -LE_CORRUPT;
    }
    if (version > META_SCHEMA_VERSION) {
        snprintf(number, sizeof number, "%d", version);
        *ret_error =
            sentence("the metadata store %s was written by a newer version (schema %s); it is left untouched",
                     path, number);
        return -LE_UNSUPPORTED;
    }
    int rc = sqlite3_exec(m->db,
                          "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-32768",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK && LV_BUG(META_UNSYNCED))
        rc = sqlite3_exec(m->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
    if (rc == SQLITE_OK && version == 0) {
        snprintf(create, sizeof create, "BEGIN; %s PRAGMA user_version=%d; COMMIT", schema,
                 META_SCHEMA_VERSION);
        rc = sqlite3_exec(m->db, create, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK && version == 1)
        rc = sqlite3_exec(m->db, from_1_to_2, NULL, NULL, NULL);
    if (rc == SQLITE_OK && version > 0 && version < 3)
        rc = sqlite3_exec(m->db, from_2_to_3, NULL, NULL, NULL);
    for (int i = 0; i < META_STATEMENT_COUNT && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(m->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &m->statements[i],
                                NULL);
    if (rc != SQLITE_OK) {
        *ret_error = sentence("cannot prepare the metadata store %s: %s", path, sqlite3_errmsg(m->db));
        return -LE_IO;
    }
    return 0;
}

int
meta_open(const char *dir, struct meta **ret_meta, char **ret_error)
{
    char *path = sentence("%s/meta.sqlite%s", dir, "");
    struct meta *m = mem_xcalloc(1, sizeof(*m));
    int err = 0;
    *ret_error = NULL;
    if (sqlite3_open_v2(path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        *ret_error = sentence("cannot open the metadata store %s: %s", path,
                              m->db != NULL ? sqlite3_errmsg(m->db) : "out of memory");
        err = -LE_ACCESS;
    } else {
        // A sector that is being written when the power fails may lose what it held before, too: no two commits share one.
        int is_safe = 0;
        (void)sqlite3_file_control(m->db, "main", SQLITE_FCNTL_POWERSAFE_OVERWRITE, &is_safe);
        (void)chmod(path, 0600); // password hashes; the directory is closed to others too
        err = prepare_schema(m, path, ret_error);
    }
    mem_free(path);
    if (err != 0) {
        meta_close(m);
        return err;
    }
    *ret_meta = m;
    return 0;
}

void
meta_close(struct meta *m)
{
    if (m == NULL)
        return;
    for (int i = 0; i < META_STATEMENT_COUNT; i++)
        sqlite3_finalize(m->statements[i]);
    sqlite3_close(m->db);
    mem_free(m);
}

int
meta_begin(struct meta *m)
{
    if (LV_BUG(META_EARLY) && sqlite3_get_autocommit(m->db) == 0)
        return 0; // goes on with the one that was left open
    return meta_run(m, ST_BEGIN, "");
}

int
meta_commit(struct meta *m)
{
    if (LV_BUG(META_EARLY) && ++m->early % 4 != 0)
        return 0;
    return meta_run(m, ST_COMMIT, "");
}

void
meta_rollback(struct meta *m)
{
    // After some errors SQLite has rolled back by itself.
    if (sqlite3_get_autocommit(m->db) == 0 && meta_run(m, ST_ROLLBACK, "") != 0)
        log_error(LOG_STORE, "metadata store: the transaction stays open; the next one will report it");
}

// --- rows ---------------------------------------------------------------------------------------------------------------------

int
meta_put_vhost(struct meta *m, const struct meta_vhost *r)
{
    return meta_run(m, ST_PUT_VHOST, "ssssbiiiiii", r->name, r->description, r->tags, r->default_queue_type,
                    (int)r->is_tracing, r->max_connections, r->max_queues, r->max_publish_rate,
                    r->max_publish_bytes_rate, r->max_messages, r->max_memory_bytes);
}

// Runs statements that take one name, in order, until one fails.
static int
run_each(struct meta *m, const enum meta_statement *which, size_t count, struct slice name)
{
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++)
        err = meta_run(m, which[i], "s", name);
    return err;
}

int
meta_delete_vhost(struct meta *m, struct slice name)
{
    static const enum meta_statement all[] = {
        ST_VHOST_BINDINGS,          ST_VHOST_EXCHANGES,  ST_VHOST_QUEUES, ST_VHOST_PERMISSIONS,
        ST_VHOST_TOPIC_PERMISSIONS, ST_VHOST_PARAMETERS, ST_DELETE_VHOST};
    return run_each(m, all, LV_ARRAY_LEN(all), name);
}

int
meta_put_user(struct meta *m, const struct meta_user *r)
{
    return meta_run(m, ST_PUT_USER, "ssssiiii", r->name, r->password_hash, r->hashing, r->tags,
                    r->max_connections, r->max_channels, r->max_publish_rate, r->max_publish_bytes_rate);
}

int
meta_delete_user(struct meta *m, struct slice name)
{
    static const enum meta_statement all[] = {ST_USER_PERMISSIONS, ST_USER_TOPIC_PERMISSIONS, ST_DELETE_USER};
    return run_each(m, all, LV_ARRAY_LEN(all), name);
}

int
meta_put_permission(struct meta *m, const struct meta_permission *r)
{
    return meta_run(m, ST_PUT_PERMISSION, "sssss", r->user, r->vhost, r->configure, r->write, r->read);
}

int
meta_delete_permission(struct meta *m, struct slice user, struct slice vhost)
{
    return meta_run(m, ST_DELETE_PERMISSION, "ss", user, vhost);
}

int
meta_put_topic_permission(struct meta *m, const struct meta_topic_permission *r)
{
    return meta_run(m, ST_PUT_TOPIC_PERMISSION, "sssss", r->user, r->vhost, r->exchange, r->write, r->read);
}

int
meta_delete_topic_permission(struct meta *m, struct slice user, struct slice vhost, struct slice exchange)
{
    return meta_run(m, ST_DELETE_TOPIC_PERMISSION, "sss", user, vhost, exchange);
}

int
meta_put_exchange(struct meta *m, const struct meta_exchange *r)
{
    return meta_run(m, ST_PUT_EXCHANGE, "isssssbb", (int64_t)r->id, r->vhost, r->name, r->type, r->arguments,
                    r->user, (int)r->is_auto_delete, (int)r->is_internal);
}

int
meta_delete_exchange(struct meta *m, uint64_t id)
{
    int err = meta_run(m, ST_EXCHANGE_SOURCE, "i", (int64_t)id);
    if (err == 0)
        err = meta_run(m, ST_DEST_BINDINGS, "bi", 0, (int64_t)id);
    return err != 0 ? err : meta_run(m, ST_DELETE_EXCHANGE, "i", (int64_t)id);
}

int
meta_put_queue(struct meta *m, const struct meta_queue *r)
{
    return meta_run(m, ST_PUT_QUEUE, "issssbi", (int64_t)r->id, r->vhost, r->name, r->arguments, r->user,
                    (int)r->is_auto_delete, r->created_ms);
}

int
meta_delete_queue(struct meta *m, uint64_t id)
{
    int err = meta_run(m, ST_DEST_BINDINGS, "bi", 1, (int64_t)id);
    return err != 0 ? err : meta_run(m, ST_DELETE_QUEUE, "i", (int64_t)id);
}

int
meta_put_binding(struct meta *m, const struct meta_binding *r)
{
    return meta_run(m, ST_PUT_BINDING, "ibisss", (int64_t)r->source_id, (int)r->is_dest_queue,
                    (int64_t)r->dest_id, r->key, r->canonical, r->arguments);
}

int
meta_delete_binding(struct meta *m, const struct meta_binding *r)
{
    return meta_run(m, ST_DELETE_BINDING, "ibiss", (int64_t)r->source_id, (int)r->is_dest_queue,
                    (int64_t)r->dest_id, r->key, r->canonical);
}

int
meta_put_parameter(struct meta *m, const struct meta_parameter *r)
{
    return meta_run(m, ST_PUT_PARAMETER, "ssss", r->component, r->vhost, r->name, r->value);
}

int
meta_delete_parameter(struct meta *m, struct slice component, struct slice vhost, struct slice name)
{
    return meta_run(m, ST_DELETE_PARAMETER, "sss", component, vhost, name);
}

int
meta_get_id_ceiling(struct meta *m, uint64_t *ret_id)
{
    sqlite3_stmt *st = m->statements[ST_GET_NUMBER];
    int rc = sqlite3_step(st);
    int err = 0;
    if (rc == SQLITE_ROW)
        *ret_id = (uint64_t)sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_DONE)
        *ret_id = 0;
    else
        err = err_from_sqlite(m, rc, "reading a number");
    sqlite3_reset(st);
    return err;
}

int
meta_put_id_ceiling(struct meta *m, uint64_t id)
{
    return meta_run(m, ST_PUT_NUMBER, "i", (int64_t)id);
}
