// api_exchanges.c: exchanges over the HTTP API.
#include "src/broker/policy.h"
#include "src/management/api_list.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"

static const struct exchange *
exchange_of(const struct api_list *l, size_t i)
{
    const struct vhost *v = topology_vhost(api_topology(l->request), l->batch[i].vhost);
    return v != NULL ? vhost_exchange(v, l->batch[i].name) : NULL;
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    const struct exchange *x = exchange_of(l, i);
    if (x == NULL)
        return false;
    api_out_object(o, NULL);
    api_out_slice(o, "name", x->name);
    api_out_slice(o, "vhost", x->vhost);
    api_out_str(o, "type", exchange_type_name(x->type));
    api_out_bool(o, "durable", x->is_durable);
    api_out_bool(o, "auto_delete", x->is_auto_delete);
    api_out_bool(o, "internal", x->is_internal);
    api_out_slice(o, "user_who_performed_action", x->user);
    api_out_table(o, "arguments", x->arguments);
    const struct vhost *v = topology_vhost(api_topology(l->request), x->vhost);
    struct policy_pair pair = vhost_exchange_policies(v, http_server_matcher(l->request->server), x);
    if (pair.of[POLICY_USER] != NULL)
        api_out_slice(o, "policy", pair.of[POLICY_USER]->name);
    api_put_exchange_stats(l->request, o, x->id);
    if (l->request->route->vhost_segment > 0 && api_segment_count(l->request) == 4) {
        for (int k = 0; k < 2; k++) {
            api_out_array(o, k == 0 ? "incoming" : "outgoing");
            api_out_end(o);
        }
    }
    api_out_end(o);
    return true;
}

static void
collect_vhost(struct api_list *l, const struct vhost *v)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &v->exchanges);
    for (const struct exchange *x; (x = pmap_iter_next(&it)) != NULL;)
        api_list_add(l, &(struct api_list_key){.vhost = x->vhost, .name = x->name});
}

static void
collect(struct api_list *l)
{
    api_list_vhosts(l, collect_vhost);
    api_list_collected(l);
}

static const struct api_list_source exchanges = {.is_paged = true, .collect = collect, .put = put};

static void
list_counted(struct api_request *r)
{
    api_list(r, &exchanges);
}

static void
get_exchanges(struct api_request *r)
{
    if (api_take_ranges(r))
        api_take_exchange_stats(r, list_counted);
}

// Segment 3 names an exchange; the default one is "amq.default" in paths.
static struct slice
name_of(const struct api_request *r)
{
    struct slice name = api_segment(r, 3);
    return slice_eq_str(name, "amq.default") ? SLICE_EMPTY : name;
}

static void
one_counted(struct api_request *r)
{
    api_list_one(r, &exchanges, &(struct api_list_key){.vhost = api_segment(r, 2), .name = name_of(r)});
}

static void
get_exchange(struct api_request *r)
{
    const struct vhost *v = api_take_ranges(r) ? api_vhost(r, 2) : NULL;
    const struct exchange *x = v != NULL ? vhost_exchange(v, name_of(r)) : NULL;
    if (x != NULL)
        api_take_exchange_stats_of(r, x->id, one_counted);
    else if (v != NULL)
        api_not_found(r);
}

static void
declare(struct api_request *r, const struct session_exchange_args *a)
{
    struct topology_request args = {.change = CHANGE_EXCHANGE_DECLARE,
                                    .vhost = api_segment(r, 2),
                                    .name = a->exchange,
                                    .type = a->type,
                                    .arguments = a->arguments,
                                    .flags = (a->is_durable ? (unsigned)CHANGE_DURABLE : 0) |
                                             (a->is_auto_delete ? (unsigned)CHANGE_AUTO_DELETE : 0) |
                                             (a->is_internal ? (unsigned)CHANGE_INTERNAL : 0)};
    const struct vhost *v = topology_vhost(api_topology(r), args.vhost);
    if (r->is_control) {
        if (api_vhost(r, 2) != NULL)
            api_change(r, &args);
        return;
    }
    if (!api_channel_open(r, args.vhost, api_channel_declared))
        return;
    r->detail = v == NULL || vhost_exchange(v, a->exchange) == NULL;
    session_exchange_declare(api_channel_session(r), a);
}

// {"type":…, "durable":…, "auto_delete":…, "internal":…, "arguments":{…}}
static void
put_exchange_request(struct api_request *r)
{
    struct buf arguments = BUF_INIT;
    struct session_exchange_args a = {
        .exchange = name_of(r), .type = SLICE_LIT("direct"), .is_durable = r->is_control};
    if (a.exchange.len > 255) {
        api_error(r, 400, "bad_request", "exchange should be less than 255 bytes, actually was %zu\n",
                  a.exchange.len);
        return;
    }
    if (json_object_get(r->json, "type") != NULL && !api_take_string(r, "type", &a.type))
        return;
    if (api_take_bool(r, "durable", &a.is_durable) && api_take_bool(r, "auto_delete", &a.is_auto_delete) &&
        api_take_bool(r, "internal", &a.is_internal) && api_take_arguments(r, &arguments)) {
        a.arguments = buf_slice(&arguments);
        declare(r, &a);
    }
    buf_fini(&arguments);
}

static void
delete_exchange(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    bool if_unused = api_flag(r, "if-unused");
    if (v == NULL)
        return;
    if (vhost_exchange(v, name_of(r)) == NULL) {
        api_not_found(r);
        return;
    }
    struct topology_request args = {.change = CHANGE_EXCHANGE_DELETE,
                                    .vhost = api_segment(r, 2),
                                    .name = name_of(r),
                                    .flags = if_unused ? (uint32_t)CHANGE_IF_UNUSED : 0};
    if (r->is_control)
        api_change(r, &args);
    else if (api_channel_open(r, args.vhost, api_channel_answer))
        session_exchange_delete(api_channel_session(r), args.name, if_unused);
}

const struct api_route api_routes_exchanges[] = {
    {API_GET, "/api/exchanges", get_exchanges, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/exchanges/*", get_exchanges, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/exchanges/*/*", get_exchange, API_FOR_MANAGEMENT, 2},
    {API_PUT, "/api/exchanges/*/*", put_exchange_request, API_FOR_MANAGEMENT, 2},
    {API_DELETE, "/api/exchanges/*/*", delete_exchange, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
