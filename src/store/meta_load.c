// meta_load.c: reads the whole metadata store at start, table by table, each row handed to a callback.
#include "src/base/log.h"
#include "src/store/meta_impl.h"

static struct slice
column(sqlite3_stmt *st, int i)
{
    return slice_of(sqlite3_column_blob(st, i), (size_t)sqlite3_column_bytes(st, i));
}

typedef int (*row_fn)(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx);

static int
row_vhost(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_vhost row = {
        .name = column(st, 0),
        .description = column(st, 1),
        .tags = column(st, 2),
        .default_queue_type = column(st, 3),
        .is_tracing = sqlite3_column_int(st, 4) != 0,
        .max_connections = sqlite3_column_int64(st, 5),
        .max_queues = sqlite3_column_int64(st, 6),
        .max_publish_rate = sqlite3_column_int64(st, 7),
        .max_publish_bytes_rate = sqlite3_column_int64(st, 8),
        .max_messages = sqlite3_column_int64(st, 9),
        .max_memory_bytes = sqlite3_column_int64(st, 10),
    };
    return loader->vhost != NULL ? loader->vhost(ctx, &row) : 0;
}

static int
row_user(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_user row = {
        .name = column(st, 0),
        .password_hash = column(st, 1),
        .hashing = column(st, 2),
        .tags = column(st, 3),
        .max_connections = sqlite3_column_int64(st, 4),
        .max_channels = sqlite3_column_int64(st, 5),
        .max_publish_rate = sqlite3_column_int64(st, 6),
        .max_publish_bytes_rate = sqlite3_column_int64(st, 7),
    };
    return loader->user != NULL ? loader->user(ctx, &row) : 0;
}

static int
row_permission(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_permission row = {.user = column(st, 0),
                                  .vhost = column(st, 1),
                                  .configure = column(st, 2),
                                  .write = column(st, 3),
                                  .read = column(st, 4)};
    return loader->permission != NULL ? loader->permission(ctx, &row) : 0;
}

static int
row_topic_permission(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_topic_permission row = {.user = column(st, 0),
                                        .vhost = column(st, 1),
                                        .exchange = column(st, 2),
                                        .write = column(st, 3),
                                        .read = column(st, 4)};
    return loader->topic_permission != NULL ? loader->topic_permission(ctx, &row) : 0;
}

static int
row_parameter(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_parameter row = {
        .component = column(st, 0), .vhost = column(st, 1), .name = column(st, 2), .value = column(st, 3)};
    return loader->parameter != NULL ? loader->parameter(ctx, &row) : 0;
}

static int
row_exchange(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_exchange row = {
        .id = (uint64_t)sqlite3_column_int64(st, 0),
        .vhost = column(st, 1),
        .name = column(st, 2),
        .type = column(st, 3),
        .arguments = column(st, 4),
        .user = column(st, 5),
        .is_auto_delete = sqlite3_column_int(st, 6) != 0,
        .is_internal = sqlite3_column_int(st, 7) != 0,
    };
    return loader->exchange != NULL ? loader->exchange(ctx, &row) : 0;
}

static int
row_queue(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_queue row = {
        .id = (uint64_t)sqlite3_column_int64(st, 0),
        .vhost = column(st, 1),
        .name = column(st, 2),
        .arguments = column(st, 3),
        .user = column(st, 4),
        .is_auto_delete = sqlite3_column_int(st, 5) != 0,
        .created_ms = sqlite3_column_int64(st, 6),
    };
    return loader->queue != NULL ? loader->queue(ctx, &row) : 0;
}

static int
row_binding(sqlite3_stmt *st, const struct meta_loader *loader, void *ctx)
{
    struct meta_binding row = {
        .source_id = (uint64_t)sqlite3_column_int64(st, 0),
        .is_dest_queue = sqlite3_column_int(st, 1) != 0,
        .dest_id = (uint64_t)sqlite3_column_int64(st, 2),
        .key = column(st, 3),
        .canonical = column(st, 4),
        .arguments = column(st, 5),
    };
    return loader->binding != NULL ? loader->binding(ctx, &row) : 0;
}

static int
load_table(struct meta *m, const char *query, row_fn row, const struct meta_loader *loader, void *ctx)
{
    sqlite3_stmt *st = NULL;
    int err = 0;
    int rc = sqlite3_prepare_v2(m->db, query, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        err = row(st, loader, ctx);
        if (err != 0)
            break;
    }
    if (err == 0 && rc != SQLITE_DONE) {
        log_error(LOG_STORE, "metadata store: reading failed: %s", sqlite3_errmsg(m->db));
        err = (rc & 0xff) == SQLITE_CORRUPT ? -LE_CORRUPT : -LE_IO;
    }
    sqlite3_finalize(st);
    return err;
}

int
meta_load(struct meta *m, const struct meta_loader *loader, void *ctx)
{
    static const struct {
        const char *query;
        row_fn row;
    } tables[] = {
        {"SELECT name,description,tags,default_queue_type,is_tracing,max_connections,max_queues,"
         "max_publish_rate,max_publish_bytes_rate,max_messages,max_memory_bytes FROM vhosts",
         row_vhost},
        {"SELECT name,password_hash,hashing,tags,max_connections,max_channels,max_publish_rate,"
         "max_publish_bytes_rate FROM users",
         row_user},
        {"SELECT user,vhost,configure,write,read FROM permissions", row_permission},
        {"SELECT user,vhost,exchange,write,read FROM topic_permissions", row_topic_permission},
        {"SELECT component,vhost,name,value FROM parameters", row_parameter},
        {"SELECT id,vhost,name,type,arguments,user,is_auto_delete,is_internal FROM exchanges", row_exchange},
        {"SELECT id,vhost,name,arguments,user,is_auto_delete,created_ms FROM queues", row_queue},
        {"SELECT source_id,is_dest_queue,dest_id,key,canonical,arguments FROM bindings", row_binding},
    };
    int err = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(tables) && err == 0; i++)
        err = load_table(m, tables[i].query, tables[i].row, loader, ctx);
    return err;
}
