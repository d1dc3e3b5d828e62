// api_live.c: connections, channels and consumers over the HTTP API: asked of the workers that own them.
//
// A list takes the names of all first (broker_list_keys), then the objects of a batch by number from their workers. One object is
// found by its name among those keys.
#include <stdio.h>

#include "src/base/mem.h"
#include "src/management/api_list.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"

// --- which --------------------------------------------------------------------------------------------------------------------------

static enum broker_listing
listing_of(const struct api_request *r)
{
    struct slice last = api_segment(r, api_segment_count(r) - 1), word = api_segment(r, 1);
    if (slice_eq_str(word, "vhosts") ||
        (slice_eq_str(word, "connections") && api_segment_count(r) == 4 && slice_eq_str(last, "channels")))
        word = last;
    return slice_eq_str(word, "consumers")  ? LIST_CONSUMERS
           : slice_eq_str(word, "channels") ? LIST_CHANNELS
                                            : LIST_CONNECTIONS;
}

// Who only has the tag management sees what is its own.
static bool
may_see(const struct api_request *r, struct slice user)
{
    return api_is_monitor(r) || slice_eq(user, api_user(r));
}

// Does the path ask for this one?
static bool
is_asked_for(const struct api_request *r, const struct broker_key *k)
{
    struct slice word = api_segment(r, 1), name = api_segment(r, 2);
    if (r->route->vhost_segment > 0)
        return slice_eq(k->vhost, api_segment(r, r->route->vhost_segment));
    if (!slice_eq_str(word, "connections") || api_segment_count(r) != 4)
        return true;
    if (slice_eq_str(name, "username"))
        return slice_eq(k->user, api_segment(r, 3));
    // …/connections/NAME/channels: a channel's name begins with its connection's.
    return slice_has_prefix(k->name, name) && k->name.len > name.len + 1 && k->name.ptr[name.len] == ' ' &&
           k->name.ptr[name.len + 1] == '(';
}

// --- the sources --------------------------------------------------------------------------------------------------------------------

static void
keys_on_worker(struct worker *w, const void *order, struct buf *part)
{
    struct buf keys = BUF_INIT;
    broker_list_keys(w, *(const enum broker_listing *)order, &keys);
    buf_append_u32be(part, (uint32_t)w->index);
    buf_append_u32be(part, (uint32_t)keys.len);
    buf_append_slice(part, buf_slice(&keys));
    part->failed |= keys.failed || keys.len > UINT32_MAX;
    buf_fini(&keys);
}

static uint32_t
take_u32(struct slice *s)
{
    uint32_t v = (uint32_t)s->ptr[0] << 24 | (uint32_t)s->ptr[1] << 16 | (uint32_t)s->ptr[2] << 8 | s->ptr[3];
    *s = slice_from(*s, 4);
    return v;
}

static void
keys_gathered(struct api_request *r)
{
    struct api_list *l = r->state;
    struct slice left = buf_slice(&r->gathering);
    while (!r->has_failed && left.len >= 8) {
        struct broker_key k;
        uint32_t worker = take_u32(&left), len = take_u32(&left);
        struct slice part = slice_head(left, len);
        left = slice_from(left, len);
        while (broker_key_next(&part, &k)) {
            if (may_see(r, k.user) && is_asked_for(r, &k))
                api_list_add(l, &(struct api_list_key){.vhost = k.vhost,
                                                       .name = k.name,
                                                       .extra = k.user,
                                                       .id = k.client_id,
                                                       .number = k.channel,
                                                       .worker = worker});
        }
    }
    buf_fini(&r->gathering);
    api_list_collected(l);
}

static void
collect(struct api_list *l)
{
    enum broker_listing what = listing_of(l->request);
    l->request->gathered = keys_gathered;
    api_ask_workers(l->request, keys_on_worker, &what, sizeof what);
}

struct batch_order {
    enum broker_listing what;
    uint32_t count;
    const struct api_list_key *keys; // the list's: it waits
};

// "[number, object …]," for each of the batch that is this worker's.
static void
batch_on_worker(struct worker *w, const void *order, struct buf *part)
{
    const struct batch_order *o = order;
    for (uint32_t i = 0; i < o->count; i++) {
        const struct api_list_key *k = &o->keys[i];
        if ((int)k->worker != w->index)
            continue;
        buf_printf(part, "[%u,", i);
        broker_list_only(w, o->what, &(struct broker_listed){.client_id = k->id, .channel = k->number}, part);
        json_drop_comma(part);
        buf_append_str(part, "],");
    }
}

static void
batch_gathered(struct api_request *r)
{
    struct api_list *l = r->state;
    json_t *parsed = NULL;
    json_drop_comma(&r->gathering);
    buf_append_u8(&r->gathering, ']');
    if (!r->has_failed && !r->gathering.failed)
        parsed = json_loadb((const char *)r->gathering.ptr, r->gathering.len, JSON_ALLOW_NUL, NULL);
    r->has_failed |= parsed == NULL;
    buf_reset(&r->gathering);
    for (size_t i = 0; i < json_array_size(parsed); i++) {
        json_t *item = json_array_get(parsed, i);
        json_int_t index = json_integer_value(json_array_get(item, 0));
        if (json_array_remove(item, 0) == 0 && index >= 0 && (size_t)index < l->batch_count)
            l->records[index] = json_incref(item);
    }
    json_decref(parsed);
    api_list_fetched(l);
}

static void
fetch(struct api_list *l, size_t count)
{
    struct batch_order order = {.what = listing_of(l->request), .keys = l->batch, .count = (uint32_t)count};
    l->request->gathered = batch_gathered;
    buf_append_u8(&l->request->gathering, '[');
    api_ask_workers(l->request, batch_on_worker, &order, sizeof order);
}

static void
drop(struct api_list *l)
{
    for (size_t i = 0; i < l->batch_count; i++)
        json_decref(l->records[i]);
}

static void
add_node(struct api_request *r, json_t *object)
{
    json_object_set_new(object, "node", json_string(http_server_node(r->server)->node_name));
}

static bool
put(struct api_list *l, size_t i, struct api_out *o)
{
    json_t *object = json_array_get(l->records[i], 0);
    if (object == NULL)
        return false;
    add_node(l->request, object);
    api_out_json(o, NULL, object);
    return true;
}

static const struct api_list_source live = {
    .is_paged = true, .collect = collect, .fetch = fetch, .put = put, .drop = drop};
// RabbitMQ pages the lists of a vhost's or a connection's not.
static const struct api_list_source live_of = {.collect = collect, .fetch = fetch, .put = put, .drop = drop};

static void
get_all(struct api_request *r)
{
    if (api_take_ranges(r))
        api_list(r, &live);
}

static void
get_all_of(struct api_request *r)
{
    if (api_take_ranges(r))
        api_list(r, &live_of);
}

// GET /api/connections/username/USER: only what they are called.
static bool
put_short(struct api_list *l, size_t i, struct api_out *o)
{
    const struct api_list_key *k = &l->batch[i];
    api_out_object(o, NULL);
    api_out_slice(o, "name", k->name);
    api_out_slice(o, "vhost", k->vhost);
    api_out_slice(o, "user", k->extra);
    api_out_str(o, "node", http_server_node(l->request->server)->node_name);
    api_out_end(o);
    return true;
}

static const struct api_list_source of_user = {.is_paged = true, .collect = collect, .put = put_short};

static void
get_of_user(struct api_request *r)
{
    if (!api_is_monitor(r) && !slice_eq(api_segment(r, 3), api_user(r)))
        api_error(r, 401, "not_authorised", "Not monitor user");
    else
        api_list(r, &of_user);
}

// --- one connection, one channel ------------------------------------------------------------------------------------------------------

static void mark_all(struct api_request *r, json_t *consumers, void (*marked)(struct api_request *r));

static void
put_one(struct api_request *r)
{
    api_reply_json(r, 200, json_array_get(r->parsed, 0));
}

// A channel is shown with its consumers, which come behind it in r->parsed.
static void
one_listed(struct api_request *r)
{
    json_t *object = json_array_get(r->parsed, 0);
    if (object == NULL) {
        api_not_found(r);
        return;
    }
    add_node(r, object);
    if (listing_of(r) == LIST_CONNECTIONS) {
        put_one(r);
        return;
    }
    json_t *consumers = json_array();
    while (json_array_size(r->parsed) > 1) {
        json_array_append(consumers, json_array_get(r->parsed, 1));
        json_array_remove(r->parsed, 1);
    }
    json_object_set_new(object, "consumer_details", consumers);
    json_object_set_new(object, "deliveries", json_array());
    json_object_set_new(object, "publishes", json_array());
    mark_all(r, consumers, put_one);
}

static void
one_on_worker(struct worker *w, const void *order, struct buf *part)
{
    const struct batch_order *o = order;
    const struct broker_listed *only = (const void *)o->keys;
    broker_list_only(w, o->what, only, part);
    if (o->what == LIST_CHANNELS)
        broker_list_only(w, LIST_CONSUMERS, only, part);
}

static void
one_gathered(struct api_request *r)
{
    json_drop_comma(&r->gathering);
    buf_append_u8(&r->gathering, ']');
    if (!r->has_failed && !r->gathering.failed)
        r->parsed = json_loadb((const char *)r->gathering.ptr, r->gathering.len, JSON_ALLOW_NUL, NULL);
    buf_reset(&r->gathering);
    if (r->parsed == NULL)
        api_no_memory(r);
    else
        one_listed(r);
}

static struct json_range
range_of(const struct api_request *r, enum api_range_kind kind)
{
    return (struct json_range){.age_s = r->ranges[kind].age_s, .step_s = r->ranges[kind].step_s};
}

static void
one_found(struct api_request *r)
{
    struct slice left = buf_slice(&r->gathering);
    struct broker_key k = {0};
    bool is_found = false;
    while (!is_found && !r->has_failed && left.len >= 8) {
        (void)take_u32(&left);
        uint32_t len = take_u32(&left);
        struct slice part = slice_head(left, len);
        left = slice_from(left, len);
        while (!is_found && broker_key_next(&part, &k))
            is_found = slice_eq(k.name, api_segment(r, 2));
    }
    bool is_allowed = is_found && may_see(r, k.user);
    r->listed_only = (struct broker_listed){.client_id = k.client_id, .channel = k.channel};
    r->listed_only.messages = range_of(r, API_RANGE_MESSAGES);
    r->listed_only.data = range_of(r, API_RANGE_DATA);
    buf_reset(&r->gathering);
    if (r->has_failed) {
        api_no_memory(r);
    } else if (!is_found) {
        api_not_found(r);
    } else if (!is_allowed) {
        api_error(r, 401, "not_authorised", "User not authorised to access object");
    } else if (r->method == API_DELETE) {
        r->listed(r);
    } else {
        struct batch_order order = {.what = listing_of(r), .keys = (const void *)&r->listed_only};
        r->gathered = one_gathered;
        buf_append_u8(&r->gathering, '[');
        api_ask_workers(r, one_on_worker, &order, sizeof order);
    }
}

// Finds the object named by segment 2.
static void
find_one(struct api_request *r)
{
    enum broker_listing what = listing_of(r);
    r->gathered = one_found;
    api_ask_workers(r, keys_on_worker, &what, sizeof what);
}

static void
get_one(struct api_request *r)
{
    if (api_take_ranges(r))
        find_one(r);
}

// --- consumers ----------------------------------------------------------------------------------------------------------------------

// The sessions know their consumers, the queues know which of them are active: each queue among them is asked for its own
// (QUEUE_REQUEST_STATS). A queue that has gone meanwhile leaves its consumers as they are: active.

struct marking {
    struct api_request *request;
    bool is_single;
    json_t *consumers; // of that queue; borrowed from what is being listed
};

static void
marking_done(struct queue_request *q)
{
    struct marking *m = q->ctx;
    struct api_request *r = m->request;
    for (size_t i = 0; i < json_array_size(m->consumers); i++)
        api_mark_consumer(r, json_array_get(m->consumers, i), q->outcome == QUEUE_OK ? q : NULL,
                          m->is_single);
    json_decref(m->consumers);
    mem_free(m);
    queue_request_free(q);
    api_gather_done(r);
}

static const struct queue_def *
queue_of(const struct api_request *r, const json_t *consumer)
{
    const json_t *queue = json_object_get(consumer, "queue");
    const json_t *n = json_object_get(queue, "name"), *v = json_object_get(queue, "vhost");
    const struct vhost *vhost =
        topology_vhost(api_topology(r), slice_of(json_string_value(v), json_string_length(v)));
    return vhost != NULL ? vhost_queue(vhost, slice_of(json_string_value(n), json_string_length(n))) : NULL;
}

// Asks one queue about the consumers that are its own.
static void
mark_queue(struct api_request *r, json_t *own)
{
    const struct queue_def *def = queue_of(r, json_array_get(own, 0));
    struct marking *m = def != NULL ? mem_calloc(1, sizeof *m) : NULL;
    struct queue_request *q = m != NULL ? queue_request_new(QUEUE_REQUEST_STATS, def->handle) : NULL;
    if (q == NULL) {
        mem_free(m);
        for (size_t i = 0; i < json_array_size(own); i++)
            api_mark_consumer(r, json_array_get(own, i), NULL, false);
        return;
    }
    *m = (struct marking){
        .request = r, .is_single = (def->flags & QUEUE_SINGLE_ACTIVE) != 0, .consumers = json_incref(own)};
    q->ctx = m;
    q->done = marking_done;
    api_gather_add(r);
    queue_request_send(q);
}

static void
mark_all(struct api_request *r, json_t *consumers, void (*marked)(struct api_request *r))
{
    json_t *groups = json_object(), *group; // queue's handle → its consumers
    const char *name;
    char key[24];
    for (size_t i = 0; i < json_array_size(consumers); i++) {
        json_t *consumer = json_array_get(consumers, i);
        const struct queue_def *def = queue_of(r, consumer);
        snprintf(key, sizeof key, "%llx", def != NULL ? (unsigned long long)def->handle : 0);
        group = json_object_get(groups, key);
        if (group == NULL) {
            group = json_array();
            json_object_set_new(groups, key, group);
        }
        json_array_append(group, consumer);
    }
    r->gathered = marked;
    api_gather_add(r); // so that it is not complete before all are asked
    json_object_foreach(groups, name, group)
    {
        mark_queue(r, group);
    }
    json_decref(groups);
    api_gather_done(r);
}

// A batch of channels came with their consumers.
static void
consumers_marked(struct api_request *r)
{
    api_list_fetched(r->state);
}

static void
consumers_gathered(struct api_request *r)
{
    struct api_list *l = r->state;
    json_t *all = json_array();
    json_drop_comma(&r->gathering);
    buf_append_u8(&r->gathering, ']');
    json_t *parsed = r->has_failed || r->gathering.failed
                         ? NULL
                         : json_loadb((const char *)r->gathering.ptr, r->gathering.len, JSON_ALLOW_NUL, NULL);
    r->has_failed |= parsed == NULL;
    buf_reset(&r->gathering);
    for (size_t i = 0; i < json_array_size(parsed); i++) {
        json_t *item = json_array_get(parsed, i);
        json_int_t index = json_integer_value(json_array_get(item, 0));
        if (json_array_remove(item, 0) != 0 || index < 0 || (size_t)index >= l->batch_count)
            continue;
        l->records[index] = json_incref(item);
        json_array_extend(all, item);
    }
    json_decref(parsed);
    mark_all(r, all, consumers_marked);
    json_decref(all);
}

static void
fetch_consumers(struct api_list *l, size_t count)
{
    struct batch_order order = {.what = LIST_CONSUMERS, .keys = l->batch, .count = (uint32_t)count};
    l->request->gathered = consumers_gathered;
    buf_append_u8(&l->request->gathering, '[');
    api_ask_workers(l->request, batch_on_worker, &order, sizeof order);
}

// One key is a channel, which has several: they are put one after the other.
static bool
put_consumers(struct api_list *l, size_t i, struct api_out *o)
{
    const json_t *consumers = l->records[i];
    for (size_t k = 0; k < json_array_size(consumers); k++) {
        if (k > 0 && o->out != NULL)
            buf_append_u8(o->out, ',');
        api_out_json(o, NULL, json_array_get(consumers, k));
    }
    return json_array_size(consumers) > 0;
}

static const struct api_list_source consumers = {
    .collect = collect, .fetch = fetch_consumers, .put = put_consumers, .drop = drop};

static void
get_consumers(struct api_request *r)
{
    api_list(r, &consumers);
}

// --- closing connections ------------------------------------------------------------------------------------------------------

enum { CLOSE_NAME_MAX = 1024 };

struct close_order {
    struct api_request *request;
    struct worker *back;
    bool is_all; // by vhost, user and number; otherwise by name
    uint64_t id; // 0: any
    unsigned vhost_len, user_len, name_len;
    char vhost[256], user[256], name[CLOSE_NAME_MAX];
    struct fault fault;
};

struct close_mail {
    struct close_order *order; // one for each worker
    bool is_found;
};

static void
close_answered(struct worker *w, void *payload)
{
    struct close_mail *mail = payload;
    struct api_request *r = mail->order->request;
    r->detail |= mail->is_found;
    mem_free(mail->order);
    api_gather_done(r);
}

static void
close_asked(struct worker *w, void *payload)
{
    struct close_mail mail = *(struct close_mail *)payload;
    struct close_order *o = mail.order;
    if (o->is_all) {
        broker_close_clients(w, slice_of(o->vhost, o->vhost_len), slice_of(o->user, o->user_len), o->id,
                             &o->fault);
        mail.is_found = true;
    } else {
        mail.is_found = broker_close_named(w, slice_of(o->name, o->name_len), &o->fault);
    }
    worker_post(o->back, close_answered, &mail, sizeof mail, 0);
}

static void
close_complete(struct api_request *r)
{
    if (r->detail != 0)
        api_reply(r, 204);
    else
        api_not_found(r);
}

static void
send_order(struct api_request *r, const struct close_order *template)
{
    struct worker *w = http_server_worker(r->server);
    r->gathered = close_complete;
    api_gather_add(r);
    for (int i = 0; i < w->crew->n_workers; i++) {
        struct close_mail mail = {.order = mem_alloc(sizeof(*template))};
        if (mail.order == NULL)
            continue;
        *mail.order = *template;
        mail.order->request = r;
        mail.order->back = w;
        api_gather_add(r);
        worker_post(w->crew->members[i], close_asked, &mail, sizeof mail, 0);
    }
    api_gather_done(r);
}

static void
order_reason(struct api_request *r, struct close_order *o)
{
    struct slice reason = SLICE_LIT("Closed via management API");
    const char *header = http_header(r, "X-Reason");
    if (header != NULL)
        reason = slice_str(header);
    api_string(r, "reason", &reason);
    fault_set(&o->fault, FAULT_CONNECTION_FORCED, "%.*s", SLICE_FMT(reason));
}

static unsigned
copy_name(char *to, size_t cap, struct slice from)
{
    size_t len = LV_MIN(from.len, cap);
    if (len > 0)
        memcpy(to, from.ptr, len);
    return (unsigned)len;
}

static void
delete_found(struct api_request *r)
{
    struct close_order *o = mem_xcalloc(1, sizeof(*o));
    o->name_len = copy_name(o->name, sizeof o->name, api_segment(r, 2));
    order_reason(r, o);
    send_order(r, o);
    mem_free(o);
}

// DELETE /api/connections/NAME {"reason":…} or X-Reason
static void
delete_connection(struct api_request *r)
{
    r->listed = delete_found;
    find_one(r);
}

// DELETE /api/connections/username/USER
static void
delete_of_user(struct api_request *r)
{
    struct close_order *o = mem_xcalloc(1, sizeof(*o));
    o->is_all = true;
    o->user_len = copy_name(o->user, sizeof o->user, api_segment(r, 3));
    order_reason(r, o);
    send_order(r, o);
    mem_free(o);
}

// DELETE /api/connections {"reason":…, "vhost":…, "user":…, "id":…}: ours, for leveretctl. 204 also when there is none.
static void
delete_connections(struct api_request *r)
{
    struct slice vhost = SLICE_EMPTY, user = SLICE_EMPTY;
    int64_t id = 0;
    // A filter that cannot be read must not be taken for none: that would close everything.
    if ((!api_string(r, "vhost", &vhost) && json_object_get(r->json, "vhost") != NULL) ||
        (!api_string(r, "user", &user) && json_object_get(r->json, "user") != NULL) ||
        (json_object_get(r->json, "id") != NULL && (!api_int(r, "id", &id) || id <= 0))) {
        api_error(r, 400, "bad_request", "vhost and user must be strings, id a positive integer");
        return;
    }
    struct close_order *o = mem_xcalloc(1, sizeof(*o));
    o->is_all = true;
    o->id = (uint64_t)id;
    o->vhost_len = copy_name(o->vhost, sizeof o->vhost, vhost);
    o->user_len = copy_name(o->user, sizeof o->user, user);
    order_reason(r, o);
    send_order(r, o);
    mem_free(o);
}

const struct api_route api_routes_live[] = {
    {API_GET, "/api/connections", get_all, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/connections/*", get_one, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/connections/username/*", get_of_user, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/connections/*/channels", get_all_of, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/vhosts/*/connections", get_all_of, API_FOR_MANAGEMENT, 2},
    {API_DELETE | API_CONTROL, "/api/connections", delete_connections, API_FOR_ADMINISTRATOR, 0},
    {API_DELETE, "/api/connections/*", delete_connection, API_FOR_MANAGEMENT, 0},
    {API_DELETE, "/api/connections/username/*", delete_of_user, API_FOR_ADMINISTRATOR, 0},
    {API_GET, "/api/channels", get_all, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/channels/*", get_one, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/vhosts/*/channels", get_all_of, API_FOR_MANAGEMENT, 2},
    {API_GET, "/api/consumers", get_consumers, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/consumers/*", get_consumers, API_FOR_MANAGEMENT, 2},
    {0, NULL, NULL, 0, 0},
};
