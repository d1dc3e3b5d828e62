// api_live.c: connections, channels and consumers over the HTTP API: gathered from the workers that own them.
#include "src/base/mem.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

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

static void
get_consumers(struct api_request *r)
{
    api_list_workers(r, LIST_CONSUMERS);
}

// --- closing connections ------------------------------------------------------------------------------------------------------

enum { CLOSE_NAME_MAX = 1024 };

struct close_order {
    struct api_request *request;
    struct worker *back;
    bool is_all;             // by vhost and user; otherwise by name
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
        broker_close_clients(w, slice_of(o->vhost, o->vhost_len), slice_of(o->user, o->user_len), 0, &o->fault);
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

// DELETE /api/connections {"reason":…, "vhost":…, "user":…}: ours, for close_all_connections.
static void
delete_connections(struct api_request *r)
{
    struct close_order *o = mem_xcalloc(1, sizeof(*o));
    struct slice vhost = SLICE_EMPTY, user = SLICE_EMPTY;
    api_string(r, "vhost", &vhost);
    api_string(r, "user", &user);
    o->is_all = true;
    o->vhost_len = copy_name(o->vhost, sizeof o->vhost, vhost);
    o->user_len = copy_name(o->user, sizeof o->user, user);
    order_reason(r, o);
    send_order(r, o);
    mem_free(o);
}

const struct api_route api_routes_live[] = {
    {API_GET, "/api/connections", get_connections},
    {API_DELETE, "/api/connections", delete_connections},
    {API_DELETE, "/api/connections/*", delete_connection},
    {API_GET, "/api/channels", get_channels},
    {API_GET, "/api/consumers", get_consumers},
    {0, NULL, NULL},
};
