// api_access.c: users, vhosts, permissions and topic permissions over the HTTP API.
//
// Reading walks the adopted topology; changing is one topology request. Lists are sorted by name, as RabbitMQ's are.
#include <limits.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

static const struct topology *
topology_now(struct api_request *r)
{
    return topology_of(http_server_worker(r->server));
}

static void
put_tags(struct buf *out, struct slice tags)
{
    buf_append_str(out, "\"tags\":[");
    for (size_t start = 0; start < tags.len;) {
        size_t end = start;
        while (end < tags.len && tags.ptr[end] != ',')
            end++;
        struct slice tag = slice_of(tags.ptr + start, end - start);
        while (tag.len > 0 && tag.ptr[0] == ' ')
            tag = slice_from(tag, 1);
        if (tag.len > 0) {
            json_put_string(out, tag);
            buf_append_u8(out, ',');
        }
        start = end + 1;
    }
    json_drop_comma(out);
    buf_append_str(out, "],");
}

// --- users --------------------------------------------------------------------------------------------------------------------

static void
put_user(struct buf *out, const void *item)
{
    const struct user *u = item;
    char hash[2 * PASSWORD_HASH_MAX];
    size_t len = base64_encode(u->password_hash, hash, sizeof hash);
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", u->name);
    json_put_member_string(out, "password_hash", slice_of(hash, len));
    json_put_member_string(out, "hashing_algorithm", u->hashing);
    put_tags(out, u->tags);
    buf_append_str(out, "\"limits\":{");
    api_put_user_limits(out, u);
    buf_append_str(out, "}}");
}

static void
get_users(struct api_request *r)
{
    api_reply_sorted(r, &topology_now(r)->users, api_compare_users, put_user, NULL);
}

static void
get_user(struct api_request *r)
{
    const struct user *u = topology_user(topology_now(r), r->segments[2]);
    if (u == NULL) {
        api_not_found(r);
        return;
    }
    put_user(&r->out, u);
    api_reply(r, 200);
}

static bool
is_password_refused(struct api_request *r, struct slice password)
{
    struct buf reason = BUF_INIT;
    bool is_good = password_rule_allows(http_server_node(r->server)->password_rule, password, &reason);
    if (!is_good)
        api_error(r, 400, "bad_request", "%s", buf_cstr(&reason));
    buf_fini(&reason);
    return !is_good;
}

static void
put_user_request(struct api_request *r)
{
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len = 0;
    struct slice text, hashing = SLICE_LIT("rabbit_password_hashing_sha256");
    struct buf tags = BUF_INIT;
    struct topology_request args = {.change = CHANGE_USER_PUT, .name = r->segments[2]};
    if (!api_only(r, &args.flags))
        return;
    api_string(r, "hashing_algorithm", &hashing);
    if (api_string(r, "password", &text)) {
        if (is_password_refused(r, text))
            return;
        if (password_hash_make(text, hashing, hash, &len) != 0) {
            api_error(r, 400, "bad_request", "unknown hashing algorithm '%.*s'", SLICE_FMT(hashing));
            return;
        }
        args.flags |= CHANGE_HAS_PASSWORD;
    } else if (api_string(r, "password_hash", &text)) {
        if (base64_decode(text, hash, sizeof hash, &len) != 0) {
            api_error(r, 400, "bad_request", "password_hash is not a base-64 encoded hash");
            return;
        }
        args.flags |= CHANGE_HAS_PASSWORD;
    }
    args.password_hash = slice_of(hash, len);
    args.hashing = hashing;
    if (api_tags(r, &tags))
        args.flags |= CHANGE_HAS_TAGS;
    args.tags = buf_slice(&tags);
    if ((args.flags & (CHANGE_HAS_PASSWORD | CHANGE_HAS_TAGS)) == 0)
        api_error(r, 400, "bad_request", "tags must be provided");
    else
        api_change(r, &args);
    mem_wipe(hash, sizeof hash);
    buf_fini(&tags);
}

static void
delete_user(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_USER_DELETE, .name = r->segments[2]};
    api_change(r, &args);
}

// Ours: is this the user's password? For leveretctl authenticate_user.
static void
post_authenticate(struct api_request *r)
{
    struct slice password = SLICE_EMPTY;
    const struct user *u = topology_user(topology_now(r), r->segments[2]);
    api_string(r, "password", &password);
    if (u == NULL || !password_matches(u, password)) {
        api_error(r, 401, "not_authorised", "user '%.*s' - invalid credentials", SLICE_FMT(r->segments[2]));
        return;
    }
    buf_append_str(&r->out, "{\"status\":\"ok\"}");
    api_reply(r, 200);
}

// --- vhosts -------------------------------------------------------------------------------------------------------------------

static void
put_vhost(struct buf *out, const struct vhost *v, const json_t *counts)
{
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", v->name);
    json_put_member_string(out, "description", v->description);
    put_tags(out, v->tags);
    json_put_member_string(out, "default_queue_type",
                           v->default_queue_type.len > 0 ? v->default_queue_type : SLICE_LIT("undefined"));
    json_put_member_bool(out, "tracing", v->is_tracing);
    buf_append_str(out, "\"metadata\":{");
    json_put_member_string(out, "description", v->description);
    put_tags(out, v->tags);
    json_drop_comma(out);
    buf_append_str(out, "},\"limits\":{");
    api_put_vhost_limits(out, v);
    buf_append_u8(out, '}');
    api_put_vhost_counts(out, counts, v);
    buf_append_u8(out, '}');
}

static void
vhosts_counted(struct api_request *r)
{
    const struct topology *t = topology_now(r);
    size_t count = 0;
    struct pmap_iter it;
    const struct vhost **all = mem_alloc((size_t)(t->vhosts.count + 1) * sizeof(void *));
    if (all == NULL) {
        api_error(r, 500, "internal_error", "out of memory");
        return;
    }
    r->kept = api_vhost_counts_take(r);
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;)
        all[count++] = v;
    if (count > 0)
        qsort(all, count, sizeof(void *), api_compare_vhosts);
    buf_append_u8(&r->out, '[');
    for (size_t i = 0; i < count; i++) {
        put_vhost(&r->out, all[i], r->kept);
        buf_append_u8(&r->out, ',');
    }
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, ']');
    mem_free(all);
    api_reply(r, 200);
}

// With what was published and delivered in them, which the workers count.
static void
get_vhosts(struct api_request *r)
{
    api_gather_workers(r, LIST_COUNTERS, vhosts_counted);
}

static void
vhost_counted(struct api_request *r)
{
    const struct vhost *v = api_vhost(r, 2); // it may have gone meanwhile
    if (v == NULL)
        return;
    r->kept = api_vhost_counts_take(r);
    put_vhost(&r->out, v, r->kept);
    api_reply(r, 200);
}

static void
get_vhost(struct api_request *r)
{
    if (api_vhost(r, 2) != NULL)
        api_gather_workers(r, LIST_COUNTERS, vhost_counted);
}

static void
put_vhost_request(struct api_request *r)
{
    struct buf tags = BUF_INIT;
    struct topology_request args = {.change = CHANGE_VHOST_PUT, .name = r->segments[2]};
    bool is_tracing;
    if (!api_only(r, &args.flags))
        return;
    if (api_bool(r, "tracing", &is_tracing))
        args.flags |= is_tracing ? (uint32_t)CHANGE_TRACING_ON : (uint32_t)CHANGE_TRACING_OFF;
    api_string(r, "description", &args.text);
    api_string(r, "default_queue_type", &args.default_queue_type);
    if (api_tags(r, &tags))
        args.flags |= CHANGE_HAS_TAGS;
    args.tags = buf_slice(&tags);
    api_change(r, &args);
    buf_fini(&tags);
}

static void
delete_vhost(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_VHOST_DELETE, .name = r->segments[2]};
    api_change(r, &args);
}

// --- permissions --------------------------------------------------------------------------------------------------------------

static void
put_permission(struct buf *out, const void *item)
{
    const struct permission *p = item;
    buf_append_u8(out, '{');
    json_put_member_string(out, "user", p->user);
    json_put_member_string(out, "vhost", p->vhost);
    json_put_member_string(out, "configure", p->pattern[ACCESS_CONFIGURE]);
    json_put_member_string(out, "write", p->pattern[ACCESS_WRITE]);
    json_put_member_string(out, "read", p->pattern[ACCESS_READ]);
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

static int
compare_permissions(const void *a, const void *b)
{
    const struct permission *x = *(const struct permission *const *)a,
                            *y = *(const struct permission *const *)b;
    int order = slice_cmp(x->vhost, y->vhost);
    return order != 0 ? order : slice_cmp(x->user, y->user);
}

static bool
is_of_user(struct api_request *r, const void *item)
{
    return slice_eq(((const struct permission *)item)->user, r->segments[2]);
}

static bool
is_of_vhost(struct api_request *r, const void *item)
{
    return slice_eq(((const struct permission *)item)->vhost, r->segments[2]);
}

static void
get_permissions(struct api_request *r)
{
    api_reply_sorted(r, &topology_now(r)->permissions, compare_permissions, put_permission, NULL);
}

static void
get_user_permissions(struct api_request *r)
{
    if (topology_user(topology_now(r), r->segments[2]) == NULL)
        api_not_found(r);
    else
        api_reply_sorted(r, &topology_now(r)->permissions, compare_permissions, put_permission, is_of_user);
}

static void
get_vhost_permissions(struct api_request *r)
{
    if (api_vhost(r, 2) != NULL)
        api_reply_sorted(r, &topology_now(r)->permissions, compare_permissions, put_permission, is_of_vhost);
}

static void
get_permission(struct api_request *r)
{
    const struct permission *p = topology_permission(topology_now(r), r->segments[3], r->segments[2]);
    if (p == NULL) {
        api_not_found(r);
        return;
    }
    put_permission(&r->out, p);
    api_reply(r, 200);
}

static void
put_permission_request(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_PERMISSION_SET, .vhost = r->segments[2], .user = r->segments[3]};
    if (!api_string(r, "configure", &args.configure) || !api_string(r, "write", &args.write) ||
        !api_string(r, "read", &args.read))
        api_error(r, 400, "bad_request", "key_missing: configure, write and read are needed");
    else
        api_change(r, &args);
}

static void
delete_permission(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_PERMISSION_CLEAR, .vhost = r->segments[2], .user = r->segments[3]};
    api_change(r, &args);
}

// --- topic permissions ----------------------------------------------------------------------------------------------------------

static void
put_topic_permission(struct buf *out, const void *item)
{
    const struct topic_permission *p = item;
    buf_append_u8(out, '{');
    json_put_member_string(out, "user", p->user);
    json_put_member_string(out, "vhost", p->vhost);
    json_put_member_string(out, "exchange", p->exchange);
    json_put_member_string(out, "write", p->pattern[ACCESS_WRITE]);
    json_put_member_string(out, "read", p->pattern[ACCESS_READ]);
    json_drop_comma(out);
    buf_append_u8(out, '}');
}

static int
compare_topic_permissions(const void *a, const void *b)
{
    const struct topic_permission *x = *(const struct topic_permission *const *)a,
                                  *y = *(const struct topic_permission *const *)b;
    int order = slice_cmp(x->vhost, y->vhost);
    order = order != 0 ? order : slice_cmp(x->user, y->user);
    return order != 0 ? order : slice_cmp(x->exchange, y->exchange);
}

static bool
is_topic_of(struct api_request *r, const void *item)
{
    const struct topic_permission *p = item;
    struct slice first = r->segments[2];
    if (slice_eq_str(r->segments[1], "topic-permissions")) // /api/topic-permissions/VHOST/USER
        return slice_eq(p->vhost, first) && slice_eq(p->user, r->segments[3]);
    return slice_eq(slice_eq_str(r->segments[1], "users") ? p->user : p->vhost, first);
}

static void
get_topic_permissions(struct api_request *r)
{
    bool is_all = r->segment_count == 2;
    if (slice_eq_str(r->segments[1], "users") && topology_user(topology_now(r), r->segments[2]) == NULL) {
        api_not_found(r);
        return;
    }
    if (slice_eq_str(r->segments[1], "vhosts") && api_vhost(r, 2) == NULL)
        return;
    api_reply_sorted(r, &topology_now(r)->topic_permissions, compare_topic_permissions, put_topic_permission,
                     is_all ? NULL : is_topic_of);
}

static void
put_topic_permission_request(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_TOPIC_PERMISSION_SET, .vhost = r->segments[2], .user = r->segments[3]};
    if (!api_string(r, "exchange", &args.name) || !api_string(r, "write", &args.write) ||
        !api_string(r, "read", &args.read))
        api_error(r, 400, "bad_request", "key_missing: exchange, write and read are needed");
    else
        api_change(r, &args);
}

static void
delete_topic_permission(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_TOPIC_PERMISSION_CLEAR, .vhost = r->segments[2], .user = r->segments[3]};
    if (r->segment_count == 5)
        args.name = r->segments[4];
    api_change(r, &args);
}

const struct api_route api_routes_access[] = {
    {API_GET, "/api/users", get_users},
    {API_GET, "/api/users/*", get_user},
    {API_PUT, "/api/users/*", put_user_request},
    {API_DELETE, "/api/users/*", delete_user},
    {API_POST | API_CONTROL, "/api/users/*/authenticate", post_authenticate},
    {API_GET, "/api/users/*/permissions", get_user_permissions},
    {API_GET, "/api/users/*/topic-permissions", get_topic_permissions},
    {API_GET, "/api/vhosts", get_vhosts},
    {API_GET, "/api/vhosts/*", get_vhost},
    {API_PUT, "/api/vhosts/*", put_vhost_request},
    {API_DELETE, "/api/vhosts/*", delete_vhost},
    {API_GET, "/api/vhosts/*/permissions", get_vhost_permissions},
    {API_GET, "/api/vhosts/*/topic-permissions", get_topic_permissions},
    {API_GET, "/api/permissions", get_permissions},
    {API_GET, "/api/permissions/*/*", get_permission},
    {API_PUT, "/api/permissions/*/*", put_permission_request},
    {API_DELETE, "/api/permissions/*/*", delete_permission},
    {API_GET, "/api/topic-permissions", get_topic_permissions},
    {API_GET, "/api/topic-permissions/*/*", get_topic_permissions},
    {API_PUT, "/api/topic-permissions/*/*", put_topic_permission_request},
    {API_DELETE, "/api/topic-permissions/*/*", delete_topic_permission},
    {API_DELETE, "/api/topic-permissions/*/*/*", delete_topic_permission},
    {0, NULL, NULL},
};
