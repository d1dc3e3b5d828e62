// api_node.c: the node itself: what it is, what it uses, and control of the process.
#include <openssl/crypto.h>
#include <stdio.h>
#include <unistd.h>

#include "amqp/listener.h"
#include "src/base/clock.h"
#include "src/management/api.h"
#include "src/management/api_stats.h"
#include "src/management/http_server.h"
#include "src/management/node_use.h"

static struct api_resources
resources_of(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = {.is_running = true};
    if (n->resources != NULL)
        n->resources(n->ctx, &resources);
    return resources;
}

// --- overview -----------------------------------------------------------------------------------------------------------------

static void
put_version(struct api_request *r, struct api_out *o)
{
    const struct api_node *n = http_server_node(r->server);
    api_out_str(o, "product_name", n->product_name);
    api_out_str(o, "product_version", n->product_version);
    api_out_str(o, "rabbitmq_version", n->product_version);
    api_out_str(o, "management_version", n->product_version);
    api_out_str(o, "leveret_version", LEVERET_VERSION);
}

static void
put_named(struct api_out *o, const char *name, const char *description)
{
    api_out_object(o, NULL);
    api_out_str(o, "name", name);
    api_out_str(o, "description", description);
    api_out_bool(o, "enabled", true);
    api_out_end(o);
}

static void
put_exchange_types(struct api_out *o)
{
    static const char *const types[] = {"direct", "fanout", "headers", "topic"};
    char description[80];
    api_out_array(o, "exchange_types");
    for (size_t i = 0; i < LV_ARRAY_LEN(types); i++) {
        snprintf(description, sizeof description, "AMQP %s exchange, as per the AMQP specification",
                 types[i]);
        put_named(o, types[i], description);
    }
    api_out_end(o);
}

static void
put_policies_of_samples(struct api_out *o)
{
    static const struct {
        const char *name;
        int ages[5];
    } rows[] = {{"global", {600, 3600, 28800, 86400, 0}}, {"basic", {600, 3600, 0}}, {"detailed", {600, 0}}};
    api_out_object(o, "sample_retention_policies");
    for (size_t i = 0; i < LV_ARRAY_LEN(rows); i++) {
        api_out_array(o, rows[i].name);
        for (const int *age = rows[i].ages; *age != 0; age++)
            api_out_int(o, NULL, *age);
        api_out_end(o);
    }
    api_out_end(o);
}

static void
put_text(struct api_out *o, const char *key, const char *text)
{
    json_t *value = text != NULL ? json_loads(text, 0, NULL) : NULL;
    if (value == NULL)
        value = json_array();
    api_out_json(o, key, value);
    json_decref(value);
}

// Of the vhosts that who asks may see.
static struct api_object_counts
count_objects(struct api_request *r)
{
    const struct topology *t = api_topology(r);
    struct api_object_counts n = {.users = t->users.count};
    struct pmap_iter it;
    pmap_iter_init(&it, &t->vhosts);
    for (const struct vhost *v; (v = pmap_iter_next(&it)) != NULL;) {
        if (!api_is_monitor(r) && !api_may_see_vhost(r, v->name))
            continue;
        n.queues += v->queues.count;
        n.exchanges += v->exchanges.count;
        n.vhosts++;
    }
    return n;
}

static void
put_overview(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    const struct http_config *config = http_server_config(r->server);
    struct worker *w = http_server_worker(r->server);
    struct api_object_counts counts = count_objects(r);
    struct api_answer a;
    struct api_out *o = &a.out;
    if (!api_answer_begin(r, &a))
        return;
    api_out_object(o, NULL);
    put_version(r, o);
    api_out_str(o, "rates_mode", config->has_rates ? "basic" : "none");
    put_policies_of_samples(o);
    put_exchange_types(o);
    api_put_cluster_name(r, o, "cluster_name");
    api_out_str(o, "node", n->node_name);
    api_out_bool(o, "disable_stats", config->is_without_stats);
    api_out_bool(o, "enable_queue_totals", config->has_queue_totals);
    api_put_node_totals(r, o, &counts);
    api_out_object(o, "churn_rates");
    api_put_churn(r, o);
    api_out_end(o);
    api_out_int(o, "statistics_db_event_queue", 0);
    api_out_bool(o, "running", resources_of(r).is_running);
    api_out_int(o, "start_time", http_server_started_ms(r->server) / 1000);
    if (api_is_monitor(r)) {
        api_out_str(o, "data_dir", n->data_dir);
        api_out_int(o, "os_pid", (int64_t)getpid());
        api_out_int(o, "workers", w->crew->n_workers);
        api_out_int(o, "topology_version", (int64_t)topology_of(w)->version);
        put_text(o, "listeners", n->listeners);
        put_text(o, "contexts", n->contexts);
    }
    api_out_end(o);
    api_reply(r, 200);
}

static void
get_overview(struct api_request *r)
{
    if (api_take_ranges(r))
        api_take_totals(r, put_overview);
}

// --- nodes --------------------------------------------------------------------------------------------------------------------

// Resident memory, and what of it is messages.
static void
put_memory(struct api_request *r, struct api_out *o, bool is_relative)
{
    const struct crew *crew = http_server_worker(r->server)->crew;
    uint64_t used = node_use_resident_bytes(), messages = 0;
    for (int i = 0; i < crew->n_workers; i++)
        messages += queue_worker_message_bytes(crew->members[i]);
    messages = LV_MIN(messages, used);
    uint64_t unit = is_relative ? LV_MAX(used / 100, UINT64_C(1)) : 1;
    api_out_object(o, "memory");
    api_out_int(o, "messages", (int64_t)(messages / unit));
    api_out_int(o, "other", (int64_t)((used - messages) / unit));
    if (is_relative) {
        api_out_int(o, "total", 100);
    } else {
        api_out_str(o, "strategy", "rss");
        api_out_object(o, "total");
        api_out_int(o, "rss", (int64_t)used);
        api_out_int(o, "allocated", (int64_t)used);
        api_out_end(o);
    }
    api_out_end(o);
}

static void
put_resources(struct api_request *r, struct api_out *o)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = resources_of(r);
    struct node_use use;
    node_use_look(n->data_dir, &use);
    api_put_churn(r, o);
    api_put_node_use(r, o);
    api_out_int(o, "mem_limit", (int64_t)resources.memory_limit_bytes);
    api_out_bool(o, "mem_alarm", resources.has_memory_alarm);
    api_out_double(o, "mem_limit_relative", resources.memory_relative);
    api_out_str(o, "mem_calculation_strategy", "rss");
    api_out_int(o, "disk_free_limit", (int64_t)resources.disk_limit_bytes);
    api_out_bool(o, "disk_free_alarm", resources.has_disk_alarm);
    api_out_int(o, "fd_total", (int64_t)use.fd_max);
    api_out_int(o, "sockets_total", (int64_t)use.fd_max);
    api_out_int(o, "proc_total", (int64_t)use.threads_max);
    api_out_int(o, "processors", sysconf(_SC_NPROCESSORS_ONLN));
    api_out_int(o, "run_queue", 0);
    api_out_int(o, "uptime", clock_wall_ms() - http_server_started_ms(r->server));
}

static void
put_mechanisms(struct api_out *o)
{
    api_out_array(o, "auth_mechanisms");
    put_named(o, "PLAIN", "SASL PLAIN authentication mechanism");
    put_named(o, "AMQPLAIN", "QPid AMQPLAIN mechanism");
    api_out_end(o);
}

static void
put_empty(struct api_out *o, const char *key)
{
    api_out_array(o, key);
    api_out_end(o);
}

static void
put_node(struct api_request *r, struct api_out *o)
{
    const struct api_node *n = http_server_node(r->server);
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    api_out_object(o, NULL);
    api_out_str(o, "name", n->node_name);
    api_out_str(o, "type", "disc");
    api_out_bool(o, "running", resources_of(r).is_running);
    api_out_bool(o, "being_drained", false);
    api_out_str(o, "os_pid", pid);
    put_version(r, o);
    api_out_str(o, "crypto_lib_version", OpenSSL_version(OPENSSL_VERSION));
    api_out_str(o, "db_dir", n->data_dir);
    api_out_str(o, "rates_mode", http_server_config(r->server)->has_rates ? "basic" : "none");
    put_resources(r, o);
    if (api_segment_count(r) == 2 || slice_eq_str(api_query_find(&r->query, "memory"), "true") ||
        r->is_control)
        put_memory(r, o, false);
    put_exchange_types(o);
    put_mechanisms(o);
    put_text(o, "contexts", n->contexts);
    put_text(o, "config_files", n->config_files);
    put_text(o, "log_files", n->log_files);
    put_empty(o, "partitions");
    put_empty(o, "enabled_plugins");
    put_empty(o, "applications");
    put_empty(o, "cluster_links");
    api_out_end(o);
}

// Segment 2 is this node; false after answering 404.
static bool
is_this_node(struct api_request *r)
{
    bool is_this = slice_eq_str(api_segment(r, 2), http_server_node(r->server)->node_name);
    if (!is_this)
        api_not_found(r);
    return is_this;
}

static void
get_nodes(struct api_request *r)
{
    struct api_answer a;
    bool is_list = api_segment_count(r) == 2;
    if ((!is_list && !is_this_node(r)) || !api_take_ranges(r) || !api_answer_begin(r, &a))
        return;
    if (is_list) {
        api_out_array(&a.out, NULL);
        put_node(r, &a.out);
        api_out_end(&a.out);
    } else {
        put_node(r, &a.out);
    }
    api_reply(r, 200);
}

// GET /api/nodes/N/memory, …/memory/relative
static void
get_node_memory(struct api_request *r)
{
    struct api_answer a;
    if (!is_this_node(r) || !api_answer_begin(r, &a))
        return;
    api_out_object(&a.out, NULL);
    put_memory(r, &a.out, api_segment_count(r) == 5);
    api_out_end(&a.out);
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

// --- control ------------------------------------------------------------------------------------------------------------------

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

// {"level": "debug"}
static void
post_log_level(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct slice text = SLICE_EMPTY;
    enum log_level level;
    if (!api_string(r, "level", &text) || log_level_parse(text, &level) != 0) {
        api_error(r, 400, "bad_request", "level %.*s is not supported", SLICE_FMT(text));
        return;
    }
    if (n->set_log_level != NULL)
        n->set_log_level(n->ctx, level);
    api_reply(r, 204);
}

const struct api_route api_routes_node[] = {
    {API_GET, "/api/overview", get_overview, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/nodes", get_nodes, API_FOR_MONITORING, 0},
    {API_GET, "/api/nodes/*", get_nodes, API_FOR_MONITORING, 0},
    {API_GET, "/api/nodes/*/memory", get_node_memory, API_FOR_MONITORING, 0},
    {API_GET, "/api/nodes/*/memory/relative", get_node_memory, API_FOR_MONITORING, 0},
    {API_GET | API_CONTROL, "/api/environment", get_environment, API_FOR_ADMINISTRATOR, 0},
    {API_POST | API_CONTROL, "/api/control/stop", post_stop, API_FOR_ADMINISTRATOR, 0},
    {API_POST | API_CONTROL, "/api/control/rotate-logs", post_rotate_logs, API_FOR_ADMINISTRATOR, 0},
    {API_POST | API_CONTROL, "/api/control/log-level", post_log_level, API_FOR_ADMINISTRATOR, 0},
    {0, NULL, NULL, 0, 0},
};
