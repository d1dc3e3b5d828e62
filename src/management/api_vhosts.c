// api_vhosts.c: virtual hosts over the HTTP API.
#include "src/base/mem.h"
#include "src/management/api_list.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"

static bool
put_vhost(struct api_list *l, size_t i, struct api_out *o)
{
    struct api_request *r = l->request;
    const struct vhost *v = topology_vhost(api_topology(r), l->batch[i].name);
    struct slice type = SLICE_LIT("undefined");
    if (v == NULL)
        return false;
    if (v->default_queue_type.len > 0)
        type = v->default_queue_type;
    api_out_object(o, NULL);
    api_out_slice(o, "name", v->name);
    api_out_slice(o, "description", v->description);
    api_put_tags(o, "tags", v->tags);
    api_out_slice(o, "default_queue_type", type);
    api_out_bool(o, "tracing", v->is_tracing);
    api_out_object(o, "metadata");
    api_out_slice(o, "description", v->description);
    api_put_tags(o, "tags", v->tags);
    api_out_end(o);
    api_out_object(o, "cluster_state");
    api_out_str(o, http_server_node(r->server)->node_name, "running");
    api_out_end(o);
    api_out_object(o, "limits");
    api_put_vhost_limits(o, v);
    api_out_end(o);
    api_put_vhost_totals(r, o, v->name);
    api_out_end(o);
    return true;
}

static void
collect(struct api_list *l)
{
    struct pmap_iter it;
    struct api_request *r = l->request;
    pmap_iter_init(&it, &api_topology(r)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if (api_is_monitor(r) || api_may_see_vhost(r, v->name))
            api_list_add(l, &(struct api_list_key){.name = v->name});
    }
    api_list_collected(l);
}

static const struct api_list_source vhosts = {.is_paged = true, .collect = collect, .put = put_vhost};

static void
totals_for_list(struct api_request *r)
{
    api_list(r, &vhosts);
}

static void
totals_for_one(struct api_request *r)
{
    api_list_one(r, &vhosts, &(struct api_list_key){.name = api_segment(r, 2)});
}

static void
get_vhosts(struct api_request *r)
{
    if (api_take_ranges(r))
        api_take_totals(r, totals_for_list);
}

static void
get_vhost(struct api_request *r)
{
    if (api_take_ranges(r) && api_vhost(r, 2) != NULL)
        api_take_totals(r, totals_for_one);
}

// Who makes a vhost may use it, as in RabbitMQ.
static void
vhost_granted(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    topology_request_free(change); // it may have been deleted meanwhile: it was made
    api_reply(r, 201);
}

static void
vhost_put(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    bool is_created = change->is_created;
    topology_request_free(change);
    if (f.code != FAULT_NONE) {
        api_fault(r, &f);
    } else if (!is_created || r->is_control) {
        api_reply(r, is_created ? 201 : 204);
    } else {
        struct topology_request args = {.change = CHANGE_PERMISSION_SET,
                                        .vhost = api_segment(r, 2),
                                        .user = api_user(r),
                                        .configure = SLICE_LIT(".*"),
                                        .write = SLICE_LIT(".*"),
                                        .read = SLICE_LIT(".*")};
        api_change_then(r, &args, vhost_granted);
    }
}

// {"description":…, "tags":…, "default_queue_type":…, "tracing":…}
static void
put_vhost_request(struct api_request *r)
{
    struct buf tags = BUF_INIT;
    bool is_tracing = false;
    struct topology_request args = {.change = CHANGE_VHOST_PUT, .name = api_segment(r, 2)};
    if (!api_only(r, &args.flags) || !api_take_bool(r, "tracing", &is_tracing))
        return;
    if (json_object_get(r->json, "tracing") != NULL)
        args.flags |= is_tracing ? (uint32_t)CHANGE_TRACING_ON : (uint32_t)CHANGE_TRACING_OFF;
    api_string(r, "description", &args.text);
    if (api_string(r, "default_queue_type", &args.default_queue_type) &&
        slice_eq_str(args.default_queue_type, "undefined"))
        args.default_queue_type = SLICE_EMPTY;
    if (api_tags(r, &tags))
        args.flags |= CHANGE_HAS_TAGS;
    args.tags = buf_slice(&tags);
    api_change_then(r, &args, vhost_put);
    buf_fini(&tags);
}

static void
delete_vhost(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_VHOST_DELETE, .name = api_segment(r, 2)};
    if (r->is_control || api_vhost(r, 2) != NULL)
        api_change(r, &args);
}

// POST /api/vhosts/V/start/N: every vhost runs as long as the node does.
static void
post_start(struct api_request *r)
{
    struct slice node = api_segment(r, 4), vhost = api_segment(r, 2);
    if (!slice_eq_str(node, http_server_node(r->server)->node_name))
        api_error(r, 400, "bad_request", "Request to node %.*s failed with nodedown", SLICE_FMT(node));
    else if (topology_vhost(api_topology(r), vhost) == NULL)
        api_error(r, 400, "bad_request", "Request to node %.*s failed with {no_such_vhost,<<\"%.*s\">>}",
                  SLICE_FMT(node), SLICE_FMT(vhost));
    else
        api_reply(r, 204);
}

const struct api_route api_routes_vhosts[] = {
    {API_GET, "/api/vhosts", get_vhosts, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/vhosts/*", get_vhost, API_FOR_ADMINISTRATOR, 0},
    {API_PUT, "/api/vhosts/*", put_vhost_request, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/vhosts/*", delete_vhost, API_FOR_ADMINISTRATOR, 0},
    {API_POST, "/api/vhosts/*/start/*", post_start, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
