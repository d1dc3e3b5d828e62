// api_node.c: the node itself: what it is, what it uses, and control of the process.
#include <dirent.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/management/api.h"
#include "src/management/http_server.h"

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
put_version(struct api_request *r, struct buf *out)
{
    const struct api_node *n = http_server_node(r->server);
    json_put_member_string(out, "rabbitmq_version", slice_str(n->product_version));
    json_put_member_string(out, "management_version", slice_str(n->product_version));
    json_put_member_string(out, "leveret_version", slice_str(LEVERET_VERSION));
}

// What GET /api/overview adds up over the topology and, from the workers, over connections and channels.
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
    put_version(r, &r->out);
    json_put_member_bool(&r->out, "running", resources_of(r).is_running);
    json_put_member_int(&r->out, "start_time", http_server_started_ms(r->server) / 1000);
    json_put_member_string(&r->out, "data_dir", slice_str(n->data_dir));
    json_put_member_int(&r->out, "os_pid", (int64_t)getpid());
    json_put_member_int(&r->out, "workers", w->crew->n_workers);
    json_put_member_int(&r->out, "topology_version", (int64_t)topology_of(w)->version);
    put_object_totals(r, &r->out);
    buf_printf(&r->out, "\"listeners\":%s}", n->listeners != NULL ? n->listeners : "[]");
    api_reply(r, 200);
}

// --- nodes --------------------------------------------------------------------------------------------------------------------

static uint64_t
resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    // NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Entries of a folder of /proc/self: open files, threads.
static int64_t
count_entries(const char *path)
{
    int64_t count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

// Resident memory, and what of it is messages.
static void
put_memory(struct api_request *r, struct buf *out)
{
    const struct crew *crew = http_server_worker(r->server)->crew;
    uint64_t used = resident_bytes(), messages = 0;
    for (int i = 0; i < crew->n_workers; i++)
        messages += queue_worker_message_bytes(crew->members[i]);
    json_put_member_int(out, "mem_used", (int64_t)used);
    buf_append_str(out, "\"memory\":{");
    json_put_member_int(out, "messages", (int64_t)messages);
    json_put_member_int(out, "other", (int64_t)(used - LV_MIN(used, messages)));
    json_drop_comma(out);
    buf_append_str(out, "},");
}

static void
put_resources(struct api_request *r, struct buf *out)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = resources_of(r);
    struct rlimit files = {0}, threads = {0};
    struct statvfs disk = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_NPROC, &threads) != 0 ||
        statvfs(n->data_dir, &disk) != 0)
        log_debug(LOG_HTTP, "node: not all resources can be looked at");
    put_memory(r, out);
    json_put_member_int(out, "mem_limit", (int64_t)resources.memory_limit_bytes);
    json_put_member_bool(out, "mem_alarm", resources.has_memory_alarm);
    buf_printf(out, "\"mem_limit_relative\":%g,", resources.memory_relative);
    json_put_member_int(out, "disk_free", (int64_t)((uint64_t)disk.f_bavail * disk.f_frsize));
    json_put_member_int(out, "disk_free_limit", (int64_t)resources.disk_limit_bytes);
    json_put_member_bool(out, "disk_free_alarm", resources.has_disk_alarm);
    json_put_member_int(out, "fd_used", count_entries("/proc/self/fd"));
    json_put_member_int(out, "fd_total", (int64_t)LV_MIN(files.rlim_cur, (rlim_t)INT64_MAX));
    json_put_member_int(out, "sockets_total", (int64_t)LV_MIN(files.rlim_cur, (rlim_t)INT64_MAX));
    json_put_member_int(out, "proc_used", count_entries("/proc/self/task"));
    json_put_member_int(out, "proc_total", (int64_t)LV_MIN(threads.rlim_cur, (rlim_t)INT32_MAX));
    json_put_member_int(out, "processors", sysconf(_SC_NPROCESSORS_ONLN));
    json_put_member_int(out, "uptime", clock_wall_ms() - http_server_started_ms(r->server));
}

static void
put_node(struct api_request *r, struct buf *out)
{
    const struct api_node *n = http_server_node(r->server);
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    buf_append_u8(out, '{');
    json_put_member_string(out, "name", slice_str(n->node_name));
    json_put_member_string(out, "type", SLICE_LIT("disc"));
    json_put_member_bool(out, "running", resources_of(r).is_running);
    json_put_member_bool(out, "being_drained", false);
    json_put_member_string(out, "os_pid", slice_str(pid));
    put_version(r, out);
    json_put_member_string(out, "crypto_lib_version", slice_str(OpenSSL_version(OPENSSL_VERSION)));
    json_put_member_string(out, "db_dir", slice_str(n->data_dir));
    put_resources(r, out);
    buf_printf(out, "\"config_files\":%s,\"log_files\":%s,", n->config_files != NULL ? n->config_files : "[]",
               n->log_files != NULL ? n->log_files : "[]");
    buf_append_str(out, "\"partitions\":[],\"enabled_plugins\":[],\"cluster_links\":[]}");
}

static void
get_nodes(struct api_request *r)
{
    bool is_list = r->segment_count == 2;
    if (!is_list && !slice_eq_str(r->segments[2], http_server_node(r->server)->node_name)) {
        api_not_found(r);
        return;
    }
    buf_append_str(&r->out, is_list ? "[" : "");
    put_node(r, &r->out);
    buf_append_str(&r->out, is_list ? "]" : "");
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
    {API_GET, "/api/overview", get_overview},
    {API_GET, "/api/nodes", get_nodes},
    {API_GET, "/api/nodes/*", get_nodes},
    {API_GET, "/api/cluster-name", get_cluster_name},
    {API_GET | API_CONTROL, "/api/environment", get_environment},
    {API_POST | API_CONTROL, "/api/control/stop", post_stop},
    {API_POST | API_CONTROL, "/api/control/rotate-logs", post_rotate_logs},
    {API_POST | API_CONTROL, "/api/control/log-level", post_log_level},
    {0, NULL, NULL},
};
