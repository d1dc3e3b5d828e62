// api_dry_run.c: /api/exchanges/VHOST/NAME/route (ours): where a message would go, and why; nothing is published.
//
// Happy path: the way through bindings is thought through in the adopted topology (src/broker/dry_run.h) → the first
// STATES_MAX of the queues found are asked how they are (QUEUE_REQUEST_STATS) → one answer: outcome, queues with the way to each and
// whether they would take the message, steps.
#include "src/base/mem.h"
#include "src/broker/dry_run.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

// LIMIT: queues that are asked how they are.
enum { STATES_MAX = 200 };

enum queue_state { STATE_UNKNOWN, STATE_TAKES, STATE_FULL, STATE_GONE };

struct api_dry_run {
    struct dry_run *run;
    struct {
        enum queue_state state;
        uint64_t ready, consumers;
    } states[STATES_MAX];
};

struct asked_state {
    struct api_request *request;
    size_t queue;
};

void
api_dry_run_free(struct api_dry_run *d)
{
    if (d != NULL)
        dry_run_free(d->run);
    mem_free(d);
}

// --- the answer -----------------------------------------------------------------------------------------------------------------

static void
put_queue(struct buf *out, const struct api_dry_run *d, size_t i)
{
    static const char *const words[] = {
        [STATE_UNKNOWN] = "not asked",
        [STATE_TAKES] = "takes the message",
        [STATE_FULL] = "would refuse the message: its length limit is reached and overflow is reject-publish",
        [STATE_GONE] = "is just being deleted",
    };
    const struct dry_run_queue *q = &d->run->queues[i];
    enum queue_state state = i < STATES_MAX ? d->states[i].state : STATE_UNKNOWN;
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", slice_of(q->name, q->name_len));
    json_put_member_int(out, "step", (int64_t)q->step);
    json_put_member_string(out, "path", slice_str(q->path));
    if (state == STATE_TAKES || state == STATE_FULL) {
        json_put_member_int(out, "messages_ready", (int64_t)d->states[i].ready);
        json_put_member_int(out, "consumers", (int64_t)d->states[i].consumers);
    }
    if (state != STATE_UNKNOWN)
        json_put_member_bool(out, "accepts", state == STATE_TAKES);
    json_put_member_string(out, "text", slice_str(words[state]));
    json_drop_comma(out);
    buf_append_str(out, "},");
}

static void
put_answer(struct api_request *r)
{
    static const char *const outcomes[] = {
        [DRY_RUN_ROUTED] = "routed", [DRY_RUN_UNROUTABLE] = "unroutable", [DRY_RUN_REFUSED] = "refused"};
    const struct api_dry_run *d = r->dry_run;
    const struct dry_run *run = d->run;
    struct buf *out = &r->out;
    size_t full = 0;
    for (size_t i = 0; i < LV_MIN(run->queue_count, (size_t)STATES_MAX); i++)
        full += d->states[i].state == STATE_FULL;
    buf_append_u8(out, '{');
    json_put_member_bool(out, "routed", run->outcome == DRY_RUN_ROUTED);
    json_put_member_string(out, "outcome", slice_str(outcomes[run->outcome]));
    json_put_member_bool(out, "nacked", full > 0); // one that refuses is enough, as in RabbitMQ
    json_put_member_string(out, "text", buf_slice(&run->text));
    json_put_member_int(out, "queue_count", (int64_t)run->found_count);
    json_put_member_bool(out, "truncated", run->is_truncated);
    buf_append_str(out, "\"queues\":[");
    for (size_t i = 0; i < run->queue_count; i++)
        put_queue(out, d, i);
    json_drop_comma(out);
    buf_append_str(out, "],\"steps\":[");
    buf_append_slice(out, buf_slice(&run->steps));
    json_drop_comma(out);
    buf_append_str(out, "]}");
    api_reply(r, 200);
}

// --- asking the queues ------------------------------------------------------------------------------------------------------------

static void
state_told(struct queue_request *q)
{
    struct asked_state *asked = q->ctx;
    struct api_request *r = asked->request;
    struct api_dry_run *d = r->dry_run;
    d->states[asked->queue].state = q->outcome != QUEUE_OK && q->outcome != QUEUE_NO_MEMORY ? STATE_GONE
                                    : q->stats.is_refusing                                  ? STATE_FULL
                                                                                            : STATE_TAKES;
    d->states[asked->queue].ready = q->stats.ready;
    d->states[asked->queue].consumers = q->stats.consumers;
    mem_free(asked);
    queue_request_free(q);
    api_gather_done(r);
}

static void
ask_state(struct api_request *r, size_t i)
{
    struct asked_state *asked = mem_alloc(sizeof *asked);
    struct queue_request *q =
        asked != NULL ? queue_request_new(QUEUE_REQUEST_STATS, r->dry_run->run->queues[i].handle) : NULL;
    if (q == NULL) {
        mem_free(asked); // it is not known then
        return;
    }
    *asked = (struct asked_state){.request = r, .queue = i};
    q->ctx = asked;
    q->done = state_told;
    api_gather_add(r);
    queue_request_send(q);
}

// --- the request ------------------------------------------------------------------------------------------------------------------

// A member of the body, or of the query.
static struct slice
text_of(const struct api_request *r, const char *key)
{
    struct slice text = SLICE_EMPTY;
    return api_string(r, key, &text) ? text : api_query_find(&r->query, key);
}

static struct slice
member_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return slice_of(json_string_value(value), json_string_length(value));
}

static bool
think(struct api_request *r, struct buf *headers)
{
    const json_t *properties = json_object_get(r->json, "properties");
    const json_t *given = json_object_get(properties, "headers");
    struct slice exchange = api_segment(r, 3);
    if (given == NULL)
        given = json_object_get(r->json, "headers");
    if (api_table(given, headers) != 0) {
        api_error(r, 400, "bad_request", "headers is not a table");
        return false;
    }
    struct dry_run_args args = {
        .vhost = api_segment(r, 2),
        .exchange = slice_eq_str(exchange, "amq.default") ? SLICE_EMPTY : exchange,
        .key = text_of(r, "routing_key"),
        .props = {.flags = AMQP_PROP_HEADERS,
                  .headers = buf_slice(headers),
                  .message_id = member_of(properties, "message_id"),
                  .correlation_id = member_of(properties, "correlation_id")},
        .user = text_of(r, "user"),
        .is_mandatory = api_flag(r, "mandatory"),
    };
    // Only administrators learn what another user may do.
    if (!api_is_administrator(r))
        args.user = api_user(r);
    if (args.key.len > UINT8_MAX) {
        api_error(r, 400, "bad_request", "a routing key has at most 255 bytes");
        return false;
    }
    int err = dry_run(http_server_worker(r->server), &args, &r->dry_run->run);
    if (err == -LE_NOTFOUND)
        api_not_found(r);
    else if (err != 0)
        api_error(r, 500, "internal_error", "out of memory");
    return err == 0;
}

// GET ?routing_key=K[&user=U][&mandatory=true], or POST {"routing_key":…, "headers":{…}, "user":…, "mandatory":…}; the body of
// …/publish is understood too.
static void
get_route(struct api_request *r)
{
    struct buf headers = BUF_INIT;
    r->dry_run = mem_calloc(1, sizeof *r->dry_run);
    if (r->dry_run == NULL) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    bool is_thought = think(r, &headers);
    buf_fini(&headers);
    if (!is_thought)
        return;
    r->gathered = put_answer;
    api_gather_add(r); // so that it is not complete before all are asked
    for (size_t i = 0; i < LV_MIN(r->dry_run->run->queue_count, (size_t)STATES_MAX); i++)
        ask_state(r, i);
    api_gather_done(r);
}

const struct api_route api_routes_dry_run[] = {
    {API_GET | API_POST, "/api/exchanges/*/*/route", get_route, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
