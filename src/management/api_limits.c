// api_limits.c: limits of virtual hosts and users over the HTTP API, with RabbitMQ's texts.
//
// Ours: max-publish-rate and max-publish-bytes-rate, messages, and bytes of their bodies, a second (src/broker/rate.h); max-messages and max-memory-bytes,
// which the queues of a virtual host hold (src/broker/vhost_load.h).
#include <limits.h>

#include "src/base/mem.h"
#include "src/management/api_list.h"
#include "src/management/http_server.h"

static const struct topology *
topology_now(struct api_request *r)
{
    return api_topology(r);
}

// --- what is set ----------------------------------------------------------------------------------------------------------------

static void
put_limit(struct api_out *o, const char *name, int64_t limit)
{
    if (limit >= 0)
        api_out_int(o, name, limit);
}

static void
put_rates(struct api_out *o, const struct rate_limit *rate)
{
    put_limit(o, "max-publish-rate", rate->messages);
    put_limit(o, "max-publish-bytes-rate", rate->bytes);
}

void
api_put_vhost_limits(struct api_out *o, const struct vhost *v)
{
    put_limit(o, "max-connections", v->max_connections);
    put_limit(o, "max-queues", v->max_queues);
    put_rates(o, &v->rate);
    put_limit(o, "max-messages", v->content.messages);
    put_limit(o, "max-memory-bytes", v->content.memory_bytes);
}

void
api_put_user_limits(struct api_out *o, const struct user *u)
{
    put_limit(o, "max-connections", u->max_connections);
    put_limit(o, "max-channels", u->max_channels);
    put_rates(o, &u->rate);
}

static bool
put_vhost_entry(struct api_list *l, size_t i, struct api_out *o)
{
    const struct vhost *v = topology_vhost(api_topology(l->request), l->batch[i].name);
    if (v == NULL)
        return false;
    api_out_object(o, NULL);
    api_out_slice(o, "vhost", v->name);
    api_out_object(o, "value");
    api_put_vhost_limits(o, v);
    api_out_end(o);
    api_out_end(o);
    return true;
}

static bool
put_user_entry(struct api_list *l, size_t i, struct api_out *o)
{
    const struct user *u = topology_user(api_topology(l->request), l->batch[i].name);
    if (u == NULL)
        return false;
    api_out_object(o, NULL);
    api_out_slice(o, "user", u->name);
    api_out_object(o, "value");
    api_put_user_limits(o, u);
    api_out_end(o);
    api_out_end(o);
    return true;
}

// Those that have limits.
static void
collect_vhost_limits(struct api_list *l)
{
    struct pmap_iter it;
    struct api_request *r = l->request;
    pmap_iter_init(&it, &api_topology(r)->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if ((v->max_connections >= 0 || v->max_queues >= 0 || rate_is_limited(&v->rate) ||
             content_is_limited(&v->content)) &&
            api_may_see_vhost(r, v->name) &&
            (api_segment_count(r) == 2 || slice_eq(v->name, api_segment(r, 2))))
            api_list_add(l, &(struct api_list_key){.name = v->name});
    }
    api_list_collected(l);
}

static void
collect_user_limits(struct api_list *l)
{
    struct pmap_iter it;
    struct api_request *r = l->request;
    pmap_iter_init(&it, &api_topology(r)->users);
    for (const struct user *u; (u = pmap_iter_next(&it)) != NULL;) {
        if ((u->max_connections >= 0 || u->max_channels >= 0 || rate_is_limited(&u->rate)) &&
            (api_segment_count(r) == 2 || slice_eq(u->name, api_segment(r, 2))))
            api_list_add(l, &(struct api_list_key){.name = u->name});
    }
    api_list_collected(l);
}

static const struct api_list_source vhost_limits = {.collect = collect_vhost_limits, .put = put_vhost_entry};
static const struct api_list_source user_limits = {.collect = collect_user_limits, .put = put_user_entry};

static void
get_vhost_limits(struct api_request *r)
{
    if (api_segment_count(r) == 2 || api_vhost(r, 2) != NULL)
        api_list(r, &vhost_limits);
}

static void
get_user_limits(struct api_request *r)
{
    if (api_segment_count(r) > 2 && topology_user(api_topology(r), api_segment(r, 2)) == NULL)
        api_not_found(r);
    else
        api_list(r, &user_limits);
}

// --- changes --------------------------------------------------------------------------------------------------------------------

// A JSON value as RabbitMQ's texts show it.
static void
put_term(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        buf_printf(out, "<<\"%s\">>", json_string_value(value));
    else if (json_is_integer(value))
        buf_printf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        buf_printf(out, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        buf_append_str(out, json_is_true(value) ? "true" : "false");
    else
        buf_append_str(out, json_is_null(value) ? "null" : json_is_array(value) ? "[…]" : "#{…}");
}

static void
refuse_value(struct api_request *r, bool is_user, bool is_known)
{
    struct buf text = BUF_INIT;
    const json_t *value = json_object_get(r->json, "value");
    struct slice name = api_segment(r, 3);
    if (value == NULL) {
        api_error(r, 400, "bad_request", "[{key_missing,value}]");
        return;
    }
    if (!is_user)
        buf_append_str(&text, "Validation failed\n\n");
    if (is_known) {
        buf_printf(&text, "%.*s should be a number, actually was ", SLICE_FMT(name));
        put_term(&text, value);
    } else {
        buf_printf(&text, "Unrecognised terms [{<<\"%.*s\">>,", SLICE_FMT(name));
        put_term(&text, value);
        buf_printf(&text, "}] in %s", is_user ? "user-limits" : "limits");
    }
    if (!is_user)
        buf_append_str(&text, "\n");
    api_error(r, 400, "bad_request", "%s", buf_cstr(&text));
    buf_fini(&text);
}

static void
refuse_name(struct api_request *r, bool is_user)
{
    if (!is_user) {
        api_error(r, 404, "not_found", "vhost_not_found");
        return;
    }
    buf_append_str(&r->out, "{\"error\":\"bad_request\",\"reason\":[\"no_such_user\",");
    json_put_string(&r->out, api_segment(r, 2));
    buf_append_str(&r->out, "]}");
    api_reply(r, 400);
}

// PUT /api/vhost-limits/VHOST/NAME and /api/user-limits/USER/NAME {"value": N}; DELETE takes the limit off, also one that nobody knows.
static void
change_limit(struct api_request *r)
{
    bool is_user = slice_eq_str(api_segment(r, 1), "user-limits");
    const char *const names[2][6] = {
        {"max-connections", "max-queues", "max-publish-rate", "max-publish-bytes-rate", "max-messages",
         "max-memory-bytes"},
        {"max-connections", "max-channels", "max-publish-rate", "max-publish-bytes-rate"}};
    static const uint32_t flags[] = {0, CHANGE_RATE_LIMITS, CHANGE_CONTENT_LIMITS}; // of each two
    size_t which = 0, count = is_user ? 4 : 6;
    int64_t value = -1;
    const struct topology *t = topology_now(r);
    bool is_there =
        is_user ? topology_user(t, api_segment(r, 2)) != NULL : topology_vhost(t, api_segment(r, 2)) != NULL;
    while (which < count && !slice_eq_str(api_segment(r, 3), names[is_user][which]))
        which++;
    if (!is_there) {
        refuse_name(r, is_user);
        return;
    }
    if (r->method == API_PUT && (which == count || !api_int(r, "value", &value))) {
        refuse_value(r, is_user, which < count);
        return;
    }
    if (which == count) {
        api_reply(r, 204);
        return;
    }
    struct topology_request args = {
        .change = is_user ? CHANGE_USER_LIMITS : CHANGE_VHOST_LIMITS,
        .flags = flags[which / 2],
        .name = api_segment(r, 2),
        .number = which % 2 == 0 ? value : INT64_MIN,
        .number2 = which % 2 == 0 ? INT64_MIN : value,
    };
    api_change(r, &args);
}

const struct api_route api_routes_limits[] = {
    {API_GET, "/api/vhost-limits", get_vhost_limits, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/vhost-limits/*", get_vhost_limits, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/user-limits", get_user_limits, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/user-limits/*", get_user_limits, API_FOR_MANAGEMENT, 0},
    {API_PUT | API_DELETE, "/api/vhost-limits/*/*", change_limit, API_FOR_ADMINISTRATOR, 0},
    {API_PUT | API_DELETE, "/api/user-limits/*/*", change_limit, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
