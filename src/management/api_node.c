// api_node.c: the node itself: what it is, whether it is well, and control of the process.
#include <unistd.h>

#include "src/base/log.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

// What GET /api/overview adds up over the topology.
static void
put_object_totals(struct api_request *r, struct buf *out)
{
    const struct topology *t = topology_of(http_server_worker(r->server));
    uint64_t queues = 0, exchanges = 0;
    struct pmap_iter it;
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        queues += v->queues.count;
        exchanges += v->exchanges.count;
    }
    buf_append_str(out, "\"object_totals\":{");
    json_put_member_int(out, "queues", (int64_t)queues);
    json_put_member_int(out, "exchanges", (int64_t)exchanges);
    json_put_member_int(out, "vhosts", (int64_t)t->vhosts.count);
    json_put_member_int(out, "users", (int64_t)t->users.count);
    json_drop_comma(out);
    buf_append_str(out, "},");
}

static void
get_overview(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct worker *w = http_server_worker(r->server);
    buf_append_u8(&r->out, '{');
    json_put_member_string(&r->out, "node", slice_str(n->node_name));
    json_put_member_string(&r->out, "cluster_name", slice_str(n->cluster_name));
    json_put_member_string(&r->out, "rabbitmq_version", slice_str(n->product_version));
    json_put_member_string(&r->out, "management_version", slice_str(n->product_version));
    json_put_member_string(&r->out, "leveret_version", slice_str(LEVERET_VERSION));
    json_put_member_string(&r->out, "data_dir", slice_str(n->data_dir));
    json_put_member_int(&r->out, "os_pid", (int64_t)getpid());
    json_put_member_int(&r->out, "workers", w->crew->n_workers);
    json_put_member_int(&r->out, "topology_version", (int64_t)topology_of(w)->version);
    put_object_totals(r, &r->out);
    buf_printf(&r->out, "\"listeners\":%s}", n->listeners != NULL ? n->listeners : "[]");
    api_reply(r, 200);
}

static void
get_cluster_name(struct api_request *r)
{
    buf_append_u8(&r->out, '{');
    json_put_member_string(&r->out, "name", slice_str(http_server_node(r->server)->cluster_name));
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    api_reply(r, 200);
}

static void
get_environment(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    buf_append_u8(&r->out, '{');
    if (n->environment != NULL)
        n->environment(n->ctx, &r->out);
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    api_reply(r, 200);
}

static void
post_stop(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    api_reply(r, 202);
    if (n->stop != NULL)
        n->stop(n->ctx);
}

static void
post_rotate_logs(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    if (n->rotate_logs != NULL)
        n->rotate_logs(n->ctx);
    api_reply(r, 204);
}

const struct api_route api_routes_node[] = {
    {API_GET, "/api/overview", get_overview},
    {API_GET, "/api/cluster-name", get_cluster_name},
    {API_GET, "/api/environment", get_environment},
    {API_POST, "/api/control/stop", post_stop},
    {API_POST, "/api/control/rotate-logs", post_rotate_logs},
    {0, NULL, NULL},
};
