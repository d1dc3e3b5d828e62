// leveretctl.c: finding the command, checking its arguments, running it.
//
// Happy path: options → command → number of arguments → the command's own check → run. Each refusal is told on standard error with
// rabbitmqctl's words: unknown command (with the nearest one), bad options, too many or not enough arguments, bad values.
#include "src/cli/leveretctl.h"

#include <unistd.h>

#include "src/base/err.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/cli/leveretctl_absent.h"
#include "src/cli/leveretctl_admin.h"
#include "src/cli/leveretctl_help.h"
#include "src/cli/leveretctl_similar.h"

static const struct ctl_command *const ctl_tables[] = {
    ctl_commands_help,     ctl_commands_process,     ctl_commands_access,  ctl_commands_vhosts,
    ctl_commands_policies, ctl_commands_parameters,  ctl_commands_lists,   ctl_commands_operations,
    ctl_commands_status,   ctl_commands_checks,      ctl_commands_inspect, ctl_commands_cluster,
    ctl_commands_store,    ctl_commands_reasons,     ctl_commands_top,     ctl_commands_plugin_family,
    ctl_commands_delayed,  ctl_commands_definitions, ctl_commands_policy,  ctl_commands_messages,
};
static const struct ctl_command *const plugins_tables[] = {ctl_commands_plugins, ctl_commands_help};

static const struct {
    const struct ctl_command *const *tables;
    size_t count;
} tools[] = {
    [TOOL_CTL] = {ctl_tables, LV_ARRAY_LEN(ctl_tables)},
    [TOOL_PLUGINS] = {plugins_tables, LV_ARRAY_LEN(plugins_tables)},
};

void
ctl_command_each(enum ctl_tool tool, void (*visit)(const struct ctl_command *command, void *ctx), void *ctx)
{
    for (size_t t = 0; t < tools[tool].count; t++) {
        for (const struct ctl_command *command = tools[tool].tables[t]; command->name != NULL; command++)
            visit(command, ctx);
    }
}

const struct ctl_command *
ctl_command_find(enum ctl_tool tool, struct slice name)
{
    for (size_t t = 0; t < tools[tool].count; t++) {
        for (const struct ctl_command *command = tools[tool].tables[t]; command->name != NULL; command++) {
            if (slice_eq_str(name, command->name))
                return command;
        }
    }
    return NULL;
}

// --- the socket -----------------------------------------------------------------------------------------------------------------

static char *
find_socket(const struct ctl_options *o, const char *const *environment)
{
    static const char installed[] = "/var/lib/leveret/control.sock";
    static const char built[] = "./build/data/control.sock";
    const char *path = o->socket != NULL ? o->socket : ctl_variable(environment, "LEVERET_SOCKET");
    const char *dir = ctl_variable(environment, "LEVERET_DATA_DIR");
    if (path != NULL)
        return mem_xstrdup(path);
    if (dir != NULL) {
        struct buf joined = BUF_INIT;
        buf_printf(&joined, "%s/control.sock", dir);
        char *copy = mem_xstrdup(buf_cstr(&joined));
        buf_fini(&joined);
        return copy;
    }
    return mem_xstrdup(access(installed, F_OK) != 0 && access(built, F_OK) == 0 ? built : installed);
}

static char *
find_data_dir(const struct ctl_options *o, const char *const *environment)
{
    const char *dir = o->data_dir != NULL ? o->data_dir : ctl_variable(environment, "LEVERET_DATA_DIR");
    return mem_xstrdup(dir != NULL ? dir : "/var/lib/leveret");
}

// --- refusals -------------------------------------------------------------------------------------------------------------------

// As shells would show it: the words behind the program's name.
static int
refuse_arguments(struct ctl *c, int argc, char **argv, int status, const char *problem)
{
    fprintf(c->err, "Error (argument validation): %s\nArguments given:\n\t", problem);
    for (int i = 1; i < argc; i++)
        fprintf(c->err, "%s%s", i > 1 ? " " : "", argv[i]);
    fprintf(c->err, "\n\n\033[1mUsage\033[0m\n\n");
    ctl_help_usage_line(c, c->err, c->command);
    return status;
}

static int
refuse_options(struct ctl *c, int argc, char **argv)
{
    struct buf text = BUF_INIT;
    struct slice lines = buf_slice(&c->options.invalid);
    while (lines.len > 0 && lines.ptr[lines.len - 1] == '\n')
        lines.len--;
    buf_printf(&text, "Invalid options for this command:\n%.*s", SLICE_FMT(lines));
    int status = refuse_arguments(c, argc, argv, CTL_USAGE, buf_cstr(&text));
    buf_fini(&text);
    return status;
}

static int
unknown_command(struct ctl *c)
{
    const char *near = ctl_similar_command(c->tool, c->options.command);
    const char *why = c->tool == TOOL_CTL ? ctl_absent_reason(c->options.command) : NULL;
    if (why != NULL)
        return ctl_fail(c, CTL_UNAVAILABLE, "Leveret has no command '%s': %s.", c->options.command, why);
    fprintf(c->err, "\nCommand '%s' not found. \n", c->options.command);
    if (near != NULL) {
        fprintf(c->err, "Did you mean '%s'? \n\n", near);
    } else {
        fputc('\n', c->err);
        ctl_help_all(c, c->err);
    }
    return CTL_USAGE;
}

// --- the run --------------------------------------------------------------------------------------------------------------------

static int
check_and_run(struct ctl *c, int argc, char **argv)
{
    const struct ctl_command *command = c->command;
    for (int i = 1; i < argc; i++) {
        if (!utf8_is_valid(slice_str(argv[i]))) // JSON could not carry it
            return refuse_arguments(c, argc, argv, CTL_DATA, "Bad argument: arguments must be UTF-8");
    }
    ctl_options_forbid(&c->options, command->options);
    if (c->options.invalid.len > 0)
        return refuse_options(c, argc, argv);
    if (c->options.formatter != NULL) {
        fprintf(c->err, "Error: unknown formatter '%s'. Use one of table, json, csv, pretty_table, erlang\n",
                c->options.formatter);
        return 1;
    }
    if (c->options.arg_count < command->args_min)
        return refuse_arguments(c, argc, argv, CTL_USAGE, "not enough arguments.");
    if (c->options.arg_count > command->args_max)
        return refuse_arguments(c, argc, argv, CTL_USAGE, "too many arguments.");
    if (command->check != NULL) {
        int status = command->check(c);
        if (status != 0)
            return refuse_arguments(c, argc, argv, status, buf_cstr(&c->problem));
    }
    if (c->target.is_http && (command->options & NEEDS_SOCKET) != 0)
        return ctl_fail(c, CTL_UNAVAILABLE,
                        "%s works over the control socket only, on the node's own machine", command->name);
    return command->run(c);
}

// `leveretctl plugins list` is `rabbitmq-plugins list`.
static void
enter_family(struct ctl *c)
{
    struct ctl_options *o = &c->options;
    if (c->tool != TOOL_CTL || strcmp(o->command, "plugins") != 0 || o->arg_count == 0)
        return;
    c->tool = TOOL_PLUGINS;
    o->command = o->args[0];
    o->arg_count--;
    memmove(o->args, o->args + 1, o->arg_count * sizeof o->args[0]);
}

static int
dispatch(struct ctl *c, int argc, char **argv)
{
    struct ctl_options *o = &c->options;
    if (o->is_version)
        return ctl_help_version(c);
    if (o->command == NULL) {
        ctl_help_all(c, o->is_help ? c->out : c->err);
        return o->is_help ? CTL_OK : CTL_USAGE;
    }
    enter_family(c);
    c->command = ctl_command_find(c->tool, slice_str(o->command));
    if (c->command == NULL)
        return unknown_command(c);
    if (o->is_help)
        return ctl_help_command(c, c->command);
    return check_and_run(c, argc, argv);
}

int
ctl_main(int argc, char **argv, const char *const *environment, FILE *in, FILE *out, FILE *err)
{
    struct ctl c = {.in = in, .out = out, .err = err};
    int status;
    c.program = ctl_help_program(argc > 0 ? argv[0] : "");
    c.tool = ctl_help_tool(c.program);
    if (strcmp(c.program, "rabbitmqadmin") == 0) {
        status = ctl_admin_main(&c, argc, argv, environment);
    } else if (ctl_options_parse(argc, argv, &c.options) != 0) {
        fprintf(err, "Error: more than %d arguments\n", CTL_ARGS_MAX);
        status = CTL_USAGE;
    } else if (ctl_target_init(&c.target, &c.options, environment, &c.problem) != 0) {
        fprintf(err, "Error: %s\n", buf_cstr(&c.problem));
        status = CTL_USAGE;
    } else {
        c.socket = find_socket(&c.options, environment);
        c.data_dir = find_data_dir(&c.options, environment);
        status = dispatch(&c, argc, argv);
    }
    ctl_http_free(&c);
    ctl_options_fini(&c.options);
    buf_fini(&c.problem);
    if (fflush(out) != 0 || ferror(out))
        status =
            status != 0 ? status : CTL_SOFTWARE; // a full disk or a closed pipe must not look like success
    return status;
}
