// leveretctl_reasons.c: why messages and clients were refused, dropped or held (reasons), and where a message would go (route). Both are
// ours.
#include <inttypes.h>
#include <time.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// --- reasons --------------------------------------------------------------------------------------------------------------------

static json_t *
time_text(const json_t *ms)
{
    char text[40] = "";
    struct tm tm;
    time_t seconds = (time_t)(json_integer_value(ms) / 1000);
    if (localtime_r(&seconds, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    return json_string(text);
}

static int
print_recent(struct ctl *c, const json_t *recent)
{
    struct ctl_heading headings[] = {{"time", KIND_TEXT},   {"kind", KIND_TEXT},    {"vhost", KIND_TEXT},
                                     {"object", KIND_TEXT}, {"count", KIND_NUMBER}, {"reason", KIND_TEXT}};
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(recent); i++) {
        const json_t *e = json_array_get(recent, i);
        struct buf object = BUF_INIT;
        buf_printf(&object, "%s '%s'", json_string_value(json_object_get(e, "object_kind")),
                   json_string_value(json_object_get(e, "object")));
        json_array_append_new(rows, json_pack("[o, O, O, s, O, O]", time_text(json_object_get(e, "time")),
                                              json_object_get(e, "kind"), json_object_get(e, "vhost"),
                                              buf_cstr(&object), json_object_get(e, "count"),
                                              json_object_get(e, "text")));
        buf_fini(&object);
    }
    struct ctl_table table = {
        .headings = headings, .column_count = LV_ARRAY_LEN(headings), .rows = rows, .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

static void
add_totals(json_t *rows, const json_t *counts, const char *prefix)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)counts, key, value)
    {
        struct buf name = BUF_INIT;
        buf_printf(&name, "%s%s", prefix, key);
        json_array_append_new(rows, json_pack("[s, O]", buf_cstr(&name), value));
        buf_fini(&name);
    }
}

static int
print_totals(struct ctl *c, const json_t *answer)
{
    struct ctl_heading headings[] = {{"name", KIND_TEXT}, {"value", KIND_NUMBER}};
    json_t *rows = json_array();
    add_totals(rows, json_object_get(answer, "totals"), "");
    add_totals(rows, json_object_get(answer, "channel_errors"), "channel_error_");
    add_totals(rows, json_object_get(answer, "connection_errors"), "connection_error_");
    add_totals(rows, json_object_get(answer, "global"), "");
    struct ctl_table table = {
        .headings = headings, .column_count = LV_ARRAY_LEN(headings), .rows = rows, .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
    return CTL_OK;
}

static int
check_reasons(struct ctl *c)
{
    const char *what = ctl_arg(c, 0);
    if (what == NULL || strcmp(what, "totals") == 0 || strcmp(what, "recent") == 0)
        return 0;
    return ctl_bad_argument(c, "'%s' is neither recent nor totals", what);
}

static int
run_reasons(struct ctl *c)
{
    bool is_totals = ctl_arg(c, 0) != NULL && strcmp(ctl_arg(c, 0), "totals") == 0;
    ctl_banner(c, is_totals ? "Listing counters of refusals and messages ..."
                            : "Listing recent refusals, drops, returns and holds ...");
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "reasons", NULL);
    if (status != 0)
        return status;
    return is_totals ? print_totals(c, c->answer.json)
                     : print_recent(c, json_object_get(c->answer.json, "recent"));
}

// --- route ----------------------------------------------------------------------------------------------------------------------

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int
print_route(struct ctl *c)
{
    const json_t *answer = c->answer.json, *queues = json_object_get(answer, "queues");
    const json_t *steps = json_object_get(answer, "steps");
    if (ctl_is_json(c))
        return ctl_print_json(c, c->out, json_incref(c->answer.json));
    fprintf(c->out, "%s\n", text_of(answer, "text"));
    for (size_t i = 0; i < json_array_size(queues); i++) {
        const json_t *q = json_array_get(queues, i);
        fprintf(c->out, "%s\t%s\t%s\n", text_of(q, "name"), text_of(q, "path"), text_of(q, "text"));
    }
    if (json_array_size(steps) > 0)
        fputs("\nSteps:\n", c->out);
    for (size_t i = 0; i < json_array_size(steps); i++)
        fprintf(c->out, "%zu\t%s\n", i, text_of(json_array_get(steps, i), "text"));
    if (json_is_true(json_object_get(answer, "truncated")))
        fputs("...\n", c->out);
    return CTL_OK;
}

static int
run_route(struct ctl *c)
{
    const char *exchange = ctl_arg(c, 0), *key = ctl_arg(c, 1), *headers = ctl_arg(c, 2);
    const char *vhost = ctl_vhost(c);
    json_t *body = json_pack("{s:s}", "routing_key", key);
    ctl_banner(c, "Routing a message to exchange \"%s\" with routing key \"%s\" in vhost \"%s\" ...",
               exchange, key, vhost);
    if (headers != NULL) {
        json_t *parsed = json_loads(headers, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(parsed)) {
            json_decref(parsed);
            json_decref(body);
            return ctl_fail(c, CTL_UNAVAILABLE, "JSON decoding error. Reason: badarg");
        }
        json_object_set_new(body, "headers", parsed);
    }
    if (c->options.user != NULL)
        json_object_set_new(body, "user", json_string(c->options.user));
    if (c->options.is_dry_run) {
        json_decref(body);
        return CTL_OK;
    }
    int status = ctl_call(c, "POST", body, "exchanges", vhost, exchange[0] != '\0' ? exchange : "amq.default",
                          "route", NULL);
    if (status != 0)
        return status;
    if (c->answer.status == 404)
        return ctl_fail_no_such_vhost(c, vhost);
    return c->answer.status == 200 ? print_route(c) : ctl_refused(c);
}

const struct ctl_command ctl_commands_reasons[] = {
    {"reasons", GROUP_MONITORING, "[recent | totals]",
     "Displays why messages and clients were refused, returned, dropped or held",
     "recent\n\tthe last of them, newest first, those of one kind and object together [default]\n\n"
     "totals\n\tcounters since the start\n\n",
     0, 1, 0, NULL, run_reasons, check_reasons},
    {"route", GROUP_QUEUES, "[--vhost <vhost>] [--user <username>] <exchange> <routing_key> [<headers>]",
     "Tells where a message would go and why, without publishing it",
     "<exchange>\n\tname of the exchange; \"\" or amq.default: the default one\n\n<routing_key>\n\tits "
     "routing key\n\n"
     "<headers>\n\tits headers as a JSON object\n\n--user <username>\n\tlook at this user's permissions "
     "too\n\n",
     2, 3, OPTION_USER, NULL, run_route, NULL},
    {.name = NULL},
};
