// leveretctl_help.c: what `help`, `--help`, `version` and `autocomplete` print. All of it comes from the table of commands.
#include "src/cli/leveretctl_help.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl_absent.h"
#include "src/cli/leveretctl_lists.h"

static const char *const group_titles[GROUP_COUNT] = {
    [GROUP_HELP] = "Help",
    [GROUP_NODES] = "Nodes",
    [GROUP_CLUSTER] = "Cluster",
    [GROUP_USERS] = "Users",
    [GROUP_ACCESS] = "Access Control",
    [GROUP_MONITORING] = "Monitoring, observability and health checks",
    [GROUP_POLICIES] = "Policies",
    [GROUP_VHOSTS] = "Virtual hosts",
    [GROUP_CONFIGURATION] = "Configuration and Environment",
    [GROUP_OPERATIONS] = "Operations",
    [GROUP_QUEUES] = "Queues",
    [GROUP_PLUGINS] = "Plugins",
};

static const char general_options[] =
    "\033[1mGeneral Options\033[0m\n"
    "\n"
    "The following options are accepted by most or all commands, before or after the command.\n"
    "\n"
    "short            | long            | description\n"
    "-----------------|-----------------|--------------------------------\n"
    "-?               | --help          | displays command help\n"
    "-n <node>        | --node <node>   | name of the node; it must be the one that answers "
    "[RABBITMQ_NODENAME]\n"
    "-q               | --quiet         | suppress informational messages\n"
    "-s               | --silent        | suppress informational messages and table header row\n"
    "-p <vhost>       | --vhost <vhost> | virtual host, for commands that are scoped to one [/]\n"
    "-t <seconds>     | --timeout <s>   | operation timeout in seconds [60]; 0: none\n"
    "                 | --formatter <f> | table, json, csv, pretty_table, erlang\n"
    "                 | --no-table-headers | suppress the table header row\n"
    "                 | --dry-run       | print what would be done, do nothing\n"
    "-n <url>         | --node <url>    | http(s)://[user[:password]@]host[:port]: its HTTP API instead of "
    "the\n"
    "                 |                 | control socket [LEVERET_URL]\n"
    "                 | --host <host>   | the same in parts [localhost]\n"
    "                 | --port <port>   | [15672, 15671 with --tls]\n"
    "                 | --username <u>  | user of the HTTP API [LEVERET_USERNAME, else guest]\n"
    "                 | --password-file <path> | file with its password [LEVERET_PASSWORD_FILE, "
    "LEVERET_PASSWORD];\n"
    "                 |                 | without one it is asked for\n"
    "                 | --password <p>  | its password; hidden from other users as soon as it was read\n"
    "                 | --tls           | with TLS; --tls-ca-cert, --tls-cert, --tls-key <path>, "
    "--tls-insecure\n"
    "                 | --socket <path> | the broker's control socket [LEVERET_SOCKET, else\n"
    "                 |                 | LEVERET_DATA_DIR/control.sock, else "
    "/var/lib/leveret/control.sock]\n"
    "\n";

const char *
ctl_help_program(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');
    const char *name = slash != NULL ? slash + 1 : argv0;
    return name[0] != '\0' ? name : "leveretctl";
}

enum ctl_tool
ctl_help_tool(const char *program)
{
    return strcmp(program, "rabbitmq-plugins") == 0 ? TOOL_PLUGINS : TOOL_CTL;
}

void
ctl_help_usage_line(const struct ctl *c, FILE *to, const struct ctl_command *command)
{
    bool takes_time = command->listing != NULL || command->group == GROUP_MONITORING ||
                      command->group == GROUP_QUEUES || command->group == GROUP_CLUSTER ||
                      command->group == GROUP_NODES;
    // `leveretctl plugins list` is `rabbitmq-plugins list`.
    bool is_plugins = command->group == GROUP_PLUGINS && ctl_help_tool(c->program) != TOOL_PLUGINS &&
                      strcmp(command->name, "plugins") != 0;
    fprintf(to, "%s [--node <node>] [--longnames] [--quiet] %s%s%s%s%s\n", c->program,
            is_plugins ? "plugins " : "", command->name, command->usage[0] != '\0' ? " " : "", command->usage,
            takes_time ? " [--timeout <timeout>]" : "");
}

struct group_walk {
    FILE *to;
    enum ctl_group group;
    size_t width; // of the longest name
};

static void
measure(const struct ctl_command *command, void *ctx)
{
    struct group_walk *walk = ctx;
    walk->width = LV_MAX(walk->width, strlen(command->name));
}

static void
print_line(const struct ctl_command *command, void *ctx)
{
    struct group_walk *walk = ctx;
    if (command->group == walk->group)
        fprintf(walk->to, "   %-*s  %s\n", (int)walk->width, command->name, command->about);
}

void
ctl_help_all(const struct ctl *c, FILE *to)
{
    struct group_walk walk = {.to = to};
    ctl_command_each(c->tool, measure, &walk);
    fprintf(to,
            "\n\033[1mUsage\033[0m\n\n%s [--node <node>] [--timeout <timeout>] [--longnames] [--quiet] "
            "<command> [<command options>]\n"
            "\nAvailable commands:\n",
            c->program);
    for (int g = 0; g < GROUP_COUNT; g++) {
        if (c->tool == TOOL_PLUGINS && g != GROUP_HELP && g != GROUP_PLUGINS)
            continue;
        fprintf(to, "\n\033[1m%s\033[0m:\n\n", group_titles[g]);
        walk.group = (enum ctl_group)g;
        ctl_command_each(c->tool, print_line, &walk);
    }
    fprintf(to, "\nUse '%s help <command>' to learn more about a specific command\n", c->program);
}

int
ctl_help_command(const struct ctl *c, const struct ctl_command *command)
{
    fputs("\n\033[1mUsage\033[0m\n\n", c->out);
    ctl_help_usage_line(c, c->out, command);
    fprintf(c->out, "\n%s.\n\n", command->about);
    bool has_columns = command->check == ctl_columns_check;
    if (command->details != NULL || has_columns)
        fputs("\n\033[1mArguments and Options\033[0m\n\n", c->out);
    if (has_columns) {
        fputs("<column>\n\tmust be one of ", c->out);
        ctl_listing_print_columns(c->out, command->listing);
        fputs("\n\n", c->out);
    }
    if (command->details != NULL)
        fputs(command->details, c->out);
    fprintf(c->out, "\n%s", general_options);
    return CTL_OK;
}

int
ctl_help_version(const struct ctl *c)
{
    // Scripts choose their options by it.
    fprintf(c->out, "%s\n", CTL_VERSION);
    return CTL_OK;
}

// --- the commands ---------------------------------------------------------------------------------------------------------------

static int
run_version(struct ctl *c)
{
    return ctl_help_version(c);
}

static void
print_name(const struct ctl_command *command, void *ctx)
{
    fprintf(ctx, "%s\n", command->name);
}

// --- the table as data ------------------------------------------------------------------------------------------------------------

static void
add_column(const char *name, void *ctx)
{
    json_array_append_new(ctx, json_string(name));
}

static void
add_command(const struct ctl_command *command, void *ctx)
{
    json_t *columns = json_array();
    if (command->check == ctl_columns_check)
        ctl_listing_each_column(command->listing, add_column, columns);
    json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:b}", "name", command->name,
                                         "group", group_titles[command->group], "usage", command->usage,
                                         "about", command->about, "details",
                                         command->details != NULL ? command->details : "", "columns", columns,
                                         "options", (json_int_t)(command->options & ~(uint64_t)NEEDS_SOCKET),
                                         "needs_socket", (command->options & NEEDS_SOCKET) != 0));
}

static void
add_option(const char *name, char letter, bool takes_value, uint64_t bit, void *ctx)
{
    char letters[2] = {letter, '\0'};
    json_array_append_new(ctx, json_pack("{s:s, s:s, s:b, s:I}", "name", name, "letter", letters,
                                         "takes_value", takes_value, "bit", (json_int_t)bit));
}

// What manual, completions and docs/compatibility.md are made of (docs/generate.py).
static int
print_table(struct ctl *c)
{
    json_t *commands = json_array(), *plugins = json_array(), *absent = json_array(), *options = json_array();
    ctl_command_each(TOOL_CTL, add_command, commands);
    ctl_command_each(TOOL_PLUGINS, add_command, plugins);
    ctl_options_each(add_option, options);
    for (const struct ctl_absent *a = ctl_absent_commands; a->name != NULL; a++)
        json_array_append_new(absent, json_pack("{s:s, s:s}", "name", a->name, "why", a->why));
    return ctl_print_json(c, c->out,
                          json_pack("{s:o, s:o, s:o, s:o}", "commands", commands, "plugins", plugins,
                                    "absent", absent, "options", options));
}

static int
run_help(struct ctl *c)
{
    if (c->options.is_listing_commands && ctl_is_json(c))
        return print_table(c);
    if (c->options.is_listing_commands) {
        ctl_command_each(c->tool, print_name, c->out);
        return CTL_OK;
    }
    if (c->options.arg_count == 0) {
        ctl_help_all(c, c->out);
        return CTL_OK;
    }
    const struct ctl_command *command = ctl_command_find(c->tool, slice_str(ctl_arg(c, 0)));
    if (command == NULL)
        return ctl_fail(c, CTL_USAGE, "\nCommand '%s' not found.", ctl_arg(c, 0));
    return ctl_help_command(c, command);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct completion {
    struct slice prefix;
    const char *names[256];
    size_t count;
};

static void
complete(const struct ctl_command *command, void *ctx)
{
    struct completion *found = ctx;
    if (slice_has_prefix(slice_str(command->name), found->prefix) &&
        found->count < LV_ARRAY_LEN(found->names))
        found->names[found->count++] = command->name;
}

static int
run_autocomplete(struct ctl *c)
{
    struct completion found = {.prefix = slice_str(ctl_arg(c, 0))};
    ctl_command_each(c->tool, complete, &found);
    qsort(found.names, found.count, sizeof found.names[0], compare_names);
    for (size_t i = 0; i < found.count; i++)
        fprintf(c->out, "%s\n", found.names[i]);
    return CTL_OK;
}

const struct ctl_command ctl_commands_help[] = {
    {.name = "autocomplete",
     .group = GROUP_HELP,
     .usage = "<word>",
     .about = "Lists the commands that begin with a word, for shells",
     .args_min = 1,
     .args_max = 1,
     .run = run_autocomplete},
    {.name = "help",
     .group = GROUP_HELP,
     .usage = "(<command> | [--list-commands])",
     .about = "Displays usage information for a command",
     .details = "--list-commands\n\tonly output the names of all commands; with --formatter json all that is "
                "known of them\n\n",
     .args_max = 1,
     .options = OPTION_LIST_COMMANDS,
     .run = run_help},
    {.name = "version",
     .group = GROUP_HELP,
     .usage = "",
     .about = "Displays the version of this tool",
     .run = run_version},
    {.name = NULL},
};
