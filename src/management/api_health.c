// api_health.c: health checks: 200 {"status":"ok"}, or 503 {"status":"failed","reason":…} (RabbitMQ documentation, "Health checks").
#include "src/management/api.h"
#include "src/management/http_server.h"

static void
reply_ok(struct api_request *r)
{
    buf_append_str(&r->out, "{\"status\":\"ok\"}");
    api_reply(r, 200);
}

static void
put_failed(struct api_request *r, const char *reason)
{
    buf_append_str(&r->out, "{\"status\":\"failed\",");
    json_put_member_string(&r->out, "reason", slice_str(reason));
}

// --- alarms -------------------------------------------------------------------------------------------------------------------

static void
get_alarms(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = {0};
    if (n->resources != NULL)
        n->resources(n->ctx, &resources);
    if (!resources.has_memory_alarm && !resources.has_disk_alarm) {
        reply_ok(r);
        return;
    }
    put_failed(r, slice_eq_str(api_segment(r, 3), "alarms") ? "There are alarms in effect in the cluster"
                                                            : "There are alarms in effect on the node");
    buf_append_str(&r->out, "\"alarms\":[");
    for (int i = 0; i < 2; i++) {
        if (!(i == 0 ? resources.has_memory_alarm : resources.has_disk_alarm))
            continue;
        buf_append_u8(&r->out, '{');
        json_put_member_string(&r->out, "node", slice_str(n->node_name));
        json_put_member_string(&r->out, "resource", i == 0 ? SLICE_LIT("memory") : SLICE_LIT("disk"));
        json_drop_comma(&r->out);
        buf_append_str(&r->out, "},");
    }
    json_drop_comma(&r->out);
    buf_append_str(&r->out, "]}");
    api_reply(r, 503);
}

// --- listeners ----------------------------------------------------------------------------------------------------------------

// The listeners of the node, parsed; the caller's.
static json_t *
listeners_of(struct api_request *r)
{
    const char *text = http_server_node(r->server)->listeners;
    json_t *listeners = text != NULL ? json_loads(text, 0, NULL) : NULL;
    return listeners != NULL ? listeners : json_array();
}

static void
reply_missing(struct api_request *r, const json_t *missing, const char *key, const json_t *listeners,
              const char *plural)
{
    json_t *found = json_array();
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        json_t *value = json_object_get(json_array_get(listeners, i), key);
        bool is_new = true;
        for (size_t k = 0; k < json_array_size(found); k++)
            is_new &= json_equal(value, json_array_get(found, k)) == 0;
        if (is_new)
            json_array_append(found, value);
    }
    json_t *answer = json_pack("{s:s, s:s, s:O, s:o}", "status", "failed", "reason", "No active listener",
                               "missing", missing, plural, found);
    api_reply_json(r, 503, answer);
    json_decref(answer);
}

static void
reply_listener(struct api_request *r, const char *key, const char *plural, json_t *wanted)
{
    json_t *listeners = listeners_of(r);
    bool is_found = false;
    for (size_t i = 0; i < json_array_size(listeners) && !is_found; i++)
        is_found = json_equal(json_object_get(json_array_get(listeners, i), key), wanted) != 0;
    if (is_found) {
        json_t *answer = json_pack("{s:s, s:O}", "status", "ok", key, wanted);
        api_reply_json(r, 200, answer);
        json_decref(answer);
    } else {
        reply_missing(r, wanted, key, listeners, plural);
    }
    json_decref(listeners);
    json_decref(wanted);
}

static void
get_port_listener(struct api_request *r)
{
    struct slice text = api_segment(r, 4);
    int64_t port = text.len == 0 || text.len > 5 ? -1 : 0;
    for (size_t i = 0; i < text.len && port >= 0; i++)
        port = text.ptr[i] >= '0' && text.ptr[i] <= '9' ? port * 10 + (text.ptr[i] - '0') : -1;
    if (port < 0)
        api_error(r, 400, "bad_request", "Invalid port");
    else
        reply_listener(r, "port", "ports", json_integer(port));
}

static void
get_protocol_listener(struct api_request *r)
{
    struct slice name = api_segment(r, 4);
    // RabbitMQ has one listener for both versions of AMQP, and several names for it.
    if (slice_eq_str(name, "amqp091") || slice_eq_str(name, "amqp10"))
        name = SLICE_LIT("amqp");
    json_t *wanted = json_stringn((const char *)name.ptr, name.len);
    if (wanted == NULL)
        api_error(r, 400, "bad_request", "the protocol's name is not UTF-8");
    else
        reply_listener(r, "protocol", "protocols", wanted);
}

// --- others -------------------------------------------------------------------------------------------------------------------

// A vhost is up as long as the node is: there is nothing in it that can fail alone.
static void
get_virtual_hosts(struct api_request *r)
{
    reply_ok(r);
}

static void
get_critical(struct api_request *r)
{
    buf_append_str(&r->out, "{\"status\":\"ok\",\"reason\":\"single node cluster\"}");
    api_reply(r, 200);
}

// GET …/certificate-expiration/N/UNIT: there are no certificates that could expire.
static void
get_certificates(struct api_request *r)
{
    static const char *const units[] = {"days", "weeks", "months", "years"};
    struct slice number = api_segment(r, 4), unit = api_segment(r, 5);
    bool is_unit = false, is_number = number.len > 0 && number.len < 10;
    for (size_t i = 0; i < number.len; i++)
        is_number &= number.ptr[i] >= '0' && number.ptr[i] <= '9';
    for (size_t i = 0; i < LV_ARRAY_LEN(units); i++)
        is_unit |= slice_eq_str(unit, units[i]);
    if (!is_unit)
        api_error(r, 400, "bad_request",
                  "Time unit not recognised. Supported units: days, weeks, months, years.");
    else if (!is_number)
        api_error(r, 400, "bad_request", "Invalid expiration value.");
    else
        reply_ok(r);
}

// 4.x: is the node up, and does it take clients?
static void
get_in_service(struct api_request *r)
{
    const struct api_node *n = http_server_node(r->server);
    struct api_resources resources = {.is_running = true};
    if (n->resources != NULL)
        n->resources(n->ctx, &resources);
    if (resources.is_running) {
        reply_ok(r);
        return;
    }
    put_failed(r, "the node is starting or stopping");
    json_drop_comma(&r->out);
    buf_append_u8(&r->out, '}');
    api_reply(r, 503);
}

// GET /api/healthchecks/node[/N], older
static void
get_node_check(struct api_request *r)
{
    if (api_segment_count(r) == 4 && !slice_eq_str(api_segment(r, 3), http_server_node(r->server)->node_name))
        api_not_found(r);
    else
        get_in_service(r);
}

const struct api_route api_routes_health[] = {
    {API_GET, "/api/health/checks/alarms", get_alarms, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/local-alarms", get_alarms, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/port-listener/*", get_port_listener, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/protocol-listener/*", get_protocol_listener, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/certificate-expiration/*/*", get_certificates, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/virtual-hosts", get_virtual_hosts, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/node-is-mirror-sync-critical", get_critical, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/node-is-quorum-critical", get_critical, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/is-in-service", get_in_service, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/health/checks/ready-to-serve-clients", get_in_service, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/healthchecks/node", get_node_check, API_FOR_MANAGEMENT, 0},
    {API_GET, "/api/healthchecks/node/*", get_node_check, API_FOR_MANAGEMENT, 0},
    {0, NULL, NULL, 0, 0},
};
