// api_parameters.c: run-time parameters of vhosts, and global ones, over the HTTP API. Values are any JSON.
//
// Global parameters are kept as those of the component "global" of no vhost. Policies have a part of their own. Which components there are,
// and what their values look like: parameter_rules.h. Values may hold passwords: nothing of them is logged.
#include "src/base/mem.h"
#include "src/broker/policy.h"
#include "src/management/api_list.h"
#include "src/management/http_server.h"
#include "src/management/parameter_rules.h"

#define GLOBAL SLICE_LIT("global")
#define LIMITS "vhost-limits"

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
has_limits(const struct vhost *v)
{
    return v->max_connections >= 0 || v->max_queues >= 0 || rate_is_limited(&v->rate) ||
           content_is_limited(&v->content);
}

// Limits of a vhost are shown as a parameter.
static bool
put_limits(const struct api_list_key *k, struct api_list *l, struct api_out *o)
{
    const struct vhost *v = topology_vhost(api_topology(l->request), k->vhost);
    if (v == NULL || !has_limits(v) || !slice_eq_str(k->name, "limits"))
        return false;
    api_out_object(o, NULL);
    api_out_object(o, "value");
    api_put_vhost_limits(o, v);
    api_out_end(o);
    api_out_slice(o, "vhost", v->name);
    api_out_str(o, "component", LIMITS);
    api_out_str(o, "name", "limits");
    api_out_end(o);
    return true;
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    if (slice_eq_str(k->extra, LIMITS))
        return put_limits(k, l, o);
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
collect_limits(struct api_list *l)
{
    const struct api_request *r = l->request;
    struct slice component = api_segment(r, 2), vhost = api_segment(r, 3);
    struct pmap_iter it;
    if (is_global(r) || (component.len > 0 && !slice_eq_str(component, LIMITS)))
        return;
    pmap_iter_init(&it, &api_topology(r)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if (has_limits(v) && api_may_see_vhost(r, v->name) && (vhost.len == 0 || slice_eq(vhost, v->name)))
            api_list_add(l, &(struct api_list_key){
                                .vhost = v->name, .name = SLICE_LIT("limits"), .extra = SLICE_LIT(LIMITS)});
    }
}

static void
collect(struct api_list *l)
{
    struct pmap_iter it;
    collect_limits(l);
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

static void
limits_set(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    topology_request_free(change);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, (unsigned)r->detail);
}

// Limits of a vhost are a parameter here: three changes, of which the last answers. All that is not named has no limit from then on.
static void
limits_part(struct api_request *r, uint32_t which, void (*then)(struct topology_request *change))
{
    struct parameter_limits limits;
    struct buf reason = BUF_INIT;
    const json_t *value = json_object_get(r->json, "value");
    bool is_set = value != NULL && parameter_limits_read(value, false, &limits, &reason);
    bool is_rate = which == CHANGE_RATE_LIMITS, is_content = which == CHANGE_CONTENT_LIMITS;
    struct topology_request args = {.change = CHANGE_VHOST_LIMITS,
                                    .flags = which,
                                    .name = api_segment(r, 3),
                                    .number = -1,
                                    .number2 = -1};
    if (is_set) {
        int64_t first = is_rate ? limits.rate : is_content ? limits.messages : limits.max_connections;
        int64_t second = is_rate ? limits.bytes_rate : is_content ? limits.memory_bytes : limits.max_others;
        args.number = LV_MAX(first, INT64_C(-1));
        args.number2 = LV_MAX(second, INT64_C(-1));
    }
    buf_fini(&reason);
    api_change_then(r, &args, then);
}

// The part before it was carried out: goes on, or answers.
static bool
limits_go_on(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    topology_request_free(change);
    if (f.code != FAULT_NONE)
        api_fault(r, &f);
    return f.code == FAULT_NONE;
}

static void
rates_are_set(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    if (limits_go_on(change))
        limits_part(r, CHANGE_CONTENT_LIMITS, limits_set);
}

static void
counts_are_set(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    if (limits_go_on(change))
        limits_part(r, CHANGE_RATE_LIMITS, rates_are_set);
}

static void
set_limits(struct api_request *r, const json_t *value)
{
    const struct vhost *v = topology_vhost(api_topology(r), api_segment(r, 3));
    r->detail = value != NULL && !has_limits(v) ? 201 : 204;
    limits_part(r, 0, counts_are_set);
}

// RabbitMQ checks these like any parameter, and has no right of its own for them; here they are the administrators', as by their own path.
static bool
may_set_operator_policy(struct api_request *r)
{
    if (!api_is_administrator(r))
        api_error(r, 401, "not_authorised", "Not administrator user");
    else if (!r->is_control && http_server_node(r->server)->is_operator_policy_frozen)
        api_error(r, 405, "method_not_allowed", "Broker settings disallow editing of operator policies.");
    else
        return true;
    return false;
}

static void
reply_invalid(struct api_request *r, const struct buf *reason)
{
    struct buf text = BUF_INIT;
    api_escape_html(&text, buf_slice(reason));
    api_error(r, 400, "bad_request", "%s", buf_cstr(&text));
    buf_fini(&text);
}

static void
put_checked(struct api_request *r, enum parameter_component kind, const json_t *value)
{
    struct buf text = BUF_INIT, reason = BUF_INIT;
    struct topology_request args = {.change = CHANGE_PARAMETER_PUT,
                                    .component = api_segment(r, 2),
                                    .vhost = api_segment(r, 3),
                                    .name = api_segment(r, 4)};
    struct policy *p = NULL;
    int err =
        json_dump_callback(value, append_text, &text, JSON_COMPACT | JSON_ENCODE_ANY) == 0 ? 0 : -LE_NOMEM;
    args.text = buf_slice(&text);
    if (err == 0 && kind == PARAMETER_OPERATOR_POLICY)
        err = policy_new(
            &(struct policy_args){
                .kind = POLICY_OPERATOR, .vhost = args.vhost, .name = args.name, .json = args.text},
            &p, &reason);
    policy_free(p);
    if (err == -LE_INVAL)
        reply_invalid(r, &reason);
    else if (err != 0)
        api_no_memory(r);
    else
        api_change_then(r, &args, changed);
    buf_fini(&text);
    buf_fini(&reason);
}

static void
put_parameter_request(struct api_request *r)
{
    struct slice component = api_segment(r, 2);
    enum parameter_component kind = parameter_component_of(component);
    const json_t *value = json_object_get(r->json, "value");
    struct buf reason = BUF_INIT;
    if (topology_vhost(api_topology(r), api_segment(r, 3)) == NULL)
        api_error(r, 404, "not_found", "vhost_not_found");
    else if (value == NULL)
        api_key_missing(r, "value");
    else if (!parameter_is_valid(component, api_segment(r, 4), value, &reason))
        reply_invalid(r, &reason);
    else if (kind == PARAMETER_VHOST_LIMITS)
        set_limits(r, value);
    else if (kind != PARAMETER_OPERATOR_POLICY || may_set_operator_policy(r))
        put_checked(r, kind, value);
    buf_fini(&reason);
}

static void
delete_parameter(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_PARAMETER_DELETE,
                                    .component = api_segment(r, 2),
                                    .vhost = api_segment(r, 3),
                                    .name = api_segment(r, 4)};
    enum parameter_component kind = parameter_component_of(args.component);
    const struct vhost *v = topology_vhost(api_topology(r), args.vhost);
    bool is_limits = kind == PARAMETER_VHOST_LIMITS && slice_eq_str(args.name, "limits");
    if (is_limits && v != NULL && has_limits(v))
        set_limits(r, NULL);
    else if (kind == PARAMETER_POLICY ||
             topology_parameter(api_topology(r), args.component, args.vhost, args.name) == NULL)
        api_not_found(r);
    else if (kind != PARAMETER_OPERATOR_POLICY || may_set_operator_policy(r))
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
