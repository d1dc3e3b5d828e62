// leveretctl_parameters.c: run-time parameters of virtual hosts, global ones, the cluster's name, feature flags.
#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"

// --- parameters -----------------------------------------------------------------------------------------------------------------

// {"value": …} of a JSON text; NULL: it is none, and that was told.
static json_t *
value_body(struct ctl *c, const char *text)
{
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (value == NULL) {
        ctl_fail(c, CTL_UNAVAILABLE, "JSON decoding error. Reason: badarg");
        return NULL;
    }
    return json_pack("{s:o}", "value", value);
}

static int
run_set_parameter(struct ctl *c)
{
    const char *component = ctl_arg(c, 0), *name = ctl_arg(c, 1), *text = ctl_arg(c, 2),
               *vhost = ctl_vhost(c);
    ctl_banner(c, "Setting runtime parameter \"%s\" for component \"%s\" to \"%s\" in vhost \"%s\" ...", name,
               component, text, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *body = value_body(c, text);
    if (body == NULL)
        return CTL_UNAVAILABLE;
    int status = ctl_call(c, "PUT", body, "parameters", component, vhost, name, NULL);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail_no_such_vhost(c, vhost);
    return ctl_finish(c, status);
}

static int
finish_clear(struct ctl *c, int status)
{
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "Parameter does not exist");
    return ctl_finish(c, status);
}

static int
run_clear_parameter(struct ctl *c)
{
    const char *component = ctl_arg(c, 0), *name = ctl_arg(c, 1), *vhost = ctl_vhost(c);
    ctl_banner(c, "Clearing runtime parameter \"%s\" for component \"%s\" on vhost \"%s\" ...", name,
               component, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    return finish_clear(c, ctl_call(c, "DELETE", NULL, "parameters", component, vhost, name, NULL));
}

static int
run_set_global_parameter(struct ctl *c)
{
    const char *name = ctl_arg(c, 0), *text = ctl_arg(c, 1);
    ctl_banner(c, "Setting global runtime parameter \"%s\" to \"%s\" ...", name, text);
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *body = value_body(c, text);
    return body == NULL ? (int)CTL_UNAVAILABLE
                        : ctl_finish(c, ctl_call(c, "PUT", body, "global-parameters", name, NULL));
}

static int
run_clear_global_parameter(struct ctl *c)
{
    ctl_banner(c, "Clearing global runtime parameter \"%s\" ...", ctl_arg(c, 0));
    if (c->options.is_dry_run)
        return CTL_OK;
    return finish_clear(c, ctl_call(c, "DELETE", NULL, "global-parameters", ctl_arg(c, 0), NULL));
}

static const struct ctl_column parameter_columns[] = {
    {"component", "component", KIND_TEXT, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"value", "value", KIND_JSON, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_listing parameters = {.columns = parameter_columns,
                                              .defaults = "component,name,value"};
static const struct ctl_listing global_parameters = {.columns = parameter_columns, .defaults = "name,value"};

// rabbitmqctl's list has those of one vhost; an empty one is an empty line.
static int
run_list_parameters(struct ctl *c)
{
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "Listing runtime parameters for vhost \"%s\" ...", vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "parameters", NULL);
    if (status != 0)
        return status;
    json_t *of_vhost = json_array();
    for (size_t i = 0; i < json_array_size(c->answer.json); i++) {
        json_t *p = json_array_get(c->answer.json, i);
        const char *its = json_string_value(json_object_get(p, "vhost"));
        if (its != NULL && strcmp(its, vhost) == 0)
            json_array_append(of_vhost, p);
    }
    status = ctl_list(c, of_vhost);
    json_decref(of_vhost);
    return status;
}

static int
run_list_global_parameters(struct ctl *c)
{
    ctl_banner(c, "Listing global runtime parameters ...");
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "global-parameters", NULL);
    return status != 0 ? status : ctl_list(c, c->answer.json);
}

// --- the cluster's name -----------------------------------------------------------------------------------------------------------

static int
run_set_cluster_name(struct ctl *c)
{
    ctl_banner(c, "Setting cluster name to %s ...", ctl_arg(c, 0));
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "PUT", json_pack("{s:s}", "name", ctl_arg(c, 0)), "cluster-name", NULL));
}

// --- feature flags ----------------------------------------------------------------------------------------------------------------

static const struct ctl_column flag_columns[] = {
    {"desc", "desc", KIND_TEXT, NULL},
    {"doc_url", "doc_url", KIND_TEXT, NULL},
    {"name", "name", KIND_ATOM, NULL},
    {"provided_by", "provided_by", KIND_ATOM, NULL},
    {"stability", "stability", KIND_ATOM, NULL},
    {"state", "state", KIND_ATOM, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_listing flags = {.columns = flag_columns, .defaults = "name,state"};

static int
run_list_feature_flags(struct ctl *c)
{
    ctl_banner(c, "Listing feature flags ...");
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "feature-flags", NULL);
    return status != 0 ? status : ctl_list(c, c->answer.json);
}

// They are all on. One that is not known is refused, as RabbitMQ does.
static int
run_enable_feature_flag(struct ctl *c)
{
    const char *name = ctl_arg(c, 0);
    bool is_all = strcmp(name, "all") == 0;
    if (is_all)
        ctl_banner(c, "Enabling all feature flags ...");
    else
        ctl_banner(c, "Enabling feature flag \"%s\" ...", name);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "feature-flags", NULL);
    if (status != 0)
        return status;
    bool is_known = is_all;
    for (size_t i = 0; i < json_array_size(c->answer.json); i++) {
        const char *its = json_string_value(json_object_get(json_array_get(c->answer.json, i), "name"));
        is_known |= its != NULL && strcmp(its, name) == 0;
    }
    if (!is_known)
        return ctl_fail(c, CTL_USAGE, "This feature flag is not supported by node %s", ctl_node(c));
    return ctl_done(c);
}

#define NAME_DETAIL      "<name>\n\tname of the parameter\n\n"
#define COMPONENT_DETAIL "<component_name>\n\tcomponent it belongs to\n\n"
#define VALUE_DETAIL     "<value>\n\tits value as JSON\n\n"

const struct ctl_command ctl_commands_parameters[] = {
    {"set_parameter", GROUP_POLICIES, "[--vhost <vhost>] <component_name> <name> <value>",
     "Sets a runtime parameter", COMPONENT_DETAIL NAME_DETAIL VALUE_DETAIL, 3, 3, 0, NULL, run_set_parameter,
     NULL},
    {"clear_parameter", GROUP_POLICIES, "[--vhost <vhost>] <component_name> <name>",
     "Clears a runtime parameter", COMPONENT_DETAIL NAME_DETAIL, 2, 2, 0, NULL, run_clear_parameter, NULL},
    {"list_parameters", GROUP_POLICIES, "[--vhost <vhost>] [--no-table-headers]",
     "Lists runtime parameters for a virtual host", NULL, 0, 0, 0, &parameters, run_list_parameters, NULL},
    {"set_global_parameter", GROUP_POLICIES, "<name> <value>", "Sets a global runtime parameter",
     NAME_DETAIL VALUE_DETAIL, 2, 2, 0, NULL, run_set_global_parameter, NULL},
    {"clear_global_parameter", GROUP_POLICIES, "<name>", "Clears a global runtime parameter", NAME_DETAIL, 1,
     1, 0, NULL, run_clear_global_parameter, NULL},
    {"list_global_parameters", GROUP_POLICIES, "[--no-table-headers]", "Lists global runtime parameters",
     NULL, 0, 0, 0, &global_parameters, run_list_global_parameters, NULL},
    {"set_cluster_name", GROUP_CLUSTER, "<name>", "Sets the cluster name", "<name>\n\tthe name\n\n", 1, 1, 0,
     NULL, run_set_cluster_name, NULL},
    {"list_feature_flags", GROUP_MONITORING, "[--no-table-headers] [<column> ...]", "Lists feature flags",
     NULL, 0, CTL_ARGS_ANY, 0, &flags, run_list_feature_flags, ctl_columns_check},
    {"enable_feature_flag", GROUP_CONFIGURATION, "<feature_flag> | all",
     "Does nothing: those that are there are always on", "<feature_flag>\n\tname of the feature flag\n\n", 1,
     1, 0, NULL, run_enable_feature_flag, NULL},
    {.name = NULL},
};
