// meta.h: the durable metadata of a node in SQLite: vhosts, users, permissions, parameters, durable exchanges, queues, bindings.
//
// One thread (the topology writer) owns a store. Changes happen inside meta_begin … meta_commit; nothing is promised before
// meta_commit returned 0 (WAL, synchronous=FULL). After a failed call meta_rollback; the store stays usable. On disk:
// DATADIR/meta.sqlite, schema version in PRAGMA user_version: a newer one is refused with -LE_UNSUPPORTED, untouched.
// All strings are bytes plus length (BLOB); arguments are field tables as on the wire, without their length.
#pragma once

#include "src/base/err.h"
#include "src/base/slice.h"

struct meta;

// Opens or makes DIR/meta.sqlite. ret_error: a sentence for people on failure (heap, mem_free), or NULL.
LV_MUST_USE int meta_open(const char *dir, struct meta **ret_meta, char **ret_error);
void meta_close(struct meta *m);

LV_MUST_USE int meta_begin(struct meta *m);
LV_MUST_USE int meta_commit(struct meta *m);
void meta_rollback(struct meta *m);

struct meta_vhost {
    struct slice name, description, tags; // tags: comma separated
    struct slice default_queue_type;      // empty: none
    bool is_tracing;
    int64_t max_connections, max_queues;              // -1: no limit set
    int64_t max_publish_rate, max_publish_bytes_rate; // a second; -1: no limit set
    int64_t max_messages, max_memory_bytes;           // held by its queues; -1: no limit set
};

struct meta_user {
    struct slice name, password_hash; // base-64 text as in definitions files; empty: no log-in by password
    struct slice hashing;             // "rabbit_password_hashing_sha256", …
    struct slice tags;                // comma separated
    int64_t max_connections, max_channels;            // -1: no limit set
    int64_t max_publish_rate, max_publish_bytes_rate; // a second; -1: no limit set
};

struct meta_permission {
    struct slice user, vhost, configure, write, read; // regexes
};

struct meta_topic_permission {
    struct slice user, vhost, exchange, write, read;
};

struct meta_exchange {
    uint64_t id;
    struct slice vhost, name, type, arguments, user;
    bool is_auto_delete, is_internal;
};

struct meta_queue {
    uint64_t id;
    struct slice vhost, name, arguments, user;
    bool is_auto_delete;
    int64_t created_ms;
};

struct meta_binding {
    uint64_t source_id, dest_id;
    bool is_dest_queue;
    struct slice key, arguments, canonical;
};

// Runtime and global parameters, policies and the like: component, vhost (empty for global), name → JSON text.
struct meta_parameter {
    struct slice component, vhost, name, value;
};

// Insert or replace / delete. Deleting what is not there is no error. Deleting a vhost removes all that lies in it, a user its
// permissions, an exchange or queue its bindings.
LV_MUST_USE int meta_put_vhost(struct meta *m, const struct meta_vhost *row);
LV_MUST_USE int meta_delete_vhost(struct meta *m, struct slice name);
LV_MUST_USE int meta_put_user(struct meta *m, const struct meta_user *row);
LV_MUST_USE int meta_delete_user(struct meta *m, struct slice name);
LV_MUST_USE int meta_put_permission(struct meta *m, const struct meta_permission *row);
LV_MUST_USE int meta_delete_permission(struct meta *m, struct slice user, struct slice vhost);
LV_MUST_USE int meta_put_topic_permission(struct meta *m, const struct meta_topic_permission *row);
LV_MUST_USE int meta_delete_topic_permission(struct meta *m, struct slice user, struct slice vhost,
                                             struct slice exchange);
LV_MUST_USE int meta_put_exchange(struct meta *m, const struct meta_exchange *row);
LV_MUST_USE int meta_delete_exchange(struct meta *m, uint64_t id);
LV_MUST_USE int meta_put_queue(struct meta *m, const struct meta_queue *row);
LV_MUST_USE int meta_delete_queue(struct meta *m, uint64_t id);
LV_MUST_USE int meta_put_binding(struct meta *m, const struct meta_binding *row);
LV_MUST_USE int meta_delete_binding(struct meta *m, const struct meta_binding *row);
LV_MUST_USE int meta_put_parameter(struct meta *m, const struct meta_parameter *row);
LV_MUST_USE int meta_delete_parameter(struct meta *m, struct slice component, struct slice vhost,
                                      struct slice name);
// The highest object id ever handed out, kept ahead in steps so that ids are never reused.
LV_MUST_USE int meta_get_id_ceiling(struct meta *m, uint64_t *ret_id);
LV_MUST_USE int meta_put_id_ceiling(struct meta *m, uint64_t id);

// Reads everything at start, in an order in which every row refers only to earlier ones. A callback returns 0 or stops the load
// with its own negative code. Rows are valid during the call only. NULL callbacks are skipped.
struct meta_loader {
    int (*vhost)(void *ctx, const struct meta_vhost *row);
    int (*user)(void *ctx, const struct meta_user *row);
    int (*permission)(void *ctx, const struct meta_permission *row);
    int (*topic_permission)(void *ctx, const struct meta_topic_permission *row);
    int (*parameter)(void *ctx, const struct meta_parameter *row);
    int (*exchange)(void *ctx, const struct meta_exchange *row);
    int (*queue)(void *ctx, const struct meta_queue *row);
    int (*binding)(void *ctx, const struct meta_binding *row);
};
LV_MUST_USE int meta_load(struct meta *m, const struct meta_loader *loader, void *ctx);
