// api_parameters.c: run-time parameters of vhosts, and global ones, over the HTTP API. Values are any JSON.
//
// Global parameters are kept as those of the component "global" of no vhost. Policies have a part of their own.
#include "src/base/mem.h"
#include "src/management/api_list.h"
#include "src/management/http_server.h"

#define GLOBAL SLICE_LIT("global")

static bool
is_global(const struct api_request *r)
{
    return slice_eq_str(api_segment(r, 1), "global-parameters");
}

static void
put_value(struct api_out *o, struct slice text)
{
    json_t *value = json_loadb((const char *)text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    api_out_json(o, "value", value);
    json_decref(value);
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    const struct parameter *p = topology_parameter(api_topology(l->request), k->extra, k->vhost, k->name);
    if (p == NULL)
        return false;
    api_out_object(o, NULL);
    put_value(o, p->value);
    if (!is_global(l->request)) {
        api_out_slice(o, "vhost", p->vhost);
        api_out_slice(o, "component", p->component);
    }
    api_out_slice(o, "name", p->name);
    api_out_end(o);
    return true;
}

static bool
is_asked_for(const struct api_request *r, const struct parameter *p)
{
    struct slice component = api_segment(r, 2), vhost = api_segment(r, 3);
    if (is_global(r))
        return slice_eq(p->component, GLOBAL);
    return p->vhost.len > 0 && !slice_eq_str(p->component, "policy") && api_may_see_vhost(r, p->vhost) &&
           (component.len == 0 || slice_eq(component, p->component)) &&
           (vhost.len == 0 || slice_eq(vhost, p->vhost));
}

static void
collect(struct api_list *l)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &api_topology(l->request)->parameters);
    for (const struct parameter *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (is_asked_for(l->request, p))
            api_list_add(l,
                         &(struct api_list_key){.vhost = p->vhost, .name = p->name, .extra = p->component});
    }
    api_list_collected(l);
}

static const struct api_list_source parameters = {.collect = collect, .put = put};

static void
get_parameters(struct api_request *r)
{
    api_list(r, &parameters);
}

static void
get_parameter(struct api_request *r)
{
    struct api_list_key key = {
        .vhost = api_segment(r, 3), .name = api_segment(r, 4), .extra = api_segment(r, 2)};
    if (is_global(r))
        key = (struct api_list_key){.name = api_segment(r, 2), .extra = GLOBAL};
    api_list_one(r, &parameters, &key);
}

static void
changed(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    bool is_created = change->is_created;
    topology_request_free(change);
    if (f.code == FAULT_NOT_FOUND)
        api_not_found(r);
    else if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, is_created ? 201 : 204);
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

static void
put_global(struct api_request *r, struct slice name, const json_t *value)
{
    struct buf text = BUF_INIT;
    if (json_dump_callback(value, append_text, &text, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        api_no_memory(r);
    } else {
        struct topology_request args = {
            .change = CHANGE_PARAMETER_PUT, .component = GLOBAL, .name = name, .text = buf_slice(&text)};
        api_change_then(r, &args, changed);
    }
    buf_fini(&text);
}

static void
put_global_request(struct api_request *r)
{
    const json_t *value = json_object_get(r->json, "value");
    if (value == NULL)
        api_key_missing(r, "value");
    else
        put_global(r, api_segment(r, 2), value);
}

static void
delete_global(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_PARAMETER_DELETE, .component = GLOBAL, .name = api_segment(r, 2)};
    api_change_then(r, &args, changed);
}

// No component of this version takes parameters of vhosts; those that a newer one has left may be deleted.
static void
put_parameter_request(struct api_request *r)
{
    struct slice component = api_segment(r, 2);
    if (topology_vhost(api_topology(r), api_segment(r, 3)) == NULL)
        api_error(r, 404, "not_found", "vhost_not_found");
    else if (json_object_get(r->json, "value") == NULL)
        api_key_missing(r, "value");
    else
        api_error(r, 400, "bad_request", "Validation failed\n\ncomponent %.*s not found\n",
                  SLICE_FMT(component));
}

static void
delete_parameter(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_PARAMETER_DELETE,
                                    .component = api_segment(r, 2),
                                    .vhost = api_segment(r, 3),
                                    .name = api_segment(r, 4)};
    if (topology_parameter(api_topology(r), args.component, args.vhost, args.name) == NULL)
        api_not_found(r);
    else
        api_change_then(r, &args, changed);
}

// --- the cluster's name, which is a global parameter --------------------------------------------------------------------------------

static void
get_cluster_name(struct api_request *r)
{
    struct api_answer a;
    if (!api_answer_begin(r, &a))
        return;
    api_out_object(&a.out, NULL);
    api_put_cluster_name(r, &a.out, "name");
    api_out_end(&a.out);
    api_reply(r, 200);
}

void
api_put_cluster_name(const struct api_request *r, struct api_out *o, const char *key)
{
    const struct parameter *p =
        topology_parameter(api_topology(r), GLOBAL, SLICE_EMPTY, SLICE_LIT("cluster_name"));
    json_t *name =
        p != NULL ? json_loadb((const char *)p->value.ptr, p->value.len, JSON_DECODE_ANY, NULL) : NULL;
    if (json_is_string(name))
        api_out_json(o, key, name);
    else
        api_out_str(o, key, http_server_node(r->server)->cluster_name);
    json_decref(name);
}

static void
put_cluster_name(struct api_request *r)
{
    struct slice name;
    if (api_take_string(r, "name", &name))
        put_global(r, SLICE_LIT("cluster_name"), json_object_get(r->json, "name"));
}

const struct api_route api_routes_parameters[] = {
    {API_GET, "/api/parameters", get_parameters, API_FOR_POLICYMAKER, 0},
    {API_GET, "/api/parameters/*", get_parameters, API_FOR_POLICYMAKER, 0},
    {API_GET, "/api/parameters/*/*", get_parameters, API_FOR_POLICYMAKER, 3},
    {API_GET, "/api/parameters/*/*/*", get_parameter, API_FOR_POLICYMAKER, 3},
    {API_PUT, "/api/parameters/*/*/*", put_parameter_request, API_FOR_POLICYMAKER, 3},
    {API_DELETE, "/api/parameters/*/*/*", delete_parameter, API_FOR_POLICYMAKER, 3},
    {API_GET, "/api/global-parameters", get_parameters, API_FOR_POLICYMAKER, 0},
    {API_GET, "/api/global-parameters/*", get_parameter, API_FOR_POLICYMAKER, 0},
    {API_PUT, "/api/global-parameters/*", put_global_request, API_FOR_POLICYMAKER, 0},
    {API_DELETE, "/api/global-parameters/*", delete_global, API_FOR_POLICYMAKER, 0},
    {API_GET, "/api/cluster-name", get_cluster_name, API_FOR_MANAGEMENT, 0},
    {API_PUT, "/api/cluster-name", put_cluster_name, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
