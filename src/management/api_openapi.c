// api_openapi.c: what there is, as OpenAPI 3 says it: made of the table of routes, and of the members of answers below.
//
// GET /api/openapi.json, without a log-in, like the page about the API that RabbitMQ serves. Routes of the control socket are left out. A member
// list is "name:type …": s string, i integer, n number, b boolean, o object, a array, * anything, null included; '?' behind it: not always there.
#include <stdio.h>

#include "src/broker/json.h"
#include "src/management/api.h"

// LIMIT: parameters of a path, bytes of a name.
enum { NAMES_MAX = 8, NAME_MAX_BYTES = 24 };

static const struct {
    const char *name, *members;
} schemas[] = {
    {"Queue", "name:s vhost:s node:s durable:b auto_delete:b exclusive:b type:s arguments:o "
              "user_who_performed_action:s queue_id:i owner_connection_id:i "
              "worker:i messages:i? messages_details:o? messages_ready:i? messages_ready_details:o? "
              "messages_unacknowledged:i? "
              "messages_unacknowledged_details:o? messages_persistent:i? messages_ram:i? "
              "messages_ready_ram:i? messages_unacknowledged_ram:i? "
              "messages_paged_out:i? message_bytes:i? message_bytes_ready:i? message_bytes_unacknowledged:i? "
              "message_bytes_ram:i? "
              "message_bytes_paged_out:i? message_bytes_persistent:i? memory:i? consumers:i? "
              "consumer_capacity:n? consumer_utilisation:n? "
              "exclusive_consumer_tag:*? single_active_consumer_tag:*? idle_since:s? policy:*? "
              "operator_policy:*? effective_policy_definition:o? "
              "head_message_timestamp:*? recoverable_slaves:*? state:s message_stats:o? leader:s? members:a? "
              "online:a? consumer_details:a? incoming:a? "
              "deliveries:a?"},
    {"Exchange", "name:s vhost:s type:s durable:b auto_delete:b internal:b user_who_performed_action:s "
                 "arguments:o policy:s? message_stats:o? "
                 "incoming:a? outgoing:a?"},
    {"Binding",
     "source:s vhost:s destination:s destination_type:s routing_key:s arguments:o properties_key:s"},
    {"Vhost", "name:s description:s tags:a default_queue_type:s tracing:b metadata:o cluster_state:o "
              "limits:o messages:i messages_details:o? "
              "messages_ready:i messages_ready_details:o? messages_unacknowledged:i "
              "messages_unacknowledged_details:o? recv_oct:i "
              "recv_oct_details:o? send_oct:i send_oct_details:o? message_stats:o?"},
    {"User", "name:s password_hash:s hashing_algorithm:s tags:a limits:*"},
    {"Permission", "user:s vhost:s configure:s write:s read:s"},
    {"TopicPermission", "user:s vhost:s exchange:s write:s read:s"},
    {"Policy", "vhost:s name:s pattern:s apply-to:s definition:o priority:n"},
    {"Connection", "node:s? type:s? host:s? port:i? peer_host:s? peer_port:i? auth_mechanism:s? ssl:b? "
                   "ssl_protocol:*? ssl_key_exchange:*? ssl_cipher:*? "
                   "ssl_hash:*? peer_cert_subject:*? peer_cert_issuer:*? peer_cert_validity:*? "
                   "channel_max:i? frame_max:i? timeout:i? client_properties:o? "
                   "user_provided_name:s? recv_oct:i? recv_cnt:i? send_oct:i? send_cnt:i? send_pend:i? "
                   "name:s user:s user_who_performed_action:s vhost:s "
                   "protocol:s channels:i connected_at:i connection_id:i recv_oct_details:o "
                   "send_oct_details:o state:s held_by:s?"},
    {"Channel", "name:s connection_details:o connection_id:i number:i user:s user_who_performed_action:s "
                "vhost:s confirm:b transactional:b "
                "consumer_count:i messages_unacknowledged:i messages_unconfirmed:i messages_uncommitted:i "
                "acks_uncommitted:i prefetch_count:i "
                "global_prefetch_count:i replies_dropped:i state:s message_stats:o node:s "
                "consumer_details:a? deliveries:a? publishes:a?"},
    {"Consumer", "channel_details:o queue:o consumer_tag:s exclusive:b ack_required:b prefetch_count:i "
                 "arguments:o active:b activity_status:s"},
    {"Overview", "product_name:s product_version:s rabbitmq_version:s management_version:s leveret_version:s "
                 "rates_mode:s sample_retention_policies:o "
                 "exchange_types:a cluster_name:s node:s disable_stats:b enable_queue_totals:b "
                 "message_stats:o queue_totals:o object_totals:o churn_rates:o "
                 "statistics_db_event_queue:i running:b start_time:i data_dir:s? os_pid:i? workers:i? "
                 "topology_version:i? listeners:a? contexts:a?"},
    {"Node", "name:s type:s running:b being_drained:b os_pid:s product_name:s product_version:s "
             "rabbitmq_version:s management_version:s "
             "leveret_version:s crypto_lib_version:s db_dir:s rates_mode:s channel_closed:i "
             "channel_closed_details:o? channel_created:i "
             "channel_created_details:o? connection_closed:i connection_closed_details:o? "
             "connection_created:i connection_created_details:o? "
             "queue_created:i queue_created_details:o? queue_declared:i queue_declared_details:o? "
             "queue_deleted:i queue_deleted_details:o? "
             "io_read_count:i io_read_count_details:o? io_read_bytes:i io_read_bytes_details:o? "
             "io_write_count:i io_write_count_details:o? "
             "io_write_bytes:i io_write_bytes_details:o? io_sync_count:i io_sync_count_details:o? "
             "io_read_avg_time:n io_write_avg_time:n "
             "io_sync_avg_time:n mem_used:i mem_used_details:o? mem_limit:i mem_alarm:b mem_limit_relative:n "
             "mem_calculation_strategy:s disk_free:i "
             "disk_free_details:o? disk_free_limit:i disk_free_alarm:b fd_used:i fd_used_details:o? "
             "fd_total:i sockets_used:i "
             "sockets_used_details:o? sockets_total:i proc_used:i proc_used_details:o? proc_total:i "
             "processors:i run_queue:i uptime:i memory:o? "
             "exchange_types:a auth_mechanisms:a contexts:a config_files:a log_files:a partitions:a "
             "enabled_plugins:a applications:a "
             "cluster_links:a"},
    {"Who", "name:s tags:a"},
    {"Walk", "messages:a examined:i matched:i more:b stopped:s?"},
    {"QueuePolicy",
     "queue:s vhost:s policy:* operator_policy:* effective:o settings:a arguments:o matching:a"},
    {"Reasons", "totals:o channel_errors:o connection_errors:o global:o recent:a"},
    {"Error", "error:s reason:*"},
};

// What a GET answers: a name; '+' in front: a list of them, '%' as well, which is an object with "items" when ?page= is there.
static const struct {
    const char *pattern, *schema;
} answers[] = {
    {"/api/queues", "%Queue"},
    {"/api/queues/*", "%Queue"},
    {"/api/queues/*/*", "Queue"},
    {"/api/queues/*/*/bindings", "+Binding"},
    {"/api/queues/*/*/messages", "Walk"},
    {"/api/queues/*/*/policy", "QueuePolicy"},
    {"/api/exchanges", "%Exchange"},
    {"/api/exchanges/*", "%Exchange"},
    {"/api/exchanges/*/*", "Exchange"},
    {"/api/bindings", "+Binding"},
    {"/api/bindings/*", "+Binding"},
    {"/api/vhosts", "%Vhost"},
    {"/api/vhosts/*", "Vhost"},
    {"/api/users", "+User"},
    {"/api/users/*", "User"},
    {"/api/permissions", "+Permission"},
    {"/api/permissions/*/*", "Permission"},
    {"/api/topic-permissions", "+TopicPermission"},
    {"/api/policies", "+Policy"},
    {"/api/policies/*", "+Policy"},
    {"/api/policies/*/*", "Policy"},
    {"/api/operator-policies", "+Policy"},
    {"/api/operator-policies/*", "+Policy"},
    {"/api/operator-policies/*/*", "Policy"},
    {"/api/connections", "%Connection"},
    {"/api/connections/*", "Connection"},
    {"/api/channels", "%Channel"},
    {"/api/channels/*", "Channel"},
    {"/api/consumers", "+Consumer"},
    {"/api/consumers/*", "+Consumer"},
    {"/api/overview", "Overview"},
    {"/api/nodes", "+Node"},
    {"/api/nodes/*", "Node"},
    {"/api/whoami", "Who"},
    {"/api/reasons", "Reasons"},
};

// --- paths ------------------------------------------------------------------------------------------------------------------------------

struct path {
    char text[256];
    char names[NAMES_MAX][NAME_MAX_BYTES];
    size_t count;
};

// What the segment is called that follows this word as the n-th.
static const char *
name_behind(const char *word, size_t len, unsigned nth)
{
    static const char *const of_permissions[] = {"vhost", "user", "exchange"};
    static const char *const names[][2] = {
        {"queues", "queue"},
        {"exchanges", "exchange"},
        {"e", "exchange"},
        {"q", "queue"},
        {"users", "user"},
        {"vhosts", "vhost"},
        {"nodes", "node"},
        {"start", "node"},
        {"username", "user"},
        {"policies", "policy"},
        {"port-listener", "port"},
        {"operator-policies", "policy"},
        {"parameters", "component"},
        {"protocol-listener", "protocol"},
        {"certificate-expiration", "within"},
        {"node", "node"},
        {"attempts", "node"},
        {"user-limits", "user"},
    };
    if (len >= 11 && memcmp(word + len - 11, "permissions", 11) == 0)
        return of_permissions[LV_MIN(nth, 2u)];
    for (size_t i = 0; i < LV_ARRAY_LEN(names); i++) {
        if (strlen(names[i][0]) == len && memcmp(names[i][0], word, len) == 0)
            return names[i][1];
    }
    return "name";
}

static void
add_parameter(struct path *p, const char *name)
{
    unsigned same = 1;
    size_t len = strlen(name);
    LV_ASSERT(p->count < NAMES_MAX);
    for (size_t i = 0; i < p->count; i++)
        same += strncmp(p->names[i], name, len) == 0;
    char made[NAME_MAX_BYTES];
    snprintf(made, sizeof made, same > 1 ? "%.20s%u" : "%.20s", name, same);
    memcpy(p->names[p->count], made, sizeof made);
    size_t at = strlen(p->text);
    snprintf(p->text + at, sizeof p->text - at, "/{%s}", made);
    p->count++;
}

// "/api/queues/*/*" → "/api/queues/{vhost}/{queue}".
static void
path_of(const struct api_route *route, struct path *ret)
{
    const char *at = route->pattern, *word = "";
    size_t word_len = 0;
    unsigned nth = 0; // behind the word
    *ret = (struct path){0};
    for (unsigned segment = 0; *at == '/'; segment++) {
        const char *end = strchrnul(++at, '/');
        if (*at != '*' && *at != '?') {
            size_t len = strlen(ret->text);
            word = at;
            word_len = (size_t)(end - at);
            nth = 0;
            snprintf(ret->text + len, sizeof ret->text - len, "/%.*s", (int)word_len, word);
        } else {
            bool is_vhost = route->vhost_segment > 0 && segment == route->vhost_segment;
            add_parameter(ret, is_vhost ? "vhost" : name_behind(word, word_len, nth++));
        }
        at = end;
    }
}

// --- operations -------------------------------------------------------------------------------------------------------------------------

static const struct {
    unsigned method;
    const char *name;
} methods[] = {{API_GET, "get"}, {API_PUT, "put"}, {API_POST, "post"}, {API_DELETE, "delete"}};

static const char *
answer_of(const char *pattern)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(answers); i++) {
        if (strcmp(answers[i].pattern, pattern) == 0)
            return answers[i].schema;
    }
    return NULL;
}

static void
put_answer(struct buf *out, const struct api_route *route, unsigned method)
{
    static const char *const access[] = {
        [API_FOR_ADMINISTRATOR] = "administrator",
        [API_FOR_POLICYMAKER] = "policymaker",
        [API_FOR_MONITORING] = "monitoring",
        [API_FOR_MANAGEMENT] = "management",
        [API_FOR_ALL] = "none",
    };
    const char *schema = method == API_GET ? answer_of(route->pattern) : NULL;
    buf_printf(out, "\"x-tag\":\"%s\",", access[route->access]);
    if (route->access == API_FOR_ALL)
        buf_append_str(out, "\"security\":[],");
    buf_append_str(out, "\"responses\":{\"2XX\":{\"description\":\"done\"");
    if (schema != NULL) {
        bool is_list = schema[0] == '+' || schema[0] == '%';
        buf_append_str(out, ",\"content\":{\"application/json\":{\"schema\":");
        buf_printf(out,
                   is_list ? "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/%s\"}}"
                           : "{\"$ref\":\"#/components/schemas/%s\"}",
                   schema + is_list);
        buf_append_str(out, "}}");
    }
    buf_append_str(out, "},\"4XX\":{\"$ref\":\"#/components/responses/refused\"}}");
}

static void
put_operation(struct buf *out, const struct api_route *route, const struct path *p, unsigned method,
              const char *name)
{
    buf_printf(out, "\"%s\":{\"operationId\":\"%s%s\",", name, name, p->text);
    buf_append_str(out, "\"parameters\":[");
    for (size_t i = 0; i < p->count; i++)
        buf_printf(out,
                   "{\"name\":\"%s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}},",
                   p->names[i]);
    json_drop_comma(out);
    buf_append_str(out, "],");
    put_answer(out, route, method);
    buf_append_str(out, "},");
}

// All operations of a path, which may be rows of several tables; its first row puts them.
static void
put_path(struct buf *out, const struct api_route *const *tables, size_t count, const struct api_route *first)
{
    struct path p;
    bool is_begun = false;
    path_of(first, &p);
    for (size_t t = 0; t < count; t++) {
        for (const struct api_route *route = tables[t]; route->pattern != NULL; route++) {
            if ((route->methods & API_CONTROL) != 0 || strcmp(route->pattern, first->pattern) != 0)
                continue;
            if (!is_begun && route != first)
                return; // they are there
            if (!is_begun)
                buf_printf(out, "\"%s\":{", p.text);
            is_begun = true;
            for (size_t i = 0; i < LV_ARRAY_LEN(methods); i++) {
                if ((route->methods & methods[i].method) != 0)
                    put_operation(out, route, &p, methods[i].method, methods[i].name);
            }
        }
    }
    json_drop_comma(out);
    buf_append_str(out, is_begun ? "}," : "");
}

// --- members ----------------------------------------------------------------------------------------------------------------------------

static const char *
type_of(char letter)
{
    switch (letter) {
    case 's': return "{\"type\":\"string\"}";
    case 'i': return "{\"type\":\"integer\"}";
    case 'n': return "{\"type\":\"number\"}";
    case 'b': return "{\"type\":\"boolean\"}";
    case 'o': return "{\"type\":\"object\"}";
    case 'a': return "{\"type\":\"array\",\"items\":{}}";
    default: return "{}";
    }
}

static void
put_schema(struct buf *out, const char *members)
{
    struct buf required = BUF_INIT;
    buf_append_str(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const char *at = members; *at != '\0';) {
        size_t len = strcspn(at, " "), name = strcspn(at, ":");
        buf_printf(out, "\"%.*s\":%s,", (int)name, at, type_of(at[name + 1]));
        if (at[len - 1] != '?')
            buf_printf(&required, "\"%.*s\",", (int)name, at);
        at += len + (at[len] == ' ');
    }
    json_drop_comma(out);
    json_drop_comma(&required);
    buf_append_str(out, "},\"required\":[");
    buf_append_slice(out, buf_slice(&required));
    buf_append_str(out, "]},");
    out->failed |= required.failed;
    buf_fini(&required);
}

void
api_openapi_put(struct buf *out)
{
    size_t count;
    const struct api_route *const *tables = api_route_tables(&count);
    buf_append_str(
        out, "{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"Leveret\",\"version\":\"" LEVERET_VERSION "\"},"
             "\"security\":[{\"basic\":[]}],\"paths\":{");
    for (size_t t = 0; t < count; t++) {
        for (const struct api_route *route = tables[t]; route->pattern != NULL; route++) {
            if ((route->methods & API_CONTROL) == 0)
                put_path(out, tables, count, route);
        }
    }
    json_drop_comma(out);
    buf_append_str(
        out,
        "},\"components\":{\"securitySchemes\":{\"basic\":{\"type\":\"http\",\"scheme\":\"basic\"}},"
        "\"responses\":{\"refused\":{\"description\":\"refused, and why\",\"content\":{\"application/json\":"
        "{\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}}},\"schemas\":{");
    for (size_t i = 0; i < LV_ARRAY_LEN(schemas); i++) {
        buf_printf(out, "\"%s\":", schemas[i].name);
        put_schema(out, schemas[i].members);
    }
    json_drop_comma(out);
    buf_append_str(out, "}}}");
}

static void
get_openapi(struct api_request *r)
{
    api_openapi_put(&r->out);
    api_reply(r, 200);
}

// RabbitMQ serves a page about its API; here it is the same, for people: which paths there are.
static void
get_index(struct api_request *r)
{
    size_t count;
    const struct api_route *const *tables = api_route_tables(&count);
    r->content_type = "text/html; charset=utf-8";
    buf_append_str(
        &r->out,
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Leveret HTTP "
        "API</title></head><body>"
        "<h1>Leveret HTTP API</h1><p>As OpenAPI 3: <a href=\"openapi.json\">openapi.json</a></p><ul>");
    for (size_t t = 0; t < count; t++) {
        for (const struct api_route *route = tables[t]; route->pattern != NULL; route++) {
            struct path p;
            if ((route->methods & API_CONTROL) != 0)
                continue;
            path_of(route, &p);
            buf_append_str(&r->out, "<li><code>");
            for (size_t i = 0; i < LV_ARRAY_LEN(methods); i++)
                buf_printf(&r->out, "%s", (route->methods & methods[i].method) != 0 ? methods[i].name : "");
            buf_printf(&r->out, " %s</code></li>", p.text);
        }
    }
    buf_append_str(&r->out, "</ul></body></html>");
    api_reply(r, 200);
}

// RabbitMQ serves its tool here. It is not ours to hand out; who fetches and runs this is told where it comes from.
static void
get_tool(struct api_request *r)
{
    r->content_type = "application/octet-stream";
    buf_append_str(&r->out, "#!/usr/bin/env python3\n"
                            "import sys\n"
                            "sys.exit(\"Leveret does not hand out rabbitmqadmin. The one of RabbitMQ 3.x "
                            "works with it as it is \"\n"
                            "         \"(Debian: /usr/sbin/rabbitmqadmin of the package rabbitmq-server); "
                            "leveretctl does the same and more.\")\n");
    api_reply(r, 200);
}

const struct api_route api_routes_openapi[] = {
    {API_GET, "/api/openapi.json", get_openapi, API_FOR_ALL, 0},
    {API_GET, "/api/index.html", get_index, API_FOR_ALL, 0},
    {API_GET, "/cli/rabbitmqadmin", get_tool, API_FOR_ALL, 0},
    {0, NULL, NULL, 0, 0},
};
