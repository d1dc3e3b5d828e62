// leveretctl_plugins.c: rabbitmq-plugins, for scripts that enable plugins before they start a broker. Leveret has no plugins: what it has of
// them is built in and always on, and the rest is not there. So `enable` of a built-in one succeeds and says so, `enable` of another fails as
// that of an unknown one does, and nothing is ever written. No broker is needed for it.
#include <regex.h>

#include "src/cli/leveretctl.h"

struct plugin {
    const char *name;
    bool is_built_in;
    bool is_implicit; // comes with another: "e"
};

// The plugins of RabbitMQ 3.10, and the community's that are built in.
static const struct plugin plugins[] = {
    {"rabbitmq_amqp1_0", false, false},
    {"rabbitmq_auth_backend_cache", false, false},
    {"rabbitmq_auth_backend_http", false, false},
    {"rabbitmq_auth_backend_ldap", false, false},
    {"rabbitmq_auth_backend_oauth2", false, false},
    {"rabbitmq_auth_mechanism_ssl", false, false},
    {"rabbitmq_consistent_hash_exchange", true, false},
    {"rabbitmq_delayed_message_exchange", true, false},
    {"rabbitmq_event_exchange", true, false},
    {"rabbitmq_federation", false, false},
    {"rabbitmq_federation_management", false, false},
    {"rabbitmq_jms_topic_exchange", false, false},
    {"rabbitmq_management", true, false},
    {"rabbitmq_management_agent", true, true},
    {"rabbitmq_mqtt", false, false},
    {"rabbitmq_peer_discovery_aws", false, false},
    {"rabbitmq_peer_discovery_common", false, false},
    {"rabbitmq_peer_discovery_consul", false, false},
    {"rabbitmq_peer_discovery_etcd", false, false},
    {"rabbitmq_peer_discovery_k8s", false, false},
    {"rabbitmq_prometheus", true, false},
    {"rabbitmq_random_exchange", true, false},
    {"rabbitmq_recent_history_exchange", false, false},
    {"rabbitmq_sharding", false, false},
    {"rabbitmq_shovel", false, false},
    {"rabbitmq_shovel_management", false, false},
    {"rabbitmq_stomp", false, false},
    {"rabbitmq_stream", false, false},
    {"rabbitmq_stream_management", false, false},
    {"rabbitmq_top", false, false},
    {"rabbitmq_tracing", false, false},
    {"rabbitmq_trust_store", false, false},
    {"rabbitmq_web_dispatch", true, true},
    {"rabbitmq_web_mqtt", false, false},
    {"rabbitmq_web_stomp", false, false},
};

static const struct plugin *
find(const char *name)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(plugins); i++) {
        if (strcmp(plugins[i].name, name) == 0)
            return &plugins[i];
    }
    return NULL;
}

// --- list -----------------------------------------------------------------------------------------------------------------------

static bool
is_shown(const struct ctl *c, const struct plugin *p, const regex_t *pattern)
{
    bool is_enabled_only = c->options.is_if_empty || c->options.is_enabled_only; // -e
    if (c->options.is_explicit_only && (!p->is_built_in || p->is_implicit))
        return false;
    return (!is_enabled_only || p->is_built_in) && regexec(pattern, p->name, 0, NULL, 0) == 0;
}

static void
print_json(struct ctl *c, const regex_t *pattern, bool is_running)
{
    json_t *shown = json_array();
    for (size_t i = 0; i < LV_ARRAY_LEN(plugins); i++) {
        const struct plugin *p = &plugins[i];
        const char *enabled = !p->is_built_in ? "not_enabled" : p->is_implicit ? "implicit" : "enabled";
        json_t *version = json_array(); // its characters' codes, as RabbitMQ shows them
        for (const char *at = CTL_VERSION; *at != '\0'; at++)
            json_array_append_new(version, json_integer(*at));
        bool runs = p->is_built_in && is_running;
        json_t *entry =
            json_pack("{s:s, s:s, s:b, s:o, s:o}", "enabled", enabled, "name", p->name, "running", (int)runs,
                      "running_version", runs ? json_incref(version) : json_null(), "version", version);
        if (is_shown(c, p, pattern))
            json_array_append(shown, entry);
        json_decref(entry);
    }
    ctl_print_json(c, c->out,
                   json_pack("{s:s, s:o, s:s}", "format", c->options.is_minimal ? "minimal" : "normal",
                             "plugins", shown, "status", is_running ? "running" : "node_down"));
}

static void
print_text(struct ctl *c, const regex_t *pattern, bool is_running)
{
    size_t width = 0;
    for (size_t i = 0; i < LV_ARRAY_LEN(plugins); i++) {
        if (is_shown(c, &plugins[i], pattern))
            width = LV_MAX(width, strlen(plugins[i].name));
    }
    if (!c->options.is_minimal && !c->options.is_quiet && !c->options.is_silent) {
        fputs(" Configured: E = explicitly enabled; e = implicitly enabled\n", c->out);
        fprintf(c->out,
                is_running ? " | Status: * = running on %s\n"
                           : " | Status: [failed to contact %s - status not shown]\n",
                ctl_node(c));
        fputs(" |/\n", c->out);
    }
    for (size_t i = 0; i < LV_ARRAY_LEN(plugins); i++) {
        const struct plugin *p = &plugins[i];
        if (!is_shown(c, p, pattern))
            continue;
        if (c->options.is_minimal)
            fprintf(c->out, "%s\n", p->name);
        else
            fprintf(c->out, "[%c%c] %-*s %s\n",
                    !p->is_built_in  ? ' '
                    : p->is_implicit ? 'e'
                                     : 'E',
                    p->is_built_in && is_running ? '*' : ' ', (int)width, p->name, CTL_VERSION);
    }
}

static int
run_list(struct ctl *c)
{
    const char *pattern_text = ctl_arg(c, 0) != NULL ? ctl_arg(c, 0) : ".*";
    regex_t pattern;
    if (regcomp(&pattern, pattern_text, REG_EXTENDED | REG_NOSUB) != 0)
        return ctl_fail(c, CTL_DATA, "'%s' is no regular expression", pattern_text);
    ctl_banner(c, "Listing plugins with pattern \"%s\" ...", pattern_text);
    if (!c->options.is_dry_run) {
        bool is_running = ctl_is_running(c);
        if (ctl_is_json(c))
            print_json(c, &pattern, is_running);
        else
            print_text(c, &pattern, is_running);
    }
    regfree(&pattern);
    return CTL_OK;
}

// --- enable, disable --------------------------------------------------------------------------------------------------------------

static int
refuse_unknown(struct ctl *c, bool is_asked_to_run)
{
    struct buf unknown = BUF_INIT, missing = BUF_INIT;
    for (size_t i = 0; i < c->options.arg_count; i++) {
        const char *name = c->options.args[i];
        const struct plugin *p = find(name);
        if (p == NULL || (is_asked_to_run && !p->is_built_in))
            buf_printf(&unknown, "%s:%s", unknown.len > 0 ? ", " : "", name);
        if (p != NULL && is_asked_to_run && !p->is_built_in)
            buf_printf(&missing, "%s%s", missing.len > 0 ? ", " : "", name);
    }
    int status = CTL_OK;
    if (missing.len > 0)
        status = ctl_fail(
            c, CTL_SOFTWARE,
            "{:plugins_not_found, [%s]}\nLeveret does not have %s. See `plugins list` for what is built in",
            buf_cstr(&unknown), buf_cstr(&missing));
    else if (unknown.len > 0)
        status = ctl_fail(c, CTL_SOFTWARE, "{:plugins_not_found, [%s]}", buf_cstr(&unknown));
    buf_fini(&unknown);
    buf_fini(&missing);
    return status;
}

static void
print_names(struct ctl *c)
{
    if (c->options.is_quiet || c->options.is_silent || ctl_is_json(c))
        return;
    for (size_t i = 0; i < c->options.arg_count; i++)
        fprintf(c->out, "%s\n", c->options.args[i]);
}

static int
print_result(struct ctl *c, const char *text)
{
    json_t *enabled = json_array();
    for (size_t i = 0; i < LV_ARRAY_LEN(plugins); i++) {
        if (plugins[i].is_built_in)
            json_array_append_new(enabled, json_string(plugins[i].name));
    }
    if (ctl_is_json(c)) {
        ctl_print_json(
            c, c->out,
            json_pack("{s:[], s:O, s:[], s:s}", "disabled", "enabled", enabled, "started", "message", text));
    } else {
        fputs("The following plugins have been configured:\n", c->out);
        for (size_t i = 0; i < json_array_size(enabled); i++)
            fprintf(c->out, "  %s\n", json_string_value(json_array_get(enabled, i)));
        fprintf(c->out, "%s\n", text);
    }
    json_decref(enabled);
    return CTL_OK;
}

// What is built in stays as it is: says so, or which of the names are not.
static int
change(struct ctl *c, bool is_asked_to_run, const char *result)
{
    ctl_banner(
        c, is_asked_to_run ? "Enabling plugins on node %s:" : "Disabling plugins on node %s:", ctl_node(c));
    print_names(c);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = refuse_unknown(c, is_asked_to_run);
    return status != CTL_OK ? status : print_result(c, result);
}

static int
run_enable(struct ctl *c)
{
    return change(c, true, "Plugin configuration unchanged. (They are built into Leveret and always on.)");
}

static int
run_disable(struct ctl *c)
{
    return change(c, false,
                  "Plugin configuration unchanged. (What is built into Leveret cannot be disabled; "
                  "management.tcp.port = 0 closes the HTTP API.)");
}

static int
run_set(struct ctl *c)
{
    return change(c, true, "Plugin configuration unchanged. (What is built into Leveret is always on.)");
}

static int
run_is_enabled(struct ctl *c)
{
    struct buf names = BUF_INIT;
    ctl_words(&names, c, 0, ", ");
    bool are_many = c->options.arg_count > 1;
    ctl_banner(c, "Asking node %s if plugin%s %s %s enabled...", ctl_node(c), are_many ? "s" : "",
               buf_cstr(&names), are_many ? "are" : "is");
    int status = CTL_OK;
    for (size_t i = 0; i < c->options.arg_count && !c->options.is_dry_run && status == CTL_OK; i++) {
        const struct plugin *p = find(c->options.args[i]);
        struct buf enabled = BUF_INIT;
        for (size_t k = 0; k < LV_ARRAY_LEN(plugins); k++) {
            if (plugins[k].is_built_in)
                buf_printf(&enabled, "%s%s", enabled.len > 0 ? ", " : "", plugins[k].name);
        }
        if (p == NULL || !p->is_built_in)
            status = ctl_fail(c, CTL_UNAVAILABLE,
                              "Plugin %s is not enabled on node %s. Enabled plugins and dependencies: %s",
                              c->options.args[i], ctl_node(c), buf_cstr(&enabled));
        buf_fini(&enabled);
    }
    if (status == CTL_OK && !c->options.is_dry_run)
        status = ctl_say(c, NULL, "Plugin%s %s %s enabled on node %s", are_many ? "s" : "", buf_cstr(&names),
                         are_many ? "are" : "is", ctl_node(c));
    buf_fini(&names);
    return status;
}

static int
run_directories(struct ctl *c)
{
    ctl_banner(c, "Listing plugin directories used by node %s", ctl_node(c));
    if (ctl_is_json(c))
        return ctl_print_json(c, c->out,
                              json_pack("{s:s, s:s, s:s}", "enabled_plugins_file", "", "plugins_dist_dir", "",
                                        "plugins_expand_dir", ""));
    fputs("Plugin archives directory: (none)\nPlugin expansion directory: (none)\nEnabled plugins file: "
          "(none)\n",
          c->out);
    return CTL_OK;
}

#define NAMES_DETAIL                                                                                         \
    "<plugin>\n\tnames of plugins\n\n--offline, --online\n\tno difference: nothing is changed\n\n"

const struct ctl_command ctl_commands_plugins[] = {
    {"list", GROUP_PLUGINS, "[--minimal|-m] [--enabled|-E] [--implicitly-enabled|-e] [<pattern>]",
     "Lists plugins: those that are built in, and those that are not there",
     "<pattern>\n\tregular expression that is to be found in the names\n\n--minimal\n\tnames "
     "only\n\n--enabled\n\tonly what is built in\n\n"
     "--implicitly-enabled\n\twith what comes with others\n\n",
     0, 1, OPTION_PLUGINS | OPTION_IF_EMPTY, NULL, run_list, NULL},
    {"enable", GROUP_PLUGINS, "[--offline] [--online] <plugin> [...]",
     "Succeeds for plugins that are built in, fails for others; changes nothing", NAMES_DETAIL, 1,
     CTL_ARGS_ANY, OPTION_ONLINE | OPTION_OFFLINE | OPTION_PLUGINS, NULL, run_enable, NULL},
    {"disable", GROUP_PLUGINS, "[--offline] [--online] <plugin> [...]",
     "Changes nothing: what is built in stays", NAMES_DETAIL, 0, CTL_ARGS_ANY,
     OPTION_ONLINE | OPTION_OFFLINE | OPTION_PLUGINS, NULL, run_disable, NULL},
    {"set", GROUP_PLUGINS, "[--offline] [--online] [<plugin> ...]",
     "Succeeds for plugins that are built in, fails for others; changes nothing", NAMES_DETAIL, 0,
     CTL_ARGS_ANY, OPTION_ONLINE | OPTION_OFFLINE | OPTION_PLUGINS, NULL, run_set, NULL},
    {"is_enabled", GROUP_PLUGINS, "<plugin> [...]", "Exits with 69 unless all of them are built in",
     NAMES_DETAIL, 1, CTL_ARGS_ANY, OPTION_ONLINE | OPTION_OFFLINE, NULL, run_is_enabled, NULL},
    {"directories", GROUP_PLUGINS, "", "Says that there are no plugin directories", NULL, 0, 0,
     OPTION_ONLINE | OPTION_OFFLINE, NULL, run_directories, NULL},
    {.name = NULL},
};

// Without one of the above behind it.
static int
run_plugins(struct ctl *c)
{
    return ctl_fail(c, CTL_USAGE,
                    "plugins needs one of list, enable, disable, set, is_enabled, directories behind it");
}

const struct ctl_command ctl_commands_plugin_family[] = {
    {"plugins", GROUP_PLUGINS, "list|enable|disable|set|is_enabled|directories ...",
     "Does what rabbitmq-plugins does", NULL, 0, 0, 0, NULL, run_plugins, NULL},
    {.name = NULL},
};
