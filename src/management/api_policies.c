// api_policies.c: policies and operator policies over the HTTP API.
//
// A policy is checked here, so that the whole of a long text gets to the client, and once more by the topology writer. Lists are
// sorted by priority, the weakest first, as RabbitMQ's are; then by vhost and name.
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/policy.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

static enum policy_kind
kind_of(const struct api_request *r)
{
    return slice_eq_str(api_segment(r, 1), "policies") ? POLICY_USER : POLICY_OPERATOR;
}

// --- reading ------------------------------------------------------------------------------------------------------------------

struct found {
    const struct policy **items;
    size_t count, cap;
};

static bool
find_all(struct found *f, const struct vhost *v, enum policy_kind kind)
{
    const struct policy_list *l = v->policies[kind];
    size_t wanted = f->count + (l != NULL ? l->count : 0);
    if (wanted > f->cap) {
        const struct policy **items = mem_realloc((void *)f->items, 2 * wanted * sizeof(struct policy *));
        if (items == NULL)
            return false;
        f->items = items;
        f->cap = 2 * wanted;
    }
    for (size_t i = 0; l != NULL && i < l->count; i++)
        f->items[f->count++] = l->items[i];
    return true;
}

static int
compare_policies(const void *a, const void *b)
{
    const struct policy *p = *(const struct policy *const *)a, *q = *(const struct policy *const *)b;
    if (p->priority != q->priority)
        return p->priority < q->priority ? -1 : 1;
    int order = slice_cmp(p->vhost, q->vhost);
    return order != 0 ? order : slice_cmp(p->name, q->name);
}

static void
reply_policies(struct api_request *r, struct found *f, bool is_whole)
{
    if (!is_whole) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    if (f->count > 0)
        qsort((void *)f->items, f->count, sizeof(struct policy *), compare_policies);
    buf_append_u8(&r->out, '[');
    for (size_t i = 0; i < f->count; i++) {
        policy_put_json(&r->out, f->items[i]);
        buf_append_u8(&r->out, ',');
    }
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    api_reply(r, 200);
}

static void
get_policies(struct api_request *r)
{
    struct found f = {0};
    bool is_whole = true;
    const struct topology *t = topology_of(http_server_worker(r->server));
    struct pmap_iter it;
    if (api_segment_count(r) > 2) {
        const struct vhost *v = api_vhost(r, 2);
        if (v == NULL)
            return;
        is_whole = find_all(&f, v, kind_of(r));
    } else {
        pmap_iter_init(&it, &t->vhosts);
        for (const struct vhost *v; is_whole && (v = pmap_iter_next(&it)) != NULL;)
            is_whole = !api_may_see_vhost(r, v->name) || find_all(&f, v, kind_of(r));
    }
    reply_policies(r, &f, is_whole);
    mem_free((void *)f.items);
}

static void
get_policy(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2);
    const struct policy *p = v != NULL ? policy_list_find(v->policies[kind_of(r)], api_segment(r, 3)) : NULL;
    if (v == NULL)
        return;
    if (p == NULL) {
        api_not_found(r);
        return;
    }
    policy_put_json(&r->out, p);
    api_reply(r, 200);
}

// --- changing -----------------------------------------------------------------------------------------------------------------

// The control socket is not bound by it, as rabbitmqctl is not.
static bool
is_frozen(struct api_request *r)
{
    if (kind_of(r) == POLICY_USER || r->is_control || !http_server_node(r->server)->is_operator_policy_frozen)
        return false;
    api_error(r, 405, "method_not_allowed", "Broker settings disallow editing of operator policies.");
    return true;
}

static bool
has_members(struct api_request *r)
{
    static const char *const needed[] = {"pattern", "definition"};
    struct buf missing = BUF_INIT;
    for (size_t i = 0; i < LV_ARRAY_LEN(needed); i++) {
        if (json_object_get(r->json, needed[i]) == NULL)
            buf_printf(&missing, "%s{key_missing,%s}", missing.len > 0 ? "," : "", needed[i]);
    }
    bool has_all = missing.len == 0;
    if (!has_all)
        api_error(r, 400, "bad_request", "[%s]", buf_cstr(&missing));
    buf_fini(&missing);
    return has_all;
}

// PROTOCOL: RabbitMQ escapes the reason of a policy for its web pages, not that of an operator policy.
static void
reply_refused(struct api_request *r, enum policy_kind kind, struct slice reason)
{
    struct buf text = BUF_INIT;
    if (kind == POLICY_USER)
        api_escape_html(&text, reason);
    else
        buf_append_slice(&text, reason);
    api_error(r, 400, "bad_request", "%s", buf_cstr(&text));
    buf_fini(&text);
}

static int
append_text(const char *text, size_t len, void *ctx)
{
    struct buf *out = ctx;
    buf_append(out, text, len);
    return out->failed ? -1 : 0;
}

// The members of the body that make a policy; others (vhost, name) say nothing new.
static bool
put_value(const struct api_request *r, struct buf *out)
{
    static const char *const members[] = {"pattern", "definition", "priority", "apply-to"};
    json_t *value = json_object();
    for (size_t i = 0; i < LV_ARRAY_LEN(members); i++) {
        json_t *member = json_object_get(r->json, members[i]);
        if (member != NULL && json_object_set(value, members[i], member) != 0)
            out->failed = true;
    }
    if (value == NULL || json_dump_callback(value, append_text, out, JSON_COMPACT) != 0)
        out->failed = true;
    json_decref(value);
    return !out->failed;
}

static void
put_policy(struct api_request *r)
{
    struct buf value = BUF_INIT, reason = BUF_INIT;
    struct policy *p = NULL;
    struct policy_args args = {.kind = kind_of(r), .vhost = api_segment(r, 2), .name = api_segment(r, 3)};
    if (is_frozen(r) || api_vhost(r, 2) == NULL || !has_members(r))
        return;
    int result = put_value(r, &value) ? 0 : -LE_NOMEM;
    args.json = buf_slice(&value);
    if (result == 0)
        result = policy_new(&args, &p, &reason);
    policy_free(p);
    struct topology_request change = {.change = CHANGE_PARAMETER_PUT,
                                      .component = policy_component(args.kind),
                                      .vhost = args.vhost,
                                      .name = args.name,
                                      .text = args.json};
    if (result == -LE_INVAL)
        reply_refused(r, args.kind, buf_slice(&reason));
    else if (result < 0)
        api_error(r, 500, "internal_error", "out of memory");
    else
        api_change(r, &change);
    buf_fini(&value);
    buf_fini(&reason);
}

static void
delete_policy(struct api_request *r)
{
    if (is_frozen(r))
        return;
    const struct topology *t = topology_of(http_server_worker(r->server));
    struct topology_request change = {.change = CHANGE_PARAMETER_DELETE,
                                      .component = policy_component(kind_of(r)),
                                      .vhost = api_segment(r, 2),
                                      .name = api_segment(r, 3)};
    if (topology_parameter(t, change.component, change.vhost, change.name) == NULL)
        api_not_found(r);
    else
        api_change(r, &change);
}

const struct api_route api_routes_policies[] = {
    {API_GET, "/api/policies", get_policies, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/policies/*", get_policies, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/policies/*/*", get_policy, API_FOR_MANAGEMENT, 2},
    {API_PUT, "/api/policies/*/*", put_policy, API_FOR_POLICYMAKER, 2},
    {API_DELETE, "/api/policies/*/*", delete_policy, API_FOR_POLICYMAKER, 2},
    {API_GET, "/api/operator-policies", get_policies, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/operator-policies/*", get_policies, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/operator-policies/*/*", get_policy, API_FOR_MANAGEMENT, 2},
    {API_PUT, "/api/operator-policies/*/*", put_policy, API_FOR_ADMINISTRATOR, 2},
    {API_DELETE, "/api/operator-policies/*/*", delete_policy, API_FOR_ADMINISTRATOR, 2},
    {0, NULL, NULL, 0, 0},
};
