// leveretctl_node.c: see leveretctl_node.h.
#include "src/cli/leveretctl_node.h"

#include <inttypes.h>

static const char *
purpose_of(const char *protocol)
{
    static const char *const purposes[][2] = {
        {"amqp", "AMQP 0-9-1"},
        {"amqp/ssl", "AMQP 0-9-1 over TLS"},
        {"http", "HTTP API"},
        {"https", "HTTP API over TLS"},
        {"http/prometheus", "Prometheus exporter API over HTTP"},
        {"clustering", "inter-node communication"},
    };
    for (size_t i = 0; i < LV_ARRAY_LEN(purposes); i++) {
        if (strcmp(protocol, purposes[i][0]) == 0)
            return purposes[i][1];
    }
    return "";
}

json_t *
node_listeners(struct ctl *c)
{
    const json_t *listeners = ctl_overview_member(c, "listeners");
    json_t *result = json_array();
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *l = json_array_get(listeners, i);
        const char *address = json_string_value(json_object_get(l, "ip_address"));
        const char *protocol = json_string_value(json_object_get(l, "protocol"));
        if (address == NULL || protocol == NULL)
            continue;
        bool is_v6 = strchr(address, ':') != NULL;
        json_t *interface = json_sprintf(is_v6 ? "[%s]" : "%s", address);
        json_array_append_new(result, json_pack("{s:o, s:s, s:O, s:s, s:s}", "interface", interface, "node",
                                                ctl_node(c), "port", json_object_get(l, "port"), "protocol",
                                                protocol, "purpose", purpose_of(protocol)));
    }
    return result;
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

void
node_put_listener(struct buf *out, const json_t *listener)
{
    buf_printf(out, "Interface: %s, port: %" PRId64 ", protocol: %s, purpose: %s",
               text_of(listener, "interface"), (int64_t)json_integer_value(json_object_get(listener, "port")),
               text_of(listener, "protocol"), text_of(listener, "purpose"));
}

json_t *
node_alarms(struct ctl *c, int *ret_status)
{
    int status = ctl_call(c, "GET", NULL, "health", "checks", "local-alarms", NULL);
    if (status == 0 && c->answer.status != 200 && c->answer.status != 503)
        status = ctl_refused(c);
    if (status != 0) {
        *ret_status = status;
        return NULL;
    }
    json_t *sentences = json_array();
    const json_t *alarms = json_object_get(c->answer.json, "alarms");
    for (size_t i = 0; i < json_array_size(alarms); i++) {
        const json_t *alarm = json_array_get(alarms, i);
        const char *resource = text_of(alarm, "resource");
        json_array_append_new(sentences,
                              json_sprintf("%s alarm on node %s",
                                           strcmp(resource, "disk") == 0 ? "Free disk space" : "Memory",
                                           text_of(alarm, "node")));
    }
    return sentences;
}

json_t *
node_details(struct ctl *c, int *ret_status)
{
    int status = ctl_overview(c);
    if (status == 0)
        status = ctl_get(c, "nodes", ctl_node(c), NULL);
    if (status != 0) {
        *ret_status = status;
        return NULL;
    }
    return json_incref(c->answer.json);
}
