// leveretctl_status.c: status, cluster_status, environment, report: what the node is and how it does, for people.
#include <inttypes.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"
#include "src/cli/leveretctl_node.h"
#include "src/cli/leveretctl_term.h"
#include "src/cli/leveretctl_value.h"

// --- pieces ---------------------------------------------------------------------------------------------------------------------

static void
section(struct ctl *c, const char *title, bool is_first)
{
    fprintf(c->out, "%s\033[1m%s\033[0m\n\n", is_first ? "" : "\n", title);
}

static const char *
text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int64_t
int_in(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

// At most `digits` behind the point, at least one: "0.074", "2.0".
static void
put_rounded(FILE *to, double value, int digits)
{
    char text[40];
    snprintf(text, sizeof text, "%.*f", digits, value);
    size_t len = strlen(text);
    while (len > 2 && text[len - 1] == '0' && text[len - 2] != '.')
        text[--len] = '\0';
    fputs(text, to);
}

static void
put_gb(FILE *to, int64_t bytes)
{
    put_rounded(to, (double)bytes / 1e9, 4);
    fputs(" gb", to);
}

static void
print_items(struct ctl *c, const json_t *texts)
{
    for (size_t i = 0; i < json_array_size(texts); i++)
        fprintf(c->out, " * %s\n", json_string_value(json_array_get(texts, i)));
}

static void
print_alarms(struct ctl *c, const json_t *alarms)
{
    if (json_array_size(alarms) == 0)
        fputs("(none)\n", c->out);
    for (size_t i = 0; i < json_array_size(alarms); i++)
        fprintf(c->out, "%s\n", json_string_value(json_array_get(alarms, i)));
}

static void
print_listeners(struct ctl *c, const json_t *listeners, bool with_node)
{
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        struct buf line = BUF_INIT;
        node_put_listener(&line, json_array_get(listeners, i));
        const char *text = buf_cstr(&line);
        if (with_node) // "Node: …, interface: …"
            fprintf(c->out, "Node: %s, i%s\n", ctl_node(c), text + 1);
        else
            fprintf(c->out, "%s\n", text);
        buf_fini(&line);
    }
}

// --- status ---------------------------------------------------------------------------------------------------------------------

// What status puts together from several answers; references.
struct facts {
    json_t *node, *alarms, *listeners;
    int64_t connections;
};

static void
facts_free(struct facts *f)
{
    json_decref(f->node);
    json_decref(f->alarms);
    json_decref(f->listeners);
}

static int
gather(struct ctl *c, struct facts *f)
{
    int status = CTL_OK;
    f->node = node_details(c, &status);
    if (f->node != NULL)
        f->alarms = node_alarms(c, &status);
    if (f->alarms == NULL)
        return status;
    status = ctl_get(c, "connections", NULL);
    f->connections = (int64_t)json_array_size(c->answer.json);
    f->listeners = node_listeners(c);
    return status;
}

static void
print_runtime(struct ctl *c, const struct facts *f)
{
    section(c, "Runtime", true);
    fprintf(c->out, "OS PID: %s\nOS: Linux\nUptime (seconds): %" PRId64 "\nIs under maintenance?: false\n",
            text_in(f->node, "os_pid"), int_in(f->node, "uptime") / 1000);
    fprintf(c->out,
            "RabbitMQ version: %s\nRabbitMQ release series support status: supported\nNode name: %s\n",
            text_in(f->node, "rabbitmq_version"), ctl_node(c));
    fprintf(c->out,
            "Erlang configuration: none: this is Leveret %s with %" PRId64 " workers\nCrypto library: %s\n",
            text_in(f->node, "leveret_version"),
            (int64_t)json_integer_value(ctl_overview_member(c, "workers")),
            text_in(f->node, "crypto_lib_version"));
    fprintf(c->out, "Threads: %" PRId64 " used, %" PRId64 " limit\n", int_in(f->node, "proc_used"),
            int_in(f->node, "proc_total"));
}

static void
print_files(struct ctl *c, const struct facts *f)
{
    const char *dir = text_in(f->node, "db_dir");
    section(c, "Plugins", false);
    fputs("Enabled plugin file: (none)\nEnabled plugins:\n\n", c->out);
    print_items(c, json_object_get(f->node, "enabled_plugins"));
    section(c, "Data directory", false);
    fprintf(c->out, "Node data directory: %s\nRaft data directory: %s\n", dir, dir);
    section(c, "Config files", false);
    print_items(c, json_object_get(f->node, "config_files"));
    section(c, "Log file(s)", false);
    print_items(c, json_object_get(f->node, "log_files"));
    section(c, "Alarms", false);
    print_alarms(c, f->alarms);
}

static void
print_memory(struct ctl *c, const struct facts *f)
{
    const char *name;
    json_t *bytes;
    int64_t used = int_in(f->node, "mem_used"), limit = int_in(f->node, "mem_limit");
    double relative = json_number_value(json_object_get(f->node, "mem_limit_relative"));
    section(c, "Memory", false);
    fputs("Total memory used: ", c->out);
    put_gb(c->out, used);
    fputs("\nCalculation strategy: rss\nMemory high watermark setting: ", c->out);
    if (relative > 0) {
        put_rounded(c->out, relative, 4);
        fputs(" of available memory", c->out);
    } else {
        put_gb(c->out, limit);
    }
    fputs(", computed to: ", c->out);
    put_gb(c->out, limit);
    fputs("\n\n", c->out);
    json_object_foreach(json_object_get(f->node, "memory"), name, bytes)
    {
        fprintf(c->out, "%s: ", name);
        put_gb(c->out, json_integer_value(bytes));
        fputs(" (", c->out);
        put_rounded(c->out, used > 0 ? 100.0 * (double)json_integer_value(bytes) / (double)used : 0, 2);
        fputs(" %)\n", c->out);
    }
}

static void
print_resources(struct ctl *c, const struct facts *f)
{
    const json_t *totals = ctl_overview_member(c, "object_totals");
    section(c, "File Descriptors", false);
    fprintf(c->out, "Total: %" PRId64 ", limit: %" PRId64 "\nSockets: %" PRId64 ", limit: %" PRId64 "\n",
            int_in(f->node, "fd_used"), int_in(f->node, "fd_total"), f->connections,
            int_in(f->node, "sockets_total"));
    section(c, "Free Disk Space", false);
    fputs("Low free disk space watermark: ", c->out);
    put_gb(c->out, int_in(f->node, "disk_free_limit"));
    fputs("\nFree disk space: ", c->out);
    put_gb(c->out, int_in(f->node, "disk_free"));
    fputs("\n", c->out);
    section(c, "Totals", false);
    fprintf(c->out,
            "Connection count: %" PRId64 "\nQueue count: %" PRId64 "\nVirtual host count: %" PRId64 "\n",
            f->connections, int_in(totals, "queues"), int_in(totals, "vhosts"));
    section(c, "Listeners", false);
    print_listeners(c, f->listeners, false);
}

static void
set(json_t *object, const char *key, json_t *value) // takes the value over
{
    json_object_set_new(object, key, value);
}

static void
copy(json_t *to, const char *key, const json_t *from, const char *from_key)
{
    json_object_set(to, key, json_object_get(from, from_key));
}

static json_t *
status_memory(const json_t *node)
{
    json_t *memory = json_object();
    json_object_update(memory, json_object_get(node, "memory"));
    set(memory, "strategy", json_string("rss"));
    json_t *used = json_object_get(node, "mem_used");
    set(memory, "total", json_pack("{s:O, s:O, s:O}", "erlang", used, "rss", used, "allocated", used));
    return memory;
}

// The keys of rabbitmqctl's status, in its (alphabetical) order.
static json_t *
status_json(struct ctl *c, const struct facts *f)
{
    json_t *s = json_object();
    const json_t *n = f->node, *totals = ctl_overview_member(c, "object_totals");
    double relative = json_number_value(json_object_get(n, "mem_limit_relative"));
    copy(s, "active_plugins", n, "enabled_plugins");
    json_object_set(s, "alarms", f->alarms);
    copy(s, "config_files", n, "config_files");
    copy(s, "crypto_lib_version", n, "crypto_lib_version");
    copy(s, "data_directory", n, "db_dir");
    copy(s, "disk_free", n, "disk_free");
    copy(s, "disk_free_limit", n, "disk_free_limit");
    set(s, "enabled_plugin_file", json_string(""));
    set(s, "erlang_version", json_sprintf("none: this is Leveret %s", text_in(n, "leveret_version")));
    set(s, "file_descriptors",
        json_pack("{s:O, s:I, s:O, s:O}", "sockets_limit", json_object_get(n, "sockets_total"),
                  "sockets_used", (json_int_t)f->connections, "total_limit", json_object_get(n, "fd_total"),
                  "total_used", json_object_get(n, "fd_used")));
    set(s, "is_under_maintenance", json_false());
    json_object_set(s, "listeners", f->listeners);
    copy(s, "log_files", n, "log_files");
    set(s, "memory", status_memory(n));
    set(s, "net_ticktime", json_integer(60));
    set(s, "os", json_string("Linux"));
    set(s, "pid", json_integer(strtol(text_in(n, "os_pid"), NULL, 10)));
    set(s, "processes",
        json_pack("{s:O, s:O}", "limit", json_object_get(n, "proc_total"), "used",
                  json_object_get(n, "proc_used")));
    set(s, "product_name", json_string("Leveret"));
    copy(s, "product_version", n, "leveret_version");
    copy(s, "rabbitmq_version", n, "rabbitmq_version");
    copy(s, "raft_data_directory", n, "db_dir");
    set(s, "release_series_support_status", json_string("supported"));
    set(s, "run_queue", json_integer(0));
    set(s, "totals",
        json_pack("{s:O, s:I, s:O}", "virtual_host_count", json_object_get(totals, "vhosts"),
                  "connection_count", (json_int_t)f->connections, "queue_count",
                  json_object_get(totals, "queues")));
    set(s, "uptime", json_integer(int_in(n, "uptime") / 1000));
    set(s, "vm_memory_calculation_strategy", json_string("rss"));
    copy(s, "vm_memory_high_watermark_limit", n, "mem_limit");
    set(s, "vm_memory_high_watermark_setting",
        relative > 0 ? json_pack("{s:f}", "relative", relative)
                     : json_pack("{s:O}", "absolute", json_object_get(n, "mem_limit")));
    return s;
}

static int
run_status(struct ctl *c)
{
    struct facts f = {0};
    ctl_banner(c, "Status of node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = gather(c, &f);
    if (status == CTL_OK && ctl_is_json(c)) {
        ctl_print_json(c, c->out, status_json(c, &f));
    } else if (status == CTL_OK) {
        print_runtime(c, &f);
        print_files(c, &f);
        print_memory(c, &f);
        print_resources(c, &f);
    }
    facts_free(&f);
    return status;
}

// --- cluster_status -------------------------------------------------------------------------------------------------------------

// The feature flags of RabbitMQ whose features are there.
static const char *const feature_flags[][2] = {
    {"implicit_default_bindings", "Bindings to the default exchange are not stored"},
    {"user_limits", "Limits of users: connections, channels"},
    {"virtual_host_metadata", "Descriptions and tags of virtual hosts"},
};

static json_t *
cluster_json(struct ctl *c, const struct facts *f)
{
    const char *node = ctl_node(c);
    json_t *s = json_object(), *flags = json_array();
    for (size_t i = 0; i < LV_ARRAY_LEN(feature_flags); i++)
        json_array_append_new(flags, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "desc", feature_flags[i][1],
                                               "doc_url", "", "name", feature_flags[i][0], "provided_by",
                                               "rabbit", "stability", "stable", "state", "enabled"));
    json_object_set(s, "alarms", f->alarms);
    json_object_set(s, "cluster_name", json_object_get(c->overview, "cluster_name"));
    set(s, "disk_nodes", json_pack("[s]", node));
    set(s, "feature_flags", flags);
    set(s, "listeners", json_pack("{s:O}", node, f->listeners));
    set(s, "maintenance_status", json_pack("{s:s}", node, "not under maintenance"));
    set(s, "partitions", json_object());
    set(s, "ram_nodes", json_array());
    set(s, "running_nodes", json_pack("[s]", node));
    json_t *erlang = json_sprintf("none: Leveret %s", text_in(f->node, "leveret_version"));
    set(s, "versions",
        json_pack("{s:{s:o, s:s, s:s}}", node, "erlang_version", erlang, "rabbitmq_name", "RabbitMQ",
                  "rabbitmq_version", text_in(f->node, "rabbitmq_version")));
    return s;
}

static void
print_cluster(struct ctl *c, const struct facts *f)
{
    const char *node = ctl_node(c);
    section(c, "Basics", true);
    fprintf(c->out, "Cluster name: %s\n", text_in(c->overview, "cluster_name"));
    section(c, "Disk Nodes", false);
    fprintf(c->out, "%s\n", node);
    section(c, "Running Nodes", false);
    fprintf(c->out, "%s\n", node);
    section(c, "Versions", false);
    fprintf(c->out, "%s: RabbitMQ %s on Leveret %s\n", node, text_in(f->node, "rabbitmq_version"),
            text_in(f->node, "leveret_version"));
    section(c, "Maintenance status", false);
    fprintf(c->out, "Node: %s, status: not under maintenance\n", node);
    section(c, "Alarms", false);
    print_alarms(c, f->alarms);
    section(c, "Network Partitions", false);
    fputs("(none)\n", c->out);
    section(c, "Listeners", false);
    print_listeners(c, f->listeners, true);
    section(c, "Feature flags", false);
    for (size_t i = 0; i < LV_ARRAY_LEN(feature_flags); i++)
        fprintf(c->out, "Flag: %s, state: enabled\n", feature_flags[i][0]);
}

static int
run_cluster_status(struct ctl *c)
{
    struct facts f = {0};
    ctl_banner(c, "Cluster status of node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = gather(c, &f);
    if (status == CTL_OK && ctl_is_json(c))
        ctl_print_json(c, c->out, cluster_json(c, &f));
    else if (status == CTL_OK)
        print_cluster(c, &f);
    facts_free(&f);
    return status;
}

// --- environment ----------------------------------------------------------------------------------------------------------------

// Every configuration key with its value and where that came from.
static int
run_environment(struct ctl *c)
{
    const char *key;
    json_t *entry;
    ctl_banner(c, "Application environment of node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "environment", NULL);
    if (status != 0)
        return status;
    if (ctl_is_json(c))
        return ctl_print_json(c, c->out, json_pack("{s:O}", "leveret", c->answer.json));
    struct term *applications = term_list(), *application = term_tuple(), *entries = term_list();
    struct buf text = BUF_INIT;
    json_object_foreach(c->answer.json, key, entry)
    {
        struct term *tuple = term_tuple();
        term_add(tuple, term_atom(slice_str(key)));
        term_add(tuple, term_binary(json_slice(json_object_get(entry, "value"))));
        term_add(tuple, term_binary(json_slice(json_object_get(entry, "source"))));
        term_add(entries, tuple);
    }
    term_add(application, term_atom(SLICE_LIT("leveret")));
    term_add(application, entries);
    term_add(applications, application);
    term_print(&text, applications);
    fprintf(c->out, "%s\n", buf_cstr(&text));
    term_free(applications);
    buf_fini(&text);
    return CTL_OK;
}

// --- report ---------------------------------------------------------------------------------------------------------------------

// LIMIT: rows of one list and virtual hosts in a report: it is to be read and sent.
enum { REPORT_ROWS_MAX = 1000, REPORT_VHOSTS_MAX = 50 };

static int
run_part(struct ctl *c, const char *name, const char *columns)
{
    const struct ctl_command *report = c->command;
    c->command = ctl_command_find(TOOL_CTL, slice_str(name));
    LV_ASSERT(c->command != NULL);
    if (c->target.is_http && (c->command->options & NEEDS_SOCKET) != 0) {
        c->command = report;
        return CTL_OK;
    }
    c->options.args[0] = columns;
    c->options.arg_count = columns != NULL ? 1 : 0;
    int status = c->command->run(c);
    fputc('\n', c->out);
    c->command = report;
    return status;
}

static int
report_vhost(struct ctl *c, const char *vhost)
{
    static const char *const parts[][2] = {
        {"list_queues", "name,durable,auto_delete,exclusive,type,arguments,policy,state,messages_ready,"
                        "messages_unacknowledged,"
                        "consumers,memory"},
        {"list_exchanges", "name,type,durable,auto_delete,internal,arguments,policy"},
        {"list_bindings", NULL},
        {"list_consumers", NULL},
        {"list_permissions", NULL},
        {"list_topic_permissions", NULL},
        {"list_vhost_limits", NULL},
    };
    int status = CTL_OK;
    c->options.vhost = vhost;
    for (size_t i = 0; i < LV_ARRAY_LEN(parts) && status == CTL_OK; i++)
        status = run_part(c, parts[i][0], parts[i][1]);
    return status;
}

static int
run_report(struct ctl *c)
{
    static const char *const parts[][2] = {
        {"status", NULL},
        {"cluster_status", NULL},
        {"environment", NULL},
        {"list_connections",
         "pid,name,port,host,peer_port,peer_host,ssl,protocol,auth_mechanism,user,vhost,timeout,frame_max,"
         "channel_max,client_properties,connected_at,recv_oct,recv_cnt,send_oct,send_cnt,send_pend,state,"
         "channels"},
        {"list_channels",
         "pid,connection,name,number,user,vhost,transactional,confirm,consumer_count,messages_unacknowledged,"
         "messages_unconfirmed,messages_uncommitted,acks_uncommitted,prefetch_count,global_prefetch_count"},
        {"list_users", NULL},
        {"list_vhosts", "name,description,tags,tracing"},
    };
    int status = CTL_OK;
    ctl_banner(c, "Reporting server status of node %s ...\n", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    c->row_limit = REPORT_ROWS_MAX;
    for (size_t i = 0; i < LV_ARRAY_LEN(parts) && status == CTL_OK; i++)
        status = run_part(c, parts[i][0], parts[i][1]);
    if (status == CTL_OK)
        status = ctl_get(c, "vhosts", NULL);
    if (status != CTL_OK)
        return status;
    json_t *vhosts = json_incref(c->answer.json);
    for (size_t i = 0; i < json_array_size(vhosts) && i < REPORT_VHOSTS_MAX && status == CTL_OK; i++)
        status = report_vhost(c, text_in(json_array_get(vhosts, i), "name"));
    if (json_array_size(vhosts) > REPORT_VHOSTS_MAX)
        fprintf(c->out, "(%zu more virtual hosts)\n", json_array_size(vhosts) - REPORT_VHOSTS_MAX);
    json_decref(vhosts);
    return status;
}

static int
check_report(struct ctl *c)
{
    if (c->options.format == FORMAT_TABLE)
        return 0;
    buf_append_str(&c->problem, "a report has no other format than table");
    return CTL_USAGE;
}

const struct ctl_command ctl_commands_status[] = {
    {"status", GROUP_MONITORING, "", "Displays the status of the node", NULL, 0, 0, 0, NULL, run_status,
     NULL},
    {"cluster_status", GROUP_CLUSTER, "", "Displays the nodes of the cluster and their state", NULL, 0, 0, 0,
     NULL, run_cluster_status, NULL},
    {"environment", GROUP_CONFIGURATION, "",
     "Displays every configuration key, its value and where it came from", NULL, 0, 0, NEEDS_SOCKET, NULL,
     run_environment, NULL},
    {"report", GROUP_MONITORING, "",
     "Prints the output of all status and list commands, for a support request", NULL, 0, 0, 0, NULL,
     run_report, check_report},
    {.name = NULL},
};
