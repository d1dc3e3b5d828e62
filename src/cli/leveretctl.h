// leveretctl.h: one run of leveretctl: what was asked for, the connection to the broker, where the answer goes.
//
// leveretctl is rabbitmqctl, rabbitmq-diagnostics, rabbitmq-queues and rabbitmq-plugins in one, with their commands, columns, texts and
// exit statuses. It speaks HTTP to the broker's control socket, so it needs no password and no cookie: whoever may open the socket may
// do everything; or to any broker's HTTP API, as a user.
//
// A command is a row of a table (ctl_command): name, usage, options, and a function that carries it out and returns the exit
// status. Everything is single-threaded and lives for one command.
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "src/base/buf.h"
#include "src/cli/leveretctl_format.h"
#include "src/cli/leveretctl_options.h"
#include "src/cli/leveretctl_target.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_DAMAGED = 1,      // `store verify` found damage
    CTL_USAGE = 64,       // unknown command, wrong number of arguments, unknown column or option
    CTL_DATA = 65,        // bad value, wrong password, no such vhost
    CTL_NO_USER = 67,     // no such user
    CTL_UNAVAILABLE = 69, // broker down, check failed, refused, not found
    CTL_SOFTWARE = 70,    // exists already, out of memory
    CTL_TIMEOUT = 75,     // timed out
};

struct ctl;
struct ctl_http;

// Whose commands: those of leveretctl, which has rabbitmqctl's, rabbitmq-diagnostics', rabbitmq-queues' and rabbitmq-upgrade's in one, or
// rabbitmq-plugins'. The name the program was called by decides.
enum ctl_tool { TOOL_CTL, TOOL_PLUGINS };

enum ctl_group {
    GROUP_HELP,
    GROUP_NODES,
    GROUP_CLUSTER,
    GROUP_USERS,
    GROUP_ACCESS,
    GROUP_MONITORING,
    GROUP_POLICIES,
    GROUP_VHOSTS,
    GROUP_CONFIGURATION,
    GROUP_OPERATIONS,
    GROUP_QUEUES,
    GROUP_PLUGINS,
    GROUP_COUNT,
};

// What `version` prints: scripts (Ansible's modules among them) choose the options they use by it.
#define CTL_VERSION "3.10.8"

// LIMIT: arguments of a command that has no limit of its own (tags, columns).
enum { CTL_ARGS_ANY = CTL_ARGS_MAX };

struct ctl_command {
    const char *name;
    enum ctl_group group;
    const char *usage;   // what stands behind the name; "" for nothing
    const char *about;   // one sentence without its full stop
    const char *details; // "<argument>\n\tmeaning\n\n…" for help; or NULL
    size_t args_min, args_max;
    uint64_t options;                  // enum ctl_option_bit: options of its own
    const struct ctl_listing *listing; // columns that may be named as arguments; or NULL
    int (*run)(struct ctl *c);
    // Checks values before anything is printed; 0, or the exit status with the text in c->problem. May be NULL.
    int (*check)(struct ctl *c);
};

struct ctl_answer {
    long status;      // HTTP status
    json_t *json;     // its body; NULL when it has none
    int64_t messages; // X-Message-Count: what a deleted queue held; -1: not said
};

struct ctl {
    struct ctl_options options;
    const struct ctl_command *command;
    struct ctl_http *http;
    struct ctl_answer answer; // the last one; owned
    const char *program;      // the name it was called by: leveretctl, rabbitmqctl …
    enum ctl_tool tool;
    FILE *in, *out, *err;
    struct ctl_target target;
    char *socket;       // path; heap
    char *data_dir;     // of a broker on this machine, for `store`; heap
    char *node;         // name of the broker's node, once asked; heap
    json_t *overview;   // GET /api/overview, once asked
    const char *query;  // for the next ctl_call alone: "page=2"; NULL: none
    FILE *upload;       // the same: its body is what is read here; NULL: none
    FILE *download;     // the same: an answer of status 200 is written here, unparsed; NULL: it is kept
    size_t row_limit;   // of lists, in reports; 0: none
    json_t *consumers;  // of the vhost, when list_queues needs them
    struct buf problem; // of an argument
};

// The tables of the parts, each ended by a command without name.
extern const struct ctl_command ctl_commands_access[]; // users, permissions
extern const struct ctl_command ctl_commands_vhosts[]; // vhosts, limits
extern const struct ctl_command ctl_commands_policies[];
extern const struct ctl_command ctl_commands_lists[];
extern const struct ctl_command ctl_commands_operations[]; // queues, connections, log
extern const struct ctl_command ctl_commands_status[];
extern const struct ctl_command ctl_commands_checks[];
extern const struct ctl_command ctl_commands_reasons[];    // reasons, route
extern const struct ctl_command ctl_commands_process[];    // stop, wait
extern const struct ctl_command ctl_commands_store[];      // store (ctl_store.c)
extern const struct ctl_command ctl_commands_parameters[]; // run-time parameters, cluster name, feature flags
extern const struct ctl_command ctl_commands_cluster[];    // clusters and replicas: one node
extern const struct ctl_command ctl_commands_inspect[];    // memory, log files, certificates
extern const struct ctl_command ctl_commands_top[];
extern const struct ctl_command ctl_commands_delayed[];     // delayed messages
extern const struct ctl_command ctl_commands_definitions[]; // definitions files
extern const struct ctl_command ctl_commands_policy[];      // policy explain
extern const struct ctl_command ctl_commands_messages[];    // find, peek, move, replay
extern const struct ctl_command ctl_commands_help[];
// Those of rabbitmq-plugins, which have short names; `leveretctl plugins list` is `rabbitmq-plugins list`.
extern const struct ctl_command ctl_commands_plugins[];
extern const struct ctl_command ctl_commands_plugin_family[];

// --- the tool (leveretctl.c) ----------------------------------------------------------------------------------------------------

// The whole run but process-wide set-up; streams and environment are the caller's. Returns the exit status.
int ctl_main(int argc, char **argv, const char *const *environment, FILE *in, FILE *out, FILE *err);
// Finds a command of a tool by name; NULL.
const struct ctl_command *ctl_command_find(enum ctl_tool tool, struct slice name);
// Calls visit for all commands of a tool, in the order of the tables.
void ctl_command_each(enum ctl_tool tool, void (*visit)(const struct ctl_command *command, void *ctx),
                      void *ctx);

// --- output (leveretctl_output.c) -----------------------------------------------------------------------------------------------

// The line that says what is being done; nothing with -q, -s, json, csv.
void ctl_banner(struct ctl *c, const char *fmt, ...) LV_PRINTF(2, 3);
// The result of a command that is one text: a line; with json {"message":…} or, if key is not NULL, {"result":"ok",key:…}.
int ctl_say(struct ctl *c, const char *key, const char *fmt, ...) LV_PRINTF(3, 4);
// Success without a word (json: {"result":"ok"}).
int ctl_done(struct ctl *c);
// "Error:" and the text on standard error; returns `status`.
int ctl_fail(struct ctl *c, int status, const char *fmt, ...) LV_PRINTF(3, 4);
// The text alone on standard error.
int ctl_fail_bare(struct ctl *c, int status, const char *fmt, ...) LV_PRINTF(3, 4);
// A JSON value on one line (takes over the reference).
int ctl_print_json(struct ctl *c, FILE *to, json_t *value);
// A line of standard input, with a prompt on `prompt` and without echo; heap, free with ctl_password_free. NULL: nothing there.
char *ctl_read_password(struct ctl *c, FILE *prompt);
void ctl_password_free(char *password);
// What the server said when nothing better is known about its refusal: its reason; exit status by what it is about.
int ctl_refused(struct ctl *c);
// The end of most changes: `status` of ctl_call; then success if the answer is 2xx, otherwise ctl_refused.
int ctl_finish(struct ctl *c, int status);
const char *ctl_reason(const struct ctl *c); // "reason" of the last answer; "" without
// In a command's check: the text "Bad argument: …"; returns CTL_DATA.
int ctl_bad_argument(struct ctl *c, const char *fmt, ...) LV_PRINTF(2, 3);
// Prints rows with the formatter asked for.
int ctl_print_table(struct ctl *c, const struct ctl_table *table);
// Refusals that several commands share.
int ctl_fail_no_such_user(struct ctl *c, const char *user);   // {:no_such_user, "user"}
int ctl_fail_no_such_vhost(struct ctl *c, const char *vhost); // Virtual host 'vhost' does not exist
int ctl_timed_out(struct ctl *c, int64_t timeout_s);          // exit status 75
// The arguments from `first` on, with something between them.
void ctl_words(struct buf *out, const struct ctl *c, size_t first, const char *separator);
const char *ctl_arg(const struct ctl *c, size_t i); // NULL when it was not given
const char *ctl_vhost(const struct ctl *c);         // -p, or "/"
bool ctl_is_json(const struct ctl *c);

// --- the broker (leveretctl_http.c) ---------------------------------------------------------------------------------------------

// One request; the path is /api and the segments, percent-encoded. 0: an answer of whatever HTTP status is in c->answer;
// otherwise an exit status, and it was told. Takes over the reference of `body` (may be NULL).
LV_MUST_USE int ctl_call(struct ctl *c, const char *method, json_t *body, ...) __attribute__((sentinel));
// Is that the user's password? 200 or 401 in c->answer. Over HTTP it is a log-in.
LV_MUST_USE int ctl_authenticate(struct ctl *c, const char *user, const char *password);
// PUT of an object that must not be there yet ("new") or must ("existing"): otherwise the answer is 400 with "already exists" or 404, and
// nothing has changed. The control socket does it in one step; over HTTP it is looked for first.
LV_MUST_USE int ctl_put_only(struct ctl *c, const char *only, json_t *body, const char *collection,
                             const char *name);
// The same with the segments in an array ended by NULL.
LV_MUST_USE int ctl_call_path(struct ctl *c, const char *method, json_t *body, const char *const *segments);
// As ctl_call with GET, and an answer other than 200 is a failure that was told.
LV_MUST_USE int ctl_get(struct ctl *c, ...) __attribute__((sentinel));
// It is reachable and has finished its start-up (leveretctl_process.c).
bool ctl_is_running(struct ctl *c);
// Is anybody there? Says nothing. The node's name is known afterwards.
bool ctl_is_reachable(struct ctl *c);
// -n, if it was given, names the node that answered.
bool ctl_is_right_node(const struct ctl *c);
// GET /api/overview, once; and that the node is the one of -n. 0 or the exit status, told.
LV_MUST_USE int ctl_overview(struct ctl *c);
// The node's name: the broker's; when it cannot be asked the one of -n, or rabbit@HOST.
const char *ctl_node(struct ctl *c);
// The text of an unreachable broker on standard error; returns CTL_UNAVAILABLE.
int ctl_unreachable(struct ctl *c);
// Frees c->answer, the connection and the rest.
void ctl_http_free(struct ctl *c);
// The n-th overview member, for status and checks.
const json_t *ctl_overview_member(struct ctl *c, const char *key);

// --- listings (leveretctl_lists.c) ----------------------------------------------------------------------------------------------

// Prints a JSON array of objects as the command's listing says, with the columns asked for. `objects` stays the caller's.
int ctl_list(struct ctl *c, const json_t *objects);
// Arguments of a listing command are column names: exit status, with the problem told in c->problem.
int ctl_columns_check(struct ctl *c);
