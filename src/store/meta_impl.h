// meta_impl.h: what meta.c and meta_load.c share.
#pragma once

#include <sqlite3.h>
#include <stdarg.h>

#include "src/store/meta.h"

enum { META_SCHEMA_VERSION = 3 };

enum meta_statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_PUT_VHOST,
    ST_DELETE_VHOST,
    ST_VHOST_PERMISSIONS,
    ST_VHOST_TOPIC_PERMISSIONS,
    ST_VHOST_PARAMETERS,
    ST_VHOST_BINDINGS,
    ST_VHOST_EXCHANGES,
    ST_VHOST_QUEUES,
    ST_PUT_USER,
    ST_DELETE_USER,
    ST_USER_PERMISSIONS,
    ST_USER_TOPIC_PERMISSIONS,
    ST_PUT_PERMISSION,
    ST_DELETE_PERMISSION,
    ST_PUT_TOPIC_PERMISSION,
    ST_DELETE_TOPIC_PERMISSION,
    ST_PUT_EXCHANGE,
    ST_DELETE_EXCHANGE,
    ST_EXCHANGE_SOURCE,
    ST_DEST_BINDINGS,
    ST_PUT_QUEUE,
    ST_DELETE_QUEUE,
    ST_PUT_BINDING,
    ST_DELETE_BINDING,
    ST_PUT_PARAMETER,
    ST_DELETE_PARAMETER,
    ST_GET_NUMBER,
    ST_PUT_NUMBER,
    META_STATEMENT_COUNT
};

struct meta {
    sqlite3 *db;
    sqlite3_stmt *statements[META_STATEMENT_COUNT];
    unsigned early; // planted bug META_EARLY: commits so far
};

// Binds by letters (s struct slice, i int64_t, b int) and runs one statement. 0 or -LE_xxx, logged.
LV_MUST_USE int meta_run(struct meta *m, enum meta_statement which, const char *types, ...);
