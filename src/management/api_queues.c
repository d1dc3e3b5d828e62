// api_queues.c: queues over the HTTP API.
//
// A list asks each queue's owner for its counters (QUEUE_REQUEST_STATS), a batch at a time; ?disable_stats=true asks nobody. One queue
// is shown with its consumers, which their sessions tell.
#include <time.h>

#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/policy.h"
#include "src/management/api_list.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"

// --- one queue as JSON ------------------------------------------------------------------------------------------------------------

static void
put_definition(struct api_list *l, const struct queue_def *def, struct api_out *o)
{
    static const char *const types[] = {"classic", "quorum", "stream"};
    api_out_slice(o, "name", def->name);
    api_out_slice(o, "vhost", def->vhost);
    api_out_str(o, "node", http_server_node(l->request->server)->node_name);
    api_out_bool(o, "durable", (def->flags & QUEUE_DURABLE) != 0);
    api_out_bool(o, "auto_delete", (def->flags & QUEUE_AUTO_DELETE) != 0);
    api_out_bool(o, "exclusive", (def->flags & QUEUE_EXCLUSIVE) != 0);
    api_out_str(o, "type", types[def->type]);
    api_out_table(o, "arguments", def->arguments);
    api_out_slice(o, "user_who_performed_action", def->user);
    api_out_int(o, "queue_id", (int64_t)def->id);
    api_out_int(o, "owner_connection_id", (int64_t)def->owner_conn);
    api_out_int(o, "worker", handle_worker(def->handle));
}

// RabbitMQ knows more of where messages are; what is not known here is left out but for what tools read.
static void
put_sizes(const struct queue_stats *s, struct api_out *o)
{
    int64_t count = (int64_t)(s->ready + s->unacked), bytes = (int64_t)(s->ready_bytes + s->unacked_bytes);
    api_out_int(o, "messages_persistent", (int64_t)s->persistent);
    api_out_int(o, "messages_ram", count - (int64_t)s->paged_out);
    api_out_int(o, "messages_ready_ram", (int64_t)(s->ready - s->paged_out));
    api_out_int(o, "messages_unacknowledged_ram", (int64_t)s->unacked);
    api_out_int(o, "messages_paged_out", (int64_t)s->paged_out);
    api_out_int(o, "message_bytes", bytes);
    api_out_int(o, "message_bytes_ready", (int64_t)s->ready_bytes);
    api_out_int(o, "message_bytes_unacknowledged", (int64_t)s->unacked_bytes);
    api_out_int(o, "message_bytes_ram", bytes - (int64_t)s->paged_out_bytes);
    api_out_int(o, "message_bytes_paged_out", (int64_t)s->paged_out_bytes);
    // The queue counts persistent messages, not their bytes: left out when only some are.
    if (s->persistent == 0 || (int64_t)s->persistent == count)
        api_out_int(o, "message_bytes_persistent", s->persistent == 0 ? 0 : bytes);
    api_out_int(o, "memory", (int64_t)s->memory_bytes);
}

static void
put_consumer_counts(const struct queue_stats *s, struct api_out *o)
{
    // Could a message that came now be delivered at once? RabbitMQ's figure is the share of the time in which that was so.
    double capacity = s->consumers > 0 && s->ready == 0 ? 1.0 : 0.0;
    api_out_int(o, "consumers", (int64_t)s->consumers);
    api_out_double(o, "consumer_capacity", capacity);
    api_out_double(o, "consumer_utilisation", capacity);
}

static bool
is_active_consumer(const struct queue_request *q, const json_t *consumer)
{
    uint64_t session = (uint64_t)json_integer_value(json_object_get(consumer, "session_handle"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(consumer, "consumer_id"));
    for (uint64_t i = 0; q->consumers != NULL && i < q->stats.consumers; i++) {
        if (q->consumers[i].session == session && q->consumers[i].consumer_id == id)
            return q->consumers[i].is_active;
    }
    return false;
}

// The tags are known where the consumers are shown: of one queue. In lists they are null.
static void
put_tag(struct api_list *l, const struct queue_request *q, bool is_single, struct api_out *o)
{
    const json_t *exclusive = NULL, *active = NULL, *consumer;
    for (size_t i = 0; i < json_array_size(l->request->parsed); i++) {
        consumer = json_array_get(l->request->parsed, i);
        if (json_is_true(json_object_get(consumer, "exclusive")))
            exclusive = consumer;
        if (is_single && is_active_consumer(q, consumer))
            active = consumer;
    }
    api_out_json(o, "exclusive_consumer_tag", json_object_get(exclusive, "consumer_tag"));
    api_out_json(o, "single_active_consumer_tag", json_object_get(active, "consumer_tag"));
}

static void
put_idle_since(const struct queue_stats *s, struct api_out *o)
{
    char text[48];
    struct tm tm;
    time_t seconds = (time_t)(s->idle_since_ms / 1000);
    if (s->idle_since_ms == 0 || gmtime_r(&seconds, &tm) == NULL)
        return;
    size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof text - len, ".%03d+00:00", (int)(s->idle_since_ms % 1000));
    api_out_str(o, "idle_since", text);
}

// Quorum queues: who has a copy.
static void
put_members(struct api_list *l, struct api_out *o)
{
    static const char *const lists[] = {"members", "online"};
    const char *node = http_server_node(l->request->server)->node_name;
    api_out_str(o, "leader", node);
    for (size_t i = 0; i < LV_ARRAY_LEN(lists); i++) {
        api_out_array(o, lists[i]);
        api_out_str(o, NULL, node);
        api_out_end(o);
    }
}

// null without one, as in RabbitMQ.
static void
put_policies(struct api_list *l, const struct queue_def *def, struct api_out *o)
{
    struct api_request *r = l->request;
    struct buf text = BUF_INIT;
    const struct vhost *v = topology_vhost(api_topology(r), def->vhost);
    struct policy_pair pair = vhost_queue_policies(v, http_server_matcher(r->server), def);
    static const char *const names[] = {[POLICY_USER] = "policy", [POLICY_OPERATOR] = "operator_policy"};
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        if (pair.of[i] != NULL)
            api_out_slice(o, names[i], pair.of[i]->name);
        else
            api_out_null(o, names[i]);
    }
    if (api_out_wants(o, "effective_policy_definition")) {
        policy_effective_put(&text, &pair);
        json_t *definition = json_loadb((const char *)text.ptr, text.len, 0, NULL);
        api_out_json(o, "effective_policy_definition", definition);
        json_decref(definition);
    }
    buf_fini(&text);
}

static void
put_stats(struct api_list *l, const struct queue_def *def, const struct queue_request *q, struct api_out *o)
{
    static const char *const lengths[] = {"messages", "messages_ready", "messages_unacknowledged"};
    const struct queue_stats *s = &q->stats;
    for (size_t i = 0; i < LV_ARRAY_LEN(lengths); i++)
        api_put_queue_length(l->request, o, lengths[i], q);
    put_sizes(s, o);
    put_consumer_counts(s, o);
    put_tag(l, q, (def->flags & QUEUE_SINGLE_ACTIVE) != 0, o);
    put_idle_since(s, o);
    put_policies(l, def, o);
    api_out_null(o, "head_message_timestamp");
    api_out_null(o, "recoverable_slaves");
    api_out_str(o, "state", "running");
    api_put_queue_message_stats(l->request, o, q);
    if (def->type == QUEUE_QUORUM)
        put_members(l, o);
}

// The consumers of one queue, as their sessions showed them (r->parsed).
static void
put_consumers(struct api_list *l, const struct queue_request *q, bool is_single, struct api_out *o)
{
    const json_t *consumers = l->request->parsed;
    api_out_array(o, "consumer_details");
    for (size_t i = 0; i < json_array_size(consumers); i++) {
        json_t *consumer = json_array_get(consumers, i);
        api_mark_consumer(l->request, consumer, q, is_single);
        api_out_json(o, NULL, consumer);
    }
    api_out_end(o);
    for (int i = 0; i < 2; i++) {
        api_out_array(o, i == 0 ? "incoming" : "deliveries");
        api_out_end(o);
    }
}

// --- the source ---------------------------------------------------------------------------------------------------------------------

static bool
flag_or(const struct api_request *r, const char *key, bool otherwise)
{
    struct slice value = api_query_find(&r->query, key);
    return value.ptr == NULL ? otherwise : slice_eq_str(value, "true");
}

static bool
is_without_stats(const struct api_request *r)
{
    return flag_or(r, "disable_stats", http_server_config(r->server)->is_without_stats);
}

static bool
has_totals(const struct api_request *r)
{
    return flag_or(r, "enable_queue_totals", http_server_config(r->server)->has_queue_totals);
}

static const struct queue_def *
def_of(const struct api_list *l, size_t i)
{
    const struct vhost *v = topology_vhost(api_topology(l->request), l->batch[i].vhost);
    const struct queue_def *def = v != NULL ? vhost_queue(v, l->batch[i].name) : NULL;
    return def != NULL && def->handle == l->batch[i].id ? def : NULL;
}

static void
collect_vhost(struct api_list *l, const struct vhost *v)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &v->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        api_list_add(l, &(struct api_list_key){.vhost = def->vhost, .name = def->name, .id = def->handle});
}

static void
collect(struct api_list *l)
{
    api_list_vhosts(l, collect_vhost);
    api_list_collected(l);
}

struct asked {
    struct api_list *list;
    size_t index;
};

static void
stats_done(struct queue_request *q)
{
    struct asked asked = *(struct asked *)q->ctx;
    mem_free(q->ctx);
    q->ctx = NULL;
    if (q->outcome == QUEUE_OK)
        asked.list->records[asked.index] = q;
    else
        queue_request_free(q);
    api_gather_done(asked.list->request);
}

static void
all_fetched(struct api_request *r)
{
    api_list_fetched(r->state);
}

// What the definition says, or is found with it.
static bool
needs_no_owner(const struct api_list *l)
{
    static const char *const names[] = {"name",
                                        "vhost",
                                        "node",
                                        "durable",
                                        "auto_delete",
                                        "exclusive",
                                        "type",
                                        "arguments",
                                        "user_who_performed_action",
                                        "queue_id",
                                        "owner_connection_id",
                                        "worker",
                                        NULL};
    return api_list_wants_only(l, names);
}

static void
fetch(struct api_list *l, size_t count)
{
    struct api_request *r = l->request;
    if ((is_without_stats(r) && !has_totals(r)) || needs_no_owner(l)) {
        api_list_fetched(l);
        return;
    }
    r->gathered = all_fetched;
    api_gather_add(r); // so that it is not complete before all are asked
    for (size_t i = 0; i < count; i++) {
        struct asked *asked = mem_alloc(sizeof *asked);
        struct queue_request *q = queue_request_new(QUEUE_REQUEST_STATS, l->batch[i].id);
        if (asked == NULL || q == NULL) {
            mem_free(asked);
            queue_request_free(q);
            r->has_failed = true;
            break;
        }
        *asked = (struct asked){l, i};
        q->wants_samples = api_wants_samples(r);
        q->ctx = asked;
        q->done = stats_done;
        api_gather_add(r);
        queue_request_send(q);
    }
    api_gather_done(r);
}

static void
drop(struct api_list *l)
{
    for (size_t i = 0; i < l->batch_count; i++)
        queue_request_free(l->records[i]);
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    struct api_request *r = l->request;
    const struct queue_def *def = def_of(l, i);
    const struct queue_request *q = l->records[i];
    bool is_bare = is_without_stats(r);
    if (def != NULL && needs_no_owner(l)) {
        api_out_object(o, NULL);
        put_definition(l, def, o);
        api_out_end(o);
        return true;
    }
    if (def == NULL || (q == NULL && (!is_bare || has_totals(r))))
        return false;
    api_out_object(o, NULL);
    put_definition(l, def, o);
    if (!is_bare) {
        put_stats(l, def, q, o);
    } else if (q != NULL) {
        api_out_int(o, "messages", (int64_t)(q->stats.ready + q->stats.unacked));
        api_out_int(o, "messages_ready", (int64_t)q->stats.ready);
        api_out_int(o, "messages_unacknowledged", (int64_t)q->stats.unacked);
        api_out_str(o, "state", "running");
    } else {
        api_out_str(o, "state", "live");
    }
    if (r->parsed != NULL && q != NULL)
        put_consumers(l, q, (def->flags & QUEUE_SINGLE_ACTIVE) != 0, o);
    api_out_end(o);
    return true;
}

static const struct api_list_source queues = {
    .is_paged = true, .collect = collect, .fetch = fetch, .put = put, .drop = drop};

static void
get_queues(struct api_request *r)
{
    if (api_take_ranges(r))
        api_list(r, &queues);
}

// --- one queue ----------------------------------------------------------------------------------------------------------------------

// The queue of segments 2 and 3; NULL after answering 404.
static const struct queue_def *
named_queue(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    const struct queue_def *def = v != NULL ? vhost_queue(v, api_segment(r, 3)) : NULL;
    if (v != NULL && def == NULL)
        api_not_found(r);
    return def;
}

static void
consumers_listed(struct api_request *r)
{
    const struct queue_def *def = named_queue(r);
    if (def == NULL)
        return;
    api_list_one(r, &queues,
                 &(struct api_list_key){.vhost = def->vhost, .name = def->name, .id = def->handle});
}

static void
get_queue(struct api_request *r)
{
    if (!api_take_ranges(r))
        return;
    const struct queue_def *def = named_queue(r);
    if (def != NULL)
        api_gather_workers(r, LIST_CONSUMERS, &(struct broker_listed){.queue = def->handle},
                           consumers_listed);
}

// --- changes ------------------------------------------------------------------------------------------------------------------------

// As the control socket's user, who needs no permissions.
static void
declare_unchecked(struct api_request *r, const struct session_queue_args *a)
{
    struct buf room = BUF_INIT;
    const struct vhost *v = api_vhost(r, 2);
    struct queue_properties p = {.is_durable = a->is_durable, .is_auto_delete = a->is_auto_delete};
    struct topology_request args = {
        .change = CHANGE_QUEUE_DECLARE,
        .vhost = api_segment(r, 2),
        .name = a->queue,
        .flags = (a->is_durable ? (unsigned)CHANGE_DURABLE : 0) |
                 (a->is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0),
    };
    if (v == NULL)
        return;
    if (arguments_with_default_type(v->default_queue_type, &p, a->arguments, &room, &args.arguments) != 0)
        api_no_memory(r);
    else
        api_change(r, &args);
    buf_fini(&room);
}

// "node" names the only one there is.
static bool
take_node(struct api_request *r)
{
    struct slice node = SLICE_EMPTY;
    const char *here = http_server_node(r->server)->node_name;
    if (!api_string(r, "node", &node) || slice_eq_str(node, here))
        return true;
    api_error(r, 400, "bad_request", "Node %.*s could not be contacted", SLICE_FMT(node));
    return false;
}

// {"durable":…, "auto_delete":…, "arguments":{…}, "node":…}
static void
put_queue_request(struct api_request *r)
{
    struct buf arguments = BUF_INIT;
    struct session_queue_args a = {.queue = api_segment(r, 3), .is_durable = r->is_control};
    if (a.queue.len > 255) {
        api_error(r, 400, "bad_request", "queue should be less than 255 bytes, actually was %zu\n",
                  a.queue.len);
        return;
    }
    if (!api_take_bool(r, "durable", &a.is_durable) || !api_take_bool(r, "auto_delete", &a.is_auto_delete) ||
        !take_node(r) || !api_take_arguments(r, &arguments)) {
        buf_fini(&arguments);
        return;
    }
    a.arguments = buf_slice(&arguments);
    if (r->is_control) {
        declare_unchecked(r, &a);
    } else if (api_channel_open(r, api_segment(r, 2), api_channel_declared)) {
        const struct vhost *v = topology_vhost(api_topology(r), api_segment(r, 2));
        r->detail = v == NULL || vhost_queue(v, a.queue) == NULL;
        session_queue_declare(api_channel_session(r), &a);
    }
    buf_fini(&arguments);
}

static void
delete_queue(struct api_request *r)
{
    if (named_queue(r) == NULL)
        return;
    bool if_unused = api_flag(r, "if-unused"), if_empty = api_flag(r, "if-empty");
    struct topology_request args = {
        .change = CHANGE_QUEUE_DELETE,
        .vhost = api_segment(r, 2),
        .name = api_segment(r, 3),
        .flags = (if_unused ? (unsigned)CHANGE_IF_UNUSED : 0) | (if_empty ? (unsigned)CHANGE_IF_EMPTY : 0) |
                 CHANGE_INTERNAL_CALLER,
    };
    if (r->is_control)
        api_change(r, &args);
    else if (api_channel_open(r, args.vhost, api_channel_answer))
        session_queue_delete(api_channel_session(r), args.name, if_unused, if_empty);
}

static void
purge_done(struct queue_request *q)
{
    struct api_request *r = q->ctx;
    if (q->outcome == QUEUE_OK)
        api_reply(r, 204);
    else
        api_not_found(r);
    queue_request_free(q);
}

static void
delete_contents(struct api_request *r)
{
    const struct queue_def *def = named_queue(r);
    if (def == NULL)
        return;
    if (!r->is_control) {
        if (api_channel_open(r, api_segment(r, 2), api_channel_answer))
            session_queue_purge(api_channel_session(r), api_segment(r, 3));
        return;
    }
    struct queue_request *q = queue_request_new(QUEUE_REQUEST_PURGE, def->handle);
    if (q == NULL) {
        api_no_memory(r);
        return;
    }
    q->ctx = r;
    q->done = purge_done;
    queue_request_send(q);
}

// {"action":"sync"|"cancel_sync"}: there are no mirrors on a single node, so that it is done.
static void
post_actions(struct api_request *r)
{
    struct slice action;
    if (!api_take_string(r, "action", &action))
        return;
    if (!slice_eq_str(action, "sync") && !slice_eq_str(action, "cancel_sync"))
        api_bad_value(r, "unknown", json_incref(json_object_get(r->json, "action")));
    else if (named_queue(r) != NULL)
        api_reply(r, 204);
}

const struct api_route api_routes_queues[] = {
    {API_GET, "/api/queues", get_queues, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/queues/*", get_queues, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/queues/*/*", get_queue, API_FOR_MANAGEMENT, 2},
    {API_PUT, "/api/queues/*/*", put_queue_request, API_FOR_MANAGEMENT, 2},
    {API_DELETE, "/api/queues/*/*", delete_queue, API_FOR_MANAGEMENT, 2},
    {API_DELETE, "/api/queues/*/*/contents", delete_contents, API_FOR_MANAGEMENT, 2},
    {API_POST, "/api/queues/*/*/actions", post_actions, API_FOR_ADMINISTRATOR, 2},
    {0, NULL, NULL, 0, 0},
};
