// api.h: one request to the HTTP API and the handlers that answer it. Paths, fields and status codes are RabbitMQ's.
//
// Everything runs on the crew member CREW_HTTP. A handler either answers (api_reply*, api_error) before it returns, or starts
// something asynchronous (a topology change, questions to queues or workers) and answers from its completion; until then the
// connection is suspended. A request lives until it is answered and sent, also when its client has gone.
//
// Access: the control socket's peers are let in by the file's permissions and may do everything. What is ours and not RabbitMQ's, made
// for leveretctl, is to be had there only (API_CONTROL, api_only).
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/list.h"
#include "src/base/worker.h"
#include "src/broker/json.h"
#include "src/broker/session.h"

// LIMIT: path segments of a request, bytes of a request's body.
enum { API_SEGMENTS_MAX = 12, API_BODY_MAX = 16 * 1024 * 1024 };

enum api_method { API_GET = 1, API_PUT = 2, API_POST = 4, API_DELETE = 8 };
enum { API_CONTROL = 16 }; // in api_route.methods: over the control socket alone, a 404 elsewhere

struct api_server;
struct api_dry_run;
void api_dry_run_free(struct api_dry_run *d); // accepts NULL

struct api_request {
    struct api_server *server;
    void *connection; // the HTTP library's
    struct list node; // api_server.requests
    enum api_method method;
    char *path; // heap; segments point into it, percent-decoded in place
    struct slice segments[API_SEGMENTS_MAX];
    size_t segment_count;
    struct buf body;
    json_t *json;    // body parsed: an object; NULL: no body
    bool is_control; // it came over the control socket
    bool is_begun;   // its headers were seen
    bool is_handled; // the handler was called
    bool is_suspended;
    bool is_answered;
    unsigned status;                             // HTTP status of the answer
    struct buf out;                              // body of the answer
    bool has_failed;                             // a part of a gathered answer is missing
    unsigned pending;                            // answers that a gathering handler still waits for
    void (*gathered)(struct api_request *r);     // called when `pending` comes to 0
    void (*listed)(struct api_request *r);       // api_gather_workers
    int detail;                                  // a handler's own
    json_t *parsed, *kept;                       // a handler's own; freed with the request
    struct api_exchange_counts *exchange_counts; // the same: of a list of exchanges
    size_t exchange_count;
    struct api_dry_run *dry_run; // the same: of a route
    int64_t message_count;       // answered as X-Message-Count: what a deleted queue held; -1: not said
};

typedef void (*api_handler)(struct api_request *r);

struct api_route {
    unsigned methods;    // enum api_method, API_CONTROL
    const char *pattern; // "/api/users/*": a '*' is one segment
    api_handler handler;
};

// The tables of the parts, ended by a route without pattern.
extern const struct api_route api_routes_access[];   // users, vhosts, permissions
extern const struct api_route api_routes_limits[];   // limits of vhosts and users
extern const struct api_route api_routes_counters[]; // reasons
extern const struct api_route api_routes_dry_run[];  // where a message would go
extern const struct api_route api_routes_objects[];  // queues, exchanges, bindings
extern const struct api_route api_routes_policies[]; // policies, operator policies
extern const struct api_route api_routes_live[];     // connections, channels, consumers
extern const struct api_route api_routes_node[];     // overview, nodes, control of the process
extern const struct api_route api_routes_health[];   // health checks

// Splits the path at '/' and decodes each segment in place. False: more segments than any route has.
LV_MUST_USE bool api_split_path(struct api_request *r);
// Parses the body and calls the handler, or answers: 400, 404, 405.
void api_dispatch(struct api_request *r);
bool api_is_unix_socket(int fd); // such a connection came over the control socket

// --- answering ----------------------------------------------------------------------------------------------------------------

// Sends r->out with that status.
void api_reply(struct api_request *r, unsigned status);
// {"error":…,"reason":…} as RabbitMQ writes it; error is the status' own word ("bad_request", "Object Not Found" …).
void api_error(struct api_request *r, unsigned status, const char *error, const char *fmt, ...)
    LV_PRINTF(4, 5);
void api_not_found(struct api_request *r); // 404 {"error":"Object Not Found","reason":"Not Found"}
// A fault as an HTTP error: 404 to 404, 403 to 401, 405/406 to 400, others 500; the text without its code's name.
void api_fault(struct api_request *r, const struct fault *f);

// --- input --------------------------------------------------------------------------------------------------------------------

// A member of the body: text, boolean, integer. False when absent or of another type (then *ret is untouched).
bool api_string(const struct api_request *r, const char *key, struct slice *ret);
bool api_bool(const struct api_request *r, const char *key, bool *ret);
bool api_int(const struct api_request *r, const char *key, int64_t *ret);
// A flag of the body ("if-unused": true) or of the query (?if-unused=true).
bool api_flag(const struct api_request *r, const char *key);
// "only" of the body (ours, for leveretctl): "new" or "existing", as change flags; 0: neither. False after answering 400: it did
// not come over the control socket, and ignoring it would change what was to be left alone.
LV_MUST_USE bool api_only(struct api_request *r, uint32_t *ret_flags);
// "tags": a string "a,b" or an array of strings, to comma-separated text in `out`. False when absent.
bool api_tags(const struct api_request *r, struct buf *out);
// A JSON object as a field table (integers l, doubles d, strings S, null V …). -LE_xxx when it cannot be one.
LV_MUST_USE int api_table(const json_t *object, struct buf *out);
// The vhost named by a segment in the adopted topology; NULL after answering 404.
const struct vhost *api_vhost(struct api_request *r, size_t segment);

// --- lists ----------------------------------------------------------------------------------------------------------------------

typedef int (*api_compare_fn)(const void *, const void *);
typedef void (*api_put_fn)(struct buf *out, const void *item);
// Writes the values of a map, in order, as one JSON array, and answers. `wanted` NULL: all.
void api_reply_sorted(struct api_request *r, const struct pmap *map, api_compare_fn compare, api_put_fn put,
                      bool (*wanted)(struct api_request *, const void *));
int api_compare_users(const void *a, const void *b); // of pointers to struct user, by name
int api_compare_vhosts(const void *a, const void *b);
// Members of "limits", without a comma at the end.
void api_put_vhost_limits(struct buf *out, const struct vhost *v);
void api_put_user_limits(struct buf *out, const struct user *u);

// After api_gather_workers(LIST_COUNTERS): what is counted by exchange, in order of ids (heap); and by vhost.
struct api_exchange_counts {
    uint64_t id, in, out;
};
LV_MUST_USE int api_exchange_counts_take(struct api_request *r, struct api_exchange_counts **ret,
                                         size_t *ret_count);
json_t *api_vhost_counts_take(const struct api_request *r);
// A comma and "message_stats"; nothing where nothing was counted.
void api_put_exchange_counts(struct buf *out, const struct api_exchange_counts *all, size_t count,
                             uint64_t id);
void api_put_vhost_counts(struct buf *out, const json_t *counts, const struct vhost *v);

// --- asynchronous work --------------------------------------------------------------------------------------------------------

// Submits a topology change. Its answer: 201 when something was created, otherwise 204; or the fault.
void api_change(struct api_request *r, struct topology_request *args);
// Runs broker_list on every worker and answers with one JSON array.
void api_list_workers(struct api_request *r, enum broker_listing what);
// The same, but `listed` is called with the array parsed in r->parsed (-LE_NOMEM is answered for the handler).
void api_gather_workers(struct api_request *r, enum broker_listing what,
                        void (*listed)(struct api_request *r));
// Answers with a JSON value, which stays the caller's.
void api_reply_json(struct api_request *r, unsigned status, const json_t *value);
// Counts one more answer to come; api_gather_done takes it off and calls r->gathered at the last.
void api_gather_add(struct api_request *r);
void api_gather_done(struct api_request *r);
