// api_users.c: users, permissions and topic permissions over the HTTP API.
//
// Reading walks the adopted topology; changing is one topology request.
#include "src/base/mem.h"
#include "src/broker/auth.h"
#include "src/management/api_list.h"
#include "src/management/http_server.h"

// --- users ------------------------------------------------------------------------------------------------------------------------

void
api_put_tags(struct api_out *o, const char *key, struct slice tags)
{
    api_out_array(o, key);
    for (size_t start = 0; start < tags.len;) {
        size_t end = start;
        while (end < tags.len && tags.ptr[end] != ',')
            end++;
        struct slice tag = slice_of(tags.ptr + start, end - start);
        while (tag.len > 0 && tag.ptr[0] == ' ')
            tag = slice_from(tag, 1);
        if (tag.len > 0)
            api_out_slice(o, NULL, tag);
        start = end + 1;
    }
    api_out_end(o);
}

static bool
put_user(struct api_list *l, size_t i, struct api_out *o)
{
    const struct user *u = topology_user(api_topology(l->request), l->batch[i].name);
    char hash[2 * PASSWORD_HASH_MAX];
    if (u == NULL)
        return false;
    size_t len = base64_encode(u->password_hash, hash, sizeof hash);
    api_out_object(o, NULL);
    api_out_slice(o, "name", u->name);
    api_out_slice(o, "password_hash", slice_of(hash, len));
    api_out_slice(o, "hashing_algorithm", u->hashing);
    api_put_tags(o, "tags", u->tags);
    api_out_object(o, "limits");
    api_put_user_limits(o, u);
    api_out_end(o);
    api_out_end(o);
    return true;
}

// Has it a permission on any vhost?
static bool
find_permission(void *value, void *ctx)
{
    const struct permission *p = value;
    struct slice *user = ctx;
    if (!slice_eq(p->user, *user))
        return true;
    *user = SLICE_EMPTY;
    return false;
}

static void
collect_users(struct api_list *l)
{
    struct pmap_iter it;
    const struct topology *t = api_topology(l->request);
    bool is_without = slice_eq_str(api_segment(l->request, 2), "without-permissions");
    pmap_iter_init(&it, &t->users);
    for (const struct user *u; (u = pmap_iter_next(&it)) != NULL;) {
        struct slice wanted = u->name;
        if (is_without)
            pmap_each(&t->permissions, find_permission, &wanted);
        if (wanted.ptr != NULL)
            api_list_add(l, &(struct api_list_key){.name = u->name});
    }
    api_list_collected(l);
}

static const struct api_list_source users = {.is_paged = true, .collect = collect_users, .put = put_user};

static void
get_users(struct api_request *r)
{
    api_list(r, &users);
}

static void
get_user(struct api_request *r)
{
    api_list_one(r, &users, &(struct api_list_key){.name = api_segment(r, 2)});
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

// What RabbitMQ wants of a user over HTTP. False after answering 400.
static bool
check_user_body(struct api_request *r)
{
    const json_t *password = json_object_get(r->json, "password"),
                 *hash = json_object_get(r->json, "password_hash"), *tags = json_object_get(r->json, "tags");
    if (tags == NULL)
        api_error(r, 400, "bad_request", "tags_not_present");
    else if (!json_is_string(tags) && !json_is_array(tags))
        api_error(r, 400, "bad_request", "tags must be a string or a list of strings");
    else if (password != NULL && hash != NULL)
        api_error(r, 400, "bad_request", "both_password_and_password_hash_are_provided");
    else if ((password != NULL && !json_is_string(password)) || (hash != NULL && !json_is_string(hash)))
        api_error(r, 400, "bad_request", "password and password_hash must be strings");
    else
        return true;
    return false;
}

static void
put_user_request(struct api_request *r)
{
    uint8_t hash[PASSWORD_HASH_MAX];
    size_t len = 0;
    struct slice text, hashing = SLICE_LIT("rabbit_password_hashing_sha256");
    struct buf tags = BUF_INIT;
    struct topology_request args = {.change = CHANGE_USER_PUT, .name = api_segment(r, 2)};
    if (!api_only(r, &args.flags))
        return;
    if (!r->is_control && !check_user_body(r))
        return;
    api_string(r, "hashing_algorithm", &hashing);
    if (api_string(r, "password", &text)) {
        if (is_password_refused(r, text))
            return;
        // An empty one over TCP is none, as in RabbitMQ.
        if ((text.len > 0 || r->is_control) && password_hash_make(text, hashing, hash, &len) != 0) {
            api_error(r, 400, "bad_request", "unknown hashing algorithm '%.*s'", SLICE_FMT(hashing));
            return;
        }
        args.flags |= CHANGE_HAS_PASSWORD;
    } else if (api_string(r, "password_hash", &text)) {
        if (base64_decode(text, hash, sizeof hash, &len) != 0) {
            api_bad_value(r, "not_base64", json_incref(json_object_get(r->json, "password_hash")));
            return;
        }
        args.flags |= CHANGE_HAS_PASSWORD;
    }
    // RabbitMQ: a user that is put without a password has none from then on. leveretctl changes tags alone.
    if (!r->is_control)
        args.flags |= CHANGE_HAS_PASSWORD;
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

// The fault of a missing user or vhost is a plain 404 here.
static void
deleted(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    topology_request_free(change);
    if (f.code == FAULT_NOT_FOUND && !r->is_control)
        api_not_found(r);
    else if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, 204);
}

static void
delete_user(struct api_request *r)
{
    struct topology_request args = {.change = CHANGE_USER_DELETE, .name = api_segment(r, 2)};
    api_change_then(r, &args, deleted);
}

// Ours: is this the user's password? For leveretctl authenticate_user.
static void
post_authenticate(struct api_request *r)
{
    struct slice password = SLICE_EMPTY, name = api_segment(r, 2);
    const struct user *u = topology_user(api_topology(r), name);
    api_string(r, "password", &password);
    if (u == NULL || !password_matches(u, password)) {
        api_error(r, 401, "not_authorised", "user '%.*s' - invalid credentials", SLICE_FMT(name));
        return;
    }
    buf_append_str(&r->out, "{\"status\":\"ok\"}");
    api_reply(r, 200);
}

// --- several at once: {"users":["a","b"]}; the first that does not exist ends it ------------------------------------------------------

static void delete_next(struct api_request *r);

static void
bulk_deleted(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    struct slice name = change->name;
    if (f.code == FAULT_NOT_FOUND)
        api_bad_value(r, "no_such_user", json_stringn((const char *)name.ptr, name.len));
    else if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        delete_next(r);
    topology_request_free(change);
}

static void
delete_next(struct api_request *r)
{
    const json_t *list = json_object_get(r->json, "users");
    const json_t *name = json_array_get(list, (size_t)r->detail++);
    if (name == NULL) {
        api_reply(r, 204);
        return;
    }
    struct topology_request args = {.change = CHANGE_USER_DELETE,
                                    .name = slice_of(json_string_value(name), json_string_length(name))};
    api_change_then(r, &args, bulk_deleted);
}

static void
post_bulk_delete(struct api_request *r)
{
    const json_t *list = json_object_get(r->json, "users");
    bool is_good = json_is_array(list);
    for (size_t i = 0; i < json_array_size(list); i++)
        is_good &= json_is_string(json_array_get(list, i));
    if (list == NULL)
        api_key_missing(r, "users");
    else if (!is_good)
        api_error(r, 400, "bad_request", "users must be a list of names");
    else
        delete_next(r);
}

// --- permissions ------------------------------------------------------------------------------------------------------------------

static bool
put_permission(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    const struct permission *p = topology_permission(api_topology(l->request), k->name, k->vhost);
    if (p == NULL)
        return false;
    api_out_object(o, NULL);
    api_out_slice(o, "user", p->user);
    api_out_slice(o, "vhost", p->vhost);
    api_out_slice(o, "configure", p->pattern[ACCESS_CONFIGURE]);
    api_out_slice(o, "write", p->pattern[ACCESS_WRITE]);
    api_out_slice(o, "read", p->pattern[ACCESS_READ]);
    api_out_end(o);
    return true;
}

static bool
put_topic_permission(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    const struct topic_permission *p =
        topology_topic_permission(api_topology(l->request), k->name, k->vhost, k->extra);
    if (p == NULL)
        return false;
    api_out_object(o, NULL);
    api_out_slice(o, "user", p->user);
    api_out_slice(o, "vhost", p->vhost);
    api_out_slice(o, "exchange", p->exchange);
    api_out_slice(o, "write", p->pattern[ACCESS_WRITE]);
    api_out_slice(o, "read", p->pattern[ACCESS_READ]);
    api_out_end(o);
    return true;
}

// By the path: /api/users/U/…, /api/vhosts/V/…, /api/permissions/V/U, or all.
static bool
is_asked_for(const struct api_request *r, struct slice user, struct slice vhost)
{
    struct slice word = api_segment(r, 1), first = api_segment(r, 2), second = api_segment(r, 3);
    if (slice_eq_str(word, "users"))
        return slice_eq(user, first);
    if (slice_eq_str(word, "vhosts"))
        return slice_eq(vhost, first);
    return api_segment_count(r) == 2 || (slice_eq(vhost, first) && slice_eq(user, second));
}

static void
collect_permissions(struct api_list *l)
{
    struct pmap_iter it;
    pmap_iter_init(&it, &api_topology(l->request)->permissions);
    for (const struct permission *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (is_asked_for(l->request, p->user, p->vhost))
            api_list_add(l, &(struct api_list_key){.vhost = p->vhost, .name = p->user});
    }
    api_list_collected(l);
}

static void
collect_topic_permissions(struct api_list *l)
{
    struct pmap_iter it;
    struct slice exchange = api_segment(l->request, 4);
    pmap_iter_init(&it, &api_topology(l->request)->topic_permissions);
    for (const struct topic_permission *p; (p = pmap_iter_next(&it)) != NULL;) {
        if (is_asked_for(l->request, p->user, p->vhost) &&
            (exchange.len == 0 || slice_eq(exchange, p->exchange)))
            api_list_add(l, &(struct api_list_key){.vhost = p->vhost, .name = p->user, .extra = p->exchange});
    }
    api_list_collected(l);
}

static const struct api_list_source permissions = {.collect = collect_permissions, .put = put_permission};
static const struct api_list_source topic_permissions = {.collect = collect_topic_permissions,
                                                         .put = put_topic_permission};

// The user or vhost that the path begins with exists; false after answering 404.
static bool
owner_exists(struct api_request *r)
{
    struct slice word = api_segment(r, 1);
    bool is_there = true;
    if (slice_eq_str(word, "users"))
        is_there = topology_user(api_topology(r), api_segment(r, 2)) != NULL;
    else if (api_segment_count(r) > 2)
        is_there = topology_vhost(api_topology(r), api_segment(r, 2)) != NULL;
    if (is_there && api_segment_count(r) > 3 && !slice_eq_str(word, "users") && !slice_eq_str(word, "vhosts"))
        is_there = topology_user(api_topology(r), api_segment(r, 3)) != NULL;
    if (!is_there)
        api_not_found(r);
    return is_there;
}

static void
get_permissions(struct api_request *r)
{
    if (owner_exists(r))
        api_list(r, &permissions);
}

static void
get_topic_permissions(struct api_request *r)
{
    if (owner_exists(r))
        api_list(r, &topic_permissions);
}

static void
get_permission(struct api_request *r)
{
    api_list_one(r, &permissions,
                 &(struct api_list_key){.vhost = api_segment(r, 2), .name = api_segment(r, 3)});
}

static void
permission_set(struct topology_request *change)
{
    struct api_request *r = change->ctx;
    struct fault f = change->fault;
    bool is_created = change->is_created;
    topology_request_free(change);
    if ((f.code == FAULT_NOT_FOUND || f.code == FAULT_NOT_ALLOWED) && !r->is_control)
        api_error(r, 400, "bad_request", "vhost_or_user_not_found");
    else if (f.code != FAULT_NONE)
        api_fault(r, &f);
    else
        api_reply(r, is_created ? 201 : 204);
}

static void
put_permission_request(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_PERMISSION_SET, .vhost = api_segment(r, 2), .user = api_segment(r, 3)};
    if (api_take_string(r, "configure", &args.configure) && api_take_string(r, "write", &args.write) &&
        api_take_string(r, "read", &args.read))
        api_change_then(r, &args, permission_set);
}

static void
delete_permission(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_PERMISSION_CLEAR, .vhost = api_segment(r, 2), .user = api_segment(r, 3)};
    if (!r->is_control && topology_permission(api_topology(r), args.user, args.vhost) == NULL)
        api_not_found(r);
    else
        api_change_then(r, &args, deleted);
}

static void
put_topic_permission_request(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_TOPIC_PERMISSION_SET, .vhost = api_segment(r, 2), .user = api_segment(r, 3)};
    if (api_take_string(r, "exchange", &args.name) && api_take_string(r, "write", &args.write) &&
        api_take_string(r, "read", &args.read))
        api_change_then(r, &args, permission_set);
}

static void
delete_topic_permission(struct api_request *r)
{
    struct topology_request args = {
        .change = CHANGE_TOPIC_PERMISSION_CLEAR, .vhost = api_segment(r, 2), .user = api_segment(r, 3)};
    if (api_segment_count(r) == 5)
        args.name = api_segment(r, 4);
    api_change_then(r, &args, deleted);
}

const struct api_route api_routes_users[] = {
    {API_GET, "/api/users", get_users, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/users/without-permissions", get_users, API_FOR_ADMINISTRATOR, 0},
    {API_POST, "/api/users/bulk-delete", post_bulk_delete, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/users/*", get_user, API_FOR_ADMINISTRATOR, 0},
    {API_PUT, "/api/users/*", put_user_request, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/users/*", delete_user, API_FOR_ADMINISTRATOR, 0},
    {API_POST | API_CONTROL, "/api/users/*/authenticate", post_authenticate, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/users/*/permissions", get_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/users/*/topic-permissions", get_topic_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/vhosts/*/permissions", get_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/vhosts/*/topic-permissions", get_topic_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/permissions", get_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/permissions/*/*", get_permission, API_FOR_ADMINISTRATOR, 0},
    {API_PUT, "/api/permissions/*/*", put_permission_request, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/permissions/*/*", delete_permission, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/topic-permissions", get_topic_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/topic-permissions/*/*", get_topic_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/topic-permissions/*/*/*", get_topic_permissions, API_FOR_ADMINISTRATOR, 0},
    {API_PUT, "/api/topic-permissions/*/*", put_topic_permission_request, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/topic-permissions/*/*", delete_topic_permission, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/topic-permissions/*/*/*", delete_topic_permission, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
