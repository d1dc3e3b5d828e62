// api_route.c: from a request's path to its handler, and who may use it. One table, in parts; a route is a row.
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

static const struct api_route *const route_tables[] = {
    api_routes_users,    api_routes_vhosts,   api_routes_queues,   api_routes_exchanges,
    api_routes_bindings, api_routes_messages, api_routes_live,     api_routes_parameters,
    api_routes_node,     api_routes_health,   api_routes_other,    api_routes_limits,
    api_routes_counters, api_routes_dry_run,  api_routes_policies, api_routes_definitions,
    api_routes_delayed,  api_routes_explain,  api_routes_walk,     api_routes_openapi,
};

const struct api_route *const *
api_route_tables(size_t *ret_count)
{
    *ret_count = LV_ARRAY_LEN(route_tables);
    return route_tables;
}

// --- finding ----------------------------------------------------------------------------------------------------------------------

static bool
route_matches(const struct api_request *r, const char *pattern)
{
    size_t segment = 0;
    while (*pattern == '/') {
        const char *end = strchrnul(++pattern, '/');
        struct slice part = slice_of(pattern, (size_t)(end - pattern)), have = api_segment(r, segment);
        if (segment == api_segment_count(r))
            return false;
        if (slice_eq_str(part, "*") ? have.len == 0 : !slice_eq_str(part, "?") && !slice_eq(part, have))
            return false;
        segment++;
        pattern = end;
    }
    return segment == api_segment_count(r);
}

static char *
allow_text(unsigned methods)
{
    static const struct {
        unsigned method;
        const char *name;
    } names[] = {
        {API_GET, "HEAD, GET, "}, {API_PUT, "PUT, "}, {API_POST, "POST, "}, {API_DELETE, "DELETE, "}};
    char text[64] = "";
    size_t len = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        if ((methods & names[i].method) != 0)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", names[i].name);
    }
    snprintf(text + len, sizeof text - len, "OPTIONS");
    return mem_xstrdup(text);
}

bool
api_find_route(struct api_request *r)
{
    unsigned methods = 0;
    for (size_t t = 0; t < LV_ARRAY_LEN(route_tables); t++) {
        for (const struct api_route *route = route_tables[t]; route->pattern != NULL; route++) {
            if (!route_matches(r, route->pattern) || ((route->methods & API_CONTROL) != 0 && !r->is_control))
                continue; // leveretctl's own are unknown to everybody else
            if ((route->methods & r->method) == 0) {
                methods |= route->methods;
                continue;
            }
            r->route = route;
            return true;
        }
    }
    if (methods == 0) {
        api_not_found(r);
        return false;
    }
    r->allow = allow_text(methods);
    api_reply(r, r->method == API_OPTIONS_ASK ? 200 : 405);
    return false;
}

// --- access -----------------------------------------------------------------------------------------------------------------------

struct slice
api_user(const struct api_request *r)
{
    return r->user != NULL ? slice_str(r->user) : SLICE_EMPTY;
}

bool
api_is_administrator(const struct api_request *r)
{
    return r->is_control || (r->tags & USER_TAG_ADMINISTRATOR) != 0;
}

bool
api_is_monitor(const struct api_request *r)
{
    return r->is_control || (r->tags & (USER_TAG_ADMINISTRATOR | USER_TAG_MONITORING)) != 0;
}

bool
api_may_see_vhost(const struct api_request *r, struct slice vhost)
{
    return r->is_control || topology_permission(api_topology(r), api_user(r), vhost) != NULL;
}

static bool
refuse(struct api_request *r, const char *reason)
{
    api_error(r, 401, "not_authorised", "%s", reason);
    return false;
}

bool
api_check_access(struct api_request *r)
{
    const uint32_t any =
        USER_TAG_MANAGEMENT | USER_TAG_POLICYMAKER | USER_TAG_MONITORING | USER_TAG_ADMINISTRATOR;
    enum api_access access = r->route->access;
    if (r->is_control || access == API_FOR_ALL)
        return true;
    if ((r->tags & any) == 0)
        return refuse(r, "Not management user");
    if (access == API_FOR_ADMINISTRATOR && !api_is_administrator(r))
        return refuse(r, "Not administrator user");
    if (access == API_FOR_MONITORING && !api_is_monitor(r))
        return refuse(r, "Not monitor user");
    if (access == API_FOR_POLICYMAKER && (r->tags & (USER_TAG_ADMINISTRATOR | USER_TAG_POLICYMAKER)) == 0)
        return refuse(r, "User not authorised to access object");
    struct slice vhost = r->route->vhost_segment > 0 ? api_segment(r, r->route->vhost_segment) : SLICE_EMPTY;
    // One that does not exist is the handler's: it says so.
    if (vhost.len > 0 && topology_vhost(api_topology(r), vhost) != NULL && !api_may_see_vhost(r, vhost))
        return refuse(r, "User not authorised to access virtual host");
    return true;
}

// --- the body -----------------------------------------------------------------------------------------------------------------------

static bool
parse_body(struct api_request *r)
{
    json_error_t error;
    if (r->body.len == 0)
        return true;
    const struct json_t *parsed = r->json =
        json_loadb((const char *)r->body.ptr, r->body.len,
                   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (json_is_object(parsed))
        return true;
    if (json_is_string(parsed))
        api_error(
            r, 400, "bad_request",
            "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?");
    else
        api_error(r, 400, "bad_request", "not_json");
    return false;
}

void
api_dispatch(struct api_request *r)
{
    r->is_handled = true;
    if ((r->method & (API_PUT | API_POST | API_DELETE)) == 0 || r->route->handler == api_login ||
        api_has_sink(r) || parse_body(r))
        r->route->handler(r);
}
