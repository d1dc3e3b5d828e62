// api.h: one request to the HTTP API and the handlers that answer it. Paths, fields and status codes are RabbitMQ's.
//
// Everything runs on the crew member CREW_HTTP. A handler either answers (api_reply*, api_error) before it returns, or starts
// something asynchronous (a topology change, questions to queues or workers, an operation of a session) and answers from its
// completion; until then the connection is suspended. A request lives until it is answered and sent, also when its client has gone.
// An answer is one text, or a stream (api_stream) that is made bit by bit as the client takes it.
//
// Access: who comes over TCP logs in by name and password and may do what the tags and permissions say (api_access.h's rows in
// the route table, and the broker's own checks). The control socket's peers are let in by the file's permissions and may do
// everything. What is ours and not RabbitMQ's, made for leveretctl, is to be had there only (API_CONTROL, api_only).
#pragma once

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/list.h"
#include "src/base/worker.h"
#include "src/broker/json.h"
#include "src/broker/session.h"
#include "src/management/api_out.h"
#include "src/management/api_query.h"

// LIMIT: bytes of a request's body on the control socket (over TCP: management.http.max_body_size), bytes of one that is refused
// anyway and only read to be polite.
enum { API_BODY_MAX = 16 * 1024 * 1024, API_BODY_DISCARD_MAX = 1024 * 1024 };

enum api_method {
    API_GET = 1,
    API_PUT = 2,
    API_POST = 4,
    API_DELETE = 8,
    API_CONTROL = 16,     // in api_route.methods: over the control socket alone, a 404 elsewhere
    API_OPTIONS_ASK = 32, // in api_request.method: answered by the router
};

// Who may use a route. The least known is the strictest, so that a row that says nothing is safe.
enum api_access {
    API_FOR_ADMINISTRATOR,
    API_FOR_POLICYMAKER, // or administrator
    API_FOR_MONITORING,  // or administrator
    API_FOR_MANAGEMENT,  // any of the four tags
    API_FOR_ALL,         // without a log-in
};

// ?lengths_age=60&lengths_incr=5: how far back histories are wanted, and in which steps; step 0: not.
enum api_range_kind {
    API_RANGE_LENGTHS,
    API_RANGE_MESSAGES,
    API_RANGE_DATA,
    API_RANGE_NODE,
    API_RANGE_COUNT
};
struct api_range {
    uint32_t age_s, step_s;
};

struct api_server;
struct console_file;
struct api_dry_run;
void api_dry_run_free(struct api_dry_run *d); // accepts NULL
struct api_channel;
struct api_list;

struct api_request {
    struct api_server *server;
    void *connection; // the HTTP library's
    struct list node; // api_server.requests
    enum api_method method;
    char *uri; // heap; the query's slices point into it
    struct api_query query;
    const struct api_route *route;
    struct buf body;
    size_t body_seen;                // bytes that came, kept or not
    uint64_t begun_ns;               // monotonic: when its headers were there
    json_t *json;                    // body parsed: an object; NULL: no body
    const struct console_file *file; // of the console: the whole answer; NULL: it is the API's
    char *user;                      // heap: who asks; NULL: the control socket, or nobody yet
    uint32_t tags;                   // enum user_tag
    bool is_control;                 // it came over the control socket
    bool has_token;                  // it was let in by a token (api_tokens.h)
    bool is_head;                    // only the headers of the answer are wanted
    bool is_begun;                   // its headers were seen
    bool is_handled;                 // the handler was called, or the request refused
    bool is_suspended;
    bool is_answered;
    unsigned status; // HTTP status of the answer
    struct buf out;  // body of the answer; of a stream: what is to be sent next
    size_t out_at;   // of a stream: how much of it was sent
    void (*produce)(
        struct api_request *r); // of a stream: makes more of it; NULL: no stream, or it is complete
    bool is_stream;
    bool is_metrics;                          // it came over the port of the metrics
    const char *content_type;                 // of the answer; NULL: application/json
    struct http_gzip *gzip;                   // NULL: the answer goes as it is
    struct buf packed;                        // of a packed answer: what is to be sent next
    uint64_t digest;                          // of a whole answer
    bool is_unpacked;                         // `out` holds what is to be packed
    uint64_t packed_bytes;                    // of the answer so far, as it goes over the wire
    bool is_producing;                        // inside or behind `produce`, until api_stream_ready
    struct buf gathering;                     // what workers have answered
    struct api_range ranges[API_RANGE_COUNT]; // api_take_ranges
    struct broker_listed listed_only;         // api_gather_workers
    bool has_failed;                          // a part of a gathered answer is missing
    unsigned pending;                         // answers that a gathering handler still waits for
    void (*gathered)(struct api_request *r);  // called when `pending` comes to 0
    void (*listed)(struct api_request *r);    // api_gather_workers
    int detail;                               // a handler's own
    json_t *parsed, *kept;                    // a handler's own; freed with the request
    struct api_dry_run *dry_run;              // the same: of a route
    void *state;                              // a handler's own, freed with the request by:
    void (*state_free)(void *state);
    struct api_channel *channel; // api_session.c
    int64_t message_count;       // answered as X-Message-Count: what a deleted queue held; -1: not said
    int64_t total_count; // answered as X-Total-Count: of a list of which only a part is shown; -1: not said
    char *location;      // heap: answered as Location; NULL: none
    char *allow;         // heap or NULL: answered as Allow
    char *cookie;        // heap or NULL: answered as Set-Cookie
    char *disposition;   // heap or NULL: answered as Content-Disposition
};

typedef void (*api_handler)(struct api_request *r);

struct api_route {
    unsigned methods;    // enum api_method, API_CONTROL
    const char *pattern; // "/api/users/*": a '*' is one segment that is not empty, a '?' one that may be
    api_handler handler;
    enum api_access access;
    // The segment that names a vhost, which has to exist, and on which who asks needs a permission; 0: none.
    unsigned vhost_segment;
};

// The tables of the parts, ended by a route without pattern.
extern const struct api_route api_routes_users[];       // users, permissions
extern const struct api_route api_routes_limits[];      // limits of vhosts and users
extern const struct api_route api_routes_counters[];    // reasons
extern const struct api_route api_routes_dry_run[];     // where a message would go
extern const struct api_route api_routes_policies[];    // policies, operator policies
extern const struct api_route api_routes_vhosts[];      // vhosts
extern const struct api_route api_routes_queues[];      // queues
extern const struct api_route api_routes_exchanges[];   // exchanges
extern const struct api_route api_routes_bindings[];    // bindings
extern const struct api_route api_routes_messages[];    // publish, get, purge
extern const struct api_route api_routes_live[];        // connections, channels, consumers
extern const struct api_route api_routes_parameters[];  // parameters, global parameters
extern const struct api_route api_routes_node[];        // overview, nodes, control of the process
extern const struct api_route api_routes_health[];      // health checks
extern const struct api_route api_routes_other[];       // whoami, login, extensions, feature flags …
extern const struct api_route api_routes_definitions[]; // definitions, in and out
extern const struct api_route api_routes_delayed[];     // what waits at delayed exchanges
extern const struct api_route api_routes_explain[];     // which policies make a queue what it is
extern const struct api_route api_routes_walk[];        // browse, move, redrive
extern const struct api_route api_routes_openapi[];     // what there is

// All tables.
const struct api_route *const *api_route_tables(size_t *ret_count);
void api_openapi_put(struct buf *out); // the whole description (api_openapi.c)

// Finds the route of r->query and r->method: r->route, or answers: 404, 405, OPTIONS. True: found.
LV_MUST_USE bool api_find_route(struct api_request *r);
// May r->user use r->route? False after answering 401.
LV_MUST_USE bool api_check_access(struct api_request *r);
// Parses the body and calls the handler, or answers 400.
void api_dispatch(struct api_request *r);
void api_login(struct api_request *r); // POST /api/login: the one whose body is a form

// A request whose body is not gathered but worked off as it comes (definitions, api_definitions.c). `begin` when its headers are there: it may
// answer; `take` for each part, false: the connection is to be closed; then the handler.
bool api_has_sink(const struct api_request *r);
void api_sink_begin(struct api_request *r);
LV_MUST_USE bool api_sink_take(struct api_request *r, struct slice bytes);
void api_definitions_run(struct api_server *s); // in the loop: what export threads have made goes on its way

static inline struct slice
api_segment(const struct api_request *r, size_t index)
{
    return index < r->query.segment_count ? r->query.segments[index] : SLICE_EMPTY;
}

static inline size_t
api_segment_count(const struct api_request *r)
{
    return r->query.segment_count;
}

// --- answering ----------------------------------------------------------------------------------------------------------------

// Sends r->out with that status.
void api_reply(struct api_request *r, unsigned status);
// {"error":…,"reason":…} as RabbitMQ writes it; error is the status' own word ("bad_request", "Object Not Found" …).
void api_error(struct api_request *r, unsigned status, const char *error, const char *fmt, ...)
    LV_PRINTF(4, 5);
// 400 {"error":"bad_request","reason":[word, value]}. Takes the value over.
void api_bad_value(struct api_request *r, const char *word, json_t *value);
// RabbitMQ does it to some reasons, for its web pages.
void api_escape_html(struct buf *out, struct slice text);
void api_key_missing(struct api_request *r, const char *key); // 400 "[{key_missing,KEY}]"
void api_not_found(struct api_request *r);  // 404 {"error":"Object Not Found","reason":"Not Found"}
void api_no_memory(struct api_request *r);  // 500
bool api_is_alarmed(struct api_request *r); // publishers are blocked: true after answering 503
// A fault as an HTTP error, as RabbitMQ does it where it declares and deletes: 404 to 404, 403 to 401, others 400 with the text
// without its code's name; 541 and 506 to 500.
void api_fault(struct api_request *r, const struct fault *f);
// Answers 200 with what `produce` makes: called whenever r->out was sent, it appends some more, now or later, and says so by
// api_stream_ready; when there is no more it sets r->produce to NULL before that. After the first byte there is no way to an error:
// a stream that cannot go on sets r->has_failed and is cut off.
void api_stream(struct api_request *r, void (*produce)(struct api_request *r));
void api_stream_ready(struct api_request *r);

// --- input --------------------------------------------------------------------------------------------------------------------

// A member of the body: text, boolean, integer. False when absent or of another type (then *ret is untouched).
bool api_string(const struct api_request *r, const char *key, struct slice *ret);
bool api_bool(const struct api_request *r, const char *key, bool *ret);
bool api_int(const struct api_request *r, const char *key, int64_t *ret);
// As RabbitMQ takes it: true, false, or these as text; *ret stays when it is absent. False after answering 400.
LV_MUST_USE bool api_take_bool(struct api_request *r, const char *key, bool *ret);
// A string that has to be there; false after answering 400.
LV_MUST_USE bool api_take_string(struct api_request *r, const char *key, struct slice *ret);
// "arguments" as a field table at the end of `out`; false after answering 400.
LV_MUST_USE bool api_take_arguments(struct api_request *r, struct buf *out);
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
const struct topology *api_topology(const struct api_request *r);
struct slice api_user(const struct api_request *r); // "" on the control socket
// May who asks see what is in this vhost?
bool api_may_see_vhost(const struct api_request *r, struct slice vhost);
bool api_is_administrator(const struct api_request *r); // or the control socket
bool api_is_monitor(const struct api_request *r);       // monitoring, administrator or the control socket

// "properties" of a message.
void api_put_properties(struct api_out *o, const struct message *msg);
// Members of "limits".
void api_put_vhost_limits(struct api_out *o, const struct vhost *v);
void api_put_user_limits(struct api_out *o, const struct user *u);

// --- asynchronous work --------------------------------------------------------------------------------------------------------

// Submits a topology change. Its answer: 201 when something was created, otherwise 204; or the fault.
void api_change(struct api_request *r, struct topology_request *args);
// The same with another answer: `done` owns the change (topology_request_free).
void api_change_then(struct api_request *r, struct topology_request *args,
                     void (*done)(struct topology_request *change));
// Calls `ask` on every worker with `order` copied (at most three pointers' worth); each appends to `part`; when
// all have answered r->gathering holds their parts one after the other, and r->gathered is called.
typedef void (*api_ask_fn)(struct worker *w, const void *order, struct buf *part);
void api_ask_workers(struct api_request *r, api_ask_fn ask, const void *order, size_t size);
// Runs broker_list_only on every worker; `listed` is called with the array parsed in r->parsed (-LE_NOMEM is answered for the handler).
void api_gather_workers(struct api_request *r, enum broker_listing what, const struct broker_listed *only,
                        void (*listed)(struct api_request *r));
// Answers with a JSON value, which stays the caller's; columns of the query count.
void api_reply_json(struct api_request *r, unsigned status, const json_t *value);
void api_put_tags(struct api_out *o, const char *key, struct slice tags); // "a, b" as an array
void api_put_cluster_name(const struct api_request *r, struct api_out *o, const char *key);
// A writer for one object or array as the whole answer, with the query's columns; then api_reply. False after answering 400.
struct api_answer {
    struct api_columns columns;
    struct api_out out;
};
LV_MUST_USE bool api_answer_begin(struct api_request *r, struct api_answer *a);
// Counts one more answer to come; api_gather_done takes it off and calls r->gathered at the last.
void api_gather_add(struct api_request *r);
void api_gather_done(struct api_request *r);

// "payload_bytes", "redelivered" … of a message, as POST …/get shows it, into the object that is open (api_messages.c). truncate -1: whole.
struct api_shown {
    bool is_redelivered, is_base64;
    int64_t truncate;
};
void api_put_message(struct api_out *o, const struct message *msg, const struct api_shown *how);
bool api_is_alarmed(struct api_request *r); // true after answering 503: publishers are blocked

// --- the session layer (api_session.c) ------------------------------------------------------------------------------------------

// A client and a session of who asks, for one request: every check is the one that AMQP clients meet.
// Opens them; false after answering. `done` gets the answer of each ASYNC method; it must end in api_channel_close.
LV_MUST_USE bool api_channel_open(struct api_request *r, struct slice vhost,
                                  void (*done)(struct api_request *r, const struct session_result *result));
struct session *api_channel_session(const struct api_request *r);
struct client *api_channel_client(const struct api_request *r);
bool api_channel_was_returned(const struct api_request *r);  // the last publish found no queue
bool api_channel_take_returned(const struct api_request *r); // the same, and forgets it
void api_channel_close(struct api_request *r);               // harmless when none is open
// A `done` for api_channel_open: 204, or the fault.
void api_channel_answer(struct api_request *r, const struct session_result *result);
// The same for a declare: 201 when r->detail, set before it, says that it is new.
void api_channel_declared(struct api_request *r, const struct session_result *result);
