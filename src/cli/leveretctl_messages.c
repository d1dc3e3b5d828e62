// leveretctl_messages.c: the messages of a queue: which are there (find, peek), and to other queues with them (move, replay).
//
// The broker walks through the queue (src/management, messages/…): what is only looked at keeps its place and is not marked as redelivered;
// what is moved is published with confirms first and acknowledged then, so that a crash in between leaves it in both queues.
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// LIMIT: messages that one walk looks at, which is the broker's; messages shown without --limit.
enum { EXAMINE_MAX = 10000, SHOWN = 100 };

// --- requests -------------------------------------------------------------------------------------------------------------------

static void
put_encoded(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
            buf_append_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

// Conditions: "NAME=VALUE" from an argument on. As a query for looking, as an object for moving.
static void
put_conditions(struct buf *query, const struct ctl *c, size_t first)
{
    for (size_t i = first; i < c->options.arg_count; i++) {
        const char *word = c->options.args[i], *equals = strchr(word, '=');
        buf_append_u8(query, '&');
        put_encoded(query, word, (size_t)(equals - word));
        buf_append_u8(query, '=');
        put_encoded(query, equals + 1, strlen(equals + 1));
    }
}

static json_t *
conditions_object(const struct ctl *c, size_t first)
{
    json_t *filter = json_object();
    for (size_t i = first; i < c->options.arg_count; i++) {
        struct slice name = slice_of(c->options.args[i], strcspn(c->options.args[i], "="));
        char *key = mem_xslice_dup(name);
        json_object_set_new(filter, key, json_string(c->options.args[i] + name.len + 1));
        mem_free(key);
    }
    return filter;
}

static int
finish_answer(struct ctl *c, int status)
{
    if (status == CTL_OK && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "not_found");
    return status != CTL_OK || c->answer.status == 200 ? status : ctl_refused(c);
}

// --- looking --------------------------------------------------------------------------------------------------------------------

static const struct ctl_heading headings[] = {{"position", KIND_NUMBER},  {"exchange", KIND_TEXT},
                                              {"routing_key", KIND_TEXT}, {"redelivered", KIND_BOOL},
                                              {"bytes", KIND_NUMBER},     {"message_id", KIND_TEXT},
                                              {"properties", KIND_JSON},  {"payload", KIND_TEXT}};

static json_t *
row_of(const json_t *message)
{
    static const char *const members[] = {"exchange", "routing_key", "redelivered", "payload_bytes"};
    json_t *row = json_array(), *properties = json_object_get(message, "properties");
    json_t *id = json_object_get(properties, "message_id");
    json_array_append_new(row, json_integer(json_integer_value(json_object_get(message, "position")) + 1));
    for (size_t i = 0; i < LV_ARRAY_LEN(members); i++)
        json_array_append(row, json_object_get(message, members[i]));
    json_array_append_new(row, id != NULL ? json_incref(id) : json_null());
    json_array_append(row, properties);
    json_array_append(row, json_object_get(message, "payload"));
    return row;
}

static void
print_messages(struct ctl *c)
{
    const json_t *messages = json_object_get(c->answer.json, "messages");
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++)
        json_array_append_new(rows, row_of(json_array_get(messages, i)));
    struct ctl_table table = {
        .headings = headings, .column_count = LV_ARRAY_LEN(headings), .rows = rows, .has_headings = true};
    ctl_print_table(c, &table);
    json_decref(rows);
}

// `query` without its first "examine".
static int
look(struct ctl *c, const char *query)
{
    c->query = query;
    return finish_answer(c,
                         ctl_call(c, "GET", NULL, "queues", ctl_vhost(c), ctl_arg(c, 1), "messages", NULL));
}

static int
run_find(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    struct buf query = BUF_INIT;
    ctl_banner(c, "Looking for messages in queue '%s' in vhost '%s' ...", ctl_arg(c, 1), ctl_vhost(c));
    if (o->is_dry_run)
        return CTL_OK;
    buf_printf(&query, "examine=%" PRId64 "&count=%" PRId64,
               o->examine > 0 ? o->examine : (int64_t)EXAMINE_MAX, o->limit > 0 ? o->limit : (int64_t)SHOWN);
    if (o->truncate >= 0)
        buf_printf(&query, "&truncate=%" PRId64, o->truncate);
    put_conditions(&query, c, 2);
    int status = look(c, buf_cstr(&query));
    if (status == CTL_OK)
        print_messages(c);
    buf_fini(&query);
    return status;
}

static int
run_peek(struct ctl *c)
{
    char query[128];
    int64_t position = strtoll(ctl_arg(c, 2), NULL, 10);
    ctl_banner(c, "Peeking at queue '%s' in vhost '%s' at position %" PRId64 " ...", ctl_arg(c, 1),
               ctl_vhost(c), position);
    if (c->options.is_dry_run)
        return CTL_OK;
    snprintf(query, sizeof query, "offset=%" PRId64 "&count=1&examine=%" PRId64, position - 1, position);
    int status = look(c, query);
    if (status != CTL_OK)
        return status;
    if (json_array_size(json_object_get(c->answer.json, "messages")) == 0)
        return ctl_fail(c, CTL_UNAVAILABLE, "there is no message at position %" PRId64, position);
    print_messages(c);
    return CTL_OK;
}

// --- moving ---------------------------------------------------------------------------------------------------------------------

// Takes the body over; conditions from an argument on.
static int
move(struct ctl *c, const char *how, json_t *body, size_t first)
{
    const struct ctl_options *o = &c->options;
    if (c->options.is_dry_run) {
        json_decref(body);
        return CTL_OK;
    }
    if (o->arg_count > first)
        json_object_set_new(body, "filter", conditions_object(c, first));
    if (o->limit > 0)
        json_object_set_new(body, "count", json_integer(o->limit));
    if (o->examine > 0)
        json_object_set_new(body, "examine", json_integer(o->examine));
    int status = finish_answer(
        c, ctl_call(c, "POST", body, "queues", ctl_vhost(c), ctl_arg(c, 1), "messages", how, NULL));
    if (status != CTL_OK)
        return status;
    json_int_t moved = json_integer_value(json_object_get(c->answer.json, "moved"));
    const char *why = json_string_value(json_object_get(c->answer.json, "stopped"));
    if (ctl_is_json(c))
        ctl_print_json(c, c->out, json_incref(c->answer.json));
    else
        fprintf(c->out, "Moved %" JSON_INTEGER_FORMAT " messages%s\n", moved,
                json_is_true(json_object_get(c->answer.json, "more")) ? "; there are more in the queue" : "");
    return why == NULL ? (int)CTL_OK : ctl_fail(c, CTL_UNAVAILABLE, "%s", why);
}

static int
run_move(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    if (o->exchange == NULL) {
        ctl_banner(c, "Moving messages of queue '%s' to queue '%s' in vhost '%s' ...", ctl_arg(c, 1),
                   ctl_arg(c, 2), ctl_vhost(c));
        return move(c, "move", json_pack("{s:s}", "queue", ctl_arg(c, 2)), 3);
    }
    ctl_banner(c, "Moving messages of queue '%s' to exchange '%s' in vhost '%s' ...", ctl_arg(c, 1),
               o->exchange, ctl_vhost(c));
    json_t *body = json_pack("{s:s}", "exchange", o->exchange);
    if (o->routing_key != NULL)
        json_object_set_new(body, "routing_key", json_string(o->routing_key));
    return move(c, "move", body, 2);
}

static int
run_replay(struct ctl *c)
{
    ctl_banner(c, "Sending dead letters of queue '%s' in vhost '%s' back to where they died ...",
               ctl_arg(c, 1), ctl_vhost(c));
    return move(c, "redrive", json_object(), 2);
}

// --- the command ------------------------------------------------------------------------------------------------------------------

struct verb {
    const char *name;
    size_t args_min;   // with the verb
    size_t conditions; // where they begin
    int (*run)(struct ctl *c);
};

static const struct verb verbs[] = {{"find", 2, 2, run_find},
                                    {"peek", 3, 3, run_peek},
                                    {"move", 3, 3, run_move},
                                    {"replay", 2, 2, run_replay}};

static const struct verb *
find_verb(const struct ctl *c)
{
    for (size_t i = 0; i < LV_ARRAY_LEN(verbs); i++) {
        if (strcmp(ctl_arg(c, 0), verbs[i].name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int
check_messages(struct ctl *c)
{
    const struct verb *verb = find_verb(c);
    if (verb == NULL)
        return ctl_bad_argument(c, "'%s' is none of find, peek, move, replay", ctl_arg(c, 0));
    // With --exchange there is no queue to move to.
    size_t less = verb->run == run_move && c->options.exchange != NULL ? 1 : 0;
    if (c->options.arg_count < verb->args_min - less) {
        buf_append_str(&c->problem, "not enough arguments.");
        return CTL_USAGE;
    }
    if (verb->run == run_peek) {
        const char *text = ctl_arg(c, 2);
        bool is_number = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0' && strlen(text) < 10;
        if (!is_number || strtoll(text, NULL, 10) < 1 || strtoll(text, NULL, 10) > EXAMINE_MAX)
            return ctl_bad_argument(c, "a position is a number from 1 to %d", (int)EXAMINE_MAX);
    }
    for (size_t i = verb->conditions - less; i < c->options.arg_count; i++) {
        if (strchr(c->options.args[i], '=') == NULL)
            return ctl_bad_argument(c, "'%s' is no condition NAME=VALUE", c->options.args[i]);
    }
    return 0;
}

static int
run_messages(struct ctl *c)
{
    return find_verb(c)->run(c);
}

const struct ctl_command ctl_commands_messages[] = {
    {"messages", GROUP_QUEUES,
     "find|peek|move|replay [--vhost <vhost>] <queue> [<position> | <target_queue>] [<name>=<value> ...] "
     "[--limit <number>] [--examine "
     "<number>] [--truncate <bytes>] [--exchange <exchange>] [--routing-key <key>]",
     "Shows messages of a queue, or moves them",
     "find <queue> [<name>=<value> ...]\n\tshows those that match, and leaves them where they are\n\n"
     "peek <queue> <position>\n\tshows one; 1 is the next to be delivered\n\n"
     "move <queue> <target_queue> [<name>=<value> ...]\n\tto another queue, or with --exchange to an "
     "exchange; published with confirms, then "
     "acknowledged: at least once\n\n"
     "replay <queue> [<name>=<value> ...]\n\tdead letters go back to the queue in which they died last; "
     "others stay\n\n"
     "<name>=<value>\n\tmessage_id, correlation_id, type, app_id, user_id, reply_to, content_type, exchange, "
     "routing_key, header.NAME, or body: a "
     "part of it; of several all must be so\n\n"
     "--limit <number>\n\tat most so many [find: 100, otherwise 10000]\n\n--examine <number>\n\tlook at so "
     "many from the front, at most 10000 "
     "[10000]\n\n--truncate <bytes>\n\thow much of a body is shown [50000]\n\n--exchange <exchange>\n\tmove "
     "to it\n\n--routing-key <key>\n\twith this "
     "key [each message's own]\n\n",
     2, CTL_ARGS_ANY, OPTION_LIMIT | OPTION_TRUNCATE | OPTION_MESSAGES, NULL, run_messages, check_messages},
    {.name = NULL},
};
