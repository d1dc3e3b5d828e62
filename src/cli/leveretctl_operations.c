// leveretctl_operations.c: queues (purge, delete), connections (close), the log (level, reopening).
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"
#include "src/cli/leveretctl_lists.h"
#include "src/cli/leveretctl_value.h"

// --- queues ---------------------------------------------------------------------------------------------------------------------

static int
run_purge_queue(struct ctl *c)
{
    const char *queue = ctl_arg(c, 0), *vhost = ctl_vhost(c);
    ctl_banner(c, "Purging queue '%s' in vhost '%s' ...", queue, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_call(c, "DELETE", NULL, "queues", vhost, queue, "contents", NULL);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail(c, CTL_UNAVAILABLE, "not_found");
    return ctl_finish(c, status);
}

static int
queue_not_deleted(struct ctl *c)
{
    const char *reason = ctl_reason(c);
    size_t len = strlen(reason);
    if (c->answer.status == 404)
        return ctl_fail(c, CTL_USAGE, "Queue not found");
    if (len >= 6 && strcmp(reason + len - 6, "in use") == 0)
        return ctl_fail(c, CTL_USAGE, "Queue is in use");
    if (len >= 9 && strcmp(reason + len - 9, "not empty") == 0)
        return ctl_fail(c, CTL_USAGE, "Queue is not empty");
    return ctl_refused(c);
}

static int
run_delete_queue(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    const char *queue = ctl_arg(c, 0), *vhost = ctl_vhost(c);
    ctl_banner(c, "Deleting queue '%s' on vhost '%s'%s%s%s ...", queue, vhost,
               o->is_if_empty ? " if queue is empty" : "", o->is_if_empty && o->is_if_unused ? " and" : "",
               o->is_if_unused ? " if queue is unused" : "");
    if (o->is_dry_run)
        return CTL_OK;
    json_t *body =
        json_pack("{s:b, s:b}", "if-empty", (int)o->is_if_empty, "if-unused", (int)o->is_if_unused);
    int status = ctl_call(c, "DELETE", body, "queues", vhost, queue, NULL);
    if (status != 0)
        return status;
    if (c->answer.status >= 300)
        return queue_not_deleted(c);
    return ctl_say(c, NULL, "Queue was successfully deleted with %" PRId64 " ready messages",
                   LV_MAX(c->answer.messages, 0));
}

// --- connections ----------------------------------------------------------------------------------------------------------------

// The connection's number in "<node.start.NUMBER.0>", as list_connections shows it. False: no such text.
static bool
parse_pid(const char *text, int64_t *ret)
{
    size_t len = strlen(text);
    const char *dots[3];
    int count = 0;
    if (len < 2 || text[0] != '<' || text[len - 1] != '>')
        return false;
    for (const char *p = text + len - 2; p > text && count < 3; p--) {
        if (*p == '.')
            dots[count++] = p;
        else if (*p < '0' || *p > '9')
            return false;
    }
    if (count < 3 || dots[0] == dots[1] + 1 || dots[2] == text + 1 || dots[0][1] == '>')
        return false;
    *ret = strtoll(dots[1] + 1, NULL, 10);
    return true;
}

// One connection by the number that is in its pid. Over HTTP the API closes by name.
static int
close_numbered(struct ctl *c, int64_t id, const char *name, const char *reason)
{
    if (!c->target.is_http)
        return ctl_call(c, "DELETE", json_pack("{s:s, s:I}", "reason", reason, "id", (json_int_t)id),
                        "connections", NULL);
    return ctl_call(c, "DELETE", json_pack("{s:s}", "reason", reason), "connections", name, NULL);
}

// The name of the connection with that number, heap; NULL: there is none, or *ret_status says why (told).
static char *
find_numbered(struct ctl *c, int64_t id, int *ret_status)
{
    *ret_status = ctl_get(c, "connections", NULL);
    for (size_t i = 0; *ret_status == 0 && i < json_array_size(c->answer.json); i++) {
        const json_t *connection = json_array_get(c->answer.json, i);
        const char *name = json_string_value(json_object_get(connection, "name"));
        if (json_integer_value(json_object_get(connection, "connection_id")) == id && name != NULL)
            return mem_xstrdup(name);
    }
    return NULL;
}

static int
close_by_pid(struct ctl *c, int64_t id, const char *reason)
{
    if (!c->target.is_http)
        return close_numbered(c, id, NULL, reason);
    int status;
    char *name = find_numbered(c, id, &status);
    if (name == NULL) {
        c->answer.status = 404;
        return status;
    }
    status = close_numbered(c, id, name, reason);
    mem_free(name);
    return status;
}

// A pid, or (ours) the name a connection has in list_connections: "127.0.0.1:4000 -> 127.0.0.1:5672".
static int
run_close_connection(struct ctl *c)
{
    const char *which = ctl_arg(c, 0), *reason = ctl_arg(c, 1);
    int64_t id = 0;
    int status;
    ctl_banner(c, "Closing connection %s, reason: %s...", which, reason);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (strstr(which, " -> ") != NULL) {
        status = ctl_call(c, "DELETE", json_pack("{s:s}", "reason", reason), "connections", which, NULL);
    } else if (parse_pid(which, &id)) {
        status = close_by_pid(c, id, reason);
    } else {
        struct buf quoted = BUF_INIT;
        json_text_put_string(&quoted, slice_str(which));
        status = ctl_fail(c, CTL_UNAVAILABLE, "{:invalid_pid_syntax, %s}", buf_cstr(&quoted));
        buf_fini(&quoted);
        return status;
    }
    if (status == 0 && c->answer.status == 404)
        return ctl_done(c); // it has gone already
    return ctl_finish(c, status);
}

static void
sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&left, &left) != 0)
        ;
}

static bool
is_to_be_closed(const struct ctl *c, const json_t *connection)
{
    const char *vhost = json_string_value(json_object_get(connection, "vhost"));
    return c->options.is_global || (vhost != NULL && strcmp(vhost, ctl_vhost(c)) == 0);
}

// One by one: --limit and --per-connection-delay want it so.
static int
close_all(struct ctl *c, json_t *connections, const char *reason)
{
    int64_t closed = 0, limit = c->options.limit > 0 ? c->options.limit : INT64_MAX;
    for (size_t i = 0; i < json_array_size(connections) && closed < limit; i++) {
        const json_t *connection = json_array_get(connections, i);
        if (!is_to_be_closed(c, connection))
            continue;
        if (closed > 0)
            sleep_ms(LV_MIN(c->options.delay_ms, INT32_MAX));
        const char *name = json_string_value(json_object_get(connection, "name"));
        int64_t id = json_integer_value(json_object_get(connection, "connection_id"));
        int status = name != NULL ? close_numbered(c, id, name, reason) : CTL_OK;
        if (status != 0)
            return status;
        closed += c->answer.status < 300;
    }
    return ctl_say(c, NULL, "Closed %" PRId64 " connections", closed);
}

static int
run_close_all_connections(struct ctl *c)
{
    const struct ctl_options *o = &c->options;
    const char *reason = ctl_arg(c, 0);
    if (o->is_global)
        ctl_banner(c, "Closing all connections to node %s (across all vhosts), reason: %s...", ctl_node(c),
                   reason);
    else if (o->limit > 0)
        ctl_banner(c, "Closing %" PRId64 " connections in vhost %s, reason: %s...", o->limit, ctl_vhost(c),
                   reason);
    else
        ctl_banner(c, "Closing all connections in vhost %s, reason: %s...", ctl_vhost(c), reason);
    if (o->is_dry_run)
        return CTL_OK;
    int status = ctl_get(c, "connections", NULL);
    if (status != 0)
        return status;
    json_t *connections = json_incref(c->answer.json);
    status = close_all(c, connections, reason);
    json_decref(connections);
    return status;
}

static int
run_close_all_user_connections(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *reason = ctl_arg(c, 1);
    ctl_banner(c, "Closing connections of user %s, reason: %s...", user, reason);
    if (c->options.is_dry_run)
        return CTL_OK;
    if (c->target.is_http)
        return ctl_finish(c, ctl_call(c, "DELETE", json_pack("{s:s}", "reason", reason), "connections",
                                      "username", user, NULL));
    json_t *body = json_pack("{s:s, s:s}", "user", user, "reason", reason);
    return ctl_finish(c, ctl_call(c, "DELETE", body, "connections", NULL));
}

// --- the log --------------------------------------------------------------------------------------------------------------------

static int
run_set_log_level(struct ctl *c)
{
    static const char *const levels[] = {"debug", "info", "warning", "error", "critical", "none"};
    const char *level = ctl_arg(c, 0);
    bool is_known = false;
    for (size_t i = 0; i < LV_ARRAY_LEN(levels); i++)
        is_known |= strcmp(level, levels[i]) == 0;
    if (!is_known)
        return ctl_fail(c, CTL_UNAVAILABLE,
                        "level %s is not supported. Try one of debug, info, warning, error, critical, none",
                        level);
    ctl_banner(c, "Setting log level to \"%s\" ...", level);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c,
                      ctl_call(c, "POST", json_pack("{s:s}", "level", level), "control", "log-level", NULL));
}

static int
run_rotate_logs(struct ctl *c)
{
    ctl_banner(c, "Reopening log files of node %s ...", ctl_node(c));
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "POST", NULL, "control", "rotate-logs", NULL));
}

#define QUEUE_DETAIL "<queue>\n\tname of the queue\n\n"

const struct ctl_command ctl_commands_operations[] = {
    {"purge_queue", GROUP_QUEUES, "[--vhost <vhost>] <queue>", "Removes all ready messages of a queue",
     QUEUE_DETAIL, 1, 1, 0, NULL, run_purge_queue, NULL},
    {"delete_queue", GROUP_QUEUES, "[--vhost <vhost>] <queue> [--if-empty|-e] [--if-unused|-u]",
     "Deletes a queue",
     QUEUE_DETAIL "--if-empty\n\tonly when it has no messages ready for delivery\n\n"
                  "--if-unused\n\tonly when it has no consumers\n\n",
     1, 1, OPTION_IF_EMPTY | OPTION_IF_UNUSED, NULL, run_delete_queue, NULL},
    {"close_connection", GROUP_OPERATIONS, "<connection> <explanation>", "Closes one client connection",
     "<connection>\n\tits pid or its name, as in list_connections pid name\n\n<explanation>\n\ttold to the "
     "client, and logged\n\n",
     2, 2, 0, NULL, run_close_connection, NULL},
    {"close_all_connections", GROUP_OPERATIONS,
     "[--vhost <vhost> --limit <limit>] [-n <node> --global] [--per-connection-delay <delay>] <explanation>",
     "Closes all client connections of a virtual host, or of the node",
     "--global\n\tof all virtual hosts\n\n--limit <number>\n\tnot more than so many\n\n"
     "--per-connection-delay <milliseconds>\n\ttime between two of them\n\n<explanation>\n\ttold to the "
     "clients, and logged\n\n",
     1, 1, OPTION_GLOBAL | OPTION_LIMIT | OPTION_DELAY, NULL, run_close_all_connections, NULL},
    {"close_all_user_connections", GROUP_OPERATIONS, "<username> <explanation>",
     "Closes all connections of a user",
     "<username>\n\tname of the user\n\n<explanation>\n\ttold to the clients, and logged\n\n", 2, 2, 0, NULL,
     run_close_all_user_connections, NULL},
    {"set_log_level", GROUP_CONFIGURATION, "<log_level>",
     "Sets the log level of the running node, until it is restarted or reloaded",
     "<log_level>\n\tdebug, info, warning, error, critical or none\n\n", 1, 1, NEEDS_SOCKET, NULL,
     run_set_log_level, NULL},
    {"rotate_logs", GROUP_NODES, "", "Makes the node reopen its log files, after logrotate has moved them",
     NULL, 0, 0, NEEDS_SOCKET, NULL, run_rotate_logs, NULL},
    {.name = NULL},
};
