// api_objects.c: queues, exchanges and bindings over the HTTP API.
//
// A list of queues asks each queue's owner for its counters (QUEUE_REQUEST_STATS); the answers are written as they come.
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/arguments.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

static const struct topology *
topology_now(struct api_request *r)
{
    return topology_of(http_server_worker(r->server));
}

// Calls `visit` for the vhosts a request is about: the one in segment 2, or all. False after answering 404.
static bool
each_vhost(struct api_request *r, void (*visit)(struct api_request *r, const struct vhost *v))
{
    struct pmap_iter it;
    if (r->segment_count >= 3) {
        const struct vhost *v = api_vhost(r, 2);
        if (v != NULL)
            visit(r, v);
        return v != NULL;
    }
    pmap_iter_init(&it, &topology_now(r)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;)
        visit(r, v);
    return true;
}

// --- queues -------------------------------------------------------------------------------------------------------------------

// Bodies are in memory, all of them: what is "ram" is what there is.
static void
put_queue_messages(struct buf *out, const struct queue_stats *s)
{
    int64_t count = (int64_t)(s->ready + s->unacked), bytes = (int64_t)(s->ready_bytes + s->unacked_bytes);
    json_put_member_int(out, "messages", count);
    json_put_member_int(out, "messages_ready", (int64_t)s->ready);
    json_put_member_int(out, "messages_unacknowledged", (int64_t)s->unacked);
    json_put_member_int(out, "messages_persistent", (int64_t)s->persistent);
    json_put_member_int(out, "messages_ram", count);
    json_put_member_int(out, "messages_ready_ram", (int64_t)s->ready);
    json_put_member_int(out, "messages_unacknowledged_ram", (int64_t)s->unacked);
    json_put_member_int(out, "message_bytes", bytes);
    json_put_member_int(out, "message_bytes_ready", (int64_t)s->ready_bytes);
    json_put_member_int(out, "message_bytes_unacknowledged", (int64_t)s->unacked_bytes);
    json_put_member_int(out, "message_bytes_ram", bytes);
    // The queue counts persistent messages, not their bytes: left out when only some are.
    if (s->persistent == 0 || (int64_t)s->persistent == count)
        json_put_member_int(out, "message_bytes_persistent", s->persistent == 0 ? 0 : bytes);
    json_put_member_int(out, "consumers", (int64_t)s->consumers);
    // Could a message that came now be delivered at once? RabbitMQ's figure is the share of the time in which that was so.
    buf_printf(out, "\"consumer_utilisation\":%s,\"consumer_capacity\":%s,",
               s->consumers == 0 ? "0"
               : s->ready == 0   ? "1.0"
                                 : "0.0",
               s->consumers == 0 ? "0"
               : s->ready == 0   ? "1.0"
                                 : "0.0");
    json_put_member_int(out, "memory", (int64_t)s->memory_bytes);
}

// Quorum queues: who has a copy.
static void
put_members(struct buf *out, const char *node)
{
    static const char *const lists[] = {"members", "online"};
    json_put_member_string(out, "leader", slice_str(node));
    for (size_t i = 0; i < LV_ARRAY_LEN(lists); i++) {
        buf_printf(out, "\"%s\":[", lists[i]);
        json_put_string(out, slice_str(node));
        buf_append_str(out, "],");
    }
}

// null without one, as RabbitMQ.
static void
put_policy_name(struct buf *out, const char *member, const struct policy_pair *policies,
                enum policy_kind kind)
{
    if (policies->of[kind] != NULL)
        json_put_member_string(out, member, policies->of[kind]->name);
    else
        buf_printf(out, "\"%s\":null,", member);
}

static void
put_queue(struct buf *out, const char *node, const struct queue_def *def, const struct queue_stats *s,
          const struct policy_pair *policies)
{
    static const char *const types[] = {"classic", "quorum", "stream"};
    bool is_exclusive = (def->flags & QUEUE_EXCLUSIVE) != 0;
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", def->name);
    json_put_member_string(out, "vhost", def->vhost);
    json_put_member_string(out, "node", slice_str(node));
    json_put_member_bool(out, "durable", (def->flags & QUEUE_DURABLE) != 0);
    json_put_member_bool(out, "auto_delete", (def->flags & QUEUE_AUTO_DELETE) != 0);
    json_put_member_bool(out, "exclusive", is_exclusive);
    json_put_member_string(out, "type", slice_str(types[def->type]));
    if (def->type == QUEUE_QUORUM)
        put_members(out, node);
    buf_append_str(out, "\"arguments\":");
    json_put_table(out, def->arguments);
    buf_append_u8(out, ',');
    put_policy_name(out, "policy", policies, POLICY_USER);
    put_policy_name(out, "operator_policy", policies, POLICY_OPERATOR);
    buf_append_str(out, "\"effective_policy_definition\":");
    policy_effective_put(out, policies);
    buf_append_u8(out, ',');
    put_queue_messages(out, s);
    json_put_member_int(out, "queue_id", (int64_t)def->id);
    json_put_member_int(out, "owner_connection_id", (int64_t)def->owner_conn);
    json_put_member_int(out, "worker", handle_worker(def->handle));
    json_put_member_string(out, "state", SLICE_LIT("running"));
    buf_append_str(out, "\"message_stats\":{");
    json_put_member_int(out, "publish", (int64_t)s->published);
    json_put_member_int(out, "deliver", (int64_t)s->delivered);
    json_put_member_int(out, "deliver_no_ack", (int64_t)s->delivered_no_ack);
    json_put_member_int(out, "get", (int64_t)s->got);
    json_put_member_int(out, "get_no_ack", (int64_t)s->got_no_ack);
    json_put_member_int(out, "redeliver", (int64_t)s->redelivered);
    json_put_member_int(out, "ack", (int64_t)s->acked);
    json_drop_comma(out);
    buf_append_str(out, "}},");
}

// The topology may have moved on since the question was sent: the definition is looked up again by name.
struct stats_asked {
    struct api_request *request;
    struct slice vhost, name; // bytes behind this struct
};

static void
stats_done(struct queue_request *q)
{
    struct stats_asked *asked = q->ctx;
    struct api_request *r = asked->request;
    const struct vhost *v = topology_vhost(topology_now(r), asked->vhost);
    const struct queue_def *def = v != NULL ? vhost_queue(v, asked->name) : NULL;
    if (q->outcome == QUEUE_OK && def != NULL) {
        struct policy_pair policies = vhost_queue_policies(v, http_server_matcher(r->server), def);
        put_queue(&r->out, http_server_node(r->server)->node_name, def, &q->stats, &policies);
    }
    mem_free(asked);
    queue_request_free(q);
    api_gather_done(r);
}

static void
ask_stats(struct api_request *r, const struct queue_def *def)
{
    struct stats_asked *asked = mem_alloc(sizeof(*asked) + def->vhost.len + def->name.len);
    struct queue_request *q = queue_request_new(QUEUE_REQUEST_STATS, def->handle);
    if (asked == NULL || q == NULL) {
        mem_free(asked);
        if (q != NULL)
            queue_request_free(q);
        r->has_failed = true;
        return;
    }
    uint8_t *bytes = (uint8_t *)(asked + 1);
    memcpy(bytes, def->vhost.ptr, def->vhost.len);
    memcpy(bytes + def->vhost.len, def->name.ptr, def->name.len);
    asked->request = r;
    asked->vhost = slice_of(bytes, def->vhost.len);
    asked->name = slice_of(bytes + def->vhost.len, def->name.len);
    q->ctx = asked;
    q->done = stats_done;
    api_gather_add(r);
    queue_request_send(q);
}

static void
queues_complete(struct api_request *r)
{
    json_drop_comma(&r->out);
    if (r->has_failed)
        api_error(r, 500, "internal_error", "out of memory");
    else if (r->segment_count == 4 && r->out.len == 0)
        api_not_found(r);
    else {
        if (r->segment_count < 4)
            buf_append_u8(&r->out, ']');
        api_reply(r, 200);
    }
}

static void
ask_vhost_queues(struct api_request *r, const struct vhost *v)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &v->queues);
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        ask_stats(r, def);
}

static void
get_queues(struct api_request *r)
{
    r->gathered = queues_complete;
    buf_append_u8(&r->out, '[');
    api_gather_add(r); // so that it is not complete before all are asked
    if (each_vhost(r, ask_vhost_queues))
        api_gather_done(r);
}

static void
get_queue(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    if (v == NULL)
        return;
    const struct queue_def *def = vhost_queue(v, r->segments[3]);
    if (def == NULL) {
        api_not_found(r);
        return;
    }
    r->gathered = queues_complete;
    api_gather_add(r);
    ask_stats(r, def);
    api_gather_done(r);
}

static bool
is_asked_for(struct slice path, const char *query)
{
    return path.len > 0 && slice_eq_str(path, query);
}

// Body or query: "if-unused": true; {"durable":…, "auto_delete":…, "arguments":{…}}.
static void
put_queue_request(struct api_request *r)
{
    bool is_durable = true, is_auto_delete = false;
    struct buf arguments = BUF_INIT, room = BUF_INIT;
    api_bool(r, "durable", &is_durable);
    api_bool(r, "auto_delete", &is_auto_delete);
    struct topology_request args = {
        .change = CHANGE_QUEUE_DECLARE,
        .vhost = r->segments[2],
        .name = r->segments[3],
        .flags =
            (is_durable ? (unsigned)CHANGE_DURABLE : 0) | (is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0),
    };
    const struct vhost *v = topology_vhost(topology_now(r), args.vhost);
    struct queue_properties p = {.is_durable = is_durable, .is_auto_delete = is_auto_delete};
    struct slice default_type = v != NULL ? v->default_queue_type : SLICE_EMPTY;
    if (api_table(json_object_get(r->json, "arguments"), &arguments) != 0)
        api_error(r, 400, "bad_request", "arguments is not a table");
    else if (arguments_with_default_type(default_type, &p, buf_slice(&arguments), &room, &args.arguments) !=
             0)
        api_error(r, 500, "internal_error", "out of memory");
    else
        api_change(r, &args);
    buf_fini(&arguments);
    buf_fini(&room);
}

static void
delete_queue(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    if (v == NULL)
        return;
    if (vhost_queue(v, r->segments[3]) == NULL) {
        api_not_found(r);
        return;
    }
    bool if_unused = api_flag(r, "if-unused"), if_empty = api_flag(r, "if-empty");
    struct topology_request args = {
        .change = CHANGE_QUEUE_DELETE,
        .vhost = r->segments[2],
        .name = r->segments[3],
        .flags = (if_unused ? (unsigned)CHANGE_IF_UNUSED : 0) | (if_empty ? (unsigned)CHANGE_IF_EMPTY : 0) |
                 CHANGE_INTERNAL_CALLER,
    };
    api_change(r, &args);
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
    const struct vhost *v = api_vhost(r, 2);
    if (v == NULL)
        return;
    const struct queue_def *def = vhost_queue(v, r->segments[3]);
    struct queue_request *q = def != NULL ? queue_request_new(QUEUE_REQUEST_PURGE, def->handle) : NULL;
    if (q == NULL) {
        if (def == NULL)
            api_not_found(r);
        else
            api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    q->ctx = r;
    q->done = purge_done;
    queue_request_send(q);
}

// --- exchanges ----------------------------------------------------------------------------------------------------------------

static void
put_exchange(struct api_request *r, const struct vhost *v, const struct exchange *x)
{
    struct buf *out = &r->out;
    struct policy_pair policies = vhost_exchange_policies(v, http_server_matcher(r->server), x);
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", x->name);
    json_put_member_string(out, "vhost", x->vhost);
    json_put_member_string(out, "type", slice_str(exchange_type_name(x->type)));
    json_put_member_bool(out, "durable", x->is_durable);
    json_put_member_bool(out, "auto_delete", x->is_auto_delete);
    json_put_member_bool(out, "internal", x->is_internal);
    if (policies.of[POLICY_USER] != NULL)
        json_put_member_string(out, "policy", policies.of[POLICY_USER]->name);
    json_put_member_string(out, "user_who_performed_action", x->user);
    buf_append_str(out, "\"arguments\":");
    json_put_table(out, x->arguments);
    api_put_exchange_counts(out, r->exchange_counts, r->exchange_count, x->id);
    buf_append_u8(out, '}');
}

static int
compare_exchanges(const void *a, const void *b)
{
    return slice_cmp((*(const struct exchange *const *)a)->name, (*(const struct exchange *const *)b)->name);
}

static void
list_vhost_exchanges(struct api_request *r, const struct vhost *v)
{
    struct pmap_iter it;
    size_t count = 0;
    const struct exchange **all = mem_alloc((size_t)(v->exchanges.count + 1) * sizeof(void *));
    if (all == NULL) {
        r->has_failed = true;
        return;
    }
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        all[count++] = x;
    qsort(all, count, sizeof(void *), compare_exchanges);
    for (size_t i = 0; i < count; i++) {
        put_exchange(r, v, all[i]);
        buf_append_u8(&r->out, ',');
    }
    mem_free(all);
}

static void
reply_list(struct api_request *r)
{
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    if (r->has_failed)
        api_error(r, 500, "internal_error", "out of memory");
    else
        api_reply(r, 200);
}

static void
exchanges_counted(struct api_request *r)
{
    r->has_failed |= api_exchange_counts_take(r, &r->exchange_counts, &r->exchange_count) != 0;
    buf_append_u8(&r->out, '[');
    if (each_vhost(r, list_vhost_exchanges))
        reply_list(r);
}

// With what was published to them, which the workers count.
static void
get_exchanges(struct api_request *r)
{
    if (r->segment_count == 2 || api_vhost(r, 2) != NULL)
        api_gather_workers(r, LIST_COUNTERS, exchanges_counted);
}

static const struct exchange *
exchange_of(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    if (v == NULL)
        return NULL;
    bool is_default = is_asked_for(r->segments[3], "amq.default");
    const struct exchange *x = vhost_exchange(v, is_default ? SLICE_EMPTY : r->segments[3]);
    if (x == NULL)
        api_not_found(r);
    return x;
}

static void
exchange_counted(struct api_request *r)
{
    const struct exchange *x = exchange_of(r); // it may have gone meanwhile
    const struct vhost *v = x != NULL ? api_vhost(r, 2) : NULL;
    if (v == NULL)
        return;
    if (api_exchange_counts_take(r, &r->exchange_counts, &r->exchange_count) != 0) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    put_exchange(r, v, x);
    api_reply(r, 200);
}

static void
get_exchange(struct api_request *r)
{
    if (exchange_of(r) != NULL)
        api_gather_workers(r, LIST_COUNTERS, exchange_counted);
}

static void
put_exchange_request(struct api_request *r)
{
    bool is_durable = true, is_auto_delete = false, is_internal = false;
    struct buf arguments = BUF_INIT;
    struct topology_request args = {
        .change = CHANGE_EXCHANGE_DECLARE, .vhost = r->segments[2], .name = r->segments[3]};
    api_bool(r, "durable", &is_durable);
    api_bool(r, "auto_delete", &is_auto_delete);
    api_bool(r, "internal", &is_internal);
    args.flags = (is_durable ? (unsigned)CHANGE_DURABLE : 0) |
                 (is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0) |
                 (is_internal ? (unsigned)CHANGE_INTERNAL : 0);
    if (!api_string(r, "type", &args.type)) {
        api_error(r, 400, "bad_request", "key_missing: type");
    } else if (api_table(json_object_get(r->json, "arguments"), &arguments) != 0) {
        api_error(r, 400, "bad_request", "arguments is not a table");
    } else {
        args.arguments = buf_slice(&arguments);
        api_change(r, &args);
    }
    buf_fini(&arguments);
}

static void
delete_exchange(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    if (v == NULL)
        return;
    if (vhost_exchange(v, r->segments[3]) == NULL) {
        api_not_found(r);
        return;
    }
    struct topology_request args = {.change = CHANGE_EXCHANGE_DELETE,
                                    .vhost = r->segments[2],
                                    .name = r->segments[3],
                                    .flags = api_flag(r, "if-unused") ? (uint32_t)CHANGE_IF_UNUSED : 0};
    api_change(r, &args);
}

// --- bindings -----------------------------------------------------------------------------------------------------------------

static void
put_binding_fields(struct buf *out, struct slice vhost, struct slice source, struct slice dest, bool is_queue,
                   struct slice key, struct slice arguments)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "source", source);
    json_put_member_string(out, "vhost", vhost);
    json_put_member_string(out, "destination", dest);
    json_put_member_string(out, "destination_type", is_queue ? SLICE_LIT("queue") : SLICE_LIT("exchange"));
    json_put_member_string(out, "routing_key", key);
    buf_append_str(out, "\"arguments\":");
    json_put_table(out, arguments);
    buf_append_str(out, "},");
}

struct binding_walk {
    struct api_request *request;
    const struct vhost *vhost;
};

static bool
put_binding(const struct binding *b, void *ctx)
{
    struct binding_walk *walk = ctx;
    put_binding_fields(&walk->request->out, walk->vhost->name, b->source_name, b->dest_name,
                       b->dest == BINDING_TO_QUEUE, b->key, b->arguments);
    return true;
}

static void
list_vhost_bindings(struct api_request *r, const struct vhost *v)
{
    struct pmap_iter it;
    struct binding_walk walk = {.request = r, .vhost = v};
    pmap_iter_init(&it, &v->queues); // every queue is bound to the default exchange by its name
    for (const struct queue_def *def; (def = pmap_iter_next(&it)) != NULL;)
        put_binding_fields(&r->out, v->name, SLICE_EMPTY, def->name, true, def->name, SLICE_EMPTY);
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        router_each(&x->router, put_binding, &walk);
}

static void
get_bindings(struct api_request *r)
{
    buf_append_u8(&r->out, '[');
    if (each_vhost(r, list_vhost_bindings))
        reply_list(r);
}

// POST /api/bindings/VHOST/e/SOURCE/q|e/DESTINATION {"routing_key":…,"arguments":{…}}; DELETE with the same body takes it away.
static void
change_binding(struct api_request *r)
{
    struct buf arguments = BUF_INIT;
    bool is_queue = slice_eq_str(r->segments[5], "q");
    struct topology_request args = {
        .change = r->method == API_DELETE ? CHANGE_UNBIND : CHANGE_BIND,
        .vhost = r->segments[2],
        .name = r->segments[4],
        .dest_name = r->segments[6],
        .flags = (is_queue ? (unsigned)CHANGE_DEST_IS_QUEUE : 0) | CHANGE_INTERNAL_CALLER,
    };
    api_string(r, "routing_key", &args.key);
    if (!slice_eq_str(r->segments[3], "e") || (!is_queue && !slice_eq_str(r->segments[5], "e"))) {
        api_not_found(r);
    } else if (api_table(json_object_get(r->json, "arguments"), &arguments) != 0) {
        api_error(r, 400, "bad_request", "arguments is not a table");
    } else {
        args.arguments = buf_slice(&arguments);
        api_change(r, &args);
    }
    buf_fini(&arguments);
}

const struct api_route api_routes_objects[] = {
    {API_GET, "/api/queues", get_queues},
    {API_GET, "/api/queues/*", get_queues},
    {API_GET, "/api/queues/*/*", get_queue},
    {API_PUT, "/api/queues/*/*", put_queue_request},
    {API_DELETE, "/api/queues/*/*", delete_queue},
    {API_DELETE, "/api/queues/*/*/contents", delete_contents},
    {API_GET, "/api/exchanges", get_exchanges},
    {API_GET, "/api/exchanges/*", get_exchanges},
    {API_GET, "/api/exchanges/*/*", get_exchange},
    {API_PUT, "/api/exchanges/*/*", put_exchange_request},
    {API_DELETE, "/api/exchanges/*/*", delete_exchange},
    {API_GET, "/api/bindings", get_bindings},
    {API_GET, "/api/bindings/*", get_bindings},
    {API_POST | API_DELETE, "/api/bindings/*/*/*/*/*", change_binding},
    {0, NULL, NULL},
};
