// leveretctl_policies.c: policies and operator policies: set, clear, list.
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"

// The two kinds, and rabbitmqctl's words for them.
struct policy_subject {
    const char *collection; // "policies"
    const char *setting, *clearing, *listing;
};

static const struct policy_subject user_policies = {"policies", "policy", "policy", "policies"};
static const struct policy_subject operator_policies = {"operator-policies", "operator policy override",
                                                        "operator policy", "operator policy overrides"};

// The API writes reasons for web pages.
static void
put_unescaped(struct buf *out, const char *text)
{
    static const struct {
        const char *escape;
        char character;
    } escapes[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}};
    while (*text != '\0') {
        size_t i = 0;
        while (i < LV_ARRAY_LEN(escapes) && strncmp(text, escapes[i].escape, strlen(escapes[i].escape)) != 0)
            i++;
        buf_append_u8(out, i < LV_ARRAY_LEN(escapes) ? (uint8_t)escapes[i].character : (uint8_t)*text);
        text += i < LV_ARRAY_LEN(escapes) ? strlen(escapes[i].escape) : 1;
    }
}

static int
finish_set(struct ctl *c, const struct policy_subject *subject, int status)
{
    if (status != 0 || c->answer.status != 400)
        return status == 0 && c->answer.status == 404 ? ctl_fail_no_such_vhost(c, ctl_vhost(c))
                                                      : ctl_finish(c, status);
    struct buf text = BUF_INIT;
    if (subject == &user_policies)
        put_unescaped(&text, ctl_reason(c));
    else
        buf_append_str(&text, ctl_reason(c));
    status = ctl_fail(c, CTL_UNAVAILABLE, "%s", buf_cstr(&text));
    buf_fini(&text);
    return status;
}

static int
set_policy(struct ctl *c, const struct policy_subject *subject)
{
    const char *name = ctl_arg(c, 0), *pattern = ctl_arg(c, 1), *text = ctl_arg(c, 2);
    const char *priority = c->options.priority != NULL ? c->options.priority : "0";
    const char *apply_to = c->options.apply_to != NULL ? c->options.apply_to : "all";
    ctl_banner(c, "Setting %s \"%s\" for pattern \"%s\" to \"%s\" with priority \"%s\" for vhost \"%s\" ...",
               subject->setting, name, pattern, text, priority, ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *definition = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (definition == NULL)
        return ctl_fail(c, CTL_UNAVAILABLE, "JSON decoding error. Reason: badarg");
    json_t *body = json_pack("{s:s, s:o, s:I, s:s}", "pattern", pattern, "definition", definition, "priority",
                             (json_int_t)strtoll(priority, NULL, 10), "apply-to", apply_to);
    return finish_set(c, subject, ctl_call(c, "PUT", body, subject->collection, ctl_vhost(c), name, NULL));
}

// A number is all it can be; rabbitmqctl finds out when it has printed what it does.
static int
check_set(struct ctl *c)
{
    char *end;
    const char *priority = c->options.priority;
    if (priority == NULL)
        return 0;
    (void)strtoll(priority, &end, 10);
    return end != priority && *end == '\0'
               ? 0
               : ctl_bad_argument(c, "priority must be an integer, got \"%s\"", priority);
}

static int
run_set_policy(struct ctl *c)
{
    return set_policy(c, &user_policies);
}

static int
run_set_operator_policy(struct ctl *c)
{
    return set_policy(c, &operator_policies);
}

static int
clear_policy(struct ctl *c, const struct policy_subject *subject)
{
    ctl_banner(c, "Clearing %s \"%s\" on vhost \"%s\" ...", subject->clearing, ctl_arg(c, 0), ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "DELETE", NULL, subject->collection, ctl_vhost(c), ctl_arg(c, 0), NULL);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "Parameter does not exist");
    return ctl_finish(c, status);
}

static int
run_clear_policy(struct ctl *c)
{
    return clear_policy(c, &user_policies);
}

static int
run_clear_operator_policy(struct ctl *c)
{
    return clear_policy(c, &operator_policies);
}

// --- listing --------------------------------------------------------------------------------------------------------------------

static const struct ctl_column policy_columns[] = {
    {"apply-to", "apply-to", KIND_TEXT, NULL},
    {"definition", "definition", KIND_JSON, NULL},
    {"name", "name", KIND_TEXT, NULL},
    {"pattern", "pattern", KIND_TEXT, NULL},
    {"priority", "priority", KIND_NUMBER, NULL},
    {"vhost", "vhost", KIND_TEXT, NULL},
    {NULL, NULL, KIND_TEXT, NULL},
};

static const struct ctl_listing policy_listing = {
    .columns = policy_columns, .defaults = "vhost,name,pattern,apply-to,definition,priority"};

static int
list_policies(struct ctl *c, const struct policy_subject *subject)
{
    ctl_banner(c, "Listing %s for vhost \"%s\" ...", subject->listing, ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "GET", NULL, subject->collection, ctl_vhost(c), NULL);
    if (status != 0)
        return status;
    if (c->answer.status == 404)
        return ctl_fail_no_such_vhost(c, ctl_vhost(c));
    return c->answer.status == 200 ? ctl_list(c, c->answer.json) : ctl_refused(c);
}

static int
run_list_policies(struct ctl *c)
{
    return list_policies(c, &user_policies);
}

static int
run_list_operator_policies(struct ctl *c)
{
    return list_policies(c, &operator_policies);
}

#define SET_USAGE                                                                                            \
    "[--vhost <vhost>] [--priority <priority>] [--apply-to <apply-to>] <name> <pattern> <definition>"
#define SET_DETAIL                                                                                           \
    "<name>\n\tname of the policy\n\n<pattern>\n\tregular expression; the policy is for objects in whose "   \
    "name it is "                                                                                            \
    "found\n\n<definition>\n\tthe policy as a JSON object\n\n--priority <priority>\n\tof several that "      \
    "match, the highest is taken "                                                                           \
    "[0]\n\n--apply-to <apply-to>\n\tqueues, classic_queues, quorum_queues, streams, exchanges or all "      \
    "[all]\n\n"
#define NAME_DETAIL "<name>\n\tname of the policy\n\n"

const struct ctl_command ctl_commands_policies[] = {
    {"set_policy", GROUP_POLICIES, SET_USAGE, "Sets or updates a policy", SET_DETAIL, 3, 3,
     OPTION_PRIORITY | OPTION_APPLY_TO, NULL, run_set_policy, check_set},
    {"clear_policy", GROUP_POLICIES, "[--vhost <vhost>] <name>", "Clears (removes) a policy", NAME_DETAIL, 1,
     1, 0, NULL, run_clear_policy, NULL},
    {"list_policies", GROUP_POLICIES, "[--vhost <vhost>] [--no-table-headers]",
     "Lists all policies in a virtual host", NULL, 0, 0, 0, &policy_listing, run_list_policies, NULL},
    {"set_operator_policy", GROUP_POLICIES, SET_USAGE,
     "Sets or updates an operator policy, which sets limits to what users' policies and arguments say",
     SET_DETAIL, 3, 3, OPTION_PRIORITY | OPTION_APPLY_TO, NULL, run_set_operator_policy, check_set},
    {"clear_operator_policy", GROUP_POLICIES, "[--vhost <vhost>] <name>", "Clears an operator policy",
     NAME_DETAIL, 1, 1, 0, NULL, run_clear_operator_policy, NULL},
    {"list_operator_policies", GROUP_POLICIES, "[--vhost <vhost>] [--no-table-headers]",
     "Lists operator policies in a virtual host", NULL, 0, 0, 0, &policy_listing, run_list_operator_policies,
     NULL},
    {.name = NULL},
};
