// leveretctl_policy.c: `policy explain`: what a queue lives by, key by key, and what says so: the operator policy, the policy, or an argument of
// its declare.
#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// What may say a key, in the order in which it is looked for.
struct sources {
    json_t *queue, *user, *operator; // references; the policies may be NULL
};

static void
sources_free(struct sources *s)
{
    json_decref(s->queue);
    json_decref(s->user);
    json_decref(s->operator);
}

// A policy by name, a new reference; NULL: the name is none, or it has just gone.
static json_t *
get_policy(struct ctl *c, const char *collection, const json_t *name, int *status)
{
    const char *text = json_string_value(name);
    if (*status != CTL_OK || text == NULL || text[0] == '\0')
        return NULL;
    *status = ctl_call(c, "GET", NULL, collection, ctl_vhost(c), text, NULL);
    return *status == CTL_OK && c->answer.status == 200 ? json_incref(c->answer.json) : NULL;
}

static int
gather(struct ctl *c, struct sources *s)
{
    int status = ctl_call(c, "GET", NULL, "queues", ctl_vhost(c), ctl_arg(c, 1), NULL);
    if (status == CTL_OK && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "not_found");
    if (status == CTL_OK && c->answer.status != 200)
        return ctl_refused(c);
    if (status != CTL_OK)
        return status;
    s->queue = json_incref(c->answer.json);
    s->user = get_policy(c, "policies", json_object_get(s->queue, "policy"), &status);
    s->operator= get_policy(c, "operator-policies", json_object_get(s->queue, "operator_policy"), &status);
    return status;
}

static const json_t *
said_by(const json_t *policy, const char *key)
{
    return json_object_get(json_object_get(policy, "definition"), key);
}

static json_t *
policy_text(const char *kind, const json_t *policy)
{
    const char *name = json_string_value(json_object_get(policy, "name"));
    const char *pattern = json_string_value(json_object_get(policy, "pattern"));
    return json_sprintf("%s '%s' (pattern %s, priority %" JSON_INTEGER_FORMAT ")", kind,
                        name != NULL ? name : "", pattern != NULL ? pattern : "",
                        json_integer_value(json_object_get(policy, "priority")));
}

// Of two policies that have the key the one whose value is in force; of equal ones the operator's.
static json_t *
source_of(const struct sources *s, const char *key, const json_t *value)
{
    const json_t *of_operator = said_by(s->operator, key), *of_user = said_by(s->user, key);
    bool is_operators = of_operator != NULL && (of_user == NULL || json_equal(of_operator, value) != 0);
    if (is_operators)
        return policy_text("operator policy", s->operator);
    return of_user != NULL ? policy_text("policy", s->user) : json_string("");
}

// "x-message-ttl" of the arguments against a policy's "message-ttl": numbers come to the smaller one, otherwise the argument wins.
static json_t *
beside_argument(const char *key, const json_t *value, const json_t *argument)
{
    bool is_smaller = json_is_integer(value) && json_is_integer(argument) &&
                      json_integer_value(value) < json_integer_value(argument);
    return json_sprintf(is_smaller ? "smaller than the argument x-%s" : "the argument x-%s wins", key);
}

static json_t *
explain(const struct sources *s)
{
    const char *key;
    json_t *value, *rows = json_array();
    const json_t *arguments = json_object_get(s->queue, "arguments");
    const json_t *effective = json_object_get(s->queue, "effective_policy_definition");
    json_object_foreach((json_t *)(uintptr_t)effective, key, value)
    {
        struct buf name = BUF_INIT;
        buf_printf(&name, "x-%s", key);
        const json_t *argument = json_object_get(arguments, buf_cstr(&name));
        buf_fini(&name);
        json_t *note = argument != NULL ? beside_argument(key, value, argument) : json_string("");
        json_array_append_new(rows, json_pack("[s, O, o, o]", key, value, source_of(s, key, value), note));
    }
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        json_array_append_new(rows, json_pack("[s, O, s, s]", key, value, "argument", ""));
    }
    return rows;
}

static int
check_policy(struct ctl *c)
{
    return strcmp(ctl_arg(c, 0), "explain") == 0 ? 0
                                                 : ctl_bad_argument(c, "'%s' is not explain", ctl_arg(c, 0));
}

static int
run_policy(struct ctl *c)
{
    static const struct ctl_heading headings[] = {
        {"key", KIND_TEXT}, {"value", KIND_JSON}, {"source", KIND_TEXT}, {"note", KIND_TEXT}};
    struct sources s = {0};
    ctl_banner(c, "Explaining what queue '%s' in vhost '%s' lives by ...", ctl_arg(c, 1), ctl_vhost(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = gather(c, &s);
    if (status == CTL_OK) {
        json_t *rows = explain(&s);
        struct ctl_table table = {
            .headings = headings, .column_count = LV_ARRAY_LEN(headings), .rows = rows, .has_headings = true};
        ctl_print_table(c, &table);
        json_decref(rows);
    }
    sources_free(&s);
    return status;
}

const struct ctl_command ctl_commands_policy[] = {
    {"policy", GROUP_POLICIES, "explain [--vhost <vhost>] <queue>",
     "Shows what a queue lives by, and which policy or argument says so", "<queue>\n\tname of the queue\n\n",
     2, 2, 0, NULL, run_policy, check_policy},
    {.name = NULL},
};
