// api_live.c: connections, channels and consumers over the HTTP API: gathered from the workers that own them.
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

// --- lists --------------------------------------------------------------------------------------------------------------------

static void
get_connections(struct api_request *r)
{
    api_list_workers(r, LIST_CONNECTIONS);
}

static void
get_channels(struct api_request *r)
{
    api_list_workers(r, LIST_CHANNELS);
}

static bool
is_text(const json_t *object, const char *key, struct slice wanted)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) &&
           slice_eq(slice_of(json_string_value(value), json_string_length(value)), wanted);
}

// Keeps the objects of one vhost; its name is a member of the object, or of the object's member `inside`.
static void
keep_vhost(struct api_request *r, const char *inside, struct slice vhost)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(r->parsed); i++) {
        json_t *object = json_array_get(r->parsed, i);
        if (is_text(inside != NULL ? json_object_get(object, inside) : object, "vhost", vhost))
            json_array_append(kept, object);
    }
    json_decref(r->parsed);
    r->parsed = kept;
}

static void
vhost_listed(struct api_request *r)
{
    keep_vhost(r, NULL, r->segments[2]);
    api_reply_json(r, 200, r->parsed);
}

// GET /api/vhosts/VHOST/connections and …/channels
static void
get_vhost_connections(struct api_request *r)
{
    if (api_vhost(r, 2) != NULL)
        api_gather_workers(r, LIST_CONNECTIONS, vhost_listed);
}

static void
get_vhost_channels(struct api_request *r)
{
    if (api_vhost(r, 2) != NULL)
        api_gather_workers(r, LIST_CHANNELS, vhost_listed);
}

// The object whose name is segment 2.
static void
named_listed(struct api_request *r)
{
    for (size_t i = 0; i < json_array_size(r->parsed); i++) {
        if (is_text(json_array_get(r->parsed, i), "name", r->segments[2])) {
            api_reply_json(r, 200, json_array_get(r->parsed, i));
            return;
        }
    }
    api_not_found(r);
}

static void
get_connection(struct api_request *r)
{
    api_gather_workers(r, LIST_CONNECTIONS, named_listed);
}

static void
get_channel(struct api_request *r)
{
    api_gather_workers(r, LIST_CHANNELS, named_listed);
}

// --- consumers ----------------------------------------------------------------------------------------------------------------

// The sessions know their consumers, the queues know which of them are active. Happy path: the workers list the consumers → each
// queue among them is asked for its own (QUEUE_REQUEST_STATS) → the two are joined by session and consumer number, which are taken
// out of the answer. A queue that has gone meanwhile leaves its consumers as they are: active.

struct asked_consumers {
    struct api_request *request;
    bool is_single_active;
};

// "session:consumer" → the consumer's object, borrowed from r->parsed.
static json_t *
index_consumers(const json_t *consumers)
{
    char key[48];
    json_t *index = json_object();
    for (size_t i = 0; i < json_array_size(consumers); i++) {
        json_t *consumer = json_array_get(consumers, i);
        snprintf(key, sizeof key, "%llx:%llx",
                 (unsigned long long)json_integer_value(json_object_get(consumer, "session_handle")),
                 (unsigned long long)json_integer_value(json_object_get(consumer, "consumer_id")));
        json_object_del(consumer, "session_handle");
        json_object_del(consumer, "consumer_id");
        json_object_set_new(consumer, "active", json_true());
        json_object_set_new(consumer, "activity_status", json_string("up"));
        json_object_set(index, key, consumer);
    }
    return index;
}

static void
mark_consumers(struct api_request *r, const struct queue_request *q, bool is_single)
{
    char key[48];
    const json_t *index = json_array_get(r->parsed, 1);
    for (uint64_t i = 0; i < q->stats.consumers && q->consumers != NULL; i++) {
        const struct consumer_info *info = &q->consumers[i];
        snprintf(key, sizeof key, "%llx:%llx", (unsigned long long)info->session,
                 (unsigned long long)info->consumer_id);
        json_t *consumer = json_object_get(index, key);
        if (consumer == NULL)
            continue;
        json_object_set_new(consumer, "active", json_boolean(info->is_active));
        json_object_set_new(consumer, "activity_status",
                            json_string(is_single ? (info->is_active ? "single_active" : "waiting") : "up"));
    }
}

static void
consumers_complete(struct api_request *r)
{
    api_reply_json(r, 200, json_array_get(r->parsed, 0));
}

static void
consumers_told(struct queue_request *q)
{
    struct asked_consumers *asked = q->ctx;
    struct api_request *r = asked->request;
    if (q->outcome == QUEUE_OK)
        mark_consumers(r, q, asked->is_single_active);
    mem_free(asked);
    queue_request_free(q);
    api_gather_done(r);
}

static void
ask_queue(struct api_request *r, const struct queue_def *def)
{
    struct asked_consumers *asked = mem_alloc(sizeof *asked);
    struct queue_request *q = queue_request_new(QUEUE_REQUEST_STATS, def->handle);
    if (asked == NULL || q == NULL) {
        mem_free(asked);
        if (q != NULL)
            queue_request_free(q);
        return;
    }
    *asked =
        (struct asked_consumers){.request = r, .is_single_active = (def->flags & QUEUE_SINGLE_ACTIVE) != 0};
    q->ctx = asked;
    q->done = consumers_told;
    api_gather_add(r);
    queue_request_send(q);
}

static int
compare_handles(const void *a, const void *b)
{
    const struct queue_def *x = *(const struct queue_def *const *)a, *y = *(const struct queue_def *const *)b;
    return x->handle < y->handle ? -1 : x->handle > y->handle;
}

// The queues that have consumers, each asked once.
static void
ask_queues(struct api_request *r, const json_t *consumers)
{
    const struct topology *t = topology_of(http_server_worker(r->server));
    size_t count = 0;
    const struct queue_def **defs = mem_alloc((json_array_size(consumers) + 1) * sizeof *defs);
    for (size_t i = 0; i < json_array_size(consumers) && defs != NULL; i++) {
        const json_t *queue = json_object_get(json_array_get(consumers, i), "queue");
        const json_t *name = json_object_get(queue, "name"), *vhost = json_object_get(queue, "vhost");
        const struct vhost *v =
            topology_vhost(t, slice_of(json_string_value(vhost), json_string_length(vhost)));
        const struct queue_def *def =
            v != NULL ? vhost_queue(v, slice_of(json_string_value(name), json_string_length(name))) : NULL;
        if (def != NULL)
            defs[count++] = def;
    }
    if (count > 0)
        qsort(defs, count, sizeof *defs, compare_handles);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || defs[i]->handle != defs[i - 1]->handle)
            ask_queue(r, defs[i]);
    }
    mem_free(defs);
}

static void
consumers_listed(struct api_request *r)
{
    if (r->segment_count == 3) // /api/consumers/VHOST
        keep_vhost(r, "queue", r->segments[2]);
    json_t *index = index_consumers(r->parsed);
    r->parsed = json_pack("[o, o]", r->parsed, index);
    r->gathered = consumers_complete;
    api_gather_add(r); // so that it is not complete before all are asked
    ask_queues(r, json_array_get(r->parsed, 0));
    api_gather_done(r);
}

static void
get_consumers(struct api_request *r)
{
    if (r->segment_count == 2 || api_vhost(r, 2) != NULL)
        api_gather_workers(r, LIST_CONSUMERS, consumers_listed);
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

// DELETE /api/connections/NAME {"reason":…}
static void
delete_connection(struct api_request *r)
{
    struct close_order *o = mem_xcalloc(1, sizeof(*o));
    o->name_len = copy_name(o->name, sizeof o->name, r->segments[2]);
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
    {API_GET, "/api/connections", get_connections},
    {API_GET, "/api/connections/*", get_connection},
    {API_GET, "/api/vhosts/*/connections", get_vhost_connections},
    {API_DELETE | API_CONTROL, "/api/connections", delete_connections},
    {API_DELETE, "/api/connections/*", delete_connection},
    {API_GET, "/api/channels", get_channels},
    {API_GET, "/api/channels/*", get_channel},
    {API_GET, "/api/vhosts/*/channels", get_vhost_channels},
    {API_GET, "/api/consumers", get_consumers},
    {API_GET, "/api/consumers/*", get_consumers},
    {0, NULL, NULL},
};
