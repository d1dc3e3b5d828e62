// topology.h: everything declared: vhosts, exchanges, queues, bindings, users, permissions; immutable, in versions.
//
// A version is reached from one `struct topology`. The topology writer (a thread of its own, which owns the metadata store too)
// makes all changes; all changes of one of its turns share one version. Workers adopt the newest version at the start of a turn
// and read it without locks; a request is answered when every worker has adopted the version that shows it. Memory of older
// versions is freed when all workers have left them.
//
// Readers: only the calling member's adopted version (topology_of), and pointers out of it only until the end of the turn.
// What must live longer is named by handle, id or name.
#pragma once

#include "exchange/route.h"
#include "queue/ops.h"
#include "src/base/pmap.h"
#include "src/base/worker.h"
#include "src/broker/fault.h"
#include "src/broker/policy.h"
#include "src/broker/rate.h"
#include "src/broker/vhost_load.h"

struct permission; // compiled regexes: see auth.h
struct password_rule;
struct topic_permission;

enum user_tag { // known tags; others are kept as text only
    USER_TAG_ADMINISTRATOR = 1u << 0,
    USER_TAG_MONITORING = 1u << 1,
    USER_TAG_POLICYMAKER = 1u << 2,
    USER_TAG_MANAGEMENT = 1u << 3,
    USER_TAG_IMPERSONATOR = 1u << 4,
};

struct user {
    struct slice name;
    struct slice password_hash;            // raw bytes: 4 bytes salt + digest; empty: no log-in by password
    struct slice hashing;                  // "rabbit_password_hashing_sha256" or _sha512, _md5
    struct slice tags;                     // comma separated text
    uint32_t tag_flags;                    // enum user_tag
    int64_t max_connections, max_channels; // -1: none
    struct rate_limit rate;                // of what it may publish
};

struct vhost {
    uint64_t id; // of this vhost; a vhost deleted and made again has another
    struct slice name, description, tags, default_queue_type;
    bool is_tracing;
    int64_t max_connections, max_queues; // -1: none
    struct rate_limit rate;              // of what may be published in it
    struct content_limit content;        // of what its queues hold
    struct pmap exchanges;               // name → const struct exchange
    struct pmap exchanges_by_id;         // id → const struct exchange
    struct pmap queues;                  // name → const struct queue_def
    struct pmap delay_queues; // id → const struct queue_def: of delayed exchanges; clients cannot name them
    const struct policy_list *policies[POLICY_KINDS];
};

struct topology {
    uint64_t version;              // grows by one with each
    uint64_t auth_version;         // changes when any user, permission or vhost changed
    struct pmap vhosts;            // name → const struct vhost
    struct pmap users;             // name → const struct user
    struct pmap permissions;       // (user, vhost) → const struct permission
    struct pmap topic_permissions; // (user, vhost, exchange) → const struct topic_permission
    struct pmap parameters;        // (component, vhost, name) → const struct parameter
};

struct parameter {
    struct slice component, vhost, name, value; // value: JSON text
};

// The version the calling crew member has adopted for this turn. Never NULL once started.
const struct topology *topology_of(struct worker *w);
// Queues made and removed since the start. Any thread.
void topology_queue_churn(const struct crew *crew, uint64_t *ret_made, uint64_t *ret_gone);

// LIMIT: versions that a member may keep beyond its turns.
enum { TOPOLOGY_PINS_MAX = 8 };
// Keeps the version that the calling member has adopted: until topology_unpin, by the same member, any thread may read it. Holds up nobody,
// but memory of what was changed since is kept too, so not for long. NULL: too many are kept.
LV_MUST_USE const struct topology *topology_pin(struct worker *w);
void topology_unpin(struct worker *w, const struct topology *t);

const struct vhost *topology_vhost(const struct topology *t, struct slice name);
const struct user *topology_user(const struct topology *t, struct slice name);
const struct permission *topology_permission(const struct topology *t, struct slice user, struct slice vhost);
const struct topic_permission *topology_topic_permission(const struct topology *t, struct slice user,
                                                         struct slice vhost, struct slice exchange);
const struct parameter *topology_parameter(const struct topology *t, struct slice component,
                                           struct slice vhost, struct slice name);
const struct exchange *vhost_exchange(const struct vhost *v, struct slice name);
const struct exchange *vhost_exchange_by_id(const struct vhost *v, uint64_t id);
const struct queue_def *vhost_queue(const struct vhost *v, struct slice name);
// For route_resolve: `graph` of the result is the vhost.
struct route_graph vhost_route_graph(const struct vhost *v);
// Which policies are for a queue, an exchange. Computed anew each time: as many patterns are tried as there are stronger policies.
struct policy_pair vhost_queue_policies(const struct vhost *v, struct policy_matcher *m,
                                        const struct queue_def *def);
struct policy_pair vhost_exchange_policies(const struct vhost *v, struct policy_matcher *m,
                                           const struct exchange *x);

// --- changes ----------------------------------------------------------------------------------------------------------

enum topology_change {
    CHANGE_VHOST_PUT, // name, text (description), tags, default_queue_type; those with a NULL ptr stay as they are
    CHANGE_VHOST_DELETE,
    CHANGE_VHOST_LIMITS, // number (max_connections), number2 (max_queues); INT64_MIN: leave as it is
    CHANGE_USER_PUT,     // name, password_hash (raw) when has_password, hashing, tags when has_tags
    CHANGE_USER_DELETE,
    CHANGE_USER_LIMITS,    // number (max_connections), number2 (max_channels)
    CHANGE_PERMISSION_SET, // user, vhost, configure, write, read
    CHANGE_PERMISSION_CLEAR,
    CHANGE_TOPIC_PERMISSION_SET,   // user, vhost, name (exchange), write, read
    CHANGE_TOPIC_PERMISSION_CLEAR, // name empty: all of that user and vhost
    CHANGE_PARAMETER_PUT, // component, vhost, name, text (JSON); a policy's is answered when all queues live by it
    CHANGE_PARAMETER_DELETE,
    CHANGE_EXCHANGE_DECLARE, // vhost, name, type, flags, arguments, user
    CHANGE_EXCHANGE_DELETE,  // if_unused
    CHANGE_EXCHANGE_DELAY, // vhost, name: the writer's own, when policies say another thing about delaying than before
    CHANGE_QUEUE_DECLARE, // vhost, name, queue_flags, arguments, owner_conn, user; placed on `prefer` or the least loaded
    CHANGE_QUEUE_DELETE, // if_unused, if_empty, owner_conn (the asking connection: 405 when another's exclusive queue)
    CHANGE_BIND, // vhost, name (source), dest_name, is_dest_queue, key, arguments, owner_conn
    CHANGE_UNBIND,
    CHANGE_CONNECTION_GONE, // owner_conn: delete its exclusive queues; answered when they are gone from every worker
};

enum change_flags {
    CHANGE_DURABLE = 1u << 0,
    CHANGE_AUTO_DELETE = 1u << 1,
    CHANGE_INTERNAL = 1u << 2,
    CHANGE_EXCLUSIVE = 1u << 3,
    CHANGE_IF_UNUSED = 1u << 4,
    CHANGE_IF_EMPTY = 1u << 5,
    CHANGE_HAS_PASSWORD = 1u << 6,
    CHANGE_HAS_TAGS = 1u << 7,
    CHANGE_DEST_IS_QUEUE = 1u << 8,
    CHANGE_INTERNAL_CALLER = 1u << 9, // system: may touch amq.* names
    CHANGE_ONLY_NEW = 1u << 10,       // vhost, user: refused (406) when it exists already
    CHANGE_ONLY_EXISTING = 1u << 11,  // vhost, user: refused (404) when it does not exist
    CHANGE_TRACING_ON = 1u << 12,     // vhost put: sets is_tracing; neither of the two: stays as it is
    CHANGE_TRACING_OFF = 1u << 13,
    CHANGE_RATE_LIMITS =
        1u << 14, // vhost and user limits: number is the rate of messages, number2 that of bytes
    CHANGE_CONTENT_LIMITS =
        1u << 16,              // vhost limits: number is that of messages, number2 that of their memory
    CHANGE_RELAXED = 1u << 15, // queue declare: arguments.h, struct queue_properties
};

// A request to the topology writer. Made by topology_request_new, which copies every slice; travels to the writer and back.
struct topology_request {
    enum topology_change change;
    uint32_t flags; // enum change_flags
    struct slice vhost, name, dest_name, key, arguments, type, user, text, tags, component;
    struct slice configure, write, read, password_hash, hashing, default_queue_type;
    uint64_t owner_conn; // connection id (exclusive queues)
    int64_t number, number2;
    struct worker *requester;                 // filled by topology_submit
    void (*done)(struct topology_request *r); // on the requester's thread; owns r from then on
    void *ctx;                                // the requester's own
    lv_handle session;                        // the requester's own
    // out
    struct fault
        fault; // code FAULT_NONE: done. Without AMQP's counterpart: 404 for a missing vhost, user …, 406 for a bad value
    bool is_created;        // declare, put, bind: it did not exist before
    uint64_t message_count; // queue delete
    uint64_t version;       // the topology version that shows it
};

// A copy of *args with all slices copied into it; NULL when out of memory.
LV_MUST_USE struct topology_request *topology_request_new(const struct topology_request *args);
void topology_request_free(struct topology_request *r);
// From any crew member; only for requests made by topology_request_new. Answered exactly once, except those still open when
// the crew stops: topology_stop frees them without a word.
void topology_submit(struct topology_request *r);
// queue_client.is_unused: asks for the removal of a queue that should go when it has no consumers; nobody is answered. The
// condition is checked once more on the owner. On the owner's thread.
void topology_queue_unused(struct worker *owner, const struct queue_def *def);

// The owner saw the last consumer of an auto-delete queue go: asks the writer to remove it if it is still unused then.
void topology_queue_unused(struct worker *owner, const struct queue_def *def);

// --- start-up ---------------------------------------------------------------------------------------------------------

enum queue_placement {
    PLACE_BALANCED,
    PLACE_LOCAL,
    PLACE_REMOTE
}; // REMOTE: tests: never on the declarer's worker when there is another

// Of the whole node, all virtual hosts together; -1: none. What is there already stays.
struct topology_limits {
    int64_t vhosts, queues, exchanges; // exchanges: the predeclared ones count
};

struct vhost_defaults;

// An operator policy that each vhost made from now on gets whose name matches.
struct topology_default_policy {
    struct slice name, vhost_pattern, queue_pattern;
    struct slice definition; // JSON object
};

struct topology_config {
    const char *data_dir;                                   // NULL: nothing is kept (tests)
    struct slice default_vhost, default_user, default_pass; // made when the store is new
    struct slice log_vhost; // that has the exchange amq.rabbitmq.log; likewise
    struct slice
        event_vhost; // that has the exchange amq.rabbitmq.event; empty: none. Lives as long as the crew
    struct slice default_user_tags;              // comma separated; NULL ptr: "administrator"
    struct slice default_user_permission[3];     // by enum access, on default_vhost; NULL ptr: ".*"
    const struct password_rule *password_rule;   // that default_pass has to fulfil; NULL: none
    const struct topology_limits *limits;        // NULL: none
    const struct vhost_defaults *vhost_defaults; // limits of new vhosts; NULL: none. Outlives the crew
    const struct topology_default_policy *default_policies; // default_policy_count of them
    size_t default_policy_count;
    enum queue_placement placement;
    // On the writer's thread, after a vhost or user was deleted: sessions are to be closed (may be NULL).
    void (*vhost_deleted)(void *ctx, struct slice name);
    void (*user_deleted)(void *ctx, struct slice name);
    void *ctx;
};

// Opens the store, builds version 1 (amq.* exchanges of every vhost, durable objects; queues spread over the workers and
// created there), makes the writer on crew member CREW_TOPOLOGY. Order at start-up: queue_worker_init of every worker (it is
// part of broker_worker_init), topology_start, topology_worker_init of every member that reads, crew_start. An empty
// default_vhost or default_user makes none. 0 or -LE_xxx with a sentence (heap); nothing is left behind then.
LV_MUST_USE int topology_start(struct crew *crew, const struct topology_config *config, char **ret_error);
// New limits while running, for what is made from then on. From any crew member.
void topology_set_limits(struct crew *crew, const struct topology_limits *limits);
// After the threads have ended and broker_worker_fini (which ends the queues): closes the store, frees everything. Rings must not
// be drained afterwards. Harmless when topology_start failed or was never called.
void topology_stop(struct crew *crew);
// Each other crew member that reads topology: hooks PHASE_ADOPT (after topology_start, before crew_start).
void topology_worker_init(struct worker *w);
