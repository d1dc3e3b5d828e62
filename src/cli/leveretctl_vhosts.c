// leveretctl_vhosts.c: virtual hosts, and the limits of virtual hosts and users.
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_term.h"
#include "src/cli/leveretctl_value.h"

// --- virtual hosts --------------------------------------------------------------------------------------------------------------

static int
check_queue_type(struct ctl *c)
{
    if (ctl_arg(c, 0)[0] == '\0')
        return ctl_bad_argument(c, "virtual host cannot be an empty string");
    return 0;
}

static int
run_add_vhost(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    const char *vhost = ctl_arg(c, 0);
    ctl_banner(c, "Adding vhost \"%s\" ...", vhost);
    if (o->is_dry_run)
        return CTL_OK;
    if (o->queue_type != NULL && strcmp(o->queue_type, "classic") != 0 &&
        strcmp(o->queue_type, "quorum") != 0 && strcmp(o->queue_type, "stream") != 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "invalid_queue_type");
    json_t *body = json_object();
    if (o->description != NULL)
        json_object_set_new(body, "description", json_string(o->description));
    if (o->tags != NULL)
        json_object_set_new(body, "tags", json_string(o->tags));
    if (o->queue_type != NULL)
        json_object_set_new(body, "default_queue_type", json_string(o->queue_type));
    int status = ctl_put_only(c, "new", body, "vhosts", vhost);
    // One that exists already is left as it is, and that is no error.
    if (status == 0 && c->answer.status == 400 && strstr(ctl_reason(c), " already exists") != NULL)
        return ctl_done(c);
    return ctl_finish(c, status);
}

static int
run_delete_vhost(struct ctl *c)
{
    const char *vhost = ctl_arg(c, 0);
    ctl_banner(c, "Deleting vhost \"%s\" ...", vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "DELETE", NULL, "vhosts", vhost, NULL));
}

static int
run_set_vhost_tags(struct ctl *c)
{
    struct buf shown = BUF_INIT, tags = BUF_INIT;
    const char *vhost = ctl_arg(c, 0);
    int status = CTL_OK;
    ctl_words(&shown, c, 1, ", ");
    ctl_words(&tags, c, 1, ",");
    ctl_banner(c, "Setting tags for virtual host \"%s\" to [%s] ...", vhost, buf_cstr(&shown));
    if (!c->options.is_dry_run) {
        status = ctl_put_only(c, "existing", json_pack("{s:s}", "tags", buf_cstr(&tags)), "vhosts", vhost);
        if (status == 0 && c->answer.status == 404)
            status = ctl_fail(c, CTL_DATA, "Virtual host \"%s\" does not exist", vhost);
        else
            status = ctl_finish(c, status);
    }
    buf_fini(&shown);
    buf_fini(&tags);
    return status;
}

// rabbitmqctl says the same of a vhost that does not exist; we say that it does not.
static int
set_tracing(struct ctl *c, bool is_on)
{
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "%s tracing for vhost \"%s\" ...", is_on ? "Starting" : "Stopping", vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_put_only(c, "existing", json_pack("{s:b}", "tracing", is_on), "vhosts", vhost);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_DATA, "Virtual host \"%s\" does not exist", vhost);
    if (status != 0 || c->answer.status >= 300)
        return ctl_finish(c, status);
    ctl_say(c, NULL, "Trace %s for vhost %s", is_on ? "enabled" : "disabled", vhost);
    return CTL_OK;
}

static int
run_trace_on(struct ctl *c)
{
    return set_tracing(c, true);
}

static int
run_trace_off(struct ctl *c)
{
    return set_tracing(c, false);
}

// --- limits ---------------------------------------------------------------------------------------------------------------------

// Whose limits a command is about, and rabbitmqctl's words for them.
struct limit_subject {
    const char *collection; // "vhost-limits"
    const char *plural;     // of the term in "Unrecognised terms … in limits"
    const char *names[7];   // ended by NULL
    const char *failure_head;
    bool is_whole; // what is set replaces all there was; otherwise what is not named stays
};

static const struct limit_subject vhost_limits = {"vhost-limits",
                                                  "limits",
                                                  {"max-connections", "max-queues", "max-publish-rate",
                                                   "max-publish-bytes-rate", "max-messages",
                                                   "max-memory-bytes"},
                                                  "Validation failed\n\n",
                                                  true};
static const struct limit_subject user_limits = {
    "user-limits",
    "user-limits",
    {"max-connections", "max-channels", "max-publish-rate", "max-publish-bytes-rate"},
    "",
    false};

static struct term *
term_of_json(const json_t *value)
{
    struct buf text = BUF_INIT;
    if (json_is_string(value))
        return term_binary(json_slice(value));
    json_text_put(&text, value);
    struct term *leaf = term_leaf(buf_slice(&text));
    buf_fini(&text);
    return leaf;
}

static bool
is_limit_name(const struct limit_subject *subject, const char *name)
{
    for (size_t i = 0; subject->names[i] != NULL; i++) {
        if (strcmp(name, subject->names[i]) == 0)
            return true;
    }
    return false;
}

// The last answer: 400 {"reason": ["no_such_user", …]}.
static bool
is_no_such_user(const struct ctl *c)
{
    const json_t *reason = json_object_get(c->answer.json, "reason");
    return c->answer.status == 400 && json_string_length(json_array_get(reason, 0)) == strlen("no_such_user");
}

// Refuses unknown names and values that are no numbers; 0 or the exit status, told.
static int
check_limits(struct ctl *c, const struct limit_subject *subject, const json_t *limits)
{
    const char *key, *tail = subject->failure_head[0] != '\0' ? "\n" : "";
    json_t *value;
    struct term *unknown = term_list();
    struct buf text = BUF_INIT;
    int status = 0;
    bool has_unknown = false;
    json_object_foreach((json_t *)(uintptr_t)limits, key, value)
    {
        if (!is_limit_name(subject, key)) {
            struct term *pair = term_tuple();
            term_add(pair, term_binary(slice_str(key)));
            term_add(pair, term_of_json(value));
            term_add(unknown, pair);
            has_unknown = true;
        } else if (!json_is_integer(value) && status == 0) {
            struct term *term = term_of_json(value);
            term_print_flat(&text, term);
            term_free(term);
            status = ctl_fail(c, CTL_UNAVAILABLE, "%s%s should be a number, actually was %s%s",
                              subject->failure_head, key, buf_cstr(&text), tail);
        }
    }
    if (status == 0 && has_unknown) {
        term_print_flat(&text, unknown);
        status = ctl_fail(c, CTL_UNAVAILABLE, "%sUnrecognised terms %s in %s%s", subject->failure_head,
                          buf_cstr(&text), subject->plural, tail);
    }
    term_free(unknown);
    buf_fini(&text);
    return status;
}

// Sets the limits that JSON text names. The last answer is the one that counts.
static int
set_limits(struct ctl *c, const struct limit_subject *subject, const char *name, const char *text)
{
    json_t *limits = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(limits)) {
        json_decref(limits);
        return ctl_fail(c, CTL_UNAVAILABLE, "JSON decoding error. Reason: badarg");
    }
    int status = check_limits(c, subject, limits);
    for (size_t i = 0; subject->names[i] != NULL && status == 0; i++) {
        const json_t *value = json_object_get(limits, subject->names[i]);
        if (value == NULL && !subject->is_whole)
            continue;
        json_t *body = value != NULL ? json_pack("{s:I}", "value", json_integer_value(value)) : NULL;
        status = ctl_call(c, value != NULL ? "PUT" : "DELETE", body, subject->collection, name,
                          subject->names[i], NULL);
        if (status == 0 && c->answer.status >= 300)
            break;
    }
    json_decref(limits);
    return status;
}

static int
run_set_vhost_limits(struct ctl *c)
{
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "Setting vhost limits to \"%s\" for vhost \"%s\" ...", ctl_arg(c, 0), vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = set_limits(c, &vhost_limits, vhost, ctl_arg(c, 0));
    if (status == 0 && c->answer.status == 404)
        return ctl_fail_no_such_vhost(c, vhost);
    return ctl_finish(c, status);
}

static int
clear_limits(struct ctl *c, const struct limit_subject *subject, const char *name, const char *which)
{
    int status = 0;
    for (size_t i = 0; subject->names[i] != NULL && status == 0; i++) {
        if (which != NULL && strcmp(which, subject->names[i]) != 0)
            continue;
        status = ctl_call(c, "DELETE", NULL, subject->collection, name, subject->names[i], NULL);
        if (status == 0 && c->answer.status >= 300)
            break;
    }
    return status;
}

static int
run_clear_vhost_limits(struct ctl *c)
{
    const char *vhost = ctl_vhost(c);
    ctl_banner(c, "Clearing vhost \"%s\" limits ...", vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = clear_limits(c, &vhost_limits, vhost, NULL);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "Parameter does not exist");
    return ctl_finish(c, status);
}

static int
run_set_user_limits(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Setting user limits to \"%s\" for user \"%s\" ...", ctl_arg(c, 1), user);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = set_limits(c, &user_limits, user, ctl_arg(c, 1));
    if (status == 0 && is_no_such_user(c))
        return ctl_fail_no_such_user(c, user);
    return status == 0 && c->answer.status == 0 ? ctl_done(c) : ctl_finish(c, status); // {}: nothing to do
}

static int
run_clear_user_limits(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *which = ctl_arg(c, 1);
    bool is_all = strcmp(which, "all") == 0;
    if (is_all)
        ctl_banner(c, "Clearing all limits for user \"%s\" ...", user);
    else
        ctl_banner(c, "Clearing \"%s\" limit for user \"%s\" ...", which, user);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = clear_limits(c, &user_limits, user, is_all ? NULL : which);
    if (status == 0 && is_no_such_user(c))
        return ctl_fail_no_such_user(c, user);
    return c->answer.status == 0 ? ctl_done(c) : ctl_finish(c, status); // an unknown limit: nothing to do
}

// --- listing limits -------------------------------------------------------------------------------------------------------------

// All that have limits, as rows (name, limits).
static int
print_all_limits(struct ctl *c, const char *collection, const char *key)
{
    struct ctl_heading headings[2] = {{key, KIND_TEXT}, {"limits", KIND_JSON}};
    int status = ctl_get(c, collection, NULL);
    if (status != 0)
        return status;
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(c->answer.json); i++) {
        const json_t *entry = json_array_get(c->answer.json, i);
        json_array_append_new(
            rows, json_pack("[O, O]", json_object_get(entry, key), json_object_get(entry, "value")));
    }
    struct ctl_table table = {.headings = headings, .column_count = 2, .rows = rows, .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

// The limits in the last answer ([{"vhost":…,"value":{…}}]) as JSON text; `none` when there are none. Heap.
static char *
limits_text(const struct ctl *c, const char *none)
{
    const json_t *value = json_object_get(json_array_get(c->answer.json, 0), "value");
    return json_object_size(value) > 0 ? ctl_json_text(value) : mem_xstrdup(none);
}

static int
run_list_vhost_limits(struct ctl *c)
{
    const char *vhost = ctl_vhost(c);
    if (c->options.is_global)
        ctl_banner(c, "Listing limits for all vhosts ...");
    else
        ctl_banner(c, "Listing limits for vhost \"%s\" ...", vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (c->options.is_global)
        return print_all_limits(c, "vhost-limits", "vhost");
    int status = ctl_call(c, "GET", NULL, "vhost-limits", vhost, NULL);
    if (status != 0 || c->answer.status != 200)
        return status != 0 ? status : ctl_fail_no_such_vhost(c, vhost);
    char *text = limits_text(c, "");
    if (!ctl_is_json(c))
        fprintf(c->out, "%s\n", text);
    else if (text[0] == '\0')
        fputs("[]\n", c->out);
    else
        ctl_print_json(c, c->out,
                       json_pack("{s:s, s:s, s:s}", "node", ctl_node(c), "result", "ok", "value", text));
    mem_free(text);
    return CTL_OK;
}

// Without --user: of guest, as in rabbitmqctl.
static int
run_list_user_limits(struct ctl *c)
{
    const char *user = c->options.user != NULL ? c->options.user : "guest";
    if (c->options.is_global)
        ctl_banner(c, "Listing limits for all users ...");
    else
        ctl_banner(c, "Listing limits for user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (c->options.is_global)
        return print_all_limits(c, "user-limits", "user");
    int status = ctl_call(c, "GET", NULL, "user-limits", user, NULL);
    if (status != 0 || c->answer.status != 200)
        return status != 0 ? status : ctl_fail_no_such_user(c, user);
    char *text = limits_text(c, "{}");
    ctl_say(c, NULL, "%s", text);
    mem_free(text);
    return CTL_OK;
}

#define VHOST_DETAIL         "<vhost>\n\tname of the virtual host\n\n"
#define LIMITS_DETAIL(names) "<definition>\n\tthe limits as a JSON object: " names "; -1: no limit\n\n"

const struct ctl_command ctl_commands_vhosts[] = {
    {"add_vhost", GROUP_VHOSTS,
     "<vhost> [--description <description> --tags \"<tag1>,<tag2>,<...>\" --default-queue-type <type>]",
     "Creates a virtual host; one that exists is left as it is",
     VHOST_DETAIL
     "--description <description>\n\twhat it is for\n\n--tags <tags>\n\tcomma-separated words\n\n"
     "--default-queue-type <type>\n\tclassic, quorum or stream\n\n",
     1, 1, OPTION_DESCRIPTION | OPTION_TAGS | OPTION_QUEUE_TYPE, NULL, run_add_vhost, check_queue_type},
    {"delete_vhost", GROUP_VHOSTS, "<vhost>", "Deletes a virtual host with everything in it", VHOST_DETAIL, 1,
     1, 0, NULL, run_delete_vhost, NULL},
    {"set_vhost_tags", GROUP_VHOSTS, "<vhost> <tag> [...]", "Sets a virtual host's tags",
     VHOST_DETAIL "<tag>\n\tany word; none: all are removed\n\n", 1, CTL_ARGS_ANY, 0, NULL,
     run_set_vhost_tags, NULL},
    {"trace_on", GROUP_VHOSTS, "[--vhost <vhost>]",
     "Copies what is published and delivered to amq.rabbitmq.trace", NULL, 0, 0, 0, NULL, run_trace_on, NULL},
    {"trace_off", GROUP_VHOSTS, "[--vhost <vhost>]", "Ends that", NULL, 0, 0, 0, NULL, run_trace_off, NULL},
    {"set_vhost_limits", GROUP_VHOSTS, "[--vhost <vhost>] <definition>", "Sets the limits of a virtual host",
     LIMITS_DETAIL(
         "max-connections, max-queues, max-publish-rate (messages a second), max-publish-bytes-rate, "
         "max-messages, max-memory-bytes (held by its queues)"),
     1, 1, 0, NULL, run_set_vhost_limits, NULL},
    {"clear_vhost_limits", GROUP_VHOSTS, "[--vhost <vhost>]", "Removes all limits of a virtual host", NULL, 0,
     0, 0, NULL, run_clear_vhost_limits, NULL},
    {"list_vhost_limits", GROUP_VHOSTS, "[--vhost <vhost>] [--global] [--no-table-headers]",
     "Displays the limits of virtual hosts", "--global\n\tof all virtual hosts\n\n", 0, 0, OPTION_GLOBAL,
     NULL, run_list_vhost_limits, NULL},
    {"set_user_limits", GROUP_USERS, "<username> <definition>", "Sets the limits of a user",
     "<username>\n\tname of the user\n\n" LIMITS_DETAIL(
         "max-connections, max-channels, max-publish-rate (messages a second), max-publish-bytes-rate"),
     2, 2, 0, NULL, run_set_user_limits, NULL},
    {"clear_user_limits", GROUP_USERS, "<username> <limit_type> | all", "Removes one limit of a user, or all",
     "<username>\n\tname of the user\n\n<limit_type>\n\tmax-connections, max-channels, max-publish-rate, "
     "max-publish-bytes-rate, or all\n\n",
     2, 2, 0, NULL, run_clear_user_limits, NULL},
    {"list_user_limits", GROUP_USERS, "[--user <username>] [--global]", "Displays the limits of users",
     "--user <username>\n\tname of the user [guest]\n\n--global\n\tof all users\n\n", 0, 0,
     OPTION_USER | OPTION_GLOBAL, NULL, run_list_user_limits, NULL},
    {.name = NULL},
};
