// api_limits.c: limits of virtual hosts and users over the HTTP API, with RabbitMQ's texts; and the sorted walks that the lists of users,
// virtual hosts and their limits share.
//
// max-publish-rate and max-publish-bytes-rate are ours: messages, and bytes of their bodies, a second (src/broker/rate.h).
#include <limits.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

static const struct topology *
topology_now(struct api_request *r)
{
    return topology_of(http_server_worker(r->server));
}

// --- sorted walks -------------------------------------------------------------------------------------------------------------

struct collected {
    const void **items;
    size_t count, cap;
};

static bool
collect(void *value, void *ctx)
{
    struct collected *c = ctx;
    if (c->count < c->cap)
        c->items[c->count++] = value;
    return true;
}

void
api_reply_sorted(struct api_request *r, const struct pmap *map, api_compare_fn compare, api_put_fn put,
                 bool (*wanted)(struct api_request *, const void *))
{
    struct collected c = {.items = mem_alloc((size_t)(map->count + 1) * sizeof(void *)),
                          .cap = (size_t)map->count};
    if (c.items == NULL) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    pmap_each(map, collect, &c);
    qsort(c.items, c.count, sizeof(void *), compare);
    buf_append_u8(&r->out, '[');
    for (size_t i = 0; i < c.count; i++) {
        if (wanted != NULL && !wanted(r, c.items[i]))
            continue;
        put(&r->out, c.items[i]);
        buf_append_u8(&r->out, ',');
    }
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    mem_free(c.items);
    api_reply(r, 200);
}

int
api_compare_users(const void *a, const void *b)
{
    return slice_cmp((*(const struct user *const *)a)->name, (*(const struct user *const *)b)->name);
}

int
api_compare_vhosts(const void *a, const void *b)
{
    return slice_cmp((*(const struct vhost *const *)a)->name, (*(const struct vhost *const *)b)->name);
}

// --- what is set ----------------------------------------------------------------------------------------------------------------

static void
put_limit(struct buf *out, const char *name, int64_t limit)
{
    if (limit >= 0)
        json_put_member_int(out, name, limit);
}

static void
put_rates(struct buf *out, const struct rate_limit *rate)
{
    put_limit(out, "max-publish-rate", rate->messages);
    put_limit(out, "max-publish-bytes-rate", rate->bytes);
    json_drop_comma(out);
}

void
api_put_vhost_limits(struct buf *out, const struct vhost *v)
{
    put_limit(out, "max-connections", v->max_connections);
    put_limit(out, "max-queues", v->max_queues);
    put_rates(out, &v->rate);
}

void
api_put_user_limits(struct buf *out, const struct user *u)
{
    put_limit(out, "max-connections", u->max_connections);
    put_limit(out, "max-channels", u->max_channels);
    put_rates(out, &u->rate);
}

static void
put_vhost_entry(struct buf *out, const void *item)
{
    const struct vhost *v = item;
    buf_append_u8(out, '{');
    json_put_member_string(out, "vhost", v->name);
    buf_append_str(out, "\"value\":{");
    api_put_vhost_limits(out, v);
    buf_append_str(out, "}}");
}

static void
put_user_entry(struct buf *out, const void *item)
{
    const struct user *u = item;
    buf_append_u8(out, '{');
    json_put_member_string(out, "user", u->name);
    buf_append_str(out, "\"value\":{");
    api_put_user_limits(out, u);
    buf_append_str(out, "}}");
}

static bool
is_limited_vhost(struct api_request *r, const void *item)
{
    const struct vhost *v = item;
    return (v->max_connections >= 0 || v->max_queues >= 0 || rate_is_limited(&v->rate)) &&
           (r->segment_count == 2 || slice_eq(v->name, r->segments[2]));
}

static bool
is_limited_user(struct api_request *r, const void *item)
{
    const struct user *u = item;
    return (u->max_connections >= 0 || u->max_channels >= 0 || rate_is_limited(&u->rate)) &&
           (r->segment_count == 2 || slice_eq(u->name, r->segments[2]));
}

// GET /api/vhost-limits[/VHOST]: those that have limits.
static void
get_vhost_limits(struct api_request *r)
{
    if (r->segment_count == 2 || api_vhost(r, 2) != NULL)
        api_reply_sorted(r, &topology_now(r)->vhosts, api_compare_vhosts, put_vhost_entry, is_limited_vhost);
}

static void
get_user_limits(struct api_request *r)
{
    if (r->segment_count > 2 && topology_user(topology_now(r), r->segments[2]) == NULL)
        api_not_found(r);
    else
        api_reply_sorted(r, &topology_now(r)->users, api_compare_users, put_user_entry, is_limited_user);
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
    struct slice name = r->segments[3];
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
    json_put_string(&r->out, r->segments[2]);
    buf_append_str(&r->out, "]}");
    api_reply(r, 400);
}

// PUT /api/vhost-limits/VHOST/NAME and /api/user-limits/USER/NAME {"value": N}; DELETE takes the limit off, also one that nobody knows.
static void
change_limit(struct api_request *r)
{
    bool is_user = slice_eq_str(r->segments[1], "user-limits");
    const char *const names[2][4] = {
        {"max-connections", "max-queues", "max-publish-rate", "max-publish-bytes-rate"},
        {"max-connections", "max-channels", "max-publish-rate", "max-publish-bytes-rate"}};
    size_t which = 0;
    int64_t value = -1;
    const struct topology *t = topology_now(r);
    bool is_there =
        is_user ? topology_user(t, r->segments[2]) != NULL : topology_vhost(t, r->segments[2]) != NULL;
    while (which < 4 && !slice_eq_str(r->segments[3], names[is_user][which]))
        which++;
    if (!is_there) {
        refuse_name(r, is_user);
        return;
    }
    if (r->method == API_PUT && (which == 4 || !api_int(r, "value", &value))) {
        refuse_value(r, is_user, which < 4);
        return;
    }
    if (which == 4) {
        api_reply(r, 204);
        return;
    }
    struct topology_request args = {
        .change = is_user ? CHANGE_USER_LIMITS : CHANGE_VHOST_LIMITS,
        .flags = which >= 2 ? CHANGE_RATE_LIMITS : 0,
        .name = r->segments[2],
        .number = which % 2 == 0 ? value : INT64_MIN,
        .number2 = which % 2 == 0 ? INT64_MIN : value,
    };
    api_change(r, &args);
}

const struct api_route api_routes_limits[] = {
    {API_GET, "/api/vhost-limits", get_vhost_limits},
    {API_GET, "/api/vhost-limits/*", get_vhost_limits},
    {API_GET, "/api/user-limits", get_user_limits},
    {API_GET, "/api/user-limits/*", get_user_limits},
    {API_PUT | API_DELETE, "/api/vhost-limits/*/*", change_limit},
    {API_PUT | API_DELETE, "/api/user-limits/*/*", change_limit},
    {0, NULL, NULL},
};
